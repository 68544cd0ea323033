r"""Solving for the dense coefficients of Split LBI, once per step.

With squared loss the coefficients that belong to split coefficients :math:`\gamma` are

.. math:: M^{-1} (c + D'\gamma / \nu), \qquad M = H + D'D / \nu ,

with the Gram matrix H of the used columns. `make_system` chooses how, by the first
rule that applies (p features, n samples):

1. "dct" if D is the gradient of a full grid (or first differences) and X a multiple of
   the identity without intercept, or p > `SMALL` and X has few samples (below): D'D is
   diagonal in the orthonormal cosine transform.
2. "dense" (Cholesky) if p <= `SMALL`; or if p <= `DENSE` and there is no sparse matrix
   to work with: D is not sparse, or X is neither sparse nor has few samples.
3. With a sparse matrix A, "splu" (sparse factor) or "cg" (conjugate gradients with the
   diagonal as preconditioner, from the previous step on). A is M, without its centring,
   if X is sparse; it is D'D / nu if X has few samples and D is a graph, which leaves
   ``n`` samples and the constants on components to a small system (Woodbury). Let F be
   the number of entries of a factor of A, estimated from the widths of the levels of a
   breadth-first search; it is large for random graphs. "splu" if F is at most `SLIM`
   times the entries of A (lines); "cg" if one solution from zero takes at most `FAST`
   products with A; "splu" if F is at most `FACTOR`; else "cg".
   If X has few samples and D is sparse, but no graph, "splu" factors the system in
   coefficients and residuals, provided that it is small (`AUGMENTED`).
4. "cg" with products by X and D only.

X is *sparse* if X'X has at most `GRAM` products of entries, and has *few samples* if n
<= `SAMPLES`, n < p / 2, and an n x p array has at most `ENTRIES` entries.
"""

import contextlib

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph

from ._split_solvers import (
    SINGULAR,
    Augmented,
    Corrected,
    Cosine,
    Dense,
    Factor,
    Gradients,
    Products,
    explain,
)

__all__ = ["ROUTES", "System", "make_system"]

ROUTES = ("dct", "splu", "cg", "dense")
SMALL = 500
DENSE = 5_000
SLIM = 20
FAST = 60
FACTOR = 100_000_000
SAMPLES = 5_000
ENTRIES = 125_000_000  # one gigabyte
AUGMENTED = 20_000_000
GRAM = 50_000_000
# Direct solutions are refined until their residual is below this.
_EXACT = 1e-11
_BLOCK = 1 << 22  # numbers in a block of rows of X


def make_system(split, route="auto"):
    """Prepare to solve with ``M = H + D'D / nu``.

    Parameters
    ----------
    split : SplitProblem
        With squared loss and `nu_raw` set.
    route : {"auto", "dct", "splu", "cg", "dense"}, default="auto"

    Returns
    -------
    System

    Raises
    ------
    ValueError
        If M is singular (X and D ignore the same direction), or if the route that was
        asked for does not apply.
    """
    if route != "auto" and route not in ROUTES:
        raise ValueError(f"route={route!r} is unknown; use 'auto' or one of {ROUTES}.")
    maker = _Maker(split)
    maker.check_components()
    if route == "auto":
        return maker.choose()
    try:
        return maker.make(route, "it was asked for")
    except _DoesNotApplyError as no:
        raise ValueError(
            f"route={route!r} does not apply: {no}; use route='auto'."
        ) from None


