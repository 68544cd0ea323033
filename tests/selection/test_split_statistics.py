"""Statistics of paths of Split LBI, from dense formulas."""

import numpy as np
import pytest
from scipy import sparse

from sparselbi import Problem
from sparselbi.losses.huber import normalized_mad
from sparselbi.penalties.transforms import (
    as_transform,
    differences,
    graph_incidence,
    grid_gradient,
    identity,
    stack,
)
from sparselbi.selection import split_statistics, with_statistics
from sparselbi.selection.split_statistics import (
    dense_df,
    dense_predictors,
    split_refits,
    with_larger_split_refits,
)
from sparselbi.solvers.split_lbi import split_iss_path, split_lbi_path
from tests.common import make_data

# A ring of twelve with chords: rows depend on each other.
RING = np.diag(np.ones(11), 1) + np.diag([1.0], 11) + np.diag([1.0, 1, 2], 9)
MAPS = {
    "identity": lambda: identity(12),
    "line": lambda: differences(12),
    "trend": lambda: differences(12, order=2),
    "ring": lambda: graph_incidence(RING + RING.T),
    "fused": lambda: stack(differences(12), identity(12)),
    "dense": lambda: as_transform(np.random.default_rng(0).normal(size=(20, 12)), 12),
}


def null_space(A):
    _, size, right = np.linalg.svd(A)
    return right[int((size > 1e-9 * size.max(initial=1.0)).sum()) :].T


def dense_parts(path, problem):
    """Weighted used columns, response, D and the masks of active rows, all dense."""
    X = problem.columns(np.arange(problem.n_features))
    mean = problem.y[0] @ problem.omega if problem.fit_intercept else 0.0
    y = problem.sqrt_weight * (problem.y[0] - mean)
    masks = [path.active_rows(t) for t in path.knots]
    return X, y, path.D.to_dense(), masks


def small_path(problem, D, **options):
    options = {"n_knots": 12, "kappa": 5.0, "nu": 2.0, **options}
    return split_lbi_path(problem, D, **options)


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("n", [14, 50])
def test_squared_statistics_are_those_of_dense_algebra(kind, standardize, n):
    data = make_data(n=n)
    problem = Problem(
        data.X, data.y, sample_weight=data.weights, standardize=standardize
    )
    path = with_statistics(small_path(problem, MAPS[kind]()), problem)
    X, y, D, masks = dense_parts(path, problem)
    total, H = problem.total_weight, X.T @ X
    seen = 0
    for k in range(0, len(path), 3):
        rest = D[~masks[k]]
        residual = data.y - path.predict(data.X)[k]
        assert path.deviance[k] == pytest.approx(data.weights @ residual**2, rel=1e-9)
        assert path.size[k] == masks[k].sum()
        hat = X @ np.linalg.pinv(H + rest.T @ rest / path.nu_raw, rcond=1e-13) @ X.T
        assert path.info["df_dense"][k] == pytest.approx(np.trace(hat), rel=1e-7)
        design = X @ null_space(rest)
        df = np.linalg.matrix_rank(design, tol=1e-8) if design.size else 0
        if df > total / 2 and k > 0:
            assert np.isnan(path.refit_deviance[k])
            assert np.isnan(path.info["df_refit"][k])
            continue
        seen += 1
        fit = design @ np.linalg.lstsq(design, y, rcond=1e-9)[0] if df else 0.0
        expected = total * np.sum((y - fit) ** 2)
        assert path.info["df_refit"][k] == df
        assert path.refit_deviance[k] == pytest.approx(expected, rel=1e-8)
    assert seen > 2
    assert path.info["df_dense_rule"] == "trace, exact"


@pytest.mark.parametrize("kind", ["line", "ring", "fused"])
def test_candidates(kind):
    data = make_data(n=50)
    problem = Problem(data.X, data.y)
    D = MAPS[kind]()
    path = with_statistics(small_path(problem, D), problem)
    info = path.info
    rank = np.linalg.matrix_rank(D.to_dense())
    assert info["n_candidates"] == rank
    assert info["candidates_are"] == ("rows" if kind == "line" else "pieces")
    extra = [
        null_space(D.to_dense()[~path.active_rows(t)]).shape[1] for t in path.knots
    ]
    extra = np.array(extra) - (12 - rank)
    known = np.isfinite(info["df_refit"])
    np.testing.assert_array_equal(info["candidates"][known], extra[known])
    if kind != "line":
        assert (path.size > extra).any()


def test_dependent_rows_that_are_no_graph_are_counted_in_dimensions():
    data = make_data(n=50)
    problem = Problem(data.X, data.y)
    info = with_statistics(small_path(problem, MAPS["dense"]()), problem).info
    assert (info["candidates_are"], info["n_candidates"]) == ("dimensions", 12)


