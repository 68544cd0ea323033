"""Which differences of scores have standard errors, and why others have none."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from .._comparison_graph import edges_of
from ._ranking_curvature import free_of, level_sets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..comparison_problem import ComparisonProblem
    from ._ranking_curvature import VoteCurvature

# Scores of votes that agree exactly differ by rounding alone.
_EQUAL = 1e-9
# Directions are told apart by so many random mixtures of them, and are 0 below this.
_MIXTURES, _ROUNDED = 3, 1e-6


class KnownDifferences:
    """Differences that votes determine, and whose errors they show.

    Votes without curvature determine nothing. Nor does a fit show the error of what
    only one cluster says: its scores then sum to 0, whatever its votes are.

    Parameters
    ----------
    problem : ComparisonProblem
    system : VoteCurvature
    used : ndarray of int
        Votes of positive weight, which the next arguments are about.
    psi, curvature : ndarray of shape (n_used,)
        Score, and second derivative times weight.
    mixed : ndarray of shape (n_used,) or None
        Mixed derivative with respect to eta and the parameter of the border, times
        weight.
    extra : csr_array of shape (n_used, n_extra)
    codes : ndarray of int of shape (n_used,) or None
        Clusters; None: every vote is one.

    Attributes
    ----------
    groups : ndarray of int of shape (n_items,)
        Items that are ranked together.
    labels : ndarray of int of shape (n_items,)
        Within them, differences have standard errors; a partition of `groups`.
    undetermined : ndarray of bool of shape (n_items,)
        Items outside of the largest label of their group (the first, if several are);
        all items of a group without any difference that has a standard error.
    """

    def __init__(self, problem, system, used, psi, curvature, mixed, extra, codes):
        self._problem: ComparisonProblem = problem
        self._system: VoteCurvature = system
        self._used, self._pairs = used, problem.pairs[used]
        self._psi, self._curvature, self._mixed = psi, curvature, mixed
        self._extra = extra
        self._codes = np.arange(len(used)) if codes is None else codes
        components = problem.components
        self.groups = components
        if problem.features is not None:
            self.groups = np.zeros_like(components)

    @cached_property
    def labels(self) -> NDArray[np.intp]:
        """Within them, differences have standard errors, (n_items,)."""
        labels, phi = self._system.comparable, self._system.features
        places = self._single[: self._system.n_inner]
        if phi is None:
            keys = labels * np.int64(len(labels)) + self._pieces
            _, labels = np.unique(keys, return_inverse=True)
        else:
            places = phi @ places
        return level_sets(labels, places)

    @cached_property
    def undetermined(self) -> NDArray[np.bool_]:
        """Items whose differences with most others have no error, (n_items,)."""
        return self._outside(self.labels)

    @cached_property
    def _home(self):
        """An item of the largest label of the group of each item, (n_items,)."""
        size = np.bincount(self.labels)[self.labels]
        order = np.lexsort((-size, self.groups))  # the first item, if several
        first = np.unique(self.groups[order], return_index=True)[1]
        return order[first][self.groups]

    def _outside(self, labels):
        """Items of other labels than home, or of no others if their group has some."""
        alone = np.bincount(labels)[labels] == 1
        alone &= np.bincount(self.groups)[self.groups] > 1
        return alone | (labels != labels[self._home])

    def determined(self, items: Any, side: Any) -> NDArray[np.bool_]:
        """Whether contrasts (columns) have errors, apart from `labels`."""
        rotated = 0 if self._system.features is None else self._system.n_inner
        single = free_of(np.vstack([items, side]), self._single, rotated)
        return single & self._system.determined(items, side)

    def message(self, items: NDArray[Any]) -> str:
        """About items whose differences with most others have no error."""
        open_items = self._outside(self._system.comparable)
        parts = (
            (
                open_items,
                "is open: all votes that would settle it are shifted, or further "
                "columns explain the difference. Choose a larger threshold, collect "
                "more votes, or drop columns",
            ),
            (
                self.undetermined & ~open_items,
                "hangs on votes that no others check: a single vote, votes that agree "
                "exactly, or those of one worker. Collect more votes about them, or "
                "leave them out",
            ),
        )
        text = [
            f"the place of {_some(items[mask])} among the others {why}."
            for mask, why in parts
            if mask.any()
        ]
        if not text:
            return ""
        text.append(
            "These items, and differences with them, have no standard error; scores of "
            "the others are compared with the mean of the others."
        )
        return " ".join(text)

    @cached_property
    def _unchecked(self):
        """Votes on bridges that one cluster says alone, or all equally, (n_used,)."""
        graph, out = self._problem.graph, np.zeros(len(self._used), dtype=bool)
        rows = np.flatnonzero(np.diff(graph.parts[self._pairs], axis=1)[:, 0])
        first, second = self._pairs[rows].T
        low, _, edge = edges_of(first, second, graph.n_items)
        psi = np.where(first < second, self._psi[rows], -self._psi[rows])
        differ = _spread(psi, edge, len(low)) > _EQUAL * np.abs(self._psi).max()
        differ &= _spread(self._codes[rows], edge, len(low)) > 0
        out[rows] = ~differ[edge]
        return out

    @cached_property
    def _pieces(self):
        """Labels of items that are connected by other votes than these."""
        first, second = self._pairs[~self._unchecked].T
        links = sparse.coo_array(
            (np.ones(len(first)), (first, second)), shape=(self._problem.n_items,) * 2
        )
        return csgraph.connected_components(links, directed=False)[1]

    @cached_property
    def _single(self):
        """Directions that one vote alone speaks about, (n_inner + n_side, k).

        Other ones than `_pieces` knows, in random mixtures: d with x_e d = 1 for such a
        vote and 0 for all others, which is the inverse of H times ``w_e (curvature_e
        x_e, mixed_e)``.
        """
        system, phi = self._system, self._system.features
        alone = self._problem.alone[self._used]
        if phi is None:
            alone = alone & ~self._unchecked
        rows = np.flatnonzero(alone)
        if not len(rows):
            return np.zeros((system.n_inner + system.n_side, 0))
        mix = np.random.default_rng(0).standard_normal((len(rows), _MIXTURES))
        bent = self._curvature[rows, None] * mix
        first, second = self._pairs[rows].T
        items = np.zeros((self._problem.n_items, _MIXTURES))
        np.add.at(items, first, bent)
        np.subtract.at(items, second, bent)
        if phi is not None:
            items = phi.T @ items
        side = self._extra[rows].T @ bent
        size = abs(self._extra).max(axis=0).toarray().ravel()
        if self._mixed is not None:
            side = np.vstack([side, self._mixed[rows] @ mix])
            size = np.append(size, 0.0)  # no part of the direction
        own = np.ones(system.n_inner) if phi is None else np.abs(phi).max(axis=0)
        out = np.vstack(system.solve_inner(items, side))
        size = np.abs(out) * np.concatenate([own, size])[:, None]
        nothing = size <= _ROUNDED * size.max(axis=0)
        if phi is not None:  # no feature has a meaning of its own
            nothing[: system.n_inner] = nothing[: system.n_inner].all(axis=0)
        out[nothing] = 0.0
        return out


def _spread(values, edge, n_edges):
    """Largest minus smallest value of each edge."""
    low, high = np.full(n_edges, np.inf), np.full(n_edges, -np.inf)
    np.minimum.at(low, edge, values)
    np.maximum.at(high, edge, values)
    return high - low


def _some(items):
    names = ", ".join(str(item) for item in items[:5])
    return f"{len(items)} item(s) ({names}{', ...' if len(items) > 5 else ''})"
