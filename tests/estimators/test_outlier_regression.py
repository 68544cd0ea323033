"""OutlierRegression: known outliers, and identities of what it reports."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sparselbi import OutlierRegression
from sparselbi.datasets import load_hbk, load_stars_cyg, load_wood

METHODS = ("hard", "iss", "lbi", "l1")


def make(n=80, p=3, n_outliers=8, c=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * [1.0, 20.0, 0.1][:p] + [0.0, 300.0, -2.0][:p]
    shape = n if c is None else (n, c)
    coef = np.array([1.0, -0.1, 5.0])[:p]
    signal = X @ (coef if c is None else np.outer(coef, np.arange(1, c + 1)))
    y = signal + 0.5 * rng.normal(size=shape) + 4
    y[:n_outliers] += 8
    return X, y


def least_squares(X, y, kept):
    A = np.column_stack([np.ones(len(X)), X])[kept]
    return np.linalg.lstsq(A, y[kept], rcond=None)[0]


@pytest.mark.parametrize(
    ("load", "rows"),
    [
        (load_hbk, range(1, 11)),
        (load_wood, (4, 6, 8, 19)),
        (load_stars_cyg, (11, 20, 30, 34)),
    ],
)
def test_known_outliers_are_flagged_exactly(load, rows):
    X, y = load(return_X_y=True)
    model = OutlierRegression().fit(X, y)
    assert (np.flatnonzero(model.outliers_) + 1).tolist() == list(rows)
    assert model.selection_.quantities["scale"] == model.path_.info["scale"]


def test_leverage_masks_outliers_from_the_convex_path():
    """Rows 11-14 of hbk are good; rows 1-10 pull the Huber fit to themselves."""
    X, y = load_hbk(return_X_y=True)
    model = OutlierRegression(method="l1").fit(X, y)
    assert set(model.outlier_order_[:3] + 1) <= {11, 12, 13, 14}
    assert model.outliers_[10:14].all()
    assert not model.outliers_[:10].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("c", [None, 3])
def test_reports_least_squares_without_outliers(method, c):
    X, y = make(c=c)
    model = OutlierRegression(method)
    if method == "iss" and c:
        with pytest.raises(ValueError, match="y has 3; use shift_lbi_path"):
            model.fit(X, y)
        return
    model.fit(X, y)
    assert model.outliers_[:8].all()
    assert model.outliers_.sum() <= 12
    fit = least_squares(X, y, ~model.outliers_)
    np.testing.assert_allclose(model.coef_, fit[1:].T, rtol=1e-8)
    np.testing.assert_allclose(model.intercept_, fit[0], rtol=1e-8)
    residual = y - model.predict(X)
    expected = np.where(model.outliers_.reshape(-1, *[1] * (y.ndim - 1)), residual, 0)
    np.testing.assert_allclose(model.gamma_, expected, atol=1e-9)
    assert set(model.outlier_order_[:8]) == set(range(8))
    labels = clone(model).fit_predict(X, y)
    np.testing.assert_array_equal(labels, np.where(model.outliers_, -1, 1))
    assert (model.path_.outliers(model.selection_.knot) == model.outliers_).all()


@pytest.mark.parametrize("method", METHODS)
def test_without_refit_the_path_is_reported(method):
    X, y = make()
    model = OutlierRegression(method, refit=False).fit(X, y)
    point = model.path_.at(model.selection_.knot)
    np.testing.assert_array_equal(model.coef_, point.coef)
    shifts = model.path_.shifts(X, y, model.selection_.knot)
    np.testing.assert_allclose(model.gamma_, shifts, atol=1e-12)
    # Coefficients are least squares of what is left.
    fit = least_squares(X, y - model.gamma_, np.ones(len(X), bool))
    np.testing.assert_allclose(model.coef_, fit[1:], rtol=1e-6)
    with pytest.raises(ValueError, match="refit=False reports coefficients that are"):
        model.conf_int()


@pytest.mark.parametrize("selector", ["cut", "bic", 2.0])
def test_intervals_are_those_of_the_kept_rows_corrected_for_the_cut(selector):
    X, y = make(n=400, n_outliers=20)
    model = OutlierRegression(selector=selector).fit(X, y)
    kept = ~model.outliers_
    A = np.column_stack([np.ones(len(X)), X])[kept]
    fit = least_squares(X, y, kept)
    df = kept.sum() - 4
    k = model.selection_.knot / model.scale_
    share = 2 * stats.norm.cdf(k) - 1
    left = 1 - 2 * k * stats.norm.pdf(k) / share
    scale = np.sqrt(np.sum((y[kept] - A @ fit) ** 2) / df / left)
    error = scale * np.sqrt(np.diagonal(np.linalg.inv(A.T @ A)) / left)
    np.testing.assert_allclose(model.scale_, scale, rtol=1e-9)
    for level in (0.5, 0.95):
        found = model.conf_int(level)
        half = stats.t.ppf((1 + level) / 2, df) * error
        order = [1, 2, 3, 0]  # the intercept is last
        np.testing.assert_allclose(found["low"], (fit - half)[order], rtol=1e-7)
        np.testing.assert_allclose(found["high"], (fit + half)[order], rtol=1e-7)
    np.testing.assert_allclose(np.sqrt(np.diagonal(model.coef_cov_)), error[1:])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [15, 30, 100])
def test_intervals_of_clean_rows_are_those_of_least_squares(method, n):
    """Where nothing was rejected, a cut has removed next to nothing."""
    X, y = make(n=n, n_outliers=0)
    for selector in ("auto", "gap"):
        model = OutlierRegression(method, selector=selector).fit(X, y)
        if model.outliers_.any():
            continue
        A = np.column_stack([np.ones(n), X])
        left = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
        cov = left @ left / (n - 4) * np.linalg.inv(A.T @ A)
        ratio = model.conf_int()["standard_error"][:3] / np.sqrt(np.diag(cov))[1:]
        highest = 1.0 if selector == "gap" else 1.15  # 2.5 standard deviations
        assert (ratio > 1 - 1e-9).all()
        assert (ratio < highest + 1e-9).all()


def test_without_a_threshold_the_cut_is_that_of_the_rule():
    X, y = make(n=400, n_outliers=20)
    model = OutlierRegression("iss").fit(X, y)
    k = 2.5 * model.selection_.quantities["scale"] / model.scale_
    share = 2 * stats.norm.cdf(k) - 1
    left = 1 - 2 * k * stats.norm.pdf(k) / share
    residual = (y - model.predict(X))[~model.outliers_]
    raw = np.sum(residual**2) / (len(residual) - 4)
    np.testing.assert_allclose(model.scale_**2 * left, raw, rtol=1e-9)


def test_a_level_that_only_outliers_have():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=40), np.arange(40) < 2])
    y = X[:, 0] + rng.normal(size=40)
    y[:2] = [100.0, -100.0]
    with pytest.raises(ValueError, match="2 rows are flagged, and some feature varies"):
        OutlierRegression("l1").fit(X, y)
    model = OutlierRegression("l1", refit=False).fit(X, y)
    assert np.flatnonzero(model.outliers_).tolist() == [0, 1]
    assert np.isnan(model.scale_)
    OutlierRegression("hard").fit(X, y)


def test_standardized_residuals_judge_new_rows():
    X, y = make()
    model = OutlierRegression().fit(X, y)
    found = model.standardized_residuals(X, y)
    np.testing.assert_allclose(found * model.scale_, y - model.predict(X))
    cut = model.selection_.knot / model.scale_
    np.testing.assert_array_equal(np.abs(found) > cut, model.outliers_)


def test_inference_has_contrasts():
    X, y = make()
    model = OutlierRegression().fit(X, y)
    value, error = model.inference().contrast([1.0, -1.0, 0.0])
    cov = model.coef_cov_
    np.testing.assert_allclose(value, model.coef_[0] - model.coef_[1])
    np.testing.assert_allclose(error**2, cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    with pytest.raises(ValueError, match="level"):
        model.conf_int(95)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shifts_without_refit_read_x_as_it_is(dtype):
    X, y = make()
    X = sp.csr_array(X.astype(dtype))
    model = OutlierRegression("l1", refit=False).fit(X, y)
    dense = OutlierRegression("l1", refit=False).fit(X.toarray(), y)
    np.testing.assert_allclose(model.gamma_, dense.gamma_, atol=1e-6)


def test_outliers_of_huge_leverage_cost_no_digits():
    """In coordinates of all rows, the others keep 1e-14 of a direction."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    X[:3] = 1e7
    y = X @ [1.0, 2.0] + rng.normal(size=60)
    y[:3] += 1e8
    model = OutlierRegression().fit(X, y)
    assert np.flatnonzero(model.outliers_).tolist() == [0, 1, 2]
    np.testing.assert_allclose(model.coef_, least_squares(X, y, ~model.outliers_)[1:])


