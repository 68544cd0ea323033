"""Which votes a path distrusts first, how many, and what that does to the scores."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ..problem import check_weight
from ._estimators import path_and_selection
from ._item_boxes import columns
from ._layout import COLORS, label_ends, legend_below, set_log_axis, settle, shortened
from ._points import make_strip, mark_points, rule_name
from ._rankers import fitted_ranker, vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = ("both", "share", "order", "scores")
_RED, _GREY, _LINE = "#c0392b", "0.78", "0.15"
# So many knots, places in the order and lines of scores are drawn at most.
_KNOTS, _PLACES, _LINES = 200, 200, 400


class VotePathDisplay:
    """Distrusted votes along a path, and how strongly each vote stands out.

    Left: the share of votes that is distrusted at each threshold. Right: the strength
    of the votes in the order of the path, the first ones on the left; where the curve
    has a knee, wrong votes end and chance begins. Votes that are distrusted at the
    chosen point are red; or those that are known to be flipped; or the votes of some
    workers have a colour.

    Draw with `from_estimator` or `from_path`, or from strengths alone with
    ``VotePathDisplay(strength=strength).plot()``.

    Parameters
    ----------
    path : VotePath, default=None
        None: there are strengths only, and a vote is distrusted below its strength.
    selection : Selection, default=None
        The chosen point of the path.
    distrusted : array-like of shape (n_votes,), bool, default=None
        Votes that are distrusted there; None: those that the path has shifted.
    strength : array-like of shape (n_votes,), default=None
        The larger, the earlier a vote is distrusted; None: ``path.strength()``. Needed
        if the rows of the path are not votes, but pairs of items.
    threshold : float, default=None
        The chosen point, if there is no `selection`.
    flipped : array-like of shape (n_votes,), bool, default=None
        The truth, if it is known.
    workers : array-like of shape (n_votes,), default=None
        Who gave each vote.
    sample_weight : array-like of shape (n_votes,), default=None
        How many votes each row stands for.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for each panel, from left to right.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    distrusted_ : ndarray of shape (n_votes,), bool
        At the chosen point; nobody, if none is chosen.
    order_ : ndarray of int of shape (n_votes,)
        Votes in the order of the path.
    knots_ : ndarray
        Thresholds (or t) of the left panel, or of the scores.
    shares_ : dict of str to ndarray of shape (n_knots,)
        Distrusted share of "all votes", and of those in a colour.
    lines_ : dict of str or int to Line2D
        Of these shares; of scores by item.

    Raises
    ------
    TypeError, ValueError
        If `path` is not one of votes, neither a path nor strengths are given, or shapes
        differ.

    See Also
    --------
    PathDisplay : Coefficients along a path.
    WorkerDisplay : One point for each worker.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi.plotting import VotePathDisplay
    >>> strength = np.array([0.2, 3.0, 0.1, 2.0, 0.4])
    >>> display = VotePathDisplay(strength=strength, threshold=1.0).plot()
    >>> display.order_.tolist(), int(display.distrusted_.sum())
    ([1, 3, 4, 0, 2], 2)
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    distrusted_: NDArray[np.bool_]
    order_: NDArray[np.intp]
    knots_: NDArray[np.float64]
    shares_: dict[str, NDArray[np.float64]]
    lines_: dict[Any, Any]

    def __init__(
        self,
        path: Any = None,
        selection: Any = None,
        *,
        distrusted: ArrayLike | None = None,
        strength: ArrayLike | None = None,
        threshold: float | None = None,
        flipped: ArrayLike | None = None,
        workers: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> None:
        if path is not None and not hasattr(path, "vote_order"):
            raise TypeError(
                f"path={path!r} is not about votes; give a path of a ranking, such as "
                "PairwiseRanker().fit(pairs, y).path_. PathDisplay and ShiftDisplay "
                "draw others."
            )
        if path is None and strength is None:
            raise ValueError("there is no path; give the strength of every vote.")
        if strength is None:
            strength = path.strength()
        values = np.asarray(strength, dtype=np.float64)
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise ValueError(
                f"strength has shape {values.shape} and must be numbers of shape "
                "(n_votes,), one for each vote."
            )
        n = len(values)
        self.path, self.selection, self.strength = path, selection, values
        self.flipped = (
            None if flipped is None else vector("flipped", flipped, n, "vote", bool)
        )
        self.workers = (
            None if workers is None else vector("workers", workers, n, "vote", None)
        )
        self.weight = check_weight(sample_weight, n)
        self.threshold = threshold if selection is None else float(selection.knot)
        self.order_ = np.argsort(-values, kind="stable")
        if distrusted is not None:
            self.distrusted_ = vector("distrusted", distrusted, n, "vote", bool)
        elif self.threshold is not None:
            self.distrusted_ = self._mask(self.threshold)
        else:
            self.distrusted_ = np.zeros(n, dtype=bool)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        flipped: ArrayLike | None = None,
        ax: Any = None,
        **options: Any,
    ) -> VotePathDisplay:
        """Draw the path of a fitted estimator, and the point that it reports.

        Parameters
        ----------
        estimator : fitted PairwiseRanker
        flipped : array-like of shape (n_votes,), bool, default=None
            The truth, if it is known.
        ax, **options
            See `plot`.

        Returns
        -------
        VotePathDisplay
        """
        ranker = fitted_ranker(estimator)
        path: Any
        path, selection = path_and_selection(ranker)
        votes = ranker.votes_
        workers = None
        if votes.workers is not None:
            workers = np.asarray(votes.workers)[votes.worker_codes]
        strength = None
        if path.n_rows != votes.n_votes:  # rows are pairs of items
            table = ranker.votes_frame()
            strength = np.empty(votes.n_votes)
            strength[table.index] = table["strength"]
        display = cls(
            path,
            selection,
            distrusted=ranker.outlier_votes_,
            strength=strength,
            flipped=flipped,
            workers=workers,
            sample_weight=votes.weight,
        )
        return display.plot(ax, **options)

    @classmethod
    def from_path(
        cls,
        path: Any,
        selection: Any = None,
        *,
        flipped: ArrayLike | None = None,
        workers: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        ax: Any = None,
        **options: Any,
    ) -> VotePathDisplay:
        """Draw a path of votes.

        Parameters
        ----------
        path, selection, flipped, workers, sample_weight
            See `VotePathDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        VotePathDisplay
        """
        display = cls(
            path,
            selection,
            flipped=flipped,
            workers=workers,
            sample_weight=sample_weight,
        )
        return display.plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "both",
        shade: str | None = None,
        top: int = 5,
        first: int | None = None,
    ) -> VotePathDisplay:
        """Draw the share of distrusted votes, the strengths, both, or the scores.

        Parameters
        ----------
        ax : matplotlib Axes, two Axes or None
            None makes a figure; for both panels a single Axes is divided.
        kind : {"both", "share", "order", "scores"}, default="both"
            "scores": the scores of the items along the path; those that change most
            have a colour and a name. Needs a path.
        shade : {"distrusted", "flipped", "worker"}, default=None
            Which votes have a colour. "flipped": those that are, with the share of them
            and of the others that is distrusted. "worker": those of the `top` workers
            with the most distrusted votes (if nothing is chosen, among the first tenth
            of the order). None: "flipped" if that is known, else "distrusted".
        top : int, default=5
            How many workers, or items, have a colour.
        first : int, default=None
            Draw so many votes of the order; None: all.

        Returns
        -------
        VotePathDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range, or what it needs is not there.

        Notes
        -----
        In the order, votes that have never been distrusted follow those that have, by
        their residuals at the end of the path. Of more than 200 votes, neighbours share
        a bar: its height is their mean strength, its coloured part their share.
        """
        check_choice("kind", kind, _KINDS)
        if operator.index(top) < 1:
            raise ValueError(f"top={top!r} must be at least 1.")
        if first is not None and operator.index(first) < 1:
            raise ValueError(f"first={first!r} must be at least 1, or None for all.")
        if kind == "scores":
            (panel,) = columns(ax, [1.0], (8.0, 5.0))
            self._draw_scores(panel, top)
            panels = [panel]
        else:
            groups = self._groups(shade, top)
            kinds = ["share", "order"] if kind == "both" else [kind]
            size = (11.0, 4.4) if kind == "both" else (7.5, 4.6)
            panels = columns(ax, [1.0] * len(kinds), size)
            for panel, what in zip(panels, kinds, strict=True):
                if what == "share":
                    self._draw_shares(panel, groups)
                else:
                    self._draw_order(panel, groups, first)
        self.ax_, self.axes_ = panels[0], np.array(panels, dtype=object)
        self.figure_ = panels[0].figure
        return self

    # -- what is drawn ---------------------------------------------------------------

    def _mask(self, threshold: float) -> NDArray[np.bool_]:
        if self.path is None or self.path.n_rows != len(self.strength):
            return self.strength > (1 / threshold if self._is_time else threshold)
        return self.path.outliers(threshold)

    def _groups(self, shade: str | None, top: int) -> dict[str, tuple[Any, Any]]:
        """Votes in a colour, by name."""
        if shade is None:
            shade = "distrusted" if self.flipped is None else "flipped"
        check_choice("shade", shade, ("distrusted", "flipped", "worker"))
        if shade == "distrusted":
            return {"distrusted": (self.distrusted_, _RED)}
        if shade == "flipped":
            if self.flipped is None:
                raise ValueError(
                    'shade="flipped" needs the truth; give flipped, a bool array with '
                    "one entry for each vote."
                )
            return {"flipped": (self.flipped, _RED)}
        if self.workers is None:
            raise ValueError(
                'shade="worker" needs to know who gave each vote; fit with worker=, or '
                "give workers here."
            )
        mask = self.distrusted_
        if not mask.any():
            mask = np.zeros(len(mask), dtype=bool)
            mask[self.order_[: max(len(mask) // 10, 1)]] = True
        names, code = np.unique(self.workers, return_inverse=True)
        count = np.bincount(code, self.weight * mask, len(names))
        most = np.argsort(-count, kind="stable")[:top]
        return {
            str(names[k]): (code == k, COLORS[rank % len(COLORS)])
            for rank, k in enumerate(most.tolist())
        }

    def _choose_knots(self) -> NDArray[np.float64]:
        """Thresholds (or t), in the order of the path, with the chosen one."""
        if self.path is None:
            positive = self.strength[(self.strength > 0) & np.isfinite(self.strength)]
            if not len(positive):
                raise ValueError("no vote has a positive strength; nothing to draw.")
            knots = np.unique(positive)[::-1]
            places = np.linspace(0, len(knots) - 1, min(len(knots), _KNOTS))
            # Just below a strength, its vote is distrusted.
            return np.r_[knots[0], knots[places.astype(int)] * (1 - 1e-9)]
        knots = self.path.knots[self.path.knots > 0]
        places = np.linspace(0, len(knots) - 1, min(len(knots), _KNOTS)).astype(int)
        points = [] if self.threshold is None else [float(self.threshold)]
        points = [point for point in points if point > 0]
        # A piece of the null model, before the first entry.
        sign = 1 if self._is_time else -1
        start = 1.05**-sign * sign * min(sign * knot for knot in (knots[0], *points))
        return sign * np.unique(sign * np.r_[start, knots[places], points])

    @property
    def _is_time(self) -> bool:
        return self.path is not None and self.path.knot_name == "t"

    def _set_threshold_axis(self, ax: Axes) -> None:
        ax.set_xlim(sorted((self.knots_[0], self.knots_[-1])))
        set_log_axis(ax)
        if not self._is_time:
            ax.invert_xaxis()
        ax.set_xlabel("t" if self._is_time else "threshold")

    # -- panels ----------------------------------------------------------------------

    def _draw_shares(self, ax: Axes, groups: dict[str, tuple[Any, Any]]) -> None:
        self.knots_ = self._choose_knots()
        colors = {name: c for name, (_, c) in groups.items() if name != "distrusted"}
        code = np.full(len(self.strength), len(colors))
        for k, name in enumerate(colors):
            code[groups[name][0]] = k
        if "flipped" in colors:
            colors["not flipped"] = "0.55"
        total = np.bincount(code, self.weight, len(colors) + 1)
        masks = (self._mask(knot) for knot in self.knots_)
        sums = np.array(
            [np.bincount(code[m], self.weight[m], len(total)) for m in masks]
        )
        self.shares_ = {
            name: sums[:, k] / (total[k] or 1.0) for k, name in enumerate(colors)
        }
        self.shares_["all votes"] = sums.sum(axis=1) / total.sum()
        colors["all votes"] = _LINE
        self.lines_ = {}
        for name, color in colors.items():
            look: dict[str, Any] = {"color": color, "label": name}
            look["lw"] = 2.0 if name == "all votes" else 1.5
            (self.lines_[name],) = ax.plot(
                *(self.knots_, self.shares_[name]), drawstyle="steps-post", **look
            )
        self._set_threshold_axis(ax)
        ax.set_ylabel("share of votes that is distrusted")
        ax.yaxis.set_major_formatter(_percent)
        ax.set_ylim(0.0, None)
        ends = [
            (name, (self.knots_[-1], self.shares_[name][-1]), color)
            for name, color in colors.items()
        ]
        settle(ax)
        if len(ends) > 1:
            label_ends(ax, ends)
        self._mark(ax, self.threshold)

    def _draw_order(
        self, ax: Axes, groups: dict[str, tuple[Any, Any]], first: int | None
    ) -> None:
        from matplotlib.patches import Patch

        # Votes that can never be shifted have no strength.
        order = self.order_[:first]
        weight, strength = self.weight[order], np.maximum(self.strength[order], 0.0)
        ends = np.append(0.0, np.cumsum(weight))
        n_bins = min(len(order), _PLACES)
        bins = np.linspace(0, len(order), n_bins, endpoint=False).astype(np.intp)
        mass = np.maximum(np.add.reduceat(weight, bins), 1e-300)
        height = np.add.reduceat(weight * strength, bins) / mass
        edges = ends[np.append(bins, len(order))]
        floor = np.zeros(len(bins))
        handles = []
        rest = np.ones(len(order), dtype=bool)
        parts = [*groups.items(), ("other votes", (None, _GREY))]
        for name, (mask, color) in parts:
            some = rest if mask is None else mask[order]
            rest = rest & ~some
            share = np.add.reduceat(weight * some, bins) / mass
            top = floor + share * height
            look: dict[str, Any] = {"fill": True, "color": color, "lw": 0}
            ax.stairs(top, edges, baseline=floor, **look)
            handles.append(Patch(color=color, label=shortened(name)))
            floor = top
        ax.stairs(height, edges, color=_LINE, lw=1.0, baseline=None)
        ax.set(xlim=(edges[0], edges[-1]), ylim=(0.0, None))
        ax.set_xlabel("votes in the order of the path")
        entry = "1 / t" if self._is_time else "threshold"
        ax.set_ylabel(f"strength ({entry} of entry)")
        settle(ax)
        legend_below(ax, handles)
        settle(ax)
        count = float((self.weight * self.distrusted_).sum())
        self._mark(ax, count if self.threshold is not None else None)

    def _mark(self, ax: Axes, place: float | None) -> None:
        """A line at the chosen point, with the number of distrusted votes."""
        if place is None:
            return
        low, high = sorted(ax.get_xlim())
        if not low <= place <= high:
            return
        count = float((self.weight * self.distrusted_).sum())
        share = count / self.weight.sum()
        short = f"{count:,.6g} ({100 * share:.2g} %)"
        name = "" if self.selection is None else f"{rule_name(self.selection.rule)}: "
        text = f"{name}{short} distrusted"
        make_strip(ax)
        settle(ax)
        mark_points(ax, [], [(place, text, short, "-")])

    def _draw_scores(self, ax: Axes, top: int) -> None:
        if self.path is None:
            raise ValueError('kind="scores" needs a path; strengths have no scores.')
        from matplotlib.collections import LineCollection

        self.knots_ = self._choose_knots()
        scores = self.path.scores_at(self.knots_)
        change = np.ptp(scores, axis=0)
        order = np.argsort(-change, kind="stable")
        named = order[:top].tolist()
        names = [str(self.path.items[i]) for i in named]
        others = order[top:]
        some = np.linspace(0, len(others) - 1, min(len(others), _LINES)).astype(int)
        grey = [np.column_stack([self.knots_, scores[:, i]]) for i in others[some]]
        look: dict[str, Any] = {"colors": "0.8", "linewidths": 0.8, "zorder": 1.5}
        ax.add_collection(LineCollection(grey, **look))
        self.lines_ = {}
        for rank, i in enumerate(named):
            look = {
                "color": COLORS[rank % len(COLORS)],
                "lw": 1.5,
                "label": names[rank],
            }
            (self.lines_[i],) = ax.plot(self.knots_, scores[:, i], **look)
        self._set_threshold_axis(ax)
        ax.autoscale(axis="y")
        ax.set_ylabel("score")
        settle(ax)
        ends = [
            (name, (self.knots_[-1], scores[-1, i]), self.lines_[i].get_color())
            for name, i in zip(names, named, strict=True)
        ]
        label_ends(ax, ends)
        self._mark(ax, self.threshold)


def _percent(value: float, _: Any) -> str:
    return f"{100 * value:g} %"
