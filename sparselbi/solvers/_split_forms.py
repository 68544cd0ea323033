"""The forms of Split LBI: what traces the split coefficients.

A form is made for a `SplitProblem`, knows its null model, and runs from the first entry
time on.
"""

import numpy as np

from ._split_eliminated import trace_eliminated
from ._split_fit import fit_coupled
from ._split_joint import trace_joint
from ._split_problem import SplitTrace
from ._split_reduced import MAX_ENTRIES, ReducedProblem, reduced_size
from ._split_systems import make_system
from .iss import iss_path
from .lbi import lbi_path

# Two times that differ by less, relatively, are one up to rounding.
_SAME = 1e-12

__all__ = ["Eliminated", "Exact", "Joint", "Reduced", "choose_form"]


class Reduced:
    """LBI on the explicit least-squares problem in the split coefficients."""

    method, exact = "split_lbi", False

    def __init__(self, split, options):
        self.split, self.options = split, options
        self.reduced = ReducedProblem(split)
        self.null_coef = self.reduced.coefs(np.zeros((1, split.n_rows)))

    def run(self, kappa_raw, t0, t_max):
        step = _eliminated_step(self.split, kappa_raw, self.options["step_size"])
        path = lbi_path(
            self.reduced.problem,
            kappa_raw=kappa_raw,
            step_size=step,
            t_max=t_max,
            n_knots=self.options["n_knots"],
            max_features=self.options["max_rows"],
            # Also where rows come twice, with both signs: only one of them is active.
            norm_bound=1.0 / self.split.nu_raw,
        )
        return self._trace(path), step

    def _trace(self, path):
        reduced = self.reduced
        # Between knots a split coefficient bends at its events, and coefficients bend
        # with it: these times become knots, read from the path within its tolerance.
        times = path.events["t"].clip(*path.knots[[0, -1]])
        near = path.knots[np.searchsorted(path.knots, times * (1 - _SAME))]
        times = times[near > times * (1 + _SAME)]  # the others are knots already
        knots = np.unique(np.concatenate([path.knots, times]))
        splits, _ = path.coefs_at(knots)
        splits = reduced.fold(splits)
        events = reduced.fold_events(path.events)
        rows = np.flatnonzero((splits != 0).any(axis=0))
        rows = np.union1d(rows, events["feature"])
        return SplitTrace(
            knots=knots,
            coefs=reduced.coefs(splits)[:, None],
            intercepts=None,
            rows=rows,
            splits=splits[:, None, rows],
            events=events,
            status=_about_rows(path.status),
            message=_about_rows(path.message),
            n_iter=path.n_iter,
            info={
                "route": "reduced",
                "route_reason": (
                    f"the explicit problem in the rows has "
                    f"{reduced_size(self.split):.3g} entries, at most "
                    f"{MAX_ENTRIES:.3g}; {reduced.rule}"
                ),
                "n_anchors": path.info["n_anchors"],
                "bends": ~np.isin(knots, path.knots),
            },
        )


class Exact(Reduced):
    """The inverse scale space path of the same problem."""

    method, exact = "split_iss", True

    def run(self, kappa_raw, t0, t_max):
        path = iss_path(
            self.reduced.problem,
            t_max=self.options["t_max"],
            max_features=self.options["max_rows"],
        )
        return self._trace(path), None


class Eliminated:
    """The eliminated form with one solve per step, for any size."""

    method, exact = "split_lbi", False

    def __init__(self, split, options):
        route = options["route"]
        self.split, self.options = split, options
        self.system = make_system(split, "auto" if route == "reduced" else route)
        c = split.problem.correlate(split.problem.null_score)[0]
        self.null_coef = self.system.solve(c)[None]

    def run(self, kappa_raw, t0, t_max):
        step = _eliminated_step(self.split, kappa_raw, self.options["step_size"])
        trace = trace_eliminated(
            self.split,
            self.system,
            kappa_raw=kappa_raw,
            step=step,
            t0=t0,
            t_max=t_max,
            n_knots=self.options["n_knots"],
            max_rows=self.options["limit"],
        )
        trace.info["route"] = self.system.route
        trace.info["route_reason"] = self.system.reason
        return trace, step


class Joint:
    """The joint form, for every loss."""

    method, exact = "split_lbi_joint", False

    def __init__(self, split, options):
        self.split, self.options = split, options
        self.null = fit_coupled(split)
        self.null_coef, self.null_intercept = self.null

    def run(self, kappa_raw, t0, t_max):
        trace = trace_joint(
            self.split,
            kappa_raw=kappa_raw,
            step=self.options["step_size"],
            start=self.options["start"],
            t0=t0,
            null=self.null,
            t_max=t_max,
            n_knots=self.options["n_knots"],
            max_rows=self.options["limit"],
        )
        trace.info.setdefault("route", "joint")
        trace.info.setdefault(
            "route_reason", "the joint form needs products with X and D only"
        )
        return trace, trace.info["step_size"]


def choose_form(split, route):
    if route == "reduced" or (route == "auto" and reduced_size(split) <= MAX_ENTRIES):
        return Reduced
    return Eliminated


def _eliminated_step(split, kappa_raw, step_size):
    limit = 2.0 * split.nu_raw / kappa_raw
    if step_size == "auto":
        return 0.5 * limit
    if step_size >= limit:
        raise _unstable(step_size, kappa_raw, limit)
    return step_size


def _unstable(step_size, kappa_raw, limit):
    return ValueError(
        f"step_size={step_size!r} is unstable: with kappa_raw={kappa_raw:.6g} it must "
        f"be below {limit:.6g}; use step_size='auto'."
    )


def _about_rows(message):
    """A message of a solver for features, said of rows."""
    return message.replace("max_features", "max_rows").replace("features", "rows")
