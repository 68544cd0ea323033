"""Linear maps of structured penalties against dense constructions by loops."""

import copy
import itertools
import pickle
import re
import sys

import networkx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from sparselbi.penalties import _transform_norm
from sparselbi.penalties.transforms import (
    Transform,
    as_transform,
    comparisons,
    differences,
    graph_incidence,
    grid_gradient,
    identity,
    stack,
    wavelet,
    with_identity,
)

MASK = np.array([[1, 1, 0, 1], [0, 1, 0, 1], [1, 0, 0, 0]], dtype=bool)


def random_adjacency(seed, n_nodes=12, share=0.3):
    rng = np.random.default_rng(seed)
    W = np.triu(rng.uniform(0.5, 2.0, (n_nodes, n_nodes)), k=1)
    W *= rng.uniform(size=W.shape) < share
    return W + W.T


def random_matrix(seed, m=7, p=9):
    return np.random.default_rng(seed).standard_normal((m, p))


def incidence_by_loops(W):
    rows = []
    for i, j in itertools.combinations(range(len(W)), 2):
        if W[i, j]:
            row = np.zeros(len(W))
            row[i], row[j] = -W[i, j], W[i, j]
            rows.append(row)
    return np.array(rows)


def grid_by_loops(shape, mask):
    """Rows and starting features of the gradient, pixel by pixel."""
    kept = [tuple(pixel) for pixel in np.argwhere(mask).tolist()]
    rows, starts = [], []
    for axis in range(len(shape)):
        for k, pixel in enumerate(kept):
            neighbour = pixel[:axis] + (pixel[axis] + 1,) + pixel[axis + 1 :]
            if neighbour in kept:
                row = np.zeros(len(kept))
                row[k], row[kept.index(neighbour)] = -1, 1
                rows.append(row)
                starts.append(k)
    return np.array(rows), starts


MAPS = {
    "identity": lambda: identity(5),
    "differences": lambda: differences(9),
    "third differences": lambda: differences(9, order=3),
    "line": lambda: grid_gradient(8),
    "grid": lambda: grid_gradient((4, 5), isotropic=True),
    "masked grid": lambda: grid_gradient((3, 4), MASK),
    "volume": lambda: grid_gradient((3, 2, 4)),
    "graph": lambda: graph_incidence(random_adjacency(0)),
    "comparisons": lambda: comparisons([("b", "a"), ("c", "a"), ("b", "a")]),
    "wavelet": lambda: wavelet((8, 4), "haar"),
    "dense": lambda: as_transform(random_matrix(1)),
    "tall": lambda: as_transform(random_matrix(1, m=12, p=4)),
    "sparse": lambda: as_transform(sparse.csr_array(np.diff(np.eye(6), axis=0))),
    "operator": lambda: as_transform(aslinearoperator(random_matrix(2))),
    "stack": lambda: stack(differences(6), random_matrix(3, p=6), factors=(2, 0.5)),
    "with identity": lambda: with_identity(grid_gradient((3, 3)), rho=0.7),
    "stacked operator": lambda: with_identity(aslinearoperator(random_matrix(4))),
}


@pytest.fixture(params=MAPS)
def D(request):
    return MAPS[request.param]()


# ---- every map -----------------------------------------------------------------------


def test_products_are_those_of_the_dense_matrix(D):
    dense = D.to_dense()
    rng = np.random.default_rng(0)
    assert D.shape == dense.shape == (D.n_rows, D.n_features)
    v = rng.standard_normal((2, 3, D.n_features))
    u = rng.standard_normal((2, 3, D.n_rows))
    np.testing.assert_allclose(D.dot(v), v @ dense.T, atol=1e-12)
    np.testing.assert_allclose(D.rdot(u), u @ dense, atol=1e-12)
    np.testing.assert_allclose(D.dot(v[0, 0]), dense @ v[0, 0], atol=1e-12)
    np.testing.assert_allclose(D.rdot(u[0, 0]), dense.T @ u[0, 0], atol=1e-12)
    assert D.dot(v).flags.c_contiguous
    assert D.rdot(u).flags.c_contiguous


def test_norm_is_the_largest_singular_value_of_small_maps(D):
    exact = np.linalg.norm(D.to_dense(), 2)
    np.testing.assert_allclose(D.norm, exact, rtol=1e-12)


def test_full_row_rank(D):
    full = np.linalg.matrix_rank(D.to_dense()) == D.n_rows
    if D.is_operator and D.n_rows <= D.n_features:
        assert D.full_row_rank is None
    else:
        assert D.full_row_rank is full or D.full_row_rank == full
        assert isinstance(D.full_row_rank, bool)


