"""HuberRegression: optimality, scales, units, other packages, perfect fits."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import HuberRegressor, LinearRegression

from sparselbi import _shift_stream, shift_problem
from sparselbi.datasets import load_prostate, load_stackloss
from sparselbi.estimators._huber_threshold import scale_of_cut
from sparselbi.estimators.huber_regression import HuberRegression
from sparselbi.scales import (
    huber_constant,
    huber_efficiency,
    huber_tuning,
    mad_scale,
    proposal2_scale,
)
from sparselbi.solvers.fast_s import fast_s
from tests.common import LAYOUTS, relative_gap

FROZEN = json.loads(
    (Path(__file__).parents[1] / "reference" / "huber.json").read_text()
)
LOADERS = {"stackloss": load_stackloss, "prostate": load_prostate}
SCALES = ("proposal2", "mad", "s")
RULES = [*({"scale": scale} for scale in SCALES), {"threshold": 1.7}]


def case(n=60, p=3, c=1, seed=0, outliers=8, weights=False):
    """Columns that are exact in float32, some rows shifted."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * [1, 30, 1e-2][:p] + [5, 100, 0][:p]
    X = X.astype(np.float32).astype(np.float64)
    Y = X @ rng.normal(size=(p, c)) + rng.normal(size=(n, c)) + 50
    Y[:outliers] += 9
    w = rng.integers(0, 4, size=n).astype(float) if weights else None
    return X, (Y[:, 0] if c == 1 else Y), w


def columns(X, intercept=True):
    X = X.toarray() if sp.issparse(X) else np.asarray(X, dtype=np.float64)
    return np.column_stack([X, np.ones(len(X))]) if intercept else X


def residuals(model, X, y):
    R = np.asarray(y) - model.predict(X)
    return R, np.linalg.norm(R.reshape(len(R), -1), axis=1)


def assert_optimal(model, X, y, w=None, tol=1e-9):
    """The scores psi(r) are orthogonal to all columns."""
    R, length = residuals(model, X, y)
    R, threshold = R.reshape(len(R), -1), model.threshold_
    w = np.ones(len(R)) if w is None else w
    psi = R * np.minimum(1, threshold / np.maximum(length, 1e-300))[:, None]
    A = columns(X, model.fit_intercept)
    size = np.sqrt(w @ A**2)[:, None] * np.sqrt(np.sum(w[:, None] * psi**2))
    assert np.max(np.abs(A.T @ (w[:, None] * psi)) / size) <= tol
    return psi


# -- the fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_optimal_at_the_threshold(rule, c, intercept, weights):
    X, y, w = case(c=c, weights=weights)
    model = HuberRegression(**rule, fit_intercept=intercept).fit(X, y, w)
    assert_optimal(model, X, y, w)
    _, length = residuals(model, X, y)
    np.testing.assert_allclose(
        model.weights_, np.minimum(1, model.threshold_ / length), rtol=1e-7
    )
    np.testing.assert_array_equal(model.outliers_, model.weights_ < 1)
    point = model.path_.at(model.threshold_)
    np.testing.assert_allclose(point.coef, model.coef_, rtol=1e-8)
    np.testing.assert_allclose(point.intercept, model.intercept_, rtol=1e-8)
    assert model.selection_.knot == model.threshold_
    stored = model.path_.knots[model.selection_.index]
    assert stored >= model.threshold_ * (1 - 1e-12)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("efficiency", [0.9, 0.95, 0.99])
def test_threshold_is_k_times_the_scale_of_the_fit(scale, c, efficiency):
    X, y, w = case(c=c, weights=True)
    model = HuberRegression(efficiency, scale=scale).fit(X, y, w)
    k = huber_tuning(efficiency, c)
    assert model.threshold_ == pytest.approx(k * model.scale_, rel=1e-14)
    _, length = residuals(model, X, y)
    df = w.sum() - 4
    if scale == "proposal2":
        expected = proposal2_scale(length, k, df, w, c)
    elif scale == "mad":
        expected = mad_scale(length, w, c)
    else:
        expected = fast_s(model._pose_question(X, y, w).design).scale
    assert model.scale_ == pytest.approx(expected, rel=1e-9 if c == 1 else 1e-6)


@pytest.mark.parametrize("c", [1, 3])
def test_squares_of_cut_residuals_have_one_solution(c):
    X, y, _ = case(c=c)
    path = HuberRegression().path(X, y)
    shares = path.deviance / path.knots**2
    assert (np.diff(shares) > -1e-9 * shares[1:]).all()


