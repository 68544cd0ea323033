"""For tests and for the examples in docstrings, which lie outside of tests."""

import importlib.util
import sys

import pytest

# Examples of the optional part need it; in CI it is there.
collect_ignore_glob = []
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob += ["sparselbi/torch/*", "tests/torch/*"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
