"""Split LBI with the dense coefficients eliminated, as an ordinary problem in the rows.

For squared loss the minimum over ``coef`` of the coupled loss ``L(coef) + ||D coef -
split||^2 / (2 nu)`` is again a least-squares criterion in ``split``. With an explicit
design of that criterion every solver of a `Problem` traces split coefficients: the
exact path, and LBI at the cost of its active rows.
"""

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from ..penalties import get_penalty
from ..problem import Problem

__all__ = ["ReducedProblem", "reduced_size"]

# Entries of the explicit design up to which this form is used (240 MB).
MAX_ENTRIES = 30_000_000
# A direction is ignored by X and D if both are below this fraction of their norms.
_IGNORED = 1e-11
# Times that differ by less than this fraction are one.
_SAME = 1e-9
# Columns of the design below this fraction of what was subtracted are rounding.
_ROUNDING = 1e-12


def reduced_size(split):
    """Number of entries of the design of the reduced problem."""
    n = min(split.problem.n_samples, split.n_features + 1)
    extra = 0 if _has_right_inverse(split.D) else split.n_rows
    width = split.n_rows * (2 if 0 < split.positive.sum() < split.n_rows else 1)
    return (n + extra) * width


class ReducedProblem:
    """The least-squares problem in the split coefficients, and the way back.

    Parameters
    ----------
    split : SplitProblem
        Of squared loss, with `nu_raw` set.

    Attributes
    ----------
    problem : Problem
        Without intercept. Its features are the rows of D; where only some rows are
        sign-constrained, the others come twice, with both signs.
    rule : str
        How the design was made.

    Raises
    ------
    ValueError
        If X and D both ignore some direction, so that coefficients are not determined.
    """

    def __init__(self, split):
        self.split = split
        problem = split.problem
        X = problem.columns(np.arange(problem.n_features))
        mean = problem.null_intercept[0] if problem.fit_intercept else 0.0
        y = problem.sqrt_weight * (problem.y[0] - mean)
        if len(X) > X.shape[1] + 1:  # rows with the same moments
            square = linalg.qr(np.column_stack([X, y]), mode="r", check_finite=False)
            top = square[0][: X.shape[1] + 1]
            X, y = np.ascontiguousarray(top[:, :-1]), top[:, -1]
        form = _Rooted if _has_right_inverse(split.D) else _Projected
        self._form = form(X, y, split.D, split.nu_raw)
        self.rule = form.rule
        self.problem = self._make_problem(self._form.design, self._form.response)

    def _make_problem(self, design, response):
        split = self.split
        some = split.positive
        weight = np.where(split.never, np.inf, split.row_weight)
        groups = split.groups if split.penalty.grouped else None
        self._doubled = np.flatnonzero(~some) if 0 < some.sum() < len(some) else None
        if self._doubled is not None:
            # A free coefficient is the difference of two that are constrained.
            design = np.hstack([design, -design[:, self._doubled]])
            weight = np.append(weight, weight[self._doubled])
            if groups is not None:
                groups = np.append(groups, groups[self._doubled])
        scale = np.sqrt(len(response))  # the loss of a Problem is a mean
        return Problem(
            design * scale,
            response * scale,
            penalty=get_penalty(split.penalty.name, positive=bool(some.any())),
            fit_intercept=False,
            standardize=False,
            penalty_factor=weight,
            groups=groups,
        )

    def fold(self, coefs):
        """Split coefficients (..., n_rows) of coefficients of `problem`."""
        if self._doubled is None:
            return coefs
        out = coefs[..., : self.split.n_rows].copy()
        out[..., self._doubled] -= coefs[..., self.split.n_rows :]
        return out

    def fold_events(self, events):
        """The events of coefficients of `problem` as events of rows of D."""
        events = events.copy()
        if self._doubled is None:
            return events
        m = self.split.n_rows
        second = events["feature"] >= m
        events["feature"][second] = self._doubled[events["feature"][second] - m]
        events["sign"][second] *= -1
        if not self.split.penalty.grouped:
            return events
        # Within an active group a change of sign is no event: the one of two
        # constrained coefficients leaves as the other enters.
        order = np.lexsort((events["t"], events["feature"]))
        row, t, copy = events["feature"][order], events["t"][order], second[order]
        pair = (row[1:] == row[:-1]) & (copy[1:] != copy[:-1])
        pair &= t[1:] - t[:-1] <= _SAME * t[1:]
        keep = np.ones(len(events), dtype=bool)
        keep[order[1:][pair]] = keep[order[:-1][pair]] = False
        return events[keep]

    def coefs(self, splits):
        """Used coefficients (K, p) that minimize the coupled loss for splits (K, m)."""
        return self._form.coefs(splits)


