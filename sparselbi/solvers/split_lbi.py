"""Split LBI: sparsity of D @ coef, with dense and sparse coefficients on one path."""

import numpy as np
from scipy import sparse

from ..path import EVENT_DTYPE, RegularizationPath
from ..penalties.transforms import as_transform
from ..problem import check_positive
from ..split_path import SplitPath
from ._split_problem import SplitProblem, SplitTrace
from ._split_reduced import MAX_ENTRIES, ReducedProblem, reduced_size
from .base import check_count, hessian_norm
from .iss import iss_path
from .lbi import lbi_path

METHODS = ("auto", "eliminated", "joint")
ROUTES = ("auto", "reduced", "dense", "splu", "dct", "cg")
STARTS = ("fit", "zero")
PENALTIES = ("auto", "l1", "group")
# Up to this many rows of a graph get names.
_NAMED = 10_000


def split_lbi_path(
    problem,
    D=None,
    *,
    nu=1.0,
    nu_raw=None,
    kappa=10.0,
    kappa_raw=None,
    method="auto",
    step_size="auto",
    start="fit",
    penalty="auto",
    row_weight=None,
    row_groups=None,
    row_group_weight="unit",
    row_positive=False,
    t_max=None,
    n_knots=100,
    max_rows=None,
    route="auto",
):
    r"""Trace the path of Split LBI.

    With the mean loss L and standardized columns, the coupled loss is

    .. math:: L(\beta) + \frac{1}{2 \nu} \|D \beta - \gamma\|^2 ,

    and the split coefficients :math:`\gamma`, one for each row of D, follow its
    gradient in a dual variable z,

    .. math:: z \leftarrow z + \frac{s}{\nu} (D \beta - \gamma), \qquad
       \gamma \leftarrow \kappa\, \mathrm{shrink}(z) .

    In the *eliminated* form (squared loss) :math:`\beta` is the minimizer of the
    coupled loss in each step; it is stable iff ``kappa_raw * step_size < 2 nu_raw``,
    whatever X and D are. In the *joint* form (every loss) :math:`\beta` follows the
    gradient as well, with step ``kappa_raw * step_size``. Both start at the minimizer
    for :math:`\gamma = 0`, and nothing moves before ``t0 = nu_raw / max |D coef|``.

    Parameters
    ----------
    problem : Problem
        Its penalty and penalty factors play no role.
    D : Transform, array, sparse matrix, LinearOperator, str or None, default=None
        Of shape (n_rows, n_features); see `sparselbi.penalties.transforms`. It acts
        on the coefficients of the columns as used (original ones unless the problem
        standardizes). None is the identity.
    nu : float, default=1.0
        Coupling, dimensionless: ``nu_raw = nu * n ||D||^2 / ||X||^2`` with spectral
        norms. Small values tie D @ coef to the split coefficients; large ones
        leave it free, which makes selection easier and slower.
    nu_raw : float, default=None
        The coupling itself; replaces `nu`.
    kappa : float, default=10.0
        Damping, dimensionless: ``kappa_raw = kappa * (nu_raw / t0) * (1 + 1 / nu)``, so
        that `kappa` is about t0 over the time in which a row relaxes, for every scale
        of X, y and D. For ``kappa`` to infinity see `split_iss_path`.
    kappa_raw : float, default=None
        The damping itself; replaces `kappa`.
    method : {"auto", "eliminated", "joint"}, default="auto"
        "auto" is eliminated for squared loss and joint for others.
    step_size : "auto" or float, default="auto"
        "auto" is half of the stability limit.
    start : {"fit", "zero"}, default="fit"
        Only for the joint form. "zero" starts coefficients and duals at zero at t = 0.
    penalty : {"auto", "l1", "group"}, default="auto"
        Of the rows. "auto" is "group" with groups of rows, or with several outputs (the
        outputs of a row enter together), and "l1" otherwise.
    row_weight : array-like of shape (n_rows,), default=None
        Threshold of each row; 0 = free (the row is left out of the coupling), inf =
        never in.
    row_groups : array-like of shape (n_rows,), default=None
        Label of each row; rows of a group enter together. None: those of D, if any.
    row_group_weight : {"unit", "sqrt"}, default="unit"
    row_positive : bool or array-like of bool of shape (n_rows,), default=False
        Rows whose split coefficients must be >= 0.
    t_max : float, default=None
        Where the path ends; None is 100 times t0.
    n_knots : int, default=100
        Knots on a logarithmic grid from t0 to t_max; more are added where needed.
    max_rows : int, default=None
        The path ends before more rows than this are active.
    route : {"auto", "reduced", "dense", "splu", "dct", "cg"}, default="auto"
        How the eliminated form solves for the coefficients. "reduced" makes the
        least-squares problem in the split coefficients explicit, and iterates on its
        active rows only; "auto" takes it up to 30 million entries. The others solve
        with ``X'X/n + D'D/nu`` once per step: by a dense factor, a sparse one,
        cosine transforms (identity X on a grid), or conjugate gradients.

    Returns
    -------
    SplitPath
        ``info["route"]`` and ``info["route_reason"]`` say how it was traced.

    Raises
    ------
    ValueError
        If an argument is out of range, the step is unstable, D does not fit, or X and
        D leave some direction of the coefficients undetermined.

    References
    ----------
    C. Huang, X. Sun, J. Xiong, Y. Yao. Split LBI: an iterative regularization path with
    structural sparsity. Advances in Neural Information Processing Systems 29 (2016);
    Applied and Computational Harmonic Analysis 48 (2020), arXiv:1704.04833.
    """
    _check_choice("method", method, METHODS)
    _check_choice("route", route, ROUTES)
    _check_choice("start", start, STARTS)
    joint = method == "joint" or (method == "auto" and problem.loss.name != "squared")
    if not joint and problem.loss.name != "squared":
        raise ValueError(
            f"method={method!r} needs the squared loss, but the loss is "
            f"{problem.loss.name!r}; use method='joint'."
        )
    if start == "zero" and not joint:
        raise ValueError("start='zero' is for method='joint'; use start='fit'.")
    if isinstance(step_size, str):
        _check_choice("step_size", step_size, ("auto",))
    else:
        step_size = check_positive("step_size", step_size)
    t_max = None if t_max is None else check_positive("t_max", t_max)
    if not isinstance(n_knots, (int, np.integer)) or n_knots < 2:
        raise ValueError(f"n_knots={n_knots!r} must be an integer of at least 2.")
    limit = check_count("max_rows", max_rows)
    asked = _Asked(
        problem,
        D,
        penalty,
        row_weight,
        row_groups,
        row_group_weight,
        row_positive,
        nu,
        nu_raw,
    )
    solver = _Joint if joint else _choose_form(asked.split, route)
    return asked.trace(
        solver,
        kappa=kappa,
        kappa_raw=kappa_raw,
        step_size=step_size,
        t_max=t_max,
        n_knots=int(n_knots),
        max_rows=max_rows,
        limit=limit,
        start=start,
        route=route,
    )


