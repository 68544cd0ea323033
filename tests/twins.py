"""Slow, plain NumPy versions of the solvers, written from the formulas alone.

Nothing here is imported from the package: a test that compares a core with its twin
fails unless two independently written programs make the same mistake.

Shapes: ``n`` samples, ``p`` features, ``m`` outputs (1, or the number of classes).
Coefficients are always (m, p) here and linear predictors (n, m).
"""

import itertools
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.special import log_softmax, softmax

# --------------------------------------------------------------------------- losses


def encode(loss, y):
    """Return the targets as an (n, m) float array: y, -1/+1 labels or indicators."""
    y = np.asarray(y)
    if loss == "logistic":
        return np.where(y == np.unique(y)[-1], 1.0, -1.0)[:, None]
    if loss == "multinomial":
        return (y[:, None] == np.unique(y)[None, :]).astype(float)
    return y.astype(float)[:, None]


def loss_value(loss, Y, eta, threshold=None):
    """Loss of every sample, (n,)."""
    if loss == "squared":
        return 0.5 * (Y[:, 0] - eta[:, 0]) ** 2
    if loss == "logistic":
        return np.logaddexp(0.0, -Y[:, 0] * eta[:, 0])
    if loss == "multinomial":
        return -(Y * log_softmax(eta, axis=1)).sum(axis=1)
    r = np.abs(Y[:, 0] - eta[:, 0])
    return np.where(r <= threshold, 0.5 * r**2, threshold * r - 0.5 * threshold**2)


def score(loss, Y, eta, threshold=None):
    """Minus the derivative of the loss in the linear predictor, (n, m)."""
    if loss == "squared":
        return Y - eta
    if loss == "logistic":
        return Y * np.exp(-np.logaddexp(0.0, Y * eta))
    if loss == "multinomial":
        return Y - softmax(eta, axis=1)
    return np.clip(Y - eta, -threshold, threshold)


def hessian(loss, Y, eta, threshold=None):
    """Second derivative of the loss in the linear predictor, (n, m, m)."""
    n, m = eta.shape
    if loss == "squared":
        return np.ones((n, 1, 1))
    if loss == "logistic":
        s = np.exp(-np.logaddexp(0.0, -eta[:, 0]))
        return (s * (1 - s))[:, None, None]
    if loss == "multinomial":
        q = softmax(eta, axis=1)
        return q[:, :, None] * np.eye(m) - q[:, :, None] * q[:, None, :]
    return (np.abs(Y - eta) <= threshold).astype(float)[:, :, None]


def fit_unpenalized(loss, Y, A, weights, threshold=None):
    """Minimize the mean loss over all coefficients of A (n, q); returns (m, q).

    Newton's method with halving from zero. The pseudo-inverse keeps softmax rows
    summing to zero and gives collinear columns their minimum-norm solution.
    """
    n, q = A.shape
    m = Y.shape[1]
    B = np.zeros((m, q))
    if q == 0:
        return B

    def value(B):
        return weights @ loss_value(loss, Y, A @ B.T, threshold)

    for _ in range(200):
        eta = A @ B.T
        g = (weights[:, None] * score(loss, Y, eta, threshold)).T @ A
        H = hessian(loss, Y, eta, threshold) * weights[:, None, None]
        H = np.einsum("iab,ij,ik->ajbk", H, A, A).reshape(m * q, m * q)
        if loss == "huber":  # flat pieces: lean on the surrogate with weights 1/|r|
            r = np.maximum(np.abs(Y - eta)[:, 0], threshold)
            if np.linalg.matrix_rank(H) < min(q, np.linalg.matrix_rank(A)):
                H = (A * (weights * threshold / r)[:, None]).T @ A
        step = (np.linalg.pinv(H, rcond=1e-13) @ g.ravel()).reshape(m, q)
        size = 1.0
        while value(B + size * step) > value(B) + 1e-15 and size > 1e-12:
            size *= 0.5
        B = B + size * step
        if np.max(np.abs(step)) <= 1e-15 * (1 + np.max(np.abs(B))):
            break
    return B


# --------------------------------------------------------------------------- scaling


class Scaled(NamedTuple):
    """The standardized problem; ``usable`` marks the columns that are not constant."""

    X: np.ndarray
    weights: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    usable: np.ndarray


