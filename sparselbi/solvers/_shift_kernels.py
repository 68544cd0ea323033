"""Compiled event loops of the exact paths on shifts (see `_shift_exact`).

Both loops see some *tracked* rows, those whose events may come next, and end when
another row might be first. ``factor`` is the upper Cholesky factor of the Gram matrix
of the rows that are not shifted. A row whose loss would make it singular is *held*: it
stays in the factor, and steps have no part in the directions that only held rows see.
"""

import numpy as np

from .._kernels import inner, jit

REACH, ROOM, END, MAX_SHIFTED, COMPLETE, UNDETERMINED, STALLED = range(7)

# Events within this share of the path variable are one event.
TIE = 1e-12
# A row whose leverage among the rows of the factor is within this distance of 1 alone
# determines a direction.
_DETERMINED = 1e-10
# Speeds below this share of what they are made of are rounding.
_STILL = 1e-11
# Thresholds below so many times the rounding of residuals are 0.
_NOISE = 1e3
# What falls below this share of its value at the anchor has lost digits to rounding.
_FRESH = 1e-3


@inner
def _solve(factor, x):
    """Overwrite `x` with the solution of ``factor' factor x = x``."""
    k = len(x)
    for i in range(k):
        x[i] /= factor[i, i]
        value = x[i]
        for j in range(i + 1, k):
            x[j] -= factor[i, j] * value
    for i in range(k - 1, -1, -1):
        value = x[i]
        for j in range(i + 1, k):
            value -= factor[i, j] * x[j]
        x[i] = value / factor[i, i]


@inner
def _reduce(factor, z, scale, x):
    """Write ``x = scale * factor'^-1 z``; returns one minus the leverage, 1 - |x|^2."""
    k = len(x)
    rest = 1.0
    for i in range(k):
        x[i] = scale * z[i]
    for i in range(k):
        x[i] /= factor[i, i]
        value = x[i]
        rest -= value * value
        for j in range(i + 1, k):
            x[j] -= factor[i, j] * value
    return rest


@inner
def _take_out(factor, z, scale, x, y):
    """Downdate the factor by the row ``scale * z``, or return False if it is needed."""
    rest = _reduce(factor, z, scale, x)
    if rest <= _DETERMINED:
        return False
    k = len(x)
    length = np.sqrt(rest)
    for i in range(k):
        y[i] = 0.0
    for i in range(k - 1, -1, -1):
        norm = np.sqrt(length * length + x[i] * x[i])
        c = length / norm
        s = x[i] / norm
        length = norm
        for j in range(i, k):
            a = factor[i, j]
            b = y[j]
            y[j] = c * b + s * a
            factor[i, j] = c * a - s * b
    return True


@inner
def _put_in(factor, z, scale, x):
    """Update the factor by the row ``scale * z``."""
    k = len(x)
    for i in range(k):
        x[i] = scale * z[i]
    for i in range(k):
        a = factor[i, i]
        norm = np.sqrt(a * a + x[i] * x[i])
        c = a / norm
        s = x[i] / norm
        for j in range(i, k):
            a = factor[i, j]
            b = x[j]
            factor[i, j] = c * a + s * b
            x[j] = c * b - s * a


@inner
def _drop_held(held, held_rows, n_held, k):
    for i in range(k, n_held - 1):
        held[i] = held[i + 1]
        held_rows[i] = held_rows[i + 1]
    return n_held - 1


@inner
def _shift_row(factor, z, scale, row, held, held_rows, n_held, x, y):
    """The row leaves the fit. Returns the new number of held rows."""
    if scale == 0.0 or _take_out(factor, z, scale, x, y) or n_held == len(held):
        return n_held
    held_rows[n_held] = row
    for i in range(len(z)):
        held[n_held, i] = scale * z[i]
    return n_held + 1


