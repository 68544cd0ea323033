"""What displays of structured paths share: pieces, points, grids, orders of items."""

from types import SimpleNamespace
from unittest import mock

import matplotlib.pyplot as plt
import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from sparselbi.penalties import comparisons, differences, with_identity
from sparselbi.plotting import _item_order
from sparselbi.plotting._grid import Grid, checked_grid
from sparselbi.plotting._item_order import item_order
from sparselbi.plotting._split_paths import (
    check_split_path,
    feature_list,
    knot_title,
    means,
    named_knots,
    number,
    panel_table,
    set_log_heights,
    set_time_axis,
)
from tests.plotting.common import make_path, many_coefs
from tests.plotting.split_common import (
    fixed,
    fused_path,
    hand_made,
    line_path,
    teams_path,
)


def random_pairs(rng, p):
    pairs = rng.integers(0, p, size=(int(rng.integers(1, 14)), 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return pairs if len(pairs) else np.array([[0, 1]])


# ---------------------------------------------------------------------------- pieces


@given(st.integers(0, 2**30))
def test_means_are_the_projection_on_the_kernel(seed):
    rng = np.random.default_rng(seed)
    p = int(rng.integers(2, 9))
    D = with_identity(comparisons(random_pairs(rng, p), p))
    kept = rng.random(D.n_rows) < np.where(np.arange(D.n_rows) < p, 0.2, 0.6)
    values = rng.normal(size=(3, p))
    matrix = D.to_dense()[kept]
    expected = values - values @ matrix.T @ np.linalg.pinv(matrix).T
    found = means(values, D.components(kept)[1])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(means(values[0], D.components(kept)[1]), found[0])


def test_names_of_features():
    path = line_path()
    features = np.array([0, 1, 2, 5, 8, 9])
    assert feature_list(path, features) == "x0–x2, x5, x8–x9"
    assert feature_list(path, features, room=14) == "x0–x2, … (6)"
    assert feature_list(path, np.array([7])) == "x7"
    teams = teams_path()
    assert feature_list(teams, np.array([0, 2])) == "Ajax, Celta"
    assert feature_list(teams, np.arange(6)) == "Ajax, Bari, Celta, … (6)"
    for room in range(8, 40):
        assert len(feature_list(teams, np.arange(6), room)) <= max(room, 11)


# ---------------------------------------------------------------------------- points


def test_points_and_their_names():
    path = line_path()
    t = 3 * path.t0
    assert named_knots(path, t) == {f"t = {number(t)}": t}
    assert named_knots(path, {"early": t, "late": fixed(path, 2 * t)}) == {
        "early": t,
        "late": 2 * t,
    }
    points = [fixed(path, t), fixed(path, 2 * t)]
    both = named_knots(path, points)
    assert list(both.values()) == [t, 2 * t]
    assert all(name.startswith("fixed, t = ") for name in both)
    count = path.pieces(t).max() + 1
    assert knot_title(path, "early", t) == f"early, t = {number(t)}: {count} pieces"
    assert knot_title(path, f"t = {number(t)}", t) == f"t = {number(t)}: {count} pieces"
    second = line_path(order=2)
    rows = second.active_rows(second.knots[-1]).sum()
    assert knot_title(second, "end", second.knots[-1]).endswith(f": {rows} active rows")
    with pytest.raises(ValueError, match="knots is empty"):
        named_knots(path, [])
    with pytest.raises(ValueError, match="beyond the traced range"):
        named_knots(path, [t, 1e9])


def test_a_path_without_rows_says_what_to_use():
    with pytest.raises(TypeError, match=r"SplitPath.*PathDisplay\.from_path"):
        check_split_path(make_path(many_coefs(4)))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234567, "0.01235"), (12.0, "12"), (123456.7, "123,457"), (3e12, "3e+12")],
)
def test_numbers(value, text):
    assert number(value) == text


# ------------------------------------------------------------------------------ grids


