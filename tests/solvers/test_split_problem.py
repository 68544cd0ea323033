"""The coupled problem: thresholds, groups and signs of the rows of D."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselbi.penalties import transforms
from sparselbi.problem import Problem
from sparselbi.solvers._split_problem import SplitProblem
from tests import twins_split as twins
from tests.common import make_data

P, M = 12, 17
GRID = transforms.grid_gradient((3, 4))
GROUPS = np.random.default_rng(0).integers(0, 6, M)  # labels out of order
GROUP_WEIGHT = np.array([1, 2, 0, np.inf, 0.5, 1])[GROUPS]
WEIGHT = np.resize([1, 2, 0.5, np.inf, 0, 1], M)
MASK = np.arange(M) % 3 == 0
CASES = {
    "l1": {},
    "l1, weights": {"row_weight": WEIGHT},
    "l1, positive": {"row_weight": WEIGHT, "positive": True},
    "l1, mixed": {"row_weight": WEIGHT, "positive": MASK},
    "groups": {"penalty": "group", "groups": GROUPS},
    "groups, weights": {
        "penalty": "group",
        "groups": GROUPS,
        "row_weight": GROUP_WEIGHT,
    },
    "groups, sqrt": {
        "penalty": "group",
        "groups": GROUPS,
        "row_weight": GROUP_WEIGHT,
        "group_weight": "sqrt",
    },
    "groups, mixed": {"penalty": "group", "groups": GROUPS, "positive": MASK},
    "no labels": {"penalty": "group", "group_weight": "sqrt"},
}


def make_problem(loss="squared", **options):
    data = make_data(loss, p=P)
    return Problem(data.X, data.y, loss, **({"standardize": False} | options))


def make_split(**options):
    return SplitProblem(make_problem(), GRID, **options)


def of_twin(options):
    """Limits, blocks and signs of the rows, for the twin."""
    limit = np.array(options.get("row_weight", np.ones(M)), dtype=float)
    positive = np.broadcast_to(options.get("positive", False), (M,))
    blocks = None
    if options.get("penalty") == "group":
        groups = options.get("groups", np.arange(M))
        kind = options.get("group_weight", "unit")
        blocks, limit = twins.make_blocks(groups, limit, kind)
    return limit, blocks, positive


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_shrinkage_and_first_entry(case, seed):
    split = make_split(**CASES[case])
    limit, blocks, positive = of_twin(CASES[case])
    z = np.random.default_rng(seed).normal(size=M) * 2
    expected = twins.shrink(z, limit, blocks, positive)
    np.testing.assert_allclose(split.shrink(z[None])[0], expected, rtol=1e-14)
    assert split.first_entry_time(z[None]) == pytest.approx(
        twins.first_time(z, limit, blocks, positive), rel=1e-14
    )


@pytest.mark.parametrize("case", CASES)
def test_first_entry_is_where_the_shrinkage_begins(case):
    split = make_split(**CASES[case])
    slope = np.random.default_rng(1).normal(size=(1, M))
    t0 = split.first_entry_time(slope)
    moves = (split.row_weight > 0) & ~split.never
    assert not split.shrink(t0 * (1 - 1e-12) * slope)[:, moves].any()
    assert split.shrink(t0 * (1 + 1e-12) * slope)[:, moves].any()


def test_several_outputs():
    """l1 takes entries one by one, groups take all outputs of their rows."""
    problem = make_problem("multinomial")
    z = np.random.default_rng(2).normal(size=(3, M))
    plain = SplitProblem(problem, GRID)
    expected = np.sign(z) * np.maximum(np.abs(z) - 1, 0)
    np.testing.assert_allclose(plain.shrink(z), expected, rtol=1e-14)
    assert plain.first_entry_time(z) == pytest.approx(1 / np.abs(z).max())
    rows = SplitProblem(problem, GRID, penalty="group", group_weight="sqrt")
    norm = np.sqrt((z**2).sum(axis=0))
    expected = z * np.maximum(1 - np.sqrt(3) / norm, 0)
    np.testing.assert_allclose(rows.shrink(z), expected, rtol=1e-13, atol=1e-15)
    blocks = SplitProblem(problem, GRID, penalty="group", groups=GROUPS)
    found = blocks.shrink(2 * z)
    for label in np.unique(GROUPS):
        block = 2 * z[:, label == GROUPS]
        size = np.sqrt((block**2).sum())
        np.testing.assert_allclose(
            found[:, label == GROUPS], block * max(1 - 1 / size, 0), rtol=1e-13
        )


def test_nothing_ever_enters():
    split = make_split(row_weight=np.full(M, np.inf))
    z = np.full((1, M), 5.0)
    assert split.first_entry_time(z) == np.inf
    assert not split.shrink(z).any()
    split = make_split(positive=True)
    assert split.first_entry_time(-z) == np.inf
    assert not split.shrink(-z).any()
    assert make_split().first_entry_time(0 * z) == np.inf


@pytest.mark.parametrize("case", CASES)
def test_settings_of_the_rows_give_the_same_problem(case):
    split = make_split(**CASES[case])
    stored = split.split_settings
    again = make_split(
        penalty=split.penalty,
        row_weight=stored["penalty_factor"],
        groups=stored["groups"],
        group_weight=stored["group_weight"],
        positive=split.positive,
    )
    np.testing.assert_allclose(again.row_weight, split.row_weight, rtol=1e-15)
    np.testing.assert_array_equal(again.never, split.never)
    np.testing.assert_array_equal(again.ptr, split.ptr)
    assert not stored["fit_intercept"]
    assert not stored["standardize"]
    if case == "l1":
        assert stored["penalty_factor"] is None


def test_renamed_groups_are_the_same_groups():
    one = make_split(penalty="group", groups=GROUPS)
    names = np.array(list("fbzxac"))[GROUPS]
    two = make_split(penalty="group", groups=names)
    np.testing.assert_array_equal(one.order, two.order)
    np.testing.assert_array_equal(one.ptr, two.ptr)


def test_nu():
    split = make_split()
    norm = np.linalg.norm(twins.grid_rows((3, 4)), 2)
    split.set_nu(2.0, None, 5.0)
    assert split.nu == 2.0
    assert split.nu_raw == pytest.approx(2.0 * norm**2 / 5.0, rel=1e-12)
    split.set_nu(2.0, 0.3, 5.0)
    assert split.nu_raw == 0.3
    assert split.nu == pytest.approx(0.3 * 5.0 / norm**2, rel=1e-12)
    assert split.hessian_norm == 5.0
    split.set_nu(2.0, None, 0.0)  # no column of X says what the unit is
    assert split.nu == split.nu_raw == 2.0


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_original_scale(standardize, fit_intercept):
    X, y, w = make_data(p=P)
    X[:, 4] = 2.5
    options = {"standardize": standardize, "fit_intercept": fit_intercept}
    split = SplitProblem(Problem(X, y, sample_weight=w, **options), GRID)
    frame = twins.scaled(X, w, fit_intercept, standardize)
    np.testing.assert_allclose(split.coef_scale, frame.scale, rtol=1e-12)
    used = np.random.default_rng(0).normal(size=(5, 1, P))
    coefs, intercepts = split.to_original(used)
    assert coefs.shape == (5, 1, P)
    assert intercepts.shape == (5, 1)
    eta = coefs[:, 0] @ X.T + intercepts
    # the centred column of a constant feature is zero
    centred = np.where(frame.usable, X - frame.center, 0.0) / frame.scale
    start = frame.weights @ y if fit_intercept else 0.0
    expected = used[:, 0] @ centred.T + start
    np.testing.assert_allclose(eta, expected, atol=1e-12 * np.abs(X).max())
    _, moved = split.to_original(used, np.full((5, 1), start + 1.0))
    np.testing.assert_allclose(moved, intercepts + 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_weight": np.ones(3)}, r"row_weight has shape \(3,\).*17 rows"),
        ({"row_weight": np.full(M, -2.0)}, "row_weight contains -2.0"),
        ({"row_weight": np.full(M, np.nan)}, "row_weight contains nan"),
        ({"group_weight": "size"}, "group_weight='size'.*'unit', 'sqrt'"),
        ({"penalty": "group", "groups": [1, 2]}, r"shape \(2,\).*17 rows"),
        (
            {"penalty": "group", "groups": GROUPS, "row_weight": np.arange(M) + 1.0},
            "constant within a group",
        ),
        (
            {
                "penalty": "group",
                "groups": np.zeros(M),
                "row_weight": np.r_[np.ones(M - 1), np.inf],
            },
            "constant within a group",
        ),
        ({"penalty": "nuclear"}, "nuclear"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make_split(**options)


def test_columns_of_D():
    with pytest.raises(ValueError, match="D has 13 columns but X has 12"):
        SplitProblem(make_problem(), transforms.differences(13))


@pytest.mark.parametrize("nu", [{"nu": 0.0}, {"nu": np.nan}, {"nu_raw": -1.0}])
def test_bad_nu(nu):
    name = next(iter(nu))
    with pytest.raises(ValueError, match=f"{name}=.*positive"):
        make_split().set_nu(**({"nu": 1.0, "nu_raw": None, "hessian_norm": 1.0} | nu))
