"""Exact paths on shifts: slow twins, other libraries, closed forms and limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import lars_path, lasso_path

from sparselbi.solvers import _shift_exact
from sparselbi.solvers._shift_exact import trace_huber, trace_iss
from tests import twins_shift as twins

TRACERS = {"huber": trace_huber, "iss": trace_iss}


def comparisons(n_items, n, rng):
    """One row per comparison of two items: many rows determine nothing alone."""
    X = np.zeros((n, n_items))
    first = rng.integers(n_items, size=n)
    second = (first + 1 + rng.integers(n_items - 1, size=n)) % n_items
    X[np.arange(n), first], X[np.arange(n), second] = 1.0, -1.0
    return X


def problem(kind, seed=0, n=60, r=4):
    """Z, y, w, v of one kind; every kind has its own difficulty."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, r))
    X[:, 0] = 1.0
    y = rng.standard_t(2, size=n) + X.sum(axis=1)
    w, v = np.ones(n), np.ones(n)
    if kind == "integers":
        X = rng.integers(-1, 2, size=(n, r)).astype(float)
        X[:, 0] = 1.0
        y = rng.integers(-3, 4, size=n).astype(float)
    elif kind == "groups":
        X = np.eye(r)[np.arange(n) % r]
        y = rng.integers(0, 7, size=n).astype(float)
    elif kind == "votes":
        X, y = comparisons(r + 4, n, rng), rng.choice([-1.0, 1.0], size=n)
    elif kind == "comparisons":
        X, y = comparisons(n // 3, n, rng), rng.normal(size=n)
    elif kind == "repeated rows":
        X, y = np.repeat(X[: n // 3], 3, axis=0), np.repeat(y[: n // 3], 3)
        w, v = w[: len(y)], v[: len(y)]
    elif kind == "leverage":
        X[: n // 4, 1:] += 20.0
        y[: n // 4] += 50.0
    elif kind == "weights":
        w = rng.uniform(0.1, 3.0, size=n)
        w[::7] = 0.0
    elif kind == "factors":
        v = rng.uniform(0.2, 3.0, size=n)
        v[::7] = np.inf
    elif kind == "barely":
        X = rng.normal(size=(n, n - 2))
    return twins.orthonormal(X, w), y, w, v


KINDS = (
    *("normal", "integers", "groups", "votes", "comparisons", "repeated rows"),
    *("leverage", "weights", "factors", "barely"),
)


def assert_huber(trace, Z, y, w, v, every=1, tol=1e-9):
    """Optimal at the knots and between them; rss, counts and events agree with it."""
    coords = trace.coords[:, :, 0]
    # Where residuals have lost too many digits to be told from the threshold.
    seen = trace.knots > 1e-6 * trace.knots[0]
    shown = trace.knots[seen], coords[seen]
    assert twins.huber_path_violation(Z, y, w, v, *shown, every) <= tol
    assert (np.diff(trace.knots) < 0).all()
    assert np.isin(trace.event_at, trace.knots).all()
    state = np.zeros(len(y))
    event = 0
    for k, threshold in enumerate(trace.knots):
        r = y - Z @ coords[k]
        while event < len(trace.event_at) and trace.event_at[event] >= threshold:
            row, sign = trace.event_row[event], trace.event_sign[event]
            assert trace.event_at[event] == threshold
            assert abs(sign * r[row] - threshold * v[row]) <= 1e-9 * trace.knots[0]
            assert state[row] == (0 if trace.event_enters[event] else sign)
            state[row] = sign if trace.event_enters[event] else 0
            event += 1
        if seen[k] and k % every == 0:
            bound = threshold * v
            flat = np.minimum(np.abs(r), bound)
            np.testing.assert_allclose(trace.rss[k], w @ flat**2, rtol=1e-9)
            # Rows away from their bound are shifted according to events and count.
            clear = np.abs(np.abs(r) - bound) > 1e-9 * trace.knots[0]
            out = np.where(np.abs(r) > bound, np.sign(r), 0.0)
            np.testing.assert_array_equal(out[clear], state[clear])
            low = w[clear & (out != 0)].sum()
            high = w[(out != 0) | ~clear].sum()
            assert low - 1e-9 <= trace.n_shifted[k] <= high + 1e-9


def assert_iss(trace, Z, y, w, v, tol=1e-9):
    found = twins.iss_violations(Z, y, w, v, trace)
    assert max(found.values()) <= tol, found
    assert trace.knots[0] == 0
    assert (np.diff(trace.knots) > 0).all()


def assert_same(a, b, scale=1.0, tol=1e-9):
    """Two traces of the same path."""
    assert a.status == b.status
    np.testing.assert_allclose(a.knots, b.knots, rtol=tol, atol=tol * scale)
    assert np.abs(a.coords - b.coords).max() <= tol * max(np.abs(b.coords).max(), scale)
    np.testing.assert_array_equal(a.event_row, b.event_row)
    np.testing.assert_array_equal(a.event_sign, b.event_sign)
    np.testing.assert_array_equal(a.event_enters, b.event_enters)


def events_by_knot(trace, names):
    direction = np.sign(trace.knots[-1] - trace.knots[0])
    knot = np.searchsorted(direction * trace.knots, direction * trace.event_at)
    parts = knot, names[trace.event_row], trace.event_sign, trace.event_enters
    return sorted(zip(*(part.tolist() for part in parts), strict=True))


def huber_at(trace, threshold):
    columns = trace.coords[:, :, 0].T
    return np.array([np.interp(-threshold, -trace.knots, c) for c in columns])


# ----------------------------------------------------------------------- optimality


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_huber_is_optimal(kind, seed):
    Z, y, w, v = problem(kind, seed)
    trace = trace_huber(Z, y, w, v)
    assert trace.status == "least_absolute"
    assert trace.interpolation == "linear"
    assert trace.knots[-1] == 0
    assert_huber(trace, Z, y, w, v)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_iss_is_optimal(kind, seed):
    Z, y, w, v = problem(kind, seed)
    trace = trace_iss(Z, y, w, v, determined=False)
    assert trace.status == "least_squares"
    assert trace.interpolation == "constant"
    assert_iss(trace, Z, y, w, v)
    short = trace_iss(Z, y, w, v)
    assert_iss(short, Z, y, w, v)
    if short.status == "singular":
        end = len(short.knots)
        np.testing.assert_array_equal(short.coords, trace.coords[:end])
        np.testing.assert_allclose(short.info["next"], trace.knots[end], rtol=1e-9)
        kept = np.ones(len(y), dtype=bool)
        for row, at in zip(trace.event_row, trace.event_at, strict=True):
            kept[row] ^= at <= trace.knots[end]
        assert np.linalg.matrix_rank(Z[kept & (w > 0)]) < Z.shape[1]
    else:
        assert_same(short, trace)


def test_many_rows_between_anchors():
    Z, y, w, v = problem("normal", n=4000, r=8)
    trace = trace_huber(Z, y, w, v)
    assert 4 < trace.info["n_anchors"] < 200
    assert_huber(trace, Z, y, w, v, every=41)
    trace = trace_iss(Z, y, w, v)
    assert 4 < trace.info["n_anchors"] < 200
    assert_iss(trace, Z, y, w, v)


@pytest.mark.parametrize("method", TRACERS)
@pytest.mark.parametrize("kind", ["normal", "leverage", "weights", "factors"])
def test_untracked_rows_change_nothing(kind, method, monkeypatch):
    Z, y, w, v = problem(kind, n=500)
    trace = TRACERS[method](Z, y, w, v)
    assert trace.info["n_anchors"] > 4
    monkeypatch.setattr(_shift_exact, "_TRACKED", 1e9)
    whole = TRACERS[method](Z, y, w, v)
    assert whole.info["n_anchors"] < trace.info["n_anchors"]
    assert_same(trace, whole)


# ---------------------------------------------------------------------------- twins


@pytest.mark.parametrize("kind", ["normal", "leverage", "weights", "factors"])
def test_huber_agrees_with_newton(kind):
    Z, y, w, v = problem(kind, seed=5)
    trace = trace_huber(Z, y, w, v)
    for share in (1.0, 0.7, 0.3, 0.1, 0.03):
        threshold = share * trace.knots[0]
        slow = twins.huber_fit(Z, y, w, v, threshold)
        np.testing.assert_allclose(huber_at(trace, threshold), slow, atol=1e-9)


@pytest.mark.parametrize(
    "kind", ["normal", "integers", "leverage", "weights", "factors"]
)
def test_iss_agrees_with_signed_least_squares(kind):
    Z, y, w, v = problem(kind, seed=3, n=40)
    trace = trace_iss(Z, y, w, v)
    slow = twins.slow_iss(Z, y, w, v, min(25, len(trace.knots)))
    end = len(slow.knots)
    np.testing.assert_allclose(trace.knots[:end], slow.knots, rtol=1e-8)
    np.testing.assert_allclose(trace.coords[:end, :, 0], slow.coords, atol=1e-8)
    np.testing.assert_allclose(trace.rss[:end], slow.net**2 @ w, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("method", TRACERS)
def test_rows_leave_and_return(method):
    """Also with the other sign."""
    returned = 0
    for seed in range(10):
        Z, y, w, v = problem("factors", seed, n=30, r=3)
        trace = TRACERS[method](Z, y, w, v)
        enters = trace.event_enters
        for row in np.unique(trace.event_row[~enters]):
            signs = trace.event_sign[enters & (trace.event_row == row)]
            returned += len(set(signs)) == 2
        (assert_huber if method == "huber" else assert_iss)(trace, Z, y, w, v)
    assert returned > 10


# ------------------------------------------------------------------ other libraries


def test_huber_is_the_lasso_on_residual_space():
    Z, y, _, v = problem("normal", n=25, r=3)
    trace = trace_huber(Z, y, None, v)
    n = len(y)
    project = np.eye(n) - Z @ Z.T
    share = np.array([0.8, 0.5, 0.3, 0.15])
    thresholds = share * trace.knots[0]
    _, shifts, _ = lasso_path(
        project, project @ y, alphas=thresholds / n, tol=1e-14, max_iter=10**6
    )
    for threshold, shift in zip(thresholds, shifts.T, strict=True):
        r = y - Z @ huber_at(trace, threshold)
        expected = np.sign(r) * np.maximum(np.abs(r) - threshold, 0)
        np.testing.assert_allclose(shift, expected, atol=1e-6 * trace.knots[0])


def test_huber_events_are_those_of_lars():
    Z, y, _, v = problem("normal", n=25, r=3)
    trace = trace_huber(Z, y, None, v)
    n = len(y)
    project = np.eye(n) - Z @ Z.T
    alphas, active, _ = lars_path(project, y, method="lasso", max_iter=10)
    np.testing.assert_allclose(n * alphas[:10], trace.knots[:10], rtol=1e-9)
    assert trace.event_enters[:10].all()
    np.testing.assert_array_equal(active, trace.event_row[:10])


@pytest.mark.parametrize("kind", ["normal", "leverage", "factors"])
def test_threshold_zero_is_least_absolute_deviations(kind):
    Z, y, w, v = problem(kind, seed=2)
    v = np.where(np.isfinite(v), v, 1.0)
    w = w * np.random.default_rng(0).uniform(0.5, 2.0, size=len(y))
    Z = twins.orthonormal(Z, w)
    trace = trace_huber(Z, y, w, v)
    coords, value = twins.absolute_deviations(Z, y, w, v)
    last = trace.coords[-1, :, 0]
    np.testing.assert_allclose(w * v @ np.abs(y - Z @ last), value, rtol=1e-9)
    np.testing.assert_allclose(last, coords, atol=1e-7)
    assert trace.rss[-1] <= 1e-20
    assert trace.n_shifted[-1] == pytest.approx(
        w.sum() - w[np.abs(y - Z @ last) < 1e-9].sum()
    )


@pytest.mark.parametrize("kind", ["groups", "votes", "comparisons", "integers"])
def test_threshold_zero_where_it_is_not_unique(kind):
    Z, y, w, v = problem(kind, seed=1)
    trace = trace_huber(Z, y, w, v)
    _, value = twins.absolute_deviations(Z, y, w, v)
    last = trace.coords[-1, :, 0]
    np.testing.assert_allclose(np.abs(y - Z @ last).sum(), value, rtol=1e-9)


# --------------------------------------------------------------------- closed forms

LOCATION = np.full((4, 1), 0.5)


def test_location_by_hand():
    """Mean 26.5; row 3 leaves; 2 + threshold / 3; row 0 leaves; 3; then any median."""
    y = np.array([0.0, 1.0, 5.0, 100.0])
    trace = trace_huber(LOCATION, y, None, np.ones(4))
    np.testing.assert_allclose(trace.knots, [73.5, 3, 2, 0], atol=1e-12)
    np.testing.assert_allclose(trace.coords.ravel() / 2, [26.5, 3, 3, 3], atol=1e-12)
    np.testing.assert_allclose(trace.event_at, [73.5, 3, 2, 2], atol=1e-12)
    assert trace.event_row.tolist() == [3, 0, 1, 2]
    assert trace.event_sign.tolist() == [1, -1, -1, 1]
    assert trace.n_shifted.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(trace.info["not_unique"], 2)

    trace = trace_iss(LOCATION, y, None, np.ones(4))
    np.testing.assert_allclose(trace.knots, [0, 1 / 73.5, 1 / 3], rtol=1e-12)
    np.testing.assert_allclose(trace.coords.ravel() / 2, [26.5, 2, 3], rtol=1e-12)
    np.testing.assert_allclose(trace.rss, [7217, 14, 8], rtol=1e-12)
    assert trace.status == "singular"
    np.testing.assert_allclose(trace.info["next"], 1 / 2, rtol=1e-12)


def test_a_perfect_fit_of_the_rest():
    y = np.array([3.0, 3.0, 7.0, 3.0])
    trace = trace_huber(LOCATION, y, None, np.ones(4))
    np.testing.assert_allclose(trace.knots, [3, 0], atol=1e-14)
    np.testing.assert_allclose(trace.coords.ravel() / 2, [4, 3], atol=1e-14)
    trace = trace_iss(LOCATION, y, None, np.ones(4))
    assert trace.status == "least_squares"
    np.testing.assert_allclose(trace.knots, [0, 1 / 3], rtol=1e-14)
    np.testing.assert_allclose(trace.rss, [12, 0], atol=1e-25)
    assert trace.event_row.tolist() == [2]


@pytest.mark.parametrize("method", TRACERS)
def test_groups_do_not_see_each_other(method):
    rng = np.random.default_rng(4)
    label = rng.integers(3, size=41)
    y = rng.standard_t(2, size=41)
    v = rng.uniform(0.5, 2.0, size=41)
    Z = twins.orthonormal(np.eye(3)[label])
    joint = TRACERS[method](Z, y, None, v)
    events = []
    for group in range(3):
        rows = np.flatnonzero(label == group)
        alone = np.full((len(rows), 1), len(rows) ** -0.5)
        trace = TRACERS[method](alone, y[rows], None, v[rows])
        events += list(
            zip(trace.event_at, rows[trace.event_row], trace.event_sign, strict=True)
        )
    events = np.array(sorted(events, reverse=method == "huber"))
    np.testing.assert_allclose(joint.event_at, events[:, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(joint.event_row, events[:, 1])
    np.testing.assert_array_equal(joint.event_sign, events[:, 2])


# ---------------------------------------------------------------------- invariances


@pytest.mark.parametrize("method", TRACERS)
def test_weights_are_repeated_rows(method):
    rng = np.random.default_rng(8)
    w = rng.integers(1, 4, size=40).astype(float)
    X, y = rng.normal(size=(40, 3)), rng.standard_t(2, size=40)
    v = rng.uniform(0.5, 2.0, size=40)
    Z = twins.orthonormal(X, w)
    copies = np.repeat(np.arange(40), w.astype(int))
    one = TRACERS[method](Z, y, w, v)
    all_ = TRACERS[method](np.ascontiguousarray(Z[copies]), y[copies], None, v[copies])
    np.testing.assert_allclose(one.knots, all_.knots, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.coords, all_.coords, atol=1e-9)
    np.testing.assert_allclose(one.rss, all_.rss, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.n_shifted, all_.n_shifted)
    assert w[one.event_row].sum() == len(all_.event_row)


@pytest.mark.parametrize("method", TRACERS)
def test_rows_without_weight_are_judged_but_not_fitted(method):
    Z, y, w, v = problem("weights", seed=6)
    trace = TRACERS[method](Z, y, w, v)
    fitted = w > 0
    alone = TRACERS[method](
        np.ascontiguousarray(Z[fitted]), y[fitted], w[fitted], v[fitted]
    )
    stays = fitted[trace.event_row]
    np.testing.assert_array_equal(
        trace.event_row[stays], np.flatnonzero(fitted)[alone.event_row]
    )
    np.testing.assert_allclose(trace.event_at[stays], alone.event_at, rtol=1e-9)
    assert set(np.flatnonzero(~fitted)) & set(trace.event_row)
    assert trace.n_shifted[-1] == pytest.approx(alone.n_shifted[-1])


@pytest.mark.parametrize("method", TRACERS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    factor=st.sampled_from([1.0, -1.0, 1e-12, 3.7, -1e12]),
    shift=st.sampled_from([0.0, 1.0, -50.0]),
    kind=st.sampled_from(["normal", "leverage", "weights", "factors"]),
)
def test_equivariance(method, seed, factor, shift, kind):
    """y -> factor y + Z b, another order of the rows, and other axes of the space."""
    Z, y, w, v = problem(kind, seed, n=30, r=3)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    b = shift * rng.normal(size=3)
    a = TRACERS[method](Z, y, w, v)
    c = TRACERS[method](
        np.ascontiguousarray((Z @ turn)[order]),
        (factor * (y + Z @ b))[order],
        w[order],
        v[order],
    )
    assert a.status == c.status
    unit = abs(factor) if method == "huber" else 1 / abs(factor)
    # Late knots of ISS come from small residuals, known to fewer digits.
    np.testing.assert_allclose(
        c.knots, unit * a.knots, rtol=1e-7, atol=1e-9 * unit * (method == "huber")
    )
    np.testing.assert_allclose(
        c.coords[:, :, 0] / factor, (a.coords[:, :, 0] + b) @ turn, atol=1e-8
    )
    c.event_sign = (np.sign(factor) * c.event_sign).astype(int)
    assert events_by_knot(c, order) == events_by_knot(a, np.arange(len(y)))


@pytest.mark.parametrize("method", TRACERS)
@pytest.mark.parametrize("kind", ["integers", "groups", "votes", "repeated rows"])
def test_ties_do_not_depend_on_the_order_of_rows(kind, method):
    for seed in range(8):
        Z, y, w, v = problem(kind, seed, n=48)
        order = np.random.default_rng(seed).permutation(len(y))
        a = TRACERS[method](Z, y, w, v)
        b = TRACERS[method](np.ascontiguousarray(Z[order]), y[order], None, v)
        assert a.status == b.status
        np.testing.assert_allclose(a.knots, b.knots, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(a.coords, b.coords, atol=1e-8)
        assert events_by_knot(a, np.arange(len(y))) == events_by_knot(b, order)


# ----------------------------------------------------------------------------- ends


@pytest.mark.parametrize("kind", ["normal", "integers", "weights"])
@pytest.mark.parametrize("limit", [0, 1, 7.5, 20])
def test_max_shifted(kind, limit):
    Z, y, w, v = problem(kind, seed=1)
    whole = trace_huber(Z, y, w, v)
    trace = trace_huber(Z, y, w, v, max_shifted=limit)
    assert trace.status == "max_outliers"
    end = len(trace.knots)
    np.testing.assert_allclose(trace.knots, whole.knots[:end], rtol=1e-12)
    np.testing.assert_allclose(trace.coords, whole.coords[:end], atol=1e-11)
    assert trace.n_shifted.max() <= limit + 1e-9
    # Right below the last knot there would be more.
    assert whole.n_shifted[end] + 1e-9 >= trace.n_shifted[-1]
    between = (whole.knots[end - 1] + whole.knots[end]) / 2
    r = y - Z @ huber_at(whole, between)
    assert w[np.abs(r) > between * v].sum() > limit
    assert not (trace.event_enters & (trace.event_at == trace.knots[-1])).any()

    whole = trace_iss(Z, y, w, v, determined=False)
    trace = trace_iss(Z, y, w, v, max_shifted=limit, determined=False)
    assert trace.status == "max_outliers"
    end = len(trace.knots)
    np.testing.assert_array_equal(trace.coords, whole.coords[:end])
    assert trace.n_shifted.max() <= limit + 1e-9 < whole.n_shifted[end]
    np.testing.assert_allclose(trace.info["next"], whole.knots[end])


def test_threshold_min_and_t_max():
    Z, y, w, v = problem("normal")
    whole = trace_huber(Z, y, w, v)
    end = 0.3 * whole.knots[0]
    trace = trace_huber(Z, y, w, v, threshold_min=end)
    assert trace.status == "threshold_min"
    assert trace.knots[-1] == end
    np.testing.assert_allclose(trace.coords[-1, :, 0], huber_at(whole, end), atol=1e-11)
    assert_huber(trace, Z, y, w, v)
    trace = trace_huber(Z, y, w, v, threshold_min=2 * whole.knots[0])
    assert (trace.status, len(trace.event_at)) == ("threshold_min", 0)
    np.testing.assert_array_equal(trace.knots, whole.knots[:1])

    whole = trace_iss(Z, y, w, v)
    end = 1.01 * whole.knots[5]
    trace = trace_iss(Z, y, w, v, t_max=end)
    assert trace.status == "t_max"
    assert trace.knots[-1] == end
    k = np.searchsorted(whole.knots, end) - 1
    np.testing.assert_array_equal(trace.coords[-1], whole.coords[k])
    trace = trace_iss(Z, y, w, v, t_max=0.5 * whole.knots[1])
    assert trace.knots.tolist() == [0, 0.5 * whole.knots[1]]
    assert len(trace.event_at) == 0
    # An end at an event includes it.
    trace = trace_iss(Z, y, w, v, t_max=whole.knots[5])
    assert trace.knots[-1] == whole.knots[5] == trace.event_at[-1]


# ----------------------------------------------------------------------- degenerate


@pytest.mark.parametrize("method", TRACERS)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_perfect_fits(method, scale):
    Z, y, w, v = problem("normal")
    coords = scale * np.arange(1.0, 5.0)
    for response in (Z @ coords, np.zeros(len(y))):
        trace = TRACERS[method](Z, response, w, v)
        assert trace.status == "null"
        assert trace.knots.tolist() == [0]
        assert len(trace.event_at) == 0
        np.testing.assert_allclose(
            trace.coords[0, :, 0], Z.T @ response, atol=1e-14 * scale
        )
    # Nothing may be shifted.
    trace = TRACERS[method](Z, y, w, np.full(len(y), np.inf))
    assert trace.status == "null"
    np.testing.assert_allclose(trace.rss[0], np.sum((y - Z @ (Z.T @ y)) ** 2))


@pytest.mark.parametrize("method", TRACERS)
def test_a_row_that_alone_determines_a_direction(method):
    """Its residual is 0 whatever happens, and the others do not see it."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(30, 3))
    X[:, 2] = 0.0
    X[11, 2] = 1.0
    y = rng.standard_t(2, size=30)
    Z = twins.orthonormal(X)
    trace = TRACERS[method](Z, y, None, np.ones(30))
    assert 11 not in trace.event_row
    rest = np.delete(np.arange(30), 11)
    Z = twins.orthonormal(X[rest, :2])
    alone = TRACERS[method](Z, y[rest], None, np.ones(29))
    np.testing.assert_allclose(trace.knots, alone.knots, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(trace.event_row, rest[alone.event_row])


@pytest.mark.parametrize("method", TRACERS)
def test_only_rows_without_weight_deviate(method):
    Z, _, w, v = problem("weights")
    y = Z @ np.arange(1.0, 5.0)
    y[w == 0] += np.arange(1.0, (w == 0).sum() + 1)
    trace = TRACERS[method](Z, y, w, v)
    assert set(trace.event_row) == set(np.flatnonzero(w == 0))
    np.testing.assert_allclose(trace.coords[-1], trace.coords[0], atol=1e-12)
    sizes = np.sort(np.arange(1.0, (w == 0).sum() + 1))[::-1]
    expected = sizes if method == "huber" else 1 / sizes
    np.testing.assert_allclose(trace.event_at, expected, rtol=1e-12)
    assert trace.n_shifted.max() == 0
