"""PathDisplay: what is drawn is the path, and names keep apart."""

import subprocess
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sparselbi import LBI
from sparselbi.plotting import PathDisplay, path_from_alphas
from sparselbi.plotting._layout import text_box
from sparselbi.selection import FixedKnot
from tests.plotting.common import (
    assert_apart,
    choose,
    make_path,
    many_coefs,
    vertical,
)


def drawn_at(line, x):
    """Value of a line at one of its abscissae, after all jumps there."""
    xs, ys = line.get_data()
    value = ys[np.flatnonzero(np.isclose(xs, x, rtol=1e-12))[-1]]
    return 0.0 if np.isnan(value) else value


# ----------------------------------------------------------------------------- lines


@pytest.mark.parametrize("x", ["log_t", "t"])
def test_lines_are_the_coefficients(path, x):
    display = PathDisplay.from_path(path, x=x)
    assert display.lines_.shape == path.coef_shape
    for j, line in enumerate(display.lines_):
        if line is None:
            assert not path.coefs[:, j].any()
            continue
        assert line.get_label() == f"x{j}"
        start = 0 if x == "t" else int(path.knots[0] == 0)
        drawn = [drawn_at(line, t) for t in path.knots[start:]]
        np.testing.assert_array_equal(drawn, path.coefs[start:, j])
    assert display.ax_.get_xscale() == ("log" if x == "log_t" else "linear")
    assert display.ax_.figure is display.figure_


def test_exact_paths_are_steps_and_go_on_after_their_end(iss):
    display = PathDisplay.from_path(iss, x="t")
    for line in filter(None, display.lines_):
        x, y = line.get_data()
        moves = (np.diff(x) != 0) & (np.diff(y) != 0)
        assert not (moves & np.isfinite(np.diff(y))).any()
    assert iss.is_complete
    assert display.ax_.get_xlim()[1] == pytest.approx(1.15 * iss.knots[-1])


def test_entries_between_knots_are_corners(lbi):
    display = PathDisplay.from_path(lbi)
    first = lbi.events[np.unique(lbi.events["feature"], return_index=True)[1]]
    for event in first:
        x, y = display.lines_[event["feature"]].get_data()
        start = np.flatnonzero(np.isfinite(y))[0]
        assert x[start] == pytest.approx(event["t"], rel=1e-12)
        assert y[start] == 0


def test_features_that_are_never_active_are_absent():
    path = make_path(many_coefs(20))
    display = PathDisplay.from_path(path, top=30)
    assert display.lines_[0] is None
    names = [text.get_text() for text in display.ax_.texts]
    assert sorted(names) == sorted(f"x{j}" for j in range(1, 20))


def test_sum_of_absolute_coefficients(path):
    display = PathDisplay.from_path(path, x="l1_norm")
    total = np.abs(path.coefs).sum(axis=1)
    j = path.entry_order(1)[0]
    x, y = display.lines_[j].get_data()
    for k in range(len(path)):
        here = np.isclose(x, total[k], rtol=1e-12, atol=1e-12)
        assert np.isclose(np.nan_to_num(y[here]), path.coefs[k, j]).any()
    assert display.ax_.get_xlabel() == "sum of absolute coefficients"


def test_scale(path):
    scale = np.linspace(1, 2, path.n_features)
    display = PathDisplay.from_path(path, scale=scale)
    j = path.entry_order(1)[0]
    last = display.lines_[j].get_ydata()[-1]
    assert last == pytest.approx(path.coefs[-1, j] * scale[j])
    assert display.ax_.get_ylabel() == "coefficient × scale"


def test_top_by_entry_or_by_size(lbi):
    def named(**options):
        texts = PathDisplay.from_path(lbi, top=3, **options).ax_.texts
        return {text.get_text() for text in texts}

    assert named() == {f"x{j}" for j in lbi.entry_order(3)}
    size = np.abs(lbi.coefs).max(axis=0)
    assert named(by="size") == {f"x{j}" for j in np.argsort(-size)[:3]}
    scale = 1 / np.where(size > 0, size, 1) * np.arange(1, 13)
    largest = np.argsort(-scale * size)[:3]
    assert named(by="size", scale=scale) == {f"x{j}" for j in largest}


