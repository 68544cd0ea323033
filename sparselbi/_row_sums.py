"""Weighted sums over one block of rows, the part of `RowMoments` that does the work."""

from __future__ import annotations

import functools
import mmap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows are converted to float64 and multiplied so many at a time: they stay in cache.
PIECE = 1024
# Rows that the shift of the columns is taken from, in numbers.
_HEAD = 1 << 22
# Wider blocks leave threading to BLAS: one matrix for every thread would be too much.
_WIDE = 1000
# Above this share of nonzero entries dense products beat sparse ones.
_DENSE = 0.1
# As in Problem: below this fraction of its mean a column is constant up to rounding.
_CONSTANT = 1e-13
_EPS = np.finfo(np.float64).eps


class Sums(NamedTuple):
    """Sums over rows d = (x, y) - shift: of 1, of w, of w d and of w d d'."""

    n_rows: int
    weight: float
    shift: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @property
    def mean(self):
        return self.shift + self.first / self.weight

    def covariance(self):
        offset = self.first / self.weight
        matrix = self.second / self.weight - np.outer(offset, offset)
        matrix = 0.5 * (matrix + matrix.T)
        variance = matrix.diagonal().copy()
        rounding = np.maximum(64 * _EPS * offset**2, (_CONSTANT * self.mean) ** 2)
        constant = variance <= rounding
        matrix[constant] = 0.0
        matrix[:, constant] = 0.0
        return matrix


def merged(a, b):
    """Sums over the rows of both, about the shift of `a`; new where both have rows."""
    if a is None or b is None:
        return b if a is None else a
    first, second = b.first, b.second
    offset = b.shift - a.shift
    if offset.any():
        second = second + np.outer(first, offset) + np.outer(offset, first)
        second += b.weight * np.outer(offset, offset)
        first = first + b.weight * offset
    return Sums(
        a.n_rows + b.n_rows,
        a.weight + b.weight,
        a.shift,
        a.first + first,
        a.second + second,
    )


def block_sums(X, y, weight, shift):
    """Sums of a checked block, None if all its weights are 0.

    Raises
    ------
    FloatingPointError
        If the sums are not finite.
    """
    if not len(y) or (weight is not None and not weight.any()):
        finite = np.isfinite(X.data if sparse.issparse(X) else X).all()
        if not (finite and np.isfinite(y).all()):
            raise FloatingPointError
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if sparse.issparse(X) and X.nnz <= _DENSE * X.shape[0] * X.shape[1]:
            sums = _sparse_sums(X, y, weight)
        else:
            sums = _dense_sums(X, y, weight, shift)
        finite = np.isfinite(sums.first).all() and np.isfinite(sums.second).all()
    if not finite:
        raise FloatingPointError
    return sums


def _dense_sums(X, y, weight, shift):
    if shift is None:
        shift = _shift_of(X, y, weight)
    n, width = len(y), len(shift)
    n_threads = n_blas_threads() if width <= _WIDE and n > PIECE else 1
    if n_threads == 1:
        first, second = _piecewise(X, y, weight, shift, range(0, n, PIECE))
    else:
        # Products of slim pieces gain little from threads inside of BLAS, and lose a
        # lot when the machine is busy; so every thread gets pieces of its own.
        parts = [range(k * PIECE, n, n_threads * PIECE) for k in range(n_threads)]
        with _blas().limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
            work = functools.partial(_piecewise, X, y, weight, shift)
            firsts, seconds = zip(*pool.map(work, parts), strict=True)
        first, second = sum(firsts), sum(seconds)
    return Sums(n, _sum_of(weight, n), shift, first, second)


def _piecewise(X, y, weight, shift, starts):
    """First and second moments of the pieces of rows that begin at `starts`."""
    width = len(shift)
    rows = np.empty((min(PIECE, len(y)), width))
    product = np.empty((width, width))
    first, second = np.zeros(width), np.zeros((width, width))
    ones = np.ones(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):  # of this thread
        for start in starts:
            piece = slice(start, start + PIECE)
            part = X[piece]
            if sparse.issparse(part):
                part = part.toarray()
            d = rows[: len(part)]
            d[:, :-1] = part
            d[:, -1] = y[piece]
            d -= shift
            w = ones[: len(part)] if weight is None else weight[piece]
            first += w @ d
            if not np.isfinite(first).all():
                raise FloatingPointError
            if weight is not None:
                d *= np.sqrt(w)[:, None]
            # NumPy sees the symmetry (half the work) and lets other threads run.
            np.matmul(d.T, d, out=product)
            second += product
    return first, second


