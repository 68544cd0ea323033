"""Estimates with standard errors and intervals, on the scale of the data."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from ..shift_problem import ShiftProblem

# A coefficient is determined if the rows span its axis up to this.
_DETERMINED = 1e-6


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CoefficientInference:
    """Estimates with standard errors and intervals.

    Arrays have a leading axis for the responses if there are several.

    Attributes
    ----------
    kind : str
        How the standard errors were found.
    coef : ndarray of shape (n_features,) or (n_responses, n_features)
    intercept : float or ndarray of shape (n_responses,)
    level : float
        Of each interval.
    df : float
        Degrees of freedom of the t distribution that the intervals use.
    info : dict
        Every number that entered, such as the cut and the correction.
    determined : ndarray of bool of shape (n_features,)
        Whether the data determine the coefficient. If columns are dependent, the fit of
        least norm is reported, and the others have no standard error (NaN).
    """

    kind: str
    coef: NDArray[np.float64]
    intercept: Any
    level: float
    df: float
    info: dict[str, Any]
    determined: NDArray[np.bool_]
    feature_names: tuple[str, ...] | None
    _map: CoefficientMap
    # (n_coords, n_coords) for unit noise, with the covariance of the responses; or
    # (n_responses, n_coords, n_coords).
    _coords_cov: NDArray[np.float64]
    _responses_cov: NDArray[np.float64] | None

    def __post_init__(self):
        check_level(self.level)

    @cached_property
    def cov(self) -> NDArray[np.float64]:
        """Covariance of coefficients and intercept, which is the last row and column.

        Of shape (n_features + 1, n_features + 1) for each response. If columns are
        dependent this is that of the fit of least norm. Variances of everything that
        the data determine, such as differences of scores, follow from it.
        """
        lift = self._map.lift
        cov = lift @ self._coords_cov @ lift.T
        if self._responses_cov is not None:
            variances = np.diagonal(self._responses_cov)
            cov = variances[:, None, None] * cov
        return cov[0] if self.coef.ndim == 1 else cov

    @property
    def coef_cov(self) -> NDArray[np.float64]:
        """Covariance of the coefficients of each response."""
        return self.cov[..., :-1, :-1]

    @cached_property
    def _errors(self):
        lift = self._map.lift
        squares = np.einsum("...ij,ij->...i", lift @ self._coords_cov, lift)
        if self._responses_cov is not None:
            squares = np.diagonal(self._responses_cov)[:, None] * squares
        errors = np.sqrt(np.maximum(squares, 0.0))
        errors[:, :-1][:, ~self.determined] = np.nan
        return errors[0] if self.coef.ndim == 1 else errors

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """Standard errors of the coefficients, like `coef`."""
        return self._errors[..., :-1]

    @property
    def intercept_error(self) -> Any:
        """Standard error of the intercept; 0 without an intercept."""
        return self._errors[..., -1]

    @property
    def quantile(self) -> float:
        """Half-width of an interval in standard errors."""
        return float(special.stdtrit(self.df, (1 + self.level) / 2))

    @property
    def coef_interval(self) -> NDArray[np.float64]:
        """Lower and upper ends, ``(*coef.shape, 2)``."""
        return self._interval(self.coef, self.standard_error)

    @property
    def intercept_interval(self) -> NDArray[np.float64]:
        """Lower and upper end, (2,) or (n_responses, 2)."""
        return self._interval(np.asarray(self.intercept), self.intercept_error)

    def _interval(self, center, error):
        half = self.quantile * np.asarray(error)
        return np.stack([center - half, center + half], axis=-1)

    def contrast(
        self, weights: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return linear combinations of the coefficients and their standard errors.

        Parameters
        ----------
        weights : array-like of shape (n_features,) or (n_contrasts, n_features)
            A difference of two coefficients is a 1 and a -1.

        Returns
        -------
        value, error : ndarray
            The error is NaN if the data do not determine the combination.

        Raises
        ------
        ValueError
            If `weights` has a wrong shape.
        """
        weights = np.asarray(weights, dtype=np.float64)
        p = self.coef.shape[-1]
        if weights.ndim not in (1, 2) or weights.shape[-1] != p:
            raise ValueError(
                f"weights has shape {weights.shape}; each contrast needs one number "
                f"for each of the {p} coefficients."
            )
        rows = np.atleast_2d(weights)
        squares = np.einsum("...ij,mi,mj->...m", self.coef_cov, rows, rows)
        errors = np.sqrt(np.maximum(squares, 0.0))
        errors = np.where(self._map.spans(rows), errors, np.nan)
        values = self.coef @ rows.T
        if weights.ndim == 1:
            return values[..., 0][()], errors[..., 0][()]
        return values, errors

    def to_frame(self) -> pd.DataFrame:
        """Return one line per coefficient, the intercept last (if there is one)."""
        import pandas as pd

        names: list[Any] = list(self.feature_names or range(self.coef.shape[-1]))
        names += ["intercept"] if self._map.fit_intercept else []
        columns = {
            "coef": (self.coef, self.intercept),
            "standard_error": (self.standard_error, self.intercept_error),
            "low": (self.coef_interval[..., 0], self.intercept_interval[..., 0]),
            "high": (self.coef_interval[..., 1], self.intercept_interval[..., 1]),
        }
        found = {
            name: np.column_stack([np.atleast_2d(inner), np.atleast_1d(last)])
            for name, (inner, last) in columns.items()
        }
        index = pd.Index(names, name="feature")
        if self.coef.ndim == 2:
            pairs = [range(len(self.coef)), index]
            index = pd.MultiIndex.from_product(pairs, names=["response", "feature"])
        return pd.DataFrame(
            {name: both[:, : len(names)].ravel() for name, both in found.items()},
            index=index,
        )

    def __repr__(self) -> str:
        lines = [
            f"Intervals ({self.kind}) at level {self.level:g}, t with {self.df:g} "
            "degrees of freedom",
            self.to_frame().to_string(max_rows=20, float_format="{:.4g}".format),
        ]
        left_out = np.count_nonzero(~self.determined)
        if left_out:
            lines.append(f"{left_out} coefficient(s) that the data do not determine")
        return "\n".join(lines)


