"""Choosing a point of a path of Split LBI."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse
from scipy.special import comb, gammaln

from sparselbi import LBI, Problem, SplitLBI, lbi_path
from sparselbi.penalties.transforms import differences, graph_incidence, identity, stack
from sparselbi.selection import (
    CrossValidation,
    Discrepancy,
    FixedKnot,
    InformationCriterion,
    TheoreticalTime,
    degrees_of_freedom,
    noise_scale,
    split_statistics,
    stability_selection,
    with_statistics,
)
from sparselbi.selection.stability import _halves
from sparselbi.solvers.retrace import retrace
from sparselbi.solvers.split_lbi import split_iss_path, split_lbi_path
from tests.common import make_data
from tests.selection.paths import support_path

RING = np.diag(np.ones(11), 1) + np.diag([1.0], 11) + np.diag([1.0, 1, 2], 9)


def ring():
    return graph_incidence(RING + RING.T)


def fused():
    return stack(differences(12), identity(12))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 12))
    coef = np.repeat([0.0, 2.0, 0.0, -1.0], 3)
    return X, X @ coef + rng.normal(size=60), rng.uniform(0.5, 2.0, size=60)


def traced(problem, D, **options):
    path = split_lbi_path(problem, D, **{"nu": 2.0, "n_knots": 25, **options})
    return with_statistics(path, problem)


# -------------------------------------------------------------------------- criteria


@pytest.mark.parametrize("make", [lambda: differences(12), ring, fused])
def test_scores_of_refits_and_of_dense_fits(data, make):
    X, y, w = data
    problem = Problem(X, y, sample_weight=w, standardize=False)
    path = traced(problem, make())
    n, info = w.sum(), path.info
    p, rows = info["n_candidates"], path.size
    m = info["df_refit"] - info["df_refit"][0]
    gamma = max(0.0, 1 - np.log(n) / (2 * np.log(p)))
    search = 2 * gamma * (gammaln(p + 1) - gammaln(m + 1) - gammaln(p - m + 1))
    search -= search[0]
    for refit, deviance, df in (
        (True, path.refit_deviance, info["df_refit"]),
        (False, path.deviance, info["df_dense"]),
    ):
        fit = n * np.log(deviance / n)
        expected = {
            "aic": fit + 2 * df,
            "bic": fit + df * np.log(n),
            "ebic": fit + df * np.log(n) + search,
        }
        for criterion, scores in expected.items():
            rule = InformationCriterion(criterion, refit=refit)
            selection = rule.select(path)
            scored = np.isfinite(selection.scores)
            assert (scored == (df <= n // 2)).all()
            np.testing.assert_allclose(
                selection.scores[scored] - selection.scores[0],
                (scores - scores[0])[scored],
                rtol=1e-9,
                atol=1e-9,
            )
            found = selection.quantities
            assert found["size"] == rows[selection.index]
            assert found["df"] == df[selection.index]
            assert found["p_counts"] == info["candidates_are"]
            assert found["score"] == np.nanmin(selection.scores)


@pytest.mark.parametrize("criterion", ["ebic", "bic", "aic"])
@pytest.mark.parametrize("variance", ["profile", "full", 1.5])
def test_identity_is_scored_as_a_path_over_features(data, criterion, variance):
    X, y, w = data
    weight = np.ones(12)
    weight[[0, 4, 7]] = 0, 2, np.inf
    for factor in (None, weight):
        problem = Problem(X, y, sample_weight=w)
        path = traced(problem, "identity", row_weight=factor)
        supports = [np.flatnonzero(path.active_rows(t)) for t in path.knots]
        plain = Problem(X, y, sample_weight=w, penalty_factor=factor)
        reference = dataclasses.replace(
            support_path(plain, supports), knots=path.knots, status=path.status
        )
        # A barred row of D keeps its coefficient at 0; a barred feature is not usable.
        rule = InformationCriterion(criterion, variance=variance)
        if factor is not None and variance == "full":
            continue
        one, other = rule.select(path, problem), rule.select(reference, plain)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-9)
        for name in ("size", "p", "gamma", "cap", "df", "null_score", "knots_scored"):
            assert one.quantities[name] == pytest.approx(other.quantities[name])
        assert one.index == other.index


def test_groups_of_rows_are_scored_as_groups_of_features(data):
    X, y, _ = data
    groups = np.repeat(np.arange(4), 3)
    path = traced(Problem(X, y), None, row_groups=groups)
    plain = Problem(X, y, penalty="group", groups=groups)
    supports = [np.flatnonzero(path.active_rows(t)) for t in path.knots]
    reference = support_path(plain, supports)
    rule = InformationCriterion("ebic", gamma=0.7)
    one, other = rule.select(path), rule.select(reference, plain)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-9)
    assert one.quantities["p_counts"] == "groups"
    assert one.quantities["p"] == 4


def test_cycles_do_not_count_rows(data):
    """A new piece opens all rows around it, and costs one dimension."""
    X, y, _ = data
    problem = Problem(X, y, standardize=False)
    path = traced(problem, ring())
    rule = InformationCriterion("ebic", gamma=1.0)
    scores, plain = rule.select(path).scores, InformationCriterion("bic").select(path)
    pieces = np.array([path.pieces(t).max() for t in path.knots])
    np.testing.assert_allclose(
        scores - plain.scores, 2 * np.log(comb(11, pieces)), atol=1e-8
    )
    assert (path.size > pieces).any()
    assert plain.quantities["p_counts"] == "pieces"


def test_weights_equal_repeated_rows(data):
    X, y, _ = data
    counts = np.random.default_rng(0).integers(1, 4, size=60)
    rows = np.repeat(np.arange(60), counts)
    for refit in (True, False):
        rule = InformationCriterion("ebic", refit=refit)
        one, other = (
            rule.select(traced(problem, fused(), t_max=5.0))
            for problem in (
                Problem(X, y, sample_weight=counts),
                Problem(X[rows], y[rows]),
            )
        )
        assert one.index == other.index
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-8)


def test_rescaling_changes_nothing(data):
    X, y, _ = data
    for refit in (True, False):
        rule = InformationCriterion("bic", refit=refit)
        choices = []
        for factor in (1.0, 1e6):
            problem = Problem(X, factor * y, standardize=False)
            selection = rule.select(traced(problem, fused()))
            choices.append((selection.index, selection.scores - selection.scores[0]))
        assert choices[0][0] == choices[1][0]
        np.testing.assert_allclose(choices[0][1], choices[1][1], rtol=1e-6, atol=1e-6)


def test_runner_up_is_another_model(data):
    X, y, _ = data
    problem = Problem(X, y, standardize=False)
    path = traced(problem, ring())
    found = InformationCriterion("bic").select(path).quantities
    index = int(np.flatnonzero(path.knots == found["runner_up_knot"])[0])
    assert found["runner_up_difference"] > 0
    assert path.info["df_refit"][index] != found["df"] or (
        path.refit_deviance[index] != found["deviance"]
    )


def test_larger_caps_need_the_data():
    X, y, _ = make_data(n=16)
    problem = Problem(X, y)
    path = traced(problem, None)
    rule = InformationCriterion("aic", cap=11)
    without = rule.select(path)
    assert "no problem was given" in without.message
    assert without.quantities["cap"] == 8
    larger = rule.select(path, problem)
    scored = path.size[np.isfinite(larger.scores)]
    assert scored.max() > 8
    assert (scored <= 11).all()
    beyond = larger.quantities["knots_beyond_cap"]
    assert beyond == (path.size > 11).sum()


def test_a_dense_null_model_beyond_the_cap_says_so():
    X, y, _ = make_data(n=20)
    problem = Problem(X, y)
    path = traced(problem, None, nu=100.0)
    assert path.info["df_dense"][0] > 10
    selection = InformationCriterion("bic", refit=False).select(path)
    assert selection.index == 0
    assert "10 degrees of freedom already" in selection.message or (
        "degrees of freedom already, more than the cap of 10" in selection.message
    )
    wider = InformationCriterion("bic", refit=False, cap=15).select(path)
    assert np.isfinite(wider.scores).sum() > 1


def test_unknown_degrees_of_freedom_are_refused(data, monkeypatch):
    X, y, _ = data
    problem = Problem(X, y)
    monkeypatch.setattr(split_statistics, "_CHEAP", 0.0)
    path = traced(problem, "differences")
    rule = InformationCriterion("aic", refit=False)
    with pytest.raises(ValueError, match="not stored, because costly"):
        rule.select(path)
    found = rule.select(path, problem)
    assert found.quantities["df_rule"] == "trace, exact"
    assert found.quantities["scored_fit"] == "dense coefficients"
    given = InformationCriterion("aic", refit=False, df=np.arange(float(len(path))))
    assert given.select(path).quantities["df_rule"] == "array, as given"


def test_jumps_of_a_noisy_step_function():
    """n = 200, X = I: EBIC finds strong jumps, few others; noise alone has none."""
    truth = np.repeat([0.0, 3.0, 1.0, 4.0], 50)
    jumps = [49, 99, 149]
    sizes, noise = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        error = 0.3 * rng.normal(size=200)
        for y, out in ((truth + error, sizes), (error, noise)):
            problem = Problem(
                sparse.eye_array(200, format="csc"),
                y,
                fit_intercept=False,
                standardize=False,
            )
            path = traced(problem, "differences", nu=0.1)
            selection = InformationCriterion("ebic").select(path)
            out.append(selection.quantities["size"])
            if out is sizes:
                assert set(jumps) <= set(
                    np.flatnonzero(path.active_rows(selection.knot))
                )
    assert np.median(sizes) <= 5
    assert np.median(noise) == 0


# ---------------------------------------------------------------------- other rules


def test_discrepancy_is_about_the_dense_coefficients(data):
    X, y, w = data
    problem = Problem(X, y, sample_weight=w)
    path = traced(problem, fused())
    selection = Discrepancy(sigma=1.2).select(path, problem)
    residual = y - path.predict(X)
    below = (w * residual**2).sum(axis=1) <= w.sum() * 1.44
    assert selection.index == int(np.argmax(below))
    assert selection.quantities["rows"] == path.size[selection.index]


def test_noise_scale_from_the_refit_that_ebic_chooses():
    rng = np.random.default_rng(0)
    truth = np.repeat([0.0, 3.0, 1.0, 4.0], 50)
    y = truth + 0.5 * rng.normal(size=200)
    X = sparse.eye_array(200, format="csc")
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    path = traced(problem, "differences", nu=0.1)
    sigma, rule = noise_scale(path, problem)
    assert rule == "residual MAD of the refit chosen by EBIC"
    assert sigma == pytest.approx(0.5, rel=0.15)
    assert Discrepancy().select(path, problem).quantities["sigma"] == sigma


def test_theoretical_time_is_about_features(data):
    X, y, _ = data
    problem = Problem(X, y)
    with pytest.raises(ValueError, match="not about rows of D"):
        TheoreticalTime().select(traced(problem, fused()), problem)


def test_a_number(data):
    X, y, _ = data
    path = traced(Problem(X, y), fused())
    t = float(np.sqrt(path.knots[3] * path.knots[4]))
    selection = FixedKnot(t).select(path)
    assert (selection.knot, selection.index) == (t, 3)


def test_degrees_of_freedom_of_the_null_model_are_the_trace():
    """Before the first entry the dense fit is linear in y: no search, no other df."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(40, 10)), np.ones(40)]
    problem = Problem(X, X[:, 0] + rng.normal(size=40), standardize=False)
    D = differences(11)
    path = traced(problem, D, nu=5.0, n_knots=6)
    df = degrees_of_freedom(
        path, problem, lambda q: retrace(path, q), 0.05, 300, random_state=0
    )
    exact = path.info["df_dense"][0]
    assert np.isfinite(df).all()
    assert abs(df[0] - exact) < 4 * np.sqrt(2 * exact / 300)
    assert df[-1] > df[0]


