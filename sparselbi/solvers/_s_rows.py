"""Rows of a linear fit, as S-estimation reads them: many fits at once, or one."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, optimize

from .._shift_design import row_norms
from ..scales import bisquare_root, bisquare_tuning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design

# Share of arbitrary rows that the scale resists.
BREAKDOWN = 0.5
# Residuals below this fraction of the spread of y are rounding, and so are those of
# some units in the last place of their y.
_ROUNDING, _LAST_PLACES = 1e-10, 64
# Fits with residuals below this fraction of it may be exact on some rows.
_NEAR = 1e-7
# Numbers in a block of residuals of many fits: they stay in the cache.
_BLOCK = 1 << 16
# Products of columns are kept if they are at most so many numbers.
_PRODUCTS = 4_000_000
# Halvings of an interval of levels; it may span forty orders of magnitude.
_BISECTIONS = 32
# What is added to the diagonal of singular systems, relative to its mean.
_RIDGE = 1e-13
# Root of the least pivot of a Gram matrix that is solved by Cholesky.
_PIVOT = 1e-5
# Most steps of a quasi-Newton method.
_DESCENT = 200
# Where the logarithm of a level ends.
_LOG_ZERO = -750.0
# Steps of conjugate gradients end at this fraction of the gradient.
_CG_TOLERANCE, _CG_STEPS = 0.02, 10


class Rows:
    """Some rows with positive weights, and the equation of the M-scale.

    ``sum_i w_i rho(|r_i| / sqrt(v)) = wanted``, where v is the square of scale times
    tuning constant; "level" below. Coordinates of m fits at once are kept as
    (m, n_outputs, n_coords).
    """

    weight: NDArray[np.float64]
    n_outputs: int
    wanted: float
    spread: float

    def level(self, squares: NDArray[np.float64], start: float | None = None) -> float:
        """Solve for v, given squares of the residuals; 0 if too many are 0."""
        if self.weight[squares > 0].sum() <= self.wanted:
            return 0.0
        if start is None:
            order = np.argsort(squares)
            beyond = np.cumsum(self.weight[order][::-1])[::-1]
            start = 5 * squares[order[np.flatnonzero(beyond >= self.wanted)[-1]]]
        with np.errstate(over="ignore"):
            scaled = np.minimum(squares / start, 1e200)
        return start * bisquare_root(scaled, self.weight, self.wanted, 1.0)

    def scale(self, level: float) -> float:
        """The scale in units of y."""
        return math.sqrt(level) / bisquare_tuning(BREAKDOWN, self.n_outputs)

    def squares(self, coords: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared lengths of the residuals of one fit, 0 where they are rounding."""
        raise NotImplementedError

    def step(
        self,
        coords: NDArray[np.float64],
        kept: NDArray[np.float64],
        curvature: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], float] | None:
        """Solve ``sum_i w_i z_i (curvature_i z_i' step - kept_i r_i') = 0``.

        Returns
        -------
        step : ndarray of shape (n_coords, n_outputs)
        change : float
            ``sum_i w_i curvature_i |z_i step|^2``.

        Or None if the matrix, with curvatures that may be negative, is not positive.
        """
        raise NotImplementedError

    def descend(
        self, coords: NDArray[np.float64], kept: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Decrease the level where Newton's method cannot; the new coordinates."""
        return coords


class RowsInMemory(Rows):
    """Rows as arrays.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, n_coords)
    Y : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (n_rows,)
    df : float
        Total weight of these rows minus n_coords.
    """

    def __init__(self, Z, Y, weight, df):
        self.Z, self.Y, self.weight = Z, Y, weight
        self.n_outputs = Y.shape[1]
        self.wanted = df * BREAKDOWN
        self._equal = bool((weight == 1).all())
        # Median distance of the targets from their median.
        self.spread = float(np.median(row_norms(Y - np.median(Y, axis=0))))

    def squares(self, coords):
        R = self.Y - self.Z @ coords
        squares = np.einsum("ij,ij->i", R, R)
        squares[squares <= self._floor2] = 0.0
        return squares

    def near(self, squares: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Rows whose residuals are so small that their fit might be exact."""
        return squares <= (_NEAR * self.spread) ** 2 + self._floor2

    @cached_property
    def _floor2(self):
        return rounding_floor(None, self.spread, row_norms(self.Y)) ** 2

    @cached_property
    def row_size(self) -> NDArray[np.float64]:
        """Lengths of the rows."""
        return row_norms(self.Z)

    def step(self, coords, kept, curvature):
        weighted = self.Z * (self.weight * curvature)[:, None]
        R = (self.Y - self.Z @ coords) * (self.weight * kept)[:, None]
        cross = self.Z.T @ R
        step = solve(weighted.T @ self.Z, cross)
        if step is not None:
            return step, float(np.sum(step * cross))
        if curvature is not kept:
            return None
        root = np.sqrt(self.weight * kept)[:, None]
        step = np.linalg.lstsq(root * self.Z, R / np.maximum(root, 1e-300))[0]
        return step, float(np.sum(step * cross))

    def descend(self, coords, kept):
        # A quasi-Newton method for the logarithm of the level: a step costs O(n_rows
        # n_coords), if it starts from the curvature of reweighting.
        gram = self.Z.T @ (self.Z * (self.weight * kept)[:, None])
        try:
            triangle = linalg.cholesky(gram)
        except linalg.LinAlgError:
            return coords
        moved = coords

        def value(x):
            nonlocal moved
            moved = coords + linalg.solve_triangular(triangle, x.reshape(coords.shape))
            R = self.Y - self.Z @ moved
            squares = np.einsum("ij,ij->i", R, R)
            level = self.level(squares)
            if level == 0:
                return _LOG_ZERO, np.zeros_like(x)
            weight = self.weight * np.maximum(1 - squares / level, 0.0) ** 2
            slope = -2 * self.Z.T @ (weight[:, None] * R) / (weight @ squares)
            slope = linalg.solve_triangular(triangle, slope, trans="T")
            return math.log(level), slope.ravel()

        found = optimize.minimize(
            value,
            np.zeros(coords.size),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _DESCENT, "maxcor": 10, "ftol": 1e-12, "gtol": 1e-7},
        )
        value(found.x)
        return moved

    # -- many fits at once -----------------------------------------------------------

    def residuals_of(self, fits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Residuals (m, n_outputs, n_rows)."""
        R = fits.reshape(-1, fits.shape[-1]) @ self.Z.T
        R = R.reshape(*fits.shape[:2], len(self.Z))
        return np.subtract(self.Y.T, R, out=R)

    def blocks(self, m: int) -> list[slice]:
        """Slices of m fits whose residuals fit into the cache."""
        size = max(1, _BLOCK // self.Y.size)
        return [slice(k, min(k + size, m)) for k in range(0, m, size)]

    def median_levels(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """A first guess of v from squares (m, n_rows): five medians."""
        half = (squares.shape[1] - 1) // 2
        if self._equal:
            return 5 * np.partition(squares, half, axis=1)[:, half]
        order = np.argsort(squares, axis=1)
        reached = np.cumsum(self.weight[order], axis=1)
        half = (reached < reached[:, -1:] / 2).sum(axis=1, keepdims=True)
        return (
            5 * np.take_along_axis(squares, np.take_along_axis(order, half, 1), 1)[:, 0]
        )

    def levels_of(self, fits: NDArray[np.float64]) -> NDArray[np.float64]:
        """v of many fits, to seven digits, by bisection; 0 for exact fits."""
        out = np.zeros(len(fits))
        for some in self.blocks(len(fits)):
            squares = np.sum(self.residuals_of(fits[some]) ** 2, axis=1)
            positive = squares > 0
            sure = positive @ self.weight > self.wanted
            squares = squares[sure]
            # All rows count fully below the first end, and too little at the second.
            low = np.min(squares, axis=1, initial=np.inf, where=positive[sure])
            high = np.maximum(3 * (squares @ self.weight) / self.wanted, low)
            low, high = np.log(low), np.log(high)
            for _ in range(_BISECTIONS):
                middle = 0.5 * (low + high)
                left = np.maximum(1 - squares * np.exp(-middle)[:, None], 0.0)
                above = (1 - left**3) @ self.weight > self.wanted
                low, high = np.where(above, middle, low), np.where(above, high, middle)
            out[some][sure] = np.exp(high)
        return out

    def improve(
        self, fits: NDArray[np.float64], levels: NDArray[np.float64], n_steps: int
    ) -> None:
        """Reweight fits `n_steps` times, in place, and approximate their levels."""
        for some in self.blocks(len(fits)):
            now, v = fits[some], levels[some]
            R = self.residuals_of(now)
            for _ in range(n_steps):
                kept = self._relax(R, v)
                now += self.solve_many(kept, R)
                R = self.residuals_of(now)
            for _ in range(3):
                self._relax(R, v)

    def _relax(self, R, v):
        """One step towards the levels, in place; the weights of the rows there."""
        squares = _lengths2(R)
        with np.errstate(over="ignore"):  # beside a level of 0: no weight
            left = squares / -np.maximum(v, 1e-300)[:, None]
        left += 1.0
        np.maximum(left, 0.0, out=left)
        kept = left * left
        left *= kept
        v *= (self.weight.sum() - left @ self.weight) / self.wanted
        return kept

    def solve_many(
        self, kept: NDArray[np.float64], R: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Least squares of R (m, n_outputs, n_rows) with weights (m, n_rows)."""
        m, c, n = R.shape
        r = self.Z.shape[1]
        weight = kept if self._equal else kept * self.weight
        cross = ((R * weight[:, None]).reshape(m * c, n) @ self.Z).reshape(m, c, r)
        gram = np.empty((m, r, r))
        if self._products is None:
            for k in range(m):
                gram[k] = (self.Z.T * weight[k]) @ self.Z
        else:
            upper, lower = np.triu_indices(r)
            gram[:, upper, lower] = gram[:, lower, upper] = weight @ self._products
        diagonal = np.einsum("kii->ki", gram)
        # Directions that no row of weight tells anything about do not change.
        diagonal += _RIDGE * diagonal.mean(axis=1, keepdims=True) + 1e-300
        steps = np.linalg.solve(gram, np.swapaxes(cross, 1, 2))
        return np.swapaxes(steps, 1, 2)

    @cached_property
    def _products(self):
        n, r = self.Z.shape
        if n * r * (r + 1) // 2 > _PRODUCTS:
            return None
        upper, lower = np.triu_indices(r)
        return self.Z[:, upper] * self.Z[:, lower]


class SweptRows(Rows):
    """All rows of a streamed design.

    Weighted fits take conjugate gradients with the Gram of all rows as preconditioner:
    a sweep for each step, and steps that need not be exact.
    """

    def __init__(self, design: Design):
        self._design = design
        weight = design.weight
        self.weight = np.ones(design.n_samples) if weight is None else weight
        self.n_outputs = design.n_outputs
        self.wanted = (design.total_weight - design.n_coords) * BREAKDOWN
        sizes = design.norms(np.zeros((design.n_coords, design.n_outputs)))
        self.spread = float(np.median(sizes))
        self._floor2 = rounding_floor(design, self.spread, sizes) ** 2

    def squares(self, coords):
        squares = self._design.norms(coords) ** 2
        squares[squares <= self._floor2] = 0.0
        return squares

    def step(self, coords, kept, curvature):
        design = self._design

        def gradient(rows, R, D):
            R *= kept[rows, None]
            return R

        def product(rows, R, D):
            D *= curvature[rows, None]
            return D

        left = design.sweep(gradient, coords)
        cross, step = left.copy(), np.zeros_like(left)
        solved = design.solve(left)
        direction, inner = solved.copy(), _columns(left, solved)
        goal = _CG_TOLERANCE**2 * inner
        for _ in range(_CG_STEPS):
            if (inner <= goal).all():
                break
            image = design.sweep(product, coords, direction)
            bent = _columns(direction, image)
            if (bent < 0).any():
                return None
            length = _ratio(inner, bent)
            step += length * direction
            left -= length * image
            solved = design.solve(left)
            new = _columns(left, solved)
            direction *= _ratio(new, inner)
            direction += solved
            inner = new
        return step, float(np.sum(step * cross))


def rounding_floor(
    design: Design | None, spread: float, targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Length up to which a residual is rounding, given lengths of the targets."""
    places = _LAST_PLACES * getattr(design, "precision", np.finfo(np.float64).eps)
    return max(_ROUNDING, places) * spread + places * targets


def solve(
    gram: NDArray[np.float64], cross: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Solve ``gram x = cross``, or return None if it is not safely positive."""
    scale = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    if not scale.all():
        return None
    try:
        factor = linalg.cho_factor(gram / scale / scale[:, None], check_finite=False)
    except linalg.LinAlgError:
        return None
    if factor[0].diagonal().min(initial=1.0) < _PIVOT:
        return None
    half = linalg.cho_solve(factor, cross / scale[:, None], check_finite=False)
    return half / scale[:, None]


def _lengths2(R):
    return R[:, 0] ** 2 if R.shape[1] == 1 else np.einsum("kci,kci->ki", R, R)


def _columns(a, b):
    return np.einsum("ij,ij->j", a, b)


def _ratio(a, b):
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