class CoefficientMap:
    """How coefficients on the original scale follow from coordinates."""

    def __init__(self, problem):
        design = problem.design
        r, c = design.n_coords, design.n_outputs
        p = problem.n_features
        self.fit_intercept = problem.fit_intercept
        # A large factor, or the mean of y would cost digits of the intercept.
        zero = np.abs(design.to_coefs(np.zeros((r, c)))[1]).max()
        factor = 2.0 ** np.ceil(np.log2(1e10 * max(1.0, float(zero))))
        batches = -(-r // c)
        units = np.zeros((batches * c, r))
        units[np.arange(r), np.arange(r)] = factor
        units = units.reshape(batches, c, r).swapaxes(1, 2)
        coefs, intercepts = design.to_coefs(units)
        self.lift = np.empty((p + 1, r))  # the intercept is the last row
        self.lift[:p] = coefs.reshape(batches * c, p)[:r].T / factor
        self.lift[p] = intercepts.reshape(batches * c)[:r] / factor
        slopes = r - int(self.fit_intercept)
        self.size = np.linalg.norm(self.lift[:p], axis=1)
        self.axes = None  # all
        if slopes < p:
            scaled = self.lift[:p] / np.where(self.size > 0, self.size, 1.0)[:, None]
            self.axes = np.linalg.svd(scaled, full_matrices=False)[0][:, :slopes]

    def spans(self, rows):
        """Whether the data determine linear combinations (rows) of coefficients."""
        if self.axes is None:
            return np.ones(len(rows), dtype=bool)
        least = self.size[self.size > 0].min(initial=1.0)
        scaled = rows / np.where(self.size > 0, self.size, least)
        missed = scaled - scaled @ self.axes @ self.axes.T
        lengths = np.linalg.norm(scaled, axis=1)
        return np.linalg.norm(missed, axis=1) <= _DETERMINED * lengths

    def determined(self):
        """The same for single coefficients."""
        if self.axes is None:
            return np.ones(len(self.size), dtype=bool)
        inside = np.einsum("ij,ij->i", self.axes, self.axes)
        return 1 - inside <= _DETERMINED**2


def inference(
    problem: ShiftProblem,
    kind: str,
    coords: NDArray[np.float64],
    cov: NDArray[np.float64],
    responses: NDArray[np.float64] | None,
    *,
    level: float,
    df: float,
    info: dict[str, Any],
) -> CoefficientInference:
    """Make it from a fit in coordinates, and covariances in those.

    `cov` is that of the coordinates for unit noise, with the covariance `responses` of
    the responses; or, without it, one for each response.
    """
    mapped = CoefficientMap(problem)
    coefs, intercepts = problem.design.to_coefs(coords)
    one = problem.one_response
    return CoefficientInference(
        kind=kind,
        coef=coefs[0] if one else coefs,
        intercept=float(intercepts[0]) if one else intercepts,
        level=float(level),
        df=float(df),
        info=info,
        determined=mapped.determined(),
        feature_names=problem.feature_names,
        _map=mapped,
        _coords_cov=cov,
        _responses_cov=responses,
    )


def check_level(level: Any) -> None:
    if not (isinstance(level, Real) and 0 < float(level) < 1):
        raise ValueError(f"level={level!r} must be between 0 and 1, such as 0.95.")
