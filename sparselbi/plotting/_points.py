"""Chosen points of a path: checked, named, and marked in a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._layout import FONT_SIZE, points_per_pixel, spread_out, text_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    from ..path import RegularizationPath
    from ..selection import Selection

_NAMES = {
    **{"ebic": "EBIC", "bic": "BIC", "aic": "AIC"},
    **{"cv": "CV", "cv_1se": "CV 1-SE"},
}
# Height of the strip in which the names stand, in points.
STRIP = 19.0


def rule_name(rule: str) -> str:
    """How a rule is called in a figure."""
    return _NAMES.get(rule, rule.replace("_", " "))


def check_selections(
    path: RegularizationPath, selections: Any
) -> tuple[Selection, ...]:
    """The selections as a tuple; ValueError unless they are of this path."""
    checked = (selections,) if hasattr(selections, "knot") else tuple(selections)
    for selection in checked:
        if not (hasattr(selection, "knot") and hasattr(selection, "scores")):
            raise TypeError(
                f"selections holds {selection!r}; it needs Selection objects, such as "
                "model.selection_ or FixedKnot(t).select(path)."
            )
        scores = np.shape(selection.scores)
        if scores != path.knots.shape:
            raise ValueError(
                f"the selection by {selection.rule!r} has {len(selection.scores)} "
                f"scores, but the path has {len(path)} knots; it is of another path."
            )
        try:
            clock = path._checked([selection.knot])[0]
        except ValueError as error:
            raise ValueError(
                f"the selection by {selection.rule!r} is of another path: {error}"
            ) from error
        reached = max(int((path._clock <= clock).sum()) - 1, 0)
        if reached != selection.index:
            raise ValueError(
                f"the selection by {selection.rule!r} has the {path.knot_name} "
                f"{selection.knot:.6g} at the knot with index {selection.index}, but "
                f"in this path it has index {reached}; it is of another path."
            )
    return checked


def point_names(
    path: RegularizationPath, selections: Sequence[Selection], prefix: str = ""
) -> list[tuple[float, str, str]]:
    """Knot, name with the number of features, and shorter name, of every point."""
    rules: dict[float, list[str]] = {}
    for selection in selections:
        names = rules.setdefault(selection.knot, [])
        if (name := rule_name(selection.rule)) not in names:
            names.append(name)
    points = []
    for knot, names in rules.items():
        text, size = prefix + ", ".join(names), len(path.support(knot))
        plural = "" if size == 1 else "s"
        points.append((knot, f"{text}: {size} feature{plural}", f"{text}: {size}"))
    return points


def make_strip(ax: Axes) -> None:
    """Room for the names of points at the upper end of the axes, above all lines."""
    share = STRIP / (points_per_pixel(ax) * ax.bbox.height)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + (high - low) * share / (1 - share))


def mark_points(
    ax: Axes, others: Sequence[Axes], marks: Sequence[tuple[float, str, str, Any]]
) -> list[Text]:
    """Vertical lines (place, name, shorter name, line style); names in the strip.

    The strip is at the top of `ax`, see `make_strip`; positions must be final.
    """
    unit = points_per_pixel(ax)
    height = 1 - STRIP / (unit * ax.bbox.height)
    for place, _, _, style in marks:
        look = {"color": "0.35", "lw": 0.9, "ls": style, "zorder": 1.2}
        ax.axvline(place, ymax=height, **look)
        for panel in others:
            panel.axvline(place, **look)
    labels = [
        ax.annotate(
            name,
            xy=(place, height),
            xycoords=ax.get_xaxis_transform(),
            xytext=(0.0, 5.0),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=FONT_SIZE,
            arrowprops={
                **{"arrowstyle": "-", "color": "0.35", "lw": 0.9},
                **{"shrinkA": 0, "shrinkB": 0, "relpos": (0.5, 0.0)},
            },
        )
        for place, name, _, _ in marks
    ]
    room = unit * ax.bbox.width
    widths = _widths(labels, unit)
    if widths.sum() > room:
        for label, (_, _, short, _) in zip(labels, marks, strict=True):
            label.set_text(short)
        widths = _widths(labels, unit)
    if widths.sum() > room:
        for label in labels:
            label.set_fontsize(FONT_SIZE * room / widths.sum())
        widths *= room / widths.sum()
    across = ax.transData.transform([(place, 0.0) for place, *_ in marks])[:, 0]
    wanted = unit * (across - ax.bbox.x0)
    places = spread_out(wanted, widths, 0.0, room)
    for label, shift in zip(labels, places - wanted, strict=True):
        label.set_position((shift, 5.0))
    return labels


def _widths(labels: Sequence[Any], unit: float) -> Any:
    return unit * np.array([text_box(label).width for label in labels]) + 10
