"""PiecesDisplay: lines are the values of the pieces, colours those of the point."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from sparselbi import SplitLBI
from sparselbi.penalties import comparisons, differences
from sparselbi.plotting import PiecesDisplay, pieces_display
from sparselbi.plotting._layout import text_box
from tests.plotting.common import assert_apart, make_path, many_coefs, vertical
from tests.plotting.split_common import (
    classes_path,
    fixed,
    fused_path,
    fused_problem,
    grid_path,
    hand_made,
    line_path,
    teams_path,
)

PATHS = {
    "line": line_path,
    "exact": lambda: line_path(exact=True),
    "fused": fused_path,
    "teams": teams_path,
    "grid": lambda: grid_path()[0],
}


@pytest.fixture(params=PATHS)
def path(request):
    return PATHS[request.param]()


def between(path, end=None):
    """Times up to `end` at which nothing happens, between knots and events."""
    end = path.knots[-1] if end is None else end
    corners = np.unique(np.r_[path.knots, path.split.events["t"], end])
    middle = (corners[1:] + corners[:-1]) / 2
    return middle[middle < end]


def drawn_at(line, t):
    x, y = line.get_data()
    right = np.searchsorted(x, t)
    assert x[right - 1] < t < x[right]
    return np.interp(t, x[right - 1 : right + 1], y[right - 1 : right + 1])


# ----------------------------------------------------------------------------- lines


def test_lines_are_the_projected_coefficients(path):
    display = PiecesDisplay.from_path(path, x="t", top=100)
    colored = np.flatnonzero([line is not None for line in display.lines_])
    assert len(colored) > path.n_features // 2
    for t in between(path)[::7]:
        expected = path.projected(t).coef * path.coef_scale
        found = [drawn_at(display.lines_[j], t) for j in colored]
        np.testing.assert_allclose(found, expected[colored], atol=1e-9)


def test_features_share_a_line_as_long_as_they_are_never_apart(path):
    display = PiecesDisplay.from_path(path, top=100)
    times = between(path, display.ax_.get_xlim()[1])
    patterns = {path.pieces(t).tobytes(): path.pieces(t) for t in times}
    labels = np.array(list(patterns.values()))
    colored = [j for j, line in enumerate(display.lines_) if line is not None]
    for i in colored:
        for j in colored:
            together = (labels[:, i] == labels[:, j]).all()
            assert (display.lines_[i] is display.lines_[j]) == together


def test_values_jump_where_a_row_enters():
    path = line_path()
    display = PiecesDisplay.from_path(path, top=100)
    line = display.lines_[14]  # truth: 0-14, 15-29, 30-39
    t, value = line.get_data()
    entry = path.split.events[path.split.events["feature"] == 14][0]
    here = np.flatnonzero(t == entry["t"])
    assert len(here) == 2
    assert abs(np.diff(value[here])[0]) > 0.1


def test_exact_paths_are_steps():
    path = line_path(exact=True)
    display = PiecesDisplay.from_path(path, x="t", top=100)
    for line in filter(None, display.lines_):
        x, y = line.get_data()
        assert not ((np.diff(x) != 0) & (np.diff(y) != 0)).any()


def test_pieces_that_merge_again():
    """Row 1 leaves at t = 2.5: the lines meet, and are one again."""
    D = differences(3)
    coefs = np.array([[0, 0, 0], [0, 1, 4.0], [0, 2, 4.0], [0, 3, 4.0]])
    splits = np.array([[0, 0], [1, 1], [1, 0], [1, 0.0]])
    path = hand_made(D, coefs, splits, knots=[1, 2, 3, 4.0])
    display = PiecesDisplay.from_path(path, x="t")
    for t, middle, last in ((2.0, 1, 4), (3.0, 3, 3), (4.0, 3.5, 3.5)):
        assert path.projected(t).coef.tolist() == [0, middle, last]
        for j, expected in ((1, middle), (2, last)):
            x, y = display.lines_[j].get_data()
            assert y[np.flatnonzero(x == t)[-1]] == pytest.approx(expected)
    # At the end there are two pieces, and no features are always together.
    assert [piece.tolist() for piece in display.pieces_] == [[1, 2], [0]]
    assert len(set(display.lines_)) == 3
    assert display.lines_[1].get_color() == display.lines_[2].get_color()
    assert display.lines_[0].get_color() != display.lines_[1].get_color()


def test_features_that_are_tied_to_zero():
    path = fused_path()
    point = fixed(path, 3 * path.t0)
    labels = path.pieces(point.knot)
    assert (labels < 0).any()
    display = PiecesDisplay.from_path(path, [point])
    for j in np.flatnonzero(labels < 0):
        assert display.lines_[j] is None
        assert not any(j in piece for piece in display.pieces_)


# ---------------------------------------------------------------------------- colours


def test_colours_are_the_pieces_at_the_point():
    path = line_path()
    point = fixed(path, 3 * path.t0)
    display = PiecesDisplay.from_path(path, [point])
    labels = path.pieces(point.knot)
    assert 2 < labels.max() + 1 <= 10
    sizes = [len(piece) for piece in display.pieces_]
    assert sorted(sizes, reverse=True) == sizes
    colors = set()
    for piece in display.pieces_:
        assert len(set(labels[piece])) == 1
        assert len(piece) == (labels == labels[piece[0]]).sum()
        (color,) = {display.lines_[j].get_color() for j in piece}
        colors.add(color)
    assert len(colors) == len(display.pieces_) == labels.max() + 1
    assert vertical(display.ax_) == {point.knot}
    texts = [text.get_text() for text in display.ax_.texts]
    assert f"fixed: {labels.max() + 1} pieces" in texts


def test_without_a_point_colours_are_those_at_the_end():
    path = teams_path()
    display = PiecesDisplay.from_path(path)
    labels = path.pieces(path.knots[-1])
    found = {tuple(piece) for piece in display.pieces_}
    expected = {tuple(np.flatnonzero(labels == i)) for i in range(labels.max() + 1)}
    assert found == expected


def test_top_pieces_are_in_colour_and_the_others_grey():
    path = line_path()
    point = fixed(path, 3 * path.t0)
    display = PiecesDisplay.from_path(path, [point], top=2)
    assert len(display.pieces_) == 2
    inside = np.concatenate(display.pieces_)
    drawn = np.flatnonzero([line is not None for line in display.lines_])
    np.testing.assert_array_equal(drawn, np.sort(inside))
    n_others = path.pieces(point.knot).max() - 1
    texts = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert f"{n_others} smaller pieces" in texts


def test_trunks_are_where_several_colours_are_one():
    path = teams_path()
    display = PiecesDisplay.from_path(path, top=100)
    reference = path.pieces(path.knots[-1])
    covered = display.trunks_[0].get_segments()
    for t in between(path)[::3]:
        labels, values = path.pieces(t), path.projected(t).coef * path.coef_scale
        mixed = [
            labels[j] for j in range(6) if len(set(reference[labels == labels[j]])) > 1
        ]
        expected = {round(values[labels == i][0], 6) for i in mixed}
        found = set()
        for segment in covered:
            x, y = segment.T
            if x[0] < t < x[-1]:
                right = np.searchsorted(x, t)
                part = slice(right - 1, right + 1)
                found.add(round(float(np.interp(t, x[part], y[part])), 6))
        assert found == expected


# ------------------------------------------------------------------------------ names


def test_names_of_features_stand_at_the_ends():
    path = teams_path()
    display = PiecesDisplay.from_path(path)
    labels = [line.get_label() for line in dict.fromkeys(display.lines_)]
    texts = [text.get_text() for text in display.ax_.texts]
    assert sorted(texts) == sorted(labels)
    assert set(", ".join(texts).split(", ")) == set(path.feature_names)
    named = {text.get_text(): text.get_color() for text in display.ax_.texts}
    for line in display.lines_:
        assert named[line.get_label()] == line.get_color()


@pytest.mark.parametrize("name", ["line", "fused", "teams"])
def test_names_do_not_overlap_and_stay_in_the_figure(name):
    path = PATHS[name]()
    points = [fixed(path, k * path.t0) for k in (2, 2.1, 4)]
    display = PiecesDisplay.from_path(path, points)
    display.figure_.canvas.draw()
    assert_apart(display.ax_.texts)
    page = display.figure_.bbox
    for text in display.ax_.texts:
        box = text_box(text)
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1


def test_many_lines_have_the_names_of_the_pieces_only():
    path = line_path()
    end = path.knots[-1]
    display = PiecesDisplay.from_path(path, [fixed(path, 3 * path.t0)], t_max=end)
    assert path.pieces(end).max() > 30
    ends = [t for t in display.ax_.texts if "pieces" not in t.get_text()]
    assert len(ends) == len(display.pieces_)
    for text, piece in zip(ends, display.pieces_, strict=True):
        assert text.get_text().startswith(f"x{piece[0]}")


def test_pieces_of_a_grid_are_named_by_their_places():
    path, mask, truth = grid_path()
    point = fixed(path, 3 * path.t0)
    display = PiecesDisplay.from_path(path, [point], top=2, t_max=point.knot)
    rest, block = display.pieces_
    np.testing.assert_array_equal(block, np.flatnonzero(truth))
    texts = {text.get_text() for text in display.ax_.texts}
    middle = np.argwhere(mask)[block].mean(axis=0).round().astype(int)
    assert f"{len(block)} near ({middle[0]}, {middle[1]})" in texts


@pytest.mark.parametrize("x", ["log_t", "t"])
def test_counts_on_the_top_axis_are_those_of_the_path(x):
    path = line_path()
    display = PiecesDisplay.from_path(path, x=x)
    (top,) = display.ax_.child_axes
    places = np.clip(top.get_xticks(), path.knots[0], path.knots[-1])
    counts = [int(label.get_text()) for label in top.get_xticklabels()]
    for place, count in zip(places[:-1], counts, strict=False):
        near = path._checked([place * (1 + 1e-9)])[0]
        assert count == path.pieces(near).max() + 1
    assert len(set(counts)) > 3
    assert display.ax_.get_xscale() == ("log" if x == "log_t" else "linear")


# ----------------------------------------------------------------------------- limits


def test_where_the_drawing_ends():
    path = line_path()
    display = PiecesDisplay.from_path(path)
    assert display.ax_.get_xlim()[1] == pytest.approx(path.knots[-1])
    display = PiecesDisplay.from_path(path, t_max=7 * path.t0)
    assert display.ax_.get_xlim()[1] == pytest.approx(7 * path.t0)
    # Pieces without number beyond the point are not what the figure is about.
    point = fixed(path, 3 * path.t0)
    assert path.pieces(path.knots[-1]).max() > 30
    display = PiecesDisplay.from_path(path, [point])
    assert display.ax_.get_xlim()[1] == pytest.approx(2 * point.knot)
    exact = line_path(exact=True)
    display = PiecesDisplay.from_path(exact, x="t")
    assert display.ax_.get_xlim()[1] == pytest.approx(1.15 * exact.knots[-1])
    with pytest.raises(ValueError, match=r"t_max=.* hides the point at t="):
        PiecesDisplay.from_path(path, [point], t_max=0.9 * point.knot)


def test_the_largest_of_very_many_lines_are_drawn(monkeypatch):
    monkeypatch.setattr(pieces_display, "_MOST_COLORED", 5)
    monkeypatch.setattr(pieces_display, "_MOST_GREY", 4)
    path = line_path()
    end = path.knots[-1]
    point = fixed(path, 3 * path.t0)
    every = PiecesDisplay.from_path(path, [point], t_max=end, top=3)
    lines = set(filter(None, every.lines_))
    assert len(lines) == 5
    (grey, _) = every.ax_.collections
    assert len(grey.get_segments()) == 4
    n_lines = len(every._members)
    texts = [t.get_text() for t in every.ax_.get_legend().get_texts()]
    assert f"{n_lines - 9} more lines, not drawn" in texts


def test_lines_have_one_colour_where_few_knots_are_looked_at(monkeypatch):
    """Row 0 is active at one knot only, at which nobody looks but the point."""
    monkeypatch.setattr(pieces_display, "_MOST_VALUES", 1)
    skipped = np.setdiff1d(np.arange(100), np.linspace(0, 99, 40).round())
    splits = np.zeros((100, 2))
    splits[skipped[30], 0], splits[50:, 1] = 1.0, 1.0
    coefs = np.tile([1.0, 2.0, 5.0], (100, 1))
    path = hand_made(differences(3), coefs, splits)
    point = fixed(path, path.knots[skipped[30]])
    display = PiecesDisplay.from_path(path, [point])
    assert [piece.tolist() for piece in display.pieces_] == [[2], [0], [1]]
    assert len({line.get_color() for line in display.lines_}) == 3


def test_very_many_features_are_looked_at_on_some_knots(monkeypatch):
    monkeypatch.setattr(pieces_display, "_MOST_VALUES", 1)
    path = line_path()
    display = PiecesDisplay.from_path(path, x="t", top=100)
    t = display.lines_[0].get_xdata()
    assert len(t) == 40
    for j in (0, 20, 39):
        expected = [path.projected(place).coef[j] for place in t]
        np.testing.assert_allclose(display.lines_[j].get_ydata(), expected, atol=1e-12)


# ------------------------------------------------------------------------------ entry


def test_every_class_has_a_panel():
    path = classes_path()
    display = PiecesDisplay.from_path(path, x="t")
    assert display.axes_.shape == (3,)
    assert display.lines_.shape == (3, 9)
    for t in between(path):
        expected = path.projected(t).coef
        for o in range(3):
            found = [drawn_at(line, t) for line in display.lines_[o]]
            np.testing.assert_allclose(found, expected[o], atol=1e-12)
            assert display.lines_[o, 0].axes is display.axes_[o]
    assert display.axes_[2].get_ylabel().endswith("class c")
    display.figure_.canvas.draw()
    assert_apart([text for ax in display.axes_ for text in ax.texts])
    display.plot()  # a short logarithmic axis has labels at minor ticks
    display.figure_.canvas.draw()
    for ax in display.axes_[:2]:
        labels = [*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)]
        assert not any(label.get_visible() and label.get_text() for label in labels)


def test_from_estimator_and_given_axes():
    problem, D, _ = fused_problem()
    model = SplitLBI(D).fit(problem.X, problem.y[0])
    figure = Figure(figsize=(8, 5), layout="constrained")
    display = PiecesDisplay.from_estimator(model, ax=figure.subplots())
    assert display.figure_ is figure
    assert vertical(display.ax_) == {model.selection_.knot}
    labels = model.path_.pieces(model.selection_.knot)
    assert len(display.pieces_) == min(labels.max() + 1, 10)


def test_paths_and_options_that_cannot_be_used():
    with pytest.raises(TypeError, match="needs a SplitPath"):
        PiecesDisplay.from_path(make_path(many_coefs(4)))
    with pytest.raises(ValueError, match=r"'differences', whose rows are not.*Profile"):
        PiecesDisplay.from_path(line_path(order=2))
    with pytest.raises(ValueError, match="another path"):
        PiecesDisplay.from_path(line_path(), [fixed(teams_path(), 20.0)])
    for options, message in (
        ({"x": "time"}, "x='time' is unknown"),
        ({"top": 0}, "top=0 must be at least 1"),
        ({"t_max": 0.0}, "t_max=0.0 must be a number beyond"),
    ):
        with pytest.raises(ValueError, match=message):
            PiecesDisplay.from_path(line_path(), **options)


def test_a_path_that_never_moves():
    D = comparisons([(0, 1), (1, 2)])
    path = hand_made(D, np.zeros((1, 3)), np.zeros((1, 2)), status="null")
    display = PiecesDisplay.from_path(path, [fixed(path, 1.0)])
    display.figure_.canvas.draw()
    assert [piece.tolist() for piece in display.pieces_] == [[0, 1, 2]]
