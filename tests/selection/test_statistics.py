import numpy as np
import pytest

from sparselbi import Problem
from sparselbi.selection import least_squares, with_statistics
from sparselbi.selection.statistics import (
    count_candidates,
    full_variance,
    path_supports,
)
from sparselbi.solvers import lbi_path
from sparselbi.solvers.refit import refit_coefs
from tests.common import make_data
from tests.selection.paths import least_squares_sum, make_path, support_path

# Enters, leaves, comes back, changes several columns at once.
SUPPORTS = [[], [2], [2, 5], [2, 5, 7], [2, 7], [0, 1, 7], [0, 1, 2, 5, 7, 9], [2, 5]]


def predictions(path, X, k):
    return X @ path.coef(k) + path.intercept(k)


@pytest.mark.parametrize("n", [12, 25, 400])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_squared_statistics_equal_direct_computation(
    n, fit_intercept, standardize, weighted
):
    data = make_data(n=n, p=10)
    weights = data.weights if weighted else None
    problem = Problem(
        data.X,
        data.y,
        sample_weight=weights,
        fit_intercept=fit_intercept,
        standardize=standardize,
    )
    path = with_statistics(support_path(problem, SUPPORTS), problem)
    w = np.ones(n) if weights is None else weights
    for k, support in enumerate(SUPPORTS):
        residual = data.y - predictions(path, data.X, k)
        assert path.deviance[k] == pytest.approx(w @ residual**2, rel=1e-9)
        assert path.size[k] == len(support)
        if len(support) <= w.sum() / 2:
            expected = least_squares_sum(problem, data.X, support)
            assert path.refit_deviance[k] == pytest.approx(expected, rel=1e-9)
        else:
            assert np.isnan(path.refit_deviance[k])
    assert path.refit_deviance[2] == path.refit_deviance[7]
    assert path.info["n_candidates"] == 10


@pytest.mark.parametrize("n", [15, 100])
@pytest.mark.parametrize("gram", [False, True])
def test_refit_with_dependent_columns(n, gram, monkeypatch):
    data = make_data(n=n, p=6)
    X = np.column_stack([data.X, data.X[:, 2], data.X[:, 0] - 2 * data.X[:, 1]])
    problem = Problem(X, data.y)
    supports = [[2], [2, 6], [6], [0, 1, 6], [0, 1, 6, 7], [1, 6, 7], [7]]
    if gram:
        monkeypatch.setattr(least_squares, "_MAX_ENTRIES", 4)
        if n == 15:
            return
    path = with_statistics(support_path(problem, supports), problem)
    expected = [least_squares_sum(problem, X, support) for support in supports]
    np.testing.assert_allclose(path.refit_deviance, expected, rtol=1e-9)
    np.testing.assert_array_equal(path.size, [len(s) for s in supports])


def test_column_blocks_equal_one_block(monkeypatch):
    data = make_data(n=300, p=10)
    scales = 10.0 ** np.arange(-5, 5)
    problem = Problem(data.X * scales, data.y, standardize=False)
    path = support_path(problem, SUPPORTS)
    whole = with_statistics(path, problem)
    for entries in (4, 2000):
        monkeypatch.setattr(least_squares, "_MAX_ENTRIES", entries)
        blocks = with_statistics(path, problem)
        np.testing.assert_allclose(blocks.deviance, whole.deviance, rtol=1e-10)
        np.testing.assert_allclose(
            blocks.refit_deviance, whole.refit_deviance, rtol=1e-10
        )


def test_deviance_keeps_its_digits_near_interpolation():
    data = make_data(n=60, p=5)
    y = data.X @ np.arange(1.0, 6.0) + 1e6
    y_off = y + 1e-5 * np.random.default_rng(0).normal(size=60)
    problem = Problem(data.X, y_off)
    path = with_statistics(support_path(problem, [[], range(5)], shrink=1.0), problem)
    residual = y_off - predictions(path, data.X, 1)
    assert path.deviance[1] == pytest.approx(residual @ residual, rel=1e-3)
    assert path.refit_deviance[1] == pytest.approx(residual @ residual, rel=1e-3)


