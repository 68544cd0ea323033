"""The robust engine from outside: every promise against brute force and plain loops.

Nothing here knows how a path was computed: optimality is recomputed from X and y,
scales from their definitions, decisions from the events.
"""

from __future__ import annotations

import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, sparse
from sklearn.base import clone

from sparselbi import HuberRegression, OutlierRegression, ShiftProblem
from sparselbi.scales import bisquare_tuning, huber_constant, huber_tuning, mad_scale
from sparselbi.shift_path import ShiftPath
from sparselbi.solvers import (
    fast_s,
    hard_path,
    huber_path,
    shift_iss_path,
    shift_lbi_path,
)
from sparselbi.solvers._huber_grid import certify_coords

METHODS = ("hard", "iss", "lbi", "l1")
SOLVERS = {
    "exact": lambda problem: huber_path(problem, route="exact"),
    "grid": lambda problem: huber_path(problem, route="grid", n_knots=6),
    "iss": shift_iss_path,
    "lbi": lambda problem: shift_lbi_path(problem, n_knots=5),
    "hard": hard_path,
}


def lengths(residual):
    return np.sqrt(np.sum(np.square(residual), axis=1))


def least_squares(Z, Y, weight):
    root = np.sqrt(weight)[:, None]
    return np.linalg.lstsq(root * Z, root * Y, rcond=1e-11)[0]


def messy(seed):
    """Data of all sorts: dependent columns, repeated rows, ties, weights, factors."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(6, 61)), int(rng.integers(1, 6))
    c = int(rng.choice([1, 1, 1, 2, 4]))
    X = rng.normal(size=(n, p))
    if rng.random() < 0.25:
        X = np.round(X)
    if rng.random() < 0.2:
        X[:, -1] = 3.0
    if p > 1 and rng.random() < 0.2:
        X[:, 0] = X[:, -1]
    if rng.random() < 0.2:
        X = X[rng.integers(0, n, n)]
    Y = X @ rng.normal(size=(p, c)) + rng.normal(size=(n, c))
    bad = rng.choice(n, int(rng.integers(0, n // 3 + 1)), replace=False)
    Y[bad] += 10 * rng.normal(size=(len(bad), c))
    if rng.random() < 0.2:
        Y = np.round(Y)
    kind = rng.choice(["none", "whole", "fractional"], p=[0.6, 0.25, 0.15])
    weight = {
        "none": None,
        "whole": rng.integers(0, 4, n).astype(float),
        "fractional": rng.random(n) + 0.2,
    }[kind]
    factor = rng.choice([0.5, 1.0, 2.0, np.inf], n) if rng.random() < 0.25 else None
    intercept = bool(rng.random() < 0.8)
    return X, Y if c > 1 else Y[:, 0], weight, factor, intercept


def clean(n=60, seed=1):
    """Six rows with shifts of 15 among good ones."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = X @ [1.0, 2.0, 3.0] + 5 + rng.normal(size=n)
    y[:6] += 15
    return X, y


# -- paths -----------------------------------------------------------------------------


