"""Confidence sets of ranks, from draws of the errors of all scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from .._shift_design import TooWide

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

# Draws and items that are compared with all others at a time: fits into caches.
_DRAWS, _ITEMS = 16, 32
# Variances of differences are rounding below this share of those of the scores.
_ROUNDED = 1e-13

KINDS = ("marginal", "joint")
# All differences are compared at once up to so many items.
MAX_ITEMS = 4096


def rank_sets(
    scores: NDArray[np.float64],
    cov: NDArray[np.float64],
    draws: NDArray[np.float64],
    groups: NDArray[np.intp],
    parts: NDArray[np.intp],
    *,
    level: float,
    kind: str = "marginal",
    factor: float = 1.0,
    degrees: Callable[[NDArray[np.intp], NDArray[np.intp]], Any] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Lowest and highest rank of every item among those of its group.

    Parameters
    ----------
    scores : ndarray of shape (n_items,)
        Large is good.
    cov : ndarray of shape (n_items, n_items)
        Variances of differences follow from it; used within `parts`.
    draws : ndarray of shape (n_draws, n_items)
        Of errors with that covariance. Only differences within `parts` are used. NaN:
        the draw says nothing about the part of this item. It is left out there (if
        "joint", everywhere).
    groups : ndarray of int of shape (n_items,)
        Items that are ranked together.
    parts : ndarray of int of shape (n_items,)
        Items whose differences are known, a partition of every group. Those of parts
        with fewer than two draws are not told apart.
    level : float
    kind : {"marginal", "joint"}
    factor : float, default=1.0
        Variances of the scores over `cov`.
    degrees : callable or None
        Of arrays of items (k,), (l,): degrees of freedom of differences (k, l).

    Returns
    -------
    low, high : ndarray of int of shape (n_items,)
        From 1 (best).

    Raises
    ------
    ValueError
        If `kind` is unknown.

    Notes
    -----
    See `RankingInference.rank_intervals`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown; use one of {KINDS}.")
    members = [np.flatnonzero(parts == part) for part in np.unique(parts)]
    members = [some for some in members if len(some) > 1]
    if kind == "joint" and members:
        every = np.concatenate(members)
        draws = draws[~np.isnan(draws[:, every]).any(axis=1)]
    cut = np.full(len(scores), np.inf)
    most = np.zeros(len(draws))
    for some in members:
        drawn = draws[:, some]
        drawn = drawn[~np.isnan(drawn).any(axis=1)]
        if len(drawn) < 2:
            continue
        largest = _largest(drawn, _inverse_errors(cov, some, some))
        if kind == "joint":
            np.maximum(most, largest.max(axis=1), out=most)
        else:
            cut[some] = np.quantile(largest, level, axis=0, method="higher")
    if kind == "joint" and len(draws) > 1:
        cut[:] = np.quantile(most, level, method="higher")
    better = np.zeros(len(scores), dtype=np.intp)
    worse = np.zeros(len(scores), dtype=np.intp)
    for some in members:
        if np.isinf(cut[some[0]]):
            continue
        for start in range(0, len(some), 256):
            rows = some[start : start + 256]
            sure, ahead = _told_apart(
                scores, cov, rows, some, cut[rows], factor, degrees
            )
            better[rows] = (sure & ahead).sum(axis=1)
            worse[rows] = (sure & ~ahead).sum(axis=1)
    size = np.bincount(groups)[groups]
    return 1 + better, size - worse


def _variances(cov, rows, columns):
    own = np.diagonal(cov)
    total = own[rows][:, None] + own[columns]
    out = total - 2 * cov[np.ix_(rows, columns)]
    out[out <= _ROUNDED * total] = 0.0
    return out


def _inverse_errors(cov, rows, columns):
    """1 over standard errors of differences, 0 where they are 0; float32."""
    error = np.sqrt(_variances(cov, rows, columns))
    out = np.divide(1.0, error, out=np.zeros_like(error), where=error > 0)
    return out.astype(np.float32)


def _largest(draws, inverse):
    """Largest studentized difference of each item with any other, (n_draws, k)."""
    D = draws - draws.mean(axis=1, keepdims=True)  # differences of small numbers
    D = np.ascontiguousarray(D, dtype=np.float32)
    n_draws, k = D.shape
    out = np.zeros((n_draws, k), dtype=np.float32)
    for i in range(0, k, _ITEMS):
        factor = inverse[i : i + _ITEMS, i:]
        for d in range(0, n_draws, _DRAWS):
            rows = D[d : d + _DRAWS]
            ratio = rows[:, i : i + _ITEMS, None] - rows[:, None, i:]
            np.abs(ratio, out=ratio)
            ratio *= factor
            mine, theirs = out[d : d + _DRAWS, i : i + _ITEMS], out[d : d + _DRAWS, i:]
            np.maximum(theirs, ratio.max(axis=1), out=theirs)
            np.maximum(mine, ratio.max(axis=2), out=mine)
    return out


def _told_apart(scores, cov, rows, columns, cut, factor, degrees):
    """Which items (columns) surely differ from others (rows), and which are better."""
    error = np.sqrt(factor * _variances(cov, rows, columns))
    gap = scores[columns] - scores[rows][:, None]
    sure = np.abs(gap) > np.maximum(
        cut[:, None] * error, _ROUNDED * np.abs(scores).max()
    )
    if degrees is not None:
        df = degrees(rows, columns)
        i, j = np.nonzero(sure & (error > 0))
        tail = special.stdtr(df[i, j], -np.abs(gap[i, j]) / error[i, j])
        sure[i, j] = tail < special.ndtr(-cut[i])
    return sure, gap > 0


def rank_frame(
    items: NDArray[Any],
    components: NDArray[np.intp],
    scores: NDArray[np.float64],
    low: NDArray[np.intp],
    high: NDArray[np.intp],
    groups: NDArray[np.intp],
) -> pd.DataFrame:
    """Table of ranks and their sets, by size of the group, then rank."""
    import pandas as pd

    order = np.lexsort((np.arange(len(scores)), -scores, groups))
    ahead = np.searchsorted(groups[order], groups[order])
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.diff(scores[order]) != 0
    new[1:] |= np.diff(groups[order]) != 0
    place = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = 1 + place - ahead
    size = np.bincount(groups)[groups]
    order = np.lexsort((np.arange(len(scores)), rank, groups, -size))
    frame = pd.DataFrame(
        {
            "item": items,
            "component": components,
            "rank": rank,
            "low": low,
            "high": high,
            "score": scores,
        }
    )
    return frame.iloc[order].reset_index(drop=True)


def too_wide(what: str, n_items: int, instead: str = "rank fewer items") -> TooWide:
    """Error of a request for the differences of all pairs of too many items."""
    return TooWide(
        f"{what} {n_items} items would need a square matrix of that size, at most "
        f"{MAX_ITEMS}: {instead}, or use differences(pairs) (of a ranker: "
        "score_differences(pairs)), which works for any number of items."
    )
