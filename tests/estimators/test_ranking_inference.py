"""Standard errors and rank sets of votes against closed forms, loops and packages."""

import itertools
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse, special, stats

from sparselbi import _comparison_graph
from sparselbi._shift_design import SingularFit, TooWide
from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.estimators import _ranking_clusters
from sparselbi.estimators import _ranking_inference as module
from sparselbi.estimators._rank_intervals import rank_frame, rank_sets
from sparselbi.estimators._ranking_inference import (
    RankingInference,
    linear_scores,
    logistic_scores,
    worker_bootstrap,
)
from sparselbi.estimators._robust_inference import huber_inference
from sparselbi.shift_problem import ShiftProblem
from sparselbi.solvers._huber_grid import trace_huber_grid
from sparselbi.solvers.flip_mixture import flip_mixture
from sparselbi.solvers.logistic_shift import bradley_terry, trace_logistic_shift

EXTRAS = (None, "bias", "workers", "dependent")


def cast(seed=0, m=7, n=150, n_workers=12, graded=True, rate=0.15):
    """Pairs, votes and workers."""
    rng = np.random.default_rng(seed)
    theta = np.linspace(-1, 1, m)
    first = rng.integers(0, m, n)
    pairs = np.stack([first, (first + rng.integers(1, m, n)) % m], axis=1)
    eta = theta[pairs[:, 0]] - theta[pairs[:, 1]] + 0.2
    y = eta + rng.normal(size=n)
    if not graded:
        y = np.where(rng.random(n) < special.expit(1.5 * eta), 1.0, -1.0)
    y = np.where(rng.random(n) < rate, -y, y)
    return pairs, y, rng.integers(0, n_workers, n)


def columns(kind, workers):
    n = len(workers)
    of_workers = np.eye(workers.max() + 1)[workers][:, :3]
    return {
        None: None,
        "bias": np.ones((n, 1)),
        "workers": sparse.csr_array(of_workers),
        "dependent": np.column_stack([np.ones(n), of_workers, np.full(n, 2.0)]),
    }[kind]


def case(
    seed=0,
    model="linear",
    extra=None,
    weights=False,
    features=None,
    dense="auto",
    **options,
):
    """A problem with a fit: problem, coef, psi, curvature, workers."""
    pairs, y, workers = cast(seed, graded=model == "linear", **options)
    m = options.get("m", 7)
    rng = np.random.default_rng(seed)
    w = rng.integers(0, 4, len(y)).astype(float) if weights else None
    problem = ComparisonProblem(
        pairs,
        y,
        m,
        sample_weight=w,
        features=features,
        extra=columns(extra, workers),
        dense=False if features is None else dense,
    )
    return (problem, *fitted(problem, model), workers)


def fitted(problem, model="linear"):
    """Coefficients, scores and curvature of a robust fit."""
    if model == "linear":
        trace = trace_huber_grid(
            problem.design, problem.row_factor, thresholds=[1.2], tol=1e-13
        )
        coef = problem.design.to_coefs(trace.coords[-1])[0].ravel()
        return coef, *linear_scores(problem, coef, 1.2)
    design = problem.vote_design
    trace = trace_logistic_shift(
        design, problem.row_factor, thresholds=[0.7], ridge=0.02, tol=1e-10
    )
    coef = design.to_coefs(trace.coords[-1])[0].ravel()
    return coef, *logistic_scores(problem, coef, 0.7, 0.02)


def incidence(problem):
    """Dense rows of all parameters, (n, p): scores or features, then extra."""
    return problem.arrays()[0]


def twin(problem, psi, curvature, clusters, border=None):
    """Covariance of all parameters by a pseudo-inverse and loops; rank and factor."""
    X = incidence(problem)
    n, p = X.shape
    w = np.ones(n) if problem.sample_weight is None else problem.sample_weight
    H = (X * (w * curvature)[:, None]).T @ X
    S = X * psi[:, None]
    if border is not None:
        score, cross, own = border
        beside = X.T @ (w * cross)
        H = np.block([[H, beside[:, None]], [beside[None, :], np.sum(w * own)]])
        S = np.column_stack([S, score])
    if clusters is None:
        meat = (S * w[:, None]).T @ S
    else:
        meat = np.zeros_like(H)
        for label in set(clusters[w > 0].tolist()):
            of_one = (w[:, None] * S)[clusters == label].sum(axis=0)
            meat += np.outer(of_one, of_one)
    rank = np.linalg.matrix_rank(H, tol=1e-9 * np.abs(H).max(), hermitian=True)
    bread = np.linalg.pinv(H, rcond=1e-10, hermitian=True)
    N = w.sum()
    factor = N / (N - rank)
    if clusters is not None:
        G = len(set(clusters[w > 0].tolist()))
        factor = G / (G - 1) * (N - 1) / (N - rank)
    return factor * bread @ meat @ bread, rank, factor, bread


def contrast_rows(problem, pairs, width):
    """Contrasts of differences of scores, (k, width)."""
    C = np.zeros((len(pairs), width))
    if problem.features is None:
        C[np.arange(len(pairs)), pairs[:, 0]] = 1
        C[np.arange(len(pairs)), pairs[:, 1]] = -1
    else:
        d = problem.features.shape[1]
        C[:, :d] = problem.features[pairs[:, 0]] - problem.features[pairs[:, 1]]
    return C


def assert_relative_to(found, home, cov):
    """Errors of scores are those of differences from the mean of these items."""
    home, m = list(home), len(found.scores)
    C = np.full((m, len(cov)), np.nan)
    C[home] = 0.0
    C[np.ix_(home, home)] = np.eye(len(home)) - 1 / len(home)
    expected = C @ np.where(np.isnan(cov), 0.0, cov) @ C.T
    size = np.nanmax(np.abs(expected))
    np.testing.assert_allclose(found.cov, expected, rtol=1e-7, atol=1e-12 * size)
    every, some = found.score_errors(), found.score_errors(np.arange(m))
    np.testing.assert_allclose(every[0], np.sqrt(np.diagonal(found.cov)), rtol=1e-12)
    np.testing.assert_allclose(every, some, rtol=1e-7)
    np.testing.assert_array_equal(np.flatnonzero(~found.undetermined), home)


def all_pairs(m):
    return np.array(list(itertools.combinations(range(m), 2)))


# -- the sandwich ----------------------------------------------------------------------


@pytest.mark.parametrize("weights", [False, True])
def test_least_squares_without_workers_is_hc1(weights):
    pairs, y, _ = cast()
    w = np.random.default_rng(1).integers(1, 4, len(y)).astype(float)
    w = w if weights else np.ones(len(y))
    problem = ComparisonProblem(pairs, y, 7, sample_weight=w if weights else None)
    X = incidence(problem)[:, 1:]  # item 0 has score 0
    beta = np.linalg.solve((X * w[:, None]).T @ X, X.T @ (w * y))
    coef = np.concatenate([[0], beta]) - beta.sum() / 7
    psi, curvature = linear_scores(problem, coef, np.inf)
    found = RankingInference(problem, coef, psi, curvature)
    inverse = np.linalg.inv((X * w[:, None]).T @ X)
    residual = y - X @ beta
    meat = (X * (w * residual**2)[:, None]).T @ X
    cov = w.sum() / (w.sum() - 6) * inverse @ meat @ inverse
    value, error, df = found.differences(np.array([[2, 0], [0, 5], [3, 4]]))
    np.testing.assert_allclose(value, [beta[1], -beta[4], beta[2] - beta[3]])
    expected = [cov[1, 1], cov[4, 4], cov[2, 2] + cov[3, 3] - 2 * cov[2, 3]]
    np.testing.assert_allclose(error, np.sqrt(expected), rtol=1e-10)
    assert found.rank == 6
    assert found.df == w.sum() - 6
    assert (df < found.df).all()


@pytest.mark.parametrize("features", [None, "features"])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_errors_are_those_of_a_slow_twin(model, extra, weights, clustered, features):
    if features is not None:
        features = np.random.default_rng(3).normal(size=(7, 3)) + 5
    problem, coef, psi, curvature, workers = case(
        2, model, extra, weights, features=features
    )
    clusters = workers if clustered else None
    found = RankingInference(problem, coef, psi, curvature, clusters)
    cov, rank, factor, bread = twin(problem, psi, curvature, clusters)
    assert found.rank == rank == problem.rank
    np.testing.assert_allclose(found.factor, factor)
    pairs = all_pairs(7)
    C = contrast_rows(problem, pairs, len(cov))
    value, error, df = found.differences(pairs)
    np.testing.assert_allclose(value, C @ coef, atol=1e-12)
    np.testing.assert_allclose(
        error, np.sqrt(np.einsum("ki,ij,kj->k", C, cov, C)), rtol=1e-7
    )
    # Degrees of freedom by the definition.
    w = np.ones(len(psi)) if problem.sample_weight is None else problem.sample_weight
    share = w[:, None] * (incidence(problem) @ bread @ C.T) ** 2
    if clustered:
        sums = [share[workers == g].sum(axis=0) for g in set(workers[w > 0])]
        squares = np.square(sums).sum(axis=0)
    else:
        squares = (share**2)[w > 0].T @ (1 / w[w > 0])
    expected = np.clip(share.sum(axis=0) ** 2 / squares - 1, 1, found.df)
    np.testing.assert_allclose(df, expected, rtol=1e-7)
    # Further columns: those that are determined.
    n_extra = problem.n_extra
    if n_extra:
        errors = found.extra_errors()[0]
        expected = np.sqrt(np.diagonal(cov)[-n_extra:])
        if extra == "dependent":  # ones, twice: only the sum is known
            np.testing.assert_array_equal(np.isnan(errors), [1, 0, 0, 0, 1])
        some = ~np.isnan(errors)
        np.testing.assert_allclose(errors[some], expected[some], rtol=1e-7)
    if features is not None:
        errors = found.coef_errors()[0]
        np.testing.assert_allclose(errors, np.sqrt(np.diagonal(cov)[:3]), rtol=1e-7)


