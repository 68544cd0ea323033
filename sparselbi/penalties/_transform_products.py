"""Products with D, whatever it is stored as, and operators made of others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator


def multiply(matrix: Any, v: Any) -> np.ndarray:
    """``matrix @ v`` over the last axis of v."""
    v, (m, p) = np.asarray(v), matrix.shape
    if v.shape[-1:] != (p,):
        raise ValueError(f"expected vectors of length {p}, got shape {v.shape}")
    if v.ndim == 1:
        return np.asarray(matrix @ v)
    columns = np.asarray(matrix @ v.reshape(math.prod(v.shape[:-1]), p).T)
    return np.ascontiguousarray(columns.T).reshape(*v.shape[:-1], m)


def eye(p: int) -> csr_array:
    return equal_rows(np.ones(p), np.arange(p)[:, None], p)


def equal_rows(data: np.ndarray, columns: np.ndarray, p: int) -> csr_array:
    """CSR of shape (m, p) with k entries in each row, in `columns` of shape (m, k)."""
    m, k = columns.shape
    index = np.int32 if m * k < 2**31 and p < 2**31 else np.int64
    indptr = np.arange(0, m * k + 1, k, dtype=index)
    return csr_array((data, columns.ravel().astype(index), indptr), shape=(m, p))


class RowsOf(LinearOperator):
    """Some rows of an operator."""

    def __init__(self, operator: LinearOperator, keep: np.ndarray) -> None:
        super().__init__(np.dtype(np.float64), (len(keep), operator.shape[1]))
        self.operator, self.keep = operator, keep

    def _spread(self, u: np.ndarray) -> np.ndarray:
        full = np.zeros((self.operator.shape[0], *u.shape[1:]))
        full[self.keep] = u
        return full

    def _matvec(self, v: np.ndarray) -> np.ndarray:
        return self.operator.matvec(v)[self.keep]

    def _rmatvec(self, u: np.ndarray) -> np.ndarray:
        return self.operator.rmatvec(self._spread(u))

    def _matmat(self, V: np.ndarray) -> np.ndarray:
        return self.operator.matmat(V)[self.keep]

    def _rmatmat(self, U: np.ndarray) -> np.ndarray:
        return self.operator.rmatmat(self._spread(U))


class Stacked(LinearOperator):
    """Operators and matrices above each other."""

    def __init__(self, blocks: list[Any]) -> None:
        self.blocks = blocks
        self.cuts = np.cumsum([block.shape[0] for block in blocks])
        super().__init__(np.dtype(np.float64), (int(self.cuts[-1]), blocks[0].shape[1]))

    def _matmat(self, V: np.ndarray) -> np.ndarray:
        return np.concatenate([block @ V for block in self.blocks])

    def _rmatmat(self, U: np.ndarray) -> np.ndarray:
        pieces = zip(self.blocks, np.split(U, self.cuts[:-1]), strict=True)
        return sum(block.T @ piece for block, piece in pieces)

    _matvec, _rmatvec = _matmat, _rmatmat
