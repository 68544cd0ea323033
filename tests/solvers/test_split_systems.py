"""Solving with X'X/n + D'D/nu, by every route, against dense algebra."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from sparselbi.penalties import transforms
from sparselbi.problem import Problem
from sparselbi.solvers import _split_solvers, _split_systems
from sparselbi.solvers._split_problem import SplitProblem
from sparselbi.solvers._split_systems import make_system

ROUTES = _split_systems.ROUTES


def split_problem(X, D, nu=1.3, seed=0, **settings):
    """A SplitProblem for any response, and its matrix M by definition."""
    settings = {"standardize": False, **settings}
    n = X.shape[0]
    y = np.random.default_rng(seed).normal(size=n) + 1.0
    split = SplitProblem(Problem(X, y, **settings), D)
    H = gram(X, **settings)
    split.set_nu(nu, None, np.linalg.norm(H, 2))
    D = D.to_dense()
    return split, H + D.T @ D / split.nu_raw


def gram(X, fit_intercept=True, standardize=False, sample_weight=None):
    X = np.asarray(X.toarray() if sp.issparse(X) else X, dtype=float)
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    w = w / w.sum()
    X = X - w @ X if fit_intercept else X
    if standardize:
        rms = np.sqrt(w @ X**2)
        X = np.divide(X, rms, out=np.zeros_like(X), where=rms > 1e-12)
    return X.T @ (w[:, None] * X)


def normal(n, p, seed=1):
    return np.random.default_rng(seed).normal(size=(n, p)) + 0.5


def thin(n, p, seed=1):
    """Sparse rows, every column with an entry."""
    rng = np.random.default_rng(seed)
    X = sp.random_array((n, p), density=0.1, rng=rng, format="csc")
    return sp.csc_array(X + sp.eye_array(n, p) * 0.5)


def ring(p, extra, seed=0):
    """A ring with random chords, weights included."""
    rng = np.random.default_rng(seed)
    W = np.zeros((p, p))
    i = np.arange(p)
    W[i, (i + 1) % p] = 1.0
    a, b = rng.integers(p, size=(2, extra))
    W[a, b] = rng.uniform(0.5, 2.0, extra)
    W = np.maximum(W, W.T)
    np.fill_diagonal(W, 0.0)
    return transforms.graph_incidence(sp.csr_array(W))


WEIGHTS = np.random.default_rng(7).uniform(0.2, 2.0, 25)
GRID = transforms.grid_gradient((6, 8))
CHAIN = transforms.differences(48)
DENSE_D = transforms.as_transform(normal(60, 48, seed=3))
TWO = transforms.as_transform(sp.block_diag([CHAIN.matrix, CHAIN.matrix], format="csr"))

# name -> problem; the routes that apply to it
CASES = {
    "image": (
        lambda: split_problem(sp.eye_array(48), GRID, fit_intercept=False),
        {"dct", "splu", "cg", "dense"},
    ),
    "volume": (
        lambda: split_problem(
            3.0 * sp.eye_array(60, format="csc"),
            transforms.grid_gradient((3, 4, 5)),
            fit_intercept=False,
            standardize=True,
        ),
        {"dct", "splu", "cg", "dense"},
    ),
    "signal": (
        lambda: split_problem(sp.eye_array(48), CHAIN, fit_intercept=False),
        {"dct", "splu", "cg", "dense"},
    ),
    "signal of unequal weights": (
        lambda: split_problem(
            sp.diags_array(np.linspace(0.5, 2, 48)).tocsc(), CHAIN, fit_intercept=False
        ),
        {"splu", "cg", "dense"},
    ),
    "image with intercept": (
        lambda: split_problem(
            sp.eye_array(48), transforms.with_identity(GRID, 2.0), fit_intercept=True
        ),
        {"splu", "cg", "dense"},
    ),
    "few images": (
        lambda: split_problem(normal(10, 48), GRID),
        {"dct", "splu", "cg", "dense"},
    ),
    "few samples on a line": (
        lambda: split_problem(
            normal(20, 48), CHAIN, standardize=True, sample_weight=WEIGHTS[:20]
        ),
        {"dct", "splu", "cg", "dense"},
    ),
    "few float32 samples of a graph": (
        lambda: split_problem(normal(20, 60).astype(np.float32), ring(60, 60)),
        {"splu", "cg", "dense"},
    ),
    "few samples, two components": (
        lambda: split_problem(normal(20, 96), TWO),
        {"splu", "cg", "dense"},
    ),
    "few samples, tied": (
        lambda: split_problem(normal(20, 48), transforms.with_identity(GRID, 2.0)),
        {"splu", "cg", "dense"},
    ),
    "few samples, trend": (
        lambda: split_problem(normal(20, 48), transforms.differences(48, 2)),
        {"splu", "cg", "dense"},
    ),
    "sparse": (
        lambda: split_problem(thin(90, 60), ring(60, 30), sample_weight=None),
        {"splu", "cg", "dense"},
    ),
    "sparse, weights": (
        lambda: split_problem(
            thin(25, 48), CHAIN, sample_weight=WEIGHTS, standardize=True
        ),
        {"splu", "cg", "dense"},
    ),
    "many samples": (
        lambda: split_problem(np.asfortranarray(normal(90, 48)), CHAIN),
        {"cg", "dense"},
    ),
    "dense rows": (lambda: split_problem(normal(20, 48), DENSE_D), {"cg", "dense"}),
    "operator": (
        lambda: split_problem(
            normal(90, 48),
            transforms.as_transform(aslinearoperator(CHAIN.matrix)),
        ),
        {"cg", "dense"},
    ),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", CASES)
def test_solution_is_that_of_dense_algebra(name, route):
    case, routes = CASES[name]
    split, M = case()
    if route not in routes:
        with pytest.raises(ValueError, match=f"route='{route}' does not apply"):
            make_system(split, route)
        return
    system = make_system(split, route)
    assert system.route == route
    right = np.random.default_rng(4).normal(size=(3, len(M)))
    right[2] = split.D.rdot(np.random.default_rng(5).normal(size=split.n_rows))
    x = system.solve(right)
    assert x.shape == right.shape
    size = np.linalg.norm(right, axis=1)
    assert (np.linalg.norm(x @ M - right, axis=1) <= 1e-10 * size).all()
    np.testing.assert_allclose(x, np.linalg.solve(M, right.T).T, rtol=1e-7, atol=1e-8)
    for row, solution in zip(right, x, strict=True):
        single = system.solve(row)
        assert single.shape == row.shape
        np.testing.assert_allclose(single, solution, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", CASES)
def test_a_sequence_is_solved_as_well(name, route):
    """Large and small changes, repeats, and calls that are not remembered."""
    case, routes = CASES[name]
    if route not in routes:
        return
    split, M = case()
    follow = make_system(split, route).follow()
    # Lines amplify what conjugate gradients leave by about their length squared.
    tolerance = 1000 * _split_solvers.FOLLOWED if route == "cg" else 1e-10
    rng = np.random.default_rng(6)
    right = rng.normal(size=len(M))
    for change in (0.0, 1.0, 1e-3, 1e-3, 0.0, 1e-6, 10.0, 1e-4, 1e-4, 1e-4):
        right = right + change * rng.normal(size=len(M))
        other = follow(right + 0.1, remember=False)
        x = follow(right)
        size = np.linalg.norm(right)
        assert np.linalg.norm(M @ x - right) <= tolerance * size
        assert np.linalg.norm(M @ other - right - 0.1) <= tolerance * (size + 1)


@pytest.mark.parametrize("route", ["dct", "splu", "cg", "dense"])
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_the_columns_do_not_matter(route, scale):
    X, right = normal(20, 48), np.random.default_rng(1).normal(size=48)
    solve = make_system(split_problem(X, GRID)[0], route).solve
    scaled = make_system(split_problem(scale * X, GRID)[0], route)
    np.testing.assert_allclose(
        scale**2 * scaled.solve(right), solve(right), rtol=1e-8, atol=1e-10
    )
    follow = scaled.follow()
    for k in range(4):
        x = follow(right + 1e-3 * k)
    np.testing.assert_allclose(scale**2 * x, solve(right + 3e-3), rtol=1e-7, atol=1e-8)


def test_errors_of_a_long_sequence_do_not_add_up():
    split, M = split_problem(normal(100, 400), ring(400, 800))
    follow = make_system(split, "cg").follow()
    right, way = np.random.default_rng(0).normal(size=(2, 400))
    for k in range(300):
        x = follow(right + 1e-3 * k * way)
    right = right + 1e-3 * k * way
    assert np.linalg.norm(M @ x - right) <= 1e-9 * np.linalg.norm(right)


def test_modes_of_clusters_are_found(monkeypatch):
    """Two dense halves with one edge between them: one slow mode, their difference."""
    p = 120
    rng = np.random.default_rng(0)
    W = np.zeros((p, p))
    W[:60, :60] = W[60:, 60:] = rng.random((60, 60)) < 0.3
    W = np.triu(W, 1)
    W[0, 60] = 1.0
    D = transforms.graph_incidence(sp.csr_array(W + W.T))
    A = sp.csr_array(D.gram())
    kernel = sp.csr_array(np.ones((p, 1)))
    monkeypatch.setattr(_split_solvers, "_EASY", 10)
    solver = _split_solvers.Gradients(A, kernel)
    right = rng.normal(size=(1, p))
    solver.solve(right)
    n_products = solver.info["n_products"]
    solver.learn()
    mode = solver._slow[0][0].astype(float)
    assert solver.info["n_slow_modes"] == 1
    degree = A.diagonal()
    exact = np.sort(np.linalg.eigvals(A.toarray() / degree[:, None]).real)[1]
    found = (mode @ (A @ mode)) / (mode @ (degree * mode))
    assert found == pytest.approx(exact, rel=1e-5)
    sides = np.sign(mode)
    assert abs(sides[:60].sum()) == abs(sides[60:].sum()) == 60
    assert sides[0] != sides[-1]
    before = solver.info["n_products"]
    solver.solve(right)
    assert solver.info["n_products"] - before <= n_products


# -- rules -----------------------------------------------------------------------------


def image(shape, mask=None, X=None, **settings):
    D = transforms.grid_gradient(shape, mask=mask)
    X = sp.eye_array(D.n_features) if X is None else X
    settings = {"fit_intercept": False, **settings}
    return big(X, D, **settings)


def big(X, D, nu=1.0, **settings):
    """Without dense algebra: nu refers to the largest column instead of the norm."""
    settings = {"standardize": False, **settings}
    problem = Problem(X, np.random.default_rng(0).normal(size=X.shape[0]), **settings)
    split = SplitProblem(problem, D)
    split.set_nu(nu, None, float(problem.norms.max() ** 2))
    return split


def random_graph(p, degree):
    rng = np.random.default_rng(0)
    i, j = rng.integers(p, size=(2, p * degree // 2))
    W = sp.coo_array((np.ones(len(i)), (i, j)), shape=(p, p)).tocsr()
    W.setdiag(0)
    W.eliminate_zeros()
    W = W + W.T
    return transforms.graph_incidence(W)


HOLES = np.random.default_rng(0).random((30, 30)) < 0.9
CAVES = np.random.default_rng(0).random((20, 20, 20)) < 0.99
RULES = {
    "image": (lambda: image((9, 7)), "dct", "cosine"),
    "large image": (lambda: image((40, 30)), "dct", "cosine"),
    "image with holes": (lambda: image((30, 30), HOLES), "splu", "entries"),
    "volume with holes": (lambda: image((20, 20, 20), CAVES), "cg", "at most 60"),
    "tightly coupled volume": (
        lambda: image((20, 20, 20), CAVES, nu=1e-4),
        "splu",
        "more than 60 products, and a factor",
    ),
    "few images": (lambda: image((30, 30), X=normal(20, 900)), "dct", "cosine"),
    "few images with holes": (
        lambda: image((30, 30), HOLES, X=normal(20, HOLES.sum())),
        "splu",
        "entries",
    ),
    "small": (
        lambda: big(normal(50, 30), transforms.differences(30)),
        "dense",
        "at most 500 features",
    ),
    "line": (
        lambda: big(
            sp.eye_array(2000), transforms.differences(2000, 2), fit_intercept=False
        ),
        "splu",
        "entries",
    ),
    "few samples, trend": (
        lambda: big(normal(30, 800), transforms.differences(800, 3)),
        "splu",
        "few samples",
    ),
    "random graph": (
        lambda: big(normal(20, 2000), random_graph(2000, 20)),
        "cg",
        "at most 60",
    ),
    "many samples": (
        lambda: big(normal(600, 600), transforms.differences(600)),
        "dense",
        "not sparse",
    ),
    "dense rows": (
        lambda: big(normal(20, 600), transforms.as_transform(normal(40, 600) ** 3)),
        "dense",
        "not sparse",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rules(name):
    case, route, reason = RULES[name]
    if name == "dense rows":  # 40 rows and 20 samples do not determine 600 features
        with pytest.raises(ValueError, match="not determined"):
            make_system(case())
        return
    system = make_system(case())
    assert system.route == route
    assert reason in system.reason
    assert system.info["residual"] <= 1e-9


def test_graphs_are_told_apart_by_their_levels(monkeypatch):
    """A line has a slim factor whatever it is called; a volume has not."""
    line = transforms.as_transform(transforms.differences(3000).matrix)
    system = make_system(big(normal(10, 3000), line))
    assert system.route == "splu"
    assert system.info["n_factor_entries"] <= 4 * 3000
    grid = transforms.as_transform(transforms.grid_gradient((12, 12, 12)).matrix)
    split = big(normal(10, 1728), grid)
    assert make_system(split).route == "splu"
    monkeypatch.setattr(_split_systems, "SLIM", 1)
    monkeypatch.setattr(_split_systems, "FACTOR", 100_000)
    system = make_system(split)
    assert (system.route, "more than 100000" in system.reason) == ("cg", True)


@pytest.mark.parametrize(
    "D",
    [
        transforms.differences(500),
        transforms.differences(500, 3),
        transforms.grid_gradient((40, 40)),
        transforms.grid_gradient((11, 12, 13)),
        random_graph(1000, 10),
        TWO,
    ],
    ids=repr,
)
def test_estimate_of_a_factor(D):
    """Mostly from above, for lines from below by a factor of two."""
    A = sp.csc_array(D.gram() + sp.eye_array(D.n_features))
    size = _split_solvers.Factor(A).info["n_factor_entries"] / 2
    assert 0.4 * size <= _split_systems._factor_size(A) <= 10 * size


def test_trend_filtering_of_high_order_stays_accurate():
    """D'D alone is singular to working precision here; only the sum is not."""
    split, M = split_problem(normal(40, 600), transforms.differences(600, 4))
    right = split.D.rdot(np.random.default_rng(0).normal(size=split.n_rows))
    x = make_system(split, "splu").solve(right)
    assert np.linalg.norm(M @ x - right) <= 1e-10 * np.linalg.norm(right)