@inner
def _return_row(factor, z, scale, row, held, held_rows, n_held, x, y):
    """The row is fitted again. Returns the new number of held rows."""
    if scale == 0.0:
        return n_held
    for k in range(n_held):
        if held_rows[k] == row:
            return _drop_held(held, held_rows, n_held, k)
    _put_in(factor, z, scale, x)
    # It may see a direction that so far only held rows saw: one of them can go.
    best = _DETERMINED
    out = -1
    for k in range(n_held):
        rest = _reduce(factor, held[k], 1.0, x)
        if rest > best:
            best = rest
            out = k
    if out >= 0 and _take_out(factor, held[out], 1.0, x, y):
        return _drop_held(held, held_rows, n_held, out)
    return n_held


@inner
def _direction(factor, g, held, n_held, basis, d):
    """Write the shortest solution d of Gram d = g, Gram without the held rows."""
    k = len(g)
    for i in range(k):
        d[i] = g[i]
    _solve(factor, d)
    for h in range(n_held):
        u = basis[h]
        for i in range(k):
            u[i] = held[h, i]
        _solve(factor, u)
        for _ in range(2):  # orthogonal to rounding
            for before in range(h):
                _subtract_projection(basis[before], u)
        norm = 0.0
        for i in range(k):
            norm += u[i] * u[i]
        norm = np.sqrt(norm)
        for i in range(k):
            u[i] /= norm
        _subtract_projection(u, d)


@inner
def _subtract_projection(u, d):
    value = 0.0
    for i in range(len(u)):
        value += u[i] * d[i]
    for i in range(len(u)):
        d[i] -= value * u[i]


@inner
def _product(Z, d, out):
    for i in range(len(Z)):
        value = 0.0
        for j in range(len(d)):
            value += Z[i, j] * d[j]
        out[i] = value


@inner
def _distance(coords, step, d, anchor):
    total = 0.0
    for j in range(len(d)):
        change = coords[j] + step * d[j] - anchor[j]
        total += change * change
    return np.sqrt(total)


