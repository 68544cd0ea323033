"""Votes as a design against dense linear algebra on their incidence matrix."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from sparselbi import _comparison_graph
from sparselbi._comparison_graph import ComparisonGraph, edges_of
from sparselbi._graph_design import GraphDesign
from sparselbi._shift_design import DenseDesign, SingularFit
from sparselbi.solvers._huber_grid import trace_huber_grid

EXTRAS = (None, "bias", "workers", "sparse workers")


def make(seed=0, n_items=9, n=40, weights=False, extra=None):
    """Pairs, y, weights and further columns."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_items, n)
    pairs = np.stack([first, (first + rng.integers(1, n_items, n)) % n_items], axis=1)
    weight = rng.integers(0, 4, n).astype(float) if weights else None
    columns = None
    if extra == "bias":
        columns = np.ones((n, 1))
    elif extra is not None:  # with their sum: one direction less than columns
        columns = np.column_stack([np.ones(n), np.eye(3)[rng.integers(0, 3, n)]])
        columns = sp.csr_array(columns) if extra == "sparse workers" else columns
    return pairs, rng.normal(size=n), weight, columns


def matrix(pairs, n_items, extra=None):
    """The design as a dense matrix, (n, n_items + n_extra)."""
    C = np.zeros((len(pairs), n_items))
    np.add.at(C, (np.arange(len(pairs)), pairs[:, 0]), 1.0)
    np.add.at(C, (np.arange(len(pairs)), pairs[:, 1]), -1.0)
    if extra is None:
        return C
    return np.hstack([C, extra.toarray() if sp.issparse(extra) else extra])


def hat(A, w):
    """Matrix of the weighted least-squares fit, (n, n)."""
    root = np.sqrt(w)[:, None]
    return A @ np.linalg.pinv(A * root, rcond=1e-10) * root.T


def chain_of_cycles(n_items, rng):
    """Cycles of 3 to 6 items, each connected with the next one by a bridge."""
    pairs, start = [], 0
    while start + 6 <= n_items:
        length = int(rng.integers(3, 7))
        cycle = start + np.arange(length)
        pairs += list(zip(cycle, np.roll(cycle, 1), strict=True))
        if start:
            pairs.append((start, start - 1))
        start += length
    return np.array(pairs), start


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_everything_is_that_of_the_matrix(extra, weights, seed):
    n_items = 9 if seed else 25  # seed 0: many components
    pairs, y, weight, columns = make(seed, n_items, weights=weights, extra=extra)
    n = len(y)
    design = GraphDesign(pairs, y, weight, n_items, columns)
    A = matrix(pairs, n_items, columns)
    w = np.ones(n) if weight is None else weight
    rank = np.linalg.matrix_rank(A * np.sqrt(w)[:, None])
    assert design.n_coords == rank
    known = np.ones(n, bool)
    if design.undetermined is not None:
        known = ~design.undetermined
        new = [np.linalg.matrix_rank(np.vstack([A[w > 0], row])) for row in A]
        np.testing.assert_array_equal(known, np.array(new) == rank)
    H = hat(A, w)
    found = design.residuals(design.least_squares())[:, 0]
    np.testing.assert_allclose(found[known], (y - H @ y)[known], atol=1e-12)
    np.testing.assert_allclose(design.leverages(), np.diag(H), atol=1e-12)

    rng = np.random.default_rng(seed)
    x, D, P = (rng.normal(size=(k, 1)) for k in (rank, rank, n))
    Z, Y = design.take(np.arange(n))
    seen = np.empty((n, 2))

    def work(rows, R, D):
        seen[rows] = np.hstack([R, D])
        R[:] = np.nan  # may be overwritten
        return P[rows]

    np.testing.assert_allclose(
        design.sweep(work, x, D), Z.T @ (w[:, None] * P), atol=1e-12
    )
    np.testing.assert_allclose(seen, np.hstack([Y - Z @ x, Z @ D]), atol=1e-12)
    np.testing.assert_allclose(design.norms(x), np.abs(Y - Z @ x)[:, 0], atol=1e-12)
    assert not design.sweep(lambda rows, R, D: None, x).any()

    gram = Z.T @ (w[:, None] * Z)
    np.testing.assert_allclose(np.diag(gram), 1.0)
    S = rng.normal(size=(rank, 3))
    np.testing.assert_allclose(gram @ design.solve(S), S, atol=1e-12)
    some = np.flatnonzero(rng.random(n) < 0.3)
    np.testing.assert_array_equal(design.take(some)[0], Z[some])

    path = rng.normal(size=(2, rank, 1))
    coefs, intercepts = design.to_coefs(path)
    assert coefs.shape == (2, 1, A.shape[1])
    assert not intercepts.any()
    fitted = np.einsum("ij,kcj->kic", A, coefs)
    np.testing.assert_allclose(fitted[:, known], (Z @ path)[:, known], atol=1e-12)
    scores = coefs[:, 0, :n_items]
    sums = [np.bincount(design.components, row) for row in scores]
    np.testing.assert_allclose(sums, 0, atol=1e-12)


