"""Items from best to worst, with intervals of their scores or ranks."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from .._path_checks import check_choice
from ._item_boxes import columns
from ._layout import FONT_SIZE, points_per_pixel, settle, shortened, spread_out
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
    below each other, the largest first, with a line in between.

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
        self._order = self._ordered()
        self._values = self.scores if kind == "scores" else self._ranks()

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
        If the estimator has no ``score_cov_`` (very many items; votes left out of the
        fit), points without intervals are drawn, and the title says so.
        """
        check_choice("kind", kind, _KINDS)
        ranker = fitted_ranker(estimator)
        table, note = ranker.ranking_, "no intervals (score_intervals says why)"
        if has_intervals := ranker.score_cov_ is not None:
            intervals = getattr(ranker, f"{kind[:-1]}_intervals")
            table, note = intervals(level=level), ""
        display = cls(
            table["score"],
            table["low"] if has_intervals else None,
            table["high"] if has_intervals else None,
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
        width = 7.0 if len(stacks) == 1 else 3.3 * len(stacks)
        axes = columns(ax, [1.0] * len(stacks), (width, float(height)))
        self.points_, self.intervals_, self.named_ = [], [], []
        limits = self._limits()
        for panel, stack in zip(axes, stacks, strict=True):
            panel.set(xlim=limits, ylim=(length - 0.4, -0.6))
            self._draw(panel, stack)
            panel.set_xlabel(self._label())
        title = "; ".join(part for part in (*left_out, self.note) if part)
        axes[0].set_title(title, fontsize=FONT_SIZE, loc="left")
        settle(axes[0])
        for panel, stack in zip(axes, stacks, strict=True):
            self._write(panel, stack, length, names)
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    # -- what is drawn ---------------------------------------------------------------

    def _ordered(self) -> list[NDArray[np.intp]]:
        """Items of each component, the best first; large components first."""
        _, code, size = np.unique(
            self.components, return_inverse=True, return_counts=True
        )
        order = np.lexsort((np.arange(len(code)), -self.scores, code, -size[code]))
        ends = np.flatnonzero(np.diff(code[order])) + 1
        return np.split(order.astype(np.intp), ends)

    def _ranks(self) -> NDArray[np.float64]:
        ranks = np.empty(len(self.scores))
        for group in self._order:
            ranks[group] = rankdata(-self.scores[group], method="min")
        return ranks

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
        if items is None and len(_columns(groups)) > _MOST_COLUMNS:
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
        found = _columns(self.groups_)
        short = all(len(group) <= _MOST_ROWS for group in self.groups_)
        if short and len(found) <= _MOST_COLUMNS:
            return found
        return [list(range(len(self.groups_)))]

    def _place(self, stacks: list[list[int]]) -> int:
        """Set `rows_`; the number of rows of the longest column."""
        self.rows_ = np.full(len(self.scores), np.nan)
        most = max(sum(len(self.groups_[k]) for k in stack) for stack in stacks)
        self._head = 0
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
            ax.axvline(0.0, color="0.6", lw=0.8, zorder=0.5)
        known = np.isfinite(self.low[items]) & np.isfinite(self.high[items])
        ends = np.stack([self.low[items], self.high[items]], axis=1)[known]
        heights = np.repeat(rows[known, None], 2, axis=1)
        look: dict[str, Any] = {"colors": _COLOR, "alpha": 0.45 if thin else 0.7}
        look |= {"linewidths": 1.0 if thin else 1.6, "zorder": 1.5}
        look["rasterized"] = len(items) > 5000
        lines = LineCollection(np.stack([ends, heights], axis=2), **look)
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
        group = self.groups_[k]
        number, top, size = self.components[group[0]], self.rows_[group[0]], len(group)
        if not is_first:
            ax.axhline(top - self._head - 0.2, color=_BREAK, lw=1.2)
        ax.annotate(
            f"component {number}: {size} item{'' if size == 1 else 's'}",
            xy=(0.0, top - 0.5),
            xycoords=ax.get_yaxis_transform(),
            xytext=(3.0, 1.0),
            textcoords="offset points",
            fontsize=FONT_SIZE - 1,
            color="0.35",
            va="bottom",
        )

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
        longest = _LONGEST if length > _MOST_ROWS else 30
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


def _columns(groups: Sequence[NDArray[Any]]) -> list[list[int]]:
    """Groups in as many columns as are needed, about evenly."""
    head = _HEAD if len(groups) > 1 else 0
    sizes = np.array([len(group) + head for group in groups])
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    for n_columns in range(math.ceil(sizes.sum() / _MOST_ROWS), len(groups) + 1):
        column = (middle * n_columns).astype(int)
        if np.bincount(column, sizes).max() <= _MOST_ROWS:
            return [np.flatnonzero(column == c).tolist() for c in np.unique(column)]
    return [[k] for k in range(len(groups))]
