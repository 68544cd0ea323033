"""Scores from pairwise comparisons, some of which are wrong."""

import copy
import warnings
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from .._path_checks import check_choice
from ..selection.votes import FlipShare, get_vote_selector, votes_of_one_side
from ..solvers.vote_paths import vote_path
from ..vote_noise import flip_rate, worker_reliability
from ..votes import read_votes
from ._item_features import ItemFeatures
from ._rank_intervals import rank_frame
from ._ranking_reports import RankingReports
from ._vote_estimates import ESTIMATES, choose_point, estimate_scores
from ._vote_question import VoteQuestion

MODELS = ("auto", "linear", "logistic")
METHODS = ("l1", "iss", "lbi", "hard")
# Each vote is about two items.
_TIES_PER_SCORE = 0.5


class PairwiseRanker(RankingReports, BaseEstimator):
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
        all votes (``path_.ridge`` has the number), and a fifth of that for the
        mixture; 0: none, and an error for such items.
    max_outliers : float or None, default=None
        End the path before more votes (in weights) are shifted; None: half of them.
    n_knots : int or None, default=None
        Knots of the path.
    kappa : float, default=10.0
        Damping, for "lbi".
    t_max : float or None, default=None
        End of "iss" and "lbi" paths.

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
        See `sparselbi.vote_noise.worker_reliability`, by the scores of the path, and
        ``distrusted``, the share of a worker's votes that are.
    components_ : ndarray of int of shape (n_items,)
        Connected component of each item.
    n_components_ : int
    score_cov_ : ndarray of shape (n_items, n_items) or None
        Covariance of the scores, relative to the mean of the items whose differences
        are known: the largest such set of each component, usually all of it. NaN for
        other items, such as those that one vote alone connects, and across components.
        Variances of differences follow from it. Clustered by worker if there are any,
        by pair with a transform. None if there is none, see `score_differences`.
    leverage_ : ndarray of shape (n_votes,)
        Share of a vote in its own fit by least squares, 1 if nothing else determines
        it; estimated for large graphs. Of pairs, with a transform.
    flip_rate_ : FlipRate or None
        Mixture estimate of the share of flipped votes, for votes of -1 and +1, by the
        scores of the path at the chosen point. None for methods other than "l1", whose
        scores confirm what they assume; what the rule used is in ``selection_``.
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
        votes, features, model = self._read(
            pairs, y, item_features, worker, sample_weight
        )
        rule = self._rule(model, votes.kind)  # a bad name fails before the work
        question = self._pose(votes, features)
        path = self._trace(question, model)
        self._report(rule, path, question, features, clone(self))
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
        votes, features, model = self._read(
            pairs, y, item_features, worker, sample_weight
        )
        return self._trace(self._pose(votes, features), model)

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
        other.set_params(**self._asked.get_params(deep=False))
        other.selector = selector
        rule = other._rule(self.model_, self.votes_.kind)
        other._report(rule, self.path_, self._question(), self._features, clone(other))
        return other

    def _read(self, pairs, y, item_features, worker, sample_weight):
        """Votes, features and the model for them."""
        self._check_parameters()
        features = None if item_features is None else ItemFeatures(item_features)
        items = None if features is None else features.items
        name = "items" if features is None else "item_features"
        votes = read_votes(pairs, y, worker, sample_weight, items, items_name=name)
        return votes, features, self._resolved_model(votes)

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
        if self.transform is not None:
            kind = "graded"
            flips = isinstance(self.selector, FlipShare)
            if flips or (isinstance(self.selector, str) and self.selector == "flips"):
                raise ValueError(
                    f"selector={self.selector!r} is for votes of -1 and +1, of which "
                    f"transform={self.transform!r} makes graded values, one for each "
                    "pair; use 'sigma', 'gap', VoteShare(0.2), or transform=None."
                )
        return get_vote_selector(
            self.selector, model=model, method=self.method, kind=kind
        )

    def _pose(self, votes, features):
        table = None if features is None else features.only(votes.items)
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
        )

    def _question(self):
        """The votes as a problem, which is not kept with the estimator on disk."""
        if not hasattr(self, "_posed"):
            self._posed = self._asked._pose(self.votes_, self._features)
        return self._posed

    def __getstate__(self):
        # What follows from the votes is made again when it is needed.
        state = super().__getstate__()
        derived = ("_posed", "_inference")
        return {name: value for name, value in state.items() if name not in derived}

    def _report(self, rule, path, question, features, asked):
        problem, votes = question.problem, question.votes
        path, selection = choose_point(rule, path, question)
        found = estimate_scores(question, path, selection, self.estimate, self.ridge)
        distrusted = question.distrusted(path, selection.knot)
        if question.transform is None:
            order = path.vote_order()
        else:
            order = np.argsort(-question.strength(path, found.coef), kind="stable")
        flips, workers = _noise(
            question, path, selection.knot, distrusted, self.position_bias
        )
        for caution in (selection.message if selection.fallback else "", found.caution):
            if caution:
                warnings.warn(caution, UserWarning, stacklevel=3)

        # Nothing has changed so far: a fit that fails leaves the last one as it was.
        self._posed, self._found, self._inference = question, found, None
        self._asked, self._features = asked, features
        self.votes_, self.items_, self.model_ = votes, votes.items, path.model
        self.classes_ = np.array([-1, 1])
        self.path_, self.selection_, self.n_iter_ = path, selection, path.n_iter
        self.scores_ = problem.scores(found.coef)
        self.components_ = problem.components
        self.n_components_ = int(problem.components.max()) + 1
        self.coef_ = None
        if features is not None:
            self.coef_ = found.coef[: len(found.coef) - problem.n_extra]
        self.position_bias_ = _position_bias(found.coef, problem, votes)
        self.mixture_ = found.mixture
        self.outlier_votes_, self.vote_order_ = distrusted, order
        self.flip_rate_, self.worker_reliability_ = flips, workers
        if features is not None and features.names is not None:
            self.feature_names_in_ = np.array(features.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.ranking_ = self.rank()

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
        check_is_fitted(self)
        votes, counts = self.votes_, self.votes_.item_votes
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
        none = np.zeros(len(scores), dtype=np.intp)
        places = np.arange(len(scores))
        frame = rank_frame(places, component, scores, none, none, component)
        places = frame["item"].to_numpy()
        frame["item"], frame["votes"] = labels[places], counts[places]
        return frame.drop(columns=["low", "high"])

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


def _noise(question, path, knot, distrusted, position_bias):
    """Flip rate and reliability of workers, by the scores of the path."""
    votes, problem = question.votes, question.problem
    weight = np.ones(votes.n_votes) if votes.weight is None else votes.weight
    coef, flips = path.at(knot).coef, None
    soft = path.method == "l1" and votes.is_binary
    if soft and ((votes.y != 0) & (weight > 0)).any():
        counted = weight
        if question.transform is None:
            counted = weight * ~votes_of_one_side(problem)
        if counted.any():
            eta = question.eta(coef)
            flips = flip_rate(eta, votes.y, counted, n_scores=problem.rank)
    if votes.worker_codes is None:
        return flips, None
    # A bias of each worker would explain away who clicks one side.
    eta = problem.eta_of(coef, votes.pairs)
    if position_bias is True:
        eta = eta + coef[-1]
    codes, n_workers = votes.worker_codes, len(votes.workers)
    frame = worker_reliability(eta, votes.y, votes.workers[codes], votes.weight)
    total = np.bincount(codes, weight, n_workers)
    with np.errstate(invalid="ignore"):
        frame["distrusted"] = np.bincount(codes, weight * distrusted, n_workers) / total
    return flips, frame


def _position_bias(coef, problem, votes):
    import pandas as pd

    if not problem.n_extra:
        return None
    bias = coef[-problem.n_extra :]
    if problem.feature_names[-1] == "position":
        return float(bias[0])
    return pd.Series(bias, index=pd.Index(votes.workers, name="worker"))
