"""Huber fits as starts of hard thresholding, on comparisons."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from sparselbi._feature_design import FeatureDesign
from sparselbi._graph_design import GraphDesign
from sparselbi._shift_design import DenseDesign, SingularFit
from sparselbi.scales import mad_scale
from sparselbi.solvers._hard_start import huber_start, mad_of_fit
from sparselbi.solvers._shift_hard import default_thresholds, hard_fits, trace_hard


def votes(seed=0, n_items=20, n=400, share=0.2, noise=0.3):
    """Pairs, y, which votes are wrong by 6 to 9, and features of the items."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_items, n)
    pairs = np.stack([first, (first + rng.integers(1, n_items, n)) % n_items], axis=1)
    features = rng.normal(size=(n_items, 3))
    scores = features @ [1.0, -2.0, 0.5]
    y = scores[pairs[:, 0]] - scores[pairs[:, 1]] + noise * rng.normal(size=n)
    wrong = rng.random(n) < share
    y[wrong] += rng.choice([-1, 1], wrong.sum()) * rng.uniform(6, 9, wrong.sum())
    return pairs, y, wrong, features


def designs(pairs, y, n_items, weight=None, extra=None, way=None):
    """The same votes as a graph and in memory."""
    graph = GraphDesign(pairs, y, weight, n_items, extra)
    if way is not None:
        graph.graph._way = way
    return graph, DenseDesign(graph.incidence(), y[:, None], weight, False)


def masks(trace, n):
    """Which votes are shifted at each knot, from the events."""
    shifted = np.zeros((len(trace.knots), n), dtype=bool)
    for at, row, enters in zip(
        trace.event_at, trace.event_row, trace.event_enters, strict=True
    ):
        shifted[trace.knots <= at, row] = enters
    return shifted


def objective_gradient(design, start, factor):
    w = np.ones(design.n_samples) if design.weight is None else design.weight
    Z, Y = design.take(np.arange(design.n_samples))
    R = (Y - Z @ start.coords)[:, 0]
    limit = start.threshold * factor
    shifted = np.abs(R) > limit
    return Z.T @ (w * np.clip(R, -limit, limit)), w @ shifted, w @ np.abs(R)


# ------------------------------------------------------------------------------- scale


def test_scale_without_the_rows_that_are_explained():
    norms = np.array([5.0, 0.0, 2.0, 1e-12, 3.0, 4.0, 1.0])
    assert mad_of_fit(norms, 0) == mad_scale(norms)
    assert mad_of_fit(norms, 2) == mad_scale([1.0, 2.0, 3.0, 4.0, 5.0])
    weight = np.array([1.0, 3.0, 2.0, 1.0, 0.0, 2.0, 4.0])
    # 4 of the 13 are explained; 5 is half way between 1 and 4.
    assert mad_of_fit(norms, 4, weight) == mad_of_fit(
        norms.repeat(weight.astype(int)), 4
    )


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 4)), min_size=3, max_size=9))
def test_weights_of_the_scale_are_repetitions(rows):
    norms, weight = (np.array(part, dtype=float) for part in zip(*rows, strict=True))
    again = norms.repeat(weight.astype(int))
    for rank in range(len(again)):
        found = mad_of_fit(norms, rank, weight)
        assert found == pytest.approx(mad_of_fit(again, rank), abs=1e-12)


@pytest.mark.parametrize("n", [60, 120, 2000])
def test_scale_of_normal_noise(n):
    # Also where there are only 1.5 or 3 votes for each item.
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 40, n)
        pairs = np.stack([first, (first + rng.integers(1, 40, n)) % 40], axis=1)
        design = GraphDesign(pairs, rng.normal(size=n), None, 40)
        found.append(huber_start(design, np.ones(n)).scale)
    assert 0.85 < np.mean(found) < 1.1


# --------------------------------------------------------------------------------- fit


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("kind", ["graph", "dense", "features"])
def test_a_huber_fit_that_shifts_half_of_what_can_be_told(kind, weights):
    pairs, y, _, features = votes()
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 4, len(y)).astype(float) if weights else None
    if kind == "features":
        design = FeatureDesign(pairs, y, weight, features)
    else:
        design = designs(pairs, y, 20, weight)[kind == "dense"]
    factor = rng.uniform(0.8, 1.2, len(y))
    start = huber_start(design, factor, tol=1e-12)
    gradient, shifted, absolute = objective_gradient(design, start, factor)
    size = np.sqrt(design.total_weight) * start.threshold
    np.testing.assert_allclose(gradient, 0, atol=1e-5 * size)
    half = (design.total_weight - design.n_coords) / 2
    assert shifted == pytest.approx(half, rel=0.05)
    assert start.status == "converged"
    assert start.exact_fit is None
    w = np.ones(len(y)) if weight is None else weight
    norms = design.norms(start.coords)
    assert start.scale == mad_of_fit(norms, design.n_coords, w)


