"""How many binary votes are flipped, and which workers do not look at the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize, special, stats

from .problem import check_weight

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["FlipRate", "flip_rate", "worker_reliability"]

# More votes are put into so many groups of (nearly) equal margins; for intervals, whose
# ends need no more digits, into fewer.
_GROUPS, _COARSE = 20_000, 1_000
# Scales between 1 / _EXTREME and _EXTREME over the root mean square of eta.
_EXTREME, _GRID = 1e3, 15
# Difference of the mean log-likelihood that is none.
_FLAT = 1e-10
# A flip rate whose 95 % interval is wider is not identified.
_WIDEST = 0.25
# Fewer votes for each score, and the scores follow the flips.
_FEW_VOTES = 5.0
_LEVEL = 0.95
# Entries of a table of probabilities of counts, which stays in the cache.
_TABLE = 1 << 16
# Counts of so many votes are compared with a bound instead.
_MANY_VOTES = 5000
_NEWTON_STEPS = 60


@dataclass(frozen=True, eq=False, repr=False)
class FlipRate:
    """A mixture of votes that follow the scores and votes that are flipped.

    Attributes
    ----------
    rate : float
        Estimated share of flipped votes, in [0, 1/2].
    stderr : float
        Of the rate, from the observed information; NaN if the rate is 0 or 1/2, or the
        information is singular.
    interval : tuple of float
        Rates that a likelihood-ratio test at level 5 % does not reject.
    scale : float
        What eta is multiplied by; infinite if all votes that are not flipped follow
        the sign of eta.
    identified : bool
        Whether `rate` means anything; `reason` says why not.
    posterior : ndarray of shape (n_votes,)
        Probability that a vote is flipped; 0 for ties.
    n_votes : float
        Sum of the weights, without ties.
    log_likelihood : float
    """

    rate: float
    stderr: float
    interval: tuple[float, float]
    scale: float
    identified: bool
    reason: str
    posterior: NDArray[np.float64]
    n_votes: float
    log_likelihood: float

    def __repr__(self) -> str:
        low, high = self.interval
        known = "" if self.identified else f", not identified: {self.reason}"
        return (
            f"FlipRate({self.rate:.4f}, 95 % interval {low:.4f} to {high:.4f}, "
            f"{self.n_votes:g} votes{known})"
        )

    @property
    def n_flipped(self) -> float:
        """Expected number of flipped votes."""
        return self.rate * self.n_votes


def flip_rate(
    eta: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    n_scores: int | None = None,
    interval: bool = True,
) -> FlipRate:
    """Estimate the share of flipped votes from scores, by maximum likelihood.

    Model: ``P(y = sign) = (1 - q) sigmoid(a eta) + q (1 - sigmoid(a eta))`` with the
    sign of a difference of scores eta; the scale a >= 0 and the rate q in [0, 1/2] are
    estimated, and eta is taken as known.

    Parameters
    ----------
    eta : array-like of shape (n_votes,)
        Difference of the scores of the two items of each vote (plus a position bias)
        from a *robust* fit, in any unit.
    y : array-like of shape (n_votes,)
        Positive: the first item is preferred. Only the sign counts, and ties (0) do
        not.
    sample_weight : array-like of shape (n_votes,), default=None
        How many votes each row stands for.
    n_scores : int or None
        How many scores were estimated from these votes; used for `identified` only.
    interval : bool, default=True
        False: leave out the interval, which takes most of the time; it is (0, 1/2)
        then, and the rate is said not to be identified.

    Returns
    -------
    FlipRate

    Raises
    ------
    ValueError
        If shapes differ, something is not finite, or there is nothing but ties.

    Notes
    -----
    Flips and close calls both are votes against the scores; what tells them apart is
    that flips do not become rare where ``|eta|`` is large. Without such pairs only
    ``(1 - 2q) a`` can be estimated. So the rate is said to be identified only if its
    interval is no longer than 0.25. Scores that were fitted to the same votes agree
    with them too well, the more so the fewer votes there are for each of them: below 5
    the rate is said not to be identified either.

    References
    ----------
    J. B. Copas (1988). Binary regression models for contaminated data. J. R. Statist.
    Soc. B 50, 225-265.
    """
    differences, votes, weight = _checked(eta, y, sample_weight)
    used = (votes != 0) & (weight > 0)
    total = float(weight[used].sum())
    if not total > 0:
        raise ValueError("y contains nothing but ties; flips concern votes.")
    margin = np.sign(votes) * differences
    unit = float(np.sqrt(weight[used] @ differences[used] ** 2 / total))
    if unit == 0:
        return FlipRate(
            rate=0.0,
            stderr=np.nan,
            interval=(0.0, 0.5),
            scale=0.0,
            identified=False,
            reason="all scores are equal",
            posterior=np.zeros(len(votes)),
            n_votes=total,
            log_likelihood=-total * np.log(2),
        )
    model = _Mixture(margin[used] / unit, weight[used])
    rate, scale, value = model.maximize()
    ends = model.interval(rate, scale) if interval else (0.0, 0.5)
    stderr = model.stderr(rate, scale)
    infinite = scale > 0.99 * _EXTREME
    width = ends[1] - ends[0]
    reason = ""
    if n_scores is not None and total < _FEW_VOTES * n_scores:
        reason = (
            f"{total:g} votes for {n_scores} scores: with fewer than {_FEW_VOTES:g} "
            "for each the scores follow the flips"
        )
    elif width > _WIDEST:
        reason = (
            f"rates from {ends[0]:.2f} to {ends[1]:.2f} explain the votes: too "
            "few of them are on pairs of clearly different scores to tell flips from "
            "close calls"
        )
    with_sign = special.expit(scale / unit * margin)
    flipped = rate * (1 - with_sign)
    posterior = np.divide(
        flipped,
        flipped + (1 - rate) * with_sign,
        out=np.zeros(len(votes)),
        where=(votes != 0) & (flipped > 0),
    )
    return FlipRate(
        rate=rate,
        stderr=stderr,
        interval=ends,
        scale=np.inf if infinite else scale / unit,
        identified=not reason,
        reason=reason,
        posterior=posterior,
        n_votes=total,
        log_likelihood=value,
    )


class _Mixture:
    """Likelihood of margins ``sign(y) eta``; the scale goes by its logarithm."""

    def __init__(self, margin, weight, n_groups=_GROUPS):
        if len(margin) > 2 * n_groups:
            order = np.argsort(margin)
            starts = np.arange(0, len(margin), -(-len(margin) // n_groups))
            total = np.add.reduceat(weight[order], starts)
            margin = np.add.reduceat((weight * margin)[order], starts) / total
            weight = total
        self._margin, self._weight = margin, weight

    def maximize(self):
        """Rate, scale and log-likelihood."""
        bounds = [(0.0, 0.5), (-np.log(_EXTREME), np.log(_EXTREME))]
        tries = []
        for start in ((0.05, 0.5), (0.3, 2.0)):
            found = optimize.minimize(
                self._minus,
                start,
                jac=True,
                bounds=bounds,
                method="L-BFGS-B",
                options={"ftol": 1e-15, "gtol": 1e-10 * self._weight.sum()},
            )
            tries.append(found)
        best = min(tries, key=lambda found: found.fun)
        rate, log_scale = (float(number) for number in best.x)
        # If margins are alike, close calls are as good an explanation.
        alike, scale = self._best_scale(0.0)
        if alike >= -best.fun - _FLAT * self._weight.sum():
            rate, log_scale = 0.0, scale
        end = bounds[1][1]
        if self._minus((rate, end))[0] <= best.fun + _FLAT * self._weight.sum():
            log_scale = end
        return rate, float(np.exp(log_scale)), -float(best.fun)

    def interval(self, rate, scale):
        """Rates whose profile likelihood is not too far below the best."""
        coarse = _Mixture(self._margin, self._weight, _COARSE)
        value = -coarse._minus((rate, np.log(scale)))[0]
        drop = stats.chi2.ppf(_LEVEL, 1) / 2
        ends = []
        for bound in (0.0, 0.5):

            def excess(q):
                return value - drop - coarse._profile(q)

            if rate == bound or excess(bound) <= 0:
                ends.append(bound)
            else:
                ends.append(optimize.brentq(excess, rate, bound, xtol=1e-5))
        return float(ends[0]), float(ends[1])

    def stderr(self, rate, scale):
        """From the observed information of rate and log scale."""
        inside = 1e-6 < rate < 0.5 - 1e-6
        z = scale * self._margin
        s, slope = special.expit(z), special.expit(z) * special.expit(-z)
        p = rate + (1 - 2 * rate) * s
        by_rate, by_scale = (1 - 2 * s) / p, (1 - 2 * rate) * slope * z / p
        bend = (1 - 2 * s) * z * by_scale
        w = self._weight
        # Without what is 0 by the likelihood equation, sum w slope z / p = 0.
        a, c = w @ by_rate**2, w @ (by_scale**2 - bend)
        b = w @ (by_rate * by_scale)
        if scale > 0.99 * _EXTREME:  # known
            b, c = 0.0, 1.0
        determinant = a * c - b * b
        if not inside or not (determinant > 1e-12 * a * abs(c)):
            return np.nan
        return float(np.sqrt(c / determinant))

    def _minus(self, parameters):
        """Minus the log-likelihood and its gradient."""
        rate, scale = parameters[0], np.exp(parameters[1])
        z = scale * self._margin
        s = special.expit(z)
        p = np.maximum(rate + (1 - 2 * rate) * s, 1e-300)
        weighted = self._weight / p
        by_rate = weighted @ (1 - 2 * s)
        by_scale = (1 - 2 * rate) * (weighted @ (s * special.expit(-z) * z))
        return -(self._weight @ np.log(p)), np.array([-by_rate, -by_scale])

    def _profile(self, rate):
        """Largest log-likelihood at a rate."""
        return self._best_scale(rate)[0]

    def _best_scale(self, rate):
        """Largest log-likelihood at a rate, and where it is: log scale."""

        def minus(log_scale):
            return self._minus((rate, log_scale))[0]

        # There may be several maxima, but they are wide.
        grid = np.linspace(-np.log(_EXTREME), np.log(_EXTREME), _GRID)
        at = int(np.argmin([minus(log_scale) for log_scale in grid]))
        found = optimize.minimize_scalar(
            minus,
            bounds=(grid[max(at - 1, 0)], grid[min(at + 1, _GRID - 1)]),
            method="bounded",
            options={"xatol": 1e-3},
        )
        return -float(found.fun), float(found.x)


# ------------------------------------------------------------------------- workers


def worker_reliability(
    eta: ArrayLike,
    y: ArrayLike,
    worker: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    prior_votes: float = 4.0,
    one_sided_share: float = 0.9,
    level: float = 0.05,
) -> pd.DataFrame:
    """Judge workers by their agreement with robust scores and by where they click.

    Model: with probability r a vote of a worker follows the scores, ``P(first) =
    sigmoid(a eta)``, and otherwise it is a coin. The scale a is estimated from all
    votes (see `flip_rate`); the reliability r is shrunk towards that of all workers.

    Parameters
    ----------
    eta : array-like of shape (n_votes,)
        Difference of the scores, first minus second item (plus a position bias that all
        workers share, but not one of each worker), from a *robust* fit.
    y : array-like of shape (n_votes,)
        Positive: the first item is preferred; 0: a tie. Only the sign counts.
    worker : array-like of shape (n_votes,)
        Labels.
    sample_weight : array-like of shape (n_votes,), default=None
        How many votes each row stands for.
    prior_votes : float, default=4.0
        Strength of the shrinkage, in votes.
    one_sided_share, level : float, default=0.9 and 0.05
        See `one_sided` below.

    Returns
    -------
    pandas.DataFrame
        One row per worker, sorted by label:

        - ``worker``;
        - ``votes``: sum of the weights;
        - ``agreement``: share of the votes that agree with the sign of eta; ties, and
          pairs of equal scores, by half;
        - ``reliability``: posterior mode of r with the prior Beta(1 + m r0, 1 +
          m (1 - r0)), m = `prior_votes`, r0 the maximum-likelihood r of all votes. 0: a
          coin or worse, 1: as good as the scores;
        - ``position_share``: share of the votes, without ties, for the first item;
        - ``p_position``: two-sided p-value of that share under the model at the
          worker's reliability, given which pairs were shown in which order;
        - ``one_sided``: whether the worker clicks (almost) always one side: p-values
          corrected by Holm's method over all workers are at most `level`, *and* the
          share is outside of (1 - `one_sided_share`, `one_sided_share`).

        ``position_share`` and ``p_position`` are NaN for workers with nothing but ties;
        p-values are NaN, and nobody is one-sided, if *all* votes are for the same
        position: then the positions are those of winner and loser, not of the screen.

    Raises
    ------
    ValueError
        If shapes differ, something is not finite, a label is missing or an option is
        out of range.

    Notes
    -----
    p-values are exact for the model (the number of first positions is a sum of
    independent coins of different probabilities), and Chernoff bounds, which are no
    smaller, for fractional weights and for workers of more than 5,000 votes. They take
    scores and reliability as known.

    References
    ----------
    S. Holm (1979). A simple sequentially rejective multiple test procedure. Scand. J.
    Statist. 6, 65-70. Y. Hong (2013). On computing the distribution function for the
    Poisson binomial distribution. Comput. Statist. Data Anal. 59, 41-51.
    """
    import pandas as pd

    differences, given, weight = _checked(eta, y, sample_weight)
    signs = np.sign(given)
    labels = np.asarray(worker)
    if labels.shape != signs.shape:
        raise ValueError(
            f"worker has shape {labels.shape}; it needs one label for each of the "
            f"{len(signs)} votes."
        )
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        raise ValueError(
            f"worker[{missing[0]}] is {labels[missing[0]]!r}; give votes of unknown "
            "workers labels of their own."
        )
    if not 0 <= prior_votes < np.inf:
        raise ValueError(f"prior_votes={prior_votes!r} must be 0 or more.")
    if not 0.5 < one_sided_share <= 1:
        raise ValueError(
            f"one_sided_share={one_sided_share!r} must be above 0.5 and at most 1."
        )
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must be between 0 and 1.")
    names, code = np.unique(labels, return_inverse=True)
    n_workers = len(names)

    def per_worker(values):
        return np.bincount(code, weight * values, n_workers)

    votes = per_worker(np.ones(len(signs)))
    with np.errstate(invalid="ignore"):
        agreement = per_worker((1 + np.sign(signs * differences)) / 2) / votes
    followed = 0.5 * np.ones(len(signs))
    pooled = 0.0
    if ((signs != 0) & (weight > 0)).any():
        noise = flip_rate(differences, signs, weight)
        pooled = 1 - 2 * noise.rate
        with np.errstate(invalid="ignore"):
            followed = special.expit(noise.scale * differences)
        followed[differences == 0] = 0.5
    # P(vote) = 1/2 + r * gain
    gain = signs * (followed - 0.5)
    reliability = _modes(gain, code, weight, n_workers, pooled, prior_votes)
    reliability[votes == 0] = np.nan

    decided = (signs != 0) & (weight > 0)
    n_decided = np.bincount(code[decided], weight[decided], n_workers)
    n_first = np.bincount(code[decided], (weight * (signs > 0))[decided], n_workers)
    with np.errstate(invalid="ignore"):
        share = n_first / n_decided
    p_value = np.full(n_workers, np.nan)
    if 0 < n_first.sum() < n_decided.sum():
        chance = 0.5 + reliability[code] * (followed - 0.5)
        p_value = _position_tests(
            chance[decided], code[decided], weight[decided], n_first, n_decided
        )
    extreme = np.maximum(share, 1 - share) >= one_sided_share
    return pd.DataFrame(
        {
            "worker": names,
            "votes": votes,
            "agreement": agreement,
            "reliability": reliability,
            "position_share": share,
            "p_position": p_value,
            "one_sided": extreme & (_holm(p_value) <= level),
        }
    )


def _modes(gain, code, weight, n_workers, pooled, prior_votes):
    """Maximum of ``sum_e w_e log(1/2 + r gain_e)`` plus log prior over r in [0, 1]."""
    low, high = np.zeros(n_workers), np.ones(n_workers)
    up, down = prior_votes * pooled, prior_votes * (1 - pooled)
    r = np.full(n_workers, 0.5)
    for _ in range(_NEWTON_STEPS):
        ratio = gain / np.maximum(0.5 + r[code] * gain, 1e-300)
        slope = np.bincount(code, weight * ratio, n_workers)
        bend = np.bincount(code, weight * ratio**2, n_workers)
        inner, outer = np.maximum(r, 1e-150), np.maximum(1 - r, 1e-150)
        slope += up / inner - down / outer
        bend += up / inner**2 + down / outer**2
        low, high = np.where(slope > 0, r, low), np.where(slope < 0, r, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            following = r + slope / bend
        # The derivative may be infinite at the ends: halve if Newton would leave.
        inside = (following > low) & (following < high)
        following = np.where(inside, following, (low + high) / 2)
        still = np.abs(following - r).max() <= 1e-14
        r = np.where(slope == 0, r, following)
        if still:
            break
    return r


def _position_tests(chance, code, weight, n_first, n_decided):
    """Two-sided p-values of the number of first positions of every worker."""
    p_value = np.full(len(n_first), np.nan)
    whole = np.bincount(code, weight != np.round(weight), len(n_first)) == 0
    exact = whole & (n_decided <= _MANY_VOTES) & (n_decided > 0)
    order = np.argsort(code, kind="stable")
    order = np.repeat(order, np.where(exact[code], weight, 1)[order].astype(np.intp))
    stop = np.searchsorted(code[order], np.arange(len(n_first)), side="right")
    start = np.searchsorted(code[order], np.arange(len(n_first)))
    ordered = chance[order]
    who = np.flatnonzero(exact)
    who = who[np.argsort(n_decided[who], kind="stable")]
    while len(who):
        # Workers with about as many votes together.
        room = np.arange(1, len(who) + 1) * (n_decided[who] + 1)
        some = who[: max(1, np.searchsorted(room, _TABLE, side="right"))]
        who = who[len(some) :]
        size = stop[some] - start[some]
        table = np.zeros((len(some), size.max()))
        inside = np.arange(size.max()) < size[:, None]
        places = start[some][:, None] + np.arange(size.max())
        table[inside] = ordered[places[inside]]
        p_value[some] = _count_tests(table, n_first[some])
    for k in np.flatnonzero(~exact & (n_decided > 0)):
        rows = order[start[k] : stop[k]]
        p_value[k] = _chernoff(chance[rows], weight[rows], n_first[k])
    return p_value


def _count_tests(table, count):
    """Two-sided p-values of counts of successes; a chance of 0 changes nothing."""
    n_rows, n_trials = table.shape
    mass = np.zeros((n_rows, n_trials + 1))
    mass[:, 0] = 1.0
    for k in range(n_trials):
        chance = table[:, k, None]
        mass[:, 1 : k + 2] = (
            mass[:, 1 : k + 2] * (1 - chance) + mass[:, : k + 1] * chance
        )
        mass[:, :1] *= 1 - chance
    numbers = np.arange(n_trials + 1)
    below = np.where(numbers <= count[:, None], mass, 0.0).sum(axis=1)
    above = np.where(numbers >= count[:, None], mass, 0.0).sum(axis=1)
    return np.minimum(2 * np.minimum(below, above), 1.0)


def _chernoff(chance, weight, count):
    """Bound of the two-sided p-value of a weighted count of successes."""
    side = 1.0 if count >= weight @ chance else -1.0

    def exponent(tilt):
        z = side * tilt
        log_mean = np.logaddexp(np.log1p(-chance), np.log(chance) + z)
        return weight @ log_mean - z * count

    found = optimize.minimize_scalar(exponent, bounds=(0.0, 50.0), method="bounded")
    return float(min(1.0, 2 * np.exp(min(found.fun, 0.0))))


def _holm(p_value):
    """Adjusted p-values; those that are NaN stay so and are not counted."""
    adjusted = np.full(len(p_value), np.nan)
    known = np.flatnonzero(~np.isnan(p_value))
    order = known[np.argsort(p_value[known], kind="stable")]
    factor = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factor * p_value[order]), 1.0)
    return adjusted


def _checked(eta: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    eta, y = np.asarray(eta, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if eta.ndim != 1 or not len(eta) or eta.shape != y.shape:
        raise ValueError(
            f"eta has shape {eta.shape} and y {y.shape}; both need one number for each "
            "vote, at least one."
        )
    for name, values in (("eta", eta), ("y", y)):
        strange = np.flatnonzero(~np.isfinite(values))
        if len(strange):
            raise ValueError(
                f"{name}[{strange[0]}] is {values[strange[0]]}; it must be finite."
            )
    return eta, y, check_weight(sample_weight, len(y))
