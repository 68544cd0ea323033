"""Spaces ker D_{S^c}: projections, dimensions and bases against dense algebra."""

import gc
import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from sparselbi.penalties import _kernel_blocks, kernel_spaces, transforms
from sparselbi.penalties.kernel_spaces import basis, decompose, dimension, project

SHARES = (0.0, 0.1, 0.4, 0.8, 1.0)


def random_matrix(m, p, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    if rank is None:
        return rng.normal(size=(m, p))
    return rng.normal(size=(m, rank)) @ rng.normal(size=(rank, p))


def two_lines_and_a_point():
    adjacency = np.zeros((11, 11))
    for i in (0, 1, 2, 5, 6, 7, 8):
        adjacency[i, i + 1] = adjacency[i + 1, i] = i + 1.0
    return transforms.graph_incidence(adjacency)


def chains_of_second_differences():
    return sp.block_diag([np.diff(np.eye(9), 2, axis=0)] * 12, format="csr")


MAPS = {
    "identity": lambda: transforms.identity(15),
    "line": lambda: transforms.differences(30),
    "trend": lambda: transforms.differences(30, 2),
    "cubic": lambda: transforms.differences(25, 4),
    "shortest": lambda: transforms.differences(4, 3),
    "grid": lambda: transforms.grid_gradient((5, 6)),
    "masked grid": lambda: transforms.grid_gradient(
        (6, 7), mask=np.random.default_rng(0).random((6, 7)) < 0.7
    ),
    "graph": two_lines_and_a_point,
    "comparisons": lambda: transforms.comparisons(
        np.random.default_rng(1).permuted(np.tile(np.arange(9), (14, 1)), axis=1)[:, :2]
    ),
    "tied grid": lambda: transforms.with_identity(transforms.grid_gradient((4, 5)), 3),
    "tied trend": lambda: transforms.with_identity(transforms.differences(30, 2), 0.1),
    "two orders": lambda: transforms.stack(
        transforms.differences(25, 2), transforms.differences(25)
    ),
    "wavelet": lambda: transforms.wavelet(32, "haar"),
    "blocks": lambda: transforms.as_transform(chains_of_second_differences()),
    "wide": lambda: transforms.as_transform(random_matrix(10, 25)),
    "tall": lambda: transforms.as_transform(random_matrix(40, 25)),
    "low rank": lambda: transforms.as_transform(random_matrix(30, 20, 8)),
    "operator": lambda: transforms.as_transform(
        aslinearoperator(random_matrix(15, 20))
    ),
}


@pytest.fixture(params=MAPS)
def D(request):
    if request.param == "wavelet":
        pytest.importorskip("pywt")
    return MAPS[request.param]()


def sets(D, shares=SHARES, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random(D.n_rows) < share for share in shares]


def dense(matrix):
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)


def projector(D, active):
    """I - pinv(A) A for the inactive rows A, by singular vectors."""
    A = D.to_dense()[~active]
    A = A / np.linalg.norm(A, axis=1, keepdims=True)
    _, size, vectors = np.linalg.svd(A, full_matrices=False)
    rows = vectors[size > 1e-10]
    return np.eye(D.n_features) - rows.T @ rows


def check_all(D, active, tolerance=1e-11):
    """Projection, dimension and basis of one set, against dense algebra."""
    P = projector(D, active)
    coef = np.random.default_rng(3).normal(size=(2, 3, D.n_features))
    found = project(D, active, coef)
    np.testing.assert_allclose(found, coef @ P, atol=tolerance)
    np.testing.assert_allclose(project(D, active, found), found, atol=tolerance)
    np.testing.assert_allclose(project(D, active, coef[0, 0]), found[0, 0], atol=1e-14)
    rank = round(np.trace(P))
    N = dense(basis(D, active))
    assert N.shape == (D.n_features, rank)
    assert dimension(D, active) in (rank, None)
    Q = np.linalg.qr(N)[0]
    np.testing.assert_allclose(Q @ Q.T, P, atol=tolerance)
    return rank


def test_projection_dimension_and_basis(D):
    for active in sets(D):
        check_all(D, active)
        assert dimension(D, active) is not None


