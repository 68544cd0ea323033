"""Huber regression on a grid, against slow solvers and its own optimality."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from sparselbi import _shift_stream
from sparselbi._shift_design import DenseDesign
from sparselbi._shift_stream import StreamedDesign
from sparselbi.solvers import _huber_grid as module
from sparselbi.solvers import _huber_solver
from sparselbi.solvers._anderson import Anderson
from sparselbi.solvers._huber_grid import certify_coords, trace_huber_grid

# ------------------------------------------------------------------------------- twin


def objective(Z, Y, w, radius, coords):
    length = np.linalg.norm(Y - Z @ coords, axis=1)
    inside = np.minimum(length, radius)
    return w @ (inside * (length - inside / 2))


def psi(R, radius):
    length = np.linalg.norm(R, axis=1)
    return R * np.minimum(1.0, radius / np.maximum(length, 1e-300))[:, None]


def slow_huber(Z, Y, w, radius, coords=None):
    """Damped Newton's method with the matrix of second derivatives written out."""
    (_, r), c = Z.shape, Y.shape[1]
    if coords is None:
        coords = np.linalg.lstsq(np.sqrt(w)[:, None] * Z, np.sqrt(w)[:, None] * Y)[0]
    value = objective(Z, Y, w, radius, coords)
    for _ in range(300):
        R = Y - Z @ coords
        score = Z.T @ (w[:, None] * psi(R, radius))
        length = np.linalg.norm(R, axis=1)
        unit = R / np.maximum(length, 1e-300)[:, None]
        M = np.eye(c) - unit[:, :, None] * unit[:, None, :]
        out = length > radius
        M[out] *= (radius[out] / length[out])[:, None, None]
        M[~out] = np.eye(c)
        matrix = np.einsum("i,ij,ik,iab->jakb", w, Z, Z, M).reshape(r * c, r * c)
        matrix += 1e-10 * np.trace(matrix) * np.eye(r * c)
        step = np.linalg.solve(matrix, score.ravel()).reshape(r, c)
        length = 1.0
        while length > 1e-6:
            found = objective(Z, Y, w, radius, coords + length * step)
            if found <= value - 1e-4 * length * np.vdot(score, step):
                break
            length /= 2
        else:  # rounding: a last step
            return coords + step if np.abs(Z @ step).max() < 1e-9 else coords
        coords, value = coords + length * step, found
    return coords


def make(seed=0, n=80, p=3, c=2, *, weighted=False, factors=False):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * [1, 10, 0.1, 3, 2][:p]
    Y = X @ rng.standard_normal((p, c)) + rng.standard_normal((n, c)) + 5
    out = rng.random(n) < 0.2
    Y[out] += 6 * rng.standard_normal((out.sum(), c))
    weight = rng.integers(0, 4, n).astype(float) if weighted else None
    factor = np.ones(n)
    if factors:
        factor = rng.uniform(0.5, 2, n)
        factor[[1, 7]] = np.inf
    return X, Y, weight, factor


def plain(X, weight):
    ones = np.ones(len(X))
    return np.column_stack([ones, X]), ones if weight is None else weight


def coefs_of(design, coords):
    coefs, intercepts = design.to_coefs(coords)
    return np.concatenate([intercepts[..., None, :], np.swapaxes(coefs, -1, -2)], -2)


def masks(trace, n):
    """Rows shifted at each knot, from the events before it."""
    state = np.zeros((n, 3), dtype=bool)
    knots = iter(range(len(trace.event_at)))
    following = next(knots, None)
    for knot in trace.knots:
        while following is not None and trace.event_at[following] > knot:
            row, sign = trace.event_row[following], trace.event_sign[following]
            assert state[row, sign] != trace.event_enters[following]
            state[row, sign] = trace.event_enters[following]
            following = next(knots, None)
        yield state.any(axis=1)
    assert following is None


CASES = [
    {},
    {"c": 1},
    {"weighted": True},
    {"factors": True},
    {"c": 3, "weighted": True, "factors": True},
    {"c": 1, "weighted": True, "factors": True},
]


def name(case):
    return ", ".join(f"{key}={value}" for key, value in case.items()) or "plain"


# --------------------------------------------------------------------------- optimum


