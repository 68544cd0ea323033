"""Huber's loss of the rows of a design: values, scores, curvature, duality gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._shift_design import row_limits, row_norms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design


# Steps of a search along a line.
_SEARCHES = 60


@dataclass
class Point:
    """A fit at one threshold.

    Attributes
    ----------
    value : float
        ``sum_i w_i rho_i(|R_i|)``.
    score : ndarray of shape (n_coords, n_outputs)
        ``Z'W psi(R)``, minus the gradient.
    residual : ndarray of shape (n_samples,)
        R for one output, its lengths for several.
    rss, penalty, n_shifted : float
        ``sum_i w_i |psi_i|^2``, ``sum_i w_i threshold v_i |shift_i|`` and the sum of
        the weights of the shifted rows.
    gap : float
        Upper bound of what the value exceeds the minimum by; infinite if not computed.
    stretch : float
        By how much the dual point was longer than allowed, as a share.
    """

    coords: NDArray[np.float64]
    value: float
    score: NDArray[np.float64]
    residual: NDArray[np.float64]
    rss: float
    penalty: float
    n_shifted: float
    gap: float = np.inf
    stretch: float = 0.0


class HuberRows:
    """The objective ``sum_i w_i rho_i(|Y_i - z_i coords|)`` at any threshold.

    Parameters
    ----------
    design : Design
    factor : ndarray of shape (n_samples,)
        Factors of the threshold, positive or infinite.

    Attributes
    ----------
    n_sweeps : int
        So far.
    """

    def __init__(self, design: Design, factor: NDArray[np.float64]):
        self.design, self.factor = design, factor
        self.finite = np.isfinite(factor)
        self.precision = float(getattr(design, "precision", np.finfo(np.float64).eps))
        self.root_weight = float(np.sqrt(design.total_weight))
        self.n_sweeps = 0
        self._radius = np.inf, np.full(len(factor), np.inf)

    def radius(self, threshold: float) -> NDArray[np.float64]:
        """``threshold * factor``, (n_samples,)."""
        if self._radius[0] != threshold:
            self._radius = threshold, row_limits(threshold, self.factor)
        return self._radius[1]

    def evaluate(
        self, coords: NDArray, threshold: float, step: NDArray | None = None
    ) -> Point:
        """Read the rows at `coords`.

        With `step` = ``G^-1 score`` at ``coords - step``, the dual point made there
        bounds the value here.
        """
        radius, weight = self.radius(threshold), self.design.weight
        single = self.design.n_outputs == 1
        residual = np.empty(len(radius))
        parts = {}

        def work(rows, R, D):
            R = R.astype(np.float64, copy=False)
            w = None if weight is None else weight[rows]
            length, inside, U = clipped(R, radius[rows])
            residual[rows] = R[:, 0] if single else length
            # rho = inside (length - inside / 2).
            weighted = inside if w is None else w * inside
            product, square = float(weighted @ length), float(weighted @ inside)
            on = length > radius[rows]
            count = np.count_nonzero(on) if w is None else w @ on
            sums = [product - square / 2, square, product - square, float(count)]
            if D is not None:
                V = clipped(R + D, radius[rows])[2] - D
                sums += _gap_sums(w, R - U, U, V, radius[rows])
            parts[rows.start] = sums
            return U

        score = self.design.sweep(work, coords, step)
        self.n_sweeps += 1
        sums = np.array([parts[start] for start in sorted(parts)])
        value, rss, penalty, n_shifted = (float(total) for total in sums[:, :4].sum(0))
        point = Point(coords, value, score, residual, rss, penalty, n_shifted)
        if step is not None:
            longest = float(sums[:, 7].max())
            point.gap = _scaled_gap(sums[:, 4:7].sum(axis=0), longest)[0]
            point.stretch = longest - 1
        return point

    def curvature(
        self, point: Point, threshold: float, directions: NDArray, damping: float
    ) -> NDArray[np.float64]:
        """``Z'W (M + damping) Z directions``, M the derivative of psi at a point."""
        radius = self.radius(threshold)
        single = self.design.n_outputs == 1

        def work(rows, R, D):
            R, D = (A.astype(np.float64, copy=False) for A in (R, D))
            length = row_norms(R)
            out = np.flatnonzero(length > radius[rows])
            image = (1 + damping) * D
            if single:
                image[out] = damping * D[out]
            else:
                unit = R[out] / length[out, None]
                along = np.einsum("ij,ij->i", unit, D[out])
                share = (radius[rows][out] / length[out])[:, None]
                image[out] = share * (D[out] - along[:, None] * unit) + damping * D[out]
            return image

        self.n_sweeps += 1
        return self.design.sweep(work, point.coords, directions)

    def best_length(self, point: Point, threshold: float, direction: NDArray) -> float:
        """Length of the step along a direction that minimizes, for one output.

        The derivative of the objective is increasing and piecewise linear: Newton steps
        inside of a bracket find its root.
        """
        image = np.empty(len(point.residual))

        def work(rows, R, D):
            image[rows] = D[:, 0]

        self.design.sweep(work, point.coords, direction)
        self.n_sweeps += 1
        radius, weight = self.radius(threshold), self.design.weight
        weighted = image if weight is None else weight * image

        def slope(length):
            moved = point.residual - length * image
            inside = np.abs(moved) <= radius
            psi = np.clip(moved, -radius, radius)
            return -(weighted @ psi), weighted[inside] @ image[inside]

        low, high, length = 0.0, np.inf, 1.0
        for _ in range(_SEARCHES):
            first, second = slope(length)
            low, high = (length, high) if first < 0 else (low, length)
            following = length - first / second if second > 0 else np.inf
            if not low < following < high:
                following = 4 * length if np.isinf(high) else (low + high) / 2
            if abs(following - length) <= 1e-10 * length:
                break
            length = following
        return length

    def end(self, residual: NDArray, limit: float) -> float:
        """Smallest threshold at which rows of at most this weight are shifted."""
        weight = self.design.weight
        used = self.finite if weight is None else self.finite & (weight > 0)
        scaled = np.abs(residual[used]) / self.factor[used]
        if weight is None:
            rank = len(scaled) - 1 - int(limit)
            return float(np.partition(scaled, rank)[rank]) if rank >= 0 else 0.0
        order = np.argsort(-scaled, kind="stable")
        over = np.flatnonzero(np.cumsum(weight[used][order]) > limit)
        return float(scaled[order[over[0]]]) if len(over) else 0.0


