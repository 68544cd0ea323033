"""The question of robust regression: which rows does a linear model not explain?"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ._row_basis import as_rows, as_targets
from ._shift_design import DenseDesign, row_limits
from ._shift_stream import StreamedDesign
from .problem import check_weight

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ._shift_design import Design

__all__ = ["ShiftProblem"]

# Coordinates are kept in memory up to so many numbers (32 MB), and up to more (160 MB)
# if there are few enough rows for an exact path.
IN_MEMORY = 4e6
IN_MEMORY_EXACT = 2e7
EXACT_ROWS = 50_000
# Rows that are multiplied at a time.
_ROWS = 1 << 14
# A row of leverage 1 up to rounding explains itself.
ALONE = 1e-10


class ShiftProblem:
    """Data and model of ``y = X coef + intercept + shift + noise`` with sparse shifts.

    One shift per row. Along a path over the threshold, it minimizes ``sum_i w_i
    [|Y_i - x_i coef - intercept - shift_i|^2 / 2 + threshold v_i |shift_i|]``; without
    the shifts this is Huber regression with that threshold on the (length of) the raw
    residuals, in units of y.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Or a list or tuple of blocks of rows (arrays, memory maps). float32 is used as
        it is when X is large.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        With `classes`, a label for each row.
    classes : None, "auto" or array-like, default=None
        Take y as labels and fit their one-hot codes (n_classes responses), which are
        never stored: all labels that occur, or those given.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight w means w repeated rows. Rows of weight 0 take no part in the fit and are
        judged as new rows.
    fit_intercept : bool, default=True
    row_factor : None, "leverage" or array-like of shape (n_samples,), default=None
        Factors v of the threshold. "leverage": ``sqrt(1 - h_i)``, the standard
        deviation of the residuals of least squares over that of the noise.
        Infinity: never shifted.

    Attributes
    ----------
    design : Design
        The rows in coordinates, see `sparselbi._shift_design`.
    n_samples, n_features, n_outputs, rank : int
        Rank of the fit, intercept included.
    total_weight, df : float
        Sum of the weights, and that minus `rank`.
    row_factor : ndarray of shape (n_samples,)
        All ones by default; infinity where the leverage is 1, since nothing can be said
        about such a row.
    one_response : bool
        Whether y had one dimension.

    Raises
    ------
    ValueError
        If an argument has a wrong shape, is not finite or negative, a label is none of
        the `classes`, or there are not more rows than coefficients.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        classes: Any = None,
        sample_weight: ArrayLike | None = None,
        fit_intercept: bool = True,
        row_factor: Any = None,
    ):
        self.feature_names = column_names(X)
        self._X = blocks = _as_blocks(X)
        parts = blocks if isinstance(blocks, tuple) else (blocks,)
        n = sum(part.shape[0] for part in parts)
        self.n_samples, self.n_features = n, parts[0].shape[1]
        self.classes, self._targets, self.one_response = _as_responses(y, n, classes)
        self.n_outputs = (
            self._targets.shape[1] if self.classes is None else len(self.classes)
        )
        self.fit_intercept = bool(fit_intercept)
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = check_weight(sample_weight, n).copy()
        self._row_factor = row_factor

        used = n if self.sample_weight is None else np.count_nonzero(self.sample_weight)
        if used < 2:
            raise ValueError(
                f"X has {used} row(s) (n_samples={used}) with a positive weight; a "
                "robust fit needs at least 2."
            )
        design = self.design  # checks that X and y are finite
        self.rank = design.n_coords
        self.total_weight = design.total_weight
        self.df = self.total_weight - self.rank
        if self.df <= 1e-9 * self.total_weight:
            raise ValueError(
                f"{used} rows (total weight {self.total_weight:g}) and "
                f"{self.n_features} features: a fit with {self.rank} coefficients "
                "leaves no residuals, so no row can be told from the others. Robust "
                "regression needs more rows than coefficients: drop or combine "
                "features first."
            )
        self.row_factor = self._factors(row_factor)

    @cached_property
    def design(self) -> Design:
        """The rows in coordinates; orthonormal ones in memory if there is room."""
        X, weight = self._X, self.sample_weight
        n, size = self.n_samples, self.n_samples * (self.n_features + 1)
        limit = IN_MEMORY_EXACT if n <= EXACT_ROWS else IN_MEMORY
        codes = self.classes is not None
        responses = n * self.n_outputs
        if isinstance(X, tuple) or max(size, responses) > limit:
            targets = self._targets[:, 0] if codes else self._targets
            n_classes = self.n_outputs if codes else None
            return StreamedDesign(X, targets, weight, self.fit_intercept, n_classes)
        targets = np.eye(self.n_outputs)[self._targets[:, 0]] if codes else None
        Y = self._targets if targets is None else targets
        return DenseDesign(X, Y, weight, self.fit_intercept)

    @cached_property
    def leverage(self) -> NDArray[np.float64]:
        """Leverages ``w_i h_i`` of the least-squares fit, (n_samples,)."""
        return self.design.leverages()

    def _factors(self, spec):
        n = self.n_samples
        if spec is None:
            factor = np.ones(n)
        elif isinstance(spec, str):
            if spec != "leverage":
                raise ValueError(
                    f"row_factor={spec!r} is unknown; use 'leverage', None, or a "
                    "positive number for each row."
                )
            factor = np.sqrt(np.maximum(1 - self._single_leverage(), 0.0))
            factor[factor**2 <= ALONE] = np.inf
        else:
            factor = np.array(spec, dtype=np.float64)
            if factor.shape != (n,):
                raise ValueError(
                    f"row_factor has shape {factor.shape}; it needs one number for "
                    f"each of the {n} rows."
                )
            if not (factor > 0).all():
                bad = factor[~(factor > 0)][0]
                raise ValueError(
                    f"row_factor contains {bad}; factors of the threshold must be "
                    "positive (infinity: the row is never shifted)."
                )
            if np.isinf(factor).all():
                raise ValueError("row_factor leaves no row that could be shifted.")
        if self.design.dense:  # a row that explains itself needs few rows or zeros
            factor[self.leverage >= 1 - ALONE] = np.inf
        if self.design.undetermined is not None:
            factor[self.design.undetermined] = np.inf
        return factor

    def _single_leverage(self):
        """Leverage of one of w repeated rows; minus that of a new row."""
        if self.sample_weight is None:
            return self.leverage
        used = self.sample_weight > 0
        single = np.zeros(self.n_samples)
        single[used] = self.leverage[used] / self.sample_weight[used]
        return single

    def limits(self, threshold: float) -> NDArray[np.float64]:
        """Length beyond which the residual of each row is shifted, (n_samples,).

        ``threshold * row_factor``; infinite factors stay infinite, also at threshold 0.
        """
        return row_limits(threshold, self.row_factor)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """X (n_samples, n_features) and Y (n_samples, n_outputs), dense copies."""
        parts = self._X if isinstance(self._X, tuple) else (self._X,)
        dense = [part.toarray() if sparse.issparse(part) else part for part in parts]
        X = np.concatenate(dense).astype(np.float64)
        if self.classes is not None:
            return X, np.eye(self.n_outputs)[self._targets[:, 0]]
        return X, self._targets.astype(np.float64)

    def residuals(self, coef: Any, intercept: Any) -> NDArray[np.float64]:
        """Residuals of a fit, of shape (n_samples,) or (n_samples, n_outputs).

        X is read in blocks of rows and multiplied in float64.
        """
        coef = np.atleast_2d(coef)
        parts = self._X if isinstance(self._X, tuple) else (self._X,)
        out = np.empty((self.n_samples, self.n_outputs))
        start = 0
        for part in parts:
            for first in range(0, part.shape[0], _ROWS):
                block = part[first : first + _ROWS]
                rows = slice(start + first, start + first + block.shape[0])
                targets = self._targets[rows]
                if self.classes is not None:
                    targets = np.eye(self.n_outputs)[targets[:, 0]]
                out[rows] = targets - (block @ coef.T + intercept)
            start += part.shape[0]
        return out[:, 0] if self.one_response else out

    def subset(self, rows: Any) -> ShiftProblem:
        """The same question about some of the rows."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        factor, weight = self._row_factor, self.sample_weight
        if factor is not None and not isinstance(factor, str):
            factor = np.asarray(factor)[rows]
        targets = self._targets[rows]
        if self.classes is not None:
            targets = self.classes[targets[:, 0]]
        elif self.one_response:
            targets = targets[:, 0]
        return ShiftProblem(
            _take(self._X, rows),
            targets,
            classes=self.classes,
            sample_weight=None if weight is None else weight[rows],
            fit_intercept=self.fit_intercept,
            row_factor=factor,
        )


def column_names(X: Any) -> tuple[str, ...] | None:
    """Names of the columns of a data frame; None for arrays."""
    columns = getattr(X, "columns", None)
    return None if columns is None else tuple(str(name) for name in columns)


def _as_blocks(X):
    """An array or CSR matrix, or a tuple of them."""
    several = isinstance(X, list | tuple) and len(X) > 0
    if not (several and all(getattr(part, "ndim", 0) == 2 for part in X)):
        return as_rows(X)
    blocks = tuple(as_rows(part) for part in X)
    widths = {part.shape[1] for part in blocks}
    if len(widths) > 1:
        raise ValueError(
            f"the blocks of X have {sorted(widths)} columns; all need the same number."
        )
    return blocks


def _as_responses(y, n, classes):
    """Classes or None, numbers or codes of shape (n, ...), whether y is flat."""
    if classes is None:
        targets, _ = as_targets(y, n)
        return None, targets, np.ndim(y) == 1
    labels = np.asarray(y)
    if labels.dtype == object and any(label is None for label in labels.ravel()):
        raise ValueError("y contains None; drop or impute rows without a label.")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        row = int(np.argwhere(np.isnan(labels))[0, 0])
        raise ValueError(f"y contains NaN in row {row}; drop or impute that row.")
    if labels.shape != (n,):
        raise ValueError(
            f"with classes, y needs one label for each of the {n} rows, but it has "
            f"shape {labels.shape}."
        )
    if isinstance(classes, str):
        if classes != "auto":
            raise ValueError(
                f"classes={classes!r} is unknown; use 'auto', None or the labels."
            )
        known, codes = np.unique(labels, return_inverse=True)
    else:
        known = np.unique(np.asarray(classes))
        if known.dtype.kind == "f" and np.isnan(known).any():
            raise ValueError(
                f"classes={known.tolist()} contains NaN, which no row has."
            )
        codes = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        strange = np.flatnonzero(known[codes] != labels)
        if len(strange):
            raise ValueError(
                f"y contains the label {labels[strange[:1]].tolist()[0]!r} in row "
                f"{strange[0]}, which is none of the classes {known.tolist()}."
            )
    if len(known) < 2:
        raise ValueError(
            f"classes={known.tolist()} has fewer than two labels; there is nothing to "
            "be told apart."
        )
    dtype = np.min_scalar_type(len(known))
    return known, codes.astype(dtype)[:, None], False


def _take(X, rows):
    if not isinstance(X, tuple):
        return X[rows]
    starts = np.cumsum([0, *(part.shape[0] for part in X)])
    order = np.argsort(rows, kind="stable")
    if not np.array_equal(order, np.arange(len(rows))):
        raise ValueError("rows of a design in blocks must be taken in their order.")
    ends = np.searchsorted(rows, starts)
    parts = []
    for k, part in enumerate(X):
        some = rows[ends[k] : ends[k + 1]] - starts[k]
        if len(some):
            parts.append(part[some])
    return tuple(parts)
