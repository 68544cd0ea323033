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
   ``n`` samples and the constants on components to a small system (Woodbury).
   "splu" for lines. Otherwise one solution by "cg" from zero tells: "cg" if it takes at
   most `FAST` products with A; else "splu" if p <= `MODERATE`, for grids of two
   dimensions, or if it takes more than ``5 sqrt(p)`` products, which only happens when
   the graph is badly connected, like a plane or a line: then a factor has few entries.
   Else "cg".
   If X has few samples and D is sparse, but no graph, "splu" factors the system in
   coefficients and residuals, provided that it is small (`AUGMENTED`).
4. "cg" with products by X and D only.

X is *sparse* if X'X has at most `GRAM` products of entries, and has *few samples* if n
<= `SAMPLES`, n < p / 2, and an n x p array has at most `ENTRIES` entries.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import fft, linalg, sparse
from scipy.sparse.linalg import splu

from .._row_sums import _n_blas_threads
from ._split_steps import conjugate_gradients

__all__ = ["ROUTES", "System", "make_system"]

ROUTES = ("dct", "splu", "cg", "dense")
SMALL = 500
DENSE = 5_000
MODERATE = 40_000
FAST = 60
SAMPLES = 5_000
ENTRIES = 125_000_000  # one gigabyte
AUGMENTED = 20_000_000
GRAM = 50_000_000
# Residual of conjugate gradients, relative to the right-hand side: of `solve`, and of
# `follow`, whose errors a path forgets.
TOLERANCE = 1e-11
FOLLOWED = 1e-10
_TOLERATED = 1e-8  # rounding may end the progress earlier
# Slowly converging modes that are solved apart: how many at most, below which
# eigenvalue (of the matrix divided by its diagonal), and rounds of subspace iteration.
_MODES, _SLOW, _ROUNDS = 32, 0.25, 4
# Direct solutions are refined until their residual is below this.
_EXACT = 1e-12
# A pivot, or an eigenvalue of M, below this fraction of the largest is zero.
_SINGULAR = 1e-14
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
        if self.D.kind == "differences":
            return self.make("splu", "D is sparse along a line")
        return self._choose_by_trial()

    def _choose_by_trial(self):
        limit = int(5 * np.sqrt(self.p))
        n_products = self._gradients().count(self.c, max(limit, FAST) + 1)
        grid = self.D.grid is not None and len(self.D.grid["shape"]) < 3
        if n_products <= FAST:
            route, reason = "cg", f"it needs {n_products} products, at most {FAST}"
        elif self.p <= MODERATE or grid or n_products > limit:
            route = "splu"
            reason = f"conjugate gradients need more than {FAST} products, and "
            if self.p <= MODERATE:
                reason += f"there are at most {MODERATE} features"
            elif grid:
                reason += "the grid has at most two dimensions"
            else:
                reason += f"more than 5 sqrt(p) = {limit}: the graph is badly connected"
        else:
            route = "cg"
            reason = f"it needs {n_products} products, at most 5 sqrt(p) = {limit}"
        return self.make(route, reason)

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
            return _Cosine(level + values / self.nu)
        if not self.has_few_samples:
            raise _DoesNotApplyError(
                "X is no multiple of the identity (sparse, without intercept, equal "
                "weights) and has no few samples"
            )
        return self._with_samples(_Cosine(values / self.nu))

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
        return _Dense(M)

    def _make_splu(self):
        if not self.has_sparse_rows:
            raise _DoesNotApplyError("D is not sparse")
        if self.has_sparse_gram:
            return self._centred(_Factor(self._sparse_matrix()))
        if not self.has_few_samples:
            raise _DoesNotApplyError("X is not sparse and has no few samples")
        A = self._penalty()
        if self.kernel is None:
            rows = _weighted_rows(self.problem, slice(None))
            return _Augmented(A, rows)
        if self.kernel.shape[1]:
            # One feature of each component is tied to the ground, at which
            # it stays as long as the right-hand side is in the range of D'.
            anchors = self.kernel.tocsc().indices[self.kernel.tocsc().indptr[:-1]]
            ties = np.zeros(self.p)
            ties[anchors] = A.diagonal().max(initial=0.0) or 1.0
            A = A + sparse.diags_array(ties)
        return self._with_samples(_Factor(A))

    def _make_cg(self):
        if self.has_sparse_rows and self.has_sparse_gram:
            return self._centred(self._gradients())
        if self.has_sparse_rows and self.has_few_samples and self.kernel is not None:
            return self._with_samples(self._gradients())
        return _Products(self.matrix)

    def _gradients(self):
        if self._trial is None:
            if self.has_sparse_gram:
                self._trial = _Gradients(self._sparse_matrix(), None)
            else:
                self._trial = _Gradients(self._penalty(), self.kernel)
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
        return _Corrected(inner, lambda rows: mean[None], [slice(0, 1)], -1.0, None)

    def _with_samples(self, inner):
        """Add H to the matrix."""
        return _Corrected(
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
                raise ValueError(_explain(None))
            direction = N @ linalg.svd(self._on_components(N))[2][-1]
            raise ValueError(_explain(direction, self.D))
        if count * self.n > _BLOCK * 8:
            return  # the solver will see
        _, size, right = linalg.svd(self._on_components(N), full_matrices=False)
        if size[-1] <= np.sqrt(_SINGULAR * largest):
            raise ValueError(_explain(N @ right[-1], self.D))

    def _on_components(self, N):
        """Used columns, weighted, times a sparse matrix of shape (p, k)."""
        problem = self.problem
        if N.shape[1] < 100:
            columns = [problem.apply(column) for column in N.T.toarray()]
            return problem.sqrt_weight[:, None] * np.stack(columns, axis=1)
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


# -- solvers ---------------------------------------------------------------------------
# Each solves for the rows of a block (k, p). `exact` ones gain by refinement.


class _Dense:
    exact = True

    def __init__(self, M):
        self.info = {}
        diagonal = np.abs(np.diag(M)).max(initial=0.0)
        try:
            self._factor = linalg.cho_factor(M, lower=True, check_finite=False)
            smallest = np.diag(self._factor[0]).min() ** 2
        except linalg.LinAlgError:
            smallest = 0.0
        if smallest <= _SINGULAR * diagonal:
            raise ValueError(_explain(linalg.eigh(M, subset_by_index=[0, 0])[1][:, 0]))

    def solve(self, right):
        return linalg.cho_solve(self._factor, right.T, check_finite=False).T


class _Cosine:
    """Matrices that are diagonal in the orthonormal DCT-II; zeros stay zero."""

    exact = True

    def __init__(self, values):
        self.info = {}
        zero = values <= _SINGULAR * values.max()
        self._inverse = np.where(zero, 0.0, 1.0 / np.where(zero, 1.0, values))
        self._axes = tuple(range(-values.ndim, 0))
        self._options = {"axes": self._axes, "norm": "ortho", "overwrite_x": True}
        self._options["workers"] = _n_blas_threads()

    def solve(self, right):
        block = right.reshape(len(right), *self._inverse.shape).copy()
        block = fft.dctn(block, **self._options)
        block *= self._inverse
        return fft.idctn(block, **self._options).reshape(right.shape)


class _Factor:
    """Sparse factor of a symmetric positive definite matrix."""

    exact = True

    def __init__(self, A):
        try:
            self._lu = splu(
                sparse.csc_matrix(A),
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        except RuntimeError:
            raise ValueError(_explain(None)) from None
        # Two steps of inverse iteration find a direction that A ignores.
        v = np.random.default_rng(0).standard_normal(A.shape[0])
        with np.errstate(all="ignore"):
            for _ in range(2):
                v = self._lu.solve(v / np.linalg.norm(v))
            growth = np.linalg.norm(v) * abs(A).sum(axis=0).max()
        if not growth < 1.0 / _SINGULAR:
            raise ValueError(_explain(v / np.abs(v).max()))
        self.info = {"n_factor_entries": int(self._lu.nnz)}

    def solve(self, right):
        return np.ascontiguousarray(self._lu.solve(np.ascontiguousarray(right.T)).T)


class _Augmented:
    """Factor of [A, X'; X, -1]: with few samples, and any sparse A."""

    exact = True

    def __init__(self, A, rows):
        n, self._p = rows.shape
        blocks = [[A, sparse.csc_array(rows.T)], [sparse.csc_array(rows), None]]
        blocks[1][1] = -sparse.eye_array(n)
        matrix = sparse.csc_matrix(sparse.block_array(blocks))
        try:
            self._lu = splu(matrix, permc_spec="MMD_AT_PLUS_A")
        except RuntimeError:
            raise ValueError(_explain(None)) from None
        self.info = {"n_factor_entries": int(self._lu.nnz)}

    def solve(self, right):
        block = np.zeros((self._lu.shape[0], len(right)))
        block[: self._p] = right.T
        return np.ascontiguousarray(self._lu.solve(block)[: self._p].T)


class _Gradients:
    """Conjugate gradients with a sparse positive semi-definite matrix.

    Parameters
    ----------
    A : sparse array of shape (p, p)
    kernel : csr_array of shape (p, k) or None
        Indicators of disjoint sets of features, on which constants span the kernel of
        A. Right-hand sides and solutions are made orthogonal to it.
    """

    exact = False

    def __init__(self, A, kernel):
        A = sparse.csr_array(A)
        A.sum_duplicates()
        upper = sparse.csr_array(sparse.triu(A, k=1))
        diagonal = A.diagonal()
        inverse = 1.0 / np.where(diagonal > 0, diagonal, np.inf)
        indices = upper.indptr.astype(np.uint32), upper.indices.astype(np.uint32)
        self._matrix = (*indices, upper.data, diagonal, inverse)
        self._label = None
        if kernel is not None and kernel.shape[1]:
            # Features outside of all sets get a set of their own, of infinite size.
            outside = kernel.shape[1]
            self._label = np.full(len(diagonal), outside)
            self._label[np.repeat(np.arange(len(diagonal)), np.diff(kernel.indptr))] = (
                kernel.indices
            )
            self._size = np.append(kernel.sum(axis=0), np.inf)
        self._limit = 1000 + 2 * len(diagonal)
        self._A, self._slow = A, None
        self.info = {"n_solves": 0, "n_products": 0}

    def _project(self, v):
        if self._label is None:
            return v
        return (
            v - (np.bincount(self._label, v, len(self._size)) / self._size)[self._label]
        )

    def count(self, right, limit):
        """Number of products, at most `limit`, of one solution from zero."""
        right = self._project(right)
        target = TOLERANCE * np.linalg.norm(right)
        x = np.zeros_like(right)
        return conjugate_gradients(*self._matrix, right, x, target, limit)[0]

    def learn(self, rows):
        """Find slow modes, those of clusters say, in solutions (k, p) of any kind.

        What `follow` starts from then has no error along them.
        """
        diagonal = self._matrix[3]
        rows = self._centre(rows[: 3 * _MODES])
        values, modes = _ritz(self._A, diagonal, rows)
        modes = modes[: np.count_nonzero(values[:_MODES] <= _SLOW)]
        for _ in range(_ROUNDS if len(modes) else 0):
            values, modes = _ritz(
                self._A, diagonal, self._centre(self.solve(modes * diagonal))
            )
        self.info["n_slow_modes"] = len(modes)
        if len(modes):
            self._slow = modes, values

    def _centre(self, rows):
        """Make rows orthogonal to the kernel in the metric of the diagonal."""
        if self._label is None:
            return rows
        diagonal, n = self._matrix[3], len(self._size)
        size = np.bincount(self._label, diagonal, n)
        size[(size == 0) | np.isinf(self._size)] = np.inf
        means = [np.bincount(self._label, v * diagonal, n) / size for v in rows]
        return rows - np.stack(means)[:, self._label]

    def _solve(self, right, x, tolerance=TOLERANCE):
        right = self._project(right)
        target = tolerance * np.linalg.norm(right)
        count, rest = conjugate_gradients(*self._matrix, right, x, target, self._limit)
        _check_converged(rest, right)
        self.info["n_solves"] += 1
        self.info["n_products"] += count
        return self._project(x)

    def solve(self, right):
        with ThreadPoolExecutor(_n_blas_threads()) as pool:
            return np.stack(
                list(pool.map(lambda row: self._solve(row, np.zeros_like(row)), right))
            )

    def follow(self):
        past = []

        def solve(right, remember=True):
            x = _extrapolate(past, right)
            if self._slow is not None:
                modes, values = self._slow
                x += (modes @ (self._project(right) - self._A @ x) / values) @ modes
            x = self._solve(np.ascontiguousarray(right), x, FOLLOWED)
            if remember:
                past.append(x)
                del past[:-2]
            return x

        return solve


class _Products:
    """Conjugate gradients with products by X and D only."""

    exact = False

    def __init__(self, matrix):
        self._matrix = matrix
        self._diagonal = matrix.diagonal()
        if (self._diagonal <= 0).any():
            direction = (self._diagonal <= 0).astype(float)
            raise ValueError(_explain(direction))
        self.info = {"n_solves": 0, "n_products": 0}

    def _solve(self, right, x, tolerance=TOLERANCE):
        rest = right - self._matrix.dot(x[None])[0]
        target = tolerance * np.linalg.norm(right)
        way = rest / self._diagonal
        rho = rest @ way
        limit = 1000 + 2 * len(x)
        for _ in range(limit):
            if not np.linalg.norm(rest) > target:
                break
            image = self._matrix.dot(way[None])[0]
            self.info["n_products"] += 1
            length = rho / (way @ image)
            x += length * way
            rest -= length * image
            scaled = rest / self._diagonal
            fresh = rest @ scaled
            way = scaled + (fresh / rho) * way
            rho = fresh
        self.info["n_solves"] += 1
        _check_converged(np.linalg.norm(rest), right)
        return x

    def solve(self, right):
        return np.stack([self._solve(row, np.zeros_like(row)) for row in right])

    def follow(self):
        past = []

        def solve(right, remember=True):
            x = self._solve(right, _extrapolate(past, right), FOLLOWED)
            if remember:
                past.append(x)
                del past[:-2]
            return x

        return solve


class _Corrected:
    """A matrix with a solver, plus ``sign * U'U`` of low rank.

    Parameters
    ----------
    inner : solver of a matrix A
        A generalized inverse of A, symmetric, if A is singular.
    take : callable
        Rows of U, shape (k, p), for a slice.
    blocks : list of slice
        Of all rows of U.
    sign : float
    kernel : csr_array of shape (p, k) or None
        Whose columns span the kernel of A; None if A is regular.
    """

    def __init__(self, inner, take, blocks, sign, kernel):
        self._inner, self.exact = inner, inner.exact
        n = blocks[-1].stop
        if kernel is not None and not kernel.shape[1]:
            kernel = None
        self._kernel = kernel
        extra = 0 if kernel is None else kernel.shape[1]
        small = np.zeros((n + extra, n + extra))
        small[np.arange(n), np.arange(n)] = sign
        first = take(blocks[0])
        self._reach = np.empty((n, first.shape[1]))
        for rows in blocks:
            part = take(rows)
            self._reach[rows] = inner.solve(part)
            if extra:
                small[n:, rows] = kernel.T @ part.T
        for rows in blocks:
            small[rows, :n] += take(rows) @ self._reach.T
        small[:n, n:] = -small[n:, :n].T
        self._small = linalg.lu_factor(small, check_finite=False)
        pivots = np.abs(np.diag(self._small[0]))
        if not pivots.min() > 0:
            raise ValueError(_explain(None))
        self._n = n

    @property
    def info(self):
        return {**self._inner.info, "rank": self._n}

    def _correct(self, x, right):
        sides = self._reach @ right.T
        if self._kernel is not None:
            sides = np.vstack([sides, self._kernel.T @ right.T])
        both = linalg.lu_solve(self._small, sides, check_finite=False)
        x -= both[: self._n].T @ self._reach
        if self._kernel is not None:
            x += (self._kernel @ both[self._n :]).T
        return x

    def solve(self, right):
        return self._correct(self._inner.solve(right), right)

    def follow(self):
        if not hasattr(self._inner, "follow"):
            return lambda right, remember=True: self.solve(right[None])[0]
        self._inner.learn(self._reach)
        inner = self._inner.follow()

        def solve(right, remember=True):
            x = inner(right, remember).copy()
            return self._correct(x[None], right[None])[0]

        return solve


def _check_converged(rest, right):
    """Raise if `rest`, the norm of a residual, is too large for `right`."""
    if not rest <= _TOLERATED * np.linalg.norm(right):
        raise ValueError(
            "conjugate gradients did not converge: X and D (nearly) ignore some "
            "direction, or the input is not finite. Use route='splu' or 'dense', or "
            "add the identity to D (sparselbi.penalties.with_identity)."
        )


def _extrapolate(past, right):
    """A guess on the line through the last two solutions.

    Higher orders are no better: rows that enter make the sequence rough.
    """
    if len(past) == 2:
        return 2.0 * past[1] - past[0]
    return past[0].copy() if past else np.zeros_like(right)


def _ritz(A, diagonal, rows):
    """Eigenvalues, ascending, and vectors of (A, diagonal) within the span of rows."""
    gram = (rows * diagonal) @ rows.T
    size, vectors = linalg.eigh(gram)
    large = size > 1e-8 * size[-1]
    whitened = vectors[:, large] / np.sqrt(size[large])
    inner = whitened.T @ (rows @ (A @ rows.T)) @ whitened
    values, vectors = linalg.eigh(0.5 * (inner + inner.T))
    return values, (whitened @ vectors).T @ rows


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


def _explain(direction, D=None):
    """The message for a direction that X and D ignore (None: it is not known)."""
    what = "some direction"
    if direction is not None:
        size = np.abs(direction)
        inside = np.flatnonzero(size > 1e-6 * size.max())
        values = direction[inside]
        some = f"{inside[:5].tolist()}" + (", ..." if len(inside) > 5 else "")
        if len(inside) == 1:
            what = f"the coefficient of feature {inside[0]}"
        elif np.ptp(values) > 1e-6 * size.max():
            what = f"a combination of the features {some}"
        elif len(inside) == len(direction):
            what = "the constant vector"
        else:
            what = f"constants on the features {some}"
            if D is not None and D.is_graph:
                labels = D.components()[1]
                if len(set(labels[inside].tolist())) == 1:
                    what = (
                        f"constants on component {labels[inside[0]]} of the graph "
                        f"(features {some})"
                    )
    return (
        "the coefficients are not determined: X (centred if there is an intercept) "
        f"and D both ignore {what}. With X = identity use fit_intercept=False; or add "
        "the identity to D (sparselbi.penalties.with_identity), or drop dependent or "
        "constant columns of X."
    )
