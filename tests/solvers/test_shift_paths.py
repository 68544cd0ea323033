"""Public solvers of the shift model: they agree where they must, and can be checked."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from sparselbi import (
    RegularizationPath,
    ShiftProblem,
    hard_path,
    huber_path,
    shift_iss_path,
    shift_lbi_path,
)
from sparselbi.solvers import retrace_shift, verify_shift_path

PATHS = {
    "l1": huber_path,
    "iss": shift_iss_path,
    "lbi": shift_lbi_path,
    "hard": hard_path,
}


def make(n=60, p=3, c=None, seed=0, n_outliers=6):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 3
    shape = n if c is None else (n, c)
    y = X @ rng.normal(size=p if c is None else (p, c)) + rng.normal(size=shape)
    y[:n_outliers] += 9
    return X, y


@pytest.mark.parametrize("method", PATHS)
@pytest.mark.parametrize("kind", ["plain", "weights", "no intercept", "factors"])
def test_every_knot_is_what_it_says(method, kind):
    X, y = make()
    rng = np.random.default_rng(1)
    options = {
        "plain": {},
        "weights": {"sample_weight": rng.integers(0, 4, 60).astype(float)},
        "no intercept": {"fit_intercept": False},
        "factors": {"row_factor": rng.uniform(0.5, 2, 60)},
    }[kind]
    problem = ShiftProblem(X, y, **options)
    path = PATHS[method](problem, max_outliers=20)
    table = path.verify(X, y, options.get("sample_weight"))
    if kind == "factors":
        np.testing.assert_array_equal(path.row_factor, options["row_factor"])
    assert len(table) == len(path) > 5
    assert table["gradient"].max() < 1e-9
    if method != "lbi":
        assert table["set_violation"].max() < 1e-9
    if method == "iss":
        assert table["dual_violation"].max() < 1e-9


@pytest.mark.parametrize("method", PATHS)
def test_the_check_sees_changes(method):
    X, y = make()
    problem = ShiftProblem(X, y)
    path = PATHS[method](problem, max_outliers=20)
    moved = dataclasses.replace(path, active_coefs=path.active_coefs * (1 + 1e-4))
    assert verify_shift_path(moved, problem)["gradient"].max() > 1e-5
    events = path.row_events.copy()
    events["row"] = (events["row"] + 7) % 60
    other = dataclasses.replace(path, row_events=events)
    table = verify_shift_path(other, problem)
    if method != "lbi":  # its shifts are stored
        assert table[["gradient", "set_violation"]].max().max() > 1e-2
    with pytest.raises(ValueError, match=r"traced on 60 rows .* these are 59"):
        verify_shift_path(path, problem.subset(np.arange(59)))


@pytest.mark.parametrize("method", ["l1", "lbi", "hard"])
def test_several_responses(method):
    X, y = make(c=3)
    path = PATHS[method](ShiftProblem(X, y), max_outliers=20)
    assert path.coef_shape == (3, 3)
    assert set(path.outlier_order(6)) == set(range(6))
    tolerance = 1e-4 if method == "l1" else 1e-9  # a grid ends at its tolerance
    assert path.verify(X, y)["gradient"].max() < tolerance
    knot = path.knots[len(path) // 2]
    total = path.predict(X, knot) + path.residuals(X, y, knot)
    np.testing.assert_allclose(total, y)
    assert path.shifts(X, y, knot).shape == y.shape


@pytest.mark.parametrize("method", ["l1", "lbi", "hard"])
def test_one_response_is_a_case_of_several(method):
    X, y = make()
    one = PATHS[method](ShiftProblem(X, y), max_outliers=20)
    several = PATHS[method](ShiftProblem(X, y[:, None]), max_outliers=20)
    assert several.coef_shape == (1, 3)
    np.testing.assert_array_equal(one.outlier_order(), several.outlier_order())
    np.testing.assert_allclose(one.coefs, several.coefs[:, 0], rtol=1e-9)


def test_labels_are_responses():
    X, _ = make(n=90)
    labels = np.array(["a", "b", "c"])[np.argmax(X, axis=1)]
    codes = (labels[:, None] == ["a", "b", "c"]).astype(float)
    a = huber_path(ShiftProblem(X, labels, classes="auto"), max_outliers=30)
    b = huber_path(ShiftProblem(X, codes), max_outliers=30)
    np.testing.assert_allclose(a.coefs, b.coefs, atol=1e-9)
    np.testing.assert_allclose(
        a.residuals(X, labels, a.knots[5]), b.residuals(X, codes, a.knots[5])
    )
    predicted = a.predict(X, a.knots[5])
    assert set(predicted) <= set("abc")
    assert np.mean(predicted == labels) > 0.8


@pytest.mark.parametrize("layout", [np.asfortranarray, sp.csr_array, np.float32])
def test_grid_and_events_are_the_same_path(layout):
    X, y = make(n=200)
    X = X.astype(np.float32).astype(np.float64)
    exact = huber_path(ShiftProblem(X, y))
    knots = exact.knots[0] * np.geomspace(0.95, 0.1, 12)
    given = X.astype(np.float32) if layout is np.float32 else layout(X)
    grid = huber_path(ShiftProblem(given, y), thresholds=knots, route="grid", tol=1e-13)
    assert exact.info["route"] == "exact"
    assert grid.info["route"] == "grid"
    coefs, intercepts = exact.coefs_at(knots)
    found, constant = grid.coefs_at(knots)
    np.testing.assert_allclose(found, coefs, atol=1e-6)
    np.testing.assert_allclose(constant, intercepts, atol=1e-6)
    inside = np.isin(exact.outlier_order(), grid.outlier_order())
    entry = exact.row_entry[grid.outlier_order()]
    assert inside[:20].all()
    np.testing.assert_allclose(grid.row_entry[grid.outlier_order()], entry, rtol=0.02)


def test_blocks_of_rows_are_one_design():
    X, y = make(n=200)
    whole = huber_path(ShiftProblem(X, y), route="grid", thresholds=[3.0, 2.0, 1.0])
    parts = ShiftProblem([X[:50], X[50:170], X[170:]], y)
    assert not parts.design.dense
    streamed = huber_path(parts, thresholds=[3.0, 2.0, 1.0])
    np.testing.assert_allclose(streamed.coefs, whole.coefs, atol=1e-5)
    for solver in (shift_lbi_path, hard_path):
        a = solver(parts, max_outliers=40)
        b = solver(ShiftProblem(X, y), max_outliers=40)
        np.testing.assert_array_equal(a.outlier_order(6), b.outlier_order(6))
    with pytest.raises(ValueError, match="ISS path keeps the coordinates"):
        shift_iss_path(parts)


@pytest.mark.parametrize("method", ["iss", "hard"])
def test_without_shrinkage_refits_are_the_path(method):
    X, y = make()
    problem = ShiftProblem(X, y)
    path = PATHS[method](problem, max_outliers=20)
    refit = path.refit(X, y)
    assert refit.method == f"{method}+refit"
    for k in range(len(path)):
        kept = ~path.outliers(path.knots[k])
        A = np.column_stack([np.ones(60), X])[kept]
        fit, left, *_ = np.linalg.lstsq(A, y[kept], rcond=None)
        np.testing.assert_allclose(refit.coefs[k], fit[1:], atol=1e-9)
        np.testing.assert_allclose(refit.deviance[k], left[0], rtol=1e-9)
        if method == "hard":
            np.testing.assert_allclose(path.coefs[k], fit[1:], atol=1e-9)
    assert refit.verify(X, y)["gradient"].max() < 1e-9


@pytest.mark.parametrize("method", PATHS)
def test_traced_again_on_the_same_rows_it_is_the_same_path(method):
    X, y = make()
    problem = ShiftProblem(X, y)
    # Small steps: within one, knots see the dual change linearly, and lines the fit.
    options = {"kappa": 100} if method == "lbi" else {}
    path = PATHS[method](problem, max_outliers=20, **options)
    again = retrace_shift(path, problem, path.knots)
    # LBI is read between knots, and these are others now: 0.5 % of the largest change.
    moved = path.predict(X) - path.predict(X)[0]
    largest = np.linalg.norm(moved, axis=1).max()
    error = np.linalg.norm(again.predict(X, path.knots) - path.predict(X), axis=1)
    assert error.max() <= (0.01 if method == "lbi" else 1e-12) * largest


@pytest.mark.parametrize("method", PATHS)
def test_files(method, tmp_path):
    X, y = make()
    path = PATHS[method](ShiftProblem(X, y), max_outliers=20)
    path.save(tmp_path / "path.npz")
    loaded = RegularizationPath.load(tmp_path / "path.npz")
    knot = path.knots[len(path) // 2]
    np.testing.assert_array_equal(loaded.outliers(knot), path.outliers(knot))
    np.testing.assert_array_equal(loaded.shifts(X, y, knot), path.shifts(X, y, knot))


def test_max_outliers_ends_the_path():
    X, y = make()
    problem = ShiftProblem(X, y)
    for method, trace in PATHS.items():
        path = trace(problem, max_outliers=8)
        assert path.size.max() <= 8
        assert path.status == "max_outliers", method


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda P: huber_path(P, route="fast"), "route='fast' is unknown"),
        (lambda P: huber_path(P, thresholds=[1.0, 2.0]), "a decreasing sequence"),
        (lambda P: huber_path(P, thresholds=[2.0, 0.0]), "positive and finite"),
        (lambda P: huber_path(P, max_outliers=-1), "max_outliers=-1 must be between"),
        (lambda P: shift_iss_path(P, t_max=-1.0), "t_max=-1.0 must be positive"),
        (lambda P: shift_lbi_path(P, kappa=0), "kappa=0"),
        (lambda P: hard_path(P, thresholds=[1.0, 2.0]), "decreas"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(ShiftProblem(*make()))


def test_exact_route_says_why_it_is_not_possible():
    X, y = make(c=2)
    with pytest.raises(ValueError, match=r"several responses.*use 'grid'"):
        huber_path(ShiftProblem(X, y), route="exact")
