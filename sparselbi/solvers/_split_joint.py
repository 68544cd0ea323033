"""The joint form of Split LBI: coefficients and split coefficients step together.

One step costs two products with X (or one with its Gram matrix) and two with D, for
every loss. Hidden here: which products are taken, and when a run is unstable.
"""

from types import SimpleNamespace

import numpy as np
from scipy import sparse

from ..losses.base import evaluate_score
from ..losses.fit import mean_loss
from ..path import EVENT_DTYPE
from ..penalties import get_penalty
from ._lbi_trace import SATURATION
from ._split_fit import MAX_BLOCK, Design
from ._split_joint_record import Recorder
from ._split_joint_steps import advance, couple, shrink_rows, write_events
from ._split_problem import SplitTrace
from .base import build_events, check_count

_MAX_RESTARTS = 20
# Knots that straight lines need are added up to this multiple of the grid, and up to
# so many numbers.
_MAX_KNOTS = 20
_MAX_NUMBERS = 5 * 10**7
# The objective never grows with a stable step, but for rounding.
_GROWTH = 1e-9
# Below this fraction of the null model's loss there is nothing but rounding.
_ROUNDING = 1e-13


class _Unstable(Exception):
    """The iteration diverges: the norm of the Hessian was estimated too low."""


def step_limit(split, kappa_raw):
    """The joint iteration is stable with steps below this.

    It is ``2 / (kappa_raw * H)``, where H bounds the Hessian of the coupled loss:
    curvature times the largest eigenvalue of the Gram matrix (1 for the intercept) plus
    ``(1 + ||D||^2) / nu_raw``.
    """
    curvature = split.problem.loss.curvature
    norm = curvature * split.hessian_norm + (1.0 + split.D.norm**2) / split.nu_raw
    if split.problem.has_intercept_column:
        norm = max(norm, curvature)  # columns are centred: the intercept stands apart
    return 2.0 / (kappa_raw * norm)


def trace_joint(split, *, kappa_raw, step, start, t0, null, t_max, n_knots, max_rows):
    """Trace the joint iteration.

    With the mean loss L, the coupling ``C = ||D coef - split||^2 / (2 nu)`` and all
    right-hand sides old::

        coef  <- coef - kappa * step * gradient of L + C in coef
        z     <- z - step * gradient of C in split
        split <- kappa * shrink(z)

    The intercept steps like coef; squared loss eliminates it. As coef and split step
    with the same kappa, the path depends on the scale of D, unlike the eliminated one.

    Parameters
    ----------
    split : SplitProblem
        With nu resolved.
    kappa_raw : float
    step : "auto" or float
        "auto" is half of `step_limit`, halved again if the iteration diverges all the
        same; ``info["step_size"]`` is what was taken.
    start : {"fit", "zero"}
        "fit" starts at t0 with the coefficients of the null model, before which nothing
        moves; "zero" at t = 0 with coefficients and duals zero.
    t0 : float
        First entry of the null model, finite.
    null : tuple of ndarray (n_outputs, n_features) and (n_outputs,)
        From `fit_coupled`.
    t_max : float
    n_knots : int
        Knots on a logarithmic grid from t0 to t_max. More are added so that straight
        lines between knots (with zeros at the events of a row) stay within 0.5 % of the
        largest coefficient so far.
    max_rows : int or None

    Returns
    -------
    SplitTrace
        ``info["interpolation_error"]`` is the largest deviation from straight lines
        that was seen about the middle of two knots, relative to the largest coefficient
        so far. ``status`` is "t_max", "max_rows" or "saturated".

    Raises
    ------
    ValueError
        If a given step is unstable.

    References
    ----------
    C. Huang, X. Sun, J. Xiong, Y. Yao. Split LBI: an iterative regularization path with
    structural sparsity. Advances in Neural Information Processing Systems 29 (2016).
    """
    limit = step_limit(split, kappa_raw)
    automatic = isinstance(step, str)
    if not automatic and not 0 < step < limit:
        raise _too_long(step, kappa_raw, limit)
    size = float(0.5 * limit if automatic else step)
    max_rows = check_count("max_rows", max_rows)
    model = _loss_model(split)
    coupling = _Coupling(split)
    for n_restarts in range(_MAX_RESTARTS):
        run = _Run(split, model, coupling, kappa_raw, size, n_knots, max_rows)
        run.place(start, t0, null)
        grid = np.geomspace(t0, t_max, n_knots)
        grid[[0, -1]] = t0, t_max
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                status = run.go(grid)
        except _Unstable:
            if not automatic:
                raise _too_long(step, kappa_raw, size) from None
            size *= 0.5
            continue
        trace = run.trace(status)
        trace.info.update(
            step_size=size, n_restarts=n_restarts, products=model.products
        )
        return trace
    raise _too_long(step, kappa_raw, size)


def _too_long(step, kappa_raw, limit):
    return ValueError(
        f"step_size={step!r} is unstable: with kappa_raw={kappa_raw:.6g} it must be "
        f"below {limit:.6g}; use step_size='auto'."
    )


# -- products with X -------------------------------------------------------------------


