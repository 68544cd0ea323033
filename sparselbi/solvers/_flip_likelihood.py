"""The likelihood of votes some of which are flipped, and its derivatives."""

from __future__ import annotations

import numpy as np

from .._logistic_votes import logistic_curvature

# Rates in between are told apart; at 1/2 votes say nothing.
LARGEST_RATE = 0.4999
_RATE_STEPS, _RATE_TOLERANCE = 50, 1e-13
# Exponents beyond it overflow.
_EXTREME = 700.0
# How far the curvature is from that of votes whose flips are known (the last one, with
# which every step ascends): observed, expected, and between.
OBSERVED, EXPECTED, SHARES = 0, 1, (0.0, 0.0, 0.3, 1.0)


class FlipTerms:
    """Log-likelihood of margins ``y eta`` and its derivatives, at a rate.

    With ``E = exp(-margin)``: ``P = (1 + q (E - 1)) / (1 + E)``.
    """

    def __init__(self, margin, rate):
        self.odds = np.exp(-np.maximum(margin, -_EXTREME))
        self.rate = rate

    @property
    def rate(self):
        return self._rate

    @rate.setter
    def rate(self, rate):
        self._rate = rate
        self._scale = 1 + rate * (self.odds - 1)

    def value(self):
        return np.log(self._scale) - np.log1p(self.odds)

    def by_rate(self):
        return (self.odds - 1) / self._scale

    def flipped(self):
        """Posterior probability of a flip."""
        return self.rate * self.odds / self._scale

    def by_margin(self):
        return (1 - 2 * self.rate) * self.odds / (1 + self.odds) / self._scale

    def bend(self):
        """Minus second derivative with respect to the margin."""
        return self.by_margin() * (1 / (1 + self.odds) - self.flipped())

    def mixed(self):
        """Minus mixed derivative with respect to margin and rate."""
        return self.odds / self._scale / self._scale


class FlipLikelihood:
    """The objective; a tie is two half votes, the second ones at the end."""

    def __init__(self, votes):
        self.votes, self.design = votes, votes.design
        y, weight = votes.y, self.design.weight
        self.weight = np.ones(len(y)) if weight is None else weight
        self.ties = np.flatnonzero(y == 0)
        n_ties = len(self.ties)
        self._sign = np.concatenate([np.where(y == 0, 1.0, y), np.full(n_ties, -1.0)])
        self._share = np.concatenate([np.where(y == 0, 0.5, 1.0), np.full(n_ties, 0.5)])
        self._half_weight = self._share * self._with_halves(self.weight)

    def _with_halves(self, values):
        if not len(self.ties):
            return values
        return np.concatenate([values, values[self.ties]])

    def terms(self, eta, rate):
        return FlipTerms(self._sign * self._with_halves(eta), rate)

    def per_vote(self, values, odd=False):
        """Sums over the halves; `odd`: of what changes its sign with the vote."""
        values = values * self._share
        if odd:
            values *= self._sign
        n = len(self.weight)
        out = values[:n]
        out[self.ties] += values[n:]
        return out

    def best_rate(self, terms):
        """Set the rate that suits best: a concave function."""
        weight, low, high, tried = self._half_weight, 0.0, LARGEST_RATE, False
        for _ in range(_RATE_STEPS):
            ratio = terms.by_rate()
            slope, bend = weight @ ratio, weight @ ratio**2
            if slope > 0:
                low = terms.rate
            else:
                high = terms.rate
            following = terms.rate + (slope / bend if bend > 0 else 0.0)
            if terms.rate == 0 and slope > 0:
                # Near 0, Newton's steps are tiny.
                following = min(0.2, high / 2)
            elif not following < high and high == LARGEST_RATE:
                following = high
            elif not low <= following <= high:
                following = (low + high) / 2 if tried or low > 0 else 0.0
                tried = True
            if abs(following - terms.rate) <= _RATE_TOLERANCE:
                break
            terms.rate = following

    def values(self, eta, terms):
        """Log-likelihood of every vote, and that with its ridge."""
        plain = self.per_vote(terms.value())
        if not self.votes.has_ridge:
            return plain, plain
        size = np.abs(eta)
        return plain, plain - self.votes.ridge * (size / 2 + np.log1p(np.exp(-size)))

    def slope(self, eta, terms):
        """Derivative of every vote's part with respect to eta."""
        out = self.per_vote(terms.by_margin(), odd=True)
        if self.votes.has_ridge:
            out -= 0.5 * self.votes.ridge * np.tanh(eta / 2)
        return out

    def curvature(self, eta, terms, boldness):
        """Minus second derivatives of every vote's part, and those of the rate.

        Returns
        -------
        bend, mixed : ndarray of shape (n_votes,)
            With respect to eta twice, and to eta and the rate.
        own : float
            Weighted sum of those with respect to the rate.
        """
        if boldness == OBSERVED:
            bend = self.per_vote(terms.bend())
            mixed = self.per_vote(terms.mixed(), odd=True)
            own = self._half_weight @ terms.by_rate() ** 2
        else:
            bend, mixed, own = self._expected(eta, terms.rate)
            share = SHARES[boldness]
            if share:
                bend += share * (logistic_curvature(eta) - bend)
        if self.votes.has_ridge:
            bend += self.votes.ridge * logistic_curvature(eta)
        return bend, mixed, own

    def _expected(self, eta, rate):
        variance, contrast = logistic_curvature(eta), 1 - 2 * rate
        tilt = np.tanh(eta / 2)
        spread = rate * (1 - rate) + contrast**2 * variance  # P (1 - P)
        spread = np.maximum(spread, 1e-300)
        shrunk = contrast * variance / spread
        bend = contrast * variance * shrunk
        return bend, -tilt * shrunk, self.weight @ (tilt**2 / spread)

    def gradient(self, values):
        """``Z'W values``, (n_coords, 1)."""

        def work(rows, R, D):
            return values[rows, None]

        zero = np.zeros((self.design.n_coords, 1))
        return self.design.sweep(work, zero)
