"""SplitLBI and SplitLBIClassifier: what they report, and what they refuse and how."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

from sparselbi import (
    LBI,
    Problem,
    SplitLBI,
    SplitLBIClassifier,
    split_iss_path,
    split_lbi_path,
)
from sparselbi.penalties import differences, grid_gradient, identity, with_identity
from sparselbi.selection import CrossValidation, InformationCriterion

P = 30
COEF = np.repeat([0.0, 2.0, -1.0], P // 3)
JUMPS = [9, 19]


def regression(n=60, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, P)) + rng.normal(size=P)
    return X, X @ COEF + noise * rng.normal(size=n) + 3.0


def classes(n=200, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, P))
    eta = X @ COEF + rng.logistic(size=n)
    if n_classes == 2:
        return X, np.where(eta > 0, "yes", "no")
    return X, np.array(["a", "b", "c"])[np.digitize(eta, [-3, 3])]


@pytest.fixture(scope="module")
def data():
    return regression()


@pytest.fixture(scope="module")
def fitted(data):
    return SplitLBI("differences").fit(*data)


@pytest.fixture(scope="module", params=[2, 3], ids=["binary", "multinomial"])
def classified(request):
    X, y = classes(n_classes=request.param)
    return X, y, SplitLBIClassifier("differences").fit(X, y)


# ------------------------------------------------------------------------- attributes


def test_finds_the_jumps(fitted):
    np.testing.assert_array_equal(np.flatnonzero(fitted.split_coef_), JUMPS)
    assert fitted.refit_coef_ == pytest.approx(COEF, abs=0.2)


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({}, "split_lbi"),
        ({"kappa": np.inf}, "split_iss"),
        ({"method": "joint", "t_max": 2000.0}, "split_lbi_joint"),
    ],
)
def test_reports_one_point_of_the_path(data, options, method):
    X, y = data
    model = SplitLBI("differences", **options).fit(X, y)
    path, knot = model.path_, model.selection_.knot
    assert path.method == method
    point, sparse = path.at(knot), path.projected(knot)
    np.testing.assert_array_equal(model.coef_, point.coef)
    np.testing.assert_array_equal(model.dense_coef_, point.coef)
    np.testing.assert_array_equal(model.split_coef_, point.split_coef)
    np.testing.assert_array_equal(model.sparse_coef_, sparse.coef)
    assert model.intercept_ == point.intercept
    assert model.n_features_in_ == P
    inactive = model.split_coef_ == 0
    assert np.abs(np.diff(model.sparse_coef_)[inactive]).max() < 1e-12
    expected = split_iss_path if method == "split_iss" else split_lbi_path
    kwargs = {"max_rows": path_limit(len(y))} if "t_max" not in options else options
    again = expected(Problem(X, y, standardize=False), "differences", **kwargs)
    np.testing.assert_array_equal(again.coefs, path.coefs)


def path_limit(n):
    return n // 2


def test_the_refit_is_the_least_squares_fit_with_the_structure(data, fitted):
    X, y = data
    labels = fitted.path_.pieces(fitted.selection_.knot)
    indicator = np.eye(labels.max() + 1)[labels]
    design = np.column_stack([np.ones(len(y)), X @ indicator])
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(fitted.refit_coef_, indicator @ solution[1:], rtol=1e-9)
    assert fitted.refit_intercept_ == pytest.approx(solution[0], rel=1e-9)
    model = clone(fitted).set_params(refit=True).fit(X, y)
    np.testing.assert_array_equal(model.coef_, model.refit_coef_)
    np.testing.assert_array_equal(model.dense_coef_, fitted.coef_)


def test_predictions_use_the_coefficients_asked_for(data, fitted):
    X, _ = data
    for which in ("dense", "sparse", "refit"):
        coef = getattr(fitted, f"{which}_coef_")
        expected = X @ coef + getattr(fitted, f"{which}_intercept_")
        np.testing.assert_allclose(fitted.predict(X, which), expected, rtol=1e-12)
    np.testing.assert_array_equal(fitted.predict(X), fitted.predict(X, "dense"))
    with pytest.raises(ValueError, match="which='both' is unknown; use one of"):
        fitted.predict(X, "both")


def test_projection_keeps_the_mean_prediction(data, fitted):
    X, y = data
    for which in ("dense", "sparse", "refit"):
        assert fitted.predict(X, which).mean() == pytest.approx(y.mean(), rel=1e-10)


def test_decompose_adds_up(fitted):
    parts = fitted.decompose()
    total = parts.strong + parts.weak + parts.null
    np.testing.assert_allclose(total, fitted.dense_coef_, rtol=0, atol=1e-14)
    np.testing.assert_allclose(parts.strong, fitted.sparse_coef_, rtol=1e-12)
    assert not (parts.weak * parts.null).any()


def test_identity_selects_features_and_tends_to_lbi():
    """D = identity, small nu: the split coefficients are those of LBI."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 12))
    y = X[:, :3] @ [2.0, -1.5, 1.0] + 0.5 * rng.normal(size=80)
    model = SplitLBI(nu=1e-6, kappa_raw=50.0, t_max=20.0).fit(X, y)
    plain = LBI(kappa_raw=50.0, t_max=20.0, standardize=False).fit(X, y)
    np.testing.assert_array_equal(np.flatnonzero(model.split_coef_), [0, 1, 2])
    np.testing.assert_allclose(model.coef_, model.split_coef_, atol=1e-4)
    for t in (2.0, 5.0, 15.0):
        gap = model.path_.at(t).split_coef - plain.path_.at(t).coef
        assert np.abs(gap).max() < 0.01 * np.abs(plain.coef_).max()


