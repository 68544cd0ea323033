"""Bradley-Terry with flips: scores and a common flip rate by maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize, stats

from ..vote_noise import flip_rate
from ._flip_ascent import FlipAscent
from ._flip_likelihood import LARGEST_RATE, OBSERVED, FlipLikelihood
from ._vote_loss import Votes
from .logistic_shift import trace_logistic_shift

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["FlipMixtureFit", "flip_mixture"]

# Newton decrement over the root of the total weight at which the next step is the last.
_TOLERANCE = 1e-8
# Starts: threshold of a fit with shifts, ridge, and root mean square of eta at most.
_START_THRESHOLD, _START_RIDGE, _START_SPREAD = 0.3, 0.01, 4.0
# Ties for each vote and score, by default.
_TIES = 0.25
# Two maxima differ by more log-likelihood than this.
_SAME = 1e-4
# Intervals are by profile likelihood up to so many votes.
_MAX_PROFILE = 60_000
_LEVEL = 0.95
# A rate whose interval is wider, or with fewer votes for each score, means nothing.
_WIDEST, _FEW_VOTES = 0.25, 30.0


@dataclass(frozen=True, eq=False, repr=False)
class FlipMixtureFit:
    """Scores and flip rate that make the votes most likely.

    Attributes
    ----------
    coef : ndarray of shape (n_features,)
        Scores, which sum to 0 in every component (or coefficients of features), then
        the coefficients of further columns.
    coords : ndarray of shape (n_coords, 1)
        The same in the coordinates of ``problem.vote_design``.
    eta : ndarray of shape (n_votes,)
    ridge : float or ndarray of shape (n_votes,)
        Ties that were added to every vote.
    rate : float
        q, in [0, 1/2).
    rate_stderr : float
        From the observed information of rate and scores; NaN if the rate was given, is
        0, or the information is singular.
    interval : tuple of float
        95 % interval of the rate; the rate twice if it was given.
    interval_kind : str
        "profile": rates that a likelihood-ratio test does not reject, the scores being
        fitted anew at each of them. "wald": rate -+ 1.96 standard errors. "scores
        fixed": rates that are not rejected at these scores (too short; where there is
        no standard error). "given".
    identified : bool
        Whether `rate` means anything; `reason` says why not.
    reason : str
    posterior : ndarray of shape (n_votes,)
        Probability that a vote is flipped, given the vote; 0 for ties.
    psi, curvature : ndarray of shape (n_votes,)
        First and minus second derivative of each vote's log-likelihood (with ridge)
        with respect to eta, without the weight of the vote. The curvature may be
        negative: of votes that are likely flips.
    border : tuple of three ndarray of shape (n_votes,), or None
        What a sandwich needs to know about the rate, per vote and without its weight:
        first derivative of the log-likelihood with respect to the rate, minus its mixed
        derivative with respect to eta and rate, minus its second derivative with
        respect to the rate. None if the rate was given or is 0.
    log_likelihood : float
        Without the ridge.
    objective : float
        With it: what was maximized.
    start_objectives : tuple of float
        What each start led to. The likelihood is not concave: different numbers are
        different local maxima, the best of which is reported.
    n_iter : int
        Newton steps of all starts.
    decrement : float
        Newton decrement over the root of the total weight, before the last step.
    status : {"converged", "separated", "max_iter"}
        "separated": the supremum is at infinity; see `flip_mixture`.
    message : str
    """

    coef: NDArray[np.float64]
    coords: NDArray[np.float64]
    eta: NDArray[np.float64]
    ridge: Any
    rate: float
    rate_stderr: float
    interval: tuple[float, float]
    interval_kind: str
    identified: bool
    reason: str
    posterior: NDArray[np.float64]
    psi: NDArray[np.float64]
    curvature: NDArray[np.float64]
    border: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None
    log_likelihood: float
    objective: float
    start_objectives: tuple[float, ...]
    n_iter: int
    decrement: float
    status: str
    message: str

    def __repr__(self) -> str:
        low, high = self.interval
        known = "" if self.identified else ", not identified"
        return (
            f"FlipMixtureFit(rate {self.rate:.4f}, 95 % interval {low:.4f} to "
            f"{high:.4f}{known}, status={self.status!r})"
        )

    def chance(self, eta: ArrayLike) -> NDArray[np.float64]:
        """Probability that the first item is preferred, flips included."""
        half = np.tanh(np.asarray(eta, dtype=np.float64) / 2) / 2
        return np.asarray(0.5 + (1 - 2 * self.rate) * half)


def flip_mixture(
    problem: Any,
    *,
    start: ArrayLike | None = None,
    rate: float | None = None,
    ridge: ArrayLike | None = 0.0,
    max_iter: int = 100,
    tol: float | None = None,
    profile: bool | None = None,
) -> FlipMixtureFit:
    """Fit Bradley-Terry votes some of which are flipped, by maximum likelihood.

    Model: ``P(y = 1) = q + (1 - 2q) sigmoid(eta)``, eta = score_i - score_j + bias:
    every vote is flipped with probability q, whatever the items. Maximizes over scores
    and q in [0, 1/2)

    ``sum_e w_e [log P(y_e) - ridge_e tie(eta_e)]``,

    where a tie (y = 0) counts as half a win and half a loss, ``[log P(1) + log P(-1)] /
    2``, and ``tie(eta) = [log(1 + exp(eta)) + log(1 + exp(-eta))] / 2`` is a tie that
    is known not to be flipped.

    Parameters
    ----------
    problem : ComparisonProblem
        Its votes are -1, 0 or 1. (Or anything with ``design``, ``n_features``,
        ``eta``.)
    start : array-like or None
        Coefficients (n_features,) or coordinates (n_coords, 1) to begin with, only.
        Default: two starts, from a Bradley-Terry fit and from one with sparse shifts,
        both brought to the scale that suits a mixture.
    rate : float or None
        A known flip rate in [0, 1/2); None: it is estimated.
    ridge : float, array-like of shape (n_votes,) or None, default=0.0
        So many ties are added to every vote. They keep scores finite, and must not be
        many: they are known not to be flipped. None: ``0.25 * rank / n_votes``, half a
        tie for each item, which suits votes with and without much noise.
    max_iter : int, default=100
        Newton steps, per start.
    tol : float or None
        A fit is final when its Newton decrement, the root of ``g' H^-1 g`` (gradient g,
        Hessian H of the profile likelihood of the scores), is at most ``tol *
        sqrt(total weight)``, and the step that it belongs to has been taken. Default:
        1e-8.
    profile : bool or None
        Whether the interval of the rate is by profile likelihood. Default: up to 60,000
        votes.

    Returns
    -------
    FlipMixtureFit
        Status "separated" if the supremum is at infinity: some items win (or lose) a
        share of at least 1 - q of their votes, or the votes follow an order, but for
        flips. Then those differences of scores are arbitrary, but large; their signs,
        `rate` and `posterior` mean something. Use a ridge.

        "max_iter": with few votes for each score (fewer than 30 or so) and no ridge,
        there are many ways to put items at the ends and call what speaks against that a
        flip.

    Raises
    ------
    ValueError
        If the design has several outputs or graded targets, or an argument is out of
        range.

    Notes
    -----
    The rate is eliminated: for given scores its likelihood is concave. Newton's method
    on what is left, with the observed Hessian where that is positive definite, else the
    expected one, which always is, or one between that and the one of the EM algorithm;
    conjugate gradients; backtracking on the objective itself. One step costs two
    systems with the reweighted Laplacian of the graph (one if the rate is given).

    References
    ----------
    J. B. Copas (1988). Binary regression models for contaminated data. J. R. Statist.
    Soc. B 50, 225-265. R. A. Bradley, M. E. Terry (1952). Biometrika 39, 324-345.
    """
    design = getattr(problem, "vote_design", problem.design)
    if ridge is None:
        ridge = _TIES * design.n_coords / design.total_weight
    votes = Votes(design, np.full(design.n_samples, np.inf), ridge)
    if rate is not None and not 0 <= rate < 0.5:
        raise ValueError(
            f"rate={rate!r} must be in [0, 0.5), or None: then it is estimated."
        )
    if max_iter < 1:
        raise ValueError(f"max_iter={max_iter!r} must be at least 1.")
    precision = float(getattr(design, "precision", np.finfo(np.float64).eps))
    goal = max(_TOLERANCE, 64 * precision) if tol is None else float(tol)
    if not goal > 0:
        raise ValueError(f"tol={tol!r} must be positive.")
    mixture = FlipLikelihood(votes)
    ascent = FlipAscent(mixture, goal, max_iter)
    if start is None:
        starts = _starts(votes)
    else:
        starts = [(_as_coords(problem, mixture, start), 0.1)]
    points = [
        ascent.maximize(coords, guess if rate is None else rate, rate is not None)
        for coords, guess in starts
    ]
    best = max(points, key=lambda point: point.objective)
    return _report(problem, ascent, best, points, rate, profile)


def _starts(votes):
    """Coordinates and rates, from fits without and with shifts."""
    design = votes.design
    trace = trace_logistic_shift(
        design,
        np.ones(design.n_samples),
        thresholds=[_START_THRESHOLD],
        ridge=np.maximum(votes.ridge, _START_RIDGE),
        tol=1e-4,
    )
    weight = 1.0 if design.weight is None else design.weight
    starts = []
    for coords in trace.coords:
        eta = votes.movement(coords)
        spread = np.sqrt(np.sum(weight * eta**2)) / votes.root_weight
        if not spread > 0:
            starts.append((coords, 0.0))
            continue
        noise = flip_rate(eta, votes.y, design.weight)
        scale = min(noise.scale, _START_SPREAD / spread)
        starts.append((scale * coords, min(noise.rate, 0.4)))
    return starts


def _as_coords(problem, mixture, start):
    """Coordinates of a given start."""
    design = mixture.design
    given = np.asarray(start, dtype=np.float64)
    if not np.isfinite(given).all():
        raise ValueError("start contains values that are not finite.")
    if given.shape == (design.n_coords, 1):
        return given
    if given.shape != (problem.n_features,):
        raise ValueError(
            f"start has shape {given.shape}; it needs coefficients, of shape "
            f"({problem.n_features},), or coordinates, ({design.n_coords}, 1)."
        )
    return design.solve(mixture.gradient(problem.eta(given)))


def _report(problem, ascent, best, points, rate, profile):
    mixture, terms, eta = ascent.mixture, best.terms, best.eta
    design, fixed = mixture.design, rate is not None
    bend, _, _ = mixture.curvature(eta, terms, OBSERVED)
    border, stderr = None, np.nan
    if not fixed and 0 < best.rate < LARGEST_RATE:
        border = (
            mixture.per_vote(terms.by_rate()),
            mixture.per_vote(terms.mixed(), odd=True),
            mixture.per_vote(terms.by_rate() ** 2),
        )
        left = ascent.information(best)
        stderr = float(1 / np.sqrt(left)) if left > 0 else np.nan
    posterior = mixture.per_vote(terms.flipped())
    posterior[mixture.ties] = 0.0
    interval, kind = (best.rate, best.rate), "given"
    if not fixed:
        interval, kind = _interval(ascent, best, stderr, profile)
    votes = float(mixture.weight.sum() - mixture.weight[mixture.ties].sum())
    values = tuple(point.objective for point in points)
    return FlipMixtureFit(
        coef=np.asarray(design.to_coefs(best.coords)[0]).ravel(),
        coords=best.coords,
        eta=eta,
        ridge=mixture.votes.ridge[()],
        rate=float(best.rate),
        rate_stderr=stderr,
        interval=interval,
        interval_kind=kind,
        reason=(reason := "" if fixed else _doubt(votes, design.n_coords, interval)),
        identified=not reason,
        posterior=posterior,
        psi=mixture.slope(eta, terms),
        curvature=bend,
        border=border,
        log_likelihood=best.log_likelihood,
        objective=best.objective,
        start_objectives=values,
        n_iter=sum(point.n_iter for point in points),
        decrement=best.decrement,
        status=best.status,
        message=_message(best, values),
    )


def _interval(ascent, best, stderr, profile):
    """Rates that are not rejected, and how that was found out."""
    drop = stats.chi2.ppf(_LEVEL, 1) / 2
    if profile is None:
        profile = len(best.eta) <= _MAX_PROFILE
    if not profile and np.isfinite(stderr):
        reach = float(np.sqrt(2 * drop)) * stderr
        low, high = max(0.0, best.rate - reach), min(0.5, best.rate + reach)
        return (float(low), float(high)), "wald"
    ends: list[Any] = []
    for bound, side in ((0.0, -1), (LARGEST_RATE, 1)):
        known = {best.rate: (drop, best.coords)}

        def excess(rate, known=known):
            if rate not in known:
                near = known[min(known, key=lambda other: abs(other - rate))][1]
                if profile:
                    point = ascent.maximize(near, rate, True)
                    if point.status == "separated" and near is not best.coords:
                        again = ascent.maximize(best.coords, rate, True)
                        point = max(point, again, key=lambda p: p.objective)
                else:
                    point = ascent.evaluate(near, best.eta, rate, True)
                known[rate] = drop - (best.objective - point.objective), point.coords
            return known[rate][0]

        inner, reach = best.rate, stderr if stderr > 0 else 0.02
        while True:
            outer = best.rate + side * 2 * reach
            outer = max(outer, bound) if side < 0 else min(outer, bound)
            if outer == inner or excess(outer) <= 0:
                break
            inner, reach = outer, 2 * reach
        if outer == inner:
            ends.append(0.0 if side < 0 else 0.5)
        else:
            ends.append(optimize.brentq(excess, inner, outer, xtol=1e-4))
    return (float(ends[0]), float(ends[1])), "profile" if profile else "scores fixed"


def _doubt(votes, n_scores, interval):
    """Why the rate means nothing; empty: it does."""
    if votes < _FEW_VOTES * n_scores:
        return (
            f"{votes:g} votes for {n_scores} scores: with fewer than {_FEW_VOTES:g} "
            "for each the scores follow the flips"
        )
    if interval[1] - interval[0] > _WIDEST:
        return (
            f"rates from {interval[0]:.2f} to {interval[1]:.2f} explain the votes: too "
            "few of them are on pairs of clearly different scores to tell flips from "
            "close calls"
        )
    return ""


def _message(best, values):
    if best.status == "separated":
        text = (
            "the likelihood has no maximum: some differences of scores (of "
            f"{len(best.moving)} votes, such as row {best.moving[0]}) grow for ever, "
            "since what speaks against them is explained by flips. Their size is "
            "arbitrary; use a ridge (ties added to every vote), such as ridge=0.01"
        )
    elif best.status == "max_iter":
        text = (
            f"not settled after {best.n_iter} Newton steps (decrement "
            f"{best.decrement:.1e}). With few votes for each score there are many "
            "ways to explain votes by flips: collect more votes, or use a larger ridge "
            "(ties added to every vote), such as ridge=0.05"
        )
    else:
        text = f"settled in {best.n_iter} Newton steps"
    lost = max(values) - min(values)
    if len(values) > 1 and lost > _SAME:
        text += (
            f"; the starts ended in different local maxima ({lost:.3g} apart in "
            "log-likelihood), the best of which is reported"
        )
    return text