def test_other_features_are_grey():
    display = PathDisplay.from_path(make_path(many_coefs(30)), top=12)
    lines = [line for line in display.lines_ if line is not None]
    grey = [line for line in lines if line.get_color() == "0.75"]
    assert len(grey) == len(lines) - 12
    looks = [(x.get_color(), x.get_linestyle()) for x in lines if x not in grey]
    assert len(set(looks)) == 12


def test_t_max_ends_the_drawing(path):
    t_max = 0.5 * path.knots[-1]
    display = PathDisplay.from_path(path, t_max=t_max)
    assert display.ax_.get_xlim()[1] == pytest.approx(t_max)
    expected = path.at(t_max).coef
    for j in np.flatnonzero(expected):
        assert display.lines_[j].get_ydata()[-1] == pytest.approx(expected[j])
    with pytest.raises(ValueError, match=r"t_max=0\.0.* beyond the start of the path"):
        PathDisplay.from_path(path, t_max=0.0)


def test_a_path_that_never_moves():
    path = make_path(np.zeros((1, 3)), knots=[0.5], status="null")
    display = PathDisplay.from_path(path, [FixedKnot(0.5).select(path)])
    assert not any(display.lines_)
    assert [t.get_text() for t in display.ax_.texts] == ["fixed: 0 features"]
    display.figure_.canvas.draw()


# ----------------------------------------------------------------------------- names


@pytest.mark.parametrize("top", [1, 10, 40])
@pytest.mark.parametrize("x", ["log_t", "l1_norm"])
def test_names_do_not_overlap_and_stay_in_the_figure(top, x):
    coefs = many_coefs(64)
    coefs[60:, 5:25] = 0  # features that leave: named at their summits
    path = make_path(coefs)
    selections = [FixedKnot(t).select(path) for t in (1.0, 1.02, 1.05, 9.9)]
    display = PathDisplay.from_path(path, selections, top=top, x=x)
    display.figure_.canvas.draw()
    texts = list(display.ax_.texts)
    assert len(texts) == top + 4
    assert_apart(texts)
    for text in texts:
        box, page = text_box(text), display.figure_.bbox
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1


def test_long_names_are_cut():
    path = make_path(many_coefs(3), feature_names=["a", "b" * 60, "c"])
    texts = [t.get_text() for t in PathDisplay.from_path(path).ax_.texts]
    assert max(map(len, texts)) == 30


def test_names_keep_apart_when_the_figure_grows():
    display = PathDisplay.from_path(make_path(many_coefs(64)), top=20)
    display.figure_.set_size_inches(12, 9)
    display.figure_.canvas.draw()
    assert_apart(display.ax_.texts)


# ---------------------------------------------------------------------- chosen points


def test_chosen_points_have_lines_and_names(path):
    selections = choose(path)
    display = PathDisplay.from_path(path, selections)
    assert vertical(display.ax_) == {s.knot for s in selections}
    texts = [t.get_text() for t in display.ax_.texts if ": " in t.get_text()]
    for s in selections:
        (text,) = [t for t in texts if s.rule.upper() in t.split(":")[0].split(", ")]
        size = len(path.support(s.knot))
        assert text.endswith(f": {size} feature{'s' if size != 1 else ''}")


def test_names_of_many_points_become_shorter(lbi):
    t = np.geomspace(lbi.knots[0], lbi.knots[-1], 9)
    points = [FixedKnot(value).select(lbi) for value in t]
    display = PathDisplay.from_path(lbi, points)
    display.figure_.canvas.draw()
    texts = [t for t in display.ax_.texts if ": " in t.get_text()]
    assert_apart(texts)
    assert not any("feature" in t.get_text() for t in texts)
    place = {line: text_box(line) for line in texts}
    bounds = display.ax_.bbox
    assert all(bounds.x0 <= b.x0 and b.x1 <= bounds.x1 for b in place.values())


