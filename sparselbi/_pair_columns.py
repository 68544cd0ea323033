"""Columns of votes made from features of items: products with them, and Gram matrix."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ._comparison_graph import checked_pairs, edges_of
from ._shift_design import TooWide
from ._vote_design import as_columns, incidence, scale_rows, to_dense

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Numbers of items, votes or pairs at a time, but so many columns.
_NUMBERS, _FEW = 1 << 20, 8
# Inner products of more columns would be a matrix of more than 200 MB.
_MOST_COLUMNS = 5000
# Means above so many spreads are taken off the features.
_LARGE_MEAN = 8.0
_EPS = np.finfo(np.float64).eps


class PairColumns:
    """The columns ``A = [C Phi, extra]``: differences of features, and others.

    C is the incidence matrix of the votes. Differences are formed for some votes or
    some columns at a time. Features of float32 stay in memory as they are; products are
    float64. Only if means are large beside the spread, a centred copy in float64 is
    made, which has the same differences.

    Parameters
    ----------
    pairs : ndarray of int of shape (n_votes, 2)
    weight : ndarray of shape (n_votes,) or None
    features : {ndarray, sparse matrix} of shape (n_items, n_features)
    extra : {ndarray, sparse matrix} of shape (n_votes, n_extra) or None

    Attributes
    ----------
    first, second : ndarray of int of shape (n_votes,)
    low, high : ndarray of int of shape (n_pairs,)
        Compared pairs, once each; ``edge`` (n_votes,) is the pair of each vote.
    n_votes, n_items, n_features, n_extra, width : int
    degree : ndarray of shape (n_items,)
        Sum of the weights of the votes about each item.
    sizes : ndarray of shape (width,)
        Weighted lengths of the columns before differences are taken.
    precision : ndarray of shape (width,)
        Rounding unit of the numbers in the columns.
    """

    def __init__(self, pairs: Any, weight: Any, features: Any, extra: Any):
        features = as_features(features)
        self.n_items, self.n_features = features.shape
        self.first, self.second = checked_pairs(pairs, self.n_items)
        self.n_votes, self.weight = len(self.first), weight
        self.extra = as_columns(extra, self.n_votes)
        self.n_extra = self.extra.shape[1]
        self.width = self.n_features + self.n_extra
        if self.width > _MOST_COLUMNS:
            raise TooWide(
                f"{self.n_features} features and {self.n_extra} further columns; at "
                f"most {_MOST_COLUMNS} have room for their inner products. Rank the "
                "items without features (one score per item), or use fewer features."
            )
        self.low, self.high, self.edge = edges_of(self.first, self.second, self.n_items)
        self.precision = np.full(self.width, _EPS)
        self.precision[: self.n_features] = np.finfo(features.dtype).eps
        self._set_features(features)

    def _set_features(self, features):
        of_edges = self._of_edges(self.weight)
        self.degree = np.bincount(self.low, of_edges, self.n_items)
        self.degree += np.bincount(self.high, of_edges, self.n_items)
        self._features = features
        total = max(self.degree.sum(), 1e-300)
        first, second = np.zeros(self.n_features), np.zeros(self.n_features)
        weight = np.ones(self.n_votes) if self.weight is None else self.weight
        with np.errstate(over="ignore", invalid="ignore"):
            for items, block in _blocks(features):
                first += self.degree[items] @ block
            mean = first / total
            for items, block in _blocks(features):
                second += self.degree[items] @ (block - mean) ** 2
            spread = np.sqrt(second / total)
            sizes = np.sqrt(total) * np.hypot(spread, mean)
            others = np.sqrt(weight @ abs(self.extra) ** 2)
        self.sizes = np.concatenate([sizes, others])
        if not np.isfinite(self.sizes).all():
            raise ValueError(
                "squares of item features, or of further columns, overflow; rescale "
                "them."
            )
        if not sparse.issparse(features) and (abs(mean) > _LARGE_MEAN * spread).any():
            centred = np.empty(features.shape)
            for items, block in _blocks(features):
                np.subtract(block, mean, out=centred[items])
            self._features = centred

    # -- products --------------------------------------------------------------------

    def scores(self, beta: NDArray[np.float64]) -> NDArray[np.float64]:
        """``Phi beta`` (n_items, ...), up to a constant for all items."""
        return item_scores(self._features, beta)

    def pulled(self, items: NDArray[Any]) -> NDArray[np.float64]:
        """``Phi' items`` of what sums to 0 over all items, (n_features, ...)."""
        return item_moments(self._features, items)

    def moments(self, pulls: NDArray[np.float64]) -> NDArray[np.float64]:
        """``A' pulls`` (width,) of numbers for all votes."""
        items = np.bincount(self.first, pulls, self.n_items)
        items -= np.bincount(self.second, pulls, self.n_items)
        return np.concatenate([self.pulled(items), self.extra.T @ pulls])

    def rows(self, votes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Some rows of A, dense."""
        first, second = self.first[votes], self.second[votes]
        inner = feature_differences(self._features, first, second)
        return np.hstack([inner, to_dense(self.extra[votes])])

    def pieces(self, votes: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Parts of some votes whose rows fit into memory at a time."""
        step = max(1, _NUMBERS // self.width)
        return [votes[k : k + step] for k in range(0, len(votes), step)]

    def lengths(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared length of every row of ``A columns``, (n_votes,)."""
        d = self.n_features
        each = bool(self.n_extra)  # else all votes on a pair are the same
        first, second = (self.first, self.second) if each else (self.low, self.high)
        out = np.zeros(len(first))
        for some in self._slices(columns.shape[1], len(first)):
            scores = self.scores(columns[:d, some])
            Z = scores[first] - scores[second]
            if each:
                Z += self.extra @ columns[d:, some]
            out += np.einsum("ij,ij->i", Z, Z)
        return out if each else out[self.edge]

    def gram(
        self, columns: NDArray[np.float64], weight: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """``columns' A'W A columns`` with these weights of the votes.

        Differences are formed once per compared pair and a few columns at a time. They
        are summed up per item before they meet the features: digits are lost in
        proportion to how much longer scores are than their differences, not to the
        square of that, as with a Laplacian that has been multiplied out.
        """
        of_edges = self._of_edges(weight)
        used = np.flatnonzero(of_edges)
        low, high, of_edges = self.low[used], self.high[used], of_edges[used]
        d, width = self.n_features, columns.shape[1]
        back = incidence(low, high, self.n_items).T
        gram = np.empty((width, width))
        for some in self._slices(width, len(used)):
            scores = self.scores(columns[:d, some])
            pulls = back @ (of_edges[:, None] * (scores[low] - scores[high]))
            gram[:, some] = columns[:d].T @ self.pulled(pulls)
        if self.n_extra:
            side, weighted = columns[d:], scale_rows(self.extra, weight)
            back = incidence(self.first, self.second, self.n_items).T
            cross = columns[:d].T @ (self.pulled(to_dense(back @ weighted)) @ side)
            gram += cross + cross.T + side.T @ to_dense(self.extra.T @ weighted) @ side
        return (gram + gram.T) / 2

    def _of_edges(self, weight):
        sums = np.bincount(self.edge, weight, len(self.low))
        return sums.astype(np.float64)

    def _slices(self, width, height):
        step = max(_FEW, _NUMBERS // max(height, self.n_items))
        return [slice(k, k + step) for k in range(0, width, step)]


def as_features(features: Any) -> Any:
    """Features as a float32 or float64 array, or a float64 CSR matrix.

    Raises
    ------
    ValueError
        If they are no finite numbers in two dimensions.
    """
    is_sparse = sparse.issparse(features)
    features = sparse.csr_array(features) if is_sparse else np.asarray(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"item features have shape {features.shape}; they need one row for each "
            "item and at least one column, (n_items, n_features)."
        )
    if features.dtype == object:
        with contextlib.suppress(TypeError, ValueError):
            features = features.astype(np.float64)
    if features.dtype.kind not in "biuf":
        raise ValueError(
            f"item features have type {features.dtype}; they must be numbers (and not "
            "complex). Encode categories first (sklearn.preprocessing.OneHotEncoder)."
        )
    if is_sparse or features.dtype != np.float32:
        features = features.astype(np.float64, copy=False)
    for items, block in _blocks(features):
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(
                f"item features contain {block[row, column]} for item "
                f"{items.start + row}, column {column}; impute them or drop that item."
            )
    return features


def item_scores(features: Any, beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """``features @ beta`` (n_items, ...) in float64, without a copy of features."""
    if sparse.issparse(features) or features.dtype == np.float64:
        return np.asarray(features @ beta)
    out = np.empty((features.shape[0], *beta.shape[1:]))
    for items, block in _blocks(features):
        np.matmul(block, beta, out=out[items])
    return out


def item_moments(features: Any, items: NDArray[Any]) -> NDArray[np.float64]:
    """``features.T @ items`` (n_features, ...) in float64, without a copy of them."""
    if sparse.issparse(features) or features.dtype == np.float64:
        return np.asarray(features.T @ items)
    out = np.zeros((features.shape[1], *items.shape[1:]))
    for rows, block in _blocks(features):
        out += block.T @ items[rows]
    return out


def feature_differences(
    features: Any, first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Features of some items minus those of others, dense."""
    one, other = (to_dense(features[end]).astype(np.float64) for end in (first, second))
    return np.asarray(one - other)


def _blocks(features: Any) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Features of some items at a time, as dense float64 rows."""
    n_items, width = features.shape
    step = max(1, _NUMBERS // width)
    for start in range(0, n_items, step):
        items = slice(start, min(start + step, n_items))
        yield items, to_dense(features[items]).astype(np.float64, copy=False)
