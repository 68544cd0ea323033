"""Where outliers end: choosing a point of a path of shifts.

Every rule records the estimate of the noise that it used. Rows of weight 0 have no say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy import special

from .._path_checks import check_choice
from ._clean_fits import BLOCK, squares
from ._outlier_choice import (
    EQUAL,
    ROUNDING,
    SAME,
    Choice,
    best,
    check,
    deviances,
    is_real,
    n_outputs,
    needed,
    own_knots,
    residual_df,
    sizes,
)
from .base import FixedKnot, Selection, Selector
from .scale_cut import ScaleCut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem

__all__ = [
    "OUTLIER_SELECTORS",
    "EntryGap",
    "OutlierCriterion",
    "ScaleCut",
    "TrimmedCV",
    "get_outlier_selector",
]

# A sum of squares below this fraction of that of least squares is a perfect fit.
_PERFECT = 1e-24
# Draws and level of the reference distribution of gaps, and extremes that are drawn.
_DRAWS = 2000
_LEVEL = 0.95
_EXTREMES = 512


@dataclasses.dataclass(frozen=True)
class OutlierCriterion:
    r"""Choose the knot with the smallest information criterion of She and Owen.

    .. math:: \mathrm{BIC}^* = m \log(RSS / m) + k (\log m + 1),

    and :math:`m \log(RSS / m) + 2 k` for AIC, where RSS is the sum of squares that
    coefficients and shifts leave, m is n minus the rank of the design, times the number
    of responses, and k is one more than the degrees of freedom of the shifts (for one
    response, the number of shifted rows). Knots with more than half of the rows shifted
    are not candidates; of equal scores the one with fewer shifted rows wins.

    Parameters
    ----------
    name : {"bic", "aic"}, default="bic"

    Notes
    -----
    Everything is stored on the path. On "hard", "iss" and "lbi" paths the degrees of
    freedom ignore that the rows were searched for (``path.df_kind``).

    References
    ----------
    Y. She, A. B. Owen (2011). Outlier detection using nonconvex penalized regression.
    JASA 106, 626-639.
    """

    name: str = "bic"

    def __post_init__(self) -> None:
        check_choice("name", self.name, ("bic", "aic"))

    def select(self, path: ShiftPath, problem: ShiftProblem | None = None) -> Selection:
        """Choose a knot of `path`; `problem` is not needed.

        Parameters
        ----------
        path : ShiftPath
        problem : ShiftProblem, optional

        Returns
        -------
        Selection
            With a score for every candidate.
        """
        check(path, problem)
        choice = Choice(path, self.name, problem)
        c = n_outputs(path)
        m, size, rss = residual_df(path) * c, sizes(path), deviances(path)
        if choice.is_perfect(problem):
            return choice.at_start(scale=0.0, scale_rule="least squares fits all rows")
        k = path.df - path.rank * c + 1
        allowed = (2 * size <= path.n_samples) & (size <= residual_df(path))
        allowed &= own_knots(path, problem)
        perfect = rss <= _PERFECT * rss[0]
        allowed &= ~(
            perfect & (size >= residual_df(path))
        )  # those fit whatever they are
        price = np.log(m) + 1 if self.name == "bic" else 2.0
        with np.errstate(divide="ignore"):
            scores = m * np.log(np.where(perfect, 0.0, rss) / m) + k * price
        choice.scores = scores = np.where(allowed, scores, np.nan)
        index = best(scores, size)
        scale = 0.0 if perfect[index] else math.sqrt(rss[index] / m)
        if perfect[index]:
            choice.note("The rows that are left are fitted exactly: scale 0.")
        elif index == np.flatnonzero(allowed)[-1] and index > 0:
            choice.note(
                "The best score is at the last candidate: the end of the outliers was "
                "not found, and the scores may favour more of them."
            )
        null = scores[np.flatnonzero(allowed)[0]]
        choice.add(score=scores[index], null_score=null, m=m, k=float(k[index]))
        choice.add(df_kind=path.df_kind, knots_scored=int(allowed.sum()))
        rule = "root of RSS / m of each knot (profiled out)"
        return choice.at_index(index, scale=scale, scale_rule=rule)


@dataclasses.dataclass(frozen=True)
class TrimmedCV:
    """Choose the knot with the smallest trimmed loss on held-out rows.

    The shift of a held-out row is unknown, and outliers are held out, too; so the loss
    of a fold is the mean of its smallest squared residuals only.

    Parameters
    ----------
    n_splits : int, default=5
        Folds of shuffled rows.
    trim : float in [0, 0.5], default=0.2
        Share of the held-out weight that is left out of the loss. There should not be a
        larger share of outliers.
    random_state : int, RandomState instance or None, default=0
    """

    n_splits: int = 5
    trim: float = 0.2
    random_state: Any = 0

    def __post_init__(self) -> None:
        integer = isinstance(self.n_splits, Integral)
        if not integer or isinstance(self.n_splits, bool) or self.n_splits < 2:
            raise ValueError(f"n_splits={self.n_splits!r} must be an integer above 1.")
        if not is_real(self.trim) or not 0 <= self.trim <= 0.5:
            raise ValueError(
                f"trim={self.trim!r} must be the share of held-out rows that the loss "
                "leaves out, between 0 and 0.5."
            )

    def select(self, path: ShiftPath, problem: ShiftProblem | None = None) -> Selection:
        """Choose a knot of `path`.

        Parameters
        ----------
        path : ShiftPath
        problem : ShiftProblem
            What the path was traced on.

        Returns
        -------
        Selection
            With the mean loss of every knot with at most half of the rows shifted.

        Raises
        ------
        ValueError
            Without a problem, or if there are too few rows for the folds.
        """
        from sklearn.utils import check_random_state

        problem = needed(problem, self)
        check(path, problem)
        choice = Choice(path, "trimmed cv", problem)
        choice.add(n_splits=int(self.n_splits), trim=float(self.trim))
        if choice.is_perfect(problem):
            return choice.at_start(scale=0.0, scale_rule="least squares fits all rows")
        rows = np.arange(problem.n_samples)
        if problem.sample_weight is not None:
            rows = np.flatnonzero(problem.sample_weight)
        if len(rows) // self.n_splits < 2:
            raise ValueError(
                f"n_splits={self.n_splits} leaves folds with fewer than 2 of the "
                f"{len(rows)} rows; use fewer folds or another rule."
            )
        order = check_random_state(self.random_state).permutation(len(rows))
        fold_of = np.empty(len(rows), dtype=np.int64)
        fold_of[order] = np.arange(len(rows)) % self.n_splits
        allowed = (2 * sizes(path) <= path.n_samples) & own_knots(path, problem)
        values = path.representative_knots()[allowed]
        if len(values) < 2:
            choice.note("No candidate but least squares: nothing was compared.")
            return choice.at_start(scale=np.nan, scale_rule="none")
        losses = np.array(
            [
                self._score(
                    path, problem, rows[fold_of != k], rows[fold_of == k], values
                )
                for k in range(self.n_splits)
            ]
        )
        scores = np.full(len(path), np.nan)
        scores[allowed] = losses.mean(axis=0)  # NaN where a fold ended before
        choice.scores = scores
        if np.isnan(scores).all():
            choice.note("No fold reaches a knot of the path: nothing could be scored.")
            return choice.at_start(fallback=True, scale=np.nan, scale_rule="none")
        index = best(scores, sizes(path))
        at = int(np.count_nonzero(allowed[:index]))
        error = losses[:, at].std(ddof=1) / math.sqrt(self.n_splits)
        c = n_outputs(path)
        edge = 2 * special.gammaincinv(c / 2, 1 - self.trim)
        share = c * special.gammainc(c / 2 + 1, edge / 2) / (1 - self.trim)
        choice.add(score=scores[index], standard_error=float(error))
        choice.add(knots_scored=int(np.isfinite(scores).sum()))
        return choice.at_index(
            index,
            scale=math.sqrt(scores[index] / share),
            scale_rule="root of the trimmed loss, consistent at the normal",
        )

    def _score(self, path, problem, train, test, values):
        """Loss of one fold at every value, NaN where its path has ended."""
        from ..solvers.shift_paths import retrace_shift

        try:
            part = problem.subset(train)
        except ValueError as error:
            raise ValueError(
                f"a fold with {len(train)} rows to fit cannot be used: {error} Use "
                "more folds (n_splits) or another rule."
            ) from error
        fold = retrace_shift(path, part, values)
        loss = np.full(len(values), np.nan)
        ends = fold.knots[-1]
        reached = values <= ends * (1 + 1e-10)
        if fold.knot_name != "t":
            reached = values >= ends * (1 - 1e-10)
        known = np.flatnonzero(reached | fold.is_complete)
        weight = problem.sample_weight
        weight = np.ones(len(test)) if weight is None else weight[test]
        step = max(1, BLOCK // (len(test) * problem.n_outputs))
        for start in range(0, len(known), step):
            some = known[start : start + step]
            coefs, intercepts = fold.coefs_at(values[some])
            square = squares(problem, test, coefs, intercepts)
            loss[some] = trimmed_mean(square, weight, self.trim)
        return loss


@dataclasses.dataclass(frozen=True)
class EntryGap:
    """Put the end of the outliers into the largest gap between entries.

    Rows are sorted by ``path.entry_strength()``; the gap after the k-th is the
    logarithm of the ratio of its strength to the next one's, for k up to half of the
    rows. Rows before the largest gap are outliers, if it is *outstanding*: larger than
    the 95 % quantile of the largest gap between as many absolute values of normal
    numbers (for several responses, lengths of normal vectors). Otherwise no row is
    shifted.

    Notes
    -----
    Needs no scale and no data. Strengths of a path are not independent residuals, so
    the reference is a yardstick, not a test; on "hard" paths gaps are rounded to the
    grid of thresholds.
    """

    def select(self, path: ShiftPath, problem: ShiftProblem | None = None) -> Selection:
        """Choose a point of `path`.

        Parameters
        ----------
        path : ShiftPath
        problem : ShiftProblem, optional
            Needed only for weights.

        Returns
        -------
        Selection
            ``quantities`` has the largest and the second largest gap, and what clean
            data would give.
        """
        check(path, problem)
        choice = Choice(path, "largest gap", problem)
        choice.add(scale=np.nan, scale_rule="none: gaps are ratios")
        if choice.is_perfect(problem):
            return choice.at_start()
        strength = path.entry_strength()
        weight = np.ones(path.n_rows)
        if problem is not None and problem.sample_weight is not None:
            weight = problem.sample_weight
        order = np.argsort(-strength, kind="stable")
        order = order[(strength[order] > 0) & (weight[order] > 0)]
        if not len(order):
            choice.note("The path shifts no row: there is no gap.")
            return choice.at_start(fallback=True)
        before = np.cumsum(weight[order])
        half = int(np.count_nonzero(before <= path.n_samples / 2))
        values = strength[order[: half + 1]]
        if len(order) <= half:
            # The next row enters beyond the end of the path, if at all.
            end = 0.0
            if not path.is_complete:
                last = float(path.knots[-1])
                end = min(1 / last if path.knot_name == "t" else last, values[-1])
            values = np.append(values, end)
        return self._choose(choice, path, values, before)

    def _choose(self, choice, path, values, before):
        with np.errstate(divide="ignore"):
            gaps = np.log(values[:-1]) - np.log(values[1:])
        if not len(gaps):
            choice.note(
                "The first row has more than half of the weight: no gap counts."
            )
            return choice.at_start(fallback=True)
        # On a geometric grid gaps are equal, but for rounding: the first one.
        k = int(np.flatnonzero(gaps >= gaps.max() * (1 - SAME))[0])
        second = float(np.partition(gaps, -2)[-2]) if len(gaps) > 1 else 0.0
        reference = clean_gap(path.n_samples, n_outputs(path))
        choice.add(gap=float(gaps[k]), second_gap=second, reference_gap=reference)
        choice.add(rows_before_gap=k + 1, weight_before_gap=float(before[k]))
        if gaps[k] <= reference:
            choice.note(
                f"The largest gap ({gaps[k]:.3g}) is not outstanding: clean normal "
                f"data of this size have up to {reference:.3g} ({_LEVEL:.0%} "
                "quantile). No row is shifted."
            )
            return choice.at_start()
        if second > reference:
            choice.note(
                f"The second largest gap ({second:.3g}) is outstanding, too: outliers "
                "of several sizes, and where they end is not clear."
            )
        low, high = float(values[k + 1]), float(values[k])
        if path.knot_name == "t":
            ends = np.inf if low == 0 else (1 - 1e-9) / low
            index = int(np.searchsorted(path.knots, ends)) - 1
            return choice.at_index(max(index, 0))
        floor = max(float(path.knots[-1]), ROUNDING * path.threshold_max)
        middle = math.sqrt(max(low, floor) * high)
        if path.interpolation == "constant":  # the same rows as in the middle
            return choice.at_index(choice.index_of(middle))
        return choice.at_value(middle)


@dataclasses.dataclass(frozen=True)
class GivenKnot(FixedKnot):
    """A threshold or t; says which knot is read in its place."""

    def select(self, path: Any, problem: Any = None) -> Selection:
        check(path, problem)
        selection = super().select(path)
        near = float(path.knots[selection.index])
        constant = path.interpolation == "constant" and path.knot_name != "t"
        if constant and near > selection.knot * (1 + EQUAL):
            known = selection.quantities | {"threshold_of_fit": near}
            selection = dataclasses.replace(selection, quantities=known)
        return selection


def get_outlier_selector(
    spec: Any, method: str = "hard", *, random_state: Any = 0
) -> Selector:
    """Return the rule for a name, a number or a selector.

    Parameters
    ----------
    spec : {"auto", "cut", "sigma", "bic", "aic", "cv", "gap"}, float or selector
        "cut" is ``ScaleCut(3.0, "s")``; "sigma" is ``ScaleCut(2.5, "proposal2")`` for
        "l1" and ``ScaleCut(2.5, "clean")`` for other methods; "auto" is "cut" for
        "hard" and "sigma" otherwise. A number is that threshold or t.
    method : {"hard", "iss", "lbi", "l1"}, default="hard"
    random_state
        For the folds of "cv" and the S fits of "auto", "cut" and "sigma".

    Raises
    ------
    ValueError
        If `spec` is none of these.
    """
    if isinstance(spec, str) and spec in OUTLIER_SELECTORS:
        rule = OUTLIER_SELECTORS[spec](method=method, random_state=random_state)
        return cast("Selector", rule)
    if is_real(spec):
        if not spec >= 0:
            raise ValueError(
                f"selector={spec!r} must be a nonnegative number to be a threshold or "
                "a value of t."
            )
        return GivenKnot(float(spec))
    if not isinstance(spec, type) and callable(getattr(spec, "select", None)):
        return spec
    raise ValueError(
        f"selector={spec!r} is unknown; use one of {sorted(OUTLIER_SELECTORS)}, a "
        "number (that threshold, or that t), or an object with a method select(path, "
        "problem=None), such as ScaleCut(3.5)."
    )


def _cut(random_state: Any = 0, **_: Any) -> ScaleCut:
    return ScaleCut(3.0, "s", random_state)


def _sigma(method: str = "hard", random_state: Any = 0) -> ScaleCut:
    return ScaleCut(2.5, "proposal2" if method == "l1" else "clean", random_state)


def _auto(method: str = "hard", random_state: Any = 0) -> ScaleCut:
    return _cut(random_state) if method == "hard" else _sigma(method, random_state)


# Called with the arguments of `get_outlier_selector`, of which a rule uses its own.
OUTLIER_SELECTORS: dict[str, Callable[..., Any]] = {
    "auto": _auto,
    "cut": _cut,
    "sigma": _sigma,
    "bic": lambda **_: OutlierCriterion("bic"),
    "aic": lambda **_: OutlierCriterion("aic"),
    "cv": lambda random_state=0, **_: TrimmedCV(random_state=random_state),
    "gap": lambda **_: EntryGap(),
}


# -- formulas --------------------------------------------------------------------------


def trimmed_mean(
    squares: NDArray[np.float64], weight: NDArray[np.float64], trim: float
) -> NDArray[np.float64]:
    """Mean of the smallest values of each row, ``1 - trim`` of the weight of all."""
    order = np.argsort(squares, axis=1)
    counts = weight[order]
    wanted = (1 - trim) * weight.sum()
    before = np.cumsum(counts, axis=1) - counts
    kept = np.clip(wanted - before, 0.0, counts)
    return np.einsum("ij,ij->i", kept, np.take_along_axis(squares, order, 1)) / wanted


def clean_gap(n: float, n_outputs: int, level: float = _LEVEL) -> float:
    """Quantile of the largest gap of EntryGap for n normal vectors.

    From 2,000 draws of the extremes of n uniform numbers (sums of exponential ones),
    with a fixed seed.
    """
    rng = np.random.default_rng(0)
    m = int(min(n // 2 + 1, _EXTREMES))
    if m < 2:
        return np.inf
    sums = np.cumsum(rng.exponential(size=(_DRAWS, m)), axis=1)
    rest = rng.gamma(max(n + 1 - m, 1.0), size=(_DRAWS, 1))
    tail = np.log(sums / (sums[:, -1:] + rest))
    grid = np.linspace(tail.min(), 0.0, 4000, endpoint=False)
    lengths = np.log(special.gammainccinv(n_outputs / 2, np.exp(grid))) / 2
    lengths = np.interp(tail, grid, lengths)
    return float(np.quantile(-np.diff(lengths, axis=1).min(axis=1), level))