def test_gram(D):
    dense = D.to_dense()
    if D.is_operator:
        with pytest.raises(ValueError, match="LinearOperator: D.T @ D cannot be form"):
            D.gram()
        return
    gram = D.gram()
    assert isinstance(gram, np.ndarray | sparse.csc_array)
    if sparse.issparse(D.matrix):
        assert sparse.issparse(gram)
    full = gram.toarray() if sparse.issparse(gram) else gram
    np.testing.assert_allclose(full, dense.T @ dense, atol=1e-12)


def test_fields_make_the_same_map_again(D, tmp_path):
    if D.is_operator:
        with pytest.raises(ValueError, match="code cannot be stored. Pass D as a spar"):
            D.to_fields()
        return
    np.savez(tmp_path / "D.npz", **D.to_fields())
    with np.load(tmp_path / "D.npz", allow_pickle=False) as stored:
        again = Transform.from_fields(dict(stored))
    np.testing.assert_array_equal(again.to_dense(), D.to_dense())
    assert sparse.issparse(again.matrix) == sparse.issparse(D.matrix)
    assert (again.kind, again.order, again.norm) == (D.kind, D.order, D.norm)
    assert again.row_names == D.row_names
    assert repr(again) == repr(D)
    for name in ("groups", "grid"):
        new, old = getattr(again, name), getattr(D, name)
        assert (new is None) == (old is None)
    if D.groups is not None:
        np.testing.assert_array_equal(again.groups, D.groups)
    if D.grid is not None:
        assert again.grid["shape"] == D.grid["shape"]
        np.testing.assert_array_equal(again.grid["mask"], D.grid["mask"])


def test_row_subset(D):
    mask = np.arange(D.n_rows) % 3 != 1
    part = D.row_subset(mask)
    np.testing.assert_allclose(part.to_dense(), D.to_dense()[mask], atol=1e-14)
    assert part.is_graph == D.is_graph
    assert part.is_operator == D.is_operator
    assert part.grid is D.grid  # of the features
    assert part.order is None
    if D.groups is not None:
        np.testing.assert_array_equal(part.groups, D.groups[mask])
    if D.row_names is not None:
        kept = [name for name, keep in zip(D.row_names, mask, strict=True) if keep]
        assert part.row_names == tuple(kept)
    exact = np.linalg.norm(D.to_dense()[mask], 2)
    np.testing.assert_allclose(part.norm, exact, rtol=1e-12)
    u = np.random.default_rng(0).standard_normal((2, part.n_rows))
    np.testing.assert_allclose(part.rdot(u), u @ D.to_dense()[mask], atol=1e-12)
    np.testing.assert_allclose(part.rdot(u[0]), u[0] @ D.to_dense()[mask], atol=1e-12)


def test_subset_without_rows():
    D = differences(4)
    part = D.row_subset(np.zeros(3, dtype=bool))
    assert part.shape == (0, 4)
    assert part.norm == 0.0
    assert part.components()[0] == 4
    assert part.full_row_rank is True
    np.testing.assert_array_equal(part.rdot(np.empty((2, 0))), np.zeros((2, 4)))


def test_copies_and_pickles(D):
    assert copy.deepcopy(D) is D
    again = pickle.loads(pickle.dumps(D))
    np.testing.assert_array_equal(again.to_dense(), D.to_dense())


def test_as_transform_returns_transforms_as_they_are(D):
    assert as_transform(D, D.n_features) is D
    with pytest.raises(
        ValueError,
        match=f"D has {D.n_features} columns, but there are {D.n_features + 1} coeff",
    ):
        as_transform(D, D.n_features + 1)


def test_vectors_of_another_length_are_refused(D):
    with pytest.raises(ValueError, match=f"expected vectors of length {D.n_features}"):
        D.dot(np.zeros((D.n_features + 1, 2)))
    with pytest.raises(ValueError, match=f"expected vectors of length {D.n_rows}, got"):
        D.rdot(np.zeros(D.n_rows + 1))
    with pytest.raises(ValueError, match=rf"bool array of shape \({D.n_rows},\), got"):
        D.row_subset(np.zeros(D.n_rows))


# ---- each structure ------------------------------------------------------------------