@pytest.mark.parametrize("seed", range(4))
def test_median_scale_is_the_first_from_least_squares(seed):
    X, y, _ = case(seed=seed, outliers=15)
    model = HuberRegression(scale="mad").fit(X, y)
    k = huber_tuning(0.95)
    above = np.geomspace(model.threshold_ * 1.0001, model.path_.threshold_max, 200)
    for threshold in above[:-1]:
        residual = model.path_.residuals(X, y, threshold)
        assert k * mad_scale(residual) < threshold


def test_a_given_threshold_has_the_scale_that_fits():
    X, y, _ = case()
    model = HuberRegression().fit(X, y)
    same = HuberRegression(threshold=model.threshold_).fit(X, y)
    np.testing.assert_allclose(same.coef_, model.coef_, rtol=1e-10)
    assert same.scale_ == pytest.approx(model.scale_, rel=1e-9)
    assert same.selection_.quantities["efficiency"] == pytest.approx(0.95, rel=1e-8)
    wide = HuberRegression(threshold=1e6).fit(X, y)
    plain = LinearRegression().fit(X, y)
    np.testing.assert_allclose(wide.coef_, plain.coef_, rtol=1e-9)
    rss = np.sum((y - plain.predict(X)) ** 2)
    assert wide.scale_ == pytest.approx(np.sqrt(rss / 56), rel=1e-9)
    assert not wide.outliers_.any()


@pytest.mark.parametrize("c", [1, 2, 5])
@pytest.mark.parametrize("k", [0.3, 1.345, 4.0])
def test_scale_of_cut_solves_its_equation(c, k):
    scale = 3.0
    rss = 50 * scale**2 * huber_constant(k, c)
    assert scale_of_cut(rss, k * scale, 50, c) == pytest.approx(scale, rel=1e-9)
    assert scale_of_cut(0.0, 1.0, 50, c) == 0
    assert np.isnan(scale_of_cut(51.0, 1.0, 50, c))


def test_wide_sparse_data_have_a_fit_without_intervals(monkeypatch):
    rng = np.random.default_rng(0)
    X = sp.random_array((200, 30), density=0.3, rng=rng, format="csr")
    y = X.sum(axis=1) + 0.1 * rng.standard_t(3, size=200)
    narrow = HuberRegression().fit(X, y)
    monkeypatch.setattr(_shift_stream, "_DENSE_GRAM", 10)
    monkeypatch.setattr(shift_problem, "IN_MEMORY_EXACT", 100)
    wide = HuberRegression().fit(X, y)
    np.testing.assert_allclose(wide.coef_, narrow.coef_, rtol=1e-6)
    np.testing.assert_allclose(wide.coef_cov_, narrow.coef_cov_, rtol=1e-6)
    monkeypatch.setattr(_shift_stream, "_MOST_COORDS", 20)
    wide = HuberRegression().fit(X, y)
    np.testing.assert_allclose(wide.coef_, narrow.coef_, rtol=1e-6)
    assert wide.coef_cov_ is None
    with pytest.raises(ValueError, match="has no standard errors"):
        wide.conf_int()


def test_threshold_that_nearly_all_rows_are_beyond():
    X, y, _ = case(n=41)
    model = HuberRegression(threshold=1e-6).fit(X, y)
    assert np.isnan(model.scale_)
    for name in ("scale", "efficiency", "cut_per_scale"):
        assert np.isnan(model.selection_.quantities[name])
    assert "Nearly all rows are beyond" in model.selection_.message
    assert not model.selection_.fallback


def test_small_thresholds_approach_least_absolute_deviations():
    X, y, _ = case(n=41)
    fits = [
        np.abs(residuals(HuberRegression(threshold=t).fit(X, y), X, y)[0]).sum()
        for t in (1e-1, 1e-3, 1e-6)
    ]
    assert fits[0] >= fits[1] >= fits[2] * (1 - 1e-12)
    model = HuberRegression(threshold=1e-6).fit(X, y)
    assert np.sum(residuals(model, X, y)[1] < 1e-5) == 4  # as many as coefficients


# -- layouts, weights, names -----------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("c", [1, 2])
def test_layouts(layout, c):
    X, y, w = case(c=c, weights=True)
    model = HuberRegression().fit(LAYOUTS[layout](X), y, w)
    expected = HuberRegression().fit(X, y, w)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-7)
    assert model.scale_ == pytest.approx(expected.scale_, rel=1e-7)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("c", [1, 2])
