"""``python -m benchmarks.selection_study [--quick] [--seeds 30] [--output DIR]``.

One process, one thread. Appends one row per design, seed and method to
`selection_study.csv` as it goes and skips rows that are there, so that it can be
stopped and started again, and asked for more seeds later. From all rows it writes
`selection_study.md` (tables) and two figures.
"""

import argparse
import csv
import importlib.util
import sys
import time
import warnings
from pathlib import Path

from threadpoolctl import threadpool_limits

from . import datasets, objective, report
from .solvers import SOLVERS

HOME = Path(__file__).parent / "results"
QUICK = Path("output/selection_study")
QUICK_LABELS = ("LBI()", "ISS, CV", "LassoCV", "lasso, EBIC", "MCP, EBIC", "oracle")


def missing(solvers):
    """Packages that some of the solvers need and that are not installed."""
    packages = dict.fromkeys(solver.package for solver in solvers)
    return [name for name in packages if importlib.util.find_spec(name) is None]


def answer(solver, task):
    """Coefficients for every label of a solver, and processor seconds."""
    task.X.sum()  # nobody pays for what the one before has pushed out of memory
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence at the far end of grids
        coefs = solver.run(task)
    return dict(zip(solver.labels, coefs, strict=True)), time.process_time() - start


def run(path, designs, seeds, solvers):
    """Append the rows that are not there yet."""
    done = {(row["design"], row["seed"], row["method"]) for row in report.read(path)}
    header = ("design", "seed", "method", *objective.Score._fields, "seconds")
    new = not path.exists()
    warm = set()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(header)
        for seed in range(seeds):
            for design in designs:
                todo = [
                    solver
                    for solver in solvers
                    if any((design.name, seed, k) not in done for k in solver.labels)
                ]
                if not todo:
                    continue
                task, truth = objective.ask(design, seed)
                sigma = datasets.covariance(design)
                for solver in todo:
                    if solver not in warm:  # compile
                        answer(solver, task)
                        warm.add(solver)
                    coefs, seconds = answer(solver, task)
                    for label, coef in coefs.items():
                        if (design.name, seed, label) in done:
                            continue
                        score = objective.score(truth, sigma, coef)
                        numbers = (f"{value:.4g}" for value in (*score, seconds))
                        writer.writerow((design.name, seed, label, *numbers))
                file.flush()
            print(f"seed {seed} done", flush=True)


def main(arguments=None):
    """Run, write, print; the exit status is 1 if a figure to reach was missed."""
    parser = argparse.ArgumentParser(description="Which variables do methods find?")
    parser.add_argument("--quick", action="store_true", help="tiny problem, < 30 s")
    parser.add_argument("--seeds", type=int, help="draws per design (default 30)")
    parser.add_argument("--design", action="append", help="only this one; repeatable")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(arguments)

    designs = [datasets.QUICK_DESIGN] if options.quick else datasets.DESIGNS
    if options.design:
        designs = [design for design in designs if design.name in options.design]
    solvers = [
        solver
        for solver in SOLVERS
        if not options.quick or solver.labels[0] in QUICK_LABELS
    ]
    skipped = missing(solvers)
    for name in skipped:
        print(f"{name} is not installed: its methods are skipped")
    solvers = [solver for solver in solvers if solver.package not in skipped]
    folder = options.output or (QUICK if options.quick else HOME)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "selection_study.csv"
    if options.quick:
        path.unlink(missing_ok=True)  # the smoke run shall run
    with threadpool_limits(1):
        run(path, designs, options.seeds or (1 if options.quick else 30), solvers)

    table = report.Table(report.read(path))
    text = report.document(table, quick=options.quick)
    (folder / "selection_study.md").write_text(text, encoding="utf-8")
    if not options.quick:
        report.plot_counts(table, folder / "true_false.png")
        report.plot_errors(table, folder / "model_error.png")
    lines, reached = report.targets(table)
    print("\n".join(lines if lines else text.splitlines()))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
