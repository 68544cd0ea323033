"""Scores of votes, summed up over those who cast them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from .._comparison_graph import edges_of

# Numbers in a block of votes times contrasts.
_BLOCK = 1 << 21
# Products of the shares of clusters in the variances of two scores are taken up to so
# many multiplications.
_MANY_PRODUCTS = 5e10
# Covariances that may be singular are factored with so much more on the diagonal.
_JITTER = 1e-10


def cluster_codes(
    clusters: Any, pairs: NDArray[np.intp], used: NDArray[np.intp], n_items: int
) -> NDArray[np.intp] | None:
    """Codes of the clusters of the votes that are used, or None.

    Raises
    ------
    ValueError
        If there is one cluster only, or not one label per vote.
    """
    if clusters is None:
        return None
    if isinstance(clusters, str):
        if clusters != "pair":
            raise ValueError(
                f"clusters={clusters!r} is unknown; give one label per vote, 'pair', "
                "or None."
            )
        first, second = pairs[used].T
        codes = edges_of(first, second, n_items)[2]
    else:
        labels = np.asarray(clusters)
        if labels.shape != (len(pairs),):
            raise ValueError(
                f"clusters has shape {labels.shape}; it needs one label for each of "
                f"the {len(pairs)} votes."
            )
        codes = np.unique(labels[used], return_inverse=True)[1]
    if not codes.max() > 0:
        raise ValueError(
            "clusters has 1 label; standard errors need at least two clusters, and "
            "about 30 to be good. Use clusters=None if votes are independent."
        )
    return codes


class ClusteredScores:
    """What contrasts of the parameters make of the votes of each cluster.

    A contrast is given by its solution with the second derivatives H: `inner` (n_items,
    k) and `outer` (n_side, k). The influence of a vote on it is ``psi (inner_i -
    inner_j + extra outer)``, plus that of the border.

    Parameters
    ----------
    pairs : ndarray of int of shape (n, 2)
    weight, psi : ndarray of shape (n,)
        Weights are positive.
    extra : csr_array of shape (n, n_extra)
    of_border : ndarray of shape (n,) or None
        Score of the further global parameter.
    codes : ndarray of int of shape (n,) or None
        Clusters; None: every vote is one, and w equal ones if its weight is w.
    n_items : int
    """

    def __init__(self, pairs, weight, psi, extra, of_border, codes, n_items):
        n = len(pairs)
        self._pairs, self._weight, self._extra = pairs, weight, extra
        self.alone = codes is None
        self._codes = np.arange(n) if codes is None else codes
        self.n_clusters = int(self._codes.max()) + 1
        self._psi, self._of_border, self._n_items = psi, of_border, n_items

    @cached_property
    def _sums(self):
        """Sums of the scores of clusters: of items, of side columns."""
        # w repeated votes are w clusters.
        w = np.sqrt(self._weight) if self.alone else self._weight
        pulls = w * self._psi
        at = np.tile(self._codes, 2), self._pairs.T.ravel()
        shape = self.n_clusters, self._n_items
        items = sparse.csr_array((np.concatenate([pulls, -pulls]), at), shape=shape)
        columns = sparse.diags_array(pulls, format="csr") @ self._extra
        if self._of_border is not None:
            last = sparse.csr_array((w * self._of_border)[:, None])
            columns = sparse.hstack([columns, last], format="csr")
        return items, self._of_clusters @ columns

    @cached_property
    def _of_clusters(self):
        n = len(self._psi)
        entries = (np.ones(n), (self._codes, np.arange(n)))
        return sparse.csr_array(entries, shape=(self.n_clusters, n))

    # -- some contrasts ----------------------------------------------------------------

    def variances(
        self, inner: NDArray[np.float64], outer: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Sums over clusters of squared influences, (k,)."""
        of_items, of_side = self._sums
        out = np.empty(inner.shape[1])
        for some in self._blocks(inner.shape[1]):
            sums = of_items @ inner[:, some] + of_side @ outer[:, some]
            out[some] = np.einsum("gk,gk->k", sums, sums)
        return out

    def spread(
        self, inner: NDArray[np.float64], outer: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums over clusters of their shares in the variance, and of the squares.

        Shares as if all votes were independent and equally noisy, up to a factor.
        """
        total, squares = np.empty((2, inner.shape[1]))
        for some in self._blocks(inner.shape[1]):
            share = self._shares(inner[:, some], outer[:, some])
            total[some] = self._weight @ share
            if self.alone:
                squares[some] = self._weight @ share**2
            else:
                sums = self._of_clusters @ (share * self._weight[:, None])
                squares[some] = np.einsum("gk,gk->k", sums, sums)
        return total, squares

    def _blocks(self, k):
        step = max(1, _BLOCK // len(self._psi))
        return (slice(start, start + step) for start in range(0, k, step))

    def _shares(self, inner, outer, votes=slice(None)):
        first, second = self._pairs[votes].T
        out = inner[first]
        out -= inner[second]
        n_extra = self._extra.shape[1]
        if n_extra:
            out += self._extra[votes] @ outer[:n_extra]
        if self._of_border is None:
            return np.square(out, out=out)
        a, b, c = self._moments
        last = outer[-1]
        return a * out**2 + 2 * b * out * last + c * last**2

    @cached_property
    def _moments(self):
        """Mean squares and product of the scores of eta and of the border."""
        psi, other, w = self._psi, self._of_border, self._weight
        return np.stack([psi**2, psi * other, other**2]) @ w / w.sum()

    # -- contrasts of all items --------------------------------------------------------

    def covariance(
        self, inner: NDArray[np.float64], outer: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Sums over clusters of products of influences, (n_items, n_items).

        `inner` is symmetric.
        """
        of_items, of_side = self._sums
        if self.n_clusters <= self._n_items:
            influence = of_items @ inner + of_side @ outer
            return influence.T @ influence
        cov = inner @ ((of_items.T @ of_items) @ inner)
        both = (inner @ (of_items.T @ of_side)) @ outer
        return cov + both + both.T + outer.T @ ((of_side.T @ of_side) @ outer)

    def draws(
        self,
        inner: NDArray[np.float64],
        outer: NDArray[np.float64],
        n_draws: int,
        rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Normal with that covariance, (n_draws, n_items).

        Random multiples of the scores of clusters; if there are many, or votes are
        alone, by a root of the covariance of the scores, so that the draws do not
        depend on the order of the votes.
        """
        of_items, of_side = self._sums
        width = self._n_items + of_side.shape[1]
        if self.alone or self.n_clusters > 2 * width:
            both = sparse.hstack([of_items, of_side], format="csr")
            root = _root((both.T @ both).toarray())
            sums = rng.standard_normal((n_draws, width)) @ root.T
            items, side = np.split(sums, [self._n_items], axis=1)
        else:
            multiples = rng.standard_normal((n_draws, self.n_clusters))
            items, side = multiples @ of_items, multiples @ of_side
        return items @ inner + side @ outer

    def products(
        self, inner: NDArray[np.float64], outer: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Like `spread`, with sums of products of shares, (n_items, n_items).

        If these are too many, only the squares, on the diagonal.
        """
        m, step = self._n_items, max(1, _BLOCK // self._n_items)
        total, square = np.zeros(m), np.zeros((m, m))
        every = self.n_clusters * float(m) ** 2 <= _MANY_PRODUCTS
        order = np.argsort(self._codes, kind="stable")
        starts = np.searchsorted(
            self._codes[order], np.arange(self.n_clusters + 1)
        ).tolist()
        for base in range(0, self.n_clusters, step):
            top = min(base + step, self.n_clusters)
            sums = np.zeros((top - base, m))
            for start in range(starts[base], starts[top], step):
                some = order[start : min(start + step, starts[top])]
                weight = self._weight[some, None]
                share = self._shares(inner, outer, some)
                share *= weight
                total += share.sum(axis=0)
                if self.alone:
                    share /= np.sqrt(weight)
                codes = self._codes[some]
                heads = np.flatnonzero(np.diff(codes, prepend=-1))
                sums[codes[heads] - base] += np.add.reduceat(share, heads)
            if every:
                square += sums.T @ sums
            else:
                square[np.diag_indices(m)] += np.einsum("gi,gi->i", sums, sums)
        return total, square


def _root(square):
    """A matrix whose product with its transpose is `square`, positive semidefinite."""
    size = np.sqrt(np.diagonal(square))
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    scaled = square * scale * scale[:, None]
    scaled[np.diag_indices(len(size))] = 1 + _JITTER
    return size[:, None] * linalg.cholesky(scaled, lower=True)
