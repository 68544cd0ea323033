"""How the pieces of a graph split and merge along a path."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._path_checks import check_choice
from ._estimators import path_and_selection
from ._grid import checked_grid
from ._layout import (
    COLORS,
    LINE_STYLES,
    label_ends,
    legend_below,
    panels,
    settle,
)
from ._points import check_selections, make_strip, mark_points, rule_name
from ._polygon import shared_end
from ._split_paths import (
    check_split_path,
    feature_list,
    hide_inner_labels,
    means,
    n_pieces,
    piece_count,
    set_time_axis,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from ..selection import Selection
    from ..split_path import SplitPath

_GREY, _TRUNK = "0.75", "0.25"
# Up to this many lines, each has the names of its features beside its end.
_MOST_NAMED = 25
# So many lines are drawn, those of the most features.
_MOST_COLORED, _MOST_GREY = 500, 2000
# Coefficients that are looked at along the path: with many features, at fewer places.
_MOST_VALUES = 6_000_000


class PiecesDisplay:
    """Values of the pieces of a graph along a path: a dendrogram with a vertical scale.

    Draw with `from_estimator` or `from_path`; the object that they return can `plot`
    again with other options.

    Parameters
    ----------
    path : SplitPath
        Whose D is a graph: each row a difference of two coefficients, or one of them.
    selections : sequence of Selection, default=()
        Points of this path to mark. Colours tell apart the pieces at the first of
        them; without one, the pieces at the end.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The panel of the first output (class).
    axes_ : ndarray of Axes of shape (n_outputs,)
    figure_ : matplotlib Figure
    pieces_ : list of ndarray of int
        The features of each piece in colour, the largest first.
    lines_ : ndarray of Line2D of shape ``path.coef_shape``
        The line on which a feature lies; features that are never apart share it. None
        for those that are drawn in grey.
    trunks_ : ndarray of LineCollection of shape (n_outputs,)
        Stretches on which pieces of several colours are still one, above the lines.

    Raises
    ------
    TypeError
        If `path` is not a path of Split LBI.
    ValueError
        If D is not a graph, or a selection is not of the path.

    See Also
    --------
    ProfileDisplay : The coefficients over position at some points of the path.
    ItemGraphDisplay : Which items are tied at one point of the path.

    Notes
    -----
    A piece is a connected component of the rows of D that are inactive. Its value is
    the mean of ``coef * coef_scale`` over its features, the projected coefficient, or
    zero if a row of one coefficient ties it to zero. Values jump where a row enters or
    leaves. With very many features the path is looked at on some of its knots only.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import SplitLBI
    >>> from sparselbi.plotting import PiecesDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0.0, 2.0, 1.0], 20) + 0.1 * rng.normal(size=60)
    >>> model = SplitLBI("differences", fit_intercept=False).fit(np.eye(60), y)
    >>> display = PiecesDisplay.from_estimator(model)
    >>> len(display.pieces_)
    3
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    pieces_: list[NDArray[np.int64]]
    lines_: NDArray[Any]
    trunks_: NDArray[Any]

    def __init__(self, path: SplitPath, selections: Sequence[Selection] = ()) -> None:
        self.path = check_split_path(path)
        if not path.D.is_graph:
            raise ValueError(
                f"D is of kind {path.D.kind!r}, whose rows are not differences of two "
                "coefficients, so that there are no pieces; use "
                "ProfileDisplay.from_path(path), or path.split.plot() for the rows."
            )
        self.selections = check_selections(path, selections)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **options: Any
    ) -> PiecesDisplay:
        """Draw the path of a fitted estimator; colours are those of its point.

        Parameters
        ----------
        estimator : fitted estimator with ``path_`` and ``selection_``
            Or a pipeline or a search that ends in one.
        ax, **options
            See `plot`.

        Returns
        -------
        PiecesDisplay
        """
        path, selection = path_and_selection(estimator)
        return cls.from_path(
            path,  # type: ignore[arg-type]  # checked in the constructor
            [selection],
            ax=ax,
            **options,
        )

    @classmethod
    def from_path(
        cls,
        path: SplitPath,
        selections: Sequence[Selection] = (),
        *,
        ax: Any = None,
        **options: Any,
    ) -> PiecesDisplay:
        """Draw a path.

        Parameters
        ----------
        path, selections
            See `PiecesDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        PiecesDisplay
        """
        return cls(path, selections).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        x: str = "log_t",
        top: int = 10,
        t_max: float | None = None,
    ) -> PiecesDisplay:
        """Draw the values of the pieces.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. With several outputs a single Axes is divided.
        x : {"log_t", "t"}, default="log_t"
        top : int, default=10
            How many pieces are in colour: the largest. Others are grey. Of very many
            lines (500 in colour, 2000 in grey) the smallest are left out.
        t_max : float, default=None
            Where the drawing ends. None is the end of the path; if the pieces become
            more than 25, it is twice the t of the last of the selections.

        Returns
        -------
        PiecesDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.
        """
        check_choice("x", x, ("log_t", "t"))
        if operator.index(top) < 1:
            raise ValueError(f"top={top!r} must be at least 1.")
        path = self.path
        outputs = path._outputs() or [None]
        self._x, self._end = x, self._checked_end(t_max)
        self._trace()
        self._color(top)
        n = len(outputs)
        axes = panels(ax, [1.0] * n, (8.0, 5.0 if n == 1 else 1.4 + 2.2 * n))
        is_fresh = not axes[0].has_data()
        scaled = (path.coef_scale != 1).any()
        label = "mean coefficient" + (" × scale" if scaled else "")
        kind = "class" if path.classes is not None else "output"
        lines = np.full((n, path.n_features), None, dtype=object)
        self.trunks_ = np.empty(n, dtype=object)
        for o, (panel, output) in enumerate(zip(axes, outputs, strict=True)):
            self._draw(panel, o, lines)
            panel.set_ylabel(label if output is None else f"{label}\n{kind} {output}")
            panel.margins(x=0, y=0.07)
            panel.autoscale_view()
            if x == "log_t":
                set_time_axis(panel)
        hide_inner_labels(axes)
        self.lines_ = lines.reshape(path.coef_shape)
        axes[-1].set_xlabel("t")
        if is_fresh:
            self._draw_counts(axes[0])
        self._draw_legend(axes[-1])
        self._write(axes)
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    def _checked_end(self, t_max: float | None) -> float | None:
        path, chosen = self.path, [point.knot for point in self.selections]
        end = shared_end([path], t_max)
        if t_max is not None and max(chosen, default=0.0) > t_max:
            raise ValueError(
                f"t_max={t_max!r} hides the point at t={max(chosen):.6g}; use a larger "
                "t_max, or leave the point out."
            )
        last = path.knots[-1]
        if t_max is None and chosen and n_pieces(path.pieces(last)) > _MOST_NAMED:
            first = path.knots[path.knots > 0].min(initial=last)
            end = min(2.0 * max(*chosen, first), last)
        return end

    # -------------------------------------------------------------- along the path

    def _trace(self) -> None:
        """Corners of all lines: `_t` (m,), `_values` (m, n_outputs, n_lines).

        `_members` holds the features of each line, in order of the first of them, and
        `_labels` (m, n_lines) the piece that each line is in.
        """
        corners, exact = self._corners()
        coefs = self.path.coefs_at(corners)[0] * self.path.coef_scale
        used = coefs.reshape(len(corners), -1, self.path.n_features)
        inside = (corners[:-1] + corners[1:]) / 2 if exact else corners
        # Between two corners the pieces stay, and at an entry values jump: two points
        # for each stretch. A piecewise constant path stays where it was.
        jumps = self.path.interpolation == "constant"
        ends = [(k, k + (not jumps)) if exact else (k,) for k in range(len(inside))]
        line = np.zeros(self.path.n_features, dtype=np.int64)
        if self.selections:  # a line has one colour
            chosen = self.path.pieces(self.selections[0].knot)
            line = np.unique(chosen, return_inverse=True)[1]
        pieces: list[NDArray[np.int64]] = []
        before: Any = None
        for t in inside:
            rows = self.path.active_rows(t)
            if before is not None and (rows == before).all():
                pieces.append(pieces[-1])
                continue
            pieces.append(self.path.D.components(~rows)[1])
            before = rows
            # Features that are never apart share a line.
            pairs = line * (pieces[-1].max() + 2) + pieces[-1] + 1
            line = np.unique(pairs, return_inverse=True)[1]
        order = np.argsort(line, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(line[order])) + 1)
        self._members = sorted(members, key=lambda features: int(features[0]))
        first = [int(features[0]) for features in self._members]
        self._t = np.repeat(corners, 2)[1:-1] if exact else corners
        self._labels = np.array(
            [
                labels[first]
                for labels, stretch in zip(pieces, ends, strict=True)
                for _ in stretch
            ]
        )
        self._values = np.array(
            [
                means(used[k], labels)[:, first]
                for labels, stretch in zip(pieces, ends, strict=True)
                for k in stretch
            ]
        )

    def _corners(self) -> tuple[NDArray[np.float64], bool]:
        """Where to look, and whether the pieces stay as they are in between."""
        path, end = self.path, self._end
        high = path.knots[-1] if end is None else end
        if end is None and path.is_complete:
            high = 1.15 * high
        low = path.knots[0]
        if self._x == "log_t" and low == 0:  # has no place: a piece of the null model
            low = 0.8 * min([*path.knots[1:2], high or 1.0])
        high = max(high, low * (1 + 1e-9))
        most = max(_MOST_VALUES // path.n_features, 40)
        for times in (np.r_[path.knots, path.split.events["t"]], path.knots):
            within = times[(times > low) & (times < high)]
            t = np.unique(np.r_[low, within, high])
            if len(t) <= most:
                return t, times is not path.knots
        return t[np.linspace(0, len(t) - 1, most).round().astype(int)], False

    # --------------------------------------------------------------------- drawing

    def _color(self, top: int) -> None:
        """Pieces in colour, and the rank of the piece that each line is in."""
        last, count = self._labels[-1], len(self._members)
        self._reference = last
        if self.selections:
            labels = self.path.pieces(self.selections[0].knot)
            self._reference = labels[[features[0] for features in self._members]]
        lengths = np.array([len(features) for features in self._members])
        n_found = n_pieces(self._reference)
        sizes, heights = np.zeros((2, n_found + 1))  # the last one: tied to zero
        np.add.at(sizes, self._reference, lengths)
        largest = np.abs(self._values[-1]).max(axis=0)
        np.maximum.at(heights, self._reference, largest)
        order = np.lexsort((-heights[:-1], -sizes[:-1]))
        self.pieces_ = []
        rank = np.full(count, -1)
        for r, i in enumerate(order[:top].tolist()):
            own = np.flatnonzero(self._reference == i)
            rank[own] = r
            self.pieces_.append(
                np.sort(np.concatenate([self._members[k] for k in own]))
            )
        self._n_others = len(order) - len(self.pieces_)
        self._lengths, self._rank = lengths, rank
        # The largest lines are drawn last, and the smallest of very many not at all.
        shown = np.argsort(lengths, kind="stable")[::-1]
        colored, grey = shown[rank[shown] >= 0], shown[rank[shown] < 0]
        self._n_hidden = max(len(colored) - _MOST_COLORED, 0)
        self._n_hidden += max(len(grey) - _MOST_GREY, 0)
        self._colored, self._grey = colored[:_MOST_COLORED][::-1], grey[:_MOST_GREY]

    def _draw(self, ax: Axes, output: int, lines: NDArray[Any]) -> None:
        from matplotlib.collections import LineCollection

        values = self._values[:, output]
        segments = [np.column_stack([self._t, values[:, i]]) for i in self._grey]
        look: dict[str, Any] = {"colors": _GREY, "linewidths": 0.8, "zorder": 1.5}
        ax.add_collection(LineCollection(segments, **look))
        ax.axhline(0.0, color="0.3", lw=0.6, zorder=1)
        width = 1.5 if len(self._colored) <= 100 else 0.8
        for i in self._colored.tolist():
            features = self._members[i]
            rank = int(self._rank[i])
            (line,) = ax.plot(
                self._t,
                values[:, i],
                color=COLORS[rank % 10],
                ls=LINE_STYLES[rank // 10 % 4],
                lw=width,
                zorder=2,
                label=self._name(features),
            )
            lines[output, features] = line
        look = {"colors": _TRUNK, "linewidths": 1.5, "zorder": 2.3}
        self.trunks_[output] = LineCollection(self._trunks(values), **look)
        ax.add_collection(self.trunks_[output])

    def _name(self, features: NDArray[np.int64]) -> str:
        grid = checked_grid(self.path, None)
        return grid.location(features) if grid else feature_list(self.path, features)

    def _trunks(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Stretches in pieces that hold features of several pieces of the reference."""
        reference = self._reference
        mixed = np.zeros(self._labels.shape, dtype=bool)
        for row, labels in zip(mixed, self._labels, strict=True):
            low = np.full(labels.max(initial=-1) + 2, np.iinfo(np.int64).max)
            high = np.full(len(low), -2)
            np.minimum.at(low, labels + 1, reference)
            np.maximum.at(high, labels + 1, reference)
            row[:] = (low != high)[labels + 1]
        segments = []
        for i in self._colored.tolist():
            cuts = np.flatnonzero(np.diff(mixed[:, i])) + 1
            for part in np.split(np.arange(len(self._t)), cuts):
                if mixed[part[0], i] and len(part) > 1:
                    segments.append(np.column_stack([self._t[part], values[part, i]]))
        return segments

    def _draw_counts(self, ax: Axes) -> None:
        """Numbers of pieces at evenly spaced places on the top axis."""
        low, high = ax.get_xlim()
        space = np.geomspace if self._x == "log_t" else np.linspace
        n_ticks = 15 if n_pieces(self._labels[-1]) < 1000 else 9
        places = space(low, high, n_ticks).clip(low, high)
        reached = np.searchsorted(self._t, places, side="right") - 1
        counts = [n_pieces(self._labels[k]) for k in reached]
        top = ax.secondary_xaxis("top")
        top.set_xticks(places, [f"{count:,}" for count in counts])
        top.minorticks_off()
        top.set_xlabel("pieces")

    def _draw_legend(self, ax: Axes) -> None:
        from matplotlib.lines import Line2D

        handles: list[Artist] = []
        if any(trunk.get_segments() for trunk in self.trunks_):
            label = "several of the pieces in one"
            handles.append(Line2D([], [], color=_TRUNK, lw=1.5, label=label))
        if self._n_others:
            plural = "" if self._n_others == 1 else "s"
            label = f"{self._n_others:,} smaller piece{plural}"
            handles.append(Line2D([], [], color=_GREY, lw=1.0, label=label))
        if self._n_hidden:
            label = f"{self._n_hidden:,} more lines, not drawn"
            handles.append(Line2D([], [], ls="", label=label))
        if handles:
            legend_below(ax, handles)

    def _write(self, axes: Sequence[Axes]) -> None:
        """Names of lines and points; places are measured, so this comes last."""
        settle(axes[0])  # now the heights are final
        if self.selections:
            make_strip(axes[0])
        for o, ax in enumerate(axes):
            ends = []
            for line, features in self._named():
                end = (self._t[-1], self._values[-1, o, line])
                rank = int(self._rank[line])
                color = "0.4" if rank < 0 else COLORS[rank % 10]
                ends.append((self._name(features), end, color))
            label_ends(ax, ends)
        settle(axes[0])  # and now the widths
        marks = []
        for point in self.selections:
            name = rule_name(point.rule)
            count = piece_count(self.path, point.knot)
            place = float(np.clip(point.knot, *axes[0].get_xlim()))
            short = f"{name}: {count.split()[0]}"
            marks.append((place, f"{name}: {count}", short, "-"))
        if marks:
            mark_points(axes[0], axes[1:], marks)

    def _named(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Lines with names at their ends, and the features that these stand for."""
        if len(self._members) <= (_MOST_NAMED if len(self.trunks_) == 1 else 12):
            return list(enumerate(self._members))
        named = []
        for r, piece in enumerate(self.pieces_):
            own = np.flatnonzero(self._rank == r)
            named.append((int(own[self._lengths[own].argmax()]), piece))
        return named
