"""Bradley-Terry with a sparse shift per vote: logistic loss, linear in its tail."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ._shift_trace import ShiftTrace
from ._vote_loss import VotePoint, Votes, vote_curvature, vote_scores
from ._vote_newton import SINGLE, VoteNewton
from ._vote_separation import (
    SeparatedVotes,
    check_strongly_connected,
    separated_groups,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .._shift_design import Design

__all__ = [
    "SeparatedVotes",
    "bradley_terry",
    "separated_groups",
    "trace_logistic_shift",
    "vote_curvature",
    "vote_scores",
]

# Knots that the next one is extrapolated from, and the largest sum of their factors.
_MEMORY, _WILD = 3, 12.0
# Attempts to end at a threshold with no more than the allowed number of shifted votes.
_LANDINGS = 5
# Default grids end at this share of threshold_max, if not before.
_FLOOR = 1e-3


def trace_logistic_shift(
    design: Design,
    row_factor: NDArray[np.float64],
    *,
    thresholds: ArrayLike | None = None,
    n_knots: int = 30,
    max_shifted: float | None = None,
    tol: float | None = None,
    ridge: ArrayLike = 0.0,
) -> ShiftTrace:
    """Trace Bradley-Terry fits with sparse shifts over decreasing thresholds.

    Minimizes over coords and shifts, with ``eta = Z coords``,

    ``sum_e w_e [loss(eta_e + shift_e) + threshold v_e |shift_e| + ridge_e tie(eta_e)]``

    where ``loss(eta) = log(1 + exp(-y_e eta))`` for a vote and, for a tie, half a win
    and half a loss that share their shift: ``tie(eta) = [log(1 + exp(eta)) +
    log(1 + exp(-eta))] / 2``. Without the shifts, that is the logistic loss made linear
    where it is steeper than ``threshold v_e``: where the side that was chosen has a
    probability below ``1 - threshold v_e``. Convex, with a continuous gradient.

    Parameters
    ----------
    design : Design
        One output, its targets y in {-1, 0, 1}, without intercept (an unpenalized
        column of ones is a position bias).
    row_factor : ndarray of shape (n_samples,)
        v, positive; infinity: never shifted.
    thresholds : array-like or None
        Positive, decreasing, in units of probability. The null model, in which no vote
        is shifted, comes before them if they do not begin with it: maximum likelihood,
        at ``threshold_max = max_e |y01_e - p_e| / v_e``, y01 = (1 + y) / 2.
    n_knots : int, default=30
        Of the default grid, which is equally spaced from the largest residual of a vote
        of positive weight to where `max_shifted` votes are shifted, which is found on
        the way. Residuals of other votes beyond that are one knot more.
    max_shifted : float or None
        Sum of the weights of the shifted votes that no knot exceeds. Default: half of
        the total weight, if no `thresholds` are given.
    tol : float or None
        A fit is final when its Newton decrement, the root of ``g' H^-1 g`` (gradient g,
        Hessian H of the objective), is at most ``tol * sqrt(total weight)``, and the
        step that it belongs to has been taken: before that step, the objective was
        above its minimum by about ``tol^2 / 2`` per vote, in whatever coordinates.
        Default: 1e-6.
    ridge : float or array-like of shape (n_samples,), default=0.0
        Pseudo-votes: so many ties are added to every vote, and never shifted. 0.01
        keeps probabilities that are fitted to the votes between .005 and .995.

    Returns
    -------
    ShiftTrace
        ``rss`` is twice the weighted loss of the shifted votes (a deviance; without
        ridge and penalty). Status "thresholds", "threshold_min" or "max_outliers".
        ``info``: "decrement" (over the root of the weight) and "n_newton" of each knot,
        "tol", "threshold_max", "n_missed" (knots above `tol`).

    Raises
    ------
    SeparatedVotes
        If ``ridge`` is 0 for some votes and the likelihood has no maximum: an item
        always wins, or the items of a component fall into groups that never lose to
        each other. That does not depend on the threshold.
    ValueError
        If the design has several outputs or other targets, or an argument is out of
        range.

    Notes
    -----
    Newton's method with conjugate gradients (preconditioned by the Gram of the design),
    an accurate line search, warm starts by quadratic extrapolation of the last knots. A
    vote is shifted where ``|y01 - p| > threshold v``; events between knots by linear
    interpolation of the difference of both sides.

    References
    ----------
    R. A. Bradley, M. E. Terry (1952). Rank analysis of incomplete block designs.
    Biometrika 39, 324-345. L. R. Ford (1957). Solution of a ranking problem from binary
    comparisons. Amer. Math. Monthly 64, 28-33 (existence). J. Tibshirani, C. D. Manning
    (2014). Robust logistic regression using shift parameters. ACL.
    """
    votes = Votes(design, row_factor, ridge)
    check_strongly_connected(votes)
    solver = VoteNewton(votes, tol)
    given = None if thresholds is None else _as_thresholds(thresholds)
    if given is None and max_shifted is None:
        max_shifted = design.total_weight / 2
    limit = np.inf if max_shifted is None else float(max_shifted)
    null = solver.minimize(np.zeros((design.n_coords, 1)), np.inf)
    record = _Record(votes, null, 0 if given is None else given[0])
    top = record.top
    if given is not None and given[0] >= record.threshold_max:
        given = given[1:]
    elif given is None and record.threshold_max > top > 0:
        # Votes of weight 0 are beyond the others: these have their grid all the same.
        record.add(dataclasses.replace(null, threshold=top, n_newton=0))
        n_knots += 1
    status = "threshold_min" if given is None else "thresholds"
    while True:
        if given is not None:
            if not len(given):
                break
            threshold, given = float(given[0]), given[1:]
        else:
            last, left = record.knots[-1], n_knots - len(record.knots)
            floor = _FLOOR * top
            end = max(floor, votes.end(record.point.residual, limit))
            if left <= 0 or not end < last * (1 - 1e-9):
                status = "max_outliers" if end > floor else status
                break
            threshold = last - (last - end) / left
        point = solver.minimize(record.extrapolated(threshold), threshold)
        landed = votes.n_shifted(point) <= limit
        for attempt in range(0 if landed else _LANDINGS):
            status, last = "max_outliers", record.knots[-1]
            # With the residuals of this fit fewer votes would be shifted there.
            threshold = max(threshold, votes.end(point.residual, limit))
            threshold += (last - threshold) * (0.0, 0.05, 0.2, 0.5, 0.8)[attempt]
            if not threshold < last:
                break
            point = solver.minimize(point.coords, threshold)
            if landed := votes.n_shifted(point) <= limit:
                break
        if landed:
            record.add(point)
        if status == "max_outliers":
            break
    return record.trace(status, solver)


def bradley_terry(
    design: Design,
    *,
    ridge: ArrayLike = 0.0,
    tol: float | None = None,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the maximum-likelihood fit of the Bradley-Terry model.

    The null model of `trace_logistic_shift`: no vote is shifted.

    Parameters
    ----------
    design, ridge
        As there.
    tol : float or None
        As there; default: 1e-8.
    start : ndarray of shape (n_coords, 1) or None
        Where to begin; the fit does not depend on it.

    Returns
    -------
    ndarray of shape (n_coords, 1)

    Raises
    ------
    SeparatedVotes, ValueError
        As there.
    """
    votes = Votes(design, np.full(design.n_samples, np.inf), ridge)
    check_strongly_connected(votes)
    begin = np.zeros((design.n_coords, 1)) if start is None else start
    solver = VoteNewton(votes, SINGLE if tol is None else tol)
    return solver.minimize(begin, np.inf).coords


