"""Outliers are what is beyond a cut in units of a scale estimate."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._path_checks import check_choice
from .._shift_design import SingularFit
from ..scales import (
    huber_constant,
    mad_scale,
    proposal2_scale,
    radial_cut,
    truncated_variance,
)
from ._clean_fits import CleanFits, masks, squares
from ._outlier_choice import (
    ROUNDING,
    Choice,
    check,
    deviances,
    is_real,
    n_outputs,
    needed,
    own_knots,
    residual_df,
    sizes,
    used_rows,
)

if TYPE_CHECKING:
    from ..shift_path import ShiftPath
    from ..shift_problem import ShiftProblem
    from .base import Selection

SCALES = ("s", "mad", "proposal2", "clean")
# Rows with large residuals that are looked at before all others are.
_WATCHED = 64
# Thresholds that differ by this fraction are the same.
_EQUAL = 1e-11


@dataclasses.dataclass(frozen=True)
class ScaleCut:
    """Call outlying what is beyond a cut in units of a scale estimate.

    On paths over the threshold ("l1", "hard") the chosen threshold is ``cut * scale``.
    On paths over t ("iss", "lbi") it is the first knot at which no other row is beyond:
    the largest *deleted* residual ``|r_i| / (1 - h_i)``, with respect to least squares
    without this row and the shifted rows, is at most ``cut * scale``. Row factors
    multiply the cut.

    Parameters
    ----------
    cut : float, default=3.0
        In standard deviations of one response. For c responses the length of a residual
        is cut at the quantile of chi with c degrees of freedom at the same rate,
        ``P(|N(0, 1)| <= cut)``.
    scale : {"s", "clean", "proposal2", "mad"}, default="s"
        - "s": the S-scale of a high-breakdown fit, n minus rank in its denominator. It
          is on "hard" paths; for others the fit is made, from the problem.
        - "clean": standard deviation of least squares without the shifted rows, divided
          by what a cut of the normal at `cut` leaves of it.
        - "proposal2": Huber's Proposal 2 with k = cut, of all residuals.
        - "mad": normalized median length of all residuals.

        All but "s" are those of the chosen point itself: ``threshold = cut * scale`` is
        an equation. On "hard" paths it is iterated from the S-scale, because there are
        solutions at which outliers are masked.
    random_state : int, RandomState instance or None, default=0
        For the subsamples of an S fit that is not on the path.

    Notes
    -----
    A "hard" path has fits at its knots only. With the problem, the chosen threshold and
    scales of its fit do not depend on them; ``quantities["threshold_of_fit"]`` is there
    if the threshold is not a knot, and says which knot is read in its place.

    On "l1" paths Proposal 2 needs no data: the sum of squares that the path stores is
    that of Huber's psi, and between events it is linear in the squared threshold.

    References
    ----------
    P. J. Huber, E. M. Ronchetti (2009). Robust Statistics, 2nd ed., sections 6.4, 7.7.
    """

    cut: float = 3.0
    scale: str = "s"
    random_state: Any = 0

    def __post_init__(self) -> None:
        if not is_real(self.cut) or not 0 < self.cut < np.inf:
            raise ValueError(
                f"cut={self.cut!r} must be a positive number of standard deviations; "
                "2.5 and 3 are usual."
            )
        check_choice("scale", self.scale, SCALES)

    def select(self, path: ShiftPath, problem: ShiftProblem | None = None) -> Selection:
        """Choose a point of `path`.

        Parameters
        ----------
        path : ShiftPath
        problem : ShiftProblem, optional
            What the path was traced on. Not needed for "s" and "clean" on "hard" paths
            and for "proposal2" on "l1" paths.

        Returns
        -------
        Selection
            ``quantities["scale"]`` is the scale, in units of y.

        Raises
        ------
        ValueError
            If the problem is needed and not given, or is another one.
        """
        check(path, problem)
        choice = Choice(path, f"cut at {self.cut:g} scales ({self.scale!r})", problem)
        radius = radial_cut(self.cut, n_outputs(path))
        choice.add(cut=float(self.cut), cut_per_scale=radius)
        if path.classes is not None:
            choice.note(
                "The responses are codes of classes, not normal: the rate of clean "
                "rows beyond the cut is unknown."
            )
        if choice.is_perfect(problem):
            return choice.at_start(scale=0.0, scale_rule="least squares fits all rows")
        if path.knot_name == "t":
            return self._stop(choice, path, problem, radius)
        if self.scale == "s":
            scale, rule = s_of(path, problem, self.random_state)
            return choice.at_threshold(radius * scale, scale, rule)
        if path.method != "l1":
            return self._iterate(choice, path, problem, radius)
        if self.scale == "proposal2":
            return self._proposal2(choice, path, radius)
        return self._consistent(choice, path, needed(problem, self), radius)

    # -- thresholds ------------------------------------------------------------------

    def _proposal2(self, choice, path, radius):
        """Where the sum of psi^2 is what it is for normal residuals."""
        c = n_outputs(path)
        wanted = residual_df(path) * huber_constant(radius, c) / radius**2
        square, rss = path.knots**2, deviances(path)
        rule = "Huber's Proposal 2 at the chosen threshold"
        choice.add(route="closed form between knots")
        if rss[0] >= wanted * square[0]:  # nobody is beyond
            threshold = math.sqrt(rss[0] / wanted)
            return choice.at_threshold(threshold, threshold / radius, rule)
        # The left of the equation, rss / threshold^2, grows along the path.
        beyond = np.flatnonzero((rss >= wanted * square) & (square > 0))
        if not len(beyond):
            if path.is_complete or path.knots[-1] <= ROUNDING * path.threshold_max:
                return choice.at_threshold(0.0, 0.0, rule)
            return choice.at_end(scale=np.nan, scale_rule=rule)
        k = int(beyond[0])
        slope = (rss[k - 1] - rss[k]) / (square[k - 1] - square[k])
        inside = (rss[k] - slope * square[k]) / (wanted - slope)
        threshold = math.sqrt(np.clip(inside, square[k], square[k - 1]))
        return choice.at_threshold(threshold, threshold / radius, rule)

    def _consistent(self, choice, path, problem, radius):
        """Where ``threshold = cut * scale`` of the fit there, by halving."""
        scale_of = _scale_along(self, path, problem, radius)
        rule = f"{self._words()} at the chosen threshold"
        knots = path.knots[own_knots(path, problem)]
        low, high = 0, len(knots) - 1
        scale = scale_of(float(knots[0]))
        if knots[0] <= radius * scale:
            return choice.at_threshold(radius * scale, scale, rule)
        scale = scale_of(float(knots[-1]))
        if knots[-1] > radius * scale:
            return choice.at_end(scale=scale, scale_rule=rule)
        while high - low > 1:
            middle = (low + high) // 2
            knot = float(knots[middle])
            if knot <= radius * scale_of(knot):
                high = middle
            else:
                low = middle
        above, below = float(knots[low]), float(knots[high])
        while above - below > _EQUAL * above:
            value = 0.5 * (above + below)
            if value <= radius * scale_of(value):
                below = value
            else:
                above = value
            if above <= ROUNDING * path.threshold_max:
                return choice.at_threshold(0.0, 0.0, rule)
        return choice.at_threshold(below, scale_of(below), rule)

    def _iterate(self, choice, path, problem, radius):
        """Of a hard path: from the robust scale to one of the point itself."""
        scale, start_rule = s_of(path, problem, self.random_state)
        choice.add(start_scale=scale)
        start, look = scale, self._look(choice, path, problem, radius)
        seen: dict[Any, float] = {}  # scales of fits
        try:
            while (found := look(radius * scale))[0] not in seen:
                fit, scale = found
                seen[fit] = scale
        except SingularFit:
            choice.note(
                f"The rows within the threshold {radius * scale:.6g} do not determine "
                "the fit, so the cut is taken in units of the S-scale."
            )
            return choice.at_threshold(radius * start, start, start_rule)
        cycle = list(seen.values())[list(seen).index(found[0]) :]
        if len(cycle) > 1:
            choice.note(
                "The cut and the scale do not settle; the larger threshold of the "
                "cycle is reported."
            )
        scale = max(cycle)
        rule = f"{self._words()} at the chosen threshold, iterated from the S-scale"
        return choice.at_threshold(radius * scale, scale, rule)

    def _look(self, choice, path, problem, radius):
        """What maps a threshold to a name of the fit there, and the scale of that."""
        if problem is None and self.scale == "clean":

            def look(threshold):
                index = choice.index_of(threshold)
                return index, self._stored(path, index, radius)

            return look
        from ..solvers._hard_knot import fits_of

        data = needed(problem, self)
        fits, last = fits_of(path, data), float(path.knots[-1])
        used = used_rows(path, data)

        def look_closely(threshold):
            kept, _ = fits.fixed_point(max(threshold, last))
            scale = _scale_of(self.scale, fits.norms, ~kept, data, radius)
            return kept[used].tobytes(), scale

        return look_closely

    def _stored(self, path, k, radius):
        """The "clean" scale of a knot at which shifted rows are left out."""
        c = n_outputs(path)
        df = (path.n_samples - float(sizes(path)[k]) - path.rank) * c
        if df <= 0:
            return 0.0
        rss = float(deviances(path)[k])
        return math.sqrt(rss / df / truncated_variance(radius, c))

    def _words(self):
        return {
            "clean": "least squares without the shifted rows, corrected for the cut",
            "proposal2": "Huber's Proposal 2 of all residuals",
            "mad": "normalized median length of all residuals",
        }[self.scale]

    # -- times -----------------------------------------------------------------------

    def _stop(self, choice, path, problem, radius):
        """The first knot of an "iss" or "lbi" path that leaves nothing beyond."""
        problem = needed(problem, self)
        design = problem.design
        used = np.isfinite(problem.row_factor) & used_rows(path, problem)
        constant = scale = None
        rule = f"{self._words()} at the chosen t" if self.scale != "s" else ""
        if self.scale == "s":
            constant, rule = s_of(path, problem, self.random_state)
        stored = self.scale == "clean" and path.method == "iss"
        floor = ROUNDING * path.threshold_max
        fits = CleanFits(problem)
        watched = np.zeros(0, dtype=np.int64)
        for k, mask in masks(path):
            try:
                coords = fits.without(mask)
            except SingularFit:
                choice.note(
                    f"Without the rows shifted at t={path.knots[k]:.6g} the fit is not "
                    "determined; the point before is reported."
                )
                return choice.at_index(k - 1, True, scale=scale, scale_rule=rule)
            scale = constant
            if stored:
                scale = self._stored(path, k, radius)
            if scale is not None and len(watched):
                left = watched[~mask[watched]]
                if len(left) and (
                    fits.deleted(left, coords).max() > radius * scale + floor
                ):
                    continue
            lengths = design.norms(coords)
            if scale is None:
                scale = _scale_of(self.scale, lengths, mask, problem, radius)
            left = np.flatnonzero(used & ~mask)
            ratio = lengths[left] / problem.row_factor[left]
            limit = radius * scale + floor
            if ratio.max(initial=0.0) > limit:
                far = np.argpartition(ratio, -min(_WATCHED, len(left)))[-_WATCHED:]
                watched = left[far]
                continue
            deleted = fits.deleted(left, coords)
            largest = float(deleted.max(initial=0.0))
            if largest > limit:
                watched = np.append(watched, left[np.argmax(deleted)])
                continue
            if largest <= floor:
                choice.note("The rows that are left are fitted exactly: scale 0.")
                scale = 0.0
            choice.add(largest_deleted=largest)
            return choice.at_index(k, scale=scale, scale_rule=rule)
        choice.note(
            "At the end of the path there still are rows beyond the cut (status "
            f"{path.status!r}): the last knot is reported. A longer path may have an "
            "end of outliers (t_max, max_outliers), or the noise has heavy tails."
        )
        return choice.at_index(
            len(path) - 1, fallback=True, scale=scale, scale_rule=rule
        )


def s_of(
    path: ShiftPath, problem: ShiftProblem | None, random_state: Any = 0
) -> tuple[float, str]:
    """S-scale, from the path or by a fit, and its name."""
    if "scale" in path.info:
        return float(path.info["scale"]), "S-scale of the start of the path"
    from ..solvers.fast_s import fast_s

    if problem is None:
        raise ValueError(
            f"the S-scale is not on this path (method {path.method!r}), so it needs "
            "the data: call select(path, problem), or use scale='proposal2' ('l1') or "
            "another rule."
        )
    found = fast_s(problem.design, random_state=random_state)
    return float(found.scale), "S-scale of a fast-S fit"


def _scale_of(name, lengths, mask, problem, radius):
    """Scale of the residuals of the fit without the rows in the mask."""
    c, weight = problem.n_outputs, problem.sample_weight
    if name == "mad":
        return mad_scale(lengths, weight, c)
    if name == "proposal2":
        return proposal2_scale(lengths, radius, problem.df, weight, c)
    kept = np.ones(len(lengths)) if weight is None else weight
    kept = np.where(mask, 0.0, kept)
    df = (kept.sum() - problem.rank) * c
    if df <= 0:
        return 0.0
    return math.sqrt(kept @ lengths**2 / df / truncated_variance(radius, c))


def _scale_along(rule, path, problem, radius):
    """Scale at any threshold of an "l1" path."""
    fits = CleanFits(problem)

    def scale_of(threshold):
        mask = path.outliers(threshold)
        if rule.scale == "clean":
            try:
                lengths = problem.design.norms(fits.without(mask))
            except SingularFit:
                return 0.0
        else:
            coefs, intercepts = path.coefs_at([threshold])
            every = np.arange(problem.n_samples)
            lengths = np.sqrt(squares(problem, every, coefs, intercepts)[0])
        return _scale_of(rule.scale, lengths, mask, problem, radius)

    return scale_of
