"""Standard errors of robust fits against closed forms, loops and another package."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from sparselbi._shift_design import SingularFit
from sparselbi.datasets import load_prostate, load_stackloss
from sparselbi.estimators import _robust_inference
from sparselbi.estimators._robust_inference import (
    cut_of_threshold,
    huber_inference,
    rejection_inference,
)
from sparselbi.scales import truncated_variance
from sparselbi.shift_problem import ShiftProblem

FROZEN = json.loads(
    (Path(__file__).parents[1] / "reference" / "huber.json").read_text()
)
LOADERS = {"stackloss": load_stackloss, "prostate": load_prostate}
CUTS = (0.7, 1.345, 2.5, 3.0)


def case(n=40, p=3, c=1, seed=0, weights=False, intercept=True, **options):
    """A problem with heavy tails, unequal columns and large means."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * [1, 100, 1e-2][:p] + [5, 1e3, 0][:p]
    Y = X @ rng.normal(size=(p, c)) + rng.standard_t(3, size=(n, c)) + 50
    w = rng.integers(0, 3, size=n).astype(float) if weights else None
    y = Y[:, 0] if c == 1 else Y
    return ShiftProblem(X, y, sample_weight=w, fit_intercept=intercept, **options), X, Y


def columns(problem, X):
    """Columns of the fit, the intercept last."""
    return np.column_stack([X, np.ones(len(X))]) if problem.fit_intercept else X


def weights(problem):
    w = problem.sample_weight
    return np.ones(problem.n_samples) if w is None else w


def huber_fit(problem, threshold):
    """Huber regression by reweighted least squares, to rounding."""
    design, w = problem.design, weights(problem)
    coords = design.least_squares()
    limit = np.where(
        np.isinf(problem.row_factor), np.inf, threshold * problem.row_factor
    )
    for _ in range(20_000):
        R = design.Y - design.Z @ coords
        length = np.maximum(np.linalg.norm(R, axis=1), 1e-300)
        Z = design.Z * (w * np.minimum(1, limit / length))[:, None]
        new = np.linalg.solve(Z.T @ design.Z, Z.T @ design.Y)
        done = np.abs(new - coords).max() <= 1e-14 * np.abs(new).max()
        coords = new
        if done:
            break
    return coords


def raw_fit(problem, X, Y, coords):
    """Coefficients with the intercept last, (p + 1, c), and residuals."""
    coefs, intercepts = problem.design.to_coefs(coords)
    A = columns(problem, X)
    both = np.column_stack([coefs, intercepts])[:, : A.shape[1]].T
    return A, both, Y - A @ both


# -- rejection -------------------------------------------------------------------------


def radial(function, c, k):
    """Integral over the ball of a function of the squared length, normal density."""
    chi = stats.chi(c)
    return integrate.quad(
        lambda r: function(r**2) * chi.pdf(r), 0, k, epsabs=1e-13, epsrel=1e-12
    )[0]


@pytest.mark.parametrize("c", [1, 2, 3, 7])
@pytest.mark.parametrize("k", CUTS)
def test_variance_of_truncated_normal_numbers(c, k):
    expected = radial(lambda s: s / c, c, k) / radial(lambda s: 1.0, c, k)
    assert truncated_variance(k, c) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("k", CUTS)
def test_one_response_is_the_formula_of_the_edges(k):
    A, J = 2 * special.ndtr(k) - 1, 2 * k * stats.norm.pdf(k)
    assert truncated_variance(k) == pytest.approx((A - J) / A, rel=1e-12)


