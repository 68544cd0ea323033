"""``python -m benchmarks.network_study [--quick] [--part PART ...] [--output DIR]``.

Four parts, each of which writes a table as soon as it is done; a second run with the
same ``--output`` takes up tables that are there (``--fresh``: none):

- *choose*: settings of every method of the comparison, on validation data;
- *comparison*: DessiLBI, magnitude pruning, proximal gradients and ADMM with the same
  epochs, on MNIST and Fashion-MNIST, with the settings that *choose* found best;
- *search*: settings of the two LeNets, on validation data;
- *lenets*: LeNet-300-100 and LeNet-5 beside their dense versions.

Test data are used by *comparison* and *lenets* only, once for every network. Seeds run
in ``--jobs`` processes of one thread. Writes `network_study.md` and `network_study.png`
too. Exit status 1 if a target is missed (full runs).
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

from . import report, study


def main(arguments=None):
    """Run, print, write."""
    parser = argparse.ArgumentParser(description="Which weights does a network need?")
    parser.add_argument("--quick", action="store_true", help="tiny, < 1 min")
    parser.add_argument("--output", type=Path, default=Path("output/network_study"))
    parser.add_argument("--part", nargs="+", choices=study.PARTS, default=study.PARTS)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--fresh", action="store_true", help="run all parts again")
    options = parser.parse_args(arguments)
    plan = study.QUICK if options.quick else study.FULL
    options.output.mkdir(parents=True, exist_ok=True)
    suffix = "_quick" if options.quick else ""
    tables = {}
    for name, part in study.PARTS.items():
        path = options.output / f"{name}{suffix}.csv"
        if name in options.part and (options.fresh or not path.exists()):
            start = time.perf_counter()
            table = part(plan, options.jobs, tables)
            table.to_csv(path, index=False, float_format="%.6g")
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if path.exists():
            tables[name] = pd.read_csv(path)
    targets = report.targets(tables)
    text = report.document(tables, targets, plan, options.quick)
    stem = f"network_study{suffix}"
    (options.output / f"{stem}.md").write_text(text, encoding="utf-8")
    report.plot(tables, options.output / f"{stem}.png")
    print(text)
    return 0 if options.quick or all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