@pytest.mark.parametrize("method", METHODS)
def test_select_gives_a_copy_with_another_point(method):
    X, y = make()
    model = OutlierRegression(method).fit(X, y)
    before = model.outliers_.copy(), model.selection_
    other = model.select("gap", X, y)
    assert other.path_ is model.path_
    assert other.selector == "gap"
    assert model.selector == "auto"
    assert model.selection_ is before[1]
    np.testing.assert_array_equal(model.outliers_, before[0])
    again = OutlierRegression(method, selector="gap").fit(X, y)
    np.testing.assert_array_equal(other.outliers_, again.outliers_)
    np.testing.assert_allclose(other.coef_, again.coef_)
    with pytest.raises(ValueError, match=r"traced on 80 rows .* these are 40"):
        model.select("gap", X[:40], y[:40])


def test_a_number_is_a_threshold():
    X, y = make()
    model = OutlierRegression(selector=3.0).fit(X, y)
    residual = np.abs(y - model.path_.predict(X, 3.0))
    np.testing.assert_array_equal(model.outliers_, residual > 3.0)


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_repetitions(method):
    X, y = make(n=60)
    weight = np.arange(60) % 3 + 1
    rows = np.repeat(np.arange(60), weight)
    a = OutlierRegression(method).fit(X, y, sample_weight=weight)
    b = OutlierRegression(method).fit(X[rows], y[rows])
    np.testing.assert_array_equal(a.outliers_[rows], b.outliers_)
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=1e-7)
    np.testing.assert_allclose(a.scale_, b.scale_, rtol=1e-7)
    np.testing.assert_allclose(a.conf_int(), b.conf_int(), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_weight_zero_are_judged_as_new_rows(method):
    X, y = make(n=60)
    weight = np.ones(60)
    weight[[2, 30]] = 0
    a = OutlierRegression(method).fit(X, y, sample_weight=weight)
    b = OutlierRegression(method).fit(X[weight > 0], y[weight > 0])
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=1e-7)
    np.testing.assert_array_equal(a.outliers_[weight > 0], b.outliers_)
    assert a.outliers_[[2, 30]].tolist() == [True, False]


