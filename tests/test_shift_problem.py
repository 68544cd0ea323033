"""ShiftProblem and its coordinates against plain least squares on the data."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sparselbi._shift_design import SingularFit
from sparselbi.shift_problem import ShiftProblem


def make(n=50, p=4, c=1, seed=0, weights=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.1, 50, p) + rng.normal(size=p) * 100
    Y = X @ rng.normal(size=(p, c)) + rng.normal(size=(n, c)) + 7
    w = rng.integers(0, 4, n).astype(float) if weights else None
    return X, Y[:, 0] if c == 1 else Y, w


def fit(X, Y, w, intercept):
    """Residuals of weighted least squares by lstsq."""
    A = np.column_stack([np.ones(len(X)), X]) if intercept else X
    root = np.ones(len(X)) if w is None else np.sqrt(w)
    Y = Y.reshape(len(X), -1)
    coef = np.linalg.lstsq(A * root[:, None], Y * root[:, None], rcond=None)[0]
    return Y - A @ coef


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("c", [1, 3])
def test_residuals_are_those_of_the_data(intercept, weights, c):
    X, y, w = make(c=c, weights=weights)
    design = ShiftProblem(X, y, sample_weight=w, fit_intercept=intercept).design
    weight = np.ones(len(X)) if w is None else w
    gram = design.Z.T @ (weight[:, None] * design.Z)
    np.testing.assert_allclose(gram, np.eye(design.n_coords), atol=1e-13)
    expected = fit(X, y, w, intercept)
    found = design.residuals(design.least_squares())
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(
        design.norms(design.least_squares()), np.linalg.norm(expected, axis=1)
    )
    coords = np.random.default_rng(1).normal(size=(design.n_coords, c))
    coef, constant = design.to_coefs(coords)
    by_hand = y.reshape(len(X), -1) - X @ coef.T - constant
    np.testing.assert_allclose(design.residuals(coords), by_hand, atol=1e-10)


@pytest.mark.parametrize("share", [0.2, 0.7])
@pytest.mark.parametrize("weights", [True, False])
def test_fits_of_some_rows(share, weights):
    X, y, w = make(n=80, weights=weights)
    design = ShiftProblem(X, y, sample_weight=w).design
    kept = np.random.default_rng(3).random(80) < share
    weight = np.where(kept, 1.0 if w is None else w, 0.0)
    found = design.residuals(design.least_squares(kept))
    expected = fit(X, y, weight, True)
    used = weight > 0
    np.testing.assert_allclose(found[used], expected[used], atol=1e-9)


def test_rows_that_do_not_determine_the_fit():
    X, y, _ = make(n=20, p=3)
    X[5:, 2] = 4.0
    kept = np.arange(20) >= 5
    with pytest.raises(SingularFit, match="15 rows that are kept"):
        ShiftProblem(X, y).design.least_squares(kept)


def test_limits():
    X, y, _ = make(n=20)
    factor = np.linspace(0.5, 2, 20)
    factor[[3, 4]] = np.inf
    problem = ShiftProblem(X, y, row_factor=factor)
    finite = np.isfinite(factor)
    for threshold in (0.0, 1.5, 1e308, np.inf):
        limits = problem.limits(threshold)
        assert np.isinf(limits[~finite]).all()
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(limits[finite], threshold * factor[finite])


def test_leverages():
    X, y, w = make(weights=True)
    problem = ShiftProblem(X, y, sample_weight=w)
    A = np.column_stack([np.ones(len(X)), X]) * np.sqrt(w)[:, None]
    hat = A @ np.linalg.pinv(A)
    np.testing.assert_allclose(problem.leverage, np.diagonal(hat), atol=1e-10)


def test_leverage_as_row_factor_does_not_see_repetition():
    X, y, _ = make(n=12)
    w = np.arange(12) % 3 + 1.0
    rows = np.repeat(np.arange(12), w.astype(int))
    once = ShiftProblem(X, y, sample_weight=w, row_factor="leverage")
    repeated = ShiftProblem(X[rows], y[rows], row_factor="leverage")
    np.testing.assert_allclose(once.row_factor[rows], repeated.row_factor, rtol=1e-9)


def test_rows_of_leverage_one_are_never_shifted():
    X, y, _ = make(n=15)
    X = np.column_stack([X, np.zeros(15)])
    X[3, -1] = 2.0
    assert np.flatnonzero(np.isinf(ShiftProblem(X, y).row_factor)).tolist() == [3]


def test_new_rows_outside_of_the_row_space_are_never_shifted():
    X, y, _ = make(n=15)
    X = np.column_stack([X, np.zeros(15)])
    X[3, -1] = 2.0
    w = np.ones(15)
    w[3] = 0
    problem = ShiftProblem(X, y, sample_weight=w)
    assert problem.rank == 5
    assert np.flatnonzero(np.isinf(problem.row_factor)).tolist() == [3]


def test_rank_deficiency_and_constant_columns():
    X, y, _ = make()
    more = np.column_stack([X, X[:, 0] - 2 * X[:, 1], np.full(len(X), 3.0)])
    problem, full = ShiftProblem(more, y), ShiftProblem(X, y)
    assert problem.rank == full.rank == 5
    assert problem.df == 45
    coef, _ = problem.design.to_coefs(problem.design.least_squares())
    assert coef[0, -1] == 0
    expected = full.design.residuals(full.design.least_squares())
    found = problem.design.residuals(problem.design.least_squares())
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(st.integers(0, 1000), st.floats(-6, 6), st.floats(-8, 8))
def test_coordinates_do_not_know_units(seed, log_scale, shift):
    X, y, _ = make(n=20, p=2, seed=seed)
    other = X * 10**log_scale + 10**log_scale * shift * 1e3
    a, b = ShiftProblem(X, y).design, ShiftProblem(other, y).design
    np.testing.assert_allclose(
        a.residuals(a.least_squares()), b.residuals(b.least_squares()), atol=1e-7
    )


@pytest.mark.parametrize("layout", [sp.csr_array, sp.csc_matrix, np.asfortranarray])
def test_layouts(layout):
    X, y, _ = make()
    plain, other = ShiftProblem(X, y).design, ShiftProblem(layout(X), y).design
    np.testing.assert_allclose(
        plain.residuals(plain.least_squares()),
        other.residuals(other.least_squares()),
        atol=1e-9,
    )


def test_labels_are_one_hot():
    X, _, _ = make()
    labels = np.array(["b", "a", "c"])[np.arange(len(X)) % 3]
    problem = ShiftProblem(X, labels, classes="auto")
    codes = (labels[:, None] == ["a", "b", "c"]).astype(float)
    expected = ShiftProblem(X, codes)
    assert problem.classes.tolist() == ["a", "b", "c"]
    assert problem.n_outputs == 3
    a, b = problem.design, expected.design
    np.testing.assert_allclose(a.least_squares(), b.least_squares(), atol=1e-13)
    np.testing.assert_array_equal(problem.arrays()[1], codes)
    four = ShiftProblem(X, labels, classes=["d", "c", "b", "a"])
    assert four.n_outputs == 4


def test_subset_asks_the_same_of_some_rows():
    X, y, w = make(weights=True)
    factor = np.linspace(1, 2, len(X))
    problem = ShiftProblem(X, y, sample_weight=w + 1, row_factor=factor)
    rows = np.arange(5, 30)
    some = problem.subset(rows)
    again = ShiftProblem(X[rows], y[rows], sample_weight=w[rows] + 1)
    np.testing.assert_array_equal(some.row_factor, factor[rows])
    np.testing.assert_allclose(
        some.design.least_squares(), again.design.least_squares()
    )
    labelled = ShiftProblem(X, np.arange(50) % 3, classes="auto").subset(rows)
    assert labelled.n_outputs == 3


def test_frames_and_lists():
    X, y, _ = make()
    frame = pd.DataFrame(X, columns=list("abcd"))
    assert ShiftProblem(frame, pd.Series(y)).feature_names == tuple("abcd")
    assert ShiftProblem(X.tolist(), y.tolist()).n_samples == 50


X, Y, _ = make(n=10, p=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": X[:3], "y": Y[:3]}, r"3 rows .* and 2 features: .* leaves no residuals"),
        ({"X": X[:2], "y": Y[:2]}, "Robust regression needs more rows"),
        ({"X": X[:1], "y": Y[:1]}, r"1 row\(s\)"),
        ({"y": Y[:5]}, r"X has 10 rows but y has shape \(5,\)"),
        ({"y": np.where(np.arange(10) == 4, np.nan, Y)}, "y contains nan in row 4"),
        ({"X": np.where(X[2, 1] == X, np.inf, X)}, "X contains inf in row 2, column 1"),
        ({"sample_weight": np.zeros(10)}, "sample_weight is zero everywhere"),
        ({"sample_weight": -np.ones(10)}, "sample_weight contains -1.0"),
        ({"row_factor": "h"}, "row_factor='h' is unknown; use 'leverage'"),
        ({"row_factor": np.zeros(10)}, "row_factor contains 0.0"),
        ({"row_factor": np.ones(3)}, r"row_factor has shape \(3,\)"),
        ({"row_factor": np.full(10, np.inf)}, "no row that could be shifted"),
        ({"y": np.arange(10) % 2, "classes": [0, 5]}, "label 1 in row 1, which is no"),
        ({"y": np.zeros(10), "classes": "auto"}, "fewer than two labels"),
        ({"classes": "all"}, "classes='all' is unknown"),
        ({"X": X[:, :0]}, r"X has shape \(10, 0\)"),
        ({"X": (X[:5], X[5:, :1])}, r"blocks of X have \[1, 2\] columns"),
        ({"y": list("abcdefghij")}, "y has dtype <U1, which is not numeric"),
    ],
)
def test_bad_input(arguments, message):
    given = {"X": X, "y": Y} | arguments
    with pytest.raises(ValueError, match=message):
        ShiftProblem(given.pop("X"), given.pop("y"), **given)
