"""ItemGraphDisplay: levels by score, ties within them, arrows from one to the next."""

import sys
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from sparselbi import SplitLBI
from sparselbi.penalties import comparisons, with_identity
from sparselbi.plotting import ItemGraphDisplay
from tests.plotting.common import make_path, many_coefs
from tests.plotting.split_common import (
    TEAMS,
    classes_path,
    fixed,
    fused_problem,
    hand_made,
    identity_path,
    line_path,
    teams_path,
)

EVERY = list(combinations(range(6), 2))


def scored(scores, pairs, knot=1.0, **changes):
    """A path with one knot at which items with different scores differ."""
    D = comparisons(pairs, len(scores))
    return hand_made(D, [scores], [D.dot(np.asarray(scores))], [knot], **changes)


def boxes(display):
    return [
        node.get_bbox_patch().get_window_extent() for node in display.nodes_.values()
    ]


# ---------------------------------------------------------------------------- levels


def test_levels_scores_and_heights():
    path = teams_path()
    t = 8 * path.t0
    display = ItemGraphDisplay.from_path(path, t)
    np.testing.assert_allclose(display.scores_, path.projected(t).coef, atol=1e-9)
    assert [set(items) for items in display.levels_] == [{0, 1}, {2, 3, 4}, {5}]
    heights = [set(display.positions_[items, 1]) for items in display.levels_]
    assert all(len(level) == 1 for level in heights)
    first, second, third = (level.pop() for level in heights)
    assert first > second > third
    # There is room: heights are scores.
    a, b, c = (display.scores_[items[0]] for items in display.levels_)
    assert (first - second) / (second - third) == pytest.approx((a - b) / (b - c))
    ticks = display.ax_.get_yticks()
    np.testing.assert_allclose(ticks, [first, second, third])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [f"{x:.3g}".replace("-", "−") for x in (a, b, c)]
    assert display.ax_.get_title() == f"t = {t:.4g}: 3 pieces"


def test_boxes_have_the_names_and_keep_apart():
    for t in (1.0, 2.0, 4.0, 8.0, 90.0):
        path = teams_path()
        display = ItemGraphDisplay.from_path(path, t * path.t0)
        display.figure_.canvas.draw()
        assert {j: n.get_text() for j, n in display.nodes_.items()} == dict(
            enumerate(TEAMS)
        )
        for j, node in display.nodes_.items():
            assert node.get_position() == tuple(display.positions_[j])
        for a, b in combinations(boxes(display), 2):
            assert not a.overlaps(b)
        inside = display.ax_.get_window_extent()
        for box in boxes(display):
            assert inside.x0 <= box.x0 < box.x1 <= inside.x1
            assert inside.y0 <= box.y0 < box.y1 <= inside.y1


@pytest.mark.parametrize("n_items", [25, 60])
def test_a_level_that_is_too_long_takes_several_rows(n_items):
    names = [f"item number {j}" for j in range(n_items)]
    pairs = [(j, j + 1) for j in range(n_items - 1)]
    path = scored(np.zeros(n_items), pairs, feature_names=names)
    display = ItemGraphDisplay.from_path(path, 1.0)
    display.figure_.canvas.draw()
    (level,) = display.levels_
    assert len(level) == n_items
    assert len(set(display.positions_[:, 1])) > 1
    inside = display.ax_.get_window_extent()
    for a, b in combinations(boxes(display), 2):
        assert not a.overlaps(b)
    assert all(inside.x0 <= box.x0 < box.x1 <= inside.x1 for box in boxes(display))


def test_close_scores_keep_apart():
    scores = [5.0, 1.02, 1.01, 1.0, -3.0]
    display = ItemGraphDisplay.from_path(
        scored(scores, list(combinations(range(5), 2))), 1.0
    )
    display.figure_.canvas.draw()
    assert (np.diff(display.positions_[:, 1]) < 0).all()
    for a, b in combinations(boxes(display), 2):
        assert not a.overlaps(b)
    # small axes make the boxes smaller
    figure, ax = plt.subplots(figsize=(4, 1.8), layout="constrained")
    display.plot(ax)
    figure.canvas.draw()
    for a, b in combinations(boxes(display), 2):
        assert not a.overlaps(b)


