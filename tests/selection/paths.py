"""Paths with known content, to test selection without a solver."""

import numpy as np

from sparselbi.path import EVENT_DTYPE, RegularizationPath


def support_path(problem, supports, shrink=0.9):
    """A path that visits `supports`, with coefficients `shrink` times least squares."""
    active = np.unique(np.concatenate([np.asarray(s, int) for s in supports]))
    coefs = np.zeros((len(supports), len(active)))
    mean = problem.y[0] @ problem.omega if problem.fit_intercept else 0.0
    target = problem.sqrt_weight * (problem.y[0] - mean)
    for k, support in enumerate(supports):
        support = np.asarray(support, int)
        where = np.searchsorted(active, support)
        columns = problem.columns(support)
        if len(support):
            fit = np.linalg.lstsq(columns, target, rcond=1e-10)[0]
            coefs[k, where] = shrink * fit / problem.x_scale[support]
    intercepts = mean - coefs @ problem.x_mean[active]
    return make_path(problem, active, coefs, intercepts)


def make_path(problem, active, coefs, intercepts, **changes):
    arguments = {
        "knots": np.arange(len(coefs), dtype=float),
        "active_features": active,
        "active_coefs": coefs,
        "intercepts": intercepts,
        "n_features": problem.n_features,
        "events": np.empty(0, EVENT_DTYPE),
        "interpolation": "constant",
        "method": "test",
        "loss": problem.loss,
        "penalty": problem.penalty,
        "n_samples": problem.total_weight,
        "settings": problem.settings,
        "classes": problem.classes,
        "status": "least_squares",
    }
    return RegularizationPath(**{**arguments, **changes})


def least_squares_sum(problem, X, support):
    """Weighted residual sum of squares of an independent least-squares fit."""
    design = X[:, np.asarray(support, int)]
    if problem.fit_intercept:
        design = np.column_stack([design, np.ones(len(X))])
    root = np.sqrt(problem.omega * problem.total_weight)
    target = root * problem.y[0]
    if design.shape[1] == 0:
        return target @ target
    coef = np.linalg.lstsq(root[:, None] * design, target, rcond=1e-10)[0]
    return np.sum((target - root[:, None] * design @ coef) ** 2)
