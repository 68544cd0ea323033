"""The path object, on paths that are written down by hand."""

import copy
import json
import pickle
import sys
import types
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from sparselbi._path_io import DOCUMENT
from sparselbi.losses import Huber, Logistic, Multinomial, Squared
from sparselbi.path import EVENT_DTYPE, RegularizationPath
from sparselbi.penalties import L1, Group

NAMES = ("age", "sex", "bmi", "bp", "s1", "s2")
EVENTS = [
    (1.0, 1, -1, 1, True),
    (2.4, 2, -1, -1, True),
    (2.5, 4, -1, 1, True),
    (3.5, 4, -1, 1, False),  # a sign flip between the knots 3 and 5
    (4.1, 2, -1, -1, False),
    (4.5, 4, -1, -1, True),
]
# The same three coefficients as polygons, with every corner written out.
POLYGONS = {
    1: ([1, 2, 3, 5, 8], [0, 1, 1.5, 2, 2.2]),
    2: ([2.4, 3, 4.1, 8], [0, -0.6, 0, 0]),
    4: ([2.5, 3, 3.5, 4.5, 5, 8], [0, 0.8, 0, 0, -0.7, -1.4]),
}


def make_path(**changes):
    """One response, a path with entries, a leaving and a sign flip."""
    arguments = {
        "knots": [1.0, 2.0, 3.0, 5.0, 8.0],
        "active_features": [1, 2, 4],
        "active_coefs": [
            [0.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
            [1.5, -0.6, 0.8],
            [2.0, 0.0, -0.7],
            [2.2, 0.0, -1.4],
        ],
        "intercepts": [10.0, 9.0, 8.0, 7.0, 6.0],
        "n_features": 6,
        "events": np.array(EVENTS, EVENT_DTYPE),
        "interpolation": "linear",
        "method": "lbi",
        "loss": Squared(),
        "penalty": L1(),
        "t0": 1.0,
        "kappa": 30.0,
        "n_samples": 20.0,
        "feature_names": NAMES,
        "status": "t_max",
    }
    return RegularizationPath(**{**arguments, **changes})


def make_classes_path(**changes):
    """Three classes, l1 events per entry: (3, 2) active coefficients per knot."""
    arguments = {
        "knots": [0.5, 1.0, 2.0],
        "active_features": [0, 3],
        "active_coefs": np.array(
            [
                [[0, 0], [0, 0], [0, 0]],
                [[1, 0], [-1, 0], [0, 0]],
                [[2, 0.5], [-1, 0], [0, -0.5]],
            ],
            float,
        ),
        "intercepts": np.array([[0, 0, 0], [0.1, 0, -0.1], [0.2, 0, -0.2]]),
        "n_features": 4,
        "events": np.array(
            [
                (0.5, 0, 0, 1, True),
                (0.75, 0, 1, -1, True),
                (1.5, 3, 0, 1, True),
                (1.8, 3, 2, -1, True),
            ],
            EVENT_DTYPE,
        ),
        "interpolation": "linear",
        "method": "lbi",
        "loss": Multinomial(),
        "penalty": L1(),
        "n_samples": 30.0,
        "classes": np.array(["a", "b", "c"]),
        "status": "t_max",
    }
    return RegularizationPath(**{**arguments, **changes})


def make_constant_path(**changes):
    """Like ISS: knots from 0, constant between them."""
    events = np.array(
        [(1, 0, -1, 1, True), (2, 1, -1, -1, True), (4, 0, -1, 1, False)], EVENT_DTYPE
    )
    arguments = {
        "knots": [0.0, 1.0, 2.0, 4.0],
        "active_features": [0, 1],
        "active_coefs": [[0.0, 0.0], [3.0, 0.0], [3.0, -1.0], [0.0, -2.0]],
        "intercepts": [1.0, 2.0, 3.0, 4.0],
        "n_features": 3,
        "events": events,
        "feature_names": None,
        "interpolation": "constant",
        "method": "iss",
        "status": "t_max",
    }
    return make_path(**{**arguments, **changes})


def as_alpha(path):
    """The mirror image over a falling alpha = 10 - t."""
    events = path.events.copy()
    events["t"] = 10 - events["t"]
    return replace(path, knots=10 - path.knots, knot_name="alpha", events=events)


def same(first, second):
    """Whether two paths hold the same bits."""

    def equal(a, b):
        if isinstance(a, np.ndarray):
            return a.dtype == b.dtype and a.tobytes() == b.tobytes()
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
        return type(a) is type(b) and (a == b or a != a)

    return equal(first._fields(), second._fields())


# ------------------------------------------------------------------- interpolation


def test_linear_interpolation_meets_the_written_polygons():
    path = make_path()
    t = np.linspace(0, 8, 2001)
    expected = np.zeros((len(t), 6))
    for feature, (corners, values) in POLYGONS.items():
        expected[:, feature] = np.interp(t, corners, values)
    coefs, intercepts = path.coefs_at(t)
    np.testing.assert_allclose(coefs, expected, atol=1e-14)
    np.testing.assert_allclose(intercepts, np.interp(t, path.knots, path.intercepts))
    for i in range(0, len(t), 97):
        point = path.at(t[i])
        np.testing.assert_array_equal(point.coef, coefs[i])
        assert point.intercept == intercepts[i]
        assert point.knot == t[i]
        np.testing.assert_array_equal(point.support, np.flatnonzero(coefs[i]))
        np.testing.assert_array_equal(path.support(t[i]), point.support)


def test_coefs_at_takes_any_order_and_alpha_mirrors_t():
    path = make_path()
    t = np.random.default_rng(0).uniform(0, 8, 50)
    coefs, intercepts = path.coefs_at(t)
    for i in range(len(t)):
        np.testing.assert_array_equal(coefs[i], path.at(t[i]).coef)
    mirrored, mirrored_intercepts = as_alpha(path).coefs_at(10 - t)
    np.testing.assert_allclose(mirrored, coefs, atol=1e-12)
    np.testing.assert_allclose(mirrored_intercepts, intercepts)


@pytest.mark.parametrize(
    "path",
    [make_path(), as_alpha(make_path()), make_classes_path(), make_constant_path()],
    ids=["t", "alpha", "classes", "constant"],
)
def test_knots_come_back_exactly_and_before_them_is_the_null_model(path):
    for k, knot in enumerate(path.knots):
        point = path.at(knot)
        np.testing.assert_array_equal(point.coef, path.coef(k))
        np.testing.assert_array_equal(point.coef, path.coefs[k])
        np.testing.assert_array_equal(point.intercept, path.intercept(k))
        assert point.coef.shape == path.coef_shape
    for knot in (0.0, 0.3) if path.knot_name == "t" else (9.5, 1e9, np.inf):
        np.testing.assert_array_equal(path.at(knot).coef, path.coef(0))
        np.testing.assert_array_equal(path.at(knot).intercept, path.intercept(0))
        assert len(path.at(knot).support) == 0


def test_null_model_keeps_unpenalized_columns():
    path = make_path(
        active_coefs=[[7.0, 0, 0], [6, 0, 0], [5, -0.6, 0.8], [4, 0, -1], [3, 0, -1]],
        events=np.array(EVENTS[1:], EVENT_DTYPE),
        settings={"penalty_factor": np.array([1.0, 0, 1, 1, 1, 1])},
    )
    np.testing.assert_array_equal(path.at(0.2).coef, [0, 7, 0, 0, 0, 0])
    np.testing.assert_array_equal(path.at(0.2).support, [1])
    assert path.at(1.5).coef[1] == 6.5
    assert path.entry_knots()[1] == path.knots[0]


def test_events_per_output_and_events_of_the_whole_row():
    coefs, _ = make_classes_path().coefs_at([0.6, 0.875, 1.4, 1.75, 1.9])
    # rows: t; columns: (class, feature)
    np.testing.assert_allclose(coefs[:, 0, 0], [0.2, 0.75, 1.4, 1.75, 1.9])
    np.testing.assert_allclose(coefs[:, 1, 0], [0, -0.5, -1, -1, -1])
    np.testing.assert_allclose(coefs[:, 0, 3], [0, 0, 0, 0.25, 0.4])
    np.testing.assert_allclose(coefs[:, 2, 3], [0, 0, 0, 0, -0.25])

    row = make_classes_path(
        penalty=Group(),
        events=np.array([(0.5, 0, -1, 0, 1), (1.5, 3, -1, 0, 1)], EVENT_DTYPE),
    )
    coefs, _ = row.coefs_at([0.75, 1.4, 1.75])
    np.testing.assert_allclose(coefs[0, :, 0], [0.5, -0.5, 0])
    np.testing.assert_allclose(coefs[1:, :, 3], [[0, 0, 0], [0.25, 0, -0.25]])


def test_a_jump_at_a_knot_stays_at_the_knot():
    path = make_path(
        knots=[1.0, 2.0, 3.0],
        active_features=[0],
        active_coefs=[[0.0], [0.5], [0.0]],
        intercepts=[0.0] * 3,
        events=np.array([(2, 0, -1, 1, True), (2, 0, -1, 1, False)], EVENT_DTYPE),
    )
    t = [1.5, np.nextafter(2, 1), 2, np.nextafter(2, 3), 2.5]
    np.testing.assert_array_equal(path.coefs_at(t)[0][:, 0], [0, 0, 0.5, 0, 0])


def test_constant_interpolation_is_right_continuous():
    path = make_constant_path()
    t = np.array([0.0, 0.99, 1, 1.5, np.nextafter(2, 0), 2, 3.9, 4])
    coefs, intercepts = path.coefs_at(t)
    index = [0, 0, 1, 1, 1, 2, 2, 3]
    np.testing.assert_array_equal(coefs, path.coefs[index])
    np.testing.assert_array_equal(intercepts, path.intercepts[index])


def test_intercept_follows_the_coefficients_when_the_means_are_known():
    # Centred fit: intercept = mean(y) - means @ coef, also where coef is not linear.
    means = np.array([1e4, -300.0, 20.0])
    plain = make_path()
    path = make_path(
        active_means=means, intercepts=5.0 - np.asarray(plain.active_coefs) @ means
    )
    t = np.linspace(0.5, 8, 301)
    coefs, intercepts = path.coefs_at(t)
    expected = 5.0 - coefs[:, path.active_features] @ means
    np.testing.assert_allclose(intercepts, expected, rtol=1e-12)


def test_beyond_the_range_raises_and_says_how_to_go_on():
    with pytest.raises(ValueError, match=r"knot=9 lies.*t in \[1, 8\].*t_max"):
        make_path().at(9)
    with pytest.raises(ValueError, match="larger t_max .* and a larger max_features"):
        make_path(status="max_features").coefs_at([2, 9])
    with pytest.raises(ValueError, match=r"alpha in \[2, 9\].*alpha=1"):
        as_alpha(make_path()).predict(np.zeros((2, 6)), 1.0)
    with pytest.raises(ValueError, match="knot=nan must be"):
        make_path().at(np.nan)
    with pytest.raises(ValueError, match="knot=-1.0 must be"):
        make_path().support(-1)
    with pytest.raises(ValueError, match="1-d"):
        make_path().at([1.0, 2.0])
    # rounding in t = 1 / (1 / t) is not "beyond"
    assert make_path().at(8 * (1 + 1e-15)).coef[1] == 2.2


@pytest.mark.parametrize("status", ["least_squares", "stationary", "null", "saturated"])
def test_a_complete_path_goes_on_for_ever(status):
    path = make_constant_path(status=status)
    assert path.is_complete
    np.testing.assert_array_equal(path.at(1e6).coef, path.coef(-1))
    if status == "saturated":  # on a linear path coefficients may still grow
        assert not make_path(status=status).is_complete


@st.composite
def random_paths(draw):
    """One feature; values at the knots and events that fit them."""
    n_knots = draw(st.integers(2, 6))
    gaps = draw(st.lists(st.floats(0.01, 5), min_size=n_knots, max_size=n_knots))
    knots = np.cumsum(gaps)
    signs = draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=n_knots))
    signs = [0, *signs, *([1] * n_knots)][:n_knots]
    values = [s * draw(st.floats(0.1, 3)) for s in signs]
    events = []
    for k in range(n_knots - 1):
        places = sorted(draw(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9))))
        first, second = knots[k] + np.array(places) * (knots[k + 1] - knots[k])
        if signs[k] and signs[k] != signs[k + 1]:
            events.append((first, 0, -1, signs[k], False))
        if signs[k + 1] and signs[k] != signs[k + 1]:
            events.append((second, 0, -1, signs[k + 1], True))
    return make_path(
        knots=knots,
        active_features=[0],
        active_coefs=np.array(values)[:, None],
        intercepts=np.zeros(n_knots),
        events=np.array(events, EVENT_DTYPE),
    )


