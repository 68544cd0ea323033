"""The corners of the lines that a path is drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..path import RegularizationPath

# A path whose last value holds for ever is drawn so far beyond its last knot.
_AFTER_THE_END = 1.15
# Entries between knots become corners of their own up to this many events.
_MOST_EVENTS = 2000


def shared_end(
    paths: Sequence[RegularizationPath], t_max: float | None
) -> float | None:
    """Where a drawing of all the paths ends, in units of t; None: with its path."""
    if t_max is not None:
        starts = [t[np.isfinite(t) & (t > 0)] for t in (p._t(p.knots) for p in paths)]
        start = min((t.min() for t in starts if len(t)), default=0.0)
        if not start < t_max < np.inf:
            raise ValueError(
                f"t_max={t_max!r} must be a number beyond the start of the path, "
                f"t={start:.6g}."
            )
        return float(t_max)
    if len(paths) == 1:
        return None
    last = [np.max(t, where=np.isfinite(t), initial=0.0) for t in _times(paths)]
    ends = [end for end, p in zip(last, paths, strict=True) if not p.is_complete]
    return float(min(ends)) if ends else float(_AFTER_THE_END * max(last))


def _times(paths: Sequence[RegularizationPath]) -> list[NDArray[np.float64]]:
    return [path._t(path.knots) for path in paths]


def polygon(
    path: RegularizationPath, x: str, end: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Abscissae (m,) and active coefficients (m, *lead, n_active) at the corners.

    Nothing is drawn beyond t = `end`; a path that stops moving is drawn up to there.
    """
    steps = path.interpolation == "constant" and x != "l1_norm"
    knots = path.knots
    if path.interpolation == "linear" and len(path.events) <= _MOST_EVENTS:
        inside = path.events["t"].clip(min(knots), max(knots))
        knots = path._direction * np.unique(path._direction * np.r_[knots, inside])
    t = path._t(knots)
    shown = t <= (np.inf if end is None else end)
    if x != "l1_norm":
        shown &= np.isfinite(t) & ((t > 0) | (x == "t"))
    if not shown.any():
        return np.ones(1), path.active_coefs[:1]
    coefs, _ = path._active_at(knots[shown])
    across, first_is_missing = t[shown], not shown[0]
    if end is None and steps and path.is_complete:
        end = _AFTER_THE_END * across[-1]
    if end is not None and across[-1] < end and (path.is_complete or end < t[-1]):
        last, _ = path._active_at([float(path._t(np.array(end)))])
        across, coefs = np.r_[across, end], np.concatenate([coefs, last])
    if x == "l1_norm":
        return np.abs(coefs).sum(axis=tuple(range(1, coefs.ndim))), coefs
    if x == "log_t" and first_is_missing:
        # t = 0 has no place on this axis: show a piece of the null model.
        across = np.r_[0.8 * across[0], across]
        coefs = np.concatenate([path.active_coefs[:1], coefs])
    if steps:  # every jump is a vertical line: two corners at one t
        return np.repeat(across, 2)[1:], np.repeat(coefs, 2, axis=0)[:-1]
    return across, coefs
