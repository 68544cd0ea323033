"""Compiled parts of one step of the joint iteration of Split LBI.

Arrays are (n_outputs, n_columns) for coefficients and (n_outputs, n_rows) for rows of
D, which are sorted by blocks. Products with X are left to BLAS.
"""

import numpy as np

from .._kernels import jit
from ..penalties.base import crossing, shrink


@jit
def couple(indptr, indices, data, coef, split, rest, pull):
    """rest = D coef - split, pull = D' rest, for D in compressed rows."""
    for k in range(len(coef)):
        pull[k] = 0.0
        for i in range(len(indptr) - 1):
            total = -split[k, i]
            for e in range(indptr[i], indptr[i + 1]):
                total += data[e] * coef[k, indices[e]]
            rest[k, i] = total
            for e in range(indptr[i], indptr[i + 1]):
                pull[k, indices[e]] += data[e] * total


@jit
def advance(
    penalty, kappa, step, nu, blocks, now, new, descent, pull, rest, scratch, entrywise
):
    """Write the next iterate; return the number of split coefficients in an event.

    Parameters
    ----------
    blocks : weight (m,), ptr (n_blocks + 1,), positive bool (m,) or (0,) for none
    now, new : coef, z, split each
    descent : minus the gradient of the loss, like coef
    pull, rest : see `couple`
    scratch : like z
    """
    weight, ptr, positive = blocks
    coef, z, split = now
    new_coef, new_z, new_split = new
    for k in range(len(coef)):
        for j in range(coef.shape[1]):
            move = descent[k, j] - pull[k, j] / nu
            new_coef[k, j] = coef[k, j] + kappa * step * move
        for i in range(z.shape[1]):
            new_z[k, i] = z[k, i] + step / nu * rest[k, i]
    shrink_rows(penalty, kappa, blocks, new_z, new_split, scratch)
    changed = 0
    for k in range(len(z)):
        for i in range(z.shape[1]):
            p = split[k, i]
            c = new_split[k, i]
            event = ((c != 0.0) != (p != 0.0)) | ((c * p < 0.0) & entrywise)
            changed += event
    return changed


@jit
def shrink_rows(penalty, kappa, blocks, z, split, scratch):
    """split = kappa * shrink(z), with the sign constraints of rows."""
    weight, ptr, positive = blocks
    if len(positive) == 0:
        shrink(penalty, z, weight, ptr, kappa, split)
        return
    for k in range(len(z)):
        for i in range(z.shape[1]):
            scratch[k, i] = max(z[k, i], 0.0) if positive[i] else z[k, i]
    shrink(penalty, scratch, weight, ptr, kappa, split)


@jit
def write_events(
    penalty, clipped, blocks, now, new, cone, entrywise, t_before, t, out_t, out_code
):
    """Write time, row, output and code (see `build_events`) of every event of a step.

    Parameters
    ----------
    clipped : the penalty of entries >= 0
    now, new : z, split each
    out_t : (E,);  out_code : (E, 3)

    Returns
    -------
    int
        The number of events.
    """
    weight, ptr, positive = blocks
    z, split = now
    new_z, new_split = new
    origin_t, origin, low, high, live, entered, left, sample = cone
    n = 0
    for b in range(len(ptr) - 1):
        first, last = ptr[b], ptr[b + 1]
        for k in range(len(z)):
            for i in range(first, last):
                p = split[k, i]
                c = new_split[k, i]
                flipped = c * p < 0.0 and entrywise
                if (c != 0.0) == (p != 0.0) and not flipped:
                    continue
                one_sign = len(positive) > 0 and positive[i]
                if p != 0.0:
                    share = _crossing(
                        penalty, clipped, one_sign, blocks, new_z, z, k, i, first, last
                    )
                    left[k, i] = t - share * (t - t_before)
                    out_t[n] = left[k, i]
                    out_code[n] = i, k, 2 if p > 0.0 else -2
                    n += 1
                if c != 0.0:
                    share = _crossing(
                        penalty, clipped, one_sign, blocks, z, new_z, k, i, first, last
                    )
                    entered[k, i] = t_before + share * (t - t_before)
                    out_t[n] = entered[k, i]
                    out_code[n] = i, k, 1 if c > 0.0 else -1
                    n += 1
    return n


