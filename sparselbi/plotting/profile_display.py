"""Dense and sparse coefficients over position, at chosen points of a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._estimators import path_and_selection
from ._grid import Grid, checked_grid
from ._layout import FONT_SIZE, settle, shortened
from ._split_paths import (
    DENSE,
    SPARSE,
    TRUTH,
    check_split_path,
    knot_lines,
    knot_title,
    named_knots,
    panel_table,
    share_limits,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..split_path import SplitPath

WHICH = ("dense", "sparse")
# Up to this many features of a line get their names as ticks.
_MOST_NAMES = 25
# Outside of a mask; the second one for grey images.
_OUTSIDE, _OUTSIDE_GREY = "0.85", "#cfe2f0"


class ProfileDisplay:
    """Coefficients over position, as lines or images, one for each chosen point.

    Draw with `from_estimator` or `from_path`; the object that they return can `plot`
    again with other options.

    Parameters
    ----------
    path : SplitPath
    knots : float, Selection, sequence or dict of these, default=None
        Which points of the path: values of t or selections; the keys of a dict name
        them. None takes some knots between the first active row and the end.
    positions : array-like of shape (n_features,), default=None
        Abscissae of the features, in any order; draws lines. None: as `grid` says.
    grid : tuple of int, bool ndarray, False or None, default=None
        The array that the features are laid out in, in C order: its shape, or a mask
        that is True where there is a feature. None takes that of D; False, or one
        axis, draws lines.
    truth : array-like of shape ``path.coef_shape``, default=None
        True coefficients.
    observed : array-like of shape ``path.coef_shape``, default=None
        Noisy observations of the coefficients, if X is the identity.

    Attributes
    ----------
    knots_ : dict of str to float
        The values of t, by the names that they have in the figure.
    axes_ : ndarray of Axes, 2-d
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    lines_ : dict of str to ndarray of Line2D
        By kind ("dense", "sparse", "truth", "observed"), of shape (n_knots, n_outputs).
        Empty for images.
    images_ : dict of str to ndarray of AxesImage
        "dense" and "sparse" have shape (n_knots, n_outputs, n_cuts), "truth" and
        "observed" (n_outputs, n_cuts), with one cut for grids of two axes. Empty for
        lines.
    colorbar_ : matplotlib Colorbar or None

    Raises
    ------
    TypeError
        If `path` is not a path of Split LBI.
    ValueError
        If an array does not fit to the features, or a knot is not on the path.

    See Also
    --------
    PiecesDisplay : How the flat pieces of the sparse coefficients split along the path.

    Notes
    -----
    Sparse are the projected coefficients, see `SplitPath.projected`. They are drawn as
    steps if the rows of D are differences of two coefficients, as straight lines
    otherwise. All panels share their scale.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import SplitLBI
    >>> from sparselbi.plotting import ProfileDisplay
    >>> signal = np.repeat([0.0, 2.0, 1.0], 20)
    >>> y = signal + 0.1 * np.random.default_rng(0).normal(size=60)
    >>> model = SplitLBI("differences", fit_intercept=False).fit(np.eye(60), y)
    >>> display = ProfileDisplay.from_estimator(model, truth=signal)
    >>> len(display.lines_["sparse"])
    1
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    knots_: dict[str, float]
    lines_: dict[str, NDArray[Any]]
    images_: dict[str, NDArray[Any]]
    colorbar_: Any

    def __init__(
        self,
        path: SplitPath,
        knots: Any = None,
        *,
        positions: ArrayLike | None = None,
        grid: Any = None,
        truth: ArrayLike | None = None,
        observed: ArrayLike | None = None,
    ) -> None:
        self.path = check_split_path(path)
        self.positions, self.grid = positions, grid
        self.truth = self._reference("truth", truth)
        self.observed = self._reference("observed", observed)
        self._grid = self._checked_grid()
        self.knots_ = named_knots(path, self._some_knots() if knots is None else knots)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        positions: ArrayLike | None = None,
        grid: Any = None,
        truth: ArrayLike | None = None,
        observed: ArrayLike | None = None,
        ax: Any = None,
        **options: Any,
    ) -> ProfileDisplay:
        """Draw a fitted estimator at the point that it reports.

        Parameters
        ----------
        estimator : fitted estimator with ``path_`` and ``selection_``
            Or a pipeline or a search that ends in one.
        positions, grid, truth, observed
            See `ProfileDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        ProfileDisplay
        """
        path, selection = path_and_selection(estimator)
        return cls.from_path(
            path,  # type: ignore[arg-type]  # checked in the constructor
            selection,
            positions=positions,
            grid=grid,
            truth=truth,
            observed=observed,
            ax=ax,
            **options,
        )

    @classmethod
    def from_path(
        cls,
        path: SplitPath,
        knots: Any = None,
        *,
        positions: ArrayLike | None = None,
        grid: Any = None,
        truth: ArrayLike | None = None,
        observed: ArrayLike | None = None,
        ax: Any = None,
        **options: Any,
    ) -> ProfileDisplay:
        """Draw a path at some of its points.

        Parameters
        ----------
        path : SplitPath
        knots, positions, grid, truth, observed
            See `ProfileDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        ProfileDisplay
        """
        display = cls(
            path, knots, positions=positions, grid=grid, truth=truth, observed=observed
        )
        return display.plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        which: Sequence[str] = WHICH,
        scale: ArrayLike | str | None = None,
        center: float | None = 0.0,
        limits: tuple[float, float] | None = None,
        cmap: Any = None,
        slices: Mapping[int, Any] | None = None,
    ) -> ProfileDisplay:
        """Draw the profiles.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. A single Axes is divided into panels.
        which : sequence of {"dense", "sparse"}, default=("dense", "sparse")
        scale : array-like of shape (n_features,), "used" or None
            Factors for the coefficients. "used" takes ``path.coef_scale``: of
            standardized columns the coefficients in which D has its structure.
        center : float or None, default=0.0
            Value in the middle of the colours of images, which go equally far to both
            sides. None: grey values from the smallest to the largest coefficient.
        limits : (float, float) or None
            Ends of the colour scale; None holds everything that is shown.
        cmap : str or Colormap, default=None
            None is a diverging one for a `center`, and grey without one.
        slices : dict of int to int or sequence of int, default=None
            Cuts through a grid of three axes: for some axes, indices along them. None
            cuts each axis at the largest coefficient.

        Returns
        -------
        ProfileDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.
        """
        self._which = self._checked_which(which)
        factors = self._checked_factors(scale)
        path, ts = self.path, list(self.knots_.values())
        self._outputs = path._outputs() or [None]
        shape = (len(ts), len(self._outputs), path.n_features)
        fixed = {"truth": self.truth, "observed": self.observed}
        values = {kind: given for kind, given in fixed.items() if given is not None}
        self._fixed = list(values)
        if "dense" in self._which:
            values["dense"] = path.coefs_at(ts)[0]
        if "sparse" in self._which:
            values["sparse"] = np.array([path.projected(t).coef for t in ts])
        # (n_knots, n_outputs, n_features), without the first axis if fixed.
        self._values = {
            kind: (factors * v).reshape(shape[kind in self._fixed :])
            for kind, v in values.items()
        }
        self._label = "coefficient" if scale is None else "coefficient × scale"
        self.lines_, self.images_, self.colorbar_ = {}, {}, None
        if self._grid is None:
            axes = self._draw_lines(ax)
        else:
            look = self._colors(center, limits, cmap)
            axes = self._draw_images(ax, self._grid, look, slices)
        self.axes_, self.ax_ = axes, axes[0, 0]
        self.figure_ = self.ax_.figure
        return self

    # ---------------------------------------------------------------------- checking

    def _reference(self, name: str, values: Any) -> NDArray[np.float64] | None:
        if values is None:
            return None
        array = np.asarray(values, dtype=np.float64)
        if array.shape != self.path.coef_shape:
            raise ValueError(
                f"{name} has shape {array.shape}; it needs the shape of the "
                f"coefficients, {self.path.coef_shape}."
            )
        return array

    def _checked_grid(self) -> Grid | None:
        p = self.path.n_features
        if self.positions is None:
            return checked_grid(self.path, self.grid)
        if (shape := np.asarray(self.positions).shape) != (p,):
            raise ValueError(
                f"positions has shape {shape}; it needs one number for each of the {p} "
                "features. For arrays of features use grid."
            )
        return None

    def _some_knots(self) -> list[float]:
        path = self.path
        moving = path.split.active_coefs.reshape(len(path), -1).any(axis=1)
        first = int(moving.argmax()) if moving.any() else len(path) - 1
        n = 1 if path._outputs() else 4 if self._grid is None else 3
        places = np.linspace(first, len(path) - 1, n + 2)[1:-1].round().astype(int)
        return np.unique(path.knots[places]).tolist()

    def _checked_which(self, which: Any) -> tuple[str, ...]:
        kinds = (which,) if isinstance(which, str) else tuple(which)
        if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(WHICH):
            raise ValueError(f"which={which!r} must hold one or both of {WHICH}.")
        return kinds

    def _checked_factors(self, scale: Any) -> NDArray[np.float64]:
        if isinstance(scale, str) and scale == "used":
            return self.path.coef_scale
        p = self.path.n_features
        factors = np.ones(p) if scale is None else np.asarray(scale)
        if factors.shape != (p,):
            raise ValueError(
                f"scale={scale!r} must be 'used', or one number for each of the {p} "
                "features, such as X.std(axis=0)."
            )
        return factors.astype(np.float64)

    # ------------------------------------------------------------------------- lines

    def _draw_lines(self, ax: Any) -> NDArray[Any]:
        """One output: a row for each knot. Several: a row each, knots as columns."""
        knots, several = list(self.knots_.items()), len(self._outputs) > 1
        n_rows, n_columns = (
            (len(self._outputs), len(knots)) if several else (len(knots), 1)
        )
        height = 3.2 if n_rows == 1 else 1.75
        size = (min(8.0 + 2.0 * (n_columns - 1), 14.0), 1.1 + height * n_rows)
        axes = panel_table(ax, [1.0] * n_rows, [1.0] * n_columns, size)
        lead = (len(knots), len(self._outputs))
        self.lines_ = {kind: np.empty(lead, dtype=object) for kind in self._values}
        across = self._abscissae()
        order = np.argsort(across, kind="stable")
        for (i, (name, t)), o in product(enumerate(knots), range(len(self._outputs))):
            panel = axes[o, i] if several else axes[i, 0]
            panel.axhline(0.0, color="0.3", lw=0.6, zorder=1)
            for kind, every in self._values.items():
                values = every[o] if kind in self._fixed else every[i, o]
                look = dict(_LOOKS[kind])
                if kind in ("sparse", "truth") and self.path.D.is_graph:
                    look["drawstyle"] = "steps-mid"
                (line,) = panel.plot(across[order], values[order], label=kind, **look)
                self.lines_[kind][i, o] = line
            if not several or o == 0:
                title = knot_title(self.path, name, t)
                panel.set_title(title, loc="left", fontsize=FONT_SIZE, pad=3)
        self._finish_lines(axes, order)
        return axes

    def _abscissae(self) -> NDArray[Any]:
        if self.positions is None:
            return np.arange(self.path.n_features)
        return np.asarray(self.positions)

    def _finish_lines(self, axes: NDArray[Any], order: NDArray[np.int64]) -> None:
        path = self.path
        kind = "class" if path.classes is not None else "output"
        for panel in axes.ravel():
            panel.margins(x=0.01, y=0.07)
        share_limits(axes.ravel(), "y")
        for row, panel in enumerate(axes[:, 0]):
            label = self._label
            if len(axes) > 2:  # the panels are low
                label = label.replace("coefficient", "coef.")
            if len(self._outputs) > 1:
                label = f"{label}\n{kind} {self._outputs[row]}"
            panel.set_ylabel(label)
        for panel in axes[:, 1:].ravel():
            panel.tick_params(labelleft=False)
        for panel in axes[:-1].ravel():
            panel.tick_params(labelbottom=False)
        few = path.feature_names is not None and path.n_features <= _MOST_NAMES
        for panel in axes[-1]:
            panel.set_xlabel("position" if self.positions is not None else "feature")
        for panel in axes.ravel():
            if few and self.positions is None:
                names = [shortened(path._name(j), 15) for j in order.tolist()]
                angle = 0 if sum(map(len, names)) < 80 // axes.shape[1] else 90
                panel.set_xticks(
                    order, names, rotation=angle, fontsize=min(FONT_SIZE, 8.0)
                )
                panel.set_xlabel("")
        handles = [lines[0, 0] for lines in self.lines_.values()]
        if len(handles) > 1:
            _legend_at_the_top(list(axes[0]), handles)

    # ------------------------------------------------------------------------ images

    def _draw_images(
        self, ax: Any, grid: Grid, look: dict[str, Any], slices: Any
    ) -> NDArray[Any]:
        shown = self._values[self._which[-1]]
        cuts = grid.cuts(slices, np.abs(shown).max(axis=(0, 1)))
        table, rows, columns, blocks = self._table(cuts)
        extents = [grid.cut(shown[0, 0], cut).shape for cut in cuts]
        # All cuts in one row have one height on the page, if there is room.
        n_across = len(columns) // len(cuts)
        ratio = [shape[1] / shape[0] for shape in extents]
        height = min(2.6, 9.0 / (n_across * sum(ratio)))
        height = max(height, 1.1 / min(ratio))
        widths = [height * r for r in ratio] * n_across
        size = (
            sum(widths) + 0.15 * len(widths) + 1.3,
            (height + 0.3) * len(rows) + 0.6,
        )
        axes = panel_table(ax, [height] * len(rows), widths, size)
        lead = (len(self.knots_), len(self._outputs), len(cuts))
        self.images_ = {
            kind: np.empty(lead if kind in self._which else lead[1:], dtype=object)
            for kind in self._values
        }
        for panel in axes.ravel():
            panel.set_axis_off()
        for place, (kind, index, cut) in table.items():
            panel, values = axes[place], self._values[kind][index]
            panel.set_axis_on()
            panel.set(xticks=[], yticks=[])
            self.images_[kind][(*index, cut)] = panel.imshow(
                grid.cut(values, cuts[cut]), interpolation="nearest", **look
            )
        for row, label in enumerate(rows):
            axes[row, 0].set_ylabel(label, fontsize=FONT_SIZE)
        for column, label in enumerate(columns):
            axes[0, column].set_title(label, fontsize=FONT_SIZE)
        for place, label in blocks.items():
            axes[place].set_title(label, fontsize=FONT_SIZE)
        one = self.images_[self._which[0]].flat[0]
        self.colorbar_ = axes[0, 0].figure.colorbar(
            one, ax=list(axes.ravel()), label=self._label, shrink=0.8, pad=0.02
        )
        return axes

    def _table(self, cuts: Any) -> tuple[dict[Any, Any], list[str], list[str], Any]:
        """What stands where, labels of rows and columns, and further titles.

        With two axes: kinds below each other, knots (several outputs: outputs) beside
        each other. With three: knots and outputs below, kinds and cuts beside.
        """
        names = [
            "\n".join(knot_lines(self.path, name, t)) for name, t in self.knots_.items()
        ]
        kind_name = "class" if self.path.classes is not None else "output"
        outputs = [
            "" if o is None else f"{kind_name} {shortened(str(o), 15)}"
            for o in self._outputs
        ]
        table: dict[Any, Any] = {}
        rows: list[str] = []
        titles: dict[Any, str] = {}
        if len(cuts) > 1 or cuts[0] is not None:
            columns = [
                f"{kind}\naxis {axis} = {index}"
                for kind in self._which
                for axis, index in cuts
            ]
            for i, name in enumerate(names):
                for o, output in enumerate(outputs):
                    for k, kind in enumerate(self._which):
                        for c in range(len(cuts)):
                            table[len(rows), k * len(cuts) + c] = kind, (i, o), c
                    rows.append("\n".join(filter(None, [output, name])))
            for kind in self._fixed:
                for o, output in enumerate(outputs):
                    for c in range(len(cuts)):
                        table[len(rows), c] = kind, (o,), c
                    rows.append("\n".join(filter(None, [output, kind])))
            return table, rows, columns, titles
        if len(outputs) > 1:
            for i, name in enumerate(names):
                for kind in self._which:
                    for o in range(len(outputs)):
                        table[len(rows), o] = kind, (i, o), 0
                    rows.append(f"{kind}\n{name}")
            for kind in self._fixed:
                for o in range(len(outputs)):
                    table[len(rows), o] = kind, (o,), 0
                rows.append(kind)
            return table, rows, outputs, titles
        for k, kind in enumerate(self._which):
            for i in range(len(names)):
                table[k, i] = kind, (i, 0), 0
        columns = list(names)
        for f, kind in enumerate(self._fixed):
            row = f % len(self._which)
            column = len(names) + f // len(self._which)
            table[row, column] = kind, (0,), 0
            titles[row, column] = kind
            if column == len(columns):
                columns.append(kind)
        return table, list(self._which), columns, titles

    def _colors(self, center: Any, limits: Any, cmap: Any) -> dict[str, Any]:
        from matplotlib import colormaps

        every = self._values.values()
        low, high = min(v.min() for v in every), max(v.max() for v in every)
        if limits is not None:
            low, high = limits
            if not low < high:
                raise ValueError(f"limits={limits!r} must be two increasing numbers.")
        elif center is not None:
            reach = max(high - center, center - low) or 1.0
            low, high = center - reach, center + reach
        name = cmap or ("gray" if center is None else "RdBu_r")
        colors = colormaps[name] if isinstance(name, str) else name
        outside = _OUTSIDE_GREY if colors.name == "gray" else _OUTSIDE
        return {"cmap": colors.with_extremes(bad=outside), "vmin": low, "vmax": high}


_LOOKS: dict[str, dict[str, Any]] = {
    "observed": {"ls": "", "marker": ".", "ms": 3.0, "color": "0.7", "zorder": 1.5},
    "truth": {"ls": "--", "lw": 1.2, "color": TRUTH, "zorder": 1.8},
    "dense": {"lw": 0.9, "color": DENSE, "zorder": 2.0},
    "sparse": {"lw": 2.0, "color": SPARSE, "zorder": 2.2},
}


def _legend_at_the_top(axes: Sequence[Axes], handles: Any) -> None:
    """A legend in one line above the last of the axes, above titles if need be."""
    from matplotlib.transforms import offset_copy

    ax = axes[-1]
    legend = ax.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
        ncols=len(handles),
        fontsize=FONT_SIZE,
        frameon=False,
    )
    settle(ax)
    box = legend.get_window_extent()
    if any(panel._left_title.get_window_extent().overlaps(box) for panel in axes):
        higher = offset_copy(ax.transAxes, ax.figure, y=15.0, units="points")
        legend.set_bbox_to_anchor((1.0, 1.0), transform=higher)
