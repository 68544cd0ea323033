"""How the score reacts to the coefficients: in Gram space, or sample by sample.

The loop of LBI sees a small set of *tracked* columns, of which the first `a` of its
work arrays (in order of entry) are *stepped*: advanced in every iteration. A model
answers its questions about them. All times are path times; ``anchor`` is the last
point at which every dual of the problem was exact, ``ref`` the last point at which
every tracked dual was. The accumulated change of the score since either point,

    D = sum over iterations of step * (score - score at that point),

moves the dual of column x by ``x @ D``, hence by at most ``norm(x) * norm(D)``. The
score of an iteration moves the duals of the *next* iterate, so a step can be refused
before it is taken.
"""

from typing import NamedTuple

import numpy as np

from .._kernels import formula, inner
from ..losses.base import score, value
from ..penalties.base import shrink
from ._recording import support_changed


@formula
def gradient(model, work, a):
    """Write minus the gradient of the stepped columns at ``work.coef``."""


@formula
def advance(model, penalty, work, states, m_end):
    """Iterate until step `m_end`, or until something has to be looked at.

    Needs the gradient at ``work.coef``. Stops early when the support changed, when D
    since ref would exceed its budget (that step is not taken, ``due`` is set), when no
    dual moves (``still`` is set), or when numbers overflow. Returns True in that case.
    """


@formula
def settle(model, work, a, elapsed):
    """Add D since ref to D since anchor, restart the former, return the norm of D."""


@formula
def make_reference(model, work, a):
    """Make the present score the ref; return its distance from the anchor's score."""


@formula
def tracked_duals(model, work, tracked, a, elapsed):
    """Write the present duals of the candidates into ``tracked.dual``."""


@formula
def tracked_slopes(model, work, tracked, coef, a):
    """Write minus the gradient of the candidates at `coef` into ``tracked.slope``.

    `coef` must be the coefficients of the last call of `gradient`.
    """


@formula
def join(model, work, a, t):
    """Fill row and column `a` of the Gram matrix of stepped columns for column t."""


@formula
def is_saturated(model, limit):
    """Return whether the mean loss at the last gradient is below `limit`."""


@inner
def _gram_gradient(gram, coef, coef_anchor, g_anchor, delta, g, a):
    """g = g_anchor - gram @ (coef - coef_anchor), from half of the symmetric `gram`.

    A large Gram matrix does not fit into the cache: each entry is read only once.
    """
    for k in range(coef.shape[0]):
        for i in range(a):
            delta[i] = coef[k, i] - coef_anchor[k, i]
            g[k, i] = g_anchor[k, i]
        # Four rows at a time: each entry of g is loaded and stored less often.
        j = 0
        while j + 4 <= a:
            d0 = delta[j]
            d1 = delta[j + 1]
            d2 = delta[j + 2]
            d3 = delta[j + 3]
            t0 = 0.0
            t1 = 0.0
            t2 = 0.0
            t3 = 0.0
            for i in range(j):
                x0 = gram[j, i]
                x1 = gram[j + 1, i]
                x2 = gram[j + 2, i]
                x3 = gram[j + 3, i]
                g[k, i] -= x0 * d0 + x1 * d1 + x2 * d2 + x3 * d3
                t0 += x0 * delta[i]
                t1 += x1 * delta[i]
                t2 += x2 * delta[i]
                t3 += x3 * delta[i]
            g[k, j] -= t0
            g[k, j + 1] -= t1
            g[k, j + 2] -= t2
            g[k, j + 3] -= t3
            for i in range(j, j + 4):
                t0 = 0.0
                for h in range(j, j + 4):
                    t0 += gram[i, h] * delta[h]
                g[k, i] -= t0
            j += 4
        while j < a:
            d0 = delta[j]
            t0 = gram[j, j] * d0
            for i in range(j):
                g[k, i] -= gram[j, i] * d0
                t0 += gram[j, i] * delta[i]
            g[k, j] -= t0
            j += 1