@jit
def _crossing(penalty, clipped, one_sign, blocks, before, after, k, i, first, last):
    """Share of the way from `before` to `after` at which an entry becomes nonzero."""
    weight, ptr, positive = blocks
    if len(positive) == 0:
        return crossing(penalty, before, after, weight, k, i, first, last)
    if last == first + 1:
        if one_sign:
            return crossing(clipped, before, after, weight, k, i, first, last)
        return crossing(penalty, before, after, weight, k, i, first, last)
    # In a group only some rows may be bound to a sign.
    K = len(before)
    a = np.empty((K, last - first))
    c = np.empty((K, last - first))
    norm_a = 0.0
    norm_c = 0.0
    for o in range(K):
        for j in range(first, last):
            a[o, j - first] = max(before[o, j], 0.0) if positive[j] else before[o, j]
            c[o, j - first] = max(after[o, j], 0.0) if positive[j] else after[o, j]
            norm_a += a[o, j - first] ** 2
            norm_c += c[o, j - first] ** 2
    w = weight[first]
    if min(norm_a, norm_c) > w * w:
        # The group stays active, the entry changes sign on its own.
        start = before[k, i]
        return min(max(-start / (after[k, i] - start), 0.0), 1.0)
    return crossing(penalty, a, c, weight[first:last], k, i - first, 0, last - first)


# -- knots: as few as straight lines allow ---------------------------------------------
# A cone is a tuple of arrays for each coefficient: origin_t, origin (the last corner),
# low, high (slopes of lines from there that pass near everything seen since), live,
# entered, left (times of the last events), sample (value at the last look).


@jit
def misses(cone, values, t, smooth, entrywise):
    """Whether some line from its origin to the values at t misses what was seen."""
    origin_t, origin, low, high, live, entered, left, sample = cone
    missed = 0
    for k in range(len(values)):
        for i in range(values.shape[1]):
            if smooth or live[k, i]:
                c = values[k, i]
                until = t
                if not smooth and (
                    c == 0.0 or (entrywise and c * sample[k, i] < 0.0)
                ):  # it left on the way
                    c = 0.0
                    until = left[k, i]
                d = c - origin[k, i]
                span = until - origin_t[k, i]
                missed += (d < low[k, i] * span) | (d > high[k, i] * span)
    return missed > 0


@jit
def restart(cone, t, smooth):
    """Start every line at the last look, at time t."""
    origin_t, origin, low, high, live, entered, left, sample = cone
    for k in range(len(sample)):
        for i in range(sample.shape[1]):
            live[k, i] = smooth or sample[k, i] != 0.0
            origin_t[k, i] = t
            origin[k, i] = sample[k, i]
            low[k, i] = -np.inf
            high[k, i] = np.inf


@jit
def narrow(cone, values, t, slack, smooth, entrywise):
    """Take the values at t as seen: lines must pass within `slack`."""
    origin_t, origin, low, high, live, entered, left, sample = cone
    for k in range(len(values)):
        for i in range(values.shape[1]):
            c = values[k, i]
            if not smooth and c == 0.0:
                live[k, i] = False
            else:
                flipped = entrywise and c * sample[k, i] < 0.0
                if not smooth and (flipped or not live[k, i]):
                    live[k, i] = True
                    origin_t[k, i] = entered[k, i]
                    origin[k, i] = 0.0
                    low[k, i] = -np.inf
                    high[k, i] = np.inf
                span = t - origin_t[k, i]
                if span > 0.0:
                    d = c - origin[k, i]
                    low[k, i] = max(low[k, i], (d - slack) / span)
                    high[k, i] = min(high[k, i], (d + slack) / span)
            sample[k, i] = c
