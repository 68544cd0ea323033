"""The question of robust ranking: which votes do scores of the items not explain?"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ._comparison_graph import checked_pairs
from ._graph_design import GraphDesign
from ._pair_columns import as_features, feature_differences, item_moments, item_scores
from ._shift_design import DenseDesign
from ._vote_design import as_columns, incidence, to_dense
from .problem import check_weight
from .shift_problem import (
    ALONE,
    IN_MEMORY,
    IN_MEMORY_EXACT,
    ShiftProblem,
    column_names,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ._comparison_graph import ComparisonGraph
    from ._shift_design import Design

__all__ = ["ComparisonProblem"]

# Votes times squared rank: what an exact path costs, about 1e-8 s each.
_EXACT_WORK = 5e8
# Votes whose residual is at most that in units of y, whatever the votes are.
_SILENT = 1e-7
# Coefficients that move by such a share along a direction nobody votes about.
_MOVES = 1e-8
# Differences of features that are formed at a time.
_NUMBERS = 1 << 20


class ComparisonProblem(ShiftProblem):
    """Votes about pairs of items, and scores that explain most of them.

    ``y = score_first - score_second + extra @ bias + shift + noise`` with one shift per
    vote, 0 for most of them; ``scores = features @ coef`` if the items have features.
    Along a path over the threshold it minimizes ``sum_e w_e [(y_e - eta_e - shift_e)^2
    / 2 + threshold v_e |shift_e|]``, or the logistic loss of votes in {-1, 0, 1}. All
    that works on a `ShiftProblem` works on this one.

    Parameters
    ----------
    pairs : array-like of int of shape (n_votes, 2)
        Codes of the first and the second item, in [0, n_items).
    y : array-like of shape (n_votes,)
        Positive: the first one is preferred.
    n_items : int
    sample_weight : array-like of shape (n_votes,), default=None
        Weight w means w repeated votes. Votes of weight 0 take no part in the fit, nor
        in the graph, and are judged as new ones.
    features : {array-like, sparse matrix, data frame} of shape (n_items, d)
        Of the items, or None. Scores are linear in them, hence comparable across
        components. float32 and sparse ones (as CSR) stay what they are.
    feature_names : sequence of str, default=None
        Of the features; None: the columns of a data frame, or numbers.
    extra : {array-like, sparse matrix} of shape (n_votes, n_extra), default=None
        Further unpenalized columns: ones are a bias to the first side, indicators of
        the workers a bias of each of them.
    extra_names : sequence of str, default=None
    row_factor : None, "leverage" or array-like of shape (n_votes,), default=None
        Factors v of the threshold, as in `ShiftProblem`.
    dense : {"auto", True, False}, default="auto"
        Whether orthonormal coordinates of the votes are kept in memory, n_votes * rank
        numbers, which exact paths need. "auto": up to 4e6 of them (32 MB) and n_votes *
        rank^2 = 5e8, so that an exact path takes seconds; beyond, sweeps over the graph
        are much faster.

    Attributes
    ----------
    design : Design
        The votes in coordinates.
    vote_design : Design
        Those that know the graph and have no dense rows: of the logistic model.
    graph : ComparisonGraph
        Of the votes with a positive weight.
    components : ndarray of int of shape (n_items,)
        Numbers of the connected components of the graph.
    n_samples, n_items, n_extra, n_features, n_outputs : int
        Coefficients are the scores (or those of the features), then those of `extra`.
    rank : int
        ``n_items`` minus the number of components, and what `extra` adds; with features
        that of their differences. From the graph, not from rounded numbers.
    total_weight, df : float
        Sum of the weights, and that minus `rank`.
    row_factor : ndarray of shape (n_votes,)
        Infinite for votes of leverage 1: bridges, the only votes between two parts of
        the items, say nothing about themselves.
    feature_names : tuple of str

    Raises
    ------
    ValueError
        If an argument has a wrong shape, is not finite or negative, an item is compared
        with itself or out of range, or no vote can be checked by the others.

    Notes
    -----
    Scores are gauge-fixed: they sum to 0 in every component, or over all items if there
    are features, with and without `extra`, in memory or not. See
    `undetermined_columns` for coefficients that the votes leave open.
    """

    # Whether a row is a pair, whose value is made of all votes about it.
    of_pairs = False

    def __init__(
        self,
        pairs: ArrayLike,
        y: ArrayLike,
        n_items: int,
        *,
        sample_weight: ArrayLike | None = None,
        features: Any = None,
        feature_names: Any = None,
        extra: Any = None,
        extra_names: Any = None,
        row_factor: Any = None,
        dense: Any = "auto",
    ):
        if not (dense == "auto" or isinstance(dense, bool)):
            raise ValueError(f"dense={dense!r} is unknown; use 'auto', True or False.")
        self.n_items = int(n_items)
        first, second = checked_pairs(pairs, self.n_items)
        self.pairs = np.stack([first, second], axis=1)
        self.n_samples = n = len(first)
        self.y = _as_votes(y, n)
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = check_weight(sample_weight, n).copy()
        self.features = None
        if features is not None:
            self.features = _as_features(features, self.n_items)
        self.extra = as_columns(extra, n)
        self.n_extra = self.extra.shape[1]
        width = 0 if self.features is None else self.features.shape[1]
        if feature_names is None and features is not None:
            feature_names = column_names(features)
        self._names_of_features = _checked_names("features", "x", feature_names, width)
        self._extra_names = _checked_names("extra", "extra", extra_names, self.n_extra)
        self.n_features = self.n_extra + (
            self.n_items if self.features is None else width
        )
        self.n_outputs, self.one_response = 1, True
        self.fit_intercept, self.classes = False, None
        self._row_factor, self._dense = row_factor, dense
        self._targets = self.y[:, None]

        used = n if self.sample_weight is None else np.count_nonzero(self.sample_weight)
        design = self.design
        self.rank = design.n_coords
        self.total_weight = design.total_weight
        self.df = self.total_weight - self.rank
        if used <= self.rank or not (self._used & ~self.alone).any():
            raise ValueError(
                f"pairs: none of the {used} vote(s) of positive weight on "
                f"{len(np.unique(self.pairs))} items can be checked by others: each "
                f"decides one of the {self.rank} coefficients alone. Robust ranking "
                "needs items that are compared several times or in cycles: collect "
                "more votes, or use fewer features or extra columns."
            )
        if self.df <= 1e-9 * self.total_weight:
            raise ValueError(
                f"sample_weight sums to {self.total_weight:g}, but the fit has "
                f"{self.rank} coefficients. A weight w stands for w repeated votes: "
                "rescale the weights so that they sum to the number of votes."
            )
        self.row_factor = self._factors(row_factor)
        if not (np.isfinite(self.row_factor) & self._used).any():
            raise ValueError(
                "row_factor is infinite for all votes that could be checked; nothing "
                "is left that could be shifted."
            )

    # -- designs -----------------------------------------------------------------------

    @cached_property
    def vote_design(self) -> Design:
        """The votes in coordinates of the graph, or of the features."""
        if self.features is None:
            return self._graph_design
        if self._keeps(self.n_features):
            return self._in_coordinates()
        from ._feature_design import FeatureDesign

        extra = self.extra if self.n_extra else None
        weight = self.sample_weight
        return FeatureDesign(self.pairs, self.y, weight, self.features, extra)

    @cached_property
    def design(self) -> Design:
        """The votes in coordinates; orthonormal ones in memory if that is cheap."""
        design = self.vote_design
        if design.dense or not self._keeps(design.n_coords):
            return design
        found = self._in_coordinates()
        if found.n_coords == design.n_coords:
            return found
        if self._dense is True:
            raise ValueError(
                "dense=True: rounding hides some of the votes in orthonormal "
                "coordinates, because the weights differ too much; use dense=False."
            )
        return design

    def _in_coordinates(self):
        if self.features is None:
            return _DenseVotes(self._graph_design)
        return DenseDesign(self._rows[:], self._targets, self.sample_weight, False)

    def _keeps(self, rank):
        """Whether orthonormal coordinates are kept in memory."""
        if self._dense != "auto":
            return self._dense
        n_numbers = self.n_samples * rank
        return n_numbers <= IN_MEMORY and n_numbers * rank <= _EXACT_WORK

    def in_memory(self) -> ComparisonProblem:
        """This problem with coordinates in memory, up to 2e7 numbers (160 MB).

        Raises
        ------
        ValueError
            If there are more, or ``dense=False``.
        """
        if self.design.dense:
            return self
        n_numbers = self.n_samples * self.rank
        if self._dense is False or n_numbers > IN_MEMORY_EXACT:
            raise ValueError(
                f"the coordinates of {self.n_samples} votes, {self.rank} of each, are "
                "not kept in memory; that needs dense=True (up to 2e7 numbers also "
                "dense='auto')."
            )
        view = copy.copy(self)
        view.__dict__["design"] = design = self._in_coordinates()
        view.rank = design.n_coords
        return view

    @cached_property
    def _graph_design(self) -> GraphDesign:
        extra = self.extra if self.n_extra and self.features is None else None
        weight, n_items = self.sample_weight, self.n_items
        return GraphDesign(self.pairs, self.y, weight, n_items, extra)

    @property
    def graph(self) -> ComparisonGraph:
        """Which items are compared."""
        return self._graph_design.graph

    @property
    def components(self) -> NDArray[np.intp]:
        """Numbers of the connected components, (n_items,)."""
        return self._graph_design.components

    # -- what the votes say nothing about ----------------------------------------------

    @cached_property
    def _used(self):
        weight = self.sample_weight
        return np.full(self.n_samples, True) if weight is None else weight > 0

    @cached_property
    def alone(self) -> NDArray[np.bool_]:
        """Votes of leverage 1, which no other vote can check, (n_votes,)."""
        design = self.design
        if design.dense:
            return self.leverage >= 1 - ALONE
        if self.features is None and not self.n_extra:
            return self._graph_design.bridges
        # Least squares leaves nothing of them, whatever the votes are.
        rng = np.random.default_rng(0)
        left = np.zeros(self.n_samples)
        for _ in range(2):
            votes = rng.standard_normal((self.n_samples, 1))
            for _ in range(2):  # the second time makes up for rounding
                votes -= self._fitted(votes)
            np.maximum(left, np.abs(votes[:, 0]), out=left)
        return self._used & (left <= _SILENT)

    def _fitted(self, votes):
        """Fitted values of least squares for other votes, (n_votes, 1)."""
        design = self.design
        zero, out = np.zeros((design.n_coords, 1)), np.empty_like(votes)

        def fit(rows, R, D):
            return votes[rows].copy()

        def read(rows, R, D):
            out[rows] = D

        design.sweep(read, zero, design.solve(design.sweep(fit, zero)))
        return out

    def _factors(self, spec):
        factor = super()._factors(spec)
        factor[self.alone] = np.inf
        return factor

    @cached_property
    def undetermined_columns(self) -> NDArray[np.intp]:
        """Coefficients that could be others without a change of any fitted vote.

        Indices into the coefficients; scores count only if more than their mean is
        open. Of all coefficients that fit equally well, those of features (and of
        `extra` beside features) are of least norm, and among the columns of `extra`
        beside scores those that others explain have coefficient 0.
        """
        if self.features is None:
            system = self._graph_design._system
            open_scores = np.zeros((self.n_items, 0))
            if self.n_extra:
                open_scores = self.graph.centred(system.open_scores.T).T
            directions = np.vstack([open_scores, system.open])
        else:
            eye = np.eye(self.rank)[:, :, None]
            coefs = self.design.to_coefs(eye)[0][:, 0].T  # (n_features, rank)
            basis = np.linalg.qr(coefs)[0]
            directions = np.eye(self.n_features) - basis @ basis.T
        size = np.abs(directions)
        if self.features is None:
            size = size / np.maximum(size.max(axis=0, initial=0.0), 1e-300)
        return np.flatnonzero((size > _MOVES).any(axis=1))

    # -- coefficients, and back --------------------------------------------------------

    @cached_property
    def feature_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the coefficients: numbers of items (or features), then `extra`."""
        if self.features is None:
            return tuple(map(str, range(self.n_items))) + self._extra_names
        return self._names_of_features + self._extra_names

    def scores(self, coef: ArrayLike) -> NDArray[np.float64]:
        """Gauge-fixed scores of the items, (..., n_items).

        Parameters
        ----------
        coef : array-like of shape (n_features,) or (k, n_features)
        """
        scores = self._free_scores(np.asarray(coef, dtype=np.float64))
        if self.features is None:
            return self.graph.centred(scores)
        return scores - scores.mean(axis=-1, keepdims=True)

    def _free_scores(self, coef):
        inner = coef[..., : self.n_features - self.n_extra]
        return inner if self.features is None else item_scores(self.features, inner.T).T

    def eta(self, coef: ArrayLike) -> NDArray[np.float64]:
        """Linear predictors of all votes, (n_votes,) or (k, n_votes)."""
        return self.eta_of(coef, self.pairs, self.extra if self.n_extra else None)

    def eta_of(
        self, coef: ArrayLike, pairs: ArrayLike, extra: Any = None
    ) -> NDArray[np.float64]:
        """Linear predictors of any votes.

        Parameters
        ----------
        coef : array-like of shape (n_features,) or (k, n_features)
        pairs : array-like of int of shape (m, 2)
            Codes of items.
        extra : {array-like, sparse matrix} of shape (m, n_extra) or None
            None: without the further columns.

        Returns
        -------
        ndarray of shape (m,) or (k, m)
        """
        coef = np.asarray(coef, dtype=np.float64)
        first, second = checked_pairs(pairs, self.n_items)
        scores = self._free_scores(coef)
        eta = scores.take(first, axis=-1)
        eta -= scores.take(second, axis=-1)
        if extra is not None:
            columns = as_columns(extra, len(first))
            eta += np.asarray(columns @ coef[..., -columns.shape[1] :].T).T
        return eta

    def residuals(self, coef: Any, intercept: Any = 0.0) -> NDArray[np.float64]:
        """Residuals ``y - eta`` of a fit, (n_votes,)."""
        coef = np.asarray(coef, dtype=np.float64).reshape(self.n_features)
        out = self.eta(coef)
        np.subtract(self.y, out, out=out)
        if np.any(intercept):
            out -= np.asarray(intercept).reshape(())
        return out

    def correlate(self, votes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``X' votes``, (n_features,), X being what coefficients multiply."""
        items = np.bincount(self.pairs[:, 0], votes, self.n_items).astype(np.float64)
        items -= np.bincount(self.pairs[:, 1], votes, self.n_items)
        if self.features is not None:
            items = item_moments(self.features, items)
        return np.concatenate([items, self.extra.T @ votes])

    def column_squares(self) -> NDArray[np.float64]:
        """Weighted sums of squares of the columns of X, (n_features,)."""
        n = self.n_samples
        weight = np.ones(n) if self.sample_weight is None else self.sample_weight
        if self.features is None:
            ends = self.pairs.ravel()
            squares: Any = np.bincount(ends, weight.repeat(2), self.n_items)
        else:
            squares = np.zeros(self.features.shape[1])
            step = max(1, _NUMBERS // len(squares))
            for start in range(0, n, step):
                some = slice(start, start + step)
                first, second = self.pairs[some].T
                difference = feature_differences(self.features, first, second)
                squares += weight[some] @ difference**2
        columns = self.extra
        if sparse.issparse(columns):
            columns = columns.copy()
            columns.data **= 2
        else:
            columns = columns**2
        return np.concatenate([squares, columns.T @ weight])

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """X (n_votes, n_features) and Y (n_votes, 1), dense copies."""
        X = self._rows[:]
        return to_dense(X), self._targets.copy()

    @cached_property
    def _rows(self):
        return _VoteRows(self)

    @property
    def _X(self):
        return self._rows

    # -- other problems ----------------------------------------------------------------

    def subset(self, rows: Any) -> ComparisonProblem:
        """The same question about some of the votes."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        factor, weight = self._row_factor, self.sample_weight
        if factor is not None and not isinstance(factor, str):
            factor = np.asarray(factor)[rows]
        return ComparisonProblem(
            self.pairs[rows],
            self.y[rows],
            self.n_items,
            sample_weight=None if weight is None else weight[rows],
            features=self.features,
            feature_names=self._names_of_features,
            extra=self.extra[rows] if self.n_extra else None,
            extra_names=self._extra_names,
            row_factor=factor,
            dense=self._dense,
        )

    def with_weight(self, sample_weight: ArrayLike | None) -> ComparisonProblem:
        """The same question about the same votes, with other weights."""
        return ComparisonProblem(
            self.pairs,
            self.y,
            self.n_items,
            sample_weight=sample_weight,
            features=self.features,
            feature_names=self._names_of_features,
            extra=self.extra if self.n_extra else None,
            extra_names=self._extra_names,
            row_factor=self._row_factor,
            dense=self._dense,
        )


class _DenseVotes(DenseDesign):
    """Votes in orthonormal coordinates, whose coefficients are those of the graph."""

    def __init__(self, design: GraphDesign):
        Z, Y = design.take(np.arange(design.n_samples))
        super().__init__(Z, Y, design.weight, False)
        self._design = design
        self.undetermined = design.undetermined  # type: ignore[assignment]
        if self.undetermined is not None:
            self.Z[self.undetermined] = 0.0

    def to_coefs(self, coords):
        inner, _ = super().to_coefs(coords)
        return self._design.to_coefs(np.swapaxes(inner, -1, -2))


class _VoteRows:
    """The rows that coefficients multiply; made when some of them are taken."""

    def __init__(self, problem: ComparisonProblem):
        self._problem = problem
        self.shape = problem.n_samples, problem.n_features
        self.ndim = 2

    def __getitem__(self, rows: Any) -> Any:
        """Rows as an array if there are features, or as a CSR matrix."""
        problem = self._problem
        pairs, extra = problem.pairs[rows], problem.extra[rows]
        if problem.features is not None:
            X = feature_differences(problem.features, pairs[:, 0], pairs[:, 1])
            return np.hstack([X, to_dense(extra)])
        X = incidence(pairs[:, 0], pairs[:, 1], problem.n_items)
        return sparse.hstack([X, sparse.csr_array(extra)], format="csr")


def _as_votes(y, n):
    votes = np.asarray(y)
    if votes.shape != (n,) or votes.dtype.kind not in "biuf":
        raise ValueError(
            f"y has shape {votes.shape} and type {votes.dtype}; it needs one number "
            f"for each of the {n} votes: positive if the first item is preferred."
        )
    return votes.astype(np.float64)


def _as_features(features, n_items):
    X = as_features(features)
    if X.shape[0] != n_items:
        raise ValueError(
            f"features has shape {X.shape}; it needs one row for each of the {n_items} "
            "items."
        )
    return X


def _checked_names(what, prefix, names, width):
    if names is None:
        return tuple(f"{prefix}{k}" for k in range(width))
    names = tuple(str(name) for name in names)
    if len(names) != width:
        name = {"features": "feature_names", "extra": "extra_names"}[what]
        raise ValueError(
            f"{name} has {len(names)} entries for {width} columns of {what}."
        )
    return names