# ------------------------------------------------------------------------------- select


def test_select_leaves_the_original_alone(data, fitted):
    X, y = data
    before = copy.deepcopy(fitted.__dict__)
    other = fitted.select("bic", X, y)
    assert other.path_ is fitted.path_
    assert other.selection_.rule == "bic"
    assert other.refit_coef_ is not None
    without = fitted.select(2 * fitted.path_.t0)
    assert without.selection_.knot == 2 * fitted.path_.t0
    with pytest.raises(ValueError, match="select\\(selector, X, y\\)"):
        without.predict(X, "refit")
    assert fitted.__dict__.keys() == before.keys()
    np.testing.assert_array_equal(fitted.coef_, before["coef_"])


def test_select_refuses_other_data(data, fitted):
    X, y = data
    with pytest.raises(ValueError, match="that were given to fit"):
        fitted.select("bic", X, y + X[:, 0])


def test_cross_validation_scores_dense_predictions_of_folds(data):
    X, y = data
    folds = KFold(4)
    rule = CrossValidation(cv=folds, keep_paths=True)
    model = SplitLBI("differences", selector=rule).fit(X, y)
    full = model.path_
    for (train, test), scores in zip(
        folds.split(X), model.selection_.fold_scores, strict=True
    ):
        path = split_lbi_path(
            Problem(X[train], y[train], standardize=False),
            "differences",
            nu_raw=full.nu_raw,
            kappa_raw=full.kappa_raw,
            t_max=full.knots[-1],
        )
        inside = full.knots <= path.knots[-1]
        errors = (path.predict(X[test], full.knots[inside]) - y[test]) ** 2
        np.testing.assert_allclose(scores[inside], errors.mean(axis=1), rtol=1e-8)
    assert np.corrcoef(model.predict(X), y)[0, 1] > 0.9
    assert SplitLBI("differences", selector="cv_1se").fit(X, y).split_coef_.any()


def test_a_time_can_be_the_selector(data):
    X, y = data
    model = SplitLBI("differences", selector=1e-12).fit(X, y)
    assert not model.split_coef_.any()
    # The null model: a ridge regression with penalty D'D / nu.
    D, nu = differences(P).to_dense(), model.path_.nu_raw
    Xc, yc = X - X.mean(axis=0), y - y.mean()
    gram = Xc.T @ Xc / len(y) + D.T @ D / nu
    expected = np.linalg.solve(gram, Xc.T @ yc / len(y))
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-9)


def test_criteria_by_name_and_by_fit(data):
    X, y = data
    for selector in ("ebic", "bic", "aic", InformationCriterion("bic", refit=False)):
        model = SplitLBI("differences", selector=selector).fit(X, y)
        assert np.isfinite(model.selection_.scores[model.selection_.index])