@jit
def huber_events(
    rows,
    Z,
    factors,
    scales,
    state,
    resting,
    r,
    factor,
    held,
    held_rows,
    n_held,
    b,
    coords,
    numbers,
    knots,
    knot_coords,
    knot_rss,
    event_at,
    event_row,
    event_sign,
):
    """Follow the path in the Huber threshold until an untracked row may come first.

    ``event_sign`` is the sign of a row that gets shifted, and twice its sign if it is
    fitted again. `numbers` are the threshold, where to end, its rounding, the sum of
    squares of fitted rows, the sum of w v^2 and of w over shifted rows, the limit of
    the latter, how far threshold and coords may go for untracked rows to rest, and
    where the fit was first not unique (-1: nowhere). Returns (code, number of knots, of
    events, of held rows).
    """
    thr, lowest, rounding, square, outside, shifted, limit, reach, room, _ = numbers
    m, k = Z.shape
    a = np.empty(m)
    wait = np.empty(m)
    side = np.empty(m, dtype=np.int8)
    d = np.empty(k)
    x = np.empty(k)
    y = np.empty(k)
    basis = np.empty((k, k))
    anchor = coords.copy()
    stop = thr - reach
    fresh = _FRESH * thr
    n_knots = 0
    n_events = 0
    idle = 0
    code = REACH
    while n_events < len(event_at):
        _direction(factor, b, held, n_held, basis, d)
        _product(Z, d, a)
        slack = TIE * thr + rounding
        first = np.inf
        for i in range(m):
            v = factors[i]
            still = _STILL * (v + abs(a[i]))
            wait[i] = np.inf
            if state[i] != 0:
                # The excess s r - thr v grows with this speed as thr falls.
                speed = v + state[i] * a[i]
                side[i] = state[i]
                if speed < -still:
                    wait[i] = max(state[i] * r[i] - thr * v, 0.0) / -speed
            else:
                if thr * v - abs(r[i]) > slack * v:
                    resting[i] = False
                for s in (-1, 1):
                    speed = v + s * a[i]
                    gap = max(thr * v - s * r[i], 0.0)
                    after = np.inf
                    if speed > still:
                        after = gap / speed
                    elif speed >= -still and gap <= slack * v and not resting[i]:
                        # It stays at its bound, fitted or not. Without all such rows,
                        # other directions may be free.
                        after = 0.0
                    if after < wait[i]:
                        wait[i] = after
                        side[i] = s
            first = min(first, wait[i])

        if first > slack:  # all events at this threshold are settled
            if shifted > limit:
                code = MAX_SHIFTED
                break
            if thr < fresh:
                break
            ends = thr - first <= max(lowest, _NOISE * rounding)
            step = thr - lowest if ends else first
            if not thr - step >= stop:
                break
            if _distance(coords, -step, d, anchor) > room:
                code = ROOM
                break
            if n_held > 0 and numbers[9] < 0.0:
                numbers[9] = thr
            gain = 0.0
            for j in range(k):
                gain += d[j] * b[j]
                coords[j] -= step * d[j]
            square -= gain * step * (2.0 * thr - step)
            for i in range(m):
                r[i] += step * a[i]
            thr = lowest if ends else thr - step
            knots[n_knots] = thr
            knot_coords[n_knots] = coords
            knot_rss[n_knots] = max(square, 0.0) + thr * thr * outside
            n_knots += 1
            idle = 0
            if ends:
                code = END
                break
            slack += step
        else:
            idle += 1
            if idle > 10 * m + 100:
                code = STALLED
                break

        # Among rows that come at once the order must be fixed, or they may cycle.
        i = 0
        while wait[i] > slack:
            i += 1
        s = side[i]
        weight = scales[i] * scales[i]
        change = weight * factors[i]
        event_at[n_events] = thr
        event_row[n_events] = rows[i]
        r[i] = s * thr * factors[i]
        if state[i] == 0:
            event_sign[n_events] = s
            state[i] = s
            n_held = _shift_row(
                factor, Z[i], scales[i], rows[i], held, held_rows, n_held, x, y
            )
        else:
            event_sign[n_events] = 2 * s
            state[i] = 0
            n_held = _return_row(
                factor, Z[i], scales[i], rows[i], held, held_rows, n_held, x, y
            )
            resting[i] = True
            change = -change
            weight = -weight
        n_events += 1
        shifted += weight
        outside += change * factors[i]
        square -= change * factors[i] * thr * thr
        for j in range(k):
            b[j] += s * change * Z[i, j]
    numbers[0] = thr
    return code, n_knots, n_events, n_held