@given(random_paths())
def test_between_knots_a_coefficient_is_monotone_except_through_zero(path):
    for k in range(len(path) - 1):
        left, right = path.knots[k : k + 2]
        t = np.unique(np.append(np.linspace(left, right, 41), path.events["t"]))
        t = t[(t >= left) & (t <= right)]
        values = path.coefs_at(t)[0][:, 0]
        ends = values[[0, -1]]
        assert values.min() >= min(ends.min(), 0) - 1e-12
        assert values.max() <= max(ends.max(), 0) + 1e-12
        size = np.abs(values)
        if 0 in ends or np.prod(np.sign(ends)) > 0:
            order = np.sign(size[-1] - size[0])
            assert (np.diff(size) * order >= -1e-12).all()
        else:  # a sign flip goes down to zero, and up again
            turn = np.flatnonzero(size == 0)
            assert len(turn)
            assert (np.diff(size[: turn[0] + 1]) <= 1e-12).all()
            assert (np.diff(size[turn[-1] :]) >= -1e-12).all()
    for event in path.events:
        assert path.at(event["t"]).coef[0] == 0


# ------------------------------------------------------------------ entries, support


def test_entry_knots_and_order():
    path = make_path()
    np.testing.assert_array_equal(
        path.entry_knots(), [np.nan, 1.0, 2.4, np.nan, 2.5, np.nan]
    )
    np.testing.assert_array_equal(path.entry_order(), [1, 2, 4])
    np.testing.assert_array_equal(path.entry_order(2), [1, 2])
    mirrored = as_alpha(path)
    np.testing.assert_array_equal(mirrored.entry_knots()[[1, 2, 4]], [9.0, 7.6, 7.5])
    np.testing.assert_array_equal(mirrored.entry_order(), [1, 2, 4])


