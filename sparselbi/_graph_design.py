"""Votes about pairs of items as a design of robust fits."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack

from ._comparison_graph import ComparisonGraph, checked_pairs, edges_of
from ._shift_design import SingularFit, TooWide
from ._vote_design import (
    VoteDesign,
    as_columns,
    check_finite,
    incidence,
    scale_rows,
    to_dense,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Coordinates of votes along further columns, at a time.
_NUMBERS = 1 << 20
# Numbers for all items and further columns (400 MB, which are needed a few times).
_MAX_LIFT = 5e7
# Reweighted systems with more further columns are left to sweeps.
_FEW_COLUMNS = 50
# A column that others explain up to this share of its sum of squares has no direction.
_DEPENDENT = 1e-9
# Rows of weight 0 with a larger share outside of the span of the others are outside.
_OUTSIDE = 1e-8
# A dense inverse has at most so many rows (512 MB).
_MAX_INVERSE = 8192
_EPS = np.finfo(np.float64).eps


class _System:
    """Least squares of some votes on scores and further columns, in coordinates.

    Coordinates of the graph are scores less that of the ground item of their component,
    times the root of their degree. Further columns are made orthogonal to the graph and
    orthonormal: ``Z = [C D^-1/2, (E - C lift) turn]`` and ``Z'WZ`` is the scaled
    Laplacian and an identity, block by block.
    """

    def __init__(self, graph, first, second, weight, extra):
        self.graph = graph
        self.n_free = len(graph.free)
        n_columns = extra.shape[1]
        self.kept, self.lift = np.arange(n_columns), np.zeros((graph.n_items, 0))
        self.turn, self.open = np.zeros((0, 0)), np.zeros((n_columns, 0))
        if n_columns:
            self._eliminate(first, second, weight, extra)
        self.rank = self.n_free + len(self.kept)

    def _eliminate(self, first, second, weight, extra):
        graph = self.graph
        n_numbers = graph.n_items * extra.shape[1]
        if n_numbers > _MAX_LIFT:
            raise ValueError(
                f"extra has {extra.shape[1]} columns beside {graph.n_items} items, "
                f"which takes {n_numbers:.3g} numbers; at most {_MAX_LIFT:.0e} have "
                "room. Use fewer columns (one position bias for all workers, or for "
                "those with many votes)."
            )
        cross, gram = _products(first, second, graph.n_items, weight, extra)
        lift = graph.solve(cross)
        left = gram - cross.T @ lift
        length = np.sqrt(gram.diagonal())
        inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
        left = (left + left.T) / 2 * inverse * inverse[:, None]
        factor, order, rank, _ = lapack.dpstrf(left, tol=_DEPENDENT)
        order = order - 1
        kept, others = order[:rank], order[rank:]
        across, turn = np.zeros((rank, len(others))), np.zeros((rank, rank))
        if rank:
            corner = np.triu(factor[:rank, :rank])
            across = linalg.solve_triangular(corner, factor[:rank, rank:])
            turn = linalg.solve_triangular(corner, np.eye(rank))
        # Combinations of columns that scores explain.
        self.open = np.zeros((len(order), len(others)))
        self.open[others, np.arange(len(others))] = 1.0
        self.open[kept] = -across * inverse[kept, None] * length[others]
        self.open_scores = -lift @ self.open
        back = np.argsort(kept)
        self.kept, self.lift = kept[back], lift[:, kept[back]]
        self.turn = (inverse[kept, None] * turn)[back]

    def potentials(self, coords):
        """Scores (n_items,) and coefficients of the kept columns."""
        graph = self.graph
        scores = np.zeros(graph.n_items)
        inner = coords[: self.n_free]
        scores[graph.free] = inner * graph.inverse_root[graph.free]
        further = self.turn @ coords[self.n_free :]
        if len(further):
            scores -= self.lift @ further
        return scores, further

    def coords(self, scores, further):
        """Inverse of `potentials`; the gauge of the scores does not matter."""
        graph = self.graph
        if len(further):
            scores = scores + self.lift @ further
        scores = scores - scores[graph.ground][graph.components]
        inner = scores[graph.free] * graph.root[graph.free]
        return np.concatenate([inner, np.linalg.solve(self.turn, further)])

    def moments(self, items, columns):
        """``Z'`` of what has the sums `items` per item and `columns` per column."""
        graph = self.graph
        out = np.empty(self.rank)
        out[: self.n_free] = (items * graph.inverse_root)[graph.free]
        if len(columns):
            out[self.n_free :] = self.turn.T @ (columns - self.lift.T @ items)
        return out

    def solve(self, moments):
        """``(Z'WZ)^-1 moments``, (rank, m)."""
        graph, n_free = self.graph, self.n_free
        b = np.zeros((graph.n_items, moments.shape[1]))
        b[graph.free] = moments[:n_free] * graph.root[graph.free, None]
        for k in range(b.shape[1]):
            sums = np.bincount(graph.components, b[:, k], graph.n_components)
            b[graph.ground, k] = -sums
        out = moments.copy()
        out[:n_free] = (graph.solve(b) * graph.root[:, None])[graph.free]
        return out


