"""Checking a finished path against its definition, from the data alone.

Nothing of the compiled loops is used here: the dual variables of all columns are
recomputed by plain products, so that a mistake of a solver cannot hide.
"""

import numpy as np

from .._kernels import jit
from ..losses.fit import weighted_score
from ..penalties.base import shrink

_TINY = np.finfo(float).tiny


def verify_path(path, problem):
    """Check every knot of a path against the definition of its method.

    All numbers are dimensionless, 0 for a perfect path, and rounding (1e-12 or so) for
    a correct one. Duals are relative to the threshold of their column, gradients to the
    largest gradient over threshold at the null model, coefficients (of standardized
    columns) to the largest one so far, intercepts to the spread of y (for classes 1).

    Parameters
    ----------
    path : RegularizationPath
        Of method "iss" or "lbi".
    problem : Problem
        The problem that the path was traced on.

    Returns
    -------
    pandas.DataFrame
        One row per knot, with the columns

        ``knot``, ``size``
            The knot and its number of nonzero coefficients.

        and for ``method="iss"``, whose dual is recomputed as the sum of (length of the
        stretch between two knots) times (minus the gradient at its coefficients),

        ``dual_violation``
            By how much a dual is beyond its threshold.
        ``sign_violation``
            Distance of the dual of a nonzero coefficient from threshold times sign.
        ``support_gradient``
            Gradient of the nonzero and unpenalized coefficients and the intercept:
            these are least-squares fits.
        ``boundary_gradient``
            By how much the dual of a zero coefficient that sits at its threshold is
            about to leave the admissible range.

        and for ``method="lbi"``, which is iterated again, step by step, on the columns
        that are ever active,

        ``coef_error``, ``intercept_error``
            Deviation of the path from the iterates (linear in the dual between two).
        ``dual_violation``
            By how much the dual of a zero coefficient is beyond its threshold, for all
            columns, from the accumulated scores.

    Raises
    ------
    ValueError
        If there is no check for the method of `path`, or if `path` does not belong to
        `problem`.

    Notes
    -----
    The cost is one product with X per knot, and for "lbi" that of the plain iteration
    on the ever-active columns: n_iter times n_samples times their number.
    """
    import pandas as pd

    if path.method not in _CHECKS:
        raise ValueError(
            f"path.method={path.method!r} cannot be verified; only paths of the "
            f"methods {sorted(_CHECKS)} have a definition to check."
        )
    check_same_problem(path, problem)
    coefs = path.active_coefs.reshape(len(path), problem.n_outputs, -1)
    intercepts = path.intercepts.reshape(len(path), problem.n_outputs)
    intercepts = intercepts + coefs @ problem.x_mean[path.active_features]
    scaled = coefs * problem.x_scale[path.active_features]
    columns = _CHECKS[path.method](path, problem, scaled, intercepts)
    size = (coefs != 0).sum(axis=(1, 2))
    return pd.DataFrame({"knot": path.knots, "size": size, **columns})


def check_same_problem(path, problem):
    pairs = {
        "coefficients of shape": (path.coef_shape, problem.coef_shape),
        "loss": (path.loss, problem.loss),
        "penalty": (path.penalty, problem.penalty),
    }
    for what, (of_path, of_problem) in pairs.items():
        if (type(of_path), of_path) != (type(of_problem), of_problem):
            raise ValueError(
                f"path has {what} {of_path}, but problem {of_problem}; give the "
                "problem that the path was traced on."
            )
    if not np.isclose(path.n_samples, problem.total_weight, rtol=1e-9):
        raise ValueError(
            f"path was traced on data with a sum of weights of {path.n_samples:g}, "
            f"but problem has {problem.total_weight:g}; give the same X, y and "
            "sample_weight."
        )


def _verify_iss(path, problem, coefs, intercepts):
    positive = problem.penalty.positive
    weight = problem.weights
    penalized = weight > 0
    threshold = np.where(penalized, weight, 1.0)
    dual = np.zeros(problem.n_features)
    found = np.zeros((4, len(path)))
    gradient = before = None
    for k, knot in enumerate(path.knots):
        coef = np.zeros(problem.n_features)
        coef[path.active_features] = coefs[k, 0]
        eta = problem.apply(coef) + intercepts[k]
        score = weighted_score(problem.loss, problem.y, eta[None], problem.omega)
        if k:
            dual += (knot - before) * gradient
        gradient, before = problem.correlate(score)[0], knot
        if k == 0:
            top = np.max(np.abs(gradient[penalized]) / weight[penalized], initial=_TINY)
        on = penalized & (coef != 0)
        relative = dual / threshold
        reach = relative if positive else np.abs(relative)
        dual_violation = np.max(reach[penalized] - 1.0, initial=0.0)
        sign_violation = np.max(np.abs(relative - np.sign(coef))[on], initial=0.0)
        fitted = np.abs(gradient / threshold)[on | ~penalized]
        if problem.fit_intercept:
            fitted = np.append(fitted, abs(score.sum()))
        resting = penalized & ~on & (reach > 1.0 - 1e-8)
        outward = (np.sign(dual) * gradient / threshold)[resting]
        found[:, k] = (
            dual_violation,
            sign_violation,
            np.max(fitted, initial=0.0) / top,
            np.max(outward, initial=0.0) / top,
        )
    names = "dual_violation", "sign_violation", "support_gradient", "boundary_gradient"
    return dict(zip(names, found, strict=True))


