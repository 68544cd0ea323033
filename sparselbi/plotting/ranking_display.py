"""Items from best to worst, with intervals of their scores or ranks."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ._item_boxes import columns, fit_lines, write_title
from ._layout import (
    FONT_SIZE,
    points_per_pixel,
    settle,
    shortened,
    spread_out,
    text_box,
)
from ._rankers import fitted_ranker, item_codes, item_labels, vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = ("scores", "ranks")
_COLOR, _GUIDE, _BREAK = "tab:blue", "0.87", "0.55"
# A column has so many rows, or names of some items only.
_MOST_ROWS = 60
_MOST_COLUMNS = 5
# Components that are drawn if one of them does not fit into a column.
_MOST_GROUPS = 12
# So many names in a column of more rows, two thirds of them of the best items.
_SOME_NAMES = 30
# Rows above each of several components, for a line and its name.
_HEAD = 2
# Letters of a name beside a long column.
_LONGEST = 40


class RankingDisplay:
    """Items from best to worst: scores with intervals, or intervals of ranks.

    Scores of different components of the comparison graph cannot be compared; these are
    below each other, the largest first, with a line in between, or in columns.

    Draw with `from_estimator`, or from arrays with ``RankingDisplay(...).plot()``.

    Parameters
    ----------
    scores : array-like of shape (n_items,)
        With sum 0 in every component.
    low, high : array-like of shape (n_items,), default=None
        Ends of the intervals, of scores or of ranks (1: best of its component). None,
        or NaN: no intervals.
    items : array-like of shape (n_items,), default=None
        Labels; None: numbers.
    components : array-like of int of shape (n_items,), default=None
        Component of each item. None: there is one.
    kind : {"scores", "ranks"}, default="scores"
        What low and high are intervals of, and what is drawn.
    level : float, default=None
        Of the intervals, for the name of the axis.
    note : str, default=""
        For the title, such as why there are no intervals.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for each column.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    groups_ : list of ndarray of int
        Drawn items (indices) of each component, the best first.
    rows_ : ndarray of shape (n_items,)
        Height of each item in its column, downwards; NaN: not drawn.
    points_ : list of PathCollection
        One for each column.
    intervals_ : list of LineCollection
        One for each column.
    named_ : list of int
        Items with a name.

    Raises
    ------
    ValueError
        If shapes differ, scores are not finite, or an interval has its ends the wrong
        way round.

    See Also
    --------
    ComparisonGraphDisplay : Which items are compared, and which votes are distrusted.

    Examples
    --------
    >>> from sparselbi.plotting import RankingDisplay
    >>> scores, error = [0.2, 1.1, -1.3], [0.3, 0.4, 0.3]
    >>> low = [score - e for score, e in zip(scores, error)]
    >>> high = [score + e for score, e in zip(scores, error)]
    >>> display = RankingDisplay(scores, low, high, items=["ash", "oak", "fir"]).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['oak', 'ash', 'fir']
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    groups_: list[NDArray[np.intp]]
    rows_: NDArray[np.float64]
    points_: list[Any]
    intervals_: list[Any]
    named_: list[int]
    _heads: dict[int, Any]

    def __init__(
        self,
        scores: ArrayLike,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        *,
        items: ArrayLike | None = None,
        components: ArrayLike | None = None,
        kind: str = "scores",
        level: float | None = None,
        note: str = "",
    ) -> None:
        check_choice("kind", kind, _KINDS)
        self.scores = np.asarray(scores, dtype=np.float64)
        if self.scores.ndim != 1 or not np.isfinite(self.scores).all():
            raise ValueError(
                f"scores has shape {self.scores.shape} and must be finite numbers of "
                "shape (n_items,), one for each item."
            )
        n = len(self.scores)
        if (low is None) != (high is None):
            raise ValueError("give both low and high, or none of them.")
        self.low, self.high = (
            np.full(n, np.nan) if end is None else vector(name, end, n, "item")
            for name, end in (("low", low), ("high", high))
        )
        crossed = np.flatnonzero(self.low > self.high)
        if len(crossed):
            i = crossed[0]
            raise ValueError(
                f"low[{i}]={self.low[i]:.6g} is above high[{i}]={self.high[i]:.6g}."
            )
        self.items = item_labels(items, n)
        self.components = (
            np.zeros(n, dtype=np.intp)
            if components is None
            else vector("components", components, n, "item", None)
        )
        self.kind, self.level, self.note = kind, level, note
        self._order, ranks = self._ordered()
        self._values = self.scores if kind == "scores" else ranks

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: str = "scores",
        level: float = 0.95,
        ax: Any = None,
        **options: Any,
    ) -> RankingDisplay:
        """Draw the ranking of a fitted estimator.

        Parameters
        ----------
        estimator : fitted PairwiseRanker
        kind : {"scores", "ranks"}, default="scores"
            "scores": with intervals of `estimator.score_intervals`, one for each item.
            "ranks": ranks, with those of `estimator.rank_intervals`.
        level : float, default=0.95
            Of the intervals.
        ax, **options
            See `plot`.

        Returns
        -------
        RankingDisplay

        Notes
        -----
        Items are ranked together as in ``ranking_``: in components, or, with features,
        all of them. If the estimator has no intervals (very many items; votes left out
        of the fit), points without intervals are drawn, and the title says so.
        """
        check_choice("kind", kind, _KINDS)
        ranker = fitted_ranker(estimator)
        table, note = ranker.ranking_, "no intervals (score_intervals says why)"
        ends: list[Any] = [None, None]
        try:
            ranker.score_intervals()
        except ValueError:  # and its TooWide
            pass
        else:
            found = getattr(ranker, f"{kind[:-1]}_intervals")(level=level)
            found = found.set_index("item").loc[table["item"]]
            ends, note = [found["low"], found["high"]], ""
        display = cls(
            table["score"],
            *ends,
            items=table["item"],
            components=table["component"],
            kind=kind,
            level=level,
            note=note,
        )
        return display.plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        items: ArrayLike | None = None,
        top: int | None = None,
        names: Any = None,
    ) -> RankingDisplay:
        """Draw the items.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. For several columns a single Axes is divided.
        items : array-like of labels, default=None
            Which items are drawn. None: all of them; of more than 12 components that do
            not fit on a page, the largest.
        top : int, default=None
            Draw so many items of each component, the best ones. None: all.
        names : int or array-like of labels, default=None
            Which items have names, in columns of more than 60 rows: so many, two thirds
            of them best and one third worst items, or these. None: 30. In shorter
            columns all have names.

        Returns
        -------
        RankingDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If `items` or `names` has unknown labels, or `top` is below 1.
        """
        if top is not None and operator.index(top) < 1:
            raise ValueError(f"top={top!r} must be at least 1, or None for all items.")
        if isinstance(names, (int, np.integer)) and names < 0:
            raise ValueError(f"names={names!r} must be at least 0, or labels of items.")
        left_out = self._choose(items, top)
        stacks = self._stacked()
        length = self._place(stacks)
        height = np.clip(1.0 + 0.185 * length, 2.2, 10.0)
        width = 7.0 if len(stacks) == 1 else min(3.3 * len(stacks), 14.0)
        axes = columns(ax, [1.0] * len(stacks), (width, float(height)))
        self.points_, self.intervals_, self.named_ = [], [], []
        limits = self._limits()
        for panel, stack in zip(axes, stacks, strict=True):
            panel.set(xlim=limits, ylim=(length - 0.4, -0.6))
            self._draw(panel, stack)
        rows = _rows_of(axes)
        # In the middle below all columns (the right edge of one, if they are even).
        labels = [
            row[(len(row) - 1) // 2].set_xlabel(self._label(), x=1 - len(row) % 2 / 2)
            for row in rows
        ]
        title = "; ".join(part for part in (*left_out, self.note) if part)
        axes[0].set_title(title[:1], fontsize=FONT_SIZE, loc="left")  # its height
        settle(axes[0])
        for panel, stack in zip(axes, stacks, strict=True):
            self._write(panel, stack, length, names)
        settle(axes[0])  # names need room
        write_title(axes, title)
        for label, row in zip(labels, rows, strict=True):
            fit_lines(label, row[-1].bbox.x1 - row[0].bbox.x0)
        settle(axes[0])
        for panel, stack, points in zip(axes, stacks, self.points_, strict=True):
            self._fit(panel, stack, points, length)
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    # -- what is drawn ---------------------------------------------------------------

    def _ordered(self) -> tuple[list[NDArray[np.intp]], NDArray[np.float64]]:
        """Items of each component, the best first, large components first; ranks."""
        from ..estimators._rank_intervals import rank_frame

        code = np.unique(self.components, return_inverse=True)[1]
        item = np.arange(len(code))
        table = rank_frame(item, code, self.scores, self.low, self.high, code)
        order = table["item"].to_numpy(dtype=np.intp)
        ranks = np.empty(len(order))
        ranks[order] = table["rank"]
        ends = np.flatnonzero(np.diff(table["component"])) + 1
        return np.split(order, ends), ranks

    def _choose(self, items: Any, top: int | None) -> list[str]:
        """Set `groups_`; what is left out, in words."""
        groups = self._order
        if items is None:
            # Nobody is compared with the only item of a component.
            groups = [g for g in groups if len(g) > 1] or groups
        else:
            kept = np.zeros(len(self.scores), dtype=bool)
            kept[item_codes("items", items, self.items)] = True
            groups = [g[kept[g]] for g in groups if kept[g].any()]
        n_groups = len(groups)
        if top is not None:
            groups = [g[:top] for g in groups]
        if items is None and _columns(groups) is None:
            groups = groups[:_MOST_GROUPS]
        self.groups_ = groups
        drawn, n = sum(map(len, groups)), len(self.scores)
        left_out = []
        if drawn < n:
            best = (
                f", the best {top} of each component"
                if len(groups) > 1
                else ", the best"
            )
            left_out.append(f"{drawn} of {n:,} items{best if top is not None else ''}")
        if len(groups) < n_groups:
            left_out.append(f"the {len(groups)} largest of {n_groups:,} components")
        return left_out

    def _stacked(self) -> list[list[int]]:
        """Groups of each column."""
        return _columns(self.groups_) or [list(range(len(self.groups_)))]

    def _place(self, stacks: list[list[int]]) -> int:
        """Set `rows_`; the number of rows of the longest column."""
        self.rows_ = np.full(len(self.scores), np.nan)
        most = max(sum(len(self.groups_[k]) for k in stack) for stack in stacks)
        self._head, self._heads = 0, {}
        if len(self.groups_) > 1:  # a name needs about 1 / 45 of the height
            self._head = max(_HEAD, math.ceil(most / 45))
        lengths = []
        for stack in stacks:
            row = 0
            for k in stack:
                row += self._head
                self.rows_[self.groups_[k]] = row + np.arange(len(self.groups_[k]))
                row += len(self.groups_[k])
            lengths.append(row)
        return max(lengths)

    def _limits(self) -> tuple[float, float]:
        drawn = np.concatenate(self.groups_)
        ends = np.r_[self._values[drawn], self.low[drawn], self.high[drawn]]
        ends = ends[np.isfinite(ends)]
        low, high = ends.min(), ends.max()
        margin = 0.04 * (high - low) or 1.0
        return low - margin, high + margin

    def _label(self) -> str:
        name = "score" if self.kind == "scores" else "rank (1: best)"
        if len(self._order) > 1:
            name += " within the component"
        if np.isnan(self.low).all():
            return name
        level = "" if self.level is None else f"{100 * self.level:g} % "
        return f"{name}, {level}interval"

    # -- drawing ---------------------------------------------------------------------

    def _draw(self, ax: Axes, stack: list[int]) -> None:
        from matplotlib.collections import LineCollection

        items = np.concatenate([self.groups_[k] for k in stack])
        values, rows = self._values[items], self.rows_[items]
        thin = len(items) > _MOST_ROWS
        if self.kind == "scores":
            tops = [self.rows_[self.groups_[k][0]] for k in stack]
            ends = [self.rows_[self.groups_[k][-1]] for k in stack[:-1]]
            look: dict[str, Any] = {"colors": "0.6", "lw": 0.8, "zorder": 0.5}
            # From the first row of each component on, and down to the axis.
            ax.vlines(np.zeros(len(tops)), tops, [*ends, ax.get_ylim()[0]], **look)
        known = np.isfinite(self.low[items]) & np.isfinite(self.high[items])
        intervals = np.stack([self.low[items], self.high[items]], axis=1)[known]
        heights = np.repeat(rows[known, None], 2, axis=1)
        look = {"colors": _COLOR, "alpha": 0.45 if thin else 0.7}
        look |= {"linewidths": 1.0 if thin else 1.6, "zorder": 1.5}
        look["rasterized"] = len(items) > 5000
        lines = LineCollection(np.stack([intervals, heights], axis=2), **look)
        self.intervals_.append(ax.add_collection(lines))
        look = {"color": _COLOR, "s": 7 if thin else 22, "lw": 0, "zorder": 2}
        look["rasterized"] = len(items) > 5000
        self.points_.append(ax.scatter(values, rows, **look))
        if len(self.groups_) > 1:
            for place, k in enumerate(stack):
                self._draw_break(ax, k, is_first=place == 0)
        ax.tick_params(axis="y", length=0)
        ax.set_yticks([])
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)

    def _draw_break(self, ax: Axes, k: int, *, is_first: bool) -> None:
        """The name of a group above it, and a line between it and the one before."""
        from matplotlib.patheffects import withStroke

        top = self.rows_[self.groups_[k][0]]
        if not is_first:
            ax.axhline(top - self._head - 0.2, color=_BREAK, lw=1.2)
        text = ax.annotate(
            self._component_names(k)[0],
            xy=(0.0, top - 0.5),
            xycoords=ax.get_yaxis_transform(),
            xytext=(3.0, 1.0),
            textcoords="offset points",
            fontsize=FONT_SIZE - 1,
            color="0.35",
            va="bottom",
            path_effects=[withStroke(linewidth=2, foreground="w")],
        )
        text.set_in_layout(False)
        self._heads[k] = text

    def _component_names(self, k: int) -> list[str]:
        """From long to short."""
        group = self.groups_[k]
        number, size = self.components[group[0]], len(group)
        items = f"{size} item{'' if size == 1 else 's'}"
        return [f"component {number}: {items}", f"component {number}", f"{number}"]

    def _fit(self, ax: Axes, stack: list[int], points: Any, length: int) -> None:
        """Sizes of what is in rows and columns, which are final."""
        width, height = points_per_pixel(ax) * ax.bbox.size
        row = height / length
        _set_ticks(ax, int(np.clip(width / 15, 1, 7)))
        for label in ax.get_yticklabels():
            label.set_fontsize(min(label.get_fontsize(), row / 1.15))
        points.set_sizes(np.minimum(points.get_sizes(), max(0.4 * row, 2.0) ** 2))
        for k in stack if self._heads else ():
            text, room = self._heads[k], 0.75 * self._head * row
            text.set_fontsize(min(text.get_fontsize(), room))
            for name in self._component_names(k):
                text.set_text(name)
                if text_box(text).x1 <= ax.bbox.x1:
                    break

    def _write(self, ax: Axes, stack: list[int], length: int, names: Any) -> None:
        """Names beside rows, with lines to rows where there is not room for all."""
        wanted = np.concatenate([self.groups_[k] for k in stack])
        height = points_per_pixel(ax) * ax.bbox.height
        if length > _MOST_ROWS:
            wanted = self._some(stack, names)
        self.named_ += wanted.tolist()
        if not len(wanted):
            return
        rows = self.rows_[wanted]
        longest = _LONGEST
        if length <= _MOST_ROWS:  # at most about 2/3 of the column
            room = points_per_pixel(ax) * ax.bbox.width
            longest = int(np.clip(1.1 * room / FONT_SIZE, 6, 30))
        labels = [shortened(str(self.items[i]), longest) for i in wanted.tolist()]
        if length <= _MOST_ROWS:
            size = min(FONT_SIZE, height / (1.15 * length))
            ax.set_yticks(rows, labels, fontsize=size)
            for row in rows:
                ax.axhline(row, color=_GUIDE, lw=0.6, zorder=0.2)
            return
        size = min(FONT_SIZE - 1, height / (1.2 * len(wanted)))
        low, high = ax.get_ylim()  # rows count downwards
        share = (rows - low) / (high - low)
        starts = np.fmin(self._values[wanted], self.low[wanted])
        ax.hlines(rows, ax.get_xlim()[0], starts, color=_GUIDE, lw=0.5, zorder=0.2)
        places = spread_out(share * height, 1.2 * size, 0.0, height) / height
        for row, label, place in zip(rows, labels, places, strict=True):
            self._write_beside(ax, row, label, place, size)

    def _write_beside(
        self, ax: Axes, row: float, label: str, place: float, size: float
    ) -> None:
        from matplotlib.transforms import offset_copy

        ax.annotate(
            label,
            xy=(0.0, row),
            xycoords=ax.get_yaxis_transform(),
            xytext=(0.0, place),
            textcoords=offset_copy(ax.transAxes, ax.figure, x=-18.0, units="points"),
            fontsize=size,
            ha="right",
            va="center",
            annotation_clip=False,
            arrowprops={
                **{"arrowstyle": "-", "color": "0.6", "lw": 0.6},
                **{"relpos": (1, 0.5), "shrinkA": 1, "shrinkB": 0},
            },
        )

    def _some(self, stack: list[int], names: Any) -> NDArray[np.intp]:
        """Items with a name, where not all of them have one, from the top down."""
        groups = [self.groups_[k] for k in stack]
        items = np.concatenate(groups)
        if names is not None and not isinstance(names, (int, np.integer)):
            asked = item_codes("names", names, self.items)
            return items[np.isin(items, asked)]
        count = _SOME_NAMES if names is None else int(names)
        share = max(count // len(groups), min(count, 1))
        best = math.ceil(2 * share / 3)
        chosen = []
        for group in groups:
            last = max(len(group) - (share - best), min(best, len(group)))
            chosen.append(np.r_[group[:best], group[last:]])
        return np.concatenate(chosen)


def _columns(groups: Sequence[NDArray[Any]]) -> list[list[int]] | None:
    """Groups in columns, the fewest of those with the fewest holes; None: too long."""
    head = _HEAD if len(groups) > 1 else 0
    sizes = np.array([len(group) + head for group in groups])
    fewest = math.ceil(sizes.sum() / _MOST_ROWS)
    found = []
    for n_columns in range(fewest, min(len(groups), _MOST_COLUMNS) + 1):
        stacks = _evenly(sizes, n_columns)
        length = max(sizes[stack].sum() for stack in stacks)
        if length <= _MOST_ROWS:
            holes = 1 - sizes.sum() / (n_columns * length)
            found.append((round(10 * holes), n_columns, stacks))
    return min(found)[2] if found else None


def _evenly(sizes: NDArray[np.intp], n_runs: int) -> list[list[int]]:
    """Runs of about the same sum (least squares), of equal ones the long ones first."""
    ends = np.append(0, np.cumsum(sizes)).astype(np.float64)
    sums = ends - ends[:, None]
    squares = np.where(sums > 0, sums**2, np.inf)  # of a run from row to column
    cost, starts = squares[0], []
    for _ in range(n_runs - 1):
        total = cost[:, None] + squares
        starts.append(len(ends) - 1 - total[::-1].argmin(axis=0))
        cost = total.min(axis=0)
    cuts = [len(sizes)]
    for start in starts[::-1]:
        cuts.append(int(start[cuts[-1]]))
    cuts = [0, *cuts[::-1]]
    return [list(range(*cut)) for cut in zip(cuts[:-1], cuts[1:], strict=True)]


def _rows_of(axes: list[Axes]) -> list[list[Axes]]:
    """Axes that are beside each other have one label; others one each."""
    low = [panel.get_position().y0 for panel in axes]
    return [axes] if np.ptp(low) < 1e-6 else [[panel] for panel in axes]


def _set_ticks(ax: Axes, most: int) -> None:
    """Up to so many intervals between ticks, if there is room for their labels."""
    from matplotlib.ticker import MaxNLocator

    for number in range(most, 0, -1):
        locator = MaxNLocator(number, steps=[1, 2, 5, 10], min_n_ticks=1)
        ax.xaxis.set_major_locator(locator)
        boxes = [text_box(label) for label in ax.get_xticklabels()]
        ends = sorted((box.x0, box.x1) for box in boxes)
        if all(left[1] + 3 < right[0] for left, right in pairwise(ends)):
            return