def test_truncated_variance_at_the_ends():
    assert truncated_variance(np.inf, 3) == 1
    for c in (1, 4):  # uniform in a small ball
        assert truncated_variance(1e-6, c) == pytest.approx(1e-12 / (c + 2))
        ends = truncated_variance([0.999e-4, 1.001e-4], c)
        assert ends[1] / ends[0] == pytest.approx((1.001 / 0.999) ** 2, rel=1e-7)


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("k", [1.1, 2.5, 3.4, 8.0])
def test_cut_of_a_threshold(c, k):
    sigma = 0.3
    kept = sigma**2 * float(truncated_variance(k, c))
    assert cut_of_threshold(kept, k * sigma, c) == pytest.approx(k, rel=1e-9)
    assert cut_of_threshold(0.0, 1.0, c) == np.inf
    assert cut_of_threshold(1.0, 1.0, c) == 1  # more than any cut leaves


@pytest.mark.parametrize("k", [1.0, 2.5])
def test_mean_of_psi_moves_with_the_shift(k):
    """Its derivative is A - J, not the share A of rows that are kept."""

    def mean(shift):
        return integrate.quad(
            lambda r: r * stats.norm.pdf(r - shift), -k, k, epsabs=1e-14
        )[0]

    slope = (mean(1e-4) - mean(-1e-4)) / 2e-4
    kept = 2 * special.ndtr(k) - 1
    assert slope == pytest.approx(truncated_variance(k) * kept, rel=1e-7)

    def mean_of_two(shift):  # the first of two responses, shifted along itself
        return integrate.quad(
            lambda r: (
                r * stats.norm.pdf(r - shift) * special.erf(np.sqrt((k**2 - r**2) / 2))
            ),
            *(-k, k),
            epsabs=1e-14,
        )[0]

    slope = (mean_of_two(1e-4) - mean_of_two(-1e-4)) / 2e-4
    kept = stats.chi2.cdf(k**2, 2)
    assert slope == pytest.approx(truncated_variance(k, 2) * kept, rel=1e-7)


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_nothing_cut_is_ordinary_least_squares(c, intercept, weighted):
    problem, X, Y = case(c=c, intercept=intercept, weights=weighted)
    found = rejection_inference(problem, np.ones(len(X), bool), np.inf, level=0.9)
    A, w = columns(problem, X), weights(problem)
    q, gram = A.shape[1], A.T @ (A * w[:, None])
    beta = np.linalg.solve(gram, A.T @ (w[:, None] * Y))
    R = Y - A @ beta
    df = w.sum() - q
    for j in range(c):
        cov = (w @ R[:, j] ** 2) / df * np.linalg.inv(gram)
        mine = found.cov if c == 1 else found.cov[j]
        np.testing.assert_allclose(mine[:q, :q], cov, rtol=1e-7)
        half = stats.t(df).ppf(0.95) * np.sqrt(cov.diagonal())
        ends = np.stack([beta[:, j] - half, beta[:, j] + half], axis=1)
        frame = found.to_frame() if c == 1 else found.to_frame().loc[j]
        np.testing.assert_allclose(frame[["low", "high"]], ends, rtol=1e-7)
        np.testing.assert_allclose(frame["coef"], beta[:, j], rtol=1e-8)
    assert found.df == df
    assert found.info["standard_error_factor"] == 1
    if not intercept:
        assert not found.cov[..., -1].any()
        assert np.all(found.intercept_interval == 0)


@pytest.mark.parametrize("name", LOADERS)
def test_least_squares_against_statsmodels(name):
    X, y = LOADERS[name](return_X_y=True)
    problem = ShiftProblem(X, y)
    every = np.ones(len(y), bool)
    found = rejection_inference(problem, every, np.inf)
    expected = FROZEN[name]["ols"]
    mine = np.append(found.intercept_error, found.standard_error)
    np.testing.assert_allclose(mine, expected["bse"], rtol=1e-8)
    ends = np.vstack([found.intercept_interval, found.coef_interval])
    np.testing.assert_allclose(ends, expected["conf_int"], rtol=1e-7)
    # Without a threshold the sandwich has the usual forms.
    coords = problem.design.least_squares()
    found = huber_inference(problem, coords, np.inf, kind="robust")
    mine = np.append(found.intercept_error, found.standard_error)
    np.testing.assert_allclose(mine, FROZEN[name]["ols_hc1"]["bse"], rtol=1e-8)
    found = huber_inference(
        problem, coords, np.inf, kind="clustered", clusters=np.arange(len(y)) // 4
    )
    expected = FROZEN[name]["ols_cluster"]
    mine = np.append(found.intercept_error, found.standard_error)
    np.testing.assert_allclose(mine, expected["bse"], rtol=1e-8)
    ends = np.vstack([found.intercept_interval, found.coef_interval])
    np.testing.assert_allclose(ends, expected["conf_int"], rtol=1e-7)


