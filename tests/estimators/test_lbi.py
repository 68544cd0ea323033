"""LBI: what it reports, what it refuses and how, and what must not change a result."""

import copy
import re

import numpy as np
import pandas as pd
import polars
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError

from sparselbi import LBI, Problem, iss_path, lbi_path
from sparselbi.losses import Huber, Logistic
from sparselbi.selection import InformationCriterion
from sparselbi.solvers.refit import refit_coefs
from tests.common import LAYOUTS, diabetes, make_data, relative_gap

KINDS = {
    "lbi": {},
    "exact": {"kappa": np.inf},
    "huber": {"loss": "huber"},
    "refit": {"refit": True, "selector": "bic"},
}
GROUPS = np.array([3, 0, 0, 1, 1, 1, 2, 2, 0, 4, 4, 5])


@pytest.fixture(scope="module")
def data():
    return make_data(n=60)


@pytest.fixture(scope="module")
def fitted(data):
    return LBI().fit(data.X, data.y)


def same_result(a, b, rtol=1e-8):
    assert relative_gap(a.coef_, b.coef_) <= rtol
    np.testing.assert_allclose(a.intercept_, b.intercept_, rtol=rtol, atol=1e-9)
    np.testing.assert_allclose(a.path_.knots, b.path_.knots, rtol=rtol)
    np.testing.assert_allclose(a.selection_.knot, b.selection_.knot, rtol=rtol)
    np.testing.assert_allclose(a.selection_.scores, b.selection_.scores, rtol=rtol)


# ------------------------------------------------------------------------ attributes


@pytest.mark.parametrize("kind", KINDS)
def test_reports_a_point_of_the_path(data, kind):
    X, y, w = data
    model = LBI(**KINDS[kind])
    assert model.fit(X, y, sample_weight=w) is model
    path, knot = model.path_, model.selection_.knot
    assert path.method == ("iss" if kind == "exact" else "lbi")
    assert path.deviance is not None
    assert (model.n_iter_, model.n_features_in_) == (path.n_iter, 12)
    assert type(model.intercept_) is float
    assert model.coef_.shape == (12,)
    assert model.coef_.flags.writeable
    support = path.support(knot)
    np.testing.assert_array_equal(np.flatnonzero(model.coef_), support)
    if kind == "refit":
        problem = Problem(X, y, sample_weight=w)
        coef, intercept, _ = refit_coefs(problem, support)
        np.testing.assert_allclose(model.coef_[support], coef, rtol=1e-12)
        assert model.intercept_ == pytest.approx(intercept)
    else:
        np.testing.assert_array_equal(model.coef_, path.at(knot).coef)
        assert model.intercept_ == path.at(knot).intercept
    expected = X @ model.coef_ + model.intercept_
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-12)
    assert model.score(X, y, w) > 0.8


def test_is_the_solver_with_a_selector(data):
    X, y, w = data
    options = {"sample_weight": w, "standardize": False, "fit_intercept": False}
    problem = Problem(X, y, **options)
    traced = {"kappa": 12.0, "t_max": 3.0, "n_knots": 40, "max_features": 7}
    expected = lbi_path(problem, **traced)
    model = LBI(standardize=False, fit_intercept=False, selector=2.5, **traced)
    path = model.fit(X, y, w).path_
    np.testing.assert_array_equal(path.coefs, expected.coefs)
    np.testing.assert_array_equal(model.coef_, expected.at(2.5).coef)
    assert model.intercept_ == 0.0


def test_raw_damping_replaces_the_dimensionless_one(data):
    X, y, _ = data
    model = LBI(kappa=np.inf, kappa_raw=20.0, step_size=1e-3).fit(X, y)
    assert (model.path_.kappa_raw, model.path_.step_size) == (20.0, 1e-3)


def test_infinite_kappa_is_the_exact_path(data):
    X, y, w = data
    model = LBI(kappa=np.inf, positive=True).fit(X, y, w)
    problem = Problem(X, y, sample_weight=w, penalty=model.path_.penalty)
    np.testing.assert_array_equal(model.path_.coefs, iss_path(problem).coefs)
    assert (model.path_.coefs >= 0).all()


@pytest.mark.parametrize("weight", ["unit", "sqrt"])
def test_groups_enter_together(data, weight):
    model = LBI(groups=GROUPS, group_weight=weight).fit(data.X, data.y)
    assert model.path_.penalty.name == "group"
    nonzero = model.coef_ != 0
    assert 0 < nonzero.sum() < 12
    for label in np.unique(GROUPS):
        assert len(np.unique(nonzero[label == GROUPS])) == 1


