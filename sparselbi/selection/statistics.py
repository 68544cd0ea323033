"""What a criterion needs to know about every knot, computed once after tracing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..losses.huber import normalized_mad
from ..solvers.refit import refit_coefs
from ..split_path import SplitPath
from .least_squares import (
    full_residual_sum,
    least_squares_system,
    residual_sums,
    support_residual_sums,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..path import RegularizationPath
    from ..problem import Problem

# Linear predictors of several knots are held together up to this many entries.
_MAX_ENTRIES = 2**22


def with_statistics(path: RegularizationPath, problem: Problem) -> RegularizationPath:
    """Return the path with deviance, refit deviance and size stored for every knot.

    Parameters
    ----------
    path : RegularizationPath
    problem : Problem
        The problem that the path was traced on.

    Returns
    -------
    RegularizationPath
        A copy with

        - ``deviance`` (K,): ``2 sum_i w_i l(y_i, eta_i)``, for squared loss the
          weighted residual sum of squares, 0 if it is only rounding;
        - ``refit_deviance`` (K,): the same for the unpenalized fit on the features of
          the knot, all outputs free; NaN where that fit has more than n/2
          coefficients. Once per distinct support, so equal supports have equal values;
        - ``size`` (K,): number of nonzero coefficients without the intercept.
          Unpenalized columns always count. For a softmax with all classes kept, one is
          subtracted per feature whose coefficients are all nonzero, because a common
          shift of them changes nothing;
        - ``info["n_candidates"]``: how many features (groups) could have entered;
        - ``info["robust_scale"]`` for Huber's loss: 1.4826 times the median absolute
          residual of the largest fit with at most n/3 coefficients, times
          sqrt(n / (n - size)).

        Of a path of Split LBI what `split_statistics` says.
    """
    if isinstance(path, SplitPath):
        from .split_statistics import split_statistics

        return split_statistics(path, problem)
    supports = path_supports(path)
    half = half_of(path.n_samples)
    info = {"n_candidates": count_candidates(path, problem)}
    if path.loss.name == "squared":
        system = _system(path, problem)
        deviance = _squared_deviance(path, problem, system)
        refit = _squared_refit(path, problem, system, supports, half)
    else:
        deviance = _deviance(path, problem)
        if path.loss.name == "huber":
            info["robust_scale"] = _robust_scale(path, problem, supports)
        refit = _refit(path, problem, supports, half)
    return dataclasses.replace(
        path,
        deviance=deviance,
        refit_deviance=refit,
        size=supports.size,
        info={**path.info, **info},
    )


def with_larger_refits(
    path: RegularizationPath, problem: Problem, max_size: float
) -> RegularizationPath:
    """Return the path with the refit deviances of up to `max_size` coefficients."""
    if isinstance(path, SplitPath):
        from .split_statistics import with_larger_split_refits

        return with_larger_split_refits(path, problem, max_size)
    supports = path_supports(path)
    if path.loss.name == "squared":
        system = _system(path, problem)
        refit = _squared_refit(path, problem, system, supports, max_size)
    else:
        refit = _refit(path, problem, supports, max_size)
    return dataclasses.replace(path, refit_deviance=refit)


# ------------------------------------------------------------------ supports and sizes


def sparse_part(path: RegularizationPath) -> RegularizationPath:
    """The path whose zeros matter: over the rows of D for Split LBI, else itself."""
    return path.split if isinstance(path, SplitPath) else path


class Supports(NamedTuple):
    """The supports of a path.

    Attributes
    ----------
    features : bool ndarray of shape (K, E)
        Features with a nonzero coefficient, unpenalized ones always included.
    ids : int ndarray of shape (K,)
        Equal where the features are equal; numbered in order of appearance.
    size : int ndarray of shape (K,)
        Number of nonzero coefficients, see `with_statistics`.
    refit_size : int ndarray of shape (K,)
        Number of free coefficients of the refit on these features.
    candidates : int ndarray of shape (K,)
        Number of penalized features (groups, where the path has groups) among them.
    """

    features: NDArray[np.bool_]
    ids: NDArray[np.int64]
    size: NDArray[np.int64]
    refit_size: NDArray[np.int64]
    candidates: NDArray[np.int64]


def path_supports(path: RegularizationPath) -> Supports:
    coefs = _coefs3(path)
    n_outputs = coefs.shape[1]
    labels = candidate_labels(path)[path.active_features]
    entries = coefs != 0
    if (always := _unpenalized(path)[path.active_features]).any():
        entries |= always
    features = entries.any(axis=1)
    numbers: dict[bytes, int] = {}
    ids = [numbers.setdefault(row.tobytes(), len(numbers)) for row in features]
    size = entries.sum(axis=(1, 2))
    free_outputs = n_outputs
    if path.loss.name == "multinomial":
        size = size - entries.all(axis=1).sum(axis=1)
        free_outputs = n_outputs - 1
    if path.settings.get("groups") is None:
        candidates = features[:, labels >= 0].sum(axis=1)
    else:
        candidates = np.zeros(len(features), dtype=np.int64)
        for label in np.unique(labels[labels >= 0]):
            candidates += features[:, labels == label].any(axis=1)
    return Supports(
        features,
        np.array(ids, dtype=np.int64),
        size,
        free_outputs * features.sum(axis=1),
        candidates,
    )


def candidate_labels(
    path: RegularizationPath, problem: Problem | None = None
) -> NDArray[np.int64]:
    """Label of the unit (feature or group) each feature enters with, -1 if it cannot.

    Unpenalized features are in from the start, features with an infinite penalty
    factor never enter; constant columns are only known when `problem` is given.
    """
    factor = path.settings.get("penalty_factor")
    if factor is None:
        factor = np.ones(path.n_features)
    usable = (np.asarray(factor) > 0) & np.isfinite(factor)
    if problem is not None:
        usable &= problem.usable
    groups = path.settings.get("groups")
    labels = np.arange(path.n_features)
    if groups is not None:
        labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.where(usable, labels, -1)


def count_candidates(path: RegularizationPath, problem: Problem | None = None) -> int:
    """How many features (groups) could enter; the p of an information criterion."""
    if problem is None and "n_candidates" in path.info:
        return int(path.info["n_candidates"])
    labels = candidate_labels(path, problem)
    return len(np.unique(labels[labels >= 0]))


def half_of(n: float) -> float:
    """n/2 rounded down, forgiving the rounding of a sum of weights."""
    return float(np.floor(0.5 * n * (1 + 1e-12)))


def _unpenalized(path: RegularizationPath) -> NDArray[np.bool_]:
    factor = path.settings.get("penalty_factor")
    if factor is None:
        return np.zeros(path.n_features, dtype=bool)
    return np.asarray(factor) == 0


def _coefs3(path: RegularizationPath) -> NDArray[np.float64]:
    """Coefficients of shape (K, n_outputs, E)."""
    n_knots, *_, n_active = path.active_coefs.shape
    n_outputs = int(np.prod(path.active_coefs.shape[1:-1]))
    return path.active_coefs.reshape(n_knots, n_outputs, n_active)


def _distinct(
    supports: Supports, max_size: float
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Number and features of each distinct support, in order, up to `max_size`."""
    _, first = np.unique(supports.ids, return_index=True)
    for number, knot in enumerate(first):
        if supports.refit_size[knot] <= max_size:
            yield number, supports.features[knot]


