"""The question of Split LBI: a problem, a linear map D, and a penalty on D @ coef."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._kernels import jit
from ..penalties import get_penalty
from ..penalties.base import horizon, shrink
from ..problem import GROUP_WEIGHTS, check_positive

__all__ = ["SplitProblem", "SplitTrace"]


class SplitProblem:
    """``L(coef) + ||D coef - split||^2 / (2 nu)``, with a penalty on the rows of D.

    D acts on the coefficients of the columns as they are used: centred with an
    intercept, and divided by their root mean square if the problem standardizes.

    Parameters
    ----------
    problem : Problem
        Its own penalty plays no role.
    D : Transform of shape (n_rows, n_features)
    penalty : {"l1", "group"}
        Of the split coefficients. "group" without `groups` joins the outputs of a row.
    row_weight : array-like of shape (n_rows,), default=None
        Threshold of each row; 0 = free, inf = never in.
    groups : array-like of shape (n_rows,), default=None
    group_weight : {"unit", "sqrt"}, default="unit"
    positive : bool or array-like of bool of shape (n_rows,), default=False
        Rows whose split coefficients must be >= 0.

    Attributes
    ----------
    row_weight : ndarray of shape (n_rows,)
        Thresholds, group weights included; never infinite (see `never`).
    never : bool ndarray of shape (n_rows,)
        Rows that may not enter.
    order, ptr : ndarray of int
        Block b of rows that enter together is ``order[ptr[b] : ptr[b + 1]]``.
    positive : bool ndarray of shape (n_rows,)
    hessian_norm : float
        Spectral norm of the Gram matrix H of the used columns (mean loss, curvature 1).
    """

    def __init__(
        self,
        problem,
        D,
        *,
        penalty="l1",
        row_weight=None,
        groups=None,
        group_weight="unit",
        positive=False,
    ):
        self.problem, self.D = problem, D
        self.n_rows, self.n_features = D.shape
        self.n_outputs = problem.n_outputs
        if self.n_features != problem.n_features:
            raise ValueError(
                f"D has {self.n_features} columns but X has {problem.n_features}; D "
                "maps the coefficients, it needs one column for each feature."
            )
        self.penalty = get_penalty(penalty)
        m = self.n_rows
        factor = _row_array("row_weight", row_weight, m, 1.0)
        if np.isnan(factor).any() or (factor < 0).any():
            raise ValueError(
                f"row_weight contains {factor[~(factor >= 0)][0]}; use numbers >= 0 "
                "(0 = free, inf = never in)."
            )
        if group_weight not in GROUP_WEIGHTS:
            raise ValueError(
                f"row_group_weight={group_weight!r} is unknown; use one of "
                f"{GROUP_WEIGHTS}."
            )
        self.groups = None if groups is None else np.asarray(groups)
        if self.groups is not None and self.groups.shape != (m,):
            raise ValueError(
                f"row_groups has shape {self.groups.shape}; it needs one label for "
                f"each of the {m} rows of D."
            )
        self.positive = np.broadcast_to(np.asarray(positive, dtype=bool), (m,))
        self.group_weight = group_weight
        self.never = np.isinf(factor)
        self._set_blocks(np.where(self.never, 1.0, factor))

    def _set_blocks(self, weight):
        labels = np.arange(self.n_rows)
        if self.groups is not None and self.penalty.grouped:
            _, first, code = np.unique(
                self.groups, return_index=True, return_inverse=True
            )
            labels = np.argsort(np.argsort(first))[code]
        self.order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels)
        self.ptr = np.append(0, np.cumsum(counts))
        self.is_blocked = len(self.ptr) <= self.n_rows
        if self.penalty.grouped:
            ordered, start = weight[self.order], self.ptr[:-1]
            low = np.minimum.reduceat(ordered, start)
            high = np.maximum.reduceat(ordered, start)
            barred = self.never[self.order]
            mixed = np.logical_or.reduceat(barred, start)
            mixed &= ~np.logical_and.reduceat(barred, start)
            if (low != high).any() or mixed.any():
                block = int(np.flatnonzero((low != high) | mixed)[0])
                rows = self.order[self.ptr[block] : self.ptr[block + 1]]
                raise ValueError(
                    "row_weight must be constant within a group; the group of rows "
                    f"{rows[:5].tolist()} has different ones."
                )
            if self.group_weight == "sqrt":
                weight = weight * np.sqrt(counts[labels] * self.n_outputs)
        self.row_weight = weight

    def shrink(self, z):
        """Return ``shrink(z)`` (without kappa) for duals z of shape (n_outputs, m)."""
        z = np.where(self.positive & (z < 0), 0.0, z) if self.positive.any() else z
        weight = self.row_weight
        if self.is_blocked:
            z, weight = np.ascontiguousarray(z[:, self.order]), weight[self.order]
        out = np.empty_like(z)
        _shrink(self.penalty, z, weight, self.ptr, 1.0, out)
        if self.is_blocked:
            back = np.empty_like(out)
            back[:, self.order] = out
            out = back
        out[:, self.never] = 0.0
        return out

    def first_entry_time(self, slope):
        """First time at which ``t * slope``, (n_outputs, m), meets a threshold.

        Infinite if it never does. Free rows (weight 0) and barred ones do not count.
        """
        g = np.where(self.positive & (slope < 0), 0.0, slope)
        weight = self.row_weight
        if self.is_blocked:
            g, weight = np.ascontiguousarray(g[:, self.order]), weight[self.order]
        reach = np.empty(len(self.ptr) - 1)
        slack = np.zeros(len(self.ptr) - 1)
        _horizon(self.penalty, np.zeros_like(g), g, slack, weight, self.ptr, reach)
        reach[weight[self.ptr[:-1]] == 0] = np.inf
        reach[self.never[self.order][self.ptr[:-1]]] = np.inf
        return float(reach.min(initial=np.inf))

    def set_nu(self, nu, nu_raw, hessian_norm):
        """Resolve nu; `nu_raw` wins over the dimensionless `nu`."""
        unit = self.D.norm**2 / hessian_norm if hessian_norm > 0 else 1.0
        self.hessian_norm = hessian_norm
        if nu_raw is None:
            self.nu = check_positive("nu", nu)
            self.nu_raw = self.nu * unit
        else:
            self.nu_raw = check_positive("nu_raw", nu_raw)
            self.nu = self.nu_raw / unit

    @property
    def coef_scale(self):
        """Used coefficient = original coefficient times this, shape (n_features,)."""
        scale = self.problem.x_scale
        return np.where(np.isfinite(scale), scale, 1.0)

    def to_original(self, coefs, intercepts=None):
        """Used coefficients (..., n_outputs, p) and intercepts on the scale of X.

        `intercepts` (..., n_outputs) belong to centred columns; None is the null
        model's.
        """
        problem = self.problem
        coefs = coefs / self.coef_scale
        if intercepts is None:
            intercepts = problem.null_intercept if problem.fit_intercept else 0.0
        return coefs, intercepts - coefs @ problem.x_mean

    @property
    def split_settings(self):
        """Settings of the path over the rows, as keyword arguments of a Problem."""
        weight = np.where(self.never, np.inf, self.row_weight)
        if self.group_weight == "sqrt" and self.penalty.grouped:
            # Stored as given: the factor of the group is applied again on reading.
            counts = np.diff(self.ptr)
            size = np.repeat(counts, counts)[np.argsort(self.order, kind="stable")]
            weight = weight / np.sqrt(size * self.n_outputs)
        plain = (weight == 1.0).all()
        return {
            "fit_intercept": False,
            "standardize": False,
            "penalty_factor": None if plain else weight,
            "groups": self.groups,
            "group_weight": self.group_weight,
        }


@dataclass
class SplitTrace:
    """What a core of Split LBI found; coefficients in used coordinates.

    Attributes
    ----------
    knots : ndarray of shape (K,), increasing; knots[0] is the null model
    coefs : ndarray of shape (K, n_outputs, n_features)
    intercepts : ndarray of shape (K, n_outputs) or None
        Of centred columns; None where they are those of the null model.
    rows : ndarray of int of shape (E,), ascending: rows that are ever active
    splits : ndarray of shape (K, n_outputs, E)
    events : structured array with `EVENT_DTYPE`; ``feature`` is the row
    """

    knots: Any
    coefs: Any
    intercepts: Any
    rows: Any
    splits: Any
    events: Any
    status: str
    message: str
    n_iter: int
    info: dict = field(default_factory=dict)


@jit
def _shrink(penalty, z, weight, ptr, kappa, out):
    shrink(penalty, z, weight, ptr, kappa, out)


@jit
def _horizon(penalty, z, g, slack, weight, ptr, out):
    horizon(penalty, z, g, slack, weight, ptr, out)


def _row_array(name, value, n_rows, default):
    if value is None:
        return np.full(n_rows, default)
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (n_rows,):
        raise ValueError(
            f"{name} has shape {array.shape}; it needs one number for each of the "
            f"{n_rows} rows of D."
        )
    return array
