"""How far from a ranking votes are: gradient, curl and harmonic parts of their flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import lsmr

from ._comparison_graph import ComparisonGraph, checked_pairs, edges_of
from .problem import check_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["HodgeDecomposition", "hodge_decomposition"]

# Paths of two comparisons that are looked at together.
_CHUNK = 1 << 20
# Triangles in a system: so many per edge, at least so many.
_PER_EDGE, _FEW = 4, 100_000
_LSMR_TOLERANCE = 1e-13
_MAX_LSMR = 20_000
# Curl that may be left, as a share of the largest cyclic flow.
_CURL_FREE = 1e-8
_ROUNDS = 20
# Cyclic flows below this share of the largest flow are rounding.
_ROUNDED = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False, repr=False)
class HodgeDecomposition:
    """Orthogonal parts of the flow of votes along the edges of a comparison graph.

    ``flow = gradient + curl + harmonic``, orthogonal in the inner product ``sum_e
    weight_e f_e g_e`` over the compared pairs; see `hodge_decomposition`.

    Attributes
    ----------
    edges : ndarray of int of shape (n_edges, 2)
        Compared pairs (i, j), i < j, each once.
    weight : ndarray of shape (n_edges,)
        Sum of the weights of the votes about each pair.
    flow : ndarray of shape (n_edges,)
        Weighted average of these votes; positive: i is preferred.
    gradient, curl, harmonic : ndarray of shape (n_edges,)
        What differences of scores explain; inconsistency of triples (circular triads);
        inconsistency along longer cycles only.
    scores : ndarray of shape (n_items,)
        ``gradient = scores[i] - scores[j]``; their sum is 0 in every component.
    components : ndarray of int of shape (n_items,)
        Connected component of each item. Scores of different ones cannot be compared.
    total : float
        ``sum w y^2`` over all votes.
    disagreement : float
        ``sum w (y - flow)^2``: votes about the same pair that differ.
    items : ndarray of shape (n_items,) or None
        Labels that the tables show in place of codes.
    """

    edges: NDArray[np.intp]
    weight: NDArray[np.float64]
    flow: NDArray[np.float64]
    gradient: NDArray[np.float64]
    curl: NDArray[np.float64]
    harmonic: NDArray[np.float64]
    scores: NDArray[np.float64]
    components: NDArray[np.intp]
    total: float
    disagreement: float
    items: NDArray[Any] | None = None

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the weighted sum of squares of all votes; their sum is 1.

        "gradient", "curl", "harmonic" and "disagreement". NaN if all votes are ties.
        """
        parts = {
            name: float(self.weight @ getattr(self, name) ** 2)
            for name in ("gradient", "curl", "harmonic")
        }
        parts["disagreement"] = self.disagreement
        total = self.total if self.total > 0 else np.nan
        return {name: part / total for name, part in parts.items()}

    def named(self, items: ArrayLike) -> HodgeDecomposition:
        """The same with labels of the items in its tables."""
        return replace(self, items=np.asarray(items))

    def to_frame(self) -> pd.DataFrame:
        """One line for each compared pair: items, votes, flow and its parts."""
        import pandas as pd

        first, second = self._labels(self.edges).T
        columns = {"first": first, "second": second, "votes": self.weight}
        columns["flow"] = self.flow
        for name in ("gradient", "curl", "harmonic"):
            columns[name] = getattr(self, name)
        return pd.DataFrame(columns)

    def triangles(self, k: int = 20) -> pd.DataFrame:
        """The triangles whose votes contradict each other most.

        Parameters
        ----------
        k : int, default=20

        Returns
        -------
        pandas.DataFrame
            At most k lines, largest ``curl`` first (ties: by items): items ``first``,
            ``second`` and ``third``, the flows around ``first_second``,
            ``second_third`` and ``third_first``, whose sum ``curl`` is (positive by the
            direction), and ``min_votes``, the weight of the pair with the fewest.

        Notes
        -----
        Looks at all paths of two comparisons, in bounded memory.
        """
        import pandas as pd

        k = max(int(k), 0)
        best, least = np.empty((0, 3), dtype=np.intp), 0.0
        for found in _triangles(self.edges, len(self.scores)):
            found = found[np.abs(_curl(self.flow, found)) >= least]
            best = np.concatenate([best, found])
            size = np.abs(_curl(self.flow, best))
            order = np.lexsort((*self._corners(best).T[::-1], -size))[:k]
            best = best[order]
            least = size[order[-1]] if 0 < len(order) == k else 0.0
        curl = _curl(self.flow, best)
        items = self._corners(best)
        back = curl < 0
        around = self.flow[best] * [1, -1, 1]
        around = np.where(back[:, None], -around, around)
        items[back] = items[back][:, ::-1]  # k, j, i: the edges are jk, ij, ik
        around = np.where(back[:, None], around[:, [2, 0, 1]], around[:, [0, 2, 1]])
        corners = self._labels(items).T
        columns = dict(zip(("first", "second", "third"), corners, strict=True))
        names = ("first_second", "second_third", "third_first")
        columns |= {"curl": np.abs(curl), **dict(zip(names, around.T, strict=True))}
        columns["min_votes"] = self.weight[best].min(axis=1, initial=np.inf)
        return pd.DataFrame(columns)

    def _labels(self, codes):
        return codes if self.items is None else self.items[codes]

    def _corners(self, triangles):
        """Items i < j < k of triangles, which are edges ij, ik, jk."""
        return np.column_stack(
            [self.edges[triangles[:, 0]], self.edges[triangles[:, 1], 1]]
        )

    def __repr__(self) -> str:
        shares = ", ".join(
            f"{name} {100 * share:.1f} %" for name, share in self.shares.items()
        )
        n_components = int(self.components.max()) + 1
        return (
            f"HodgeDecomposition({len(self.scores)} items, {len(self.edges)} compared "
            f"pairs, {n_components} component{'s' * (n_components > 1)}: {shares})"
        )


