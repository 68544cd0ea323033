"""When a path finds the right features, and where theory says to stop.

The tools of this module are about the model ``y = X @ coef + noise`` with squared loss.
They state what theorems need and give, not what the data are like.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..losses.huber import normalized_mad
from ..problem import check_positive
from ..solvers.refit import refit_coefs
from ..split_path import SplitPath
from .base import Selection
from .information import InformationCriterion
from .split_statistics import refit_residual
from .statistics import count_candidates, half_of, sparse_part, with_statistics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..path import RegularizationPath
    from ..problem import Problem

# Columns in the span of the support that are this short do not count as outside of it.
_DEPENDENT = 1e-10


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Irrepresentability:
    r"""Whether the features outside of a support can pass for those inside.

    Attributes
    ----------
    support : ndarray of int
    outside : ndarray of int
        The other features that can enter.
    values : ndarray of shape (n_outside,)
        Without signs :math:`\|(X_S^T X_S)^{-1} X_S^T X_j\|_1`, with signs s
        :math:`|X_j^T X_S (X_S^T X_S)^{-1} s|`, on standardized columns.
    value : float
        The largest of them.
    eta : float
        ``1 - value``: positive if the condition holds.
    min_eigenvalue : float
        Smallest eigenvalue of :math:`X_S^T X_S / n` (restricted strong convexity).
    signs : ndarray or None
    """

    support: NDArray[np.int64]
    outside: NDArray[np.int64]
    values: NDArray[np.float64]
    min_eigenvalue: float
    signs: NDArray[np.float64] | None = None

    @property
    def value(self) -> float:
        return float(self.values.max(initial=0.0))

    @property
    def eta(self) -> float:
        return 1.0 - self.value

    @property
    def holds(self) -> bool:
        return self.eta > 0

    def __repr__(self) -> str:
        kind = "for all signs" if self.signs is None else "for the given signs"
        verdict = "holds" if self.holds else "fails"
        worst = ""
        if len(self.outside):
            worst = f", largest at feature {self.outside[int(np.argmax(self.values))]}"
        return (
            f"Irrepresentable condition {kind}: {verdict}\n"
            f"  value           {self.value:.6g} (must be below 1){worst}\n"
            f"  eta             {self.eta:.6g}\n"
            f"  min_eigenvalue  {self.min_eigenvalue:.6g} of X_S'X_S / n, "
            f"{len(self.support)} features in S"
        )


def irrepresentable_condition(
    problem: Problem, support: ArrayLike, signs: ArrayLike | None = None
) -> Irrepresentability:
    r"""Check the irrepresentable condition for a given support.

    With standardized columns (as `problem` says) and unpenalized columns projected out,
    the condition is :math:`\|X_{S^c}^T X_S (X_S^T X_S)^{-1}\|_\infty < 1` for all signs
    of the true coefficients, or for given signs s
    :math:`\|X_{S^c}^T X_S (X_S^T X_S)^{-1} s\|_\infty < 1`. With it, an inverse scale
    space path (and the lasso) has no false feature up to a certain time with high
    probability; where it fails by a margin, false features come first even without any
    noise.

    Parameters
    ----------
    problem : Problem
        Only X, weights, standardization and penalty factors are read (thresholds f:
        :math:`s` becomes :math:`f_S s`, and values outside are divided by their f).
    support : array-like of int or bool of shape (n_features,)
        The true features, or those that are to be tried.
    signs : array-like of shape (len(support),), default=None
        Their signs, or coefficients (only signs are used). None: all signs.

    Returns
    -------
    Irrepresentability
        The condition is about a support that is *known*, in a simulation or by
        assumption; evaluated at a selected support it proves nothing.

    Raises
    ------
    ValueError
        If the support is empty, contains unusable or dependent columns, or does not fit
        `signs`.

    References
    ----------
    Zhao, P. and Yu, B. (2006). On model selection consistency of lasso. Journal of
    Machine Learning Research 7, 2541-2563.

    Osher, S., Ruan, F., Xiong, J., Yao, Y. and Yin, W. (2016). Sparse recovery via
    differential inclusions. Applied and Computational Harmonic Analysis 41, 436-469.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import Problem
    >>> from sparselbi.selection import irrepresentable_condition
    >>> X = np.random.default_rng(0).normal(size=(200, 30))
    >>> condition = irrepresentable_condition(Problem(X, X[:, 0] + X[:, 1]), [0, 1])
    >>> condition.holds, round(condition.eta, 2)
    (True, 0.75)
    """
    S = _check_support(problem, support)
    if problem.penalty.grouped:
        raise ValueError(
            "the irrepresentable condition is implemented for penalty='l1', got "
            f"penalty={problem.penalty!r}."
        )
    free = problem.unpenalized
    factor = problem.weights[: problem.n_features]
    can_enter = problem.usable & (factor > 0)
    outside = np.setdiff1d(np.flatnonzero(can_enter), S)
    columns = problem.columns(S)
    if free.size:
        basis = np.linalg.qr(problem.columns(free))[0]
        columns = columns - basis @ (basis.T @ columns)
    gram = columns.T @ columns
    norms = np.sqrt(np.diag(gram))
    if (norms <= _DEPENDENT * problem.norms[S]).any():
        raise ValueError("a column of the support depends on the unpenalized columns.")
    eigenvalues = np.linalg.eigvalsh(gram)
    if eigenvalues[0] <= _DEPENDENT * eigenvalues[-1]:
        raise ValueError(
            "the columns of the support are linearly dependent: coefficients on it are "
            "not identified, and no path can be said to find them."
        )
    sign = None
    if signs is not None:
        sign = np.sign(np.asarray(signs, dtype=np.float64))
        if sign.shape != S.shape or (sign == 0).any():
            raise ValueError(
                f"signs has shape {np.shape(signs)}; it needs one nonzero number for "
                f"each of the {len(S)} features of the support, in its order."
            )
        directions = (columns @ np.linalg.solve(gram, factor[S] * sign)).T[None]
    else:
        directions = np.linalg.solve(gram, columns.T) * factor[S][:, None]
    # Columns are orthogonal to the free ones: the others need no projection.
    products = problem.correlate(directions * problem.sqrt_weight)[:, outside]
    values = np.abs(products).sum(axis=0) / factor[outside]
    return Irrepresentability(S, outside, values, float(eigenvalues[0]), sign)


def _check_support(problem: Problem, support: ArrayLike) -> NDArray[np.int64]:
    given = np.asarray(support)
    if given.dtype == bool:
        if given.shape != (problem.n_features,):
            raise ValueError(
                f"support has shape {given.shape}; a mask needs shape "
                f"({problem.n_features},)."
            )
        given = np.flatnonzero(given)
    S = given.astype(np.int64)
    if S.ndim != 1 or not S.size or len(np.unique(S)) < len(S):
        raise ValueError(
            f"support={support!r} must be a nonempty list of distinct feature indices, "
            "or a mask."
        )
    if S.min() < 0 or S.max() >= problem.n_features:
        raise ValueError(
            f"support={support!r} contains an index outside of 0 to "
            f"{problem.n_features - 1}."
        )
    factor = problem.weights[S]
    if not problem.usable[S].all() or (factor == 0).any():
        bad = S[~problem.usable[S] | (factor == 0)]
        raise ValueError(
            f"features {bad.tolist()} of the support are constant, unpenalized or "
            "excluded (penalty_factor=inf): they do not enter a path."
        )
    return S


def noise_scale(path: RegularizationPath, problem: Problem) -> tuple[float, str]:
    """Standard deviation of the noise, and how it was estimated.

    With at least twice as many samples as features, 1.4826 times the median absolute
    residual of the least-squares fit on all features; otherwise of the refit that EBIC
    chooses. Multiplied by ``sqrt(n / (n - size - 1))`` for the fitted coefficients
    (without the 1 if there is no intercept). After a selection this is too small if
    noise was selected and too large if signal was missed.

    Returns
    -------
    sigma : float
        In units of y, for a sample of weight 1.
    rule : str

    Raises
    ------
    ValueError
        If the loss is not squared.
    """
    if path.loss.name != "squared":
        raise ValueError(
            f"loss={path.loss.name!r} has no noise level; it belongs to loss='squared'."
        )
    problem.check_samples("a robust noise level (give sigma instead)")
    features = np.flatnonzero(problem.usable)
    rule = "residual MAD of the fit on all features"
    chosen = None
    if len(features) > half_of(problem.total_weight):
        chosen = InformationCriterion("ebic").select(path, problem)
        features = path.support(chosen.knot)
        rule = "residual MAD of the refit chosen by EBIC"
    if chosen is not None and isinstance(path, SplitPath):
        residual, size = refit_residual(path, problem, chosen.index)
    else:
        coef, intercept, _ = refit_coefs(problem, features)
        rows = np.atleast_2d(coef)[None]
        eta = problem.linear_predictor(features, rows, np.reshape(intercept, (1, 1)))
        residual, size = (problem.y - eta[0])[0], len(features)
    scale = normalized_mad(residual, problem.omega)
    n = problem.total_weight
    free = n - size - problem.fit_intercept
    return float(scale * np.sqrt(n / max(free, 1.0))), rule


@dataclasses.dataclass(frozen=True)
class TheoreticalTime:
    r"""Stop at the time up to which theory excludes false features.

    .. math:: \bar\tau = \frac{\eta}{2 \sigma} \sqrt{\frac{n}{\log p}}
       \Big/ \max_j \frac{\|X_j\|}{\sqrt n}

    For Gaussian noise of standard deviation :math:`\sigma` and a design that satisfies
    the irrepresentable condition with margin :math:`\eta`, the path has no false
    feature before :math:`\bar\tau`, with a probability that tends to one. It is a worst
    case: usually safe, often much too early, and blind to whether the condition holds.
    With :math:`\eta = 1` (orthogonal columns) it is the universal penalty
    :math:`2 \sigma \sqrt{\log(p) / n}` of the lasso, read at t = 1 / alpha.

    Parameters
    ----------
    eta : float in (0, 1], default=1.0
        Margin of the irrepresentable condition; depends on the unknown support.
    sigma : float, default=None
        Standard deviation of the noise in units of y; None estimates it
        (`noise_scale`).

    References
    ----------
    Osher, S., Ruan, F., Xiong, J., Yao, Y. and Yin, W. (2016). Sparse recovery via
    differential inclusions. Applied and Computational Harmonic Analysis 41, 436-469.
    """

    eta: float = 1.0
    sigma: float | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 < check_positive("eta", self.eta) <= 1:
            raise ValueError(f"eta={self.eta!r} must be in (0, 1].")
        if self.sigma is not None:
            check_positive("sigma", self.sigma)

    def select(
        self, path: RegularizationPath, problem: Problem | None = None
    ) -> Selection:
        """Choose the last knot that is not beyond the time; needs the problem.

        Raises
        ------
        ValueError
            If `problem` is None or the loss is not squared.
        """
        if isinstance(path, SplitPath):
            raise ValueError(
                "TheoreticalTime is about features, not about rows of D; for a path of "
                "Split LBI use 'ebic', 'cv' or a number."
            )
        problem = _check_squared("TheoreticalTime", path, problem)
        sigma, rule = _sigma(self.sigma, path, problem)
        p = count_candidates(path, problem)
        largest = float(problem.norms[problem.usable].max(initial=0.0))
        time = np.inf
        if sigma > 0 and p > 1 and largest > 0:
            root = np.sqrt(problem.total_weight / np.log(p))
            time = self.eta / (2 * sigma) * root / largest
        notes = []
        if time > path.knots[-1] and not path.is_complete:
            notes.append(
                f"The time {time:.6g} lies beyond the traced path; its last knot is "
                "reported. Trace it with a larger t_max or max_features."
            )
        knot = time if time <= path.knots[-1] else float(path.knots[-1])
        index = max(int((path.knots <= knot).sum()) - 1, 0)
        return Selection(
            rule="theoretical_time",
            knot=float(knot),
            index=index,
            scores=np.full(len(path.knots), np.nan),
            quantities={
                "features": len(path.support(knot)),
                "time": time,
                "eta": self.eta,
                "sigma": sigma,
                "sigma_rule": rule,
                "n": problem.total_weight,
                "p": p,
                "largest_column_norm": largest,
            },
            message=" ".join(notes),
            fallback=bool(notes),
        )


@dataclasses.dataclass(frozen=True)
class Discrepancy:
    r"""Stop as soon as the residuals are no larger than the noise.

    The first knot with :math:`\|y - X \beta(t)\|^2 \le \rho^2\, n \sigma^2` (weighted
    sums of squares), the discrepancy principle of Morozov. Simple, and only as good as
    :math:`\sigma`: with the true one it tends to stop a little late, because the
    residuals of a fit with k coefficients are smaller than the noise by the factor
    1 - k/n.

    Parameters
    ----------
    sigma : float, default=None
        Standard deviation of the noise in units of y; None estimates it
        (`noise_scale`). With an estimate from a refit on selected features the rule
        mostly reports where the path has relaxed to that refit.
    factor : float, default=1.0
        :math:`\rho`; larger than 1 stops earlier.

    References
    ----------
    Morozov, V. A. (1984). Methods for Solving Incorrectly Posed Problems. Springer.

    Osher, S., Burger, M., Goldfarb, D., Xu, J. and Yin, W. (2005). An iterative
    regularization method for total variation-based image restoration. Multiscale
    Modeling & Simulation 4, 460-489.
    """

    sigma: float | None = None
    factor: float = dataclasses.field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        check_positive("factor", self.factor)
        if self.sigma is not None:
            check_positive("sigma", self.sigma)

    def select(
        self, path: RegularizationPath, problem: Problem | None = None
    ) -> Selection:
        """Choose a knot.

        Raises
        ------
        ValueError
            If `problem` is None and sigma or the deviances of the path are not given,
            or if the loss is not squared.
        """
        if problem is not None or self.sigma is None or path.deviance is None:
            problem = _check_squared("Discrepancy", path, problem)
        if path.loss.name != "squared":
            raise ValueError(
                f"Discrepancy needs loss='squared', got {path.loss.name!r}."
            )
        sigma, rule = _sigma(self.sigma, path, problem)
        if path.deviance is None:
            assert problem is not None
            path = with_statistics(path, problem)
        assert path.deviance is not None
        level = self.factor**2 * path.n_samples * sigma**2
        below = path.deviance <= level
        notes = []
        index = int(np.argmax(below))
        if not below.any():
            index = len(path.knots) - 1
            notes.append(
                f"The residual sum of squares never falls to {level:.6g}: the last "
                "knot of the path is reported. sigma is too small, or the path too "
                "short (t_max, max_features)."
            )
        knot, counted = float(path.knots[index]), sparse_part(path)
        unit = "features" if counted is path else "rows"
        return Selection(
            rule="discrepancy",
            knot=knot,
            index=index,
            scores=path.deviance,
            quantities={
                unit: len(counted.support(knot)),
                "deviance": float(path.deviance[index]),
                "level": level,
                "sigma": sigma,
                "sigma_rule": rule,
                "factor": self.factor,
                "n": path.n_samples,
            },
            message=" ".join(notes),
            fallback=bool(notes),
        )


def _check_squared(
    name: str, path: RegularizationPath, problem: Problem | None
) -> Problem:
    if path.loss.name != "squared":
        raise ValueError(f"{name} needs loss='squared', got {path.loss.name!r}.")
    if problem is None:
        raise ValueError(
            f"{name} needs the data: call select({name}(...), X, y) with the X, y and "
            "sample_weight given to fit."
        )
    return problem


def _sigma(
    given: float | None, path: RegularizationPath, problem: Problem | None
) -> tuple[float, str]:
    if given is not None:
        return float(given), "given"
    assert problem is not None
    return noise_scale(path, problem)
