"""Rules about votes: recomputed point by point, planted flips, every refusal."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.scales import truncated_variance
from sparselbi.selection.graded_votes import VoteCriterion, VoteCut, VoteGap
from sparselbi.selection.outliers import (
    EntryGap,
    OutlierCriterion,
    ScaleCut,
    TrimmedCV,
)
from sparselbi.selection.votes import FlipShare, VoteShare, get_vote_selector
from sparselbi.solvers.huber import huber_path
from sparselbi.solvers.vote_paths import vote_path
from sparselbi.vote_noise import flip_rate

N_ITEMS = 8
WAYS = {
    "l1": {},
    "iss": {"method": "iss"},
    "lbi": {"method": "lbi"},
    "hard": {"method": "hard"},
    "logistic": {"model": "logistic", "ridge": 0.01},
}
LINEAR = ("l1", "iss", "lbi", "hard")


def cast(n=400, flips=0.15, kind="order", seed=0, n_items=N_ITEMS, ties=0.0):
    """Pairs, votes, and which of them are flipped."""
    rng = np.random.default_rng(seed)
    score = np.arange(n_items) if kind == "order" else 1.5 * rng.normal(size=n_items)
    first = rng.integers(n_items, size=n)
    second = (first + rng.integers(1, n_items, size=n)) % n_items
    eta = score[first] - score[second]
    y = np.sign(eta) * 1.0
    if kind != "order":
        y = np.where(rng.random(n) < special.expit(eta), 1.0, -1.0)
    flipped = rng.random(n) < flips
    y = np.where(flipped, -y, y)
    tied = rng.random(n) < ties
    return np.column_stack([first, second]), np.where(tied, 0.0, y), flipped & ~tied


def grade(n=400, flips=0.1, seed=0, levels=None, n_items=N_ITEMS, spread=2.0):
    """Pairs, differences of scores with normal noise, and those with a wrong sign."""
    rng = np.random.default_rng(seed)
    first = rng.integers(n_items, size=n)
    second = (first + rng.integers(1, n_items, size=n)) % n_items
    score = spread * rng.normal(size=n_items)
    eta = score[first] - score[second]
    y = eta + rng.normal(size=n)
    flipped = rng.random(n) < flips
    y = np.where(flipped, -y, y)
    if levels:
        y = np.clip(np.round(y), -levels, levels)
    return np.column_stack([first, second]), y, flipped & (np.abs(eta) > 1.5)


def problem_of(pairs, y, weight=None, n_items=N_ITEMS, **options):
    return ComparisonProblem(pairs, y, n_items, sample_weight=weight, **options)


def trace(problem, way="l1", **options):
    return vote_path(problem, **WAYS[way] | options)


def every_point(path):
    """Knots, events and what is between them, in path order."""
    places = np.concatenate([path.knots, path.row_events["at"]])
    clock = np.unique(places if path.knot_name == "t" else -places)
    clock = clock[np.append(True, np.diff(clock) > 1e-11 * np.abs(clock[1:]))]
    if path.interpolation == "linear":
        clock = np.append(clock[0], (clock[1:] + clock[:-1]) / 2)
    return np.abs(clock)


def shifted_along(path, weight):
    return np.array([weight[path.outliers(at)].sum() for at in every_point(path)])


# -- a given share ---------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weighted", [False, True])
def test_share_is_the_largest_that_is_not_exceeded(way, weighted):
    pairs, y, _ = cast(n=150, kind="bt")
    weight = np.ones(len(y))
    if weighted:
        weight = np.random.default_rng(1).integers(0, 4, len(y)).astype(float)
    problem = problem_of(pairs, y, weight if weighted else None)
    path = trace(problem, way)
    along = shifted_along(path, weight)
    for share in (0.0, 0.03, 0.1, 0.25, 0.4):
        wanted = share * weight.sum()
        over = np.flatnonzero(along > wanted + 1e-9)
        before = along[: over[0]] if len(over) else along
        selection = VoteShare(share).select(path, problem)
        shifted = weight[path.outliers(selection.knot)].sum()
        assert shifted == pytest.approx(before.max(), abs=1e-9)
        found = selection.quantities
        assert found["shifted_weight"] == pytest.approx(shifted)
        assert found["shifted_share"] == pytest.approx(shifted / weight.sum())
        assert found["total_weight"] == pytest.approx(weight.sum())
        assert not selection.fallback
        clock = (1 if path.knot_name == "t" else -1) * path.knots
        place = (1 if path.knot_name == "t" else -1) * selection.knot
        assert selection.index == np.count_nonzero(clock <= place + 1e-9) - 1


def test_share_is_read_between_knots():
    pairs, y, _ = cast(n=3000, kind="bt", n_items=40)
    problem = problem_of(pairs, y, n_items=40)
    path = trace(problem, "logistic", n_knots=6)
    selection = VoteShare(0.2).select(path, problem)
    found = selection.quantities
    assert 0.199 <= found["shifted_share"] <= 0.2 < found["next_share"] < 0.202
    assert selection.knot not in path.knots
    at_knots = path.info["n_shifted"] / len(y)
    assert np.abs(at_knots - 0.2).min() > 0.01


def test_share_beyond_the_end_is_reported():
    pairs, y, _ = cast(flips=0.3)
    problem = problem_of(pairs, y)
    path = trace(problem, max_outliers=0.1 * len(y))
    selection = VoteShare(0.25).select(path, problem)
    assert selection.fallback
    assert selection.knot == path.knots[-1]
    assert selection.index == len(path) - 1
    assert np.isnan(selection.quantities["next_share"])
    assert re.search(
        r"ends at threshold .* before a share of 25.0% is reached: the last knot",
        selection.message,
    )
    reached = selection.quantities["shifted_share"]
    # Less than a hundredth of the votes is not worth a warning.
    near = VoteShare(reached + 0.009).select(path, problem)
    assert near.message
    assert not near.fallback
    exact = VoteShare(reached).select(path, problem)
    assert exact.quantities["shifted_share"] == reached
    assert not exact.message


def test_a_jump_is_explained():
    pairs = np.tile([[0, 1]], (40, 1))
    y = np.where(np.arange(40) < 12, -1.0, 1.0)
    problem = problem_of(pairs, y, n_items=2)
    selection = VoteShare(0.2).select(trace(problem), problem)
    assert selection.quantities["shifted_share"] == 0
    assert selection.quantities["next_share"] == 0.3
    assert selection.message.startswith(
        "0.0% of the votes are distrusted instead of 20.0%: at the next point of the "
        "path it is 30.0%."
    )
    assert not selection.fallback


def test_share_needs_the_weights_only_if_there_are_some():
    pairs, y, _ = cast()
    path = trace(problem_of(pairs, y))
    assert VoteShare(0.1).select(path).quantities["shifted_share"] <= 0.1
    weighted = trace(problem_of(pairs, y, np.arange(len(y)) % 3 + 1.0))
    with pytest.raises(ValueError, match="needs the data"):
        VoteShare(0.1).select(weighted)


@pytest.mark.parametrize("share", [-0.1, 0.51, np.nan, "0.2", True, None])
def test_bad_shares(share):
    with pytest.raises(ValueError, match="between 0 and 0.5") as caught:
        VoteShare(share)
    assert repr(share) in str(caught.value)


@given(seed=st.integers(0, 50), way=st.sampled_from(["l1", "hard", "logistic"]))
@settings(max_examples=12, deadline=None)
def test_names_order_and_sides_do_not_matter(seed, way):
    pairs, y, _ = cast(n=200, seed=seed)
    rng = np.random.default_rng(seed)
    names, order = rng.permutation(N_ITEMS), rng.permutation(len(y))
    turned = rng.random(len(y)) < 0.5
    others = np.where(turned[:, None], pairs[:, ::-1], pairs)
    others = names[others][order]
    votes = np.where(turned, -y, y)[order]
    one, other = problem_of(pairs, y), problem_of(others, votes)
    path, second = trace(one, way), trace(other, way)
    for rule in (VoteShare(0.2), FlipShare()):
        a, b = rule.select(path, one), rule.select(second, other)
        assert b.knot == pytest.approx(a.knot, rel=1e-4)
        mask, mirrored = path.outliers(a.knot)[order], second.outliers(b.knot)
        np.testing.assert_array_equal(mask, mirrored)


@given(seed=st.integers(0, 50), way=st.sampled_from(["l1", "iss", "hard"]))
@settings(max_examples=10, deadline=None)
def test_weight_two_is_a_repeated_vote(seed, way):
    pairs, y, _ = cast(n=150, seed=seed, ties=0.05)
    weight = np.random.default_rng(seed).integers(1, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    one = problem_of(pairs, y, weight.astype(float))
    other = problem_of(pairs[rows], y[rows])
    path, second = trace(one, way), trace(other, way)
    for rule in (VoteShare(0.15), FlipShare()):
        a, b = rule.select(path, one), rule.select(second, other)
        mask, repeated = path.outliers(a.knot), second.outliers(b.knot)
        np.testing.assert_array_equal(mask[rows], repeated)
        assert a.fallback == b.fallback
        found, expected = a.quantities, b.quantities
        for name in expected.keys() - {"n_shifted", "scores_from", "n_estimates"}:
            assert found[name] == pytest.approx(expected[name], rel=1e-4, nan_ok=True)


# -- flips -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_rate_solves_its_equation(way):
    pairs, y, _ = cast(n=900, flips=0.2, kind="bt", seed=3)
    problem = problem_of(pairs, y)
    path = trace(problem, way)
    selection = FlipShare().select(path, problem)
    found = selection.quantities
    convex = way in ("l1", "logistic")
    assert found["scores_from"] == ("the path" if convex else "a Huber path")
    scores = path
    if not convex:
        scores = huber_path(problem, route="grid", n_knots=12, max_outliers=450)
    points = every_point(scores)
    along = shifted_along(scores, np.ones(len(y)))
    # From the start to where the votes are as many as the scores there say.
    for k, at in enumerate(points):
        coefs, _ = scores.coefs_at([at])
        estimate = flip_rate(problem.eta(coefs[0]), y, n_scores=problem.rank)
        if along[k] >= estimate.n_flipped:
            break
    assert found["flip_rate"] == pytest.approx(estimate.rate, abs=0.003)
    assert found["flipped_votes"] == pytest.approx(len(y) * found["flip_rate"])
    assert found["interval_low"] < found["flip_rate"] < found["interval_high"]
    shifted = path.outliers(selection.knot)
    assert found["shifted_weight"] == shifted.sum()
    # The last point before that is exceeded, or the first one beyond if it is nearer.
    every, wanted = shifted_along(path, np.ones(len(y))), found["flipped_votes"]
    over = np.flatnonzero(every > wanted)[0]
    around = every[:over].max(), every[over]
    assert shifted.sum() == min(around, key=lambda weight: abs(weight - wanted))
    assert not selection.fallback


def test_expected_precision_is_that_of_the_mixture():
    pairs, y, flipped = cast(n=4000, flips=0.2, kind="bt", n_items=20, seed=5)
    problem = problem_of(pairs, y, n_items=20)
    path = trace(problem, "logistic")
    selection = FlipShare().select(path, problem)
    found = selection.quantities
    eta = problem.eta(path.at(selection.knot).coef)
    posterior = flip_rate(eta, y).posterior
    shifted = path.outliers(selection.knot)
    expected = posterior[shifted].mean(), posterior[shifted].sum() / posterior.sum()
    reported = found["expected_precision"], found["expected_recall"]
    assert reported == pytest.approx(expected, abs=2e-3)
    # Calibrated, within four standard errors and the bias of scores that are fitted.
    assert flipped[shifted].mean() == pytest.approx(expected[0], abs=0.07)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_planted_flips_are_distrusted(way, rate):
    pairs, y, flipped = cast(n=2000, flips=rate, n_items=16)
    problem = problem_of(pairs, y, n_items=16)
    path = trace(problem, way)
    selection = FlipShare().select(path, problem)
    shifted = path.outliers(selection.knot)
    # Four standard errors of a share.
    near = 4 * np.sqrt(rate * (1 - rate) / len(y))
    assert shifted.mean() == pytest.approx(rate, abs=near)
    assert flipped[shifted].mean() > 0.9
    assert shifted[flipped].mean() > 0.9
    assert not selection.message
    assert not selection.fallback


@pytest.mark.parametrize("way", WAYS)
def test_votes_without_flips_are_trusted(way):
    pairs, y, _ = cast(n=2000, flips=0.0, kind="bt", n_items=16)
    problem = problem_of(pairs, y, n_items=16)
    path = trace(problem, way)
    selection = FlipShare().select(path, problem)
    assert selection.knot == path.knots[0]
    assert selection.index == 0
    assert not path.outliers(selection.knot).any()
    assert not selection.fallback
    assert re.search(
        r"flip rate is 0 \(rates up to 0.0\d explain the votes, too\): no vote is",
        selection.message,
    )


def test_flips_that_close_calls_explain_are_none():
    pairs, y, _ = cast(n=2000, flips=0.05, kind="bt", n_items=16)
    problem = problem_of(pairs, y, n_items=16)
    selection = FlipShare().select(trace(problem), problem)
    assert selection.quantities["flip_rate"] > 0
    assert selection.quantities["interval_low"] == 0
    assert "close calls are enough" in selection.message
    assert selection.quantities["n_shifted"] == 0
    assert not selection.fallback
    assert not selection.fallback


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_known_is_said(way):
    rng = np.random.default_rng(99)
    pairs, _, _ = cast(n=600)
    y = rng.choice([-1.0, 1.0], size=600)
    problem = problem_of(pairs, y)
    path = trace(problem, way)
    selection = FlipShare().select(path, problem)
    assert selection.fallback
    assert not path.outliers(selection.knot).any()
    assert "is not identified: rates from" in selection.message
    assert "VoteShare(0.1)" in selection.message
    assert "reliability" in selection.message

    few = cast(n=30)
    problem = problem_of(*few[:2])
    selection = FlipShare().select(trace(problem, way), problem)
    assert selection.fallback
    assert "30 votes for 7 scores" in selection.message


def test_coin_flips_are_not_a_rate(monkeypatch):
    """An interval that is short and contains 0.5 does not identify the rate."""
    from sparselbi import vote_noise

    pairs, y, _ = cast(n=600)
    problem = problem_of(pairs, y)
    path = trace(problem)

    def flat(*args, **options):
        import dataclasses

        found = flip_rate(*args, **options)
        return dataclasses.replace(found, rate=0.46, interval=(0.4, 0.5))

    monkeypatch.setattr(vote_noise, "flip_rate", flat)
    selection = FlipShare().select(path, problem)
    assert selection.fallback
    assert "rates from 0.40 to 0.50 explain the votes, and at 0.5" in selection.message


def test_fits_without_shifted_votes_confirm_what_they_assume():
    """Why scores for the rate come from convex fits: votes without any flip."""
    pairs, y, _ = cast(n=300, flips=0.0, kind="bt", n_items=16, seed=1)
    problem = problem_of(pairs, y, n_items=16)
    path = trace(problem, "hard")
    at = VoteShare(0.2).select(path, problem).knot
    biased = flip_rate(problem.eta(path.at(at).coef), y, n_scores=15)
    assert biased.identified
    assert biased.interval[0] > 0.15
    for way in WAYS:
        found = FlipShare().select(trace(problem, way), problem).quantities
        assert found["flip_rate"] < 0.02
        assert found["interval_low"] == 0


def test_flips_beyond_the_end_of_the_path():
    pairs, y, _ = cast(n=1000, flips=0.2)
    problem = problem_of(pairs, y)
    path = trace(problem, max_outliers=50)
    selection = FlipShare().select(path, problem)
    assert selection.fallback
    assert selection.knot == path.knots[-1]
    assert re.search(r"before the estimated flip rate of \d", selection.message)
    assert selection.quantities["shifted_weight"] <= 50


def test_ties_are_no_flips():
    pairs, y, flipped = cast(n=2000, flips=0.1, n_items=16, ties=0.3)
    problem = problem_of(pairs, y, n_items=16)
    path = trace(problem)
    found = FlipShare().select(path, problem).quantities
    decided = y != 0
    assert found["n_votes"] == decided.sum()
    assert found["flip_rate"] == pytest.approx(flipped[decided].mean(), abs=0.02)
    assert found["shifted_share"] == pytest.approx(found["flip_rate"], abs=0.01)


def test_flips_of_graded_votes_are_refused():
    pairs, y, _ = grade()
    problem = problem_of(pairs, y)
    with pytest.raises(ValueError, match="votes for one side, \\+1, -1 or 0") as caught:
        FlipShare().select(trace(problem), problem)
    assert "selector='sigma'" in str(caught.value)


# -- graded votes ----------------------------------------------------------------------


@pytest.mark.parametrize("way", LINEAR)
def test_default_for_graded_votes_finds_wrong_signs(way):
    pairs, y, wrong = grade(n=1000, flips=0.1, n_items=16)
    problem = problem_of(pairs, y, n_items=16)
    path = trace(problem, way)
    rule = get_vote_selector("auto", method=way, kind="graded")
    selection = rule.select(path, problem)
    shifted = path.outliers(selection.knot)
    assert shifted[wrong].mean() > 0.9
    clean = grade(n=1000, flips=0.0, n_items=16)[1]
    problem = problem_of(pairs, clean, n_items=16)
    path = trace(problem, way)
    shifted = path.outliers(rule.select(path, problem).knot)
    assert shifted.mean() < 0.03  # 1.2 % are beyond 2.5 sigma


@pytest.mark.parametrize("way", LINEAR)
def test_cut_is_that_of_outliers_where_coordinates_are_at_hand(way):
    pairs, y, _ = grade()
    problem = problem_of(pairs, y)
    path = trace(problem, way)
    expected = ScaleCut(2.5, "clean").select(path, problem)
    selection = VoteCut().select(path, problem)
    assert selection.knot == expected.knot
    assert selection.quantities == expected.quantities


def test_cut_on_a_graph_solves_its_equation():
    pairs, y, _ = grade(n=500)
    weight = np.random.default_rng(2).integers(0, 3, 500).astype(float)
    problem = problem_of(pairs, y, weight, dense=False)
    assert not problem.design.dense
    path = trace(problem)
    selection = VoteCut().select(path, problem)
    kept = ~path.outliers(selection.knot)
    residual = problem.residuals(path.at(selection.knot).coef)
    square = weight[kept] @ residual[kept] ** 2
    df = weight[kept].sum() - problem.rank
    scale = np.sqrt(square / df / truncated_variance(2.5, 1))
    assert selection.knot == pytest.approx(2.5 * scale, rel=1e-6)
    assert selection.quantities["scale"] == pytest.approx(scale, rel=1e-6)
    assert "residuals of the path" in selection.quantities["scale_rule"]
    # Not far from the rule with a fit of its own.
    other = problem_of(pairs, y, weight)
    exact = VoteCut().select(trace(other), other)
    assert selection.knot == pytest.approx(exact.knot, rel=0.1)


def test_cut_on_a_graph_stops_where_nothing_is_beyond():
    pairs, y, _ = grade(n=500)
    problem = problem_of(pairs, y, dense=False)
    path = trace(problem, "lbi")
    selection = VoteCut().select(path, problem)
    for knot in path.knots:
        kept = ~path.outliers(knot)
        residual = problem.residuals(path.at(knot).coef)[kept]
        square = residual @ residual / (kept.sum() - problem.rank)
        if np.abs(residual).max() <= 2.5 * np.sqrt(square / truncated_variance(2.5, 1)):
            break
    assert selection.knot == knot
    assert 0 < selection.index < len(path) - 1


@pytest.mark.parametrize("way", ["l1", "lbi"])
def test_cut_on_a_graph_at_both_ends(way):
    pairs, y, _ = grade(n=500, flips=0.0)
    problem = problem_of(pairs, y, dense=False)
    path = trace(problem, way, max_outliers=20)
    start = VoteCut(cut=6.0).select(path, problem)
    assert start.index == 0
    assert not start.fallback
    end = VoteCut(cut=0.5).select(path, problem)
    assert end.knot == path.knots[-1]
    assert end.fallback
    assert "before a cut at 0.5 scales is reached" in end.message


def test_criteria_and_gap_are_those_of_outliers():
    pairs, y, _ = grade()
    y[:20] += 40.0
    problem = problem_of(pairs, y)
    path = trace(problem)
    for name in ("bic", "aic"):
        expected = OutlierCriterion(name).select(path, problem)
        assert VoteCriterion(name).select(path, problem).knot == expected.knot
    expected = EntryGap().select(path, problem)
    assert expected.quantities["rows_before_gap"] == 20
    assert VoteGap().select(path, problem).knot == expected.knot


@pytest.mark.parametrize("flips", [0.0, 0.05])
def test_a_coarse_scale_is_not_without_noise(flips):
    pairs, y, _ = grade(n=1000, flips=flips, levels=2, n_items=16)
    problem = problem_of(pairs, y, n_items=16)
    path = trace(problem, "hard")
    raw = OutlierCriterion("bic").select(path, problem)
    assert path.outliers(raw.knot).mean() > 0.3  # all those that are not fitted exactly
    selection = VoteCriterion("bic").select(path, problem)
    assert selection.fallback
    assert selection.knot == path.knots[0]
    assert selection.quantities["n_shifted"] == 0
    assert selection.quantities["n_refused"] == path.outliers(raw.knot).sum()
    assert "no wonder with 5 grades" in selection.message
    assert "VoteShare(0.1)" in selection.message
    cut = VoteCut().select(path, problem)
    assert path.outliers(cut.knot).mean() < 0.03 + flips


def test_votes_without_noise_may_be_fitted_exactly():
    pairs, _, _ = grade()
    score = np.random.default_rng(0).normal(size=N_ITEMS)
    y = score[pairs[:, 0]] - score[pairs[:, 1]]
    y[:30] *= -1
    problem = problem_of(pairs, y)
    path = trace(problem, "hard")
    selection = VoteCriterion("bic").select(path, problem)
    assert set(np.flatnonzero(path.outliers(selection.knot))) == set(range(30))
    assert not selection.fallback


@pytest.mark.parametrize("way", ["l1", "logistic"])
@pytest.mark.parametrize(
    "rule", [VoteGap(), VoteCut(), VoteCriterion("bic"), VoteCriterion("aic")]
)
def test_rules_for_graded_votes_refuse_sides(way, rule):
    pairs, y, _ = cast(flips=0.2)
    problem = problem_of(pairs, y)
    path = trace(problem, way)
    with pytest.raises(ValueError, match="is for graded votes") as caught:
        rule.select(path, problem)
    words = str(caught.value)
    assert "2.47 standard deviations" in words
    assert "selector='flips'" in words
    assert "VoteShare(0.2)" in words


def test_refusal_is_right():
    """Votes for one side, 20 % flipped: residuals of their mean."""
    y = np.repeat([1.0, -1.0], [800, 200])
    residual = np.abs(y - y.mean())
    assert residual.max() / y.std() == pytest.approx(2.0)
    # With scores the others fit better: 20 % of residuals near 2, the others near 0.
    pairs, y, _ = cast(n=2000, flips=0.2, n_items=16)
    problem = problem_of(pairs, y, n_items=16)
    path = trace(problem)
    residual = problem.residuals(path.coef(0))
    assert np.abs(residual).max() / residual.std() < 2.5


# -- names -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "ties"])
@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_names_for_votes_for_one_side(kind, model):
    for name in ("auto", "flips"):
        assert get_vote_selector(name, kind=kind, model=model) == FlipShare()
    for rule in (VoteShare(0.1), FlipShare()):
        assert get_vote_selector(rule, kind=kind, model=model) is rule
    refused = ("sigma", "bic", "aic", "gap", ScaleCut(), OutlierCriterion())
    for rule in (*refused, EntryGap(), TrimmedCV(), VoteGap(), VoteCut()):
        with pytest.raises(ValueError, match="is for graded votes") as caught:
            get_vote_selector(rule, kind=kind, model=model)
        assert str(caught.value).startswith(f"selector={rule!r}")


@pytest.mark.parametrize("method", LINEAR)
def test_names_for_graded_votes(method):
    def get(selector):
        return get_vote_selector(selector, method=method, kind="graded")

    assert get("auto") == get("sigma") == VoteCut(2.5, "clean")
    assert get("bic") == VoteCriterion("bic")
    assert get("aic") == VoteCriterion("aic")
    assert get("gap") == VoteGap()
    for rule in (VoteShare(0.1), ScaleCut(4.0, "mad"), VoteCut(3.0)):
        assert get(rule) is rule
    for rule in ("flips", FlipShare()):
        with pytest.raises(ValueError, match="is for votes for one side"):
            get(rule)


@pytest.mark.parametrize("selector", ["cv", "gaps", -0.5, np.nan, True, None, VoteCut])
@pytest.mark.parametrize("kind", ["binary", "graded"])
def test_unknown_rules(selector, kind):
    with pytest.raises(ValueError, match="is unknown") as caught:
        get_vote_selector(selector, kind=kind, method="iss")
    words = str(caught.value)
    assert repr(selector) in words
    names = ["auto", "flips"] if kind == "binary" else ["aic", "auto", "bic", "gap"]
    assert str(names)[:-1] in words
    assert "that t)" in words
    assert "VoteShare(0.2)" in words


@pytest.mark.parametrize("way", WAYS)
def test_a_number_is_a_point_of_the_path(way):
    pairs, y, _ = cast()
    problem = problem_of(pairs, y)
    path = trace(problem, way)
    method = WAYS[way].get("method", "l1")
    middle = float(np.sqrt(path.knots[0] * path.knots[-1]))
    selection = get_vote_selector(middle, method=method).select(path, problem)
    assert selection.knot == pytest.approx(middle)
    shifted = path.outliers(middle).sum()
    assert selection.quantities["size"] == shifted
    beyond = path.knots[-1] * (2 if path.knot_name == "t" else 0.5)
    with pytest.raises(ValueError, match="beyond the traced range"):
        get_vote_selector(beyond, method=method).select(path, problem)
    null = path.knots[0] * (0.5 if path.knot_name == "t" else 2)
    selection = get_vote_selector(null, method=method).select(path, problem)
    assert selection.quantities["size"] == 0


@pytest.mark.parametrize("rule", [VoteShare(0.1), FlipShare(), 0.5])
def test_rules_want_the_votes_of_their_path(rule):
    pairs, y, _ = cast()
    problem = problem_of(pairs, y)
    path = trace(problem)
    rule = get_vote_selector(rule)
    with pytest.raises(ValueError, match="path was traced on|these are not"):
        rule.select(path, problem_of(pairs[1:], y[1:]))
    with pytest.raises(ValueError, match="need a VotePath, from vote_path"):
        rule.select(huber_path(problem), problem)


def test_flips_want_the_votes():
    pairs, y, _ = cast()
    with pytest.raises(ValueError, match="needs the data"):
        FlipShare().select(trace(problem_of(pairs, y)))


@pytest.mark.parametrize("way", WAYS)
def test_all_ties(way):
    pairs, y, _ = cast()
    y[:] = 0.0
    y[:4] = 1.0
    weight = np.ones(len(y))
    weight[:4] = 0.0
    problem = problem_of(pairs, y, weight)
    path = trace(problem, way)
    selection = FlipShare().select(path, problem)
    assert "All votes are ties" in selection.message
    assert selection.knot == path.knots[0]
    assert VoteShare(0.2).select(path, problem).quantities["shifted_weight"] == 0