@pytest.mark.parametrize("extra", EXTRAS)
def test_same_as_a_dense_design(extra):
    pairs, y, weight, columns = make(3, n=120, weights=True, extra=extra)
    design = GraphDesign(pairs, y, weight, 9, columns)
    dense = DenseDesign(design.incidence(), y[:, None], weight, False)
    assert design.n_coords == dense.n_coords
    kept = np.random.default_rng(0).random(len(y)) < 0.6
    for rows in (None, kept):
        np.testing.assert_allclose(
            design.residuals(design.least_squares(rows)),
            dense.residuals(dense.least_squares(rows)),
            atol=1e-10,
        )
    np.testing.assert_allclose(design.leverages(), dense.leverages(), atol=1e-12)
    paths = [trace_huber_grid(d, np.ones(len(y)), n_knots=12) for d in (design, dense)]
    np.testing.assert_allclose(paths[0].knots, paths[1].knots, rtol=1e-3)
    given = [
        trace_huber_grid(
            d, np.ones(len(y)), thresholds=paths[0].knots[1:], tol=1e-12
        ).rss
        for d in (design, dense)
    ]
    np.testing.assert_allclose(given[0], given[1], rtol=1e-5)


def test_blocks_of_votes_are_summed(monkeypatch):
    pairs, y, weight, columns = make(weights=True, extra="workers")
    design = GraphDesign(pairs, y, weight, 9, columns)
    x = np.random.default_rng(1).normal(size=(design.n_coords, 1))
    whole = design.sweep(lambda rows, R, D: np.abs(R) * D, x, x)
    monkeypatch.setattr("sparselbi._vote_design._BLOCK", 7)
    found = design.sweep(lambda rows, R, D: np.abs(R) * D, x, x)
    np.testing.assert_allclose(found, whole, rtol=1e-13)


