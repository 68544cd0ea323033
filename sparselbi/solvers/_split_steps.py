"""Compiled passes over the rows of D, and compiled conjugate gradients.

One pass takes the dual variables of all rows over one step, thresholds them, writes
down which rows enter and leave, and adds up ``D.T @ split``. D comes in one of three
forms, each as a triple of arrays (a, b, values):

- PAIRS: row r is ``values[r] * (e[a[r]] - e[b[r]])``; equal values may come once;
- ROWS: compressed sparse rows, a = indptr, b = indices, values = data;
- GIVEN: the products ``D @ coef`` are given, and those with D.T are left to others.
"""

import numpy as np

from .._kernels import inner, jit

PAIRS, ROWS, GIVEN = 0, 1, 2


@inner
def _product(form, a, b, values, given, coef, r):
    """Row r of D times `coef`."""
    if form == PAIRS:
        value = values[r] if len(values) > 1 else values[0]
        return value * (coef[a[r]] - coef[b[r]])
    if form == GIVEN:
        return given[r]
    total = 0.0
    for k in range(a[r], a[r + 1]):
        total += values[k] * coef[b[k]]
    return total


@inner
def _scatter(form, a, b, values, r, split, scattered):
    """Add row r of D, times `split`, to `scattered`."""
    if form == PAIRS:
        change = split * (values[r] if len(values) > 1 else values[0])
        scattered[a[r]] += change
        scattered[b[r]] -= change
    elif form == ROWS:
        for k in range(a[r], a[r + 1]):
            scattered[b[k]] += split * values[k]


@jit
def move_rows(
    form,
    a,
    b,
    values,
    given,
    coef,
    z,
    low,
    high,
    kappa,
    pace,
    t,
    span,
    keep,
    split,
    scattered,
    event_t,
    event_row,
    event_code,
    n_events,
):
    """Take rows that are thresholded one by one from time t to time t + span.

    Parameters
    ----------
    form, a, b, values, given
        D, see above.
    coef : ndarray
        Dense coefficients at time t.
    z : ndarray of shape (m,)
        Duals at time t; overwritten if `keep`.
    low, high : ndarray of shape (m,) or (1,)
        Row r is at zero while its dual is in [low, high]; infinite ends are allowed.
    pace : float
        ``span / nu``.
    keep : bool
        Whether to store duals and events, or only to look.
    split : ndarray of shape (m,) or (0,)
        Receives the split coefficients at t + span, unless empty.
    scattered : ndarray
        ``D.T @ split`` is added to it.
    event_t, event_row, event_code : ndarray
        Receive events from position `n_events` on: 1 and -1 is an entry with that sign,
        2 and -2 the end of one. There must be room for two per row.

    Returns
    -------
    n_active, n_events : int
    """
    several, store = len(low) > 1, len(split) > 0
    n_active = 0
    for r in range(len(z)):
        bottom, top = (low[r], high[r]) if several else (low[0], high[0])
        before = z[r]
        old = before - min(max(before, bottom), top)
        slope = _product(form, a, b, values, given, coef, r) - kappa * old
        after = before + pace * slope
        new = after - min(max(after, bottom), top)
        if store:
            split[r] = kappa * new
        if new != 0.0:
            n_active += 1
            _scatter(form, a, b, values, r, kappa * new, scattered)
        if not keep:
            continue
        z[r] = after
        if (old != 0.0) == (new != 0.0) and old * new >= 0.0:
            continue
        if old != 0.0:
            edge = top if old > 0.0 else bottom
            event_t[n_events] = t + span * _share(edge - before, after - before)
            event_row[n_events] = r
            event_code[n_events] = 2 if old > 0.0 else -2
            n_events += 1
        if new != 0.0:
            edge = top if new > 0.0 else bottom
            event_t[n_events] = t + span * _share(edge - before, after - before)
            event_row[n_events] = r
            event_code[n_events] = 1 if new > 0.0 else -1
            n_events += 1
    return n_active, n_events


