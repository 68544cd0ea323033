"""The subpackage without torch, and what importing it loads."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import sparselbi.torch as subpackage

ROOT = Path(__file__).parents[2]


def test_missing_torch_names_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(vars(subpackage), "DessiLBI", raising=False)
    with pytest.raises(ImportError, match=r'pip install "sparselbi\[torch\]"'):
        _ = subpackage.DessiLBI


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'DessiLBO'"):
        _ = subpackage.DessiLBO
    assert dir(subpackage) == subpackage.__all__


def test_importing_the_subpackage_does_not_import_torch():
    code = "import sys, sparselbi.torch; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.strip() == "False"


def test_all_names_can_be_loaded():
    pytest.importorskip("torch")
    for name in subpackage.__all__:
        assert getattr(subpackage, name).__name__ == name


def test_examples_say_at_once_what_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "sparselbi.torch.examples", raising=False)
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    real = importlib.util.find_spec

    def without(name, package=None):
        return None if name == "torch_pruning" else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(ImportError, match=r"sparselbi\[pruning\]"):
        importlib.import_module("sparselbi.torch.examples")
