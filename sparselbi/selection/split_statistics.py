"""What a criterion needs to know about every knot of a path of Split LBI.

The active rows S of D at a knot stand for two fits: the refit, unpenalized on the
kernel of the other rows, and the dense coefficients of the path. Each has degrees of
freedom of its own, and only goes with those.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..losses.huber import normalized_mad
from ..penalties.kernel_spaces import dimension
from ..solvers._split_question import restore_split
from ..solvers.split_models import SupportFits
from .statistics import Supports, half_of, path_supports

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem
    from ..split_path import SplitPath

# Linear predictors and coefficients of several knots are held together up to this.
_MAX_ENTRIES = 2**24
# Multiplications up to which degrees of freedom of the dense fits are always stored.
_CHEAP = 2e9
# A limit on degrees of freedom that is none, but makes what is too large NaN.
_ANY = np.finfo(float).max
_NOT_STORED = "not stored, because costly; found on request if the data are given"


def split_statistics(path: SplitPath, problem: Problem) -> SplitPath:
    """Return the path with deviance, refit deviance and size stored for every knot.

    Parameters
    ----------
    path : SplitPath
    problem : Problem
        The problem that the path was traced on.

    Returns
    -------
    SplitPath
        A copy with

        - ``deviance`` (K,): ``2 sum_i w_i l(y_i, eta_i)`` of the dense coefficients;
        - ``refit_deviance`` (K,): the same for the unpenalized fit on the kernel of the
          inactive rows, all outputs free; NaN where that fit has more than n/2 degrees
          of freedom (the first knot always has one);
        - ``size`` (K,): number of active rows, free ones (``row_weight`` 0) included;
        - ``info["df_refit"]`` (K,): rank of X, centred if there is an intercept, on
          that kernel, times the number of free outputs; NaN as `refit_deviance`;
        - ``info["df_dense"]`` (K,): degrees of freedom of the dense coefficients once
          the split coefficients have followed them,
          ``tr[X (X'WX + D_rest' D_rest / nu)^-1 X'W]``; NaN where it is costly or not
          available (``info["df_dense_rule"]`` says which);
        - ``info["candidates"]`` (K,): how many of ``info["n_candidates"]`` possible
          rows, groups of rows, or dimensions (``info["candidates_are"]``) the model of
          the knot has beyond the null model. Rows (groups) if the rows of D are
          independent. Otherwise fewer dimensions than rows are free: on a graph with
          cycles a new piece opens all edges around it at once;
        - ``info["robust_scale"]`` for Huber's loss: 1.4826 times the median absolute
          residual of the largest refit with at most n/3 degrees of freedom, times
          sqrt(n / (n - df)).
    """
    models = _Models(path, problem)
    deviance = dense_deviance(path, problem)
    refit, df = models.refits(half_of(path.n_samples))
    info: dict[str, Any] = {"df_refit": df, **models.candidates(df)}
    info["df_dense"] = np.full(len(path), np.nan)
    info["df_dense_rule"] = _NOT_STORED
    if models.dense_cost() <= _CHEAP:
        info["df_dense"], info["df_dense_rule"] = models.dense_df(path)
    if path.loss.name == "huber":
        info["robust_scale"] = models.robust_scale(df)
    return dataclasses.replace(
        path,
        deviance=deviance,
        refit_deviance=refit,
        size=models.supports.features.sum(axis=1),
        info={**path.info, **info},
    )


def with_larger_split_refits(
    path: SplitPath, problem: Problem, max_df: float
) -> SplitPath:
    """Return the path with statistics of refits of up to `max_df` degrees of freedom.

    Refits with as many degrees of freedom as samples interpolate; they stay NaN.
    """
    models = _Models(path, problem)
    refit, df = models.refits(min(max_df, path.n_samples))
    info = {**path.info, "df_refit": df, **models.candidates(df)}
    return dataclasses.replace(path, refit_deviance=refit, info=info)


def dense_df(
    path: SplitPath, problem: Problem | None
) -> tuple[NDArray[np.float64], str]:
    """Degrees of freedom of the dense coefficients at the knots, and their rule.

    Stored ones if they are there; NaN where they are not available.
    """
    rule = path.info.get("df_dense_rule", _NOT_STORED)
    if rule == _NOT_STORED and problem is not None:
        return _Models(path, problem).dense_df(path)
    return path.info.get("df_dense", np.full(len(path), np.nan)), rule


def split_refits(
    path: SplitPath, problem: Problem, knots: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Refits on the kernels of the inactive rows at values of t.

    Parameters
    ----------
    path : SplitPath
    problem : Problem
    knots : ndarray of shape (K,)

    Returns
    -------
    coefs : ndarray of shape ``(K, *coef_shape)``
        On the original scale of X. NaN where there are as many free dimensions as
        samples, or too many to be computed with.
    intercepts : ndarray of shape ``(K, *coef_shape[:-1])``
    """
    models = _Models(path, problem)
    splits, _ = path.split._active_at(knots)
    masks = models.masks(path.split._nonzero(splits))
    most = problem.total_weight - 1 - problem.fit_intercept
    found = models.fits.refits(masks, max_df=most)
    coefs, intercepts = models.split.to_original(*found[:2])
    shape = path.coef_shape
    return (
        coefs.reshape(len(knots), *shape),
        intercepts.reshape(len(knots), *shape[:-1]),
    )


def dense_predictors(
    problem: Problem, coefs: NDArray[np.float64], intercepts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear predictors of dense coefficients on the original scale of X.

    Parameters
    ----------
    problem : Problem
    coefs : ndarray of shape (K, n_outputs, n_features)
    intercepts : ndarray of shape (K, n_outputs)

    Returns
    -------
    ndarray of shape (K, n_outputs, n_samples)
    """
    X, rows = problem.X, coefs.reshape(-1, coefs.shape[-1])
    eta = np.empty((len(rows), problem.n_samples))
    if sparse.issparse(X):
        eta[:] = (X @ rows.T).T
    else:
        # float32 and memory-mapped data are never copied as a whole.
        step = (
            problem.n_samples if X.dtype == np.float64 else _MAX_ENTRIES // X.shape[1]
        )
        for start in range(0, len(X), max(1, step)):
            some = slice(start, start + max(1, step))
            eta[:, some] = rows @ X[some].T.astype(np.float64, copy=False)
    return eta.reshape(*coefs.shape[:2], -1) + intercepts[..., None]


def dense_deviance(path: SplitPath, problem: Problem) -> NDArray[np.float64]:
    """``2 sum_i w_i l(y_i, eta_i)`` of the dense coefficients at every knot, (K,)."""
    deviance = np.empty(len(path))
    for some in _parts(len(path), problem.n_outputs * problem.n_samples):
        eta = _path_predictors(path, problem, some)
        deviance[some] = [problem.deviance(one) for one in eta]
    if path.loss.name != "squared":
        return deviance
    # Zero where only rounding of y is left.
    rounding = 64 * np.finfo(float).eps
    floor = rounding**2 * float((problem.y**2 @ problem.omega).sum())
    return np.where(deviance > floor * problem.total_weight, deviance, 0.0)


def _path_predictors(path, problem, some):
    coefs, intercepts = path.active_coefs[some], path.intercepts[some]
    rows = (len(coefs), problem.n_outputs)
    return dense_predictors(problem, coefs.reshape(*rows, -1), intercepts.reshape(rows))


def _parts(n: int, width: int) -> list[slice]:
    step = max(1, _MAX_ENTRIES // width)
    return [slice(start, start + step) for start in range(0, n, step)]


class _Models:
    """The fits that the knots of a path stand for."""

    def __init__(self, path: SplitPath, problem: Problem):
        self.path, self.problem = path, problem
        self.split = restore_split(path, problem)
        self.fits = SupportFits(self.split)
        weight = path.split.settings["penalty_factor"]
        # Free rows are left out of the coupling: what remains does not know them.
        self._kept = np.ones(path.D.n_rows, dtype=bool)
        if weight is not None:
            self._kept = np.asarray(weight) > 0
        self._place = np.cumsum(self._kept) - 1
        self.supports: Supports = path_supports(path.split)
        _, self._first = np.unique(self.supports.ids, return_index=True)

    def masks(self, features: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Masks (K, n_rows) of coupled rows from ever active ones, (K, E)."""
        rows = self.path.split.active_features
        coupled = self._kept[rows]
        out = np.zeros((len(features), self.split.n_rows), dtype=bool)
        out[:, self._place[rows[coupled]]] = features[:, coupled]
        return out

    def _distinct_masks(self, some: slice = slice(None)) -> NDArray[np.bool_]:
        return self.masks(self.supports.features[self._first[some]])

    def refits(self, max_df: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Deviance and degrees of freedom of the refit at every knot, or NaN."""
        first = self._first
        deviance, df = np.full((2, len(first)), np.nan)
        for some in _parts(len(first), self.path.n_features * self.problem.n_outputs):
            found = self.fits.refits(self._distinct_masks(some), max_df)
            deviance[some], df[some] = found[2:]
        if np.isnan(df[0]):  # the null model is always a candidate
            found = self.fits.refits(self._distinct_masks(slice(1)), _ANY)
            deviance[:1], df[:1] = found[2:]
        if self.path.loss.name == "squared":
            rounding = 64 * np.finfo(float).eps
            size = self.problem.total_weight * (self.problem.y**2 @ self.problem.omega)
            deviance[deviance <= rounding**2 * size.sum()] = 0.0
        return deviance[self.supports.ids], df[self.supports.ids]

    def candidates(self, df: NDArray[np.float64]) -> dict[str, Any]:
        """How many units could enter, how many are in, and what they are."""
        path, split = self.path, self.split
        n_rows = int((~split.never).sum())
        inside, total, unit = self.supports.candidates, n_rows, "rows"
        grouped = split.groups is not None
        if grouped:
            total, unit = len(np.unique(split.groups[~split.never])), "groups"
        if split.D.full_row_rank is not True:
            most = dimension(split.D, ~split.never)
            least = dimension(split.D, np.zeros(split.n_rows, dtype=bool))
            if most is not None and least is not None:
                free = split.n_outputs - (path.loss.name == "multinomial")
                inside, total = (df - df[0]) / free, most - least
                unit = "pieces" if split.D.is_graph else "dimensions"
        return {"candidates": inside, "n_candidates": total, "candidates_are": unit}

    def dense_cost(self) -> float:
        """About how many multiplications `dense_df` takes."""
        n, p, m = self.problem.n_samples, self.path.n_features, self.split.n_rows
        if self.path.loss.name != "squared":
            return float(len(self.path)) * (n + self.problem.n_outputs * p) * p * p
        small = float(min(n, p))
        active = self.supports.features[self._first].sum(axis=1).astype(float)
        each = np.where(
            active > p, (m + p) * float(p) ** 2, active**2 * (active + small)
        )
        return (small + m) * float(p) ** 2 + float(each.sum())

    def dense_df(self, path: SplitPath) -> tuple[NDArray[np.float64], str]:
        if path.loss.name == "squared":
            df = self.fits.dense_dfs(self._distinct_masks())[self.supports.ids]
        else:
            eta = _path_predictors(path, self.problem, slice(None))
            df = self.fits.dense_dfs(self.masks(self.supports.features), eta)
        return df, f"trace, {self.fits.dense_df_rule}"

    def robust_scale(self, df: NDArray[np.float64]) -> float:
        n = self.path.n_samples
        allowed = np.flatnonzero(df <= n / 3)
        k = int(allowed[np.argmax(df[allowed])]) if allowed.size else 0
        residual, df_k = self.residual(k)
        scale = normalized_mad(residual, self.problem.omega)
        return float(scale * np.sqrt(n / max(n - df_k, 1.0)))

    def residual(self, k: int) -> tuple[NDArray[np.float64], float]:
        """Residuals of the refit at a knot, for one output, and its df."""
        mask = self.masks(self.supports.features[[k]])[0]
        coef, intercept, _, df = self.fits.refit(mask)
        coef, intercept = self.split.to_original(coef, intercept)
        eta = dense_predictors(self.problem, coef[None], intercept[None])[0]
        return (self.problem.y - eta)[0], float(df)


def refit_residual(
    path: SplitPath, problem: Problem, k: int
) -> tuple[NDArray[np.float64], float]:
    """Residuals (n_samples,) of the refit at the knot with index k, and its df."""
    return _Models(path, problem).residual(k)
