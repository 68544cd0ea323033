"""Bradley-Terry with shifts: optimality with explicit shifts, limits, other solvers."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

from sparselbi._graph_design import GraphDesign
from sparselbi._shift_design import DenseDesign
from sparselbi.solvers.logistic_shift import (
    SeparatedVotes,
    bradley_terry,
    separated_groups,
    trace_logistic_shift,
    vote_curvature,
    vote_scores,
)

N_ITEMS = 7


def cast(n=150, ties=0.0, flips=0.15, spread=1.0, seed=0, n_items=N_ITEMS):
    """Pairs and votes."""
    rng = np.random.default_rng(seed)
    score = spread * rng.normal(size=n_items)
    first = rng.integers(n_items, size=n)
    second = (first + rng.integers(1, n_items, size=n)) % n_items
    chance = special.expit(score[first] - score[second])
    y = np.where(rng.random(n) < chance, 1.0, -1.0)
    y[rng.random(n) < flips] *= -1
    y[rng.random(n) < ties] = 0.0
    return np.column_stack([first, second]), y


def incidence(pairs, n_items=N_ITEMS):
    n = len(pairs)
    data, ends = np.tile([1.0, -1.0], n), np.arange(0, 2 * n + 1, 2)
    return sp.csr_array((data, pairs.ravel(), ends), shape=(n, n_items))


def dense(pairs, y, weight=None, extra=None, n_items=N_ITEMS):
    X = incidence(pairs, n_items)
    if extra is not None:
        X = sp.hstack([X, sp.csr_array(extra)], format="csr")
    return DenseDesign(X, y[:, None], weight, False)


def graph(pairs, y, weight=None, extra=None, n_items=N_ITEMS):
    return GraphDesign(pairs, y, weight, n_items, extra)


def eta_of(design, coords):
    return design.take(np.arange(design.n_samples))[0] @ coords[:, 0]


def full_objective(eta, shift, y, weight, bound, ridge=0.0):
    """The objective as it is stated, with shifts; ties by half."""
    win, loss = np.logaddexp(0, -(eta + shift)), np.logaddexp(0, eta + shift)
    tie = (np.logaddexp(0, -eta) + np.logaddexp(0, eta)) / 2
    votes = (1 + y) / 2 * win + (1 - y) / 2 * loss
    paid = np.where(np.isfinite(bound), bound, 0.0) * abs(shift)
    return weight @ (votes + paid + ridge * tie)


def best_shifts(eta, y, bound):
    """Where the derivative with respect to the shift is between -bound and bound."""
    y01 = (1 + y) / 2
    shift = np.zeros_like(eta)
    residual = y01 - special.expit(eta)
    out = np.abs(residual) > bound
    target = y01 - np.sign(residual) * np.where(out, bound, 0.0)
    shift[out] = special.logit(target[out]) - eta[out]
    return shift


CASES = {
    "plain": {},
    "ties": {"ties": 0.2},
    "weights": {"weights": True},
    "factors": {"factors": True},
    "bias": {"bias": True},
    "ridge": {"ridge": 0.05},
    "all": {"ties": 0.1, "weights": True, "factors": True, "bias": True, "ridge": 0.02},
}


def problem(case, make=dense, seed=1):
    """A design, factors, ridge and the numbers they were made of."""
    spec = CASES[case]
    pairs, y = cast(ties=spec.get("ties", 0.0), seed=seed)
    rng = np.random.default_rng(seed + 100)
    n = len(y)
    weight = rng.integers(0, 4, n).astype(float) if "weights" in spec else None
    factor = np.ones(n)
    if "factors" in spec:
        factor = rng.uniform(0.7, 1.3, n)
        factor[:5] = np.inf
    extra = np.ones((n, 1)) if "bias" in spec else None
    design = make(pairs, y, weight, extra)
    return (
        design,
        factor,
        spec.get("ridge", 0.0),
        y,
        np.ones(n) if weight is None else weight,
    )


# ---------------------------------------------------------------------- optimality


@pytest.mark.parametrize("make", [dense, graph])
@pytest.mark.parametrize("case", CASES)
def test_knots_are_optimal_with_explicit_shifts(case, make):
    design, factor, ridge, y, weight = problem(case, make)
    trace = trace_logistic_shift(design, factor, ridge=ridge, tol=1e-9)
    assert len(trace.knots) == 30
    assert trace.info["n_missed"] == 0
    Z = design.take(np.arange(len(y)))[0]
    for k, knot in enumerate(trace.knots):
        bound = knot * factor
        eta = Z @ trace.coords[k, :, 0]
        shift = best_shifts(eta, y, bound)
        # Stationary in the coordinates, the shifts held fixed.
        residual = (1 + y) / 2 - special.expit(eta + shift)
        slope = residual - ridge * (special.expit(eta) - 0.5)
        assert np.abs(Z.T @ (weight * slope)).max() < 1e-8
        # Stationary in the shifts.
        assert (np.abs(residual) <= bound * (1 + 1e-9) + 1e-15).all()
        out = shift != 0
        np.testing.assert_allclose(
            residual[out], np.sign(shift[out]) * bound[out], rtol=1e-10
        )
        # The sums that are reported.
        assert trace.n_shifted[k] == pytest.approx(weight[out].sum() if k else 0)
        loss = full_objective(eta, shift, y, weight, np.zeros(len(y)))
        assert trace.rss[k] == pytest.approx(2 * loss, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_scipy_finds_the_same_fit(case):
    design, factor, ridge, y, weight = problem(case)
    Z = design.take(np.arange(len(y)))[0]
    thresholds = [0.8, 0.6, 0.45]
    trace = trace_logistic_shift(
        design, factor, ridge=ridge, thresholds=thresholds, tol=1e-10
    )
    for knot, coords in zip(trace.knots[-3:], trace.coords[-3:], strict=True):

        def objective(c, bound=knot * factor):
            eta = Z @ c
            value = full_objective(
                eta, best_shifts(eta, y, bound), y, weight, bound, ridge
            )
            slope = np.clip((1 + y) / 2 - special.expit(eta), -bound, bound)
            slope -= ridge * (special.expit(eta) - 0.5)
            return value, -Z.T @ (weight * slope)

        found = optimize.minimize(
            objective,
            np.zeros(Z.shape[1]),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-7},
        )
        # A minimum is only found to the root of the precision: go on with the slope.
        exact = optimize.root(lambda c: objective(c)[1], found.x, tol=1e-14).x
        np.testing.assert_allclose(coords[:, 0], exact, rtol=1e-8, atol=1e-8)
        assert objective(coords[:, 0])[0] <= found.fun * (1 + 1e-13)


def test_no_perturbation_of_coordinates_and_shifts_is_better():
    design, factor, ridge, y, weight = problem("all")
    trace = trace_logistic_shift(design, factor, ridge=ridge, tol=1e-9)
    rng = np.random.default_rng(0)
    Z = design.take(np.arange(len(y)))[0]
    for k in (3, 15, 29):
        bound, coords = trace.knots[k] * factor, trace.coords[k, :, 0]
        shift = best_shifts(Z @ coords, y, bound)
        least = full_objective(Z @ coords, shift, y, weight, bound, ridge)
        for size in (1e-3, 1e-1, 1.0):
            for _ in range(20):
                away = Z @ (coords + size * rng.normal(size=len(coords)))
                moved = shift + size * rng.normal(size=len(y)) * np.isfinite(factor)
                for other in (shift, moved):
                    value = full_objective(away, other, y, weight, bound, ridge)
                    assert value >= least * (1 - 1e-13)


def test_scores_and_curvature_are_derivatives():
    rng = np.random.default_rng(0)
    eta, y = 2 * rng.normal(size=40), rng.integers(-1, 2, 40).astype(float)
    bound = rng.uniform(0.2, 0.9, 40)

    def value(eta):
        shift = best_shifts(eta, y, bound)
        parts = [
            full_objective(
                eta[e : e + 1],
                shift[e : e + 1],
                y[e : e + 1],
                np.ones(1),
                bound[e : e + 1],
                0.3,
            )
            for e in range(40)
        ]
        return np.array(parts)

    h = 1e-5
    slope = (value(eta + h) - value(eta - h)) / (2 * h)
    np.testing.assert_allclose(vote_scores(eta, y, bound, 0.3), -slope, atol=1e-9)
    change = vote_scores(eta + h, y, bound, 0.3) - vote_scores(eta - h, y, bound, 0.3)
    curvature = vote_curvature(eta, y, bound, 0.3)
    np.testing.assert_allclose(curvature, -change / (2 * h), atol=1e-9)
    # A vote that is certain loses no digits: 1 - sigmoid(40) would be 0.
    np.testing.assert_allclose(
        vote_scores(np.array([40.0]), np.array([1.0])), np.exp(-40.0), rtol=1e-14
    )


# -------------------------------------------------------------------------- limits


@pytest.mark.parametrize("make", [dense, graph])
def test_null_model_is_unpenalized_logistic_regression(make):
    pairs, y = cast()
    weight = np.random.default_rng(5).uniform(0.5, 3, len(y))
    design = make(pairs, y, weight, np.ones((len(y), 1)))
    coords = bradley_terry(design, tol=1e-11)
    X = np.column_stack([incidence(pairs).toarray()[:, 1:], np.ones(len(y))])
    other = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=10**4)
    other.set_params(solver="newton-cholesky").fit(X, y, sample_weight=weight)
    scores = np.append(0.0, other.coef_[0, :-1])
    found = design.to_coefs(coords)[0][0]
    np.testing.assert_allclose(found[:-1], scores - scores.mean(), atol=1e-8)
    np.testing.assert_allclose(found[-1], other.coef_[0, -1], atol=1e-8)


def test_two_items_have_their_log_odds():
    y = np.array([1.0, 1, 1, -1, -1, 1, 1, 0])  # 5.5 wins of 8
    pairs = np.tile([0, 1], (8, 1))
    design = graph(pairs, y, n_items=2)
    scores = design.to_coefs(bradley_terry(design))[0][0]
    assert scores[0] - scores[1] == pytest.approx(np.log(5.5 / 2.5), abs=1e-12)
    # So many ties in addition.
    scores = design.to_coefs(bradley_terry(design, ridge=0.5))[0][0]
    assert scores[0] - scores[1] == pytest.approx(np.log(7.5 / 4.5), abs=1e-12)


def test_path_begins_where_the_first_vote_is_shifted():
    design, factor, _, y, _ = problem("factors")
    trace = trace_logistic_shift(design, factor, tol=1e-9)
    null = bradley_terry(design, tol=1e-10)
    np.testing.assert_allclose(trace.coords[0], null, atol=1e-9)
    scaled = np.abs((1 + y) / 2 - special.expit(eta_of(design, null))) / factor
    assert trace.knots[0] == pytest.approx(scaled.max(), rel=1e-9)
    assert trace.info["threshold_max"] == trace.knots[0]
    assert trace.event_row[0] == scaled.argmax()
    above = trace_logistic_shift(design, factor, thresholds=[1.7, 1.5], tol=1e-9)
    np.testing.assert_array_equal(above.knots, [1.7, 1.5])
    np.testing.assert_allclose(above.coords, [null, null], atol=1e-8)
    assert not above.n_shifted.any()
    assert not len(above.event_row)


def test_infinite_factors_are_maximum_likelihood_at_every_threshold():
    pairs, y = cast()
    design = dense(pairs, y)
    factor = np.full(len(y), np.inf)
    factor[0] = 1.0
    trace = trace_logistic_shift(design, factor, thresholds=[0.2, 0.1], tol=1e-9)
    assert set(trace.event_row) <= {0}
    held = trace_logistic_shift(
        design, np.where(factor == 1, 1e-9, np.inf), thresholds=[1.0], tol=1e-9
    )
    weight = np.ones(len(y))
    weight[0] = 0.0
    without = bradley_terry(graph(pairs, y, weight), tol=1e-10)
    scores = graph(pairs, y, weight).to_coefs(without)[0][0]
    np.testing.assert_allclose(
        design.to_coefs(held.coords[-1])[0][0], scores, atol=1e-7
    )


def test_small_thresholds_minimize_the_sum_of_shifts():
    # As the threshold vanishes, the shifts alone are left: a vote that is shifted costs
    # its margin, and scores grow so that others cost nothing.
    pairs, y = cast(n=60, seed=3)
    design = dense(pairs, y)
    trace = trace_logistic_shift(design, np.ones(60), thresholds=[0.3, 0.1, 0.02])
    against = [
        np.count_nonzero(y * eta_of(design, coords) < 0) for coords in trace.coords
    ]
    assert against[-1] <= against[0]
    assert trace.info["n_missed"] == 0
    spread = [np.ptp(design.to_coefs(coords)[0]) for coords in trace.coords]
    assert (np.diff(spread) > 0).all()


# ------------------------------------------------------------------------ invariance


@given(seed=st.integers(0, 50), k=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_weights_are_repetitions(seed, k):
    pairs, y = cast(n=80, seed=seed, spread=0.5)
    times = np.random.default_rng(seed).integers(0, k + 1, len(y))
    grid = [0.7, 0.5, 0.4]
    one = trace_logistic_shift(
        graph(pairs, y, times.astype(float)),
        np.ones(80),
        thresholds=grid,
        ridge=0.01,
        tol=1e-10,
    )
    design = graph(np.repeat(pairs, times, axis=0), np.repeat(y, times))
    many = trace_logistic_shift(
        design, np.ones(times.sum()), thresholds=grid, ridge=0.01, tol=1e-10
    )
    np.testing.assert_allclose(one.knots[-2:], many.knots[-2:])
    np.testing.assert_allclose(one.rss[-2:], many.rss[-2:], rtol=1e-10)
    np.testing.assert_allclose(one.n_shifted[-2:], many.n_shifted[-2:])


@given(seed=st.integers(0, 30), relabel=st.booleans(), turn=st.booleans())
@settings(max_examples=10, deadline=None)
def test_order_of_votes_names_and_sides_do_not_matter(seed, relabel, turn):
    pairs, y = cast(n=120, seed=seed, ties=0.1)
    rng = np.random.default_rng(seed)
    order = rng.permutation(120)
    names = rng.permutation(N_ITEMS) if relabel else np.arange(N_ITEMS)
    others, votes = names[pairs][order], y[order]
    if turn:
        others, votes = others[:, ::-1], -votes
    first, second = graph(pairs, y), graph(others, votes)
    a = trace_logistic_shift(first, np.ones(120), ridge=0.01, tol=1e-10)
    b = trace_logistic_shift(second, np.ones(120), ridge=0.01, tol=1e-10)
    np.testing.assert_allclose(a.knots, b.knots, rtol=1e-8)
    one, two = first.to_coefs(a.coords)[0][:, 0], second.to_coefs(b.coords)[0][:, 0]
    np.testing.assert_allclose(one, two[:, names], atol=1e-7)


def test_designs_agree():
    paths = []
    for make in (dense, graph):
        design, factor, ridge, _, _ = problem("all", make)
        trace = trace_logistic_shift(design, factor, ridge=ridge, tol=1e-10)
        coefs = design.to_coefs(trace.coords)[0][:, 0]
        paths.append(
            (
                trace,
                coefs
                - coefs[:, :N_ITEMS].mean(1, keepdims=True)
                * (np.arange(coefs.shape[1]) < N_ITEMS),
            )
        )
    (a, one), (b, two) = paths
    np.testing.assert_allclose(a.knots, b.knots, rtol=1e-9)
    np.testing.assert_allclose(one, two, atol=1e-7)
    np.testing.assert_array_equal(a.event_row, b.event_row)


class Reweighting(DenseDesign):
    """Puts its Gram together anew."""

    asked = 0

    def reweighted(self, factor):
        Reweighting.asked += 1
        w = factor if self.weight is None else factor * self.weight
        gram = self.Z.T @ (w[:, None] * self.Z)
        return lambda scores, accuracy: np.linalg.solve(gram, scores)


def test_designs_may_solve_newton_systems_themselves():
    pairs, y = cast()
    other = Reweighting(incidence(pairs), y[:, None], None, False)
    a = trace_logistic_shift(dense(pairs, y), np.ones(len(y)), tol=1e-10)
    b = trace_logistic_shift(other, np.ones(len(y)), tol=1e-10)
    assert Reweighting.asked > 30
    np.testing.assert_allclose(a.coords, b.coords, atol=1e-8)


# ------------------------------------------------------------------ events and knots


def test_events_converge_with_the_grid():
    design, factor, ridge, y, _ = problem("ridge")

    def entries(n_knots):
        trace = trace_logistic_shift(
            design, factor, ridge=ridge, thresholds=np.linspace(0.95, 0.45, n_knots)
        )
        np.testing.assert_array_equal(trace.event_sign, y[trace.event_row])
        entry = np.zeros(len(y))
        enters = trace.event_enters
        np.maximum.at(entry, trace.event_row[enters], trace.event_at[enters])
        return entry

    exact = entries(1000)
    known = exact > 0.46
    assert known.sum() > 30
    coarse, finer = (np.abs(entries(n) - exact)[known] for n in (12, 45))
    # Better than in proportion to the distance of the knots, a quarter here: linear
    # interpolation errs by its square, except where other votes enter in between.
    assert finer.mean() < coarse.mean() / 4
    assert coarse.max() < 0.5 / 11


@pytest.mark.parametrize("case", ["plain", "weights", "ties"])
def test_events_lead_to_the_shifted_votes_of_every_knot(case):
    design, factor, _, y, weight = problem(case)
    trace = trace_logistic_shift(design, factor)
    assert (np.diff(trace.event_at) <= 0).all()
    shifted = np.zeros(len(y), dtype=bool)
    done = 0
    for k, knot in enumerate(trace.knots):
        while done < len(trace.event_at) and trace.event_at[done] >= knot:
            row = trace.event_row[done]
            assert shifted[row] != trace.event_enters[done]
            shifted[row] = trace.event_enters[done]
            done += 1
        eta = eta_of(design, trace.coords[k])
        excess = np.abs((1 + y) / 2 - special.expit(eta)) - knot * factor
        clear = np.abs(excess) > 1e-7
        np.testing.assert_array_equal(shifted[clear], (excess > 0)[clear])
        assert trace.n_shifted[k] == pytest.approx(weight @ shifted if k else 0)
    assert done == len(trace.event_at)


@pytest.mark.parametrize("limit", [5, 20.5, 60])
def test_no_knot_has_more_shifted_votes_than_allowed(limit):
    pairs, y = cast(n=200, seed=4)
    trace = trace_logistic_shift(dense(pairs, y), np.ones(200), max_shifted=limit)
    assert trace.n_shifted.max() <= limit
    assert trace.n_shifted[-1] >= 0.7 * limit
    assert trace.status == "max_outliers"
    assert f"weight {trace.n_shifted[-1]:g}" in trace.message
    assert (np.diff(trace.knots) < 0).all()


def test_default_path_shifts_half_of_the_votes():
    pairs, y = cast(n=300, seed=2, spread=0.5)
    trace = trace_logistic_shift(dense(pairs, y), np.ones(300))
    assert 0.8 * 150 <= trace.n_shifted[-1] <= 150
    given_ones = trace_logistic_shift(
        dense(pairs, y), np.ones(300), thresholds=trace.knots, tol=1e-9
    )
    assert given_ones.status == "thresholds"
    np.testing.assert_allclose(given_ones.coords, trace.coords, atol=1e-6)


def test_votes_of_weight_0_are_judged_but_do_not_fit():
    pairs, y = cast(n=120, seed=6)
    weight = np.ones(120)
    weight[:20] = 0.0
    both = trace_logistic_shift(
        graph(pairs, y, weight), np.ones(120), thresholds=[0.6, 0.5], tol=1e-10
    )
    rest = trace_logistic_shift(
        graph(pairs[20:], y[20:]), np.ones(100), thresholds=[0.6, 0.5], tol=1e-10
    )
    np.testing.assert_allclose(both.coords[-2:], rest.coords[-2:], atol=1e-9)
    np.testing.assert_allclose(both.n_shifted[-2:], rest.n_shifted[-2:])
    assert (both.event_row < 20).any()


# ------------------------------------------------------------------------ separation


@pytest.mark.parametrize("make", [dense, graph])
def test_an_item_that_always_wins_is_reported(make):
    pairs, y = cast(n=300, seed=1)
    y = np.where(pairs[:, 0] == 3, 1.0, np.where(pairs[:, 1] == 3, -1.0, y))
    with pytest.raises(SeparatedVotes, match=r"separated.*3.*ridge=0\.01") as caught:
        trace_logistic_shift(make(pairs, y), np.ones(300))
    np.testing.assert_array_equal(
        caught.value.rows, np.flatnonzero((pairs == 3).any(1))
    )
    # A little regularization, or leaving these votes out, is a cure.
    bradley_terry(make(pairs, y), ridge=0.01)
    weight = (pairs != 3).all(axis=1).astype(float)
    bradley_terry(make(pairs, y, weight))


@pytest.mark.parametrize("make", [dense, graph])
def test_a_worker_who_always_clicks_one_side_has_an_infinite_bias(make):
    pairs, y = cast(n=300, seed=1)
    worker = np.arange(300) % 10
    y[worker == 4] = 1.0
    bias = (worker[:, None] == np.arange(10)).astype(float)
    with pytest.raises(
        SeparatedVotes, match=rf"coefficients \({N_ITEMS + 4}\)"
    ) as caught:
        bradley_terry(make(pairs, y, extra=bias))
    np.testing.assert_array_equal(caught.value.rows, np.flatnonzero(worker == 4))
    assert caught.value.groups is None


def test_separation_is_found_at_any_tolerance_and_without_votes_of_weight_0():
    pairs, y = cast(n=300, seed=1)
    y = np.where(pairs[:, 0] == 3, 1.0, np.where(pairs[:, 1] == 3, -1.0, y))
    lost = np.flatnonzero((pairs == 3).any(axis=1))[0]
    y[lost] *= -1
    bradley_terry(dense(pairs, y))
    weight = np.ones(300)
    weight[lost] = 0.0
    with pytest.raises(SeparatedVotes) as caught:
        bradley_terry(dense(pairs, y, weight), tol=0.1)
    assert lost not in caught.value.rows
    assert len(caught.value.rows) == (pairs == 3).any(axis=1).sum() - 1


def test_votes_without_any_contradiction_are_separated():
    pairs, _ = cast(n=100)
    y = np.sign(pairs[:, 1] - pairs[:, 0]).astype(float)
    with pytest.raises(SeparatedVotes) as caught:
        bradley_terry(graph(pairs, y))
    assert len(caught.value.groups) == N_ITEMS
    assert len(caught.value.rows) == 100


def linear_program_separates(pairs, y, n_items):
    """Whether some scores explain all votes, and not all by differences of 0."""
    X = incidence(pairs, n_items).toarray()
    votes = np.vstack([X[y > 0], -X[y < 0], X[y == 0], -X[y == 0]])
    gain = votes.sum(axis=0)
    found = optimize.linprog(
        -gain, A_ub=-votes, b_ub=np.zeros(len(votes)), bounds=(-1, 1)
    )
    return -found.fun > 1e-9


@given(seed=st.integers(0, 10**6), n=st.integers(3, 25), n_items=st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_separation_is_found_if_and_only_if_a_linear_program_finds_it(seed, n, n_items):
    pairs, y = cast(n=n, seed=seed, ties=0.1, n_items=n_items)
    separated = linear_program_separates(pairs, y, n_items)
    groups = separated_groups(pairs, y, n_items)
    assert bool(groups) == separated
    for make in (dense, graph):
        design = make(pairs, y, n_items=n_items)
        if separated:
            with pytest.raises(SeparatedVotes):
                bradley_terry(design)
        else:
            score = vote_scores(eta_of(design, bradley_terry(design)), y)
            assert np.abs(incidence(pairs, n_items).T @ score).max() < 1e-8


def test_groups_are_strong_components_of_torn_components():
    #  0 <-> 1 above 2 <-> 3; 4 <-> 5 have a maximum; 6 has no votes
    pairs = np.array([[0, 1], [1, 0], [1, 2], [2, 3], [3, 2], [4, 5], [4, 5]])
    y = np.array([1, 1, 1, 1, 1, 1, -1])
    groups = [group.tolist() for group in separated_groups(pairs, y, 7)]
    assert sorted(groups) == [[0, 1], [2, 3]]
    weight = np.array([1.0, 1, 0, 1, 1, 1, 1])
    assert separated_groups(pairs, y, 7, weight) == []
    assert separated_groups(pairs[:3], np.array([1, 1, 0]), 3) == []


def test_ridge_of_single_votes_makes_up_for_separation():
    pairs, y = cast(n=300, seed=1)
    y = np.where(pairs[:, 0] == 3, 1.0, np.where(pairs[:, 1] == 3, -1.0, y))
    ridge = np.where((pairs == 3).any(axis=1), 0.02, 0.0)
    design = graph(pairs, y)
    eta = eta_of(design, bradley_terry(design, ridge=ridge, tol=1e-11))
    score = vote_scores(eta, y, ridge=ridge)
    assert np.abs(incidence(pairs).T @ score).max() < 1e-9
    with pytest.raises(SeparatedVotes):
        bradley_terry(design, ridge=np.where(ridge > 0, 0.0, 0.02))


def test_far_items_in_a_chain_are_not_taken_for_separated():
    # 19 of 20 at every link, and one vote between the ends: eta is far from 0 there.
    n_items = 40
    links = np.column_stack([np.arange(39), np.arange(1, 40)])
    pairs = np.vstack([np.repeat(links, 20, axis=0), [[0, 39]]])
    y = np.append(np.tile(np.append(np.ones(19), -1.0), 39), 1.0)
    design = dense(pairs, y, n_items=n_items)
    scores = design.to_coefs(bradley_terry(design))[0][0]
    np.testing.assert_allclose(-np.diff(scores), np.log(19), atol=1e-8)


# ------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thresholds": [0.3, 0.5]}, "decreasing"),
        ({"thresholds": []}, "decreasing"),
        ({"thresholds": [0.5, 0.0]}, "positive"),
        ({"thresholds": [np.inf, 0.5]}, "finite"),
        ({"ridge": -0.1}, "ridge=-0.1"),
        ({"ridge": [0.1, 0.2]}, "ridge"),
        ({"ridge": np.nan}, "ridge=nan"),
    ],
)
def test_arguments_out_of_range_raise(arguments, message):
    pairs, y = cast()
    with pytest.raises(ValueError, match=message):
        trace_logistic_shift(dense(pairs, y), np.ones(len(y)), **arguments)


def test_other_targets_raise():
    pairs, y = cast()
    with pytest.raises(ValueError, match="row 2 is 0.5"):
        bradley_terry(graph(pairs, np.where(np.arange(len(y)) == 2, 0.5, y)))
    y[:3] = 1.0, 1.0, 0.0  # their mean is not 0
    centred = DenseDesign(incidence(pairs), y[:, None], None, True)
    with pytest.raises(ValueError, match="fit_intercept=False"):
        bradley_terry(centred)
    two = DenseDesign(incidence(pairs), np.column_stack([y, y]), None, False)
    with pytest.raises(ValueError, match="2 outputs"):
        bradley_terry(two)
