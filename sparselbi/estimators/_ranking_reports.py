"""What a fitted ranking says about itself: intervals, bootstrap, votes, cycles."""

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from ..hodge import hodge_decomposition
from ._coefficient_inference import check_level
from ._ranking_inference import RankingInference, worker_bootstrap
from ._vote_estimates import choose_point, estimate_scores
from ._vote_question import VoteQuestion

# Knots of a path of the bootstrap: errors change by less than 1 % from there on.
_DRAWN_KNOTS = 30


class RankingReports:
    """Methods of `PairwiseRanker` that look at a fit and change nothing."""

    votes_: Any
    items_: Any
    ranking_: Any
    components_: Any
    coef_: Any
    position_bias_: Any
    path_: Any
    vote_order_: Any
    outlier_votes_: Any
    _asked: Any
    _features: Any
    _found: Any
    _question: Any

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
            ``high``; NaN across components, and where votes show no error.

        Raises
        ------
        ValueError
            If votes were left out because they disagree ("refit", "iss", "lbi",
            "hard"): such standard errors would be wrong; use `bootstrap`. If there is
            one worker only.
        """
        import pandas as pd

        check_level(level)
        inference = self._needed_inference()
        if pairs is None:
            frame = self.ranking_
            same = frame["component"].to_numpy()
            codes = self.votes_.item_codes(frame["item"].to_numpy())
            codes = np.column_stack([codes[:-1], codes[1:]])[same[:-1] == same[1:]]
        else:
            codes = self.votes_.encode(pairs)
        value, error, df = inference.differences(codes)
        half = stats.t.ppf((1 + level) / 2, df) * error
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
            ``standard_error``, ``low``, ``high``. Errors are those of scores relative
            to the mean of the items of the component whose differences are known, NaN
            for others (items that one vote alone connects, for example), which a
            warning names.

        Raises
        ------
        ValueError
            As `score_differences`.
        """
        check_level(level)
        inference = self._needed_inference()
        frame = self.ranking_.drop(columns="votes")
        codes = self.votes_.item_codes(frame["item"].to_numpy())
        error, df = (values[codes] for values in inference.score_errors())
        half = stats.t.ppf((1 + level) / 2, df) * error
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
            One line for each: ``coef``, ``standard_error``, ``low``, ``high``. Those of
            the bias of each worker take the votes of a worker as independent. NaN for
            features that others (and a constant) explain; differences of scores are
            determined all the same.

        Raises
        ------
        ValueError
            As `score_differences`, or if there is neither.
        """
        import pandas as pd

        check_level(level)
        inference, problem = self._needed_inference(), self._question().problem
        if self.coef_ is None and not problem.n_extra:
            raise ValueError(
                "there are neither features nor position biases; intervals of scores "
                "are those of score_intervals and score_differences."
            )
        found = []
        if problem.n_extra:
            by_vote = inference
            if isinstance(self.position_bias_, pd.Series):
                # The votes of one worker do not tell how much they vary together.
                by_vote = self._new_inference(None)
            found = [by_vote.extra_errors()]
        if self.coef_ is not None:
            found.insert(0, inference.coef_errors())
        error, df = np.concatenate(found, axis=1)
        half = stats.t.ppf((1 + level) / 2, df) * error
        coef = self._found.coef[-len(error) :]
        names = list(problem.feature_names)
        if hasattr(self, "feature_names_in_"):
            names[: len(self.coef_)] = self.feature_names_in_
        return pd.DataFrame(
            {
                "coef": coef,
                "standard_error": error,
                "low": coef - half,
                "high": coef + half,
            },
            index=names[-len(error) :],
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

    def bootstrap(self, n_boot=200, random_state=None, n_jobs=None, kind="bayesian"):
        """Repeat fit and choice with random weights of the workers.

        Parameters
        ----------
        n_boot : int, default=200
        random_state : int, RandomState instance or None
        n_jobs : int or None
        kind : {"bayesian", "resample"}, default="bayesian"
            Exponential weights; or workers drawn with replacement, so that items may
            lose all votes that connect them (scores are NaN then). Without workers, the
            votes.

        Returns
        -------
        RankingBootstrap
            Scores of every draw, intervals, and how often each vote is distrusted.

        Raises
        ------
        ValueError
            If there is one worker only, or an argument is out of range.

        Notes
        -----
        Every draw traces a path and chooses a point as `fit` did, on 30 knots if
        `n_knots` is None.
        """
        check_is_fitted(self)
        votes = self.votes_
        table = None
        if self._features is not None:
            table = self._features.only(votes.items)
        # Without what has been fitted, which other processes cannot take over.
        refit = functools.partial(
            _refit, clone(self._asked), votes, table, self.components_
        )
        weight = votes.weight
        if weight is None and votes.worker_codes is None:
            weight = np.ones(votes.n_votes)
        return worker_bootstrap(
            refit,
            votes.worker_codes,
            n_boot,
            random_state,
            n_jobs,
            kind,
            # With features, scores are comparable across components.
            components=self.components_ if self.coef_ is None else None,
            items=self.items_,
            weight=weight,
        )

    @property
    def score_cov_(self):
        """Covariance of the scores (n_items, n_items), or None if there is none."""
        check_is_fitted(self)
        try:
            return self._needed_inference().cov
        except ValueError:  # score_differences says why
            return None

    def _needed_inference(self):
        check_is_fitted(self)
        found = self._found
        if found.pieces is None:
            raise ValueError(found.no_intervals)
        if getattr(self, "_inference", None) is None:
            question = self._question()
            used = slice(None)
            if self.votes_.weight is not None and question.transform is None:
                used = self.votes_.weight > 0
            clusters = question.clusters
            if clusters is not None and len(np.unique(clusters[used])) < 2:
                raise ValueError(
                    "all votes are by one worker, so that nothing tells how much "
                    "another one would differ; fit without worker if these votes are "
                    "independent of each other."
                )
            self._inference = self._new_inference(clusters)
            if self._inference.message:
                warnings.warn(self._inference.message, UserWarning, stacklevel=3)
        return self._inference

    def _new_inference(self, clusters):
        found = self._found
        return RankingInference(
            self._question().problem,
            found.coef,
            psi=found.pieces[0],
            curvature=found.pieces[1],
            clusters=clusters,
            border=found.border,
            items=self.items_,
        )

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
            ``item_1``, ``item_2``, ``y``, ``worker`` (if given), ``weight``, ``margin``
            (fitted), ``strength`` (its entry as a threshold; with a transform, how far
            the scores contradict the vote) and ``distrusted``; the index is the row of
            the vote.
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

    def hodge(self, max_paths=1e9):
        """Split the votes into a gradient (a ranking), curl and harmonic part.

        Parameters
        ----------
        max_paths : float, default=1e9
            See `sparselbi.hodge.hodge_decomposition`.

        Returns
        -------
        HodgeDecomposition
            Of all votes, without shifts; ``shares``, and ``triangles()``: the triples
            that contradict themselves most.
        """
        check_is_fitted(self)
        votes = self.votes_
        found = hodge_decomposition(
            votes.pairs,
            votes.y,
            votes.weight,
            n_items=votes.n_items,
            max_paths=max_paths,
        )
        return found.named(votes.items)


def _refit(ranker, votes, table, components, factor):
    """Scores and distrusted votes of the same votes with other weights.

    Scores of components that have fallen apart are NaN.
    """
    if ranker.n_knots is None:
        ranker = clone(ranker).set_params(n_knots=_DRAWN_KNOTS)
    weight = factor if votes.weight is None else votes.weight * factor
    drawn = dataclasses.replace(votes, weight=weight)
    options = ranker.position_bias, ranker.transform
    question = VoteQuestion.pose(drawn, table, *options)
    model = ranker._resolved_model(votes)
    rule = ranker._rule(model, votes.kind)
    path, selection = choose_point(rule, ranker._trace(question, model), question)
    found = estimate_scores(question, path, selection, ranker.estimate, ranker.ridge)
    scores = question.problem.scores(found.coef)
    if table is None and not (weight > 0).all():
        pieces = np.unique([components, question.problem.components], axis=1)[0]
        scores[np.bincount(pieces)[components] > 1] = np.nan
    return scores, question.distrusted(path, selection.knot)
