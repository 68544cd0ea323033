"""Paths of robust rankings: every method of the shift model, on votes."""

from __future__ import annotations

import copy
import dataclasses
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special
from scipy.sparse.linalg import LinearOperator

from .._logistic_votes import logistic_loss
from .._path_checks import check_choice
from .._shift_checks import check_same_rows, check_thresholds
from ..losses import get_loss
from ..vote_path import VotePath, residuals_of
from ._shift_exact import trace_iss
from ._shift_hard import default_thresholds, trace_hard
from .huber import huber_path
from .logistic_shift import bradley_terry, trace_logistic_shift, vote_scores
from .shift_paths import as_shift_path, check_limit, refit_shift_path, shift_lbi_path
from .shift_verify import KnotCheck

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from ..comparison_problem import ComparisonProblem

__all__ = [
    "check_same_votes",
    "refit_vote_path",
    "retrace_votes",
    "verify_vote_path",
    "vote_path",
]

MODELS = ("linear", "logistic")
METHODS = ("l1", "iss", "lbi", "hard")
# Knots of a grid, also of single fits, and those of grids for more votes than that.
_N_KNOTS, _HARD_KNOTS, _FEW_KNOTS, _MANY_VOTES = 100, 60, 30, 100_000
# Largest residuals that differ by this fraction are those of other votes.
_OTHER = 1e-6


def vote_path(
    problem: ComparisonProblem,
    *,
    model: str = "linear",
    method: str = "l1",
    thresholds: ArrayLike | None = None,
    n_knots: int | None = None,
    max_outliers: float | None = None,
    kappa: float = 10.0,
    t_max: float | None = None,
    ridge: float = 0.0,
    items: Any = None,
    row_names: Any = None,
) -> VotePath:
    """Trace which votes are distrusted, from none to half of them.

    Parameters
    ----------
    problem : ComparisonProblem
    model : {"linear", "logistic"}, default="linear"
        Least squares of votes and shifts (HodgeRank, URLR), or Bradley-Terry with a
        shift in the log odds of votes in {-1, 0, 1}.
    method : {"l1", "iss", "lbi", "hard"}, default="l1"
        "l1": Huber's loss over decreasing thresholds, the preconditioned lasso on the
        cyclic part of the votes; with every event if the design is in memory (see
        ComparisonProblem) and has up to 50,000 votes, on a grid otherwise, and for the
        logistic model. "iss": exact inverse scale space. "lbi": Linearized Bregman
        Iteration. "hard": votes beyond the threshold are deleted, from a fit near least
        absolute deviations.
    thresholds : array-like or None
        Positive, decreasing, in units of y (linear) or of probability (logistic), for
        "l1" and "hard". An exact path ends at the last of them.
    n_knots : int or None
        Of a grid; None: 100 ("hard": 60), and 30 with more than 100,000 votes. Exact
        paths have their events.
    max_outliers : float or None
        End before more votes than that (in weights) are shifted. None: half of them,
        unless `thresholds` say where "l1" ends.
    kappa : float, default=10.0
        Damping of "lbi".
    t_max : float or None
        Where "iss" and "lbi" end, in units of 1 / y.
    ridge : float, default=0.0
        For the logistic model: so many ties are added to every vote.
    items : sequence of length n_items or None
        Labels; None: their codes.
    row_names : sequence of str or None

    Returns
    -------
    VotePath

    Raises
    ------
    SeparatedVotes
        If the logistic model without ridge has no maximum.
    ValueError
        If an argument is out of range or does not belong to the method, or "iss" has no
        coordinates in memory.

    References
    ----------
    Y. Fu, T. M. Hospedales, T. Xiang, J. Xiong, S. Gong, Y. Wang, Y. Yao (2016).
    Robust subjective visual property prediction from crowdsourced pairwise labels.
    IEEE TPAMI 38, 563-577. Q. Xu, J. Xiong, Q. Cao, Q. Huang, Y. Yao (2014). Online
    HodgeRank/robust ranking with Linearized Bregman Iteration, arXiv:1408.3467. J.
    Tibshirani, C. D. Manning (2014). Robust logistic regression using shift parameters.
    ACL.
    """
    check_choice("model", model, MODELS)
    check_choice("method", method, METHODS)
    _check_together(model, method, thresholds, t_max, ridge, n_knots)
    limit = check_limit(problem, max_outliers)
    if limit is None and not (method == "l1" and thresholds is not None):
        limit = problem.total_weight / 2
    if n_knots is None:
        n_knots = _HARD_KNOTS if method == "hard" else _N_KNOTS
        n_knots = _FEW_KNOTS if problem.n_samples > _MANY_VOTES else n_knots
    if model == "logistic":
        found = _logistic(problem, thresholds, n_knots, limit, ridge)
    elif method == "l1":
        found = huber_path(
            problem, thresholds=thresholds, n_knots=n_knots, max_outliers=limit
        )
    elif method == "iss":
        found = _iss(problem, t_max, limit)
    elif method == "lbi":
        found = shift_lbi_path(
            problem, kappa=kappa, t_max=t_max, n_knots=n_knots, max_outliers=limit
        )
    else:
        found = _hard(problem, thresholds, n_knots, limit)
    return as_vote_path(problem, found, model, ridge, items, row_names)


