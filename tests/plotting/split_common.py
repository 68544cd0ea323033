"""Small paths of Split LBI to draw."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np

from sparselbi import Problem, SplitPath, split_iss_path, split_lbi_path
from sparselbi.losses import get_loss
from sparselbi.penalties import (
    comparisons,
    differences,
    grid_gradient,
    identity,
    with_identity,
)
from sparselbi.selection import FixedKnot
from tests.plotting.common import make_path

TEAMS = ("Ajax", "Bari", "Celta", "Derby", "Espoo", "Fano")


def fixed(path, t):
    return FixedKnot(t).select(path)


def hand_made(D, coefs, splits, knots=None, **changes):
    """A path from coefficients (K, ..., p) and split coefficients (K, ..., m)."""
    knots = np.geomspace(1, 10, len(coefs)) if knots is None else np.asarray(knots)
    coefs, status = np.asarray(coefs, dtype=float), changes.get("status", "t_max")
    same = {"method": "split_lbi", "status": status}
    split = make_path(np.asarray(splits, dtype=float), knots, **same)
    every = {"active_features": np.arange(D.n_features), "active_coefs": coefs}
    dense = make_path(coefs, knots, **every, **same)
    fields = dense._fields() | {"t0": float(knots[0])} | changes
    scale = fields.pop("coef_scale", np.ones(dense.n_features))
    nu = fields.pop("nu", 1.0)
    return SplitPath(**fields, D=D, split=split, nu=nu, nu_raw=nu, coef_scale=scale)


def signal():
    """Truth and noisy observations of 40 points on a line, three pieces."""
    truth = np.repeat([0.0, 2.0, -1.0], [15, 15, 10])
    return truth, truth + 0.3 * np.random.default_rng(1).normal(size=40)


@cache
def line_path(order=1, exact=False):
    problem = Problem(np.eye(40), signal()[1], fit_intercept=False, standardize=False)
    trace = split_iss_path if exact else split_lbi_path
    return trace(problem, differences(40, order))


@cache
def fused_problem():
    """Problem, D = [I; differences] and truth; zero outside of two runs."""
    rng = np.random.default_rng(0)
    coef = np.zeros(24)
    coef[4:9], coef[14:18] = 2.0, -1.5
    X = rng.normal(size=(60, 24))
    y = X @ coef + 0.5 * rng.normal(size=60)
    return Problem(X, y), with_identity(differences(24)), coef


@cache
def fused_path(nu=1.0):
    """Of standardized columns."""
    problem, D, _ = fused_problem()
    return split_lbi_path(problem, D, nu=nu, t_max=None, n_knots=40)


@cache
def teams_path(pairs=None):
    """Six items with three scores; D has all pairs, or those that are given."""
    rng = np.random.default_rng(2)
    scores = np.array([3.0, 3.0, 1.0, 1.0, 1.0, -2.0])
    every = np.array(list(combinations(range(6), 2)))
    games = every[rng.integers(0, len(every), size=150)]
    X = np.zeros((150, 6))
    X[np.arange(150), games[:, 0]], X[np.arange(150), games[:, 1]] = 1.0, -1.0
    y = X @ scores + 0.7 * rng.normal(size=150)
    X, y = np.vstack([X, np.ones(6)]), np.append(y, 0.0)  # scores sum to zero
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    D = comparisons(every if pairs is None else np.array(pairs), 6)
    return replace(split_lbi_path(problem, D), feature_names=TEAMS)


@cache
def grid_path(n_axes=2):
    """A grid with a mask, of two or three axes."""
    rng = np.random.default_rng(3)
    shape = (7, 5) if n_axes == 2 else (4, 5, 3)
    mask = np.ones(shape, dtype=bool)
    mask[0, :2], mask[-1, -1] = False, False
    truth = np.zeros(shape)
    truth[2:4, 1:4] = 1.5
    X = rng.normal(size=(90, int(mask.sum())))
    y = X @ truth[mask] + 0.5 * rng.normal(size=90)
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    D = grid_gradient(shape, mask)
    return split_lbi_path(problem, D, n_knots=30), mask, truth[mask]


@cache
def classes_path():
    """Three classes, nine features on a line (or a grid 3 x 3), made by hand."""
    rng = np.random.default_rng(4)
    D = differences(9)
    coefs = np.cumsum(rng.normal(size=(12, 3, 9)), axis=0)
    active = np.arange(12)[:, None] > rng.permutation(8)[None] + 2
    splits = D.dot(coefs) * active[:, None]
    return hand_made(
        D, coefs, splits, loss=get_loss("multinomial"), classes=np.array(list("abc"))
    )


@cache
def identity_path():
    problem, _, _ = fused_problem()
    return split_lbi_path(problem, identity(24), n_knots=20)
