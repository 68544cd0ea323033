"""Simulated designs: the truth, the population variance, reproducibility."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sparselbi.datasets import make_sparse_classification, make_sparse_regression

DESIGNS = ["identity", "ar1", "equicorrelated", "groups"]


def population_covariance(design, p, correlation, group_size):
    """Sigma written out, entry by entry from its definition."""
    j = np.arange(p)
    distance = np.abs(j[:, None] - j)
    if design == "identity":
        return np.eye(p)
    if design == "ar1":
        return correlation ** distance.astype(float)
    same = np.ones((p, p), bool)
    if design == "groups":
        same = j[:, None] // group_size == j // group_size
    return np.where(distance == 0, 1.0, correlation * same)


@pytest.mark.parametrize("design", DESIGNS)
def test_rows_have_the_stated_covariance(design):
    data = make_sparse_regression(
        40_000, 12, 4, design=design, correlation=0.6, group_size=4, random_state=0
    )
    expected = population_covariance(design, 12, 0.6, 4)
    # standard errors of a sample covariance are at most sqrt(2 / n) = 0.007
    assert_allclose(np.cov(data.X.T), expected, atol=0.03)
    assert_allclose(data.X.mean(axis=0), 0, atol=0.025)


@pytest.mark.parametrize("design", DESIGNS)
def test_noise_follows_the_population_variance(design):
    rng = np.random.default_rng(1)
    coef = rng.standard_normal(30) * (rng.uniform(size=30) < 0.4)
    data = make_sparse_regression(
        5, 30, design=design, correlation=0.7, snr=4.0, coef=coef, random_state=0
    )
    sigma = population_covariance(design, 30, 0.7, 5)
    assert_allclose(data.noise_std**2, coef @ sigma @ coef / 4.0, rtol=1e-12)


def test_negative_ar1_correlation():
    coef = np.array([1.0, 0, 0, -2.0, 3.0])
    data = make_sparse_regression(
        40_000, 5, design="ar1", correlation=-0.5, coef=coef, snr=1.0, random_state=0
    )
    sigma = population_covariance("ar1", 5, -0.5, None)
    assert_allclose(np.cov(data.X.T), sigma, atol=0.03)
    assert_allclose(data.noise_std**2, coef @ sigma @ coef, rtol=1e-12)


@pytest.mark.parametrize("design", DESIGNS)
def test_empirical_snr(design):
    data = make_sparse_regression(
        40_000, 20, 10, design=design, snr=3.0, random_state=0
    )
    signal = data.X @ data.coef
    assert_allclose(signal.var() / (data.y - signal).var(), 3.0, rtol=0.05)


@pytest.mark.parametrize("design", DESIGNS)
def test_reproducible_and_returns_the_truth(design):
    def draw(seed, **kwargs):
        return make_sparse_regression(
            20, 60, 10, design=design, random_state=seed, **kwargs
        )

    data, again, other = draw(3), draw(3), draw(4)
    assert_array_equal(data.X, again.X)
    assert_array_equal(data.y, again.y)
    assert not np.array_equal(data.X, other.X)
    assert data.support.size == 10
    assert_array_equal(data.support, np.flatnonzero(data.coef))
    assert_array_equal(np.abs(data.coef[data.support]), 1.0)
    # snr changes the size of the noise and nothing else
    clean = draw(3, snr=np.inf)
    assert_array_equal(clean.X, data.X)
    assert_array_equal(clean.y, clean.X @ clean.coef)
    assert clean.noise_std == 0
    louder = draw(3, snr=1.25)
    assert_allclose(louder.y - clean.y, 2 * (data.y - clean.y), atol=1e-12)


def test_groups_are_active_as_a_whole():
    data = make_sparse_regression(
        5, 40, 8, design="groups", group_size=4, random_state=0
    )
    assert_array_equal(data.groups, np.repeat(np.arange(10), 4))
    active = (data.coef != 0).reshape(10, 4)
    assert_array_equal(active.all(axis=1), active.any(axis=1))
    assert active.all(axis=1).sum() == 2
    assert make_sparse_regression(5, 40, 8).groups is None


def test_pure_noise():
    data = make_sparse_regression(20_000, 5, 0, random_state=0)
    assert data.support.size == 0
    assert (data.noise_std, data.snr) == (1.0, 0.0)
    assert_allclose(data.y.std(), 1.0, rtol=0.02)


def test_signal_size_range():
    sizes = np.abs(
        make_sparse_regression(5, 900, 900, signal_size=(2.0, 3.0), random_state=0).coef
    )
    assert 2.0 <= sizes.min() < 2.1
    assert 2.9 < sizes.max() <= 3.0


def test_random_state_instance_is_shared():
    rng = np.random.RandomState(0)
    first = make_sparse_regression(5, 10, 2, random_state=rng)
    second = make_sparse_regression(5, 10, 2, random_state=rng)
    assert not np.array_equal(first.X, second.X)


def test_binary_labels_follow_the_logistic_model():
    coef = np.array([1.0, -0.5, 0.0])
    data = make_sparse_classification(
        60_000, 3, coef=coef, design="equicorrelated", random_state=0
    )
    assert_array_equal(data.support, [0, 1])
    probability = 1 / (1 + np.exp(-data.X @ coef))
    # the score of the logistic model has mean 0 at the truth
    assert_allclose(data.X.T @ (data.y - probability) / 60_000, 0, atol=0.01)
    sigma = population_covariance("equicorrelated", 3, 0.5, None)
    assert_allclose(data.eta_std**2, coef @ sigma @ coef, rtol=1e-12)


def test_multinomial_labels_follow_the_softmax_model():
    data = make_sparse_classification(60_000, 6, 2, n_classes=3, random_state=0)
    assert data.coef.shape == (3, 6)
    assert data.support.size == 2
    assert data.eta_std.shape == (3,)
    odds = np.exp(data.X @ data.coef.T)
    residual = np.eye(3)[data.y] - odds / odds.sum(axis=1, keepdims=True)
    assert_allclose(residual.T @ data.X / 60_000, 0, atol=0.01)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"design": "toeplitz"}, r"design must be one of 'identity', .*got 'toeplitz'"),
        ({"design": "ar1", "correlation": 1.0}, r"\(-1, 1\).*got 1\.0"),
        ({"design": "ar1", "correlation": -1.0}, r"\(-1, 1\).*got -1\.0"),
        ({"design": "equicorrelated", "correlation": -0.1}, r"\[0, 1\).*got -0\.1"),
        ({"design": "groups", "group_size": 7}, r"n_features must be a multiple of"),
        (
            {"design": "groups", "n_informative": 3},
            r"n_informative must be a multiple of group_size=5.*got 3",
        ),
        ({"snr": 0.0}, r"snr must be a positive number.*got 0\.0"),
        ({"snr": float("nan")}, r"snr must be a positive number"),
        ({"n_informative": 51}, r"at most n_features=50, got 51"),
        ({"n_informative": -1}, r"n_informative must be at least 0"),
        ({"n_samples": 0}, r"n_samples must be at least 1"),
        ({"signal_size": 0.0}, r"signal_size must be a positive number"),
        ({"signal_size": (2.0, 1.0)}, r"signal_size .*got \(2\.0, 1\.0\)"),
        ({"coef": np.ones(4)}, r"coef must have shape \(50,\), got \(4,\)"),
        ({"coef": np.full(50, np.nan)}, r"coef must be finite"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_sparse_regression(**{"n_features": 50, **kwargs})


def test_counts_must_be_integers():
    with pytest.raises(TypeError, match=r"n_features must be an integer, got 5\.0"):
        make_sparse_regression(n_features=5.0)
    with pytest.raises(ValueError, match="n_classes must be at least 2, got 1"):
        make_sparse_classification(n_classes=1)