def split_iss_path(
    problem,
    D=None,
    *,
    nu=1.0,
    nu_raw=None,
    row_weight=None,
    row_positive=False,
    t_max=None,
    max_rows=None,
):
    """Trace the exact limit of Split LBI for infinite kappa: piecewise constant.

    Squared loss, and rows one by one. With the coefficients eliminated, the split
    coefficients are an inverse scale space path of a least-squares problem with Gram
    matrix ``(I - D M^-1 D' / nu) / nu``, ``M = X'X/n + D'D/nu``. It is traced event by
    event by `iss_path`.

    Parameters
    ----------
    problem, D, nu, nu_raw, row_weight, row_positive, max_rows
        As for `split_lbi_path`.
    t_max : float, default=None
        Where the path ends; None is its own end, a least-squares fit.

    Returns
    -------
    SplitPath
        ``method="split_iss"``; ``knots[0]`` is 0, the null model.

    Raises
    ------
    ValueError
        As for `split_lbi_path`, and if the reduced problem has more than 30 million
        entries.
    """
    if problem.loss.name != "squared":
        raise ValueError(
            f"the exact path needs the squared loss, but the loss is "
            f"{problem.loss.name!r}; use split_lbi_path with a large kappa."
        )
    t_max = None if t_max is None else check_positive("t_max", t_max)
    asked = _Asked(problem, D, "l1", row_weight, None, "unit", row_positive, nu, nu_raw)
    size = reduced_size(asked.split)
    if size > MAX_ENTRIES:
        raise ValueError(
            f"the exact path needs an explicit design with {size:.3g} entries, more "
            f"than {MAX_ENTRIES:.3g}; use split_lbi_path with a large kappa."
        )
    return asked.trace(_Exact, t_max=t_max, max_rows=max_rows)