class System:
    """The matrix M and a way to solve with it.

    Attributes
    ----------
    route : {"dct", "splu", "cg", "dense"}
    reason : str
        The rule that led there.
    """

    def __init__(self, route, reason, solver, matrix, checks):
        self.route, self.reason, self._solver = route, reason, solver
        self._matrix = matrix
        self._n_refinements = 0
        residual = self._check(checks)
        while residual > _EXACT and self._n_refinements < 3 and solver.exact:
            self._n_refinements += 1
            last, residual = residual, self._check(checks)
            if residual > 0.1 * last:
                break
        if not residual <= 1e-7:
            raise ValueError(
                f"the solution by route={route!r} is wrong by {residual:.1e}: X and D "
                "nearly ignore some direction; add the identity to D "
                "(sparselbi.penalties.with_identity) or try another route."
            )
        self._residual = residual

    @property
    def info(self):
        """Numbers about the solver; ``residual`` is relative, of a check at start."""
        return {
            "residual": self._residual,
            "n_refinements": self._n_refinements,
            **self._solver.info,
        }

    def _check(self, checks):
        rest = checks - self._matrix.dot(self.solve(checks))
        size = np.linalg.norm(checks, axis=1)
        return float(np.max(np.linalg.norm(rest, axis=1) / np.where(size > 0, size, 1)))

    def solve(self, right):
        """Solutions for right-hand sides of shape (p,) or (k, p), the same shape."""
        right = np.asarray(right, dtype=np.float64)
        block = np.atleast_2d(right)
        x = self._solver.solve(block)
        for _ in range(self._n_refinements):
            x += self._solver.solve(block - self._matrix.dot(x))
        return x.reshape(right.shape)

    def follow(self):
        """Return a function like `solve` for a sequence of slowly changing vectors.

        ``function(right)`` with right of shape (p,) starts from what the calls before
        found. With ``remember=False`` the call is not part of the sequence.
        """
        if self._n_refinements or not hasattr(self._solver, "follow"):
            return lambda right, remember=True: self.solve(right)
        return self._solver.follow()


class _DoesNotApplyError(Exception):
    """Why a route cannot be taken."""


