"""The logistic loss of votes that may be shifted: values, scores, curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from .._logistic_votes import logistic_curvature, logistic_loss, logistic_residual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design


def vote_scores(
    eta: NDArray[np.float64],
    y: NDArray[np.float64],
    threshold: Any = np.inf,
    ridge: Any = 0.0,
) -> NDArray[np.float64]:
    """Minus the derivative of each vote's part of the objective with respect to eta.

    ``clip(y01 - p, -threshold, threshold) + ridge (1/2 - p)``, ``p = sigmoid(eta)``,
    y01 = (1 + y) / 2.

    Parameters
    ----------
    eta, y : ndarray of shape (n,)
        Linear predictors and votes in {-1, 0, 1}.
    threshold : float or ndarray of shape (n,), default=inf
        Including the factors of the rows; infinity: maximum likelihood.
    ridge : float or ndarray of shape (n,), default=0.0
    """
    clipped = np.clip(logistic_residual(eta, y), -threshold, threshold)
    return clipped - 0.5 * ridge * np.tanh(eta / 2) if np.any(ridge) else clipped


def vote_curvature(
    eta: NDArray[np.float64],
    y: NDArray[np.float64],
    threshold: Any = np.inf,
    ridge: Any = 0.0,
) -> NDArray[np.float64]:
    """Second derivative of each vote's part of the objective with respect to eta.

    ``p (1 - p) (1{not shifted} + ridge)``. Parameters as for `vote_scores`.
    """
    kept = np.abs(logistic_residual(eta, y)) <= threshold
    return logistic_curvature(eta) * (kept + ridge)


@dataclass
class VotePoint:
    """A fit at one threshold.

    Attributes
    ----------
    eta, residual : ndarray of shape (n_samples,)
        Linear predictors and y01 - p.
    score : ndarray of shape (n_coords, 1)
        Minus the gradient.
    decrement : float
        Newton decrement over the root of the total weight, before the last step.
    n_newton : int
    """

    threshold: float
    coords: NDArray[np.float64]
    eta: NDArray[np.float64]
    residual: NDArray[np.float64]
    score: NDArray[np.float64]
    decrement: float = np.inf
    n_newton: int = 0


class Votes:
    """The objective of the votes of a design at any threshold."""

    def __init__(self, design: Design, factor: NDArray[np.float64], ridge: Any):
        if design.n_outputs != 1:
            raise ValueError(
                f"the design has {design.n_outputs} outputs; votes have one."
            )
        self.design = design
        self.factor = np.asarray(factor, dtype=np.float64)
        self.y = design.residuals(np.zeros((design.n_coords, 1)))[:, 0]
        strange = np.flatnonzero((np.abs(self.y) != 1) & (self.y != 0))
        if len(strange):
            raise ValueError(
                f"the target of row {strange[0]} is {self.y[strange[0]]:g}; votes are "
                "-1, 0 (a tie) or 1 here. Graded votes have the linear model; a design "
                "with an intercept centres its targets: use fit_intercept=False and a "
                "column of ones."
            )
        self.ridge = np.asarray(ridge, dtype=np.float64)
        if self.ridge.shape not in ((), self.y.shape) or not (
            np.isfinite(self.ridge).all() and (self.ridge >= 0).all()
        ):
            raise ValueError(
                f"ridge={ridge!r} must be a finite number of ties for each vote that "
                f"is not negative, or {len(self.y)} of them."
            )
        self.has_ridge = bool(self.ridge.any())
        self.has_ties = bool((self.y == 0).any())
        self.root_weight = float(np.sqrt(design.total_weight))
        self._radius = np.inf, np.full(len(self.y), np.inf)

    def radius(self, threshold):
        """``threshold * factor``, (n_samples,)."""
        if self._radius[0] != threshold:
            self._radius = threshold, threshold * self.factor
        return self._radius[1]

    def evaluate(self, coords, threshold):
        """Read the rows at `coords`."""
        radius = self.radius(threshold)
        eta, residual = np.empty_like(self.y), np.empty_like(self.y)

        def work(rows, R, D):
            eta[rows] = self.y[rows] - R[:, 0]
            residual[rows] = self._residual(eta[rows], rows)
            clipped = np.clip(residual[rows], -radius[rows], radius[rows])
            return self._with_ridge(clipped, eta[rows], rows)[:, None]

        score = self.design.sweep(work, coords)
        return VotePoint(threshold, coords, eta, residual, score)

    def curvature(self, eta, residual, threshold):
        """Second derivatives, (n_samples,)."""
        inside = np.abs(residual) <= self.radius(threshold)
        variance = logistic_curvature(eta)
        return variance * (inside + self.ridge if self.has_ridge else inside)

    def scores(self, eta, threshold):
        """Minus first derivatives, and residuals, (n_samples,)."""
        residual, radius = self._residual(eta), self.radius(threshold)
        return self._with_ridge(np.clip(residual, -radius, radius), eta), residual

    def bent(self, curvature, directions):
        """The Hessian, with these second derivatives, times directions."""

        def work(rows, R, D):
            return curvature[rows, None] * D

        return self.design.sweep(work, np.zeros_like(directions), directions)

    def movement(self, directions):
        """``Z directions``, (n_samples,)."""
        out = np.empty_like(self.y)

        def work(rows, R, D):
            out[rows] = D[:, 0]

        self.design.sweep(work, np.zeros_like(directions), directions)
        return out

    def deviance(self, point):
        """Twice the weighted loss with shifts."""
        radius, loss = self.radius(point.threshold), logistic_loss(point.eta, self.y)
        shifted = np.abs(point.residual) > radius
        side = (1 + self.y[shifted]) / 2
        p = side - np.copysign(radius[shifted], point.residual[shifted])
        loss[shifted] = -special.xlogy(side, p) - special.xlog1py(1 - side, -p)
        weight = self.design.weight
        return 2 * float(loss.sum() if weight is None else weight @ loss)

    def n_shifted(self, point):
        """Sum of the weights of the shifted votes."""
        shifted = np.abs(point.residual) > self.radius(point.threshold)
        weight = self.design.weight
        return float(shifted.sum() if weight is None else weight @ shifted)

    def end(self, residual, limit):
        """Threshold below which more than `limit` votes are shifted; 0: none."""
        scaled, weight = np.abs(residual) / self.factor, self.design.weight
        if not np.isfinite(limit):
            return 0.0
        order = np.argsort(-scaled)
        reached = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
        first = int(np.searchsorted(reached, limit, side="right"))
        return float(scaled[order[first]]) if first < len(order) else 0.0

    def _residual(self, eta, rows=slice(None)):
        y = self.y[rows]
        if self.has_ties:
            return logistic_residual(eta, y)
        return y * special.expit(-y * eta)

    def _with_ridge(self, clipped, eta, rows=slice(None)):
        if not self.has_ridge:
            return clipped
        ridge = self.ridge if self.ridge.ndim == 0 else self.ridge[rows]
        return clipped - 0.5 * ridge * np.tanh(eta / 2)