def test_close_to_least_absolute_deviations():
    pairs, y, _, _ = votes(1, n_items=8, n=120)
    design = designs(pairs, y, 8)[1]
    start = huber_start(design, np.ones(120))
    Z, n, r = design.Z, 120, design.n_coords
    cost = np.concatenate([np.zeros(r), np.ones(2 * n)])
    equations = np.hstack([Z, np.eye(n), -np.eye(n)])
    bounds = [(None, None)] * r + [(0, None)] * (2 * n)
    least = linprog(cost, A_eq=equations, b_eq=y, bounds=bounds).fun
    assert least <= np.abs(y - Z @ start.coords[:, 0]).sum() <= 1.01 * least


def test_designs_agree():
    pairs, y, _, _ = votes(2)
    one, other = designs(pairs, y, 20)
    starts = [huber_start(d, np.ones(400), tol=1e-12) for d in (one, other)]
    coefs = [d.to_coefs(s.coords)[0] for d, s in zip((one, other), starts, strict=True)]
    np.testing.assert_allclose(coefs[0], coefs[1][..., :20], atol=1e-5)
    assert starts[0].scale == pytest.approx(starts[1].scale, rel=1e-5)


def test_too_few_rows():
    pairs = np.array([[0, 1], [1, 2]])
    design = GraphDesign(pairs, np.ones(2), None, 3)
    with pytest.raises(SingularFit, match="total weight 2 .* 2 coordinates"):
        huber_start(design, np.ones(2))


# -------------------------------------------------------------------------- exact fits


def test_noiseless_votes_with_gross_errors():
    pairs, y, wrong, _ = votes(4, share=0.3, noise=0.0)
    for design in designs(pairs, y, 20):
        start = huber_start(design, np.ones(400))
        assert start.status == "exact_fit"
        assert start.scale == 0
        np.testing.assert_array_equal(start.exact_fit, ~wrong)
        trace = trace_hard(
            design,
            np.ones(400),
            start,
            thresholds=default_thresholds(design, np.ones(400), start),
        )
        assert trace.status == "exact_fit"
        np.testing.assert_array_equal(masks(trace, 400)[-1], wrong)


def test_majorities_on_a_tree():
    pairs = np.array([[0, 1]] * 10 + [[1, 2]] * 10 + [[3, 1]] * 5)
    y = np.ones(25)
    lost = [0, 3, 4, 12, 21, 22]  # 3 of 10, 1 of 10, 2 of 5
    y[lost] = -1.0
    design = GraphDesign(pairs, y, None, 4)
    start = huber_start(design, np.ones(25))
    assert (start.scale, start.status) == (0.0, "exact_fit")
    assert np.flatnonzero(~start.exact_fit).tolist() == lost
    scores = design.to_coefs(start.coords)[0][0, :4]
    np.testing.assert_allclose(scores, [0.75, -0.25, -1.25, 0.75], atol=1e-12)


def test_an_item_that_the_explained_votes_do_not_reach():
    # Item 2 has one vote for and one against it.
    pairs = np.array([[0, 1]] * 10 + [[2, 0], [0, 2]])
    design = GraphDesign(pairs, np.ones(12), None, 3)
    start = huber_start(design, np.ones(12))
    assert start.status == "exact_fit"
    assert np.flatnonzero(~start.exact_fit).tolist() == [10, 11]
    scores = design.to_coefs(start.coords)[0][0]
    assert scores[2] == pytest.approx(scores[0], abs=1e-5)
    grid = default_thresholds(design, np.ones(12), start)
    trace = trace_hard(design, np.ones(12), start, thresholds=grid)
    assert trace.status == "singular"
    assert "in 2 pieces" in trace.message
    assert not masks(trace, 12)[-1].any()


def test_perfect_votes():
    pairs, _, _, features = votes(5)
    y = features[pairs[:, 0], 0] - features[pairs[:, 1], 0]
    for design in (*designs(pairs, y, 20), FeatureDesign(pairs, y, None, features)):
        start = huber_start(design, np.ones(400))
        assert start.status == "exact_fit"
        assert start.exact_fit.all()


# ----------------------------------------------------------------------- the whole way


@pytest.mark.parametrize("extra", [None, "bias"])
@pytest.mark.parametrize("kind", ["factor", "cg", "dense", "features"])
def test_wrong_votes_are_found(kind, extra):
    pairs, y, wrong, features = votes(6, share=0.3)
    columns = None if extra is None else np.ones((400, 1))
    if kind == "features":
        design = FeatureDesign(pairs, y, None, features, columns)
    elif kind == "dense":
        design = designs(pairs, y, 20, extra=columns)[1]
    else:
        design = designs(pairs, y, 20, extra=columns, way=kind)[0]
    start = huber_start(design, np.ones(400))
    assert start.scale < 1.0
    trace = trace_hard(design, np.ones(400), start, thresholds=[5.0, 4.0])
    np.testing.assert_array_equal(masks(trace, 400)[-1], wrong)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("way", ["factor", "cg"])