@pytest.mark.parametrize("name", ["tied trend", "two orders", "blocks", "wide", "tall"])
def test_one_decomposition_serves_all_sets(name, monkeypatch):
    monkeypatch.setattr(kernel_spaces, "_CHEAP", 0)
    D = MAPS[name]()
    for active in sets(D, (0.0, 0.1, 0.3, 0.5, 0.8, 0.95, 1.0)):
        check_all(D, active)
    assert kernel_spaces.kernel_spaces(D)._shared is not None


def test_dependent_rows_in_one_decomposition(monkeypatch):
    """Duplicated rows and a rank that grows by more than the number of active rows."""
    monkeypatch.setattr(kernel_spaces, "_CHEAP", 0)
    rng = np.random.default_rng(0)
    A = rng.normal(size=(20, 15))
    D = transforms.as_transform(np.vstack([A, A[:6], 2 * A[3:9], random_matrix(4, 15)]))
    for share in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
        for active in sets(D, (share,) * 3, seed=int(100 * share)):
            check_all(D, active)


@pytest.mark.parametrize("name", ["wide", "blocks", "operator"])
def test_large_maps_are_projected_iteratively(name, monkeypatch):
    monkeypatch.setattr(kernel_spaces, "_CHEAP", 0)
    monkeypatch.setattr(kernel_spaces, "_AFFORDABLE", 0)
    D = MAPS[name]()
    knows_rank = D.full_row_rank
    for active in sets(D):
        coef = np.random.default_rng(0).normal(size=(2, D.n_features))
        np.testing.assert_allclose(
            project(D, active, coef), coef @ projector(D, active), atol=1e-11
        )
        if knows_rank:
            check_all(D, active)
        elif not active.all():
            assert dimension(D, active) is None
            with pytest.raises(ValueError, match="cannot be decided"):
                basis(D, active)


def test_iterative_projection_says_when_it_does_not_converge(monkeypatch):
    monkeypatch.setattr(kernel_spaces, "_AFFORDABLE", 0)
    monkeypatch.setattr(_kernel_blocks, "_MAX_STEPS", 3)
    D = transforms.as_transform(random_matrix(20, 30))
    with pytest.raises(ArithmeticError, match="did not converge within 3 steps"):
        project(D, np.zeros(20, dtype=bool), np.ones(30))


# -- structures ------------------------------------------------------------------------


def test_identity_is_masking():
    coef = np.random.default_rng(0).normal(size=12)
    active = np.arange(12) % 3 == 0
    D = transforms.identity(12)
    np.testing.assert_array_equal(project(D, active, coef), coef * active)
    np.testing.assert_array_equal(dense(basis(D, active)), np.eye(12)[:, active])


def slow_pieces(D, active):
    """Merge labels edge by edge; -1 is the ground."""
    labels = list(range(D.n_features))
    for row in D.to_dense()[~active]:
        ends = np.flatnonzero(row)
        names = {labels[i] for i in ends} | ({-1} if len(ends) == 1 else set())
        labels = [min(names) if name in names else name for name in labels]
    return np.array(labels)


@pytest.mark.parametrize("name", ["line", "grid", "masked grid", "graph", "tied grid"])
def test_graphs_are_averaged_on_pieces(name):
    D = MAPS[name]()
    coef = np.random.default_rng(0).normal(size=D.n_features)
    for active in sets(D):
        labels = slow_pieces(D, active)
        expected = [coef[labels == k].mean() if k >= 0 else 0.0 for k in labels]
        np.testing.assert_allclose(project(D, active, coef), expected, atol=1e-14)
        assert dimension(D, active) == len(set(labels) - {-1})
        N = dense(basis(D, active))
        np.testing.assert_array_equal(N.sum(axis=1), labels >= 0)
        assert set(np.unique(N)) <= {0.0, 1.0}


def test_long_means_are_not_rounded_away():
    """A constant survives to the last digit, large means to nearly that."""
    D = transforms.grid_gradient((300, 300))
    active = np.zeros(D.n_rows, dtype=bool)
    np.testing.assert_array_equal(project(D, active, np.full(90_000, 0.1)), 0.1)
    noise = np.random.default_rng(0).normal(size=90_000)
    found = project(D, active, 1e8 + noise)
    exact = math.fsum(1e8 + noise) / 90_000
    np.testing.assert_allclose(found, exact, rtol=3e-16)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.1, 0.7])
