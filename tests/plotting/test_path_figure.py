"""The figure of a path and its criteria: what is drawn, and that labels keep apart."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from sparselbi import Problem, iss_path, lbi_path
from sparselbi.plotting import path_figure
from sparselbi.selection import FixedKnot, get_selector, with_statistics
from tests.common import make_data


@pytest.fixture(scope="module", params=["lbi", "iss"])
def path(request):
    X, y, _ = make_data(n=60, p=12)
    problem = Problem(X, y)
    trace = lbi_path if request.param == "lbi" else iss_path
    return with_statistics(trace(problem), problem)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def choose(path, rules=("ebic", "bic", "aic")):
    return [get_selector(rule).select(path) for rule in rules]


def texts_between_panels(upper):
    return [text for text in upper.texts if "feature" in text.get_text()]


def test_every_chosen_point_has_a_line_in_both_panels_and_a_name(path):
    selections = choose(path)
    figure = path_figure(path, selections)
    upper, lower = figure.axes
    knots = {s.knot for s in selections}
    for ax in (upper, lower):
        vertical = [line for line in ax.get_lines() if len(set(line.get_xdata())) == 1]
        assert {line.get_xdata()[0] for line in vertical} == knots
    names = [text.get_text() for text in texts_between_panels(upper)]
    assert len(names) == len(knots)
    for s in selections:
        (name,) = [name for name in names if s.rule.upper() in name.split(":")[0]]
        assert name.endswith((f": {len(path.support(s.knot))} features", ": 1 feature"))


def test_scores_are_drawn_from_their_minimum_and_equal_ones_share_a_line(path):
    ebic, aic = choose(path, ("ebic", "aic"))
    lower = path_figure(path, [ebic, ebic, aic], figure=Figure()).axes[1]
    curves = {
        line.get_label(): line.get_ydata()
        for line in lower.get_lines()
        if not line.get_label().startswith("_")
    }
    assert list(curves) == ["EBIC, EBIC", "AIC"]
    expected = aic.scores - np.nanmin(aic.scores)
    np.testing.assert_array_equal(curves["AIC"][:-1], expected)
    low, high = lower.get_ylim()
    assert low < 0 < np.nanmax(expected) < high


def test_sizes_on_the_top_axis_are_those_of_the_path(path):
    figure = path_figure(path, choose(path))
    (sizes,) = figure.axes[0].child_axes
    places = sizes.get_xticks()
    labels = [int(label.get_text()) for label in sizes.get_xticklabels()]
    inside = (places > path.knots[0]) & (places < path.knots[-1])
    assert inside.sum() >= 12
    for place, label in zip(places[inside], np.array(labels)[inside], strict=True):
        k = np.searchsorted(path.knots, place * (1 + 1e-12), side="right") - 1
        assert label == np.count_nonzero(path.coef(k))


def test_names_keep_apart_even_for_neighbouring_points(path):
    t = path.knots[len(path) // 2] * np.array([1.0, 1.01, 1.02, 1.03])
    selections = [FixedKnot(value).select(path) for value in t]
    figure = path_figure(path, selections)
    figure.canvas.draw()
    upper, lower = figure.axes
    boxes = [Text.get_window_extent(text) for text in texts_between_panels(upper)]
    boxes.sort(key=lambda box: box.x0)
    assert len(boxes) == 4
    assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))
    assert all(lower.bbox.y1 < box.y0 < box.y1 < upper.bbox.y0 for box in boxes)
    names = [text for text in upper.texts if "feature" not in text.get_text()]
    for text in [*names, *lower.texts]:  # no name leaves the figure
        box = Text.get_window_extent(text)
        assert figure.bbox.y0 <= box.y0
        assert box.x1 <= figure.bbox.x1


def test_scale_and_top_reach_the_plot(path):
    scale = np.full(path.n_features, 1e3)
    figure = path_figure(path, choose(path), scale=scale, top=2, figure=Figure())
    upper = figure.axes[0]
    names = {line.get_label(): line.get_ydata() for line in upper.get_lines()}
    largest = max(np.nanmax(np.abs(v)) for k, v in names.items() if k.startswith("x"))
    assert largest == pytest.approx(1e3 * np.abs(path.coefs).max())
    assert len(upper.texts) - len(texts_between_panels(upper)) == 2
    assert upper.get_ylabel() == "coefficient × scale"


def test_a_path_of_one_knot():
    X, _, _ = make_data(n=20, p=3)
    problem = Problem(X, np.ones(20))
    path = with_statistics(lbi_path(problem), problem)
    figure = path_figure(path, choose(path))
    figure.canvas.draw()
    (text,) = texts_between_panels(figure.axes[0])
    assert text.get_text() == "EBIC, BIC, AIC: 0 features"


def test_selections_must_be_of_this_path(path):
    with pytest.raises(ValueError, match="selections is empty"):
        path_figure(path, [])
    X, y, _ = make_data(n=30, p=4, seed=3)
    problem = Problem(X, y)
    other = choose(with_statistics(iss_path(problem), problem), ("bic",))
    with pytest.raises(ValueError, match=r"'bic' has \d+ scores.*another path"):
        path_figure(path, other)
