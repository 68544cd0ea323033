"""The exact inverse scale space path of squared loss.

The dual rho moves along the gradient while the coefficients stand still; when an entry
of rho meets its threshold, the coefficients jump to the least-squares fit whose signs
agree with rho on the columns at their threshold. Between two anchors only the active
columns and a few candidates are seen (see `_anchor`).
"""

from typing import NamedTuple

import numpy as np

from .._kernels import inner, jit
from ..problem import check_positive
from ._anchor import Anchor
from ._cholesky import append, remove, solve
from .base import build_events, build_path, check_count, first_entry_time, null_path

AGAIN, ANCHOR, T_MAX, MAX_FEATURES, LEAST_SQUARES, ILL_CONDITIONED = range(6)
STATUS = {
    T_MAX: "t_max",
    MAX_FEATURES: "max_features",
    LEAST_SQUARES: "least_squares",
    ILL_CONDITIONED: "ill_conditioned",
}

# Entries within this relative distance of the first one enter at the same knot.
_TIE = 1e-12
# Gradients below this share of the size of the numbers they are made of are rounding.
_ROUNDING = 1e-13
# Before a stretch longer than this share of t, coefficients are refined: errors of
# their gradient add up over its length.
_LONG = 0.3
# Share of the size of the response that a gradient on the support may have at the end.
_STATIONARY = 1e-9


def iss_path(problem, *, t_max=None, max_features=None):
    """Trace the exact inverse scale space path: LBI with infinite kappa.

    With rho(0) = 0, coef(0) the null model and L the mean squared loss,::

        d rho / dt = - gradient of L at coef(t),
        rho(t) in the subdifferential of sum_j penalty_factor_j |coef_j(t)|

    ``coef(t)`` is piecewise constant. At every knot it is the least-squares fit on its
    support: a path without shrinkage. It ends at the full least-squares fit.

    Parameters
    ----------
    problem : Problem
        With squared loss and l1 penalty (``positive`` and ``penalty_factor`` as set).
    t_max : float, default=None
        Where the path ends; None is the least-squares fit.
    max_features : int, default=None
        The path ends before more features than this are active.

    Returns
    -------
    RegularizationPath
        With ``knots[0] = 0``, the null model; ``knots[1]`` is the first entry. The
        coefficients of knot k hold on ``[knots[k], knots[k + 1])``. ``status`` is
        "least_squares", "t_max", "max_features", "null", or "ill_conditioned" when
        rounding would decide how to go on.

    Raises
    ------
    ValueError
        If the loss is not squared, the penalty not l1, or an argument out of range.

    References
    ----------
    M. Burger, M. Moeller, M. Benning, S. Osher. An adaptive inverse scale space method
    for compressed sensing. Mathematics of Computation 82 (2013), 269-299.

    S. Osher, F. Ruan, J. Xiong, Y. Yao, W. Yin. Sparse recovery via differential
    inclusions. Applied and Computational Harmonic Analysis 41 (2016), arXiv:1406.7728.
    """
    if problem.loss.name != "squared" or problem.penalty.name != "l1":
        raise ValueError(
            f"the exact path exists for loss='squared' with penalty='l1', got "
            f"loss={problem.loss.name!r} and penalty={problem.penalty.name!r}; use "
            "lbi_path with a large kappa instead."
        )
    limit = check_count("max_features", max_features)
    end = np.inf if t_max is None else check_positive("t_max", t_max)
    g = problem.correlate(problem.null_score)
    t0 = first_entry_time(problem, g)
    fields = {
        "knot_name": "t",
        "interpolation": "constant",
        "method": "iss",
        "t0": t0,
        "kappa": np.inf,
        "kappa_raw": np.inf,
        "step_size": None,
    }
    if t0 == np.inf or end < t0:
        return null_path(problem, fields, t_max)
    return _Trace(problem, g, end, limit).run(fields)


