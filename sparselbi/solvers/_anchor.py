"""Exact duals of all columns at chosen times, and the few to watch until the next.

An anchor costs two passes over X. Between anchors a solver sees only the tracked
columns: the active ones and those that could become active first.
"""

import numpy as np

from ._columns import ColumnStore
from .base import time_to_threshold

# Blocks to watch beside the active ones. Products of candidates cost about their square
# times n, an anchor p times n: few columns in all deserve few candidates.
N_CANDIDATES = 24, 64
# Up to so many blocks all are watched, from a single anchor.
_ALL = 128


class Anchor:
    """Dual, slope and coefficients of all columns at one time, and what to track next.

    Attributes
    ----------
    z, g, coef : ndarray of shape (n_outputs, n_columns)
        Dual, minus the gradient, coefficients (standardized).
    features : ndarray of shape (T,)
        Tracked columns: active blocks first, then candidates.
    store : ColumnStore
        Their standardized values, times the square roots of the weights if `weighted`.
    gram : ndarray of shape (T, T)
        Their inner products; empty if not `weighted`.
    time, budget : float
        All other blocks stay at zero for this time if the accumulated change of the
        score keeps its norm within the budget.
    """

    def __init__(self, problem, z, g, coef, rate, *, weighted):
        self.problem = problem
        self.z, self.g, self.coef = z, g, coef
        self.rate = rate
        self._weighted = weighted
        order, ptr = problem.block_features, problem.block_ptr
        self._order, self._ptr = order, ptr
        self._block_norm = np.sqrt(np.add.reduceat(problem.norms[order] ** 2, ptr[:-1]))
        self._block_weight = problem.weights[order[ptr[:-1]]]
        self.features = np.empty(0, dtype=np.intp)
        self.store = ColumnStore(problem, weighted)
        self.gram = np.empty((0, 0))

    def choose(self, at_once):
        """Choose what to track; blocks that may enter within `at_once` are included.

        Returns
        -------
        active : int
            The first so many blocks of the tracked ones are active.
        """
        problem = self.problem
        reach = time_to_threshold(problem, self.z, self.g, self._block_norm * self.rate)
        nonzero = (self.coef != 0).any(axis=0)[self._order]
        active = np.logical_or.reduceat(nonzero, self._ptr[:-1])
        active |= self._block_weight == 0
        reach[active] = np.inf
        few, many = N_CANDIDATES
        n_candidates = min(max(len(reach) // 16, few), many)
        if len(reach) <= _ALL:
            n_candidates = len(reach)
        n_candidates = max(n_candidates, int((reach <= at_once).sum()))
        if n_candidates < len(reach):
            near = np.argpartition(reach, n_candidates)
            candidates, cut = near[:n_candidates], float(reach[near[n_candidates]])
        else:
            candidates, cut = np.arange(len(reach)), np.inf
        candidates = np.sort(candidates[np.isfinite(reach[candidates])])
        blocks = np.append(np.flatnonzero(active), candidates)
        self.time = cut
        self.budget = self.rate * cut if cut < np.inf else np.inf
        sizes = self._ptr[blocks + 1] - self._ptr[blocks]
        self.ptr = np.append(0, np.cumsum(sizes))
        features = (
            self._order[self._ptr[blocks]]
            if self.ptr[-1] == len(blocks)
            else np.concatenate(
                [self._order[self._ptr[b] : self._ptr[b + 1]] for b in blocks]
            )
        )
        self.norm = self._block_norm[blocks]
        self.store.use(features)
        self.features = features
        if self._weighted:
            self.gram = self.store.gram()
        return int(active.sum())

    def move(self, elapsed, accumulated, score, out_of_budget):
        """Advance the exact duals of all columns by two passes over X.

        Parameters
        ----------
        elapsed : float
            Path time since this anchor.
        accumulated : ndarray of shape (n_outputs, n_samples)
            Accumulated change of the weighted score since this anchor.
        score : ndarray of shape (n_outputs, n_samples)
            The weighted score now.
        out_of_budget : bool
            Whether the budget, not the time, ended what was certified.
        """
        products = self.problem.correlate(np.vstack([accumulated, score]))
        k = len(score)
        self.z = self.z + elapsed * self.g + products[:k]
        self.g = products[k:]
        # Balance the limits: too low a rate spends the budget before the time is up.
        self.rate *= 2.0 if out_of_budget else 0.5
