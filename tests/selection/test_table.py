import dataclasses

import numpy as np
import pytest

from sparselbi import Problem
from sparselbi.selection import (
    SELECTORS,
    CrossValidation,
    FixedKnot,
    InformationCriterion,
    Selection,
    get_selector,
)
from tests.common import make_data
from tests.selection.paths import support_path


@pytest.fixture(scope="module")
def path():
    data = make_data(n=40, p=6)
    return support_path(Problem(data.X, data.y), [[], [0], [0, 1]])


@pytest.mark.parametrize("name", ["aic", "bic", "ebic"])
def test_names_of_criteria(name):
    selector = get_selector(name, refit=True, n_jobs=2)
    assert repr(selector) == repr(InformationCriterion(name))


def test_names_of_cross_validation():
    assert sorted(SELECTORS) == ["aic", "bic", "cv", "cv_1se", "ebic"]
    assert get_selector("cv") == CrossValidation("min")
    expected = CrossValidation("1se", refit=True, n_jobs=2, random_state=7)
    assert get_selector("cv_1se", refit=True, n_jobs=2, random_state=7) == expected


def test_numbers_are_fixed_knots(path):
    for number in (1.5, np.float64(1.5), np.float32(1.5)):
        selection = get_selector(number).select(path)
        assert isinstance(selection, Selection)
        assert (selection.knot, selection.index) == (1.5, 1)
        assert selection.quantities["size"] == 1
    assert get_selector(1).select(path).index == 1
    assert get_selector(2).select(path).quantities["size"] == 2
    assert "fixed" in repr(selection)
    assert "1.5" in repr(selection)


def test_objects_with_select_are_taken_as_they_are():
    class Last:
        def select(self, path, problem=None):
            return Selection("last", path.knots[-1], len(path) - 1, path.knots, {})

    selector = Last()
    assert get_selector(selector) is selector
    rule = InformationCriterion("bic", cap=3)
    assert get_selector(rule) is rule


@pytest.mark.parametrize("spec", ["cp", None, True, InformationCriterion, 1j])
def test_unknown_selectors(spec):
    with pytest.raises(
        ValueError, match=r"use one of \['aic', 'bic', 'cv', 'cv_1se', 'ebic'\]"
    ):
        get_selector(spec)


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_fixed_knot_must_be_a_number(value):
    with pytest.raises(ValueError, match="nonnegative"):
        FixedKnot(value)


def test_fixed_knot_beyond_the_traced_range():
    data = make_data(n=40, p=6)
    path = support_path(Problem(data.X, data.y), [[], [0], [0, 1]])
    path = dataclasses.replace(path, status="t_max")
    with pytest.raises(ValueError, match="beyond the traced range"):
        FixedKnot(3.0).select(path)