@given(st.integers(0, 10**6))
def test_weight_is_repetition(seed):
    pairs, y, weight, columns = make(seed, weights=True, extra="bias")
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    once = GraphDesign(pairs, y, weight, 9, columns)
    repeated = GraphDesign(pairs[rows], y[rows], None, 9, columns[rows])
    assert once.n_coords == repeated.n_coords
    assert once.total_weight == repeated.total_weight
    found = once.to_coefs(once.least_squares())[0]
    expected = repeated.to_coefs(repeated.least_squares())[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    summed = np.bincount(rows, repeated.leverages(), len(y))
    np.testing.assert_allclose(once.leverages(), summed, atol=1e-10)


@given(st.integers(0, 10**6), st.sampled_from(EXTRAS))
def test_names_order_and_sides_do_not_matter(seed, extra):
    pairs, y, weight, columns = make(seed, weights=True, extra=extra)
    design = GraphDesign(pairs, y, weight, 9, columns)
    rng = np.random.default_rng(seed)
    name, order = rng.permutation(9), rng.permutation(len(y))
    turned = -columns if columns is not None else None
    others = (
        GraphDesign(name[pairs], y, weight, 9, columns),
        GraphDesign(pairs[:, ::-1], -y, weight, 9, turned),
    )
    residuals = design.residuals(design.least_squares())
    known = np.ones(len(y), bool)
    if design.undetermined is not None:
        known = ~design.undetermined
    for other, sign in zip(others, (1, -1), strict=True):
        found = sign * other.residuals(other.least_squares())
        np.testing.assert_allclose(found[known], residuals[known], atol=1e-10)
        np.testing.assert_allclose(other.leverages(), design.leverages(), atol=1e-10)
    columns = None if columns is None else columns[order]
    other = GraphDesign(pairs[order], y[order], weight[order], 9, columns)
    scores = design.to_coefs(design.least_squares())[0][..., :9]
    found = other.to_coefs(other.least_squares())[0][..., :9]
    if extra in (None, "bias"):  # else which column is left out may differ
        np.testing.assert_allclose(found, scores, atol=1e-9)
    found = other.residuals(other.least_squares())
    np.testing.assert_allclose(
        found[known[order]], residuals[order][known[order]], atol=1e-10
    )


# -- single votes ----------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(2, 14), st.integers(1, 25))
def test_bridges_are_votes_without_which_more_components_are_left(seed, n_items, n):
    pairs, y, weight, _ = make(seed, n_items, n, weights=True)
    if not weight.any():
        weight[0] = 1
    design = GraphDesign(pairs, y, weight, n_items)

    def count(rows):
        ends = pairs[rows].T
        graph = sp.coo_array((np.ones(len(rows)), tuple(ends)), shape=2 * (n_items,))
        return connected_components(graph.tocsr(), directed=False)[0]

    used = np.flatnonzero(weight > 0)
    assert design.n_components == count(used)
    expected = [e in used and count(used[used != e]) > count(used) for e in range(n)]
    np.testing.assert_array_equal(design.bridges, expected)
    np.testing.assert_array_equal(design.leverages() == 1, expected)


def test_two_votes_about_a_pair_are_no_bridge():
    pairs = np.array([[0, 1], [1, 0], [1, 2]])
    design = GraphDesign(pairs, np.array([1.0, 0.5, 3.0]), np.array([3.0, 1, 2]), 3)
    assert design.bridges.tolist() == [False, False, True]
    assert design.leverages().tolist() == [0.75, 0.25, 1.0]


@pytest.mark.parametrize("extra", [None, "bias"])
def test_leverages_of_bridges_are_not_rounded(extra):
    # Multiplying by 1 / 49 and 49 does not give 1.
    pairs, y, _, _ = make(0, n=200)
    pairs = np.concatenate([pairs, [[9, 0], [10, 9], [11, 3]]])
    weight = np.full(203, 49.0)
    columns = None if extra is None else np.linspace(0.3, 7, 203)[:, None]
    design = GraphDesign(pairs, np.zeros(203), weight, 12, columns)
    assert design.leverages()[200:].tolist() == [1, 1, 1]
    assert design.leverages()[:200].max() < 0.9


def test_many_bridges_in_a_large_graph():
    pairs, n_items = chain_of_cycles(20_000, np.random.default_rng(0))
    design = GraphDesign(pairs, np.zeros(len(pairs)), None, n_items)
    far = np.abs(pairs[:, 0] - pairs[:, 1])
    # Closing edges of cycles jump over 2 to 5 items; steps inside are in a cycle.
    leverage = design.leverages()
    assert not design.bridges[far > 1].any()
    assert design.bridges.sum() == (far > 1).sum() - 1
    assert np.isclose(leverage.sum(), n_items - 1)
    length = far[far > 1] + 1
    np.testing.assert_allclose(leverage[far > 1], (length - 1) / length)


@pytest.mark.parametrize(("n", "second"), [(30_000, 0.12), (6000, 0.6)])
def test_estimated_leverages_have_the_stated_error(monkeypatch, n, second):
    rng = np.random.default_rng(5)
    pairs, y, _, _ = make(1, 1500, n)
    weight = rng.uniform(0.2, 3, n)
    design = GraphDesign(pairs, y, weight, 1500)
    exact = design.graph.edge_leverages()
    monkeypatch.setattr(_comparison_graph, "_EXACT_ITEMS", 100)
    found = design.graph.edge_leverages()
    graph = design.graph
    inverse = 1 / graph.degree
    a, b = graph.first, graph.second
    known = inverse[a] + inverse[b] - 2 * graph.weight * inverse[a] * inverse[b]
    rest = np.maximum(exact - graph.weight * known, 1e-12)
    stated = np.sqrt(2 / (8 * np.log(1500))) * np.minimum(rest, 1 - exact)
    inner = ~graph.bridges
    error = (found - exact)[inner] / stated[inner]
    assert 0.4 < np.sqrt(np.mean(error**2)) < 1.1
    assert np.mean(rest[inner] / exact[inner]) < second  # what is estimated at all
    assert (found[graph.bridges] == 1).all()
    assert (found <= 1).all()


# -- systems ---------------------------------------------------------------------------


def graph_of(pairs, n_items, weight=None, way=None):
    low, high, edge = edges_of(*np.asarray(pairs).T, n_items)
    sums = np.bincount(edge, weight).astype(float)
    return ComparisonGraph(low, high, sums, n_items, way)


@pytest.mark.parametrize("n", [60, 400])  # 60: many components
def test_both_ways_solve_the_system(n):
    pairs, _, _, _ = make(2, 100, n)
    weight = np.random.default_rng(0).uniform(0.1, 10, n)
    ways = [graph_of(pairs, 100, weight, way) for way in ("factor", "cg")]
    b = ways[0].divergence(np.random.default_rng(1).normal(size=len(ways[0].weight)))
    b = np.stack([b, 1e6 * b], axis=1)
    laplacian = np.diag(ways[0].degree) - ways[0].adjacency.toarray()
    for graph in ways:
        x = graph.solve(b)
        assert not x[graph.ground].any()
        np.testing.assert_allclose(laplacian @ x, b, atol=1e-9 * np.abs(b).max())
        one = graph.centred(graph.solve(b[:, 0]))
        np.testing.assert_allclose(one, np.linalg.pinv(laplacian) @ b[:, 0], atol=1e-8)


def test_conjugate_gradients_make_nothing_of_rounding():
    graph = graph_of(make(2, 100, 1000)[0], 100, way="cg")
    assert np.abs(graph.solve(np.full(100, 1e-17))).max() < 1e-15
    assert not graph.solve(np.zeros(100)).any()


def grid(k):
    item = np.arange(k * k).reshape(k, k)
    across = np.stack([item[:, 1:].ravel(), item[:, :-1].ravel()], axis=1)
    return np.concatenate([across, np.stack([item[1:], item[:-1]], -1).reshape(-1, 2)])


@pytest.mark.parametrize(
    ("pairs", "n_items", "way"),
    [
        (make(0, 50, 2000)[0], 50, "factor"),  # small
        (make(0, 4000, 40_000)[0], 4000, "cg"),  # random
        (grid(150), 150**2, "factor"),
        (np.stack([np.arange(20_000), np.arange(20_000) + 1], 1), 20_001, "factor"),
        (np.stack([np.zeros(9999, int), np.arange(1, 10_000)], 1), 10_000, "factor"),
        (
            np.array(
                [[k, np.random.default_rng(k).integers(k)] for k in range(1, 9999)]
            ),
            9999,
            "factor",
        ),
    ],
    ids=["small", "random", "grid", "chain", "star", "tree"],
)
def test_the_way_suits_the_graph(pairs, n_items, way):
    graph = graph_of(pairs, n_items)
    assert graph.way == way
    b = graph.divergence(np.random.default_rng(1).normal(size=len(graph.weight)))
    x = graph.solve(b)
    left = b - graph.degree * x + graph.adjacency @ x
    assert np.abs(left).max() < 1e-9 * np.abs(b).max()


def test_graphs_that_no_way_suits(monkeypatch):
    monkeypatch.setattr(_comparison_graph, "_MAX_CG", 30)
    pairs = np.stack([np.arange(300), np.arange(300) + 1], axis=1)
    graph = graph_of(pairs, 301, way="cg")
    with pytest.raises(RuntimeError, match="301 items did not settle in 30 steps"):
        graph.solve(graph.divergence(np.random.default_rng(0).normal(size=300)))


def test_a_perfect_ranking_leaves_rounding():
    pairs, _, _, _ = make(0, 3000, 30_000)
    scores = np.random.default_rng(0).normal(size=3000) + 10
    design = GraphDesign(pairs, scores[pairs[:, 0]] - scores[pairs[:, 1]], None, 3000)
    assert design.graph.way == "cg"
    left = design.norms(design.least_squares())
    assert np.sqrt(left @ left) <= design.rounding[0] < 1e-10
    assert trace_huber_grid(design, np.ones(30_000)).status == "perfect_fit"


def test_a_column_that_scores_explain_adds_nothing():
    pairs, y, _, _ = make()
    gradient = (pairs[:, 0] - pairs[:, 1]).astype(float)
    plain = GraphDesign(pairs, y, None, 9)
    more = GraphDesign(pairs, y, None, 9, np.stack([gradient, np.zeros(40)], axis=1))
    assert more.n_coords == plain.n_coords
    coefs = more.to_coefs(more.least_squares())[0]
    assert coefs.shape == (1, 11)
    assert not coefs[0, 9:].any()
    np.testing.assert_allclose(
        coefs[:, :9], plain.to_coefs(plain.least_squares())[0], atol=1e-12
    )


def test_a_new_vote_of_an_unknown_worker_is_undetermined():
    pairs, y, _, _ = make()
    worker = np.zeros((40, 2))
    worker[:, 0], worker[7] = 1, (0, 1)
    weight = np.ones(40)
    weight[[3, 7]] = 0
    for scale in (1.0, 1e-9, 1e9):
        design = GraphDesign(pairs, y, weight, 9, scale * worker)
        assert np.flatnonzero(design.undetermined).tolist() == [7]


# -- fits of some votes ----------------------------------------------------------------


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("way", ["factor", "cg"])
def test_fits_of_some_votes(extra, way):
    pairs, y, weight, columns = make(4, n=100, weights=True, extra=extra)
    design = GraphDesign(pairs, y, weight, 9, columns)
    design.graph._way = way
    kept = np.random.default_rng(1).random(100) < 0.5
    w = weight * kept
    A = matrix(pairs, 9, columns)
    found = design.residuals(design.least_squares(kept))[:, 0]
    np.testing.assert_allclose(found, y - hat(A, w) @ y, atol=1e-10)


def test_kept_votes_that_leave_items_apart():
    pairs = np.array([[0, 1], [1, 2], [2, 0], [3, 4], [2, 3]])
    design = GraphDesign(pairs, np.arange(5.0), None, 6)
    assert design.n_components == 2
    kept = np.array([True, True, False, True, False])
    with pytest.raises(SingularFit, match="3 votes .* in 3 pieces .* instead of 2"):
        design.least_squares(kept)


def test_kept_votes_that_do_not_determine_a_worker():
    pairs, y, _, _ = make(1)
    worker = np.zeros((40, 1))
    worker[:2] = 1
    design = GraphDesign(pairs, y, None, 9, worker)
    with pytest.raises(SingularFit, match="do not determine all 1 coefficients"):
        design.least_squares(np.arange(40) >= 2)


# -- input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": [[0, 1], [2, 2]]}, "compares item 2 with itself in row 1"),
        ({"pairs": [[0, 1], [2, 3]]}, r"\[2, 3\] in row 1.* n_items - 1 = 2"),
        ({"pairs": [[0, -1], [2, 1]]}, r"\[0, -1\] in row 0"),
        ({"pairs": [[0.0, 1.0], [1.0, 2.0]]}, "type float64"),
        ({"pairs": [[0, 1, 2], [0, 1, 2]]}, r"shape \(2, 3\)"),
        ({"y": [1.0, np.nan]}, "y contains nan in row 1"),
        ({"extra": [[1.0], [np.inf]]}, "extra contains inf in row 1"),
        ({"extra": sp.csr_array([[0.0], [np.inf]])}, "extra contains inf in row 1"),
        ({"extra": [[1.0]]}, r"extra has shape \(1, 1\).*2 votes"),
    ],
)
def test_bad_input(change, message):
    given = {"pairs": [[0, 1], [1, 2]], "y": [1.0, 0.0], "extra": None} | change
    with pytest.raises(ValueError, match=message):
        GraphDesign(
            np.array(given["pairs"]), np.array(given["y"]), None, 3, given["extra"]
        )


