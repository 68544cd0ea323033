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
                             columns; of all of D, found once, where blocks are
                             large; projection by LSMR where D is.
============================ ==================================================
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator

from ._kernel_blocks import (
    DenseBlock,
    InactiveRows,
    LargeBlock,
    SharedBlocks,
    TooLarge,
    cost,
    independent_parts,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .transforms import Transform

__all__ = [
    "Decomposition",
    "KernelSpaces",
    "TooLarge",
    "basis",
    "decompose",
    "dimension",
    "kernel_spaces",
    "project",
]

# Multiplications, min(m, p)^2 max(m, p), up to which singular vectors of a block are
# computed for each set of rows, and, at most, for all of D or for a single set.
_CHEAP = 1e8
_AFFORDABLE = 3e10
_EPS = np.finfo(np.float64).eps


def project(D: Transform, active: ArrayLike, coef: ArrayLike) -> NDArray[np.float64]:
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
        If D is too large for a factorization, and so ill-conditioned that the
        iterative projection does not converge.
    """
    return kernel_spaces(D).project(active, coef)


def dimension(D: Transform, active: ArrayLike) -> int | None:
    """Return the dimension of ker D_{S^c}, or None where it cannot be decided.

    It is counted for graphs and for D of full row rank (p minus the number of inactive
    rows), and a numerical rank otherwise; None if D is too large for that.

    Parameters
    ----------
    D, active
        As in `project`.
    """
    return kernel_spaces(D).dimension(active)


def basis(D: Transform, active: ArrayLike) -> Any:
    """Return linearly independent columns that span ker D_{S^c}.

    Parameters
    ----------
    D, active
        As in `project`.

    Returns
    -------
    csc_array or ndarray of shape (p, dimension)
        Graphs: indicators of the pieces, sparse, ordered by their first feature.
        Differences: B-splines of length 1, sparse. Wavelets: the active rows. Any other
        D: orthonormal columns, sparse if D is sparse and falls into blocks.

    Raises
    ------
    ValueError
        If the dimension cannot be decided, or the basis is too large.
    """
    return kernel_spaces(D).basis(active)


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Coefficients as the sum of a strong, a weak and a null part, up to rounding.

    Attributes
    ----------
    strong : ndarray of shape (..., p)
        Projection onto ker D_{S^c}: what the support of the split coefficients tells.
    weak, null : ndarray of shape (..., p)
        The rest, which is orthogonal to ``strong``. Entries above the threshold are
        weak signals, good for prediction; the others are nulls.
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


def decompose(
    D: Transform,
    active: ArrayLike,
    coef: ArrayLike,
    *,
    null_threshold: float | None = None,
    null_quantile: float = 0.5,
) -> Decomposition:
    """Split coefficients into strong, weak and null parts.

    Parameters
    ----------
    D, active, coef
        As in `project`.
    null_threshold : float, default=None
        In units of the coefficients: entries of the rest up to it are nulls.
    null_quantile : float in [0, 1], default=0.5
        Without a `null_threshold`: this share of the nonzero entries of the rest, those
        of least absolute value, are nulls. Where weak signals end is a choice of the
        user; nothing on the path decides it.

    Returns
    -------
    Decomposition

    Raises
    ------
    ValueError
        If a shape does not fit, or the threshold or quantile is out of range.

    References
    ----------
    Zhao, B., Sun, X., Fu, Y., Yao, Y., Wang, Y. (2018). MSplit LBI: realizing feature
    selection and dense estimation simultaneously in few-shot and zero-shot learning.
    International Conference on Machine Learning.
    """
    coef = np.asarray(coef, dtype=np.float64)
    strong = project(D, active, coef)
    rest = coef - strong
    # Where the projection changes nothing, rounding is no weak signal.
    rest[np.abs(rest) <= 8 * _EPS * np.abs(coef).max(initial=0.0)] = 0.0
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
        nonzero = np.sort(size[size > 0])
        n_null = int(np.floor(null_quantile * len(nonzero)))
        threshold = float(nonzero[n_null - 1]) if n_null else 0.0
    is_weak = size > threshold
    weak, null = np.where(is_weak, rest, 0.0), np.where(is_weak, 0.0, rest)
    return Decomposition(strong, weak, null, threshold)


def kernel_spaces(D: Transform) -> KernelSpaces:
    """Return the spaces of D; they are kept as long as D lives."""
    spaces = _known.get(D)
    if spaces is None:
        spaces = _known[D] = _representation(D)(D)
    return spaces


_known: weakref.WeakKeyDictionary[Any, KernelSpaces] = weakref.WeakKeyDictionary()


def _representation(D: Transform) -> type[KernelSpaces]:
    if D.is_graph:
        return _Pieces
    if D.kind == "differences":
        return _Splines
    if D.is_orthonormal:
        return _Orthonormal
    return _General


class KernelSpaces(ABC):
    """The spaces ker D_{S^c} of one D, for sets S given as masks of its rows.

    Of the last set, what was computed is kept: asking for its projection, dimension and
    basis costs little more than one of them.
    """

    def __init__(self, D: Transform) -> None:
        # Kept with D as a weak key: a reference back would keep both for ever.
        self._D = weakref.ref(D)
        self.n_rows, self.n_features = D.shape
        self._key: bytes | None = None
        self._found: Any = None

    @property
    def D(self) -> Transform:
        D = self._D()
        assert D is not None
        return D

    def project(self, active: ArrayLike, coef: ArrayLike) -> NDArray[np.float64]:
        """See `sparselbi.penalties.kernel_spaces.project`."""
        active = self._checked(active)
        coef = np.asarray(coef, dtype=np.float64)
        if coef.shape[-1:] != (self.n_features,):
            raise ValueError(
                f"coef has shape {coef.shape}; its last axis needs one number for each "
                f"of the {self.n_features} columns of D."
            )
        flat = coef.reshape(-1, self.n_features)
        return self._project(active, flat).reshape(coef.shape)

    def dimension(self, active: ArrayLike) -> int | None:
        """See `sparselbi.penalties.kernel_spaces.dimension`."""
        return self._dimension(self._checked(active))

    def basis(self, active: ArrayLike) -> Any:
        """See `sparselbi.penalties.kernel_spaces.basis`."""
        return self._basis(self._checked(active))

    def key(self, active: ArrayLike) -> bytes:
        """Bytes that are equal only for sets with the same space."""
        return np.packbits(self._checked(active)).tobytes()

    @abstractmethod
    def _find(self, active: NDArray[np.bool_]) -> Any:
        """What all questions about a set need."""

    @abstractmethod
    def _project(self, active: NDArray[np.bool_], coef: Any) -> NDArray[np.float64]:
        """Project rows of coefficients, (k, n_features)."""

    @abstractmethod
    def _dimension(self, active: NDArray[np.bool_]) -> int | None: ...

    @abstractmethod
    def _basis(self, active: NDArray[np.bool_]) -> Any: ...

    def _kept(self, active: NDArray[np.bool_]) -> Any:
        key = np.packbits(active).tobytes()
        if key != self._key:
            self._found = self._find(active)
            self._key = key
        return self._found

    def _checked(self, active: ArrayLike) -> NDArray[np.bool_]:
        active = np.asarray(active)
        if active.shape != (self.n_rows,) or active.dtype != bool:
            raise ValueError(
                f"active has shape {active.shape} and dtype {active.dtype}; it needs "
                f"True or False for each of the {self.n_rows} rows of D."
            )
        return active


class _Pieces(KernelSpaces):
    """Graphs: constant on each component of the inactive edges."""

    def _find(self, active: NDArray[np.bool_]) -> Any:
        n_pieces, labels = self.D.components(~active)
        return n_pieces, labels, np.flatnonzero(labels >= 0)

    def key(self, active: ArrayLike) -> bytes:
        # Labels are in order of the first feature: same pieces, same labels.
        return bytes(self._kept(self._checked(active))[1].tobytes())

    def _project(self, active: NDArray[np.bool_], coef: Any) -> NDArray[np.float64]:
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

    def _dimension(self, active: NDArray[np.bool_]) -> int:
        return int(self._kept(active)[0])

    def _basis(self, active: NDArray[np.bool_]) -> Any:
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
    zero except in row ``s = t - 1``. Leibniz' rule gives a recursion over k that only
    adds nonnegative terms, as for polynomial splines.

    References
    ----------
    Schumaker, L. L. (2007). Spline Functions: Basic Theory, 3rd edition, section 8.5.
    """

    def _find(self, active: NDArray[np.bool_]) -> Any:
        p, k = self.n_features, self._order
        inner = np.flatnonzero(active) + 1
        knots = np.concatenate([np.arange(1 - k, 1), inner, np.arange(p - k, p) + 1])
        x = np.arange(p)
        last = np.searchsorted(knots, x, side="right") - 1
        # values[j]: the spline whose first knot is j before the last one up to x.
        values = np.zeros((k, p))
        values[0] = 1.0 / (knots[last + 1] - knots[last])
        for order in range(2, k + 1):
            at, lower = x - order + 2, values.copy()
            for j in range(order):
                # Indices outside belong to splines that are zero at x.
                low = knots[np.maximum(last - j, 0)]
                high = knots[np.minimum(last - j + order, len(knots) - 1)]
                rising = (at - low) * lower[j] if j < order - 1 else 0.0
                falling = (high - at) * lower[j - 1] if j > 0 else 0.0
                values[j] = (rising + falling) / (high - low)
        columns = last - np.arange(k)[:, None]
        inside = (columns >= 0) & (columns < len(knots) - k) & (values != 0)
        rows = np.broadcast_to(x, (k, p))[inside]
        splines = sparse.csc_array(
            (values[inside], (rows, columns[inside])), shape=(p, len(knots) - k)
        )
        length = np.sqrt(splines.multiply(splines).sum(axis=0))
        return sparse.csc_array(splines @ sparse.diags_array(1 / length))

    @property
    def _order(self) -> int:
        return self.D.order or 1

    def _project(self, active: NDArray[np.bool_], coef: Any) -> NDArray[np.float64]:
        splines = self._kept(active)
        normal = sparse.csc_array(splines.T @ splines)
        n_splines = normal.shape[0]
        band = np.zeros((min(self._order, n_splines), n_splines))
        for j in range(len(band)):
            band[j, : n_splines - j] = normal.diagonal(-j)
        factor = linalg.cholesky_banded(band, lower=True)
        out = np.zeros_like(coef)
        for _ in range(2):  # the second time refines
            rest = splines.T @ (coef - out).T
            out += (splines @ linalg.cho_solve_banded((factor, True), rest)).T
        return out

    def _dimension(self, active: NDArray[np.bool_]) -> int:
        return self._order + int(active.sum())

    def _basis(self, active: NDArray[np.bool_]) -> Any:
        return self._kept(active)


class _Orthonormal(KernelSpaces):
    """Square D with orthonormal rows: the active rows span the space."""

    def _find(self, active: NDArray[np.bool_]) -> Any:
        return np.flatnonzero(active)

    def _project(self, active: NDArray[np.bool_], coef: Any) -> NDArray[np.float64]:
        return self.D.rdot(np.where(active, self.D.dot(coef), 0.0))

    def _dimension(self, active: NDArray[np.bool_]) -> int:
        return int(active.sum())

    def _basis(self, active: NDArray[np.bool_]) -> Any:
        rows = self._kept(active)
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

    def __init__(self, D: Transform) -> None:
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
        self._matrix = matrix
        self._shared: SharedBlocks | None = None

    def _find(self, active: NDArray[np.bool_]) -> Any:
        """Free features, and (features, block) pairs; other features are zero."""
        rows = np.flatnonzero(~active)
        everything, nothing = np.arange(self.n_features), np.zeros(0, dtype=np.intp)
        if not len(rows):
            return everything, []
        if isinstance(self._matrix, LinearOperator):
            inactive = InactiveRows(self._matrix, rows)
            return nothing, [(everything, LargeBlock(inactive, False))]
        free, parts = nothing, [(everything, np.arange(len(rows)))]
        if sparse.issparse(self._matrix):
            free, parts = independent_parts(self._matrix[rows])
        hardest = max((cost(len(r), len(c)) for c, r in parts), default=0.0)
        if hardest > _CHEAP and self._is_affordable:
            if self._shared is None:
                self._shared = SharedBlocks(_dense(self._matrix))
            return nothing, [(everything, self._shared.block(active))]
        return free, [(c, self._block(rows[r], c)) for c, r in parts]

    def _block(self, rows: Any, columns: Any) -> Any:
        part = self._matrix[rows]
        if len(columns) < self.n_features:
            part = part[:, columns]
        if cost(*part.shape) <= _AFFORDABLE:
            return DenseBlock(_dense(part))
        return LargeBlock(part, bool(self.D.full_row_rank))

    def _project(self, active: NDArray[np.bool_], coef: Any) -> NDArray[np.float64]:
        free, blocks = self._kept(active)
        out = np.zeros_like(coef)
        out[:, free] = coef[:, free]
        for columns, block in blocks:
            out[:, columns] = block.project(coef[:, columns])
        return out

    def _dimension(self, active: NDArray[np.bool_]) -> int | None:
        if self.D.full_row_rank:
            return self.n_features - int((~active).sum())
        free, blocks = self._kept(active)
        dimensions = [block.dimension for _, block in blocks]
        return None if None in dimensions else len(free) + sum(dimensions)

    def _basis(self, active: NDArray[np.bool_]) -> Any:
        free, blocks = self._kept(active)
        if len(blocks) == 1 and len(blocks[0][0]) == self.n_features:
            return blocks[0][1].basis()
        parts = [(free, sparse.eye_array(len(free)))]
        parts += [(columns, block.basis()) for columns, block in blocks]
        return sparse.hstack(
            [_spread(*part, self.n_features) for part in parts], format="csc"
        )


def _spread(rows: Any, columns: Any, n_features: int) -> Any:
    """Put the rows of a small matrix where they belong."""
    part = sparse.coo_array(columns)
    return sparse.csc_array(
        (part.data, (rows[part.row], part.col)), shape=(n_features, part.shape[1])
    )


def _dense(matrix: Any) -> Any:
    return matrix.toarray() if sparse.issparse(matrix) else matrix
