"""Hard thresholding: fixed points at every knot, and the data of the field."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from sparselbi import _shift_stream
from sparselbi._shift_design import DenseDesign, SingularFit, row_norms
from sparselbi._shift_stream import StreamedDesign
from sparselbi.datasets import load_hbk, load_stars_cyg, load_wood
from sparselbi.solvers._shift_hard import CUTS, default_thresholds, trace_hard
from sparselbi.solvers.fast_s import FastS, fast_s

# The rows that the literature agrees on, from 1 (Hawkins, Bradu and Kass 1984;
# Rousseeuw and Leroy 1987).
KNOWN = {
    "hbk": (load_hbk, list(range(1, 11))),
    "wood": (load_wood, [4, 6, 8, 19]),
    "stars_cyg": (load_stars_cyg, [11, 20, 30, 34]),
}


def case(n=80, p=3, c=1, seed=0, weights=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 2
    Y = X @ rng.normal(size=(p, c)) + rng.normal(size=(n, c))
    k = n // 5
    X[:k] += 6.0
    Y[:k] += 30.0
    Y[k : 2 * k] += 3 * rng.standard_t(2, size=(k, c))
    w = None
    if weights == "counts":
        w = rng.integers(1, 4, n).astype(float)
    elif weights == "zeros":
        w = rng.uniform(0.2, 2, n) * (rng.random(n) < 0.8)
    return X, Y, w


def trace_of(X, Y, w=None, factor=None, design=DenseDesign, **options):
    """The trace, the design, the start."""
    Y = Y[:, None] if Y.ndim == 1 else Y
    rows = design(X, Y, w, True)
    factor = np.ones(len(X)) if factor is None else factor
    start = fast_s(rows, random_state=options.pop("random_state", 0))
    if "thresholds" not in options:
        options["thresholds"] = default_thresholds(rows, factor, start)
    return trace_hard(rows, factor, start, **options), rows, start


def masks(trace, n):
    """Which rows are shifted at each knot, from the events."""
    shifted = np.zeros((len(trace.knots), n), dtype=bool)
    for at, row, enters in zip(
        trace.event_at, trace.event_row, trace.event_enters, strict=True
    ):
        shifted[trace.knots <= at, row] = enters
    return shifted


def least_squares(X, Y, w):
    root = np.sqrt(w)[:, None]
    A = np.column_stack([np.ones(len(X)), X])
    return np.linalg.lstsq(root * A, root * Y)[0]


def slow_fixed_point(X, Y, w, factor, norms, threshold):
    """Alternate from the norms of a start; the rows kept, the fit."""
    A = np.column_stack([np.ones(len(X)), X])
    kept = norms <= threshold * factor
    while True:
        fit = least_squares(X[kept], Y[kept], w[kept])
        norms = row_norms(Y - A @ fit)
        new = norms <= threshold * factor
        if (new == kept).all():
            return kept, fit, norms
        kept = new


# ---------------------------------------------------------------------- known outliers


@pytest.mark.parametrize("name", KNOWN)
def test_known_outliers_from_every_seed(name):
    load, known = KNOWN[name]
    X, y = load(return_X_y=True)
    for seed in range(25):
        trace, _, start = trace_of(X, y, random_state=seed)
        at = np.flatnonzero(trace.knots == 3.0 * start.scale)
        assert len(at) == 1
        flagged = np.flatnonzero(masks(trace, len(y))[at[0]]) + 1
        assert flagged.tolist() == known


def test_what_other_cuts_flag():
    X, y = load_stars_cyg(return_X_y=True)
    trace, _, start = trace_of(X, y)
    at = np.flatnonzero(trace.knots == 2.5 * start.scale)[0]
    flagged = np.flatnonzero(masks(trace, len(y))[at]) + 1
    assert flagged.tolist() == [7, 11, 20, 30, 34]


# ------------------------------------------------------------------------ fixed points


@pytest.mark.parametrize("factors", [False, True])
@pytest.mark.parametrize("weights", [None, "counts", "zeros"])
@pytest.mark.parametrize("c", [1, 3])
def test_every_knot_is_a_fixed_point_that_the_start_leads_to(c, weights, factors):
    X, Y, w = case(c=c, weights=weights)
    n = len(X)
    factor = np.ones(n)
    if factors:
        factor = np.random.default_rng(1).uniform(0.5, 1.5, n)
        factor[[3, 40]] = np.inf
    trace, rows, start = trace_of(X, Y, w, factor)
    assert trace.status == "threshold_min"
    w = np.ones(n) if w is None else w
    shifted = masks(trace, n)
    coefs, intercepts = rows.to_coefs(trace.coords)
    norms = rows.norms(start.coords)
    assert not shifted[0].any()
    for k, threshold in enumerate(trace.knots):
        kept, fit, left = slow_fixed_point(X, Y, w, factor, norms, threshold)
        assert (shifted[k] == ~kept).all()
        np.testing.assert_allclose(intercepts[k], fit[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(coefs[k].T, fit[1:], rtol=1e-9, atol=1e-9)
        assert trace.rss[k] == pytest.approx(w[kept] @ left[kept] ** 2, rel=1e-9)
        assert trace.n_shifted[k] == pytest.approx(w[~kept].sum())
    if c == 1:
        residual = Y - X @ coefs[:, 0].T - intercepts.T
        at = np.searchsorted(-trace.knots, -trace.event_at)
        signs = np.sign(residual[trace.event_row, at])
        assert (trace.event_sign == signs).all()
    else:
        assert (trace.event_sign == 0).all()
    assert (np.diff(trace.event_at) <= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_equivariance(seed, c):
    rng = np.random.default_rng(seed)
    X, Y, _ = case(40, 2, c, seed=seed % 5)
    A, factor = rng.normal(size=(2, 2)) + 3 * np.eye(2), 10 ** rng.uniform(-3, 3)
    turn = np.linalg.qr(rng.normal(size=(c, c)))[0]
    one, _, _ = trace_of(X, Y)
    two, _, _ = trace_of(X @ A + 5, factor * Y @ turn + 100 * X[:, :1] - 7)
    np.testing.assert_allclose(two.knots, factor * one.knots, rtol=1e-6)
    assert (masks(one, 40) == masks(two, 40)).all()
    np.testing.assert_allclose(two.rss, factor**2 * one.rss, rtol=1e-5)


def test_weight_is_a_number_of_repetitions():
    X, Y, w = case(weights="counts")
    counts = w.astype(int)
    one, rows, _ = trace_of(X, Y, w)
    two, many, _ = trace_of(np.repeat(X, counts, axis=0), np.repeat(Y, counts, axis=0))
    np.testing.assert_allclose(one.knots, two.knots, rtol=1e-7)
    again = np.repeat(masks(one, len(X)), counts, axis=1)
    assert (again == masks(two, counts.sum())).all()
    np.testing.assert_allclose(
        rows.to_coefs(one.coords)[0], many.to_coefs(two.coords)[0], rtol=1e-7
    )
    np.testing.assert_allclose(one.n_shifted, two.n_shifted)


@pytest.mark.parametrize("way", ["gram", "cg"])
@pytest.mark.parametrize("c", [1, 3])
def test_streamed_rows(c, way, monkeypatch):
    X, Y, w = case(200, c=c, weights="zeros")
    one, rows, start = trace_of(X, Y, w)
    if way == "cg":
        monkeypatch.setattr(_shift_stream, "_DENSE_GRAM", 1)
        X = sparse.csr_array(X)
    streamed = StreamedDesign(X, Y, w, True)
    assert streamed.way == way
    found = fast_s(streamed)
    two = trace_hard(streamed, np.ones(200), found, thresholds=one.knots)
    assert (masks(one, 200) == masks(two, 200)).all()
    np.testing.assert_allclose(
        rows.to_coefs(one.coords)[0], streamed.to_coefs(two.coords)[0], rtol=1e-6
    )
    np.testing.assert_allclose(one.rss, two.rss, rtol=1e-9)
    assert found.scale == pytest.approx(start.scale)


def test_huge_leverage_costs_no_digits():
    # Coordinates of all rows show the clean ones only in their last digits.
    X, Y, _ = case(100)
    wild = X.copy()
    wild[:20] = 1e6 * np.random.default_rng(0).normal(size=(20, 3))
    Y[:20] = 1e8 * (1 + np.random.default_rng(1).random((20, 1)))
    trace, rows, start = trace_of(wild, Y)
    at = np.flatnonzero(trace.knots == 2.0 * start.scale)[0]
    gone = masks(trace, 100)[at]
    assert gone[:20].all()
    fit = least_squares(X[~gone], Y[~gone], np.ones(np.count_nonzero(~gone)))
    np.testing.assert_allclose(rows.to_coefs(trace.coords[at])[0].T, fit[1:], rtol=1e-7)


def test_fits_do_not_know_of_larger_thresholds():
    X, Y, _ = case()
    whole, rows, start = trace_of(X, Y)
    for k in (5, 20, 40):
        one = trace_hard(rows, np.ones(len(X)), start, thresholds=[whole.knots[k]])
        np.testing.assert_allclose(one.coords[-1], whole.coords[k], atol=1e-12)


# ------------------------------------------------------------------ grid, ends, errors


def test_default_grid():
    X, Y, _ = case()
    _, rows, start = trace_of(X, Y)
    grid = default_thresholds(rows, np.ones(len(X)), start)
    assert (np.diff(grid) < 0).all()
    assert 50 <= len(grid) <= 70
    assert np.isin(np.array(CUTS) * start.scale, grid).all()
    assert grid[-1] == pytest.approx(min(0.7 * start.scale, grid[0] / 2))
    for coords in (start.coords, rows.least_squares()):
        assert grid[0] > rows.norms(coords).max()


def test_default_cuts_of_several_responses_are_lengths():
    X, Y, _ = case(c=3)
    _, rows, start = trace_of(X, Y)
    grid = default_thresholds(rows, np.ones(len(X)), start)
    for cut in CUTS:
        length = stats.chi(3).isf(2 * stats.norm.sf(cut))
        assert np.abs(grid / (length * start.scale) - 1).min() < 1e-12


def test_null_knot_is_put_first():
    X, Y, _ = case()
    trace, rows, start = trace_of(X, Y)
    short = trace_hard(rows, np.ones(len(X)), start, thresholds=[3 * start.scale])
    assert len(short.knots) == 2
    assert short.knots[0] == trace.knots[0]
    np.testing.assert_allclose(short.coords[0], rows.least_squares(), atol=1e-12)


def test_limit():
    X, Y, w = case(weights="counts")
    free, _, _ = trace_of(X, Y, w)
    trace, _, _ = trace_of(X, Y, w, max_shifted=20.0)
    assert trace.status == "max_outliers"
    assert "more than 20" in trace.message
    assert trace.n_shifted.max() <= 20
    assert free.n_shifted[len(trace.knots)] > 20
    np.testing.assert_array_equal(trace.knots, free.knots[: len(trace.knots)])
    everything, _, _ = trace_of(X, Y, w, max_shifted=free.n_shifted.max())
    assert everything.status == "threshold_min"


def test_kept_rows_that_do_not_determine_the_fit():
    X, Y, _ = case()
    rows = DenseDesign(X, Y, None, True)
    away = np.zeros((rows.n_coords, 1))
    away[0] = 1e3  # no residual is small
    bad = FastS(away, 1.0, 1, None, "converged")
    trace = trace_hard(rows, np.ones(len(X)), bad, thresholds=[1.0])
    assert trace.status == "singular"
    assert "do not determine the fit" in trace.message
    assert len(trace.knots) == 1


def test_exact_fit():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X.sum(axis=1)
    off = np.isin(np.arange(60), [1, 7, 30, 31, 59])
    y[off] += [1e-3, -2.0, 5.0, 1e4, 0.5]
    trace, rows, start = trace_of(X, y)
    assert start.scale == 0
    assert trace.status == "exact_fit"
    assert trace.knots[-1] == 0.0
    assert (masks(trace, 60)[-1] == off).all()
    assert (masks(trace, 60)[-2] == off).all()
    np.testing.assert_allclose(rows.to_coefs(trace.coords[-1])[0], 1.0, rtol=1e-10)
    order = trace.event_row[trace.event_enters]
    assert order.tolist() == [31, 30, 7, 59, 1]


def test_perfect_fit():
    X = np.random.default_rng(0).normal(size=(30, 3))
    for y in (X.sum(axis=1) * 1e5, np.full(30, 3.0), np.zeros(30)):
        trace, _, _ = trace_of(X, y)
        assert trace.status == "exact_fit"
        assert len(trace.knots) == 1
        assert not len(trace.event_row)


@pytest.mark.parametrize("bad", [[], [1.0, 2.0], [2.0, 2.0], [1.0, -1.0], [np.inf, 1]])
def test_bad_thresholds(bad):
    X, Y, _ = case()
    _, rows, start = trace_of(X, Y)
    with pytest.raises(ValueError, match="thresholds="):
        trace_hard(rows, np.ones(len(X)), start, thresholds=bad)


def test_singular_is_a_value_error():
    assert issubclass(SingularFit, ValueError)