def test_the_same_figure_every_time():
    path = teams_path()
    one, two = (ItemGraphDisplay.from_path(path, 5 * path.t0) for _ in range(2))
    np.testing.assert_array_equal(one.positions_, two.positions_)


# ------------------------------------------------------------------------------ edges


def test_ties_are_the_inactive_rows():
    path = teams_path()
    for factor in (1.5, 3.0, 8.0):
        t = factor * path.t0
        display = ItemGraphDisplay.from_path(path, t)
        active = dict(zip(EVERY, path.active_rows(t), strict=True))
        assert set(display.ties_) == {pair for pair in EVERY if not active[pair]}
        labels = path.pieces(t)
        hidden = {p for p in EVERY if active[p] and labels[p[0]] == labels[p[1]]}
        assert set(display.hidden_ties_) == hidden
        for (i, j), line in display.ties_.items():
            ends = np.sort(np.asarray(line.get_path().vertices)[[0, -1], 0])
            centers = np.sort(display.positions_[[i, j], 0])
            assert centers[0] - 1e-9 <= ends[0] < ends[1] <= centers[1] + 1e-9


def test_arrows_go_down_to_the_next_level():
    path = teams_path()
    display = ItemGraphDisplay.from_path(path, 8 * path.t0)
    levels = [set(items.tolist()) for items in display.levels_]
    expected = {
        (i, j) for a, b in zip(levels, levels[1:], strict=False) for i in a for j in b
    }
    assert set(display.arrows_) == expected
    for (i, j), arrow in display.arrows_.items():
        start, end = arrow._posA_posB
        assert start[0] == display.positions_[i, 0]
        assert end[0] == display.positions_[j, 0]
        assert display.positions_[i, 1] > start[1] > end[1] > display.positions_[j, 1]
    every = display.plot(arrows="all").arrows_
    different = {p for p in EVERY if display.scores_[p[0]] != display.scores_[p[1]]}
    assert {tuple(sorted(pair)) for pair in every} == different
    assert all(display.scores_[i] > display.scores_[j] for i, j in every)


def test_an_arrow_to_a_far_level_if_nothing_implies_it():
    # 0 > 1 > 2 are compared with the next one, 3 only with 0.
    path = scored([3.0, 2.0, 1.0, 0.0], [(0, 1), (1, 2), (3, 0)])
    assert set(ItemGraphDisplay.from_path(path, 1.0).arrows_) == {
        (0, 1),
        (1, 2),
        (0, 3),
    }
    path = scored([3.0, 2.0, 1.0, 0.0], [(0, 1), (1, 2), (0, 2), (2, 3)])
    assert set(ItemGraphDisplay.from_path(path, 1.0).arrows_) == {
        (0, 1),
        (1, 2),
        (2, 3),
    }


def test_the_legend_names_what_is_drawn():
    def texts(path, t):
        legend = ItemGraphDisplay.from_path(path, t).ax_.get_legend()
        return [text.get_text() for text in legend.get_texts()]

    path = teams_path()
    assert texts(path, 0.5 * path.t0) == ["tied"]
    assert texts(path, 8 * path.t0) == ["differ", "tied"]
    assert texts(scored([1.0, 2.0], [(0, 1)]), 1.0) == ["differ"]
    D = comparisons([(0, 1), (1, 2), (0, 2)])
    partly = hand_made(D, [[1.0, 2.0, 3.0]], [[0.0, 0.0, -1.0]])
    assert texts(partly, 1.0) == ["tied", "differ, but others tie them"]


