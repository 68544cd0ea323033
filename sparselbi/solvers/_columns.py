"""Standardized columns that have been fetched, and their inner products."""

import numpy as np

# Up to so many columns nothing is dropped.
_FEW = 64


class ColumnStore:
    """Columns of the features in use; each is fetched once and stays in its place.

    Columns are rows of a buffer that grows by doubling. Where those in use are fewer
    than half of it, the others are dropped. So the work of a change of features is that
    of the new columns, not of all.

    Attributes
    ----------
    features : ndarray of int of shape (T,)
        Those in use; arrays that are given and returned have their order.
    """

    def __init__(self, problem, weighted):
        self._problem, self._weighted = problem, weighted
        self._slot = np.full(len(problem.norms), -1)
        self._held = np.empty(0, dtype=np.intp)  # feature of each slot
        self._block = np.empty((0, problem.n_samples))
        self._gram = np.empty((0, 0))
        self.use(self._held)

    def use(self, features):
        """Take other features into use; fetch those that are not at hand."""
        new = features[self._slot[features] < 0]
        if len(self._held) + len(new) > max(2 * len(features), _FEW):
            self._keep(features[self._slot[features] >= 0])
        start, stop = len(self._held), len(self._held) + len(new)
        if stop > len(self._block):
            self._grow(max(stop, 2 * len(self._block)))
        if new.size:
            self._block[start:stop] = self._problem.columns(new, self._weighted).T
            self._slot[new] = np.arange(start, stop)
            self._held = np.append(self._held, new)
            if self._weighted:
                strip = self._block[start:stop] @ self._block[:stop].T
                self._gram[start:stop, :stop] = strip
                self._gram[:stop, start:stop] = strip.T
        self.features = features
        self._slots = self._slot[features]

    def _keep(self, features):
        """Drop all other columns."""
        slots = self._slot[features]
        self._block[: len(slots)] = self._block[slots]
        if self._weighted:
            self._gram[: len(slots), : len(slots)] = self._gram[np.ix_(slots, slots)]
        self._slot[self._held] = -1
        self._slot[features] = np.arange(len(features))
        self._held = features

    def _grow(self, size):
        used = len(self._held)
        block = np.empty((size, self._block.shape[1]))
        block[:used] = self._block[:used]
        self._block = block
        if self._weighted:
            gram = np.empty((size, size))
            gram[:used, :used] = self._gram[:used, :used]
            self._gram = gram

    def columns(self):
        """A copy of the columns, (T, n_samples)."""
        return self._block[self._slots]

    def gram(self):
        """A copy of their Gram matrix, (T, T); only of weighted columns."""
        return self._gram[self._slots].take(self._slots, axis=1)

    def apply(self, coef):
        """Return ``coef @ columns`` for coefficients (..., T)."""
        full = np.zeros((*coef.shape[:-1], len(self._held)))
        full[..., self._slots] = coef
        return full @ self._block[: len(self._held)]

    def correlate(self, v):
        """Return ``columns @ v`` for v of shape (n_samples,)."""
        return (self._block[: len(self._held)] @ v)[self._slots]