def test_one_vote_and_items_without_votes():
    design = GraphDesign(np.array([[2, 0]]), np.array([3.0]), None, 4)
    assert design.components.tolist() == [0, 1, 0, 2]
    assert design.n_coords == 1
    coefs, _ = design.to_coefs(design.least_squares())
    np.testing.assert_allclose(coefs, [[-1.5, 0, 1.5, 0]])
    assert design.leverages().tolist() == [1.0]


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_reweighted_systems(seed, weights, extra):
    """As a Newton step needs them: the Gram with a curvature for each vote."""
    n_items = 9 if seed else 25  # seed 0: many components
    pairs, y, w, columns = make(seed, n_items, weights=weights, extra=extra)
    design = GraphDesign(pairs, y, w, n_items, columns)
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.01, 0.25, len(y))
    Z, _ = design.take(np.arange(len(y)))
    curvature = factor if w is None else factor * w
    gram = Z.T @ (curvature[:, None] * Z)
    scores = rng.normal(size=(design.n_coords, 1))
    found = design.reweighted(factor)(scores, 1e-13)
    np.testing.assert_allclose(gram @ found, scores, atol=1e-9)
    rough = design.reweighted(factor)(scores, 0.1)
    error = np.linalg.norm(gram @ rough - scores) / np.linalg.norm(scores)
    assert 1e-9 < error < 1