def test_penalty_factors(data):
    factor = np.ones(12)
    factor[7], factor[0] = 0, np.inf
    model = LBI(penalty_factor=factor).fit(data.X, data.y)
    assert model.coef_[7] != 0
    assert not model.path_.coefs[:, 0].any()
    assert (model.path_.coefs[:, 7] != 0).all()


def test_huber_paths_ignore_outliers_that_squares_follow():
    X, y, _ = make_data(n=60)
    far = y + 1e3
    far[[3, 5]] += 1e4
    clean = LBI(loss="huber").path(X, y).coef(-1)
    assert relative_gap(LBI(loss="huber").path(X, far).coef(-1), clean) < 0.5
    assert relative_gap(LBI().path(X, far).coef(-1), clean) > 50


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_layouts(data, layout, kind):
    X, y, w = data
    expected = LBI(**KINDS[kind]).fit(X, y, w)
    model = LBI(**KINDS[kind]).fit(LAYOUTS[layout](X), y, w)
    same_result(model, expected, rtol=1e-7)
    predicted = model.predict(LAYOUTS[layout](X))
    np.testing.assert_allclose(predicted, expected.predict(X), rtol=1e-6)


@pytest.mark.parametrize("make", [pd.DataFrame, polars.DataFrame])
def test_frames_give_their_names_to_the_path(data, make):
    X, y, _ = data
    names = [f"gene {j}" for j in range(12)]
    frame = make(dict(zip(names, X.T, strict=True)))
    model = LBI().fit(frame, y)
    same_result(model, LBI().fit(X, y), rtol=1e-12)
    assert list(model.feature_names_in_) == names
    assert model.path_.feature_names == tuple(names)
    assert "gene 0" in model.path_.summary()
    np.testing.assert_allclose(model.predict(frame), LBI().fit(X, y).predict(X))
    assert LBI().path(frame, y).feature_names == tuple(names)
    assert not hasattr(LBI().fit(X, y), "feature_names_in_")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[names[::-1]])


def test_data_are_not_changed(data):
    X, y, w = data
    before = copy.deepcopy(data)
    for kind in KINDS.values():
        LBI(**kind).fit(X, y, w)
    np.testing.assert_array_equal(X, before.X)
    np.testing.assert_array_equal(y, before.y)
    np.testing.assert_array_equal(w, before.weights)


# ---------------------------------------------------------------------- path, select


def test_path_sets_nothing(data, fitted):
    X, y, w = data
    model = LBI()
    path = model.path(X, y, sample_weight=w)
    assert vars(model) == LBI().get_params()
    np.testing.assert_array_equal(path.coefs, LBI().fit(X, y, w).path_.coefs)
    before = dict(vars(fitted))
    fitted.path(X[:30, :5], y[:30])
    assert vars(fitted) == before


def test_select_returns_another_point_of_the_same_path(data, fitted):
    before = dict(vars(fitted))
    t = 3 * fitted.path_.t0
    for selector in ("aic", "bic", t, InformationCriterion("bic", cap=2)):
        other = fitted.select(selector)
        assert other is not fitted
        assert other.path_ is fitted.path_
        assert other.selector is selector
        again = clone(other).fit(data.X, data.y)
        np.testing.assert_array_equal(other.coef_, again.coef_)
        assert other.selection_.knot == again.selection_.knot
        assert repr(other) == repr(LBI(selector=selector))
    assert vars(fitted) == before
    point = fitted.path_.at(t)
    np.testing.assert_array_equal(fitted.select(t).coef_, point.coef)
    assert np.count_nonzero(fitted.select("aic").select(0.0).coef_) == 0


def test_select_with_refit_needs_the_data(data):
    X, y, w = data
    model = LBI(refit=True).fit(X, y, w)
    with pytest.raises(
        ValueError, match=r"refit=True .* call select\(selector, X, y\)"
    ):
        model.select("aic")
    other = model.select("aic", X, y, sample_weight=w)
    again = LBI(refit=True, selector="aic").fit(X, y, w)
    np.testing.assert_array_equal(other.coef_, again.coef_)
    with pytest.raises(ValueError, match="X without y"):
        model.select("aic", X)
    with pytest.raises(ValueError, match="y without X"):
        model.select("aic", y=y)
    for wrong in ((X, y), (X, y[::-1] ** 2, w), (X[:50], y[:50], w[:50])):
        with pytest.raises(
            ValueError, match="were given to fit: the path was traced on"
        ):
            model.select("aic", *wrong)


