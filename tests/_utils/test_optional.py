"""Optional packages."""

import math

import pytest

from sparselbi._utils.optional import import_optional


def test_returns_the_module():
    assert import_optional("math", "data") is math


def test_missing_package_names_the_command():
    with pytest.raises(ImportError, match=r'pip install "sparselbi\[data\]"'):
        import_optional("sparselbi_no_such_package", "data")
