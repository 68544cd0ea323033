import dataclasses

import numpy as np
import pytest
from scipy.special import comb

from sparselbi import Problem
from sparselbi.selection import InformationCriterion, with_statistics
from sparselbi.selection.information import _last_of_first_best_run
from sparselbi.solvers import iss_path, lbi_path
from tests.common import diabetes, make_data
from tests.selection.paths import least_squares_sum, make_path, support_path

CRITERIA = ("ebic", "bic", "aic")


@pytest.fixture(scope="module")
def orthogonal():
    """n = 16, six orthogonal columns, known coefficients, no intercept."""
    rng = np.random.default_rng(0)
    X = 4 * np.linalg.qr(rng.normal(size=(16, 6)))[0]
    y = X @ [3.0, -2.0, 0.3, 0.0, 0.0, 0.0] + rng.normal(size=16)
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    path = support_path(problem, [range(k) for k in range(7)])
    return problem, with_statistics(path, problem)


@pytest.fixture(scope="module")
def noise():
    """p > n and nothing to find: every uncapped criterion saturates."""
    rng = np.random.default_rng(1)
    problem = Problem(rng.normal(size=(60, 150)), rng.normal(size=60))
    return problem, with_statistics(iss_path(problem), problem)


# ------------------------------------------------------------------------------ scores


def test_scores_in_an_orthogonal_design_by_hand(orthogonal):
    problem, path = orthogonal
    n, p = 16, 6
    zeta = problem.columns(range(6)).T @ problem.y[0] / np.sqrt(n)
    rss = problem.y[0] @ problem.y[0] - n * np.append(0, np.cumsum(zeta**2))
    k = np.arange(7)
    gaussian = n * np.log(rss / n)
    gamma = 1 - np.log(n) / (2 * np.log(p))
    expected = {
        "bic": gaussian + k * np.log(n),
        "aic": gaussian + 2 * k,
        "ebic": gaussian + k * np.log(n) + 2 * gamma * np.log(comb(p, k)),
    }
    for criterion, scores in expected.items():
        selection = InformationCriterion(criterion).select(path)
        np.testing.assert_allclose(selection.scores, scores, rtol=1e-10)
        assert selection.index == np.argmin(scores)
        assert selection.knot == path.knots[selection.index]
        second = np.sort(scores)[1] - scores.min()
        assert selection.quantities["runner_up_difference"] == pytest.approx(second)
    given = InformationCriterion("bic", variance=2.0).select(path)
    np.testing.assert_allclose(given.scores, rss / 2.0 + k * np.log(n))
    full = InformationCriterion("bic", variance="full").select(path, problem)
    assert full.quantities["variance"] == pytest.approx(rss[-1] / (n - 6))
    np.testing.assert_allclose(
        full.scores, rss / (rss[-1] / (n - 6)) + k * np.log(n), rtol=1e-10
    )
    assert full.message == ""


def test_scores_of_the_path_coefficients(orthogonal):
    _, path = orthogonal
    selection = InformationCriterion("bic", refit=False).select(path)
    expected = 16 * np.log(path.deviance / 16) + np.arange(7) * np.log(16)
    np.testing.assert_allclose(selection.scores, expected)
    df = np.linspace(0, 3, 7)
    selection = InformationCriterion("aic", refit=False, df=df).select(path)
    np.testing.assert_allclose(
        selection.scores, 16 * np.log(path.deviance / 16) + 2 * df
    )
    assert selection.quantities["df_rule"] == "array, as given"


@pytest.mark.parametrize("n", [9, 99, 100, 101, 1000])
def test_auto_gamma_is_plain_bic_up_to_sqrt_n(n):
    data = make_data(n=n, p=10)
    problem = Problem(data.X, data.y)
    path = with_statistics(support_path(problem, [[], [0], [0, 1]]), problem)
    ebic, bic = (InformationCriterion(c).select(path) for c in ("ebic", "bic"))
    gamma = ebic.quantities["gamma"]
    assert gamma == pytest.approx(max(0, 1 - np.log(n) / np.log(100)))
    assert (ebic.scores == bic.scores).all() == (n >= 100)
    assert bic.quantities["gamma"] == 0