@pytest.mark.parametrize("newton", [False, True], ids=["anderson", "newton"])
@pytest.mark.parametrize("case", CASES, ids=name)
def test_knots_are_minima(monkeypatch, case, newton):
    X, Y, weight, factor = make(**case)
    monkeypatch.setattr(_huber_solver, "_PATIENCE", 0 if newton else 500)
    design = DenseDesign(X, Y, weight, True)
    trace = trace_huber_grid(design, factor, n_knots=6, tol=1e-13)
    assert trace.status == "max_outliers"
    assert (trace.info["n_newton"] > 0) == newton
    Z, w = plain(X, weight)
    found = coefs_of(design, trace.coords)
    scale = np.abs(X).max(axis=0).min()
    for knot, coefs in zip(trace.knots, found, strict=True):
        expected = slow_huber(Z, Y, w, knot * factor)
        np.testing.assert_allclose(Z @ coefs, Z @ expected, atol=1e-8)
        np.testing.assert_allclose(coefs, expected, atol=1e-8 / scale)


@pytest.mark.parametrize("seed", range(3))
def test_one_response_agrees_with_scipy(seed):
    X, Y, _, factor = make(seed, n=150, c=1)
    design = DenseDesign(X, Y, None, True)
    trace = trace_huber_grid(design, factor, n_knots=8, tol=1e-14)
    Z, _ = plain(X, None)
    for knot, coefs in zip(trace.knots, coefs_of(design, trace.coords), strict=True):
        expected = optimize.least_squares(
            lambda b: Y[:, 0] - Z @ b,
            np.linalg.lstsq(Z, Y[:, 0])[0],
            lambda b: -Z,
            loss="huber",
            f_scale=knot,  # noqa: B023
            x_scale="jac",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
        )
        np.testing.assert_allclose(Z @ coefs[:, 0], Z @ expected.x, atol=1e-7)


@pytest.mark.parametrize("c", [1, 3])
def test_small_thresholds_are_least_absolute_deviations(c):
    X, Y, _, factor = make(n=60, c=c)
    design = DenseDesign(X, Y, None, True)
    top = design.norms(design.least_squares()).max()
    grid = np.geomspace(top, 1e-4, 30)
    trace = trace_huber_grid(design, factor, thresholds=grid)
    assert trace.status == "thresholds"
    assert trace.info["n_missed"] == 0
    Z, _ = plain(X, None)
    last = coefs_of(design, trace.coords[-1])
    found = np.linalg.norm(Y - Z @ last, axis=1).sum()
    if c == 1:
        n, r = Z.shape
        program = optimize.linprog(
            np.concatenate([np.zeros(r), np.ones(2 * n)]),
            A_eq=np.hstack([Z, np.eye(n), -np.eye(n)]),
            b_eq=Y[:, 0],
            bounds=[(None, None)] * r + [(0, None)] * (2 * n),
        )
        expected = program.fun
    else:
        final = slow_huber(Z, Y, np.ones(len(Z)), np.full(len(Z), 1e-4), last)
        expected = np.linalg.norm(Y - Z @ final, axis=1).sum()
    # Huber's loss is at most threshold / 2 per row away, and the gap 1e-6.
    assert abs(found - expected) <= 1e-4 * len(Z) + 2e-6 * expected


def test_newton_takes_over_where_it_must():
    X, Y, _, factor = make(n=400, p=5, c=1)
    grid = np.geomspace(10, 0.01, 30)
    trace = trace_huber_grid(DenseDesign(X, Y, None, True), factor, thresholds=grid)
    assert trace.info["n_newton"] > 0
    assert trace.info["n_missed"] == 0
    assert trace.info["gap"].max() <= 1e-6


# ------------------------------------------------------------------------------- gaps


@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-10])
@pytest.mark.parametrize("case", CASES, ids=name)
def test_gaps_bound_the_distance_to_the_minimum(case, tol):
    X, Y, weight, factor = make(1, **case)
    design = DenseDesign(X, Y, weight, True)
    trace = trace_huber_grid(design, factor, n_knots=7, tol=tol)
    Z, w = plain(X, weight)
    assert trace.info["n_missed"] == 0
    found = coefs_of(design, trace.coords)
    for k, knot in enumerate(trace.knots):
        value = objective(Z, Y, w, knot * factor, found[k])
        best = slow_huber(Z, Y, w, knot * factor)
        lowest = objective(Z, Y, w, knot * factor, best)
        assert value - lowest <= value * (trace.info["gap"][k] + 1e-14)
        assert trace.info["gap"][k] <= tol