@pytest.mark.parametrize("c", [1, 2])
def test_both_corrections_after_a_cut(c):
    problem, X, Y = case(c=c)
    norms = problem.design.norms(problem.design.least_squares())
    kept = norms < np.quantile(norms, 0.8)
    found = rejection_inference(problem, kept, 2.5)
    part = ShiftProblem(X[kept], Y[kept][:, 0] if c == 1 else Y[kept])
    naive = rejection_inference(part, np.ones(kept.sum(), bool), np.inf)
    share = truncated_variance(2.5, c)
    np.testing.assert_allclose(found.coef, naive.coef, rtol=1e-8)
    np.testing.assert_allclose(
        found.standard_error, naive.standard_error / share, rtol=1e-7
    )
    np.testing.assert_allclose(
        found.info["scale"], naive.info["scale"] / np.sqrt(share), rtol=1e-10
    )
    assert found.df == naive.df == kept.sum() - 4
    per_row = rejection_inference(problem, kept, np.full(len(X), 2.5))
    np.testing.assert_allclose(per_row.cov, found.cov, rtol=1e-12)


def test_far_rows_that_were_dropped_cost_no_digits():
    problem, X, Y = case()
    far = np.vstack([X, X[:5] + 1e8])
    y = np.append(Y[:, 0], Y[:5, 0] - 1e6)
    kept = np.arange(len(y)) < len(X)
    found = rejection_inference(ShiftProblem(far, y), kept, 3.0)
    near = rejection_inference(problem, kept[: len(X)], 3.0)
    np.testing.assert_allclose(found.coef, near.coef, rtol=1e-6)
    np.testing.assert_allclose(found.standard_error, near.standard_error, rtol=1e-5)


def test_a_perfect_fit_has_points_for_intervals():
    X = np.random.default_rng(0).normal(size=(20, 2))
    y = X @ [1.0, -2.0] + 3
    y[:4] += 7
    found = rejection_inference(ShiftProblem(X, y), np.arange(20) >= 4, 3.0)
    assert found.info["scale"] == 0
    assert not found.standard_error.any()
    np.testing.assert_allclose(found.coef, [1, -2], rtol=1e-12)


# -- Huber fits ------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("rule", ["rlm_mad", "rlm_proposal2"])
def test_huber_against_statsmodels(name, rule):
    X, y = LOADERS[name](return_X_y=True)
    expected = FROZEN[name][rule]
    threshold = expected["t"] * expected["scale"]
    problem = ShiftProblem(X, y)
    coords = huber_fit(problem, threshold)
    found = huber_inference(problem, coords, threshold)
    fit = np.append(found.intercept, found.coef)
    np.testing.assert_allclose(fit, expected["params"], rtol=1e-8)
    mine = np.append(found.intercept_error, found.standard_error)
    np.testing.assert_allclose(mine, expected["bse"], rtol=1e-7)


def score(problem, A, Y, theta, threshold):
    """Sum of the scores of the rows at coefficients (q * c,), and those of each row."""
    R = Y - A @ theta.reshape(A.shape[1], -1)
    length = np.linalg.norm(R, axis=1)
    psi = R * np.minimum(1, threshold * problem.row_factor / length)[:, None]
    rows = np.stack([np.outer(a, r).ravel() for a, r in zip(A, psi, strict=True)])
    return weights(problem) @ rows, rows