def test_splines_are_well_conditioned(order, share):
    """Where the rows of D have condition numbers of 1e6 to 1e13."""
    p = 2000
    D = transforms.differences(p, order)
    active = np.random.default_rng(order).random(D.n_rows) < share
    N = basis(D, active)
    assert N.nnz <= order * p
    assert np.linalg.cond(dense(N.T @ N)) < 40
    np.testing.assert_allclose(D.dot(dense(N).T)[:, ~active], 0, atol=1e-15 * 4**order)
    # What is in the space stays: polynomials, and splines with these knots.
    x = np.linspace(-1, 1, p)
    inside = np.vstack([x ** (order - 1), dense(N)[:, N.shape[1] // 2]])
    np.testing.assert_allclose(project(D, active, inside), inside, atol=1e-13)
    coef = np.random.default_rng(0).normal(size=p)
    rest = coef - project(D, active, coef)
    np.testing.assert_allclose(N.T @ rest, 0, atol=1e-12)


def test_splines_of_order_one_are_pieces():
    D = transforms.differences(20)
    other = kernel_spaces._Splines(D)
    D.__dict__["order"] = 1
    coef = np.random.default_rng(0).normal(size=20)
    for active in sets(D):
        found = other.project(active, coef)
        np.testing.assert_allclose(found, project(D, active, coef), atol=1e-14)


def test_all_active_changes_nothing(D):
    coef = np.random.default_rng(0).normal(size=D.n_features)
    found = project(D, np.ones(D.n_rows, dtype=bool), coef)
    np.testing.assert_allclose(found, coef, atol=1e-14)


# -- invariances -----------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_order_and_units_do_not_matter(seed, share):
    rng = np.random.default_rng(seed)
    m, p = rng.integers(2, 12, size=2)
    A = rng.normal(size=(m, p)) * (rng.random((m, p)) < rng.uniform(0.2, 1))
    A[np.arange(m), rng.integers(p, size=m)] = 1.0
    active, coef = rng.random(m) < share, rng.normal(size=p)
    rows, columns = rng.permutation(m), rng.permutation(p)
    units = 10.0 ** rng.integers(-6, 7, size=(m, 1))
    D = transforms.as_transform(A)
    E = transforms.as_transform(sp.csr_array((units * A)[rows][:, columns]))
    first = project(D, active, coef)
    second = project(E, active[rows], coef[columns])
    np.testing.assert_allclose(second, first[columns], atol=1e-10)
    assert dimension(D, active) == dimension(E, active[rows])


@given(seed=st.integers(0, 10**6))
def test_more_active_rows_mean_more_room(seed):
    rng = np.random.default_rng(seed)
    names = [name for name in MAPS if name != "wavelet"]  # needs PyWavelets
    D = MAPS[names[seed % len(names)]]()
    few = rng.random(D.n_rows) < 0.3
    many = few | (rng.random(D.n_rows) < 0.3)
    coef = rng.normal(size=D.n_features)
    inside = project(D, few, coef)
    np.testing.assert_allclose(project(D, many, inside), inside, atol=1e-10)
    distance = [np.linalg.norm(coef - project(D, s, coef)) for s in (few, many)]
    assert distance[1] <= distance[0] + 1e-12
    assert dimension(D, few) <= dimension(D, many)


# -- questions and answers -------------------------------------------------------------


def test_sets_with_the_same_pieces_have_one_key():
    D = transforms.grid_gradient((2, 2))
    spaces = kernel_spaces.kernel_spaces(D)
    one_open = [spaces.key(np.arange(4) == k) for k in range(4)]
    assert len(set(one_open)) == 1  # three edges still join all four pixels
    assert spaces.key(np.ones(4, dtype=bool)) != one_open[0]
    trend = kernel_spaces.kernel_spaces(transforms.differences(8, 2))
    assert trend.key(np.arange(6) == 1) != trend.key(np.arange(6) == 2)


def test_asking_again_in_another_order_gives_the_same():
    D = MAPS["tall"]()
    first, second = sets(D, (0.6, 0.8))
    coef = np.random.default_rng(0).normal(size=25)
    answers = [(project(D, s, coef), dimension(D, s)) for s in (first, second, first)]
    np.testing.assert_array_equal(answers[0][0], answers[2][0])
    assert answers[0][1] == answers[2][1]
    assert answers[0][1] < answers[1][1]


def test_spaces_go_when_the_map_goes():
    gc.collect()
    before = len(kernel_spaces._known)
    D = transforms.differences(10)
    dimension(D, np.ones(9, dtype=bool))
    assert len(kernel_spaces._known) == before + 1
    del D
    gc.collect()
    assert len(kernel_spaces._known) == before


def test_wrong_shapes_are_explained():
    D = transforms.differences(5)
    with pytest.raises(ValueError, match=r"active has shape \(5,\)"):
        project(D, np.ones(5, dtype=bool), np.ones(5))
    with pytest.raises(ValueError, match="dtype int64"):
        dimension(D, np.array([0, 1, 2, 3]))
    with pytest.raises(ValueError, match=r"coef has shape \(4,\)"):
        project(D, np.ones(4, dtype=bool), np.ones(4))


# -- strong, weak and null parts -------------------------------------------------------


def test_parts_sum_to_the_coefficients(D):
    coef = np.random.default_rng(0).normal(size=(2, D.n_features))
    for active in sets(D):
        parts = decompose(D, active, coef)
        np.testing.assert_array_equal(parts.strong, project(D, active, coef))
        total = parts.strong + parts.weak + parts.null
        np.testing.assert_allclose(total, coef, atol=1e-13)
        np.testing.assert_array_equal(parts.rest, parts.weak + parts.null)
        product = (parts.strong * parts.rest).sum(axis=1)
        np.testing.assert_allclose(product, 0, atol=1e-11)
        assert not (parts.weak * parts.null).any()
        assert (np.abs(parts.null) <= parts.threshold).all()
        assert (np.abs(parts.weak[parts.weak != 0]) > parts.threshold).all()


def test_quantile_counts_what_is_outside_the_strong_part():
    D = transforms.identity(10)
    coef = np.array([9.0, -8, 1, -2, 3, -4, 5, -6, 7, 0])
    active = np.arange(10) < 2
    parts = decompose(D, active, coef)
    np.testing.assert_array_equal(parts.strong, coef * active)
    np.testing.assert_array_equal(np.flatnonzero(parts.null), [2, 3, 4])
    np.testing.assert_array_equal(np.flatnonzero(parts.weak), [5, 6, 7, 8])
    assert parts.threshold == 3
    for share, n_weak in ((0, 7), (0.8, 2), (1, 0)):
        found = decompose(D, active, coef, null_quantile=share)
        assert np.count_nonzero(found.weak) == n_weak
    parts = decompose(D, active, coef, null_threshold=5)
    np.testing.assert_array_equal(np.flatnonzero(parts.weak), [7, 8])
    assert not decompose(D, active, coef, null_threshold=np.inf).weak.any()
    assert not decompose(D, active, coef, null_threshold=0).null.any()


def test_rounding_is_no_weak_signal():
    D = transforms.differences(6, 2)
    active = np.zeros(4, dtype=bool)
    parts = decompose(D, active, 1e6 + np.arange(6) / 3)
    assert not parts.rest.any()
    assert parts.threshold == 0


def test_bad_thresholds_are_explained():
    D, active = transforms.identity(3), np.ones(3, dtype=bool)
    for bad in (-1, np.nan):
        with pytest.raises(ValueError, match="null_threshold="):
            decompose(D, active, np.ones(3), null_threshold=bad)
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="null_quantile="):
            decompose(D, active, np.ones(3), null_quantile=bad)


def test_zero_coefficients_are_no_problem(D):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = decompose(D, np.zeros(D.n_rows, dtype=bool), np.zeros(D.n_features))
    assert not parts.strong.any()
    assert parts.threshold == 0
