"""Coefficients on which inactive rows of D vanish: the space ker D_{S^c}.

S is a set of active rows, a boolean mask. A sparse split coefficient with support S
says that the coefficients lie in this space: constant on pieces for a graph, piecewise
polynomial for differences, zero outside S for the identity. What D is decides how the
space is represented, and only this module knows:

============================ ==================================================
D                            its spaces
============================ ==================================================
graph (rows tied to the      connected components of the inactive edges; what is
ground included)             tied to the ground vanishes. O(p + m).
differences of order k       discrete splines of degree k - 1, as B-splines with a
                             knot at each active row: well conditioned, O(p k).
orthonormal (wavelet)        spanned by the active rows.
any other                    singular vectors of blocks of inactive rows that share
                             columns, of all of D once, or, for large D,
                             projection by LSMR.
============================ ==================================================
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator

from ._kernel_blocks import (
    DenseBlock,
    InactiveRows,
    LargeBlock,
    SharedBlocks,
    cost,
    independent_parts,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .transforms import Transform

__all__ = ["Decomposition", "KernelSpaces", "basis", "decompose", "dimension"]
__all__ += ["kernel_spaces", "project"]

# Multiplications, min(m, p)^2 max(m, p), up to which singular vectors of a block are
# computed for each set of rows, and, at most, for all of D or for a single set.
_CHEAP = 1e8
_AFFORDABLE = 3e10


def project(D, active, coef):
    """Return the point of ker D_{S^c} that is closest to some coefficients.

    Parameters
    ----------
    D : Transform of shape (m, p)
    active : bool array-like of shape (m,)
        S, the rows that need not vanish.
    coef : array-like of shape (..., p)
        In the coordinates D acts on.

    Returns
    -------
    ndarray of shape (..., p)

    Raises
    ------
    ValueError
        If a shape does not fit.
    ArithmeticError
        If D is too large for a factorization and so ill-conditioned that the iterative
        projection does not converge.
    """
    return kernel_spaces(D).project(active, coef)


def dimension(D, active):
    """Return the dimension of ker D_{S^c}, or None where it cannot be decided.

    It is counted for graphs and for D of full row rank (p minus the number of inactive
    rows), and a numerical rank otherwise. A D that is too large for that has None.
    Parameters as in `project`.
    """
    return kernel_spaces(D).dimension(active)


def basis(D, active):
    """Return linearly independent columns that span ker D_{S^c}.

    Parameters as in `project`.

    Returns
    -------
    csc_array or ndarray of shape (p, dimension)
        Graphs: indicators of the pieces, sparse, ordered by their first feature.
        Differences: B-splines of length 1, sparse. Wavelets: the active rows. Any other
        D: orthonormal columns, sparse if D is sparse and falls into blocks.

    Raises
    ------
    ValueError
        If the dimension cannot be decided, because D is too large.
    """
    return kernel_spaces(D).basis(active)


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Coefficients as the sum of a strong, a weak and a null part.

    Attributes
    ----------
    strong : ndarray of shape (..., p)
        Projection onto ker D_{S^c}: what the support of the split coefficients tells.
    weak, null : ndarray of shape (..., p)
        The rest, orthogonal to ``strong``: entries above the threshold are weak signals
        (good for prediction), the others are nulls.
    threshold : float
        Entries of the rest with at most this absolute value are in ``null``.
    """

    strong: NDArray[np.float64]
    weak: NDArray[np.float64]
    null: NDArray[np.float64]
    threshold: float

    @property
    def rest(self) -> NDArray[np.float64]:
        """What the sparse estimate leaves out: weak + null."""
        return self.weak + self.null


def decompose(D, active, coef, *, null_threshold=None, null_quantile=0.5):
    """Split coefficients into strong, weak and null parts.

    Parameters
    ----------
    D, active, coef
        As in `project`.
    null_threshold : float, default=None
        In units of the coefficients: entries of the rest up to it are nulls.
    null_quantile : float in [0, 1], default=0.5
        Without a `null_threshold`: this share of the nonzero entries of the rest, those
        of least absolute value, are nulls. Which signals are weak and which are none is
        a matter of choice; no property of the path decides it.

    Returns
    -------
    Decomposition

    References
    ----------
    Zhao, B., Sun, X., Fu, Y., Yao, Y., Wang, Y. (2018). MSplit LBI: realizing feature
    selection and dense estimation simultaneously in few-shot and zero-shot learning.
    International Conference on Machine Learning.
    """
    coef = np.asarray(coef, dtype=np.float64)
    strong = project(D, active, coef)
    rest = coef - strong
    size = np.abs(rest)
    if null_threshold is not None:
        threshold = float(null_threshold)
        if not threshold >= 0:
            raise ValueError(
                f"null_threshold={null_threshold!r} must be at least 0, in units of "
                "the coefficients."
            )
    else:
        if not 0 <= null_quantile <= 1:
            raise ValueError(
                f"null_quantile={null_quantile!r} must be between 0 and 1: the share "
                "of the entries outside the strong part that count as null."
            )
        there = np.sort(size[size > _rounding(coef)])
        n_null = int(np.floor(null_quantile * len(there)))
        threshold = float(there[n_null - 1]) if n_null else 0.0
    is_weak = size > threshold
    weak = np.where(is_weak, rest, 0.0)
    return Decomposition(strong, weak, np.where(is_weak, 0.0, rest), threshold)


