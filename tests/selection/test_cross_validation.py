"""Cross-validation against folds that are fitted and scored by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sparselbi import LBI, Problem, iss_path, lbi_path
from sparselbi.losses import Huber
from sparselbi.selection import CrossValidated, CrossValidation, get_selector
from tests.common import make_data

SPLITTER = KFold(4, shuffle=True, random_state=3)


@pytest.fixture(scope="module")
def data():
    return make_data(n=60)


def trace(problem, method, **options):
    return (iss_path if method == "iss" else lbi_path)(problem, **options)


@pytest.mark.parametrize("method", ["lbi", "iss"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_folds_fitted_by_hand(data, method, weighted):
    X, y, w = data
    w = w if weighted else np.ones(len(y))
    problem = Problem(X, y, sample_weight=w if weighted else None)
    path = trace(problem, method)
    result = CrossValidation(cv=SPLITTER, keep_paths=True).select(path, problem)
    times = path.representative_knots()
    options = {} if method == "iss" else {"kappa_raw": path.kappa_raw}
    for k, (train, test) in enumerate(SPLITTER.split(X)):
        part = Problem(X[train], y[train], sample_weight=w[train])
        fold = trace(part, method, t_max=times.max(), **options)
        errors = (fold.predict(X[test], times) - y[test]) ** 2
        expected = np.average(errors, axis=1, weights=w[test])
        np.testing.assert_allclose(result.fold_scores[k], expected, rtol=1e-10)
        np.testing.assert_allclose(result.fold_paths[k].knots, fold.knots, rtol=1e-12)
    mean, error = result.fold_scores.mean(0), result.fold_scores.std(0, ddof=1) / 2
    np.testing.assert_allclose(result.scores, mean)
    np.testing.assert_allclose(result.standard_error, error)
    assert result.index == np.argmin(mean)
    assert result.knot == path.knots[result.index] == result.points["cv"]


def test_before_its_first_entry_a_fold_predicts_the_mean(data):
    problem = Problem(data.X, data.y)
    path = lbi_path(problem)
    result = CrossValidation(cv=SPLITTER, keep_paths=True).select(path, problem)
    for k, (train, test) in enumerate(SPLITTER.split(data.X)):
        null = np.mean((data.y[test] - data.y[train].mean()) ** 2)
        early = path.knots <= result.fold_paths[k].t0
        assert early[0] or result.fold_paths[k].t0 < path.t0
        np.testing.assert_allclose(result.fold_scores[k][early], null)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kappa", [10.0, np.inf])
def test_one_standard_error_rule(seed, kappa):
    X, y, _ = make_data(n=50, seed=seed)
    model = LBI(kappa=kappa, selector="cv").fit(X, y)
    best = model.selection_
    simple = model.select("cv_1se", X, y).selection_
    assert isinstance(simple, CrossValidated)
    assert (best.rule, simple.rule) == ("cv", "cv_1se")
    assert best.points == simple.points == {"cv": best.knot, "cv_1se": simple.knot}
    assert simple.knot <= best.knot
    limit = best.scores[best.index] + best.standard_error[best.index]
    assert simple.scores[simple.index] <= limit
    assert (best.scores[: simple.index] > limit).all()
    for one, rule, other in ((best, "1se", simple), (simple, "min", best)):
        assert repr(one.with_rule(rule)) == repr(other)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("scoring", "metric"),
    [
        ("neg_mean_squared_error", metrics.mean_squared_error),
        ("neg_mean_absolute_error", metrics.mean_absolute_error),
        ("r2", lambda *a, **k: -metrics.r2_score(*a, **k)),
    ],
)
def test_scorers_see_the_model_of_every_knot(data, scoring, metric, weighted):
    X, y, w = data
    weights = w if weighted else None
    problem = Problem(X, y, sample_weight=weights)
    path = lbi_path(problem, n_knots=10)
    rule = CrossValidation(cv=SPLITTER, scoring=scoring, keep_paths=True)
    result = rule.select(path, problem)
    for k, (_, test) in enumerate(SPLITTER.split(X)):
        for i in range(0, len(path), 7):
            prediction = result.fold_paths[k].predict(X[test], path.knots[i])
            options = {"sample_weight": w[test]} if weighted else {}
            expected = metric(y[test], prediction, **options)
            np.testing.assert_allclose(result.fold_scores[k, i], expected)
    default = CrossValidation(cv=SPLITTER).select(path, problem)
    if scoring == "neg_mean_squared_error":
        np.testing.assert_allclose(default.fold_scores, result.fold_scores)
        assert default.label == result.label == "mean squared error"


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_classification(loss):
    X, y, w = make_data(loss, n=80)
    problem = Problem(X, y, loss=loss, sample_weight=w)
    path = lbi_path(problem, n_knots=12, t_max=20 * lbi_path(problem, n_knots=2).t0)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    default = CrossValidation(cv=folds, keep_paths=True).select(path, problem)
    loss_by_name = CrossValidation(cv=folds, scoring="neg_log_loss")
    np.testing.assert_allclose(
        default.fold_scores, loss_by_name.select(path, problem).fold_scores
    )
    assert default.label == "log loss"
    accuracy = CrossValidation(cv=folds, scoring="accuracy").select(path, problem)
    name = "roc_auc" if loss == "logistic" else "roc_auc_ovr_weighted"
    area = CrossValidation(cv=folds, scoring=name).select(path, problem)
    assert area.scores.min() < -0.8
    for k, (_, test) in enumerate(folds.split(X, y)):
        for i in range(0, len(path), 9):
            predicted = default.fold_paths[k].predict(X[test], path.knots[i])
            share = np.average(predicted == y[test], weights=w[test])
            np.testing.assert_allclose(accuracy.fold_scores[k, i], -share)


def test_a_number_of_folds_stratifies_classes_and_keeps_groups():
    X, y, _ = make_data("logistic", n=60)
    groups = np.arange(60) // 3
    problem = Problem(X, y, loss="logistic")
    folds = CrossValidation(cv=3)._folds(problem)
    for _, test in folds:
        assert abs(np.mean(y[test] == "yes") - np.mean(y == "yes")) < 0.06
    regression = Problem(X, X[:, 0], sample_groups=groups)
    for grouped in (problem.with_sample_groups(groups), regression):
        for train, test in CrossValidation(cv=3)._folds(grouped):
            assert not np.intersect1d(groups[train], groups[test]).size


def test_a_weight_is_a_number_of_copies(data):
    X, y, _ = data
    counts = np.random.default_rng(0).integers(1, 4, len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    for selector in ("cv", "cv_1se", CrossValidation(cv=4, scoring="r2")):
        model = LBI(selector=selector)
        weighted = model.fit(X, y, counts, sample_groups=np.arange(len(y)))
        repeated = LBI(selector=selector).fit(X[rows], y[rows], sample_groups=rows)
        np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8)
        one, other = weighted.selection_, repeated.selection_
        np.testing.assert_allclose(one.fold_scores, other.fold_scores, rtol=1e-8)
        assert one.index == other.index


def test_rows_of_weight_zero_do_not_matter(data):
    X, y, w = data
    w = np.where(np.arange(len(y)) % 5 == 0, 0.0, w)
    folds = list(SPLITTER.split(X))
    kept = np.flatnonzero(w)
    place = np.cumsum(w > 0) - 1
    inside = [tuple(place[part[w[part] > 0]] for part in fold) for fold in folds]
    full = LBI(selector=CrossValidation(cv=folds)).fit(X, y, w)
    small = LBI(selector=CrossValidation(cv=inside)).fit(X[kept], y[kept], w[kept])
    np.testing.assert_allclose(
        full.selection_.fold_scores, small.selection_.fold_scores, rtol=1e-9
    )


def test_memory_maps_are_split_without_copies(data, tmp_path):
    X, y, w = data
    mapped = np.memmap(tmp_path / "X", dtype=np.float64, mode="w+", shape=X.shape)
    mapped[:] = X
    for weights in (None, w):
        problem = Problem(mapped, y, sample_weight=weights)
        assert problem.restrict(np.arange(40)).X.shape == X.shape
        expected = Problem(X, y, sample_weight=weights)
        for method in ("lbi", "iss"):
            results = [
                CrossValidation(cv=SPLITTER).select(trace(one, method), one)
                for one in (problem, expected)
            ]
            np.testing.assert_allclose(
                results[0].fold_scores, results[1].fold_scores, rtol=1e-8
            )


@pytest.mark.parametrize("layout", ["csr", "float32", "frame"])
def test_layouts(data, layout):
    from scipy import sparse

    X, y, _ = data
    X = X.astype(np.float32).astype(np.float64)
    other = {
        "csr": lambda X: sparse.csr_array(X),
        "float32": lambda X: X.astype(np.float32),
        "frame": lambda X: pd.DataFrame(X, columns=[f"f{j}" for j in range(12)]),
    }[layout](X)
    for scoring in (None, "r2"):
        model = LBI(selector=CrossValidation(cv=SPLITTER, scoring=scoring))
        expected = model.fit(X, y).selection_
        np.testing.assert_allclose(
            model.fit(other, y).selection_.fold_scores,
            expected.fold_scores,
            rtol=1e-6,
        )


def test_rescaling_y_changes_nothing_but_units(data):
    X, y, _ = data
    one = LBI(selector="cv").fit(X, y)
    other = LBI(selector="cv").fit(X, 8 * y)
    np.testing.assert_allclose(
        other.selection_.fold_scores, 64 * one.selection_.fold_scores, rtol=1e-8
    )
    np.testing.assert_allclose(other.coef_, 8 * one.coef_, rtol=1e-8)


def test_refits_are_scored_on_request(data):
    X, y, _ = data
    model = LBI(selector="cv", refit=True).fit(X, y)
    assert model.selection_.quantities["scored_fit"] == "refit on the support"
    path = model.path_
    rule = CrossValidation(cv=SPLITTER, refit=True, keep_paths=True)
    result = rule.select(path, Problem(X, y))
    for k, (train, test) in enumerate(SPLITTER.split(X)):
        for i in range(20, len(path), 25):
            support = result.fold_paths[k].support(path.knots[i])
            fit = LinearRegression().fit(X[train][:, support], y[train])
            expected = np.mean((fit.predict(X[test][:, support]) - y[test]) ** 2)
            np.testing.assert_allclose(result.fold_scores[k, i], expected, rtol=1e-8)
    exact = iss_path(Problem(X, y))
    scores = [
        CrossValidation(cv=SPLITTER, refit=refit).select(exact, Problem(X, y)).scores
        for refit in (False, True)
    ]
    np.testing.assert_allclose(*scores)


def test_huber_folds_share_the_threshold(data):
    X, y, _ = data
    model = LBI("huber", selector=CrossValidation(keep_paths=True)).fit(X, y)
    threshold = model.path_.loss.threshold
    assert {path.loss for path in model.selection_.fold_paths} == {Huber(threshold)}
    assert model.selection_.label == "mean Huber loss"


def test_workers_change_nothing(data):
    X, y, _ = data
    one = LBI(selector="cv").fit(X, y).selection_
    two = LBI(selector="cv", n_jobs=2).fit(X, y).selection_
    np.testing.assert_array_equal(one.fold_scores, two.fold_scores)


def test_seed(data):
    X, y, _ = data
    runs = [LBI(selector="cv", random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    scores = [run.selection_.fold_scores for run in runs]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2])


@pytest.mark.parametrize(
    "cv", [3, LeaveOneOut(), ShuffleSplit(3, random_state=0), TimeSeriesSplit(3)]
)
def test_splitters(data, cv):
    model = LBI(kappa=np.inf, selector=CrossValidation(cv=cv)).fit(data.X, data.y)
    assert model.score(data.X, data.y) > 0.8
    assert str(model.selection_.quantities["n_folds"]) in ("3", "60")


def test_an_iterator_of_splits_can_be_used_again(data):
    rule = CrossValidation(cv=SPLITTER.split(data.X))
    first = LBI(selector=rule).fit(data.X, data.y)
    again = LBI(selector=rule).fit(data.X, data.y)
    np.testing.assert_array_equal(first.coef_, again.coef_)
    assert "4 given splits" in repr(first.selection_)


def test_inside_of_scikit_learn(data):
    X, y, _ = data
    model = LBI(kappa=np.inf, selector="cv")
    nested = cross_val_score(model, X, y, cv=3, error_score="raise")
    assert nested.min() > 0.5
    search = GridSearchCV(
        model, {"kappa": [10.0, np.inf], "selector": ["cv", "cv_1se"]}
    )
    search.set_params(error_score="raise", cv=3).fit(X, y)
    assert search.best_score_ > 0.8
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    np.testing.assert_allclose(
        pipeline.predict(X), LBI(kappa=np.inf, selector="cv").fit(X, y).predict(X)
    )


def test_groups_reach_the_folds_inside_of_a_search(data):
    X, y, _ = data
    groups = np.arange(60) // 4
    model = LBI(kappa=np.inf, selector=CrossValidation(cv=LeaveOneGroupOut()))
    search = GridSearchCV(model, {"standardize": [True, False]}, cv=GroupKFold(3))
    search.set_params(error_score="raise")
    search.fit(X, y, groups=groups, sample_groups=groups)
    assert search.best_estimator_.selection_.quantities["n_folds"] == 15


def test_a_path_of_the_null_model_is_scored():
    X = np.c_[np.zeros(20), np.ones(20)]
    y = np.arange(20.0)
    for kappa in (30, np.inf):
        model = LBI(kappa=kappa, selector="cv").fit(X, y)
        assert model.selection_.index == 0
        assert not model.coef_.any()


def test_longer_folds_and_truncated_paths(data):
    X, y, _ = data
    for kappa in (30.0, np.inf):
        model = LBI(kappa=kappa, max_features=2, selector="cv").fit(X, y)
        assert np.isfinite(model.selection_.scores).all()
    assert "end of what was scored" in model.selection_.message


def test_separated_folds_end_early_and_say_so():
    X, y, _ = make_data("logistic", n=40, seed=1)
    X = X.copy()
    X[:, 0] += 3 * (y == "yes")
    problem = Problem(X, y, loss="logistic")
    path = lbi_path(problem, t_max=3000.0)
    result = CrossValidation(cv=5).select(path, problem)
    assert np.isfinite(result.scores[0])
    if np.isnan(result.scores).any():
        assert "have no score" in result.message
    assert np.isfinite(result.scores[result.index])


def test_features_that_a_fold_cannot_see_are_named(data):
    X, y, _ = data
    rare = np.zeros(60)
    rare[7] = 1.0
    model = LBI(kappa=np.inf, selector="cv").fit(np.c_[X, rare], y)
    assert "(index 12) are constant in the training part" in model.selection_.message


def not_a_number(estimator, X, y):
    return np.nan


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "max"}, "rule='max' is unknown"),
        ({"cv": 1}, "cv=1 must be at least 2 folds"),
        ({"cv": True}, "cv=True must be at least 2"),
        ({"cv": 61}, "cv=61 folds need at least as many samples, but there are 60"),
        ({"cv": KFold(61)}, "cannot split: Cannot have number of splits n_splits=61"),
        ({"cv": GroupKFold(3)}, "needs the group of every sample; give fit"),
        ({"cv": [(np.arange(50), np.arange(50, 60))]}, r"gives 1 fold\(s\)"),
        (
            {"cv": [(np.arange(60), np.arange(0)), (np.arange(30), np.arange(30, 60))]},
            "test part of fold 0 has no sample",
        ),
        ({"scoring": "no_such"}, "no_such"),
        ({"scoring": not_a_number}, "scoring='not_a_number' returned nan for fold 0"),
        ({"cv": LeaveOneOut(), "scoring": "r2"}, "scoring='r2_score' returned nan"),
    ],
)
@pytest.mark.filterwarnings("ignore:R.2 score is not well-defined")
def test_bad_arguments(data, options, message):
    with pytest.raises(ValueError, match=message):
        LBI(kappa=np.inf, selector=CrossValidation(**options)).fit(data.X, data.y)


def test_bad_data(data):
    X, y, w = data
    problem = Problem(X, y, sample_weight=w)
    path = iss_path(problem)
    with pytest.raises(ValueError, match="needs the data: call"):
        CrossValidation().select(path)
    with pytest.raises(ValueError, match="takes no sample_weight"):
        CrossValidation(scoring="neg_max_error").select(path, problem)
    with pytest.raises(ValueError, match=r"select\('cv', X, y\)"):
        LBI().fit(X, y).select("cv")
    ordered = np.repeat([0.0, 1.0], [40, 20])
    with pytest.raises(ValueError, match=r"y is constant \(0.0\) in the training part"):
        LBI(selector=CrossValidation(cv=KFold(3))).fit(X, ordered)
    zero = np.where(np.arange(60) < 20, 0.0, 1.0)
    with pytest.raises(ValueError, match="no sample with a positive weight"):
        LBI(selector=CrossValidation(cv=KFold(3))).fit(X, y, zero)
    with pytest.raises(ValueError, match="sample_groups has shape"):
        LBI(selector="cv").fit(X, y, sample_groups=[1, 2])
    with pytest.raises(ValueError, match="as many groups, but there are 3"):
        LBI(selector="cv").fit(X, y, sample_groups=np.arange(60) % 3)


def test_a_class_left_out_is_named():
    X, y, _ = make_data("logistic", n=30)
    y = np.where(np.arange(30) < 8, "yes", "no")
    problem = Problem(X, y, loss="logistic")
    path = lbi_path(problem, n_knots=3, max_features=2)
    with pytest.raises(ValueError, match=r"fold 0 has no sample of class \['yes'\]"):
        CrossValidation(cv=KFold(3)).select(path, problem)


def test_names():
    assert get_selector("cv_1se", n_jobs=2) == CrossValidation("1se", n_jobs=2)
    model = LBI(selector="cv", refit=True, n_jobs=3, random_state=9)
    assert model._selector("cv") == CrossValidation(
        refit=True, n_jobs=3, random_state=9
    )


def test_models_at_a_knot_are_of_the_right_kind():
    from sparselbi.selection.cross_validation import _ClassifierAtKnot

    X, y, _ = make_data("multinomial", n=40)
    path = lbi_path(Problem(X, y, loss="multinomial"), n_knots=5)
    model = _ClassifierAtKnot(
        path, path.active_coefs[-1], path.intercepts[-1], path.classes
    )
    assert is_classifier(model)
    np.testing.assert_array_equal(model.predict(X), path.predict(X)[-1])
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert model.decision_function(X).shape == (40, 3)
