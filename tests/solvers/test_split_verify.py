"""The referee's table of Split LBI: silent on correct paths, loud on wrong ones."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from sparselbi.penalties import transforms
from sparselbi.problem import Problem
from sparselbi.solvers import split_iss_path, split_lbi_path, verify_split_path
from tests.common import LOSSES, make_data, make_loss

P = 12
GRID = transforms.grid_gradient((3, 4))
FUSED = transforms.with_identity(transforms.differences(P), 0.7)
WALK = ["dual_violation", "split_error", "coef_error", "intercept_error"]
RULES = {
    "split_iss": [
        *("coef_gradient", "intercept_error"),
        *("dual_violation", "sign_violation", "support_slope"),
    ],
    "split_lbi": [*WALK, "coef_gradient"],
    "split_lbi_joint": WALK,
}
ROWS = {
    "plain": {},
    "free": {"row_weight": np.resize([0, 1, 1], 23)},
    "never": {"row_weight": np.resize([np.inf, 1, 1], 23)},
    "weights": {"row_weight": np.resize([1, 2, 0.5, 0, np.inf], 23)},
    "positive": {"row_positive": True},
    "mixed": {"row_positive": np.arange(23) % 3 == 0},
}
GROUPED = {
    "unit": {"row_groups": np.arange(23) // 3},
    "sqrt": {"row_groups": np.arange(23) // 3, "row_group_weight": "sqrt"},
    "weights": {
        "row_groups": np.arange(23) // 3,
        "row_weight": np.array([1, 2, 0, 0.5, np.inf, 1, 1, 1])[np.arange(23) // 3],
    },
}


def make_problem(loss="squared", n=40, **options):
    X, y, w = make_data(loss, n=n, p=P)
    settings = {"standardize": False, "sample_weight": w} | options
    return Problem(X, y, make_loss(loss), **settings)


def trace(problem, D=FUSED, *, length=12, **settings):
    settings = {"n_knots": 15, "kappa": 6.0} | settings
    t0 = split_lbi_path(problem, D, **settings | {"max_rows": 1, "n_knots": 2}).t0
    return split_lbi_path(problem, D, t_max=length * t0, **settings)


def table_of(path, problem):
    table = verify_split_path(path, problem)
    assert list(table.columns[:2]) == ["knot", "size"]
    assert sorted(table.columns[2:]) == sorted(RULES[path.method])
    assert len(table) == len(path)
    np.testing.assert_array_equal(table["knot"], path.knots)
    sizes = [path.active_rows(t).sum() for t in path.knots]
    weight = path.split.settings["penalty_factor"]
    free = 0 if weight is None else np.sum(np.asarray(weight) == 0)
    np.testing.assert_array_equal(table["size"], np.array(sizes) - free)
    return table[RULES[path.method]]


def worst(path, problem):
    """Largest entry of all checks; knots that are only bends have no iterate."""
    table = table_of(path, problem)
    bends = path.info.get("bends", np.zeros(len(path), dtype=bool))
    assert not table[~bends].isna().any(axis=None)
    assert (table.fillna(0) >= 0).all(axis=None)
    return table.max().max()


# ------------------------------------------------------------------- correct paths pass


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_discrete_paths_pass(method, rows):
    problem = make_problem()
    path = trace(problem, method=method, **ROWS[rows])
    assert len(path.split.active_features) >= 3
    assert worst(path, problem) < 1e-9


@pytest.mark.parametrize("groups", GROUPED)
@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_grouped_paths_pass(method, groups):
    problem = make_problem()
    assert worst(trace(problem, method=method, **GROUPED[groups]), problem) < 1e-9
    isotropic = transforms.grid_gradient((3, 4), isotropic=True)
    assert worst(trace(problem, isotropic, method=method), problem) < 1e-9


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("n", [40, 9])
def test_exact_paths_pass(rows, n):
    problem = make_problem(n=n)
    path = split_iss_path(problem, FUSED, **ROWS[rows])
    assert len(path) >= 5
    assert worst(path, problem) < 1e-8


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options", [{}, {"standardize": True}])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_loss_passes(loss, options, fit_intercept):
    problem = make_problem(loss, fit_intercept=fit_intercept, **options)
    path = trace(problem, GRID, method="joint")
    assert worst(path, problem) < 1e-9


@pytest.mark.parametrize("route", ["reduced", "dense", "splu", "cg"])
def test_every_route_passes(route):
    X, y, w = make_data(p=P, density=0.3)
    X = sp.csc_array(X)
    problem = Problem(X, y, sample_weight=w, standardize=False)
    path = trace(problem, GRID, route=route)
    assert path.info["route"] == route
    assert worst(path, problem) < 1e-9


def test_an_image_passes():
    """X = identity without intercept, by cosine transforms."""
    rng = np.random.default_rng(0)
    image = np.zeros((6, 8))
    image[2:4, 3:7] = 1.0
    y = (image + 0.2 * rng.normal(size=image.shape)).ravel()
    raw = {"fit_intercept": False, "standardize": False}
    problem = Problem(sp.eye_array(48, format="csc"), y, **raw)
    for route in ("dct", "reduced"):
        path = trace(problem, transforms.grid_gradient((6, 8)), route=route)
        assert worst(path, problem) < 1e-8


def test_constant_columns_and_no_intercept():
    X, y, w = make_data(p=P)
    X[:, 3] = 2.5
    for fit_intercept in (True, False):
        options = {"fit_intercept": fit_intercept, "standardize": False}
        problem = Problem(X, y, sample_weight=w, **options)
        assert worst(trace(problem), problem) < 1e-9
        assert worst(split_iss_path(problem, FUSED), problem) < 1e-8


def test_short_paths_pass():
    problem = make_problem()
    t0 = trace(problem).t0
    never = np.full(23, np.inf)
    for options in ({"t_max": 0.5 * t0}, {"row_weight": never}):
        for path in (
            split_lbi_path(problem, FUSED, **options),
            split_lbi_path(problem, FUSED, method="joint", **options),
            split_iss_path(problem, FUSED, **options),
        ):
            assert len(path) == 1
            assert worst(path, problem) < 1e-9


@pytest.mark.parametrize("value", [0.0, 2.5, 1e8])
def test_constant_response(value):
    X, _, _ = make_data(p=P)
    problem = Problem(X, np.full(40, value), standardize=False)
    for path in (
        split_lbi_path(problem, FUSED),
        split_lbi_path(problem, FUSED, method="joint"),
        split_iss_path(problem, FUSED),
    ):
        assert path.status == "null"
        table = table_of(path, problem).drop(columns="coef_gradient", errors="ignore")
        assert table.max().max() < 1e-9


def test_from_the_data():
    """The path rebuilds its problem from X, y and the weights, dense or sparse."""
    X, y, w = make_data(p=P)
    path = trace(make_problem())
    one = path.verify(X, y, w)
    assert one.equals(verify_split_path(path, make_problem()))
    two = path.verify(sp.csr_array(X), y, w)
    assert two[RULES["split_lbi"]].max().max() < 1e-9
    wrong = path.verify(X, y, w[::-1])
    assert wrong[RULES["split_lbi"]].max().max() > 1e-3


# ---------------------------------------------------------------- wrong paths are found


def tampered(path, *, coef=None, split=None, knot=None, intercept=None):
    """`path` with one coefficient, split coefficient, knot or intercept changed."""
    fields, rows = {}, {}
    if coef is not None:
        k, factor = coef
        fields["active_coefs"] = path.active_coefs.copy()
        place = np.abs(fields["active_coefs"][k]).argmax()
        fields["active_coefs"][k].flat[place] *= factor
    if intercept is not None:
        k, change = intercept
        fields["intercepts"] = path.intercepts.copy()
        fields["intercepts"][k] += change
    if split is not None:
        k, factor = split
        rows["active_coefs"] = path.split.active_coefs.copy()
        place = np.abs(rows["active_coefs"][k]).argmax()
        rows["active_coefs"][k].flat[place] *= factor
    if knot is not None:
        k, knot = knot
        knots = path.knots.copy()
        knots[k] = knot
        fields["knots"] = rows["knots"] = knots
        fields["events"] = path.events[:0]
        rows["events"] = path.split.events[:0]
    fields["split"] = dataclasses.replace(path.split, **rows)
    return dataclasses.replace(path, **fields)


def late_iterate(path):
    """A knot, late on the path, that is an iterate; its neighbours are far away."""
    bends = path.info.get("bends", np.zeros(len(path), dtype=bool))
    return np.flatnonzero(~bends)[-3]


@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_a_wrong_coefficient_is_found_at_its_knot(method):
    problem = make_problem()
    path = trace(problem, method=method)
    k = late_iterate(path)
    table = table_of(tampered(path, coef=(k, 1.001)), problem)
    assert table["coef_error"][k] > 1e-4
    assert table["coef_error"].drop(k).max() < 1e-9
    if method == "eliminated":
        assert table["coef_gradient"][k] > 1e-4
        assert table["coef_gradient"].drop(k).max() < 1e-9


@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_a_wrong_split_coefficient_is_found_at_its_knot(method):
    problem = make_problem()
    path = trace(problem, method=method)
    k = late_iterate(path)
    table = table_of(tampered(path, split=(k, 1.001)), problem)
    assert table["split_error"][k] > 1e-4
    assert table["split_error"].drop(k).max() < 1e-9
    zero = table_of(tampered(path, split=(k, 0.0)), problem)
    assert zero["dual_violation"][k] > 1e-2  # the row is beyond its threshold


@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_a_wrong_knot_is_found(method):
    problem = make_problem()
    path = trace(problem, method=method, kappa=2.0)
    k = late_iterate(path)
    late = 0.5 * (path.knots[k] + path.knots[k + 1])
    table = table_of(tampered(path, knot=(k, late)), problem)
    assert table["split_error"][k] > 1e-6
    assert table["split_error"].drop(k).max() < 1e-9


@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_a_wrong_clock_is_found(method):
    problem = make_problem()
    path = trace(problem, method=method)
    shifted = tampered(path, knot=(slice(None), path.knots + path.step_size))
    assert worst(shifted, problem) > 1e-3


@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_a_wrong_raw_parameter_is_found(method):
    problem = make_problem()
    path = trace(problem, method=method)
    for field in ("nu_raw", "kappa_raw"):
        wrong = dataclasses.replace(path, **{field: 1.01 * getattr(path, field)})
        assert worst(wrong, problem) > 1e-4


@pytest.mark.parametrize("loss", LOSSES)
def test_a_wrong_intercept_is_found(loss):
    problem = make_problem(loss)
    paths = [trace(problem, method="joint")]
    if loss == "squared":
        paths += [trace(problem), split_iss_path(problem, FUSED)]
    for path in paths:
        k = late_iterate(path)
        table = table_of(tampered(path, intercept=(k, 0.01)), problem)
        assert table["intercept_error"][k] == pytest.approx(0.01 / problem.s_y)
        assert table["intercept_error"].drop(k).max() < 1e-9


@pytest.mark.parametrize("method", ["eliminated", "joint"])
def test_a_missing_row_is_found_by_its_dual(method):
    """The path of a problem in which a row may not enter, called one of the whole."""
    problem = make_problem()
    first = trace(problem, method=method)
    weight = np.ones(23)
    weight[first.split.entry_order(1)[0]] = np.inf
    path = trace(problem, method=method, row_weight=weight, nu_raw=first.nu_raw)
    settings = path.split.settings | {"penalty_factor": None}
    split = dataclasses.replace(path.split, settings=settings)
    table = table_of(dataclasses.replace(path, split=split), problem)
    late = path.knots > 1.5 * first.t0
    assert (table["dual_violation"][late] > 0.1).any()


def test_a_wrong_exact_path_is_found():
    problem = make_problem()
    path = split_iss_path(problem, FUSED)
    k = 5
    table = table_of(tampered(path, coef=(k, 1.001)), problem)
    assert table["coef_gradient"][k] > 1e-5
    assert table["coef_gradient"].drop(k).max() < 1e-9
    table = table_of(tampered(path, split=(k, 1.001)), problem)
    assert table["coef_gradient"][k] > 1e-5
    assert table["support_slope"][k] > 1e-5
    late = path.knots[k] + 0.1 * (path.knots[k + 1] - path.knots[k])
    table = table_of(tampered(path, knot=(k, late)), problem)
    assert table["dual_violation"][k] > 1e-5
    assert table["dual_violation"][:k].max() < 1e-9
    table = table_of(tampered(path, split=(k, -1.0)), problem)
    assert table["sign_violation"][k] == pytest.approx(2.0, abs=1e-9)
    turned = dataclasses.replace(  # the path of -y
        path,
        active_coefs=-path.active_coefs,
        split=dataclasses.replace(path.split, active_coefs=-path.split.active_coefs),
    )
    assert table_of(turned, problem)["coef_gradient"].min() > 1e-2


def test_a_row_that_is_held_back_is_found():
    """An exact path whose entry at knot k is left out: its dual moves on."""
    problem = make_problem()
    path = split_iss_path(problem, FUSED)
    k = 3
    coefs, splits = path.active_coefs.copy(), path.split.active_coefs.copy()
    intercepts = path.intercepts.copy()
    for array in (coefs, splits, intercepts):
        array[k] = array[k - 1]
    split = dataclasses.replace(
        path.split, active_coefs=splits, events=path.split.events[:0]
    )
    wrong = dataclasses.replace(
        path, active_coefs=coefs, intercepts=intercepts, split=split
    )
    table = table_of(wrong, problem)
    assert table["dual_violation"][k + 1] > 1e-3
    assert table["dual_violation"][: k + 1].max() < 1e-9


# -------------------------------------------------------------------- wrong questions


def test_path_and_problem_must_belong_together():
    problem = make_problem()
    path = trace(problem)
    X, y, w = make_data(p=P)
    with pytest.raises(ValueError, match="coefficients of shape"):
        path.verify(np.column_stack([X, y]), y, w)
    with pytest.raises(ValueError, match="path has loss"):
        verify_split_path(path, make_problem("huber"))
    with pytest.raises(ValueError, match="weight"):
        verify_split_path(path, Problem(X, y, standardize=False))


def test_methods_without_a_definition():
    X, y, w = make_data(p=P)
    refitted = trace(make_problem()).refit(X, y, w)
    with pytest.raises(ValueError, match=r"'split_lbi\+refit' cannot be verified"):
        refitted.verify(X, y, w)