class _Record:
    """Knots and events so far."""

    def __init__(self, votes: Votes, point: VotePoint, start: float):
        self._votes = votes
        self.knots: list[float] = []
        self._coords: list = []
        self._rows: list = []
        self._events: list = [
            (np.empty(0), np.empty(0, np.intp), np.empty(0, np.int8), np.empty(0, "?"))
        ]
        scaled, weight = np.abs(point.residual) / votes.factor, votes.design.weight
        # No vote is shifted above `threshold_max`, none of positive weight above `top`.
        self.threshold_max = self.top = float(scaled.max())
        if weight is not None:
            self.top = float(scaled[weight > 0].max())
        self._append(max(start, self.threshold_max), point, 0.0)
        self._before = [np.minimum(part, 0.0) for part in self._excess()]

    def add(self, point):
        """One more knot."""
        self._append(point.threshold, point, self._votes.n_shifted(point))
        high, low = self.knots[-2:]
        after, found = self._excess(), []
        for sign, a, b in zip((1, -1), self._before, after, strict=True):
            row = np.flatnonzero((a > 0) != (b > 0))
            share = a[row] / (a[row] - b[row])
            at = high + np.clip(share, 0.0, 1.0) * (low - high)
            found.append((at, row, np.full(len(row), sign, np.int8), b[row] > 0))
        columns = [np.concatenate(column) for column in zip(*found, strict=True)]
        order = np.lexsort((columns[1], -columns[0]))
        self._events.append(tuple(column[order] for column in columns))
        self._before = after

    def extrapolated(self, threshold):
        """Fit that the polynomial through the last knots has at a threshold."""
        for count in range(min(_MEMORY, len(self.knots)), 1, -1):
            known = self.knots[-count:]
            if known[0] > self.top:
                continue
            factors = [
                np.prod([(threshold - b) / (a - b) for b in known if b != a])
                for a in known
            ]
            if np.abs(factors).sum() <= _WILD:
                return np.tensordot(factors, self._coords[-count:], 1)
        return self._coords[-1]

    def trace(self, status, solver):
        """All of it."""
        at, row, sign, enters = map(np.concatenate, zip(*self._events, strict=True))
        rss, n_shifted, decrement, n_newton = np.array(self._rows).T
        missed = int(np.count_nonzero(decrement > solver.tol))
        message = {
            "thresholds": "all thresholds were traced",
            "threshold_min": f"the smallest threshold, {self.knots[-1]:.4g}, is "
            "reached",
            "max_outliers": f"votes of weight {n_shifted[-1]:g} are shifted, the most "
            "allowed",
        }[status]
        if missed:
            message += (
                f"; at {missed} knot(s) the Newton decrement is above {solver.tol:g} "
                f"(at most {decrement.max():.1e})"
            )
        info = {
            "decrement": decrement,
            "n_newton": n_newton.astype(np.intp),
            "tol": solver.tol,
            "threshold_max": self.top,
            "n_missed": missed,
        }
        return ShiftTrace(
            knots=np.array(self.knots),
            coords=np.array(self._coords),
            event_at=at,
            event_row=row,
            event_sign=sign,
            event_enters=enters,
            rss=rss,
            n_shifted=n_shifted,
            status=status,
            message=message,
            n_iter=solver.n_iter,
            interpolation="linear",
            info=info,
        )

    def _append(self, knot, point, n_shifted):
        self.point = point
        self.knots.append(knot)
        self._coords.append(point.coords)
        deviance = self._votes.deviance(point)
        self._rows.append((deviance, n_shifted, point.decrement, point.n_newton))

    def _excess(self):
        """By how much votes exceed their threshold, for each sign."""
        radius = self._votes.radius(self.knots[-1])
        return [sign * self.point.residual - radius for sign in (1, -1)]


def _as_thresholds(thresholds):
    grid = np.asarray(thresholds, dtype=np.float64)
    if grid.ndim != 1 or not len(grid) or not (np.diff(grid) < 0).all():
        raise ValueError(f"thresholds={thresholds!r} must be a decreasing sequence.")
    if not (grid > 0).all() or not np.isfinite(grid).all():
        raise ValueError(
            f"thresholds={thresholds!r} must be positive and finite: they are "
            "differences of probabilities, in (0, 1) if all factors are 1."
        )
    return grid
