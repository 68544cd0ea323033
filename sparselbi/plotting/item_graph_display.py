"""Which items are tied, and which are better than others, at one point of a path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from .._utils.optional import import_optional
from ._estimators import path_and_selection
from ._item_boxes import BOX_HEIGHT, apart, box_widths, close_legend, draw_box
from ._item_order import item_order
from ._layout import FONT_SIZE, label_points, points_per_pixel, settle, spread_out
from ._split_paths import (
    SPARSE,
    check_split_path,
    knot_title,
    named_knots,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..split_path import SplitPath

# With more items than this, they are dots without names.
_MOST_NAMES = 60
_TIE, _ARROW, _BAND = "0.55", "0.2", "0.95"
# In points: between boxes of a row, between rows of a level, and between levels.
_ACROSS, _ROWS, _LEVELS = 14.0, 12.0, 30.0


class ItemGraphDisplay:
    """Items in levels by their scores: ties within a level, arrows to the next one.

    Draw with `from_estimator` or `from_path`; the object that they return can `plot`
    again with other options.

    Parameters
    ----------
    path : SplitPath
        Whose D is a graph of its features, the items: each row the difference of two
        of them. Rows of single items tie them to zero.
    knot : float or Selection
        Which point of the path.
    output : int, default=None
        Which output (class), if there are several.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    scores_ : ndarray of shape (n_items,)
        Projected coefficients, on the scale of ``coef * coef_scale``.
    levels_ : list of ndarray of int
        Items with one score, the best level first; within a level by the dense
        coefficients.
    positions_ : ndarray of shape (n_items, 2)
        In units of the axes; points (1/72 inch) for levels.
    nodes_ : dict of int to Text
        The boxes of the items; empty where items are dots.
    dots_ : PathCollection or None
    ties_ : dict of (int, int) to artist
        Pairs i < j of items with an inactive row.
    arrows_ : dict of (int, int) to artist
        Pairs (better, worse) of items that an arrow, or line, connects.
    hidden_ties_ : dict of (int, int) to artist
        Pairs i < j with an active row that other rows tie all the same.

    Raises
    ------
    TypeError
        If `path` is not a path of Split LBI.
    ValueError
        If D is not a graph, or the knot is not on the path.

    See Also
    --------
    PiecesDisplay : Scores along the whole path.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import SplitLBI
    >>> from sparselbi.penalties.transforms import comparisons, with_identity
    >>> from sparselbi.plotting import ItemGraphDisplay
    >>> pairs = [(i, j) for i in range(6) for j in range(i)]
    >>> D = with_identity(comparisons(pairs))
    >>> rng = np.random.default_rng(0)
    >>> X, scores = rng.normal(size=(60, 6)), np.array([2.0, 2.0, 2.0, 0.0, 0.0, -1.0])
    >>> model = SplitLBI(D).fit(X, X @ scores + 0.1 * rng.normal(size=60))
    >>> display = ItemGraphDisplay.from_estimator(model)
    >>> sorted(display.levels_[0].tolist())
    [0, 1, 2]
    """

    ax_: Any
    figure_: Any
    scores_: NDArray[np.float64]
    levels_: list[NDArray[np.int64]]
    positions_: NDArray[np.float64]
    nodes_: dict[int, Any]
    dots_: Any
    ties_: dict[tuple[int, int], Any]
    arrows_: dict[tuple[int, int], Any]
    hidden_ties_: dict[tuple[int, int], Any]

    def __init__(
        self, path: SplitPath, knot: Any, *, output: int | None = None
    ) -> None:
        self.path = check_split_path(path)
        if not path.D.is_graph or path.D.kind == "identity":
            raise ValueError(
                f"D is of kind {path.D.kind!r}, whose rows do not compare two items; "
                "use ProfileDisplay.from_path(path), or path.split.plot() for the rows."
            )
        knots = named_knots(path, knot)
        if len(knots) > 1:
            raise ValueError(f"knot={knot!r} must be one value of t or one Selection.")
        ((self._name, self.knot),) = knots.items()
        self.output = self._checked_output(output)
        self._order = item_order(path, self.knot, self.output)
        self.scores_, self.levels_ = self._order.scores, self._order.levels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        output: int | None = None,
        ax: Any = None,
        **options: Any,
    ) -> ItemGraphDisplay:
        """Draw the items of a fitted estimator at the point that it reports.

        Parameters
        ----------
        estimator : fitted estimator with ``path_`` and ``selection_``
            Or a pipeline or a search that ends in one.
        output
            See `ItemGraphDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        ItemGraphDisplay
        """
        path, selection = path_and_selection(estimator)
        return cls.from_path(
            path,  # type: ignore[arg-type]  # checked in the constructor
            selection,
            output=output,
            ax=ax,
            **options,
        )

    @classmethod
    def from_path(
        cls,
        path: SplitPath,
        knot: Any,
        *,
        output: int | None = None,
        ax: Any = None,
        **options: Any,
    ) -> ItemGraphDisplay:
        """Draw the items at one point of a path.

        Parameters
        ----------
        path, knot, output
            See `ItemGraphDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        ItemGraphDisplay
        """
        return cls(path, knot, output=output).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        layout: str | ArrayLike = "levels",
        arrows: str = "reduced",
        names: bool | None = None,
    ) -> ItemGraphDisplay:
        """Draw the graph.

        Parameters
        ----------
        ax : matplotlib Axes or None
            None makes a figure.
        layout : {"levels", "network"} or array-like of shape (n_items, 2)
            "levels": heights are by score, as far as boxes leave room. "network": a
            spring layout in which ties pull, for graphs that are not rankings; needs
            networkx. Or positions, such as places on a map; colours then show scores.
        arrows : {"reduced", "all"}, default="reduced"
            Between levels: "reduced" draws those to the next level, and further ones
            only where no chain of arrows and ties implies them (of more than 2000
            levels, only the former).
        names : bool, default=None
            Whether items have their names, or are dots. None: up to 60 items.

        Returns
        -------
        ItemGraphDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or of the wrong shape.
        ImportError
            For "network" without networkx.
        """
        check_choice("arrows", arrows, ("reduced", "all"))
        if isinstance(layout, str):
            check_choice("layout", layout, ("levels", "network"))
        n_items = self.path.n_features
        self._named = n_items <= _MOST_NAMES if names is None else bool(names)
        self.nodes_, self.dots_ = {}, None
        is_levels = isinstance(layout, str) and layout == "levels"
        pairs = self._order.arrows(arrows == "reduced" and is_levels)
        self.arrows_ = dict.fromkeys(pairs)
        self.ties_ = dict.fromkeys(self._order.ties())
        self.hidden_ties_ = dict.fromkeys(self._order.hidden_ties())
        ax = self._draw_levels(ax) if is_levels else self._draw_network(ax, layout)
        title = knot_title(self.path, self._name, self.knot)
        ax.set_title(title, fontsize=FONT_SIZE + 1)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    # ------------------------------------------------------------------------- graph

    def _checked_output(self, output: int | None) -> int:
        outputs = self.path._outputs() or [None]
        if output is None and len(outputs) == 1:
            return 0
        if output is None or not 0 <= output < len(outputs):
            raise ValueError(
                f"output={output!r} must be an index below {len(outputs)}; the outputs "
                f"are {outputs}."
            )
        return int(output)

    # ------------------------------------------------------------------------ levels

    def _draw_levels(self, ax: Any) -> Axes:
        widths = self._box_widths()
        if ax is None:
            import matplotlib.pyplot as plt

            heights = self._rows(widths, 430.0)[1]
            needed = min(max(heights.sum() / 72 + 1.2, 3.0), 16.0)
            _, ax = plt.subplots(figsize=(7.5, needed), layout="constrained")
        values = [self.scores_[items[0]] for items in self.levels_]
        labels = [f"{value:.3g}".replace("-", "−") for value in values]
        ax.set_yticks(np.arange(len(values)), labels)
        ax.set_xticks([])
        ax.tick_params(axis="y", length=0, labelsize=FONT_SIZE)
        ax.set_ylabel("score")
        for side in ("top", "right", "bottom"):
            ax.spines[side].set_visible(False)
        self._draw_legend(ax)
        settle(ax)  # now distances on the page are known
        unit = points_per_pixel(ax)
        room = np.array([unit * ax.bbox.width, unit * ax.bbox.height])
        rows, heights = self._rows(widths, room[0])
        shrink = min(1.0, room[1] / heights.sum())
        # Heights by score, as far as levels keep apart.
        reach = np.ptp(values)
        share = (np.array(values) - min(values)) / reach if reach else np.array([0.5])
        wanted = heights[-1] / 2 + share * (room[1] - (heights[0] + heights[-1]) / 2)
        centers = spread_out(wanted, heights * shrink, 0.0, room[1])
        ax.set(xlim=(0.0, room[0]), ylim=(0.0, room[1]))
        written = apart(centers, 1.2 * FONT_SIZE)
        ax.set_yticks(centers[written], [labels[k] for k in written])
        self.positions_ = np.empty((self.path.n_features, 2))
        step = (self._box_height() + _ROWS) * shrink
        for center, lines in zip(centers, rows, strict=True):
            heights_of_rows = center + step * (
                (len(lines) - 1) / 2 - np.arange(len(lines))
            )
            for y, items in zip(heights_of_rows, lines, strict=True):
                own = widths[items] + _ACROSS
                left = (room[0] - own.sum()) / 2
                self.positions_[items, 0] = left + np.cumsum(own) - own / 2
                self.positions_[items, 1] = y
        self._draw_bands(ax, rows, widths, shrink)
        self._draw_nodes(ax, shrink)
        self._draw_ties(ax, widths, shrink)
        self._draw_arrows(ax, shrink)
        return ax

    def _box_widths(self) -> NDArray[np.float64]:
        if not self._named:
            return np.full(self.path.n_features, 0.0)
        return box_widths(self.path._name(j) for j in range(self.path.n_features))

    def _box_height(self) -> float:
        return BOX_HEIGHT if self._named else 6.0

    def _rows(self, widths: Any, room: float) -> tuple[list[Any], NDArray[np.float64]]:
        """Items of each row of each level, and the heights of the levels in points."""
        rows = []
        for items in self.levels_:
            total = float((widths[items] + _ACROSS).sum())
            n_rows = int(np.ceil(total / max(room - 2 * _ACROSS, 1.0)))
            ends = np.cumsum(widths[items] + _ACROSS)
            row = np.minimum((ends - 1e-9) * n_rows / total, n_rows - 1).astype(int)
            rows.append([items[row == r] for r in range(n_rows) if (row == r).any()])
        step = self._box_height() + _ROWS
        return rows, np.array([step * len(lines) - _ROWS + _LEVELS for lines in rows])

    def _draw_bands(self, ax: Axes, rows: Any, widths: Any, shrink: float) -> None:
        """A field behind the items of each level that has several."""
        from matplotlib.patches import FancyBboxPatch

        for lines in rows:
            items = np.concatenate(lines)
            if len(items) == 1:
                continue
            x, y = self.positions_[items].T
            low, high = (x - widths[items] / 2).min(), (x + widths[items] / 2).max()
            half = shrink * self._box_height() / 2
            pad = 6.0 * shrink
            corner = (low - pad, y.min() - half - pad)
            size = high - low + 2 * pad, y.max() - y.min() + 2 * (half + pad)
            style = f"round,pad=0,rounding_size={pad}"
            look = {"fc": _BAND, "ec": "0.8", "lw": 0.8, "zorder": 0.5}
            ax.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, **look))

    def _draw_nodes(self, ax: Axes, shrink: float) -> None:
        if not self._named:
            self.dots_ = ax.scatter(
                *self.positions_.T, s=16 * shrink**2, color="tab:blue", zorder=3
            )
            return
        for j, (x, y) in enumerate(self.positions_):
            self.nodes_[j] = draw_box(ax, x, y, self.path._name(j), shrink)

    def _draw_ties(self, ax: Axes, widths: Any, shrink: float) -> None:
        if not self._named:
            self._draw_straight(ax, self.ties_, colors=_TIE, alpha=0.5, zorder=1)
            look: dict[str, Any] = {"colors": SPARSE, "alpha": 0.5, "zorder": 1.2}
            self._draw_straight(ax, self.hidden_ties_, linestyles=":", **look)
            return
        for i, j in self.ties_:
            look = {"color": _TIE, "lw": 0.8, "zorder": 1.0}
            self.ties_[i, j] = ax.add_patch(self._tie(i, j, widths, shrink, look))
        for i, j in self.hidden_ties_:
            look = {"color": SPARSE, "lw": 1.0, "ls": (0, (3, 2)), "zorder": 1.2}
            line = self._tie(i, j, widths, shrink, look)
            self.hidden_ties_[i, j] = ax.add_patch(line)

    def _tie(self, i: int, j: int, widths: Any, shrink: float, look: Any) -> Any:
        """A line between boxes of a level, in a bow over those that are between."""
        a, b = (i, j) if self.positions_[i, 0] <= self.positions_[j, 0] else (j, i)
        start, end = self.positions_[a].copy(), self.positions_[b].copy()
        bend = 0.0
        if start[1] == end[1]:
            distance = end[0] - start[0] - (widths[a] + widths[b]) / 2
            if distance > _ACROSS + 1e-6:
                height = (self._box_height() / 2 + 3.0) * shrink
                bend = -min(0.8, 2.0 * height / (end[0] - start[0]))
            else:
                start[0] += widths[a] / 2
                end[0] -= widths[b] / 2
        return _line(start, end, arrowstyle="-", bend=bend, **look)

    def _draw_straight(self, ax: Axes, found: dict[Any, Any], **look: Any) -> None:
        """All pairs of `found` as one collection of thin lines."""
        from matplotlib.collections import LineCollection

        segments = [self.positions_[list(pair)] for pair in found]
        lines = ax.add_collection(LineCollection(segments, linewidths=0.5, **look))
        found.update(dict.fromkeys(found, lines))

    def _draw_arrows(self, ax: Axes, shrink: float) -> None:
        if not self._named:
            self._draw_straight(ax, self.arrows_, colors=_ARROW, alpha=0.5, zorder=2)
            return
        half = np.array([0.0, shrink * (self._box_height() / 2 - 1.0)])
        for i, j in self.arrows_:
            far = self._order.level[j] - self._order.level[i] > 1
            arrow = _line(
                self.positions_[i] - half,
                self.positions_[j] + half,
                arrowstyle="-|>",
                bend=0.25 if far else 0.0,
                color=_ARROW,
                lw=0.8,
                zorder=2.0,
            )
            self.arrows_[i, j] = ax.add_patch(arrow)

    def _draw_legend(self, ax: Axes) -> None:
        from matplotlib.lines import Line2D

        handles = []
        if self.arrows_:
            arrow = {"marker": "v", "ms": 4, "markevery": [1]} if self._named else {}
            look: Any = {"color": _ARROW, "lw": 0.8, **arrow}
            handles.append(Line2D([], [], label="differ", **look))
        if self.ties_:
            handles.append(Line2D([], [], color=_TIE, lw=0.8, label="tied"))
        if self.hidden_ties_:
            look = {"color": SPARSE, "lw": 1.0, "ls": (0, (3, 2))}
            handles.append(Line2D([], [], label="differ, but others tie them", **look))
        close_legend(ax, handles)

    # ----------------------------------------------------------------------- network

    def _draw_network(self, ax: Any, layout: Any) -> Axes:
        n_items = self.path.n_features
        self.positions_ = (
            self._spring() if isinstance(layout, str) else np.array(layout)
        )
        if self.positions_.shape != (n_items, 2):
            raise ValueError(
                f"layout has shape {self.positions_.shape}; positions of the {n_items} "
                f"items need the shape ({n_items}, 2)."
            )
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(7.5, 6.0), layout="constrained")
        self._draw_straight(ax, self.arrows_, colors="0.7", linestyles=":", zorder=1)
        self._draw_straight(ax, self.hidden_ties_, colors=SPARSE, zorder=1)
        self._draw_straight(ax, self.ties_, colors="0.35", zorder=1.2)
        reach = float(np.abs(self.scores_).max()) or self._order.size
        look = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach, "edgecolors": "0.3"}
        size = float(np.clip(4000 / n_items, 8, 70))
        self.dots_ = ax.scatter(
            *self.positions_.T, c=self.scores_, s=size, linewidths=0.6, zorder=2, **look
        )
        ax.set(xticks=[], yticks=[], aspect="equal")
        ax.margins(0.08)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.figure.colorbar(self.dots_, ax=ax, shrink=0.7, label="score")
        from matplotlib.lines import Line2D

        styles = (
            (self.ties_, "0.35", "-", "tied"),
            (self.arrows_, "0.6", ":", "differ"),
            (self.hidden_ties_, SPARSE, "-", "differ, but others tie them"),
        )
        handles = [
            Line2D([], [], color=color, ls=style, lw=0.8, label=label)
            for found, color, style, label in styles
            if found
        ]
        close_legend(ax, handles)
        if self._named:
            settle(ax)
            points = [
                (self.path._name(j), tuple(self.positions_[j]), "0.1")
                for j in np.argsort(-self.positions_[:, 1], kind="stable").tolist()
            ]
            label_points(ax, points)
        return ax

    def _spring(self) -> NDArray[np.float64]:
        networkx = import_optional("networkx", "graphs")
        graph = networkx.Graph()
        graph.add_nodes_from(range(self.path.n_features))
        graph.add_weighted_edges_from(
            (i, j, 0.3 if differs else 2.0)
            for (i, j), differs in self._order.edges.items()
        )
        found: Mapping[int, Any] = networkx.spring_layout(graph, seed=0, iterations=200)
        return np.array([found[j] for j in range(self.path.n_features)])


def _line(start: Any, end: Any, *, arrowstyle: str, bend: float, **look: Any) -> Any:
    from matplotlib.patches import FancyArrowPatch

    return FancyArrowPatch(
        tuple(start),
        tuple(end),
        arrowstyle=arrowstyle,
        connectionstyle=f"arc3,rad={bend:.4f}",
        mutation_scale=9,
        shrinkA=0,
        shrinkB=0,
        **look,
    )
