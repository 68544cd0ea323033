"""Huber's loss."""

from typing import Any, NamedTuple

import numpy as np

from .base import as_continuous, different_fields, same_fields, typed_hash


def weighted_median(x, weight):
    """Median of `x` in which weight w counts as w repeated values."""
    order = np.argsort(x, kind="stable")
    cumulative = np.cumsum(weight[order])
    half = 0.5 * cumulative[-1]
    low = np.searchsorted(cumulative, half * (1 - 1e-12))
    high = np.searchsorted(cumulative, half * (1 + 1e-12), side="right")
    return 0.5 * (x[order[low]] + x[order[min(high, len(x) - 1)]])


def normalized_mad(y, weight):
    """1.4826 times the median absolute deviation: sigma for normal data."""
    center = weighted_median(y, weight)
    return 1.4826 * float(weighted_median(np.abs(y - center), weight))


class Huber(NamedTuple):
    """Huber's loss: ``r^2/2`` for ``|r| <= threshold``, linear beyond.

    Parameters
    ----------
    threshold : float or None, default=None
        In units of y. None stands for 1.345 times the normalized median absolute
        deviation of y about its median (95 % efficiency at the normal distribution),
        filled in when the data are known.

    References
    ----------
    Huber, P. J. (1964). Robust estimation of a location parameter.
    Annals of Mathematical Statistics 35, 73-101.
    """

    threshold: Any = None

    name = "huber"
    curvature = 1.0
    saturates = False
    __eq__ = same_fields
    __ne__ = different_fields
    __hash__ = typed_hash

    def encode(self, y):
        return as_continuous(y), None

    def resolve(self, y, weight):
        if self.threshold is not None:
            if not 0 < self.threshold < np.inf:
                raise ValueError(
                    f"Huber threshold={self.threshold!r} must be a positive finite "
                    "number in units of y, or None for 1.345 robust standard "
                    "deviations."
                )
            return Huber(float(self.threshold))
        scale = normalized_mad(y[0], weight)
        if scale == 0:
            raise ValueError(
                "Huber(threshold=None) takes its threshold from the median absolute "
                "deviation of y, which is 0 because more than half of y is one value; "
                "give Huber(threshold=...) in units of y."
            )
        return Huber(1.345 * scale)

    def spread(self, y, weight):
        return normalized_mad(y[0], weight)

    def value(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            r = abs(y[0, i] - eta[0, i])
            if r <= loss.threshold:
                out[i] = 0.5 * r * r
            else:
                out[i] = loss.threshold * (r - 0.5 * loss.threshold)

    def score(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            r = y[0, i] - eta[0, i]
            out[0, i] = max(-loss.threshold, min(loss.threshold, r))

    def hessian(self, y, eta):
        return (np.abs(y - eta) <= self.threshold).astype(float)[None]

    def majorant(self, y, eta):
        return self.threshold / np.maximum(np.abs(y - eta)[0], self.threshold)

    def inverse_link(self, eta):
        return eta
