"""Huber regression along all thresholds: the l1 path of the shifts."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .._path_checks import check_choice
from .._shift_checks import check_same_rows, check_thresholds
from ..shift_problem import EXACT_ROWS
from ._huber_grid import certify_coords, trace_huber_grid
from ._shift_exact import trace_huber
from .shift_paths import as_shift_path, check_limit, coords_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem

__all__ = ["RowCertificate", "certify_rows", "huber_path"]

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
    if tol is not None and not (isinstance(tol, Real) and tol > 0):
        raise ValueError(f"tol={tol!r} must be positive, or None for 1e-6.")
    if not isinstance(n_knots, Integral) or n_knots < 2:
        raise ValueError(f"n_knots={n_knots!r} must be an integer of at least 2.")
    grid = None if thresholds is None else check_thresholds(thresholds)
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


@dataclass(frozen=True, eq=False)
class RowCertificate:
    """What is known of the exact solution at one threshold.

    Rows in neither mask are undecided.

    Attributes
    ----------
    active : ndarray of bool of shape (n_rows,)
        Rows that are shifted.
    inactive : ndarray of bool of shape (n_rows,)
        Rows that are not.
    gap : float
        Duality gap: at most so far is the objective of the fit from the minimum, in
        squared units of y.
    threshold : float
    """

    active: NDArray[np.bool_]
    inactive: NDArray[np.bool_]
    gap: float
    threshold: float


def certify_rows(
    problem: ShiftProblem, path: ShiftPath, threshold: float
) -> RowCertificate:
    """Rows of which it is certain whether the exact solution shifts them.

    The fit of the path at the threshold, approximate on a grid, serves as a witness.
    What follows is about the solution of the optimization problem, whatever the
    accuracy of that fit, and says nothing about how the data came about: a row that is
    certified active need not be an outlier, and outliers that mask each other may be
    certified inactive.

    Parameters
    ----------
    problem : ShiftProblem
        That the path was traced on.
    path : ShiftPath
        Of `huber_path`.
    threshold : float
        Positive, in units of y, within the traced range; not only at knots, but between
        those of a grid fits are less accurate, and fewer rows are certified.

    Returns
    -------
    RowCertificate
        The masks ``active`` and ``inactive``, and the duality ``gap``.

    Raises
    ------
    ValueError
        If the path is none of `huber_path`, or of other data, or the threshold is not
        positive or beyond the path.

    Notes
    -----
    The dual of the problem is strongly concave: its maximizer is within ``sqrt(2 gap)``
    of a feasible point made from the fit. Rows whose dual vector is further than that
    from length ``threshold v_i`` are inactive; their residuals are then known so well
    that coefficients, and with them all other residuals, are known within bounds. Takes
    O(n_rows rank^2).
    """
    if path.method != "l1":
        raise ValueError(
            f"path has method {path.method!r}; the solution that rows are certified "
            "for is that of huber_path (method 'l1')."
        )
    if not threshold > 0:
        raise ValueError(f"threshold={threshold!r} must be positive.")
    check_same_rows(path, problem)
    point = path.at(threshold)
    coords = coords_of(problem, point.coef, point.intercept)
    inactive, active, gap = certify_coords(
        problem.design, problem.row_factor, coords, float(threshold)
    )
    return RowCertificate(active, inactive, gap, float(threshold))


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
