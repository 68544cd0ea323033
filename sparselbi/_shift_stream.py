"""Robust fits of designs that stay where they are: files, blocks, sparse, float32."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack

from ._row_basis import _release, first_not_finite
from ._row_sums import _blas as blas_threads
from ._row_sums import advise, block_sums, merged, n_blas_threads
from ._shift_design import Design, SingularFit, TooWide

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Numbers in a block of rows: read once from memory, twice from the cache.
_BLOCK = 1 << 20
# Columns in Fortran order are read in longer pieces.
_LONG_BLOCK = 1 << 22
_MOST_ROWS = 1 << 16
# Smaller sweeps are done before threads have started.
_THREADED_WORK = 2e7
# Inner products of the rows of a fit are summed over so many rows at a time.
_GRAM_ROWS = 1 << 14
# Sparse designs with more columns are solved by conjugate gradients: their inner
# products would be a dense matrix of 200 MB and more.
_DENSE_GRAM = 5000
# Of those, only so many coordinates have a matrix of inner products.
_MOST_COORDS = 5000
# Systems that are solved by conjugate gradients at a time.
_SYSTEMS = 32
# Means above so many standard deviations are taken off the rows before products.
_LARGE_MEAN = 8.0
# A column is constant if what is left after centring is rounding of its numbers.
_ROUNDED = 4
# Kept rows determine the fit if their Gram keeps this share of every direction.
_DETERMINED = 1e-10
_CG_TOLERANCE = 1e-12
_MAX_CG = 1000
# A direction of scaled columns in which the rows do not vary.
_FLAT = 1e-13
_EPS = np.finfo(np.float64).eps


class StreamedDesign(Design):
    """Orthonormal coordinates ``Z = [1, X - mean] T`` that are never stored, only X is.

    One pass over X for its inner products, then one for every `sweep`, in blocks of
    rows that stay in the cache, from as many threads as BLAS has. Memory beyond X is a
    few blocks and a few matrices of (n_features, n_features) numbers.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features), or tuple of them
        Checked by `as_rows`. Pages of memory maps are given back after use.
    targets : ndarray of shape (n_samples, n_outputs) or (n_samples,)
        Numbers; or, with `n_classes`, codes in ``[0, n_classes)`` whose one-hot rows
        are made block by block.
    weight : ndarray of shape (n_samples,) or None
    fit_intercept : bool
    n_classes : int or None

    Attributes
    ----------
    precision : float
        Rounding unit of the products: that of X if it is float32.
    way : {"gram", "cg"}

    Raises
    ------
    ValueError
        If X or the targets are not finite, their squares are not, or a code is out of
        range.

    Notes
    -----
    Products with float32 rows are done in float32 and summed over blocks in float64.
    Columns with large means are centred in each block, in which they then lose no
    digits; other means are taken off the products, so that zeros stay zeros.

    A sparse X with more than 5000 columns has its inner products only as an operator:
    coordinates are scaled columns, `solve` takes conjugate gradients, `n_coords` counts
    the columns that are not constant (linear dependencies are not searched for), and
    `leverages` cannot be had, nor `gram` of more than 5000 coordinates.
    """

    dense = False

    def __init__(
        self,
        X: Any,
        targets: NDArray[Any],
        weight: NDArray[np.float64] | None,
        fit_intercept: bool,
        n_classes: int | None = None,
    ):
        self._parts = parts = tuple(X) if isinstance(X, list | tuple) else (X,)
        self._targets, self.weight = targets, weight
        self._codes = n_classes is not None
        n, p = sum(part.shape[0] for part in parts), parts[0].shape[1]
        self.n_samples, self._width = n, p
        self.total_weight = float(n if weight is None else weight.sum())
        self._intercept = int(fit_intercept)
        single = all(part.dtype == np.float32 for part in parts)
        self._dtype = np.dtype(
            np.float32 if single and not self._has_sparse else np.float64
        )
        self.precision = _eps(np.empty(0, self._dtype))
        self.n_outputs = n_classes if n_classes is not None else targets.shape[1]
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self._blocks = [
            block for k in range(len(parts)) for block in self._blocks_of(k)
        ]
        size = self._set_targets()
        wide = self._has_sparse and p > _DENSE_GRAM
        self.way = "cg" if wide else "gram"
        try:
            (self._by_columns if wide else self._by_gram)()
        except FloatingPointError:
            raise ValueError(self._culprit()) from None
        self._fit: NDArray[np.float64] | None = None
        coefs = np.abs(self._map @ self.least_squares()[self._intercept :])
        reach = np.sqrt(self.total_weight) * (self._spread[:, None] * coefs).max(
            axis=0, initial=0.0
        )
        self.rounding = 16 * self.precision * np.maximum(reach, size)

    # -- what is read ----------------------------------------------------------------

    @property
    def _has_sparse(self):
        return any(sparse.issparse(part) for part in self._parts)

    def _blocks_of(self, k):
        """Rows of part k in blocks: (k, slice of the part, slice of all rows)."""
        part, start = self._parts[k], int(self._starts[k])
        n, width = part.shape[0], self._width
        size = _BLOCK
        if sparse.issparse(part):
            width = part.nnz // max(n, 1)
        elif not part.flags.c_contiguous:
            size = _LONG_BLOCK
        step = int(np.clip(size // (width + 8 * self.n_outputs), 64, _MOST_ROWS))
        for first in range(0, n, step):
            last = min(first + step, n)
            yield k, slice(first, last), slice(start + first, start + last)

    def _set_targets(self):
        """Check the targets; return the root of their weighted sums of squares."""
        targets, weight = self._targets, self.weight
        self._target_mean = np.zeros(self.n_outputs)
        if self._codes:
            low, high = int(targets.min()), int(targets.max())
            if low < 0 or high >= self.n_outputs:
                bad = low if low < 0 else high
                raise ValueError(
                    f"targets contain the code {bad}; with n_classes="
                    f"{self.n_outputs} they must lie in [0, {self.n_outputs - 1}]."
                )
            counts = np.bincount(targets, weight, minlength=self.n_outputs)
            return np.sqrt(counts)
        first, second = np.zeros(self.n_outputs), np.zeros(self.n_outputs)
        with np.errstate(over="ignore", invalid="ignore"):
            for moment, total in ((0, first), (1, second)):
                for _, _, rows in self._blocks:
                    Y = targets[rows] - self._target_mean
                    Y = Y**2 if moment else Y
                    total += Y.sum(axis=0) if weight is None else weight[rows] @ Y
                    _release(targets, rows)
                if self._intercept and not moment:
                    self._target_mean = first / self.total_weight
        if not np.isfinite(second).all():
            raise ValueError(self._culprit())
        # The mean itself is known to the rounding of float64.
        lost = _EPS / self.precision * np.sqrt(self.total_weight)
        return np.sqrt(second) + lost * np.abs(self._target_mean)

    def _culprit(self):
        for part, start in zip(self._parts, self._starts, strict=False):
            text = first_not_finite(part)
            if "contains" in text:
                several = f" of the block that begins at row {start}"
                return text.replace(",", several + ",", 1) if start else text
        Y = np.zeros((1, 1)) if self._codes else self._targets
        return first_not_finite(np.zeros((1, 1)), Y)

    # -- coordinates -----------------------------------------------------------------

    def _by_gram(self):
        """Coordinates from the Cholesky factor of the correlations of the columns."""
        p = self._width
        sums: Any = None
        for k, part in enumerate(self._parts):
            for rows, weight in self._gram_blocks(k):
                shift = None if sums is None else sums.shift
                if not self._intercept:
                    shift = np.zeros(p + 1)
                zeros = np.zeros(rows.stop - rows.start)
                sums = merged(sums, block_sums(part[rows], zeros, weight, shift))
                _release(part, rows)
        mean, gram = np.zeros(p), _second_moments(sums)
        if self._intercept:
            mean, gram = sums.mean[:-1], self.total_weight * sums.covariance()[:-1, :-1]
        spread = np.sqrt(gram.diagonal() / self.total_weight)
        self._set_mean(mean, spread)
        scale = np.sqrt(gram.diagonal())
        # What rounding leaves of a column depends on its size before it is centred.
        kinds = [_eps(part) for part in self._parts]
        lost = _ROUNDED * max(kinds) * np.hypot(spread, mean)
        kept = np.flatnonzero(spread > lost)
        while True:
            triangle, order, rank = self._factor(gram, scale, kept)
            left = np.abs(triangle.diagonal()) * spread[kept[order]]
            good = left > lost[kept[order]]
            if good.all():
                break
            kept = np.sort(kept[order[good]])
        kept = kept[order]
        self.n_coords = rank + self._intercept
        inverse = lapack.dtrtri(triangle)[0] if rank else np.zeros((0, 0))
        basis = inverse / scale[kept, None]
        self._map = np.zeros((p, rank))
        self._map[kept] = basis
        self._lift, self.undetermined = self._map, None
        if rank < p:
            others = np.setdiff1d(np.arange(p), kept)
            combine = basis @ (basis.T @ gram[np.ix_(kept, others)])
            self._lift = _least_norm(p, kept, others, combine, basis)
            self._find_undetermined(kept, others, combine)

    def _gram_blocks(self, k):
        part, start = self._parts[k], self._starts[k]
        for first in range(0, part.shape[0], _GRAM_ROWS):
            last = min(first + _GRAM_ROWS, part.shape[0])
            weight = self.weight
            if weight is not None:
                weight = weight[start + first : start + last]
            yield slice(first, last), weight

    @staticmethod
    def _factor(gram, scale, kept):
        """Pivoted factor of the correlations of some columns: what they span."""
        if not len(kept):
            return np.zeros((0, 0)), np.empty(0, dtype=np.intp), 0
        part = gram[np.ix_(kept, kept)] / scale[kept] / scale[kept, None]
        tolerance = 16 * len(kept) * _EPS
        factor, order, rank, _ = lapack.dpstrf(part, tol=tolerance)
        return np.triu(factor)[:rank, :rank], order[:rank] - 1, int(rank)

    def _by_columns(self):
        """Coordinates that are scaled columns, of a sparse X with very many."""
        p, total = self._width, self.total_weight
        first, second = np.zeros(p), np.zeros(p)
        with np.errstate(over="ignore", invalid="ignore"):
            for k, local, rows in self._blocks:
                part = sparse.csr_array(self._parts[k][local]).astype(np.float64)
                weight = np.ones(part.shape[0])
                if self.weight is not None:
                    weight = self.weight[rows]
                first += part.T @ weight
                part.data **= 2
                second += part.T @ weight
        if not (np.isfinite(second).all() and np.isfinite(first).all()):
            raise FloatingPointError
        mean = first / total if self._intercept else np.zeros(p)
        variance = second / total - mean**2
        variance[variance <= 64 * _EPS * second / total] = 0.0
        self._set_mean(mean, np.sqrt(variance), np.zeros(p))
        kept = np.flatnonzero(variance > 0)
        scale = 1 / np.sqrt(total * variance[kept])
        self._map = self._lift = sparse.csr_array(
            (scale, (kept, np.arange(len(kept)))), shape=(p, len(kept))
        )
        self.n_coords = len(kept) + self._intercept
        self.undetermined = None

    def _set_mean(self, mean, spread, shift=None):
        """Which means are taken off the rows, and which off the products."""
        self._mean, self._spread = mean, spread
        if shift is None:
            large = np.abs(mean) > _LARGE_MEAN * spread
            # Zeros of sparse rows stay, except in columns that have none.
            for part in self._parts if self._has_sparse else ():
                if sparse.issparse(part):
                    count = np.bincount(part.indices, minlength=len(mean))
                    large &= count == part.shape[0]
            shift = np.where(large, mean, 0.0)
        # What is subtracted from float32 numbers must be one.
        self._shift = shift.astype(self._dtype).astype(np.float64)
        self._shifted = bool(self._shift.any())
        self._offset = mean - self._shift

    def _find_undetermined(self, kept, others, combine):
        """Rows of weight 0 that are no combinations of the rows of the fit."""
        if self.weight is None or self.weight.all():
            return
        tolerance = max(1e-8, 64 * self.precision)
        self.undetermined = np.zeros(self.n_samples, dtype=bool)
        rms = np.hypot(self._spread, self._mean)
        for k, local, rows in self._blocks:
            new = np.flatnonzero(self.weight[rows] == 0)
            if not len(new):
                continue
            X = _dense(self._parts[k][local][new]).astype(np.float64)
            centred = X - self._mean
            gap = np.abs(centred[:, others] - centred[:, kept] @ combine)
            size = np.abs(X[:, others]) + rms[others]
            size += np.abs(centred[:, kept]) @ np.abs(combine)
            outside = (gap > tolerance * size).any(axis=1)
            self.undetermined[rows.start + new[outside]] = True

    # -- passes over the rows --------------------------------------------------------

    def sweep(self, work, coords, directions=None):
        return self._sweep(work, coords, directions, self.n_outputs)

    def _sweep(self, work, coords, directions, width):
        """`sweep` with work that returns so many columns."""
        lead = self._intercept
        columns = coords if directions is None else np.hstack([coords, directions])
        coefs = self._map @ columns[lead:]
        constant = -(self._offset @ coefs)
        if lead:
            constant += columns[0] / np.sqrt(self.total_weight)
        coefs = coefs.astype(self._dtype)

        def visit_some(blocks):
            with np.errstate(over="ignore", invalid="ignore"):  # of this thread
                return self._visit(
                    blocks, work, coefs, constant, directions is None, width
                )

        moments, sums = zip(*self._share(visit_some), strict=True)
        moment, total = sum(moments), sum(sums)
        scores = np.empty((self.n_coords, width))
        scores[lead:] = self._map.T @ (moment - np.outer(self._offset, total))
        if lead:
            scores[0] = total / np.sqrt(self.total_weight)
        return scores

    def _visit(self, blocks, work, coefs, constant, alone, width):
        """Sums of ``x_i w_i P_i'`` and ``w_i P_i`` over some blocks."""
        c = self.n_outputs
        moment, total = np.zeros((self._width, width)), np.zeros(width)
        buffer, unreleased = np.empty(0, self._dtype), 0
        constant = constant.astype(self._dtype)
        for k, local, rows in blocks:
            X, buffer = self._rows(k, local, buffer)
            fitted = X @ coefs
            fitted += constant
            R = self._residuals(rows, fitted[:, :c])
            P = work(rows, R, None if alone else fitted[:, c:])
            if P is not None:
                if self.weight is not None:
                    P = P * self.weight[rows, None]
                total += P.sum(axis=0, dtype=np.float64)
                P = np.ascontiguousarray(P, dtype=self._dtype)
                moment += X.T @ P if sparse.issparse(X) else (P.T @ X).T
            unreleased += rows.stop - rows.start
            unreleased *= self._give_back(k, local, rows, unreleased)
        return moment, total

    def _residuals(self, rows, fitted):
        if self._codes:
            R = np.negative(fitted)
            R[np.arange(len(R)), self._targets[rows]] += 1
            return R
        Y = self._targets[rows]
        if self._target_mean.any():
            Y = Y - self._target_mean
        return np.subtract(Y, fitted, dtype=self._dtype, casting="same_kind")

    def _rows(self, k, local, buffer):
        """Rows of X as they enter products, in a buffer if they must be changed."""
        part = self._parts[k]
        X = part[local]
        if sparse.issparse(part):
            X = X.astype(self._dtype, copy=self._shifted)
            if self._shifted:
                X.data -= self._shift[X.indices]
            return X, buffer
        if X.dtype == self._dtype and not self._shifted:
            return X, buffer
        order = "F" if part.flags.f_contiguous and X.shape[1] > 1 else "C"
        if buffer.size < X.size:
            buffer = np.empty(X.size, self._dtype)
        out = buffer[: X.size].reshape(X.shape, order=order)
        shift = self._shift.astype(self._dtype)
        return np.subtract(X, shift, out=out, casting="same_kind"), buffer

    def _give_back(self, k, local, rows, unreleased):
        """Release pages; whether there are rows left that were not."""
        part = self._parts[k]
        if not self._codes or self._targets.ndim == 1:
            _release(self._targets, rows)
        if not isinstance(part, np.ndarray):
            return False
        if part.flags.c_contiguous:
            _release(part, local)
            return False
        if 16 * unreleased > self.n_samples:
            advise(part, "MADV_DONTNEED")
            return False
        return True

    def _share(self, work):
        """Results of ``work(blocks)``, where threads get every so manieth block."""
        blocks = self._blocks
        size = sum(
            part.nnz if sparse.issparse(part) else part.size for part in self._parts
        )
        large = size * self.n_outputs > _THREADED_WORK
        n_threads = min(n_blas_threads() if large else 1, len(blocks))
        if n_threads == 1:
            return [work(blocks)]
        parts = [blocks[k::n_threads] for k in range(n_threads)]
        with blas_threads().limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(work, parts))

    # -- systems ---------------------------------------------------------------------

    def solve(self, scores):
        if self.way == "gram":
            return np.array(scores)
        return self._conjugate_gradients(scores)

    def _product(self, directions, mask=None):
        """``Z'W Z directions`` over the rows in a mask (None: all)."""

        def work(rows, R, D):
            return D if mask is None else D * mask[rows, None]

        zero = np.zeros((self.n_coords, self.n_outputs))
        return self._sweep(work, zero, directions, directions.shape[1])

    def gram(self):
        if self.way == "gram":
            return np.eye(self.n_coords)
        if self.n_coords > _MOST_COORDS:
            raise TooWide(
                f"a sparse X with {self.n_coords} coefficients (more than "
                f"{_MOST_COORDS}) has no standard errors and no deleted residuals: "
                "they would need a dense matrix of that size. Use fewer features, or "
                "what needs the fit alone."
            )
        columns = np.eye(self.n_coords)
        parts = [
            self._product(columns[:, k : k + _SYSTEMS])
            for k in range(0, self.n_coords, _SYSTEMS)
        ]
        return np.hstack(parts)

    def inverse_gram(self):
        gram = self.gram()
        if self.way == "gram":
            return gram
        # Of dependent columns the pseudoinverse, which gives the same variances.
        return linalg.pinvh(gram, rtol=_DETERMINED)

    def least_squares(self, kept=None):
        if kept is None:
            if self._fit is None:
                self._fit = self._solve_rows(None, self.solve)
            return self._fit.copy()
        used = kept if self.weight is None else kept & (self.weight > 0)
        if np.count_nonzero(used) < self.n_coords:
            raise _singular(used)
        if self.way == "cg":
            mask = used.astype(np.float64)
            return self._solve_rows(
                mask, functools.partial(self._conjugate_gradients, mask=mask)
            )
        # The Gram of all rows is the identity: sum over the smaller set.
        few = used if 2 * np.count_nonzero(used) <= self.n_samples else ~used
        gram = self._gram_of(few)
        if few is not used:
            gram = np.eye(self.n_coords) - gram
        try:
            factor = linalg.cho_factor(gram, lower=True)
        except linalg.LinAlgError:
            raise _singular(used) from None
        if np.diagonal(factor[0]).min(initial=1.0) ** 2 < _DETERMINED:
            raise _singular(used)
        return self._solve_rows(
            used.astype(np.float64), functools.partial(linalg.cho_solve, factor)
        )

    def _solve_rows(self, mask, solve):
        """Least squares of some rows; rounding is made good by a second pass."""

        def work(rows, R, D):
            return R if mask is None else R * mask[rows, None]

        coords = np.zeros((self.n_coords, self.n_outputs))
        for _ in range(3):
            coords += solve(self.sweep(work, coords))
        return coords

    def _gram_of(self, chosen):
        """``sum_i w_i z_i z_i'`` over the chosen rows."""
        p, lead = self._width, self._intercept
        second, first, total = np.zeros((p, p)), np.zeros(p), 0.0
        for k, part in enumerate(self._parts):
            for rows, weight in self._gram_blocks(k):
                start = self._starts[k]
                some = np.flatnonzero(chosen[start + rows.start : start + rows.stop])
                if not len(some):
                    continue
                weight = None if weight is None else weight[some]
                if weight is not None and not weight.any():
                    continue
                X = _dense(part[rows][some]).astype(np.float64) - self._mean
                left = X if weight is None else X * np.sqrt(weight)[:, None]
                second += left.T @ left
                w = np.ones(len(some)) if weight is None else weight
                first += w @ X
                total += w.sum()
                _release(part, rows)
        gram = np.empty((self.n_coords, self.n_coords))
        gram[lead:, lead:] = self._map.T @ (second @ self._map)
        if lead:
            root = np.sqrt(self.total_weight)
            gram[0, 0] = total / self.total_weight
            gram[0, 1:] = gram[1:, 0] = self._map.T @ first / root
        return gram

    def _conjugate_gradients(self, scores, mask=None):
        """Solve with the Gram of the (masked) rows, some columns at once."""
        scores = np.asarray(scores, dtype=np.float64)
        if scores.shape[1] > max(_SYSTEMS, self.n_outputs):
            parts = np.split(scores, range(_SYSTEMS, scores.shape[1], _SYSTEMS), axis=1)
            return np.hstack([self._conjugate_gradients(s, mask) for s in parts])
        solution, residual = np.zeros_like(scores), scores.copy()
        direction = residual.copy()
        squares = _squares(residual)
        goal = _CG_TOLERANCE**2 * squares
        for _ in range(_MAX_CG):
            image = self._product(direction, mask)
            curvature = np.einsum("ij,ij->j", direction, image)
            # Where columns depend on each other, rounding is all that is left.
            going = (squares > goal) & (curvature > _FLAT * _squares(direction))
            if not going.any():
                break
            step = np.where(going, squares, 0.0) / np.where(going, curvature, 1.0)
            solution += step * direction
            residual -= step * image
            before, squares = squares, _squares(residual)
            direction *= np.where(going, squares, 0.0) / np.where(going, before, 1.0)
            direction += np.where(going, residual, 0.0)
        return solution

    # -- single rows, and back -------------------------------------------------------

    def take(self, rows):
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        X = np.empty((len(rows), self._width))
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for k in np.unique(owner):
            mine = owner == k
            X[mine] = _dense(self._parts[k][rows[mine] - self._starts[k]])
        X -= self._mean
        Z = np.empty((len(rows), self.n_coords))
        Z[:, : self._intercept] = 1 / np.sqrt(self.total_weight)
        Z[:, self._intercept :] = X @ self._map
        if self._codes:
            return Z, np.eye(self.n_outputs)[self._targets[rows]]
        return Z, self._targets[rows] - self._target_mean

    def to_coefs(self, coords):
        lead = self._intercept
        inner = np.moveaxis(np.asarray(coords)[..., lead:, :], -2, 0)
        others = inner.shape[1:]
        flat = self._lift @ inner.reshape(len(inner), int(np.prod(others)))
        coefs = np.moveaxis(flat.reshape(self._width, *others), 0, -1)
        intercepts = np.zeros(others)
        if lead:
            constant = coords[..., 0, :] / np.sqrt(self.total_weight)
            intercepts = constant + self._target_mean - coefs @ self._mean
        return coefs, intercepts

    def leverages(self):
        if self.way == "cg":
            raise ValueError(
                f"leverages of a sparse X with {self._width} columns (more than "
                f"{_DENSE_GRAM}) would need a dense matrix of that size; use "
                "row_factor=None."
            )
        out = np.empty(self.n_samples)

        def read(blocks):
            for k, local, rows in blocks:
                every = np.arange(rows.start, rows.stop)
                Z = self.take(every)[0]
                out[rows] = np.einsum("ij,ij->i", Z, Z)
                _release(self._parts[k], local)

        self._share(read)
        return out if self.weight is None else self.weight * out


def _second_moments(sums):
    """``sum_i w_i x_i x_i'`` about 0."""
    cross = np.outer(sums.first, sums.shift)
    gram = sums.second + cross + cross.T
    gram += sums.weight * np.outer(sums.shift, sums.shift)
    return gram[:-1, :-1]


def _least_norm(p, kept, others, combine, basis):
    """Coefficients of least norm, where columns are combinations of those kept."""
    spread = np.zeros((len(kept), p))
    spread[:, kept] = np.eye(len(kept))
    spread[:, others] = combine
    left, right = np.linalg.qr(spread.T)
    return left @ linalg.solve_triangular(right, basis, trans="T")


def _squares(columns):
    return np.einsum("ij,ij->j", columns, columns)


def _eps(X):
    return float(np.finfo(X.dtype).eps) if X.dtype.kind == "f" else _EPS


def _dense(X):
    return X.toarray() if sparse.issparse(X) else X


def _singular(kept):
    return SingularFit(
        f"the {np.count_nonzero(kept)} rows that are kept do not determine the fit"
    )
