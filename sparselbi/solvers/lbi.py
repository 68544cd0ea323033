"""Discrete Linearized Bregman Iteration, at the cost of its active set.

The iteration ``z += step * (-gradient)``, ``coef = kappa * shrink(z)`` touches every
column in each step when written down plainly. Here, between two *anchors* at which all
duals are computed exactly, only the active columns are advanced; a few *candidate*
columns are looked at when they might reach their threshold; and for all others a bound
on the accumulated change of the score certifies that they do not. The iterates are
those of the plain loop up to rounding.
"""

import numpy as np

from .._kernels import inner, jit
from ..penalties.base import horizon, shrink
from ..problem import check_positive
from ._lbi_trace import STATUS, LBITrace
from ._models import (
    advance,
    gradient,
    is_saturated,
    join,
    make_reference,
    settle,
    tracked_duals,
    tracked_slopes,
)
from ._recording import (
    interpolate,
    look,
    support_changed,
    support_size,
    write_events,
    write_row,
)
from ._workspace import (
    AGAIN,
    ANCHOR,
    MAX_FEATURES,
    NONFINITE,
    SATURATED,
    T_MAX,
    UNSTABLE,
)
from .base import (
    check_count,
    first_entry_time,
    hessian_bound,
    hessian_norm,
    null_path,
)

# The automatic step is halved when the active columns show that it is unstable.
_MAX_RESTARTS = 20
# A curvature at the null model below this fraction of its bound is worth a try.
_FLAT = 0.1


def lbi_path(
    problem,
    *,
    kappa=30.0,
    kappa_raw=None,
    step_size="auto",
    t_max=None,
    n_knots=100,
    max_features=None,
    norm_bound=None,
):
    """Trace the path of Linearized Bregman Iteration.

    Starting from the null model, with standardized columns and the mean loss L,::

        z    <- z - step_size * gradient of L at coef
        coef <- kappa_raw * shrink(z, penalty_factor)

    Path time t is ``step_size`` times the number of steps. Nothing but unpenalized
    columns can change before ``t0 = 1 / max |gradient|`` (relative to the thresholds),
    so the iteration starts there. For large `kappa` the path tends to the exact inverse
    scale space path (`iss_path`).

    Parameters
    ----------
    problem : Problem
    kappa : float, default=30.0
        Damping, dimensionless: ``kappa_raw = kappa * s_y / s_X``, with the spread of
        the target (1 for classification, robust for Huber's loss) and the root mean
        variance of the columns as used.
    kappa_raw : float, default=None
        The damping itself; replaces `kappa`.
    step_size : "auto" or float, default="auto"
        "auto" is half of the stability limit ``2 / (kappa_raw * H)``, H being the
        largest eigenvalue of the Hessian bound, estimated by a few Lanczos steps. Where
        the Hessian of a classification is much smaller at the null model (rare
        classes, many classes), H is that one, provided that it stays below 2 H along
        the path; otherwise H grows until it does.
    t_max : float, default=None
        Where the path ends; None is 100 times t0.
    n_knots : int, default=100
        Knots on a logarithmic grid from t0 to t_max. Further knots are added so that
        `RegularizationPath.at` is within 0.5 % of the exact iterate in between:
        of the largest coefficient so far, on the standardized scale.
    max_features : int, default=None
        The path ends before more features than this are active.
    norm_bound : float, default=None
        A bound of the spectral norm H that is known to hold for all coefficients that
        can be active together. None: it is estimated, and checked along the path.

    Returns
    -------
    RegularizationPath
        With ``knots[0] = t0``, the null model. ``status`` is "t_max", "max_features",
        "saturated" (the mean loss of a classification fell below 0.1 % of the null
        model's: the classes are separated) or "null" (no feature can ever enter).

    Raises
    ------
    ValueError
        If an argument is out of range or `step_size` is unstable.

    References
    ----------
    S. Osher, F. Ruan, J. Xiong, Y. Yao, W. Yin. Sparse recovery via differential
    inclusions. Applied and Computational Harmonic Analysis 41 (2016), arXiv:1406.7728.
    """
    kappa_raw, kappa = _resolve_kappa(problem, kappa, kappa_raw)
    t_max = None if t_max is None else check_positive("t_max", t_max)
    if not isinstance(n_knots, (int, np.integer)) or n_knots < 2:
        raise ValueError(f"n_knots={n_knots!r} must be an integer of at least 2.")
    limit = check_count("max_features", max_features)

    g = problem.correlate(problem.null_score)
    t0 = first_entry_time(problem, g)
    fields = {
        "knot_name": "t",
        "interpolation": "linear",
        "method": "lbi",
        "t0": t0,
        "kappa": kappa,
        "kappa_raw": kappa_raw,
    }
    if t0 == np.inf or (t_max is not None and t_max <= t0):
        return null_path(problem, {**fields, "step_size": None}, t_max)
    norm = norm_bound
    if norm is None:
        steepest = g[0] if len(g) == 1 else g[np.argmax((g**2).sum(1))]
        norm = hessian_norm(problem, steepest)
    automatic = isinstance(step_size, str)
    if automatic and step_size != "auto":
        raise ValueError(
            f"step_size={step_size!r} is unknown; use 'auto' or a positive number."
        )
    share = _curvature_share(problem) if automatic else 1.0
    limit_step = 2.0 / (kappa_raw * norm * share)
    step = 0.5 * limit_step if automatic else check_positive("step_size", step_size)
    t_max = 100.0 * t0 if t_max is None else t_max
    for restarts in range(_MAX_RESTARTS):
        if step >= limit_step:
            break
        trace = LBITrace(
            problem,
            g,
            t0,
            kappa_raw,
            step,
            t_max,
            n_knots,
            limit,
            share,
            norm_limit=None if norm_bound is None else np.inf,
        )
        status = trace.run(_lbi_loop)
        if status in STATUS and trace.is_stable():
            info = {
                "n_restarts": restarts,
                "n_knots": int(n_knots),
                "step_rule": "auto" if automatic else "given",
            }
            return trace.path(STATUS[status], fields, info)
        if share < 1.0:
            share = min(1.0, 4.0 * share)
            limit_step = 2.0 / (kappa_raw * norm * share)
        else:
            # The norm was estimated from below; active columns show that it is larger.
            limit_step = step
        if automatic:
            step = 0.5 * limit_step
    raise ValueError(
        f"step_size={step_size!r} is unstable: with kappa_raw={kappa_raw:.6g} it must "
        f"be below {limit_step:.6g}; use step_size='auto'."
    )


