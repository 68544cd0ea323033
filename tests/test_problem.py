"""Problem: the standardized view of X and y, the null model, and bad input."""

import numpy as np
import pytest
import scipy.sparse as sp

from sparselbi.penalties import L1
from sparselbi.problem import Problem
from tests import twins
from tests.common import (
    HUBER_THRESHOLD,
    LAYOUTS,
    LOSSES,
    make_data,
    make_loss,
)

SCALINGS = [(a, b) for a in (True, False) for b in (True, False)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("fit_intercept", "standardize"), SCALINGS)
@pytest.mark.parametrize("weighted", [True, False])
def test_standardized_products(layout, fit_intercept, standardize, weighted):
    data = make_data(density=0.6)
    weights = data.weights if weighted else None
    problem = Problem(
        LAYOUTS[layout](data.X),
        data.y,
        sample_weight=weights,
        fit_intercept=fit_intercept,
        standardize=standardize,
    )
    frame = twins.scaled(data.X, weights, fit_intercept, standardize)
    rng = np.random.default_rng(0)
    v, u = rng.normal(size=(2, 40)), rng.normal(size=12)
    np.testing.assert_allclose(problem.correlate(v), v @ frame.X, atol=1e-12)
    np.testing.assert_allclose(problem.apply(u), frame.X @ u, atol=1e-12)
    some = np.array([7, 2, 11])
    np.testing.assert_allclose(
        problem.columns(some, weighted=False), frame.X[:, some], atol=1e-13
    )
    expected = np.sqrt(frame.weights)[:, None] * frame.X[:, some]
    np.testing.assert_allclose(problem.columns(some), expected, atol=1e-13)
    norms = np.sqrt(frame.weights @ frame.X**2)
    np.testing.assert_allclose(problem.norms[:12], norms, rtol=1e-12)
    assert problem.s_X == pytest.approx(np.sqrt(np.mean(norms**2)), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("free", [(), (1, 5)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_null_model_is_stationary(loss, free, fit_intercept):
    data = make_data(loss, n=80)
    factor = np.ones(12)
    factor[list(free)] = 0
    problem = Problem(
        data.X,
        data.y,
        make_loss(loss),
        sample_weight=data.weights,
        penalty_factor=factor,
        fit_intercept=fit_intercept,
    )
    frame = twins.scaled(data.X, data.weights, fit_intercept)
    A = np.hstack([frame.X[:, list(free)], np.ones((80, int(fit_intercept)))])
    Y = twins.encode(loss, data.y)
    s = frame.weights[:, None] * twins.score(
        loss, Y, problem.null_eta.T, HUBER_THRESHOLD
    )
    assert np.max(np.abs(s.T @ A), initial=0) < 1e-13
    np.testing.assert_allclose(problem.null_score, s.T, atol=1e-15)
    expected = twins.fit_unpenalized(loss, Y, A, frame.weights, HUBER_THRESHOLD)
    np.testing.assert_allclose(problem.null_eta, expected @ A.T, atol=1e-10)
    value = frame.weights @ twins.loss_value(
        loss, Y, problem.null_eta.T, HUBER_THRESHOLD
    )
    assert problem.null_loss == pytest.approx(value, rel=1e-13)


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("shift", [50.0, 1e6])
@pytest.mark.parametrize("free", [(), (1, 5)])
def test_null_model_far_from_zero(loss, shift, free):
    """The null model moves with y, also when no sample starts inside the threshold."""
    data = make_data(loss)
    factor = np.ones(12)
    factor[list(free)] = 0
    one = Problem(data.X, data.y, make_loss(loss), penalty_factor=factor)
    two = Problem(data.X, data.y + shift, make_loss(loss), penalty_factor=factor)
    np.testing.assert_allclose(
        two.null_intercept - shift, one.null_intercept, rtol=1e-8
    )
    np.testing.assert_allclose(two.null_score, one.null_score, atol=1e-14 * shift)


def test_rescued_from_bad_numerics():
    """A column with a mean 1e6 times its spread is centred without losing digits."""
    data = make_data(n=50)
    X = data.X.copy()
    X[:, 3] += 1e6 * X[:, 3].std()
    for make in (np.ascontiguousarray, np.asfortranarray, sp.csc_array):
        problem = Problem(make(X), data.y)
        column = problem.columns(np.array([3]), weighted=False)[:, 0]
        centred = X[:, 3] - X[:, 3].mean()
        np.testing.assert_allclose(column, centred / centred.std(), atol=1e-8)
        assert abs(np.mean(column**2) - 1) < 1e-9


@pytest.mark.parametrize("layout", LAYOUTS)
def test_constant_columns_are_recognized(layout):
    data = make_data()
    X = data.X.copy()
    X[:, 0] = 0.0
    X[:, 4] = np.float32(0.1)
    X[:, 7] = np.float32(-1e7)
    problem = Problem(LAYOUTS[layout](X), data.y, sample_weight=data.weights)
    assert np.flatnonzero(~problem.usable).tolist() == [0, 4, 7]


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_is_repetition(loss):
    data = make_data(loss)
    counts = np.random.default_rng(1).integers(0, 4, size=len(data.y))
    one = Problem(data.X, data.y, loss, sample_weight=counts)
    two = Problem(np.repeat(data.X, counts, axis=0), np.repeat(data.y, counts), loss)
    assert one.total_weight == two.total_weight
    assert one.s_y == pytest.approx(two.s_y, rel=1e-12)
    assert one.s_X == pytest.approx(two.s_X, rel=1e-12)
    assert one.null_loss == pytest.approx(two.null_loss, rel=1e-12)
    np.testing.assert_allclose(one.x_scale, two.x_scale, rtol=1e-12)
    np.testing.assert_allclose(
        one.correlate(one.null_score), two.correlate(two.null_score), atol=1e-12
    )


def test_with_response_equals_a_new_problem():
    data = make_data()
    y = make_data(seed=5).y
    factor = np.r_[0, np.ones(11)]
    other = Problem(data.X, data.y, penalty_factor=factor).with_response(y)
    fresh = Problem(data.X, y, penalty_factor=factor)
    np.testing.assert_array_equal(other.null_score, fresh.null_score)
    assert other.s_y == fresh.s_y


def test_input_is_not_changed():
    data = make_data()
    for make in LAYOUTS.values():
        X = make(data.X)
        before = X.copy()
        Problem(X, data.y, sample_weight=data.weights)
        assert abs(X - before).sum() == 0


def test_classes_are_kept():
    data = make_data("multinomial")
    assert Problem(data.X, data.y, "multinomial").classes.tolist() == [0, 10, 20]
    data = make_data("logistic")
    assert Problem(data.X, data.y, "logistic").classes.tolist() == ["no", "yes"]
    assert Problem(make_data().X, make_data().y).classes is None


# ----------------------------------------------------------------------- bad input


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_non_finite_x(layout, value, weight):
    data = make_data()
    X = data.X.copy()
    X[3, 5] = value
    weights = np.ones(40)
    weights[3] = weight
    with pytest.raises(ValueError, match="X contains NaN or infinity.*5"):
        Problem(LAYOUTS[layout](X), data.y, sample_weight=weights)


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_y(loss, value):
    data = make_data()
    y = data.y.copy()
    y[3] = value
    with pytest.raises(ValueError, match="y contains NaN or infinity"):
        Problem(data.X, y, loss)


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_nan_labels(loss):
    data = make_data()
    y = (data.y > data.y.mean()).astype(float)
    y[3] = np.nan
    with pytest.raises(ValueError, match="y contains NaN"):
        Problem(data.X, y, loss)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(40), "sample_weight"),
        (np.r_[-1, np.ones(39)], "sample_weight.*-1"),
        (np.r_[np.nan, np.ones(39)], "sample_weight.*nan"),
        (np.r_[np.inf, np.ones(39)], "sample_weight.*inf"),
        (np.ones(39), "sample_weight.*39"),
        (np.ones((40, 1)), "sample_weight.*40, 1"),
    ],
)
def test_bad_weights(weights, message):
    data = make_data()
    with pytest.raises(ValueError, match=message):
        Problem(data.X, data.y, sample_weight=weights)