def kernel_spaces(D: Transform) -> KernelSpaces:
    """Return the spaces of D; kept as long as D lives, since many sets share work."""
    spaces = _KNOWN.get(D)
    if spaces is None:
        spaces = _KNOWN[D] = _representation(D)(D)
    return spaces


_KNOWN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _representation(D):
    if D.is_graph:
        return _Pieces
    if D.kind == "differences":
        return _Splines
    if D.is_orthonormal:
        return _Orthonormal
    return _General


def _rounding(coef):
    """Size below which a difference of coefficients is only rounding."""
    return 8 * np.finfo(np.float64).eps * np.abs(coef).max(initial=0.0)


class KernelSpaces:
    """The spaces ker D_{S^c} of one D; what the last set S needed is kept."""

    def __init__(self, D):
        # The spaces are kept with D: a reference back would keep both for ever.
        self._D = weakref.ref(D)
        self.n_rows, self.n_features = D.shape
        self._key, self._found = None, None

    @property
    def D(self):
        return self._D()

    def project(self, active, coef):
        active = self._checked(active)
        coef = np.asarray(coef, dtype=np.float64)
        if coef.shape[-1:] != (self.n_features,):
            raise ValueError(
                f"coef has shape {coef.shape}; its last axis needs one number for each "
                f"of the {self.n_features} columns of D."
            )
        flat = coef.reshape(-1, self.n_features)
        return self._project(active, flat).reshape(coef.shape)

    def dimension(self, active):
        return self._dimension(self._checked(active))

    def basis(self, active):
        return self._basis(self._checked(active))

    def key(self, active):
        """Bytes that are equal for sets with the same space, as far as is known."""
        return np.packbits(self._checked(active)).tobytes()

    def _checked(self, active):
        active = np.asarray(active)
        if active.shape != (self.n_rows,) or active.dtype != bool:
            raise ValueError(
                f"active has shape {active.shape} and dtype {active.dtype}; it needs "
                f"True or False for each of the {self.n_rows} rows of D."
            )
        return active

    def _kept(self, active):
        """What `_find` says about a set of rows; asked again, it is not recomputed."""
        key = np.packbits(active).tobytes()
        if key != self._key:
            self._found = self._find(active)
            self._key = key
        return self._found


class _Pieces(KernelSpaces):
    """Graphs: constant on each component of the inactive edges."""

    def _find(self, active):
        n_pieces, labels = self.D.components(~active)
        return n_pieces, labels, np.flatnonzero(labels >= 0)

    def key(self, active):
        return self._kept(self._checked(active))[1].tobytes()

    def _project(self, active, coef):
        n_pieces, labels, free = self._kept(active)
        labels = labels[free]
        count = np.bincount(labels, minlength=n_pieces)
        out = np.zeros_like(coef)
        for row, result in zip(coef, out, strict=True):
            # The mean of what is left corrects the rounding of long sums.
            mean = np.bincount(labels, row[free], n_pieces) / count
            mean += np.bincount(labels, row[free] - mean[labels], n_pieces) / count
            result[free] = mean[labels]
        return out

    def _dimension(self, active):
        return self._kept(active)[0]

    def _basis(self, active):
        n_pieces, labels, free = self._kept(active)
        return sparse.csc_array(
            (np.ones(len(free)), (free, labels[free])),
            shape=(self.n_features, n_pieces),
        )


class _Splines(KernelSpaces):
    """Differences of order k: discrete splines with knots at the active rows.

    Row s has the coefficients s, ..., s + k. The B-spline with the integer knots
    ``t_i < ... < t_{i+k}`` is the divided difference in t of the truncated factorial
    ``(x - t)(x - t - 1)...(x - t - k + 2)`` for ``x >= t``, whose k-th difference is
    zero except at row ``s = t - 1``. Leibniz' rule gives the recursion used here, a sum
    of nonnegative terms, as for polynomial splines (de Boor).
    """

    def _find(self, active):
        p, k = self.n_features, self.D.order
        inner = np.flatnonzero(active) + 1
        knots = np.concatenate([np.arange(1 - k, 1), inner, np.arange(p - k, p) + 1])
        x = np.arange(p)
        last = np.searchsorted(knots, x, side="right") - 1
        # Row j: the spline that starts j knots before the one before x.
        values = np.zeros((k, p))
        values[0] = 1.0 / (knots[last + 1] - knots[last])
        for order in range(2, k + 1):
            at = x - order + 2
            old = values.copy()
            for j in range(order):
                start = last - j
                # Indices outside belong to splines that are zero in the range of x.
                low = knots[np.maximum(start, 0)]
                high = knots[np.minimum(start + order, len(knots) - 1)]
                rising = (at - low) * old[j] if j < order - 1 else 0.0
                falling = (high - at) * old[j - 1] if j > 0 else 0.0
                values[j] = (rising + falling) / (high - low)
        n_splines = len(knots) - k
        columns = last - np.arange(k)[:, None]
        inside = (columns >= 0) & (columns < n_splines) & (values != 0)
        rows = np.broadcast_to(x, (k, p))[inside]
        matrix = sparse.csc_array(
            (values[inside], (rows, columns[inside])), shape=(p, n_splines)
        )
        length = np.sqrt(matrix.multiply(matrix).sum(axis=0))
        return sparse.csc_array(matrix @ sparse.diags_array(1 / length))

    def _project(self, active, coef):
        splines = self._kept(active)
        k = self.D.order
        gram = sparse.dia_array(splines.T @ splines)
        band = np.zeros((k, gram.shape[0]))
        for j in range(min(k, gram.shape[0])):
            band[j, : gram.shape[0] - j] = gram.diagonal(-j)
        factor = linalg.cholesky_banded(band, lower=True)
        out = np.zeros_like(coef)
        rest = coef
        for _ in range(2):  # the second time refines
            amount = linalg.cho_solve_banded((factor, True), splines.T @ rest.T)
            out += (splines @ amount).T
            rest = coef - out
        return out

    def _dimension(self, active):
        return self.D.order + int(active.sum())

    def _basis(self, active):
        return self._kept(active)