def test_entry_ties_are_broken_by_the_feature_index():
    events = np.array(
        [(2.4, 4, -1, 1, 1), (2.4, 2, -1, -1, 1), (2.4, 1, -1, 1, 1)], EVENT_DTYPE
    )
    coefs = np.zeros((5, 3))
    coefs[2:] = 1.0
    path = make_path(events=events, active_coefs=coefs)
    np.testing.assert_array_equal(path.entry_order(), [1, 2, 4])


def test_without_events_entries_are_read_off_the_knots():
    path = make_path(events=np.empty(0, EVENT_DTYPE))
    np.testing.assert_array_equal(path.entry_knots()[[1, 2, 4]], [2.0, 3.0, 3.0])
    assert path.at(1.5).coef[1] == 0.5


def test_first_entry_over_outputs():
    np.testing.assert_array_equal(
        make_classes_path().entry_knots(), [0.5, np.nan, np.nan, 1.5]
    )


def test_indices_and_values_are_not_mixed_up():
    path = make_path()
    np.testing.assert_array_equal(path.coef(-1), path.coef(4))
    with pytest.raises(IndexError, match="k=5 .* 5 knots.*use at"):
        path.coef(5)
    with pytest.raises(TypeError):
        path.coef(2.5)


# -------------------------------------------------------------------- predictions


