"""S-estimation of regression: the fit that half of the rows cannot break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from .._shift_design import SingularFit, row_norms
from ._s_candidates import from_subsets, without_chance
from ._s_rows import RowsInMemory, SweptRows, rounding_floor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design
    from ._s_rows import Rows

__all__ = ["FastS", "fast_s"]

# Larger data are searched in a sample of so many rows, and then refined.
_SAMPLE = 2000
# Rows that are added to a sample for each direction that it says nothing about.
_ADDED = 20
# Directions of a sample below this fraction of the largest do not count.
_RANK = 1e-10
# Multiplications spent on refining all candidates, and candidates that survive.
_REFINE_WORK, _FEWEST = 4e8, 50
_ROUNDS = ((25, 3),)
# What one step of all candidates may cost in small data, steps there, and how many of
# the minima are refined.
_SPARE_WORK, _DESCENT, _MANY = 5e6, 20, 15
# Candidates whose levels differ by less than this fraction are the same.
_SAME = 1e-4
# So many failures of Newton's method, and another one is tried.
_PATIENCE = 3
# Minima in the sample that are refined with all rows.
_FULL = 2


@dataclass
class FastS:
    """A robust fit and its scale.

    Attributes
    ----------
    coords : ndarray of shape (n_coords, n_outputs)
    scale : float
        S-scale of the residuals in units of y, with total weight minus rank in its
        denominator; 0 if more than half of the rows are on one hyperplane.
    n_iter : int
        Iterations of the last refinement.
    exact_fit : ndarray of bool of shape (n_samples,) or None
        If the scale is 0, all rows that the fit explains up to rounding.
    status : {"converged", "max_iter", "exact_fit"}
    """

    coords: NDArray[np.float64]
    scale: float
    n_iter: int
    exact_fit: NDArray[np.bool_] | None
    status: str


def fast_s(
    design: Design,
    *,
    n_subsamples: int = 500,
    n_refine: int = 1,
    n_best: int = 5,
    max_iter: int = 200,
    tol: float = 1e-7,
    random_state: Any = 0,
) -> FastS:
    """Minimize the bisquare M-scale of the residuals over all linear fits.

    The scale solves ``sum_i w_i rho(|r_i| / (scale b)) = (sum_i w_i - rank) / 2``, see
    `sparselbi.scales.s_scale`. Breakdown point 1/2 for rows in general position.

    Parameters
    ----------
    design : Design
    n_subsamples : int, default=500
        Fits to as many random rows as there are coordinates (all such subsets, if there
        are no more than 6000). Fewer are drawn with more than 150 coordinates.
    n_refine : int, default=1
        Reweighted fits from every candidate, before they are compared.
    n_best : int, default=5
        Candidates that are refined until they converge.
    max_iter : int, default=200
    tol : float, default=1e-7
        The refinement ends when the (root mean square of the) fit changes by less than
        this fraction of the scale.
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    FastS

    Raises
    ------
    SingularFit
        If there are not more rows (in weights) than coordinates.

    Notes
    -----
    The minimum is one over local minima that are found from candidates: random subsets,
    of which one without outliers is only likely if ``share of clean rows ** n_coords``
    is not far below ``1 / n_subsamples``, and fits that need no chance: least squares,
    least absolute deviations, and least squares of halves of the rows that leave out
    what is extreme in directions of unusual third or fourth moments. These find one
    cluster of outliers also with many coordinates.

    Rows are drawn in the order of their residuals from least squares, with
    probabilities proportional to weights. So the result does not depend on the order of
    the rows (except for ties), follows changes of the scale of y, of y by linear
    functions, and of X by invertible maps, and a weight is a number of repetitions.

    Dense designs cost O(n_subsamples n n_coords^2) for n up to 2000. More rows are
    searched in a random sample of 2000, and the winners refined with all rows: some
    ten weighted fits, for which streamed designs take conjugate gradients.

    References
    ----------
    M. Salibian-Barrera, V. Yohai (2006). A fast algorithm for S-regression estimates.
    JCGS 15, 414-427. D. Peña, F. J. Prieto (2001). Multivariate outlier detection and
    robust covariance matrix estimation. Technometrics 43, 286-310. M. Koller,
    W. A. Stahel (2017). Nonsingular subsampling for regression S estimators with
    categorical predictors. Computational Statistics 32, 631-646.
    """
    n_coords, total = design.n_coords, design.total_weight
    if not total > n_coords:
        raise SingularFit(
            f"rows of total weight {total:g} do not suffice for a robust fit of "
            f"{n_coords} coordinates; it needs more rows than coordinates."
        )
    random = check_random_state(random_state)
    sample = _sample(design, random)
    rows: Rows = sample
    if n_coords == 0:
        found = [_refine(sample, np.zeros((0, design.n_outputs)), 1, tol)]
    else:
        fits = np.concatenate(
            [without_chance(sample), from_subsets(sample, n_subsamples, random)]
        )
        found = _search(sample, fits, n_refine, n_best, max_iter, tol)
    if len(sample.weight) < _n_used(design):
        rows = _all_rows(design)
        found = [_refine(rows, fit.coords, max_iter, tol) for fit in found[:_FULL]]
    best = min(found, key=lambda fit: fit.level)
    if best.level == 0:
        return _exact(design, rows, best)
    status = "converged" if best.converged else "max_iter"
    return FastS(best.coords, rows.scale(best.level), best.n_iter, None, status)


# -- rows ------------------------------------------------------------------------------


def _n_used(design):
    weight = design.weight
    return design.n_samples if weight is None else np.count_nonzero(weight)


def _all_rows(design):
    """The rows that count, in their order."""
    if not design.dense:
        return SweptRows(design)
    df = design.total_weight - design.n_coords
    if design.weight is None:
        return RowsInMemory(design.Z, design.Y, np.ones(design.n_samples), df)
    used = np.flatnonzero(design.weight)
    return RowsInMemory(design.Z[used], design.Y[used], design.weight[used], df)


def _sample(design, random):
    """All rows if they are few, else some, in the order of least-squares residuals."""
    order = np.argsort(design.norms(design.least_squares()), kind="stable")
    weight = np.ones(design.n_samples) if design.weight is None else design.weight
    order = order[weight[order] > 0]
    if len(order) <= _SAMPLE:
        df = design.total_weight - design.n_coords
        Z, Y = design.take(order)
        return RowsInMemory(Z, Y, weight[order], df)
    # The smallest of exponential variables: heavy rows first, no row twice.
    keys = random.standard_exponential(len(order)) / weight[order]
    drawn = order[np.sort(np.argpartition(keys, _SAMPLE)[:_SAMPLE])]
    Z, Y = design.take(drawn)
    while (blind := _blind(Z)) is not None:
        mixed = blind @ random.standard_normal((blind.shape[1], design.n_outputs))
        seen = _rows_that_see(design, mixed) & (weight > 0)
        seen[drawn] = False
        seen = order[seen[order]]
        added = random.permutation(seen)[: _ADDED * blind.shape[1]]
        drawn = np.concatenate([drawn, added])
        more = design.take(added)
        Z, Y = np.vstack([Z, more[0]]), np.vstack([Y, more[1]])
    return RowsInMemory(Z, Y, np.ones(len(Z)), len(Z) - design.n_coords)


def _blind(Z):
    """Directions (n_coords, k) that rows say nothing about, or None."""
    _, values, directions = np.linalg.svd(np.linalg.qr(Z, mode="r"))
    rank = np.count_nonzero(values > _RANK * values.max(initial=0.0))
    return directions[rank:].T if rank < Z.shape[1] else None


def _rows_that_see(design, direction):
    out = np.empty(design.n_samples)

    def work(rows, R, D):
        out[rows] = row_norms(D)

    design.sweep(work, np.zeros_like(direction), direction)
    return out > _RANK * out.max()


# -- search and refinement -------------------------------------------------------------


@dataclass
class _Fit:
    coords: NDArray[np.float64]
    level: float
    n_iter: int
    converged: bool


def _search(rows, fits, n_refine, n_best, max_iter, tol):
    """The best local minima that are reached from candidates, best first."""
    work = rows.Z.size * rows.Z.shape[1] * n_refine
    if len(fits) * work <= _SPARE_WORK:
        # Small data have more minima: all candidates go down to theirs.
        levels = rows.levels_of(fits)
        rows.improve(fits, levels, _DESCENT)
        levels, n_best = rows.levels_of(fits), max(n_best, _MANY)
    else:
        levels = np.empty(len(fits))
        for some in rows.blocks(len(fits)):
            squares = np.sum(rows.residuals_of(fits[some]) ** 2, axis=1)
            levels[some] = rows.median_levels(squares)
        survivors = max(_FEWEST, int(_REFINE_WORK // max(work, 1)))
        for count, steps in ((survivors, n_refine), *_ROUNDS):
            order = np.argsort(levels, kind="stable")[: max(count, n_best)]
            fits, levels = fits[order], levels[order]
            rows.improve(fits, levels, steps)
    order = np.argsort(levels, kind="stable")
    apart = np.diff(levels[order], prepend=-np.inf) > _SAME * levels[order]
    order = order[apart | (levels[order] == 0)][: max(n_best, 1)]
    found = [_refine(rows, _sharpened(rows, fits[k].T), max_iter, tol) for k in order]
    return sorted(found, key=lambda fit: fit.level)


def _refine(rows, coords, max_iter, tol):
    """Descend to a local minimum of the M-scale."""
    squares = rows.squares(coords)
    level = rows.level(squares)
    c, failures = rows.n_outputs, 0
    for n_iter in range(1, max_iter + 1):
        if level == 0:
            return _Fit(coords, level, n_iter, True)
        left = np.maximum(1 - squares / level, 0.0)
        kept = left * left
        least = (tol * rows.scale(level)) ** 2 * (rows.weight @ kept)
        # Newton's step (for several outputs with the mean of the curvatures); if that
        # is no descent, least squares with weights, which always is.
        radial = left * (1 - 5 * squares / level)
        for curvature in (((c - 1) * kept + radial) / c, kept):
            found = rows.step(coords, kept, curvature)
            if found is None:
                failures += 1
                continue
            if found[1] <= least:
                return _Fit(coords, level, n_iter, True)
            new = coords + found[0]
            if curvature is kept and failures % _PATIENCE == 0:
                new = rows.descend(new, kept)
            new_squares = rows.squares(new)
            new_level = rows.level(new_squares, level)
            if new_level < level:
                break
            failures += 1
        else:  # as far as rounding permits
            return _Fit(coords, level, n_iter, True)
        coords, squares, level = new, new_squares, new_level
    return _Fit(coords, level, max_iter, False)


def _sharpened(rows, coords):
    """Least squares of rows that a fit to few of them explains but for rounding."""
    squares = rows.squares(coords)
    near = rows.near(squares)
    if rows.weight[~near].sum() > rows.wanted:
        return coords
    kept = near.astype(np.float64)
    return coords + rows.step(coords, kept, kept)[0]


def _exact(design, rows, fit):
    """The hyperplane of more than half of the rows, and all rows on it."""
    sizes = design.norms(np.zeros_like(fit.coords))
    floor = rounding_floor(design, rows.spread, sizes)
    on = design.norms(fit.coords) <= floor
    return FastS(fit.coords, 0.0, fit.n_iter, on, "exact_fit")