# -- errors ----------------------------------------------------------------------------


def without_columns(columns, n=90, p=48):
    X = normal(n, p)
    X[:, columns] = 0.0
    return X


ISOLATED = transforms.as_transform(CHAIN.matrix[1:])  # feature 0 has no neighbour
SINGULAR = {
    "centred image": (
        lambda: image((30, 30), fit_intercept=True),
        "constant vector",
    ),
    "small centred image": (
        lambda: image((5, 5), fit_intercept=True),
        "constant vector",
    ),
    "component that X does not see": (
        lambda: big(np.hstack([normal(90, 48), np.zeros((90, 48))]), TWO),
        r"constants on component 1 of the graph \(features \[48, 49",
    ),
    "feature that nobody sees": (
        lambda: big(without_columns([0]), ISOLATED),
        "coefficient of feature 0",
    ),
    "more components than samples": (
        lambda: big(normal(5, 60), transforms.as_transform(sp.eye_array(10, 60) * 2.0)),
        "both ignore",
    ),
    "dense": (
        lambda: big(
            without_columns([3]),
            transforms.as_transform(
                np.delete(np.eye(48), 3, axis=0)
                + 0.1 * np.delete(np.eye(48, k=1), 3, 0) * (np.arange(48) != 3)
            ),
        ),
        "coefficient of feature 3",
    ),
    "trend": (
        lambda: big(
            sp.eye_array(600), transforms.differences(600, 2), fit_intercept=True
        ),
        "constant vector",
    ),
    "trend without samples": (
        lambda: big(
            np.ones((4, 600)) * np.arange(4.0)[:, None], transforms.differences(600, 2)
        ),
        "both ignore|nearly ignore",
    ),
    "operator": (
        lambda: big(
            without_columns([0]),
            transforms.as_transform(aslinearoperator(ISOLATED.matrix)),
        ),
        "coefficient of feature 0",
    ),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_singular_systems_are_refused(name):
    case, message = SINGULAR[name]
    with pytest.raises(ValueError, match=message) as caught:
        make_system(case())
    assert "with_identity" in str(caught.value)


@pytest.mark.parametrize("route", ["splu", "cg", "dense"])
def test_singular_systems_are_refused_by_every_route(route):
    split = big(sp.eye_array(60), transforms.differences(60, 2), fit_intercept=True)
    with pytest.raises(ValueError, match="with_identity"):
        make_system(split, route)


def test_unknown_route():
    split = image((4, 4))
    with pytest.raises(ValueError, match="route='lu' is unknown.*'dct'"):
        make_system(split, "lu")