@jit
def _lbi_loop(model, penalty, work, tracked, cone, record, states):
    s = states[0]
    K = work.z.shape[0]
    m_stop = s.m + s.chunk
    while True:
        a = s.a
        room = len(record.t) - s.n_rows
        if (
            s.m >= m_stop
            or room < len(record.grid) - s.i_grid + 3
            or len(record.event_t) - s.n_events < 4 * K * work.z.shape[1]
        ):
            return AGAIN
        t = s.t_start + s.m * s.step
        t_before = s.t_start + s.m_before * s.step

        if not s.fresh:
            joined = False
            if s.due:
                s.used_anchor = settle(model, work, a, (s.m - s.m_ref) * s.step)
                joined = _enter(model, penalty, work, tracked, states)
                if joined and not _is_stable(work.gram, s.a, s.limit):
                    return UNSTABLE
                a = s.a
            changed = joined or support_changed(
                work.coef, work.coef_before, work.weight, a, s.entrywise
            )
            if changed:
                if support_size(work, a) > s.max_features:
                    if t_before > s.t_row:
                        write_row(
                            work, cone, record, states, t_before, work.coef_before
                        )
                    return MAX_FEATURES
                write_events(penalty, work, cone, record, states, t_before, t)
                s.m_event = s.m
                s.still = False
            while s.i_grid < len(record.grid) and record.grid[s.i_grid] <= t:
                t_grid = record.grid[s.i_grid]
                interpolate(penalty, work, cone, s.kappa, a, t_before, t_grid, t)
                look(work, cone, record, states, t_grid, cone.scratch)
                if t_grid > s.t_row:
                    write_row(work, cone, record, states, t_grid, cone.scratch)
                s.i_grid += 1
                if is_saturated(model, s.saturated):
                    return SATURATED
            if s.i_grid == len(record.grid):
                return T_MAX
            if changed or s.m >= s.m_look:
                look(work, cone, record, states, t, work.coef)
                # Relaxation after an event is fast at first, then slower and slower.
                s.m_look = s.m + 1 + (s.m - s.m_event) // 16
        s.fresh = False

        gradient(model, work, a)

        if s.due:
            distance = make_reference(model, work, a)
            for k in range(K):
                for i in range(a):
                    work.z_ref[k, i] = work.z[k, i]
                    work.g_ref[k, i] = work.g[k, i]
                    work.coef_ref[k, i] = work.coef[k, i]
            if s.m > s.m_ref:
                if s.over:
                    s.rate *= 2.0
                elif s.used < (0.25 * s.ref_budget) ** 2:
                    s.rate *= 0.5
            s.m_ref = s.m
            s.n_refs += 1
            s.used = 0.0
            s.due = s.over = False
            rate = 0.0 if s.still else s.rate
            reach = _candidate_reach(model, penalty, work, tracked, states, rate)
            time = s.anchor_time - (s.m - s.m_anchor) * s.step
            budget = s.anchor_budget - s.used_anchor
            certified = min(time, budget / max(distance + rate, 1e-300))
            if s.m > s.m_anchor and certified < max(
                s.step, min(0.25 * reach, 16 * s.step)
            ):
                s.due = s.fresh = True
                s.out_of_budget = certified < time
                return ANCHOR
            time = min(reach, certified)
            s.ref_budget = rate * time
            # The first step that may bring a candidate in is taken and looked at; one
            # that may bring in a column that is not tracked is not.
            s.look_beyond = reach + s.step <= certified
            s.m_due = s.m + max(1, int(min(time / s.step, 1e15)) + s.look_beyond)

        m = s.m_before = s.m
        if s.still:
            # The score is constant: jump to the last step at which nothing can enter.
            last = int((record.grid[-1] - s.t_start) / s.step) + 1
            s.m = max(s.m + 1, min(s.m_due - s.look_beyond, last))
            _stand_still(work, a)
            s.still = False
            s.due = True
            continue
        m_end = min(s.m_due, s.m_look)
        m_grid = int((record.grid[s.i_grid] - s.t_start) / s.step)
        m_end = min(m_end, min(m_grid, m_stop))
        if advance(model, penalty, work, states, m_end):
            return NONFINITE
        if s.m == m:  # the step was refused
            _stand_still(work, a)
        s.m_before = max(s.m - 1, m)
        s.over = s.due and not s.still
        s.due |= s.m >= s.m_due


