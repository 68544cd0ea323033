"""Huber regression along all thresholds: the l1 path of the shifts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._path_checks import check_choice
from ..shift_problem import EXACT_ROWS
from ._huber_grid import certify_rows, trace_huber_grid
from ._shift_exact import trace_huber
from .shift_paths import as_shift_path, check_limit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem

__all__ = ["certify_rows", "huber_path"]

ROUTES = ("auto", "exact", "grid")


def huber_path(
    problem: ShiftProblem,
    *,
    thresholds: ArrayLike | None = None,
    n_knots: int = 50,
    route: str = "auto",
    max_outliers: float | None = None,
    tol: float | None = None,
    exact_df: bool = False,
) -> ShiftPath:
    """Trace Huber regression from least squares to small thresholds.

    Minimizes ``sum_i w_i [|Y_i - x_i coef - intercept - shift_i|^2 / 2 + threshold v_i
    |shift_i|]``. That is Huber's loss of the raw residuals, of their lengths if there
    are several responses; the threshold is in units of y.

    Parameters
    ----------
    problem : ShiftProblem
    thresholds : array-like or None
        Positive, decreasing: the knots of a grid, or (exact) the last one is where the
        path ends. None: down to where `max_outliers` are shifted; exact paths without
        that limit end at least absolute deviations.
    n_knots : int, default=50
        Of a grid.
    route : {"auto", "exact", "grid"}, default="auto"
        "exact": every event of the piecewise linear path of one response, about
        O(n_samples^1.5 rank); taken up to 50,000 rows whose coordinates fit into
        memory. "grid": warm starts, O(n_samples n_features) for each sweep over the
        rows; between knots the path is read linearly, and events are located so.
    max_outliers : float or None
        End before more rows than that (in weights) are shifted at once.
    tol : float or None
        Duality gap of each knot of a grid, as a share of its objective; None: 1e-6.
    exact_df : bool, default=False
        Whether to spend time on exact degrees of freedom for several responses; an
        upper bound costs nothing. With one response they are exact anyway.

    Returns
    -------
    ShiftPath
        Method "l1". ``info["route"]``, ``info["route_reason"]``; on a grid
        ``info["gap"]`` at every knot.

    Raises
    ------
    ValueError
        If an argument is out of range, or "exact" cannot be had.

    References
    ----------
    P. J. Huber (1964), Ann. Math. Statist. 35, 73-101. Y. She, A. B. Owen (2011).
    Outlier detection using nonconvex penalized regression. JASA 106, 626-639.
    S. Rosset, J. Zhu (2007). Piecewise linear regularized solution paths.
    Ann. Statist. 35, 1012-1030.
    """
    check_choice("route", route, ROUTES)
    grid = _as_thresholds(thresholds)
    limit = check_limit(problem, max_outliers)
    taken, reason = _choose(problem, route)
    design = problem.design
    info: dict[str, Any] = {"route": taken, "route_reason": reason}
    if taken == "exact":
        trace = trace_huber(
            design.Z,
            design.Y[:, 0],
            design.weight,
            problem.row_factor,
            max_shifted=limit,
            threshold_min=0.0 if grid is None else float(grid[-1]),
        )
    else:
        trace = trace_huber_grid(
            design,
            problem.row_factor,
            thresholds=grid,
            n_knots=n_knots,
            max_shifted=limit,
            tol=tol,
        )
    return as_shift_path(problem, trace, "l1", info, exact_df)


def _choose(problem, route):
    design = problem.design
    if problem.n_outputs > 1:
        cannot = "several responses: the path is not piecewise linear"
    elif not design.dense:
        cannot = "the coordinates of the rows do not fit into memory"
    elif problem.n_samples > EXACT_ROWS and route == "auto":
        cannot = f"more than {EXACT_ROWS} rows: as many knots would be stored"
    else:
        return ("grid", "asked for") if route == "grid" else ("exact", "one response")
    if route == "exact":
        raise ValueError(f"route='exact' is not possible ({cannot}); use 'grid'.")
    return "grid", cannot


def _as_thresholds(thresholds):
    if thresholds is None:
        return None
    import numpy as np

    grid = np.asarray(thresholds, dtype=np.float64)
    if grid.ndim != 1 or not len(grid) or not (np.diff(grid) < 0).all():
        raise ValueError(f"thresholds={thresholds!r} must be a decreasing sequence.")
    if not (grid > 0).all() or not np.isfinite(grid).all():
        raise ValueError(f"thresholds={thresholds!r} must be positive and finite.")
    return grid
