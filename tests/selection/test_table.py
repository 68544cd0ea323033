import dataclasses

import numpy as np
import pytest

from sparselbi import Problem
from sparselbi.selection import (
    SELECTORS,
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


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_names(name):
    selector = get_selector(name)
    assert isinstance(selector, InformationCriterion)
    assert selector.criterion == name


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
    with pytest.raises(ValueError, match=r"use one of \['aic', 'bic', 'ebic'\]"):
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
