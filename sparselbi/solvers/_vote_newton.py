"""Newton's method for votes that may be shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._vote_separation import separation_error
from ._vote_systems import VoteSystem, preconditioned

if TYPE_CHECKING:
    from ._vote_loss import Votes

# Newton decrement over the root of the total weight, at which the next step is the last
# one: of a single fit and of those of a path.
SINGLE, _TOLERANCE = 1e-8, 1e-6
_MAX_NEWTON = 100
# Steps without progress (rounding) after which a fit is left as it is.
_STALLED = 20
_MAX_SEARCH = 40
# A step after which the slope along it is this share of what it was is taken.
_FLAT = 0.3, 0.1
# Newton steps close to a minimum are short. Votes that still move by so much (in eta)
# at so small a decrement, in several steps, move for ever: their loss is exp(-|eta|).
_MOVES, _CLOSE, _SEVERAL = 0.3, 1e-3, 3
# Share of the largest movement that counts as none.
_STILL = 1e-3


class VoteNewton:
    """Minimize at one threshold after the other.

    Parameters
    ----------
    votes : Votes
    tol : float or None
        Newton decrement over the root of the total weight; see `trace_logistic_shift`.

    Attributes
    ----------
    n_iter : int
        Newton steps so far.
    """

    def __init__(self, votes: Votes, tol: float | None):
        self._votes = votes
        precision = getattr(votes.design, "precision", np.finfo(np.float64).eps)
        self._noise = 16 * float(precision)
        self.tol = max(_TOLERANCE, 4 * self._noise) if tol is None else float(tol)
        weight = votes.design.weight
        self._used = np.full(len(votes.y), True) if weight is None else weight > 0
        self.n_iter = 0

    def minimize(self, start, threshold):
        """Fit at a threshold, from a start.

        Raises
        ------
        SeparatedVotes
            If there is no minimum, which is looked for at threshold infinity.
        """
        votes = self._votes
        point = votes.evaluate(start, threshold)
        # Votes that diverge do not show before.
        goal = min(self.tol, _TOLERANCE) if np.isinf(threshold) else self.tol
        n_newton, best, best_at, diverging = 0, np.inf, 0, 0
        while n_newton < min(_MAX_NEWTON, best_at + _STALLED):
            direction, decrement = self._direction(point)
            n_newton += 1
            self.n_iter += 1
            if decrement < 0.7 * best:
                best, best_at = decrement, n_newton
            if not direction.any():
                break
            movement = votes.movement(direction)
            diverges = decrement <= _CLOSE and self._diverges(point, movement)
            final = decrement <= goal
            diverging += diverges
            if diverging == _SEVERAL:
                raise self._separated(movement, direction)
            length = self._length(point, movement)
            point = votes.evaluate(point.coords + length * direction, threshold)
            if final or length == 0:
                break
        point.decrement, point.n_newton = decrement, n_newton
        return point

    def _direction(self, point):
        """Newton direction, and the decrement."""
        votes, score = self._votes, point.score
        ahead = preconditioned(votes.design, score)
        first = max(float(np.vdot(score, ahead)), 0.0)
        relative = np.sqrt(first) / votes.root_weight
        if not relative > self._noise:
            return np.zeros_like(score), relative
        curvature = votes.curvature(point.eta, point.residual, point.threshold)
        if np.isfinite(point.threshold):
            # Where all votes of an item are shifted there is no curvature.
            curvature += 1e-3 * min(1.0, relative)
        accuracy = min(0.1, np.sqrt(relative))
        direction, _ = VoteSystem(votes, curvature).solve(score, accuracy)
        gain = max(float(np.vdot(direction, score)), 0.0)
        return direction, np.sqrt(gain) / votes.root_weight

    def _length(self, point, movement):
        """A step along which the slope has all but vanished."""
        votes, threshold = self._votes, point.threshold
        weight = votes.design.weight
        weighted = movement if weight is None else weight * movement
        start = votes.scores(point.eta, threshold)[0] @ weighted
        if not start > 0:
            return 0.0
        low, high, length = 0.0, np.inf, 1.0
        for _ in range(_MAX_SEARCH):
            eta = point.eta + length * movement
            score, residual = votes.scores(eta, threshold)
            slope = score @ weighted
            if -_FLAT[1] * start <= slope <= _FLAT[0] * start:
                break
            low, high = (length, high) if slope > 0 else (low, length)
            bend = votes.curvature(eta, residual, threshold) @ (weighted * movement)
            step = slope / bend if bend > 0 else np.inf * np.sign(slope)
            length = min(length + step, 4 * length)
            if not low < length < high:
                length = (low + high) / 2 if np.isfinite(high) else 2 * low
        return length

    def _diverges(self, point, movement):
        """Whether votes still move, and all of them in their own direction."""
        votes, used = self._votes, self._used
        size = np.abs(movement)
        largest = size[used].max()
        if np.isfinite(point.threshold) or largest <= _MOVES:
            return False
        held = used & ((votes.y == 0) | (votes.ridge > 0))
        return (votes.y * movement)[used].min() >= -_STILL * largest and size[held].max(
            initial=0.0
        ) <= _STILL * largest

    def _separated(self, movement, direction):
        gain = np.where(self._used, self._votes.y * movement, 0.0)
        rows = np.flatnonzero(gain > _STILL * gain.max())
        change = np.abs(self._votes.design.to_coefs(direction)[0].ravel())
        return separation_error(rows, np.flatnonzero(change > 0.5 * change.max()))
