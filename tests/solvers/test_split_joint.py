"""The joint iteration of Split LBI against plain loops, limits and invariances."""

from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from sparselbi.penalties.transforms import (
    as_transform,
    differences,
    grid_gradient,
    identity,
    with_identity,
)
from sparselbi.problem import Problem
from sparselbi.solvers import _split_fit, _split_joint, lbi_path
from sparselbi.solvers._split_fit import fit_coupled
from sparselbi.solvers._split_joint import step_limit, trace_joint
from sparselbi.solvers._split_problem import SplitProblem
from tests import twins
from tests.common import (
    HUBER_THRESHOLD,
    LOSSES,
    PENALTIES,
    make_data,
    make_loss,
    relative_gap,
)


class Asked(NamedTuple):
    """A problem with everything a joint path needs to know."""

    split: SplitProblem
    kappa_raw: float
    t0: float
    null: tuple
    t_max: float
    n_knots: int
    start: str

    def trace(self, step="auto", max_rows=None):
        fields = self._asdict()
        return trace_joint(fields.pop("split"), step=step, max_rows=max_rows, **fields)


def ask(
    X,
    y,
    D,
    loss="squared",
    *,
    nu=1.0,
    nu_raw=None,
    kappa=5.0,
    kappa_raw=None,
    t_ratio=20.0,
    n_knots=40,
    start="fit",
    rows=None,
    **options,
):
    options = {"standardize": False, **options}
    problem = Problem(X, y, loss=make_loss(loss), **options)
    split = SplitProblem(problem, as_transform(D, problem.n_features), **(rows or {}))
    columns = problem.columns(np.arange(problem.n_features))
    split.set_nu(nu, nu_raw, np.linalg.norm(columns, 2) ** 2)
    null = fit_coupled(split)
    t0 = split.first_entry_time(split.D.dot(null[0]) / split.nu_raw)
    if kappa_raw is None:
        kappa_raw = kappa * split.nu_raw / t0 * (1 + 1 / split.nu)
    return Asked(split, kappa_raw, t0, null, t_ratio * t0, n_knots, start)


class Plain(NamedTuple):
    """Every iterate: times (T,), coef (T, K, p), intercept (T, K), z (T, K, m)."""

    t: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    z: np.ndarray
    shrink: object
    objective: np.ndarray

    def at(self, t):
        k = np.clip(np.searchsorted(self.t, t, side="right") - 1, 0, len(self.t) - 2)
        u = (t - self.t[k]) / (self.t[k + 1] - self.t[k])
        mix = [a[k] + u * (a[k + 1] - a[k]) for a in self[1:4]]
        return mix[0], mix[1], self.shrink(mix[2])


def plain_joint(asked, step, *, thresholds=None, blocks=None, positive=None):
    """The three lines of Huang, Sun, Xiong and Yao (2016), right-hand sides old."""
    split, problem = asked.split, asked.split.problem
    loss, kappa, nu = problem.loss.name, asked.kappa_raw, split.nu_raw
    frame = twins.scaled(
        problem.X, problem.sample_weight, problem.fit_intercept, problem.standardize
    )
    X, w = frame.X, frame.weights[:, None]
    Y = twins.encode(loss, problem.target)
    D = split.D.to_dense()
    K, m = Y.shape[1], len(D)
    thresholds = np.ones(m) if thresholds is None else thresholds
    positive = np.zeros(m, dtype=bool) if positive is None else positive

    def shrink(z):
        z = np.where(positive & (z < 0), 0.0, z)
        if split.penalty.grouped and blocks is None:  # the outputs of a row
            norm = np.maximum(np.linalg.norm(z, axis=0), 1e-300)
            return kappa * z * np.maximum(1.0 - thresholds / norm, 0.0)
        return kappa * twins.shrink(z, thresholds, blocks)

    if asked.start == "fit":
        coef, b = asked.null
        z, t = asked.t0 * coef @ D.T / nu, asked.t0
    else:
        coef, b = np.zeros((K, X.shape[1])), problem.null_intercept
        z, t = np.zeros((K, m)), 0.0
    gamma = np.zeros((K, m))
    moves = problem.fit_intercept and loss != "squared"
    states, objective = [], []
    for k in range(int((asked.t_max - t) / step) + 2):
        states.append((t + k * step, coef, b, z))
        eta = X @ coef.T + b
        s = w * twins.score(loss, Y, eta, HUBER_THRESHOLD)
        rest = coef @ D.T - gamma
        value = w[:, 0] @ twins.loss_value(loss, Y, eta, HUBER_THRESHOLD)
        objective.append(value + np.sum(rest**2) / (2 * nu))
        coef = coef - kappa * step * (rest @ D / nu - s.T @ X)
        b = b + kappa * step * s.sum(axis=0) * moves
        z = z - step * (-rest) / nu
        gamma = shrink(z)
    t, coef, b, z = map(np.array, zip(*states, strict=True))
    return Plain(t, coef, b, z, shrink, np.array(objective))