@inner
def _first_candidate(tracked):
    """First tracked column of a block that is not stepped; blocks before it are."""
    for b in range(len(tracked.stepped)):
        if not tracked.stepped[b]:
            return tracked.ptr[b]
    return tracked.ptr[-1]


class GramModel(NamedTuple):
    """Squared loss: everything follows from the Gram matrix of the tracked columns."""

    gram: np.ndarray  # (T, T)
    dual: np.ndarray  # (K, T) at the anchor
    slope: np.ndarray  # (K, T) minus the gradient at the anchor
    since_anchor: np.ndarray  # (K, T) D since anchor, in coefficients
    since_ref: np.ndarray  # (K, T)
    delta: np.ndarray  # (T,) scratch

    def gradient(model, work, a):  # noqa: N805
        _gram_gradient(
            work.gram,
            work.coef,
            work.coef_anchor,
            work.g_anchor,
            model.delta,
            work.g,
            a,
        )

    def advance(model, penalty, work, states, m_end):  # noqa: N805
        s = states[0]
        K, a, m, step = work.z.shape[0], s.a, s.m, s.step
        budget = s.ref_budget**2
        ptr = work.ptr[: s.n_blocks + 1]
        since = model.since_ref
        while True:
            # The sum of gradient changes since ref is what the dual will have moved
            # beyond its slope at ref, so the norm of D costs one product.
            elapsed = (m + 1 - s.m_ref) * step
            used = 0.0
            moved = 0
            for k in range(K):
                for i in range(a):
                    c = work.coef[k, i]
                    before = work.z[k, i]
                    now = before + step * work.g[k, i]
                    d = since[k, i] + step * (c - work.coef_ref[k, i])
                    used -= d * (now - work.z_ref[k, i] - elapsed * work.g_ref[k, i])
                    moved += now != before
                    since[k, i] = d
                    work.z[k, i] = now
                    work.z_before[k, i] = before
                    work.coef_before[k, i] = c
            if not used < np.inf:
                return True
            if used > budget and m > s.m_ref:
                for k in range(K):
                    for i in range(a):
                        work.z[k, i] = work.z_before[k, i]
                        since[k, i] -= step * (work.coef[k, i] - work.coef_ref[k, i])
                s.due = True
                break
            s.used = used
            m += 1
            shrink(penalty, work.z, work.weight, ptr, s.kappa, work.coef)
            if moved == 0:
                s.still = True
                s.due = True
                break
            if m >= m_end or support_changed(
                work.coef, work.coef_before, work.weight, a, s.entrywise
            ):
                break
            _gram_gradient(
                work.gram,
                work.coef,
                work.coef_anchor,
                work.g_anchor,
                model.delta,
                work.g,
                a,
            )
        s.m = m
        return False

    def settle(model, work, a, elapsed):  # noqa: N805
        total = 0.0
        for k in range(work.coef.shape[0]):
            for i in range(a):
                model.since_anchor[k, i] += (
                    elapsed * (work.coef_ref[k, i] - work.coef_anchor[k, i])
                    + model.since_ref[k, i]
                )
                model.since_ref[k, i] = 0.0
            for i in range(a):
                row = 0.5 * work.gram[i, i] * model.since_anchor[k, i]
                for j in range(i):
                    row += work.gram[i, j] * model.since_anchor[k, j]
                total += 2.0 * row * model.since_anchor[k, i]
        return np.sqrt(max(total, 0.0))

    def make_reference(model, work, a):  # noqa: N805
        total = 0.0
        for k in range(work.coef.shape[0]):
            for i in range(a):
                total -= (work.coef[k, i] - work.coef_anchor[k, i]) * (
                    work.g[k, i] - work.g_anchor[k, i]
                )
        return np.sqrt(max(total, 0.0))

    def tracked_duals(model, work, tracked, a, elapsed):  # noqa: N805
        first = _first_candidate(tracked)
        for k in range(work.coef.shape[0]):
            for t in range(first, len(model.gram)):
                tracked.dual[k, t] = model.dual[k, t] + elapsed * model.slope[k, t]
            for i in range(a):
                j = work.column[i]
                d = model.since_anchor[k, i]
                for t in range(first, len(model.gram)):
                    tracked.dual[k, t] -= model.gram[j, t] * d

    def tracked_slopes(model, work, tracked, coef, a):  # noqa: N805
        first = _first_candidate(tracked)
        for k in range(work.coef.shape[0]):
            for t in range(first, len(model.gram)):
                tracked.slope[k, t] = model.slope[k, t]
            for i in range(a):
                j = work.column[i]
                d = coef[k, i] - work.coef_anchor[k, i]
                for t in range(first, len(model.gram)):
                    tracked.slope[k, t] -= model.gram[j, t] * d

    def join(model, work, a, t):  # noqa: N805
        for i in range(a + 1):
            work.gram[i, a] = model.gram[work.column[i], t]
            work.gram[a, i] = work.gram[i, a]

    def is_saturated(model, limit):  # noqa: N805
        return False