def _verify_lbi(path, problem, coefs, intercepts):
    n_features, start = problem.n_features, path.knots[0]
    drift = problem.correlate(problem.null_score)
    features, ptr = _iterated_columns(path, problem)
    weight = problem.weights[features]
    reported = np.zeros((len(path), problem.n_outputs, len(problem.weights)))
    reported[:, :, path.active_features] = coefs
    reported = reported[:, :, features]
    kappa = path.kappa_raw
    # Nothing moves before the first knot but the duals of penalized columns.
    null = np.zeros_like(drift)
    null[:, problem.unpenalized] = problem.null_coef
    if problem.has_intercept_column:
        null[:, n_features] = problem.null_intercept
    z = np.where(weight == 0, null[:, features] / kappa, start * drift[:, features])
    walk = _Walk(problem, features, z, kappa, path.step_size, ptr)

    real = features < n_features
    spread = problem.s_y or np.abs(problem.y).max() or 1.0
    found = np.zeros((3, len(path)))
    top = _TINY
    for k, knot in enumerate(path.knots):
        coef, intercept, accumulated = walk.at(knot - start)
        top = max(top, np.abs(coef[:, real]).max(initial=0.0))
        error = np.abs(reported[k] - coef)[:, real].max(initial=0.0)
        wrong = np.abs(intercepts[k] - intercept).max() / spread
        dual = start * drift + problem.correlate(accumulated)
        dense = np.zeros_like(dual)
        dense[:, path.active_features] = coefs[k]
        found[:, k] = error / top, wrong, _beyond_threshold(problem, dual, dense)
    names = "coef_error", "intercept_error", "dual_violation"
    return dict(zip(names, found, strict=True))


def _iterated_columns(path, problem):
    """Columns of all blocks that are ever active or unpenalized, and block pointers."""
    order, ptr = problem.block_features, problem.block_ptr
    wanted = problem.weights == 0
    wanted[path.active_features] = True
    blocks = np.flatnonzero(np.logical_or.reduceat(wanted[order], ptr[:-1]))
    members = [order[ptr[b] : ptr[b + 1]] for b in blocks]
    sizes = [len(member) for member in members]
    features = np.concatenate([np.empty(0, dtype=np.intp), *members])
    return features, np.append(0, np.cumsum(sizes, dtype=np.intp))


class _Walk:
    """The plain iteration on some columns, with the sum of all scores it has met."""

    def __init__(self, problem, features, z, kappa, step_size, ptr):
        self.problem, self.ptr = problem, ptr
        self.kappa, self.step_size = kappa, step_size
        self.columns = np.ascontiguousarray(problem.columns(features, weighted=False).T)
        self.weight = problem.weights[features]
        self.ones = features == problem.n_features
        # Squared loss: centring has removed the intercept from the iteration.
        self.offset = np.zeros((problem.n_outputs, 1))
        if problem.fit_intercept and not problem.has_intercept_column:
            self.offset = problem.null_intercept[:, None]
        self.n_steps = 0
        self.z = z
        self.accumulated = np.zeros((problem.n_outputs, problem.n_samples))
        self._look()

    def _look(self):
        self.coef = self._shrunk(self.z)
        eta = self.coef @ self.columns + self.offset
        problem = self.problem
        self.score = weighted_score(problem.loss, problem.y, eta, problem.omega)
        self.gradient = self.score @ self.columns.T

    def _shrunk(self, z):
        out = np.zeros_like(z)
        _shrink(self.problem.penalty, z, self.weight, self.ptr, self.kappa, out)
        return out

    def at(self, elapsed):
        """Coefficients, intercept and summed scores at a time since the start."""
        steps = int(elapsed / self.step_size) if elapsed > 0 else 0
        while self.n_steps < steps:
            self.accumulated += self.step_size * self.score
            self.z += self.step_size * self.gradient
            self.n_steps += 1
            self._look()
        rest = elapsed - steps * self.step_size if elapsed > 0 else 0.0
        coef = self._shrunk(self.z + rest * self.gradient)
        intercept = coef[:, self.ones].sum(axis=1) + self.offset[:, 0]
        return coef, intercept, self.accumulated + rest * self.score


def _beyond_threshold(problem, dual, coef):
    """Largest norm of what shrinking leaves of the zero coefficients of a block."""
    order, ptr, weight = problem.block_features, problem.block_ptr, problem.weights
    left = np.zeros_like(dual)
    _shrink(
        problem.penalty,
        np.ascontiguousarray(dual[:, order]),
        weight[order],
        ptr,
        1.0,
        left,
    )
    left[coef[:, order] != 0] = 0.0
    norms = np.sqrt(np.add.reduceat((left**2).sum(axis=0), ptr[:-1]))
    threshold = weight[order[ptr[:-1]]]
    penalized = threshold > 0
    return np.max(norms[penalized] / threshold[penalized], initial=0.0)


@jit
def _shrink(penalty, z, weight, ptr, kappa, out):
    shrink(penalty, z, weight, ptr, kappa, out)


_CHECKS = {"iss": _verify_iss, "lbi": _verify_lbi}