def replayed(path, knot):
    """Rows that are shifted at `knot` by the list of events."""
    state = np.zeros(path.n_rows, dtype=bool)
    for event in path.row_events:
        passed = event["at"] <= knot if path.knot_name == "t" else event["at"] >= knot
        if passed:
            assert state[event["row"]] != event["enters"]  # no event repeats another
            state[event["row"]] = event["enters"]
    return state


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", range(12))
def test_knots_satisfy_the_definition_of_the_method(solver, seed):
    X, y, weight, factor, intercept = messy(seed)
    try:
        problem = ShiftProblem(
            *(X, y),
            sample_weight=weight,
            fit_intercept=intercept,
            row_factor=factor,
        )
    except ValueError:
        return  # fewer rows than coefficients
    if y.ndim == 2 and solver in ("exact", "iss"):
        return  # one response only
    path = SOLVERS[solver](problem)
    n = len(X)
    Y = y.reshape(n, -1)
    Z = np.column_stack([X, np.ones(n)]) if intercept else X
    w = np.ones(n) if weight is None else weight
    v = np.ones(n) if path.row_factor is None else path.row_factor
    movable = np.isfinite(v)
    null = lengths(Y - Z @ least_squares(Z, Y, w))
    size = null.max()
    largest = (null[movable & (w > 0)] / v[movable & (w > 0)]).max()
    assert path.threshold_max == pytest.approx(largest, rel=1e-9)
    direction = 1 if path.knot_name == "t" else -1
    assert (direction * np.diff(path.knots) > 0).all()
    assert np.isfinite(path.coefs).all()
    assert np.isfinite(path.df).all()
    z, left_over = np.zeros(n), np.zeros((n, 1))
    for k, knot in enumerate(path.knots):
        mask = path.outliers(knot)
        residual = path.residuals(X, y, knot).reshape(n, -1)
        shift = path.shifts(X, y, knot).reshape(n, -1)
        length = lengths(residual)
        limit = np.full(n, np.inf)
        if path.knot_name == "threshold":
            limit[movable] = knot * v[movable]
            assert (length[mask] >= limit[mask] - 1e-8 * size).all()
            assert (length[~mask] <= limit[~mask] + 1e-8 * size).all()
        if path.method == "l1":
            share = np.minimum(1, limit / np.maximum(length, 1e-300))
            pull = np.abs(Z.T @ ((w * share)[:, None] * residual)).max()
            tol = 1e-9 if solver == "exact" else 1e-3
            assert pull <= tol * size * np.abs(w @ np.abs(Z)).max()
        else:  # least squares of y less the shifts, or without the shifted rows
            if path.method == "lbi":
                fit = Z @ least_squares(Z, Y - shift, w)
            else:
                fit = Z @ least_squares(Z, Y, w * ~mask)
                assert not shift[~mask].any()
            used = (w > 0) & (~mask | (path.method == "lbi"))
            off = (Y - fit - residual)[used]
            assert np.abs(off).max(initial=0) <= 1e-8 * size
        if path.method == "iss" and k > 0:
            step = knot - path.knots[k - 1]
            z += step * left_over[:, 0]
            assert (np.abs(z)[movable] <= v[movable] * (1 + 1e-8)).all()
            np.testing.assert_allclose(np.abs(z[mask]), v[mask], rtol=1e-8)
            assert (shift[mask, 0] * z[mask] >= -1e-9 * size).all()
        left_over = residual - shift
        left = np.sum(w * lengths(left_over) ** 2)
        assert path.deviance[k] == pytest.approx(left, rel=1e-8, abs=1e-9 * size**2)
    if largest > 0:
        worst = path.verify(X, y, sample_weight=weight) if movable.all() else None
        if worst is not None:
            columns = worst[["gradient", "set_violation", "dual_violation"]]
            tol = 1e-2 if solver == "grid" else 1e-7
            assert np.nanmax(columns.to_numpy()) <= tol


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", [0, 3, 8])
def test_events_masks_entries_and_order_tell_the_same_story(solver, seed, tmp_path):
    X, y = clean(n=30 + seed, seed=seed)
    path = SOLVERS[solver](ShiftProblem(X, y))
    middle = (path.knots[1:] + path.knots[:-1]) / 2
    for knot in middle:
        np.testing.assert_array_equal(path.outliers(knot), replayed(path, knot))
    entry = np.full(len(y), np.nan)
    for event in path.row_events[::-1]:
        if event["enters"]:
            entry[event["row"]] = event["at"]
    np.testing.assert_array_equal(path.row_entry, entry)
    strength = path.entry_strength()
    order = path.outlier_order()
    assert set(order) == set(np.flatnonzero(~np.isnan(entry)))
    assert (np.diff(strength[order]) <= 0).all()
    assert set(order[:6]) == set(range(6))
    frame = path.rows_frame()
    np.testing.assert_array_equal(frame["place"].iloc[order], np.arange(len(order)))
    path.save(tmp_path / "path.npz")
    again = ShiftPath.load(tmp_path / "path.npz")
    np.testing.assert_array_equal(again.row_events, path.row_events)
    for knot in middle[::5]:
        np.testing.assert_array_equal(again.outliers(knot), path.outliers(knot))
        np.testing.assert_array_equal(again.shifts(X, y, knot), path.shifts(X, y, knot))


def test_rows_of_weight_zero_are_judged_and_do_not_matter():
    X, y = clean()
    weight = np.ones(len(y))
    weight[[0, 40]] = 0
    some = weight > 0
    for method in ("hard", "l1"):
        model = OutlierRegression(method).fit(X, y, weight)
        fewer = OutlierRegression(method).fit(X[some], y[some])
        np.testing.assert_allclose(model.coef_, fewer.coef_, rtol=1e-9)
        assert model.scale_ == pytest.approx(fewer.scale_, rel=1e-9)
        np.testing.assert_array_equal(model.outliers_[some], fewer.outliers_)
        assert model.outliers_[[0, 40]].tolist() == [True, False]


# -- brute force -----------------------------------------------------------------------


def m_scale(length, df, weight, tuning):
    if weight[length > 1e-12 * length.max()].sum() <= df / 2:
        return 0.0

    def excess(log_scale):
        u = np.minimum(length / (np.exp(log_scale) * tuning), 1)
        return weight @ (3 * u**2 - 3 * u**4 + u**6) - df / 2

    edge = np.log(length[length > 0])
    return np.exp(optimize.brentq(excess, edge.min() - 20, edge.max() + 20, rtol=1e-14))


