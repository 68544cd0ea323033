"""The arrays that the loop of LBI works on, and the recorder that empties them."""

from typing import Any, NamedTuple

import numpy as np

from ..path import EVENT_DTYPE
from .base import build_events

# Why the loop returned.
AGAIN, ANCHOR, T_MAX, MAX_FEATURES, SATURATED, UNSTABLE, NONFINITE = range(7)


class Work(NamedTuple):
    """Arrays of the stepped columns, in order of entry; K outputs, capacity T."""

    column: np.ndarray  # (T,) tracked column of each stepped one
    low: np.ndarray  # (T,) first position of its block
    high: np.ndarray  # (T,) one past the last position of its block
    ptr: np.ndarray  # (T + 1,) block boundaries
    weight: np.ndarray  # (T,) thresholds
    gram: np.ndarray  # (T, T)
    z: np.ndarray  # (K, T)
    z_before: np.ndarray
    z_ref: np.ndarray
    coef: np.ndarray
    coef_before: np.ndarray
    coef_ref: np.ndarray
    coef_anchor: np.ndarray
    g: np.ndarray
    g_ref: np.ndarray
    g_anchor: np.ndarray


class Cone(NamedTuple):
    """Recording: each live coefficient is followed in a cone of admissible slopes."""

    origin_t: np.ndarray
    origin: np.ndarray
    slope_low: np.ndarray
    slope_high: np.ndarray
    live: np.ndarray
    entered: np.ndarray  # time of the last entry
    left: np.ndarray  # time of the last leaving
    sample: np.ndarray  # coefficients at the last look
    scratch: np.ndarray


class Tracked(NamedTuple):
    """The tracked columns: blocks, thresholds, and which are stepped already."""

    ptr: np.ndarray  # (B + 1,)
    weight: np.ndarray  # (T,)
    norm: np.ndarray  # (B,)
    stepped: np.ndarray  # (B,)
    dual: np.ndarray  # (K, T) scratch: present dual of candidates
    slope: np.ndarray  # (K, T) scratch: minus their gradient
    coef: np.ndarray  # (K, T) scratch
    slack: np.ndarray  # (B,) scratch
    reach: np.ndarray  # (B,) scratch


class Record(NamedTuple):
    """What the loop writes down."""

    grid: np.ndarray  # (n_grid,) times at which a knot is due
    t: np.ndarray  # (R,)
    coef: np.ndarray  # (R, K, T)
    width: np.ndarray  # (R,) number of stepped columns at the knot
    event_t: np.ndarray
    event_column: np.ndarray
    event_output: np.ndarray
    event_sign: np.ndarray


STATE = np.dtype(
    [
        # The iteration
        ("step", "f8"),
        ("kappa", "f8"),
        ("t_start", "f8"),
        ("m", "i8"),  # steps since t_start
        ("m_before", "i8"),  # the same for z_before
        ("m_anchor", "i8"),
        ("m_ref", "i8"),
        ("n_refs", "i8"),
        ("a", "i8"),  # stepped columns
        ("n_blocks", "i8"),
        ("entrywise", "?"),  # whether a change of sign is an event
        ("max_features", "i8"),
        ("saturated", "f8"),  # the path ends when the mean loss is below
        ("limit", "f8"),  # the active Gram matrix must have a smaller norm
        # Certificates
        ("anchor_time", "f8"),  # elapsed time for which the others are certified
        ("anchor_budget", "f8"),  # and norm of D
        ("m_due", "i8"),  # candidates must be looked at
        ("ref_budget", "f8"),
        ("rate", "f8"),  # expected growth of the norm of D
        ("used", "f8"),  # squared norm of D since ref
        ("used_anchor", "f8"),
        ("out_of_budget", "?"),
        ("due", "?"),  # candidates must be looked at now
        ("look_beyond", "?"),  # m_due is the first step that may bring one in
        ("over", "?"),  # due because D would exceed its budget
        ("fresh", "?"),  # the state was prepared by the caller
        ("still", "?"),  # no stepped dual moves any more
        # Recording
        ("i_grid", "i8"),
        ("n_rows", "i8"),
        ("n_events", "i8"),
        ("m_event", "i8"),
        ("m_look", "i8"),
        ("t_look", "f8"),
        ("t_row", "f8"),
        ("top", "f8"),  # largest coefficient so far, the intercept aside
        ("intercept", "i8"),  # position of the intercept column, or -1
        ("chunk", "i8"),
    ]
)


def new_state(**values):
    """Return the state record (an array of one element) with the given values."""
    state = np.zeros(1, STATE)
    for name, value in values.items():
        state[name] = value
    state["t_look"] = state["t_row"] = -np.inf
    return state


