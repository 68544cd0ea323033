"""Slow, plain NumPy versions of Split LBI, written from its equations alone.

With used columns X (centred with an intercept, divided by their root mean square if
standardized), mean weights W and a dense D of shape (m, p), for squared loss::

    coef(split) = (X'WX + D'D / nu)^-1 (X'Wy + D' split / nu)
    z    <- z + step * (D coef(split) - split) / nu
    split <- kappa * shrink(z)

Nothing here is imported from the package. ``coef`` has shape (p,), ``split`` (m,); both
are used coordinates. Free rows (weight 0) are left out of the coupling, and their split
coefficient is ``(D coef)_i``; rows of infinite weight have the split coefficient 0.
"""

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.fft import dct
from scipy.optimize import nnls

from tests.twins import Scaled, scaled
from tests.twins import _solve_rational as solve_rational

# ------------------------------------------------------------------------ the problem


@dataclass
class Coupled:
    """The coupled squared loss, with coef = start + back @ split[kept]."""

    frame: Scaled
    D: np.ndarray  # (m, p), all rows
    kept: np.ndarray  # rows that are coupled
    nu: float
    start: np.ndarray  # (p,)
    back: np.ndarray  # (p, number of kept rows)
    y_mean: float

    def coef(self, split):
        return self.start + self.back @ split[self.kept]

    def slope(self, split):
        """Slope of every dual, zero for free rows."""
        out = (self.D @ self.coef(split) - split) / self.nu
        out[~self.kept] = 0.0
        return out

    def gram(self):
        """Gram matrix of the criterion in the split coefficients, kept rows only."""
        D = self.D[self.kept]
        return (np.eye(len(D)) - D @ self.back) / self.nu

    def report(self, split):
        """Coefficients and intercept on the original scale, all split coefficients."""
        used = self.coef(split)
        coef = used / self.frame.scale
        split = np.where(self.kept, split, self.D @ used)
        return coef, self.y_mean - coef @ self.frame.center, split


def coupled(
    X,
    y,
    D,
    nu,
    *,
    weights=None,
    fit_intercept=True,
    standardize=False,
    row_weight=None,
):
    """Set up the coupled loss; returns it with the row weights (m,)."""
    frame = scaled(X, weights, fit_intercept, standardize)
    y = np.asarray(y, dtype=float)
    w = frame.weights
    y_mean = float(w @ y) if fit_intercept else 0.0
    D = np.array(D, dtype=float)
    limit = np.ones(len(D)) if row_weight is None else np.array(row_weight, float)
    kept = limit > 0
    # coef minimizes ||root (y - X coef)||^2 + ||D coef - split||^2 / nu
    root = np.sqrt(w)
    stacked = np.vstack([root[:, None] * frame.X, D[kept] / np.sqrt(nu)])
    inverse = np.linalg.pinv(stacked)
    start = inverse[:, : len(y)] @ (root * (y - y_mean))
    back = inverse[:, len(y) :] / np.sqrt(nu)
    return Coupled(frame, D, kept, nu, start, back, y_mean), limit


def clip(z, positive):
    """Duals as the penalty sees them: the positive part where a row is >= 0."""
    return np.where(positive, np.maximum(z, 0.0), z)


def shrink(z, limit, blocks, positive):
    """Proximal map of the weighted penalty on rows; infinite weights give zero."""
    v = clip(z, positive)
    if blocks is None:
        with np.errstate(invalid="ignore"):
            return np.sign(v) * np.maximum(np.abs(v) - limit, 0.0)
    out = np.zeros_like(v)
    for block in blocks:
        size = np.sqrt(np.sum(v[block] ** 2))
        if size > limit[block[0]]:
            out[block] = v[block] * (1.0 - limit[block[0]] / size)
    return out


def first_time(slope, limit, blocks, positive):
    """First t at which t * slope meets a threshold; free and barred rows do not."""
    v = np.abs(clip(slope, positive))
    if blocks is not None:
        for block in blocks:
            v[block] = np.sqrt(np.sum(v[block] ** 2))
    counts = (limit > 0) & np.isfinite(limit)
    return 1.0 / np.max(v[counts] / limit[counts], initial=0.0)


def make_blocks(groups, limit, group_weight="unit"):
    """Row indices of each group, and the thresholds with the weight of the group."""
    groups = np.asarray(groups)
    blocks = [np.flatnonzero(groups == label) for label in np.unique(groups)]
    limit = limit.copy()
    if group_weight == "sqrt":
        for block in blocks:
            limit[block] *= np.sqrt(len(block))
    return blocks, limit


# --------------------------------------------------------------------------- Split LBI


