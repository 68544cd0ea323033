"""The two exact paths on shifts, event by event: Huber and inverse scale space.

Both are written in coordinates in which the weighted design is orthonormal, so that
the Gram matrix of the fitted rows is ``I - Z_O' W_O Z_O``, O the shifted rows. The
residual of row i moves by at most ``|z_i|`` times the distance that the coordinates
move: between two *anchors*, where every residual is computed, only the rows that can
have an event are looked at, so that an event costs O(sqrt(n) r + r^2), not O(n r).
"""

from abc import ABC, abstractmethod

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky

from . import _shift_kernels as kernels
from ._shift_trace import ShiftTrace

# Residuals below this share of the largest one are rounding.
_ROUNDING = 1e-14
# A row whose leverage is within this distance of 1 has residual 0 and is never shifted.
_FREE = 1e-10
# Events between anchors: rounding adds up from event to event.
_EVENTS = 256
# Of n rows so many times sqrt(n) are tracked.
_TRACKED = 4.0
# Anchors without progress after which a path is given up.
_MAX_STUCK = 60


def trace_huber(Z, y, weight, row_factor, *, max_shifted=None, threshold_min=0.0):
    """Trace the piecewise linear path of Huber regression, with every event.

    With residuals ``r = y - Z coords``, coords(threshold) minimizes::

        sum_i w_i rho(r_i; threshold v_i),
        rho(r; a) = r^2 / 2 if |r| <= a, a |r| - a^2 / 2 otherwise

    Row i is shifted while ``|r_i| > threshold v_i``. With I the other rows, O the
    shifted ones and s their signs, ``d coords / d threshold`` is
    ``(Z_I' W Z_I)^-1 Z_O' W v s``; where rows in I do not determine it, the smallest
    such change (in the fitted values) is taken. Thresholds below 1e-11 of the largest
    residual of least squares are not told from 0.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_coords), float64, C-contiguous
        With ``Z' W Z = I``.
    y : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
        w; rows of weight 0 have events, but no part in the fit.
    row_factor : ndarray of shape (n_samples,)
        v, positive; inf for rows that are never shifted.
    max_shifted : float, default=None
        The path ends before the weights of shifted rows sum to more than this.
    threshold_min : float, default=0.0
        Where the path ends, in units of y.

    Returns
    -------
    ShiftTrace
        Knots are ``threshold_max = max |r_i| / v_i`` of least squares, every event, and
        the end; linear in between. A row that starts or ceases to be shifted at a knot
        is not shifted at this knot. ``status`` is "null" (all residuals that could be
        shifted are 0; one knot), "threshold_min", "max_outliers" (the last knot is the
        event; rows that would enter there have no event), "least_absolute" (the last
        knot is 0, a least absolute deviations fit), or "ill_conditioned".
        ``info["not_unique"]`` is the threshold below which fitted rows did not
        determine the fit, or None.
    """
    rows = _Rows(Z, y, weight, row_factor)
    if rows.null:
        return rows.null_trace("linear")
    return _HuberTrace(rows, max_shifted, threshold_min).run()


def trace_iss(
    Z, y, weight, row_factor, *, max_shifted=None, t_max=None, determined=True
):
    """Trace inverse scale space on the shifts: least squares without shifted rows.

    With z(0) = 0 and net residuals ``r = y - Z coords - shift``::

        dz_i / dt = r_i(t),   |z_i| <= v_i,
        shift_i != 0 only where z_i = sign(shift_i) v_i

    and (coords, shift) least squares under these signs: shifted rows have net residual
    0 and no part in the fit. A row whose shift would change its sign is fitted again,
    z moves inward, and it may be shifted again later. Piecewise constant in t.

    Parameters
    ----------
    Z, y, weight, row_factor, max_shifted
        As for `trace_huber`.
    t_max : float, default=None
        Where the path ends.
    determined : bool, default=True
        End before the fitted rows no longer determine coords. Otherwise the smallest
        changes of coords (in the fitted values) are made, and net residuals, hence the
        events, are what they would be for any other choice.

    Returns
    -------
    ShiftTrace
        ``knots[0] = 0`` is least squares, ``knots[1] = min v_i / |r_i|`` the first
        entry, then every event. Knot k holds on ``[knots[k], knots[k + 1])``.
        ``status`` is "null", "t_max" (which is then the last knot), "max_outliers",
        "singular" (the path ended before that event; ``info["next"]`` is its t),
        "least_squares" (all net residuals are 0), or "ill_conditioned".
    """
    rows = _Rows(Z, y, weight, row_factor)
    if rows.null:
        return rows.null_trace("constant")
    return _IssTrace(rows, max_shifted, t_max, determined).run()


