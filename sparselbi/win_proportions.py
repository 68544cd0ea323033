"""Votes counted pair by pair, and HodgeRank's transforms of the proportions of wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from ._comparison_graph import checked_pairs
from ._path_checks import check_choice
from .problem import check_weight

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "TRANSFORMS",
    "WinProportions",
    "flow_to_probability",
    "probability_to_flow",
    "win_proportions",
]

TRANSFORMS = ("uniform", "bradley_terry", "thurstone_mosteller", "angular")
_WEIGHTS = ("count", "inverse_variance")
# Added to wins and losses where a proportion of 0 or 1 would have no (or a constant)
# image: of the empirical logits, those with the least bias.
_CORRECTION = 0.5


def probability_to_flow(
    probability: ArrayLike, transform: str = "bradley_terry"
) -> NDArray[np.float64]:
    """Return the difference of scores that a probability of winning stands for.

    Parameters
    ----------
    probability : array-like
        p in [0, 1], that the first item wins.
    transform : {"uniform", "bradley_terry", "thurstone_mosteller", "angular"}
        ``2p - 1``; ``log(p / (1 - p))``; the normal quantile of p; ``asin(2p - 1)``.

    Returns
    -------
    ndarray
        Antisymmetric: 0 at p = 1/2. Infinite at 0 and 1 for "bradley_terry" and
        "thurstone_mosteller".

    Raises
    ------
    ValueError
        If the transform is unknown or p is outside of [0, 1].

    References
    ----------
    X. Jiang, L.-H. Lim, Y. Yao, Y. Ye (2011). Statistical ranking and combinatorial
    Hodge theory. Math. Program. 127, 203-244. Q. Xu, Q. Huang, T. Jiang, B. Yan,
    W. Lin, Y. Yao (2012). HodgeRank on random graphs for subjective video quality
    assessment. IEEE Trans. Multimedia 14, 844-857.
    """
    check_choice("transform", transform, TRANSFORMS)
    p = np.asarray(probability, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        bad = p[~((p >= 0) & (p <= 1))].ravel()[0]
        raise ValueError(f"probability contains {bad}; it must be between 0 and 1.")
    if transform == "uniform":
        return 2 * p - 1
    if transform == "bradley_terry":
        return special.logit(p)
    if transform == "thurstone_mosteller":
        return special.ndtri(p)
    return np.arcsin(2 * p - 1)


def flow_to_probability(
    flow: ArrayLike, transform: str = "bradley_terry"
) -> NDArray[np.float64]:
    """Return the probability of winning at a difference of scores.

    The inverse of `probability_to_flow`. Differences outside of its range, [-1, 1] for
    "uniform" and [-pi/2, pi/2] for "angular", are certain: 0 or 1.

    Parameters
    ----------
    flow : array-like
        Score of the first item minus that of the second (plus a position bias).
    transform : {"uniform", "bradley_terry", "thurstone_mosteller", "angular"}

    Returns
    -------
    ndarray
        That the first item wins.

    Raises
    ------
    ValueError
        If the transform is unknown.
    """
    check_choice("transform", transform, TRANSFORMS)
    flow = np.asarray(flow, dtype=np.float64)
    if transform == "uniform":
        return np.clip((1 + flow) / 2, 0.0, 1.0)
    if transform == "bradley_terry":
        return special.expit(flow)
    if transform == "thurstone_mosteller":
        return special.ndtr(flow)
    return (1 + np.sin(np.clip(flow, -np.pi / 2, np.pi / 2))) / 2


def win_proportions(
    pairs: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> WinProportions:
    """Count the votes of every pair of items that were compared.

    Parameters
    ----------
    pairs : array-like of int of shape (n_votes, 2)
        Codes of the items that each vote compares.
    y : array-like of shape (n_votes,)
        Positive: the first item of the pair wins; negative: the second; 0: a tie, half
        a win and half a loss. Only the sign counts.
    sample_weight : array-like of shape (n_votes,), default=None
        How many votes each row stands for; rows of weight 0 do not count.

    Returns
    -------
    WinProportions
        Each pair once, smaller code first, so that the positions of the items are
        forgotten (a position bias is averaged, not removed).

    Raises
    ------
    ValueError
        If shapes differ, an item is compared with itself, y is not finite or codes are
        not integers.

    Examples
    --------
    >>> from sparselbi.win_proportions import win_proportions
    >>> found = win_proportions([[0, 1], [1, 0], [0, 1], [2, 1]], [1, 1, 0, -1])
    >>> found.pairs.tolist(), found.proportion.tolist(), found.count.tolist()
    ([[0, 1], [1, 2]], [0.5, 1.0], [3.0, 1.0])
    >>> flow, weight = found.flows("bradley_terry")
    >>> flow.round(3).tolist()
    [0.0, 1.099]
    """
    first, second = checked_pairs(pairs)
    votes = np.asarray(y, dtype=np.float64)
    if not len(first):
        raise ValueError("pairs is empty (n_votes=0); at least one vote is needed.")
    if votes.shape != first.shape:
        raise ValueError(
            f"y has shape {votes.shape}; it needs one number for each of the "
            f"{len(first)} votes."
        )
    if not np.isfinite(votes).all():
        row = np.flatnonzero(~np.isfinite(votes))[0]
        raise ValueError(f"y[{row}] is {votes[row]}; a missing vote needs no row.")
    weight = check_weight(sample_weight, len(votes))
    wins = (1 + np.where(first < second, np.sign(votes), -np.sign(votes))) / 2
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((high, low))
    order = order[weight[order] > 0]
    low, high, weight = low[order], high[order], weight[order]
    new = (np.diff(low, prepend=-1) != 0) | (np.diff(high, prepend=-1) != 0)
    new[0] = True
    starts = np.flatnonzero(new)
    return WinProportions(
        pairs=np.column_stack([low[starts], high[starts]]),
        wins=np.add.reduceat(weight * wins[order], starts),
        count=np.add.reduceat(weight, starts),
    )


@dataclass(frozen=True, eq=False)
class WinProportions:
    """Pairs of items that were compared, each once.

    Attributes
    ----------
    pairs : ndarray of int of shape (n_pairs, 2)
        Smaller code first; sorted.
    wins : ndarray of shape (n_pairs,)
        Votes for the first item, ties by half.
    count : ndarray of shape (n_pairs,)
        Votes.
    """

    pairs: NDArray[np.intp]
    wins: NDArray[np.float64]
    count: NDArray[np.float64]

    @property
    def proportion(self) -> NDArray[np.float64]:
        """Share of the votes for the first item, (n_pairs,)."""
        return np.minimum(self.wins / self.count, 1.0)

    def smoothed(self, correction: float = _CORRECTION) -> NDArray[np.float64]:
        """Shares with a part of a win and of a loss added to every pair, (n_pairs,).

        ``(wins + correction) / (count + 2 correction)``: strictly between 0 and 1.

        Raises
        ------
        ValueError
            If `correction` is negative or not finite.
        """
        if not 0 <= correction < np.inf:
            raise ValueError(
                f"correction={correction!r} must be a number of votes, 0 or more; 0.5 "
                "is usual."
            )
        share = (self.wins + correction) / (self.count + 2 * correction)
        return np.minimum(share, 1.0)

    def flows(
        self,
        transform: str = "bradley_terry",
        *,
        weights: str = "count",
        correction: float | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Differences of scores that the proportions stand for, and their weights.

        Graded votes, one for each pair, for least squares on the graph of comparisons.

        Parameters
        ----------
        transform : {"uniform", "bradley_terry", "thurstone_mosteller", "angular"}
            See `probability_to_flow`.
        weights : {"count", "inverse_variance"}, default="count"
            Number of votes, or 1 over `variances`.
        correction : float or None
            See `smoothed`. None: 0.5 for "bradley_terry" and "thurstone_mosteller",
            which are infinite at 0 and 1; 0 for the other two.

        Returns
        -------
        flow, weight : ndarray of shape (n_pairs,)

        Raises
        ------
        ValueError
            If an argument is unknown, or a flow is infinite because `correction` is 0.
        """
        check_choice("transform", transform, TRANSFORMS)
        check_choice("weights", weights, _WEIGHTS)
        if correction is None:
            bounded = transform in ("uniform", "angular")
            correction = 0.0 if bounded else _CORRECTION
        flow = probability_to_flow(self.smoothed(correction), transform)
        if not np.isfinite(flow).all():
            pair = self.pairs[~np.isfinite(flow)][0].tolist()
            raise ValueError(
                f"correction={correction!r}: all votes on the pair {pair} go one way, "
                f"which {transform!r} maps to infinity; use 0.5."
            )
        if weights == "count":
            return flow, self.count.copy()
        return flow, 1 / self.variances(transform)

    def variances(self, transform: str = "bradley_terry") -> NDArray[np.float64]:
        """Variances of the flows by the delta method, (n_pairs,).

        ``f'(p)^2 p (1 - p) / (count + 1)`` with the transform f and the proportion
        ``p = (wins + 1/2) / (count + 1)``, whatever the correction of the flow, because
        of a pair whose votes all go one way the variance is not 0. For
        "bradley_terry" that is ``1 / (wins + 1/2) + 1 / (losses + 1/2)``, for
        "angular" ``1 / (count + 1)``.

        References
        ----------
        J. J. Gart, J. R. Zweifel (1967). On the bias of various estimators of the logit
        and its variance. Biometrika 54, 181-187.
        """
        check_choice("transform", transform, TRANSFORMS)
        p, count = self.smoothed(), self.count + 2 * _CORRECTION
        spread = p * (1 - p)
        if transform == "uniform":
            return 4 * spread / count
        if transform == "bradley_terry":
            return 1 / (spread * count)
        if transform == "angular":
            return 1 / count
        density = np.exp(-(special.ndtri(p) ** 2) / 2) / np.sqrt(2 * np.pi)
        return spread / density**2 / count

    def to_frame(self) -> pd.DataFrame:
        """One line for each pair: first, second, wins, count, proportion."""
        import pandas as pd

        columns: dict[str, Any] = {
            "first": self.pairs[:, 0],
            "second": self.pairs[:, 1],
            "wins": self.wins,
            "count": self.count,
            "proportion": self.proportion,
        }
        return pd.DataFrame(columns)
