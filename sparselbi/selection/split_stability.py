"""How much the supports of several paths have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..split_path import SplitPath
from .statistics import candidate_labels, sparse_part

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..path import RegularizationPath

_WHICH = ("rows", "features")
_N_KNOTS = 100


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SupportAgreement:
    """How much the supports of several paths have in common, as a function of t.

    Attributes
    ----------
    knots : ndarray of shape (K,)
        Values of t.
    value : ndarray of shape (K,)
        Dice coefficient of all supports (`dice_coefficient`), NaN where all are empty.
    mean_size : ndarray of shape (K,)
        Of the supports.
    n_paths : int
    unit : {"rows", "features"}
        What supports consist of.
    """

    knots: NDArray[np.float64]
    value: NDArray[np.float64]
    mean_size: NDArray[np.float64]
    n_paths: int
    unit: str

    def __repr__(self) -> str:
        text = f"Agreement of the {self.unit} of {self.n_paths} paths"
        for k in np.unique(np.linspace(0, len(self.knots) - 1, 6).round()).astype(int):
            text += (
                f"\n  t = {self.knots[k]:<10.4g} Dice {self.value[k]:.3f}, "
                f"{self.mean_size[k]:.4g} {self.unit} on average"
            )
        return text


def support_agreement(
    paths: Iterable[RegularizationPath],
    knots: ArrayLike | None = None,
    *,
    which: str | None = None,
) -> SupportAgreement:
    """Dice coefficient of the supports of several paths at each t.

    Paths of cross-validation folds (``CrossValidation(keep_paths=True)``), of
    half-samples or of repeated experiments: a high value at t means that the supports
    there do not depend on which samples were at hand. It is 1 as well where everything
    is in, and so belongs beside `mean_size`.

    Parameters
    ----------
    paths : iterable of RegularizationPath
        At least two, over t, with the same features.
    knots : array-like of shape (K,), default=None
        Values of t; None is a grid of 100 from the first entry of any path to the
        earliest end.
    which : {"rows", "features"}, default=None
        For paths of Split LBI: the active rows of D (default), or the features with a
        nonzero coefficient in the projected estimate. Other paths have features only.
        Rows and features without a penalty are left out.

    Returns
    -------
    SupportAgreement

    Raises
    ------
    ValueError
        If there are less than two paths, if they do not fit together, or if `which`
        does not fit them.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparselbi import LBI
    >>> from sparselbi.selection import CrossValidation, support_agreement
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LBI(selector=CrossValidation(keep_paths=True)).fit(X, y)
    >>> agreement = support_agreement(model.selection_.fold_paths)
    >>> bool((agreement.value[agreement.mean_size > 0] <= 1).all())
    True
    """
    given = list(paths)
    if len(given) < 2:
        raise ValueError(f"got {len(given)} path(s); agreement needs at least two.")
    unit = which or ("rows" if isinstance(given[0], SplitPath) else "features")
    if unit not in _WHICH:
        raise ValueError(f"which={which!r} is unknown; use one of {_WHICH}.")
    if unit == "rows" and not all(isinstance(path, SplitPath) for path in given):
        raise ValueError(
            "which='rows' needs paths of Split LBI; others have features only."
        )
    parts = [sparse_part(path) if unit == "rows" else path for path in given]
    n_units = {path.n_features for path in parts}
    if len(n_units) > 1 or any(path.knot_name != "t" for path in parts):
        raise ValueError(
            f"the paths have {sorted(n_units)} {unit}; they must be over t, and have "
            "the same ones."
        )
    times = _common_grid(given) if knots is None else np.atleast_1d(np.asarray(knots))
    counted = np.ones(n_units.pop(), dtype=bool)
    if not isinstance(parts[0], SplitPath):
        counted = candidate_labels(parts[0]) >= 0
    value, size = np.empty(len(times)), np.empty(len(times))
    for k, t in enumerate(times):
        supports = [
            path.projected(t).support
            if isinstance(path, SplitPath)
            else path.support(t)
            for path in parts
        ]
        hits = np.zeros(len(counted), dtype=np.int64)
        for support in supports:
            hits[support] += 1
        value[k], size[k] = _dice(hits[counted], len(parts))
    return SupportAgreement(times, value, size, len(parts), unit)


def dice_coefficient(supports: Sequence[ArrayLike]) -> float:
    r"""Dice coefficient of several sets.

    For sets :math:`S_1, \ldots, S_K` it is
    :math:`K\, |S_1 \cap \ldots \cap S_K| / (|S_1| + \ldots + |S_K|)`: 1 if all are
    equal, 0 if no element is in all of them; for two sets the usual one.

    Parameters
    ----------
    supports : sequence of bool arrays of shape (n,), or of arrays of indices

    Returns
    -------
    float
        NaN if all sets are empty.

    Raises
    ------
    ValueError
        If there is no set, or masks have different lengths.
    """
    arrays = [np.asarray(one) for one in supports]
    if not arrays:
        raise ValueError("supports is empty; give at least one set.")
    masks = [one for one in arrays if one.dtype == bool]
    if masks and (len(masks) < len(arrays) or len({one.shape for one in masks}) > 1):
        raise ValueError(
            "supports must be masks of one length, or all be arrays of indices."
        )
    sets = [np.flatnonzero(one) if masks else np.unique(one) for one in arrays]
    _, hits = np.unique(np.concatenate(sets), return_counts=True)
    return _dice(hits, len(sets))[0]


def _dice(hits: NDArray[np.int64], n_sets: int) -> tuple[float, float]:
    """The coefficient and the mean size, from the number of sets with each element."""
    total = int(hits.sum())
    common = int((hits == n_sets).sum())
    return (n_sets * common / total if total else np.nan), total / n_sets


def _common_grid(paths: list[RegularizationPath]) -> NDArray[np.float64]:
    first = min(path.t0 or np.inf for path in paths)
    # What does not move any more can be read at any t.
    ends = [path.knots[-1] for path in paths if not path.is_complete]
    last = min(ends, default=max(path.knots[-1] for path in paths))
    if not 0 < first < last:
        return np.array([float(last)])
    return np.geomspace(first, last, _N_KNOTS)
