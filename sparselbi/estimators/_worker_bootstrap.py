"""Bootstrap of a ranking over workers: everything is fitted and chosen again."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from scipy import special
from sklearn.utils import check_random_state

from .._comparison_graph import checked_pairs
from .._vote_labels import find_codes, label_index, labels_of_pairs
from ._coefficient_inference import check_level
from ._rank_intervals import MAX_ITEMS, rank_frame, rank_sets, too_wide

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

KINDS = ("bayesian", "resample")
# Failures that a draw may have: no fit, no choice, no convergence.
_FAILURES = (ValueError, RuntimeError, ArithmeticError)
# Draws whose masks are in memory at a time.
_DRAWS = 64


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class RankingBootstrap:
    """Scores and distrusted votes of draws of workers, or of votes.

    Attributes
    ----------
    kind : {"bayesian", "resample"}
    estimate : ndarray of shape (n_items,)
        Scores of all votes.
    scores : ndarray of shape (n_boot, n_items)
        NaN: the draw has failed, or says nothing about the score of the item among
        those of its component, because votes that hold it together were not drawn.
    distrust_frequency : ndarray of shape (n_votes,)
        Share of the draws with the vote in which it was distrusted; NaN if there is
        none.
    failures : dict of str to int
        Messages of draws that have failed, and how many draws.
    n_clusters : int
        Workers; without workers, votes (a vote of weight w is w votes).
    components : ndarray of int of shape (n_items,)
        Scores are compared within components.
    items : ndarray of shape (n_items,)
        Labels.

    Notes
    -----
    What one worker (or vote) alone says is the same in all draws in which it occurs:
    its error is not seen. `RankingInference.undetermined` tells where that matters.
    """

    kind: str
    estimate: NDArray[np.float64]
    scores: NDArray[np.float64]
    distrust_frequency: NDArray[np.float64]
    failures: dict[str, int]
    n_clusters: int
    components: NDArray[np.intp]
    items: NDArray[Any]

    @property
    def n_boot(self) -> int:
        """Number of draws, with those that have failed."""
        return len(self.scores)

    @property
    def n_failed(self) -> int:
        """Number of draws that have failed."""
        return sum(self.failures.values())

    @cached_property
    def _members(self):
        """Items of each component."""
        order = np.argsort(self.components, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.components[order])) + 1)

    @cached_property
    def cov(self) -> NDArray[np.float64]:
        """Covariance of the scores over the draws, (n_items, n_items).

        Of each component over the draws that have all of it; NaN across components, and
        if there are less than two such draws.

        Raises
        ------
        TooWide
            If there are more than 4096 items.
        """
        m = len(self.estimate)
        if m > MAX_ITEMS:
            raise too_wide("the covariance of", m)
        cov = np.full((m, m), np.nan)
        for some in self._members:
            drawn = self.scores[:, some]
            drawn = drawn[~np.isnan(drawn).any(axis=1)]
            if len(drawn) > 1:
                cov[np.ix_(some, some)] = np.cov(drawn, rowvar=False)
        return cov

    def differences(
        self, pairs: ArrayLike, level: float = 0.95, kind: str = "percentile"
    ) -> pd.DataFrame:
        """Differences of scores with intervals.

        Parameters
        ----------
        pairs : array-like or data frame of shape (n_pairs, 2)
            Labels of items.
        level : float, default=0.95
        kind : {"percentile", "normal"}, default="percentile"
            Quantiles of the draws, or the estimate plus and minus standard errors times
            the quantile of t with as many degrees of freedom as clusters less 1.

        Returns
        -------
        DataFrame
            ``first``, ``second``, ``difference``, ``standard_error``, ``low``,
            ``high``, ``n_draws``: draws that compare both items. NaN across components,
            and if there are less than two such draws.

        Raises
        ------
        ValueError
            If an argument is out of range, or a label is unknown.
        """
        import pandas as pd

        check_level(level)
        if kind not in ("percentile", "normal"):
            raise ValueError(f"kind={kind!r} is unknown; use 'percentile' or 'normal'.")
        labels, _ = labels_of_pairs(pairs)
        codes = find_codes("pairs", labels, self.items, label_index(self.items), "")
        first, second = checked_pairs(codes, len(self.estimate))
        value = self.estimate[first] - self.estimate[second]
        value[self.components[first] != self.components[second]] = np.nan
        drawn = self.scores[:, first] - self.scores[:, second]
        drawn[:, np.isnan(value)] = np.nan
        n_draws = np.count_nonzero(~np.isnan(drawn), axis=0)
        error, low, high = np.full((3, len(first)), np.nan)
        some = n_draws > 1
        error[some] = np.nanstd(drawn[:, some], axis=0, ddof=1)
        if kind == "normal":
            half = special.stdtrit(self.n_clusters - 1.0, (1 + level) / 2) * error
            low, high = value - half, value + half
        elif some.any():
            ends = [(1 - level) / 2, (1 + level) / 2]
            low[some], high[some] = np.nanquantile(drawn[:, some], ends, axis=0)
        return pd.DataFrame(
            {
                "first": self.items[first],
                "second": self.items[second],
                "difference": value,
                "standard_error": error,
                "low": low,
                "high": high,
                "n_draws": n_draws,
            }
        )

    def rank_intervals(
        self, level: float = 0.95, kind: str = "marginal"
    ) -> pd.DataFrame:
        """Confidence sets of the ranks, as of `RankingInference.rank_intervals`.

        The draws take the place of the multiplier bootstrap, and their covariance that
        of the sandwich. Draws that do not have all items of a component are left out
        for that component ("joint": for all components). Items of components without
        two draws are not told apart.

        Parameters
        ----------
        level : float, default=0.95
        kind : {"marginal", "joint"}, default="marginal"

        Returns
        -------
        DataFrame
            ``item``, ``component``, ``rank``, ``low``, ``high``, ``score``.

        Raises
        ------
        ValueError
            If an argument is out of range, or no draws are left.
        TooWide
            If there are more than 4096 items.
        """
        check_level(level)
        cov = self.cov
        lost = np.stack(
            [np.isnan(self.scores[:, k]).any(axis=1) for k in self._members]
        )
        left = np.count_nonzero(~lost, axis=1).max()
        if kind == "joint":
            left = np.count_nonzero(~lost.any(axis=0))
        if left < 2:
            raise ValueError(
                f"{left} of {self.n_boot} draws have all items of "
                f"{'all components' if kind == 'joint' else 'a component'}; use a "
                "bootstrap of kind='bayesian', in which no item loses all its votes."
            )
        low, high = rank_sets(
            self.estimate,
            cov,
            self.scores - self.estimate,
            self.components,
            self.components,
            level=level,
            kind=kind,
            degrees=lambda rows, columns: np.full(
                (len(rows), len(columns)), self.n_clusters - 1.0
            ),
        )
        return rank_frame(
            self.items, self.components, self.estimate, low, high, self.components
        )

    def __repr__(self) -> str:
        text = (
            f"RankingBootstrap(kind={self.kind!r}, n_boot={self.n_boot}, "
            f"n_clusters={self.n_clusters}, n_items={len(self.estimate)}"
        )
        return f"{text}, n_failed={self.n_failed})" if self.n_failed else f"{text})"


def worker_bootstrap(
    refit: Callable[[NDArray[np.float64]], tuple[Any, Any]],
    clusters: ArrayLike | None,
    n_boot: int = 200,
    random_state: Any = None,
    n_jobs: int | None = None,
    kind: str = "bayesian",
    *,
    weight: ArrayLike | None = None,
    components: ArrayLike | None = None,
    items: ArrayLike | None = None,
) -> RankingBootstrap:
    """Fit, and choose, again and again with random weights of the workers.

    Parameters
    ----------
    refit : callable
        Of factors of the weights of the votes (n_votes,), at least 0: returns scores
        (n_items,) and which votes are distrusted, bool (n_votes,). Called once with
        ones. Scores that the votes left do not compare with those of their component
        should be NaN.
    clusters : array-like of shape (n_votes,) or None
        Labels of the workers. None: votes are independent, see `weight`.
    n_boot : int, default=200
    random_state : int, RandomState instance or None
        The draws do not depend on `n_jobs`, nor (with clusters) on the order of votes.
    n_jobs : int or None
        Of joblib.
    kind : {"bayesian", "resample"}, default="bayesian"
        Factors of the workers: exponential, scaled to mean 1 [1]; or how often each is
        drawn from all of them with replacement. With the latter, items may lose all
        their votes and components may fall apart, so that a draw has no scores there,
        or fails.
    weight : array-like of shape (n_votes,), default=None
        What `refit` multiplies the factors with. Needed without clusters: a vote of
        weight w is drawn like w equal votes of weight 1. With clusters, those whose
        votes all have weight 0 are not drawn.
    components : array-like of int of shape (n_items,), default=None
        Within which scores are compared; None: all of them.
    items : array-like of shape (n_items,), default=None
        Labels, all different; None: numbers.

    Returns
    -------
    RankingBootstrap

    Raises
    ------
    ValueError
        If an argument is out of range, there is one cluster only, or votes without
        clusters have weights that are not whole and are to be resampled.
    RuntimeError
        If more than half of the draws fail.

    Warns
    -----
    UserWarning
        If some draws fail (ValueError, RuntimeError or ArithmeticError), with the
        reasons. Intervals are those of the other draws.

    References
    ----------
    .. [1] D. B. Rubin (1981). The Bayesian bootstrap. Annals of Statistics 9, 130-134.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown; use one of {KINDS}.")
    if not (isinstance(n_boot, int | np.integer) and n_boot >= 2):
        raise ValueError(f"n_boot={n_boot!r} must be an integer of at least 2.")
    codes, size = _drawn_units(clusters, weight)
    n_clusters = round(float(size.sum()))
    if kind == "resample" and (size % 1).any():
        raise ValueError(
            "kind='resample' draws whole votes, but weight contains "
            f"{size[size % 1 > 0][0]}; use kind='bayesian', or whole numbers."
        )
    estimate, mask = refit(np.ones(len(codes)))
    estimate, mask = np.asarray(estimate, dtype=np.float64), np.asarray(mask)
    n_items = len(estimate)
    if mask.shape != codes.shape:
        raise ValueError(
            f"refit returned a mask of shape {mask.shape} for {len(codes)} votes."
        )
    components = np.zeros(n_items) if components is None else np.asarray(components)
    items = np.arange(n_items) if items is None else np.asarray(items)
    for name, given in (("components", components), ("items", items)):
        if given.shape != (n_items,):
            raise ValueError(
                f"{name} has shape {given.shape}; it needs one entry for each of the "
                f"{n_items} items."
            )
    if not label_index(items).is_unique:
        raise ValueError("items has a label more than once; give each label once.")
    seeds = check_random_state(random_state).randint(2**31 - 1, size=n_boot)

    def draw(seed):
        rng = np.random.default_rng(seed)
        if kind == "bayesian":
            drawn = rng.standard_gamma(size)
            drawn *= size.sum() / drawn.sum()
        else:
            drawn = rng.multinomial(n_clusters, size / size.sum())
        factor = np.divide(drawn, size, out=np.ones(len(size)), where=size > 0)[codes]
        try:
            scores, distrusted = refit(factor)
        except _FAILURES as error:
            return f"{type(error).__name__}: {error}", None, None
        return np.asarray(scores), np.asarray(distrusted, dtype=bool), factor > 0

    scores = np.full((n_boot, n_items), np.nan)
    often, present = np.zeros((2, len(codes)))
    failures: Counter[str] = Counter()
    with Parallel(n_jobs=n_jobs) as parallel:
        for start in range(0, n_boot, _DRAWS):
            some = seeds[start : start + _DRAWS].tolist()
            results = parallel(delayed(draw)(seed) for seed in some)
            for k, (found, distrusted, used) in enumerate(results, start):
                if isinstance(found, str):
                    failures[found] += 1
                    continue
                scores[k] = found
                often += distrusted & used
                present += used
    _report(failures, n_boot)
    frequency = np.full(len(codes), np.nan)
    np.divide(often, present, out=frequency, where=present > 0)
    return RankingBootstrap(
        kind=kind,
        estimate=estimate,
        scores=scores,
        distrust_frequency=frequency,
        failures=dict(failures),
        n_clusters=n_clusters,
        components=components.astype(np.intp),
        items=items,
    )


