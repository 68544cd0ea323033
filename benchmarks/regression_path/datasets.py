"""The problems: simulated, seeded, the same numbers on every machine.

`gauss_*` and `binom_*` are independent normal designs with 20 true coefficients in
front. `ar*` are AR(1) designs with the true coefficients spread out. `sparse_*` has
one percent of normal entries, scaled so that every column has variance one.

The cases called `*_unit` have the same numbers with y scaled to variance one. With one
raw damping that asks for about nine times as many LBI steps and less biased paths (the
damping relative to the scale of y is 100 instead of about 11); nothing changes for
the other methods.
"""

from typing import NamedTuple

import numpy as np
import scipy.signal
import scipy.sparse

__all__ = ["CASES", "QUICK_CASES", "Case", "draw"]


class Case(NamedTuple):
    """One problem: its name, size, seed and how the design is drawn."""

    name: str
    loss: str
    n: int
    p: int
    s: int
    seed: int
    correlation: float = 0.0
    density: float = 1.0
    unit_variance: bool = False  # y divided by its standard deviation
    memory: bool = False  # also measure peak memory (one process per solver)


_AS_DRAWN = [
    Case("gauss_200_1000", "squared", 200, 1000, 20, 101),
    Case("gauss_1000_2000", "squared", 1000, 2000, 20, 102),
    Case("gauss_5000_500", "squared", 5000, 500, 20, 103),
    Case("gauss_500_20000", "squared", 500, 20000, 20, 105, memory=True),
    Case("ar5_500_2000", "squared", 500, 2000, 20, 106, correlation=0.5),
    Case("ar9_500_2000", "squared", 500, 2000, 20, 107, correlation=0.9),
    Case("binom_1000_500", "logistic", 1000, 500, 20, 104),
    Case(
        "sparse_5000_20000", "squared", 5000, 20000, 20, 108, density=0.01, memory=True
    ),
]

CASES = _AS_DRAWN + [
    case._replace(name=f"{case.name}_unit", unit_variance=True, memory=False)
    for case in _AS_DRAWN
    if case.name.startswith("gauss")
]

# One loss only: each further one costs its compilation.
QUICK_CASES = [
    Case("gauss_60_120", "squared", 60, 120, 5, 1),
    Case("ar9_60_80", "squared", 60, 80, 5, 2, correlation=0.9),
    Case("sparse_200_400", "squared", 200, 400, 5, 4, density=0.05),
]


def draw(case):
    """Draw one problem.

    Order of the draws from ``default_rng(seed)``: design, signs, sizes, noise.

    Returns
    -------
    X : ndarray (n, p), C-ordered, or csc_array (n, p)
    y : ndarray (n,); continuous, or -1.0 and 1.0 for the logistic loss
    coef : ndarray (p,), the true coefficients
    """
    rng = np.random.default_rng(case.seed)
    X = _design(case, rng)
    coef = np.zeros(case.p)
    true = np.arange(case.s)
    if case.correlation:
        true *= case.p // case.s  # neighbours would otherwise share their signal
    sign = rng.choice([-1.0, 1.0], case.s)
    if case.loss == "squared":
        coef[true] = sign * rng.uniform(1, 3, case.s)
        y = X @ coef + rng.standard_normal(case.n)
        unit = np.std(y) if case.unit_variance else 1.0
        return X, y / unit, coef / unit
    coef[true] = sign * rng.uniform(0.5, 1.5, case.s)
    probability = 1 / (1 + np.exp(-(X @ coef)))
    return X, np.where(rng.random(case.n) < probability, 1.0, -1.0), coef


def _design(case, rng):
    if case.density < 1:
        size = round(case.density * case.n * case.p)
        place = rng.choice(case.n * case.p, size, replace=False, shuffle=False)
        values = rng.standard_normal(size)
        row, column = np.divmod(place.astype(np.int32), np.int32(case.p))
        X = scipy.sparse.csc_array((values, (row, column)), shape=(case.n, case.p))
        X.data /= np.sqrt(case.density)
        return X
    X = rng.standard_normal((case.n, case.p))
    if case.correlation:
        # X_j = rho X_{j-1} + sqrt(1 - rho^2) e_j: every column keeps variance one.
        X[:, 1:] *= np.sqrt(1 - case.correlation**2)
        X = scipy.signal.lfilter([1.0], [1.0, -case.correlation], X, axis=1)
    return np.ascontiguousarray(X)