def scaled(X, weights=None, fit_intercept=True, standardize=True):
    """Centre and scale the columns of X with weights that are made to sum to one."""
    X = np.array(X.toarray() if hasattr(X, "toarray") else X, dtype=float)
    n, p = X.shape
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    w = w / w.sum()
    center = w @ X if fit_intercept else np.zeros(p)
    size = np.sqrt(w @ X**2)
    X = X - center
    rms = np.sqrt(w @ X**2)
    usable = rms > 1e-12 * np.maximum(size, 1e-300)
    scale = np.where(usable, rms, 1.0) if standardize else np.ones(p)
    X = np.where(usable, X / scale, 0.0)
    return Scaled(X, w, center, scale, usable)


# ---------------------------------------------------------------------------- penalty


def shrink(z, thresholds, blocks=None, positive=False):
    """Proximal map of the weighted penalty. ``z`` (m, p); thresholds per feature (p,).

    ``blocks`` is None (entry by entry) or a list of feature index arrays; a block is
    its features times all outputs, and its threshold is that of its first feature.
    Unpenalized entries (threshold 0) have no sign constraint either.
    """
    v = np.where(thresholds > 0, np.maximum(z, 0.0), z) if positive else z
    if blocks is None:
        return np.sign(v) * np.maximum(np.abs(v) - thresholds, 0.0)
    out = np.zeros_like(v)
    for block in blocks:
        norm = np.sqrt(np.sum(v[:, block] ** 2))
        if norm > thresholds[block[0]]:
            out[:, block] = v[:, block] * (1.0 - thresholds[block[0]] / norm)
    return out


def make_blocks(groups, p):
    """Feature indices of every group; one block per feature without labels."""
    if groups is None:
        return [np.array([j]) for j in range(p)]
    groups = np.asarray(groups)
    return [np.flatnonzero(groups == label) for label in np.unique(groups)]


# ------------------------------------------------------------------------- discrete LBI


class PlainPath(NamedTuple):
    """Every iterate of the plain loop, and what is needed to evaluate in between."""

    t: np.ndarray  # (T,)
    z: np.ndarray  # (T, m, p) standardized units
    z_intercept: np.ndarray  # (T, m); holds the intercept itself for the squared loss
    step_size: float
    kappa_raw: float
    thresholds: np.ndarray
    blocks: list | None
    positive: bool
    frame: Scaled
    intercept_moves: bool
    losses: np.ndarray  # (T,) mean loss of every iterate

    def _report(self, z, z_intercept):
        raw = self.kappa_raw * shrink(z, self.thresholds, self.blocks, self.positive)
        coef = np.where(self.frame.usable, raw / self.frame.scale, 0.0)
        intercept = z_intercept * (self.kappa_raw if self.intercept_moves else 1.0)
        return coef, intercept - coef @ self.frame.center

    def at(self, t):
        """Coefficients (m, p) and intercept (m,) at any time, linear in the dual."""
        if t <= self.t[0]:
            return self._report(self.z[0], self.z_intercept[0])
        k = min(int((t - self.t[0]) / self.step_size), len(self.t) - 2)
        k += int(t > self.t[k + 1] and k < len(self.t) - 2)
        u = (t - self.t[k]) / self.step_size
        z = self.z[k] + u * (self.z[k + 1] - self.z[k])
        b = self.z_intercept[k]
        return self._report(z, b + u * (self.z_intercept[k + 1] - b))

    def coefs(self):
        """All iterates on the original scale, (T, m, p)."""
        return np.array(
            [
                self._report(z, b)[0]
                for z, b in zip(self.z, self.z_intercept, strict=True)
            ]
        )

    def changes(self):
        """List of (time, feature, output, sign, enters) of all changes of support.

        Times are where the linearly interpolated dual crosses its threshold.
        """
        w = self.thresholds
        m, p = self.z.shape[1:]
        found = []
        if self.blocks is None:
            # signed distance beyond the threshold, one sign at a time
            for sign in (1,) if self.positive else (1, -1):
                excess = sign * self.z - w
                # the first variable starts on its threshold, up to rounding
                excess[0] = np.minimum(excess[0], 0.0)
                on = excess > 0
                for k, q, j in np.argwhere(on[1:] != on[:-1]):
                    a, b = excess[k, q, j], excess[k + 1, q, j]
                    time = self.t[k] + self.step_size * a / (a - b)
                    found.append((time, j, q, sign, bool(b > 0)))
        else:
            v = np.maximum(self.z, 0) if self.positive else self.z
            for block in self.blocks:
                norm = np.sqrt((v[:, :, block] ** 2).sum(axis=(1, 2)))
                excess = norm - w[block[0]]
                excess[0] = min(excess[0], 0.0)
                on = excess > 0
                if self.positive:  # entry by entry; the time is good to one step
                    entries = on[:, None, None] & (v[:, :, block] > 0)
                    for k, q, i in np.argwhere(entries[1:] != entries[:-1]):
                        time = self.t[k] + 0.5 * self.step_size
                        found.append((time, block[i], q, 1, bool(entries[k + 1, q, i])))
                    continue
                for k in np.flatnonzero(on[1:] != on[:-1]):
                    a, b = excess[k], excess[k + 1]
                    time = self.t[k] + self.step_size * a / (a - b)
                    found += [(time, j, -1, 0, bool(b > 0)) for j in block]
        return sorted(
            (e for e in found if w[e[1]] > 0), key=lambda e: (e[0], e[1], e[2])
        )