# ------------------------------------------------------------------- cross-validation


@pytest.mark.parametrize("kappa", [5.0, np.inf])
def test_cross_validation_scores_dense_coefficients(data, kappa):
    X, y, w = data
    problem = Problem(X, y, sample_weight=w, standardize=False)
    path = (
        split_iss_path(problem, fused(), nu=2.0)
        if kappa == np.inf
        else split_lbi_path(problem, fused(), nu=2.0, kappa=kappa, n_knots=15)
    )
    rule = CrossValidation(cv=3, keep_paths=True)
    result = rule.select(path, problem)
    assert result.quantities["scored_fit"] == "dense coefficients"
    assert result.quantities["nu_raw"] == path.nu_raw
    assert result.unit == "rows"
    times = path.representative_knots()
    for k, (train, test) in enumerate(rule._folds(problem)):
        part = Problem(X[train], y[train], sample_weight=w[train], standardize=False)
        options = {"nu_raw": path.nu_raw, "t_max": times.max()}
        if kappa == np.inf:
            fold = split_iss_path(part, fused(), **options)
        else:
            options |= {"kappa_raw": path.kappa_raw, "n_knots": 15}
            fold = split_lbi_path(part, fused(), **options)
        kept = result.fold_paths[k]
        assert (kept.nu_raw, kept.kappa_raw) == (path.nu_raw, path.kappa_raw)
        expected = [
            np.average((y[test] - fold.predict(X[test], t)) ** 2, weights=w[test])
            for t in times
        ]
        np.testing.assert_allclose(result.fold_scores[k], expected, rtol=1e-7)
    counted = [path.active_rows(t).sum() for t in path.knots]
    np.testing.assert_array_equal(result.sizes, counted)
    assert result.quantities["rows"] == counted[result.index]
    simpler = result.with_rule("1se")
    assert simpler.knot <= result.knot
    assert simpler.quantities["rows"] == counted[simpler.index]


