"""How the selection of rows changes with the coupling nu."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ._layout import (
    COLORS,
    label_ends,
    legend_below,
    panels,
    points_per_pixel,
    set_log_axis,
    settle,
    shortened,
)
from ._points import check_selections, rule_name
from ._split_paths import (
    SPARSE,
    check_split_path,
    hide_inner_labels,
    n_pieces,
    set_log_heights,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..problem import Problem
    from ..selection import Selection
    from ..split_path import SplitPath

_LABELS = {"time": "entry time, t / t0", "order": "order of entry"}
# Rows with names beside their lines.
_MOST_NAMES = 12


class NuDisplay:
    """When the rows of D enter, for a grid of nu; what is chosen, and how well.

    Draw with `from_paths` or `from_data`; the object that they return can `plot` again
    with other options.

    Parameters
    ----------
    paths : sequence of SplitPath
        Of the same D and different nu, in any order.
    selections : sequence of Selection, default=None
        One of each path.
    truth : array-like of shape ``coef_shape``, or bool of shape (n_rows,), default=None
        True coefficients, or the true rows.
    irr : array-like of shape (n_paths,), default=None
        Values of the irrepresentable condition, one for each path.

    Attributes
    ----------
    nus_ : ndarray of shape (n_paths,), ascending
    entries_ : ndarray of shape (n_paths, n_rows)
        Entry times over the t0 of the path; NaN for rows that never enter, 0 for free
        ones.
    order_ : ndarray of shape (n_paths, n_rows)
        Places in the order of entry, from 1; ties share their mean place.
    rows_ : ndarray of int
        The rows that are drawn, by their median entry time.
    counts_ : ndarray of int of shape (n_paths,) or None
        Pieces (of graphs) or active rows at the selections.
    auc_ : ndarray of shape (n_paths,) or None
        Probability that a true row enters before another one; with `truth`.
    lines_ : dict of int to Line2D
        Entry times or places of rows. Empty for the heat map.
    mesh_ : QuadMesh or None
        The heat map.
    curves_ : dict of str to Line2D
        "chosen" in the first panel, and "count", "auc", "irr" below it.
    axes_ : ndarray of Axes
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    Raises
    ------
    TypeError
        If one of the paths is not of Split LBI.
    ValueError
        If the paths do not go together, or an array does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import Problem
    >>> from sparselbi.plotting import NuDisplay
    >>> rng = np.random.default_rng(0)
    >>> X, coef = rng.normal(size=(80, 20)), np.repeat([0.0, 2.0, -1.0], [8, 8, 4])
    >>> problem = Problem(X, X @ coef + rng.normal(size=80), standardize=False)
    >>> display = NuDisplay.from_data(problem, "differences", [0.1, 1, 10], truth=coef)
    >>> display.nus_.tolist()
    [0.1, 1.0, 10.0]
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    nus_: NDArray[np.float64]
    entries_: NDArray[np.float64]
    order_: NDArray[np.float64]
    rows_: NDArray[np.int64]
    counts_: NDArray[np.int64] | None
    auc_: NDArray[np.float64] | None
    lines_: dict[int, Any]
    mesh_: Any
    curves_: dict[str, Any]

    def __init__(
        self,
        paths: Sequence[SplitPath],
        selections: Sequence[Selection] | None = None,
        *,
        truth: ArrayLike | None = None,
        irr: ArrayLike | None = None,
    ) -> None:
        paths = [check_split_path(path) for path in paths]
        nus = np.array([path.nu for path in paths])
        self._check_together(paths, nus)
        order = np.argsort(nus)
        self.paths, self.nus_ = [paths[k] for k in order], nus[order]
        self.selections: list[Selection] | None = None
        if selections is not None:
            self.selections = _in_order("selections", list(selections), order)
            for path, point in zip(self.paths, self.selections, strict=True):
                check_selections(path, point)
        self.irr = None
        if irr is not None:
            values = np.asarray(irr, dtype=np.float64).tolist()
            self.irr = np.array(_in_order("irr", values, order))
        self._true_rows = self._checked_truth(truth)
        self._measure()

    @classmethod
    def from_paths(
        cls,
        paths: Iterable[SplitPath],
        selections: Iterable[Selection] | None = None,
        *,
        truth: ArrayLike | None = None,
        irr: ArrayLike | None = None,
        ax: Any = None,
        **options: Any,
    ) -> NuDisplay:
        """Draw paths that differ in nu.

        Parameters
        ----------
        paths, selections, truth, irr
            See `NuDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        NuDisplay
        """
        points = None if selections is None else list(selections)
        return cls(list(paths), points, truth=truth, irr=irr).plot(ax, **options)

    @classmethod
    def from_data(
        cls,
        problem: Problem,
        D: Any,
        nus: ArrayLike,
        *,
        selector: Any = "ebic",
        truth: ArrayLike | None = None,
        irr: ArrayLike | bool | None = None,
        path_options: dict[str, Any] | None = None,
        ax: Any = None,
        **options: Any,
    ) -> NuDisplay:
        """Trace a path for each nu, choose a point of each, and draw.

        Parameters
        ----------
        problem : Problem
        D : Transform, array, sparse matrix, "identity", "differences" or None
        nus : array-like
            Dimensionless values.
        selector : str, float, Selector or None, default="ebic"
            Chooses the points that are shown; None shows none.
        truth : array-like, default=None
            See `NuDisplay`.
        irr : array-like of shape (n_nus,), bool or None, default=None
            Values of the irrepresentable condition; True computes them by
            `sparselbi.selection.split_irrepresentable_condition` (dense algebra).
        path_options : dict, default=None
            Further arguments of `sparselbi.solvers.split_lbi_path`, such as
            ``{"kappa": 50}``; ``kappa`` infinite takes `split_iss_path`.
        ax, **options
            See `plot`.

        Returns
        -------
        NuDisplay
            Its ``paths`` are by nu, ascending.
        """
        from ..selection import get_selector
        from ..selection.split_consistency import (
            nu_study,
            split_irrepresentable_condition,
        )

        given = np.atleast_1d(np.asarray(nus, dtype=np.float64))
        paths = nu_study(problem, D, given.tolist(), **(path_options or {}))
        points = None
        if selector is not None:
            rule = get_selector(selector)
            points = [rule.select(path, problem) for path in paths]
        if irr is True:
            if truth is None:
                raise ValueError("irr=True needs truth, the true coefficients or rows.")
            known = cls(paths, truth=truth)
            weight = (path_options or {}).get("row_weight")
            irr = split_irrepresentable_condition(
                problem, known.paths[0].D, known._true_rows, given, row_weight=weight
            ).value
        irr = None if irr is False else irr
        return cls.from_paths(paths, points, truth=truth, irr=irr, ax=ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "lines",
        value: str = "time",
        top: int = 50,
    ) -> NuDisplay:
        """Draw entries, and what there is about the chosen points and the truth.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. A single Axes is divided into panels.
        kind : {"lines", "heatmap"}, default="lines"
            A line for each row of D, or a heat map with the rows below each other.
        value : {"time", "order"}, default="time"
            Entry time over the t0 of each path, or the place in the order of entry.
        top : int, default=50
            How many rows are drawn at most: those with the smallest median entry time
            over nu; true rows come first.

        Returns
        -------
        NuDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.
        """
        check_choice("kind", kind, ("lines", "heatmap"))
        check_choice("value", value, tuple(_LABELS))
        if operator.index(top) < 1:
            raise ValueError(f"top={top!r} must be at least 1.")
        self._choose_rows(top)
        curves = self._curves()
        n_rows = len(self.rows_)
        first = 3.6 if kind == "lines" else float(np.clip(0.17 * n_rows, 1.5, 12.0))
        heights = [first, *(1.1 for _ in curves)]
        axes = panels(ax, heights, (8.0, 1.2 + sum(heights)))
        self.lines_, self.mesh_, self.curves_ = {}, None, {}
        step = np.sqrt(self.nus_[1:] / self.nus_[:-1]).min(initial=2.0)
        for panel in axes:
            panel.set_xlim(self.nus_[0] / step, self.nus_[-1] * step)
            set_log_axis(panel)
        hide_inner_labels(axes)
        draw = self._draw_lines if kind == "lines" else self._draw_heatmap
        handles = draw(axes, value)
        self._draw_curves(axes[1:], curves)
        axes[-1].set_xlabel("nu")
        if handles:
            legend_below(axes[-1], handles)
        settle(axes[0])
        if kind == "lines":
            label_ends(axes[0], self._ends())
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    # ------------------------------------------------------------------------- numbers

    @staticmethod
    def _check_together(paths: list[SplitPath], nus: NDArray[np.float64]) -> None:
        if not paths:
            raise ValueError("paths is empty; there is nothing to draw.")
        shapes = {path.D.shape for path in paths}
        if len(shapes) > 1:
            raise ValueError(
                f"the paths have D of the shapes {sorted(shapes)}; only paths with the "
                "same D share a figure."
            )
        if len(np.unique(nus)) < len(nus):
            raise ValueError(
                f"the paths have nu={nus.tolist()}; give one path for each value."
            )

    def _checked_truth(self, truth: Any) -> NDArray[np.bool_] | None:
        if truth is None:
            return None
        path = self.paths[0]
        array = np.asarray(truth)
        if array.dtype == bool and array.shape == (path.D.n_rows,):
            return array
        if array.dtype == bool or array.shape != path.coef_shape:
            raise ValueError(
                f"truth has dtype {array.dtype} and shape {array.shape}; it needs the "
                f"true coefficients, of shape {path.coef_shape}, or bools for the "
                f"{path.D.n_rows} rows of D."
            )
        image = np.atleast_2d(np.abs(path.D.dot(array * path.coef_scale)))
        return image.max(axis=0) > 1e-9 * image.max(initial=0.0)

    def _measure(self) -> None:
        from scipy.stats import rankdata

        entries = np.array([path.split.entry_knots() for path in self.paths])
        starts = np.array([path.t0 or np.nan for path in self.paths])
        self.entries_ = entries / starts[:, None]
        filled = np.where(np.isnan(entries), np.inf, entries)
        self.order_ = rankdata(filled, axis=1)
        self.counts_ = self.auc_ = None
        if self.selections is not None:
            self.counts_ = np.array(
                [
                    n_pieces(path.pieces(point.knot))
                    if path.D.is_graph
                    else path.active_rows(point.knot).sum()
                    for path, point in zip(self.paths, self.selections, strict=True)
                ]
            )
        true = self._true_rows
        if true is not None and true.any() and not true.all():
            from ..selection.split_consistency import row_auc

            self.auc_ = np.array([row_auc(path, true) for path in self.paths])

    def _choose_rows(self, top: int) -> None:
        filled = np.where(np.isnan(self.entries_), np.inf, self.entries_)
        middle = np.quantile(filled, 0.5, axis=0, method="higher")
        mean = self.order_.mean(axis=0)
        order = np.lexsort((mean, middle))
        if self._true_rows is not None:
            later = ~self._true_rows[order]
            order = order[np.argsort(later, kind="stable")]
        kept = order[:top]
        self.rows_ = kept[np.lexsort((mean[kept], middle[kept]))]

    def _row_name(self, row: int) -> str:
        names = self.paths[0].D.row_names
        return f"row {row}" if names is None else names[row]

    # ------------------------------------------------------------------------- drawing

    def _draw_lines(self, axes: Sequence[Axes], value: str) -> list[Any]:
        from matplotlib.lines import Line2D

        ax, true = axes[0], self._true_rows
        shown = self._ordinates(ax, value)
        named = self.rows_[:10] if true is None else self.rows_[true[self.rows_]]
        self._named = named[:_MOST_NAMES] if len(named) <= _MOST_NAMES else named[:0]
        colors = dict.fromkeys(named.tolist(), SPARSE)
        if true is None:
            colors = dict(zip(colors, COLORS, strict=False))
        for row in self.rows_[::-1].tolist():  # the first ones above the others
            look: dict[str, Any] = {"color": "0.75", "lw": 0.8, "zorder": 1.5}
            if row in colors:
                look = {"color": colors[row], "lw": 1.5, "zorder": 2}
            look |= {"marker": "o", "ms": 3, "label": self._row_name(row)}
            (self.lines_[row],) = ax.plot(self.nus_, shown[:, row], **look)
        ax.set_ylabel(_LABELS[value])
        handles = []
        if true is not None:
            dots: dict[str, Any] = {"marker": "o", "ms": 3}
            handles = [
                Line2D([], [], color=SPARSE, lw=1.5, label="true rows", **dots),
                Line2D([], [], color="0.75", lw=0.8, label="other rows", **dots),
            ]
        if self.selections is not None:
            rules = dict.fromkeys(rule_name(point.rule) for point in self.selections)
            look = {"color": "k", "ls": "--", "lw": 1.2, "marker": "D", "ms": 4}
            look |= {"label": f"chosen point ({', '.join(rules)})", "zorder": 3}
            (line,) = ax.plot(self.nus_, self._chosen(value), **look)
            self.curves_["chosen"] = line
            handles.append(line)
        return handles

    def _ordinates(self, ax: Axes, value: str) -> NDArray[np.float64]:
        """Heights of the points (n_paths, n_rows); scale and ticks of the axis."""
        if value == "order":
            last = max([*self.order_[:, self.rows_].max(axis=1), *self._chosen(value)])
            ax.set_ylim(0.0, last + 1.0)
            return self.order_
        values = np.maximum(self.entries_, 1.0)  # free rows are there from the start
        shown = values[:, self.rows_]
        last = float(np.nanmax(shown, initial=1.0))
        last = max(last, *(1.0, *np.ravel(self._chosen(value))))
        if np.isnan(shown).any():
            never = last * max(1.5, last**0.08)
            values = np.where(np.isnan(values), never, values)
            ax.set_ylim(0.9, never * 1.1)
            set_log_heights(ax)
            low, high = ax.get_ylim()
            free = [t for t in ax.get_yticks() if low <= t < never / 1.3]
            ax.set_yticks(free)  # none where "never" will stand
            ax.set_ylim(low, high)
            ax.axhline(never, color="0.5", lw=0.6, ls=":", zorder=1)
            ax.set_yticks([never], ["never"], minor=True)
        else:
            ax.set_ylim(0.9, last * 1.15)
            set_log_heights(ax)
        return values

    def _chosen(self, value: str) -> Any:
        """Heights of the chosen points."""
        if self.selections is None:
            return []
        if value == "order":
            return [
                int(path.active_rows(point.knot).sum()) + 0.5
                for path, point in zip(self.paths, self.selections, strict=True)
            ]
        return [
            max(point.knot / (path.t0 or np.nan), 1.0)
            for path, point in zip(self.paths, self.selections, strict=True)
        ]

    def _ends(self) -> list[Any]:
        lines = [self.lines_[row] for row in self._named.tolist()]
        return [
            (line.get_label(), tuple(line.get_xydata()[-1]), line.get_color())
            for line in lines
        ]

    def _draw_heatmap(self, axes: Sequence[Axes], value: str) -> list[Any]:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm
        from matplotlib.patches import Patch
        from matplotlib.ticker import LogLocator

        ax, rows = axes[0], self.rows_
        never = np.isnan(self.entries_[:, rows])
        shown = self.order_ if value == "order" else np.maximum(self.entries_, 1.0)
        cells = np.ma.masked_array(shown[:, rows].T, never.T)
        middle = np.sqrt(self.nus_[1:] * self.nus_[:-1])
        low, high = ax.get_xlim()
        edges = np.r_[low, middle, high]
        colors = colormaps["viridis_r"].with_extremes(bad="0.85")
        last = float(cells.max()) if cells.count() else 2.0
        norm = LogNorm(1.0, max(last, 1.01))
        self.mesh_ = ax.pcolormesh(
            *(edges, np.arange(len(rows) + 1) - 0.5, cells), cmap=colors, norm=norm
        )
        ax.set_ylim(len(rows) - 0.5, -0.5)
        names = [shortened(self._row_name(row), 24) for row in rows.tolist()]
        ax.set_yticks(range(len(rows)), names, fontsize=8.0)
        ax.tick_params(axis="y", length=0)
        handles: list[Any] = []
        if never.any():
            handles.append(Patch(facecolor="0.85", label="never enters"))
        if self._true_rows is not None:
            for label, row in zip(ax.get_yticklabels(), rows.tolist(), strict=True):
                if self._true_rows[row]:
                    label.set(color=SPARSE, fontweight="bold")
            handles.append(Patch(facecolor=SPARSE, label="names of true rows"))
        if self.selections is not None:
            chosen = [
                path.active_rows(point.knot)[rows]
                for path, point in zip(self.paths, self.selections, strict=True)
            ]
            k, row = np.nonzero(chosen)
            look: Any = {"marker": "o", "ms": 3.5, "mfc": "w", "mec": "k", "mew": 0.6}
            (line,) = ax.plot(
                self.nus_[k], row, ls="", label="active where chosen", **look
            )
            self.curves_["chosen"] = line
            handles.append(line)
        bar = ax.figure.colorbar(
            self.mesh_,
            ax=list(axes),
            label=_LABELS[value],
            format="{x:g}",
            ticks=LogLocator(subs=(1, 2, 5)),
            pad=0.02,
            aspect=40,
        )
        bar.minorticks_off()
        settle(ax)  # now the heights of the rows are known
        height = points_per_pixel(ax) * ax.bbox.height / max(len(rows), 1)
        for label in ax.get_yticklabels():
            label.set_fontsize(min(8.0, 0.8 * height))
        return handles

    def _curves(self) -> dict[str, tuple[Any, str]]:
        """Values over nu and labels of the lower panels."""
        curves: dict[str, tuple[Any, str]] = {}
        if self.counts_ is not None:
            is_graph = self.paths[0].D.is_graph
            curves["count"] = self.counts_, "pieces" if is_graph else "active rows"
        if self.auc_ is not None:
            curves["auc"] = self.auc_, "AUC"
        if self.irr is not None:
            curves["irr"] = self.irr, "IRR"
        return curves

    def _draw_curves(
        self, axes: Sequence[Axes], curves: dict[str, tuple[Any, str]]
    ) -> None:
        from matplotlib.ticker import MaxNLocator

        for ax, (name, (values, label)) in zip(axes, curves.items(), strict=True):
            (self.curves_[name],) = ax.plot(
                self.nus_, values, "o-", color="k", ms=3.5, lw=1.2
            )
            ax.set_ylabel(label)
            ax.margins(y=0.15)
            if name == "count":
                ax.set_ylim(min(values) - 1.0, max(values) + 1.0)
                ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            elif name == "auc":
                low = min([0.9, *values])
                ax.set_ylim(low - 0.08 * (1 - low), 1 + 0.08 * (1 - low))
            elif name == "irr":
                look: dict[str, Any] = {"color": "0.35", "lw": 0.9, "ls": "--"}
                ax.axhline(1.0, zorder=1, **look)
                finite = np.asarray(values)[np.isfinite(values)]
                if len(finite) and finite.max() > 20 * max(finite.min(), 1e-9) > 0:
                    set_log_heights(ax)


def _in_order(name: str, values: list[Any], order: NDArray[np.int64]) -> list[Any]:
    if len(values) != len(order):
        raise ValueError(
            f"{name} has {len(values)} entries for {len(order)} paths; give one for "
            "each path, in the same order."
        )
    return [values[k] for k in order]