def plain_lbi(
    X,
    y,
    loss="squared",
    penalty="l1",
    *,
    kappa_raw,
    step_size,
    n_steps,
    weights=None,
    fit_intercept=True,
    standardize=True,
    penalty_factor=None,
    groups=None,
    group_weight="unit",
    positive=False,
    threshold=None,
):
    """Discrete LBI by its definition: dense arrays, one explicit step after another."""
    frame = scaled(X, weights, fit_intercept, standardize)
    w = frame.weights
    Y = encode(loss, y)
    n, p = frame.X.shape
    m = Y.shape[1]
    thresholds = (
        np.ones(p) if penalty_factor is None else np.array(penalty_factor, float)
    )
    thresholds[~frame.usable] = np.inf
    blocks = None
    if penalty == "group":
        blocks = make_blocks(groups, p)
        if group_weight == "sqrt":
            for block in blocks:
                thresholds[block] *= np.sqrt(len(block) * m)
        # columns that can never enter leave their block
        blocks = [b[np.isfinite(thresholds[b])] for b in blocks]
        blocks = [b for b in blocks if len(b)]
    Xs = np.where(np.isfinite(thresholds), frame.X, 0.0)

    moves = fit_intercept and loss != "squared"
    free = np.flatnonzero(thresholds == 0)
    ones = [np.ones((n, 1))] if fit_intercept else []
    null = fit_unpenalized(loss, Y, np.hstack([*ones, Xs[:, free]]), w, threshold)
    b = null[:, 0] if fit_intercept else np.zeros(m)
    coef = np.zeros((m, p))
    coef[:, free] = null[:, len(ones) :]

    def downhill(coef, b):
        s = w[:, None] * score(loss, Y, Xs @ coef.T + b, threshold)
        return s.T @ Xs, s.sum(axis=0)

    g, _ = downhill(coef, b)
    t0 = 1.0 / largest_rate(g, thresholds, blocks, positive)
    z = t0 * g
    z[:, free] = coef[:, free] / kappa_raw
    zb = b / kappa_raw if moves else b

    zs, zbs, losses = [z], [zb], []
    for _ in range(n_steps + 1):
        coef = kappa_raw * shrink(z, thresholds, blocks, positive)
        b = kappa_raw * zb if moves else zb
        losses.append(w @ loss_value(loss, Y, Xs @ coef.T + b, threshold))
        g, gb = downhill(coef, b)
        z = z + step_size * g
        zb = zb + step_size * gb if moves else zb
        zs.append(z)
        zbs.append(zb)
    return PlainPath(
        t0 + step_size * np.arange(n_steps + 1),
        np.array(zs[:-1]),
        np.array(zbs[:-1]),
        step_size,
        kappa_raw,
        thresholds,
        blocks,
        positive,
        frame,
        moves,
        np.array(losses),
    )


