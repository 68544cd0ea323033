"""StabilityDisplay: shares and entry times as they are."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from sparselbi import LBI
from sparselbi.plotting import StabilityDisplay
from sparselbi.plotting._layout import text_box
from sparselbi.selection.stability import Stability
from tests.plotting.common import assert_apart, vertical


def make_stability(p=30, n_pairs=10, seed=0):
    """Feature j enters around t = j + 1; the last ones seldom, 0 never at all."""
    rng = np.random.default_rng(seed)
    center = np.arange(1, p + 1)
    entries = center * rng.uniform(0.7, 1.4, size=(2 * n_pairs, p))
    entries[rng.random(entries.shape) < center / p * 0.6] = np.inf
    entries[:, 0] = np.inf
    return Stability(
        knots=np.geomspace(1, p, 40),
        entry_knots=np.where(entries > p, np.inf, entries),
        reference=np.where(center % 5 == 0, np.nan, center),
        penalized=np.ones(p, dtype=bool),
    )


@pytest.fixture
def stability():
    return make_stability()


def median(stability, j):
    return np.sort(stability.entry_knots[:, j])[2 * stability.n_pairs // 2]


def test_lines_are_the_probabilities(stability):
    display = StabilityDisplay.from_stability(stability, top=5)
    shares = stability.probabilities()
    assert set(display.lines_) == set(display.features_)
    assert len(display.features_) == 5
    for j, line in display.lines_.items():
        t, share = line.get_data()
        reached = np.searchsorted(t, stability.knots, side="right") - 1
        np.testing.assert_allclose(share[reached], shares[:, j], atol=1e-12)
        assert np.all(np.diff(share) >= 0)
    (others,) = display.ax_.collections
    assert len(others.get_segments()) == 30 - 5 - 1  # feature 0 never enters


def test_features_are_in_the_order_of_their_median_entry(stability):
    display = StabilityDisplay.from_stability(stability, top=40)
    order = display.features_
    assert sorted(order) == list(range(1, 30))
    medians = [median(stability, j) for j in order]
    assert (np.diff(np.minimum(medians, 1e6)) >= 0).all()
    never = [j for j in order if np.isinf(median(stability, j))]
    shares = np.isfinite(stability.entry_knots[:, never]).mean(axis=0)
    assert (np.diff(shares) <= 0).all()


def test_boxes_are_the_quartiles(stability):
    display = StabilityDisplay.from_stability(stability, kind="entry", top=29)
    (ax,) = display.axes_
    right = ax.get_xlim()[1]
    quartiles = np.quantile(
        stability.entry_knots, [0.25, 0.75], axis=0, method="higher"
    )
    for row, j in enumerate(display.features_):
        low, high = quartiles[:, j]
        if np.isinf(low):
            assert j not in display.boxes_
            continue
        box = display.boxes_[j]
        assert box.get_x() == pytest.approx(low)
        assert box.get_x() + box.get_width() == pytest.approx(min(high, right))
        assert box.get_y() + box.get_height() / 2 == pytest.approx(row)
        assert display.lines_ == {}
    shares = [t.get_text() for t in ax.texts if t.get_text() != "never"]
    never = np.isinf(stability.entry_knots[:, display.features_]).mean(axis=0)
    assert shares == [f"{100 * share:.0f} %" for share in never]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [f"x{j}" for j in display.features_]
    full = [line for line in ax.get_lines() if line.get_marker() == "D"]
    expected = stability.reference[display.features_]
    np.testing.assert_array_equal(
        [line.get_xdata()[0] for line in full], expected[np.isfinite(expected)]
    )


@pytest.mark.parametrize("kind", ["both", "probability", "entry"])
@pytest.mark.parametrize("top", [1, 10, 20])
def test_names_do_not_overlap_and_stay_in_the_figure(stability, kind, top):
    names = tuple(f"feature {j}" for j in range(30))
    display = StabilityDisplay.from_stability(
        replace(stability, feature_names=names), kind=kind, top=top
    )
    display.figure_.canvas.draw()
    assert len(display.axes_) == 1 + (kind == "both")
    for ax in display.axes_:
        assert_apart([*ax.texts, *ax.get_yticklabels()])
        for text in ax.texts:
            box, page = text_box(text), display.figure_.bbox
            assert page.x0 <= box.x0 < box.x1 <= page.x1
            assert page.y0 <= box.y0 < box.y1 <= page.y1


def test_threshold_and_expected_false(stability):
    display = StabilityDisplay.from_stability(
        stability, threshold=0.8, expected_false=2
    )
    knot = stability.knot_for(2, 0.8)
    for ax in display.axes_:
        assert knot in vertical(ax)
    n_stable = len(stability.selected(0.8, knot))
    texts = [t.get_text() for t in display.ax_.texts]
    assert f"expected false ≤ 2: {n_stable} stable" in texts
    levels = [
        x.get_ydata()[0] for x in display.ax_.get_lines() if x.get_linestyle() == "--"
    ]
    assert levels == [0.8]
    bare = display.plot(threshold=None, kind="probability")
    assert not [x for x in bare.ax_.get_lines() if x.get_linestyle() == "--"]
    assert not vertical(bare.ax_)
    assert not vertical(display.plot(expected_false=None, kind="probability").ax_)


def test_one_color_for_a_feature_in_both_panels(stability):
    display = StabilityDisplay.from_stability(stability)
    labels = display.axes_[1].get_yticklabels()
    for j, label in zip(display.features_, labels, strict=True):
        assert label.get_color() == display.lines_[j].get_color()
        assert label.get_text() == display.lines_[j].get_label()


def test_t_max_and_given_axes(stability):
    figure = Figure(figsize=(8, 7), layout="constrained")
    display = StabilityDisplay.from_stability(
        stability, t_max=10.0, ax=figure.subplots()
    )
    assert display.figure_ is figure
    assert all(ax.get_xlim()[1] == 10.0 for ax in display.axes_)
    for j, line in display.lines_.items():
        assert line.get_ydata()[-1] == pytest.approx(stability.probabilities(10.0)[j])


def test_from_estimator(problem):
    X, y = problem.X, problem.y[0]
    model = LBI(kappa=np.inf).fit(X, y)
    display = StabilityDisplay.from_estimator(
        model, X, y, n_pairs=3, random_state=1, top=4
    )
    expected = model.path_.stability(X, y, n_pairs=3, random_state=1)
    np.testing.assert_array_equal(display.stability.entry_knots, expected.entry_knots)
    assert len(display.features_) == 4
    with pytest.raises(ValueError, match="has no path_; fit an estimator"):
        StabilityDisplay.from_estimator(LBI(), X, y)


def test_nothing_ever_enters(stability):
    empty = replace(stability, entry_knots=np.full((20, 30), np.inf))
    display = StabilityDisplay.from_stability(empty)
    display.figure_.canvas.draw()
    assert display.lines_ == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "box"}, "kind='box' is unknown.*entry"),
        ({"top": 0}, "top=0 must be at least 1"),
        ({"threshold": 0.4}, "threshold=0.4 must be above 0.5"),
        ({"expected_false": 0}, "expected_false=0 must be a positive"),
        ({"t_max": 0.1}, "t_max=0.1 must be a number beyond the first entry"),
    ],
)
def test_options_that_cannot_be_used(stability, options, message):
    with pytest.raises(ValueError, match=message):
        StabilityDisplay.from_stability(stability, **options)