@inner
def _stand_still(work, a):
    """Make the previous iterate equal to the present one."""
    for k in range(work.z.shape[0]):
        for i in range(a):
            work.z_before[k, i] = work.z[k, i]
            work.coef_before[k, i] = work.coef[k, i]


@inner
def _candidate_reach(model, penalty, work, tracked, states, rate):
    """Least time in which a candidate may reach its threshold."""
    s = states[0]
    tracked_duals(model, work, tracked, s.a, (s.m - s.m_anchor) * s.step)
    tracked_slopes(model, work, tracked, work.coef, s.a)
    for b in range(len(tracked.norm)):
        tracked.slack[b] = tracked.norm[b] * rate
    horizon(
        penalty,
        tracked.dual,
        tracked.slope,
        tracked.slack,
        tracked.weight,
        tracked.ptr,
        tracked.reach,
    )
    least = np.inf
    for b in range(len(tracked.stepped)):
        if not tracked.stepped[b]:
            least = min(least, tracked.reach[b])
    return least


@inner
def _enter(model, penalty, work, tracked, states):
    """Step the candidates that are beyond their threshold now."""
    s = states[0]
    K = work.z.shape[0]
    known = s.a  # the model knows these columns; more are appended below
    tracked_duals(model, work, tracked, known, (s.m - s.m_anchor) * s.step)
    shrink(penalty, tracked.dual, tracked.weight, tracked.ptr, s.kappa, tracked.coef)
    joined = False
    for b in range(len(tracked.stepped)):
        low, high = tracked.ptr[b], tracked.ptr[b + 1]
        active = False
        for t in range(low, high):
            for k in range(K):
                active |= tracked.coef[k, t] != 0.0
        if tracked.stepped[b] or not active:
            continue
        if not joined:
            tracked_slopes(model, work, tracked, work.coef_before, known)
            joined = True
        tracked.stepped[b] = True
        start = s.a
        for t in range(low, high):
            i = s.a
            work.column[i] = t
            work.low[i] = start
            work.high[i] = start + high - low
            work.weight[i] = tracked.weight[t]
            for k in range(K):
                work.z[k, i] = tracked.dual[k, t]
                work.z_before[k, i] = tracked.dual[k, t] - s.step * tracked.slope[k, t]
                work.coef[k, i] = tracked.coef[k, t]
                work.g_anchor[k, i] = model.slope[k, t]
            join(model, work, i, t)
            s.a += 1
        s.n_blocks += 1
        work.ptr[s.n_blocks] = s.a
    return joined


@inner
def _is_stable(gram, a, limit):
    """Check that the Gram matrix of the stepped columns has a norm below `limit`."""
    largest = 0.0
    for i in range(a):
        row = 0.0
        for j in range(a):
            row += abs(gram[i, j])
        largest = max(largest, row)
    if largest < limit:
        return True
    v = np.ones(a)
    u = np.empty(a)
    for i in range(a):
        v[i] += 1e-3 * np.sin(i + 1.0)
    norm = 0.0
    for _ in range(50):
        total = 0.0
        for i in range(a):
            u[i] = 0.0
            for j in range(a):
                u[i] += gram[i, j] * v[j]
            total += u[i] * u[i]
        norm = np.sqrt(total)
        for i in range(a):
            v[i] = u[i] / norm
    return norm < limit


def _curvature_share(problem):
    """Curvature of the loss at the null model, as a fraction of its bound.

    Both are equal for even odds. For rare or many classes the bound would make steps
    far too short.
    """
    if not problem.loss.saturates:
        return 1.0
    # Without unpenalized columns all samples have the same linear predictor.
    some = slice(None) if problem.unpenalized.size else slice(1)
    y, eta = problem.y[:, some], problem.null_eta[:, some]
    share = hessian_bound(problem.loss, y, eta).max() / problem.loss.curvature
    return float(share) if share < _FLAT else 1.0


def _resolve_kappa(problem, kappa, kappa_raw):
    """Return (kappa_raw, kappa); the raw value wins."""
    unit = problem.s_y / problem.s_X
    if kappa_raw is not None:
        kappa_raw = check_positive("kappa_raw", kappa_raw)
        return kappa_raw, kappa_raw / unit if unit > 0 else np.nan
    kappa = check_positive("kappa", kappa)
    return (kappa * unit if unit > 0 else kappa), kappa