def smallest_scale(Z, Y, weight):
    """Local minima from all elemental subsets."""
    tuning = bisquare_tuning(0.5, Y.shape[1])
    df, best = weight.sum() - Z.shape[1], np.inf
    for rows in itertools.combinations(np.flatnonzero(weight), Z.shape[1]):
        coef = np.linalg.solve(Z[list(rows)], Y[list(rows)])
        for _ in range(60):
            length = lengths(Y - Z @ coef)
            scale = m_scale(length, df, weight, tuning)
            best = min(best, scale)
            if scale == 0:
                break
            u = np.minimum(length / (scale * tuning), 1)
            moved = least_squares(Z, Y, weight * (1 - u**2) ** 2)
            if np.abs(moved - coef).max() < 1e-11:
                break
            coef = moved
    return best


@pytest.mark.parametrize("seed", range(8))
def test_fast_s_is_as_small_as_the_best_of_all_subsets(seed):
    rng = np.random.default_rng(seed)
    c, n = (1, 11) if seed % 2 else (2, 10)
    X = rng.normal(size=(n, 2))
    Y = X @ rng.normal(size=(2, c)) + rng.normal(size=(n, c))
    Y[: n // 3] += 8
    weight = rng.integers(1, 3, n).astype(float) if seed > 3 else np.ones(n)
    design = ShiftProblem(X, Y, sample_weight=weight).design
    found = fast_s(design)
    best = smallest_scale(np.column_stack([X, np.ones(n)]), Y, weight)
    assert found.scale == pytest.approx(best, rel=1e-6)
    own = m_scale(
        design.norms(found.coords), weight.sum() - 3, weight, bisquare_tuning(0.5, c)
    )
    assert found.scale == pytest.approx(own, rel=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_certificates_hold_and_the_gap_bounds_the_distance(seed):
    rng = np.random.default_rng(seed)
    n, threshold = int(rng.integers(10, 40)), 1.0
    X = rng.normal(size=(n, 2))
    y = X @ [1.0, -1.0] + rng.normal(size=n)
    y[: n // 4] += 6
    weight = rng.random(n) if seed % 2 else np.ones(n)
    factor = rng.choice([0.5, 1.0, 2.0], n)
    design = ShiftProblem(X, y, sample_weight=weight, row_factor=factor).design
    Z, Y = design.take(np.arange(n))  # coordinates, responses centred

    def objective(coords):
        length = lengths(Y - Z @ coords)
        t = threshold * factor
        return weight @ np.where(length <= t, length**2 / 2, t * length - t**2 / 2)

    def minimum(start):
        coords = start
        for _ in range(5000):
            length = np.maximum(lengths(Y - Z @ coords), 1e-300)
            share = np.minimum(1, threshold * factor / length)
            moved = least_squares(Z, Y, weight * share)
            if np.abs(moved - coords).max() < 1e-14:
                break
            coords = moved
        return coords

    best = minimum(design.least_squares())
    margin = lengths(Y - Z @ best) - threshold * factor
    for distance in (0, 1e-6, 1e-3, 0.1, 1):
        coords = best + distance * rng.normal(size=best.shape)
        inactive, active, gap = certify_coords(design, factor, coords, threshold)
        assert not (inactive & (margin > 1e-9)).any()
        assert not (active & (margin < -1e-9)).any()
        assert objective(coords) - objective(best) <= gap + 1e-10 * objective(best)
        if distance == 0:
            assert (inactive | active)[np.abs(margin) > 1e-3].all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", ["proposal2", "mad", "s"])
def test_huber_regression_solves_its_equations(seed, scale):
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(15, 50)), 3
    X = rng.normal(size=(n, p))
    y = X @ rng.normal(size=p) + rng.normal(size=n)
    y[: n // 5] += 6
    weight = rng.integers(0, 3, n).astype(float) if seed % 2 else np.ones(n)
    model = HuberRegression(0.9, scale=scale).fit(X, y, weight)
    k, residual = huber_tuning(0.9), y - model.predict(X)
    assert model.threshold_ == pytest.approx(k * model.scale_, rel=1e-10)
    share = np.minimum(1, model.threshold_ / np.abs(residual))
    np.testing.assert_allclose(model.weights_, share, atol=1e-9)
    np.testing.assert_array_equal(model.outliers_, model.weights_ < 1)
    pull = np.column_stack([X, np.ones(n)]).T @ (weight * share * residual)
    assert np.abs(pull).max() < 1e-9 * weight.sum()
    if scale == "proposal2":
        cut = np.minimum(np.abs(residual) / model.scale_, k) ** 2
        wanted = (weight.sum() - p - 1) * huber_constant(k)
        assert weight @ cut == pytest.approx(wanted, rel=1e-9)
    elif scale == "mad":
        assert model.scale_ == pytest.approx(mad_scale(residual, weight), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["bic", "aic"])
def test_criteria_from_what_the_path_tells(method, name):
    for seed in range(4):
        X, y = clean(n=30, seed=seed)
        model = OutlierRegression(method, selector=name).fit(X, y)
        path, m = model.path_, 30 - 4
        k = path.df - 4 + 1
        penalty = k * (np.log(m) + 1) if name == "bic" else 2 * k
        with np.errstate(divide="ignore"):
            score = m * np.log(path.deviance / m) + penalty
        score[path.size > 15] = np.inf
        chosen = score[path.knots == model.selection_.knot]
        assert chosen[0] == pytest.approx(score.min(), abs=1e-6)  # or a tie


# -- estimators ------------------------------------------------------------------------

CHOICES = [
    *itertools.product(METHODS, ["auto", "cut", "sigma", "bic", "gap"]),
    ("hard", 4.0),
    ("l1", 4.0),
    ("iss", 0.1),
    ("lbi", 0.1),
    ("hard", "cv"),
    ("l1", "cv"),
]


@pytest.mark.parametrize(("method", "selector"), CHOICES)
def test_report_is_the_fit_without_the_outliers(method, selector):
    X, y = clean(n=40, seed=2)
    weight = np.random.default_rng(0).integers(1, 4, 40).astype(float)
    model = OutlierRegression(method, selector=selector).fit(X, y, weight)
    mask = model.outliers_
    np.testing.assert_array_equal(mask, model.path_.outliers(model.selection_.knot))
    assert weight[mask].sum() <= weight.sum() / 2
    Z = np.column_stack([X, np.ones(40)])
    coef = least_squares(Z, y[:, None], weight * ~mask)[:, 0]
    np.testing.assert_allclose(model.coef_, coef[:-1], rtol=1e-9)
    assert model.intercept_ == pytest.approx(coef[-1], rel=1e-9)
    np.testing.assert_allclose(model.gamma_, np.where(mask, y - Z @ coef, 0), atol=1e-9)
    if selector == 4.0 and method == "hard":  # exactly that threshold
        kept = np.abs(y - model.path_.predict(X, 4.0)) <= 4
        np.testing.assert_array_equal(kept, ~mask)
    table = model.conf_int(0.9)
    assert (table["low"] < table["coef"]).all()
    assert (table["coef"] < table["high"]).all()
    other = OutlierRegression(method, selector="gap").fit(X, y, weight)
    other = other.select(selector, X, y, weight)
    np.testing.assert_array_equal(other.outliers_, mask)
    np.testing.assert_array_equal(other.coef_, model.coef_)
    np.testing.assert_array_equal(other.scale_, model.scale_)
    for copy in (pickle.loads(pickle.dumps(model)), clone(model).fit(X, y, weight)):
        np.testing.assert_array_equal(copy.coef_, model.coef_)
        np.testing.assert_array_equal(copy.outliers_, mask)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("selector", ["auto", "gap", "bic"])
def test_order_units_and_linear_changes_do_not_matter(method, selector):
    rng = np.random.default_rng(7)
    for seed in range(3):
        X, y = clean(n=25 + 5 * seed, seed=seed)
        model = OutlierRegression(method, selector=selector).fit(X, y)
        rows = rng.permutation(len(y))
        moved = clone(model).fit(X[rows], y[rows])
        np.testing.assert_array_equal(moved.outliers_, model.outliers_[rows])
        np.testing.assert_allclose(moved.coef_, model.coef_, rtol=1e-8)
        size, unit = 10.0 ** rng.integers(-6, 7, size=3), 10.0 ** rng.integers(-9, 10)
        slope = rng.normal(size=3)
        moved = clone(model).fit((X + 3) * size, unit * (y + X @ slope))
        np.testing.assert_array_equal(moved.outliers_, model.outliers_)
        coef = unit * (model.coef_ + slope) / size
        np.testing.assert_allclose(moved.coef_, coef, rtol=1e-8)
        assert moved.scale_ == pytest.approx(unit * model.scale_, rel=1e-8)


@pytest.mark.parametrize("estimator", [OutlierRegression(), HuberRegression()], ids=str)
def test_whole_weights_are_repeated_rows(estimator):
    X, y = clean(n=35, seed=4)
    weight = np.random.default_rng(1).integers(1, 4, 35)
    rows = np.repeat(np.arange(35), weight)
    weighted = clone(estimator).fit(X, y, weight)
    repeated = clone(estimator).fit(X[rows], y[rows])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8)
    np.testing.assert_array_equal(weighted.outliers_[rows], repeated.outliers_)
    assert weighted.scale_ == pytest.approx(repeated.scale_, rel=1e-8)


FORMS = {
    "csr": sparse.csr_array,
    "csc": sparse.csc_array,
    "coo": sparse.coo_array,
    "fortran": np.asfortranarray,
    "list": lambda X: X.tolist(),
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "frame": lambda X: pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))]),
}
ESTIMATORS = {m: OutlierRegression(m) for m in METHODS} | {"huber": HuberRegression()}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_containers_and_types_of_the_data(name, tmp_path):
    X, y = clean()
    want = clone(ESTIMATORS[name]).fit(X, y)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    frozen = y.copy()
    frozen.flags.writeable = False
    forms = [(form(X), y) for form in FORMS.values()] + [(mapped, frozen)]
    for data, target in [*forms, (X, y[:, None]), (X, y.tolist())]:
        found = clone(ESTIMATORS[name]).fit(data, target)
        np.testing.assert_array_equal(found.outliers_, want.outliers_)
        np.testing.assert_allclose(np.ravel(found.coef_), want.coef_, rtol=1e-9)
    assert np.shape(clone(want).fit(X, y[:, None]).coef_) == (1, 3)
    single = clone(want).fit(X.astype(np.float32), y)
    np.testing.assert_allclose(single.coef_, want.coef_, rtol=1e-5)
    frame = clone(want).fit(FORMS["frame"](X), y)
    assert list(frame.path_.rows_frame().index[:2]) == ["row 0", "row 1"]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("unit", [1e-150, 1e-9, 1e12, 1e140])