def new_work(n_outputs, n_tracked, ptr, n_blocks):
    """Return work arrays in which the first `n_blocks` tracked blocks are stepped."""
    K, T = n_outputs, n_tracked
    own_ptr = np.full(T + 2, np.iinfo(np.int64).max)
    own_ptr[: n_blocks + 1] = ptr[: n_blocks + 1]
    low = np.zeros(T, dtype=np.int64)
    high = np.zeros(T, dtype=np.int64)
    a = ptr[n_blocks]
    sizes = np.diff(ptr[: n_blocks + 1])
    low[:a] = np.repeat(ptr[:n_blocks], sizes)
    high[:a] = np.repeat(ptr[1 : n_blocks + 1], sizes)
    matrices = {
        name: np.zeros((K, T))
        for name in Work._fields
        if name not in ("column", "low", "high", "ptr", "weight", "gram")
    }
    return Work(
        column=np.arange(T),
        low=low,
        high=high,
        ptr=own_ptr,
        weight=np.zeros(T),
        gram=np.zeros((T, T)),
        **matrices,
    )


def new_cone(n_outputs, n_tracked):
    """Return recording arrays in which nothing is live."""
    return Cone(
        *(
            np.zeros(
                (n_outputs, n_tracked), dtype=np.bool_ if name == "live" else float
            )
            for name in Cone._fields
        )
    )


def carry_recording(previous, before, cone, features):
    """Hand the recording of `previous` (columns `before`) to `cone` (`features`)."""
    order = np.argsort(before)
    source = order[np.searchsorted(before, features, sorter=order)]
    for old, new in zip(previous, cone, strict=True):
        new[:, : len(features)] = old[:, source]


class Recorder:
    """Knots and events of a run, in buffers that the loop fills and `flush` empties."""

    def __init__(self, grid):
        self.grid = grid
        self.arrays: Any = None
        self._rows, self._events = [], []

    def allocate(self, n_outputs, n_tracked):
        """Make buffers for a loop over `n_tracked` columns."""
        rows = len(self.grid) + 64
        events = 16 * n_outputs * n_tracked
        self.arrays = Record(
            grid=self.grid,
            t=np.empty(rows),
            coef=np.empty((rows, n_outputs, n_tracked)),
            width=np.empty(rows, dtype=np.int64),
            event_t=np.empty(events),
            event_column=np.empty(events, dtype=np.int64),
            event_output=np.empty(events, dtype=np.int64),
            event_sign=np.empty(events, dtype=np.int64),
        )

    def flush(self, states, column, features):
        """Copy what was written since the last call and empty the buffers."""
        state, arrays = states[0], self.arrays
        r, e = int(state["n_rows"]), int(state["n_events"])
        if r:
            width = int(arrays.width[r - 1])
            coef = arrays.coef[:r, :, :width].copy()
            # A row knows only the columns that were stepped when it was written.
            late = np.arange(width) >= arrays.width[:r, None]
            coef[np.broadcast_to(late[:, None], coef.shape)] = 0.0
            self._rows.append((arrays.t[:r].copy(), features[column[:width]], coef))
        if e:
            self._events.append(
                (
                    arrays.event_t[:e].copy(),
                    features[arrays.event_column[:e]],
                    arrays.event_output[:e].copy(),
                    arrays.event_sign[:e].copy(),
                )
            )
        state["n_rows"] = state["n_events"] = 0

    def coefficients(self):
        """Return knots (K,), columns (E,) ascending, coefficients (K, n_outputs, E)."""
        # A visit between two knots leaves events and no nonzero coefficient.
        seen = [row[1] for row in self._rows] + [event[1] for event in self._events]
        columns = np.unique(np.concatenate(seen))
        n_outputs = self._rows[0][2].shape[1]
        knots = np.concatenate([row[0] for row in self._rows])
        coefs = np.zeros((len(knots), n_outputs, len(columns)))
        start = 0
        for t, features, coef in self._rows:
            where = np.searchsorted(columns, features)
            coefs[start : start + len(t)][:, :, where] = coef
            start += len(t)
        return knots, columns, coefs

    def events(self, problem, end):
        """Return the event table of the run up to time `end`."""
        if not self._events:
            return np.zeros(0, EVENT_DTYPE)
        parts = [np.concatenate(part) for part in zip(*self._events, strict=True)]
        # A crossing within the first or last step may lie outside the knots.
        parts[0] = np.maximum(parts[0], self.grid[0])
        inside = parts[0] <= end
        return build_events(problem, *(part[inside] for part in parts))