def test_cross_validation_scores_refits_on_request(data):
    X, y, _ = data
    problem = Problem(X, y, standardize=False)
    path = split_lbi_path(problem, fused(), nu=2.0, n_knots=15)
    rule = CrossValidation(cv=3, keep_paths=True, refit=True)
    result = rule.select(path, problem)
    D = fused().to_dense()
    for k, (train, test) in enumerate(rule._folds(problem)):
        fold = result.fold_paths[k]
        for i in range(0, len(path), 4):
            rest = D[~fold.active_rows(path.knots[i])]
            _, size, right = np.linalg.svd(rest)
            N = right[(size > 1e-9).sum() :].T
            mean = X[train].mean(axis=0)
            amount = np.linalg.lstsq(
                (X[train] - mean) @ N, y[train] - y[train].mean(), rcond=1e-9
            )[0]
            prediction = y[train].mean() + (X[test] - mean) @ N @ amount
            expected = np.mean((y[test] - prediction) ** 2)
            np.testing.assert_allclose(result.fold_scores[k, i], expected, rtol=1e-7)


def test_refits_that_interpolate_have_no_score():
    X, y, _ = make_data(n=15)
    problem = Problem(X, y)
    path = split_lbi_path(problem, None, nu=2.0, n_knots=15)
    result = CrossValidation(cv=3, refit=True).select(path, problem)
    assert np.isnan(result.scores).any()
    assert "as many coefficients" in result.message
    assert np.isfinite(result.scores[result.index])