def test_any_units(name, unit):
    X, y = clean()
    want = clone(ESTIMATORS[name]).fit(X, y)
    for x_unit, y_unit in ((unit, 1.0), (1.0, unit)):
        found = clone(want).fit(X * x_unit, y * y_unit)
        np.testing.assert_array_equal(found.outliers_, want.outliers_)
        factor = y_unit / x_unit
        np.testing.assert_allclose(found.coef_, want.coef_ * factor, rtol=1e-9)
        assert found.scale_ == pytest.approx(y_unit * want.scale_, rel=1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_milliseconds_since_1970(name):
    """scikit-learn issue 27777."""
    rng = np.random.default_rng(1)
    hours = rng.random(200)
    y = 2 + 3 * hours + 0.1 * rng.normal(size=200)
    y[:10] += 5
    want = clone(ESTIMATORS[name]).fit(hours[:, None], y)
    found = clone(want).fit((1.6e12 + 3.6e6 * hours)[:, None], y)
    assert found.coef_[0] * 3.6e6 == pytest.approx(want.coef_[0], rel=1e-8)
    assert found.coef_[0] * 3.6e6 == pytest.approx(3, abs=0.1)
    np.testing.assert_array_equal(found.outliers_, want.outliers_)
    far = clone(want).fit((1.6e12 + 3.6e6 * hours)[:, None], 1e3 * (y + 1e6))
    assert far.coef_[0] * 3.6e3 == pytest.approx(want.coef_[0], rel=1e-8)


@pytest.mark.parametrize("form", ["csr", "blocks", "sparse blocks"])
def test_problems_of_other_containers(form):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 4)) * (rng.random((80, 4)) < 0.6)
    X[7], X[:, 3] = 0, 0
    Y = np.column_stack([X[:, 0], X[:, 1] - X[:, 2]]) + rng.normal(size=(80, 2))
    Y[:8] += 10
    blocks = [X[:30], X[30:31], X[31:]]
    data = {
        "csr": sparse.csr_array(X),
        "blocks": blocks,
        "sparse blocks": [sparse.csr_array(block) for block in blocks],
    }[form]
    for solver in ("grid", "lbi", "hard"):
        want, found = (SOLVERS[solver](ShiftProblem(each, Y)) for each in (X, data))
        np.testing.assert_allclose(found.knots, want.knots, rtol=1e-6)
        np.testing.assert_allclose(found.coefs, want.coefs, atol=1e-6)
        np.testing.assert_array_equal(found.outlier_order(8), want.outlier_order(8))


