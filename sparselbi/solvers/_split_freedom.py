"""Degrees of freedom of the dense coefficients of Split LBI.

They are those of the partial ridge, which minimizes
``L(coef) + ||D_{S^c} coef||^2 / (2 nu_raw)``. For squared loss its fit is linear in y
with trace ``tr[X (X'WX + D_{S^c}' D_{S^c} / nu_raw)^+ X'W]``: X centred, so that the
intercept is not counted, and W the weights, which sum to one. For another loss it is
the trace of the last step of iteratively reweighted least squares: W carries the second
derivatives of the loss at the fit.
"""

import numpy as np
from scipy import linalg, sparse

from ._split_fit import Design

# Multiplications, (rows of both) times p^2, and numbers up to which X and D are
# factorized.
_AFFORDABLE, _MAX_NUMBERS = 3e10, 5e7
# Entries of the products of rows that are held together.
_MAX_PRODUCTS = 3e7
# Unknowns up to which a reweighted problem is factorized for each support.
_MAX_UNKNOWNS = 1000
# Estimates: numbers in the random vectors of one product, relative residual of the
# solutions, steps after which conjugate gradients are given up.
_PROBES, _ACCURACY, _MAX_STEPS = 2**19, 1e-5, 300
# Directions in which columns of unit length are shorter than this count as dependent.
_DEPENDENT = 1e-10
# Relative pivots above which a factorization needs no pivoting.
_CLEAR = 1e-8
_EPS = np.finfo(np.float64).eps


def dense_freedom(split):
    """Return what finds the degrees of freedom for a `SplitProblem` with nu resolved.

    It is called with masks (K, n_rows) and, unless the loss is squared, etas
    (K, n_outputs, n_samples). Its ``rule`` says how the result (K,) is found.
    """
    n, m, p = split.problem.n_samples, split.n_rows, split.n_features
    if split.problem.loss.name != "squared":
        if split.n_outputs * (p + 1) <= _MAX_UNKNOWNS:
            return _Reweighted(split)
        return _Unavailable(
            f"not available: more than {_MAX_UNKNOWNS} coefficients of a loss that is "
            "not squared"
        )
    size = float(p) * (min(n, p) + m)
    if size <= _MAX_NUMBERS and size * p <= _AFFORDABLE:
        return _Exact(split)
    if n >= p:
        return _Estimated(split)
    return _Unavailable(
        f"not available: {p} columns are too many to be factorized, and X has fewer "
        "rows than columns"
    )


class _Unavailable:
    def __init__(self, rule):
        self.rule = rule

    def __call__(self, masks, etas=None):
        return np.full(len(masks), np.nan)


class _Exact:
    """Squared loss, by an orthonormal basis (Q1; Q2) of the columns of (X; D).

    Found once. With it the trace is ``||Q1||^2 + tr[F (I - Q2_S Q2_S')^+ F']``,
    ``F = Q1 Q2_S'``: a support costs what its rows cost.
    """

    rule = "exact"

    def __init__(self, split):
        problem, p = split.problem, split.n_features
        if problem.n_samples <= p:
            X = problem.columns(np.arange(p))
        else:  # rows with the same moments
            size, vectors = linalg.eigh(Design(problem).gram(problem.omega))
            size[size < p * _EPS * size[-1]] = 0.0
            X = np.sqrt(size)[:, None] * vectors.T
        stack = np.vstack([X, split.D.to_dense() / np.sqrt(split.nu_raw)])
        length = np.linalg.norm(stack, axis=0)
        stack /= np.where(length > 0, length, 1.0)
        basis, R = linalg.qr(
            stack, mode="economic", overwrite_a=True, check_finite=False
        )
        if len(R) < p or not linalg.lapack.dtrcon(R)[0] > _DEPENDENT:
            directions, size, _ = linalg.svd(R, check_finite=False)
            basis = basis @ directions[:, : (size > _DEPENDENT * size[0]).sum()]
        self._top, self._rows = basis[: len(X)], basis[len(X) :]
        self._empty = float((self._top**2).sum())

    def __call__(self, masks, etas=None):
        # Products of all rows that are active in some set, each found once.
        ever = np.flatnonzero(masks.any(axis=0))
        few = self._top.shape[1]
        if len(ever) ** 2 > _MAX_PRODUCTS:
            ever, few = ever[:0], 0
        inside = self._rows[ever]
        matrix, cross = -inside @ inside.T, self._top @ inside.T
        matrix[np.diag_indices(len(ever))] += 1.0
        out, known = np.empty(len(masks)), {}
        for k, active in enumerate(masks):
            key = np.packbits(active).tobytes()
            if key not in known:
                if not active.any():
                    known[key] = self._empty
                elif active.sum() > few:
                    known[key] = self._of_outside(active)
                else:
                    some = np.flatnonzero(active[ever])
                    gain = _trace(matrix[np.ix_(some, some)], cross[:, some])
                    known[key] = self._empty + gain
            out[k] = known[key]
        return out

    def _of_outside(self, active):
        outside = self._rows[~active]
        return _trace(self._top.T @ self._top + outside.T @ outside, self._top)


