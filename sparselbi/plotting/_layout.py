"""Panels, axes, and names beside lines and points, none over another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.text import Text

FONT_SIZE = 9.0
# Matplotlib's ten colours, black for the grey that looks like "all others".
COLORS = (*(f"C{i}" for i in (0, 1, 2, 3, 4, 5, 6, 8, 9)), "0.1")
LINE_STYLES = ("-", "--", ":", "-.")
_LONGEST_NAME = 30


def given_axes(
    ax: Any, n: int, part: str, figsize: tuple[float, float]
) -> tuple[list[Axes], Any]:
    """Axes for n parts of a figure; or one to be divided, and its place in its grid.

    `ax` is None (a new figure), an Axes that is divided if there are several parts, or
    as many Axes as there are parts; `part` is what messages call one.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    if not hasattr(ax, "get_subplotspec"):
        axes = list(np.ravel(ax))
        if len(axes) != n or not all(hasattr(a, "get_subplotspec") for a in axes):
            raise ValueError(
                f"ax={ax!r} must be one matplotlib Axes or {n} of them, one for each "
                f"{part}; None makes a new figure."
            )
        return axes, None
    if n == 1:
        return [ax], None
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            f"this figure has {n} {part}s and ax cannot be divided, because it is not "
            f"part of a grid; make it with plt.subplots(), or give {n} Axes."
        )
    ax.set_axis_off()
    return [ax], place


def panels(
    ax: Any, heights: Sequence[float], figsize: tuple[float, float]
) -> list[Axes]:
    """One Axes for each of the `heights`, from the top down, with one x axis.

    `ax` is None (a new figure), an Axes that is divided if there are several panels,
    or as many Axes as there are panels.
    """
    axes, place = given_axes(ax, len(heights), "panel", figsize)
    if place is None:
        return axes
    inner = place.subgridspec(len(heights), 1, height_ratios=heights)
    figure = axes[0].figure
    axes = [figure.add_subplot(inner[0])]
    axes += [figure.add_subplot(part, sharex=axes[0]) for part in list(inner)[1:]]
    for upper in axes[:-1]:
        upper.tick_params(which="both", labelbottom=False)
    return axes


def settle(ax: Axes) -> None:
    """Make the layout final, so that distances on the page can be measured."""
    figure = ax.figure.canvas.figure  # not a subfigure
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)


