"""Points of a path of votes, and the choice of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..solvers.vote_paths import check_same_votes
from ._outlier_choice import Choice, needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .base import Selection

# Events whose places differ by this fraction happen together.
_TOGETHER = 1e-11
# Shares of the total weight that differ by less are the same.
_SAME = 1e-12
# A share that is missed by more than this part of all votes is worth a word.
WORTH_A_WORD = 0.01


class VoteChoice(Choice):
    """A choice at any point of a path."""

    def add_reached(self, parts: Stretches, k: int, total: float) -> float:
        """Note the weight that is shifted; returns its share."""
        following = float(parts.weight[k + 1 : k + 2].sum()) / total
        share = float(parts.weight[k]) / total
        self.add(shifted_share=share, shifted_weight=float(parts.weight[k]))
        self.add(next_share=following if k + 1 < len(parts.weight) else np.nan)
        return share

    def at_point(
        self, knot: float, fallback: bool = False, **quantities: Any
    ) -> Selection:
        self.add(**quantities)
        place = _clock(self.path, knot)
        knots = _clock(self.path, self.path.knots)
        index = int(np.searchsorted(knots, place + _SAME * abs(place), "right")) - 1
        return self._done(float(knot), max(index, 0), fallback)

    def at_last(
        self, wanted: str, fallback: bool = True, **quantities: Any
    ) -> Selection:
        """The last knot, because the rule asks for more."""
        path = self.path
        self.note(
            f"The path ends at {path.knot_name} {path.knots[-1]:.6g} (status "
            f"{path.status!r}), before {wanted} is reached: the last knot is reported. "
            "Allow more shifted votes (max_outliers), or a longer path (t_max)."
        )
        return self.at_point(path.knots[-1], fallback, **quantities)


class Stretches:
    """Parts of a path along which the same votes are shifted, in path order.

    Votes of weight 0 are not looked at: they begin no new part.

    Attributes
    ----------
    points : ndarray of shape (n_stretches,)
        A threshold (or t) in each; the first one is the start of the path.
    weight : ndarray of shape (n_stretches,)
        Of the votes that are shifted there.
    """

    def __init__(self, path: Any, weight: NDArray[np.float64]):
        events = path.row_events
        events = events[weight[events["row"]] > 0]
        start, end = _clock(path, path.knots[[0, -1]])
        at = np.maximum(_clock(path, events["at"]), start)  # rounding
        change = np.where(events["enters"], 1.0, -1.0) * weight[events["row"]]
        constant = path.interpolation == "constant"
        if constant:  # what happens at the start is there from the start
            at, change = np.append(start, at), np.append(0.0, change)
        apart = np.diff(at) > _TOGETHER * np.abs(at[1:])
        last = np.flatnonzero(np.append(apart, np.ones(min(len(at), 1), bool)))
        places, shifted = at[last], np.cumsum(change)[last]
        if not constant:
            # A vote has the shift 0 at its event.
            ends = np.append(places[1:], max(end, places[-1] if len(places) else end))
            wide = ends - places > _TOGETHER * np.abs(ends)
            middle = (places + (ends - places) / 2)[wide]
            places = np.append(start, middle)
            shifted = np.append(0.0, shifted[wide])
        self.points = np.abs(places)
        self.weight = np.maximum(shifted, 0.0)
        used = weight[weight > 0]
        self._slack = float(used.min()) if len(used) else 0.0
        self._rounding = _SAME * float(used.sum())

    def within(self, wanted: float) -> int:
        """Largest weight up to `wanted` before that is exceeded; the last such."""
        part = self.weight[: self._first_over(wanted)]
        return len(part) - 1 - int(np.argmax(part[::-1]))

    def nearest(self, wanted: float) -> int:
        """That, or the first one beyond if it is nearer."""
        k, over = self.within(wanted), self._first_over(wanted)
        if over < len(self.weight):
            beyond, short = self.weight[over] - wanted, wanted - self.weight[k]
            if beyond < short - self._rounding:
                return over
        return k

    def ends_before(self, wanted: float) -> bool:
        """Whether one more vote would be allowed where the path ends."""
        if self._first_over(wanted) < len(self.weight):
            return False
        reached = float(self.weight.max())
        return reached + self._slack <= wanted + self._rounding

    def _first_over(self, wanted: float) -> int:
        over = np.flatnonzero(self.weight > wanted + self._rounding)
        return int(over[0]) if len(over) else len(self.weight)


def check_votes(path: Any, problem: Any) -> None:
    """Check that this is a path of these votes."""
    if not hasattr(path, "vote_order"):
        raise ValueError(
            f"path is a {type(path).__name__}; rules about votes need a VotePath, from "
            "vote_path or PairwiseRanker."
        )
    if problem is not None:
        check_same_votes(path, problem)


def _clock(path: Any, knot: Any) -> Any:
    """Increasing along the path."""
    return knot if path.knot_name == "t" else -knot


def weights_of(path: Any, problem: Any, rule: object) -> NDArray[np.float64]:
    """Weights of the votes."""
    if problem is None and path.n_samples != path.n_rows:
        needed(problem, rule)
    if problem is None or problem.sample_weight is None:
        return np.ones(path.n_rows)
    return np.asarray(problem.sample_weight)


def is_one_side(y: NDArray[np.float64]) -> bool:
    """Whether votes name a side, and nothing else but ties."""
    return bool(((y == 0) | (np.abs(y) == 1)).all())