@inner
def _norm2(v, omega):
    """Squared norm of weighted scores: a column x moves by at most norm(x) times it."""
    total = 0.0
    for k in range(v.shape[0]):
        for s in range(v.shape[1]):
            # Samples of weight zero have no score.
            total += v[k, s] * v[k, s] / max(omega[s], 1e-300)
    return total


@inner
def _move_predictor(x, column, coef, coef_anchor, eta_anchor, eta, a):
    """eta = eta_anchor + (coef - coef_anchor) @ x[column], four columns at a time."""
    for k in range(eta.shape[0]):
        for s in range(eta.shape[1]):
            eta[k, s] = eta_anchor[k, s]
        i = 0
        while i + 4 <= a:
            j0, j1, j2, j3 = column[i], column[i + 1], column[i + 2], column[i + 3]
            d0 = coef[k, i] - coef_anchor[k, i]
            d1 = coef[k, i + 1] - coef_anchor[k, i + 1]
            d2 = coef[k, i + 2] - coef_anchor[k, i + 2]
            d3 = coef[k, i + 3] - coef_anchor[k, i + 3]
            for s in range(eta.shape[1]):
                eta[k, s] += (
                    d0 * x[j0, s] + d1 * x[j1, s] + d2 * x[j2, s] + d3 * x[j3, s]
                )
            i += 4
        while i < a:
            j0 = column[i]
            d0 = coef[k, i] - coef_anchor[k, i]
            for s in range(eta.shape[1]):
                eta[k, s] += d0 * x[j0, s]
            i += 1


@inner
def _correlate(x, column, v, g, a):
    """g = v @ x[column].T, four columns at a time."""
    for k in range(v.shape[0]):
        i = 0
        while i + 4 <= a:
            j0, j1, j2, j3 = column[i], column[i + 1], column[i + 2], column[i + 3]
            t0 = 0.0
            t1 = 0.0
            t2 = 0.0
            t3 = 0.0
            for s in range(v.shape[1]):
                u = v[k, s]
                t0 += u * x[j0, s]
                t1 += u * x[j1, s]
                t2 += u * x[j2, s]
                t3 += u * x[j3, s]
            g[k, i] = t0
            g[k, i + 1] = t1
            g[k, i + 2] = t2
            g[k, i + 3] = t3
            i += 4
        while i < a:
            j0 = column[i]
            t0 = 0.0
            for s in range(v.shape[1]):
                t0 += v[k, s] * x[j0, s]
            g[k, i] = t0
            i += 1


