"""Degrees of freedom of the shift model, against derivatives of its fits."""

from types import SimpleNamespace

import numpy as np
import pytest

from sparselbi._shift_design import DenseDesign, row_norms
from sparselbi._shift_stream import StreamedDesign
from sparselbi.solvers import _shift_freedom
from sparselbi.solvers._shift_freedom import shift_freedom


def huber_fit(design, limit):
    """Coordinates of Huber regression with these thresholds, by its fixed point."""
    coords = design.least_squares()
    weight = 1.0 if design.weight is None else design.weight[:, None]
    for _ in range(20_000):
        R = design.Y - design.Z @ coords
        kept = R * np.minimum(1, limit / np.maximum(row_norms(R), 1e-300))[:, None]
        step = design.Z.T @ (weight * kept)
        coords = coords + step
        if np.abs(step).max() < 1e-15:
            break
    return coords


def fitted(X, Y, limit):
    design = DenseDesign(X, Y, None, True)
    R = design.Y - design.Z @ huber_fit(design, limit)
    return Y - R * np.minimum(1, limit / row_norms(R))[:, None]


def divergence(X, Y, limit, h=1e-5):
    total = 0.0
    for i in range(len(Y)):
        for j in range(Y.shape[1]):
            up, down = Y.copy(), Y.copy()
            up[i, j] += h
            down[i, j] -= h
            change = fitted(X, up, limit) - fitted(X, down, limit)
            total += change[i, j] / (2 * h)
    return total


def make_trace(design, v, knots):
    coords = np.stack([huber_fit(design, knot * v) for knot in knots])
    weight = np.ones(len(v)) if design.weight is None else design.weight
    shifted = [
        weight[design.norms(B) > knot * v].sum()
        for knot, B in zip(knots, coords, strict=True)
    ]
    return SimpleNamespace(
        info={}, knots=np.array(knots), coords=coords, n_shifted=np.array(shifted)
    )


def make_data(c):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(18, 2))
    Y = 1.5 * rng.normal(size=(18, c))
    weight = rng.integers(0, 4, size=18).astype(float)
    return X, Y, weight, rng.uniform(0.8, 1.4, size=18)


@pytest.mark.parametrize("c", [1, 3])
def test_l1_is_the_divergence_of_the_fit(c):
    X, Y, weight, v = make_data(c)
    design = DenseDesign(X, Y, weight, True)
    trace = make_trace(design, v, [4.0, 1.3, 0.7])
    df, kind = shift_freedom("l1", design, v, trace)
    assert kind == "exact"
    # Each of w repeated rows has a response of its own.
    counts = weight.astype(int)
    X, Y, v = (np.repeat(part, counts, axis=0) for part in (X, Y, v))
    for knot, value in zip(trace.knots, df, strict=True):
        assert value == pytest.approx(divergence(X, Y, knot * v), rel=1e-6)
    assert trace.n_shifted[2] > 3


def test_one_response_needs_only_counts():
    X, Y, weight, v = make_data(1)
    design = DenseDesign(X, Y, weight, True)
    trace = make_trace(design, v, [4.0, 1.0])
    df, _ = shift_freedom("l1", design, v, trace)
    np.testing.assert_array_equal(df, 3 + trace.n_shifted)


@pytest.mark.parametrize("limit", ["_SIZE", "_WORK"])
def test_bound_is_an_upper_bound(limit, monkeypatch):
    X, Y, weight, v = make_data(3)
    design = DenseDesign(X, Y, weight, True)
    trace = make_trace(design, v, [50.0, 3.0, 1.3, 0.7])
    exact, _ = shift_freedom("l1", design, v, trace)
    monkeypatch.setattr(_shift_freedom, limit, 2)
    bound, kind = shift_freedom("l1", design, v, trace)
    assert kind == "upper bound"
    assert (bound[1:] > exact[1:]).all()
    assert bound[0] == exact[0] == pytest.approx(9)  # nothing is shifted
    # By hand: r c, and c - (c - 1) threshold / |r| of every shifted row.
    length = design.norms(trace.coords[2])
    ratio = 1.3 * v / length
    own = weight @ np.where(ratio < 1, 3 - 2 * ratio, 0.0)
    assert bound[2] == pytest.approx(9 + own)


def test_blocks_of_rows_add_up(monkeypatch):
    X, Y, weight, v = make_data(3)
    design = DenseDesign(X, Y, weight, True)
    trace = make_trace(design, v, [1.0])
    whole, _ = shift_freedom("l1", design, v, trace)
    monkeypatch.setattr(_shift_freedom, "_BLOCK", 1)
    parts, _ = shift_freedom("l1", design, v, trace)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@pytest.mark.parametrize("method", ["hard", "iss", "lbi"])
@pytest.mark.parametrize("c", [1, 3])
def test_other_methods_count_parameters(c, method):
    X, Y, weight, v = make_data(c)
    design = DenseDesign(X, Y, weight, True)
    trace = make_trace(design, v, [1.0])
    df, kind = shift_freedom(method, design, v, trace)
    assert kind == "approximate"
    assert df[0] == c * (3 + trace.n_shifted[0])


def test_streamed_design_agrees():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    design = DenseDesign(X, Y, None, True)
    v = np.ones(60)
    dense, kind = shift_freedom("l1", design, v, make_trace(design, v, [1.5, 0.8]))
    streamed = StreamedDesign(X, Y, None, True)
    coords = np.stack([stream_fit(streamed, knot) for knot in (1.5, 0.8)])
    trace = SimpleNamespace(knots=[1.5, 0.8], coords=coords, n_shifted=np.zeros(2))
    other, same = shift_freedom("l1", streamed, v, trace)
    assert kind == same == "exact"
    np.testing.assert_allclose(other, dense, rtol=1e-8)


def stream_fit(design, limit):
    coords = design.least_squares()

    def kept(rows, R, D):
        return R * np.minimum(1, limit / row_norms(R))[:, None]

    for _ in range(2000):
        coords = coords + design.solve(design.sweep(kept, coords))
    return coords


def test_the_bound_that_is_recorded_on_the_way_is_the_bound():
    from sparselbi.shift_problem import ShiftProblem
    from sparselbi.solvers._huber_grid import trace_huber_grid

    rng = np.random.default_rng(0)
    Y = rng.standard_t(2, size=(60, 3))
    weight = rng.integers(0, 3, 60).astype(float)
    problem = ShiftProblem(rng.normal(size=(60, 2)), Y, sample_weight=weight)
    v = rng.uniform(0.5, 2, 60)
    trace = trace_huber_grid(problem.design, v, n_knots=12)
    found, kind = shift_freedom("l1", problem.design, v, trace, exact=False)
    recorded = trace.info.pop("clipped_share")
    again, _ = shift_freedom("l1", problem.design, v, trace, exact=False)
    assert kind == "upper bound"
    assert recorded.max() > 1
    np.testing.assert_allclose(found, again, rtol=1e-9)
    exact, kind = shift_freedom("l1", problem.design, v, trace)
    assert kind == "exact"
    assert (exact <= found + 1e-9).all()
