"""Which rows a least-squares fit depends on, and which it cannot explain."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from ._row_basis import (
    RowBasis,
    as_rows,
    as_targets,
    first_not_finite,
    independent,
    invert,
    lengths,
)
from .problem import check_weight

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["RegressionDiagnostics", "leverage", "regression_diagnostics"]

# Rows that `repr` shows.
_N_SHOWN = 5
# Columns of `to_frame` that every response has.
_PER_RESPONSE = (
    *("residual", "deleted_residual", "studentized_internal", "studentized_external"),
    *("dffits", "cooks_distance"),
)
_EPS = np.finfo(np.float64).eps


def regression_diagnostics(
    X: Any,
    y: Any,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> RegressionDiagnostics:
    """Diagnose every row of a least-squares fit, without fitting again.

    Minimizes ``sum_i w_i |y_i - X_i coef - intercept|^2`` (least norm of `coef` if
    columns are dependent), and tells for every row what the fit would be without it.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Dense (C or Fortran order, any numeric type), sparse or memory-mapped; read
        twice, in blocks of rows, and multiplied in float64.
    y : array-like of shape (n_samples,) or (n_samples, n_responses)
    sample_weight : array-like of shape (n_samples,), default=None
        A row of weight w stands for w equal rows. *Without the row* means without all
        of them. Rows of weight 0 take no part in the fit and are judged as new rows.
    fit_intercept : bool, default=True

    Returns
    -------
    RegressionDiagnostics

    Raises
    ------
    ValueError
        If an argument has a wrong shape or is not finite, or the fit leaves no residual
        degrees of freedom.

    See Also
    --------
    leverage : the leverages alone.

    Notes
    -----
    Cost O(n_samples * n_features^2): one QR factorization over blocks of rows, and one
    pass over the blocks (see `RegressionDiagnostics` for the formulas). Memory beyond X
    is one block, O(n_features^2) and a few columns. Large sparse X keep their zeros, at
    half the digits.

    A column is dependent if the others leave less than 1e-12 of it (5e-7 for float32,
    which is its rounding).

    References
    ----------
    .. [1] D. A. Belsley, E. Kuh, R. E. Welsch (1980). Regression Diagnostics:
       Identifying Influential Data and Sources of Collinearity. Wiley.
    .. [2] R. D. Cook, S. Weisberg (1982). Residuals and Influence in Regression.
       Chapman and Hall.

    Examples
    --------
    >>> from sparselbi.datasets import load_stackloss
    >>> from sparselbi.diagnostics import regression_diagnostics
    >>> X, y = load_stackloss(return_X_y=True, as_frame=True)
    >>> found = regression_diagnostics(X, y)
    >>> found.studentized_external[20].round(2)
    np.float64(-3.33)
    >>> found.p_value_bonferroni[20].round(3)
    np.float64(0.089)
    """
    rows = as_rows(X)
    n = rows.shape[0]
    Y, names = as_targets(y, n)
    weight = None if sample_weight is None else check_weight(sample_weight, n).copy()
    try:
        basis = RowBasis(rows, Y, weight, bool(fit_intercept))
    except FloatingPointError:
        raise ValueError(first_not_finite(rows, Y)) from None
    total = float(n if weight is None else weight.sum())
    if total <= basis.rank:
        raise ValueError(
            f"the fit has {basis.rank} coefficients (rank of X, intercept included) "
            f"but the weights of the samples sum to {total:g}: no residual is left to "
            "compare with. Use fewer features; leverage(X) needs no residuals."
        )
    fit_variance, residual = basis.read(Y)
    leverages = _leverages(fit_variance, weight, basis)
    coefs, intercepts = basis.coefs()
    single = np.ndim(y) == 1
    return RegressionDiagnostics(
        coef=coefs[0] if single else coefs,
        intercept=float(intercepts[0]) if single else intercepts,
        rank=basis.rank,
        n_samples=total,
        residual=residual[:, 0] if single else residual,
        leverage=leverages,
        fit_variance=fit_variance,
        sample_weight=weight,
        row_names=X.index if hasattr(X, "iloc") else None,
        response_names=names,
        _basis=basis,
    )


def leverage(
    X: Any, sample_weight: ArrayLike | None = None, fit_intercept: bool = True
) -> NDArray[np.float64]:
    """Return the leverage of every row, the diagonal of the hat matrix.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
    sample_weight : array-like of shape (n_samples,), default=None
    fit_intercept : bool, default=True
        All as for `regression_diagnostics`.

    Returns
    -------
    ndarray of shape (n_samples,)
        ``w_i x_i' (X'WX)^+ x_i``: between 0 and 1, sum = rank, 1 exactly where it is 1
        up to rounding. Rows of weight 0 have leverage 0.

    Raises
    ------
    ValueError
        If X or the weights have a wrong shape or are not finite.

    Examples
    --------
    >>> from sparselbi.diagnostics import leverage
    >>> leverage([[0.0], [1.0], [2.0], [10.0]]).round(2)
    array([0.42, 0.33, 0.27, 0.98])
    """
    rows = as_rows(X)
    n = rows.shape[0]
    weight = None if sample_weight is None else check_weight(sample_weight, n).copy()
    try:
        basis = RowBasis(rows, None, weight, bool(fit_intercept))
    except FloatingPointError:
        raise ValueError(first_not_finite(rows)) from None
    fit_variance, _ = basis.read()
    return _leverages(fit_variance, weight, basis)


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class RegressionDiagnostics:
    """A least-squares fit, and for every row the fit without it.

    Made by `regression_diagnostics`. Arrays "like y" have shape (n_samples,) for one
    response and (n_samples, n_responses) for several. All are read-only.

    Attributes
    ----------
    coef : ndarray of shape (n_features,) or (n_responses, n_features)
    intercept : float or ndarray of shape (n_responses,)
    rank : int
        Number of coefficients that the data determine, intercept included.
    n_samples : float
        Sum of the weights.
    residual : ndarray like y
        ``e_i = y_i - X_i coef - intercept``.
    leverage : ndarray of shape (n_samples,)
        ``h_i = w_i g_i``: how much the fitted value of a row follows its own y.
    fit_variance : ndarray of shape (n_samples,)
        ``g_i = x_i' (X'WX)^+ x_i``: variance of the fitted value, in units of the
        variance of the errors.
    sample_weight : ndarray of shape (n_samples,) or None
    row_names : index or None
        Index of X, if it is a pandas data frame.
    response_names : list of str or None

    Notes
    -----
    *Formulas.* With s the scale of the fit, s_(i) the scale without row i, and
    ``g_(i) = g_i / (1 - h_i)`` the variance of the fit without row i at that row,

    - ``e_(i) = e_i / (1 - h_i)``: residual of row i from the fit without it;
    - ``(df - w_i) s_(i)^2 = df s^2 - w_i e_i^2 / (1 - h_i)``;
    - ``t_i = e_(i) / (s_(i) sqrt(1 + g_(i)))``: the row as a new observation. For rows
      of weight 1 this is ``e_i / (s_(i) sqrt(1 - h_i))``;
    - ``coef - coef_(i) = w_i e_(i) (X'WX)^+ x_i``.

    *Reference distributions.* With normal errors of equal variance, t_i of a row that
    is not shifted has Student's distribution with ``df - w_i`` degrees of freedom (n -
    rank - 1 for unit weights). For c responses with a common covariance, ``t2 (d - c +
    1) / (c d)``, ``d = df - w_i``, has the F distribution with c and ``d - c + 1``
    degrees of freedom.

    *Weights.* A row of weight w stands for w equal rows; *without the row* is without
    all of them, as if its weight were 0. Rows of weight 0 are new rows: they have
    leverage 0, and t_i is their prediction error in its standard errors. So a fit to
    some rows can judge all of them. If the columns are dependent, everything is NaN for
    rows of weight 0 at which the fit is not determined.

    *Leverage 1.* What the row says can then be checked against no other row, and
    everything without the row is NaN. Leverages count as 1, and are set to 1, where
    ``1 - h_i`` is at most its rounding error, ``8 * 2.2e-16 * (rank + sum_j |b_j|
    |x_j|)``: b fits a response that is 1 in this row and 0 elsewhere, and x_j are the
    centred columns. (This is at most about the condition number of the columns scaled
    to equal length. For large sparse X its square is used.) Above that, quantities
    without row i have a relative error of about this size divided by ``1 - h_i``.

    *Perfect fits.* Residuals that are rounding alone (1e-12 of y or of the terms of the
    fit) give scale 0, and NaN for everything divided by it. If only the fit without row
    i is perfect, t_i is infinite and its p-value 0. Without degrees of freedom left,
    t_i is NaN.

    *Limits.* Deleting one row at a time does not find outliers that support each other
    (masking), and can accuse good rows in their place (swamping).

    References
    ----------
    .. [1] D. A. Belsley, E. Kuh, R. E. Welsch (1980). Regression Diagnostics:
       Identifying Influential Data and Sources of Collinearity. Wiley. Chapter 2.
    .. [2] R. D. Cook, S. Weisberg (1982). Residuals and Influence in Regression.
       Chapman and Hall. Chapters 2 and 3, and 5 for several responses.
    .. [3] R. D. Cook (1977). Detection of influential observation in linear
       regression. Technometrics 19.
    """

    coef: NDArray[np.float64]
    intercept: float | NDArray[np.float64]
    rank: int
    n_samples: float
    residual: NDArray[np.float64]
    leverage: NDArray[np.float64]
    fit_variance: NDArray[np.float64]
    sample_weight: NDArray[np.float64] | None
    row_names: Any
    response_names: list[str] | None
    _basis: RowBasis

    def __post_init__(self):
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    # -- scale -----------------------------------------------------------------------

    @property
    def df(self) -> float:
        """Degrees of freedom of the residuals: sum of the weights minus rank."""
        return self.n_samples - self.rank

    @cached_property
    def scale(self) -> float | NDArray[np.float64]:
        """``sqrt(sum_i w_i e_i^2 / df)``; shape (n_responses,) for several."""
        norms = lengths(self._left)
        scale = np.where(norms > self._basis.floor, norms, 0.0) / np.sqrt(self.df)
        return float(scale[0]) if self.residual.ndim == 1 else _read_only(scale)

    @cached_property
    def deleted_df(self) -> NDArray[np.float64]:
        """Degrees of freedom without the row, ``df - w_i``; (n_samples,)."""
        df = self.df - self._weights
        df[df < 64 * _EPS * self.n_samples] = 0.0  # rounding of fractional weights
        return _read_only(df)

    @cached_property
    def deleted_scale(self) -> NDArray[np.float64]:
        """Scale of the fit without the row, like y."""
        scale = self._positive_scale
        share = _columns(self.residual) / (scale * np.sqrt(self.df))
        left = self._left_without(share**2, self._residual_rounding)
        return self._like_y(scale * np.sqrt(_ratio(left * self.df, self._deleted_df)))

    # -- residuals -------------------------------------------------------------------

    @cached_property
    def deleted_residual(self) -> NDArray[np.float64]:
        """Leave-one-out residual, ``y_i`` minus its prediction without it; like y."""
        return self._like_y(_columns(self.residual) / self._rest)

    @cached_property
    def studentized_internal(self) -> NDArray[np.float64]:
        """``e_(i) / (s sqrt(1 + g_(i)))``, like y."""
        return self._studentized(self._positive_scale)

    @cached_property
    def studentized_external(self) -> NDArray[np.float64]:
        """``t_i = e_(i) / (s_(i) sqrt(1 + g_(i)))``, like y; Student's t."""
        return self._studentized(_columns(self.deleted_scale))

    @cached_property
    def t2(self) -> NDArray[np.float64]:
        """All responses jointly, ``e_(i)' S_(i)^-1 e_(i) / (1 + g_(i))``; (n_samples,).

        S_(i) is the covariance of the residuals without the row, divided by ``df -
        w_i``. Responses that are combinations of others (up to rounding) are left out.
        For one response it is the square of `studentized_external`.
        """
        whitener = self._whitener
        squares = _squares(_columns(self.residual) @ whitener)[:, None]
        if not whitener.size:
            squares[:] = np.nan
        spread = self._rest * (self._rest + self.fit_variance[:, None])
        left = self._left_without(squares, self._residual_rounding.max())
        positive = np.where(self._deleted_df > 0, self._deleted_df, np.nan)
        return _read_only((positive * _ratio(squares / spread, left))[:, 0])

    @cached_property
    def p_value(self) -> NDArray[np.float64]:
        """Of the test that the row is shifted, (n_samples,).

        Two-sided t for one response, the F test of `t2` for several. For a row that
        was named before the data were seen; otherwise use `p_value_bonferroni`.
        """
        df, size = self.deleted_df, self._whitener.shape[1]
        if _columns(self.residual).shape[1] == 1:
            t = np.abs(self.studentized_external).reshape(-1)
            return _read_only(2 * special.stdtr(df, -t))
        rest = np.where(df > size - 1, df - size + 1, np.nan)
        factor = _ratio(rest, size * df)
        return _read_only(special.fdtrc(max(size, 1), rest, self.t2 * factor))

    @cached_property
    def p_value_bonferroni(self) -> NDArray[np.float64]:
        """`p_value` times the number of rows that have one, at most 1."""
        tested = np.count_nonzero(~np.isnan(self.p_value))
        return _read_only(np.minimum(tested * self.p_value, 1.0))

    # -- influence -------------------------------------------------------------------

    @cached_property
    def press(self) -> float | NDArray[np.float64]:
        """``sum_i w_i e_(i)^2``; (n_responses,) for several, NaN with a leverage 1."""
        used = self._weights > 0
        press = self._weights[used] @ _columns(self.deleted_residual)[used] ** 2
        return float(press[0]) if self.residual.ndim == 1 else _read_only(press)

    @cached_property
    def cooks_distance(self) -> NDArray[np.float64]:
        """Change of all fitted values, ``w_i h_i e_(i)^2 / (rank s^2)``; like y."""
        scaled = _columns(self.deleted_residual) / self._positive_scale
        share = self._weights * self.leverage / max(self.rank, 1)
        return self._like_y(share[:, None] * scaled**2)

    @cached_property
    def dffits(self) -> NDArray[np.float64]:
        """Change of the fitted value, in standard errors ``s_(i) sqrt(g_i)``; like y.

        ``h_i e_(i)`` over that, 0 where the fitted value has no error.
        """
        error = np.sqrt(self.fit_variance)
        share = np.where(error == 0, 0.0, _ratio(self.leverage, error))[:, None]
        deleted = _columns(self.deleted_residual)
        return self._like_y(share * _ratio(deleted, _columns(self.deleted_scale)))

    @cached_property
    def dfbeta(self) -> NDArray[np.float64]:
        """``coef - coef_(i)``, ``(n_samples, *coef.shape)``.

        Reads X once more, which must not have changed. For a few rows of many see
        `deleted_coefs`.
        """
        out = np.empty((len(self.residual), *self.coef.shape))

        def fill(part, Z):
            out[part] = self._changes(part, Z)[0]

        self._basis.visit(fill)
        return _read_only(out)

    @cached_property
    def dfbetas(self) -> NDArray[np.float64]:
        """`dfbeta` in standard errors, ``s_(i) sqrt(((X'WX)^+)_jj)``."""
        error = lengths(self._basis.lift.T)
        error[error == 0] = 1.0  # of constant columns, which have no coefficient
        return _read_only(_ratio(self.dfbeta, self.deleted_scale[..., None] * error))

    @cached_property
    def dfbeta_intercept(self) -> NDArray[np.float64]:
        """``intercept - intercept_(i)``, like y; 0 without an intercept."""
        out = np.empty(self.residual.shape)

        def fill(part, Z):
            out[part] = self._changes(part, Z)[1]

        self._basis.visit(fill)
        return _read_only(out)

    @cached_property
    def dfbetas_intercept(self) -> NDArray[np.float64]:
        """`dfbeta_intercept` in standard errors, like y."""
        basis = self._basis
        error = np.sqrt(basis.constant + np.sum((basis.mean @ basis.lift) ** 2))
        scale = self.deleted_scale * (error if basis.constant else 1.0)
        return _read_only(_ratio(self.dfbeta_intercept, scale))

    def deleted_coefs(
        self, rows: ArrayLike | slice
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the fits without single rows, each of them left out alone.

        Parameters
        ----------
        rows : array-like of int or bool, or slice
            K rows.

        Returns
        -------
        coef : ndarray of shape ``(K, *coef.shape)``
            NaN where the leverage is 1.
        intercept : ndarray of shape (K,) or (K, n_responses)

        Raises
        ------
        IndexError
            If a row does not exist.
        """
        index = rows if isinstance(rows, slice) else np.atleast_1d(rows)
        chosen = np.arange(len(self.residual))[index]
        coef, intercept = self._changes(chosen, self._basis.at(chosen))
        return self.coef - coef, self.intercept - intercept

    # -- reading ---------------------------------------------------------------------

    def to_frame(self) -> pd.DataFrame:
        """Return one line per row: leverage, residuals, influence, p-values.

        With several responses, `t2` too, and the name of the response (or its number)
        behind that of a quantity which every response has.
        """
        import pandas as pd

        found = {"leverage": self.leverage}
        several = self.residual.ndim == 2
        names = self.response_names or range(_columns(self.residual).shape[1])
        for quantity in _PER_RESPONSE:
            columns = _columns(getattr(self, quantity)).T
            for name, column in zip(names, columns, strict=True):
                found[f"{quantity}_{name}" if several else quantity] = column
        if several:
            found["t2"] = self.t2
        found["p_value"] = self.p_value
        found["p_value_bonferroni"] = self.p_value_bonferroni
        return pd.DataFrame(found, index=self.row_names)

    def __repr__(self) -> str:
        n = len(self.residual)
        scales = np.atleast_1d(self.scale)
        shown = ", ".join(f"{value:.4g}" for value in scales[:3])
        shown += ", ..." if len(scales) > 3 else ""
        several = self.residual.ndim == 2
        statistic = self.t2 if several else self.studentized_external
        cooks = _columns(self.cooks_distance).max(axis=1)
        lines = [
            f"RegressionDiagnostics: {n} rows, rank {self.rank}, scale {shown} on "
            f"{self.df:g} degrees of freedom",
            f"{'row':>8} {'leverage':>9} {'T^2' if several else 't':>9} "
            f"{'p':>9} {'p * rows':>9} {'Cook':>9}",
        ]
        for i in np.lexsort((-np.abs(statistic), self.p_value))[:_N_SHOWN]:
            name = i if self.row_names is None else self.row_names[i]
            lines.append(
                f"{name!s:>8} {self.leverage[i]:9.4f} {statistic[i]:9.3f} "
                f"{self.p_value[i]:9.2g} {self.p_value_bonferroni[i]:9.2g} "
                f"{cooks[i]:9.3g}"
            )
        if n > _N_SHOWN:
            lines.append(f"     ... {n - _N_SHOWN} more, by p")
        alone = np.count_nonzero(self.leverage == 1)
        if alone:
            lines.append(f"{alone} row(s) of leverage 1, which no other row can check")
        return "\n".join(lines)

    # -- parts -----------------------------------------------------------------------

    def _like_y(self, columns):
        return _read_only(columns.reshape(self.residual.shape))

    @cached_property
    def _weights(self):
        n = len(self.residual)
        return np.ones(n) if self.sample_weight is None else self.sample_weight

    @property
    def _rest(self):
        """1 - leverage as a column, NaN where it is 0."""
        return np.where(self.leverage < 1, 1 - self.leverage, np.nan)[:, None]

    @property
    def _deleted_df(self):
        return self.deleted_df[:, None]

    @cached_property
    def _left(self):
        """Small matrix with the inner products of the weighted residuals."""
        columns = _columns(self.residual)
        if self.sample_weight is not None:
            used = self.sample_weight > 0
            columns = columns[used] * np.sqrt(self.sample_weight[used])[:, None]
        return np.linalg.qr(columns, mode="r")

    @cached_property
    def _whitener(self):
        """Turns residuals into orthonormal ones, without dependent responses."""
        floor = self._basis.floor
        kept = independent(self._left, floor, 1.0)
        whitener = np.zeros((len(floor), len(kept)))
        triangle: Any = np.linalg.qr(self._left[:, kept], mode="r")
        whitener[kept] = invert(triangle)
        return whitener

    @property
    def _positive_scale(self):
        """NaN if the fit is perfect."""
        scale = np.atleast_1d(self.scale)
        return np.where(scale > 0, scale, np.nan)

    @property
    def _residual_rounding(self):
        """Rounding of residuals in units of all of them (the floor is far above it)."""
        size = self._positive_scale * np.sqrt(self.df)
        return np.nan_to_num(0.01 * self._basis.floor / size)

    def _left_without(self, squares, of_residuals):
        """Share of a sum of squares that is left without the row, given the row's."""
        basis = self._basis
        left = 1 - self._weights[:, None] * squares / self._rest
        near = basis.largest_rounding / self._rest + of_residuals
        rows = np.flatnonzero((left <= near).any(axis=1))
        rounding = basis.rounding(rows)[:, None] / self._rest[rows] + of_residuals
        left[rows] = np.where(left[rows] <= rounding, 0.0, left[rows])
        return left

    def _studentized(self, scale):
        spread = np.sqrt(1 + self.fit_variance[:, None] / self._rest)
        deleted = _columns(self.deleted_residual)
        return self._like_y(_ratio(deleted, scale * spread))

    def _changes(self, rows, Z):
        """Coefficients and intercepts with all rows, minus those without each."""
        basis = self._basis
        moved = self._weights[rows, None] * _columns(self.deleted_residual)[rows]
        direction = Z @ basis.lift.T
        coef = moved[:, :, None] * direction[:, None, :]
        intercept = moved * (basis.constant - direction @ basis.mean)[:, None]
        k = len(moved)
        return coef.reshape(k, *self.coef.shape), intercept.reshape(
            k, *self.residual.shape[1:]
        )


def _leverages(fit_variance, weight, basis):
    """Leverages, exactly 1 where they are 1 up to rounding."""
    if weight is None:
        weight = np.ones(len(fit_variance))
    leverages = np.where(weight > 0, weight * fit_variance, 0.0)
    alone = np.flatnonzero(1 - leverages <= basis.largest_rounding)
    alone = alone[1 - leverages[alone] <= basis.rounding(alone)]
    leverages[alone] = 1.0
    return leverages


def _squares(rows):
    return np.einsum("ij,ij->i", rows, rows)


def _columns(values):
    return values.reshape(len(values), -1)


def _ratio(a, b):
    """a / b without warnings: 0 / 0 is NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(a, b)


def _read_only(array):
    array.flags.writeable = False
    return array
