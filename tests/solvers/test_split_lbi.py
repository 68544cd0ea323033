"""Split LBI against the plain loop, brute force, closed forms, limits, symmetries."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from sparselbi.penalties import transforms
from sparselbi.problem import Problem
from sparselbi.solvers import (
    iss_path,
    lbi_path,
    retrace,
    split_iss_path,
    split_lbi_path,
)
from tests import twins_split as twins
from tests.common import LAYOUTS, make_data, relative_gap

P = 12
DENSE = twins.dense_maps(P)
MAPS = {
    "identity": transforms.identity(P),
    "differences": transforms.differences(P),
    "order 2": transforms.differences(P, order=2),
    "grid": transforms.grid_gradient((3, P // 3)),
    "graph": transforms.graph_incidence(twins.adjacency(twins.EDGES, P)),
    "sparse and fused": transforms.with_identity(transforms.differences(P), 0.7),
    "few rows": transforms.as_transform(DENSE["few rows"]),
    "many rows": transforms.as_transform(DENSE["many rows"]),
    "wavelet": transforms.Transform(sp.csr_array(DENSE["wavelet"]), "wavelet"),
    "cosines": transforms.as_transform(DENSE["cosines"]),
}
SEEDS = st.integers(0, 10**6)
RAW = {"fit_intercept": False, "standardize": False}


def make_problem(n=40, p=P, seed=0, **options):
    data = make_data(n=n, p=p, seed=seed)
    return Problem(data.X, data.y, **({"standardize": False} | options))


def first_entry(problem, D, **settings):
    settings |= {"n_knots": 2, "max_rows": 1}
    return split_lbi_path(problem, D, **settings).t0


def trace(problem, D, *, t_max=None, length=20, **settings):
    settings = {"n_knots": 30} | settings
    if t_max is None:
        t_max = length * first_entry(problem, D, **settings)
    return split_lbi_path(problem, D, t_max=t_max, **settings)


def plain(path, X, y, D, **settings):
    """The plain loop with the raw parameters of `path`, to the end of `path`."""
    return twins.plain_split_lbi(
        X,
        y,
        D,
        nu_raw=path.nu_raw,
        kappa_raw=path.kappa_raw,
        step_size=path.step_size,
        t_max=path.knots[-1],
        **settings,
    )


def splits(path):
    return path.split_coefs.toarray()


def gaps(path, twin, times=None):
    """Largest differences of coefficients, split coefficients and intercepts.

    At the iterates among the knots, or at other `times`. In used coordinates, relative
    to the largest one of the path; the intercept is that of centred columns, relative
    to the largest coefficient.
    """
    times = path.knots[~path.info["bends"]] if times is None else times
    read = [path.at(t) for t in times]
    points = [(q.knot, q.coef, q.intercept, q.split_coef) for q in read]
    frame = twin.problem.frame
    top = np.abs(path.coefs * frame.scale).max()
    top_split = np.abs(path.split.active_coefs).max(initial=1e-300)
    out = np.zeros(3)
    for t, coef, intercept, split in points:
        expected, expected_intercept, expected_split = twin.at(t)
        difference = coef - expected
        centred = intercept - expected_intercept + difference @ frame.center
        found = (
            np.abs(difference * frame.scale).max() / top,
            np.abs(split - expected_split).max() / top_split,
            np.abs(centred) / top,
        )
        out = np.maximum(out, found)
    return out


def between(path, n=2, seed=0):
    """Times strictly between neighbouring knots, n in each gap."""
    shares = np.random.default_rng(seed).random((len(path.knots) - 1, n))
    low, high = path.knots[:-1, None], path.knots[1:, None]
    return np.sort((low + shares * (high - low)).ravel())


def assert_plain(path, X, y, D, n_rows=3, **settings):
    """`path` is the plain loop at every knot, and near it in between."""
    twin = plain(path, X, y, D, **settings)
    assert path.t0 == pytest.approx(twin.t[0], rel=1e-10)
    assert path.knots[0] == pytest.approx(path.t0, rel=1e-10)
    assert len(path.split.active_features) >= n_rows
    assert gaps(path, twin).max() < 1e-9
    assert gaps(path, twin, between(path)).max() < 5e-3
    # Knots that are no iterates are where a split coefficient enters or leaves.
    bends = path.knots[path.info["bends"]]
    if path.split.penalty.name == "l1":
        assert np.isin(bends, path.split.events["t"]).all()
    if len(bends):
        assert gaps(path, twin, bends).max() < 5e-3
    return twin


def assert_same_path(a, b, rtol=1e-9):
    np.testing.assert_allclose(a.knots, b.knots, rtol=rtol)
    assert relative_gap(a.coefs, b.coefs) < rtol
    assert relative_gap(splits(a), splits(b)) < rtol
    top = np.abs(b.intercepts).max() + np.abs(b.coefs).max()
    np.testing.assert_allclose(a.intercepts, b.intercepts, atol=rtol * top)


def test_the_maps_are_the_matrices():
    for name, D in MAPS.items():
        np.testing.assert_allclose(D.to_dense(), DENSE[name], atol=1e-15)


# ------------------------------------------------------- the plain loop, every variant


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("n", [40, 9])
def test_equals_the_plain_loop(name, n):
    data = make_data(n=n, p=P)
    problem = Problem(data.X, data.y, standardize=False)
    path = trace(problem, MAPS[name])
    assert path.method == "split_lbi"
    assert path.info["route"] == "reduced"
    twin = assert_plain(path, data.X, data.y, DENSE[name])
    # the same numbers without the structure of D being known
    given = trace(problem, DENSE[name], nu_raw=path.nu_raw, kappa_raw=path.kappa_raw)
    assert gaps(given, twin).max() < 1e-9


PROBLEMS = {
    "weights": {"sample_weight": True},
    "no intercept": {"fit_intercept": False},
    "standardized": {"standardize": True},
    "standardized, weights": {"standardize": True, "sample_weight": True},
    "standardized, no intercept": {"standardize": True, "fit_intercept": False},
}


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("name", ["differences", "grid", "few rows"])
@pytest.mark.parametrize("variant", PROBLEMS)
def test_problems(variant, name, constant):
    X, y, w = make_data(n=40, p=P)
    if constant:
        X[:, 4] = 2.5
    options = {"standardize": False} | PROBLEMS[variant]
    options["sample_weight"] = w if "sample_weight" in options else None
    path = trace(Problem(X, y, **options), MAPS[name])
    options["weights"] = options.pop("sample_weight")
    twin = assert_plain(path, X, y, DENSE[name], **options)
    np.testing.assert_allclose(path.coef_scale, twin.problem.frame.scale, rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    X, y, w = make_data(n=40, p=P, density=0.6)
    problem = Problem(LAYOUTS[layout](X), y, sample_weight=w, standardize=False)
    assert_plain(trace(problem, MAPS["grid"]), X, y, DENSE["grid"], weights=w)
    path = split_iss_path(problem, MAPS["grid"])
    assert_exact(path, X, y, DENSE["grid"], weights=w)


def test_forms_of_D():
    """A matrix, its sparse forms, an operator and a frame are the same question."""
    problem = make_problem()
    D = DENSE["sparse and fused"]
    one = trace(problem, D)
    operator = aslinearoperator(sp.csr_array(D))
    for other in (sp.csr_matrix(D), sp.coo_array(D), D.tolist(), operator):
        two = trace(problem, other, nu_raw=one.nu_raw, kappa_raw=one.kappa_raw)
        assert_same_path(two, one)
    for name, D in ((None, "identity"), ("identity",) * 2, ("differences",) * 2):
        assert_same_path(trace(problem, name), trace(problem, MAPS[D]), 1e-13)


@pytest.mark.parametrize("kappa", [3.0, 100.0])
@pytest.mark.parametrize("nu", [0.05, 20.0])
def test_parameters(nu, kappa):
    data = make_data(p=P)
    problem = Problem(data.X, data.y, standardize=False)
    path = trace(problem, MAPS["differences"], nu=nu, kappa=kappa)
    assert_plain(path, data.X, data.y, DENSE["differences"])
    assert path.nu == nu
    assert path.kappa == kappa
    assert path.step_size == pytest.approx(path.nu_raw / path.kappa_raw, rel=1e-14)


@pytest.mark.parametrize("options", [{}, {"standardize": True}, RAW])
def test_dimensionless_parameters(options):
    """Few features: the norm of X is found exactly."""
    data = make_data(p=4)
    problem = Problem(data.X, data.y, **({"standardize": False} | options))
    D = np.diff(np.eye(4), axis=0)
    path = trace(problem, "differences", nu=2.5, kappa=7.0)
    frame = twins.scaled(data.X, None, problem.fit_intercept, problem.standardize)
    norms = np.linalg.norm(D, 2) ** 2 / np.linalg.norm(frame.X, 2) ** 2
    assert path.nu_raw == pytest.approx(2.5 * len(data.y) * norms, rel=1e-9)
    expected = 7.0 * path.nu_raw / path.t0 * (1 + 1 / 2.5)
    assert path.kappa_raw == pytest.approx(expected, rel=1e-12)
    raw = trace(problem, "differences", nu_raw=path.nu_raw, kappa_raw=path.kappa_raw)
    assert raw.nu == pytest.approx(2.5, rel=1e-12)
    assert raw.kappa == pytest.approx(7.0, rel=1e-12)
    assert_same_path(raw, path, 1e-12)


def test_more_knots_and_a_later_end_change_nothing():
    data = make_data(p=P)
    problem = Problem(data.X, data.y, standardize=False)
    few = trace(problem, MAPS["grid"], n_knots=5)
    many = trace(problem, MAPS["grid"], n_knots=200)
    long = trace(problem, MAPS["grid"], t_max=3 * few.knots[-1])
    twin = plain(long, data.X, data.y, DENSE["grid"])
    for path in (few, many, long):
        assert gaps(path, twin).max() < 1e-9
    assert len(many) > 190


def test_same_input_gives_the_same_bits():
    one, two = (trace(make_problem(), MAPS["grid"]) for _ in range(2))
    np.testing.assert_array_equal(one.coefs, two.coefs)
    np.testing.assert_array_equal(splits(one), splits(two))


def test_the_coupled_loss_never_increases():
    """Nor for every iterate of the plain loop, up to the limit of stability."""
    data = make_data(p=P)
    problem = Problem(data.X, data.y, standardize=False)
    D = DENSE["sparse and fused"]
    auto = trace(problem, D)
    limit = 2 * auto.nu_raw / auto.kappa_raw
    path = trace(problem, D, step_size=0.999 * limit)
    twin = plain(path, data.X, data.y, D)
    Xc, yc = data.X - data.X.mean(axis=0), data.y - data.y.mean()

    def coupled_loss(coef, split):
        fit = np.sum((yc - Xc @ coef) ** 2) / (2 * len(yc))
        return fit + np.sum((D @ coef - split) ** 2) / (2 * path.nu_raw)

    reports = [twin.problem.report(twin.split(z)) for z in twin.z]
    values = np.array([coupled_loss(coef, split) for coef, _, split in reports])
    assert np.all(np.diff(values) <= 1e-13 * values[0])
    points = [auto.at(t) for t in auto.knots[~auto.info["bends"]]]
    found = [coupled_loss(point.coef, point.split_coef) for point in points]
    assert np.all(np.diff(found) <= 1e-13 * values[0])


# ------------------------------------------------------ weights, signs, groups of rows

WEIGHT = np.resize([1, 2, 0.5, 1, 1, 0, np.inf], 23)  # rows of [I; 0.7 differences]
MIXED = np.arange(23) % 3 == 0
ROWS = {
    "plain": {},
    "weights": {"row_weight": np.resize([1, 2, 0.5, 1.5], 23)},
    "free": {"row_weight": np.resize([0, 1, 1], 23)},
    "never": {"row_weight": np.resize([np.inf, 1, 1], 23)},
    "all weights": {"row_weight": WEIGHT},
    "positive": {"row_positive": True},
    "positive mask": {"row_positive": np.ones(23, dtype=bool)},
    "mixed": {"row_positive": MIXED},
    "mixed, all weights": {"row_positive": MIXED, "row_weight": WEIGHT},
}


def twin_settings(options):
    names = {"row_positive": "positive", "row_groups": "groups"}
    names["row_group_weight"] = "group_weight"
    return {names.get(key, key): value for key, value in options.items()}


@pytest.mark.parametrize("rows", ["plain", "positive", "mixed", "all weights"])
def test_events_are_the_changes_of_the_support(rows):
    data = make_data(n=30, p=P, correlation=0.8, seed=3)
    problem = Problem(data.X, data.y, standardize=False)
    D, options = "sparse and fused", ROWS[rows]
    t_max = 60 * first_entry(problem, MAPS[D], **options)
    path = trace(problem, MAPS[D], t_max=t_max, **options)
    twin = plain(path, data.X, data.y, DENSE[D], **twin_settings(options))
    changes = [c for c in twin.changes() if c[0] <= path.knots[-1]]
    events = path.split.events
    assert len(events) == len(changes) >= 8
    assert rows == "positive" or {c[2] for c in changes} == {-1, 1}
    assert len(path.events) == 0
    for row in {c[1] for c in changes}:
        mine = events[events["feature"] == row]
        theirs = [c for c in changes if c[1] == row]
        for event, (t, _, sign, enters) in zip(mine, theirs, strict=True):
            assert event["t"] == pytest.approx(t, abs=1e-6 * path.step_size)
            assert (event["sign"], event["enters"]) == (sign, enters)


@pytest.mark.parametrize("rows", ["plain", "mixed", "all weights"])
def test_events_of_exact_paths(rows):
    data = make_data(n=30, p=P, correlation=0.8, seed=3)
    problem = Problem(data.X, data.y, standardize=False)
    path = split_iss_path(problem, MAPS["sparse and fused"], **ROWS[rows])
    signs = np.sign(splits(path))
    signs[:, ROWS[rows].get("row_weight", np.ones(23)) == 0] = 0  # always there
    expected = []
    for k in range(1, len(signs)):
        for j in np.flatnonzero(signs[k] != signs[k - 1]):
            if signs[k - 1, j]:
                expected.append((path.knots[k], j, signs[k - 1, j], False))
            if signs[k, j]:
                expected.append((path.knots[k], j, signs[k, j], True))
    events = path.split.events
    found = [(e["t"], e["feature"], e["sign"], e["enters"]) for e in events]
    assert sorted(found) == sorted(expected)
    assert not events["enters"].all()


@pytest.mark.parametrize("variant", ROWS)
def test_rows(variant):
    X, y, _ = make_data(p=P)
    problem = Problem(X, y, standardize=False)
    D, options = "sparse and fused", ROWS[variant]
    path = trace(problem, MAPS[D], **options)
    assert_plain(path, X, y, DENSE[D], **twin_settings(options))
    exact = split_iss_path(problem, MAPS[D], **options)
    assert_exact(exact, X, y, DENSE[D], **twin_settings(options))
    for found in (splits(path), splits(exact)):
        weight = options.get("row_weight", np.ones(23))
        bound = options.get("row_positive", np.zeros(23, dtype=bool)) & (weight > 0)
        assert (found[:, bound] >= 0).all()
        assert not found[:, np.isinf(weight)].any()


@pytest.mark.parametrize("solver", [trace, split_iss_path])
def test_free_rows_are_no_rows(solver):
    """They leave the coupling, and their split coefficient is D coef."""
    problem = make_problem()
    free = np.resize([True, False, False], 23)
    path = solver(problem, MAPS["sparse and fused"], row_weight=np.where(free, 0, 1))
    without = solver(problem, DENSE["sparse and fused"][~free])
    np.testing.assert_allclose(path.knots, without.knots, rtol=1e-10)
    np.testing.assert_allclose(path.coefs, without.coefs, atol=1e-10)
    np.testing.assert_allclose(splits(path)[:, ~free], splits(without), atol=1e-10)
    np.testing.assert_allclose(
        splits(path)[:, free],
        path.coefs @ DENSE["sparse and fused"][free].T,
        atol=1e-12,
    )
    assert path.nu_raw == without.nu_raw
    rows = np.flatnonzero(~free)
    np.testing.assert_array_equal(
        path.split.events["feature"], rows[without.split.events["feature"]]
    )


@pytest.mark.parametrize("solver", [trace, split_iss_path])
def test_barred_rows_stay_a_ridge(solver):
    """As if their part of the penalty were rows of X with response 0."""
    X, y, _ = make_data(p=P)
    D = DENSE["differences"]
    barred = np.arange(11) % 4 == 0
    problem = Problem(X - X.mean(axis=0), y - y.mean(), **RAW)
    path = solver(problem, D, row_weight=np.where(barred, np.inf, 1.0))
    assert not splits(path)[:, barred].any()
    # a mean over n + 3 samples: the loss is n / (n + 3) times the mean over n
    n = len(y)
    share = n / (n + barred.sum())
    end = path.knots[-1] / share
    ridge = np.sqrt(n / path.nu_raw) * D[barred]
    more = Problem(
        np.vstack([problem.X, ridge]), np.append(problem.target, np.zeros(3)), **RAW
    )
    other = solver(
        more,
        D[~barred],
        nu_raw=path.nu_raw / share,
        **({"kappa_raw": path.kappa_raw, "t_max": end} if solver is trace else {}),
    )
    np.testing.assert_allclose(other.knots * share, path.knots, rtol=1e-9)
    np.testing.assert_allclose(other.coefs, path.coefs, atol=1e-9)
    np.testing.assert_allclose(splits(other), splits(path)[:, ~barred], atol=1e-9)


@pytest.mark.parametrize("solver", [trace, split_iss_path])
def test_negative_rows_are_positive_rows_turned_around(solver):
    problem = make_problem()
    sign = np.where(np.arange(11) < 6, -1.0, 1.0)
    D = sign[:, None] * DENSE["differences"]
    path = solver(problem, D, row_positive=True)
    found = splits(path) * sign  # of the differences themselves
    assert (found[:, :6] <= 0).all()
    assert (found[:, 6:] >= 0).all()
    assert (found < 0).any()


GROUPED = {
    "unit": {},
    "sqrt": {"row_group_weight": "sqrt"},
    "mixed": {"row_positive": np.arange(17) % 2 == 0},
    "mixed, sqrt": {
        "row_positive": np.arange(17) % 2 == 0,
        "row_group_weight": "sqrt",
    },
    "positive, sqrt": {"row_positive": True, "row_group_weight": "sqrt"},
}


@pytest.mark.parametrize("variant", GROUPED)
@pytest.mark.parametrize("labels", ["isotropic", "given", "weighted"])
def test_groups_of_rows(labels, variant):
    X, y, _ = make_data(p=P)
    options = dict(GROUPED[variant])
    D = transforms.grid_gradient((3, 4), isotropic=labels == "isotropic")
    groups = D.groups
    if labels != "isotropic":
        groups = np.random.default_rng(0).integers(0, 6, 17)
        options["row_groups"] = groups
    if labels == "weighted":
        options["row_weight"] = np.array([1, 2, 0, np.inf, 0.5, 1])[groups]
    path = trace(Problem(X, y, standardize=False), D, **options)
    assert path.split.penalty.name == "group"
    settings = twin_settings(options) | {"groups": groups}
    twin = assert_plain(path, X, y, DENSE["grid"], n_rows=2, **settings)
    # a group of unbound rows is zero as a whole or not at all
    active = splits(path) != 0
    for block in twin.blocks:
        if not np.any(options.get("row_positive", False)):
            assert (active[:, block].all(axis=1) == active[:, block].any(axis=1)).all()


def test_groups_of_one_row_are_rows():
    problem = make_problem()
    one = trace(problem, MAPS["grid"])
    two = trace(problem, MAPS["grid"], row_groups=np.arange(17)[::-1])
    assert_same_path(two, one)


def as_map(p, seed):
    kinds = [
        np.eye(p),
        np.diff(np.eye(p), axis=0),
        np.vstack([np.eye(p), 0.8 * np.diff(np.eye(p), axis=0)]),
        twins.random_rows(p + 2, p, seed),
    ]
    return kinds[seed % len(kinds)]


def random_question(seed):
    """A small problem, D, and options for its rows, of every kind."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(4, 30)), int(rng.integers(2, 9))
    data = make_data(n=n, p=p, seed=seed, correlation=rng.choice([0, 0.5, 0.95]))
    D = as_map(p, int(rng.integers(4)))
    m = len(D)
    options = {}
    weight = np.where(rng.random(m) < 0.5, 1.0, rng.choice([0, 2, 0.3, np.inf], m))
    if rng.random() < 0.4:
        labels = rng.integers(0, max(1, m // 2), m)
        weight = weight[labels]
        kind = ("unit", "sqrt")[rng.integers(2)]
        options |= {"row_groups": labels, "row_group_weight": kind}
    if rng.random() < 0.6:
        options["row_weight"] = weight
    options["row_positive"] = (False, True, rng.random(m) < 0.5)[rng.integers(3)]
    settings = {
        "fit_intercept": bool(rng.random() < 0.7),
        "standardize": bool(rng.random() < 0.3),
    }
    weights = data.weights if rng.random() < 0.5 else None
    numbers = {"nu": 10 ** rng.uniform(-1, 1.5), "kappa": 10 ** rng.uniform(0, 1)}
    return data.X, data.y, weights, D, options, settings, numbers


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
@example(seed=24)  # a free row of an active group with signs changes its own
@example(seed=105)
@example(seed=489)
@example(seed=521)  # only rows that may not move in their direction
def test_random_questions(seed):
    X, y, weights, D, options, frame, numbers = random_question(seed)
    problem = Problem(X, y, sample_weight=weights, **frame)
    weight = options.get("row_weight", np.ones(len(D)))
    kept = weight > 0
    rank = np.linalg.matrix_rank
    centred = X - X.mean(axis=0) if frame["fit_intercept"] else X
    if not kept.any() or rank(np.vstack([centred, D[kept]])) < X.shape[1]:
        return  # refused, see below
    t0 = first_entry(problem, D, **numbers, **options)
    if np.isfinite(t0):
        path = trace(problem, D, t_max=15 * t0, n_knots=12, **numbers, **options)
        names = twin_settings(options) | frame | {"weights": weights}
        assert_plain(path, X, y, D, n_rows=0, **names)
    if "row_groups" not in options:
        exact = split_iss_path(problem, D, nu=numbers["nu"], **options)
        names = twin_settings(options) | frame | {"weights": weights}
        assert_exact(exact, X, y, D, complete=np.isfinite(t0), **names)


def test_a_large_group_that_stays_out_hides_no_row():
    """Blocks of one row behind a block of several, alone and among many."""
    X, y, w = make_data(n=24, p=6)
    labels = np.array([0, 1, 0, 0, 0, 2])
    weight = np.where(labels == 1, 1.0, np.inf)
    problem = Problem(X, y, sample_weight=w, **RAW)
    path = trace(problem, None, row_weight=weight, row_groups=labels)
    settings = {"row_weight": weight, "groups": labels, "weights": w}
    assert_plain(path, X, y, np.eye(6), n_rows=1, fit_intercept=False, **settings)
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(30, 150)), np.arange(150)
    X[:, :3] *= 1e-3
    labels[:3] = 0
    y = X[:, 10] - X[:, 20] + 0.1 * rng.normal(size=30)
    problem = Problem(X, y, standardize=False)
    path = trace(problem, None, row_groups=labels, length=5)
    assert_plain(path, X, y, np.eye(150), groups=labels)


@pytest.mark.parametrize("share", [0.4, 0.99])
def test_steps_up_to_the_limit_are_taken(share):
    """Whatever the rows: the limit of stability does not depend on their signs."""
    X, y, _ = make_data(p=P)
    problem = Problem(X, y, standardize=False)
    D = MAPS["sparse and fused"]
    auto = trace(problem, D)
    for mask in (False, True, MIXED):
        path = trace(
            problem,
            D,
            nu_raw=auto.nu_raw,
            kappa_raw=auto.kappa_raw,
            step_size=share * 2 * auto.nu_raw / auto.kappa_raw,
            row_positive=mask,
        )
        twin = plain(path, X, y, DENSE["sparse and fused"], positive=mask)
        assert gaps(path, twin).max() < 1e-9


# ----------------------------------------------------------------------- exact paths


def assert_exact(path, X, y, D, complete=True, tol=1e-8, **settings):
    found = twins.split_iss_violations(
        path.knots,
        path.coefs,
        path.intercepts,
        splits(path),
        X,
        y,
        D,
        path.nu_raw,
        **settings,
    )
    end = found.pop("end")
    assert max(found.values()) <= tol, found
    if complete:
        assert path.status == "least_squares"
        assert end <= tol


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("n", [40, 9])
def test_exact_path(name, n):
    X, y, _ = make_data(n=n, p=P)
    path = split_iss_path(Problem(X, y, standardize=False), MAPS[name])
    assert path.method == "split_iss"
    assert path.interpolation == "constant"
    assert path.knots[0] == 0
    assert path.t0 == pytest.approx(path.knots[1], rel=1e-10)
    assert_exact(path, X, y, DENSE[name])
    slow = twins.slow_split_iss(X, y, DENSE[name], nu_raw=path.nu_raw)
    assert len(path) >= 5
    np.testing.assert_allclose(path.knots, slow.knots, rtol=1e-8)
    assert relative_gap(path.coefs, slow.coefs) < 1e-8
    assert relative_gap(splits(path), slow.splits) < 1e-8
    np.testing.assert_allclose(path.intercepts, slow.intercepts, rtol=1e-8)


EXACT = PROBLEMS | {name: ROWS[name] for name in ROWS}


@pytest.mark.parametrize("variant", EXACT)
@pytest.mark.parametrize("seed", range(3))
def test_exact_path_equals_brute_force(variant, seed):
    X, y, w = make_data(n=30, p=P, correlation=0.8, seed=seed)
    options = dict(EXACT[variant])
    if "sample_weight" in options:
        options["sample_weight"] = w
    rows = {key: options.pop(key) for key in list(options) if key.startswith("row")}
    problem = Problem(X, y, **({"standardize": False} | options))
    D = "sparse and fused"
    path = split_iss_path(problem, MAPS[D], **rows)
    options["weights"] = options.pop("sample_weight", None)
    settings = twin_settings(rows) | options
    assert_exact(path, X, y, DENSE[D], **settings)
    slow = twins.slow_split_iss(X, y, DENSE[D], nu_raw=path.nu_raw, **settings)
    np.testing.assert_allclose(path.knots, slow.knots, rtol=1e-8)
    assert relative_gap(path.coefs, slow.coefs) < 1e-8
    assert relative_gap(splits(path), slow.splits) < 1e-8


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_integer_data_equal_exact_fractions(seed):
    """Small integers make ties, drops and zero slopes common."""
    rng = np.random.default_rng(seed)
    p, m = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    X = rng.integers(-2, 3, size=(int(rng.integers(2, 5)), p))
    y = rng.integers(-3, 4, size=len(X))
    D = rng.integers(-1, 2, size=(m, p))
    D[~D.any(axis=1), 0] = 1
    if np.linalg.matrix_rank(np.vstack([X, D])) < p or not (X.T @ y).any():
        return
    nu = int(rng.integers(1, 4))
    exact = twins.rational_split_iss(X.tolist(), y.tolist(), D.tolist(), nu)
    knots, coefs, expected = (np.array(part, dtype=float) for part in exact)
    path = split_iss_path(Problem(X, y, **RAW), D, nu_raw=nu)
    if len(knots) == 1:
        assert path.status == "null"
        return
    np.testing.assert_allclose(path.knots, knots, rtol=1e-10)
    # where the coefficients are not unique, their fit and their distances are
    np.testing.assert_allclose(path.coefs @ X.T, coefs @ X.T, atol=1e-10)
    np.testing.assert_allclose(
        path.coefs @ D.T - splits(path), coefs @ D.T - expected, atol=1e-10
    )


@pytest.mark.parametrize("name", MAPS)
def test_the_exact_path_ends_at_least_squares(name):
    """Nothing is coupled any more: split = D coef, and coef the free fit."""
    for n in (40, 9):
        X, y, _ = make_data(n=n, p=P)
        path = split_iss_path(Problem(X, y, standardize=False), MAPS[name])
        coef = path.coefs[-1]
        np.testing.assert_allclose(splits(path)[-1], DENSE[name] @ coef, atol=1e-9)
        A = np.column_stack([np.ones(n), X])
        fit = np.linalg.lstsq(A, y, rcond=None)[0]
        np.testing.assert_allclose(
            path.intercepts[-1] + X @ coef, A @ fit, atol=1e-9 * np.abs(y).max()
        )


def test_rows_of_a_constant_feature_share_their_split_coefficient():
    """Its coefficient is what D makes of it: the two rows always agree.

    Which share each of the two gets is not determined, their sum is.
    """
    X, y, _ = make_data(p=P)
    X[:, 3] = 2.5
    path = split_iss_path(Problem(X, y, standardize=False), MAPS["differences"])
    assert_exact(path, X, y, DENSE["differences"])
    slow = twins.slow_split_iss(X, y, DENSE["differences"], nu_raw=path.nu_raw)
    np.testing.assert_allclose(path.knots, slow.knots, rtol=1e-8)
    found, expected = splits(path), slow.splits
    np.testing.assert_allclose(
        found[:, 2] + found[:, 3], expected[:, 2] + expected[:, 3], atol=1e-9
    )
    rest = np.delete(np.arange(11), [2, 3])
    np.testing.assert_allclose(found[:, rest], expected[:, rest], atol=1e-9)
    others = np.delete(np.arange(P), 3)
    np.testing.assert_allclose(path.coefs[:, others], slow.coefs[:, others], atol=1e-9)


@pytest.mark.parametrize("place", [0, 4, 11])
@pytest.mark.parametrize("name", ["identity", "differences"])
@pytest.mark.parametrize("form", ["transform", "matrix"])
@pytest.mark.parametrize("n", [40, 9])
def test_rounding_is_no_slope(place, name, form, n):
    """The row of a constant feature has slope zero, and the path still an end."""
    X, y, w = make_data(n=n, p=P)
    X[:, place] = 0.1
    D = MAPS[name] if form == "transform" else DENSE[name]
    path = split_iss_path(Problem(X, y, sample_weight=w, standardize=False), D)
    assert_exact(path, X, y, DENSE[name], weights=w)
    assert path.knots[-1] < 1e6 * path.t0
    coef = path.coefs[-1]
    if name == "identity":
        assert not splits(path)[:, place].any()
    if name == "differences" and place == 0:
        np.testing.assert_allclose(path.coefs[:, 0], path.coefs[:, 1], rtol=1e-9)
    assert np.abs(coef).max() < 1e3


def test_t_max_and_max_rows_cut_the_same_exact_path():
    problem = make_problem()
    full = split_iss_path(problem, MAPS["grid"])
    t_max = 0.5 * (full.knots[5] + full.knots[6])
    short = split_iss_path(problem, MAPS["grid"], t_max=t_max)
    assert short.status == "t_max"
    np.testing.assert_array_equal(short.knots[:6], full.knots[:6])
    np.testing.assert_array_equal(short.at(t_max).coef, full.at(t_max).coef)
    few = split_iss_path(problem, MAPS["grid"], max_rows=4)
    assert few.status == "max_rows"
    assert (splits(few) != 0).sum(axis=1).max() <= 4
    np.testing.assert_array_equal(few.knots, full.knots[: len(few)])
    assert "rows" in few.message
    assert "features" not in few.message


# ----------------------------------------------------------------- closed form, limits


def orthogonal(n=20, p=6, seed=0):
    """X'X = n I and no intercept; c is X'y / n, with well separated entries."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(n, p)))
    c = np.array([1.5, -0.2, 0.7, -2.0, 0.1, 0.9])
    noise = rng.normal(size=n)
    X = np.sqrt(n) * Q
    return X, X @ c + noise - Q @ (Q.T @ noise), c


@pytest.mark.parametrize("nu", [0.1, 1.0, 10.0])
def test_orthogonal_design_exact(nu):
    """Hard thresholding: row j enters at (1 + nu) / |c_j| with its final value."""
    X, y, c = orthogonal()
    path = split_iss_path(Problem(X, y, **RAW), nu=nu)
    assert path.nu_raw == pytest.approx(nu, rel=1e-12)
    order = np.argsort(-np.abs(c))
    np.testing.assert_allclose(path.knots[1:], (1 + nu) / np.abs(c[order]), rtol=1e-12)
    for k in range(7):
        active = np.isin(np.arange(6), order[:k])
        np.testing.assert_allclose(splits(path)[k], active * c, atol=1e-12)
        ridge = np.where(active, c, c * nu / (1 + nu))
        np.testing.assert_allclose(path.coefs[k], ridge, atol=1e-12)


@pytest.mark.parametrize("nu", [0.1, 1.0, 10.0])
def test_orthogonal_design_discrete(nu):
    """Each row goes its own way: constant speed, then a geometric sequence."""
    X, y, c = orthogonal()
    path = trace(Problem(X, y, **RAW), None, nu=nu, kappa=5.0)
    top = np.abs(c).max()
    assert path.t0 == pytest.approx((1 + nu) / top, rel=1e-12)
    assert path.kappa_raw == pytest.approx(5.0 * top, rel=1e-12)
    step, kappa = path.step_size, path.kappa_raw
    speed = np.abs(c) / (1 + nu)
    rate = kappa * step / (1 + nu)
    # the first iterate on or beyond the threshold
    first = np.ceil((1 - path.t0 * speed) / (step * speed) - 1e-9).clip(0)
    excess = path.t0 * speed + first * step * speed - 1

    def size(k):
        late = k >= first
        power = np.where(late, (1 - rate) ** np.where(late, k - first, 0), 1)
        return late * kappa * (np.abs(c) / kappa - (np.abs(c) / kappa - excess) * power)

    twin = plain(path, X, y, np.eye(6), fit_intercept=False)
    for k in range(0, len(twin.t), 7):
        split = twin.at(twin.t[k])[2]
        np.testing.assert_allclose(split, np.sign(c) * size(k), atol=1e-10)
    assert gaps(path, twin).max() < 1e-9
    coef = (nu * c + splits(path)) / (1 + nu)
    np.testing.assert_allclose(path.coefs, coef, atol=1e-10)


def test_identity_and_small_nu_is_lbi():
    """With the same raw kappa and step; the difference is proportional to nu."""
    problem = make_problem(p=6)
    t0 = lbi_path(problem, n_knots=2, max_features=1).t0
    X = problem.X - problem.X.mean(axis=0)
    nu_raw = 0.01 * 40 / np.linalg.norm(X, 2) ** 2
    for end in (2 * t0, 8 * t0):
        errors = []
        for raw in (nu_raw, 0.1 * nu_raw):
            options = {"kappa_raw": 20.0, "step_size": 0.05 * nu_raw / 20.0}
            options |= {"t_max": end, "n_knots": 5}
            expected = lbi_path(problem, **options)
            path = split_lbi_path(problem, nu_raw=raw, **options)
            assert path.t0 == pytest.approx(t0, rel=2 * raw / nu_raw * 0.01)
            # the last knot of both is an iterate
            top = np.abs(expected.coefs).max()
            errors.append(np.abs(splits(path)[-1] - expected.coefs[-1]).max() / top)
            assert relative_gap(path.coefs[-1], splits(path)[-1]) < 5 * raw / nu_raw
        assert 8 < errors[0] / errors[1] < 12
        assert errors[1] < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_identity_and_small_nu_is_the_exact_path(seed):
    problem = make_problem(p=6, seed=seed)
    expected = iss_path(problem)
    errors = []
    for nu in (1e-4, 1e-5):
        path = split_iss_path(problem, nu=nu)
        assert len(path) == len(expected)
        np.testing.assert_array_equal(
            path.split.events["feature"], expected.events["feature"]
        )
        knots = np.abs(path.knots / np.maximum(expected.knots, 1e-300) - 1)[1:].max()
        errors.append((knots, relative_gap(splits(path), expected.coefs)))
    errors = np.array(errors)
    assert errors[1, 0] < 1e-3
    np.testing.assert_allclose(errors[0, 0] / errors[1, 0], 10, rtol=0.02)
    # the coefficients of an exact path are least-squares fits, whatever nu is
    assert errors[1, 1] < 1e-3


@pytest.mark.parametrize("name", ["differences", "order 2", "few rows"])
def test_small_nu_is_the_exact_path_in_new_coordinates(name):
    """coef = A split + N free, with D A = I and D N = 0: the rest is ordinary ISS."""
    X, y, _ = make_data(n=40, p=P)
    D = DENSE[name]
    A = np.linalg.pinv(D)
    N = np.linalg.svd(D)[2][len(D) :].T
    factor = np.append(np.ones(len(D)), np.zeros(P - len(D)))
    design = np.hstack([X @ A, X @ N])
    expected = iss_path(Problem(design, y, standardize=False, penalty_factor=factor))
    path = split_iss_path(Problem(X, y, standardize=False), MAPS[name], nu=1e-7)
    np.testing.assert_allclose(path.knots, expected.knots, rtol=1e-4)
    found = expected.coefs @ np.hstack([A, N]).T
    assert relative_gap(path.coefs, found) < 1e-4
    assert relative_gap(splits(path), expected.coefs[:, : len(D)]) < 1e-4


@pytest.mark.parametrize("name", ["differences", "grid", "many rows"])
def test_large_nu_is_hard_thresholding_of_the_least_squares_fit(name):
    """The rows do not see each other: each enters at nu / |D coef| of that fit."""
    X, y, _ = make_data(n=40, p=P)
    D = DENSE[name]
    A = np.column_stack([np.ones(40), X])
    fit = D @ np.linalg.lstsq(A, y, rcond=None)[0][1:]
    entries = []
    for nu in (1e6, 1e7):
        path = split_iss_path(Problem(X, y, standardize=False), MAPS[name], nu=nu)
        entry = path.split.entry_knots() / path.nu_raw * np.abs(fit)
        entries.append(np.abs(entry - 1).max())
        final = splits(path)[-1]
        np.testing.assert_allclose(final, fit, atol=1e-8 * np.abs(fit).max())
    assert entries[1] < 1e-2
    np.testing.assert_allclose(entries[0] / entries[1], 10, rtol=0.1)


def test_large_kappa_is_the_exact_path_inside_its_stretches():
    problem = make_problem(p=6)
    D = np.diff(np.eye(6), axis=0)
    exact = split_iss_path(problem, D)
    first = exact.knots[1:7]
    stretch = np.flatnonzero(np.diff(first) > 0.2 * first[:-1]) + 1
    assert len(stretch) >= 2
    times = exact.representative_knots()[stretch]
    errors = []
    for kappa in (300.0, 3000.0):
        path = split_lbi_path(problem, D, kappa=kappa, t_max=1.01 * times.max())
        assert path.t0 == pytest.approx(exact.t0, rel=1e-10)
        found = np.array([path.at(t).split_coef for t in times])
        errors.append(np.abs(found - splits(exact)[stretch]).max())
    top = np.abs(splits(exact)).max()
    assert errors[1] < 2e-3 * top
    assert errors[1] < 0.3 * errors[0] or errors[0] < 1e-6 * top


# ------------------------------------------------------------------------- symmetries

SMALL = settings(max_examples=8, deadline=None)
FACTORS = st.sampled_from([-3.0, 1e-4, 0.5, 10.0, 1e5])


def drawn(seed):
    data = make_data(n=12 + seed % 20, p=4 + seed % 5, seed=seed)
    return data.X, data.y, as_map(data.X.shape[1], seed // 7)


def pairs(one, two, clock=1.0):
    """Indices of the knots that two paths share; at least the logarithmic grid.

    Which further knots are stored may depend on rounding.
    """
    same = np.abs(one.knots[:, None] - two.knots * clock) <= 1e-8 * one.knots[:, None]
    i, j = np.nonzero(same)
    assert len(i) >= min(30, len(one), len(two))
    return i, j


def both(X, y, D, other, **options):
    """Discrete and exact paths of two questions (problem, D)."""
    question = (Problem(X, y, standardize=False), D)
    clock = options.pop("clock", 1.0)
    one = trace(*question)
    yield one, trace(*other, t_max=one.knots[-1] / clock)
    yield split_iss_path(*question), split_iss_path(*other)


def assert_transformed(one, two, *, clock, coef, split, nu, kappa):
    """two = one with knots / clock, coefs * coef, splits * split, and raw numbers."""
    assert two.nu == one.nu
    assert two.nu_raw == pytest.approx(one.nu_raw * nu, rel=1e-9)
    assert two.t0 == pytest.approx(one.t0 / clock, rel=1e-8)
    if one.method == "split_lbi":
        assert two.kappa == one.kappa
        assert two.kappa_raw == pytest.approx(one.kappa_raw * kappa, rel=1e-8)
    i, j = pairs(one, two, clock)
    for mine, theirs in (
        (one.coefs[i] * coef, two.coefs[j]),
        (splits(one)[i] * split, splits(two)[j]),
    ):
        np.testing.assert_allclose(
            theirs, mine, rtol=1e-6, atol=1e-7 * np.abs(mine).max()
        )


@SMALL
@given(seed=SEEDS, factor=FACTORS)
def test_scaled_response(seed, factor):
    X, y, D = drawn(seed)
    other = (Problem(X, factor * y, standardize=False), D)
    size = abs(factor)
    for one, two in both(X, y, D, other, clock=size):
        assert_transformed(
            one, two, clock=size, coef=factor, split=factor, nu=1, kappa=size
        )


@SMALL
@given(seed=SEEDS, factor=FACTORS)
def test_scaled_features(seed, factor):
    X, y, D = drawn(seed)
    other = (Problem(factor * X, y, standardize=False), D)
    size = abs(factor)
    for one, two in both(X, y, D, other, clock=size):
        assert_transformed(
            one,
            two,
            clock=size,
            coef=1 / factor,
            split=1 / factor,
            nu=size**-2,
            kappa=1 / size,
        )


@SMALL
@given(seed=SEEDS, factor=FACTORS)
def test_scaled_map(seed, factor):
    X, y, D = drawn(seed)
    other = (Problem(X, y, standardize=False), factor * D)
    size = abs(factor)
    for one, two in both(X, y, D, other, clock=1 / size):
        assert_transformed(
            one, two, clock=1 / size, coef=1, split=factor, nu=size**2, kappa=size
        )


@SMALL
@given(seed=SEEDS)
def test_doubled_rows(seed):
    """[D; D] is D with half of the raw nu: the same path at half the speed."""
    X, y, D = drawn(seed)
    other = (Problem(X, y, standardize=False), np.vstack([D, D]))
    for one, two in both(X, y, D, other, clock=0.5):
        twice = np.tile(splits(one), 2)
        assert two.nu_raw == pytest.approx(2 * one.nu_raw, rel=1e-9)
        if one.method == "split_lbi":
            assert two.kappa_raw == pytest.approx(one.kappa_raw, rel=1e-8)
        i, j = pairs(one, two, 0.5)
        found = splits(two)
        if one.method == "split_iss":  # how two equal rows share is not determined
            half = len(D)
            found = 0.5 * np.tile(found[:, :half] + found[:, half:], 2)
        top = np.abs(twice).max()
        np.testing.assert_allclose(found[j], twice[i], atol=1e-7 * top)
        np.testing.assert_allclose(two.coefs[j], one.coefs[i], rtol=1e-6, atol=1e-7)


@SMALL
@given(seed=SEEDS)
def test_permutations_and_signs(seed):
    """Of samples, features (with their columns of D) and rows of D."""
    X, y, D = drawn(seed)
    rng = np.random.default_rng(seed)
    (n, p), m = X.shape, len(D)
    samples, columns, rows = (rng.permutation(size) for size in (n, p, m))
    sign, turned = rng.choice([-1.0, 1.0], p), rng.choice([-1.0, 1.0], m)
    moved = (X * sign)[samples][:, columns]
    other_D = (turned[:, None] * D * sign)[rows][:, columns]
    other = (Problem(moved, y[samples], standardize=False), other_D)
    for one, two in both(X, y, D, other):
        i, j = pairs(one, two)
        coefs = (one.coefs * sign)[:, columns]
        top = np.abs(coefs).max()
        np.testing.assert_allclose(two.coefs[j], coefs[i], rtol=1e-6, atol=1e-7 * top)
        found = (splits(one) * turned)[:, rows]
        top = np.abs(found).max()
        np.testing.assert_allclose(splits(two)[j], found[i], rtol=1e-6, atol=1e-7 * top)


@SMALL
@given(seed=SEEDS)
def test_shifted_data(seed):
    """X + shift and y + shift move intercepts only."""
    X, y, D = drawn(seed)
    shift = np.random.default_rng(seed).normal(size=X.shape[1])
    other = (Problem(X + shift, y + 7.0, standardize=False), D)
    for one, two in both(X, y, D, other):
        i, j = pairs(one, two)
        np.testing.assert_allclose(two.coefs[j], one.coefs[i], rtol=1e-6, atol=1e-7)
        moved = two.intercepts - 7.0 + two.coefs @ shift
        np.testing.assert_allclose(moved[j], one.intercepts[i], rtol=1e-6, atol=1e-6)


@SMALL
@given(seed=SEEDS)
def test_weight_is_repetition(seed):
    X, y, D = drawn(seed)
    counts = np.random.default_rng(seed).integers(0, 4, size=len(y))
    counts[:6] += 1
    question = (Problem(X, y, sample_weight=counts, standardize=False), D)
    repeated = Problem(
        np.repeat(X, counts, axis=0), np.repeat(y, counts), standardize=False
    )
    path = trace(*question)
    for one, two in (
        (path, trace(repeated, D, t_max=path.knots[-1])),
        (split_iss_path(*question), split_iss_path(repeated, D)),
    ):
        i, j = pairs(one, two)
        assert two.nu_raw == pytest.approx(one.nu_raw, rel=1e-9)
        np.testing.assert_allclose(two.coefs[j], one.coefs[i], rtol=1e-6, atol=1e-7)
        assert one.n_samples == two.n_samples == counts.sum()


@SMALL
@given(seed=SEEDS)
def test_standardized_columns_have_no_scale(seed):
    X, y, D = drawn(seed)
    factor = np.random.default_rng(seed).uniform(0.1, 10, X.shape[1])
    one = trace(Problem(X, y, standardize=True), D)
    two = trace(Problem(X * factor, y, standardize=True), D, t_max=one.knots[-1])
    i, j = pairs(one, two)
    np.testing.assert_allclose(
        (two.coefs * factor)[j], one.coefs[i], rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(splits(two)[j], splits(one)[i], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(two.coef_scale, one.coef_scale * factor, rtol=1e-10)


# ----------------------------------------------------------------------------- retrace

RETRACED = {
    "plain": (trace, {}),
    "settings": (trace, {"nu": 3.0, "kappa": 5.0, "n_knots": 12}),
    "given step": (
        trace,
        {"nu_raw": 0.5, "kappa_raw": 2.0, "step_size": 0.1, "t_max": 30.0},
    ),
    "rows": (trace, ROWS["mixed, all weights"]),
    "groups": (
        trace,
        {"row_groups": np.arange(23) // 3, "row_group_weight": "sqrt"},
    ),
    "exact": (split_iss_path, {"t_max": 30.0}),
    "exact, rows": (split_iss_path, ROWS["mixed, all weights"]),
}


@pytest.mark.parametrize("variant", RETRACED)
@pytest.mark.parametrize("options", [{}, {"standardize": True}])
def test_traced_again(variant, options):
    solver, settings = RETRACED[variant]
    problem = make_problem(**options)
    path = solver(problem, MAPS["sparse and fused"], **settings)
    again = retrace(path, problem)
    assert again.method == path.method
    assert again.step_size == path.step_size
    assert_same_path(again, path, 1e-12)
    np.testing.assert_allclose(again.split.events["t"], path.split.events["t"])
    rows = np.arange(0, 40, 2)
    other = retrace(path, problem.restrict(rows), t_max=0.9 * path.knots[-1])
    assert other.nu_raw == path.nu_raw
    assert other.kappa_raw == path.kappa_raw
    assert other.knots[-1] <= 0.9 * path.knots[-1] * (1 + 1e-12)
    few = retrace(path, problem, max_features=2)
    if variant in ("plain", "exact"):
        assert few.status == "max_rows"


# --------------------------------------------------------------------------- endings


@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
@pytest.mark.parametrize("name", ["identity", "differences", "many rows"])
def test_nothing_to_explain(solver, name):
    """A constant response, or none of the rows may enter: the null model is all."""
    X, y, _ = make_data(p=P)
    constant = Problem(X, np.full(40, 3.0), standardize=False)
    path = solver(constant, MAPS[name])
    assert path.status == "null"
    assert path.is_complete
    assert len(path) == 1
    np.testing.assert_allclose(path.coefs, 0.0, atol=1e-12)
    assert splits(path).shape == (1, MAPS[name].n_rows)
    assert not splits(path).any()
    np.testing.assert_allclose(path.intercepts, 3.0)
    never = np.full(MAPS[name].n_rows, np.inf)
    path = solver(Problem(X, y, standardize=False), MAPS[name], row_weight=never)
    assert path.status == "null"
    null, _ = twins.coupled(X, y, DENSE[name], path.nu_raw)
    np.testing.assert_allclose(path.coefs[0], null.coef(np.zeros(len(never))))


@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
def test_no_features_at_all(solver):
    y = np.arange(10.0)
    path = solver(Problem(np.zeros((10, 4)), y, standardize=False), "identity")
    assert path.status == "null"
    assert not path.coefs.any()
    np.testing.assert_allclose(path.predict(np.ones((3, 4)))[0], y.mean())


@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
def test_an_end_before_the_first_entry(solver):
    X, y, _ = make_data(p=P)
    problem = Problem(X, y, standardize=False)
    t0 = first_entry(problem, MAPS["grid"])
    path = solver(problem, MAPS["grid"], t_max=0.5 * t0)
    assert path.status == "t_max"
    assert path.t0 == pytest.approx(t0, rel=1e-12)
    assert path.knots.tolist() == [0.5 * t0]
    assert not splits(path).any()
    null, _ = twins.coupled(X, y, DENSE["grid"], path.nu_raw)
    coef, intercept, _ = null.report(np.zeros(17))
    np.testing.assert_allclose(path.coefs[0], coef, rtol=1e-9)
    np.testing.assert_allclose(path.intercepts[0], intercept, rtol=1e-9)
    with pytest.raises(ValueError, match="t_max"):
        path.at(t0)


def test_max_rows():
    problem = make_problem()
    full = trace(problem, MAPS["grid"])
    path = trace(problem, MAPS["grid"], max_rows=5)
    assert path.status == "max_rows"
    assert "more than max_rows=5 rows" in path.message
    sizes = (splits(path) != 0).sum(axis=1)
    assert sizes.max() <= 5
    top = np.abs(full.coefs).max()
    for t in path.knots:
        np.testing.assert_allclose(path.at(t).coef, full.at(t).coef, atol=0.01 * top)


def test_default_end():
    path = split_lbi_path(make_problem(), "differences")
    assert path.status == "t_max"
    assert path.knots[-1] == pytest.approx(100 * path.t0, rel=1e-12)
    assert len(path) >= 100
    assert path.info["route"] == "reduced"
    assert "entries" in path.info["route_reason"]
    assert path.info["n_components"] == 1


# ----------------------------------------------------------------------- bad arguments

BOTH = [
    ({"nu": 0}, "nu=0"),
    ({"nu": -1.0}, "nu=-1.0"),
    ({"nu": np.nan}, "nu=nan"),
    ({"nu": "1"}, "nu='1'"),
    ({"nu_raw": 0.0}, "nu_raw=0.0"),
    ({"nu_raw": np.inf}, "nu_raw=inf"),
    ({"t_max": 0}, "t_max=0"),
    ({"t_max": np.nan}, "t_max=nan"),
    ({"max_rows": 0}, "max_rows=0"),
    ({"max_rows": 1.5}, "max_rows=1.5"),
    ({"row_weight": np.ones(10)}, r"row_weight has shape \(10,\).*11 rows"),
    ({"row_weight": -np.ones(11)}, r"row_weight contains -1.0.*inf = never"),
    ({"row_weight": np.full(11, np.nan)}, "row_weight contains nan"),
    ({"row_weight": np.zeros(11)}, "row_weight is 0 for every row"),
    ({"row_positive": np.ones(10, bool)}, r"row_positive.*shape \(10,\).*11 rows"),
    ({"row_positive": np.ones(11)}, "row_positive has dtype float64"),
]
DISCRETE = [
    ({"kappa": 0}, "kappa=0"),
    ({"kappa": -1.0}, "kappa=-1.0"),
    ({"kappa": np.inf}, "kappa=inf"),
    ({"kappa_raw": 0}, "kappa_raw=0"),
    ({"step_size": 0}, "step_size=0"),
    ({"step_size": "automatic"}, r"step_size='automatic'.*'auto'"),
    ({"n_knots": 1}, "n_knots=1 .*at least 2"),
    ({"n_knots": 2.5}, "n_knots=2.5"),
    ({"method": "exact"}, "method='exact'.*'eliminated', 'joint'"),
    ({"method": None}, "method=None"),
    ({"route": "qr"}, "route='qr'.*'reduced', 'dense', 'splu', 'dct', 'cg'"),
    ({"start": "null"}, "start='null'.*'fit', 'zero'"),
    ({"start": "zero"}, "start='zero'.*method='joint'"),
    ({"penalty": "nuclear"}, "penalty='nuclear'.*'l1', 'group'"),
    ({"penalty": "l1", "row_groups": np.arange(11)}, "row_groups.*penalty='l1'"),
    ({"row_groups": np.arange(10)}, r"row_groups has shape \(10,\).*11 rows"),
    ({"row_group_weight": "size"}, "row_group_weight='size'.*'unit', 'sqrt'"),
    (
        {"row_groups": np.arange(11) // 2, "row_weight": np.arange(11) + 1.0},
        r"row_weight must be constant within a group.*\[0, 1\]",
    ),
    (
        {"row_groups": np.arange(11) // 2, "row_weight": np.r_[np.inf, np.ones(10)]},
        "row_weight must be constant",
    ),
]


@pytest.mark.parametrize(("settings", "message"), BOTH)
@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
def test_bad_arguments(solver, settings, message):
    with pytest.raises(ValueError, match=message):
        solver(make_problem(), "differences", **settings)


@pytest.mark.parametrize(("settings", "message"), DISCRETE)
def test_bad_arguments_of_the_discrete_path(settings, message):
    with pytest.raises(ValueError, match=message):
        split_lbi_path(make_problem(), "differences", **settings)


@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
def test_bad_maps(solver):
    problem = make_problem()
    bad = [
        (np.eye(11), ValueError, "D has 11 columns, but there are 12"),
        (transforms.differences(13), ValueError, "D has 13 columns"),
        ("grid", ValueError, "D='grid' is unknown.*'identity', 'differences'"),
        (np.zeros((2, P)), ValueError, "no nonzero entry"),
        (np.full((2, P), np.nan), ValueError, "finite"),
        (3.0, (ValueError, TypeError), "D "),
        (
            LinearOperator((3, P), matvec=lambda v: v[:3], dtype=float),
            ValueError,
            "without a transpose.*rmatvec",
        ),
    ]
    for D, error, message in bad:
        with pytest.raises(error, match=message):
            solver(problem, D)


@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
@pytest.mark.parametrize(
    "options", [{"penalty_factor": np.ones(P)}, {"groups": [0] * P}]
)
def test_penalties_of_features_are_refused(solver, options):
    data = make_data(p=P)
    penalty = "group" if "groups" in options else "l1"
    problem = Problem(data.X, data.y, penalty=penalty, **options)
    with pytest.raises(ValueError, match="row_weight and row_groups"):
        solver(problem, "differences")


def test_only_squared_loss_is_eliminated():
    data = make_data("logistic", p=P)
    problem = Problem(data.X, data.y, "logistic")
    with pytest.raises(ValueError, match="exact path needs the squared.*'logistic'"):
        split_iss_path(problem, "differences")
    with pytest.raises(ValueError, match="'eliminated' needs the squared.*joint"):
        split_lbi_path(problem, "differences", method="eliminated")


@pytest.mark.parametrize("share", [1.0, 1.001, 50.0])
def test_unstable_steps_are_refused(share):
    problem = make_problem()
    auto = trace(problem, "differences")
    limit = 2 * auto.nu_raw / auto.kappa_raw
    raw = {"nu_raw": auto.nu_raw, "kappa_raw": auto.kappa_raw}
    with pytest.raises(ValueError, match="step_size.*unstable.*below.*'auto'"):
        split_lbi_path(problem, "differences", step_size=share * limit, **raw)


@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
def test_undetermined_directions(solver):
    y = make_data(p=P).y
    image = Problem(np.eye(P), y[:P], standardize=False)
    for name in ("differences", "grid"):
        with pytest.raises(
            ValueError, match="not determined.*constant vector.*fit_int"
        ):
            solver(image, MAPS[name])
    # two components and a lonely node need three samples, and one for the intercept
    X = make_data(n=3, p=P).X
    few = Problem(X, y[:3], standardize=False)
    with pytest.raises(ValueError, match="not determined.*component of the graph"):
        solver(few, MAPS["graph"])
    X = make_data(n=40, p=P).X
    X[:, 5] = X[:, 6]
    equal = Problem(X, y, standardize=False)
    with pytest.raises(ValueError, match="not determined.*with_identity.*dependent"):
        solver(equal, np.eye(P)[:3])
    # each of the three ways out that the message names
    raw = Problem(np.eye(P), y[:P], **RAW)
    for problem, D in (
        (raw, "differences"),
        (image, transforms.with_identity(MAPS["differences"])),
        (Problem(X[:, :6], y, standardize=False), np.eye(6)[:3]),
    ):
        assert len(solver(problem, D)) > 3


def test_a_graph_with_enough_samples_for_its_components():
    """Five components, of which the intercept cannot tell one: four samples more."""
    data = make_data(n=9, p=P)
    path = split_lbi_path(
        Problem(data.X, data.y, standardize=False), MAPS["graph"], n_knots=5
    )
    assert path.info["n_components"] == 4


@pytest.mark.parametrize("solver", [split_lbi_path, split_iss_path])
def test_dependent_columns_that_D_tells_apart(solver):
    X, y, _ = make_data(n=40, p=P)
    X[:, 5] = X[:, 6]
    X[:, 2] = X[:, 1] + X[:, 3]
    for name in ("identity", "differences"):
        path = solver(Problem(X, y, standardize=False), MAPS[name])
        twin, _ = twins.coupled(X, y, DENSE[name], path.nu_raw)
        for k in range(len(path)):
            coef, _, _ = twin.report(splits(path)[k])
            np.testing.assert_allclose(
                path.coefs[k], coef, atol=1e-9 * np.abs(path.coefs).max()
            )
