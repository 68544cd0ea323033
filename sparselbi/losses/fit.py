"""Unpenalized fits by Newton's method: null models and refits."""

import numpy as np

from .base import evaluate_score, evaluate_value

_MAX_ITER = 100
# A mean loss this far below the null fit means that the data are separable.
_SEPARABLE = 1e-8


def mean_loss(loss, y, eta, omega):
    """Weighted mean loss; `omega` are weights that sum to one."""
    out = np.empty(y.shape[1])
    evaluate_value(loss, y, np.ascontiguousarray(eta), out)
    return float(omega @ out)


def weighted_score(loss, y, eta, omega):
    """Weights times the score, shape (n_outputs, n_samples)."""
    out = np.empty_like(y)
    evaluate_score(loss, y, np.ascontiguousarray(eta), out)
    out *= omega
    return out


def fit_unpenalized(loss, y, omega, design):
    """Minimize the weighted mean loss of ``coef @ design`` over `coef`.

    Parameters
    ----------
    loss : loss instance
    y : ndarray of shape (n_outputs, n_samples), encoded targets
    omega : ndarray of shape (n_samples,), weights that sum to one
    design : ndarray of shape (n_columns, n_samples)

    Returns
    -------
    coef : ndarray of shape (n_outputs, n_columns)
        Of least norm when it is not unique.
    objective : float
        The mean loss at `coef`.
    separable : bool
        True if the loss has no minimizer; `coef` is then some far point.
    """
    n_outputs, n_columns = len(y), len(design)
    coef = np.zeros((n_outputs, n_columns))
    eta = coef @ design
    objective = start = mean_loss(loss, y, eta, omega)
    if n_columns == 0:
        return coef, objective, False
    for _ in range(_MAX_ITER):
        score = weighted_score(loss, y, eta, omega)
        gradient = score @ design.T
        hessian = (
            np.einsum("kli,ai,bi->kalb", loss.hessian(y, eta) * omega, design, design)
            if n_outputs > 1
            else (design * (loss.hessian(y, eta)[0, 0] * omega)) @ design.T
        )
        hessian = hessian.reshape(n_outputs * n_columns, -1)
        majorant = np.kron(
            np.eye(n_outputs), loss.curvature * (design * omega) @ design.T
        )
        for curvature in (hessian, majorant):
            step = np.linalg.lstsq(curvature, gradient.ravel(), rcond=1e-12)[0]
            step = step.reshape(coef.shape)
            decrease = float((gradient * step).sum())
            new, size = objective, 1.0
            while size > 1e-4:
                new_eta = (coef + size * step) @ design
                new = mean_loss(loss, y, new_eta, omega)
                if new <= objective - 1e-4 * size * decrease + 1e-15 * start:
                    break
                size /= 2
            else:
                continue
            break
        else:
            break
        coef = coef + size * step
        eta, improvement, objective = new_eta, objective - new, new
        if loss.saturates and objective < _SEPARABLE * start:
            return coef, objective, True
        # Newton converges quadratically: the step that no longer shows in the
        # objective is the last one that improves the coefficients.
        if improvement <= 1e-14 * start:
            break
    return coef, objective, False
