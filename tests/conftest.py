"""Settings and fixtures of the whole test suite."""

import os
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"  # before anything imports matplotlib

import pytest
from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")

NO_SKIP = os.environ.get("SPARSELBI_NO_SKIP") == "1"


@pytest.fixture(scope="session")
def data_dir():
    """Folder with the larger data sets, named by SPARSELBI_DATA."""
    folder = os.environ.get("SPARSELBI_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"SPARSELBI_DATA names no folder: {folder!r}"
    return pytest.fail(reason) if NO_SKIP else pytest.skip(reason)


def pytest_sessionfinish(session):
    """With SPARSELBI_NO_SKIP=1, skips make the run fail, doctests included."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not (NO_SKIP and reporter):  # worker processes have no reporter
        return
    if reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    if NO_SKIP and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("SPARSELBI_NO_SKIP=1: skips are failures", red=True)
