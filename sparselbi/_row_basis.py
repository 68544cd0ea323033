"""Orthonormal coordinates of the rows of a design: one pass to find, one to read."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import blas, lapack

from ._row_sums import _blas as blas_threads
from ._row_sums import advise, block_sums, n_blas_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Numbers in a block of rows that is worked on while it stays in the cache.
_BLOCK = 1 << 17
# Rows that the shift of the columns is taken from.
_HEAD = 1024
# Smaller products are done before threads have started.
_THREADED_WORK = 1e8
# Sparse designs up to so many multiplications take the accurate way.
_DENSE_WORK = 1e11
# A column is dependent if the others leave at most this fraction of it.
_DEPENDENT = 1e-12
# Or this many times the precision of its numbers, if they are float32.
_ROUNDED = 4
# A row is outside of the row space if it misses it by more than this fraction.
_OUTSIDE = 1e-8
_EPS = np.finfo(np.float64).eps


class RowBasis:
    """Coordinates z_i of the rows x_i in which the weighted design is orthonormal.

    ``sum_i w_i z_i z_i'`` is the identity and the z span what the (centred) x span. So
    ``w_i |z_i|^2`` is a leverage, ``z_i' sum_j w_j z_j y_j`` a fitted value, and
    ``lift @ z_i`` a row of the pseudoinverse. Whatever depends on the layout of X, on
    its dtype and size, on the rank and on rounding is decided here.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        Checked by `as_rows`. Never copied as a whole, except if it is sparse.
    targets : ndarray of shape (n_rows, n_targets) or None
    weight : ndarray of shape (n_rows,) or None
    fit_intercept : bool

    Attributes
    ----------
    rank : int
        Dimension of the fit, intercept included.
    mean : ndarray of shape (n_features,)
        Weighted means, 0 without an intercept; `target_mean` likewise.
    constant : float
        What the intercept adds to ``|z_i|^2``: 1 over the sum of the weights, or 0.
    lift : ndarray of shape (n_features, n_coordinates)
        Coefficients of least norm of the fitted function with given coordinates.
    projected : ndarray of shape (n_coordinates, n_targets)
        Coordinates of the fits.
    floor : ndarray of shape (n_targets,)
        Root of a weighted sum of squares of residuals that may be rounding alone.
    largest_rounding : float
        Above all `rounding`.
    way : {"qr", "gram"}

    Raises
    ------
    FloatingPointError
        If X or the targets are not finite, or their squares are not.

    Notes
    -----
    Dense rows go through a Householder QR factorization of ``[1, X, Y]``, block after
    block (the triangle of the rows so far on top of the next block): errors grow with
    the condition number of X, not with its square, and memory is one block and one
    triangle. Large sparse designs go through their inner products, which keep the
    zeros, at half the digits. X and Y are shifted by means of their first rows, so that
    a large mean costs no digits.

    References
    ----------
    J. Demmel, L. Grigori, M. Hoemmen, J. Langou (2012). Communication-optimal parallel
    and sequential QR and LU factorizations. SIAM J. Sci. Comput. 34.
    """

    def __init__(
        self,
        X: Any,
        targets: NDArray | None,
        weight: NDArray[np.float64] | None,
        fit_intercept: bool,
    ):
        n, p = X.shape
        self._X, self._weight = X, weight
        Y = np.empty((n, 0)) if targets is None else targets
        total = float(n if weight is None else weight.sum())
        self.constant = 1 / total if fit_intercept else 0.0

        width = p + Y.shape[1] + 1
        self._step = min(n, max(4 * width, _BLOCK // width))
        # What rounding does to a column depends on its size before it is centred.
        rounded = _ROUNDED * np.finfo(X.dtype).eps if X.dtype.kind == "f" else 0.0
        if sparse.issparse(X) and 2.0 * n * width**2 > _DENSE_WORK:
            self.way, dependent = "gram", np.sqrt(16 * width * _EPS)
            shift, mean, factor = self._by_gram(Y, total)
            gaps = np.bincount(X.indices, minlength=p) < n
            self._shift, before = np.where(gaps, 0.0, shift[:p]), mean - shift
        else:
            self.way, dependent = "qr", _DEPENDENT
            mean, factor = self._by_qr(Y)
            before = mean
        if not (np.isfinite(factor).all() and np.isfinite(mean).all()):
            raise FloatingPointError
        self.mean, self.target_mean = mean[:p], mean[p:]
        self._rms = np.hypot(lengths(factor) / np.sqrt(total), before)
        size = self._rms * np.sqrt(total)
        self._tolerance = max(dependent, rounded)
        cross = self._set_basis(factor[:, :p], factor[:, p:], size[:p])
        self.projected = cross[: len(self._triangle)]
        # Rounding of X reaches y through the coefficients.
        inner = np.abs(self._inverse @ self.projected) * size[:p][self._kept, None]
        self.floor = dependent * np.maximum(size[p:], inner.max(axis=0, initial=0.0))

    # -- the first pass --------------------------------------------------------------

    def _by_qr(self, Y):
        """Means and triangular factor of the centred [X, Y], from blocks of rows."""
        X, weight = self._X, self._weight
        (n, p), lead = X.shape, int(self.constant > 0)
        shift = np.zeros(p + Y.shape[1])
        if lead:
            used = np.arange(n) if weight is None else np.flatnonzero(weight)
            used = used[:_HEAD]
            head = np.column_stack([_dense(X[used]), Y[used]]).astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                shift = head.mean(axis=0)
        factors = self._share(functools.partial(self._triangle_of, Y, shift))
        triangle = factors[0]
        if len(factors) > 1:
            triangle = np.linalg.qr(np.vstack(factors), mode="r")
        if not np.isfinite(triangle).all():
            raise FloatingPointError
        mean = np.zeros(len(shift))
        if lead:
            mean = shift + triangle[0, 1:] / triangle[0, 0]
        return mean, triangle[lead:, lead:].copy()

    def _triangle_of(self, Y, shift, blocks):
        """Triangular factor of the weighted rows of ``[1, X, Y]`` in some blocks."""
        X, weight = self._X, self._weight
        p, lead = X.shape[1], int(self.constant > 0)
        width = lead + len(shift)
        stack = np.zeros((width + self._step, width), order="F")
        lwork = int(lapack.dgeqrf_lwork(*stack.shape)[0])
        with np.errstate(over="ignore", invalid="ignore"):  # of this thread
            for rows in blocks:
                part = stack[width : width + rows.stop - rows.start]
                part[:, :lead] = 1.0
                part[:, lead : lead + p] = _dense(X[rows])
                part[:, lead + p :] = Y[rows]
                if lead:
                    part[:, 1:] -= shift
                if weight is not None:
                    part *= np.sqrt(weight[rows])[:, None]
                stack[width + len(part) :] = 0.0
                _release(X, rows)
                _release(Y, rows)
                done = lapack.dgeqrf(stack, lwork=lwork, overwrite_a=1)[0]
                stack[:width] = np.triu(done[:width])
        return stack[:width].copy()

    def _by_gram(self, Y, total):
        """Shift too, from inner products of sparse columns: half the digits."""
        n = len(Y)
        columns = sparse.hstack([self._X, sparse.csr_array(Y)], format="csr")
        sums = block_sums(columns, np.zeros(n), self._weight, None)
        if self.constant:
            mean, gram = sums.mean[:-1], total * sums.covariance()[:-1, :-1]
        else:
            cross = np.outer(sums.first, sums.shift)
            gram = sums.second + cross + cross.T
            gram += total * np.outer(sums.shift, sums.shift)
            gram, mean = gram[:-1, :-1], np.zeros(columns.shape[1])
        norms = np.sqrt(gram.diagonal())
        norms[norms == 0] = 1.0
        factor, order, rank, _ = lapack.dpstrf(
            gram / norms / norms[:, None], tol=16 * len(norms) * _EPS
        )
        rows = np.zeros_like(gram)
        rows[:rank, order - 1] = np.triu(factor)[:rank]
        return sums.shift[:-1], mean, np.linalg.qr(rows * norms, mode="r")

    # -- rank ------------------------------------------------------------------------

    def _set_basis(self, factor, cross, size):
        """Choose columns that span the others; returns `cross` in their coordinates."""
        p = len(size)
        kept = independent(factor, size, self._tolerance)
        rank = len(kept)
        self.rank = rank + int(self.constant > 0)
        self._kept = slice(None) if rank == p else kept
        rotation, triangle = np.eye(len(factor)), factor
        if rank < p:
            rotation, triangle = np.linalg.qr(factor[:, kept], mode="complete")
            cross = rotation.T @ cross
        self._triangle = np.asfortranarray(triangle[:rank])
        self._inverse = self.lift = invert(self._triangle)
        self._others: Any = None
        if rank < p:
            # Other columns are combinations of those kept; least norm over all.
            others = np.setdiff1d(np.arange(p), kept)
            combine = self._inverse @ (rotation.T @ factor[:, others])[:rank]
            spread = np.zeros((rank, p))
            spread[:, kept] = np.eye(rank)
            spread[:, others] = combine
            left, right = np.linalg.qr(spread.T)
            self.lift = left @ invert(right).T @ self._inverse
            self._others = others, combine
        self._lengths = lengths(self._triangle)
        reach = np.linalg.norm(self._inverse * self._lengths[:, None])
        self.largest_rounding = self._error(np.sqrt(rank) * reach)
        return cross

    # -- the second pass -------------------------------------------------------------

    def coefs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coefficients (n_targets, n_features) and intercepts (n_targets,)."""
        coefs = (self.lift @ self.projected).T
        return coefs, self.target_mean - coefs @ self.mean

    def read(self, Y: NDArray | None = None) -> tuple[NDArray, NDArray]:
        """Return ``|z_i|^2 + constant`` and, given the targets again, the residuals."""
        variance = np.empty(self._X.shape[0])
        Y = np.empty((len(variance), 0)) if Y is None else Y
        residual = np.empty(Y.shape)

        def work(rows, Z):
            variance[rows] = np.einsum("ij,ij->i", Z, Z) + self.constant
            np.subtract(Y[rows], Z @ self.projected, out=residual[rows])
            residual[rows] -= self.target_mean
            _release(Y, rows)

        self.visit(work)
        return variance, residual

    def visit(self, work: Callable[[slice, NDArray[np.float64]], object]) -> None:
        """Call ``work(rows, coordinates)`` for all slices of rows, from threads."""

        def visit_some(blocks):
            for rows in blocks:
                weight = _part(self._weight, rows)
                work(rows, self._coordinates(self._X[rows], weight))
                _release(self._X, rows)

        self._share(visit_some)

    def at(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the coordinates of the given rows, (len(rows), n_coordinates)."""
        return self._coordinates(self._X[rows], _part(self._weight, rows))

    def rounding(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Size of the rounding error of ``w_i |z_i|^2`` of the given rows.

        To first order it is eps times ``sum_j |b_j| |column j|``, where b fits a
        response that is 1 in this row and 0 elsewhere.
        """
        if self.way == "gram":
            return np.full(len(rows), self.largest_rounding)
        reach = np.empty(len(rows))
        for start in range(0, len(rows), self._step):
            some = rows[start : start + self._step]
            coefs = self.at(some) @ self._inverse.T
            reach[start : start + self._step] = np.abs(coefs) @ self._lengths
        weight = _part(self._weight, rows)
        return self._error(reach if weight is None else np.sqrt(weight) * reach)

    def _error(self, reach):
        reach = reach if self.way == "qr" else reach**2
        return 8 * _EPS * (self.rank + reach)

    def _share(self, work):
        """Results of ``work(blocks)``, where threads get every so manieth block."""
        n, step = self._X.shape[0], self._step
        blocks = [slice(k, min(k + step, n)) for k in range(0, n, step)]
        large = n * self._X.shape[1] ** 2 > _THREADED_WORK
        n_threads = min(n_blas_threads() if large else 1, len(blocks))
        if n_threads == 1:
            return [work(blocks)]
        # Threads inside of BLAS gain little on slim blocks, and lose a lot when the
        # machine is busy.
        parts = [blocks[k::n_threads] for k in range(n_threads)]
        with blas_threads().limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(work, parts))

    def _coordinates(self, X, weight):
        if self.way == "gram":
            shifted = X.astype(np.float64)  # a copy
            # Only columns without gaps have a shift: their large means cost no digits.
            shifted.data -= self._shift[shifted.indices]
            Z = shifted[:, self._kept] @ self._inverse
            Z -= (self.mean - self._shift)[self._kept] @ self._inverse
        else:
            Z = np.empty((X.shape[0], len(self._triangle)), order="F")
            Z[:] = _dense(X[:, self._kept])
            Z -= self.mean[self._kept]
            if Z.size:
                Z = blas.dtrsm(1.0, self._triangle, Z, side=1, overwrite_b=1)
        if self._others is not None and weight is not None and not weight.all():
            new = np.flatnonzero(weight == 0)
            Z[new[self._is_outside(_dense(X[new]))]] = np.nan
        return Z

    def _is_outside(self, X):
        """Whether rows of weight 0 are no combinations of the rows of the fit."""
        others, combine = self._others
        centred = X - self.mean
        inside = centred[:, self._kept]
        gap = np.abs(centred[:, others] - inside @ combine)
        size = np.abs(X[:, others]) + self._rms[others]
        size += np.abs(inside) @ np.abs(combine)
        return (gap > max(_OUTSIDE, 16 * self._tolerance) * size).any(axis=1)


