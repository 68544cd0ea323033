"""Solvers for the matrices of `_split_systems`, all with the same two methods.

``solve(right)`` takes and returns rows, shape (k, p). ``follow()``, where it exists,
returns a function ``f(right, remember=True)`` for single vectors (p,) that change
slowly from call to call; calls with ``remember=False`` are not part of the sequence.
`exact` solvers gain by iterative refinement. ``info`` is a dict of numbers.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import fft, linalg, sparse
from scipy.sparse.linalg import splu

from .._row_sums import n_blas_threads
from ._split_steps import conjugate_gradients

__all__ = [
    "Augmented",
    "Corrected",
    "Cosine",
    "Dense",
    "Factor",
    "Gradients",
    "Products",
    "explain",
]

# Residual of conjugate gradients, relative to the right-hand side: of `solve`, and of
# `follow`, whose errors a path forgets.
TOLERANCE = 1e-11
FOLLOWED = 1e-10
_TOLERATED = 1e-8  # rounding may end the progress earlier
# Slow modes of conjugate gradients are searched if a solution needs more products than
# _EASY. At most _MODES are kept, with eigenvalues (of the matrix divided by its
# diagonal) up to _SLOW, after as many rounds of subspace iteration, rough and fine.
_EASY, _MODES, _SLOW, _ROUNDS = 30, 32, 0.25, (2, 4)
# A pivot, or an eigenvalue, below this fraction of the largest is zero.
SINGULAR = 1e-14


class Dense:
    exact = True

    def __init__(self, M):
        self.info = {}
        try:
            self._factor = linalg.cho_factor(M, lower=True, check_finite=False)
            smallest = float(np.min(np.diag(self._factor[0]) ** 2 / np.diag(M)))
        except linalg.LinAlgError:
            smallest = 0.0
        if smallest <= SINGULAR:
            raise ValueError(explain(linalg.eigh(M, subset_by_index=[0, 0])[1][:, 0]))

    def solve(self, right):
        return linalg.cho_solve(self._factor, right.T, check_finite=False).T


class Cosine:
    """Matrices that are diagonal in the orthonormal DCT-II; zeros stay zero."""

    exact = True

    def __init__(self, values):
        self.info = {}
        zero = values <= SINGULAR * values.max()
        self._inverse = np.where(zero, 0.0, 1.0 / np.where(zero, 1.0, values))
        self._axes = tuple(range(-values.ndim, 0))
        self._options = {"axes": self._axes, "norm": "ortho", "overwrite_x": True}
        self._options["workers"] = n_blas_threads()

    def solve(self, right):
        block = right.reshape(len(right), *self._inverse.shape).copy()
        block = fft.dctn(block, **self._options)
        block *= self._inverse
        return fft.idctn(block, **self._options).reshape(right.shape)


class Factor:
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
            raise ValueError(explain(None)) from None
        _check_regular(self._lu, A)
        self.info = {"n_factor_entries": int(self._lu.nnz)}

    def solve(self, right):
        return np.ascontiguousarray(self._lu.solve(np.ascontiguousarray(right.T)).T)


class Augmented:
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
            raise ValueError(explain(None)) from None
        _check_regular(self._lu, matrix, self._p)
        self.info = {"n_factor_entries": int(self._lu.nnz)}

    def solve(self, right):
        block = np.zeros((self._lu.shape[0], len(right)))
        block[: self._p] = right.T
        return np.ascontiguousarray(self._lu.solve(block)[: self._p].T)


class Gradients:
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
        self._arrays = (*indices, upper.data, diagonal, inverse)
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
        self.matrix, self._slow = A, None
        self.info = {"n_solves": 0, "n_products": 0}

    def _project(self, v):
        if self._label is None:
            return np.ascontiguousarray(v)
        mean = np.bincount(self._label, v, len(self._size)) / self._size
        return v - mean[self._label]

    def count(self, right, limit):
        """Number of products, at most `limit`, of one solution from zero."""
        right = self._project(right)
        target = TOLERANCE * np.linalg.norm(right)
        x = np.zeros_like(right)
        return conjugate_gradients(*self._arrays, right, x, target, limit)[0]

    def solve(self, right):
        return self._solve_rows(right, np.zeros_like(right), TOLERANCE)

    def _solve_rows(self, right, start, tolerance):
        def solve_row(row, x):
            return self._solve(self._project(row), x, tolerance)

        with ThreadPoolExecutor(n_blas_threads()) as pool:
            found = list(pool.map(solve_row, right, start))
        self.info["n_solves"] += len(found)
        self.info["n_products"] += sum(count for _, count in found)
        return np.stack([x for x, _ in found])

    def _solve(self, right, x, tolerance):
        """Solution for a projected right-hand side, from x on; number of products."""
        if self._slow is not None:
            modes, values = self._slow
            rest = right - self.matrix @ x
            size = np.abs(rest).max() or 1.0
            x = x + size * ((modes @ (rest / size).astype(np.float32)) / values @ modes)
        else:
            x = x.copy()
        size = np.linalg.norm(right)
        count, rest = conjugate_gradients(
            *self._arrays, right, x, tolerance * size, self._limit
        )
        if not rest <= max(_TOLERATED, tolerance) * size:
            raise _not_converged()
        return self._project(x), count

    def follow(self):
        self.learn()
        past: list = []

        def solve(right, remember=True):
            x = _extrapolate(past, right)
            x, count = self._solve(self._project(right), x, FOLLOWED)
            self.info["n_solves"] += 1
            self.info["n_products"] += count
            if remember:
                past.append(x)
                del past[:-2]
            return x

        return solve

    def learn(self):
        """Find modes that converge slowly, such as those of clusters of a graph.

        Solutions then start without an error along them.
        """
        if "n_slow_modes" in self.info:
            return
        self.info["n_slow_modes"] = 0
        diagonal, p = self._arrays[3], len(self._arrays[3])
        rows = np.random.default_rng(0).standard_normal((min(2 * _MODES, p), p))
        rows *= np.sqrt(diagonal)
        if self.count(rows[0], _EASY + 1) <= _EASY:
            return
        rough, fine = _ROUNDS
        for _ in range(rough):
            rows = self._centre(self._solve_rows(rows, np.zeros_like(rows), 1e-2))
            values, modes = _ritz(self.matrix, diagonal, rows)
            rows = modes * diagonal
        modes = modes[: np.count_nonzero(values[:_MODES] <= _SLOW)]
        for _ in range(fine if len(modes) else 0):
            start = modes / values[: len(modes), None]
            rows = self._solve_rows(modes * diagonal, start, 1e-6)
            values, modes = _ritz(self.matrix, diagonal, self._centre(rows))
        self.info["n_slow_modes"] = len(modes)
        if len(modes):
            size = np.abs(modes).max()
            self._slow = (modes / size).astype(np.float32), values / size**2

    def _centre(self, rows):
        """Make rows orthogonal to the kernel in the metric of the diagonal."""
        if self._label is None:
            return rows
        diagonal, n = self._arrays[3], len(self._size)
        size = np.bincount(self._label, diagonal, n)
        size[(size == 0) | np.isinf(self._size)] = np.inf
        means = [np.bincount(self._label, v * diagonal, n) / size for v in rows]
        return rows - np.stack(means)[:, self._label]


class Products:
    """Conjugate gradients with products by X and D only."""

    exact = False

    def __init__(self, matrix):
        self._matrix = matrix
        self._diagonal = matrix.diagonal()
        if (self._diagonal <= 0).any():
            direction = (self._diagonal <= 0).astype(float)
            raise ValueError(explain(direction))
        self.info = {"n_solves": 0, "n_products": 0}

    def _solve(self, right, x, tolerance=TOLERANCE):
        size = np.linalg.norm(right)
        rest = right - self._matrix.dot(x[None])[0]
        way = rest / self._diagonal
        rho = rest @ way
        for _ in range(1000 + 2 * len(x)):
            if not np.linalg.norm(rest) > tolerance * size:
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
        if not np.linalg.norm(rest) <= _TOLERATED * size:
            raise _not_converged()
        return x

    def solve(self, right):
        return np.stack([self._solve(row, np.zeros_like(row)) for row in right])

    def follow(self):
        past: list = []

        def solve(right, remember=True):
            x = self._solve(right, _extrapolate(past, right).copy(), FOLLOWED)
            if remember:
                past.append(x)
                del past[:-2]
            return x

        return solve


class Corrected:
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
        if n > _EASY and hasattr(inner, "learn"):
            inner.learn()
        self._reach = np.empty((n, take(slice(0, 1)).shape[1]))
        for rows in blocks:
            part = take(rows)
            self._reach[rows] = inner.solve(part)
            if extra:
                small[n:, rows] = kernel.T @ part.T
        for rows in blocks:
            small[rows, :n] += take(rows) @ self._reach.T
        scale = abs(sign) + np.abs(np.diag(small)).max()
        if extra:  # without the units of U
            size = np.linalg.norm(small[n:, :n], axis=1)
            if not size.min() > 0:
                raise ValueError(explain(kernel[:, [size.argmin()]].toarray()[:, 0]))
            small[n:, :n] /= size[:, None]
            self._kernel = kernel @ sparse.diags_array(1.0 / size)
        small[:n, n:] = -small[n:, :n].T
        self._small = linalg.lapack.dgetrf(small)[:2]
        self._n = n
        if np.abs(np.diag(self._small[0])).min() <= 10 * SINGULAR * scale:
            both = linalg.svd(small)[2][-1]
            raise ValueError(explain(self._add(both[n:], -both[:n] @ self._reach)))

    @property
    def info(self):
        return {**self._inner.info, "rank": self._n}

    def _correct(self, x, right):
        """The solution for `right` (p,) from that of A, which is x."""
        sides = self._reach @ right
        if self._kernel is not None:
            sides = np.concatenate([sides, self._kernel.T @ right])
        weights = linalg.lu_solve(self._small, sides, check_finite=False)
        return self._add(weights[self._n :], x - weights[: self._n] @ self._reach)

    def _add(self, weights, x):
        """x, of shape (p,), plus a vector of the kernel."""
        return x if self._kernel is None else x + self._kernel @ weights

    def solve(self, right):
        found = zip(self._inner.solve(right), right, strict=True)
        return np.stack([self._correct(x, row) for x, row in found])

    def follow(self):
        if hasattr(self._inner, "follow"):
            inner = self._inner.follow()
        else:

            def inner(right, remember):
                return self._inner.solve(right[None])[0]

        def solve(right, remember=True):
            return self._correct(inner(right, remember), right)

        return solve


def _check_regular(lu, A, p=None):
    """Raise if a matrix is singular; the first p entries of a vector are coefficients.

    Two steps of inverse iteration find a direction that A ignores.
    """
    v = np.random.default_rng(0).standard_normal(A.shape[0])
    with np.errstate(all="ignore"):
        for _ in range(2):
            v = lu.solve(v / np.linalg.norm(v))
        growth = np.linalg.norm(v) * abs(A).sum(axis=0).max()
    if not growth < 1.0 / SINGULAR:
        raise ValueError(explain(v[:p]))


def _not_converged():
    return ValueError(
        "conjugate gradients did not converge: X and D (nearly) ignore some direction, "
        "or the input is not finite. Use route='splu' or 'dense', or add the identity "
        "to D (sparselbi.penalties.with_identity)."
    )


def _extrapolate(past, right):
    """A guess on the line through the last two solutions.

    Higher orders are no better: rows that enter make the sequence rough.
    """
    if len(past) == 2:
        return 2.0 * past[1] - past[0]
    return past[0] if past else np.zeros_like(right)


def _ritz(A, diagonal, rows):
    """Eigenvalues, ascending, and vectors of (A, diagonal) within the span of rows."""
    gram = (rows * diagonal) @ rows.T
    size, vectors = linalg.eigh(gram)
    large = size > 1e-8 * size[-1]
    whitened = vectors[:, large] / np.sqrt(size[large])
    inner = whitened.T @ (rows @ (A @ rows.T)) @ whitened
    values, vectors = linalg.eigh(0.5 * (inner + inner.T))
    return values, (whitened @ vectors).T @ rows


def explain(direction, D=None):
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