class _Rows:
    """The data, as residuals of least squares in units of the largest of them."""

    def __init__(self, Z, y, weight, row_factor):
        self.Z, (self.n, self.k) = Z, Z.shape
        self.weight = np.ones(self.n) if weight is None else weight
        self.scales = np.sqrt(self.weight)
        self.norms = np.sqrt(np.einsum("ij,ij->i", Z, Z))
        free = self.weight * self.norms**2 > 1.0 - _FREE
        self.may_shift = np.isfinite(row_factor) & ~free
        self.factor = np.where(self.may_shift, row_factor, 1.0)

        self.start = Z.T @ (self.weight * y)
        residual = y - Z @ self.start
        again = Z.T @ (self.weight * residual)
        self.start += again
        residual -= Z @ again
        size = np.abs(residual)
        level = 64.0 * np.finfo(float).eps * np.sqrt(self.k) * np.max(np.abs(y))
        self.null = not (size[self.may_shift] > level).any()
        fitted = np.max(size[self.weight > 0], initial=0.0)
        self.unit = float(fitted if fitted > level else np.max(size, initial=0.0))
        self.y = residual / (self.unit or 1.0)

    def gram(self, kept):
        """Z' W Z of a boolean selection, from the smaller side."""
        few = 2 * np.count_nonzero(kept) <= self.n
        Z = self.Z[kept if few else ~kept]
        gram = Z.T @ (self.weight[kept if few else ~kept, None] * Z)
        return gram if few else np.eye(self.k) - gram

    def null_trace(self, interpolation):
        return ShiftTrace(
            knots=np.zeros(1),
            coords=self.start[None, :, None],
            event_at=np.zeros(0),
            event_row=np.zeros(0, dtype=np.int64),
            event_sign=np.zeros(0, dtype=np.int8),
            event_enters=np.zeros(0, dtype=bool),
            rss=np.array([self.weight @ (self.y * self.unit) ** 2]),
            n_shifted=np.zeros(1),
            status="null",
            message="Least squares fits every row that could be shifted.",
            n_iter=0,
            interpolation=interpolation,
            info={"n_anchors": 0},
        )


