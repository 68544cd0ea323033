"""Votes about pairs of items whose scores are linear in features, as a design."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from ._pair_columns import PairColumns
from ._shift_design import SingularFit
from ._shift_stream import _least_norm
from ._vote_design import VoteDesign, check_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A column is explained by others if what they leave is rounding of its numbers.
_ROUNDED = 4
# A direction of which the second factorization finds less than this was rounding.
_CONFIRMED = 0.5
# Kept votes determine the fit if their Gram keeps this share of every direction.
_DETERMINED = 1e-10
# Votes of weight 0 with a larger share outside of the span of the others are outside.
_OUTSIDE = 1e-8
_EPS = np.finfo(np.float64).eps


class FeatureDesign(VoteDesign):
    """Votes ``y_e = (phi_i - phi_j) beta + extra_e bias + shift_e + noise``.

    The scores of the items are ``Phi beta``; differences of features are never formed
    for all votes at once.

    Parameters
    ----------
    pairs : ndarray of int of shape (n_votes, 2)
        First and second item, in [0, n_items).
    y : ndarray of shape (n_votes,) or (n_votes, 1)
    weight : ndarray of shape (n_votes,) or None
    features : {ndarray, sparse matrix} of shape (n_items, n_features)
        Phi, one row for each item.
    extra : {ndarray, sparse matrix} of shape (n_votes, n_extra) or None
        Further unpenalized columns of votes: ones are a bias to the first side.

    Attributes
    ----------
    n_items, n_features, n_extra : int
    n_coords : int
        Rank of ``A = [C Phi, extra]``, C the incidence matrix of the votes.

    Raises
    ------
    ValueError
        If an item is compared with itself or is out of range, shapes do not match, or
        a number is not finite.
    TooWide
        If there are more than 5000 columns.

    Notes
    -----
    A `sweep` forms the scores of the items, gathers two per vote, sums up pulls per
    item and multiplies them by the features: O(n_votes + n_items n_features). The Gram
    matrix is ``Phi' L Phi`` with the weighted Laplacian L of the compared pairs, each
    once, bordered by that of `extra`.

    Coordinates are orthonormal: a pivoted Cholesky factorization of the correlations,
    and a second one in the coordinates of the first, which restores the digits that
    inner products lose. Columns that others explain up to about 1e-7 of their length
    (or that do not differ within comparisons) have no coordinate; coefficients are then
    those of least norm with the same fit, over ``[beta, bias]``, as of `DenseDesign`.
    There is no intercept.
    """

    way = "gram"

    def __init__(
        self,
        pairs: NDArray[Any],
        y: NDArray[Any],
        weight: NDArray[np.float64] | None,
        features: Any,
        extra: Any = None,
    ):
        self._columns = columns = PairColumns(pairs, weight, features, extra)
        self.n_samples = n = columns.n_votes
        self._first, self._second = columns.first, columns.second
        self.n_items, self.n_features = columns.n_items, columns.n_features
        self.n_extra = columns.n_extra
        self._y = np.array(y, dtype=np.float64).reshape(n)
        check_finite("y", self._y[:, None])
        self.weight = weight
        self.total_weight = float(n if weight is None else weight.sum())
        self._weight = np.ones(n) if weight is None else weight
        self._set_coordinates()

    def _set_coordinates(self):
        """Find columns that span all, and orthonormal coordinates of them."""
        columns, width = self._columns, self._columns.width
        gram = columns.gram(np.eye(width), self.weight)
        length = np.sqrt(np.maximum(gram.diagonal(), 0.0))
        lost = _ROUNDED * columns.precision * columns.sizes
        kept = np.flatnonzero(length > lost)
        while True:
            scale = length[kept]
            correlation = gram[np.ix_(kept, kept)] / scale / scale[:, None]
            factor, order = _pivoted(correlation, 16 * len(kept) * _EPS)
            kept, scale = kept[order], scale[order]
            good = factor.diagonal() * scale > lost[kept]
            if good.all():
                basis = np.zeros((width, len(kept)))
                basis[kept] = _inverse(factor) / scale[:, None]
                second, place = _pivoted(columns.gram(basis, self.weight), _CONFIRMED)
                if len(place) == len(kept):
                    break
                good[np.setdiff1d(np.arange(len(kept)), place)] = False
            kept = np.sort(kept[good])
        self._map = basis[:, place] @ _inverse(second)
        self._lift, self.undetermined = self._map, None
        self.n_coords = len(kept)
        if self.n_coords < width:
            kept = np.sort(kept)
            others = np.setdiff1d(np.arange(width), kept)
            inner = self._map[kept]
            combine = inner @ (inner.T @ gram[np.ix_(kept, others)])
            self._lift = _least_norm(width, kept, others, combine, inner)
            self._find_undetermined(kept, others, combine)

    def _find_undetermined(self, kept, others, combine):
        """Votes of weight 0 whose rows are no combinations of those of the fit."""
        if self._weight.all():
            return
        self.undetermined = np.zeros(self.n_samples, dtype=bool)
        rms = self._columns.sizes / np.sqrt(self.total_weight)
        tolerance = np.maximum(_OUTSIDE, 16 * self._columns.precision[others])
        for some in self._columns.pieces(np.flatnonzero(self._weight == 0)):
            rows = self._columns.rows(some)
            gap = np.abs(rows[:, others] - rows[:, kept] @ combine)
            size = np.abs(rows[:, others]) + rms[others]
            size += np.abs(rows[:, kept]) @ np.abs(combine)
            self.undetermined[some] = (gap > tolerance * size).any(axis=1)

    # -- passes over the votes -------------------------------------------------------

    def _scores_and_side(self, coords):
        coefs = self._map @ coords
        scores = self._columns.scores(coefs[: self.n_features])
        if not self.n_extra:
            return scores, None
        return scores, self._columns.extra @ coefs[self.n_features :]

    def _moments(self, pulls):
        return self._map.T @ self._columns.moments(pulls)

    # -- systems ---------------------------------------------------------------------

    def solve(self, scores):
        return np.array(scores)

    def gram(self):
        return np.eye(self.n_coords)

    def inverse_gram(self):
        return np.eye(self.n_coords)

    @cached_property
    def _fit(self):
        return self._least_squares(None, np.array)

    def least_squares(self, kept=None):
        if kept is None:
            return self._fit.copy()
        gram = self._columns.gram(self._map, self._weight * kept)
        try:
            factor = linalg.cho_factor(gram, lower=True)
            least = np.diagonal(factor[0]).min(initial=1.0) ** 2
        except linalg.LinAlgError:
            least = 0.0
        if least < _DETERMINED:
            raise SingularFit(
                f"the {np.count_nonzero(self._weight * kept)} votes that are kept do "
                f"not determine all {self.n_coords} coefficients"
            )
        return self._least_squares(kept, lambda score: linalg.cho_solve(factor, score))

    def _least_squares(self, kept, solve):
        def work(rows, R, D):
            return R if kept is None else R * kept[rows, None]

        coords = np.zeros((self.n_coords, 1))
        for _ in range(3):  # rounding is made good
            coords += solve(self.sweep(work, coords))
        return coords

    @cached_property
    def rounding(self):  # type: ignore[override]
        scores, side = self._scores_and_side(self._fit[:, 0])
        squares = self._y**2 if side is None else self._y**2 + side**2
        size = self._weight @ squares + self._columns.degree @ scores**2
        return np.array([16 * _EPS * np.sqrt(size)])

    # -- single votes, and back ------------------------------------------------------

    def take(self, rows):
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        parts = [self._columns.rows(p) @ self._map for p in self._columns.pieces(rows)]
        Z = np.concatenate([np.zeros((0, self.n_coords)), *parts])
        return Z, self._y[rows, None]

    def to_coefs(self, coords):
        coefs = np.swapaxes(self._lift @ np.asarray(coords, dtype=np.float64), -1, -2)
        return coefs, np.zeros(coefs.shape[:-1])

    def leverages(self):
        squares = self._columns.lengths(self._map)
        return np.minimum(self._weight * squares, 1.0)


def _pivoted(matrix, tolerance):
    """Pivoted Cholesky factor (upper) of the directions above it, and their order."""
    if not len(matrix):
        return matrix, np.empty(0, dtype=np.intp)
    factor, order, rank, _ = lapack.dpstrf(matrix, tol=tolerance)
    return np.triu(factor)[:rank, :rank], order[:rank] - 1


def _inverse(triangle):
    return lapack.dtrtri(triangle)[0] if len(triangle) else triangle
