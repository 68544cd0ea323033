"""What is reported at a point of a path of votes: three estimates of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shift_design import SingularFit
from ..scales import mad_scale
from ..solvers._hard_knot import with_hard_knot
from ..solvers.flip_mixture import flip_mixture
from ..solvers.logistic_shift import bradley_terry
from ._ranking_inference import linear_scores, logistic_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..selection.base import Selection
    from ..vote_path import VotePath
    from ._vote_question import VoteQuestion

ESTIMATES = ("path", "refit", "mixture")
# Ties hide flips: of those that "auto" adds on a path, the mixture gets this share.
_MIXTURE_RIDGE = 0.2
# A flip rate of 0 is as good as known if larger ones are rejected.
_NO_FLIPS = 0.01


@dataclass(frozen=True, eq=False)
class VoteEstimate:
    """Coefficients, and what a sandwich needs.

    Attributes
    ----------
    coef : ndarray of shape (n_features,)
        Scores (or coefficients of features), then position biases.
    pieces : tuple (psi, curvature) of ndarray of shape (n_rows,), or None
        Minus the first, and the second derivative of the loss of each row.
    border : tuple or None
        The same for the flip rate of a mixture.
    no_intervals : str
        Why there is no sandwich; empty if there is one.
    scale : float
        Standard deviation of the noise of graded votes; NaN for others.
    mixture : FlipMixtureFit or None
    caution : str
        What a reader of the scores has to know; empty if nothing.
    """

    coef: NDArray[np.float64]
    pieces: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    border: Any = None
    no_intervals: str = ""
    scale: float = np.nan
    mixture: Any = None
    caution: str = ""


def choose_point(
    rule: Any, path: Any, question: VoteQuestion
) -> tuple[VotePath, Selection]:
    """Choose a point of a path; of a "hard" one, it becomes a knot of its own."""
    problem = question.problem
    selection = rule.select(path, problem)
    if path.method == "hard":
        longer = with_hard_knot(path, problem, selection.knot)
        if longer is not path:
            path, selection = longer, rule.select(longer, problem)
    return path, selection


def estimate_scores(
    question: VoteQuestion,
    path: VotePath,
    selection: Selection,
    kind: str,
    ridge: Any = "auto",
) -> VoteEstimate:
    """Estimate scores at the selected point.

    Parameters
    ----------
    question : VoteQuestion
    path : VotePath
    selection : Selection
    kind : {"path", "refit", "mixture"}
    ridge : "auto" or float
        As asked for: "auto" is smaller for a mixture than for the path.

    Raises
    ------
    ValueError
        If the votes that are trusted do not determine the scores ("refit").
    """
    problem, knot = question.problem, selection.knot
    if kind == "mixture":
        share = _MIXTURE_RIDGE if ridge == "auto" else 1.0
        found = flip_mixture(problem, ridge=share * path.ridge)
        if doubts := _doubts(found):
            why = f"{doubts} There are no intervals; bootstrap() repeats the fit."
            return VoteEstimate(
                found.coef, None, None, why, mixture=found, caution=doubts
            )
        pieces = found.psi, found.curvature
        return VoteEstimate(found.coef, pieces, found.border, mixture=found)
    if kind == "refit":
        coef = _without_distrusted(problem, path, knot)
        why = (
            "estimate='refit' leaves votes out because they disagree with the scores, "
            "and standard errors that ignore this are far too small; use "
            "estimate='path', or bootstrap(), which repeats the choice."
        )
        return VoteEstimate(coef, None, None, why, _scale(question, path, knot, coef))
    coef = path.at(knot).coef
    scale = _scale(question, path, knot, coef)
    if path.method != "l1":
        why = (
            f"method={path.method!r} leaves votes out because they disagree with the "
            "scores, and standard errors that ignore this are far too small; use "
            "method='l1', or bootstrap(), which repeats the choice."
        )
        return VoteEstimate(coef, None, None, why, scale)
    if path.model == "logistic":
        pieces = logistic_scores(problem, coef, knot, path.ridge)
    else:
        pieces = linear_scores(problem, coef, knot)
    return VoteEstimate(coef, pieces, scale=scale)


def _doubts(found):
    """Why a fit of the mixture may not be what it seems."""
    if found.status == "separated":
        return (
            "estimate='mixture': once flips are taken out, the votes follow an order "
            "without exception, so that score differences have no finite size; use a "
            "larger ridge, or estimate='path'."
        )
    if found.status != "converged":
        return (
            "estimate='mixture' did not settle: there are many ways to explain these "
            "votes by flips. Use estimate='path', or a larger ridge."
        )
    if not found.identified:
        return (
            f"estimate='mixture': the flip rate {found.rate:.3f} is not identified "
            f"({found.reason}), and neither is the size of score differences; their "
            "order is safer with estimate='path'."
        )
    if found.rate == 0 and found.interval[1] > _NO_FLIPS:
        return (
            "estimate='mixture': the flip rate is estimated as 0, the least there is, "
            f"with rates up to {found.interval[1]:.3f} not rejected: score differences "
            "may be larger than they look."
        )
    return ""


def _without_distrusted(problem, path, knot):
    kept = ~path.outliers(knot)
    design = problem.design
    try:
        if path.model == "linear":
            coords = design.least_squares(kept)
        else:
            design.least_squares(kept)  # raises if the scores are not determined
            weight = kept.astype(np.float64)
            if problem.sample_weight is not None:
                weight *= problem.sample_weight
            other = problem.with_weight(weight)
            design = other.design
            coords = bradley_terry(design, ridge=path.ridge)
    except SingularFit as error:
        raise ValueError(
            f"{error}: {np.count_nonzero(~kept)} of {len(kept)} votes are distrusted. "
            "Use estimate='path', which keeps all votes, or distrust fewer of them."
        ) from error
    return design.to_coefs(coords)[0][0]


def _scale(question, path, knot, coef):
    """Standard deviation of the noise of graded votes."""
    if path.model == "logistic" or question.kind != "graded":
        return np.nan
    problem = question.problem
    residual = np.abs(problem.residuals(coef))
    return mad_scale(residual, problem.sample_weight)
