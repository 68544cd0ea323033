"""Regressions with shifted rows: the protocol, the rates, and the study."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression

from sparselbi.datasets import breakdown_study, detection_rates, make_outliers

# ---- the generator -------------------------------------------------------------------


def test_same_seed_same_data():
    first, again, other = (make_outliers(50, 4, 5, random_state=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.X, again.X)
    np.testing.assert_array_equal(first.y, again.y)
    assert (first.y != other.y).any()


def test_the_default_is_the_published_protocol():
    data = make_outliers(leverage=20, random_state=0)
    assert data.X.shape == (1000, 15)
    assert data.outliers.sum() == 200
    assert data.outliers[:200].all()
    np.testing.assert_array_equal(data.X[:200], 20.0)
    np.testing.assert_array_equal(data.shifts, np.where(data.outliers, 8.0, 0.0))
    np.testing.assert_array_equal(data.coef, 1.0)
    root = np.sqrt(0.5) * np.eye(15) + (np.sqrt(8) - np.sqrt(0.5)) / 15
    entries = data.X[200:] @ np.linalg.inv(root)  # U(-15, 15) times that root
    assert abs(entries).max() <= 15 + 1e-9
    np.testing.assert_allclose(entries.std(), 15 / np.sqrt(3), rtol=0.02)


@pytest.mark.parametrize("design", ["uniform", "normal"])
def test_moments(design):
    options = {"correlation": 0.3, "noise": 2.0, "random_state": 0}
    data = make_outliers(100_000, 4, 0, design=design, **options)
    expected = np.where(np.eye(4, dtype=bool), 1.0, 0.3)
    if design == "uniform":
        root = (data.X @ np.linalg.inv(scipy.linalg.sqrtm(expected))) / 15
        assert abs(root).max() <= 1 + 1e-12
        assert abs(root).max() > 0.999
    data.y -= data.X @ data.coef
    data.X /= 15 / np.sqrt(3) if design == "uniform" else 1.0
    # standard errors from 100,000 rows: at most sqrt(2 / 1e5) = 0.0045
    np.testing.assert_allclose(np.cov(data.X.T), expected, atol=0.02)
    np.testing.assert_allclose(data.X.mean(axis=0), 0, atol=0.015)
    np.testing.assert_allclose([data.y.mean(), data.y.std()], [0, 2.0], atol=0.03)
    assert data.noise_std == 2.0


def test_outliers_change_nothing_else():
    """Leverage, shift and cluster move the outlying rows only."""
    plain = make_outliers(40, 3, 0, random_state=0)
    for changes in ({}, {"leverage": 5}, {"leverage": 5, "clustered": True}):
        data = make_outliers(40, 3, 12, shift=7, random_state=0, **changes)
        clean = ~data.outliers
        np.testing.assert_array_equal(data.X[clean], plain.X[clean])
        np.testing.assert_array_equal(data.y[clean], plain.y[clean])
        error = data.y - data.X @ data.coef - data.shifts
        np.testing.assert_allclose(error, plain.y - plain.X.sum(axis=1), atol=1e-12)
    assert (make_outliers(40, 3, 12, random_state=0).X == plain.X).all()


@pytest.mark.parametrize("leverage", [None, 0.0, 10.0])
def test_a_cluster_is_tight_and_has_no_ties(leverage):
    data = make_outliers(
        1000, 4, 400, leverage=leverage, clustered=True, random_state=0
    )
    cluster = data.X[data.outliers]
    # standard error of a mean 0.5 / 20, of a standard deviation 0.5 / sqrt(800)
    np.testing.assert_allclose(cluster.mean(axis=0), (leverage or 0) / 2, atol=0.1)
    np.testing.assert_allclose(cluster.std(axis=0), 0.5, atol=0.07)
    assert len(np.unique(cluster, axis=0)) == 400


def test_leverage():
    """n_outliers equal rows at one far point share nearly the leverage of one row."""
    data = make_outliers(1000, 5, 10, leverage=1e4, random_state=0)
    Q, _ = np.linalg.qr(data.X)
    np.testing.assert_allclose((Q[:10] ** 2).sum(axis=1), 0.1, rtol=1e-3)


@pytest.mark.parametrize(
    ("design", "correlation", "clustered"),
    [("uniform", 0.5, False), ("normal", 0.3, False), ("normal", 0.0, True)],
)
def test_the_tilt_of_the_notes(design, correlation, clustered):
    """The cheapest change that explains all shifts, and the error it costs."""
    data = make_outliers(
        100_000,
        5,
        50_000,
        shift=30,
        leverage=1000,
        clustered=clustered,
        design=design,
        correlation=correlation,
        random_state=0,
    )
    clean = data.X[~data.outliers]
    place = data.X[data.outliers].mean(axis=0)
    aim = np.linalg.solve(np.cov(clean.T), place)
    tilt = 30 * aim / (place @ aim)
    np.testing.assert_allclose(data.X[data.outliers] @ tilt, 30, atol=0.2)
    distance = np.sqrt(place @ aim)
    np.testing.assert_allclose(
        np.mean((clean @ tilt) ** 2), (30 / distance) ** 2, rtol=1e-3
    )
    if clustered:
        np.testing.assert_allclose(distance, 1000, rtol=0.02)


def test_own_shifts_and_coefficients():
    data = make_outliers(
        10, 2, 3, shift=[1, -2, 0.5], coef=[3, -4], noise=0, random_state=0
    )
    np.testing.assert_array_equal(data.shifts, [1, -2, 0.5, *[0] * 7])
    np.testing.assert_allclose(data.y, data.X @ [3, -4] + data.shifts, atol=1e-14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_outliers": 6}, "n_outliers must be at most 5, half of n_samples=10, got"),
        ({"n_outliers": -1}, "n_outliers must be at least 0, got -1"),
        ({"n_samples": 0}, "n_samples must be at least 1"),
        ({"shift": [1.0, 2.0]}, r"shift must be a number, or one for each .* \(2,\)"),
        ({"shift": np.nan}, "shift must be finite"),
        ({"leverage": np.inf}, "leverage must be a finite number, got inf"),
        ({"noise": -1.0}, "noise must be a finite number >= 0, got -1.0"),
        ({"correlation": 1.0}, r"correlation must be a number in \[0, 1\)"),
        ({"coef": [1.0]}, r"coef must have shape \(2,\)"),
        ({"design": "ar1"}, "design='ar1'.*'uniform', 'normal'"),
    ],
)
def test_impossible_arguments(changes, message):
    arguments = {"n_samples": 10, "n_features": 2, "n_outliers": 3} | changes
    with pytest.raises(ValueError, match=message):
        make_outliers(**arguments)


# ---- the rates -----------------------------------------------------------------------


def test_rates_by_hand():
    outliers = np.array([True] * 4 + [False] * 10)
    flagged = np.isin(np.arange(14), [0, 1, 2, 4, 13])
    assert detection_rates(flagged, outliers) == (0.25, 0.2)
    assert detection_rates(outliers, outliers) == (0.0, 0.0)
    assert detection_rates(~outliers, outliers) == (1.0, 1.0)


def test_a_share_of_nothing_is_nan():
    none, every = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
    np.testing.assert_array_equal(detection_rates(none, none), [np.nan, 0.0])
    np.testing.assert_array_equal(detection_rates(every, every), [0.0, np.nan])


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_negation_swaps_the_rates(pairs):
    flagged, outliers = np.array(pairs).T
    rates = detection_rates(flagged, outliers)
    swapped = detection_rates(~flagged, ~outliers)
    np.testing.assert_array_equal(rates, swapped[::-1])


def test_masks_are_masks():
    mask = np.array([True, False])
    with pytest.raises(ValueError, match="flagged must be a bool array .* dtype int64"):
        detection_rates(np.array([0, 1]), mask)
    with pytest.raises(ValueError, match=r"one length, got 1 and 2"):
        detection_rates(mask[:1], mask)


# ---- the study -----------------------------------------------------------------------


class LargeResidual(BaseEstimator):
    """Flags residuals of least squares beyond a cut."""

    def __init__(self, cut):
        self.cut = cut

    def fit(self, X, y):
        fit = LinearRegression().fit(X, y)
        self.outliers_ = abs(y - fit.predict(X)) > self.cut
        return self


class Broken(LargeResidual):
    def fit(self, X, y):
        raise RuntimeError("no fit")


def test_study_is_the_loop_by_hand():
    methods = {"some": LargeResidual(5.0), "none": LargeResidual(np.inf)}
    options = {"n_samples": 60, "n_features": 2, "shift": 12.0}
    study = breakdown_study(methods, values=[0.05, 0.3], n_seeds=3, **options)
    assert study.attrs["vary"] == "share"
    assert len(study) == 2 * 2 * 3
    assert (study.seconds >= 0).all()
    for line in study.itertuples():
        data = make_outliers(
            n_outliers=round(line.value * 60), random_state=line.seed, **options
        )
        flagged = methods[line.method].fit(data.X, data.y).outliers_
        rates = detection_rates(flagged, data.outliers)
        assert (line.masking, line.swamping) == rates
        assert line.recovered == (rates[0] == 0 and rates[1] <= 0.02)
    assert study.recovered.any()
    assert not study[study.method == "none"].recovered.any()
    del methods["some"].outliers_  # only the fit above has set it
    breakdown_study(methods, values=[0.1], n_seeds=1, **options)
    assert not hasattr(methods["some"], "outliers_")


def test_ratio_is_shift_over_leverage():
    options = {"n_samples": 50, "n_features": 2, "n_outliers": 5, "n_seeds": 2}
    methods = {"m": LargeResidual(4.0)}
    by_ratio = breakdown_study(methods, vary="ratio", values=[2], leverage=3, **options)
    by_shift = breakdown_study(methods, vary="shift", values=[6], leverage=3, **options)
    by_leverage = breakdown_study(
        methods, vary="leverage", values=[3], shift=6, **options
    )
    rates = ["masking", "swamping"]
    for other in (by_shift, by_leverage):
        np.testing.assert_array_equal(by_ratio[rates], other[rates])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vary": "tilt"}, "vary must be one of .*'ratio'.*, got 'tilt'"),
        ({"n_outliers": 3}, "n_outliers is given, but vary='share' sets it"),
        ({"vary": "ratio"}, "give leverage="),
        ({"values": []}, "values is empty; give the values of share"),
        ({"estimators": {}}, "estimators is empty"),
        ({"n_seeds": 0}, "n_seeds must be at least 1"),
        ({"max_swamping": -1}, "max_swamping must be a finite number >= 0"),
        ({"values": [0.7]}, "n_outliers must be at most 500"),
    ],
)
def test_impossible_studies(arguments, message):
    arguments = {"estimators": {"m": LargeResidual(1)}, "values": [0.1]} | arguments
    with pytest.raises(ValueError, match=message):
        breakdown_study(**arguments)


def test_a_failure_says_where():
    with pytest.raises(RuntimeError, match="no fit") as caught:
        breakdown_study({"bad": Broken(1)}, values=[0.1], n_samples=20, n_seeds=1)
    assert caught.value.__notes__ == ["'bad' with share=0.1, random_state=0"]
