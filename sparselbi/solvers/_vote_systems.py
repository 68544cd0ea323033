"""Newton systems of votes: on the graph if the design can, else sweep by sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design
    from ._vote_loss import Votes

_MAX_CG = 500
# A solution with negative curvatures is checked to so many times its accuracy.
_SLACK = 10.0


class VoteSystem:
    """``Z'W diag(curvature) Z``.

    Parameters
    ----------
    votes : Votes
        Its design may have ``reweighted(factor)``, which returns None or a function of
        scores (n_coords, 1) and a relative accuracy that solves with
        ``Z'W diag(factor) Z``, faster than by one sweep per conjugate gradient.
    curvature : ndarray of shape (n_votes,)
    """

    def __init__(self, votes: Votes, curvature: NDArray[np.float64]):
        self._votes, self._curvature = votes, curvature
        reweighted = getattr(votes.design, "reweighted", None)
        self._fast = None if reweighted is None else reweighted(curvature)
        self._convex = curvature.min(initial=0.0) >= 0

    def solve(
        self, scores: NDArray[np.float64], accuracy: float
    ) -> tuple[NDArray[np.float64], bool]:
        """Solution (n_coords, 1) up to a relative accuracy, and whether it is one.

        It is none if a direction without positive curvature was met.
        """
        if not scores.any():
            return np.zeros_like(scores), True
        if self._fast is None:
            return self._by_gradients(scores, accuracy)
        found = self._fast(scores, accuracy)
        if self._convex:
            return found, True
        # That it stops where there is no curvature does not show.
        left = scores - self._votes.bent(self._curvature, found)
        bound = (_SLACK * accuracy) ** 2 * np.vdot(scores, scores)
        return found, bool(np.vdot(left, left) <= bound and np.vdot(found, scores) > 0)

    def _by_gradients(self, scores, accuracy):
        """Conjugate gradients, one sweep each."""
        design = self._votes.design
        found, residual = np.zeros_like(scores), scores.copy()
        ahead = search = preconditioned(design, residual)
        first = square = float(np.vdot(residual, ahead))
        for _ in range(_MAX_CG):
            if square <= accuracy**2 * first:
                break
            image = self._votes.bent(self._curvature, search)
            bend = float(np.vdot(search, image))
            if not bend > 0:
                return found, False
            found += (square / bend) * search
            residual -= (square / bend) * image
            ahead = preconditioned(design, residual)
            last, square = square, float(np.vdot(residual, ahead))
            search = ahead + (square / last) * search
        return found, True


def preconditioned(design: Design, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(Z'WZ)^-1 scores``, or a copy of them where that would take iterations."""
    graph = getattr(design, "graph", None)
    # Solving by conjugate gradients would cost as much as what it is for.
    iterative = "cg" in (getattr(design, "way", None), getattr(graph, "way", None))
    return scores.copy() if iterative else design.solve(scores)
