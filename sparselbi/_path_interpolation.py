"""Coefficients and intercepts between the knots of a path."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .path import RegularizationPath


class Interpolation:
    """Reads a path at any point of its clock (see `RegularizationPath.at`).

    A constant path stays at the last knot reached. On a linear one each coefficient is
    a polygon whose corners are the knots and the zeros at its own events.
    """

    def __init__(self, path: RegularizationPath) -> None:
        self.clock = path._clock
        self.coefs, self.intercepts = path.active_coefs, path.intercepts
        self.means = 0.0 if path.active_means is None else path.active_means
        self.is_constant = path.interpolation == "constant"
        if not self.is_constant:
            self.times, self.entries, self.bounds = _zeros(path)

    def __call__(self, points: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Active coefficients (m, *lead, n_active) and intercepts (m, *lead).

        The m `points` lie within the range of the clock.
        """
        left = np.searchsorted(self.clock, points, side="right") - 1
        coefs, intercepts = self.coefs[left], self.intercepts[left]
        if self.is_constant:
            return coefs, intercepts
        for i in np.flatnonzero(points > self.clock[left]):
            k, point = left[i], points[i]
            coefs[i] = self._between(k, point)
            share = (point - self.clock[k]) / (self.clock[k + 1] - self.clock[k])
            # Linear is the intercept of the centred columns, mean response at coef 0.
            pair = slice(k, k + 2)
            ends = self.intercepts[pair] + (self.coefs[pair] * self.means).sum(axis=-1)
            centred = ends[0] + share * (ends[1] - ends[0])
            intercepts[i] = centred - (coefs[i] * self.means).sum(axis=-1)
        return coefs, intercepts

    def _between(self, k: int, point: float) -> NDArray[np.float64]:
        """Coefficients at `point`, which lies inside interval k."""
        left, right = self.coefs[k].flatten(), self.coefs[k + 1].flatten()
        left_time = np.full(left.shape, self.clock[k])
        right_time = np.full(left.shape, self.clock[k + 1])
        inside = slice(self.bounds[k], self.bounds[k + 1])
        times, entries = self.times[inside], self.entries[inside]
        past = np.searchsorted(times, point, side="right")
        # Later assignments win: the last zero before `point`, the first one after it.
        left[entries[:past]] = 0.0
        left_time[entries[:past]] = times[:past]
        right[entries[past:]] = 0.0
        right_time[entries[past:][::-1]] = times[past:][::-1]
        share = (point - left_time) / (right_time - left_time)
        return (left + share * (right - left)).reshape(self.coefs.shape[1:])


def _zeros(path: RegularizationPath) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Times and flat indices of the zeros that events put between the knots.

    Interval k, between knots k and k + 1, owns ``bounds[k] : bounds[k + 1]``.
    """
    times, enters = path._direction * path.events["t"], path.events["enters"]
    # An entry at a knot belongs to the interval before it, a leaving to the one after:
    # the coefficient stored at that knot is on the nonzero side.
    before = np.searchsorted(path._clock, times, side="left") - 1
    after = np.searchsorted(path._clock, times, side="right") - 1
    interval = np.where(enters, before, after).clip(0, max(len(path) - 2, 0))
    output = path.events["output"][:, None]
    column = np.searchsorted(path.active_features, path.events["feature"])
    # An event with output -1 is one event for every output.
    rows = np.arange(math.prod(path.coef_shape[:-1]))
    event, output = np.nonzero((output == rows) | (output < 0))
    order = np.argsort(interval[event], kind="stable")
    event, output = event[order], output[order]
    bounds = np.searchsorted(interval[event], np.arange(len(path) + 1))
    return times[event], output * len(path.active_features) + column[event], bounds