def _drawn_units(clusters, weight):
    """What is drawn: its code for each vote, and how many units each code is."""
    if weight is not None:
        weight = np.asarray(weight, dtype=np.float64)
        if weight.ndim != 1 or not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError(
                f"weight has shape {weight.shape} and needs one finite number of at "
                "least 0 for each vote."
            )
    if clusters is None:
        if weight is None or weight.sum() < 1.5:
            raise ValueError(
                "clusters=None draws votes and needs their weights (ones, if they have "
                f"none) with a sum of at least 2; weight={_sum(weight)}."
            )
        return np.arange(len(weight)), weight
    known, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if codes.ndim != 1 or (weight is not None and weight.shape != codes.shape):
        raise ValueError(
            f"clusters has shape {codes.shape}; it needs one label for each vote"
            + ("." if weight is None else f", and weight has shape {weight.shape}.")
        )
    used = codes if weight is None else codes[weight > 0]
    size = (np.bincount(used, minlength=len(known)) > 0).astype(np.float64)
    if size.sum() < 2:
        count = "no worker" if size.sum() == 0 else "one worker"
        raise ValueError(
            f"{count} (label in clusters) has votes of positive weight, and draws vary "
            "the weights of at least two. Give the label of its worker for each vote; "
            "if votes are independent of each other, leave workers out "
            "(clusters=None), and votes are drawn."
        )
    return codes, size


def _sum(weight):
    return None if weight is None else f"... with sum {weight.sum():g}"


def _report(failures, n_boot):
    count = sum(failures.values())
    if not count:
        return
    reason, times = failures.most_common(1)[0]
    text = (
        f"{count} of {n_boot} draws have failed, most often ({times}) with {reason!r}"
    )
    if 2 * count > n_boot:
        raise RuntimeError(
            f"{text}. That leaves no intervals: use kind='bayesian', a ridge, or rank "
            "fewer items."
        )
    warnings.warn(
        f"{text}. Intervals are those of the other draws.", UserWarning, stacklevel=3
    )