def test_features_lie_in_their_places():
    rng = np.random.default_rng(0)
    mask = rng.random((4, 3, 5)) < 0.6
    values = rng.normal(size=mask.sum())
    grid = Grid(mask.shape, mask)
    array = grid.array(values)
    np.testing.assert_array_equal(array.mask, ~mask)
    np.testing.assert_array_equal(array[mask], values)
    for axis, index in grid.cuts({0: 2, 2: (1, 4)}, values):
        expected = np.ma.masked_array(array.data, ~mask)
        expected = expected[tuple([slice(None)] * axis + [index])]
        found = grid.cut(values, (axis, index))
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_array_equal(found.compressed(), expected.compressed())
    through = grid.cuts(None, np.abs(values))
    place = np.argwhere(mask)[np.abs(values).argmax()]
    assert through == list(enumerate(place.tolist()))


def test_locations():
    mask = np.ones((4, 5), dtype=bool)
    mask[0] = False
    grid = Grid((4, 5), mask)
    assert grid.location(np.array([0])) == "(1, 0)"
    assert grid.location(np.array([1, 2, 3, 6, 7, 8])) == "6 near (2, 2)"
    assert Grid((2, 2, 2)).location(np.array([7])) == "(1, 1, 1)"


def test_grids_that_do_not_fit():
    path = SimpleNamespace(n_features=12, D=differences(12))
    assert checked_grid(path, None) is None
    assert checked_grid(path, False) is None
    assert checked_grid(path, (3, 4)).shape == (3, 4)
    with pytest.raises(ValueError, match=r"shape \(3, 5\) holds 15 .* has 12 features"):
        checked_grid(path, (3, 5))
    with pytest.raises(ValueError, match="has 4 axes"):
        checked_grid(path, (3, 2, 2, 1))
    with pytest.raises(ValueError, match="holds 9 features"):
        checked_grid(path, np.ones((3, 3), dtype=bool))
    grid = Grid((2, 3, 2))
    for slices, message in (
        ({3: 0}, "cuts axis 3 at 0"),
        ({0: 2}, "cuts axis 0 at 2"),
        ({}, "slices is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            grid.cuts(slices, np.ones(12))
    with pytest.raises(ValueError, match="is for grids of three axes"):
        Grid((3, 4)).cuts({0: 1}, np.ones(12))


# -------------------------------------------------------------------- orders of items


def random_order(seed, p=9):
    """A hand-made path at t = 1 and the order of its items."""
    rng = np.random.default_rng(seed)
    D = comparisons(random_pairs(rng, p), p)
    coef = rng.normal(size=p)
    split = D.dot(coef) * (rng.random(D.n_rows) < 0.7)
    path = hand_made(D, [coef], [split])
    return path, item_order(path, 1.0, 0)


@given(st.integers(0, 2**30))
def test_levels_are_the_pieces_by_their_scores(seed):
    path, order = random_order(seed)
    scores = path.projected(1.0).coef
    np.testing.assert_allclose(order.scores, scores, atol=1e-12)
    labels = path.pieces(1.0)
    assert sorted(map(len, order.levels)) == sorted(np.bincount(labels))
    for k, items in enumerate(order.levels):
        assert len(set(labels[items])) == 1
        assert set(order.level[items]) == {k}
        assert (np.diff(path.at(1.0).coef[items]) <= 0).all()
    assert (np.diff([order.scores[items[0]] for items in order.levels]) <= 0).all()
    for pair in order.ties():
        assert order.level[pair[0]] == order.level[pair[1]]


@given(st.integers(0, 2**30))
def test_reduced_arrows_are_the_transitive_reduction_of_the_levels(seed):
    _, order = random_order(seed)
    every, kept = order.arrows(False), order.arrows(True)
    assert all(order.scores[i] >= order.scores[j] for i, j in every)
    n_pairs = len(every) + len(order.ties()) + len(order.hidden_ties())
    assert n_pairs == len(order.edges)
    graph = networkx.DiGraph([(order.level[i], order.level[j]) for i, j in every])
    reduced = networkx.transitive_reduction(graph).edges
    expected = {(i, j) for i, j in every if (order.level[i], order.level[j]) in reduced}
    assert set(kept) == expected
    with mock.patch.object(_item_order, "_MOST_LEVELS", 0):
        near = {(i, j) for i, j in every if order.level[j] == order.level[i] + 1}
        assert set(order.arrows(True)) == near <= expected


def test_an_item_that_is_tied_to_zero_and_rows_that_come_twice():
    D = with_identity(comparisons([(0, 1), (1, 0), (1, 2)]))
    coef = np.array([2.0, 1.0, 0.1])
    #           items     0-1  1-0  1-2
    split = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    order = item_order(hand_made(D, [coef], [split]), 1.0, 0)
    assert order.edges == {(0, 1): False, (1, 2): True}
    np.testing.assert_array_equal(order.scores, 0.0)
    assert [items.tolist() for items in order.levels] == [[0, 1, 2]]
    assert order.hidden_ties() == [(1, 2)]
    split[3:5] = 0.0, 1.0
    assert not item_order(hand_made(D, [coef], [split]), 1.0, 0).edges[0, 1]
    # Both rows of the pair are active: the pair is.
    split[3] = 1.0
    order = item_order(hand_made(D, [coef], [split]), 1.0, 0)
    assert order.edges[0, 1]
    assert [items.tolist() for items in order.levels] == [[0], [1, 2]]
    assert order.scores.tolist() == [2.0, 0.0, 0.0]


# ------------------------------------------------------------------------------- axes


def test_tables_of_panels():
    axes = panel_table(None, [1, 2], [1, 1, 1], (6, 4))
    assert axes.shape == (2, 3)
    given_axes = Figure().subplots(2, 3)
    found = panel_table(given_axes, [1, 2], [1, 1, 1], (6, 4))
    assert (found == given_axes).all()
    one = Figure(layout="constrained").subplots()
    inside = panel_table(one, [1, 1], [1, 2], (6, 4))
    assert {ax.figure for ax in inside.ravel()} == {one.figure}
    assert panel_table(one, [1], [1], (6, 4))[0, 0] is one
    with pytest.raises(ValueError, match="one matplotlib Axes or 6 of them"):
        panel_table(Figure().subplots(2), [1, 2], [1, 1, 1], (6, 4))
    with pytest.raises(ValueError, match="has 4 panels and ax cannot be divided"):
        panel_table(Figure().add_axes((0, 0, 1, 1)), [1, 1], [1, 1], (6, 4))


@pytest.mark.parametrize("limits", [(1, 5), (2e3, 9e3), (3e3, 8e5), (1e5, 9e6)])
def test_times_have_short_labels_that_keep_apart(limits):
    _, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    ax.set_xlim(limits)
    set_time_axis(ax)
    ax.figure.canvas.draw()
    labels = [*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)]
    low, high = ax.get_xlim()
    shown = [
        label
        for label in labels
        if label.get_text() and low <= label.get_position()[0] <= high
    ]
    assert len(shown) >= 3
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda b: b.x0)
    for left, right in zip(boxes, boxes[1:], strict=False):
        assert left.x1 < right.x0


@pytest.mark.parametrize("high", [3, 30, 3000])
def test_logarithmic_heights_have_several_labels(high):
    _, ax = plt.subplots()
    ax.set_ylim(0.9, high)
    set_log_heights(ax)
    ax.figure.canvas.draw()
    texts = [label.get_text() for label in ax.get_yticklabels()]
    inside = [text for text in texts if text and 0.9 <= float(text) <= high]
    assert len(inside) >= 3


def test_pieces_of_a_standardized_path_are_flat_on_the_scale_of_d():
    path = fused_path()
    assert (path.coef_scale != 1).any()
    used = path.at(path.knots[-1]).coef * path.coef_scale
    labels = path.pieces(path.knots[-1])
    expected = path.projected(path.knots[-1]).coef * path.coef_scale
    np.testing.assert_allclose(means(used, labels), expected, atol=1e-10)