class _Trace(ABC):
    """One path: anchors, compiled loop, and what it found; in units of the rows."""

    interpolation: str

    @abstractmethod
    def anchor(self):
        """Make everything exact at the present knot."""

    @abstractmethod
    def advance(self):
        """Run the compiled loop; returns its code and whether anything happened."""

    @abstractmethod
    def adapt(self, code, used, progress):
        """Learn how far coords move (`used`: in the last run)."""

    @abstractmethod
    def trace(self, code):
        """The trace that ended with `code`, in the units of the response."""

    def __init__(self, rows, max_shifted, knot):
        n, k = rows.n, rows.k
        self.rows = rows
        self.limit = np.inf if max_shifted is None else max_shifted + 1e-9
        self.state = np.zeros(n, dtype=np.int8)
        self.coords = np.zeros(k)
        self.r = rows.y.copy()
        self.held, self.held_rows = np.zeros((k, k)), np.zeros(k, dtype=np.int64)
        self.n_held = 0
        self.not_unique = -1.0
        self.knot = knot
        rss = rows.weight @ rows.y**2
        self.knots, self.knot_coords, self.rss = [[knot]], [np.zeros((1, k))], [[rss]]
        self.events = []
        self.n_tracked = min(n, max(64, int(_TRACKED * np.sqrt(n))))
        self.n_anchors = 0

    def run(self):
        """Alternate between anchors and events; returns the trace."""
        stuck = 0
        while True:
            self.n_anchors += 1
            try:
                self.anchor()
            except LinAlgError:
                return self.trace(kernels.STALLED)
            knot, before = self.knot, self.coords.copy()
            code, progress = self.advance()
            self.adapt(code, float(np.linalg.norm(self.coords - before)), progress)
            stuck = 0 if self.knot != knot else stuck + 1
            if not progress:
                self.n_tracked = min(2 * self.n_tracked, self.rows.n)
            if stuck > _MAX_STUCK + self.rows.n // 10:
                code = kernels.STALLED
            if code not in (kernels.REACH, kernels.ROOM):
                break
        try:
            self.anchor()
        except LinAlgError:
            code = kernels.STALLED
        return self.trace(code)

    def refactor(self):
        """Make residuals and the factor of the fitted rows anew."""
        self.r = self.rows.y - self.rows.Z @ self.coords
        kept = self.state == 0
        kept[self.held_rows[: self.n_held]] = True
        self.factor = np.ascontiguousarray(cholesky(self.rows.gram(kept)))

    def solve(self, g):
        """The shortest solution of Gram d = g."""
        d = cho_solve((self.factor, False), g)
        if self.n_held:
            held = self.held[: self.n_held]
            unseen, _ = np.linalg.qr(cho_solve((self.factor, False), held.T))
            d -= unseen @ (unseen.T @ d)
        return d

    def polish(self, g, rss):
        """Remove what rounding left of the gradient, also at the last knot."""
        step = self.solve(g)
        self.coords += step
        self.r -= self.rows.Z @ step
        if self.knots[-1][-1] == self.knot:
            self.knot_coords[-1][-1] = self.coords
            self.rss[-1][-1] = rss()

    def collect(self, n_knots, n_events, buffers):
        knots, coords, rss, at, row, sign = buffers
        if n_knots:
            self.knots.append(knots[:n_knots].copy())
            self.knot_coords.append(coords[:n_knots].copy())
            self.rss.append(rss[:n_knots].copy())
        if n_events:
            self.events.append([part[:n_events].copy() for part in (at, row, sign)])

    def buffers(self, size):
        return (
            np.empty(size),
            np.empty((size, self.rows.k)),
            np.empty(size),
            np.empty(size),
            np.empty(size, dtype=np.int64),
            np.empty(size, dtype=np.int8),
        )

    def net_events(self):
        """Events without rows that came and went at one and the same knot."""
        if not self.events:
            return np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int8)
        parts = zip(*self.events, strict=True)
        at, row, sign = (np.concatenate(part) for part in parts)
        group = np.cumsum(np.append(0, at[1:] != at[:-1]))
        order = np.lexsort((row, group))
        at, row, sign, group = at[order], row[order], sign[order], group[order]
        first = np.append(True, (row[1:] != row[:-1]) | (group[1:] != group[:-1]))
        start = np.flatnonzero(first)
        count = np.diff(np.append(start, len(row)))
        last = (start + count - 1)[count % 2 == 1]
        return at[last], row[last], sign[last]

    def finish(self, knots, coords, rss, events, n_shifted, status, message, **info):
        at, row, sign = events
        unit = self.rows.unit
        return ShiftTrace(
            coords=(self.rows.start + unit * coords)[:, :, None],
            event_row=row,
            event_sign=np.sign(sign),
            event_enters=np.abs(sign) == 1,
            rss=unit**2 * rss,
            n_shifted=np.maximum(n_shifted, 0.0),
            status=status,
            message=message,
            n_iter=len(row),
            info={"n_anchors": self.n_anchors, **info},
            knots=knots,
            event_at=at,
            interpolation=self.interpolation,
        )

    def joined(self):
        """Knots, coords and rss; of equal knots the last one."""
        knots = np.concatenate(self.knots)
        last = np.append(knots[1:] != knots[:-1], True)
        coords, rss = np.concatenate(self.knot_coords), np.concatenate(self.rss)
        return knots[last], coords[last], rss[last]