@pytest.mark.parametrize(("p", "order"), [(2, 1), (9, 1), (9, 2), (9, 3), (9, 8)])
def test_differences_are_those_of_numpy(p, order):
    D = differences(p, order)
    np.testing.assert_array_equal(D.to_dense(), np.diff(np.eye(p), order, axis=0))
    assert sparse.issparse(D.matrix)
    assert (D.kind, D.order, D.full_row_rank) == ("differences", order, True)
    polynomial = np.arange(p, dtype=float) ** (order - 1)
    assert np.abs(D.dot(polynomial)).max() <= 1e-9 * polynomial.max()


def test_identity():
    D = identity(4)
    np.testing.assert_array_equal(D.to_dense(), np.eye(4))
    assert D.components()[0] == 0
    assert D.components()[1].tolist() == [-1] * 4
    assert D.components(np.array([True, False, True, False]))[1].tolist() == [
        *(-1, 0, -1, 1)
    ]


@pytest.mark.parametrize(
    ("shape", "mask"),
    [
        (7, None),
        ((7,), None),
        ((4, 5), None),
        ((1, 5), None),
        ((3, 4), MASK),
        ((3, 2, 4), None),
        ((3, 2, 4), np.random.default_rng(5).uniform(size=(3, 2, 4)) < 0.7),
    ],
)
def test_grid_gradient_equals_loops(shape, mask):
    D = grid_gradient(shape, mask, isotropic=True)
    full = (shape,) if isinstance(shape, int) else shape
    expected, starts = grid_by_loops(
        full, np.ones(full, bool) if mask is None else mask
    )
    np.testing.assert_array_equal(D.to_dense(), expected)
    assert D.groups.tolist() == starts
    assert D.grid["shape"] == full
    np.testing.assert_array_equal(D.grid["mask"], mask)
    assert grid_gradient(shape, mask).groups is None
    assert sparse.issparse(D.matrix)
    D.matrix.check_format()


def test_grid_gradient_of_an_image_is_that_of_numpy():
    image = np.random.default_rng(0).standard_normal((6, 4, 3))
    parts = [np.diff(image, axis=axis).ravel() for axis in range(3)]
    result = grid_gradient(image.shape).dot(image.ravel())
    np.testing.assert_array_equal(result, np.concatenate(parts))


def test_a_mask_that_keeps_all_is_no_mask():
    D = grid_gradient((3, 4), np.ones((3, 4), dtype=bool))
    assert D.grid["mask"] is None
    np.testing.assert_array_equal(D.to_dense(), grid_gradient((3, 4)).to_dense())


def test_a_large_image_stays_sparse():
    D = grid_gradient((512, 512))
    assert D.shape == (2 * 512 * 511, 512 * 512)
    assert D.matrix.nnz == 2 * D.n_rows
    assert D.matrix.indices.dtype == np.int32
    # eigenvalues of the Laplacian of a line: 4 sin(pi k / 2n)^2
    exact = np.sqrt(8) * np.sin(np.pi * 511 / 1024)
    np.testing.assert_allclose(D.norm, exact, rtol=1e-12)


def test_graph_incidence_equals_loops():
    W = random_adjacency(3)
    expected = incidence_by_loops(W)
    for given_as in (W, sparse.csr_array(W), sparse.coo_matrix(W), sparse.csc_array(W)):
        D = graph_incidence(given_as)
        np.testing.assert_array_equal(D.to_dense(), expected)
        assert D.row_names is None
        assert sparse.issparse(D.matrix)
    coef = np.random.default_rng(0).standard_normal(len(W))
    total = sum(
        W[i, j] * abs(coef[i] - coef[j])
        for i, j in itertools.combinations(range(len(W)), 2)
    )
    np.testing.assert_allclose(np.abs(D.dot(coef)).sum(), total, rtol=1e-13)


def test_graph_with_named_nodes():
    graph = networkx.Graph([("b", "a"), ("a", "c")])
    graph.edges["a", "c"]["weight"] = 2.5
    D = graph_incidence(graph)  # features b, a, c
    assert D.row_names == ("b - a", "a - c")
    np.testing.assert_array_equal(D.to_dense(), [[-1, 1, 0], [0, -2.5, 2.5]])
    frame = networkx.to_pandas_adjacency(graph)
    again = graph_incidence(frame)
    assert again.row_names == D.row_names
    np.testing.assert_array_equal(again.to_dense(), D.to_dense())


def test_bool_and_nearly_symmetric_adjacency():
    W = random_adjacency(3)
    D = graph_incidence(W > 0)
    np.testing.assert_array_equal(D.to_dense(), incidence_by_loops(1.0 * (W > 0)))
    lower = np.tril(np.ones_like(W), k=-1)
    again = graph_incidence(W * (1 + 1e-15 * lower))
    np.testing.assert_array_equal(again.to_dense(), incidence_by_loops(W))