@dataclass
class PlainSplitPath:
    """Every iterate of the plain loop, and what is needed to evaluate in between."""

    t: np.ndarray  # (T,)
    z: np.ndarray  # (T, m)
    step_size: float
    kappa_raw: float
    limit: np.ndarray
    blocks: list | None
    positive: np.ndarray
    problem: Coupled

    def dual_at(self, t):
        k = min(max(int((t - self.t[0]) / self.step_size), 0), len(self.t) - 2)
        k += int(t > self.t[k + 1] and k < len(self.t) - 2)
        share = max(t - self.t[k], 0.0) / self.step_size
        return self.z[k] + share * (self.z[k + 1] - self.z[k])

    def at(self, t):
        """Coefficients, intercept and split coefficients, linear in the dual."""
        return self.problem.report(self.split(self.dual_at(t)))

    def split(self, z):
        return self.kappa_raw * shrink(z, self.limit, self.blocks, self.positive)

    def changes(self):
        """List of (time, row, sign, enters) of all changes of the support.

        l1 rows only. Times are where the dual, linear within a step, crosses.
        """
        found = []
        for sign in (1, -1):
            excess = sign * clip(self.z, self.positive) - self.limit
            excess[0] = np.minimum(excess[0], 0.0)  # the first starts on its threshold
            on = excess > 0
            for k, i in np.argwhere(on[1:] != on[:-1]):
                a, b = excess[k, i], excess[k + 1, i]
                time = self.t[k] + self.step_size * a / (a - b)
                found.append((time, i, sign, bool(b > 0)))
        return sorted(e for e in found if 0 < self.limit[e[1]] < np.inf)


def plain_split_lbi(
    X,
    y,
    D,
    *,
    nu_raw,
    kappa_raw,
    step_size,
    t_max,
    groups=None,
    group_weight="unit",
    positive=False,
    row_weight=None,
    **options,
):
    """Discrete Split LBI with coefficients eliminated, by its definition."""
    problem, limit = coupled(X, y, D, nu_raw, row_weight=row_weight, **options)
    positive = np.broadcast_to(np.asarray(positive, dtype=bool), limit.shape)
    blocks = None
    if groups is not None:
        blocks, limit = make_blocks(groups, limit, group_weight)
    slope = problem.slope(np.zeros(len(limit)))
    t0 = first_time(slope, limit, blocks, positive)
    z = t0 * slope
    duals = [z]
    n_steps = int(np.ceil((t_max - t0) / step_size)) + 1
    for _ in range(n_steps):
        split = kappa_raw * shrink(z, limit, blocks, positive)
        z = z + step_size * problem.slope(split)
        duals.append(z)
    t = t0 + step_size * np.arange(n_steps + 1)
    return PlainSplitPath(
        t, np.array(duals), step_size, kappa_raw, limit, blocks, positive, problem
    )


# --------------------------------------------------------------------- exact Split ISS


@dataclass
class SlowSplitPath:
    """Knots (K,), original coefficients (K, p), intercepts (K,), splits (K, m)."""

    knots: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    splits: np.ndarray


def slow_split_iss(
    X, y, D, *, nu_raw, positive=False, row_weight=None, tol=1e-9, **options
):
    """Exact Split ISS event by event, on the explicit Gram matrix of the rows.

    Duals grow with constant slopes until one meets its threshold. Then the split
    coefficients of all rows on their threshold are fitted again, with their signs.
    """
    problem, limit = coupled(X, y, D, nu_raw, row_weight=row_weight, **options)
    m = len(limit)
    positive = np.broadcast_to(np.asarray(positive, dtype=bool), (m,))
    live = (limit > 0) & np.isfinite(limit)
    # Least squares with this Gram matrix: A'A = G, A'b = slope at zero.
    values, vectors = np.linalg.eigh(problem.gram())
    good = values > 1e-12 * values.max()
    root = np.sqrt(values[good])
    A = np.zeros((good.sum(), m))
    A[:, problem.kept] = root[:, None] * vectors[:, good].T
    null_slope = problem.slope(np.zeros(m))
    b = vectors[:, good].T @ null_slope[problem.kept] / root

    t, rho, split = 0.0, np.zeros(m), np.zeros(m)
    knots, splits = [t], [split]
    top = np.abs(null_slope[live] / limit[live]).max(initial=0.0)
    bound = np.where(live, limit, 1.0)
    for _ in range(100 * m):
        g = np.where(live, problem.slope(split), 0.0)
        g[split != 0] = 0.0
        g[np.abs(g) <= 1e-11 * top * bound] = 0.0
        rests = np.abs(np.abs(rho) - bound) <= tol * bound
        g[rests & (rho * g > 0) & (np.abs(g) <= 1e-9 * top * bound)] = 0.0
        wait = np.full(m, np.inf)
        up, down = g > 0, (g < 0) & ~positive
        wait[up] = (bound[up] - rho[up]) / g[up]
        wait[down] = (-bound[down] - rho[down]) / g[down]
        dt = wait.min()
        if not np.isfinite(dt):
            break
        t += dt
        rho = rho + dt * g
        hit = wait <= dt + tol * t
        rho[hit] = np.sign(g[hit]) * bound[hit]
        size = np.where(positive, rho, np.abs(rho))
        on = np.flatnonzero(live & (size >= bound * (1 - tol)))
        rho[on] = np.sign(rho[on]) * bound[on]
        sign = np.sign(rho[on])
        fit, _ = nnls(A[:, on] * sign, b, maxiter=100 * m)
        support = on[fit > 1e-10 * fit.max(initial=0.0)]
        polished = np.linalg.lstsq(A[:, support], b, rcond=None)[0]
        split = np.zeros(m)
        if np.all(np.sign(polished) == np.sign(rho[support])):
            split[support] = polished
        else:
            split[on] = fit * sign
        knots.append(t)
        splits.append(split)
    reports = [problem.report(split) for split in splits]
    coefs, intercepts, splits = (np.array(part) for part in zip(*reports, strict=True))
    return SlowSplitPath(np.array(knots), coefs, intercepts, splits)


