"""What `certify_rows` says of a path, against optimal fits."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from sparselbi import ShiftProblem
from sparselbi.solvers import certify_rows, hard_path, huber_path


def make(seed=0, n=120, c=1, **options):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1, 10, 0.1] + [5, 0, 100]
    Y = X @ rng.normal(size=(3, c)) + rng.normal(size=(n, c)) + 7
    Y[: n // 6] += 8
    if options.pop("weighted", False):
        options["sample_weight"] = rng.integers(0, 3, n).astype(float)
    if options.pop("factors", False):
        options["row_factor"] = rng.uniform(0.5, 2, n)
        options["row_factor"][[1, 7]] = np.inf
    return X, Y[:, 0] if c == 1 else Y, options


CASES = [
    {},
    {"c": 3},
    {"weighted": True, "factors": True},
    {"c": 2, "weighted": True, "factors": True, "fit_intercept": False},
]


@pytest.mark.parametrize("layout", ["dense", "sparse", "blocks"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_certificates_agree_with_an_accurate_fit(case, layout):
    X, y, options = make(**case)
    problem = ShiftProblem(X, y, **options)
    threshold = 1.3
    best = huber_path(problem, route="grid", thresholds=[threshold], tol=1e-13)
    length = np.linalg.norm(best.residuals(X, y, threshold).reshape(len(X), -1), axis=1)
    shifted = length > problem.limits(threshold)
    if layout == "sparse":
        problem = ShiftProblem(sp.csr_array(X), y, **options)
    if layout == "blocks":
        problem = ShiftProblem([X[:50], X[50:]], y, **options)
        assert not problem.design.dense
    gaps = []
    for tol in (1e-10, 1e-3):
        path = huber_path(problem, route="grid", thresholds=[3.0, threshold], tol=tol)
        found = certify_rows(problem, path, threshold)
        assert not (found.active & ~shifted).any()
        assert not (found.inactive & shifted).any()
        assert found.threshold == threshold
        gaps.append(found.gap)
        if tol < 1e-6:
            decided = found.active | found.inactive
            assert decided[np.abs(length / problem.limits(threshold) - 1) > 0.01].all()
    assert 0 <= gaps[0] < gaps[1]


def test_the_gap_bounds_the_distance_to_the_minimum():
    X, y, _ = make(c=2)
    problem = ShiftProblem(X, y)
    path = huber_path(problem, tol=1e-3, n_knots=8)

    def objective(fit, threshold):
        length = np.linalg.norm(fit.residuals(X, y, threshold), axis=1)
        inside = np.minimum(length, threshold)
        return np.sum(inside * (length - inside / 2))

    # At knots, and in between, where the fit is read linearly.
    for knot in (*path.knots[1:], *(path.knots[1:-1] + path.knots[2:]) / 2):
        lowest = huber_path(problem, thresholds=[knot], tol=1e-13)
        excess = objective(path, knot) - objective(lowest, knot)
        assert excess <= certify_rows(problem, path, knot).gap * (1 + 1e-9)


def test_between_knots_of_a_grid():
    X, y, _ = make()
    problem = ShiftProblem(X, y)
    exact, grid = huber_path(problem), huber_path(problem, route="grid", n_knots=20)
    for threshold in np.sqrt(grid.knots[3:-1] * grid.knots[4:]):
        found = certify_rows(problem, grid, threshold)
        shifted = exact.outliers(threshold)
        assert not (found.active & ~shifted).any()
        assert not (found.inactive & shifted).any()


def test_above_the_first_entry_nobody_is_shifted():
    X, y, _ = make()
    problem = ShiftProblem(X, y)
    path = huber_path(problem)
    found = certify_rows(problem, path, 2 * path.threshold_max)
    assert found.inactive.all()
    assert not found.active.any()


def test_bad_arguments():
    X, y, _ = make()
    problem = ShiftProblem(X, y)
    path = huber_path(problem, max_outliers=10)
    with pytest.raises(ValueError, match="threshold=0 must be positive"):
        certify_rows(problem, path, 0)
    with pytest.raises(ValueError, match="beyond the traced range"):
        certify_rows(problem, path, 1e-3)
    with pytest.raises(ValueError, match="method 'hard'"):
        certify_rows(problem, hard_path(problem), 1.0)
    with pytest.raises(ValueError, match="residual"):
        certify_rows(ShiftProblem(X, 2 * y), path, path.knots[-1])
    moved = dataclasses.replace(path, active_coefs=path.active_coefs + 0.1)
    far = certify_rows(problem, moved, path.knots[-1])
    assert far.gap > certify_rows(problem, path, path.knots[-1]).gap