@pytest.mark.parametrize("loss", ["logistic", "multinomial", "huber"])
def test_cross_validation_of_other_losses(loss):
    X, y, w = make_data(loss, n=60)
    problem = Problem(X, y, loss, sample_weight=w)
    path = split_lbi_path(problem, "differences", n_knots=6, t_max=15.0)
    for refit in (False, True):
        rule = CrossValidation(cv=3, keep_paths=True, refit=refit)
        result = rule.select(path, problem)
        assert np.isfinite(result.scores).sum() >= 3
        if refit:
            continue
        for k, (_, test) in enumerate(rule._folds(problem)):
            part, fold = problem.restrict(test), result.fold_paths[k]
            coefs, intercepts = fold.coefs_at(path.knots)
            for i in range(len(path)):
                eta = coefs[i].reshape(-1, 12) @ X[test].T
                eta = eta + np.reshape(intercepts[i], (-1, 1))
                factor = 1.0 if loss != "squared" else 2.0
                weight = w[test].sum()
                expected = factor * part.deviance(eta) / (2 * weight)
                assert result.fold_scores[k, i] == pytest.approx(expected, rel=1e-9)


def test_scorers_and_sparse_data(data):
    X, y, _ = data
    path = split_lbi_path(Problem(X, y), fused(), n_knots=8)
    for scoring in (None, "r2"):
        rule = CrossValidation(cv=3, scoring=scoring)
        scores = [
            rule.select(path, problem).fold_scores
            for problem in (Problem(X, y), Problem(sparse.csr_array(X), y))
        ]
        np.testing.assert_allclose(*scores, rtol=1e-6)