def _loss_model(split):
    """The Gram matrix where a product with it is cheaper than two with X."""
    problem, p = split.problem, split.n_features
    design = Design(problem)
    is_squared = problem.loss.name == "squared"
    if is_squared and p * p <= min(2 * design.cost, MAX_BLOCK):
        return _GramModel(problem, design)
    return _SampleModel(problem, design)


class _GramModel:
    """Squared loss, by the Gram matrix of the columns."""

    products = "gram"

    def __init__(self, problem, design):
        self.n_columns = problem.n_features
        rest = problem.y - design.offset
        self._gram = design.gram(problem.omega)
        self._right = design.correlate(rest * problem.omega)
        self._constant = 0.5 * float(problem.omega @ rest[0] ** 2)

    def descend(self, coef, out):
        """Write minus the gradient of the mean loss into `out`."""
        np.dot(coef, self._gram, out=out)
        np.subtract(self._right, out, out=out)
        self._last = coef, out

    def value(self):
        """The mean loss at the last point of `descend`."""
        coef, out = self._last
        return self._constant - 0.5 * float(np.vdot(coef, self._right + out))


class _SampleModel:
    """Any loss, by linear predictors and scores of all samples."""

    products = "columns"

    def __init__(self, problem, design):
        self.n_columns = design.n_columns
        self.problem, self._design = problem, design
        shape = problem.n_outputs, problem.n_samples
        self._eta, self._score = np.empty(shape), np.empty(shape)

    def descend(self, coef, out):
        """Write minus the gradient of the mean loss into `out`."""
        problem, score = self.problem, self._score
        self._design.predict(coef, out=self._eta)
        evaluate_score(problem.loss, problem.y, self._eta, score)
        score *= problem.omega
        self._design.correlate(score, out=out)

    def value(self):
        """The mean loss at the last point of `descend`."""
        problem = self.problem
        return mean_loss(problem.loss, problem.y, self._eta, problem.omega)


# -- products with D -------------------------------------------------------------------


class _Coupling:
    """``D coef - split`` and its pull on coef; rows in order of the blocks."""

    def __init__(self, split):
        D, p = split.D, split.n_features
        self._p, self._D = p, D
        self._order = split.order if split.is_blocked else None
        matrix = D.matrix
        self._csr = self._dense = None
        if sparse.issparse(matrix):
            matrix = sparse.csr_array(matrix)
            matrix = matrix if self._order is None else matrix[self._order]
            # Of one type each, for compiled code.
            indptr, indices = np.int64(matrix.indptr), np.int32(matrix.indices)
            self._csr = indptr, indices, np.float64(matrix.data)
        elif isinstance(matrix, np.ndarray):
            matrix = matrix if self._order is None else matrix[self._order]
            self._dense = np.ascontiguousarray(matrix, dtype=np.float64)
        else:
            self._back = np.argsort(split.order, kind="stable")

    def __call__(self, coef, split, rest, pull):
        """Write ``rest = D coef - split`` and ``pull = D' rest``."""
        p = self._p
        if self._csr is not None:
            couple(*self._csr, coef, split, rest, pull)
        elif self._dense is not None:
            np.dot(coef[:, :p], self._dense.T, out=rest)
            rest -= split
            pull[:, :p] = np.dot(rest, self._dense)
        else:
            image = self._D.dot(coef[:, :p])
            order = slice(None) if self._order is None else self._order
            np.subtract(image[:, order], split, out=rest)
            back = rest if self._order is None else rest[:, self._back]
            pull[:, :p] = self._D.rdot(back)


# -- the iteration ---------------------------------------------------------------------


