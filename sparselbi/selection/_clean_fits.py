"""Least squares without the rows that a path shifts, and residuals of its points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg

from .._shift_design import SingularFit, row_norms
from ..shift_problem import _take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem

# Leverage of a row that nobody can judge: without it the fit is not determined.
_ALONE = 1 - 1e-10
# A fit is not determined if a pivot keeps no more than this of that of all rows.
_DETERMINED = 1e-6
# Numbers in a block of predictions, or of coordinates.
BLOCK = 1 << 22


def masks(path: ShiftPath) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield index and shifted rows of every knot: one array, which changes."""
    mask = np.zeros(path.n_rows, dtype=bool)
    clock = path._direction * path.row_events["at"]
    ends = path._clock + 1e-12 * np.abs(path._clock)
    stops = np.searchsorted(clock, ends, side="right")
    stops[0] = 0  # the null model
    start = 0
    for k, stop in enumerate(stops):
        events = path.row_events[start:stop]
        mask[events["row"]] = events["enters"]
        start = stop
        yield k, mask


class CleanFits:
    """Least squares without some rows, updated when these change."""

    def __init__(self, problem: ShiftProblem):
        design = self.design = problem.design
        self.factor = problem.row_factor
        self.fitted = design.least_squares()
        gram = design.gram()
        self.gram = (gram + gram.T) / 2
        self.full = np.diagonal(linalg.cholesky(self.gram, lower=True))
        self.score = np.zeros_like(self.fitted)
        self.mask = np.zeros(design.n_samples, dtype=bool)
        self.cholesky: Any = None

    def without(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Coordinates of the fit without the rows in the mask."""
        design = self.design
        changed = np.flatnonzero(mask != self.mask)
        width = max(1, BLOCK // max(design.n_coords, 1))
        for start in range(0, len(changed), width):
            rows = changed[start : start + width]
            Z, Y = design.take(rows)
            weight = 1.0 if design.weight is None else design.weight[rows]
            back = (Z * np.where(mask[rows], -weight, weight)[:, None]).T
            self.gram += back @ Z
            self.score += back @ (Y - Z @ self.fitted)
        self.mask[changed] = mask[changed]
        if len(changed) or self.cholesky is None:
            try:
                self.cholesky = linalg.cho_factor(self.gram, lower=True)
            except linalg.LinAlgError:
                raise SingularFit("the other rows do not determine the fit") from None
        if np.min(np.diagonal(self.cholesky[0]) / self.full, initial=1.0) < _DETERMINED:
            raise SingularFit("the other rows do not determine the fit")
        return self.fitted + linalg.cho_solve(self.cholesky, self.score)

    def deleted(
        self, rows: NDArray[np.int64], coords: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Residuals of kept rows with respect to fits without them, over the factors.

        Of w repeated rows only one is deleted. 0 where that leaves no fit.
        """
        out = np.empty(len(rows))
        width = max(1, BLOCK // max(self.design.n_coords, 1))
        for start in range(0, len(rows), width):
            some = slice(start, start + width)
            Z, Y = self.design.take(rows[some])
            half = linalg.solve_triangular(self.cholesky[0], Z.T, lower=True)
            leverage = np.einsum("ij,ij->j", half, half)
            alone = leverage >= _ALONE
            length = row_norms(Y - Z @ coords) / np.where(alone, 1.0, 1 - leverage)
            out[some] = np.where(alone, 0.0, length)
        return out / self.factor[rows]


def squares(problem, rows, coefs, intercepts):
    """Squared lengths of the residuals of some rows, for several fits: (m, rows)."""
    m = len(coefs)
    c, p = problem.n_outputs, problem.n_features
    coefs = coefs.reshape(m * c, p)
    out = np.empty((m, len(rows)))
    step = max(1, BLOCK // max(p, m * c))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        parts = _take(problem._X, some)
        parts = parts if isinstance(parts, tuple) else (parts,)
        eta = np.concatenate([np.asarray(part @ coefs.T) for part in parts])
        eta = eta.reshape(len(some), m, c) + intercepts.reshape(m, c)
        Y = problem._targets[some]
        if problem.classes is not None:
            Y = np.eye(c)[Y[:, 0]]
        left = Y[:, None, :] - eta
        out[:, start : start + step] = np.einsum("imc,imc->mi", left, left)
    return out
