"""Deletion diagnostics against refits without each row."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparselbi import _row_basis
from sparselbi.datasets import load_hbk, load_stackloss, load_stars_cyg
from sparselbi.diagnostics import leverage, regression_diagnostics
from tests.common import LAYOUTS, make_data, relative_gap

PER_ROW = (
    *("deleted_residual", "deleted_scale"),
    *("studentized_internal", "studentized_external"),
    *("cooks_distance", "dffits", "dfbeta", "dfbeta_intercept"),
)
ALL = ("leverage", "residual", *PER_ROW, "dfbetas", "dfbetas_intercept", "t2")
ALL += ("p_value", "p_value_bonferroni")


def case(n=30, p=4, responses=0, seed=0, weights=None, dependent=False):
    """X, y and weights of a kind."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.5, 20, size=p) + rng.normal(size=p)
    if dependent:
        X = np.column_stack([X, X[:, 0] - 2 * X[:, 1], np.full(n, 3.0), X[:, 2]])
    shape = (n, responses) if responses else (n,)
    y = 5 + rng.normal(size=shape) + (X[:, :1] if responses else X[:, 0])
    w = None
    if weights == "counts":
        w = rng.integers(1, 4, size=n).astype(float)
    elif weights == "fractions":
        w = rng.uniform(0.1, 2.5, size=n)
        w[[2, 7]] = 0.0
    return X, y, w


# --------------------------------------------------------------- refits without a row


def plain_fit(X, y, w, intercept):
    """Weighted least squares of least norm by the singular value decomposition."""
    Y = y if y.ndim == 2 else y[:, None]
    mean = w @ X / w.sum() if intercept else np.zeros(X.shape[1])
    y_mean = w @ Y / w.sum() if intercept else np.zeros(Y.shape[1])
    root = np.sqrt(w)[:, None]
    A = root * (X - mean)
    norms = np.linalg.norm(A, axis=0)
    A[:, norms <= 1e-12 * np.linalg.norm(root * X, axis=0)] = 0.0
    inverse = np.linalg.pinv(A, rcond=1e-11)
    coef = (inverse @ (root * (Y - y_mean))).T
    constant = y_mean - coef @ mean
    rank = np.linalg.matrix_rank(A, tol=1e-11 * np.linalg.norm(A, 2)) + intercept
    df = w.sum() - rank
    residual = Y - X @ coef.T - constant
    moments = (w[:, None] * residual).T @ residual
    precision = inverse @ inverse.T
    variance = ((X - mean) @ precision * (X - mean)).sum(axis=1)
    variance += intercept / w.sum()
    return {
        "coef": coef,
        "intercept": constant,
        "rank": rank,
        "df": df,
        "residual": residual,
        "covariance": moments / df,
        "scale": np.sqrt(moments.diagonal() / df),
        "fit_variance": variance,
        "errors": np.sqrt(precision.diagonal()),
        "intercept_error": np.sqrt(intercept / w.sum() + mean @ precision @ mean),
        "fitted": X @ coef.T + constant,
    }


def by_refits(X, y, w, intercept):
    """Everything from the definitions: one more fit for every row."""
    n = len(y)
    Y = y if y.ndim == 2 else y[:, None]
    w = np.ones(n) if w is None else w
    full = plain_fit(X, y, w, intercept)
    out = {name: [] for name in (*PER_ROW, "t2", "dfbetas", "dfbetas_intercept")}
    out["leverage"] = w * full["fit_variance"]
    out["residual"] = full["residual"]
    out["full"] = full
    for i in range(n):
        without = np.where(np.arange(n) == i, 0.0, w)
        fit = plain_fit(X, y, without, intercept)
        error = Y[i] - fit["fitted"][i]
        spread = np.sqrt(1 + fit["fit_variance"][i])
        change = full["coef"] - fit["coef"]
        change0 = full["intercept"] - fit["intercept"]
        moved = full["fitted"] - fit["fitted"]
        scale = fit["scale"]
        out["deleted_residual"].append(error)
        out["deleted_scale"].append(scale)
        out["studentized_internal"].append(error / (full["scale"] * spread))
        out["studentized_external"].append(error / (scale * spread))
        cook = w @ moved**2 / (full["rank"] * full["scale"] ** 2)
        out["cooks_distance"].append(cook)
        fitted_error = scale * np.sqrt(full["fit_variance"][i])
        out["dffits"].append(moved[i] / fitted_error)
        out["dfbeta"].append(change)
        errors = np.where(full["errors"] > 0, full["errors"], 1.0)
        out["dfbetas"].append(change / (scale[:, None] * errors))
        out["dfbeta_intercept"].append(change0)
        error0 = scale * (full["intercept_error"] if intercept else 1.0)
        out["dfbetas_intercept"].append(change0 / error0)
        weighted = np.linalg.solve(fit["covariance"], error)
        out["t2"].append(error @ weighted / spread**2)
    return out


