"""ShiftDisplay: the lines are the shifts of the path, flagged rows have names."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sparselbi import OutlierRegression
from sparselbi.datasets import make_outliers
from sparselbi.plotting import ShiftDisplay
from sparselbi.selection import FixedKnot
from tests.plotting.common import assert_apart, make_path, many_coefs, vertical
from tests.plotting.shift_common import INTERPOLATION, choose_at, make_shift_path


@pytest.fixture(scope="module")
def data():
    return make_outliers(40, 3, 6, shift=[9, -8, 7, 6, 5, 4], random_state=0)


def several(data):
    return np.c_[data.y, data.X[:, 0] - 2 * data.shifts, data.X[:, 1]]


def sizes(path, X, y, knot):
    shifts = path.shifts(X, y, knot)
    return shifts if shifts.ndim == 1 else np.linalg.norm(shifts, axis=1)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("method", INTERPOLATION)
def test_lines_are_the_shifts(data, method, n_outputs):
    y = data.y if n_outputs == 1 else several(data)
    path = make_shift_path(data.X, y, method)
    display = ShiftDisplay.from_path(path, data.X, y, top=3)
    np.testing.assert_array_equal(display.rows_, path.outlier_order(3))
    assert set(path.knots) <= set(display.knots_)
    knots = display.knots_[1::7]
    every = np.array([sizes(path, data.X, y, knot) for knot in knots])
    for row, expected in enumerate(every.T):
        if row not in display.lines_:
            assert not np.any(expected)
            continue
        x, drawn = display.lines_[row].get_data()
        last = [np.flatnonzero(x == knot)[-1] for knot in knots]
        found = np.nan_to_num(drawn[last])
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert set(display.lines_) == set(path.outlier_order().tolist())
    kind = "norm of the shift" if n_outputs == 3 else "shift"
    assert display.ax_.get_ylabel() == f"{kind} (units of y)"


def test_the_path_reads_from_the_null_model_on(data):
    for method in INTERPOLATION:
        path = make_shift_path(data.X, data.y, method)
        display = ShiftDisplay.from_path(path, data.X, data.y)
        low, high = display.ax_.get_xlim()
        first, last = display.knots_[[0, -1]]
        np.testing.assert_allclose([low, high], [first, last])
        assert display.ax_.get_xscale() == "log"
        assert display.ax_.get_xlabel() == ("t" if method in "iss lbi" else "threshold")
        assert last == path.knots[-1]
        np.testing.assert_allclose(
            max(first / path.knots[0], path.knots[0] / first), 1.1
        )


def test_least_squares_without_the_row_jumps(data):
    path = make_shift_path(data.X, data.y, "hard")
    display = ShiftDisplay.from_path(path, data.X, data.y)
    for line in display.lines_.values():
        x, y = line.get_data()
        moves = (np.diff(x) != 0) & (np.diff(y) != 0) & np.isfinite(np.diff(y))
        assert not moves.any()


def test_between_knots_the_lines_are_the_path(data):
    """Straight in the threshold, they are curved on a logarithmic axis."""
    path = make_shift_path(data.X, data.y, "l1", n_knots=3)
    display = ShiftDisplay.from_path(path, data.X, data.y)
    assert np.diff(np.log(display.knots_[1:])).min() > -0.02
    row = display.rows_[0]
    x, y = display.lines_[row].get_data()
    expected = [path.shifts(data.X, data.y, knot)[row] for knot in x[1:]]
    np.testing.assert_allclose(np.nan_to_num(y[1:]), expected, atol=1e-12)


@pytest.mark.parametrize("method", ["hard", "iss"])
def test_a_point_before_the_first_outlier_is_in_the_figure(data, method):
    path = make_shift_path(data.X, data.y, method)
    knot = path.knots[0] * 1.5**-path._direction
    point = FixedKnot(knot).select(path)
    display = ShiftDisplay.from_path(path, data.X, data.y, [point])
    assert vertical(display.ax_) == {knot}
    low, high = sorted(display.ax_.get_xlim())
    assert low < knot < high


def test_flagged_rows_are_named_and_the_point_is_marked(data):
    path = make_shift_path(data.X, data.y, "hard")
    knot = path.knots[8]
    display = ShiftDisplay.from_path(
        path, data.X, data.y, [choose_at(path, knot, "cut")], top=4
    )
    mask = path.outliers(knot)
    assert mask.sum() > 4
    assert set(display.rows_) == set(np.flatnonzero(mask))
    texts = [text.get_text() for text in display.ax_.texts]
    named = [str(row) for row in display.rows_[:4]]
    assert sorted(texts) == sorted([*named, f"cut: {mask.sum()} outliers"])
    assert vertical(display.ax_) == {knot}
    assert_apart(display.ax_.texts)
    color = {row: line.get_color() for row, line in display.lines_.items()}
    assert len({color[row] for row in display.rows_[:4]}) == 4
    assert {color[row] for row in display.rows_[4:].tolist()} == {"#d89a9a"}
    rest = set(color) - set(display.rows_.tolist())
    assert {color[row] for row in rest} <= {"0.75"}


def test_two_rules_and_one_outlier(data):
    path = make_shift_path(data.X, data.y, "l1", n_knots=100)
    one = path.knots[[path.outliers(k).sum() == 1 for k in path.knots]][0]
    points = [choose_at(path, one, rule) for rule in ("cut", "bic")]
    points.append(choose_at(path, path.knots[-1], "sigma"))
    display = ShiftDisplay.from_path(path, data.X, data.y, points)
    count = path.outliers(path.knots[-1]).sum()
    texts = {text.get_text() for text in display.ax_.texts}
    assert {"cut, BIC: 1 outlier", f"sigma: {count} outliers"} <= texts
    assert display.rows_.tolist() == path.outlier_order(1).tolist()


def test_names_from_the_path(data):
    names = tuple(f"star {i}" for i in range(40))
    path = make_shift_path(data.X, data.y, "l1", row_names=names)
    frame = pd.DataFrame(data.X, index=names)
    display = ShiftDisplay.from_path(path, frame, pd.Series(data.y, names), top=2)
    texts = {text.get_text() for text in display.ax_.texts}
    assert texts == {names[row] for row in path.outlier_order(2)}
    first = display.rows_[0]
    assert display.lines_[first].get_label() == names[first]


@pytest.mark.parametrize("method", ["hard", "iss", "lbi", "l1"])
def test_of_an_estimator(data, method):
    names = [f"row {i}" for i in range(40)]
    X, y = pd.DataFrame(data.X, index=names).add_prefix("x"), data.y
    model = OutlierRegression(method, selector="gap").fit(X, y)
    display = ShiftDisplay.from_estimator(model, X, y)
    path, knot = model.path_, model.selection_.knot
    flagged = np.flatnonzero(model.outliers_)
    assert set(display.rows_) == set(flagged)
    assert len(flagged)
    np.testing.assert_allclose(
        display.shifts_[display.knots_ == knot, : len(flagged)][0],
        path.shifts(X, y, knot)[display.rows_],
        rtol=1e-9,
    )
    texts = {text.get_text() for text in display.ax_.texts}
    assert {names[i] for i in display.rows_[:10]} <= texts
    assert any(text.endswith(f": {len(flagged)} outliers") for text in texts)


def test_sparse_rows(data):
    path = make_shift_path(data.X, data.y)
    dense = ShiftDisplay.from_path(path, data.X, data.y)
    of_sparse = ShiftDisplay.from_path(path, sparse.csr_array(data.X), data.y)
    np.testing.assert_allclose(of_sparse.shifts_, dense.shifts_, atol=1e-12)


def test_row_factor(data):
    factor = np.linspace(0.5, 1.5, 40)
    path = make_shift_path(data.X, data.y, row_factor=factor)
    display = ShiftDisplay.from_path(path, data.X, data.y, top=40)
    expected = path.shifts(data.X, data.y, path.knots[-1])[display.rows_]
    found = display.shifts_[-1, : len(display.rows_)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_many_rows_and_knots_stay_cheap():
    data = make_outliers(3000, 2, 600, random_state=0)
    path = make_shift_path(data.X, data.y, n_knots=1000)
    point = choose_at(path, path.knots[-1])
    display = ShiftDisplay.from_path(path, data.X, data.y, [point], top=5)
    assert len(display.knots_) <= 200 + 5 + 3
    assert len(display.rows_) == 500
    assert len(display.lines_) <= 500 + 150
    for row in display.rows_[:5]:  # entries of named rows are where they are
        x, y = display.lines_[row].get_data()
        start = np.flatnonzero(np.isfinite(y) & (y != 0))[0]
        assert x[start - 1] >= path.row_entry[row] >= x[start]


def test_counts_of_shifted_rows(data):
    path = make_shift_path(data.X, data.y)
    display = ShiftDisplay.from_path(path, data.X, data.y)
    (top,) = display.ax_.child_axes
    places = top.get_xticks()
    counts = [
        path.outliers(np.clip(k, *sorted(path.knots[[0, -1]]))).sum() for k in places
    ]
    assert [int(t.get_text()) for t in top.get_xticklabels()] == counts
    assert counts[0] == 0
    assert counts[-1] == path.outliers(path.knots[-1]).sum()


def test_end(data):
    path = make_shift_path(data.X, data.y)
    end = np.sqrt(path.knots[5] * path.knots[6])
    display = ShiftDisplay.from_path(path, data.X, data.y, end=end)
    assert display.ax_.get_xlim()[1] == pytest.approx(end)
    row = display.rows_[0]
    last = display.lines_[row].get_ydata()[-1]
    assert last == pytest.approx(path.shifts(data.X, data.y, end)[row])
    for bad in (2 * path.knots[0], path.knots[-1] / 2, 0.0, np.nan):
        with pytest.raises(ValueError, match="end=.* beyond the start .* of the path"):
            display.plot(end=bad)
    point = choose_at(path, path.knots[8], "bic")
    with pytest.raises(ValueError, match=r"hides the point BIC at threshold="):
        ShiftDisplay.from_path(path, data.X, data.y, [point], end=end)


def test_a_path_without_outliers(data):
    path = make_shift_path(data.X, data.y, n_knots=1)
    display = ShiftDisplay.from_path(
        path, data.X, data.y, [choose_at(path, path.knots[0])]
    )
    assert display.lines_ == {}
    assert [text.get_text() for text in display.ax_.texts] == ["cut: 0 outliers"]
    display.figure_.canvas.draw()


def test_own_axes(data):
    path = make_shift_path(data.X, data.y)
    _, axes = plt.subplots(1, 2)
    display = ShiftDisplay.from_path(path, data.X, data.y, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is axes[1].figure
    assert not axes[0].has_data()


def test_wrong_input(data):
    path = make_shift_path(data.X, data.y)
    lasso = make_path(many_coefs(5))
    with pytest.raises(TypeError, match="has no shifts of rows"):
        ShiftDisplay.from_path(lasso, data.X, data.y)
    with pytest.raises(
        ValueError, match="X has 39 rows, but the path was traced on 40"
    ):
        ShiftDisplay.from_path(path, data.X[1:], data.y)
    with pytest.raises(ValueError, match="y has 39 rows"):
        ShiftDisplay.from_path(path, data.X, data.y[1:])
    with pytest.raises(ValueError, match="top=0 must be at least 1"):
        ShiftDisplay.from_path(path, data.X, data.y, top=0)
    with pytest.raises(ValueError, match="has no path_; fit an estimator"):
        ShiftDisplay.from_estimator(object(), data.X, data.y)
    other = choose_at(make_shift_path(data.X, data.y, n_knots=7), path.knots[3])
    with pytest.raises(ValueError, match="it is of another path"):
        ShiftDisplay.from_path(path, data.X, data.y, [other])