def test_many_items_are_dots():
    n = 80
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, n, size=(300, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    path = scored(np.repeat([2.0, 0.0, -1.0, -1.5], 20), pairs)
    display = ItemGraphDisplay.from_path(path, 1.0)
    assert display.nodes_ == {}
    np.testing.assert_array_equal(display.dots_.get_offsets(), display.positions_)
    (lines,) = set(display.arrows_.values())
    segments = lines.get_segments()
    for (i, j), segment in zip(display.arrows_, segments, strict=True):
        np.testing.assert_array_equal(segment, display.positions_[[i, j]])
    named = display.plot(names=True)
    assert len(named.nodes_) == n


# --------------------------------------------------------------------------- networks


def test_a_network_of_items():
    path = teams_path()
    display = ItemGraphDisplay.from_path(path, 8 * path.t0, layout="network")
    first = display.positions_.copy()
    np.testing.assert_array_equal(display.dots_.get_offsets(), first)
    np.testing.assert_array_equal(display.dots_.get_array(), display.scores_)
    low, high = display.dots_.get_clim()
    assert -low == high == np.abs(display.scores_).max()
    np.testing.assert_array_equal(display.plot(layout="network").positions_, first)
    # Ties pull: they are shorter than the others.
    length = {pair: np.linalg.norm(first[pair[0]] - first[pair[1]]) for pair in EVERY}
    tied = [length[pair] for pair in display.ties_]
    others = [length[tuple(sorted(pair))] for pair in display.arrows_]
    assert len(tied) + len(others) == len(EVERY)
    assert np.mean(tied) < 0.8 * np.mean(others)
    assert {text.get_text() for text in display.ax_.texts} == set(TEAMS)


def test_given_positions():
    path = teams_path()
    places = np.random.default_rng(0).normal(size=(6, 2))
    display = ItemGraphDisplay.from_path(path, 8 * path.t0, layout=places)
    np.testing.assert_array_equal(display.dots_.get_offsets(), places)
    (lines,) = set(display.ties_.values())
    for pair, segment in zip(display.ties_, lines.get_segments(), strict=True):
        np.testing.assert_array_equal(segment, places[list(pair)])
    with pytest.raises(ValueError, match=r"layout has shape \(5, 2\).*\(6, 2\)"):
        display.plot(layout=places[:5])


def test_without_networkx(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    path = teams_path()
    display = ItemGraphDisplay.from_path(path, 8 * path.t0)  # levels need none
    with pytest.raises(ImportError, match=r'pip install "sparselbi\[graphs\]"'):
        display.plot(layout="network")


# ------------------------------------------------------------------------------ entry


def test_one_of_several_outputs():
    path = classes_path()
    display = ItemGraphDisplay.from_path(path, 9.0, output=2)
    np.testing.assert_allclose(display.scores_, path.projected(9.0).coef[2], atol=1e-9)
    with pytest.raises(ValueError, match=r"output=None must be .*below 3.*'a', 'b'"):
        ItemGraphDisplay.from_path(path, 9.0)
    with pytest.raises(ValueError, match="output=3 must be"):
        ItemGraphDisplay.from_path(path, 9.0, output=3)


def test_from_estimator_and_given_axes():
    problem, _, _ = fused_problem()
    D = with_identity(comparisons(list(combinations(range(24), 2)), 24))
    model = SplitLBI(D, nu=5.0).fit(problem.X, problem.y[0])
    figure = Figure(figsize=(8, 6), layout="constrained")
    display = ItemGraphDisplay.from_estimator(model, ax=figure.subplots())
    assert display.figure_ is figure
    assert display.knot == model.selection_.knot
    assert display.ax_.get_title().startswith("EBIC, t = ")
    np.testing.assert_allclose(display.scores_, model.sparse_coef_, atol=1e-9)


def test_paths_and_options_that_cannot_be_used():
    path = teams_path()
    with pytest.raises(TypeError, match="needs a SplitPath"):
        ItemGraphDisplay.from_path(make_path(many_coefs(4)), 1.0)
    for wrong in (line_path(order=2), identity_path()):
        with pytest.raises(ValueError, match=r"do not compare two items.*Profile"):
            ItemGraphDisplay.from_path(wrong, wrong.t0)
    with pytest.raises(ValueError, match="must be one value of t or one Selection"):
        ItemGraphDisplay.from_path(path, [path.t0, 2 * path.t0])
    with pytest.raises(ValueError, match="beyond the traced range"):
        ItemGraphDisplay.from_path(path, 1e9)
    point = fixed(path, 2 * path.t0)
    assert ItemGraphDisplay.from_path(path, point).knot == point.knot
    for options, message in (
        ({"layout": "circle"}, "layout='circle' is unknown"),
        ({"arrows": "none"}, "arrows='none' is unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            ItemGraphDisplay.from_path(path, point, **options)
