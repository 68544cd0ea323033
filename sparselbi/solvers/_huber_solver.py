"""Huber regression at one threshold: accelerated iteration, Newton steps, stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._anderson import Anderson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._huber_rows import HuberRows, Point

# Newton steps, if the iteration would go on for more than so many sweeps.
_PATIENCE = 12
_MAX_SWEEPS = 1000
# Iterations without progress after which a knot is left as it is.
_STALLED = 20
_MAX_CG = 60
_HALVINGS = 10
# Directions in which the rows do not vary, if columns depend on each other.
_FLAT = 1e-14
# First guess of the longest step of a row over the root mean square.
_LONGEST = 4.0


class HuberSolver:
    """Minimize at one threshold after the other.

    Anderson's iteration, or Newton steps where that would take long.

    Parameters
    ----------
    rows : HuberRows
    tol : float
        Duality gap as a share of the objective.

    Attributes
    ----------
    n_newton : int
        Newton steps so far.
    n_sweeps : int
        Of the last threshold.
    """

    def __init__(self, rows: HuberRows, tol: float):
        self._rows, self._tol = rows, tol
        self._longest: float = _LONGEST
        self.n_newton = self.n_sweeps = 0

    def minimize(self, start: NDArray, threshold: float) -> Point:
        """Fit at a threshold, from a start."""
        rows = self._rows
        before = rows.n_sweeps
        acceleration, newton = Anderson(), False
        sizes: list[float] = []
        best, best_at = np.inf, 0
        point = rows.evaluate(start, threshold)
        while True:
            step = rows.design.solve(point.score)
            size = float(np.sqrt(max(float(np.vdot(step, point.score)), 0.0)))
            sizes.append(size)
            done = rows.n_sweeps - before
            # The gap comes from the row whose dual point is longest.
            unit = threshold * rows.root_weight
            slope = self._longest * point.penalty / unit
            expected, goal = size**2 / 2 + slope * size, self._tol * point.value
            if expected < 0.7 * best:
                best, best_at = expected, len(sizes)
            noise = 2 * rows.precision * float(np.linalg.norm(point.coords))
            stalled = len(sizes) - best_at > _STALLED or done > _MAX_SWEEPS
            stop = size <= noise or stalled
            if expected <= goal or stop:
                point = rows.evaluate(point.coords + step, threshold, step)
                if point.gap <= goal or stop:
                    break
                if size > 0:
                    # Half way: the next dual point will be another one.
                    seen = max(point.stretch, 0.0) * unit / size
                    self._longest = max(float(np.sqrt(self._longest * seen)), 1.0)
                continue
            if not newton and len(sizes) > 3:
                rate = (size / sizes[-4]) ** (1 / 3)
                newton = rate**_PATIENCE * expected > goal
            if newton:
                point = self._newton(point, step, size, threshold, goal / expected)
                continue
            proposed = acceleration.propose(point.coords, step, point.score)
            slack = 4 * rows.precision * point.value
            following = rows.evaluate(proposed, threshold)
            if following.value > point.value + slack:
                acceleration.restart()
                following = rows.evaluate(point.coords + step, threshold)
            point = following
        self.n_sweeps = rows.n_sweeps - before
        return point

    def _newton(self, point, step, size, threshold, share):
        """One Newton step by conjugate gradients, and a line search."""
        rows = self._rows
        self.n_newton += 1
        relative = min(1.0, size / (threshold * rows.root_weight))
        damping = 1e-3 * relative
        accuracy = max(0.1 * share, min(0.1, np.sqrt(relative)))
        direction = np.zeros_like(step)
        residual = point.score.copy()
        search = self._preconditioned(residual)
        first = square = float(np.vdot(residual, search))
        for _ in range(_MAX_CG):
            image = rows.curvature(point, threshold, search, damping)
            bend = float(np.vdot(search, image))
            if not bend > _FLAT * float(np.vdot(search, search)):
                break
            direction += (square / bend) * search
            residual -= (square / bend) * image
            preconditioned = self._preconditioned(residual)
            last, square = square, float(np.vdot(residual, preconditioned))
            if square <= accuracy**2 * first:
                break
            search = preconditioned + (square / last) * search
        slope = float(np.vdot(direction, point.score))
        slack = 4 * rows.precision * point.value
        length = 1.0
        if rows.design.n_outputs == 1:
            length = rows.best_length(point, threshold, direction)
        for _ in range(_HALVINGS):
            found = rows.evaluate(point.coords + length * direction, threshold)
            if found.value <= point.value - 1e-4 * length * slope + slack:
                return found
            length /= 2
        return rows.evaluate(point.coords + step, threshold)

    def _preconditioned(self, residual):
        design = self._rows.design
        # Solving by conjugate gradients would cost as much as what it is for.
        iterative = getattr(design, "way", None) == "cg"
        return residual.copy() if iterative else design.solve(residual)