@pytest.mark.parametrize("responses", [0, 1, 3])
@pytest.mark.parametrize("dependent", [False, True])
@pytest.mark.parametrize("weights", [None, "counts", "fractions"])
@pytest.mark.parametrize("intercept", [True, False])
def test_everything_is_that_of_refits(intercept, weights, dependent, responses):
    X, y, w = case(responses=responses, weights=weights, dependent=dependent)
    found = regression_diagnostics(X, y, w, fit_intercept=intercept)
    expected = by_refits(X, y, w, intercept)
    full = expected.pop("full")
    assert found.rank == full["rank"]
    assert found.df == pytest.approx(full["df"], rel=1e-14)
    for name in ("coef", "intercept", "scale", "fit_variance"):
        value = np.asarray(getattr(found, name))
        assert relative_gap(value, full[name].reshape(value.shape)) < 1e-11, name
    for name, values in expected.items():
        value = getattr(found, name)
        gap = relative_gap(value, np.reshape(values, value.shape))
        assert gap < 1e-10, (name, gap)
    weight = np.ones(len(y)) if w is None else w
    deleted = np.asarray(expected["deleted_residual"])
    np.testing.assert_allclose(found.press, np.squeeze(weight @ deleted**2), rtol=1e-10)
    assert found.residual.shape == np.shape(y)
    assert found.dfbeta.shape == (len(y), *found.coef.shape)

    rows = [3, 11, 7]
    coef, constant = found.deleted_coefs(rows)
    for k, i in enumerate(rows):
        left = np.where(np.arange(len(y)) == i, 0.0, weight)
        fit = plain_fit(X, y, left, intercept)
        assert relative_gap(coef[k], fit["coef"].reshape(coef[k].shape)) < 1e-10
        np.testing.assert_allclose(np.ravel(constant[k]), fit["intercept"], atol=1e-10)


def test_a_weight_is_a_number_of_equal_rows():
    X, y, w = case(weights="counts", seed=3)
    found = regression_diagnostics(X, y, w)
    copies = np.repeat(np.arange(len(y)), w.astype(int))
    repeated = regression_diagnostics(X[copies], y[copies])
    assert repeated.n_samples == found.n_samples
    for name in ("coef", "intercept", "scale", "df", "rank"):
        a, b = getattr(found, name), getattr(repeated, name)
        np.testing.assert_allclose(a, b, rtol=1e-11)
    np.testing.assert_allclose(found.residual[copies], repeated.residual, atol=1e-12)
    np.testing.assert_allclose(found.fit_variance[copies], repeated.leverage)
    total = np.bincount(copies, repeated.leverage)
    np.testing.assert_allclose(found.leverage, total, rtol=1e-11)
    for i in (0, 4):
        kept = copies != i
        rest = regression_diagnostics(X[copies[kept]], y[copies[kept]])
        np.testing.assert_allclose(found.deleted_coefs(i)[0][0], rest.coef, rtol=1e-10)
        np.testing.assert_allclose(found.deleted_scale[i], rest.scale, rtol=1e-10)


def test_rows_of_weight_zero_are_new_rows():
    X, y, _ = case(n=40, responses=2)
    used = np.arange(40) >= 8
    found = regression_diagnostics(X, y, used.astype(float))
    alone = regression_diagnostics(X[used], y[used])
    for name in ALL:
        if name == "p_value_bonferroni":
            continue
        gap = relative_gap(getattr(found, name)[used], getattr(alone, name))
        assert gap < 1e-11, name
    assert (found.leverage[:8] == 0).all()
    assert not found.dfbeta[:8].any()
    predicted = X[:8] @ alone.coef.T + alone.intercept
    centred = X - X[used].mean(axis=0)
    inverse = np.linalg.inv(centred[used].T @ centred[used])
    spread = 1 + 1 / 32 + (centred @ inverse * centred).sum(axis=1)[:8]
    t = (y[:8] - predicted) / (alone.scale * np.sqrt(spread)[:, None])
    np.testing.assert_allclose(found.studentized_external[:8], t, rtol=1e-10)
    np.testing.assert_array_equal(found.deleted_df[:8], 32 - 5)


