"""Coefficients along one or several paths."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ._estimators import path_and_selection
from ._layout import (
    COLORS,
    LINE_STYLES,
    label_ends,
    label_points,
    legend_below,
    panels,
    set_log_axis,
    settle,
)
from ._points import check_selections, make_strip, mark_points, point_names
from ._polygon import polygon, shared_end

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from ..path import RegularizationPath
    from ..selection import Selection

_GREY = "0.75"
_METHODS = {"lbi": "LBI", "iss": "ISS"}


class PathDisplay:
    """Coefficients along a path, each line with the name of its feature.

    Draw with `from_estimator`, `from_path` or `from_paths`; the object that they return
    can `plot` again with other options.

    Parameters
    ----------
    paths : dict of str to RegularizationPath
        Paths for the same features, by the names under which they are drawn.
    selections : dict of str to sequence of Selection, default=None
        Points to mark, by the name of the path to which they belong.
    groups : array-like of shape (n_features,), False or None, default=None
        Colour lines by these group labels. None takes the groups that a path was
        traced with, if there are any; False does not.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The panel of the first output (class).
    axes_ : ndarray of Axes of shape (n_outputs,)
    figure_ : matplotlib Figure
    lines_ : ndarray of Line2D of shape (*coef_shape,), or (n_paths, *coef_shape)
        The first axis is only there for several paths. None where nothing is drawn,
        for features that are never active.

    Raises
    ------
    ValueError
        If the paths have different features or outputs, a selection is not of its
        path, or `groups` has the wrong length.

    See Also
    --------
    CriterionDisplay : The path above the scores that chose its points.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparselbi import LBI
    >>> from sparselbi.plotting import PathDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> display = PathDisplay.from_estimator(LBI().fit(X, y))
    >>> display.lines_[2].get_label()
    'bmi'
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    lines_: NDArray[Any]

    def __init__(
        self,
        paths: Mapping[str, RegularizationPath],
        *,
        selections: Mapping[str, Sequence[Selection]] | None = None,
        groups: ArrayLike | bool | None = None,
    ) -> None:
        self.paths = dict(paths)
        self.groups = groups
        _check_paths(self.paths)
        self._groups = _checked_groups(groups, list(self.paths.values()))
        selections = selections or {}
        unknown = [name for name in selections if name not in self.paths]
        if unknown:
            raise ValueError(
                f"selections has the key {unknown[0]!r}; it must be the name of a "
                f"path, one of {list(self.paths)}."
            )
        self.selections = {
            name: check_selections(self.paths[name], points)
            for name, points in selections.items()
        }

    # ---------------------------------------------------------------- construction

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        groups: ArrayLike | bool | None = None,
        ax: Any = None,
        **options: Any,
    ) -> PathDisplay:
        """Draw the path of a fitted estimator and mark the point that it reports.

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
        PathDisplay
        """
        path, selection = path_and_selection(estimator)
        return cls.from_path(path, [selection], groups=groups, ax=ax, **options)

    @classmethod
    def from_path(
        cls,
        path: RegularizationPath,
        selections: Sequence[Selection] = (),
        *,
        groups: ArrayLike | bool | None = None,
        ax: Any = None,
        **options: Any,
    ) -> PathDisplay:
        """Draw one path.

        Parameters
        ----------
        path : RegularizationPath
        selections : sequence of Selection, default=()
            Points of this path to mark.
        groups : array-like of shape (n_features,), False or None, default=None
            See `PathDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        PathDisplay
        """
        name = _method_name(path)
        display = cls({name: path}, selections={name: selections}, groups=groups)
        return display.plot(ax, **options)

    @classmethod
    def from_paths(
        cls,
        paths: Mapping[str, RegularizationPath] | Sequence[RegularizationPath],
        selections: Mapping[str, Sequence[Selection]] | None = None,
        *,
        groups: ArrayLike | bool | None = None,
        ax: Any = None,
        **options: Any,
    ) -> PathDisplay:
        """Draw several paths for the same features on one axis.

        A feature has one colour, a path one line style.

        Parameters
        ----------
        paths : dict of str to RegularizationPath, or sequence of RegularizationPath
            Without names the methods name the paths. Paths over alpha are drawn at
            1 / alpha.
        selections : dict of str to sequence of Selection, default=None
            Points to mark, by the names of the paths.
        groups : array-like of shape (n_features,), False or None, default=None
            See `PathDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        PathDisplay
        """
        if not isinstance(paths, Mapping):
            named = {_method_name(path): path for path in paths}
            if len(named) < len(paths):
                raise ValueError(
                    f"paths are of the methods {[p.method for p in paths]}, which do "
                    "not tell them apart; give a dict of names to paths."
                )
            paths = named
        return cls(paths, selections=selections, groups=groups).plot(ax, **options)

    # --------------------------------------------------------------------- drawing

    def plot(
        self,
        ax: Any = None,
        *,
        x: str = "log_t",
        top: int = 10,
        by: str = "entry",
        scale: ArrayLike | None = None,
        t_max: float | None = None,
    ) -> PathDisplay:
        """Draw the coefficients.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. A path with several outputs (classes) has one panel
            for each: a single Axes is divided.
        x : {"log_t", "t", "l1_norm"}, default="log_t"
            Horizontal axis: t (for alpha paths 1 / alpha) on a logarithmic or a
            linear scale, or the sum of the absolute coefficients.
        top : int, default=10
            How many features are named, and without groups coloured. The other active
            ones are grey. With groups, the first ten groups are coloured.
        by : {"entry", "size"}, default="entry"
            Which features (and groups) are `top`: the first that enter, or those with
            the largest absolute coefficients (times `scale`) anywhere.
        scale : array-like of shape (n_features,) or None
            Factors for the coefficients. With ``X.std(axis=0)`` lines of features in
            different units can be compared.
        t_max : float, default=None
            Where the drawing ends, in units of t (1 / alpha). None is the end of the
            path; of several paths, the earliest end.

        Returns
        -------
        PathDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.

        Notes
        -----
        A line is drawn where its coefficient moves, not over the zero line. Piecewise
        constant paths (ISS, refits) are drawn as steps, over "l1_norm" as straight
        lines between their fits. The upper axis counts nonzero features; it is left
        out on axes that already show something.
        """
        n_panels = len(self._outputs())
        size = (8.0, 5.0 if n_panels == 1 else 1.4 + 1.9 * n_panels)
        axes = panels(ax, [1.0] * n_panels, size)
        self._draw(axes, x=x, top=top, by=by, scale=scale, t_max=t_max)
        axes[-1].set_xlabel(self._x_label())
        self._draw_legend(axes[-1])
        self._write(axes)
        return self

    def _outputs(self) -> list[Any]:
        path = next(iter(self.paths.values()))
        return path._outputs() or [None]

    def _x_label(self) -> str:
        if self._x == "l1_norm":
            return "sum of absolute coefficients"
        names = {"t": "t", "alpha": "1 / alpha", "threshold": "1 / threshold"}
        return ", ".join(dict.fromkeys(names[p.knot_name] for p in self.paths.values()))

    def _draw(
        self,
        axes: Sequence[Axes],
        *,
        x: str,
        top: int,
        by: str,
        scale: ArrayLike | None,
        t_max: float | None,
    ) -> None:
        """Lines, limits and upper axis: everything but names and legend."""
        check_choice("x", x, ("log_t", "t", "l1_norm"))
        check_choice("by", by, ("entry", "size"))
        if operator.index(top) < 1:
            raise ValueError(f"top={top!r} must be at least 1.")
        paths = list(self.paths.values())
        factors = _checked_scale(scale, paths[0].n_features)
        is_fresh = not axes[0].has_data()
        self._x, self._end = x, shared_end(paths, t_max)
        if t_max is None and self._end is not None:
            self._end = max([self._end, *(1.15 * t for t in self._chosen_times())])
        self._polygons = []
        for path in paths:
            across, coefs = polygon(path, x, self._end)
            coefs = coefs.reshape(len(coefs), len(axes), coefs.shape[-1])
            self._polygons.append((across, coefs * factors[path.active_features]))
        order = self._order(by)
        self._color(order, top)
        self._draw_lines(axes, order)
        low = min(across.min() for across, _ in self._polygons)
        high = max(across.max() for across, _ in self._polygons)
        ylabel = "coefficient" if scale is None else "coefficient × scale"
        kind = "class" if paths[0].classes is not None else "output"
        for ax, output in zip(axes, self._outputs(), strict=True):
            ax.margins(x=0, y=0.07)
            ax.update_datalim([(low, 0.0), (high, 0.0)])
            ax.autoscale_view()
            ax.set_ylabel(ylabel if output is None else f"{ylabel}\n{kind} {output}")
            if x == "log_t":
                set_log_axis(ax)
        if is_fresh:
            self._draw_sizes(axes[0])
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure

    def _chosen_times(self) -> list[float]:
        times = (
            float(self.paths[name]._t(np.array(point.knot)))
            for name, points in self.selections.items()
            for point in points
        )
        return [t for t in times if np.isfinite(t)]

    def _order(self, by: str) -> NDArray[np.int64]:
        """Features that are drawn, the most important first."""
        paths = list(self.paths.values())
        size = np.zeros(paths[0].n_features)
        entry = np.full(paths[0].n_features, np.inf)
        for path, (_, coefs) in zip(paths, self._polygons, strict=True):
            largest = np.abs(coefs).max(axis=(0, 1), initial=0.0)
            size[path.active_features] = np.maximum(size[path.active_features], largest)
            entry = np.fmin(entry, path._t(path.entry_knots()))
        rank = entry if by == "entry" else -size
        order = np.lexsort((-size, rank))
        return order[size[order] > 0]

    def _color(self, order: NDArray[np.int64], top: int) -> None:
        """Which features are named, and the colours of features and groups."""
        self._named = order[:top].tolist()
        self._group_colors: dict[Any, str] = {}
        self._colors: dict[int, str] = {}
        if self._groups is None:
            self._colors = {j: COLORS[r % 10] for r, j in enumerate(self._named)}
            return
        labels = list(dict.fromkeys(self._groups[j] for j in order.tolist()))
        self._group_colors = dict(zip(labels, COLORS, strict=False))
        for j in order.tolist():
            if (label := self._groups[j]) in self._group_colors:
                self._colors[j] = self._group_colors[label]

    def _draw_lines(self, axes: Sequence[Axes], order: NDArray[np.int64]) -> None:
        paths = list(self.paths.values())
        named = {j: r for r, j in enumerate(self._named)}
        lines = np.full((len(paths), len(axes), paths[0].n_features), None, object)
        for ax in axes:
            ax.axhline(0.0, color="0.3", lw=0.8, zorder=1)
        for i, (name, path) in enumerate(self.paths.items()):
            across, coefs = self._polygons[i]
            column = {j: c for c, j in enumerate(path.active_features.tolist())}
            for j in reversed(order.tolist()):  # the first ones above the others
                if j not in column:
                    continue
                look: dict[str, Any] = {"color": self._colors.get(j, _GREY)}
                look |= {"lw": 1.5, "zorder": 2} if j in named else {"lw": 0.8}
                look.setdefault("zorder", 1.8 if j in self._colors else 1.5)
                look["ls"] = LINE_STYLES[i % 4]
                if len(paths) == 1 and self._groups is None:
                    # Ten colours, then the same ten dashed, ...
                    look["ls"] = LINE_STYLES[named.get(j, 0) // 10 % 4]
                if self._x == "l1_norm" and path.interpolation == "constant":
                    look["marker"] = "."  # between its fits this path is nowhere
                label = path._name(j) if i == 0 else f"{path._name(j)} ({name})"
                for o, ax in enumerate(axes):
                    values = coefs[:, o, column[j]]
                    # Only where it moves: nothing is drawn over the zero line.
                    rest = np.convolve(values != 0, [1, 1, 1], mode="same") == 0
                    if rest.all():
                        continue
                    drawn = np.where(rest, np.nan, values)
                    (lines[i, o, j],) = ax.plot(across, drawn, label=label, **look)
        shape = paths[0].coef_shape
        self.lines_ = lines.reshape(shape if len(paths) == 1 else (len(paths), *shape))

    def _draw_sizes(self, ax: Axes) -> None:
        """Numbers of nonzero features at evenly spaced places on the top axis."""
        low, high = ax.get_xlim()
        n_ticks = 15 if len(self.paths) == 1 else 13
        space = np.geomspace if self._x == "log_t" else np.linspace
        places = space(low, high, n_ticks).clip(low, high)
        rows = []
        for path, (across, coefs) in zip(
            self.paths.values(), self._polygons, strict=True
        ):
            if self._x == "l1_norm":
                reached = [int(np.argmax(across >= p * (1 - 1e-9))) for p in places]
                sizes = (coefs != 0).any(axis=1).sum(axis=1)[reached]
                beyond = places > across.max() * (1 + 1e-9)
            else:
                end = np.inf if path.is_complete else path._t(path.knots)[-1]
                beyond = places > end * (1 + 1e-9)
                t = np.minimum(places, end)
                active, _ = path._active_at(path._t(t))
                sizes = path._nonzero(active).sum(axis=1)
            rows.append(np.where(beyond, "", sizes.astype(str)))
        top = ax.secondary_xaxis("top")
        top.set_xticks(
            places, ["\n".join(column) for column in zip(*rows, strict=True)]
        )
        top.minorticks_off()
        names = f" ({' above '.join(self.paths)})" if len(rows) > 1 else ""
        top.set_xlabel(f"nonzero features{names}")

    def _draw_legend(self, ax: Axes) -> None:
        """Line styles of paths and colours of groups, below `ax`, if there are any."""
        from matplotlib.lines import Line2D

        handles: list[Artist] = []
        if len(self.paths) > 1:
            handles += [
                Line2D([], [], color="0.2", ls=LINE_STYLES[i % 4], label=name)
                for i, name in enumerate(self.paths)
            ]
        handles += [
            Line2D([], [], color=color, lw=2.5, label=_group_name(label))
            for label, color in self._group_colors.items()
        ]
        if self._groups is not None and (rest := self._n_groups() - 10) > 0:
            label = f"{rest} more groups" if rest > 1 else "1 more group"
            handles.append(Line2D([], [], color=_GREY, lw=2.5, label=label))
        if handles:
            legend_below(ax, handles)

    def _n_groups(self) -> int:
        assert self._groups is not None
        features = {j for p in self.paths.values() for j in p.active_features.tolist()}
        return len({self._groups[j] for j in features})

    def _write(self, axes: Sequence[Axes], others: Sequence[Axes] = ()) -> None:
        """Names of lines and points; places are measured, so this comes last."""
        settle(axes[0])  # now the heights are final
        if any(self.selections.values()):
            make_strip(axes[0])
        gone: list[list[Any]] = []
        for o, ax in enumerate(axes):
            ends, left = self._line_ends(o)
            label_ends(ax, ends)
            gone.append(left)
        settle(axes[0])  # and now the widths
        marks = self._marks(axes[0])
        texts = mark_points(axes[0], [*axes[1:], *others], marks) if marks else []
        for ax, left in zip(axes, gone, strict=True):
            label_points(ax, left, texts)

    def _line_ends(self, output: int) -> tuple[list[Any], list[Any]]:
        """Names with the ends of their lines, and those of lines that ended before."""
        ends, gone = [], []
        for j in self._named:
            summit: Any = None
            for path, (across, coefs) in zip(
                self.paths.values(), self._polygons, strict=True
            ):
                column = np.flatnonzero(path.active_features == j)
                if not len(column) or not coefs[:, output, column[0]].any():
                    continue
                values = coefs[:, output, column[0]]
                name, color = path._name(j), self._colors.get(j, "0.4")
                if values[-1] != 0:
                    ends.append((name, (across[-1], values[-1]), color))
                    break
                if summit is None:
                    k = int(np.abs(values).argmax())
                    summit = (name, (across[k], values[k]), color)
            else:
                gone += [summit] if summit else []
        return ends, gone

    def _marks(self, ax: Axes) -> list[tuple[float, str, str, Any]]:
        marks = []
        for i, (name, path) in enumerate(self.paths.items()):
            prefix = f"{name} " if len(self.paths) > 1 else ""
            points = point_names(path, self.selections.get(name, ()), prefix)
            for knot, text, short in points:
                place = float(path._t(np.array(knot)))
                if self._end is not None and self._end < place < np.inf:
                    raise ValueError(
                        f"t_max={self._end:.6g} hides the point {short} at "
                        f"t={place:.6g}; use a larger t_max, or leave the point out."
                    )
                if self._x == "l1_norm":
                    place = float(np.abs(path._active_at([knot])[0]).sum())
                place = float(np.clip(place, *ax.get_xlim()))
                marks.append((place, text, short, LINE_STYLES[i % 4]))
        return marks


def _method_name(path: RegularizationPath) -> str:
    return _METHODS.get(path.method, path.method)


def _check_paths(paths: Mapping[str, RegularizationPath]) -> None:
    if not paths:
        raise ValueError("paths is empty; there is nothing to draw.")
    (first, path), *others = paths.items()
    for name, other in others:
        if other.coef_shape != path.coef_shape:
            raise ValueError(
                f"path {name!r} has coefficients of shape {other.coef_shape}, path "
                f"{first!r} {path.coef_shape}; only paths for the same question share "
                "a figure."
            )
        names = path.feature_names, other.feature_names
        if None not in names and names[0] != names[1]:
            raise ValueError(
                f"paths {first!r} and {name!r} have different feature names."
            )


def _group_name(label: Any) -> str:
    return label if isinstance(label, str) else f"group {label}"


def _checked_groups(groups: Any, paths: list[RegularizationPath]) -> list[Any] | None:
    """One label per feature, or None."""
    if groups is False:
        return None
    if groups is None:
        found = (path.settings.get("groups") for path in paths)
        groups = next((labels for labels in found if labels is not None), None)
        if groups is None:
            return None
    labels = np.asarray(groups)
    n_features = paths[0].n_features
    if labels.shape != (n_features,):
        raise ValueError(
            f"groups has shape {labels.shape}; it needs one label for each of the "
            f"{n_features} features."
        )
    return labels.tolist()


def _checked_scale(scale: ArrayLike | None, n_features: int) -> NDArray[np.float64]:
    if scale is None:
        return np.ones(n_features)
    factors = np.asarray(scale, dtype=np.float64)
    if factors.shape != (n_features,):
        raise ValueError(
            f"scale has shape {factors.shape}; it needs one number for each of the "
            f"{n_features} features, such as X.std(axis=0)."
        )
    return factors
