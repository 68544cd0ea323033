"""LBI on the shifts, against the plain loop and what it tends to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselbi._graph_design import GraphDesign
from sparselbi._shift_design import DenseDesign, row_norms
from sparselbi._shift_stream import StreamedDesign
from sparselbi.solvers import _shift_lbi
from sparselbi.solvers._shift_exact import trace_iss
from sparselbi.solvers._shift_lbi import trace_shift_lbi


def make_rows(n=60, p=3, c=1, seed=0, outliers=8, weighted=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 2.0
    Y = X @ rng.normal(size=(p, c)) + rng.normal(size=(n, c)) + 5.0
    Y[:outliers] += 8 * rng.choice([-1.0, 1.0], size=(outliers, c))
    weight = rng.integers(0, 4, size=n).astype(float) if weighted else None
    return X, Y, weight


def make_design(*args, **kwargs):
    X, Y, weight = make_rows(*args, **kwargs)
    return DenseDesign(X, Y, weight, True)


def plain_loop(design, v, kappa_raw, step, t0, n_steps):
    """Coordinates and shifts of every step, all rows in every step."""
    Z, Y = design.Z, design.Y
    w = np.ones(len(Y)) if design.weight is None else design.weight
    ols = np.linalg.lstsq(Z * np.sqrt(w)[:, None], Y * np.sqrt(w)[:, None])[0]
    z, shift = t0 * (Y - Z @ ols), np.zeros_like(Y)
    steps = [(t0, ols, shift, z)]
    for m in range(1, n_steps + 1):
        z = z + step * (Y - Z @ steps[-1][1] - shift)
        length = np.maximum(np.linalg.norm(z, axis=1), 1e-300)
        shift = kappa_raw * np.maximum(1 - v / length, 0)[:, None] * z
        left = (Y - shift) * np.sqrt(w)[:, None]
        coords = np.linalg.lstsq(Z * np.sqrt(w)[:, None], left)[0]
        steps.append((t0 + m * step, coords, shift, z))
    return steps


def of_loop(design, v, trace):
    info = trace.info
    n_steps = int((trace.knots[-1] - info["t0"]) / info["step_size"]) + 2
    return plain_loop(
        design, v, info["kappa_raw"], info["step_size"], info["t0"], n_steps
    )


def between(design, v, info, steps, t):
    """Coordinates and shifts at t, from the dual on a straight line."""
    k = min(int((t - info["t0"]) / info["step_size"]), len(steps) - 2)
    share = (t - steps[k][0]) / info["step_size"]
    z = (1 - share) * steps[k][3] + share * steps[k + 1][3]
    length = np.maximum(np.linalg.norm(z, axis=1), 1e-300)
    shift = info["kappa_raw"] * np.maximum(1 - v / length, 0)[:, None] * z
    if k == 0 and share == 0:
        shift = steps[0][2]
    w = 1.0 if design.weight is None else design.weight[:, None]
    return steps[0][1] - design.Z.T @ (w * shift), shift


CASES = [
    {"c": 1},
    {"c": 3},
    {"c": 1, "weighted": True},
    {"c": 2, "weighted": True, "n": 80},
]


@pytest.mark.parametrize("small", [0, 1 << 17], ids=["some rows", "all rows"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_knots_are_iterates_of_the_plain_loop(case, small, monkeypatch):
    monkeypatch.setattr(_shift_lbi, "_SMALL", small)
    monkeypatch.setattr(_shift_lbi, "_FEW", 16)
    design = make_design(**case)
    v = np.random.default_rng(1).uniform(0.7, 1.3, size=design.n_samples)
    v[5] = np.inf
    if design.weight is not None:
        v[design.weight == 0] = 5.0  # judged, but later than the others
    trace = trace_shift_lbi(design, v, kappa=8.0, t_max=None, n_knots=40)
    steps = of_loop(design, v, trace)
    shifts = trace.shifts.toarray().reshape(len(trace.knots), *design.Y.shape)
    size = np.abs(steps[0][1]).max() + np.abs(design.Y).max()
    weight = np.ones(design.n_samples) if design.weight is None else design.weight
    for k, t in enumerate(trace.knots):
        coords, shift = between(design, v, trace.info, steps, t)
        np.testing.assert_allclose(trace.coords[k], coords, atol=1e-11 * size)
        np.testing.assert_allclose(shifts[k], shift, atol=1e-10 * size)
        left = design.Y - design.Z @ trace.coords[k] - shifts[k]
        assert trace.rss[k] == pytest.approx(weight @ row_norms(left) ** 2, rel=1e-9)
        assert trace.n_shifted[k] == weight[shifts[k].any(axis=1)].sum()
    assert trace.knots[0] == trace.info["t0"]
    assert trace.knots[-1] == pytest.approx(100 * trace.info["t0"], rel=1e-12)
    assert trace.status == "t_max"
    assert trace.n_shifted[0] == 0
    assert not shifts[:, 5].any()


def test_few_rows_are_stepped_when_few_may_move():
    design = make_design(n=30_000, p=4, outliers=20)
    assert design.n_samples * design.n_coords > _shift_lbi._SMALL
    trace = trace_shift_lbi(design, np.ones(30_000), max_shifted=100)
    assert trace.info["n_sweeps"] < 0.3 * trace.n_iter
    steps = of_loop(design, np.ones(30_000), trace)
    coords, shift = between(design, np.ones(30_000), trace.info, steps, trace.knots[-1])
    np.testing.assert_allclose(trace.coords[-1], coords, atol=1e-11)
    np.testing.assert_allclose(
        trace.shifts[[-1]].toarray()[0], shift.ravel(), atol=1e-10
    )


@pytest.mark.parametrize("kappa", [10.0, 60.0])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_straight_lines_are_close_to_the_iterates(case, kappa):
    design = make_design(**case)
    v = np.ones(design.n_samples)
    t0 = 1 / design.norms(design.least_squares()).max()
    trace = trace_shift_lbi(design, v, kappa=kappa, t_max=20 * t0, n_knots=20)
    steps = of_loop(design, v, trace)
    far = size = 0.0
    for t, coords, _, _ in steps[1:]:
        if t >= trace.knots[-1]:
            break
        k = np.searchsorted(trace.knots, t)
        share = (t - trace.knots[k - 1]) / (trace.knots[k] - trace.knots[k - 1])
        line = (1 - share) * trace.coords[k - 1] + share * trace.coords[k]
        size = max(size, np.linalg.norm(coords - steps[0][1]))
        far = max(far, np.linalg.norm(line - coords) / size)
    assert far <= 0.005


@pytest.mark.parametrize("case", CASES, ids=str)
def test_events_are_where_duals_meet_their_factor(case):
    design = make_design(**case)
    v = np.full(design.n_samples, 1.0)
    trace = trace_shift_lbi(design, v, kappa=3.0, t_max=None)
    steps = of_loop(design, v, trace)
    assert (np.diff(trace.event_at) >= 0).all()
    on = np.zeros(design.n_samples, dtype=bool)
    if design.weight is not None:
        on[(design.weight == 0) & (row_norms(steps[0][3]) > 1)] = False
    info = trace.info
    for at, row, sign, enters in zip(
        trace.event_at,
        trace.event_row,
        trace.event_sign,
        trace.event_enters,
        strict=True,
    ):
        assert on[row] != enters
        on[row] = enters
        if at < info["t0"]:
            continue
        k = min(int((at - info["t0"]) / info["step_size"]), len(steps) - 2)
        share = (at - steps[k][0]) / info["step_size"]
        z = (1 - share) * steps[k][3][row] + share * steps[k + 1][3][row]
        assert np.linalg.norm(z) == pytest.approx(1.0, abs=1e-9)
        assert sign == (np.sign(z[0]) if design.n_outputs == 1 else 0)
    last = trace.shifts[[-1]].toarray().reshape(design.Y.shape)
    assert (on == last.any(axis=1)).all()


def test_one_step_may_go_to_the_other_side():
    # With a large step, a dual may pass through the whole interval.
    design = make_design(n=40, outliers=6, seed=3)
    v = np.full(40, 1.0)
    trace = trace_shift_lbi(design, v, kappa=0.02, t_max=None, n_knots=30)
    kinds = {row: [] for row in range(40)}
    for row, sign, enters in zip(
        trace.event_row, trace.event_sign, trace.event_enters, strict=True
    ):
        kinds[row].append((bool(enters), int(sign)))
    for events in kinds.values():
        for before, after in zip(events, events[1:], strict=False):
            assert before[0] != after[0]
            if before[0]:
                assert before[1] == after[1]  # it leaves with the sign it had


def test_more_damping_tends_to_least_squares_without_the_outliers():
    design = make_design(n=50, p=3, outliers=3, seed=2)
    v = np.ones(50)
    trace = trace_shift_lbi(design, v, kappa=3000.0, max_shifted=3, n_knots=200)
    rows = trace.event_row[trace.event_enters][:3]
    assert set(rows) == {0, 1, 2}
    kept = np.ones(50, dtype=bool)
    kept[rows] = False
    clean = design.least_squares(kept)
    np.testing.assert_allclose(trace.coords[-1], clean, atol=1e-6)
    left = design.residuals(clean)
    assert trace.rss[-1] == pytest.approx((left[kept] ** 2).sum(), rel=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
def test_large_kappa_is_inverse_scale_space(weighted):
    X, Y, weight = make_rows(n=30, p=2, outliers=4, weighted=weighted, seed=5)
    if weighted:
        weight += 1.0
    design = DenseDesign(X, Y, weight, True)
    v = np.ones(30)
    iss = trace_iss(design.Z, design.Y[:, 0], weight, v)
    end = iss.knots[min(6, len(iss.knots) - 1)]
    errors = []
    for kappa in (200.0, 2000.0):
        lbi = trace_shift_lbi(design, v, kappa=kappa, t_max=float(end), n_knots=50)
        entry = dict(
            zip(lbi.event_row[::-1], lbi.event_at[::-1], strict=True)  # the first one
        )
        known = [row for row in iss.event_row[iss.event_at < 0.99 * end]]
        gap = [
            abs(entry[row] / at - 1)
            for row, at in zip(iss.event_row, iss.event_at, strict=True)
            if row in known and row in entry
        ]
        assert set(known) <= set(entry)
        errors.append(max(gap))
    # An error of the order of the relaxation time, 1 / kappa.
    assert errors[0] < 20 / 200
    assert errors[1] < 0.15 * errors[0] + 1e-9


@pytest.mark.parametrize("c", [1, 2])
def test_weights_are_repeated_rows(c):
    X, Y, weight = make_rows(c=c, weighted=True)
    keep = weight > 0
    counts = weight.astype(int)
    weighted = trace_shift_lbi(DenseDesign(X, Y, weight, True), np.ones(len(X)))
    repeated = DenseDesign(np.repeat(X, counts, 0), np.repeat(Y, counts, 0), None, True)
    other = trace_shift_lbi(repeated, np.ones(counts.sum()))
    np.testing.assert_allclose(weighted.knots, other.knots, rtol=1e-9)
    np.testing.assert_allclose(weighted.rss, other.rss, rtol=1e-9)
    np.testing.assert_array_equal(weighted.n_shifted, other.n_shifted)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    mine = weighted.shifts.toarray().reshape(len(weighted.knots), len(X), c)[:, keep]
    theirs = other.shifts.toarray().reshape(len(other.knots), -1, c)[:, first[keep]]
    np.testing.assert_allclose(mine, theirs, atol=1e-9)


def test_rows_of_weight_zero_are_judged_but_have_no_say():
    X, Y, _ = make_rows(outliers=5)
    weight = np.ones(len(X))
    weight[:2] = 0.0  # beyond all rows of the fit
    Y[:2] += 30.0
    trace = trace_shift_lbi(DenseDesign(X, Y, weight, True), np.ones(len(X)))
    other = trace_shift_lbi(DenseDesign(X[2:], Y[2:], None, True), np.ones(len(X) - 2))
    np.testing.assert_allclose(trace.knots, other.knots, rtol=1e-10)
    np.testing.assert_allclose(trace.rss, other.rss, rtol=1e-9)
    np.testing.assert_array_equal(trace.n_shifted, other.n_shifted)
    early = trace.event_at < trace.knots[0]
    assert set(trace.event_row[early]) == {0, 1}
    # Where the residual of least squares meets 1 / t.
    design = DenseDesign(X, Y, weight, True)
    length = design.norms(design.least_squares())
    np.testing.assert_allclose(np.sort(trace.event_at[early]), np.sort(1 / length[:2]))


@settings(max_examples=10, deadline=None)
@given(scale=st.sampled_from([1e-6, 0.3, 17.0, 1e7]), seed=st.integers(0, 50))
def test_scale_of_y(scale, seed):
    X, Y, _ = make_rows(n=30, seed=seed, outliers=4)
    v = np.ones(30)
    one = trace_shift_lbi(DenseDesign(X, Y, None, True), v, t_max=None, n_knots=20)
    other = trace_shift_lbi(DenseDesign(X, scale * Y, None, True), v, n_knots=20)
    np.testing.assert_allclose(other.knots * scale, one.knots, rtol=1e-9)
    np.testing.assert_allclose(
        other.rss / scale**2, one.rss, rtol=1e-7, atol=1e-14 * one.rss[0]
    )
    np.testing.assert_array_equal(other.event_row, one.event_row)
    np.testing.assert_allclose(other.event_at * scale, one.event_at, rtol=1e-8)


def test_order_of_rows_does_not_matter():
    X, Y, _ = make_rows(n=50)
    order = np.random.default_rng(0).permutation(50)
    one = trace_shift_lbi(DenseDesign(X, Y, None, True), np.ones(50))
    other = trace_shift_lbi(DenseDesign(X[order], Y[order], None, True), np.ones(50))
    np.testing.assert_allclose(one.rss, other.rss, rtol=1e-9)
    np.testing.assert_array_equal(one.event_row, order[other.event_row])


def test_max_shifted_ends_the_path():
    design = make_design()
    whole = trace_shift_lbi(design, np.ones(60))
    part = trace_shift_lbi(design, np.ones(60), max_shifted=10)
    assert part.status == "max_outliers"
    assert part.n_shifted.max() == 10
    assert part.knots[-1] < whole.knots[-1]
    until = whole.event_at <= part.knots[-1]
    np.testing.assert_array_equal(part.event_row, whole.event_row[until])
    none = trace_shift_lbi(design, np.ones(60), max_shifted=0)
    assert none.knots.tolist() == [whole.info["t0"]]
    assert len(none.event_at) == 0
    again = trace_shift_lbi(design, np.ones(60), t_max=float(part.knots[-1]))
    np.testing.assert_allclose(again.coords[-1], part.coords[-1], atol=1e-12)


def test_ends_when_nothing_moves():
    # Two rows off a line that all others are on.
    X = np.arange(12.0)[:, None]
    Y = 2 * X + 1
    Y[[3, 8], 0] += 5.0, -4.0
    design = DenseDesign(X, Y, None, True)
    trace = trace_shift_lbi(design, np.ones(12), t_max=1e4)
    assert trace.status == "stationary"
    assert trace.knots[-1] < 1e3
    shift = trace.shifts[[-1]].toarray()[0]
    np.testing.assert_allclose(
        design.Y[:, 0] - design.Z @ trace.coords[-1][:, 0], shift, atol=1e-10
    )


def test_perfect_fit_shifts_nothing():
    X = np.random.default_rng(0).normal(size=(20, 3))
    trace = trace_shift_lbi(
        DenseDesign(X, X @ np.ones((3, 1)), None, True), np.ones(20)
    )
    assert trace.status == "null"
    assert trace.knots.tolist() == [0.0]
    assert trace.shifts.nnz == 0
    assert len(trace.event_at) == 0
    early = trace_shift_lbi(make_design(), np.ones(60), t_max=1e-6)
    assert early.status == "t_max"
    assert early.knots.tolist() == [1e-6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kappa": -1.0}, "kappa=-1.0 must be a positive number"),
        ({"n_knots": 1}, "n_knots=1 must be an integer of at least 2"),
        ({"t_max": 0}, "t_max=0 must be a positive number"),
        ({"max_shifted": -3}, "max_shifted=-3 must be"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        trace_shift_lbi(make_design(), np.ones(60), **arguments)


def test_streamed_design_has_the_same_path(monkeypatch):
    X, Y, _ = make_rows(n=300, p=3, c=2, outliers=20)
    v = np.ones(300)
    dense = trace_shift_lbi(DenseDesign(X, Y, None, True), v)
    streamed = StreamedDesign(X, Y, None, True)
    for room in (1 << 20, 1):  # with chosen rows, and sweep by sweep
        monkeypatch.setattr(_shift_lbi, "_SMALL", 0)
        monkeypatch.setattr(_shift_lbi, "_FEW", 16 if room > 1 else 1 << 15)
        monkeypatch.setattr(_shift_lbi, "_ROOM", room)
        trace = trace_shift_lbi(streamed, v)
        np.testing.assert_allclose(trace.knots, dense.knots, rtol=1e-8)
        np.testing.assert_allclose(trace.rss, dense.rss, rtol=1e-8)
        np.testing.assert_array_equal(trace.event_row, dense.event_row)
        difference = (trace.shifts - dense.shifts).toarray()
        assert np.abs(difference).max() < 1e-7


# ------------------------------------------------------------------- comparison graphs


def make_votes(n_items=25, n=400, seed=0, weighted=False, extra=None):
    """Votes on a graph, and the same as a dense design."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_items, n)
    pairs = np.stack([first, (first + rng.integers(1, n_items, n)) % n_items], axis=1)
    scores = rng.normal(size=n_items)
    y = scores[pairs[:, 0]] - scores[pairs[:, 1]] + 0.3 * rng.normal(size=n)
    y[: n // 10] += 5.0
    weight = rng.integers(0, 4, n).astype(float) if weighted else None
    columns = None if extra is None else rng.normal(size=(n, 2))
    graph = GraphDesign(pairs, y, weight, n_items, columns)
    return graph, DenseDesign(graph.incidence(), y[:, None], weight, False)


@pytest.mark.parametrize("extra", [None, "two columns"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("way", ["factor", "cg"])
def test_votes_on_a_graph_have_the_iterates_of_their_matrix(
    way, weighted, extra, monkeypatch
):
    # No row as wide as there are items, also where rows would be chosen.
    def refuse(self, rows):
        raise AssertionError("dense rows")

    monkeypatch.setattr(GraphDesign, "take", refuse)
    monkeypatch.setattr(_shift_lbi, "_SMALL", 0)
    graph, dense = make_votes(weighted=weighted, extra=extra)
    graph.graph._way = way
    v = np.random.default_rng(1).uniform(0.5, 1.5, 400)
    v[::40] = np.inf
    one, other = (
        trace_shift_lbi(design, v, kappa=4.0, n_knots=30, max_shifted=150)
        for design in (graph, dense)
    )
    assert one.status == other.status == "max_outliers"
    assert one.n_iter == other.n_iter > 50
    np.testing.assert_allclose(one.knots, other.knots, rtol=1e-10)
    np.testing.assert_array_equal(one.event_row, other.event_row)
    np.testing.assert_array_equal(one.event_sign, other.event_sign)
    np.testing.assert_allclose(
        one.shifts.toarray(), other.shifts.toarray(), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(one.rss, other.rss, rtol=1e-9)
    fitted = [
        np.stack([design.residuals(coords)[:, 0] for coords in trace.coords])
        for design, trace in ((graph, one), (dense, other))
    ]
    known = np.ones(400, bool)
    if graph.undetermined is not None:
        known = ~graph.undetermined
    np.testing.assert_allclose(fitted[0][:, known], fitted[1][:, known], atol=1e-9)
    assert not one.shifts.toarray()[:, ::40].any()


def test_a_path_on_a_graph_that_would_take_too_long(monkeypatch):
    graph, _ = make_votes()
    monkeypatch.setattr(_shift_lbi, "_MOST_VOTES", 400 * 100)
    with pytest.raises(ValueError, match="990 steps, .* all 400 votes") as error:
        trace_shift_lbi(graph, np.ones(400))
    advised = float(str(error.value).split("Use t_max=")[1].split(" or")[0])
    trace = trace_shift_lbi(graph, np.ones(400), t_max=0.999 * advised)
    assert trace.status == "t_max"
    assert 90 <= trace.n_iter <= 100