# ----------------------------------------------------------------- weights, names, rows


def test_weights_are_repetitions(data):
    X, y = data
    times = np.random.default_rng(0).integers(1, 4, size=len(y))
    weighted = SplitLBI("differences").fit(X, y, sample_weight=times)
    repeated = SplitLBI("differences").fit(np.repeat(X, times, 0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(weighted.refit_coef_, repeated.refit_coef_, rtol=1e-7)
    assert weighted.selection_.knot == pytest.approx(repeated.selection_.knot)


def test_frames_give_names(data):
    X, y = data
    frame = pd.DataFrame(X, columns=[f"v{j}" for j in range(P)])
    model = SplitLBI("differences").fit(frame, y)
    assert model.path_.feature_names == tuple(frame.columns)
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame, "dense"))


def test_sparse_and_single_precision_designs(data):
    X, y = data
    X = np.where(np.random.default_rng(0).random(X.shape) < 0.5, 0.0, X)
    X = X.astype(np.float32)
    dense = SplitLBI("differences").fit(X.astype(float), y)
    for other in (X, sp.csr_array(X.astype(float)), sp.csc_matrix(X)):
        model = SplitLBI("differences").fit(other, y)
        np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-6, atol=1e-9)


def test_standardize_lets_rows_act_on_standardized_columns(data):
    X, y = data
    scale = X.std(axis=0)
    model = SplitLBI("differences", standardize=True).fit(X, y)
    inside = SplitLBI("differences").fit((X - X.mean(axis=0)) / scale, y)
    np.testing.assert_allclose(model.coef_ * scale, inside.coef_, rtol=1e-8)
    np.testing.assert_allclose(model.refit_coef_ * scale, inside.refit_coef_, rtol=1e-8)
    np.testing.assert_allclose(
        model.predict(X), inside.predict((X - X.mean(0)) / scale)
    )


def test_positive_rows(data):
    X, y = data
    mask = np.zeros(P - 1, dtype=bool)
    mask[JUMPS[1]] = True  # the true jump there is negative
    model = SplitLBI("differences", positive=mask, max_rows=5).fit(X, y)
    assert model.path_.split_coefs.min() < 0  # others may be negative
    assert (model.path_.split_coefs[:, [JUMPS[1]]].toarray() >= 0).all()
    free = SplitLBI("differences", max_rows=5).fit(X, y)
    assert (free.path_.split_coefs[:, [JUMPS[1]]].toarray() < 0).any()


def test_groups_of_rows_enter_together():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 24))
    image = np.zeros((4, 6))
    image[1:3, 2:5] = 1.5
    y = X @ image.ravel() + rng.normal(size=80)
    D = grid_gradient((4, 6), isotropic=True)
    path = SplitLBI(D).fit(X, y).path_
    active = path.split_coefs.toarray() != 0
    for label in np.unique(D.groups):
        member = active[:, label == D.groups]
        assert (member.all(axis=1) == member.any(axis=1)).all()


def test_auto_limit_follows_the_rows_per_dimension(data):
    X, y = data
    line = SplitLBI("differences")
    problem = Problem(X, y, standardize=False)
    assert line._limit(problem, differences(P)) == len(y) // 2
    both = with_identity(differences(P))
    assert line._limit(problem, both) == np.ceil(len(y) / 2 * both.n_rows / P)
    graph = grid_gradient((100, 100))
    wide = Problem(sp.eye_array(10, 10_000).tocsc(), y[:10], standardize=False)
    assert line._limit(wide, graph) == graph.n_rows // 10
    assert SplitLBI(max_rows=None)._limit(problem, identity(P)) is None
    assert SplitLBI(t_max=3.0)._limit(problem, identity(P)) is None


# ---------------------------------------------------------------------- classification


