"""Outliers that hide each other, and good rows that are accused in their place."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from ._estimators import path_and_selection
from ._item_boxes import columns
from ._layout import FONT_SIZE, label_points, legend_below, points_per_pixel, settle
from .shift_display import check_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..shift_path import ShiftPath

# So many rows that are not remarkable are drawn at most.
_MOST = 20_000
# From this value on an axis is logarithmic beyond its cut.
_WIDE = 40.0
_RING = "#c0392b"
_DISAGREE = "0.93"
# Points nearer than that (in points) share a name.
_TOUCH = 20.0


class MaskingDisplay:
    """Robust residuals against deletion statistics, and against places on a path.

    Left: what each row looks like if it alone is left out of least squares. Right: when
    the path shifts it. Vertical, in both: how far it is from the robust fit, which is
    not affected by it. Outliers that hide each other are in the upper left (masked),
    good rows that are accused in their place in the lower right (swamped).

    Draw with `from_estimator` or `from_path`; the object that they return can `plot`
    again with other options.

    Parameters
    ----------
    path : ShiftPath
    X, y : array-like
        The data that the path was traced on.
    residual : array-like of shape (n_rows,) or (n_rows, n_outputs)
        Residuals of the robust fit.
    scale : float
        Of these residuals.
    knot : float, default=None
        Threshold (or t): rows that are shifted there are flagged. None: none.
    outliers : array-like of shape (n_rows,), bool, default=None
        The truth, if it is known.
    sample_weight : array-like of shape (n_rows,), default=None
        As given to the solver.

    Attributes
    ----------
    axes_ : ndarray of two Axes
    ax_ : matplotlib Axes
        The left one.
    figure_ : matplotlib Figure
    deletion_ : ndarray of shape (n_rows,)
        Absolute externally studentized residuals of least squares; for several
        responses the root of T^2.
    entry_ : ndarray of shape (n_rows,)
        ``path.entry_strength() / scale``.
    residual_ : ndarray of shape (n_rows,)
        (Norms of) the robust residuals over `scale`.
    leverage_ : ndarray of shape (n_rows,)
    flagged_ : bool ndarray of shape (n_rows,)
    named_ : list of int
        Rows with a name.

    Raises
    ------
    TypeError, ValueError
        If `path` is not one of robust regression, the data have another number of rows,
        or `scale` is not positive.

    See Also
    --------
    sparselbi.diagnostics.regression_diagnostics : The deletion statistics.

    Examples
    --------
    >>> from sparselbi import OutlierRegression
    >>> from sparselbi.datasets import load_hbk
    >>> from sparselbi.plotting import MaskingDisplay
    >>> X, y = load_hbk(return_X_y=True)
    >>> display = MaskingDisplay.from_estimator(OutlierRegression().fit(X, y), X, y)
    >>> bool((display.deletion_[:10] < 2.5).all())  # all ten outliers are masked
    True
    >>> bool((display.residual_[:10] > 3).all())
    True
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    deletion_: NDArray[np.float64]
    entry_: NDArray[np.float64]
    residual_: NDArray[np.float64]
    leverage_: NDArray[np.float64]
    flagged_: NDArray[np.bool_]
    named_: list[int]

    def __init__(
        self,
        path: ShiftPath,
        X: Any,
        y: ArrayLike,
        *,
        residual: ArrayLike,
        scale: float,
        knot: float | None = None,
        outliers: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> None:
        from ..diagnostics import regression_diagnostics

        check_data(path, X, y)
        n = path.n_rows
        residuals = np.asarray(residual, dtype=np.float64).reshape(n, -1)
        if not 0 < scale < math.inf:
            raise ValueError(
                f"scale={scale!r} must be a positive number, the scale of the robust "
                "residuals; after a perfect fit there is nothing to compare with."
            )
        self.outliers = None if outliers is None else np.asarray(outliers)
        if self.outliers is not None and (
            self.outliers.dtype != bool or self.outliers.shape != (n,)
        ):
            raise ValueError(
                f"outliers must be a bool array of shape ({n},), got dtype "
                f"{self.outliers.dtype} and shape {self.outliers.shape}. From row "
                "numbers make one with numpy.isin(numpy.arange(n_rows), rows)."
            )
        fit = regression_diagnostics(
            X, y, sample_weight, fit_intercept=path.settings["fit_intercept"]
        )
        several = fit.residual.ndim == 2
        self.path, self.knot = path, knot
        self.deletion_ = (
            np.sqrt(fit.t2) if several else np.abs(fit.studentized_external)
        )
        self.entry_ = path.entry_strength() / scale
        self.residual_ = np.linalg.norm(residuals, axis=1) / scale
        self.leverage_ = fit.leverage
        self.scale = float(scale)
        self.flagged_ = (
            np.zeros(n, dtype=bool) if knot is None else path.outliers(float(knot))
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        reference: Any = None,
        outliers: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        ax: Any = None,
        **options: Any,
    ) -> MaskingDisplay:
        """Draw the rows as a fitted estimator and its path see them.

        Parameters
        ----------
        estimator : fitted estimator with ``path_`` and ``selection_``
            Such as `OutlierRegression`. What it flags gets a ring. Of a pipeline, give
            the last step and the data that reach it.
        X, y, sample_weight : array-like
            The data given to `fit`.
        reference : fitted estimator with ``predict`` and ``scale_``, default=None
            Whose residuals are the robust ones. None: those of `estimator`. With
            ``OutlierRegression("hard")`` here it shows what another path misses.
        outliers : array-like of shape (n_rows,), bool, default=None
            The truth, if it is known.
        ax, **options
            See `plot`.

        Returns
        -------
        MaskingDisplay
        """
        path: Any
        path, selection = path_and_selection(estimator)
        check_data(path, X, y)
        robust = estimator if reference is None else reference
        for name in ("predict", "scale_"):
            if not hasattr(robust, name):
                raise ValueError(
                    f"reference={robust!r} has no {name}; give a fitted estimator of "
                    "robust regression, such as OutlierRegression().fit(X, y)."
                )
        display = cls(
            path,
            X,
            y,
            residual=np.asarray(y) - robust.predict(X),
            scale=robust.scale_,
            knot=selection.knot,
            outliers=outliers,
            sample_weight=sample_weight,
        )
        return display.plot(ax, **options)

    @classmethod
    def from_path(
        cls,
        path: ShiftPath,
        X: Any,
        y: ArrayLike,
        knot: float,
        *,
        scale: float,
        outliers: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        ax: Any = None,
        **options: Any,
    ) -> MaskingDisplay:
        """Draw the rows as a path sees them, with the residuals at one of its points.

        Parameters
        ----------
        path : ShiftPath
        X, y, sample_weight : array-like
            The data that the path was traced on.
        knot : float
            Threshold (or t) of the point.
        scale : float
            Of the residuals there.
        outliers : array-like of shape (n_rows,), bool, default=None
            The truth, if it is known.
        ax, **options
            See `plot`.

        Returns
        -------
        MaskingDisplay
        """
        check_data(path, X, y)
        display = cls(
            path,
            X,
            y,
            residual=path.residuals(X, y, knot),
            scale=scale,
            knot=knot,
            outliers=outliers,
            sample_weight=sample_weight,
        )
        return display.plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        cut: float = 3.0,
        deletion_cut: float = 2.5,
        top: int = 15,
    ) -> MaskingDisplay:
        """Draw both panels.

        Parameters
        ----------
        ax : matplotlib Axes, two Axes or None
            None makes a figure; a single Axes is divided.
        cut : float, default=3.0
            Robust residual beyond which a row is an outlier.
        deletion_cut : float, default=2.5
            Deletion statistic beyond which one would say so.
        top : int, default=15
            How many rows are named: those that are outliers (the truth if given, else
            by `cut`), masked, swamped or flagged; the largest residuals first.

        Returns
        -------
        MaskingDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is out of range.

        Notes
        -----
        The vertical line on the right is the chosen point of the path. For the "l1" and
        "hard" paths, rows beyond it have been shifted by then.
        """
        for name, value in (("cut", cut), ("deletion_cut", deletion_cut)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r} must be a positive number.")
        if operator.index(top) < 0:
            raise ValueError(f"top={top!r} must be at least 0.")
        axes = columns(ax, [1.0, 1.0], (10.0, 5.0))
        if ax is None or hasattr(ax, "get_subplotspec"):
            axes[1].sharey(axes[0])
        self._choose_names(cut, deletion_cut, top)
        chosen = None if self.knot is None else self._strength(self.knot) / self.scale
        several = len(self.path.coef_shape) > 1
        panels = [
            (self.deletion_, deletion_cut, f"deletion {'T' if several else '|t|'}"),
            (self.entry_, chosen, self._entry_label()),
        ]
        for panel, (across, line, label) in zip(axes, panels, strict=True):
            points = self._draw_rows(panel, across)
            _make_room(panel, line, cut)
            panel.set_xlabel(label)
        drawn = [
            _draw_cuts(panel, line, cut)
            for panel, (_, line, _) in zip(axes, panels, strict=True)
        ]
        axes[0].set_ylabel("robust residual / scale")
        axes[1].tick_params(labelleft=False)
        self._draw_legend(axes, points)
        settle(axes[0])
        for panel, (across, *_), texts in zip(axes, panels, drawn, strict=True):
            label_points(panel, self._labels(panel, across), texts)
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    def _choose_names(self, cut: float, deletion_cut: float, top: int) -> None:
        """Rows about which somebody disagrees, or that are outliers."""
        far = self.residual_ > cut
        loud = np.nan_to_num(self.deletion_) > deletion_cut
        notable = far | loud | self.flagged_
        if self.outliers is not None:
            notable |= self.outliers
        rows = np.flatnonzero(notable)
        order = np.argsort(-self.residual_[rows], kind="stable")
        self._notable = notable
        self.named_ = rows[order][:top].tolist()

    def _strength(self, knot: float) -> float:
        return 1 / knot if self.path.knot_name == "t" else knot

    def _entry_label(self) -> str:
        if self.path.knot_name == "t":
            return "1 / (first t at which the row is shifted) / scale"
        return "first threshold at which the row is shifted / scale"

    def _draw_rows(self, ax: Axes, across: NDArray[np.float64]) -> Any:
        other = np.flatnonzero(~self._notable)
        if len(other) > _MOST:
            other = other[np.linspace(0, len(other) - 1, _MOST).astype(int)]
        shown = np.r_[other, np.flatnonzero(self._notable)]
        known = np.zeros(len(across), bool) if self.outliers is None else self.outliers
        look: dict[str, Any] = {"cmap": "viridis_r", "edgecolors": "0.35", "zorder": 2}
        look |= {"vmin": 0.0, "vmax": self.leverage_.max(), "lw": 0.4}
        look["rasterized"] = len(shown) > 5000
        for rows, marker, size in [
            (shown[~known[shown]], "o", 24),
            (shown[known[shown]], "^", 34),
        ]:
            points = ax.scatter(
                across[rows],
                self.residual_[rows],
                c=self.leverage_[rows],
                marker=marker,
                s=size,
                **look,
            )
        ax.scatter(
            across[self.flagged_],
            self.residual_[self.flagged_],
            s=95,
            facecolors="none",
            edgecolors=_RING,
            lw=1.2,
            zorder=2.5,
        )
        for values, axis in ((across, "x"), (self.residual_, "y")):
            if np.nanmax(values, initial=0.0) > _WIDE:
                getattr(ax, f"set_{axis}scale")("symlog", linthresh=5.0, linscale=1.5)
        return points

    def _labels(self, ax: Axes, across: NDArray[np.float64]) -> list[Any]:
        """Names above points; points that touch have one name together."""
        rows = np.array([i for i in self.named_ if np.isfinite(across[i])], dtype=int)
        if not len(rows):
            return []
        unit = points_per_pixel(ax)
        places = ax.transData.transform(np.c_[across[rows], self.residual_[rows]])
        near = np.linalg.norm(places[:, None] - places, axis=2) * unit < _TOUCH
        _, group = connected_components(near, directed=False)
        labels = []
        for k in range(group.max() + 1):
            some = group == k
            above = (places[some, 0].mean(), places[some, 1].max() + 5 / unit)
            point = ax.transData.inverted().transform(above)
            labels.append((self._joint_name(rows[some]), tuple(point), "0.15"))
        return labels

    def _joint_name(self, rows: NDArray[np.int64]) -> str:
        """Names of rows, numbers that follow each other as a range."""
        rows = np.sort(rows)
        ends = np.diff(rows) > 1
        if self.path.row_names is not None:
            ends[:] = True
        runs = np.split(rows, np.flatnonzero(ends) + 1)
        parts = []
        for run in runs:
            first, last = self.path.row_name(run[0]), self.path.row_name(run[-1])
            dash = ", " if len(run) == 2 else "–"  # noqa: RUF001
            parts.append(first if len(run) == 1 else f"{first}{dash}{last}")
        return ", ".join(parts)

    def _draw_legend(self, axes: list[Axes], points: Any) -> None:
        from matplotlib.lines import Line2D

        figure: Any = axes[0].figure
        bar = figure.colorbar(points, ax=axes, pad=0.015, aspect=30)
        bar.set_label("leverage")
        look: dict[str, Any] = {"ls": "", "mfc": "none"}
        handles = [Line2D([], [], marker="o", ms=9, mec=_RING, label="flagged", **look)]
        if self.outliers is not None:
            look |= {"marker": "^", "ms": 6, "mec": "0.35"}
            handles.append(Line2D([], [], label="true outlier", **look))
        legend_below(axes[0], handles)