def loop_sandwich(problem, X, Y, coords, threshold, clusters=None):
    """D^-1 (sum s s') D^-1 with D by central differences of the scores."""
    A, theta, _ = raw_fit(problem, X, Y, coords)
    size = np.linalg.norm(A, axis=0) / np.sqrt(len(A))
    A, theta = A / size, (theta * size[:, None]).ravel()
    D = np.empty((len(theta),) * 2)
    for j in range(len(theta)):
        step = np.zeros(len(theta))
        step[j] = 1e-5
        ends = [score(problem, A, Y, theta + s * step, threshold)[0] for s in (-1, 1)]
        D[:, j] = (ends[0] - ends[1]) / 2e-5
    _, rows = score(problem, A, Y, theta, threshold)
    w, n = weights(problem), weights(problem).sum()
    if clusters is None:
        meat = sum(v * np.outer(s, s) for v, s in zip(w, rows, strict=True))
        factor = n / (n - A.shape[1])
    else:
        labels = np.unique(clusters)
        sums = [(w[clusters == g, None] * rows[clusters == g]).sum(0) for g in labels]
        meat = sum(np.outer(s, s) for s in sums)
        factor = len(labels) / (len(labels) - 1) * (n - 1) / (n - A.shape[1])
    back = np.linalg.inv(D)
    cov = factor * back @ meat @ back.T
    q, c = A.shape[1], Y.shape[1]
    cov = cov.reshape(q, c, q, c) / size[:, None, None, None] / size[:, None]
    return np.stack([cov[:, j, :, j] for j in range(c)])


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_sandwich_against_a_loop(c, clustered, weighted):
    problem, X, Y = case(c=c, weights=weighted)
    threshold = 1.2 * np.sqrt(c)
    coords = huber_fit(problem, threshold)
    labels = np.random.default_rng(1).integers(0, 12, size=len(X))
    clusters = np.array(list("abcdefghijkl"))[labels] if clustered else None
    kind = "clustered" if clustered else "robust"
    found = huber_inference(problem, coords, threshold, kind=kind, clusters=clusters)
    used = None
    if clustered:  # of rows without weight nothing counts, not even the label
        used = np.where(weights(problem) > 0, labels, labels[weights(problem) > 0][0])
    expected = loop_sandwich(problem, X, Y, coords, threshold, used)
    mine = found.cov[None] if c == 1 else found.cov
    np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-9 * expected.max())
    assert found.df == (len(np.unique(used)) - 1 if clustered else problem.df)


@pytest.mark.parametrize("c", [1, 2])
def test_blocks_and_order_of_rows_change_nothing(c, monkeypatch):
    problem, X, Y = case(n=90, c=c)
    labels = np.random.default_rng(1).integers(0, 9, size=90)
    y = Y[:, 0] if c == 1 else Y
    order = np.random.default_rng(2).permutation(90)
    kept = problem.design.norms(problem.design.least_squares()) < 2
    coords = huber_fit(problem, 1.5)
    options = {"kind": "clustered", "clusters": labels}
    whole = huber_inference(problem, coords, 1.5, **options)
    cut = rejection_inference(problem, kept, 2.5)
    monkeypatch.setattr(_robust_inference, "_BLOCK", 1)  # 4 * width rows
    other = ShiftProblem(X[order], y[order])
    options["clusters"] = labels[order]
    moved = huber_inference(other, huber_fit(other, 1.5), 1.5, **options)
    np.testing.assert_allclose(moved.cov, whole.cov, rtol=1e-7)
    moved = rejection_inference(other, kept[order], 2.5)
    np.testing.assert_allclose(moved.cov, cut.cov, rtol=1e-7)


