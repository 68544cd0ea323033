"""CriterionDisplay: scores as they are, points on all panels."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from sparselbi import LBI, Problem
from sparselbi.plotting import CriterionDisplay
from sparselbi.plotting._layout import text_box
from sparselbi.selection import FixedKnot, Selection
from sparselbi.selection.cross_validation import CrossValidation
from tests.plotting.common import (
    assert_apart,
    choose,
    make_path,
    many_coefs,
    vertical,
)


@pytest.fixture(scope="session")
def validated(problem, lbi, iss):
    """Both rules of cross-validation, by the method of the path."""
    return {
        path.method: [CrossValidation(r).select(path, problem) for r in ("min", "1se")]
        for path in (lbi, iss)
    }


def score_values(line, path):
    """Ordinates of a score curve, one for each knot."""
    return line.get_ydata()[: len(path)]


def test_every_chosen_point_is_on_all_panels(path, validated):
    selections = [*choose(path), *validated[path.method]]
    display = CriterionDisplay.from_path(path, selections)
    assert display.axes_.shape == (3,)
    knots = {s.knot for s in selections}
    assert all(vertical(ax) == knots for ax in display.axes_)
    assert len({ax.get_xlim() for ax in display.axes_}) == 1
    names = [text.get_text() for text in display.ax_.texts if ": " in text.get_text()]
    assert len(names) == len(knots)
    display.figure_.canvas.draw()
    for ax in display.axes_:
        assert_apart(ax.texts)
        for text in ax.texts:
            box, page = text_box(text), display.figure_.bbox
            assert page.x0 <= box.x0 < box.x1 <= page.x1
            assert page.y0 <= box.y0 < box.y1 <= page.y1


def test_criteria_are_drawn_from_their_minimum_and_equal_ones_share_a_line(path):
    ebic, aic = choose(path, ("ebic", "aic"))
    again = replace(ebic, rule="again")
    display = CriterionDisplay.from_path(path, [ebic, ebic, again, aic])
    assert list(display.lines_) == ["EBIC, again", "AIC"]
    expected = aic.scores - np.nanmin(aic.scores)
    drawn = score_values(display.lines_["AIC"], path)
    np.testing.assert_array_equal(drawn, expected)
    assert display.lines_["AIC"].get_drawstyle() == "steps-post"
    low, high = display.axes_[1].get_ylim()
    assert low < 0 < np.nanmax(expected) < high
    other = replace(aic, scores=aic.scores[::-1].copy())
    names = CriterionDisplay.from_path(path, [aic, other]).lines_
    assert list(names) == ["AIC", "AIC (2)"]


def test_cross_validation_has_a_band_of_one_standard_error(path, validated):
    cv, cv_1se = validated[path.method]
    display = CriterionDisplay.from_path(path, [cv, cv_1se])
    assert list(display.lines_) == ["CV, CV 1-SE"]
    (line,), (band,) = display.lines_.values(), display.bands_.values()
    np.testing.assert_array_equal(score_values(line, path), cv.scores)
    corners = band.get_paths()[0].vertices
    low, high = display.ax_.get_xlim()
    mean, error = cv.scores, cv.standard_error
    for t, m, e in zip(np.clip(path.knots, low, high), mean, error, strict=True):
        heights = corners[np.isclose(corners[:, 0], t, rtol=1e-12), 1]
        for bound in (m - e, m + e):
            assert np.isclose(heights, bound).any()
    assert line.get_drawstyle() == (
        "steps-post" if path.interpolation == "constant" else "default"
    )
    assert display.axes_[1].get_ylabel() == "mean\nsquared error"
    dots = [x for x in display.axes_[1].get_lines() if x.get_marker() == "o"]
    assert {float(d.get_xdata()[0]) for d in dots} == set(cv.points.values())


def test_folds_on_request(lbi, validated):
    cv = validated["lbi"][0]
    n_lines = len(CriterionDisplay.from_path(lbi, [cv]).axes_[1].get_lines())
    panel = CriterionDisplay.from_path(lbi, [cv], folds=True).axes_[1]
    assert len(panel.get_lines()) == n_lines + len(cv.fold_scores)
    folds = np.array([x.get_ydata() for x in panel.get_lines()[: len(cv.fold_scores)]])
    np.testing.assert_array_equal(folds, cv.fold_scores)


def test_every_kind_of_score_has_a_panel(lbi, validated):
    cv = validated["lbi"][0]
    absolute = replace(cv, label="mean absolute error", scores=cv.scores / 10)
    display = CriterionDisplay.from_path(lbi, [cv, absolute])
    labels = [ax.get_ylabel() for ax in display.axes_[1:]]
    assert labels == ["mean\nsquared error", "mean\nabsolute error"]
    # Two curves of one kind have different colours and are named.
    ten = replace(cv, scores=1.1 * cv.scores)
    display = CriterionDisplay.from_path(lbi, [cv, ten])
    assert list(display.lines_) == ["CV", "CV (2)"]
    assert len({line.get_color() for line in display.lines_.values()}) == 2
    assert [t.get_text() for t in display.axes_[1].texts] == ["CV", "CV (2)"]


def test_scores_of_very_different_size_are_on_a_logarithmic_axis(lbi, validated):
    cv = validated["lbi"][0]
    scores = np.geomspace(1000, 1, len(lbi))
    steep = replace(cv, scores=scores, fold_scores=np.array([scores, scores]))
    panel = CriterionDisplay.from_path(lbi, [steep]).axes_[1]
    assert panel.get_yscale() == "log"


def test_scores_that_end_before_the_path_are_named_where_they_end(lbi, validated):
    (aic,), cv = choose(lbi, ["aic"]), validated["lbi"][0]
    half = len(lbi) // 2
    scores = np.where(np.arange(len(lbi)) < half, aic.scores, np.nan)
    index = int(np.nanargmin(scores))
    early = replace(aic, scores=scores, index=index, knot=float(lbi.knots[index]))
    folds = np.where(np.arange(len(lbi)) < half, cv.fold_scores, np.nan)
    mean, error = folds.mean(axis=0), folds.std(axis=0)
    short = replace(cv, scores=mean, fold_scores=folds, standard_error=error)
    short = replace(short, index=index, knot=float(lbi.knots[index]))
    display = CriterionDisplay.from_path(lbi, [early, short])
    display.figure_.canvas.draw()
    (name,) = display.axes_[1].texts
    end = display.axes_[1].transData.transform((lbi.knots[half - 1], 0))[0]
    assert end < text_box(name).x0 < end + 60


def test_a_rule_that_does_not_score_has_a_line_only(lbi):
    fixed = FixedKnot(2 * lbi.t0).select(lbi)
    display = CriterionDisplay.from_path(lbi, [fixed])
    assert len(display.axes_) == 1
    assert vertical(display.ax_) == {fixed.knot}
    assert display.lines_ == {}


def test_a_single_knot():
    path = make_path(np.zeros((1, 3)), knots=[0.0], status="null")
    point = Selection("ebic", 0.0, 0, np.zeros(1), {})
    display = CriterionDisplay.from_path(path, [point])
    display.figure_.canvas.draw()
    assert [t.get_text() for t in display.ax_.texts] == ["EBIC: 0 features"]


def test_classes_and_groups(classes_path):
    scores = np.linspace(1, 0, len(classes_path))
    last = len(classes_path) - 1
    point = Selection("bic", float(classes_path.knots[last]), last, scores, {})
    groups = np.arange(8) // 4
    display = CriterionDisplay.from_path(classes_path, [point], groups=groups)
    assert display.axes_.shape == (4,)
    assert display.path_display_.axes_.shape == (3,)
    assert all(vertical(ax) == {point.knot} for ax in display.axes_)
    assert display.axes_[-1].get_legend() is not None


def test_options_reach_the_path(lbi):
    point = choose(lbi, ["bic"])[0]
    figure = Figure(figsize=(8, 6), layout="constrained")
    display = CriterionDisplay.from_path(
        lbi, point, ax=figure.subplots(), x="t", top=2, by="size", scale=np.ones(12)
    )
    assert display.figure_ is figure
    assert display.ax_.get_xscale() == "linear"
    assert len([t for t in display.ax_.texts if ":" not in t.get_text()]) == 2
    with pytest.raises(ValueError, match="x='l1_norm' is unknown.*'t'"):
        display.plot(x="l1_norm")
    t_max = 2 * point.knot
    display.plot(t_max=t_max)
    assert all(ax.get_xlim()[1] == pytest.approx(t_max) for ax in display.axes_)
    curve = display.lines_["BIC"].get_xydata()
    assert curve[-1, 0] == pytest.approx(t_max)
    k = np.searchsorted(lbi.knots, t_max, "right") - 1
    assert curve[-1, 1] == point.scores[k] - np.nanmin(point.scores)


def test_from_estimator(problem):
    model = LBI(selector="bic").fit(problem.X, problem.y[0])
    display = CriterionDisplay.from_estimator(model)
    assert list(display.lines_) == ["BIC"]
    assert display.selections == (model.selection_,)


def test_selections_must_be_of_this_path(path):
    with pytest.raises(ValueError, match="selections is empty; PathDisplay"):
        CriterionDisplay.from_path(path, [])
    other = make_path(many_coefs(3))
    with pytest.raises(ValueError, match=r"'bic' has \d+ scores.*another path"):
        CriterionDisplay.from_path(other, choose(path, ["bic"]))


def test_a_path_over_alpha(problem, iss):
    # As if the knots were penalties: everything is drawn at 1 / alpha.
    assert isinstance(problem, Problem)
    path = make_path(many_coefs(6), knots=np.geomspace(5, 0.05, 80), knot_name="alpha")
    scores = np.linspace(0, 3, 80)
    point = Selection("aic", float(path.knots[0]), 0, scores, {})
    display = CriterionDisplay.from_path(path, [point])
    assert vertical(display.ax_) == {1 / 5}
    t = display.lines_["AIC"].get_xdata()
    np.testing.assert_allclose(t[:-1], 1 / path.knots)
    assert display.axes_[-1].get_xlabel() == "1 / alpha"