def largest_rate(g, thresholds, blocks=None, positive=False):
    """Largest drift over threshold among the penalized entries or blocks: 1 / t0."""
    v = np.maximum(g, 0.0) if positive else np.abs(g)
    penalized = (thresholds > 0) & np.isfinite(thresholds)
    if blocks is None:
        return float(np.max(v[:, penalized] / thresholds[penalized]))
    return max(
        float(np.sqrt(np.sum(v[:, block] ** 2)) / thresholds[block[0]])
        for block in blocks
        if penalized[block[0]]
    )


# ------------------------------------------------------------------------------ ISS


class SlowPath(NamedTuple):
    """Knots (K,), coefficients (K, p) on the original scale, intercepts (K,)."""

    knots: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    end: str


def _without_free_columns(Xs, y, weights, thresholds, fit_intercept):
    """Project the intercept and the unpenalized columns out of design and response."""
    root = np.sqrt(weights)[:, None]
    ones = [np.ones((len(y), 1))] if fit_intercept else []
    free = np.hstack([*ones, Xs[:, thresholds == 0], np.zeros((len(y), 0))])
    U, sizes, _ = np.linalg.svd(root * free, full_matrices=False)
    U = U[:, sizes > 1e-10 * max(sizes.max(initial=0.0), 1e-300)]
    A, b = root * Xs, root[:, 0] * y
    A, b = A - U @ (U.T @ A), b - U @ (U.T @ b)
    return A, b


def slow_iss(
    X,
    y,
    *,
    weights=None,
    fit_intercept=True,
    standardize=True,
    penalty_factor=None,
    positive=False,
    t_max=np.inf,
    tol=1e-9,
):
    """Inverse scale space for least squares, one sign-constrained fit per knot.

    The subgradient grows by dt times the negative gradient; a variable that reaches its
    threshold joins the sign-constrained least-squares problem over all variables that
    sit on theirs (Osher, Ruan, Xiong, Yao and Yin 2016; Burger, Moeller, Benning and
    Osher 2013). Ties are decided by `tol` relative to the threshold.
    """
    frame = scaled(X, weights, fit_intercept, standardize)
    y = np.asarray(y, dtype=float)
    p = frame.X.shape[1]
    thresholds = (
        np.ones(p) if penalty_factor is None else np.array(penalty_factor, float)
    )
    thresholds[~frame.usable] = np.inf
    Xs = np.where(np.isfinite(thresholds), frame.X, 0.0)
    A, b = _without_free_columns(Xs, y, frame.weights, thresholds, fit_intercept)
    # a column inside the span of the unpenalized ones has nothing left to explain
    left = np.sqrt((A**2).sum(axis=0))
    live = (thresholds > 0) & np.isfinite(thresholds)
    live &= left > 1e-10 * np.sqrt(frame.weights @ Xs**2)
    A, limit = np.where(live, A, 0.0), np.where(live, thresholds, 1.0)

    t, rho, coef = 0.0, np.zeros(p), np.zeros(p)
    knots, coefs, end = [0.0], [coef], "least_squares"
    scale = max(np.max(np.abs(A.T @ b)), 1e-300)
    for _ in range(50 * p + 50):
        g = A.T @ (b - A @ coef)
        g[coef != 0] = 0.0
        g[np.abs(g) <= 1e-11 * scale] = 0.0
        on_limit = np.abs(np.abs(rho) - limit) <= tol * limit
        # on the boundary without a coefficient: the drift may only point inwards
        g[on_limit & (rho * g > 0) & (np.abs(g) <= 1e-9 * scale)] = 0.0
        wait = np.full(p, np.inf)
        up, down = g > 0, g < 0
        wait[up] = (limit[up] - rho[up]) / g[up]
        wait[down] = np.inf if positive else (-limit[down] - rho[down]) / g[down]
        dt = wait.min()
        if not np.isfinite(dt):
            break
        if t + dt > t_max:
            end = "t_max"
            break
        t += dt
        rho = rho + dt * g
        hit = wait <= dt + tol * t
        rho[hit] = np.sign(g[hit]) * limit[hit]
        sits = np.abs(rho) >= limit * (1 - tol)
        if positive:
            sits = rho >= limit * (1 - tol)
        sits &= live
        candidates = np.flatnonzero(sits)
        rho[candidates] = np.sign(rho[candidates]) * limit[candidates]
        signs = np.sign(rho[candidates])
        fit, _ = nnls(A[:, candidates] * signs, b, maxiter=100 * p + 100)
        support = candidates[fit > 1e-10 * max(fit.max(initial=0.0), 1e-300)]
        coef = np.zeros(p)
        polished = np.linalg.lstsq(A[:, support], b, rcond=None)[0]
        if np.all(np.sign(polished) == np.sign(rho[support])):
            coef[support] = polished
        else:
            coef[candidates] = fit * signs
        knots.append(t)
        coefs.append(coef)
    coefs = np.array(coefs)
    coefs, intercepts = _with_free_columns(
        coefs, Xs, y, frame, thresholds == 0, fit_intercept
    )
    return SlowPath(np.array(knots), coefs, intercepts, end)


