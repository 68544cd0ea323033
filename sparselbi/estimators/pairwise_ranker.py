"""Scores from pairwise comparisons, some of which are wrong."""

import contextlib
import copy
import dataclasses
import functools
import warnings
from numbers import Real
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from .._path_checks import check_choice
from .._shift_design import SingularFit, TooWide
from ..hodge import hodge_decomposition
from ..selection.votes import get_vote_selector
from ..solvers._hard_knot import with_hard_knot
from ..solvers.vote_paths import vote_path
from ..vote_noise import flip_rate, worker_reliability
from ..votes import read_votes
from ._item_features import ItemFeatures
from ._ranking_inference import RankingInference, worker_bootstrap
from ._vote_estimates import ESTIMATES, estimate_scores
from ._vote_question import VoteQuestion

MODELS = ("auto", "linear", "logistic")
METHODS = ("l1", "iss", "lbi", "hard")
# Each vote is about two items.
_TIES_PER_SCORE = 0.5


class PairwiseRanker(BaseEstimator):
    """Ranking from pairwise comparisons, with a sparse shift for wrong votes.

    Vote e compares the items i (first) and j (second). With a score per item,

    - "linear": ``y_e = score_i - score_j + bias + shift_e + noise``, for grades and
      differences (HodgeRank, if no vote is shifted; robust: URLR);
    - "logistic": ``P(first is preferred) = sigmoid(score_i - score_j + bias +
      shift_e)``, for votes of -1, +1 and 0 (Bradley-Terry, if no vote is shifted).

    Shifts are 0 for most votes. A path orders the votes by how early they are shifted,
    a rule says how many are distrusted, and scores are reported at that point.

    Parameters
    ----------
    model : {"auto", "linear", "logistic"}, default="auto"
        "auto": logistic for votes of -1, +1 and 0 with method "l1", else linear.
    method : {"l1", "iss", "lbi", "hard"}, default="l1"
        Of the path, see `OutlierRegression`. "l1": soft shifts, which is a Huber fit
        (or its logistic analogue) for every threshold; convex, for millions of votes.
        "iss" (in memory), "lbi" and "hard" leave shifted votes out; linear model.
    selector : str, float or selector, default="auto"
        How many votes are distrusted: "flips" for votes of -1 and +1 (`FlipShare`, a
        mixture estimate of the share of flipped votes); "sigma" (`VoteCut`, 2.5
        standard deviations), "gap", "bic" or "aic" for graded votes; `VoteShare` (a
        given share) or a threshold of the path (or t) for both. "auto": "flips" or
        "sigma".
    estimate : {"path", "refit", "mixture"}, default="path"
        The scores: of the path, with all votes, the loss of shifted ones being bounded
        in slope; without the distrusted votes; or, for votes of -1 and +1, maximum
        likelihood of Bradley-Terry votes a share of which is flipped, which is
        consistent for the size of score differences if that is how votes come about.
    position_bias : {False, True, "worker"}, default=False
        Estimate a preference for the first position: one, or one for each worker.
    transform : {None, "uniform", "bradley_terry", "thurstone_mosteller", "angular"}
        Replace votes of -1 and +1 by a transformed proportion of wins for each pair of
        items, with one shift per pair; see `sparselbi.win_proportions`. Linear model.
    ridge : "auto" or float, default="auto"
        So many ties are added to every vote of the logistic model, so that scores of
        items that always win stay finite; "auto": half a tie for each item, spread over
        all votes (``path_.ridge`` has the number); 0: none, and an error for such
        items.
    max_outliers : float or None, default=None
        End the path before more votes (in weights) are shifted; None: half of them.
    n_knots : int or None, default=None
        Knots of the path.
    kappa : float, default=10.0
        Damping, for "lbi".
    t_max : float or None, default=None
        End of "iss" and "lbi" paths.
    random_state : int, RandomState instance or None, default=0
        For rules that simulate.

    Attributes
    ----------
    scores_ : ndarray of shape (n_items,)
        Larger is better; their sum is 0 in every component of the comparison graph
        (with features: over all items). Not to be compared across components.
    items_ : ndarray of shape (n_items,)
        Labels, sorted.
    ranking_ : DataFrame
        One line per item, the largest component first, best first: ``item``,
        ``component``, ``rank`` (within the component), ``score``, ``votes``.
    coef_ : ndarray of shape (n_item_features,) or None
        With item features: ``score = features coef`` up to a constant.
    position_bias_ : float, Series or None
        In units of scores; positive: towards the first item. By worker if asked for.
    vote_order_ : ndarray of int of shape (n_votes,)
        All votes, the most suspicious one first: by their entry to the path, the others
        by their last residual. With a transform, by how far the scores contradict them.
    outlier_votes_ : ndarray of bool of shape (n_votes,)
        Votes that are distrusted. Never votes that are the only connection of two
        parts of the graph: nothing contradicts them.
    worker_reliability_ : DataFrame or None
        See `sparselbi.vote_noise.worker_reliability`, and ``distrusted``, the share of
        a worker's votes that are.
    components_ : ndarray of int of shape (n_items,)
        Connected component of each item.
    n_components_ : int
    score_cov_ : ndarray of shape (n_items, n_items) or None
        Covariance of the scores; variances of differences follow from it. Clustered by
        worker if there are any. None if there is none, see `score_differences`.
    leverage_ : ndarray of shape (n_votes,)
        Share of a vote in its own fit by least squares, 1 if nothing else determines
        it; estimated for large graphs. Of pairs, with a transform.
    flip_rate_ : FlipRate or None
        Mixture estimate of the share of flipped votes, for votes of -1 and +1.
    mixture_ : FlipMixtureFit or None
        With ``estimate="mixture"``: its flip rate, posterior probabilities and status.
    model_ : {"linear", "logistic"}
    classes_ : ndarray
        [-1, 1], the columns of `predict_proba`.
    votes_ : VoteTable
        The votes as read.
    path_ : VotePath
    selection_ : Selection
        The chosen point, the rule and every number that entered.
    n_iter_ : int
    feature_names_in_ : ndarray of str
        Columns of a data frame of item features.

    Notes
    -----
    Soft shifts under a threshold are a robust M-estimate: all votes count, none with
    more than the threshold. So covariances are a sandwich of that fit, clustered by
    worker. They are for what the fit estimates, which keeps the order of the items, but
    not the size of differences, if votes are flipped; ``estimate="mixture"`` does.

    References
    ----------
    X. Jiang, L.-H. Lim, Y. Yao, Y. Ye (2011). Statistical ranking and combinatorial
    Hodge theory. Math. Program. 127, 203-244. Y. Fu, T. Hospedales, T. Xiang, J. Xiong,
    S. Gong, Y. Wang, Y. Yao (2016). Robust subjective visual property prediction from
    crowdsourced pairwise labels. IEEE TPAMI 38, 563-577. Q. Xu, J. Xiong, Q. Cao,
    Q. Huang, Y. Yao (2014). Online HodgeRank/robust ranking with Linearized Bregman
    Iteration, arXiv:1408.3467.

    Examples
    --------
    >>> from sparselbi import PairwiseRanker
    >>> from sparselbi.datasets import make_votes
    >>> votes = make_votes(n_items=8, n_votes=600, flip_rate=0.2, random_state=0)
    >>> ranker = PairwiseRanker().fit(votes.pairs, votes.y)
    >>> ranker.ranking_["item"].tolist() == list((-votes.scores).argsort())
    True
    """

    def __init__(
        self,
        model="auto",
        method="l1",
        selector="auto",
        estimate="path",
        position_bias=False,
        transform=None,
        ridge="auto",
        max_outliers=None,
        n_knots=None,
        kappa=10.0,
        t_max=None,
        random_state=0,
    ):
        self.model = model
        self.method = method
        self.selector = selector
        self.estimate = estimate
        self.position_bias = position_bias
        self.transform = transform
        self.ridge = ridge
        self.max_outliers = max_outliers
        self.n_knots = n_knots
        self.kappa = kappa
        self.t_max = t_max
        self.random_state = random_state

    # ------------------------------------------------------------------------ fitting

    def fit(self, pairs, y=None, item_features=None, worker=None, sample_weight=None):
        """Trace the path of votes, choose how many to distrust, and report scores.

        Parameters
        ----------
        pairs : array-like or data frame of shape (n_votes, 2)
            Labels of the first and the second item of each vote: integers or strings.
            A data frame may have further columns, named in `y`, `worker` and
            `sample_weight`.
        y : array-like of shape (n_votes,), str or None
            Positive: the first item is preferred, by so much; 0: a tie. None: the first
            one always is (tables of winners and losers).
        item_features : data frame or array-like of shape (n_items, n_item_features)
            Scores become linear in these. A data frame has the items as its index; of
            an array, item k is row k. May have items that no vote is about.
        worker : array-like of shape (n_votes,) or str, default=None
            Who voted.
        sample_weight : array-like of shape (n_votes,) or str, default=None
            Weight w means w equal votes.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If votes or parameters cannot be used; the message says what to do.
        SeparatedVotes
            With ``ridge=0``, if items or groups of items always win.

        Warns
        -----
        UserWarning
            If the rule could not be applied as asked (``selection_.message`` says why),
            or the mixture is in doubt.
        """
        self._check_parameters()
        features = None if item_features is None else ItemFeatures(item_features)
        items = None if features is None else features.items
        votes = read_votes(pairs, y, worker, sample_weight, items)
        model = self._resolved_model(votes)
        rule = self._rule(model, votes.kind)  # a bad name fails before the work
        question = self._pose(votes, features)
        path = self._trace(question, model)
        self.votes_, self.items_, self.model_ = votes, votes.items, model
        self.classes_ = np.array([-1, 1])
        self._features: Any = features
        if features is not None and features.names is not None:
            self.feature_names_in_ = np.array(features.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self._choose(rule, path, question)
        return self

    def path(self, pairs, y=None, item_features=None, worker=None, sample_weight=None):
        """Trace the path, choose nothing and change nothing on the estimator.

        Parameters
        ----------
        pairs, y, item_features, worker, sample_weight
            As for `fit`.

        Returns
        -------
        VotePath
        """
        self._check_parameters()
        features = None if item_features is None else ItemFeatures(item_features)
        items = None if features is None else features.items
        votes = read_votes(pairs, y, worker, sample_weight, items)
        return self._trace(self._pose(votes, features), self._resolved_model(votes))

    def select(self, selector):
        """Return a copy of the fitted estimator with another point of its path.

        Parameters
        ----------
        selector : str, float or selector
            As the parameter `selector`; it becomes that parameter of the copy.

        Returns
        -------
        PairwiseRanker
            Shares ``votes_`` and ``path_`` with this one, which does not change.

        Raises
        ------
        NotFittedError
            If there is no path yet.
        ValueError
            If the selector is unknown or does not fit the votes.
        """
        check_is_fitted(self)
        other = copy.copy(self)
        other.selector = selector
        rule = other._rule(self.model_, self.votes_.kind)
        other._choose(rule, self.path_, self._question())
        return other

    def _check_parameters(self):
        check_choice("model", self.model, MODELS)
        check_choice("method", self.method, METHODS)
        check_choice("estimate", self.estimate, ESTIMATES)
        number = isinstance(self.ridge, Real) and not isinstance(self.ridge, bool)
        known = isinstance(self.ridge, str) and self.ridge == "auto"
        if not known and not (number and 0 <= self.ridge < np.inf):
            raise ValueError(
                f"ridge={self.ridge!r} must be 'auto', or a number of ties that is "
                "added to every vote: 0, or a small number such as 0.01."
            )

    def _resolved_model(self, votes):
        model = self.model
        if model == "auto":
            soft = self.method == "l1" and self.transform is None
            model = "logistic" if votes.is_binary and soft else "linear"
        if model == "logistic":
            if self.transform is not None:
                raise ValueError(
                    f"transform={self.transform!r} makes graded values of proportions "
                    "of wins, which are for model='linear'."
                )
            if not votes.is_binary:
                raise ValueError(
                    "model='logistic' is for votes of -1, +1 and 0 (ties), but y is "
                    "graded; use model='linear', or y=np.sign(y)."
                )
            if self.method != "l1":
                raise ValueError(
                    f"method={self.method!r} is for model='linear'; the logistic model "
                    "has method='l1'."
                )
        if self.estimate == "mixture" and model != "logistic":
            raise ValueError(
                "estimate='mixture' is for the logistic model of votes of -1 and +1; "
                "use 'path' or 'refit'."
            )
        return model

    def _rule(self, model, kind):
        kind = "graded" if self.transform is not None else kind
        return get_vote_selector(
            self.selector, model=model, method=self.method, kind=kind
        )

    def _pose(self, votes, features):
        table = None if features is None else features.rows(votes.items)
        return VoteQuestion.pose(votes, table, self.position_bias, self.transform)

    def _trace(self, question, model):
        votes, by_vote = question.votes, question.vote_row is None
        problem = question.problem
        ridge = self.ridge if model == "logistic" else 0.0
        if ridge == "auto":
            ridge = _TIES_PER_SCORE * problem.rank / (2 * problem.total_weight)
        return vote_path(
            problem,
            model=model,
            method=self.method,
            n_knots=self.n_knots,
            max_outliers=self.max_outliers,
            kappa=self.kappa,
            t_max=self.t_max,
            ridge=float(ridge),
            items=votes.items,
            row_names=votes.row_names if by_vote else None,
            random_state=self.random_state,
        )

    def _question(self):
        """The votes as a problem, which is not kept with the estimator on disk."""
        if not hasattr(self, "_posed"):
            self._posed = self._pose(self.votes_, self._features)
        return self._posed

    def __getstate__(self):
        # What follows from the votes is made again when it is needed.
        state = super().__getstate__()
        derived = ("_posed", "_inference")
        return {name: value for name, value in state.items() if name not in derived}

    def _choose(self, rule, path, question):
        selection = rule.select(path, question.problem)
        if path.method == "hard":  # the chosen threshold becomes a knot of its own
            longer = with_hard_knot(path, question.problem, selection.knot)
            if longer is not path:
                path, selection = longer, rule.select(longer, question.problem)
        if selection.fallback:
            warnings.warn(selection.message, UserWarning, stacklevel=3)
        self._report(path, selection, question)

    def _report(self, path, selection, question):
        problem, votes = question.problem, question.votes
        found = estimate_scores(question, path, selection, self.estimate)
        if found.caution:
            warnings.warn(found.caution, UserWarning, stacklevel=4)
        self.mixture_ = found.mixture
        self._posed, self._found = question, found
        self.path_, self.selection_, self.n_iter_ = path, selection, path.n_iter
        self.scores_ = problem.scores(found.coef)
        self.components_ = problem.components
        self.n_components_ = int(problem.components.max()) + 1
        self.coef_ = None
        if problem.features is not None:
            self.coef_ = found.coef[: len(found.coef) - problem.n_extra]
        self.position_bias_ = _position_bias(found.coef, problem, votes)
        self.outlier_votes_ = question.distrusted(path, selection.knot)
        if question.transform is None:
            self.vote_order_ = path.vote_order()
        else:
            strength = question.strength(path, found.coef)
            self.vote_order_ = np.argsort(-strength, kind="stable")
        self.ranking_ = self.rank()
        self._report_noise(question, found.coef)
        self._inference = self.score_cov_ = None
        if found.pieces is not None:
            with contextlib.suppress(TooWide, SingularFit):
                self.score_cov_ = self._needed_inference().cov

    def _report_noise(self, question, coef):
        votes, problem = question.votes, question.problem
        self.flip_rate_ = self.worker_reliability_ = None
        some = (votes.y != 0) & (votes.weight is None or votes.weight > 0)
        if votes.is_binary and some.any():
            self.flip_rate_ = flip_rate(
                question.eta(coef), votes.y, votes.weight, n_scores=problem.rank
            )
        if votes.worker_codes is None:
            return
        # A bias of each worker would explain away who clicks one side.
        first, second = votes.pairs.T
        eta = self.scores_[first] - self.scores_[second]
        if self.position_bias is True:
            eta = eta + self.position_bias_
        frame = worker_reliability(
            eta, votes.y, votes.workers[votes.worker_codes], votes.weight
        )
        weight = np.ones(votes.n_votes) if votes.weight is None else votes.weight
        total = np.bincount(votes.worker_codes, weight, len(votes.workers))
        bad = np.bincount(
            votes.worker_codes, weight * self.outlier_votes_, len(votes.workers)
        )
        with np.errstate(invalid="ignore"):
            frame["distrusted"] = bad / total
        self.worker_reliability_ = frame

    # ---------------------------------------------------------------------- prediction

    def predict(self, pairs, item_features=None):
        """Return how much better the first item of each pair is.

        Parameters
        ----------
        pairs : array-like or data frame of shape (n_pairs, 2)
            Labels of items.
        item_features : data frame or array-like, default=None
            Needed for items that were not in the votes, if the ranker was fitted with
            features: all items of `pairs`, as in `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Score of the first minus that of the second, without position bias. NaN if
            the two are in different components of the comparison graph.

        Raises
        ------
        ValueError
            If an item is unknown.
        """
        check_is_fitted(self)
        if item_features is None:
            first, second = self.votes_.encode(pairs).T
            margin = self.scores_[first] - self.scores_[second]
            if self.coef_ is None:
                apart = self.components_[first] != self.components_[second]
                margin[apart] = np.nan
            return margin
        scores, codes = self._scores_of(item_features, pairs)
        return scores[codes[:, 0]] - scores[codes[:, 1]]

    def predict_proba(self, pairs, item_features=None):
        """Return the probability that each item of each pair is preferred.

        Parameters
        ----------
        pairs, item_features
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_pairs, 2)
            For the second (class -1) and the first item (class 1), by a vote that is
            not flipped and not biased. Through the link of the model: sigmoid; the
            inverse of the transform; for graded votes the normal distribution with the
            scale of the residuals; for -1 and +1 in the linear model
            ``(1 + margin) / 2``, at most 1. NaN across components.
        """
        margin = self.predict(pairs, item_features)
        p = self._question().probability(margin, self.model_, self._found.scale)
        return np.column_stack([1 - p, p])

    def rank(self, items=None, item_features=None):
        """Rank some items.

        Parameters
        ----------
        items : array-like or None
            Labels; None: all.
        item_features : data frame or array-like, default=None
            Features of these items, if the ranker was fitted with features: a data
            frame with the items as its index, or an array of which item k is row k.
            Then items need not have been in the votes.

        Returns
        -------
        DataFrame
            As `ranking_`; ranks are among these items, and equal scores share one.
        """
        import pandas as pd

        votes = self.votes_
        weight = np.ones(votes.n_votes) if votes.weight is None else votes.weight
        counts = np.bincount(votes.pairs.ravel(), np.repeat(weight, 2), votes.n_items)
        if item_features is not None:
            scores, codes = self._scores_of(item_features, items)
            labels = ItemFeatures(item_features).items[codes]
            place = {label: k for k, label in enumerate(votes.items.tolist())}
            known = [place.get(label) for label in labels.tolist()]
            counts = np.array([0.0 if k is None else counts[k] for k in known])
            scores, component = scores[codes], np.zeros(len(codes), dtype=np.intp)
        else:
            all_items = np.arange(votes.n_items)
            codes = all_items if items is None else votes.item_codes(items)
            labels, scores = votes.items[codes], self.scores_[codes]
            counts, component = counts[codes], self.components_[codes]
            if self.coef_ is not None:
                component = np.zeros_like(component)
        size = np.bincount(component)[component]
        rank = np.empty(len(scores), dtype=np.intp)
        for k in np.unique(component):
            some = component == k
            rank[some] = stats.rankdata(-scores[some], method="min")
        order = np.lexsort((np.arange(len(rank)), rank, component, -size))
        frame = pd.DataFrame(
            {
                "item": labels,
                "component": component,
                "rank": rank,
                "score": scores,
                "votes": counts,
            }
        )
        return frame.iloc[order].reset_index(drop=True)

    def _scores_of(self, item_features, items):
        """Scores of all rows of features, and the rows of some items."""
        check_is_fitted(self)
        if self.coef_ is None:
            raise ValueError(
                "item_features were given, but the ranker was fitted without any; "
                "scores of unseen items need item_features in fit."
            )
        features = ItemFeatures(item_features, like=self._features)
        shift = self._features.rows(self.items_) @ self.coef_ - self.scores_
        scores = features.values @ self.coef_ - np.mean(shift)
        return scores, features.codes(items)

    # --------------------------------------------------------------------- uncertainty

    def score_differences(self, pairs=None, level=0.95):
        """Return confidence intervals of differences of scores.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2) or None
            Labels of items; None: neighbours in `ranking_`.
        level : float, default=0.95
            Of each interval.

        Returns
        -------
        DataFrame
            ``first``, ``second``, ``difference``, ``standard_error``, ``low``,
            ``high``; NaN across components.

        Raises
        ------
        ValueError
            If votes were left out because they disagree ("refit", "iss", "lbi",
            "hard"): such standard errors would be wrong; use `bootstrap`.
        """
        import pandas as pd

        inference = self._needed_inference()
        if pairs is None:
            frame = self.ranking_
            same = frame["component"].to_numpy()
            codes = self.votes_.item_codes(frame["item"].to_numpy())
            codes = np.column_stack([codes[:-1], codes[1:]])[same[:-1] == same[1:]]
        else:
            codes = self.votes_.encode(pairs)
        value, error, df = inference.differences(codes)
        half = stats.t.ppf((1 + _checked_level(level)) / 2, df) * error
        return pd.DataFrame(
            {
                "first": self.items_[codes[:, 0]],
                "second": self.items_[codes[:, 1]],
                "difference": value,
                "standard_error": error,
                "low": value - half,
                "high": value + half,
            }
        )

    def score_intervals(self, level=0.95):
        """Return confidence intervals of the scores, whose sum is 0 by component.

        Parameters
        ----------
        level : float, default=0.95

        Returns
        -------
        DataFrame
            In the order of `ranking_`: ``item``, ``component``, ``rank``, ``score``,
            ``standard_error``, ``low``, ``high``.

        Raises
        ------
        ValueError
            As `score_differences`.
        """
        inference = self._needed_inference()
        frame = self.ranking_.drop(columns="votes")
        codes = self.votes_.item_codes(frame["item"].to_numpy())
        error, df = (values[codes] for values in inference.score_errors())
        half = stats.t.ppf((1 + _checked_level(level)) / 2, df) * error
        frame["standard_error"] = error
        frame["low"], frame["high"] = frame["score"] - half, frame["score"] + half
        return frame

    def coef_intervals(self, level=0.95):
        """Return confidence intervals of coefficients of features and position biases.

        Parameters
        ----------
        level : float, default=0.95

        Returns
        -------
        DataFrame
            One line for each: ``coef``, ``standard_error``, ``low``, ``high``.

        Raises
        ------
        ValueError
            As `score_differences`, or if there is neither.
        """
        import pandas as pd

        inference, problem = self._needed_inference(), self._question().problem
        if self.coef_ is None and not problem.n_extra:
            raise ValueError(
                "there are neither features nor position biases; intervals of scores "
                "are those of score_intervals and score_differences."
            )
        found = [inference.extra_errors()] if problem.n_extra else []
        if self.coef_ is not None:
            found.insert(0, inference.coef_errors())
        error, df = np.concatenate(found, axis=1)
        half = stats.t.ppf((1 + _checked_level(level)) / 2, df) * error
        coef = self._found.coef[-len(error) :]
        return pd.DataFrame(
            {
                "coef": coef,
                "standard_error": error,
                "low": coef - half,
                "high": coef + half,
            },
            index=list(problem.feature_names[-len(error) :]),
        )

    def rank_intervals(self, level=0.95, **options):
        """Return confidence sets of the ranks.

        Parameters
        ----------
        level : float, default=0.95
        **options
            See `RankingInference.rank_intervals`: ``kind`` ("marginal": of each rank;
            "joint": of all of them), ``n_draws``, ``random_state``.

        Returns
        -------
        DataFrame
            ``item``, ``component``, ``rank``, ``low``, ``high``, ``score``.

        Raises
        ------
        ValueError
            As `score_differences`.
        """
        return self._needed_inference().rank_intervals(level, **options)

    def bootstrap(self, n_boot=200, random_state=None, n_jobs=None, **options):
        """Repeat fit and choice with random weights of the workers.

        Parameters
        ----------
        n_boot : int, default=200
        random_state : int, RandomState instance or None
        n_jobs : int or None
        **options
            See `sparselbi.estimators.worker_bootstrap`.

        Returns
        -------
        RankingBootstrap
            Scores of every draw, intervals, and how often each vote is distrusted.
        """
        check_is_fitted(self)
        votes = self.votes_
        table = None
        if self._features is not None:
            table = self._features.rows(votes.items)
        # Without what has been fitted, which other processes cannot take over.
        refit = functools.partial(_refit, clone(self), self.model_, votes, table)
        clusters = votes.worker_codes
        return worker_bootstrap(
            refit,
            np.arange(votes.n_votes) if clusters is None else clusters,
            n_boot,
            random_state,
            n_jobs,
            # With features, scores are comparable across components.
            components=self.components_ if self.coef_ is None else None,
            items=self.items_,
            **options,
        )

    def _needed_inference(self):
        check_is_fitted(self)
        found = self._found
        if found.pieces is None:
            raise ValueError(found.no_intervals)
        if getattr(self, "_inference", None) is None:
            question = self._question()
            self._inference = RankingInference(
                question.problem,
                found.coef,
                *found.pieces,
                clusters=question.clusters,
                border=found.border,
                items=self.items_,
            )
        return self._inference

    # ------------------------------------------------------------------------- reports

    @property
    def leverage_(self):
        """Leverages of the votes (n_votes,), or of pairs with a transform."""
        check_is_fitted(self)
        return self._question().problem.leverage

    def votes_frame(self, k=None):
        """Return the votes, the most suspicious one first.

        Parameters
        ----------
        k : int or None
            How many; None: all.

        Returns
        -------
        DataFrame
            ``item_1``, ``item_2``, ``y``, ``worker``, ``weight`` as far as given,
            ``margin`` (fitted), ``strength`` (its entry as a threshold) and
            ``distrusted``; the index is the row of the vote.
        """
        check_is_fitted(self)
        question = self._question()
        rows = self.vote_order_[:k]
        frame = self.votes_.frame().iloc[rows]
        frame.index = rows
        frame["margin"] = question.eta(self._found.coef)[rows]
        frame["strength"] = question.strength(self.path_, self._found.coef)[rows]
        frame["distrusted"] = self.outlier_votes_[rows]
        return frame

    def hodge(self):
        """Split the votes into a gradient (a ranking), curl and harmonic part.

        Returns
        -------
        HodgeDecomposition
            Of all votes, without shifts; ``shares``, and ``triangles()``: the triples
            that contradict themselves most.
        """
        check_is_fitted(self)
        votes = self.votes_
        found = hodge_decomposition(
            votes.pairs, votes.y, votes.weight, n_items=votes.n_items
        )
        return found.named(votes.items)


def _refit(ranker, model, votes, table, factor):
    """Scores and distrusted votes of the same votes with other weights."""
    weight = factor if votes.weight is None else votes.weight * factor
    drawn = VoteQuestion.pose(
        dataclasses.replace(votes, weight=weight),
        table,
        ranker.position_bias,
        ranker.transform,
    )
    path = ranker._trace(drawn, model)
    selection = ranker._rule(model, votes.kind).select(path, drawn.problem)
    found = estimate_scores(drawn, path, selection, ranker.estimate)
    mask = drawn.distrusted(path, selection.knot)
    return drawn.problem.scores(found.coef), mask


def _position_bias(coef, problem, votes):
    import pandas as pd

    if not problem.n_extra:
        return None
    bias = coef[-problem.n_extra :]
    if problem.n_extra == 1:
        return float(bias[0])
    return pd.Series(bias, index=pd.Index(votes.workers, name="worker"))


def _checked_level(level):
    if not (isinstance(level, float) and 0 < level < 1):
        raise ValueError(f"level={level!r} must be between 0 and 1, such as 0.95.")
    return level
