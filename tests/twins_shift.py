"""Slow, plain NumPy and SciPy versions of regression with row shifts.

Written from the equations alone, with nothing imported from the package. ``Z`` (n, r)
is any design of full rank, ``w`` (n,) weights, ``v`` (n,) row factors (inf: a row is
never shifted). Huber regression minimizes ``sum_i w_i rho(r_i; threshold v_i)``;
inverse scale space follows ``dz/dt = r``, with (coords, shift) least squares where
``shift_i`` has the sign of ``z_i = +-v_i``, or is 0.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, lsq_linear


def orthonormal(X, w=None):
    """Coordinates of the column space of X with ``Z' W Z = I``."""
    w = np.ones(len(X)) if w is None else w
    _, size, V = np.linalg.svd(np.sqrt(w)[:, None] * X, full_matrices=False)
    rank = int((size > 1e-10 * size[0]).sum())
    return np.ascontiguousarray(X @ V[:rank].T / size[:rank])


# ------------------------------------------------------------------- Huber regression


def huber_value(Z, y, w, v, threshold, coords):
    size = np.abs(y - Z @ coords)
    bound = threshold * v
    flat = np.minimum(size, bound)
    return w @ (flat * size - flat**2 / 2)


def huber_gradient(Z, y, w, v, threshold, coords):
    """Minus the gradient, relative to the length of what it is a sum of."""
    psi = np.clip(y - Z @ coords, -threshold * v, threshold * v)
    return np.linalg.norm(Z.T @ (w * psi)) / np.linalg.norm(np.sqrt(w) * psi)


def huber_fit(Z, y, w, v, threshold):
    """Newton's method with halving from least squares, to stationarity."""
    coords = np.linalg.lstsq(
        np.sqrt(w)[:, None] * Z, np.sqrt(w) * y, rcond=None
    )[0]  # fmt: skip
    value = huber_value(Z, y, w, v, threshold, coords)
    for _ in range(1000):
        r = y - Z @ coords
        g = Z.T @ (w * np.clip(r, -threshold * v, threshold * v))
        if huber_gradient(Z, y, w, v, threshold, coords) < 1e-13:
            break
        inner = w * (np.abs(r) <= threshold * v)
        step = np.linalg.lstsq((Z.T * inner) @ Z, g, rcond=1e-12)[0]
        if not step.any():
            step = g
        while True:
            new = huber_value(Z, y, w, v, threshold, coords + step)
            if new <= value + 1e-15 * abs(value) or np.abs(step).max() < 1e-15:
                break
            step = step / 2
        coords, value = coords + step, new
    return coords


def huber_path_violation(Z, y, w, v, knots, coords, every=1):
    """Worst relative gradient at the knots and halfway between them."""
    worst = 0.0
    for k in range(0, len(knots), every):
        points = [(knots[k], coords[k])]
        if k + 1 < len(knots):
            points.append(
                ((knots[k] + knots[k + 1]) / 2, (coords[k] + coords[k + 1]) / 2)
            )
        for threshold, point in points:
            if threshold > 0:
                found = huber_gradient(Z, y, w, v, threshold, point)
                worst = max(worst, found)
    return worst


def absolute_deviations(Z, y, w, v):
    """Minimum of ``sum_i w_i v_i |r_i|``, rows with infinite v fitted exactly."""
    n, r = Z.shape
    free = np.isfinite(v)
    cost = np.concatenate([np.zeros(r), np.tile(np.where(free, w * v, 0.0), 2)])
    bounds = [(None, None)] * r + 2 * [(0, None if f else 0) for f in free]
    found = linprog(
        cost, A_eq=np.hstack([Z, np.eye(n), -np.eye(n)]), b_eq=y, bounds=bounds
    )
    assert found.status == 0
    return found.x[:r], found.fun


# ---------------------------------------------------------------- inverse scale space


