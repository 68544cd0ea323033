"""Bradley-Terry with flips: derivatives, limits, the EM algorithm, invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.solvers._flip_likelihood import EXPECTED, FlipLikelihood
from sparselbi.solvers._vote_loss import Votes
from sparselbi.solvers.flip_mixture import flip_mixture
from sparselbi.solvers.logistic_shift import bradley_terry

N_ITEMS = 6


def cast(n=600, ties=0.0, flips=0.15, spread=1.2, seed=0, n_items=N_ITEMS, order=False):
    """Pairs, votes and scores."""
    rng = np.random.default_rng(seed)
    score = spread * rng.normal(size=n_items)
    first = rng.integers(n_items, size=n)
    second = (first + rng.integers(1, n_items, size=n)) % n_items
    gap = score[first] - score[second]
    y = np.where(rng.random(n) < special.expit(gap), 1.0, -1.0)
    y = np.sign(gap) if order else y
    y[rng.random(n) < flips] *= -1
    y[rng.random(n) < ties] = 0.0
    return np.column_stack([first, second]), y, score - score.mean()


def objective(eta, y, rate, ridge=0.0, weight=None):
    """As it is stated: ties by half, pseudo-ties that are not flipped."""
    first = rate + (1 - 2 * rate) * special.expit(eta)
    second = rate + (1 - 2 * rate) * special.expit(-eta)
    tie = (np.logaddexp(0, eta) + np.logaddexp(0, -eta)) / 2
    parts = (1 + y) / 2 * np.log(first) + (1 - y) / 2 * np.log(second) - ridge * tie
    return parts.sum() if weight is None else weight @ parts


def derivative(function, x, step=1e-5):
    return (function(x + step) - function(x - step)) / (2 * step)


CASES = {
    "plain": {},
    "ties": {"ties": 0.2},
    "weights": {"weights": True},
    "bias": {"bias": True},
    "ridge": {"ridge": 0.01},
    "known rate": {"rate": 0.1},
    "all": {"ties": 0.1, "weights": True, "bias": True, "ridge": 0.01},
}


def problem(case, seed=2, dense="auto"):
    """A problem, and the options of the fit."""
    spec = CASES[case]
    pairs, y, _ = cast(ties=spec.get("ties", 0.0), seed=seed)
    rng = np.random.default_rng(seed + 100)
    weight = rng.integers(0, 4, len(y)).astype(float) if "weights" in spec else None
    extra = np.ones((len(y), 1)) if "bias" in spec else None
    options = {key: spec[key] for key in ("ridge", "rate") if key in spec}
    return (
        ComparisonProblem(
            pairs, y, N_ITEMS, sample_weight=weight, extra=extra, dense=dense
        ),
        options,
    )


def weight_of(question):
    weight = question.sample_weight
    return np.ones(question.n_samples) if weight is None else weight


# ------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("case", CASES)
def test_derivatives_are_those_of_the_objective(case):
    question, options = problem(case)
    fit = flip_mixture(question, **options, max_iter=2)  # not at the maximum
    ridge, y = options.get("ridge", 0.0), question.y
    np.testing.assert_allclose(fit.eta, question.eta(fit.coef), atol=1e-12)

    def each(eta, rate=fit.rate):
        return np.array(
            [objective(e, v, rate, ridge) for e, v in zip(eta, y, strict=True)]
        )

    np.testing.assert_allclose(fit.psi, derivative(each, fit.eta), atol=1e-8)
    bend = derivative(lambda eta: derivative(each, eta, 1e-4), fit.eta, 1e-4)
    np.testing.assert_allclose(fit.curvature, -bend, atol=1e-6)
    plain = objective(fit.eta, y, fit.rate, 0.0, weight_of(question))
    assert fit.log_likelihood == pytest.approx(plain, rel=1e-12)
    full = objective(fit.eta, y, fit.rate, ridge, weight_of(question))
    assert fit.objective == pytest.approx(full, rel=1e-12)
    if "rate" in options:
        assert fit.border is None
        return
    score, cross, own = fit.border
    at_rate = derivative(lambda rate: each(fit.eta, rate), fit.rate)
    np.testing.assert_allclose(score, at_rate, rtol=1e-6, atol=1e-8)

    def slopes(rate):
        return derivative(lambda eta: each(eta, rate), fit.eta, 1e-4)

    np.testing.assert_allclose(cross, -derivative(slopes, fit.rate, 1e-4), atol=1e-5)
    twice = derivative(
        lambda rate: derivative(lambda q: each(fit.eta, q), rate, 1e-4), fit.rate, 1e-4
    )
    np.testing.assert_allclose(own, -twice, rtol=1e-4, atol=1e-5)


def test_the_expected_curvature_is_the_expectation():
    question, _ = problem("plain")
    fit = flip_mixture(question, rate=0.1)
    turned = ComparisonProblem(question.pairs, -question.y, N_ITEMS)
    other = flip_mixture(turned, rate=0.1, start=fit.coef, max_iter=1)
    # Curvatures of both outcomes at the same scores: of a vote and of the contrary one.
    chance = fit.chance(fit.eta)
    s, c = special.expit(fit.eta), 0.8

    def curvature(sign):
        def value(eta):
            return np.log(0.1 + c * special.expit(sign * eta))

        return -derivative(lambda e: derivative(value, e, 1e-4), fit.eta, 1e-4)

    expected = chance * curvature(1) + (1 - chance) * curvature(-1)
    mixture = FlipLikelihood(Votes(question.vote_design, np.ones(len(fit.eta)), 0.0))
    found, _, _ = mixture.curvature(fit.eta, mixture.terms(fit.eta, 0.1), EXPECTED)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(chance, 0.1 + c * s, rtol=1e-12)
    assert other.n_iter == 1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dense", [True, False])
def test_the_fit_is_stationary_and_a_maximum(case, dense):
    question, options = problem(case, dense=dense)
    fit = flip_mixture(question, **options)
    assert fit.status == "converged"
    weight = weight_of(question)
    np.testing.assert_allclose(question.correlate(weight * fit.psi), 0, atol=1e-6)
    if "rate" not in options:
        assert weight @ fit.border[0] == pytest.approx(0, abs=1e-6)
    X = question.arrays()[0]
    rng = np.random.default_rng(0)
    ridge = options.get("ridge", 0.0)
    for _ in range(20):
        coef = fit.coef + 0.1 * rng.normal(size=len(fit.coef))
        rate = options.get("rate", np.clip(fit.rate + 0.02 * rng.normal(), 0, 0.49))
        assert objective(X @ coef, question.y, rate, ridge, weight) < fit.objective
    scores = question.scores(fit.coef)
    np.testing.assert_allclose(scores, fit.coef[:N_ITEMS], atol=1e-10)


# ------------------------------------------------------------------ other ways to do it


@pytest.mark.parametrize("case", ["plain", "ties", "weights", "bias", "ridge"])
def test_without_flips_it_is_bradley_terry(case):
    question, options = problem(case)
    fit = flip_mixture(question, rate=0.0, **options)
    design = question.vote_design
    same = design.to_coefs(bradley_terry(design, **options))[0].ravel()
    np.testing.assert_allclose(fit.coef, same, atol=1e-7)
    assert (fit.posterior == 0).all()
    assert (fit.interval, fit.interval_kind) == ((0.0, 0.0), "given")


def by_expectations(question, ridge, start, rate, n_steps=4000):
    """The EM algorithm; a tie is half a win and half a loss, flipped or not."""
    X, y = question.arrays()[0], question.y
    weight = weight_of(question)
    rows = np.concatenate([np.arange(len(y)), np.flatnonzero(y == 0)])
    sign = np.where(y == 0, 1.0, y)
    sign = np.concatenate([sign, np.full(len(rows) - len(y), -1.0)])
    half = weight[rows] * np.where(y[rows] == 0, 0.5, 1.0)
    coef = start.copy()
    value = -np.inf
    for _ in range(n_steps):
        with_sign = special.expit(sign * (X @ coef)[rows])
        flipped = rate * (1 - with_sign)
        flipped /= flipped + (1 - rate) * with_sign
        rate = half @ flipped / half.sum()
        target = np.where(sign > 0, 1 - flipped, flipped)
        win = np.bincount(rows, half * target, len(y))
        total = np.bincount(rows, half, len(y))

        def loss(coef, win=win, total=total):
            eta = X @ coef
            pseudo = ridge * weight * (np.logaddexp(0, eta) + np.logaddexp(0, -eta)) / 2
            out = total @ np.logaddexp(0, eta) - win @ eta + pseudo.sum()
            slope = total * special.expit(eta) - win
            slope += ridge * weight * np.tanh(eta / 2) / 2
            return out, X.T @ slope

        coef = optimize.minimize(loss, coef, jac=True, method="BFGS").x
        last, value = value, objective(X @ coef, y, rate, ridge, weight)
        if value - last < 1e-9:
            break
    return coef, rate, value


@pytest.mark.parametrize("case", ["plain", "all"])
def test_the_em_algorithm_gets_there_too(case):
    question, options = problem(case)
    fit = flip_mixture(question, **options)
    ridge = options.get("ridge", 0.0)
    start = np.zeros(question.n_features)
    start[:N_ITEMS] = fit.coef[:N_ITEMS] * 0.5
    coef, rate, value = by_expectations(question, ridge, start, 0.2)
    assert fit.objective >= value - 1e-9
    assert value == pytest.approx(fit.objective, abs=1e-5)
    assert rate == pytest.approx(fit.rate, abs=2e-3)
    eta = question.eta(coef)
    with_sign = special.expit(question.y * eta)
    odds = rate * (1 - with_sign)
    posterior = odds / (odds + (1 - rate) * with_sign)
    votes = question.y != 0
    np.testing.assert_allclose(fit.posterior[votes], posterior[votes], atol=5e-3)
    assert (fit.posterior[~votes] == 0).all()


def test_dense_and_graph_designs_agree():
    fits = [
        flip_mixture(*parts[:1], **parts[1])
        for parts in (problem("all", dense=True), problem("all", dense=False))
    ]
    np.testing.assert_allclose(fits[0].coef, fits[1].coef, atol=1e-6)
    assert fits[0].rate == pytest.approx(fits[1].rate, abs=1e-7)
    assert fits[0].rate_stderr == pytest.approx(fits[1].rate_stderr, rel=1e-6)


def test_features_of_items():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(40, 3))
    beta = np.array([1.5, -1.0, 0.0])
    first = rng.integers(40, size=4000)
    second = (first + rng.integers(1, 40, size=4000)) % 40
    gap = (features @ beta)[first] - (features @ beta)[second]
    y = np.where(rng.random(4000) < 0.2 + 0.6 * special.expit(gap), 1.0, -1.0)
    pairs = np.column_stack([first, second])
    fit = flip_mixture(ComparisonProblem(pairs, y, 40, features=features))
    assert fit.coef.shape == (3,)
    assert fit.status == "converged"
    np.testing.assert_allclose(fit.coef, beta, atol=0.3)
    scattered = np.sqrt(np.mean((fit.coef - beta) ** 2))
    plain = flip_mixture(
        ComparisonProblem(pairs, y, 40, features=features), rate=0.0
    ).coef
    assert scattered < np.sqrt(np.mean((plain - beta) ** 2)) / 2


# -------------------------------------------------------------------------- statistics


def test_it_is_consistent():
    pairs, y, score = cast(n=200_000, flips=0.2, spread=1.5, seed=11, n_items=8)
    question = ComparisonProblem(pairs, y, 8, dense=False)
    fit = flip_mixture(question)
    assert fit.interval_kind == "wald"
    assert fit.identified
    assert abs(fit.rate - 0.2) < 4 * fit.rate_stderr
    assert fit.interval[0] < 0.2 < fit.interval[1]
    # Information of scores (the last one is 0) and rate.
    X = question.arrays()[0][:, :-1]
    _, cross, own = fit.border
    border = X.T @ cross
    information = np.block(
        [
            [X.T @ (fit.curvature[:, None] * X), border[:, None]],
            [border[None, :], own.sum()],
        ]
    )
    covariance = np.linalg.inv(information)
    assert fit.rate_stderr == pytest.approx(np.sqrt(covariance[-1, -1]), rel=1e-6)
    error = fit.coef[:-1] - fit.coef[-1] - (score[:-1] - score[-1])
    assert (np.abs(error) < 4 * np.sqrt(np.diag(covariance))[:-1]).all()
    # Bradley-Terry without flips is far off.
    plain = flip_mixture(question, rate=0.0).coef
    wrong = plain[:-1] - plain[-1] - (score[:-1] - score[-1])
    assert np.abs(wrong).max() > 20 * np.abs(error).max()


def test_the_profile_interval_is_where_fits_with_known_rates_are_rejected():
    question, _ = problem("plain")
    fit = flip_mixture(question)
    assert fit.interval_kind == "profile"
    drop = stats.chi2.ppf(0.95, 1) / 2
    low, high = fit.interval
    assert low <= fit.rate <= high
    for rate, bound in ((low, 0.0), (high, 0.5)):
        lost = fit.objective - flip_mixture(question, rate=min(rate, 0.499)).objective
        if rate == bound:
            assert lost <= drop
        else:
            assert lost == pytest.approx(drop, abs=0.01)


def test_too_few_votes_say_nothing_about_flips():
    pairs, y, _ = cast(n=120, seed=4, n_items=10)
    fit = flip_mixture(ComparisonProblem(pairs, y, 10), ridge=0.05)
    assert not fit.identified
    assert "for 9 scores" in fit.reason
    pairs, y, _ = cast(n=500, spread=0.3, seed=4)
    fit = flip_mixture(ComparisonProblem(pairs, y, N_ITEMS), ridge=0.01)
    assert not fit.identified
    assert "explain the votes" in fit.reason


# ------------------------------------------------------------------ no maximum, options


def test_votes_that_follow_the_order_but_for_flips_are_separated():
    pairs, y, score = cast(n=1500, flips=0.2, order=True, seed=3)
    question = ComparisonProblem(pairs, y, N_ITEMS)
    fit = flip_mixture(question)
    assert fit.status == "separated"
    assert "ridge" in fit.message
    assert (np.argsort(fit.coef) == np.argsort(score)).all()
    # At infinite scale, a coin decides whether the order is followed. Some neighbours
    # are better off at a finite difference.
    share = np.mean(y * np.sign(score[pairs[:, 0]] - score[pairs[:, 1]]) < 0)
    limit = 1500 * (share * np.log(share) + (1 - share) * np.log(1 - share))
    assert limit - 1e-4 < fit.objective < limit + 2
    assert fit.rate == pytest.approx(share, abs=0.01)
    held = flip_mixture(question, ridge=None)
    assert held.ridge == pytest.approx(0.25 * (N_ITEMS - 1) / 1500)
    assert held.status == "converged"
    assert np.abs(held.coef).max() < 20


@pytest.mark.parametrize("rate", [None, 0.0])
def test_an_item_that_always_wins_is_separated(rate):
    pairs, y, _ = cast(n=800, seed=6)
    y[(pairs == 2).any(axis=1)] = 1.0
    swap = pairs[:, 1] == 2
    pairs[swap] = pairs[swap][:, ::-1]
    fit = flip_mixture(ComparisonProblem(pairs, y, N_ITEMS), rate=rate)
    assert fit.status == "separated"
    assert fit.coef.argmax() == 2
    assert np.isfinite(fit.objective)


def test_nothing_but_ties():
    pairs, _, _ = cast(n=30)
    fit = flip_mixture(ComparisonProblem(pairs, np.zeros(30), N_ITEMS))
    np.testing.assert_allclose(fit.coef, 0, atol=1e-8)
    assert not fit.identified


def test_starts():
    question, _ = problem("all")
    fit = flip_mixture(question, ridge=0.01)
    assert len(fit.start_objectives) == 2
    for start in (fit.coef, fit.coords, 0.3 * fit.coef):
        again = flip_mixture(question, ridge=0.01, start=start)
        assert len(again.start_objectives) == 1
        np.testing.assert_allclose(again.coef, fit.coef, atol=1e-6)
    assert flip_mixture(question, ridge=0.01, start=fit.coords).n_iter <= 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.5}, "rate=0.5 must be in"),
        ({"rate": -0.1}, "rate=-0.1 must be in"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"tol": 0.0}, "tol=0.0"),
        ({"ridge": -1.0}, "ridge=-1.0"),
        ({"start": np.zeros(3)}, r"start has shape \(3,\)"),
        ({"start": np.full(N_ITEMS, np.nan)}, "not finite"),
    ],
)
def test_bad_options(options, words):
    question, _ = problem("plain")
    with pytest.raises(ValueError, match=words):
        flip_mixture(question, **options)


def test_graded_votes_are_refused():
    pairs, y, _ = cast(n=100)
    with pytest.raises(ValueError, match="votes are -1, 0"):
        flip_mixture(ComparisonProblem(pairs, 2 * y, N_ITEMS))


# ------------------------------------------------------------------------- invariances


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_labels_order_and_sides_do_not_matter(seed):
    pairs, y, _ = cast(n=400, ties=0.1, seed=seed % 7)
    rng = np.random.default_rng(seed)
    label, order = rng.permutation(N_ITEMS), rng.permutation(len(y))
    swap = rng.random(len(y)) < 0.5
    other, flipped = label[pairs], np.where(swap, -y, y)
    other[swap] = other[swap][:, ::-1]
    options = {"ridge": 0.01, "profile": False}
    fit = flip_mixture(ComparisonProblem(pairs, y, N_ITEMS), **options)
    same = flip_mixture(
        ComparisonProblem(other[order], flipped[order], N_ITEMS), **options
    )
    np.testing.assert_allclose(same.coef[label], fit.coef, atol=1e-6)
    np.testing.assert_allclose(same.posterior, fit.posterior[order], atol=1e-6)
    assert same.rate == pytest.approx(fit.rate, abs=1e-7)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_weights_are_repeated_votes(seed):
    pairs, y, _ = cast(n=300, ties=0.1, seed=seed % 7)
    weight = np.random.default_rng(seed).integers(0, 4, len(y))
    options = {"ridge": 0.01}
    fit = flip_mixture(
        ComparisonProblem(pairs, y, N_ITEMS, sample_weight=weight), **options
    )
    rows = np.repeat(np.arange(len(y)), weight)
    same = flip_mixture(ComparisonProblem(pairs[rows], y[rows], N_ITEMS), **options)
    np.testing.assert_allclose(same.coef, fit.coef, atol=1e-6)
    assert same.rate == pytest.approx(fit.rate, abs=1e-6)
    assert same.objective == pytest.approx(fit.objective, rel=1e-10)
    np.testing.assert_allclose(same.interval, fit.interval, atol=1e-3)
    np.testing.assert_allclose(same.psi, fit.psi[rows], atol=1e-6)