def set_log_axis(ax: Axes) -> None:
    """A logarithmic horizontal axis with plain numbers, several of them."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    low, high = ax.get_xlim()
    if high < 30 * low:
        ax.xaxis.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 4, 5, 7)))
        ax.xaxis.set_minor_formatter("{x:g}")
    elif high < 3000 * low:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_formatter(NullFormatter())


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def points_per_pixel(ax: Axes) -> float:
    return 72 / ax.figure.dpi


def text_box(text: Any) -> Any:
    """Where a text or annotation is on the page, in pixels, without its arrow."""
    from matplotlib.text import Text

    text.get_window_extent()  # moves an annotation to its place
    return Text.get_window_extent(text)


def spread_out(
    wanted: NDArray[np.float64], extent: ArrayLike, low: float, high: float
) -> NDArray[np.float64]:
    """Nearest centres (least squares) for labels that must not overlap.

    `extent` is the size of the labels, one for all or one for each; they are kept
    within the limits if there is room.
    """
    order = np.argsort(wanted, kind="stable")
    half = np.broadcast_to(np.asarray(extent) / 2, wanted.shape)[order]
    offsets = np.append(0.0, np.cumsum(half[:-1] + half[1:]))
    # Minus the offsets, "no overlap" is "not decreasing": isotonic fit.
    blocks: list[list[float]] = []
    for value in wanted[order] - offsets:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, weight = blocks.pop()
            above, count = blocks.pop()
            total = weight + count
            blocks.append([(mean * weight + above * count) / total, total])
    fitted = np.repeat([b[0] for b in blocks], [int(b[1]) for b in blocks])
    first = low + half[0]
    last = max(high - half[-1] - offsets[-1], first)
    placed = np.empty(len(wanted))
    placed[order] = np.clip(fitted, first, last) + offsets
    return placed


def label_ends(
    ax: Axes,
    labels: Iterable[tuple[str, tuple[float, float], Any]],
    column: float | None = None,
) -> list[Text]:
    """Write names beside line ends (x, y), in a column to the right of the axes.

    With `column` it is to the right of that x. Heights in the column are relative to
    the axes, so that a later change of the size of the figure keeps the names apart.
    """
    from matplotlib.transforms import blended_transform_factory, offset_copy

    labels = list(labels)
    if not labels:
        return []
    unit = points_per_pixel(ax)
    height = unit * ax.bbox.height
    size = min(FONT_SIZE, height / (1.25 * len(labels)))
    ends = np.array([end for _, end, _ in labels])
    wanted = unit * (ax.transData.transform(ends)[:, 1] - ax.bbox.y0)
    places = spread_out(wanted, 1.25 * size, 0.0, height) / height
    frame, x = ax.transAxes, 1.0
    if column is not None:
        frame, x = blended_transform_factory(ax.transData, ax.transAxes), column
    shifted = offset_copy(frame, ax.figure, x=16.0, units="points")
    return [
        ax.annotate(
            shortened(name),
            xy=end,
            xytext=(x, place),
            textcoords=shifted,
            fontsize=size,
            color=color,
            va="center",
            annotation_clip=False,
            arrowprops={
                **{"arrowstyle": "-", "color": color, "lw": 0.6},
                **{"relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0},
            },
        )
        for (name, end, color), place in zip(labels, places, strict=True)
    ]


def label_points(
    ax: Axes,
    labels: Iterable[tuple[str, tuple[float, float], Any]],
    taken: Sequence[Text] = (),
) -> list[Text]:
    """Write names above or below points (x, y) of the axes, where there is room.

    A name that has to move further is connected with its point. `taken` are artists
    that keep their place. Positions must be final, see `settle`.
    """
    from matplotlib.patheffects import withStroke

    boxes = [text_box(text) for text in taken]
    written = []
    for name, point, color in labels:
        side = 1 if point[1] >= 0 else -1
        text = ax.annotate(
            shortened(name),
            xy=point,
            xytext=(0.0, 0.0),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            color=color,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2, foreground="w")],
            arrowprops={
                **{"arrowstyle": "-", "color": color, "lw": 0.6},
                **{"relpos": (0.5, 0.5), "shrinkA": 5, "shrinkB": 0},
            },
        )
        box = text_box(text)
        # Not across the left or right edge of the axes.
        right = max(ax.bbox.x0 - box.x0, 0) - max(box.x1 - ax.bbox.x1, 0)
        step = 1.1 * box.height
        up = [side * (box.height / 2 + 3 + k * step) for k in range(12)]
        moves = [move for k in range(12) for move in (up[k], -up[k])]
        inside = [
            move
            for move in moves
            if ax.bbox.y0 < box.y0 + move and box.y1 + move < ax.bbox.y1
        ] or moves
        free = (
            move
            for move in inside
            if not any(box.translated(right, move).overlaps(b) for b in boxes)
        )
        move = next(free, inside[0])
        text.set_position(tuple(points_per_pixel(ax) * np.array([right, move])))
        text.arrow_patch.set_visible(abs(move) > abs(up[0]) * 1.01)
        boxes.append(box.translated(right, move))
        written.append(text)
    return written


def legend_below(ax: Axes, handles: Sequence[Artist]) -> Any:
    """A legend in one block below the label of the horizontal axis."""
    from matplotlib.transforms import offset_copy

    longest = max(len(str(handle.get_label())) for handle in handles)
    width = points_per_pixel(ax) * ax.bbox.width
    columns = int(width / (0.6 * FONT_SIZE * longest + 4 * FONT_SIZE))
    return ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=offset_copy(ax.transAxes, ax.figure, y=-34.0, units="points"),
        ncols=min(max(columns, 1), len(handles)),
        fontsize=FONT_SIZE,
        frameon=False,
    )