@jit
def _iss_loop(gram, norm, weight, positive, work, state, knots, coefs):
    s = state[0]
    T = len(weight)
    rho, g, coef = work.rho, work.g, work.coef
    while True:
        if s.n_knots == len(knots):
            return AGAIN
        tolerance = _rounding(s.size, norm, coef)
        dt = np.inf
        for j in range(T):
            wait = np.inf
            if not work.active[j]:
                if g[j] > tolerance * norm[j]:
                    wait = (weight[j] - rho[j]) / g[j]
                elif g[j] < -tolerance * norm[j] and not positive:
                    wait = (-weight[j] - rho[j]) / g[j]
            work.wait[j] = max(wait, 0.0)
            dt = min(dt, work.wait[j])

        # Nothing for so long: what is left of the gradient may be rounding. Ask once.
        if dt > _LONG * s.t and s.t > s.t_refined:
            return ANCHOR
        # May an untracked column come first?
        # An event at the very end, up to rounding, belongs to the path.
        room = max(s.end - s.t, 0.0)
        ends = room < dt * (1.0 - _TIE)
        span = room if ends else dt
        if span < np.inf:
            total = 0.0
            for j in range(T):
                work.ahead[j] = work.since[j] + span * (coef[j] - work.coef_anchor[j])
            for i in range(T):
                if work.ahead[i] != 0.0:
                    for j in range(T):
                        total += work.ahead[i] * gram[i, j] * work.ahead[j]
            if total > s.budget**2:
                s.out_of_budget = True
                return ANCHOR
        if span == np.inf and s.complete:
            return LEAST_SQUARES
        if span == np.inf or s.t + span - s.t_anchor > s.certified:
            return ANCHOR

        # Events that take no time, again and again, are made of rounding.
        s.idle = s.idle + 1 if span <= 1e-15 * s.t else 0
        if s.idle > 2 * T + 10:
            return ILL_CONDITIONED
        s.t += span
        for j in range(T):
            work.since[j] = work.ahead[j]
            if not work.active[j]:
                rho[j] += span * g[j]
        if ends:
            return T_MAX

        for j in range(T):
            work.sign[j] = 0.0
            if weight[j] > 0.0:
                reached = work.wait[j] <= dt * (1.0 + _TIE)
                # A column that rests at its threshold may also start to move now.
                if reached or abs(rho[j]) >= weight[j] * (1.0 - _TIE):
                    work.sign[j] = 1.0 if rho[j] > 0.0 else -1.0
                    if positive and rho[j] < 0.0:
                        work.sign[j] = 0.0
                    elif not work.active[j]:
                        rho[j] = work.sign[j] * weight[j]
        s.a = _fit_signed(gram, weight, work, s.a, tolerance, norm)
        n_active = 0
        for i in range(s.a):
            n_active += weight[work.members[i]] > 0.0
        if n_active > s.limit:
            return MAX_FEATURES
        knots[s.n_knots] = s.t
        for j in range(T):
            coefs[s.n_knots, j] = coef[j]
        s.n_knots += 1


@jit
def _factorize(gram, active, factor, members):
    """Factor the first `active` columns; those that depend on others stay outside.

    Unpenalized columns may be dependent: they keep the coefficients of the null fit,
    and the others do the rest.
    """
    a = 0
    for j in range(active):
        if append(factor, a, gram, members, j):
            members[a] = j
            a += 1
    return a


@jit
def _solve(factor, a, b):
    solve(factor, a, b)


@jit
def _rounding(size, norm, coef):
    """The level, per unit norm of a column, below which a gradient is rounding."""
    for j in range(len(norm)):
        size += norm[j] * abs(coef[j])
    return _ROUNDING * size


