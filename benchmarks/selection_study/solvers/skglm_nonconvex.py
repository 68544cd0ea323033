"""MCP (gamma 3) and SCAD (gamma 3.7) through skglm."""

import numpy as np

from .base import Solver, Standard, best_by_criterion, best_by_folds, refit


def _trace(penalty, X, y, alphas):
    """Coefficients (K, p) along falling alphas, each started at the one before."""
    from skglm.datafits import Quadratic
    from skglm.penalties import SCAD, MCPenalty
    from skglm.solvers import AndersonCD

    data = Standard.of(X, y)
    shape = MCPenalty(1.0, 3.0) if penalty == "MCP" else SCAD(1.0, 3.7)
    solver = AndersonCD(tol=1e-5, fit_intercept=False, ws_strategy="subdiff")
    return solver.path(data.Z, data.y, Quadratic(), shape, alphas)[1].T / data.scale


def _grid(task):
    """100 penalties from the first without any variable."""
    n, p = task.X.shape
    return Standard.of(task.X, task.y).alphas(0.05 if n <= p else 0.01)


def _ebic(penalty):
    def run(task):
        alphas = _grid(task)
        coefs = _trace(penalty, task.X, task.y, alphas)
        # Among n/2 of 500 variables these penalties find fits to pure noise that look
        # good to any criterion: the path ends before.
        many = np.count_nonzero(coefs, axis=1) > len(task.y) // 4
        inside = ~np.logical_or.accumulate(many)
        coefs = coefs[inside]
        coef = coefs[best_by_criterion(task, alphas[inside], coefs)]
        return [coef, refit(task.X, task.y, np.flatnonzero(coef))]

    return run


def _folds(penalty):
    def run(task):
        alphas = _grid(task)
        mean, _ = best_by_folds(task, lambda X, y: _trace(penalty, X, y, alphas))
        return [_trace(penalty, task.X, task.y, alphas)[np.argmin(mean)]]

    return run


SOLVERS = tuple(
    Solver(labels, run, "skglm")
    for penalty in ("MCP", "SCAD")
    for labels, run in (
        ((f"{penalty}, EBIC", f"{penalty}, EBIC, refit"), _ebic(penalty)),
        ((f"{penalty}, CV",), _folds(penalty)),
    )
)
