"""Hard thresholding of the shifts: least squares of the rows within a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import linalg

from .._shift_checks import check_thresholds
from .._shift_design import SingularFit, row_limits, row_norms
from ..scales import radial_cut
from ._shift_trace import ShiftTrace

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .._shift_design import Design

__all__ = ["CUTS", "RobustStart", "default_thresholds", "hard_fits", "trace_hard"]

# Cuts that a default grid contains, in standard deviations of one response.
CUTS = (3.5, 3.0, 2.5, 2.0)
# With 40 % of outliers the S-scale is 2.4 standard deviations of the others.
_LAST_CUT, _N_KNOTS = 0.7, 60
# The first knot is so far above the largest residual.
_ABOVE = 1 + 1e-9
# The rows that coordinates are orthonormal in.
_CORE_CUT = 3.0
# Sets of kept rows end much earlier.
_MOST_FITS = 200
# Kept rows determine the fit if they keep this share of what the core says about every
# direction; and their Gram is not used if rows outweigh the core by so much.
_DETERMINED, _LOPSIDED = 1e-10, 1e8
# Rows that are taken from a stream at once.
_TAKEN = 1 << 14
# Columns of the core depend on others up to rounding.
_ROUNDED = 1e-12
# Large graphs: what remains of a correction by conjugate gradients.
_REMAINS = 1e-6


class RobustStart(Protocol):
    """Where hard thresholding starts: `FastS`, or `HuberStart` of comparisons."""

    coords: NDArray[np.float64]
    scale: float
    exact_fit: NDArray[np.bool_] | None


def default_thresholds(
    design: Design,
    row_factor: NDArray[np.float64],
    start: RobustStart,
    n_knots: int = _N_KNOTS,
) -> NDArray[np.float64]:
    """Thresholds from where no row of the fit is shifted down to 0.7 scales.

    The scale is that of the start, and rows of weight 0 do not count. Geometric between
    the largest residual and the last cut, with 3.5, 3.0, 2.5 and 2.0 times the scale
    exactly among them; for c responses, the lengths that normal vectors
    exceed as rarely (`radial_cut`). After an exact fit (scale 0): down to below the
    smallest residual off the hyperplane, and 0.

    Parameters
    ----------
    design : Design
    row_factor : ndarray of shape (n_samples,)
    start : RobustStart
    n_knots : int, default=60
        About so many.

    Returns
    -------
    ndarray
        Decreasing, in units of y.
    """
    used = np.ones(design.n_samples, dtype=bool)
    if design.weight is not None:
        used = design.weight > 0
    first = _null_threshold(design, row_factor, start, used) * _ABOVE
    if start.exact_fit is not None:
        off = design.norms(start.coords) / row_factor
        off = off[(off > 0) & used & ~start.exact_fit]
        if not off.size:
            return np.array([first])
        grid = np.geomspace(first, off.min() / 2, max(n_knots - 1, 2))
        return np.append(grid, 0.0)
    last = min(_LAST_CUT * start.scale, first / 2)
    grid = np.geomspace(first, last, max(n_knots - len(CUTS), 2))
    lengths = [radial_cut(cut, design.n_outputs) for cut in CUTS]
    cuts = np.array(lengths) * start.scale
    grid = np.concatenate([grid, cuts[cuts < first]])
    return np.unique(grid)[::-1]


def trace_hard(
    design: Design,
    row_factor: NDArray[np.float64],
    start: RobustStart,
    *,
    thresholds: ArrayLike,
    max_shifted: float | None = None,
) -> ShiftTrace:
    """Delete rows beyond each threshold and fit the others, until the rows stay.

    At every threshold anew from the robust fit: keep the rows with ``|r_i| <= threshold
    v_i``, fit them by least squares, and repeat. Both steps decrease

        ``sum_i w_i [1(kept) |r_i|^2 / 2 + 1(deleted) (threshold v_i)^2 / 2]``

    so this ends at a local minimum: one of possibly many fixed points, that of the
    start. Fits at different thresholds do not know of each other; warm starts from
    larger thresholds would stay at fits that outliers have drawn.

    Parameters
    ----------
    design : Design
    row_factor : ndarray of shape (n_samples,)
        Factors v of the threshold; infinity: never shifted.
    start : RobustStart
    thresholds : array-like of shape (n_thresholds,)
        Decreasing, not negative, in units of y. A first knot at which no row is shifted
        is put before them if the first one is not.
    max_shifted : float or None
        End before more rows than that (in weights) are shifted.

    Returns
    -------
    ShiftTrace
        Constant between knots; an event of a row is at the first knot after it. Status
        "max_outliers", "singular" (the kept rows do not determine the fit at the next
        threshold; of comparisons: they leave items that are not compared with the
        others any more), "exact_fit" (the scale is 0), or "threshold_min".
        ``info["n_fits"]`` counts fits at each knot.

    Raises
    ------
    ValueError
        If the thresholds do not decrease or are negative.
    """
    grid = check_thresholds(thresholds, zero=True)
    first = _null_threshold(design, row_factor, start)
    if grid[0] < first:
        grid = np.concatenate([[first * _ABOVE], grid])
    fits = hard_fits(design, row_factor, start)
    weight = fits.weight
    shifted = np.zeros(design.n_samples, dtype=bool)
    knots, coords, rss, sizes, counts = [], [], [], [], []
    events: list[tuple[Any, ...]] = []  # of each knot
    status, message = "threshold_min", "The last threshold is reached."
    if start.exact_fit is not None:
        status = "exact_fit"
        message = (
            "More than half of the rows are on one hyperplane, so their scale is 0."
        )
    for threshold in grid:
        try:
            kept, n_fits = fits.fixed_point(threshold)
        except SingularFit as error:
            status, message = "singular", f"At threshold {threshold:.6g} {error}."
            break
        size = float(weight[~kept].sum())
        if max_shifted is not None and size > max_shifted * (1 + 1e-12):
            status = "max_outliers"
            message = (
                f"At threshold {threshold:.6g}, rows of weight {size:g} are shifted, "
                f"more than {max_shifted:g}."
            )
            break
        changed = np.flatnonzero(shifted == kept)
        at = np.full(len(changed), threshold)
        events.append((at, changed, fits.signs(changed), ~kept[changed]))
        shifted = ~kept
        knots.append(threshold)
        coords.append(fits.coords.copy())
        rss.append(float(weight[kept] @ fits.norms[kept] ** 2))
        sizes.append(size)
        counts.append(n_fits)
    if not knots:
        raise SingularFit(
            f"no threshold has a fit: {message} Check that most rows are not the same."
        )
    at, row, sign, enters = map(np.concatenate, zip(*events, strict=True))
    return ShiftTrace(
        knots=np.array(knots),
        coords=np.array(coords),
        event_at=at,
        event_row=row,
        event_sign=sign,
        event_enters=enters,
        rss=np.array(rss),
        n_shifted=np.array(sizes),
        status=status,
        message=message,
        n_iter=sum(counts),
        interpolation="constant",
        info={"n_fits": np.array(counts)},
    )


def hard_fits(
    design: Design, row_factor: NDArray[np.float64], start: RobustStart
) -> _Fits:
    """Return what fits at single thresholds, each from the same start.

    Its ``fixed_point(threshold)`` returns the rows that are kept, and the number of
    fits until they stayed; then ``coords`` and ``norms`` are those of the last one.
    """
    kind = _Fits
    if design.dense:
        kind = _FitsInMemory
    elif getattr(design, "way", None) == "gram":
        kind = _FitsOnStream
    elif getattr(getattr(design, "graph", None), "way", None) == "cg":
        kind = _FitsOnGraph
    return kind(design, row_factor, start)


def _null_threshold(design, row_factor, start, rows=slice(None)):
    """Where all rows (or some) are kept, at the robust fit and at least squares."""
    largest = 0.0
    for coords in (start.coords, design.least_squares()):
        scaled = (design.norms(coords) / row_factor)[rows]
        largest = max(largest, float(scaled.max()))
    return largest


class _Fits:
    """Least-squares fits of rows that are kept, with their residuals.

    Attributes
    ----------
    coords : ndarray of shape (n_coords, n_outputs)
    norms : ndarray of shape (n_samples,)
    """

    def __init__(self, design, row_factor, start):
        self._design, self._factor, self._start = design, row_factor, start
        weight = design.weight
        self.weight = np.ones(design.n_samples) if weight is None else weight
        self._used = self.weight > 0
        self.coords, self._start_norms = start.coords, design.norms(start.coords)
        self.norms = self._start_norms
        # Residuals of an exact fit are rounding, and so are others of this size.
        self._floor = 0.0
        if start.exact_fit is not None:
            self._floor = 4 * self._start_norms[start.exact_fit & self._used].max()

    def fixed_point(self, threshold):
        """Fit at one threshold from the start; the rows kept, and how many fits.

        Rows of weight 0 are kept or not by their residuals in the last fit.
        """
        bound = np.maximum(row_limits(threshold, self._factor), self._floor)
        self._reset()
        kept, last = self._start_norms <= bound, np.inf
        n_fits = 0
        while n_fits < _MOST_FITS:
            self._refit(kept)
            n_fits += 1
            new = self.norms <= bound
            if (new == kept)[self._used].all():
                break
            # Ties up to rounding could go round in circles.
            cost = self.weight @ np.where(new, self.norms, bound) ** 2
            if not cost < last:
                break
            kept, last = new, cost
        self._finish(kept)
        return np.where(self._used, kept, self.norms <= bound), n_fits

    def signs(self, rows):
        """Signs of the residuals of one response, else 0."""
        if self._design.n_outputs > 1:
            return np.zeros(len(rows), dtype=np.int8)
        take: Any = getattr(self._design, "take_sparse", self._design.take)
        Z, Y = take(rows)  # rows of graphs are as wide as there are items
        return np.sign(Y - Z @ self.coords)[:, 0].astype(np.int8)

    def _reset(self):
        pass

    def _refit(self, kept):
        self.coords = self._design.least_squares(kept)
        self.norms = self._design.norms(self.coords)

    def _finish(self, kept):
        pass


class _FitsOnGraph(_Fits):
    """Of votes on a large graph: from one set to the next by conjugate gradients.

    A correction is small where few votes come or go, and what a rough solution leaves
    of it is part of the next one. Whether the kept votes determine the scores is
    checked for the set that stays.
    """

    def _reset(self):
        self.coords = self._start.coords

    def _refit(self, kept):
        design: Any = self._design
        solve = design.reweighted(kept.astype(np.float64))
        if solve is None:  # further columns
            return super()._refit(kept)

        def work(rows, R, D):
            return R * kept[rows, None]

        score = design.sweep(work, self.coords)
        self.coords = self.coords + solve(score, _REMAINS)
        self.norms = design.norms(self.coords)
        return None

    def _finish(self, kept):
        super()._refit(kept)


class _FitsOnStream(_Fits):
    """Of a streamed design with orthonormal coordinates: one sweep for each fit.

    From one set of kept rows to the next, the Gram and the scores change by those of
    the rows that come and go.
    """

    def __init__(self, design, row_factor, start):
        super().__init__(design, row_factor, start)
        every = np.ones(design.n_samples, dtype=bool)
        self._held, self._gram = every, np.eye(design.n_coords)
        self._score = self._sweep(start.coords, every)[1]
        self._first = every, self._score

    def _reset(self):
        self.coords, self._fresh = self._start.coords, True

    def _refit(self, kept):
        gram, score = self._change(self._held, kept)
        if self._fresh:
            score = self._first[1] + self._change(self._first[0], kept)[1]
            self._first = kept, score
        else:
            score += self._score
        self._held, self._gram, self._fresh = kept, self._gram + gram, False
        self._factor_of_gram = _cholesky(self._gram, kept), False
        self.coords = self.coords + linalg.cho_solve(self._factor_of_gram, score)
        self.norms, self._score = self._sweep(self.coords, kept)

    def _finish(self, kept):
        step = linalg.cho_solve(self._factor_of_gram, self._score)
        self.coords = self.coords + step  # what rounding has left

    def _sweep(self, coords, kept):
        """Lengths of the residuals, and scores of the kept rows."""
        norms = np.empty(len(kept))

        def work(rows, R, D):
            norms[rows] = row_norms(R)
            R *= kept[rows, None]
            return R

        return norms, self._design.sweep(work, coords)

    def _change(self, old, new):
        """What Gram and scores, at `coords`, gain from the rows that come and go."""
        design = self._design
        gram = np.zeros((design.n_coords, design.n_coords))
        score = np.zeros_like(self.coords)
        changed = np.flatnonzero((old != new) & (self.weight > 0))
        for k in range(0, len(changed), _TAKEN):
            rows = changed[k : k + _TAKEN]
            Z, Y = design.take(rows)
            weighted = Z.T * np.where(new[rows], self.weight[rows], -self.weight[rows])
            gram += weighted @ Z
            score += weighted @ (Y - Z @ self.coords)
        return gram, score


class _FitsInMemory(_Fits):
    """In coordinates that are orthonormal for rows that nobody doubts.

    Then the Gram of other rows is the identity plus and minus that of few rows, and
    outliers of huge leverage, which hide the other rows in coordinates of all rows,
    cost no digits.
    """

    def __init__(self, design, row_factor, start):
        super().__init__(design, row_factor, start)
        core = self._start_norms / row_factor <= _CORE_CUT * start.scale
        if start.exact_fit is not None:
            core = start.exact_fit
        core &= self.weight > 0
        Z = design.Z
        root = np.sqrt(self.weight[core])[:, None]
        triangle: Any = np.linalg.qr(root * Z[core], mode="r")
        if _is_singular(triangle, len(Z.T)):
            core, triangle = self.weight > 0, np.eye(design.n_coords)
        self._core, self._triangle = core, triangle
        self._Z = linalg.solve_triangular(triangle, Z.T, trans="T").T
        self._Z = np.ascontiguousarray(self._Z)
        self._start_residuals = design.Y - Z @ start.coords

    def _reset(self):
        self._moved = np.zeros_like(self._start.coords)
        self._residuals = self._start_residuals

    def _refit(self, kept):
        self._solve = self._solver(kept)
        self._move(kept)

    def _finish(self, kept):
        self._move(kept)  # what rounding has left
        self.coords = self._start.coords + linalg.solve_triangular(
            self._triangle, self._moved
        )

    def _move(self, kept):
        score = (self.weight * kept)[:, None] * self._residuals
        self._moved = self._moved + self._solve(score)
        self._residuals = self._start_residuals - self._Z @ self._moved
        self.norms = row_norms(self._residuals)

    def _solver(self, kept):
        """How to fit residuals of some rows."""
        gram = np.eye(self._Z.shape[1])
        for rows, sign in (
            (kept & ~self._core, 1.0),
            (self._core & ~kept, -1.0),
        ):
            rows = np.flatnonzero(rows)
            Z = self._Z[rows]
            gram += sign * (Z.T * self.weight[rows]) @ Z
        if gram.diagonal().max(initial=1.0) < _LOPSIDED:
            factor = _cholesky(gram, kept)
            return lambda score: linalg.cho_solve((factor, False), self._Z.T @ score)
        root = np.sqrt(self.weight * kept)[:, None]
        basis, right = np.linalg.qr(root * self._Z)
        if _is_singular(right, len(right.T)):
            raise _singular(kept)
        back = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        return lambda score: linalg.solve_triangular(right, basis.T @ (back * score))


def _cholesky(gram, kept):
    """Factor of a Gram that is the identity for rows that determine the fit."""
    try:
        factor = linalg.cholesky(gram)
    except linalg.LinAlgError:
        raise _singular(kept) from None
    if factor.diagonal().min(initial=1.0) ** 2 < _DETERMINED:
        raise _singular(kept)
    return factor


def _is_singular(triangle, width):
    pivots = np.abs(triangle.diagonal())
    lengths = np.linalg.norm(triangle, axis=0)
    return len(pivots) < width or (pivots <= _ROUNDED * lengths).any()


def _singular(kept):
    return SingularFit(
        f"the {np.count_nonzero(kept)} rows that are kept do not determine the fit"
    )