@pytest.mark.parametrize("c", [1, 2])
@pytest.mark.parametrize("kind", ["rejection", "huber", "robust", "clustered"])
def test_weights_are_repetitions(c, kind):
    problem, X, Y = case(c=c, weights=True)
    w = problem.sample_weight.astype(int)
    y = Y[:, 0] if c == 1 else Y
    labels = np.arange(len(X)) // 3
    repeated = ShiftProblem(np.repeat(X, w, axis=0), np.repeat(y, w, axis=0))
    found = []
    for one, clusters in ((problem, labels), (repeated, np.repeat(labels, w))):
        if kind == "rejection":
            norms = one.design.norms(one.design.least_squares())
            found.append(rejection_inference(one, norms < 2.5, 2.5))
            continue
        options = {"clusters": clusters} if kind == "clustered" else {}
        found.append(
            huber_inference(one, huber_fit(one, 1.5), 1.5, kind=kind, **options)
        )
    np.testing.assert_allclose(found[0].cov, found[1].cov, rtol=1e-7)
    np.testing.assert_allclose(
        found[0].coef_interval, found[1].coef_interval, rtol=1e-7
    )


def test_rows_in_clusters_of_their_own_are_the_robust_sandwich():
    problem, X, _ = case(c=2)
    coords = huber_fit(problem, 1.5)
    alone = huber_inference(
        problem, coords, 1.5, kind="clustered", clusters=np.arange(len(X))
    )
    robust = huber_inference(problem, coords, 1.5, kind="robust")
    # n / (n - 1) * (n - 1) / (n - p) is n / (n - p)
    np.testing.assert_allclose(alone.cov, robust.cov, rtol=1e-10)


def test_one_of_several_responses_alone_gives_the_matrix_formula():
    """For noise in one response only, group Huber is Huber, and so are its errors."""
    problem, X, Y = case()
    both = ShiftProblem(X, np.column_stack([Y, np.zeros(len(X))]))
    one = huber_inference(problem, huber_fit(problem, 1.5), 1.5)
    two = huber_inference(both, huber_fit(both, 1.5), 1.5)
    np.testing.assert_allclose(two.coef[0], one.coef, rtol=1e-7)
    np.testing.assert_allclose(two.cov[0], one.cov, rtol=1e-7)
    assert not two.cov[1].any()


@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e6, 1e6))
def test_units_of_y(scale, shift):
    problem, X, Y = case()
    moved = ShiftProblem(X, scale * (Y[:, 0] + shift))
    kept = problem.design.norms(problem.design.least_squares()) < 2
    for one, other in (
        [rejection_inference(p, kept, 2.5) for p in (problem, moved)],
        [
            huber_inference(p, p.design.least_squares(), 1e9, kind="robust")
            for p in (problem, moved)
        ],
    ):
        np.testing.assert_allclose(other.cov, scale**2 * one.cov, rtol=1e-5)


# -- what the data do not determine ----------------------------------------------------