def test_paths_on_graphs_are_those_in_memory(way, weights):
    pairs, y, _, _ = votes(7, n_items=30, n=500)
    weight = None
    if weights:
        weight = np.random.default_rng(0).integers(0, 4, 500).astype(float)
    graph, dense = designs(pairs, y, 30, weight, way=way)
    factor = np.random.default_rng(1).uniform(0.7, 1.3, 500)
    factor[::50] = np.inf
    starts = [huber_start(d, factor, tol=1e-12) for d in (graph, dense)]
    grid = default_thresholds(graph, factor, starts[0], 25)
    one, other = (
        trace_hard(d, factor, start, thresholds=grid)
        for d, start in zip((graph, dense), starts, strict=True)
    )
    assert one.status == other.status
    np.testing.assert_array_equal(one.knots, other.knots)
    np.testing.assert_array_equal(masks(one, 500), masks(other, 500))
    np.testing.assert_array_equal(one.event_sign, other.event_sign)
    np.testing.assert_allclose(one.rss, other.rss, rtol=1e-9)
    assert not masks(one, 500)[:, ::50].any()
    # Least squares of what is kept, whose residuals are within the threshold.
    for k, threshold in enumerate(one.knots):
        kept = ~masks(one, 500)[k]
        np.testing.assert_allclose(
            graph.norms(one.coords[k]),
            graph.norms(graph.least_squares(kept)),
            atol=1e-9,
        )
        inside = graph.norms(one.coords[k]) <= threshold * factor
        np.testing.assert_array_equal(inside, kept)


@pytest.mark.parametrize("extra", [None, "bias"])
@pytest.mark.parametrize("way", ["factor", "cg"])
def test_the_path_ends_where_votes_do_not_connect_the_items(way, extra):
    pairs, y, wrong, _ = votes(8, share=0.05)
    # A new item: two votes that contradict each other, less than wrong ones do.
    pairs = np.vstack([pairs, [[20, 0], [20, 0]]])
    y = np.append(y, [3.0, -3.0])
    columns = None if extra is None else np.ones((402, 1))
    design = designs(pairs, y, 21, extra=columns, way=way)[0]
    start = huber_start(design, np.ones(402))
    grid = default_thresholds(design, np.ones(402), start)
    trace = trace_hard(design, np.ones(402), start, thresholds=grid)
    assert trace.status == "singular"
    assert "leave the items in 2 pieces" in trace.message
    np.testing.assert_array_equal(masks(trace, 402)[-1, :400], wrong)
    assert not masks(trace, 402)[:, 400:].all(axis=1).any()
    assert 2 < len(trace.knots) < len(grid)


def test_bridges_are_never_dropped():
    pairs, y, _, _ = votes(9)
    pairs = np.vstack([pairs, [[20, 0]]])
    y = np.append(y, 100.0)
    design = designs(pairs, y, 21, way="cg")[0]
    factor = np.where(design.bridges, np.inf, 1.0)
    assert np.flatnonzero(design.bridges).tolist() == [400]
    start = huber_start(design, factor)
    grid = default_thresholds(design, factor, start)
    trace = trace_hard(design, factor, start, thresholds=grid, max_shifted=200)
    assert not masks(trace, 401)[:, 400].any()
    scores = design.to_coefs(trace.coords)[0][:, 0]
    np.testing.assert_allclose(scores[:, 20] - scores[:, 0], 100.0, atol=1e-9)


def test_no_rows_as_wide_as_the_items(monkeypatch):
    pairs, y, _, _ = votes(10)
    design = designs(pairs, y, 20, way="cg")[0]

    def refuse(self, rows):
        raise AssertionError("dense rows")

    monkeypatch.setattr(GraphDesign, "take", refuse)
    start = huber_start(design, np.ones(400))
    trace = trace_hard(design, np.ones(400), start, thresholds=[3.0, 1.0])
    assert len(trace.event_row)
    assert sparse.issparse(design.take_sparse([0])[0])


def test_fits_on_a_graph_are_chosen_by_its_way():
    pairs, y, _, _ = votes(11)
    for way, name in (("cg", "_FitsOnGraph"), ("factor", "_Fits")):
        design = designs(pairs, y, 20, way=way)[0]
        start = huber_start(design, np.ones(400))
        assert type(hard_fits(design, np.ones(400), start)).__name__ == name