def _check_together(
    model: str, method: str, thresholds: Any, t_max: Any, ridge: Any, n_knots: Any
) -> None:
    if model == "logistic" and method != "l1":
        raise ValueError(
            f"method={method!r} has no logistic model; use method='l1' or "
            "model='linear'."
        )
    if not (isinstance(ridge, Real) and 0 <= float(ridge) < np.inf):
        raise ValueError(f"ridge={ridge!r} must be a number of ties, at least 0.")
    if ridge and model == "linear":
        raise ValueError(
            f"ridge={ridge!r} adds ties to the logistic model; the linear one needs "
            "none: use ridge=0."
        )
    if method in ("iss", "lbi") and thresholds is not None:
        raise ValueError(
            f"thresholds were given, but method={method!r} has times: use t_max and "
            "max_outliers."
        )
    if method in ("l1", "hard") and t_max is not None:
        raise ValueError(
            f"t_max={t_max!r} was given, but method={method!r} has thresholds."
        )
    if t_max is not None and not (isinstance(t_max, Real) and float(t_max) > 0):
        raise ValueError(f"t_max={t_max!r} must be positive, or None for no limit.")
    if n_knots is not None and not (
        isinstance(n_knots, Integral) and int(n_knots) >= 2
    ):
        raise ValueError(
            f"n_knots={n_knots!r} must be an integer of at least 2, or None."
        )


def _iss(problem, t_max, limit):
    try:
        problem = problem.in_memory()
    except ValueError as error:
        raise ValueError(
            f"method='iss' traces exactly: {error} Or use method='lbi' or 'l1'."
        ) from error
    design = problem.design
    # An item may lose all of its votes; net residuals are determined all the same.
    trace = trace_iss(
        design.Z,
        design.Y[:, 0],
        design.weight,
        problem.row_factor,
        max_shifted=limit,
        t_max=t_max,
        determined=False,
    )
    return as_shift_path(problem, trace, "iss", {})


def _hard(problem, thresholds, n_knots, limit):
    # Votes have bounded leverage: half of them cannot break a fit near the median one.
    from ._hard_start import huber_start

    design, factor = problem.design, problem.row_factor
    start: Any = huber_start(design, factor)
    if thresholds is None:
        grid = default_thresholds(design, factor, start, n_knots)
    else:
        grid = check_thresholds(thresholds, zero=True)
    trace = trace_hard(design, factor, start, thresholds=grid, max_shifted=limit)
    coef, intercept = design.to_coefs(start.coords)
    info = {"scale": start.scale, "scale_rule": "mad", "start_coef": coef}
    info |= {"start_intercept": intercept, "random_state": 0}
    return as_shift_path(problem, trace, "hard", info)


def _logistic(problem, thresholds, n_knots, limit, ridge):
    view = copy.copy(problem)
    view.__dict__["design"] = problem.vote_design  # knows which items are compared
    trace = trace_logistic_shift(
        view.design,
        problem.row_factor,
        thresholds=thresholds,
        n_knots=n_knots,
        max_shifted=np.inf if limit is None else limit,
        ridge=ridge,
    )
    path = as_shift_path(view, trace, "l1", {"route": "grid"})
    return dataclasses.replace(
        path,
        loss=get_loss("logistic"),
        threshold_max=trace.info["threshold_max"],
        df_kind="approximate",
    )


