"""The S-estimator: minimal scale, equivariances, breakdown, degenerate data."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from sparselbi._shift_design import DenseDesign, SingularFit, row_norms
from sparselbi._shift_stream import StreamedDesign
from sparselbi.datasets import load_stars_cyg
from sparselbi.scales import s_scale
from sparselbi.solvers.fast_s import fast_s

module = importlib.import_module("sparselbi.solvers.fast_s")


def case(n=60, p=3, c=1, share=0.2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) + rng.normal(size=p)
    Y = X @ rng.normal(size=(p, c)) + rng.normal(size=(n, c)) + 3
    k = int(share * n)
    X[:k] += 8.0
    Y[:k] += 40.0 + rng.normal(size=(k, c))
    order = rng.permutation(n)
    return X[order], Y[order]


def fit(X, Y, weight=None, intercept=True, design=DenseDesign, **options):
    """Coefficients (c, p), intercepts (c,), the fit, the design."""
    Y = Y[:, None] if Y.ndim == 1 else Y
    rows = design(X, Y, weight, intercept)
    found = fast_s(rows, **options)
    return *rows.to_coefs(found.coords), found, rows


def scale_of(X, Y, coef, intercept, weight=None, rank=None):
    """The S-scale from its definition."""
    w = np.ones(len(X)) if weight is None else weight
    Y = Y[:, None] if Y.ndim == 1 else Y
    rank = X.shape[1] + 1 if rank is None else rank
    norms = row_norms(Y - X @ coef.T - intercept)
    return s_scale(norms, w.sum() - rank, w, Y.shape[1])


# ---------------------------------------------------------------------- it is minimal


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_scale_is_that_of_its_residuals_and_a_local_minimum(c, weighted):
    X, Y = case(c=c)
    rng = np.random.default_rng(1)
    w = rng.uniform(0.2, 3, len(X)) if weighted else None
    coef, intercept, found, _ = fit(X, Y, w)
    assert found.status == "converged"
    assert found.exact_fit is None
    best = scale_of(X, Y, coef, intercept, w)
    assert found.scale == pytest.approx(best, rel=1e-9)
    for size in (1e-5, 1e-3, 1e-1):
        for _ in range(20):
            other = coef + size * rng.normal(size=coef.shape)
            shift = intercept + size * rng.normal(size=c)
            assert scale_of(X, Y, other, shift, w) >= best * (1 - 1e-12)


def test_global_minimum_of_a_line():
    X, y = load_stars_cyg(return_X_y=True)
    found = fit(X, y)[2]
    # All lines through two stars, and Nelder and Mead from the best ten.
    pairs = np.array([(i, j) for i in range(len(y)) for j in range(i)])
    pairs = pairs[X[pairs[:, 0], 0] != X[pairs[:, 1], 0]]
    (i, j), x = pairs.T, X[:, 0]
    slopes = (y[i] - y[j]) / (x[i] - x[j])
    lines = np.column_stack([slopes, y[i] - slopes * x[i]])

    def scale(line):
        return scale_of(X, y, line[None, :1], line[1:])

    best = sorted(lines, key=scale)[:10]
    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 2000, "maxfev": 4000}
    slow = min(
        optimize.minimize(scale, line, method="Nelder-Mead", options=options).fun
        for line in best
    )
    assert found.scale == pytest.approx(slow, rel=1e-8)


@pytest.mark.parametrize(
    ("n", "p", "share", "seeds"), [(200, 5, 0.4, 10), (400, 15, 0.3, 5)]
)
def test_finds_the_minimum_that_the_truth_leads_to(n, p, share, seeds):
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, p))
        gone = np.arange(n) < share * n
        X[gone] += 10.0
        y = X.sum(axis=1) + rng.normal(size=n) + 90.0 * gone
        _, _, found, rows = fit(X, y, random_state=seed)
        every = module._all_rows(rows)
        clean = module._refine(every, rows.least_squares(~gone), 200, 1e-7)
        assert found.scale <= every.scale(clean.level) * (1 + 1e-9)


def test_all_subsets_if_they_are_few():
    X, Y = case(12, 2)
    scales = {fit(X, Y, random_state=seed)[2].scale for seed in range(5)}
    assert len(scales) == 1


# ------------------------------------------------------------------------ equivariance


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_equivariance(seed, c):
    rng = np.random.default_rng(seed)
    X, Y = case(40, 2, c, seed=seed % 5)
    coef, intercept, found, _ = fit(X, Y)
    A = rng.normal(size=(2, 2)) + 3 * np.eye(2)
    move, slope = rng.normal(size=2), rng.normal(size=(2, c))
    turn = np.linalg.qr(rng.normal(size=(c, c)))[0]
    factor, constant = 10 ** rng.uniform(-4, 4), rng.normal(size=c)
    order = rng.permutation(len(X))
    X2 = (X @ A + move)[order]
    Y2 = (factor * (Y @ turn) + X @ slope + constant)[order]
    coef2, intercept2, found2, _ = fit(X2, Y2)
    assert found2.scale == pytest.approx(factor * found.scale, rel=1e-7)
    expected = X @ (factor * coef.T @ turn + slope) + factor * intercept @ turn
    np.testing.assert_allclose(
        X2 @ coef2.T + intercept2,
        (expected + constant)[order],
        atol=1e-5 * found2.scale,
        rtol=1e-6,
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_weight_is_a_number_of_repetitions(seed):
    rng = np.random.default_rng(seed)
    X, Y = case(40, 2, seed=seed % 7)
    w = rng.integers(0, 4, len(X))
    one = fit(X, Y, w.astype(float))
    two = fit(np.repeat(X, w, axis=0), np.repeat(Y, w, axis=0))
    assert one[2].scale == pytest.approx(two[2].scale, rel=1e-9)
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5, atol=1e-6)


def test_same_seed_same_fit():
    X, Y = case(200, 6, share=0.3)
    first, second = fit(X, Y, random_state=3), fit(X, Y, random_state=3)
    assert (first[2].coords == second[2].coords).all()
    assert first[2].scale == second[2].scale


# --------------------------------------------------------------------------- breakdown


@pytest.mark.parametrize("c", [1, 2])
@pytest.mark.parametrize("kind", ["points", "cluster", "leverage", "opposite"])
def test_arbitrary_rows_do_not_move_it_far(kind, c):
    rng = np.random.default_rng(5)
    X, Y = case(100, 3, c, share=0.0)
    coef, _, found, _ = fit(X, Y)
    sizes = []
    for size in (1e2, 1e4, 1e6):
        X2, Y2 = X.copy(), Y.copy()
        Y2[:40] = size**1.5 * (1 + rng.random((40, c)))
        if kind == "opposite":
            Y2[:40:2] *= -1
        if kind == "leverage":
            X2[:40] = size * rng.normal(size=(40, 3))
        if kind == "cluster":
            X2[:40] = size * (1 + 0.01 * rng.normal(size=(40, 3)))
        moved, _, other, _ = fit(X2, Y2)
        sizes.append((np.abs(moved - coef).max(), other.scale / found.scale))
    assert max(size[0] for size in sizes) < 1.5
    assert 1 < min(size[1] for size in sizes) <= max(size[1] for size in sizes) < 6


# ---------------------------------------------------------------- degenerate data


@pytest.mark.parametrize("c", [1, 2])
@pytest.mark.parametrize("unit", [1.0, 1e-8, 1e9])
def test_exact_fit(unit, c):
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(50, 4)), rng.normal(size=(4, c))
    Y = unit * (X @ truth + 7)
    Y[5:25] += unit * rng.normal(size=(20, c))
    coef, intercept, found, _ = fit(X, Y)
    assert found.scale == 0.0
    assert found.status == "exact_fit"
    off = np.isin(np.arange(50), np.arange(5, 25))
    assert (found.exact_fit == ~off).all()
    np.testing.assert_allclose(coef, unit * truth.T, rtol=1e-9, atol=1e-9 * unit)
    np.testing.assert_allclose(intercept, 7 * unit, rtol=1e-9)


def test_exact_fit_needs_more_than_half():
    # Zero if and only if less than (n - p) / 2 rows are off.
    rng = np.random.default_rng(2)
    X = rng.normal(size=(40, 3))
    for n_off, exact in ((17, True), (18, True), (19, False)):
        y = X.sum(axis=1)
        y[:n_off] += 5 + rng.random(n_off)
        assert (fit(X, y)[2].scale == 0) == exact


@pytest.mark.parametrize("value", [0.0, -3.5e6])
def test_constant_response(value):
    found = fit(np.random.default_rng(0).normal(size=(20, 2)), np.full(20, value))[2]
    assert found.scale == 0.0
    assert found.exact_fit.all()


def test_responses_that_mostly_are_zero():
    rng = np.random.default_rng(1)
    y = np.where(np.arange(60) < 20, rng.exponential(size=60), 0.0)
    coef, _, found, _ = fit(rng.normal(size=(60, 2)), y)
    assert found.scale == 0.0
    assert (found.exact_fit == (y == 0)).all()
    np.testing.assert_allclose(coef, 0, atol=1e-14)


def test_rows_of_weight_zero_do_not_count():
    X, Y = case()
    w = np.ones(len(X))
    w[:10] = 0.0
    one, two = fit(X, Y, w), fit(X[10:], Y[10:])
    np.testing.assert_allclose(one[0], two[0], rtol=1e-6)
    Y2 = X.sum(axis=1)
    Y2[:12] += 1.0
    found = fit(X, Y2, w)[2]  # but are judged
    assert (found.exact_fit == (np.arange(len(X)) >= 12)).all()


@pytest.mark.parametrize("n", [5, 6, 8])
def test_few_rows(n):
    X, Y = case(n, 3, share=0.0)
    coef, intercept, found, _ = fit(X, Y)
    assert found.scale == pytest.approx(scale_of(X, Y, coef, intercept))


def test_too_few_rows():
    rows = DenseDesign(np.eye(3)[:, :2], np.ones((3, 1)), np.array([1, 1, 0.5]), True)
    with pytest.raises(SingularFit, match="more rows than coordinates"):
        fast_s(rows)


@pytest.mark.parametrize("intercept", [False, True])
def test_indicators(intercept):
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(6), [3, 4, 10, 10, 10, 30])
    y = group + rng.normal(size=len(group))
    coef, shift, found, rows = fit(np.eye(6)[group], y, intercept=intercept)
    assert rows.n_coords == 6
    scale = scale_of(np.eye(6)[group], y, coef, shift, rank=6)
    assert found.scale == pytest.approx(scale)


def test_no_columns():
    y = np.random.default_rng(0).normal(size=30)
    found = fit(np.zeros((30, 2)), y, intercept=False)[2]
    assert found.scale == pytest.approx(s_scale(y, 30))
    only = fit(np.zeros((30, 2)), y)
    slow = optimize.minimize_scalar(
        lambda m: s_scale(y - m, 29), bounds=(-1, 1), options={"xatol": 1e-12}
    )
    assert only[2].scale == pytest.approx(slow.fun, rel=1e-9)


def test_repeated_rows():
    X, Y = case(15, 2)
    X3, Y3 = np.tile(X, (4, 1)), np.tile(Y, (4, 1))
    coef, intercept, found, _ = fit(X3, Y3)
    assert found.scale == pytest.approx(scale_of(X3, Y3, coef, intercept))


# ------------------------------------------------------------------------ large data


def large(n=6000, p=6, c=1):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(n, p))
    Y = X @ rng.normal(size=(p, c)) + rng.normal(size=(n, c))
    X[: n // 3] += 3.0
    Y[: n // 3] += 60.0
    return X, Y


@pytest.mark.parametrize("c", [1, 3])
def test_sample_and_refinement_reach_the_minimum_of_all_rows(c, monkeypatch):
    X, Y = large(c=c)
    coef, _, found, _ = fit(X, Y)
    monkeypatch.setattr(module, "_SAMPLE", 10_000)
    whole, _, direct, _ = fit(X, Y)
    assert found.scale == pytest.approx(direct.scale, rel=1e-9)
    np.testing.assert_allclose(coef, whole, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("c", [1, 3])
def test_streamed_rows(c, weighted):
    X, Y = large(c=c)
    w = None
    if weighted:
        w = np.random.default_rng(0).uniform(0.5, 2, len(X))
        w[::7] = 0.0
    one = fit(X, Y, w)
    two = fit(X, Y, w, design=StreamedDesign)
    assert two[2].status == "converged"
    assert two[2].scale == pytest.approx(one[2].scale, rel=1e-9)
    np.testing.assert_allclose(two[0], one[0], atol=1e-5)
    single = fit(np.float32(X), np.float32(Y), w, design=StreamedDesign)
    assert single[2].scale == pytest.approx(one[2].scale, rel=1e-4)


def test_exact_fit_of_streamed_rows():
    X, _ = large()
    y = X.sum(axis=1)
    y[:1000] += 1.0 + np.arange(1000)
    for dtype in (np.float64, np.float32):
        found = fit(X.astype(dtype), y.astype(dtype), design=StreamedDesign)[2]
        assert found.status == "exact_fit"
        assert found.scale == 0
        assert (found.exact_fit == (np.arange(len(y)) >= 1000)).all()


def test_columns_that_a_sample_misses():
    X, Y = large()
    X = np.column_stack([X, np.zeros((len(X), 2))])
    X[4000:4012, -1] = 1.0
    X[5000:5003, -2] = 1.0
    coef, intercept, found, rows = fit(X, Y)
    assert rows.n_coords == 9
    scale = scale_of(X, Y, coef, intercept)
    assert found.scale == pytest.approx(scale)
    for marked in (slice(4000, 4012), slice(5000, 5003)):
        residual = (Y - X @ coef.T - intercept)[marked, 0]
        assert np.abs(np.median(residual)) < 2.5 * scale


def test_more_coordinates_than_chance_can_serve():
    # A subset without outliers has probability 0.75^41, 8e-6.
    rng = np.random.default_rng(6)
    X = rng.normal(size=(600, 40))
    gone = np.arange(600) < 150
    X[gone] += 10.0
    y = X.sum(axis=1) + rng.normal(size=600) + 600.0 * gone
    coef, _, found, rows = fit(X, y)
    every = module._all_rows(rows)
    clean = module._refine(every, rows.least_squares(~gone), 200, 1e-7)
    assert found.scale <= every.scale(clean.level) * (1 + 1e-9)
    assert np.abs(coef - 1).max() < 0.5
