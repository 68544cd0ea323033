"""Systems with the second derivatives of an objective of votes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.linalg import lapack

from .._comparison_graph import ComparisonGraph, edges_of
from .._shift_design import SingularFit

# An item or a pair of items has curvature if it has this share of what is usual.
_FLAT = 1e-12
# Of matrices with unit diagonals: eigenvalues below belong to directions that are open
# (or, if below minus this, to no minimum). Laplacians of connected items have none.
_DEPENDENT, _ROUNDED = 1e-9, 1e-13
# A contrast is determined if so little of it lies along open directions.
_ALONG = 1e-6
# Features of unit length are combinations of others if so little is left of them, as in
# the designs; with exchanges of columns if less than `_CLEAR` is left of one.
_LEFT, _CLEAR = 1e-12, 1e-6
# Of lengths: what products of orthonormal coordinates may have instead of 0.
_FAINT = 1e-10


class VoteCurvature:
    """Inverse of ``H = X' diag(curvature) X`` in blocks: items, then side columns.

    X has a row ``e_i - e_j`` for each vote (times the features, if there are any), then
    the side columns: `extra`, and one for a further global parameter (`border`).

    Parameters
    ----------
    pairs : ndarray of int of shape (n, 2)
    curvature : ndarray of shape (n,)
        Second derivatives with respect to eta, times weights. Some may be negative.
    n_items : int
    extra : csr_array of shape (n, n_extra)
    border : tuple of ndarray (n,), (n,) or None
        Mixed derivatives with respect to eta and the parameter, and second ones with
        respect to the parameter, times weights.
    features : ndarray of shape (n_items, d) or None
        Orthonormal, with mean 0: those of a `FeatureSpan`.
    dense : bool
        Whether `solve` uses the inverse of the block of items; with features it always
        does. Otherwise a system with the Laplacian is solved each time.

    Attributes
    ----------
    parts : ndarray of int of shape (n_items,)
        Items that votes with curvature connect. Without features, H says nothing about
        differences between parts.
    n_side, rank : int

    Raises
    ------
    SingularFit
        If H is not positive semidefinite: the fit is no minimum.
    """

    def __init__(self, pairs, curvature, n_items, extra, border, features, dense):
        self._graph = _bent_graph(pairs, curvature, n_items)
        self.parts, self.features = self._graph.components, features
        self.dense = dense or features is not None
        self._cross, corner = _side_blocks(pairs, curvature, n_items, extra, border)
        if features is not None:
            self._cross = features.T @ self._cross
        self.n_inner, self.n_side = self._cross.shape
        self._lift = self._solve_inner(self._cross)
        left = corner - self._cross.T @ self._lift
        own = np.diagonal(corner)
        self._corner, open_side = _inverse(left, _inverse_root(own), _DEPENDENT)
        open_side = _without_rounding(open_side, _inverse_root(own))
        # What is left of scores that explain a column by rounding is nothing.
        usual = np.sqrt(np.abs(own) / max(np.abs(curvature).sum(), 1e-300))
        usual = np.maximum(usual, np.abs(self._lift).max(axis=0, initial=0.0))
        below = -self._lift @ open_side
        nothing = np.abs(below) <= _ALONG * (usual @ np.abs(open_side))
        if features is not None:  # no feature has a meaning of its own
            nothing[:] = nothing.all(axis=0)
        below[nothing] = 0.0
        self._open = np.vstack([below, open_side])
        if self.dense:
            inner_open = self._inner[1]
            if features is None:
                inner_open = _without_rounding(inner_open, self._graph.inverse_root)
            beside = np.zeros((self.n_side, inner_open.shape[1]))
            self._open = np.hstack([self._open, np.vstack([inner_open, beside])])
        free = n_items - self._graph.n_components if features is None else self.n_inner
        self.rank = free + self.n_side - self._open.shape[1]

    @cached_property
    def comparable(self) -> NDArray[np.intp]:
        """Labels of items: differences are determined within them, (n_items,)."""
        along, labels = self._open[: self.n_inner], self.parts
        if self.features is not None:
            along, labels = self.features @ along, np.zeros_like(labels)
        return level_sets(labels, along)

    @cached_property
    def _inner(self):
        """Inverse of the block of the items, and its open directions."""
        graph, features = self._graph, self.features
        laplacian = (
            sparse.diags_array(graph.degree.astype(float), format="csr")
            - graph.adjacency
        )
        if features is not None:
            gram = features.T @ (laplacian @ features)
            # Rounding is relative to features that have not been differenced.
            size = graph.degree @ np.square(features)
            gram = (gram + gram.T) / 2
            found, opened = _inverse(gram, _inverse_root(size), _DEPENDENT)
            if opened.shape[1]:  # of all solutions the shortest, whatever the scale
                opened = linalg.qr(opened, mode="economic")[0]
                found -= opened @ (opened.T @ found)
                found -= (found @ opened) @ opened.T
            return found, opened
        free = graph.free
        inner = laplacian[free][:, free].toarray()
        found, open_free = _inverse(inner, graph.inverse_root[free], _ROUNDED)
        inverse = np.zeros((graph.n_items, graph.n_items))
        inverse[np.ix_(free, free)] = found
        inverse = graph.centred(np.ascontiguousarray(graph.centred(inverse).T))
        opened = np.zeros((graph.n_items, open_free.shape[1]))
        opened[free] = open_free
        return inverse, opened

    def _solve_inner(self, b):
        if self.dense:
            return self._inner[0] @ b
        return self._graph.centred(self._graph.solve(b).T).T

    def solve(
        self, items: NDArray[np.float64], side: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``H^-1 b``.

        Parameters
        ----------
        items : ndarray of shape (n_items or d, k)
            Without features, summing to 0 in every part.
        side : ndarray of shape (n_side, k)

        Returns
        -------
        items, side : ndarray of shape (n_items, k), (n_side, k)
            Scores (of the solution of features, if there are any) sum to 0 in every
            part. One of many solutions if there are open directions.
        """
        inner, outer = self.solve_inner(items, side)
        return inner if self.features is None else self.features @ inner, outer

    def solve_inner(self, items, side):
        """The same, with the coefficients of features instead of scores."""
        inner = self._solve_inner(items)
        outer = self._corner @ (side - self._cross.T @ inner)
        return inner - self._lift @ outer, outer

    def determined(self, items: Any, side: Any) -> NDArray[np.bool_]:
        """Whether H says something about contrasts (columns), apart from `parts`."""
        rotated = 0 if self.features is None else self.n_inner
        return free_of(np.vstack([items, side]), self._open, rotated)

    def inverse_columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Solutions for every item less the others, (n_items or n_side, n_items)."""
        outer = self._corner @ self._lift.T
        inner, outer = self._inner[0] + self._lift @ outer, -outer
        if self.features is None:
            return inner, outer
        return self.features @ inner @ self.features.T, outer @ self.features.T


class FeatureSpan:
    """Orthonormal coordinates of the scores that are linear in features of the items.

    Features that are combinations of others (and a constant) add none: the scores of a
    fit do not depend on how it divides a coefficient between them.

    Parameters
    ----------
    features : {ndarray, sparse matrix} of shape (n_items, d)
    accurate : bool
        Whether the fit has looked for combinations in rows of votes, not in a Gram
        matrix: it has the coordinates that errors are asked for.

    Attributes
    ----------
    values : ndarray of shape (n_items, r)
        Orthonormal, with mean 0; they span what the features have but a constant.
    """

    def __init__(self, features: Any, accurate: bool):
        if sparse.issparse(features):
            features = features.toarray()
        eps = np.finfo(np.float64).eps
        precision = 16 * (eps if accurate else np.finfo(features.dtype).eps)
        self._left = _LEFT if accurate else np.sqrt(16 * features.shape[1] * eps)
        X = np.array(features, dtype=np.float64, order="F")
        lost = precision * np.sqrt(len(X)) * np.abs(X).max(axis=0)
        X -= X.mean(axis=0)
        size = np.sqrt(np.einsum("ij,ij->j", X, X))
        constant = size <= lost
        X[:, constant], size[constant], lost[constant] = 0.0, 1.0, 1.0
        X /= size
        tolerance = np.maximum(self._left, lost / size)
        self._size, self._order = size, np.arange(len(size))
        Q, R = linalg.qr(X, mode="economic")
        left = np.abs(np.diagonal(R))
        if len(left) < len(size) or not (left > np.maximum(_CLEAR, tolerance)).all():
            Q, R, self._order = linalg.qr(
                X, overwrite_a=True, mode="economic", pivoting=True
            )
            left = np.abs(np.diagonal(R))
            small = left <= tolerance[self._order[: len(left)]]
            left = left[: np.argmax(small)] if small.any() else left
        r = len(left)
        self.values, self._R = np.ascontiguousarray(Q[:, :r]), R[:r]

    def contrasts(self, coefs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Contrasts of coefficients (d, k) in coordinates, (r, k)."""
        r = len(self._R)
        chosen = (coefs / self._size[:, None])[self._order[:r]]
        return linalg.solve_triangular(self._R[:, :r], chosen, trans="T")

    def determined(self, coefs: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether contrasts of coefficients (columns) follow from scores, (k,)."""
        r = len(self._R)
        others = (coefs / self._size[:, None])[self._order[r:]]
        coordinates, R = self.contrasts(coefs), self._R[:, r:]
        gap = np.abs(R.T @ coordinates - others)
        size = np.abs(coefs / self._size[:, None]).max(axis=0)
        rounding = self._left * linalg.norm(coordinates, axis=0)
        return np.all(gap <= _ALONG * size + rounding, axis=0)


def level_sets(
    labels: NDArray[np.intp], places: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Parts of labels (n_items,) within which all places (n_items, k) are equal."""
    for place in places.T:
        size = np.abs(place).max()
        if not size > 0:
            continue
        order = np.argsort(place)
        new = np.zeros(len(place), dtype=np.intp)
        new[1:] = np.diff(place[order]) > _ALONG * size
        level = np.empty_like(new)
        level[order] = np.cumsum(new)
        _, labels = np.unique(labels * len(place) + level, return_inverse=True)
    return labels


def free_of(
    contrasts: NDArray[np.float64], directions: NDArray[np.float64], rotated: int = 0
) -> NDArray[np.bool_]:
    """Whether contrasts (columns) have no part along any direction (column).

    So many first coordinates are `rotated`: they may be rounding where they would be 0.
    """
    along = np.abs(contrasts.T @ directions)
    size = np.abs(contrasts).T @ np.abs(directions)
    c, d = (linalg.norm(part[:rotated], axis=0) for part in (contrasts, directions))
    return np.all(along <= _ALONG * size + _FAINT * np.outer(c, d), axis=1)


def _bent_graph(pairs, curvature, n_items):
    """Pairs of items that have curvature, with its sum as weight."""
    low, high, edge = edges_of(pairs[:, 0], pairs[:, 1], n_items)
    sums = np.bincount(edge, curvature, len(low)).astype(np.float64)
    size = np.bincount(edge, np.abs(curvature), len(low))
    used = size > 0
    held = used & (sums != 0)
    if used.any():
        held &= size > _FLAT * np.median(size[used])
    low, high, sums = low[held], high[held], sums[held]
    degree = np.bincount(low, sums, n_items) + np.bincount(high, sums, n_items)
    if (degree < 0).any():
        raise _no_minimum()
    return ComparisonGraph(low, high, sums, n_items)


def _side_blocks(pairs, curvature, n_items, extra, border):
    """Blocks of H: items with side columns, and these among each other."""
    weighted = (sparse.diags_array(curvature, format="csr") @ extra).tocsr()
    corner = (extra.T @ weighted).toarray()
    if border is not None:
        mixed, own = border
        if not own.sum() > 0:
            raise _no_minimum()
        beside = extra.T @ mixed
        corner = np.block([[corner, beside[:, None]], [beside, own.sum()]])
        weighted = sparse.hstack([weighted, mixed[:, None]], format="csr")
    n = len(pairs)
    entries = np.repeat([1.0, -1.0], n), (pairs.T.ravel(), np.tile(np.arange(n), 2))
    incidence = sparse.csr_array(entries, shape=(n_items, n))
    return (incidence @ weighted).toarray(), corner


def _inverse(matrix, scale, tolerance):
    """A symmetric inverse, and a basis of the directions that are open.

    `scale` times `matrix` times `scale` has unit diagonal, or a smaller one.
    """
    n = len(matrix)
    if not n:
        return np.zeros((0, 0)), np.zeros((0, 0))
    scaled = matrix * scale * scale[:, None]
    factor, failed = lapack.dpotrf(scaled, lower=True)
    if not failed and np.diagonal(factor).min() ** 2 > tolerance:
        inverse, _ = lapack.dpotri(factor, lower=True)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        return inverse * scale * scale[:, None], np.zeros((n, 0))
    values, vectors = linalg.eigh(scaled)
    if values[0] < -tolerance:
        raise _no_minimum()
    some = values > tolerance
    half = vectors[:, some] / np.sqrt(values[some])
    open_directions = vectors[:, ~some] * np.where(scale > 0, scale, 1.0)[:, None]
    return (half @ half.T) * scale * scale[:, None], open_directions


def _without_rounding(directions, scale):
    """Directions from `_inverse`, with zeros where they have nothing but rounding."""
    unit = np.where(scale > 0, scale, 1.0)[:, None]
    return np.where(np.abs(directions) <= _ALONG * unit, 0.0, directions)


def _inverse_root(size):
    out = np.zeros(len(size))
    np.divide(1.0, np.sqrt(np.maximum(size, 0.0)), out=out, where=size > 0)
    return out


def _no_minimum():
    return SingularFit(
        "the second derivatives of the objective are not those of a minimum, so that "
        "the fit has no standard errors. Use a ridge, or estimate the model in which "
        "the objective is convex (no flip rate)."
    )
