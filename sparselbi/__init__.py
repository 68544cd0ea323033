"""sparselbi: whole regularization paths by Linearized Bregman Iteration.

Public names are loaded on first use, so that ``import sparselbi`` stays cheap and
never imports matplotlib, pandas or torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sparselbi")
except PackageNotFoundError:  # a source tree that has not been installed
    __version__ = "0+unknown"

_HOME = {
    "ComparisonProblem": "sparselbi.comparison_problem",
    "HuberRegression": "sparselbi.estimators",
    "LBI": "sparselbi.estimators",
    "LBIClassifier": "sparselbi.estimators",
    "OutlierRegression": "sparselbi.estimators",
    "PairwiseRanker": "sparselbi.estimators",
    "Problem": "sparselbi.problem",
    "RegressionDiagnostics": "sparselbi.diagnostics",
    "RegularizationPath": "sparselbi.path",
    "RowMoments": "sparselbi.row_moments",
    "ShiftPath": "sparselbi.shift_path",
    "ShiftProblem": "sparselbi.shift_problem",
    "SplitLBI": "sparselbi.estimators",
    "SplitLBIClassifier": "sparselbi.estimators",
    "SplitPath": "sparselbi.split_path",
    "VotePath": "sparselbi.vote_path",
    "hard_path": "sparselbi.solvers",
    "huber_path": "sparselbi.solvers",
    "iss_path": "sparselbi.solvers",
    "lbi_path": "sparselbi.solvers",
    "regression_diagnostics": "sparselbi.diagnostics",
    "shift_iss_path": "sparselbi.solvers",
    "shift_lbi_path": "sparselbi.solvers",
    "split_iss_path": "sparselbi.solvers",
    "split_lbi_path": "sparselbi.solvers",
    "warmup": "sparselbi.solvers",
}
_SUBPACKAGES = (
    "datasets",
    "estimators",
    "losses",
    "penalties",
    "plotting",
    "selection",
    "solvers",
)

__all__ = ["__version__", *sorted(_HOME), *_SUBPACKAGES]  # noqa: PLE0604


def __getattr__(name):
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _SUBPACKAGES:
        value = import_module(f"sparselbi.{name}")
    else:
        raise AttributeError(f"module 'sparselbi' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
