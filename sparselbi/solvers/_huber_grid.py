"""Huber regression on a grid of thresholds, for any design and number of outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from ._huber_rows import HuberRows, dual_gap
from ._huber_solver import HuberSolver
from ._shift_trace import ShiftTrace

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .._shift_design import Design

# Default duality gap, as a share of the objective. It is linear in the last step of the
# longest row; steps of float32 designs are rounding below 1e-7 or so.
_TOLERANCE = 1e-6
# The end is reached if the next row is this close to being shifted, or, at the last
# knot, if this share of the allowed number is.
_CLOSE, _NEARLY = 0.999, 0.9
# Residuals that follow the threshold down: the limit is far.
_SLOWEST = 0.05
# Attempts to end at a threshold with no more than the allowed number of shifted rows.
_LANDINGS = 5
# Grids end at this share of threshold_max, or this many rounding units of it.
_FLOOR, _FLOOR_UNITS = 1e-6, 1e3
# Rows at a time, for certificates.
_PIECE = 4096


def trace_huber_grid(
    design: Design,
    row_factor: NDArray[np.float64],
    *,
    thresholds: ArrayLike | None = None,
    n_knots: int = 50,
    max_shifted: float | None = None,
    tol: float | None = None,
) -> ShiftTrace:
    """Trace Huber regression on a decreasing grid of thresholds, with warm starts.

    Minimizes ``sum_i w_i rho_i(|Y_i - z_i coords|)``, where rho_i is Huber's loss with
    threshold ``threshold * row_factor_i``: ``r^2 / 2`` up to it and linear above.

    Parameters
    ----------
    design : Design
    row_factor : ndarray of shape (n_samples,)
        Positive; infinity: never shifted.
    thresholds : array-like or None
        Decreasing, in units of Y. Least squares at threshold_max comes before them if
        they do not begin above it.
    n_knots : int, default=50
        Of the default grid: geometric, down to where `max_shifted` rows are shifted.
        That end is found on the way: the ratio is adjusted after each knot. No lower
        than 1e-6 times threshold_max (float32: 1e-4).
    max_shifted : float or None
        Sum of the weights of the shifted rows that no knot exceeds. Default: half of
        the total weight, if no `thresholds` are given.
    tol : float or None
        Duality gap of each knot as a share of its objective. Default: 1e-6; float32
        designs carry 1e-7, or less accuracy if their columns are far from orthogonal.

    Returns
    -------
    ShiftTrace
        Status "thresholds", "threshold_min", "max_outliers", "n_knots" (fewer are
        shifted at the last knot) or "perfect_fit" (least squares leaves nothing but
        rounding: no row is shifted at any threshold).
        ``info``: "gap" (a share of the objective) and "n_sweeps" of each knot, "tol",
        "n_newton", "threshold_max", "n_missed" (knots above `tol`, where rounding or
        1000 sweeps allowed no more). At threshold 0 every fit is optimal; the one of
        the knot before is returned.

    Notes
    -----
    ``coords <- coords + G^-1 Z'W psi(R)`` with ``G = Z'WZ`` decreases the objective and
    contracts the error by the share of G that is in the shifted rows. It is accelerated
    (`Anderson`, safeguarded by the objective), starts at the linear or quadratic
    extrapolation of the last knots (whichever was better one knot before), and gives
    way to semismooth Newton steps by conjugate gradients, preconditioned by G, when its
    contraction so far predicts more than 12 further sweeps. Every iteration is one
    sweep over the rows.

    The dual point of a gap is ``V = psi(R) - Z G^-1 Z'W psi(R)``, scaled into the balls
    of radius ``threshold * row_factor_i``.

    Rows are shifted where their residual exceeds its threshold; between knots, events
    are located by linear interpolation of residuals (one output) or of their lengths.

    References
    ----------
    P. J. Huber (1964). Robust estimation of a location parameter. Ann. Math. Statist.
    35, 73-101. Y. She, A. B. Owen (2011). Outlier detection using nonconvex penalized
    regression. JASA 106, 626-639. X. Li, D. Sun, K.-C. Toh (2018). A highly efficient
    semismooth Newton augmented Lagrangian method for solving lasso problems. SIAM J.
    Optim. 28, 433-458.
    """
    rows = HuberRows(design, np.asarray(row_factor, dtype=np.float64))
    tol = _TOLERANCE if tol is None else float(tol)
    fit = rows.evaluate(design.least_squares(), np.inf)
    fit.gap = 0.0
    perfect = 2 * fit.value <= float(np.sum(design.rounding**2))
    if max_shifted is None and thresholds is None:
        max_shifted = design.total_weight / 2
    limit = np.inf if max_shifted is None else float(max_shifted)
    grid = _Grid(rows, fit, thresholds, n_knots, limit)
    record = _Record(rows, grid.start, fit, grid.top)
    solver = HuberSolver(rows, tol)

    while not (perfect and thresholds is None):
        threshold = grid.following(record)
        if threshold is None:
            break
        if perfect or threshold >= grid.top or threshold == 0:
            record.repeat(threshold, perfect)
            continue
        point = solver.minimize(record.extrapolated(threshold), threshold)
        landed = point.n_shifted <= limit
        for attempt in range(0 if landed else _LANDINGS):
            grid.status = "max_outliers"
            last = record.knots[-1]
            # With the residuals of this fit fewer rows would be shifted there.
            threshold = max(threshold, rows.end(point.residual, limit))
            threshold += (last - threshold) * (0.0, 0.05, 0.2, 0.5, 0.8)[attempt]
            if not threshold < last:
                break
            point = solver.minimize(point.coords, threshold)
            if landed := point.n_shifted <= limit:
                break
        if landed:
            record.add(threshold, point, solver.n_sweeps)
        if grid.status == "max_outliers":
            break
    return record.trace("perfect_fit" if perfect else grid.status, tol, grid, solver)


class _Grid:
    """Which threshold comes next."""

    def __init__(self, rows, fit, thresholds, n_knots, limit):
        self._rows, self._n_knots, self._limit = rows, n_knots, limit
        scaled = np.zeros(len(fit.residual))
        np.divide(np.abs(fit.residual), rows.factor, out=scaled, where=rows.finite)
        weight = rows.design.weight
        every = float(scaled.max())
        # Above `top` the fit is least squares; rows of weight 0 may be shifted there.
        self.top = every if weight is None else float(scaled[weight > 0].max())
        self.start = every
        self.status = "threshold_min"
        self._minimum = max(_FLOOR, _FLOOR_UNITS * rows.precision) * self.top
        self._given = self._seen = None
        if thresholds is not None:
            given = [float(value) for value in np.asarray(thresholds)]
            if given and given[0] >= every:
                self.start = given.pop(0)
            self._given = iter(given)
            self.status = "thresholds"
        elif every > self.top > 0:
            self._n_knots += 1

    def following(self, record):
        """The next threshold, None if there is none."""
        if self._given is not None:
            return next(self._given, None)
        last, left = record.knots[-1], self._n_knots - len(record.knots)
        if last > self.top:
            return self.top if self.top > 0 else None
        if np.isfinite(self._limit):
            reached, end = self._end(last, record.point.residual)
            if end > self._minimum and (reached or left <= 0):
                near = reached or record.n_shifted[-1] >= _NEARLY * self._limit
                self.status = "max_outliers" if near else "n_knots"
                return None
            end = max(end, self._minimum)
        else:
            end = self._minimum
        if left <= 0 or not 0 < end < last * (1 - 1e-9):
            return None
        return end if left == 1 else last * (end / last) ** (1 / left)

    def _end(self, last, residual):
        """Whether the limit is reached, and where it is going to be.

        Residuals at the limit are compared to the threshold, on logarithmic scales, at
        the last two knots; a line through them (residuals that stay: slope -1) is 0 at
        the end.
        """
        level = self._rows.end(residual, self._limit)
        if not 0 < level < last:
            return level > 0, level
        distance = np.log(level / last)
        slope = -1.0
        if self._seen is not None:
            threshold, before = self._seen
            slope = (distance - before) / np.log(last / threshold)
        self._seen = last, distance
        with np.errstate(under="ignore"):
            end = last * np.exp(-distance / np.clip(slope, -1.0, -_SLOWEST))
        return level >= _CLOSE * last, float(end)


class _Record:
    """Knots and events so far."""

    def __init__(self, rows, start, fit, top):
        self._rows, self._top = rows, top
        self.knots, self.point = [start], fit
        self._coords, self._rss = [fit.coords], [fit.rss]
        self.n_shifted, self._gap, self._n_sweeps = [0.0], [0.0], [rows.n_sweeps]
        self._clipped = [0.0]
        self._events: list = []
        # Linear and quadratic extrapolation, and which one was better last.
        self._guesses: list = []
        self._better = 0
        self._signs = (1, -1) if rows.design.n_outputs == 1 else (0,)
        self._before = [np.minimum(g, 0.0) for g in self._excess(start)]

    def add(self, threshold, point, n_sweeps):
        """One more knot."""
        self.point = point
        self._append(threshold, point.coords, point.rss, point.n_shifted)
        errors = [np.linalg.norm(guess - point.coords) for guess in self._guesses]
        self._better = int(np.argmin(errors)) if len(errors) > 1 else 0
        self._gap.append(point.gap / point.value if point.value > 0 else 0.0)
        self._n_sweeps.append(n_sweeps)
        self._find_events()

    def repeat(self, threshold, perfect):
        """A knot with the fit of the last one."""
        point, weight = self.point, self._rows.design.weight
        rss, n_shifted = self._rss[-1], self.n_shifted[-1]
        if threshold == 0 and not perfect:
            shifted = (point.residual != 0) & self._rows.finite
            n_shifted = float(shifted.sum() if weight is None else weight @ shifted)
            kept = np.where(shifted, 0.0, point.residual) ** 2
            rss = float(kept.sum() if weight is None else weight @ kept)
        self._append(threshold, point.coords, rss, n_shifted)
        self._gap.append(0.0)
        self._n_sweeps.append(0)
        if not perfect:
            self._find_events()

    def _append(self, threshold, coords, rss, n_shifted):
        self.knots.append(threshold)
        self._coords.append(coords)
        self._rss.append(rss)
        self.n_shifted.append(n_shifted)
        self._clipped.append(self._clipped_share(threshold))

    def _clipped_share(self, threshold):
        """Sum over the shifted rows of threshold over residual: what they keep."""
        length, weight = np.abs(self.point.residual), self._rows.design.weight
        radius = self._rows.radius(threshold)
        on = np.flatnonzero(length > radius)
        share = radius[on] / length[on]
        return float(share.sum() if weight is None else weight[on] @ share)

    def _excess(self, threshold):
        """By how much rows exceed their threshold, for each sign."""
        radius = self._rows.radius(threshold)
        return [(sign or 1) * self.point.residual - radius for sign in self._signs]

    def _find_events(self):
        """Where the excess changes its sign between the last two knots."""
        high, low = self.knots[-2:]
        after = self._excess(low)
        found = []
        for kind, a, b in zip(self._signs, self._before, after, strict=True):
            row = np.flatnonzero((a > 0) != (b > 0))
            share = a[row] / (a[row] - b[row])
            at = high + np.clip(share, 0.0, 1.0) * (low - high)
            found.append((at, row, np.full(len(row), kind, np.int8), b[row] > 0))
        columns = zip(*found, strict=True)
        at, row, sign, enters = (np.concatenate(column) for column in columns)
        order = np.lexsort((row, -at))
        self._events.append((at[order], row[order], sign[order], enters[order]))
        self._before = after

    def extrapolated(self, threshold):
        """Fit at a threshold on the polynomial through those of the last knots."""
        count = min(len(self.knots) - (self.knots[0] > self._top), 3)
        self._guesses = [
            _extrapolated(threshold, self.knots[-m:], self._coords[-m:])
            for m in range(2, 1 + count)
        ]
        if not self._guesses:
            return self._coords[-1]
        return self._guesses[min(self._better, len(self._guesses) - 1)]

    def trace(self, status, tol, grid, solver):
        """All of it."""
        empty = (
            np.empty(0),
            np.empty(0, np.intp),
            np.empty(0, np.int8),
            np.empty(0, "?"),
        )
        columns = zip(empty, *self._events, strict=True)
        at, row, sign, enters = (np.concatenate(column) for column in columns)
        gap, knots = np.array(self._gap), np.array(self.knots)
        missed = int(np.count_nonzero(gap > tol))
        shifted = self.n_shifted[-1]
        message = {
            "thresholds": "all thresholds were traced",
            "threshold_min": f"the smallest threshold, {knots[-1]:.4g}, is reached",
            "max_outliers": f"rows of weight {shifted:g} are shifted, the most allowed",
            "n_knots": f"the last knot; rows of weight {shifted:g} are shifted",
            "perfect_fit": "least squares leaves nothing but rounding",
        }[status]
        if missed:
            message += (
                f"; at {missed} knot(s) the duality gap is above {tol:g} of the "
                f"objective (at most {np.nanmax(gap):.1e}): no more progress was made"
            )
        info = {
            "gap": gap,
            "n_sweeps": np.array(self._n_sweeps),
            "tol": tol,
            "n_newton": solver.n_newton,
            "n_missed": missed,
            "threshold_max": grid.top,
            "clipped_share": np.array(self._clipped),
        }
        return ShiftTrace(
            knots=knots,
            coords=np.array(self._coords),
            event_at=at,
            event_row=row,
            event_sign=sign,
            event_enters=enters,
            rss=np.array(self._rss),
            n_shifted=np.array(self.n_shifted),
            status=status,
            message=message,
            n_iter=self._rows.n_sweeps,
            interpolation="linear",
            info=info,
        )


def _extrapolated(threshold, knots, coords):
    """Lagrange's polynomial through coordinates at some knots."""
    total = np.zeros_like(coords[0])
    for i, knot in enumerate(knots):
        others = np.delete(knots, i)
        total += np.prod((threshold - others) / (knot - others)) * coords[i]
    return total


