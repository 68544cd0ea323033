"""Standard errors and intervals of robust fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, optimize

from .._shift_design import SingularFit, row_limits, row_norms
from ..scales import truncated_variance
from ._coefficient_inference import CoefficientInference, check_level, inference

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .._shift_design import Design
    from ..shift_problem import ShiftProblem

# Numbers in a block of rows.
_BLOCK = 1 << 18
# A sandwich with a bread of its own needs a square matrix of this many rows.
_MAX_BREAD = 4096


# -- after rejection -------------------------------------------------------------------


def rejection_inference(
    problem: ShiftProblem,
    kept: NDArray[np.bool_],
    cut: float | NDArray[np.float64],
    level: float = 0.95,
) -> CoefficientInference:
    """Intervals of least squares on the rows that a cut at ``cut * sigma`` has kept.

    Parameters
    ----------
    problem : ShiftProblem
    kept : ndarray of bool of shape (n_samples,)
    cut : float or ndarray of shape (n_samples,)
        Where (lengths of) residuals were cut, in standard deviations of the noise.
        Infinity: nothing was cut, or without looking at residuals; then these are the
        intervals of ordinary least squares on the kept rows.
    level : float, default=0.95

    Returns
    -------
    CoefficientInference
        ``info``: the cut, the factors of the variance and of the standard errors, the
        corrected ``scale`` and the number of kept rows.

    Raises
    ------
    ValueError
        If the kept rows leave no residual or do not determine the fit, or `cut` or
        `level` is out of range.

    Notes
    -----
    The fit is that of the fixed points of rejection: psi(r) = r where |r| <= k sigma,
    and 0 elsewhere. With normal noise of covariance sigma^2 I in c responses, let A =
    F_c(k^2) be the share of rows it keeps and B = F_{c+2}(k^2), with the distribution
    functions of chi-squared; B = A - J, J = 2 k phi(k), for one response. Then

    - kept residuals have mean square sigma^2 B / A in each response: divide by B / A;
    - E psi psi' = sigma^2 B I and, since the edge of the cut moves with the fit, the
      mean derivative of psi is B I, not A I. The variance of the fit is sigma^2 / (n
      B), where that of the kept rows' least squares is sigma^2 / (n A): multiply
      standard errors by sqrt(A / B).

    Both corrections are asymptotic, for errors that are normal where they are kept.
    They do not account for shifted rows that were kept.

    References
    ----------
    .. [1] P. J. Huber, E. M. Ronchetti (2009). Robust Statistics, 2nd edition. Wiley.
       Sections 3.2 and 7.6, for the variance of an M-estimate.
    """
    check_level(level)
    cut = np.asarray(cut, dtype=np.float64)
    if not (cut > 0).all():
        bad = cut[~(cut > 0)].flat[0]
        raise ValueError(
            f"cut={bad} must be positive: the threshold over the standard deviation of "
            "the noise (infinity if nothing was cut)."
        )
    design = problem.design
    r, c = design.n_coords, design.n_outputs
    kept = np.asarray(kept, dtype=bool)
    weight = _weights(design)
    used = kept & (weight > 0)
    total = float(weight[used].sum())
    df = total - r
    if df <= 0:
        raise ValueError(
            f"{np.count_nonzero(used)} rows (total weight {total:g}) were kept, which "
            f"leave no residual for a fit with {r} coefficients and no intervals. "
            "Choose a larger cut."
        )
    triangle = _triangle(design, np.flatnonzero(used))
    upper, cross, rest = triangle[:r, :r], triangle[:r, r:], triangle[r:, r:]
    sizes = np.abs(np.diagonal(upper))
    if sizes.min(initial=1.0) <= 1e-13 * sizes.max(initial=1.0):
        raise SingularFit(
            f"the {np.count_nonzero(used)} rows that are kept do not determine the "
            "fit. Choose a larger cut, or drop features."
        )
    inverse = linalg.solve_triangular(upper, np.eye(r))
    of_kept = np.broadcast_to(cut, kept.shape)[used]
    if (of_kept == of_kept[0]).all():
        cut = of_kept[0]
    share = float(weight[used] @ truncated_variance(of_kept, c) / total)
    left = rest.T @ rest
    left[np.sqrt(np.diagonal(left)) <= design.rounding] = 0.0  # a perfect fit
    left[:, np.diagonal(left) == 0] = 0.0
    scales = np.sqrt(np.diagonal(left) / df / share)
    return inference(
        problem,
        "after rejection",
        inverse @ cross,
        inverse @ inverse.T / share,
        left / df / share,
        level=level,
        df=df,
        info={
            "cut": float(cut) if np.ndim(cut) == 0 else cut,
            "variance_factor": 1 / share,
            "standard_error_factor": 1 / np.sqrt(share),
            "scale": float(scales[0]) if problem.one_response else scales,
            "n_kept": total,
        },
    )


def cut_of_threshold(mean_square: float, threshold: float, n_outputs: int = 1) -> float:
    """Threshold over the standard deviation of normal noise that was cut there.

    The solution k of ``truncated_variance(k) / k^2 = mean_square / threshold^2``, where
    the mean square per response is that of the rows within the threshold. It tells what
    has been cut off whatever the threshold was derived from: a scale that outliers have
    enlarged makes it a larger cut than intended.

    Returns
    -------
    float
        At least 1: so close to the center squares hardly depend on the scale. Infinity
        for a perfect fit.
    """
    share = mean_square / threshold**2 if threshold > 0 else 0.0
    if share == 0:
        return np.inf

    def excess(k):
        return float(truncated_variance(k, n_outputs)) / k**2 - share

    high = 1 / np.sqrt(share)  # nothing was cut
    if high <= 1 or excess(1.0) <= 0:
        return 1.0
    if excess(high) >= 0:  # but for rounding
        return float(high)
    return float(optimize.brentq(excess, 1.0, high, xtol=1e-12))


# -- Huber fits ------------------------------------------------------------------------


def huber_inference(
    problem: ShiftProblem,
    coords: NDArray[np.float64],
    threshold: float,
    *,
    kind: str = "huber",
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> CoefficientInference:
    """Intervals of a Huber fit at one threshold.

    Parameters
    ----------
    problem : ShiftProblem
    coords : ndarray of shape (n_coords, n_outputs)
        The fit, in coordinates of the design.
    threshold : float
    kind : {"huber", "robust", "clustered"}
        Noise that is alike in all rows; noise that may depend on x; noise that depends
        within clusters.
    clusters : array-like of shape (n_samples,), default=None
        Labels of the clusters.
    level : float, default=0.95

    Returns
    -------
    CoefficientInference
        ``info``: the correction, and for "clustered" the number of clusters.

    Raises
    ------
    ValueError
        If `kind` is unknown, `clusters` is missing, superfluous, has a wrong shape or
        fewer than two labels, too many coefficients would enter one matrix, or the
        rows within the threshold do not determine the fit.

    Notes
    -----
    r_i are the residuals, psi_i = r_i min(1, threshold / |r_i|), M_i the derivative of
    psi_i, n the sum of the weights, p the rank. For one response M_i is 1 within the
    threshold and 0 beyond; for several it is the identity within and ``threshold /
    |r_i| (I - u u')``, u = r_i / |r_i|, beyond.

    - "huber": ``K S K' (x) (X'X)^-1``, S = B^-1 [sum psi psi' / (n - p)] B^-1, B = mean
      M, with Huber's finite-sample factor K = I + (p / n) B^-1 (mean M^2 - B^2) B^-1.
      For one response K = 1 + (p / n) var(psi') / mean(psi')^2 ([1], equation 7.81;
      "H1" in statsmodels). Its form for several responses is the analogue.
    - "robust": ``D^-1 (sum s s') D^-1 n / (n - p)``, D = sum x x' (x) M, s = x (x) psi.
    - "clustered": with the sums of s over clusters in place of s, and the factor
      G / (G - 1) (n - 1) / (n - p) for G clusters; intervals use t with G - 1 degrees
      of freedom [2]. Few clusters (less than about 30) make them too short.

    The threshold is taken as given: that it was chosen with the data is not accounted
    for, which matters little for scales that are consistent.

    References
    ----------
    .. [1] P. J. Huber, E. M. Ronchetti (2009). Robust Statistics, 2nd edition. Wiley.
       Section 7.6.
    .. [2] A. C. Cameron, D. L. Miller (2015). A practitioner's guide to cluster-robust
       inference. Journal of Human Resources 50.
    """
    check_level(level)
    kinds = ("huber", "robust", "clustered")
    if kind not in kinds:
        raise ValueError(f"kind={kind!r} is unknown; use one of {kinds}.")
    if (clusters is None) == (kind == "clustered"):
        raise ValueError(
            f"kind={kind!r} {'needs' if clusters is None else 'ignores'} clusters: "
            "give one label per row with kind='clustered', and none otherwise."
        )
    df = problem.df
    info: dict[str, Any] = {"threshold": float(threshold)}
    if kind == "huber":
        parts = _alike(problem, coords, threshold, info)
    else:
        labels = None
        if clusters is not None:
            labels = _as_clusters(clusters, problem)
            info["n_clusters"] = int(labels.max()) + 1
        parts = _sandwich(problem, coords, threshold, labels, info)
        df = df if labels is None else info["n_clusters"] - 1.0
    return inference(problem, kind, coords, *parts, level=level, df=df, info=info)


def _alike(problem, coords, threshold, info):
    """Covariances of coordinates and of responses, if noise is alike in all rows."""
    design = problem.design
    r, c = design.n_coords, design.n_outputs
    n = problem.total_weight
    blocks = []

    def work(rows, R, D):
        R = R.astype(np.float64)
        w = _weights(design, rows)
        length, limit = row_norms(R), row_limits(threshold, problem.row_factor[rows])
        inside = length <= limit
        psi = R * _shrink(length, limit)[:, None]
        total = w[inside].sum()
        slope, square = total * np.eye(c), total * np.eye(c)
        if c > 1 and not inside.all():
            far = ~inside
            u = R[far] / length[far, None]
            factor = limit[far] / length[far]
            for out, v in ((slope, w[far] * factor), (square, w[far] * factor**2)):
                out += v.sum() * np.eye(c) - (v[:, None] * u).T @ u
        blocks.append((rows.start, (w[:, None] * psi).T @ psi, slope, square))

    design.sweep(work, coords)
    blocks.sort(key=lambda block: block[0])  # threads come in any order
    spread, slope, square = (sum(block[k] for block in blocks) for k in (1, 2, 3))
    left = np.sqrt(np.diagonal(spread)) <= design.rounding
    spread[left] = 0.0
    spread[:, left] = 0.0
    slope, square = slope / n, square / n
    if not left.all() and np.linalg.eigvalsh(slope)[0] * n < 0.5:
        raise SingularFit(
            f"no row lies within the threshold {threshold:g}: there is no spread to "
            "take standard errors from. Choose a larger threshold."
        )
    if left.all():
        slope = square = np.eye(c)
    back = np.linalg.inv(slope)
    K = np.eye(c) + (r / n) * back @ (square - slope @ slope) @ back
    covariance = K @ back @ (spread / _positive(problem.df)) @ back @ K.T
    info["correction"] = float(K[0, 0]) if problem.one_response else K
    info["mean_derivative"] = float(slope[0, 0]) if problem.one_response else slope
    return design.inverse_gram(), covariance


def _sandwich(problem, coords, threshold, labels, info):
    """Covariances of the coordinates of each response, from the scores of the rows."""
    design = problem.design
    r, c = design.n_coords, design.n_outputs
    if r * c > _MAX_BREAD:
        raise ValueError(
            f"{r} coefficients in {c} responses need a square matrix of {r * c} rows, "
            f"more than {_MAX_BREAD}; use kind='huber', or fit fewer responses at once."
        )
    weight = _weights(design)
    rows = np.flatnonzero(weight)
    if labels is not None:
        rows = rows[np.argsort(labels[rows], kind="stable")]
    within = np.zeros((r, r))
    across = np.zeros((r * c, r * c))
    meat = np.zeros((r * c, r * c))
    open_label, open_sum = -1, np.zeros(r * c)
    for some in _blocks(rows, r * c):
        Z, Y = design.take(some)
        w = weight[some]
        R = Y - Z @ coords
        length, limit = row_norms(R), row_limits(threshold, problem.row_factor[some])
        far = length > limit
        psi = R * _shrink(length, limit)[:, None]
        slope = np.where(far, _shrink(length, limit) if c > 1 else 0.0, 1.0)
        within += (Z * (w * slope)[:, None]).T @ Z
        if c > 1 and far.any():
            along = _products(Z[far], R[far] / length[far, None])
            across += (along * (w * slope)[far, None]).T @ along
        scores = _products(Z, psi)
        if labels is None:
            meat += (scores * w[:, None]).T @ scores
            continue
        scores *= w[:, None]
        of_rows = labels[some]
        starts = np.flatnonzero(np.diff(of_rows, prepend=-1))
        sums = np.add.reduceat(scores, starts)
        if of_rows[0] == open_label:
            sums[0] += open_sum
        else:
            meat += np.outer(open_sum, open_sum)
        open_label, open_sum = of_rows[-1], sums[-1]
        meat += sums[:-1].T @ sums[:-1]
    meat += np.outer(open_sum, open_sum)
    bread = np.kron(within, np.eye(c)) - across
    n, df, G = problem.total_weight, _positive(problem.df), info.get("n_clusters")
    factor = n / df if G is None else G / (G - 1) * (n - 1) / df
    info["correction"] = float(factor)
    try:
        solved = linalg.cho_solve(linalg.cho_factor(bread), meat)
        both = linalg.cho_solve(linalg.cho_factor(bread), solved.T)
    except linalg.LinAlgError:
        raise SingularFit(
            f"the rows within the threshold {threshold:g} do not determine the fit, so "
            "that it has no standard errors of this kind. Choose a larger threshold, "
            "or kind='huber'."
        ) from None
    both = factor * (both + both.T).reshape(r, c, r, c) / 2
    return np.stack([both[:, j, :, j] for j in range(c)]), None


# -- shared ----------------------------------------------------------------------------


def _triangle(design: Design, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Triangular factor of the weighted rows of ``[Z, Y]``, from blocks."""
    width = design.n_coords + design.n_outputs
    weight = _weights(design)
    triangle: Any = np.zeros((0, width))
    for some in _blocks(rows, width):
        Z, Y = design.take(some)
        part = np.column_stack([Z, Y]) * np.sqrt(weight[some])[:, None]
        triangle = np.linalg.qr(np.vstack([triangle, part]), mode="r")
    if len(triangle) < width:
        triangle = np.vstack([triangle, np.zeros((width - len(triangle), width))])
    return triangle


def _blocks(rows, width):
    step = max(4 * width, _BLOCK // width)
    return (rows[k : k + step] for k in range(0, len(rows), step))


def _weights(design, rows=slice(None)):
    if design.weight is not None:
        return design.weight[rows]
    return np.ones(len(range(*rows.indices(design.n_samples))))


def _positive(df):
    """NaN if no degree of freedom is left, and there are no standard errors."""
    return df if df > 1e-9 else np.nan


def _shrink(length, limit):
    """Factor of residuals, ``min(1, limit / length)``."""
    return np.divide(
        limit, length, out=np.ones_like(length), where=length > limit
    ).clip(max=1.0)


def _products(Z, R):
    """All products of coordinates and residuals of each row, (m, r * c)."""
    return (Z[:, :, None] * R[:, None, :]).reshape(len(Z), -1)


def _as_clusters(clusters, problem):
    labels = np.asarray(clusters)
    if labels.shape != (problem.n_samples,):
        raise ValueError(
            f"clusters has shape {labels.shape}; it needs one label for each of the "
            f"{problem.n_samples} rows."
        )
    used = slice(None)
    if problem.sample_weight is not None:
        used = problem.sample_weight > 0
    known, codes = np.unique(labels[used], return_inverse=True)
    if len(known) < 2:
        raise ValueError(
            f"clusters has {len(known)} label; standard errors need at least two "
            "clusters, and about 30 to be good."
        )
    out = np.zeros(problem.n_samples, dtype=np.intp)
    out[used] = codes
    return out
