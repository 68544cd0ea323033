"""LBI for four dampings and ISS, with every selector, with and without refit.

All paths but that of the plain default end when n/2 variables are in: the criteria
score no larger model, and n > p is not affected.
"""

import numpy as np

from sparselbi import LBI
from sparselbi.selection import CrossValidation

from .base import Solver, refit

KAPPAS = (3, 10, 30, 100, np.inf)


def _default(task):
    return [LBI().fit(task.X, task.y).coef_]


def _trace(task, kappa, selector):
    model = LBI(kappa=kappa, selector=selector, max_features=len(task.y) // 2)
    return model.fit(task.X, task.y)


def _criteria(kappa, again):
    def run(task):
        model = _trace(task, kappa, "ebic")
        coefs = [model.coef_, model.select("bic").coef_]
        if again:
            coefs += [refit(task.X, task.y, np.flatnonzero(coef)) for coef in coefs]
        return coefs

    return run


def _folds(kappa, again):
    """Both rules; with `again` the folds score their refits, too."""

    def run(task):
        selector = CrossValidation(cv=task.folds, refit=again)
        model = _trace(task, kappa, selector)
        points = model.selection_.points
        coefs = [model.path_.at(points[rule]).coef for rule in ("cv", "cv_1se")]
        if again:
            return [refit(task.X, task.y, np.flatnonzero(coef)) for coef in coefs]
        return coefs

    return run


def _solvers(kappa):
    name = "ISS" if np.isinf(kappa) else f"LBI {kappa}"
    # ISS is least squares on its support already, but for sign constraints.
    again = not np.isinf(kappa)
    rules = ("EBIC", "BIC") + ("EBIC, refit", "BIC, refit") * again
    yield _criteria(kappa, again), rules, name
    yield _folds(kappa, False), ("CV", "CV 1se"), name
    if again:
        yield _folds(kappa, True), ("CV, refit", "CV 1se, refit"), name


SOLVERS = (
    Solver(("LBI()",), _default, "sparselbi"),
    *(
        Solver(tuple(f"{name}, {rule}" for rule in rules), run, "sparselbi")
        for kappa in KAPPAS
        for run, rules, name in _solvers(kappa)
    ),
)
