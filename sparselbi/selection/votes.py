"""How many votes to distrust: choosing a point of a path of votes.

Votes for one side, +1 or -1, have bounded residuals, so that rules that know outliers
by their size say nothing about them. What is left is a given share, or a model of
flipped votes. Graded votes have the rules of robust regression.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy import sparse

from ._outlier_choice import is_real, needed
from ._vote_points import (
    WORTH_A_WORD,
    Stretches,
    VoteChoice,
    check_votes,
    is_one_side,
    weights_of,
)
from .base import Selection, Selector
from .graded_votes import VoteCriterion, VoteCut, VoteGap, refusal
from .outliers import EntryGap, GivenKnot, OutlierCriterion, ScaleCut, TrimmedCV

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..comparison_problem import ComparisonProblem
    from ..vote_noise import FlipRate
    from ..vote_path import VotePath

__all__ = [
    "FlipShare",
    "VoteCriterion",
    "VoteCut",
    "VoteGap",
    "VoteShare",
    "get_vote_selector",
]

# Knots of the Huber path that scores are read from if the path has other ones.
_HUBER_KNOTS = 12
# Estimates have settled if they agree up to this share of the votes.
_SETTLED = 1e-4
# Rules that are made for normal residuals.
_NORMAL = (OutlierCriterion, ScaleCut, EntryGap, TrimmedCV)


@dataclasses.dataclass(frozen=True)
class VoteShare:
    """Distrust a given share of the votes: those that are shifted first.

    The point of the path at which the shifted votes have the largest weight that does
    not exceed ``share`` times the total weight, before it is exceeded for the first
    time. Paths over the threshold of a convex fit are read between their knots, too.
    Votes that are alike (same pair, same answer) are shifted together.

    Parameters
    ----------
    share : float in [0, 0.5]
        Of the total weight of the votes. Who distrusts more than half of the votes has
        reversed the ranking.

    Examples
    --------
    ``VoteShare(0.2)``, the pruning rate that is usual for robust ranking.
    """

    share: float

    def __post_init__(self) -> None:
        if not is_real(self.share) or not 0 <= self.share <= 0.5:
            raise ValueError(
                f"share={self.share!r} must be a share of the votes between 0 and 0.5; "
                "0.2 distrusts every fifth vote."
            )

    def select(
        self, path: VotePath, problem: ComparisonProblem | None = None
    ) -> Selection:
        """Choose a point of `path`.

        Parameters
        ----------
        path : VotePath
        problem : ComparisonProblem, optional
            What the path was traced on; needed if the votes have weights.

        Returns
        -------
        Selection
            ``quantities["shifted_share"]`` is what was reached, and ``"next_share"``
            what the following point of the path has (NaN at its end).

        Raises
        ------
        ValueError
            If there are weights and no problem.
        """
        check_votes(path, problem)
        choice = VoteChoice(path, f"share {self.share:g} of the votes", problem)
        weight = weights_of(path, problem, self)
        total = float(weight.sum())
        parts = Stretches(path, weight)
        k = parts.within(self.share * total)
        choice.add(share=float(self.share), total_weight=total)
        if parts.ends_before(self.share * total):
            reached = choice.add_reached(parts, len(parts.points) - 1, total)
            far = self.share - reached > WORTH_A_WORD
            return choice.at_last(f"a share of {self.share:.1%}", fallback=far)
        reached = choice.add_reached(parts, k, total)
        if self.share - reached > WORTH_A_WORD:
            choice.note(
                f"{reached:.1%} of the votes are distrusted instead of "
                f"{self.share:.1%}: at the next point of the path it is "
                f"{choice.quantities['next_share']:.1%}. Votes that are alike are "
                "shifted together, and paths of method 'hard' and 'lbi' jump."
            )
        return choice.at_point(parts.points[k])


@dataclasses.dataclass(frozen=True)
class FlipShare:
    """Distrust as many votes as are flipped, by the estimate of a mixture.

    The rate of flips is estimated from the scores (see `sparselbi.vote_noise.
    flip_rate`), and the scores are those of the fit in which this share of the votes is
    shifted: an equation for the point of the path, solved from its start. Ties are not
    counted.

    If the votes do not tell flips from close calls, no vote is distrusted, and
    `Selection.fallback` is set.

    Notes
    -----
    The scores are those of the path itself if its fits are convex ("l1"). Fits that
    leave shifted votes out altogether ("hard", "iss", "lbi") confirm what they assume:
    without the votes against them, scores look surer than they are, and votes against
    them look flipped. In 300 Bradley-Terry votes about 16 items with scores of standard
    deviation 1, none of them flipped, scores of a hard path with 20 % of the votes
    shifted give a rate of 13 % on average, and in 32 % of 40 simulations an interval
    without 0; scores of convex fits give 4 %, and 5 to 10 %. So for these paths a Huber
    path is traced, and its scores are used.

    If the interval of the rate contains 0, close calls alone explain the votes, and no
    vote is distrusted. The interval takes the scores as known, and is too short for
    that. Scores follow the flips a little, so that the rate is too low, the more so the
    fewer votes there are for each score.

    References
    ----------
    J. B. Copas (1988). Binary regression models for contaminated data. J. R. Statist.
    Soc. B 50, 225-265.
    """

    def select(
        self, path: VotePath, problem: ComparisonProblem | None = None
    ) -> Selection:
        """Choose a point of `path`.

        Parameters
        ----------
        path : VotePath
        problem : ComparisonProblem
            What the path was traced on.

        Returns
        -------
        Selection
            ``quantities`` has the rate, its standard error and interval;
            ``expected_precision``, the mean probability that a distrusted vote is
            flipped, and ``expected_recall``, the expected share of the flips that are
            distrusted; and the number of estimates that it took.

        Raises
        ------
        ValueError
            Without a problem, or if the votes are graded.
        """
        votes = cast("ComparisonProblem", needed(problem, self))
        check_votes(path, votes)
        if not is_one_side(votes.y):
            raise ValueError(_only_one_side(str(self)))
        choice = VoteChoice(path, "flip rate of a mixture", problem)
        weight = weights_of(path, votes, self) * (votes.y != 0)
        total = float(weight.sum())
        if total == 0:
            choice.note("All votes are ties: there is nothing that could be flipped.")
            return choice.at_start()
        convex = _convex_path(path, votes)
        parts = Stretches(convex, weight)
        estimate, n_estimates = _consistent_rate(convex, parts, votes)
        choice.add(
            flip_rate=estimate.rate,
            standard_error=estimate.stderr,
            interval_low=estimate.interval[0],
            interval_high=estimate.interval[1],
            scale=estimate.scale,
            flipped_votes=estimate.n_flipped,
            n_votes=estimate.n_votes,
            n_estimates=n_estimates,
            scores_from="the path" if convex is path else "a Huber path",
        )
        if reason := _why_unknown(estimate):
            choice.note(
                f"The flip rate is not identified: {reason}. No vote is distrusted. "
                "Give the share of votes to distrust (selector=VoteShare(0.1), for "
                "example), or, if workers are known, look at their reliability."
            )
            return choice.at_start(fallback=True)
        low, high = estimate.interval
        if estimate.rate == 0:
            choice.note(
                f"The estimate of the flip rate is 0 (rates up to {high:.2f} explain "
                "the votes, too): no vote is distrusted. VoteShare distrusts a share "
                "that is given."
            )
            return choice.at_start()
        if low == 0:
            choice.note(
                f"The estimate of the flip rate is {estimate.rate:.3f}, but rates from "
                f"0 to {high:.2f} explain the votes: close calls are enough, and no "
                "vote is distrusted. VoteShare distrusts a share that is given."
            )
            return choice.at_start()
        if convex is not path:
            parts = Stretches(path, weight)
        wanted = estimate.n_flipped
        k = parts.nearest(wanted)
        if ends := parts.ends_before(wanted):
            k = len(parts.points) - 1
        reached = choice.add_reached(parts, k, total)
        shifted = path.outliers(parts.points[k])
        odds = weight * estimate.posterior
        if parts.weight[k] > 0:
            precision = float(odds[shifted].sum() / weight[shifted].sum())
            choice.add(expected_precision=precision)
        choice.add(expected_recall=float(odds[shifted].sum() / odds.sum()))
        if ends:
            words = f"the estimated flip rate of {estimate.rate:.1%}"
            far = estimate.rate - reached > WORTH_A_WORD
            return choice.at_last(words, fallback=far)
        return choice.at_point(parts.points[k])


@dataclasses.dataclass(frozen=True)
class GivenPoint(GivenKnot):
    """A threshold or t of a path of votes."""

    def select(self, path: Any, problem: Any = None) -> Selection:
        check_votes(path, problem)
        return super().select(path)


def get_vote_selector(
    selector: Any,
    *,
    model: str = "linear",
    method: str = "l1",
    kind: str = "binary",
) -> Selector:
    """Return the rule for a name, a number or a selector.

    Parameters
    ----------
    selector : str, float or selector
        For votes for one side (and ties) "flips" (`FlipShare`); for graded votes
        "sigma" (`VoteCut`), "bic", "aic" (`VoteCriterion`) or "gap" (`VoteGap`); "auto"
        is "flips" or "sigma". A number is that threshold, or that t.
    model : {"linear", "logistic"}, default="linear"
    method : {"l1", "iss", "lbi", "hard"}, default="l1"
    kind : {"binary", "ties", "graded"}, default="binary"
        Of the votes, see `VoteTable`.

    Raises
    ------
    ValueError
        If `selector` is none of these, or not for votes of this kind.
    """
    binary = kind != "graded" or model == "logistic"
    rules = _BINARY if binary else _GRADED
    if isinstance(selector, str):
        if selector in rules:
            return cast("Selector", rules[selector]())
        if selector in _GRADED:
            raise ValueError(refusal(f"selector={selector!r}"))
        if selector in _BINARY:
            raise ValueError(_only_one_side(f"selector={selector!r}"))
    elif is_real(selector) and selector >= 0:
        return GivenPoint(float(selector))
    elif not isinstance(selector, type) and hasattr(selector, "select"):
        if binary and isinstance(selector, _NORMAL):
            raise ValueError(refusal(f"selector={selector!r}"))
        if not binary and isinstance(selector, FlipShare):
            raise ValueError(_only_one_side(f"selector={selector!r}"))
        return cast("Selector", selector)
    votes = "votes for one side" if binary else "graded votes"
    number = "t" if method in ("iss", "lbi") else "threshold"
    raise ValueError(
        f"selector={selector!r} is unknown; for {votes} use one of {sorted(rules)}, a "
        f"nonnegative number (that {number}), or an object with a method select(path, "
        "problem=None), such as VoteShare(0.2)."
    )


_BINARY: dict[str, Any] = {"auto": FlipShare, "flips": FlipShare}
_GRADED: dict[str, Any] = {
    "auto": VoteCut,
    "sigma": VoteCut,
    "bic": VoteCriterion,
    "aic": lambda: VoteCriterion("aic"),
    "gap": VoteGap,
}


def votes_of_one_side(problem: ComparisonProblem) -> NDArray[np.bool_]:
    """Votes that a bias explains, whatever the scores, (n_votes,).

    Those of a worker with a bias of his own who votes for one side only: the bias makes
    them sure, and whether they are flipped cannot be known.
    """
    extra, y = sparse.csr_array(abs(problem.extra)), problem.y
    used = 1.0 if problem.sample_weight is None else problem.sample_weight > 0
    sides = [extra.T @ (used * (sign * y > 0)) > 0 for sign in (1, -1)]
    return np.asarray(extra @ (sides[0] ^ sides[1]).astype(float) > 0)


# -- words -----------------------------------------------------------------------------


def _only_one_side(what: str) -> str:
    return (
        f"{what} is for votes for one side, +1, -1 or 0 for a tie: the flip of a "
        "graded vote about a close pair is a small error. For graded votes use "
        "selector='sigma', 'bic', 'gap', VoteShare(0.2), or fit their signs."
    )


def _why_unknown(estimate: FlipRate) -> str:
    """Why a flip rate means nothing; empty if it does."""
    if not estimate.identified:
        return estimate.reason
    low, high = estimate.interval
    if high >= 0.5:
        return (
            f"rates from {low:.2f} to {high:.2f} explain the votes, and at 0.5 all of "
            "them are coin flips"
        )
    return ""


# -- flips -----------------------------------------------------------------------------


def _convex_path(path: Any, problem: Any) -> Any:
    """The path if its fits are convex, else one of Huber regression."""
    if path.method == "l1":
        return path
    from ..solvers.huber import huber_path

    half = problem.total_weight / 2
    options: Any = {"route": "grid", "n_knots": _HUBER_KNOTS, "max_outliers": half}
    return huber_path(problem, **options)


def _consistent_rate(path: Any, parts: Stretches, problem: Any) -> tuple[FlipRate, int]:
    """Flip rate by the scores at which so many votes are shifted; estimates made.

    From the start of the path to where the estimate says, and again, between bounds.
    """
    from ..vote_noise import flip_rate

    weight = np.ones(len(problem.y))
    if problem.sample_weight is not None:
        weight = problem.sample_weight
    weight = weight * ~votes_of_one_side(problem)

    def estimate_at(k, interval=False):
        coefs, _ = path.coefs_at([parts.points[k]])
        eta, n_scores = problem.eta(coefs[0]), problem.rank
        return flip_rate(eta, problem.y, weight, n_scores=n_scores, interval=interval)

    k, low, high, n_estimates = 0, 0, len(parts.points), 0
    while True:  # each time between narrower bounds
        estimate = estimate_at(k)
        n_estimates += 1
        following = parts.nearest(estimate.n_flipped)
        off = abs(estimate.n_flipped - parts.weight[k])
        if following == k or off <= _SETTLED * estimate.n_votes:
            break
        if following > k:
            low = k
        else:
            high = k
        if high - low <= 1:
            break
        k = following if low < following < high else (low + high) // 2
    return estimate_at(k, interval=True), n_estimates
