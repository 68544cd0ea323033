"""How the score reacts to the coefficients: in Gram space, or sample by sample.

The loop of LBI sees a small set of *tracked* columns, of which the first `a` of its
work arrays (in order of entry) are *stepped*: advanced in every iteration. A model
answers its questions about them. All times are path times; ``anchor`` is the last
point at which every dual of the problem was exact, ``ref`` the last point at which
every tracked dual was. The accumulated change of the score since either point,

    D = sum over iterations of step * (score - score at that point),

moves the dual of column x by ``x @ D``, hence by at most ``norm(x) * norm(D)``.
"""

from typing import NamedTuple

import numpy as np

from .._kernels import formula
from ..losses.base import score, value


@formula
def gradient(model, work, a):
    """Write minus the gradient of the stepped columns at ``work.coef``."""


@formula
def drift(model, work, a, step, elapsed):
    """Add the last iteration to D since ref; return its squared norm."""


@formula
def settle(model, work, a, elapsed):
    """Add D since ref to D since anchor, restart the former, return the norm of D."""


@formula
def make_reference(model, work, a):
    """Make the present score the ref; return its distance from the anchor's score."""


@formula
def tracked_dual(model, work, a, k, t, elapsed):
    """Return the present dual of output k of the tracked column t."""


@formula
def tracked_gradient(model, work, coef, a, k, t):
    """Return minus the gradient of output k of the tracked column t at `coef`.

    `coef` must be the coefficients of the last call of `gradient`.
    """


@formula
def join(model, work, a, t):
    """Fill row and column `a` of the Gram matrix of stepped columns for column t."""


@formula
def is_saturated(model, limit):
    """Return whether the mean loss at the last gradient is below `limit`."""


class GramModel(NamedTuple):
    """Squared loss: everything follows from the Gram matrix of the tracked columns."""

    gram: np.ndarray  # (T, T)
    dual: np.ndarray  # (K, T) at the anchor
    slope: np.ndarray  # (K, T) minus the gradient at the anchor
    since_anchor: np.ndarray  # (K, cap) D since anchor, in coefficients
    since_ref: np.ndarray  # (K, cap)
    delta: np.ndarray  # (cap,) scratch

    def gradient(model, work, a):  # noqa: N805
        for k in range(work.coef.shape[0]):
            for i in range(a):
                model.delta[i] = work.coef[k, i] - work.coef_anchor[k, i]
                work.g[k, i] = work.g_anchor[k, i]
            # Four columns at a time: each entry of g is loaded and stored less often.
            j = 0
            while j + 4 <= a:
                d0 = model.delta[j]
                d1 = model.delta[j + 1]
                d2 = model.delta[j + 2]
                d3 = model.delta[j + 3]
                for i in range(a):
                    work.g[k, i] -= (
                        work.gram[j, i] * d0
                        + work.gram[j + 1, i] * d1
                        + work.gram[j + 2, i] * d2
                        + work.gram[j + 3, i] * d3
                    )
                j += 4
            while j < a:
                d0 = model.delta[j]
                for i in range(a):
                    work.g[k, i] -= work.gram[j, i] * d0
                j += 1

    def drift(model, work, a, step, elapsed):  # noqa: N805
        # The sum of gradient changes is what the dual moved beyond its ref slope.
        total = 0.0
        for k in range(work.coef.shape[0]):
            for i in range(a):
                d = model.since_ref[k, i] + step * (
                    work.coef_before[k, i] - work.coef_ref[k, i]
                )
                model.since_ref[k, i] = d
                total -= d * (work.z[k, i] - work.z_ref[k, i] - elapsed * work.g_ref[k, i])
        return max(total, 0.0)

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
                row = 0.0
                for j in range(a):
                    row += work.gram[i, j] * model.since_anchor[k, j]
                total += row * model.since_anchor[k, i]
        return np.sqrt(max(total, 0.0))

    def make_reference(model, work, a):  # noqa: N805
        total = 0.0
        for k in range(work.coef.shape[0]):
            for i in range(a):
                total -= (work.coef[k, i] - work.coef_anchor[k, i]) * (
                    work.g[k, i] - work.g_anchor[k, i]
                )
        return np.sqrt(max(total, 0.0))

    def tracked_dual(model, work, a, k, t, elapsed):  # noqa: N805
        value = model.dual[k, t] + elapsed * model.slope[k, t]
        for i in range(a):
            value -= model.gram[t, work.column[i]] * model.since_anchor[k, i]
        return value

    def tracked_gradient(model, work, coef, a, k, t):  # noqa: N805
        value = model.slope[k, t]
        for i in range(a):
            value -= model.gram[t, work.column[i]] * (
                coef[k, i] - work.coef_anchor[k, i]
            )
        return value

    def join(model, work, a, t):  # noqa: N805
        for i in range(a + 1):
            work.gram[i, a] = model.gram[work.column[i], t]
            work.gram[a, i] = work.gram[i, a]

    def is_saturated(model, limit):  # noqa: N805
        return False