def hodge_decomposition(
    pairs: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    n_items: int | None = None,
    *,
    max_paths: float = 1e9,
) -> HodgeDecomposition:
    """Split votes into what a ranking explains and two kinds of contradictions.

    Votes about the same pair are averaged (by weight) to a flow on the edges of the
    comparison graph, which is the sum of three flows, orthogonal in the inner product
    weighted by the sums of the weights: ``scores_i - scores_j`` (least squares), a
    combination of flows around triangles, and the harmonic rest, which has no curl on
    any triangle and sums to 0 at every item.

    Parameters
    ----------
    pairs : array-like of int of shape (n_votes, 2)
        Codes of the first and second item, from 0.
    y : array-like of shape (n_votes,)
        Votes, positive if the first item is preferred: +1 and -1, grades, or
        differences; 0: a tie.
    sample_weight : array-like of shape (n_votes,), default=None
        Weight w means w equal votes; votes of weight 0 do not count.
    n_items : int, default=None
        None: the largest code plus 1.
    max_paths : float, default=1e9
        Most paths of two comparisons (from a less often compared item) that are looked
        at, in search of triangles; 1e9 take some minutes.

    Returns
    -------
    HodgeDecomposition

    Raises
    ------
    ValueError
        If an argument has a wrong shape or type, is not finite, an item is compared
        with itself, or there are more than `max_paths` paths.
    RuntimeError
        If the iterations for the curl do not converge.

    Notes
    -----
    Exactly 0 are: the cyclic parts where an edge is the only connection of two parts of
    the graph (so one vote, or a tree, is gradient alone), the curl without triangles,
    and the harmonic part where an item is compared with all others of its part (so on
    complete graphs). Components are decomposed independently of each other.

    The curl is the projection onto flows around triangles, by LSMR on about four
    triangles per edge; triangles on which the rest is not free of curl are added until
    there are none. Memory is O(n_edges), time O(paths).

    References
    ----------
    X. Jiang, L.-H. Lim, Y. Yao, Y. Ye (2011). Statistical ranking and combinatorial
    Hodge theory. Math. Program. 127, 203-244. D. Fong, M. Saunders (2011). LSMR: an
    iterative algorithm for sparse least-squares problems. SIAM J. Sci. Comput. 33,
    2950-2971.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi.hodge import hodge_decomposition
    >>> pairs = np.array([[0, 1], [1, 2], [2, 0]])
    >>> hodge_decomposition(pairs, [1.0, 1.0, -2.0])
    HodgeDecomposition(3 items, 3 compared pairs, 1 component: gradient 100.0 %, curl
    0.0 %, harmonic 0.0 %, disagreement 0.0 %)
    >>> hodge_decomposition(pairs, [1.0, 1.0, 1.0])
    HodgeDecomposition(3 items, 3 compared pairs, 1 component: gradient 0.0 %, curl
    100.0 %, harmonic 0.0 %, disagreement 0.0 %)
    """
    first, second = checked_pairs(pairs, n_items)
    if n_items is None:
        n_items = int(max(first.max(initial=-1), second.max(initial=-1))) + 1
    n = len(first)
    votes = np.asarray(y, dtype=np.float64)
    if votes.shape != (n,) or n == 0:
        raise ValueError(
            f"y has shape {votes.shape} and pairs has {n} rows; both need one row for "
            "each vote, at least one."
        )
    if not np.isfinite(votes).all():
        row = int(np.flatnonzero(~np.isfinite(votes))[0])
        raise ValueError(f"y contains {votes[row]} in row {row}; drop that vote.")
    weight = check_weight(sample_weight, n)
    used = weight > 0
    first, second, votes, weight = (a[used] for a in (first, second, votes, weight))
    low, high, edge = edges_of(first, second, n_items)
    signed = np.where(first < second, votes, -votes)
    of_edges = np.bincount(edge, weight).astype(np.float64)
    flow = np.bincount(edge, weight * signed) / of_edges
    graph = ComparisonGraph(low, high, of_edges, n_items)
    scores, gradient = np.zeros(n_items), np.zeros_like(flow)
    for _ in range(2):  # the second time makes up for rounding
        scores += graph.solve(graph.divergence(of_edges * (flow - gradient)))
        gradient = scores[low] - scores[high]
    gradient[graph.bridges] = flow[graph.bridges]
    cyclic = flow - gradient
    curl = np.zeros_like(cyclic)
    if np.abs(cyclic).max() > _ROUNDED * np.abs(flow).max():
        curl = _curl_part(graph, cyclic, max_paths)
    return HodgeDecomposition(
        edges=np.stack([low, high], axis=1),
        weight=of_edges,
        flow=flow,
        gradient=gradient,
        curl=curl,
        harmonic=cyclic - curl,
        scores=graph.centred(scores),
        components=graph.components,
        total=float(weight @ votes**2),
        disagreement=float(weight @ (signed - flow[edge]) ** 2),
    )


