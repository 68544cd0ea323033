"""Which features enter again and again when half of the samples are taken away."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils import check_random_state

from ..solvers.base import check_count
from ..solvers.retrace import retrace
from ..split_path import SplitPath
from .statistics import candidate_labels, sparse_part

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..path import RegularizationPath
    from ..problem import Problem

_BOUNDS = ("worst_case", "unimodal")
_N_KNOTS = 200


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Stability:
    r"""Entry times of all features in complementary pairs of half-samples.

    A half-sample *selects* a feature by t if the feature has entered its path by t, be
    it for good or not. With the share :math:`\hat\Pi_j(t)` of half-samples that select
    feature j by t, the *stable* features are those with
    :math:`\hat\Pi_j(t) \ge \tau`.

    Parameters
    ----------
    knots : ndarray of shape (K,)
        Increasing t at which shares are tabulated.
    entry_knots : ndarray of shape (2 * n_pairs, n_features)
        First entry in each half-sample, inf = never. Rows 2i and 2i + 1 are a
        complementary pair: they have no sample in common.
    reference : ndarray of shape (n_features,)
        First entry in the full path, NaN = never.
    penalized : ndarray of bool of shape (n_features,)
        Features that can enter; the others are in from the start or never.
    feature_names : tuple of str or None
    unit : {"features", "rows"}, default="features"
        Of paths of Split LBI the rows of D take the place of the features.

    See Also
    --------
    stability_selection : Makes it.
    """

    knots: NDArray[np.float64]
    entry_knots: NDArray[np.float64]
    reference: NDArray[np.float64]
    penalized: NDArray[np.bool_]
    feature_names: tuple[str, ...] | None = None
    unit: str = "features"

    @property
    def n_pairs(self) -> int:
        return len(self.entry_knots) // 2

    def probabilities(self, knot: float | None = None) -> NDArray[np.float64]:
        """Share of half-samples that have selected each feature.

        Parameters
        ----------
        knot : float or None
            A value of t; None stands for all knots.

        Returns
        -------
        ndarray of shape (n_features,), or (K, n_features)
        """
        if knot is not None:
            return (self.entry_knots <= knot).mean(axis=0)
        return np.array([self.probabilities(t) for t in self.knots])

    def size(self, knot: float) -> float:
        """q(t): mean number of penalized features that a half-sample selects by t."""
        entered = self.entry_knots[:, self.penalized] <= knot
        return float(entered.sum(axis=1).mean())

    def error_bound(
        self, threshold: float = 0.75, knot: float | None = None, kind: str = "unimodal"
    ) -> float:
        r"""Bound on the expected number of stable features that should not be there.

        With q the mean number of features that a half-sample selects by t, out of p
        that could enter, it counts the stable features with a probability below
        :math:`\theta = q / p` (less than a random choice of as many) of being selected
        from a half-sample. No assumption about noise features is needed for that; if
        they are exchangeable and the rule is no worse than guessing, it counts all
        noise features.

        Parameters
        ----------
        threshold : float in (0.5, 1], default=0.75
        knot : float, default=None
            A value of t; None is the last knot.
        kind : {"unimodal", "worst_case"}, default="unimodal"
            "worst_case" is :math:`q^2 / ((2 \tau - 1) p)`, without any assumption.
            "unimodal" is about half of it at 0.75 and less above; it assumes
            unimodal distributions of the share of pairs that agree, and needs
            :math:`\theta \le 1 / \sqrt 3` (beyond that, and at thresholds that it does
            not cover, the worst case is returned).

        Returns
        -------
        float

        References
        ----------
        Meinshausen, N. and Bühlmann, P. (2010). Stability selection. Journal of the
        Royal Statistical Society B 72, 417-473.

        Shah, R. and Samworth, R. (2013). Variable selection with error control: another
        look at stability selection. Journal of the Royal Statistical Society B 75,
        55-80. Theorems 1 and 2.
        """
        threshold = _check_threshold(threshold)
        if kind not in _BOUNDS:
            raise ValueError(f"kind={kind!r} is unknown; use one of {_BOUNDS}.")
        p = int(self.penalized.sum())
        q = self.size(self.knots[-1] if knot is None else knot)
        return self._factor(threshold, q / p, kind) * q**2 / p if p else 0.0

    def _factor(self, threshold: float, theta: float, kind: str) -> float:
        worst = 1 / (2 * threshold - 1)
        pairs = self.n_pairs
        if kind == "worst_case" or theta > 1 / np.sqrt(3):
            return worst
        if threshold > 0.75:
            return 4 * (1 - threshold + 1 / (2 * pairs)) / (1 + 1 / pairs)
        least = min(0.5 + theta**2, 0.5 + 1 / (2 * pairs) + 0.75 * theta**2)
        if threshold <= least or 2 * threshold - 1 - 1 / (2 * pairs) <= 0:
            return worst
        return min(worst, 1 / (2 * (2 * threshold - 1 - 1 / (2 * pairs))))

    def knot_for(self, expected_false: float = 1.0, threshold: float = 0.75) -> float:
        """Latest entry at which the error bound is at most a number, 0 if none is.

        Raises
        ------
        ValueError
            If `expected_false` is not positive.
        """
        if not expected_false > 0:
            raise ValueError(
                f"expected_false={expected_false!r} must be a positive number of "
                "features."
            )
        entries = np.unique(self.entry_knots[:, self.penalized])
        entries = entries[np.isfinite(entries)].tolist()
        # The bound grows with q(t), which never falls.
        last = bisect_right(
            entries, expected_false, key=lambda t: self.error_bound(threshold, t)
        )
        return entries[last - 1] if last else 0.0

    def selected(
        self,
        threshold: float = 0.75,
        knot: float | None = None,
        expected_false: float = 1.0,
    ) -> NDArray[np.int64]:
        """Stable features, ascending.

        Parameters
        ----------
        threshold : float in (0.5, 1], default=0.75
        knot : float, default=None
            A value of t; None is ``knot_for(expected_false, threshold)``.
        expected_false : float, default=1.0
            Bound on the expected number of false ones; without effect if `knot` is
            given.

        Returns
        -------
        ndarray of int
        """
        threshold = _check_threshold(threshold)
        knot = self.knot_for(expected_false, threshold) if knot is None else knot
        share = self.probabilities(knot)
        return np.flatnonzero((share >= threshold - 1e-12) & self.penalized)

    def to_frame(self, threshold: float = 0.75) -> pd.DataFrame:
        """One row per feature that any half-sample selects, most stable first.

        Columns: ``feature``, ``index``, ``probability`` (by the t whose error bound is
        1), ``ever`` (share that selects it at all), ``entry`` (in the full path) and
        the quartiles ``q25``, ``median``, ``q75`` of its entry times (inf: never).
        """
        import pandas as pd

        ever = np.isfinite(self.entry_knots).mean(axis=0)
        some = np.flatnonzero((ever > 0) & self.penalized)
        entries = self.entry_knots[:, some]
        # Order statistics: means of inf and a number would not be numbers.
        quartiles = np.quantile(entries, [0.25, 0.5, 0.75], axis=0, method="higher")
        frame = pd.DataFrame(
            {
                "feature": [self._name(int(j)) for j in some],
                "index": some,
                "probability": self.probabilities(self.knot_for(1.0, threshold))[some],
                "ever": ever[some],
                "entry": self.reference[some],
                "q25": quartiles[0],
                "median": quartiles[1],
                "q75": quartiles[2],
            }
        )
        order = ["probability", "median", "index"]
        return frame.sort_values(
            order, ascending=[False, True, True], ignore_index=True
        )

    def _name(self, j: int) -> str:
        if self.feature_names is not None:
            return self.feature_names[j]
        return f"x{j}" if self.unit == "features" else f"row {j}"

    def __repr__(self) -> str:
        knot = self.knot_for()
        stable = self.selected()
        bound = self.error_bound(0.75, knot)
        shown = [self._name(int(j)) for j in stable[:12]]
        more = f", ... ({len(stable)} in all)" if len(stable) > 12 else ""
        return (
            f"Stability of {self.penalized.sum()} {self.unit} in {self.n_pairs} "
            f"complementary pairs of half-samples\n"
            f"  by t = {knot:.6g} a half-sample selects "
            f"{self.size(knot):.3g} {self.unit} on average\n"
            f"  in at least 75 % of them: {', '.join(shown) or 'none'}{more}\n"
            f"  expected number of false ones: at most {bound:.3g}"
        )


def stability_selection(
    path: RegularizationPath,
    problem: Problem,
    *,
    n_pairs: int = 50,
    max_features: int | None = None,
    random_state: Any = 0,
    n_jobs: int | None = None,
) -> Stability:
    """Trace the path again on random halves of the samples.

    Each of the `n_pairs` splits gives two half-samples without common rows, stratified
    by class for classification; rows of one group (``problem.sample_groups``) stay
    together. The raw kappa (and nu) and the range of t are those of `path`.

    Parameters
    ----------
    path : RegularizationPath
        Over t. Of a path of Split LBI the rows of D are counted.
    problem : Problem
        What `path` was traced on.
    n_pairs : int, default=50
    max_features : int, default=None
        A half-sample stops before more features (rows) than this are active: faster
        where the path is long, and what enters later counts as never selected.
    random_state : int, RandomState or None, default=0
    n_jobs : int, default=None
        Workers of joblib, one half-sample each.

    Returns
    -------
    Stability

    Raises
    ------
    ValueError
        If an argument is out of range, or if a half-sample cannot be fitted: too few
        samples or groups, a class with a single sample.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparselbi import LBI
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = LBI(kappa=float("inf")).fit(X, y)
    >>> stability = model.path_.stability(X, y, n_pairs=20)
    >>> [X.columns[j] for j in stability.selected(threshold=0.75)]
    ['bmi', 'bp', 's5']
    """
    if path.knot_name != "t":
        raise ValueError("stability needs a path over t, not over alpha.")
    problem.check_samples("stability selection")
    if path.knots[-1] == 0:
        raise ValueError(f"the path is the null model alone: {path.message}")
    n_pairs = check_count("n_pairs", n_pairs)
    check_count("max_features", max_features)
    rng = check_random_state(random_state)
    halves = [half for _ in range(n_pairs) for half in _halves(problem, rng)]
    jobs = (delayed(_entries)(path, problem, rows, max_features) for rows in halves)
    entries = np.array(Parallel(n_jobs=n_jobs)(jobs))
    counted = sparse_part(path)
    is_split = isinstance(path, SplitPath)
    penalized = candidate_labels(counted, None if is_split else problem) >= 0
    last = float(path.knots[-1])
    first = min(entries[:, penalized].min(initial=np.inf), last)
    return Stability(
        knots=np.geomspace(0.9 * first, last, _N_KNOTS),
        entry_knots=entries,
        reference=counted.entry_knots(),
        penalized=penalized,
        feature_names=counted.feature_names,
        unit="rows" if is_split else "features",
    )


def _entries(
    path: RegularizationPath,
    problem: Problem,
    rows: NDArray[np.intp],
    max_features: int | None,
) -> NDArray[np.float64]:
    part = problem.restrict(rows)
    traced = retrace(path, part, max_features=max_features)
    entry = sparse_part(traced).entry_knots()
    return np.where(np.isnan(entry), np.inf, entry)


def _halves(
    problem: Problem, rng: np.random.RandomState
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Two disjoint sets of rows, each half of the groups (of each class)."""
    rows = np.arange(problem.n_samples)
    if problem.sample_weight is not None:
        rows = rows[problem.sample_weight > 0]
    labels = rows if problem.sample_groups is None else problem.sample_groups[rows]
    units, first, unit = np.unique(labels, return_index=True, return_inverse=True)
    strata = np.zeros(len(units), dtype=int)
    if problem.classes is not None:
        # Groups are stratified by the class of their first row.
        strata = np.searchsorted(problem.classes, problem.target[rows[first]])
    side = np.full(len(units), 2)
    for stratum in np.unique(strata):
        inside = rng.permutation(np.flatnonzero(strata == stratum))
        half = len(inside) // 2
        side[inside[:half]], side[inside[half : 2 * half]] = 0, 1
    parts = rows[side[unit] == 0], rows[side[unit] == 1]
    for part in parts:
        _check_half(problem, part)
    return parts


def _check_half(problem: Problem, rows: NDArray[np.intp]) -> None:
    reason = ""
    if len(rows) < 2:
        reason = f"has {len(rows)} sample(s)"
    elif problem.classes is not None:
        missing = np.setdiff1d(problem.classes, problem.target[rows])
        if missing.size:
            reason = f"has no sample of class {missing.tolist()}"
    elif np.ptp(problem.y[0, rows]) == 0:
        reason = "has a constant y"
    if reason:
        raise ValueError(
            f"a random half of the {problem.n_samples} samples {reason}: there are too "
            "few samples (or groups) for complementary halves."
        )


def _check_threshold(threshold: float) -> float:
    if not 0.5 < threshold <= 1:
        raise ValueError(
            f"threshold={threshold!r} must be above 0.5 and at most 1: the bounds on "
            "false selections hold for features in more than half of the subsamples."
        )
    return float(threshold)
