"""From a question about rows of D to a `SplitPath`, whatever traces it."""

import numpy as np
from scipy import sparse

from ..path import EVENT_DTYPE, RegularizationPath
from ..penalties.transforms import as_transform
from ..problem import check_positive
from ..split_path import SplitPath
from ._split_problem import SplitProblem, SplitTrace
from .base import hessian_norm

__all__ = ["SplitQuestion", "check_choice", "restore_split"]

PENALTIES = ("auto", "l1", "group")
# Steps of the estimate of ||X|| that nu refers to: enough for a per cent or so.
_LANCZOS = 12
# Up to this many rows of a graph get names.
_NAMED = 10_000


class SplitQuestion:
    """The question, without its free rows, and how an answer becomes a path."""

    def __init__(
        self, problem, D, penalty, row_weight, groups, group_weight, positive, nu, raw
    ):
        check_choice("penalty", penalty, PENALTIES)
        if problem.penalty_factor is not None or problem.groups is not None:
            raise ValueError(
                "penalty_factor and groups of a Problem are about features, but Split "
                "LBI penalizes rows of D; use row_weight and row_groups."
            )
        self.problem = problem
        self.D = D = as_transform(D, problem.n_features)
        groups = D.groups if groups is None and penalty != "l1" else groups
        if penalty == "auto":
            several = problem.n_outputs > 1
            penalty = "l1" if groups is None and not several else "group"
        elif penalty == "l1" and groups is not None:
            raise ValueError(
                "row_groups are given but penalty='l1' takes rows one by one; use "
                "penalty='group' or 'auto'."
            )
        options = {
            "penalty": penalty,
            "row_weight": row_weight,
            "groups": groups,
            "group_weight": group_weight,
            "positive": _check_positive_rows(positive, D.n_rows),
        }
        self.whole = SplitProblem(problem, D, **options)
        self.free = np.flatnonzero(self.whole.row_weight == 0)
        self.kept = np.flatnonzero(self.whole.row_weight > 0)
        self.split = self.whole
        if not self.kept.size:
            raise ValueError(
                "row_weight is 0 for every row of D, so nothing is coupled or "
                "selected; use a positive weight for some rows."
            )
        if self.free.size:
            # A free row costs nothing: its split coefficient follows the coefficients.
            kept = self.whole.row_weight > 0
            for name in ("row_weight", "groups", "positive"):
                value = options[name]
                if np.ndim(value):
                    options[name] = np.asarray(value)[kept]
            self.split = SplitProblem(problem, D.row_subset(kept), **options)
        g = problem.correlate(problem.null_score)
        steepest = g[0] if len(g) == 1 else g[np.argmax((g**2).sum(axis=1))]
        norm = hessian_norm(problem, steepest, _LANCZOS) / problem.loss.curvature
        self.split.set_nu(nu, raw, norm)
        self.whole.nu, self.whole.nu_raw = self.split.nu, self.split.nu_raw
        self.whole.hessian_norm = norm

    def trace(self, solver, *, kappa=None, kappa_raw=None, **options):
        split = self.split
        core = solver(split, options)
        slope = split.D.dot(core.null_coef) / split.nu_raw
        t0 = split.first_entry_time(slope)
        # Slopes at rounding level are zero: they never make an entry.
        rounding = 1e-13 * split.D.norm * np.abs(core.null_coef).max(initial=0.0)
        if rounding > 0 and t0 * rounding / split.nu_raw >= 1.0:
            t0 = np.inf
        if not core.exact:
            kappa_raw, kappa = _resolve_kappa(split, t0, kappa, kappa_raw)
        else:
            kappa = kappa_raw = np.inf
        t_max = options["t_max"]
        if t0 == np.inf or (t_max is not None and t_max <= t0):
            trace, step = _null_trace(split, core, t0, t_max), None
        else:
            trace, step = core.run(
                kappa_raw, t0, 100.0 * t0 if t_max is None else t_max
            )
        return self._path(core, trace, t0, kappa, kappa_raw, step, options)

    def _path(self, core, trace, t0, kappa, kappa_raw, step, options):
        problem, whole = self.problem, self.whole
        rows, splits = self._with_free_rows(trace)
        coefs, intercepts = whole.to_original(trace.coefs, trace.intercepts)
        intercepts = np.broadcast_to(intercepts, coefs.shape[:2])
        if len(problem.coef_shape) == 1:
            coefs, intercepts, splits = coefs[:, 0], intercepts[:, 0], splits[:, 0]
        trace.events["feature"] = self.kept[trace.events["feature"]]
        used = np.isin(rows, trace.events["feature"])
        used |= (splits != 0).any(axis=tuple(range(splits.ndim - 1)))
        common = {
            "knots": trace.knots,
            "interpolation": "constant" if core.exact else "linear",
            "method": core.method,
            "loss": problem.loss,
            "n_samples": problem.total_weight,
            "t0": t0,
            "kappa": kappa,
            "kappa_raw": kappa_raw,
            "step_size": step,
            "classes": problem.classes,
            "status": trace.status,
            "message": trace.message,
            "n_iter": trace.n_iter,
        }
        split_path = RegularizationPath(
            active_features=rows[used],
            active_coefs=splits[..., used],
            intercepts=np.zeros(splits.shape[:-1]),
            n_features=whole.n_rows,
            events=trace.events,
            penalty=whole.penalty,
            settings=whole.split_settings,
            feature_names=_row_names(self.D),
            **common,
        )
        info = {
            **trace.info,
            "row_positive": whole.positive.copy(),
            "n_knots": options.get("n_knots", 100),
            "step_rule": "auto" if options.get("step_size") == "auto" else "given",
            "start": options.get("start", "fit"),
            "null_deviance": 2 * problem.total_weight * problem.null_loss,
        }
        if self.D.is_graph:
            info["n_components"] = self.D.components()[0]
        return SplitPath(
            active_features=np.arange(problem.n_features),
            active_coefs=coefs,
            active_means=problem.x_mean,
            intercepts=np.array(intercepts),
            n_features=problem.n_features,
            events=np.zeros(0, EVENT_DTYPE),
            penalty=problem.penalty,
            settings=problem.settings,
            info=info,
            D=self.D,
            split=split_path,
            nu=whole.nu,
            nu_raw=whole.nu_raw,
            coef_scale=whole.coef_scale,
            **common,
        )

    def _with_free_rows(self, trace):
        """Active rows of the whole D, ascending, and their split coefficients."""
        rows, splits = self.kept[trace.rows], trace.splits
        if not self.free.size:
            return rows, splits
        followed = self.D.dot(trace.coefs)[..., self.free]
        rows = np.append(rows, self.free)
        order = np.argsort(rows)
        return rows[order], np.concatenate([splits, followed], axis=-1)[..., order]


