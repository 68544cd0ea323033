"""The shifts of rows along a robust path."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._estimators import path_and_selection
from ._layout import (
    COLORS,
    LINE_STYLES,
    label_ends,
    label_points,
    panels,
    set_log_axis,
    settle,
)
from ._points import check_selections, make_strip, mark_points, rule_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..selection import Selection
    from ..shift_path import ShiftPath

_GREY = "0.75"
# Flagged rows beyond those that have a colour of their own.
_MORE_FLAGGED = "#d89a9a"
# So many knots, flagged rows and grey rows are drawn at most.
_KNOTS = 200
_FLAGGED = 500
_GREY_ROWS = 150


class ShiftDisplay:
    """The shift of each row along a path, flagged rows by name.

    Draw with `from_estimator` or `from_path`; the object that they return can `plot`
    again with other options.

    Parameters
    ----------
    path : ShiftPath
    X, y : array-like
        The data that the path was traced on; shifts follow from their residuals.
    selections : sequence of Selection, default=()
        Points of the path to mark. The rows that are shifted at the first one are
        *flagged*.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    rows_ : ndarray of int
        Rows in colour, in the order in which the path shifts them.
    knots_ : ndarray
        Where shifts are drawn, from the null model on: at most about 200 points, mostly
        knots of the path, and the entries of the rows with a name.
    shifts_ : ndarray of shape (n_knots, n_drawn)
        Shifts of the drawn rows, in the units of y; their norms for several responses.
    lines_ : dict of int to Line2D
        By row.

    Raises
    ------
    TypeError, ValueError
        If `path` is not one of robust regression, the data have another number of rows,
        or a selection is of another path.

    See Also
    --------
    MaskingDisplay : Which of the flagged rows one-at-a-time diagnostics miss.

    Examples
    --------
    >>> from sparselbi import OutlierRegression
    >>> from sparselbi.datasets import load_stars_cyg
    >>> from sparselbi.plotting import ShiftDisplay
    >>> X, y = load_stars_cyg(return_X_y=True)
    >>> display = ShiftDisplay.from_estimator(OutlierRegression().fit(X, y), X, y)
    >>> sorted(display.rows_.tolist())
    [10, 19, 29, 33]
    """

    ax_: Any
    figure_: Any
    rows_: NDArray[np.int64]
    knots_: NDArray[np.float64]
    shifts_: NDArray[np.float64]
    lines_: dict[int, Any]

    def __init__(
        self,
        path: ShiftPath,
        X: Any,
        y: ArrayLike,
        *,
        selections: Sequence[Selection] = (),
    ) -> None:
        check_data(path, X, y)
        self.path, self.X, self.y = path, X, y
        self.selections = check_selections(path, selections)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, ax: Any = None, **options: Any
    ) -> ShiftDisplay:
        """Draw the path of a fitted estimator, and flag what it flags.

        Parameters
        ----------
        estimator : fitted estimator with ``path_`` and ``selection_``
            Such as `OutlierRegression`. Of a pipeline, give the last step and the data
            that reach it.
        X, y : array-like
            The data given to `fit`.
        ax, **options
            See `plot`.

        Returns
        -------
        ShiftDisplay
        """
        path: Any
        path, selection = path_and_selection(estimator)
        return cls.from_path(path, X, y, [selection], ax=ax, **options)

    @classmethod
    def from_path(
        cls,
        path: ShiftPath,
        X: Any,
        y: ArrayLike,
        selections: Sequence[Selection] = (),
        *,
        ax: Any = None,
        **options: Any,
    ) -> ShiftDisplay:
        """Draw a path.

        Parameters
        ----------
        path : ShiftPath
        X, y : array-like
            The data that the path was traced on.
        selections : sequence of Selection, default=()
            Points of this path to mark; the first one says which rows are flagged.
        ax, **options
            See `plot`.

        Returns
        -------
        ShiftDisplay
        """
        return cls(path, X, y, selections=selections).plot(ax, **options)

    def plot(
        self, ax: Any = None, *, top: int = 10, end: float | None = None
    ) -> ShiftDisplay:
        """Draw the shifts.

        Parameters
        ----------
        ax : matplotlib Axes or None
            None makes a figure.
        top : int, default=10
            How many flagged rows are named and have a colour of their own: the first
            ones that the path shifts. The other flagged ones are pale red, all other
            rows grey. Without selections the `top` first rows are named.
        end : float, default=None
            Threshold (or t) at which the drawing ends. None: the end of the path.

        Returns
        -------
        ShiftDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is out of range, or `end` hides a point that is to be marked.

        Notes
        -----
        The path reads from left to right, from the null model on: thresholds decrease.
        The upper axis counts shifted rows. Of very many rows, the first ones of the
        path and some of the others are drawn (150 grey ones). A line is drawn where the
        row is shifted; least squares without the row ("hard", "iss") jumps.
        """
        if operator.index(top) < 1:
            raise ValueError(f"top={top!r} must be at least 1.")
        path = self.path
        end = self._checked_end(end)
        flagged, others = self._choose_rows(top)
        self.rows_ = flagged
        self._named = flagged[:top].tolist()
        drawn = np.concatenate([flagged, others])
        self.knots_ = self._choose_knots(end)
        self.shifts_ = _shift_sizes(path, self.X, self.y, drawn, self.knots_)
        (ax,) = panels(ax, [1.0], (8.0, 5.0))
        is_fresh = not ax.has_data()
        self._draw_lines(ax, drawn)
        ax.margins(y=0.07)
        name = "norm of the shift" if path.coef_shape[:-1] else "shift"
        ax.set_ylabel(f"{name} (units of y)" if path.classes is None else name)
        ax.set_xlabel(path.knot_name)
        ax.set_xlim(sorted((self.knots_[0], self.knots_[-1])))
        set_log_axis(ax)
        if path.knot_name != "t":
            ax.invert_xaxis()
        if is_fresh:
            self._draw_counts(ax)
        self._write(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    # -- what is drawn ---------------------------------------------------------------

    def _checked_end(self, end: float | None) -> float:
        path = self.path
        knots = path.knots[path.knots > 0]
        last, first = float(knots[-1]), float(knots[0])
        if end is None:
            return last
        clock = path._direction * np.array([first, end, last])
        if not (
            end > 0 and clock[0] < clock[1] <= clock[2] * (1 + 1e-12 * path._direction)
        ):
            raise ValueError(
                f"end={end!r} must be a value of {path.knot_name} beyond the start "
                f"{first:.6g} of the path, at most its end {last:.6g}."
            )
        for selection in self.selections:
            if path._direction * selection.knot > clock[1]:
                raise ValueError(
                    f"end={end:.6g} hides the point {rule_name(selection.rule)} at "
                    f"{path.knot_name}={selection.knot:.6g}; draw further, or leave "
                    "the point out."
                )
        return float(end)

    def _choose_rows(self, top: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows in colour and grey ones, both in the order of the path."""
        order = self.path.outlier_order()
        if not self.selections:
            return order[:top], _spread(order[top:], _GREY_ROWS)
        mask = self.path.outliers(self.selections[0].knot)
        flagged = order[mask[order]]
        rest = order[~mask[order]]
        return flagged[:_FLAGGED], _spread(rest, _GREY_ROWS)

    def _choose_knots(self, end: float) -> NDArray[np.float64]:
        """Knots of the path that are about even on the axis, and important entries."""
        path, sign = self.path, self.path._direction
        knots = path.knots[(path.knots > 0) & (sign * path.knots <= sign * end)]
        first = float(knots[0])
        if len(knots) > _KNOTS:
            even = np.geomspace(first, end, _KNOTS)
            k = np.searchsorted(sign * knots, sign * even, side="right") - 1
            knots = knots[np.unique(np.r_[0, k.clip(0)])]
        elif path.interpolation == "linear":  # a straight line is none on this axis
            knots = np.r_[knots, np.geomspace(first, end, _KNOTS - len(knots))]
        points = [selection.knot for selection in self.selections]
        more = np.r_[path.row_entry[self._named], points, end]
        more = more[(sign * more >= sign * first) & (sign * more <= sign * end)]
        knots = sign * np.unique(sign * np.r_[knots, more])
        # A piece of the null model, with the points that are in it.
        before = [sign * 1.1**-sign * knot for knot in (first, *points) if knot > 0]
        return np.r_[sign * min(before), knots]

    def _draw_lines(self, ax: Axes, drawn: NDArray[np.int64]) -> None:
        steps = self.path.interpolation == "constant"
        rank = {row: r for r, row in enumerate(self._named)}
        flagged = set(self.rows_.tolist())
        ax.axhline(0.0, color="0.3", lw=0.8, zorder=1)
        self.lines_ = {}
        self._colors = {row: COLORS[r % 10] for row, r in rank.items()}
        pairs = list(enumerate(drawn.tolist()))
        for column, row in reversed(pairs):  # the first ones above the others
            across, values = self.knots_, self.shifts_[:, column]
            if steps:  # every jump is a vertical line
                across, values = np.repeat(across, 2)[1:], np.repeat(values, 2)[:-1]
            rest = np.convolve(values != 0, [1, 1, 1], mode="same") == 0
            if rest.all():
                continue
            look: dict[str, Any] = {"color": _GREY, "lw": 0.8, "zorder": 1.5}
            if row in flagged:
                look = {"color": _MORE_FLAGGED, "lw": 0.8, "zorder": 1.8}
            if row in rank:
                look = {"color": self._colors[row], "lw": 1.5, "zorder": 2}
                look["ls"] = LINE_STYLES[rank[row] // 10 % 4]
            look["label"] = self.path.row_name(row)
            # Only where it is shifted: nothing is drawn over the zero line.
            shown = np.where(rest, np.nan, values)
            (self.lines_[row],) = ax.plot(across, shown, **look)

    def _draw_counts(self, ax: Axes) -> None:
        """How many rows are shifted, at evenly spaced places on the top axis."""
        path = self.path
        places = np.geomspace(self.knots_[1], self.knots_[-1], 14)
        inside = np.clip(places, *sorted(path.knots[[0, -1]]))
        counts = [int(path.outliers(place).sum()) for place in inside]
        top = ax.secondary_xaxis("top")
        top.set_xticks(places, [f"{count}" for count in counts])
        top.minorticks_off()
        top.set_xlabel("shifted rows")

    # -- names -----------------------------------------------------------------------

    def _write(self, ax: Axes) -> None:
        """Names of lines and points; places are measured, so this comes last."""
        settle(ax)
        if self.selections:
            make_strip(ax)
        ends, gone = [], []
        column = {row: c for c, row in enumerate(self.rows_.tolist())}
        for row in self._named:
            values = self.shifts_[:, column[row]]
            name, color = self.path.row_name(row), self._colors[row]
            if values[-1] != 0:
                ends.append((name, (self.knots_[-1], values[-1]), color))
            elif values.any():
                k = int(np.abs(values).argmax())
                gone.append((name, (self.knots_[k], values[k]), color))
        label_ends(ax, ends)
        settle(ax)
        marks = self._marks(ax)
        texts = mark_points(ax, [], marks) if marks else []
        label_points(ax, gone, texts)

    def _marks(self, ax: Axes) -> list[tuple[float, str, str, Any]]:
        rules: dict[float, list[str]] = {}
        for selection in self.selections:
            names = rules.setdefault(selection.knot, [])
            if (name := rule_name(selection.rule)) not in names:
                names.append(name)
        marks = []
        for knot, names in rules.items():
            count, text = int(self.path.outliers(knot).sum()), ", ".join(names)
            rows = "outlier" if count == 1 else "outliers"
            place = float(np.clip(knot, *sorted(ax.get_xlim())))
            marks.append((place, f"{text}: {count} {rows}", f"{text}: {count}", "-"))
        return marks


def check_data(path: Any, X: Any, y: Any) -> None:
    """Raise unless this is a path of robust regression, and data with as many rows."""
    if not hasattr(path, "row_entry"):
        raise TypeError(
            f"path={path!r} has no shifts of rows; give a path of robust regression, "
            'such as OutlierRegression("hard").path(X, y). PathDisplay draws others.'
        )
    for name, data in (("X", X), ("y", y)):
        n = data.shape[0] if hasattr(data, "shape") else len(data)
        if n != path.n_rows:
            raise ValueError(
                f"{name} has {n} rows, but the path was traced on {path.n_rows}; give "
                "the same data."
            )


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """All rows, or the first half of `count` and evenly spaced ones of the rest."""
    if len(rows) <= count:
        return rows
    first = count // 2
    later = np.linspace(first, len(rows) - 1, count - first).astype(int)
    return rows[np.r_[np.arange(first), later]]


def _shift_sizes(
    path: ShiftPath,
    X: Any,
    y: Any,
    rows: NDArray[np.int64],
    knots: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Shifts of some rows at some knots, or their norms, (n_knots, n_rows)."""
    from sklearn.utils import _safe_indexing

    if not len(rows):
        return np.zeros((len(knots), 0))
    X, y = _safe_indexing(X, rows), np.asarray(y)[rows]
    path = _of_rows(path, rows)
    low, high = sorted(path.knots[[0, -1]])
    shifts = np.array([path.shifts(X, y, knot) for knot in np.clip(knots, low, high)])
    sizes = shifts if shifts.ndim == 2 else np.linalg.norm(shifts, axis=2)
    sizes[path._direction * knots < path._clock[0]] = 0.0  # the null model
    return sizes


def _of_rows(path: ShiftPath, rows: NDArray[np.int64]) -> ShiftPath:
    """The same fits, about some of the rows only."""
    place = np.full(path.n_rows, -1)
    place[rows] = np.arange(len(rows))
    events = path.row_events[place[path.row_events["row"]] >= 0].copy()
    events["row"] = place[events["row"]]
    parts = None
    if (stored := path.shift_coefs) is not None:
        outputs = stored.shape[1] // path.n_rows
        columns = rows[:, None] * outputs + np.arange(outputs)
        kept = stored[:, columns.ravel()]
        parts = {"data": kept.data, "indices": kept.indices, "indptr": kept.indptr}
    return replace(
        path,
        row_events=events,
        row_entry=path.row_entry[rows],
        row_factor=None if path.row_factor is None else path.row_factor[rows],
        row_names=None,
        shift_parts=parts,
    )