def _sparse_sums(X, y, weight):
    n, p = X.shape
    X = X.astype(np.float64)  # a copy
    X.sum_duplicates()
    if not (np.isfinite(X.data).all() and np.isfinite(y).all()):
        raise FloatingPointError
    shift = np.zeros(p + 1)
    # Only columns without a gap can be shifted, and only they need it.
    full = np.flatnonzero(np.bincount(X.indices, minlength=p) == n)
    shift[-1:] = _shift_of(np.empty((n, 0)), y, weight)
    if full.size:
        head = slice(0, max(1, _HEAD // p))
        part = None if weight is None or not weight[head].any() else weight[head]
        dense = X[head][:, full].toarray()
        shift[full] = _shift_of(dense, y[head], part)[:-1]
        X.data -= shift[X.indices]
    d = y - shift[-1]
    w = np.ones(n) if weight is None else weight
    first = np.append(X.T @ w, w @ d)
    root = np.sqrt(w)
    X.data *= np.repeat(root, np.diff(X.indptr))
    second = np.empty((p + 1, p + 1))
    second[:-1, :-1] = (X.T @ X).toarray()
    second[-1, :-1] = second[:-1, -1] = X.T @ (root * d)
    second[-1, -1] = (w * d) @ d
    return Sums(n, _sum_of(weight, n), shift, first, second)


def _shift_of(X, y, weight):
    """Column means of the first rows; the value itself where they are all equal."""
    n_rows = max(1, _HEAD // (X.shape[1] + 1))
    if weight is None:
        rows: Any = slice(0, n_rows)
    else:
        rows = np.flatnonzero(weight > 0)[:n_rows]
    head = X[rows]
    head = head.toarray() if sparse.issparse(head) else head
    head = np.column_stack([head, y[rows]]).astype(np.float64, copy=False)
    return np.where((head == head[0]).all(axis=0), head[0], head.mean(axis=0))


def _sum_of(weight, n):
    return float(n if weight is None else weight.sum())


@functools.cache
def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def n_blas_threads():
    return max((pool["num_threads"] for pool in _blas().info()), default=1)


def advise(array, advice):
    """Tell the system how a memory-mapped array will be used; ignore other arrays.

    Pages of private mappings (mode "c") may hold changes and are left alone.
    """
    mode, base = None, array
    while isinstance(base, np.ndarray):
        mode = getattr(base, "mode", None) or mode
        base = base.base
    known = isinstance(base, mmap.mmap) and mode in ("r", "r+", "w+")
    if not known or not array.size or not hasattr(mmap, advice):
        return
    spans = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
    low = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    high = low + sum(max(span, 0) for span in spans) + array.itemsize
    low += sum(min(span, 0) for span in spans)
    start = low // mmap.PAGESIZE * mmap.PAGESIZE
    base.madvise(getattr(mmap, advice), start, high - start)


# -- checks of one block ---------------------------------------------------------------


def check_matrix(X, where):
    X = X.tocsr() if sparse.issparse(X) else np.asarray(X)
    if X.ndim != 2 or X.shape[1] == 0:
        raise ValueError(
            f"{where}: X has shape {X.shape}; it needs two dimensions, (n_rows, "
            "n_features), with at least one feature."
        )
    return numeric("X", X, where)


def numeric(name, array, where):
    if array.dtype.kind in "biuf":
        return array
    try:
        if array.dtype.kind == "c":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        advice = (
            "encode categories first (sklearn.preprocessing.OneHotEncoder)"
            if name == "X"
            else "moments are for squared loss only"
        )
        raise ValueError(
            f"{where}: {name} has dtype {array.dtype}, which is not numeric; {advice}."
        ) from error


def one_dimensional(name, values, n, other, where=None):
    values = np.asarray(values)
    if values.shape != (n,):
        prefix = "" if where is None else f"{where}: "
        raise ValueError(
            f"{prefix}{other} has {n} rows but {name} has shape {values.shape}; it "
            f"needs one number for each row, shape ({n},)."
        )
    return values


def check_weight(sample_weight, n, where):
    if sample_weight is None:
        return None
    weight = one_dimensional("sample_weight", sample_weight, n, "X", where)
    weight = numeric("sample_weight", weight, where).astype(np.float64, copy=False)
    good = np.isfinite(weight) & (weight >= 0)
    if not good.all():
        raise ValueError(
            f"{where}: sample_weight contains {weight[~good][0]}; weights must be "
            "finite and at least 0."
        )
    return weight


def culprit(X, y, where, n_before):
    """What is wrong with a block whose sums are not finite."""
    n_rows = max(1, _HEAD // X.shape[1])
    for start in range(0, len(y), n_rows):
        part = X[start : start + n_rows]
        part = part.toarray() if sparse.issparse(part) else part
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):
            row, column = int(bad[0, 0]) + start, int(bad[0, 1])
            return (
                f"{where}: X contains {X[row, column]} in column {column}, row {row} "
                f"of the block (row {n_before + row} in all); impute or drop such "
                "values first (sklearn.impute)."
            )
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        return (
            f"{where}: y contains {y[row]} in row {row} of the block (row "
            f"{n_before + row} in all); drop or impute those samples."
        )
    return f"{where}: squares of its values overflow; rescale the data."
