"""Compiled passes over the rows of D, and compiled conjugate gradients.

Indices are unsigned (uint32): signed ones cost a comparison at every access.
"""

import numpy as np

from .._kernels import inner, jit


@jit
def pair_differences(head, tail, value, coef, out):
    """out[r] = value[r] * (coef[head[r]] - coef[tail[r]])."""
    for r in range(len(out)):
        out[r] = value[r] * (coef[head[r]] - coef[tail[r]])


@jit
def pair_sums(head, tail, value, split, out):
    """Overwrite `out` with the transpose of `pair_differences`, applied to `split`."""
    for i in range(len(out)):
        out[i] = 0.0
    for r in range(len(split)):
        change = value[r] * split[r]
        out[head[r]] += change
        out[tail[r]] -= change


@jit
def move_rows(
    fitted,
    z,
    low,
    high,
    kappa,
    pace,
    t,
    span,
    keep,
    split,
    event_t,
    event_row,
    event_code,
):
    """Take rows that are thresholded one by one from time t to time t + span.

    Parameters
    ----------
    fitted : ndarray of shape (m,)
        ``D @ coef`` at time t.
    z : ndarray of shape (m,)
        Duals at time t; overwritten if `keep`.
    low, high : ndarray of shape (m,) or (1,)
        Row r is at zero while its dual is in [low, high]; infinite ends are allowed.
    pace : float
        ``span / nu``.
    keep : bool
        Whether to store duals and events, or only to look.
    split : ndarray of shape (m,)
        Receives the split coefficients at t + span.
    event_t, event_row, event_code : ndarray of shape (2 * m,)
        Receive events: 1 and -1 is an entry with that sign, 2 and -2 the end of one.

    Returns
    -------
    n_active, n_events : int
    """
    wide = 1 if len(low) > 1 else 0
    n_active = n_events = 0
    for r in range(len(z)):  # without branches, but for the rare events
        bottom, top = low[r * wide], high[r * wide]
        before = z[r]
        inside = before if before < top else top
        old = before - (inside if inside > bottom else bottom)
        after = before + pace * (fitted[r] - kappa * old)
        inside = after if after < top else top
        new = after - (inside if inside > bottom else bottom)
        split[r] = kappa * new
        n_active += new != 0.0
        if not keep:
            continue
        z[r] = after
        if ((old != 0.0) == (new != 0.0)) & (old * new >= 0.0):
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
    fitted,
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
    event_t,
    event_row,
    event_code,
):
    """Take rows that are thresholded in blocks from time t to time t + span.

    As `move_rows`, but rows ptr[k] to ptr[k + 1] are at zero while the norm of their
    duals, those below `floor` (m,) raised to it, is at most weight[k].
    """
    n_active = n_events = 0
    longest = 0
    for k in range(len(weight)):
        longest = max(longest, ptr[k + 1] - ptr[k])
    fresh = np.empty(longest)
    for k in range(len(weight)):
        start, stop, edge = ptr[k], ptr[k + 1], weight[k]
        square_before = 0.0
        for r in range(start, stop):
            square_before += _raised(z[r], floor[r]) ** 2
        old = _factor(square_before, edge)
        square_after = 0.0
        for r in range(start, stop):
            slope = fitted[r] - kappa * old * _raised(z[r], floor[r])
            fresh[r - start] = z[r] + pace * slope
            square_after += _raised(fresh[r - start], floor[r]) ** 2
        new = _factor(square_after, edge)
        share = 0.0
        if keep and (old > 0.0) != (new > 0.0):
            share = _block_share(z, fresh, floor, start, stop, edge, new > 0.0)
        for r in range(start, stop):
            before, after = z[r], fresh[r - start]
            old_split = kappa * old * _raised(before, floor[r])
            new_split = kappa * new * _raised(after, floor[r])
            split[r] = new_split
            n_active += new_split != 0.0
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
def _raised(value, floor):
    return value if value > floor else floor


@inner
def _factor(square, edge):
    norm = np.sqrt(square)
    return 1.0 - edge / norm if norm > edge else 0.0


@inner
def _share(part, whole):
    return min(max(part / whole, 0.0), 1.0) if whole != 0.0 else 0.0


@inner
def _block_share(z, fresh, floor, start, stop, edge, entering):
    """Where on the way from `z` to `fresh` the norm of a block is `edge`.

    By bisection: the norm is convex, and only one end of the way is beyond the edge.
    """
    low, high = 0.0, 1.0
    for _ in range(52):
        middle = 0.5 * (low + high)
        square = 0.0
        for r in range(start, stop):
            value = z[r] + middle * (fresh[r - start] - z[r])
            square += _raised(value, floor[r]) ** 2
        if (np.sqrt(square) > edge) == entering:
            high = middle
        else:
            low = middle
    return high


@jit
def conjugate_gradients(
    indptr, indices, data, diagonal, inverse, right, x, target, limit
):
    """Solve with a sparse symmetric positive semi-definite matrix; x is overwritten.

    Parameters
    ----------
    indptr, indices, data
        The entries right of the diagonal, compressed by rows.
    diagonal, inverse : ndarray of shape (p,)
        ``inverse`` is the preconditioner, one over the diagonal where that is not 0.
    right, x : ndarray of shape (p,)
        x is the start.
    target : float
        Ends when the norm of the residual is at most this,
    limit : int
        or after so many products.

    Returns
    -------
    n_products : int
    residual : float
        Norm of the residual at the end.
    """
    p = len(x)
    rest, way, image = np.empty(p), np.empty(p), np.empty(p)
    _multiply(indptr, indices, data, diagonal, x, image)
    square = rho = 0.0
    for i in range(p):
        rest[i] = right[i] - image[i]
        way[i] = rest[i] * inverse[i]
        square += rest[i] * rest[i]
        rho += rest[i] * way[i]
    n_products = 1
    while np.sqrt(square) > target and n_products < limit:
        _multiply(indptr, indices, data, diagonal, way, image)
        n_products += 1
        bend = 0.0
        for i in range(p):
            bend += way[i] * image[i]
        if not bend > 0.0:
            break
        length = rho / bend
        square = fresh = 0.0
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


@inner
def _multiply(indptr, indices, data, diagonal, x, out):
    for i in range(len(x)):
        out[i] = diagonal[i] * x[i]
    for i in range(len(x)):
        own = x[i]
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            total += data[k] * x[j]
            out[j] += data[k] * own
        out[i] += total
