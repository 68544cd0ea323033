"""Checking a path of Split LBI against its definition, from the data alone."""

from typing import Any

import numpy as np
from scipy import linalg, sparse

from ..losses.fit import weighted_score
from ._split_question import restore_split
from .verify import check_same_problem

_TINY = np.finfo(float).tiny
# Up to this many features the coefficients come from a dense factor.
_DENSE = 4000


def verify_split_path(path, problem):
    """Check every knot of a path of Split LBI.

    All numbers are dimensionless: 0 for a perfect path, rounding for a correct one.
    Slopes ``(D coef - split) / nu`` are relative to the largest one of the null model
    (so that thresholds and t0 are the units), split coefficients to the largest so far
    (at least a thousandth of ``kappa_raw``), coefficients to the largest so far, and
    gradients to the largest gradient of the loss at coef = 0.

    Parameters
    ----------
    path : SplitPath
    problem : Problem
        The problem that the path was traced on.

    Returns
    -------
    pandas.DataFrame
        One row per knot: ``knot``, ``size`` (active rows), and

        ``coef_gradient``
            Gradient of the coupled loss in the coefficients (not for the joint form,
            whose coefficients are still on their way).
        ``intercept_error``
            Distance of the intercept (of centred columns) from the iterate; for squared
            loss from the mean response. In units of the spread of y.
        ``dual_violation``
            By how much the dual of an inactive row (group) is beyond its threshold.

        for ``method="split_iss"``, whose dual is the sum of (length of the stretch
        between two knots) times (slope at its coefficients), also

        ``sign_violation``
            Distance of the dual of an active row from threshold times sign.
        ``support_slope``
            Slope of the active rows: they do not move.

        and for the others, which are iterated again step by step, ``split_error`` and
        ``coef_error``: deviation from the iterates, linear in the dual between two.
        They are NaN at knots that were only added because a row enters or leaves there
        (``path.info["bends"]``); those lie on the straight lines between the others.

    Notes
    -----
    The plain iteration costs one solve (or one gradient) per step.
    """
    import pandas as pd

    check_same_problem(path, problem)
    split = restore_split(path, problem)
    coefs, intercepts, splits = _rows(path, split)
    exact = path.method == "split_iss"
    columns = (_verify_exact if exact else _verify_steps)(
        path, split, coefs, intercepts, splits
    )
    if "intercept_error" not in columns:
        null = problem.null_intercept if problem.fit_intercept else 0.0
        wrong = np.abs(intercepts - null).max(axis=1)
        columns["intercept_error"] = wrong / _spread(problem)
    size = (splits != 0).any(axis=1).sum(axis=1)
    return pd.DataFrame({"knot": path.knots, "size": size, **columns})


def _rows(path, split):
    """Used coefficients (K, n_outputs, p), centred intercepts, splits (K, ., m)."""
    problem = split.problem
    coefs = np.asarray(path.coefs).reshape(len(path), problem.n_outputs, -1)
    intercepts = path.intercepts.reshape(len(path), -1) + coefs @ problem.x_mean
    splits = np.zeros((len(path), problem.n_outputs, path.D.n_rows))
    active = path.split.active_coefs.reshape(len(path), problem.n_outputs, -1)
    splits[:, :, path.split.active_features] = active
    kept = _kept(path)
    return coefs * split.coef_scale, intercepts, splits[:, :, kept]


def _spread(problem):
    return problem.s_y or np.abs(problem.y).max() or 1.0


def _kept(path):
    weight = path.split.settings["penalty_factor"]
    if weight is None:
        return slice(None)
    return np.asarray(weight) > 0


def _score(split, coef, intercept):
    problem = split.problem
    size = problem.n_features
    dense = np.zeros(size + int(problem.has_intercept_column))
    eta = np.empty((problem.n_outputs, problem.n_samples))
    for k in range(problem.n_outputs):
        dense[:size] = coef[k]
        eta[k] = problem.apply(dense) + intercept[k]
    return weighted_score(problem.loss, problem.y, eta, problem.omega)


def _downhill(split, coef, intercept, target):
    """Minus the gradient of the coupled loss, (n_outputs, p), and the score's sums."""
    score = _score(split, coef, intercept)
    size = split.n_features
    rest = split.D.dot(coef) - target
    down = split.problem.correlate(score)[:, :size] - split.D.rdot(rest) / split.nu_raw
    return down, score.sum(axis=1)


def _coef_gradient(split, coefs, intercepts, splits):
    zero = np.zeros_like(coefs[0])
    top = np.abs(split.problem.correlate(_score(split, zero, intercepts[0]))).max()
    found = np.empty(len(coefs))
    for k in range(len(coefs)):
        down, _ = _downhill(split, coefs[k], intercepts[k], splits[k])
        found[k] = np.abs(down).max() / max(top, _TINY)
    return found


def _verify_exact(path, split, coefs, intercepts, splits):
    weight, positive = split.row_weight, split.positive
    dual = np.zeros_like(splits[0])
    found = np.zeros((3, len(path)))
    slope = before = top = None
    for k, knot in enumerate(path.knots):
        if k:
            dual = dual + (knot - before) * slope
        slope = (split.D.dot(coefs[k]) - splits[k]) / split.nu_raw
        before = knot
        if top is None:
            top = max(np.abs(slope / weight)[:, ~split.never].max(initial=0), _TINY)
        on = splits[k] != 0
        relative = dual / weight
        reach = np.where(positive, relative, np.abs(relative))
        found[:, k] = (
            np.max(reach[:, ~split.never] - 1.0, initial=0.0),
            np.max(np.abs(relative - np.sign(splits[k]))[on], initial=0.0),
            np.max(np.abs(slope / weight)[on], initial=0.0) / top,
        )
    names = "dual_violation", "sign_violation", "support_slope"
    gradient = _coef_gradient(split, coefs, intercepts, splits)
    return {"coef_gradient": gradient, **dict(zip(names, found, strict=True))}


