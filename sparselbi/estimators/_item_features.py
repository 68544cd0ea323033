"""Features of items: which row belongs to which label."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


class ItemFeatures:
    """A table of features with a label for each row.

    Parameters
    ----------
    table : data frame, array-like or sparse matrix (n_items, n_item_features)
        The index of a data frame has the labels; of an array, item k is row k.
    like : ItemFeatures or None
        The table that a ranker was fitted with: columns must agree, and are brought
        into its order.

    Attributes
    ----------
    items : ndarray of shape (n_items,)
    values : ndarray or CSR matrix of shape (n_items, n_item_features)
        float32 stays float32.
    names : tuple of str or None

    Raises
    ------
    ValueError
        If labels repeat, or a feature is missing, infinite or no number.
    """

    values: Any

    def __init__(self, table: Any, like: "ItemFeatures | None" = None):
        columns = getattr(table, "columns", None)
        self.names = None if columns is None else tuple(str(name) for name in columns)
        if columns is not None and not hasattr(table, "iloc"):
            raise ValueError(
                "item_features is a data frame without an index, so that its rows do "
                "not say which item they are; pass a pandas data frame with the items "
                "as index, or an array of which item k is row k."
            )
        if like is not None and like.names is not None and self.names is not None:
            if set(like.names) != set(self.names):
                raise ValueError(
                    f"item_features has the columns {list(self.names)}, but the ranker "
                    f"was fitted with {list(like.names)}."
                )
            table = table.set_axis(list(self.names), axis=1)[list(like.names)]
            self.names = like.names
        if self.names is not None and len(set(self.names)) < len(self.names):
            raise ValueError(
                f"item_features has the columns {list(self.names)}, some of which have "
                "the same name; rename or drop them."
            )
        values = _as_numbers(table)
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(
                f"item_features has shape {values.shape}; it needs one row for each "
                "item and one column for each feature."
            )
        self.items: NDArray[Any] = np.arange(values.shape[0])
        if columns is not None:
            self.items = np.asarray(table.index)
            repeated = table.index[table.index.duplicated()]
            if len(repeated):
                raise ValueError(
                    f"item_features has several rows for {_shown(repeated[0])} "
                    f"({len(repeated)} such rows); each item needs one."
                )
        finite = values.data if sparse.issparse(values) else values
        bad: Any = []
        if not np.isfinite(finite).all():
            dense = values.toarray() if sparse.issparse(values) else values
            bad, values = np.argwhere(~np.isfinite(dense)), dense
        if len(bad):
            row, column = bad[0]
            name = int(column) if self.names is None else self.names[column]
            raise ValueError(
                f"item_features contains {values[row, column]} for item "
                f"{_shown(self.items[row])} in column {name!r}; impute or drop it."
            )
        if like is not None and values.shape[1] != like.values.shape[1]:
            raise ValueError(
                f"item_features has {values.shape[1]} columns, but the ranker was "
                f"fitted with {like.values.shape[1]}."
            )
        self.values = values

    def codes(self, items: Any) -> NDArray[np.intp]:
        """Rows of some items (None: all), of the shape of `items`."""
        import pandas as pd

        if items is None:
            return np.arange(len(self.items))
        labels = np.asarray(items)
        found = pd.Index(self.items).get_indexer(labels.ravel())
        if (found < 0).any():
            missing = list(dict.fromkeys(labels.ravel()[found < 0].tolist()))
            shown = ", ".join(map(repr, missing[:5])) + ", ..." * (len(missing) > 5)
            raise ValueError(
                f"item_features has no row for the item(s) {shown}; it needs one for "
                "every item."
            )
        return np.asarray(found.reshape(labels.shape))

    def rows(self, items: Any) -> Any:
        """Features of some items, (len(items), n_item_features)."""
        return self.values[self.codes(items)]

    def only(self, items: Any) -> "ItemFeatures":
        """The table with these items, in this order."""
        other = copy.copy(self)
        other.values, other.items = self.rows(items), np.asarray(items)
        return other


def _as_numbers(table):
    """Real numbers, float32 or float64, dense or CSR."""
    if sparse.issparse(table):
        values = table.tocsr()
    else:
        try:
            values = np.asarray(table)
            if values.dtype.kind != "c" and values.dtype != np.float32:
                values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"item_features contains something that is no number ({error}); encode "
                "categories first."
            ) from None
    if values.dtype.kind == "c":
        raise ValueError(
            f"item_features has the type {values.dtype}; pass real and imaginary parts "
            "as two columns each."
        )
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    return values


def _shown(label):
    """A label as its owner writes it."""
    return repr(getattr(label, "tolist", lambda: label)())