@pytest.mark.parametrize("case", CASES, ids=name)
def test_gap_of_any_coordinates_is_that_of_a_feasible_dual_point(case):
    X, Y, weight, factor = make(2, **case)
    design = DenseDesign(X, Y, weight, True)
    rng = np.random.default_rng(0)
    w = np.ones(len(Y)) if weight is None else weight
    coords = design.least_squares()
    for noise in (0.0, 0.1, 1.0):
        coords = coords + noise * rng.standard_normal(coords.shape)
        threshold = 2.0
        radius = threshold * factor
        gap = certify_coords(design, factor, coords, threshold)[2]
        R = design.Y - design.Z @ coords
        U = psi(R, radius)
        V = U - design.Z @ (design.Z.T @ (w[:, None] * U))
        np.testing.assert_allclose(design.Z.T @ (w[:, None] * V), 0, atol=1e-11)
        # The best multiple among the feasible ones.
        used = w > 0
        longest = (np.linalg.norm(V, axis=1) / radius)[used].max()
        lengths = np.linspace(0, 1 / longest, 20_001)
        linear, square = w @ (V * design.Y).sum(axis=1), w @ (V**2).sum(axis=1)
        dual = (lengths * linear - lengths**2 * square / 2).max()
        primal = objective(design.Z, design.Y, w, radius, coords)
        np.testing.assert_allclose(gap, primal - dual, rtol=1e-6)


# ----------------------------------------------------------------------- certificates


def test_certificates_are_never_wrong():
    counts = np.zeros(3, dtype=int)
    for seed in range(36):
        rng = np.random.default_rng(seed)
        case = CASES[seed % len(CASES)]
        X, Y, weight, factor = make(seed, n=50, **case)
        design = DenseDesign(X, Y, weight, True)
        Z, w = plain(X, weight)
        threshold = float(rng.uniform(0.3, 3))
        radius = threshold * factor
        best = np.linalg.norm(Y - Z @ slow_huber(Z, Y, w, radius), axis=1)
        trace = trace_huber_grid(design, factor, thresholds=[threshold], tol=1e-12)
        for noise in (0.0, 1e-6, 1e-4, 1e-2, 0.3):
            error = noise * rng.standard_normal(trace.coords[-1].shape)
            coords = trace.coords[-1] + error
            inactive, active, gap = certify_coords(design, factor, coords, threshold)
            assert not (inactive & active).any()
            assert (best[inactive] <= radius[inactive]).all()
            assert (best[active] > radius[active]).all()
            assert inactive[~np.isfinite(factor)].all()
            assert gap >= 0
            counts += inactive.sum(), active.sum(), len(Y)
            # Active rows need as many inactive ones as there are coefficients.
            if noise <= 1e-6 and inactive.sum() > 8:
                assert (inactive | active).mean() > 0.8
    assert counts[0] > 0.3 * counts[2]
    assert counts[1] > 0.03 * counts[2]


def test_certificates_from_blocks(monkeypatch):
    X, Y, weight, factor = make(n=300, weighted=True, factors=True)
    dense = DenseDesign(X, Y, weight, True)
    monkeypatch.setattr(_shift_stream, "_BLOCK", 64)
    monkeypatch.setattr(module, "_PIECE", 37)
    trace = trace_huber_grid(dense, factor, thresholds=[1.5], tol=1e-10)
    expected = certify_coords(dense, factor, trace.coords[-1], 1.5)
    stream = StreamedDesign(X, Y, weight, True)
    again = trace_huber_grid(stream, factor, thresholds=[1.5], tol=1e-10)
    inactive, active, _ = certify_coords(stream, factor, again.coords[-1], 1.5)
    np.testing.assert_array_equal(inactive, expected[0])
    np.testing.assert_array_equal(active, expected[1])
    single = StreamedDesign(X.astype(np.float32), Y, weight, True)
    again = trace_huber_grid(single, factor, thresholds=[1.5])
    inactive, active, _ = certify_coords(single, factor, again.coords[-1], 1.5)
    assert not (inactive & expected[1]).any()
    assert not (active & expected[0]).any()
    assert (inactive | active).mean() > 0.9