def test_reweighted_systems_where_columns_lose_their_votes():
    """A worker all of whose votes are shifted has no curvature."""
    pairs, y, _, columns = make(1, extra="workers")
    design = GraphDesign(pairs, y, None, 9, columns[:, 1:])
    factor = 1.0 - columns[:, 3]
    Z, _ = design.take(np.arange(len(y)))
    wanted = Z.T @ (factor * np.sin(np.arange(len(y))))[:, None]
    found = design.reweighted(factor)(wanted, 1e-12)
    gram = Z.T @ (factor[:, None] * Z)
    np.testing.assert_allclose(gram @ found, wanted, atol=1e-8)


def test_reweighted_systems_with_many_further_columns_go_by_sweeps(monkeypatch):
    pairs, y = make()[:2]
    some = GraphDesign(pairs, y, None, 9, np.eye(40)[:, :2])
    assert some.reweighted(np.ones(40)) is not None
    monkeypatch.setattr("sparselbi._graph_design._FEW_COLUMNS", 1)
    assert some.reweighted(np.ones(40)) is None


def test_further_columns_need_room(monkeypatch):
    pairs, y, weight, columns = make(weights=True, extra="sparse workers")
    design = GraphDesign(pairs, y, weight, 9, columns)
    monkeypatch.setattr("sparselbi._graph_design._NUMBERS", 10)
    other = GraphDesign(pairs, y, weight, 9, columns)
    np.testing.assert_allclose(other.leverages(), design.leverages(), atol=1e-14)
    monkeypatch.setattr("sparselbi._graph_design._MAX_LIFT", 35)
    with pytest.raises(ValueError, match="extra has 4 columns beside 9 items"):
        GraphDesign(pairs, y, weight, 9, columns)
