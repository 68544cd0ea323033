"""What a user may pass for a linear map, and what to say if it does not fit."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

SPARSE_DENSITY = 0.1  # an array with at most this share of nonzeros is stored sparsely
SYMMETRY = 1e-10  # of an adjacency matrix, relative to its largest weight
ADJOINT = 1e-5  # of products with D and its transpose, relative to their factors


def check_count(name: str, value: Any, low: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)


def check_factor(name: str, value: Any) -> float:
    if not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return float(value)


def check_shape(shape: Any) -> tuple[int, ...]:
    """Shape of a grid, given as an integer or a sequence."""
    sizes = tuple(shape) if np.iterable(shape) else (shape,)
    if not sizes:
        raise ValueError("shape must name at least one axis, got ()")
    return tuple(check_count("every axis of shape", size, 1) for size in sizes)


def check_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Pixels of a grid that are kept; None if all are."""
    if mask is None:
        return None
    mask = np.array(mask)
    if mask.dtype != bool or mask.shape != shape:
        raise ValueError(
            f"mask must be a bool array of shape {shape}, got {mask.dtype} of shape "
            f"{mask.shape}"
        )
    return None if mask.all() else mask


def check_rows(rows: Any, n_rows: int) -> np.ndarray:
    """Bool array over the rows of a transform."""
    rows = np.asarray(rows)
    if rows.dtype != bool or rows.shape != (n_rows,):
        raise ValueError(
            f"rows must be given as a bool array of shape ({n_rows},), got "
            f"{rows.dtype} of shape {rows.shape}"
        )
    return rows


def check_real(name: str, array: Any) -> None:
    if array.dtype.kind not in "buif":
        raise TypeError(
            f"{name} must hold real numbers, got an array of dtype {array.dtype}"
        )


def check_matrix(D: Any) -> Any:
    """User's array or sparse matrix as float64 CSR or ndarray, a copy."""
    array = D if sparse.issparse(D) else np.asarray(D)
    if array.dtype.kind == "O":
        raise TypeError(
            "D must be None, 'identity', 'differences', a Transform, an array, a "
            f"sparse matrix or a LinearOperator, got {type(D).__name__}"
        )
    check_real("D", array)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            "D must have two dimensions, one row for each combination of coefficients "
            f"and one column for each feature, got shape {array.shape}"
        )
    matrix: Any
    if sparse.issparse(array):
        matrix = csr_array(array, dtype=np.float64, copy=True)
    else:
        matrix = np.array(array, dtype=np.float64, order="C")
        if np.count_nonzero(matrix) <= SPARSE_DENSITY * matrix.size:
            matrix = csr_array(matrix)
    if sparse.issparse(matrix):
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        entries = matrix.data
        empty = np.flatnonzero(np.diff(matrix.indptr) == 0)
    else:
        entries = matrix
        empty = np.flatnonzero(~matrix.any(axis=1))
    if not np.isfinite(entries).all():
        raise ValueError(
            "D must be finite, got NaN or infinity in it. For a row that shall never "
            "enter, use row_weight=inf."
        )
    if empty.size:
        raise ValueError(
            f"{empty.size} of the {matrix.shape[0]} rows of D have no nonzero entry, "
            f"rows {_first(empty)}; remove them"
        )
    return matrix


def check_operator(D: LinearOperator) -> None:
    """Products in both directions exist, are real and finite, and are adjoint."""
    m, p = D.shape
    if 0 in D.shape:
        raise ValueError(f"D must have rows and columns, got shape {D.shape}")
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal(p), rng.standard_normal(m)
    try:
        back = np.asarray(D.rmatvec(u))
    except (NotImplementedError, AttributeError, TypeError) as error:
        raise ValueError(
            "D is a LinearOperator without a transpose: its rmatvec cannot be called "
            f"({type(error).__name__}). Make it with LinearOperator(shape, matvec=..., "
            "rmatvec=...), or pass a sparse matrix."
        ) from error
    out = np.asarray(D.matvec(v))
    for name, product in (("matvec", out), ("rmatvec", back)):
        check_real(f"{name} of D", product)
        if not np.isfinite(product).all():
            raise ValueError(f"{name} of D returns NaN or infinity")
    norm = np.linalg.norm
    size = norm(out) * norm(u) + norm(back) * norm(v)
    if abs(out @ u - v @ back) > ADJOINT * size:
        raise ValueError(
            "rmatvec of D is not the transpose of its matvec: for random u and v, "
            f"u @ matvec(v) = {out @ u:.6g} but rmatvec(u) @ v = {v @ back:.6g}"
        )


