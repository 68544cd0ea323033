"""Least-squares fits on the many supports of one path.

The columns that are ever active, and the response, are compressed once to a small
system with the same inner products. The supports are then visited in the order of the
path, and an orthonormal basis follows them by adding and removing single columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import lstsq, qr_delete
from scipy.linalg.lapack import dpstrf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ..problem import Problem

# Above this many float64 entries (128 MiB) a block is never held as a whole.
_MAX_ENTRIES = 2**24


class LeastSquaresSystem(NamedTuple):
    """A small system whose inner products are those of the weighted data.

    Attributes
    ----------
    columns : ndarray of shape (m, n_active)
        Stand-ins for the standardized columns times ``sqrt(w / W)``.
    targets : ndarray of shape (m, n_outputs)
        Stand-ins for the response times ``sqrt(w / W)``, centred if there is an
        intercept.
    tolerance : float
        A column counts as dependent on others when the part of it that they leave
        unexplained is at most this fraction of its norm.
    """

    columns: NDArray[np.float64]
    targets: NDArray[np.float64]
    tolerance: float


def least_squares_system(
    problem: Problem, features: NDArray[np.int64], fit_intercept: bool
) -> LeastSquaresSystem:
    """Compress ``features`` and the response of a squared-loss problem.

    Sums of squares in the small system times ``problem.total_weight`` are weighted
    sums of squares of the data. Rows are kept where there are few, reduced by a QR
    factorization where there are many, and by a pivoted Cholesky factorization of the
    Gram matrix (half the digits) where the block would not fit into 128 MiB.
    """
    sqrt_weight = problem.sqrt_weight
    response = np.asarray(problem.y, dtype=np.float64).T
    if fit_intercept:
        response = response - problem.omega @ response
    targets = response * sqrt_weight[:, None]
    n_rows, n_outputs = targets.shape
    n_active = features.size
    width = n_active + n_outputs
    tall = n_rows > 2 * width
    if tall and n_rows * width > _MAX_ENTRIES:
        block, tolerance = _gram_factor(problem, features, targets), 1e-6
    else:
        # One zero row on top: a thin orthonormal basis then never becomes square.
        block = np.zeros((n_rows + 1, width), order="F")
        block[1:, :n_active] = problem.columns(features)
        block[1:, n_active:] = targets
        tolerance = 1e-10
        if tall:
            factor = np.asarray(np.linalg.qr(block, mode="r"))
            block = np.vstack([np.zeros(width), factor])
    return LeastSquaresSystem(
        np.asfortranarray(block[:, :n_active]), block[:, n_active:].copy(), tolerance
    )


def _gram_factor(
    problem: Problem, features: NDArray[np.int64], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return R with R'R = the Gram matrix of [columns, targets], from column blocks."""
    n_rows, n_outputs = targets.shape
    n_active = features.size
    width = n_active + n_outputs
    gram = np.empty((width, width))
    step = max(1, _MAX_ENTRIES // (2 * n_rows))
    starts = range(0, n_active, step)
    for start in starts:
        rows = slice(start, min(start + step, n_active))
        left = problem.columns(features[rows])
        gram[rows, n_active:] = left.T @ targets
        for other in starts:
            if other > start:
                break
            cols = slice(other, min(other + step, n_active))
            right = left if other == start else problem.columns(features[cols])
            gram[rows, cols] = left.T @ right
            gram[cols, rows] = gram[rows, cols].T
    gram[n_active:, :n_active] = gram[:n_active, n_active:].T
    gram[n_active:, n_active:] = targets.T @ targets
    # Unit diagonal: the rank tolerance must not depend on units of measurement.
    norms = np.sqrt(np.diag(gram))
    scale = np.where(norms > 0, norms, 1.0)
    factor, pivots, rank, _ = dpstrf(gram / np.outer(scale, scale), lower=0)
    result = np.zeros((rank + 1, width))
    result[1:, pivots - 1] = np.triu(factor)[:rank]
    return result * scale


def residual_sums(
    system: LeastSquaresSystem, coefs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Residual sum of squares of given coefficients.

    Parameters
    ----------
    system : LeastSquaresSystem
    coefs : ndarray of shape (n_knots, n_outputs, n_active)
        Coefficients of the standardized columns.

    Returns
    -------
    ndarray of shape (n_knots,)
        Divided by the sum of the weights.
    """
    n_knots, n_outputs, _ = coefs.shape
    n_rows = system.columns.shape[0]
    sums = np.empty(n_knots)
    step = max(1, _MAX_ENTRIES // (n_outputs * n_rows))
    # Residuals rather than a quadratic form: no cancellation near interpolation.
    for start in range(0, n_knots, step):
        part = slice(start, start + step)
        residuals = system.targets.T - coefs[part] @ system.columns.T
        sums[part] = np.einsum("kom,kom->k", residuals, residuals)
    return sums


def support_residual_sums(
    system: LeastSquaresSystem, supports: Iterable[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Residual sum of squares of the least-squares fit on each support.

    Parameters
    ----------
    system : LeastSquaresSystem
    supports : iterable of bool ndarrays of shape (n_active,)
        Neighbours should be similar: the work is done per column that changes.

    Returns
    -------
    ndarray of shape (n_supports,)
        Divided by the sum of the weights. Dependent columns (duplicates) are skipped,
        which leaves the fit unchanged.
    """
    basis = _Basis(system)
    sums = []
    for support in supports:
        basis.move_to(support)
        sums.append(basis.residual_sum())
    return np.array(sums, dtype=np.float64)


def full_residual_sum(system: LeastSquaresSystem) -> tuple[float, int]:
    """Residual sum of squares on all columns (over the sum of weights), and rank."""
    norms = np.sqrt(np.einsum("mj,mj->j", system.columns, system.columns))
    columns = system.columns / np.where(norms > 0, norms, 1.0)
    coef, _, rank, _ = lstsq(
        columns, system.targets, cond=system.tolerance, lapack_driver="gelsy"
    )
    residual = system.targets - columns @ coef
    return float(np.vdot(residual, residual)), int(rank)


class _Basis:
    """Thin QR factorization of the columns of a support that changes step by step."""

    def __init__(self, system: LeastSquaresSystem):
        self.columns, self.targets, self.tolerance = system
        n_rows, n_active = self.columns.shape
        most = min(n_rows, n_active)
        self.q = np.zeros((n_rows, most), order="F")
        self.r = np.zeros((most, most), order="F")
        self.norms = np.sqrt(np.einsum("mj,mj->j", self.columns, self.columns))
        self.members: list[int] = []
        self.dependent: list[int] = []

    def move_to(self, support: NDArray[np.bool_]) -> None:
        leaving = [k for k, j in enumerate(self.members) if not support[j]]
        for position in reversed(leaving):
            self._remove(position)
        if leaving:
            # A column that depended on one that has left may be needed now.
            self.dependent = []
        self.dependent = [j for j in self.dependent if support[j]]
        present = np.zeros(support.size, dtype=bool)
        present[self.members] = True
        present[self.dependent] = True
        for j in np.flatnonzero(support & ~present):
            self._append(int(j))

    def residual_sum(self) -> float:
        q = self.q[:, : len(self.members)]
        residual = self.targets - q @ (q.T @ self.targets)
        return float(np.vdot(residual, residual))

    def _append(self, j: int) -> None:
        k = len(self.members)
        q, column = self.q[:, :k], self.columns[:, j]
        inner = q.T @ column
        rest = column - q @ inner
        # A second pass restores the digits that the first loses to cancellation.
        correction = q.T @ rest
        rest -= q @ correction
        norm = np.sqrt(rest @ rest)
        if norm <= self.tolerance * self.norms[j]:
            self.dependent.append(j)
            return
        self.q[:, k] = rest / norm
        self.r[:k, k] = inner + correction
        self.r[k, k] = norm
        self.members.append(j)

    def _remove(self, position: int) -> None:
        k = len(self.members)
        q, r = qr_delete(
            self.q[:, :k], self.r[:k, :k], position, which="col", check_finite=False
        )
        self.q[:, : k - 1] = q
        self.r[:, k - 1] = 0.0
        self.r[k - 1] = 0.0
        self.r[: k - 1, : k - 1] = r
        del self.members[position]
