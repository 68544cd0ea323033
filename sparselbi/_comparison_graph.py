"""Which items are compared: components, bridges, Laplacian systems, resistances."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

# Laplacians are factored where elimination in Cuthill-McKee order would take no more
# multiplications than the first, or conjugate gradients take more than so many steps
# and the factor would have no more entries than the second.
_CHEAP_FACTOR, _LARGE_FACTOR = 2e8, 1e8
_MANY_STEPS = 200
_CG_TOLERANCE = 1e-12
_MAX_CG = 20_000
_EPS = np.finfo(np.float64).eps
# Leverages are exact in parts of so many items that no single edge holds together.
_EXACT_ITEMS = 3000
_NUMBERS = 1 << 21  # in the matrices of parts that are inverted together
# Estimates elsewhere solve so many systems per log(n_items).
_PROBES = 8


class ComparisonGraph:
    """Items, and which of them are compared with what weight.

    Parameters
    ----------
    first, second : ndarray of int of shape (n_edges,)
        Every compared pair once, first < second.
    weight : ndarray of shape (n_edges,)
        Positive.
    n_items : int
    way : {"factor", "cg"} or None
        How systems are solved; None: see `way`.

    Attributes
    ----------
    components : ndarray of int of shape (n_items,)
        Numbers of the connected components, in the order of their first items. Items
        without comparisons have their own.
    n_components : int
    degree : ndarray of shape (n_items,)
        Sum of the weights of the comparisons of each item.
    """

    def __init__(
        self,
        first: NDArray[np.intp],
        second: NDArray[np.intp],
        weight: NDArray[np.float64],
        n_items: int,
        way: str | None = None,
    ):
        self.first, self.second, self.weight = first, second, weight
        self.n_items, self._way = n_items, way
        ends = np.concatenate([[first, second], [second, first]], axis=1)
        self._ends = ends.astype(np.int32)
        self.adjacency = self._matrix(np.tile(weight, 2))
        self.degree = np.bincount(first, weight, n_items)
        self.degree += np.bincount(second, weight, n_items)
        # The graph is symmetric: strong components do without its transpose.
        count, labels = csgraph.connected_components(
            self.adjacency, connection="strong"
        )
        start = np.full(count, n_items)
        np.minimum.at(start, labels, np.arange(n_items))
        rank = np.empty(count, dtype=np.intp)
        rank[np.argsort(start)] = np.arange(count)
        self.n_components, self.components = int(count), rank[labels]
        # One item per component whose score is 0 in systems: the most compared one.
        order = np.lexsort((np.arange(n_items), -self.degree, self.components))
        _, at = np.unique(self.components[order], return_index=True)
        self.ground = order[at]
        self.free = np.delete(np.arange(n_items), self.ground)
        used = self.degree > 0
        self.root = np.sqrt(self.degree)
        self.inverse_root = np.divide(1.0, self.root, out=np.zeros(n_items), where=used)

    def _matrix(self, data):
        shape = (self.n_items, self.n_items)
        return sparse.coo_array((data, tuple(self._ends)), shape=shape).tocsr()

    def centred(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (..., n_items) that sum to 0 in every component."""
        if self.n_components == 1:
            return scores - scores.mean(axis=-1, keepdims=True)
        size = np.bincount(self.components)
        average = sparse.csr_array(
            (1 / size[self.components], (self.components, np.arange(self.n_items)))
        )
        flat = scores.reshape(-1, self.n_items)
        means = (average @ flat.T).T[:, self.components]
        return scores - means.reshape(scores.shape)

    # -- systems ---------------------------------------------------------------------

    @cached_property
    def way(self) -> str:
        """How systems are solved.

        "factor" (sparse LU) if that is predicted to take at most 2e8 multiplications:
        graphs that are small, long and narrow, or almost trees. Otherwise "cg",
        conjugate gradients preconditioned by the degrees: random graphs take 15 to 50
        steps, whatever their size. Graphs on which it takes more than 200 (grids,
        neighbours in space) are factored if at most 1e8 entries are predicted. The
        predictions are for reverse Cuthill-McKee order; minimum degree, which is used,
        has far fewer. They and the number of steps do not depend on the votes.
        """
        if self._way is not None:
            return self._way
        fill, work = self._predicted()
        if work <= _CHEAP_FACTOR:
            return "factor"
        probe = np.random.default_rng(0).choice([-1.0, 1.0], len(self.weight))
        _, steps = self._conjugate_gradients(self.divergence(probe), _MANY_STEPS)
        if steps > _MANY_STEPS and fill <= _LARGE_FACTOR:
            return "factor"
        return "cg"

    def _predicted(self):
        """Entries and multiplications of a factor in reverse Cuthill-McKee order."""
        order = csgraph.reverse_cuthill_mckee(self.adjacency, symmetric_mode=True)
        place = np.empty(self.n_items, dtype=np.intp)
        place[order] = np.arange(self.n_items)
        a, b = place[self.first], place[self.second]
        earliest = np.arange(self.n_items)
        np.minimum.at(earliest, np.maximum(a, b), np.minimum(a, b))
        width = (np.arange(self.n_items) - earliest).astype(np.float64)
        # Minimum degree takes trees and chains apart, down to the ends of these cycles.
        n_cycles = len(self.weight) - len(self.free)
        core = 2.0 * n_cycles
        fill = min(width.sum(), 3 * self.n_items + core**2 / 2)
        return fill, min(width @ width, 9 * self.n_items + core**3 / 3)

    @cached_property
    def _factor(self):
        degree = sparse.diags_array(self.degree[self.free], format="csr")
        inner = self.adjacency[self.free][:, self.free]
        return splu(
            (degree - inner).tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    @cached_property
    def _volume(self):
        return np.bincount(self.components, self.degree, self.n_components)

    @cached_property
    def _scaled(self):
        """Adjacency over the roots of both degrees."""
        scale, (row, column) = self.inverse_root, self._ends
        return self._matrix(np.tile(self.weight, 2) * scale[row] * scale[column])

    def divergence(self, flow):
        """What flows (n_edges,) bring to each item."""
        total = np.bincount(self.first, flow, self.n_items)
        return total - np.bincount(self.second, flow, self.n_items)

    def solve(self, b: NDArray[np.float64]) -> NDArray[np.float64]:
        """Solve ``L x = b`` with the Laplacian L.

        Parameters
        ----------
        b : ndarray of shape (n_items,) or (n_items, m)
            Summing to 0 in every component, up to rounding.

        Returns
        -------
        ndarray of the shape of b
            0 for the `ground` items.

        Raises
        ------
        RuntimeError
            If conjugate gradients do not converge.
        """
        x = np.zeros_like(b)
        if self.way == "factor":
            if len(self.free):
                x[self.free] = self._factor.solve(b[self.free])
            return x
        for k in np.ndindex(b.shape[1:]):
            x[:, *k], steps = self._conjugate_gradients(b[:, *k], _MAX_CG)
            if steps > _MAX_CG:
                raise RuntimeError(
                    f"the scores of {self.n_items} items did not settle in {_MAX_CG} "
                    "steps of conjugate gradients: parts of the comparison graph hang "
                    "together by very few votes (or weights). Rank these parts "
                    "separately."
                )
        return x - x[self.ground][self.components]

    def _conjugate_gradients(self, b, most):
        """Solution and number of steps, ``most + 1`` if it was not reached."""
        scaled = self._scaled
        # Of the sums of b in components, which should be 0, no step would get rid.
        sums = np.bincount(self.components, b, self.n_components)
        sums = sums / np.maximum(self._volume, 1e-300)
        x = np.zeros_like(b)
        residual = b * self.inverse_root - sums[self.components] * self.root
        direction = residual.copy()
        square = np.einsum("i,i->", residual, residual)
        goal = _CG_TOLERANCE**2 * square
        step = 0
        while square > goal and step <= most:
            image = direction - scaled @ direction
            length = square / np.einsum("i,i->", direction, image)
            x += length * direction
            image *= length
            residual -= image
            last, square = square, np.einsum("i,i->", residual, residual)
            direction *= square / last
            direction += residual
            step += 1
        return x * self.inverse_root, step

    @cached_property
    def _edge_of_entry(self):
        """Which edge stands at each entry of the adjacency matrix."""
        return self._matrix(np.tile(np.arange(len(self.weight)), 2)).data

    def _reweighted(self, weight):
        """Adjacency and degrees with other weights of the edges."""
        matrix, place = self.adjacency, self._edge_of_entry
        adjacency = sparse.csr_array(
            (weight[place], matrix.indices, matrix.indptr), shape=matrix.shape
        )
        return adjacency, adjacency.sum(axis=1)

    def laplacian_product(
        self, weight: NDArray[np.float64], x: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The Laplacian with other weights (n_edges,) times x (n_items, m)."""
        adjacency, degree = self._reweighted(weight)
        return np.asarray(degree[:, None] * x - adjacency @ x)

    def solve_reweighted(
        self,
        weight: NDArray[np.float64],
        b: NDArray[np.float64],
        tolerance: float,
        border: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> NDArray[np.float64]:
        """Solve roughly with the Laplacian of the same edges and other weights.

        Conjugate gradients, preconditioned by the diagonal (and the corner), until the
        residual is `tolerance` times that of 0.

        Parameters
        ----------
        weight : ndarray of shape (n_edges,)
            Not negative.
        b : ndarray of shape (n_items + m,)
            With sum 0 in every component.
        tolerance : float
        border : tuple of ndarray of shapes (n_items, m) and (m, m), or None
            Further columns of the matrix, and their corner; None: m is 0.

        Returns
        -------
        ndarray of shape (n_items + m,)
            Up to a constant in each component.
        """
        adjacency, degree = self._reweighted(weight)
        inverse = np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)
        n = self.n_items
        columns, corner = border or (np.zeros((n, 0)), np.zeros((0, 0)))
        size, basis = np.linalg.eigh(corner)
        known = size > _EPS * np.abs(size).max(initial=0.0)
        corner_inverse = (basis[:, known] / size[known]) @ basis[:, known].T

        def scaled(v):
            return np.concatenate([inverse * v[:n], corner_inverse @ v[n:]])

        def product(v):
            items, further = v[:n], v[n:]
            top = degree * items - adjacency @ items
            if not len(further):
                return top
            below = columns.T @ items + corner @ further
            return np.concatenate([top + columns @ further, below])

        x, residual = np.zeros_like(b), b.copy()
        ahead = scaled(residual)
        search, square = ahead, float(residual @ ahead)
        goal = tolerance**2 * square
        for _ in range(_MAX_CG):
            if square <= goal:
                break
            image = product(search)
            bend = float(search @ image)
            if not bend > 0:
                break
            x += (square / bend) * search
            residual -= (square / bend) * image
            ahead = scaled(residual)
            last, square = square, float(residual @ ahead)
            search = ahead + (square / last) * search
        return x

    # -- what single edges hold together ---------------------------------------------

    @cached_property
    def parts(self) -> NDArray[np.intp]:
        """Labels of the parts that no single edge holds together, (n_items,)."""
        parent, order = self._forest(self.adjacency)
        first, second = self.first, self.second
        rest = (parent[first] != second) & (parent[second] != first)
        # Two forests have an edge of every cut that has two: fewer edges to look at.
        ends = np.stack([first[rest], second[rest]])
        both = np.concatenate([ends, ends[::-1]], axis=1)
        other = sparse.coo_array(
            (np.ones(both.shape[1]), tuple(both)), shape=self.adjacency.shape
        ).tocsr()
        upper, _ = self._forest(other)
        child = np.flatnonzero(upper >= 0)
        up = parent.tolist()
        depth = [0] * self.n_items
        for item in order.tolist():
            if up[item] >= 0:
                depth[item] = depth[up[item]] + 1
        top = list(range(self.n_items))  # highest item of the part, so far

        def find(item):
            while top[item] != item:
                top[item] = top[top[item]]
                item = top[item]
            return item

        for u, v in zip(child.tolist(), upper[child].tolist(), strict=True):
            u, v = find(u), find(v)
            while u != v:  # the cycle through the nearest common ancestor is one part
                if depth[u] < depth[v]:
                    u, v = v, u
                top[u] = up[u]
                u = find(u)
        return np.array([find(item) for item in range(self.n_items)], dtype=np.intp)

    def _forest(self, adjacency):
        """Parents in a spanning forest by breadth-first search (-1: roots), order."""
        n = self.n_items
        _, labels = csgraph.connected_components(adjacency, connection="strong")
        roots = np.unique(labels, return_index=True)[1]
        above = sparse.coo_array(
            (np.ones(len(roots)), (np.zeros(len(roots), int), roots)), shape=(1, n)
        )
        whole = sparse.block_array([[adjacency, None], [above, None]], format="csr")
        whole = sparse.csr_array(
            (whole.data, whole.indices, whole.indptr), shape=(n + 1, n + 1)
        )
        order, parent = csgraph.breadth_first_order(whole, n)
        parent = np.where(parent[:n] == n, -1, parent[:n])
        return parent, order[1:]

    @cached_property
    def bridges(self) -> NDArray[np.bool_]:
        """Edges without which a component falls apart, (n_edges,)."""
        return self.parts[self.first] != self.parts[self.second]

    def edge_leverages(self) -> NDArray[np.float64]:
        """Weight times effective resistance of every edge, (n_edges,).

        Returns
        -------
        ndarray of shape (n_edges,)
            In (0, 1]; exactly 1 for bridges.

        Notes
        -----
        In every part without bridges of at most 3000 items by a dense inverse. In
        larger ones estimated by random flows q of +-1 on the edges (seeded), with one
        system each and ``8 log(n_items)`` of them. With ``L z = C'W^(1/2) q`` and
        ``u = z - D^-1 L z`` (D: degrees), ::

            h = w_ij (1 / d_i + 1 / d_j - 2 w_ij / (d_i d_j)) + w_ij E (u_i - u_j)^2
            1 - h = E (q - W^(1/2) C z)^2

        Both are averaged with weights by their errors: the standard error of the result
        is at most ``sqrt(2 / n_probes)``, 0.15 for 1e5 items, times the smaller one of
        ``1 - h`` and the second term of h (a few percent of h where items have tens of
        comparisons).

        References
        ----------
        D. A. Spielman, N. Srivastava (2011). Graph sparsification by effective
        resistances. SIAM J. Comput. 40, 1913-1926.
        """
        out = np.ones(len(self.weight))
        size = np.bincount(self.parts, minlength=self.n_items)[self.parts[self.first]]
        inner = ~self.bridges
        large = inner & (size > _EXACT_ITEMS)
        if large.any():
            out[large] = self._estimated()[large]
        # Place of each item in its part.
        order = np.argsort(self.parts, kind="stable")
        starts = np.searchsorted(self.parts[order], self.parts)
        place = np.empty(self.n_items, dtype=np.intp)
        place[order] = np.arange(self.n_items)
        place -= starts
        for n in np.unique(size[inner & ~large]):
            edges = np.flatnonzero(inner & (size == n))
            self._exact(edges, int(n), place, out)
        return out

    def _exact(self, edges, n, place, out):
        """Write leverages of edges of parts of n items, as many parts as fit."""
        label, part = np.unique(self.parts[self.first[edges]], return_inverse=True)
        step = max(1, _NUMBERS // n**2)
        for start in range(0, len(label), step):
            some = (part >= start) & (part < start + step)
            k, chosen = part[some] - start, edges[some]
            a, b = place[self.first[chosen]], place[self.second[chosen]]
            weight = self.weight[chosen]
            laplacian = np.zeros((min(step, len(label) - start), n, n))
            laplacian[k, a, b] = laplacian[k, b, a] = -weight
            degree = -laplacian.sum(axis=2)
            laplacian[:, np.arange(n), np.arange(n)] = degree
            inverse = np.zeros_like(laplacian)
            inverse[:, 1:, 1:] = np.linalg.inv(laplacian[:, 1:, 1:])
            resistance = inverse[k, a, a] + inverse[k, b, b] - 2 * inverse[k, a, b]
            out[chosen] = np.clip(weight * resistance, 0.0, 1.0)

    def _estimated(self):
        a, b, weight = self.first, self.second, self.weight
        root = np.sqrt(weight)
        n_probes = int(np.ceil(_PROBES * np.log(self.n_items)))
        rng = np.random.default_rng(0)
        rest, left = np.zeros(len(weight)), np.zeros(len(weight))
        for _ in range(n_probes):
            q = rng.choice([-1.0, 1.0], len(weight))
            brought = self.divergence(root * q)
            z = self.solve(brought)
            u = z - brought * self.inverse_root**2
            rest += (u[a] - u[b]) ** 2
            left += (q - root * (z[a] - z[b])) ** 2
        rest *= weight / n_probes
        left /= n_probes
        inverse = self.inverse_root**2
        known = inverse[a] + inverse[b] - 2 * weight * inverse[a] * inverse[b]
        share = rest**2 / np.maximum(rest**2 + left**2, 1e-300)
        found = (1 - share) * (weight * known + rest) + share * (1 - left)
        return np.clip(found, 0.0, 1.0)


def edges_of(
    first: NDArray[np.intp], second: NDArray[np.intp], n_items: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Compared pairs (low, high), each once and sorted, and the pair of each vote."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    keys, edge = np.unique(low * np.int64(n_items) + high, return_inverse=True)
    low, high = np.divmod(keys, n_items)
    return low, high, edge


def checked_pairs(
    pairs: Any, n_items: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and second items of votes, checked; of any number of items if it is None.

    Raises
    ------
    ValueError
        If they are no codes of items, or an item is compared with itself.
    """
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"pairs has shape {pairs.shape} and type {pairs.dtype}; it needs the codes "
            "of two items for each vote, integers of shape (n_votes, 2); "
            "np.unique(..., return_inverse=True) makes codes."
        )
    if n_items is None:
        n_items = int(pairs.max(initial=-1)) + 1
    outside = np.flatnonzero(((pairs < 0) | (pairs >= n_items)).any(axis=1))
    if len(outside):
        raise ValueError(
            f"pairs contains {pairs[outside[0]].tolist()} in row {outside[0]}; codes "
            f"of items must be between 0 and n_items - 1 = {n_items - 1}."
        )
    first, second = (np.ascontiguousarray(end, dtype=np.intp) for end in pairs.T)
    same = np.flatnonzero(first == second)
    if len(same):
        raise ValueError(
            f"pairs compares item {first[same[0]]} with itself in row {same[0]} "
            f"({len(same)} such rows); drop them."
        )
    return first, second
