"""Unpenalized fits on a given support."""

import dataclasses

import numpy as np

from ..losses.fit import fit_unpenalized

# Directions in which columns of unit length are shorter than this count as dependent.
_DEPENDENT = 1e-10


def refit_coefs(problem, features):
    """Minimize the mean loss over the intercept and the coefficients of some features.

    The criterion is ``sum_i w_i loss(y_i, x_i @ coef + intercept) / sum_i w_i``,
    without any penalty, sign constraint or group. Where the minimizer is not unique
    (dependent columns, more features than samples, softmax), it is the one of least
    Euclidean norm for columns centred (with an intercept) and scaled to mean square
    one, so that equal columns share their coefficient. Constant columns get 0.

    Parameters
    ----------
    problem : Problem
    features : array-like of int of shape (k,)

    Returns
    -------
    coef : ndarray of shape (k,), (1, k) or (n_classes, k)
        On the original scale of X, as ``path.active_coefs[i]``.
    intercept : float or ndarray of shape (1,) or (n_classes,)
        As ``path.intercepts[i]``; 0 without an intercept.
    deviance : float
        ``2 sum_i w_i loss(y_i, eta_i)`` of the fit; for the squared loss the weighted
        residual sum of squares.

    Notes
    -----
    Where the features separate the classes, the logistic and softmax losses have no
    minimizer: coefficients grow without bound and the deviance falls to 0. Then the
    result is the first iterate of Newton's method whose mean loss is below 1e-8 of that
    of a zero predictor: finite and large coefficients, a deviance that is 0 for every
    practical purpose, no warning.
    """
    features = np.asarray(features, dtype=np.intp)
    norms = problem.norms[features]
    norms = np.where(norms > 0, norms, 1.0)
    fit = _least_squares if problem.loss.name == "squared" else _newton
    coef, intercept, mean_loss = fit(problem, features, norms)
    coef, intercept = problem.to_original(features, coef / norms, intercept)
    deviance = 2 * problem.total_weight * mean_loss
    if len(problem.coef_shape) == 1:
        return coef[0], float(intercept[0]), deviance
    return coef, intercept, deviance


def refit_supports(problem, features, supports, coef_shape):
    """Refit many supports, each distinct one once.

    Parameters
    ----------
    problem : Problem
    features : ndarray of int of shape (E,)
    supports : bool ndarray of shape (K, E)
        Which of `features` are in.
    coef_shape : tuple
        Shape of the coefficients of one fit, (..., n_features).

    Returns
    -------
    coefs : ndarray of shape (K, *coef_shape[:-1], E)
    intercepts : ndarray of shape (K, *coef_shape[:-1])
    deviance : ndarray of shape (K,)
    """
    lead = coef_shape[:-1]
    coefs = np.zeros((len(supports), *lead, len(features)))
    intercepts = np.zeros((len(supports), *lead))
    deviance = np.zeros(len(supports))
    done = {}
    for k, mask in enumerate(supports):
        if (key := mask.tobytes()) not in done:
            done[key] = refit_coefs(problem, features[mask])
        coefs[k][..., mask], intercepts[k], deviance[k] = done[key]
    return coefs, intercepts, deviance


def refit_path(path, problem):
    """Refit the support of every knot; see `RegularizationPath.refit`."""
    coefs, intercepts, deviance = refit_supports(
        problem,
        path.active_features,
        path._nonzero(path.active_coefs),
        path.coef_shape,
    )
    return dataclasses.replace(
        path,
        method=f"{path.method}+refit",
        interpolation="constant",
        active_coefs=coefs,
        intercepts=intercepts,
        deviance=deviance,
        size=(coefs != 0).reshape(len(path), -1).sum(axis=1),
        refit_deviance=None,
        duals=None,
    )


def _least_squares(problem, features, norms):
    """Coefficients (n_outputs, k) of unit columns, intercept (n_outputs,), loss."""
    mean = problem.y @ problem.omega if problem.fit_intercept else 0.0 * problem.y[:, 0]
    target = problem.sqrt_weight * (problem.y - mean[:, None])
    design = problem.columns(features) / norms
    # Columns are centred: the intercept is the mean response, whatever the rest.
    coef = np.linalg.lstsq(design, target.T, rcond=_DEPENDENT)[0].T
    residual = target - coef @ design.T
    return coef, mean, 0.5 * float(np.vdot(residual, residual))


def _newton(problem, features, norms):
    design = problem.columns(features, weighted=False).T / norms[:, None]
    if problem.fit_intercept:
        design = np.vstack([design, np.ones(problem.n_samples)])
    coef, mean_loss, _ = fit_unpenalized(problem.loss, problem.y, problem.omega, design)
    if not problem.fit_intercept:
        return coef, np.zeros(len(coef)), mean_loss
    return coef[:, :-1], coef[:, -1], mean_loss