def _with_free_columns(coefs, Xs, y, frame, free, fit_intercept):
    """Add the fit of the unpenalized columns and return to the original scale."""
    coefs = coefs.copy()
    intercepts = np.zeros(len(coefs))
    root = np.sqrt(frame.weights)[:, None]
    ones = [np.ones((len(y), 1))] if fit_intercept else []
    F = np.hstack([*ones, Xs[:, free]])
    for k, coef in enumerate(coefs):
        if F.shape[1]:
            r = root[:, 0] * (y - Xs @ coef)
            extra = np.linalg.lstsq(root * F, r, rcond=None)[0]
            intercepts[k] = extra[0] if fit_intercept else 0.0
            coef[free] = extra[len(ones) :]
    coefs = np.where(frame.usable, coefs / frame.scale, 0.0)
    return coefs, intercepts - coefs @ frame.center


def iss_violations(
    knots,
    coefs,
    intercepts,
    X,
    y,
    *,
    weights=None,
    fit_intercept=True,
    standardize=True,
    penalty_factor=None,
    positive=False,
):
    """Largest violation of each condition of an exact inverse-scale-space path.

    The subgradient is recomputed from nothing but the reported path: the integral of
    the negative gradient over the knots. The conditions hold for the true path only.

    ``inside``: |rho| <= threshold, relative to the threshold, at every knot.
    ``sign``: rho = threshold * sign(coef) on the support, at both ends of a segment.
    ``support``: gradient zero on the support and for intercept and free columns.
    ``end``: gradient of all penalized columns at the last knot (zero only for a path
    that was traced to its end; its outward part alone for positive coefficients).
    Gradients are relative to the largest one of the null model, rho to its threshold.
    """
    frame = scaled(X, weights, fit_intercept, standardize)
    y = np.asarray(y, dtype=float)
    p = frame.X.shape[1]
    w = np.ones(p) if penalty_factor is None else np.array(penalty_factor, float)
    dead = ~frame.usable | ~np.isfinite(w)
    raw = np.asarray(coefs, dtype=float)
    out = {
        "inside": 0.0,
        "sign": 0.0,
        "support": 0.0,
        "dead": np.abs(raw[:, dead]).max(initial=0.0),
    }
    # predictions from the original data: also checks the way back to original scale
    dense = np.array(X.toarray() if hasattr(X, "toarray") else X, dtype=float)
    free = (w == 0) & ~dead
    penalized = (w > 0) & ~dead
    rho, g = np.zeros(p), np.zeros(p)
    top = None
    for k, t in enumerate(knots):
        if k:
            rho = rho + (t - knots[k - 1]) * g
            over = rho / np.where(penalized, w, 1.0)
            over = over if positive else np.abs(over)
            out["inside"] = max(out["inside"], np.max(over[penalized] - 1.0, initial=0))
        for moment in (k - 1, k):  # the segment that ends here and the one that begins
            if moment < 0 or k == 0:
                continue
            on = penalized & (raw[moment] != 0)
            gap = rho[on] / w[on] - np.sign(raw[moment][on])
            out["sign"] = max(out["sign"], np.max(np.abs(gap), initial=0.0))
        residual = y - dense @ raw[k] - intercepts[k]
        g = frame.X.T @ (frame.weights * residual)
        if top is None:
            top = np.max(np.abs(g[penalized]))
        on = free | (penalized & (raw[k] != 0))
        worst = np.max(np.abs(g[on]), initial=0.0)
        if fit_intercept:
            worst = max(worst, abs(frame.weights @ residual))
        out["support"] = max(out["support"], worst / top)
        g = np.where(on, 0.0, g)
    last = np.maximum(g, 0.0) if positive else np.abs(g)
    out["end"] = np.max(last[penalized], initial=0.0) / top
    if positive:
        out["negative"] = max(0.0, -raw[:, penalized].min(initial=0.0))
    return out


