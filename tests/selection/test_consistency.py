"""Consistency tools against their formulas, and against what they promise."""

import numpy as np
import pytest

from sparselbi import LBI, Problem, iss_path
from sparselbi.selection import (
    Discrepancy,
    TheoreticalTime,
    irrepresentable_condition,
    noise_scale,
    with_statistics,
)
from tests.common import make_data


@pytest.fixture(scope="module")
def data():
    return make_data(n=60)


def standardized(X, w):
    w = w / w.sum()
    X = X - w @ X
    return X / np.sqrt(w @ X**2), w


def test_value_is_the_formula(data):
    X, y, w = data
    Z, omega = standardized(X, w)
    S, rest = [1, 4, 7], [0, 2, 3, 5, 6, 8, 9, 10, 11]
    gram = Z.T @ (omega[:, None] * Z)
    matrix = gram[np.ix_(rest, S)] @ np.linalg.inv(gram[np.ix_(S, S)])
    problem = Problem(X, y, sample_weight=w)
    found = irrepresentable_condition(problem, S)
    np.testing.assert_array_equal(found.outside, rest)
    np.testing.assert_allclose(found.values, np.abs(matrix).sum(axis=1))
    assert found.value == pytest.approx(np.abs(matrix).sum(axis=1).max())
    assert found.eta == pytest.approx(1 - found.value)
    eigenvalues = np.linalg.eigvalsh(gram[np.ix_(S, S)])
    assert found.min_eigenvalue == pytest.approx(eigenvalues[0])
    for signs in ([1, -1, 1], [2.5, -0.1, 7]):
        signed = irrepresentable_condition(problem, S, signs)
        expected = np.abs(matrix @ np.sign(signs))
        np.testing.assert_allclose(signed.values, expected)
    mask = np.isin(np.arange(12), S)
    np.testing.assert_allclose(
        irrepresentable_condition(problem, mask).values, found.values
    )


def test_all_signs_is_the_worst_of_them(data):
    problem = Problem(data.X, data.y)
    S = [0, 3, 5]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    values = [irrepresentable_condition(problem, S, s).values for s in signs]
    np.testing.assert_allclose(
        irrepresentable_condition(problem, S).values, np.max(values, axis=0)
    )


def test_orthogonal_columns_have_the_full_margin():
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 5)))[0]
    condition = irrepresentable_condition(Problem(X, X[:, 0], fit_intercept=False), [0])
    assert condition.eta == pytest.approx(1)
    assert condition.min_eigenvalue == pytest.approx(1)
    assert condition.holds


def test_penalty_factors_and_free_columns(data):
    X, y, _ = data
    factor = np.ones(12)
    factor[2], factor[4], factor[6], factor[9] = 0.0, 2.0, np.inf, 4.0
    problem = Problem(X, y, penalty_factor=factor)
    found = irrepresentable_condition(problem, [4, 5], [1, -1])
    Z, _ = standardized(X, np.ones(60))
    Z = Z - np.outer(Z[:, 2], Z[:, 2] @ Z) / 60
    S, rest = [4, 5], [0, 1, 3, 7, 8, 9, 10, 11]
    matrix = Z[:, rest].T @ Z[:, S] @ np.linalg.inv(Z[:, S].T @ Z[:, S])
    expected = np.abs(matrix @ [2.0, -1.0]) / factor[rest]
    np.testing.assert_array_equal(found.outside, rest)
    np.testing.assert_allclose(found.values, expected)


@pytest.mark.parametrize("seed", range(6))
def test_without_noise_the_condition_decides_what_enters_first(seed):
    """Holds for the signs: no false feature on the noiseless path. (Sufficient.)"""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, 30)) + 0.7 * rng.normal(size=(40, 1))
    coef = np.zeros(30)
    coef[:3] = rng.choice([-1, 1], 3) * rng.uniform(1, 2, 3)
    problem = Problem(X, X @ coef)
    signs = irrepresentable_condition(problem, [0, 1, 2])
    path = iss_path(problem, max_features=3)
    if signs.holds:
        assert set(path.entry_order()) <= {0, 1, 2}


def test_noise_scale_with_known_noise():
    rng = np.random.default_rng(1)
    X, noise = rng.normal(size=(400, 20)), rng.normal(size=400)
    signal = X[:, :3] @ [3.0, 2.0, 1.0]
    problem = Problem(X, signal + 2.5 * noise)
    sigma, rule = noise_scale(iss_path(problem), problem)
    assert sigma == pytest.approx(2.5, rel=0.15)
    assert rule == "residual MAD of the fit on all features"
    # Weight 2 is the row twice.
    twice = Problem(np.r_[X, X], np.r_[signal, signal] + 2.5 * np.r_[noise, noise])
    weighted = Problem(X, signal + 2.5 * noise, sample_weight=np.full(400, 2.0))
    scales = [noise_scale(iss_path(one), one)[0] for one in (twice, weighted)]
    assert scales[0] == pytest.approx(scales[1])
    # A few outliers hardly move it.
    noise[:4] = 15.0
    dirty = Problem(X, signal + 2.5 * noise)
    assert noise_scale(iss_path(dirty), dirty)[0] == pytest.approx(2.5, rel=0.3)
    few = Problem(X[:39], (signal + 2.5 * noise)[:39])
    assert noise_scale(iss_path(few), few)[1].endswith("chosen by EBIC")


