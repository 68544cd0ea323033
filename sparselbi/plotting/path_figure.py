"""A path and how its points were scored, in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_views import label_ends, spread_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..path import RegularizationPath
    from ..selection import Selection


def path_figure(
    path: RegularizationPath,
    selections: Sequence[Selection],
    *,
    scale: ArrayLike | None = None,
    top: int = 10,
    figure: Figure | None = None,
) -> Figure:
    """Draw the coefficients along the path above the criteria that chose points of it.

    Parameters
    ----------
    path : RegularizationPath
    selections : sequence of Selection
        Of this path, made by rules that score its knots.
    scale : array-like of shape (n_features,) or None
        Factors for the coefficients, such as ``X.std(axis=0)``; see
        `RegularizationPath.plot`.
    top : int, default=10
        How many coefficients are drawn in colour and named.
    figure : matplotlib Figure or None
        An empty figure to draw into; None makes one with pyplot.

    Returns
    -------
    matplotlib Figure
        Upper panel: coefficients, the chosen points as vertical lines, and the number
        of nonzero features on top. Lower panel: each score minus its minimum, linear up
        to 10 and logarithmic beyond. Rules with equal scores share a line.

    Raises
    ------
    ValueError
        If there are no selections, or one is not of this path.
    """
    if len(selections) == 0:
        raise ValueError("selections is empty; path.plot() draws the path alone.")
    for selection in selections:
        if selection.scores.shape != path.knots.shape:
            raise ValueError(
                f"the selection by {selection.rule!r} has {len(selection.scores)} "
                f"scores, but the path has {len(path)} knots; it is of another path."
            )
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(8.0, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[2.2, 1.0])
    upper.set_xlabel(" ")  # room for the names of the chosen points
    sizes = upper.secondary_xaxis("top")
    sizes.set_xlabel("nonzero features")
    lower.set_xlabel("t" if path.knot_name == "t" else "1 / alpha")
    lower.set_ylabel("score − minimum")
    # Labels are placed in points: the height of the panels must be final by now ...
    figure.draw_without_rendering()
    path.plot(upper, top=top, scale=scale)
    upper.set_xlabel(" ")
    _draw_scores(lower, path, selections)
    figure.draw_without_rendering()  # ... and the width by now
    _draw_choices((upper, lower), path, selections)
    _draw_sizes(sizes, upper.get_xlim(), path)
    return figure


def _draw_scores(
    ax: Axes, path: RegularizationPath, selections: Sequence[Selection]
) -> None:
    """The criteria, one line for those that are equal, named at the right end."""
    curves: list[tuple[str, NDArray[np.float64]]] = []
    for selection in selections:
        if np.isnan(selection.scores).all():  # a rule that does not score
            continue
        name = selection.rule.upper()
        curve = selection.scores - np.nanmin(selection.scores)
        for i, (other, drawn) in enumerate(curves):
            if np.allclose(curve, drawn, rtol=0.0, atol=1e-9, equal_nan=True):
                curves[i] = (f"{other}, {name}", drawn)
                break
        else:
            curves.append((name, curve))
    # A score holds until the next knot; 0 and infinity become the ends of the axis.
    low, high = ax.get_xlim()
    t = np.append(np.clip(path._t(path.knots), low, high), high)
    for (name, curve), dashes in zip(curves, cycle(("-", "--", ":", "-."))):
        drawn = np.append(curve, curve[-1])
        ax.step(t, drawn, f"k{dashes}", where="post", lw=1.3, label=name)
    highest = max((np.nanmax(curve) for _, curve in curves), default=0.0) or 1.0
    ax.set_xlim(low, high)
    ax.set_yscale("symlog", linthresh=10, linscale=1.5)
    ax.set_ylim(-0.03 * min(highest, 20), 1.1 * highest)
    ticks = np.array([0, 5, *np.outer(10.0 ** np.arange(1, 7), [1, 3]).ravel()])
    ax.set_yticks(ticks[ticks <= 1.1 * highest])
    ax.yaxis.set_major_formatter("{x:g}")
    ends = [(name, curve[np.isfinite(curve)][-1], "k") for name, curve in curves]
    label_ends(ax, ends)


def _draw_choices(
    panels: tuple[Axes, Axes], path: RegularizationPath, selections: Sequence[Selection]
) -> None:
    """A vertical line at every chosen point, its name between the panels."""
    names: dict[float, list[str]] = {}
    for selection in selections:
        names.setdefault(selection.knot, []).append(selection.rule.upper())
    ax = panels[0]
    t = np.clip(path._t(np.array(list(names))), *ax.get_xlim())
    points = 72 / ax.figure.dpi
    labels = []
    for place, (knot, rules) in zip(t, names.items(), strict=True):
        for panel in panels:
            panel.axvline(place, color="0.35", lw=0.9, zorder=1.2)
        size = len(path.support(knot))
        labels.append(
            ax.annotate(
                f"{', '.join(rules)}: {size} feature{'' if size == 1 else 's'}",
                xy=(place, 0.0),
                xycoords=ax.get_xaxis_transform(),
                xytext=(0.0, -10.0),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=9,
                arrowprops={
                    **{"arrowstyle": "-", "color": "0.35", "lw": 0.9},
                    **{"shrinkA": 0, "shrinkB": 0, "relpos": (0.5, 1.0)},
                },
            )
        )
    widths = [points * label.get_window_extent().width + 12 for label in labels]
    across = ax.get_xaxis_transform().transform(np.c_[t, 0 * t])[:, 0]
    wanted = points * (across - ax.bbox.x0)
    places = spread_out(wanted, widths, 0.0, points * ax.bbox.width)
    for label, shift in zip(labels, places - wanted, strict=True):
        label.set_position((shift, -10.0))


def _draw_sizes(
    sizes: Any, limits: tuple[float, float], path: RegularizationPath
) -> None:
    """Numbers of nonzero features at evenly spaced places on the top axis."""
    ticks = np.geomspace(*limits, 15)
    nonzero = path._nonzero(path.active_coefs).sum(axis=1)
    reached = np.searchsorted(path._t(path.knots), ticks * (1 + 1e-12), "right") - 1
    sizes.set_xticks(ticks, [str(nonzero[max(k, 0)]) for k in reached])
    sizes.minorticks_off()