def _verify_steps(path, split, coefs, intercepts, splits):
    joint = path.method == "split_lbi_joint"
    kind: Any = _JointWalk if joint else _EliminatedWalk
    walk = kind(path, split, coefs, intercepts)
    found, off = np.zeros((3, len(path))), []
    # A row at its threshold has a split coefficient of kappa times rounding.
    top_split, top_coef = 1e-3 * path.kappa_raw, _TINY
    if path.step_size is None:
        top_split = 1.0
    for k, knot in enumerate(path.knots):
        coef, dual, target = walk.at(knot)
        off.append(np.abs(walk.intercept_at - intercepts[k]).max())
        top_split = max(top_split, np.abs(target).max(initial=0.0))
        top_coef = max(top_coef, np.abs(coef).max(initial=0.0))
        excess = split.shrink(dual) / split.row_weight
        found[:, k] = (
            np.abs(excess[splits[k] == 0]).max(initial=0.0),
            np.abs(splits[k] - target).max(initial=0.0) / top_split,
            np.abs(coefs[k] - coef).max(initial=0.0) / top_coef,
        )
    found[1:, path.info.get("bends", np.zeros(len(path), dtype=bool))] = np.nan
    names = "dual_violation", "split_error", "coef_error"
    columns = dict(zip(names, found, strict=True))
    if joint:
        columns["intercept_error"] = np.array(off) / _spread(split.problem)
    else:
        columns["coef_gradient"] = _coef_gradient(split, coefs, intercepts, splits)
    return columns


class _Walk:
    """The plain iteration; a subclass says where the coefficients go."""

    coef: Any
    z: Any
    intercept_at: Any = 0.0

    def __init__(self, path, split, start):
        self.split, self.step, self.kappa = split, path.step_size, path.kappa_raw
        self.start, self.n_steps = start, 0

    def _slope(self):
        target = self.kappa * self.split.shrink(self.z)
        return (self.split.D.dot(self.coef) - target) / self.split.nu_raw, target

    def _advance(self):
        raise NotImplementedError

    def _between(self, rest):
        raise NotImplementedError

    def at(self, knot):
        """Coefficients, duals and split coefficients at a time."""
        elapsed = max(knot - self.start, 0.0)
        if self.step is None:
            return self.coef, self.z, np.zeros_like(self.z)
        steps = int(elapsed / self.step)
        while self.n_steps < steps:
            self._advance()
            self.n_steps += 1
        rest = elapsed - steps * self.step
        return self._between(rest)


class _EliminatedWalk(_Walk):
    def __init__(self, path, split, coefs, intercepts):
        super().__init__(path, split, path.knots[0])
        problem = split.problem
        if split.n_features <= _DENSE:
            X = problem.columns(np.arange(split.n_features))
            gram = X.T @ X
            inner = split.D.gram()
            gram += (
                inner.toarray() if sparse.issparse(inner) else inner
            ) / split.nu_raw
            factor = linalg.cho_factor(gram)
            self._solve = lambda r: linalg.cho_solve(factor, r)
        else:
            from ._split_systems import make_system

            self._solve = make_system(split).solve
        self._c = problem.correlate(problem.null_score)[0]
        self.coef = self._fit(np.zeros(split.n_rows))
        self.z = path.knots[0] * split.D.dot(self.coef) / split.nu_raw
        if path.step_size is not None:
            self._refresh()

    def _fit(self, target):
        nu = self.split.nu_raw
        return self._solve(self._c + self.split.D.rdot(target) / nu)[None]

    def _refresh(self):
        self.coef = self._fit(self.kappa * self.split.shrink(self.z)[0])

    def _advance(self):
        self.z = self.z + self.step * self._slope()[0]
        self._refresh()

    def _between(self, rest):
        z = self.z + rest * self._slope()[0]
        target = self.kappa * self.split.shrink(z)
        return self._fit(target[0]), z, target


class _JointWalk(_Walk):
    def __init__(self, path, split, coefs, intercepts):
        start = path.knots[0]
        super().__init__(path, split, start)
        self.coef, self.intercept = coefs[0].copy(), intercepts[0].copy()
        self.intercept_at = self.intercept
        self.z = start * split.D.dot(self.coef) / split.nu_raw

    def _change(self):
        slope, target = self._slope()
        down, total = _downhill(self.split, self.coef, self.intercept, target)
        if not self.split.problem.has_intercept_column:
            total = np.zeros_like(total)
        return slope, self.kappa * down, self.kappa * total

    def _advance(self):
        slope, down, total = self._change()
        self.z = self.z + self.step * slope
        self.coef = self.coef + self.step * down
        self.intercept = self.intercept + self.step * total

    def _between(self, rest):
        slope, down, total = self._change()
        self.intercept_at = self.intercept + rest * total
        z = self.z + rest * slope
        return self.coef + rest * down, z, self.kappa * self.split.shrink(z)