class _HuberTrace(_Trace):
    interpolation = "linear"

    def __init__(self, rows, max_shifted, threshold_min):
        may = rows.may_shift
        first = float(np.max(np.abs(rows.y[may]) / rows.factor[may]))
        super().__init__(rows, max_shifted, first)
        self.threshold_min = min(float(threshold_min), rows.unit * first)
        self.lowest = min(self.threshold_min / rows.unit, first)
        self.resting = np.zeros(rows.n, dtype=bool)
        self.rounding = _ROUNDING / float(np.median(rows.factor[may]))
        pull = rows.weight * rows.norms * rows.factor
        self.speed = 4.0 * float(np.sqrt(np.mean(pull[may] ** 2))) + 1e-300

    def anchor(self):
        self.refactor()
        rows, thr = self.rows, self.knot
        push = rows.factor * self.state
        psi = np.where(self.state == 0, self.r, thr * push)
        self.b = rows.Z.T @ (rows.weight * push)
        self.polish(
            rows.Z.T @ (rows.weight * psi),
            lambda: rows.weight @ np.where(self.state == 0, self.r, thr * push) ** 2,
        )

    def choose(self):
        """The rows to track, and how far the others are from an event."""
        rows, thr = self.rows, self.knot
        excess = np.where(self.state == 0, np.abs(self.r), self.state * self.r)
        distance = np.abs(thr * rows.factor - excess)
        key = distance / (rows.factor + self.speed * rows.norms)
        key[~rows.may_shift] = np.inf
        if self.n_tracked < np.count_nonzero(rows.may_shift):
            reach = np.partition(key, self.n_tracked)[self.n_tracked]
            return np.flatnonzero(key <= reach), reach, self.speed * reach
        return np.flatnonzero(rows.may_shift), np.inf, np.inf

    def advance(self):
        rows, state = self.rows, self.state
        tracked, reach, room = self.choose()
        out = state != 0
        pull = rows.weight * rows.factor**2
        numbers = np.array(
            [
                self.knot,
                self.lowest,
                self.rounding,
                rows.weight[~out] @ self.r[~out] ** 2,
                pull[out].sum(),
                rows.weight[out].sum(),
                self.limit,
                reach,
                room,
                self.not_unique,
            ]
        )
        buffers = self.buffers(_EVENTS)
        tracked_state, resting = state[tracked], self.resting[tracked]
        code, n_knots, n_events, self.n_held = kernels.huber_events(
            tracked,
            rows.Z[tracked],
            rows.factor[tracked],
            rows.scales[tracked],
            tracked_state,
            resting,
            self.r[tracked],
            self.factor,
            self.held,
            self.held_rows,
            self.n_held,
            self.b,
            self.coords,
            numbers,
            *buffers,
        )
        state[tracked], self.resting[tracked] = tracked_state, resting
        self.moved = self.knot - numbers[0]
        self.knot, self.not_unique = float(numbers[0]), float(numbers[-1])
        self.collect(n_knots, n_events, buffers)
        return code, n_knots + n_events > 0

    def adapt(self, code, used, progress):
        if code == kernels.ROOM:
            self.speed *= 2.0
        elif progress and self.moved > 0.0:
            self.speed = max(1.5 * used / self.moved, 0.5 * self.speed)

    def trace(self, code):
        rows, unit = self.rows, self.rows.unit
        knots, coords, rss = self.joined()
        at, row, sign = self.net_events()
        # A row that enters or leaves at a knot is not shifted there.
        stays = (np.abs(sign) == 2) | (at > self.knot)
        at, row, sign = at[stays], row[stays], sign[stays]
        enters = np.abs(sign) == 1
        place = np.searchsorted(-knots, -at)
        change = np.zeros(len(knots) + 1)
        np.add.at(change, place + enters, np.where(enters, 1, -1) * rows.weight[row])
        n_shifted = np.cumsum(change[:-1])
        knots = unit * knots
        if code == kernels.END:
            knots[-1] = self.threshold_min
            # An event at the end, up to rounding.
            apart = np.append(knots[:-1] > knots[-1], True)
            knots, coords, rss = knots[apart], coords[apart], rss[apart]
            n_shifted = n_shifted[apart]
        end = "least_absolute" if self.lowest == 0.0 else "threshold_min"
        status = {kernels.END: end, kernels.MAX_SHIFTED: "max_outliers"}.get(
            code, "ill_conditioned"
        )
        messages = {
            "least_absolute": (
                "The path is complete: the last knot is a least absolute deviations "
                "fit."
            ),
            "threshold_min": f"The path reached threshold_min={knots[-1]:.6g}.",
            "max_outliers": (
                f"The path ended at threshold={knots[-1]:.6g}; below it, more "
                "rows than allowed would be shifted."
            ),
            "ill_conditioned": (
                f"The path ended at threshold={knots[-1]:.6g}: rounding would decide "
                "how to go on."
            ),
        }
        return self.finish(
            knots,
            coords,
            rss,
            (unit * at, row, sign),
            n_shifted,
            status,
            messages[status],
            not_unique=self.not_unique * unit if self.not_unique >= 0.0 else None,
        )


