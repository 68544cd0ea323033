"""Paths made by hand, and checks of what is drawn."""

from itertools import combinations

import numpy as np

from sparselbi import RegularizationPath
from sparselbi.losses import get_loss
from sparselbi.penalties import get_penalty
from sparselbi.plotting._layout import text_box
from sparselbi.selection import get_selector


def make_path(coefs, knots=None, **changes):
    """A path from coefficients (n_knots, ..., n_features), linear, without events."""
    knots = np.geomspace(0.1, 10, len(coefs)) if knots is None else np.asarray(knots)
    active = np.flatnonzero(coefs.any(axis=tuple(range(coefs.ndim - 1))))
    parts = {
        "knots": knots,
        "active_features": active,
        "active_coefs": coefs[..., active],
        "intercepts": np.zeros(coefs.shape[:-1]),
        "n_features": coefs.shape[-1],
        "events": np.empty(0),
        "interpolation": "linear",
        "method": "lbi",
        "loss": get_loss("squared"),
        "penalty": get_penalty("l1"),
        "n_samples": 50,
    }
    return RegularizationPath(**(parts | changes))


def many_coefs(p, seed=0, lead=()):
    """Random monotone coefficients of p features, the first one never active."""
    rng = np.random.default_rng(seed)
    start = np.sort(rng.choice(60, size=p, replace=p > 60))
    start[0] = 80
    grown = np.maximum(np.arange(80)[:, None] - start, 0) / 80
    grown = grown.reshape(80, *(1 for _ in lead), p)
    return np.tanh(4 * grown) * rng.normal(size=(*lead, p)) ** 3


def choose(path, rules=("ebic", "bic", "aic")):
    return [get_selector(rule).select(path) for rule in rules]


def vertical(ax):
    """Abscissae of the vertical lines."""
    lines = (line.get_xdata() for line in ax.get_lines())
    return {float(x[0]) for x in lines if len(x) == 2 and x[0] == x[1]}


def assert_apart(texts):
    for a, b in combinations([text_box(text) for text in texts], 2):
        assert not a.padded(-0.5).overlaps(b)