@inner
def _fit_signed(gram, weight, work, a, tolerance, norm):
    """Least squares on the columns with a sign, coefficients of that sign or zero.

    Active-set method started from the present coefficients, whose gradient vanishes on
    the active columns. Returns the new number of active columns.
    """
    T = len(weight)
    g, coef, sign = work.g, work.coef, work.sign
    for j in range(T):
        work.blocked[j] = False
    while True:
        best = tolerance
        new = -1
        for j in range(T):
            if sign[j] != 0.0 and not work.active[j] and not work.blocked[j]:
                pull = sign[j] * g[j] / max(norm[j], 1e-300)
                if pull > best:
                    best = pull
                    new = j
        if new < 0:
            break
        if not append(work.factor, a, gram, work.members, new):
            # It depends on the active columns: nothing to gain beyond rounding.
            work.blocked[new] = True
            g[new] = 0.0
            continue
        work.members[a] = new
        work.active[new] = True
        a += 1
        # Every pass drops a column or ends, so this terminates.
        while True:
            for i in range(a):
                work.step[i] = g[work.members[i]]
            solve(work.factor, a, work.step)
            share = 1.0
            out = -1
            for i in range(a):
                j = work.members[i]
                target = sign[j] * (coef[j] + work.step[i])
                # A contribution at rounding level is zero: its sign is not known.
                if weight[j] > 0.0 and norm[j] * target <= tolerance:
                    room = coef[j] / -work.step[i] if work.step[i] != 0.0 else 0.0
                    room = min(max(room, 0.0), 1.0)
                    if room <= share:  # also one that arrives at zero just now
                        share = room
                        out = i
            for i in range(a):
                coef[work.members[i]] += share * work.step[i]
            for i in range(a):
                change = share * work.step[i]
                k = work.members[i]
                for j in range(T):
                    g[j] -= gram[k, j] * change
            if out < 0:
                break
            gone = work.members[out]
            coef[gone] = 0.0
            work.active[gone] = False
            if gone == new:
                work.blocked[new] = True
            remove(work.factor, a, out)
            for i in range(out, a - 1):
                work.members[i] = work.members[i + 1]
            a -= 1
        # One step of refinement, then the gradient of active columns is zero.
        for i in range(a):
            work.step[i] = g[work.members[i]]
        solve(work.factor, a, work.step)
        for i in range(a):
            k = work.members[i]
            coef[k] += work.step[i]
            for j in range(T):
                g[j] -= gram[k, j] * work.step[i]
        for i in range(a):
            g[work.members[i]] = 0.0
    for j in range(T):
        if work.blocked[j] and sign[j] * g[j] > 0.0:
            g[j] = 0.0  # its pull is rounding
    return a


class _Work(NamedTuple):
    """Arrays over the tracked columns (T,), and the factor of the active ones."""

    rho: np.ndarray
    g: np.ndarray
    coef: np.ndarray
    coef_anchor: np.ndarray
    since: np.ndarray  # D since anchor, in coefficients; see `_models`
    ahead: np.ndarray  # D at the next event
    wait: np.ndarray  # time until the threshold
    sign: np.ndarray  # sign that a coefficient may take, 0 = it stays zero
    step: np.ndarray
    active: np.ndarray
    blocked: np.ndarray
    members: np.ndarray  # active columns in order of the factor
    factor: np.ndarray  # (T, T)


_STATE = np.dtype(
    [
        ("t", "f8"),
        ("end", "f8"),
        ("t_anchor", "f8"),
        ("t_refined", "f8"),  # when coefficients were last fitted to true residuals
        ("certified", "f8"),  # time since anchor for which untracked columns rest
        ("budget", "f8"),  # and norm of D
        ("complete", "?"),  # no gradient is left in any column
        ("out_of_budget", "?"),
        ("size", "f8"),  # norm of the response, for rounding levels
        ("limit", "i8"),
        ("a", "i8"),
        ("n_knots", "i8"),
        ("idle", "i8"),  # events in a row that took no time
    ]
)
_ROWS = 256
# A factor of up to so many columns is made anew at every anchor: up- and down-dates add
# up rounding. A larger one is kept, its fits are refined.
_REFACTOR = 128
# Anchors at one and the same time after which the path is given up.
_MAX_STUCK = 60


