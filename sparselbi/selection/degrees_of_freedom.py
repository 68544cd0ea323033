"""Degrees of freedom of a whole path, by Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_random_state

from .information import InformationCriterion
from .statistics import full_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..path import RegularizationPath
    from ..problem import Problem


def degrees_of_freedom(
    path: RegularizationPath,
    problem: Problem,
    trace: Callable[[Problem], RegularizationPath],
    sigma: float | None = None,
    n_replicates: int = 100,
    random_state: int | np.random.RandomState | None = None,
    *,
    perturbation: float = 0.6,
) -> NDArray[np.float64]:
    r"""Estimate the degrees of freedom of the coefficients at every knot.

    The degrees of freedom of a fitting procedure are

    .. math:: \sum_i w_i \operatorname{cov}(\hat y_i, y_i) / \sigma^2,

    the optimism of its residual sum of squares in units of :math:`2 \sigma^2`. For
    least squares on a fixed support this is the number of coefficients. For paths that
    search for their support it is larger, because choosing also fits noise, and for
    shrunken coefficients smaller. So the size of the support is not the degrees of
    freedom of an inverse scale space path: on pure noise, supports with one or two
    features on average cost several degrees of freedom.

    The covariance is estimated by adding noise of standard deviation
    ``perturbation * sigma`` to y, tracing the path again, and measuring how much of the
    noise the fit follows, at the same t.

    Parameters
    ----------
    path : RegularizationPath
        Squared loss, traced on `problem`. Of a path of Split LBI it is about the dense
        coefficients.
    problem : Problem
    trace : callable
        ``trace(problem_with_other_y) -> path``; must do what traced `path`, with the
        same raw kappa (and nu) and the same t_max: for every solver that is
        ``lambda q: sparselbi.solvers.retrace.retrace(path, q)``.
    sigma : float, default=None
        Standard deviation of the noise of a sample with weight 1. None takes the
        least-squares fit on all features, or, without enough samples for it, the refit
        that EBIC chooses.
    n_replicates : int, default=100
        Number of perturbed paths. The standard error falls with its square root; for
        least squares with k coefficients it is ``sqrt(2 k / n_replicates)``.
    random_state : int, RandomState or None, default=None
    perturbation : float, default=0.6
        Smaller values follow the procedure more locally and are noisier where it jumps.

    Returns
    -------
    ndarray of shape (K,)
        Without the intercept, as sizes are. For a piecewise constant path the value of
        a knot is measured in the middle (geometrically) of the stretch that starts at
        it, because at the knot itself every perturbation decides anew.
        Suits ``InformationCriterion(refit=False, df=...)``.

    Raises
    ------
    ValueError
        If the loss is not squared, if no positive sigma can be found, or if a perturbed
        path ends before the last knot of `path`.

    References
    ----------
    Ye, J. (1998). On measuring and correcting the effects of data mining and model
    selection. Journal of the American Statistical Association 93, 120-131.

    Efron, B. (2004). The estimation of prediction error: covariance penalties and
    cross-validation. Journal of the American Statistical Association 99, 619-632.
    """
    if problem.loss.name != "squared":
        raise ValueError(
            f"loss={problem.loss.name!r}: degrees of freedom by perturbation are "
            "defined for loss='squared'; use df='size'."
        )
    if n_replicates < 1:
        raise ValueError(f"n_replicates={n_replicates!r} must be at least 1.")
    if not perturbation > 0:
        raise ValueError(f"perturbation={perturbation!r} must be positive.")
    if sigma is None:
        sigma = _noise_level(path, problem)
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma={sigma!r} must be positive; give it in units of y.")

    rng = check_random_state(random_state)
    times = path.representative_knots()
    tau = perturbation * sigma
    weight = problem.total_weight * problem.sqrt_weight**2
    # A row of weight w stands for w rows with their own noise.
    scale = np.divide(tau, np.sqrt(weight), out=np.zeros_like(weight), where=weight > 0)
    baseline = path.coefs_at(times)[0]
    total = np.zeros(len(times))
    for _ in range(n_replicates):
        noise = scale * rng.standard_normal(len(scale))
        perturbed = trace(problem.with_response(problem.y[0] + noise))
        # The fits without noise have covariance zero: subtracting them costs nothing
        # and removes most of the Monte Carlo error.
        change = perturbed.coefs_at(times)[0] - baseline
        total += _fitted_noise(problem, change, weight * noise)
    return total / (n_replicates * tau**2)


def _fitted_noise(
    problem: Problem, coefs: NDArray[np.float64], noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Inner product of the weighted noise with the fits, intercept taken out."""
    moved = np.flatnonzero((coefs != 0).any(axis=0) & problem.usable)
    products = problem.correlate(noise)[0, moved] * problem.x_scale[moved]
    return coefs[:, moved] @ products


def _noise_level(path: RegularizationPath, problem: Problem) -> float:
    variance, n_free = full_variance(problem)
    if n_free > 0 and variance > 0:
        return float(np.sqrt(variance))
    chosen = InformationCriterion("ebic").select(path, problem).quantities
    n_free = chosen["n"] - chosen["df"] - problem.fit_intercept
    return float(np.sqrt(chosen["deviance"] / n_free))
