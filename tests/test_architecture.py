"""Imports point one way, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sparselbi"
# Module-level imports go from right to left only. `datasets` and `plotting` stand at
# the side: they may use everything to their left, nothing imports them.
LAYERS = (
    *("_utils", "_kernels", "losses", "penalties", "problem"),
    *("_row_sums", "row_moments", "_row_basis", "diagnostics"),
    *("_path_checks", "_path_interpolation", "_path_io", "_path_views", "path"),
    *("split_path", "scales", "_shift_design", "_shift_stream"),
    *("_logistic_votes", "_vote_labels", "_vote_design"),
    *("_comparison_graph", "_graph_design", "_pair_columns", "_feature_design"),
    *(
        "shift_problem",
        "shift_path",
        "_shift_checks",
        "hodge",
        "win_proportions",
        "vote_noise",
        "votes",
        "comparison_problem",
        "vote_path",
    ),
    *("solvers", "selection", "estimators", "datasets", "plotting", "l2o", "torch"),
)
SIDE = {"datasets", "plotting", "l2o", "torch"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_at_import_time(file):
    """Dotted package modules that `file` imports outside of functions."""
    here = ("sparselbi", *file.relative_to(PACKAGE).with_suffix("").parts)
    queue = list(ast.parse(file.read_text(encoding="utf-8")).body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        queue.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (tuple(name.name.split(".")) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            module = base + tuple((node.module or "").split(".") if node.module else ())
            yield from (module + (name.name,) for name in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file):
    unit = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if unit in ("__init__", "__main__"):
        return
    assert unit in LAYERS, f"add {unit!r} to LAYERS"
    for target in imported_at_import_time(file):
        if target[0] != "sparselbi" or target[1:2] == (unit,):
            continue
        assert len(target) > 1, f"{file.name} imports the package itself"
        assert target[1] in LAYERS, f"{file.name} imports {'.'.join(target)}"
        assert target[1] not in SIDE, f"{unit} imports {target[1]}"
        assert LAYERS.index(target[1]) < LAYERS.index(unit), (
            f"{unit} imports {target[1]}"
        )


def test_importing_the_package_is_cheap():
    heavy = ["torch", "matplotlib", "pandas", "numba", "sklearn"]
    code = f"import sys, sparselbi; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert done.stdout.strip() == "[]"