def as_vote_path(problem, path, model, ridge=0.0, items=None, row_names=None):
    """The path of shifts with all that it says about votes."""
    labels = tuple(range(problem.n_items)) if items is None else items
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if len(labels) != problem.n_items:
        raise ValueError(f"items has {len(labels)} labels for {problem.n_items} items.")
    if row_names is not None:
        row_names = tuple(str(name) for name in row_names)
        if len(row_names) != problem.n_samples:
            raise ValueError(
                f"row_names has {len(row_names)} entries for {problem.n_samples} votes."
            )
    names = problem.feature_names
    if problem.features is None:
        extra = names[problem.n_items :]
        names = (*(str(label) for label in labels), *extra)
    fields = path._fields() | {"feature_names": names, "row_names": row_names}
    return VotePath(
        **fields,
        model=model,
        items=tuple(labels),
        row_rest=_rest(problem, path.coef(-1), model),
        n_extra=problem.n_extra,
        ridge=float(ridge),
        features=problem.features,
    )


def _rest(problem, coef, model):
    residual = residuals_of(problem.eta(coef), problem.y, model)
    return np.abs(residual) / problem.row_factor


def retrace_votes(
    path: VotePath, problem: ComparisonProblem, knots: ArrayLike
) -> VotePath:
    """Trace other votes in the way in which a path was traced.

    Parameters
    ----------
    path : VotePath
    problem : ComparisonProblem
        With the same items, for example with other weights.
    knots : array-like
        Where the result is going to be read: thresholds or times.
    """
    if path.method not in METHODS:
        raise ValueError(f"a path of method {path.method!r} cannot be traced again.")
    values = np.asarray(knots, dtype=np.float64)
    if path.method == "lbi":  # kappa itself depends on the largest residual
        found = shift_lbi_path(
            problem,
            kappa_raw=path.kappa_raw,
            t_max=float(values.max()),
            n_knots=len(path),
        )
        return as_vote_path(problem, found, path.model, items=path.items)
    where: dict[str, Any] = {"thresholds": np.unique(values[values > 0])[::-1]}
    if path.method == "iss":
        where = {"t_max": float(values.max()), "max_outliers": problem.total_weight}
    return vote_path(
        problem,
        model=path.model,
        method=path.method,
        ridge=path.ridge,
        items=path.items,
        **where,
    )


# -- refits and checks -----------------------------------------------------------------


def refit_vote_path(path: VotePath, problem: ComparisonProblem) -> VotePath:
    """Fits without the shifted votes, at every knot; see `VotePath.refit`."""
    check_same_votes(path, problem)
    fits: Any = refit_shift_path if path.model == "linear" else _refit_logistic
    new: VotePath = fits(path, problem)
    rest = _rest(problem, new.coef(-1), path.model)
    return dataclasses.replace(new, row_rest=rest)


def _refit_logistic(path, problem):
    weight = problem.sample_weight
    weight = np.ones(problem.n_samples) if weight is None else weight
    constant = dataclasses.replace(path, interpolation="constant")
    coefs, deviance, sizes = [], [], []
    last = None
    for knot in path.knots:
        kept = ~constant.outliers(knot)
        if last is None or (kept != last).any():
            part = copy.copy(problem)
            part.sample_weight = weight * kept
            for name in ("design", "vote_design", "_graph_design", "_used"):
                part.__dict__.pop(name, None)
            design = part.vote_design
            if design.n_coords < problem.rank:
                raise ValueError(
                    f"at threshold={knot:.6g} the votes that are kept do not determine "
                    "all scores. Trace the path with a smaller max_outliers."
                )
            coords = bradley_terry(design, ridge=path.ridge)
            coef = design.to_coefs(coords)[0][0]
        coefs.append(coef)
        deviance.append(
            2 * (weight * kept) @ logistic_loss(problem.eta(coef), problem.y)
        )
        sizes.append(weight[~kept].sum())
        last = kept
    return dataclasses.replace(
        path,
        active_coefs=np.array(coefs),
        interpolation="constant",
        method=f"{path.method}+refit",
        deviance=np.array(deviance),
        df=path.rank + np.array(sizes),
        df_kind="approximate",
        size=np.round(sizes).astype(np.int64),
        info=dict(path.info) | {"n_shifted": np.array(sizes)},
    )


