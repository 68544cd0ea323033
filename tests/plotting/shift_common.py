"""Small paths of robust regression, made by hand from fits at given thresholds."""

import numpy as np

from sparselbi.losses import get_loss
from sparselbi.penalties import get_penalty
from sparselbi.selection import Selection
from sparselbi.shift_path import ROW_EVENT_DTYPE, ShiftPath

INTERPOLATION = {"l1": "linear", "lbi": "linear", "hard": "constant", "iss": "constant"}


def make_shift_path(X, y, method="l1", n_knots=12, **changes):
    """Fits that move from least squares to that of the rows nearest to it.

    Nothing is optimal here: a display has to draw what the path says.
    """
    X, Y = np.asarray(X), np.asarray(y).reshape(len(y), -1)
    n, p = X.shape
    Z = np.c_[np.ones(n), X]
    whole = np.linalg.lstsq(Z, Y, rcond=None)[0]
    sizes = np.linalg.norm(Y - Z @ whole, axis=1)
    near = sizes < np.quantile(sizes, 0.6)
    part = np.linalg.lstsq(Z[near], Y[near], rcond=None)[0]
    share = np.linspace(0, 1, n_knots)[:, None, None]
    fits = (1 - share) * whole + share * part
    threshold = np.geomspace(sizes.max(), np.quantile(sizes, 0.7), n_knots)
    lengths = np.linalg.norm(Y - Z @ fits, axis=2)
    masks = lengths > threshold[:, None] * (1 + 1e-12)
    masks[0] = False
    moved = np.diff(masks.astype(int), axis=0)
    at, row = np.nonzero(moved)
    timed = method in ("iss", "lbi")
    knots = 1 / threshold if timed else threshold
    events = np.zeros(len(at), dtype=ROW_EVENT_DTYPE)
    events["at"], events["row"] = knots[at + 1], row
    events["enters"] = moved[at, row] > 0
    entry = np.full(n, np.nan)
    for event in events[events["enters"]][::-1]:
        entry[event["row"]] = event["at"]
    coefs, intercepts = np.moveaxis(fits[:, 1:], 1, 2), fits[:, 0]
    if np.ndim(y) == 1:
        coefs, intercepts = coefs[:, 0], intercepts[:, 0]
    parts = {
        "knots": knots,
        "knot_name": "t" if timed else "threshold",
        "active_features": np.arange(p),
        "active_coefs": coefs,
        "intercepts": intercepts,
        "n_features": p,
        "events": np.empty(0),
        "interpolation": INTERPOLATION[method],
        "method": method,
        "loss": get_loss("squared"),
        "penalty": get_penalty("l1"),
        "n_samples": float(n),
        "settings": {"fit_intercept": True},
        "row_events": events,
        "row_entry": entry,
        "threshold_max": threshold[0],
        "rank": p + 1,
        "df": p + 1 + masks.sum(axis=1),
        "df_kind": "approximate",
    }
    if method == "lbi":
        stored = np.where(masks[:, :, None], 0.5 * (Y - Z @ fits), 0.0)
        stored = stored.reshape(n_knots, -1)
        columns = [np.flatnonzero(line) for line in stored]
        parts["shift_parts"] = {
            "data": np.concatenate(
                [v[c] for v, c in zip(stored, columns, strict=True)]
            ),
            "indices": np.concatenate(columns),
            "indptr": np.r_[0, np.cumsum([len(c) for c in columns])],
        }
    return ShiftPath(**(parts | changes))


def choose_at(path, knot, rule="cut"):
    index = int((path._clock <= path._direction * knot).sum()) - 1
    scores = np.zeros(len(path))
    return Selection(rule, float(knot), index, scores, quantities={})
