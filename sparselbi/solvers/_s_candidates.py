"""Fits to start S-estimation from: random subsets, and fits that need no chance."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from .._shift_design import row_norms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._s_rows import RowsInMemory

# A row of a subset is dependent if the others leave this fraction of its length.
_DEPENDENT = 1e-7
# Multiplications spent on solving for subsets, and on fits to halves of the rows.
_DRAW_WORK, _HALVES_WORK = 2e9, 6e8
_FEWEST = 50
# All subsets of small data, if there are no more: no chance is left to the draw.
_EVERY = 6000
# Rows that are drawn for every subset in case that others are dependent.
_SPARE = 4
# Numbers in a block of distances of all rows from many subsets.
_BLOCK = 1 << 19
# Reweighted fits towards least absolute deviations.
_ABSOLUTE_STEPS = 10
# Powers of moment tensors: from so many directions a few; two are the same if the
# cosine between them is at least _SAME, and there are none where rows do not vary.
_POWER_STEPS, _STARTS, _FEW, _SAME, _FLAT = 8, 40, 8, 0.99, 1e-10


def from_subsets(
    rows: RowsInMemory, n_subsamples: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Fits through as many rows as there are coordinates, (m, n_outputs, n_coords).

    Rows are drawn with probabilities proportional to weights; a row that the ones
    before it determine is drawn again from those that they do not.
    """
    n, r = rows.Z.shape
    if math.comb(n, r) <= max(n_subsamples, _EVERY):
        drawn = np.array(list(itertools.combinations(range(n), r)))
        drawn = drawn[_independent(rows.Z[drawn])]
    else:
        n_subsamples = min(n_subsamples, max(_FEWEST, int(_DRAW_WORK // r**3)))
        reached = np.cumsum(rows.weight)
        # So many draws most probably have r different rows, if weights are equal.
        length = r + _SPARE + math.ceil(1.2 * (-n * math.log1p(-r / (n + 1)) - r))
        chance = random.random_sample((n_subsamples, length)) * reached[-1]
        spare = np.minimum(np.searchsorted(reached, chance, side="right"), n - 1)
        chance = random.random_sample((n_subsamples, r))
        drawn = _first_different(spare, r)
        bad = np.flatnonzero(~_independent(rows.Z[drawn]))
        size = max(1, _BLOCK // rows.Z.size)
        for k in range(0, len(bad), size):
            some = bad[k : k + size]
            drawn[some] = _repaired(rows, spare[some], chance[some])
    return np.swapaxes(np.linalg.solve(rows.Z[drawn], rows.Y[drawn]), 1, 2)


def _first_different(drawn, r):
    """The first r different numbers of each line, if there are as many."""
    first = drawn[:, :r].copy()
    ordered = np.sort(first, axis=1)
    for k in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        places = np.sort(np.unique(drawn[k], return_index=True)[1])[:r]
        first[k, : len(places)] = drawn[k, places]
    return first


def _independent(subsets):
    """Whether the rows of each (m, r, r) subset determine a fit."""
    columns = np.swapaxes(subsets, 1, 2)
    left = np.abs(np.einsum("kii->ki", np.linalg.qr(columns, mode="r")))
    size = np.sqrt(np.einsum("kij,kij->ki", subsets, subsets))
    return (left > _DEPENDENT * size).all(axis=1)


def _repaired(rows, drawn, chance):
    """The first independent rows of those drawn, and random ones if they are few."""
    m, r = chance.shape
    every = np.arange(m)
    basis, count, kept = (
        np.zeros((m, r, r)),
        np.zeros(m, dtype=int),
        drawn[:, :r].copy(),
    )

    def take(subsets, chosen, left, length):
        basis[subsets, count[subsets]] = left / length[:, None]
        kept[subsets, count[subsets]] = chosen
        count[subsets] += 1

    for chosen in drawn.T:
        left = _outside(rows.Z[chosen][:, None], basis)[:, 0]
        length = row_norms(left)
        new = (length > _DEPENDENT * rows.row_size[chosen]) & (count < r)
        take(every[new], chosen[new], left[new], length[new])
    while (few := np.flatnonzero(count < r)).size:
        left = _outside(np.broadcast_to(rows.Z, (len(few), *rows.Z.shape)), basis[few])
        length = np.sqrt(np.einsum("kij,kij->ki", left, left))
        free = length > _DEPENDENT * rows.row_size
        reached = np.cumsum(rows.weight * free, axis=1)
        wanted = chance[few, count[few]] * reached[:, -1]
        chosen = (reached > wanted[:, None]).argmax(axis=1)
        at = np.arange(len(few))
        take(few, chosen, left[at, chosen], length[at, chosen])
    return kept


def _outside(vectors, basis):
    """Vectors (m, k, r) without their parts in the rows of `basis` (m, r, r)."""
    for _ in range(2):  # twice is enough
        vectors = vectors - (vectors @ np.swapaxes(basis, 1, 2)) @ basis
    return vectors


def without_chance(rows: RowsInMemory) -> NDArray[np.float64]:
    """Least squares, least absolute deviations, and least squares of halves.

    A half leaves out the rows that are extreme in a direction: one in which the rows
    are skew, or have tails of an unusual size, as those that point to a cluster do.
    """
    n, r = rows.Z.shape
    Y = rows.Y.T[None]
    fit = rows.solve_many(np.ones((1, n)), Y)
    found = [fit]
    for _ in range(_ABSOLUTE_STEPS):
        length = np.sqrt(np.sum(rows.residuals_of(fit)[0] ** 2, axis=0))
        least = 1e-3 * np.median(length)
        fit = rows.solve_many(1 / np.maximum(length, max(least, 1e-300))[None], Y)
    found.append(fit)
    places = _unusual(rows.Z, rows.weight)[: max(1, int(_HALVES_WORK // (n * r**2)))]
    middle = np.median(places, axis=1, keepdims=True)
    extreme = np.concatenate([places, -places, np.abs(places - middle)])
    masks = _halves(extreme, rows.weight, r)
    for some in rows.blocks(len(masks)):
        half = masks[some]
        targets = np.broadcast_to(Y, (len(half), *Y.shape[1:]))
        found.append(rows.solve_many(half, targets))
    return np.concatenate(found)


def _unusual(rows, weight):
    """Places (k, n_rows) in directions in which third or fourth moments are extreme.

    Powers of the moment tensors of the rows, centred and made spherical, from principal
    axes of ``|z|^2 z z'`` and the mean of ``|z|^2 z``.
    """
    share = weight / weight.sum()
    centred = rows - share @ rows
    basis, triangle = np.linalg.qr(np.sqrt(share)[:, None] * centred)
    left, values, _ = np.linalg.svd(triangle)
    white = basis @ left[:, values > _FLAT * values.max(initial=0.0)]
    white /= np.sqrt(share)[:, None]
    if not white.size:
        return np.empty((0, len(rows)))
    squares = share * np.einsum("ij,ij->i", white, white)
    axes = np.linalg.eigh((white.T * squares) @ white)[1]
    axes = axes[:, np.argsort(-np.abs(np.arange(len(axes)) - len(axes) / 2))]
    starts = _unit(np.column_stack([squares @ white, axes])[:, :_STARTS])
    found = []
    for power, normal in ((2, 0.0), (3, 3.0)):
        w = starts
        for _ in range(_POWER_STEPS):
            w = _unit(white.T @ _power(white @ w, power, share) - normal * w)
        # How far the moment is from that of a normal distribution.
        size = np.abs(_power(white @ w, power + 1, share).sum(axis=0) - normal)
        order = np.argsort(-size, kind="stable")
        found.append(_different(w[:, order])[:, :_FEW])
    # Alternating, so that the first ones are the best of both kinds.
    rank = np.concatenate([np.arange(few.shape[1]) for few in found])
    order = np.argsort(rank, kind="stable")
    return np.hstack(found)[:, order].T @ white.T


def _power(values, power, share):
    result = share[:, None] * values
    for _ in range(power - 1):
        result *= values
    return result


def _unit(columns):
    length = np.linalg.norm(columns, axis=0)
    return columns / np.where(length > 0, length, 1.0)


def _different(columns):
    """Leave out columns that repeat an earlier one, or its opposite."""
    cosine = np.abs(np.triu(columns.T @ columns, 1))
    return columns[:, (cosine < _SAME).all(axis=0)]


def _halves(extreme, weight, r):
    """1.0 for the least extreme rows: half of the weight, and rows to spare."""
    if (weight == weight[0]).all():
        last = min((extreme.shape[1] + r + 1) // 2, extreme.shape[1]) - 1
        bound = np.partition(extreme, last, axis=1)[:, last, None]
        return (extreme <= bound).astype(np.float64)
    order = np.argsort(extreme, axis=1, kind="stable")
    reached = np.cumsum(weight[order], axis=1)
    mask = np.empty(extreme.shape)
    inside = reached <= (reached[:, -1:] + r + 1) / 2
    np.put_along_axis(mask, order, inside.astype(np.float64), axis=1)
    return mask
