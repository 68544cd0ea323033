"""Knots of the joint iteration: a grid, and more where straight lines need them."""

import numpy as np

from ._recording import TOLERANCE
from ._split_joint_steps import misses, narrow, restart


class Recorder:
    """Knots: on the grid, and where straight lines would miss what was seen.

    Attributes
    ----------
    error : float
        Largest deviation from the lines that was seen about the middle of two knots,
        relative to the largest coefficient so far.
    room : int
        Knots that may still be added.
    """

    def __init__(self, split, columns, rows, entrywise, room):
        self.room = room
        self.n_features = split.n_features
        self.entrywise = entrywise
        self.coef_cone, self.rows_cone = (
            tuple(np.zeros(shape, bool if i == 4 else float) for i in range(8))
            for shape in (columns, rows)
        )
        self.times, self.coefs, self._splits = [], [], []
        self.top, self.top_split = 0.0, 0.0
        self.error, self.t_look = 0.0, -np.inf
        self._probes = []

    def begin(self, t, state):
        self.look(t, state)
        self.write(t, state)

    def look(self, t, state):
        """Compare the state at t with straight lines from the last knot."""
        coef, _, split = state
        if self.times and self.room > 0 and self.t_look > self.times[-1]:
            missed = misses(self.coef_cone, coef, t, True, self.entrywise)
            if missed or misses(self.rows_cone, split, t, False, self.entrywise):
                sample = self.coef_cone[-1].copy(), None, self.rows_cone[-1]
                self.write(self.t_look, sample)
                self.room -= 1
        self.top = max(self.top, np.abs(coef[:, : self.n_features]).max(initial=0.0))
        self.top_split = max(self.top_split, np.abs(split).max(initial=0.0))
        slack, slack_split = TOLERANCE * self.top, TOLERANCE * self.top_split
        narrow(self.coef_cone, coef, t, slack, True, self.entrywise)
        narrow(self.rows_cone, split, t, slack_split, False, self.entrywise)
        self.t_look = t
        if self.times:
            self._probe(t, coef)

    def write(self, t, state):
        """Write a knot, the state at the last look, and start all lines there."""
        coef, _, split = state
        if self.times and t <= self.times[-1]:
            return
        self._measure(t, coef)
        self.times.append(t)
        self.coefs.append(coef.copy())
        entries = np.flatnonzero(split)
        self._splits.append((entries, split.ravel()[entries]))
        restart(self.coef_cone, t, True)
        restart(self.rows_cone, t, False)

    def _probe(self, t, coef):
        """Keep coefficients seen, twice as far from the last knot each time."""
        elapsed = t - self.times[-1]
        if elapsed > 0 and (
            not self._probes or elapsed >= 2 * (self._probes[-1][0] - self.times[-1])
        ):
            self._probes = [*self._probes[-1:], (t, coef.copy())]

    def _measure(self, t, coef):
        """Compare what was kept about half way with the line that ends now."""
        p = self.n_features
        for time, seen in self._probes:
            if time < t and self.top > 0:
                share = (time - self.times[-1]) / (t - self.times[-1])
                line = self.coefs[-1] + share * (coef - self.coefs[-1])
                gap = np.abs(line - seen)[:, :p].max(initial=0.0)
                self.error = max(self.error, float(gap / self.top))
        self._probes = []

    def splits(self, split, event_rows):
        """Rows that are ever active and their split coefficients at all knots."""
        K, m = split.n_outputs, split.n_rows
        flat = [entries for entries, _ in self._splits]
        seen = split.order[np.unique(np.concatenate(flat) % m)]
        rows = np.union1d(seen, event_rows).astype(np.int64)
        place = np.full(m, -1)
        place[rows] = np.arange(len(rows))
        place = place[split.order]
        out = np.zeros((len(self.times), K, len(rows)))
        for target, (entries, values) in zip(out, self._splits, strict=True):
            target[entries // m, place[entries % m]] = values
        return rows, out