def certify_coords(
    design: Design,
    row_factor: NDArray[np.float64],
    coords: NDArray[np.float64],
    threshold: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float]:
    """Rows whose shift at the optimum is known to be zero, or not zero, from any fit.

    These are statements about the minimizer of Huber's loss at this threshold, whatever
    the accuracy of `coords`; they say nothing about how the data came about.

    Parameters
    ----------
    design : Design
    row_factor : ndarray of shape (n_samples,)
    coords : ndarray of shape (n_coords, n_outputs)
        Close to the optimum, or nothing can be certified.
    threshold : float
        Positive.

    Returns
    -------
    inactive, active : ndarray of bool of shape (n_samples,)
        Rows with ``shift_i = 0`` and with ``shift_i != 0`` at the optimum.
    gap : float
        Duality gap of `coords`: at most so far is its objective from the minimum.

    Notes
    -----
    The dual, maximize ``sum_i w_i (<V_i, Y_i> - |V_i|^2 / 2)`` over ``Z'WV = 0`` and
    ``|V_i| <= threshold v_i``, is strongly concave in the norm of W, so its maximizer
    V* has ``w_i |V_i - V*_i|^2 <= 2 gap``. A row is inactive if its dual point is that
    far from the sphere. On inactive rows V* are the residuals R*, which bounds the
    distance of the coordinates in the norm of those rows, hence every residual: beyond
    the threshold a row is active, below it inactive, rows of weight 0 included. O(n
    n_coords^2), in pieces. Bounds are widened by rounding of the residuals.
    """
    if not threshold > 0:
        raise ValueError(f"threshold={threshold!r} must be positive.")
    rows = HuberRows(design, np.asarray(row_factor, dtype=np.float64))
    point = rows.evaluate(coords, threshold)
    radius, weight = rows.radius(threshold), design.weight
    step = design.solve(point.score)
    gap, residual, dual, distance = dual_gap(design, radius, coords, step)
    w = np.ones(len(radius)) if weight is None else weight
    used = w > 0
    reach = np.full(len(radius), np.inf)
    reach[used] = np.sqrt(2 * gap / w[used])
    level = np.where(rows.finite, radius, 0.0)
    margin = 64 * rows.precision * (residual + level)
    inactive = ~rows.finite | (dual + reach + margin < radius)
    active = np.zeros(len(radius), dtype=bool)
    known = np.flatnonzero(inactive & used)
    bound = np.sqrt(w[known] @ distance[known] ** 2) + np.sqrt(2 * gap)
    lengths = _lengths(design, known)
    if lengths is not None:
        far = bound * lengths + margin
        active = rows.finite & (residual - far > radius)
        inactive |= residual + far < radius
    return inactive, active, gap


def _lengths(design, known):
    """``|z_i A^-1/2|`` of all rows, A the Gram of some; None if it is singular."""
    if len(known) < design.n_coords:
        return None
    gram = np.zeros((design.n_coords, design.n_coords))
    for start in range(0, len(known), _PIECE):
        some = known[start : start + _PIECE]
        Z = design.take(some)[0]
        if design.weight is not None:
            Z = Z * np.sqrt(design.weight[some])[:, None]
        gram += Z.T @ Z
    try:
        factor = linalg.cholesky(gram, lower=True)
    except linalg.LinAlgError:
        return None
    lengths = np.empty(design.n_samples)
    for start in range(0, len(lengths), _PIECE):
        some = np.arange(start, min(start + _PIECE, len(lengths)))
        Z = design.take(some)[0]
        lengths[some] = np.linalg.norm(
            linalg.solve_triangular(factor, Z.T, lower=True), axis=0
        )
    return lengths