def test_certificates_need_a_positive_threshold():
    X, Y, _, factor = make()
    design = DenseDesign(X, Y, None, True)
    with pytest.raises(ValueError, match="threshold=0 must be positive"):
        certify_coords(design, factor, design.least_squares(), 0)


# ---------------------------------------------------------------------- record, events


@pytest.mark.parametrize("case", CASES, ids=name)
def test_record_at_the_knots(case):
    X, Y, weight, factor = make(3, n=200, **case)
    design = DenseDesign(X, Y, weight, True)
    trace = trace_huber_grid(design, factor, n_knots=12)
    Z, w = plain(X, weight)
    found = coefs_of(design, trace.coords)
    assert len(trace.knots) == 12 + (
        case.get("weighted", False) and len(trace.knots) > 12
    )
    assert (np.diff(trace.event_at) <= 0).all()
    assert np.isin(trace.event_sign, [1, -1] if Y.shape[1] == 1 else [0]).all()
    for k, mask in enumerate(masks(trace, len(Y))):
        R = Y - Z @ found[k]
        length, radius = np.linalg.norm(R, axis=1), trace.knots[k] * factor
        if k:
            np.testing.assert_array_equal(mask, length > radius)
        else:
            assert not mask.any()
        np.testing.assert_allclose(trace.n_shifted[k], w @ mask)
        expected = w @ np.minimum(length, radius) ** 2
        np.testing.assert_allclose(trace.rss[k], expected)
    # The grid ends where half of the weight is shifted, or just before.
    assert trace.n_shifted[-1] <= w.sum() / 2
    assert trace.n_shifted[-1] >= 0.44 * w.sum()


@pytest.mark.parametrize("c", [1, 2])
def test_events_of_a_coarse_grid_are_close_to_those_of_a_fine_one(c):
    X, Y, _, factor = make(n=500, c=c)
    design = DenseDesign(X, Y, None, True)

    def entries(n_knots):
        trace = trace_huber_grid(design, factor, n_knots=n_knots)
        entry = np.full(len(Y), np.nan)
        enters = np.flatnonzero(trace.event_enters)[::-1]
        entry[trace.event_row[enters]] = trace.event_at[enters]
        return entry

    fine, coarse = entries(200), entries(25)
    both = ~np.isnan(fine) & ~np.isnan(coarse)
    assert both.mean() > 0.45
    assert np.abs(fine - coarse)[both].max() < 0.01
    assert len(np.unique(coarse[both])) == both.sum()


def test_signs_of_events_are_those_of_residuals():
    X, Y, _, factor = make(n=300, c=1)
    design = DenseDesign(X, Y, None, True)
    trace = trace_huber_grid(design, factor, n_knots=20)
    for row, sign in zip(trace.event_row, trace.event_sign, strict=True):
        signs = np.sign(design.Y[row] - design.Z[row] @ trace.coords)
        assert sign in signs


def test_a_row_that_changes_sides_leaves_before_it_enters_again():
    # At the second threshold the line has turned below the first row.
    X = np.array([[20.0], *([[x] for x in np.linspace(-1, 1, 40)])])
    Y = np.array([[40.0], *([[0.01 * (-1) ** k + 0.1 * k] for k in range(40)])])
    design = DenseDesign(X, Y, None, True)
    trace = trace_huber_grid(design, np.ones(41), thresholds=[0.9, 0.05])
    list(masks(trace, 41))  # alternating, consistent
    mine = trace.event_row == 0
    assert len(np.unique(trace.event_sign[mine])) <= 2


def test_given_thresholds():
    X, Y, _, factor = make()
    design = DenseDesign(X, Y, None, True)
    top = design.norms(design.least_squares()).max()
    grid = np.array([2.0, 1.0, 0.5]) * top
    trace = trace_huber_grid(design, factor, thresholds=grid)
    assert trace.status == "thresholds"
    np.testing.assert_array_equal(trace.knots, grid)
    np.testing.assert_array_equal(trace.coords[0], trace.coords[1])
    assert trace.event_at[0] <= top * (1 + 1e-15)
    below = trace_huber_grid(design, factor, thresholds=grid[2:])
    np.testing.assert_allclose(below.knots, [top, grid[2]])
    np.testing.assert_allclose(below.coords[1], trace.coords[2], atol=1e-4)
    assert set(below.event_row) == set(trace.event_row)
    np.testing.assert_allclose(below.info["threshold_max"], top)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("limit", [0, 1, 10, 37])
