"""Checking paths of the shift model against their definition, from the data alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._shift_checks import check_same_rows
from .._shift_design import row_norms

if TYPE_CHECKING:
    import pandas as pd

    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem

__all__ = ["KnotCheck", "verify_shift_path"]


def verify_shift_path(path: ShiftPath, problem: ShiftProblem) -> pd.DataFrame:
    """Check every knot of a path of shifts against the definition of its method.

    All numbers are dimensionless, 0 for a perfect path and rounding for a correct one
    (the tolerance, for "l1" on a grid).

    Parameters
    ----------
    path : ShiftPath
    problem : ShiftProblem
        The problem that the path was traced on.

    Returns
    -------
    pandas.DataFrame
        One row per knot, with the columns

        ``knot``, ``shifted``
            The knot and the number of shifted rows.
        ``gradient``
            Largest correlation of a coefficient with what the rows still pull: the
            residuals less their shifts, relative to the residuals of least squares.
        ``set_violation``
            By how much a row is on the wrong side, relative to the largest threshold:
            "l1", "hard": a shifted residual below its threshold, or another one above.
            "iss": residual of a shifted row of the wrong sign. NaN for "lbi".
        ``dual_violation``
            For "iss": by how much ``z``, the integral of the residuals less the shifts,
            is beyond its factor, or not at it for a shifted row. NaN for others.

    Raises
    ------
    ValueError
        If `path` does not belong to `problem`.

    Notes
    -----
    X is used as one dense float64 array.
    """
    import pandas as pd

    check_same_rows(path, problem)
    check = KnotCheck(path, problem)
    rows = [check.knot(k) for k in range(len(path))]
    return pd.DataFrame(rows)


class KnotCheck:
    """Rows and columns of a path that is checked knot by knot."""

    def __init__(self, path, problem):
        self.path, self.problem = path, problem
        self.X, self.Y = problem.arrays()
        weight = problem.sample_weight
        n, p = self.X.shape
        self.weight = np.ones(n) if weight is None else weight
        self.factor = problem.row_factor
        # Columns of length 1, so that scores are correlations.
        mean = np.zeros(p)
        if path.settings["fit_intercept"]:
            mean = self.weight @ self.X / self.weight.sum()
        self.columns = self.X - mean
        length = np.sqrt(self.weight @ self.columns**2)
        size = np.sqrt(self.weight @ self.X**2)
        self.columns[:, length <= 1e-10 * size] = 0.0
        self.columns /= np.where(length <= 1e-10 * size, 1.0, length)
        if path.settings["fit_intercept"]:
            one = np.full((n, 1), 1 / np.sqrt(self.weight.sum()))
            self.columns = np.hstack([one, self.columns])
        null = self._residual(0)
        self.unit = max(np.sqrt(self.weight @ row_norms(null) ** 2), 1e-300)
        self.largest = max(path.threshold_max, 1e-300)
        self.dual = np.zeros(n)

    def _residual(self, k):
        coefs = self.path.coefs[k].reshape(-1, self.X.shape[1])
        return self.Y - self.X @ coefs.T - np.reshape(self.path.intercepts[k], (1, -1))

    def knot(self, k: int) -> dict[str, Any]:
        path, knot = self.path, float(self.path.knots[k])
        residual = self._residual(k)
        mask = path.outliers(knot)
        length = row_norms(residual)
        found: dict[str, Any] = {path.knot_name: knot, "shifted": int(mask.sum())}
        left = residual.copy()
        wrong = dual = np.nan
        if path.method == "l1":
            limit = self.problem.limits(knot)
            over = length > limit
            left[over] *= (limit[over] / length[over])[:, None]
            wrong = np.where(mask, limit - length, length - limit).max()
        elif path.method == "hard" or path.method.endswith("+refit"):
            left[mask] = 0.0
            if path.method == "hard":
                limit = self.problem.limits(knot)
                wrong = np.where(mask, limit - length, length - limit).max()
        elif path.method == "iss":
            sign = np.sign(self._dual_at(k))
            along = sign * residual[:, 0]
            wrong = -along[mask].min(initial=0.0)
            left[mask, 0] = 0.0
            dual = self._dual_violation(mask)
        else:
            left -= path._shift_at(knot).reshape(residual.shape)
        gradient = self.columns.T @ (self.weight[:, None] * left)
        found["gradient"] = np.abs(gradient).max() / self.unit
        found["set_violation"] = np.maximum(wrong, 0.0) / self.largest  # NaN stays
        found["dual_violation"] = dual
        return found

    def _dual_at(self, k):
        """Duals of the exact path: residuals of the stretches, times their lengths."""
        if k:
            path = self.path
            before = self._residual(k - 1)[:, 0]
            before[path.outliers(float(path.knots[k - 1]))] = 0.0
            self.dual = self.dual + (path.knots[k] - path.knots[k - 1]) * before
        return self.dual

    def _dual_violation(self, mask):
        scaled = np.abs(self.dual) / self.factor
        return max((scaled - 1).max(), np.abs(scaled[mask] - 1).max(initial=0.0))
