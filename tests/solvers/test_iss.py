"""Exact inverse scale space against rational arithmetic, frozen numbers and oracles."""

import json
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselbi.datasets import make_noiseless
from sparselbi.penalties import L1
from sparselbi.problem import Problem
from sparselbi.solvers import iss_path
from tests import twins
from tests.common import LAYOUTS, diabetes, make_data, relative_gap

REFERENCE = Path(__file__).parents[1] / "reference"
RAW = {"fit_intercept": False, "standardize": False}


def violations(path, X, y, positive=False, sample_weight=None, **options):
    return twins.iss_violations(
        path.knots,
        path.coefs,
        path.intercepts,
        X,
        y,
        weights=sample_weight,
        positive=positive,
        **options,
    )


def assert_optimal(path, X, y, tol=1e-9, complete=True, **options):
    found = violations(path, X, y, **options)
    end = found.pop("end")
    assert max(found.values()) <= tol, found
    if complete:
        assert end <= tol


def assert_equals_slow(path, slow, tol=1e-9):
    assert len(path.knots) == len(slow.knots)
    np.testing.assert_allclose(path.knots, slow.knots, rtol=tol)
    assert relative_gap(path.coefs, slow.coefs) <= tol
    np.testing.assert_allclose(path.intercepts, slow.intercepts, rtol=tol, atol=tol)


def correlated(n, p, correlation, seed, noise=1.0):
    rng = np.random.default_rng(seed)
    X = np.sqrt(1 - correlation) * rng.normal(size=(n, p))
    X += np.sqrt(correlation) * rng.normal(size=(n, 1))
    coef = np.zeros(p)
    coef[: min(5, p)] = [2.0, -1.5, 1.0, -1.0, 0.5][: min(5, p)]
    return X, X @ coef + noise * rng.normal(size=n) + 2.0


# -------------------------------------------------------------------- exact fractions


def test_golden_path():
    """The third variable leaves as the second enters and returns with another sign."""
    knots, coefs = twins.rational_iss(twins.GOLDEN_X, twins.GOLDEN_Y)
    assert knots == twins.GOLDEN_KNOTS
    assert coefs == twins.GOLDEN_COEFS
    path = iss_path(Problem(twins.GOLDEN_X, twins.GOLDEN_Y, **RAW))
    np.testing.assert_allclose(path.knots, np.array(knots, float), rtol=1e-14)
    np.testing.assert_allclose(path.coefs, np.array(coefs, float), atol=1e-13)
    events = [
        (e["feature"], e["sign"], e["enters"])
        for e in path.events[["feature", "sign", "enters"]]
    ]
    assert events[:2] == [(0, 1, True), (2, -1, True)]
    assert sorted(events[2:4]) == [(1, -1, True), (2, -1, False)]
    assert events[4:] == [(2, 1, True)]
    np.testing.assert_allclose(
        path.events["t"], [4 / 11, 1 / 2, 20 / 13, 20 / 13, 72 / 13], rtol=1e-14
    )
    assert path.status == "least_squares"
    assert path.interpolation == "constant"


