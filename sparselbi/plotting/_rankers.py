"""What displays of rankings read from fitted estimators, and check."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._estimators import innermost


def fitted_ranker(estimator: Any) -> Any:
    """The ranker itself, or the one that a search ends in."""
    advice = "fit a ranker first, such as PairwiseRanker().fit(pairs, y)"
    return innermost(estimator, "scores_", advice)


def item_labels(items: Any, n_items: int) -> NDArray[Any]:
    """Labels of the items, their numbers if there are none."""
    labels = np.arange(n_items) if items is None else np.asarray(items)
    if labels.shape != (n_items,):
        raise ValueError(
            f"items has shape {labels.shape}; it needs one label for each of the "
            f"{n_items} items."
        )
    return labels


def item_codes(
    name: str, wanted: Any, labels: NDArray[Any], of: str = "items"
) -> NDArray[np.intp]:
    """Places of some items (or workers) in `labels`."""
    place = {label: code for code, label in enumerate(labels.tolist())}
    wanted = list(np.asarray(wanted).tolist())
    unknown = [label for label in wanted if label not in place]
    if unknown or not wanted:
        some = ", ".join(repr(label) for label in labels[:5].tolist())
        known = f"the {len(labels)} {of}: {some}{', ...' if len(labels) > 5 else ''}"
        if not wanted:
            raise ValueError(f"{name} is empty; give some of {known}.")
        raise ValueError(f"{name} has {unknown[0]!r}, which is none of {known}.")
    return np.array([place[label] for label in dict.fromkeys(wanted)], dtype=np.intp)


def vector(
    name: str, value: ArrayLike, n: int, of: str, dtype: Any = np.float64
) -> NDArray[Any]:
    """An array with one entry for each item, vote or worker.

    A mask has to be one: numbers of votes are no mask.
    """
    array = np.asarray(value)
    if array.shape != (n,) or (dtype is bool and array.dtype != bool):
        kind = "bool array" if dtype is bool else "array"
        raise ValueError(
            f"{name} has shape {array.shape} and type {array.dtype}; it must be a "
            f"{kind} of shape ({n},), with one entry for each {of}."
        )
    return array.astype(dtype) if dtype is not None else array
