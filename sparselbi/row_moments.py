"""Means and second moments of rows that arrive in blocks: more rows than memory."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ._row_sums import (
    PIECE,
    Sums,
    advise,
    block_sums,
    check_matrix,
    check_weight,
    culprit,
    merged,
    numeric,
    one_dimensional,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["RowMoments"]

# Default size of a block of `from_arrays`, in numbers.
_BLOCK = 1 << 24
# Largest matrix of second moments, in bytes (about 23 000 features).
_MAX_BYTES = 1 << 32
_EPS = np.finfo(np.float64).eps
_KEEP_FOLDS = (
    "Folds must be kept from the start: RowMoments.from_blocks(blocks, n_folds=5)."
)


class RowMoments:
    """Weighted means and second moments of the rows of X and y, added block by block.

    Squared loss sees the data only through the sum of the weights, the means and the
    inner products of the columns of X and of y. These fit into a matrix of
    ``(n_features + 1)**2`` numbers whatever the number of rows, add up over blocks, and
    `compressed` turns them into a small data set that has exactly these moments.
    Paths, information criteria and refits computed from it are those of all rows.

    Parameters
    ----------
    n_folds : int, default=None
        Keep separate moments of so many folds, for cross-validation: every block is
        cut into this many contiguous parts, one for each fold.

    Attributes
    ----------
    n_rows, n_blocks : int
        Rows and blocks added so far, rows of weight 0 included.
    n_features : int or None
        None before the first block.
    feature_names : list of str or None
        Column names, where the blocks are data frames.

    See Also
    --------
    RowMoments.from_blocks : from any iterable of blocks.
    RowMoments.from_arrays : from arrays, memory-mapped ones in particular.

    Notes
    -----
    Blocks are multiplied in float64 whatever their dtype. Columns are shifted by means
    of the first block, so that a large mean costs no digits: variances are accurate
    to about 1e-13 of themselves. The compressed rows carry the mean again, so that a
    path has about ``16 - log10(|mean| / standard deviation)`` digits, as with any data
    in float64. Differences below about 1e-12 of a variance cannot be told from
    rounding: a column (or y) which the others determine up to that is taken as
    determined exactly.

    Pages of memory maps are given back to the system after each block. A method that
    raises leaves the moments as they were.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import RowMoments
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 3))
    >>> y = X[:, 0] + rng.normal(size=1000)
    >>> moments = RowMoments.from_blocks([(X[:600], y[:600]), (X[600:], y[600:])])
    >>> X_small, y_small, sample_weight = moments.compressed()
    >>> X_small.shape, float(sample_weight.sum())
    ((5, 3), 1000.0)
    >>> bool(np.allclose(sample_weight * y_small @ X_small, y @ X))
    True
    """

    def __init__(self, *, n_folds: int | None = None):
        self._parts: list[Sums | None] = [None] * _check_n_folds(n_folds)
        self.n_folds = n_folds
        self.n_rows = 0
        self.n_blocks = 0
        self.n_features: int | None = None
        self.feature_names: list[str] | None = None

    @classmethod
    def from_blocks(
        cls, blocks: Iterable[tuple], *, n_folds: int | None = None
    ) -> RowMoments:
        """Read all blocks, once, one after the other.

        Parameters
        ----------
        blocks : iterable of (X, y) or (X, y, sample_weight)
            As for `add`. One block at a time is in memory if `blocks` is a generator.
        n_folds : int, default=None
            See the class.

        Raises
        ------
        ValueError
            If there is no block or no row, or a block cannot be added; the message
            has its number, counted from 0.
        """
        if callable(blocks) or not isinstance(blocks, Iterable):
            raise ValueError(
                f"blocks is a {type(blocks).__name__}; it needs an iterable of tuples "
                "(X, y) or (X, y, sample_weight)"
                + (": call the function." if callable(blocks) else ".")
            )
        moments = cls(n_folds=n_folds)
        for block in blocks:
            if not isinstance(block, tuple) or len(block) not in (2, 3):
                size = f" of {len(block)}" if isinstance(block, tuple) else ""
                raise ValueError(
                    f"block {moments.n_blocks} is a {type(block).__name__}{size}; "
                    "every block must be a tuple (X, y) or (X, y, sample_weight)."
                )
            moments.add(*block)
        if moments.n_blocks == 0:
            raise ValueError(
                "blocks gave no block. An iterator or generator can be read only once; "
                "make a new one, or pass a list."
                if hasattr(blocks, "__next__")
                else "blocks is empty; it needs at least one block (X, y)."
            )
        moments._total()  # complains if there is nothing
        return moments

    @classmethod
    def from_arrays(
        cls,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        block_rows: int | None = None,
        n_folds: int | None = None,
    ) -> RowMoments:
        """Read X and y in blocks of rows, above all from memory-mapped files.

        Pages of a `numpy.memmap` are given back to the system after each block, and
        the next block is asked for ahead, so that memory stays bounded by the block
        (not in mode "c", where giving pages back would undo changes).

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Row-major memory maps are read in one sweep.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
        block_rows : int, default=None
            Rows of a block; by default about 16 million numbers.
        n_folds : int, default=None
            See the class.

        Raises
        ------
        ValueError
            If an argument has a wrong shape, is not finite or not numeric.
        """
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        if len(X.shape) != 2 or 0 in X.shape:
            raise ValueError(
                f"X has shape {X.shape}; it needs two dimensions, (n_samples, "
                "n_features), both at least 1."
            )
        n = X.shape[0]
        y = one_dimensional("y", y, n, "X")
        if sample_weight is not None:
            sample_weight = one_dimensional("sample_weight", sample_weight, n, "X")
        if block_rows is None:
            block_rows = max(PIECE, _BLOCK // X.shape[1])
        if not _is_count(block_rows):
            raise ValueError(f"block_rows={block_rows!r} must be an integer >= 1.")
        if sparse.issparse(X):
            X = X.tocsr()
        rows = X.iloc if hasattr(X, "iloc") else X
        moments = cls(n_folds=n_folds)
        for start in range(0, n, block_rows):
            stop = start + block_rows
            part = slice(start, stop)
            if isinstance(X, np.ndarray) and X.flags.c_contiguous:
                advise(X[stop : stop + block_rows], "MADV_WILLNEED")
            weight = None if sample_weight is None else sample_weight[part]
            moments.add(rows[part], y[part], weight)
        moments._total()
        return moments

    @classmethod
    def from_folds(cls, folds: Iterable[RowMoments]) -> RowMoments:
        """Join moments that were computed fold by fold, such as one per hospital.

        Parameters
        ----------
        folds : iterable of RowMoments
            At least two, with at least one row each.
        """
        folds = list(folds)
        joined = cls(n_folds=len(folds))
        for k, fold in enumerate(folds):
            if not isinstance(fold, RowMoments):
                raise TypeError(f"fold {k} is a {type(fold).__name__}, not RowMoments.")
            joined._parts[k] = fold._total()
            joined._check_columns(fold.n_features, fold.feature_names, f"fold {k}")
            joined._count(fold)
        return joined

    # -- adding ----------------------------------------------------------------------

    def add(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RowMoments:
        """Add a block of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_rows, n_features)
            Blocks may differ in number of rows and in type, not in columns.
        y : array-like of shape (n_rows,)
        sample_weight : array-like of shape (n_rows,), default=None
            Weight w means the same as w repeated rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the block does not fit to those before it, or is not finite or numeric;
            the message has the number of the block, counted from 0.
        """
        where = f"block {self.n_blocks}"
        matrix = check_matrix(X, where)
        names = _column_names(X)
        n = matrix.shape[0]
        target = numeric("y", one_dimensional("y", y, n, "X", where), where)
        weight = check_weight(sample_weight, n, where)
        self._check_columns(matrix.shape[1], names, where)
        shift = next((part.shift for part in self._parts if part is not None), None)
        new: list[Sums | None] = []
        n_parts = len(self._parts)
        cuts = [k * n // n_parts for k in range(n_parts + 1)]
        try:
            for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
                rows = slice(start, stop)
                part_weight = None if weight is None else weight[rows]
                one = block_sums(matrix[rows], target[rows], part_weight, shift)
                shift = one.shift if shift is None and one is not None else shift
                new.append(one)
        except FloatingPointError:
            raise ValueError(culprit(matrix, target, where, self.n_rows)) from None
        finally:
            for array in (matrix, target):
                advise(array, "MADV_DONTNEED")
        self.n_features, self.feature_names = matrix.shape[1], names
        for k, one in enumerate(new):
            # A short block leaves out some folds: not always the same.
            fold = (k + self.n_blocks) % n_parts
            self._parts[fold] = merged(self._parts[fold], one)
        self.n_rows += n
        self.n_blocks += 1
        return self

    def __add__(self, other: RowMoments) -> RowMoments:
        """Moments of the rows of both; neither changes."""
        if not isinstance(other, RowMoments):
            return NotImplemented
        if other.n_rows == 0 or self.n_rows == 0:
            return (self if other.n_rows == 0 else other)._copy()
        if self.n_folds != other.n_folds:
            raise ValueError(
                f"moments with n_folds={self.n_folds} and n_folds={other.n_folds} "
                "cannot be added; use the same number of folds for all parts."
            )
        self._check_columns(other.n_features, other.feature_names, "the right operand")
        total = self._copy()
        total._parts = [
            merged(mine, theirs)
            for mine, theirs in zip(total._parts, other._parts, strict=True)
        ]
        total._count(other)
        return total

    def __radd__(self, other: object) -> RowMoments:
        """Let ``sum(parts)`` work, which starts from the number 0."""
        return self._copy() if other == 0 else NotImplemented

    def _copy(self):
        other = RowMoments(n_folds=self.n_folds)
        other._parts = self._parts.copy()  # sums never change, they are replaced
        other._count(self)
        return other

    def _count(self, other):
        self.n_rows += other.n_rows
        self.n_blocks += other.n_blocks
        self.n_features = other.n_features
        self.feature_names = other.feature_names

    def _check_columns(self, n_features, names, where):
        if self.n_features is None:
            size = 8 * (n_features + 1) ** 2
            if size > _MAX_BYTES:
                raise ValueError(
                    f"X has {n_features} features: their second moments are a matrix "
                    f"of {size / 2**30:.1f} GiB, at most {_MAX_BYTES / 2**30:.0f} GiB "
                    "are allowed. Drop features first, or pass X itself, "
                    "memory-mapped or sparse, to LBI().fit(X, y)."
                )
            return
        if n_features != self.n_features:
            raise ValueError(
                f"{where} has {n_features} features, but those before it have "
                f"{self.n_features}; all blocks need the same columns."
            )
        if names != self.feature_names:
            raise ValueError(
                f"{where} has {_difference(names, self.feature_names)}; all blocks "
                "need the same columns in the same order."
            )

    # -- reading ---------------------------------------------------------------------

    @property
    def total_weight(self) -> float:
        """Sum of the weights: the number of samples of the criteria."""
        return float(sum(part.weight for part in self._parts if part is not None))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Weighted means of the columns of X and, last, of y; (n_features + 1,)."""
        return self._total().mean

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Weighted covariance, divided by the sum of the weights, y last.

        Rows and columns of features that are constant up to rounding are exactly 0.
        """
        return self._total().covariance()

    @property
    def folds(self) -> tuple[RowMoments, ...]:
        """Moments of every fold; empty without `n_folds`."""
        if self.n_folds is None:
            return ()
        return tuple(self._of([k]) for k in range(self.n_folds))

    def training(self, fold: int) -> RowMoments:
        """Moments of all rows outside of fold number `fold`, counted from 0."""
        n_folds = self.n_folds or 0
        if not (isinstance(fold, int | np.integer) and 0 <= fold < n_folds):
            raise ValueError(
                f"fold={fold!r} does not exist; these moments have n_folds="
                f"{self.n_folds}. {_KEEP_FOLDS}"
            )
        return self._of([k for k in range(n_folds) if k != fold])

    def _of(self, chosen):
        sums = functools.reduce(merged, [self._parts[k] for k in chosen], None)
        if sums is None:
            raise ValueError(
                f"fold {chosen[0]} has no samples: {self.n_rows} rows are too few for "
                f"n_folds={self.n_folds}."
            )
        other = RowMoments()
        other._parts = [sums]
        other._count(self)
        other.n_rows = sums.n_rows
        return other

    def _total(self) -> Sums:
        total = functools.reduce(merged, self._parts, None)
        if total is None or total.weight == 0:
            raise ValueError(
                "sample_weight is zero everywhere; no sample is left to fit."
                if self.n_rows
                else "there are no rows; add at least one block that has some."
            )
        return total

    def compressed(self) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
        """Return a small data set with exactly these means and second moments.

        Returns
        -------
        X : ndarray or DataFrame of shape (m, n_features)
            A data frame if the names of the columns are known. m is at most
            ``n_features + 2``: 1 + the rank of the centred ``[X, y]``.
        y : ndarray of shape (m,)
        sample_weight : ndarray of shape (m,)
            Equal weights whose sum is `total_weight`, so that criteria count the
            samples that there were.

        Raises
        ------
        ValueError
            If there are no rows, or all weights are 0.

        Notes
        -----
        The rows are not samples, only linear combinations of them. What depends on
        single rows (another loss, cross-validation over these rows, subsampling,
        outliers) has no meaning on them.

        With the mean m and the covariance R'R (pivoted Cholesky), the rows are
        ``1 m' + sqrt(M) Q R``, where Q has orthonormal columns orthogonal to ones.
        """
        rows, weight = _equivalent_rows(self._total())
        return self._framed(rows[:, :-1]), rows[:, -1].copy(), weight

    def compressed_folds(
        self,
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
        """Return the small data sets of all folds, one below the other.

        Together they have the means and second moments of all rows, and those of each
        fold are those of its rows. So cross-validation that keeps folds together, and
        scores by squared error with these weights, equals that over all rows:
        ``LBI(selector="cv").fit(X, y, sample_weight, sample_groups=fold)`` for 5 folds.

        Returns
        -------
        X : ndarray or DataFrame of shape (m, n_features)
        y : ndarray of shape (m,)
        sample_weight : ndarray of shape (m,)
        fold : int ndarray of shape (m,)
            Number of the fold, to be used as ``sample_groups``.

        Raises
        ------
        ValueError
            If no folds were kept, or one of them has no rows.
        """
        if self.n_folds is None:
            raise ValueError(f"these moments have no folds. {_KEEP_FOLDS}")
        parts = [_equivalent_rows(fold._total()) for fold in self.folds]
        rows = np.concatenate([part for part, _ in parts])
        weight = np.concatenate([weight for _, weight in parts])
        fold = np.repeat(np.arange(self.n_folds), [len(part) for part, _ in parts])
        return self._framed(rows[:, :-1]), rows[:, -1].copy(), weight, fold

    def _framed(self, X):
        if self.feature_names is None:
            return np.ascontiguousarray(X)
        import pandas as pd

        return pd.DataFrame(X, columns=self.feature_names)

    def mean_squared_error(
        self, coefs: ArrayLike, intercepts: ArrayLike = 0.0
    ) -> NDArray[np.float64]:
        """Return the weighted mean of ``(y - X @ coef - intercept)**2`` over all rows.

        Exact, without the rows: with the moments of a test set, the test error of
        every knot of a path, ``test.mean_squared_error(path.coefs, path.intercepts)``.

        Parameters
        ----------
        coefs : array-like of shape (n_features,) or (K, n_features)
        intercepts : float or array-like of shape (K,), default=0.0

        Returns
        -------
        float or ndarray of shape (K,)

        Raises
        ------
        ValueError
            If `coefs` has another number of features.
        """
        total = self._total()
        coefs = np.asarray(coefs, dtype=np.float64)
        if coefs.ndim not in (1, 2) or coefs.shape[-1] != self.n_features:
            raise ValueError(
                f"coefs has shape {coefs.shape}; it needs ({self.n_features},) or "
                f"(K, {self.n_features}) for moments of {self.n_features} features."
            )
        ones = np.ones((*coefs.shape[:-1], 1))
        contrast = np.concatenate([-coefs, ones], axis=-1)
        spread = ((contrast @ total.covariance()) * contrast).sum(axis=-1)
        bias = contrast @ total.mean - np.asarray(intercepts, dtype=np.float64)
        return np.maximum(spread, 0.0) + bias**2

    def __repr__(self):
        return (
            f"RowMoments(n_rows={self.n_rows}, n_features={self.n_features}, "
            f"n_blocks={self.n_blocks}, n_folds={self.n_folds})"
        )


def _equivalent_rows(sums):
    """Rows (m, n_features + 1) and equal weights with the moments of `sums`."""
    from scipy.fft import idct
    from scipy.linalg.lapack import dpstrf

    covariance = sums.covariance()
    scale = np.sqrt(covariance.diagonal())
    usable = np.flatnonzero(scale)
    size = len(scale)
    coefs = np.zeros((2, size))
    if usable.size:
        inverse = 1 / scale[usable]
        matrix = covariance[np.ix_(usable, usable)] * inverse * inverse[:, None]
        factor, order, rank, _ = dpstrf(matrix, tol=16 * size * _EPS)
        coefs = np.zeros((rank + 1, size))
        coefs[1:, usable[order - 1]] = np.triu(factor)[:rank]
    # Columns 1, 2, ... of the cosine basis: orthonormal, orthogonal to ones.
    m = len(coefs)
    rows = idct(coefs, axis=0, norm="ortho") * (np.sqrt(m) * scale) + sums.mean
    return rows, np.full(m, sums.weight / m)


def blocks_to_moments(X: Any) -> RowMoments | None:
    """Return the moments if X is `RowMoments` or blocks of rows, else None.

    Blocks are iterators, other iterables that are no arrays, and sequences whose first
    item is a tuple that starts with something two-dimensional.
    """
    if isinstance(X, RowMoments):
        return X
    if hasattr(X, "__next__"):
        return RowMoments.from_blocks(X)
    if isinstance(X, list | tuple):
        first = X[0] if X else None
        if isinstance(first, tuple) and first and len(np.shape(first[0])) == 2:
            return RowMoments.from_blocks(X)
        return None
    arrays = ("shape", "__array__", "__dataframe__", "columns")
    no_blocks = isinstance(X, str | bytes | dict) or any(hasattr(X, a) for a in arrays)
    return (
        None if no_blocks or not hasattr(X, "__iter__") else RowMoments.from_blocks(X)
    )


# -- checks ----------------------------------------------------------------------------


def _is_count(value):
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return integer and value >= 1


def _check_n_folds(n_folds):
    if n_folds is None:
        return 1
    if not _is_count(n_folds) or n_folds < 2:
        raise ValueError(f"n_folds={n_folds!r} must be None or an integer >= 2.")
    return int(n_folds)


def _column_names(X):
    names = getattr(X, "columns", None)
    if names is None:
        return None
    names = list(names)
    return names if names and all(isinstance(name, str) for name in names) else None


def _difference(names, before):
    if names is None or before is None:
        without, with_ = ("no", "names") if names is None else ("", "none")
        return f"{without} feature names, but those before it have {with_}".lstrip()
    pairs = zip(names, before, strict=True)
    column, name, other = next((j, a, b) for j, (a, b) in enumerate(pairs) if a != b)
    return f"the name {name!r} in column {column}, where those before it have {other!r}"
