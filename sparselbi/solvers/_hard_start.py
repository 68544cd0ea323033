"""Where hard thresholding starts in votes about pairs of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._shift_design import SingularFit, row_limits
from ..scales import mad_scale
from ._huber_rows import HuberRows
from ._huber_solver import HuberSolver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design

__all__ = ["HuberStart", "huber_start", "mad_of_fit"]

# Duality gap of the fit, and of those that find its threshold, as shares of their
# objectives.
_TOLERANCE, _ROUGH = 1e-5, 1e-2
# The threshold has settled when it decreases by less than this fraction.
_SAME, _MOST_STEPS = 0.02, 100
# Shares of the first threshold below which an exact fit is tried, and where it ends.
_TINY, _LOWEST = 1e-3, 1e-6


@dataclass
class HuberStart:
    """A Huber fit and the scale of its residuals.

    Attributes
    ----------
    coords : ndarray of shape (n_coords, n_outputs)
    scale : float
        In units of y, see `mad_of_fit`; 0 after an exact fit.
    threshold : float
        Of the fit, in units of y.
    n_iter : int
        Sweeps over the rows.
    exact_fit : ndarray of bool of shape (n_samples,) or None
        If the scale is 0, all rows that the fit explains up to rounding.
    status : {"converged", "exact_fit"}
    """

    coords: NDArray[np.float64]
    scale: float
    threshold: float
    n_iter: int
    exact_fit: NDArray[np.bool_] | None
    status: str


def huber_start(
    design: Design,
    row_factor: NDArray[np.float64],
    *,
    tol: float = _TOLERANCE,
) -> HuberStart:
    """Fit the rows robustly enough for hard thresholding of comparisons.

    Huber regression at so small a threshold that half of the rows beyond the rank of
    the fit (in weights) are shifted: close to least absolute deviations. From least
    squares on, the threshold is what so many residuals of the last fit exceed, until it
    stays.

    Parameters
    ----------
    design : Design
    row_factor : ndarray of shape (n_samples,)
        Factors of the threshold; infinity: never shifted.
    tol : float, default=1e-5
        Duality gap as a share of the objective.

    Returns
    -------
    HuberStart
        In place of `FastS` for `default_thresholds` and `trace_hard`.

    Raises
    ------
    SingularFit
        If there are not more rows (in weights) than coordinates.

    Notes
    -----
    Least absolute deviations bound what the residual of a row does, not what its place
    in the design does; that is why regression needs fits to many subsets (`fast_s`).
    Rows of comparisons are +1 and -1 for two items: nobody can vote from a far place,
    and no row pulls by more than the threshold on either item. With 100,000 items
    a subset would have as many votes, and none would be without wrong ones. Rows of
    item features are bounded by the differences of the features; if some items have
    extreme ones, use `fast_s`.

    This start is not enough where an item has few votes: half of them, wrong in the
    same direction, move its score with any method, and more than half of those within
    a group of items, or on the votes between two groups, move all of it. Such votes
    look right, and the others wrong.

    If the fit explains so many rows exactly that half of the rest cannot be shifted
    (repeated votes of +-1 on a tree of items are an example), the scale is 0 and the
    fit is least squares of these rows.
    """
    total, rank = design.total_weight, design.n_coords
    if not total > rank:
        raise SingularFit(
            f"rows of total weight {total:g} do not suffice for a robust fit of "
            f"{rank} coordinates; it needs more rows than coordinates."
        )
    rows = HuberRows(design, np.asarray(row_factor, dtype=np.float64))
    rough, half = HuberSolver(rows, max(tol, _ROUGH)), (total - rank) / 2
    coords = design.least_squares()
    norms = design.norms(coords)
    first, threshold = rows.end(norms, half), np.inf
    rounding = float(np.linalg.norm(design.rounding))
    for _ in range(_MOST_STEPS):
        level = rows.end(norms, half)
        if level <= max(_TINY * first, rounding):
            lowest = level <= max(_LOWEST * first, rounding)
            near = norms <= row_limits(threshold, row_factor)
            exact = _exact_fit(design, coords, near, half, lowest)
            if exact is not None:
                coords, on = exact
                return HuberStart(coords, 0.0, level, rows.n_sweeps, on, "exact_fit")
            if lowest:
                break
        settled = level >= (1 - _SAME) * threshold
        threshold = min(level, threshold)
        solver = HuberSolver(rows, tol) if settled else rough
        point = solver.minimize(coords, threshold)
        coords, norms = point.coords, np.abs(point.residual)
        if settled:
            break
    scale = mad_of_fit(norms, rank, design.weight, design.n_outputs)
    return HuberStart(coords, scale, threshold, rows.n_sweeps, None, "converged")


def _exact_fit(design, coords, near, half, lowest):
    """Fit of the rows that are not shifted, and all rows that it explains; or None."""
    on = near
    try:
        coords = design.least_squares(near)
    except SingularFit:  # all pieces are explained, but they are not joined
        if not lowest:
            return None
    else:
        on = design.norms(coords) <= float(np.linalg.norm(design.rounding))
    weight = np.ones(len(on)) if design.weight is None else design.weight
    return (coords, on) if weight[~on].sum() <= half else None


def mad_of_fit(
    norms: NDArray[np.float64],
    rank: int,
    weight: NDArray[np.float64] | None = None,
    n_outputs: int = 1,
) -> float:
    """Return the consistent median length of residuals, without the smallest ones.

    A fit close to least absolute deviations explains as many rows as it has
    coordinates (almost) exactly, whatever the noise: so much weight is left out.

    Parameters
    ----------
    norms : ndarray of shape (n_rows,)
        Lengths of the residuals, in units of y.
    rank : int
        Less than the sum of the weights.
    weight : ndarray of shape (n_rows,) or None
    n_outputs : int, default=1

    Returns
    -------
    float
        See `mad_scale`.

    References
    ----------
    R. A. Maronna, R. D. Martin, V. J. Yohai (2006). Robust Statistics. Wiley,
    section 4.4.2.
    """
    order = np.argsort(norms)
    counts = np.ones(len(norms)) if weight is None else weight[order]
    counts = np.clip(np.cumsum(counts) - rank, 0.0, counts)
    return mad_scale(norms[order], counts, n_outputs)
