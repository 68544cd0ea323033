"""Sets of groups of a network: names, the order of layers, path time and steps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ._layout import FONT_SIZE, points_per_pixel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLOCKS = ("time", "step")
_LABELS = {"time": "path time", "step": "step"}


@dataclass(frozen=True)
class Clock:
    """Path times and steps of the same moments, both increasing."""

    times: NDArray[np.float64]
    steps: NDArray[np.float64]

    def places(self, times: ArrayLike, x: str) -> NDArray[np.float64]:
        """Where path times are on the horizontal axis."""
        places = np.asarray(times, dtype=np.float64)
        return places if x == "time" else np.interp(places, self.times, self.steps)

    def check(self, x: str, at: float | None) -> None:
        """Raise unless the horizontal axis is known and `at` is on it."""
        check_choice("x", x, CLOCKS)
        end = self.times[-1]
        if at is not None and not 0 <= at <= end * (1 + 1e-12):
            raise ValueError(
                f"at={at!r} must be a path time between 0 and {end:.6g}, the end of "
                f"the recording (step {self.steps[-1]:.0f})."
            )

    def draw(self, ax: Axes, x: str, at: float | None) -> None:
        """Limits, and a line at the chosen path time."""
        low, high = self.places(self.times[[0, -1]], x)
        ax.set_xlim(low, high if high > low else low + 1)
        if at is not None:
            place = float(self.places(at, x))
            ax.axvline(place, color="0.35", lw=0.9, ls=(0, (4, 2)), zorder=1.5)

    def draw_steps(self, ax: Axes) -> Any:
        """Steps on the top axis of path time."""
        from matplotlib.ticker import MaxNLocator

        low, high = self.steps[[0, -1]]
        steps = MaxNLocator(6, integer=True).tick_values(low, high)
        steps = steps[(steps >= low) & (steps <= high)]
        top = ax.secondary_xaxis("top")
        places = np.interp(steps, self.steps, self.times)
        # The clock slows down with the learning rate: late steps may be too near.
        kept: list[int] = []
        for k in range(len(places)):
            gap = 0.06 * (self.times[-1] - self.times[0])
            if not kept or places[k] - places[kept[-1]] >= gap:
                kept.append(k)
        top.set_xticks(places[kept], [f"{step:,.0f}" for step in steps[kept]])
        top.set_xlabel(_LABELS["step"])
        return top


def x_label(x: str) -> str:
    return _LABELS[x]


def chosen_names(names: str | Iterable[str] | None, known: Sequence[str]) -> list[str]:
    """Names of sets, in the order in which they, or patterns of them, are given."""
    if names is None:
        return list(known)
    patterns = [names] if isinstance(names, str) else list(names)
    chosen: list[str] = []
    for pattern in patterns:
        found = [
            name for name in known if name == pattern or fnmatchcase(name, pattern)
        ]
        if not found:
            shown = ", ".join(map(repr, known[:8])) + (", ..." if known[8:] else "")
            raise ValueError(
                f"names has {pattern!r}, which is no recorded set of groups; give "
                f"names, or patterns such as 'conv*', of {shown}."
            )
        chosen += [name for name in found if name not in chosen]
    if not chosen:
        raise ValueError("names is empty; give names of sets of groups, or None.")
    return chosen


def names_by_depth(recorder: Any) -> list[str]:
    """Names of a recorder in the order of the layers of its model, if it has one.

    The order in which modules were registered; without a model that of the optimizer.
    """
    names = list(recorder.names)
    if getattr(recorder, "model", None) is None:
        return names
    from ..torch._shards import unwrapped

    params = unwrapped(recorder.model).named_parameters()
    depth = {name: k for k, (name, _) in enumerate(params)}
    return sorted(names, key=lambda name: depth[name.split(" + ")[0]])


def short_name(name: str) -> str:
    """Joined tensors with what they share written once: "attn.{q, k}.weight"."""
    parts = name.split(" + ")
    if len(parts) == 1:
        return name
    start = os.path.commonprefix(parts)
    start = start[: start.rfind(".") + 1]
    rests = [part[len(start) :] for part in parts]
    end = os.path.commonprefix([rest[::-1] for rest in rests])[::-1]
    end = end[end.find(".") :] if "." in end else ""
    inner = (rest[: len(rest) - len(end)] for rest in rests)
    return f"{start}{{{', '.join(inner)}}}{end}"


def fitting_name(ax: Axes, name: str, size: float = FONT_SIZE) -> str:
    """A name that is not wider than the axes; its middle is left out."""
    room = int(points_per_pixel(ax) * ax.bbox.width / (0.56 * size))
    room = max(room, 8)
    if len(name) <= room:
        return name
    return f"{name[: (room - 1) // 3]}…{name[-(room - 1 - (room - 1) // 3) :]}"
