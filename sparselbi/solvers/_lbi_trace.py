"""One run of LBI: from anchor to anchor, and the path that was recorded."""

from typing import Any

import numpy as np

from ..losses.fit import mean_loss, weighted_score
from ._anchor import Anchor
from ._models import GramModel, SampleModel
from ._workspace import (
    AGAIN,
    ANCHOR,
    MAX_FEATURES,
    SATURATED,
    T_MAX,
    Recorder,
    Tracked,
    carry_recording,
    new_cone,
    new_state,
    new_work,
)
from .base import build_path, hessian_bound

STATUS = {T_MAX: "t_max", MAX_FEATURES: "max_features", SATURATED: "saturated"}

# A classification whose mean loss is below this fraction of the null model's is over.
SATURATION = 1e-3


class LBITrace:
    """One run of the iteration: anchors, compiled loop, and what it recorded."""

    def __init__(
        self,
        problem,
        g,
        t0,
        kappa,
        step,
        t_max,
        n_knots,
        max_features,
        share=1.0,
        norm_limit=None,
    ):
        self.share = share  # of the curvature's bound, assumed to be enough
        if norm_limit is None:
            norm_limit = 2.0 / (kappa * step * share * problem.loss.curvature)
        self.problem, self.t0, self.step, self.kappa = problem, t0, step, kappa
        K, P = g.shape
        # Nothing but unpenalized columns, which are stationary, moves before t0.
        z = t0 * g
        coef = np.zeros((K, P))
        coef[:, problem.unpenalized] = problem.null_coef
        if problem.has_intercept_column:
            coef[:, -1] = problem.null_intercept
        free = problem.weights == 0
        z[:, free] = coef[:, free] / kappa
        self.gram_space = problem.loss.name == "squared"
        size = np.sqrt(_squared_norm(problem, problem.null_score))
        self.anchor = Anchor(problem, z, g, coef, 0.15 * size, weighted=self.gram_space)
        self.n_anchors = 0
        self.model: Any = None
        self.cone = self._features = None
        self.recorder = Recorder(np.geomspace(t0, t_max, n_knots))
        self.recorder.grid[[0, -1]] = t0, t_max
        self.state = new_state(
            step=step,
            kappa=kappa,
            t_start=t0,
            entrywise=not problem.penalty.grouped,
            max_features=max_features,
            limit=norm_limit,
            saturated=SATURATION * problem.null_loss if problem.loss.saturates else 0.0,
        )

    def run(self, loop):
        """Iterate with the compiled `loop`; return why it ended."""
        while True:
            self._load()
            status = AGAIN
            while status == AGAIN:
                status = loop(
                    self.model,
                    self.problem.penalty,
                    self.work,
                    self.tracked,
                    self.cone,
                    self.recorder.arrays,
                    # Its elements have attributes with and without compilation.
                    self.state.view(np.recarray),
                )
                self.recorder.flush(self.state, self.work.column, self.anchor.features)
            if status != ANCHOR:
                return status
            self._unload()

    def _load(self):
        """Lay out what the loop needs for the columns chosen at this anchor."""
        problem, anchor, state = self.problem, self.anchor, self.state[0]
        self.n_anchors += 1
        active = anchor.choose(at_once=2.0 * self.step)
        K, T = problem.n_outputs, len(anchor.features)
        dual = np.ascontiguousarray(anchor.z[:, anchor.features])
        slope = np.ascontiguousarray(anchor.g[:, anchor.features])
        coef = anchor.coef[:, anchor.features]
        weight = problem.weights[anchor.features]
        self.tracked = Tracked(
            ptr=anchor.ptr,
            weight=weight,
            norm=anchor.norm,
            stepped=np.arange(len(anchor.norm)) < active,
            dual=np.zeros((K, T)),
            slope=np.zeros((K, T)),
            coef=np.zeros((K, T)),
            slack=np.zeros(len(anchor.norm)),
            reach=np.zeros(len(anchor.norm)),
        )
        previous, before = self.cone, self._features
        self.cone = new_cone(K, T)
        self.recorder.allocate(K, T)
        self.work = work = new_work(K, T, anchor.ptr, active)
        a = int(anchor.ptr[active])
        work.weight[:a] = weight[:a]
        work.z[:, :a] = work.z_before[:, :a] = dual[:, :a]
        work.coef[:, :a] = work.coef_before[:, :a] = coef[:, :a]
        work.coef_anchor[:, :a] = coef[:, :a]
        work.g_anchor[:, :a] = slope[:, :a]
        if previous is not None:
            carry_recording(previous, before, self.cone, anchor.features[:a])
        else:
            self.cone.sample[:, :a] = coef[:, :a]
        if self.gram_space:
            work.gram[:a, :a] = anchor.gram[:a, :a]
            self.model = GramModel(
                gram=anchor.gram,
                dual=dual,
                slope=slope,
                since_anchor=np.zeros((K, T)),
                since_ref=np.zeros((K, T)),
                delta=np.zeros(T),
            )
        else:
            columns = anchor.store.columns()
            block = columns[:a]
            work.gram[:a, :a] = (block * problem.omega) @ block.T
            eta = self._linear_predictor(columns)
            score = weighted_score(problem.loss, problem.y, eta, problem.omega)
            n = problem.n_samples
            self.model = SampleModel(
                problem.loss,
                columns,
                np.arange(T),
                problem.y,
                problem.omega,
                dual,
                slope,
                eta,
                score,
                *(np.zeros((K, n)) for _ in range(5)),
            )
        state["a"], state["n_blocks"] = a, active
        where = np.flatnonzero(anchor.features[:a] == problem.n_features)
        state["intercept"] = where[0] if where.size else -1
        state["m_anchor"] = state["m_ref"] = state["m"]
        state["anchor_time"], state["anchor_budget"] = anchor.time, anchor.budget
        state["rate"], state["used"], state["used_anchor"] = anchor.rate, 0.0, 0.0
        state["due"] = state["fresh"] = True
        work_per_step = a * (a if self.gram_space else problem.n_samples) * K
        state["chunk"] = max(64, 10**8 // (work_per_step + 1000))

    def _linear_predictor(self, columns):
        """eta of the tracked columns, with the intercept where it was eliminated."""
        anchor, problem = self.anchor, self.problem
        eta = anchor.coef[:, anchor.features] @ columns
        if problem.fit_intercept and not problem.has_intercept_column:
            eta += problem.null_intercept[:, None]
        return eta

    def _unload(self):
        """Return to the anchor what the loop knows, and make the duals exact again."""
        problem, anchor, state = self.problem, self.anchor, self.state[0]
        a = int(state["a"])
        stepped = anchor.features[self.work.column[:a]]
        anchor.coef[:, stepped] = self.work.coef[:, :a]
        self._features = stepped
        if self.gram_space:
            moved = np.zeros((2, *self.model.slope.shape))
            moved[0][:, self.work.column[:a]] = self.model.since_anchor[:, :a]
            moved[1][:, self.work.column[:a]] = self.work.coef[:, :a]
            accumulated, fitted = anchor.store.apply(moved)
            residual = problem.sqrt_weight * (
                problem.y - problem.null_intercept[:, None] * problem.fit_intercept
            )
            accumulated = -accumulated * problem.sqrt_weight
            score = (residual - fitted) * problem.sqrt_weight
        else:
            accumulated, score = self.model.since_anchor, self.model.score
        elapsed = (int(state["m"]) - int(state["m_anchor"])) * self.step
        anchor.move(elapsed, accumulated, score, bool(state["out_of_budget"]))
        anchor.z[:, stepped] = self.work.z[:, :a]

    def is_stable(self):
        """Whether a curvature assumed below its bound (share < 1) was enough.

        At every knot the Hessian of the active columns must leave a margin to the
        stability limit, and the loss must not grow.
        """
        if self.share == 1.0:
            return True
        problem = self.problem
        _, features, coefs = self.recorder.coefficients()
        block = problem.columns(features, weighted=False)
        start, before = np.ones(len(features)), np.inf
        for coef in coefs:
            eta = coef @ block.T
            curvature = problem.omega * hessian_bound(problem.loss, problem.y, eta)
            active = (coef != 0).any(axis=0)
            if not active.any():
                continue
            v = np.where(active, start + 0.01 * np.abs(start).max(), 0.0)
            for _ in range(3):
                v /= np.linalg.norm(v)
                v = np.where(active, block.T @ (curvature * (block @ v)), 0.0)
            start = v
            loss = mean_loss(problem.loss, problem.y, eta, problem.omega)
            if self.kappa * self.step * np.linalg.norm(v) > 1.6:
                return False
            if loss > before * (1 + 1e-9):
                return False
            before = loss
        return True

    def path(self, status, fields, info):
        """Return what was recorded as a RegularizationPath."""
        knots, features, coefs = self.recorder.coefficients()
        # At t0 the first dual is at its threshold, up to rounding on either side.
        coefs[0, :, self.problem.weights[features] > 0] = 0.0
        intercepts = None
        if self.problem.has_intercept_column:
            intercepts = coefs[:, :, -1]
            features, coefs = features[:-1], coefs[:, :, :-1]
        messages = {
            "t_max": f"The path reached t_max={knots[-1]:.6g}.",
            "max_features": (
                "The path ended before more than max_features="
                f"{int(self.state[0]['max_features'])} features were active."
            ),
            "saturated": (
                "The path ended because the mean loss fell below "
                f"{SATURATION:g} of the null model's: the classes are separated."
            ),
        }
        return build_path(
            self.problem,
            knots,
            features,
            coefs,
            intercepts,
            events=self.recorder.events(self.problem, knots[-1]),
            step_size=self.step,
            status=status,
            message=messages[status],
            n_iter=int(self.state[0]["m"]),
            info={
                "n_anchors": self.n_anchors,
                "n_refs": int(self.state[0]["n_refs"]),
                **info,
            },
            **fields,
        )


def _squared_norm(problem, v):
    """Squared norm of weighted scores in which a column's bound is its norm."""
    share = np.where(problem.omega > 0, problem.omega, np.inf)
    return float(np.sum(v**2 / share))