@pytest.fixture
def X():
    X = np.random.default_rng(1).normal(size=(7, 6))
    X[np.abs(X) < 0.5] = 0
    return X


def test_predict_is_the_same_for_every_container(X):
    path = make_path()
    expected = path.coefs @ X.T + path.intercepts[:, None]
    np.testing.assert_allclose(path.predict(X), expected)
    frame = pd.DataFrame(X, columns=NAMES)
    for other in (
        X.tolist(),
        np.asfortranarray(X),
        sp.csr_array(X),
        sp.csc_matrix(X),
        sp.coo_array(X),
        frame,
        pl.from_pandas(frame),
    ):
        np.testing.assert_allclose(path.predict(other), expected, atol=1e-14)
    single = path.predict(X.astype(np.float32))
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-6)


def test_predict_at_values(X):
    path = make_path()
    t = [0.5, 2.7, 3.7]
    expected = [X @ path.at(v).coef + path.at(v).intercept for v in t]
    np.testing.assert_allclose(path.predict(X, t), expected)
    np.testing.assert_allclose(path.predict(X, knot=2.7), expected[1])
    np.testing.assert_allclose(path.linear_predictor(X, 2.7), expected[1])


def test_predict_labels(X):
    path = make_classes_path()
    data = X[:, :4]
    eta = np.einsum("kcp,np->kcn", path.coefs, data) + path.intercepts[:, :, None]
    np.testing.assert_allclose(path.linear_predictor(data), eta)
    labels = path.classes[softmax(eta, axis=1).argmax(axis=1)]
    np.testing.assert_array_equal(path.predict(data), labels)
    np.testing.assert_array_equal(path.predict(data, knot=2.0), labels[-1])

    two = make_classes_path(
        active_coefs=np.asarray(path.active_coefs)[:, :1],
        intercepts=path.intercepts[:, :1] - 0.3,
        events=path.events[path.events["output"] == 0],
        loss=Logistic(),
        classes=np.array([-1, 1]),
    )
    assert two.coef_shape == (1, 4)
    mean = expit(two.coefs[:, 0] @ data.T + two.intercepts)
    np.testing.assert_array_equal(two.predict(data), np.where(mean > 0.5, 1, -1))
    assert two.predict(data, knot=1.3).shape == (len(data),)


def test_predict_several_responses_without_classes(X):
    path = make_classes_path(loss=Squared(), classes=None)
    eta = path.linear_predictor(X[:, :4])
    np.testing.assert_array_equal(path.predict(X[:, :4]), eta.transpose(0, 2, 1))


def test_predict_of_a_path_without_active_features(X):
    path = make_path(
        knots=[1.0],
        active_features=[],
        active_coefs=np.zeros((1, 0)),
        intercepts=[3.0],
        events=[],
        status="stationary",
    )
    for data in (X, sp.csr_array(X), pd.DataFrame(X, columns=NAMES)):
        np.testing.assert_array_equal(path.predict(data), np.full((1, 7), 3.0))
    assert path.at(2.0).coef.shape == (6,)
    assert path.entry_order().size == 0
    assert path.to_frame().shape == (1, 0)
    assert "0 of 6 features" in path.summary()
    path.plot()
    plt.close("all")
    assert path.compare(path).max_difference == 0


def test_predict_reads_only_active_columns_and_checks_them(X):
    path = make_path()
    expected = path.predict(X)
    X[:, [0, 3, 5]] = np.nan
    np.testing.assert_array_equal(path.predict(X), expected)
    X[0, 1] = np.inf
    for data in (X, sp.csc_array(X)):
        with pytest.raises(ValueError, match="NaN or infinity"):
            path.predict(data)
    with pytest.raises(ValueError, match=r"shape \(7, 5\), expected \(n_samples, 6\)"):
        path.predict(X[:, :5])
    with pytest.raises(ValueError, match="expected"):
        path.predict(X[0])
    wrong = pd.DataFrame(X, columns=[*NAMES[:4], "s2", "s1"])
    with pytest.raises(ValueError, match="'s2' in place of 's1'"):
        path.predict(wrong)


# ---------------------------------------------------- refit and verify, with solvers


