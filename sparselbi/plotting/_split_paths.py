"""What the displays of structured paths share: points, pieces and tables of panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._layout import panels, set_log_axis, shortened
from ._points import rule_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..split_path import SplitPath

# Colours that people with any colour vision tell apart, on paper, too.
DENSE, SPARSE, TRUTH = "tab:blue", "#d55e00", "0.45"


def check_split_path(path: Any) -> SplitPath:
    """`path`, if it has rows of a linear map."""
    if not (hasattr(path, "D") and hasattr(path, "split")):
        raise TypeError(
            f"path={path!r} has no linear map D; this display needs a SplitPath, such "
            "as SplitLBI(D).fit(X, y).path_ or split_lbi_path(problem, D). "
            "PathDisplay.from_path(path) draws a path of single coefficients."
        )
    return path


def number(value: float) -> str:
    """Four digits, without an exponent up to nine."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def named_knots(path: SplitPath, knots: Any) -> dict[str, float]:
    """Values of t by the names under which they are shown.

    `knots` is a number, a Selection, a sequence of these, or a dict with names.
    """
    pairs: list[tuple[str, Any]] = []
    if isinstance(knots, Mapping):
        for name, knot in knots.items():
            pairs.append((str(name), getattr(knot, "knot", knot)))
    else:
        one = hasattr(knots, "knot") or np.ndim(knots) == 0
        for knot in [knots] if one else knots:
            if hasattr(knot, "rule"):
                pairs.append((rule_name(knot.rule), knot.knot))
            else:
                pairs.append((f"t = {number(knot)}", knot))
    if not pairs:
        raise ValueError("knots is empty; give at least one value of t or a Selection.")
    for _, t in pairs:
        path._checked([t])
    names = [name for name, _ in pairs]
    return {
        name if names.count(name) == 1 else f"{name}, t = {t:.6g}": float(t)
        for name, t in pairs
    }


def knot_title(path: SplitPath, name: str, t: float) -> str:
    """Name of a point, its t, and how many pieces or active rows there are."""
    *first, count = knot_lines(path, name, t)
    return f"{', '.join(first)}: {count}"


def knot_lines(path: SplitPath, name: str, t: float) -> list[str]:
    """The same as a list, for titles with several lines."""
    has_t = name.startswith("t = ") or ", t = " in name
    where = [] if has_t else [f"t = {number(t)}"]
    return [shortened(name), *where, piece_count(path, t)]


def piece_count(path: SplitPath, t: float) -> str:
    """The number of pieces of a graph, or of active rows of another D."""
    if path.D.is_graph:
        n = n_pieces(path.pieces(t))
        return f"{n:,} piece{'' if n == 1 else 's'}"
    n = int(path.active_rows(t).sum())
    return f"{n:,} active row{'' if n == 1 else 's'}"


def n_pieces(labels: NDArray[np.int64]) -> int:
    """Pieces without the one that is tied to zero."""
    return int(labels.max(initial=-1)) + 1


def means(values: NDArray[np.float64], labels: NDArray[np.int64]) -> Any:
    """Replace the last axis by the means over pieces; 0 where tied to zero (-1)."""
    sizes = np.bincount(labels + 1)
    rows = np.atleast_2d(values)
    sums = np.array([np.bincount(labels + 1, weights=row) for row in rows])
    average = sums / np.maximum(sizes, 1)
    average[:, 0] = 0.0
    return average[:, labels + 1].reshape(np.shape(values))


def feature_list(path: SplitPath, features: NDArray[np.int64], room: int = 28) -> str:
    """Names of features; without names, runs of indices as ranges.

    What does not fit in `room` characters is replaced by the number of features.
    """
    runs = [features[i : i + 1] for i in range(len(features))]
    if path.feature_names is None:
        runs = np.split(features, np.flatnonzero(np.diff(features) != 1) + 1)
    names = []
    for run in runs:
        first, last = path._name(int(run[0])), path._name(int(run[-1]))
        names.append(first if len(run) == 1 else f"{first}–{last}")
    text = ", ".join(names)
    if len(text) <= room:
        return text
    count = f"… ({len(features)})" if len(names) > 1 else ""
    kept = names[:1]
    while len(", ".join(names[: len(kept) + 1])) + len(count) + 2 <= room:
        kept = names[: len(kept) + 1]
    return ", ".join([*kept, *filter(None, [count])])


def panel_table(
    ax: Any, heights: Sequence[float], widths: Sequence[float], size: Any
) -> NDArray[Any]:
    """Panels in rows and columns, as an object array of Axes.

    `ax` is None (a new figure of this `size`), an Axes that is divided, or as many Axes
    as there are panels, row by row.
    """
    n_rows, n_columns = len(heights), len(widths)
    n = n_rows * n_columns
    if ax is not None and not hasattr(ax, "get_subplotspec"):
        axes = panels(ax, [1.0] * n, size)  # checks them
        return np.array(axes, dtype=object).reshape(n_rows, n_columns)
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=size, layout="constrained")
    if n == 1:
        return np.array([[ax]], dtype=object)
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            f"this figure has {n} panels and ax cannot be divided, because it is not "
            f"part of a grid; make it with plt.subplots(), or give {n} Axes."
        )
    ax.set_axis_off()
    inner = place.subgridspec(
        n_rows, n_columns, height_ratios=heights, width_ratios=widths
    )
    axes = [ax.figure.add_subplot(part) for part in list(inner)]
    return np.array(axes, dtype=object).reshape(n_rows, n_columns)


def share_limits(axes: Iterable[Axes], which: str) -> None:
    """Give panels the limits that hold all of them; `which` is "x" or "y"."""
    axes = list(axes)
    limits = np.array([getattr(ax, f"get_{which}lim")() for ax in axes])
    for ax in axes:
        getattr(ax, f"set_{which}lim")(limits[:, 0].min(), limits[:, 1].max())


def hide_inner_labels(axes: Sequence[Axes]) -> None:
    """Tick labels only on the last of panels that share their horizontal axis."""
    for ax in axes[:-1]:
        if ax.get_shared_x_axes().joined(ax, axes[-1]):
            ax.tick_params(which="both", labelbottom=False)


def set_time_axis(ax: Axes) -> None:
    """A logarithmic axis of t; long numbers are written as 20k, 3M."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    set_log_axis(ax)
    low, high = ax.get_xlim()
    if high >= 1e4:
        subs = (1, 2, 5) if high < 3000 * low else (1,)
        ax.xaxis.set_major_locator(LogLocator(subs=subs))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(NullFormatter())


def set_log_heights(ax: Axes) -> None:
    """A logarithmic vertical axis with plain numbers, several of them."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs = (1, 1.5, 2, 3, 5) if high < 8 * low else (1, 2, 5)
    if high < 3000 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
