"""Scores and curvature of votes at a fit: what standard errors need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._shift_design import row_limits
from ..solvers._vote_loss import vote_curvature, vote_scores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..comparison_problem import ComparisonProblem

# Residuals within this share of a threshold are at it.
_ROUNDING = 1e-9


def linear_scores(
    problem: ComparisonProblem, coef: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and curvature of the votes at a Huber fit of graded votes.

    Parameters
    ----------
    problem : ComparisonProblem
    coef : ndarray of shape (n_features,)
    threshold : float
        In units of y, on raw residuals over `row_factor`; infinity: least squares.

    Returns
    -------
    psi, curvature : ndarray of shape (n_votes,)
        Residuals clipped at their limits, and 1 within them, 0 beyond.
    """
    residual = problem.residuals(coef)
    limit = row_limits(threshold, problem.row_factor)
    # A vote at its event is not shifted yet; points of exact paths often are events.
    within = np.abs(residual) <= limit * (1 + _ROUNDING)
    return np.clip(residual, -limit, limit), within.astype(float)


def logistic_scores(
    problem: ComparisonProblem,
    coef: NDArray[np.float64],
    threshold: float,
    ridge: ArrayLike = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and curvature of the votes at a Bradley-Terry fit with shifts.

    Parameters
    ----------
    problem : ComparisonProblem
        Its votes in {-1, 0, 1}.
    coef : ndarray of shape (n_features,)
    threshold : float
        A probability, over `row_factor`; infinity: maximum likelihood.
    ridge : float or array-like of shape (n_votes,), default=0.0
        As in `trace_logistic_shift`.

    Returns
    -------
    psi, curvature : ndarray of shape (n_votes,)
        ``clip(y01 - p, -limit, limit) + ridge (1/2 - p)`` and ``p (1 - p) (1{not
        shifted} + ridge)``.
    """
    eta = problem.eta(coef)
    limit = row_limits(threshold, problem.row_factor)
    ridge = np.asarray(ridge, dtype=np.float64)
    psi = vote_scores(eta, problem.y, limit, ridge)
    return psi, vote_curvature(eta, problem.y, limit, ridge)
