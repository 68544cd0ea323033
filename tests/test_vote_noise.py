"""Flip rates and workers: planted values, exact probabilities, other ways to them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from sparselbi import vote_noise as module
from sparselbi.vote_noise import flip_rate, worker_reliability


def cast(n=2000, rate=0.2, spread=3.0, scale=1.0, seed=0):
    """Differences of scores, votes, and which are flipped."""
    rng = np.random.default_rng(seed)
    eta = spread * rng.normal(size=n)
    y = np.where(rng.random(n) < special.expit(scale * eta), 1.0, -1.0)
    flipped = rng.random(n) < rate
    return eta, np.where(flipped, -y, y), flipped


def likelihood(rate, scale, eta, y, weight=1.0):
    chance = special.expit(scale * y * eta)
    return np.sum(weight * np.log((1 - rate) * chance + rate * (1 - chance)))


def by_em(eta, y, steps=4000):
    """The same estimate by expectation and maximization."""
    rate, scale = 0.2, 1.0
    for _ in range(steps):
        against = rate * special.expit(-scale * y * eta)
        flipped = against / (against + (1 - rate) * special.expit(scale * y * eta))
        rate = flipped.mean()
        truth = 1 - 2 * flipped  # mean of the sign before flips, times y
        for _ in range(3):
            p = special.expit(scale * eta)
            slope = eta @ ((1 + y * truth) / 2 - p)
            scale += slope / (eta**2 @ (p * (1 - p)))
    return rate, scale


# -------------------------------------------------------------------------- flip rate


def test_margins_of_one_size_are_close_calls():
    eta, y = np.ones(100), np.append(np.ones(93), -np.ones(7))
    found = flip_rate(eta, y)
    # Any rate up to 7 % has the same likelihood: the least one is reported.
    assert found.rate == 0
    assert special.expit(found.scale) == pytest.approx(0.93, abs=1e-4)
    assert np.isnan(found.stderr)
    assert found.interval[0] == 0
    assert repr(found).startswith("FlipRate(0.0000, 95 % interval 0.0000 to 0.1")


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.35])
def test_planted_rates_are_within_their_errors(rate):
    found = [
        flip_rate(*cast(n=4000, rate=rate, scale=0.7, seed=seed)[:2])
        for seed in range(25)
    ]
    rates = np.array([each.rate for each in found])
    errors = np.array([each.stderr for each in found])
    # The mean of 25 within 4 of its standard errors, and errors of the right size.
    assert abs(rates.mean() - rate) < 4 * errors.mean() / 5
    assert 0.6 < rates.std(ddof=1) / errors.mean() < 1.5
    covered = [each.interval[0] <= rate <= each.interval[1] for each in found]
    assert sum(covered) >= 20  # probability below 1e-3 with 95 % each
    assert np.median([each.scale for each in found]) == pytest.approx(0.7, rel=0.15)


def test_estimate_is_that_of_em_and_no_other_is_more_likely():
    eta, y, _ = cast(n=800)
    found = flip_rate(eta, y)
    rate, scale = by_em(eta, y)
    assert found.rate == pytest.approx(rate, abs=1e-5)
    assert found.scale == pytest.approx(scale, rel=1e-4)
    best = likelihood(found.rate, found.scale, eta, y)
    assert found.log_likelihood == pytest.approx(best, rel=1e-12)
    for a, b in itertools.product(np.linspace(0, 0.5, 26), np.geomspace(0.05, 20, 40)):
        assert likelihood(a, b, eta, y) <= best


def test_standard_error_and_interval_are_those_of_the_likelihood():
    eta, y, _ = cast(n=1500, rate=0.15)
    found = flip_rate(eta, y)

    def value(parameters):
        return likelihood(parameters[0], np.exp(parameters[1]), eta, y)

    at, h = np.array([found.rate, np.log(found.scale)]), 1e-4
    hessian = np.empty((2, 2))
    for i, j in itertools.product(range(2), range(2)):
        steps = [h * np.eye(2)[i], h * np.eye(2)[j]]
        corners = [
            a * b * value(at + a * steps[0] + b * steps[1])
            for a, b in itertools.product((1, -1), (1, -1))
        ]
        hessian[i, j] = sum(corners) / (4 * h * h)
    stderr = np.sqrt(np.linalg.inv(-hessian)[0, 0])
    assert found.stderr == pytest.approx(stderr, rel=1e-5)
    for end in found.interval:
        inner = optimize.minimize_scalar(
            lambda log_scale, end=end: -value([end, log_scale]),
            bracket=(at[1] - 0.2, at[1] + 0.2),
        )
        drop = 2 * (found.log_likelihood + inner.fun)
        assert drop == pytest.approx(stats.chi2.ppf(0.95, 1), abs=0.01)


def test_posterior_is_by_bayes_and_calibrated():
    eta, y, flipped = cast(n=20_000, rate=0.2)
    found = flip_rate(eta, y)
    chance = special.expit(found.scale * y * eta)
    joint = found.rate * (1 - chance)
    expected = joint / (joint + (1 - found.rate) * chance)
    np.testing.assert_allclose(found.posterior, expected, rtol=1e-12)
    # The likelihood equation: their mean is the rate.
    assert found.posterior.mean() == pytest.approx(found.rate, abs=1e-5)
    assert found.n_flipped == pytest.approx(found.posterior.sum(), rel=1e-4)
    for low in (0.0, 0.2, 0.6):
        some = (found.posterior >= low) & (found.posterior < low + 0.4)
        error = 4 * np.sqrt(0.25 / some.sum())
        assert abs(flipped[some].mean() - found.posterior[some].mean()) < error


@given(unit=st.floats(1e-6, 1e6), seed=st.integers(0, 20), turn=st.booleans())
@settings(max_examples=15, deadline=None)
def test_units_sides_and_sizes_of_votes_do_not_matter(unit, seed, turn):
    eta, y, _ = cast(n=300, seed=seed)
    sign = -1 if turn else 1
    a, b = flip_rate(eta, y), flip_rate(sign * unit * eta, 5 * sign * y)
    assert b.rate == pytest.approx(a.rate, abs=1e-6)
    assert b.scale * unit == pytest.approx(a.scale, rel=1e-4)
    assert a.identified == b.identified


def test_weights_are_repetitions_and_ties_do_not_count():
    eta, y, _ = cast(n=500)
    times = np.random.default_rng(0).integers(0, 4, 500)
    a = flip_rate(eta, y, times)
    b = flip_rate(
        np.append(np.repeat(eta, times), [3.0, 1.0]),
        np.append(np.repeat(y, times), [0.0, 0.0]),
    )
    assert a.rate == pytest.approx(b.rate, abs=1e-6)
    assert a.stderr == pytest.approx(b.stderr, rel=1e-4)
    assert a.n_votes == b.n_votes == times.sum()
    assert (b.posterior[-2:] == 0).all()


def test_many_votes_are_grouped_without_harm(monkeypatch):
    eta, y, _ = cast(n=30_000)
    exact = flip_rate(eta, y)
    monkeypatch.setattr(module, "_GROUPS", 4000)
    grouped = flip_rate(eta, y)
    assert grouped.rate == pytest.approx(exact.rate, abs=1e-3 * exact.stderr)
    assert grouped.stderr == pytest.approx(exact.stderr, rel=1e-3)


def test_votes_by_sign_have_the_share_of_those_against_it():
    eta, y, _ = cast(n=1000, scale=1e9, rate=0.1)
    eta += 0.5 * np.sign(eta)  # no close calls
    against = np.mean(y != np.sign(eta))
    found = flip_rate(eta, y)
    assert found.scale == np.inf
    assert found.rate == pytest.approx(against, abs=1e-6)
    assert found.stderr == pytest.approx(np.sqrt(against * (1 - against) / 1000))
    np.testing.assert_array_equal(found.posterior > 0.5, y != np.sign(eta))


def test_rates_without_clear_pairs_are_not_identified():
    eta, y, _ = cast(spread=0.3)
    found = flip_rate(eta, y)
    assert not found.identified
    assert "clearly different" in found.reason
    assert found.interval[1] - found.interval[0] > 0.25
    eta, y, _ = cast()
    assert flip_rate(eta, y, n_scores=400).identified
    few = flip_rate(eta, y, n_scores=401)
    assert not few.identified
    assert "2000 votes for 401 scores" in few.reason
    equal = flip_rate(np.zeros(5), np.ones(5))
    assert not equal.identified
    assert equal.reason == "all scores are equal"
    assert equal.interval == (0.0, 0.5)


def test_votes_without_flips_have_a_rate_that_includes_0():
    found = [flip_rate(*cast(rate=0.0, seed=seed)[:2]) for seed in range(10)]
    assert all(each.identified and each.rate < 0.01 for each in found)
    assert sum(each.interval[0] == 0 for each in found) >= 7
    assert all(np.isnan(each.stderr) for each in found if each.rate == 0)


# ---------------------------------------------------------------------------- workers


def crowd(seed, n_workers=50, n_clickers=5, spread=1.5):
    """Votes of careful workers, and of some who always click one side."""
    rng = np.random.default_rng(seed)
    worker = np.repeat(np.arange(n_workers), rng.integers(20, 61, n_workers))
    eta = spread * rng.normal(size=len(worker)) * np.sqrt(2)
    y = np.where(rng.random(len(worker)) < special.expit(eta), 1.0, -1.0)
    side = rng.choice([-1.0, 1.0], n_workers)
    return eta, np.where(worker < n_clickers, side[worker], y), worker


def test_all_who_click_one_side_are_found_and_nobody_else():
    for seed in range(40):
        table = worker_reliability(*crowd(seed, spread=1.0 if seed % 2 else 2.0))
        assert table.one_sided.tolist() == [True] * 5 + [False] * 45


def test_position_test_has_its_size():
    p = np.concatenate(
        [
            worker_reliability(*crowd(seed, n_clickers=0)).p_position.to_numpy()
            for seed in range(20)
        ]
    )
    # Discrete tests are conservative; 1000 p-values.
    for level in (0.01, 0.05, 0.2):
        assert stats.binom.sf((p <= level).sum() - 1, len(p), level) > 1e-3
    assert (p <= 0.2).mean() > 0.05


def test_p_values_are_those_of_all_outcomes():
    rng = np.random.default_rng(0)
    table = rng.uniform(0.05, 0.95, (6, 9))
    table[3, 5:] = 0.0  # fewer votes
    for count in range(6):
        found = module._count_tests(table, np.full(6, float(count)))
        for row, p_value in zip(table, found, strict=True):
            chance = row[row > 0]
            mass = np.zeros(len(row) + 1)
            for outcome in itertools.product((0, 1), repeat=len(chance)):
                taken = np.where(outcome, chance, 1 - chance)
                mass[sum(outcome)] += taken.prod()
            two = 2 * min(mass[: count + 1].sum(), mass[count:].sum())
            assert p_value == pytest.approx(min(two, 1.0), rel=1e-12)


def test_p_values_of_coins_are_binomial():
    # Equal scores: whatever the reliability, both sides are equally likely.
    rng = np.random.default_rng(3)
    worker = np.repeat(["a", "b", "c"], [10, 25, 40])
    y = np.where(rng.random(75) < 0.7, 1.0, -1.0)
    table = worker_reliability(np.zeros(75), y, worker)
    for name, p_value, share in zip(
        table.worker, table.p_position, table.position_share, strict=True
    ):
        votes = y[worker == name]
        assert share == pytest.approx(np.mean(votes > 0))
        test = stats.binomtest(int((votes > 0).sum()), len(votes), 0.5)
        assert p_value == pytest.approx(test.pvalue, rel=1e-10)
    assert (table.agreement == 0.5).all()


def test_order_of_what_was_shown_is_taken_into_account():
    # A careful worker whose better item always was on the left clicks left.
    eta, y, worker = crowd(1, n_clickers=0, spread=3.0)
    turn = np.where((worker == 7) & (eta < 0), -1, 1)
    table = worker_reliability(turn * eta, turn * y, worker)
    assert table.position_share[7] > 0.8
    assert table.p_position[7] > 0.01
    assert not table.one_sided.any()


def test_bounds_for_many_votes_are_bounds(monkeypatch):
    eta, y, worker = crowd(5)
    exact = worker_reliability(eta, y, worker)
    monkeypatch.setattr(module, "_MANY_VOTES", 0)
    bound = worker_reliability(eta, y, worker)
    assert (bound.p_position >= exact.p_position * (1 - 1e-9)).all()
    assert (bound.p_position <= 12 * exact.p_position).all()
    np.testing.assert_array_equal(bound.one_sided, exact.one_sided)
    # Who has only one side: the product of the chances, which is exact.
    np.testing.assert_allclose(bound.p_position[:5], exact.p_position[:5], rtol=1e-6)
    halves = worker_reliability(eta, y, worker, np.full(len(y), 0.5))
    assert (halves.p_position >= exact.p_position).all()


def test_tables_may_be_put_together_in_pieces(monkeypatch):
    eta, y, worker = crowd(6)
    whole = worker_reliability(eta, y, worker)
    monkeypatch.setattr(module, "_TABLE", 100)
    pieces = worker_reliability(eta, y, worker)
    np.testing.assert_allclose(pieces.p_position, whole.p_position, rtol=1e-12)


def test_reliability_is_the_posterior_mode():
    eta, y, worker = crowd(2)
    strength = 6.0
    table = worker_reliability(eta, y, worker, prior_votes=strength)
    noise = flip_rate(eta, y)
    pooled = 1 - 2 * noise.rate
    for k in (0, 3, 10, 30):
        chance = special.expit(noise.scale * (y * eta)[worker == k])

        def minus(r, chance=chance):
            prior = stats.beta.logpdf(
                r, 1 + strength * pooled, 1 + strength * (1 - pooled)
            )
            return -np.log(r * chance + (1 - r) / 2).sum() - prior

        best = optimize.minimize_scalar(
            minus, bounds=(0, 1), method="bounded", options={"xatol": 1e-10}
        )
        assert table.reliability[k] == pytest.approx(best.x, abs=1e-6)


def test_reliability_orders_workers_and_shrinks():
    rng = np.random.default_rng(0)
    worker = np.repeat(np.arange(40), 150)
    eta = 3 * rng.normal(size=len(worker))
    careful = np.linspace(0, 1, 40)
    follows = rng.random(len(worker)) < careful[worker]
    coin = rng.random(len(worker)) < 0.5
    first = np.where(follows, rng.random(len(worker)) < special.expit(eta), coin)
    y = np.where(first, 1.0, -1.0)
    table = worker_reliability(eta, y, worker)
    assert stats.spearmanr(table.reliability, careful).statistic > 0.95
    noise = flip_rate(eta, y)
    strong = worker_reliability(eta, y, worker, prior_votes=1e7)
    np.testing.assert_allclose(strong.reliability, 1 - 2 * noise.rate, atol=1e-3)
    free = worker_reliability(eta, y, worker, prior_votes=0)
    assert free.reliability.between(0, 1).all()
    assert free.reliability.std() > table.reliability.std()


def test_weights_of_workers_are_repetitions():
    eta, y, worker = crowd(4)
    y[::17] = 0.0
    times = np.random.default_rng(0).integers(0, 3, len(y))
    times[worker == 9] = 0
    a = worker_reliability(eta, y, worker, times)
    again = [np.repeat(column, times) for column in (eta, y, worker)]
    b = worker_reliability(*again)
    assert a.votes[9] == 0
    assert np.isnan(a.agreement[9])
    assert np.isnan(a.p_position[9])
    assert not a.one_sided[9]
    kept = a.drop(index=9).reset_index(drop=True)
    assert list(kept) == list(b)
    for name in ("votes", "agreement", "position_share", "p_position", "reliability"):
        np.testing.assert_allclose(kept[name], b[name], rtol=1e-5)
    np.testing.assert_array_equal(kept.one_sided, b.one_sided)


def test_pairs_of_winner_and_loser_have_no_position():
    eta, y, worker = crowd(0)
    table = worker_reliability(y * eta, np.ones(len(y)), worker)
    assert table.p_position.isna().all()
    assert not table.one_sided.any()
    ties = worker_reliability(eta, np.zeros(len(y)), worker)
    assert (ties.agreement == 0.5).all()
    assert ties.position_share.isna().all()


def test_holm_is_bonferroni_step_by_step():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(module._holm(p), [0.03, np.nan, 0.06, 0.06, 0.02])


# -------------------------------------------------------------------------- bad input


def test_bad_votes_raise():
    with pytest.raises(ValueError, match="eta has shape"):
        flip_rate([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="at least one"):
        flip_rate([], [])
    with pytest.raises(ValueError, match=r"eta\[1\] is nan"):
        flip_rate([1.0, np.nan], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"y\[0\] is inf"):
        flip_rate([1.0, 2.0], [np.inf, 1.0])
    with pytest.raises(ValueError, match="nothing but ties"):
        flip_rate([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(ValueError, match="sample_weight"):
        flip_rate([1.0, 2.0], [1.0, 1.0], [1.0, -1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"worker": [1, 2]}, "worker has shape"),
        ({"worker": ["a", None, "b"]}, r"worker\[1\]"),
        ({"prior_votes": -1}, "prior_votes=-1"),
        ({"one_sided_share": 0.5}, "one_sided_share=0.5"),
        ({"level": 0}, "level=0"),
    ],
)
def test_bad_arguments_of_workers_raise(arguments, message):
    arguments = {"worker": [1, 1, 2], **arguments}
    with pytest.raises(ValueError, match=message):
        worker_reliability([1.0, 2.0, -1.0], [1.0, 1.0, -1.0], **arguments)