def test_labels_are_their_codes():
    rng = np.random.default_rng(0)
    X, label = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    codes = huber_path(ShiftProblem(X, np.eye(3)[label]), n_knots=6)
    for names in (np.arange(3), np.array(["a", "b", "c"]), np.array([-1.5, 2, 10])):
        path = huber_path(ShiftProblem(X, names[label], classes="auto"), n_knots=6)
        np.testing.assert_allclose(path.coefs, codes.coefs, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(path.outlier_order(), codes.outlier_order())
        np.testing.assert_array_equal(path.classes, names)
        path.verify(X, names[label])


# -- where there is no answer ----------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_more_rows_than_coefficients(name):
    X, y = clean()
    for n in (2, 4):
        with pytest.raises(ValueError, match="needs more rows than coefficients"):
            clone(ESTIMATORS[name]).fit(X[:n], y[:n])
    few = np.zeros(60)
    few[:4] = 1
    with pytest.raises(ValueError, match="needs more rows than coefficients"):
        clone(ESTIMATORS[name]).fit(X, y, few)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_data_without_noise_or_variation(name):
    X, y = clean()
    model = clone(ESTIMATORS[name])
    for data, target in (
        (np.ones((60, 3)), np.full(60, 3.0)),
        (X, np.full(60, 3.0)),
        (X, np.zeros(60)),
    ):
        flat = model.fit(data, target)
        assert flat.scale_ == 0
        assert not flat.outliers_.any()
        assert not flat.coef_.any()
    exact = model.fit(X, X @ [1.0, 2.0, 3.0] + 5)
    assert exact.scale_ == 0
    assert not exact.outliers_.any()
    np.testing.assert_allclose(exact.coef_, [1, 2, 3], rtol=1e-12)
    y = X @ [1.0, 2.0, 3.0] + 5
    y[[2, 7]] += [3, -4]
    most = model.fit(X, y)
    assert most.scale_ == 0
    assert np.flatnonzero(most.outliers_).tolist() == [2, 7]
    np.testing.assert_allclose(most.coef_, [1, 2, 3], rtol=1e-9)
    assert (most.conf_int()["standard_error"] == 0).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_constant_and_dependent_columns(name):
    X, y = clean()
    want = clone(ESTIMATORS[name]).fit(X, y)
    wide = np.column_stack([X, np.full(60, 7.0)])
    constant = clone(want).fit(wide, y)
    np.testing.assert_allclose(constant.coef_[:3], want.coef_, rtol=1e-9)
    assert constant.coef_[3] == 0
    error = constant.conf_int()["standard_error"].to_numpy()
    assert np.isnan(error).tolist() == [False] * 3 + [True, False]
    double = clone(want).fit(np.column_stack([X, X[:, 0]]), y)
    np.testing.assert_allclose(double.coef_[[0, 3]], want.coef_[0] / 2, rtol=1e-9)
    error = double.conf_int()["standard_error"].to_numpy()
    assert np.isnan(error).tolist() == [True, False, False, True, False]


BAD_FITS = {
    "Input X contains NaN": lambda X, y: (np.where(X > 2, np.nan, X), y),
    "Input X contains infinity": lambda X, y: (np.where(X > 2, np.inf, X), y),
    "Input y contains NaN": lambda X, y: (X, np.where(y > 9, np.nan, y)),
    "zero everywhere": lambda X, y: (X, y, np.zeros(60)),
    "weights must be finite": lambda X, y: (X, y, -np.ones(60)),
    "contains nan; weights": lambda X, y: (X, y, np.full(60, np.nan)),
    "needs one number for each": lambda X, y: (X, y, np.ones(5)),
    "inconsistent numbers": lambda X, y: (X, y[:5]),
    "responses must be numbers": lambda X, y: (X, np.array(["a", "b"] * 30)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("text", BAD_FITS)
def test_bad_data_are_named(name, text):
    with pytest.raises(ValueError, match=text):
        clone(ESTIMATORS[name]).fit(*BAD_FITS[text](*clean()))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"method": "l2"}, "method='l2' is unknown"),
        ({"max_outliers": 31}, "between 0 and half of the rows, 30"),
        ({"max_outliers": -1}, "between 0 and half of the rows, 30"),
        ({"max_outliers": np.nan}, "between 0 and half of the rows, 30"),
        ({"selector": "nothing"}, "selector='nothing' is unknown; use one of"),
        ({"selector": -1.0}, "nonnegative number"),
        ({"selector": 1e-9}, "beyond the traced range"),
        ({"method": "lbi", "kappa": 0}, "kappa=0 must be a positive number"),
        ({"method": "lbi", "n_knots": 1}, "n_knots=1 must be an integer of at least"),
        ({"method": "iss", "t_max": -1}, "t_max=-1 must be positive"),
    ],
    ids=str,
)
def test_bad_parameters_of_outlier_regression(parameters, text):
    with pytest.raises(ValueError, match=text):
        OutlierRegression(**parameters).fit(*clean())


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"efficiency": 0.5}, "must be above 0.6366"),
        ({"efficiency": 1}, "and 1; 0.95 is usual"),
        ({"threshold": 0}, "threshold=0 must be a positive number"),
        ({"scale": "clean"}, "scale='clean' is unknown; use one of"),
    ],
    ids=str,
)
def test_bad_parameters_of_huber_regression(parameters, text):
    with pytest.raises(ValueError, match=text):
        HuberRegression(**parameters).fit(*clean())


