"""What solvers share: standard columns, refits, and the criterion on any path."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sparselbi import Problem, RegularizationPath
from sparselbi.path import EVENT_DTYPE
from sparselbi.selection import InformationCriterion

from ..objective import Task

__all__ = ["Solver", "Standard", "best_by_criterion", "best_by_folds", "refit"]


class Solver(NamedTuple):
    """One fit, and the rows of the tables that are read from it.

    `run` gives one array of coefficients (p,), on the scale of X, per label.
    """

    labels: tuple[str, ...]
    run: Callable[[Task], Sequence[np.ndarray]]
    package: str = "sklearn"


class Standard(NamedTuple):
    """Columns with mean 0 and variance 1, column-major, and a centred response."""

    Z: np.ndarray
    y: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, X, y):
        scale = X.std(axis=0)
        Z = np.asfortranarray((X - X.mean(axis=0)) / scale)
        return cls(Z, y - y.mean(), scale)

    def alphas(self, smallest, n_alphas=100):
        """Penalties from the first that has no variable, on a logarithmic grid."""
        largest = np.abs(self.Z.T @ self.y).max() / len(self.y)
        return np.geomspace(largest, smallest * largest, n_alphas)


def refit(X, y, support):
    """Least squares with intercept on a support, as coefficients (p,)."""
    coef = np.zeros(X.shape[1])
    centred = X[:, support] - X[:, support].mean(axis=0)
    coef[support] = np.linalg.lstsq(centred, y - y.mean(), rcond=None)[0]
    return coef


def best_by_criterion(task, alphas, coefs, criterion="ebic"):
    """Index of the coefficients that sparselbi's criterion chooses.

    Parameters
    ----------
    task : Task
    alphas : ndarray of shape (K,), falling
    coefs : ndarray of shape (K, p), on the scale of X, no variable in the first row
    """
    X, y = task.X, task.y
    features = np.flatnonzero((coefs != 0).any(axis=0))
    path = RegularizationPath(
        knots=alphas,
        knot_name="alpha",
        active_features=features,
        active_coefs=coefs[:, features],
        intercepts=y.mean() - coefs @ X.mean(axis=0),
        n_features=X.shape[1],
        events=np.empty(0, EVENT_DTYPE),
        interpolation="linear",
        method="competitor",
        loss=Problem(X, y).loss,
        penalty=Problem(X, y).penalty,
        n_samples=float(len(y)),
        settings={"fit_intercept": True},
    )
    return InformationCriterion(criterion).select(path, Problem(X, y)).index


def best_by_folds(task, trace):
    """Mean squared error of each candidate in cross-validation, and its error.

    Parameters
    ----------
    task : Task
    trace : callable
        From X, y to candidate coefficients (K, p), the same candidates for each fold.

    Returns
    -------
    mean, standard_error : ndarrays of shape (K,)
    """
    errors = []
    for train, test in task.folds.split(task.X):
        X, y = task.X[train], task.y[train]
        coefs = trace(X, y)
        intercepts = y.mean() - coefs @ X.mean(axis=0)
        predicted = task.X[test] @ coefs.T + intercepts
        errors.append(((task.y[test][:, None] - predicted) ** 2).mean(axis=0))
    spread = np.std(errors, axis=0, ddof=1) / np.sqrt(len(errors))
    return np.mean(errors, axis=0), spread
