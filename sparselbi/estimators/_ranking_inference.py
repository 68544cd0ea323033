"""How sure scores from votes are: covariances clustered by worker, sets of ranks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from .._comparison_graph import checked_pairs
from .._shift_design import TooWide
from ._coefficient_inference import check_level
from ._rank_intervals import MAX_ITEMS, rank_frame, rank_sets, too_wide
from ._ranking_clusters import ClusteredScores, cluster_codes
from ._ranking_curvature import FeatureSpan, VoteCurvature
from ._ranking_known import KnownDifferences
from ._vote_derivatives import linear_scores, logistic_scores
from ._worker_bootstrap import RankingBootstrap, worker_bootstrap

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from ..comparison_problem import ComparisonProblem

__all__ = [
    "RankingBootstrap",
    "RankingInference",
    "linear_scores",
    "logistic_scores",
    "worker_bootstrap",
]

# Single contrasts are found faster without an inverse of more rows.
_SMALL = 1000
# Numbers in a block of contrasts.
_BLOCK = 1 << 21


class RankingInference:
    r"""Standard errors of scores, of their differences and of what depends on them.

    Of any fit whose objective is a sum over votes, all of which are kept. It is not
    assumed that the model is true, that votes are right, or that the votes of one
    worker are independent of each other.

    Parameters
    ----------
    problem : ComparisonProblem
    coef : ndarray of shape (n_features,)
        Scores (or coefficients of features), then those of further columns.
    psi, curvature : ndarray of shape (n_votes,)
        Minus the first derivative, and the second derivative, of the loss of each vote
        with respect to eta, without the weight of the vote.
    clusters : array-like of shape (n_votes,), "pair" or None
        Labels of those who cast the votes; votes of different ones are independent.
        "pair": votes about the same pair of items depend on each other. None: no votes
        do.
    level : float, default=0.95
    border : tuple of three ndarray of shape (n_votes,), or None
        Of one more parameter that was estimated with the scores, per vote and without
        its weight: minus the derivative of the loss with respect to it, the mixed
        derivative with respect to it and eta, the second derivative.
    items : array-like of shape (n_items,), default=None
        Labels, for frames; None: numbers.

    Attributes
    ----------
    scores : ndarray of shape (n_items,)
        Gauge-fixed.
    n_clusters : int or None
    rank : int
        Number of estimated parameters.
    df : float
        Degrees of freedom at most: clusters minus 1, or votes minus `rank`.
    factor : float
        Of the small-sample correction, which standard errors contain.
    undetermined : ndarray of bool of shape (n_items,)
        Items that are outside of the largest set of items of their component within
        which all differences have a standard error, see Notes. Their scores have none
        (NaN).
    message : str
        Which these are, and why, one or more sentences; "" if there are none.

    Raises
    ------
    ValueError
        If an argument has a wrong shape, is not finite, or there is one cluster only.
    SingularFit
        If the second derivatives are not those of a minimum (when first needed).

    Notes
    -----
    With rows x of the votes (gauge-fixed by one ground item in each component), weights
    w, and clusters g ::

        H = sum_e w_e curvature_e x_e x_e',   s_g = sum_{e in g} w_e psi_e x_e
        cov = H^-1 (sum_g s_g s_g') H^-1 * G / (G - 1) * (n - 1) / (n - p)

    G clusters, n the sum of weights, p the rank. Without clusters, every vote is one
    (w equal ones for weight w), and the factor is n / (n - p): then this is "HC1". A
    `border` adds a row and a column to H and a number to every s_g: the error of that
    parameter is part of the errors of the scores.

    Intervals use t with contrast-specific degrees of freedom,

        (sum_g v_g)^2 / sum_g v_g^2 - 1   (at least 1; without clusters n - p at most),

    v_g being the variance that cluster g would contribute if all votes were independent
    and equally noisy: G - 1 if all clusters are alike, less if few workers cast most
    votes, or most about one of the items: the approximation of Satterthwaite [2]
    without the correlation that the fit brings in. If workers cast shares of 1, 1/2,
    1/3, ... of 2000 votes (40 workers, 16 items, 20 % flips), 95 % intervals covered 94
    % of the differences in simulations, and 91 % with G - 1 degrees of freedom.

    **No standard error** have differences that the votes leave open: all votes that
    connect the items are shifted, so that the scores stay where the flat part of the
    objective leaves them, or further columns explain the difference. Nor those whose
    error no vote shows, because the scores of every cluster sum to 0 whatever it says:
    differences across a bridge (a pair of items without which the component falls
    apart) about which one vote was cast, or one cluster has voted, or all votes agree
    exactly; with features and further columns those that depend on a vote of leverage
    1. Of coefficients of features, those that other features (and a constant) explain.

    **Scores are compared** with the mean of their component (with features, of all
    items). If some differences within it have no standard error, then with the mean of
    the items whose differences are known: the largest such set, the first one if
    several are. Items outside of it have no standard error.

    **What is covered** is the difference that the same fit would find with infinitely
    many such workers. For a Huber fit, or one with logistic shifts, that is not the
    difference of the true scores if votes are flipped: a flip pulls it towards 0, and
    large differences most. The bias does not shrink with n, so that the true difference
    is covered the less the more votes there are. The limit of the flip mixture, by way
    of its `border`, is the true difference, if its model is true; its intervals are too
    short where the estimated rate is 0 and has no border.

    The threshold is taken as given.

    References
    ----------
    .. [1] A. C. Cameron, D. L. Miller (2015). A practitioner's guide to cluster-robust
       inference. Journal of Human Resources 50.
    .. [2] R. M. Bell, D. F. McCaffrey (2002). Bias reduction in standard errors for
       linear regression with multi-stage samples. Survey Methodology 28.
    """

    def __init__(
        self,
        problem: ComparisonProblem,
        coef: ArrayLike,
        psi: ArrayLike,
        curvature: ArrayLike,
        clusters: Any = None,
        level: float = 0.95,
        border: Any = None,
        items: ArrayLike | None = None,
    ):
        check_level(level)
        self.level, self._problem = float(level), problem
        n, m = len(problem.pairs), problem.n_items
        self._coef = np.asarray(coef, dtype=np.float64).ravel()
        self.scores = problem.scores(self._coef)
        self.items = np.arange(m) if items is None else np.asarray(items)
        if self.items.shape != (m,):
            raise ValueError(
                f"items has shape {self.items.shape}; it needs one label for each of "
                f"the {m} items."
            )
        weight = problem.sample_weight
        used = np.arange(n) if weight is None else np.flatnonzero(weight > 0)
        self._weight = np.ones(n) if weight is None else weight[used]
        self._used, self._pairs = used, problem.pairs[used]
        self._bend = self._weight * _per_vote("curvature", curvature, n)[used]
        self._psi = _per_vote("psi", psi, n)[used]
        self._border = None
        if border is not None:
            if len(border) != 3:
                raise ValueError(
                    f"border has {len(border)} entries; it needs score, mixed and "
                    "second derivatives of the votes."
                )
            self._border = tuple(_per_vote("border", b, n)[used] for b in border)
        self._extra = sparse.csr_array(problem.extra)[used]
        self.n_extra = self._extra.shape[1]
        self._codes = codes = cluster_codes(clusters, problem.pairs, used, m)
        self._votes = ClusteredScores(
            self._pairs,
            self._weight,
            self._psi,
            self._extra,
            None if self._border is None else self._border[0],
            codes,
            m,
        )
        self.n_clusters = None if codes is None else self._votes.n_clusters
        self._total = float(self._weight.sum())

    # -- what enters -------------------------------------------------------------------

    @cached_property
    def _span(self) -> FeatureSpan | None:
        features = self._problem.features
        if features is None:
            return None
        if min(features.shape) > MAX_ITEMS:
            raise TooWide(
                f"{features.shape[1]} features of {features.shape[0]} items; standard "
                "errors need a square matrix of the smaller size, at most "
                f"{MAX_ITEMS}. Use a bootstrap."
            )
        return FeatureSpan(features, self._problem.design.dense)

    @cached_property
    def _system(self) -> VoteCurvature:
        size, border = self._problem.n_items, None
        if self._border is not None:
            border = self._weight * self._border[1], self._weight * self._border[2]
        return VoteCurvature(
            self._pairs,
            self._bend,
            size,
            self._extra,
            border,
            None if self._span is None else self._span.values,
            size <= _SMALL,
        )

    @cached_property
    def _known(self) -> KnownDifferences:
        mixed = None if self._border is None else self._weight * self._border[1]
        return KnownDifferences(
            self._problem,
            self._system,
            self._used,
            self._psi,
            self._bend,
            mixed,
            self._extra,
            self._codes,
        )

    @property
    def rank(self) -> int:
        """Number of estimated parameters."""
        return self._system.rank

    @cached_property
    def factor(self) -> float:
        """Of the small-sample correction of variances."""
        n, left, G = self._total, self._total - self.rank, self.n_clusters
        if not left > 1e-9 * n:
            return np.nan
        return n / left if G is None else G / (G - 1) * (n - 1) / left

    @property
    def df(self) -> float:
        """Degrees of freedom at most."""
        if self.n_clusters is not None:
            return self.n_clusters - 1.0
        left = self._total - self.rank
        return left if left > 1e-9 * self._total else np.nan

    @property
    def undetermined(self) -> NDArray[np.bool_]:
        """Items whose scores have no standard error, (n_items,)."""
        return self._known.undetermined

    @property
    def message(self) -> str:
        """Which items have no standard error, and why."""
        return self._known.message(self.items)

    # -- contrasts ---------------------------------------------------------------------

    def _contrasts(self, items, side):
        """Standard errors and degrees of freedom of contrasts (columns)."""
        solution = self._system.solve(items, side)
        error = np.sqrt(self.factor * self._votes.variances(*solution))
        error[~self._known.determined(items, side)] = np.nan
        return error, self._degrees(*self._votes.spread(*solution))

    def _degrees(self, total, squares):
        out = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)
        return np.clip(out - 1, 1.0, max(1.0, self.df))

    def differences(
        self, pairs: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Differences of scores of the first and the second item.

        Parameters
        ----------
        pairs : array-like of int of shape (n_pairs, 2)
            Codes of items.

        Returns
        -------
        value, error, df : ndarray of shape (n_pairs,)
            Difference, standard error, degrees of freedom of t. Values and errors are
            NaN across components (unless scores are linear in features), errors where
            the votes do not show them (see Notes of the class).

        Notes
        -----
        One system with the weighted Laplacian for each pair: any number of items.
        """
        first, second = checked_pairs(pairs, self._problem.n_items)
        value = self.scores[first] - self.scores[second]
        groups, labels = self._known.groups, self._known.labels
        value[groups[first] != groups[second]] = np.nan
        known = np.flatnonzero(labels[first] == labels[second])
        error, df = np.full(len(first), np.nan), np.full(len(first), np.nan)
        width = self._system.n_inner
        if self._span is not None:
            width = self._problem.n_features
        step = max(1, _BLOCK // max(width, 1))
        for start in range(0, len(known), step):
            some = known[start : start + step]
            if self._span is None:
                items = np.zeros((self._problem.n_items, len(some)))
                items[first[some], np.arange(len(some))] = 1.0
                items[second[some], np.arange(len(some))] = -1.0
            else:  # exactly 0 for items with the same features
                rows = self._rows_of(first[some]) - self._rows_of(second[some])
                items = self._span.contrasts(rows.T)
            side = np.zeros((self._system.n_side, len(some)))
            error[some], df[some] = self._contrasts(items, side)
        return value, error, df

    def _rows_of(self, codes):
        features: Any = self._problem.features
        rows = features[codes]
        rows = rows.toarray() if sparse.issparse(rows) else rows
        return np.asarray(rows, dtype=np.float64)

    def _score_contrasts(self, codes):
        """Contrasts of scores with the mean of those that are known (columns)."""
        known, groups = ~self._known.undetermined, self._known.groups
        if self._span is not None:
            values = self._span.values
            return (values[codes] - values[known].mean(axis=0)).T
        own = groups[codes]
        size = np.bincount(groups[known], minlength=groups.max() + 1)[own]
        items = np.where(known[:, None] & (groups[:, None] == own), -1 / size, 0.0)
        items[codes, np.arange(len(codes))] += 1.0
        return items

    def score_errors(
        self, codes: ArrayLike | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standard errors of gauge-fixed scores, and degrees of freedom.

        Scores relative to the mean of the items whose differences are known (see Notes
        of the class): these are not errors of differences.

        Parameters
        ----------
        codes : array-like of int or None
            Items; None: all, if they are at most 4096.

        Returns
        -------
        error, df : ndarray
            NaN for `undetermined` items.

        Raises
        ------
        TooWide
            If all of many items are asked for.
        """
        m = self._problem.n_items
        if codes is None:
            if m > MAX_ITEMS:
                raise too_wide("the errors of all scores of", m, "name some of them")
            return self._all_score_errors
        codes = np.asarray(codes, dtype=np.intp)
        error, df = np.full(len(codes), np.nan), np.full(len(codes), np.nan)
        known = np.flatnonzero(~self._known.undetermined[codes])
        step = max(1, _BLOCK // m)
        for start in range(0, len(known), step):
            some = known[start : start + step]
            items = self._score_contrasts(codes[some])
            side = np.zeros((self._system.n_side, len(some)))
            error[some], df[some] = self._contrasts(items, side)
        return error, df

    @cached_property
    def _all_score_errors(self):
        errors = np.sqrt(np.maximum(np.diagonal(self.cov), 0.0))
        total, square = self._share_moments
        df = self._degrees(total, np.diagonal(square))
        return errors, np.where(self._known.undetermined, np.nan, df)

    def coef_errors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standard errors of the coefficients of features, and degrees of freedom.

        NaN for features that others (and a constant) explain.

        Raises
        ------
        ValueError
            If there are no features.
        """
        if self._span is None:
            raise ValueError(
                "there are no features, so that the coefficients are the scores: use "
                "score_errors() or differences(pairs)."
            )
        d = self._problem.n_features - self.n_extra
        error, df = np.full(d, np.nan), np.full(d, np.nan)
        step = max(1, _BLOCK // d)
        for start in range(0, d, step):
            some = np.arange(start, min(start + step, d))
            axes = np.zeros((d, len(some)))
            axes[some, np.arange(len(some))] = 1.0
            determined = self._span.determined(axes)
            some, axes = some[determined], axes[:, determined]
            side = np.zeros((self._system.n_side, len(some)))
            error[some], df[some] = self._contrasts(self._span.contrasts(axes), side)
        return error, df

    def extra_errors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Standard errors of the coefficients of `extra`, and degrees of freedom."""
        return self._side_errors(range(self.n_extra))

    def border_error(self) -> tuple[float, float]:
        """Standard error of the parameter of the border, and degrees of freedom.

        Raises
        ------
        ValueError
            If there is no border.
        """
        if self._border is None:
            raise ValueError("there is no border: no further parameter was estimated.")
        error, df = self._side_errors([self.n_extra])
        return float(error[0]), float(df[0])

    def _side_errors(self, columns):
        side = np.eye(self._system.n_side)[:, list(columns)]
        return self._contrasts(np.zeros((self._system.n_inner, side.shape[1])), side)

    # -- all items at once -------------------------------------------------------------

    @cached_property
    def _free_cov(self):
        """Covariance of scores relative to their label's mean, without the factor."""
        m = self._problem.n_items
        if m > MAX_ITEMS:
            raise too_wide("the covariance of", m)
        cov = self._votes.covariance(*self._system.inverse_columns())
        return self._relative(self._relative(cov).T)

    def _relative(self, columns):
        """Columns of items minus their means over items whose differences are known.

        What leaves other differences open may be large, and is none of their business.
        """
        labels = self._known.labels
        share = 1 / np.bincount(labels)[labels]
        mean = sparse.csr_array((share, (np.arange(len(labels)), labels)))
        return columns - (columns @ mean)[:, labels]

    @cached_property
    def cov(self) -> NDArray[np.float64]:
        """Covariance of the gauge-fixed scores, (n_items, n_items).

        Scores relative to the mean of the items whose differences are known: within a
        component (with features, among all items) the largest set of them, see Notes of
        the class. NaN in rows and columns of `undetermined` items, and across
        components (unless scores are linear in features). ``cov[i, i] + cov[j, j] - 2
        cov[i, j]`` is the squared standard error of a difference.

        Raises
        ------
        TooWide
            If there are more than 4096 items.
        """
        cov = self.factor * self._free_cov
        groups = np.where(self._known.undetermined, -1, self._known.groups)
        cov[(groups < 0) | (groups != groups[:, None])] = np.nan
        return cov

    def _draws(self, n_draws, random_state):
        """Errors of the scores by random multiples of the scores of clusters."""
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
        return self._votes.draws(*self._system.inverse_columns(), n_draws, rng)

    @cached_property
    def _share_moments(self):
        columns = self._system.inverse_columns()
        return self._votes.products(*map(self._relative, columns))

    def _pair_degrees(self, rows, columns):
        """Degrees of freedom of differences, if votes about both items do not matter.

        As those of `differences`, up to products of the influences that a vote has on
        both scores.
        """
        total, square = self._share_moments
        own = np.diagonal(square)
        below = own[rows][:, None] + own[columns] + 2 * square[np.ix_(rows, columns)]
        return self._degrees(total[rows][:, None] + total[columns], below)

    def rank_intervals(
        self,
        level: float | None = None,
        kind: str = "marginal",
        n_draws: int = 1000,
        random_state: Any = 0,
    ) -> pd.DataFrame:
        """Confidence sets of the ranks within each component.

        Parameters
        ----------
        level : float or None
            None: that of the object.
        kind : {"marginal", "joint"}, default="marginal"
            Whether each set contains the rank of its item with probability `level`, or
            all of them do so at once.
        n_draws : int, default=1000
            Of the multiplier bootstrap that critical values are from.
        random_state : int, RandomState instance or None, default=0

        Returns
        -------
        DataFrame
            ``item``, ``component``, ``rank``, ``low``, ``high``, ``score``; by size of
            the component, then rank. Items with the same score have the same rank. With
            features, all items are ranked together. Items whose difference has no
            standard error are never told apart.

        Raises
        ------
        TooWide
            If there are more than 4096 items.

        Notes
        -----
        Two items are told apart if their difference exceeds c times its standard error.
        c is the quantile of the largest studentized difference of random draws: of the
        differences of this item with all others ("marginal") or of all differences
        ("joint") [1]. A draw multiplies the score of every cluster by a standard normal
        number. Small samples: c is replaced by the quantile of t that has the same
        tail, with degrees of freedom as those of `differences`. The set of ranks is
        from 1 plus the number of items that are surely better to the size of the
        component minus the number of items that are surely worse.

        What is covered are the ranks of the values that the scores estimate: see
        `RankingInference`.

        References
        ----------
        .. [1] M. Mogstad, J. P. Romano, A. M. Shaikh, D. Wilhelm (2024). Inference for
           ranks with applications to mobility across neighbourhoods and academic
           achievement across countries. Review of Economic Studies 91, 476-518.
        """
        level = self.level if level is None else level
        check_level(level)
        if not (isinstance(n_draws, int | np.integer) and n_draws >= 20):
            raise ValueError(f"n_draws={n_draws!r} must be an integer of at least 20.")
        groups = self._known.groups
        low, high = rank_sets(
            self.scores,
            self._free_cov,
            self._draws(n_draws, random_state),
            groups,
            self._known.labels,
            level=level,
            kind=kind,
            factor=self.factor,
            degrees=self._pair_degrees,
        )
        components = self._problem.components
        return rank_frame(self.items, components, self.scores, low, high, groups)


def _per_vote(name, values, n):
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(
            f"{name} has shape {values.shape}; it needs one number for each of the {n} "
            "votes."
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{name} contains {values[row]} for vote {row}.")
    return values