class SampleModel(NamedTuple):
    """Any loss: linear predictor and score of every sample are carried along."""

    loss: tuple
    x: np.ndarray  # (T, n) standardized tracked columns
    every: np.ndarray  # (T,) 0, 1, 2, ...
    y: np.ndarray  # (K, n)
    omega: np.ndarray  # (n,) weights, sum 1
    dual: np.ndarray  # (K, T) at the anchor
    slope: np.ndarray  # (K, T)
    eta_anchor: np.ndarray  # (K, n)
    score_anchor: np.ndarray  # (K, n) scores times omega, as all scores here
    score_ref: np.ndarray  # (K, n)
    score: np.ndarray  # (K, n)
    eta: np.ndarray  # (K, n)
    since_anchor: np.ndarray  # (K, n)
    since_ref: np.ndarray  # (K, n)

    def gradient(model, work, a):  # noqa: N805
        _move_predictor(
            model.x,
            work.column,
            work.coef,
            work.coef_anchor,
            model.eta_anchor,
            model.eta,
            a,
        )
        score(model.loss, model.y, model.eta, model.score)
        for k in range(model.y.shape[0]):
            for s in range(model.y.shape[1]):
                model.score[k, s] *= model.omega[s]
        _correlate(model.x, work.column, model.score, work.g, a)

    def advance(model, penalty, work, states, m_end):  # noqa: N805
        s = states[0]
        K, a, step = work.z.shape[0], s.a, s.step
        budget = s.ref_budget**2
        ptr = work.ptr[: s.n_blocks + 1]
        while True:
            for k in range(K):
                for i in range(model.y.shape[1]):
                    model.since_ref[k, i] += step * (
                        model.score[k, i] - model.score_ref[k, i]
                    )
            used = _norm2(model.since_ref, model.omega)
            if not used < np.inf:
                return True
            if used > budget and s.m > s.m_ref:
                for k in range(K):
                    for i in range(model.y.shape[1]):
                        model.since_ref[k, i] -= step * (
                            model.score[k, i] - model.score_ref[k, i]
                        )
                s.due = True
                break
            s.used = used
            moved = 0
            for k in range(K):
                for i in range(a):
                    before = work.z[k, i]
                    now = before + step * work.g[k, i]
                    moved += now != before
                    work.z[k, i] = now
                    work.z_before[k, i] = before
                    work.coef_before[k, i] = work.coef[k, i]
            s.m += 1
            shrink(penalty, work.z, work.weight, ptr, s.kappa, work.coef)
            if moved == 0:
                s.still = True
                s.due = True
                break
            if s.m >= m_end or support_changed(
                work.coef, work.coef_before, work.weight, a, s.entrywise
            ):
                break
            gradient(model, work, a)
        return False

    def settle(model, work, a, elapsed):  # noqa: N805
        for k in range(model.y.shape[0]):
            for s in range(model.y.shape[1]):
                model.since_anchor[k, s] += (
                    elapsed * (model.score_ref[k, s] - model.score_anchor[k, s])
                    + model.since_ref[k, s]
                )
                model.since_ref[k, s] = 0.0
        return np.sqrt(_norm2(model.since_anchor, model.omega))

    def make_reference(model, work, a):  # noqa: N805
        total = 0.0
        for k in range(model.y.shape[0]):
            for s in range(model.y.shape[1]):
                model.score_ref[k, s] = model.score[k, s]
                d = model.score[k, s] - model.score_anchor[k, s]
                total += d * d / max(model.omega[s], 1e-300)
        return np.sqrt(total)

    def tracked_duals(model, work, tracked, a, elapsed):  # noqa: N805
        _correlate(
            model.x, model.every, model.since_anchor, tracked.dual, len(model.every)
        )
        for k in range(model.y.shape[0]):
            for t in range(len(model.every)):
                tracked.dual[k, t] += model.dual[k, t] + elapsed * model.slope[k, t]

    def tracked_slopes(model, work, tracked, coef, a):  # noqa: N805
        _correlate(model.x, model.every, model.score, tracked.slope, len(model.every))

    def join(model, work, a, t):  # noqa: N805
        for i in range(a + 1):
            j = work.column[i]
            total = 0.0
            for s in range(model.y.shape[1]):
                total += model.x[j, s] * model.x[t, s] * model.omega[s]
            work.gram[i, a] = total
            work.gram[a, i] = total

    def is_saturated(model, limit):  # noqa: N805
        if limit <= 0.0:
            return False
        losses = np.empty(model.y.shape[1])
        value(model.loss, model.y, model.eta, losses)
        total = 0.0
        for s in range(len(losses)):
            total += model.omega[s] * losses[s]
        return total < limit
