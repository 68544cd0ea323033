"""The problems: simulated, seeded, the same numbers on every machine.

The noise is normal with standard deviation 1, so that a coefficient of size 1 is
strong (its standard error is about 0.1) and one of size 0.2 is not. Columns have
population mean 0 and variance 1. Seed k of every design draws coefficients and rows
with ``random_state=k`` and noise with ``default_rng(k)``.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from sparselbi.datasets import make_sparse_regression

__all__ = ["DESIGNS", "QUICK_DESIGN", "Design", "Truth", "covariance", "draw"]


class Design(NamedTuple):
    """One design: its name in tables, size, correlation and true coefficients."""

    name: str
    title: str
    n: int = 200
    p: int = 500
    s: int = 10
    kind: str = "ar1"
    correlation: float = 0.5
    size: float | tuple[float, float] = 1.0  # absolute value of the coefficients
    run: int = 1  # true features come in runs of this many neighbours


class Truth(NamedTuple):
    """What was drawn."""

    X: np.ndarray
    y: np.ndarray
    coef: np.ndarray
    support: np.ndarray


DESIGNS = [
    Design("ar5", "AR(1) 0.5"),
    Design("ar9", "AR(1) 0.9", correlation=0.9),
    Design("independent", "normal entries", kind="identity"),
    Design("equicorrelated", "0.5", kind="equicorrelated"),
    Design("adjacent", "AR(1) 0.5, neighbours", run=5),
    Design("mixed", "AR(1) 0.5, sizes 0.1 to 1", size=(0.1, 1.0)),
    Design("weak", "AR(1) 0.5, size 0.2", size=0.2),
    Design("tall", "n > p, sizes 0.1 to 0.5", n=500, p=100, size=(0.1, 0.5)),
]

QUICK_DESIGN = Design("quick", "AR(1) 0.5, small", n=60, p=100, s=4)


def draw(design, seed):
    """Draw one data set.

    Returns
    -------
    Truth
        X (n, p), y (n,), the true coefficients (p,) and their support.
    """
    options = {"design": design.kind, "correlation": design.correlation}
    data = make_sparse_regression(
        design.n,
        design.p,
        design.s,
        signal_size=design.size,
        coef=None if design.run == 1 else _runs(design, seed),
        snr=np.inf,
        random_state=seed,
        **options,
    )
    y = data.y + np.random.default_rng(seed).standard_normal(design.n)
    return Truth(data.X, y, data.coef, data.support)


def covariance(design):
    """Population covariance (p, p) of a row of X."""
    if design.kind == "ar1":
        return scipy.linalg.toeplitz(design.correlation ** np.arange(design.p))
    rho = design.correlation if design.kind == "equicorrelated" else 0.0
    return (1 - rho) * np.eye(design.p) + rho


def _runs(design, seed):
    """Coefficients in runs of neighbours, with random signs; runs do not touch."""
    rng = np.random.default_rng([seed, design.run])
    slots = design.p // (2 * design.run)
    starts = 2 * design.run * rng.choice(slots, design.s // design.run, replace=False)
    coef = np.zeros(design.p)
    for start in starts:
        signs = rng.choice([-1.0, 1.0], design.run)
        coef[start : start + design.run] = design.size * signs
    return coef
