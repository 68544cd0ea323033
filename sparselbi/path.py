"""The answer: `RegularizationPath`, the one result type of every solver."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _path_views
from ._path_checks import active_columns, check_events, check_fields
from ._path_interpolation import Interpolation
from ._path_io import load_fields, path_class, save_fields
from ._path_views import PathComparison

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PathComparison", "PathPoint", "RegularizationPath"]

EVENT_DTYPE = np.dtype(
    [("t", "f8"), ("feature", "i8"), ("output", "i8"), ("sign", "i1"), ("enters", "?")]
)


@dataclass(frozen=True, eq=False)
class PathPoint:
    """One point of a path.

    Attributes
    ----------
    knot : float
        Where on the path, in the units of ``path.knots``.
    coef : ndarray of shape (n_features,) or (n_outputs, n_features)
        Coefficients on the original scale of X.
    intercept : float or ndarray of shape (n_outputs,)
    support : ndarray of int
        Features with a nonzero coefficient, ascending.
    """

    knot: float
    coef: NDArray[np.float64]
    intercept: Any
    support: NDArray[np.int64]

    def __repr__(self) -> str:
        support = np.array2string(self.support, threshold=12, separator=", ")
        return (
            f"PathPoint(knot={self.knot:.6g}, intercept={self.intercept}, "
            f"n_support={len(self.support)}, support={support})"
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class RegularizationPath:
    """A whole regularization path, from the null model on.

    Coefficients are on the original scale of X. Only the features that are ever
    active are stored, so memory is O(n_knots * n_active). ``coef_shape`` is
    (n_features,) for one response, (1, n_features) for two classes and
    (n_classes, n_features) for more; ``lead`` below is all of it but the last axis.
    All arrays are read-only.

    Attributes
    ----------
    knots : ndarray of shape (n_knots,)
        Strictly increasing path times if ``knot_name`` is ``"t"`` (``knots[0]`` is the
        null model), strictly decreasing penalty strengths if it is ``"alpha"`` or
        ``"threshold"``.
    knot_name : {"t", "alpha", "threshold"}
    active_features : ndarray of int of shape (n_active,)
        Features that are nonzero somewhere, ascending, unpenalized ones included.
    active_coefs : ndarray of shape ``(n_knots, *lead, n_active)``
    intercepts : ndarray of shape ``(n_knots, *lead)``
    n_features : int
    events : structured ndarray with dtype `EVENT_DTYPE`
        One record per entering or leaving coefficient, in path order: ``t`` (in the
        units of `knots`), ``feature``, ``output`` (-1 if all outputs move together or
        there is one), ``sign``, ``enters``.
    interpolation : {"linear", "constant"}
        Between knots: linear with zeros at the events, or constant and
        right-continuous, ``coef(k)`` on [knots[k], knots[k + 1]).
    method : str
        Algorithm that traced the path.
    loss, penalty : NamedTuple
        From `sparselbi.losses` and `sparselbi.penalties`.
    n_samples : float
        Sum of the sample weights.
    t0, kappa, kappa_raw, step_size : float or None
        First entry time, damping (dimensionless and as iterated), step.
    settings : dict
        Keyword arguments that rebuild the Problem: ``fit_intercept``,
        ``standardize``, ``penalty_factor``, ``groups``, ``group_weight``.
    feature_names : tuple of str or None
    classes : ndarray or None
        Class labels, in the order of the outputs.
    active_means : ndarray of shape (n_active,) or None
        Weighted column means that the solver subtracted. With them the intercept
        between knots follows the coefficients (``intercept + means @ coef`` is
        interpolated); without them it is interpolated itself.
    status, message : str
        Which rule ended the path, and what can be done about it.
    n_iter : int
    info : dict
        Further numbers, strings and arrays from the solver.
    deviance, refit_deviance : ndarray of shape (n_knots,) or None
        Twice the weighted sum of losses at the knots, and at the unpenalized refits.
    size : ndarray of shape (n_knots,) or None
        Number of nonzero coefficients, without the intercept.
    duals : ndarray with n_knots rows, or None

    Raises
    ------
    ValueError
        If the pieces do not fit together.
    """

    knots: NDArray[np.float64]
    knot_name: str = "t"
    active_features: NDArray[np.int64]
    active_coefs: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    n_features: int
    events: NDArray[Any]
    interpolation: str
    method: str
    loss: Any
    penalty: Any
    n_samples: float
    t0: float | None = None
    kappa: float | None = None
    kappa_raw: float | None = None
    step_size: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    feature_names: tuple[str, ...] | None = None
    classes: NDArray[Any] | None = None
    active_means: NDArray[np.float64] | None = None
    status: str = ""
    message: str = ""
    n_iter: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    deviance: NDArray[np.float64] | None = None
    refit_deviance: NDArray[np.float64] | None = None
    size: NDArray[np.int64] | None = None
    duals: NDArray[np.float64] | None = None

    # ---------------------------------------------------------------- construction

    def __post_init__(self) -> None:
        types = {
            "knots": np.float64,
            "active_features": np.int64,
            "active_coefs": np.float64,
            "intercepts": np.float64,
            "events": EVENT_DTYPE,
            "classes": None,
            "active_means": np.float64,
            "deviance": np.float64,
            "refit_deviance": np.float64,
            "size": np.int64,
            "duals": np.float64,
        }
        names = getattr(self.events, "dtype", EVENT_DTYPE).names
        if len(self.events) and names != EVENT_DTYPE.names:
            raise ValueError(
                f"events has fields {names}, expected {EVENT_DTYPE.names}."
            )
        for name, dtype in types.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, read_only(value, dtype))
        for name in ("settings", "info"):
            object.__setattr__(self, name, _frozen_copy(getattr(self, name)))
        if self.feature_names is not None:
            names = tuple(str(name) for name in self.feature_names)
            object.__setattr__(self, "feature_names", names)
        check_fields(self)
        check_events(self)

    def __getstate__(self) -> dict[str, Any]:
        return self._fields()  # without cached properties

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state)  # makes arrays read-only again

    def _fields(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}

    # ------------------------------------------------------------------ properties

    @property
    def _direction(self) -> int:
        return 1 if self.knot_name == "t" else -1

    @cached_property
    def _clock(self) -> NDArray[np.float64]:
        """The knots as an increasing sequence, whatever they are called."""
        return self._direction * self.knots

    @property
    def coef_shape(self) -> tuple[int, ...]:
        """Shape of one dense coefficient array."""
        return (*self.active_coefs.shape[1:-1], self.n_features)

    @property
    def is_complete(self) -> bool:
        """Whether nothing moves after the last knot, so that no later t is unknown.

        True for the statuses "least_squares", "stationary" and "null" (nothing can ever
        enter), and for "saturated" on a piecewise constant path.
        """
        return self.status in ("least_squares", "stationary", "null") or (
            self.status == "saturated" and self.interpolation == "constant"
        )

    def representative_knots(self) -> NDArray[np.float64]:
        """Return where to read other paths for each knot: values of t (or alpha).

        The knots themselves, except on a piecewise constant path over t: there a knot
        stands for the stretch that starts at it, and its (geometric) middle is given.
        At the knot itself the least change of the data decides between two fits.
        """
        knots = self.knots
        if self.interpolation == "linear" or self.knot_name != "t":
            return knots
        middle = np.sqrt(knots[:-1] * knots[1:])
        middle[knots[:-1] == 0] = knots[1:][knots[:-1] == 0] / 2
        # After the end of a complete path nothing moves: leave the last jump behind.
        return np.append(middle, knots[-1] * (2 if self.is_complete else 1))

    @cached_property
    def coefs(self) -> NDArray[np.float64]:
        """All coefficients, dense, ``(n_knots, *coef_shape)``; made on demand."""
        return read_only(self._dense(self.active_coefs))

    def _dense(self, active: NDArray[np.float64]) -> NDArray[np.float64]:
        dense = np.zeros((*active.shape[:-1], self.n_features))
        dense[..., self.active_features] = active
        return dense

    def _nonzero(self, coefs: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which active features have a nonzero coefficient, (n_points, n_active)."""
        return (coefs != 0).any(axis=tuple(range(1, coefs.ndim - 1)))

    def _name(self, feature: int) -> str:
        return (
            f"x{feature}" if self.feature_names is None else self.feature_names[feature]
        )

    def _outputs(self) -> list[Any] | None:
        """Labels of the coefficient rows, None if there is only one row."""
        lead = self.coef_shape[:-1]
        if math.prod(lead) == 1:
            return None
        return list(range(lead[0]) if self.classes is None else self.classes.tolist())

    def _t(self, knots: NDArray[np.float64]) -> NDArray[np.float64]:
        """Knots on the axis that all paths share, t or 1 / alpha."""
        if self.knot_name == "t":
            return knots
        with np.errstate(divide="ignore"):
            return 1.0 / knots

    def _range(self) -> str:
        low, high = sorted((self.knots[0], self.knots[-1]))
        return f"{self.knot_name} in [{low:.6g}, {high:.6g}]"

    def __len__(self) -> int:
        return len(self.knots)

    def __repr__(self) -> str:
        return _path_views.text(self)

    def _repr_html_(self) -> str:
        return _path_views.html_text(self)

    # -------------------------------------------------------- points along the path

    def coef(self, k: int) -> NDArray[np.float64]:
        """Dense coefficients at the knot with index `k` (negative: from the end)."""
        return self._dense(self.active_coefs[self._index(k)])

    def intercept(self, k: int) -> Any:
        """Intercept at the knot with index `k`: a float, or (n_outputs,)."""
        return self.intercepts[self._index(k)]

    def _index(self, k: int) -> int:
        k = operator.index(k)
        if not -len(self) <= k < len(self):
            raise IndexError(
                f"k={k} is out of range for a path with {len(self)} knots. k counts "
                f"knots; for a value of {self.knot_name} use at({self.knot_name})."
            )
        return k

    def at(self, knot: float) -> PathPoint:
        """The path at any value of ``knot_name``, not only at the stored knots.

        Parameters
        ----------
        knot : float
            A value of t (or alpha), not an index; for an index use `coef`.

        Returns
        -------
        PathPoint

        Raises
        ------
        ValueError
            If `knot` is negative, NaN or beyond the traced range.

        Notes
        -----
        Before the first knot this is the null model ``coef(0)``; a `knot` that is
        stored returns exactly what is stored. Between two knots of a linear path each
        coefficient is linear, with zeros at its own events: zero until it enters,
        from there linear to the next knot, and linear from the last knot to zero
        where it leaves. A constant path stays at the last knot reached.
        """
        coefs, intercepts = self._active_at([knot])
        support = self.active_features[self._nonzero(coefs)[0]]
        coef = self._dense(coefs[0])
        return PathPoint(float(knot), coef, intercepts[0], support)

    def coefs_at(
        self, knots: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Dense coefficients and intercepts at m values of t (or alpha), in any order.

        Of shapes ``(m, *coef_shape)`` and ``(m, *lead)``; see `at`. For predictions
        ``predict(X, knots)`` needs much less memory.
        """
        coefs, intercepts = self._active_at(knots)
        return self._dense(coefs), intercepts

    def support(self, knot: float) -> NDArray[np.int64]:
        """Features with a nonzero coefficient at a value of t (or alpha), ascending.

        `knot` is a value as in `at`, not an index. Unpenalized features are included.
        """
        coefs, _ = self._active_at([knot])
        return self.active_features[self._nonzero(coefs)[0]]

    def _active_at(self, knots: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Active coefficients (m, *lead, n_active) and intercepts (m, *lead)."""
        return self._interpolation(self._checked(knots))

    @cached_property
    def _interpolation(self) -> Interpolation:
        return Interpolation(self)

    def _checked(self, knots: ArrayLike) -> NDArray[np.float64]:
        """Values of t (or alpha) on the increasing clock, clipped to its range."""
        values = np.asarray(knots, dtype=np.float64)
        if values.ndim != 1:
            raise ValueError(f"knots must be 1-d, got shape {values.shape}.")
        if not (values >= 0).all():
            bad = values[~(values >= 0)][0]
            raise ValueError(f"knot={bad} must be a number >= 0.")
        points, last = self._direction * values, self._clock[-1]
        beyond = points > last + 1e-10 * abs(last)  # 1 / (1 / t) is not quite t
        if beyond.any() and not self.is_complete:
            bad = values[beyond][0]
            advice = f"a larger t_max (at least {bad:.6g})"
            if self.knot_name == "alpha":
                advice = f"smaller penalties, down to alpha={bad:.6g}"
            if self.knot_name == "threshold":
                advice = f"smaller thresholds, down to {bad:.6g}"
            if self.status == "max_outliers":
                advice += " and a larger max_outliers"
            if self.status in ("max_features", "max_rows"):
                advice += f" and a larger {self.status}"
            raise ValueError(
                f"knot={bad:.6g} lies beyond the traced range {self._range()} (status "
                f"{self.status!r}). Trace the path again with {advice}."
            )
        return np.clip(points, self._clock[0], last)

    def entry_knots(self) -> NDArray[np.float64]:
        """First time (or alpha) at which each feature enters, of shape (n_features,).

        NaN for features that never do, ``knots[0]`` for unpenalized ones.
        """
        first = np.full(self.n_features, np.inf)
        np.minimum.at(first, self.events["feature"], self._direction * self.events["t"])
        # Without events (unpenalized, or not recorded): the first nonzero knot.
        nonzero = self._nonzero(self.active_coefs)
        seen = np.where(
            nonzero.any(axis=0), self._clock[nonzero.argmax(axis=0)], np.inf
        )
        features = self.active_features
        first[features] = np.minimum(first[features], seen)
        factor = self.settings.get("penalty_factor")
        if factor is not None and np.shape(factor) == first.shape:
            first[np.asarray(factor) == 0] = self._clock[0]
        return np.where(np.isfinite(first), self._direction * first, np.nan)

    def entry_order(self, k: int | None = None) -> NDArray[np.int64]:
        """Features in the order of their first entry, the first `k` of them.

        Ties are broken by the feature index; features that never enter are left out.
        """
        entry = self._direction * self.entry_knots()
        order = np.argsort(entry, kind="stable")  # NaN comes last
        return order[: np.count_nonzero(~np.isnan(entry))][:k]

    # -------------------------------------------------------------------- with data

    def linear_predictor(
        self, X: Any, knot: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Compute ``X @ coef + intercept`` along the path.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Only the active columns are read.
        knot : float, array-like of shape (m,) or None
            Values of t (or alpha) as in `at`; None stands for all stored knots.

        Returns
        -------
        eta : ndarray of shape ``(n_knots or m, *lead, n_samples)``
            Without the first axis if `knot` is one number.
        """
        one = knot is not None and np.ndim(knot) == 0
        if knot is None:
            coefs, intercepts = self.active_coefs, self.intercepts
        else:
            coefs, intercepts = self._active_at(np.atleast_1d(knot))
        eta = self._eta(X, coefs, intercepts)
        return eta[0] if one else eta

    def _eta(self, X: Any, coefs: NDArray[Any], intercepts: NDArray[Any]) -> Any:
        """Linear predictors (m, *lead, n_samples) of m points of the path."""
        block = active_columns(self, X)
        rows = coefs.reshape(math.prod(coefs.shape[:-1]), coefs.shape[-1])
        eta = np.asarray(block @ rows.T).T.reshape(*coefs.shape[:-1], block.shape[0])
        return eta + intercepts[..., None]

    def predict(self, X: Any, knot: ArrayLike | None = None) -> NDArray[Any]:
        """Predict along the whole path, or at some values of t (or alpha).

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_samples, n_features)
            Only the active columns are read.
        knot : float, array-like of shape (m,) or None
            Values of t (or alpha) as in `at`; None stands for all stored knots.

        Returns
        -------
        ndarray of shape (n_knots or m, n_samples)
            Class labels if the path has `classes`, mean responses otherwise. Without
            the first axis if `knot` is one number.
        """
        return self._respond(self.linear_predictor(X, knot))

    def _respond(self, eta: NDArray[np.float64]) -> NDArray[Any]:
        """Class labels or mean responses for linear predictors (..., n_samples)."""
        if self.active_coefs.ndim == 2:
            eta = eta[..., None, :]
        # The loss takes (n_outputs, n_samples): line up the samples of all knots.
        eta = np.moveaxis(eta, -2, 0)
        flat = np.ascontiguousarray(eta.reshape(len(eta), math.prod(eta.shape[1:])))
        mean = np.asarray(self.loss.inverse_link(flat)).reshape(eta.shape)
        if self.classes is not None:
            code = mean.argmax(axis=0) if len(mean) > 1 else (mean[0] > 0.5).astype(int)
            return self.classes[code]
        return mean[0] if self.active_coefs.ndim == 2 else np.moveaxis(mean, 0, -1)

    def refit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RegularizationPath:
        """Refit the support of every knot without penalty.

        Parameters
        ----------
        X, y, sample_weight
            Data as given to the solver.

        Returns
        -------
        RegularizationPath
            Method ``"<method>+refit"``, with the same knots and events. It is constant
            between knots: the fit on the support of the last knot reached.
        """
        from .solvers.refit import refit_path

        return refit_path(self, self._problem(X, y, sample_weight))

    def verify(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> pd.DataFrame:
        """Check the optimality of every knot from the data alone.

        Parameters
        ----------
        X, y, sample_weight
            Data as given to the solver.

        Returns
        -------
        pandas.DataFrame
            One row per knot, see `sparselbi.solvers.verify.verify_path`.
        """
        from .solvers.verify import verify_path

        return verify_path(self, self._problem(X, y, sample_weight))

    def stability(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        sample_groups: ArrayLike | None = None,
        **options: Any,
    ) -> Any:
        """Trace the path again on random halves of the samples.

        Parameters
        ----------
        X, y, sample_weight
            Data as given to the solver.
        sample_groups : array-like of shape (n_samples,), default=None
            Samples with equal labels stay together.
        **options
            ``n_pairs=50``, ``max_features=None``, ``random_state=0``, ``n_jobs=None``;
            see `sparselbi.selection.stability_selection`.

        Returns
        -------
        sparselbi.selection.Stability
            Entry times of every feature in every half; stable features.
        """
        from .selection.stability import stability_selection

        problem = self._problem(X, y, sample_weight).with_sample_groups(sample_groups)
        return stability_selection(self, problem, **options)

    def _problem(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> Any:
        from .problem import Problem

        return Problem(
            X,
            y,
            loss=self.loss,
            penalty=self.penalty,
            sample_weight=sample_weight,
            **self.settings,
        )

    def compare(self, other: RegularizationPath, n_points: int = 200) -> PathComparison:
        """Compare with another path on a common grid of t.

        Parameters
        ----------
        other : RegularizationPath
            With coefficients of the same shape. Paths over alpha are read at
            t = 1 / alpha.
        n_points : int, default=200
            Points of the geometric grid, from the earlier start of the two to the
            earlier end.

        Returns
        -------
        PathComparison
        """
        return _path_views.compare(self, other, n_points)

    # ------------------------------------------------------------- tables and plots

    def to_frame(self, dense: bool = False, tidy: bool = False) -> pd.DataFrame:
        """Coefficients as a data frame.

        Parameters
        ----------
        dense : bool, default=False
            All features, not only those that are active somewhere.
        tidy : bool, default=False
            One row per knot and coefficient, with the columns ``t`` (or ``alpha``),
            ``class`` or ``output`` if there are several, ``feature`` and ``coef``.

        Returns
        -------
        pandas.DataFrame
            By default one row per knot and one column per feature; with several
            outputs the columns are a MultiIndex.
        """
        return _path_views.coef_frame(self, dense, tidy)

    def events_frame(self) -> pd.DataFrame:
        """Entries and leavings as a data frame, in path order.

        Columns: ``t`` (or ``alpha``), ``feature`` (its name), ``index``, ``class`` or
        ``output`` if there are several (None: all at once), ``sign`` and ``event``
        (``"enters"`` or ``"leaves"``).
        """
        return _path_views.event_frame(self)

    def summary(
        self, max_rows: int = 20, mark: Mapping[str, float] | None = None
    ) -> str:
        """A table of the knots at which the support changes.

        Parameters
        ----------
        max_rows : int, default=20
            Kept are the marked rows, the last one, and as many first rows as fit.
        mark : dict of str to float or None
            Names of points and their t (or alpha), as in ``{"ebic":
            model.selection_.knot}``; they get rows of their own.

        Returns
        -------
        str
            Shows itself at a prompt. ``size`` counts features; ``explained`` is the
            share of the null model's deviance, if the path stores deviances.
        """
        return _path_views.summary(self, max_rows, mark)

    def plot(
        self,
        ax: Any = None,
        *,
        x: str = "log_t",
        top: int = 10,
        by: str = "entry",
        scale: ArrayLike | None = None,
        t_max: float | None = None,
    ) -> Any:
        """Plot the coefficients along the path.

        A shortcut; `sparselbi.plotting.PathDisplay` can also mark points, colour by
        other groups and draw several paths.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            A new figure if None. With several outputs (classes) every one has a panel,
            and a single Axes is divided.
        x : {"log_t", "t", "l1_norm"}, default="log_t"
            Horizontal axis: t (for alpha paths 1 / alpha) on a logarithmic or a
            linear scale, or the sum of the absolute coefficients.
        top : int, default=10
            How many features are drawn in colour and named beside the line; the other
            active ones are grey.
        by : {"entry", "size"}, default="entry"
            Which ones: the first that enter, or the largest anywhere on the path.
        scale : array-like of shape (n_features,) or None
            Factors for the coefficients. With ``X.std(axis=0)`` lines of features in
            different units can be compared.
        t_max : float, default=None
            Where the drawing ends, in units of t; None is the end of the path.

        Returns
        -------
        matplotlib Axes
            An array of them with several outputs. Every line carries the name of its
            feature as label.
        """
        from .plotting import PathDisplay

        options: dict[str, Any] = {"x": x, "top": top, "by": by, "t_max": t_max}
        display = PathDisplay.from_path(self, ax=ax, scale=scale, **options)
        return display.ax_ if len(display.axes_) == 1 else display.axes_

    # ------------------------------------------------------------------------ files

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the path to one compressed ``.npz`` file, without pickle.

        The file is complete or not there: it is written under another name first.

        Raises
        ------
        ValueError
            If `info` or `settings` hold something other than numbers, strings, arrays
            of them, and lists, tuples and dicts of those.
        """
        save_fields(self._fields(), file)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> RegularizationPath:
        """Read a path that `save` wrote; every number comes back bit by bit.

        Raises
        ------
        ValueError
            If the file is damaged, is not a saved path, or is of a newer format.
        """
        content = load_fields(file)
        try:
            return path_class(content)(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{str(file)!r} is not a valid path: {error}") from error


def read_only(value: Any, dtype: Any = None) -> NDArray[Any]:
    view = np.asarray(value, dtype=dtype).view()
    view.flags.writeable = False
    return view


def _frozen_copy(values: dict[str, Any]) -> dict[str, Any]:
    """A shallow copy with read-only copies of its arrays."""
    return {
        name: read_only(value.copy()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
