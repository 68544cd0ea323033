"""Losses against their formulas, finite differences and their stated bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselbi import losses
from sparselbi.losses import Huber, Logistic, Multinomial, Squared, get_loss
from sparselbi.losses.base import evaluate_score, evaluate_value
from tests import twins
from tests.common import HUBER_THRESHOLD, LOSSES, make_loss, make_targets


def case(name, n=30, seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    labels = make_targets(name, rng.normal(size=n), rng)
    loss = make_loss(name)
    y, classes = loss.encode(labels)
    eta = spread * rng.normal(size=y.shape)
    return loss, labels, y, eta, classes


def values(loss, y, eta):
    out = np.empty(y.shape[1])
    evaluate_value(loss, y, eta, out)
    return out


def scores(loss, y, eta):
    out = np.empty(y.shape)
    evaluate_score(loss, y, eta, out)
    return out


def test_table_lists_every_loss():
    assert set(losses.LOSSES) == set(LOSSES)
    for name in LOSSES:
        assert type(get_loss(name)).name == name


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_score_equal_the_formulas(name):
    loss, labels, y, eta, _ = case(name)
    Y = twins.encode(name, labels)
    expected = twins.loss_value(name, Y, eta.T, HUBER_THRESHOLD)
    np.testing.assert_allclose(values(loss, y, eta), expected, rtol=1e-13, atol=1e-14)
    expected = twins.score(name, Y, eta.T, HUBER_THRESHOLD).T
    np.testing.assert_allclose(scores(loss, y, eta), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_compiled_and_plain_formulas_agree(name):
    loss, _, y, eta, _ = case(name)
    out, plain = np.empty(y.shape[1]), np.empty(y.shape)
    loss.value(y, eta, out)
    loss.score(y, eta, plain)
    np.testing.assert_allclose(values(loss, y, eta), out, rtol=1e-14)
    np.testing.assert_allclose(scores(loss, y, eta), plain, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("name", LOSSES)
def test_score_is_minus_the_derivative(name):
    loss, _, y, eta, _ = case(name, seed=1)
    h = 1e-6
    for k in range(len(eta)):
        step = np.zeros_like(eta)
        step[k] = h
        slope = (values(loss, y, eta + step) - values(loss, y, eta - step)) / (2 * h)
        np.testing.assert_allclose(scores(loss, y, eta)[k], -slope, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_hessian_is_the_derivative_of_minus_the_score(name):
    loss, _, y, eta, _ = case(name, seed=2)
    if name == "huber":  # keep away from the kinks
        inside = np.abs(np.abs(y - eta) - HUBER_THRESHOLD) > 1e-3
        y, eta = y[:, inside[0]], eta[:, inside[0]]
    h = 1e-6
    hessian = loss.hessian(y, eta)
    assert hessian.shape == (len(y), len(y), y.shape[1])
    for k in range(len(eta)):
        step = np.zeros_like(eta)
        step[k] = h
        change = scores(loss, y, eta + step) - scores(loss, y, eta - step)
        np.testing.assert_allclose(hessian[:, k], -change / (2 * h), atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_curvature_is_a_bound(name):
    loss, _, y, eta, _ = case(name, n=400, seed=3)
    tops = np.linalg.eigvalsh(np.moveaxis(loss.hessian(y, eta), -1, 0))[:, -1]
    assert tops.max() <= loss.curvature * (1 + 1e-12)
    # also between far points, where no single Hessian tells
    other = eta + 3 * np.random.default_rng(4).normal(size=eta.shape)
    change = np.linalg.norm(scores(loss, y, eta) - scores(loss, y, other), axis=0)
    assert np.all(
        change <= loss.curvature * np.linalg.norm(eta - other, axis=0) + 1e-14
    )


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_curvature_is_attained(name):
    loss, _, y, eta, _ = case(name)
    eta[:] = 0
    if name == "multinomial":
        eta[2:] = -50.0  # two classes with probability one half each
    tops = np.linalg.eigvalsh(np.moveaxis(loss.hessian(y, eta), -1, 0))[:, -1]
    np.testing.assert_allclose(tops, loss.curvature, rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_predictors_stay_finite(name, size):
    loss, _, y, eta, _ = case(name)
    for sign in (-1, 1):
        far = sign * size * np.sign(eta)
        assert np.isfinite(values(loss, y, far)).all()
        assert np.isfinite(scores(loss, y, far)).all()
        assert (values(loss, y, far) >= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_softmax_ignores_a_common_shift(seed, shift):
    loss, _, y, eta, _ = case("multinomial", n=6, seed=seed)
    np.testing.assert_allclose(
        values(loss, y, eta + shift), values(loss, y, eta), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(scores(loss, y, eta).sum(axis=0), 0, atol=1e-14)


def test_two_class_softmax_is_logistic():
    labels = np.array([0, 1, 1, 0, 1])
    eta = np.linspace(-3, 3, 5)[None, :]
    two = np.vstack([np.zeros_like(eta), eta])
    y1, _ = Logistic().encode(labels)
    y2, _ = Multinomial().encode(labels)
    np.testing.assert_allclose(
        values(Logistic(), y1, eta), values(Multinomial(), y2, two), rtol=1e-13
    )


def test_huber_limits():
    y = np.array([[1.0, -2.0, 5.0]])
    eta = np.array([[0.5, 1.0, -4.0]])
    np.testing.assert_allclose(
        values(Huber(1e9), y, eta), values(Squared(), y, eta), rtol=1e-15
    )
    small = 1e-9
    np.testing.assert_allclose(
        values(Huber(small), y, eta) / small, np.abs(y - eta)[0], rtol=1e-8
    )


def test_huber_default_threshold():
    rng = np.random.default_rng(0)
    y, w = rng.normal(size=51) * 3 + 2, np.ones(51)
    mad = np.median(np.abs(y - np.median(y)))
    loss = Huber().resolve(y[None], w)
    assert loss.threshold == pytest.approx(1.345 * 1.4826 * mad, rel=1e-12)
    counts = rng.integers(0, 4, size=51)
    repeated = np.repeat(y, counts)
    assert Huber().resolve(y[None], counts.astype(float)).threshold == pytest.approx(
        Huber().resolve(repeated[None], np.ones(len(repeated))).threshold, rel=1e-12
    )


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_huber_threshold_must_be_positive(bad):
    with pytest.raises(ValueError, match="threshold"):
        Huber(bad).resolve(np.arange(5.0)[None], np.ones(5))


def test_huber_without_spread_asks_for_a_threshold():
    y = np.array([1.0, 1, 1, 1, 2])
    with pytest.raises(ValueError, match="threshold"):
        Huber().resolve(y[None], np.ones(5))


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_labels_are_sorted_and_kept(name):
    labels = np.array(["b", "a", "b", "a"])
    y, classes = get_loss(name).encode(labels)
    assert classes.tolist() == ["a", "b"]
    assert y[-1].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("name", ["logistic", "multinomial"])
def test_one_class_is_refused(name):
    with pytest.raises(ValueError, match="class"):
        get_loss(name).encode(np.array([1, 1, 1]))


def test_logistic_refuses_three_classes():
    with pytest.raises(ValueError, match="multinomial"):
        Logistic().encode(np.array([0, 1, 2]))


@pytest.mark.parametrize("name", LOSSES)
def test_inverse_link_is_a_mean(name):
    loss, _, y, eta, _ = case(name)
    mean = loss.inverse_link(eta)
    if name == "multinomial":
        np.testing.assert_allclose(mean.sum(axis=0), 1, rtol=1e-13)
    if name in ("logistic", "multinomial"):
        np.testing.assert_allclose(y - mean, scores(loss, y, eta), atol=1e-14)
    else:
        np.testing.assert_array_equal(mean, eta)


def test_losses_are_values():
    assert Squared() == Squared()
    assert Squared() != Logistic()
    assert Logistic() != Multinomial()
    assert Huber(1.0) != Huber(2.0)
    assert Huber(1.0) != (1.0,)
    assert len({Squared(), Squared(), Logistic(), Huber(1.0), Huber(1.0)}) == 3
    with pytest.raises(AttributeError):
        Huber(1.0).threshold = 2.0


@pytest.mark.parametrize("bad", ["sqared", 3, None, Squared])
def test_unknown_loss_lists_what_is_allowed(bad):
    with pytest.raises(ValueError, match="logistic.*squared"):
        get_loss(bad)
