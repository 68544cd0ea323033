"""Simulated signals, images and graphs: the truth has the structure it promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph

from sparselbi.datasets import structured
from sparselbi.datasets.structured import (
    make_clustered_graph,
    make_piecewise_constant_image,
    make_piecewise_constant_signal,
    make_piecewise_linear_signal,
    make_split_study,
)
from sparselbi.penalties.transforms import (
    differences,
    graph_incidence,
    grid_gradient,
    with_identity,
)

SIGNALS = {1: make_piecewise_constant_signal, 2: make_piecewise_linear_signal}
MAKERS = [
    make_split_study,
    *SIGNALS.values(),
    make_piecewise_constant_image,
    make_clustered_graph,
]


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_same_data(make):
    first, again, other = (make(random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.y, again.y)
    assert (first.y != other.y).any()


@pytest.mark.parametrize("make", MAKERS[:-1])
def test_noise_changes_only_its_own_size(make):
    quiet, loud = make(noise=0.0, random_state=0), make(noise=2.0, random_state=0)
    unit = make(noise=1.0, random_state=0)
    truth = quiet.X @ quiet.coef if "X" in quiet else quiet.truth
    np.testing.assert_array_equal(quiet.y, truth)
    np.testing.assert_allclose(loud.y - truth, 2 * (unit.y - truth), atol=1e-13)
    assert loud.noise_std == 2.0


def test_noise_has_the_given_deviation():
    image = make_piecewise_constant_image((200, 200), noise=0.7, random_state=0)
    # standard error of a standard deviation from 40,000 draws: 0.7 / sqrt(80,000)
    np.testing.assert_allclose(np.std(image.y - image.truth), 0.7, atol=0.01)


# ---- the study of Split LBI ----------------------------------------------------------


def test_split_study():
    data = make_split_study()
    assert data.X.shape == (50, 50)
    position = np.arange(1, 51)
    expected = np.select(
        [
            (position >= 8) & (position <= 12),
            (position >= 21) & (position <= 25),
            (position >= 33) & (position <= 37),
        ],
        [-2, 2, -2],
    )
    np.testing.assert_array_equal(data.coef, expected)
    np.testing.assert_array_equal(data.support, np.flatnonzero(expected))
    rows = with_identity(differences(50)).dot(data.coef)
    assert np.count_nonzero(rows[:50]) == 15
    assert np.count_nonzero(rows[50:]) == 6
    wide = make_split_study(20, 80, noise=0.5, random_state=1)
    assert wide.X.shape == (20, 80)
    np.testing.assert_array_equal(wide.support, data.support)


# ---- signals -------------------------------------------------------------------------


@pytest.mark.parametrize("order", SIGNALS)
@given(
    n_breaks=st.integers(0, 6),
    min_length=st.integers(1, 8),
    spare=st.integers(0, 30),
    seed=st.integers(0, 10**6),
)
def test_breakpoints_are_where_differences_are_not_zero(
    order, n_breaks, min_length, spare, seed
):
    min_length = max(min_length, order)  # a line needs two points
    n_points = (n_breaks + 1) * min_length + spare + order
    data = SIGNALS[order](n_points, n_breaks, min_length=min_length, random_state=seed)
    assert data.truth.shape == data.y.shape == (n_points,)
    assert abs(data.truth.mean()) < 1e-12
    rows = differences(n_points, order).dot(data.truth)
    assert np.flatnonzero(abs(rows) > 1e-10).tolist() == (data.breakpoints - 1).tolist()
    assert (np.diff([0, *data.breakpoints, n_points]) >= min_length).all()


def test_every_place_of_a_breakpoint_is_drawn():
    found = [
        make_piecewise_constant_signal(
            8, 2, min_length=2, random_state=seed
        ).breakpoints
        for seed in range(200)
    ]
    pairs, counts = np.unique(found, axis=0, return_counts=True)
    allowed = [(a, b) for a in range(2, 5) for b in range(a + 2, 7)]
    assert pairs.tolist() == [list(pair) for pair in allowed]
    # six equally likely pairs in 200 draws: 33 each, standard deviation 5
    assert counts.min() > 33 - 5 * 5


def test_jumps_and_rises_have_the_given_size():
    data = make_piecewise_constant_signal(300, 20, jump=(0.5, 0.75), random_state=0)
    jumps = np.diff(data.truth)[data.breakpoints - 1]
    assert (np.abs(jumps) >= 0.5).all()
    assert (np.abs(jumps) <= 0.75).all()
    assert len(set(np.sign(jumps))) == 2
    fixed = make_piecewise_constant_signal(300, 20, jump=2, random_state=0)
    jumps = np.abs(np.diff(fixed.truth)[fixed.breakpoints - 1])
    np.testing.assert_allclose(jumps, 2, rtol=1e-12)

    data = make_piecewise_linear_signal(300, 9, rise=(3.0, 4.0), random_state=0)
    rises = np.diff(data.truth[[0, *data.breakpoints, 299]])
    assert (np.abs(rises) >= 3.0).all()
    assert (np.abs(rises) <= 4.0).all()
    assert (rises[1:] * rises[:-1] < 0).all()


# ---- images --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8), (30, 50), (64, 64)])
def test_image(shape):
    data = make_piecewise_constant_image(shape, random_state=0)
    assert data.y.shape == data.truth.shape == data.labels.shape == shape
    assert set(np.unique(data.labels)) == {0, 1, 2, 3, 4}
    values = np.array([0.0, 1.0, 0.5, -0.5, 1.0])
    np.testing.assert_array_equal(data.truth, values[data.labels])
    border = np.ones(shape, dtype=bool)
    border[1:-1, 1:-1] = False
    assert not data.labels[border].any()


def test_shapes_of_an_image_are_pieces_of_the_gradient():
    data = make_piecewise_constant_image((64, 48))
    D = grid_gradient((64, 48))
    equal = D.dot(data.truth.ravel()) == 0
    count, pieces = D.components(equal)
    # the disk, the rectangle, the triangle, the ring, its hole and the background
    assert count == 6
    for label in range(1, 5):
        assert len(set(pieces[data.labels.ravel() == label])) == 1
    assert len(set(pieces[data.labels.ravel() == 0])) == 2


# ---- graphs --------------------------------------------------------------------------


def check_graph(data, n_clusters, n_within, n_between):
    W, labels = data.adjacency, data.labels
    assert abs(W - W.T).nnz == 0
    assert not W.diagonal().any()
    assert set(W.data) == {1.0}
    edges = W.tocoo()
    same = labels[edges.row] == labels[edges.col]
    assert same.sum() == 2 * n_within
    assert (~same).sum() == 2 * n_between
    sizes = np.bincount(labels)
    assert len(sizes) == n_clusters
    assert np.ptp(sizes) <= 1
    within = W.copy()
    within.data[
        labels[np.repeat(np.arange(len(labels)), np.diff(W.indptr))]
        != labels[W.indices]
    ] = 0
    within.eliminate_zeros()
    count, found = csgraph.connected_components(within, directed=False)
    assert count == n_clusters
    assert len(set(zip(found.tolist(), labels.tolist(), strict=True))) == n_clusters


@pytest.mark.parametrize("all_pairs", [0, structured.ALL_PAIRS])
@settings(max_examples=30)
@given(data=st.data())
def test_clustered_graph(all_pairs, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structured, "ALL_PAIRS", all_pairs)
        n_nodes = data.draw(st.integers(2, 25))
        n_clusters = data.draw(st.integers(1, n_nodes))
        sizes = np.bincount(np.arange(n_nodes) % n_clusters)
        inside = int((sizes * (sizes - 1) // 2).sum())
        outside = n_nodes * (n_nodes - 1) // 2 - inside
        n_within = data.draw(st.integers(n_nodes - n_clusters, inside))
        n_between = data.draw(st.integers(n_within == 0, outside))
        found = make_clustered_graph(
            3,
            n_nodes,
            n_clusters,
            n_within=n_within,
            n_between=n_between,
            random_state=data.draw(st.integers(0, 10**6)),
        )
        check_graph(found, n_clusters, n_within, n_between)


def test_coefficients_are_constant_on_clusters():
    data = make_clustered_graph(40, 30, 3, values=[1, 0, -2], snr=4.0, random_state=0)
    np.testing.assert_array_equal(data.coef, np.array([1.0, 0, -2])[data.labels])
    check_graph(data, 3, 90, 7)
    D = graph_incidence(data.adjacency)
    assert np.count_nonzero(D.dot(data.coef)) == 7
    np.testing.assert_allclose(data.noise_std, np.sqrt(data.coef @ data.coef / 4))
    exact = make_clustered_graph(40, 30, 3, snr=np.inf, random_state=0)
    np.testing.assert_array_equal(exact.y, exact.X @ exact.coef)
    assert sorted(set(exact.coef)) == [-1, 0, 1]
    assert make_clustered_graph(5, 6, 2, values=[0, 0]).noise_std == 1.0


def test_a_large_graph():
    data = make_clustered_graph(
        2, 100_000, 40, n_within=450_000, n_between=50_000, random_state=0
    )
    check_graph(data, 40, 450_000, 50_000)
    # edges spread over the nodes: a tree, and about seven more ends each
    degree = np.diff(data.adjacency.indptr)
    assert degree.mean() == 10
    assert degree.max() < 60


# ---- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (
            make_split_study,
            {"n_features": 36},
            "n_features must be at least 37, got 36",
        ),
        (make_split_study, {"noise": -1}, "noise must be a finite number >= 0, got -1"),
        (
            make_split_study,
            {"noise": np.inf},
            "noise must be a finite number >= 0, got",
        ),
        (
            make_piecewise_constant_signal,
            {"n_points": 20, "n_breaks": 4},
            "5 pieces of at least min_length=5 points do not fit into n_points=20; use",
        ),
        (
            make_piecewise_constant_signal,
            {"jump": (2, 1)},
            r"jump must be a positive number or a pair \(low, high\) .* got \(2, 1\)",
        ),
        (
            make_piecewise_linear_signal,
            {"rise": 0},
            "rise must be a positive number or",
        ),
        (
            make_piecewise_linear_signal,
            {"min_length": 0},
            "min_length must be at least",
        ),
        (
            make_piecewise_constant_image,
            {"shape": (64, 7)},
            "every axis of shape must be at least 8, got 7",
        ),
        (
            make_clustered_graph,
            {"n_clusters": 61},
            "n_clusters must be at most n_nodes",
        ),
        (
            make_clustered_graph,
            {"snr": 0},
            r"snr must be a positive number \(inf: no n",
        ),
        (make_clustered_graph, {"values": [1, 2]}, "for each of the 4 clusters, got"),
        (
            make_clustered_graph,
            {"n_within": 55},
            "n_within must be from 56, which connect the clusters, to 420, the number",
        ),
        (
            make_clustered_graph,
            {"n_between": 1351},
            "n_between must be at most 1350, the number of pairs, got 1351",
        ),
    ],
)
def test_bad_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_wrong_types():
    with pytest.raises(TypeError, match="n_points must be an integer, got 10.5"):
        make_piecewise_constant_signal(10.5)
    with pytest.raises(
        TypeError, match="shape must be a tuple of two integers, got 64"
    ):
        make_piecewise_constant_image(64)