def test_points_over_the_sum_of_coefficients(lbi):
    (point,) = choose(lbi, ["bic"])
    display = PathDisplay.from_path(lbi, [point], x="l1_norm")
    (place,) = vertical(display.ax_)
    assert place == pytest.approx(np.abs(lbi.at(point.knot).coef).sum())


def test_points_must_be_of_the_path(lbi, iss):
    point = choose(lbi, ["bic"])[0]
    with pytest.raises(ValueError, match=r"'bic' has \d+ scores.*another path"):
        PathDisplay.from_path(iss, [point])
    wrong = replace(point, index=point.index + 1)
    with pytest.raises(ValueError, match=r"'bic' .* index \d+; it is of another path"):
        PathDisplay.from_path(lbi, [wrong])
    far = replace(point, knot=1e9)
    with pytest.raises(ValueError, match="of another path: .* beyond the traced range"):
        PathDisplay.from_path(lbi, [far])
    with pytest.raises(TypeError, match="selections holds 'bic'"):
        PathDisplay.from_path(lbi, ["bic"])
    with pytest.raises(ValueError, match=r"t_max=.* hides the point BIC: \d+"):
        PathDisplay.from_path(lbi, [point], t_max=0.9 * point.knot)
    with pytest.raises(ValueError, match="key 'lasso'.*one of .*'LBI'"):
        PathDisplay.from_paths([lbi], {"lasso": [point]})


# ------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("x", ["log_t", "t"])
def test_sizes_on_the_top_axis_are_those_of_the_path(path, x):
    display = PathDisplay.from_path(path, x=x)
    (sizes,) = display.ax_.child_axes
    labels = [int(label.get_text()) for label in sizes.get_xticklabels()]
    places = np.minimum(sizes.get_xticks(), path.knots[-1])
    assert labels == [len(path.support(t)) for t in places]
    assert len(set(labels)) > 3


def test_only_the_first_drawing_on_an_axis_has_sizes(lbi, iss):
    _, ax = plt.subplots(layout="constrained")
    PathDisplay.from_path(lbi, ax=ax)
    PathDisplay.from_path(iss, ax=ax)
    assert len(ax.child_axes) == 1


# ----------------------------------------------------------------------------- groups


def test_groups_share_a_colour(path):
    groups = np.arange(12) // 4
    display = PathDisplay.from_path(path, groups=groups)
    colors = {}
    for j, line in enumerate(display.lines_):
        if line is not None:
            colors.setdefault(groups[j], set()).add(to_hex(line.get_color()))
    assert all(len(values) == 1 for values in colors.values())
    assert len(set.union(*colors.values())) == len(colors)
    texts = display.ax_.get_legend().get_texts()
    assert {t.get_text() for t in texts} == {f"group {g}" for g in colors}


def test_groups_of_the_path_are_the_default(lbi):
    labels = np.array(["odd", "even"])[np.arange(12) % 2]
    path = replace(lbi, settings={**lbi.settings, "groups": labels})
    legend = PathDisplay.from_path(path).ax_.get_legend()
    assert {t.get_text() for t in legend.get_texts()} == {"odd", "even"}
    assert PathDisplay.from_path(path, groups=False).ax_.get_legend() is None
    with pytest.raises(ValueError, match=r"groups has shape \(3,\).* 12 features"):
        PathDisplay.from_path(path, groups=[1, 2, 3])


def test_the_eleventh_group_is_grey():
    display = PathDisplay.from_path(make_path(many_coefs(40)), groups=np.arange(40))
    texts = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert texts == [*(f"group {j}" for j in range(1, 11)), "29 more groups"]
    assert display.lines_[11].get_color() == "0.75"
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert display.figure_.bbox.y0 <= legend.y0
    assert legend.y1 < display.ax_.xaxis.label.get_window_extent().y0


# ---------------------------------------------------------------------- several paths


@pytest.fixture
def lasso():
    """A lasso path of 12 features that ends at 1 / alpha = 5."""
    coefs = many_coefs(12, seed=2)
    return path_from_alphas(1 / np.geomspace(0.05, 5, 80), coefs.T)


def test_two_paths_share_colours_and_differ_in_style(lbi, lasso):
    display = PathDisplay.from_paths({"LBI": lbi, "lasso": lasso})
    assert display.lines_.shape == (2, 12)
    both = [pair for pair in display.lines_.T if all(pair)]
    assert len(both) >= 3
    for first, second in both:
        assert first.get_color() == second.get_color()
        assert (first.get_linestyle(), second.get_linestyle()) == ("-", "--")
    texts = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert texts == ["LBI", "lasso"]
    assert display.ax_.get_xlabel() == "t, 1 / alpha"
    line = next(filter(None, display.lines_[1]))
    t, values = line.get_data()
    at = lasso.coefs_at(1 / t[np.isfinite(values)])[0]
    j = list(display.lines_[1]).index(line)
    np.testing.assert_allclose(values[np.isfinite(values)], at[:, j], atol=1e-12)
    # to where both are known
    assert display.ax_.get_xlim()[1] == pytest.approx(min(5, lbi.knots[-1]))
    display.figure_.canvas.draw()
    assert_apart(display.ax_.texts)


def test_sizes_of_two_paths(lbi, iss):
    display = PathDisplay.from_paths([iss, lbi])
    (sizes,) = display.ax_.child_axes
    for place, label in zip(sizes.get_xticks(), sizes.get_xticklabels(), strict=True):
        first, second = label.get_text().split("\n")
        assert int(first) == len(iss.support(place))
        assert int(second) == len(lbi.support(min(place, lbi.knots[-1])))
    assert sizes.get_xlabel() == "nonzero features (ISS above LBI)"


def test_points_of_two_paths_widen_the_axis(lbi, iss):
    point = FixedKnot(1.5 * lbi.knots[-1]).select(iss)
    display = PathDisplay.from_paths([lbi, iss], {"ISS": [point]})
    assert display.ax_.get_xlim()[1] > point.knot
    assert vertical(display.ax_) == {point.knot}
    names = [t.get_text() for t in display.ax_.texts]
    assert any(name.startswith("ISS fixed: ") for name in names)


def test_paths_that_do_not_go_together(lbi, classes_path):
    with pytest.raises(ValueError, match=r"shape \(3, 8\), path 'a' \(12,\)"):
        PathDisplay.from_paths({"a": lbi, "b": classes_path})
    with pytest.raises(ValueError, match="methods .* give a dict"):
        PathDisplay.from_paths([lbi, lbi])
    with pytest.raises(ValueError, match="paths is empty"):
        PathDisplay.from_paths({})
    named = [replace(lbi, feature_names=[f"{c}{j}" for j in range(12)]) for c in "ab"]
    with pytest.raises(ValueError, match="'a' and 'b' have different feature names"):
        PathDisplay.from_paths(dict(zip("ab", named, strict=True)))


# ---------------------------------------------------------------------------- classes


def test_every_class_has_a_panel(classes_path):
    point = FixedKnot(1.0).select(classes_path)
    display = PathDisplay.from_path(classes_path, [point])
    assert display.axes_.shape == (3,)
    assert display.lines_.shape == (3, 8)
    assert display.ax_ is display.axes_[0]
    for c, ax in enumerate(display.axes_):
        assert ax.get_ylabel() == f"coefficient\nclass {'abc'[c]}"
        assert vertical(ax) == {1.0}
        for j in range(8):
            line = display.lines_[c, j]
            assert (line is None) == (not classes_path.coefs[:, c, j].any())
            if line is not None:
                values = [drawn_at(line, t) for t in classes_path.knots]
                np.testing.assert_array_equal(values, classes_path.coefs[:, c, j])
    colors = [line.get_color() for line in display.lines_[:, 3]]
    assert len(set(colors)) == 1
    display.figure_.canvas.draw()
    assert_apart([text for ax in display.axes_ for text in ax.texts])