@pytest.mark.parametrize("given", [True, False])
def test_no_more_rows_are_shifted_than_allowed(weighted, limit, given):
    X, Y, weight, factor = make(n=120, weighted=weighted)
    design = DenseDesign(X, Y, weight, True)
    top = design.norms(design.least_squares()).max()
    grid = np.geomspace(0.9 * top, 0.01 * top, 8) if given else None
    trace = trace_huber_grid(
        design, factor, thresholds=grid, max_shifted=limit, n_knots=8
    )
    assert trace.status == "max_outliers"
    assert trace.n_shifted.max() <= limit
    if limit:
        assert trace.n_shifted[-1] >= limit - 3 - 3 * weighted
    *_, last = masks(trace, len(Y))
    w = np.ones(len(Y)) if weight is None else weight
    assert w @ last <= limit


# ---------------------------------------------------------------- weights and factors


def test_weights_are_repeated_rows():
    X, Y, weight, factor = make(n=150, weighted=True, factors=True)
    count = weight.astype(int)
    many = (np.repeat(A, count, axis=0) for A in (X, Y))
    once = DenseDesign(X, Y, weight, True)
    repeated = DenseDesign(*many, None, True)
    grid = [3.0, 2.0, 1.0, 0.5]
    a = trace_huber_grid(once, factor, thresholds=grid, tol=1e-12)
    b = trace_huber_grid(repeated, np.repeat(factor, count), thresholds=grid, tol=1e-12)
    for k, j in zip(range(-4, 0), range(-4, 0), strict=True):
        found, expected = coefs_of(once, a.coords[k]), coefs_of(repeated, b.coords[j])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(a.rss[-4:], b.rss[-4:], rtol=1e-8)
    np.testing.assert_array_equal(a.n_shifted[-4:], b.n_shifted[-4:])


def test_rows_of_weight_0_are_judged_but_do_not_count():
    X, Y, _, factor = make(n=100)
    far = Y[:5] + np.array([[1000.0], [100.0], [3.0], [0.0], [0.0]])
    weight = np.append(np.ones(100), np.zeros(5))
    design = DenseDesign(np.vstack([X, X[:5]]), np.vstack([Y, far]), weight, True)
    trace = trace_huber_grid(design, np.ones(105), n_knots=10)
    alone = DenseDesign(X, Y, None, True)
    expected = trace_huber_grid(alone, factor, n_knots=10)
    top = np.abs(
        np.linalg.norm(
            far - (Y[:5] - alone.residuals(alone.least_squares())[:5]), axis=1
        )
    ).max()
    np.testing.assert_allclose(trace.knots[0], top)
    np.testing.assert_allclose(trace.knots[1:], expected.knots, rtol=1e-9)
    np.testing.assert_allclose(trace.n_shifted[1:], expected.n_shifted)
    for a, b in zip(trace.coords[1:], expected.coords, strict=True):
        np.testing.assert_allclose(
            coefs_of(design, a), coefs_of(alone, b), atol=1e-8, rtol=1e-8
        )
    assert trace.event_row[0] == 100
    np.testing.assert_allclose(trace.event_at[0], top)
    assert 101 in trace.event_row[:2]


def test_infinite_factors_are_never_shifted():
    X, Y, _, factor = make(n=100, factors=True)
    Y[[1, 7]] += 100
    design = DenseDesign(X, Y, None, True)
    trace = trace_huber_grid(design, factor, max_shifted=100)
    np.testing.assert_allclose(trace.knots[-1], 1e-6 * trace.info["threshold_max"])
    assert not np.isin([1, 7], trace.event_row).any()
    nobody = trace_huber_grid(design, np.full(100, np.inf))
    assert len(nobody.knots) == 1
    assert len(nobody.event_at) == 0


# ------------------------------------------------------------------- degenerate cases


