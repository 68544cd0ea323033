"""``python -m benchmarks.ranking_study [--quick] [--part PART ...] [--output DIR]``.

Eight parts, each of which writes a table as soon as it is done; a second run with the
same ``--output`` takes up tables that are there (``--fresh``: none):

- *order*: AUC of the order of the votes, 16 items, 2,000 votes, 5, 20 and 40 % flipped;
- *share*: how many votes are distrusted, by the estimated rate of flips and by the
  true one;
- *scores*: flip rates of votes without flips, by the fit that scores come from;
- *gap*: largest gaps between entries, beside those of votes without flips;
- *graded*: rules for graded votes with wrong signs;
- *workers*: workers who always click one side;
- *coverage*: of 95 % intervals of score differences;
- *fgnet*: Kendall's tau against age, and AUC of the flips, on the FG-NET votes.

Seeds run in ``--jobs`` processes. Writes `ranking_study.md` and `ranking_study.png`
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
    parser = argparse.ArgumentParser(description="Who finds the wrong votes?")
    parser.add_argument("--quick", action="store_true", help="few seeds, < 1 min")
    parser.add_argument("--output", type=Path, default=Path("output/ranking_study"))
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
            part(plan, options.jobs).to_csv(path, index=False, float_format="%.6g")
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        if path.exists():
            tables[name] = pd.read_csv(path, keep_default_na=name != "fgnet")
    targets = report.targets(tables)
    text = report.document(tables, targets, plan, options.quick)
    stem = f"ranking_study{suffix}"
    (options.output / f"{stem}.md").write_text(text, encoding="utf-8")
    report.plot(tables, options.output / f"{stem}.png")
    print(text)
    return 0 if options.quick or all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
