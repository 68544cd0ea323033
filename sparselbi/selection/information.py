"""Choosing a knot by an information criterion."""

from __future__ import annotations

import dataclasses
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammaln

from ..split_path import SplitPath
from .base import Selection
from .split_statistics import dense_df
from .statistics import (
    count_candidates,
    full_variance,
    half_of,
    path_supports,
    with_larger_refits,
    with_statistics,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..path import RegularizationPath
    from ..problem import Problem

# How each loss becomes -2 log likelihood.
_LIKELIHOODS = {
    "squared": "Gaussian",
    "logistic": "Bernoulli",
    "multinomial": "multinomial",
    "huber": "pseudo-likelihood, Huber deviance / robust variance",
}

# A fit is saturated when its deviance is at most this fraction of the null model's.
# Where the loss has no minimizer on separable data (True), refits stop sooner.
_SATURATED = {False: 1e-10, True: 1e-6}


@dataclasses.dataclass(frozen=True, eq=False)
class InformationCriterion:
    r"""Choose the knot with the smallest information criterion.

    The score of a knot is

    .. math:: -2 \log L + k \log n + 2 \gamma \log \binom{p}{m}

    (AIC: :math:`-2 \log L + 2 k`), with k the number of coefficients without the
    intercept, n the sum of the sample weights, m the number of penalized features (or
    groups) in the model and p the number of those that could have entered. For squared
    loss :math:`-2 \log L` is ``n log(deviance / n)`` (variance profiled out) or
    ``deviance / variance``; for the logistic and softmax losses it is the deviance; for
    Huber's loss it is the pseudo-likelihood ``deviance / variance`` with one robust
    variance (profiling it out would let a single outlier hide every variable).

    Parameters
    ----------
    criterion : {"ebic", "bic", "aic"}, default="ebic"
    refit : bool, default=True
        Score the unpenalized refit on the support of the knot instead of the
        coefficients of the knot (see Notes for Split LBI). All knots with one support
        then share one score, and
        the last knot of their first run is chosen: its coefficients have had the most
        time to relax towards the fit that was scored, and a support that is left and
        found again later has meanwhile been rejected by the path.
    gamma : "auto" or float in [0, 1], default="auto"
        Only for ``"ebic"``. "auto" is ``max(0, 1 - log(n) / (2 log(p)))``, which is
        plain BIC as long as p <= sqrt(n).
    cap : "auto", int or None, default="auto"
        Largest k that is scored; "auto" is n/2. Without a cap, BIC and EBIC run to the
        saturated end of the path when p > n, because the profile likelihood is
        unbounded there. Refits beyond n/2 are not stored on the path, so that a larger
        cap needs the problem at `select`.
    variance : "profile", "full" or float, default="profile"
        Only for squared loss. "full" is the unbiased variance of the least-squares fit
        on all features; it needs the problem at `select` and more samples than
        features, otherwise "profile" is used and the selection says so.
    df : "size" or array-like of shape (K,), default="size"
        k in the second term. The size of a support is the number of parameters of the
        refit, but not the degrees of freedom of the coefficients on the path: for
        ``refit=False`` an estimate from `degrees_of_freedom` can be given.

    Notes
    -----
    On a path of Split LBI with active rows S of D, ``refit=True`` scores the
    unpenalized fit on the kernel of the other rows, with k the rank of X there; the
    rank on ker D is the baseline that every model has, as unpenalized columns are
    elsewhere. ``refit=False`` scores the dense coefficients, with k the degrees of
    freedom of the fit that they settle at,
    ``tr[X (X'X/n + D_rest' D_rest / nu)^-1 X'/n]``; at S = empty this is not 0. The
    search term counts rows (groups of rows) where those of D are independent. On a
    graph with cycles, and wherever rows depend on each other, the number of active rows
    says little about the number of free parameters: m is then the number of dimensions
    beyond those of the null model, and p the largest such number
    (``quantities["p_counts"]`` says what was counted).

    The null model can always be chosen while its deviance is positive. Saturated knots
    (deviance at most 1e-10 of the null model's, 1e-6 for the logistic and softmax
    losses, or n - k - 1 <= 0) never are.

    All parts of the score are natural in repeated samples: weight w of a row has the
    same effect as w repeated rows.

    References
    ----------
    Chen, J. and Chen, Z. (2008). Extended Bayesian information criteria for model
    selection with large model spaces. Biometrika 95, 759-771.

    Chen, J. and Chen, Z. (2012). Extended BIC for small-n-large-P sparse GLM.
    Statistica Sinica 22, 555-574.
    """

    criterion: str = "ebic"
    refit: bool = dataclasses.field(default=True, kw_only=True)
    gamma: str | float = dataclasses.field(default="auto", kw_only=True)
    cap: str | int | None = dataclasses.field(default="auto", kw_only=True)
    variance: str | float = dataclasses.field(default="profile", kw_only=True)
    df: str | ArrayLike = dataclasses.field(default="size", kw_only=True)

    def __post_init__(self) -> None:
        if self.criterion not in ("ebic", "bic", "aic"):
            raise ValueError(
                f"criterion={self.criterion!r} is unknown; use 'ebic', 'bic' or 'aic'."
            )
        if self.gamma != "auto":
            if not _is_real(self.gamma) or not 0 <= float(self.gamma) <= 1:
                raise ValueError(
                    f"gamma={self.gamma!r} must be 'auto' or a number in [0, 1]."
                )
            if self.criterion != "ebic":
                raise ValueError(
                    f"gamma={self.gamma!r} belongs to criterion='ebic', but "
                    f"criterion={self.criterion!r}; leave gamma at 'auto'."
                )
        if not (self.cap is None or self.cap == "auto") and (
            isinstance(self.cap, bool)
            or not isinstance(self.cap, Integral)
            or self.cap < 0
        ):
            raise ValueError(
                f"cap={self.cap!r} must be 'auto' (n/2), a nonnegative integer, or "
                "None for no cap."
            )
        if self.variance not in ("profile", "full") and not (
            _is_real(self.variance) and 0 < float(self.variance) < np.inf
        ):
            raise ValueError(
                f"variance={self.variance!r} must be 'profile', 'full' or a positive "
                "number in squared units of y."
            )
        if isinstance(self.df, str):
            if self.df != "size":
                raise ValueError(
                    f"df={self.df!r} must be 'size' or an array with one value per "
                    "knot, for example from sparselbi.selection.degrees_of_freedom."
                )
        elif self.refit:
            raise ValueError(
                "df is an array, but refit=True scores the refits, whose degrees of "
                "freedom are their sizes; use refit=False with degrees of freedom of "
                "the path's own coefficients, or df='size'."
            )

    def select(
        self, path: RegularizationPath, problem: Problem | None = None
    ) -> Selection:
        """Choose a knot.

        Parameters
        ----------
        path : RegularizationPath
            With stored statistics (`with_statistics`), unless `problem` is given.
        problem : Problem, optional
            What the path was traced on. Needed for ``variance="full"``, for caps above
            n/2 and for a path without statistics.

        Returns
        -------
        Selection
            Its ``quantities`` hold everything that entered the score.

        Raises
        ------
        ValueError
            If the path has no statistics and `problem` is None, or if an option does
            not fit the path.
        """
        self._check(path)
        path = _with_statistics(path, problem)
        assert path.refit_deviance is not None
        n = float(path.n_samples)
        notes: list[str] = []

        cap, cap_rule = self._cap(n)
        if self.refit and cap > half_of(n) and np.isnan(path.refit_deviance).any():
            if problem is None:
                notes.append(
                    "Refits with more than n/2 coefficients are not stored on the "
                    f"path and no problem was given: the cap is {half_of(n):g} "
                    f"instead of {self.cap!r}."
                )
                cap, cap_rule = half_of(n), "n/2, larger refits are not stored"
            else:
                path = with_larger_refits(path, problem, cap)
        models = self._models(path, problem)
        deviance, size, null = models.deviance, models.size, models.null
        saturated = deviance <= _SATURATED[path.loss.saturates] * null
        saturated |= n - size - 1 <= 0
        allowed = np.isfinite(deviance) & ~saturated & (size <= cap)
        allowed[0] = True
        deviance = np.where(allowed & (null > 0), deviance, np.nan)

        variance, variance_rule = self._variance(null / n, path, problem, notes)
        if path.loss.saturates:
            minus_two_log_likelihood = deviance
        elif variance is None:
            minus_two_log_likelihood = n * np.log(deviance / n)
        else:
            minus_two_log_likelihood = deviance / variance

        p, df = models.p, models.df
        gamma, gamma_rule = self._gamma(n, p)
        price = 2.0 if self.criterion == "aic" else np.log(n)
        scores = minus_two_log_likelihood + price * df
        if gamma > 0:
            scores += 2 * gamma * _log_binomial(p, models.candidates)

        if null > 0 and not size[0] <= cap:
            notes.append(
                f"The null model has {size[0]:.3g} degrees of freedom already, more "
                f"than the cap of {cap:g}: nothing else was scored. Use refit=True, a "
                "larger cap, cross-validation, or (Split LBI) a smaller nu."
            )
        if null == 0:
            notes.append(
                "The null model leaves no deviance (constant y): nothing can be "
                "scored, the null model is reported."
            )
        fallback = bool(notes)
        index = _last_of_first_best_run(scores)
        # A path that ends at the cap has no more models to score.
        ended = index == len(scores) - 1 and not path.is_complete and size[index] < cap
        if null > 0 and ended and models.candidates[index] < p:
            notes.append(
                "The best score is at the end of the traced path; a longer path "
                f"(t_max, max_{models.unit}) may have a better one."
            )
        if variance is None and not path.loss.saturates and null > 0:
            variance = float(deviance[index] / n)
        return Selection(
            rule=self.criterion,
            knot=float(path.knots[index]),
            index=index,
            scores=scores,
            quantities={
                "size": int(models.count[index]),
                "score": float(scores[index]),
                "null_score": float(scores[0]),
                **_runner_up(path, scores, models.ids, index),
                "scored_fit": models.fit,
                "likelihood": _LIKELIHOODS[path.loss.name],
                "deviance": float(deviance[index]),
                "variance": variance,
                "variance_rule": variance_rule,
                "n": n,
                "df": float(df[index]),
                "df_rule": models.df_rule,
                "p": p,
                "p_counts": models.p_counts,
                "gamma": gamma,
                "gamma_rule": gamma_rule,
                "cap": cap,
                "cap_rule": cap_rule,
                "knots_scored": int(np.isfinite(scores).sum()),
                "knots_beyond_cap": int((~(size <= cap)).sum()),
                "knots_saturated": int((saturated & (size <= cap)).sum()),
            },
            message=" ".join(notes),
            fallback=fallback,
        )

    def _check(self, path: RegularizationPath) -> None:
        if path.loss.name not in _LIKELIHOODS:
            raise ValueError(
                f"loss={path.loss.name!r} has no likelihood in an information "
                f"criterion, only {sorted(_LIKELIHOODS)} have; choose a fixed knot "
                "(a number) instead."
            )
        if self.variance != "profile" and path.loss.name != "squared":
            raise ValueError(
                f"variance={self.variance!r} needs loss='squared', but the path has "
                f"loss={path.loss.name!r}; leave variance at 'profile'."
            )

    def _cap(self, n: float) -> tuple[float, str]:
        if self.cap is None:
            return np.inf, "none"
        if isinstance(self.cap, str):
            return half_of(n), "auto: n/2"
        return float(self.cap), "given"

    def _variance(
        self,
        null: float,
        path: RegularizationPath,
        problem: Problem | None,
        notes: list[str],
    ) -> tuple[float | None, str]:
        """The common variance (None: one per fit) and its rule."""
        if path.loss.saturates:
            return None, "none in this likelihood"
        scale = path.info.get("robust_scale", 0.0)
        if scale > 0:
            return float(scale) ** 2, "robust: residuals of the largest fit <= n/3"
        profile = "profile: deviance / n of each fit"
        if self.variance == "profile":
            return None, profile
        if self.variance != "full":
            return float(self.variance), "given"
        if problem is None:
            reason = "no problem was given"
        else:
            value, n_free = full_variance(problem)
            if n_free <= 0:
                reason = "there are not more samples than coefficients in all"
            elif value <= _SATURATED[False] * null:
                reason = "the fit on all features leaves no residual"
            else:
                return value, f"full: least squares on all features, {n_free:g} free"
        notes.append(
            f"variance='full' could not be applied, because {reason}: the variance "
            "was profiled out instead."
        )
        return None, f"{profile}, because {reason}"

    def _gamma(self, n: float, p: int) -> tuple[float, str]:
        if self.criterion != "ebic":
            return 0.0, f"none in {self.criterion}"
        if self.gamma != "auto":
            return float(self.gamma), "given"
        rule = "auto: max(0, 1 - log(n) / (2 log(p)))"
        return (max(0.0, 1 - np.log(n) / (2 * np.log(p))) if p > 1 else 0.0), rule

    def _models(self, path: RegularizationPath, problem: Problem | None) -> _Models:
        if isinstance(path, SplitPath):
            return self._split_models(path, problem)
        supports = path_supports(path)
        size = supports.refit_size if self.refit else supports.size
        assert path.deviance is not None
        assert path.refit_deviance is not None
        null = float(path.deviance[0])
        deviance = path.deviance
        if self.refit:
            deviance = path.refit_deviance
            if np.isnan(deviance[0]):
                # Too many unpenalized columns; but the null model is its own refit.
                deviance = np.append(null, deviance[1:])
        df, df_rule = self._df(path, size.astype(np.float64), "size")
        return _Models(
            fit="refit on the support" if self.refit else "path",
            deviance=deviance,
            null=null,
            size=size,
            count=size,
            df=df,
            df_rule=df_rule,
            ids=supports.ids,
            candidates=supports.candidates,
            p=count_candidates(path, problem),
            p_counts="groups" if _grouped(path) else "features",
            unit="features",
        )

    def _split_models(self, path: SplitPath, problem: Problem | None) -> _Models:
        """For the refits or the dense coefficients of a path of Split LBI."""
        info = path.info
        if self.refit:
            fit, deviance = "refit on the kernel of inactive rows", path.refit_deviance
            assert deviance is not None
            df, df_rule = info["df_refit"], "rank of X on the kernel of inactive rows"
            # Different rows may stand for the same model.
            both = np.nan_to_num(np.column_stack([df, deviance]), nan=-1.0)
            ids = np.unique(both, axis=0, return_inverse=True)[1].ravel()
        else:
            fit, deviance = "dense coefficients", path.deviance
            ids = path_supports(path.split).ids
            df, df_rule = np.full(len(path), np.nan), "given"
            if isinstance(self.df, str):
                df, df_rule = dense_df(path, problem)
            df, df_rule = self._df(path, df, df_rule)
            if not np.isfinite(df[0]):
                raise ValueError(
                    f"the degrees of freedom of the dense coefficients are unknown "
                    f"({df_rule}); score the refits (refit=True), or give df=, for "
                    "example from sparselbi.selection.degrees_of_freedom."
                )
        assert deviance is not None
        assert path.size is not None
        if np.isnan(deviance[0]):
            raise ValueError(
                "the refit of the null model, on the kernel of all rows of D, is too "
                "large to be computed; use refit=False, or a D with a smaller kernel."
            )
        return _Models(
            fit=fit,
            deviance=deviance,
            null=float(deviance[0]),
            size=df,
            count=path.size,
            df=df,
            df_rule=df_rule,
            ids=ids,
            candidates=info["candidates"],
            p=int(info["n_candidates"]),
            p_counts=info["candidates_are"],
            unit="rows",
        )

    def _df(
        self, path: RegularizationPath, df: NDArray[np.float64], rule: str
    ) -> tuple[NDArray[np.float64], str]:
        """`df` and its rule, unless others are given."""
        if isinstance(self.df, str):
            return df, rule
        df = np.asarray(self.df, dtype=np.float64)
        if df.shape != path.knots.shape or not np.isfinite(df).all():
            raise ValueError(
                f"df must hold one finite number for each of the {len(path.knots)} "
                f"knots, got shape {df.shape}; it belongs to one path."
            )
        return df, "array, as given"


@dataclasses.dataclass(frozen=True)
class _Models:
    """What is scored at each knot: the fits, and what they cost.

    ``size`` is what the cap limits, ``count`` what is reported as size, ``df`` what the
    criterion charges, ``candidates`` are m, and ``unit`` what an option that ends the
    path early counts.
    """

    fit: str
    deviance: NDArray[np.float64]
    null: float
    size: NDArray[Any]
    count: NDArray[np.int64]
    df: NDArray[np.float64]
    df_rule: str
    ids: NDArray[np.int64]
    candidates: NDArray[Any]
    p: int
    p_counts: str
    unit: str


def _with_statistics(
    path: RegularizationPath, problem: Problem | None
) -> RegularizationPath:
    """The path with deviances, computed if they are not there."""
    if path.deviance is not None and path.refit_deviance is not None:
        return path
    if problem is None:
        raise ValueError(
            "path has no stored deviance; call select(path, problem), or store it once "
            "with sparselbi.selection.with_statistics(path, problem)."
        )
    return with_statistics(path, problem)


def _log_binomial(p: int, m: NDArray[Any]) -> NDArray[np.float64]:
    return gammaln(p + 1) - gammaln(m + 1) - gammaln(p - m + 1)


def _last_of_first_best_run(scores: NDArray[np.float64]) -> int:
    """Index to report; see `refit` for the reason. 0 if there is no score."""
    if np.isnan(scores).all():
        return 0
    best = scores == np.nanmin(scores)
    first = int(np.argmax(best))
    return first + int(np.argmin(np.append(best[first:], False))) - 1


def _runner_up(
    path: RegularizationPath,
    scores: NDArray[np.float64],
    ids: NDArray[np.int64],
    index: int,
) -> dict[str, Any]:
    """How much worse the best other support is, and where."""
    others = np.where(ids == ids[index], np.nan, scores)
    if np.isnan(others).all():
        return {"runner_up": "none"}
    other = int(np.nanargmin(others))
    return {
        "runner_up_difference": float(others[other] - scores[index]),
        "runner_up_knot": float(path.knots[other]),
    }


def _grouped(path: RegularizationPath) -> bool:
    return path.settings.get("groups") is not None


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