def check_adjacency(adjacency: Any, names: list[Any] | None) -> csr_array:
    """Weights of an undirected graph as float64 CSR, without explicit zeros."""

    def node(k: Any) -> str:
        return repr(int(k) if names is None else names[k])

    W = adjacency if sparse.issparse(adjacency) else np.asarray(adjacency)
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise ValueError(f"adjacency must be a square matrix, got shape {W.shape}")
    check_real("adjacency", W)
    W = csr_array(W, dtype=np.float64, copy=True)
    W.sum_duplicates()
    W.eliminate_zeros()
    if not np.isfinite(W.data).all():
        raise ValueError("adjacency must be finite, got NaN or infinity in it")
    edges = W.tocoo()
    for bad, what, advice in (
        (edges.row == edges.col, "a self loop", "set the diagonal to zero"),
        (edges.data < 0, "a negative weight", "use weights >= 0"),
    ):
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"adjacency has {what}, {edges.data[k]:g} between nodes "
                f"{node(edges.row[k])} and {node(edges.col[k])}; {advice}"
            )
    if not W.nnz:
        raise ValueError("adjacency has no edge, so there is nothing to penalize")
    gap = abs(W - W.T).tocoo()
    if gap.nnz and gap.data.max() > SYMMETRY * W.data.max():
        k = int(np.argmax(gap.data))
        i, j = int(gap.row[k]), int(gap.col[k])
        raise ValueError(
            f"adjacency must be symmetric, but the weight from node {node(i)} to node "
            f"{node(j)} is {W[i, j]:g} and back it is {W[j, i]:g}; use (A + A.T) / 2, "
            "or an undirected graph"
        )
    return W


def check_pairs(pairs: Any, n_items: Any) -> tuple[np.ndarray, int, Any]:
    """Indices of the compared items, their number, and the labels if there are any."""
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(
            f"pairs must have two columns and at least one row, got shape {pairs.shape}"
        )
    if n_items is not None:
        n_items = check_count("n_items", n_items, 2)
    labels = None
    if np.issubdtype(pairs.dtype, np.integer):
        codes, low, high = pairs, int(pairs.min()), int(pairs.max())
        if low < 0:
            raise ValueError(f"pairs has the index {low}; indices start at 0")
        if n_items is not None and high >= n_items:
            raise ValueError(
                f"pairs has the index {high}, but n_items={n_items} allows at most "
                f"{n_items - 1}"
            )
        p = n_items or high + 1
    else:
        missing = np.flatnonzero((pairs != pairs).any(axis=1))
        if missing.size:
            raise ValueError(f"pairs has missing labels in rows {_first(missing)}")
        items, codes = np.unique(pairs, return_inverse=True)
        labels, codes, p = pairs.tolist(), codes.reshape(pairs.shape), len(items)
        if n_items is not None and n_items != p:
            raise ValueError(
                f"pairs has {p} different labels, but n_items={n_items}. To have items "
                "that are never compared, pass indices instead of labels."
            )
    same = np.flatnonzero(codes[:, 0] == codes[:, 1])
    if same.size:
        raise ValueError(
            f"pairs compares an item with itself in rows {_first(same)}; remove them"
        )
    return codes, p, labels


def _first(indices: np.ndarray) -> str:
    more = ", ..." if len(indices) > 5 else ""
    return f"[{', '.join(map(str, indices[:5].tolist()))}{more}]"