def fitted(coefs, X):
    return np.asarray(coefs, dtype=float) @ np.asarray(X, dtype=float).T


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_random_integer_designs_equal_exact_fractions(seed):
    """Small integers make ties, dependent columns, drops and zero gradients common."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    X = rng.integers(-2, 3, size=(n, p))
    y = rng.integers(-3, 4, size=n)
    usable = X.any(axis=0)
    X[0, ~usable] = 1
    if not (X.T @ y).any():
        return
    knots, coefs = twins.rational_iss(X.tolist(), y.tolist())
    path = iss_path(Problem(X, y, **RAW))
    assert_optimal(path, X, y, **RAW)
    exact = np.array(knots, dtype=float)
    # the fit is unique also where the coefficients are not
    for k, t in enumerate(exact):
        until = exact[k + 1] if k + 1 < len(exact) else 2 * t + 1
        point = path.at(0.5 * (t + until))
        np.testing.assert_allclose(
            fitted(point.coef, X), fitted(coefs[k], X), atol=1e-10
        )
    np.testing.assert_allclose(path.knots, exact, rtol=1e-10)


# Designs in which a constrained fit has a coefficient of exactly zero.
DEGENERATE = [
    ([[1, 1], [1, 2]], [2, 2]),
    ([[1, 0, 1, -1], [2, -1, 2, -1]], [-1, -1]),
    ([[-1, -2, 1], [0, -1, -2], [0, 0, 2]], [2, -1, -1]),
    ([[-1, -2, 0, 0], [2, 2, -2, 0], [1, 1, 1, -2], [-2, 1, -1, 2]], [2, 0, -1, 1]),
]


@pytest.mark.parametrize(("X", "y"), DEGENERATE)
def test_degenerate_designs_equal_exact_fractions(X, y):
    knots, coefs = twins.rational_iss(X, y)
    path = iss_path(Problem(X, y, **RAW))
    np.testing.assert_allclose(path.knots, np.array(knots, float), rtol=1e-12)
    exact = np.array(coefs, float)
    np.testing.assert_allclose(fitted(path.coefs, X), fitted(exact, X), atol=1e-12)
    assert_optimal(path, np.array(X), np.array(y), **RAW)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_penalty_factors_equal_exact_fractions(seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, size=(6, 3))
    y = rng.integers(-4, 5, size=6)
    factor = rng.integers(1, 4, size=3)
    if np.linalg.matrix_rank(X) < 3 or not (X.T @ y).any():
        return
    knots, coefs = twins.rational_iss(X.tolist(), y.tolist(), factor.tolist())
    path = iss_path(Problem(X, y, penalty_factor=factor, **RAW))
    np.testing.assert_allclose(path.knots, np.array(knots, float), rtol=1e-10)
    np.testing.assert_allclose(path.coefs, np.array(coefs, float), atol=1e-10)


# --------------------------------------------------------------------- frozen numbers


@pytest.mark.parametrize("k", range(4))
def test_diabetes(k):
    case = json.loads((REFERENCE / "diabetes_iss.json").read_text())["cases"][k]
    X, y = diabetes()
    path = iss_path(
        Problem(
            X,
            y,
            fit_intercept=case["args"]["intercept"],
            standardize=case["args"]["normalize"],
        )
    )
    assert len(path.knots) == len(case["t"])
    np.testing.assert_allclose(path.knots, case["t"], rtol=1e-8)
    assert relative_gap(path.coefs, case["path"]) < 1e-8
    np.testing.assert_allclose(path.intercepts, case["a0"], rtol=1e-8, atol=1e-12)


# ------------------------------------------------------------- closed form and oracles


def test_orthogonal_design_is_hard_thresholding():
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.normal(size=(20, 6)))
    X = np.sqrt(20) * Q
    zeta = np.array([1.5, -0.2, 0.7, -2.0, 0.1, 0.9])
    noise = rng.normal(size=20)
    y = X @ zeta + noise - Q @ (Q.T @ noise)
    path = iss_path(Problem(X, y, **RAW))
    order = np.argsort(-np.abs(zeta))
    np.testing.assert_allclose(path.knots[1:], 1 / np.abs(zeta[order]), rtol=1e-12)
    for k in range(7):
        expected = np.where(np.isin(np.arange(6), order[:k]), zeta, 0)
        np.testing.assert_allclose(path.coefs[k], expected, atol=1e-12)
    assert path.events["feature"].tolist() == order.tolist()
    assert path.t0 == pytest.approx(0.5)
    # right-continuous: the jump is part of the knot
    assert path.at(path.knots[1]).support.tolist() == [3]
    assert path.at(np.nextafter(path.knots[1], 0)).support.tolist() == []


DESIGNS = [(40, 10, 0.8), (50, 20, 0.3), (30, 25, 0.95), (200, 40, 0.5)]
OPTIONS = {
    "plain": {},
    "raw": RAW,
    "weighted": {"sample_weight": True},
    "factors": {"penalty_factor": True},
    "both": {"sample_weight": True, "penalty_factor": True, "standardize": False},
}


def with_arrays(options, n, p, seed=0):
    rng = np.random.default_rng(seed)
    options = dict(options)
    if options.get("sample_weight"):
        options["sample_weight"] = rng.uniform(0, 2, n) * (rng.random(n) > 0.1)
    if options.get("penalty_factor"):
        factor = rng.uniform(0.5, 2, p)
        factor[[1, p // 2]] = 0
        factor[2] = np.inf
        options["penalty_factor"] = factor
    return options


def slow(X, y, positive=False, sample_weight=None, **options):
    return twins.slow_iss(X, y, weights=sample_weight, positive=positive, **options)


@pytest.mark.parametrize(("n", "p", "correlation"), DESIGNS)
@pytest.mark.parametrize("variant", OPTIONS)
@pytest.mark.parametrize("positive", [False, True])
def test_equals_the_slow_path(n, p, correlation, variant, positive):
    for seed in range(3):
        X, y = correlated(n, p, correlation, seed)
        options = with_arrays(OPTIONS[variant], n, p, seed)
        path = iss_path(Problem(X, y, penalty=L1(positive=positive), **options))
        assert_optimal(path, X, y, positive=positive, **options)
        assert_equals_slow(path, slow(X, y, positive=positive, **options), 1e-8)
        assert path.status == "least_squares"


def test_variables_leave_along_the_way():
    """The designs above would be too easy if nothing ever left."""
    leaves = 0
    for seed in range(3):
        X, y = correlated(30, 25, 0.95, seed)
        leaves += np.sum(~iss_path(Problem(X, y)).events["enters"])
    assert leaves >= 5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    data = make_data(n=40, p=12, correlation=0.8, density=0.7)
    path = iss_path(
        Problem(LAYOUTS[layout](data.X), data.y, sample_weight=data.weights)
    )
    assert_optimal(path, data.X, data.y, sample_weight=data.weights)
    assert_equals_slow(path, slow(data.X, data.y, sample_weight=data.weights))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_more_features_than_samples(fit_intercept, seed):
    X, y = correlated(25, 80, 0.3, seed)
    path = iss_path(Problem(X, y, fit_intercept=fit_intercept))
    # ever smaller residuals up to the interpolating end: rounding is amplified
    assert_optimal(path, X, y, tol=1e-8, fit_intercept=fit_intercept)
    expected = slow(X, y, fit_intercept=fit_intercept)
    assert_equals_slow(path, expected, 1e-6)
    residual = y - X @ path.coefs[-1] - path.intercepts[-1]
    assert np.max(np.abs(residual)) < 1e-9 * np.max(np.abs(y))
    assert path.status in ("least_squares", "saturated")


def test_wide_design_with_many_knots():
    X, y = correlated(60, 300, 0.5, 4)
    path = iss_path(Problem(X, y), max_features=45)
    assert len(path.knots) > 45
    assert_optimal(path, X, y, complete=False)


def test_events_are_the_changes_of_the_support():
    X, y = correlated(30, 25, 0.95, 1)
    path = iss_path(Problem(X, y))
    signs = np.sign(path.coefs)
    expected = []
    for k in range(1, len(signs)):
        for j in np.flatnonzero(signs[k] != signs[k - 1]):
            if signs[k - 1, j]:
                expected.append((path.knots[k], j, signs[k - 1, j], False))
            if signs[k, j]:
                expected.append((path.knots[k], j, signs[k, j], True))
    found = [(e["t"], e["feature"], e["sign"], e["enters"]) for e in path.events]
    assert sorted(found) == sorted(expected)


def test_residual_sum_of_squares_never_increases():
    for seed in range(5):
        X, y = correlated(30, 25, 0.95, seed)
        path = iss_path(Problem(X, y))
        residuals = y - path.coefs @ X.T - path.intercepts[:, None]
        assert np.all(np.diff((residuals**2).sum(axis=1)) < 0)


# ----------------------------------------------------------------------- degeneracies


def test_simultaneous_entries():
    """A symmetric design: all variables arrive at the same time."""
    rng = np.random.default_rng(0)
    X = np.vstack([np.eye(5), np.eye(5)[[1, 2, 3, 4, 0]]]) + 0.25
    y = X.sum(axis=1)
    path = iss_path(Problem(X, y, **RAW))
    assert len(path.knots) == 2
    np.testing.assert_allclose(path.coefs[1], 1, rtol=1e-12)
    # two tied pairs with a shared rest
    Q, _ = np.linalg.qr(rng.normal(size=(12, 4)))
    y = Q @ [1.0, -1.0, 0.5, 0.5]
    path = iss_path(Problem(Q, y, **RAW))
    np.testing.assert_allclose(path.knots, [0, 12, 24], rtol=1e-9)
    assert_optimal(path, Q, y, **RAW)


@pytest.mark.parametrize("sign", [1, -1])
def test_duplicate_columns(sign):
    X, y = correlated(40, 6, 0.5, 0)
    X = np.hstack([X, sign * X[:, :2], X[:, [3]] * 2])
    path = iss_path(Problem(X, y))
    assert_optimal(path, X, y)
    single = iss_path(Problem(X[:, :6], y))
    np.testing.assert_allclose(path.knots, single.knots, rtol=1e-9)
    np.testing.assert_allclose(
        path.coefs @ X.T + path.intercepts[:, None],
        single.coefs @ X[:, :6].T + single.intercepts[:, None],
        atol=1e-9,
    )


def test_dependent_columns():
    """One column is the sum of three others; the end is still a least-squares fit."""
    X, y = correlated(40, 6, 0.2, 3)
    X = np.c_[X, X[:, 0] + X[:, 1] - X[:, 4]]
    path = iss_path(Problem(X, y))
    assert_optimal(path, X, y)


def test_column_inside_the_span_of_unpenalized_ones():
    X, y = correlated(40, 6, 0.2, 3)
    X = np.c_[X, X[:, 0] - 2 * X[:, 1]]
    factor = np.r_[0, 0, np.ones(5)]
    path = iss_path(Problem(X, y, penalty_factor=factor))
    assert_optimal(path, X, y, penalty_factor=factor)
    fits = path.coefs @ X.T + path.intercepts[:, None]
    expected = iss_path(Problem(X[:, :6], y, penalty_factor=factor[:6]))
    np.testing.assert_allclose(path.knots, expected.knots, rtol=1e-9)
    np.testing.assert_allclose(
        fits, expected.coefs @ X[:, :6].T + expected.intercepts[:, None], atol=1e-9
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_dependent_unpenalized_columns(fit_intercept):
    """Duplicates, sums and constants among the columns that are always in."""
    X, y = correlated(40, 8, 0.2, 3)
    X = np.c_[X, X[:, 0], X[:, 0] + X[:, 1], np.ones(40)]
    factor = np.r_[0, 0, np.ones(6), 0, 0, 0]
    options = {"penalty_factor": factor, "fit_intercept": fit_intercept}
    path = iss_path(Problem(X, y, **options))
    assert_optimal(path, X, y, **options)
    expected = slow(X, y, **options)
    np.testing.assert_allclose(path.knots, expected.knots, rtol=1e-9)
    fits = path.coefs @ X.T + path.intercepts[:, None]
    slow_fits = expected.coefs @ X.T + expected.intercepts[:, None]
    np.testing.assert_allclose(fits, slow_fits, atol=1e-9)


@contextmanager
def time_limit(seconds):
    """Raise instead of waiting for an endless loop, where signals allow it."""

    def give_up(*_):
        raise TimeoutError(f"no end after {seconds} seconds")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seed", range(4))
def test_ill_conditioned_designs_come_to_an_end(seed):
    """Far from the origin without an intercept: condition numbers of 1e7."""
    X, y = correlated(20, 18, 0.99, seed)
    X = X + 100 * np.random.default_rng(seed).normal(size=18)
    with time_limit(20):
        path = iss_path(Problem(X, y, fit_intercept=False))
    assert_optimal(path, X, y, tol=0.05, fit_intercept=False, complete=False)


@pytest.mark.parametrize("seed", range(3))
def test_wide_designs_with_columns_of_very_different_size(seed):
    """Rounding of the large columns must not look like a gradient of the small ones."""
    X, y = correlated(15, 28, 0.5, seed)
    X = X * 10.0 ** np.random.default_rng(seed).integers(-3, 4, size=28)
    with time_limit(20):
        path = iss_path(Problem(X, y, standardize=False))
    assert_optimal(path, X, y, tol=1e-6, standardize=False)
    assert len(path.knots) == len(slow(X, y, standardize=False).knots)


def test_constant_columns_and_infinite_factors_never_enter():
    X, y = correlated(40, 6, 0.5, 0)
    more = np.c_[X[:, :3], np.full(40, 0.1), X[:, 3:], np.zeros(40), X[:, [0]]]
    factor = np.r_[np.ones(8), np.inf]
    path = iss_path(Problem(more, y, penalty_factor=factor))
    single = iss_path(Problem(X, y))
    np.testing.assert_allclose(path.knots, single.knots, rtol=1e-10)
    np.testing.assert_allclose(
        path.coefs[:, [0, 1, 2, 4, 5, 6]], single.coefs, atol=1e-9
    )
    assert path.active_features.tolist() == [0, 1, 2, 4, 5, 6]


def test_response_inside_the_span_of_few_columns():
    """Without noise the path ends when the fit is exact, on rounding-size residuals."""
    X, _ = correlated(40, 10, 0.3, 0)
    y = X[:, :3] @ [2.0, -1.0, 1.0] + 1.0
    path = iss_path(Problem(X, y))
    np.testing.assert_allclose(path.coefs[-1], np.r_[2, -1, 1, np.zeros(7)], atol=1e-9)
    assert path.knots[-1] < 1e3 * path.t0


def test_noiseless_wide_design():
    X, _ = correlated(40, 100, 0.0, 0)
    y = X[:, :3] @ [2.0, -1.0, 1.0] + 1.0
    path = iss_path(Problem(X, y))
    expected = np.r_[2, -1, 1, np.zeros(97)]
    np.testing.assert_allclose(path.coefs[-1], expected, atol=1e-9)


def test_one_feature_and_two_samples():
    X, y = np.array([[1.0], [3.0]]), np.array([2.0, 5.0])
    path = iss_path(Problem(X, y))
    assert path.coefs[-1] == pytest.approx([1.5])
    assert path.intercepts[-1] == pytest.approx(0.5)


def test_nothing_to_explain():
    """y orthogonal to every column: the path is the null model, or an error says so."""
    X = np.array([[1.0, 1], [-1, 1], [1, -1], [-1, -1]])
    y = np.array([1.0, -1, -1, 1])
    try:
        path = iss_path(Problem(X, y))
    except ValueError as error:
        assert "y" in str(error)  # noqa: PT017
    else:
        assert not path.coefs.any()


# ------------------------------------------------------------------------- symmetries

SEEDS = st.integers(0, 10**6)
SMALL = settings(max_examples=10, deadline=None)


def small(seed):
    return correlated(12 + seed % 20, 3 + seed % 8, (seed % 10) / 10, seed)


@SMALL
@given(seed=SEEDS)
def test_permuted_flipped_scaled_and_shifted_columns(seed):
    X, y = small(seed)
    rng = np.random.default_rng(seed)
    n, p = X.shape
    rows, columns = rng.permutation(n), rng.permutation(p)
    factor = rng.uniform(0.1, 10, p) * rng.choice([-1, 1], p)
    shift = rng.normal(size=p)
    one = iss_path(Problem(X, y))
    two = iss_path(Problem((X * factor + shift)[rows][:, columns], y[rows]))
    np.testing.assert_allclose(two.knots, one.knots, rtol=1e-7)
    back = two.coefs[:, np.argsort(columns)] * factor
    np.testing.assert_allclose(back, one.coefs, rtol=1e-6, atol=1e-8)


@SMALL
@given(seed=SEEDS, factor=st.sampled_from([-3.0, 1e-6, 0.5, 10.0, 1e6]))
def test_scaled_response(seed, factor):
    X, y = small(seed)
    one = iss_path(Problem(X, y))
    two = iss_path(Problem(X, factor * y))
    np.testing.assert_allclose(two.knots * abs(factor), one.knots, rtol=1e-7)
    np.testing.assert_allclose(two.coefs / factor, one.coefs, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(two.intercepts / factor, one.intercepts, rtol=1e-6)


@SMALL
@given(seed=SEEDS)
def test_weight_is_repetition(seed):
    X, y = small(seed)
    counts = np.random.default_rng(seed).integers(0, 4, size=len(y))
    counts[:5] += 1
    one = iss_path(Problem(X, y, sample_weight=counts))
    two = iss_path(Problem(np.repeat(X, counts, axis=0), np.repeat(y, counts)))
    np.testing.assert_allclose(two.knots, one.knots, rtol=1e-7)
    np.testing.assert_allclose(two.coefs, one.coefs, rtol=1e-6, atol=1e-8)


@SMALL
@given(seed=SEEDS)
def test_averages_of_the_path_solve_the_lasso(seed):
    """The time average over [0, t] satisfies the lasso's conditions at alpha = 1/t."""
    X, y = small(seed)
    path = iss_path(Problem(X, y))
    frame = twins.scaled(X)
    for t in (0.5 * path.knots[-1], 1.5 * path.knots[-1]):
        ends = np.append(path.knots[1:], np.inf)
        lengths = np.clip(np.minimum(ends, t) - path.knots, 0, None)
        mean = lengths @ path.coefs / t * frame.scale
        gradient = frame.X.T @ (y - y.mean() - frame.X @ mean) / len(y)
        assert np.max(np.abs(gradient)) <= (1 + 1e-9) / t