def test_rows_that_are_read_in_passes(rule, c, monkeypatch):
    """Designs that are too large for coordinates in memory."""
    X, y, w = case(c=c, n=120, weights=True)
    expected = HuberRegression(**rule).fit(X, y, w)
    for limit in ("IN_MEMORY", "IN_MEMORY_EXACT"):
        monkeypatch.setattr(shift_problem, limit, 1)
    model = HuberRegression(**rule).fit(X, y, w)
    assert model.path_.info["route"] == "grid"
    # The start of the S fit differs between designs.
    tol = 1e-3 if rule.get("scale") == "s" else 1e-6
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=tol)
    assert model.scale_ == pytest.approx(expected.scale_, rel=tol)
    np.testing.assert_allclose(model.coef_cov_, expected.coef_cov_, rtol=10 * tol)
    data = {"X": X, "y": y, "sample_weight": w, "kind": "robust"}
    np.testing.assert_allclose(
        model.conf_int(**data), expected.conf_int(**data), rtol=10 * tol
    )
    # A path with all events can be read again with such a design.
    again = expected.select(model.threshold_, X, y, w)
    np.testing.assert_allclose(again.coef_, model.coef_, rtol=1e-6)


@pytest.mark.parametrize("rule", RULES[:2] + RULES[3:], ids=str)
@pytest.mark.parametrize("c", [1, 2])
def test_weights_are_repetitions(rule, c):
    X, y, w = case(c=c, weights=True)
    times = w.astype(int)
    repeated = np.repeat(np.arange(len(X)), times)
    model = HuberRegression(**rule).fit(X, y, w)
    expected = HuberRegression(**rule).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    assert model.scale_ == pytest.approx(expected.scale_, rel=1e-6)
    np.testing.assert_allclose(model.coef_cov_, expected.coef_cov_, rtol=1e-5)
    np.testing.assert_array_equal(model.outliers_[repeated], expected.outliers_)


def test_rows_without_weight_are_judged():
    X, y, _ = case()
    w = np.ones(len(y))
    w[:4] = 0
    y = y.copy()
    y[0] += 1e4
    model = HuberRegression().fit(X, y, w)
    without = HuberRegression().fit(X[4:], y[4:])
    np.testing.assert_allclose(model.coef_, without.coef_, rtol=1e-8)
    assert model.outliers_[:4].all()
    assert model.outlier_order_[0] == 0


def test_rows_and_columns_keep_their_names():
    X, y, _ = case()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.index = [f"day {i}" for i in range(len(y))]
    model = HuberRegression().fit(frame, y)
    assert model.path_.row_name(3) == "day 3"
    assert model.conf_int().index.tolist() == ["a", "b", "c", "intercept"]
    assert model.path_.feature_names == ("a", "b", "c")
    rows = np.arange(len(y))[::-1]
    np.testing.assert_array_equal(
        rows[HuberRegression().fit(X[rows], y[rows]).outlier_order_[:5]],
        model.outlier_order_[:5],
    )


# -- units -----------------------------------------------------------------------------

UNIT = st.floats(1e-9, 1e9)
SHIFT = st.floats(-1e6, 1e6)


@pytest.mark.parametrize("scale", ["proposal2", "mad"])
@settings(max_examples=25)
@given(by=UNIT, to=SHIFT, column=UNIT, mean=SHIFT)
def test_units_and_origins_change_nothing(scale, by, to, column, mean):
    X, y, _ = case(n=40)
    y = y - y.mean()
    X = X - X.mean(axis=0)
    X /= X.std(axis=0)
    model = HuberRegression(scale=scale).fit(X, y)
    # What the digits of the moved data can carry.
    lost = 1e-16 * (max(1, abs(to)) + max(1, abs(mean)))
    moved = HuberRegression(scale=scale).fit(column * (X + mean), by * (y + to))
    tol = 1e-8 + 1e3 * lost
    np.testing.assert_allclose(
        moved.coef_ * column / by, model.coef_, rtol=tol, atol=tol
    )
    assert moved.threshold_ == pytest.approx(by * model.threshold_, rel=tol)
    np.testing.assert_array_equal(moved.outliers_, model.outliers_)