def independent(
    factor: NDArray[np.float64], size: NDArray[np.float64], dependent: float
) -> NDArray[np.intp]:
    """Return the columns that span all of them, in order.

    A column is left out if the others leave at most ``dependent * size`` of it.
    """
    if not factor.size:
        return np.empty(0, dtype=np.intp)
    scale = np.where(size > 0, size, 1.0)
    triangle, order = linalg.qr(factor / scale, mode="r", pivoting=True)
    rank = np.count_nonzero(np.abs(triangle.diagonal()) > dependent)
    return np.sort(order[:rank])


def lengths(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean lengths of columns, whatever their unit."""
    peak = np.abs(columns).max(axis=0, initial=0.0)
    scale = np.where((peak > 0) & np.isfinite(peak), peak, 1.0)
    return np.linalg.norm(columns / scale, axis=0) * scale


def invert(triangle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of an upper triangular matrix."""
    return lapack.dtrtri(triangle)[0] if triangle.size else triangle


def _dense(X):
    return X.toarray() if sparse.issparse(X) else X


def _part(weight, rows):
    return None if weight is None else weight[rows]


def _release(array, rows):
    """Give pages of a memory map back, and ask for the next ones."""
    if isinstance(array, np.ndarray):
        advise(array[rows], "MADV_DONTNEED")
        if array.flags.c_contiguous:
            size = rows.stop - rows.start
            advise(array[rows.stop : rows.stop + size], "MADV_WILLNEED")


# -- checks ----------------------------------------------------------------------------


def as_rows(X: Any) -> Any:
    """Return X as an array or CSR matrix of numbers with at least one row and column.

    Raises
    ------
    ValueError
        If it cannot be.
    """
    if sparse.issparse(X):
        X = X.tocsr()
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    else:
        X = np.asarray(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"X has shape {X.shape}; it needs two dimensions, (n_samples, n_features), "
            "both at least 1."
        )
    advice = "encode categories first (sklearn.preprocessing.OneHotEncoder)"
    return _numeric("X", X, advice)


def as_targets(y: Any, n_rows: int) -> tuple[NDArray, list[str] | None]:
    """Return y as (n_rows, n_targets) numbers, and the names of its columns."""
    names = getattr(y, "columns", None)
    y = np.asarray(y)
    if y.ndim not in (1, 2) or len(y) != n_rows or 0 in y.shape:
        raise ValueError(
            f"X has {n_rows} rows but y has shape {y.shape}; it needs ({n_rows},) or "
            f"({n_rows}, n_responses)."
        )
    y = _numeric("y", y, "responses must be numbers")
    names = None if names is None else [str(name) for name in names]
    return (y[:, None] if y.ndim == 1 else y), names


def _numeric(name, array, advice):
    if array.dtype.kind in "biuf":
        return array
    try:
        if array.dtype.kind == "c":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} has dtype {array.dtype}, which is not numeric; {advice}."
        ) from error


def first_not_finite(X: Any, Y: NDArray | None = None) -> str:
    """Say what is wrong with data whose sums of squares are not finite."""
    for start in range(0, X.shape[0], _HEAD):
        part = _dense(X[start : start + _HEAD])
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):
            row, column = bad[0]
            return (
                f"X contains {part[row, column]} in row {start + row}, column {column};"
                " impute or drop such values first (sklearn.impute)."
            )
    if Y is not None and not np.isfinite(Y).all():
        row, column = np.argwhere(~np.isfinite(Y))[0]
        return f"y contains {Y[row, column]} in row {row}; drop or impute that row."
    return "squares of the values of X or y overflow; rescale the data."