def test_comparisons():
    D = comparisons([(2, 0), (1, 3), (2, 0)], n_items=5)
    expected = np.zeros((3, 5))
    expected[[0, 1, 2], [2, 1, 2]] = 1
    expected[[0, 1, 2], [0, 3, 0]] = -1
    np.testing.assert_array_equal(D.to_dense(), expected)
    assert D.row_names is None
    assert D.matrix.has_sorted_indices
    assert comparisons([(0, 1)]).shape == (1, 2)
    assert D.components()[0] == 3

    frame = pd.DataFrame({"winner": ["x", "z"], "loser": ["y", "x"]})
    named = comparisons(frame)
    assert named.row_names == ("x - y", "z - x")
    np.testing.assert_array_equal(named.to_dense(), [[1, -1, 0], [-1, 0, 1]])


def test_many_repeated_comparisons_still_join():
    D = comparisons([(0, 1)] * 256, n_items=3)
    assert D.components()[0] == 2
    assert D.components()[1].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("shape", "name", "level"),
    [
        (8, "haar", None),
        (96, "db2", None),
        ((16, 24), "sym4", 2),
        ((4, 8, 4), "db3", 1),
    ],
)
def test_wavelets_are_orthonormal(shape, name, level):
    D = wavelet(shape, name, level)
    dense = D.to_dense()
    np.testing.assert_allclose(dense @ dense.T, np.eye(len(dense)), atol=1e-10)
    assert D.norm == 1.0
    assert D.full_row_rank is True
    np.testing.assert_array_equal(D.gram().toarray(), np.eye(len(dense)))


def test_haar_wavelets_are_known():
    D = wavelet(8, "haar", level=2).to_dense()
    r = np.sqrt(0.5)
    approximation = np.kron(np.eye(2), [[0.5, 0.5, 0.5, 0.5]])
    coarse = np.kron(np.eye(2), [[0.5, 0.5, -0.5, -0.5]])
    fine = np.kron(np.eye(4), [[r, -r]])
    np.testing.assert_allclose(D, np.vstack([approximation, coarse, fine]), atol=1e-15)

    line = wavelet(4, "haar", level=1).to_dense()
    low, high = line[:2], line[2:]
    image = wavelet((4, 4), "haar", level=1).to_dense()
    bands = [np.kron(a, b) for a in (low, high) for b in (low, high)]
    np.testing.assert_allclose(image, np.vstack(bands), atol=1e-15)


def test_large_wavelets_are_operators_and_equal_the_matrix(monkeypatch, tmp_path):
    matrix = wavelet((16, 8), "db2", level=2)
    monkeypatch.setattr("sparselbi.penalties.transforms.WAVELET_MATRIX", 127)
    D = wavelet((16, 8), "db2", level=2)
    assert D.is_operator
    np.testing.assert_allclose(D.to_dense(), matrix.to_dense(), atol=1e-14)
    u = np.random.default_rng(0).standard_normal((3, 128))
    np.testing.assert_allclose(D.rdot(u), matrix.rdot(u), atol=1e-13)
    np.testing.assert_allclose(D.rdot(u[0]), matrix.rdot(u[0]), atol=1e-13)
    np.testing.assert_array_equal(D.gram().toarray(), np.eye(128))
    assert D.norm == 1.0
    assert D.full_row_rank is True

    np.savez(tmp_path / "D.npz", **D.to_fields())
    with np.load(tmp_path / "D.npz") as stored:
        again = Transform.from_fields(dict(stored))
    np.testing.assert_array_equal(again.dot(u), D.dot(u))
    assert again.is_operator
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(D)).dot(u), D.dot(u))


def test_a_filter_longer_than_the_signal_wraps_around_without_a_warning():
    dense = wavelet(4, "db4").to_dense()
    np.testing.assert_allclose(dense @ dense.T, np.eye(4), atol=1e-10)


def test_stack():
    A, B = differences(4), random_matrix(0, m=2, p=4)
    D = stack(A, B, "identity", factors=(2, 1, 0.5))
    expected = np.vstack([2 * A.to_dense(), B, 0.5 * np.eye(4)])
    np.testing.assert_array_equal(D.to_dense(), expected)
    assert sparse.issparse(D.matrix)
    assert D.groups is None
    assert D.row_names is None
    assert isinstance(stack(B, 2 * B).matrix, np.ndarray)
    operator = stack(aslinearoperator(B), A)
    np.testing.assert_array_equal(operator.to_dense(), np.vstack([B, A.to_dense()]))