def test_unpenalized_columns_are_not_candidates():
    data = make_data(n=40, p=8)
    factor = np.r_[0.0, np.ones(6), np.inf]
    problem = Problem(data.X, data.y, penalty_factor=factor)
    path = with_statistics(support_path(problem, [[0], [0, 1], [0, 1, 2]]), problem)
    selection = InformationCriterion("ebic", gamma=1.0).select(path)
    assert selection.quantities["p"] == 6
    k = np.arange(3)
    rss = [least_squares_sum(problem, data.X, s) for s in ([0], [0, 1], [0, 1, 2])]
    expected = 40 * np.log(np.array(rss) / 40) + (k + 1) * np.log(40)
    np.testing.assert_allclose(
        selection.scores, expected + 2 * np.log(comb(6, k)), rtol=1e-10
    )


def test_groups_are_candidates_as_a_whole():
    data = make_data(n=60, p=9)
    groups = np.repeat(["a", "b", "c"], 3)
    problem = Problem(data.X, data.y, penalty="group", groups=groups)
    path = support_path(problem, [[], [0, 1, 2], range(6), range(9)])
    selection = InformationCriterion("ebic", gamma=0.5).select(path, problem)
    plain = InformationCriterion("bic").select(path, problem)
    np.testing.assert_allclose(
        selection.scores - plain.scores, np.log([1, 3, 3, 1]), atol=1e-10
    )
    assert selection.quantities["p"] == 3
    assert selection.quantities["p_counts"] == "groups"
    assert plain.quantities["size"] in (0, 3, 6, 9)


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_classification_scores_are_deviances(loss):
    data = make_data(loss, n=80, p=6)
    problem = Problem(data.X, data.y, loss)
    path = with_statistics(lbi_path(problem, kappa=5.0, n_knots=15), problem)
    free = 1 if loss == "logistic" else 2
    selection = InformationCriterion("bic").select(path)
    features = np.reshape(path.coefs, (len(path.knots), -1, 6)).any(axis=1).sum(axis=1)
    np.testing.assert_allclose(
        selection.scores, path.refit_deviance + free * features * np.log(80)
    )
    unrefitted = InformationCriterion("aic", refit=False).select(path)
    np.testing.assert_allclose(unrefitted.scores, path.deviance + 2 * path.size)
    with pytest.raises(ValueError, match="variance='full' needs loss='squared'"):
        InformationCriterion("bic", variance="full").select(path, problem)


def test_huber_says_that_it_is_a_pseudo_likelihood():
    data = make_data("huber", n=60, p=6)
    problem = Problem(data.X, data.y, "huber")
    selection = InformationCriterion("bic").select(lbi_path(problem), problem)
    assert "pseudo-likelihood" in repr(selection)
    assert selection.quantities["size"] >= 2


# ---------------------------------------------------------------------------- the cap


@pytest.mark.parametrize("criterion", CRITERIA)
def test_capped_criteria_do_not_reach_the_saturated_end(noise, criterion):
    _, path = noise
    assert path.size[-1] > 50
    selection = InformationCriterion(criterion).select(path)
    assert selection.quantities["cap"] == 30
    # Plain BIC and AIC keep finding features in noise when p > sqrt(n), EBIC does not.
    assert selection.quantities["size"] <= (3 if criterion == "ebic" else 30)
    assert selection.quantities["knots_beyond_cap"] == (path.size > 30).sum()
    assert np.isnan(selection.scores[path.size > 30]).all()


def test_large_null_problem_selects_almost_nothing():
    rng = np.random.default_rng(0)
    problem = Problem(rng.normal(size=(200, 500)), rng.normal(size=200))
    path = with_statistics(iss_path(problem, max_features=120), problem)
    for criterion in ("ebic", "bic"):
        selection = InformationCriterion(criterion).select(path)
        assert selection.quantities["size"] <= 5