@jit
def move_blocks(
    form,
    a,
    b,
    values,
    given,
    coef,
    z,
    floor,
    weight,
    ptr,
    kappa,
    pace,
    t,
    span,
    keep,
    split,
    scattered,
    event_t,
    event_row,
    event_code,
    n_events,
):
    """Take rows that are thresholded in blocks from time t to time t + span.

    As `move_rows`, but rows ptr[k] to ptr[k + 1] are at zero while the norm of their
    duals, those below `floor` (m,) raised to it, is at most weight[k].
    """
    store = len(split) > 0
    n_active = 0
    longest = 0
    for k in range(len(weight)):
        longest = max(longest, ptr[k + 1] - ptr[k])
    fresh = np.empty(longest)
    for k in range(len(weight)):
        start, stop, edge = ptr[k], ptr[k + 1], weight[k]
        square_before = 0.0
        for r in range(start, stop):
            square_before += max(z[r], floor[r]) ** 2
        old = _factor(square_before, edge)
        square_after = 0.0
        for r in range(start, stop):
            slope = _product(form, a, b, values, given, coef, r)
            slope -= kappa * old * max(z[r], floor[r])
            fresh[r - start] = z[r] + pace * slope
            square_after += max(fresh[r - start], floor[r]) ** 2
        new = _factor(square_after, edge)
        share = 0.0
        if keep and (old > 0.0) != (new > 0.0):
            cross = 0.0
            for r in range(start, stop):
                cross += max(z[r], floor[r]) * max(fresh[r - start], floor[r])
            share = _sphere_share(square_before, cross, square_after, edge, new > 0.0)
        for r in range(start, stop):
            before, after = z[r], fresh[r - start]
            old_split = kappa * old * max(before, floor[r])
            new_split = kappa * new * max(after, floor[r])
            if store:
                split[r] = new_split
            if new_split != 0.0:
                n_active += 1
                _scatter(form, a, b, values, r, new_split, scattered)
            if not keep:
                continue
            z[r] = after
            if (old_split != 0.0) == (new_split != 0.0):
                continue
            when = share
            if (old > 0.0) == (new > 0.0):  # a sign constraint begins or ends to bind
                when = _share(-before, after - before)
            event_t[n_events] = t + span * when
            event_row[n_events] = r
            if new_split != 0.0:
                event_code[n_events] = 1 if new_split > 0.0 else -1
            else:
                event_code[n_events] = 2 if old_split > 0.0 else -2
            n_events += 1
    return n_active, n_events


@inner
def _factor(square, edge):
    norm = np.sqrt(square)
    return 1.0 - edge / norm if norm > edge else 0.0


@inner
def _share(part, whole):
    return min(max(part / whole, 0.0), 1.0) if whole != 0.0 else 0.0


@inner
def _sphere_share(aa, ab, bb, edge, entering):
    """Where on the way from a to b, of which products are given, the norm is `edge`."""
    dd = aa - 2.0 * ab + bb
    ad = ab - aa
    if dd <= 0.0:
        return 0.0
    root = np.sqrt(max(ad * ad + dd * (edge * edge - aa), 0.0))
    return _share((root - ad) if entering else (-root - ad), dd)


@jit
def conjugate_gradients(indptr, indices, data, inverse, right, x, target, n_max):
    """Solve with a sparse symmetric positive semi-definite matrix; x is overwritten.

    Preconditioned by ``inverse``, the inverse of its diagonal, and started at x. Ends
    when the norm of the residual is at most `target`, or after `n_max` products.

    Returns
    -------
    n_products : int
    residual : float
        Norm of the residual at the end.
    """
    p = len(x)
    rest = np.empty(p)
    way = np.empty(p)
    image = np.empty(p)
    square = 0.0
    rho = 0.0
    for i in range(p):
        total = right[i]
        for k in range(indptr[i], indptr[i + 1]):
            total -= data[k] * x[indices[k]]
        rest[i] = total
        way[i] = total * inverse[i]
        square += total * total
        rho += total * way[i]
    n_products = 1
    while np.sqrt(square) > target and n_products < n_max:
        bend = 0.0
        for i in range(p):
            total = 0.0
            for k in range(indptr[i], indptr[i + 1]):
                total += data[k] * way[indices[k]]
            image[i] = total
            bend += total * way[i]
        n_products += 1
        if not bend > 0.0:
            break
        length = rho / bend
        square = 0.0
        fresh = 0.0
        for i in range(p):
            x[i] += length * way[i]
            value = rest[i] - length * image[i]
            rest[i] = value
            square += value * value
            fresh += value * value * inverse[i]
        ratio = fresh / rho
        rho = fresh
        for i in range(p):
            way[i] = rest[i] * inverse[i] + ratio * way[i]
    return n_products, np.sqrt(square)