# ----------------------------------------------------------- ISS in rational arithmetic


def _solve_rational(G, c):
    """Solve G b = c in fractions; None if G is singular."""
    m = len(c)
    rows = [list(G[i]) + [c[i]] for i in range(m)]
    for i in range(m):
        pivot = next((r for r in range(i, m) if rows[r][i] != 0), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for r in range(m):
            if r != i and rows[r][i] != 0:
                rows[r] = [
                    a - rows[r][i] * b for a, b in zip(rows[r], rows[i], strict=True)
                ]
    return [row[-1] for row in rows]


def rational_iss(X, y, thresholds=None):
    """Inverse scale space in exact fractions by brute force over supports.

    No intercept, no scaling, loss 1/(2n). Returns knots and coefficients as lists of
    fractions. Meant for a handful of columns: 2^p supports are tried at every knot.
    """
    X = [[Fraction(v) for v in row] for row in X]
    y = [Fraction(v) for v in y]
    n, p = len(X), len(X[0])
    w = [Fraction(1)] * p if thresholds is None else [Fraction(v) for v in thresholds]
    G = [[sum(r[i] * r[j] for r in X) / n for j in range(p)] for i in range(p)]
    c = [sum(r[j] * v for r, v in zip(X, y, strict=True)) / n for j in range(p)]

    def drift(coef):
        return [c[i] - sum(G[i][j] * coef[j] for j in range(p)) for i in range(p)]

    def constrained_fit(candidates, rho):
        # the subset whose fit has the right signs and leaves the others at rest or
        # pushed inwards is the solution (Karush-Kuhn-Tucker conditions)
        for size in range(len(candidates), -1, -1):
            for S in itertools.combinations(candidates, size):
                b = _solve_rational(
                    [[G[i][j] for j in S] for i in S], [c[i] for i in S]
                )
                if b is None or any(v * rho[j] <= 0 for v, j in zip(b, S, strict=True)):
                    continue
                coef = [Fraction(0)] * p
                for v, j in zip(b, S, strict=True):
                    coef[j] = v
                g = drift(coef)
                if all(g[j] * rho[j] <= 0 for j in candidates if j not in S):
                    return coef
        raise ArithmeticError("no support satisfies the optimality conditions")

    t, rho, coef = Fraction(0), [Fraction(0)] * p, [Fraction(0)] * p
    knots, coefs = [t], [coef]
    while True:
        g = drift(coef)
        waits = {
            j: ((w[j] if g[j] > 0 else -w[j]) - rho[j]) / g[j]
            for j in range(p)
            if g[j] != 0
        }
        if not waits:
            return knots, coefs
        dt = min(waits.values())
        t += dt
        rho = [r + dt * v for r, v in zip(rho, g, strict=True)]
        coef = constrained_fit([j for j in range(p) if abs(rho[j]) == w[j]], rho)
        knots.append(t)
        coefs.append(coef)


GOLDEN_X = [[2, 1, 0], [0, 0, -1], [3, 3, 2], [3, 0, -2]]
GOLDEN_Y = [-5, -2, 1, 6]
GOLDEN_KNOTS = [
    Fraction(a, b) for a, b in ((0, 1), (4, 11), (1, 2), (20, 13), (72, 13))
]
GOLDEN_COEFS = [
    [Fraction(0)] * 3,
    [Fraction(1, 2), Fraction(0), Fraction(0)],
    [Fraction(1, 2), Fraction(0), Fraction(-8, 9)],
    [Fraction(4, 3), Fraction(-5, 3), Fraction(0)],
    [Fraction(8, 3), Fraction(-13, 3), Fraction(2)],
]
