"""Lasso paths with less bias: refitted, relaxed, adaptive."""

import numpy as np
from sklearn.linear_model import LassoCV, lars_path, lasso_path

from .base import Solver, Standard, best_by_criterion, best_by_folds, refit

# Shares of the lasso in the relaxed lasso; the rest is least squares.
MIXTURES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def _lars(data, weights=1.0):
    """Knots of the lasso path until n/2 variables are in: alphas, coefs (K, p)."""
    alphas, _, coefs = lars_path(
        data.Z * weights, data.y, method="lasso", max_iter=len(data.y)
    )
    coefs = coefs.T * weights / data.scale
    inside = np.count_nonzero(coefs, axis=1) <= len(data.y) // 2
    inside &= np.append(True, np.diff(alphas) < 0)  # ties have no knot of their own
    return alphas[inside], coefs[inside]


def _ebic(task):
    alphas, coefs = _lars(Standard.of(task.X, task.y))
    coef = coefs[best_by_criterion(task, alphas, coefs)]
    return [coef, refit(task.X, task.y, np.flatnonzero(coef))]


def _adaptive(task):
    """Weights from the cross-validated lasso; the point by EBIC, not refitted."""
    data = Standard.of(task.X, task.y)
    weights = np.abs(LassoCV(cv=task.folds).fit(data.Z, data.y).coef_)
    if not weights.any():
        return [weights]
    alphas, coefs = _lars(data, weights)
    return [coefs[best_by_criterion(task, alphas, coefs)]]


def _relaxed(task):
    """Penalty and share of the lasso chosen together by cross-validation."""
    alphas = Standard.of(task.X, task.y).alphas(1e-3)  # the grid of LassoCV

    def trace(X, y):
        data = Standard.of(X, y)
        lasso = lasso_path(data.Z, data.y, alphas=alphas)[1].T / data.scale
        free, seen = lasso.copy(), {}
        for k, coef in enumerate(lasso):
            support = np.flatnonzero(coef)
            if len(support) > len(y) // 2:
                break  # near saturation there is nothing to relax towards
            if (key := support.tobytes()) not in seen:
                seen[key] = refit(X, y, support)
            free[k] = seen[key]
        share = MIXTURES[:, None, None]
        return (share * lasso + (1 - share) * free).reshape(-1, X.shape[1])

    mean, _ = best_by_folds(task, trace)
    return [trace(task.X, task.y)[np.argmin(mean)]]


SOLVERS = (
    Solver(("lasso, EBIC", "lasso, EBIC, refit"), _ebic),
    Solver(("relaxed lasso, CV",), _relaxed),
    Solver(("adaptive lasso, EBIC",), _adaptive),
)