def test_long_sequences_do_not_drift():
    rng = np.random.default_rng(3)
    data = make_data(n=80, p=60, correlation=0.9)
    problem = Problem(data.X, data.y)
    support = np.zeros(60, bool)
    supports = []
    for _ in range(300):
        support = support.copy()
        support[rng.integers(60)] ^= True
        support[rng.integers(60)] &= False
        supports.append(np.flatnonzero(support))
    path = with_statistics(support_path(problem, supports), problem)
    expected = [least_squares_sum(problem, data.X, s) for s in supports]
    np.testing.assert_allclose(path.refit_deviance, expected, rtol=1e-10)


def test_unpenalized_columns_belong_to_every_support():
    data = make_data(n=40, p=6)
    factor = np.array([0.0, 1, 1, 1, 1, np.inf])
    X = data.X.copy()
    X[:, 4] = 3.0
    problem = Problem(X, data.y, penalty_factor=factor)
    path = support_path(problem, [[0], [0, 2], [0, 2, 3]])
    coefs = path.active_coefs.copy()
    coefs[1, 0] = 0.0
    path = make_path(problem, path.active_features, coefs, path.intercepts)
    path = with_statistics(path, problem)
    np.testing.assert_array_equal(path.size, [1, 2, 3])
    expected = least_squares_sum(problem, X, [0, 2])
    assert path.refit_deviance[1] == pytest.approx(expected)
    np.testing.assert_array_equal(path_supports(path).candidates, [0, 1, 2])
    assert count_candidates(path) == 3  # without the constant column
    assert path.info["n_candidates"] == 3


def test_softmax_size_leaves_out_the_gauge():
    data = make_data("multinomial", n=60, p=4)
    problem = Problem(data.X, data.y, "multinomial")
    coefs = np.zeros((3, 3, 2))
    coefs[1, 0, 0] = 0.1
    coefs[2, :, 0] = [0.1, -0.2, 0.1]
    coefs[2, :2, 1] = [0.1, -0.1]
    path = make_path(problem, [0, 3], coefs, np.zeros((3, 3)))
    path = with_statistics(path, problem)
    np.testing.assert_array_equal(path.size, [0, 1, 2 + 2])
    np.testing.assert_array_equal(path_supports(path).refit_size, [0, 2, 4])


@pytest.mark.parametrize("loss", ["logistic", "multinomial", "huber"])
def test_other_losses_equal_direct_computation(loss):
    data = make_data(loss, n=60, p=8)
    problem = Problem(data.X, data.y, loss, sample_weight=data.weights)
    path = with_statistics(lbi_path(problem, kappa=5.0, n_knots=10), problem)
    lead = problem.n_outputs
    for k in (0, 3, -1):
        eta = np.reshape(path.coef(k), (lead, -1)) @ data.X.T
        eta += np.reshape(path.intercept(k), (lead, 1))
        assert path.deviance[k] == pytest.approx(problem.deviance(eta), rel=1e-9)
        features = np.flatnonzero(np.reshape(path.coef(k), (lead, -1)).any(axis=0))
        expected = refit_coefs(problem, features)[2]
        assert path.refit_deviance[k] == pytest.approx(expected, rel=1e-9)
    assert path.deviance[0] == pytest.approx(path.refit_deviance[0], rel=1e-9)
    known = np.isfinite(path.refit_deviance)
    slack = 1e-9 * path.deviance[0]
    assert (path.refit_deviance[known] <= path.deviance[known] + slack).all()


def test_full_variance():
    data = make_data(n=50, p=6)
    X = np.column_stack([data.X, data.X[:, 0]])
    problem = Problem(X, data.y, sample_weight=data.weights)
    variance, n_free = full_variance(problem)
    assert n_free == pytest.approx(data.weights.sum() - 6 - 1)
    expected = least_squares_sum(problem, X, range(6)) / n_free
    assert variance == pytest.approx(expected)
    assert full_variance(Problem(data.X[:6], data.y[:6]))[1] == 0