def _spread(
    supports: Supports, numbers: list[int], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Copy one value per distinct support to all knots that have it."""
    table = np.full(supports.ids.max() + 1, np.nan)
    table[numbers] = values
    return table[supports.ids]


# ------------------------------------------------------------------------ squared loss


def _system(path, problem):
    fit_intercept = bool(path.settings["fit_intercept"])
    return least_squares_system(problem, path.active_features, fit_intercept)


def _squared_deviance(path, problem, system):
    features = path.active_features
    coefs = _coefs3(path)
    deviance = residual_sums(system, coefs * problem.x_scale[features])
    if path.settings["fit_intercept"]:
        # Centred columns and response leave out the mean residual: add it.
        mean = problem.y @ problem.omega
        fitted = path.intercepts.reshape(len(coefs), -1)
        fitted = fitted + coefs @ problem.x_mean[features]
        deviance += ((mean - fitted) ** 2).sum(axis=1)
    return _above_rounding(problem, deviance)


def _squared_refit(path, problem, system, supports, max_size):
    distinct = list(_distinct(supports, max_size))
    sums = support_residual_sums(system, (mask for _, mask in distinct))
    numbers = [number for number, _ in distinct]
    return _spread(supports, numbers, _above_rounding(problem, sums))


def _above_rounding(problem, mean_squares):
    """Sums of squares from mean squares; zero where only rounding of y is left."""
    rounding = 64 * np.finfo(float).eps
    floor = rounding**2 * (problem.y**2 @ problem.omega).sum()
    return problem.total_weight * np.where(mean_squares > floor, mean_squares, 0.0)


def full_variance(problem: Problem) -> tuple[float, float]:
    """Unbiased variance of the least-squares fit on all usable features.

    Returns
    -------
    variance : float
        NaN if there are as many coefficients as samples.
    n_free : float
        Sum of the weights minus the number of coefficients with the intercept.
    """
    features = np.flatnonzero(problem.usable)
    if features.size + problem.fit_intercept >= problem.total_weight:
        return np.nan, 0.0
    system = least_squares_system(problem, features, problem.fit_intercept)
    residual_sum, rank = full_residual_sum(system)
    n_free = problem.total_weight - rank - problem.fit_intercept
    return problem.total_weight * residual_sum / n_free, n_free


# ------------------------------------------------------------------------ other losses


def _deviance(path, problem):
    coefs = _coefs3(path)
    n_knots, n_outputs, _ = coefs.shape
    intercepts = path.intercepts.reshape(n_knots, n_outputs)
    deviance = np.empty(n_knots)
    step = max(1, _MAX_ENTRIES // (n_outputs * problem.n_samples))
    for start in range(0, n_knots, step):
        part = slice(start, start + step)
        eta = problem.linear_predictor(
            path.active_features, coefs[part], intercepts[part]
        )
        deviance[part] = [problem.deviance(one) for one in eta]
    return deviance


def _robust_scale(path, problem, supports):
    """Noise scale that neither outliers nor the size of the fit distort much."""
    n = path.n_samples
    allowed = np.flatnonzero(supports.size <= n / 3)
    k = int(allowed[np.argmax(supports.size[allowed])]) if allowed.size else 0
    coefs, intercepts = _coefs3(path)[[k]], path.intercepts[[k]].reshape(1, -1)
    eta = problem.linear_predictor(path.active_features, coefs, intercepts)[0]
    scale = normalized_mad((problem.y - eta)[0], problem.omega)
    return scale * np.sqrt(n / max(n - supports.size[k], 1.0))


def _refit(path, problem, supports, max_size):
    distinct = list(_distinct(supports, max_size))
    values = [
        refit_coefs(problem, path.active_features[mask])[2] for _, mask in distinct
    ]
    return _spread(supports, [number for number, _ in distinct], np.array(values))