def test_new_rows_that_the_fit_does_not_reach():
    X, y, _ = case(dependent=True)
    X[0, -1] += 1.0  # in the other rows the last column equals the third
    w = np.ones(len(y))
    w[[0, 1]] = 0.0
    found = regression_diagnostics(X, y, w)
    assert found.rank == 5
    for name in ("residual", "fit_variance", "studentized_external", "p_value"):
        np.testing.assert_array_equal(
            np.flatnonzero(np.isnan(getattr(found, name))), [0]
        )
    assert found.leverage[0] == 0
    assert np.isfinite(found.press)
    assert found.p_value_bonferroni[1] == min(1, 29 * found.p_value[1])


def test_rounding_reaches_every_new_row():
    X, y, _ = case()
    w = np.ones(len(y))
    w[:3] = 0.0
    X[:, 3] = X[:, 0] + 1e-7 * X[:, 3]
    X[0, 3] = -9.0  # not nearly collinear there
    X[1, :2] = 3e9, 1e9  # the combination is nearly 0
    X = np.column_stack([X, X[:, 1] - X[:, 0] / 3])
    found = regression_diagnostics(X, y, w)
    assert found.rank == 5
    assert np.isfinite(found.residual).all()
    X[2, -1] += 1e-4
    found = regression_diagnostics(X, y, w)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.residual)), [2])


# -------------------------------------------------------------------- frozen figures


@pytest.mark.parametrize("data", ["stackloss", "hbk"])
def test_figures_of_another_package(data):
    file = Path(__file__).parent / "reference" / "influence.json"
    frozen = json.loads(file.read_text(encoding="utf-8"))[data]
    load = {"stackloss": load_stackloss, "hbk": load_hbk}[data]
    found = regression_diagnostics(*load(return_X_y=True))
    for name, values in frozen.items():
        value = getattr(found, name)
        if name.startswith("dfbeta"):
            first = getattr(found, f"{name}_intercept")
            value = np.column_stack([first, value])
        np.testing.assert_allclose(value, values, rtol=1e-10, atol=1e-12, err_msg=name)


def test_published_rows_and_what_deleting_one_row_cannot_see():
    stackloss = regression_diagnostics(*load_stackloss(return_X_y=True))
    order = np.argsort(-np.abs(stackloss.studentized_external))
    assert order[:4].tolist() == [20, 3, 2, 0]  # days 21, 4, 3, 1
    assert stackloss.p_value_bonferroni.min() == stackloss.p_value_bonferroni[20] > 0.05
    assert np.argmax(stackloss.cooks_distance) == 20

    # Rows 1-10 are bad, 11-14 far away but good: the good ones are accused.
    hbk = regression_diagnostics(*load_hbk(return_X_y=True))
    flagged = np.flatnonzero(hbk.p_value_bonferroni < 0.05)
    assert set(flagged) <= {10, 11, 12, 13}
    assert len(flagged) == 2
    # A fit to the rows that are not far away judges all of them rightly.
    near = (np.arange(75) >= 14).astype(float)
    clean = regression_diagnostics(*load_hbk(return_X_y=True), near)
    flagged = np.flatnonzero(clean.p_value_bonferroni < 0.05)
    np.testing.assert_array_equal(flagged, range(10))

    stars = regression_diagnostics(*load_stars_cyg(return_X_y=True))
    giants = [10, 19, 29, 33]
    assert set(np.argsort(-stars.leverage)[:4]) == set(giants)
    assert stars.p_value_bonferroni.min() == 1
    assert np.abs(stars.studentized_external[giants]).max() < 2


# ------------------------------------------------------------------------- layouts


def same(found, expected, rtol=1e-9):
    for name in ("coef", "intercept", "scale", *ALL):
        a, b = np.asarray(getattr(found, name)), np.asarray(getattr(expected, name))
        known = ~np.isnan(b)
        np.testing.assert_array_equal(~np.isnan(a), known, err_msg=name)
        assert relative_gap(a[known], b[known]) < rtol, name


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, intercept):
    data = make_data(n=60, p=5, density=0.6)
    y = np.column_stack([data.y, data.X[:, 1] - data.y**2])
    expected = regression_diagnostics(data.X, y, data.weights, intercept)
    X = LAYOUTS[layout](data.X)
    found = regression_diagnostics(X, y, data.weights, intercept)
    same(found, expected, 1e-11)
    h = leverage(X, data.weights, intercept)
    np.testing.assert_allclose(h, expected.leverage, rtol=1e-11)


