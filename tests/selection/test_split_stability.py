"""What the supports of several paths have in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselbi import LBI, Problem, iss_path
from sparselbi.penalties.transforms import differences, identity, stack
from sparselbi.selection import CrossValidation
from sparselbi.selection.split_stability import dice_coefficient, support_agreement
from sparselbi.solvers.split_lbi import split_iss_path, split_lbi_path
from tests.common import make_data


def folds(kind, **options):
    X, y, _ = make_data(n=60)
    problem = Problem(X, y, standardize=False)
    D = stack(differences(12), identity(12))
    if kind == "lbi":
        return LBI(selector=CrossValidation(keep_paths=True)).fit(X, y).selection_
    trace = split_iss_path if kind == "split_iss" else split_lbi_path
    path = trace(problem, D, nu=2.0, **options)
    return CrossValidation(cv=4, keep_paths=True).select(path, problem)


def test_dice_by_hand():
    one, two, three = [0, 1, 2], [1, 2, 3, 4], [2, 1]
    assert dice_coefficient([one, two]) == pytest.approx(2 * 2 / 7)
    assert dice_coefficient([one, two, three]) == pytest.approx(3 * 2 / 9)
    masks = [np.isin(np.arange(6), s) for s in (one, two, three)]
    assert dice_coefficient(masks) == pytest.approx(3 * 2 / 9)
    assert dice_coefficient([one]) == 1.0
    assert dice_coefficient([one, []]) == 0.0
    assert np.isnan(dice_coefficient([[], []]))
    assert np.isnan(dice_coefficient(np.zeros((3, 4), dtype=bool)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 9)), min_size=2, max_size=5), st.randoms())
def test_dice_is_symmetric_and_between_zero_and_one(sets, random):
    masks = np.array([[j in s for j in range(10)] for s in sets])
    value = dice_coefficient(masks)
    order = random.sample(range(len(sets)), len(sets))
    columns = random.sample(range(10), 10)
    np.testing.assert_equal(dice_coefficient(masks[order][:, columns]), value)
    if not masks.any():
        assert np.isnan(value)
        return
    assert 0 <= value <= 1
    assert (value == 1) == (masks == masks[0]).all()
    assert (value == 0) == (not masks.all(axis=0).any())
    pairs = [dice_coefficient(masks[[0, k]]) for k in range(1, len(masks))]
    if len(sets) == 2:
        assert value == pytest.approx(pairs[0])


@pytest.mark.parametrize("kind", ["lbi", "split_lbi", "split_iss"])
@pytest.mark.parametrize("which", [None, "rows", "features"])
def test_agreement_is_the_dice_coefficient_at_each_time(kind, which):
    if kind == "lbi" and which == "rows":
        return
    paths = folds(kind).fold_paths
    knots = np.geomspace(paths[0].t0, paths[0].knots[-1], 7)
    result = support_agreement(paths, knots, which=which)
    rows = kind != "lbi" and which != "features"
    assert result.unit == ("rows" if rows else "features")
    for k, t in enumerate(knots):
        if rows:
            supports = [path.active_rows(t) for path in paths]
        elif kind == "lbi":
            supports = [path.at(t).coef != 0 for path in paths]
        else:
            supports = [path.projected(t).coef != 0 for path in paths]
        assert result.value[k] == pytest.approx(dice_coefficient(supports), nan_ok=True)
        assert result.mean_size[k] == np.mean([s.sum() for s in supports])
    assert f"of {len(paths)} paths" in repr(result)


def test_the_grid_runs_from_the_first_entry_to_the_earliest_end():
    paths = folds("split_lbi", t_max=5.0).fold_paths
    result = support_agreement(paths)
    assert result.knots[0] == pytest.approx(min(path.t0 for path in paths))
    assert result.knots[-1] <= min(path.knots[-1] for path in paths) * (1 + 1e-9)
    assert len(result.knots) == 100
    assert result.n_paths == 4
    same = support_agreement([paths[0]] * 3)
    assert (same.value[same.mean_size > 0] == 1).all()


def test_what_is_in_from_the_start_does_not_count():
    X, y, _ = make_data(n=40)
    factor = np.ones(12)
    factor[:3] = 0
    paths = [
        iss_path(Problem(X[rows], y[rows], penalty_factor=factor))
        for rows in (slice(0, 30), slice(10, 40))
    ]
    t = 1.5 * max(path.t0 for path in paths)
    supports = [np.setdiff1d(path.support(t), [0, 1, 2]) for path in paths]
    found = support_agreement(paths, t)
    assert found.value[0] == pytest.approx(dice_coefficient(supports))
    weight = np.ones(12)
    weight[:3] = 0
    paths = [
        split_iss_path(Problem(X[rows], y[rows]), None, row_weight=weight)
        for rows in (slice(0, 30), slice(10, 40))
    ]
    t = 1.5 * max(path.t0 for path in paths)
    masks = [path.active_rows(t)[3:] for path in paths]
    assert support_agreement(paths, t).value[0] == pytest.approx(
        dice_coefficient(masks)
    )


def test_bad_arguments():
    X, y, _ = make_data(n=40)
    path = iss_path(Problem(X, y))
    with pytest.raises(ValueError, match=r"got 1 path\(s\)"):
        support_agreement([path])
    with pytest.raises(ValueError, match="which='edges' is unknown"):
        support_agreement([path, path], which="edges")
    with pytest.raises(ValueError, match="needs paths of Split LBI"):
        support_agreement([path, path], which="rows")
    other = iss_path(Problem(X[:, :5], y))
    with pytest.raises(ValueError, match=r"have \[5, 12\] features"):
        support_agreement([path, other])
    with pytest.raises(ValueError, match="supports is empty"):
        dice_coefficient([])
    with pytest.raises(ValueError, match="masks of one length"):
        dice_coefficient([np.ones(3, dtype=bool), np.ones(4, dtype=bool)])
