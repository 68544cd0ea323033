"""MaskingDisplay: what is drawn are the diagnostics, the path and the residuals."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from numpy.testing import assert_allclose, assert_array_equal

from sparselbi import OutlierRegression
from sparselbi.datasets import load_hbk, make_outliers
from sparselbi.diagnostics import regression_diagnostics
from sparselbi.plotting import MaskingDisplay
from tests.plotting.common import make_path, many_coefs, vertical
from tests.plotting.shift_common import choose_at, make_shift_path


@pytest.fixture(scope="module")
def hbk():
    return load_hbk(return_X_y=True)


@pytest.fixture(scope="module")
def clean_fit(hbk):
    """Residuals of all rows from the fit to rows 10 to 74, and its scale."""
    X, y = hbk
    Z = np.c_[np.ones(75), X]
    coef = np.linalg.lstsq(Z[10:], y[10:], rcond=None)[0]
    residual = y - Z @ coef
    return residual, np.sqrt(residual[10:] @ residual[10:] / (65 - 4))


def scattered(ax):
    """Places of rows, and of rings, as sorted arrays."""
    parts = [c for c in ax.collections if isinstance(c, PathCollection)]
    *rows, rings = [np.asarray(c.get_offsets()) for c in parts]
    rows = np.concatenate(rows)
    return [part[np.lexsort(part.T)] for part in (rows, rings)]


def in_order(*columns):
    part = np.column_stack(columns)
    return part[np.lexsort(part.T)]


@pytest.mark.parametrize("method", ["l1", "iss"])
def test_points_are_diagnostics_entries_and_residuals(hbk, method):
    X, y = hbk
    path = make_shift_path(X, y, method)
    knot = path.knots[6]
    outliers = np.arange(75) < 10
    display = MaskingDisplay.from_path(path, X, y, knot, scale=0.5, outliers=outliers)
    fit = regression_diagnostics(X, y)
    t, h = np.abs(fit.studentized_external), fit.leverage
    residual = np.abs(path.residuals(X, y, knot)) / 0.5
    entry = path.entry_strength() / 0.5
    for ax, across in zip(display.axes_, (t, entry), strict=True):
        rows, rings = scattered(ax)
        assert_allclose(rows, in_order(across, residual), rtol=1e-12)
        flagged = path.outliers(knot)
        assert_allclose(rings, in_order(across[flagged], residual[flagged]))
        colors = [c.get_array() for c in ax.collections if c.get_array() is not None]
        assert_allclose(np.sort(np.concatenate(colors)), np.sort(h))
    assert_array_equal(display.deletion_, t)
    assert_array_equal(display.flagged_, path.outliers(knot))
    strength = knot if method == "l1" else 1 / knot
    assert vertical(display.axes_[0]) == {2.5}
    assert vertical(display.axes_[1]) == {strength / 0.5}
    label = display.axes_[1].get_xlabel()
    assert ("threshold" if method == "l1" else "1 / (first t") in label


def test_masking_is_visible_on_hbk(hbk, clean_fit):
    """Ten outliers in the masked quadrant; four good leverage points are swamped."""
    X, y = hbk
    residual, scale = clean_fit
    path = make_shift_path(X, y)
    display = MaskingDisplay(path, X, y, residual=residual, scale=scale).plot()
    masked = (display.deletion_ < 2.5) & (display.residual_ > 3)
    swamped = (display.deletion_ > 2.5) & (display.residual_ < 3)
    assert_array_equal(np.flatnonzero(masked), np.arange(10))
    assert_array_equal(np.flatnonzero(swamped), np.arange(10, 14))
    assert sorted(display.named_) == list(range(14))
    left = {text.get_text() for text in display.ax_.texts}
    assert {"masked", "swamped"} <= left
    names = left - {"masked", "swamped"}  # neighbours share a name
    numbers = set()
    for part in ", ".join(names).split(", "):
        first, *last = part.split("–")  # noqa: RUF001
        numbers |= set(range(int(first), int(last[0] if last else first) + 1))
    assert numbers == set(range(14))


def test_cuts(hbk, clean_fit):
    X, y = hbk
    residual, scale = clean_fit
    path = make_shift_path(X, y)
    display = MaskingDisplay(path, X, y, residual=residual, scale=scale)
    display.plot(cut=18.0, deletion_cut=5.0, top=3)
    assert len(display.named_) == 3
    assert vertical(display.ax_) == {5.0}
    horizontal = {
        float(line.get_ydata()[0])
        for line in display.ax_.lines
        if line.get_ydata()[0] == line.get_ydata()[1]
    }
    assert horizontal == {18.0}
    assert not vertical(display.axes_[1])  # no point of the path is chosen
    assert not display.flagged_.any()
    notable = (display.residual_ > 18) | (display.deletion_ > 5)
    order = np.argsort(-display.residual_)
    assert display.named_ == [i for i in order if notable[i]][:3]


def test_several_responses():
    data = make_outliers(50, 2, 5, random_state=0)
    Y = np.c_[data.y, data.X[:, 0] + data.shifts]
    path = make_shift_path(data.X, Y)
    knot = path.knots[5]
    display = MaskingDisplay.from_path(path, data.X, Y, knot, scale=2.0)
    fit = regression_diagnostics(data.X, Y)
    assert_allclose(display.deletion_, np.sqrt(fit.t2))
    residual = np.linalg.norm(path.residuals(data.X, Y, knot), axis=1)
    assert_allclose(display.residual_, residual / 2)
    assert display.ax_.get_xlabel() == "deletion T"


def test_rows_of_leverage_one_have_no_deletion_statistic(hbk):
    X, y = hbk
    alone = np.c_[X, np.arange(75) == 20]
    path = make_shift_path(alone, y)
    display = MaskingDisplay.from_path(path, alone, y, path.knots[5], scale=0.1)
    assert np.isnan(display.deletion_).nonzero()[0].tolist() == [20]
    display.figure_.canvas.draw()


def test_names_and_wide_ranges(hbk):
    X, y = hbk
    names = tuple(f"plot {i}" for i in range(75))
    path = make_shift_path(X, y, row_names=names)
    frame, target = pd.DataFrame(X, index=names), pd.Series(y, index=names)
    display = MaskingDisplay.from_path(path, frame, target, path.knots[3], scale=0.01)
    assert display.ax_.get_yscale() == "symlog"
    assert display.ax_.get_xscale() == "linear"
    texts = [text.get_text() for text in display.ax_.texts]
    parts = set(", ".join(texts).split(", ")) - {"masked", "swamped"}
    whole = {part for part in parts if not part.endswith("…")}  # long ones are cut
    assert whole
    assert whole <= {names[i] for i in display.named_}
    assert max(len(text) for text in texts) <= 30


def test_very_many_rows():
    data = make_outliers(30_000, 2, 100, shift=50, random_state=0)
    path = make_shift_path(data.X, data.y)
    display = MaskingDisplay.from_path(path, data.X, data.y, path.knots[5], scale=1.0)
    rows, _ = scattered(display.ax_)
    notable = (display.residual_ > 3) | (display.deletion_ > 2.5) | display.flagged_
    assert len(rows) == 20_000 + notable.sum()
    assert set(display.residual_[:100]) <= set(rows[:, 1])


class Fitted:
    """What a display reads of an estimator."""

    def __init__(self, path, selection, fit, scale):
        self.path_, self.selection_ = path, selection
        self.predict, self.scale_ = fit, scale


def test_the_residuals_of_another_estimator(hbk, clean_fit):
    X, y = hbk
    residual, scale = clean_fit
    path = make_shift_path(X, y)
    point = choose_at(path, path.knots[4])
    model = Fitted(path, point, lambda X: path.predict(X, point.knot), 2.0)
    robust = Fitted(None, None, lambda X: y - residual, scale)
    own = MaskingDisplay.from_estimator(model, X, y)
    assert_allclose(own.residual_, np.abs(path.residuals(X, y, point.knot)) / 2)
    both = MaskingDisplay.from_estimator(model, X, y, reference=robust)
    assert_allclose(both.residual_, np.abs(residual) / scale)
    assert_array_equal(both.flagged_, own.flagged_)
    del robust.scale_
    with pytest.raises(ValueError, match="has no scale_; give a fitted estimator"):
        MaskingDisplay.from_estimator(model, X, y, reference=robust)


def test_the_convex_path_against_the_robust_fit(hbk):
    X, y = hbk
    l1, hard = OutlierRegression("l1").fit(X, y), OutlierRegression().fit(X, y)
    display = MaskingDisplay.from_estimator(l1, X, y, reference=hard)
    assert_array_equal(display.flagged_, l1.outliers_)
    residual = np.abs(y - hard.predict(X)) / hard.scale_
    assert_allclose(display.residual_, residual, rtol=1e-10)
    assert_array_equal(np.flatnonzero(residual > 3), np.arange(10))
    assert_array_equal(np.flatnonzero(display.flagged_), np.arange(10, 14))


def test_axes(hbk):
    X, y = hbk
    path = make_shift_path(X, y)
    arguments = (path, X, y, path.knots[5])
    figure, ax = plt.subplots()
    display = MaskingDisplay.from_path(*arguments, scale=1.0, ax=ax)
    assert display.figure_ is figure
    assert display.axes_[1].get_ylim() == display.ax_.get_ylim()
    figure, axes = plt.subplots(1, 2)
    display = MaskingDisplay.from_path(*arguments, scale=1.0, ax=axes)
    assert display.axes_.tolist() == axes.tolist()
    with pytest.raises(ValueError, match="must be one matplotlib Axes or 2"):
        MaskingDisplay.from_path(*arguments, scale=1.0, ax=[axes[0]])
    free = figure.add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="ax cannot be divided"):
        MaskingDisplay.from_path(*arguments, scale=1.0, ax=free)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0.0}, "scale=0.0 must be a positive number"),
        (
            {"outliers": np.arange(75)},
            r"outliers must be a bool array of shape \(75,\)",
        ),
        ({"cut": 0.0}, "cut=0.0 must be a positive number"),
        ({"deletion_cut": np.inf}, "deletion_cut=inf must be a positive number"),
        ({"top": -1}, "top=-1 must be at least 0"),
    ],
)
def test_wrong_options(hbk, changes, message):
    path = make_shift_path(*hbk)
    with pytest.raises(ValueError, match=message):
        MaskingDisplay.from_path(
            path, *hbk, path.knots[3], **({"scale": 1.0} | changes)
        )


def test_wrong_data(hbk):
    X, y = hbk
    path = make_shift_path(X, y)
    with pytest.raises(
        ValueError, match="X has 74 rows, but the path was traced on 75"
    ):
        MaskingDisplay.from_path(path, X[1:], y, path.knots[3], scale=1.0)
    with pytest.raises(TypeError, match="has no shifts of rows"):
        MaskingDisplay.from_path(make_path(many_coefs(5)), X, y, 1.0, scale=1.0)
