"""Paths of the shift model: ISS, LBI, skipped means, and what they have in common."""

from __future__ import annotations

import dataclasses
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from .._shift_checks import check_thresholds, largest_threshold
from .._shift_design import SingularFit
from ..losses import get_loss
from ..path import EVENT_DTYPE
from ..penalties import get_penalty
from ..shift_path import ROW_EVENT_DTYPE, ShiftPath
from ..vote_path import VotePath
from ._shift_exact import trace_iss
from ._shift_freedom import shift_freedom
from ._shift_hard import default_thresholds, trace_hard
from ._shift_lbi import trace_shift_lbi
from ._shift_trace import ShiftTrace
from .fast_s import fast_s

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..shift_problem import ShiftProblem

__all__ = ["hard_path", "retrace_shift", "shift_iss_path", "shift_lbi_path"]


def shift_iss_path(
    problem: ShiftProblem,
    *,
    t_max: float | None = None,
    max_outliers: float | None = None,
) -> ShiftPath:
    """Trace the exact inverse scale space path of the shifts, one response.

    The dual of every row grows with its residual; a row whose dual reaches its factor
    is shifted, and explained away: between events the coefficients are least squares of
    the other rows. No shrinkage, unlike `huber_path`.

    Parameters
    ----------
    problem : ShiftProblem
        With one response whose coordinates fit into memory.
    t_max : float or None
        Where the path ends, in units of 1 / y; None: no limit.
    max_outliers : float or None
        End before more rows than that (in weights) are shifted at once.

    Returns
    -------
    ShiftPath
        Method "iss", constant between its knots, which are all events.

    Raises
    ------
    ValueError
        If there are several responses or too many rows.

    Notes
    -----
    ``dz/dt = residual``, ``|z_i| <= v_i``, ``shift_i z_i >= 0``: the loss is a sum
    (without 1/n), and the first entry is at 1 over the largest residual. Only rows that
    may reach their factor next are followed, about ``sqrt(n_samples)`` of them.

    References
    ----------
    M. Burger, M. Moeller, M. Benning, S. Osher (2013). An adaptive inverse scale space
    method for compressed sensing. Math. Comp. 82, 269-299. Q. Xu, J. Xiong, Q. Cao, Q.
    Huang, Y. Yao (2014). Online HodgeRank/robust ranking with Linearized Bregman
    Iteration, arXiv:1408.3467.
    """
    if problem.n_outputs > 1:
        raise ValueError(
            f"the ISS path is for one response, but y has {problem.n_outputs}; use "
            "shift_lbi_path (method='lbi'), which shifts all responses of a row at "
            "once."
        )
    if not problem.design.dense:
        raise ValueError(
            f"the ISS path keeps the coordinates of all rows in memory; with "
            f"{problem.n_samples} rows and {problem.n_features} features use "
            "shift_lbi_path (method='lbi') or huber_path (method='l1')."
        )
    if t_max is not None and not (isinstance(t_max, Real) and t_max > 0):
        raise ValueError(f"t_max={t_max!r} must be positive, or None for no limit.")
    design = problem.design
    trace = trace_iss(
        design.Z,
        design.Y[:, 0],
        design.weight,
        problem.row_factor,
        max_shifted=check_limit(problem, max_outliers),
        t_max=t_max,
    )
    return as_shift_path(problem, trace, "iss", {})


def shift_lbi_path(
    problem: ShiftProblem,
    *,
    kappa: float = 10.0,
    kappa_raw: float | None = None,
    t_max: float | None = None,
    n_knots: int = 100,
    max_outliers: float | None = None,
) -> ShiftPath:
    """Trace the shifts by Linearized Bregman Iteration; rows as groups.

    ``z += step (Y - X coef - intercept - shift)``, ``shift_i = kappa_raw (1 - v_i /
    |z_i|)_+ z_i``, with coefficients that are least squares of ``Y - shift``.

    Parameters
    ----------
    problem : ShiftProblem
    kappa : float, default=10
        Damping; shifts follow their limit in the time ``t0 / kappa``.
    kappa_raw : float or None
        In units of y, in place of `kappa` (times the first threshold).
    t_max : float or None
        Where the path ends, in units of 1 / y; None: 100 times the first entry.
    n_knots : int, default=100
    max_outliers : float or None
        End before more rows than that (in weights) are shifted at once.

    Returns
    -------
    ShiftPath
        Method "lbi". The shifts at the knots are stored.

    Raises
    ------
    ValueError
        If a parameter is out of range, or there would be more than 10 million steps.
    """
    trace = trace_shift_lbi(
        problem.design,
        problem.row_factor,
        kappa=kappa,
        kappa_raw=kappa_raw,
        t_max=t_max,
        n_knots=n_knots,
        max_shifted=check_limit(problem, max_outliers),
    )
    return as_shift_path(problem, trace, "lbi", {})