def test_dependent_columns_have_no_errors_but_their_contrasts_do():
    problem, X, Y = case()
    wide = np.column_stack([X, 2 * X[:, 0] - 3e4 * X[:, 2], np.full(len(X), 7.0)])
    other = ShiftProblem(wide, Y[:, 0])
    every = np.ones(len(X), bool)
    found = rejection_inference(other, every, 3.0)
    plain = rejection_inference(problem, every, 3.0)
    np.testing.assert_array_equal(found.determined, [False, True, False, False, False])
    np.testing.assert_array_equal(np.isnan(found.standard_error), ~found.determined)
    assert found.standard_error[1] == pytest.approx(plain.standard_error[1], rel=1e-7)
    # The coefficients of x_0 and x_2 with the fourth column expressed by them.
    contrasts = [[1, 0, 0, 2, 0], [0, 0, 1, -3e4, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    value, error = found.contrast(contrasts)
    np.testing.assert_allclose(value[:2], plain.coef[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(error[:2], plain.standard_error[[0, 2]], rtol=1e-6)
    assert np.isnan(error[2:]).all()
    assert "4 coefficient(s)" in repr(found)


def test_differences_of_scores_in_a_graph():
    """Scores are determined up to a constant, their differences are."""
    pairs = np.array([(i, j) for i in range(5) for j in range(i)] * 3)
    X = np.zeros((len(pairs), 5))
    X[np.arange(len(pairs)), pairs[:, 0]] = 1
    X[np.arange(len(pairs)), pairs[:, 1]] = -1
    y = X @ np.arange(5.0) + np.random.default_rng(0).normal(size=len(pairs))
    problem = ShiftProblem(X, y, fit_intercept=False)
    every = np.ones(len(y), bool)
    found = rejection_inference(problem, every, np.inf)
    assert not found.determined.any()
    fixed = ShiftProblem(X[:, 1:], y, fit_intercept=False)  # the first score is 0
    gauge = rejection_inference(fixed, every, np.inf)
    for j in range(1, 5):
        difference = np.zeros(5)
        difference[[j, 0]] = 1, -1
        value, error = found.contrast(difference)
        assert value == pytest.approx(gauge.coef[j - 1], rel=1e-9)
        assert error == pytest.approx(gauge.standard_error[j - 1], rel=1e-9)


# -- errors ----------------------------------------------------------------------------


def test_bad_arguments():
    problem, X, Y = case()
    every, coords = np.ones(len(X), bool), problem.design.least_squares()
    with pytest.raises(ValueError, match=r"level=1.5 must be between 0 and 1"):
        rejection_inference(problem, every, 3.0, level=1.5)
    found = rejection_inference(problem, every, 3.0)
    with pytest.raises(ValueError, match="level='high'"):
        dataclasses.replace(found, level="high")
    with pytest.raises(ValueError, match=r"cut=0.0 must be positive"):
        rejection_inference(problem, every, 0.0)
    with pytest.raises(ValueError, match="4 rows .* leave no residual"):
        rejection_inference(problem, np.arange(len(X)) < 4, 3.0)
    with pytest.raises(ValueError, match=r"weights has shape \(2,\)"):
        found.contrast([1, -1])
    with pytest.raises(ValueError, match="kind='hc3' is unknown"):
        huber_inference(problem, coords, 1.0, kind="hc3")
    with pytest.raises(ValueError, match="needs clusters"):
        huber_inference(problem, coords, 1.0, kind="clustered")
    with pytest.raises(ValueError, match="ignores clusters"):
        huber_inference(problem, coords, 1.0, clusters=np.arange(len(X)))
    for labels, said in ((np.arange(3), "shape"), (np.zeros(len(X)), "at least two")):
        with pytest.raises(ValueError, match=said):
            huber_inference(problem, coords, 1.0, kind="clustered", clusters=labels)


def test_rows_that_do_not_determine_the_fit():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=20), np.arange(20) < 3])
    problem = ShiftProblem(X, rng.normal(size=20))
    with pytest.raises(SingularFit, match="17 rows that are kept do not determine"):
        rejection_inference(problem, np.arange(20) >= 3, 3.0)
    coords = problem.design.least_squares()
    with pytest.raises(SingularFit, match="do not determine the fit"):
        huber_inference(problem, coords, 1e-9, kind="robust")
    with pytest.raises(SingularFit, match="no row lies within"):
        huber_inference(problem, coords, 1e-9)


def test_too_many_coefficients_for_one_matrix(monkeypatch):
    problem, _, _ = case(c=3)
    monkeypatch.setattr(_robust_inference, "_MAX_BREAD", 11)
    coords = problem.design.least_squares()
    with pytest.raises(ValueError, match="4 coefficients in 3 responses"):
        huber_inference(problem, coords, 1.0, kind="robust")


@pytest.mark.parametrize("k", np.geomspace(1.0, 60.0, 40))
@pytest.mark.parametrize("c", [1, 3])
def test_a_cut_is_found_again_from_what_it_leaves(k, c):
    """Far out nothing is cut, and k is one over the root of the share."""
    share = truncated_variance(k, c)
    for unit in (1.0, 1e-5, 3e7):
        found = cut_of_threshold(share * unit**2, k * unit, c)
        np.testing.assert_allclose(found, k, rtol=1e-8)