def split_iss_violations(
    knots,
    coefs,
    intercepts,
    splits,
    X,
    y,
    D,
    nu_raw,
    *,
    weights=None,
    fit_intercept=True,
    standardize=False,
    row_weight=None,
    positive=False,
):
    """Largest violation of each condition of an exact path, from the data alone.

    ``coef``: gradient of the coupled loss in coefficients and intercept, relative to
    the gradient of the loss at zero. ``inside``, ``sign``: the dual, integrated over
    the knots, relative to the threshold. ``support``: slope of active rows, ``end``:
    of all rows at the last knot, both relative to the null model's.
    """
    frame = scaled(X, weights, fit_intercept, standardize)
    dense = np.array(X.toarray() if hasattr(X, "toarray") else X, dtype=float)
    y, D = np.asarray(y, dtype=float), np.asarray(D, dtype=float)
    w = frame.weights
    m = len(D)
    limit = np.ones(m) if row_weight is None else np.array(row_weight, dtype=float)
    positive = np.broadcast_to(np.asarray(positive, dtype=bool), (m,))
    kept, live = limit > 0, (limit > 0) & np.isfinite(limit)
    bound = np.where(live, limit, 1.0)
    centred = y - w @ y if fit_intercept else y
    start = np.abs(frame.X.T @ (w * centred)).max()
    out = dict.fromkeys(("coef", "inside", "sign", "support", "free", "negative"), 0.0)
    rho, slope, top = np.zeros(m), np.zeros(m), None

    def worst(name, values):
        out[name] = max(out[name], np.max(np.abs(values), initial=0.0))

    for k, t in enumerate(knots):
        split = np.asarray(splits[k], dtype=float)
        if k:
            rho = rho + (t - knots[k - 1]) * slope
            over = rho / bound
            worst("inside", np.maximum(np.where(positive, over, np.abs(over)) - 1, 0))
            for side in (splits[k - 1], split):  # the dual rests between two knots
                on = live & (side != 0)
                worst("sign", rho[on] / bound[on] - np.sign(side[on]))
        used = coefs[k] * frame.scale
        miss = D @ used - split
        residual = y - dense @ coefs[k] - intercepts[k]
        pull = D[kept].T @ miss[kept] / nu_raw
        worst("coef", (frame.X.T @ (w * residual) - pull) / start)
        if fit_intercept:
            worst("coef", w @ residual / max(np.sqrt(w @ centred**2), 1e-300))
        slope = np.where(live, miss / nu_raw, 0.0)
        if top is None:
            top = np.max(np.abs(slope / bound)) or 1.0
        worst("support", (slope / bound)[split != 0] / top)
        worst("free", miss[~kept] / max(np.abs(split).max(), 1e-300))
        worst("negative", np.minimum(split, 0.0)[positive & live])
    last = slope / bound / top
    out["end"] = np.max(np.where(positive, last, np.abs(last)), initial=0.0)
    return out


# -------------------------------------------------- Split ISS in rational arithmetic


