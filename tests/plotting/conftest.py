"""Paths to draw: traced ones, and one made by hand for several classes."""

import numpy as np
import pytest

from sparselbi import Problem, iss_path, lbi_path
from sparselbi.losses import get_loss
from sparselbi.selection import with_statistics
from tests.common import make_data
from tests.plotting.common import make_path, many_coefs


@pytest.fixture(scope="session")
def problem():
    X, y, _ = make_data(n=60, p=12)
    return Problem(X, y)


@pytest.fixture(scope="session")
def lbi(problem):
    return with_statistics(lbi_path(problem), problem)


@pytest.fixture(scope="session")
def iss(problem):
    return with_statistics(iss_path(problem), problem)


@pytest.fixture(params=["lbi", "iss"])
def path(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def classes_path():
    """Three classes, 8 features; feature 0 is never active, 1 only in class b."""
    coefs = many_coefs(8, lead=(3,))
    coefs[:, [0, 2], 1] = 0
    loss = get_loss("multinomial")
    return make_path(coefs, loss=loss, classes=np.array(["a", "b", "c"]))