def test_samples_left_out_of_a_signal_are_predicted_by_their_neighbours():
    rng = np.random.default_rng(0)
    truth = np.repeat([0.0, 3.0, 1.0], 20)
    y = truth + 0.2 * rng.normal(size=60)
    X = sparse.eye_array(60, format="csc")
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    path = split_lbi_path(problem, "differences", nu=0.1, n_knots=20)
    for refit, at_null in ((False, 0.25), (True, 1.5)):
        result = CrossValidation(cv=5, refit=refit).select(path, problem)
        assert "D alone said what they are there" in result.message
        # At a jump a neighbour is on the other side.
        assert result.scores[result.index] < 0.4
        assert result.scores[0] == pytest.approx(at_null, rel=0.5)
    assert result.quantities["rows"] == 2


# ----------------------------------------------------------------------- stability


@pytest.mark.parametrize("kappa", [5.0, np.inf])
def test_stability_counts_rows(data, kappa):
    X, y, _ = data
    problem = Problem(X, y, standardize=False)
    D = fused()
    path = (
        split_iss_path(problem, D, nu=2.0)
        if kappa == np.inf
        else split_lbi_path(problem, D, nu=2.0, kappa=kappa, t_max=3.0)
    )
    result = stability_selection(path, problem, n_pairs=2, random_state=4)
    rng = np.random.RandomState(4)
    halves = [half for _ in range(2) for half in _halves(problem, rng)]
    for rows, entries in zip(halves, result.entry_knots, strict=True):
        part = Problem(X[rows], y[rows], standardize=False)
        options = {"nu_raw": path.nu_raw, "t_max": path.knots[-1]}
        if kappa == np.inf:
            other = split_iss_path(part, D, **options)
        else:
            other = split_lbi_path(part, D, kappa_raw=path.kappa_raw, **options)
        expected = other.split.entry_knots()
        np.testing.assert_allclose(
            np.where(np.isinf(entries), np.nan, entries), expected, rtol=1e-9
        )
    np.testing.assert_array_equal(result.reference, path.split.entry_knots())
    assert result.penalized.sum() == 23
    assert "23 rows in 2 complementary pairs" in repr(result)
    assert set(result.to_frame()["index"]) <= set(range(23))


def test_free_and_barred_rows_are_not_counted(data):
    X, y, _ = data
    problem = Problem(X, y, standardize=False)
    weight = np.ones(23)
    weight[[0, 5]] = 0, np.inf
    path = split_lbi_path(problem, fused(), row_weight=weight, t_max=3.0)
    result = stability_selection(path, problem, n_pairs=2)
    assert not result.penalized[[0, 5]].any()
    assert result.penalized.sum() == 21
    assert not {0, 5} & set(result.selected(0.6, knot=path.knots[-1]))


# ----------------------------------------------------------------------- estimators


def test_estimators_take_the_rules_by_name(data):
    X, y, _ = data
    model = SplitLBI(fused(), nu=2.0, n_knots=20).fit(X, y)
    problem = Problem(X, y, standardize=False)
    for rule in ("ebic", "bic", "aic"):
        expected = InformationCriterion(rule).select(model.path_, problem)
        assert model.select(rule).selection_.knot == expected.knot
    for rule in ("cv", "cv_1se"):
        chosen = model.select(rule, X, y).selection_
        assert chosen.rule == rule
        assert chosen.unit == "rows"
    assert model.path_.stability(X, y, n_pairs=1).unit == "rows"


def test_paths_over_features_are_scored_as_before(data):
    X, y, _ = data
    found = LBI().fit(X, y).selection_.quantities
    assert found["p_counts"] == "features"
    assert found["df_rule"] == "size"
    path = lbi_path(Problem(X, y))
    assert CrossValidation(cv=3).select(path, Problem(X, y)).unit == "features"