class _Rooted:
    """Right inverse of D by a sparse factorization, a design of n rows.

    Any coef is ``A h + N u`` with D A = I and D N = 0. The minimum over u projects
    samples, the one over h - split is a ridge regression with penalty 1 / nu.
    """

    rule = "right inverse of D by a sparse factorization, a design of n rows"

    def __init__(self, X, y, D, nu):
        self._nu, m = nu, D.n_rows
        square = sparse.vstack([D.matrix, _grounding(D)], format="csc")
        self._lu = splu(square, permc_spec="COLAMD")
        both = self._lu.solve(np.ascontiguousarray(X.T), trans="T").T
        q, self._r = np.linalg.qr(both[:, m:])
        reach = np.linalg.norm(both, axis=0).max(initial=0.0)
        if (np.abs(np.diag(self._r)) <= _IGNORED * reach).any():
            raise_undetermined(D)
        rough = both[:, :m]
        self._level, self._slopes = q.T @ y, q.T @ rough
        Z = rough - q @ self._slopes
        _clear(Z, np.linalg.norm(rough, axis=0))
        ridge = nu * (Z @ Z.T)
        ridge[np.diag_indices_from(ridge)] += 1.0
        root = linalg.cholesky(ridge, lower=True, check_finite=False)
        whitened = [
            linalg.solve_triangular(root, v, lower=True, check_finite=False)
            for v in (Z, y - q @ self._level)
        ]
        self.design, self.response = whitened

    def coefs(self, splits):
        rows = np.flatnonzero(splits.any(axis=0))
        residual = self.response[:, None] - self.design[:, rows] @ splits[:, rows].T
        h = splits.T + self._nu * (self.design.T @ residual)
        u = linalg.solve_triangular(self._r, self._level[:, None] - self._slopes @ h)
        return np.ascontiguousarray(self._lu.solve(np.vstack([h, u])).T)


class _Projected:
    """Orthogonal factor of [X; D / sqrt(nu)], a design of n + m rows.

    The minimum over coef projects [y; split / sqrt(nu)] on the complement of its range.
    """

    rule = "orthogonal factor of [X; D / sqrt(nu)], a design of n + m rows"

    def __init__(self, X, y, D, nu):
        n = len(X)
        stacked = np.vstack([X, D.to_dense() / np.sqrt(nu)])
        size = np.linalg.norm(stacked, axis=0).max(initial=0.0)
        q, self._r = linalg.qr(
            stacked, mode="economic", overwrite_a=True, check_finite=False
        )
        diagonal = np.abs(np.diag(self._r))
        if len(diagonal) < X.shape[1] or (diagonal <= _IGNORED * size).any():
            raise_undetermined(D)
        upper, lower = q[:n], q[n:]
        self._fitted, self._lower, self._root = upper.T @ y, lower, np.sqrt(nu)
        rest = lower @ lower.T
        rest[np.diag_indices_from(rest)] -= 1.0
        self.design = np.vstack([upper @ lower.T, rest])
        _clear(self.design, np.ones(D.n_rows))
        self.design /= self._root
        self.response = np.append(y - upper @ self._fitted, -lower @ self._fitted)

    def coefs(self, splits):
        rows = np.flatnonzero(splits.any(axis=0))
        right = self._lower[rows].T @ splits[:, rows].T / self._root
        right += self._fitted[:, None]
        return np.ascontiguousarray(linalg.solve_triangular(self._r, right).T)


def _clear(design, size):
    """Zero the columns that are rounding, of rows that no data speak about."""
    rounding = np.linalg.norm(design, axis=0) <= _ROUNDING * size
    design[:, rounding] = 0.0


def _has_right_inverse(D):
    """Whether rows of D can be completed to a square sparse matrix with an inverse."""
    if not sparse.issparse(D.matrix) or D.full_row_rank is not True:
        return False
    return D.kind in ("identity", "differences", "wavelet") or D.is_graph


def _grounding(D):
    """Unit rows that make D square and invertible, shape (p - m, p)."""
    m, p = D.shape
    if D.kind == "differences":
        anchors = np.arange(p - m)
    elif D.is_graph and m < p:
        _, labels = D.components()
        _, anchors = np.unique(labels, return_index=True)
        anchors = anchors[labels[anchors] >= 0]
    else:
        anchors = np.arange(p - m)
    ones = np.ones(len(anchors))
    return sparse.csr_array(
        (ones, (np.arange(len(anchors)), anchors)), shape=(p - m, p)
    )


def raise_undetermined(D):
    """Explain that X and D have a common kernel."""
    where = "some direction"
    if D.is_graph:
        n_components, _ = D.components()
        where = "some direction, such as a constant on a component of the graph"
        if n_components == 1:
            where = "the constant vector"
    raise ValueError(
        f"the coefficients are not determined: X (centred if there is an intercept) "
        f"and D both ignore {where}. With X = identity use fit_intercept=False; or add "
        "the identity to D (sparselbi.penalties.with_identity), or drop dependent "
        "columns of X."
    )
