"""From votes to rows of a comparison problem, and from judged rows back to votes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse, special

from .._path_checks import check_choice
from ..comparison_problem import ComparisonProblem
from ..win_proportions import TRANSFORMS, flow_to_probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..vote_path import VotePath
    from ..votes import VoteTable
    from ._item_features import ItemFeatures

# Columns of position biases that one dense matrix has room for.
_MAX_BIASES = 5000


@dataclass(frozen=True, eq=False)
class VoteQuestion:
    """Votes and model, as rows that a path judges.

    A row is a vote; with a `transform` of proportions of wins it is a pair of items,
    which stands for all votes about it.

    Attributes
    ----------
    votes : VoteTable
    problem : ComparisonProblem
    kind : {"binary", "ties", "graded"}
        Of the targets of the rows.
    clusters : ndarray of int of shape (n_rows,) or None
        Whose errors may depend on each other: workers, or pairs. None: nobody's.
    vote_row, vote_side : ndarray of shape (n_votes,) or None
        With a transform, the row of each vote, and 1 if the vote is for the first item
        of that row, -1 if it is against it, 0 for ties.
    """

    votes: VoteTable
    problem: ComparisonProblem
    kind: str
    clusters: NDArray[np.intp] | None
    transform: str | None = None
    vote_row: NDArray[np.intp] | None = None
    vote_side: NDArray[np.float64] | None = None

    @classmethod
    def pose(
        cls,
        votes: VoteTable,
        features: ItemFeatures | None,
        position_bias: Any,
        transform: str | None,
    ) -> VoteQuestion:
        """Describe votes as a problem.

        Raises
        ------
        ValueError
            If the options do not fit the votes, or the votes cannot be ranked.
        """
        if transform is not None:
            return cls._of_pairs(votes, features, position_bias, transform)
        extra, names = _position_columns(votes, position_bias)
        problem = ComparisonProblem(
            votes.pairs,
            votes.y,
            votes.n_items,
            sample_weight=votes.weight,
            **_columns(features),
            extra=extra,
            extra_names=names,
        )
        _check_positions(votes, problem, position_bias)
        return cls(votes, problem, votes.kind, votes.worker_codes)

    @classmethod
    def _of_pairs(cls, votes, features, position_bias, transform):
        check_choice("transform", transform, TRANSFORMS)
        if not votes.is_binary:
            raise ValueError(
                f"transform={transform!r} turns proportions of wins into differences "
                "of scores, but y is graded; use transform=None, or y=np.sign(y)."
            )
        if position_bias is not False:
            raise ValueError(
                f"position_bias={position_bias!r} cannot be estimated with transform="
                f"{transform!r}: proportions of wins forget who was shown first. Use "
                "transform=None."
            )
        found = votes.win_proportions()
        flow, count = found.flows(transform)
        # A pair is one observation, whose precision is the number of its votes.
        weight = count / count.mean()
        try:
            problem = ComparisonProblem(
                found.pairs,
                flow,
                votes.n_items,
                sample_weight=weight,
                **_columns(features),
                row_factor=1 / np.sqrt(weight),
            )
        except ValueError as error:
            raise ValueError(
                f"transform={transform!r} makes one value for each pair of items, and "
                f"these are the votes here: {error}"
            ) from error
        problem.of_pairs = True
        first, second = votes.pairs.T
        n = np.int64(votes.n_items)
        keys = found.pairs[:, 0] * n + found.pairs[:, 1]
        wanted = np.minimum(first, second) * n + np.maximum(first, second)
        row = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        row[keys[row] != wanted] = -1  # votes of weight 0 alone are about the pair
        side = np.where(first < second, np.sign(votes.y), -np.sign(votes.y))
        clusters = np.arange(len(keys))
        return cls(votes, problem, "graded", clusters, transform, row, side)

    def distrusted(self, path: VotePath, knot: float) -> NDArray[np.bool_]:
        """Votes that are shifted at a point of the path, (n_votes,).

        Of a pair that is shifted: the votes on the side of the shift, unless the scores
        are on the same side.
        """
        mask = path.outliers(knot)
        if self.vote_row is None or self.vote_side is None:
            return mask
        point = path.at(knot)
        sign = np.sign(self.problem.residuals(point.coef, point.intercept))
        row = self.vote_row
        pulls = (row >= 0) & mask[row] & (sign[row] * self.vote_side > 0)
        return pulls & (self.eta(point.coef) * self.votes.y < 0)

    def strength(
        self, path: VotePath, coef: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How suspicious each vote is; larger is more, (n_votes,).

        Its entry to the path; with a transform, how far the scores contradict it.
        """
        if self.transform is None:
            return path.strength()
        return -np.sign(self.votes.y) * self.eta(coef)

    def eta(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fitted margin of each vote: scores and position bias, (n_votes,)."""
        if self.transform is None:
            return self.problem.eta(coef)
        return self.problem.eta_of(coef, self.votes.pairs)

    def probability(
        self, margin: NDArray[np.float64], model: str, scale: float
    ) -> NDArray[np.float64]:
        """Probability that the first item is preferred, by the link of the model."""
        if model == "logistic":
            return special.expit(margin)
        if self.transform is not None:
            return flow_to_probability(margin, self.transform)
        if self.kind != "graded":  # mean of +-1 votes
            return flow_to_probability(margin, "uniform")
        with np.errstate(divide="ignore", invalid="ignore"):
            z = margin / scale
        return np.where(margin == 0, 0.5, special.ndtr(z))


def _columns(features):
    if features is None:
        return {}
    return {"features": features.values, "feature_names": features.names}


def _check_positions(votes, problem, position_bias):
    if position_bias is False or problem.features is not None:
        return
    open_items = problem.undetermined_columns
    open_items = open_items[open_items < problem.n_items]
    if len(open_items):
        names = [votes.items[k].tolist() for k in open_items[:5]]
        raise ValueError(
            f"position_bias={position_bias!r}: {len(open_items)} items, among them "
            f"{names}, were shown in such positions that their scores cannot be told "
            "from the bias (some always first, the others always second). Use "
            "position_bias=False."
        )


def _position_columns(votes, position_bias):
    """Columns of position biases and their names, or None twice."""
    if position_bias is False:
        return None, None
    if position_bias is not True and position_bias != "worker":
        raise ValueError(
            f"position_bias={position_bias!r} must be False, True (one bias to the "
            "first position) or 'worker' (one for each worker)."
        )
    decided = votes.y[votes.y != 0]
    if len(decided) and (np.sign(decided) == np.sign(decided[0])).all():
        side = "first" if decided[0] > 0 else "second"
        raise ValueError(
            f"position_bias={position_bias!r}: all votes are for the {side} item of "
            "their pair, so that positions are those of winner and loser, and no bias "
            "can be told from that. Use position_bias=False."
        )
    n = votes.n_votes
    if position_bias is True:
        return np.ones((n, 1)), ("position",)
    if votes.worker_codes is None:
        raise ValueError(
            "position_bias='worker' needs to know who voted; give worker, or use "
            "position_bias=True for one bias of all votes."
        )
    count = len(votes.workers)
    if count > _MAX_BIASES:
        raise ValueError(
            f"position_bias='worker' is for at most {_MAX_BIASES} workers, but there "
            f"are {count}; use position_bias=True, or leave out workers with few votes."
        )
    columns = sparse.csr_array(
        (np.ones(n), votes.worker_codes, np.arange(n + 1)), shape=(n, count)
    )
    return columns, tuple(f"position[{worker}]" for worker in votes.workers)
