"""Lists to parametrize over, and small data sets that several tests share.

A new loss, penalty or solver is one more row here.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

LOSSES = ("squared", "logistic", "multinomial", "huber")
PENALTIES = ("l1", "group")
SOLVERS = ("lbi_path", "iss_path")  # names in sparselbi.solvers

HUBER_THRESHOLD = 1.1
N_CLASSES = 3


def make_loss(name):
    """The loss with its parameters pinned, so that the twin can use the same."""
    from sparselbi.losses import Huber, get_loss

    return Huber(threshold=HUBER_THRESHOLD) if name == "huber" else get_loss(name)


def make_targets(loss, signal, rng):
    """Targets of the kind that `loss` accepts, related to `signal` (n,)."""
    n = len(signal)
    if loss == "logistic":
        labels = np.array(["no", "yes"])
        return labels[(signal + rng.logistic(size=n) > 0).astype(int)]
    if loss == "multinomial":
        noisy = signal + rng.logistic(size=n)
        return np.digitize(noisy, np.quantile(noisy, [0.3, 0.6])) * 10
    noise = rng.standard_t(2, size=n) if loss == "huber" else rng.normal(size=n)
    return signal + 0.5 * noise + 3.0


class Data(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray


def make_data(loss="squared", n=40, p=12, seed=0, correlation=0.4, density=1.0):
    """Small problem with float32-representable X of unequal column sizes."""
    rng = np.random.default_rng(seed)
    X = np.sqrt(1 - correlation) * rng.normal(size=(n, p))
    X += np.sqrt(correlation) * rng.normal(size=(n, 1))
    X = (X + rng.normal(size=p)) * rng.uniform(0.5, 2.0, size=p)
    X *= rng.random((n, p)) < density
    X = X.astype(np.float32).astype(np.float64)
    coef = np.zeros(p)
    coef[: min(4, p)] = [1.5, -1.0, 0.7, 0.4][: min(4, p)]
    y = make_targets(loss, (X - X.mean(axis=0)) @ coef, rng)
    return Data(X, y, rng.uniform(0.2, 2.0, size=n))


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "float32": lambda X: X.astype(np.float32),
    "csc": sp.csc_array,
    "csr": sp.csr_matrix,
}


def diabetes():
    """The diabetes data with all digits: X (442, 10), centred, of length 1, and y.

    See tests/reference/README.md for what is undone here.
    """
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True, scaled=False)
    thirds = np.round(3 * X[:, 3]) / 3
    X[:, 3] = [float(f"{value:.10g}") for value in thirds]
    X[:, 8] = np.log(np.round(np.exp(X[:, 8])))
    X = X - X.mean(axis=0)
    return X / np.sqrt((X**2).sum(axis=0)), y


def as_rows(coef):
    """Any coefficient array as (..., n_outputs, p): adds the row of one response."""
    coef = np.asarray(coef)
    return coef[None, :] if coef.ndim == 1 else coef


def path_rows(path):
    """All coefficients of a path as (K, m, p) and the intercepts as (K, m)."""
    coefs = np.asarray(path.coefs)
    if coefs.ndim == 2:
        coefs = coefs[:, None, :]
    return coefs, np.asarray(path.intercepts).reshape(len(coefs), -1)


def point_rows(path, t):
    """Coefficients (m, p) and intercept (m,) of `path.at(t)`."""
    point = path.at(t)
    return as_rows(point.coef), np.atleast_1d(point.intercept)


def relative_gap(a, b, floor=1e-300):
    """Largest difference relative to the largest entry of `b`."""
    a, b = np.asarray(a), np.asarray(b)
    return np.max(np.abs(a - b), initial=0.0) / max(np.max(np.abs(b), initial=0), floor)