class GraphDesign(VoteDesign):
    """Votes ``y_e = score_i - score_j + extra_e bias + shift_e + noise``.

    Parameters
    ----------
    pairs : ndarray of int of shape (n_votes, 2)
        First and second item, in [0, n_items).
    y : ndarray of shape (n_votes,) or (n_votes, 1)
    weight : ndarray of shape (n_votes,) or None
        Votes of weight 0 take no part in the fit, nor in the graph.
    n_items : int
    extra : {ndarray, sparse matrix} of shape (n_votes, n_extra) or None
        Further unpenalized columns: ones are a bias to the first side.

    Attributes
    ----------
    graph : ComparisonGraph
        Of the votes of positive weight.
    components : ndarray of int of shape (n_items,)
        Numbers of the connected components.
    n_components, n_items, n_extra : int
    n_coords : int
        ``n_items - n_components``, and the rank that further columns add.

    Raises
    ------
    ValueError
        If an item is compared with itself or is out of range, y or extra are not
        finite, or ``n_items * n_extra`` is beyond 5e7.

    Notes
    -----
    Memory is a few columns of numbers for votes and pairs, and (n_items, n_extra). One
    `sweep` gathers two scores per vote and sums up per item; `solve` is a system with
    the Laplacian of the graph, see `ComparisonGraph.way`. Coordinates are scores less
    that of the most compared item of their component, times the root of their degree
    (sum of weights): columns of Z have length 1. Coefficients are the scores, which sum
    to 0 in every component, and those of the further columns; there is no intercept.
    """

    def __init__(
        self,
        pairs: NDArray[Any],
        y: NDArray[Any],
        weight: NDArray[np.float64] | None,
        n_items: int,
        extra: Any = None,
    ):
        n = len(pairs)
        first, second = checked_pairs(pairs, n_items)
        self._first, self._second = first, second
        self.n_samples, self.n_items = n, n_items
        self._y = np.array(y, dtype=np.float64).reshape(n)
        check_finite("y", self._y[:, None])
        self.weight = weight
        self.total_weight = float(n if weight is None else weight.sum())
        extra = as_columns(extra, n)
        self.n_extra = extra.shape[1]
        low, high, self._edge = edges_of(first, second, n_items)
        of_edges = np.bincount(self._edge, weight).astype(np.float64)
        used = np.flatnonzero(of_edges)
        if len(used) < len(of_edges):  # votes of weight 0 alone are about no edge
            place = np.full(len(of_edges), -1)
            place[used] = np.arange(len(used))
            self._edge = place[self._edge]
        self.graph = ComparisonGraph(low[used], high[used], of_edges[used], n_items)
        self.components = self.graph.components
        self.n_components = self.graph.n_components
        self._system = _System(self.graph, first, second, weight, extra)
        self.undetermined = self._find_undetermined(extra)
        self._extra = extra[:, self._system.kept]
        self.n_coords = self._system.rank

    def _find_undetermined(self, extra):
        if self.weight is None or self.weight.all():
            return None
        first, second, system = self._first, self._second, self._system
        out = self.components[first] != self.components[second]
        new = np.flatnonzero(self.weight == 0)
        if system.open.shape[1]:
            rows = extra[new]
            gap = rows @ system.open
            one, other = system.open_scores[first[new]], system.open_scores[second[new]]
            gap = gap + one - other
            size = abs(rows) @ abs(system.open) + abs(one) + abs(other)
            out[new] |= (abs(gap) > _OUTSIDE * size).any(axis=1)
        out[self.weight > 0] = False
        return out

    # -- passes over the votes -------------------------------------------------------

    def _scores_and_side(self, coords):
        scores, further = self._system.potentials(coords)
        return scores, self._extra @ further if len(further) else None

    def _moments(self, pulls, system=None):
        n, system = self.n_items, system or self._system
        items = np.bincount(self._first, pulls, n)
        items -= np.bincount(self._second, pulls, n)
        return system.moments(items, self._extra.T @ pulls)

    # -- systems ---------------------------------------------------------------------

    def solve(self, scores):
        return self._system.solve(np.asarray(scores, dtype=np.float64))

    def inverse_gram(self):
        if self.n_coords > _MAX_INVERSE:
            raise TooWide(
                f"{self.n_coords} scores; their covariances need a square matrix of "
                f"that size, at most {_MAX_INVERSE}"
            )
        return super().inverse_gram()

    def reweighted(self, factor: NDArray[np.float64]) -> Any:
        """Solver with ``Z'W diag(factor) Z``, or None with over 50 further columns.

        Parameters
        ----------
        factor : ndarray of shape (n_votes,)
            Not negative: the curvature of a loss.

        Returns
        -------
        callable or None
            ``solve(scores (n_coords, 1), tolerance)`` -> (n_coords, 1), the residual
            being `tolerance` times that of 0. A step costs a product with the graph
            instead of a sweep over the votes.
        """
        graph, system = self.graph, self._system
        n_free, n_further = system.n_free, len(system.kept)
        if n_further > _FEW_COLUMNS:
            return None
        moments = factor if self.weight is None else self.weight * factor
        used = self._edge >= 0
        sums = np.bincount(self._edge[used], moments[used], len(graph.weight))
        weight = sums.astype(np.float64)
        border = self._border(weight, moments) if n_further else None

        def solve(scores, tolerance):
            b = np.zeros(graph.n_items)
            b[graph.free] = scores[:n_free, 0] * graph.root[graph.free]
            b[graph.ground] = -np.bincount(graph.components, b, graph.n_components)
            b = np.concatenate([b, scores[n_free:, 0]])
            found = graph.solve_reweighted(weight, b, tolerance, border)
            potential = found[: graph.n_items]
            potential = potential - potential[graph.ground][graph.components]
            inner = potential[graph.free] * graph.root[graph.free]
            return np.concatenate([inner, found[graph.n_items :]])[:, None]

        return solve

    def _border(self, of_edges, moments):
        """Rows and corner that further columns, as coordinates, add to a Laplacian."""
        graph, system = self.graph, self._system
        lift, turn = system.lift, system.turn
        cross, gram = _products(
            self._first, self._second, self.n_items, moments, self._extra
        )
        lifted = graph.laplacian_product(of_edges, lift)
        mixed = lift.T @ (cross - lifted)
        corner = gram - cross.T @ lift - mixed
        return (cross - lifted) @ turn, turn.T @ corner @ turn

    @cached_property
    def _fit(self):
        return self._least_squares(self._system, self.weight)

    def least_squares(self, kept=None):
        if kept is None:
            return self._fit.copy()
        weight = kept.astype(np.float64)
        if self.weight is not None:
            weight *= self.weight
        used = np.flatnonzero(weight)
        of_edges = np.bincount(self._edge[used], weight[used], len(self.graph.weight))
        graph, some = self.graph, np.flatnonzero(of_edges)
        first, second = graph.first[some], graph.second[some]
        sums = of_edges[some].astype(np.float64)
        part = ComparisonGraph(first, second, sums, self.n_items, graph.way)
        if part.n_components > graph.n_components:
            raise SingularFit(
                f"the {len(used)} votes that are kept leave the items in "
                f"{part.n_components} pieces that are not compared with each other, "
                f"instead of {graph.n_components}"
            )
        system = _System(part, self._first, self._second, weight, self._extra)
        if system.rank < self.n_coords:
            raise SingularFit(
                f"the {len(used)} votes that are kept do not determine all "
                f"{len(self._system.kept)} coefficients beside the scores"
            )
        coords = self._least_squares(system, weight)[:, 0]
        return self._system.coords(*system.potentials(coords))[:, None]

    def _least_squares(self, system, weight):
        coords = np.zeros((system.rank, 1))
        for _ in range(2):  # the second time makes up for rounding
            scores, further = system.potentials(coords[:, 0])
            pulls = self._y - scores[self._first] + scores[self._second]
            pulls -= self._extra @ further
            if weight is not None:
                pulls *= weight
            coords += system.solve(self._moments(pulls, system)[:, None])
        return coords

    @cached_property
    def rounding(self):  # type: ignore[override]
        scores, further = self._system.potentials(self._fit[:, 0])
        scores = self.graph.centred(scores)
        squares = self._y**2 if self.weight is None else self.weight * self._y**2
        size = squares.sum() + self.graph.degree @ scores**2
        side = (self._extra @ further) ** 2
        size += side.sum() if self.weight is None else self.weight @ side
        return np.array([16 * _EPS * np.sqrt(size)])

    # -- single votes, and back ------------------------------------------------------

    def incidence(self, rows: Any = slice(None)) -> sparse.csr_array:
        """Some votes as rows of a sparse matrix, +1 and -1 for the items, then extra.

        Without the further columns that others explain.
        """
        matrix = incidence(self._first[rows], self._second[rows], self.n_items)
        extra = sparse.csr_array(self._extra[rows])
        return sparse.hstack([matrix, extra], format="csr")

    def take_sparse(self, rows: Any) -> tuple[sparse.csr_array, NDArray[np.float64]]:
        """Like `take`, with the coordinates as a CSR matrix."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        graph, system = self.graph, self._system
        matrix = incidence(self._first[rows], self._second[rows], self.n_items)
        matrix = matrix[:, graph.free]
        matrix.data *= graph.inverse_root[graph.free][matrix.indices]
        targets = self._y[rows, None]
        if not len(system.kept):
            return matrix, targets
        further = sparse.csr_array(self._turned(rows))
        return sparse.hstack([matrix, further], format="csr"), targets

    def take(self, rows):
        matrix, targets = self.take_sparse(rows)
        return matrix.toarray(), targets

    def _turned(self, rows):
        """Coordinates of some votes along the further columns."""
        system = self._system
        lift = system.lift[self._first[rows]] - system.lift[self._second[rows]]
        return (to_dense(self._extra[rows]) - lift) @ system.turn

    def to_coefs(self, coords):
        coords = np.asarray(coords, dtype=np.float64)
        system, graph, n = self._system, self.graph, self.n_items
        flat = np.swapaxes(coords, -1, -2)
        coefs = np.zeros((*flat.shape[:-1], n + self.n_extra))
        scores = np.zeros((*flat.shape[:-1], n))
        inner = flat[..., : system.n_free]
        scores[..., graph.free] = inner * graph.inverse_root[graph.free]
        if len(system.kept):
            further = flat[..., system.n_free :] @ system.turn.T
            scores -= further @ system.lift.T
            coefs[..., n + system.kept] = further
        coefs[..., :n] = graph.centred(scores)
        return coefs, np.zeros(coefs.shape[:-1])

    @cached_property
    def bridges(self) -> NDArray[np.bool_]:
        """Votes without which a component falls apart, (n_votes,)."""
        used = np.arange(self.n_samples)
        if self.weight is not None:
            used = np.flatnonzero(self.weight > 0)
        alone = np.bincount(self._edge[used], minlength=len(self.graph.weight)) == 1
        out = np.zeros(self.n_samples, dtype=bool)
        out[used] = (alone & self.graph.bridges)[self._edge[used]]
        return out

    def leverages(self):
        """Weight times effective resistance, and the share of further columns.

        Exactly 1 for bridges. See `ComparisonGraph.edge_leverages` for what is an
        estimate (parts of more than 3000 items), and its error.
        """
        weight = np.ones(self.n_samples) if self.weight is None else self.weight
        per_weight = self.graph.edge_leverages() / self.graph.weight
        used = np.flatnonzero(weight > 0)
        out = np.zeros(self.n_samples)
        out[used] = per_weight[self._edge[used]]
        if len(self._system.kept):
            step = max(1, _NUMBERS // len(self._system.kept))
            for start in range(0, len(used), step):
                some = used[start : start + step]
                Z = self._turned(some)
                out[some] += np.einsum("ij,ij->i", Z, Z)
        out = np.minimum(weight * out, 1.0)
        out[self.bridges] = 1.0
        return out


def _products(first, second, n_items, weight, extra):
    """``C'W extra`` (n_items, n_extra) and ``extra'W extra``, dense."""
    weighted = scale_rows(extra, weight)
    cross = incidence(first, second, n_items).T @ weighted
    return to_dense(cross), to_dense(extra.T @ weighted)