def _curl_part(graph, cyclic, max_paths):
    """Projection of a flow that sums to 0 at every item onto flows around triangles."""
    curl = cyclic.copy()
    edges = np.stack([graph.first, graph.second], axis=1)
    # An item that is compared with all others of its part: every cycle is a sum of
    # triangles with it as a corner.
    inner = np.flatnonzero(~graph.bridges)
    compared = np.bincount(edges[inner].ravel(), minlength=graph.n_items)
    most = np.zeros(graph.n_items, dtype=np.intp)
    np.maximum.at(most, graph.parts, compared)
    size = np.bincount(graph.parts, minlength=graph.n_items)
    label = graph.parts[graph.first[inner]]
    left = inner[most[label] < size[label] - 1]
    if not len(left):
        return curl
    curl[left] = 0.0
    n_paths = _n_paths(edges[left], graph.n_items)
    if n_paths > max_paths:
        raise ValueError(
            f"there are {n_paths:.3g} paths of two comparisons to look at for "
            f"triangles, more than max_paths={max_paths:.3g}; give a larger max_paths "
            "if you can wait (1e9 take minutes), or fewer items."
        )
    target, weight = cyclic[left], graph.weight[left]
    scale = np.abs(target).max()
    chosen, all_of_them = _some_triangles(edges[left], graph.n_items)
    for _ in range(_ROUNDS):
        if not len(chosen) or scale == 0:
            return curl
        curl[left] = _projected(target, weight, chosen)
        if all_of_them:
            return curl
        rest, missed, room = target - curl[left], [], int(_PER_EDGE * len(left))
        for found in _triangles(edges[left], graph.n_items):
            size = np.abs(_curl(rest, found))
            bad = np.flatnonzero(size > _CURL_FREE * scale)
            missed.append(found[bad[: max(room, 0)]])
            room -= len(bad)
        new = np.concatenate(missed)
        if not len(new):
            return curl
        chosen = np.unique(np.concatenate([chosen, new]), axis=0)
    raise RuntimeError(
        f"the curl of {len(left)} pairs is not found in {_ROUNDS} rounds; weights of "
        "very different size are a possible reason."
    )