class _Trace:
    """One path: anchors, compiled loop, and the knots it found."""

    def __init__(self, problem, g, end, limit):
        self.problem = problem
        coef = np.zeros_like(g)
        coef[:, problem.unpenalized] = problem.null_coef
        self.response = problem.sqrt_weight * (
            problem.y - problem.fit_intercept * problem.null_intercept[:, None]
        )
        size = float(np.linalg.norm(self.response))
        self.anchor = Anchor(
            problem, np.zeros_like(g), g, coef, 0.15 * size, weighted=True
        )
        self.state = np.zeros(1, _STATE)
        self.state["end"], self.state["size"] = end, size
        self.state["limit"] = limit
        self.rows = [(np.zeros(1), problem.unpenalized, problem.null_coef)]
        self.n_anchors = 0
        self.factored = None  # active features in the order of their factor, and it

    def run(self, fields):
        status, stuck = ANCHOR, 0
        while status == ANCHOR:
            self._load()
            before = float(self.state["t"][0])
            status = AGAIN
            while status == AGAIN:
                self.state["n_knots"] = 0
                status = _iss_loop(
                    self.anchor.gram,
                    self.anchor.norm,
                    self.problem.weights[self.anchor.features],
                    self.problem.penalty.positive,
                    self.work,
                    self.state.view(np.recarray),
                    self.knots,
                    self.coefs,
                )
                n = int(self.state["n_knots"][0])
                if n:
                    self.rows.append(
                        (
                            self.knots[:n].copy(),
                            self.anchor.features,
                            self.coefs[:n].copy(),
                        )
                    )
            if status == ANCHOR:
                stuck = stuck + 1 if float(self.state["t"][0]) == before else 0
                if stuck > _MAX_STUCK:
                    status = ILL_CONDITIONED
                else:
                    self._unload(stuck > 0)
        return self._path(STATUS[status], fields)

    def _load(self):
        """Lay out what the loop needs for the columns chosen at this anchor."""
        anchor, state = self.anchor, self.state
        self.n_anchors += 1
        active = anchor.choose(at_once=0.0)
        T = len(anchor.features)
        coef = anchor.coef[0, anchor.features]
        factor, members = np.zeros((T, T)), np.arange(T)
        if self.factored is None:
            state["a"] = _factorize(anchor.gram, active, factor, members)
        else:  # the active columns are those of before, at other places
            features, known = self.factored
            a = len(features)
            place = np.full(len(self.problem.norms), -1)
            place[anchor.features] = members
            members[:a] = place[features]
            factor[:a, :a] = known
        rows = {
            name: np.zeros(T) for name in ("since", "ahead", "wait", "sign", "step")
        }
        self.work = _Work(
            rho=anchor.z[0, anchor.features],
            g=np.where(np.arange(T) < active, 0.0, anchor.g[0, anchor.features]),
            coef=coef,
            coef_anchor=coef.copy(),
            active=np.arange(T) < active,
            blocked=np.zeros(T, dtype=np.bool_),
            members=members,
            factor=factor,
            **rows,
        )
        self.knots, self.coefs = np.empty(_ROWS), np.empty((_ROWS, T))
        state["t_anchor"] = state["t_refined"] = state["t"]
        state["certified"], state["budget"] = anchor.time, anchor.budget
        state["out_of_budget"] = False
        state["complete"] = self._is_complete()

    def _is_complete(self):
        """Whether no dual of any column can move any more."""
        anchor, problem = self.anchor, self.problem
        g = anchor.g[0] if problem.penalty.positive else np.abs(anchor.g[0])
        level = _rounding(float(self.state["size"][0]), problem.norms, anchor.coef[0])
        return bool(
            (g[anchor.coef[0] == 0] <= level * problem.norms[anchor.coef[0] == 0]).all()
        )

    def _unload(self, stuck):
        """Make the duals of all columns exact again."""
        problem, anchor, work = self.problem, self.anchor, self.work
        score = self._refine()
        anchor.coef[0, anchor.features] = work.coef
        accumulated = -anchor.store.apply(work.since)[None]
        elapsed = float(self.state["t"][0] - self.state["t_anchor"][0])
        anchor.move(
            elapsed,
            accumulated * problem.sqrt_weight,
            score * problem.sqrt_weight,
            bool(self.state["out_of_budget"][0]),
        )
        anchor.z[0, anchor.features] = work.rho
        a = int(self.state["a"][0])
        self.factored = None
        if a > _REFACTOR and not stuck:
            self.factored = anchor.features[work.members[:a]], work.factor[:a, :a]
        if stuck:
            # The next event is beyond what was certified: allow for less change.
            anchor.rate *= 0.25

    def _refine(self):
        """Fit the coefficients once more, to residuals instead of the Gram matrix.

        Returns the residual (1, n_samples). Updates in Gram space add up their rounding
        from event to event, and have the squared condition number.
        """
        anchor, work = self.anchor, self.work
        residual = self.response - anchor.store.apply(work.coef)
        a = int(self.state["a"][0])
        members = work.members[:a]
        step = anchor.store.correlate(residual[0])[members]
        _solve(work.factor, a, step)
        work.coef[members] += step
        knots, features, coefs = self.rows[-1]
        if features is anchor.features and knots[-1] == self.state["t"][0]:
            coefs[-1] = work.coef  # holds for long: its gradient error adds up
        return self.response - anchor.store.apply(work.coef)

    def _path(self, status, fields):
        columns = np.unique(np.concatenate([row[1] for row in self.rows]))
        knots = np.concatenate([row[0] for row in self.rows])
        coefs = np.zeros((len(knots), 1, len(columns)))
        start = 0
        for t, features, values in self.rows:
            where = np.searchsorted(columns, features)
            coefs[start : start + len(t), 0, where] = values
            start += len(t)
        # Events at one and the same time make one knot.
        last = np.append(np.diff(knots) > 0, True)
        knots, coefs = knots[last], coefs[last]
        if not self._is_stationary(columns, coefs[-1]):
            status = "ill_conditioned"
        end = float(self.state["end"][0])
        if status == "t_max" and end > knots[-1]:
            knots = np.append(knots, end)
            coefs = np.concatenate([coefs, coefs[-1:]])
        messages = {
            "t_max": f"The path reached t_max={end:.6g}.",
            "max_features": (
                "The path ended before more than "
                f"max_features={int(self.state['limit'][0])} features were active."
            ),
            "least_squares": (
                "The path is complete: the last knot is a least-squares fit of all "
                "features."
            ),
            "ill_conditioned": (
                f"The path ended at t={knots[-1]:.6g}; its late knots are not to be "
                "trusted: the active columns are so nearly dependent that rounding "
                "decides. Fit an intercept, standardize, or drop near-duplicates."
            ),
        }
        return build_path(
            self.problem,
            knots,
            columns,
            coefs,
            None,
            events=self._events(knots, columns, coefs[:, 0]),
            status=status,
            message=messages[status],
            n_iter=len(knots) - 1,
            info={"n_anchors": self.n_anchors},
            **fields,
        )

    def _is_stationary(self, columns, coef):
        """Whether the fit of the last knot is one, judged by its residuals."""
        support = columns[coef[0] != 0]
        block = self.problem.columns(support)
        residual = self.response[0] - block @ coef[0, coef[0] != 0]
        g = np.abs(residual @ block)
        level = _STATIONARY * float(self.state["size"][0])
        return bool((g <= level * self.problem.norms[support]).all())

    def _events(self, knots, columns, coefs):
        """Every change of sign between knots, as leaving and entering."""
        sign = np.sign(coefs)
        sign[:, self.problem.weights[columns] == 0] = 0.0
        before, after = sign[:-1], sign[1:]
        left = np.nonzero((before != 0) & (after != before))
        entered = np.nonzero((after != 0) & (after != before))
        return build_events(
            self.problem,
            knots[1:][np.append(left[0], entered[0])],
            columns[np.append(left[1], entered[1])],
            -1,
            np.append(2 * before[left], after[entered]),
        )
