"""Norms of the groups of a network along its path, one panel per set of groups."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._layout import FONT_SIZE, given_axes, label_ends, settle
from ._network_sets import (
    Clock,
    chosen_names,
    fitting_name,
    names_by_depth,
    short_name,
    x_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..path import RegularizationPath

# Panels on a page.
_MOST_PANELS = 24
# The light end of the colour map is hard to see on white.
_LIGHTEST = 0.88


class LayerPathDisplay:
    """Norms of the groups of each layer over path time: which matter, in which order.

    Lines are coloured by the order in which their groups entered, from dark (first) to
    light; the first ones have their numbers. Draw with `from_recorder` or `from_path`;
    the object that they return can `plot` again with other options.

    Parameters
    ----------
    path : RegularizationPath
        From `PathRecorder.to_path`.
    names : str or sequence of str, default=None
        Sets of groups, or patterns of their names (``"layer1.*"``), one panel each.
        None: all, in the order of the path.
    entries : dict of str to array-like of shape (n_groups,), default=None
        Path times of entry by set, inf for never. None takes those of the path, which
        does not have them for sets that were recorded as one norm.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first panel.
    axes_ : ndarray of Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to LineCollection
        By set, the first group first.
    drawn_ : dict of str to ndarray of int
        Groups of these lines, in order of entry; empty for a set with one norm.

    Raises
    ------
    ValueError
        If the path is not one of a network, or has no such sets.

    See Also
    --------
    LayerFractionDisplay : How much of each layer is selected, in one panel.
    FilterDisplay : What the groups of one layer look like.

    Notes
    -----
    A line begins where its group was seen to enter, and breaks where it is left out. A
    set with more groups than the recorder keeps norms of (single weights) is the norm
    of all its split weights; the title of the panel says so.
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    lines_: dict[str, Any]
    drawn_: dict[str, NDArray[np.intp]]

    def __init__(
        self,
        path: RegularizationPath,
        names: str | Iterable[str] | None = None,
        *,
        entries: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        if not {"names", "first", "step"} <= set(path.info):
            raise ValueError(
                f"path is of the method {path.method!r} and does not say which of its "
                "features form a layer; give that of PathRecorder.to_path. PathDisplay "
                "draws others."
            )
        known = [str(name) for name in path.info["names"]]
        self.path, self.names = path, chosen_names(names, known)
        self._clock = Clock(path.knots, np.asarray(path.info["step"], np.float64))
        first = np.asarray(path.info["first"], dtype=np.intp)
        self._features = {
            name: np.arange(*first[k : k + 2]) for k, name in enumerate(known)
        }
        self._entry = path.entry_knots()
        self.entries: dict[str, NDArray[np.float64] | None] = {}
        for name in self.names:
            if entries is not None and name in entries:
                found = np.asarray(entries[name], dtype=np.float64)
                if not self._is_wide(name) and len(found) != len(self._features[name]):
                    raise ValueError(
                        f"entries[{name!r}] has {len(found)} times, but the path has "
                        f"{len(self._features[name])} groups in this set."
                    )
                self.entries[name] = found
            elif self._is_wide(name):
                self.entries[name] = None
            else:
                times = self._entry[self._features[name]]
                self.entries[name] = np.where(np.isnan(times), np.inf, times)

    @classmethod
    def from_recorder(
        cls,
        recorder: Any,
        names: str | Iterable[str] | None = None,
        *,
        ax: Any = None,
        **options: Any,
    ) -> LayerPathDisplay:
        """Draw what a recorder has seen up to now.

        Parameters
        ----------
        recorder : PathRecorder
        names : str or sequence of str, default=None
            See `LayerPathDisplay`. None: all, in the order of the layers of the model.
        ax, **options
            See `plot`.

        Returns
        -------
        LayerPathDisplay
        """
        if names is None:
            names = names_by_depth(recorder)
        path = recorder.to_path()  # looks once more: before the entries are read
        entries = {
            name: np.asarray(times) for name, times in recorder.entry_times().items()
        }
        return cls(path, names, entries=entries).plot(ax, **options)

    @classmethod
    def from_path(
        cls,
        path: RegularizationPath,
        names: str | Iterable[str] | None = None,
        *,
        ax: Any = None,
        **options: Any,
    ) -> LayerPathDisplay:
        """Draw a path of a network, one that was saved say.

        Parameters
        ----------
        path : RegularizationPath
            From `PathRecorder.to_path`.
        names : str or sequence of str, default=None
            See `LayerPathDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        LayerPathDisplay
        """
        return cls(path, names).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        x: str = "time",
        at: float | None = None,
        top: int = 3,
        max_lines: int = 300,
    ) -> LayerPathDisplay:
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure; a single Axes is divided.
        x : {"time", "step"}, default="time"
            Horizontal axis: path time, or training steps.
        at : float, default=None
            A path time to mark by a vertical line, that of a pruned network say. The
            titles then count the groups that had entered by then, as
            `PathRecorder.masks_at` does.
        top : int, default=3
            How many groups of each panel have their number, the first that entered.
        max_lines : int, default=300
            Lines in a panel: of more groups, evenly spaced ones in order of entry.

        Returns
        -------
        LayerPathDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If there are more than 24 sets, or an option is unknown or out of range.
        """
        self._clock.check(x, at)
        for option, value, least in (("top", top, 0), ("max_lines", max_lines, 1)):
            if operator.index(value) < least:
                raise ValueError(f"{option}={value!r} must be at least {least}.")
        n = len(self.names)
        if n > _MOST_PANELS:
            raise ValueError(
                f"the path has {n} sets of groups, and a figure has room for "
                f"{_MOST_PANELS} panels; choose some by names=[...] (patterns such as "
                "'layer1.*' work), or draw LayerFractionDisplay, which shows all sets "
                "in one panel."
            )
        axes, n_columns = _panel_grid(ax, n)
        self.lines_, self.drawn_ = {}, {}
        ends = []
        for panel, name in zip(axes, self.names, strict=True):
            ends.append(self._draw(panel, name, x, top, max_lines))
            self._clock.draw(panel, x, at)
            panel.set_title("\n", fontsize=FONT_SIZE)  # its height
        for k, panel in enumerate(axes):
            if n_columns is None or k >= n - (n % n_columns or n_columns):
                panel.set_xlabel(x_label(x))
                panel.tick_params(labelbottom=True)
            if n_columns is None or k % n_columns == 0:
                panel.set_ylabel("norm of the group")
        settle(axes[0])
        for panel, name, labels in zip(axes, self.names, ends, strict=True):
            label_ends(panel, labels)
            title = f"{fitting_name(panel, short_name(name))}\n{self._count(name, at)}"
            panel.set_title(title, fontsize=FONT_SIZE - 0.5)
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    # -- one panel -------------------------------------------------------------------

    def _is_wide(self, name: str) -> bool:
        """Whether the path has one norm for the set instead of one for each group."""
        features = self._features[name]
        return len(features) == 1 and self.path._name(features[0]).endswith("[all]")

    def _draw(
        self, ax: Axes, name: str, x: str, top: int, max_lines: int
    ) -> list[tuple[str, tuple[float, float], Any]]:
        """Lines of one set; labels for the ends of some."""
        import matplotlib as mpl
        from matplotlib.collections import LineCollection

        wide = self._is_wide(name)
        norms = self._norms(self._features[name])
        order = np.zeros(1, dtype=np.intp) if wide else self._order(name, norms)
        ranks = np.arange(len(order))
        if len(order) > max_lines:
            ranks = np.linspace(0, len(order) - 1, max_lines).astype(np.intp)
        drawn = order[ranks]
        self.drawn_[name] = drawn[:0] if wide else drawn
        starts = self._entry[self._features[name][drawn]]
        lines = [
            self._vertices(norms[:, group], start, x)
            for group, start in zip(drawn, starts, strict=True)
        ]
        share = ranks / max(len(order) - 1, 1)
        colors = mpl.colormaps["viridis"](_LIGHTEST * share)
        self.lines_[name] = ax.add_collection(
            LineCollection(
                lines[::-1],  # the first ones above the others
                colors=colors[::-1],
                linewidths=1.8 if wide else 1.2 if len(lines) <= 60 else 0.7,
                rasterized=len(lines) > 150,
                zorder=2,
            )
        )
        ax.axhline(0.0, color="0.3", lw=0.8, zorder=1)
        high = norms[:, drawn].max(initial=0.0) or 1.0
        ax.set_ylim(-0.03 * high, 1.05 * high)
        if not len(drawn) or not norms[:, drawn].any():
            ax.set_yticks([0.0])
            look = {"ha": "center", "color": "0.45", "fontsize": FONT_SIZE}
            ax.text(0.5, 0.5, "nothing entered", transform=ax.transAxes, **look)
        named = range(0 if wide else min(top, len(drawn)))
        ends = [line[np.isfinite(line[:, 1])][-1] for line in lines[: len(named)]]
        return [(str(drawn[k]), tuple(ends[k]), tuple(colors[k])) for k in named]

    def _norms(self, features: NDArray[np.intp]) -> NDArray[np.float64]:
        """Norms of groups at the knots, (n_knots, n_features)."""
        norms = np.zeros((len(self.path), len(features)))
        active = self.path.active_features
        moving = np.isin(features, active)
        norms[:, moving] = self.path.active_coefs[
            :, np.searchsorted(active, features[moving])
        ]
        return norms

    def _order(self, name: str, norms: NDArray[np.float64]) -> NDArray[np.intp]:
        """Groups with a line, in order of entry, the larger ones first in ties."""
        entry = self.entries[name]
        assert entry is not None  # only sets with one norm have none
        order = np.lexsort((-norms[-1], entry))
        moves = np.asarray(norms.any(axis=0))
        return order[moves[order]]

    def _vertices(
        self, norms: NDArray[np.float64], entry: float, x: str
    ) -> NDArray[np.float64]:
        """A line from the entry of its group on, with holes where the group is out."""
        knots = self.path.knots
        if not norms.any():
            return np.zeros((1, 2))
        first = int(np.argmax(norms > 0))
        start = np.clip(entry, knots[max(first - 1, 0)], knots[first])
        times = np.append(start, knots[first:])
        values = np.append(0.0, norms[first:])
        around = np.append(values[1:], 0.0) + np.append(0.0, values[:-1])
        values[np.logical_and(values == 0, around == 0)] = np.nan
        return np.stack([self._clock.places(times, x), values], axis=1)

    # -- titles ----------------------------------------------------------------------

    def _count(self, name: str, at: float | None) -> str:
        """How many groups are in, and what of them is drawn."""
        entry = self.entries[name]
        if entry is None:
            return "norm of all groups"
        when = "" if at is None else f" by {at:.4g}"
        reached = entry <= (self.path.knots[-1] if at is None else at) * (1 + 1e-12)
        text = f"{int(reached.sum()):,} of {len(entry):,} in{when}"
        if self._is_wide(name):
            return f"norm of all; {text}"
        n_drawn = len(self.drawn_[name])
        if n_drawn < int(np.isfinite(entry).sum()):
            text += f"; {n_drawn} drawn"
        return text


def _panel_grid(ax: Any, n: int) -> tuple[list[Axes], int | None]:
    """Axes for n panels, and how many there are in a row; None: given by the user."""
    # Few empty places at the end, wide rather than high.
    n_columns = min(n, min(range(4, 2, -1), key=lambda k: -n % k) if n > 4 else 4)
    n_rows = math.ceil(n / n_columns)
    size = (0.8 + 2.9 * n_columns, 0.6 + 2.2 * n_rows) if n > 1 else (6.0, 4.0)
    axes, place = given_axes(ax, n, "panel", size)
    if place is None:
        return axes, None
    inner = place.subgridspec(n_rows, n_columns)
    figure = axes[0].figure
    axes = [figure.add_subplot(inner[0, 0])]
    axes += [
        figure.add_subplot(inner[divmod(k, n_columns)], sharex=axes[0])
        for k in range(1, n)
    ]
    for panel in axes:  # all rows are equally high, with labels or without
        panel.tick_params(labelbottom=n % n_columns > 0)
    return axes, n_columns