def test_refit_is_least_squares_on_every_support(X):
    pytest.importorskip("sparselbi.solvers.refit")
    rng = np.random.default_rng(2)
    X = rng.normal(size=(30, 6))
    y, weight = rng.normal(size=30), rng.uniform(0.5, 2, size=30)
    settings = {"fit_intercept": True, "standardize": True}
    path = make_path(settings=settings)
    refit = path.refit(X, y, weight)
    assert refit.method == "lbi+refit"
    assert refit.interpolation == "constant"
    np.testing.assert_array_equal(refit.knots, path.knots)
    root = np.sqrt(weight)
    for k in range(len(path)):
        support = np.flatnonzero(path.coef(k))
        design = np.column_stack([np.ones(30), X[:, support]])
        fit = np.linalg.lstsq(root[:, None] * design, root * y)[0]
        np.testing.assert_allclose(refit.intercept(k), fit[0])
        np.testing.assert_allclose(refit.coef(k)[support], fit[1:])
        assert np.count_nonzero(refit.coef(k)) == len(support) == refit.size[k]
        deviance = np.sum(weight * (y - design @ fit) ** 2)
        np.testing.assert_allclose(refit.deviance[k], deviance)


def test_refit_and_verify_rebuild_the_problem(X, monkeypatch):
    seen = []

    def refit_coefs(problem, features):
        seen.append((problem, features))
        return np.full(len(features), 2.0), 5.0, 3.0

    monkeypatch.setattr("sparselbi.solvers.refit.refit_coefs", refit_coefs)
    module = types.SimpleNamespace(verify_path=lambda path, problem: (path, problem))
    monkeypatch.setitem(sys.modules, "sparselbi.solvers.verify", module)
    settings = {
        "fit_intercept": False,
        "standardize": False,
        "penalty_factor": np.arange(6.0),
        "groups": None,
        "group_weight": "unit",
    }
    path = make_path(settings=settings, loss=Huber(threshold=2.0))
    y, weight = np.arange(7.0), np.linspace(1, 2, 7)
    same_path, problem = path.verify(X, y, weight)
    assert same_path is path
    assert problem.loss == path.loss
    assert not problem.fit_intercept
    np.testing.assert_array_equal(problem.sample_weight, weight)

    refit = path.refit(X, y, weight)
    # one fit per distinct support: {}, {1}, {1, 2, 4}, {1, 4} (twice)
    assert [list(features) for _, features in seen] == [[], [1], [1, 2, 4], [1, 4]]
    np.testing.assert_array_equal(refit.coefs, np.where(path.coefs != 0, 2.0, 0.0))
    np.testing.assert_array_equal(refit.size, [0, 1, 3, 2, 2])
    np.testing.assert_array_equal(refit.deviance, np.full(5, 3.0))
    np.testing.assert_array_equal(refit.at(4.0).coef, refit.coef(2))


# ------------------------------------------------------------------------ comparison


def test_compare_equal_paths_is_zero():
    path = make_path()
    result = path.compare(path)
    assert result.max_difference == 0
    assert result.relative_difference == 0
    assert result.support_agreement == 1
    assert "max_difference=0" in repr(result)


def test_compare_finds_the_difference_where_it_is():
    path = make_path()
    coefs = np.array(path.active_coefs)
    coefs[-1, 0] += 0.25
    result = path.compare(make_path(active_coefs=coefs), n_points=50)
    assert result.t.shape == (50,)
    assert result.max_difference == pytest.approx(0.25)
    assert result.worst_t == 8
    assert result.relative_difference == pytest.approx(0.25 / 2.45)
    assert result.support_agreement == 1


def test_compare_over_the_shared_range_and_different_active_features():
    path = make_path()
    short = make_path(
        knots=[0.5, 2.0, 4.0],
        active_features=[0],
        active_coefs=[[0.0], [1.0], [1.0]],
        intercepts=[0.0] * 3,
        events=np.array([(0.5, 0, -1, 1, 1)], EVENT_DTYPE),
    )
    result = path.compare(short)
    assert (result.t[0], result.t[-1]) == (0.5, 4.0)
    np.testing.assert_allclose(
        result.coef_difference,
        np.abs(path.coefs_at(result.t)[0] - short.coefs_at(result.t)[0]).max(axis=1),
    )
    assert 0 < result.support_agreement < 0.1  # only at t = 0.5


def test_compare_reads_alpha_at_one_over_t():
    coefs = np.array([[0.0], [1.0], [2.0]])
    common = {"active_features": [3], "intercepts": np.zeros(3), "active_coefs": coefs}
    events = np.array([(1, 3, -1, 1, True)], EVENT_DTYPE)
    over_t = make_path(knots=[1.0, 2.0, 4.0], events=events, **common)
    # to the end of the lasso path, alpha = 0
    over_alpha = make_path(
        knots=[1.0, 0.5, 0.0], knot_name="alpha", events=events, **common
    )
    result = over_t.compare(over_alpha)
    expected = over_t.coefs_at(result.t)[0] - over_alpha.coefs_at(1 / result.t)[0]
    np.testing.assert_allclose(result.coef_difference, np.abs(expected).max(axis=1))
    assert (result.t[0], result.t[-1]) == (1, 4)
    assert over_alpha.compare(over_t).max_difference == pytest.approx(
        result.max_difference
    )


def test_compare_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(6,\)"):
        make_path().compare(make_classes_path())
    with pytest.raises(ValueError, match="n_points=0"):
        make_path().compare(make_path(), n_points=0)


# ---------------------------------------------------------------------------- tables