def test_stack_keeps_groups_and_names_apart():
    A = grid_gradient((2, 2), isotropic=True)  # groups 0 0 1 2, in another order
    names = comparisons([("a", "b"), ("c", "d")])
    D = stack(names, A, A)
    labels = D.groups.tolist()
    assert len(set(labels[:2])) == 2
    assert len(set(labels)) == 2 + 3 + 3
    for block in (labels[2:6], labels[6:]):
        same = np.equal.outer(block, block)
        np.testing.assert_array_equal(same, np.equal.outer(A.groups, A.groups))
    assert D.row_names[:3] == ("a - b", "c - d", "grid 0")


def test_stack_keeps_the_layout_of_the_features():
    image, masked = grid_gradient((4, 4)), grid_gradient((3, 4), MASK)
    assert with_identity(masked).grid is masked.grid
    assert stack(image, wavelet((4, 4), "haar")).grid == {"shape": (4, 4), "mask": None}
    assert stack(image, grid_gradient((2, 8))).grid is None
    assert stack(masked, grid_gradient((2, 3))).grid is None
    assert stack(masked, grid_gradient((3, 4), MASK)).grid is masked.grid
    assert with_identity(differences(3)).grid is None


def test_with_identity_has_the_identity_first():
    A = differences(4)
    D = with_identity(A, rho=0.3)
    expected = np.vstack([np.eye(4), 0.3 * A.to_dense()])
    np.testing.assert_array_equal(D.to_dense(), expected)
    assert D.is_graph
    assert D.components()[0] == 0
    # coefficient 0 is free, 1 and 2 are equal, and 3 is zero
    zero = np.array([False, False, False, True, False, True, False])
    assert D.components(zero)[1].tolist() == [0, 1, 1, -1]
    zero[6] = True
    assert D.components(zero)[1].tolist() == [0, -1, -1, -1]


# ---- graphs --------------------------------------------------------------------------


@given(st.integers(0, 10**6))
def test_components_are_those_of_networkx(seed):
    rng = np.random.default_rng(seed)
    W = random_adjacency(seed, share=0.15)
    if not W.any():
        W[0, 1] = W[1, 0] = 1.0
    D = graph_incidence(W)
    rows = rng.uniform(size=D.n_rows) < 0.7
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(W)))
    for row in D.to_dense()[rows]:
        graph.add_edge(*np.flatnonzero(row).tolist())
    n_components, labels = D.components(rows)
    expected = {frozenset(part) for part in networkx.connected_components(graph)}
    found = {
        frozenset(np.flatnonzero(labels == k).tolist()) for k in range(n_components)
    }
    assert found == expected
    firsts = [int(np.flatnonzero(labels == k)[0]) for k in range(n_components)]
    assert firsts == sorted(firsts)
    n_all, all_labels = D.components()
    count, _ = csgraph.connected_components(sparse.csr_array(W), directed=False)
    assert n_all == count == all_labels.max() + 1


@given(st.integers(0, 10**6))
def test_coefficients_are_equal_within_components(seed):
    """The kernel of the rows is spanned by the components, ground excluded."""
    rng = np.random.default_rng(seed)
    D = with_identity(graph_incidence(random_adjacency(seed, n_nodes=8) + CYCLE), 0.5)
    zero = rng.uniform(size=D.n_rows) < 0.4
    n_components, labels = D.components(zero)
    indicators = (labels == np.arange(n_components)[:, None]).astype(float)
    assert not D.row_subset(zero).dot(indicators).any()
    rank = np.linalg.matrix_rank(D.to_dense()[zero]) if zero.any() else 0
    assert rank == D.n_features - n_components


CYCLE = np.zeros((8, 8))
CYCLE[np.arange(8), np.arange(8) - 1] = CYCLE[np.arange(8) - 1, np.arange(8)] = 1


def test_rank_of_graphs():
    W = np.zeros((5, 5))
    for i, j in [(0, 1), (1, 2), (3, 4)]:
        W[i, j] = W[j, i] = 1.0
    assert graph_incidence(W).full_row_rank is True
    W[0, 2] = W[2, 0] = 1.0
    assert graph_incidence(W).full_row_rank is False
    grounded = [[1, 0, 0], [1, -1, 0], [0, 0, 2.0]]
    assert as_transform(grounded).full_row_rank is True
    assert as_transform([*grounded[:2], [0, 1, 0]]).full_row_rank is False


def test_rank_of_other_matrices():
    A = random_matrix(0, m=5, p=8)
    assert as_transform(A).full_row_rank is True
    A[4] = A[0] + A[1]
    assert as_transform(A).full_row_rank is False
    wide = differences(2100, order=2).matrix
    assert as_transform(wide).full_row_rank is None