def dense_splits(trace, n_rows):
    out = np.zeros((*trace.splits.shape[:2], n_rows))
    out[..., trace.rows] = trace.splits
    return out


def assert_same(asked, trace, plain):
    splits = dense_splits(trace, asked.split.n_rows)
    top = np.abs(plain.coef).max()
    scale = asked.kappa_raw * max(1.0, np.abs(plain.z).max())
    assert len(trace.rows)
    for k, t in enumerate(trace.knots):
        coef, intercept, split = plain.at(t)
        assert np.abs(trace.coefs[k] - coef).max() < 1e-10 * top
        if k or asked.start == "zero":
            assert np.abs(splits[k] - split).max() < 1e-10 * scale
        if trace.intercepts is not None:
            assert np.abs(trace.intercepts[k] - intercept).max() < 1e-10
    if trace.intercepts is None:
        assert np.abs(intercept - asked.split.problem.null_intercept).max() < 1e-12


SETTINGS = {
    "plain": {"fit_intercept": False},
    "all": {"fit_intercept": True, "standardize": True},
    "wide": {"fit_intercept": True, "standardize": False},
}


@pytest.mark.parametrize("start", ["fit", "zero"])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_equals_the_plain_loop(loss, penalty, setting, start):
    n, p = (12, 25) if setting == "wide" else (40, 12)
    data = make_data(loss, n=n, p=p)
    asked = ask(
        data.X,
        data.y,
        with_identity(differences(p), 0.8),
        loss,
        start=start,
        rows={"penalty": penalty},
        sample_weight=data.weights if setting == "all" else None,
        **SETTINGS[setting],
    )
    trace = asked.trace()
    step = trace.info["step_size"]
    assert step == pytest.approx(0.5 * step_limit(asked.split, asked.kappa_raw))
    expected = "gram" if loss == "squared" and n > p else "columns"
    assert trace.info["products"] == expected
    assert_same(asked, trace, plain_joint(asked, step))
    assert trace.status == "t_max"
    assert trace.knots[0] == (asked.t0 if start == "fit" else 0.0)
    assert np.isin(np.geomspace(asked.t0, asked.t_max, 40)[1:-1], trace.knots).all()
    assert trace.knots[-1] == asked.t_max


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["squared", "multinomial"])
def test_thresholds_signs_and_groups_of_rows(loss, penalty):
    data = make_data(loss, n=40, p=9)
    D = with_identity(differences(9))
    rng = np.random.default_rng(3)
    groups = rng.permutation(np.arange(17) // 3)
    weight = rng.uniform(0.5, 2.0, size=6)[groups]
    weight[groups == 2] = np.inf
    positive = rng.random(17) < 0.4
    rows = {"penalty": penalty, "row_weight": weight, "positive": positive}
    thresholds, blocks = weight, None
    if penalty == "group":
        rows |= {"groups": groups, "group_weight": "sqrt"}
        K = 3 if loss == "multinomial" else 1
        thresholds = weight * np.sqrt(np.bincount(groups)[groups] * K)
        blocks = twins.make_blocks(groups, 17)
    thresholds = np.where(np.isinf(weight), 1e300, thresholds)
    asked = ask(data.X, data.y, D, loss, rows=rows)
    trace = asked.trace()
    plain = plain_joint(
        asked,
        trace.info["step_size"],
        thresholds=thresholds,
        blocks=blocks,
        positive=positive,
    )
    assert_same(asked, trace, plain)
    splits = dense_splits(trace, 17)
    assert (splits[..., positive] >= 0).all()
    assert not splits[..., np.isinf(weight)].any()
    assert not np.isin(trace.events["feature"], np.flatnonzero(np.isinf(weight))).any()


def test_layouts_of_x_and_d_give_the_same_path():
    data = make_data("logistic", n=40, p=12, density=0.4)
    D = grid_gradient((3, 4), isotropic=True)
    options = {"rows": {"penalty": "group", "groups": D.groups}, "n_knots": 20}
    path = ask(data.X, data.y, D, "logistic", **options).trace()
    for X in (np.float32(data.X), np.asfortranarray(data.X), sp.csr_array(data.X)):
        for matrix in (D.matrix, D.to_dense(), aslinearoperator(D.matrix)):
            other = ask(X, data.y, matrix, "logistic", **options).trace()
            assert np.array_equal(other.rows, path.rows)
            gap = np.abs(other.knots - path.knots) / path.knots
            assert gap.max() < 1e-9
            assert relative_gap(other.coefs, path.coefs) < 1e-9
            assert relative_gap(other.splits, path.splits) < 1e-9


@pytest.mark.parametrize("loss", LOSSES)
def test_products_without_a_dense_block(loss, monkeypatch):
    data = make_data(loss, n=30, p=8, density=0.3)
    paths = [ask(data.X, data.y, differences(8), loss).trace()]
    for module in (_split_fit, _split_joint):
        monkeypatch.setattr(module, "MAX_BLOCK", 0)
        for X in (data.X, np.float32(data.X), sp.csc_array(data.X)):
            paths.append(ask(X, data.y, differences(8), loss).trace())
    used = [path.info["products"] for path in paths]
    if loss == "squared":
        assert used == ["gram"] * 4 + ["columns"] * 3
    for path in paths:
        assert relative_gap(path.coefs, paths[0].coefs) < 1e-9
        assert relative_gap(path.splits, paths[0].splits) < 1e-9


# ------------------------------------------------------------------- events and knots


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["squared", "multinomial"])
def test_events_are_where_duals_meet_their_thresholds(loss, penalty):
    data = make_data(loss, n=40, p=12, correlation=0.7)
    asked = ask(
        data.X,
        data.y,
        with_identity(differences(12)),
        loss,
        t_ratio=30.0,
        rows={"penalty": penalty},
    )
    trace = asked.trace()
    plain = plain_joint(asked, trace.info["step_size"])
    splits = np.array([plain.shrink(z) for z in plain.z])
    splits[0] = 0.0
    signs = np.sign(splits)
    if penalty == "group":
        signs = signs.any(axis=1)[:, None]
    change = np.diff(signs, axis=0) != 0
    flips = change & (signs[1:] * signs[:-1] < 0)
    inside = plain.t[1:] <= asked.t_max
    assert len(trace.events) == (change.sum((1, 2)) + flips.sum((1, 2)))[inside].sum()
    assert (~trace.events["enters"]).any()
    assert np.all(np.diff(trace.events["t"]) >= 0)
    for event in trace.events:
        k = np.searchsorted(plain.t, event["t"], side="right") - 1
        u = (event["t"] - plain.t[k]) / (plain.t[k + 1] - plain.t[k])
        z = (plain.z[k] + u * (plain.z[k + 1] - plain.z[k]))[:, event["feature"]]
        if event["output"] >= 0 and penalty == "l1":
            z = z[event["output"]]
        assert np.linalg.norm(z) == pytest.approx(1.0, abs=1e-9)
        if penalty == "l1":
            assert np.all(np.sign(z) == event["sign"])
    if penalty == "group" and loss == "multinomial":
        assert (trace.events["output"] == -1).all()
        assert (trace.events["sign"] == 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_straight_lines_between_knots_are_near_the_iterates(loss):
    data = make_data(loss, n=50, p=20, correlation=0.6)
    asked = ask(
        data.X, data.y, with_identity(differences(20)), loss, n_knots=12, t_ratio=50
    )
    trace = asked.trace()
    plain = plain_joint(asked, trace.info["step_size"])
    inside = (plain.t <= trace.knots[-1]) & (plain.t >= trace.knots[0])
    t, exact = plain.t[inside], plain.coef[inside]
    flat = trace.coefs.reshape(len(trace.knots), -1)
    lines = np.stack([np.interp(t, trace.knots, c) for c in flat.T], axis=1)
    top = np.maximum.accumulate(np.abs(exact).max(axis=(1, 2)))
    gap = np.abs(lines.reshape(exact.shape) - exact).max(axis=(1, 2)) / top
    assert gap.max() < 3e-3  # promised are 5e-3
    assert 0 < trace.info["interpolation_error"] <= gap.max() * (1 + 1e-9)
    assert len(trace.knots) < 400


def test_max_rows_ends_before_more_are_active():
    data = make_data(n=40, p=12)
    asked = ask(data.X, data.y, with_identity(differences(12)))
    full, short = asked.trace(), asked.trace(max_rows=4)
    assert short.status == "max_rows"
    assert "max_rows=4" in short.message
    assert ((short.splits != 0).any(axis=1).sum(axis=1) <= 4).all()
    assert short.knots[-1] < full.knots[-1]
    n = len(short.knots) - 1
    assert np.array_equal(short.knots[:n], full.knots[:n])
    assert np.array_equal(short.coefs[:n], full.coefs[:n])
    with pytest.raises(ValueError, match="max_rows=0"):
        asked.trace(max_rows=0)


def test_separated_classes_saturate():
    X = np.random.default_rng(0).normal(size=(20, 2))
    y = X[:, 0] > 0
    X[:, 0] += 20.0 * y
    asked = ask(X, y, identity(2), "logistic", t_ratio=1e4)
    trace = asked.trace()
    assert trace.status == "saturated"
    eta = (X - X.mean(axis=0)) @ trace.coefs[-1, 0] + trace.intercepts[-1]
    loss = np.logaddexp(0, np.where(y, -eta, eta)).mean()
    assert loss < 1.01e-3 * asked.split.problem.null_loss


# ------------------------------------------------------------------------------ limits


@pytest.mark.parametrize(("loss", "nu"), [("squared", 0.02), ("logistic", 0.08)])
def test_identity_with_small_nu_is_lbi_with_half_of_kappa(loss, nu):
    data = make_data(loss, n=40, p=6)
    errors = []
    for nu_raw in (nu, nu / 4, nu / 16):
        asked = ask(
            data.X,
            data.y,
            identity(6),
            loss,
            nu_raw=nu_raw,
            kappa_raw=8.0,
            t_ratio=5.0,
        )
        trace = asked.trace()
        # The sum of both duals takes the steps of LBI, whatever their length is.
        path = lbi_path(
            Problem(data.X, data.y, loss=loss, standardize=False),
            kappa_raw=4.0,
            step_size=trace.info["step_size"],
            t_max=trace.knots[-1],
        )
        reached = trace.knots > max(path.t0, asked.t0)
        gaps = [
            np.abs(coef[0] - path.at(t).coef).max()
            for t, coef in zip(trace.knots[reached], trace.coefs[reached], strict=True)
        ]
        errors.append(max(gaps) / np.abs(path.coef(-1)).max())
    # The error is of order nu.
    assert errors[2] < 0.02
    assert 3 < errors[0] / errors[1] < 4.5
    assert 3 < errors[1] / errors[2] < 4.5


def test_large_kappa_approaches_the_eliminated_iteration():
    data = make_data(n=60, p=6, correlation=0.1)
    D = with_identity(differences(6))
    errors = []
    for kappa in (5.0, 20.0, 80.0):
        asked = ask(data.X, data.y, D, kappa=kappa, t_ratio=8.0, n_knots=300)
        trace = asked.trace()
        t, splits = eliminated(asked, trace.info["step_size"])
        ours = dense_splits(trace, 11)[:, 0]
        grid = np.linspace(asked.t0, asked.t_max, 4000)
        gap = [
            np.interp(grid, trace.knots, a) - np.interp(grid, t, b)
            for a, b in zip(ours.T, splits.T, strict=True)
        ]
        errors.append(np.abs(gap).mean() / np.abs(splits[-1]).max())
    # Both relax at a rate of kappa, to the same piecewise constant path.
    assert 3 < errors[0] / errors[1] < 5
    assert 3 < errors[1] / errors[2] < 5


def eliminated(asked, step):
    """All iterates with the coefficients at their minimizer in each step."""
    split, problem = asked.split, asked.split.problem
    X = problem.X - problem.X.mean(axis=0)
    D, nu, n = split.D.to_dense(), split.nu_raw, len(X)
    M, c = X.T @ X / n + D.T @ D / nu, X.T @ problem.y[0] / n
    A, offset = D @ np.linalg.solve(M, D.T) / nu, D @ np.linalg.solve(M, c)
    gamma, z, t = np.zeros(len(D)), asked.t0 * offset / nu, asked.t0
    out = [(t, gamma)]
    while t < asked.t_max:
        z = z - step * (gamma - A @ gamma - offset) / nu
        gamma = asked.kappa_raw * np.sign(z) * np.maximum(np.abs(z) - 1, 0)
        t += step
        out.append((t, gamma))
    return map(np.array, zip(*out, strict=True))


# --------------------------------------------------------------------------- stability


@pytest.mark.parametrize("start", ["fit", "zero"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_objective_never_grows_below_the_limit(loss, start):
    data = make_data(loss, n=40, p=8)
    asked = ask(
        data.X,
        data.y,
        with_identity(differences(8)),
        loss,
        start=start,
        kappa=3.0,
        t_ratio=50.0,
    )
    step = 0.98 * step_limit(asked.split, asked.kappa_raw)
    trace = asked.trace(step)
    plain = plain_joint(asked, step)
    assert_same(asked, trace, plain)
    assert np.diff(plain.objective).max() < 1e-13


def test_the_limit_is_safe_and_not_far_from_sharp():
    data = make_data(n=40, p=8)
    for nu in (0.01, 1.0, 100.0):
        asked = ask(data.X, data.y, differences(8), nu=nu)
        X, D = data.X - data.X.mean(axis=0), asked.split.D.to_dense()
        H = X.T @ X / 40 + D.T @ D / asked.split.nu_raw
        hessian = np.block([[H, 0 * D.T], [0 * D, np.eye(7) / asked.split.nu_raw]])
        hessian[8:, :8] = -D / asked.split.nu_raw
        hessian[:8, 8:] = hessian[8:, :8].T
        sharp = 2 / (asked.kappa_raw * np.linalg.norm(hessian, 2))
        assert 0.6 * sharp < step_limit(asked.split, asked.kappa_raw) <= sharp


def test_unstable_steps_raise_and_automatic_ones_restart():
    data = make_data(n=40, p=8)
    asked = ask(data.X, data.y, differences(8), nu=300.0, t_ratio=2.0)
    limit = step_limit(asked.split, asked.kappa_raw)
    for step in (limit, 3.0 * limit, -1.0):
        with pytest.raises(ValueError, match=f"below {limit:.6g}"):
            asked.trace(step)
    assert asked.trace().info["n_restarts"] == 0
    # With a norm that was estimated far too low the iteration diverges.
    asked.split.hessian_norm /= 50.0
    wrong = step_limit(asked.split, asked.kappa_raw)
    trace = asked.trace()
    assert trace.info["n_restarts"] > 0
    assert trace.info["step_size"] < limit < 0.5 * wrong
    assert_same(asked, trace, plain_joint(asked, trace.info["step_size"]))
    with pytest.raises(ValueError, match="is unstable: with kappa_raw"):
        asked.trace(0.9 * wrong)


# ------------------------------------------------------------------------- invariances


@settings(max_examples=20)
@given(
    scale=st.floats(0.01, 100.0),
    unit=st.floats(0.01, 100.0),
    start=st.sampled_from(["fit", "zero"]),
)
def test_units_rescale_the_path_and_nothing_else(scale, unit, start):
    # Those of D do not: coef and split coefficients step with the same kappa.
    data = make_data(n=30, p=6)
    D = with_identity(differences(6))
    options = {"start": start, "n_knots": 15}
    path = ask(data.X, data.y, D, **options).trace()
    other = ask(scale * data.X, unit * data.y, D, **options).trace()
    assert np.array_equal(other.rows, path.rows)
    assert relative_gap(other.coefs, path.coefs * unit / scale) < 1e-8
    assert relative_gap(other.splits, path.splits * unit / scale) < 1e-8
    assert relative_gap(other.knots, path.knots / (scale * unit)) < 1e-8


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), loss=st.sampled_from(LOSSES))
def test_order_and_signs_of_columns_and_rows_do_not_matter(seed, loss):
    rng = np.random.default_rng(seed)
    data = make_data(loss, n=30, p=7)
    D = with_identity(differences(7)).to_dense()
    columns, rows = rng.permutation(7), rng.permutation(13)
    sign = rng.choice([-1.0, 1.0], size=7)
    samples = rng.permutation(30)
    path = ask(data.X, data.y, D, loss, n_knots=15).trace()
    other = ask(
        (data.X * sign)[samples][:, columns],
        data.y[samples],
        (D * sign)[rows][:, columns],
        loss,
        n_knots=15,
    ).trace()
    assert relative_gap(other.knots, path.knots) < 1e-8
    assert relative_gap(other.coefs, (path.coefs * sign)[..., columns]) < 1e-8
    mine, theirs = dense_splits(path, 13), dense_splits(other, 13)
    assert relative_gap(theirs, mine[..., rows]) < 1e-8


def test_weights_are_repeated_rows():
    data = make_data("logistic", n=30, p=6)
    repeat = np.random.default_rng(0).integers(0, 4, size=30)
    D = differences(6)
    path = ask(data.X, data.y, D, "logistic", sample_weight=repeat).trace()
    rows = np.repeat(np.arange(30), repeat)
    other = ask(data.X[rows], data.y[rows], D, "logistic").trace()
    assert relative_gap(other.coefs, path.coefs) < 1e-9
    assert relative_gap(other.splits, path.splits) < 1e-9
