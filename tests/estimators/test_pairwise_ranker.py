"""`PairwiseRanker`: from votes to scores, distrusted votes and intervals."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse, special, stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sparselbi import OutlierRegression, PairwiseRanker
from sparselbi.datasets import make_votes
from sparselbi.selection import VoteShare
from sparselbi.win_proportions import win_proportions


@pytest.fixture(scope="module")
def ordered():
    """Votes that follow the order, but 20 % of them are flipped."""
    return make_votes(n_items=10, n_votes=900, flip_rate=0.2, random_state=1)


@pytest.fixture(scope="module")
def graded():
    return make_votes(
        n_items=8,
        n_votes=400,
        flip_rate=0.1,
        generator="graded",
        n_workers=20,
        random_state=2,
    )


def incidence(pairs, n_items):
    X = np.zeros((len(pairs), n_items))
    rows = np.arange(len(pairs))
    X[rows, pairs[:, 0]] += 1
    X[rows, pairs[:, 1]] -= 1
    return X


def centred(scores):
    return scores - scores.mean()


# ------------------------------------------------------------- degenerate cases agree


def test_without_shifts_the_linear_model_is_least_squares(graded):
    ranker = PairwiseRanker(selector=1e6).fit(graded.pairs, graded.y)
    X = incidence(graded.pairs, 8)
    expected = np.linalg.lstsq(X, graded.y, rcond=None)[0]
    np.testing.assert_allclose(ranker.scores_, centred(expected), atol=1e-10)
    assert ranker.model_ == "linear"
    assert not ranker.outlier_votes_.any()


def test_without_shifts_the_logistic_model_is_bradley_terry():
    votes = make_votes(
        n_items=6, n_votes=400, generator="bradley_terry", random_state=0
    )
    ranker = PairwiseRanker(ridge=0.0, selector=1.0).fit(votes.pairs, votes.y)
    X = incidence(votes.pairs, 6)[:, 1:]

    def minus_log_likelihood(s):
        margin = votes.y * (X @ s)
        return -special.log_expit(margin).sum(), -X.T @ (
            votes.y * special.expit(-margin)
        )

    found = optimize.minimize(
        minus_log_likelihood, np.zeros(5), jac=True, options={"gtol": 1e-10}
    )
    expected = centred(np.append(0.0, found.x))
    np.testing.assert_allclose(ranker.scores_, expected, atol=1e-6)


@pytest.mark.parametrize("method", ["l1", "iss", "hard"])
def test_features_are_regression_on_differences(graded, method):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((8, 3))
    point = 2.0 if method != "iss" else 0.3  # a threshold, or t
    ranker = PairwiseRanker(method=method, selector=point)
    ranker.fit(graded.pairs, graded.y, features)
    first, second = graded.pairs.T
    X = features[first] - features[second]
    other = OutlierRegression(method, selector=point, fit_intercept=False, refit=False)
    other.fit(X, graded.y)
    if method == "hard":  # they start differently, and end at a common fixed point
        np.testing.assert_array_equal(ranker.outlier_votes_, other.outliers_)
    np.testing.assert_allclose(ranker.coef_, other.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        ranker.scores_, centred(features @ ranker.coef_), atol=1e-10
    )


def test_indicator_features_are_free_scores(graded):
    free = PairwiseRanker(selector=1.0).fit(graded.pairs, graded.y)
    other = PairwiseRanker(selector=1.0).fit(graded.pairs, graded.y, np.eye(8))
    np.testing.assert_allclose(free.scores_, other.scores_, atol=1e-7)
    np.testing.assert_array_equal(free.outlier_votes_, other.outlier_votes_)


def test_components_are_ranked_as_if_alone(ordered):
    other = make_votes(n_items=6, n_votes=300, flip_rate=0.1, random_state=4)
    both = np.concatenate([ordered.pairs, other.pairs + 10])
    y = np.concatenate([ordered.y, other.y])
    ranker = PairwiseRanker(selector=0.5, ridge=0.01).fit(both, y)
    alone = PairwiseRanker(selector=0.5, ridge=0.01).fit(ordered.pairs, ordered.y)
    # Their knots differ, and lines between knots are not quite the path.
    np.testing.assert_allclose(ranker.scores_[:10], alone.scores_, atol=1e-4)
    assert ranker.n_components_ == 2
    assert np.isnan(ranker.predict([[0, 10], [10, 0]])).all()
    assert np.isnan(ranker.predict_proba([[0, 10]])).all()
    frame = ranker.ranking_
    assert frame["component"].tolist() == [0] * 10 + [1] * 6
    assert frame["rank"].tolist() == [*range(1, 11), *range(1, 7)]
    assert np.isnan(ranker.score_differences([[0, 12]])["standard_error"][0])


# ------------------------------------------------------------------- what it is for


def test_flipped_votes_are_found(ordered):
    ranker = PairwiseRanker().fit(ordered.pairs, ordered.y)
    assert ranker.ranking_["item"].tolist() == np.argsort(-ordered.scores).tolist()
    assert abs(ranker.flip_rate_.rate - 0.2) < 0.03
    found = ranker.outlier_votes_
    assert np.mean(ordered.flipped[found]) > 0.97
    assert np.mean(found[ordered.flipped]) > 0.95
    first = ranker.vote_order_[: ordered.flipped.sum()]
    assert np.mean(ordered.flipped[first]) > 0.97
    assert sorted(ranker.vote_order_) == list(range(900))


@pytest.mark.parametrize("method", ["l1", "iss", "lbi", "hard"])
def test_every_method_finds_gross_grades(method):
    votes = make_votes(
        n_items=6, n_votes=200, flip_rate=0.0, generator="graded", random_state=0
    )
    y = votes.y.copy()
    y[:10] += np.where(np.arange(10) % 2, 15, -15)
    ranker = PairwiseRanker(method=method).fit(votes.pairs, y)
    assert ranker.outlier_votes_[:10].all()
    assert ranker.outlier_votes_[10:].sum() <= 8
    assert set(ranker.vote_order_[:10]) == set(range(10))


def test_one_sided_workers_are_found_and_do_no_harm():
    votes = make_votes(
        n_items=12,
        n_votes=2400,
        flip_rate=0.05,
        n_workers=24,
        n_one_sided=4,
        random_state=3,
    )
    ranker = PairwiseRanker().fit(votes.pairs, votes.y, worker=votes.worker)
    frame = ranker.worker_reliability_.set_index("worker")
    found = frame.index[frame["one_sided"]]
    assert set(found) == set(votes.one_sided)
    careless = frame["one_sided"]
    assert (
        frame.loc[careless, "distrusted"].min()
        > frame.loc[~careless, "distrusted"].max()
    )


def test_position_bias_of_all_and_of_each_worker():
    rng = np.random.default_rng(0)
    scores = np.linspace(-2, 2, 8)
    pairs = np.array([rng.choice(8, 2, replace=False) for _ in range(4000)])
    worker = rng.integers(0, 4, 4000)
    bias = np.array([0.0, 0.0, 1.0, -1.0])
    eta = scores[pairs[:, 0]] - scores[pairs[:, 1]] + bias[worker]
    y = np.where(rng.random(4000) < special.expit(eta), 1, -1)
    ranker = PairwiseRanker(selector=1.0, position_bias="worker")
    ranker.fit(pairs, y, worker=worker)
    assert ranker.position_bias_.index.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(ranker.position_bias_, bias, atol=0.35)
    np.testing.assert_allclose(ranker.scores_, scores, atol=0.35)
    one = PairwiseRanker(selector=1.0, position_bias=True).fit(pairs, y)
    assert abs(one.position_bias_) < 0.2
    assert isinstance(one.position_bias_, float)
    frame = one.coef_intervals()
    assert frame.index.tolist() == ["position"]
    assert frame["coef"].tolist() == [one.position_bias_]
    assert 0.02 < frame["standard_error"].iloc[0] < 0.06
    each = ranker.coef_intervals(0.99)
    assert each.index[2] == "position[2]"
    assert (each["low"] < bias).all()
    assert (each["high"] > bias).all()


def test_unseen_items_are_ranked_by_their_features():
    rng = np.random.default_rng(1)
    features = pd.DataFrame(
        rng.standard_normal((20, 2)),
        columns=["a", "b"],
        index=[f"i{k}" for k in range(20)],
    )
    scores = features.to_numpy() @ [2.0, -1.0]
    codes = np.array([rng.choice(15, 2, replace=False) for _ in range(600)])
    y = scores[codes[:, 0]] - scores[codes[:, 1]] + 0.1 * rng.standard_normal(600)
    labels = features.index.to_numpy()[codes]
    ranker = PairwiseRanker().fit(labels, y, features.iloc[:15])
    np.testing.assert_allclose(ranker.coef_, [2, -1], atol=0.05)
    assert ranker.feature_names_in_.tolist() == ["a", "b"]
    margin = ranker.predict([["i16", "i3"]], features[["b", "a"]])
    np.testing.assert_allclose(margin, scores[16] - scores[3], atol=0.2)
    frame = ranker.rank(item_features=features.iloc[15:])
    expected = [f"i{15 + k}" for k in np.argsort(-scores[15:])]
    assert frame["item"].tolist() == expected
    assert frame["votes"].tolist() == [0] * 5
    # The same scores, whichever table they are looked up in.
    known = ranker.rank(["i3", "i4"], features).set_index("item")["score"]
    fitted = ranker.rank(["i3", "i4"]).set_index("item")["score"]
    np.testing.assert_allclose(known[["i3", "i4"]], fitted[["i3", "i4"]], atol=1e-10)


# ------------------------------------------------------------------------ invariances


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_swapped_pairs_and_other_names_change_nothing(seed):
    votes = make_votes(n_items=6, n_votes=120, flip_rate=0.2, random_state=seed)
    rng = np.random.default_rng(seed)
    swap = rng.random(120) < 0.5
    pairs = np.where(swap[:, None], votes.pairs[:, ::-1], votes.pairs)
    y = np.where(swap, -votes.y, votes.y)
    names = np.array(list("fbcade"))
    order = rng.permutation(120)
    one = PairwiseRanker(selector=0.6).fit(votes.pairs, votes.y)
    other = PairwiseRanker(selector=0.6).fit(names[pairs][order], y[order])
    assert other.items_.tolist() == sorted(names)
    back = np.searchsorted(other.items_, names)
    np.testing.assert_allclose(other.scores_[back], one.scores_, atol=1e-5)
    np.testing.assert_array_equal(other.outlier_votes_, one.outlier_votes_[order])


@pytest.mark.parametrize(("model", "threshold"), [("linear", 0.8), ("logistic", 0.4)])
def test_weights_are_repeated_votes(ordered, model, threshold):
    count = np.random.default_rng(0).integers(1, 4, 900)
    weighted = PairwiseRanker(model, selector=threshold)
    weighted.fit(ordered.pairs, ordered.y, sample_weight=count)
    repeated = PairwiseRanker(model, selector=threshold)
    repeated.fit(np.repeat(ordered.pairs, count, axis=0), np.repeat(ordered.y, count))
    np.testing.assert_allclose(weighted.scores_, repeated.scores_, atol=1e-5)
    expanded = np.repeat(weighted.outlier_votes_, count)
    np.testing.assert_array_equal(expanded, repeated.outlier_votes_)
    assert weighted.flip_rate_.rate == pytest.approx(repeated.flip_rate_.rate, abs=1e-5)


# ------------------------------------------------------------------ points and reports


def test_a_transform_is_weighted_least_squares_on_pairs(ordered):
    for name in ("uniform", "bradley_terry", "thurstone_mosteller", "angular"):
        ranker = PairwiseRanker(transform=name, selector=1e6)
        ranker.fit(ordered.pairs, ordered.y)
        found = win_proportions(ordered.pairs, ordered.y)
        flow, weight = found.flows(name)
        root = np.sqrt(weight)[:, None]
        X = incidence(found.pairs, 10)
        expected = np.linalg.lstsq(root * X, root[:, 0] * flow, rcond=None)[0]
        np.testing.assert_allclose(ranker.scores_, centred(expected), atol=1e-9)
        p = ranker.predict_proba([[0, 1]])
        margin = ranker.predict([[0, 1]])
        assert p[0, 1] == pytest.approx(1 - p[0, 0])
        assert (p[0, 1] > 0.5) == (margin[0] > 0)


def test_a_distrusted_pair_distrusts_the_votes_of_its_side():
    pairs = np.array([[0, 1], [1, 2], [0, 2], [2, 3], [1, 3], [0, 3]] * 20)
    y = np.ones(120)
    wrong = (pairs == [0, 3]).all(axis=1)
    y[wrong] = -1.0
    y[np.flatnonzero(wrong)[:2]] = 1.0
    y[np.flatnonzero(~wrong)[::7]] = -1.0
    ranker = PairwiseRanker(transform="uniform", selector=0.5).fit(pairs, y)
    distrusted = ranker.outlier_votes_
    assert distrusted[wrong & (y < 0)].all()
    assert not distrusted[wrong & (y > 0)].any()
    assert set(ranker.vote_order_[: (wrong & (y < 0)).sum()]) == set(
        np.flatnonzero(wrong & (y < 0))
    )


def test_a_pair_that_exaggerates_the_scores_is_not_distrusted():
    """It is shifted towards the side that the scores are on as well."""
    pairs = np.repeat([[0, 1], [1, 2], [2, 3], [0, 3]], [100, 100, 100, 20], axis=0)
    y = np.where(np.arange(320) % 100 < 60, 1.0, -1.0)
    last = (pairs == [0, 3]).all(axis=1)
    y[last] = 1.0
    ranker = PairwiseRanker(transform="uniform", selector=0.1).fit(pairs, y)
    rows = ranker.path_.outliers(ranker.selection_.knot)
    found = win_proportions(pairs, y).pairs.tolist()
    assert np.flatnonzero(rows).tolist() == [found.index([0, 3])]
    assert ranker.scores_[0] > ranker.scores_[3]
    assert not ranker.outlier_votes_[last].any()


def test_select_shares_the_path(ordered):
    ranker = PairwiseRanker().fit(ordered.pairs, ordered.y)
    other = ranker.select(VoteShare(0.1))
    assert other.path_ is ranker.path_
    assert other.votes_ is ranker.votes_
    assert 0.09 < other.outlier_votes_.mean() <= 0.1
    assert ranker.selector == "auto"
    share = PairwiseRanker(selector=VoteShare(0.1)).fit(ordered.pairs, ordered.y)
    np.testing.assert_array_equal(share.outlier_votes_, other.outlier_votes_)
    np.testing.assert_allclose(share.scores_, other.scores_)


def test_refit_is_the_fit_without_distrusted_votes(graded):
    ranker = PairwiseRanker(estimate="refit").fit(graded.pairs, graded.y)
    kept = ~ranker.outlier_votes_
    assert not kept.all()
    X = incidence(graded.pairs[kept], 8)
    expected = np.linalg.lstsq(X, graded.y[kept], rcond=None)[0]
    np.testing.assert_allclose(ranker.scores_, centred(expected), atol=1e-9)
    assert ranker.score_cov_ is None
    with pytest.raises(ValueError, match=r"bootstrap\(\)"):
        ranker.score_differences()


def test_mixture_probabilities_are_those_of_votes_before_flips():
    votes = make_votes(
        n_items=8,
        n_votes=20_000,
        flip_rate=0.2,
        generator="bradley_terry",
        random_state=5,
    )
    ranker = PairwiseRanker(estimate="mixture", ridge=0.0).fit(votes.pairs, votes.y)
    grid = np.array([[i, j] for i in range(8) for j in range(8) if i != j])
    truth = votes.scores[grid[:, 0]] - votes.scores[grid[:, 1]]
    margin = ranker.predict(grid)
    np.testing.assert_allclose(ranker.predict_proba(grid)[:, 1], special.expit(margin))
    error = ranker.score_differences(grid)["standard_error"]
    z = (margin - truth) / error
    assert np.abs(z).max() < 4
    # Without a model of flips differences are too small.
    plain = PairwiseRanker(ridge=0.0, selector=1.0).fit(votes.pairs, votes.y)
    far = np.abs(truth) > 2
    assert np.mean(plain.predict(grid)[far] / truth[far]) < 0.7
    assert abs(np.mean(margin[far] / truth[far]) - 1) < 0.1


def test_covariance_and_differences_agree(graded):
    ranker = PairwiseRanker().fit(graded.pairs, graded.y, worker=graded.worker)
    frame = ranker.score_differences([[0, 1], [5, 2]], level=0.9)
    cov = ranker.score_cov_
    for k, (i, j) in enumerate([(0, 1), (5, 2)]):
        error = np.sqrt(cov[i, i] + cov[j, j] - 2 * cov[i, j])
        assert frame["standard_error"][k] == pytest.approx(error)
        assert frame["difference"][k] == pytest.approx(
            ranker.scores_[i] - ranker.scores_[j]
        )
    half = (frame["high"] - frame["low"]) / 2 / frame["standard_error"]
    # 20 workers; fewer degrees of freedom, since they voted unequally often.
    assert (half >= stats.t.ppf(0.95, 19)).all()
    assert (half < stats.t.ppf(0.95, 12)).all()
    np.testing.assert_allclose(cov.sum(axis=0), 0, atol=1e-12)
    errors = ranker.score_intervals().set_index("item")["standard_error"]
    np.testing.assert_allclose(errors[ranker.items_], np.sqrt(np.diagonal(cov)))
    ranks = ranker.rank_intervals(n_draws=200)
    assert (ranks["low"] <= ranks["rank"]).all()
    assert (ranks["rank"] <= ranks["high"]).all()


def test_bootstrap_repeats_the_choice(graded):
    ranker = PairwiseRanker().fit(graded.pairs, graded.y, worker=graded.worker)
    one = ranker.bootstrap(20, random_state=0)
    other = ranker.bootstrap(20, random_state=0)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert one.scores.shape == (20, 8)
    frequency = one.distrust_frequency
    assert frequency.shape == (400,)
    assert frequency[ranker.outlier_votes_].mean() > 0.9
    ratio = np.sqrt(np.trace(one.cov) / np.trace(ranker.score_cov_))
    assert 0.5 < ratio < 2


@pytest.mark.parametrize("kind", ["bayesian", "resample"])
def test_bootstrap_of_workers_with_weights_is_that_of_repeated_votes(graded, kind):
    """The draws are of workers, whatever the weights, but not of one without any."""
    weight = np.random.default_rng(3).integers(0, 4, 400).astype(float)
    weight[graded.worker == 19] = 0.0
    rows = np.repeat(np.arange(400), weight.astype(int))
    ranker = PairwiseRanker(selector=1.5)
    weighted = ranker.fit(
        graded.pairs, graded.y, worker=graded.worker, sample_weight=weight
    ).bootstrap(6, random_state=0, kind=kind)
    repeated = ranker.fit(
        graded.pairs[rows], graded.y[rows], worker=graded.worker[rows]
    ).bootstrap(6, random_state=0, kind=kind)
    assert weighted.n_clusters == repeated.n_clusters == 19
    assert np.ptp(weighted.scores, axis=0).max() > 0.01
    np.testing.assert_allclose(weighted.scores, repeated.scores, atol=1e-8)
    frequency = weighted.distrust_frequency[rows]
    assert frequency.max() > 0
    np.testing.assert_array_equal(frequency, repeated.distrust_frequency)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "l1"},
        {"method": "hard"},
        {"method": "lbi"},
        {"estimate": "refit"},
        {"transform": "uniform"},
    ],
    ids=str,
)
def test_bootstrap_with_ones_is_the_fit(graded, options):
    y = np.sign(graded.y) if "transform" in options else graded.y
    ranker = PairwiseRanker(n_knots=30, **options).fit(graded.pairs, y)
    boot = ranker.bootstrap(2, random_state=0)
    np.testing.assert_allclose(boot.estimate, ranker.scores_, atol=1e-9)


def test_items_that_lose_their_votes_have_no_score_in_a_draw():
    votes = make_votes(n_items=30, n_votes=70, n_workers=7, random_state=0)
    ranker = PairwiseRanker(selector=0.8).fit(votes.pairs, votes.y, worker=votes.worker)
    boot = ranker.bootstrap(20, random_state=0, kind="resample")
    missing = np.isnan(boot.scores)
    assert missing.any()
    assert (missing.all(axis=1) == missing.any(axis=1)).all()
    assert not (boot.scores == 0).any()


def test_one_worker_has_scores_but_no_intervals(ordered):
    ranker = PairwiseRanker().fit(ordered.pairs, ordered.y, worker=["me"] * 900)
    plain = PairwiseRanker().fit(ordered.pairs, ordered.y)
    np.testing.assert_array_equal(ranker.scores_, plain.scores_)
    assert ranker.score_cov_ is None
    assert plain.score_cov_ is not None
    with pytest.raises(ValueError, match="one worker"):
        ranker.score_differences()
    with pytest.raises(ValueError, match=r"^one worker .*leave workers out"):
        ranker.bootstrap(2)


def test_a_fit_that_fails_changes_nothing(ordered):
    ranker = PairwiseRanker(selector=0.4).fit(ordered.pairs, ordered.y)
    before = ranker.predict([[0, 1]])
    with pytest.raises(ValueError, match="knot=0.01"):
        ranker.set_params(selector=0.01).fit(ordered.pairs + 100, ordered.y)
    np.testing.assert_array_equal(ranker.predict([[0, 1]]), before)
    assert ranker.votes_.items.tolist() == list(range(10))


def test_parameters_set_later_do_not_change_a_fit(ordered):
    ranker = PairwiseRanker(transform="uniform").fit(ordered.pairs, ordered.y)
    probability = ranker.predict_proba([[0, 1]])
    low = ranker.score_differences()["low"]
    ranker.set_params(transform=None, position_bias=True)
    copy = pickle.loads(pickle.dumps(ranker))
    for one in (ranker, copy):
        np.testing.assert_array_equal(one.predict_proba([[0, 1]]), probability)
        np.testing.assert_allclose(one.score_differences()["low"], low)
    other = copy.select(1e6)
    assert other.transform == "uniform"
    assert not other.outlier_votes_.any()


def test_the_ridge_is_half_a_tie_for_each_item(ordered):
    ranker = PairwiseRanker().fit(ordered.pairs, ordered.y)
    ties = ranker.path_.ridge * 900
    # Each tie is about two items; nine scores are free.
    assert ties == pytest.approx(9 * 0.5 / 2)
    mixture = PairwiseRanker(estimate="mixture").fit(ordered.pairs, ordered.y)
    assert mixture.mixture_.ridge == pytest.approx(ranker.path_.ridge / 5)
    assert PairwiseRanker(ridge=0.3).fit(ordered.pairs, ordered.y).path_.ridge == 0.3


def test_probabilities_of_graded_votes_are_those_of_normal_noise():
    votes = make_votes(
        n_items=5,
        n_votes=4000,
        flip_rate=0.0,
        generator="graded",
        noise=1.5,
        random_state=0,
    )
    ranker = PairwiseRanker().fit(votes.pairs, votes.y)
    margin = ranker.predict([[0, 1]])
    z = stats.norm.ppf(ranker.predict_proba([[0, 1]])[0, 1])
    np.testing.assert_allclose(margin / z, 1.5, rtol=0.05)
    p = ranker.predict_proba([[3, 3], [0, 1]])
    assert p[0].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_errors_of_transformed_proportions_are_those_of_pairs():
    spread, errors = [], []
    for seed in range(60):
        votes = make_votes(
            n_items=12,
            n_votes=600,
            flip_rate=0.0,
            generator="bradley_terry",
            spread=1.0,
            random_state=np.random.RandomState(seed),
            graph="complete",
        )
        ranker = PairwiseRanker(transform="uniform", selector=1e6)
        ranker.fit(votes.pairs, votes.y)
        truth = special.expit(votes.scores[:, None] - votes.scores)
        expected = (2 * truth - 1).mean(axis=1)  # of least squares, complete graph
        frame = ranker.score_intervals().sort_values("item")
        spread.append(frame["score"].to_numpy() - expected)
        errors.append(frame["standard_error"].to_numpy())
    ratio = np.sqrt(np.mean(np.square(spread)) / np.mean(np.square(errors)))
    assert 0.9 < ratio < 1.1


def test_unanimous_pairs_are_graded_for_a_transform():
    votes = make_votes(n_items=6, n_votes=60, flip_rate=0.0, random_state=0)
    ranker = PairwiseRanker(transform="uniform").fit(votes.pairs, votes.y)
    assert set(np.unique(np.abs(ranker._question().problem.y))) == {1.0}
    assert ranker.ranking_["item"].tolist() == np.argsort(-votes.scores).tolist()


@pytest.mark.parametrize("selector", ["aic", "bic", "gap"])
def test_points_at_events_do_not_depend_on_rounding(selector):
    for seed in range(8):
        votes = make_votes(5, 60, generator="graded", random_state=seed)
        order = np.random.default_rng(seed).permutation(60)
        one = PairwiseRanker(selector=selector).fit(votes.pairs, votes.y)
        other = PairwiseRanker(selector=selector)
        other.fit(votes.pairs[order], votes.y[order])
        np.testing.assert_allclose(one.score_cov_, other.score_cov_, rtol=1e-6)


def test_a_mixture_in_doubt_has_no_intervals():
    found = 0
    for seed in range(12):
        votes = make_votes(
            n_items=8,
            n_votes=1500,
            generator="bradley_terry",
            spread=1.0,
            random_state=seed,
        )
        ranker = PairwiseRanker(estimate="mixture", selector=1.0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ranker.fit(votes.pairs, votes.y)
        zero = ranker.mixture_.rate == 0 and ranker.mixture_.interval[1] > 0.01
        if zero or not ranker.mixture_.identified:
            found += 1
            assert any("mixture" in str(one.message) for one in caught)
            assert ranker.score_cov_ is None
            with pytest.raises(ValueError, match=r"bootstrap\(\)"):
                ranker.score_differences()
        else:
            assert np.isfinite(ranker.score_cov_).all()
    assert found > 0


def test_sparse_and_single_precision_features(graded):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((8, 3)).astype(np.float32)
    features[rng.random((8, 3)) < 0.3] = 0
    dense = PairwiseRanker(selector=3.0).fit(graded.pairs, graded.y, features)
    table = sparse.csr_array(features)
    other = PairwiseRanker(selector=3.0).fit(graded.pairs, graded.y, table)
    np.testing.assert_allclose(other.coef_, dense.coef_, rtol=1e-5)
    np.testing.assert_allclose(other.score_cov_, dense.score_cov_, rtol=1e-4)
    margin = other.predict([[0, 1]], table)
    np.testing.assert_allclose(margin, dense.predict([[0, 1]], features), rtol=1e-5)


def test_covariance_of_a_transform_counts_pairs(ordered):
    ranker = PairwiseRanker(transform="uniform", selector=1e6)
    ranker.fit(ordered.pairs, ordered.y)
    found = win_proportions(ordered.pairs, ordered.y)
    flow, count = found.flows("uniform")
    X, w = incidence(found.pairs, 10), count / count.mean()
    inverse = np.linalg.pinv(X.T @ (w[:, None] * X))
    scores = (w * (flow - X @ ranker.scores_))[:, None] * X
    pairs = len(flow)
    expected = inverse @ scores.T @ scores @ inverse * pairs / (pairs - 9)
    np.testing.assert_allclose(ranker.score_cov_, expected, rtol=1e-8, atol=1e-14)
    # Thresholds concern residuals in units of their standard deviation.
    np.testing.assert_allclose(ranker.path_.row_factor, 1 / np.sqrt(w))


def test_workers_with_a_bias_of_their_own_do_not_hide_flips():
    votes = make_votes(
        n_items=10,
        n_votes=3000,
        flip_rate=0.15,
        n_workers=30,
        n_one_sided=6,
        random_state=2,
    )
    ranker = PairwiseRanker(position_bias="worker")
    ranker.fit(votes.pairs, votes.y, worker=votes.worker)
    assert abs(ranker.flip_rate_.rate - 0.15) < 0.04
    one_sided = np.isin(votes.worker, votes.one_sided)
    assert ranker.outlier_votes_[votes.flipped & ~one_sided].mean() > 0.85
    frame = ranker.worker_reliability_.set_index("worker")
    assert set(frame.index[frame["one_sided"]]) == set(votes.one_sided)
    assert frame.loc[votes.one_sided, "reliability"].max() < 0.5


def test_reports_of_votes(ordered):
    names = np.array([f"n{k}" for k in range(10)])
    ranker = PairwiseRanker().fit(names[ordered.pairs], ordered.y)
    frame = ranker.votes_frame(5)
    assert frame.index.tolist() == ranker.vote_order_[:5].tolist()
    assert frame["distrusted"].all()
    assert (np.diff(frame["strength"]) <= 0).all()
    # Suspicious votes contradict the scores.
    assert (frame["margin"] * frame["y"] < 0).all()
    hodge = ranker.hodge()
    assert sum(hodge.shares.values()) == pytest.approx(1)
    assert set(hodge.to_frame()["first"]) <= set(names)
    assert set(hodge.triangles(3)["third"]) <= set(names)
    leverage = ranker.leverage_
    assert leverage.sum() == pytest.approx(9)


def test_a_vote_that_nothing_contradicts_is_not_distrusted(ordered):
    pairs = np.vstack([ordered.pairs, [[10, 0]]])
    y = np.append(ordered.y, 1)
    ranker = PairwiseRanker(selector=VoteShare(0.4)).fit(pairs, y)
    assert not ranker.outlier_votes_[-1]
    assert ranker.vote_order_[-1] == 900
    assert ranker.leverage_[-1] == 1


def test_frames_and_winner_loser_tables(ordered):
    names = np.array([f"n{k}" for k in range(10)])
    first, second = names[ordered.pairs].T
    frame = pd.DataFrame(
        {"left": first, "right": second, "vote": ordered.y, "who": "w"},
        index=range(7, 907),
    )
    frame.loc[: 300 + 7, "who"] = "v"
    ranker = PairwiseRanker().fit(frame, "vote", worker="who")
    plain = PairwiseRanker().fit(names[ordered.pairs], ordered.y)
    np.testing.assert_allclose(ranker.scores_, plain.scores_)
    assert ranker.worker_reliability_["worker"].tolist() == ["v", "w"]
    won = ordered.y > 0
    table = np.where(won[:, None], ordered.pairs, ordered.pairs[:, ::-1])
    winners = PairwiseRanker().fit(table)
    np.testing.assert_allclose(winners.scores_, plain.scores_, atol=1e-6)


def test_estimator_conventions(ordered):
    ranker = PairwiseRanker(selector="flips")
    before = ranker.get_params()
    for method in (lambda r: r.predict([[0, 1]]), lambda r: r.rank()):
        with pytest.raises(NotFittedError):
            method(ranker)
    path = ranker.path(ordered.pairs, ordered.y)
    assert not hasattr(ranker, "path_")
    ranker.fit(ordered.pairs, ordered.y)
    np.testing.assert_array_equal(path.knots, ranker.path_.knots)
    assert ranker.get_params() == before
    again = clone(ranker).fit(ordered.pairs, ordered.y)
    np.testing.assert_array_equal(again.scores_, ranker.scores_)
    copy = pickle.loads(pickle.dumps(ranker))
    np.testing.assert_array_equal(copy.predict([[0, 1]]), ranker.predict([[0, 1]]))
    np.testing.assert_allclose(
        copy.score_differences()["low"], ranker.score_differences()["low"]
    )
    np.testing.assert_array_equal(
        copy.select(VoteShare(0.1)).outlier_votes_,
        ranker.select(VoteShare(0.1)).outlier_votes_,
    )
    assert str(clone(PairwiseRanker(method="iss"))) == "PairwiseRanker(method='iss')"


# ----------------------------------------------------------------------------- errors

TRIANGLE = np.array([[0, 1], [1, 2], [2, 0], [0, 2]])


@pytest.mark.parametrize(
    ("options", "y", "match"),
    [
        ({"model": "probit"}, [1, 1, 1, 1], "model='probit'"),
        ({"method": "ols"}, [1, 1, 1, 1], "method='ols'"),
        ({"estimate": "mle"}, [1, 1, 1, 1], "estimate='mle'"),
        ({"ridge": -1.0}, [1, 1, 1, 1], "ridge=-1.0"),
        ({"ridge": True}, [1, 1, 1, 1], "ridge=True"),
        ({"selector": "knee"}, [1, -1, 1, 1], "selector='knee'"),
        ({"selector": "sigma"}, [1, -1, 1, 1], "2.47"),
        ({"selector": "bic"}, [1, -1, 1, 1], "bic"),
        ({"selector": "flips"}, [1.5, -1, 1, 1], "graded"),
        ({"model": "logistic"}, [1.5, -1, 1, 1], "graded"),
        ({"model": "logistic", "method": "iss"}, [1, -1, 1, 1], "method='iss'"),
        ({"transform": "uniform"}, [1.5, -1, 1, 1], "transform='uniform'"),
        ({"transform": "probit"}, [1, -1, 1, 1], "transform='probit'"),
        (
            {"transform": "uniform", "selector": "flips"},
            [1, -1, 1, 1],
            "makes graded values",
        ),
        (
            {"transform": "uniform", "model": "logistic"},
            [1, -1, 1, 1],
            "model='linear'",
        ),
        (
            {"transform": "uniform", "position_bias": True},
            [1, -1, 1, 1],
            "position_bias=True",
        ),
        ({"position_bias": "workers"}, [1, -1, 1, 1], "position_bias='workers'"),
        ({"position_bias": "worker"}, [1, -1, 1, 1], "who voted"),
        ({"position_bias": True}, [1, 1, 1, 1], "winner and loser"),
        ({"estimate": "mixture"}, [1.5, -1, 1, 1], "estimate='mixture'"),
    ],
)
def test_options_that_cannot_be_used(options, y, match):
    with pytest.raises(ValueError, match=match):
        PairwiseRanker(**options).fit(TRIANGLE, y)


def test_positions_that_say_who_is_shown():
    pairs = [[0, 1], [0, 2], [0, 1], [0, 2], [0, 2]]
    with pytest.raises(ValueError, match="always first"):
        PairwiseRanker(position_bias=True).fit(pairs, [1, -1, 1, 1, -1])


def test_votes_that_cannot_be_used(ordered):
    fit = PairwiseRanker().fit
    with pytest.raises(ValueError, match="with itself"):
        fit([[0, 1], [1, 1], [2, 0]], [1, 1, 1])
    with pytest.raises(ValueError, match="y"):
        fit(TRIANGLE, [1, 1, np.nan, 1])
    with pytest.raises(ValueError, match="one vote"):
        fit([[0, 1]], [1])
    with pytest.raises(ValueError, match="unknown item: 2"):
        fit(TRIANGLE, [1, 1, 1, -1], pd.DataFrame({"a": [1.0, 2.0]}, index=[0, 1]))
    with pytest.raises(ValueError, match="several rows for 1"):
        fit(
            TRIANGLE,
            [1, 1, 1, -1],
            pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=[0, 1, 1]),
        )
    table = pd.DataFrame([[1.0, 2.0]] * 3, columns=["a", "a"])
    with pytest.raises(ValueError, match="same name"):
        fit(TRIANGLE, [1, 1, 1, -1], table)
    with pytest.raises(ValueError, match="complex"):
        fit(TRIANGLE, [1, 1, 1, -1], [[1j], [2], [3]])
    with pytest.raises(ValueError, match="missing to item_features"):
        fit(TRIANGLE, [1, 1, 1, -1], [[1.0], [2.0]])
    with pytest.raises(ValueError, match="nan for item 1"):
        fit(TRIANGLE, [1, 1, 1, -1], [[1.0], [np.nan], [2.0]])
    ranker = PairwiseRanker().fit(ordered.pairs, ordered.y)
    with pytest.raises(ValueError, match="99"):
        ranker.predict([[0, 99]])
    with pytest.raises(ValueError, match="fitted without"):
        ranker.predict([[0, 1]], np.ones((10, 1)))
    with pytest.raises(ValueError, match="level=2"):
        ranker.score_differences(level=2)
