"""Unpenalized refits: stationary, of least norm, calm on separable classes."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sparselbi.problem import Problem
from sparselbi.selection import with_statistics
from sparselbi.solvers import iss_path, lbi_path
from sparselbi.solvers.refit import refit_coefs
from tests import twins
from tests.common import (
    HUBER_THRESHOLD,
    LAYOUTS,
    LOSSES,
    as_rows,
    make_data,
    make_loss,
    relative_gap,
)

SUPPORT = np.array([0, 2, 3, 7])


def gradient(loss, X, y, weights, coef, intercept):
    """Gradient of the mean loss by the twin's formulas, with the intercept last."""
    design = np.column_stack([X, np.ones(len(X))])
    Y = twins.encode(loss, y)
    eta = X @ as_rows(coef).T + intercept
    score = twins.score(loss, Y, eta, HUBER_THRESHOLD)
    return (weights / weights.sum() * score.T) @ design


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_vanishes(loss, layout):
    X, y, w = make_data(loss, n=60)
    problem = Problem(LAYOUTS[layout](X), y, make_loss(loss), sample_weight=w)
    coef, intercept, deviance = refit_coefs(problem, SUPPORT)
    lead = problem.coef_shape[:-1]
    assert np.shape(coef) == (*lead, len(SUPPORT))
    assert np.shape(intercept) == lead
    found = gradient(loss, X[:, SUPPORT], y, w, coef, intercept)
    assert np.abs(found).max() < 1e-11
    Y, eta = twins.encode(loss, y), X[:, SUPPORT] @ as_rows(coef).T + intercept
    expected = 2 * w @ twins.loss_value(loss, Y, eta, HUBER_THRESHOLD)
    np.testing.assert_allclose(deviance, expected, rtol=1e-10)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_squared_loss_is_least_squares(fit_intercept, standardize):
    X, y, w = make_data()
    problem = Problem(
        X, y, sample_weight=w, fit_intercept=fit_intercept, standardize=standardize
    )
    coef, intercept, deviance = refit_coefs(problem, SUPPORT)
    design = X[:, SUPPORT]
    if fit_intercept:
        design = np.column_stack([design, np.ones(len(y))])
    root = np.sqrt(w)
    expected, sums, *_ = np.linalg.lstsq(root[:, None] * design, root * y, rcond=None)
    np.testing.assert_allclose(coef, expected[:4], rtol=1e-10)
    np.testing.assert_allclose(intercept, expected[4] if fit_intercept else 0.0)
    np.testing.assert_allclose(deviance, sums[0], rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_features_it_is_the_null_model(loss):
    X, y, w = make_data(loss)
    problem = Problem(X, y, make_loss(loss), sample_weight=w)
    coef, intercept, deviance = refit_coefs(problem, [])
    assert np.shape(coef) == (*problem.coef_shape[:-1], 0)
    np.testing.assert_allclose(intercept, np.squeeze(problem.null_intercept), rtol=1e-9)
    null = 2 * problem.total_weight * problem.null_loss
    np.testing.assert_allclose(deviance, null, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_repetitions(loss):
    X, y, _ = make_data(loss, n=50)
    w = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = refit_coefs(Problem(X, y, make_loss(loss), sample_weight=w), SUPPORT)
    rows = np.repeat(np.arange(len(y)), w)
    repeated = refit_coefs(Problem(X[rows], y[rows], make_loss(loss)), SUPPORT)
    for one, other in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("standardize", [True, False])
def test_equal_columns_share_their_coefficient(loss, standardize):
    X, y, _ = make_data(loss, n=60)
    X = np.column_stack([X[:, 0], X[:, 0], X[:, 1], np.full(60, 3.0)])
    problem = Problem(X, y, make_loss(loss), standardize=standardize)
    coef, intercept, deviance = refit_coefs(problem, [0, 1, 2, 3])
    single, _, same = refit_coefs(problem, [0, 2])
    np.testing.assert_allclose(as_rows(coef)[:, 0], as_rows(coef)[:, 1], rtol=1e-7)
    np.testing.assert_allclose(
        as_rows(coef)[:, :3] @ [[1, 0], [1, 0], [0, 1]], as_rows(single), rtol=1e-7
    )
    assert not as_rows(coef)[:, 3].any()
    np.testing.assert_allclose(deviance, same, rtol=1e-10)


def test_more_features_than_samples_gives_the_least_norm():
    X, y, _ = make_data(n=8, p=20)
    problem = Problem(X, y)
    coef, intercept, deviance = refit_coefs(problem, np.arange(20))
    np.testing.assert_allclose(X @ coef + intercept, y, atol=1e-10)
    assert deviance < 1e-20 * np.sum(y**2)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    least = np.linalg.pinv(Z) @ (y - y.mean())
    np.testing.assert_allclose(coef * X.std(axis=0), least, rtol=1e-8)


@given(seed=st.integers(0, 10**6), exponent=st.integers(-6, 6))
def test_units_of_a_column_do_not_matter(seed, exponent):
    X, y, _ = make_data(seed=seed, n=15, p=4)
    scale = np.array([1.0, 10.0**exponent, 1.0, 1.0])
    for standardize in (True, False):
        a = refit_coefs(Problem(X, y, standardize=standardize), range(4))
        b = refit_coefs(Problem(X * scale, y, standardize=standardize), range(4))
        np.testing.assert_allclose(b[0] * scale, a[0], rtol=1e-6)
        np.testing.assert_allclose(b[2], a[2], rtol=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_separable_classes_end_at_a_far_point_without_warning(loss, fit_intercept):
    X, _, _ = make_data(n=30, p=4)
    directions = [[0, 1], [0, 0]] if loss == "logistic" else [[0, 1, 2], [1, -2, 0]]
    y = (X[:, :2] @ directions).argmax(axis=1)
    problem = Problem(X, y, loss, fit_intercept=fit_intercept)
    coef, intercept, deviance = refit_coefs(problem, [0, 1])
    assert np.isfinite(coef).all()
    assert np.isfinite(intercept).all()
    assert 0 <= deviance < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_refitted_path_has_the_stored_refit_deviances(loss):
    X, y, w = make_data(loss, n=60)
    problem = Problem(X, y, make_loss(loss), sample_weight=w)
    path = with_statistics(lbi_path(problem, n_knots=15, max_features=5), problem)
    refitted = path.refit(X, y, w)
    known = ~np.isnan(path.refit_deviance)
    assert known.any()
    np.testing.assert_allclose(
        refitted.deviance[known], path.refit_deviance[known], rtol=1e-8
    )


def test_iss_is_its_own_refit():
    X, y, w = make_data()
    problem = Problem(X, y, sample_weight=w)
    path = iss_path(problem)
    coefs = path.refit(sp.csc_array(X), y, w).coefs
    assert relative_gap(coefs, path.coefs) < 1e-9
