"""Anderson acceleration of a fixed-point iteration in the metric of its problem."""

from __future__ import annotations

from collections import deque

import numpy as np

# Combinations of almost parallel steps are kept short.
_PARALLEL = 1e-12


class Anderson:
    """Combine the last fixed-point steps into one.

    The iteration is ``x <- x + step(x)`` with ``step = G^-1 score``. The next point is
    the combination of the last points whose combined step is shortest in the metric of
    G, plus that step: for a linear map, GMRES preconditioned by G.

    Parameters
    ----------
    depth : int, default=5
        Differences of points that are remembered.

    References
    ----------
    D. G. Anderson (1965). Iterative procedures for nonlinear integral equations.
    J. ACM 12, 547-560. H. F. Walker, P. Ni (2011). Anderson acceleration for
    fixed-point iterations. SIAM J. Numer. Anal. 49, 1715-1735.
    """

    def __init__(self, depth: int = 5):
        self._history: deque = deque(maxlen=depth)
        self._last: tuple | None = None

    def restart(self) -> None:
        """Forget all points."""
        self._history.clear()
        self._last = None

    def propose(self, point, step, score):
        """Return the next point, given the step and score at the current one."""
        if self._last is not None:
            now = (point, step, score)
            self._history.append(
                tuple(a - b for a, b in zip(now, self._last, strict=True))
            )
        self._last = point, step, score
        if not self._history:
            return point + step
        moves, steps, scores = (
            np.stack([entry[k].ravel() for entry in self._history]) for k in range(3)
        )
        gram = steps @ scores.T
        gram = (gram + gram.T) / 2
        scale = np.sqrt(np.maximum(gram.diagonal(), 0.0))
        scale[scale == 0] = 1.0
        gram = gram / scale / scale[:, None]
        gram.flat[:: len(gram) + 1] += _PARALLEL
        share = np.linalg.solve(gram, (steps @ score.ravel()) / scale)
        change = (share / scale) @ (moves + steps)
        return point + step - change.reshape(point.shape)
