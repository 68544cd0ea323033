"""What a loop of LBI writes down: events, and as few knots as straight lines allow."""

import numpy as np

from .._kernels import jit
from ..penalties.base import crossing, shrink

# Between knots at(t) stays within this fraction of the largest coefficient so far.
TOLERANCE = 0.0025


@jit
def support_changed(work, a):
    changed = 0
    for k in range(work.z.shape[0]):
        for i in range(a):
            p = work.coef_before[k, i]
            c = work.coef[k, i]
            flipped = ((c != 0.0) != (p != 0.0)) | (c * p < 0.0)
            changed += flipped & (work.weight[i] > 0.0)
    return changed > 0


@jit
def support_size(work, a):
    size = 0
    for i in range(a):
        active = False
        for k in range(work.z.shape[0]):
            active |= work.coef[k, i] != 0.0
        size += active & (work.weight[i] > 0.0)
    return size


@jit
def write_events(penalty, work, record, states, t_before, t):
    s = states[0]
    for k in range(work.z.shape[0]):
        for i in range(s.a):
            p = work.coef_before[k, i]
            c = work.coef[k, i]
            if work.weight[i] == 0.0 or ((c != 0.0) == (p != 0.0) and c * p >= 0.0):
                continue
            low, high = work.low[i], work.high[i]
            if p != 0.0:
                back = crossing(
                    penalty, work.z, work.z_before, work.weight, k, i, low, high
                )
                work.left[k, i] = t - back * (t - t_before)
                _write_event(work, record, states, work.left[k, i], k, i, -1, p)
            if c != 0.0:
                there = crossing(
                    penalty, work.z_before, work.z, work.weight, k, i, low, high
                )
                work.entered[k, i] = t_before + there * (t - t_before)
                _write_event(work, record, states, work.entered[k, i], k, i, 1, c)


@jit
def _write_event(work, record, states, t, k, i, kind, coef):
    s = states[0]
    e = s.n_events
    record.event_t[e] = t
    record.event_column[e] = work.column[i]
    record.event_output[e] = k
    # 1 and -1: enters with that sign; 2 and -2: leaves, having had that sign.
    record.event_sign[e] = (1 if kind > 0 else 2) * (1 if coef > 0.0 else -1)
    s.n_events += 1


@jit
def interpolate(penalty, work, kappa, a, t_before, t, t_after):
    """Coefficients at t between two iterates: the dual is linear there."""
    share = (t - t_before) / (t_after - t_before) if t_after > t_before else 1.0
    z = np.empty_like(work.z)
    for k in range(work.z.shape[0]):
        for i in range(a):
            z[k, i] = work.z_before[k, i] + share * (work.z[k, i] - work.z_before[k, i])
    n_blocks = np.searchsorted(work.ptr, a)
    shrink(penalty, z, work.weight, work.ptr[: n_blocks + 1], kappa, work.scratch)


@jit
def write_row(work, record, states, t, coef):
    """Write a knot and start every cone there."""
    s = states[0]
    r = s.n_rows
    record.t[r] = t
    record.width[r] = s.a
    for k in range(work.z.shape[0]):
        for i in range(s.a):
            c = coef[k, i]
            record.coef[r, k, i] = c
            work.live[k, i] = c != 0.0 or work.weight[i] == 0.0
            work.origin_t[k, i] = t
            work.origin[k, i] = c
            work.slope_low[k, i] = -np.inf
            work.slope_high[k, i] = np.inf
    s.n_rows += 1
    s.t_row = t


@jit
def look(work, record, states, t, coef):
    """Compare the coefficients at t with straight lines from the last knot.

    A knot is written at the previous look when some line would miss a coefficient
    seen since by more than the tolerance.
    """
    s = states[0]
    K = work.z.shape[0]
    missed = False
    for k in range(K):
        for i in range(s.a):
            if not work.live[k, i]:
                continue
            c = coef[k, i]
            until = t
            if c * work.sample[k, i] <= 0.0 and work.weight[i] > 0.0:  # it left
                c = 0.0
                until = work.left[k, i]
            d = c - work.origin[k, i]
            span = until - work.origin_t[k, i]
            missed |= (d < work.slope_low[k, i] * span) | (
                d > work.slope_high[k, i] * span
            )
    if missed and s.t_look > s.t_row:
        write_row(work, record, states, s.t_look, work.sample)
    top = s.scale
    for k in range(K):
        for i in range(s.a):
            top = max(top, abs(coef[k, i]))
    s.scale = top
    slack = TOLERANCE * top
    for k in range(K):
        for i in range(s.a):
            c = coef[k, i]
            if c == 0.0 and work.weight[i] > 0.0:
                work.live[k, i] = False
            else:
                flipped = c * work.sample[k, i] < 0.0 and work.weight[i] > 0.0
                if flipped or not work.live[k, i]:
                    work.live[k, i] = True
                    work.origin_t[k, i] = work.entered[k, i]
                    work.origin[k, i] = 0.0
                    work.slope_low[k, i] = -np.inf
                    work.slope_high[k, i] = np.inf
                span = t - work.origin_t[k, i]
                if span > 0.0:
                    d = c - work.origin[k, i]
                    work.slope_low[k, i] = max(work.slope_low[k, i], (d - slack) / span)
                    work.slope_high[k, i] = min(
                        work.slope_high[k, i], (d + slack) / span
                    )
            work.sample[k, i] = c
    s.t_look = t
