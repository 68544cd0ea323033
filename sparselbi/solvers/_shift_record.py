"""What LBI on the shifts writes down: events, and few knots."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from .._shift_design import row_norms
from ._shift_trace import ShiftTrace

# Straight lines between knots miss the iterates that were looked at by at most this
# fraction of the largest change of the fit so far, and others by a little more.
TOLERANCE = 0.003


class Record:
    """Knots, as few as straight lines allow, and events."""

    def __init__(self, run, judged, residual):
        self.run = run
        self.next = 1  # of the grid
        self.last = -np.inf
        self.knots, self.coords, self.rss, self.n_shifted = [], [], [], []
        self.entries: list[tuple[Any, Any]] = []
        self.seen: list[tuple[float, Any, Any]] = []
        self.range = 0.0
        self.n_stored = 0
        length = row_norms(residual[judged])
        sign = np.zeros(len(judged), dtype=np.int8)
        if residual.shape[1] == 1:
            sign = np.sign(residual[judged, 0]).astype(np.int8)
        self.events = [
            (run.all_v[judged] / length, judged, sign, np.ones(len(judged), dtype=bool))
        ]

    @property
    def done(self):
        return self.next == len(self.run.grid)

    def due(self, t):
        """Times of the grid up to t, once each."""
        grid = self.run.grid
        while not self.done and grid[self.next] <= t:
            self.next += 1
            yield float(grid[self.next - 1])

    def write(self, t, rows, shift, coords, scores):
        """Add a knot."""
        if t <= self.last:
            return
        on = nonzero(shift)
        rows = np.flatnonzero(on) if rows is None else rows[on]
        self.entries.append((rows, shift[on]))
        self.n_stored += self.entries[-1][1].size
        self.knots.append(t)
        self.coords.append(coords)
        self.n_shifted.append(float(self.run.all_w[rows].sum()))
        run = self.run
        self.rss.append(run.rss(self.run.rows, shift, coords, scores))
        self.last = t
        self.seen = [(t, coords, scores)]
        if len(self.knots) == 1:
            self.first = coords, scores

    def pass_by(self, t, coords, scores):
        """Remember a step that lines have to be close to."""
        if t > self.seen[-1][0]:
            self.seen.append((t, coords, scores))

    def look(self, t_before, before, t, coords, scores):
        """Add the step before if a line from the last knot to this one is too far."""
        self.range = max(
            self.range, _distance(coords - self.first[0], scores - self.first[1])
        )
        self.pass_by(t, coords, scores)
        if len(self.seen) > 2 and self._is_far():
            self.write(t_before, before[0], before[2], *before[3:])
            self.pass_by(t, coords, scores)

    def _is_far(self):
        times = np.array([t for t, _, _ in self.seen])
        share = ((times - times[0]) / (times[-1] - times[0]))[1:-1, None, None]
        coords = np.stack([coords for _, coords, _ in self.seen])
        scores = np.stack([scores for _, _, scores in self.seen])
        coords = coords[1:-1] - coords[0] - share * (coords[-1] - coords[0])
        scores = scores[1:-1] - scores[0] - share * (scores[-1] - scores[0])
        square = -np.einsum("krc,krc->k", coords, scores)
        return square.max() > (TOLERANCE * self.range) ** 2

    def cross(self, t, t_next, rows, z, z_next, shift, shift_next):
        """Add the rows that crossed their threshold between two steps.

        Returns whether this moves the fit.
        """
        on, on_next = nonzero(shift), nonzero(shift_next)
        # To the other side in one step.
        back = on & on_next & (np.einsum("ij,ij->i", z, z_next) < 0)
        changed = np.flatnonzero((on != on_next) | back)
        if not len(changed):
            return False
        z, z_next = z[changed], z_next[changed]
        low, high = _inside(z, z_next, self.run.v[changed])
        back = back[changed] & (low < high)
        names = changed if rows is None else rows[changed]
        single = z.shape[1] == 1
        for which, share, value, enters in (
            ((on & ~on_next)[changed] | back, low, z, False),
            ((on_next & ~on)[changed] | back, high, z_next, True),
        ):
            at = t + np.clip(share[which], 0.0, 1.0) * (t_next - t)
            sign = np.zeros(len(at), dtype=np.int8)
            if single:
                sign = np.sign(value[which, 0]).astype(np.int8)
            self.events.append(
                (at, names[which], sign, np.full(len(at), enters, dtype=bool))
            )
        return bool(self.run.all_w[names].any())

    def finish(self, status, message, n_iter, info):
        run = self.run
        events = zip(*self.events, strict=True)
        at, row, sign, enters = (np.concatenate(part) for part in events)
        inside = at <= self.last  # the last step may go beyond the last knot
        order = np.argsort(at[inside], kind="stable")
        counts = [len(rows) for rows, _ in self.entries]
        width = run.design.n_outputs
        rows = np.concatenate([rows for rows, _ in self.entries])
        columns = (rows[:, None] * width + np.arange(width)).ravel()
        data = np.concatenate([shift for _, shift in self.entries]).ravel()
        starts = np.concatenate([[0], np.cumsum(counts)]) * width
        shape = (len(counts), run.design.n_samples * width)
        return ShiftTrace(
            knots=np.array(self.knots),
            coords=np.stack(self.coords),
            event_at=at[inside][order],
            event_row=row[inside][order],
            event_sign=sign[inside][order],
            event_enters=enters[inside][order],
            rss=np.array(self.rss),
            n_shifted=np.array(self.n_shifted),
            status=status,
            message=message,
            n_iter=n_iter,
            interpolation="linear",
            info={**info, "n_sweeps": run.n_sweeps},
            shifts=sparse.csr_array((data, columns, starts), shape=shape),
        )


def nonzero(shift):
    """Which rows are shifted."""
    if shift.shape[1] == 1:
        return shift[:, 0] != 0
    # Twice as fast as any(), which goes through short rows one by one.
    return np.einsum("ij,ij->i", shift, shift) > 0


def _inside(z, z_next, v):
    """Where lines from z to z_next are inside of |.| <= v: shares (low, high)."""
    move = z_next - z
    a = np.einsum("ij,ij->i", move, move)
    b = np.einsum("ij,ij->i", z, move)
    c = np.einsum("ij,ij->i", z, z) - v**2
    below = b**2 - a * c
    root = np.sqrt(np.maximum(below, 0.0))
    # Of the two forms of a root, the one without cancellation.
    far = -(b + np.where(b >= 0, root, -root))
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = far / a, c / far
    low, high = np.fmin(one, other), np.fmax(one, other)
    return np.where(below >= 0, low, np.inf), np.where(below >= 0, high, -np.inf)


def _distance(coords, scores):
    """Length in the metric of the fit of a difference of coordinates."""
    return np.sqrt(max(-float(np.sum(coords * scores)), 0.0))
