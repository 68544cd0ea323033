"""Whether a path and data belong together."""

import numpy as np
import pytest

from sparselbi._shift_checks import (
    check_same_rows,
    check_thresholds,
    largest_threshold,
)
from sparselbi.shift_problem import ShiftProblem
from sparselbi.solvers.huber import huber_path
from sparselbi.solvers.shift_paths import hard_path


def case(c=None):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = X.sum(axis=1) + rng.normal(size=40)
    if c is not None:
        y = np.column_stack([y, *rng.normal(size=(c - 1, 40))])
    return X, y, rng.integers(0, 3, size=40).astype(float)


@pytest.mark.parametrize("c", [None, 2])
@pytest.mark.parametrize("make", [hard_path, huber_path])
def test_same_data_in_other_layouts(make, c):
    X, y, weight = case(c)
    factor = np.linspace(0.5, 2.0, 40)
    options = {"sample_weight": weight, "row_factor": factor}
    path = make(ShiftProblem(X, y, **options))
    for layout in (X, np.asfortranarray(X), [X[:15], X[15:]]):
        check_same_rows(path, ShiftProblem(layout, y, **options))
    assert path.threshold_max == pytest.approx(
        largest_threshold(ShiftProblem(X, y, **options).design, factor), rel=1e-12
    )


def test_other_data():
    X, y, weight = case()
    factor = np.linspace(0.5, 2.0, 40)
    path = hard_path(ShiftProblem(X, y))
    moved = y.copy()
    moved[3] += 1e-3
    for other in (
        ShiftProblem(X, y[::-1]),
        ShiftProblem(X, moved),
        ShiftProblem(X[:, :2], y),
        ShiftProblem(X, y, row_factor=factor),
        ShiftProblem(X, y, fit_intercept=False),
    ):
        with pytest.raises(ValueError, match="these are not the data of the path"):
            check_same_rows(path, other)
    for other in (
        ShiftProblem(X[1:], y[1:]),
        ShiftProblem(X, y, sample_weight=weight),
    ):
        with pytest.raises(ValueError, match=r"traced on 40 rows \(total weight 40\)"):
            check_same_rows(path, other)


def test_perfect_fits_are_the_same_up_to_rounding():
    X, _, _ = case()
    problem = ShiftProblem(X, 1e6 * X.sum(axis=1))
    path = hard_path(problem)
    assert path.threshold_max == 0
    check_same_rows(path, problem)
    check_same_rows(path, ShiftProblem([X[:15], X[15:]], 1e6 * X.sum(axis=1)))


def test_thresholds():
    np.testing.assert_array_equal(check_thresholds([3, 2, 1.0]), [3.0, 2.0, 1.0])
    assert check_thresholds([1.0, 0.0], zero=True)[-1] == 0
    for bad in ([], [1.0, 2.0], [2.0, 2.0], [[2.0], [1.0]], [2.0, np.nan]):
        with pytest.raises(ValueError, match="must be a decreasing sequence"):
            check_thresholds(bad)
    for bad in ([1.0, 0.0], [np.inf, 1.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="must be positive and finite"):
            check_thresholds(bad)
    with pytest.raises(ValueError, match="must be not negative and finite"):
        check_thresholds([1.0, -1.0], zero=True)
