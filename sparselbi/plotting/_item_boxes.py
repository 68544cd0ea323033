"""Names of items in boxes, columns of a figure, and legends close to the axes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._layout import (
    FONT_SIZE,
    given_axes,
    legend_below,
    points_per_pixel,
    shortened,
    text_box,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FILL = "#e3ecf7"
# Letters of a name.
LONGEST = 20
# Height of a box, in points.
BOX_HEIGHT = 1.9 * FONT_SIZE


def box_widths(names: Iterable[str], longest: int = LONGEST) -> NDArray[np.float64]:
    """About how wide the boxes of names are, in points."""
    shown = (shortened(name, longest) for name in names)
    return np.array([0.62 * FONT_SIZE * max(len(name), 2) + 8 for name in shown])


def draw_box(
    ax: Axes,
    x: float,
    y: float,
    name: str,
    shrink: float = 1.0,
    longest: int = LONGEST,
) -> Any:
    """A name in a box around (x, y)."""
    return ax.text(
        *(x, y, shortened(name, longest)),
        ha="center",
        va="center",
        fontsize=FONT_SIZE * shrink,
        bbox={"boxstyle": "round,pad=0.3", "fc": _FILL, "ec": "0.4", "lw": 0.8},
        zorder=3,
    )


def box_side(ax: Axes, text: Any) -> float:
    """From the middle of a box of `draw_box` to its side, in points."""
    pad = 0.3 * text.get_fontsize()
    return points_per_pixel(ax) * text_box(text).width / 2 + pad


def apart(places: NDArray[np.float64], gap: float) -> list[int]:
    """Indices of decreasing places that are at least `gap` apart, from the first on."""
    kept = [0]
    for k in range(1, len(places)):
        if places[kept[-1]] - places[k] >= gap:
            kept.append(k)
    return kept


def close_legend(ax: Axes, handles: list[Any]) -> None:
    """A legend just below axes without a label."""
    from matplotlib.transforms import offset_copy

    if handles:
        close = offset_copy(ax.transAxes, ax.figure, y=-6.0, units="points")
        legend_below(ax, handles).set_bbox_to_anchor((0.5, 0.0), transform=close)


def fit_lines(text: Any, width: float) -> None:
    """Break a text into lines that are not wider than so many pixels."""
    words = text.get_text()
    share = width / max(text_box(text).width, 1.0)
    if share < 1:
        letters = max(int(max(map(len, words.splitlines())) * share), 12)
        wrapper = textwrap.TextWrapper(letters, break_long_words=False)
        text.set_text("\n".join(map(wrapper.fill, words.splitlines())))


def write_title(axes: list[Axes], title: str) -> None:
    """A title on the left above columns, in as many lines as it needs.

    Layouts keep room for the middle of a title: that has to be in the first column.
    """
    text = axes[0].set_title(title, fontsize=FONT_SIZE, loc="left")
    room = axes[-1].bbox.x1 - axes[0].bbox.x0
    fit_lines(text, min(room, 1.9 * axes[0].bbox.width))


def columns(
    ax: Any, widths: Sequence[float], figsize: tuple[float, float]
) -> list[Axes]:
    """One Axes for each of the `widths`, from left to right.

    `ax` is None (a new figure), an Axes that is divided if there are several columns,
    or as many Axes as there are columns.
    """
    axes, place = given_axes(ax, len(widths), "column", figsize)
    if place is None:
        return axes
    inner = place.subgridspec(1, len(widths), width_ratios=widths)
    return [axes[0].figure.add_subplot(part) for part in inner]