def _projected(target, weight, triangles):
    """Projection of a flow onto the flows around some triangles."""
    root = np.sqrt(weight)
    signs = np.array([1.0, -1.0, 1.0]) / root[triangles]
    signs /= np.sqrt(np.einsum("ij,ij->i", signs, signs))[:, None]
    shape = (len(triangles), len(target))
    starts = np.arange(0, 3 * len(triangles) + 1, 3)
    around = sparse.csr_array((signs.ravel(), triangles.ravel(), starts), shape=shape)
    found = lsmr(
        around.T,
        root * target,
        atol=_LSMR_TOLERANCE,
        btol=_LSMR_TOLERANCE,
        conlim=0,
        maxiter=_MAX_LSMR,
    )
    if found[1] == 7:
        raise RuntimeError(
            f"the curl of {len(target)} pairs does not settle in {_MAX_LSMR} steps; "
            "long strips of triangles or weights of very different size are possible "
            "reasons. Decompose parts of the graph."
        )
    return (around.T @ found[0]) / root


# -- triangles -------------------------------------------------------------------------


def _curl(flow, triangles):
    """Sum of a flow around triangles of edges ij, ik and jk: i to j to k to i."""
    return flow[triangles[:, 0]] - flow[triangles[:, 1]] + flow[triangles[:, 2]]


def _outgoing(edges, n_items):
    """Edges in the order of their less often compared item, and how many follow it."""
    compared = np.bincount(edges.ravel(), minlength=n_items)
    place = np.empty(n_items, dtype=np.intp)
    place[np.lexsort((np.arange(n_items), compared))] = np.arange(n_items)
    lower = place[edges[:, 0]] < place[edges[:, 1]]
    start = np.where(lower, edges[:, 0], edges[:, 1])
    order = np.argsort(start, kind="stable")
    count = np.bincount(start, minlength=n_items)
    stops = np.cumsum(count)
    start = start[order]
    return order, start, stops[start] - 1 - np.arange(len(edges))


def _n_paths(edges, n_items):
    return float(_outgoing(edges, n_items)[2].sum())


def _triangles(edges: NDArray[np.intp], n_items: int) -> Iterator[NDArray[np.intp]]:
    """Triangles as numbers of edges ij, ik, jk (i < j < k), in chunks (m, 3).

    Two edges from the item of three that is compared least often are looked at once;
    the third is looked up. At most n_edges^(3/2) pairs.
    """
    order, start, following = _outgoing(edges, n_items)
    end = edges.sum(axis=1)[order] - start
    keys = edges[:, 0] * np.int64(n_items) + edges[:, 1]
    stops = np.cumsum(following)
    begin = 0
    while begin < len(edges):
        done = stops[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(stops, done + _CHUNK, side="right")), begin + 1)
        counts = following[begin:stop]
        one = np.repeat(np.arange(begin, stop), counts)
        offset = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
        other = one + 1 + offset
        a, b = end[one], end[other]
        key = np.minimum(a, b) * np.int64(n_items) + np.maximum(a, b)
        at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        closed = keys[at] == key
        found = np.stack([order[one[closed]], order[other[closed]], at[closed]], axis=1)
        # In the order of their keys, edges of a triangle are ij, ik, jk.
        yield np.sort(found, axis=1)
        begin = stop


def _some_triangles(edges, n_items):
    """Triangles, all or every so manieth, and whether they are all."""
    limit = max(_FEW, 2 * _PER_EDGE * len(edges))
    kept, n_kept, n_seen, stride = [], 0, 0, 1
    for found in _triangles(edges, n_items):
        kept.append(found[-n_seen % stride :: stride])
        n_seen += len(found)
        n_kept += len(kept[-1])
        while n_kept > limit:
            every = np.concatenate(kept)[::2]
            kept, n_kept, stride = [every], len(every), 2 * stride
    every = np.concatenate(kept) if kept else np.empty((0, 3), dtype=np.intp)
    return every, stride == 1
