"""How many graded votes to distrust: rules of robust regression, on a graph."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..scales import truncated_variance
from ._outlier_choice import needed, own_knots
from ._vote_points import VoteChoice, check_votes, is_one_side, weights_of
from .base import Selection
from .outliers import EntryGap, OutlierCriterion, ScaleCut

__all__ = ["VoteCriterion", "VoteCut", "VoteGap", "refusal"]

# Graded votes with no more values than these are on a coarse scale.
_COARSE = 20
# Thresholds between knots that are tried.
_HALVINGS = 40


@dataclasses.dataclass(frozen=True)
class VoteGap(EntryGap):
    """Put the end of the distrusted votes into the largest gap between entries.

    For graded votes, as `EntryGap`. A vote for one side enters where the scores of its
    pair say, so that gaps are those between differences of scores, whether votes are
    flipped or not: at a close pair a flipped vote and a good one follow each other. Of
    2,000 votes that follow the order of 16 items, 20 % or 40 % of them flipped, the
    largest gap was no larger than in votes without flips (95 % quantile of votes
    simulated from the Bradley-Terry fit) for all of 12 seeds, with linear and logistic
    paths. So votes for one side are refused.
    """

    def select(self, path: Any, problem: Any = None) -> Selection:
        """Choose a point of `path`; see `EntryGap`.

        Raises
        ------
        ValueError
            If the votes are not graded.
        """
        check_graded(path, problem, "selector='gap' (VoteGap)")
        return super().select(path, problem)


@dataclasses.dataclass(frozen=True)
class VoteCriterion(OutlierCriterion):
    """Choose the knot with the smallest information criterion; graded votes.

    As `OutlierCriterion`. On a coarse scale (up to 20 grades) half of the votes may be
    fitted (nearly) exactly if the others are left out, and a criterion takes that for a
    model without noise. If the scale that is found is below that of rounding (the step
    between grades over the root of 12), no vote is distrusted, and `Selection.fallback`
    is set.
    """

    def select(self, path: Any, problem: Any = None) -> Selection:
        """Choose a knot of `path`; `problem` is needed to know the grades.

        Raises
        ------
        ValueError
            If the votes are not graded.
        """
        check_graded(path, problem, f"selector={self.name!r} (VoteCriterion)")
        return _unless_exact(super().select(path, problem), path, problem)


@dataclasses.dataclass(frozen=True)
class VoteCut(ScaleCut):
    """Distrust graded votes beyond a cut in units of a scale estimate.

    As `ScaleCut`, with the scale of the votes that are not distrusted. Least squares
    without the distrusted votes, which "l1" and "lbi" need, is not at hand for designs
    on a graph that is too large for coordinates in memory. There the residuals of the
    path itself are used, for the scale and for what is beyond the cut, without their
    leverages; `Selection.quantities` says so.

    On a coarse scale (up to 20 grades) an estimate below that of rounding (see
    `VoteCriterion`) is not believed: no vote is distrusted then, and
    `Selection.fallback` is set.

    Parameters
    ----------
    cut : float, default=2.5
        In standard deviations.
    scale : {"clean", "proposal2", "mad", "s"}, default="clean"
        "clean" finds more flips than "proposal2" on "l1" paths: of those with an error
        beyond 3 standard deviations, among 1,000 votes about 16 items, 85 % instead of
        47 % at a rate of 20 %.
    random_state : int, RandomState instance or None, default=0
        For the subsamples of "s".
    """

    cut: float = 2.5
    scale: str = "clean"

    def select(self, path: Any, problem: Any = None) -> Selection:
        """Choose a point of `path`.

        Parameters
        ----------
        path : VotePath
        problem : ComparisonProblem
            What the path was traced on.

        Raises
        ------
        ValueError
            If the votes are not graded, or the problem is missing or another one.
        """
        check_graded(path, problem, f"selector='sigma' ({self})")
        data = needed(problem, self)
        exact = data.design.dense or path.method == "hard" or self.scale != "clean"
        select = super().select if exact else self._select_large
        return _unless_exact(select(path, problem), path, problem)

    def _select_large(self, path, problem):
        """By the residuals of the path, which cost a pass over the votes each."""
        check_votes(path, problem)
        rule = f"cut at {self.cut:g} scales ({self.scale!r})"
        choice = VoteChoice(path, rule, problem)
        rule = "residuals of the path that are not shifted, corrected for the cut"
        choice.add(cut=float(self.cut), scale_rule=rule)
        weight = weights_of(path, problem, self)
        spread = truncated_variance(self.cut, 1)

        def look(knot):
            """Scale at a point, and whether it leaves nothing beyond the cut."""
            residual = np.abs(problem.residuals(path.at(knot).coef))
            kept = ~path.outliers(knot)
            df = float(weight[kept].sum()) - path.rank
            scale = math.sqrt(weight[kept] @ residual[kept] ** 2 / max(df, 1) / spread)
            if path.knot_name != "t":
                return scale, knot <= self.cut * scale
            size = (residual / problem.row_factor)[kept & (weight > 0)]
            return scale, size.max(initial=0.0) <= self.cut * scale

        if path.knot_name == "t":
            for knot in path.knots:
                scale, done = look(knot)
                if done:
                    return choice.at_point(knot, scale=scale)
            return choice.at_last(f"a cut at {self.cut:g} scales", scale=scale)
        high, low = path.knots[own_knots(path, problem)][[0, -1]].tolist()
        scale, done = look(high)
        if done:
            return choice.at_point(high, scale=scale)
        scale, done = look(low)
        if not done:
            return choice.at_last(f"a cut at {self.cut:g} scales", scale=scale)
        for _ in range(_HALVINGS):
            middle = (high + low) / 2
            found, done = look(middle)
            if done:
                low, scale = middle, found
            else:
                high = middle
        return choice.at_point(low, scale=scale)


def refusal(what: str) -> str:
    return (
        f"{what} is for graded votes. Residuals of votes for one side, +1 or -1, are "
        "bounded: with 20 % of them flipped the largest is 2.47 standard deviations, "
        "so a cut at 2.5 distrusts nobody, a criterion for normal residuals means "
        "nothing, and gaps are those between scores. Use selector='flips' (the rate of "
        "flips is estimated), VoteShare(0.2) (the rate is given), or a number (the "
        "threshold)."
    )


def check_graded(path: Any, problem: Any, what: str) -> None:
    logistic = getattr(path, "model", "linear") == "logistic"
    votes = problem is not None and not problem.of_pairs
    if logistic or (votes and is_one_side(problem.y)):
        raise ValueError(refusal(what))


def _unless_exact(selection: Selection, path: Any, problem: Any) -> Selection:
    """The selection, unless votes on a coarse scale pretend to have no noise."""
    found = selection.quantities
    if problem is None or problem.of_pairs or not found["n_shifted"]:
        return selection
    grades = np.unique(np.concatenate([problem.y, -problem.y]))  # of swapped pairs, too
    # Rounding to grades alone leaves a larger scale.
    if len(grades) > _COARSE or found["scale"] >= np.diff(grades).min() / math.sqrt(12):
        return selection
    text = (
        f"{found['n_shifted']} votes would be distrusted because the others are fitted "
        f"(nearly) exactly, with a scale of {found['scale']:.2g}, which is no wonder "
        f"with {len(grades)} grades: no vote is distrusted. "
        "Use VoteShare(0.1), or selector='sigma' with method='l1' or 'iss'."
    )
    return dataclasses.replace(
        selection,
        knot=float(path.knots[0]),
        index=0,
        quantities=found | {"n_shifted": 0, "n_refused": found["n_shifted"]},
        message=text,
        fallback=True,
    )