def test_theoretical_time_is_the_formula(data):
    X, y, w = data
    model = LBI(kappa=np.inf).fit(X, y, w)
    chosen = model.select(TheoreticalTime(0.5, sigma=2.0), X, y, w)
    expected = 0.5 / 4.0 * np.sqrt(w.sum() / np.log(12))
    assert chosen.selection_.knot == pytest.approx(expected)
    np.testing.assert_array_equal(chosen.coef_, model.path_.at(expected).coef)
    raw = LBI(kappa=np.inf, standardize=False).fit(X, y)
    largest = X.std(axis=0).max()
    time = raw.select(TheoreticalTime(sigma=2.0), X, y).selection_.quantities["time"]
    assert time == pytest.approx(np.sqrt(60 / np.log(12)) / 4 / largest)
    q = model.select(TheoreticalTime(), X, y, w).selection_.quantities
    assert q["sigma"] == noise_scale(model.path_, Problem(X, y, sample_weight=w))[0]


def test_no_false_feature_before_the_theoretical_time():
    """Orthogonal design, where eta is 1: almost never a false entry."""
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.normal(size=(200, 50)))[0] * np.sqrt(200)
    false = 0
    for _ in range(40):
        y = X[:, :4] @ [1.0, -1.0, 1.0, -1.0] + rng.normal(size=200)
        problem = Problem(X, y, fit_intercept=False, standardize=False)
        path = with_statistics(iss_path(problem), problem)
        knot = TheoreticalTime(sigma=1.0).select(path, problem).knot
        support = path.support(knot)
        assert set(range(4)) <= set(support)
        false += len(support) - 4
    assert false <= 2


def test_discrepancy_is_the_first_knot_below_the_noise(data):
    X, y, w = data
    for kappa in (30.0, np.inf):
        model = LBI(kappa=kappa).fit(X, y, w)
        for factor in (1.0, 1.5):
            rule = Discrepancy(sigma=0.8, factor=factor)
            index = model.select(rule).selection_.index
            level = factor**2 * w.sum() * 0.64
            deviance = [
                w @ (y - prediction) ** 2 for prediction in model.path_.predict(X)
            ]
            assert deviance[index] <= level
            assert (np.array(deviance[:index]) > level).all()
        bare = iss_path(Problem(X, y, sample_weight=w))
        problem = Problem(X, y, sample_weight=w)
        assert Discrepancy(sigma=0.8).select(bare, problem).index > 0


def test_rules_that_cannot_be_applied_say_so(data):
    X, y, _ = data
    model = LBI().fit(X, y)
    with pytest.warns(UserWarning, match="never falls to"):
        last = model.select(Discrepancy(sigma=1e-3))
    assert last.selection_.index == len(model.path_) - 1
    with pytest.warns(UserWarning, match="beyond the traced path"):
        last = model.select(TheoreticalTime(sigma=1e-3), X, y)
    assert last.selection_.knot == model.path_.knots[-1]


def test_bad_arguments(data):
    X, y, _ = data
    problem = Problem(np.c_[X, np.ones(60), X[:, 0]], y)
    cases = {
        "nonempty list": [],
        "distinct feature": [1, 1],
        "outside of 0 to 13": [14],
        r"features \[12\] of the support are constant": [0, 12],
        "linearly dependent": [0, 13],
        "a mask needs shape": np.ones(3, dtype=bool),
    }
    for message, support in cases.items():
        with pytest.raises(ValueError, match=message):
            irrepresentable_condition(problem, support)
    for signs in ([1], [1, 0]):
        with pytest.raises(ValueError, match="one nonzero number for each of the 2"):
            irrepresentable_condition(problem, [0, 1], signs)
    with pytest.raises(ValueError, match="implemented for penalty='l1'"):
        irrepresentable_condition(Problem(X, y, penalty="group"), [0])
    for make in (
        lambda: TheoreticalTime(0.0),
        lambda: TheoreticalTime(1.5),
        lambda: TheoreticalTime(sigma=-1),
        lambda: Discrepancy(sigma=0),
        lambda: Discrepancy(factor=0),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()
    model = LBI().fit(X, y)
    with pytest.raises(ValueError, match="TheoreticalTime needs the data"):
        model.select(TheoreticalTime())
    with pytest.raises(ValueError, match="Discrepancy needs the data"):
        model.select(Discrepancy())
    huber = LBI("huber").fit(X, y)
    for rule in (TheoreticalTime(), Discrepancy(sigma=1.0), Discrepancy()):
        with pytest.raises(ValueError, match="needs loss='squared'"):
            huber.select(rule, X, y)
    with pytest.raises(ValueError, match="has no noise level"):
        noise_scale(huber.path_, problem)