def test_groups_of_independent_rows_are_candidates():
    data = make_data(n=50)
    problem = Problem(data.X, data.y)
    groups = np.repeat(np.arange(4), 3)
    path = with_statistics(small_path(problem, None, row_groups=groups), problem)
    assert (path.info["candidates_are"], path.info["n_candidates"]) == ("groups", 4)
    np.testing.assert_array_equal(3 * path.info["candidates"], path.size)


def test_free_and_barred_rows():
    data = make_data(n=50)
    problem = Problem(data.X, data.y)
    D, weight = MAPS["fused"](), np.ones(23)
    weight[[0, 4, 13]] = 0, 0, 0
    weight[[2, 20]] = np.inf
    path = with_statistics(small_path(problem, D, row_weight=weight), problem)
    X, y, dense, masks = dense_parts(path, problem)
    assert (path.size >= 3).all()
    for k in range(0, len(path), 4):
        assert masks[k][[0, 4, 13]].all()
        assert not masks[k][[2, 20]].any()
        rest = dense[~masks[k]]
        design = X @ null_space(rest)
        df = design.shape[1]
        assert path.info["df_refit"][k] == df
        fit = design @ np.linalg.lstsq(design, y, rcond=1e-9)[0] if df else 0.0
        expected = 50 * np.sum((y - fit) ** 2)
        assert path.refit_deviance[k] == pytest.approx(expected, rel=1e-8)
        M = X.T @ X + rest.T @ rest / path.nu_raw
        trace = np.trace(X @ np.linalg.solve(M, X.T))
        assert path.info["df_dense"][k] == pytest.approx(trace, rel=1e-8)
    most = null_space(dense[[2, 20]]).shape[1]
    least = null_space(dense[weight > 0]).shape[1]
    assert path.info["n_candidates"] == most - least


@pytest.mark.parametrize("isotropic", [False, True])
def test_an_image_has_closed_forms(isotropic):
    rng = np.random.default_rng(0)
    image = np.zeros((9, 8))
    image[2:6, 1:5] = 4.0
    y = (image + 0.3 * rng.normal(size=image.shape)).ravel()
    weight = rng.uniform(0.5, 2.0, size=72)
    problem = Problem(
        sparse.eye_array(72, format="csc"),
        y,
        sample_weight=weight,
        fit_intercept=False,
        standardize=False,
    )
    D = grid_gradient((9, 8), isotropic=isotropic)
    path = with_statistics(small_path(problem, D, nu=0.1), problem)
    assert path.info["candidates_are"] == "pieces"
    assert path.info["n_candidates"] == 71
    for k in range(len(path)):
        residual = y - path.coef(k)
        assert path.deviance[k] == pytest.approx(weight @ residual**2, rel=1e-10)
        labels = path.pieces(path.knots[k])
        n_pieces = labels.max() + 1
        if n_pieces > weight.sum() / 2:
            assert np.isnan(path.refit_deviance[k])
            continue
        mean = np.bincount(labels, weight * y) / np.bincount(labels, weight)
        assert path.info["df_refit"][k] == n_pieces
        expected = weight @ (y - mean[labels]) ** 2
        assert path.refit_deviance[k] == pytest.approx(expected, rel=1e-10)
    assert np.isfinite(path.refit_deviance).sum() > 3


@pytest.mark.parametrize("loss", ["logistic", "multinomial", "huber"])
def test_other_losses(loss):
    data = make_data(loss, n=80)
    problem = Problem(data.X, data.y, loss, sample_weight=data.weights)
    D = MAPS["line"]()
    path = with_statistics(split_lbi_path(problem, D, n_knots=8, t_max=20.0), problem)
    X, free, residual = problem.X, 2 if loss == "multinomial" else 1, {}
    for k in range(len(path)):
        coefs = path.coef(k).reshape(-1, 12)
        eta = coefs @ X.T + np.reshape(path.intercept(k), (-1, 1))
        assert path.deviance[k] == pytest.approx(problem.deviance(eta), rel=1e-10)
        N = null_space(D.to_dense()[~path.active_rows(path.knots[k])])
        assert path.size[k] == path.active_rows(path.knots[k]).sum()
        if free * N.shape[1] > data.weights.sum() / 2:
            continue
        assert path.info["df_refit"][k] == free * N.shape[1]
        # The same fit on other columns, all of them unpenalized.
        other = Problem(
            (X * path.coef_scale**-1) @ N,
            data.y,
            problem.loss,
            sample_weight=data.weights,
            penalty_factor=np.zeros(N.shape[1]),
        )
        expected = other.deviance(other.null_eta)
        assert path.refit_deviance[k] == pytest.approx(expected, rel=1e-7)
        residual[k] = data.y - other.null_eta[0] if loss == "huber" else None
    np.testing.assert_array_equal(path.info["candidates"], path.size)
    if loss == "huber":
        n, df = data.weights.sum(), path.info["df_refit"]
        k = max((k for k in residual if df[k] <= n / 3), key=lambda k: (df[k], -k))
        scale = normalized_mad(residual[k], problem.omega) * np.sqrt(n / (n - df[k]))
        assert path.info["robust_scale"] == pytest.approx(scale, rel=1e-6)
    else:
        df = path.info["df_dense"]
        assert (df > 0).all()
        assert (df < free * 12).all()


