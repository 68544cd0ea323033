import numpy as np
import pytest

from sparselbi import Problem
from sparselbi.selection import InformationCriterion, degrees_of_freedom
from sparselbi.solvers import iss_path, lbi_path
from tests.common import make_data
from tests.selection.paths import support_path

SUPPORTS = [[], [0], [0, 1, 4], range(8)]


def trace_supports(problem):
    """Fixed supports, unshrunken: a linear fit with known degrees of freedom."""
    return support_path(problem, SUPPORTS, shrink=1.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_least_squares_on_fixed_supports_has_one_per_coefficient(weighted):
    data = make_data(n=40, p=8)
    weights = data.weights * (np.arange(40) > 2) if weighted else None
    problem = Problem(data.X, data.y, sample_weight=weights)
    df = degrees_of_freedom(
        trace_supports(problem),
        problem,
        trace_supports,
        n_replicates=400,
        random_state=0,
    )
    size = np.array([0, 1, 3, 8])
    assert df[0] == 0
    assert (np.abs(df - size) <= 4 * np.sqrt(2 * size / 400)).all()


def test_shrinkage_counts_in_proportion():
    data = make_data(n=40, p=8)
    problem = Problem(data.X, data.y)
    full, half = (
        degrees_of_freedom(
            support_path(problem, SUPPORTS, shrink=shrink),
            problem,
            lambda q, shrink=shrink: support_path(q, SUPPORTS, shrink=shrink),
            n_replicates=20,
            random_state=1,
        )
        for shrink in (1.0, 0.5)
    )
    np.testing.assert_allclose(half, full / 2)


def test_searching_costs_more_than_the_size_of_the_support():
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.normal(size=(60, 20)))[0]
    problem = Problem(X, rng.normal(size=60), fit_intercept=False)
    path = iss_path(problem)
    df = degrees_of_freedom(
        path, problem, iss_path, sigma=1.0, n_replicates=60, random_state=0
    )
    assert abs(df[0]) < 0.5
    assert df[-1] == pytest.approx(20, abs=4 * np.sqrt(40 / 60))
    size = np.count_nonzero(path.coefs, axis=1)
    early = (size > 0) & (size < 6)
    assert df[early].mean() > 1.5 * size[early].mean()


def test_result_fits_a_criterion_and_is_reproducible():
    data = make_data(n=40, p=8)
    problem = Problem(data.X, data.y)
    path = lbi_path(problem, n_knots=12)

    def trace(other):
        return lbi_path(
            other, kappa_raw=path.kappa_raw, t_max=path.knots[-1], n_knots=12
        )

    one, two = (
        degrees_of_freedom(path, problem, trace, n_replicates=5, random_state=3)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    rule = InformationCriterion("aic", refit=False, df=one)
    selection = rule.select(path, problem)
    assert selection.quantities["df"] == one[selection.index]


def test_noise_level_without_enough_samples_for_least_squares():
    data = make_data(n=20, p=30)
    problem = Problem(data.X, data.y)
    path = support_path(problem, [[], [0], [0, 1, 2]], shrink=1.0)
    df = degrees_of_freedom(
        path,
        problem,
        lambda q: support_path(q, [[], [0], [0, 1, 2]], shrink=1.0),
        n_replicates=200,
        random_state=0,
    )
    assert df[-1] == pytest.approx(3, abs=0.8)


def test_wrong_arguments():
    data = make_data(n=20, p=3)
    problem = Problem(data.X, data.y)
    path = support_path(problem, [[], [0]])
    for arguments, message in [
        ({"sigma": 0.0}, "sigma=0.0 must be positive"),
        ({"n_replicates": 0}, "n_replicates=0"),
        ({"perturbation": -1.0}, "perturbation=-1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            degrees_of_freedom(path, problem, trace_supports, **arguments)
    labels = make_data("logistic", n=20, p=3)
    with pytest.raises(ValueError, match="loss='logistic'"):
        degrees_of_freedom(path, Problem(*labels[:2], "logistic"), trace_supports)
