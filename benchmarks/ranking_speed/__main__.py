"""``python -m benchmarks.ranking_speed [--quick] [--threads 2] [--output DIR]``.

Each measurement is a process of its own, compiled code and imports warm:

- *linear*, *logistic*: a million votes about 100,000 items, a fifth of them flipped;
  from pairs to a path of 30 thresholds, with its peak memory;
- *single*: one Bradley-Terry fit of 40,000 votes about 2,000 items, beside choix and
  crowd-kit (if installed): every round has new votes, from which every package starts
  in the form it wants. Ratios are taken within a round. How exact the fits are is told
  by the largest difference of a score from that of a fit with tolerance 1e-13, and by
  the largest derivative of the log-likelihood with respect to a score.

Paths have ``--threads`` threads, the others one. Writes `ranking_speed.md`, `.csv` and
`.png`. Exit status 1 if a target is missed (full runs).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from . import report

ROOT = Path(__file__).parents[2]
NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TASKS = ("linear", "logistic", "single")


def run(task, quick, repeats, threads):
    """Result of a task, with the load of the machine after it."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    settings |= dict.fromkeys(NAMES, str(1 if task == "single" else threads))
    settings["NUMBA_NUM_THREADS"] = "1"
    command = [sys.executable, str(Path(__file__).parent / "tasks.py"), task]
    done = subprocess.run(
        [*command, "--repeats", str(repeats)] + ["--quick"] * quick,
        cwd=ROOT,
        env=settings,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    result["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return result


def main(arguments=None):
    """Run, print, write."""
    parser = argparse.ArgumentParser(description="Time and memory of rankings.")
    parser.add_argument("--quick", action="store_true", help="tiny problems, < 30 s")
    parser.add_argument("--threads", type=int, default=2, help="of the paths")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("output/ranking_speed"))
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    options = parser.parse_args(arguments)
    repeats = 1 if options.quick else options.repeats
    results = {}
    for task in options.only:
        results[task] = run(task, options.quick, repeats, options.threads)
        print(f"{task} done", flush=True)
    targets = report.targets(results)
    text = report.document(results, targets, options)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "ranking_speed.md").write_text(text, encoding="utf-8")
    report.write_csv(options.output / "ranking_speed.csv", results)
    report.plot(results, options.output / "ranking_speed.png")
    print(text)
    return 0 if options.quick or all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
