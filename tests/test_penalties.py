"""Penalties against the problems that their proximal maps solve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselbi import penalties
from sparselbi._kernels import jit
from sparselbi.penalties import L1, Group, get_penalty
from sparselbi.penalties.base import crossing, horizon, shrink
from tests import twins
from tests.common import PENALTIES

PTR = np.array([0, 1, 3, 6])  # blocks of 1, 2 and 3 columns
WEIGHT = np.array([0.7, 1.0, 1.0, 1.6, 1.6, 1.6])
BLOCKS = [np.arange(a, b) for a, b in zip(PTR[:-1], PTR[1:], strict=True)]
BOTH = [(name, positive) for name in PENALTIES for positive in (False, True)]


@jit
def compiled_shrink(penalty, z, weight, ptr, kappa, out):
    shrink(penalty, z, weight, ptr, kappa, out)


def make(name, positive):
    """The penalty and the layout of its blocks: l1 has one block per column."""
    penalty = get_penalty(name, positive=positive)
    return penalty, PTR if penalty.grouped else np.arange(len(WEIGHT) + 1)


def prox(penalty, ptr, z, weight=WEIGHT, kappa=1.0):
    out = np.empty_like(z)
    compiled_shrink(penalty, z, weight, ptr, kappa, out)
    return out


def value(penalty, coef, weight=WEIGHT):
    if penalty.positive and (coef[:, weight > 0] < 0).any():
        return np.inf
    if not penalty.grouped:
        return float(np.sum(np.abs(coef) * weight))
    return sum(weight[b[0]] * np.linalg.norm(coef[:, b]) for b in BLOCKS)


def test_table_lists_every_penalty():
    assert set(penalties.PENALTIES) == set(PENALTIES)


@pytest.mark.parametrize(("name", "positive"), BOTH)
@pytest.mark.parametrize("outputs", [1, 3])
def test_shrink_equals_its_twin(name, positive, outputs):
    penalty, ptr = make(name, positive)
    z = 2 * np.random.default_rng(0).normal(size=(outputs, 6))
    blocks = BLOCKS if penalty.grouped else None
    for weight in (WEIGHT, np.where(np.arange(6) == 0, 0.0, WEIGHT)):
        expected = 3.0 * twins.shrink(z, weight, blocks, positive)
        np.testing.assert_allclose(
            prox(penalty, ptr, z, weight, kappa=3.0), expected, rtol=1e-14, atol=1e-15
        )
        plain = np.empty_like(z)
        penalty.shrink(z, weight, ptr, 3.0, plain)
        np.testing.assert_allclose(plain, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("name", "positive"), BOTH)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_shrink_minimizes_the_proximal_objective(name, positive, seed):
    penalty, ptr = make(name, positive)
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(2, 6))
    best = prox(penalty, ptr, z)

    def objective(b):
        return 0.5 * np.sum((b - z) ** 2) + value(penalty, b)

    top = objective(best)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(20):
            other = best + size * rng.normal(size=z.shape)
            other = np.maximum(other, 0) if positive else other
            # strong convexity: a competitor is worse by half its squared distance
            assert objective(other) >= top + 0.5 * np.sum((other - best) ** 2) - 1e-12
    assert objective(np.zeros_like(z)) >= top - 1e-12


@pytest.mark.parametrize(("name", "positive"), BOTH)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_shrink_removes_is_a_subgradient(name, positive, seed):
    """Moreau: z = prox + rest, rest in the dual ball, <prox, rest> = penalty(prox)."""
    penalty, ptr = make(name, positive)
    z = 2 * np.random.default_rng(seed).normal(size=(2, 6))
    best = prox(penalty, ptr, z)
    rest = z - best
    inside = np.maximum(rest, 0) if positive else rest
    for b in BLOCKS if penalty.grouped else np.arange(6)[:, None]:
        part = inside[:, b]
        size = np.linalg.norm(part) if penalty.grouped else np.max(np.abs(part))
        assert size <= WEIGHT[b[0]] * (1 + 1e-14)
    np.testing.assert_allclose(np.sum(best * rest), value(penalty, best), atol=1e-12)


@pytest.mark.parametrize(("name", "positive"), BOTH)
def test_shrink_is_nonexpansive_and_scales_with_kappa(name, positive):
    penalty, ptr = make(name, positive)
    rng = np.random.default_rng(3)
    for _ in range(50):
        a, b = 2 * rng.normal(size=(2, 2, 6))
        gap = np.linalg.norm(prox(penalty, ptr, a) - prox(penalty, ptr, b))
        assert gap <= np.linalg.norm(a - b) * (1 + 1e-14)
        np.testing.assert_allclose(
            prox(penalty, ptr, a, kappa=7.0), 7 * prox(penalty, ptr, a), rtol=1e-14
        )


def test_single_blocks_make_group_equal_to_l1():
    z = 2 * np.random.default_rng(1).normal(size=(1, 6))
    for positive in (False, True):
        single = prox(Group(positive=positive), np.arange(7), z)
        np.testing.assert_allclose(
            single, prox(L1(positive=positive), np.arange(7), z), rtol=1e-14, atol=1e-15
        )


def block_is_zero(penalty, z, weight, ptr):
    out = prox(penalty, ptr, z, weight) == 0
    return [out[:, a:b].all() for a, b in zip(ptr[:-1], ptr[1:], strict=True)]


@pytest.mark.parametrize(("name", "positive"), BOTH)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_horizon_is_safe_and_not_lazy(name, positive, seed):
    penalty, ptr = make(name, positive)
    rng = np.random.default_rng(seed)
    weight = WEIGHT.copy()
    weight[0] = np.inf if seed % 3 == 0 else weight[0]
    z = rng.uniform(-1, 1, size=(2, 6)) * 0.4
    g = rng.normal(size=z.shape)
    slack = rng.uniform(0, 0.5, size=len(ptr) - 1) * (seed % 2)
    out = np.empty(len(ptr) - 1)
    horizon(penalty, z, g, slack, weight, ptr, out)
    assert (out > 0).all()
    for b, (low, high) in enumerate(zip(ptr[:-1], ptr[1:], strict=True)):
        until = min(out[b], 1e3)
        for share in (0.0, 0.3, 0.7, 1 - 1e-9):
            for _ in range(5):
                noise = rng.normal(size=(2, high - low))
                noise *= until * slack[b] / np.linalg.norm(noise)
                moved = z.copy()
                moved[:, low:high] += share * until * g[:, low:high] + noise * (
                    1 - 1e-9
                )
                assert block_is_zero(penalty, moved, weight, ptr)[b]
        if np.isfinite(out[b]) and slack[b] == 0:  # without slack it is the exact time
            moved = z + out[b] * (1 + 1e-6) * g
            exact = not penalty.grouped or not positive
            assert not exact or not block_is_zero(penalty, moved, weight, ptr)[b]


@pytest.mark.parametrize(("name", "positive"), BOTH)
@pytest.mark.parametrize("enters", [True, False])
def test_crossing_lands_on_the_threshold(name, positive, enters):
    penalty, ptr = make(name, positive)
    rng = np.random.default_rng(5)
    seen = 0
    for _ in range(200):
        inside = 0.3 * rng.uniform(-1, 1, size=(2, 6))
        outside = 2.5 * rng.normal(size=(2, 6))
        if positive:  # where no entry changes its sign the crossing is exact
            inside = np.abs(inside) * np.sign(outside)
        before, after = (inside, outside) if enters else (outside, inside)
        for low, high in zip(ptr[:-1], ptr[1:], strict=True):
            for row in range(2):
                column = low
                if not penalty.grouped:
                    on = prox(penalty, ptr, outside)[row, column] != 0
                else:
                    on = (prox(penalty, ptr, outside)[:, low:high] != 0).any()
                if not on:
                    continue
                seen += 1
                share = crossing(penalty, before, after, WEIGHT, row, column, low, high)
                z = before + share * (after - before)
                part = np.maximum(z, 0) if positive else np.abs(z)
                if penalty.grouped:
                    size = np.linalg.norm(part[:, low:high])
                else:
                    size = part[row, column]
                assert 0 <= share <= 1
                assert size == pytest.approx(WEIGHT[low], rel=1e-9)
    assert seen > 100


def test_crossing_of_a_jump_over_both_thresholds():
    """From 3 to -2: it leaves at +1, two fifths of the way, and enters at -1."""
    high, low, weight = np.array([[3.0]]), np.array([[-2.0]]), np.ones(1)
    enters = crossing(L1(), high, low, weight, 0, 0, 0, 1)
    leaves = 1 - crossing(L1(), low, high, weight, 0, 0, 0, 1)
    assert enters == pytest.approx(0.8)
    assert leaves == pytest.approx(0.4)


def test_get_penalty():
    assert get_penalty("l1") == L1()
    assert get_penalty("group", positive=True) == Group(positive=True)
    assert get_penalty(L1(positive=True)) == L1(positive=True)
    assert L1() != Group()
    assert len({L1(), L1(), Group(), L1(positive=True)}) == 3


@pytest.mark.parametrize("bad", ["l2", None, 1, L1])
def test_unknown_penalty_lists_what_is_allowed(bad):
    with pytest.raises(ValueError, match="group.*l1"):
        get_penalty(bad)


def test_contradicting_positive_is_refused():
    with pytest.raises(ValueError, match="positive"):
        get_penalty(L1(), positive=True)
