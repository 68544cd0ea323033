"""LBIClassifier: identities with the path, symmetries, limits, and what it refuses."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sparselbi import LBIClassifier, Problem, lbi_path
from tests import twins
from tests.common import LAYOUTS, make_data, relative_gap

KINDS = {
    "binary": ("logistic", {}),
    "grouped": ("multinomial", {}),
    "entrywise": ("multinomial", {"multinomial": "entrywise"}),
    "refit": ("multinomial", {"refit": True, "selector": "bic"}),
    "balanced": ("logistic", {"class_weight": "balanced"}),
}
GROUPS = np.array([3, 0, 0, 1, 1, 1, 2, 2, 0, 4, 4, 5])
PENALTIES = {"binary": "l1", "grouped": "group", "entrywise": "l1"}


def data_and_model(kind, n=80, **options):
    loss, kind_options = KINDS[kind]
    X, y, w = make_data(loss, n=n)
    return X, y, w, LBIClassifier(**kind_options | options)


def same_result(a, b, rtol=1e-7):
    assert relative_gap(a.coef_, b.coef_) <= rtol
    np.testing.assert_allclose(a.intercept_, b.intercept_, rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(a.path_.knots, b.path_.knots, rtol=rtol)
    np.testing.assert_allclose(a.selection_.knot, b.selection_.knot, rtol=rtol)
    np.testing.assert_allclose(a.selection_.scores, b.selection_.scores, rtol=rtol)


def centred(coef):
    """Coefficients that give the same probabilities, with rows that sum to zero."""
    return coef - coef.mean(axis=0) if len(coef) > 1 else coef


# ------------------------------------------------------------------- path, attributes


@pytest.mark.parametrize("kind", PENALTIES)
def test_is_the_solver_with_a_selector(kind):
    X, y, w, model = data_and_model(kind, n_knots=40, max_features=7, kappa=12.0)
    loss = KINDS[kind][0]
    problem = Problem(X, y, loss, PENALTIES[kind], sample_weight=w)
    expected = lbi_path(problem, n_knots=40, max_features=7, kappa=12.0)
    t = 3 * expected.t0
    assert model.set_params(selector=t).fit(X, y, w) is model
    np.testing.assert_array_equal(model.path_.coefs, expected.coefs)
    np.testing.assert_array_equal(model.coef_, expected.at(t).coef)
    np.testing.assert_array_equal(model.intercept_, expected.at(t).intercept)
    rows = 1 if kind == "binary" else 3
    assert model.coef_.shape == (rows, 12)
    assert model.intercept_.shape == (rows,)
    np.testing.assert_array_equal(model.classes_, np.unique(y))
    assert model.classes_.dtype == y.dtype
    together = (model.coef_ != 0).sum(axis=0)
    assert (set(together) <= {0, rows}) == (kind != "entrywise")


@pytest.mark.parametrize("weight", ["unit", "sqrt"])
@pytest.mark.parametrize("kind", ["binary", "grouped"])
def test_groups_enter_together(kind, weight):
    X, y, _, model = data_and_model(kind, groups=GROUPS, group_weight=weight)
    nonzero = (model.fit(X, y).coef_ != 0).any(axis=0)
    assert 0 < nonzero.sum() < 12
    for label in np.unique(GROUPS):
        assert len(np.unique(nonzero[label == GROUPS])) == 1


@pytest.mark.parametrize("kind", PENALTIES)
def test_agrees_with_the_plain_loop(kind):
    X, y, w, model = data_and_model(kind, n=50, n_knots=30, t_max=None)
    t0 = model.path(X, y, w).t0
    path = model.set_params(t_max=12 * t0).path(X, y, w)
    twin = twins.plain_lbi(
        X,
        y,
        KINDS[kind][0],
        PENALTIES[kind],
        kappa_raw=path.kappa_raw,
        step_size=path.step_size,
        n_steps=int(np.ceil((path.knots[-1] - path.t0) / path.step_size)) + 1,
        weights=w,
    )
    points = [twin.at(t) for t in path.knots]
    assert relative_gap(path.coefs, np.array([coef for coef, _ in points])) < 1e-9
    intercepts = np.array([intercept for _, intercept in points])
    np.testing.assert_allclose(path.intercepts, intercepts, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_predictions_fit_together(kind, layout):
    X, y, w, model = data_and_model(kind)
    model.fit(LAYOUTS[layout](X), y, w)
    same_result(model, clone(model).fit(X, y, w), rtol=1e-6)
    labels = model.predict(X)
    assert model.score(X, y) == np.mean(labels == y) > 0.55
    proba, log_proba = model.predict_proba(X), model.predict_log_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_proba), proba, rtol=1e-12)
    np.testing.assert_array_equal(model.classes_[proba.argmax(axis=1)], labels)
    eta = X @ model.coef_.T + model.intercept_
    if len(model.classes_) == 2:
        eta = eta[:, 0]
        np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-eta)), rtol=1e-12)
    np.testing.assert_allclose(model.decision_function(X), eta, rtol=1e-12)
    if not model.refit:
        knot = model.selection_.knot
        np.testing.assert_array_equal(model.path_.predict(X, knot), labels)


def test_far_away_points_have_finite_log_probabilities():
    for kind in ("binary", "grouped"):
        X, y, _, model = data_and_model(kind)
        model.fit(X, y)
        far = 1e6 * X[:5]
        assert np.isfinite(model.predict_log_proba(far)).all()
        assert np.isfinite(model.predict_proba(far)).all()
        np.testing.assert_allclose(model.predict_proba(far).sum(axis=1), 1.0)


def test_select_and_frames():
    X, y, _, model = data_and_model("grouped")
    names = [f"gene {j}" for j in range(12)]
    model.fit(pd.DataFrame(X, columns=names), pd.Series(y))
    assert model.path_.feature_names == tuple(names)
    other = model.select("aic")
    assert other.path_ is model.path_
    np.testing.assert_array_equal(other.classes_, model.classes_)
    assert (other.coef_ != 0).sum() >= (model.coef_ != 0).sum()
    assert not model.select(0.0).coef_.any()
    with pytest.raises(NotFittedError):
        LBIClassifier().predict(X)


@pytest.mark.parametrize("name", ["cv", "cv_1se"])
def test_cross_validation(name):
    X, y, _, model = data_and_model("grouped", n=60, selector=name, n_knots=30)
    model.fit(X, y)
    again = LBIClassifier(n_knots=30).fit(X, y).select(name, X, y)
    np.testing.assert_array_equal(model.coef_, again.coef_)
    assert model.selection_.rule == name
    assert model.score(X, y) > 0.6


def test_grid_search_over_selectors():
    X, y = load_iris(return_X_y=True)
    grid = {"selector": ["ebic", "aic"], "class_weight": [None, "balanced"]}
    search = GridSearchCV(LBIClassifier(n_knots=20), grid, cv=3, error_score="raise")
    assert search.fit(X, y).best_score_ > 0.9


# ------------------------------------------------------- softmax of two, class weights


@pytest.mark.parametrize(
    ("penalty", "factor", "clock"), [("l1", 2.0, 1.0), ("group", 2**0.5, 2**0.5)]
)
def test_softmax_of_two_classes_is_logistic_with_another_damping(
    penalty, factor, clock
):
    # Rows of a two-class softmax are z and -z: their difference follows the logistic
    # gradient, twice as far; a group has the norm sqrt(2) |z|, on a clock of its own.
    X, y, w = make_data("logistic", n=60)
    logistic, softmax = (
        Problem(X, y, loss, kind, sample_weight=w)
        for loss, kind in (("logistic", "l1"), ("multinomial", penalty))
    )
    two = lbi_path(softmax, kappa_raw=10.0, n_knots=30)
    one = lbi_path(
        logistic,
        kappa_raw=10.0 * factor,
        step_size=two.step_size * clock,
        t_max=two.knots[-1] * clock,
        n_knots=30,
    )
    for t in two.knots:
        pair, single = two.at(t), one.at(min(t * clock, one.knots[-1]))
        gap = np.abs(pair.coef[1] - pair.coef[0] - single.coef[0]).max()
        assert gap < 1e-2 * np.abs(one.coef(-1)).max()  # between knots of `one`
    # the grids of knots correspond, there it is exact
    i, j = np.nonzero(np.abs(two.knots[:, None] * clock / one.knots - 1) < 1e-10)
    assert len(i) >= 30
    difference = two.coefs[i, 1] - two.coefs[i, 0]
    np.testing.assert_allclose(difference, one.coefs[j, 0], atol=1e-8)
    shift = two.intercepts[i, 1] - two.intercepts[i, 0]
    np.testing.assert_allclose(shift, one.intercepts[j, 0], atol=1e-8)


@pytest.mark.parametrize("kind", ["binary", "grouped"])
def test_class_weights_are_sample_weights_of_the_same_sum(kind):
    X, y, w, model = data_and_model(kind)
    keep = (y != np.unique(y)[-1]) | (np.arange(len(y)) % 4 == 0)
    X, y, w = X[keep], y[keep], w[keep]
    classes, codes = np.unique(y, return_inverse=True)
    total = np.bincount(codes, w)
    balanced = model.set_params(class_weight="balanced").fit(X, y, w)
    explicit = dict(zip(classes.tolist(), (7.0 / total).tolist(), strict=True))
    same_result(clone(model).set_params(class_weight=explicit).fit(X, y, w), balanced)
    weight = w * (w.sum() / len(classes) / total)[codes]
    assert weight.sum() == pytest.approx(w.sum())
    plain = clone(model).set_params(class_weight=None)
    same_result(plain.fit(X, y, weight), balanced)
    np.testing.assert_allclose(balanced.path_.n_samples, w.sum())
    # the balanced null model knows no class that is more frequent
    np.testing.assert_allclose(balanced.path_.intercept(0), 0.0, atol=1e-8)
    # without sample weights, scikit-learn's meaning of "balanced"
    n, counts = len(y), np.bincount(codes)
    explicit = dict(zip(classes.tolist(), n / len(classes) / counts, strict=True))
    balanced = clone(model).fit(X, y)
    same_result(clone(model).set_params(class_weight=explicit).fit(X, y), balanced)


def test_classes_without_weight_are_absent():
    X, y, _, model = data_and_model("grouped")
    expected = LBIClassifier().fit(X[y != 10], y[y != 10])
    weighted = LBIClassifier().fit(X, y, sample_weight=(y != 10).astype(float))
    same_result(weighted, expected)
    np.testing.assert_array_equal(weighted.classes_, [0, 20])
    dropped = LBIClassifier(class_weight={10: 0.0}).fit(X, y)
    np.testing.assert_array_equal(dropped.classes_, [0, 20])
    # as many samples as before, so the criteria differ, but not the path
    assert relative_gap(dropped.path_.coefs, expected.path_.coefs) < 1e-7


# ------------------------------------------------------- what must not change a result


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_repetitions(kind):
    X, y, _, model = data_and_model(kind, n=50)
    for seed in range(4):
        w = np.random.default_rng(seed).integers(0, 4, len(y))
        rows = np.repeat(np.arange(len(y)), w)
        weighted = clone(model).fit(X, y, sample_weight=w)
        repeated = clone(model).fit(X[rows], y[rows])
        # far out, where a refit separates some samples, rounding is magnified
        same_result(weighted, repeated, rtol=1e-5 if kind == "refit" else 1e-7)
        assert weighted.selection_.index == repeated.selection_.index


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(3)))
def test_names_of_classes_do_not_matter(kind, seed, order):
    loss, options = KINDS[kind]
    X, y, _ = make_data(loss, n=60, seed=seed)
    classes, codes = np.unique(y, return_inverse=True)
    order = [k for k in order if k < len(classes)]
    names = np.array(["ant", "bee", "cat"])[: len(classes)]
    base = LBIClassifier(**options).fit(X, y)
    named = LBIClassifier(**options).fit(X, names[order][codes])
    np.testing.assert_array_equal(named.classes_, names)
    proba = named.predict_proba(X)[:, order]
    np.testing.assert_allclose(proba, base.predict_proba(X), atol=1e-7)
    np.testing.assert_allclose(named.path_.knots, base.path_.knots, rtol=1e-7)
    if len(classes) == 2:
        sign = 1 if order[0] == 0 else -1
        assert relative_gap(sign * named.coef_, base.coef_) < 1e-7
    else:
        assert relative_gap(named.coef_[order], base.coef_) < 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_units_constant_columns_and_order_do_not_matter(kind):
    X, y, w, model = data_and_model(kind)
    base = clone(model).fit(X, y, w)
    for layout in (np.asarray, sp.csc_array):
        wide = layout(np.column_stack([np.full(80, 7.0), X, np.zeros(80)]))
        wide_model = clone(model).fit(wide, y, w)
        assert not wide_model.coef_[:, [0, -1]].any()
        assert relative_gap(wide_model.coef_[:, 1:-1], base.coef_) < 1e-7
        assert wide_model.selection_.index == base.selection_.index
    rng = np.random.default_rng(0)
    columns, rows = rng.permutation(12), rng.permutation(80)
    units = 10.0 ** rng.integers(-3, 4, size=12)
    mixed = clone(model).fit((X * units + 2)[np.ix_(rows, columns)], y[rows], w[rows])
    assert relative_gap(mixed.coef_ * units[columns], base.coef_[:, columns]) < 1e-6
    assert mixed.selection_.index == base.selection_.index


# ------------------------------------------------------------------------------ limits


@pytest.mark.parametrize("kind", ["binary", "grouped", "entrywise"])
def test_refit_is_unpenalized_logistic_regression(kind):
    X, y, w, model = data_and_model(kind, n=200, refit=True)
    model.fit(X, y, w)
    support = np.flatnonzero(model.coef_.any(axis=0))
    assert 0 < len(support) < 12
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    expected.fit(X[:, support], y, w)
    assert relative_gap(centred(model.coef_[:, support]), expected.coef_) < 1e-4
    np.testing.assert_allclose(
        centred(model.intercept_[:, None]),
        centred(expected.intercept_[:, None]),
        atol=1e-3,
    )


@pytest.mark.parametrize("kind", ["binary", "grouped", "entrywise"])
def test_the_end_of_a_long_path_is_the_unpenalized_fit(kind):
    X, y, w, model = data_and_model(kind, n=200, selector=0.0)
    t0 = model.path(X, y, w).t0
    model.set_params(t_max=1000 * t0, n_knots=20).fit(X, y, w)
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(X, y, w)
    end = model.path_.coef(-1)
    assert relative_gap(centred(end), expected.coef_) < 1e-3


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_separable_data_end_saturated_and_finite(n_classes, refit):
    X, _, _ = make_data(n=30, p=100)
    y = np.arange(30) % n_classes
    model = LBIClassifier(refit=refit, max_features=None).fit(X, y)
    assert model.path_.status == "saturated"
    assert np.isfinite(model.path_.coefs).all()
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.predict_log_proba(X)).all()
    np.testing.assert_array_equal(model.path_.predict(X)[-1], y)


def test_a_partly_separated_refit_does_not_depend_on_rounding():
    # One class is separated from two that overlap: the fit has no minimizer, and where
    # it stops must not depend on the order of summation.
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    model = LBIClassifier(refit=True, selector="bic")
    a = clone(model).fit(X, y, weight)
    b = clone(model).fit(X[rows], y[rows])
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=1e-7)
    assert np.abs(a.coef_).max() < 1e4


def test_rare_classes_take_no_more_steps():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 4))
    score = X[:, 0] + rng.logistic(size=4000)
    steps = []
    for rank in (2000, 20):
        y = np.argsort(np.argsort(-score)) < rank
        path = LBIClassifier().path(X, y)
        assert path.status == "t_max"
        steps.append(path.n_iter)
    assert steps[1] < 5 * steps[0]
    path = LBIClassifier(class_weight={True: 1e-7}).path(X, score > 0)
    assert path.n_iter < 20 * steps[0]


@pytest.mark.parametrize(
    ("load", "kept", "accuracy"), [(load_breast_cancer, 12, 0.96), (load_iris, 3, 0.95)]
)
def test_real_data(load, kept, accuracy):
    X, y = load(return_X_y=True)
    model = LBIClassifier().fit(X, y)
    assert 0 < model.coef_.any(axis=0).sum() <= kept
    assert model.score(X, y) > accuracy


# --------------------------------------------------------------------------- bad input


def refused(words, y=None, sample_weight=None, **options):
    data = make_data("multinomial", n=60)
    y = data.y if y is None else y
    with pytest.raises(ValueError, match=re.escape(words[0])) as info:
        LBIClassifier(**options).fit(data.X, y, sample_weight=sample_weight)
    assert [word for word in words if word not in str(info.value)] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"multinomial": "softmax"}, ["multinomial='softmax'", "'grouped'"]),
        ({"kappa": np.inf}, ["kappa=inf", "least-squares", "finite kappa", "refit"]),
        ({"kappa": -1.0}, ["kappa=-1.0", "positive"]),
        ({"refit": True, "positive": True}, ["refit=True", "positive", "large kappa"]),
        (
            {"groups": GROUPS, "multinomial": "entrywise"},
            ["groups are given", "multinomial='entrywise'", "'grouped'"],
        ),
        ({"groups": [1, 2]}, ["groups has shape (2,)", "12 features"]),
        ({"selector": "cp"}, ["selector='cp'", "'ebic'"]),
        ({"class_weight": "equal"}, ["class_weight='equal'", "'balanced'", "dict"]),
        ({"class_weight": [1, 2, 3]}, ["class_weight=[1, 2, 3]", "'balanced'"]),
        ({"class_weight": {7: 1.0}}, ["class_weight", "key 7", "[0, 10, 20]"]),
        ({"class_weight": {0: -1.0}}, ["class_weight", "-1.0", "class 0", "at least"]),
        ({"class_weight": {0: np.inf}}, ["class_weight", "inf", "class 0", "finite"]),
        ({"class_weight": {0: "2"}}, ["class_weight", "'2'", "class 0", "number"]),
        ({"class_weight": {0: 0, 10: 0, 20: 0}}, ["class_weight", "weight 0 to all"]),
        ({"class_weight": {0: 0, 10: 0}}, ["single class (20)", "positive weight"]),
    ],
)
def test_parameters(options, words):
    refused(words, **options)


def test_labels():
    y = make_data("multinomial", n=60).y
    refused(["single class (3)", "at least two"], y=np.full(60, 3))
    refused(["y has shape (60, 3)", "1d array", "argmax"], y=np.eye(3)[y // 10])
    refused(["Unknown label type: continuous"], y=y + 0.5 * np.arange(60) / 60)
    refused(["Input y contains NaN"], y=np.where(y > 0, y, np.nan))
    mixed = np.array(["a", None, "b"] * 20, dtype=object)
    refused(["y mixes labels", "['NoneType', 'str']", "drop"], y=mixed)
    refused(["sample_weight contains -1.0"], sample_weight=np.full(60, -1.0))
    refused(["sample_weight sums to 1", "rescale"], sample_weight=np.full(60, 1 / 60))
    one = (y == 10).astype(float)
    refused(["single class (10)", "positive weight"], sample_weight=one)
    X = make_data("multinomial", n=60).X
    with pytest.raises(ValueError, match=r"requires y .* for the squared loss"):
        LBIClassifier().fit([(X, y)])
    with pytest.warns(DataConversionWarning):
        column = LBIClassifier().fit(X, y[:, None])
    same_result(column, LBIClassifier().fit(X, y), rtol=0)


def test_equal_groups_of_two_classes_ignore_multinomial():
    X, y, _ = make_data("logistic", n=60)
    one, two = (
        LBIClassifier(groups=GROUPS, multinomial=kind).fit(X, y)
        for kind in ("grouped", "entrywise")
    )
    np.testing.assert_array_equal(one.coef_, two.coef_)
