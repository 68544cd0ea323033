"""Paths of votes: optimality, other ways to the same fit, and invariances."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.selection.outliers import EntryGap, OutlierCriterion, ScaleCut
from sparselbi.shift_problem import ShiftProblem
from sparselbi.solvers._hard_knot import with_hard_knot
from sparselbi.solvers.huber import huber_path
from sparselbi.solvers.logistic_shift import SeparatedVotes
from sparselbi.solvers.shift_paths import (
    shift_iss_path,
    shift_lbi_path,
    with_exact_freedom,
)
from sparselbi.solvers.shift_verify import verify_shift_path
from sparselbi.solvers.vote_paths import check_same_votes, retrace_votes, vote_path
from sparselbi.vote_path import VotePath

N_ITEMS = 7
WAYS = (
    ("linear", "l1"),
    ("linear", "iss"),
    ("linear", "lbi"),
    ("linear", "hard"),
    ("logistic", "l1"),
)


def cast(seed=0, n=90, n_items=N_ITEMS, graded=False, flips=0.2, ties=0.0, groups=1):
    """Pairs, votes, and who was flipped; items of equal code modulo `groups` meet."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n_items)
    first = rng.integers(n_items, size=n)
    second = (first + groups * rng.integers(1, n_items // groups, size=n)) % n_items
    y = score[first] - score[second]
    if graded:
        y = y + 0.3 * rng.normal(size=n)
    else:
        y = np.where(y + 0.5 * rng.logistic(size=n) > 0, 1.0, -1.0)
    flip = rng.random(n) < flips
    y[flip] *= -1
    y[rng.random(n) < ties] = 0.0
    return np.column_stack([first, second]), y, flip


def make(
    seed=0,
    n=90,
    n_items=N_ITEMS,
    graded=False,
    ties=0.0,
    groups=1,
    weights=False,
    **rest,
):
    pairs, y, _ = cast(seed, n, n_items, graded, ties=ties, groups=groups)
    if weights:
        rng = np.random.default_rng(seed + 99)
        rest["sample_weight"] = rng.integers(0, 4, n).astype(float)
    return ComparisonProblem(pairs, y, n_items, **rest)


def trace(problem, model="linear", method="l1", **options):
    if model == "logistic":
        options = {"ridge": 0.02} | options
    return vote_path(problem, model=model, method=method, **options)


def reduced(problem):
    """The same votes as rows of a matrix of full rank: one item less per component."""
    X, Y = problem.arrays()
    _, first = np.unique(problem.components, return_index=True)
    kept = np.setdiff1d(np.arange(problem.n_features), first)
    rows = ShiftProblem(
        X[:, kept], Y[:, 0], sample_weight=problem.sample_weight, fit_intercept=False
    )
    return rows, X[:, kept]


# ----------------------------------------------------------------- other ways to a fit


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_grid_on_the_graph_against_the_exact_path(graded, bias):
    extra = np.ones((90, 1)) if bias else None
    exact = trace(make(1, graded=graded, extra=extra, weights=True))
    assert exact.info["route"] == "exact"
    grid = np.geomspace(0.97 * exact.threshold_max, exact.knots[-1], 12)
    problem = make(1, graded=graded, extra=extra, weights=True, dense=False)
    path = huber_path(problem, thresholds=grid, tol=1e-13)
    assert path.info["route"] == "grid"
    np.testing.assert_allclose(path.coefs[0], exact.coefs[0], atol=1e-10)
    np.testing.assert_allclose(path.coefs[1:], exact.coefs_at(grid)[0], atol=2e-6)
    near = trace(problem, thresholds=grid)
    np.testing.assert_allclose(near.coefs, path.coefs, atol=2e-3)
    np.testing.assert_allclose(near.deviance, path.deviance, rtol=2e-3)


@pytest.mark.parametrize("case", ["bias", "features"])
@pytest.mark.parametrize(
    ("model", "method"), [("linear", "lbi"), ("linear", "hard"), ("logistic", "l1")]
)
def test_what_is_kept_in_memory_changes_nothing(model, method, case):
    options = {"extra": np.ones((90, 1)), "weights": True}
    if case == "features":
        options["features"] = np.random.default_rng(0).normal(size=(N_ITEMS, 3))
    paths = [
        trace(make(2, graded=model == "linear", dense=dense, **options), model, method)
        for dense in (True, False)
    ]
    same_path(*paths)
    np.testing.assert_allclose(paths[1].coefs, paths[0].coefs, atol=1e-7)


@pytest.mark.parametrize("method", ["l1", "iss", "lbi"])
@pytest.mark.parametrize("weights", [False, True])
def test_against_rows_of_a_reduced_incidence(method, weights):
    for seed, groups in ((0, 1), (2, 2)):
        extra = np.ones((120, 1))
        problem = make(seed, 120, 14, True, groups=groups, weights=weights, extra=extra)
        assert problem.graph.n_components == groups
        rows, X = reduced(problem)
        limit = 0.3 * problem.total_weight
        path = trace(problem, method=method, max_outliers=limit)
        again = {"l1": huber_path, "iss": shift_iss_path, "lbi": shift_lbi_path}
        other = again[method](rows, max_outliers=limit)
        assert path.status == other.status
        np.testing.assert_allclose(path.knots, other.knots, rtol=1e-9)
        fitted = other.coefs @ X.T
        np.testing.assert_allclose(problem.eta(path.coefs), fitted, atol=1e-9)
        np.testing.assert_array_equal(path.row_events["row"], other.row_events["row"])
        np.testing.assert_array_equal(path.row_events["sign"], other.row_events["sign"])
        np.testing.assert_allclose(path.row_entry, other.row_entry, rtol=1e-9)
        np.testing.assert_allclose(path.deviance, other.deviance, rtol=1e-8)
        np.testing.assert_allclose(path.df, other.df)
        assert (path.rank, path.df_kind) == (other.rank, other.df_kind)


@pytest.mark.parametrize("bias", [False, True])
def test_huber_fits_against_a_general_minimizer(bias):
    extra = np.ones((90, 1)) if bias else None
    problem = make(4, graded=True, weights=True, extra=extra)
    path = trace(problem)
    w = problem.sample_weight
    for threshold in path.knots[0] * np.array([0.8, 0.5, 0.3]):
        limit = problem.limits(threshold)

        def loss(coef, limit=limit):
            r = np.abs(problem.residuals(coef))
            small = np.minimum(r, limit)
            return w @ (small * (r - small / 2))

        def gradient(coef, limit=limit):
            r = np.clip(problem.residuals(coef), -limit, limit)
            return -problem.correlate(w * r)

        start = np.zeros(problem.n_features)
        options = {"gtol": 1e-9}
        found = optimize.minimize(loss, start, jac=gradient, options=options)
        coef = path.at(threshold).coef
        assert loss(coef) <= found.fun * (1 + 1e-12)
        # The minimizer stays in the gauge, in which it starts.
        np.testing.assert_allclose(coef, found.x, atol=1e-5)


@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("case", ["plain", "ties", "bias", "weights", "features"])
def test_logistic_knots_against_a_general_minimizer(case, ridge):
    rng = np.random.default_rng(0)
    options = {"ties": 0.2 * (case == "ties"), "weights": case == "weights"}
    if case == "bias":
        options["extra"] = np.ones((90, 1))
    if case == "features":
        options["features"] = rng.normal(size=(N_ITEMS, 2))
    problem = make(5, **options)
    path = trace(problem, "logistic", ridge=ridge, n_knots=8)
    assert path.loss.name == "logistic"
    y, w = problem.y, problem.sample_weight
    w = np.ones(90) if w is None else w
    y01 = (1 + y) / 2
    for k in (0, 4, 7):
        limit = problem.limits(path.knots[k])

        def profile(coef, limit=limit):
            """Objective after the best shift of every vote, and its gradient."""
            eta = problem.eta(coef)
            residual = y01 - special.expit(eta)
            kept = np.clip(residual, -limit, limit)
            out = np.abs(residual) > limit
            shift = np.where(out, special.logit(y01 - kept) - eta, 0.0)
            moved = eta + shift
            loss = y01 * np.logaddexp(0, -moved) + (1 - y01) * np.logaddexp(0, moved)
            paid = np.where(out, limit, 0.0) * np.abs(shift)
            tie = (np.logaddexp(0, -eta) + np.logaddexp(0, eta)) / 2
            pull = kept + ridge * (0.5 - special.expit(eta))
            return w @ (loss + paid + ridge * tie), -problem.correlate(w * pull)

        start = np.zeros(problem.n_features)
        found = optimize.minimize(profile, start, jac=True, options={"gtol": 1e-9})
        np.testing.assert_allclose(path.coef(k), found.x, atol=1e-5)
        assert profile(path.coef(k))[0] <= found.fun * (1 + 1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_logistic_shifts_explain_votes_up_to_the_threshold(groups):
    problem = make(6, 90, 8, ties=0.1, groups=groups, weights=True)
    path = trace(problem, "logistic", n_knots=10)
    w, y01 = problem.sample_weight, (1 + problem.y) / 2
    for k, knot in enumerate(path.knots):
        shift, mask = path.shifts(problem, knot=knot), path.outliers(knot)
        np.testing.assert_array_equal(shift != 0, mask)
        left = y01 - special.expit(problem.eta(path.coef(k)) + shift)
        limit = problem.limits(knot)
        np.testing.assert_allclose(left[mask], (np.sign(shift) * limit)[mask])
        assert (np.abs(left) <= limit * (1 + 1e-12)).all()
        lost = -special.xlogy(y01, y01 - left) - special.xlogy(1 - y01, 1 - y01 + left)
        np.testing.assert_allclose(path.deviance[k], 2 * w @ lost, rtol=1e-10)
        np.testing.assert_allclose(path.info["n_shifted"][k], w @ mask)
    np.testing.assert_allclose(path.df, path.rank + path.info["n_shifted"])
    assert path.df_kind == "approximate"


# --------------------------------------------------------------------------- verifying


@pytest.mark.parametrize(("model", "method"), WAYS)
@pytest.mark.parametrize("case", ["plain", "bias", "features", "components"])
def test_every_knot_is_what_its_method_says(model, method, case):
    rng = np.random.default_rng(1)
    options = {"weights": True}
    if case == "bias":
        workers = np.eye(3)[rng.integers(0, 3, 90)]
        options["extra"] = sp.csr_array(workers)
    if case == "features":
        options["features"] = rng.normal(size=(N_ITEMS, 3))
    n_items, groups = (12, 3) if case == "components" else (N_ITEMS, 1)
    options |= {"graded": model == "linear", "groups": groups}
    problem = make(7, 90, n_items, **options)
    assert problem.graph.n_components == groups
    path = trace(problem, model, method)
    table = path.verify(problem)
    assert len(table) == len(path) > 5
    assert path.info["n_shifted"].max() > 0.2 * problem.total_weight
    numbers = table.drop(columns=[path.knot_name, "shifted"]).fillna(0.0)
    assert numbers.to_numpy().max() < 1e-8
    if model == "linear":  # as rows of a dense matrix
        dense = verify_shift_path(path, problem)
        dense = dense.drop(columns=[path.knot_name, "shifted"]).fillna(0.0)
        np.testing.assert_allclose(numbers, dense, atol=1e-10)
    # It can fail.
    for field in ("active_coefs", "row_events"):
        broken = np.array(getattr(path, field))
        if field == "active_coefs":
            broken[-1, 0] += 0.1
        elif method == "lbi":  # its shifts are stored
            continue
        else:
            broken = broken[1:]
        wrong = dataclasses.replace(path, **{field: broken}).verify(problem)
        wrong = wrong.drop(columns=[path.knot_name, "shifted"]).fillna(0.0)
        assert wrong.to_numpy().max() > 1e-4
    with pytest.raises(ValueError, match=r"not the (data|votes) of|was traced on"):
        path.verify(make(8, 90, n_items, **options))


@pytest.mark.parametrize(("model", "method"), WAYS)
def test_refits_are_fits_without_the_shifted_votes(model, method):
    problem = make(9, 150, graded=model == "linear", weights=True)
    path = trace(problem, model, method, max_outliers=0.3 * problem.total_weight)
    refit = path.refit(problem)
    assert refit.method == f"{method}+refit"
    assert isinstance(refit, VotePath)
    table = refit.verify(problem)
    assert table["gradient"].max() < 1e-7
    constant = dataclasses.replace(path, interpolation="constant")
    for k in (0, len(path) // 2, -1):
        kept = ~constant.outliers(path.knots[k])
        part = problem.subset(kept)
        alone = trace(part, model, thresholds=[1e3])
        np.testing.assert_allclose(refit.coef(k), alone.coef(0), atol=1e-6)
        np.testing.assert_allclose(refit.deviance[k], alone.deviance[0], rtol=1e-6)


def test_a_refit_needs_votes_on_every_item():
    pairs, y, _ = cast(3, 60, 3, flips=0.05)
    pairs = np.array([*pairs, (0, 3), (3, 0)])  # both are shifted below 1, or 1/2
    y = np.append(y, [1.0, 1.0])
    problem = ComparisonProblem(pairs, y, 4)
    for model in ("linear", "logistic"):
        path = trace(problem, model, thresholds=[0.9, 0.3])
        assert path.outliers(path.knots[-1])[-2:].all()
        with pytest.raises(ValueError, match="max_outliers"):
            path.refit(problem)


# ----------------------------------------------------------------------------- limits


@pytest.mark.parametrize(("model", "method"), WAYS)
def test_max_outliers_is_half_of_the_weight(model, method):
    problem = make(1, weights=True)
    path = trace(problem, model, method)
    half = problem.total_weight / 2
    assert path.info["n_shifted"].max() <= half
    few = trace(problem, model, method, max_outliers=7.0)
    assert few.info["n_shifted"].max() <= 7
    assert path.n_votes == len(path.row_rest) == 90


def test_thresholds_end_a_path_where_they_say():
    problem = make(1, dense=False)
    for model, grid in (("linear", [1.0, 0.2, 0.05]), ("logistic", [0.6, 0.2, 0.05])):
        path = trace(problem, model, thresholds=grid)
        np.testing.assert_allclose(path.knots[-3:], grid)
        assert path.info["n_shifted"][-1] > 45
        few = trace(problem, model, thresholds=grid, max_outliers=20)
        assert few.info["n_shifted"][-1] <= 20
    exact = trace(make(1), thresholds=[1.0, 0.5])
    assert exact.knots[-1] == 0.5
    assert trace(problem, n_knots=13, max_outliers=10).info["n_sweeps"].shape <= (13,)


def test_inverse_scale_space_goes_on_when_an_item_has_lost_its_votes():
    # Item 3 has two votes that contradict each other and what others say.
    base, y, _ = cast(3, 60, 3, graded=True, flips=0.0)
    pairs = np.array([*base, (3, 0), (3, 1)])
    problem = ComparisonProblem(pairs, [*y, 30.0, -30.0], 4)
    path = trace(problem, method="iss", max_outliers=20)
    both = [path.outliers(t)[-2:].all() for t in path.knots]
    assert any(both)
    assert path.info["n_shifted"][-1] > 10
    np.testing.assert_allclose(path.scores_at(path.knots[-1]).sum(), 0, atol=1e-9)
    numbers = path.verify(problem)[["gradient", "set_violation", "dual_violation"]]
    assert numbers.to_numpy().max() < 1e-9


def test_inverse_scale_space_without_room():
    with pytest.raises(ValueError, match=r"method='iss' .*90 votes.*'lbi' or 'l1'"):
        trace(make(dense=False), method="iss")


def test_bridges_come_last():
    pairs, y, _ = cast(0, 60, 4)
    pairs = np.array([*pairs, (5, 0), (6, 5)])  # two votes that hold two items alone
    y = np.append(y, [50.0, -50.0])
    for model, method in WAYS:
        votes = np.sign(y) if model == "logistic" else y
        for dense in (True, False):
            if method == "iss" and not dense:
                continue
            problem = ComparisonProblem(pairs, votes, 7, dense=dense)
            path = trace(problem, model, method)
            assert np.isnan(path.row_entry[-2:]).all()
            assert path.strength()[-2:].tolist() == [0, 0]
            assert path.vote_order()[-2:].tolist() == [60, 61]
            assert path.strength()[:-2].min() > 0


def test_separated_votes_are_named_unless_there_is_a_ridge():
    pairs = np.array([(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)])
    problem = ComparisonProblem(pairs, np.ones(6), 4)  # item 3 never wins
    assert problem.design.dense
    with pytest.raises(SeparatedVotes, match=r"one group has the items 3"):
        trace(problem, "logistic", ridge=0.0)
    assert trace(problem, "logistic", ridge=0.1).scores_at(1.0).argmin() == 3


def test_votes_without_contradictions_give_a_path_of_one_knot():
    pairs = np.array([(0, 1), (1, 2), (0, 2), (0, 1)])
    problem = ComparisonProblem(pairs, [1.0, 1.0, 2.0, 1.0], 3)
    path = trace(problem)
    assert path.status == "null"
    assert path.vote_order().tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(path.scores_at(0.0), [1, 0, -1], atol=1e-12)


# ------------------------------------------------------------------------ invariances


def same_path(one, two, label=None, row=None, atol=1e-7):
    """Items of `one` are called `label` in `two`, and its votes are rows `row`."""
    label = np.arange(one.n_items) if label is None else label
    row = np.arange(one.n_votes) if row is None else row
    np.testing.assert_allclose(two.knots, one.knots, rtol=1e-6)
    scores = two.scores_at(two.knots)[:, label]
    np.testing.assert_allclose(scores, one.scores_at(one.knots), atol=atol)
    np.testing.assert_allclose(two.row_entry[row], one.row_entry, rtol=1e-6)
    np.testing.assert_allclose(two.row_rest[row], one.row_rest, atol=1e-6)
    np.testing.assert_allclose(two.deviance, one.deviance, rtol=1e-6)


@pytest.mark.parametrize(("model", "method"), WAYS)
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_labels_order_and_sides_do_not_matter(model, method, seed):
    problem = make(seed, 70, graded=model == "linear", weights=True)
    rng = np.random.default_rng(seed)
    label, row = rng.permutation(N_ITEMS), rng.permutation(70)
    side = rng.choice([-1.0, 1.0], 70)
    pairs = label[problem.pairs]
    pairs[side < 0] = pairs[side < 0, ::-1]
    order = np.argsort(row)
    other = ComparisonProblem(
        pairs[order],
        (side * problem.y)[order],
        N_ITEMS,
        sample_weight=problem.sample_weight[order],
    )
    same_path(
        *(trace(p, model, method) for p in (problem, other)), label=label, row=row
    )


@pytest.mark.parametrize(("model", "method"), WAYS)
def test_a_weight_is_a_number_of_votes(model, method):
    problem = make(2, 60, graded=model == "linear")
    weight = np.random.default_rng(2).integers(1, 4, 60)
    heavy = problem.with_weight(weight.astype(float))
    times = np.repeat(np.arange(60), weight)
    repeated = ComparisonProblem(problem.pairs[times], problem.y[times], N_ITEMS)
    one, two = (trace(p, model, method) for p in (heavy, repeated))
    np.testing.assert_allclose(two.knots, one.knots, rtol=1e-6)
    scores = one.scores_at(one.knots)
    np.testing.assert_allclose(two.scores_at(two.knots), scores, atol=1e-7)
    np.testing.assert_allclose(two.row_entry, one.row_entry[times], rtol=1e-6)
    np.testing.assert_allclose(two.deviance, one.deviance, rtol=1e-6)
    np.testing.assert_allclose(two.info["n_shifted"], one.info["n_shifted"])
    np.testing.assert_allclose(two.df, one.df)


@pytest.mark.parametrize(
    ("model", "method"), [("linear", "l1"), ("linear", "iss"), ("logistic", "l1")]
)
def test_components_are_separate_rankings(model, method):
    graded = model == "linear"
    (a, y_a, _), (b, y_b, _) = cast(1, 50, 5, graded), cast(2, 60, 6, graded)
    both = ComparisonProblem(np.vstack([a, b + 5]), np.append(y_a, y_b), 11)
    assert both.graph.n_components == 2
    parts = ComparisonProblem(a, y_a, 5), ComparisonProblem(b, y_b, 6)
    top = 0.9 if model == "logistic" else 2.0
    knots = np.linspace(top, top / 4, 9)
    options = {"thresholds": knots}
    if method == "iss":
        knots = np.linspace(0.01, 1.2, 9)
        options = {"t_max": 1.2}
    path = trace(both, model, method, **options)
    alone = [trace(part, model, method, **options) for part in parts]
    assert min(p.info["n_shifted"][-1] for p in alone) >= 5
    expected = np.hstack([part.scores_at(knots) for part in alone])
    np.testing.assert_allclose(path.scores_at(knots), expected, atol=1e-6)


def test_features_that_tell_the_items_apart_are_no_features():
    for model, method in WAYS:
        plain = make(3, graded=model == "linear")
        identity = ComparisonProblem(
            plain.pairs, plain.y, N_ITEMS, features=np.eye(N_ITEMS)
        )
        same_path(*(trace(p, model, method) for p in (plain, identity)))


def test_a_bias_takes_what_all_first_sides_have_in_common():
    ones = np.ones((90, 1))
    plain = make(4, graded=True, extra=ones)
    more = ComparisonProblem(plain.pairs, plain.y + 5.0, N_ITEMS, extra=ones)
    for method in ("l1", "iss", "hard"):
        one, two = (trace(p, method=method) for p in (plain, more))
        same_path(one, two)
        np.testing.assert_allclose(two.coefs[:, -1], one.coefs[:, -1] + 5, atol=1e-7)
    # Votes and the same ones from the other side: no bias, and without it.
    for model, method in WAYS:
        half = make(5, 50, graded=model == "linear")
        pairs = np.vstack([half.pairs, half.pairs[:, ::-1]])
        y = np.append(half.y, -half.y)
        without = ComparisonProblem(pairs, y, N_ITEMS)
        biased = ComparisonProblem(pairs, y, N_ITEMS, extra=np.ones((100, 1)))
        one, two = (trace(p, model, method) for p in (without, biased))
        np.testing.assert_allclose(two.coefs[:, -1], 0, atol=1e-9)
        same_path(one, two)


# ------------------------------------------------------------- what else takes a path


@pytest.mark.parametrize(("model", "method"), WAYS)
def test_paths_can_be_traced_again(model, method):
    problem = make(1, 120, graded=model == "linear")
    path = trace(problem, model, method, items="gfedcba")
    knots = path.representative_knots()[1:-1][::3]
    again = retrace_votes(path, problem, knots)
    assert (again.model, again.items, again.ridge) == (model, path.items, path.ridge)
    one, two = (problem.eta(p.coefs_at(knots)[0]) for p in (path, again))
    if method == "lbi":  # lines between its knots are so close to the iterates
        change = problem.eta(path.coefs) - problem.eta(path.coefs[0])
        error = 0.005 * np.linalg.norm(change, axis=1).max()
        assert np.linalg.norm(one - two, axis=1).max() <= 2 * error
    else:
        np.testing.assert_allclose(two, one, atol=1e-9)
    assert with_exact_freedom(path, problem) is path
    with pytest.raises(ValueError, match="cannot be traced again"):
        retrace_votes(dataclasses.replace(path, method="l1+refit"), problem, knots)


def test_hard_paths_take_further_thresholds():
    for dense in (True, False):
        problem = make(1, 120, graded=True, dense=dense)
        path = trace(problem, method="hard")
        threshold = float(np.sqrt(path.knots[20] * path.knots[21]))
        found = with_hard_knot(path, problem, threshold)
        assert isinstance(found, VotePath)
        grid = np.sort(np.append(path.knots, threshold))[::-1]
        same_path(trace(problem, method="hard", thresholds=grid), found)
        assert found.verify(problem)["set_violation"].max() < 1e-12


def test_rules_about_rows_take_votes():
    problem = make(1, 300, 12, graded=True, groups=2)
    rows, _ = reduced(problem)
    for rule in (OutlierCriterion("bic"), ScaleCut(), EntryGap()):
        for method, again in (("l1", huber_path), ("iss", shift_iss_path)):
            other = again(rows, max_outliers=150)
            one = rule.select(trace(problem, method=method), problem)
            two = rule.select(other, rows)
            np.testing.assert_allclose(one.knot, two.knot, rtol=1e-9)
            np.testing.assert_allclose(one.scores, two.scores, rtol=1e-7)
            assert one.quantities["n_shifted"] == two.quantities["n_shifted"]


def test_labels_and_names():
    problem = make(0, extra=np.ones((90, 1)), extra_names=["left"])
    labels = np.array(list("gfedcba"))
    path = trace(problem, items=labels, row_names=[f"v{i}" for i in range(90)])
    assert path.items == tuple("gfedcba")
    assert path.feature_names == (*"gfedcba", "left")
    assert path.row_name(3) == "v3"
    assert trace(problem).items == tuple(range(N_ITEMS))
    features = np.random.default_rng(0).normal(size=(N_ITEMS, 2))
    path = trace(make(0, features=features), items=labels)
    assert path.feature_names == ("x0", "x1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "probit"}, r"model='probit' .*\['linear', 'logistic'\]"),
        ({"method": "l2"}, r"method='l2' is unknown"),
        ({"model": "logistic", "method": "iss"}, "method='iss' has no logistic"),
        ({"ridge": 0.1}, "ridge=0.1 adds ties"),
        ({"model": "logistic", "ridge": -1}, "ridge=-1 must be"),
        ({"model": "logistic", "ridge": np.inf}, "ridge=inf must be"),
        ({"method": "iss", "thresholds": [1.0]}, "method='iss' has times"),
        ({"t_max": 1.0}, "method='l1' has thresholds"),
        ({"method": "lbi", "t_max": -1.0}, "t_max=-1.0 must be positive"),
        ({"n_knots": 1}, "n_knots=1 must be"),
        ({"thresholds": [1.0, 2.0]}, "decreasing"),
        ({"max_outliers": 1000}, "max_outliers=1000 must be"),
        ({"items": ["a", "b"]}, "items has 2 labels for 7 items"),
        ({"row_names": ["a"]}, "row_names has 1 entries for 90 votes"),
    ],
)
def test_errors_say_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        vote_path(make(), **options)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_nothing_but_ties(ridge, dense):
    ties = ComparisonProblem(make().pairs, np.zeros(90), N_ITEMS, dense=dense)
    path = vote_path(ties, model="logistic", ridge=ridge)
    assert path.knots.tolist() == [0.0]
    assert not path.scores_at(0.0).any()
    assert not path.outliers(0.0).any()
    assert path.deviance[0] == pytest.approx(2 * 90 * np.log(2), rel=1e-14)
    assert (path.verify(ties)["gradient"] == 0).all()


@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_sparse_features_without_a_dense_copy(model):
    problem = make()
    features = np.round(np.random.default_rng(0).normal(size=(N_ITEMS, 3)))
    paths, questions = [], []
    for values in (features, sp.csr_array(features)):
        question = ComparisonProblem(problem.pairs, problem.y, N_ITEMS, features=values)
        path = vote_path(
            question, model=model, n_knots=5, ridge=0.1 if model == "logistic" else 0
        )
        paths.append(path)
        questions.append(question)
        assert path.verify(question)["gradient"].max() < 1e-5
    assert sp.issparse(paths[1].features)
    scores = [path.scores_at(path.knots[-1]) for path in paths]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-8)
    refits = [path.refit(q) for path, q in zip(paths, questions, strict=True)]
    np.testing.assert_allclose(refits[1].coef(-1), refits[0].coef(-1), atol=1e-6)


def test_graded_votes_have_the_linear_model():
    with pytest.raises(ValueError, match="Graded votes have the linear model"):
        trace(make(graded=True), "logistic")


def test_votes_of_another_problem():
    problem, binary = make(0), make(0, 80)
    for model in ("linear", "logistic"):
        path = trace(problem, model)
        with pytest.raises(ValueError, match="traced on 90"):
            check_same_votes(path, binary)
        with pytest.raises(ValueError, match="7 items and 0 further columns"):
            check_same_votes(path, make(0, extra=np.ones((90, 1))))
