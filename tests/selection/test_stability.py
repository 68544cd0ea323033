"""Stability selection: entry times by hand, and the bounds that it promises."""

import numpy as np
import pandas as pd
import pytest

from sparselbi import LBI, Problem, iss_path, lbi_path
from sparselbi.selection import Stability, stability_selection
from sparselbi.selection.stability import _halves
from tests.common import make_data


@pytest.fixture(scope="module")
def data():
    return make_data(n=60)


@pytest.fixture(scope="module")
def stability(data):
    problem = Problem(data.X, data.y)
    return stability_selection(iss_path(problem), problem, n_pairs=10)


def made_up(entries, p=None, names=None):
    entries = np.asarray(entries, dtype=float)
    p = entries.shape[1]
    return Stability(
        knots=np.array([0.5, 1.0, 2.0, 4.0]),
        entry_knots=entries,
        reference=np.arange(1.0, p + 1),
        penalized=np.ones(p, dtype=bool),
        feature_names=names,
    )


@pytest.mark.parametrize("method", ["iss", "lbi"])
def test_entries_are_those_of_paths_on_the_halves(data, method):
    X, y, w = data
    problem = Problem(X, y, sample_weight=w)
    path = iss_path(problem) if method == "iss" else lbi_path(problem)
    result = stability_selection(path, problem, n_pairs=2, random_state=4)
    rng = np.random.RandomState(4)
    halves = [half for _ in range(2) for half in _halves(problem, rng)]
    for rows, entries in zip(halves, result.entry_knots, strict=True):
        part = Problem(X[rows], y[rows], sample_weight=w[rows])
        options = {"t_max": path.knots[-1]}
        if method == "lbi":
            options["kappa_raw"] = path.kappa_raw
        trace = iss_path if method == "iss" else lbi_path
        expected = trace(part, **options).entry_knots()
        np.testing.assert_allclose(
            np.where(np.isinf(entries), np.nan, entries), expected
        )
    np.testing.assert_array_equal(result.reference, path.entry_knots())


@pytest.mark.parametrize("n", [20, 21])
def test_pairs_are_complementary(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    problem = Problem(X, X[:, 0])
    for _ in range(5):
        one, other = _halves(problem, np.random.RandomState(1))
        assert len(one) == len(other) == n // 2
        assert not np.intersect1d(one, other).size


def test_halves_respect_classes_groups_and_weights():
    X, y, _ = make_data("multinomial", n=61)
    groups = np.arange(61) // 2
    rng = np.random.RandomState(0)
    for part in _halves(Problem(X, y, loss="multinomial"), rng):
        for label in np.unique(y):
            assert (y[part] == label).sum() == (y == label).sum() // 2
    one, other = _halves(Problem(X, X[:, 0], sample_groups=groups), rng)
    assert not np.intersect1d(groups[one], groups[other]).size
    weight = np.where(np.arange(61) < 21, 0.0, 1.0)
    one, other = _halves(Problem(X, X[:, 0], sample_weight=weight), rng)
    assert min(one.min(), other.min()) >= 21
    assert len(one) == 20


def test_shares_count_what_has_entered():
    result = made_up([[1, 2, np.inf], [1.5, np.inf, np.inf], [1, 3, 4], [1, 1, 9]])
    np.testing.assert_array_equal(result.probabilities(1.0), [0.75, 0.25, 0])
    np.testing.assert_array_equal(result.probabilities(3.0), [1, 0.75, 0])
    np.testing.assert_array_equal(
        result.probabilities(), [result.probabilities(t) for t in result.knots]
    )
    assert (np.diff(result.probabilities(), axis=0) >= 0).all()
    assert (result.size(0.5), result.size(1.0), result.size(3.0)) == (0, 1, 1.75)
    np.testing.assert_array_equal(result.selected(0.75, knot=3.0), [0, 1])
    np.testing.assert_array_equal(result.selected(1.0, knot=3.0), [0])
    assert result.selected(0.75, knot=0.5).size == 0


def test_worst_case_bound_is_the_formula():
    result = made_up(np.ones((20, 8)))
    assert result.error_bound(0.75, 1.0, "worst_case") == pytest.approx(64 / 8 / 0.5)
    few = made_up(np.where(np.arange(50) < 5, 1.0, np.inf) * np.ones((100, 1)))
    assert few.size(1.0) == 5
    assert few.error_bound(0.9, 1.0, "worst_case") == pytest.approx(25 / 50 / 0.8)
    # Theorem 2 of Shah and Samworth with B = 50 pairs and theta = 0.1
    assert few.error_bound(0.9, 1.0) == pytest.approx(25 / 50 * 4 * 0.11 / 1.02)
    assert few.error_bound(0.7, 1.0) == pytest.approx(25 / 50 / (2 * (0.4 - 0.01)))
    assert few.error_bound(0.51, 1.0) == few.error_bound(0.51, 1.0, "worst_case")


def test_bounds_are_ordered_and_grow_with_time(stability):
    times = np.geomspace(stability.knots[0], stability.knots[-1], 40)
    for threshold in (0.6, 0.75, 0.8, 0.95):
        loose = [stability.error_bound(threshold, t, "worst_case") for t in times]
        tight = [stability.error_bound(threshold, t) for t in times]
        assert (np.diff(loose) >= 0).all()
        assert (np.diff(tight) >= 0).all()
        assert (np.array(tight) <= np.array(loose) + 1e-12).all()


@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9])
def test_knot_for_is_the_last_entry_within_the_bound(stability, threshold):
    entries = np.unique(stability.entry_knots[np.isfinite(stability.entry_knots)])
    for expected_false in (0.05, 0.5, 2.0):
        knot = stability.knot_for(expected_false, threshold)
        later = entries[entries > knot]
        if knot > 0:
            assert stability.error_bound(threshold, knot) <= expected_false
        if later.size:
            assert stability.error_bound(threshold, later[0]) > expected_false


