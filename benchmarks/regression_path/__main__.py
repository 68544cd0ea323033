"""``python -m benchmarks.regression_path [--quick] [--output DIR] [--repeats 7]``.

All solvers run in this process, one thread, in turns (every round runs each solver
once, so that a drifting machine hits all of them), after an untimed first run that
compiles. Writes `regression_path.csv` (one row per timing), `regression_path.md`
(tables) and `regression_path.png`.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import startup
from . import datasets, measure, objective, report
from .solvers import SOLVERS

# The largest error that passes; beyond it a path is reported as wrong. Two programs
# that take 300000 steps in different orders of summation differ by about 1e-9.
ALLOWED = {"lbi": 1e-8, "iss": 1e-9}


class Row(NamedTuple):
    """One solver on one case."""

    case: str
    solver: str
    seconds: list  # per round, extrapolated to the whole path
    part: float = 1.0  # share of the work that was really done
    points: int = 0
    check: float = float("nan")
    memory: float | None = None  # MB beyond X
    message: str = ""  # why there is nothing, or what is wrong


def run_case(case, n_active, repeats, memory):
    """Check and time every solver on one case."""
    task = measure.build(case, n_active)
    layouts = {order: measure.laid_out(task, order) for order in "CF"}
    rows, ready = [], []
    for solver in SOLVERS:
        answer, reason = measure.runnable(solver, layouts[solver.order])
        if answer is None:
            rows.append(Row(case.name, solver.label, [], message=reason))
            continue
        check = _check(solver, task, answer)
        wrong = check > ALLOWED.get(solver.kind, np.inf)
        ready.append((solver, layouts[solver.order], []))
        rows.append(
            Row(
                case.name,
                solver.label,
                ready[-1][-1],
                answer.part,
                answer.points,
                check,
                measure.peak_memory(case, solver, task) if memory else None,
                "WRONG NUMBERS" if wrong else "",
            )
        )
    for _ in range(repeats):
        for solver, laid_out, times in ready:
            times.append(measure.seconds(solver, laid_out))
    return task, rows


def _check(solver, task, answer):
    if solver.kind == "lbi":
        return objective.check_lbi(task, answer.path)[0]
    if solver.kind == "iss":
        return objective.check_iss(task, answer.path)
    if solver.kind == "lasso":
        return objective.lasso_violation(task, answer.path)
    return float("nan")


def sparse_against_dense(case, n_active):
    """Largest difference of the LBI coefficients for sparse and dense X, relative."""
    task = measure.build(case, n_active)
    solver = next(s for s in SOLVERS if s.kind == "lbi")
    sparse = solver.run(task).path
    dense = solver.run(task._replace(X=task.X.toarray())).path
    if not np.array_equal(sparse.active_features, dense.active_features):
        return float("inf")
    error = np.abs(sparse.active_coefs - dense.active_coefs).max()
    return float(error / np.abs(dense.active_coefs).max())


def main(arguments=None):
    """Run, print, write; the exit status is 1 when a path of ours is wrong."""
    parser = argparse.ArgumentParser(description="Time whole regularization paths.")
    parser.add_argument("--quick", action="store_true", help="tiny problems, < 30 s")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--repeats", type=int, help="timed rounds (default 7, quick 3)")
    parser.add_argument("--case", action="append", help="only this case; repeatable")
    options = parser.parse_args(arguments)
    cases = datasets.QUICK_CASES if options.quick else datasets.CASES
    if options.case:
        cases = [case for case in cases if case.name in options.case]
    repeats = options.repeats or (3 if options.quick else 7)
    n_active = 15 if options.quick else 60
    options.output.mkdir(parents=True, exist_ok=True)

    lines = report.environment()
    print("\n".join(lines), flush=True)
    tasks, rows = {}, []
    equality = {}
    for case in cases:
        tasks[case.name], new = run_case(
            case, n_active, repeats, case.memory and not options.quick
        )
        if case.density < 1:
            equality[case.name] = sparse_against_dense(case, n_active)
        rows += new
        tasks[case.name] = report.describe(case, tasks[case.name])
        print("\n".join(report.case_table(case.name, tasks, rows)), flush=True)
    start = None if options.quick else startup.measure()

    _write_csv(options.output / "regression_path.csv", rows)
    text = report.document(lines, tasks, rows, equality, start, repeats, options.quick)
    (options.output / "regression_path.md").write_text(text, encoding="utf-8")
    report.plot(tasks, rows, options.output / "regression_path.png")
    print("\n".join(report.target_table(rows, tasks, equality, start)))
    return 1 if any(row.message == "WRONG NUMBERS" for row in rows) else 0


def _write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["case", "solver", "round", "seconds", "part", "points", "check"]
            + ["memory_mb", "message"]
        )
        for row in rows:
            rest = (row.part, row.points, row.check, row.memory, row.message)
            for k, value in enumerate(row.seconds or [None]):
                writer.writerow((row.case, row.solver, k, value, *rest))


if __name__ == "__main__":
    sys.exit(main())