class _Estimated:
    """Squared loss: means over random signs v of ``v' X M^+ X' v``.

    Systems are solved by conjugate gradients. The signs are seeded, and the same for
    all supports, so that neighbours on a path can be compared.
    """

    def __init__(self, split):
        problem = split.problem
        n_probes = max(2, -(-_PROBES // split.n_features))
        rng = np.random.default_rng(0)
        signs = rng.choice([-1.0, 1.0], size=(n_probes, problem.n_samples))
        self._split, self._design = split, Design(problem)
        self._right = problem.correlate(problem.sqrt_weight * signs)
        self.rule = f"estimated with {n_probes} random vectors"

    def __call__(self, masks, etas=None):
        out = np.full(len(masks), np.nan)
        for k, active in enumerate(masks):
            out[k] = self._of(active)
            if np.isnan(out[k]):
                self.rule = (
                    f"not available: conjugate gradients need more than {_MAX_STEPS} "
                    "steps; use a smaller D or another nu"
                )
                break
        return out

    def _of(self, active):
        split, design = self._split, self._design

        def product(v):
            image = split.D.dot(v)
            image[:, active] = 0.0
            score = design.apply(v) * split.problem.omega
            return design.correlate(score) + split.D.rdot(image) / split.nu_raw

        x, rest = np.zeros_like(self._right), self._right.copy()
        direction, size = rest.copy(), (rest**2).sum(axis=1)
        limit = _ACCURACY**2 * size
        for _ in range(_MAX_STEPS):
            if (size <= limit).all():
                # The part of the residual squares the error.
                return float(((self._right + rest) * x).sum() / len(x))
            image = product(direction)
            share = _ratio(size, (direction * image).sum(axis=1))
            x += share * direction
            rest -= share * image
            new = (rest**2).sum(axis=1)
            direction = rest + _ratio(new, size) * direction
            size = new
        return np.nan


class _Reweighted:
    """Other losses: a Cholesky factorization for each support."""

    rule = "exact"

    def __init__(self, split):
        self._split = split
        columns = np.arange(split.n_features + int(split.problem.has_intercept_column))
        self._columns = split.problem.columns(columns, weighted=False).T

    def __call__(self, masks, etas=None):
        if etas is None:
            raise ValueError(
                f"loss={self._split.problem.loss.name!r}: the degrees of freedom "
                "depend on the fit; give its linear predictors as eta."
            )
        return np.array([self._of(*pair) for pair in zip(masks, etas, strict=True)])

    def _of(self, active, eta):
        split, problem, columns = self._split, self._split.problem, self._columns
        n_outputs, width, p = split.n_outputs, len(columns), split.n_features
        second = problem.loss.hessian(problem.y, eta) * problem.omega
        hessian = np.empty((n_outputs, width, n_outputs, width))
        for k in range(n_outputs):
            for j in range(k + 1):
                part = (columns * second[k, j]) @ columns.T
                hessian[k, :, j], hessian[j, :, k] = part, part
        hessian = hessian.reshape(n_outputs * width, -1)
        ridge = np.zeros((width, width))
        ridge[:p, :p] = _gram(split.D, ~active) / split.nu_raw
        matrix = hessian + np.kron(np.eye(n_outputs), ridge)
        size = np.sqrt(np.diagonal(matrix))
        size = np.where(size > 0, size, 1.0)
        factor, some = _cholesky(matrix / np.outer(size, size))
        inner = (hessian / np.outer(size, size))[np.ix_(some, some)]
        half = linalg.solve_triangular(factor, inner, trans="T")
        total = np.trace(linalg.solve_triangular(factor, half.T, trans="T"))
        # Intercepts are not counted; those of a softmax have one in common.
        n_free = n_outputs - (problem.loss.name == "multinomial")
        return float(total) - n_free * problem.has_intercept_column


def _gram(D, rows):
    """D'D of some rows, dense."""
    part = (D.to_dense() if D.is_operator else D.matrix)[rows]
    square = part.T @ part
    return square.toarray() if sparse.issparse(square) else square


def _trace(matrix, rows):
    """``tr(rows @ pinv(matrix) @ rows.T)`` for rows in the range of a psd matrix."""
    factor, some = _cholesky(matrix)
    half = linalg.solve_triangular(
        factor, rows[:, some].T, trans="T", check_finite=False
    )
    return float((half**2).sum())


def _cholesky(matrix):
    """Upper factor of a psd matrix, on rows (and columns) that are independent.

    Returns the factor and these rows. For v in the range of the matrix,
    ``v' pinv(matrix) v`` needs no others.
    """
    largest = np.diagonal(matrix).max()
    factor, failed = linalg.lapack.dpotrf(matrix)
    if not failed and np.diagonal(factor).min() ** 2 > _CLEAR * largest:
        return factor, np.arange(len(matrix))
    tolerance = 16 * _EPS * np.sqrt(len(matrix)) * largest
    factor, order, rank, _ = linalg.lapack.dpstrf(matrix, tol=tolerance)
    return np.triu(factor[:rank, :rank]), order[:rank] - 1


def _ratio(above, below):
    """Columns (k, 1) of quotients, 0 where `below` is."""
    out = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return out[:, None]