@pytest.mark.parametrize("c", [1, 2])
@pytest.mark.parametrize("stream", [True, False])
def test_perfect_fit(c, stream):
    X, Y, _, factor = make(c=c)
    Y = X @ np.ones((3, c)) + 1e3
    design = (StreamedDesign if stream else DenseDesign)(X, Y, None, True)
    trace = trace_huber_grid(design, factor)
    assert trace.status == "perfect_fit"
    assert len(trace.knots) == 1
    given = trace_huber_grid(design, factor, thresholds=[1.0, 1e-14, 0.0])
    assert given.status == "perfect_fit"
    assert len(given.event_at) == 0
    assert (given.n_shifted == 0).all()
    np.testing.assert_array_equal(given.coords, given.coords[[0, 0, 0]])


def test_all_responses_equal():
    X, _, _, factor = make()
    design = DenseDesign(X, np.full((80, 2), 3.0), None, True)
    assert trace_huber_grid(design, factor).status == "perfect_fit"


@pytest.mark.parametrize("c", [1, 3])
def test_most_rows_fit_perfectly(c):
    X, _, _, factor = make(n=60, c=c)
    Y = X @ np.ones((3, c))
    Y[:15] += np.random.default_rng(0).standard_normal((15, c)) * 5
    design = DenseDesign(X, Y, None, True)
    trace = trace_huber_grid(design, factor, n_knots=40)
    assert np.isfinite(trace.coords).all()
    assert trace.status == "threshold_min"
    coefs = coefs_of(design, trace.coords[-1])
    np.testing.assert_allclose(coefs[1:], 1.0, atol=1e-3)
    *_, last = masks(trace, 60)
    np.testing.assert_array_equal(np.flatnonzero(last), np.arange(15))


@pytest.mark.parametrize("c", [1, 2])
def test_threshold_0(c):
    X, Y, _, factor = make(c=c)
    design = DenseDesign(X, Y, None, True)
    trace = trace_huber_grid(design, factor, thresholds=[1.0, 0.1, 0.0])
    assert trace.knots[-1] == 0
    np.testing.assert_array_equal(trace.coords[-1], trace.coords[-2])
    assert trace.rss[-1] == 0
    assert trace.n_shifted[-1] == len(Y)
    alone = trace_huber_grid(design, factor, thresholds=[0.0])
    np.testing.assert_array_equal(alone.coords[-1], alone.coords[0])


def test_as_many_rows_as_coefficients_but_one():
    X, Y, _, factor = make(n=5, p=3)
    trace = trace_huber_grid(DenseDesign(X, Y, None, True), factor)
    assert trace.n_shifted[-1] <= 2
    assert np.isfinite(trace.coords).all()


# -------------------------------------------------------------------------- invariance


@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 20),
    c=st.integers(1, 3),
)
def test_scale_and_shift_of_y_change_units_only(scale, shift, seed, c):
    X, Y, _, factor = make(seed, n=40, c=c)
    a = trace_huber_grid(DenseDesign(X, Y, None, True), factor, n_knots=5)
    moved = DenseDesign(X, scale * (Y + shift), None, True)
    b = trace_huber_grid(moved, factor, n_knots=5)
    np.testing.assert_allclose(b.knots, scale * a.knots, rtol=1e-6)
    np.testing.assert_allclose(b.rss, scale**2 * a.rss, rtol=1e-5)
    np.testing.assert_array_equal(b.n_shifted, a.n_shifted)
    np.testing.assert_array_equal(
        np.unique(b.event_row[b.event_enters]), np.unique(a.event_row[a.event_enters])
    )


@given(seed=st.integers(0, 100))
def test_order_of_rows_and_columns_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    X, Y, weight, factor = make(seed, n=60, weighted=True, factors=True)
    rows, columns = rng.permutation(60), rng.permutation(3)
    grid = [3.0, 1.5, 0.8]
    kind = (DenseDesign, StreamedDesign)[seed % 2]
    first = kind(X, Y, weight, True)
    a = trace_huber_grid(first, factor, thresholds=grid, tol=1e-11)
    second = kind(X[rows][:, columns], Y[rows], weight[rows], True)
    b = trace_huber_grid(second, factor[rows], thresholds=grid, tol=1e-11)
    found = coefs_of(second, b.coords)[:, np.append(0, 1 + np.argsort(columns))]
    np.testing.assert_allclose(found, coefs_of(first, a.coords), atol=1e-4)
    np.testing.assert_allclose(b.rss, a.rss, rtol=1e-7)


