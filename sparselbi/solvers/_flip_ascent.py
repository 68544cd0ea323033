"""Newton's method on the likelihood of votes some of which are flipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._flip_likelihood import EXPECTED, LARGEST_RATE, OBSERVED, SHARES
from ._vote_systems import VoteSystem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._flip_likelihood import FlipTerms

_MAX_SEARCH = 30
# A step is taken if the objective gains so much of what its slope promises, and the
# next one is bolder if it gains so much of what the quadratic model promises.
_ENOUGH, _AS_EXPECTED = 1e-4, 0.5
# Votes do not move farther in one step.
_FAR = 8.0
# A fit is separated if votes still move by so much (in eta) in so many steps, none of
# which can gain more than so much log-likelihood.
_MOVES, _SEVERAL, _NO_GAIN = 0.3, 3, 1e-5


@dataclass
class FlipPoint:
    """A fit; `parts` are the votes' parts of the objective."""

    coords: NDArray[np.float64]
    eta: NDArray[np.float64]
    terms: FlipTerms
    parts: NDArray[np.float64]
    log_likelihood: float
    objective: float
    status: str = "max_iter"
    decrement: float = np.inf
    n_iter: int = 0
    moving: Any = None

    @property
    def rate(self):
        return self.terms.rate


class FlipAscent:
    """Newton's method on the profile likelihood of the coordinates."""

    def __init__(self, mixture, tol, max_iter):
        self.mixture, self._votes = mixture, mixture.votes
        self._tol, self._max_iter = tol, max_iter
        self._weight = mixture.weight
        self._root_weight = self._votes.root_weight

    def maximize(self, coords, rate, fixed):
        """Ascend from a start; `fixed`: keep the rate."""
        mixture, used = self.mixture, self._weight > 0
        eta = self._votes.movement(coords)
        point = self.evaluate(coords, eta, rate, fixed)
        boldness, moving, certain = EXPECTED, 0, np.zeros(len(eta), dtype=bool)
        for n_iter in range(1, self._max_iter + 1):
            score = mixture.gradient(mixture.slope(point.eta, point.terms))
            boldness, direction, movement = self._direction(
                point, score, boldness, fixed
            )
            gain = float(np.vdot(score, direction))
            decrement = np.sqrt(gain) / self._root_weight
            moves = used & (np.abs(movement) > _MOVES)
            if gain <= _NO_GAIN and moves.any():
                moving, certain = moving + 1, certain | moves
            final = gain == 0 or (
                decrement <= self._tol and boldness <= EXPECTED and not moves.any()
            )
            point, length, as_expected = self._step(
                point, direction, movement, gain, fixed
            )
            point.decrement, point.n_iter = float(decrement), n_iter
            if moving == _SEVERAL:
                point.status, point.moving = "separated", np.flatnonzero(certain)
                break
            if final or (length == 0 and boldness == len(SHARES) - 1):
                point.status = "converged"
                break
            if length == 1 and as_expected:
                boldness = max(boldness - 1, 0)
            elif length < 1:
                boldness = min(boldness + 1, len(SHARES) - 1)
        return point

    def information(self, point, accuracy=1e-10):
        """Information about the rate that is left when the scores are estimated."""
        mixture = self.mixture
        bend, mixed, own = mixture.curvature(point.eta, point.terms, OBSERVED)
        across = mixture.gradient(mixed)
        solution, solved = VoteSystem(self._votes, bend).solve(across, accuracy)
        return float(own - np.vdot(across, solution)) if solved else np.nan

    def evaluate(self, coords, eta, rate, fixed):
        """A point; at the best rate for it, unless that is fixed."""
        terms = self.mixture.terms(eta, rate)
        if not fixed:
            self.mixture.best_rate(terms)
        plain, parts = self.mixture.values(eta, terms)
        return FlipPoint(
            coords,
            eta,
            terms,
            parts,
            float(self._weight @ plain),
            float(self._weight @ parts),
        )

    def _direction(self, point, score, boldness, fixed):
        """Boldness that worked, direction, and how votes move along it."""
        relative = np.sqrt(np.vdot(score, score)) / self._root_weight
        accuracy = float(np.clip(np.sqrt(relative), 1e-4, 0.05))
        last = len(SHARES) - 1
        for attempt in range(boldness, last + 1):
            direction = self._newton(point, score, attempt, accuracy, fixed)
            if direction is None or not np.vdot(score, direction) > 0:
                continue
            movement = self._votes.movement(direction)
            farthest = np.abs(movement[self._weight > 0]).max()
            if farthest <= _FAR:
                return attempt, direction, movement
            if attempt == last:
                shrink = _FAR / farthest
                return last, shrink * direction, shrink * movement
        return last, np.zeros_like(score), np.zeros_like(point.eta)

    def _newton(self, point, score, boldness, accuracy, fixed):
        """Newton direction; None: the curvature is not positive definite."""
        mixture = self.mixture
        bend, mixed, own = mixture.curvature(point.eta, point.terms, boldness)
        system = VoteSystem(self._votes, bend)
        direction, solved = system.solve(score, accuracy)
        if not solved:
            return None
        if fixed or not 0 < point.rate < LARGEST_RATE:
            return direction
        across = mixture.gradient(mixed)
        answer, solved = system.solve(across, accuracy)
        left = own - float(np.vdot(across, answer)) if solved else 0.0
        if left > 0:
            return direction + float(np.vdot(across, direction)) / left * answer
        return direction if boldness == len(SHARES) - 1 else None

    def _step(self, point, direction, movement, gain, fixed):
        """Where the objective is larger, the length, whether it gained as expected."""
        length, unseen = 1.0, 1e-14 * self._root_weight**2
        for _ in range(_MAX_SEARCH):
            following = self.evaluate(
                point.coords + length * direction,
                point.eta + length * movement,
                point.rate,
                fixed,
            )
            gained = float(self._weight @ (following.parts - point.parts))
            if gained >= _ENOUGH * length * gain - unseen:
                return following, length, gained >= _AS_EXPECTED * gain / 2 - unseen
            # The parabola through value, slope and the new value.
            middle = 0.5 * length**2 * gain / (length * gain - gained)
            length = float(np.clip(middle, 0.1 * length, 0.5 * length))
        return point, 0.0, False