class _Run:
    """One run of the iteration with a fixed step."""

    def __init__(self, split, model, coupling, kappa, step, n_knots, max_rows):
        self.split, self.model, self.coupling = split, model, coupling
        self.kappa, self.step, self.max_rows = kappa, step, max_rows
        self.penalty = split.penalty
        self.clipped = get_penalty(split.penalty.name, positive=True)
        self.entrywise = not split.penalty.grouped
        order = split.order
        weight = np.where(split.never, np.inf, split.row_weight)[order]
        positive = split.positive[order] if split.positive.any() else np.zeros(0, bool)
        self.blocks = weight, split.ptr, np.ascontiguousarray(positive)
        columns = split.n_outputs, model.n_columns
        rows = split.n_outputs, split.n_rows
        # coef, z, split: now, and the next iterate.
        self.now, self.new = (
            (np.zeros(columns), np.zeros(rows), np.zeros(rows)) for _ in range(2)
        )
        self.descent, self.pull = np.zeros(columns), np.zeros(columns)
        self.rest, self.scratch = np.zeros(rows), np.zeros(rows)
        room = min(_MAX_KNOTS * n_knots, _MAX_NUMBERS // self.descent.size - n_knots)
        self.recorder = Recorder(split, columns, rows, self.entrywise, room)
        self.events = []

    def place(self, start, t0, null):
        """Set the first iterate."""
        split, problem = self.split, self.split.problem
        coef, z, _ = self.now
        if problem.has_intercept_column:
            coef[:, -1] = problem.null_intercept
        self.t_start = 0.0
        if start == "fit":
            p = split.n_features
            coef[:, :p] = null[0]
            if problem.has_intercept_column:
                coef[:, -1] = null[1]
            slope = split.D.dot(coef[:, :p])[:, split.order] / split.nu_raw
            z[:] = t0 * slope
            self.t_start = t0

    def go(self, grid):
        """Iterate until the last time of `grid`; return why it ended."""
        problem, step, recorder = self.split.problem, self.step, self.recorder
        saturated = SATURATION * problem.null_loss if problem.loss.saturates else -1.0
        recorder.begin(self.t_start, self.now)
        i_grid = int(grid[0] <= self.t_start)
        best = np.inf
        self.m = m_event = 0
        m_look = 1
        while i_grid < len(grid):
            self.m += 1
            t_before = self.t_start + (self.m - 1) * step
            t = self.t_start + self.m * step
            changed = self._advance()
            if changed:
                if self._size(self.new[2]) > self.max_rows:
                    recorder.write(t_before, self.now)
                    return "max_rows"
                self._write_events(changed, t_before, t)
                m_event = self.m
            if grid[i_grid] <= t:
                # Values of the iterate before t: those are at hand.
                loss = self.model.value()
                coupled = loss + 0.5 * float(np.vdot(self.rest, self.rest)) / (
                    self.split.nu_raw
                )
                # A perfect fit leaves only rounding, which may rise as it likes.
                rounding = _ROUNDING * problem.null_loss
                if not coupled <= best * (1 + _GROWTH) + rounding:
                    raise _Unstable
                best = coupled
            while i_grid < len(grid) and grid[i_grid] <= t:
                between = self._interpolate((grid[i_grid] - t_before) / step)
                recorder.look(grid[i_grid], between)
                recorder.write(grid[i_grid], between)
                i_grid += 1
                if loss < saturated:
                    return "saturated"
            if changed or self.m >= m_look:
                recorder.look(t, self.new)
                # Relaxation after an event is fast at first, then slower and slower.
                m_look = self.m + 1 + (self.m - m_event) // 16
            self.now, self.new = self.new, self.now
        return "t_max"

    def _advance(self):
        coef, _, split = self.now
        self.model.descend(coef, self.descent)
        self.coupling(coef, split, self.rest, self.pull)
        return advance(
            self.penalty,
            self.kappa,
            self.step,
            self.split.nu_raw,
            self.blocks,
            self.now,
            self.new,
            self.descent,
            self.pull,
            self.rest,
            self.scratch,
            self.entrywise,
        )

    def _size(self, split):
        return int((split[:, self.blocks[0] > 0] != 0).any(axis=0).sum())

    def _interpolate(self, share):
        """The state at a share of the way to the next iterate: the dual is linear."""
        coef, z, _ = (
            a + share * (b - a) for a, b in zip(self.now, self.new, strict=True)
        )
        split = np.empty_like(z)
        shrink_rows(self.penalty, self.kappa, self.blocks, z, split, self.scratch)
        return coef, z, split

    def _write_events(self, changed, t_before, t):
        times, codes = np.empty(2 * changed), np.empty((2 * changed, 3), dtype=np.int64)
        n = write_events(
            self.penalty,
            self.clipped,
            self.blocks,
            self.now[1:],
            self.new[1:],
            self.recorder.rows_cone,
            self.entrywise,
            t_before,
            t,
            times,
            codes,
        )
        self.events.append((times[:n], codes[:n]))

    def trace(self, status):
        """What was recorded, with rows in the order of D."""
        split, recorder = self.split, self.recorder
        knots, coefs = np.array(recorder.times), np.array(recorder.coefs)
        times, codes = np.zeros(0), np.zeros((0, 3), dtype=np.int64)
        if self.events:
            times, codes = map(np.concatenate, zip(*self.events, strict=True))
        inside = times <= knots[-1]
        times, codes = np.maximum(times[inside], knots[0]), codes[inside]
        row = split.order[codes[:, 0]]
        # With a sign constraint the outputs of a row may leave one by one.
        penalty = self.clipped if split.positive.any() else self.penalty
        question = SimpleNamespace(n_outputs=split.n_outputs, penalty=penalty)
        events = np.zeros(0, EVENT_DTYPE)
        if len(times):
            events = build_events(question, times, row, codes[:, 1], codes[:, 2])
        rows, splits = recorder.splits(split, row)
        intercepts = None
        if split.problem.has_intercept_column:
            intercepts, coefs = coefs[:, :, -1], coefs[:, :, :-1]
        messages = {
            "t_max": f"The path reached t_max={knots[-1]:.6g}.",
            "max_rows": (
                f"The path ended before more than max_rows={self.max_rows} rows were "
                "active."
            ),
            "saturated": (
                f"The path ended because the mean loss fell below {SATURATION:g} of "
                "the null model's: the classes are separated."
            ),
        }
        return SplitTrace(
            knots=knots,
            coefs=coefs,
            intercepts=intercepts,
            rows=rows,
            splits=splits,
            events=events,
            status=status,
            message=messages[status],
            n_iter=self.m,
            info={"interpolation_error": recorder.error},
        )