@pytest.mark.parametrize("threshold", [0.8, 2.0, np.inf])
def test_same_as_the_clustered_errors_of_regression(threshold):
    pairs, y, workers = cast(4)
    problem = ComparisonProblem(pairs, y, 7)
    full = ShiftProblem(incidence(problem)[:, 1:], y, fit_intercept=False)
    coords = full.design.least_squares()
    if np.isfinite(threshold):
        trace = trace_huber_grid(
            full.design, full.row_factor, thresholds=[threshold], tol=1e-13
        )
        coords = trace.coords[-1]
    other = huber_inference(full, coords, threshold, kind="clustered", clusters=workers)
    coef = np.concatenate([[0], other.coef])
    psi, curvature = linear_scores(problem, coef, threshold)
    found = RankingInference(problem, coef, psi, curvature, workers)
    value, error, _ = found.differences(np.array([[k, 0] for k in range(1, 7)]))
    np.testing.assert_allclose(value, other.coef, rtol=1e-12)
    np.testing.assert_allclose(error, other.standard_error, rtol=1e-9)
    assert found.df == other.df
    np.testing.assert_allclose(found.factor, other.info["correction"])


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("threshold", [0.4, np.inf])
def test_scores_and_curvature_of_logistic_votes_are_derivatives(threshold, ridge):
    pairs, y, _ = cast(5, graded=False)
    y[::7] = 0.0
    problem = ComparisonProblem(pairs, y, 7, extra=np.ones((len(y), 1)))
    coef = np.random.default_rng(0).normal(size=8)

    def loss(step):
        """By the shifts: minimum of the loss with them plus their penalty."""
        eta = problem.eta(coef) + step
        grid = [0.0] if np.isinf(threshold) else np.linspace(-12, 12, 240_001)
        out = []
        for e, v in zip(eta, y, strict=True):
            shifted = e + np.asarray(grid)
            of_vote = np.logaddexp(0, -shifted) * (1 + v) / 2
            of_vote += np.logaddexp(0, shifted) * (1 - v) / 2
            if np.isfinite(threshold):
                of_vote += threshold * np.abs(grid)
            out.append(of_vote.min())
        tie = (np.logaddexp(0, eta) + np.logaddexp(0, -eta)) / 2
        return np.array(out) + ridge * tie

    some = slice(0, 30)
    problem = problem.subset(np.arange(len(y))[some])
    y, h = y[some], 1e-3
    psi, curvature = logistic_scores(problem, coef, threshold, ridge)
    low, mid, high = loss(-h), loss(0.0), loss(h)
    np.testing.assert_allclose(psi, (low - high) / (2 * h), atol=2e-5)
    # Away from the kink of the first derivative.
    eta = problem.eta(coef)
    kink = np.abs(np.abs((1 + y) / 2 - special.expit(eta)) - threshold) < 1e-3
    second = (low - 2 * mid + high) / h**2
    np.testing.assert_allclose(curvature[~kink], second[~kink], atol=2e-3)


def test_flip_rate_is_profiled_out():
    """Against numerical derivatives of the likelihood in all parameters."""
    pairs, y, workers = cast(6, m=5, n=900, n_workers=20, graded=False, rate=0.1)
    y = np.where(np.arange(900) % 17 == 0, 0.0, y)
    weight = 1.0 + (np.arange(900) % 3)
    problem = ComparisonProblem(pairs, y, 5, sample_weight=weight)
    fit = flip_mixture(problem, profile=False, tol=1e-11)
    assert 0 < fit.rate < 0.4
    X = incidence(problem)[:, 1:]
    start = np.append(fit.coef[1:] - fit.coef[0], fit.rate)

    def loss(parameters):
        chance = special.expit(X @ parameters[:-1])
        chance = parameters[-1] + (1 - 2 * parameters[-1]) * chance
        return -(1 + y) / 2 * np.log(chance) - (1 - y) / 2 * np.log1p(-chance)

    p, h = len(start), 1e-4
    steps = h * np.eye(p)
    scores = np.stack([loss(start - s) - loss(start + s) for s in steps], axis=1)
    scores /= 2 * h
    H = np.empty((p, p))
    for i, j in itertools.product(range(p), repeat=2):
        a, b = steps[i], steps[j]
        change = loss(start + a + b) - loss(start + a - b)
        change -= loss(start - a + b) - loss(start - a - b)
        H[i, j] = weight @ change / (4 * h**2)
    sums = np.array(
        [(weight[:, None] * scores)[workers == g].sum(axis=0) for g in range(20)]
    )
    bread = np.linalg.inv(H)
    N = weight.sum()
    cov = bread @ sums.T @ sums @ bread * 20 / 19 * (N - 1) / (N - p)
    found = RankingInference(
        problem, fit.coef, fit.psi, fit.curvature, workers, border=fit.border
    )
    assert found.rank == p
    _, error, _ = found.differences(np.array([[k, 0] for k in range(1, 5)]))
    np.testing.assert_allclose(error, np.sqrt(np.diagonal(cov)[:-1]), rtol=2e-5)
    np.testing.assert_allclose(found.border_error()[0], np.sqrt(cov[-1, -1]), rtol=2e-5)
    rest = RankingInference(problem, fit.coef, fit.psi, fit.curvature, workers)
    assert (rest.differences(np.array([[4, 0]]))[1] < error[-1]).all()
    expected = twin(problem, fit.psi, fit.curvature, workers, fit.border)[0]
    np.testing.assert_allclose(
        np.diagonal(found.cov), np.diagonal(expected)[:5], rtol=1e-6
    )


@pytest.mark.parametrize("features", [None, "features"])
@pytest.mark.parametrize("extra", ["bias", "dependent"])
@pytest.mark.parametrize("bordered", [False, True])
def test_covariance_is_of_gauge_fixed_scores(extra, bordered, features):
    if features is not None:
        features = np.random.default_rng(3).normal(size=(7, 3))
    problem, coef, psi, curvature, workers = case(7, extra=extra, features=features)
    border = None
    if bordered:
        rng = np.random.default_rng(0)
        border = tuple(rng.normal(size=(2, len(psi)))) + (np.full(len(psi), 2.0),)
    found = RankingInference(problem, coef, psi, curvature, workers, border=border)
    pairs = all_pairs(7)
    cov = found.cov
    np.testing.assert_allclose(cov.sum(axis=0), 0, atol=1e-14)
    np.testing.assert_array_equal(found.scores, problem.scores(coef))
    variance = np.diagonal(cov)
    of_pairs = variance[pairs[:, 0]] + variance[pairs[:, 1]] - 2 * cov[tuple(pairs.T)]
    _, error, _ = found.differences(pairs)
    np.testing.assert_allclose(np.sqrt(of_pairs), error, rtol=1e-7)
    # All at once, by the covariance; and some, by systems.
    every, some = found.score_errors(), found.score_errors(np.arange(7))
    np.testing.assert_allclose(every, some, rtol=1e-7)
    np.testing.assert_allclose(every[0], np.sqrt(variance))


@pytest.mark.parametrize("way", ["factor", "cg"])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("bordered", [False, True])
def test_systems_and_dense_matrices_agree(extra, bordered, way, monkeypatch):
    problem, coef, psi, curvature, workers = case(8, "logistic", extra, weights=True)
    border = None
    if bordered:
        rng = np.random.default_rng(0)
        border = tuple(rng.normal(size=(2, len(psi)))) + (np.full(len(psi), 2.0),)
    arguments = problem, coef, psi, curvature, workers
    dense = RankingInference(*arguments, border=border)
    expected = dense.differences(all_pairs(7)), dense.extra_errors()
    expected += (dense.score_errors(),)
    monkeypatch.setattr(module, "_SMALL", 3)
    medium = RankingInference(*arguments, border=border)
    np.testing.assert_allclose(medium.cov, dense.cov, rtol=1e-9, atol=1e-14)
    assert not medium._system.dense
    monkeypatch.setattr(module, "MAX_ITEMS", 3)
    monkeypatch.setattr(module, "_BLOCK", 30)  # several blocks of contrasts
    monkeypatch.setattr(_ranking_clusters, "_BLOCK", 300)
    monkeypatch.setattr(_comparison_graph, "_CHEAP_FACTOR", {"cg": -1}.get(way, 1e9))
    large = RankingInference(*arguments, border=border)
    found = large.differences(all_pairs(7)), large.extra_errors()
    found += (large.score_errors(range(7)),)
    assert not large._system.dense
    assert large._system._graph.way == way
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-12)
    for ask in (lambda: large.cov, large.rank_intervals, large.score_errors):
        with pytest.raises(TooWide, match=r"7 items.*score_differences\(pairs\)"):
            ask()


def test_components_have_nothing_to_do_with_each_other():
    one, other = case(1, m=5, n=80), case(2, m=6, n=90)
    pairs = np.concatenate([one[0].pairs, other[0].pairs + 5])
    workers = np.concatenate([one[4], other[4] + 12])
    y = np.concatenate([one[0].y, other[0].y])
    problem = ComparisonProblem(pairs, y, 11)
    both = RankingInference(
        problem,
        np.concatenate([one[1], other[1]]),
        np.concatenate([one[2], other[2]]),
        np.concatenate([one[3], other[3]]),
        workers,
    )
    value, error, df = both.differences(all_pairs(11))
    across = (all_pairs(11)[:, 0] < 5) & (all_pairs(11)[:, 1] >= 5)
    for found in (value, error, df):
        np.testing.assert_array_equal(np.isnan(found), across)
    np.testing.assert_array_equal(
        np.isnan(both.cov), problem.components[:, None] != problem.components
    )
    frame = both.rank_intervals()
    assert frame["component"].tolist() == [1] * 6 + [0] * 5
    for (part, coef, psi, curvature, labels), shift in ((one, 0), (other, 5)):
        alone = RankingInference(part, coef, psi, curvature, labels)
        m = part.n_items
        values, errors, _ = alone.differences(all_pairs(m))
        rows = [
            k
            for k, pair in enumerate((all_pairs(11) - shift).tolist())
            if min(pair) >= 0 and max(pair) < m
        ]
        np.testing.assert_allclose(value[rows], values, atol=1e-14)
        np.testing.assert_allclose(
            error[rows] / np.sqrt(both.factor),
            errors / np.sqrt(alone.factor),
            rtol=1e-10,
        )
        own = frame[frame["item"].isin(range(shift, shift + m))]
        assert own["rank"].tolist() == list(range(1, m + 1))
        assert (own["high"] <= m).all()


