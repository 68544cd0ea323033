"""How reliable workers are, and where they click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._path_checks import check_choice
from ._layout import (
    FONT_SIZE,
    legend_below,
    points_per_pixel,
    set_log_axis,
    settle,
    shortened,
    text_box,
)
from ._rankers import fitted_ranker, item_codes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_ACROSS = {
    "votes": "votes of the worker",
    "position_share": "share of votes for the first position",
}
_UP = {
    "reliability": "reliability (0: coin, 1: as the scores)",
    "agreement": "share of votes that agree with the scores",
    "distrusted": "share of votes that are distrusted",
}
_RING = "#c0392b"
_NEEDED = ("worker", "votes", "agreement", "position_share", "one_sided")


class WorkerDisplay:
    """Workers by their votes, their reliability and the side on which they click.

    Draw with `from_estimator`, or from a table with ``WorkerDisplay(table).plot()``.

    Parameters
    ----------
    workers : DataFrame
        One line for each worker, as `sparselbi.vote_noise.worker_reliability` returns
        it: columns ``worker``, ``votes``, ``agreement``, ``reliability``,
        ``position_share``, ``one_sided``; ``distrusted`` for ``y="distrusted"``.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : dict of str to PathCollection
        "both" sides, and workers who click "first" or "second" only, where there are
        any.
    drawn_ : dict of str to ndarray of int
        Lines of the table behind each of `points_`.
    named_ : list
        Labels of the workers with a name.

    Raises
    ------
    ValueError
        If a column is missing, or there are no workers.

    See Also
    --------
    VotePathDisplay : How many votes of which worker are distrusted along the path.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi.plotting import WorkerDisplay
    >>> from sparselbi.vote_noise import worker_reliability
    >>> rng = np.random.default_rng(0)
    >>> eta = rng.normal(scale=3.0, size=400)
    >>> worker = np.repeat(["ann", "bob", "eve"], [190, 190, 20])
    >>> y = np.where(worker == "eve", 1.0, np.sign(eta))
    >>> display = WorkerDisplay(worker_reliability(eta, y, worker)).plot()
    >>> display.named_[0], sorted(display.points_)
    ('eve', ['both', 'first'])
    """

    ax_: Any
    figure_: Any
    points_: dict[str, Any]
    drawn_: dict[str, NDArray[np.intp]]
    named_: list[Any]

    def __init__(self, workers: pd.DataFrame) -> None:
        missing = [name for name in _NEEDED if name not in workers.columns]
        if missing:
            raise ValueError(
                f"workers has the columns {list(workers.columns)}, but not {missing}; "
                "give a table of sparselbi.vote_noise.worker_reliability."
            )
        if not len(workers):
            raise ValueError("workers has no lines; there is nobody to draw.")
        self.workers = workers.reset_index(drop=True)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **options: Any
    ) -> WorkerDisplay:
        """Draw the workers of a fitted estimator.

        Parameters
        ----------
        estimator : PairwiseRanker, fitted with workers
        ax, **options
            See `plot`.

        Returns
        -------
        WorkerDisplay

        Raises
        ------
        ValueError
            If the estimator has been fitted without workers.
        """
        ranker = fitted_ranker(estimator)
        if ranker.worker_reliability_ is None:
            raise ValueError(
                f"estimator={estimator!r} has been fitted without workers; say who "
                "gave each vote, as in PairwiseRanker().fit(pairs, y, worker=worker)."
            )
        return cls(ranker.worker_reliability_).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        annotate: Any = 10,
        x: str = "votes",
        y: str = "reliability",
    ) -> WorkerDisplay:
        """Draw one point for each worker with votes.

        Parameters
        ----------
        ax : matplotlib Axes or None
            None makes a figure.
        annotate : int or array-like of labels, default=10
            So many one-sided workers have names, and so many others: those who disagree
            with the scores in the most votes beyond what is usual. Or these workers.
        x : {"votes", "position_share"}, default="votes"
            Number of votes (logarithmic), or share of votes for the first position.
        y : {"reliability", "agreement", "distrusted"}, default="reliability"
            Columns of the table.

        Returns
        -------
        WorkerDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown, or the table has no such column.

        Notes
        -----
        Colours are the share of votes for the first position: purple the first, orange
        the second, pale both. Triangles are workers who click (almost) only one side.
        """
        check_choice("x", x, list(_ACROSS))
        check_choice("y", y, list(_UP))
        table = self.workers
        if y not in table.columns:
            raise ValueError(
                f"y={y!r} is no column of the table, which has {list(table.columns)}; "
                f"use one of {[name for name in _UP if name in table.columns]}."
            )
        across, up = (table[name].to_numpy(dtype=float) for name in (x, y))
        shown = np.isfinite(across) & np.isfinite(up) & (table["votes"].to_numpy() > 0)
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(7.5, 5.2), layout="constrained")
        self._draw(ax, across, up, shown, x)
        ax.set(xlabel=_ACROSS[x], ylabel=_UP[y])
        if x == "votes":
            set_log_axis(ax)
        ax.margins(0.06)
        ax.grid(color="0.93", lw=0.6)
        ax.set_axisbelow(True)
        self._draw_legend(ax)
        settle(ax)
        rows = self._to_name(annotate, shown)
        labels = table["worker"].tolist()
        self.named_ = [labels[row] for row in rows]
        texts = [(str(labels[row]), (across[row], up[row])) for row in rows]
        _write_around(ax, texts, np.column_stack([across[shown], up[shown]]))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw(
        self, ax: Axes, across: Any, up: Any, shown: NDArray[np.bool_], x: str
    ) -> None:
        share = self.workers["position_share"].to_numpy(dtype=float)
        one_sided = self.workers["one_sided"].to_numpy(dtype=bool)
        kinds = {
            "both": (~one_sided, "o", 26, "0.35", 0.5),
            "first": (one_sided & (share > 0.5), "<", 60, _RING, 1.4),
            "second": (one_sided & (share < 0.5), ">", 60, _RING, 1.4),
        }
        self.points_, self.drawn_ = {}, {}
        look: dict[str, Any] = {"cmap": "PuOr", "vmin": 0.0, "vmax": 1.0}
        points = None
        for k, (name, (mask, marker, size, edge, lw)) in enumerate(kinds.items()):
            rows = np.flatnonzero(mask & shown)
            if not len(rows):
                continue
            points = ax.scatter(
                across[rows],
                up[rows],
                c=np.ma.masked_invalid(share[rows]),
                marker=marker,
                s=size,
                edgecolors=edge,
                lw=lw,
                alpha=0.9,
                zorder=2 + 0.2 * k,
                plotnonfinite=True,
                **look,
            )
            self.points_[name], self.drawn_[name] = points, rows
        if points is not None and x != "position_share":
            ax.figure.colorbar(points, ax=ax, label=_ACROSS["position_share"])

    def _draw_legend(self, ax: Axes) -> None:
        from matplotlib.lines import Line2D

        names = {"first": ("<", "clicks first only"), "second": (">", "second only")}
        look: dict[str, Any] = {"ls": "", "ms": 7, "mfc": "none", "mec": _RING}
        handles = [
            Line2D([], [], marker=marker, label=label, mew=1.4, **look)
            for name, (marker, label) in names.items()
            if name in self.points_
        ]
        if handles:
            legend_below(ax, handles)

    def _to_name(self, annotate: Any, shown: NDArray[np.bool_]) -> list[int]:
        labels = self.workers["worker"].to_numpy()
        if not isinstance(annotate, (int, np.integer)):
            rows = item_codes("annotate", annotate, labels, "workers")
            return rows[shown[rows]].tolist()
        if annotate < 0:
            raise ValueError(
                f"annotate={annotate!r} must be at least 0, or labels of workers."
            )
        votes, agreement = (
            self.workers[name].to_numpy(dtype=float) for name in ("votes", "agreement")
        )
        # Votes that disagree, beyond those that the average worker would have.
        usual = np.average(agreement[shown], weights=votes[shown])
        excess = votes * (usual - agreement)
        one_sided = self.workers["one_sided"].to_numpy(dtype=bool)
        worse = shown & (one_sided | (excess > 0))
        rows = np.flatnonzero(worse)
        order = rows[np.lexsort((rows, -excess[rows]))]
        named = [order[one_sided[order]], order[~one_sided[order]]]
        return np.concatenate([part[:annotate] for part in named]).tolist()


def _write_around(ax: Axes, labels: Any, points: NDArray[np.float64]) -> None:
    """Names of points (name, place), each where it covers the fewest of all points.

    Next to its point or a little further away, never over another name unless there is
    no room at all.
    """
    from matplotlib.patheffects import withStroke

    unit = points_per_pixel(ax)
    pixels = ax.transData.transform(points)
    # Directions, the sides first; distances from the point in points (1/72 inch).
    turns = np.radians([0, 180, 90, 270, 45, 135, 225, 315])
    boxes: list[Any] = []
    for name, place in labels:
        text = ax.annotate(
            shortened(name),
            xy=place,
            xytext=(0.0, 0.0),
            textcoords="offset points",
            fontsize=FONT_SIZE - 1,
            color="0.1",
            ha="center",
            va="center",
            zorder=4,
            path_effects=[withStroke(linewidth=2, foreground="w")],
            arrowprops={
                **{"arrowstyle": "-", "color": "0.3", "lw": 0.6},
                **{"relpos": (0.5, 0.5), "shrinkA": 4, "shrinkB": 3},
            },
        )
        box = text_box(text)
        best: tuple[float, Any, float] = (np.inf, (0.0, 0.0), 0.0)
        for far in (5.0, 13.0, 24.0, 38.0):
            for turn in turns:
                way = np.round([np.cos(turn), np.sin(turn)], 6)
                size = np.array([box.width, box.height])
                move = way * far / unit + np.sign(way) * size / 2
                tried = box.translated(*move).padded(1.0)
                over = sum(tried.overlaps(other) for other in boxes)
                out = not (
                    ax.bbox.x0 < tried.x0 < tried.x1 < ax.bbox.x1
                    and ax.bbox.y0 < tried.y0 < tried.y1 < ax.bbox.y1
                )
                low, high = tried.padded(3.0).min, tried.padded(3.0).max
                covered = ((pixels > low) & (pixels < high)).all(axis=1).sum()
                cost = 1000 * (over + out) + 3 * covered + far / 5
                if cost < best[0]:
                    best = (cost, move, far)
        text.set_position(tuple(unit * np.asarray(best[1])))
        text.arrow_patch.set_visible(best[2] > 5.0)
        boxes.append(box.translated(*best[1]))
