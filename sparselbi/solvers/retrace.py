"""Trace another problem in the way in which a path was traced."""

from .iss import iss_path
from .lbi import lbi_path
from .split_lbi import split_iss_path, split_lbi_path


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
        The new path ends before more features (rows of D) than this are active.

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


def _split_lbi(path, problem, t_max, max_features):
    settings, info = path.split.settings, path.info
    return split_lbi_path(
        problem,
        path.D,
        nu_raw=path.nu_raw,
        kappa_raw=path.kappa_raw,
        method="joint" if path.method == "split_lbi_joint" else "eliminated",
        step_size=path.step_size if info["step_rule"] == "given" else "auto",
        start=info["start"],
        penalty=path.split.penalty.name,
        row_weight=settings["penalty_factor"],
        row_groups=settings["groups"],
        row_group_weight=settings["group_weight"],
        row_positive=info["row_positive"],
        t_max=t_max,
        n_knots=info["n_knots"],
        max_rows=max_features,
    )


def _split_iss(path, problem, t_max, max_features):
    return split_iss_path(
        problem,
        path.D,
        nu_raw=path.nu_raw,
        row_weight=path.split.settings["penalty_factor"],
        row_positive=path.info["row_positive"],
        t_max=t_max,
        max_rows=max_features,
    )


# A solver that resampling can use is one more row.
METHODS = {
    "iss": _iss,
    "lbi": _lbi,
    "split_iss": _split_iss,
    "split_lbi": _split_lbi,
    "split_lbi_joint": _split_lbi,
}