def test_bad_problems():
    X, y = clean()
    label = np.arange(60) % 3
    bad = X.copy()
    bad[3, 1] = np.nan
    for text, arguments, options in [
        ("none of the classes", (X, label), {"classes": [0, 1]}),
        ("fewer than two labels", (X, 0 * label), {"classes": "auto"}),
        ("one label for each", (X, label[:5]), {"classes": "auto"}),
        ("nan in row 3, column 1", ([bad[:50], bad[50:]], y), {}),
        ("nan in row 3, column 1", (sparse.csr_array(bad), y), {}),
        ("all need the same number", ([X[:50], X[50:, :2]], y), {}),
        ("must be positive", (X, y), {"row_factor": np.zeros(60)}),
        ("no row that could be", (X, y), {"row_factor": np.full(60, np.inf)}),
    ]:
        with pytest.raises(ValueError, match=text):
            ShiftProblem(*arguments, **options)


def test_more_than_half_is_never_reported():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = X @ [1.0, 1.0] + rng.standard_cauchy(40)
    weight = rng.random(40)
    for method, selector in itertools.product(METHODS, ["auto", "bic", "aic", "gap"]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = OutlierRegression(method, selector=selector).fit(X, y, weight)
        assert weight[model.outliers_].sum() <= weight.sum() / 2
        assert np.isfinite(model.coef_).all()
        assert model.scale_ > 0


def test_wide_thresholds():
    """Nothing is cut there: least squares, with its standard deviation."""
    for seed, threshold in itertools.product(range(15), (8.0, 20.0, 1e6)):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(40, 2))
        y = X @ [1.0, 2.0] + rng.normal(size=40)
        model = OutlierRegression(selector=threshold).fit(X, y)
        assert not model.outliers_.any()
        left = np.sum((y - model.predict(X)) ** 2) / 37
        assert model.scale_ == pytest.approx(np.sqrt(left), rel=1e-6)