@pytest.mark.parametrize("method", METHODS)
def test_units_and_origins_do_not_matter(method):
    """Milliseconds since 1970 as a regressor, scikit-learn issue 27777."""
    X, y = make()
    scale, origin = np.array([1e-9, 1e6, 1.0]), np.array([0.0, 1.6e12, 0.0])
    a = OutlierRegression(method).fit(X, y)
    b = OutlierRegression(method).fit(X * scale + origin, 1e5 * y - 1e7)
    np.testing.assert_array_equal(a.outliers_, b.outliers_)
    np.testing.assert_allclose(a.coef_ * 1e5, b.coef_ * scale, rtol=1e-8)
    np.testing.assert_allclose(a.scale_ * 1e5, b.scale_, rtol=1e-8)
    np.testing.assert_array_equal(a.outlier_order_, b.outlier_order_)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "layout", [sp.csr_array, sp.csc_matrix, np.asfortranarray, pd.DataFrame]
)
def test_layouts(method, layout):
    X, y = make()
    a = OutlierRegression(method).fit(X, y)
    b = OutlierRegression(method).fit(layout(X), y)
    np.testing.assert_array_equal(a.outliers_, b.outliers_)
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=1e-7)


def test_rows_of_a_frame_keep_their_names():
    X, y = make()
    names = [f"day {i}" for i in range(len(X))]
    frame = pd.DataFrame(X, columns=list("abc"), index=names)
    model = OutlierRegression().fit(frame, y)
    assert model.path_.row_name(3) == "day 3"
    assert "+day" in str(model.path_.summary())
    assert model.conf_int().index.tolist() == ["a", "b", "c", "intercept"]
    counted = OutlierRegression().fit(pd.DataFrame(X), y)
    assert counted.path_.row_names is None


