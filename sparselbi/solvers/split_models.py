"""Models that a set of active rows of D stands for: refits, partial ridge, their size.

Coefficients are in used coordinates, those that D acts on, and intercepts those of
centred columns; `SplitProblem.to_original` takes both back.
"""

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from ..losses.fit import fit_unpenalized
from ..penalties.kernel_spaces import (
    Decomposition,
    TooLarge,
    decompose,
    kernel_spaces,
)
from ._split_fit import Design, fit_coupled
from ._split_freedom import dense_freedom

__all__ = ["Decomposition", "SupportFits", "decompose"]

# Directions in which columns of unit length are shorter than this count as dependent.
_DEPENDENT = 1e-10
# The same for a normal matrix without pivoting, which squares what it loses.
_UNSAFE = 1e-8
# A triangular factor that is better conditioned than this needs no singular values.
_SAFE = 1e-6
# Numbers in the dense design of a support: up to which it may be formed at all, and
# from which on sparse normal equations are worth while.
_DENSE, _SPARSE = 5 * 10**7, 10**6


class SupportFits:
    """Fits for many sets S of active rows of D.

    Parameters
    ----------
    split : SplitProblem
        For `partial_ridge` and `dense_df` with nu resolved.
    """

    def __init__(self, split):
        self.split, self.problem = split, split.problem
        self.spaces = kernel_spaces(split.D)
        self._kept_design = self._freedom = None

    # -- unpenalized fits --------------------------------------------------------------

    def refit(self, active):
        """Minimize the mean loss over ker D_{S^c} and the intercept.

        No penalty, no coupling, no sign constraint. Where the minimizer is not unique
        it is the one with the coefficients of least norm.

        Parameters
        ----------
        active : bool array-like of shape (n_rows,)

        Returns
        -------
        coef : ndarray of shape (n_outputs, n_features)
        intercept : ndarray of shape (n_outputs,)
        deviance : float
            ``2 sum_i w_i loss(y_i, eta_i)``.
        df : int
            Rank of X (centred) on ker D_{S^c}, for the softmax loss times the number of
            classes minus 1. The intercept is not counted.

        Raises
        ------
        ValueError
            If the space or its design is too large to be computed with.
        """
        N = self.spaces.basis(active)
        found = self._sparse_fit(N) or self._dense_fit(N)
        coef, intercept, loss, rank = found
        free_outputs = len(coef) - (self.problem.loss.name == "multinomial")
        return (
            coef,
            intercept,
            2 * self.problem.total_weight * loss,
            rank * free_outputs,
        )

    def refits(self, masks, max_df=np.inf):
        """Refit many supports, each distinct space once.

        Parameters
        ----------
        masks : bool array-like of shape (K, n_rows)
        max_df : float, default=inf
            Sets whose ker D_{S^c} has more dimensions than this are skipped: their
            results are NaN. Constant columns do not count, nor (for softmax) do
            classes that the others determine.

        Returns
        -------
        coefs : ndarray of shape (K, n_outputs, n_features)
        intercepts : ndarray of shape (K, n_outputs)
        deviance, df : ndarray of shape (K,)
            NaN also where the dimension cannot be decided or the design is too large,
            if `max_df` is finite.
        """
        masks = np.asarray(masks)
        n_outputs, p = self.split.n_outputs, self.split.n_features
        coefs = np.full((len(masks), n_outputs, p), np.nan)
        intercepts = np.full((len(masks), n_outputs), np.nan)
        deviance, df = np.full((2, len(masks)), np.nan)
        free_outputs = n_outputs - (self.problem.loss.name == "multinomial")
        n_constant = int((~self.problem.usable).sum())
        first: dict[bytes, int] = {}
        for k, active in enumerate(masks):
            if (j := first.setdefault(self.spaces.key(active), k)) < k:
                coefs[k], intercepts[k] = coefs[j], intercepts[j]
                deviance[k], df[k] = deviance[j], df[j]
                continue
            try:
                if np.isfinite(max_df):
                    size = self.spaces.dimension(active)
                    if size is None or free_outputs * (size - n_constant) > max_df:
                        continue
                coefs[k], intercepts[k], deviance[k], df[k] = self.refit(active)
            except TooLarge:
                if np.isinf(max_df):
                    raise
        return coefs, intercepts, deviance, df

    def _dense_fit(self, N):
        """Coefficients, intercept, mean loss and rank, by orthogonal factors."""
        problem = self.problem
        design = self._design(N)
        change, null = self._orthogonalize(N, design * problem.sqrt_weight)
        if problem.loss.name == "squared":
            mean = self._mean_response()
            target = problem.y - mean[:, None]
            amount = (target * problem.omega) @ (design.T @ change)
            residual = target - amount @ (change.T @ design)
            loss, intercept = 0.5 * float((residual**2 @ problem.omega).sum()), mean
        else:
            rows = change.T @ design
            if problem.fit_intercept:
                rows = np.vstack([rows, np.ones(problem.n_samples)])
            amount, loss, _ = fit_unpenalized(
                problem.loss, problem.y, problem.omega, rows
            )
            intercept = np.zeros(len(amount))
            if problem.fit_intercept:
                amount, intercept = amount[:, :-1], amount[:, -1]
        coef = (N @ (change @ amount.T)).T
        if null.shape[1]:
            flat = N @ null
            coef = coef - (flat @ np.linalg.lstsq(flat, coef.T, rcond=None)[0]).T
        return coef, intercept, loss, change.shape[1]

    def _orthogonalize(self, N, weighted):
        """Change of basis to orthonormal columns, and directions that X ignores.

        For a design of weighted columns (d, n): `change` (d, r) makes the columns of
        ``weighted.T @ change`` orthonormal, the columns of `null` are ignored.
        """
        length = np.linalg.norm(weighted, axis=1)
        # Sums of columns that cancel are zero up to rounding of this size.
        bound = abs(N).T @ self.problem.norms[: self.split.n_features]
        seen = length > _DEPENDENT * bound
        unit = weighted[seen].T / length[seen]
        n, d = unit.shape
        width = len(length)
        change, null = np.zeros((width, d)), np.zeros((width, width - d))
        null[~seen] = np.eye(width - d)
        if 0 < d <= n:
            R = linalg.qr(unit, mode="economic", check_finite=False)[1]
            if linalg.lapack.dtrcon(R)[0] > _SAFE:
                inverse = linalg.solve_triangular(R, np.eye(d), check_finite=False)
                change[seen] = inverse / length[seen, None]
                return change, null
            unit = R  # has the same singular values and right vectors
        _, size, vectors = linalg.svd(unit, full_matrices=d > n, check_finite=False)
        rank = int((size > _DEPENDENT * size.max(initial=0.0)).sum())
        vectors = vectors.T / length[seen, None]
        change = np.zeros((width, rank))
        change[seen] = vectors[:, :rank] / size[:rank]
        more = np.zeros((width, d - rank))
        more[seen] = vectors[:, rank:]
        return change, np.hstack([null, more])

    def _design(self, N):
        """Used columns times N, not weighted, of shape (d, n_samples)."""
        problem = self.problem
        if N.shape[1] * problem.n_samples > _DENSE:
            raise TooLarge(
                f"the refit has {N.shape[1]} coefficients for {problem.n_samples} "
                "samples, too many for a dense design; refit an earlier knot."
            )
        if self._kept_design is None:
            self._kept_design = Design(problem)
        block = self._kept_design.block
        if block is not None:
            return N.T @ block[: self.split.n_features]
        scaled = self._scaled(N)
        if sparse.issparse(problem.X):
            product = problem.X @ scaled
            product = product.toarray() if sparse.issparse(product) else product
        else:  # blocks of rows: float32 or memory-mapped X is not copied
            step = max(1, _SPARSE // problem.n_features)
            starts = range(0, problem.n_samples, step)
            product = np.concatenate(
                [np.asarray(problem.X[i : i + step] @ scaled) for i in starts]
            )
        return (product - problem.x_mean @ scaled).T

    def _scaled(self, N):
        """N with rows divided by the scales of the columns of X."""
        if sparse.issparse(N):
            return sparse.csc_array(sparse.diags_array(1 / self.problem.x_scale) @ N)
        return N / self.problem.x_scale[:, None]

    def _mean_response(self):
        problem = self.problem
        mean = problem.y @ problem.omega
        return mean if problem.fit_intercept else 0.0 * mean

    # -- normal equations of sparse designs --------------------------------------------

    def _sparse_fit(self, N):
        """As `_dense_fit`, for squared loss and sparse X and N; None if not suitable.

        One feature per sample (an image) and pieces: means, in O(n + p). Otherwise a
        sparse factorization, if it is long enough to pay and far from singular.
        """
        problem = self.problem
        if problem.loss.name != "squared" or not sparse.issparse(problem.X):
            return None
        if not sparse.issparse(N):
            return None
        y, omega = problem.y[0], problem.omega
        design = sparse.csc_array(problem.X @ self._scaled(N))
        normal = sparse.csc_array((design.T * omega) @ design)
        length = np.sqrt(normal.diagonal())
        seen = length > 0
        is_diagonal = normal.nnz == seen.sum()
        if not is_diagonal and design.shape[0] * design.shape[1] < _SPARSE:
            return None
        if not seen.all() and not _is_diagonal(N.T @ N):
            return None
        solve = _solver(normal, length, seen, is_diagonal)
        if solve is None:
            return None
        mean = float(self._mean_response()[0])
        if not problem.fit_intercept:
            amount, offset, rank = (
                self._least_squares(design, solve, y),
                0.0,
                seen.sum(),
            )
        else:
            # y and the constant, both with their fits taken out.
            one = self._least_squares(design, solve, np.ones_like(y))
            rest = 1.0 - design @ one
            amount = self._least_squares(design, solve, y)
            if np.sqrt(omega @ rest**2) > _DEPENDENT:
                offset = (omega * rest) @ (y - design @ amount) / (omega @ rest**2)
                amount -= offset * one
                rank = seen.sum()
            else:  # X N contains the constant: without it one coefficient is free
                flat = N @ one
                amount -= one * (flat @ (N @ amount)) / (flat @ flat)
                rank = seen.sum() - 1
        fitted = design @ amount
        residual = (
            y - mean - (fitted - (omega @ fitted if problem.fit_intercept else 0))
        )
        loss = 0.5 * float(omega @ residual**2)
        return (N @ amount)[None], np.array([mean]), loss, int(rank)

    def _least_squares(self, design, solve, y):
        omega = self.problem.omega
        amount = solve(design.T @ (omega * y))
        return amount + solve(design.T @ (omega * (y - design @ amount)))

    # -- fits with a ridge outside the support -----------------------------------------

    def partial_ridge(self, active):
        """Minimize ``L(coef, intercept) + ||D_{S^c} coef||^2 / (2 nu_raw)``.

        Parameters
        ----------
        active : bool array-like of shape (n_rows,)

        Returns
        -------
        coef : ndarray of shape (n_outputs, n_features)
        intercept : ndarray of shape (n_outputs,)
        """
        return fit_coupled(self.split, rows=~np.asarray(active, dtype=bool))

    # -- degrees of freedom of the dense coefficients ----------------------------------

    def dense_df(self, active, eta=None):
        """Degrees of freedom of the partial ridge; see `dense_dfs`."""
        etas = None if eta is None else np.asarray(eta)[None]
        return float(self.dense_dfs(np.asarray(active)[None], etas)[0])

    def dense_dfs(self, masks, etas=None):
        r"""Degrees of freedom of the dense coefficients, for many supports.

        Those of the partial ridge, which the dense coefficients come close to while the
        split coefficients of the active rows settle:
        ``tr[X (X'WX + D_{S^c}' D_{S^c} / nu_raw)^+ X'W]``, X centred, W summing to one.
        Without the intercept, and without what the search for S costs.

        Parameters
        ----------
        masks : bool array-like of shape (K, n_rows)
        etas : ndarray of shape (K, n_outputs, n_samples), default=None
            Linear predictors of the dense coefficients; needed unless the loss is
            squared, because W then carries its second derivatives.

        Returns
        -------
        ndarray of shape (K,)
            NaN where it is not available; `dense_df_rule` says why.
        """
        return self._dense_freedom(np.asarray(masks, dtype=bool), etas)

    @property
    def dense_df_rule(self):
        """How `dense_dfs` are found: exact, estimated, or why they are not."""
        return self._dense_freedom.rule

    @property
    def _dense_freedom(self):
        if self._freedom is None:
            self._freedom = dense_freedom(self.split)
        return self._freedom


def _is_diagonal(matrix):
    matrix = sparse.coo_array(matrix)
    return bool((matrix.row == matrix.col).all())


def _solver(normal, length, seen, is_diagonal):
    """Solve with the seen part of a sparse normal matrix; zero elsewhere."""
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=seen)
    if is_diagonal:
        return lambda v: v * inverse**2
    scale = sparse.diags_array(inverse[seen])
    part = sparse.csc_array(scale @ normal[seen][:, seen] @ scale)
    try:
        factor = splu(
            part,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:  # exactly singular
        return None
    # Pivots are squared distances to the span of the columns before.
    if factor.U.diagonal().min() < _UNSAFE:
        return None

    def solve(v):
        out = np.zeros_like(v)
        out[seen] = factor.solve(v[seen] * inverse[seen]) * inverse[seen]
        return out

    return solve
