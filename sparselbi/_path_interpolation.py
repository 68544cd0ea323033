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
            self.flat = self.coefs.reshape(len(self.coefs), -1)
            self.centred = self.intercepts + (self.coefs * self.means).sum(axis=-1)

    def __call__(self, points: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        """Active coefficients (m, *lead, n_active) and intercepts (m, *lead).

        The m `points` lie within the range of the clock.
        """
        left = np.searchsorted(self.clock, points, side="right") - 1
        # In C order, so that `flat` below is a view.
        coefs = np.ascontiguousarray(self.coefs[left])
        intercepts = self.intercepts[left]
        inside = np.flatnonzero(points > self.clock[left])
        if self.is_constant or not inside.size:
            return coefs, intercepts
        k = left[inside]
        share = (points[inside] - self.clock[k]) / (self.clock[k + 1] - self.clock[k])
        per_coef = share.reshape(-1, *[1] * (coefs.ndim - 1))
        coefs[inside] += per_coef * (self.coefs[k + 1] - coefs[inside])
        flat = coefs.reshape(len(coefs), -1)
        for i in inside[self.bounds[k + 1] > self.bounds[k]]:
            self._bend(left[i], points[i], flat[i])
        # Linear is the intercept of the centred columns, mean response at coef 0.
        per_output = share.reshape(-1, *[1] * (intercepts.ndim - 1))
        start, end = self.centred[k], self.centred[k + 1]
        centred = start + per_output * (end - start)
        intercepts[inside] = centred - (coefs[inside] * self.means).sum(axis=-1)
        return coefs, intercepts

    def _bend(self, k: int, point: float, coefs: NDArray[np.float64]) -> None:
        """Correct the coefficients with a zero inside of interval k."""
        zeros: dict[int, list[float | None]] = {}
        here = slice(self.bounds[k], self.bounds[k + 1])
        for time, entry in zip(self.times[here], self.entries[here], strict=True):
            around = zeros.setdefault(entry, [None, None])
            if time <= point:
                around[0] = time  # the last zero before `point`
            elif around[1] is None:
                around[1] = time  # the first one after it
        for entry, (before, after) in zeros.items():
            start, end = self.clock[k], self.clock[k + 1]
            low, high = self.flat[k, entry], self.flat[k + 1, entry]
            if before is not None:
                start, low = before, 0.0
            if after is not None:
                end, high = after, 0.0
            coefs[entry] = low + (point - start) / (end - start) * (high - low)


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