def restore_split(path, problem):
    """The `SplitProblem` that `path` was traced on, for the same or other rows of X."""
    settings = path.split.settings
    weight = settings["penalty_factor"]
    asked = SplitQuestion(
        problem,
        path.D,
        path.split.penalty.name,
        weight,
        settings["groups"],
        settings["group_weight"],
        path.info["row_positive"],
        None,
        path.nu_raw,
    )
    return asked.split


def _row_names(D):
    """Names of rows: as given, or the features that a row of a graph compares."""
    if D.row_names is not None or not D.is_graph or D.n_rows > _NAMED:
        return D.row_names
    matrix = sparse.csr_array(D.matrix)
    ends = np.split(matrix.indices, matrix.indptr[1:-1])
    return tuple("-".join(f"x{j}" for j in sorted(some)) for some in ends)


def _resolve_kappa(split, t0, kappa, kappa_raw):
    """Return (kappa_raw, kappa); the raw value wins."""
    unit = split.nu_raw / t0 * (1.0 + 1.0 / split.nu) if t0 < np.inf else 1.0
    if kappa_raw is not None:
        raw = check_positive("kappa_raw", kappa_raw)
        return raw, raw / unit
    kappa = check_positive("kappa", kappa)
    return kappa * unit, kappa


def _null_trace(split, core, t0, t_max):
    """The trace of one knot, for data in which nothing enters before t_max."""
    if t0 == np.inf:
        status = "null"
        message = "No row of D can ever enter: the null model is all there is."
    else:
        status = "t_max"
        message = f"t_max={t_max:.6g} is not beyond the first entry at t0={t0:.6g}."
    intercept = getattr(core, "null_intercept", None)
    return SplitTrace(
        knots=np.array([0.0 if t_max is None else t_max]),
        coefs=np.atleast_2d(core.null_coef)[None],
        intercepts=None if intercept is None else np.asarray(intercept)[None],
        rows=np.zeros(0, dtype=np.int64),
        splits=np.zeros((1, split.n_outputs, 0)),
        events=np.zeros(0, EVENT_DTYPE),
        status=status,
        message=message,
        n_iter=0,
        info={"route": "none", "route_reason": "no row enters"},
    )


def _check_positive_rows(positive, n_rows):
    if isinstance(positive, (bool, np.bool_)):
        return bool(positive)
    mask = np.asarray(positive)
    if mask.dtype != bool or mask.shape != (n_rows,):
        raise ValueError(
            f"row_positive has dtype {mask.dtype} and shape {mask.shape}; give True, "
            f"False, or one of them for each of the {n_rows} rows of D."
        )
    return mask


def check_choice(name, value, allowed):
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; use one of {allowed}.")