def test_frames():
    path = make_path()
    frame = path.to_frame()
    assert list(frame.columns) == ["sex", "bmi", "s1"]
    assert frame.index.name == "t"
    np.testing.assert_array_equal(frame.loc[3.0], [1.5, -0.6, 0.8])
    dense = path.to_frame(dense=True)
    assert tuple(dense.columns) == NAMES
    np.testing.assert_array_equal(dense, path.coefs)
    tidy = path.to_frame(tidy=True)
    assert list(tidy.columns) == ["t", "feature", "coef"]
    wide = tidy.pivot_table(index="t", columns="feature", values="coef")
    pd.testing.assert_frame_equal(wide[frame.columns], frame)
    assert list(make_path(feature_names=None).to_frame().columns) == ["x1", "x2", "x4"]


def test_frames_with_classes():
    path = make_classes_path()
    frame = path.to_frame()
    assert frame.columns.names == ["class", "feature"]
    np.testing.assert_array_equal(frame["c", "x3"], path.coefs[:, 2, 3])
    assert list(path.to_frame(tidy=True).columns) == ["t", "class", "feature", "coef"]
    events = path.events_frame()
    assert list(events.columns) == ["t", "feature", "index", "class", "sign", "event"]
    assert list(events["class"]) == ["a", "b", "a", "c"]


def test_events_frame():
    events = make_path().events_frame()
    assert list(events.columns) == ["t", "feature", "index", "sign", "event"]
    assert list(events.iloc[3]) == [3.5, "s1", 4, 1, "leaves"]
    assert len(make_path(events=[]).events_frame()) == 0


def test_summary_lists_what_enters_and_leaves():
    path = make_path(deviance=[100.0, 60.0, 40.0, 30.0, 25.0])
    text = path.summary()
    assert repr(text) == str(text)
    title, range_line, blank, head, *rows = text.splitlines()
    assert title == "lbi path: squared loss, l1 penalty, 20 samples"
    assert "3 of 6 features active, 5 knots with t in [1, 8], ended by" in range_line
    assert blank == ""
    assert head.endswith("t  size  explained  entering (+), leaving (-)")
    assert [row.split() for row in rows] == [
        ["1", "0", "0.0%"],
        ["2", "1", "40.0%", "+sex"],
        ["3", "3", "60.0%", "+bmi", "+s1"],
        ["5", "2", "70.0%", "-bmi"],
        ["8", "2", "75.0%"],
    ]
    assert "explained" not in make_path().summary()
    short = path.summary(max_rows=3).splitlines()[4:]
    assert short[2].endswith("(2 more changes)")
    assert short[-1] == rows[-1]
    assert len(short) == 4


def test_summary_marks_points():
    path = make_path(deviance=[100.0, 60.0, 40.0, 30.0, 25.0])
    mark = {"EBIC": 3.0, "BIC": 3.9, "AIC": 8.0, "null": 0.5}
    *_, head, null, second, third, fourth, last = path.summary(mark=mark).splitlines()
    assert head.endswith("explained  chosen by  entering (+), leaving (-)")
    assert null.split() == ["1", "0", "0.0%", "null"]
    assert third.split() == ["3", "3", "60.0%", "EBIC,", "BIC", "+bmi", "+s1"]
    assert last.split() == ["8", "2", "75.0%", "AIC"]
    # A marked knot is shown even if nothing changes there, and however short the table.
    steady = make_path(
        active_coefs=np.outer([0, 1, 2, 3, 4], [1.0, 0, 0]), events=EVENTS[:1]
    )
    lines = steady.summary(max_rows=2, mark={"here": 3.0}).splitlines()[3:]
    assert [line.split() for line in lines[1:]] == [
        ["1", "0"],
        ["...", "...", "...", "(1", "more", "changes)"],
        ["3", "1", "here"],
        ["8", "1"],
    ]
    with pytest.raises(ValueError, match="beyond the traced range"):
        path.summary(mark={"EBIC": 9.0})


def test_summary_shortens_long_lists():
    p = 40
    path = make_path(
        knots=[1.0, 2.0],
        active_features=np.arange(p),
        active_coefs=np.array([np.zeros(p), np.ones(p)]),
        intercepts=np.zeros(2),
        n_features=p,
        feature_names=None,
        events=[],
    )
    text = path.summary()
    assert "+x0  +x1" in text
    assert "more)" in text
    assert max(map(len, text.splitlines())) <= 88


def test_reprs():
    path = make_path()
    assert repr(path) == (
        "RegularizationPath(method='lbi', loss='squared', penalty='l1', 5 knots with "
        "t in [1, 8], 3 of 6 features active, status='t_max')"
    )
    assert len(path) == 5
    assert "support=[1, 2, 4]" in repr(path.at(3))
    escaped = make_path(feature_names=("<b>",) * 6)._repr_html_()
    assert "<b>" not in escaped
    assert "&lt;b&gt;" in escaped


# ----------------------------------------------------------------------------- plot


