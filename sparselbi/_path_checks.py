"""What the pieces of a path, and the data given to it, must look like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from .path import RegularizationPath


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; use one of {list(allowed)}.")


def check_fields(path: RegularizationPath) -> None:
    """Raise ValueError unless all fields but the events fit together."""
    check_choice("knot_name", path.knot_name, ("t", "alpha", "threshold"))
    check_choice("interpolation", path.interpolation, ("linear", "constant"))
    knots, features, coefs = path.knots, path.active_features, path.active_coefs
    if knots.ndim != 1 or len(knots) == 0 or not np.isfinite(knots).all():
        raise ValueError(f"knots={knots!r} must be finite numbers, at least one.")
    if (knots < 0).any() or (np.diff(path._clock) <= 0).any():
        order = "increasing" if path.knot_name == "t" else "decreasing"
        raise ValueError(
            f"knots must be strictly {order} and >= 0 for "
            f"knot_name={path.knot_name!r}, got {knots!r}."
        )
    if features.ndim != 1 or (np.diff(features) <= 0).any():
        raise ValueError(f"active_features={features!r} must be strictly ascending.")
    if len(features) and not 0 <= features[0] <= features[-1] < path.n_features:
        raise ValueError(
            f"active_features={features!r} must lie in [0, n_features), "
            f"n_features={path.n_features}."
        )
    if coefs.ndim not in (2, 3):
        raise ValueError(f"active_coefs has {coefs.ndim} axes, expected 2 or 3.")
    n_knots, n_active, lead = len(knots), len(features), coefs.shape[1:-1]
    expected = {
        "active_coefs": (n_knots, *lead, n_active),
        "intercepts": (n_knots, *lead),
        "active_means": (n_active,),
        "deviance": (n_knots,),
        "refit_deviance": (n_knots,),
        "size": (n_knots,),
    }
    for name, shape in expected.items():
        value = getattr(path, name)
        if value is not None and value.shape != shape:
            raise ValueError(
                f"{name} has shape {value.shape}, expected {shape}: there are "
                f"{n_knots} knots and {n_active} active features, and active_coefs "
                f"has shape {coefs.shape}."
            )
    if path.duals is not None and len(path.duals) != n_knots:
        raise ValueError(f"duals has {len(path.duals)} rows for {n_knots} knots.")
    for name in ("active_coefs", "intercepts", "active_means"):
        value = getattr(path, name)
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"{name} contains NaN or infinity.")
    names = path.feature_names
    if names is not None and len(names) != path.n_features:
        raise ValueError(
            f"feature_names has {len(names)} entries for n_features={path.n_features}."
        )
    n_classes = None if not lead else 2 if lead == (1,) else lead[0]
    if path.classes is not None and len(path.classes) != n_classes:
        raise ValueError(
            f"classes has {len(path.classes)} labels, but active_coefs of shape "
            f"{coefs.shape} stands for {n_classes or 'no'} classes."
        )


def check_events(path: RegularizationPath) -> None:
    """Raise ValueError unless the events are in order and about this path."""
    t, feature, output, enters = (
        path.events[name] for name in ("t", "feature", "output", "enters")
    )
    clock, ends = path._direction * t, path._clock[[0, -1]]
    slack = 1e-9 * np.abs(ends)
    # written so that NaN fails
    if not ((clock >= ends[0] - slack[0]) & (clock <= ends[1] + slack[1])).all():
        raise ValueError(f"events lie outside the knots {path._range()}: t={t!r}.")
    if (np.diff(clock) < 0).any():
        raise ValueError("events must be sorted by t, in path order.")
    if not np.isin(feature, path.active_features).all():
        unknown = np.setdiff1d(feature, path.active_features)
        raise ValueError(f"events of features outside active_features: {unknown}.")
    n_outputs = math.prod(path.coef_shape[:-1])
    if not ((output >= -1) & (output < n_outputs)).all():
        raise ValueError(f"events.output must lie in [-1, {n_outputs}).")

    # Per coefficient, entries and leavings alternate, the first one fitting knot 0.
    start = path.active_coefs[0].reshape(n_outputs, -1) != 0
    start = np.vstack([start, start.any(axis=0)])  # the last row is output -1
    column = np.searchsorted(path.active_features, feature)
    order = np.lexsort((np.arange(len(t)), output, feature))
    same = np.diff(feature[order]) == 0
    same &= np.diff(output[order]) == 0
    inside = start[output, column][order]
    inside[1:] = np.where(same, enters[order][:-1], inside[1:])
    wrong = order[enters[order] == inside]
    if len(wrong):
        raise ValueError(
            f"events of feature {feature[wrong[0]]}, output {output[wrong[0]]} do not "
            f"alternate: a coefficient enters when it is zero and leaves when it is "
            f"not, and a sign flip is a leaving and an entry."
        )


def active_columns(path: RegularizationPath, X: Any) -> Any:
    """The active columns of `X` as a float64 or sparse block.

    Raises
    ------
    ValueError
        If `X` has another number of features, other feature names, or NaN or infinity
        in an active column.
    """
    columns = getattr(X, "columns", None)  # of a pandas or polars frame
    if columns is not None and path.feature_names is not None:
        given = tuple(str(name) for name in columns)
        if given != path.feature_names:
            pairs = zip(given, path.feature_names, strict=False)
            bad = next((pair for pair in pairs if pair[0] != pair[1]), None)
            raise ValueError(
                f"X must have the {path.n_features} columns of the path, in the same "
                f"order; got {len(given)} columns"
                + (f", with {bad[0]!r} in place of {bad[1]!r}." if bad else ".")
            )
    if columns is None and not sparse.issparse(X):
        X = np.asarray(X)
    if len(X.shape) != 2 or X.shape[1] != path.n_features:
        raise ValueError(
            f"X has shape {tuple(X.shape)}, expected (n_samples, {path.n_features}) "
            f"as for the data of the path."
        )
    features = path.active_features
    if sparse.issparse(X):
        block = (X if X.format in ("csr", "csc") else X.tocsr())[:, features]
    elif columns is None:
        block = X[:, features].astype(np.float64, copy=False)
    elif hasattr(X, "iloc"):
        block = X.iloc[:, features].to_numpy(dtype=np.float64)
    else:
        block = np.empty((X.shape[0], len(features)))
        for i, feature in enumerate(features):
            block[:, i] = X[:, int(feature)]
    if not np.isfinite(block.data if sparse.issparse(block) else block).all():
        raise ValueError("X contains NaN or infinity in columns that the path uses.")
    return block
