"""Where on a Huber path the threshold is k times the scale of its own residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, optimize

from .._shift_design import SingularFit
from ..scales import huber_constant, huber_efficiency, huber_tuning, mad_scale
from ..selection.base import Selection
from ..solvers._huber_rows import HuberRows
from ..solvers._huber_solver import HuberSolver
from ..solvers.fast_s import fast_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem
    from ..solvers._huber_rows import Point

# Duality gap of single fits, as a share of the objective: float64 and float32 designs.
_GAP, _GAP_SINGLE = 1e-13, 1e-6
# Changes of a threshold that do not count, where fits are exact or iterated.
_SAME, _SAME_ITERATED = 1e-13, 1e-8
_MOST_STEPS = 100
# Least absolute deviations are the fit at this share of the largest threshold.
_LEAST = 1e-7


@dataclass(frozen=True)
class HuberThreshold:
    """Chooses the threshold of a Huber path.

    Parameters
    ----------
    efficiency : float
    threshold : float or None
        Taken as it is.
    scale : {"proposal2", "mad", "s"}
    random_state : int, RandomState instance or None
    """

    efficiency: float
    threshold: float | None
    scale: str
    random_state: Any

    def choose(self, fits: HuberFits) -> tuple[Selection, Point]:
        """Return the choice, with all that led to it, and the fit there."""
        problem = fits.problem
        c = problem.n_outputs
        if self.threshold is not None:
            rule, threshold = "threshold", float(self.threshold)
            point = fits.at(threshold)
            scale = 0.0
            if not fits.perfect:
                scale = scale_of_cut(point.rss, threshold, problem.df, c)
            k = np.inf if scale == 0 else threshold / scale
            efficiency = k if np.isnan(k) else 1.0
            if 0 < k < np.inf:
                efficiency = huber_efficiency(k, c)
        else:
            rule, efficiency = self.scale, float(self.efficiency)
            k = huber_tuning(efficiency, c)
            threshold = 0.0 if fits.perfect else self._solve(fits, k)
            threshold = threshold if threshold > k * fits.floor else 0.0
            point = fits.at(threshold)
            scale = threshold / k
        fits.reach(threshold if fits.exact or threshold > 0 else fits.path.knots[-1])
        message = ""
        if fits.perfect:
            message = "Least squares leaves no residuals: the scale is 0."
        elif np.isnan(scale):
            message = (
                f"Nearly all rows are beyond the threshold {threshold:.6g}: residuals "
                "that are cut there tell nothing about the scale. Give a larger "
                "threshold, or an efficiency in its place."
            )
        elif threshold == 0:
            message = (
                "So many rows are fitted exactly that the scale is 0: the coefficients "
                "are those of least absolute deviations, and all rows off that fit "
                "count as outliers."
            )
        quantities = {
            "threshold": threshold,
            "scale": float(scale),
            "scale_rule": "as Proposal 2" if rule == "threshold" else rule,
            "cut_per_scale": float(k),
            "efficiency": efficiency,
            "threshold_max": fits.path.threshold_max,
        }
        return Selection(
            rule=rule,
            knot=threshold,
            index=-1,  # the fit is going to be a knot
            scores=np.empty(0),
            quantities=quantities,
            message=message,
        ), point

    def _solve(self, fits, k):
        if self.scale == "s":
            found = fast_s(fits.problem.design, random_state=self.random_state)
            return k * found.scale
        if self.scale == "mad":
            return fits.by_median(k)
        c = fits.problem.n_outputs
        return fits.by_squares(fits.problem.df * huber_constant(k, c) / k**2)


def scale_of_cut(rss: float, threshold: float, df: float, n_outputs: int) -> float:
    """Scale of normal noise that has these squares, if it is cut at the threshold.

    The solution of ``scale^2 E min(chi2_c, (threshold / scale)^2) = rss / df``;
    NaN if so many rows are beyond the threshold that there is none.
    """
    share = rss / df / threshold**2
    if share <= 0:
        return 0.0
    if share >= 1:
        return np.nan

    def excess(log_k):
        k = np.exp(log_k)
        return huber_constant(k, n_outputs) / k**2 - share

    high = 0.5 * np.log(n_outputs / share) + 1e-9  # the constant is at most c
    low = high - 1.0
    while excess(low) < 0:
        low -= 2.0
    return float(threshold / np.exp(optimize.brentq(excess, low, high, xtol=1e-15)))


class HuberFits:
    """Huber fits of a problem at single thresholds, given the path.

    Parameters
    ----------
    problem : ShiftProblem
    path : ShiftPath
        Of method "l1".
    extend : callable
        Gets a threshold and returns the path down to there at least.

    Attributes
    ----------
    path : ShiftPath
        The extended one, if that was needed.
    perfect : bool
        Whether least squares leaves nothing but rounding.
    """

    def __init__(
        self,
        problem: ShiftProblem,
        path: ShiftPath,
        extend: Callable[[float], ShiftPath],
    ):
        self.problem, self.path = problem, path
        self._extend, self._extended = extend, False
        design = problem.design
        self.exact = path.info["route"] == "exact" and design.dense
        self._rows = HuberRows(design, problem.row_factor)
        single = self._rows.precision > 1e-10
        self._solver = HuberSolver(self._rows, _GAP_SINGLE if single else _GAP)
        self._same = _SAME if self.exact else _SAME_ITERATED
        self._same = max(self._same, 10 * self._rows.precision)
        self._top = self._rows.evaluate(design.least_squares(), np.inf)
        self._last, self._reached = self._top, path.threshold_max
        rounding = float(np.sum(design.rounding**2))
        self.perfect = self._top.rss <= rounding
        # A threshold that is rounding of a fit that is exact for many rows.
        self.floor = 0.0 if self.perfect else np.sqrt(rounding / problem.df)

    def at(self, threshold: float) -> Point:
        """The fit at a threshold; at 0, least absolute deviations."""
        if threshold >= self.path.threshold_max or self.perfect:
            return self._top
        if self.exact:
            self.reach(threshold)
            try:
                start, slope, _, _ = self._segment(threshold)
            except linalg.LinAlgError:
                pass  # rows in special positions: iterate
            else:
                coords = start + threshold * slope
                return self._rows.evaluate(coords, threshold)
        least = _LEAST * self.path.threshold_max
        goal = max(threshold, least)
        while self._reached > 10 * goal:  # small thresholds need a good start
            self._iterate(self._reached / 10)
        self._iterate(goal)
        if threshold > 0:
            return self._last
        kept = np.abs(self._last.residual) <= 100 * least
        try:
            coords = self.problem.design.least_squares(kept)
        except SingularFit:
            coords = self._last.coords
        return self._rows.evaluate(coords, least)

    def _iterate(self, threshold):
        self._last = self._solver.minimize(self._last.coords, threshold)
        self._reached = threshold

    def reach(self, threshold: float) -> None:
        """Extend the path, if it ends above a threshold."""
        if threshold < self.path.knots[-1] and not self._extended:
            self.path, self._extended = self._extend(threshold), True

    # -- Proposal 2 ------------------------------------------------------------------

    def by_squares(self, wanted: float) -> float:
        """Threshold at which ``sum_i w_i min(|r_i| / threshold, v_i)^2`` is `wanted`.

        It increases along the path [1], so there is one solution, or none above 0.

        References
        ----------
        .. [1] It is the derivative of the convex function of scale that is minimized
           together with the coefficients: P. J. Huber, E. M. Ronchetti (2009). Robust
           Statistics, 2nd edition. Wiley. Section 7.7.
        """
        top = np.sqrt(self._top.rss / wanted)
        if top >= self.path.threshold_max:
            return float(top)
        low, high = self._bracket(wanted)
        if self.exact:
            try:
                return self._by_segment(wanted, low, high)
            except linalg.LinAlgError:
                pass

        def excess(log_threshold):
            threshold = np.exp(log_threshold)
            return np.log(self.at(threshold).rss / threshold**2 / wanted)

        # Knots of a grid are not exact.
        least = np.log(_LEAST * self.path.threshold_max)
        high = np.log(high)
        while (at_high := excess(high)) > 0:
            high += 0.1
        low = max(np.log(low), least) if low > 0 else max(high - 1.0, least)
        while excess(low) < 0:
            if low <= least:
                return 0.0
            high, low = low, max(low - 1.0, least)
        if at_high == 0:
            return float(np.exp(high))
        root = optimize.brentq(excess, low, high, xtol=self._same)
        return float(np.exp(root))

    def _bracket(self, wanted):
        """Neighbouring knots with the solution between them, 0 if it is below all."""
        for _ in range(2):
            knots = self.path.knots[self.path.knots > 0]
            shares = np.asarray(self.path.deviance)[: len(knots)] / knots**2
            after = np.flatnonzero(shares >= wanted)
            if len(after):
                return knots[after[0]], knots[max(after[0] - 1, 0)]
            if not self.exact:
                break
            self.reach(0.0)
        return 0.0, knots[-1]

    def _by_segment(self, wanted, low, high):
        """On a segment squares are ``left + threshold^2 moving``."""
        _, _, left, moving = self._segment((low + high) / 2)
        if moving >= wanted:
            return float(low)
        return float(np.clip(np.sqrt(left / (wanted - moving)), low, high))

    def _segment(self, threshold):
        """Fits ``start + threshold * slope`` around a threshold, and their squares."""
        design, factor = self.problem.design, self.problem.row_factor
        path = self.path
        events = path.row_events
        if threshold >= path.knots[-1]:
            events = events[: np.searchsorted(-events["at"], -threshold, side="right")]
        sign = np.zeros(design.n_samples)
        sign[events["row"]] = events["sign"] * events["enters"]
        weight = np.ones(len(sign)) if design.weight is None else design.weight
        kept = (sign == 0) & (weight > 0)
        Z, w = design.Z[kept], weight[kept, None]
        far = np.flatnonzero((sign != 0) & (weight > 0))
        push = design.Z[far].T @ (weight * factor * sign)[far]
        gram = linalg.cho_factor(Z.T @ (w * Z), lower=True)
        Y = design.Y[kept]
        start = linalg.cho_solve(gram, Z.T @ (w * Y))
        start += linalg.cho_solve(gram, Z.T @ (w * (Y - Z @ start)))
        slope = linalg.cho_solve(gram, push[:, None])
        left = float(np.sum(w * (Y - Z @ start) ** 2))
        moving = float(np.sum(w * (Z @ slope) ** 2))
        return start, slope, left, moving + float(weight[far] @ factor[far] ** 2)

    # -- median ----------------------------------------------------------------------

    def by_median(self, k: float) -> float:
        """Threshold that is k times the median scale of the residuals of its fit.

        Follows ``threshold = k * mad(fit at threshold)`` down from least squares, with
        secant steps, until it stays, or has been crossed.
        """
        design = self.problem.design

        def image(threshold):
            residual = self.at(threshold).residual
            return k * mad_scale(residual, design.weight, design.n_outputs)

        top = self.path.threshold_max
        above, drop = top, image(top) - top
        if drop >= 0:
            return float(top + drop)
        least = _LEAST * top
        point = above + drop
        for _ in range(_MOST_STEPS):
            if point <= least:
                return 0.0
            gain = image(point) - point
            if abs(gain) <= self._same * point:
                return float(point)
            if gain > 0:
                break
            secant = point - gain * (above - point) / (drop - gain)
            above, drop = point, gain
            step = point + gain
            point = secant if 0 < secant < step else step
        else:
            return float(point)
        return float(
            optimize.brentq(
                lambda threshold: image(threshold) - threshold,
                *(point, above),
                xtol=self._same * point,
                rtol=max(self._same, 4 * np.finfo(float).eps),
            )
        )
