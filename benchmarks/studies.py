"""What studies share: targets, and a command that runs parts and writes their tables.

A study is a package with two modules. ``study`` has ``FULL`` and ``QUICK`` (plans) and
``PARTS`` (name -> function); ``report`` has ``targets(tables)``, ``document(tables,
targets, plan, quick)`` and ``plot(tables, path)``.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

__all__ = ["Target", "run_study", "spread"]


class Target(NamedTuple):
    """Something to be reached."""

    what: str
    wanted: str
    found: str
    met: bool


def spread(values, digits=2):
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    if low == high:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def run_study(name, study, report, call, arguments=None, *, about, with_na=()):
    """Run the parts, print, write; returns an exit status.

    ``call(part, plan, jobs, tables)`` calls a function of ``study.PARTS``, which gives
    a table. `with_na` names the tables in which "NA" is a text.
    """
    parser = argparse.ArgumentParser(description=about)
    add = parser.add_argument
    add("--quick", action="store_true", help="few seeds, < 1 min")
    add("--output", type=Path, default=Path("output") / name)
    add("--part", nargs="+", choices=study.PARTS, default=study.PARTS)
    add("--jobs", type=int, default=2, help="processes, where parts use several")
    add("--fresh", action="store_true", help="run all parts again")
    options = parser.parse_args(arguments)
    plan = study.QUICK if options.quick else study.FULL
    options.output.mkdir(parents=True, exist_ok=True)
    suffix = "_quick" if options.quick else ""
    tables = {}
    for key, part in study.PARTS.items():
        path = options.output / f"{key}{suffix}.csv"
        if key in options.part and (options.fresh or not path.exists()):
            start = time.perf_counter()
            table = call(part, plan, options.jobs, tables)
            table.to_csv(path, index=False, float_format="%.6g")
            print(f"{key}: {time.perf_counter() - start:.0f} s", flush=True)
        if path.exists():
            tables[key] = pd.read_csv(path, keep_default_na=key not in with_na)
    targets = report.targets(tables)
    text = report.document(tables, targets, plan, options.quick)
    stem = options.output / f"{name}{suffix}"
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    report.plot(tables, stem.with_suffix(".png"))
    print(text)
    return 0 if options.quick or all(target.met for target in targets) else 1