def test_select_hands_the_problem_to_the_selector(data, fitted):
    rule = InformationCriterion("bic", variance="full")
    with pytest.warns(UserWarning, match="no problem was given"):
        profiled = fitted.select(rule)
    assert "profile" in profiled.selection_.quantities["variance_rule"]
    full = fitted.select(rule, data.X, data.y).selection_.quantities
    assert full["variance_rule"].startswith("full")


def test_select_needs_a_path(data):
    with pytest.raises(NotFittedError, match="not fitted"):
        LBI().select("bic")
    with pytest.raises(NotFittedError, match="not fitted"):
        LBI().predict(data.X)


def test_failed_fit_keeps_the_last_result(data, fitted):
    model = copy.copy(fitted).set_params(selector=1e6)
    with pytest.raises(ValueError, match="beyond the traced range"):
        model.fit(data.X + 1, data.y)
    assert model.path_ is fitted.path_
    assert model.coef_ is fitted.coef_


def test_a_rule_that_could_not_be_applied_is_said():
    X, y, _ = make_data(n=12, p=30)
    selector = InformationCriterion("bic", variance="full")
    with pytest.warns(UserWarning, match="variance='full' could not be applied"):
        model = LBI(selector=selector).fit(X, y)
    assert "could not be applied" in model.selection_.message
    # no warning: nothing was replaced, and a good path may well end with its best fit
    short = LBI(max_features=1, selector="aic").fit(*diabetes())
    assert "end of the traced path" in short.selection_.message


# ------------------------------------------------------- what must not change a result


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_repetitions(kind):
    X, y, _ = make_data(n=50)
    for seed in range(5):
        w = np.random.default_rng(seed).integers(0, 4, len(y))
        rows = np.repeat(np.arange(len(y)), w)
        weighted = LBI(**KINDS[kind]).fit(X, y, sample_weight=w)
        repeated = LBI(**KINDS[kind]).fit(X[rows], y[rows])
        same_result(weighted, repeated)
        numbers = weighted.selection_.quantities, repeated.selection_.quantities
        assert numbers[0].keys() == numbers[1].keys()
        for name, value in numbers[0].items():
            same = value if isinstance(value, str) else pytest.approx(value, rel=1e-8)
            assert numbers[1][name] == same


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-8, 8))
def test_units_and_order_do_not_matter(kind, seed, exponent):
    rng = np.random.default_rng(seed)
    X, y, _ = make_data(n=40, p=15, seed=seed)
    model = LBI(**KINDS[kind])
    base = clone(model).fit(X, y)

    c = 10.0**exponent
    scaled = clone(model).fit(X, c * y)
    np.testing.assert_allclose(scaled.path_.knots * c, base.path_.knots, rtol=1e-8)
    assert relative_gap(scaled.coef_ / c, base.coef_) < 1e-8
    assert scaled.selection_.index == base.selection_.index

    columns, rows = rng.permutation(15), rng.permutation(40)
    mixed = clone(model).fit(X[np.ix_(rows, columns)], y[rows])
    same = clone(base)
    same.__dict__ |= vars(base) | {"coef_": base.coef_[columns]}
    same_result(mixed, same)

    shifted = clone(model).fit(X + rng.normal(size=15), y)
    assert relative_gap(shifted.coef_, base.coef_) < 1e-8

    units = 10.0 ** rng.integers(-4, 5, size=15)
    measured = clone(model).fit(X * units, y)
    np.testing.assert_allclose(measured.path_.knots, base.path_.knots, rtol=1e-8)
    assert relative_gap(measured.coef_ * units, base.coef_) < 1e-8


def test_fractional_weights_only_need_a_sum(data):
    X, y, w = data
    plain = LBI().fit(X, y)
    same_result(LBI().fit(X, y, sample_weight=np.ones(60)), plain, rtol=1e-12)
    twice = LBI().fit(X, y, sample_weight=np.full(60, 2.0))
    np.testing.assert_allclose(twice.path_.coefs, plain.path_.coefs, rtol=1e-12)
    assert twice.selection_.quantities["n"] == 120


# --------------------------------------------------------------------------- bad input