def restore_split(path, problem):
    """The `SplitProblem` that `path` was traced on, for the same or other rows of X."""
    settings = path.split.settings
    weight = settings["penalty_factor"]
    asked = _Asked(
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


class _Asked:
    """The question, without its free rows, and how an answer becomes a path."""

    def __init__(
        self, problem, D, penalty, row_weight, groups, group_weight, positive, nu, raw
    ):
        _check_choice("penalty", penalty, PENALTIES)
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
        norm = hessian_norm(problem, steepest) / problem.loss.curvature
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
        if t0 * rounding / split.nu_raw >= 1.0:
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


def _row_names(D):
    """Names of rows: as given, or the features that a row of a graph compares."""
    if D.row_names is not None or not D.is_graph or D.n_rows > _NAMED:
        return D.row_names
    matrix = sparse.csr_array(D.matrix)
    ends = np.split(matrix.indices, matrix.indptr[1:-1])
    return tuple("-".join(f"x{j}" for j in sorted(some)) for some in ends)


# -- cores: what traces the split coefficients -----------------------------------------


class _Reduced:
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
        )
        return self._trace(path), step

    def _trace(self, path):
        reduced = self.reduced
        # Between knots a split coefficient bends at its events, and coefficients bend
        # with it: these times become knots, read from the path within its tolerance.
        times = path.events["t"].clip(*path.knots[[0, -1]])
        knots = np.unique(np.concatenate([path.knots, times]))
        splits, _ = path.coefs_at(knots)
        splits = reduced.fold(splits)
        events = path.events.copy()
        events["feature"], sign = reduced.fold_rows(events["feature"])
        events["sign"] = events["sign"] * sign
        rows = np.flatnonzero((splits != 0).any(axis=0))
        rows = np.union1d(rows, events["feature"])
        return SplitTrace(
            knots=knots,
            coefs=reduced.coefs(splits)[:, None],
            intercepts=None,
            rows=rows,
            splits=splits[:, None, rows],
            events=events,
            status=path.status,
            message=_about_rows(path.message),
            n_iter=path.n_iter,
            info={
                "route": "reduced",
                "route_reason": (
                    f"the explicit problem in the rows has "
                    f"{reduced_size(self.split):.3g} entries, at most "
                    f"{MAX_ENTRIES:.3g}; {reduced.rule.lower()}"
                ),
                "n_anchors": path.info["n_anchors"],
                "bends": ~np.isin(knots, path.knots),
            },
        )


class _Exact(_Reduced):
    """The inverse scale space path of the same problem."""

    method, exact = "split_iss", True

    def run(self, kappa_raw, t0, t_max):
        path = iss_path(
            self.reduced.problem,
            t_max=self.options["t_max"],
            max_features=self.options["max_rows"],
        )
        return self._trace(path), None


class _Eliminated:
    """The eliminated form with one solve per step, for any size."""

    method, exact = "split_lbi", False

    def __init__(self, split, options):
        from ._split_systems import make_system

        route = options["route"]
        self.split, self.options = split, options
        self.system = make_system(split, "auto" if route == "reduced" else route)
        c = split.problem.correlate(split.problem.null_score)[0]
        self.null_coef = self.system.solve(c)[None]

    def run(self, kappa_raw, t0, t_max):
        from ._split_eliminated import trace_eliminated

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


class _Joint:
    """The joint form, for every loss."""

    method, exact = "split_lbi_joint", False

    def __init__(self, split, options):
        from ._split_fit import fit_coupled

        self.split, self.options = split, options
        self.null = fit_coupled(split)
        self.null_coef, self.null_intercept = self.null

    def run(self, kappa_raw, t0, t_max):
        from ._split_joint import trace_joint

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


def _choose_form(split, route):
    if route == "reduced" or (route == "auto" and reduced_size(split) <= MAX_ENTRIES):
        return _Reduced
    return _Eliminated


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


def _about_rows(message):
    """A message of a solver for features, said of rows."""
    return message.replace("max_features", "max_rows").replace("features", "rows")


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


def _check_choice(name, value, allowed):
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; use one of {allowed}.")
