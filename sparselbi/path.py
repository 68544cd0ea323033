"""The answer: `RegularizationPath`, the one result type of every solver."""

from __future__ import annotations

import html
import math
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ._path_io import load_fields, save_fields

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

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
        null model), strictly decreasing penalty strengths if it is ``"alpha"``.
    knot_name : {"t", "alpha"}
    active_features : ndarray of int of shape (n_active,)
        Features that are nonzero somewhere, ascending, unpenalized ones included.
    active_coefs : ndarray of shape (n_knots, *lead, n_active)
    intercepts : ndarray of shape (n_knots, *lead)
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
    split_coefs, duals : ndarray with n_knots rows, or None

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
    split_coefs: NDArray[np.float64] | None = None
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
            "split_coefs": np.float64,
            "duals": np.float64,
        }
        names = getattr(self.events, "dtype", EVENT_DTYPE).names
        if len(self.events) and names != EVENT_DTYPE.names:
            raise ValueError(
                f"events has fields {names}, expected {EVENT_DTYPE.names}."
            )
        for name, dtype in types.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _read_only(value, dtype))
        for name in ("settings", "info"):
            object.__setattr__(self, name, _frozen_copy(getattr(self, name)))
        if self.feature_names is not None:
            names = tuple(str(name) for name in self.feature_names)
            object.__setattr__(self, "feature_names", names)
        self._check_shapes()
        self._check_events()

    def _check_shapes(self) -> None:
        _check_choice("knot_name", self.knot_name, ("t", "alpha"))
        _check_choice("interpolation", self.interpolation, ("linear", "constant"))
        knots, features, coefs = self.knots, self.active_features, self.active_coefs
        if knots.ndim != 1 or len(knots) == 0 or not np.isfinite(knots).all():
            raise ValueError(f"knots={knots!r} must be finite numbers, at least one.")
        if (knots < 0).any() or (np.diff(self._clock) <= 0).any():
            order = "increasing" if self.knot_name == "t" else "decreasing"
            raise ValueError(
                f"knots must be strictly {order} and >= 0 for "
                f"knot_name={self.knot_name!r}, got {knots!r}."
            )
        if features.ndim != 1 or (np.diff(features) <= 0).any():
            raise ValueError(
                f"active_features={features!r} must be strictly ascending."
            )
        if len(features) and not 0 <= features[0] <= features[-1] < self.n_features:
            raise ValueError(
                f"active_features={features!r} must lie in [0, n_features), "
                f"n_features={self.n_features}."
            )
        n_knots, n_active = len(knots), len(features)
        if coefs.ndim not in (2, 3):
            raise ValueError(f"active_coefs has {coefs.ndim} axes, expected 2 or 3.")
        lead = coefs.shape[1:-1]
        expected = {
            "active_coefs": (n_knots, *lead, n_active),
            "intercepts": (n_knots, *lead),
            "active_means": (n_active,),
            "deviance": (n_knots,),
            "refit_deviance": (n_knots,),
            "size": (n_knots,),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(
                    f"{name} has shape {value.shape}, expected {shape}: there are "
                    f"{n_knots} knots and {n_active} active features, and active_coefs "
                    f"has shape {coefs.shape}."
                )
        for name in ("split_coefs", "duals"):
            value = getattr(self, name)
            if value is not None and len(value) != n_knots:
                raise ValueError(f"{name} has {len(value)} rows for {n_knots} knots.")
        for name in ("active_coefs", "intercepts"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} contains NaN or infinity.")
        if (
            self.feature_names is not None
            and len(self.feature_names) != self.n_features
        ):
            raise ValueError(
                f"feature_names has {len(self.feature_names)} entries for "
                f"n_features={self.n_features}."
            )
        n_classes = None if not lead else 2 if lead == (1,) else lead[0]
        if self.classes is not None and len(self.classes) != n_classes:
            raise ValueError(
                f"classes has {len(self.classes)} labels, but active_coefs of shape "
                f"{coefs.shape} stands for {n_classes or 'no'} classes."
            )

    def _check_events(self) -> None:
        t, feature, output = (self.events[name] for name in ("t", "feature", "output"))
        clock, ends = self._direction * t, self._clock[[0, -1]]
        slack = 1e-9 * np.abs(ends)
        # written so that NaN fails
        if not ((clock >= ends[0] - slack[0]) & (clock <= ends[1] + slack[1])).all():
            raise ValueError(f"events lie outside the knots {self._range()}: t={t!r}.")
        if (np.diff(clock) < 0).any():
            raise ValueError("events must be sorted by t, in path order.")
        if not np.isin(feature, self.active_features).all():
            unknown = np.setdiff1d(feature, self.active_features)
            raise ValueError(f"events of features outside active_features: {unknown}.")
        n_outputs = math.prod(self.coef_shape[:-1])
        if not ((output >= -1) & (output < n_outputs)).all():
            raise ValueError(f"events.output must lie in [-1, {n_outputs}).")
        if len(t) == 0:
            return
        # Per coefficient, entries and leavings alternate, the first one fitting knot 0.
        order = np.lexsort((np.arange(len(t)), output, feature))
        feature, output, enters = (
            self.events[name][order] for name in ("feature", "output", "enters")
        )
        first = np.r_[True, (np.diff(feature) != 0) | (np.diff(output) != 0)]
        start = self.active_coefs[0].reshape(n_outputs, -1) != 0
        column = np.searchsorted(self.active_features, feature)
        at_start = np.where(
            output < 0, start.any(axis=0)[column], start[output, column]
        )
        inside = np.where(first, at_start, np.r_[False, enters[:-1]])
        wrong = np.flatnonzero(enters == inside)
        if len(wrong):
            raise ValueError(
                f"events of feature {feature[wrong[0]]}, output {output[wrong[0]]} do "
                f"not alternate: a coefficient enters when it is zero and leaves when "
                f"it is not, and a sign flip is a leaving and an entry."
            )

    def __getstate__(self) -> dict[str, Any]:
        return self._fields()  # without cached properties

    def __setstate__(self, state: dict[str, Any]) -> None:
        RegularizationPath.__init__(self, **state)  # makes arrays read-only again

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

        True for the statuses "least_squares" and "stationary", and for "saturated" on
        a piecewise constant path.
        """
        return self.status in ("least_squares", "stationary") or (
            self.status == "saturated" and self.interpolation == "constant"
        )

    @cached_property
    def coefs(self) -> NDArray[np.float64]:
        """All coefficients, dense, of shape (n_knots, *coef_shape); made on demand."""
        return _read_only(self._dense(self.active_coefs))

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
        return (
            f"RegularizationPath(method={self.method!r}, loss={self.loss.name!r}, "
            f"penalty={self.penalty.name!r}, {len(self)} knots with {self._range()}, "
            f"{len(self.active_features)} of {self.n_features} features active, "
            f"status={self.status!r})"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary(max_rows=8))}</pre>"

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
        """Dense coefficients (m, *coef_shape) and intercepts (m, *lead) at m values.

        `at` for an array of values of t (or alpha), in any order. For predictions
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
        clock, points = self._clock, self._checked(knots)
        left = np.searchsorted(clock, points, side="right") - 1
        coefs, intercepts = self.active_coefs[left], self.intercepts[left]
        if self.interpolation == "constant":
            return coefs, intercepts
        means = 0.0 if self.active_means is None else self.active_means
        for i in np.flatnonzero(points > clock[left]):
            k, point = left[i], points[i]
            pair = self.active_coefs[k : k + 2]
            coefs[i] = self._between(k, point)
            share = (point - clock[k]) / (clock[k + 1] - clock[k])
            # Linear is the intercept of the centred columns, mean response at coef 0.
            centred = self.intercepts[k : k + 2] + (pair * means).sum(axis=-1)
            centred = centred[0] + share * (centred[1] - centred[0])
            intercepts[i] = centred - (coefs[i] * means).sum(axis=-1)
        return coefs, intercepts

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
            if self.status == "max_features":
                advice += " and a larger max_features"
            raise ValueError(
                f"knot={bad:.6g} lies beyond the traced range {self._range()} (status "
                f"{self.status!r}). Trace the path again with {advice}."
            )
        return np.clip(points, self._clock[0], last)

    @cached_property
    def _zeros(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Times and flat indices of the zeros that events put between the knots.

        Interval k, between knots k and k + 1, owns ``bounds[k] : bounds[k + 1]``.
        """
        clock, enters = self._direction * self.events["t"], self.events["enters"]
        # An entry at a knot belongs to the interval before it, a leaving to the one
        # after: the coefficient stored at that knot is on the nonzero side.
        before = np.searchsorted(self._clock, clock, side="left") - 1
        after = np.searchsorted(self._clock, clock, side="right") - 1
        interval = np.where(enters, before, after).clip(0, max(len(self) - 2, 0))
        column = np.searchsorted(self.active_features, self.events["feature"])
        # An event of the whole row is one event per output.
        n_outputs, n_active = math.prod(self.coef_shape[:-1]), len(self.active_features)
        whole = self.events["output"] < 0
        repeats = np.where(whole, n_outputs, 1)
        index = np.repeat(np.arange(len(clock)), repeats)
        copy = np.arange(len(index)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        output = np.where(whole[index], copy, self.events["output"][index])
        index_order = np.argsort(interval[index], kind="stable")
        index, output = index[index_order], output[index_order]
        bounds = np.searchsorted(interval[index], np.arange(len(self) + 1))
        return clock[index], output * n_active + column[index], bounds

    def _between(self, k: int, point: float) -> NDArray[np.float64]:
        """Coefficients inside interval k: linear between knots and zeros."""
        left, right = self.active_coefs[k].flatten(), self.active_coefs[k + 1].flatten()
        left_time = np.full(left.shape, self._clock[k])
        right_time = np.full(left.shape, self._clock[k + 1])
        times, entries, bounds = self._zeros
        times = times[bounds[k] : bounds[k + 1]]
        entries = entries[bounds[k] : bounds[k + 1]]
        n_past = np.searchsorted(times, point, side="right")
        # Later assignments win: the last zero before `point`, the first one after it.
        left[entries[:n_past]] = 0.0
        left_time[entries[:n_past]] = times[:n_past]
        right[entries[n_past:]] = 0.0
        right_time[entries[n_past:][::-1]] = times[n_past:][::-1]
        share = (point - left_time) / (right_time - left_time)
        return (left + share * (right - left)).reshape(self.active_coefs.shape[1:])

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
        eta : ndarray of shape (n_knots or m, *lead, n_samples)
            Without the first axis if `knot` is one number.
        """
        one = knot is not None and np.ndim(knot) == 0
        if knot is None:
            coefs, intercepts = self.active_coefs, self.intercepts
        else:
            coefs, intercepts = self._active_at(np.atleast_1d(knot))
        block = self._active_columns(X)
        rows = coefs.reshape(math.prod(coefs.shape[:-1]), coefs.shape[-1])
        eta = np.asarray(block @ rows.T).T.reshape(*coefs.shape[:-1], block.shape[0])
        eta = eta + intercepts[..., None]
        return eta[0] if one else eta

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
        eta = self.linear_predictor(X, knot)
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

    def _active_columns(self, X: Any) -> Any:
        """The active columns of `X` as a float64 or sparse block."""
        columns = getattr(X, "columns", None)
        if columns is not None and self.feature_names is not None:
            given = tuple(str(name) for name in columns)
            if given != self.feature_names:
                pairs = zip(given, self.feature_names, strict=False)
                bad = next((pair for pair in pairs if pair[0] != pair[1]), None)
                raise ValueError(
                    f"X must have the {self.n_features} columns of the path, in the "
                    f"same order; got {len(given)} columns"
                    + (f", with {bad[0]!r} in place of {bad[1]!r}." if bad else ".")
                )
        if not sparse.issparse(X) and not hasattr(X, "columns"):
            X = np.asarray(X)
        if len(X.shape) != 2 or X.shape[1] != self.n_features:
            raise ValueError(
                f"X has shape {tuple(X.shape)}, expected (n_samples, "
                f"{self.n_features}) as for the data of the path."
            )
        features = self.active_features
        if sparse.issparse(X):
            block = (X if X.format in ("csr", "csc") else X.tocsr())[:, features]
        elif hasattr(X, "iloc"):
            block = X.iloc[:, features].to_numpy(dtype=np.float64)
        elif hasattr(X, "columns"):
            block = np.empty((X.shape[0], len(features)))
            for i, feature in enumerate(features):
                block[:, i] = X[:, int(feature)]
        else:
            block = X[:, features].astype(np.float64, copy=False)
        if not np.isfinite(block.data if sparse.issparse(block) else block).all():
            raise ValueError(
                "X contains NaN or infinity in columns that the path uses."
            )
        return block

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
        from .solvers.refit import refit_coefs

        problem = self._problem(X, y, sample_weight)
        coefs = np.zeros(self.active_coefs.shape)
        intercepts = np.zeros(self.intercepts.shape)
        deviance = np.zeros(len(self))
        nonzero = self._nonzero(self.active_coefs)
        done: dict[bytes, tuple[Any, Any, float]] = {}
        for k, mask in enumerate(nonzero):
            if (key := mask.tobytes()) not in done:
                done[key] = refit_coefs(problem, self.active_features[mask])
            coefs[k][..., mask], intercepts[k], deviance[k] = done[key]
        return replace(
            self,
            method=f"{self.method}+refit",
            interpolation="constant",
            active_coefs=coefs,
            intercepts=intercepts,
            deviance=deviance,
            size=(coefs != 0).reshape(len(self), -1).sum(axis=1),
            refit_deviance=None,
            split_coefs=None,
            duals=None,
        )

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
        return _compare(self, other, n_points)

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
        return _coef_frame(self, dense, tidy)

    def events_frame(self) -> pd.DataFrame:
        """Entries and leavings as a data frame, in path order.

        Columns: ``t`` (or ``alpha``), ``feature`` (its name), ``index``, ``class`` or
        ``output`` if there are several (None: all at once), ``sign`` and ``event``
        (``"enters"`` or ``"leaves"``).
        """
        return _event_frame(self)

    def summary(self, max_rows: int = 20) -> str:
        """A table of the knots at which the support changes.

        Parameters
        ----------
        max_rows : int, default=20
            The first rows are kept, and the last one.

        Returns
        -------
        str
            Shows itself at a prompt. ``size`` counts features; ``explained`` is the
            share of the null model's deviance, if the path stores deviances.
        """
        return _summary(self, max_rows)

    def plot(self, ax: Axes | None = None, *, x: str = "log_t", top: int = 10) -> Axes:
        """Plot the coefficients along the path.

        Parameters
        ----------
        ax : matplotlib Axes or None
            A new figure if None.
        x : {"log_t", "t", "l1_norm"}, default="log_t"
            Horizontal axis: t (for alpha paths 1 / alpha) on a logarithmic or a
            linear scale, or the sum of the absolute coefficients.
        top : int, default=10
            How many coefficients, the largest ones at the end of the path first, are
            drawn in colour with their names at the right end; the others are grey.

        Returns
        -------
        matplotlib Axes
            Every line carries the name of its coefficient as label.
        """
        return _plot(self, ax, x, top)

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
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{str(file)!r} is not a valid path: {error}") from error


def _read_only(value: Any, dtype: Any = None) -> NDArray[Any]:
    view = np.asarray(value, dtype=dtype).view()
    view.flags.writeable = False
    return view


def _frozen_copy(values: dict[str, Any]) -> dict[str, Any]:
    """A shallow copy with read-only copies of its arrays."""
    return {
        name: _read_only(value.copy()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; use one of {list(allowed)}.")


# Views: what is read off a finished path, for people.


@dataclass(frozen=True, eq=False)
class PathComparison:
    """How far two paths are apart, on a common grid of t.

    Attributes
    ----------
    t : ndarray of shape (n_points,)
    coef_difference : ndarray of shape (n_points,)
        Largest absolute difference of a coefficient.
    same_support : ndarray of bool of shape (n_points,)
    max_difference, worst_t : float
        Largest entry of `coef_difference`, and where it occurs.
    relative_difference : float
        `max_difference` over the largest coefficient of either path on the grid.
    support_agreement : float
        Share of the grid on which the supports are equal.
    """

    t: NDArray[np.float64]
    coef_difference: NDArray[np.float64]
    same_support: NDArray[np.bool_]
    max_difference: float
    worst_t: float
    relative_difference: float
    support_agreement: float

    def __repr__(self) -> str:
        return (
            f"PathComparison(max_difference={self.max_difference:.3g} at "
            f"t={self.worst_t:.4g}, relative={self.relative_difference:.3g}, "
            f"supports equal at {self.support_agreement:.1%} of {len(self.t)} points "
            f"with t in [{self.t[0]:.4g}, {self.t[-1]:.4g}])"
        )


def _compare(
    path: RegularizationPath, other: RegularizationPath, n_points: int
) -> PathComparison:
    if path.coef_shape != other.coef_shape:
        raise ValueError(
            f"other has coefficients of shape {other.coef_shape}, this path "
            f"{path.coef_shape}; only paths for the same question can be compared."
        )
    if operator.index(n_points) < 1:
        raise ValueError(f"n_points={n_points!r} must be at least 1.")
    known = np.concatenate([path._t(path.knots), other._t(other.knots)])
    known = known[(known > 0) & np.isfinite(known)]
    ends = [np.inf if p.is_complete else p._t(p.knots)[-1] for p in (path, other)]
    end = min(ends)
    t = np.zeros(1)
    if len(known) and end > 0:
        end = min(end, known.max())
        t = np.unique(np.geomspace(min(known.min(), end), end, n_points))

    union = np.union1d(path.active_features, other.active_features)
    coefs = []
    for p in (path, other):
        active, _ = p._active_at(p._t(t))  # t <-> alpha is its own inverse
        wide = np.zeros((*active.shape[:-1], len(union)))
        wide[..., np.searchsorted(union, p.active_features)] = active
        coefs.append(wide)
    first, second = coefs
    axes = tuple(range(1, first.ndim))
    difference = np.abs(first - second).max(axis=axes, initial=0.0)
    same = (path._nonzero(first) == path._nonzero(second)).all(axis=1)
    scale = max(np.abs(first).max(initial=0.0), np.abs(second).max(initial=0.0))
    worst = int(difference.argmax())
    return PathComparison(
        t=t,
        coef_difference=difference,
        same_support=same,
        max_difference=float(difference[worst]),
        worst_t=float(t[worst]),
        relative_difference=float(difference[worst] / scale) if scale else 0.0,
        support_agreement=float(same.mean()),
    )


def _coef_frame(path: RegularizationPath, dense: bool, tidy: bool) -> pd.DataFrame:
    import pandas as pd

    features = np.arange(path.n_features) if dense else path.active_features
    names = [path._name(feature) for feature in features]
    outputs, kind = path._outputs(), "output" if path.classes is None else "class"
    columns = pd.Index(names, name="feature")
    if outputs is not None:
        columns = pd.MultiIndex.from_product([outputs, names], names=[kind, "feature"])
    values = path.coefs if dense else path.active_coefs
    frame = pd.DataFrame(
        values.reshape(len(path), math.prod(values.shape[1:])),
        index=pd.Index(path.knots, name=path.knot_name),
        columns=columns,
    )
    if tidy:
        return frame.melt(ignore_index=False, value_name="coef").reset_index()
    return frame


def _event_frame(path: RegularizationPath) -> pd.DataFrame:
    import pandas as pd

    events, outputs = path.events, path._outputs()
    data: dict[str, Any] = {
        path.knot_name: events["t"],
        "feature": np.array([path._name(j) for j in events["feature"]], dtype=object),
        "index": events["feature"],
    }
    if outputs is not None:
        labels = [None if o < 0 else outputs[o] for o in events["output"]]
        kind = "output" if path.classes is None else "class"
        data[kind] = pd.Series(labels, dtype=object)
    data["sign"] = events["sign"]
    data["event"] = np.where(events["enters"], "enters", "leaves")
    return pd.DataFrame(data)


class _Table(str):
    """Text that shows itself, so that ``path.summary()`` prints in a session."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _summary(path: RegularizationPath, max_rows: int) -> str:
    nonzero = path._nonzero(path.active_coefs)
    rank = np.empty(path.n_features, dtype=np.int64)
    order = path.entry_order()
    rank[order] = np.arange(len(order))
    rows = []
    for k in range(len(path)):
        before = nonzero[k - 1] if k else np.zeros_like(nonzero[0])
        enters = path.active_features[nonzero[k] & ~before]
        leaves = path.active_features[before & ~nonzero[k]]
        if len(enters) + len(leaves) == 0 and k not in (0, len(path) - 1):
            continue
        marks = [f"+{path._name(j)}" for j in enters[np.argsort(rank[enters])]]
        marks += [f"-{path._name(j)}" for j in leaves]
        cells = [f"{path.knots[k]:.4g}", str(nonzero[k].sum())]
        if path.deviance is not None:
            null = path.deviance[0]
            share = 1 - path.deviance[k] / null if null > 0 else 0.0
            cells.append(f"{share:.1%}")
        rows.append([*cells, _shortened(marks, width=52)])
    title = (
        f"{path.method} path: {path.loss.name} loss, {path.penalty.name} penalty, "
        f"{path.n_samples:g} samples\n{len(path.active_features)} of "
        f"{path.n_features} features active, {len(path)} knots with {path._range()}"
        + (f", ended by {path.status!r}" if path.status else "")
    )
    head = [path.knot_name, "size"]
    head += ["explained"] if path.deviance is not None else []
    head.append("entering (+), leaving (-)")
    return _Table(f"{title}\n\n{_aligned(head, rows, max_rows)}")


def _shortened(marks: list[str], width: int) -> str:
    """`marks` on one line, the last ones replaced by their number if need be."""
    text = "  ".join(marks)
    kept = len(marks)
    while len(text) > width and kept > 1:
        kept -= 1
        text = "  ".join([*marks[:kept], f"(and {len(marks) - kept} more)"])
    return text


def _aligned(head: list[str], rows: list[list[str]], max_rows: int) -> str:
    """Rows as text: all columns to the right, the last one to the left."""
    max_rows = max(max_rows, 2)
    skipped = len(rows) - max_rows
    if skipped > 0:
        rows = [*rows[: max_rows - 1], rows[-1]]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head) - 1)]
    lines = [
        "  ".join([c.rjust(w) for c, w in zip(row, widths, strict=False)] + row[-1:])
        for row in [head, *rows]
    ]
    if skipped > 0:
        gap = "  ".join("...".rjust(width) for width in widths)
        lines.insert(-1, f"{gap}  ({skipped} more changes)")
    return "\n".join(line.rstrip() for line in lines)


def _plot(path: RegularizationPath, ax: Axes | None, x: str, top: int) -> Axes:
    from matplotlib.ticker import LogLocator

    _check_choice("x", x, ("log_t", "t", "l1_norm"))
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    steps = path.interpolation == "constant" and x != "l1_norm"
    across, coefs = _plotted_points(path, x, steps)
    outputs = path._outputs()
    names = [path._name(j) for j in path.active_features]
    if outputs is not None:
        names = [f"{name} [{label}]" for label in outputs for name in names]
    lines = coefs.reshape(len(coefs), len(names)).T
    ends, largest = lines[:, -1], np.abs(lines).max(axis=1)
    order = np.lexsort((-largest, -np.abs(ends)))[: max(top, 0)]
    # Ten colours, then the same ten dashed, ...
    looks: dict[int, dict[str, Any]] = {
        i: {"color": f"C{r % 10}", "ls": ("-", "--", ":", "-.")[r // 10 % 4], "lw": 1.5}
        for r, i in enumerate(order.tolist())
        if largest[i] > 0
    }
    grey: dict[str, Any] = {"color": "0.75", "ls": "-", "lw": 0.8, "zorder": 1.5}
    style = "steps-post" if steps else "default"
    ax.axhline(0.0, color="0.3", lw=0.8, zorder=1)
    for i in np.flatnonzero(largest).tolist():
        look = looks.get(i, grey)
        # Only where it moves: nothing is drawn over the zero line.
        rest = np.convolve(lines[i] != 0, [1, 1, 1], mode="same") == 0
        line = np.where(rest, np.nan, lines[i])
        ax.plot(across, line, label=names[i], drawstyle=style, **look)
    ax.margins(x=0)
    if x == "log_t":
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        if across[-1] < 30 * across[0]:
            ax.xaxis.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 4, 5, 7)))
            ax.xaxis.set_minor_formatter("{x:g}")
    ax.update_datalim([(across.min(), 0.0), (across.max(), 0.0)])
    ax.autoscale_view()
    label = "t" if path.knot_name == "t" else "1 / alpha"
    ax.set_xlabel("sum of absolute coefficients" if x == "l1_norm" else label)
    ax.set_ylabel("coefficient")
    _label_ends(ax, [(names[i], ends[i], look["color"]) for i, look in looks.items()])
    return ax


def _plotted_points(
    path: RegularizationPath, x: str, steps: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Abscissae and active coefficients at the corners of the drawn lines."""
    knots = path.knots
    if path.interpolation == "linear" and len(path.events) <= 2000:
        inside = path.events["t"].clip(min(knots), max(knots))
        knots = path._direction * np.unique(path._direction * np.r_[knots, inside])
    coefs, _ = path._active_at(knots)
    if x == "l1_norm":
        return np.abs(coefs).sum(axis=tuple(range(1, coefs.ndim))), coefs
    across = path._t(knots)
    shown = np.isfinite(across) & ((across > 0) | (x == "t"))
    if not shown.any():
        return np.ones(1), coefs[:1]
    across, coefs = across[shown], coefs[shown]
    if x == "log_t" and not shown[0]:
        # t = 0 has no place on this axis: show a piece of the null model.
        across = np.r_[0.8 * across[0], across]
        coefs = np.concatenate([path.active_coefs[:1], coefs])
    if steps and path.is_complete:  # the last step has no end
        across = np.r_[across, 1.15 * across[-1]]
        coefs = np.concatenate([coefs, coefs[-1:]])
    return across, coefs


def _label_ends(ax: Axes, labels: list[tuple[str, float, str]]) -> None:
    """Write names beside the line ends at the right edge, none over another."""
    if not labels:
        return
    low, high = ax.get_ylim()
    height = ax.bbox.height / ax.figure.dpi * 72  # in points, as all positions below
    size = min(9.0, height / (1.25 * len(labels)))
    ends = np.array([end for _, end, _ in labels])
    wanted = (ends - low) / (high - low) * height
    places = _spread_out(wanted, 1.25 * size, 0.0, height)
    for (name, end, color), shift in zip(labels, places - wanted, strict=True):
        leader = {"arrowstyle": "-", "color": color, "lw": 0.6, "relpos": (0, 0.5)}
        ax.annotate(
            name,
            xy=(1.0, end),
            xycoords=ax.get_yaxis_transform(),
            xytext=(16.0, shift),
            textcoords="offset points",
            fontsize=size,
            color=color,
            va="center",
            annotation_clip=False,
            arrowprops={**leader, "shrinkA": 1, "shrinkB": 0},
        )


def _spread_out(
    wanted: NDArray[np.float64], gap: float, low: float, high: float
) -> NDArray[np.float64]:
    """Nearest positions (least squares) that are `gap` apart and within the limits."""
    order = np.argsort(wanted, kind="stable")
    offsets = gap * np.arange(len(wanted))
    # Minus the offsets, "at least a gap apart" is "not decreasing": isotonic fit.
    blocks: list[list[float]] = []
    for value in wanted[order] - offsets:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, weight = blocks.pop()
            above, count = blocks.pop()
            total = weight + count
            blocks.append([(mean * weight + above * count) / total, total])
    fitted = np.repeat([b[0] for b in blocks], [int(b[1]) for b in blocks])
    top = max(high - gap / 2 - offsets[-1], low + gap / 2)
    placed = np.empty(len(wanted))
    placed[order] = np.clip(fitted, low + gap / 2, top) + offsets
    return placed