def test_what_is_a_graph():
    assert as_transform([[2.0, -2.0, 0], [0, 0, 3.0]]).is_graph
    assert not as_transform([[2.0, -1.0, 0], [0, 0, 3.0]]).is_graph
    assert not as_transform([[1.0, 1.0, 0]]).is_graph
    assert not differences(5, order=2).is_graph
    assert not as_transform(aslinearoperator(np.eye(3))).is_graph
    with pytest.raises(ValueError, match="components are defined if .* kind 'differe"):
        differences(5, order=2).components()
    with pytest.raises(ValueError, match=r"bool array of shape \(4,\), got int64"):
        differences(5).components([0, 1, 2, 3])


# ---- the norm ------------------------------------------------------------------------


@pytest.fixture
def bounds_only(monkeypatch):
    """No map is small enough for an exact norm."""
    monkeypatch.setattr(_transform_norm, "EXACT", 0)
    monkeypatch.setattr(_transform_norm, "SMALL_OPERATOR", 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: differences(40, 2),
        lambda: differences(40, 3),
        lambda: as_transform(np.diff(np.eye(30), axis=0)),
        lambda: graph_incidence(networkx.grid_2d_graph(9, 6)),
        lambda: graph_incidence(networkx.star_graph(20)),
        lambda: grid_gradient((20, 10), np.arange(200).reshape(20, 10) % 17 > 0),
        lambda: grid_gradient((5, 4, 6), np.arange(120).reshape(5, 4, 6) % 17 > 0),
        lambda: stack(differences(40), differences(40, 2)),
    ],
)
def test_bound_is_attained_by_lines_grids_and_bipartite_graphs(make, bounds_only):
    D = make()
    exact = np.linalg.norm(D.to_dense(), 2)
    np.testing.assert_allclose(D.norm, exact, rtol=1e-6)
    assert D.norm >= exact * (1 - 1e-14)


@pytest.mark.parametrize("shape", [2, 3, 17, (1, 6), (9, 5), (4, 3, 5)])
def test_norm_of_grids_in_closed_form(shape):
    D = grid_gradient(shape)
    np.testing.assert_allclose(D.norm, np.linalg.norm(D.to_dense(), 2), rtol=1e-13)


@given(st.integers(0, 10**6))
def test_norm_is_a_bound_and_moves_with_no_permutation(seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_transform_norm, "EXACT", 0)
        rng = np.random.default_rng(seed)
        W = random_adjacency(seed, n_nodes=10) + np.eye(10, k=1) + np.eye(10, k=-1)
        move = rng.permutation(10)
        first, second = graph_incidence(W), graph_incidence(W[np.ix_(move, move)])
        exact = np.linalg.norm(first.to_dense(), 2)
        np.testing.assert_allclose(first.norm, second.norm, rtol=1e-11)
        assert exact * (1 - 1e-14) <= first.norm <= np.sqrt(2) * exact

        A = rng.standard_normal((9, 7))
        B = A[rng.permutation(9)][:, rng.permutation(7)]
        first, second = as_transform(A), as_transform(B)
        np.testing.assert_allclose(first.norm, second.norm, rtol=1e-11)
        np.testing.assert_allclose(first.norm, np.linalg.norm(A, 2), rtol=1e-11)


def test_bound_of_a_graph_with_parts_of_different_norm(bounds_only):
    graph = networkx.disjoint_union(networkx.star_graph(9), networkx.path_graph(30))
    D = graph_incidence(graph)
    np.testing.assert_allclose(D.norm, np.sqrt(10), rtol=1e-10)
    unused = sparse.hstack([D.matrix, sparse.csr_array((D.n_rows, 3))])
    np.testing.assert_allclose(as_transform(unused).norm, np.sqrt(10), rtol=1e-10)


def test_norm_of_a_complete_graph():
    # its largest eigenvalue is repeated; the bound is that of the degrees
    W = np.ones((8, 8)) - np.eye(8)
    D = graph_incidence(W)
    np.testing.assert_allclose(D.norm, np.sqrt(8), rtol=1e-14)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_transform_norm, "EXACT", 0)
        np.testing.assert_allclose(graph_incidence(W).norm, np.sqrt(14), rtol=1e-14)


def test_norm_of_operators_has_a_margin(bounds_only):
    A = random_matrix(0, m=30, p=20)
    exact = np.linalg.norm(A, 2)
    estimate = as_transform(aslinearoperator(A)).norm
    assert exact <= estimate <= 1.03 * exact