class _IssTrace(_Trace):
    interpolation = "constant"

    def __init__(self, rows, max_shifted, t_max, determined):
        super().__init__(rows, max_shifted, 0.0)
        self.t_max = np.inf if t_max is None else float(t_max)
        self.end = self.t_max * rows.unit
        self.determined = float(determined)
        self.dual = np.zeros(rows.n)
        self.unsettled = False
        pull = rows.weight * rows.norms * rows.y
        self.room = 4.0 * float(np.sqrt(np.mean(pull**2))) + 1e-300

    def anchor(self):
        self.refactor()
        rows, fitted = self.rows, self.state == 0
        self.g = rows.Z.T @ np.where(fitted, rows.weight * self.r, 0.0)
        if not self.unsettled:
            self.polish(self.g, lambda: rows.weight[fitted] @ self.r[fitted] ** 2)
            self.g[:] = 0.0

    def choose(self):
        """The rows to track, and how far t and coords may go until others matter."""
        rows, r, dual = self.rows, self.r, self.dual
        may, out = rows.may_shift, self.state != 0
        moving = may & ~out
        if not self.unsettled and not (np.abs(r[moving]) > _ROUNDING).any():
            return np.flatnonzero(may), np.inf, np.inf
        if self.n_tracked >= np.count_nonzero(may):
            return np.flatnonzero(may), np.inf, np.inf
        half = self.n_tracked // 2
        size = np.full(rows.n, np.inf)
        size[out] = np.abs(r[out]) / np.maximum(rows.norms[out], 1e-300)
        room = min(self.room, np.partition(size, half)[half])
        wait = np.full(rows.n, np.inf)
        for sign in (-1.0, 1.0):
            speed = sign * r[moving] + room * rows.norms[moving]
            left = np.maximum(rows.factor[moving] - sign * dual[moving], 0.0)
            after = np.where(speed > 0.0, left / np.maximum(speed, 1e-300), np.inf)
            wait[moving] = np.minimum(wait[moving], after)
        reach = np.partition(wait, half)[half]
        near = (wait <= reach) & moving | (size <= room) & out
        if np.count_nonzero(near) == np.count_nonzero(may):
            return np.flatnonzero(may), np.inf, np.inf
        return np.flatnonzero(near), reach, room

    def advance(self):
        rows, state, dual = self.rows, self.state, self.dual
        tracked, reach, self.room = self.choose()
        out = state != 0
        numbers = np.array(
            [
                self.knot,
                self.end,
                _ROUNDING,
                rows.weight[~out] @ self.r[~out] ** 2,
                rows.weight[out].sum(),
                self.limit,
                reach,
                self.room,
                self.determined,
                self.not_unique,
            ]
        )
        buffers = self.buffers(_EVENTS + len(tracked))
        tracked_state, tracked_dual = state[tracked], dual[tracked]
        drift = np.zeros(rows.k)
        code, n_knots, n_events, self.n_held, self.unsettled = kernels.iss_events(
            tracked,
            rows.Z[tracked],
            rows.factor[tracked],
            rows.scales[tracked],
            tracked_state,
            tracked_dual,
            self.r[tracked],
            self.factor,
            self.held,
            self.held_rows,
            self.n_held,
            self.g,
            self.coords,
            drift,
            numbers,
            self.unsettled,
            *buffers,
        )
        before, self.knot = self.knot, float(numbers[0])
        self.not_unique = float(numbers[-1])
        rest = ~out
        rest[tracked] = False
        if self.knot > before:
            moved = (self.knot - before) * self.r - rows.Z @ drift
            dual[rest] += moved[rest]
        state[tracked], dual[tracked] = tracked_state, tracked_dual
        self.collect(n_knots, n_events, buffers)
        return code, n_knots + n_events > 0

    def adapt(self, code, used, progress):
        if code == kernels.ROOM:
            self.room *= 2.0
        elif progress and used > 0.0:
            self.room = max(1.5 * used, 0.5 * self.room)

    def trace(self, code):
        rows, unit, t = self.rows, self.rows.unit, self.knot
        knots, coords, rss = self.joined()
        at, row, sign = self.net_events()
        after = None
        if code in (kernels.MAX_SHIFTED, kernels.UNDETERMINED):
            after = t / unit
            stays = at < t
            at, row, sign = at[stays], row[stays], sign[stays]
            stays = knots < t
            knots, coords, rss = knots[stays], coords[stays], rss[stays]
        elif code == kernels.END and t > knots[-1] * (1.0 + 2.0 * kernels.TIE):
            knots = np.append(knots, t)
            coords = np.append(coords, coords[-1:], axis=0)
            rss = np.append(rss, rss[-1])
        change = np.zeros(len(knots))
        enters = np.abs(sign) == 1
        place = np.searchsorted(knots, at)
        np.add.at(change, place, np.where(enters, 1, -1) * rows.weight[row])
        status = {
            kernels.END: "t_max",
            kernels.MAX_SHIFTED: "max_outliers",
            kernels.UNDETERMINED: "singular",
            kernels.COMPLETE: "least_squares",
        }.get(code, "ill_conditioned")
        knots, at = knots / unit, at / unit
        if code == kernels.END:
            at[at == knots[-1]] = self.t_max
            knots[-1] = self.t_max
        end = f"t={t / unit:.6g}"
        messages = {
            "t_max": f"The path reached t_max={self.t_max:.6g}.",
            "max_outliers": (
                f"The path ended before {end}, where more rows than allowed would be "
                "shifted."
            ),
            "singular": (
                f"The path ended before {end}, where the rows that are left would not "
                "determine the coefficients."
            ),
            "least_squares": "The path is complete: all rows left are fitted exactly.",
            "ill_conditioned": (
                f"The path ended at {end}: rounding would decide how to go on."
            ),
        }
        return self.finish(
            knots,
            coords,
            rss,
            (at, row, sign),
            np.cumsum(change),
            status,
            messages[status],
            next=after,
            not_unique=self.not_unique / unit if self.not_unique >= 0.0 else None,
        )