def hard_path(
    problem: ShiftProblem,
    *,
    thresholds: ArrayLike | None = None,
    max_outliers: float | None = None,
    random_state: Any = 0,
) -> ShiftPath:
    """Trace the skipped mean from a fit that half of the rows cannot break.

    At every threshold anew: start at a fast-S fit, keep the rows with ``|r_i| <=
    threshold v_i``, fit them by least squares, and repeat until the kept rows stay. The
    result is a local minimum of ``sum_i w_i [1(kept) |r_i|^2 / 2 + 1(dropped)
    (threshold v_i)^2 / 2]``; which one, the start decides.

    Parameters
    ----------
    problem : ShiftProblem
    thresholds : array-like or None
        In units of y, decreasing. None: a grid in units of the S-scale, from where no
        row is shifted, with the cuts 3.5, 3, 2.5 and 2 in it.
    max_outliers : float or None
        End before more rows than that (in weights) are shifted; None: half.
    random_state : int, RandomState instance or None, default=0
        For the subsamples of the S fit.

    Returns
    -------
    ShiftPath
        Method "hard", constant between knots; ``info["scale"]`` is the S-scale (with
        total weight minus rank in its denominator), ``info["start_coef"]`` the S fit.

    References
    ----------
    Y. She, A. B. Owen (2011). Outlier detection using nonconvex penalized regression.
    JASA 106, 626-639. M. Salibian-Barrera, V. Yohai (2006). A fast algorithm for
    S-regression estimates. JCGS 15, 414-427.
    """
    design = problem.design
    limit = check_limit(problem, max_outliers)
    if limit is None:
        limit = design.total_weight / 2
    if random_state is not None and not isinstance(random_state, Integral):
        # A generator moves on: folds and later cuts start with the same number.
        random_state = int(check_random_state(random_state).randint(2**31 - 1))
    start = fast_s(design, random_state=random_state)
    if thresholds is None:
        grid = default_thresholds(design, problem.row_factor, start)
    else:
        grid = check_thresholds(thresholds, zero=True)
    trace = trace_hard(
        design, problem.row_factor, start, thresholds=grid, max_shifted=limit
    )
    coef, intercept = design.to_coefs(start.coords)
    info: dict[str, Any] = {
        "random_state": None if random_state is None else int(random_state)
    }
    info |= {"scale": start.scale, "scale_rule": "s", "start_coef": coef}
    info["start_intercept"] = intercept
    return as_shift_path(problem, trace, "hard", info)


def retrace_shift(path: ShiftPath, problem: Any, knots: ArrayLike) -> ShiftPath:
    """Trace another problem in the way in which a path was traced.

    Parameters
    ----------
    path : ShiftPath
    problem : ShiftProblem
        For example some of the rows.
    knots : array-like
        Where the result is going to be read: thresholds or times.
    """
    if isinstance(path, VotePath):
        from .vote_paths import retrace_votes

        return retrace_votes(path, problem, knots)
    values = np.asarray(knots, dtype=np.float64)
    if path.method == "l1":
        from .huber import huber_path

        grid = np.unique(values[values > 0])[::-1]
        return huber_path(problem, thresholds=grid)
    if path.method == "hard":
        state = path.info["random_state"]
        grid = np.unique(values[values > 0])[::-1]
        return hard_path(problem, thresholds=grid, random_state=state)
    if path.method == "iss":
        return shift_iss_path(problem, t_max=float(values.max()))
    if path.method == "lbi":
        return shift_lbi_path(
            problem,
            kappa_raw=path.kappa_raw,
            t_max=float(values.max()),
            n_knots=len(path),
        )
    raise ValueError(f"a path of method {path.method!r} cannot be traced again.")


def with_exact_freedom(path: ShiftPath, problem: ShiftProblem) -> ShiftPath:
    """The path with exact degrees of freedom in place of a bound, if there is time.

    Parameters
    ----------
    path : ShiftPath
    problem : ShiftProblem
        What the path was traced on.
    """
    if path.df_kind != "upper bound":
        return path
    points = zip(path.coefs, path.intercepts, strict=True)
    coords = [coords_of(problem, coef, intercept) for coef, intercept in points]
    found = ShiftTrace(
        knots=path.knots,
        coords=np.array(coords),
        n_shifted=path.info["n_shifted"],
        rss=np.asarray(path.deviance),
        event_at=path.row_events["at"],
        event_row=path.row_events["row"],
        event_sign=path.row_events["sign"],
        event_enters=path.row_events["enters"],
        status=path.status,
        message=path.message,
        n_iter=path.n_iter,
        interpolation=path.interpolation,
        info=dict(path.info),
    )
    df, kind = shift_freedom("l1", problem.design, problem.row_factor, found)
    return dataclasses.replace(path, df=df, df_kind=kind)