def test_classification_reports_probabilities(classified):
    X, y, model = classified
    n_classes = len(np.unique(y))
    rows = 1 if n_classes == 2 else n_classes
    assert model.coef_.shape == (rows, P)
    assert model.split_coef_.shape == (rows, P - 1)
    for which in (None, "dense", "sparse", "refit"):
        name = "coef_" if which is None else f"{which}_coef_"
        offset = model.intercept_ if which is None else None
        if offset is None:
            offset = getattr(model, f"{which}_intercept_")
        eta = X @ getattr(model, name).T + offset
        expected = (
            np.hstack([expit(-eta), expit(eta)]) if rows == 1 else softmax(eta, 1)
        )
        found = model.predict_proba(X, which)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
        logs = model.predict_log_proba(X, which)
        np.testing.assert_allclose(np.exp(logs), expected, rtol=1e-9, atol=1e-14)
        labels = model.classes_[expected.argmax(axis=1)]
        np.testing.assert_array_equal(model.predict(X, which), labels)
    assert model.score(X, y) > 0.8


def test_classification_finds_the_jumps(classified):
    _, _, model = classified
    assert set(JUMPS) <= set(np.flatnonzero(model.split_coef_.any(axis=0)))
    grouped = model.path_.split.coefs != 0
    np.testing.assert_array_equal(grouped.any(axis=1), grouped.all(axis=1))


def test_entrywise_rows_enter_for_single_classes():
    X, y = classes(n_classes=3)
    model = SplitLBIClassifier("differences", multinomial="entrywise").fit(X, y)
    active = model.path_.split.coefs != 0
    assert (active.any(axis=1) & ~active.all(axis=1)).any()


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"D": np.eye(4)}, "4 columns|30 features"),
        ({"D": "fused"}, "fused"),
        ({"nu": 0.0}, "nu=0.0 must be a positive number"),
        ({"nu_raw": -1.0}, "nu_raw=-1.0 must be a positive number"),
        ({"kappa": "big"}, "kappa='big' must be a positive number"),
        ({"method": "dual"}, "method='dual' is unknown"),
        ({"step_size": 1e9}, "is unstable: with kappa_raw=.* it must be below"),
        ({"max_rows": "all"}, "max_rows='all' is unknown; use 'auto'"),
        ({"max_rows": 0}, "max_rows=0 must be an integer of at least 1"),
        ({"selector": "best"}, "selector='best' is unknown"),
        ({"row_weight": np.ones(3)}, "row_weight has shape"),
        ({"row_weight": np.zeros(P - 1)}, "row_weight is 0 for every row"),
        ({"positive": [1, 2]}, "one of them for each of the 29 rows"),
        ({"kappa": np.inf, "method": "joint"}, "use method='auto'"),
        ({"kappa": np.inf, "row_groups": np.arange(29)}, "rows of D one by one"),
        ({"t_max": -1.0}, "t_max=-1.0 must be a positive number"),
        ({"n_knots": 1}, "n_knots=1 must be an integer of at least 2"),
    ],
)
def test_bad_parameters_are_named(data, options, message):
    model = SplitLBI(**({"D": "differences"} | options))
    with pytest.raises(ValueError, match=message):
        model.fit(*data)


def test_undetermined_directions_are_named():
    y = np.arange(20.0)
    message = "both ignore the constant vector.*use fit_intercept=False"
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        SplitLBI("differences").fit(np.eye(20), y)
    model = SplitLBI("differences", fit_intercept=False).fit(np.eye(20), y)
    assert model.intercept_ == 0


def test_a_classifier_has_no_exact_path():
    X, y = classes()
    with pytest.raises(ValueError, match="kappa=inf is the exact path"):
        SplitLBIClassifier(kappa=np.inf).fit(X, y)
    X, y = classes(n_classes=3)
    isotropic = grid_gradient((5, 6), isotropic=True)
    with pytest.raises(ValueError, match="D has groups of rows"):
        SplitLBIClassifier(isotropic, multinomial="entrywise").fit(X, y)
    with pytest.raises(ValueError, match="multinomial='both' is unknown"):
        SplitLBIClassifier(multinomial="both").fit(X, y)


def test_unfitted_estimators_say_so(data):
    with pytest.raises(NotFittedError):
        SplitLBI().predict(data[0], "sparse")
    with pytest.raises(NotFittedError):
        SplitLBI().decompose()
