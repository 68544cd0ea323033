"""Knots that are added to a path against paths with these knots in their grid."""

import numpy as np
import pytest

from sparselbi.selection.outliers import get_outlier_selector
from sparselbi.shift_problem import ShiftProblem
from sparselbi.solvers._hard_knot import fits_of, with_hard_knot
from sparselbi.solvers.fast_s import fast_s
from sparselbi.solvers.huber import huber_path
from sparselbi.solvers.shift_paths import hard_path

FIELDS = ("knots", "intercepts", "active_coefs", "deviance", "df", "row_entry")


def case(c=None, n=80, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) + 2
    noise = rng.standard_t(2, size=n if c is None else (n, c))
    y = X @ rng.normal(size=(3, *noise.shape[1:])) + noise
    X[:8] += 6.0
    y[:8] += 30.0
    return X, y, rng.integers(0, 4, size=n).astype(float)


def assert_same(one, other):
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-10
        )
    np.testing.assert_array_equal(one.size, other.size)
    for name in ("row", "sign", "enters"):
        np.testing.assert_array_equal(one.row_events[name], other.row_events[name])
    np.testing.assert_allclose(one.row_events["at"], other.row_events["at"], rtol=1e-12)
    np.testing.assert_array_equal(one.info["n_fits"], other.info["n_fits"])
    for knot in one.knots:
        np.testing.assert_array_equal(one.outliers(knot), other.outliers(knot))


@pytest.mark.parametrize("c", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("blocks", [False, True])
def test_knot_is_that_of_a_grid_with_it(c, weighted, blocks):
    X, y, weight = case(c)
    X = [X[:30], X[30:]] if blocks else X
    problem = ShiftProblem(X, y, sample_weight=weight if weighted else None)
    grid = np.geomspace(60.0, 1.0 if c is None else 2.5, 12)
    path = hard_path(problem, thresholds=grid)
    assert path.row_events["enters"].sum() > 20
    for j in (3, 8, 10):
        threshold = float(np.sqrt(grid[j] * grid[j + 1]))
        every = hard_path(problem, thresholds=np.sort([*grid, threshold])[::-1])
        found = with_hard_knot(path, problem, threshold)
        assert threshold in found.knots
        assert_same(found, every)
        # From the start itself, in place of what is stored of it.
        start = fast_s(problem.design)
        assert_same(with_hard_knot(path, problem, threshold, start), every)
    if not blocks:
        assert found.verify(X, y, weight if weighted else None).gradient.max() < 1e-9


def test_rows_that_come_back():
    # Fits at neighbouring thresholds differ in rows that go, and in rows that come.
    seen = False
    for seed in range(12):
        X, y, _ = case(n=40, seed=seed)
        problem = ShiftProblem(X, y)
        fine = hard_path(problem, thresholds=np.geomspace(20.0, 0.5, 80))
        back = np.flatnonzero(~fine.row_events["enters"])
        for event in back[:3]:
            k = int(np.flatnonzero(fine.knots == fine.row_events["at"][event])[0])
            if k == len(fine) - 1:
                continue
            short = hard_path(problem, thresholds=np.delete(fine.knots, k))
            assert_same(with_hard_knot(short, problem, fine.knots[k]), fine)
            seen = True
    assert seen


def test_several_knots_in_any_order():
    X, y, _ = case()
    problem = ShiftProblem(X, y)
    path = hard_path(problem)
    more = np.sqrt(path.knots[[40, 10, 25]] * path.knots[[41, 11, 26]])
    found = path
    for threshold in more:
        found = with_hard_knot(found, problem, threshold)
    every = hard_path(problem, thresholds=np.sort([*path.knots, *more])[::-1])
    assert_same(found, every)
    assert (
        found.n_iter == path.n_iter + np.isin(found.knots, more) @ every.info["n_fits"]
    )


def test_knots_are_not_added_twice():
    X, y, _ = case()
    problem = ShiftProblem(X, y)
    path = hard_path(problem)
    for knot in (path.knots[0], path.knots[7], path.knots[-1], 2 * path.knots[0]):
        assert with_hard_knot(path, problem, knot) is path
        assert with_hard_knot(path, problem, knot * (1 + 1e-14)) is path
        assert with_hard_knot(path, problem, knot * (1 - 1e-14)) is path


def test_a_number_means_that_threshold():
    X, y, _ = case()
    problem = ShiftProblem(X, y)
    path = hard_path(problem)
    for share in (0.3, 0.5, 0.9):
        wanted = float(path.knots[20] * share + path.knots[21] * (1 - share))
        rule = get_outlier_selector(wanted, "hard")
        snapped = rule.select(path, problem)
        assert snapped.quantities["threshold_of_fit"] == path.knots[20]
        longer = with_hard_knot(path, problem, snapped.knot)
        found = rule.select(longer, problem)
        assert found.knot == wanted == longer.knots[found.index]
        assert "threshold_of_fit" not in found.quantities
        # A fixed point of this threshold, not of a knot nearby.
        mask = longer.outliers(found.knot)
        residual = np.abs(longer.residuals(X, y, found.knot))
        np.testing.assert_array_equal(mask, residual > wanted)


def test_scale_zero():
    X, y, _ = case(n=60)
    y = X.sum(axis=1)
    off = [1, 7, 30, 31]
    y[off] += [1e-3, -2.0, 5.0, 1e4]
    problem = ShiftProblem(X, y)
    path = hard_path(problem)
    assert path.info["scale"] == 0
    found = with_hard_knot(path, problem, 1.0)
    assert 1.0 in found.knots
    np.testing.assert_array_equal(np.flatnonzero(found.outliers(1.0)), off[1:])
    np.testing.assert_allclose(found.at(1.0).coef, 1.0, atol=1e-3)
    found = with_hard_knot(path, problem, float(path.knots[-2]) / 3)
    np.testing.assert_array_equal(np.flatnonzero(found.outliers(found.knots[-2])), off)


def test_saved_paths(tmp_path):
    X, y, _ = case()
    problem = ShiftProblem(X, y)
    path = hard_path(problem)
    threshold = float(np.sqrt(path.knots[12] * path.knots[13]))
    path.save(tmp_path / "path.npz")
    loaded = type(path).load(tmp_path / "path.npz")
    assert_same(
        with_hard_knot(loaded, problem, threshold),
        with_hard_knot(path, problem, threshold),
    )


def test_arguments():
    X, y, _ = case()
    problem = ShiftProblem(X, y)
    path = hard_path(problem)
    with pytest.raises(ValueError, match="these are not the data of the path"):
        with_hard_knot(path, ShiftProblem(X, y[::-1]), 5.0)
    with pytest.raises(ValueError, match="smaller thresholds, down to"):
        with_hard_knot(path, problem, path.knots[-1] / 2)
    with pytest.raises(ValueError, match="must be a number"):
        with_hard_knot(path, problem, -1.0)
    with pytest.raises(ValueError, match="only fits of method 'hard'"):
        fits_of(huber_path(problem), problem)
