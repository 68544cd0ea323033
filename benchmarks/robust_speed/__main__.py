"""``python -m benchmarks.robust_speed [--quick] [--threads 2] [--output DIR]``.

Four measurements, each in a process of its own, compiled code warm:

- *large*: labels of 10 classes for a million rows of 512 float32 features, 40 % of them
  wrong; from data to a path of 30 thresholds, with its peak memory and how well the
  order of entries finds the wrong labels;
- *group lasso*: 2000 rows, 10 classes, 100 thresholds, beside scikit-learn's multi-task
  ``enet_path`` on I - H, which solves the same problem in the shifts (threshold = n
  alpha);
- *exact*: every event of the path of one response, beside ``lars_path`` on I - H;
- *single*: what one threshold costs within a path of fifty, beside one fit of
  ``HuberRegressor`` and of ``statsmodels.RLM``.

*large* has ``--threads`` threads, the others have one. Writes `robust_speed.md`, `.csv`
and `.png`. Exit status 1 if a target is missed (full runs).
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
TASKS = ("large", "group_lasso", "exact", "single")


def run(task, quick, repeats, threads):
    """Result of a task, with the load of the machine after it."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    settings |= dict.fromkeys(NAMES, str(threads if task == "large" else 1))
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
    parser = argparse.ArgumentParser(description="Time and memory of Huber paths.")
    parser.add_argument("--quick", action="store_true", help="tiny problems, < 30 s")
    parser.add_argument("--threads", type=int, default=2, help="of the large problem")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("output/robust_speed"))
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
    (options.output / "robust_speed.md").write_text(text, encoding="utf-8")
    report.write_csv(options.output / "robust_speed.csv", results)
    report.plot(results, options.output / "robust_speed.png")
    print(text)
    return 0 if options.quick or all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
