"""The lasso of scikit-learn, chosen by cross-validation or by its own criteria."""

import numpy as np
from sklearn.linear_model import Lasso, LassoCV, LassoLarsIC

from .base import Solver, Standard


def _cross_validated(task):
    data = Standard.of(task.X, task.y)
    return data, LassoCV(cv=task.folds).fit(data.Z, data.y)


def _both_rules(task):
    data, model = _cross_validated(task)
    mean = model.mse_path_.mean(axis=1)
    spread = model.mse_path_.std(axis=1, ddof=1) / np.sqrt(model.mse_path_.shape[1])
    best = np.argmin(mean)
    first = np.flatnonzero(mean <= mean[best] + spread[best])[0]  # alphas_ fall
    simpler = Lasso(model.alphas_[first]).fit(data.Z, data.y)
    return [model.coef_ / data.scale, simpler.coef_ / data.scale]


def _criterion(name):
    def run(task):
        data = Standard.of(task.X, task.y)
        n, p = data.Z.shape
        variance = None  # scikit-learn's own estimate, from all variables
        if n <= p + 1:
            # Reid, Tibshirani and Friedman (2016): residuals of the cross-validated
            # lasso, divided by n minus the number of its variables.
            _, first = _cross_validated(task)
            residual = data.y - first.predict(data.Z)
            variance = residual @ residual / max(n - np.count_nonzero(first.coef_), 1)
        model = LassoLarsIC(name, noise_variance=variance).fit(data.Z, data.y)
        return [model.coef_ / data.scale]

    return run


SOLVERS = (
    Solver(("LassoCV", "LassoCV 1se"), _both_rules),
    Solver(("LassoLarsIC, BIC",), _criterion("bic")),
    Solver(("LassoLarsIC, AIC",), _criterion("aic")),
)