def test_frames_names_and_integers():
    X = np.random.default_rng(0).integers(-5, 5, size=(30, 3))
    y = X.sum(axis=1) + np.arange(30) % 4
    expected = regression_diagnostics(X.astype(float), y.astype(float))
    same(regression_diagnostics(X, y), expected)
    lists = regression_diagnostics(X.tolist(), y.tolist())
    same(lists, expected)
    assert repr(lists) == repr(expected)
    same(regression_diagnostics(pl.DataFrame(X, schema=list("abc")), y), expected)
    # More copies of a column in one sparse matrix are added up.
    doubled = sp.coo_array(X / 2).tocsr()
    doubled = sp.csr_array(
        (
            np.tile(doubled.data.reshape(-1, 1), 2).ravel(),
            np.repeat(doubled.indices, 2),
            2 * doubled.indptr,
        ),
        shape=X.shape,
    )
    before = doubled.nnz
    same(regression_diagnostics(doubled, y), expected)
    assert doubled.nnz == before
    frame = pd.DataFrame(X, index=[f"day {i}" for i in range(30)], columns=list("abc"))
    targets = pd.DataFrame({"up": y, "down": y**2 % 7}, index=frame.index)
    found = regression_diagnostics(frame, targets)
    table = found.to_frame()
    assert table.index.equals(frame.index)
    np.testing.assert_array_equal(table["residual_down"], found.residual[:, 1])
    assert list(table)[0] == "leverage"
    assert list(table)[-3:] == ["t2", "p_value", "p_value_bonferroni"]
    table = regression_diagnostics(frame, y).to_frame()
    assert list(table)[1] == "residual"
    assert "t2" not in table
    assert "day " in repr(regression_diagnostics(frame, y))


def test_dependent_columns_in_single_precision():
    """Rounding to float32 makes no new column of a combination of others."""
    X, y, _ = case(n=300, dependent=True)
    X[:, 3] += 1e3
    expected = regression_diagnostics(X, y)
    found = regression_diagnostics(X.astype(np.float32), y)
    assert found.rank == expected.rank == 5
    same(found, expected, 1e-3)
    w = np.ones(300)
    w[:9] = 0
    new = regression_diagnostics(X.astype(np.float32), y, w)  # no row is outside
    same(new, regression_diagnostics(X, y, w), 1e-3)


