"""What is computed, how it is compared, and the checks that the numbers are right.

The job is the path as long as at most `n_active` variables are nonzero, without an
intercept and with the columns as they are, so that all solvers see one problem. LBI has
the damping `KAPPA` in raw units, the setting in which the R package Libra was timed.

- LBI (ours and the plain NumPy loop): from the first entry to the last time with at
  most `n_active` variables in, with one and the same step size;
- ISS: the knots with at most `n_active` variables in;
- least-angle regression: `n_active` steps, or as many as the ISS path has knots;
- penalized solvers: 100 values of alpha, log-spaced from the first entry to the
  first alpha at which the lasso has `n_active` nonzero coefficients.

Speed counts only for right numbers: `check_lbi` runs the plain recursion beside the
path, `check_iss` integrates the dual variable along the knots, `lasso_violation` is
the relative violation of the optimality conditions at the last alpha.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse
from sklearn.linear_model import lasso_path

__all__ = [
    "KAPPA",
    "Answer",
    "Solver",
    "Task",
    "check_iss",
    "check_lbi",
    "gradient",
    "lasso_alphas",
    "lasso_violation",
]

KAPPA = 100.0
N_ALPHAS = 100


class Task(NamedTuple):
    """The question every solver gets; lengths of the paths are fixed beforehand."""

    loss: str
    X: object  # (n, p) ndarray or csc_array
    y: np.ndarray
    n_active: int
    alphas: np.ndarray  # for penalized solvers
    step_size: float  # of LBI
    t_max: float  # of LBI: the last time with at most n_active variables
    n_steps: int  # LBI steps from the first entry to t_max
    n_knots_iss: int  # 0 where there is no ISS path


class Answer(NamedTuple):
    """What a solver returns.

    `part` is the share of the work that was done; the time is divided by it.
    `path` is a RegularizationPath (own solvers) or the coefficients (p,) at the
    last point (others), used by the checks and not part of the timing.
    """

    points: int
    path: object
    part: float = 1.0


class Solver(NamedTuple):
    """One competitor: `run(task) -> Answer`."""

    label: str
    package: str  # what has to be installed
    kind: str  # "lbi" "iss" "lars" "lasso": how the answer is checked
    run: object
    losses: tuple = ("squared",)
    sparse: bool = False
    order: str = "C"  # memory layout of X that the solver prefers
    note: str = ""


def gradient(loss, X, y, coef):
    """Gradient (p,) of the mean loss without intercept; binary y is in {-1, 1}."""
    eta = X @ coef
    score = eta - y if loss == "squared" else -y / (1 + np.exp(y * eta))
    return X.T @ score / len(y)


def lasso_alphas(loss, X, y, n_active):
    """Log-spaced alphas (100,) from the null model to `n_active` nonzero coefs."""
    alpha_max = np.abs(gradient(loss, X, y, np.zeros(X.shape[1]))).max()
    alpha, coef = alpha_max, None
    size = 0
    while size < n_active:
        alpha *= 0.95
        if loss == "squared":
            coef = lasso_path(X, y, alphas=[alpha], coef_init=coef)[1][:, 0]
        else:
            coef = _logistic_lasso(X, y, alpha, coef)
        size = np.count_nonzero(coef)
    return np.geomspace(alpha_max, alpha, N_ALPHAS)


def _logistic_lasso(X, y, alpha, coef):
    """Proximal gradient steps from a warm start; only the size is needed."""
    step = 4 * len(y) / np.linalg.norm(X, 2) ** 2
    coef = np.zeros(X.shape[1]) if coef is None else coef
    for _ in range(200):
        coef = coef - step * gradient("logistic", X, y, coef)
        coef = coef - np.clip(coef, -step * alpha, step * alpha)
    return coef


def lasso_violation(task, coef):
    """Largest violation of the lasso optimality conditions at alphas[-1], over it."""
    alpha = task.alphas[-1]
    drift = -gradient(task.loss, task.X, task.y, coef)
    on = coef != 0
    outside = max(np.abs(drift).max() - alpha, 0.0)
    inside = np.abs(drift[on] - alpha * np.sign(coef[on])).max(initial=0.0)
    return float(max(outside, inside) / alpha)


def check_lbi(task, path, max_steps=None):
    """Compare a path, knot by knot, with the plain recursion.

    The recursion uses one column of the Gram matrix per ever-active variable
    (squared loss) or the active columns of X; nothing is skipped, screened or
    bounded.

    Returns
    -------
    error : float, largest coefficient error over the largest coefficient
    share : float, share of the steps that was compared
    """
    loss, X, y = task.loss, task.X, task.y
    n, p = X.shape
    start = gradient(loss, X, y, np.zeros(p))
    t0 = 1 / np.abs(start).max()
    z = -t0 * start
    step = task.step_size
    n_steps = task.n_steps if max_steps is None else min(task.n_steps, max_steps)
    columns = _Columns(X, gram=loss == "squared")
    knots, coefs = path.knots, path.coefs.reshape(len(path.knots), p)
    k, error, largest = 0, 0.0, 0.0
    for i in range(n_steps + 2):
        on = np.flatnonzero(np.abs(z) > 1)
        coef_on = KAPPA * (z[on] - np.sign(z[on]))
        if loss == "squared":
            grad = start + columns.times(on, coef_on)
        else:
            eta = columns.times(on, coef_on)
            grad = X.T @ (-y / (1 + np.exp(y * eta))) / n
        while k < len(knots) and knots[k] < t0 + (i + 1) * step * (1 + 1e-12):
            # Between two steps z moves on the straight line of the recursion.
            between = z - (knots[k] - t0 - i * step) * grad
            expected = KAPPA * (between - np.clip(between, -1, 1))
            error = max(error, np.abs(expected - coefs[k]).max())
            largest = max(largest, np.abs(expected).max())
            k += 1
        if k == len(knots):
            break
        z -= step * grad
    if n_steps == task.n_steps and k < len(knots):
        return np.inf, 1.0  # knots beyond the end
    return float(error / largest) if largest else 0.0, n_steps / task.n_steps


class _Columns:
    """Columns of X, or of X'X/n, for the ever-active variables, gathered on demand."""

    def __init__(self, X, gram):
        self.X, self.gram = X, gram
        n, p = X.shape
        self.block = np.empty((p if gram else n, 16), order="F")
        self.place = {}

    def times(self, on, coef):
        for j in on:
            if j not in self.place:
                self._add(j)
        weights = np.zeros(len(self.place))
        weights[[self.place[j] for j in on]] = coef
        return self.block[:, : len(self.place)] @ weights

    def _add(self, j):
        k = len(self.place)
        if k == self.block.shape[1]:
            wider = np.empty((self.block.shape[0], 2 * k), order="F")
            wider[:, :k] = self.block
            self.block = wider
        column = self.X[:, [j]]
        column = column.toarray() if scipy.sparse.issparse(column) else column
        column = column[:, 0]
        self.block[:, k] = self.X.T @ column / self.X.shape[0] if self.gram else column
        self.place[j] = k


def check_iss(task, path):
    """Largest violation of the ISS conditions at the knots.

    The coefficients are constant between knots, so the dual variable at knot k is
    the sum of (knot lengths) x X'(residual)/n; it must stay in [-1, 1] and equal the
    sign of the coefficient where that is nonzero.
    """
    X, y = task.X, task.y
    coefs = path.coefs.reshape(len(path.knots), X.shape[1])
    residuals = y - (X @ coefs.T).T
    drifts = (X.T @ residuals.T).T / len(y)
    dual = np.zeros(X.shape[1])
    error = 0.0
    for k in range(len(path.knots)):
        if k:
            dual = dual + (path.knots[k] - path.knots[k - 1]) * drifts[k - 1]
        on = coefs[k] != 0
        outside = np.abs(dual).max() - 1
        inside = np.abs(dual[on] - np.sign(coefs[k][on])).max(initial=0.0)
        error = max(error, outside, inside)
    return float(error)