class _Orthonormal(KernelSpaces):
    """Square D with orthonormal rows: the active rows span the space."""

    def _project(self, active, coef):
        return self.D.rdot(np.where(active, self.D.dot(coef), 0.0))

    def _dimension(self, active):
        return int(active.sum())

    def _basis(self, active):
        rows = np.flatnonzero(active)
        if sparse.issparse(self.D.matrix):
            return sparse.csc_array(self.D.matrix[rows].T)
        unit = np.zeros((len(rows), self.n_rows))
        unit[np.arange(len(rows)), rows] = 1.0
        return self.D.rdot(unit).T


class _General(KernelSpaces):
    """Any D: blocks of inactive rows that share columns.

    A row is divided by its length: that changes no space, and makes ranks independent
    of the units of the rows.
    """

    def __init__(self, D):
        super().__init__(D)
        matrix = D.matrix
        self._is_affordable = cost(*D.shape) <= _AFFORDABLE
        if D.is_operator and self._is_affordable:
            matrix = D.to_dense()
        if sparse.issparse(matrix):
            length = np.sqrt(matrix.multiply(matrix).sum(axis=1))
            matrix = sparse.csr_array(sparse.diags_array(1 / length) @ matrix)
        elif isinstance(matrix, np.ndarray):
            matrix = matrix / np.linalg.norm(matrix, axis=1)[:, None]
        self._matrix, self._shared = matrix, None

    def _find(self, active):
        """Free features, and (features, block) pairs; other features are zero."""
        rows = np.flatnonzero(~active)
        everything, nothing = np.arange(self.n_features), np.zeros(0, dtype=np.intp)
        if not len(rows):
            return everything, []
        if isinstance(self._matrix, LinearOperator):
            block = LargeBlock(InactiveRows(self._matrix, rows), False)
            return nothing, [(everything, block)]
        if not sparse.issparse(self._matrix):
            free, parts = nothing, [(everything, np.arange(len(rows)))]
        else:
            free, parts = independent_parts(self._matrix[rows])
        hardest = max((cost(len(r), len(c)) for c, r in parts), default=0.0)
        if hardest > _CHEAP and self._is_affordable:
            if self._shared is None:
                self._shared = SharedBlocks(_dense(self._matrix))
            return nothing, [(everything, self._shared.block(active))]
        return free, [(c, self._block(rows[r], c)) for c, r in parts]

    def _block(self, rows, columns):
        part = self._matrix[rows]
        if len(columns) < self.n_features:
            part = part[:, columns]
        if cost(*part.shape) <= _AFFORDABLE:
            return DenseBlock(_dense(part))
        return LargeBlock(part, bool(self.D.full_row_rank))

    def _project(self, active, coef):
        free, blocks = self._kept(active)
        out = np.zeros_like(coef)
        out[:, free] = coef[:, free]
        for columns, block in blocks:
            out[:, columns] = block.project(coef[:, columns])
        return out

    def _dimension(self, active):
        if self.D.full_row_rank:
            return self.n_features - int((~active).sum())
        free, blocks = self._kept(active)
        dimensions = [block.dimension for _, block in blocks]
        return None if None in dimensions else len(free) + sum(dimensions)

    def _basis(self, active):
        free, blocks = self._kept(active)
        if len(blocks) == 1 and len(blocks[0][0]) == self.n_features:
            return blocks[0][1].basis()
        parts = [(free, sparse.eye_array(len(free)))]
        parts += [(columns, block.basis()) for columns, block in blocks]
        return sparse.hstack(
            [_spread(*part, self.n_features) for part in parts], format="csc"
        )


def _spread(rows, columns, n_features):
    """Put the rows of a small matrix where they belong."""
    part = sparse.coo_array(columns)
    return sparse.csc_array(
        (part.data, (rows[part.row], part.col)), shape=(n_features, part.shape[1])
    )


def _dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix
