"""What designs of votes about pairs of items share: passes and further columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ._shift_design import Design

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Votes at a time: their residuals stay in the cache.
_BLOCK = 1 << 16


class VoteDesign(Design):
    """Votes with scores of items and further columns, read in blocks.

    A subclass sets ``_first``, ``_second``, ``_y`` and ``weight`` (n_votes,), and says
    what coordinates mean by `_scores_and_side` and `_moments`.
    """

    dense = False
    n_outputs = 1
    _first: NDArray[np.intp]
    _second: NDArray[np.intp]
    _y: NDArray[np.float64]

    def sweep(self, work, coords, directions=None):
        fitted = self._fitted(coords)
        along = None if directions is None else self._fitted(directions)
        n, pulls = self.n_samples, None
        for start in range(0, n, _BLOCK):
            rows = slice(start, min(start + _BLOCK, n))
            R = self._y[rows] - fitted(rows)
            D = None if along is None else along(rows)[:, None]
            P = work(rows, R[:, None], D)
            if P is not None:
                if pulls is None:
                    pulls = np.zeros(n)
                pulls[rows] = P[:, 0]
        if pulls is None:
            return np.zeros((self.n_coords, 1))
        if self.weight is not None:
            pulls *= self.weight
        return self._moments(pulls)[:, None]

    def _fitted(self, coords):
        """Function of some votes for their fitted values."""
        scores, side = self._scores_and_side(coords[:, 0])

        def fitted(rows):
            out = scores.take(self._first[rows])
            out -= scores.take(self._second[rows])
            if side is not None:
                out += side[rows]
            return out

        return fitted

    def _scores_and_side(self, coords):
        """Scores of the items, and what further columns add to votes, or None."""
        raise NotImplementedError

    def _moments(self, pulls):
        """``Z' pulls``, (n_coords,)."""
        raise NotImplementedError


def incidence(
    first: NDArray[np.intp], second: NDArray[np.intp], n_items: int
) -> sparse.csr_array:
    """Votes as rows of a sparse matrix, +1 and -1 for the items, (n_votes, n_items)."""
    n = len(first)
    signs, items = np.tile([1.0, -1.0], n), np.stack([first, second], axis=1).ravel()
    starts = np.arange(0, 2 * n + 1, 2)
    return sparse.csr_array((signs, items, starts), shape=(n, n_items))


def as_columns(extra: Any, n: int) -> Any:
    """Further columns as a float64 array or CSR matrix of shape (n, n_extra).

    Raises
    ------
    ValueError
        If they have no row for each vote, or are not finite.
    """
    if extra is None:
        return np.zeros((n, 0))
    if sparse.issparse(extra):
        extra = sparse.csr_array(extra, dtype=np.float64)
    else:
        extra = np.array(extra, dtype=np.float64)
    if extra.ndim != 2 or extra.shape[0] != n:
        raise ValueError(
            f"extra has shape {extra.shape}; it needs one row for each of the {n} "
            "votes, (n_votes, n_extra)."
        )
    check_finite("extra", extra)
    return extra


def check_finite(name: str, columns: Any) -> None:
    """Raise ValueError for the first vote of which a number is not finite."""
    data = columns.data if sparse.issparse(columns) else columns
    if np.isfinite(data).all():
        return
    dense = to_dense(columns)
    row = np.argwhere(~np.isfinite(dense))[0][0]
    value = dense[row][~np.isfinite(dense[row])][0]
    raise ValueError(f"{name} contains {value} in row {row}; drop or impute that vote.")


def scale_rows(columns: Any, weight: NDArray[np.float64] | None) -> Any:
    """Columns with every row times its weight."""
    if weight is None:
        return columns
    if sparse.issparse(columns):
        return sparse.diags_array(weight, format="csr") @ columns
    return columns * weight[:, None]


def to_dense(columns: Any) -> NDArray[Any]:
    """The array itself, or that of a sparse matrix."""
    return columns.toarray() if sparse.issparse(columns) else columns