def _make_room(ax: Axes, across: float | None, up: float) -> None:
    """Limits around all rows, with room beyond the cuts and for names."""
    right = max(ax.get_xlim()[1], 1.35 * (across or 0.0))
    top = max(1.08 * ax.get_ylim()[1], 1.35 * up)
    ax.set_xlim(-0.03 * right, right)
    ax.set_ylim(-0.02 * top, top)


def _draw_cuts(ax: Axes, across: float | None, up: float) -> list[Any]:
    """Cut lines, and the quadrants in which the two statements disagree; their names"""
    from matplotlib.patches import Rectangle

    line: dict[str, Any] = {"color": "0.35", "lw": 0.9, "ls": "--", "zorder": 1}
    ax.axhline(up, **line)
    if across is None:
        return []
    ax.axvline(across, **line)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    quadrants = [
        ((left, up), across - left, top - up, "masked", (0.0, top), 5.0),
        ((across, bottom), right - across, up - bottom, "swamped", (1.0, up), -5.0),
    ]
    names = []
    for place, width, height, name, corner, inwards in quadrants:
        look = {"facecolor": _DISAGREE, "edgecolor": "none", "zorder": 0.5}
        ax.add_patch(Rectangle(place, width, height, **look))
        text = ax.annotate(
            name,
            xy=corner,
            xycoords=ax.get_yaxis_transform(),
            xytext=(inwards, -4.0),
            textcoords="offset points",
            ha="left" if inwards > 0 else "right",
            va="top",
            color="0.45",
            fontsize=FONT_SIZE,
            style="italic",
        )
        names.append(text)
    return names