def test_plot_draws_the_path_and_returns_the_axes():
    # What is drawn is tested in tests/plotting.
    path = make_path()
    ax = path.plot(x="t", top=2)
    lines = {line.get_label(): line for line in ax.get_lines()}
    t, coef = lines["bmi"].get_data()
    drawn = np.isfinite(coef)  # the rest would lie on the zero line
    assert (t[drawn][0], t[drawn][-1]) == (2.4, 4.1)
    expected = np.interp(t[drawn], *POLYGONS[2])
    np.testing.assert_allclose(coef[drawn], expected, atol=1e-14)
    assert len(ax.texts) == 2
    _, given = plt.subplots()
    assert path.plot(given) is given
    assert make_classes_path().plot().shape == (3,)


def test_plot_of_a_constant_path_has_two_corners_for_every_jump():
    lines = make_constant_path().plot(x="t").get_lines()
    (line,) = (line for line in lines if line.get_label() == "x0")
    t, coef = line.get_data()
    np.testing.assert_array_equal(t, [0, 1, 1, 2, 2, 4, 4])
    np.testing.assert_array_equal(coef, [np.nan, 0, 3, 3, 3, 3, 0])
    complete = make_constant_path(status="least_squares").plot(x="t")
    assert complete.get_xlim() == (0, 4.6)


# ---------------------------------------------------------------------- save and load


def full_path():
    return make_path(
        loss=Huber(threshold=0.1 + 0.2),
        penalty=L1(positive=True),
        kappa_raw=1 / 3,
        step_size=np.float64(1e-300),
        settings={
            "fit_intercept": True,
            "standardize": False,
            "penalty_factor": np.array([1, 0, np.inf, 1, 1, 1.0]),
            "groups": np.array(["g", "h", "g", "h", "i", "i"], dtype=object),
            "group_weight": "unit",
        },
        info={
            "n_anchors": np.int64(3),
            "nan": float("nan"),
            "text": "héllo",
            "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
            "nested": {"a": [1, 2.5], "b": (True, None)},
        },
        active_means=[1e-3, 2.0, 3.0],
        deviance=np.linspace(9, 1, 5) / 7,
        refit_deviance=[1.0, 0.5, 0.25, np.nan, np.nan],
        size=[0, 1, 3, 2, 2],
        message="t_max reached",
        n_iter=12,
    )


@pytest.mark.parametrize(
    "path",
    [
        full_path(),
        make_classes_path(),
        make_classes_path(classes=np.array([0, 5, 7])),
        make_classes_path(classes=np.array(["x", "yy", "z"], dtype=object)),
        as_alpha(make_path()),
        make_constant_path(penalty=Group()),
    ],
    ids=["full", "str", "int", "object", "alpha", "constant"],
)
def test_save_and_load_give_the_same_bits(path, tmp_path):
    file = tmp_path / "path.npz"
    path.save(file)
    assert [f.name for f in tmp_path.iterdir()] == ["path.npz"]
    loaded = RegularizationPath.load(str(file))
    plain = {name: getattr(loaded, name) for name in ("step_size", "info")}
    assert plain["step_size"] == path.step_size
    assert plain["info"].keys() == path.info.keys()
    # NumPy scalars come back as Python numbers, everything else is identical.
    info = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in path.info.items()
    }
    same_types = replace(path, step_size=plain["step_size"], info=info)
    if any(v is not None and np.asarray(v).dtype == object for v in [path.classes]):
        assert loaded.classes.tolist() == path.classes.tolist()
        assert loaded.classes.dtype == object
        loaded = replace(loaded, classes=path.classes)
    if path.settings.get("groups") is not None:
        groups = path.settings["groups"]
        assert loaded.settings["groups"].tolist() == groups.tolist()
        loaded = replace(loaded, settings={**loaded.settings, "groups": groups})
    assert same(loaded, same_types)
    assert type(loaded.loss) is type(path.loss)


def test_a_failing_save_leaves_the_old_file(tmp_path):
    file = tmp_path / "path.npz"
    make_path().save(file)
    for bad in (np.array([{}], dtype=object), len, {1: 2}):
        with pytest.raises(ValueError, match=r"path.info.* cannot be saved"):
            make_path(info={"bad": bad}).save(file)
    assert len(list(tmp_path.iterdir())) == 1
    assert same(RegularizationPath.load(file), make_path())
    with pytest.raises(FileNotFoundError):
        RegularizationPath.load(tmp_path / "nothing.npz")


