"""Scores, ties and the partial order of items at one point of a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ._split_paths import means

if TYPE_CHECKING:
    from ..split_path import SplitPath

Pair = tuple[int, int]

# Chains are followed through so many levels (a table of all pairs of levels).
_MOST_LEVELS = 2000


@dataclass(frozen=True)
class ItemOrder:
    """Items in levels of equal scores, and the rows of D between them.

    Attributes
    ----------
    scores : ndarray of shape (n_items,)
        Means of the dense scores over the pieces of inactive rows.
    size : float
        Largest absolute dense score.
    levels : list of ndarray of int
        The pieces, the best first; within a piece by the dense scores.
    level : ndarray of int of shape (n_items,)
        Place of each item in `levels`.
    edges : dict of (int, int) to bool
        Pairs i < j with a row of D, and whether all their rows are active.
    """

    scores: NDArray[np.float64]
    size: float
    levels: list[NDArray[np.int64]]
    level: NDArray[np.int64]
    edges: dict[Pair, bool]

    def ties(self) -> list[Pair]:
        """Pairs with an inactive row: always in one level."""
        return [pair for pair, differs in self.edges.items() if not differs]

    def hidden_ties(self) -> list[Pair]:
        """Pairs whose rows are active, but whom other rows put in one level."""
        edges, level = self.edges, self.level
        return [(i, j) for (i, j), d in edges.items() if d and level[i] == level[j]]

    def arrows(self, reduced: bool) -> list[Pair]:
        """Pairs (better, worse) in different levels.

        Reduced, only those between levels that no chain of other pairs connects; the
        items of a level count as one. Of very many levels, only neighbours.
        """
        level = self.level
        pairs = [
            (i, j) if level[i] < level[j] else (j, i)
            for i, j in self.edges
            if level[i] != level[j]
        ]
        if not reduced or not pairs:
            return pairs
        better, worse = level[np.array(pairs)].T
        kept = worse == better + 1
        if (n := len(self.levels)) <= _MOST_LEVELS:
            direct = np.zeros((n, n), dtype=bool)
            direct[better, worse] = True
            reach, implied = direct.copy(), np.zeros_like(direct)
            for k in range(n - 1, -1, -1):  # from the worst level up
                implied[k] = reach[direct[k]].any(axis=0)
                reach[k] |= implied[k]
            kept = (direct & ~implied)[better, worse]
        return [pair for pair, keep in zip(pairs, kept, strict=True) if keep]


def item_order(path: SplitPath, knot: float, output: int) -> ItemOrder:
    """Scores are on the scale on which D acts."""
    labels = path.pieces(knot)
    dense = np.atleast_2d(path.at(knot).coef * path.coef_scale)[output]
    scores = means(dense, labels)
    size = float(np.abs(dense).max()) or 1.0
    scores[np.abs(scores) < 1e-10 * size] = 0.0  # centred scores, up to rounding
    by_piece = np.argsort(labels, kind="stable")
    pieces = np.split(by_piece, np.flatnonzero(np.diff(labels[by_piece])) + 1)
    pieces.sort(key=lambda items: (-scores[items[0]], int(items[0])))
    levels = [items[np.argsort(-dense[items], kind="stable")] for items in pieces]
    level = np.empty(len(dense), dtype=np.int64)
    for k, items in enumerate(levels):
        level[items] = k
    edges: dict[Pair, bool] = {}
    active = path.active_rows(knot).tolist()
    for (i, j), differs in zip(row_ends(path), active, strict=True):
        if j >= 0:
            pair = (min(i, j), max(i, j))
            # One inactive row is enough to tie.
            edges[pair] = edges.get(pair, True) and differs
    return ItemOrder(scores, size, levels, level, edges)


def row_ends(path: SplitPath) -> list[Pair]:
    """The two items of each row of a graph; the second is -1 if there is only one."""
    matrix = sparse.csr_array(path.D.matrix)
    first = matrix.indices[matrix.indptr[:-1]]
    single = np.diff(matrix.indptr) == 1
    second = np.where(single, -1, matrix.indices[matrix.indptr[1:] - 1])
    return list(zip(first.tolist(), second.tolist(), strict=True))