# ---------------------------------------------------------------- endings and bad input


def test_t_max_and_max_features_cut_the_same_path():
    X, y = correlated(50, 20, 0.5, 0)
    full = iss_path(Problem(X, y))
    t_max = 0.5 * (full.knots[6] + full.knots[7])
    short = iss_path(Problem(X, y), t_max=t_max)
    assert short.status == "t_max"
    k = min(7, len(short.knots))
    np.testing.assert_array_equal(short.knots[:k], full.knots[:k])
    np.testing.assert_array_equal(short.at(t_max).coef, full.at(t_max).coef)
    few = iss_path(Problem(X, y), max_features=4)
    assert few.status == "max_features"
    k = len(few.knots)
    np.testing.assert_array_equal(few.knots, full.knots[:k])
    assert 4 <= len(few.active_features) <= 5
    with pytest.raises(ValueError, match="t"):
        few.at(2 * few.knots[-1] + full.knots[-1])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"t_max": 0}, "t_max"),
        ({"t_max": -1}, "t_max"),
        ({"t_max": np.nan}, "t_max"),
        ({"max_features": 0}, "max_features"),
        ({"max_features": 1.5}, "max_features"),
    ],
)
def test_bad_arguments(settings, name):
    X, y = correlated(20, 4, 0.0, 0)
    with pytest.raises(ValueError, match=name):
        iss_path(Problem(X, y), **settings)


def test_only_squared_loss_and_l1():
    data = make_data("logistic")
    with pytest.raises(ValueError, match="squared"):
        iss_path(Problem(data.X, data.y, "logistic"))
    data = make_data()
    with pytest.raises(ValueError, match="l1"):
        iss_path(Problem(data.X, data.y, penalty="group"))


@pytest.mark.parametrize("seed", [406966341, 0, 1])
def test_an_exact_fit_ends_the_path_in_spite_of_rounding(seed):
    """46 columns are active at the end, 30 of them with coefficients that are zero.

    With the first seed rounding of 60 updates in Gram space once passed for a gradient.
    """
    data = make_noiseless(48, 128, 16, design="bernoulli", random_state=seed)
    path = iss_path(Problem(data.X, data.y, fit_intercept=False, standardize=False))
    assert path.status == "least_squares"
    residual = data.y - data.X @ path.coef(-1)
    assert np.abs(residual).max() < 1e-8 * np.abs(data.y).max()
    assert np.abs(path.coef(-1)).sum() <= np.abs(data.coef).sum() * (1 + 1e-8)
