"""What each method answers on one instance, and when an answer is right.

Nothing is tuned with the truth. Methods that trace a path answer with its end, or stop
by themselves where an equation with fewer columns than rows is solved exactly, which
by chance never happens. Only *lasso, signs* asks an oracle for alpha: it is the event
that theorems on the lasso are about.
"""

import warnings

import numpy as np
from scipy.optimize import linprog
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lars_path, orthogonal_mp

from sparselbi import Problem, iss_path, lbi_path

__all__ = ["KAPPA", "LABELS", "TOLERANCE", "basis_pursuit", "lbi_end", "solve"]

# Largest error of a recovered coefficient, relative to the largest true one.
TOLERANCE = 1e-4
# Damping of LBI; the largest true coefficient of signs is 1.
KAPPA = 100.0
# LBI relaxes exponentially after its last entry: it is run ten times as long as ISS.
# Where ISS ends with as many nonzeros as equations there is nothing sparse to find, and
# this end is late: 100 t0 must do.
LONG, SHORT = 10.0, 100.0

LABELS = {
    "bp": "basis pursuit (HiGHS)",
    "iss": "ISS, end of path",
    "lbi": f"LBI, kappa_raw = {KAPPA:g}, end of path",
    "lbi_refit": f"LBI, kappa_raw = {KAPPA:g}, first exact refit",
    "lasso_limit": "lasso, alpha to 0 (LARS)",
    "lasso_signs": "lasso, signs right at some alpha",
    "lasso_refit": "lasso, first exact refit",
    "omp": "OMP, until the fit is exact",
}


def solve(data):
    """Which methods recover `data.coef`, and how ISS compares with basis pursuit.

    Returns
    -------
    recovered : dict of str to bool, keys of `LABELS`
    gap : float, l1 norm of the end of ISS over that of basis pursuit, minus one
    misfit : float, largest |y - X coef| at the end of ISS over the largest |y|
    complete : bool, whether the ISS path says that its end is a least-squares fit
    """
    X, y, truth = data.X, data.y, data.coef
    pursuit = basis_pursuit(X, y)
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    iss = iss_path(problem)
    exact = iss.coef(-1)
    lbi = lbi_end(problem, iss, KAPPA)
    lasso = _lasso(X, y)
    supports = [np.flatnonzero(lbi.coef(k)) for k in range(len(lbi.knots))]
    recovered = {
        "bp": is_right(pursuit, truth),
        "iss": is_right(exact, truth),
        "lbi": is_right(lbi.coef(-1), truth),
        "lbi_refit": _refit_recovers(X, y, truth, supports),
        "lasso_limit": is_right(lasso[-1], truth),
        # Between two knots of LARS the signs are those of the middle.
        "lasso_signs": bool(
            (np.sign(lasso[1:] + lasso[:-1]) == np.sign(truth)).all(axis=1).any()
        ),
        "lasso_refit": _refit_recovers(X, y, truth, map(np.flatnonzero, lasso)),
        "omp": is_right(_omp(X, y), truth),
    }
    gap = np.abs(exact).sum() / np.abs(pursuit).sum() - 1.0
    misfit = np.abs(y - X @ exact).max() / np.abs(y).max()
    return recovered, float(gap), float(misfit), iss.status == "least_squares"


def is_right(coef, truth):
    """Whether all coefficients are, up to the tolerance."""
    return bool(np.abs(coef - truth).max() <= TOLERANCE * np.abs(truth).max())


def basis_pursuit(X, y):
    """Minimize the l1 norm subject to X coef = y, as a linear program."""
    p = X.shape[1]
    result = linprog(
        np.ones(2 * p),
        A_eq=np.hstack([X, -X]),
        b_eq=y,
        bounds=(0, None),
        method="highs-ds",
    )
    if result.status != 0:
        raise RuntimeError(f"the linear program was not solved: {result.message}")
    return result.x[:p] - result.x[p:]


def lbi_end(problem, iss, kappa):
    """LBI until long after the exact path of the same problem has ended."""
    t_max = LONG * iss.knots[-1]
    if np.count_nonzero(iss.coef(-1)) == problem.n_samples:
        t_max = min(t_max, SHORT * iss.t0)
    return lbi_path(problem, kappa_raw=kappa, t_max=t_max, n_knots=10)


def _lasso(X, y):
    """Coefficients at the knots of the lasso path, one row each."""
    with warnings.catch_warnings():
        # LARS warns where it stops at an exact fit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return lars_path(X, y, method="lasso")[2].T
        except ValueError:  # two coefficients arrive at zero: scikit-learn issue 9603
            return lars_path(X, y, Gram=X.T @ X, method="lasso")[2].T


def _refit_recovers(X, y, truth, supports):
    """Whether the first exact fit on fewer columns than rows is the truth.

    With columns in general position only supports that contain the true one can fit
    exactly, so the others are passed over without a fit.
    """
    true = np.flatnonzero(truth)
    for support in supports:
        if support.size < len(y) and np.isin(true, support).all():
            coef = np.zeros_like(truth)
            coef[support] = np.linalg.lstsq(X[:, support], y)[0]
            return is_right(coef, truth)
    return False


def _omp(X, y):
    norm = np.linalg.norm(X, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # at an exact fit
        return orthogonal_mp(X / norm, y, tol=1e-12 * (y @ y)) / norm
