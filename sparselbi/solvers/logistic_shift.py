"""Bradley-Terry with a sparse shift per vote: logistic loss, linear in its tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse, special
from scipy.sparse import csgraph

from ._shift_trace import ShiftTrace

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

# Newton decrement over the root of the total weight, at which the next step is the last
# one: of a single fit and of those of a path.
_SINGLE, _TOLERANCE = 1e-8, 1e-6
_MAX_NEWTON = 100
# Steps without progress (rounding) after which a fit is left as it is.
_STALLED = 20
_MAX_CG = 300
_MAX_SEARCH = 40
# A step after which the slope along it is this share of what it was is taken.
_FLAT = 0.3, 0.1
# Newton steps close to a minimum are short. Votes that still move by so much (in eta)
# at so small a decrement, in several steps, move for ever: their loss is exp(-|eta|).
_MOVES, _CLOSE, _SEVERAL = 0.3, 1e-3, 3
# Share of the largest movement that counts as none.
_STILL = 1e-3
# Knots that the next one is extrapolated from, and the largest sum of their factors.
_MEMORY, _WILD = 3, 12.0
# Attempts to end at a threshold with no more than the allowed number of shifted votes.
_LANDINGS = 5
# Default grids end at this share of threshold_max, if not before.
_FLOOR = 1e-3
# Rows or items that a message names.
_N_NAMED = 8


class SeparatedVotes(ValueError):
    """No maximum-likelihood fit exists: some differences of scores grow for ever.

    Attributes
    ----------
    rows : ndarray of int
        Votes that growing coefficients explain ever better.
    groups : list of ndarray of int or None
        The groups of items from `separated_groups`; None if the design does not say
        which items are compared.
    """

    def __init__(self, message: str, rows: Any, groups: Any = None):
        super().__init__(message)
        self.rows, self.groups = rows, groups


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
        Of the default grid, which is equally spaced and ends where `max_shifted` votes
        are shifted, which is found on the way.
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
    votes = _Votes(design, row_factor, ridge)
    _check_strongly_connected(votes)
    solver = _Newton(votes, tol)
    given = None if thresholds is None else _as_thresholds(thresholds)
    if given is None and max_shifted is None:
        max_shifted = design.total_weight / 2
    limit = np.inf if max_shifted is None else float(max_shifted)
    zero = np.zeros((design.n_coords, 1))
    record = _Record(
        votes, solver.minimize(zero, np.inf), 0 if given is None else given[0]
    )
    if given is not None and given[0] >= record.threshold_max:
        given = given[1:]
    status = "threshold_min" if given is None else "thresholds"
    while True:
        if given is not None:
            if not len(given):
                break
            threshold, given = float(given[0]), given[1:]
        else:
            last, left = record.knots[-1], n_knots - len(record.knots)
            floor = _FLOOR * record.knots[0]
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
    votes = _Votes(design, np.full(design.n_samples, np.inf), ridge)
    _check_strongly_connected(votes)
    begin = np.zeros((design.n_coords, 1)) if start is None else start
    solver = _Newton(votes, _SINGLE if tol is None else tol)
    return solver.minimize(begin, np.inf).coords


def vote_scores(
    eta: NDArray[np.float64],
    y: NDArray[np.float64],
    threshold: Any = np.inf,
    ridge: Any = 0.0,
) -> NDArray[np.float64]:
    """Minus the derivative of each vote's part of the objective with respect to eta.

    ``clip(y01 - p, -threshold, threshold) + ridge (1/2 - p)``, ``p = sigmoid(eta)``,
    y01 = (1 + y) / 2.

    Parameters
    ----------
    eta, y : ndarray of shape (n,)
        Linear predictors and votes in {-1, 0, 1}.
    threshold : float or ndarray of shape (n,), default=inf
        Including the factors of the rows; infinity: maximum likelihood.
    ridge : float or ndarray of shape (n,), default=0.0
    """
    clipped = np.clip(_residual(eta, y), -threshold, threshold)
    return clipped - 0.5 * ridge * np.tanh(eta / 2) if np.any(ridge) else clipped


def vote_curvature(
    eta: NDArray[np.float64],
    y: NDArray[np.float64],
    threshold: Any = np.inf,
    ridge: Any = 0.0,
) -> NDArray[np.float64]:
    """Second derivative of each vote's part of the objective with respect to eta.

    ``p (1 - p) (1{not shifted} + ridge)``. Parameters as for `vote_scores`.
    """
    kept = np.abs(_residual(eta, y)) <= threshold
    return _variance(eta) * (kept + ridge)


def separated_groups(
    pairs: NDArray[Any],
    y: NDArray[Any],
    n_items: int,
    weight: NDArray[np.float64] | None = None,
) -> list[NDArray[np.intp]]:
    """Items in groups between which all votes go one way.

    The Bradley-Terry likelihood has a maximum if and only if every component of the
    comparison graph is strongly connected by its wins (a tie is a win of both).

    Parameters
    ----------
    pairs : ndarray of int of shape (n, 2)
    y : ndarray of shape (n,)
        Positive: the first item is preferred; 0: a tie.
    n_items : int
    weight : ndarray of shape (n,) or None
        Votes of weight 0 do not count.

    Returns
    -------
    list of ndarray of int
        The strongly connected groups of the components that have more than one;
        empty if there is a maximum.

    References
    ----------
    L. R. Ford (1957). Amer. Math. Monthly 64, 28-33.
    """
    used = np.full(len(y), True) if weight is None else weight > 0
    (first, second), y = np.asarray(pairs)[used].T, np.asarray(y)[used]
    loser = np.concatenate([second[y >= 0], first[y <= 0]])
    winner = np.concatenate([first[y >= 0], second[y <= 0]])
    ones = np.ones(len(loser), dtype=bool)
    graph = sparse.csr_array((ones, (loser, winner)), shape=(n_items, n_items))
    n_strong, strong = csgraph.connected_components(graph, connection="strong")
    n_weak, weak = csgraph.connected_components(graph, connection="weak")
    if n_strong == n_weak:
        return []
    component = np.empty(n_strong, dtype=np.intp)
    component[strong] = weak
    torn = np.bincount(component)[weak] > 1
    items = np.flatnonzero(torn)
    items = items[np.lexsort((strong[items], weak[items]))]
    return np.split(items, np.flatnonzero(np.diff(strong[items])) + 1)


def _check_strongly_connected(votes):
    """Raise SeparatedVotes if the design is one of items only and they are separated.

    Otherwise that shows when coefficients grow.
    """
    design, ridge = votes.design, np.broadcast_to(votes.ridge, votes.y.shape)
    if not hasattr(design, "incidence") or design.n_extra or ridge.all():
        return
    incidence = design.incidence()
    pairs = np.stack(
        [incidence.indices[incidence.data > 0], incidence.indices[incidence.data < 0]],
        axis=1,
    )
    y = np.where(ridge > 0, 0.0, votes.y)
    groups = separated_groups(pairs, y, design.n_items, design.weight)
    if groups:
        group = np.full(design.n_items, -1)
        for k, items in enumerate(groups):
            group[items] = k
        between = group[pairs[:, 0]] != group[pairs[:, 1]]
        if design.weight is not None:
            between &= design.weight > 0
        raise _separation_error(np.flatnonzero(between), groups=groups)


# ------------------------------------------------------------------------- one fit


@dataclass
class _Point:
    """A fit at one threshold.

    Attributes
    ----------
    eta, residual : ndarray of shape (n_samples,)
        Linear predictors and y01 - p.
    score : ndarray of shape (n_coords, 1)
        Minus the gradient.
    decrement : float
        Newton decrement over the root of the total weight, before the last step.
    n_newton : int
    """

    threshold: float
    coords: NDArray[np.float64]
    eta: NDArray[np.float64]
    residual: NDArray[np.float64]
    score: NDArray[np.float64]
    decrement: float = np.inf
    n_newton: int = 0


class _Votes:
    """The objective of the votes of a design at any threshold."""

    def __init__(self, design: Design, factor: NDArray[np.float64], ridge: Any):
        if design.n_outputs != 1:
            raise ValueError(
                f"the design has {design.n_outputs} outputs; votes have one."
            )
        self.design = design
        self.factor = np.asarray(factor, dtype=np.float64)
        self.y = design.residuals(np.zeros((design.n_coords, 1)))[:, 0]
        strange = np.flatnonzero((np.abs(self.y) != 1) & (self.y != 0))
        if len(strange):
            raise ValueError(
                f"the target of row {strange[0]} is {self.y[strange[0]]:g}; votes are "
                "-1, 0 (a tie) or 1 here. Graded votes have the linear model; a design "
                "with an intercept centres its targets: use fit_intercept=False and a "
                "column of ones."
            )
        self.ridge = np.asarray(ridge, dtype=np.float64)
        if self.ridge.shape not in ((), self.y.shape) or not (
            np.isfinite(self.ridge).all() and (self.ridge >= 0).all()
        ):
            raise ValueError(
                f"ridge={ridge!r} must be a finite number of ties for each vote that "
                f"is not negative, or {len(self.y)} of them."
            )
        self.has_ridge = bool(self.ridge.any())
        self.has_ties = bool((self.y == 0).any())
        self.root_weight = float(np.sqrt(design.total_weight))
        self._radius = np.inf, np.full(len(self.y), np.inf)

    def radius(self, threshold):
        """``threshold * factor``, (n_samples,)."""
        if self._radius[0] != threshold:
            self._radius = threshold, threshold * self.factor
        return self._radius[1]

    def evaluate(self, coords, threshold):
        """Read the rows at `coords`."""
        radius = self.radius(threshold)
        eta, residual = np.empty_like(self.y), np.empty_like(self.y)

        def work(rows, R, D):
            eta[rows] = self.y[rows] - R[:, 0]
            residual[rows] = self._residual(eta[rows], rows)
            clipped = np.clip(residual[rows], -radius[rows], radius[rows])
            return self._with_ridge(clipped, eta[rows], rows)[:, None]

        score = self.design.sweep(work, coords)
        return _Point(threshold, coords, eta, residual, score)

    def curvature(self, eta, residual, threshold):
        """Second derivatives, (n_samples,)."""
        inside = np.abs(residual) <= self.radius(threshold)
        variance = _variance(eta)
        return variance * (inside + self.ridge if self.has_ridge else inside)

    def scores(self, eta, threshold):
        """Minus first derivatives, and residuals, (n_samples,)."""
        residual, radius = self._residual(eta), self.radius(threshold)
        return self._with_ridge(np.clip(residual, -radius, radius), eta), residual

    def bent(self, curvature, directions):
        """The Hessian, with these second derivatives, times directions."""

        def work(rows, R, D):
            return curvature[rows, None] * D

        return self.design.sweep(work, np.zeros_like(directions), directions)

    def movement(self, directions):
        """``Z directions``, (n_samples,)."""
        out = np.empty_like(self.y)

        def work(rows, R, D):
            out[rows] = D[:, 0]

        self.design.sweep(work, np.zeros_like(directions), directions)
        return out

    def deviance(self, point):
        """Twice the weighted loss with shifts."""
        radius = self.radius(point.threshold)
        r = np.clip(point.residual, -radius, radius)
        p = (1 + self.y) / 2 - r
        loss = np.where(
            np.abs(point.residual) > radius,
            special.xlogy((1 + self.y) / -2, p) + special.xlog1py((self.y - 1) / 2, -p),
            special.log_expit(-point.eta) * -1 - point.eta * (1 + self.y) / 2,
        )
        # Loses no digits where a vote is all but certain.
        vote = (self.y != 0) & (np.abs(point.residual) <= radius)
        loss[vote] = -special.log_expit((self.y * point.eta)[vote])
        weight = self.design.weight
        return 2 * float(loss.sum() if weight is None else weight @ loss)

    def n_shifted(self, point):
        """Sum of the weights of the shifted votes."""
        shifted = np.abs(point.residual) > self.radius(point.threshold)
        weight = self.design.weight
        return float(shifted.sum() if weight is None else weight @ shifted)

    def end(self, residual, limit):
        """Threshold below which more than `limit` votes are shifted; 0: none."""
        scaled, weight = np.abs(residual) / self.factor, self.design.weight
        if not np.isfinite(limit):
            return 0.0
        order = np.argsort(-scaled)
        reached = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
        first = int(np.searchsorted(reached, limit, side="right"))
        return float(scaled[order[first]]) if first < len(order) else 0.0

    def _residual(self, eta, rows=slice(None)):
        y = self.y[rows]
        if self.has_ties:
            return _residual(eta, y)
        return y * special.expit(-y * eta)

    def _with_ridge(self, clipped, eta, rows=slice(None)):
        if not self.has_ridge:
            return clipped
        ridge = self.ridge if self.ridge.ndim == 0 else self.ridge[rows]
        return clipped - 0.5 * ridge * np.tanh(eta / 2)


class _Newton:
    """Minimize at one threshold after the other."""

    def __init__(self, votes: _Votes, tol: float | None):
        self._votes = votes
        precision = getattr(votes.design, "precision", np.finfo(np.float64).eps)
        self._noise = 16 * float(precision)
        self.tol = max(_TOLERANCE, 4 * self._noise) if tol is None else float(tol)
        self.n_iter = 0

    def minimize(self, start, threshold):
        votes = self._votes
        point = votes.evaluate(start, threshold)
        n_newton, best, best_at, diverging = 0, np.inf, 0, 0
        while n_newton < min(_MAX_NEWTON, best_at + _STALLED):
            direction, decrement = self._direction(point)
            n_newton += 1
            self.n_iter += 1
            if decrement < 0.7 * best:
                best, best_at = decrement, n_newton
            if not direction.any():
                break
            movement = votes.movement(direction)
            final = decrement <= self.tol
            diverges = decrement <= _CLOSE and self._diverges(point, movement)
            diverging = diverging + 1 if diverges else 0
            if diverging == _SEVERAL:
                raise self._separated(movement, direction)
            length = self._length(point, movement)
            point = votes.evaluate(point.coords + length * direction, threshold)
            if final or length == 0:
                break
        point.decrement, point.n_newton = decrement, n_newton
        return point

    def _direction(self, point):
        """Newton direction, and the decrement."""
        votes, score = self._votes, point.score
        ahead = self._preconditioned(score)
        first = max(float(np.vdot(score, ahead)), 0.0)
        relative = np.sqrt(first) / votes.root_weight
        if not relative > self._noise:
            return np.zeros_like(score), relative
        curvature = votes.curvature(point.eta, point.residual, point.threshold)
        if np.isfinite(point.threshold):
            # Where all votes of an item are shifted there is no curvature.
            curvature += 1e-3 * min(1.0, relative)
        accuracy = min(0.1, np.sqrt(relative))
        # Designs that can put their Gram together anew are asked to.
        reweighted = getattr(votes.design, "reweighted", None)
        solve = None if reweighted is None else reweighted(curvature)
        if solve is None:
            direction = self._by_gradients(score, ahead, curvature, accuracy)
        else:
            direction = solve(score, accuracy)
        gain = max(float(np.vdot(direction, score)), 0.0)
        return direction, np.sqrt(gain) / votes.root_weight

    def _by_gradients(self, score, ahead, curvature, accuracy):
        """Solve with the Hessian by conjugate gradients, one sweep each."""
        direction, residual, search = np.zeros_like(score), score.copy(), ahead
        first = square = float(np.vdot(score, ahead))
        for _ in range(_MAX_CG):
            image = self._votes.bent(curvature, search)
            bend = float(np.vdot(search, image))
            if not bend > 0:
                break
            direction += (square / bend) * search
            residual -= (square / bend) * image
            ahead = self._preconditioned(residual)
            last, square = square, float(np.vdot(residual, ahead))
            if square <= accuracy**2 * first:
                break
            search = ahead + (square / last) * search
        return direction

    def _preconditioned(self, residual):
        design = self._votes.design
        # Solving by conjugate gradients would cost as much as what it is for.
        iterative = "cg" in (getattr(design, "way", None), _way_of_graph(design))
        return residual.copy() if iterative else design.solve(residual)

    def _length(self, point, movement):
        """A step along which the slope has all but vanished."""
        votes, threshold = self._votes, point.threshold
        weight = votes.design.weight
        weighted = movement if weight is None else weight * movement
        start = votes.scores(point.eta, threshold)[0] @ weighted
        if not start > 0:
            return 0.0
        low, high, length = 0.0, np.inf, 1.0
        for _ in range(_MAX_SEARCH):
            eta = point.eta + length * movement
            score, residual = votes.scores(eta, threshold)
            slope = score @ weighted
            if -_FLAT[1] * start <= slope <= _FLAT[0] * start:
                break
            low, high = (length, high) if slope > 0 else (low, length)
            bend = votes.curvature(eta, residual, threshold) @ (weighted * movement)
            step = slope / bend if bend > 0 else np.inf * np.sign(slope)
            length = min(length + step, 4 * length)
            if not low < length < high:
                length = (low + high) / 2 if np.isfinite(high) else 2 * low
        return length

    def _diverges(self, point, movement):
        """Whether votes still move, and all of them in their own direction."""
        votes = self._votes
        if np.isfinite(point.threshold):
            return False
        weight = votes.design.weight
        used = np.ones(len(votes.y), dtype=bool) if weight is None else weight > 0
        size = np.abs(movement)
        largest = size[used].max()
        held = used & ((votes.y == 0) | (votes.ridge > 0))
        return (
            largest > _MOVES
            and (votes.y * movement)[used].min() >= -_STILL * largest
            and size[held].max(initial=0.0) <= _STILL * largest
        )

    def _separated(self, movement, direction):
        gain = self._votes.y * movement
        rows = np.flatnonzero(gain > _STILL * np.abs(gain).max())
        change = np.abs(self._votes.design.to_coefs(direction)[0].ravel())
        return _separation_error(rows, np.flatnonzero(change > 0.5 * change.max()))


def _separation_error(rows, coefficients=None, groups=None):
    def some(values):
        shown = ", ".join(str(value) for value in values[:_N_NAMED])
        return shown + (", ..." if len(values) > _N_NAMED else "")

    if groups is None:
        what = (
            f"growing coefficients ({some(coefficients)}) explain {len(rows)} votes "
            f"ever better and none worse (rows {some(rows)})"
        )
    else:
        small = min(groups, key=len)
        what = (
            f"items fall into {len(groups)} groups between which all votes go one "
            f"way (one group has the items {some(small)}; an item that always wins or "
            "loses is a group)"
        )
    return SeparatedVotes(
        f"the votes are separated: {what}, so the likelihood has no maximum. Use a "
        "small ridge=0.01 (so many ties added to every vote), drop these items, or use "
        "the linear model.",
        rows,
        groups,
    )


# ------------------------------------------------------------------------- the path


class _Record:
    """Knots and events so far."""

    def __init__(self, votes: _Votes, point: _Point, start: float):
        self._votes = votes
        self.knots: list[float] = []
        self._coords: list = []
        self._rows: list = []
        self._events: list = [
            (np.empty(0), np.empty(0, np.intp), np.empty(0, np.int8), np.empty(0, "?"))
        ]
        self.threshold_max = _largest(votes, point)
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
            "threshold_max": self.threshold_max,
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


# ------------------------------------------------------------------------- formulas


def _way_of_graph(design):
    return getattr(getattr(design, "graph", None), "way", None)


def _largest(votes, point):
    """threshold_max: above it no vote is shifted."""
    return float((np.abs(point.residual) / votes.factor).max())


def _residual(eta, y):
    """y01 - p without cancellation."""
    return np.where(y == 0, -0.5 * np.tanh(eta / 2), y * special.expit(-y * eta))


def _variance(eta):
    """``p (1 - p)`` without cancellation."""
    p = special.expit(-np.abs(eta))
    return p * (1 - p)


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
