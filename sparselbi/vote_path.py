"""The path of a robust ranking: which votes are distrusted, and scores without them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ._comparison_graph import checked_pairs
from ._logistic_votes import logistic_residual
from ._pair_columns import item_scores
from ._vote_design import as_columns
from .path import read_only
from .shift_path import ShiftPath

if TYPE_CHECKING:
    import pandas as pd

    from .comparison_problem import ComparisonProblem

__all__ = ["VotePath"]

# Strengths that differ by this fraction are the same.
_SAME = 1e-10
# Votes that never enter have at most this share of the strength at the last knot, and
# at least that.
_BELOW, _LEAST = 1 - 1e-9, 1e-12


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class VotePath(ShiftPath):
    """A path of ``eta = score_first - score_second + extra @ bias`` with shifted votes.

    A `ShiftPath` whose rows are votes. In the linear model ``y = eta + shift + noise``,
    as there. In the logistic model ``P(y = 1) = sigmoid(eta + shift)``: thresholds are
    differences of probabilities, residuals are ``y01 - sigmoid(eta)`` with ``y01 = (1 +
    y) / 2``, shifts are log odds, ``deviance`` is twice the weighted loss that is left
    with the shifts. Coefficients are the scores of the items (or the coefficients of
    their features), then those of further columns.

    Attributes
    ----------
    model : {"linear", "logistic"}
    items : tuple
        Labels of the items.
    row_rest : ndarray of shape (n_votes,)
        Absolute residual over its factor at the last knot: what orders the votes that
        never enter.
    n_extra : int
        Number of further columns, the last coefficients.
    ridge : float
        Pseudo-votes of the logistic model, so many ties for every vote.
    features : {ndarray, CSR matrix} of shape (n_items, d) or None
        Features of the items, if scores are linear in them.
    """

    model: str
    items: tuple[Any, ...]
    row_rest: NDArray[np.float64]
    n_extra: int = 0
    ridge: float = 0.0
    features: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        labels = self.items
        labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
        object.__setattr__(self, "items", tuple(labels))
        rest = read_only(self.row_rest, np.float64)
        object.__setattr__(self, "row_rest", rest)
        if isinstance(self.features, np.ndarray):
            object.__setattr__(self, "features", read_only(self.features))
        if self.row_rest.shape != (self.n_rows,):
            raise ValueError(
                f"row_rest has shape {self.row_rest.shape} for {self.n_rows} votes."
            )
        width = self.n_items if self.features is None else self.features.shape[1]
        if width + self.n_extra != self.n_features:
            raise ValueError(
                f"{self.n_features} coefficients do not fit to {self.n_items} items, "
                f"features {None if self.features is None else self.features.shape} "
                f"and n_extra={self.n_extra}."
            )

    # ------------------------------------------------------------------------- items

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    def scores_at(self, knot: ArrayLike) -> NDArray[np.float64]:
        """Gauge-fixed scores at a value of the threshold (or t).

        Parameters
        ----------
        knot : float or array-like of shape (m,)
            As in `at`.

        Returns
        -------
        ndarray of shape (n_items,) or (m, n_items)
            Summing to 0 in every component of the comparison graph, or over all items
            if they have features.
        """
        coefs = self.coefs_at(np.atleast_1d(knot))[0]
        scores = self._scores(coefs)
        return scores if np.ndim(knot) else scores[0]

    def _scores(self, coefs):
        inner = coefs[:, : self.n_features - self.n_extra]
        if self.features is None:
            return inner
        scores = item_scores(self.features, inner.T).T
        return scores - scores.mean(axis=1, keepdims=True)

    # ------------------------------------------------------------------------- votes

    @property
    def n_votes(self) -> int:
        """Number of votes, those of weight 0 included."""
        return self.n_rows

    @cached_property
    def _strength(self) -> NDArray[np.float64]:
        entered = ~np.isnan(self.row_entry)
        strength = self.entry_strength()
        found = strength[entered]
        last = float(self.knots[-1])
        end = 1 / last if self.knot_name == "t" and last > 0 else last
        end = min(end, found.min(initial=np.inf))
        if end == 0:  # everything that can enter has done so
            end = _SAME * found[found > 0].min(initial=1.0)
        rest = self.row_rest[~entered]
        largest = rest.max(initial=0.0)
        share = min(1.0, _BELOW * end / largest) if largest > 0 else 1.0
        strength[~entered] = np.maximum(share * rest, _LEAST * end)
        if self.row_factor is not None:
            strength[np.isinf(self.row_factor)] = 0.0
        # The same strength up to rounding is the same strength.
        order = np.argsort(-strength, kind="stable")
        falling = strength[order]
        leads = np.append(True, falling[:-1] - falling[1:] > _SAME * falling[:-1])
        first = np.maximum.accumulate(np.where(leads, np.arange(len(order)), 0))
        strength[order] = falling[first]
        return strength

    def strength(self) -> NDArray[np.float64]:
        """How much every vote is to be distrusted, (n_votes,).

        `entry_strength` of the votes that enter. The others are below all of these, in
        the order of `row_rest`, so that all votes are ordered; 0 for votes that are
        never shifted (bridges).
        """
        return self._strength.copy()

    def vote_order(self, k: int | None = None) -> NDArray[np.intp]:
        """All votes, most distrusted first, the first `k` of them.

        By `strength`: those that enter in the order of their entries, then the others
        by what is left of them at the last knot. Ties are broken by the row number.
        """
        return np.argsort(-self._strength, kind="stable")[:k]

    # --------------------------------------------------------------------- with votes

    def _eta(self, X: Any, coefs: NDArray[Any], intercepts: NDArray[Any]) -> Any:
        if hasattr(X, "eta_of"):
            return X.eta(self._dense(coefs))
        first, second = self._codes(X).T
        inner = self._dense(coefs)[:, : self.n_features - self.n_extra]
        scores = inner
        if self.features is not None:
            scores = item_scores(self.features, inner.T).T
        return scores[:, first] - scores[:, second]

    def _codes(self, pairs):
        """Numbers of the items of pairs of labels, (m, 2)."""
        pairs = np.asarray(pairs)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(
                f"pairs has shape {pairs.shape}; it needs two items for each vote, "
                "(n_votes, 2), or give the ComparisonProblem."
            )
        try:
            codes = [self._code[label] for label in pairs.ravel().tolist()]
        except KeyError as error:
            raise ValueError(
                f"pairs contains the item {error.args[0]!r}, which is none of the "
                f"{self.n_items} items of the path."
            ) from None
        return np.array(codes, dtype=np.intp).reshape(-1, 2)

    @cached_property
    def _code(self) -> dict[Any, int]:
        return {label: code for code, label in enumerate(self.items)}

    def linear_predictor(
        self, X: Any, knot: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Compute ``eta`` along the path.

        Parameters
        ----------
        X : array-like of shape (m, 2) or ComparisonProblem
            Pairs of labels, for which the further columns are 0; or the votes with all
            their columns.
        knot : float, array-like of shape (k,) or None
            Values of the threshold (or t) as in `at`; None stands for all knots.

        Returns
        -------
        ndarray of shape (n_knots or k, m)
            Without the first axis if `knot` is one number.
        """
        return super().linear_predictor(X, knot)

    def residuals(  # type: ignore[override]
        self, X: Any, y: ArrayLike | None = None, knot: Any = None, *, extra: Any = None
    ) -> NDArray[np.float64]:
        """Residuals of the votes at a value of the threshold (or t).

        Parameters
        ----------
        X : array-like of shape (n_votes, 2) or ComparisonProblem
            Pairs of labels of the votes that the path was traced on, or the problem.
        y : array-like of shape (n_votes,) or None
            Not needed with the problem.
        knot : float
            As in `at`.
        extra : {array-like, sparse matrix} of shape (n_votes, n_extra) or None
            Further columns, if the path has some; not needed with the problem.

        Returns
        -------
        ndarray of shape (n_votes,)
            ``y - eta``, or ``y01 - sigmoid(eta)`` in the logistic model.
        """
        eta, votes = self._eta_and_y(X, y, knot, extra)
        return residuals_of(eta, votes, self.model)

    def shifts(  # type: ignore[override]
        self, X: Any, y: ArrayLike | None = None, knot: Any = None, *, extra: Any = None
    ) -> NDArray[np.float64]:
        """Shifts of the votes at a value of the threshold (or t).

        Parameters
        ----------
        X, y, knot, extra
            As in `residuals`.

        Returns
        -------
        ndarray of shape (n_votes,)
            What is added to eta: 0 for votes that are not shifted. In the logistic
            model a shifted vote keeps the residual ``threshold * row_factor``.
        """
        eta, votes = self._eta_and_y(X, y, knot, extra)
        if self.model == "linear":
            return self._shifts(votes - eta, knot)
        mask = self.outliers(knot)
        shift, eta, votes = np.zeros(self.n_rows), eta[mask], votes[mask]
        factor = 1.0 if self.row_factor is None else self.row_factor[mask]
        sign = np.sign(residuals_of(eta, votes, self.model))
        kept = special.logit((1 + votes) / 2 - sign * knot * factor) - eta
        shift[mask] = np.where(sign * kept > 0, kept, 0.0)  # at its event it is 0
        return shift

    def shifts_of(self, problem: Any, knot: float) -> NDArray[np.float64]:
        """As `shifts`, of a `ComparisonProblem`."""
        return self.shifts(problem, knot=knot)

    def _eta_and_y(self, X, y, knot, extra):
        if knot is None:
            raise ValueError("knot is missing: give a value of the threshold (or t).")
        problem = self._votes(X, y, None, extra)
        if isinstance(problem, tuple):
            pairs, y, columns = problem
            coef = self.at(float(knot)).coef
            scores = self._scores(coef[None])[0]
            eta = scores[pairs[:, 0]] - scores[pairs[:, 1]]
            if self.n_extra:
                eta = eta + columns @ coef[-self.n_extra :]
        else:
            eta, y = problem.eta(self.at(float(knot)).coef), problem.y
        if len(y) != self.n_rows:
            raise ValueError(
                f"y has {len(y)} votes, but the path was traced on {self.n_rows}."
            )
        return eta, y

    def _votes(self, X, y, sample_weight, extra):
        """The problem itself, or codes, votes and further columns."""
        if hasattr(X, "eta_of"):
            if y is not None or sample_weight is not None or extra is not None:
                raise ValueError(
                    "a ComparisonProblem comes with its votes: give no y, "
                    "sample_weight or extra beside it."
                )
            return X
        if y is None:
            raise ValueError("y is missing: the votes about these pairs.")
        pairs = self._codes(X)
        checked_pairs(pairs, self.n_items)
        columns = as_columns(extra, len(pairs))
        if columns.shape[1] != self.n_extra:
            raise ValueError(
                f"extra has {columns.shape[1]} columns, but the path was traced with "
                f"{self.n_extra}; give the same ones, or the ComparisonProblem."
            )
        y = np.asarray(y, dtype=np.float64)
        if y.shape != (len(pairs),):
            raise ValueError(f"y has shape {y.shape} for {len(pairs)} pairs.")
        return pairs, y, columns

    def _problem(  # type: ignore[override]
        self, X: Any, y: Any, sample_weight: Any, extra: Any = None
    ) -> ComparisonProblem:
        from .comparison_problem import ComparisonProblem

        found = self._votes(X, y, sample_weight, extra)
        if not isinstance(found, tuple):
            return found
        pairs, y, columns = found
        return ComparisonProblem(
            pairs,
            y,
            self.n_items,
            sample_weight=sample_weight,
            features=self.features,
            extra=columns if self.n_extra else None,
            row_factor=self.row_factor,
        )

    def refit(  # type: ignore[override]
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        extra: Any = None,
    ) -> VotePath:
        """Fit without the votes that are shifted at each knot.

        By least squares, or Bradley-Terry with the same ridge. Such fits are biased,
        since the votes that contradict them most are gone, and their naive standard
        errors are wrong.

        Parameters
        ----------
        X, y, extra
            As in `residuals`.
        sample_weight : array-like of shape (n_votes,) or None

        Returns
        -------
        VotePath
            Method ``"<method>+refit"``, with the same knots, constant in between.

        Raises
        ------
        ValueError
            If the votes that are kept do not determine the scores.
        """
        from .solvers.vote_paths import refit_vote_path

        return refit_vote_path(self, self._problem(X, y, sample_weight, extra))

    def verify(  # type: ignore[override]
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        extra: Any = None,
    ) -> pd.DataFrame:
        """Check the optimality of every knot from the votes alone.

        Parameters
        ----------
        X, y, extra
            As in `residuals`.
        sample_weight : array-like of shape (n_votes,) or None

        Returns
        -------
        pandas.DataFrame
            One row per knot, see `sparselbi.solvers.vote_paths.verify_vote_path`.
        """
        from .solvers.vote_paths import verify_vote_path

        return verify_vote_path(self, self._problem(X, y, sample_weight, extra))

    def stability(self, *args: Any, **options: Any) -> Any:
        """Not defined here: halves of the votes have other votes."""
        raise NotImplementedError(
            "stability selection draws halves of the rows, and here the rows are the "
            "votes that are selected; for the uncertainty of a ranking use "
            "PairwiseRanker.bootstrap."
        )

    # ------------------------------------------------------------------------- views

    def __repr__(self) -> str:
        return (
            f"VotePath(model={self.model!r}, method={self.method!r}, {self.n_votes} "
            f"votes on {self.n_items} items, {len(self)} knots with {self._range()}, "
            f"first votes: {self._order_text or 'none'}, status={self.status!r})"
        )


def residuals_of(
    eta: NDArray[np.float64], y: NDArray[np.float64], model: str
) -> NDArray[np.float64]:
    """Residuals of votes: ``y - eta``, or ``y01 - sigmoid(eta)``.

    Parameters
    ----------
    eta, y : ndarray of shape (n_votes,)
    model : {"linear", "logistic"}
    """
    if model == "linear":
        return y - eta
    return logistic_residual(eta, y)