def test_timestamps_in_milliseconds():
    """scikit-learn issue 27777: y linear in a time of 1.6e12, with outliers."""
    rng = np.random.default_rng(27777)
    time = 1.6e12 + np.sort(rng.uniform(0, 3.6e6, size=200))  # an hour
    y = 20 + 5e-6 * (time - 1.6e12) + 0.1 * rng.normal(size=200)
    y[::20] += 30
    hours = HuberRegression().fit((time[:, None] - 1.6e12) / 3.6e6, y)
    model = HuberRegression().fit(time[:, None], y)
    assert model.coef_[0] * 3.6e6 == pytest.approx(hours.coef_[0], rel=1e-8)
    assert model.scale_ == pytest.approx(hours.scale_, rel=1e-8)
    assert model.coef_[0] == pytest.approx(5e-6, abs=4 * 0.1 / np.sqrt(200) / 1e6)
    assert model.scale_ == pytest.approx(0.1, rel=0.25)
    assert np.flatnonzero(model.weights_ < 0.1).tolist() == list(range(0, 200, 20))
    np.testing.assert_allclose(
        model.conf_int().loc[0] * 3.6e6, hours.conf_int().loc[0], rtol=1e-7
    )


# -- other packages --------------------------------------------------------------------


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("scale", ["mad", "proposal2"])
def test_against_statsmodels(name, scale):
    X, y = LOADERS[name](return_X_y=True)
    expected = FROZEN[name][f"rlm_{scale}"]
    model = HuberRegression(huber_efficiency(expected["t"]), scale=scale).fit(X, y)
    found = np.append(model.intercept_, model.coef_)
    np.testing.assert_allclose(found, expected["params"], rtol=1e-7)
    assert model.scale_ == pytest.approx(expected["scale"], rel=1e-8)
    frame = model.conf_int()
    errors = np.roll(frame["standard_error"], 1)
    np.testing.assert_allclose(errors, expected["bse"], rtol=1e-6)
    if scale == "mad":
        np.testing.assert_allclose(model.weights_, expected["weights"], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1.35, 2.0])
def test_against_scikit_learn(epsilon):
    """Its scale solves mean min(r / scale, epsilon)^2 = 1."""
    X, y, _ = case()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    other = HuberRegressor(epsilon=epsilon, alpha=0.0, tol=1e-10, max_iter=10_000)
    other.fit(X, y)
    model = HuberRegression(threshold=epsilon * other.scale_).fit(X, y)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-5)
    R, _ = residuals(model, X, y)
    cut = np.minimum(np.abs(R) / other.scale_, epsilon)
    assert np.mean(cut**2) == pytest.approx(1, rel=1e-4)
    assert model.scale_ > 1.1 * other.scale_  # which is too small for normal noise


# -- intervals and selection -----------------------------------------------------------


def test_intervals_of_all_kinds():
    X, y, w = case(weights=True)
    model = HuberRegression().fit(X, y, w)
    clusters = np.arange(len(y)) // 4
    data = {"X": X, "y": y, "sample_weight": w}
    kinds = {
        "huber": model.conf_int(),
        "robust": model.conf_int(kind="robust", **data),
        "clustered": model.conf_int(kind="clustered", clusters=clusters, **data),
    }
    for frame in kinds.values():
        np.testing.assert_allclose(frame["coef"][:3], model.coef_, rtol=1e-9)
        center = (frame["low"] + frame["high"]) / 2
        np.testing.assert_allclose(center, frame["coef"], rtol=1e-8)
    assert len({round(frame["standard_error"][0], 12) for frame in kinds.values()}) == 3
    np.testing.assert_allclose(
        model.conf_int(kind="huber", **data), kinds["huber"], rtol=1e-8
    )
    wide = model.conf_int(0.99)
    assert (wide["low"] < kinds["huber"]["low"]).all()
    errors = np.sqrt(model.coef_cov_.diagonal())
    np.testing.assert_allclose(errors, kinds["huber"]["standard_error"][:3], rtol=1e-9)
    value, error = model.inference().contrast([1, -1, 0])
    assert value == pytest.approx(model.coef_[0] - model.coef_[1], rel=1e-9)
    V = model.coef_cov_
    assert error == pytest.approx(np.sqrt(V[0, 0] - 2 * V[0, 1] + V[1, 1]), rel=1e-9)


@pytest.mark.parametrize("c", [1, 2])
def test_select_another_threshold(c):
    X, y, _ = case(c=c)
    model = HuberRegression().fit(X, y)
    threshold = 2 * model.threshold_
    other = model.select(threshold, X, y)
    direct = HuberRegression(threshold=threshold).fit(X, y)
    np.testing.assert_allclose(other.coef_, direct.coef_, rtol=1e-6)
    assert other.get_params()["threshold"] == threshold
    assert model.threshold is None
    back = other.select("mad", X, y)
    direct = HuberRegression(scale="mad").fit(X, y)
    np.testing.assert_allclose(back.coef_, direct.coef_, rtol=1e-6)
    assert back.selection_.rule == "mad"