def refused(words, X=None, y=None, sample_weight=None, **options):
    """Fit and check that the message of the ValueError contains all `words`."""
    default = make_data(n=60)
    X = default.X if X is None else X
    y = default.y if y is None else y
    with pytest.raises(ValueError, match=re.escape(words[0])) as info:
        LBI(**options).fit(X, y, sample_weight=sample_weight)
    assert [word for word in words if word not in str(info.value)] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "l2"}, ["loss='l2'", "'huber'", "'squared'"]),
        ({"loss": "logistic"}, ["loss='logistic'", "class labels", "'huber'"]),
        ({"loss": Logistic()}, ["loss=Logistic", "'squared'"]),
        ({"loss": Huber(-1.0)}, ["threshold=-1.0", "positive"]),
        ({"selector": "cp"}, ["selector='cp'", "'ebic'", "number"]),
        ({"selector": None}, ["selector=None", "'ebic'"]),
        ({"selector": -1.0}, ["selector=-1.0", "nonnegative"]),
        ({"selector": np.nan}, ["selector=nan", "nonnegative"]),
        ({"selector": 1e6}, ["knot=1e+06", "traced range", "larger t_max"]),
        ({"step_size": "fast"}, ["step_size='fast'", "'auto'"]),
        ({"step_size": 0.0}, ["step_size=0.0", "positive"]),
        ({"step_size": 1e6}, ["step_size=1000000.0", "unstable", "'auto'"]),
        ({"kappa": 0.0}, ["kappa=0.0", "positive"]),
        ({"kappa": -np.inf}, ["kappa=-inf", "positive"]),
        ({"kappa": np.nan}, ["kappa=nan", "positive"]),
        ({"kappa": "30"}, ["kappa='30'", "positive number"]),
        ({"kappa_raw": -1.0}, ["kappa_raw=-1.0", "positive"]),
        ({"kappa": np.inf, "loss": "huber"}, ["kappa=inf", "'huber'", "finite kappa"]),
        ({"kappa": np.inf, "groups": GROUPS}, ["kappa=inf", "groups", "finite kappa"]),
        ({"kappa": np.inf, "step_size": 0.1}, ["step_size=0.1", "kappa=inf", "'auto'"]),
        ({"refit": True, "positive": True}, ["refit=True", "positive", "kappa=np.inf"]),
        ({"groups": [1, 2]}, ["groups has shape (2,)", "12 features"]),
        ({"group_weight": "log"}, ["group_weight='log'", "sqrt"]),
        ({"penalty_factor": [1.0]}, ["penalty_factor has shape (1,)", "12 features"]),
        ({"penalty_factor": [-1.0] * 12}, ["penalty_factor contains -1.0", "inf"]),
        ({"t_max": -1.0}, ["t_max=-1.0", "positive"]),
        ({"n_knots": 1}, ["n_knots=1", "at least 2"]),
        ({"max_features": 0}, ["max_features=0", "at least 1"]),
    ],
)
def test_parameters(options, words):
    refused(words, **options)


def test_x_must_be_finite_and_match(data, fitted):
    X, y, _ = data
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity")):
        for layout in (np.asarray, sp.csc_array):
            bad = X.copy()
            bad[3, 2] = value
            refused(["Input X contains " + word], X=layout(bad))
            with pytest.raises(ValueError, match=word):
                fitted.predict(layout(bad))
            refused(["Input y contains " + word], y=np.where(y > 4, value, y))
    refused(["inconsistent numbers of samples"], X=X[:10])
    refused(["Expected 2D array"], X=X[:, 0])
    refused(["minimum of 2 is required"], X=X[:1], y=y[:1])
    refused(["Complex data not supported"], X=X + 1j)
    with pytest.raises(ValueError, match="X has 3 features, but LBI is expecting 12"):
        fitted.predict(X[:, :3])


def test_y_must_be_one_column_of_numbers(data):
    X, y, _ = data
    for labels in (np.where(y > 3, "a", "b"), np.where(y > 3, "a", "b").astype(object)):
        refused(["y must be numeric", "class labels"], y=labels)
    refused(["1d array"], y=np.c_[y, y])
    with pytest.warns(DataConversionWarning):
        model = LBI().fit(X, y[:, None])
    same_result(model, LBI().fit(X, y), rtol=0)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.zeros(60), ["sample_weight is zero everywhere"]),
        (np.full(60, -1.0), ["sample_weight contains -1.0", "at least 0"]),
        (np.full(60, np.nan), ["sample_weight contains nan", "finite"]),
        (np.ones(59), ["sample_weight has shape (59,)", "60 samples"]),
        (np.ones((60, 1)), ["sample_weight has shape (60, 1)", "60 samples"]),
        (np.full(60, 1 / 60), ["sample_weight sums to 1", "rescale them"]),
        (np.full(60, 3 / 60), ["sample_weight sums to 3", "at least 4 samples"]),
    ],
)
def test_weights_must_be_counts(weight, words):
    refused(words, sample_weight=weight)


