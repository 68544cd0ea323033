"""Votes on pairs of items, as codes: labels are read and checked once, here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .problem import check_weight
from .win_proportions import WinProportions, win_proportions

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

__all__ = ["KINDS", "VoteTable", "read_votes"]

KINDS = ("binary", "ties", "graded")
# So many labels or rows are named in a message.
_NAMED = 5
_UNSEEN = " Items that no vote compares have no score unless features give it."
_OTHER = " Add what is missing to items, or drop these votes."


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
        labels, _ = _labels_of_pairs(pairs)
        return _find("pairs", labels, self.items, self._index, _UNSEEN)

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
        labels = _labels("items", items)
        return _find("items", labels, self.items, self._index, _UNSEEN)

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
                f"({_some(np.unique(self.y))}); numpy.sign(y) are binary ones."
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
        return _index(self.items)


def read_votes(
    pairs: Any,
    y: ArrayLike | str | None = None,
    worker: ArrayLike | str | None = None,
    sample_weight: ArrayLike | str | None = None,
    items: ArrayLike | None = None,
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
    pairs, named = _split_frame(pairs, named)
    labels, row_names = _labels_of_pairs(pairs)
    n_votes = len(labels)
    if n_votes == 0:
        raise ValueError("pairs is empty (n_votes=0); at least two votes are needed.")
    if items is None:
        known, codes = _factorized("pairs", labels)
    else:
        known, codes = _within(labels, items)
    _check_different(codes, known)
    votes, kind = _checked_y(named["y"], n_votes)
    weight = None
    if named["sample_weight"] is not None:
        weight = _numbers("sample_weight", named["sample_weight"], n_votes)
        weight = check_weight(weight, n_votes)
    _check_enough(codes, weight, known if items is None else None)
    workers = worker_codes = None
    if named["worker"] is not None:
        found = _labels("worker", named["worker"])
        if len(found) != n_votes:
            raise ValueError(
                f"worker has {len(found)} labels, but there are {n_votes} votes; give "
                "one for each."
            )
        workers, worker_codes = _factorized("worker", found)
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


# ------------------------------------------------------------------------------ frames


def _is_frame(values):
    return hasattr(values, "columns") and hasattr(values, "__getitem__")


def _split_frame(pairs, named):
    """The two columns of items, and arguments with columns instead of their names."""
    columns = {name: value for name, value in named.items() if isinstance(value, str)}
    if not columns:
        return pairs, named
    name, column = next(iter(columns.items()))
    if not _is_frame(pairs):
        raise ValueError(
            f"{name}={column!r} names a column, but pairs is no data frame "
            f"({type(pairs).__name__}); give the {name} of every vote."
        )
    present = list(pairs.columns)
    for name, column in columns.items():
        if present.count(column) != 1:
            problem = "names no column" if column not in present else "is ambiguous"
            raise ValueError(f"{name}={column!r} {problem}; columns: {present}.")
    named = named | {name: pairs[column] for name, column in columns.items()}
    rest = [column for column in present if column not in columns.values()]
    if len(rest) != 2 or rest[0] == rest[1]:
        raise ValueError(
            f"pairs has the columns {rest} beside {list(columns.values())}; two of "
            "different names must be left, the first and the second item of each vote. "
            "Drop the others."
        )
    return pairs[rest], named


def _labels_of_pairs(pairs):
    """Labels (n, 2), and names of rows or None."""
    if not _is_frame(pairs):
        labels = _array("pairs", pairs)
        if labels.shape == (0,):
            labels = labels.reshape(0, 2)
        if labels.ndim != 2 or labels.shape[1] != 2:
            raise ValueError(
                f"pairs has shape {labels.shape}; it needs two columns, the first and "
                f"the second item of each vote{_hint(labels.shape)}."
            )
        return labels, None
    columns = list(pairs.columns)
    if len(columns) != 2 or columns[0] == columns[1]:
        raise ValueError(
            f"pairs has the columns {columns}; it needs two of different names, the "
            "first and the second item of each vote. Select them, or name others by y, "
            "worker and sample_weight."
        )
    first, second = (_labels("pairs", pairs[column]) for column in columns)
    if first.dtype.kind != second.dtype.kind:  # numbers would become strings, or floats
        first, second = first.astype(object), second.astype(object)
    return np.column_stack([first, second]), _row_names(pairs)


def _hint(shape):
    if len(shape) == 1:
        return " (one pair: [[first, second]])"
    if len(shape) == 2 and shape[0] == 2:
        return " (transpose it)"
    if len(shape) == 2 and shape[1] > 2:
        return ", and nothing else: give y, worker and sample_weight by their names"
    return ""


def _row_names(frame):
    """Names in the index of a pandas frame, unless it counts the rows."""
    if not hasattr(frame, "iloc"):
        return None
    counts = np.arange(len(frame))
    index = frame.index
    if index.dtype.kind in "iu" and np.array_equal(index.to_numpy(), counts):
        return None
    return tuple(map(str, index))


# ------------------------------------------------------------------------------ labels


def _array(name, values):
    """An array in which nothing has become a string that was none."""
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked entries; drop these votes.")
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US" and not isinstance(values, np.ndarray):
            array = np.asarray(values, dtype=object)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} is no array: {error}") from None
    if array.dtype.kind == "T":
        return array.astype(object)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _labels(name, values):
    array = _array(name, values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} has shape {array.shape}; it needs one dimension, a label for each "
            f"{'item' if name == 'items' else 'vote'}."
        )
    return array


def _factorized(name, labels):
    """Sorted labels that occur, and the code of each."""
    import pandas as pd

    try:
        codes, found = pd.factorize(labels.ravel())
    except TypeError as error:
        raise ValueError(f"{name} has labels that cannot be used: {error}.") from None
    if (codes < 0).any():
        raise ValueError(_missing(name, codes.reshape(labels.shape) < 0))
    found = _sortable(np.asarray(found))
    try:
        order = np.argsort(found, kind="stable")
    except TypeError:
        raise ValueError(_no_order(name, found)) from None
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return found[order], rank[codes].reshape(labels.shape)


def _sortable(labels):
    """Labels of type object, with the type that they have in common."""
    import pandas as pd

    if labels.dtype.kind != "O":
        return labels
    types = {"string": str, "integer": np.int64, "boolean": bool, "floating": float}
    types["mixed-integer-float"] = float
    common = types.get(pd.api.types.infer_dtype(labels, skipna=False))
    try:
        return labels if common is None else labels.astype(common)
    except OverflowError:  # larger integers
        return labels


def _index(items):
    """Where labels are, for `_find`."""
    import pandas as pd

    return pd.Index(items.astype(object) if items.dtype.kind == "U" else items)


def _find(name, labels, items, index, advice):
    """Codes of labels among `items`."""
    import pandas as pd

    try:
        codes, found = pd.factorize(labels.ravel(), use_na_sentinel=False)
        found = found.astype(object) if found.dtype.kind == "U" else found
        place = np.asarray(index.get_indexer(found), dtype=np.intp)
    except TypeError as error:  # not hashable
        raise ValueError(f"{name} has labels that cannot be used: {error}.") from None
    if (place < 0).any():
        raise ValueError(_unknown(name, found[place < 0], items) + advice)
    return place[codes].reshape(labels.shape)


def _within(labels, items):
    """`items`, sorted, and codes of labels that must be among them."""
    known, codes = _factorized("items", _labels("items", items))
    count = np.bincount(codes, minlength=len(known))
    if (count > 1).any():
        raise ValueError(
            f"items contains {_some(known[count > 1])} more than once; give each label "
            "once."
        )
    found, codes = _factorized("pairs", labels)
    place = _find("pairs", found, known, _index(known), _OTHER)
    return known, place[codes]


# ------------------------------------------------------------------------------ checks


def _numbers(name, values, n_votes):
    array = _array(name, values)
    if array.dtype.kind in "USMmcV" or _are("string", array):
        bad = array.ravel()[0] if array.size else array
        raise ValueError(f"{name} must be numbers, got {bad!r} ({array.dtype}).")
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
    array = _array("y", y)
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
            f"{_some(items[own])}); drop such rows, they say nothing."
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
            f"sample_weight is 0 for all votes on {_some(items[votes == 0])} "
            f"({(votes == 0).sum()} of {len(items)} items); drop these rows, or give "
            "the labels that may occur as items."
        )


# ---------------------------------------------------------------------------- messages


def _some(values):
    """The first few of some labels or numbers."""
    values = np.asarray(values)
    shown = ", ".join(map(repr, values[:_NAMED].tolist()))
    return shown + (", ..." if len(values) > _NAMED else "")


def _unknown(name, labels, items):
    number = "an unknown item" if len(labels) == 1 else f"{len(labels)} unknown items"
    types = [type(values.tolist()[0]).__name__ for values in (labels, items)]
    differ = "" if types[0] == types[1] else f" Types: {types[0]}, known {types[1]}."
    return (
        f"{name} contains {number}: {_some(labels)}; known: {_some(items)} "
        f"({len(items)} items).{differ}"
    )


def _missing(name, mask):
    rows = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
    advice = {
        "pairs": "drop these votes",
        "worker": "drop these votes, or give a label that stands for unknown workers",
        "items": "leave it out",
    }
    return (
        f"{name} has no label in row {rows[0]} ({len(rows)} of {len(mask)} rows); "
        f"{advice[name]}."
    )


def _no_order(name, labels):
    examples = {type(label).__name__: label for label in labels[::-1].tolist()}
    types = " and ".join(f"{kind} ({label!r})" for kind, label in examples.items())
    return (
        f"{name} has labels of the types {types}, which have no common order; "
        "make them alike, for example all of them strings."
    )