@pytest.mark.parametrize("weights", [None, "fractions"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_blocks_of_a_memory_map_in_threads(
    tmp_path, monkeypatch, order, n_threads, weights
):
    X, y, w = case(n=500, p=6, weights=weights, dependent=True, responses=2)
    X = X.astype(np.float32)
    expected = regression_diagnostics(X, y, w)
    monkeypatch.setattr(_row_basis, "_BLOCK", 64)
    monkeypatch.setattr(_row_basis, "_THREADED_WORK", 0)
    monkeypatch.setattr(_row_basis, "n_blas_threads", lambda: n_threads)
    shape = X.shape if order == "C" else X.shape[::-1]
    X.tofile(tmp_path / "X") if order == "C" else X.T.tofile(tmp_path / "X")
    X = np.memmap(tmp_path / "X", np.float32, "r", shape=shape)
    y.tofile(tmp_path / "y")
    Y = np.memmap(tmp_path / "y", np.float64, "r", shape=y.shape)
    found = regression_diagnostics(X if order == "C" else X.T, Y, w)
    assert found._basis._step <= 50
    same(found, expected)
    rows = [499, 3]
    np.testing.assert_allclose(
        found.deleted_coefs(rows)[0], found.coef - found.dfbeta[rows]
    )


def test_memory_is_one_block_and_some_columns(tmp_path):
    n, p = 100_000, 20
    with open(tmp_path / "X", "wb") as file:
        for seed in range(10):
            rng = np.random.default_rng(seed)
            rng.standard_normal((n // 10, p), dtype=np.float32).tofile(file)
    X = np.memmap(tmp_path / "X", np.float32, "r", shape=(n, p))
    y = np.array(X[:, 0], dtype=np.float64)
    y[::2] += 1
    tracemalloc.start()
    found = regression_diagnostics(X, y)
    table = (found.studentized_external, found.cooks_distance, found.dffits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite(table).all()
    assert peak < 20 * n * 8  # as float64, X is 20 n numbers


@pytest.mark.parametrize("dependent", [False, True])
@pytest.mark.parametrize("weights", [None, "fractions"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("density", [0.04, 0.6])
def test_inner_products_of_sparse_columns(
    monkeypatch, density, intercept, weights, dependent
):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 7)) * (rng.random((400, 7)) < density)
    X = np.column_stack([X, 1e5 + rng.normal(size=400)])
    if dependent:
        X = np.column_stack([X, X[:, 1] - X[:, 0], X[:, 2], np.zeros(400)])
    y = np.column_stack([X[:, 0] + rng.normal(size=400), 1e4 + rng.normal(size=400)])
    w = rng.uniform(0, 2, size=400) * (rng.random(400) < 0.8) if weights else None
    expected = regression_diagnostics(X, y, w, intercept)
    monkeypatch.setattr(_row_basis, "_DENSE_WORK", 0)
    found = regression_diagnostics(sp.csr_array(X), y, w, intercept)
    assert found._basis.way == "gram"
    assert expected._basis.way == "qr"
    assert found.rank == expected.rank
    assert np.isfinite(found.residual).all()  # no row is outside of the others
    same(found, expected, 1e-6)
    np.testing.assert_allclose(found.leverage, expected.leverage, rtol=1e-7)


# ---------------------------------------------------------------------- identities

designs = st.tuples(
    st.integers(8, 40), st.integers(1, 5), st.booleans(), st.booleans(), st.integers()
)


def drawn(design):
    n, p, intercept, weighted, seed = design
    rng = np.random.default_rng(seed % 2**32)
    X = rng.standard_t(2, size=(n, p)) * 10.0 ** rng.integers(-3, 4, size=p)
    if p > 2 and rng.random() < 0.3:
        X[:, 2] = X[:, 0] - X[:, 1]
    y = rng.standard_t(2, size=n)
    return X, y, rng.uniform(0.5, 3, size=n) if weighted else None, intercept


@given(designs)
def test_leverages(design):
    X, y, w, intercept = drawn(design)
    h = leverage(X, w, intercept)
    found = regression_diagnostics(X, y, w, intercept)
    np.testing.assert_allclose(h, found.leverage, rtol=1e-9)
    assert (h >= 0).all()
    assert (h <= 1).all()
    assert h.sum() == pytest.approx(found.rank, rel=1e-9)
    if intercept:
        share = (np.ones(len(h)) if w is None else w) / found.n_samples
        assert (h >= share * (1 - 1e-9)).all()


@given(designs, st.floats(-3, 3), st.floats(-3, 3))
def test_invariance(design, log_x, log_y):
    X, y, w, intercept = drawn(design)
    rng = np.random.default_rng(design[-1] % 2**32)
    p = X.shape[1]
    found = regression_diagnostics(X, y, w, intercept)
    rotation = np.linalg.qr(rng.normal(size=(p, p)))[0]
    size = np.abs(X).max(axis=0)
    same_space = (X / np.where(size > 0, size, 1)) @ rotation * 10**log_x
    shifted = 10**log_y * (y + X @ (rng.normal(size=p) / np.where(size > 0, size, 1)))
    if intercept:
        same_space = same_space + rng.normal(size=p)
        shifted = shifted + 10**log_y
    other = regression_diagnostics(same_space, shifted, w, intercept)
    assert other.rank == found.rank
    np.testing.assert_allclose(other.leverage, found.leverage, atol=1e-8)
    names = ("studentized_internal", "studentized_external", "cooks_distance")
    for name in (*names, "dffits", "t2", "p_value"):
        a, b = getattr(other, name), getattr(found, name)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7, err_msg=name)
    np.testing.assert_allclose(
        other.deleted_residual, 10**log_y * found.deleted_residual, rtol=1e-5
    )


@given(designs)
def test_order_of_rows_and_columns(design):
    X, y, w, intercept = drawn(design)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(y)), rng.permutation(X.shape[1])
    found = regression_diagnostics(X, y, w, intercept)
    weight = None if w is None else w[rows]
    other = regression_diagnostics(X[rows][:, columns], y[rows], weight, intercept)
    assert other.rank == found.rank
    np.testing.assert_allclose(other.leverage, found.leverage[rows], atol=1e-9)
    t = found.studentized_external[rows]
    np.testing.assert_allclose(other.studentized_external, t, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        other.dfbeta * X.std(axis=0)[columns],
        (found.dfbeta * X.std(axis=0))[rows][:, columns],
        rtol=1e-5,
        atol=1e-7 * np.nanmax(np.abs(found.dfbeta * X.std(axis=0))),
    )


@given(designs)
def test_one_response_or_one_column_of_it(design):
    X, y, w, intercept = drawn(design)
    one = regression_diagnostics(X, y, w, intercept)
    column = regression_diagnostics(X, y[:, None], w, intercept)
    for name in ALL:
        a = getattr(column, name)
        np.testing.assert_allclose(np.ravel(a), np.ravel(getattr(one, name)))
    np.testing.assert_allclose(one.t2, one.studentized_external**2, rtol=1e-9)


def test_several_responses_do_not_depend_on_their_basis():
    X, y, w = case(responses=3, weights="fractions")
    found = regression_diagnostics(X, y, w)
    mixed = y @ np.random.default_rng(1).normal(size=(3, 3))
    other = regression_diagnostics(X, mixed + 3 * X[:, :1], w)
    np.testing.assert_allclose(other.t2, found.t2, rtol=1e-9)
    for copies in (y[:, :1], 2 * y[:, :1] - y[:, 1:2], X[:, :1], np.ones((30, 1))):
        more = regression_diagnostics(X, np.column_stack([copies, y]), w)
        np.testing.assert_allclose(more.t2, found.t2, rtol=1e-8)
        np.testing.assert_allclose(more.p_value, found.p_value, rtol=1e-8)


def test_labels_as_responses():
    X, _, _ = case(n=60)
    labels = np.arange(60) % 3
    one_hot = regression_diagnostics(X, np.eye(3)[labels])
    two = regression_diagnostics(X, np.eye(3)[labels][:, :2])
    np.testing.assert_allclose(one_hot.t2, two.t2, rtol=1e-9)
    np.testing.assert_allclose(one_hot.p_value, two.p_value, rtol=1e-9)


# ------------------------------------------------------------ reference distributions


@pytest.mark.parametrize("responses", [1, 3])
@pytest.mark.parametrize("weights", [None, "one"])
def test_p_values_are_uniform(responses, weights):
    """Row 0 of 1000 data sets; how many rows it stands for does not matter."""
    X, _, _ = case(n=9, p=2)
    w = None
    if weights:
        w = np.ones(9)
        w[0] = 2.5
    rng = np.random.default_rng(5)
    mix = rng.normal(size=(responses, responses))
    p = np.empty(1000)
    for k in range(len(p)):
        y = rng.normal(size=(9, responses)) @ mix
        p[k] = regression_diagnostics(X, y, w).p_value[0]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_bonferroni_counts_rows_that_have_a_test():
    X, y, _ = case(n=12, p=2)
    X = np.column_stack([X, np.arange(12) == 4])
    found = regression_diagnostics(X, y)
    expected = np.minimum(1, 11 * found.p_value)
    np.testing.assert_array_equal(found.p_value_bonferroni, expected)


# ----------------------------------------------------------------------- leverage one


@pytest.mark.parametrize("weights", [None, "fractions", "heavy"])
@pytest.mark.parametrize("logs", [0, 5])
def test_rows_of_leverage_one(logs, weights):
    X, y, w = case(n=40, weights="fractions" if weights else None)
    w = 1e8 * w if weights == "heavy" else w
    X[:, 1] = X[:, 0] + 10.0**-logs * X[:, 1]  # collinear columns do not matter
    rows = [4, 9]
    X = np.column_stack([X, np.eye(40)[rows].T])
    X[:, -1] = X[:, 2] + 10.0**-logs * X[:, -1]
    found = regression_diagnostics(X, y, w)
    assert (found.leverage[rows] == 1).all()
    assert np.count_nonzero(found.leverage == 1) == 2
    for name in (*PER_ROW, "dfbetas", "t2", "p_value", "p_value_bonferroni"):
        value = getattr(found, name)
        missing = np.isnan(value).reshape(40, -1)
        assert missing[rows].all(), name
        assert not np.delete(missing, rows, axis=0).any(), name
    assert np.isnan(found.press)
    assert np.isnan(found.deleted_coefs(rows)[0]).all()
    np.testing.assert_allclose(found.residual[rows], 0, atol=10.0 ** (logs - 13))
    assert "2 row(s) of leverage 1" in repr(found)
    # They change nothing for the others.
    weight = np.ones(40) if w is None else w.copy()
    weight[rows] = 0
    rest = regression_diagnostics(X[:, :4], y, weight)
    others = np.setdiff1d(np.arange(40), rows)
    for name in ("leverage", "residual", "dfbeta_intercept", "deleted_residual"):
        a, b = getattr(found, name)[others], getattr(rest, name)[others]
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, err_msg=name)


def test_rounding_does_not_depend_on_units():
    X, _, w = case(weights="fractions")
    basis = _row_basis.RowBasis(X, None, w, True)
    other = _row_basis.RowBasis(1e3 * X, None, 1e8 * w, True)
    rows = np.arange(30)
    np.testing.assert_allclose(other.rounding(rows), basis.rounding(rows), rtol=1e-9)
    assert (basis.rounding(rows) <= basis.largest_rounding).all()


@pytest.mark.parametrize(("far", "digits"), [(1e4, 1e-5), (1e5, 1e-2)])
def test_high_leverage_is_not_leverage_one(far, digits):
    """A row so far away that 1 - h is 1e-8 or 1e-10, known to as many digits less."""
    X, y, _ = case(n=30, p=2)
    X[0] = far * np.array([1.0, 20.0])
    found = regression_diagnostics(X, y)
    assert 0.1 < (1 - found.leverage[0]) * far**2 < 10
    for size in (1e-12, 1e12):  # of the weights
        h = leverage(X, np.full(30, size))
        np.testing.assert_allclose(1 - h, 1 - found.leverage, rtol=digits)
    keep = np.arange(30) > 0
    rest = regression_diagnostics(X[keep], y[keep])
    predicted = X[0] @ rest.coef + rest.intercept
    assert found.deleted_residual[0] == pytest.approx(y[0] - predicted, rel=digits)
    np.testing.assert_allclose(found.deleted_coefs(0)[0][0], rest.coef, rtol=digits)


# ---------------------------------------------------------------------- no noise left


def test_perfect_fits():
    X, _, _ = case(n=20)
    y = X @ [1.0, 2.0, 0.0, -1.0] + 1e3
    found = regression_diagnostics(X, y)
    assert found.scale == 0
    for name in ("studentized_internal", "studentized_external", "t2", "p_value"):
        assert np.isnan(getattr(found, name)).all()
    assert np.isnan(found.cooks_distance).all()
    np.testing.assert_allclose(found.deleted_residual, 0, atol=1e-9)
    assert "scale 0" in repr(found)
    # y is small, but the terms of the fit are not: 1e6 times the rounding of y.
    near = 1e6 + X[:, 0]
    found = regression_diagnostics(np.column_stack([near, near + X[:, 1]]), X[:, 1])
    assert found.scale == 0
    mixed = regression_diagnostics(X, np.column_stack([y, np.arange(20) % 3]))
    alone = regression_diagnostics(X, np.arange(20) % 3)
    np.testing.assert_allclose(mixed.scale, [0, alone.scale], rtol=1e-14)
    np.testing.assert_allclose(mixed.t2, alone.t2)


@pytest.mark.parametrize("responses", [0, 2])
def test_perfect_fits_without_one_row(responses):
    X, _, _ = case(n=20)
    y = X @ [1.0, 2.0, 0.0, -1.0] + 1e3
    y[6] += 0.1
    if responses:
        y = np.column_stack([y, X[:, 0]])
        y[6, 1] -= 0.3
        y[8, 1] += 3
    found = regression_diagnostics(X, y)
    if responses:
        assert found.studentized_external[6, 0] == np.inf
        assert np.isfinite(found.studentized_external[6, 1])
        assert found.p_value[6] == 0
    else:
        assert found.studentized_external[6] == np.inf
        assert found.p_value[6] == found.p_value_bonferroni[6] == 0
        others = np.delete(found.studentized_external, 6)
        assert np.abs(others).max() < 4
        assert np.isfinite(found.studentized_internal).all()
        assert "inf" in repr(found)


def test_no_degrees_of_freedom_without_the_row():
    X, y, _ = case(n=6)
    found = regression_diagnostics(X, y)
    assert found.df == 1
    assert np.isnan(found.studentized_external).all()
    assert np.isnan(found.p_value).all()
    assert np.isfinite(found.studentized_internal).all()
    assert np.isfinite(found.deleted_residual).all()
    X, y, _ = case(n=8, responses=3)
    found = regression_diagnostics(X, y)  # 2 degrees of freedom for 3 responses
    assert np.isfinite(found.studentized_external).all()
    assert np.isnan(found.p_value).all()
    # Without row 0, 35 rows that stand for 5 are left for 5 coefficients.
    X, y, _ = case(n=36)
    w = np.full(36, 1 / 7)
    w[0] = 0.9
    assert w.sum() - 5 - w[0] > 0  # by rounding
    found = regression_diagnostics(X, y, w)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.p_value)), [0])
    np.testing.assert_array_equal(np.flatnonzero(found.deleted_df == 0), [0])