def test_an_axes_is_divided_and_axes_are_used(classes_path, lbi):
    figure = Figure(figsize=(8, 7), layout="constrained")
    display = PathDisplay.from_path(classes_path, ax=figure.subplots())
    assert display.figure_ is figure
    assert display.ax_.get_xlim() == display.axes_[2].get_xlim()
    axes = Figure(layout="constrained").subplots(3)
    assert list(PathDisplay.from_path(classes_path, ax=axes).axes_) == list(axes)
    with pytest.raises(ValueError, match="one matplotlib Axes or 3 of them"):
        PathDisplay.from_path(classes_path, ax=axes[:2])
    with pytest.raises(ValueError, match="one matplotlib Axes or 1 of them"):
        PathDisplay.from_path(lbi, ax="axes")
    with pytest.raises(ValueError, match="has 3 panels and ax cannot be divided"):
        PathDisplay.from_path(classes_path, ax=Figure().add_axes((0, 0, 1, 1)))


# ------------------------------------------------------------------------------ entry


def test_from_estimator(problem, lbi):
    X, y = problem.X, problem.y[0]
    model = LBI().fit(X, y)
    display = PathDisplay.from_estimator(model)
    assert vertical(display.ax_) == {model.selection_.knot}
    line = display.lines_[lbi.entry_order(1)[0]]
    assert drawn_at(line, lbi.knots[-1]) == lbi.coefs[-1, lbi.entry_order(1)[0]]
    pipeline = make_pipeline(StandardScaler(), LBI()).fit(X, y)
    assert PathDisplay.from_estimator(pipeline).paths["LBI"] is pipeline[-1].path_
    with pytest.raises(ValueError, match="has no path_; fit an estimator"):
        PathDisplay.from_estimator(LBI())


def test_plot_again_with_other_options(lbi):
    display = PathDisplay.from_path(lbi)
    first = display.ax_
    assert display.plot(x="t") is display
    assert display.ax_ is not first


def test_method_of_the_path(path, classes_path):
    _, ax = plt.subplots()
    assert path.plot(ax, x="t", top=2, by="size", scale=np.ones(12)) is ax
    assert len(ax.texts) == 2
    assert path.plot(t_max=0.5 * path.knots[-1]).get_xlim()[1] < path.knots[-1]
    assert classes_path.plot().shape == (3,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "time"}, "x='time' is unknown.*l1_norm"),
        ({"by": "name"}, "by='name' is unknown.*entry.*size"),
        ({"top": 0}, "top=0 must be at least 1"),
        ({"scale": [1, 2]}, r"scale has shape \(2,\).*12 features"),
        ({"t_max": np.inf}, "t_max=inf must be a number"),
    ],
)
def test_options_that_cannot_be_used(lbi, options, message):
    with pytest.raises(ValueError, match=message):
        PathDisplay.from_path(lbi, **options)


def test_importing_displays_does_not_import_matplotlib():
    code = "import sys, sparselbi.plotting; print('matplotlib' in sys.modules)"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ----------------------------------------------------------------- paths from arrays


def test_path_from_alphas(problem):
    from sklearn.linear_model import lasso_path

    X, y = problem.X - problem.X.mean(axis=0), problem.y[0] - problem.y[0].mean()
    alphas, coefs, _ = lasso_path(X, y, alphas=np.geomspace(2, 0.01, 30))
    path = path_from_alphas(alphas, coefs, feature_names=list("abcdefghijkl"))
    np.testing.assert_array_equal(path.coefs, coefs.T)
    np.testing.assert_array_equal(path.knots, alphas)
    assert (path.knot_name, path.method) == ("alpha", "lasso")
    backwards = path_from_alphas(alphas[::-1], coefs[:, ::-1], intercepts=alphas[::-1])
    np.testing.assert_array_equal(backwards.coefs, path.coefs)
    np.testing.assert_array_equal(backwards.intercepts, alphas)
    tasks = path_from_alphas(alphas, np.stack([coefs, 2 * coefs]))
    np.testing.assert_array_equal(tasks.coefs[:, 1], 2 * coefs.T)
    assert PathDisplay.from_path(tasks).axes_.shape == (2,)
    with pytest.raises(ValueError, match=r"coefs has shape \(30, 12\)"):
        path_from_alphas(alphas, coefs.T)
    with pytest.raises(ValueError, match="strictly decreasing"):
        path_from_alphas(np.ones(30), coefs)
