"""What a loop of LBI writes down: events, and as few knots as straight lines allow."""

import numpy as np

from .._kernels import inner
from ..penalties.base import crossing, shrink

# Straight lines between knots stay within this fraction of the largest (standardized)
# coefficient so far at every look; between looks a little more is possible.
TOLERANCE = 0.0015


@inner
def support_changed(coef, coef_before, weight, a, entrywise):
    """Whether a penalized coefficient became or ceased to be zero, or flipped.

    A coefficient of an active group may pass through zero without being in an event.
    """
    changed = 0
    for k in range(coef.shape[0]):
        for i in range(a):
            p = coef_before[k, i]
            c = coef[k, i]
            event = ((c != 0.0) != (p != 0.0)) | ((c * p < 0.0) & entrywise)
            changed += event & (weight[i] > 0.0)
    return changed > 0


@inner
def support_size(work, a):
    size = 0
    for i in range(a):
        active = False
        for k in range(work.z.shape[0]):
            active |= work.coef[k, i] != 0.0
        size += active & (work.weight[i] > 0.0)
    return size


@inner
def write_events(penalty, work, cone, record, states, t_before, t):
    s = states[0]
    for k in range(work.z.shape[0]):
        for i in range(s.a):
            p = work.coef_before[k, i]
            c = work.coef[k, i]
            flipped = c * p < 0.0 and s.entrywise
            if work.weight[i] == 0.0 or ((c != 0.0) == (p != 0.0) and not flipped):
                continue
            low, high = work.low[i], work.high[i]
            if p != 0.0:
                back = crossing(
                    penalty, work.z, work.z_before, work.weight, k, i, low, high
                )
                cone.left[k, i] = t - back * (t - t_before)
                _write_event(work, record, states, cone.left[k, i], k, i, -1, p)
            if c != 0.0:
                there = crossing(
                    penalty, work.z_before, work.z, work.weight, k, i, low, high
                )
                cone.entered[k, i] = t_before + there * (t - t_before)
                _write_event(work, record, states, cone.entered[k, i], k, i, 1, c)


@inner
def _write_event(work, record, states, t, k, i, kind, coef):
    s = states[0]
    e = s.n_events
    record.event_t[e] = t
    record.event_column[e] = work.column[i]
    record.event_output[e] = k
    # 1 and -1: enters with that sign; 2 and -2: leaves, having had that sign.
    record.event_sign[e] = (1 if kind > 0 else 2) * (1 if coef > 0.0 else -1)
    s.n_events += 1


@inner
def interpolate(penalty, work, cone, kappa, a, t_before, t, t_after):
    """Coefficients at t between two iterates: the dual is linear there."""
    share = (t - t_before) / (t_after - t_before) if t_after > t_before else 1.0
    z = np.empty_like(work.z)
    for k in range(work.z.shape[0]):
        for i in range(a):
            z[k, i] = work.z_before[k, i] + share * (work.z[k, i] - work.z_before[k, i])
    n_blocks = np.searchsorted(work.ptr, a)
    shrink(penalty, z, work.weight, work.ptr[: n_blocks + 1], kappa, cone.scratch)


@inner
def write_row(work, cone, record, states, t, coef):
    """Write a knot and start every cone there."""
    s = states[0]
    r = s.n_rows
    record.t[r] = t
    record.width[r] = s.a
    for k in range(work.z.shape[0]):
        for i in range(s.a):
            c = coef[k, i]
            record.coef[r, k, i] = c
            cone.live[k, i] = c != 0.0 or work.weight[i] == 0.0
            cone.origin_t[k, i] = t
            cone.origin[k, i] = c
            cone.slope_low[k, i] = -np.inf
            cone.slope_high[k, i] = np.inf
    s.n_rows += 1
    s.t_row = t


@inner
def look(work, cone, record, states, t, coef):
    """Compare the coefficients at t with straight lines from the last knot.

    A knot is written at the previous look when some line would miss a coefficient
    seen since by more than the tolerance.
    """
    s = states[0]
    K = work.z.shape[0]
    missed = False
    for k in range(K):
        for i in range(s.a):
            if not cone.live[k, i]:
                continue
            c = coef[k, i]
            until = t
            flipped = c * cone.sample[k, i] < 0.0 and s.entrywise
            if (c == 0.0 or flipped) and work.weight[i] > 0.0:  # it left on the way
                c = 0.0
                until = cone.left[k, i]
            d = c - cone.origin[k, i]
            span = until - cone.origin_t[k, i]
            missed |= (d < cone.slope_low[k, i] * span) | (
                d > cone.slope_high[k, i] * span
            )
    if missed and s.t_look > s.t_row:
        write_row(work, cone, record, states, s.t_look, cone.sample)
    for k in range(K):
        for i in range(s.a):
            if i != s.intercept:
                s.top = max(s.top, abs(coef[k, i]))
    slack = TOLERANCE * s.top
    for k in range(K):
        for i in range(s.a):
            c = coef[k, i]
            if c == 0.0 and work.weight[i] > 0.0:
                cone.live[k, i] = False
            else:
                flipped = c * cone.sample[k, i] < 0.0 and s.entrywise
                if (flipped and work.weight[i] > 0.0) or not cone.live[k, i]:
                    cone.live[k, i] = True
                    cone.origin_t[k, i] = cone.entered[k, i]
                    cone.origin[k, i] = 0.0
                    cone.slope_low[k, i] = -np.inf
                    cone.slope_high[k, i] = np.inf
                span = t - cone.origin_t[k, i]
                if span > 0.0:
                    d = c - cone.origin[k, i]
                    cone.slope_low[k, i] = max(cone.slope_low[k, i], (d - slack) / span)
                    cone.slope_high[k, i] = min(
                        cone.slope_high[k, i], (d + slack) / span
                    )
            cone.sample[k, i] = c
    s.t_look = t
