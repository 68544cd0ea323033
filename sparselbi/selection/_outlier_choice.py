"""What the rules about outliers have in common: how a choice becomes a selection."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .._shift_checks import check_same_rows
from .base import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem

# Residuals below this fraction of the largest threshold are rounding.
ROUNDING = 1e-11
# Thresholds that differ by this fraction are the same.
EQUAL = 1e-12
# Scores, and gaps, that differ by this fraction are the same.
SAME = 1e-9


class Choice:
    """What a rule has found out so far, and the selection that it becomes.

    Given the problem, rows of weight 0 are not among the ``n_shifted`` rows.
    """

    def __init__(self, path: ShiftPath, rule: str, problem: ShiftProblem | None = None):
        self.path, self.rule = path, rule
        self._used = used_rows(path, problem)
        self.scores = np.full(len(path), np.nan)
        self.quantities: dict[str, Any] = {}
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def add(self, **quantities: Any) -> None:
        self.quantities |= quantities

    def is_perfect(self, problem: ShiftProblem | None) -> bool:
        """Whether least squares leaves nothing, so that nothing can be shifted."""
        path = self.path
        rounding = 0.0
        if problem is not None:
            rounding = float(np.sum(problem.design.rounding**2))
        if (
            path.threshold_max > 0
            and path.status != "null"
            and deviances(path)[0] > rounding
        ):
            return False
        self.note("Least squares fits all rows: the scale is 0 and no row is shifted.")
        return True

    def at_start(self, fallback: bool = False, **quantities: Any) -> Selection:
        return self.at_index(0, fallback, **quantities)

    def at_index(self, k: int, fallback: bool = False, **quantities: Any) -> Selection:
        self.add(**quantities)
        return self._done(float(self.path.knots[k]), k, fallback)

    def index_of(self, threshold: float) -> int:
        """The last knot that is reached at a threshold."""
        reached = self.path.knots >= threshold * (1 - EQUAL)
        return max(int(np.count_nonzero(reached)) - 1, 0)

    def at_threshold(self, threshold: float, scale: float, rule: str) -> Selection:
        """The point at ``cut * scale``."""
        self.add(scale=float(scale), scale_rule=rule, threshold=float(threshold))
        floor = ROUNDING * self.path.threshold_max
        if threshold <= floor:
            self.add(scale=0.0, threshold=0.0)
            self.note(
                "The scale is 0: enough rows are fitted exactly for that. All that are "
                "not, beyond rounding, are outliers."
            )
            if self.path.knots[-1] <= floor:
                return self.at_value(floor)
            return self.at_index(len(self.path) - 1)
        last = float(self.path.knots[-1])
        if threshold < last * (1 - 1e-10) and not self.path.is_complete:
            return self.at_end()
        return self.at_value(threshold)

    def at_end(self, **quantities: Any) -> Selection:
        """The last knot, because the rule asks for more."""
        self.note(
            f"The path ends at {self.path.knot_name} {self.path.knots[-1]:.6g} (status "
            f"{self.path.status!r}), before the cut of this rule is reached: the last "
            "knot is reported. Allow more outliers (max_outliers), or there are too "
            "many of them."
        )
        return self.at_index(len(self.path) - 1, True, **quantities)

    def at_value(self, threshold: float) -> Selection:
        """The point at a threshold within the range of the path, or above it."""
        path = self.path
        index = self.index_of(threshold)
        near = path.knots[index]
        if abs(near - threshold) <= EQUAL * threshold:
            threshold = near
        if path.interpolation == "constant" and threshold < near:
            self.add(threshold_of_fit=float(near))
        return self._done(float(threshold), index, False)

    def _done(self, knot, index, fallback):
        n_shifted = int(np.count_nonzero(self.path.outliers(knot) & self._used))
        return Selection(
            rule=self.rule,
            knot=knot,
            index=index,
            scores=self.scores,
            quantities={"n_shifted": n_shifted, **self.quantities},
            message=" ".join(self.notes),
            fallback=fallback,
        )


def best(scores: NDArray[np.float64], size: NDArray[np.float64]) -> int:
    """Of the smallest scores, but for rounding, the first with fewest shifted rows."""
    best = np.flatnonzero(np.isclose(scores, np.nanmin(scores), rtol=SAME, atol=0))
    return int(best[np.argmin(size[best])])


def n_outputs(path: ShiftPath) -> int:
    return int(np.prod(path.coef_shape[:-1], dtype=int))


def residual_df(path: ShiftPath) -> float:
    return float(path.n_samples - path.rank)


def sizes(path: ShiftPath) -> NDArray[np.float64]:
    """Weight of the shifted rows at the knots."""
    return np.asarray(path.info["n_shifted"], dtype=np.float64)


def deviances(path: ShiftPath) -> NDArray[np.float64]:
    """Sums of squares that coefficients and shifts leave at the knots."""
    assert path.deviance is not None
    return path.deviance


def used_rows(path: ShiftPath, problem: ShiftProblem | None) -> NDArray[np.bool_]:
    """Rows of positive weight, (n_rows,); without a problem all of them."""
    if problem is None or problem.sample_weight is None:
        return np.ones(path.n_rows, dtype=bool)
    return np.asarray(problem.sample_weight > 0)


def own_knots(path: ShiftPath, problem: ShiftProblem | None) -> NDArray[np.bool_]:
    """Knots that a path would have without rows of weight 0, (n_knots,).

    Exact paths have knots at their events, too. The last knot always counts.
    """
    own = np.ones(len(path), dtype=bool)
    used = used_rows(path, problem)
    if path.method not in ("l1", "iss") or used.all():
        return own
    # Events at each knot, up to rounding, and those of rows that are used.
    clock, at = path._clock, path._direction * path.row_events["at"]
    width = EQUAL * np.abs(clock)
    first = np.searchsorted(at, clock - width, side="left")
    end = np.searchsorted(at, clock + width, side="right")
    count = np.append(0, np.cumsum(used[path.row_events["row"]]))
    own[:-1] = ((first == end) | (count[end] > count[first]))[:-1]
    return own


def needed(problem: ShiftProblem | None, rule: object) -> ShiftProblem:
    if problem is None:
        raise ValueError(
            f"{rule} needs the data: call select(path, problem) with the ShiftProblem "
            "that the path was traced on."
        )
    return problem


def check(path: Any, problem: ShiftProblem | None) -> None:
    if not hasattr(path, "row_events"):
        raise ValueError(
            f"path is a {type(path).__name__}; rules about outliers need a ShiftPath, "
            "from huber_path, hard_path, shift_iss_path or shift_lbi_path."
        )
    if problem is not None:
        check_same_rows(path, problem)


def is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