# ---- bad input -----------------------------------------------------------------------


def operator(matvec, rmatvec=None, shape=(3, 3)):
    return LinearOperator(shape, matvec=matvec, rmatvec=rmatvec, dtype=np.float64)


@pytest.mark.parametrize(
    ("D", "error", "message"),
    [
        (np.eye(2), ValueError, "D has 2 columns, but there are 3 coefficients"),
        ([[1.0, -1, 0], [0, 0, 0]], ValueError, r"1 of the 2 rows of D .* rows \[1\]"),
        (
            sparse.csr_array((7, 3)),
            ValueError,
            r"7 of the 7 rows of D have no nonzero entry, rows \[0, 1, 2, 3, 4, ...\]",
        ),
        (
            sparse.csr_array(([0.0, 1.0], ([0, 1], [0, 2])), shape=(2, 3)),
            ValueError,
            r"1 of the 2 rows of D have no nonzero entry, rows \[0\]; remove them",
        ),
        ([[1.0, np.nan, 0]], ValueError, "D must be finite, got NaN .* row_weight=inf"),
        (sparse.csr_array([[np.inf, 0, 0]]), ValueError, "D must be finite, got NaN"),
        (np.ones(3), ValueError, r"two dimensions, .* got shape \(3,\)"),
        (np.ones((0, 3)), ValueError, r"two dimensions, .* got shape \(0, 3\)"),
        (5, ValueError, r"two dimensions, .* got shape \(\)"),
        ("fused", ValueError, "D='fused' is unknown; use 'identity', 'differences', a"),
        (
            {"a": 1},
            TypeError,
            "D must be None, 'identity', .* LinearOperator, got dict",
        ),
        (np.ones((2, 3)) * 1j, TypeError, "D must hold real numbers, .* complex128"),
        (
            [["a", "b", "c"]],
            TypeError,
            "D must hold real numbers, got an array of dtyp",
        ),
        (operator(lambda v: v), ValueError, "without a transpose: its rmatvec cannot"),
        (
            operator(lambda v: 2 * v, lambda u: u),
            ValueError,
            r"rmatvec of D is not the transpose of its matvec: .* = -?[\d.]+ but",
        ),
        (
            operator(lambda v: v * np.nan, lambda u: u),
            ValueError,
            "matvec of D returns NaN or infinity",
        ),
        (
            operator(lambda v: v, lambda u: u * 1j),
            TypeError,
            "rmatvec of D must hold real numbers",
        ),
        (
            operator(lambda v: v[:0], lambda u: np.zeros(3), (0, 3)),
            ValueError,
            r"D must have rows and columns, got shape \(0, 3\)",
        ),
    ],
)
def test_bad_maps(D, error, message):
    with pytest.raises(error, match=message):
        as_transform(D, 3)


def asymmetric(*entries):
    W = np.eye(4, k=1) + np.eye(4, k=-1)
    for i, j, value in entries:
        W[i, j] = value
    return W


NAMED = pd.DataFrame(asymmetric((0, 2, 3.0)), index=list("abcd"), columns=list("abcd"))