def test_load_says_what_is_wrong(tmp_path):
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    make_path().save(good)
    content = good.read_bytes()

    for data in (b"", b"not a path", content[: len(content) // 2], pickle.dumps([1])):
        bad.write_bytes(data)
        with pytest.raises(ValueError, match="expected a file written by"):
            RegularizationPath.load(bad)

    np.savez(bad, weights=np.ones(3), bias=np.zeros(1))
    with pytest.raises(ValueError, match="holds bias, weights, but no path"):
        RegularizationPath.load(bad)
    np.save(tmp_path / "bad.npy", np.ones(3))
    with pytest.raises(ValueError, match="one bare array"):
        RegularizationPath.load(tmp_path / "bad.npy")


def rewritten(tmp_path, **changes):
    """A saved path with parts of the document or members replaced."""
    file = tmp_path / "edited.npz"
    make_path().save(file)
    with np.load(file) as content:
        members = {name: content[name] for name in content.files}
    document = json.loads(members.pop(DOCUMENT).tobytes())
    members.update(changes.pop("members", {}))
    document["fields"].update(changes.pop("fields", {}))
    document.update(changes)
    text = json.dumps(document).encode()
    np.savez(file, **members, **{DOCUMENT: np.frombuffer(text, np.uint8)})
    return file


def test_load_refuses_pickles_newer_versions_and_inconsistent_content(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    trap = np.array([Trap()], dtype=object)
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        RegularizationPath.load(rewritten(tmp_path, members={"knots": trap}))
    with pytest.raises(ValueError, match="version is 99.*upgrade sparselbi"):
        RegularizationPath.load(rewritten(tmp_path, version=99))
    with pytest.raises(ValueError, match="its format is 'other'"):
        RegularizationPath.load(rewritten(tmp_path, format="other"))
    loss = {"loss": {"loss": "cubic", "fields": {}}}
    with pytest.raises(ValueError, match="unknown loss 'cubic'.*'huber'"):
        RegularizationPath.load(rewritten(tmp_path, fields=loss))
    with pytest.raises(ValueError, match="not a valid path.*intercepts has shape"):
        RegularizationPath.load(rewritten(tmp_path, members={"intercepts": np.ones(2)}))
    with pytest.raises(ValueError, match="not a valid path"):
        RegularizationPath.load(rewritten(tmp_path, fields={"surprise": 1}))


def test_damaged_bytes_never_raise_anything_but_value_error(tmp_path):
    file = tmp_path / "path.npz"
    full_path().save(file)
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            damaged[place] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        try:
            RegularizationPath.load(file)
        except ValueError as error:
            assert str(file) in str(error)  # noqa: PT017


# ------------------------------------------------------------------------ the object


def test_paths_are_frozen_and_arrays_read_only():
    factor = np.ones(6)
    path = make_path(settings={"penalty_factor": factor})
    with pytest.raises(AttributeError):
        path.method = "other"
    for array in (path.knots, path.active_coefs, path.events, path.coefs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    factor[0] = 5.0  # the caller's array stays writable, and is not shared
    assert path.settings["penalty_factor"][0] == 1.0
    assert path != make_path()
    assert path == path
    assert hash(path)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, "pickle"])
def test_copies_and_pickles(duplicate):
    path = full_path()
    assert path.coefs.shape == (5, 6)
    if duplicate == "pickle":
        text = pickle.dumps(path)
        other = pickle.loads(text)
        assert len(text) == len(pickle.dumps(full_path()))  # no dense coefficients
    else:
        other = duplicate(path)
    groups = path.settings["groups"]
    other = replace(other, settings={**other.settings, "groups": groups})
    assert same(other, path)
    assert not other.active_coefs.flags.writeable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"knots": [1.0, 2, 2, 5, 8]}, "strictly increasing"),
        ({"knots": [1.0, 2, 3, 5, 8], "knot_name": "alpha"}, "strictly decreasing"),
        ({"knots": [1.0, 2, 3, 5, np.inf]}, "must be finite"),
        ({"knots": [-1.0, 2, 3, 5, 8]}, ">= 0"),
        ({"knot_name": "lambda"}, "knot_name='lambda' is unknown.*'alpha'"),
        ({"interpolation": "cubic"}, "interpolation='cubic' is unknown"),
        ({"knots": [1.0, 2, 3, 5]}, r"active_coefs has shape \(5, 3\), expected \(4"),
        ({"active_features": [1, 2]}, r"expected \(5, 2\)"),
        ({"active_features": [2, 1, 4]}, "strictly ascending"),
        ({"active_features": [1, 2, 6]}, r"must lie in \[0, n_features\)"),
        ({"active_coefs": np.zeros(5)}, "1 axes, expected 2 or 3"),
        ({"active_coefs": np.full((5, 3), np.nan)}, "active_coefs contains NaN"),
        ({"intercepts": np.zeros((5, 1))}, r"intercepts has shape \(5, 1\)"),
        ({"deviance": np.zeros(4)}, "deviance has shape"),
        ({"active_means": np.zeros(6)}, "active_means has shape"),
        ({"duals": np.zeros((4, 6))}, "duals has 4 rows for 5 knots"),
        ({"feature_names": ("a",)}, "feature_names has 1 entries"),
        ({"classes": np.array([0, 1])}, "classes has 2 labels.*no classes"),
        ({"events": np.array(EVENTS[::-1], EVENT_DTYPE)}, "sorted by t"),
        ({"events": np.array([(9, 1, -1, 1, 1)], EVENT_DTYPE)}, "outside the knots"),
        ({"events": np.array([(2, 3, -1, 1, 1)], EVENT_DTYPE)}, r"outside active.*\[3"),
        ({"events": np.array([(2, 1, 1, 1, 1)], EVENT_DTYPE)}, "events.output"),
        ({"events": np.array([(2, 1, -1, 1, 0)], EVENT_DTYPE)}, "not alternate"),
        ({"events": np.array(EVENTS[:3] + EVENTS[5:], EVENT_DTYPE)}, "not alternate"),
        ({"events": np.zeros(1, [("t", "f8")])}, "events has fields"),
    ],
)
def test_pieces_that_do_not_fit_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        make_path(**changes)
