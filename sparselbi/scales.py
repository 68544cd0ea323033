"""Robust scales of residuals, and the constants that make them consistent.

A residual of c responses is a vector; everything here acts on its length ``|r_i|``. The
reference is the normal distribution with covariance ``scale**2`` times the identity, so
``|r_i| / scale`` is distributed as chi with c degrees of freedom. A weight w counts a
row w times; rows of weight 0 do not count.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize, special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "bisquare_tuning",
    "huber_constant",
    "huber_efficiency",
    "huber_tuning",
    "mad_scale",
    "proposal2_scale",
    "radial_cut",
    "s_scale",
    "truncated_variance",
]

# Newton's iteration for the logarithm of the S-scale ends at this step.
_STEP = 1e-14
_MOST_STEPS = 500
# Residuals that are longer than this many of the scale are all the same to rho.
_FAR = 1e100


def mad_scale(
    norms: ArrayLike, weight: ArrayLike | None = None, n_outputs: int = 1
) -> float:
    """Return the median length of the residuals, consistent at the normal.

    ``median |r_i| / sqrt(median of chi2 with c degrees of freedom)``: for one response
    1.4826 times the median absolute residual (around 0, not around a median).

    Parameters
    ----------
    norms : array-like of shape (n_rows,)
        Lengths of the residuals, in units of y; the sign of a number is ignored.
    weight : array-like of shape (n_rows,), default=None
        How often a row counts.
    n_outputs : int, default=1
        Number of responses, c.

    Returns
    -------
    float
        In units of y; 0 if at least half of the rows are fitted exactly.

    Raises
    ------
    ValueError
        If an argument is outside of its range, or nothing has a positive weight.
    """
    lengths, counts = _checked(norms, weight)
    _check_outputs(n_outputs)
    order = np.argsort(lengths)
    lengths, reached = lengths[order], np.cumsum(counts[order])
    half = reached[-1] / 2
    # Between two rows when they split the weight evenly, as for repeated rows.
    low = np.searchsorted(reached, half)
    high = np.searchsorted(reached, half, side="right")
    high = min(high, len(lengths) - 1)
    median = lengths[low] / 2 + lengths[high] / 2
    return float(median / math.sqrt(2 * special.gammaincinv(n_outputs / 2, 0.5)))


def proposal2_scale(
    norms: ArrayLike,
    k: float,
    df: float,
    weight: ArrayLike | None = None,
    n_outputs: int = 1,
) -> float:
    """Return Huber's Proposal 2 scale of given residuals.

    The solution of ``sum_i w_i min(|r_i| / scale, k)^2 = df * huber_constant(k, c)``,
    exactly: between two rows that reach k the equation is linear in ``1 / scale^2``.

    Parameters
    ----------
    norms, weight, n_outputs
        As for `mad_scale`.
    k : float
        Where residuals are cut, in units of the scale.
    df : float
        Degrees of freedom of the residuals, total weight minus rank of the fit.

    Returns
    -------
    float
        In units of y; 0 if so many rows are fitted exactly that no scale is large
        enough: their weight is at least ``total - df * huber_constant(k, c) / k**2``.

    Raises
    ------
    ValueError
        If an argument is outside of its range.

    References
    ----------
    P. J. Huber (1964). Robust estimation of a location parameter. Ann. Math. Statist.
    35. P. J. Huber, E. M. Ronchetti (2009). Robust Statistics, 2nd ed., section 7.7.
    """
    lengths, counts = _checked(norms, weight)
    wanted = _check_df(df) * huber_constant(k, n_outputs) / k**2
    if counts[lengths > 0].sum() <= wanted:
        return 0.0
    order = np.argsort(lengths)
    lengths, counts = lengths[order], counts[order]
    near, lengths = _in_units(lengths, counts, wanted)
    squares = np.cumsum(counts * lengths**2)
    beyond = np.append(np.cumsum(counts[:0:-1])[::-1], 0.0)
    # If k * scale is between rows j and j + 1, rows from j + 1 on are cut:
    # squares[j] / (k scale)^2 + beyond[j] = wanted; the left decreases with scale.
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = squares / lengths**2 + beyond >= wanted
    last = np.flatnonzero(reached & (lengths > 0) | (lengths == 1))[-1]
    return float(near * math.sqrt(squares[last] / (wanted - beyond[last])) / k)


def s_scale(
    norms: ArrayLike,
    df: float,
    weight: ArrayLike | None = None,
    n_outputs: int = 1,
    breakdown: float = 0.5,
) -> float:
    """Return the bisquare M-scale: the scale that S-estimators of regression minimize.

    The solution of ``sum_i w_i rho(|r_i| / (scale * b)) = df * breakdown`` with
    ``rho(u) = min(1, 3u^2 - 3u^4 + u^6)`` and ``b = bisquare_tuning(breakdown, c)``.

    Parameters
    ----------
    norms, weight, n_outputs
        As for `mad_scale`.
    df : float
        Degrees of freedom of the residuals, total weight minus rank of the fit.
    breakdown : float in (0, 0.5], default=0.5
        Share of arbitrarily large residuals that the scale resists.

    Returns
    -------
    float
        In units of y; 0 if the weight of the rows that are not fitted exactly is at
        most ``df * breakdown``.

    Raises
    ------
    ValueError
        If an argument is outside of its range.

    References
    ----------
    P. Rousseeuw, V. Yohai (1984). Robust regression by means of S-estimators. Robust
    and Nonlinear Time Series Analysis, Lecture Notes in Statistics 26.
    """
    lengths, counts = _checked(norms, weight)
    wanted = _check_df(df) * breakdown
    tuning = bisquare_tuning(breakdown, n_outputs)
    used = (lengths > 0) & (counts > 0)
    lengths, counts = lengths[used], counts[used]
    if counts.sum() <= wanted:
        return 0.0
    order = np.argsort(lengths)
    near, lengths = _in_units(lengths[order], counts[order], wanted)
    squares = lengths**2
    root = bisquare_root(squares, counts[order], wanted)
    return float(near * math.sqrt(root) / tuning)


def bisquare_root(
    squares: NDArray[np.float64],
    weight: NDArray[np.float64],
    wanted: float,
    start: float = 5.0,
) -> float:
    """Return v with ``sum_i w_i rho(sqrt(squares_i / v)) = wanted``.

    Newton's iteration for log v from `start`, in the bracket that it finds. The sum
    decreases from the sum of the weights, which must be above `wanted`, to 0.
    """
    low, high, v = 0.0, np.inf, start
    for _ in range(_MOST_STEPS):
        left = np.maximum(1 - squares / v, 0.0)
        square = left * left
        excess = weight @ (1 - square * left) - wanted
        low, high = (v, high) if excess > 0 else (low, v)
        slope = 3 * (weight @ (square * squares)) / v
        step = excess / slope if slope > 0 else math.copysign(np.inf, excess)
        if abs(step) <= _STEP or high <= low * (1 + _STEP):
            break
        v *= math.exp(max(-2.0, min(step, 2.0)))
        if not low < v < high:
            v = math.sqrt(low) * math.sqrt(high)
    return v


def _in_units(lengths, counts, wanted):
    """A length that so much weight reaches, and sorted lengths in units of it."""
    reach = np.cumsum(counts[::-1])[::-1]
    near = lengths[np.flatnonzero((reach >= wanted) & (lengths > 0))[-1]]
    with np.errstate(over="ignore"):
        return near, np.minimum(lengths / near, _FAR)


# -- constants -------------------------------------------------------------------------


def huber_constant(k: float, n_outputs: int = 1) -> float:
    """Return ``E min(chi2_c, k^2)``: what Huber's psi squares to at the normal.

    Raises
    ------
    ValueError
        If k is not positive or `n_outputs` is not a positive integer.
    """
    _check_k(k)
    _check_outputs(n_outputs)
    return n_outputs * _chi2(n_outputs + 2, k**2) + k**2 * _chi2_above(n_outputs, k**2)


def huber_efficiency(k: float, n_outputs: int = 1) -> float:
    """Return the asymptotic efficiency of Huber regression at the normal.

    The variance of least squares over that of the estimator whose psi keeps residuals
    of length up to k and shortens longer ones to k, with known scale 1.

    Raises
    ------
    ValueError
        If k is not positive or `n_outputs` is not a positive integer.
    """
    return _slope(k, n_outputs) ** 2 * n_outputs / huber_constant(k, n_outputs)


@functools.lru_cache(maxsize=256)
def huber_tuning(efficiency: float = 0.95, n_outputs: int = 1) -> float:
    """Return k at which Huber regression has this efficiency; 1.345 for 0.95.

    Raises
    ------
    ValueError
        If no k does: the efficiency is between that of the (spatial) median and 1.
    """
    _check_outputs(n_outputs)
    lowest = _median_efficiency(n_outputs)
    if not lowest < efficiency < 1:
        raise ValueError(
            f"efficiency={efficiency!r} is not possible with {n_outputs} response(s): "
            f"it must be above {lowest:.4f}, that of least absolute deviations, and "
            "below 1, that of least squares."
        )
    high = 1.0 + math.sqrt(n_outputs)
    while huber_efficiency(high, n_outputs) < efficiency:
        high *= 2
        if high > 1e3:  # the efficiency rounds to 1
            return high
    return optimize.brentq(
        lambda k: huber_efficiency(k, n_outputs) - efficiency, 1e-9, high, xtol=1e-14
    )


def radial_cut(cut: float, n_outputs: int = 1) -> float:
    """Return the length that a normal vector exceeds as rarely as a number its cut.

    The quantile of chi with c degrees of freedom that is exceeded at the rate ``P(|N(0,
    1)| > cut)``; the cut itself for one response.
    """
    _check_outputs(n_outputs)
    if n_outputs == 1:
        return float(cut)
    rate = special.erfc(cut / math.sqrt(2))
    return math.sqrt(2 * special.gammainccinv(n_outputs / 2, rate))


def truncated_variance(cut: ArrayLike, n_outputs: int = 1) -> NDArray[np.float64]:
    """Return the variance of standard normal numbers whose length is at most `cut`.

    Of each of the c independent numbers: ``F_{c+2}(k^2) / F_c(k^2)`` with the
    distribution functions of chi-squared; ``(A - J) / A`` with ``A = P(|N(0, 1)| <=
    k)`` and ``J = 2 k phi(k)`` for one.
    """
    squares = np.square(np.asarray(cut, dtype=np.float64))
    small = squares < 1e-8  # uniform in the ball
    safe = np.where(small, 1.0, squares)
    ratio = special.chdtr(n_outputs + 2, safe) / special.chdtr(n_outputs, safe)
    return np.where(small, squares / (n_outputs + 2), ratio)


@functools.lru_cache(maxsize=256)
def bisquare_tuning(breakdown: float = 0.5, n_outputs: int = 1) -> float:
    """Return b with ``E rho(chi_c / b) = breakdown`` for the bisquare rho; 1.548.

    Raises
    ------
    ValueError
        If the breakdown point is not in (0, 0.5].
    """
    _check_outputs(n_outputs)
    if not 0 < breakdown <= 0.5:
        raise ValueError(
            f"breakdown={breakdown!r} must be above 0 and at most 0.5, the share of "
            "outliers that no scale survives."
        )

    def excess(log_b):
        return _mean_bisquare(math.exp(log_b), n_outputs) - breakdown

    high = 0.5 * math.log(3 * n_outputs / breakdown)  # rho(u) is at most 3 u^2
    return math.exp(optimize.brentq(excess, -3.0, high + 1e-9, xtol=1e-15))


def _mean_bisquare(b, c):
    """E rho(chi_c / b), by truncated moments of chi2."""
    mean, moment = _chi2_above(c, b**2), 1.0
    for power, factor in ((1, 3.0), (2, -3.0), (3, 1.0)):
        moment *= c + 2 * (power - 1)  # E (chi2_c)^power
        mean += factor * moment * _chi2(c + 2 * power, b**2) / b ** (2 * power)
    return mean


def _slope(k, c):
    """E of the divergence of psi, over c."""
    radial = _chi2(c, k**2)
    if c == 1:
        return radial
    ratio = math.exp(special.gammaln((c - 1) / 2) - special.gammaln(c / 2))
    inverse = ratio / math.sqrt(2) * _chi2_above(c - 1, k**2)  # E 1/chi_c beyond k
    return radial + k * (c - 1) / c * inverse


def _median_efficiency(c):
    """Limit of `huber_efficiency` at k = 0."""
    if c == 1:
        return 2 / math.pi
    ratio = math.exp(special.gammaln((c - 1) / 2) - special.gammaln(c / 2))
    return (c - 1) ** 2 * ratio**2 / (2 * c)


def _chi2(c, x):
    return float(special.gammainc(c / 2, x / 2))


def _chi2_above(c, x):
    return float(special.gammaincc(c / 2, x / 2))


# -- checks ----------------------------------------------------------------------------


def _checked(norms: Any, weight: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Absolute values and weights, both finite."""
    norms = np.abs(np.asarray(norms, dtype=np.float64))
    if norms.ndim != 1 or not norms.size or not np.isfinite(norms.max()):
        raise ValueError(
            f"norms must be finite numbers of shape (n_rows,), at least one; got shape "
            f"{norms.shape} with {np.count_nonzero(~np.isfinite(norms))} numbers that "
            "are not finite. Of several responses give the lengths of the rows."
        )
    if weight is None:
        return norms, np.ones(len(norms))
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != norms.shape:
        raise ValueError(
            f"weight has shape {weight.shape}; it needs one number for each of the "
            f"{len(norms)} rows."
        )
    if not (np.isfinite(weight.sum()) and weight.min() >= 0 and weight.max() > 0):
        raise ValueError(
            "weight must be finite and not negative, with a positive sum; it has "
            f"smallest {weight.min()} and sum {weight.sum()}."
        )
    return norms, weight


def _check_df(df):
    if not 0 < df < np.inf:
        raise ValueError(
            f"df={df!r} must be positive: total weight minus rank of the fit."
        )
    return float(df)


def _check_k(k):
    if not 0 < k < np.inf:
        raise ValueError(f"k={k!r} must be positive and finite; 1.345 is usual.")


def _check_outputs(n_outputs):
    if n_outputs != int(n_outputs) or n_outputs < 1:
        raise ValueError(f"n_outputs={n_outputs!r} must be a positive integer.")
