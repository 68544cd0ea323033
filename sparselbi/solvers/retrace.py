"""Trace another problem in the way in which a path was traced."""

from .iss import iss_path
from .lbi import lbi_path


def retrace(path, problem, *, t_max=None, max_features=None):
    """Trace `problem` with the method and the raw parameters of `path`.

    This is what resampling does: folds and subsamples differ from the full data in
    their rows alone. The raw kappa is frozen; a step size that was found automatically
    is found again, because its stability limit depends on the rows.

    Parameters
    ----------
    path : RegularizationPath
    problem : Problem
        Other rows, weights or responses than `path` was traced on, the same columns.
    t_max : float, default=None
        Where the new path ends; None is the last knot of `path`.
    max_features : int, default=None
        The new path ends before more features than this are active.

    Returns
    -------
    RegularizationPath
        Ends before t_max only if it cannot go on: complete, separated classes, rounding
        (``status`` says which), or for `max_features`.

    Raises
    ------
    ValueError
        If there is no rule for ``path.method``, or a given step size is unstable.
    """
    if path.method not in METHODS:
        raise ValueError(
            f"a path with method={path.method!r} cannot be traced again on other rows; "
            f"only {sorted(METHODS)} can."
        )
    t_max = float(path.knots[-1]) if t_max is None else t_max
    return METHODS[path.method](path, problem, t_max, max_features)


def _lbi(path, problem, t_max, max_features):
    given = path.info.get("step_rule") == "given"
    return lbi_path(
        problem,
        kappa_raw=path.kappa_raw,
        step_size=path.step_size if given else "auto",
        t_max=t_max,
        n_knots=path.info.get("n_knots", 100),
        max_features=max_features,
    )


def _iss(path, problem, t_max, max_features):
    return iss_path(problem, t_max=t_max, max_features=max_features)


# A solver that resampling can use is one more row.
METHODS = {"iss": _iss, "lbi": _lbi}