def check_same_votes(path: VotePath, problem: ComparisonProblem) -> None:
    """Check that a path can have been traced on these votes.

    Compared are the numbers of votes and items, the sum of the weights and the largest
    residual of the first knot (over its factor), to 1e-6.

    Raises
    ------
    ValueError
        If one of them differs.
    """
    if path.n_items != problem.n_items or path.n_extra != problem.n_extra:
        raise ValueError(
            f"the path has {path.n_items} items and {path.n_extra} further columns, "
            f"these votes have {problem.n_items} and {problem.n_extra}."
        )
    if path.model == "linear":
        return check_same_rows(path, problem)
    same = path.n_rows == problem.n_samples
    same &= bool(np.isclose(path.n_samples, problem.total_weight, rtol=1e-9))
    found = np.nan
    if same and not path.method.endswith("+refit"):
        rest = _rest(problem, path.coef(0), path.model)
        if problem.sample_weight is not None:
            rest = rest[problem.sample_weight > 0]
        found = float(rest.max())
        same = bool(np.isclose(found, path.threshold_max, rtol=_OTHER, atol=1e-12))
    if not same:
        raise ValueError(
            f"these are not the votes of the path, which was traced on {path.n_rows} "
            f"votes (total weight {path.n_samples:g}, largest residual "
            f"{path.threshold_max:.9g}), these are {problem.n_samples} "
            f"({problem.total_weight:g}, {found:.9g}). Give the votes, weights and "
            "row factors of the path, in the same order."
        )
    return None


def verify_vote_path(path: VotePath, problem: ComparisonProblem) -> pd.DataFrame:
    """Check every knot of a path of votes against the definition of its method.

    All numbers are dimensionless, 0 for a perfect path, and rounding or the tolerance
    of the solver for a correct one.

    Parameters
    ----------
    path : VotePath
    problem : ComparisonProblem
        The problem that the path was traced on.

    Returns
    -------
    pandas.DataFrame
        One row per knot. Columns of the linear model are those of `verify_shift_path`;
        those of the logistic one:

        ``threshold``, ``shifted``
            The knot and the number of shifted votes.
        ``gradient``
            Largest correlation of a coefficient with what the votes still pull, the
            clipped residuals, relative to the residuals of the first knot.
        ``set_violation``
            By how much a shifted residual is below its threshold, or another one above,
            relative to the largest threshold. NaN for a refit.
        ``deviance_error``
            Relative difference of the stored deviance from that of the votes.

    Raises
    ------
    ValueError
        If `path` does not belong to `problem`.
    """
    import pandas as pd

    check_same_votes(path, problem)
    kind = _VoteCheck if path.model == "linear" else _LogisticCheck
    check = kind(path, problem)
    return pd.DataFrame([check.knot(k) for k in range(len(path))])


class _VoteCheck(KnotCheck):
    """As for rows, without a dense matrix."""

    def __init__(self, path, problem):
        self.path, self.problem = path, problem
        n, weight = problem.n_samples, problem.sample_weight
        self.weight = np.ones(n) if weight is None else weight
        self.factor = problem.row_factor
        length = np.sqrt(problem.column_squares())
        inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
        self.columns = LinearOperator(
            (n, problem.n_features),
            matvec=lambda coef: problem.eta(inverse * coef.ravel()),
            rmatvec=lambda votes: inverse * problem.correlate(votes.ravel()),
            dtype=np.float64,
        )
        null = self._residual(0)
        self.unit = max(np.sqrt(self.weight @ null[:, 0] ** 2), 1e-300)
        self.largest = max(path.threshold_max, 1e-300)
        self.dual = np.zeros(n)

    def _residual(self, k):
        problem = self.problem
        eta = problem.eta(self.path.coef(k))
        return residuals_of(eta, problem.y, self.path.model)[:, None]


class _LogisticCheck(_VoteCheck):
    def knot(self, k: int) -> dict[str, Any]:
        path, problem, knot = self.path, self.problem, float(self.path.knots[k])
        eta, y = problem.eta(path.coef(k)), problem.y
        residual, mask = residuals_of(eta, y, path.model), path.outliers(knot)
        limit = problem.limits(knot)
        wrong = np.nan
        if path.method.endswith("+refit"):
            pulls = vote_scores(eta, y, ridge=path.ridge) * ~mask
            loss = np.where(mask, 0.0, logistic_loss(eta, y))
        else:
            pulls = vote_scores(eta, y, limit, path.ridge)
            size = np.abs(residual)
            wrong = max(np.where(mask, limit - size, size - limit).max(), 0.0)
            clipped = np.clip(residual, -limit, limit)
            shifted = special.logit((1 + y[mask]) / 2 - clipped[mask])
            eta = eta.copy()
            eta[mask] = shifted
            loss = logistic_loss(eta, y)
        deviance = 2 * float(self.weight @ loss)
        gradient = self.columns.T @ (self.weight * pulls)
        return {
            path.knot_name: knot,
            "shifted": int(mask.sum()),
            "gradient": np.abs(gradient).max() / self.unit,
            "set_violation": wrong / self.largest,
            "deviance_error": abs(path.deviance[k] / deviance - 1),
        }