@pytest.mark.parametrize("kind", ["worst_case", "unimodal"])
def test_the_bound_holds_on_noise(kind):
    """Independent noise: exchangeable features, all of them false."""
    rng = np.random.default_rng(0)
    n_false, bound = [], []
    for _ in range(25):
        X, y = rng.normal(size=(40, 30)), rng.normal(size=40)
        problem = Problem(X, y)
        path = iss_path(problem, max_features=8)
        result = stability_selection(
            path, problem, n_pairs=15, random_state=rng.integers(99)
        )
        n_false.append(len(result.selected(0.6, knot=path.knots[-1])))
        bound.append(result.error_bound(0.6, path.knots[-1], kind))
    assert np.mean(n_false) <= np.mean(bound)


def test_strong_features_are_found_and_noise_is_not():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 40))
    y = X[:, :3] @ [2.0, -2.0, 2.0] + rng.normal(size=100)
    model = LBI(kappa=np.inf).fit(X, y)
    result = model.path_.stability(X, y, n_pairs=20)
    np.testing.assert_array_equal(result.selected(0.9), [0, 1, 2])
    assert "x0, x1, x2" in repr(result)
    frame = result.to_frame()
    assert set(frame["feature"][:3]) == {"x0", "x1", "x2"}
    assert (frame["probability"][:3] == 1).all()
    assert (frame["q25"] <= frame["median"]).all()


def test_unpenalized_and_excluded_features_do_not_count():
    X, y, _ = make_data(n=60)
    X = np.c_[X, np.ones(60)]
    factor = np.ones(13)
    factor[[0, 1]] = 0, np.inf
    problem = Problem(X, y, penalty_factor=factor)
    for path in (iss_path(problem), lbi_path(problem)):
        result = stability_selection(path, problem, n_pairs=3)
        assert result.penalized.sum() == 10
        assert not {0, 1, 12} & set(result.selected(0.6, knot=path.knots[-1]))
        assert result.size(path.knots[-1]) <= 10


def test_max_features_censors(data):
    problem = Problem(data.X, data.y)
    path = iss_path(problem)
    full = stability_selection(path, problem, n_pairs=3)
    few = stability_selection(path, problem, n_pairs=3, max_features=2)
    same = np.isfinite(few.entry_knots)
    np.testing.assert_allclose(few.entry_knots[same], full.entry_knots[same])
    assert same.sum() < np.isfinite(full.entry_knots).sum()


def test_seeds_workers_and_names(data):
    X, y, w = data
    names = [f"gene {j}" for j in range(12)]
    frame = pd.DataFrame(X, columns=names)
    path = LBI(kappa=np.inf).fit(frame, y, w).path_
    runs = [
        path.stability(frame, y, w, n_pairs=2, random_state=seed, n_jobs=jobs)
        for seed, jobs in ((0, None), (0, 2), (1, None))
    ]
    np.testing.assert_array_equal(runs[0].entry_knots, runs[1].entry_knots)
    assert not np.array_equal(runs[0].entry_knots, runs[2].entry_knots)
    assert runs[0].feature_names == tuple(names)
    assert set(runs[0].to_frame()["feature"]) <= set(names)


def test_bad_arguments(data, stability):
    problem = Problem(data.X, data.y)
    path = iss_path(problem)
    for threshold in (0.5, 1.1, np.nan):
        with pytest.raises(ValueError, match="must be above 0.5 and at most 1"):
            stability.selected(threshold)
    with pytest.raises(ValueError, match="expected_false=0 must be"):
        stability.selected(expected_false=0)
    with pytest.raises(ValueError, match="kind='tight' is unknown"):
        stability.error_bound(kind="tight")
    with pytest.raises(ValueError, match="n_pairs=0 must be"):
        stability_selection(path, problem, n_pairs=0)
    with pytest.raises(ValueError, match="max_features=0 must be"):
        stability_selection(path, problem, max_features=0)
    with pytest.raises(ValueError, match="too few samples"):
        path.stability(data.X[:3], data.y[:3])
    constant = np.r_[1.0, np.zeros(59)]
    with pytest.raises(ValueError, match="has a constant y"):
        path.stability(data.X, constant)
    X, y, _ = make_data("logistic", n=30)
    y = np.where(np.arange(30) == 8, "yes", "no")
    problem = Problem(X, y, loss="logistic")
    with pytest.raises(ValueError, match=r"no sample of class \['yes'\]"):
        stability_selection(lbi_path(problem, n_knots=2, max_features=1), problem)
    null = iss_path(Problem(np.ones((20, 2)), np.arange(20.0)))
    with pytest.raises(ValueError, match="the path is the null model alone"):
        null.stability(np.ones((20, 2)), np.arange(20.0))