def test_constant_columns_only():
    y = np.random.default_rng(0).normal(size=10)
    found = regression_diagnostics(np.full((10, 2), 7.3), y)
    assert found.rank == 1
    assert not found.coef.any()
    assert found.intercept == pytest.approx(y.mean())
    np.testing.assert_allclose(found.leverage, 0.1)
    assert not found.dfbetas.any()
    t = found.studentized_external[0]
    expected = stats.ttest_ind(y[:1], y[1:])
    assert t == pytest.approx(expected.statistic)
    assert found.p_value[0] == pytest.approx(expected.pvalue)
    zero = regression_diagnostics(np.zeros((10, 2)), y, fit_intercept=False)
    assert zero.rank == 0
    assert not zero.leverage.any()
    assert not zero.dffits.any()
    np.testing.assert_array_equal(zero.residual, y)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_extreme_units(size):
    X, y, _ = case()
    expected = regression_diagnostics(X, y)
    found = regression_diagnostics(size * X, size * y)
    names = ("leverage", "studentized_external", "cooks_distance", "dffits", "t2")
    for name in (*names, "dfbetas", "dfbetas_intercept"):
        assert relative_gap(getattr(found, name), getattr(expected, name)) < 1e-11


def test_time_stamps():
    """Milliseconds since 1970: large mean, and the unit of another column."""
    rng = np.random.default_rng(0)
    days = rng.integers(0, 1000, size=80).astype(float)
    X = np.column_stack([days, rng.normal(size=80)])
    y = 0.01 * days + rng.normal(size=80)
    expected = regression_diagnostics(X, y)
    X[:, 0] = 1.6e12 + 8.64e7 * days
    found = regression_diagnostics(X, y)
    assert found.rank == 3
    for name in ("leverage", "studentized_external", "cooks_distance"):
        assert relative_gap(getattr(found, name), getattr(expected, name)) < 1e-9