@jit
def iss_events(
    rows,
    Z,
    factors,
    scales,
    state,
    dual,
    r,
    factor,
    held,
    held_rows,
    n_held,
    g,
    coords,
    drift,
    numbers,
    unsettled,
    knots,
    knot_coords,
    knot_rss,
    event_at,
    event_row,
    event_sign,
):
    """Follow inverse scale space on the shifts until an untracked row may come first.

    Events as in `huber_events`. `g` is the gradient that is left when the fit at the
    present time is `unsettled`; `drift` is the integral of coords since the anchor.
    `numbers` are t, its end, the rounding of residuals, the sum of squares, the shifted
    weight and its limit, how far t and coords may go, whether to end when the fit is
    not unique, and where that first was. Returns (code, number of knots, of events, of
    held rows, unsettled).
    """
    t, end, rounding, square, shifted, limit, reach, room, determined, _ = numbers
    m, k = Z.shape
    a = np.empty(m)
    wait = np.empty(m)
    d = np.empty(k)
    x = np.empty(k)
    y = np.empty(k)
    basis = np.empty((k, k))
    anchor = coords.copy()
    start = t
    fresh = _FRESH * square
    n_knots = 0
    n_events = 0
    idle = 0
    code = REACH
    while True:
        if not unsettled:
            first = np.inf
            for i in range(m):
                wait[i] = np.inf
                if state[i] == 0:
                    if r[i] > rounding:
                        wait[i] = max((factors[i] - dual[i]) / r[i], 0.0)
                    elif r[i] < -rounding:
                        wait[i] = max((-factors[i] - dual[i]) / r[i], 0.0)
                    first = min(first, wait[i])
            if first == np.inf and reach == np.inf:
                code = COMPLETE
                break
            ends = end - t < first * (1.0 - TIE)
            step = max(end - t, 0.0) if ends else first
            if t + step - start > reach or n_events + m > len(event_at):
                break
            if square < fresh:
                break
            for i in range(m):
                if state[i] == 0:
                    dual[i] += step * r[i]
            for j in range(k):
                drift[j] += step * (coords[j] - anchor[j])
            t += step
            if ends:
                code = END
                break
            idle = idle + 1 if step <= TIE * t else 0
            if idle > 10 * m + 100:
                code = STALLED
                break
            for i in range(m):
                if wait[i] <= first + TIE * t:
                    s = 1 if r[i] > 0.0 else -1
                    dual[i] = s * factors[i]
                    state[i] = s
                    event_at[n_events] = t
                    event_row[n_events] = rows[i]
                    event_sign[n_events] = s
                    n_events += 1
                    weight = scales[i] * scales[i]
                    shifted += weight
                    square -= weight * r[i] * r[i]
                    for j in range(k):
                        g[j] -= weight * r[i] * Z[i, j]
                    n_held = _shift_row(
                        factor, Z[i], scales[i], rows[i], held, held_rows, n_held, x, y
                    )
            unsettled = True

        # Follow the fit as the gradient g falls to zero; a row at its bound changes
        # sides where its residual is zero.
        turns = 0
        while unsettled:
            if n_events == len(event_at):
                break
            _direction(factor, g, held, n_held, basis, d)
            _product(Z, d, a)
            size = 0.0
            gain = 0.0
            for j in range(k):
                size += d[j] * d[j]
                gain += d[j] * g[j]
            still = TIE * np.sqrt(size)
            step = 1.0
            turn = -1
            for i in range(m):
                if abs(dual[i]) == factors[i]:
                    toward = 1.0 if dual[i] > 0.0 else -1.0
                    if state[i] != 0:
                        toward = -toward
                    # Now toward r <= 0; the row turns when that is positive.
                    if toward * a[i] < -still:
                        after = max(-toward * r[i], 0.0) / (-toward * a[i])
                        if after < step - TIE:
                            step = after
                            turn = i
            if _distance(coords, step, d, anchor) > room:
                code = ROOM
                break
            for j in range(k):
                coords[j] += step * d[j]
                g[j] *= 1.0 - step
            for i in range(m):
                r[i] -= step * a[i]
            square -= step * (2.0 - step) * gain
            if turn < 0:
                unsettled = False
                break
            turns += 1
            if turns > 10 * m + 100:
                code = STALLED
                break
            i = turn
            r[i] = 0.0
            weight = scales[i] * scales[i]
            event_at[n_events] = t
            event_row[n_events] = rows[i]
            if state[i] == 0:
                s = 1 if dual[i] > 0.0 else -1
                event_sign[n_events] = s
                state[i] = s
                shifted += weight
                n_held = _shift_row(
                    factor, Z[i], scales[i], rows[i], held, held_rows, n_held, x, y
                )
            else:
                event_sign[n_events] = 2 * state[i]
                state[i] = 0
                shifted -= weight
                n_held = _return_row(
                    factor, Z[i], scales[i], rows[i], held, held_rows, n_held, x, y
                )
            n_events += 1
        if unsettled:
            break
        for j in range(k):
            g[j] = 0.0
        if shifted > limit:
            code = MAX_SHIFTED
            break
        if n_held > 0:
            if determined:
                code = UNDETERMINED
                break
            if numbers[9] < 0.0:
                numbers[9] = t
        knots[n_knots] = t
        knot_coords[n_knots] = coords
        knot_rss[n_knots] = max(square, 0.0)
        n_knots += 1
        if n_knots == len(knots):
            break
    numbers[0] = t
    return code, n_knots, n_events, n_held, unsettled
