"""Unpenalized fits by Newton's method: null models and refits."""

import numpy as np

from .base import evaluate_score, evaluate_value

_MAX_ITER = 100
# A mean loss this far below that of a zero predictor means that the data are separable.
# So does a step that lowers the loss by this little (relative to itself) although it
# moves a predictor by _FAR: only samples that are separated from the others gain.
_SEPARABLE = 1e-8
_FAR = 0.1


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
        True if the loss has no minimizer, because some samples are separated from the
        others; `coef` is then some far point.
    """
    n_outputs, n_columns = len(y), len(design)
    coef = np.zeros((n_outputs, n_columns))
    eta = coef @ design
    objective = start = mean_loss(loss, y, eta, omega)
    if n_columns == 0:
        return coef, objective, False
    for _ in range(_MAX_ITER):
        gradient = weighted_score(loss, y, eta, omega) @ design.T
        improvement = moved = 0.0
        # Where Newton's method fails (no curvature, no decrease) the majorant does not.
        for second in (_newton_matrix, _majorant_matrix):
            matrix = second(loss, y, eta, omega, design)
            step = np.linalg.lstsq(matrix, gradient.ravel(), rcond=1e-12)[0]
            missed = np.abs(matrix @ step - gradient.ravel()).max()
            if missed > 1e-6 * np.abs(gradient).max():
                continue
            step = step.reshape(coef.shape)
            decrease = float((gradient * step).sum())
            size = 1.0
            while size > 1e-4:
                new_eta = (coef + size * step) @ design
                new = mean_loss(loss, y, new_eta, omega)
                if new <= objective * (1 + 1e-15) - 1e-4 * size * decrease:
                    break
                size /= 2
            else:
                continue
            coef = coef + size * step
            change = (new_eta - eta)[:, omega > 0]
            if len(y) > 1:  # a common shift of all classes changes nothing
                change = change - change.mean(axis=0)
            moved = np.abs(change).max()
            eta, improvement, objective = new_eta, objective - new, new
            break
        if loss.saturates and (
            objective < _SEPARABLE * start
            or (improvement < _SEPARABLE * objective and moved > _FAR)
        ):
            return coef, objective, True
        # Newton converges quadratically: the step that no longer shows in the
        # objective is the last one that improves the coefficients.
        if improvement <= 1e-14 * objective:
            break
    return coef, objective, False


def _newton_matrix(loss, y, eta, omega, design):
    hessian = loss.hessian(y, eta) * omega
    if len(y) == 1:
        return (design * hessian[0, 0]) @ design.T
    n = len(y) * len(design)
    return np.einsum("kli,ai,bi->kalb", hessian, design, design).reshape(n, n)


def _majorant_matrix(loss, y, eta, omega, design):
    matrix = (design * (loss.majorant(y, eta) * omega)) @ design.T
    return np.kron(np.eye(len(y)), matrix)