def test_below_the_end_of_the_path():
    X, y, _ = case()
    model = HuberRegression().fit(X, y)
    threshold = model.path_.knots[-1] / 3
    other = model.select(threshold, X, y)
    assert other.path_.knots[-1] < threshold
    assert_optimal(other, X, y)


def test_pickle():
    X, y, _ = case()
    model = HuberRegression().fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(loaded.conf_int(), model.conf_int())
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


# -- perfect fits and bad input --------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("c", [1, 2])
def test_perfect_fit(scale, c):
    X, _, _ = case(c=c)
    B = np.arange(1.0, 1 + 3 * c).reshape(c, 3)
    y = X @ B.T + 4
    model = HuberRegression(scale=scale).fit(X, y[:, 0] if c == 1 else y)
    assert model.scale_ == model.threshold_ == 0
    assert not model.outliers_.any()
    assert (model.weights_ == 1).all()
    np.testing.assert_allclose(np.atleast_2d(model.coef_), B, rtol=1e-9)
    assert not model.conf_int()["standard_error"].any()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("c", [1, 2])
def test_rows_off_a_perfect_fit(scale, c):
    X, _, _ = case(c=c)
    B = np.arange(1.0, 1 + 3 * c).reshape(c, 3)
    y = X @ B.T + 4
    off = np.arange(len(y)) % 5 == 0
    y[off] += np.linspace(0.1, 10, off.sum())[:, None] * (-1) ** np.arange(c)
    model = HuberRegression(scale=scale).fit(X, y[:, 0] if c == 1 else y)
    assert model.scale_ == model.threshold_ == 0
    np.testing.assert_array_equal(model.outliers_, off)
    assert (model.weights_ == ~off).all()
    np.testing.assert_allclose(np.atleast_2d(model.coef_), B, rtol=1e-7)
    assert "least absolute deviations" in model.selection_.message


def test_equal_rows_and_constant_columns():
    same = HuberRegression().fit(np.ones((10, 2)), np.full(10, 3.0))
    assert same.scale_ == 0
    assert not same.coef_.any()
    assert same.intercept_ == pytest.approx(3)
    X, y, _ = case()
    model = HuberRegression().fit(np.column_stack([X, np.full(len(y), 5.0)]), y)
    expected = HuberRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_[:3], expected.coef_, rtol=1e-9)
    assert model.coef_[3] == 0
    frame = model.conf_int()
    assert np.isnan(frame["standard_error"][3])
    np.testing.assert_allclose(
        frame["standard_error"][:3], expected.conf_int()["standard_error"][:3]
    )


def test_bad_parameters():
    X, y, _ = case()
    for params, said in (
        ({"efficiency": 1.0}, "efficiency=1.0 must be between"),
        ({"efficiency": 0.5}, "efficiency=0.5 is not possible"),
        ({"scale": "iqr"}, "scale='iqr' is unknown"),
        ({"threshold": -1.0}, "threshold=-1.0 must be a positive number"),
        ({"threshold": np.inf}, "threshold=inf must be"),
    ):
        with pytest.raises(ValueError, match=said):
            HuberRegression(**params).fit(X, y)
    with pytest.raises(ValueError, match="more rows than coefficients"):
        HuberRegression().fit(X[:4], y[:4])
    model = HuberRegression()
    with pytest.raises(NotFittedError):
        model.conf_int()
    model.fit(X, y)
    with pytest.raises(ValueError, match="kind='robust' reads the residuals"):
        model.conf_int(kind="robust")
    with pytest.raises(ValueError, match="kind='huber' ignores clusters"):
        model.conf_int(X=X, y=y, clusters=np.arange(len(y)))
    with pytest.raises(ValueError, match="give the X, y and sample_weight of the path"):
        model.conf_int(kind="robust", X=X[1:], y=y[1:])
    with pytest.raises(ValueError, match="threshold='mean'|scale='mean' is unknown"):
        model.select("mean", X, y)


def test_results_scale_with_the_data():
    """The same point of the path in other units."""
    X, y, _ = case(c=2)
    model = HuberRegression().fit(X, y)
    other = HuberRegression().fit(X, 1e-6 * y)
    assert relative_gap(1e6 * other.coef_, model.coef_) < 1e-9
