"""The rows of a robust fit in coordinates that make every design look alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg

from ._row_basis import RowBasis, first_not_finite

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Kept rows are fitted through their Gram if it keeps this share of every direction,
_DETERMINED = 1e-10
# and do not determine the fit if they keep less than this of a length.
_ROUNDED = 1e-13


class SingularFit(ValueError):
    """Some rows do not determine a least-squares fit."""


class TooWide(ValueError):
    """A matrix of all pairs of coordinates would be too large."""


class Design:
    """Rows z_i and targets Y_i of ``Y_i = z_i coords + shift_i + noise``.

    The coordinates contain the intercept and as many directions as the rows span, so
    that solvers know neither intercept nor rank, dtype or layout.

    Attributes
    ----------
    n_samples, n_coords, n_outputs : int
    weight : ndarray of shape (n_samples,) or None
    total_weight : float
    dense : bool
        Whether the coordinates ``Z`` (n_samples, n_coords) and the targets ``Y``
        (n_samples, n_outputs) are attributes.
    undetermined : ndarray of bool of shape (n_samples,) or None
        Rows of weight 0 that the fit says nothing about.
    rounding : ndarray of shape (n_outputs,)
        Root of a weighted sum of squares of residuals that may be rounding alone.
    """

    n_samples: int
    n_coords: int
    n_outputs: int
    weight: NDArray[np.float64] | None
    total_weight: float
    dense: bool
    Z: NDArray[np.float64]
    Y: NDArray[np.float64]
    undetermined: NDArray[np.bool_] | None
    rounding: NDArray[np.float64]

    def sweep(
        self,
        work: Callable[[slice, NDArray[Any], Any], NDArray[Any] | None],
        coords: NDArray[np.float64],
        directions: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Read all rows once.

        Parameters
        ----------
        work : callable
            Gets a slice of rows, their residuals ``R = Y - Z coords`` (b, n_outputs),
            which it may overwrite, and ``D = Z directions`` or None. Returns P (b,
            n_outputs) or None. May be called from several threads.
        coords, directions : ndarray of shape (n_coords, n_outputs)

        Returns
        -------
        ndarray of shape (n_coords, n_outputs)
            ``sum_i w_i z_i' P_i``.
        """
        raise NotImplementedError

    def solve(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(Z'WZ)^-1 scores``, of any number of columns."""
        raise NotImplementedError

    def gram(self) -> NDArray[np.float64]:
        """Return ``Z'WZ``, (n_coords, n_coords)."""
        return np.asarray(linalg.inv(self.inverse_gram()))

    def inverse_gram(self) -> NDArray[np.float64]:
        """Return ``(Z'WZ)^-1``, (n_coords, n_coords): what covariances are made of.

        Raises
        ------
        TooWide
            If the design has no room for a matrix of that size.
        """
        return self.solve(np.eye(self.n_coords))

    def least_squares(
        self, kept: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return the weighted least-squares fit of some rows (None: all).

        Raises
        ------
        SingularFit
            If these rows do not determine all coordinates.
        """
        raise NotImplementedError

    def take(self, rows: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coordinates (m, n_coords) and targets (m, n_outputs) of some rows."""
        raise NotImplementedError

    def to_coefs(
        self, coords: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coefficients (..., n_outputs, n_features) and intercepts (...)."""
        raise NotImplementedError

    def norms(self, coords: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the length of every residual, (n_samples,)."""
        out = np.empty(self.n_samples)

        def work(rows, R, D):
            out[rows] = row_norms(R)

        self.sweep(work, coords)
        return out

    def residuals(self, coords: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return all residuals, (n_samples, n_outputs)."""
        out = np.empty((self.n_samples, self.n_outputs))

        def work(rows, R, D):
            out[rows] = R

        self.sweep(work, coords)
        return out

    def leverages(self) -> NDArray[np.float64]:
        """Return ``w_i z_i' (Z'WZ)^-1 z_i``, (n_samples,)."""
        raise NotImplementedError


class DenseDesign(Design):
    """Orthonormal coordinates in memory: ``Z'WZ`` is the identity.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    Y : ndarray of shape (n_samples, n_outputs)
    weight : ndarray of shape (n_samples,) or None
    fit_intercept : bool

    Raises
    ------
    ValueError
        If X or Y is not finite.
    """

    dense = True

    def __init__(
        self,
        X: Any,
        Y: NDArray[Any],
        weight: NDArray[np.float64] | None,
        fit_intercept: bool,
    ):
        try:
            basis = RowBasis(X, Y, weight, fit_intercept)
        except FloatingPointError:
            raise ValueError(first_not_finite(X, Y)) from None
        n = X.shape[0]
        self.n_samples, self.n_outputs = Y.shape
        self.weight = weight
        self.total_weight = float(n if weight is None else weight.sum())
        self.n_coords = basis.rank
        self._intercept = int(fit_intercept)
        self.Z = np.empty((n, basis.rank))
        self.Z[:, : self._intercept] = np.sqrt(basis.constant)

        def keep(rows, Z):
            self.Z[rows, self._intercept :] = Z

        basis.visit(keep)
        # New rows outside of the row space: nothing can be said about them.
        self.undetermined = np.asarray(np.isnan(self.Z).any(axis=1))
        self.Z[self.undetermined] = 0.0
        # Triangular solves lose orthogonality with the condition of X; twice is enough.
        gram = self.Z.T @ self._weighted(self.Z)
        self._turn = linalg.solve_triangular(
            linalg.cholesky(gram, lower=True), np.eye(len(gram)), lower=True
        ).T
        self.Z = self.Z @ self._turn
        self.Y = np.array(Y, dtype=np.float64)
        self._mean, self._lift = basis.mean, basis.lift
        self.Y -= basis.target_mean  # a large mean costs no digits
        self._target_mean = basis.target_mean
        self.way = basis.way
        self.rounding = basis.floor  # of a perfect fit, (n_outputs,)
        self._fit = self._weighted(self.Z).T @ self.Y

    def sweep(self, work, coords, directions=None):
        every = slice(0, self.n_samples)
        D = None if directions is None else self.Z @ directions
        P = work(every, self.Y - self.Z @ coords, D)
        if P is None:
            return np.zeros((self.n_coords, self.n_outputs))
        return self.Z.T @ self._weighted(P)

    def solve(self, scores):
        return np.array(scores)

    def gram(self):
        return np.eye(self.n_coords)

    def inverse_gram(self):
        return np.eye(self.n_coords)

    def least_squares(self, kept=None):
        if kept is None:
            return self._fit.copy()
        gone = np.flatnonzero(~kept)
        if len(gone) <= self.n_samples // 2:
            # The Gram of all rows is the identity.
            Z = self.Z[gone]
            weighted = self._weighted(Z, gone)
            gram = np.eye(self.n_coords) - weighted.T @ Z
            cross = self._fit - weighted.T @ self.Y[gone]
        else:
            rows = np.flatnonzero(kept)
            Z = self.Z[rows]
            weighted = self._weighted(Z, rows)
            gram, cross = weighted.T @ Z, weighted.T @ self.Y[rows]
        try:
            factor = linalg.cho_factor(gram, lower=True)
            least = np.diagonal(factor[0]).min(initial=1.0) ** 2
        except linalg.LinAlgError:
            least = 0.0
        if least < _DETERMINED:
            return self._by_qr(kept)
        coords = linalg.cho_solve(factor, cross)
        # One step of refinement: the differences above lose digits.
        rows = np.flatnonzero(kept)
        Z = self.Z[rows]
        left = self.Y[rows] - Z @ coords
        return coords + linalg.cho_solve(factor, self._weighted(Z, rows).T @ left)

    def _by_qr(self, kept):
        """Fit rows that have little weight beside those that were left out."""
        rows = np.flatnonzero(kept)
        root = np.ones(len(rows)) if self.weight is None else self.weight[rows] ** 0.5
        basis, triangle, order = linalg.qr(
            root[:, None] * self.Z[rows], mode="economic", pivoting=True
        )
        sizes = np.abs(np.diagonal(triangle))
        if len(sizes) < self.n_coords or sizes.min() <= _ROUNDED:
            raise _singular(kept)
        inner = linalg.solve_triangular(
            triangle, basis.T @ (root[:, None] * self.Y[rows])
        )
        coords = np.empty_like(inner)
        coords[order] = inner
        return coords

    def take(self, rows):
        return self.Z[rows], self.Y[rows]

    def to_coefs(self, coords):
        coords = self._turn @ coords
        inner = coords[..., self._intercept :, :]
        coefs = np.swapaxes(self._lift @ inner, -1, -2)
        intercepts = np.zeros(coefs.shape[:-1])
        if self._intercept:
            constant = np.sqrt(1 / self.total_weight)
            intercepts = coords[..., 0, :] * constant + self._target_mean
            intercepts = intercepts - coefs @ self._mean
        return coefs, intercepts

    def leverages(self):
        squares = np.einsum("ij,ij->i", self.Z, self.Z)
        return squares if self.weight is None else self.weight * squares

    def _weighted(self, rows, index=slice(None)):
        if self.weight is None:
            return rows
        return rows * self.weight[index, None]


def row_limits(
    threshold: float, row_factor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``threshold * row_factor``; infinite factors stay so, at 0 too."""
    limits = np.full(row_factor.shape, np.inf)
    finite = np.isfinite(row_factor)
    with np.errstate(over="ignore"):
        return np.multiply(threshold, row_factor, out=limits, where=finite)


def row_norms(R: NDArray[Any]) -> NDArray[Any]:
    """Return the Euclidean length of every row."""
    if R.shape[1] == 1:
        return np.abs(R[:, 0])
    return np.sqrt(np.einsum("ij,ij->i", R, R))


def _singular(kept):
    return SingularFit(
        f"the {np.count_nonzero(kept)} rows that are kept do not determine the fit"
    )
