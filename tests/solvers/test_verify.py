"""The referee's table: silent on correct paths, loud on every kind of wrong one."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from sparselbi.penalties import get_penalty
from sparselbi.problem import Problem
from sparselbi.solvers import iss_path, lbi_path
from sparselbi.solvers.verify import verify_path
from tests.common import LOSSES, PENALTIES, diabetes, make_data, make_loss

GROUPS = np.array([3, 0, 0, 1, 1, 1, 2, 2, 0, 4, 4, 5])
FACTOR = np.array([1, 2, 0, 1, 1, 1, 0.5, 0.5, 1, 2, 2, np.inf])
GROUP_FACTOR = np.array([2, 1, 1, 0, 0, 0, 0.5, 0.5, 1, 2, 2, np.inf])
RULES = {
    "iss": [
        "dual_violation",
        "sign_violation",
        "support_gradient",
        "boundary_gradient",
    ],
    "lbi": ["coef_error", "intercept_error", "dual_violation"],
}


def worst(path, problem):
    """Largest entry of every check."""
    table = verify_path(path, problem)
    assert list(table.columns) == ["knot", "size", *RULES[path.method]]
    assert len(table) == len(path)
    np.testing.assert_array_equal(table["knot"], path.knots)
    assert (table[RULES[path.method]] >= 0).all(axis=None)
    return table[RULES[path.method]].max()


def make_problem(loss="squared", penalty="l1", positive=False, n=40, p=12, **settings):
    X, y, w = make_data(loss, n=n, p=p)
    grouped = {"groups": GROUPS} if penalty == "group" and p == 12 else {}
    return Problem(
        X,
        y,
        make_loss(loss),
        get_penalty(penalty, positive=positive),
        **({"sample_weight": w} | grouped | settings),
    )


# ------------------------------------------------------------------------------- LBI


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("factors", [False, True])
def test_lbi_paths_pass(loss, penalty, positive, factors):
    factor = FACTOR if penalty == "l1" else GROUP_FACTOR
    settings = {"penalty_factor": factor} if factors else {}
    problem = make_problem(loss, penalty, positive, **settings)
    path = lbi_path(problem, kappa=8, n_knots=25)
    assert worst(path, problem).max() < 1e-9


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_lbi_paths_on_raw_columns_pass(loss, fit_intercept):
    problem = make_problem(loss, fit_intercept=fit_intercept, standardize=False)
    path = lbi_path(problem, kappa=5, n_knots=12)
    assert worst(path, problem).max() < 1e-9


def test_knots_between_iterates_are_linear_in_the_dual():
    problem = make_problem()
    path = lbi_path(problem, kappa=3, n_knots=200)
    steps = (path.knots - path.t0) / path.step_size
    between = np.abs(steps - np.round(steps)) > 0.05
    assert between.sum() > 20
    assert worst(path, problem).max() < 1e-9


def test_more_features_than_samples_and_sparse_columns():
    X, y, _ = make_data(n=30, p=100, density=0.3)
    problem = Problem(sp.csr_array(X), y)
    path = lbi_path(problem, kappa=10, max_features=15, n_knots=20)
    assert worst(path, problem).max() < 1e-9
    table = path.verify(X, y)  # the dense data, through the path
    assert table[RULES["lbi"]].max(axis=None) < 1e-9


def test_diabetes():
    X, y = diabetes()
    problem = Problem(X, y)
    assert worst(lbi_path(problem), problem).max() < 1e-9
    assert worst(iss_path(problem), problem).max() < 1e-12


@pytest.mark.parametrize("solver", [lbi_path, iss_path])
def test_paths_that_end_before_the_first_entry(solver):
    problem = make_problem()
    path = solver(problem, t_max=0.5 * lbi_path(problem, n_knots=2).t0)
    assert len(path) == 1
    assert worst(path, problem).max() < 1e-12


@pytest.mark.parametrize("solver", [lbi_path, iss_path])
def test_constant_response(solver):
    X, _, _ = make_data()
    problem = Problem(X, np.full(len(X), 2.5))
    assert worst(solver(problem), problem).max() < 1e-12


def test_wrong_coefficient_is_found_at_its_knot():
    problem = make_problem()
    path = lbi_path(problem, n_knots=20)
    coefs = path.active_coefs.copy()
    coefs[11, np.abs(coefs[11]).argmax()] *= 1.001
    table = verify_path(dataclasses.replace(path, active_coefs=coefs), problem)
    assert table["coef_error"].drop(11).max() < 1e-9
    assert table["coef_error"][11] > 1e-5


def test_wrong_intercept_is_found():
    problem = make_problem("logistic")
    path = lbi_path(problem, n_knots=20)
    intercepts = path.intercepts + 1e-4
    table = verify_path(dataclasses.replace(path, intercepts=intercepts), problem)
    np.testing.assert_allclose(table["intercept_error"], 1e-4, rtol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_missing_feature_is_found_by_its_dual(loss):
    """The path of a problem without feature j, called a path of the whole problem."""
    problem = make_problem(loss)
    first = lbi_path(problem, n_knots=10)
    j = first.entry_order(1)[0]
    factor = np.ones(problem.n_features)
    factor[j] = np.inf
    path = lbi_path(make_problem(loss, penalty_factor=factor), n_knots=20)
    table = verify_path(path, problem)
    # the first missing feature is beyond its threshold from its entry time on
    late = path.knots > 1.5 * first.t0
    assert (table["dual_violation"][late] > 0.1).any()


def test_wrong_clock_is_found():
    problem = make_problem()
    path = lbi_path(problem, n_knots=20)
    shifted = dataclasses.replace(
        path, knots=path.knots + path.step_size, events=path.events[:0]
    )
    assert worst(shifted, problem)["coef_error"] > 1e-3


# ------------------------------------------------------------------------------- ISS


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("factors", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_iss_paths_pass(positive, factors, fit_intercept, shape):
    n, p = shape
    factor = np.resize(FACTOR, p) if factors else None
    problem = make_problem(
        positive=positive,
        n=n,
        p=p,
        penalty_factor=factor,
        fit_intercept=fit_intercept,
    )
    path = iss_path(problem, max_features=10)
    assert worst(path, problem).max() < 1e-8


def test_iss_with_a_late_knot_is_found():
    problem = make_problem()
    path = iss_path(problem)
    knots = path.knots.copy()
    knots[3] += 0.1 * (knots[4] - knots[3])
    late = dataclasses.replace(path, knots=knots, events=path.events[:0])
    assert worst(late, problem)["dual_violation"] > 1e-4


def test_iss_that_ends_on_the_way_out_is_found():
    """The feature that enters at knot 3 is held back there: its dual moves on."""
    problem = make_problem()
    path = iss_path(problem)
    coefs = path.active_coefs.copy()
    coefs[3] = coefs[2]
    intercepts = path.intercepts.copy()
    intercepts[3] = intercepts[2]
    events = path.events[:0]
    wrong = dataclasses.replace(
        path, active_coefs=coefs, intercepts=intercepts, events=events
    )
    table = verify_path(wrong, problem)
    assert table["boundary_gradient"][3] > 1e-3
    assert table["boundary_gradient"][:3].max() < 1e-12
    assert table["dual_violation"][4] > 1e-3


def test_iss_with_shrunken_coefficients_is_found():
    problem = make_problem()
    path = iss_path(problem)
    wrong = dataclasses.replace(path, active_coefs=0.99 * path.active_coefs)
    assert worst(wrong, problem)["support_gradient"] > 1e-3


def test_iss_with_a_wrong_sign_is_found():
    problem = make_problem()
    path = iss_path(problem)
    wrong = dataclasses.replace(path, active_coefs=-path.active_coefs)
    assert worst(wrong, problem)["sign_violation"] > 1


# ---------------------------------------------------------------------- wrong questions


def test_path_and_problem_must_belong_together():
    problem = make_problem()
    path = lbi_path(problem, n_knots=5)
    X, y, w = make_data()
    other = [
        (make_problem("huber"), "loss"),
        (make_problem(penalty="group"), "penalty"),
        (Problem(X[:, 1:], y, sample_weight=w), "coefficients of shape"),
        (Problem(X, y), "sum of weights"),
    ]
    for wrong, word in other:
        with pytest.raises(ValueError, match=word):
            verify_path(path, wrong)


def test_methods_without_a_definition():
    problem = make_problem()
    X, y, w = make_data()
    refitted = lbi_path(problem, n_knots=5).refit(X, y, w)
    with pytest.raises(ValueError, match=r"'lbi\+refit' cannot be verified.*'iss'"):
        verify_path(refitted, problem)