def test_without_a_cap_bic_saturates(noise):
    problem, path = noise
    selection = InformationCriterion("bic", cap=None).select(path, problem)
    assert selection.quantities["size"] > 50
    assert selection.quantities["cap_rule"] == "none"
    assert selection.message == ""
    without_data = InformationCriterion("bic", cap=None).select(path)
    assert without_data.quantities["cap"] == 30
    assert without_data.quantities["size"] <= 30
    assert "no problem was given" in without_data.message


def test_given_cap(noise):
    _, path = noise
    selection = InformationCriterion("aic", cap=4).select(path)
    assert selection.quantities["size"] <= 4
    nothing = InformationCriterion("aic", cap=0).select(path)
    assert (nothing.index, nothing.quantities["size"]) == (0, 0)


def test_saturated_fits_are_never_scored():
    data = make_data(n=30, p=5)
    problem = Problem(data.X, data.X @ [1.0, 2, 0, 0, 0])
    path = support_path(problem, [[], [1], [0, 1], [0, 1, 2]])
    selection = InformationCriterion("bic").select(path, problem)
    assert np.isnan(selection.scores[2:]).all()
    assert selection.index == 1
    assert selection.quantities["knots_saturated"] == 2
    small = Problem(data.X[:4], data.y[:4])
    path = support_path(small, [[], [1], [0, 1], [0, 1, 2]])
    selection = InformationCriterion("aic", cap=None).select(path, small)
    assert np.isnan(selection.scores[3])


def test_separable_refits_are_never_scored():
    data = make_data(n=40, p=5)
    problem = Problem(data.X, data.X[:, 0] > data.X[:, 0].mean(), "logistic")
    path = lbi_path(problem, n_knots=20)
    selection = InformationCriterion("bic").select(path, problem)
    assert np.isnan(selection.scores[path.coefs[:, 0, 0] != 0]).all()


def test_constant_response_selects_the_null_model():
    problem = Problem(np.random.default_rng(0).normal(size=(20, 3)), np.full(20, 0.1))
    path = make_path(problem, [0], [[0.0], [1e-17]], np.full(2, 0.1))
    for one in (iss_path(problem), path):
        selection = InformationCriterion().select(one, problem)
        assert selection.index == 0
        assert selection.message.startswith("The null model leaves no deviance")
        assert np.isnan(selection.scores).all()
        assert "constant y" in repr(selection)


def test_null_model_beyond_the_cap_can_be_chosen():
    data = make_data(n=8, p=6)
    problem = Problem(data.X, data.y, penalty_factor=[0, 0, 0, 0, 0, 1])
    path = support_path(problem, [range(5), range(6)], shrink=1.0)
    selection = InformationCriterion("bic").select(path, problem)
    assert selection.index == 0
    assert np.isfinite(selection.scores[0])


# --------------------------------------------------------------------------- invariance


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("variance", ["profile", "full"])
def test_weights_equal_repeated_rows(criterion, variance):
    data = make_data(n=30, p=8)
    counts = np.random.default_rng(0).integers(0, 4, size=30)
    rows = np.repeat(np.arange(30), counts)
    rule = InformationCriterion(criterion, variance=variance)
    weighted = Problem(data.X, data.y, sample_weight=counts)
    repeated = Problem(data.X[rows], data.y[rows])
    supports = [[], [0], [0, 1], [0, 1, 5], [0, 1, 2, 5]]
    left = rule.select(support_path(weighted, supports), weighted)
    right = rule.select(support_path(repeated, supports), repeated)
    np.testing.assert_allclose(left.scores, right.scores, rtol=1e-9)
    assert left.index == right.index
    assert left.quantities["cap"] == right.quantities["cap"]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("refit", [True, False])