@pytest.mark.parametrize("method", ["iss", "lbi"])
def test_scale_of_the_kept_rows_is_not_enlarged(method):
    """On t paths the noise is no larger than for the same rows found otherwise."""
    ratio = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(20, 2))
        y = X @ [1.0, 2.0] + rng.normal(size=20)
        y[:2] += 12
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            ratio.append(OutlierRegression(method).fit(X, y).scale_)
    assert np.median(ratio) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("method", ["iss", "lbi"])
def test_kept_rows_of_weight_zero_do_not_change_the_scale(method):
    X, y = clean()
    y[0] += 1000
    weight = np.ones(60)
    weight[[0, 40]] = 0
    y[40] += 4
    some = weight > 0
    model = OutlierRegression(method, selector=0.1).fit(X, y, weight)
    fewer = OutlierRegression(method, selector=0.1).fit(X[some], y[some])
    assert model.scale_ == pytest.approx(fewer.scale_, rel=1e-9)


def test_select_equals_fit_for_criteria_of_several_responses():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(16, 5))
    Y = X[:, :2] + rng.normal(size=(16, 2))
    Y[:4] += 8
    for name in ("aic", "bic"):
        fitted = OutlierRegression("l1", selector=name).fit(X, Y)
        selected = OutlierRegression("l1", selector="gap").fit(X, Y).select(name, X, Y)
        assert selected.selection_.knot == fitted.selection_.knot
        np.testing.assert_array_equal(
            selected.selection_.scores, fitted.selection_.scores
        )


def test_paths_without_features_that_would_move_can_be_checked():
    """Infinite factors, and a path that ends at 0."""
    X, y = clean()
    factor = np.ones(60)
    factor[5] = np.inf
    path = huber_path(ShiftProblem(X, y, row_factor=factor), route="exact")
    assert path.knots[-1] == 0
    assert path.verify(X, y)["gradient"].max() < 1e-9


def test_path_without_a_row_that_could_be_shifted_can_be_checked():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    weight = np.array([3.0, 0, 0, 3, 1, 3, 3])  # five rows, five coefficients
    problem = ShiftProblem(X, Y, sample_weight=weight)
    for solver in ("grid", "lbi", "hard"):
        SOLVERS[solver](problem).verify(X, Y, sample_weight=weight)