@given(seed=st.integers(0, 50), clustered=st.booleans())
@settings(max_examples=15, deadline=None)
def test_weight_is_repeated_votes(seed, clustered):
    problem, coef, psi, curvature, workers = case(seed, weights=True, extra="bias")
    clusters = workers if clustered else None
    weight = problem.sample_weight.astype(int)
    found = RankingInference(problem, coef, psi, curvature, clusters)
    rows = np.repeat(np.arange(len(weight)), weight)
    repeated = ComparisonProblem(
        problem.pairs[rows], problem.y[rows], 7, extra=np.ones((len(rows), 1))
    )
    other = RankingInference(
        repeated,
        coef,
        psi[rows],
        curvature[rows],
        workers[rows] if clustered else None,
    )
    np.testing.assert_allclose(
        found.differences(all_pairs(7)), other.differences(all_pairs(7)), rtol=1e-9
    )
    np.testing.assert_allclose(found.score_errors(), other.score_errors(), rtol=1e-9)
    assert found.rank_intervals().equals(other.rank_intervals())


@given(seed=st.integers(0, 50), clustered=st.booleans())
@settings(max_examples=15, deadline=None)
def test_order_of_votes_sides_and_labels_do_not_matter(seed, clustered):
    problem, coef, psi, curvature, workers = case(seed)
    clusters = workers if clustered else None
    found = RankingInference(problem, coef, psi, curvature, clusters)
    rng = np.random.default_rng(seed)
    rows, place = rng.permutation(len(psi)), rng.permutation(7)
    swap = rng.choice([-1, 1], len(psi))
    pairs = place[problem.pairs]
    pairs = np.where(swap[:, None] > 0, pairs, pairs[:, ::-1])
    other = RankingInference(
        ComparisonProblem(pairs[rows], (swap * problem.y)[rows], 7),
        coef[np.argsort(place)],
        (swap * psi)[rows],
        curvature[rows],
        workers[rows] if clustered else None,
    )
    np.testing.assert_allclose(
        found.differences(all_pairs(7)),
        other.differences(place[all_pairs(7)]),
        rtol=1e-9,
    )
    if clustered:  # draws are those of the workers
        frames = [R.rank_intervals().set_index("item") for R in (found, other)]
        one, two = frames[0].loc[range(7)], frames[1].loc[place]
        for name in ("rank", "low", "high"):
            np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("clustered", [False, True])
def test_degrees_of_freedom_with_a_border(clustered):
    """Mean squares of both scores, and their product, in the shares of the votes."""
    problem, coef, psi, curvature, workers = case(5, weights=True, extra="bias")
    rng = np.random.default_rng(0)
    n = len(psi)
    border = psi + rng.normal(size=n), curvature + rng.normal(size=n), np.full(n, 3.0)
    clusters = workers if clustered else None
    found = RankingInference(problem, coef, psi, curvature, clusters, border=border)
    bread = twin(problem, psi, curvature, clusters, border)[3]
    w, X = problem.sample_weight, incidence(problem)
    size = np.zeros((2, 2))
    for vote in range(n):
        both = np.array([psi[vote], border[0][vote]])
        size += w[vote] * np.outer(both, both) / w.sum()
    assert abs(size[0, 1]) > 0.3 * np.sqrt(size[0, 0] * size[1, 1])
    C = contrast_rows(problem, all_pairs(7), len(bread))
    C = np.vstack([C, np.eye(len(bread))[-2:]])  # the bias, the parameter of the border
    expected = []
    for v in C @ bread:
        rows = np.column_stack([X @ v[:-1], np.full(n, v[-1])])
        share = w * np.array([row @ size @ row for row in rows])
        if clustered:
            squares = sum(share[workers == g].sum() ** 2 for g in set(workers.tolist()))
        else:
            squares = sum(share[k] ** 2 / w[k] for k in range(n) if w[k])
        expected.append(np.clip(share.sum() ** 2 / squares - 1, 1, found.df))
    df = found.differences(all_pairs(7))[2]
    np.testing.assert_allclose(df, expected[:-2], rtol=1e-7)
    assert (df < found.df).all()
    np.testing.assert_allclose(found.extra_errors()[1], expected[-2], rtol=1e-7)
    np.testing.assert_allclose(found.border_error()[1], expected[-1], rtol=1e-7)
    np.testing.assert_allclose(  # all at once, and one by one
        found.score_errors()[1], found.score_errors(range(7))[1], rtol=1e-7
    )