def test_rescaling_the_response_does_not_change_the_choice(criterion, refit):
    data = make_data(n=50, p=20)
    rule = InformationCriterion(criterion, refit=refit)
    choices = []
    for factor in (1.0, 1e-7, 1e7):
        problem = Problem(data.X, factor * data.y)
        selection = rule.select(lbi_path(problem), problem)
        difference = selection.scores - selection.quantities["null_score"]
        choices.append((selection.index, selection.knot * factor, difference))
    for index, knot, difference in choices[1:]:
        assert index == choices[0][0]
        assert knot == pytest.approx(choices[0][1], rel=1e-6)
        np.testing.assert_allclose(difference, choices[0][2], rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------- ties and reporting


def test_last_knot_of_the_first_best_run():
    nan = np.nan
    assert _last_of_first_best_run(np.array([3.0, 1, 1, 1, 2, 1])) == 3
    assert _last_of_first_best_run(np.array([3.0, 1])) == 1
    assert _last_of_first_best_run(np.array([1.0, 1, nan, 1])) == 1
    assert _last_of_first_best_run(np.array([nan, nan])) == 0


def test_most_relaxed_knot_of_the_best_support():
    data = make_data(n=100, p=6)
    problem = Problem(data.X, data.y)
    best = [0, 1, 2, 3]
    supports = [[], [0], best, best, best, [0, 1, 2, 3, 5], best]
    path = support_path(problem, supports)
    selection = InformationCriterion("bic").select(path, problem)
    assert selection.index == 4
    assert selection.scores[2] == selection.scores[4] == selection.scores[6]
    assert selection.quantities["runner_up_difference"] > 0
    assert selection.quantities["runner_up_knot"] == 5.0


def test_best_score_at_the_end_of_an_incomplete_path():
    data = make_data(n=100, p=6)
    problem = Problem(data.X, data.y)
    path = with_statistics(support_path(problem, [[], [0, 1]]), problem)
    assert InformationCriterion("bic").select(path).message == ""
    cut = dataclasses.replace(path, status="t_max")
    assert "longer path" in InformationCriterion("bic").select(cut).message


def test_full_variance_falls_back_to_profile_and_says_so_once(noise, orthogonal):
    for problem, path in (noise, (None, orthogonal[1])):
        selection = InformationCriterion("bic", variance="full").select(path, problem)
        plain = InformationCriterion("bic").select(path, problem)
        np.testing.assert_array_equal(selection.scores, plain.scores)
        assert selection.message.count("variance='full' could not be applied") == 1
        assert "because" in selection.quantities["variance_rule"]
    assert "no problem was given" in selection.message


def test_repr_shows_everything_that_entered(orthogonal):
    _, path = orthogonal
    selection = InformationCriterion().select(path)
    text = repr(selection)
    assert text.startswith("Selection by ebic\n")
    for name in selection.quantities:
        assert f"\n  {name} " in text
    assert "auto: max(0, 1 - log(n) / (2 log(p)))" in text
    assert max(map(len, text.splitlines())) < 100


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": "mdl"}, "criterion='mdl' is unknown"),
        ({"gamma": 2.0}, r"gamma=2.0 must be 'auto' or a number in \[0, 1\]"),
        ({"gamma": "half"}, "gamma='half'"),
        ({"criterion": "bic", "gamma": 0.5}, "belongs to criterion='ebic'"),
        ({"cap": -1}, "cap=-1 must be"),
        ({"cap": 2.5}, "cap=2.5 must be"),
        ({"cap": "n"}, "cap='n' must be"),
        ({"variance": 0.0}, "variance=0.0 must be"),
        ({"variance": "ols"}, "variance='ols' must be"),
        ({"df": "monte_carlo"}, "degrees_of_freedom"),
        ({"df": [1.0, 2.0]}, "refit=False"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        InformationCriterion(**arguments)


def test_wrong_paths(orthogonal):
    problem, path = orthogonal
    bare = dataclasses.replace(path, deviance=None)
    with pytest.raises(ValueError, match="with_statistics"):
        InformationCriterion().select(bare)
    assert InformationCriterion().select(bare, problem).index > 0
    with pytest.raises(ValueError, match="each of the 7 knots"):
        InformationCriterion(refit=False, df=np.ones(3)).select(path)


def test_diabetes():
    X, y = diabetes()
    problem = Problem(X, y)
    selection = InformationCriterion("bic").select(iss_path(problem), problem)
    assert selection.quantities["size"] == 5
    assert selection.quantities["knots_beyond_cap"] == 0
