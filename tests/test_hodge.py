"""Hodge decomposition against pseudo-inverses, and by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparselbi import hodge
from sparselbi.hodge import hodge_decomposition

PARTS = ("gradient", "curl", "harmonic")


def make(seed, n_items=9, n=40):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_items, n)
    pairs = np.stack([first, (first + rng.integers(1, n_items, n)) % n_items], axis=1)
    weight = rng.integers(0, 4, n).astype(float)
    weight[0] = 1
    return pairs, rng.normal(size=n), weight


def triangles_of(edges):
    """Matrix of the curl, one row for each triangle, by going through all triples."""
    index = {tuple(pair): k for k, pair in enumerate(edges.tolist())}
    rows = []
    for i, j, k in itertools.combinations(range(edges.max() + 1), 3):
        if {(i, j), (j, k), (i, k)} <= index.keys():
            row = np.zeros(len(edges))
            row[[index[i, j], index[j, k], index[i, k]]] = 1, 1, -1
            rows.append(row)
    return np.array(rows).reshape(-1, len(edges))


def incidence(edges, n_items):
    C = np.zeros((len(edges), n_items))
    C[np.arange(len(edges)), edges[:, 0]] = 1
    C[np.arange(len(edges)), edges[:, 1]] = -1
    return C


def projection(A, w, flow):
    """Part of a flow in the span of the columns of A, in the product weighted by w."""
    root = np.sqrt(w)
    return A @ (np.linalg.pinv(A * root[:, None], rcond=1e-10) @ (root * flow))


def check(found, n_items):
    """All that defines the decomposition of a flow."""
    C, T = incidence(found.edges, n_items), triangles_of(found.edges)
    w, flow = found.weight, found.flow
    gradient = projection(C, w, flow)
    curl = np.zeros_like(flow)
    if len(T):
        curl = projection((T / w).T, w, flow)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-10)
    np.testing.assert_allclose(found.curl, curl, atol=1e-10)
    np.testing.assert_allclose(found.harmonic, flow - gradient - curl, atol=1e-10)
    np.testing.assert_allclose(C @ found.scores, found.gradient, atol=1e-12)
    sums = np.bincount(found.components, found.scores)
    np.testing.assert_allclose(sums, 0, atol=1e-12)
    # Harmonic: no curl, no divergence.
    np.testing.assert_allclose(T @ found.harmonic, 0, atol=1e-10)
    np.testing.assert_allclose(C.T @ (w * found.harmonic), 0, atol=1e-10)
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("size", [(6, 9), (9, 20), (12, 40), (14, 45), (30, 60)])
@pytest.mark.parametrize("seed", range(4))
def test_the_parts_are_projections(size, seed):
    pairs, y, weight = make(seed, *size)
    found = hodge_decomposition(pairs, y, weight, n_items=size[0])
    check(found, size[0])
    # The flow itself, vote by vote.
    for (i, j), flow, total in zip(found.edges, found.flow, found.weight, strict=True):
        about = {(i, j): 1.0, (j, i): -1.0}
        sign = np.array([about.get(tuple(pair), 0.0) for pair in pairs.tolist()])
        assert total == pytest.approx(np.abs(sign) @ weight)
        assert flow == pytest.approx(weight * sign @ y / total)
    assert found.total == pytest.approx(weight @ y**2)


@pytest.mark.parametrize("seed", range(6))
def test_few_triangles_at_first_are_enough(monkeypatch, seed):
    monkeypatch.setattr(hodge, "_FEW", 3)
    monkeypatch.setattr(hodge, "_PER_EDGE", 0.1)
    monkeypatch.setattr(hodge, "_CHUNK", 5)
    pairs, y, weight = make(seed, 14, 60)
    check(hodge_decomposition(pairs, y, weight, n_items=14), 14)


@given(st.integers(0, 10**6))
def test_weight_is_repetition_and_names_do_not_matter(seed):
    pairs, y, weight = make(seed)
    found = hodge_decomposition(pairs, y, weight, n_items=9)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    again = hodge_decomposition(pairs[rows], y[rows], n_items=9)
    rng = np.random.default_rng(seed)
    name, order = rng.permutation(9), rng.permutation(len(y))
    flip = rng.random(len(y)) < 0.5
    turned = np.where(flip[:, None], pairs[:, ::-1], pairs)
    other = hodge_decomposition(
        name[turned][order], np.where(flip, -y, y)[order], weight[order], n_items=9
    )
    for part in (*PARTS, "disagreement"):
        assert again.shares[part] == pytest.approx(found.shares[part], abs=1e-10)
        assert other.shares[part] == pytest.approx(found.shares[part], abs=1e-10)
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-10)
    np.testing.assert_allclose(other.scores[name], found.scores, atol=1e-10)


@given(st.integers(0, 10**6))
def test_adding_a_ranking_changes_the_gradient_alone(seed):
    pairs, y, weight = make(seed)
    scores = np.random.default_rng(seed + 1).normal(size=9)
    more = y + scores[pairs[:, 0]] - scores[pairs[:, 1]]
    one = hodge_decomposition(pairs, y, weight, n_items=9)
    two = hodge_decomposition(pairs, more, weight, n_items=9)
    np.testing.assert_allclose(two.curl, one.curl, atol=1e-10)
    np.testing.assert_allclose(two.harmonic, one.harmonic, atol=1e-10)
    assert two.disagreement == pytest.approx(one.disagreement, abs=1e-10)


# -- by hand ---------------------------------------------------------------------------


def test_a_triangle():
    # 0 over 1 by 4, 1 over 2 by 1, 2 over 0 by 1: two around, and the rest a ranking.
    found = hodge_decomposition([[0, 1], [1, 2], [2, 0]], [4.0, 1.0, 1.0])
    assert found.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    np.testing.assert_allclose(found.flow, [4, -1, 1])
    np.testing.assert_allclose(found.curl, [2, -2, 2])
    np.testing.assert_allclose(found.gradient, [2, 1, -1])
    np.testing.assert_allclose(found.scores, [1, -1, 0], atol=1e-15)
    assert found.harmonic.tolist() == [0, 0, 0]
    assert found.shares["curl"] == pytest.approx(12 / 18)
    frame = found.triangles()
    assert frame[["first", "second", "third"]].to_numpy().tolist() == [[0, 1, 2]]
    assert frame.curl.tolist() == [6.0]
    assert frame.min_votes.tolist() == [1.0]


def test_disagreement_is_what_averages_hide():
    pairs = [[0, 1], [0, 1], [1, 0], [1, 2]]
    found = hodge_decomposition(pairs, [1, 1, 1, 1], sample_weight=[1, 2, 1, 1])
    np.testing.assert_allclose(found.flow, [0.5, 1])
    assert found.disagreement == pytest.approx(3 * 0.5**2 + 1.5**2)
    assert found.total == 5
    assert found.shares["gradient"] == pytest.approx((4 * 0.25 + 1) / 5)


@pytest.mark.parametrize("n_items", [4, 5, 8])
def test_a_long_cycle_is_harmonic(n_items):
    item = np.arange(n_items)
    pairs = np.stack([item, np.roll(item, -1)], axis=1)
    weight = item + 1.0
    found = hodge_decomposition(pairs, np.ones(n_items), weight)
    # What is the same along the cycle times the weight has no divergence.
    around = n_items / np.sum(1 / weight) / found.weight
    np.testing.assert_allclose(np.abs(found.harmonic), around)
    assert not found.curl.any()
    assert found.triangles().empty
    assert found.shares["harmonic"] == pytest.approx(
        around @ (found.weight * around) / weight.sum()
    )


def test_a_filled_cycle_is_curl():
    # Two triangles make a cycle of four items; no item is compared with all others
    # after a pendant triangle on the other side.
    pairs = [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [2, 4], [4, 3], [4, 5], [5, 3]]
    y = np.random.default_rng(0).normal(size=9)
    found = hodge_decomposition(pairs, y)
    assert np.abs(found.harmonic).max() < 1e-12
    check(found, 6)


@pytest.mark.parametrize("n_items", [3, 6, 40])
def test_no_harmonic_part_on_complete_graphs(n_items):
    pairs = np.array(list(itertools.combinations(range(n_items), 2)))
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 2, len(pairs))
    found = hodge_decomposition(pairs, rng.normal(size=len(pairs)), weight)
    assert (found.harmonic == 0).all()
    if n_items < 10:
        check(found, n_items)


def test_trees_and_single_votes_are_all_ranking():
    found = hodge_decomposition([[0, 1], [2, 1], [1, 3]], [1.0, 5.0, -0.3])
    assert found.gradient.tolist() == found.flow.tolist()
    assert not found.curl.any()
    assert not found.harmonic.any()
    rng = np.random.default_rng(0)
    pairs = [[k, rng.integers(k)] for k in range(1, 200)]
    found = hodge_decomposition(pairs, rng.normal(size=199), rng.uniform(1, 2, 199))
    assert found.gradient.tolist() == found.flow.tolist()
    one = hodge_decomposition([[1, 0]], [2.0])
    assert one.shares == {"gradient": 1, "curl": 0, "harmonic": 0, "disagreement": 0}
    np.testing.assert_allclose(one.scores, [-1, 1])


def test_components_are_apart():
    pairs = np.array([[0, 1], [1, 2], [2, 0]])
    y = np.array([1.0, 1.0, 1.0])
    square = np.array([[5, 6], [6, 7], [7, 8], [8, 5]])
    both = hodge_decomposition(
        np.concatenate([pairs, square]), np.concatenate([y, [2.0, 0, 0, 0]])
    )
    assert both.components.tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3]
    alone = hodge_decomposition(square - 5, [2.0, 0, 0, 0])
    np.testing.assert_allclose(both.harmonic[3:], alone.harmonic)
    np.testing.assert_allclose(both.curl[:3], [1, -1, 1])
    assert "4 components" in repr(both)


def test_a_perfect_ranking_leaves_rounding():
    pairs, _, _ = make(0, 200, 3000)
    scores = np.random.default_rng(0).normal(size=200)
    scores -= scores.mean()
    found = hodge_decomposition(pairs, scores[pairs[:, 0]] - scores[pairs[:, 1]])
    assert found.shares["gradient"] == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(found.scores, scores, atol=1e-12)


def test_ties_alone():
    found = hodge_decomposition([[0, 1], [1, 2], [2, 0]], [0, 0, 0])
    assert not found.scores.any()
    assert all(np.isnan(share) for share in found.shares.values())


# -- tables ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_worst_triangles(seed):
    pairs, y, weight = make(seed, 12, 60)
    found = hodge_decomposition(pairs, y, weight, n_items=12)
    T = triangles_of(found.edges)
    frame = found.triangles(k=1000)
    worst = np.sort(np.abs(T @ found.flow))[::-1]
    np.testing.assert_allclose(frame.curl, worst)
    pd.testing.assert_frame_equal(found.triangles(5), frame[:5])
    assert found.triangles(0).empty
    of = {tuple(pair): k for k, pair in enumerate(found.edges.tolist())}
    for row in frame.itertuples():
        corners = (row.first, row.second, row.third, row.first)
        flows = (row.first_second, row.second_third, row.third_first)
        votes = []
        for a, b, flow in zip(corners, corners[1:], flows, strict=False):
            edge = of[min(a, b), max(a, b)]
            assert flow == (found.flow[edge] if a < b else -found.flow[edge])
            votes.append(found.weight[edge])
        assert row.curl == pytest.approx(sum(flows))
        assert row.min_votes == min(votes)


def test_ties_between_triangles_are_broken_by_items(monkeypatch):
    monkeypatch.setattr(hodge, "_CHUNK", 2)
    pairs = np.array(list(itertools.combinations(range(6), 2)))
    frame = hodge_decomposition(pairs, np.ones(15)).triangles(4)
    items = np.sort(frame[["first", "second", "third"]], axis=1)
    assert items.tolist() == [[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5]]


def test_frame_of_edges():
    pairs, y, weight = make(0)
    found = hodge_decomposition(pairs, y, weight, n_items=9)
    frame = found.to_frame()
    np.testing.assert_allclose(frame.flow, frame[list(PARTS)].sum(axis=1), atol=1e-12)
    np.testing.assert_array_equal(frame[["first", "second"]], found.edges)
    assert frame.votes.sum() == weight.sum()


# -- input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": [[0, 1], [1, 1]]}, "item 1 with itself"),
        ({"pairs": [["a", "b"], ["b", "c"]]}, "integers of shape"),
        ({"pairs": np.empty((0, 2), int), "y": []}, "at least one"),
        ({"n_items": 2}, r"\[1, 2\] in row 1"),
        ({"y": [1.0]}, r"y has shape \(1,\) and pairs has 2 rows"),
        ({"y": [1.0, np.inf]}, "y contains inf in row 1"),
        ({"sample_weight": [1.0, -1.0]}, "sample_weight contains -1"),
        ({"sample_weight": [0.0, 0.0]}, "zero everywhere"),
    ],
)
def test_bad_input(change, message):
    given = {"pairs": [[0, 1], [1, 2]], "y": [1.0, 0.0]} | change
    with pytest.raises(ValueError, match=message):
        hodge_decomposition(**given)


def test_too_many_paths():
    pairs, y, _ = make(0, 50, 600)
    with pytest.raises(ValueError, match="more than max_paths=100; give a larger"):
        hodge_decomposition(pairs, y, max_paths=100)


def test_iterations_that_do_not_settle(monkeypatch):
    monkeypatch.setattr(hodge, "_MAX_LSMR", 2)
    pairs, y, _ = make(0, 50, 300)
    with pytest.raises(RuntimeError, match="does not settle in 2 steps"):
        hodge_decomposition(pairs, y)
