"""Tracing again: the same problem gives the same path, other rows their own."""

import dataclasses

import numpy as np
import pytest

from sparselbi import Problem, iss_path, lbi_path
from sparselbi.solvers import retrace
from tests.common import make_data

DATA = make_data(n=50)


@pytest.mark.parametrize(
    ("trace", "options"),
    [
        (lbi_path, {}),
        (lbi_path, {"kappa": 7.0, "n_knots": 20}),
        (lbi_path, {"kappa_raw": 5.0, "step_size": 0.01}),
        (iss_path, {"t_max": 30.0}),
    ],
)
def test_the_same_problem_gives_the_same_path(trace, options):
    problem = Problem(DATA.X, DATA.y, sample_weight=DATA.weights)
    path = trace(problem, **options)
    again = retrace(path, problem)
    np.testing.assert_array_equal(again.knots, path.knots)
    np.testing.assert_array_equal(again.coefs, path.coefs)
    assert again.step_size == path.step_size


def test_raw_kappa_is_frozen_and_an_automatic_step_is_found_again():
    path = lbi_path(Problem(DATA.X, DATA.y))
    other = retrace(path, Problem(DATA.X[:30], 100 * DATA.y[:30]))
    assert other.kappa_raw == path.kappa_raw
    assert other.step_size != path.step_size
    assert other.knots[-1] == path.knots[-1]
    few = retrace(path, Problem(DATA.X[:30], DATA.y[:30]), max_features=2)
    assert few.status == "max_features"


def test_unknown_methods():
    problem = Problem(DATA.X, DATA.y)
    path = dataclasses.replace(iss_path(problem), method="lasso")
    message = r"method='lasso' cannot .* \['iss', 'lbi', 'split_iss'"
    with pytest.raises(ValueError, match=message):
        retrace(path, problem)


def test_a_restricted_problem_is_the_problem_of_its_rows():
    X, y, w = DATA
    groups = np.arange(50) // 2
    problem = Problem(X, y, sample_weight=w, sample_groups=groups, standardize=False)
    rows = np.arange(0, 50, 3)
    part = problem.restrict(rows)
    expected = Problem(X[rows], y[rows], sample_weight=w[rows], standardize=False)
    np.testing.assert_array_equal(
        part.correlate(part.null_score), expected.correlate(expected.null_score)
    )
    np.testing.assert_array_equal(part.sample_groups, groups[rows])
    assert part.total_weight == expected.total_weight
    mask = np.zeros(50, dtype=bool)
    mask[rows] = True
    np.testing.assert_array_equal(problem.restrict(mask).X, X[rows])


def test_representative_knots():
    problem = Problem(DATA.X, DATA.y)
    linear = lbi_path(problem)
    np.testing.assert_array_equal(linear.representative_knots(), linear.knots)
    path = iss_path(problem)
    places = path.representative_knots()
    assert len(places) == len(path)
    assert (places[:-1] > path.knots[:-1]).all()
    assert (places[:-1] < path.knots[1:]).all()
    assert places[-1] > path.knots[-1]
    coefs, _ = path.coefs_at(places)
    np.testing.assert_array_equal(coefs, path.coefs)
