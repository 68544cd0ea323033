"""``python -m benchmarks.outlier_study [--quick] [--output DIR] [--only PART ...]``.

Five parts, each of which writes a table as soon as it is done; a second run with the
same ``--output`` takes up tables that are there (``--fresh``: none):

- *real_data*: rows of hbk, wood, stars_cyg and stackloss that each method flags;
- *simulations*: masking, swamping, joint detection, seconds, in settings of She and
  Owen;
- *breakdown*: 40 % clustered leverage along shift / leverage, and other shares;
- *minima*: whether the S-estimate has a smaller scale than the fit without outliers;
- *coverage*: of intervals after rejection.

Writes `outlier_study.md` and `outlier_study.png` too. Exit status 1 if a target is
missed (full runs).
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

from . import report, study


def main(arguments=None):
    """Run, print, write."""
    parser = argparse.ArgumentParser(description="Who finds the outliers?")
    parser.add_argument("--quick", action="store_true", help="few seeds, < 1 min")
    parser.add_argument("--output", type=Path, default=Path("output/outlier_study"))
    parser.add_argument("--only", nargs="+", choices=study.PARTS, default=study.PARTS)
    parser.add_argument("--fresh", action="store_true", help="run all parts again")
    options = parser.parse_args(arguments)
    plan = study.QUICK if options.quick else study.FULL
    options.output.mkdir(parents=True, exist_ok=True)
    suffix = "_quick" if options.quick else ""
    tables = {}
    for name, part in study.PARTS.items():
        path = options.output / f"{name}{suffix}.csv"
        if name in options.only and (options.fresh or not path.exists()):
            start = time.perf_counter()
            part(plan).to_csv(path, index=False, float_format="%.6g")
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if path.exists():
            tables[name] = pd.read_csv(path, keep_default_na=name != "real_data")
    targets = report.targets(tables)
    text = report.document(tables, targets, plan, options.quick)
    stem = f"outlier_study{suffix}"
    (options.output / f"{stem}.md").write_text(text, encoding="utf-8")
    if "breakdown" in tables:
        report.plot(tables, options.output / f"{stem}.png")
    print(text)
    return 0 if options.quick or all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