# --------------------------------------------------------------------------- errors

X0, Y0 = np.arange(24.0).reshape(8, 3) ** 1.5, np.arange(8.0) ** 2
ERRORS = [
    ((X0[0], Y0), r"X has shape \(3,\); it needs two dimensions"),
    ((X0[:, :0], Y0), r"X has shape \(8, 0\)"),
    ((X0, Y0[:5]), r"X has 8 rows but y has shape \(5,\)"),
    ((X0, Y0[:, None, None]), r"it needs \(8,\) or \(8, n_responses\)"),
    ((X0.astype(str), [*"abcdefgh"]), "y has dtype .* responses must be numbers"),
    ((np.full((8, 2), "red"), Y0), "X has dtype .* encode categories first"),
    ((X0 + 1j, Y0), "X has dtype complex128"),
    ((X0, Y0, np.ones(7)), r"sample_weight has shape \(7,\)"),
    ((X0, Y0, -np.ones(8)), "sample_weight contains -1.0"),
    ((X0, Y0, np.zeros(8)), "sample_weight is zero everywhere"),
    ((X0, Y0, np.full(8, 0.25)), "4 coefficients .* sum to 2: no residual is left"),
    ((X0[:3], Y0[:3]), "no residual is left to compare with"),
    ((X0 * 1e306, Y0), "squares of the values of X or y overflow"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        regression_diagnostics(*arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, sp.csc_array])
def test_values_that_are_not_finite_are_found(value, kind, monkeypatch):
    X, y = X0.copy(), Y0.copy()
    X[5, 1] = value
    w = np.ones(8)
    w[5] = 0
    for weight in (None, w):
        message = rf"X contains {value} in row 5, column 1"
        with pytest.raises(ValueError, match=message):
            regression_diagnostics(kind(X), y, weight)
        with pytest.raises(ValueError, match=message):
            leverage(kind(X), weight)
    y[2] = value
    with pytest.raises(ValueError, match=rf"y contains {value} in row 2"):
        regression_diagnostics(kind(X0), y)
    if kind is sp.csc_array:
        monkeypatch.setattr(_row_basis, "_DENSE_WORK", 0)
        with pytest.raises(ValueError, match="in row 5, column 1"):
            leverage(kind(X))


def test_results_are_read_only_and_rows_must_exist():
    X, y, w = case(weights="fractions")
    found = regression_diagnostics(X, y, w)
    w[0] = 17.0
    assert found.sample_weight[0] != 17.0
    assert X.flags.writeable
    assert y.flags.writeable
    assert w.flags.writeable
    for name in ALL:
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[0] = 1
    with pytest.raises(IndexError):
        found.deleted_coefs([30])
    mask = np.arange(30) < 2
    np.testing.assert_array_equal(
        found.deleted_coefs(mask)[0], found.deleted_coefs(slice(2))[0]
    )


def test_repr_names_the_worst_rows():
    lines = repr(regression_diagnostics(*load_stackloss(return_X_y=True))).splitlines()
    assert "21 rows, rank 4, scale 3.243 on 17 degrees of freedom" in lines[0]
    assert lines[2].split()[:3] == ["20", "0.2845", "-3.330"]
    assert "16 more" in lines[-1]
    several = regression_diagnostics(*case(responses=5)[:2])
    assert "T^2" in repr(several)