def refit_shift_path(path: ShiftPath, problem: ShiftProblem) -> ShiftPath:
    """Least squares without the shifted rows, at every knot; see `ShiftPath.refit`."""
    design = problem.design
    coords, rss, sizes = [], [], []
    last = None
    weights = np.ones(path.n_rows) if design.weight is None else design.weight
    # A constant path stands for what follows a knot, so events at knots belong to it.
    constant = dataclasses.replace(path, interpolation="constant")
    for knot in path.knots:
        kept = ~constant.outliers(knot)
        if last is None or (kept != last).any():
            try:
                coords.append(design.least_squares(kept))
            except SingularFit as error:
                raise ValueError(
                    f"at {path.knot_name}={knot:.6g} {error}. Trace the path with "
                    "max_outliers (half of the rows, for example), so that every knot "
                    "leaves enough of them."
                ) from error
            squares = design.norms(coords[-1])[kept] ** 2
            rss.append(weights[kept] @ squares)
        else:
            coords.append(coords[-1])
            rss.append(rss[-1])
        sizes.append(weights[~kept].sum())
        last = kept
    coefs, intercepts = _coefs(problem, np.array(coords))
    return dataclasses.replace(
        path,
        active_coefs=coefs,
        intercepts=intercepts,
        interpolation="constant",
        method=f"{path.method}+refit",
        deviance=np.array(rss),
        df=(path.rank + np.array(sizes)) * problem.n_outputs,
        df_kind="approximate",
        size=np.round(sizes).astype(np.int64),
        info=path.info | {"n_shifted": np.array(sizes)},
        shift_parts=None,
    )


# -- from traces to paths --------------------------------------------------------------


def coords_of(problem, coef, intercept):
    """Coordinates of a fit in the design: least squares of its fitted values."""
    design = problem.design
    residual = problem.residuals(coef, intercept).reshape(-1, design.n_outputs)
    zero = np.zeros((design.n_coords, design.n_outputs))
    # At zero the residuals of the design are its targets.
    fitted = design.sweep(lambda rows, R, D: R - residual[rows], zero)
    return design.solve(fitted)


def check_limit(problem, max_outliers):
    """Check a number of rows (in weights)."""
    if max_outliers is None:
        return None
    number = isinstance(max_outliers, Real)
    if not number or not 0 <= max_outliers <= problem.total_weight:
        raise ValueError(
            f"max_outliers={max_outliers!r} must be between 0 and the sum of the "
            f"weights, {problem.total_weight:g}, or None."
        )
    return float(max_outliers)


def as_shift_path(problem, trace, method, info, exact_df=False):
    """The path with these knots, on the scale of X and y."""
    design = problem.design
    df, kind = shift_freedom(method, design, problem.row_factor, trace, exact_df)
    coefs, intercepts = _coefs(problem, trace.coords)
    events = np.empty(len(trace.event_at), dtype=ROW_EVENT_DTYPE)
    events["at"], events["row"] = trace.event_at, trace.event_row
    events["sign"], events["enters"] = trace.event_sign, trace.event_enters
    entry = np.full(problem.n_samples, np.nan)
    first = events[events["enters"]][::-1]
    entry[first["row"]] = first["at"]  # the first entry is written last
    timed = method in ("iss", "lbi")
    threshold_max = largest_threshold(design, problem.row_factor)
    shifts = trace.shifts
    if shifts is not None:
        names = ("data", "indices", "indptr")
        shifts = {name: getattr(shifts, name) for name in names}
    factor = problem.row_factor
    return ShiftPath(
        knots=trace.knots,
        knot_name="t" if timed else "threshold",
        active_features=np.arange(problem.n_features),
        active_coefs=coefs,
        intercepts=intercepts,
        n_features=problem.n_features,
        events=np.empty(0, dtype=EVENT_DTYPE),
        interpolation=trace.interpolation,
        method=method,
        loss=get_loss("squared"),
        penalty=get_penalty("l1"),
        n_samples=problem.total_weight,
        t0=1 / threshold_max if timed and threshold_max > 0 else None,
        kappa=np.inf if method == "iss" else trace.info.get("kappa"),
        kappa_raw=np.inf if method == "iss" else trace.info.get("kappa_raw"),
        step_size=trace.info.get("step_size"),
        settings={"fit_intercept": problem.fit_intercept},
        feature_names=problem.feature_names,
        classes=problem.classes,
        status=trace.status,
        message=trace.message,
        n_iter=trace.n_iter,
        info={"n_shifted": trace.n_shifted} | trace.info | info,
        deviance=trace.rss,
        size=np.round(trace.n_shifted).astype(np.int64),
        row_events=events,
        row_entry=entry,
        row_factor=None if (factor == 1).all() else factor,
        threshold_max=threshold_max,
        rank=problem.rank,
        df=df,
        df_kind=kind,
        shift_parts=shifts,
    )


def _coefs(problem, coords):
    coefs, intercepts = problem.design.to_coefs(coords)
    if problem.one_response:
        coefs, intercepts = coefs[:, 0], intercepts[:, 0]
    return coefs, intercepts
