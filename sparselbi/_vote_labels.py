"""Labels of items and workers, from arrays and data frames, and codes for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

# So many labels or rows are named in a message.
_NAMED = 5


# ------------------------------------------------------------------------------ frames


def _is_frame(values):
    return hasattr(values, "columns") and hasattr(values, "__getitem__")


def split_frame(pairs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
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


def labels_of_pairs(pairs: Any) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n, 2), and names of rows or None."""
    if not _is_frame(pairs):
        labels = as_array("pairs", pairs)
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
    first, second = (as_labels("pairs", pairs[column]) for column in columns)
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


def as_array(name: str, values: Any) -> NDArray[Any]:
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


def as_labels(name: str, values: Any) -> NDArray[Any]:
    """A label for each vote (or item)."""
    array = as_array(name, values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} has shape {array.shape}; it needs one dimension, a label for each "
            f"{'vote' if name in ('pairs', 'worker') else 'item'}."
        )
    return array


def factorized(
    name: str, labels: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.intp]]:
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


def label_index(items: NDArray[Any]) -> pd.Index:
    """Where labels are, for `_find`."""
    import pandas as pd

    return pd.Index(items.astype(object) if items.dtype.kind == "U" else items)


def find_codes(
    name: str, labels: NDArray[Any], items: NDArray[Any], index: pd.Index, advice: str
) -> NDArray[np.intp]:
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


def codes_within(
    labels: NDArray[Any], items: Any, name: str = "items"
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """`items`, sorted, and codes of labels of pairs, which must be among them."""
    known, codes = factorized(name, as_labels(name, items))
    count = np.bincount(codes, minlength=len(known))
    if (count > 1).any():
        raise ValueError(
            f"{name} contains {first_few(known[count > 1])} more than once; give each "
            "label once."
        )
    found, codes = factorized("pairs", labels)
    advice = f" Add what is missing to {name}, or drop these votes."
    place = find_codes("pairs", found, known, label_index(known), advice)
    return known, place[codes]


# ---------------------------------------------------------------------------- messages


def first_few(values: Any) -> str:
    """The first few of some labels or numbers."""
    values = np.asarray(values)
    shown = ", ".join(map(repr, values[:_NAMED].tolist()))
    return shown + (", ..." if len(values) > _NAMED else "")


def _unknown(name, labels, items):
    number = "an unknown item" if len(labels) == 1 else f"{len(labels)} unknown items"
    types = [type(values.tolist()[0]).__name__ for values in (labels, items)]
    differ = "" if types[0] == types[1] else f" Types: {types[0]}, known {types[1]}."
    return (
        f"{name} contains {number}: {first_few(labels)}; known: {first_few(items)} "
        f"({len(items)} items).{differ}"
    )


def _missing(name, mask):
    rows = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
    advice = {
        "pairs": "drop these votes",
        "worker": "drop these votes, or give a label that stands for unknown workers",
    }
    return (
        f"{name} has no label in row {rows[0]} ({len(rows)} of {len(mask)} rows); "
        f"{advice.get(name, 'leave it out')}."
    )


def _no_order(name, labels):
    examples = {type(label).__name__: label for label in labels[::-1].tolist()}
    types = " and ".join(f"{kind} ({label!r})" for kind, label in examples.items())
    return (
        f"{name} has labels of the types {types}, which have no common order; "
        "make them alike, for example all of them strings."
    )
