"""scikit-learn's own checks, and the tools that users combine estimators with."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sparselbi import (
    LBI,
    HuberRegression,
    LBIClassifier,
    OutlierRegression,
    SplitLBI,
    SplitLBIClassifier,
)
from sparselbi.losses import Huber
from sparselbi.selection import InformationCriterion
from tests.common import diabetes, make_data

# Cheap instances, one per way of fitting; a new estimator is one more row.
ESTIMATORS = [
    LBI(),
    LBI(kappa=np.inf),
    LBI(loss=Huber(1.0)),
    LBI(selector="bic", refit=True),
    SplitLBI(),
    SplitLBI(kappa=np.inf),
    SplitLBI(method="joint", selector="bic", refit=True),
]

CLASSIFIERS = [
    LBIClassifier(),
    LBIClassifier(multinomial="entrywise"),
    LBIClassifier(selector="bic", refit=True),
    LBIClassifier(class_weight="balanced"),
    SplitLBIClassifier(),
    SplitLBIClassifier(multinomial="entrywise", selector="bic", refit=True),
]

# Their paths are over shifts of rows, and `select` needs the data.
ROBUST = [
    OutlierRegression(),
    OutlierRegression("iss"),
    OutlierRegression("lbi"),
    OutlierRegression("l1"),
    HuberRegression(),
    HuberRegression(scale="mad"),
    HuberRegression(scale="s"),
]


def not_expected(estimator):
    if not isinstance(estimator, OutlierRegression | HuberRegression):
        return {}
    return {
        "check_regressor_multioutput": "11 rows for 10 features and an intercept "
        "leave no residuals: an error, since no row can be told from the others"
    }


@parametrize_with_checks(
    ESTIMATORS + CLASSIFIERS + ROBUST, expected_failed_checks=not_expected
)
def test_scikit_learn_checks(estimator, check, monkeypatch):
    # Without it the check that NumPy arrays are array-API input skips itself.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


@pytest.fixture(scope="module")
def data():
    return make_data(n=60)


@pytest.fixture(params=ESTIMATORS, ids=str)
def estimator(request):
    return clone(request.param)


def test_parameters_are_stored_as_given():
    factor, groups = [1, 2, 3], ["a", "a", "b"]
    model = LBI(Huber(2.0), penalty_factor=factor, groups=groups, kappa=7)
    assert model.penalty_factor is factor
    assert model.groups is groups
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert copied.groups is not groups
    assert model.set_params(kappa=9).kappa == 9
    with pytest.raises(ValueError, match="Invalid parameter 'alpha'"):
        model.set_params(alpha=1)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (LBI(), "LBI()"),
        (LBI("huber", kappa=np.inf), "LBI(kappa=inf, loss='huber')"),
        (LBI(Huber(1.0), refit=True), "LBI(loss=Huber(threshold=1.0), refit=True)"),
    ],
)
def test_repr(model, text, data):
    assert repr(model) == text
    assert "LBI" in model._repr_html_()
    if model.kappa < np.inf:
        assert "LBI" in model.fit(data.X, data.y)._repr_html_()


def test_pickle_keeps_every_number(data, estimator):
    model = estimator.fit(data.X, data.y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.coef_, model.coef_)
    np.testing.assert_array_equal(loaded.path_.coefs, model.path_.coefs)
    assert repr(loaded.selection_) == repr(model.selection_)
    np.testing.assert_array_equal(loaded.predict(data.X), model.predict(data.X))
    if not loaded.refit:
        other = loaded.select(3 * loaded.path_.t0)
        assert other.path_ is loaded.path_


@pytest.mark.parametrize(
    "grid",
    [
        {"kappa": [3.0, 30.0, np.inf]},
        {"loss": ["squared", Huber(1.0), Huber(2.0)]},
        {"selector": ["ebic", "bic", 2.0, InformationCriterion("bic", cap=2)]},
        {"standardize": [True, False], "refit": [True, False]},
    ],
    ids=lambda grid: "-".join(grid),
)
def test_grid_search(data, grid):
    search = GridSearchCV(LBI(), grid, cv=3, error_score="raise").fit(data.X, data.y)
    assert search.best_score_ > 0.8
    for name, value in search.best_params_.items():
        assert getattr(search.best_estimator_, name) == value


def test_cross_validation_scores(data, estimator):
    scores = cross_val_score(estimator, data.X, data.y, cv=4, error_score="raise")
    assert scores.shape == (4,)
    assert scores.min() > 0.5


def test_pipeline_reads_names_and_weights(data):
    X, y, w = data
    frame = pd.DataFrame(X, columns=[f"gene {j}" for j in range(12)])
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), LBI())
    pipeline.fit(frame, y, lbi__sample_weight=w)
    assert pipeline[-1].path_.feature_names == tuple(frame.columns)
    assert pipeline.score(frame, y) > 0.8
    # columns are standardized anyway, with the weights this time
    np.testing.assert_allclose(
        pipeline.predict(frame), LBI().fit(X, y, w).predict(X), rtol=1e-2
    )


def test_select_from_model():
    X, y = diabetes()
    select = SelectFromModel(LBI(), threshold=1e-10).fit(X, y)
    model = select.estimator_
    np.testing.assert_array_equal(select.get_support(), model.coef_ != 0)
    assert 0 < select.transform(X).shape[1] < 10
    pipeline = make_pipeline(select, LinearRegression()).fit(X, y)
    refitted = LBI(refit=True).fit(X, y)
    np.testing.assert_allclose(pipeline.predict(X), refitted.predict(X), rtol=1e-10)


def test_weights_are_routed(data):
    X, y, w = data
    with config_context(enable_metadata_routing=True):
        model = LBI().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=False)
        search = GridSearchCV(model, {"kappa": [30.0]}, cv=3)
        search.fit(X, y, sample_weight=w)
    expected = LBI().fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(search.best_estimator_.coef_, expected.coef_)


def test_copies_and_threads_do_not_share_results(data):
    from joblib import Parallel, delayed

    X, y, _ = data
    shifts = range(4)
    jobs = (delayed(clone(LBI()).fit)(X, y + 10 * shift) for shift in shifts)
    models = Parallel(n_jobs=2, backend="threading")(jobs)
    for shift, model in zip(shifts, models, strict=True):
        expected = LBI().fit(X, y + 10 * shift)
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        assert model.intercept_ == expected.intercept_
