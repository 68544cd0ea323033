"""Kernels of matrices without a structure that is known: blocks of rows.

A block answers for the kernel of one matrix A with k columns: ``project(x)`` for x of
shape (..., k), ``dimension`` (None where it cannot be decided) and ``basis()`` with
orthonormal columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, lsmr

# Small independent blocks are joined up to about this many columns.
_PACK = 64
# LSMR: relative accuracy, and the number of steps after which it is given up.
_TIGHT = 1e-14
_MAX_STEPS = 20_000
# Columns of a basis found by projecting random vectors, entries of a square one.
_MAX_PROJECTED = 500
_MAX_SQUARE = 5e7
_EPS = np.finfo(np.float64).eps


class TooLarge(ValueError):
    """Something that cannot be computed for a D or an X of this size."""


def cost(m: int, p: int) -> float:
    """Multiplications of a factorization of an (m, p) matrix, up to a factor."""
    return float(min(m, p)) ** 2 * max(m, p)


class DenseBlock:
    """A dense matrix, by its singular vectors; ranks as `numpy.linalg.matrix_rank`."""

    def __init__(self, A: Any) -> None:
        self._A = A
        _, size, vectors = linalg.svd(A, full_matrices=False, check_finite=False)
        rank = int((size > _rank_tolerance(A.shape) * size.max(initial=0.0)).sum())
        self._rows = vectors[:rank]
        self.dimension = A.shape[1] - rank

    def project(self, x: np.ndarray) -> np.ndarray:
        if self.dimension == 0:
            return np.zeros_like(x)
        for _ in range(2):  # the second time removes the rounding of the first
            x = x - (x @ self._rows.T) @ self._rows
        return x

    def basis(self) -> np.ndarray:
        return _complement(self._rows)


class SharedBlocks:
    """Kernels of many sets of rows of one dense matrix A = U diag(s) V.

    In the coordinates of the rows of V, the kernel of ``A[out]`` consists of the
    ``U[in].T @ c / s`` with ``U[out] @ U[in].T @ c = 0``. One decomposition of A serves
    all sets; with independent rows every c is allowed.
    """

    def __init__(self, A: Any) -> None:
        self._A = A
        left, size, right = linalg.svd(A, full_matrices=False, check_finite=False)
        rank = int((size > _rank_tolerance(A.shape) * size.max(initial=0.0)).sum())
        self._left, self._size, self._right = left[:, :rank], size[:rank], right[:rank]
        self._outside: np.ndarray | None = None
        # The singular spaces are exact up to this.
        self._rounding = _rank_tolerance(A.shape) * size[0] / size[max(rank, 1) - 1]

    def block(self, active: np.ndarray) -> DenseBlock | KernelInRowSpace:
        """The kernel of the rows that are not active."""
        inside, outside = self._left[active], self._left[~active]
        if len(self._size) == len(self._A):
            weights = inside.T
        else:
            own = cost(len(outside), self._A.shape[1])
            if self._rounding > 1e-6 or own < cost(len(outside), len(inside)):
                return DenseBlock(self._A[~active])
            coupling = outside @ inside.T
            _, size, vectors = linalg.svd(
                coupling,
                full_matrices=len(outside) < len(inside),
                check_finite=False,
            )
            full = np.zeros(len(vectors))
            full[: len(size)] = size
            weights = inside.T @ vectors[full <= self._rounding].T
            # Lengths are 1, or 0 for dependencies among the active rows themselves.
            found, length, _ = linalg.svd(
                weights, full_matrices=False, check_finite=False
            )
            weights = found[:, length > 0.5]
        directions, _ = linalg.qr(
            weights / self._size[:, None], mode="economic", check_finite=False
        )
        return KernelInRowSpace(self, directions)

    def project_rows(self, x: np.ndarray, directions: np.ndarray) -> np.ndarray:
        amount = x @ self._right.T
        inside = (amount @ directions) @ directions.T
        if len(self._size) == self._A.shape[1]:
            return inside @ self._right
        return x - (amount - inside) @ self._right

    def columns(self, directions: np.ndarray) -> np.ndarray:
        if self._outside is None:
            self._outside = _complement(self._right)
        return np.hstack([self._outside, self._right.T @ directions])

    @property
    def kernel_dimension(self) -> int:
        return int(self._A.shape[1] - len(self._size))


class KernelInRowSpace:
    """ker A plus some orthonormal directions in the row space of A."""

    def __init__(self, shared: SharedBlocks, directions: np.ndarray) -> None:
        self._shared, self._directions = shared, directions
        self.dimension = shared.kernel_dimension + directions.shape[1]

    def project(self, x: np.ndarray) -> np.ndarray:
        if self.dimension == 0:
            return np.zeros_like(x)
        x = self._shared.project_rows(x, self._directions)
        return self._shared.project_rows(x, self._directions)

    def basis(self) -> np.ndarray:
        return self._shared.columns(self._directions)


class LargeBlock:
    """A matrix or operator that is only multiplied with."""

    def __init__(self, A: Any, full_row_rank: bool) -> None:
        self._A = A
        self.dimension = A.shape[1] - A.shape[0] if full_row_rank else None

    def project(self, x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        for row, result in zip(x, out, strict=True):
            found = lsmr(
                self._A.T, row, atol=_TIGHT, btol=_TIGHT, conlim=0, maxiter=_MAX_STEPS
            )
            result[:] = row - self._A.T @ found[0]
            if found[1] == 7:
                raise ArithmeticError(
                    f"The projection onto the kernel of {self._A.shape[0]} rows of D "
                    f"did not converge within {_MAX_STEPS} steps of LSMR (violation "
                    f"{found[4]:.1e}): D is ill-conditioned. Use a D with a known "
                    "structure (sparselbi.penalties.transforms), or one with at most "
                    "about 3000 rows or columns."
                )
        return out

    def basis(self) -> np.ndarray:
        if self.dimension is None or self.dimension > _MAX_PROJECTED:
            raise too_large(self._A.shape)
        # No user's seed: rows of D that are the same numbers would be projected to 0.
        rng = np.random.default_rng([1704, 4833, self.dimension])
        some = self.project(rng.standard_normal((self.dimension, self._A.shape[1])))
        columns, size = linalg.qr(some.T, mode="economic")
        if np.abs(np.diagonal(size)).min(initial=np.inf) < 1e-6:
            raise too_large(self._A.shape)
        return np.asarray(columns)


class InactiveRows(LinearOperator):
    """Some rows of an operator, without a copy of anything."""

    def __init__(self, operator: Any, rows: np.ndarray) -> None:
        super().__init__(np.dtype(np.float64), (len(rows), operator.shape[1]))
        self._operator, self._rows = operator, rows

    def _matvec(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(self._operator.matvec(v))[self._rows]

    def _rmatvec(self, u: np.ndarray) -> np.ndarray:
        full = np.zeros(self._operator.shape[0])
        full[self._rows] = np.ravel(u)
        return np.asarray(self._operator.rmatvec(full))


def independent_parts(A: Any) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Split a CSR matrix into groups of rows that share no columns.

    Features that are alone in a row vanish in the kernel; they are left out first.

    Returns
    -------
    free : ndarray of int
        Columns without any entry.
    parts : list of (columns, rows) pairs of ndarray of int
        Small ones are joined. Columns in no part and not free are zero.
    """
    m, p = A.shape
    zero = np.zeros(p, dtype=bool)
    zero[A.indices[A.indptr[:-1][np.diff(A.indptr) == 1]]] = True
    entries = sparse.coo_array(A)
    kept = ~zero[entries.col]
    row, column = entries.row[kept], entries.col[kept]
    if not len(row):
        return np.flatnonzero(~zero), []
    graph = sparse.csr_array(
        (np.ones(len(row)), (column, p + row)), shape=(p + m, p + m)
    )
    _, labels = connected_components(graph, directed=False)
    in_row = np.zeros(p, dtype=bool)
    in_row[column] = True
    in_column = np.zeros(m, dtype=bool)
    in_column[row] = True
    # Components of at least one row, one after the other, cut at every _PACK columns.
    present, code = np.unique(labels[:p][in_row], return_inverse=True)
    width = np.bincount(code)
    pack = np.append(0, np.cumsum(width)[:-1]) // _PACK
    pack_of = np.full(labels.max() + 1, -1)
    pack_of[present] = np.unique(pack, return_inverse=True)[1]
    n_packs = pack_of.max() + 1
    columns = _by_label(np.flatnonzero(in_row), pack_of[labels[:p][in_row]], n_packs)
    rows = _by_label(np.flatnonzero(in_column), pack_of[labels[p:][in_column]], n_packs)
    return np.flatnonzero(~zero & ~in_row), list(zip(columns, rows, strict=True))


def too_large(shape: tuple[int, int]) -> TooLarge:
    return TooLarge(
        f"the dimension of the kernel of {shape[0]} rows of D with {shape[1]} columns "
        "cannot be decided: D has no known structure and is too large to be "
        "factorized. Use a function of sparselbi.penalties.transforms that builds the "
        "same D, or `project`, which only multiplies with D."
    )


def _by_label(items: np.ndarray, labels: np.ndarray, n_labels: int) -> list[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=n_labels)
    return np.split(items[order], np.cumsum(counts)[:-1])


def _rank_tolerance(shape: tuple[int, int]) -> float:
    return float(max(shape) * _EPS)


def _complement(rows: np.ndarray) -> np.ndarray:
    """Orthonormal columns orthogonal to orthonormal rows."""
    rank, p = rows.shape
    if rank == p:
        return np.zeros((p, 0))
    if float(p) * p > _MAX_SQUARE:
        raise TooLarge(
            f"a basis of a space of dimension {p - rank} in {p} dimensions is too "
            "large to be written out; use `project`."
        )
    return np.asarray(linalg.qr(rows.T, check_finite=False)[0][:, rank:])