@pytest.mark.parametrize("clusters", [None, 2, 50])
def test_votes_of_large_clusters_are_summed_in_blocks(clusters, monkeypatch):
    pairs, y, _ = cast(2, m=40, n=60_000)
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    problem = ComparisonProblem(pairs, y, 40, sample_weight=weight)
    workers = None if clusters is None else np.arange(len(y)) * 7 % 101 % clusters
    coef, psi, curvature = np.zeros(40), y, np.ones(len(y))
    found = RankingInference(problem, coef, psi, curvature, workers)
    inverse = found._system.inverse_columns()
    inner = inverse[0]
    share = weight[:, None] * (inner[pairs[:, 0]] - inner[pairs[:, 1]]) ** 2
    if clusters is None:
        sums = share / np.sqrt(weight)[:, None]
    else:
        sums = np.array([share[workers == g].sum(axis=0) for g in range(clusters)])
    monkeypatch.setattr(_ranking_clusters, "_BLOCK", 1 << 14)
    tracemalloc.start()
    total, square = found._votes.products(*inverse)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < share.nbytes / 4
    np.testing.assert_allclose(total, share.sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(square, sums.T @ sums, rtol=1e-10)
    monkeypatch.setattr(_ranking_clusters, "_MANY_PRODUCTS", 0)
    only = found._votes.products(*inverse)[1]
    np.testing.assert_allclose(only, np.diag(np.diagonal(square)), rtol=1e-10)


def test_pairs_as_clusters():
    problem, coef, psi, curvature, _ = case(3)
    low, high = problem.pairs.min(axis=1), problem.pairs.max(axis=1)
    found = RankingInference(problem, coef, psi, curvature, "pair")
    other = RankingInference(problem, coef, psi, curvature, low * 7 + high)
    assert found.n_clusters == 21
    np.testing.assert_array_equal(
        found.differences(all_pairs(7)), other.differences(all_pairs(7))
    )


def test_degrees_of_freedom_count_workers_who_matter():
    pairs = np.tile(all_pairs(4), (9, 1))
    workers = np.repeat(np.arange(9), 6)
    rng = np.random.default_rng(0)
    problem = ComparisonProblem(pairs, rng.normal(size=54), 4)
    coef, psi, curvature = np.zeros(4), rng.normal(size=54), np.ones(54)
    alike = RankingInference(problem, coef, psi, curvature, workers)
    assert alike.df == 8
    np.testing.assert_allclose(alike.differences(all_pairs(4))[2], 8)
    np.testing.assert_allclose(alike.score_errors()[1], 8)
    weighted = ComparisonProblem(
        pairs, problem.y, 4, sample_weight=np.where(workers == 0, 100.0, 1.0)
    )
    one = RankingInference(weighted, coef, psi, curvature, workers)
    share = np.array([100.0] + [1.0] * 8)
    np.testing.assert_allclose(
        one.differences(all_pairs(4))[2],
        max(1.0, share.sum() ** 2 / (share**2).sum() - 1),
    )


def test_items_whose_votes_are_all_shifted():
    pairs, y, workers = cast(1)
    pairs, y, workers = (  # item 7: its votes are far from all others
        np.concatenate([pairs, [[0, 7], [1, 7], [7, 2], [7, 3]]]),
        np.concatenate([y, [-90.0, 90.0, -90.0, 90.0]]),
        np.concatenate([workers, [0, 1, 2, 3]]),
    )
    problem = ComparisonProblem(pairs, y, 8, dense=False)
    coef, psi, curvature = fitted(problem)
    assert not curvature[-4:].any()
    found = RankingInference(
        problem, coef, psi, curvature, workers, items=list("abcdefgh")
    )
    _, error, _ = found.differences(all_pairs(8))
    np.testing.assert_array_equal(np.isnan(error), (all_pairs(8) == 7).any(axis=1))
    np.testing.assert_array_equal(np.flatnonzero(found.undetermined), [7])
    assert "1 item(s) (h)" in found.message
    cov = twin(problem, psi, curvature, workers)[0]
    C = contrast_rows(problem, all_pairs(7), 8)
    expected = np.sqrt(np.einsum("ki,ij,kj->k", C, cov, C))
    np.testing.assert_allclose(found.differences(all_pairs(7))[1], expected, rtol=1e-8)
    assert_relative_to(found, range(7), cov)
    frame = found.rank_intervals().set_index("item")
    assert frame.loc["h", ["low", "high"]].tolist() == [1, 8]
    before = frame.loc[list("abcdefg")]
    assert (before["high"] - before["low"] >= 1).all()
    whole = RankingInference(problem, coef, psi, np.ones(len(y)), workers)
    assert not whole.undetermined.any()
    assert whole.message == ""


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_vote_within_its_limit(extra):
    problem, coef, psi, curvature, workers = case(extra=extra)
    found = RankingInference(problem, coef, psi, 0 * curvature, workers)
    assert found.rank == 0
    assert np.isnan(found.differences(all_pairs(7))[1]).all()
    assert np.isnan(found.extra_errors()[0]).all()
    assert np.isnan(found.cov).all()
    assert found.undetermined.all()
    assert "7 item(s) (0, 1, 2, 3, 4, ...) among the others is open" in found.message
    assert "hangs on" not in found.message
    frame = found.rank_intervals()
    assert (frame["low"] == 1).all()
    assert (frame["high"] == 7).all()


def test_columns_that_explain_differences_leave_them_open():
    """Items 0, 1 are always first against 2, 3: a bias could explain it."""
    rng = np.random.default_rng(0)
    across = np.array([[a, b] for a in (0, 1) for b in (2, 3)])
    pairs = np.tile(across, (10, 1))
    problem = ComparisonProblem(pairs, rng.normal(size=40), 4, extra=np.ones((40, 1)))
    found = RankingInference(
        problem, np.zeros(5), rng.normal(size=40), np.ones(40), np.arange(40) % 5
    )
    _, error, _ = found.differences(all_pairs(4))
    np.testing.assert_array_equal(~np.isnan(error), [1, 0, 0, 0, 0, 1])
    assert np.isnan(found.extra_errors()[0]).all()
    assert found.rank == 3
    frame = found.rank_intervals().set_index("item")
    assert (frame["low"] <= 2).all()
    assert (frame["high"] >= 3).all()


def hanging(votes, workers=None, weight=None):
    """Items 0 to 6 with many votes, and 7 with some votes against item 2 alone."""
    pairs, y, known = cast(1)
    k = len(votes)
    added = np.where(np.arange(k)[:, None] % 2, [[2, 7]], [[7, 2]])
    problem = ComparisonProblem(
        np.concatenate([pairs, added]),
        np.concatenate([y, np.where(np.arange(k) % 2, -1, 1) * votes]),
        8,
        sample_weight=None if weight is None else np.append(np.ones(len(y)), weight),
        dense=False,
    )
    coef = problem.design.to_coefs(problem.design.least_squares())[0].ravel()
    clusters = None if workers is None else np.append(known, workers)
    return problem, coef, *linear_scores(problem, coef, np.inf), clusters


@pytest.mark.parametrize(
    ("votes", "options", "known"),
    [
        ([0.4], {}, False),
        ([0.4], {"workers": [0]}, False),
        ([0.4], {"weight": [3.0]}, False),
        ([0.4, 0.4, 0.4], {}, False),  # the same three times
        ([0.4, 0.4], {"workers": [0, 1]}, False),
        ([0.4, 0.7, -0.2], {"workers": [5, 5, 5]}, False),
        ([0.4, 0.7], {}, True),
        ([0.4, 0.7, 0.4], {"workers": [5, 1, 5]}, True),
    ],
)
@pytest.mark.parametrize("small", [True, False])
def test_what_one_vote_alone_says_has_no_error(
    votes, options, known, small, monkeypatch
):
    problem, coef, psi, curvature, clusters = hanging(np.array(votes), **options)
    if not small:
        monkeypatch.setattr(module, "_SMALL", 3)
    found = RankingInference(
        problem, coef, psi, curvature, clusters, items=list("abcdefgh")
    )
    cov = twin(problem, psi, curvature, clusters)[0]
    value, error, _ = found.differences(all_pairs(8))
    C = contrast_rows(problem, all_pairs(8), 8)
    expected = np.einsum("ki,ij,kj->k", C, cov, C)
    if not known:
        expected[(all_pairs(8) == 7).any(axis=1)] = np.nan
    np.testing.assert_allclose(error, np.sqrt(expected), rtol=1e-7)
    assert not np.isnan(value).any()
    np.testing.assert_array_equal(
        np.flatnonzero(found.undetermined), [] if known else 7
    )
    frame = found.rank_intervals(0.5, n_draws=100).set_index("item")
    assert_relative_to(found, range(8 if known else 7), cov)
    if known:
        assert found.message == ""
        assert frame.loc["h", "high"] - frame.loc["h", "low"] < 7
    else:
        assert "1 item(s) (h)" in found.message
        assert "no standard error" in found.message
        assert "shifted" not in found.message
        assert frame.loc["h", ["low", "high"]].tolist() == [1, 8]
        before = frame.loc[list("abcdefg")]
        assert (before["high"] - before["low"] >= 1).all()
        assert (before["high"] - before["low"] < 7).any()


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from([None, "bias", "workers", "features", "both", "collinear"]),
    bordered=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_errors_are_known_unless_a_vote_of_leverage_one_matters(seed, kind, bordered):
    """By ranks: a contrast needs such a vote if other rows do not span it."""
    rng = np.random.default_rng(seed)
    m = 7
    n = int(rng.integers(m, 2 * m))
    first = rng.integers(0, m, n)
    pairs = np.stack([first, (first + rng.integers(1, m, n)) % m], axis=1)
    if kind == "bias":  # mostly from low to high: a vote in the other direction matters
        pairs = np.where(rng.random(n)[:, None] < 0.8, np.sort(pairs), pairs)
    extra = {
        "bias": np.ones((n, 1)),
        "workers": 100 * np.eye(4)[rng.choice(4, n, p=[0.7, 0.1, 0.1, 0.1])],
        "both": np.ones((n, 1)),
    }.get(kind)
    features = None
    if kind in ("features", "both", "collinear"):  # of some, one item alone has a value
        features = np.round(rng.normal(size=(m, 3)) * [1, 0.6, 100])
    if kind == "collinear":
        more = features @ rng.integers(-1, 2, (3, 2)), np.full(m, 0.1)
        features = np.column_stack([features, *more])[:, rng.permutation(6)]
    try:
        problem = ComparisonProblem(
            pairs,
            rng.normal(size=n),
            m,
            extra=extra,
            features=features,
            dense=bool(rng.random() < 0.5),
        )
    except ValueError:
        assume(False)
    X = incidence(problem)
    size = np.maximum(np.abs(X).max(axis=0), 1e-12)
    X = X / size

    def spans(rows, c):
        both = np.vstack([rows, c])
        return np.linalg.matrix_rank(rows, 1e-7) == np.linalg.matrix_rank(both, 1e-7)

    alone = [k for k in range(n) if not spans(np.delete(X, k, axis=0), X[k])]
    sets = [X] + [np.delete(X, k, axis=0) for k in alone]
    C = contrast_rows(problem, all_pairs(m), X.shape[1]) / size
    coef = np.zeros(problem.n_features)
    psi = rng.normal(size=n)
    border = None
    if bordered:  # far from a saddle point
        border = tuple(rng.normal(size=(2, n))) + (np.full(n, 10.0),)
    found = RankingInference(problem, coef, psi, np.ones(n), border=border)
    assume(found.rank < n)  # the border is one more parameter
    expected = [all(spans(rows, c) for rows in sets) for c in C]
    apart = problem.components[all_pairs(m)]
    if features is None:
        expected &= apart[:, 0] == apart[:, 1]
    np.testing.assert_array_equal(
        ~np.isnan(found.differences(all_pairs(m))[1]), expected
    )
    same = np.eye(m, dtype=bool)
    same[tuple(all_pairs(m).T)] = expected
    same |= same.T
    groups = problem.components if features is None else np.zeros(m, dtype=int)
    home = np.zeros(m, dtype=bool)
    for group in set(groups):
        size = np.where(groups == group, same.sum(axis=0), 0)
        if size.max() > 1 or (groups == group).sum() == 1:
            home |= same[size.argmax()]
    for errors in found.score_errors()[0], found.score_errors(range(m))[0]:
        np.testing.assert_array_equal(~np.isnan(errors), home)
    np.testing.assert_array_equal(found.undetermined, ~home)
    assert (found.message == "") == home.all()
    cov, (first, second) = found.cov, all_pairs(m).T
    of_pairs = cov[first, first] + cov[second, second] - 2 * cov[first, second]
    both = home[first] & home[second] & (groups[first] == groups[second])
    np.testing.assert_array_equal(~np.isnan(of_pairs), both)
    np.testing.assert_allclose(
        np.sqrt(np.maximum(of_pairs, 0.0))[both],
        found.differences(all_pairs(m))[1][both],
        rtol=1e-6,
        atol=1e-7 * np.sqrt(np.nanmax(cov, initial=0.0)),
    )
    if features is not None:
        errors = found.coef_errors()[0]
        axes = np.eye(X.shape[1])[: len(errors)]
        known = [all(spans(rows, c) for rows in sets) for c in axes]
        np.testing.assert_array_equal(~np.isnan(errors), known)
    if extra is not None:
        errors = found.extra_errors()[0]
        axes = np.eye(X.shape[1])[-len(errors) :]
        known = [all(spans(rows, c) for rows in sets) for c in axes]
        np.testing.assert_array_equal(~np.isnan(errors), known)


def collinear(kind):
    """Features of 7 items that are not all needed."""
    rng = np.random.default_rng(3)
    F = rng.normal(size=(7, 3)) * [1, 0.1, 100]
    return {
        "eye": np.eye(7),
        "twice": np.column_stack([F, F[:, 0]]),
        "sum": np.column_stack([F[:, 1], F.sum(axis=1), F[:, ::2]]),
        "constant": np.column_stack([np.full(7, 0.1), F]),
        "sides": np.column_stack([np.arange(7) < 3, np.arange(7) >= 3, F[:, 0]]),
        "wide": rng.normal(size=(7, 20)),
        "single": np.column_stack([F, np.arange(7) == 5, F @ [2, 1, 0.1]]),
    }[kind].astype(float)


@pytest.mark.parametrize(
    "kind", ["eye", "twice", "sum", "constant", "sides", "wide", "single"]
)
@pytest.mark.parametrize("extra", [None, "bias", "dependent"])
@pytest.mark.parametrize("bordered", [False, True])
@pytest.mark.parametrize("form", ["dense", "sparse", "float32"])
def test_collinear_features(kind, extra, bordered, form):
    """Only the scores count: by a pseudo-inverse, and by features that span them."""
    F = collinear(kind)
    if form == "float32":
        F = F.astype(np.float32)
    features = sparse.csr_array(F) if form == "sparse" else F
    dense = False if form == "float32" else "auto"  # which knows the precision
    problem, coef, psi, curvature, workers = case(
        2, extra=extra, features=features, dense=dense
    )
    F = F.astype(float)
    border = None
    if bordered:
        rng = np.random.default_rng(0)
        border = tuple(rng.normal(size=(2, len(psi)))) + (np.full(len(psi), 2.0),)
    found = RankingInference(problem, coef, psi, curvature, workers, border=border)
    inner, n_extra = F - F.mean(axis=0), problem.n_extra
    tolerance = 1e-5 if form == "float32" else 1e-10
    size = np.linalg.norm(inner, axis=0)
    size = np.where(size > 1e-12, size, 1.0)
    U, S, _ = np.linalg.svd(inner / size)
    U = U[:, : np.linalg.matrix_rank(inner / size, tolerance)]
    plain = ComparisonProblem(
        problem.pairs, problem.y, 7, features=U, extra=columns(extra, workers)
    )
    cov, rank, factor, _ = twin(plain, psi, curvature, workers, border)
    assert found.rank == rank
    np.testing.assert_allclose(found.factor, factor)
    C = contrast_rows(plain, all_pairs(7), len(cov))
    expected = np.sqrt(np.einsum("ki,ij,kj->k", C, cov, C))
    close = {"rtol": 1e-4 if form == "float32" else 1e-7}
    value, error, df = found.differences(all_pairs(7))
    np.testing.assert_allclose(error, expected, **close)
    same = RankingInference(
        plain,
        np.append(U.T @ problem.scores(coef), coef[len(coef) - n_extra :]),
        psi,
        curvature,
        workers,
        border=border,
    )
    other = same.differences(all_pairs(7))
    size_of = np.ptp(found.scores)
    np.testing.assert_allclose(value / size_of, other[0] / size_of, atol=close["rtol"])
    np.testing.assert_allclose(df, other[2], **close)
    np.testing.assert_allclose(found.cov, same.cov, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.score_errors(), same.score_errors(), **close)
    np.testing.assert_allclose(found.extra_errors(), same.extra_errors(), **close)
    assert found.message == ""
    assert not found.undetermined.any()
    # Coefficients: in the row space of the features, or without an error.
    errors, df = found.coef_errors()
    known = {
        "twice": [0, 1, 1, 0],
        "constant": [0, 1, 1, 1],
        "sides": [0, 0, 1],
        "single": [0, 0, 0, 1, 0],
    }.get(kind, [0] * F.shape[1])
    np.testing.assert_array_equal(~np.isnan(errors), known)
    np.testing.assert_array_equal(np.isnan(df), np.isnan(errors))
    some = np.flatnonzero(known)
    C = (np.linalg.pinv(inner / size, rcond=tolerance) / size[:, None])[some] @ U
    r = C.shape[1]
    expected = np.sqrt(np.einsum("ki,ij,kj->k", C, cov[:r, :r], C))
    np.testing.assert_allclose(errors[some], expected, **close)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_only_what_features_span_matters(seed):
    """Nearly the same features, or powers: scores are determined all the same."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(7, 3))
    near = F[:, :1] + 10.0 ** -rng.uniform(1, 6) * F[:, 1:]
    found = []
    for features in (F, np.column_stack([F[:, 0], near]), F + 1e4):
        problem, *_, workers = case(1, features=features, extra="bias")
        psi, curvature = np.random.default_rng(seed).uniform(0.1, 1, (2, 150))
        found.append(RankingInference(problem, np.zeros(4), psi, curvature, workers))
    for other in found[1:]:
        np.testing.assert_allclose(
            other.differences(all_pairs(7))[1:],
            found[0].differences(all_pairs(7))[1:],
            rtol=1e-6,
        )
        assert not np.isnan(other.coef_errors()[0]).any()
    last = found[2].coef_errors()
    np.testing.assert_allclose(last, found[0].coef_errors(), rtol=1e-6)


def test_indicators_of_items_are_scores():
    problem, coef, psi, curvature, workers = case(3, extra="bias")
    free = RankingInference(problem, coef, psi, curvature, workers)
    items = ComparisonProblem(
        problem.pairs, problem.y, 7, features=np.eye(7), extra=problem.extra
    )
    found = RankingInference(items, coef, psi, curvature, workers)
    assert found.rank == free.rank
    for one, other in (
        (found.differences(all_pairs(7)), free.differences(all_pairs(7))),
        (found.score_errors(), free.score_errors()),
        (found.extra_errors(), free.extra_errors()),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_allclose(found.cov, free.cov, rtol=1e-9, atol=1e-14)
    assert found.rank_intervals().equals(free.rank_intervals())


def test_shifted_votes_among_collinear_features_leave_their_items_open():
    problem, coef, psi, curvature, workers = case(1, features=np.eye(7))
    curvature = np.where((problem.pairs == 4).any(axis=1), 0.0, curvature)
    found = RankingInference(problem, coef, psi, curvature, workers)
    cov = twin(problem, psi, curvature, workers)[0]
    assert_relative_to(found, [0, 1, 2, 3, 5, 6], cov)
    assert "1 item(s) (4) among the others is open" in found.message
    expected = (all_pairs(7) == 4).any(axis=1)
    np.testing.assert_array_equal(
        np.isnan(found.differences(all_pairs(7))[1]), expected
    )


# -- pendant items ---------------------------------------------------------------------


@pytest.mark.parametrize("extra", [None, "bias", "dependent"])
@pytest.mark.parametrize("features", [None, "features"])
@pytest.mark.parametrize("bordered", [False, True])
def test_a_pendant_item_leaves_errors_to_the_others(extra, features, bordered):
    """By a pseudo-inverse: errors are of scores relative to the mean of the others."""
    pairs, y, workers = cast(4)
    m = 9
    pairs = np.concatenate([pairs, [[7, 2], [7, 8]]])  # a chain
    y, workers = np.append(y, [0.3, -0.2]), np.append(workers, [1, 2])
    of_votes = columns(extra, workers)
    phi = None
    if features is not None:  # items 7 and 8 have features of their own
        phi = np.zeros((m, 5))
        phi[:7, :3] = np.random.default_rng(1).normal(size=(7, 3))
        phi[7, 3] = phi[8, 4] = 1.0
    problem = ComparisonProblem(pairs, y, m, extra=of_votes, features=phi, dense=False)
    coef = problem.design.to_coefs(problem.design.least_squares())[0].ravel()
    psi, curvature = linear_scores(problem, coef, np.inf)
    border = None
    if bordered:  # which the chain says nothing about
        border = np.random.default_rng(0).normal(size=(2, len(y)))
        border = np.vstack([border, np.full(len(y), 2.0)])
        border[:, -2:] = 0.0
    found = RankingInference(
        problem, coef, psi, curvature, workers, border=border, items=list("abcdefghi")
    )
    cov = twin(problem, psi, curvature, workers, border)[0]
    if phi is not None:
        d, n = len(cov), phi.shape[1]
        lift = np.zeros((m, d))
        lift[:, :n] = phi
        cov = lift @ cov @ lift.T
    assert_relative_to(found, range(7), cov)
    first, second = all_pairs(m).T
    _, error, _ = found.differences(all_pairs(m))
    expected = cov[first, first] + cov[second, second] - 2 * cov[first, second]
    known = second < 7
    np.testing.assert_array_equal(~np.isnan(error), known)
    np.testing.assert_allclose(error[known], np.sqrt(expected[known]), rtol=1e-7)
    assert found.message.startswith("the place of 2 item(s) (h, i) among the others ")
    assert "hangs on" in found.message
    # As if these items and votes had never been.
    if phi is not None:
        phi = phi[:7, :3]
    some = slice(0, -2)
    alone = RankingInference(
        ComparisonProblem(
            pairs[some],
            y[some],
            7,
            extra=None if of_votes is None else of_votes[some],
            features=phi,
        ),
        np.delete(coef, [3, 4] if phi is not None else [7, 8]),
        psi[some],
        curvature[some],
        workers[some],
        border=None if border is None else tuple(b[some] for b in border),
    )
    ratio = np.sqrt(found.factor / alone.factor)
    error, df = found.score_errors()
    expected, expected_df = alone.score_errors()
    np.testing.assert_allclose(error[:7], ratio * expected, rtol=1e-7)
    if not bordered:  # the border has the mean squares of all scores
        np.testing.assert_allclose(df[:7], expected_df, rtol=1e-7)
        ranks = found.rank_intervals(0.8).set_index("item").loc[list("abcdefg")]
        before = alone.rank_intervals(0.8).set_index("item").loc[range(7)]
        assert ((before["high"] - before["low"]) < 6).any()
        # The correction differs by little, and the others may be anywhere.
        np.testing.assert_array_equal(ranks["low"], before["low"])
        np.testing.assert_array_equal(ranks["high"], before["high"] + 2)


def test_a_pendant_item_of_little_curvature_leaves_ranks_to_the_others():
    """Its share in errors relative to the mean of all items would be almost all."""
    pairs, y, workers = cast(4)
    pairs = np.concatenate([pairs, [[7, 2]]])
    problem = ComparisonProblem(pairs, np.append(y, 1.0), 8)
    coef, psi, curvature = np.zeros(8), np.append(y, 0.0), np.append(np.ones(150), 1e-6)
    coef[:7] = np.linspace(-2, 2, 7)
    coef[7] = 9.0
    labels = np.append(workers, 1)
    found = RankingInference(problem, coef, psi, curvature, labels)
    alone = RankingInference(
        ComparisonProblem(pairs[:-1], y, 7), coef[:7], y, np.ones(150), workers
    )
    np.testing.assert_allclose(
        found.score_errors()[1][:7], alone.score_errors()[1], rtol=1e-6
    )
    ranks = found.rank_intervals().set_index("item").loc[range(7)]
    before = alone.rank_intervals().set_index("item").loc[range(7)]
    assert (before["high"] - before["low"] < 4).all()
    np.testing.assert_array_equal(ranks["low"], before["low"])
    np.testing.assert_array_equal(ranks["high"], before["high"] + 1)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (5, 3)])
def test_the_largest_part_of_a_component_has_errors(sizes):
    """Two parts joined by one vote, and a component of its own."""
    rng = np.random.default_rng(0)
    m, a = sum(sizes), sizes[0]
    inner = [p for p in all_pairs(m).tolist() if (p[0] < a) == (p[1] < a)]
    pairs = np.array(inner * 4 + [[0, m - 1]] + [[m, m + 1]] * 5)
    y = rng.normal(size=len(pairs))
    problem = ComparisonProblem(pairs, y, m + 2)
    coef = problem.design.to_coefs(problem.design.least_squares())[0].ravel()
    psi, curvature = linear_scores(problem, coef, np.inf)
    found = RankingInference(problem, coef, psi, curvature)
    home = np.arange(m) < a if sizes[0] >= sizes[1] else np.arange(m) >= a
    outside = np.flatnonzero(~home)
    np.testing.assert_array_equal(np.flatnonzero(found.undetermined), outside)
    names = ", ".join(map(str, outside))
    assert f"{len(outside)} item(s) ({names}) among" in found.message
    known = np.append(home, [True, True])
    np.testing.assert_array_equal(~np.isnan(np.diagonal(found.cov)), known)
    assert np.isnan(found.cov[:m, m:]).all()
    # Differences within the other part have errors as well.
    _, error, _ = found.differences(all_pairs(m))
    first, second = all_pairs(m).T
    np.testing.assert_array_equal(~np.isnan(error), home[first] == home[second])
    both = home[first] & home[second]
    cov, first, second = found.cov, first[both], second[both]
    of_pairs = cov[first, first] + cov[second, second] - 2 * cov[first, second]
    np.testing.assert_allclose(np.sqrt(of_pairs), error[both], rtol=1e-9)


def test_items_that_one_vote_each_compares_have_no_errors():
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6]])
    problem = ComparisonProblem(pairs, np.array([1.0, 0.5, -1, -0.2, 1, 1]), 7)
    coef = problem.design.to_coefs(problem.design.least_squares())[0].ravel()
    psi, curvature = linear_scores(problem, coef, np.inf)
    found = RankingInference(problem, coef, psi, curvature)
    np.testing.assert_array_equal(np.flatnonzero(found.undetermined), [4, 5, 6])
    np.testing.assert_array_equal(np.isnan(found.score_errors()[0]), found.undetermined)
    np.testing.assert_array_equal(np.isnan(found.cov[0]), found.undetermined)
    assert "3 item(s) (4, 5, 6) among" in found.message


def test_a_saddle_point_has_no_standard_errors():
    problem, coef, psi, curvature, workers = case()
    for bent, border in (
        (-curvature, None),
        (np.where(problem.pairs[:, 0] == 2, -3.0, curvature), None),
        (curvature, (psi, psi, -np.ones(len(psi)))),
        (curvature, (psi, 50 * problem.y, np.ones(len(psi)))),
    ):
        found = RankingInference(problem, coef, psi, bent, workers, border=border)
        with pytest.raises(SingularFit, match="not those of a minimum"):
            found.differences(all_pairs(7))


def test_bad_arguments():
    problem, coef, psi, curvature, workers = case()
    good = {"clusters": workers}
    n = len(psi)

    def make(**changes):
        some = {"psi": psi, "curvature": curvature} | good | changes
        return RankingInference(problem, coef, **some)

    for changes, match in (
        ({"psi": psi[:-1]}, rf"psi has shape \({n - 1},\)"),
        ({"curvature": np.full(n, np.nan)}, "curvature contains nan for vote 0"),
        ({"clusters": workers[:-1]}, "clusters has shape"),
        ({"clusters": np.zeros(n)}, "clusters has 1 label"),
        ({"clusters": "item"}, "clusters='item' is unknown"),
        ({"border": (psi, psi)}, "border has 2 entries"),
        ({"items": ["a"]}, "items has shape"),
        ({"level": 95}, "level=95"),
    ):
        with pytest.raises(ValueError, match=match):
            make(**changes)
    found = make()
    for ask, match in (
        (lambda: found.differences([[1, 1]]), "item 1 with itself"),
        (lambda: found.differences([[1, 7]]), "between 0 and n_items"),
        (lambda: found.rank_intervals(level=2.0), "level=2.0"),
        (lambda: found.rank_intervals(kind="both"), "kind='both' is unknown"),
        (lambda: found.rank_intervals(n_draws=3), "n_draws=3"),
        (found.border_error, "no border"),
        (found.coef_errors, "no features"),
    ):
        with pytest.raises(ValueError, match=match):
            ask()


# Standard errors of statsmodels 0.15.0: Logit(y01, X).fit(method="newton", tol=1e-14,
# cov_type="cluster", cov_kwds={"groups": workers}) for the votes of `frozen_votes`.
STATSMODELS = {
    "coef": [
        0.750515162075807,
        1.0146772011200234,
        1.2432997530214136,
        1.5736049988891583,
        0.10816005843162231,
    ],
    "bse": [
        0.214319240520746,
        0.39152858539267604,
        0.2653887458100801,
        0.2032951584664271,
        0.1301422582230316,
    ],
}


def frozen_votes():
    """Votes by arithmetic: items 0 to 4, workers 0 to 8."""
    k = np.arange(240)
    first = (k * k + 3 * k) % 5
    pairs = np.stack([first, (first + 1 + (k * 7 + k // 11) % 4) % 5], axis=1)
    ahead = (k * 31 + (k * k) % 47) % 100 < 50 + 9 * (pairs[:, 0] - pairs[:, 1])
    return pairs, np.where(ahead, 1.0, -1.0), (k * 13 + k // 7) % 9


def test_bradley_terry_clustered_as_in_statsmodels():
    pairs, y, workers = frozen_votes()
    problem = ComparisonProblem(pairs, y, 5, extra=np.ones((240, 1)), dense=False)
    coords = bradley_terry(problem.design)
    coef = problem.design.to_coefs(coords)[0].ravel()
    psi, curvature = logistic_scores(problem, coef, np.inf)
    found = RankingInference(problem, coef, psi, curvature, workers)
    value, error, _ = found.differences(np.array([[k, 0] for k in range(1, 5)]))
    np.testing.assert_allclose(value, STATSMODELS["coef"][:4], rtol=1e-7)
    np.testing.assert_allclose(error, STATSMODELS["bse"][:4], rtol=1e-6)
    np.testing.assert_allclose(coef[5], STATSMODELS["coef"][4], rtol=1e-7)
    np.testing.assert_allclose(
        found.extra_errors()[0], STATSMODELS["bse"][4:], rtol=1e-6
    )


# -- ranks -----------------------------------------------------------------------------


def slow_sets(scores, cov, draws, level, kind, factor, df):
    """Rank sets by loops."""
    m = len(scores)

    def error(i, j):
        return np.sqrt(cov[i, i] + cov[j, j] - 2 * cov[i, j])

    def most(draw, i):
        return max(abs(draw[i] - draw[j]) / error(i, j) for j in range(m) if j != i)

    largest = np.array([[most(draw, i) for i in range(m)] for draw in draws])
    if kind == "joint":
        largest[:] = largest.max(axis=1, keepdims=True)
    low, high = [], []
    for i in range(m):
        ordered = np.sort(largest[:, i])
        cut = ordered[int(np.ceil(level * (len(ordered) - 1)))]
        better = worse = 0
        for j in range(m):
            if j == i:
                continue
            limit = stats.t.isf(stats.norm.sf(cut), df(i, j))
            gap = scores[j] - scores[i]
            if abs(gap) > limit * np.sqrt(factor) * error(i, j):
                better += gap > 0
                worse += gap < 0
        low.append(1 + better)
        high.append(m - worse)
    return low, high


@pytest.mark.parametrize("kind", ["marginal", "joint"])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_rank_sets_are_those_of_a_slow_twin(seed, clustered, kind):
    problem, coef, psi, curvature, workers = case(seed, n=100 + 200 * seed)
    clusters = workers if clustered else None
    found = RankingInference(problem, coef, psi, curvature, clusters)
    draws = found._draws(199, 3)
    # Degrees of freedom by votes that matter for one of both items.
    bread = twin(problem, psi, curvature, clusters)[3]
    X = incidence(problem)
    share = (X @ bread @ (np.eye(7) - 1 / 7)) ** 2
    if clustered:
        share = np.array([share[workers == g].sum(axis=0) for g in set(workers)])

    def df(i, j):
        both = share[:, i] + share[:, j]
        return np.clip(both.sum() ** 2 / (both @ both) - 1, 1, found.df)

    cov = found.cov / found.factor
    low, high = slow_sets(found.scores, cov, draws, 0.9, kind, found.factor, df)
    frame = found.rank_intervals(0.9, kind, n_draws=199, random_state=3)
    frame = frame.set_index("item").loc[range(7)]
    assert frame["low"].tolist() == low
    assert frame["high"].tolist() == high


def test_draws_have_the_covariance_of_the_scores():
    """Of the votes themselves, of workers, and of workers who are many."""
    n_draws = 20_000
    for count, extra, phi in itertools.product(
        (0, 12, 60), (None, "dependent"), (None, np.eye(7)[:, :4] + 2)
    ):
        problem, coef, psi, curvature, _ = case(2, extra=extra, features=phi)
        clusters = np.arange(150) % count if count else None
        found = RankingInference(problem, coef, psi, curvature, clusters)
        draws = found._draws(n_draws, 0)
        draws -= draws.mean(axis=1, keepdims=True)
        expected = found.cov / found.factor
        size = np.sqrt(np.diagonal(expected))
        gap = draws.T @ draws / n_draws - expected
        gap /= np.maximum(np.outer(size, size), 1e-12)
        assert np.nanmax(np.abs(gap)) < 5 * np.sqrt(2 / n_draws)


def test_rank_sets_contain_the_rank_and_shrink_with_more_votes():
    width = []
    for n in (100, 1000, 10_000):
        problem, coef, psi, curvature, _ = case(1, n=n)
        found = RankingInference(problem, coef, psi, curvature)
        frame, joint = found.rank_intervals(), found.rank_intervals(kind="joint")
        assert (frame["low"] <= frame["rank"]).all()
        assert (frame["rank"] <= frame["high"]).all()
        assert (joint["low"] <= frame["low"]).all()
        assert (joint["high"] >= frame["high"]).all()
        lower = found.rank_intervals(level=0.5)
        assert (lower["high"] - lower["low"] <= frame["high"] - frame["low"]).all()
        width.append((frame["high"] - frame["low"]).sum())
    assert width[0] > width[1] > width[2] == 0


def test_ties_and_certain_scores():
    scores = np.array([1.0, 0.0, 0.0, -1.0])
    zero = np.zeros((4, 4))
    groups = np.zeros(4, dtype=np.intp)
    low, high = rank_sets(scores, zero, np.zeros((50, 4)), groups, groups, level=0.95)
    np.testing.assert_array_equal(low, [1, 2, 2, 4])
    np.testing.assert_array_equal(high, [1, 3, 3, 4])
    frame = rank_frame(np.array(list("dcba")), groups, scores, low, high, groups)
    assert frame["item"].tolist() == ["d", "c", "b", "a"]
    assert frame["rank"].tolist() == [1, 2, 2, 4]
    # Large groups come first.
    groups = np.array([0, 1, 1, 1])
    frame = rank_frame(np.arange(4), groups, scores, low, high, groups)
    assert frame["item"].tolist() == [1, 2, 3, 0]
    assert frame["rank"].tolist() == [1, 1, 3, 1]


def test_blocks_of_items_and_draws_do_not_show():
    rng = np.random.default_rng(0)
    m = 75  # more than two blocks
    root = rng.normal(size=(m, m))
    scores, draws = 3 * rng.normal(size=m), rng.normal(size=(41, m)) @ root.T
    groups = np.zeros(m, dtype=np.intp)
    cov = root @ root.T
    for kind in ("marginal", "joint"):
        low, high = rank_sets(
            scores, cov, draws, groups, groups, level=0.8, kind=kind, factor=0.01
        )
        expected = slow_sets(scores, cov, draws, 0.8, kind, 0.01, lambda i, j: 1e12)
        assert low.tolist() == expected[0]
        assert high.tolist() == expected[1]
        assert (low > 1).any()


# -- coverage --------------------------------------------------------------------------


def test_intervals_cover_with_workers_who_differ():
    """Least squares on votes with flipped sides: its limit is known exactly.

    A worker flips a side with a probability of his own, on average 0.2, and has scores
    of his own around the common ones: the mean vote is 0.6 times the difference.
    """
    rng = np.random.default_rng(0)
    m, n_workers, n_votes, runs = 5, 30, 20, 200
    theta, workers = np.linspace(-1, 1, m), np.repeat(np.arange(n_workers), n_votes)
    pairs = all_pairs(m)
    target = 0.6 * (theta[pairs[:, 0]] - theta[pairs[:, 1]])
    hits = {"workers": [], "votes": [], "ranks": []}
    for _ in range(runs):
        first = rng.integers(0, m, len(workers))
        second = (first + rng.integers(1, m, len(workers))) % m
        own = theta + 0.5 * rng.normal(size=(n_workers, m))
        y = own[workers, first] - own[workers, second]
        y += 0.5 * rng.normal(size=len(workers))
        flipped = rng.random(len(workers)) < rng.choice([0.1, 0.3], n_workers)[workers]
        y = np.where(flipped, -y, y)
        problem = ComparisonProblem(np.stack([first, second], axis=1), y, m)
        design = problem.design
        coef = design.to_coefs(design.least_squares())[0].ravel()
        psi, curvature = linear_scores(problem, coef, np.inf)
        for name, clusters in (("workers", workers), ("votes", None)):
            found = RankingInference(problem, coef, psi, curvature, clusters)
            value, error, df = found.differences(pairs)
            half = special.stdtrit(df, 0.975) * error
            hits[name].append(np.abs(value - target) <= half)
            if clusters is not None:
                frame = found.rank_intervals(n_draws=200).set_index("item")
                rank = m - np.arange(m)
                frame = frame.loc[range(m)]
                hits["ranks"].append((frame["low"] <= rank) & (rank <= frame["high"]))
    assert 0.93 <= np.mean(hits["workers"]) <= 0.97
    assert np.mean(hits["votes"]) < 0.90  # ignoring who voted
    assert np.mean(hits["ranks"]) >= 0.95


# -- bootstrap -------------------------------------------------------------------------


def least_squares_refit(problem):
    def refit(factor):
        weight = factor
        if problem.sample_weight is not None:
            weight = factor * problem.sample_weight
        other = problem.with_weight(weight)
        coef = other.design.to_coefs(other.design.least_squares())[0].ravel()
        return other.scores(coef), np.abs(other.residuals(coef)) > 2

    return refit


def test_bootstrap_agrees_with_the_sandwich():
    pairs, y, workers = cast(3, m=5, n=1500, n_workers=50)
    problem = ComparisonProblem(pairs, y, 5)
    coef = problem.design.to_coefs(problem.design.least_squares())[0].ravel()
    psi, curvature = linear_scores(problem, coef, np.inf)
    found = RankingInference(problem, coef, psi, curvature, workers)
    for kind in ("bayesian", "resample"):
        boot = worker_bootstrap(
            least_squares_refit(problem), workers, 400, random_state=0, kind=kind
        )
        np.testing.assert_allclose(boot.estimate, found.scores)
        error = found.differences(all_pairs(5))[1]
        frame = boot.differences(all_pairs(5))
        # Noise of 400 draws: 3.5 % for each of them.
        ratio = frame["standard_error"] / error
        assert 0.94 < np.exp(np.log(ratio).mean()) < 1.04
        normal = boot.differences(all_pairs(5), kind="normal")
        half = special.stdtrit(49, 0.975) * frame["standard_error"]
        np.testing.assert_allclose(normal["high"] - normal["difference"], half)
        drawn = boot.scores[:, 0] - boot.scores[:, 1]
        np.testing.assert_allclose(
            frame.loc[0, ["low", "high"]].astype(float),
            np.quantile(drawn, [0.025, 0.975]),
        )
        np.testing.assert_allclose(
            np.diagonal(boot.cov), boot.scores.var(axis=0, ddof=1)
        )
        ranks = boot.rank_intervals()
        assert ranks["item"].tolist() == found.rank_intervals()["item"].tolist()
        assert (ranks["low"] <= ranks["rank"]).all()
        assert (ranks["high"] >= ranks["rank"]).all()
        assert boot.n_failed == 0
        share = boot.distrust_frequency
        assert share.min() == 0
        assert share.max() == 1
        assert ((share > 0.5) == (np.abs(psi) > 2)).mean() > 0.99


def test_draws_depend_on_the_seed_alone():
    pairs, y, workers = cast(1, n=200)
    refit = least_squares_refit(ComparisonProblem(pairs, y, 7))
    one = worker_bootstrap(refit, workers, 6, random_state=5)
    same = worker_bootstrap(refit, workers, 6, random_state=5, n_jobs=2)
    np.testing.assert_array_equal(one.scores, same.scores)
    np.testing.assert_array_equal(one.distrust_frequency, same.distrust_frequency)
    rows = np.random.default_rng(0).permutation(200)
    moved = ComparisonProblem(pairs[rows], y[rows], 7)
    other = worker_bootstrap(
        least_squares_refit(moved), workers[rows], 6, random_state=5
    )
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-12)
    fresh = worker_bootstrap(refit, workers, 6, random_state=6)
    assert (fresh.scores != one.scores).all()


def test_weights_of_workers_have_mean_one():
    seen = []

    def refit(factor):
        seen.append(factor.copy())
        return np.array([factor[0], factor[-1]]), factor > 1.5

    labels = np.repeat(["x", "y", "z"], [1, 2, 5])
    boot = worker_bootstrap(refit, labels, 3000, random_state=0)
    factors = np.array(seen[1:])
    assert (seen[0] == 1).all()
    assert (factors[:, 1] == factors[:, 2]).all()
    np.testing.assert_allclose(factors[:, [0, 1, 3]].sum(axis=1), 3)
    # Dirichlet: mean 1, variance (G - 1) / (G + 1).
    assert abs(factors[:, 0].mean() - 1) < 5 * np.sqrt(0.5 / 3000)
    assert abs(factors[:, 0].var() - 0.5) < 0.08
    np.testing.assert_allclose(boot.distrust_frequency, (factors > 1.5).mean(axis=0))
    seen.clear()
    boot = worker_bootstrap(refit, labels, 500, random_state=0, kind="resample")
    factors = np.array(seen[1:])
    np.testing.assert_array_equal(factors[:, [0, 1, 3]].sum(axis=1), 3)
    present = (factors > 0).sum(axis=0)
    np.testing.assert_allclose(
        boot.distrust_frequency, (factors > 1.5).sum(axis=0) / present
    )


def test_failed_draws_are_reported():
    calls = []

    def refit(factor):
        calls.append(1)
        if len(calls) % 4 == 0:
            raise SingularFit("no fit")
        return np.array(
            [factor[0], 0.0, np.nan if len(calls) == 2 else 1.0]
        ), factor > 9

    labels = np.arange(5)
    with pytest.warns(UserWarning, match=r"5 of 20 draws .*SingularFit: no fit"):
        boot = worker_bootstrap(refit, labels, 20, random_state=0)
    assert boot.n_failed == 5
    assert boot.failures == {"SingularFit: no fit": 5}
    assert np.isnan(boot.scores).all(axis=1).sum() == 5
    assert "n_failed=5" in repr(boot)
    frame = boot.differences([[0, 1], [0, 2]])
    assert frame["n_draws"].tolist() == [15, 14]
    assert boot.rank_intervals()["low"].min() == 1
    calls.clear()

    def hardly(factor):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("did not settle")
        return factor[:2], factor > 9

    with pytest.raises(RuntimeError, match=r"18 of 20 draws.*did not settle"):
        worker_bootstrap(hardly, labels, 20, random_state=0)

    def broken(factor):
        raise KeyError("a mistake of the caller")

    with pytest.raises(KeyError):
        worker_bootstrap(broken, labels, 20)


def test_bootstrap_within_components():
    rng = np.random.default_rng(0)

    def refit(factor):
        return rng.normal(size=4), factor > 9

    boot = worker_bootstrap(
        refit, np.arange(9), 50, components=[0, 0, 1, 1], items=list("abcd")
    )
    frame = boot.differences([["a", "b"], ["b", "c"]])
    assert frame["first"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(np.isnan(frame["low"]), [False, True])
    assert frame["n_draws"].tolist() == [50, 0]
    np.testing.assert_array_equal(
        np.isnan(boot.cov), np.kron(np.eye(2), np.ones((2, 2))) == 0
    )
    assert (boot.rank_intervals()["high"] <= 2).all()


def test_draws_that_break_a_component_are_left_out_there():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(400, 5)) + [0.0, 4, 0, 9, 0]
    broken = whole.copy()
    broken[::3, 2:4] = np.nan  # the second component
    broken[5] = np.nan

    def bootstrap(scores):
        draws = iter(np.vstack([[0.0, 4, 0, 9, 0], scores]))
        return worker_bootstrap(
            lambda factor: (next(draws), factor > 9),
            np.arange(30),
            len(scores),
            components=[0, 0, 1, 1, 2],
            items=list("edcba"),
        )

    found = bootstrap(broken)
    kept = ~np.isnan(broken[:, 2])
    first = ~np.isnan(broken[:, 0])
    assert kept.sum() < first.sum() == 399
    frame = found.differences(
        pd.DataFrame({"one": ["e", "d", "c", "a"], "two": ["d", "e", "b", "e"]})
    )
    assert frame["n_draws"].tolist() == [399, 399, kept.sum(), 0]
    assert frame["second"].tolist() == ["d", "e", "b", "e"]
    gap = whole[kept, 2] - whole[kept, 3]
    assert frame["standard_error"][2] == pytest.approx(gap.std(ddof=1))
    assert frame["high"][2] == pytest.approx(np.quantile(gap, 0.975))
    cov = found.cov
    np.testing.assert_allclose(cov[2:4, 2:4], np.cov(whole[kept, 2:4].T))
    np.testing.assert_allclose(cov[:2, :2], np.cov(whole[first, :2].T))
    assert np.isnan(cov[:2, 2:]).all()
    # Each component as if it was alone, with its own draws.
    ranks = found.rank_intervals(0.9).set_index("item")
    scores, zeros = found.estimate, np.zeros(2, dtype=np.intp)
    for items, rows in (([0, 1], first), ([2, 3], kept)):
        low, high = rank_sets(
            scores[items],
            np.cov(whole[np.ix_(rows, items)].T),
            (whole - scores)[np.ix_(rows, items)],
            zeros,
            zeros,
            level=0.9,
            degrees=lambda rows, columns: np.full((len(rows), len(columns)), 29.0),
        )
        own = ranks.loc[found.items[items]]
        assert own["low"].tolist() == low.tolist() == [2, 1]
        assert own["high"].tolist() == high.tolist() == [2, 1]
    # All at once: draws that have everything.
    joint = found.rank_intervals(0.9, "joint")
    assert joint.equals(bootstrap(broken[kept]).rank_intervals(0.9, "joint"))
    # Never whole: nothing is known there, and nothing about all at once.
    broken[:, 3] = np.nan
    never = bootstrap(broken)
    ranks = never.rank_intervals(0.9).set_index("item")
    assert ranks.loc[["e", "d", "c", "b", "a"], "low"].tolist() == [2, 1, 1, 1, 1]
    assert ranks.loc[["e", "d", "c", "b", "a"], "high"].tolist() == [2, 1, 2, 2, 1]
    assert np.isnan(never.cov[2:4, 2:4]).all()
    with pytest.raises(ValueError, match="0 of 400 draws have all items of all comp"):
        never.rank_intervals(kind="joint")
    for pairs, match in (
        ([["a", "z"]], "pairs contains .*z"),
        ([[0, 1]], "pairs contains 2 unknown items"),
        (["a", "b"], "two columns"),
    ):
        with pytest.raises(ValueError, match=match):
            found.differences(pairs)


@pytest.mark.parametrize("kind", ["bayesian", "resample"])
def test_drawn_weight_is_repeated_votes(kind):
    """Of votes without workers: spreads agree, and are those of the sandwich."""
    pairs, y, _ = cast(3, m=4, n=120)
    weight = np.where(np.arange(120) % 3, 1.0, 8.0)
    weight[4] = 0.0
    rows = np.repeat(np.arange(120), weight.astype(int))
    problem = ComparisonProblem(pairs, y, 4, sample_weight=weight)
    repeated = ComparisonProblem(pairs[rows], y[rows], 4)
    found = worker_bootstrap(
        least_squares_refit(problem), None, 1000, 0, kind=kind, weight=weight
    )
    other = worker_bootstrap(
        least_squares_refit(repeated), None, 1000, 1, kind=kind, weight=np.ones(399)
    )
    assert found.n_clusters == other.n_clusters == len(rows) == 399
    coef = problem.design.to_coefs(problem.design.least_squares())[0].ravel()
    sandwich = RankingInference(problem, coef, *linear_scores(problem, coef, np.inf))
    errors = [
        boot.differences(all_pairs(4))["standard_error"] for boot in (found, other)
    ]
    # Noise of 1000 draws: 2.2 % for each of them. Weights as if votes were alone: 70 %.
    np.testing.assert_allclose(errors[0], errors[1], rtol=0.11)
    np.testing.assert_allclose(
        errors[0], sandwich.differences(all_pairs(4))[1], rtol=0.09
    )
    assert not np.isnan(found.distrust_frequency).any()


def test_factors_of_votes_are_those_of_their_weights():
    seen = []

    def refit(factor):
        seen.append(factor.copy())
        return factor[:2], factor > 1.5

    weight = np.array([1.0, 0.0, 4.0, 0.5])
    boot = worker_bootstrap(refit, None, 4000, 0, weight=weight)
    factors = np.array(seen[1:])
    assert (seen[0] == 1).all()
    assert (factors[:, 1] == 1).all()  # judged, but without weight
    np.testing.assert_allclose(factors @ weight, 5.5)
    # Dirichlet with parameters w: mean 1, variance (W / w - 1) / (W + 1).
    for k in (0, 2, 3):
        variance = (5.5 / weight[k] - 1) / 6.5
        assert abs(factors[:, k].mean() - 1) < 5 * np.sqrt(variance / 4000)
        assert factors[:, k].var() == pytest.approx(variance, rel=0.15)
    assert boot.n_clusters == 6
    seen.clear()
    weight = np.array([1.0, 0.0, 4.0, 2.0])
    worker_bootstrap(refit, None, 4000, 0, kind="resample", weight=weight)
    factors = np.array(seen[1:])
    drawn = factors * weight
    np.testing.assert_allclose(drawn, np.round(drawn), atol=1e-12)
    np.testing.assert_allclose(drawn.sum(axis=1), 7)
    for k in (0, 2, 3):
        share = weight[k] / 7
        assert drawn[:, k].var() == pytest.approx(7 * share * (1 - share), rel=0.15)
    # A worker without weight is not drawn.
    seen.clear()
    labels = np.array(list("abca"))
    boot = worker_bootstrap(
        refit, labels, 50, 0, kind="resample", weight=[1.0, 0.0, 2.0, 3.0]
    )
    factors = np.array(seen[1:])
    assert boot.n_clusters == 2
    assert (factors[:, 0] + factors[:, 2] == 2).all()


def test_bad_arguments_of_the_bootstrap():
    def refit(factor):
        return factor[:3], factor > 1

    labels = np.arange(6)
    for options, match in (
        ({"n_boot": 1}, "n_boot=1"),
        ({"n_boot": 2.5}, "n_boot=2.5"),
        ({"kind": "jackknife"}, "kind='jackknife' is unknown"),
        ({"clusters": np.zeros(6)}, "^one worker .*at least two.*leave workers out"),
        ({"components": [0, 0]}, r"components has shape \(2,\)"),
        ({"items": [0, 0]}, r"items has shape \(2,\)"),
        ({"items": [4, 5, 4]}, "items has a label more than once"),
        ({"clusters": None}, "weights .ones, if they have none.*weight=None"),
        ({"clusters": None, "weight": [1.0]}, "with sum 1"),
        ({"clusters": None, "weight": [-1.0, 4]}, "weight has shape .* at least 0"),
        ({"weight": np.ones(5)}, r"shape \(6,\).*weight has shape \(5,\)"),
        ({"weight": np.arange(6) == 2}, "^one worker .label in clusters."),
        ({"weight": np.zeros(6)}, "^no worker .*positive weight"),
        (
            {"clusters": None, "weight": [1.0, 2.5] * 3, "kind": "resample"},
            "weight contains 2.5; use kind='bayesian'",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            worker_bootstrap(refit, **({"clusters": labels, "n_boot": 5} | options))
    with pytest.raises(ValueError, match=r"mask of shape \(2,\) for 6 votes"):
        worker_bootstrap(lambda factor: (factor[:3], factor[:2] > 1), labels)
    boot = worker_bootstrap(refit, labels, 5, random_state=0)
    for ask, match in (
        (lambda: boot.differences([[0, 1]], level=95), "level=95"),
        (lambda: boot.differences([[0, 1]], kind="bca"), "kind='bca' is unknown"),
        (lambda: boot.rank_intervals(kind="both"), "kind='both' is unknown"),
    ):
        with pytest.raises(ValueError, match=match):
            ask()
    lost = worker_bootstrap(
        lambda factor: (np.where(factor[:3] == 1, 1.0, np.nan), factor > 1), labels, 5
    )
    with pytest.raises(ValueError, match="0 of 5 draws have all items of a comp"):
        lost.rank_intervals()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warning of empty slices
        assert np.isnan(lost.differences([[0, 1]])["low"]).all()