@pytest.mark.parametrize("method", ["iss", "lbi"])
def test_no_coefficient_at_all(method):
    y = np.random.default_rng(0).normal(size=20)
    y[0] = 30
    model = OutlierRegression(method, fit_intercept=False).fit(np.zeros((20, 2)), y)
    assert np.flatnonzero(model.outliers_).tolist() == [0]


def test_labels_that_are_no_numbers():
    X, _ = clean()
    label = np.arange(60.0) % 3
    label[4] = np.nan
    with pytest.raises(ValueError, match="row 4"):
        ShiftProblem(X, label, classes="auto")
    mixed = np.array([None] + ["a", "b"] * 29 + ["a"], dtype=object)
    with pytest.raises(ValueError, match="y contains None"):
        ShiftProblem(X, mixed, classes="auto")
    with pytest.raises(ValueError, match="contains NaN"):
        ShiftProblem(X, np.arange(60) % 3, classes=[0, 1, 2, np.nan])


@pytest.mark.parametrize("estimator", [OutlierRegression(), HuberRegression()], ids=str)
def test_select_refuses_other_data_of_the_same_size(estimator):
    X, y = clean()
    model = estimator.fit(X, y)
    selector = 3.0
    with pytest.raises(ValueError, match="not the data of the path"):
        model.select(selector, X + np.arange(3), y[::-1])


@pytest.mark.parametrize(
    "trace",
    [
        lambda p: huber_path(p, max_outliers="a"),
        lambda p: hard_path(p, max_outliers="a"),
        lambda p: shift_iss_path(p, t_max="a"),
        lambda p: huber_path(p, route="grid", tol=-1.0),
        lambda p: huber_path(p, route="grid", tol=np.nan),
        lambda p: huber_path(p, n_knots=0),
    ],
)
def test_bad_arguments_of_solvers(trace):
    with pytest.raises(ValueError, match="='?-?(a|0|nan|1)"):
        trace(ShiftProblem(*clean()))


def test_unknown_kind_of_intervals_is_named():
    with pytest.raises(ValueError, match="unknown"):
        HuberRegression().fit(*clean()).conf_int(kind="x")


def test_random_state_of_a_hard_path_is_kept():
    from sparselbi.solvers import retrace_shift

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 12))
    y = rng.standard_cauchy(60)
    problem = ShiftProblem(X, y)
    for state in range(1, 9):
        path = hard_path(problem, random_state=state)
        again = retrace_shift(path, problem, path.knots)
        np.testing.assert_array_equal(again.info["start_coef"], path.info["start_coef"])


@pytest.mark.parametrize("seed", [148, 152, 247, 0, 18])
def test_fast_s_finds_the_minimum_of_very_small_data(seed):
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(6, 12)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, p))
    y = rng.normal(size=n)
    y[: int(rng.integers(0, n // 2))] += 8
    if seed % 2:
        y = rng.standard_cauchy(n)
    found = fast_s(ShiftProblem(X, y).design)
    Z = np.column_stack([X, np.ones(n)])
    assert found.scale == pytest.approx(smallest_scale(Z, y[:, None], np.ones(n)), 1e-6)


def test_fast_s_of_repeated_rows():
    rng = np.random.default_rng(0)
    worst = 0
    for _ in range(20):
        X, y = rng.normal(size=(7, 1)), rng.standard_cauchy(7)
        weight = rng.integers(1, 4, 7)
        rows = np.repeat(np.arange(7), weight)
        one = fast_s(ShiftProblem(X, y, sample_weight=weight).design).scale
        two = fast_s(ShiftProblem(X[rows], y[rows]).design).scale
        worst = max(worst, abs(np.log(one / two)))
    assert worst < 1e-6


@pytest.mark.parametrize("selector", [2.2, 3.3, 4.1])
def test_a_number_is_that_threshold(selector):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(60, 2))
        y = X @ [1.0, 2.0] + rng.standard_t(2, size=60)
        model = OutlierRegression(selector=selector).fit(X, y)
        beyond = np.abs(y - model.path_.predict(X, selector)) > selector
        np.testing.assert_array_equal(beyond, model.outliers_)


def test_refit_where_too_few_rows_are_kept_says_what_to_do():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    path = huber_path(ShiftProblem(X, y), thresholds=[2, 1, 0.01])
    with pytest.raises(ValueError, match="Trace the path with max_outliers"):
        path.refit(X, y)


def test_lbi_with_too_many_steps_is_refused():
    with pytest.raises(ValueError, match=r"kappa=1e\+12\) would take 9.9e\+13 steps"):
        shift_lbi_path(ShiftProblem(*clean()), kappa=1e12)