def test_weights_too_small_for_a_given_point(data):
    X, y, _ = data
    late = LBI(selector=LBI().fit(X, y).path_.knots[-1])
    size = np.count_nonzero(late.fit(X, y).coef_) + 1  # and the intercept
    assert size > 4
    words = [f"sums to {size - 0.5:g}", f"at least {size} samples"]
    weight = np.full(60, (size - 0.5) / 60)
    refused(words, sample_weight=weight, selector=late.selector)
    late.fit(X, y, sample_weight=np.full(60, size / 60))


# ------------------------------------------------------------------- degenerate columns


@pytest.mark.parametrize("kind", KINDS)
def test_constant_columns_get_zero(data, kind):
    X, y, _ = data
    for layout in (np.asarray, sp.csc_array):
        wide = layout(np.column_stack([np.full(60, 7.0), X, np.zeros(60)]))
        model = LBI(**KINDS[kind]).fit(wide, y)
        assert not model.coef_[[0, -1]].any()
        expected = LBI(**KINDS[kind]).fit(X, y)
        # two more features would change EBIC, were they counted as candidates
        assert relative_gap(model.coef_[1:-1], expected.coef_) < 1e-8
        np.testing.assert_allclose(
            model.selection_.scores, expected.selection_.scores, rtol=1e-8
        )


@pytest.mark.parametrize("kind", ["lbi", "huber"])
def test_equal_columns_share(data, kind):
    X, y, _ = data
    model = LBI(**KINDS[kind], penalty_factor=[1] * 13)
    coef = model.fit(np.column_stack([X[:, 0], X]), y).coef_
    assert coef[0] != 0
    np.testing.assert_allclose(coef[0], coef[1], rtol=1e-8)


@pytest.mark.parametrize("options", [{}, {"kappa": np.inf}, {"refit": True}])
def test_constant_y_gives_the_null_model(data, options):
    with pytest.warns(UserWarning, match="constant y"):
        model = LBI(**options).fit(data.X, np.full(60, 2.5))
    assert not model.coef_.any()
    assert model.intercept_ == pytest.approx(2.5)
    np.testing.assert_allclose(model.predict(data.X), 2.5)
    assert model.path_.status == "null"


def test_constant_y_and_huber(data):
    y = np.full(60, 2.5)
    refused(["median absolute deviation", "Huber(threshold=...)"], y=y, loss="huber")
    with pytest.warns(UserWarning, match="constant y"):
        model = LBI(loss=Huber(1.0)).fit(data.X, y)
    assert not model.coef_.any()
    assert model.intercept_ == pytest.approx(2.5)


@pytest.mark.parametrize("options", [{}, {"kappa": np.inf}, {"refit": True}])
def test_nothing_can_enter(data, options):
    X, y, _ = data
    for model, matrix in (
        (LBI(**options), np.ones((60, 3))),
        (LBI(**options, penalty_factor=np.full(12, np.inf)), X),
    ):
        model.fit(matrix, y)
        assert not model.coef_.any()
        assert model.intercept_ == pytest.approx(y.mean())
        assert model.path_.status == "null"


@pytest.mark.parametrize("options", [{}, {"kappa": np.inf}, {"refit": True}])
def test_nothing_is_penalized(data, options):
    X, y, _ = data
    model = LBI(**options, penalty_factor=np.zeros(12)).fit(X, y)
    design = np.column_stack([X, np.ones(60)])
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(model.coef_, expected[:-1], rtol=1e-8)
    assert model.intercept_ == pytest.approx(expected[-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 5])
def test_hardly_any_samples(kind, n):
    X, y, _ = make_data(n=n, p=8)
    options = {**KINDS[kind], **({"loss": Huber(1.0)} if kind == "huber" else {})}
    model = LBI(**options).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert np.count_nonzero(model.coef_) <= n / 2