def rational_split_iss(X, y, D, nu):
    """Split ISS in exact fractions by brute force over supports.

    No intercept, no scaling, integer (or fractional) data. Returns knots, coefficients
    and split coefficients as lists of fractions. Meant for a handful of rows.
    """
    X, D = ([[Fraction(v) for v in row] for row in part] for part in (X, D))
    y, nu = [Fraction(v) for v in y], Fraction(nu)
    n, p, m = len(X), len(X[0]), len(D)
    M = [
        [
            sum(r[i] * r[j] for r in X) / n + sum(r[i] * r[j] for r in D) / nu
            for j in range(p)
        ]
        for i in range(p)
    ]
    c = [sum(r[j] * v for r, v in zip(X, y, strict=True)) / n for j in range(p)]

    def fit(split):
        pull = [sum(r[j] * s for r, s in zip(D, split, strict=True)) for j in range(p)]
        return solve_rational(M, [a + b / nu for a, b in zip(c, pull, strict=True)])

    def slope(split):
        coef = fit(split)
        rows = [sum(a * b for a, b in zip(r, coef, strict=True)) for r in D]
        return [(a - s) / nu for a, s in zip(rows, split, strict=True)]

    start = slope([Fraction(0)] * m)
    unit = [[Fraction(int(i == j)) for j in range(m)] for i in range(m)]
    gram = [[a - b for a, b in zip(start, slope(u), strict=True)] for u in unit]

    def constrained_fit(candidates, rho):
        for size in range(len(candidates), -1, -1):
            for S in itertools.combinations(candidates, size):
                b = solve_rational(
                    [[gram[i][j] for j in S] for i in S], [start[i] for i in S]
                )
                if b is None or any(v * rho[j] <= 0 for v, j in zip(b, S, strict=True)):
                    continue
                split = [Fraction(0)] * m
                for v, j in zip(b, S, strict=True):
                    split[j] = v
                g = slope(split)
                if all(g[j] * rho[j] <= 0 for j in candidates if j not in S):
                    return split
        raise ArithmeticError("no support satisfies the optimality conditions")

    t, rho, split = Fraction(0), [Fraction(0)] * m, [Fraction(0)] * m
    knots, coefs, splits = [t], [fit(split)], [split]
    while True:
        g = slope(split)
        waits = [
            ((1 if v > 0 else -1) - r) / v for v, r in zip(g, rho, strict=True) if v
        ]
        if not waits:
            return knots, coefs, splits
        t += min(waits)
        rho = [r + min(waits) * v for r, v in zip(rho, g, strict=True)]
        split = constrained_fit([j for j in range(m) if abs(rho[j]) == 1], rho)
        knots.append(t)
        coefs.append(fit(split))
        splits.append(split)


# ---------------------------------------------------------------------- small examples

# Two rings that share no node, a pendant node, and a node without edges.
EDGES = (
    [(0, 1, 1.0), (1, 2, 2.0), (0, 2, 0.5), (2, 3, 1.0)]
    + [(4, 5, 1.0), (5, 6, 0.3), (6, 7, 1.0), (4, 7, 1.0), (5, 7, 3.0)]
    + [(8, 9, 1.0), (9, 10, 1.0)]
)


def adjacency(edges, p):
    out = np.zeros((p, p))
    for i, j, weight in edges:
        out[i, j] = out[j, i] = weight
    return out


def incidence(edges, p):
    """Rows weight * (e_j - e_i), ordered by i, then j."""
    out = np.zeros((len(edges), p))
    for row, (i, j, weight) in zip(out, sorted(edges), strict=True):
        row[i], row[j] = -weight, weight
    return out


def grid_rows(shape):
    """Differences of neighbouring pixels: along axis 0 first, then along axis 1."""
    height, width = shape
    pairs = [((i, j), (i + 1, j)) for i in range(height - 1) for j in range(width)] + [
        ((i, j), (i, j + 1)) for i in range(height) for j in range(width - 1)
    ]
    out = np.zeros((len(pairs), height * width))
    for row, (early, late) in zip(out, pairs, strict=True):
        row[early[0] * width + early[1]] = -1.0
        row[late[0] * width + late[1]] = 1.0
    return out


def haar(p):
    """Orthonormal: averages and two levels of differences of each four neighbours."""
    half = np.sqrt(0.5)
    block = [
        [0.5] * 4,
        [0.5, 0.5, -0.5, -0.5],
        [half, -half, 0, 0],
        [0, 0, half, -half],
    ]
    return np.kron(np.eye(p // 4), block)


def random_rows(m, p, seed=0):
    return np.random.default_rng(seed).normal(size=(m, p))


def dense_maps(p=12):
    """Matrices D of every kind, by name."""
    differences = np.diff(np.eye(p), axis=0)
    return {
        "identity": np.eye(p),
        "differences": differences,
        "order 2": np.diff(np.eye(p), 2, axis=0),
        "grid": grid_rows((3, p // 3)),
        "graph": incidence(EDGES, p),
        "sparse and fused": np.vstack([np.eye(p), 0.7 * differences]),
        "few rows": random_rows(7, p),
        "many rows": random_rows(20, p),
        "wavelet": haar(p),
        "cosines": dct(np.eye(p), norm="ortho", axis=0),
    }