class SampleModel(NamedTuple):
    """Any loss: linear predictor and score of every sample are carried along."""

    loss: tuple
    x: np.ndarray  # (T, n) standardized tracked columns
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
        n = model.y.shape[1]
        for k in range(model.y.shape[0]):
            eta = model.eta[k]
            eta[:] = model.eta_anchor[k]
            for i in range(a):
                d = work.coef[k, i] - work.coef_anchor[k, i]
                if d != 0.0:
                    x = model.x[work.column[i]]
                    for s in range(n):
                        eta[s] += d * x[s]
        score(model.loss, model.y, model.eta, model.score)
        for k in range(model.y.shape[0]):
            current = model.score[k]
            for s in range(n):
                current[s] *= model.omega[s]
            for i in range(a):
                x = model.x[work.column[i]]
                value = 0.0
                for s in range(n):
                    value += x[s] * current[s]
                work.g[k, i] = value

    def drift(model, work, a, step, elapsed):  # noqa: N805
        total = 0.0
        for k in range(model.y.shape[0]):
            for s in range(model.y.shape[1]):
                d = model.since_ref[k, s] + step * (
                    model.score[k, s] - model.score_ref[k, s]
                )
                model.since_ref[k, s] = d
                # Samples of weight zero have no score.
                total += d * d / max(model.omega[s], 1e-300)
        return total

    def settle(model, work, a, elapsed):  # noqa: N805
        total = 0.0
        for k in range(model.y.shape[0]):
            for s in range(model.y.shape[1]):
                d = (
                    model.since_anchor[k, s]
                    + elapsed * (model.score_ref[k, s] - model.score_anchor[k, s])
                    + model.since_ref[k, s]
                )
                model.since_anchor[k, s] = d
                model.since_ref[k, s] = 0.0
                total += d * d / max(model.omega[s], 1e-300)
        return np.sqrt(total)

    def make_reference(model, work, a):  # noqa: N805
        total = 0.0
        for k in range(model.y.shape[0]):
            for s in range(model.y.shape[1]):
                model.score_ref[k, s] = model.score[k, s]
                d = model.score[k, s] - model.score_anchor[k, s]
                total += d * d / max(model.omega[s], 1e-300)
        return np.sqrt(total)

    def tracked_dual(model, work, a, k, t, elapsed):  # noqa: N805
        value = 0.0
        for s in range(model.y.shape[1]):
            value += model.x[t, s] * model.since_anchor[k, s]
        return model.dual[k, t] + elapsed * model.slope[k, t] + value

    def tracked_gradient(model, work, coef, a, k, t):  # noqa: N805
        value = 0.0
        for s in range(model.y.shape[1]):
            value += model.x[t, s] * model.score[k, s]
        return value

    def join(model, work, a, t):  # noqa: N805
        for i in range(a + 1):
            x = model.x[work.column[i]]
            value = 0.0
            for s in range(model.y.shape[1]):
                value += x[s] * model.x[t, s] * model.omega[s]
            work.gram[i, a] = value
            work.gram[a, i] = value

    def is_saturated(model, limit):  # noqa: N805
        if limit <= 0.0:
            return False
        losses = np.empty(model.y.shape[1])
        value(model.loss, model.y, model.eta, losses)
        total = 0.0
        for s in range(len(losses)):
            total += model.omega[s] * losses[s]
        return total < limit