@pytest.mark.parametrize(
    ("adjacency", "message"),
    [
        (np.ones((2, 3)), r"must be a square matrix, got shape \(2, 3\)"),
        (asymmetric((1, 1, 2)), "self loop, 2 between nodes 1 and 1; set the diagonal"),
        (
            asymmetric((1, 2, -3), (2, 1, -3)),
            "negative weight, -3 between nodes 1 and 2; use weights >= 0",
        ),
        (
            asymmetric((0, 2, 3.0)),
            "from node 0 to node 2 is 3 and back it is 0; use",
        ),
        (NAMED, "from node 'a' to node 'c' is 3 and back it is 0"),
        (NAMED[list("bacd")], "the same labels, in the same order"),
        (networkx.DiGraph([("x", "y")]), "from node 'x' to node 'y' is 1 and back it"),
        (asymmetric((0, 1, np.nan)), "adjacency must be finite"),
        (np.zeros((3, 3)), "adjacency has no edge"),
        (networkx.empty_graph(3), "adjacency has no edge"),
    ],
)
def test_bad_graphs(adjacency, message):
    with pytest.raises(ValueError, match=message):
        graph_incidence(adjacency)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: identity(0), ValueError, "p must be at least 1, got 0"),
        (lambda: identity(2.0), TypeError, "p must be an integer, got 2.0"),
        (lambda: differences(1), ValueError, "p must be at least 2, got 1"),
        (
            lambda: differences(4, 4),
            ValueError,
            "order must be less than the number of coefficients p=4, got 4",
        ),
        (lambda: differences(4, 0), ValueError, "order must be at least 1, got 0"),
        (lambda: as_transform("identity"), ValueError, r"use identity\(p\) instead"),
        (lambda: grid_gradient(()), ValueError, "at least one axis"),
        (lambda: grid_gradient(2.5), TypeError, "axis of shape must be an integer"),
        (lambda: grid_gradient((3, 0)), ValueError, "axis of shape must be at least 1"),
        (
            lambda: grid_gradient((1, 1)),
            ValueError,
            r"shape \(1, 1\) has no neighbouring pixels",
        ),
        (
            lambda: grid_gradient((2, 2), np.eye(2, dtype=bool)),
            ValueError,
            r"shape \(2, 2\) with this mask has no neighbouring pixels",
        ),
        (
            lambda: grid_gradient((2, 2), np.eye(2)),
            ValueError,
            r"bool array of shape \(2, 2\), got float64 of shape \(2, 2\)",
        ),
        (
            lambda: grid_gradient((2, 3), np.eye(2, dtype=bool)),
            ValueError,
            r"bool array of shape \(2, 3\), got bool of shape \(2, 2\)",
        ),
        (lambda: stack(), ValueError, "number of columns is known, got ()"),
        (lambda: stack("identity"), ValueError, "number of columns is known"),
        (
            lambda: stack(identity(3), identity(4)),
            ValueError,
            "D has 4 columns, but there are 3 coefficients",
        ),
        (
            lambda: stack(identity(3), factors=(1, 2)),
            ValueError,
            "one number for each of the 1 transforms, got 2",
        ),
        (
            lambda: stack(identity(3), factors=[0]),
            ValueError,
            "every one of factors must be positive and finite, got 0",
        ),
        (
            lambda: with_identity(differences(3), rho=-1),
            ValueError,
            "rho must be positive and finite, got -1",
        ),
        (
            lambda: comparisons([1, 2]),
            ValueError,
            r"two columns and at least one row, got shape \(2,\)",
        ),
        (lambda: comparisons([(0, -1)]), ValueError, "has the index -1; indices start"),
        (
            lambda: comparisons([(0, 5)], n_items=5),
            ValueError,
            "has the index 5, but n_items=5 allows at most 4",
        ),
        (
            lambda: comparisons([("a", "b")], n_items=5),
            ValueError,
            "2 different labels, but n_items=5",
        ),
        (
            lambda: comparisons([(0, 1), (2, 2)]),
            ValueError,
            r"an item with itself in rows \[1\]",
        ),
        (
            lambda: comparisons([(0.0, 1.0), (np.nan, 1.0)]),
            ValueError,
            r"missing labels in rows \[1\]",
        ),
        (lambda: wavelet(8, "db99"), ValueError, "wavelet='db99' is unknown; use the"),
        (lambda: wavelet(8, 3), ValueError, "wavelet=3 is unknown"),
        (lambda: wavelet(8, "bior2.2"), ValueError, "wavelet='bior2.2' is not orthogo"),
        (lambda: wavelet(8, "dmey"), ValueError, "wavelet='dmey' is not orthogonal"),
        (
            lambda: wavelet(7, "haar"),
            ValueError,
            re.escape("shape (7,) does not fit level=1: every axis must be a multiple"),
        ),
        (
            lambda: wavelet((8, 12), "haar", level=3),
            ValueError,
            r"multiple of 2 \*\* level = 8. level=2 fits",
        ),
        (lambda: wavelet(8, level=0), ValueError, "level must be at least 1, got 0"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_wavelets_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(ImportError, match=r'pip install "sparselbi\[wavelets\]"'):
        wavelet(8)


# ---- what a user sees ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("D", "text"),
    [
        (identity(4), "Transform(identity, 4 rows, 4 features)"),
        (
            differences(9, 2),
            "Transform(differences of order 2, 7 rows, 9 features)",
        ),
        (
            grid_gradient((3, 4), MASK, isotropic=True),
            "Transform(grid 3 x 4 with mask, 3 rows, 6 features, 3 groups, "
            "3 components)",
        ),
        (
            with_identity(differences(3)),
            "Transform(stack, 5 rows, 3 features, 0 components, "
            "3 features tied to the ground)",
        ),
        (
            graph_incidence(networkx.path_graph(3)),
            "Transform(graph, 2 rows, 3 features, 1 component)",
        ),
    ],
)
def test_repr(D, text):
    assert repr(D) == text