@pytest.mark.parametrize(
    "factor", [np.ones(11), -np.ones(12), np.full(12, np.nan), np.ones((12, 1))]
)
def test_bad_penalty_factor(factor):
    data = make_data()
    with pytest.raises(ValueError, match="penalty_factor"):
        Problem(data.X, data.y, penalty_factor=factor)


def test_bad_shapes():
    data = make_data()
    for X in (data.X[0], data.X[None], data.X[:0], data.X[:, :0]):
        with pytest.raises(ValueError, match="X has shape"):
            Problem(X, data.y)
    for y in (data.y[:-1], data.y[None], np.float64(3)):
        with pytest.raises(ValueError, match="y"):
            Problem(data.X, y)
    with pytest.raises(ValueError, match="one-dimensional"):
        Problem(data.X, data.y[:, None])


def test_text_is_not_a_number():
    data = make_data()
    with pytest.raises(ValueError, match="X has dtype"):
        Problem(data.X.astype(str).astype(object) + "a", data.y)
    with pytest.raises(ValueError, match="y must be numeric"):
        Problem(data.X, np.array(["a", "b"] * 20))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "quadratic"}, "loss='quadratic'.*squared"),
        ({"penalty": "lasso"}, "penalty='lasso'.*l1"),
        ({"group_weight": "size"}, "group_weight='size'.*sqrt"),
        ({"groups": np.zeros(12)}, "groups.*group"),
        ({"penalty": "group", "groups": np.zeros(11)}, "groups has shape"),
        (
            {
                "penalty": "group",
                "groups": np.repeat([0, 1], 6),
                "penalty_factor": np.r_[2, np.ones(11)],
            },
            "constant within a group",
        ),
    ],
)
def test_unknown_names_and_contradictions(settings, message):
    data = make_data()
    with pytest.raises(ValueError, match=message):
        Problem(data.X, data.y, **settings)


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_free_columns_that_separate_the_classes(loss):
    data = make_data()
    y = data.X[:, 2] > 0
    with pytest.raises(ValueError, match="penalty_factor=0"):
        Problem(data.X, y, loss, penalty_factor=np.r_[1, 1, 0, np.ones(9)])


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_class_without_weight(loss):
    """All the weight on one class is one class: repetition zero times."""
    data = make_data(loss)
    weights = (data.y == data.y[0]).astype(float)
    with pytest.raises(ValueError, match="class"):
        Problem(data.X, data.y, loss, sample_weight=weights)


def test_penalty_instance_is_taken_as_it_is():
    data = make_data()
    assert Problem(data.X, data.y, penalty=L1(positive=True)).penalty.positive


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cache", [0, 1 << 25])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (6, 2050), (4099, 3)])
def test_products_of_any_layout(order, dtype, cache, shape, monkeypatch):
    """One, two and three rows take different ways through X."""
    from sparselbi import problem

    monkeypatch.setattr(problem, "_CACHE", cache)
    rng = np.random.default_rng(0)
    X = np.asarray(rng.normal(size=shape), dtype=dtype, order=order)
    for k in (1, 2, 3):
        v = rng.normal(size=(k, shape[0]))
        out = np.full((k, shape[1]), np.nan)
        problem._left_multiply(v, X, out)
        np.testing.assert_allclose(out, v @ X.astype(np.float64), atol=1e-11)
