"""Votes on pairs of items, as codes: labels are read and checked once, here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ._vote_labels import (
    as_array,
    as_labels,
    codes_within,
    factorized,
    find_codes,
    first_few,
    label_index,
    labels_of_pairs,
    split_frame,
)
from .problem import check_weight
from .win_proportions import WinProportions, win_proportions

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["KINDS", "VoteTable", "read_votes"]

KINDS = ("binary", "ties", "graded")
_MAP = (
    "; give 1 where the first item is preferred, -1 where the second one is, 0 for a "
    "tie, for example np.where(y == 'left', 1, -1)"
)
_UNSEEN = " Items that no vote compares have no score unless features give it."


@dataclass(frozen=True, eq=False)
class VoteTable:
    """Votes that compare two items each, with labels replaced by codes.

    Made by `read_votes`.

    Attributes
    ----------
    pairs : ndarray of int of shape (n_votes, 2)
        Places of the first and the second item in `items`.
    y : ndarray of shape (n_votes,)
        Positive: the first item is preferred; negative: the second; 0: a tie.
    items : ndarray of shape (n_items,)
        Labels, sorted; integers stay integers, strings have a dtype ``str``.
    weight : ndarray of shape (n_votes,) or None
        How many equal votes each row stands for; None: 1.
    workers : ndarray of shape (n_workers,) or None
        Labels, sorted.
    worker_codes : ndarray of int of shape (n_votes,) or None
        Places in `workers`.
    row_names : tuple of str or None
        Index of the data frame, unless it just counts the rows.
    kind : {"binary", "ties", "graded"}
        Whether all of y is +-1; +-1 or 0 (also: all 0); or something else.
    """

    pairs: NDArray[np.intp]
    y: NDArray[np.float64]
    items: NDArray[Any]
    weight: NDArray[np.float64] | None = None
    workers: NDArray[Any] | None = None
    worker_codes: NDArray[np.intp] | None = None
    row_names: tuple[str, ...] | None = None
    kind: str = "graded"

    @property
    def n_votes(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def is_binary(self) -> bool:
        """Whether votes only say which item is preferred (or that none is)."""
        return self.kind != "graded"

    @property
    def item_votes(self) -> NDArray[np.float64]:
        """Sum of the weights of the votes on each item, (n_items,)."""
        weight = None if self.weight is None else np.repeat(self.weight, 2)
        return np.bincount(self.pairs.ravel(), weight, self.n_items).astype(np.float64)

    def encode(self, pairs: Any) -> NDArray[np.intp]:
        """Return the codes of the items of some pairs.

        Parameters
        ----------
        pairs : array-like or data frame of shape (n_pairs, 2)
            Labels.

        Returns
        -------
        ndarray of int of shape (n_pairs, 2)

        Raises
        ------
        ValueError
            If the shape is another one, or a label is unknown.
        """
        labels, _ = labels_of_pairs(pairs)
        return find_codes("pairs", labels, self.items, self._index, _UNSEEN)

    def item_codes(self, items: Any) -> NDArray[np.intp]:
        """Return the codes of some items.

        Parameters
        ----------
        items : array-like of shape (n,)
            Labels.

        Returns
        -------
        ndarray of int of shape (n,)

        Raises
        ------
        ValueError
            If `items` is not one-dimensional, or a label is unknown.
        """
        labels = as_labels("items", items)
        return find_codes("items", labels, self.items, self._index, _UNSEEN)

    def win_proportions(self) -> WinProportions:
        """Count the votes of every pair, ties by half.

        Raises
        ------
        ValueError
            If the votes are graded.
        """
        if not self.is_binary:
            raise ValueError(
                "proportions of wins need binary votes, but y is graded "
                f"({first_few(np.unique(self.y))}); numpy.sign(y) are binary ones."
            )
        return win_proportions(self.pairs, self.y, self.weight)

    def frame(self) -> pd.DataFrame:
        """One line for each vote: item_1, item_2, y, worker (if known), weight."""
        import pandas as pd

        first, second = self.items[self.pairs.T]
        columns: dict[str, Any] = {"item_1": first, "item_2": second, "y": self.y}
        if self.workers is not None:
            columns["worker"] = self.workers[self.worker_codes]
        columns["weight"] = 1.0 if self.weight is None else self.weight
        return pd.DataFrame(columns, index=self.row_names)

    @cached_property
    def _index(self):
        return label_index(self.items)


def read_votes(
    pairs: Any,
    y: ArrayLike | str | None = None,
    worker: ArrayLike | str | None = None,
    sample_weight: ArrayLike | str | None = None,
    items: ArrayLike | None = None,
    *,
    items_name: str = "items",
) -> VoteTable:
    """Check votes on pairs of items and replace labels by codes.

    Everything is aligned by position: the index of pandas objects is not compared.

    Parameters
    ----------
    pairs : array-like or data frame of shape (n_votes, 2)
        Labels of the first and the second item of each vote: integers, strings, or
        anything else that is hashable and has an order. A pandas or polars frame may
        have more columns if `y`, `worker` or `sample_weight` name them; two must be
        left, the first and the second item.
    y : array-like of shape (n_votes,), column name or None
        Positive: the first item is preferred (1, or by how much); negative: the second;
        0: a tie. None: the first item of every pair is preferred (winner, loser).
    worker : array-like of shape (n_votes,), column name or None
        Labels of those who voted.
    sample_weight : array-like of shape (n_votes,), column name or None
        How many equal votes each row stands for; rows of weight 0 do not count.
    items : array-like of shape (n_items,) or None
        The labels that may occur. None: those that occur in rows of any weight.
    items_name : str, default="items"
        What messages call `items`.

    Returns
    -------
    VoteTable
        All rows, in their order. With `items`, it may contain items without votes.

    Raises
    ------
    ValueError
        If a shape is wrong, a column is unknown, a label is missing or not in `items`,
        labels of different types have no order, an item is compared with itself, y is
        not numeric, not finite, boolean or coded by 0 and 1 (or 1 and 2), a weight is
        negative, there is only one vote, or (without `items`) all votes on an item have
        weight 0.

    Examples
    --------
    >>> from sparselbi.votes import read_votes
    >>> votes = read_votes([("b", "a"), ("a", "c"), ("c", "b")], y=[1, -1, 0])
    >>> votes.items.tolist(), votes.pairs.tolist(), votes.kind
    (['a', 'b', 'c'], [[1, 0], [0, 2], [2, 1]], 'ties')
    """
    named = {"y": y, "worker": worker, "sample_weight": sample_weight}
    pairs, named = split_frame(pairs, named)
    labels, row_names = labels_of_pairs(pairs)
    n_votes = len(labels)
    if n_votes == 0:
        raise ValueError("pairs is empty (n_votes=0); at least two votes are needed.")
    if items is None:
        known, codes = factorized("pairs", labels)
    else:
        known, codes = codes_within(labels, items, items_name)
    _check_different(codes, known)
    votes, kind = _checked_y(named["y"], n_votes)
    weight = None
    if named["sample_weight"] is not None:
        weight = _numbers("sample_weight", named["sample_weight"], n_votes)
        weight = check_weight(weight, n_votes)
    _check_enough(codes, weight, known if items is None else None)
    workers = worker_codes = None
    if named["worker"] is not None:
        found = as_labels("worker", named["worker"])
        if len(found) != n_votes:
            raise ValueError(
                f"worker has {len(found)} labels, but there are {n_votes} votes; give "
                "one for each."
            )
        workers, worker_codes = factorized("worker", found)
    return VoteTable(
        pairs=codes,
        y=votes,
        items=known,
        weight=weight,
        workers=workers,
        worker_codes=worker_codes,
        row_names=row_names,
        kind=kind,
    )


# ------------------------------------------------------------------------------ checks


def _numbers(name, values, n_votes):
    array = as_array(name, values)
    if array.dtype.kind in "USMmcV" or _are("string", array):
        bad = array.ravel()[:1].tolist()
        raise ValueError(
            f"{name} must be numbers, got {bad[0] if bad else array!r} (type "
            f"{array.dtype}){_MAP if name == 'y' else ''}."
        )
    try:
        numbers = np.array(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers: {error}.") from None
    if numbers.shape != (n_votes,):
        raise ValueError(
            f"{name} has shape {numbers.shape}; it needs one number for each of the "
            f"{n_votes} votes."
        )
    return numbers


def _are(kind, array):
    """Whether all entries of an array of type object are of a kind."""
    import pandas as pd

    return array.dtype.kind == "O" and pd.api.types.infer_dtype(array.ravel()) == kind


def _checked_y(y, n_votes):
    """Votes and their kind."""
    if y is None:
        return np.ones(n_votes), "binary"
    array = as_array("y", y)
    if array.dtype == bool or _are("boolean", array):
        raise ValueError(
            "y is boolean, which does not say who is preferred; if True stands for the "
            "first item, give 2 * y - 1: +1 for the first item, -1 for the second."
        )
    votes = _numbers("y", array, n_votes)
    bad = np.flatnonzero(~np.isfinite(votes))
    if len(bad):
        raise ValueError(
            f"y[{bad[0]}] is {votes[bad[0]]} ({len(bad)} of {n_votes} votes are not "
            "finite); drop votes that are missing. A tie is 0."
        )
    size = np.abs(votes)
    if not ((size == 1) | (size == 0)).all():
        kind = "graded"
    else:
        kind = "binary" if size.all() else "ties"
    _check_coding(votes)
    return votes, kind


def _check_coding(votes):
    """Refuse 0/1 and 1/2, which look like names of the two sides."""
    codings = (
        (0, "0 is a tie", "2 * y - 1"),
        (2, "1 and 2 prefer the first item to different degrees", "3 - 2 * y"),
    )
    is_one = votes == 1
    for second, meaning, change in codings:
        if is_one.any() and not is_one.all() and (is_one | (votes == second)).all():
            values = f"{min(second, 1)} and {max(second, 1)}"
            raise ValueError(
                f"y contains only {values}, so that no vote is for the second item: "
                f"{meaning}. If 1 stands for the first item and {second} for the "
                f"second, give {change}. If the preferred item does always stand "
                "first, swap the two columns of pairs and give -y, which says the same."
            )


def _check_different(codes, items):
    same = np.flatnonzero(codes[:, 0] == codes[:, 1])
    if len(same):
        count = "1 such row" if len(same) == 1 else f"{len(same)} such rows"
        own = np.unique(codes[same, 0])
        raise ValueError(
            f"pairs compares an item with itself in row {same[0]} ({count}; items "
            f"{first_few(items[own])}); drop such rows, they say nothing."
        )


def _check_enough(codes, weight, items):
    """Two votes, and (if labels are given) a vote of positive weight on each item."""
    counts = np.ones(len(codes), bool) if weight is None else weight > 0
    total = len(codes) if weight is None else weight.sum()
    if counts.sum() == 1 and total <= 1:
        raise ValueError(
            f"pairs holds one vote ({len(codes)} rows, total weight {total:g}): one "
            "vote orders two items and leaves nothing to check it by; give more."
        )
    if items is None or counts.all():
        return
    votes = np.bincount(codes[counts].ravel(), minlength=len(items))
    if not votes.all():
        raise ValueError(
            f"sample_weight is 0 for all votes on {first_few(items[votes == 0])} "
            f"({(votes == 0).sum()} of {len(items)} items); drop these rows, or give "
            "the labels that may occur as items."
        )
