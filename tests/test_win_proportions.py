"""Proportions of wins, their transforms, and the variances of these."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparselbi.win_proportions import (
    TRANSFORMS,
    flow_to_probability,
    probability_to_flow,
    win_proportions,
)


def cast(n=60, n_items=6, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.integers(n_items, size=n)
    second = (first + rng.integers(1, n_items, size=n)) % n_items
    return np.column_stack([first, second]), rng.integers(-1, 2, n).astype(float)


# ------------------------------------------------------------------------- transforms


def test_transforms_are_what_they_are_called():
    p = np.linspace(0.01, 0.99, 25)
    expected = {
        "uniform": 2 * p - 1,
        "bradley_terry": np.log(p / (1 - p)),
        "thurstone_mosteller": stats.norm.ppf(p),
        "angular": np.arcsin(2 * p - 1),
    }
    assert set(expected) == set(TRANSFORMS)
    for name, flow in expected.items():
        np.testing.assert_allclose(probability_to_flow(p, name), flow, atol=1e-14)


@pytest.mark.parametrize("name", TRANSFORMS)
@given(p=st.floats(1e-12, 1 - 1e-12))
def test_links_are_inverse_and_antisymmetric(name, p):
    flow = probability_to_flow(p, name)
    assert flow_to_probability(flow, name) == pytest.approx(p, rel=1e-9, abs=1e-15)
    back = flow_to_probability(-flow, name)
    assert back == pytest.approx(1 - p, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_links_are_probabilities_everywhere(name):
    flow = np.linspace(-50, 50, 1001)
    p = flow_to_probability(flow, name)
    assert (np.diff(p) >= 0).all()
    assert p[0] == pytest.approx(0, abs=1e-20)
    assert p[-1] == 1.0
    assert p[500] == 0.5
    assert probability_to_flow(0.5, name) == 0


def test_wrong_arguments_of_links_raise():
    with pytest.raises(ValueError, match="transform='logit'.*bradley_terry"):
        probability_to_flow(0.3, "logit")
    with pytest.raises(ValueError, match="transform='logit'"):
        flow_to_probability(0.3, "logit")
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=f"contains {bad}"):
            probability_to_flow([0.5, bad])


# -------------------------------------------------------------------------- counting


@pytest.mark.parametrize("weighted", [False, True])
def test_counts_agree_with_a_loop_over_votes(weighted):
    pairs, y = cast()
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 3, len(y)) * 0.5 if weighted else np.ones(len(y))
    found = win_proportions(pairs, y, weight if weighted else None)
    wins, count = {}, {}
    for (i, j), vote, w in zip(pairs.tolist(), y, weight, strict=True):
        if w == 0:
            continue
        key, turn = ((i, j), 1) if i < j else ((j, i), -1)
        wins[key] = wins.get(key, 0) + w * (1 + turn * vote) / 2
        count[key] = count.get(key, 0) + w
    assert [tuple(pair) for pair in found.pairs.tolist()] == sorted(count)
    np.testing.assert_allclose(found.count, [count[key] for key in sorted(count)])
    np.testing.assert_allclose(found.wins, [wins[key] for key in sorted(count)])
    np.testing.assert_allclose(found.proportion, found.wins / found.count)
    frame = found.to_frame()
    assert list(frame) == ["first", "second", "wins", "count", "proportion"]
    assert len(frame) == len(count)


@given(seed=st.integers(0, 1000))
def test_sides_order_and_size_of_votes_do_not_matter(seed):
    pairs, y = cast(seed=seed)
    rng = np.random.default_rng(seed)
    turn, order = rng.random(len(y)) < 0.5, rng.permutation(len(y))
    others = np.where(turn[:, None], pairs[:, ::-1], pairs)[order]
    votes = (np.where(turn, -y, y) * rng.uniform(0.1, 9, len(y)))[order]
    a, b = win_proportions(pairs, y), win_proportions(others, votes)
    np.testing.assert_array_equal(a.pairs, b.pairs)
    np.testing.assert_array_equal(a.wins, b.wins)
    np.testing.assert_array_equal(a.count, b.count)


def test_weights_are_repetitions():
    pairs, y = cast()
    times = np.random.default_rng(2).integers(0, 4, len(y))
    a = win_proportions(pairs, y, times)
    b = win_proportions(np.repeat(pairs, times, axis=0), np.repeat(y, times))
    np.testing.assert_array_equal(a.pairs, b.pairs)
    np.testing.assert_array_equal(a.wins, b.wins)
    np.testing.assert_array_equal(a.count, b.count)


def test_proportions_do_not_exceed_1_by_rounding():
    # Sums of 0.1 depend on their order.
    found = win_proportions([[0, 1]] * 10, np.ones(10), np.full(10, 0.1))
    assert found.proportion[0] == 1.0
    assert found.flows("angular")[0][0] == np.pi / 2


# ---------------------------------------------------------------------------- flows


def test_corrections_are_half_a_vote_where_flows_would_be_infinite():
    found = win_proportions([[0, 1]] * 4 + [[1, 2]], [1, 1, 1, 1, 0])
    flow, weight = found.flows("bradley_terry")
    np.testing.assert_allclose(flow, [np.log(4.5 / 0.5), 0.0], atol=1e-15)
    np.testing.assert_array_equal(weight, [4.0, 1.0])
    flow, _ = found.flows("thurstone_mosteller")
    np.testing.assert_allclose(flow, [stats.norm.ppf(4.5 / 5), 0.0], atol=1e-15)
    np.testing.assert_array_equal(found.flows("uniform")[0], [1.0, 0.0])
    np.testing.assert_array_equal(found.flows("angular")[0], [np.pi / 2, 0.0])
    flow, _ = found.flows("uniform", correction=1.0)
    np.testing.assert_allclose(flow, [2 * 5 / 6 - 1, 0.0])
    with pytest.raises(ValueError, match=r"correction=0.*\[0, 1\].*infinity"):
        found.flows("bradley_terry", correction=0)
    with pytest.raises(ValueError, match="correction=-1"):
        found.flows("uniform", correction=-1)
    with pytest.raises(ValueError, match="weights='size'"):
        found.flows("uniform", weights="size")


def test_variances_have_their_closed_forms():
    pairs, y = cast()
    found = win_proportions(pairs, y)
    wins, losses = found.wins + 0.5, found.count - found.wins + 0.5
    np.testing.assert_allclose(
        found.variances("bradley_terry"), 1 / wins + 1 / losses, rtol=1e-13
    )
    np.testing.assert_allclose(found.variances("angular"), 1 / (found.count + 1))
    np.testing.assert_allclose(
        found.variances("uniform"), 4 * wins * losses / (found.count + 1) ** 3
    )
    flow, weight = found.flows("uniform", weights="inverse_variance")
    np.testing.assert_allclose(weight, 1 / found.variances("uniform"))
    np.testing.assert_allclose(flow, 2 * found.proportion - 1)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("p", [0.3, 0.5, 0.8])
def test_variances_are_those_of_the_flows(name, p):
    # Exact moments: of the flow over all possible numbers of wins of 400 votes.
    n = 400
    wins = np.arange(n + 1)
    chance = stats.binom.pmf(wins, n, p)
    pairs = np.column_stack([np.zeros(n + 1, int), np.arange(1, n + 2)])
    found = win_proportions(
        np.vstack([pairs, pairs]),
        np.repeat([1.0, -1.0], n + 1),
        np.concatenate([wins, n - wins]),
    )
    np.testing.assert_array_equal(found.wins, wins)
    flow, _ = found.flows(name)
    mean = chance @ flow
    variance = chance @ (flow - mean) ** 2
    assert mean == pytest.approx(probability_to_flow(p, name), abs=2e-3)
    assert chance @ found.variances(name) == pytest.approx(variance, rel=0.01)


# -------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("pairs", "y", "message"),
    [
        ([[0, 1], [2, 2]], [1, 1], "compares item 2 with itself in row 1"),
        ([[0, 1]], [1, 1], "y has shape"),
        ([[0, 1]], [np.nan], r"y\[0\] is nan"),
        ([[0.0, 1.0]], [1], "type float64; it needs the codes"),
        ([0, 1], [1, 1], r"shape \(2,\)"),
        ([[0, 1], [-1, 0]], [1, 1], r"\[-1, 0\] in row 1"),
        (np.empty((0, 2), int), [], "n_votes=0"),
    ],
)
def test_bad_votes_raise(pairs, y, message):
    with pytest.raises(ValueError, match=message):
        win_proportions(pairs, y)


def test_weights_that_are_0_everywhere_raise():
    with pytest.raises(ValueError, match="zero everywhere"):
        win_proportions([[0, 1]], [1], [0.0])