def signed_fit(Z, y, w, sign):
    """Least squares in (coords, shift), each shift of its sign, or zero.

    Returns coords and the net residuals ``y - Z coords - shift``.
    """
    n, r = Z.shape
    rows = np.flatnonzero((sign != 0) & (w > 0))
    root = np.sqrt(w)
    design = np.hstack([Z, np.eye(n)[:, rows] * sign[rows]])
    lower = np.concatenate([np.full(r, -np.inf), np.zeros(len(rows))])
    found = lsq_linear(
        root[:, None] * design,
        root * y,
        bounds=(lower, np.inf),
        method="bvls",
        tol=1e-15,
    )
    coords, net = found.x[:r], y - design @ found.x
    idle = w == 0
    net[idle] -= sign[idle] * np.maximum(sign * net, 0.0)[idle]
    return coords, net


@dataclass
class SlowPath:
    knots: np.ndarray
    coords: np.ndarray
    net: np.ndarray  # (K, n) net residuals


def slow_iss(Z, y, w, v, n_knots):
    """The first knots of inverse scale space, by signed least squares at each event."""
    z = np.zeros(len(y))
    t = 0.0
    coords, net = signed_fit(Z, y, w, np.zeros(len(y)))
    path = [(t, coords, net)]
    tiny = 1e-11 * np.abs(net).max()
    while len(path) < n_knots:
        wait = np.full(len(y), np.inf)
        moving = np.abs(net) > tiny
        wait[moving] = (v[moving] - np.sign(net[moving]) * z[moving]) / np.abs(
            net[moving]
        )
        step = wait.min()
        if step == np.inf:
            break
        t += step
        z = np.clip(z + step * np.where(moving, net, 0.0), -v, v)
        at_bound = np.abs(z) >= v * (1 - 1e-10)
        z[at_bound] = np.sign(z[at_bound]) * v[at_bound]
        coords, net = signed_fit(Z, y, w, np.where(at_bound, np.sign(z), 0.0))
        path.append((t, coords, net))
    return SlowPath(*(np.array(part) for part in zip(*path, strict=True)))


def iss_violations(Z, y, w, v, trace):
    """How far a trace is from inverse scale space; every entry is 0 for an exact one.

    z is integrated from the net residuals of the knots, the shifted rows are read from
    the events. Lengths are relative to the response, gradients to the net residuals.
    """
    size = np.abs(y).max()
    bound = np.where(np.isfinite(v), v, 1e300)
    z = np.zeros(len(y))
    state = np.zeros(len(y))
    net = np.zeros(len(y))
    worst = dict.fromkeys(
        ["gradient", "bound", "shifted", "sign", "rss", "weight"], 0.0
    )

    def note(name, value):
        worst[name] = max(worst[name], float(value))

    event = 0
    for k, t in enumerate(trace.knots):
        if k > 0:
            z += (t - trace.knots[k - 1]) * net
        while event < len(trace.event_at) and trace.event_at[event] <= t:
            row = trace.event_row[event]
            enters = trace.event_enters[event]
            assert enters == (state[row] == 0)
            if not enters:
                assert state[row] == trace.event_sign[event]
            state[row] = trace.event_sign[event] if enters else 0.0
            event += 1
        out = state != 0
        r = y - Z @ trace.coords[k, :, 0]
        net = np.where(out, 0.0, r)
        length = max(np.linalg.norm(np.sqrt(w) * net), 1e-6 * size)
        note("gradient", np.linalg.norm(Z.T @ (w * net)) / length)
        note("bound", (np.abs(z) / bound).max() - 1)
        note("shifted", np.abs(z[out] / bound[out] - state[out]).max(initial=0.0))
        note("sign", -(state * r)[out].min(initial=0.0) / size)
        note("rss", abs(np.sqrt(trace.rss[k]) - np.sqrt(w @ net**2)) / length)
        note("weight", abs(w[out].sum() - trace.n_shifted[k]) / w.sum())
    assert event == len(trace.event_at)
    return worst
