"""Fits of a "hard" path at thresholds that are not among its knots."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from .._shift_checks import check_same_rows
from .._shift_design import SingularFit
from ._hard_start import huber_start
from ._shift_hard import hard_fits
from ._shift_trace import ShiftTrace
from .fast_s import FastS, fast_s
from .shift_paths import as_shift_path, coords_of

if TYPE_CHECKING:
    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem
    from ._shift_hard import _Fits

__all__ = ["fits_of", "with_hard_knot"]

# Thresholds that differ by this fraction are the same, as for selections.
_EQUAL = 1e-12


def with_hard_knot(
    path: ShiftPath,
    problem: ShiftProblem,
    threshold: float,
    start: FastS | None = None,
) -> ShiftPath:
    """Add the fit at a threshold to a "hard" path.

    Fits at different thresholds do not know of each other: each starts at the S fit
    afresh. So this is the knot that `hard_path` gives with this threshold in its grid,
    and all others stay.

    Parameters
    ----------
    path : ShiftPath
        Of method "hard".
    problem : ShiftProblem
        What the path was traced on.
    threshold : float
        In units of y, not below the last knot.
    start : FastS or None
        The S fit of the path; None: what the path has stored of it.

    Returns
    -------
    ShiftPath
        `path` itself if the threshold is a knot, or above all knots (where no row is
        shifted), or the rows that are kept there do not determine the fit.

    Raises
    ------
    ValueError
        If the path has another method or other data, or ends above the threshold.
    """
    threshold = float(threshold)
    path._checked([threshold])
    fits = fits_of(path, problem, start)
    knots = path.knots
    k = int(np.count_nonzero(knots > threshold * (1 + _EQUAL)))
    if k in (0, len(knots)) or knots[k] >= threshold * (1 - _EQUAL):
        return path
    try:
        kept, n_fits = fits.fixed_point(threshold)
    except SingularFit:
        return path
    coords, design = fits.coords.copy(), problem.design
    before, after = (path.outliers(float(knot)) for knot in knots[k - 1 : k + 1])
    signs = fits.signs
    new = _events(path, threshold, before, ~kept, signs)
    fits.coords = coords_of(problem, path.active_coefs[k], path.intercepts[k])
    next_ones = _events(path, knots[k], ~kept, after, signs)
    at = path.row_events["at"]
    events = np.concatenate(
        [path.row_events[at > knots[k]], new, next_ones, path.row_events[at < knots[k]]]
    )
    entry = np.full(path.n_rows, np.nan)
    first = events[events["enters"]][::-1]
    entry[first["row"]] = first["at"]  # the first entry is written last
    weight = np.ones(len(kept)) if design.weight is None else design.weight
    alone = as_shift_path(
        problem,
        ShiftTrace(
            knots=np.array([threshold]),
            coords=coords[None],
            event_at=new["at"],
            event_row=new["row"],
            event_sign=new["sign"],
            event_enters=new["enters"],
            rss=np.array([weight[kept] @ fits.norms[kept] ** 2]),
            n_shifted=np.array([weight[~kept].sum()]),
            status=path.status,
            message=path.message,
            n_iter=n_fits,
            interpolation=path.interpolation,
            info={"n_fits": np.array([n_fits])},
        ),
        "hard",
        {},
    )
    names = ("knots", "active_coefs", "intercepts", "deviance", "size", "df")
    added = {
        name: np.insert(getattr(path, name), k, getattr(alone, name)[0], axis=0)
        for name in names
    }
    counts = np.insert(path.info["n_fits"], k, n_fits)
    shifted = np.insert(path.info["n_shifted"], k, alone.info["n_shifted"][0])
    return dataclasses.replace(
        path,
        **added,
        row_events=events,
        row_entry=entry,
        n_iter=path.n_iter + n_fits,
        info=dict(path.info) | {"n_fits": counts, "n_shifted": shifted},
    )


def fits_of(
    path: ShiftPath, problem: ShiftProblem, start: FastS | None = None
) -> _Fits:
    """Return what fits at any threshold as the path does, see `hard_fits`."""
    if path.method != "hard":
        raise ValueError(
            f"path has method {path.method!r}; only fits of method 'hard' (from "
            "hard_path) are made at one threshold alone."
        )
    check_same_rows(path, problem)
    if start is None:
        start = _start(path, problem)
    return hard_fits(problem.design, problem.row_factor, start)


def _start(path, problem):
    """The fit that a path has started from, as it has stored it."""
    scale = float(path.info["scale"])
    if scale == 0:  # which rows are on the hyperplane is not stored
        if path.info["scale_rule"] == "mad":
            return huber_start(problem.design, problem.row_factor)
        return fast_s(problem.design, random_state=path.info.get("random_state", 0))
    coef, intercept = path.info["start_coef"], path.info["start_intercept"]
    return FastS(coords_of(problem, coef, intercept), scale, 0, None, "converged")


def _events(path, at, before, after, signs):
    """Events at a knot, from the shifted rows before and after it."""
    rows = np.flatnonzero(before != after)
    events = np.empty(len(rows), dtype=path.row_events.dtype)
    events["at"], events["row"] = at, rows
    events["sign"], events["enters"] = signs(rows), after[rows]
    return events