# ----------------------------------------------------------------------------- designs


def designs(X, Y, weight):
    yield StreamedDesign(X, Y, weight, True)
    yield StreamedDesign(np.asfortranarray(X), Y, weight, True)
    yield StreamedDesign(sp.csr_array(X), Y, weight, True)
    yield StreamedDesign((X[:20], X[20:]), Y, weight, True)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("c", [1, 3])
def test_designs_agree(monkeypatch, c, wide):
    X, Y, weight, factor = make(n=120, c=c, weighted=True, factors=True)
    X = np.column_stack([X, X[:, 0] - X[:, 1]])
    if wide:  # inner products as an operator, singular here
        monkeypatch.setattr(_shift_stream, "_DENSE_GRAM", 2)
    monkeypatch.setattr(_shift_stream, "_BLOCK", 200)
    dense = DenseDesign(X, Y, weight, True)
    grid = [4.0, 2.0, 1.0, 0.4]
    expected = trace_huber_grid(dense, factor, thresholds=grid, tol=1e-15)
    for design in designs(X, Y, weight):
        trace = trace_huber_grid(design, factor, thresholds=grid, tol=1e-15)
        for a, b in zip(trace.coords, expected.coords, strict=True):
            np.testing.assert_allclose(
                design.residuals(a), dense.residuals(b), atol=1e-9
            )
        np.testing.assert_allclose(trace.event_at, expected.event_at, rtol=1e-9)
        np.testing.assert_array_equal(trace.event_row, expected.event_row)
    single = StreamedDesign(X.astype(np.float32), Y, weight, True)
    trace = trace_huber_grid(single, factor, thresholds=grid)
    for a, b in zip(trace.coords, expected.coords, strict=True):
        np.testing.assert_allclose(single.residuals(a), dense.residuals(b), atol=1e-4)


def test_labels_are_one_hot_responses():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 400)
    X = rng.standard_normal((400, 6)) + np.eye(4, 6)[codes] * 2
    given_codes = np.where(rng.random(400) < 0.3, rng.integers(0, 4, 400), codes)
    labels = StreamedDesign(X, given_codes.astype(np.uint8), None, True, 4)
    dense = DenseDesign(X, np.eye(4)[given_codes], None, True)
    a = trace_huber_grid(labels, np.ones(400), tol=1e-12)
    b = trace_huber_grid(dense, np.ones(400), tol=1e-12)
    np.testing.assert_allclose(a.knots, b.knots, rtol=1e-9)
    np.testing.assert_allclose(a.rss, b.rss, rtol=1e-9)
    np.testing.assert_array_equal(a.event_row, b.event_row)


# ------------------------------------------------------------------------ acceleration


def test_anderson_solves_linear_problems_in_as_many_steps_as_unknowns():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((6, 6))
    G, right = root @ root.T + np.eye(6), rng.standard_normal((6, 1))
    acceleration, point = Anderson(depth=10), np.zeros((6, 1))
    H = G * 0.9 - 0.3 * np.diag(np.diag(G))  # x <- x + G^-1 (b - H x)
    for _ in range(8):
        score = right - H @ point
        point = acceleration.propose(point, np.linalg.solve(G, score), score)
    np.testing.assert_allclose(H @ point, right, atol=1e-8)


def test_anderson_starts_with_a_plain_step():
    acceleration, point = Anderson(), np.ones((2, 1))
    step = np.array([[1.0], [-2.0]])
    np.testing.assert_array_equal(acceleration.propose(point, step, step), point + step)
    acceleration.propose(point + step, step / 2, step / 2)
    acceleration.restart()
    np.testing.assert_array_equal(acceleration.propose(point, step, step), point + step)


def test_anderson_survives_repeated_points():
    acceleration, point = Anderson(), np.ones((3, 2))
    step = np.full((3, 2), 0.5)
    for _ in range(4):
        found = acceleration.propose(point, step, step)
        np.testing.assert_allclose(found, point + step)
