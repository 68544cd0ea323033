"""How often, and when, features enter the paths of half-samples."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ._layout import (
    COLORS,
    FONT_SIZE,
    LINE_STYLES,
    label_ends,
    legend_below,
    panels,
    set_log_axis,
    settle,
    shortened,
)
from ._points import make_strip, mark_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..selection.stability import Stability


class StabilityDisplay:
    """Selection probabilities along t, and the entry times of each feature.

    Draw with `from_estimator` or `from_stability`; the object that they return can
    `plot` again with other options.

    Parameters
    ----------
    stability : Stability
        From ``path.stability(X, y)``.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for each panel, from the top down.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    features_ : ndarray of int
        The features in colour, by their median entry time (never counts as infinite).
    lines_ : dict of int to Line2D
        Selection probability of each feature in colour.
    boxes_ : dict of int to Rectangle
        Quartiles of the entry times of each feature in colour; to the right edge where
        the upper quartile is "never". Features whose lower quartile is have none.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparselbi import LBI
    >>> from sparselbi.plotting import StabilityDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = LBI(kappa=float("inf")).fit(X, y)
    >>> display = StabilityDisplay.from_estimator(model, X, y, n_pairs=10)
    >>> [X.columns[j] for j in display.features_[:3]]
    ['bmi', 's5', 'bp']
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    features_: NDArray[np.int64]
    lines_: dict[int, Any]
    boxes_: dict[int, Any]

    def __init__(self, stability: Stability) -> None:
        self.stability = stability

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        sample_groups: ArrayLike | None = None,
        n_pairs: int = 50,
        max_features: int | None = None,
        random_state: Any = 0,
        n_jobs: int | None = None,
        ax: Any = None,
        **options: Any,
    ) -> StabilityDisplay:
        """Trace the path of a fitted estimator on half-samples, and draw.

        Parameters
        ----------
        estimator : fitted estimator with ``path_``
        X, y, sample_weight, sample_groups
            Data as given to `fit`.
        n_pairs, max_features, random_state, n_jobs
            See `sparselbi.selection.stability_selection`.
        ax, **options
            See `plot`.

        Returns
        -------
        StabilityDisplay
            Its ``stability`` holds the entry times.
        """
        if not hasattr(estimator, "path_"):
            raise ValueError(
                f"estimator={estimator!r} has no path_; fit an estimator of sparselbi "
                "first, such as LBI().fit(X, y). Of a pipeline, give the last step and "
                "the data that reach it."
            )
        stability = estimator.path_.stability(
            X,
            y,
            sample_weight=sample_weight,
            sample_groups=sample_groups,
            n_pairs=n_pairs,
            max_features=max_features,
            random_state=random_state,
            n_jobs=n_jobs,
        )
        return cls.from_stability(stability, ax=ax, **options)

    @classmethod
    def from_stability(
        cls, stability: Stability, *, ax: Any = None, **options: Any
    ) -> StabilityDisplay:
        """Draw what ``path.stability(X, y)`` has found.

        Parameters
        ----------
        stability : Stability
        ax, **options
            See `plot`.

        Returns
        -------
        StabilityDisplay
        """
        return cls(stability).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "both",
        top: int = 10,
        threshold: float | None = 0.75,
        expected_false: float | None = 1.0,
        t_max: float | None = None,
    ) -> StabilityDisplay:
        """Draw probabilities, entry times, or both.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. For both kinds a single Axes is divided.
        kind : {"both", "probability", "entry"}, default="both"
            "probability": share of half-samples that each feature has entered by t.
            "entry": for the `top` features, every entry time as a tick, median and
            quartiles, the entry in the path of all samples, and the share of
            half-samples in which the feature never enters.
        top : int, default=10
            How many features are in colour and named: those with the smallest median
            entry time. The others are grey, or left out of the entry times.
        threshold : float in (0.5, 1] or None, default=0.75
            Horizontal line: features above it are stable.
        expected_false : float or None, default=1.0
            Vertical line at the largest knot at which the bound on the expected number
            of false ones among the stable features (see `Stability.error_bound`) is
            not above this; its name says how many features are stable there. Only with
            the probabilities.
        t_max : float, default=None
            Where the drawing ends; None is the end of the path.

        Returns
        -------
        StabilityDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.
        """
        check_choice("kind", kind, ("both", "probability", "entry"))
        if operator.index(top) < 1:
            raise ValueError(f"top={top!r} must be at least 1.")
        stability = self.stability
        if threshold is not None:
            stability.error_bound(threshold)  # raises where it makes no sense
        self._prepare(top, t_max)
        rows = 0.45 + 0.27 * len(self.features_)
        heights = {"probability": [3.6], "entry": [rows], "both": [3.2, rows]}[kind]
        axes = panels(ax, heights, (8.0, 1.2 + sum(heights)))
        self.lines_, self.boxes_ = {}, {}
        if kind != "entry":
            self._draw_probabilities(axes[0], threshold)
        if kind != "probability":
            self._draw_entries(axes[-1])
        for panel in axes:
            panel.set_xlim(self._limits)
            set_log_axis(panel)
        axes[-1].set_xlabel("t")
        if kind != "probability":
            self._draw_legend(axes[-1])
        settle(axes[0])
        if kind != "entry":
            label_ends(axes[0], self._ends())
        if kind != "entry" and threshold is not None and expected_false is not None:
            knot = stability.knot_for(expected_false, threshold)
            stable = len(stability.selected(threshold, knot))
            text = f"expected false ≤ {expected_false:g}: {stable} stable"
            make_strip(axes[0])
            settle(axes[0])
            place = float(np.clip(knot, *self._limits))
            mark_points(axes[0], axes[1:], [(place, text, text, "-")])
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    def _prepare(self, top: int, t_max: float | None) -> None:
        """Which features are in colour, and the limits of the axis."""
        stability = self.stability
        entries = stability.entry_knots
        ever = np.isfinite(entries).mean(axis=0)
        some = np.flatnonzero((ever > 0) & stability.penalized)
        median = np.quantile(entries[:, some], 0.5, axis=0, method="higher")
        order = some[np.lexsort((some, -ever[some], median))]
        self.features_, self._others = order[:top], order[top:]
        self._rank = {j: r for r, j in enumerate(self.features_.tolist())}
        self._colors = {j: COLORS[r % 10] for j, r in self._rank.items()}
        shown = entries[np.isfinite(entries) & (entries > 0)]
        times = np.concatenate([shown, stability.knots[stability.knots > 0]])
        low, high = (times.min(), times.max()) if len(times) else (1.0, 1.0)
        if t_max is not None and not low < t_max < np.inf:
            raise ValueError(
                f"t_max={t_max!r} must be a number beyond the first entry, t={low:.6g}."
            )
        self._limits = (0.95 * low, 1.05 * high if t_max is None else float(t_max))

    def _name(self, j: int) -> str:
        names = self.stability.feature_names
        return f"x{j}" if names is None else names[j]

    def _curve(self, j: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Corners of the distribution function of the entry times of a feature."""
        entries = np.sort(self.stability.entry_knots[:, j])
        share = np.arange(1, len(entries) + 1) / len(entries)
        low, high = self._limits
        entered = entries <= high
        t = np.r_[low, np.maximum(entries[entered], low), high]
        values = np.r_[0.0, share[entered], entered.mean()]
        return np.repeat(t, 2)[1:], np.repeat(values, 2)[:-1]

    def _draw_probabilities(self, ax: Axes, threshold: float | None) -> None:
        from matplotlib.collections import LineCollection

        grey = [np.column_stack(self._curve(j)) for j in self._others.tolist()]
        look: dict[str, Any] = {"colors": "0.75", "linewidths": 0.8, "zorder": 1.5}
        ax.add_collection(LineCollection(grey, **look))
        for j in reversed(self.features_.tolist()):
            look = {"color": self._colors[j], "lw": 1.5, "label": self._name(j)}
            look["ls"] = LINE_STYLES[self._rank[j] // 10 % 4]
            (self.lines_[j],) = ax.plot(*self._curve(j), **look)
        if threshold is not None:
            ax.axhline(threshold, color="0.35", lw=0.9, ls="--", zorder=1.2)
        ax.set_ylim(0.0, 1.02)
        ax.set_yticks(np.linspace(0, 1, 5))
        ax.set_ylabel("share of half-samples\nin which the feature has entered")

    def _ends(self) -> list[Any]:
        # The first feature on top where several end at 1.
        return [
            (self._name(j), tuple(line.get_xydata()[-1]), self._colors[j])
            for j, line in self.lines_.items()
        ]

    def _draw_entries(self, ax: Axes) -> None:
        from matplotlib.patches import Rectangle

        stability, (low, high) = self.stability, self._limits
        for row, j in enumerate(self.features_.tolist()):
            color, entries = self._colors[j], stability.entry_knots[:, j]
            entered = np.maximum(entries[np.isfinite(entries)], low)
            ticks = {"marker": "|", "ms": 9, "ls": "", "color": color, "alpha": 0.35}
            ax.plot(entered, np.full(len(entered), row), **ticks)
            quartiles = np.quantile(entries, [0.25, 0.5, 0.75], method="higher")
            left, middle, right = np.clip(quartiles, low, None)
            if left < high:
                place = (left, row - 0.32), min(right, high) - left, 0.64
                look = {"facecolor": "none", "edgecolor": color, "lw": 1.2}
                self.boxes_[j] = ax.add_patch(Rectangle(*place, **look))
            if middle < high:
                ax.plot([middle, middle], [row - 0.32, row + 0.32], color=color, lw=2.2)
            reference = stability.reference[j]
            if np.isfinite(reference):
                ax.plot(max(reference, low), row, "D", color="k", ms=4.5, zorder=3)
            never = 1 - len(entered) / len(entries)
            self._beside(ax, row, f"{never:.0%}".replace("%", " %"))
        ax.set_ylim(max(len(self.features_), 1) - 0.5, -0.5)
        self._beside(ax, -0.5, "never", up=7.0)
        names = [shortened(self._name(j)) for j in self.features_.tolist()]
        ax.set_yticks(range(len(names)), names, fontsize=FONT_SIZE)
        for label, color in zip(
            ax.get_yticklabels(), self._colors.values(), strict=True
        ):
            label.set_color(color)

    def _beside(self, ax: Axes, row: float, text: str, up: float = 0.0) -> None:
        ax.annotate(
            text,
            xy=(1.0, row),
            xycoords=ax.get_yaxis_transform(),
            xytext=(6.0, up),
            textcoords="offset points",
            va="center",
            fontsize=FONT_SIZE,
            annotation_clip=False,
        )

    def _draw_legend(self, ax: Axes) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        grey: dict[str, Any] = {"color": "0.3", "ls": ""}
        handles = [
            Line2D([], [], marker="|", ms=9, label="half-samples", **grey),
            Patch(facecolor="none", edgecolor="0.3", label="quartiles"),
            Line2D([], [], marker="|", ms=9, mew=2.2, label="median", **grey),
            Line2D([], [], marker="D", ms=4.5, color="k", ls="", label="all samples"),
        ]
        legend_below(ax, handles)