class _Maker:
    """What the rules look at, computed once."""

    def __init__(self, split):
        self.split, self.problem, self.D = split, split.problem, split.D
        problem = split.problem
        self.nu = split.nu_raw
        self.n, self.p = problem.n_samples, problem.n_features
        self.matrix = _Matrix(split)
        mean = problem.null_intercept[0] if problem.fit_intercept else 0.0
        self.c = problem.correlate(problem.omega * (problem.y[0] - mean))[0]
        self.has_few_samples = (
            self.n <= SAMPLES and 2 * self.n < self.p and self.n * self.p <= ENTRIES
        )
        self.has_sparse_gram = False
        if sparse.issparse(problem.X):
            counts = np.bincount(problem.X.indices, minlength=self.n)
            self.has_sparse_gram = float(counts @ counts) <= GRAM
        self.has_sparse_rows = sparse.issparse(self.D.matrix)
        self.kernel = self._trial = None
        if self.D.is_graph:
            count, labels = self.D.components()
            inside = np.flatnonzero(labels >= 0)
            where = (inside, labels[inside])
            self.kernel = sparse.csr_array(
                (np.ones(len(inside)), where), shape=(self.p, count)
            )

    # -- rules -----------------------------------------------------------------------

    def choose(self):
        """The first rule of the module's list that applies."""
        if self.p > SMALL or _identity_level(self.problem) is not None:
            with contextlib.suppress(_DoesNotApplyError):
                return self.make("dct", "D'D is diagonal in the cosine basis of a grid")
        if self.p <= SMALL:
            return self.make("dense", f"there are at most {SMALL} features")
        graph = self.kernel is not None
        if not self.has_sparse_rows or not (
            self.has_sparse_gram or self.has_few_samples
        ):
            if self.p <= DENSE:
                reason = f"M is not sparse, and there are at most {DENSE} features"
                return self.make("dense", reason)
            return self.make("cg", "M is neither sparse nor small")
        if not self.has_sparse_gram and not graph:
            if self.n * self.p <= AUGMENTED:
                return self.make("splu", "D is sparse and X has few samples")
            return self.make("cg", "a factor of the few samples would be too large")
        return self._choose_by_trial()

    def _choose_by_trial(self):
        trial = self._gradients()
        size = _factor_size(trial.matrix)
        if size <= SLIM * trial.matrix.nnz:
            return self.make("splu", f"a factor has about {size:.1g} entries")
        n_products = trial.count(self.c, FAST + 1)
        if n_products <= FAST:
            reason = f"it needs {n_products} products, at most {FAST}"
            return self.make("cg", reason)
        reason = f"conjugate gradients need more than {FAST} products"
        if size <= FACTOR:
            reason += f", and a factor has about {size:.1g} entries, at most {FACTOR:g}"
            return self.make("splu", reason)
        reason = f"a factor has about {size:.1g} entries, more than {FACTOR:g}"
        return self.make("cg", reason)

    # -- routes ----------------------------------------------------------------------

    def make(self, route, reason):
        solver = getattr(self, f"_make_{route}")()
        checks = np.stack([self.c, self.matrix.dot(np.ones((1, self.p)))[0]])
        return System(route, reason, solver, self.matrix, checks)

    def _make_dct(self):
        values = _grid_spectrum(self.D)
        if values is None:
            raise _DoesNotApplyError("D is not the gradient of a full grid")
        level = _identity_level(self.problem)
        if level is not None:
            return Cosine(level + values / self.nu)
        if not self.has_few_samples:
            raise _DoesNotApplyError(
                "X is no multiple of the identity (sparse, without intercept, equal "
                "weights) and has no few samples"
            )
        return self._with_samples(Cosine(values / self.nu))

    def _make_dense(self):
        if self.p > 4 * DENSE:
            raise _DoesNotApplyError(
                f"a dense factor needs at most {4 * DENSE} features, there are {self.p}"
            )
        M = np.zeros((self.p, self.p))
        for rows in self._row_blocks():
            part = _weighted_rows(self.problem, rows)
            M += part.T @ part
        if self.D.is_operator:
            D = self.D.to_dense()
            gram = D.T @ D
        else:
            gram = self.D.gram()
            gram = gram.toarray() if sparse.issparse(gram) else gram
        M += gram / self.nu
        return Dense(M)

    def _make_splu(self):
        if not self.has_sparse_rows:
            raise _DoesNotApplyError("D is not sparse")
        if self.has_sparse_gram:
            return self._centred(Factor(self._sparse_matrix()))
        if not self.has_few_samples:
            raise _DoesNotApplyError("X is not sparse and has no few samples")
        A = self._penalty()
        if self.kernel is None:
            rows = _weighted_rows(self.problem, slice(None))
            return Augmented(A, rows)
        if self.kernel.shape[1]:
            # One feature of each component is tied to the ground, at which
            # it stays as long as the right-hand side is in the range of D'.
            anchors = self.kernel.tocsc().indices[self.kernel.tocsc().indptr[:-1]]
            ties = np.zeros(self.p)
            ties[anchors] = A.diagonal().max(initial=0.0) or 1.0
            A = A + sparse.diags_array(ties)
        return self._with_samples(Factor(A))

    def _make_cg(self):
        if self.has_sparse_rows and self.has_sparse_gram:
            return self._centred(self._gradients())
        if self.has_sparse_rows and self.has_few_samples and self.kernel is not None:
            return self._with_samples(self._gradients())
        return Products(self.matrix)

    def _gradients(self):
        if self._trial is None:
            if self.has_sparse_gram:
                self._trial = Gradients(self._sparse_matrix(), None)
            else:
                self._trial = Gradients(self._penalty(), self.kernel)
        return self._trial

    # -- matrices --------------------------------------------------------------------

    def _penalty(self):
        return sparse.csc_array(self.D.gram() / self.nu)

    def _sparse_matrix(self):
        """M without the centring of X."""
        problem = self.problem
        X = sparse.csr_array(problem.X).astype(np.float64)
        X = sparse.diags_array(problem.sqrt_weight) @ X
        X = sparse.csc_array(X @ sparse.diags_array(1.0 / problem.x_scale))
        return sparse.csc_array(X.T @ X + self._penalty())

    def _centred(self, inner):
        """Take the squared means of the columns out of the matrix."""
        problem = self.problem
        if not problem.fit_intercept:
            return inner
        mean = problem.x_mean / problem.x_scale
        return Corrected(inner, lambda rows: mean[None], [slice(0, 1)], -1.0, None)

    def _with_samples(self, inner):
        """Add H to the matrix."""
        return Corrected(
            inner,
            lambda rows: _weighted_rows(self.problem, rows),
            self._row_blocks(),
            1.0,
            self.kernel,
        )

    def _row_blocks(self):
        step = max(1, _BLOCK // self.p)
        return [slice(k, min(k + step, self.n)) for k in range(0, self.n, step)]

    # -- singular matrices -----------------------------------------------------------

    def check_components(self):
        """Raise if X ignores a vector that is constant on the components of a graph."""
        if self.kernel is None or not (count := self.kernel.shape[1]):
            return
        N = self.kernel @ sparse.diags_array(self.kernel.sum(axis=0) ** -0.5)
        largest = self.split.hessian_norm
        if count > self.n:  # more constants than samples
            N = N[:, : self.n + 1]
            if self.n > SAMPLES:
                raise ValueError(explain(None))
            direction = N @ linalg.svd(self._on_components(N))[2][-1]
            raise ValueError(explain(direction, self.D))
        if count * self.n > _BLOCK * 8:
            return  # the solver will see
        _, size, right = linalg.svd(self._on_components(N), full_matrices=False)
        if size[-1] <= np.sqrt(SINGULAR * largest):
            raise ValueError(explain(N @ right[-1], self.D))

    def _on_components(self, N):
        """Used columns, weighted, times a sparse matrix of shape (p, k)."""
        problem = self.problem
        if N.shape[1] < 100:
            columns = (N[:, [k]].toarray()[:, 0] for k in range(N.shape[1]))
            product = np.stack([problem.apply(column) for column in columns], axis=1)
            return problem.sqrt_weight[:, None] * product
        N = sparse.csc_array(sparse.diags_array(1.0 / problem.x_scale) @ N)
        product = (N.T @ problem.X.T).T
        product = product.toarray() if sparse.issparse(product) else product
        return problem.sqrt_weight[:, None] * (product - N.T @ problem.x_mean)


class _Matrix:
    """Products with M."""

    def __init__(self, split):
        self.problem, self.D, self.nu = split.problem, split.D, split.nu_raw

    def dot(self, v):
        """``M @ v`` for the rows of v, shape (k, p)."""
        problem = self.problem
        fitted = np.stack([problem.apply(row) for row in v])
        out = problem.correlate(problem.omega * fitted)
        out += self.D.rdot(self.D.dot(v)) / self.nu
        return out

    def diagonal(self):
        """The diagonal of M, with a rough guess of that of D'D if D is an operator."""
        D, p = self.D, self.problem.n_features
        if D.is_operator:
            square = np.full(p, D.norm**2)
        elif sparse.issparse(D.matrix):
            square = D.matrix.power(2).sum(axis=0)
        else:
            square = (D.matrix**2).sum(axis=0)
        return self.problem.norms[:p] ** 2 + square / self.nu


# -- structure -------------------------------------------------------------------------


def _weighted_rows(problem, rows):
    """Rows of the used columns times the roots of their weights, (k, p), float64."""
    X = problem.X
    block = sparse.csr_array(X)[rows].toarray() if sparse.issparse(X) else X[rows]
    block = (block - problem.x_mean) / problem.x_scale
    return problem.sqrt_weight[rows, None] * block


def _identity_level(problem):
    """h if H = h * I because X is a multiple of the identity, else None."""
    X = problem.X
    if not sparse.issparse(X) or X.shape[0] != X.shape[1] or X.nnz != X.shape[0]:
        return None
    if problem.fit_intercept or (X.indices != np.arange(X.shape[0])).any():
        return None
    level = problem.omega * (X.data / problem.x_scale) ** 2
    return level[0] if np.ptp(level) <= 4e-16 * level[0] else None


def _factor_size(A):
    """Estimate, mostly from above, the number of entries of a factor of A.

    A level of a breadth-first search separates those before from those behind; level by
    level the factor is full on neighbouring levels.
    """
    A = sparse.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)
    _, component = csgraph.connected_components(A, directed=False)
    starts = np.unique(component, return_index=True)[1]
    for _ in range(2):
        level = csgraph.dijkstra(A, unweighted=True, indices=starts, min_only=True)
        # Next time from one of the farthest nodes of each component.
        order = np.lexsort((level, component))
        starts = order[np.append(np.diff(component[order]) > 0, True)]
    depth = int(level.max()) + 1
    width = np.bincount(component * depth + level.astype(np.int64)).astype(float)
    return 0.5 * float(width @ width + width[1:] @ width[:-1])


def _grid_spectrum(D):
    """Eigenvalues of D'D in the cosine basis, shaped as the grid, or None."""
    if D.grid is not None and D.grid["mask"] is None:
        shape = tuple(D.grid["shape"])
    elif D.kind == "differences" and D.order == 1:
        shape = (D.n_features,)
    else:
        return None
    values = np.zeros(shape)
    for axis, length in enumerate(shape):
        wave = 4.0 * np.sin(0.5 * np.pi * np.arange(length) / length) ** 2
        values += np.expand_dims(wave, [k for k in range(len(shape)) if k != axis])
    factors = np.unique(np.abs(D.matrix.data))
    return values * factors[0] ** 2 if len(factors) == 1 else None
