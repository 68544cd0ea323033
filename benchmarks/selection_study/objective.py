"""What every solver is asked, and how its answer is scored."""

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import KFold

from . import datasets

__all__ = ["Score", "Task", "ask", "score"]

N_FOLDS = 5


class Task(NamedTuple):
    """One data set as a solver sees it.

    `folds` is the splitter that every cross-validation uses; `support` is the truth,
    for the oracle only.
    """

    X: np.ndarray
    y: np.ndarray
    folds: KFold
    support: np.ndarray


class Score(NamedTuple):
    """How good one answer is.

    `model_error` is (b - b*)' Sigma (b - b*), `estimation_error` is ||b - b*||^2 and
    `prediction_error` the expected squared error for a new row, in which the noise
    has a part of 1; all three exact, without a test set.
    """

    true: int
    false: int
    model_error: float
    estimation_error: float
    prediction_error: float


def ask(design, seed):
    """The question of one seed, and what is needed to score answers."""
    truth = datasets.draw(design, seed)
    folds = KFold(N_FOLDS, shuffle=True, random_state=seed)
    return Task(truth.X, truth.y, folds, truth.support), truth


def score(truth, sigma, coef):
    """Score coefficients (p,), with the intercept that fits them best."""
    found = np.flatnonzero(coef)
    true = int(np.isin(found, truth.support).sum())
    difference = coef - truth.coef
    model_error = float(difference @ sigma @ difference)
    intercept = truth.y.mean() - truth.X.mean(axis=0) @ coef
    return Score(
        true,
        len(found) - true,
        model_error,
        float(difference @ difference),
        1.0 + model_error + float(intercept) ** 2,
    )