def clipped(R, radius):
    """Lengths of rows, lengths of psi of them, and psi."""
    length = row_norms(R)
    inside = np.minimum(length, radius)
    share = inside / np.maximum(length, np.finfo(np.float64).tiny)
    return length, inside, R * share[:, None]


def dual_gap(design, radius, coords, step):
    """Duality gap of a fit, and its dual point row by row.

    Parameters
    ----------
    design : Design
    radius : ndarray of shape (n_samples,)
    coords : ndarray of shape (n_coords, n_outputs)
    step : ndarray of the same shape
        ``G^-1 Z'W psi(R)`` at `coords`.

    Returns
    -------
    gap : float
    residual : ndarray of shape (n_samples,)
        ``|R_i|``.
    dual : ndarray of shape (n_samples,)
        ``|V_i|`` of the feasible dual point.
    distance : ndarray of shape (n_samples,)
        ``|R_i - V_i|``.
    """
    weight = design.weight
    residual, dual, squares = (np.empty(design.n_samples) for _ in range(3))
    product = np.empty(design.n_samples)
    parts = {}

    def work(rows, R, D):
        R, D = (A.astype(np.float64, copy=False) for A in (R, D))
        length, _, U = clipped(R, radius[rows])
        V = U - D
        w = None if weight is None else weight[rows]
        parts[rows.start] = _gap_sums(w, R - U, U, V, radius[rows])
        residual[rows], dual[rows] = length, row_norms(V)
        squares[rows] = row_norms(R - V)
        product[rows] = np.einsum("ij,ij->i", R - V, V)

    design.sweep(work, coords, step)
    sums = np.array([parts[start] for start in sorted(parts)])
    gap, shrink = _scaled_gap(sums[:, :3].sum(axis=0), float(sums[:, 3].max()))
    # |R - (1 - shrink) V|
    distance = squares**2 + 2 * shrink * product + (shrink * dual) ** 2
    return gap, residual, (1 - shrink) * dual, np.sqrt(np.maximum(distance, 0.0))


def _gap_sums(w, shift, U, V, radius):
    """What the duality gap of V consists of, U = psi(R) and shift = R - U.

    ``sum w (<U - V, shift> + |U - V|^2 / 2)`` is the gap if V is feasible: no
    difference of large sums. The other sums are for multiples of V.
    """
    E = U - V
    length = row_norms(V)
    ratio = length / radius  # infinite radius: 0
    if w is not None:
        ratio = ratio[w > 0]
    return [
        _inner(w, E, shift + E / 2),
        _inner(w, V, shift + E),
        _inner(w, V, V),
        float(ratio.max(initial=0.0)),
    ]


def _scaled_gap(sums, longest):
    """Smallest gap of a feasible multiple 1 - shrink of V, and shrink."""
    constant, linear, square = sums
    shrink = 1 - 1 / longest if longest > 0 else -np.inf
    shrink = max(shrink, -linear / square) if square > 0 else 0.0
    gap = constant + shrink * linear + shrink**2 * square / 2
    return max(float(gap), 0.0), float(shrink)


def _inner(w, A, B):
    """``sum_i w_i <A_i, B_i>``."""
    if w is None:
        return float(np.vdot(A, B))
    return float(w @ np.einsum("ij,ij->i", A, B))
