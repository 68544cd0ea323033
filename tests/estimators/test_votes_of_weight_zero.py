"""Votes of weight 0: the fit is the one without them, and they are judged by it."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from sparselbi import OutlierRegression, PairwiseRanker
from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.datasets import make_votes
from sparselbi.selection._outlier_choice import own_knots
from sparselbi.selection.graded_votes import VoteCut
from sparselbi.selection.outliers import ScaleCut
from sparselbi.selection.votes import VoteShare
from sparselbi.solvers.huber import huber_path
from sparselbi.solvers.vote_paths import vote_path

N_ITEMS, N_VOTES, N_ABSENT = 6, 60, 8
SHARE = VoteShare(0.15)
METHODS = ("l1", "iss", "lbi", "hard")
GRADED = [
    (method, selector)
    for method in METHODS
    for selector in ("sigma", SHARE, "bic", "aic", "gap")
]
GRADED += [("l1", VoteCut(scale="proposal2")), ("l1", VoteCut(scale="mad"))]
BINARY = [("auto", "l1"), *(("linear", method) for method in METHODS)]
# Seeds for which votes of weight 0 changed fits before, and others.
SEEDS = (0, 1, 8, 14, 17, 22, 24, 27, 29)


def cast(seed, generator):
    """Votes, and the weights of which some are 0."""
    votes = make_votes(
        N_ITEMS, N_VOTES, generator=generator, flip_rate=0.2, random_state=seed
    )
    weight = np.ones(N_VOTES)
    absent = np.random.default_rng(seed).choice(N_VOTES, N_ABSENT, replace=False)
    weight[absent] = 0.0
    return votes, weight


def fitted(ranker, pairs, y, weight=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rules that find no end
        return ranker.fit(pairs, y, sample_weight=weight, **options)


def both(seed, generator, **options):
    """Rankers with votes of weight 0 and without them, and which votes these have."""
    votes, weight = cast(seed, generator)
    used = weight > 0
    one = fitted(PairwiseRanker(**options), votes.pairs, votes.y, weight)
    two = fitted(PairwiseRanker(**options), votes.pairs[used], votes.y[used])
    return one, two, used


def place(ranker):
    """The chosen point, as the path without votes of weight 0 has it."""
    knot, path = ranker.selection_.knot, ranker.path_
    weight = ranker.votes_.weight
    used = np.ones(path.n_rows, dtype=bool) if weight is None else weight > 0
    if path.method == "iss":  # events of other votes are knots, too
        own = own_knots(path, ranker._question().problem)
        return path.knots[own & (path.knots <= knot)].max()
    # Above the first shift of a vote of the fit all thresholds are the same.
    if path.knot_name == "threshold" and not path.outliers(knot)[used].any():
        return np.inf
    return knot


def check_same(one, two, used):
    np.testing.assert_allclose(one.scores_, two.scores_, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(one.outlier_votes_[used], two.outlier_votes_)
    assert place(one) == pytest.approx(place(two), rel=1e-7)
    assert one.selection_.fallback == two.selection_.fallback
    found, expected = one.selection_.quantities, two.selection_.quantities
    assert found.keys() == expected.keys()
    assert found["n_shifted"] == expected["n_shifted"]
    for name in ("scale", "flip_rate", "shifted_share", "next_share", "gap"):
        if name in expected:
            assert found[name] == pytest.approx(expected[name], rel=1e-5, nan_ok=True)
    if two.flip_rate_ is not None:
        assert one.flip_rate_.rate == pytest.approx(two.flip_rate_.rate, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("method", "selector"), GRADED)
def test_graded_votes_of_weight_zero_take_no_part(method, selector, seed):
    one, two, used = both(seed, "graded", method=method, selector=selector)
    check_same(one, two, used)


@pytest.mark.parametrize("generator", ["order", "bradley_terry"])
@pytest.mark.parametrize("seed", SEEDS[:5])
@pytest.mark.parametrize("selector", ["flips", SHARE])
@pytest.mark.parametrize(("model", "method"), BINARY)
def test_votes_of_weight_zero_take_no_part(model, method, selector, seed, generator):
    options = {"model": model, "method": method, "selector": selector}
    one, two, used = both(seed, generator, **options)
    check_same(one, two, used)


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.parametrize("method", ["l1", "hard"])
def test_they_are_judged_as_new_votes(method, seed):
    one, two, used = both(seed, "graded", method=method, selector=SHARE)
    found, knot = one.votes_, one.selection_.knot
    threshold = two.path_.knots[two.selection_.index] if method == "hard" else knot
    left = np.abs(found.y - two.predict(found.pairs))
    expected = left > threshold * one._question().problem.row_factor
    assert two.outlier_votes_.any()
    np.testing.assert_array_equal(one.outlier_votes_, expected)


def test_logistic_ones_are_judged_as_new_votes():
    judged = []
    for seed in SEEDS:
        one, two, used = both(seed, "order", selector=SHARE)
        found, knot = one.votes_, two.selection_.knot
        p = two.predict_proba(found.pairs)[:, 1]
        left = np.abs((1 + found.y) / 2 - p) / one._question().problem.row_factor
        sure = np.abs(left - knot) > 0.01 * knot  # events are interpolated
        np.testing.assert_array_equal(one.outlier_votes_[sure], (left > knot)[sure])
        judged.append((left > knot)[~used])
    assert 0 < np.mean(judged) < 1


# -- grids -----------------------------------------------------------------------------


def problems(seed, generator="graded", **options):
    """With votes of weight 0 that contradict the others as much as they can."""
    votes, weight = cast(seed, generator)
    used, y = weight > 0, votes.y.copy()
    first, second = votes.pairs.T
    against = -np.sign(votes.scores[first] - votes.scores[second])
    y[~used] = (against if generator != "graded" else 100 * against)[~used]
    one = ComparisonProblem(votes.pairs, y, N_ITEMS, sample_weight=weight, **options)
    two = ComparisonProblem(votes.pairs[used], y[used], N_ITEMS, **options)
    return one, two, used


@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize("dense", ["auto", False])
@pytest.mark.parametrize("way", ["logistic", "grid", "lbi", "hard"])
def test_default_grids_are_those_without_them(way, dense, seed):
    trace = {
        "logistic": lambda problem: vote_path(problem, model="logistic", ridge=0.01),
        "grid": lambda problem: huber_path(problem, route="grid", tol=1e-12),
        "lbi": lambda problem: vote_path(problem, method="lbi"),
        "hard": lambda problem: vote_path(problem, method="hard"),
    }[way]
    kind = "order" if way == "logistic" else "graded"
    one, two, used = problems(seed, kind, dense=dense)
    a, b = trace(one), trace(two)
    extra = len(a) - len(b)  # knots above those of the others
    assert extra == (0 if way == "lbi" else 1)
    np.testing.assert_allclose(a.knots[extra:], b.knots, rtol=1e-6)
    np.testing.assert_allclose(a.coefs[extra:], b.coefs, rtol=1e-5, atol=1e-6)
    if extra:
        assert a.knots[0] > 1.01 * a.knots[1]
        np.testing.assert_allclose(a.coefs[0], b.coefs[0], rtol=1e-7, atol=1e-7)
        assert not a.outliers(a.knots[0]).any()
        assert a.outliers(a.knots[1])[~used].any()
    assert a.status == b.status


@pytest.mark.parametrize("method", ["l1", "iss"])
def test_exact_paths_know_the_knots_that_they_would_have_without_them(method):
    one, two, _ = problems(3)
    a, b = vote_path(one, method=method), vote_path(two, method=method)
    own = own_knots(a, one)
    assert len(a) > len(b)
    np.testing.assert_allclose(a.knots[own], b.knots, rtol=1e-9)
    np.testing.assert_allclose(a.coefs[own], b.coefs, rtol=1e-9, atol=1e-9)
    assert own_knots(b, two).all()
    assert own_knots(a, None).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", ["l1", "hard"])
@pytest.mark.parametrize("scale", ["clean", "mad"])
def test_rows_of_regressions_of_weight_zero_take_no_part_either(method, scale, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.standard_t(2, size=60)
    weight = np.ones(60)
    weight[:12] = 0.0
    y[:12] += rng.normal(scale=3.0, size=12)
    model = OutlierRegression(method, selector=ScaleCut(2.0, scale))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        one = clone(model).fit(X, y, sample_weight=weight)
        two = clone(model).fit(X[12:], y[12:])
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=1e-7)
    np.testing.assert_array_equal(one.outliers_[12:], two.outliers_)
    assert one.selection_.knot == pytest.approx(two.selection_.knot, rel=1e-7)
    shifted = [model.selection_.quantities["n_shifted"] for model in (one, two)]
    assert shifted[0] == shifted[1]
