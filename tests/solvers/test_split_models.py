"""Models of a set of active rows of D: refits, partial ridge, degrees of freedom."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sparselbi.penalties import kernel_spaces, transforms
from sparselbi.problem import Problem
from sparselbi.solvers import _split_freedom, split_models
from sparselbi.solvers._split_problem import SplitProblem
from sparselbi.solvers.refit import refit_coefs
from sparselbi.solvers.split_models import SupportFits
from tests import twins
from tests.common import (
    HUBER_THRESHOLD,
    LAYOUTS,
    LOSSES,
    N_CLASSES,
    make_data,
    make_loss,
)

P = 12
MAPS = {
    "identity": lambda: transforms.identity(P),
    "line": lambda: transforms.differences(P),
    "trend": lambda: transforms.differences(P, 2),
    "tied": lambda: transforms.with_identity(transforms.differences(P), 2.0),
    "matrix": lambda: transforms.as_transform(
        np.random.default_rng(0).normal(size=(15, P))
    ),
}


def make_split(loss="squared", D="line", layout="C", nu_raw=None, n=60, **options):
    """A problem with weights and its structure."""
    X, y, w = make_data(loss, n=n)
    X = LAYOUTS[layout](X)
    problem = Problem(X, y, make_loss(loss), sample_weight=w, **options)
    return with_nu(
        SplitProblem(problem, MAPS[D]() if isinstance(D, str) else D), nu_raw
    )


def with_nu(split, nu_raw=None):
    columns = used(split.problem) * np.sqrt(split.problem.omega)[:, None]
    split.set_nu(1.0, nu_raw, np.linalg.norm(columns, 2) ** 2)
    return split


def used(problem):
    """The used columns, (n, p), from their definition."""
    X = problem.X.toarray() if sp.issparse(problem.X) else np.asarray(problem.X, float)
    w = np.ones(len(X)) if problem.sample_weight is None else problem.sample_weight
    mean = np.average(X, axis=0, weights=w) if problem.fit_intercept else 0.0
    X = X - mean
    rms = np.sqrt(np.average(X**2, axis=0, weights=w))
    rms[rms < 1e-12] = np.inf
    return X / rms if problem.standardize else X * (rms < np.inf)


def null_space(D, active):
    """Orthonormal columns, by singular vectors."""
    _, size, vectors = np.linalg.svd(D.to_dense()[~active])
    return vectors[(size > 1e-10).sum() :].T


def some_rows(D, share=0.4, seed=1):
    return np.random.default_rng(seed).random(D.n_rows) < share


# -- refits ----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("D", MAPS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_refit_is_stationary_in_the_space(loss, D, layout):
    split = make_split(loss, D, layout)
    problem, active = split.problem, some_rows(split.D)
    coef, intercept, deviance, df = SupportFits(split).refit(active)
    n_outputs = N_CLASSES if loss == "multinomial" else 1
    assert coef.shape == (n_outputs, P)
    assert intercept.shape == (n_outputs,)
    np.testing.assert_allclose(split.D.dot(coef)[:, ~active], 0, atol=1e-12)
    Z, w = used(problem), problem.sample_weight
    Y, eta = twins.encode(loss, problem.target), Z @ coef.T + intercept
    score = w[:, None] / w.sum() * twins.score(loss, Y, eta, HUBER_THRESHOLD)
    assert np.abs(score.sum(axis=0)).max() < 1e-10
    N = null_space(split.D, active)
    assert np.abs(score.T @ Z @ N).max(initial=0) < 1e-10
    value = 2 * w @ twins.loss_value(loss, Y, eta, HUBER_THRESHOLD)
    np.testing.assert_allclose(deviance, value, rtol=1e-10)
    rank = np.linalg.matrix_rank(Z @ N)
    assert df == rank * (n_outputs - (loss == "multinomial"))


@pytest.mark.parametrize("D", MAPS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("n", [60, 6])
def test_squared_refit_is_the_shortest_least_squares(D, fit_intercept, standardize, n):
    split = make_split(
        "squared", D, n=n, fit_intercept=fit_intercept, standardize=standardize
    )
    problem = split.problem
    root = np.sqrt(problem.sample_weight)
    for share in (0.0, 0.4, 1.0):
        active = some_rows(split.D, share)
        coef, intercept, deviance, df = SupportFits(split).refit(active)
        N = null_space(split.D, active)
        mean = np.average(problem.target, weights=root**2) if fit_intercept else 0.0
        A, y = root[:, None] * used(problem) @ N, root * (problem.target - mean)
        expected = N @ (np.linalg.pinv(A, rcond=1e-10) @ y)
        np.testing.assert_allclose(coef[0], expected, atol=1e-8)
        np.testing.assert_allclose(intercept, mean)
        rest = y - A @ (N.T @ coef[0])
        np.testing.assert_allclose(deviance, rest @ rest, rtol=1e-9, atol=1e-18)
        assert df == np.linalg.matrix_rank(A)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("standardize", [True, False])
def test_without_structure_it_is_the_refit_of_features(loss, standardize):
    split = make_split(loss, "identity", standardize=standardize)
    active = some_rows(split.D)
    fits = SupportFits(split)
    coef, intercept, deviance, _ = fits.refit(active)
    coef, intercept = split.to_original(coef, intercept)
    features = np.flatnonzero(active)
    expected = refit_coefs(split.problem, features)
    np.testing.assert_allclose(coef[:, active], np.atleast_2d(expected[0]), rtol=1e-7)
    assert not coef[:, ~active].any()
    np.testing.assert_allclose(intercept, np.atleast_1d(expected[1]), rtol=1e-7)
    np.testing.assert_allclose(deviance, expected[2], rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_active_in_the_identity_is_the_null_model(loss):
    split = make_split(loss, "identity")
    coef, intercept, deviance, df = SupportFits(split).refit(np.zeros(P, dtype=bool))
    assert not coef.any()
    assert df == 0
    np.testing.assert_allclose(intercept, split.problem.null_intercept, rtol=1e-9)
    null = 2 * split.problem.total_weight * split.problem.null_loss
    np.testing.assert_allclose(deviance, null, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("D", ["line", "trend", "matrix"])
def test_weights_are_repetitions(loss, D):
    X, y, _ = make_data(loss, n=50)
    w = np.random.default_rng(1).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), w)
    weighted = Problem(X, y, make_loss(loss), sample_weight=w)
    repeated = Problem(X[rows], y[rows], make_loss(loss))
    active = some_rows(MAPS[D]())
    found = [
        SupportFits(SplitProblem(problem, MAPS[D]())).refit(active)
        for problem in (weighted, repeated)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_and_constant_columns(loss):
    X, y, _ = make_data(loss, n=60)
    X = np.column_stack([X[:, 0], X[:, 0], np.full(60, 3.0), X[:, 1]])
    split = SplitProblem(Problem(X, y, make_loss(loss)), transforms.identity(4))
    coef, _, deviance, df = SupportFits(split).refit(np.ones(4, dtype=bool))
    np.testing.assert_allclose(coef[:, 0], coef[:, 1], rtol=1e-6)
    assert not coef[:, 2].any()
    assert df == 2 * max(1, len(coef) - 1)
    # On a line the constant column takes the value of its neighbours.
    split = SplitProblem(split.problem, transforms.differences(4))
    active = np.array([True, False, True])
    coef, _, same, df = SupportFits(split).refit(active)
    np.testing.assert_allclose(coef[:, 2], coef[:, 1], rtol=1e-12)
    np.testing.assert_allclose(same, deviance, rtol=1e-9)
    assert df == 2 * max(1, len(coef) - 1)


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_separable_classes_end_at_a_far_point_without_warning(loss):
    X, _, _ = make_data(n=30, p=4)
    directions = [[0, 1], [0, 1]] if loss == "logistic" else [[0, 1, 2], [0, 1, 2]]
    y = (X[:, :2] @ directions + [0, 0.3, -1][: len(directions[0])]).argmax(axis=1)
    problem = Problem(X, y, loss, standardize=False)
    split = SplitProblem(problem, transforms.differences(4))
    coef, intercept, deviance, _ = SupportFits(split).refit(np.arange(3) == 1)
    assert np.isfinite(coef).all()
    assert np.isfinite(intercept).all()
    assert 0 <= deviance < 1e-5


@given(seed=st.integers(0, 10**6))
def test_refit_is_linear_and_keeps_what_is_in_the_space(seed):
    rng = np.random.default_rng(seed)
    D = MAPS[list(MAPS)[seed % len(MAPS)]]()
    X, active = rng.normal(size=(30, P)), rng.random(D.n_rows) < 0.5
    truth = kernel_spaces.project(D, active, rng.normal(size=P))
    problem = Problem(X, X @ truth + 2.0, standardize=False)
    coef, _, deviance, _ = SupportFits(SplitProblem(problem, D)).refit(active)
    np.testing.assert_allclose(coef[0], truth, atol=1e-9)
    assert deviance < 1e-18


# -- images and other sparse designs ---------------------------------------------------


def image_split(D, fit_intercept=True, standardize=False, weighted=True, X=None):
    p = D.n_features
    rng = np.random.default_rng(0)
    X = sp.eye_array(p, format="csc") if X is None else X
    y, w = rng.normal(size=X.shape[0]) + 3, rng.uniform(0.5, 2, size=X.shape[0])
    problem = Problem(
        X,
        y,
        sample_weight=w if weighted else None,
        fit_intercept=fit_intercept,
        standardize=standardize,
    )
    return SplitProblem(problem, D)


IMAGES = {
    "grid": lambda: transforms.grid_gradient((7, 8)),
    "trend": lambda: transforms.differences(56, 3),
    "identity": lambda: transforms.identity(56),
    "tied": lambda: transforms.with_identity(transforms.grid_gradient((7, 8))),
}
DESIGNS = {
    "pixels": lambda: None,
    "scaled, some twice": lambda: sp.csc_array(
        sp.vstack([sp.diags_array(np.arange(1.0, 57)), sp.eye_array(20, 56)])
    ),
    "missing pixels": lambda: sp.eye_array(56, format="csr")[
        np.arange(56) % 3 > 0
    ].tocsc(),
    "blurred": lambda: sp.diags_array(
        [0.3, 1, 0.3], offsets=[-1, 0, 1], shape=(56, 56), format="csc"
    ),
}


@pytest.mark.parametrize("D", IMAGES)
@pytest.mark.parametrize("X", DESIGNS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_sparse_normal_equations_give_the_same(
    D, X, fit_intercept, standardize, monkeypatch
):
    monkeypatch.setattr(split_models, "_SPARSE", 0)
    split = image_split(IMAGES[D](), fit_intercept, standardize, X=DESIGNS[X]())
    fits, n_compared = SupportFits(split), 0
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        N = fits.spaces.basis(some_rows(split.D, share))
        found, expected = fits._sparse_fit(N), fits._dense_fit(N)
        if found is not None:
            n_compared += 1
            np.testing.assert_allclose(found[0], expected[0], atol=1e-8)
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-12)
            np.testing.assert_allclose(found[2], expected[2], atol=1e-14)
            assert found[3] == expected[3]
    assert n_compared >= (5 if X == "pixels" else 1)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_images_are_averaged_on_their_pieces(fit_intercept):
    D = transforms.grid_gradient((7, 8))
    split = image_split(D, fit_intercept)
    y, w = split.problem.target, split.problem.sample_weight
    mean = np.average(y, weights=w)
    for share in (0.0, 0.5, 0.7, 1.0):
        active = some_rows(D, share)
        n_pieces, labels = D.components(~active)
        fit = np.array(
            [np.average(y[labels == k], weights=w[labels == k]) for k in labels]
        )
        coef, intercept, deviance, df = SupportFits(split).refit(active)
        coefs, intercepts = split.to_original(coef, intercept)
        np.testing.assert_allclose(coefs[0] + intercepts[0], fit, rtol=1e-12)
        np.testing.assert_allclose(deviance, w @ (y - fit) ** 2, atol=1e-12)
        assert df == n_pieces - fit_intercept
        # Of all splits into coefficients and intercept, the shortest coefficients.
        if fit_intercept:
            np.testing.assert_allclose(coef.sum(), 0, atol=1e-10)
            np.testing.assert_allclose(intercept, mean)


def test_large_images_are_refitted_at_once():
    D = transforms.grid_gradient((300, 300))
    split = image_split(D, weighted=False)
    active = some_rows(D, 0.55)
    coef, intercept, _, df = SupportFits(split).refit(active)
    n_pieces, labels = D.components(~active)
    y = split.problem.target
    fit = (np.bincount(labels, y) / np.bincount(labels))[labels]
    coefs, intercepts = split.to_original(coef, intercept)
    np.testing.assert_allclose(coefs[0] + intercepts[0], fit, rtol=1e-11)
    assert df == n_pieces - 1


# -- many supports ---------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_refits_are_refits(loss, monkeypatch):
    split = make_split(loss, "line")
    fits, single = SupportFits(split), SupportFits(split)
    masks = np.array([some_rows(split.D, s) for s in (0, 0.3, 0.3, 0.7, 0, 1)])
    calls = []
    refit = fits.refit
    monkeypatch.setattr(fits, "refit", lambda mask: calls.append(1) or refit(mask))
    coefs, intercepts, deviance, df = fits.refits(masks)
    assert len(calls) == 4
    for k, mask in enumerate(masks):
        expected = single.refit(mask)
        np.testing.assert_array_equal(coefs[k], expected[0])
        np.testing.assert_array_equal(intercepts[k], expected[1])
        assert (deviance[k], df[k]) == expected[2:]


@pytest.mark.parametrize("loss", ["squared", "multinomial"])
def test_large_models_are_skipped(loss, monkeypatch):
    split = make_split(loss, "line")
    masks = np.arange(P - 1) < np.arange(P)[:, None]
    max_df = 4 if loss == "squared" else 8
    fits = SupportFits(split)
    refit = fits.refit

    def only_small(mask):
        assert mask.sum() <= 3
        return refit(mask)

    monkeypatch.setattr(fits, "refit", only_small)
    coefs, intercepts, deviance, df = fits.refits(masks, max_df)
    np.testing.assert_array_equal(df[:4], (max_df // 4) * np.arange(1, 5))
    for values in (coefs[4:], intercepts[4:], deviance[4:], df[4:]):
        assert np.isnan(values).all()
    assert np.isfinite(coefs[:4]).all()


def test_constant_columns_do_not_count_towards_the_limit():
    X, y, _ = make_data(n=30, p=4)
    X = np.column_stack([X, np.ones((30, 3))])
    split = SplitProblem(Problem(X, y), transforms.identity(7))
    df = SupportFits(split).refits(np.ones((1, 7), dtype=bool), max_df=4)[3]
    assert df == 4


def test_designs_that_are_too_large_are_skipped_or_refused(monkeypatch):
    monkeypatch.setattr(split_models, "_DENSE", 100)
    split = make_split("logistic", "identity")
    fits = SupportFits(split)
    masks = np.arange(P) < np.array([[1], [5]])
    df = fits.refits(masks, max_df=30)[3]
    np.testing.assert_array_equal(df, [1, np.nan])
    with pytest.raises(ValueError, match="5 coefficients for 60 samples"):
        fits.refits(masks)


# -- partial ridge ---------------------------------------------------------------------


def closed_partial_ridge(split, active):
    """Squared loss: coef (p,), from the normal equations."""
    problem = split.problem
    Z, w = used(problem), problem.sample_weight / problem.sample_weight.sum()
    mean = w @ problem.target if problem.fit_intercept else 0.0
    rest = split.D.to_dense()[~active]
    matrix = Z.T @ (w[:, None] * Z) + rest.T @ rest / split.nu_raw
    right = Z.T @ (w * (problem.target - mean))
    return np.linalg.pinv(matrix, rcond=1e-12) @ right


@pytest.mark.parametrize("D", MAPS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_partial_ridge_solves_the_normal_equations(D, fit_intercept, standardize):
    split = make_split(D=D, fit_intercept=fit_intercept, standardize=standardize)
    active = some_rows(split.D)
    coef, intercept = SupportFits(split).partial_ridge(active)
    expected = closed_partial_ridge(split, active)
    np.testing.assert_allclose(coef[0], expected, atol=1e-9)
    mean = np.average(split.problem.target, weights=split.problem.sample_weight)
    np.testing.assert_allclose(intercept, mean if fit_intercept else 0.0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("D", ["identity", "trend"])
def test_partial_ridge_without_room_is_the_refit(loss, D):
    """As nu falls, the inactive rows vanish like nu: extrapolated to nothing."""
    wide, narrow = make_split(loss, D, nu_raw=1e-5), make_split(loss, D, nu_raw=5e-6)
    active = some_rows(wide.D)
    expected = SupportFits(wide).refit(active)
    far, near = (SupportFits(split).partial_ridge(active) for split in (wide, narrow))
    for k in range(2):
        assert np.abs(far[k] - expected[k]).max() < 1e-3
        np.testing.assert_allclose(2 * near[k] - far[k], expected[k], atol=1e-7)


# -- degrees of freedom of the dense coefficients --------------------------------------


def trace_of_the_fit(split, active):
    """Derivative of the fit by the data, one unit vector after the other."""
    problem, total = split.problem, 0.0
    fit = SupportFits(split).partial_ridge
    origin, _ = fit(active)
    Z = used(problem)
    for i in range(problem.n_samples):
        shifted = copy.copy(problem)
        shifted.y = problem.y.copy()
        shifted.y[0, i] += 1.0
        moved = copy.copy(split)
        moved.problem = shifted
        coef, _ = SupportFits(moved).partial_ridge(active)
        total += (Z @ (coef - origin)[0])[i]
    return total


def closed_df(split, active):
    Z, w = used(split.problem), split.problem.omega
    rest = split.D.to_dense()[~active]
    H = Z.T @ (w[:, None] * Z)
    return np.trace(H @ np.linalg.pinv(H + rest.T @ rest / split.nu_raw, rcond=1e-12))


@pytest.mark.parametrize("D", MAPS)
@pytest.mark.parametrize("n", [25, 8])
def test_dense_df_is_the_trace_of_the_fit(D, n):
    split = make_split(D=D, n=n, standardize=D != "line")
    for share in (0.0, 0.4):
        active = some_rows(split.D, share)
        found = SupportFits(split).dense_df(active)
        np.testing.assert_allclose(found, trace_of_the_fit(split, active), rtol=1e-7)


@pytest.mark.parametrize("D", MAPS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n", [60, 8])
def test_dense_dfs_of_a_path(D, fit_intercept, n):
    split = make_split(D=D, n=n, fit_intercept=fit_intercept)
    masks = [some_rows(split.D, share) for share in (0, 0.2, 0.2, 0.5, 0.8, 0.9, 1)]
    fits = SupportFits(split)
    found = fits.dense_dfs(masks)
    expected = [closed_df(split, active) for active in masks]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert fits.dense_df_rule == "exact"
    # All rows free: least squares.
    np.testing.assert_allclose(found[-1], min(n - fit_intercept, P), rtol=1e-9)
    one_by_one = [SupportFits(split).dense_df(active) for active in masks]
    np.testing.assert_allclose(one_by_one, found, rtol=1e-12)


def test_more_rows_than_columns_and_products_in_pieces(monkeypatch):
    D = transforms.as_transform(np.random.default_rng(0).normal(size=(80, P)))
    split = make_split(D=D)
    masks = [some_rows(D, share) for share in (0.05, 0.3, 0.7, 0.97)]
    expected = [closed_df(split, active) for active in masks]
    np.testing.assert_allclose(SupportFits(split).dense_dfs(masks), expected, rtol=1e-9)
    monkeypatch.setattr(_split_freedom, "_MAX_PRODUCTS", 0)
    np.testing.assert_allclose(SupportFits(split).dense_dfs(masks), expected, rtol=1e-9)


def test_support_size_is_not_the_freedom_of_the_dense_fit():
    """n = p = 50, nothing active in the identity: 18.8, 31.4 and 35.7 by simulation."""
    found = np.zeros((40, 3))
    for seed in range(40):
        X = np.random.default_rng(seed).normal(size=(50, 50))
        problem = Problem(X, X[:, 0], standardize=False)
        for k, nu_raw in enumerate((1.0, 5.0, 10.0)):
            split = SplitProblem(problem, transforms.identity(50))
            split.set_nu(None, nu_raw, 1.0)
            found[seed, k] = SupportFits(split).dense_df(np.zeros(50, dtype=bool))
    np.testing.assert_allclose(found.mean(axis=0), [18.8, 31.4, 35.7], atol=0.3)
    # Marchenko-Pastur: the mean of x / (x + 1/nu) over the spectrum, for p = n.
    s = 1 / np.array([1.0, 5.0, 10.0])
    limit = 50 * (1 - s * (np.sqrt(1 + 4 / s) - 1) / 2)
    np.testing.assert_allclose(found.mean(axis=0), limit, atol=1.0)


@given(seed=st.integers(0, 10**6))
def test_dense_df_grows_with_the_support_and_with_nu(seed):
    rng = np.random.default_rng(seed)
    D = MAPS[list(MAPS)[seed % len(MAPS)]]()
    n = int(rng.integers(5, 30))
    problem = Problem(rng.normal(size=(n, P)), rng.normal(size=n))
    few = rng.random(D.n_rows) < 0.3
    many = few | (rng.random(D.n_rows) < 0.3)
    values = []
    for nu, active in ((0.1, few), (0.1, many), (2.0, few)):
        split = with_nu(SplitProblem(problem, D), nu)
        values.append(SupportFits(split).dense_df(active))
    assert values[0] <= values[1] + 1e-9
    assert values[0] <= values[2] + 1e-9
    fits = SupportFits(split)
    assert fits.refit(few)[3] - 1e-9 <= values[0] <= min(n - 1, P) + 1e-9


def test_large_problems_are_estimated(monkeypatch):
    D = transforms.grid_gradient((12, 12))
    split = with_nu(image_split(D))
    masks = [some_rows(D, share) for share in (0.0, 0.3, 0.6, 1.0)]
    expected = SupportFits(split).dense_dfs(masks)
    monkeypatch.setattr(_split_freedom, "_AFFORDABLE", 0)
    monkeypatch.setattr(_split_freedom, "_PROBES", 144 * 400)
    fits = SupportFits(split)
    found = fits.dense_dfs(masks)
    assert fits.dense_df_rule == "estimated with 400 random vectors"
    # The variance of v'Av over random signs is at most 2 tr(A^2) <= 2 tr A.
    assert (np.abs(found - expected) < 4 * np.sqrt(2 * expected / 400)).all()
    np.testing.assert_array_equal(SupportFits(split).dense_dfs(masks[2:]), found[2:])


def test_what_cannot_be_estimated_is_not_available(monkeypatch):
    monkeypatch.setattr(_split_freedom, "_AFFORDABLE", 0)
    split = make_split(n=8)
    fits = SupportFits(split)
    assert np.isnan(fits.dense_df(some_rows(split.D)))
    assert "fewer rows than columns" in fits.dense_df_rule
    monkeypatch.setattr(_split_freedom, "_MAX_STEPS", 2)
    fits = SupportFits(make_split(n=60))
    assert np.isnan(fits.dense_df(some_rows(split.D)))
    assert "conjugate gradients" in fits.dense_df_rule
    monkeypatch.setattr(_split_freedom, "_MAX_UNKNOWNS", 10)
    split = make_split("logistic")
    fits = SupportFits(split)
    assert np.isnan(fits.dense_df(some_rows(split.D), np.zeros((1, 60))))
    assert "more than 10 coefficients" in fits.dense_df_rule


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_logistic_dense_df_is_the_derivative_of_the_means(fit_intercept):
    """d mean_i / d y_i of the partial ridge, by central differences."""
    split = make_split("logistic", "line", fit_intercept=fit_intercept, n=30)
    problem, active = split.problem, some_rows(split.D)
    Z = used(problem)

    def means(y):
        moved = copy.copy(split)
        moved.problem = copy.copy(problem)
        moved.problem.y = y
        coef, intercept = SupportFits(moved).partial_ridge(active)
        eta = coef @ Z.T + intercept[:, None]
        return eta, 1 / (1 + np.exp(-eta[0]))

    total = 0.0
    for i in range(30):
        step = 1e-4 * np.eye(30)[i]
        up, down = means(problem.y + step)[1], means(problem.y - step)[1]
        total += (up - down)[i] / 2e-4
    found = SupportFits(split).dense_df(active, means(problem.y)[0])
    # The intercept is not counted.
    np.testing.assert_allclose(found, total - fit_intercept, rtol=1e-6)


@pytest.mark.parametrize("loss", ["logistic", "multinomial", "huber"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_reweighted_dense_df(loss, fit_intercept):
    split = make_split(loss, "trend", fit_intercept=fit_intercept)
    problem, active = split.problem, some_rows(split.D)
    fits = SupportFits(split)
    coef, intercept = fits.partial_ridge(active)
    Z = np.column_stack([used(problem), np.ones(60)])[:, : P + fit_intercept]
    eta = (coef @ Z[:, :P].T) + intercept[:, None]
    second = twins.hessian(loss, twins.encode(loss, problem.target), eta.T, 1.1)
    H = np.einsum("i,ikl,ia,ib->kalb", problem.omega, second, Z, Z)
    size = len(eta) * Z.shape[1]
    H = H.reshape(size, size)
    rest = np.zeros((int((~active).sum()), Z.shape[1]))
    rest[:, :P] = split.D.to_dense()[~active]
    penalty = np.kron(np.eye(len(eta)), rest.T @ rest) / split.nu_raw
    total = np.trace(H @ np.linalg.pinv(H + penalty, rcond=1e-12))
    n_free = len(eta) - (loss == "multinomial")
    found = fits.dense_df(active, eta)
    np.testing.assert_allclose(found, total - n_free * fit_intercept, rtol=1e-8)
    # Everything free: the rank of the refit.
    everything = np.ones(split.D.n_rows, dtype=bool)
    np.testing.assert_allclose(fits.dense_df(everything, eta), n_free * P, rtol=1e-7)
    with pytest.raises(ValueError, match="give its linear predictors as eta"):
        fits.dense_df(active)
