"""Instances, counts of successes, and the sample size of one half."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import norm

from sparselbi import Problem, iss_path
from sparselbi.datasets import make_noiseless

from . import methods

__all__ = [
    "N_FEATURES",
    "Cell",
    "count",
    "count_kappa",
    "draw",
    "half",
    "sample_sizes",
    "statistical_dimension",
    "wainwright",
]

N_FEATURES = 128


class Cell(NamedTuple):
    """One place of the grid."""

    n_features: int
    n_nonzero: int
    n_samples: int
    design: str = "gaussian"
    signal: str = "signs"


def draw(cell, repetition):
    """One instance; its seed depends on s, n and the repetition alone."""
    key = (cell.n_nonzero, cell.n_samples, repetition)
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return make_noiseless(
        cell.n_samples,
        cell.n_features,
        cell.n_nonzero,
        design=cell.design,
        signal=cell.signal,
        random_state=seed,
    )


def count(cell, repetitions):
    """Successes per method, and how the end of ISS compares with basis pursuit.

    Returns
    -------
    successes : dict of str to int
    comparison : dict with the number of instances, of those that only one of the two
        recovers (differ), of ISS paths that say that they are not complete
        (incomplete), and the largest absolute gap and misfit of `methods.solve` among
        the others
    """
    results = [methods.solve(draw(cell, r)) for r in range(repetitions)]
    successes = {name: sum(r[0][name] for r in results) for name in methods.LABELS}
    complete = np.abs([r[1:3] for r in results if r[3]] or [(0.0, 0.0)])
    gap, misfit = complete.max(axis=0)
    comparison = {
        "instances": repetitions,
        "differ": sum(r[0]["iss"] != r[0]["bp"] for r in results),
        "incomplete": sum(not r[3] for r in results),
        "gap": float(gap),
        "misfit": float(misfit),
    }
    return successes, comparison


def count_kappa(cell, repetitions, kappas):
    """Successes of LBI per damping, and last those of ISS."""
    successes = np.zeros(len(kappas) + 1, dtype=int)
    for repetition in range(repetitions):
        data = draw(cell, repetition)
        problem = Problem(data.X, data.y, fit_intercept=False, standardize=False)
        iss = iss_path(problem)
        paths = [methods.lbi_end(problem, iss, kappa) for kappa in kappas]
        successes += [
            methods.is_right(path.coef(-1), data.coef) for path in [*paths, iss]
        ]
    return successes.tolist()


def sample_sizes(p, s):
    """From where nothing recovers to where everything does, if p is large enough."""
    step = 2 if s < 8 else 4
    low = 0.6 * statistical_dimension(p, s) - 2
    high = 1.5 * statistical_dimension(p, s) + 4
    if wainwright(p, s) < 1.2 * p:
        high = max(high, 1.3 * wainwright(p, s))
    first = max(step, round(low / step) * step)
    return list(range(first, min(p, int(high)) + 1, step))


def statistical_dimension(p, s):
    """Where basis pursuit recovers with probability one half, to within O(sqrt(p)).

    Of the descent cone of the l1 norm at a vector with s nonzeros, for a normal X:
    D. Amelunxen, M. Lotz, M. B. McCoy, J. A. Tropp. Living on the edge: phase
    transitions in convex programs with random data. Information and Inference 3
    (2014), 224-294. Equal to the weak threshold of Donoho and Tanner in the limit.
    """

    def bound(threshold):
        tail = (1 + threshold**2) * norm.cdf(-threshold) - threshold * norm.pdf(
            threshold
        )
        return s * (1 + threshold**2) + 2 * (p - s) * tail

    return float(minimize_scalar(bound, bounds=(0, 10), method="bounded").fun)


def wainwright(p, s):
    """Where the lasso gets all signs right: n = 2 s log(p - s) + s + 1, normal X.

    M. J. Wainwright. Sharp thresholds for high-dimensional and noisy sparsity recovery
    using l1-constrained quadratic programming (lasso). IEEE Transactions on
    Information Theory 55 (2009), 2183-2202.
    """
    return 2 * s * np.log(p - s) + s + 1


def half(n, successes, repetitions):
    """Sample size at which one half succeeds, by logistic interpolation.

    P(success) = expit((n - n_50) / width), maximum likelihood with Firth's penalty,
    which keeps the width positive when the counts jump from none to all.

    Returns
    -------
    n_50, error : float, with its standard error; NaN if the counts do not reach one
        half on both sides
    """
    n, successes = np.asarray(n, dtype=float), np.asarray(successes, dtype=float)
    share = successes / repetitions
    if not (share.min() < 0.5 < share.max()):
        return np.nan, np.nan
    center, scale = n.mean(), n.std()
    design = np.column_stack([np.ones_like(n), (n - center) / scale])
    beta = np.zeros(2)
    for _ in range(200):
        mean = expit(design @ beta)
        weight = repetitions * mean * (1 - mean)
        information = design.T @ (weight[:, None] * design)
        covariance = np.linalg.inv(information)
        leverage = weight * np.einsum("ij,jk,ik->i", design, covariance, design)
        score = design.T @ (successes - repetitions * mean + leverage * (0.5 - mean))
        step = covariance @ score
        beta += step / max(1.0, np.abs(step).max())  # Newton's step, at most one
        if np.abs(step).max() < 1e-10:
            break
    else:
        raise RuntimeError("the logistic fit did not converge")
    n_half = -beta[0] / beta[1]
    gradient = np.array([-1.0, -n_half]) / beta[1]
    error = np.sqrt(gradient @ covariance @ gradient)
    return float(center + scale * n_half), float(scale * error)
