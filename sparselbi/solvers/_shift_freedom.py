"""Degrees of freedom of coefficients and shifts along a path of the shift model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from .._shift_design import row_limits, row_norms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._shift_design import Design
    from ._shift_trace import ShiftTrace

# The exact formula for several responses has matrices of this size at most, and takes
# so many multiplications at most for the whole path (about a second).
_SIZE = 400
_WORK = 1e10
_BLOCK = 1 << 20


def shift_freedom(
    method: str,
    design: Design,
    row_factor: NDArray[np.float64],
    trace: ShiftTrace,
    exact: bool = True,
) -> tuple[NDArray[np.float64], str]:
    """Return the degrees of freedom at every knot, and what they are.

    Of the fitted values ``z_i coords + shift_i``, as the divergence of the fit with
    respect to the responses (Stein), each of w repeated rows having its own.

    Parameters
    ----------
    method : str
        "l1", or one that does not shrink: "hard", "iss", "lbi".
    design : Design
        n rows, r coordinates, c outputs.
    row_factor : ndarray of shape (n,)
    trace : ShiftTrace
        With thresholds as knots if the method is "l1".
    exact : bool, default=True
        Whether the exact formula for several responses is worth its time.

    Returns
    -------
    df : ndarray of shape (n_knots,)
    kind : {"exact", "upper bound", "approximate"}
        "l1" with one response: rank plus number of shifted rows, exact. With several
        responses the divergence is exact, too, where r c is at most 400 and it takes
        about a second and is asked for; else an upper bound that is close when few rows
        are shifted. Other methods: ``r c`` plus c for every
        shifted row, which leaves out that the rows were searched for.

    Notes
    -----
    With ``a_i = threshold v_i / |r_i|`` and ``u_i = r_i / |r_i|`` of shifted rows,
    ``M_i = a_i (I - u_i u_i')`` (I for all others) is the derivative of what the
    coefficients see of ``r_i``, and ::

        df = sum_i w_i tr(I - M_i) + tr[K^-1 sum_i w_i z_i z_i' (x) M_i^2],
        K = sum_i w_i z_i z_i' (x) M_i.

    As ``M_i <= I``, the second term is at most r c.
    """
    r, c = design.n_coords, design.n_outputs
    counts = np.asarray(trace.n_shifted, dtype=np.float64)
    if method != "l1" or c == 1:
        return r * c + c * counts, "exact" if method == "l1" else "approximate"
    knots = zip(trace.knots, trace.coords, strict=True)
    rows = counts if design.weight is None else len(counts) * [design.n_samples]
    if exact and r * c <= _SIZE and np.sum(rows) * (r * c) ** 2 <= _WORK:
        gram = design.gram()
        df = [
            _exact(design, gram, row_limits(knot, row_factor), coords)
            for knot, coords in knots
        ]
        return np.array(df), "exact"
    if "clipped_share" in trace.info:  # recorded on the way
        return r * c + c * counts - (c - 1) * trace.info["clipped_share"], "upper bound"
    df = []
    for knot, coords in knots:
        limit = row_limits(knot, row_factor)
        length, rows = _shifted(design, limit, coords)
        df.append(r * c + _own(design, limit[rows] / length, rows))
    return np.array(df), "upper bound"


def _shifted(design, limit, coords):
    """Lengths of the residuals of the shifted rows of the fit, and these rows."""
    length = design.norms(coords)
    on = length > limit
    if design.weight is not None:
        on &= design.weight > 0
    rows = np.flatnonzero(on)
    return length[rows], rows


def _own(design, share, rows):
    """``sum_i w_i tr(I - M_i)``: what the shifts have to themselves."""
    c = design.n_outputs
    weight = 1.0 if design.weight is None else design.weight[rows]
    return float(np.sum(weight * (c - (c - 1) * share)))


def _exact(design, gram, limit, coords):
    r, c = design.n_coords, design.n_outputs
    length, rows = _shifted(design, limit, coords)
    share = limit[rows] / length
    # All rows have M = I, and shifted ones are corrected, a block at a time.
    curvature = np.kron(gram, np.eye(c))
    response = curvature.copy()
    width = max(1, _BLOCK // (r * c))
    for start in range(0, len(rows), width):
        some = slice(start, start + width)
        Z, Y = design.take(rows[some])
        weight = 1.0 if design.weight is None else design.weight[rows[some]]
        R = Y - Z @ coords
        direction = R / row_norms(R)[:, None]
        along = (Z[:, :, None] * direction[:, None, :]).reshape(len(Z), r * c)
        for matrix, a in ((curvature, share[some]), (response, share[some] ** 2)):
            matrix -= np.kron((Z.T * (weight * (1 - a))) @ Z, np.eye(c))
            matrix -= (along.T * (weight * a)) @ along
    try:
        fitted = linalg.cho_solve(linalg.cho_factor(curvature), response)
    except linalg.LinAlgError:  # the rows that are not shifted leave the fit open
        fitted = np.linalg.lstsq(curvature, response, rcond=None)[0]
    return float(np.trace(fitted)) + _own(design, share, rows)
