"""Which items are compared how often, and which of these votes are distrusted."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._comparison_graph import ComparisonGraph, checked_pairs, edges_of
from .._path_checks import check_choice
from ..problem import check_weight
from ._item_boxes import (
    BOX_HEIGHT,
    apart,
    box_side,
    box_widths,
    close_legend,
    columns,
    draw_box,
    write_title,
)
from ._layout import FONT_SIZE, points_per_pixel, settle, shortened, spread_out
from ._rankers import fitted_ranker, item_codes, item_labels, vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Names in boxes for at most so many items of a component, dots for more.
_MOST_BOXES = 60
# Letters of a name.
_LONGEST = 28
_GREY, _RED = "0.45", "#c0392b"
# Widest and narrowest line, in points.
_WIDEST, _NARROWEST = 5.0, 0.25
_MOST_COLUMNS = 8


class ComparisonGraphDisplay:
    """Items by score; lines between those that are compared, distrusted votes in red.

    In the layout "arcs" all votes are on the right of the items and the distrusted ones
    on the left: a long red arc is votes against a large difference of scores. Widths of
    lines are numbers of votes. Components, whose scores cannot be compared, are beside
    each other.

    Draw with `from_estimator`, or from arrays with
    ``ComparisonGraphDisplay(...).plot()``.

    Parameters
    ----------
    pairs : array-like of int of shape (n_votes, 2)
        Numbers of the two items of each vote.
    scores : array-like of shape (n_items,)
    distrusted : array-like of shape (n_votes,), bool, default=None
        None: none of them.
    sample_weight : array-like of shape (n_votes,), default=None
        How many votes each row stands for.
    items : array-like of shape (n_items,), default=None
        Labels; None: numbers.
    components : array-like of shape (n_items,), default=None
        Which items are drawn together. None: those that votes connect.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for each component that is drawn.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    groups_ : list of ndarray of int
        Items (indices) that are drawn, of each component, the best first.
    positions_ : ndarray of shape (n_items, 2)
        In the units of the axes, points (1/72 inch); NaN: not drawn.
    nodes_ : dict of int to Text
        Names of items; empty where they are dots.
    edges_ : DataFrame
        Pairs of items that are drawn: ``first``, ``second`` (labels), ``votes`` and
        ``distrusted`` (sums of weights).
    lines_, distrusted_lines_ : list of PathCollection
        Of all and of the distrusted votes, one for each component.

    Raises
    ------
    ValueError
        If shapes differ, pairs are no numbers of items, scores are not finite, or votes
        connect different components.

    See Also
    --------
    RankingDisplay : Scores with intervals.

    Examples
    --------
    >>> from sparselbi.plotting import ComparisonGraphDisplay
    >>> pairs = [[0, 1], [0, 1], [1, 2], [2, 0]]
    >>> display = ComparisonGraphDisplay(
    ...     pairs, [1.0, 0.2, -1.2], distrusted=[False, False, False, True]
    ... ).plot()
    >>> display.edges_[["votes", "distrusted"]].to_numpy().tolist()
    [[2.0, 0.0], [1.0, 1.0], [1.0, 0.0]]
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    groups_: list[NDArray[np.intp]]
    positions_: NDArray[np.float64]
    nodes_: dict[int, Any]
    edges_: Any
    lines_: list[Any]
    distrusted_lines_: list[Any]

    def __init__(
        self,
        pairs: ArrayLike,
        scores: ArrayLike,
        *,
        distrusted: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        items: ArrayLike | None = None,
        components: ArrayLike | None = None,
    ) -> None:
        self.scores = np.asarray(scores, dtype=np.float64)
        if self.scores.ndim != 1 or not np.isfinite(self.scores).all():
            raise ValueError(
                f"scores has shape {self.scores.shape} and must be finite numbers of "
                "shape (n_items,), one for each item."
            )
        n_items = len(self.scores)
        first, second = checked_pairs(pairs, n_items)
        n = len(first)
        weight = check_weight(sample_weight, n)
        mask = (
            np.zeros(n, dtype=bool)
            if distrusted is None
            else vector("distrusted", distrusted, n, "vote", bool)
        )
        self.items = item_labels(items, n_items)
        used = weight > 0
        low, high, edge = edges_of(first[used], second[used], n_items)
        self._ends = np.column_stack([low, high])
        self._votes = np.bincount(edge, weight[used]).astype(np.float64)
        self._red = np.bincount(edge, (weight * mask)[used])
        graph = ComparisonGraph(low, high, self._votes, n_items)
        self._degree, self.components = graph.degree, graph.components
        if components is not None:
            self.components = vector("components", components, n_items, "item", None)
            torn = np.flatnonzero(self.components[low] != self.components[high])
            if len(torn):
                i, j = self._ends[torn[0]]
                raise ValueError(
                    f"components: item {i} is in {self.components[i]} and item {j} in "
                    f"{self.components[j]}, but there are votes about this pair; "
                    "give both the same component."
                )

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **options: Any
    ) -> ComparisonGraphDisplay:
        """Draw the votes of a fitted estimator, and which of them it distrusts.

        Parameters
        ----------
        estimator : fitted PairwiseRanker
        ax, **options
            See `plot`.

        Returns
        -------
        ComparisonGraphDisplay
        """
        ranker = fitted_ranker(estimator)
        votes = ranker.votes_
        # With features, all items are in one ranking.
        table = ranker.ranking_.set_index("item").loc[ranker.items_]
        display = cls(
            votes.pairs,
            ranker.scores_,
            distrusted=ranker.outlier_votes_,
            sample_weight=votes.weight,
            items=ranker.items_,
            components=table["component"],
        )
        return display.plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        layout: str = "arcs",
        items: ArrayLike | None = None,
        max_items: int = 60,
    ) -> ComparisonGraphDisplay:
        """Draw the graph.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. For several components a single Axes is divided.
        layout : {"arcs", "circle"}, default="arcs"
            "arcs": items below each other, the best on top; heights are scores, as far
            as names leave room. "circle": items around a circle in the order of their
            scores, the best on top, and clockwise; the part of a line that is red is
            the share of its votes that is distrusted.
        items : array-like of labels, default=None
            Which items are drawn. None: as many as `max_items`.
        max_items : int, default=60
            Draw at most so many items: the largest components that fit (at most eight),
            or, of the largest one, the items with the most votes. The title says so.

        Returns
        -------
        ComparisonGraphDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.
        """
        import pandas as pd

        check_choice("layout", layout, ("arcs", "circle"))
        if operator.index(max_items) < 2:
            raise ValueError(f"max_items={max_items!r} must be at least 2.")
        self._choose(items, max_items)
        shown = np.zeros(len(self.scores), dtype=bool)
        shown[np.concatenate(self.groups_)] = True
        drawn = shown[self._ends].all(axis=1)
        self._drawn_ends = self._ends[drawn]
        first, second = self.items[self._drawn_ends].T
        parts: dict[str, Any] = {"first": first, "second": second}
        parts |= {"votes": self._votes[drawn], "distrusted": self._red[drawn]}
        self.edges_ = pd.DataFrame(parts)
        axes = columns(ax, [1.0] * len(self.groups_), self._size(layout))
        for panel in axes:
            panel.set_xticks([])
            panel.set_yticks([])
            for side in panel.spines.values():
                side.set_visible(False)
        self._draw_legend(axes[len(axes) // 2], layout)
        for k, (panel, group) in enumerate(zip(axes, self.groups_, strict=True)):
            lines = [self._title()] if k == 0 else []
            if len(axes) > 1:
                narrow = points_per_pixel(panel) * panel.bbox.width < 8 * FONT_SIZE
                number = self.components[group[0]]
                lines.append(f"{number}" if narrow else f"component {number}")
            write_title(axes if k == 0 else [panel], "\n".join(lines))
        if layout == "arcs":
            axes[0].set_ylabel("score")
            for panel, group in zip(axes, self.groups_, strict=True):
                texts = [_number(self.scores[i]) for i in group]
                panel.set_yticks(np.linspace(1, 0, len(texts)), texts)
                panel.tick_params(axis="y", length=0, labelsize=FONT_SIZE - 1)
        settle(axes[0])
        self.positions_ = np.full((len(self.scores), 2), np.nan)
        self.nodes_, self.lines_, self.distrusted_lines_ = {}, [], []
        draw = self._draw_arcs if layout == "arcs" else self._draw_circle
        for panel, group in zip(axes, self.groups_, strict=True):
            draw(panel, group)
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    # -- what is drawn ---------------------------------------------------------------

    def _choose(self, items: Any, max_items: int) -> None:
        """Set `groups_`: components, the largest first, the best items first."""
        part, degree = np.unique(self.components, return_inverse=True)[1], self._degree
        kept = degree > 0
        if items is not None:
            kept[:] = False
            kept[item_codes("items", items, self.items)] = True
            max_items = int(kept.sum())
        size = np.bincount(part[kept])
        order = np.lexsort((np.arange(len(size)), -size))
        order = order[size[order] > 0]
        groups: list[NDArray[np.intp]] = []
        for k in order.tolist():
            group = np.flatnonzero(kept & (part == k))
            room = max_items - sum(map(len, groups))
            if len(groups) == _MOST_COLUMNS or (groups and len(group) > room):
                break
            if len(group) > room:
                group = group[np.argsort(-degree[group], kind="stable")[:room]]
            groups.append(group[np.argsort(-self.scores[group], kind="stable")])
        self.groups_ = groups

    def _title(self) -> str:
        drawn, n = sum(map(len, self.groups_)), len(self.scores)
        votes, total = self.edges_["votes"].sum(), self._votes.sum()
        if drawn == n:
            return f"{n} items, {total:,.0f} votes"
        n_groups = int((np.unique(self.components, return_counts=True)[1] > 1).sum())
        text = f"{drawn} of {n:,} items"
        if n_groups > 1:
            text += f" in {len(self.groups_)} of {n_groups:,} components"
        return f"{text}, {votes:,.0f} of {total:,.0f} votes"

    def _size(self, layout: str) -> tuple[float, float]:
        n_groups, most = len(self.groups_), max(map(len, self.groups_))
        if layout == "arcs":
            width = 7.5 if n_groups == 1 else max(2.6 * n_groups, 7.5)
            return min(width, 16.0), float(np.clip(0.21 * most + 1.2, 3.0, 13.0))
        side = 7.0 if n_groups == 1 else max(16.0 / n_groups, 3.6)
        return min(side * n_groups, 16.0), side

    def _name(self, item: int) -> str:
        return str(self.items[item])

    # -- lines -----------------------------------------------------------------------

    def _widths(self, votes: NDArray[np.float64]) -> NDArray[np.float64]:
        most = self.edges_["votes"].max() if len(self.edges_) else 1.0
        crowd = np.clip(60 / max(len(self.edges_), 1), 0.3, 1.0)
        return np.maximum(_WIDEST * np.sqrt(crowd) * votes / most, _NARROWEST)

    def _draw_lines(
        self, ax: Axes, group: Any, curve: Any, *, both_sides: bool
    ) -> None:
        """All votes in grey, distrusted ones in red, mirrored or on top of them."""
        from matplotlib.collections import PathCollection

        inside = np.isin(self._drawn_ends[:, 0], group)
        ends, edges = self._drawn_ends[inside], self.edges_[inside]
        votes, red = edges["votes"].to_numpy(), edges["distrusted"].to_numpy()
        alpha = float(np.clip(3.0 / np.sqrt(max(len(edges), 1)), 0.2, 0.6))
        for values, color, side, found in (
            (votes, _GREY, 1, self.lines_),
            (red, _RED, -1 if both_sides else 1, self.distrusted_lines_),
        ):
            some = values > 0
            paths = [curve(i, j, side) for i, j in ends[some].tolist()]
            look: dict[str, Any] = {"facecolors": "none", "edgecolors": color}
            look["linewidths"] = self._widths(values[some])
            look |= {"alpha": alpha if side > 0 and color == _GREY else 0.75}
            look |= {"zorder": 1.5 if color == _RED else 1.0, "capstyle": "butt"}
            found.append(ax.add_collection(PathCollection(paths, **look)))

    def _draw_legend(self, ax: Axes, layout: str) -> None:
        from matplotlib.lines import Line2D

        votes = self.edges_["votes"].to_numpy()
        if not len(votes):
            return
        most = float(votes.max())
        sizes = sorted({most, float(max(round(most / 4), 1))} if most > 1 else {most})
        handles = [
            Line2D(
                *([], []),
                color=_GREY,
                alpha=0.6,
                lw=float(self._widths(np.array([size]))[0]),
                label=f"{size:g} vote{'' if size == 1 else 's'}",
            )
            for size in sizes
        ]
        where = " (left)" if layout == "arcs" else ""
        look: dict[str, Any] = {"color": _RED, "lw": 2.0}
        handles.append(Line2D([], [], label=f"distrusted{where}", **look))
        close_legend(ax, handles)

    # -- layouts ---------------------------------------------------------------------

    def _draw_arcs(self, ax: Axes, group: NDArray[np.intp]) -> None:
        from matplotlib.path import Path

        unit = points_per_pixel(ax)
        room = unit * ax.bbox.width, unit * ax.bbox.height
        named = len(group) <= _MOST_BOXES
        widths = (
            box_widths(map(self._name, group), _LONGEST)
            if named
            else np.full(len(group), 6)
        )
        # Boxes fill the height, and leave half of the width to arcs.
        step = BOX_HEIGHT + 3.0 if named else 1.0
        shrink = min(1.0, room[1] / (step * len(group)), 0.5 * room[0] / widths.max())
        scores = self.scores[group]
        reach = np.ptp(scores)
        share = (scores - scores.min()) / reach if reach else np.full(len(group), 0.5)
        half = step * shrink / 2
        wanted = half + share * (room[1] - 2 * half)
        y = spread_out(wanted, step * shrink, 0.0, room[1])
        ax.set(xlim=(0.0, room[0]), ylim=(0.0, room[1]))
        self.positions_[group] = np.column_stack([np.full(len(group), room[0] / 2), y])
        kept = apart(y, 1.15 * (FONT_SIZE - 1))
        texts = [_number(scores[k]) for k in kept]
        ax.set_yticks(y[kept], texts)
        self._draw_items(ax, group, shrink if named else None)
        sides = {i: 3.0 for i in group.tolist()}
        if named:
            sides = {i: box_side(ax, self.nodes_[i]) + 1.0 for i in group.tolist()}
        bulge = (0.98 * room[0] / 2 - max(sides.values())) / max(np.ptp(y), 1.0)

        def curve(i: int, j: int, side: int) -> Any:
            (x, top), (_, bottom) = self.positions_[[i, j]]
            starts = x + side * sides[i], x + side * sides[j]
            # A cubic reaches three quarters of the way to its control points.
            far = max(sides[i], sides[j]) + bulge * abs(top - bottom)
            out = (x + side * far) * 4 / 3 - sum(starts) / 6
            points = [(starts[0], top), (out, top), (out, bottom), (starts[1], bottom)]
            return Path(points, [Path.MOVETO] + [Path.CURVE4] * 3)

        self._draw_lines(ax, group, curve, both_sides=True)

    def _draw_items(self, ax: Axes, group: Any, shrink: float | None) -> None:
        if shrink is None:
            look: dict[str, Any] = {"s": 12, "color": "tab:blue", "zorder": 3}
            ax.scatter(*self.positions_[group].T, **look)
            return
        for i in group.tolist():
            x, y = self.positions_[i]
            self.nodes_[i] = draw_box(ax, x, y, self._name(i), shrink, _LONGEST)

    def _draw_circle(self, ax: Axes, group: NDArray[np.intp]) -> None:
        from matplotlib.path import Path

        unit = points_per_pixel(ax)
        room = np.array([unit * ax.bbox.width, unit * ax.bbox.height])
        names = [shortened(self._name(i), _LONGEST) for i in group]
        longest = 0.55 * FONT_SIZE * max(map(len, names)) + 8.0
        radius = max(room.min() / 2 - longest, room.min() / 5)
        size = min(FONT_SIZE, 2 * np.pi * radius / (1.15 * len(group)))
        named = size >= 4.0
        if not named:
            radius = 0.45 * room.min()
        turn = np.pi / 2 - 2 * np.pi * (np.arange(len(group)) + 0.5) / len(group)
        direction = np.column_stack([np.cos(turn), np.sin(turn)])
        self.positions_[group] = room / 2 + radius * direction
        ax.set(xlim=(0.0, room[0]), ylim=(0.0, room[1]))

        def curve(i: int, j: int, side: int) -> Any:
            ends = self.positions_[[i, j]]
            # Bent towards the centre, so that neighbours do not hide in the rim.
            middle = 0.5 * ends.mean(axis=0) + 0.5 * room / 2
            points = [ends[0], middle, ends[1]]
            return Path(points, [Path.MOVETO, Path.CURVE3, Path.CURVE3])

        self._draw_lines(ax, group, curve, both_sides=False)
        look: dict[str, Any] = {"s": 14, "color": "tab:blue", "zorder": 3}
        ax.scatter(*self.positions_[group].T, **look)
        if not named:
            return
        for i, name, angle, way in zip(group, names, turn, direction, strict=True):
            right = way[0] >= 0
            x, y = self.positions_[i] + 6.0 * way
            self.nodes_[int(i)] = ax.text(
                *(x, y, name),
                fontsize=size,
                rotation=np.degrees(angle) + (0.0 if right else 180.0),
                rotation_mode="anchor",
                ha="left" if right else "right",
                va="center",
            )


def _number(score: float) -> str:
    return f"{round(score, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