@pytest.mark.parametrize("method", METHODS)
def test_a_perfect_fit_has_no_outliers_and_scale_zero(method):
    X, _ = make()
    model = OutlierRegression(method).fit(X, X @ [1.0, 2.0, 3.0] + 4)
    assert not model.outliers_.any()
    np.testing.assert_allclose(model.coef_, [1.0, 2.0, 3.0], rtol=1e-9)
    assert model.scale_ == 0
    assert model.gamma_.shape == (80,)


@pytest.mark.parametrize("method", METHODS)
def test_all_rows_equal(method):
    model = OutlierRegression(method).fit(np.ones((9, 2)), np.full(9, 3.0))
    assert not model.outliers_.any()
    assert model.coef_.tolist() == [0.0, 0.0]
    assert model.intercept_ == 3.0


@pytest.mark.parametrize("method", METHODS)
def test_rows_off_a_hyperplane_that_fits_the_others_perfectly(method):
    X, _ = make()
    y = X @ [1.0, 2.0, 3.0] + 4
    y[:8] += np.linspace(3, 10, 8)
    model = OutlierRegression(method).fit(X, y)
    assert np.flatnonzero(model.outliers_).tolist() == list(range(8))
    np.testing.assert_allclose(model.coef_, [1.0, 2.0, 3.0], rtol=1e-7)
    assert model.scale_ == 0


def test_constant_and_dependent_columns():
    X, y = make()
    more = np.column_stack([X, np.full(80, 5.0), X[:, 0] + X[:, 1]])
    a, b = OutlierRegression().fit(X, y), OutlierRegression().fit(more, y)
    np.testing.assert_array_equal(a.outliers_, b.outliers_)
    np.testing.assert_allclose(a.predict(X), b.predict(more), rtol=1e-7)
    # Columns 0, 1 and 4 are not determined, nor is the constant one.
    missing = b.conf_int()["standard_error"].isna().tolist()
    assert missing[:5] == [True, True, False, True, True]


def test_leverage_scaling_asks_residuals_over_their_deviation():
    X, y = make(n=40)
    model = OutlierRegression("l1", leverage_scaling=True, selector=1e9)
    A = np.column_stack([np.ones(40), X])
    leverage = np.diagonal(A @ np.linalg.pinv(A))
    residual = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
    path = model.path(X, y)
    np.testing.assert_allclose(path.row_factor, np.sqrt(1 - leverage))
    internal = np.abs(residual) / np.sqrt(1 - leverage)
    assert path.outlier_order(1)[0] == internal.argmax()
    np.testing.assert_allclose(path.threshold_max, internal.max())


def test_path_sets_nothing():
    X, y = make()
    model = OutlierRegression("iss")
    path = model.path(X, y)
    assert path.method == "iss"
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert not hasattr(model, "path_")


X, Y = make(n=12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "lts"}, "method='lts' is unknown; use one of"),
        ({"selector": "loo"}, "'loo'"),
        ({"max_outliers": 7}, "max_outliers=7 must be a number between 0 and half"),
        ({"max_outliers": -1}, "max_outliers=-1"),
        ({"max_outliers": "all"}, "max_outliers='all'"),
        ({"method": "lbi", "kappa": -1}, "kappa"),
        ({"method": "iss", "t_max": 0}, "t_max=0"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        OutlierRegression(**parameters).fit(X, Y)


def test_too_few_rows():
    with pytest.raises(ValueError, match="leaves no residuals"):
        OutlierRegression().fit(X[:4], Y[:4])
