"""Checks that solvers, rules and estimators of the shift model share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ._shift_design import Design
    from .shift_path import ShiftPath
    from .shift_problem import ShiftProblem

__all__ = ["check_same_rows", "check_thresholds", "largest_threshold"]

# Largest residuals that differ by this fraction are those of other data.
_OTHER = 1e-6


def largest_threshold(design: Design, row_factor: NDArray[np.float64]) -> float:
    """Return the threshold above which least squares shifts no row of the fit.

    Parameters
    ----------
    design : Design
    row_factor : ndarray of shape (n_samples,)

    Returns
    -------
    float
        The largest ``|r_i| / row_factor_i`` among rows of positive weight, in units of
        y; 0 if the residuals are rounding.
    """
    norms = design.norms(design.least_squares())
    weight = 1.0 if design.weight is None else design.weight
    if np.sum(weight * norms**2) <= np.sum(design.rounding**2):
        return 0.0
    return float((norms * (weight > 0) / row_factor).max())


def check_same_rows(path: ShiftPath, problem: ShiftProblem) -> None:
    """Check that a path can have been traced on these data.

    Compared are the number of rows, the sum of the weights and the largest residual of
    least squares (over its row factor), to 1e-6.

    Raises
    ------
    ValueError
        If one of them differs.
    """
    same = path.n_rows == problem.n_samples
    same &= bool(np.isclose(path.n_samples, problem.total_weight, rtol=1e-9))
    if not same:
        raise ValueError(
            f"the path was traced on {path.n_rows} rows (total weight "
            f"{path.n_samples:g}), but these are {problem.n_samples} "
            f"({problem.total_weight:g}); give the X, y and sample_weight of the path."
        )
    found = largest_threshold(problem.design, problem.row_factor)
    rounding = float(np.sqrt(np.sum(problem.design.rounding**2)))
    if not np.isclose(found, path.threshold_max, rtol=_OTHER, atol=rounding):
        raise ValueError(
            "these are not the data of the path: the largest residual of least squares "
            f"(over its row factor) is {found:.9g}, and that of the path is "
            f"{path.threshold_max:.9g}. Give the X, y, sample_weight and row factors "
            "of the path, with the rows in the same order."
        )


def check_thresholds(
    thresholds: ArrayLike, *, zero: bool = False
) -> NDArray[np.float64]:
    """Return thresholds as an array.

    Parameters
    ----------
    thresholds : array-like of shape (n_thresholds,)
    zero : bool, default=False
        Whether the last one may be 0.

    Raises
    ------
    ValueError
        Unless they decrease, are finite, and positive.
    """
    grid = np.asarray(thresholds, dtype=np.float64)
    if grid.ndim != 1 or not len(grid) or not (np.diff(grid) < 0).all():
        raise ValueError(f"thresholds={thresholds!r} must be a decreasing sequence.")
    positive = grid[-1] >= 0 if zero else grid[-1] > 0
    if not (np.isfinite(grid).all() and positive):
        sign = "not negative" if zero else "positive"
        raise ValueError(
            f"thresholds={thresholds!r} must be {sign} and finite, in units of y."
        )
    return grid
