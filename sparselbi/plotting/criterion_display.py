"""A path above the scores that chose its points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ._estimators import path_and_selection
from ._layout import COLORS, FONT_SIZE, LINE_STYLES, label_ends, panels, settle
from ._points import check_selections, rule_name
from .path_display import PathDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..path import RegularizationPath
    from ..selection import Selection

# From this ratio of the largest to the smallest score on, a panel is logarithmic.
_WIDE = 20.0


class CriterionDisplay:
    """Coefficients along a path, below them the scores that chose points of it.

    Draw with `from_estimator` or `from_path`; the object that they return can `plot`
    again with other options.

    Parameters
    ----------
    path : RegularizationPath
    selections : sequence of Selection
        Of this path; at least one.
    groups : array-like of shape (n_features,), False or None, default=None
        See `PathDisplay`.

    Attributes
    ----------
    path_display_ : PathDisplay
        The upper panel (panels, with several outputs).
    axes_ : ndarray of Axes
        From the top down: path, information criteria if there are any, and each kind
        of cross-validated score.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        The score curves; the names of rules with equal scores are joined by commas.
    bands_ : dict of str to PolyCollection
        Mean plus and minus one standard error, of cross-validated scores.

    Raises
    ------
    ValueError
        If there are no selections, or one is not of this path.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparselbi import LBI
    >>> from sparselbi.plotting import CriterionDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = LBI().fit(X, y)
    >>> points = [model.select(rule).selection_ for rule in ("ebic", "bic", "aic")]
    >>> display = CriterionDisplay.from_path(model.path_, points)
    >>> list(display.lines_)
    ['EBIC, BIC', 'AIC']
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    lines_: dict[str, Any]
    bands_: dict[str, Any]
    path_display_: PathDisplay

    def __init__(
        self,
        path: RegularizationPath,
        selections: Sequence[Selection],
        *,
        groups: ArrayLike | bool | None = None,
    ) -> None:
        self.path = path
        self.selections = check_selections(path, selections)
        self.groups = groups
        if not self.selections:
            raise ValueError(
                "selections is empty; PathDisplay.from_path(path) draws the path alone."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        groups: ArrayLike | bool | None = None,
        ax: Any = None,
        **options: Any,
    ) -> CriterionDisplay:
        """Draw the path of a fitted estimator and the scores behind its point.

        Parameters
        ----------
        estimator : fitted estimator with ``path_`` and ``selection_``
            Or a pipeline or a search that ends in one.
        groups : array-like of shape (n_features,), False or None, default=None
            See `PathDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        CriterionDisplay
        """
        path, selection = path_and_selection(estimator)
        return cls.from_path(path, [selection], groups=groups, ax=ax, **options)

    @classmethod
    def from_path(
        cls,
        path: RegularizationPath,
        selections: Sequence[Selection],
        *,
        groups: ArrayLike | bool | None = None,
        ax: Any = None,
        **options: Any,
    ) -> CriterionDisplay:
        """Draw a path and the scores of points chosen on it.

        Parameters
        ----------
        path : RegularizationPath
        selections : sequence of Selection
            Such as ``[model.select(rule).selection_ for rule in ("ebic", "aic")]``.
        groups : array-like of shape (n_features,), False or None, default=None
            See `PathDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        CriterionDisplay
        """
        return cls(path, selections, groups=groups).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        x: str = "log_t",
        top: int = 10,
        by: str = "entry",
        scale: ArrayLike | None = None,
        t_max: float | None = None,
        folds: bool = False,
    ) -> CriterionDisplay:
        """Draw path and scores.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. A single Axes is divided into panels.
        x : {"log_t", "t"}, default="log_t"
        top, by, scale, t_max
            See `PathDisplay.plot`.
        folds : bool, default=False
            Draw the curve of every fold of a cross-validation, too.

        Returns
        -------
        CriterionDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.

        Notes
        -----
        Information criteria are drawn minus their minimum, linear up to 10 and
        logarithmic beyond; rules with equal scores share a line. A score holds from
        its knot to the next. Cross-validated scores are drawn in their own units, with
        dots at the smallest mean and at the point of the one-standard-error rule.
        """
        check_choice("x", x, ("log_t", "t"))
        name = "path"
        upper = PathDisplay(
            {name: self.path}, selections={name: self.selections}, groups=self.groups
        )
        criteria, validated = self._panels()
        n_upper, n_lower = len(upper._outputs()), bool(criteria) + len(validated)
        heights = [2.2 if n_upper == 1 else 1.2] * n_upper + [1.0] * n_lower
        axes = panels(ax, heights, (8.0, 1.2 + 1.65 * sum(heights)))
        upper._draw(axes[:n_upper], x=x, top=top, by=by, scale=scale, t_max=t_max)
        lower, self._limits = axes[n_upper:], axes[0].get_xlim()
        self.lines_, self.bands_ = {}, {}
        ends = []
        if criteria:
            ends.append((lower[0], self._draw_criteria(lower[0], criteria)))
        for panel, curves in zip(lower[bool(criteria) :], validated, strict=True):
            ends.append((panel, self._draw_validated(panel, curves, folds)))
        for panel in axes:  # they may share an axis that the scores have stretched
            panel.set_xlim(self._limits)
        axes[-1].set_xlabel(upper._x_label())
        upper._draw_legend(axes[-1])
        settle(axes[0])
        for panel, names in ends:
            last = max((x for _, (x, _), _ in names), default=self._limits[1])
            label_ends(panel, names, last if last < self._limits[1] else None)
        upper._write(axes[:n_upper], lower)
        self.path_display_ = upper
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    def _panels(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Selections that score, by joined names: criteria, and cross-validations.

        Cross-validations of one kind of score share a panel.
        """
        criteria: list[Any] = []
        validated: dict[str, list[Any]] = {}
        for selection in self.selections:
            if np.isnan(selection.scores).all():
                continue  # a rule that does not score
            if hasattr(selection, "standard_error"):
                kind = getattr(selection, "label", "score")
                validated.setdefault(kind, []).append(selection)
            else:
                criteria.append(selection)
        return _curves(criteria), [_curves(group) for group in validated.values()]

    def _corners(
        self, values: NDArray[np.float64], steps: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Abscissae and ordinates of a curve of scores, within the axes."""
        low, high = self._limits
        t = self.path._t(self.path.knots)
        shown = t <= high
        # An infinite t, and t = 0 on a logarithmic axis, become the ends of the axis.
        shown |= ~np.isfinite(t)
        t, values = np.clip(t, low, high)[shown], values[shown]
        if steps:
            t, values = np.append(t, high), np.append(values, values[-1])
        return t, values

    def _draw_criteria(self, ax: Axes, criteria: dict[str, Any]) -> list[Any]:
        ends, highest = [], 0.0
        for (name, selection), dashes in zip(criteria.items(), cycle(LINE_STYLES)):
            curve = _above_minimum(selection)
            t, drawn = self._corners(curve, steps=True)
            (line,) = ax.step(
                t, drawn, where="post", color="k", ls=dashes, lw=1.3, label=name
            )
            self.lines_[name] = line
            highest = max(highest, float(np.nanmax(drawn)))
            last = np.flatnonzero(np.isfinite(drawn))[-1]
            ends.append((name, (t[last], drawn[last]), "k"))
        highest = highest or 1.0
        ax.set_yscale("symlog", linthresh=10, linscale=1.5)
        ax.set_ylim(-0.03 * min(highest, 20), 1.1 * highest)
        ticks = np.array([0, 5, *np.outer(10.0 ** np.arange(1, 7), [1, 3]).ravel()])
        ax.set_yticks(ticks[ticks <= 1.1 * highest])
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_ylabel("score − minimum")
        return ends

    def _draw_validated(
        self, ax: Axes, curves: dict[str, Any], folds: bool
    ) -> list[Any]:
        steps = self.path.interpolation == "constant"
        style = "steps-post" if steps else "default"
        ends, several = [], len(curves) > 1
        for i, (name, selection) in enumerate(curves.items()):
            mean, error = selection.scores, selection.standard_error
            n_folds = len(selection.fold_scores)
            color = "k" if not several else COLORS[i % 10]
            t, drawn = self._corners(mean, steps)
            if folds:
                for k, scores in enumerate(selection.fold_scores):
                    _, fold = self._corners(scores, steps)
                    label = "single folds" if k == 0 else None
                    look = {"color": color, "alpha": 0.35, "lw": 0.7, "zorder": 1.8}
                    ax.plot(t, fold, drawstyle=style, label=label, **look)
            _, low = self._corners(mean - error, steps)
            _, high = self._corners(mean + error, steps)
            self.bands_[name] = ax.fill_between(
                t,
                low,
                high,
                step="post" if steps else None,
                color=color,
                alpha=0.15,
                lw=0,
                label="± 1 standard error",
            )
            label = f"mean of {n_folds} folds"
            (line,) = ax.plot(
                t, drawn, drawstyle=style, color=color, lw=1.3, label=label
            )
            self.lines_[name] = line
            for knot in dict.fromkeys(selection.points.values()):
                place = max(float(self.path._t(np.array(knot))), self._limits[0])
                if place <= self._limits[1]:
                    value = mean[np.argmin(np.abs(self.path.knots - knot))]
                    ax.plot(place, value, "o", color=color, ms=4.5, zorder=3)
            if several:
                last = np.flatnonzero(np.isfinite(drawn))[-1]
                ends.append((name, (t[last], drawn[last]), color))
        every = np.concatenate([np.ravel(c.fold_scores) for c in curves.values()])
        if np.nanmin(every) > 0 and np.nanmax(every) > _WIDE * np.nanmin(every):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
        ax.margins(y=0.1)
        label = selection.label
        # The panel is low: a long label takes two lines.
        ax.set_ylabel(label.replace(" ", "\n", 1) if len(label) > 14 else label)
        if not several:
            ax.legend(loc="best", fontsize=FONT_SIZE - 1, frameon=False)
        return ends


def _curves(selections: Sequence[Selection]) -> dict[str, Any]:
    """One selection for each different curve of scores, by the names of its rules."""
    groups: list[tuple[dict[str, None], Selection]] = []
    for selection in selections:
        name = rule_name(selection.rule)
        for names, drawn in groups:
            if _same_curve(selection, drawn):
                names[name] = None
                break
        else:
            groups.append(({name: None}, selection))
    curves: dict[str, Any] = {}
    for names, selection in groups:
        joined = key = ", ".join(names)
        while key in curves:
            key = f"{joined} ({len(curves) + 1})"
        curves[key] = selection
    return curves


def _same_curve(a: Any, b: Any) -> bool:
    if hasattr(a, "standard_error"):
        return np.array_equal(a.scores, b.scores, equal_nan=True)
    pair = _above_minimum(a), _above_minimum(b)
    return np.allclose(*pair, rtol=0.0, atol=1e-9, equal_nan=True)


def _above_minimum(selection: Any) -> NDArray[np.float64]:
    return selection.scores - np.nanmin(selection.scores)