def test_equal_models_have_equal_values():
    data = make_data(n=60)
    problem = Problem(data.X, data.y)
    path = with_statistics(small_path(problem, MAPS["ring"]()), problem)
    seen = {}
    for k, t in enumerate(path.knots):
        labels = path.pieces(t).tobytes()
        value = path.refit_deviance[k], path.info["df_refit"][k]
        assert seen.setdefault(labels, value) == value or np.isnan(value[0])
    assert len(seen) < len({path.active_rows(t).tobytes() for t in path.knots})


def test_larger_refits_on_request():
    data = make_data(n=16)
    problem = Problem(data.X, data.y)
    path = with_statistics(small_path(problem, None), problem)
    assert np.isnan(path.refit_deviance).any()
    larger = with_larger_split_refits(path, problem, np.inf)
    known = np.isfinite(path.refit_deviance)
    np.testing.assert_array_equal(
        larger.refit_deviance[known], path.refit_deviance[known]
    )
    np.testing.assert_array_equal(larger.info["df_refit"], path.size)
    few = with_larger_split_refits(path, problem, 10)
    np.testing.assert_array_equal(np.isfinite(few.refit_deviance), path.size <= 10)


def test_a_null_model_with_many_dimensions_is_always_refitted():
    data = make_data(n=16)
    problem = Problem(data.X, data.y)
    D = np.eye(12)[:3]
    path = with_statistics(small_path(problem, D), problem)
    assert path.info["df_refit"][0] == 9
    assert np.isnan(path.refit_deviance[1:]).sum() > 0
    assert np.isfinite(path.refit_deviance[0])


def test_costly_degrees_of_freedom_wait_until_they_are_asked_for(monkeypatch):
    data = make_data(n=50)
    problem = Problem(data.X, data.y)
    stored = with_statistics(small_path(problem, MAPS["line"]()), problem)
    monkeypatch.setattr(split_statistics, "_CHEAP", 0.0)
    path = with_statistics(small_path(problem, MAPS["line"]()), problem)
    assert np.isnan(path.info["df_dense"]).all()
    assert "not stored" in path.info["df_dense_rule"]
    df, rule = dense_df(path, problem)
    np.testing.assert_array_equal(df, stored.info["df_dense"])
    assert rule == "trace, exact"
    assert np.isnan(dense_df(path, None)[0]).all()


def test_refits_at_any_time():
    data = make_data(n=50)
    problem = Problem(data.X, data.y, sample_weight=data.weights)
    path = with_statistics(
        split_iss_path(problem, MAPS["fused"](), nu=2.0, max_rows=12), problem
    )
    coefs, intercepts = split_refits(path, problem, path.knots)
    for k in range(len(path)):
        residual = data.y - data.X @ coefs[k] - intercepts[k]
        expected = path.refit_deviance[k]
        if np.isfinite(expected):
            assert data.weights @ residual**2 == pytest.approx(expected, rel=1e-8)
        inactive = ~path.active_rows(path.knots[k])
        jumps = path.D.dot(coefs[k] * path.coef_scale)[inactive]
        assert np.abs(jumps).max() < 1e-9 * np.abs(coefs[k]).max() + 1e-12


@pytest.mark.parametrize("layout", ["C", "F", "float32", "csc"])
def test_predictors_of_every_layout(layout, monkeypatch):
    monkeypatch.setattr(split_statistics, "_MAX_ENTRIES", 100)
    X, y, _ = make_data(n=40)
    other = {
        "C": np.ascontiguousarray,
        "F": np.asfortranarray,
        "float32": lambda X: X.astype(np.float32),
        "csc": sparse.csc_array,
    }[layout](X)
    rng = np.random.default_rng(0)
    coefs, intercepts = rng.normal(size=(5, 1, 12)), rng.normal(size=(5, 1))
    eta = dense_predictors(Problem(other, y), coefs, intercepts)
    expected = np.einsum("kop,np->kon", coefs, X) + intercepts[..., None]
    np.testing.assert_allclose(eta, expected, rtol=1e-12, atol=1e-12)
    path = with_statistics(small_path(Problem(other, y), "differences"), Problem(X, y))
    residual = y - path.predict(X)
    np.testing.assert_allclose(path.deviance, (residual**2).sum(axis=1), rtol=1e-9)


def test_a_path_of_the_null_model():
    X = np.random.default_rng(0).normal(size=(20, 4))
    problem = Problem(X, np.full(20, 3.0))
    path = with_statistics(small_path(problem, None), problem)
    assert len(path) == 1
    assert (path.size, path.deviance, path.refit_deviance) == (0, 0, 0)
    assert path.info["df_refit"] == 0
