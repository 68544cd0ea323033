"""What solvers share: first entry, step size, and how a path is put together."""

import numpy as np

from .._kernels import jit
from ..path import EVENT_DTYPE, RegularizationPath
from ..penalties.base import horizon

_LANCZOS_STEPS = 4
# Event codes of compiled loops: +-1 enters with that sign, +-2 leaves.
_LEAVES = 2


@jit
def _horizon(penalty, z, g, slack, weight, ptr, out):
    horizon(penalty, z, g, slack, weight, ptr, out)


def time_to_threshold(problem, z, g, slack):
    """Time for which each block surely stays at zero; see `penalties.base.horizon`.

    Unpenalized blocks get infinity: they have no threshold to reach.
    """
    order, ptr, weights = problem.block_features, problem.block_ptr, problem.weights
    if len(ptr) <= len(order):  # some block has several columns: make them neighbours
        z = np.ascontiguousarray(z[:, order])
        g = np.ascontiguousarray(g[:, order])
        weights = weights[order]
    out = np.empty(len(ptr) - 1)
    _horizon(problem.penalty, z, g, slack, weights, ptr, out)
    out[weights[ptr[:-1]] == 0] = np.inf
    return out


def first_entry_time(problem, g):
    """t0: the time at which the first block meets its threshold, inf if none does."""
    zero = np.zeros_like(g)
    reach = time_to_threshold(problem, zero, g, np.zeros(len(problem.block_ptr) - 1))
    t0 = float(reach.min(initial=np.inf))
    if t0 == np.inf:
        return t0
    # A gradient at rounding level is zero: it never makes an entry.
    size = np.abs(problem.y).max() + np.abs(problem.null_eta).max()
    level = 1e-14 * size * problem.norms.max()
    return t0 if t0 * level < 1.0 else np.inf


def hessian_norm(problem, start, n_steps=_LANCZOS_STEPS):
    """Estimate the spectral norm of the Hessian bound from below.

    A few Golub-Kahan-Lanczos steps, started from the gradient at the null model so that
    the result does not depend on the order of columns or on a seed.
    """
    largest = float((problem.norms**2).max(initial=0.0))
    right: list = []
    left: list = []
    diagonal: list = []
    above: list = []
    v = start.copy()
    for _ in range(n_steps):
        for other in right:
            v -= (v @ other) * other
        beta = np.linalg.norm(v)
        if beta <= 1e-12 * np.sqrt(largest):
            break
        right.append(v / beta)
        above.append(beta)
        u = problem.sqrt_weight * problem.apply(right[-1])
        for other in left:
            u -= (u @ other) * other
        alpha = np.linalg.norm(u)
        if alpha <= 1e-12 * np.sqrt(largest):
            break
        left.append(u / alpha)
        diagonal.append(alpha)
        v = problem.correlate(problem.sqrt_weight * left[-1])[0]
    if diagonal:
        k = len(diagonal)
        bidiagonal = np.diag(diagonal) + np.diag(above[1:k], 1)
        largest = max(largest, float(np.linalg.norm(bidiagonal, 2)) ** 2)
    return problem.loss.curvature * largest


def hessian_bound(loss, y, eta):
    """Upper bound (n_samples,) of the norm of the second derivative of each sample."""
    return np.abs(loss.hessian(y, eta)).sum(axis=1).max(axis=0)


def check_count(name, value):
    """Return `value` as an int of at least 1; None means no limit."""
    if value is None:
        return np.iinfo(np.int64).max
    if isinstance(value, (int, np.integer)) and value >= 1:
        return int(value)
    raise ValueError(f"{name}={value!r} must be an integer of at least 1, or None.")


def null_path(problem, fields, t_max):
    """The path of one knot, for data in which nothing enters before t_max."""
    t0 = fields["t0"]
    if t0 == np.inf:
        status = "null"
        message = (
            "No feature is correlated with the response: the null model is all "
            "there is."
        )
    else:
        status = "t_max"
        message = f"t_max={t_max:.6g} is not beyond the first entry at t0={t0:.6g}."
    coefs = problem.null_coef[None]
    return build_path(
        problem,
        np.array([0.0 if t_max is None else t_max]),
        problem.unpenalized,
        coefs,
        problem.null_intercept[None],
        events=np.zeros(0, EVENT_DTYPE),
        status=status,
        message=message,
        n_iter=0,
        info={"n_anchors": 0},
        **fields,
    )


def build_path(problem, knots, features, coefs, intercepts, **fields):
    """Return a RegularizationPath from standardized coefficients.

    Parameters
    ----------
    features : ndarray of shape (E,), ascending
    coefs : ndarray of shape (K, n_outputs, E)
    intercepts : ndarray of shape (K, n_outputs) or None
        Of the centred columns; None where the intercept is that of the null model.
    """
    used = (coefs != 0).any(axis=(0, 1))
    used |= np.isin(features, fields["events"]["feature"])
    features, coefs = features[used], coefs[:, :, used]
    coefs, intercepts = problem.to_original(features, coefs, intercepts)
    intercepts = np.broadcast_to(intercepts, coefs.shape[:2])
    if len(problem.coef_shape) == 1:
        coefs, intercepts = coefs[:, 0], intercepts[:, 0]
    return RegularizationPath(
        knots=knots,
        active_features=features,
        active_coefs=coefs,
        active_means=problem.x_mean[features],
        intercepts=np.array(intercepts),
        n_features=problem.n_features,
        loss=problem.loss,
        penalty=problem.penalty,
        n_samples=problem.total_weight,
        settings=problem.settings,
        classes=problem.classes,
        **fields,
    )


def build_events(problem, t, feature, output, code):
    """Return the event table for the codes written by a compiled loop."""
    events = np.zeros(len(t), EVENT_DTYPE)
    events["t"] = t
    events["feature"] = feature
    events["output"] = output
    events["sign"] = np.sign(code)
    events["enters"] = np.abs(code) < _LEAVES
    if problem.n_outputs == 1:
        events["output"] = -1
    elif problem.penalty.grouped and not problem.penalty.positive:
        # All outputs of a feature move together: one event instead of n_outputs.
        key = events[["t", "feature", "enters"]]
        events = events[np.unique(key, return_index=True)[1]]
        events["output"] = -1
        events["sign"] = 0
    return events[np.lexsort((events["enters"], events["feature"], events["t"]))]
