"""Linearized Bregman Iteration on the shifts, at the cost of the rows that may move.

While few rows are shifted, only they and those that may reach their threshold next are
stepped. Between two *anchors*, sweeps over all rows, the duals of all others follow
from the sum of the coordinates, and a bound on that sum certifies that they stay inside
of their thresholds. The iterates are those of the plain loop up to rounding.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._shift_checks import largest_threshold
from .._shift_design import row_norms
from ..problem import check_positive
from ._shift_record import Record, nonzero
from ._shift_trace import ShiftTrace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design

# Below so many numbers in the design, stepping all rows is as fast as choosing some.
_SMALL = 1 << 17
# Rows that are stepped at least, and memory for them in a streamed design, in numbers.
_FEW = 1 << 15
_ROOM = 1 << 20
# Knots are added only as long as no more shifts than this are stored (50 MB).
_STORED = 1 << 22
# Steps of a whole path, and votes times steps on a comparison graph: ten minutes.
_MOST_STEPS, _MOST_VOTES = 1e7, 4e9
# Residuals below this fraction of the first threshold do not move anything any more.
_STILL = 1e-13
# Where less than this fraction remains of a difference, it is not to be trusted.
_CANCELLED = 1e-4


def trace_shift_lbi(
    design: Design,
    row_factor: NDArray[np.float64],
    *,
    kappa: float = 10.0,
    kappa_raw: float | None = None,
    t_max: float | None = None,
    n_knots: int = 100,
    max_shifted: float | None = None,
) -> ShiftTrace:
    """Trace the path of Linearized Bregman Iteration on the shifts.

    At every step, with r the residuals ``Y - Z coords - shift`` and coords the
    least-squares fit of ``Y - shift``::

        z_i     <- z_i + step_size * r_i
        shift_i <- kappa_raw * max(1 - v_i / |z_i|, 0) z_i

    with ``step_size = 1 / kappa_raw``, half of the stability limit. Time t is
    ``step_size`` times the number of steps. No shift can change before ``t0 = 1 /
    max_i(|r_i| / v_i)`` of the least-squares fit, so the iteration starts there. For
    large `kappa` the path tends to inverse scale space.

    Parameters
    ----------
    design : Design
        n rows, r coordinates, c outputs.
    row_factor : ndarray of shape (n,)
        v, in units of 1; infinity: never shifted.
    kappa : float, default=10.0
        Damping, dimensionless: ``kappa_raw = kappa / t0``. A shift relaxes within
        ``t0 / kappa``.
    kappa_raw : float, default=None
        The damping itself, in units of y; replaces `kappa`.
    t_max : float, default=None
        Where the path ends; None is 100 times t0.
    n_knots : int, default=100
        Knots on a logarithmic grid from t0 to t_max. Further ones are added so that the
        coordinates on straight lines in between are within 0.5 % of the iterates, of
        the largest change of the fit so far; none beyond 4 million shifts in all.
    max_shifted : float, default=None
        The path ends before a larger weight is shifted.

    Returns
    -------
    ShiftTrace
        ``knots[0]`` is t0, the least-squares fit. ``status`` is "t_max",
        "max_outliers", "stationary" (nothing moves any more) or "null" (nothing ever
        moves).

    Raises
    ------
    ValueError
        If an argument is out of range, or a sparse design is so wide that its systems
        are solved by iteration, or votes on a comparison graph would be read more than
        4e9 times in all.

    Notes
    -----
    On a `GraphDesign` every step is a sweep over the votes and a system with the
    Laplacian: 0.1 s with 100,000 items and a million votes, where half of the votes
    were shifted after 260 of the 990 steps to the default `t_max`. Choosing rows would
    save the smaller part of that.

    References
    ----------
    Q. Xu, J. Xiong, Q. Huang, Y. Yao. Robust statistical ranking: theory and
    algorithms. arXiv:1408.3467.
    """
    if t_max is not None:
        t_max = check_positive("t_max", t_max)
    if not isinstance(n_knots, (int, np.integer)) or n_knots < 2:
        raise ValueError(f"n_knots={n_knots!r} must be an integer of at least 2.")
    if max_shifted is not None and not max_shifted >= 0:
        raise ValueError(f"max_shifted={max_shifted!r} must be at least 0, or None.")
    if getattr(design, "way", None) == "cg":
        raise ValueError(
            f"LBI solves a system with the {design.n_coords} coefficients in each of "
            "very many steps; for a sparse X with so many features use huber_path "
            "(method='l1'), or fewer features."
        )
    coords = design.least_squares()
    threshold_max = largest_threshold(design, row_factor)
    t0 = 1 / threshold_max if threshold_max > 0 else np.inf
    unit = threshold_max if threshold_max > 0 else 1.0
    if kappa_raw is None:
        kappa_raw = check_positive("kappa", kappa) * unit
    else:
        kappa_raw = check_positive("kappa_raw", kappa_raw)
    step = 1 / kappa_raw
    info = {
        "t0": t0,
        "threshold_max": threshold_max,
        "kappa": kappa_raw / unit,
        "kappa_raw": kappa_raw,
        "step_size": step,
    }
    if t0 == np.inf or (t_max is not None and t_max <= t0):
        return _null_trace(design, coords, t0, t_max, info)
    grid = np.geomspace(t0, 100 * t0 if t_max is None else t_max, n_knots)
    grid[0] = t0
    if t_max is not None:
        grid[-1] = t_max
    n_steps = (grid[-1] - t0) / step
    if n_steps > _MOST_STEPS:
        raise ValueError(
            f"kappa_raw={kappa_raw:.6g} (kappa={kappa_raw / unit:.6g}) would take "
            f"{n_steps:.3g} steps, at most {_MOST_STEPS:g} are taken; use a smaller "
            "kappa or t_max, or shift_iss_path (method='iss'), which is the limit of "
            "infinite kappa."
        )
    if _is_graph(design) and n_steps * design.n_samples > _MOST_VOTES:
        most = t0 + _MOST_VOTES / design.n_samples * step
        raise ValueError(
            f"kappa={kappa_raw / unit:.6g} and t_max={grid[-1]:.6g} would take "
            f"{n_steps:.0f} steps, each of them through all {design.n_samples} votes "
            f"and a system with the scores of all items; at most {_MOST_VOTES:g} votes "
            f"are read in all. Use t_max={most:.4g} or less, a smaller kappa, or "
            "huber_path (method='l1')."
        )
    run = _Iteration(design, row_factor, kappa_raw, step, grid, max_shifted, coords)
    return run.trace(info)


def _null_trace(design, coords, t0, t_max, info):
    """The trace of one knot, where no row is shifted before t_max."""
    status, message = "null", "Least squares fits all rows: no shift can be nonzero."
    if t0 < np.inf:
        status = "t_max"
        message = f"t_max={t_max:.6g} is not beyond the first entry at t0={t0:.6g}."
    weight = 1.0 if design.weight is None else design.weight
    rss = float(np.sum(weight * design.norms(coords) ** 2))
    empty = np.zeros(0, dtype=np.int64)
    return ShiftTrace(
        knots=np.array([0.0 if t_max is None else t_max]),
        coords=coords[None],
        event_at=np.zeros(0),
        event_row=empty,
        event_sign=empty.astype(np.int8),
        event_enters=np.zeros(0, dtype=bool),
        rss=np.array([rss]),
        n_shifted=np.zeros(1),
        status=status,
        message=message,
        n_iter=0,
        interpolation="linear",
        info={**info, "n_sweeps": 2},
        shifts=sparse.csr_array((1, design.n_samples * design.n_outputs)),
    )


class _Iteration:
    """State of the iteration; a step makes new arrays, so that the last one is kept.

    ``rows`` are those that are stepped: an array, or all of them (None). In ``z``,
    ``shift``, ``v`` and ``w`` are their duals, shifts, factors and weights; ``scores``
    is ``sum w_i z_i' shift_i``, with which ``coords = least_squares - G^-1 scores``.
    """

    def __init__(self, design, v, kappa_raw, step, grid, max_shifted, coords):
        self.design, self.grid = design, grid
        self.kappa_raw, self.step = kappa_raw, step
        n, r, c = design.n_samples, design.n_coords, design.n_outputs
        self.all_v = v
        self.all_w = np.ones(n) if design.weight is None else design.weight
        self.limit = np.inf if max_shifted is None else max_shifted
        self.fitted = coords  # of least squares
        self.t0 = float(grid[0])
        self.still = _STILL / self.t0
        rounding = float(np.linalg.norm(design.rounding))
        self.still += rounding / np.sqrt(design.total_weight)
        self.m = 0
        self.n_sweeps = 1
        self.coords, self.scores = coords, np.zeros((r, c))
        # At the anchor, and sums of differences from it.
        self.coords_anchor, self.scores_anchor = self.coords, self.scores
        self.total = self.total_scores = self.scores
        self.budget, self.reach, self.square = np.inf, 0.0, 0.0
        self.ahead, self.m_anchor = 16, 0
        self.rows: Any = np.zeros(0, dtype=np.int64)
        residual = design.residuals(coords)
        z = self.t0 * residual
        shift = np.zeros((n, c))
        judged = (self.all_w == 0) & (row_norms(z) > v)
        if judged.any():
            # Rows outside of the fit may have crossed earlier: they have relaxed.
            length = row_norms(residual[judged])
            rest = (v[judged] + length / kappa_raw) / length
            z[judged] = np.minimum(rest, self.t0)[:, None] * residual[judged]
            shift[judged] = shrink(z[judged], v[judged], kappa_raw)
        self.record = Record(self, np.flatnonzero(judged), residual)
        if n * r <= _SMALL or _is_graph(design):
            self._step_all(z, shift)
        else:
            self.all_z = z
            self.z, self.shift = z[:0], shift[:0]
            self._anchor()
            if judged.any() and self.rows is not None:
                self.shift = shift[self.rows]

    @property
    def t(self):
        return self.t0 + self.m * self.step

    def trace(self, info):
        """Iterate to the end."""
        record = self.record
        record.write(self.t0, self.rows, self.shift, self.coords, self.scores)
        event = look = 0
        while True:
            before = self.rows, self.z, self.shift, self.coords, self.scores
            t, (z, shift, move) = self.t, self._advance()
            if self._weight_of(shift) > self.limit:
                if t > record.last:
                    record.write(t, before[0], before[2], *before[3:])
                return record.finish(
                    "max_outliers",
                    f"More than max_outliers={self.limit:g} rows would be shifted.",
                    self.m,
                    info,
                )
            t_next = self.t0 + (self.m + 1) * self.step
            for t_grid in record.due(t_next):
                share = (t_grid - t) / self.step
                at = shrink(before[1] + share * (z - before[1]), self.v, self.kappa_raw)
                fit = self._fit(at)
                if record.n_stored < _STORED:
                    record.look(t, before, t_grid, *fit)
                record.write(t_grid, self.rows, at, *fit)
            if record.cross(t, t_next, self.rows, before[1], z, before[2], shift):
                event = look = self.m + 1
                record.pass_by(t, *before[3:])  # there the fit bends
            self.m += 1
            self.z, self.shift = z, shift
            self.coords, self.scores = self._fit(shift)
            if record.done:
                return record.finish("t_max", "", self.m, info)
            if move <= self.still and self._is_stationary():
                record.write(self.t, self.rows, self.shift, self.coords, self.scores)
                return record.finish(
                    "stationary", "All residuals are zero.", self.m, info
                )
            if self.m >= look and record.n_stored < _STORED:
                record.look(t, before, self.t, self.coords, self.scores)
                # After an event shifts relax, fast at first, then slower and slower.
                look = self.m + 1 + (self.m - event) // 8
            if self.rows is not None and not self._is_certified():
                self._anchor()

    # -- one step --------------------------------------------------------------------

    def _advance(self):
        """Dual and shift of the next step, and the longest residual of these rows."""
        if self.streams:
            return self._advance_in_sweep()
        move = self.Y - self.Z @ self.coords
        move -= self.shift
        move[self.fixed] = 0.0
        z = self.z + self.step * move
        if self.w is not None:  # others than rows of the fit never stop a path
            move = move[self.w > 0]
        return z, shrink(z, self.v, self.kappa_raw), row_norms(move).max(initial=0.0)

    def _advance_in_sweep(self):
        z, shift = np.empty_like(self.z), np.empty_like(self.z)
        longest: list[float] = []

        def work(rows, R, D):
            R = R - self.shift[rows]
            R[self.fixed[rows]] = 0.0
            longest.append((row_norms(R) * (self.all_w[rows] > 0)).max())
            z[rows] = self.z[rows] + self.step * R
            shift[rows] = shrink(z[rows], self.v[rows], self.kappa_raw)
            return shift[rows]

        # What the next fit needs is a by-product.
        self._swept = shift, self.design.sweep(work, self.coords)
        self.n_sweeps += 1
        return z, shift, max(longest)

    def _fit(self, shift):
        """Coordinates and scores of the fit with these shifts."""
        if not self.streams:
            weighted = shift if self.w is None else self.w[:, None] * shift
            scores = self.Z.T @ weighted
        elif self._swept[0] is shift:
            scores = self._swept[1]
        else:
            self.n_sweeps += 1
            scores = self.design.sweep(lambda rows, R, D: shift[rows], self.coords)
        return self.fitted - self.design.solve(scores), scores

    def _weight_of(self, shift):
        on = nonzero(shift)
        return float(np.count_nonzero(on) if self.w is None else self.w[on].sum())

    def _is_stationary(self):
        """Whether rows that are not stepped stand still, too."""
        if self.rows is None:
            return True
        length = self.design.norms(self.coords)
        self.n_sweeps += 1
        length[self.rows] = 0.0
        length[np.isinf(self.all_v) | (self.all_w == 0)] = 0.0
        return bool(length.max() <= self.still)

    # -- which rows are stepped ------------------------------------------------------

    def _step_all(self, z, shift):
        """From now on, step all rows."""
        design = self.design
        self.rows, self.z, self.shift = None, z, shift
        self.v, self.w = self.all_v, design.weight
        self.fixed = np.isinf(self.v)
        self.streams = not design.dense
        if design.dense:
            self.Z, self.Y = design.Z, design.Y

    def _is_certified(self):
        """Whether no other row can cross its threshold in the next step."""
        difference = self.total + self.coords - self.coords_anchor
        scores = self.total_scores + self.scores - self.scores_anchor
        # |z_i' D| <= |z_i|_(G^-1) |D|_G, and G D is minus the difference of the scores.
        reach = np.sqrt(max(-float(np.sum(difference * scores)), 0.0))
        ahead = self.m - self.m_anchor + 1
        if ahead > self.ahead or reach > self.budget:
            return False
        self.total, self.total_scores, self.reach = difference, scores, reach
        return True

    def _anchor(self):
        """Bring all duals up to date and choose the rows to step next."""
        design, step, steps = self.design, self.step, self.m - self.m_anchor
        if self.m > 0:
            if steps >= self.ahead:
                self.ahead *= 2 if self.reach < 0.25 * self.budget else 1
            else:
                self.ahead = max(1, self.ahead // 2)
        # Sum of the residuals since the last anchor, from that of the coordinates.
        mean = self.coords
        if steps:
            mean = self.coords_anchor + self.total / steps
            passed = self.Y - self.Z @ mean
            self.all_z[self.rows] = self.z - (step * steps) * passed
        horizon = step * self.ahead
        gap, square = np.empty(design.n_samples), np.empty(design.n_samples)

        def work(rows, R, D):
            z = self.all_z[rows]
            if steps:
                z += (step * steps) * R
            R += D
            square[rows] = np.einsum("ij,ij->i", R, R)
            gap[rows] = np.maximum(row_norms(z), row_norms(z + horizon * R))

        design.sweep(work, mean, mean - self.coords)
        self.n_sweeps += 1
        gap = (self.all_v - gap) / (step * self._length)
        must = np.count_nonzero(gap < 0)
        want = max(must + must // 2, _FEW // design.n_coords)
        room = design.n_samples // 3
        if not design.dense:
            room = max(_ROOM // design.n_coords, design.n_samples // 6)
        if want > room:
            shift = np.zeros_like(self.all_z)
            shift[self.rows] = self.shift
            return self._step_all(self.all_z, shift)
        self.budget = np.inf
        if want < design.n_samples:
            self.budget = float(np.partition(gap, want)[want])
        chosen = np.flatnonzero(gap < self.budget)
        shift = np.zeros((len(chosen), design.n_outputs))
        place = np.searchsorted(chosen, self.rows)
        kept = nonzero(self.shift)
        shift[place[kept]] = self.shift[kept]
        self.rows, self.shift, self.z = chosen, shift, self.all_z[chosen]
        self.v = self.all_v[chosen]
        self.fixed = np.isinf(self.v)
        self.w = None if design.weight is None else design.weight[chosen]
        self.Z, self.Y = design.take(chosen)
        self.streams = False
        square[chosen] = 0.0
        self.square = float(self.all_w @ square)
        self.m_anchor, self.reach = self.m, 0.0
        self.coords_anchor, self.scores_anchor = self.coords, self.scores
        self.total = np.zeros_like(self.coords)
        self.total_scores = np.zeros_like(self.coords)
        return None

    @cached_property
    def _length(self):
        """Length of the coordinates of each row in the metric of the fit."""
        design = self.design
        square = design.leverages()
        new = np.zeros(0, dtype=int)
        if design.weight is not None:
            new = np.flatnonzero(design.weight == 0)
            square = square / np.where(design.weight == 0, 1.0, design.weight)
        width = max(1, _SMALL // design.n_coords)
        for start in range(0, len(new), width):
            some = new[start : start + width]
            Z, _ = design.take(some)
            square[some] = np.einsum("ij,ij->i", Z, design.solve(Z.T).T)
        return np.sqrt(np.maximum(square, 1e-300))

    # -- what is recorded ------------------------------------------------------------

    def rss(self, rows, shift, coords, scores):
        """``sum_i w_i |Y_i - z_i coords - shift_i|^2`` over all rows."""
        design = self.design
        if rows is None and design.dense:
            left = design.Y - design.Z @ coords - shift
            return float(self.all_w @ np.einsum("ij,ij->i", left, left))
        if rows is not None:
            # Least squares: Pythagoras about the coordinates at the anchor.
            left = self.Y - self.Z @ self.coords_anchor - shift
            whole = np.einsum("ij,ij->i", left, left)
            whole = self.square + float(
                whole.sum() if self.w is None else self.w @ whole
            )
            moved = coords - self.coords_anchor
            rss = whole + float(np.sum(moved * (scores - self.scores_anchor)))
            if rss > _CANCELLED * whole:
                return rss
        full = shift
        if rows is not None:
            full = np.zeros((design.n_samples, design.n_outputs))
            full[rows] = shift
        parts = []

        def work(some, R, D):
            R = R - full[some]
            parts.append((some.start, self.all_w[some] @ np.einsum("ij,ij->i", R, R)))

        design.sweep(work, coords)
        self.n_sweeps += 1
        return float(sum(part for _, part in sorted(parts)))


def _is_graph(design):
    """Whether rows are sparse, so that stepping all costs less than fitting."""
    return hasattr(design, "take_sparse")


def shrink(z, v, kappa_raw):
    """``kappa_raw * max(1 - v_i / |z_i|, 0) z_i`` for every row."""
    if z.shape[1] == 1:
        v = v[:, None]
        return kappa_raw * (z - np.clip(z, -v, v))
    length = np.maximum(row_norms(z), 1e-300)
    return (kappa_raw * np.maximum(1 - v / length, 0.0))[:, None] * z
