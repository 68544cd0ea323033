"""Spectral norms that do not depend on the order of rows and columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

EXACT = 1000  # up to this many rows or columns the norm is an eigenvalue
WORK = 2e8  # multiplications that a bound may cost
SMALL_OPERATOR = 200  # columns up to which an operator is written out
OPERATOR_MARGIN = 1.02  # a Lanczos value may be too small


def line_norm(p: int) -> float:
    """Norm of first differences on a line of p pixels."""
    return 2 * math.cos(math.pi / (2 * p))


def spectral_norm(matrix: Any) -> float:
    """Norm of a CSR or dense matrix, or an upper bound; an estimate for operators."""
    if isinstance(matrix, LinearOperator):
        return _operator_norm(matrix)
    A = matrix if matrix.shape[1] <= matrix.shape[0] else matrix.T
    if A.shape[1] <= EXACT:
        gram = A.T @ A
        return _top(gram.toarray() if sparse.issparse(gram) else gram)
    if sparse.issparse(A):
        return _positive_bound(abs(csr_array(A)))
    start = np.einsum("ij,ij->j", A, A)  # moves with the columns
    return _lanczos(lambda v: A.T @ (A @ v), start, tol=0.0)


def _top(gram: np.ndarray) -> float:
    return math.sqrt(np.linalg.eigvalsh(gram)[-1])


def _lanczos(square: Any, start: np.ndarray, tol: float) -> float:
    operator = LinearOperator((len(start),) * 2, matvec=square, dtype=np.float64)
    top = eigsh(operator, k=1, v0=start, tol=tol, return_eigenvectors=False)[0]
    return math.sqrt(max(top, 0.0))


def _operator_norm(operator: LinearOperator) -> float:
    p = operator.shape[1]
    if p <= SMALL_OPERATOR:
        dense = np.asarray(operator @ np.eye(p))
        return _top(dense.T @ dense)
    start = np.random.default_rng(0).standard_normal(p)
    norm = _lanczos(lambda v: operator.rmatvec(operator.matvec(v)), start, tol=1e-4)
    return OPERATOR_MARGIN * norm


def _positive_bound(A: csr_array) -> float:
    """Upper bound of the norm of a matrix with entries >= 0.

    For x > 0, ``max(A'A x / x) >= norm ** 2``, with equality at the Perron vector. The
    number of powers depends on the size of A alone, so the bound moves with no
    permutation.
    """
    T = csr_array(A.T)
    x = np.ones(A.shape[1])
    bound = math.inf
    for _ in range(20 + int(WORK / (2 * A.nnz + sum(A.shape)))):
        y = T @ (A @ x)
        used = x > 0  # a feature without rows, or one whose share has died out
        bound = min(bound, float(np.max(y[used] / x[used])))
        if bound - (x @ y) / (x @ x) <= 1e-12 * bound:
            break
        x = y / y.max()
    return math.sqrt(bound)
