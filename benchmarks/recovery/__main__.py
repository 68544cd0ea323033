"""``python -m benchmarks.recovery [--quick] [--output DIR] [--repeats 50]``.

Three parts: all methods over a grid of s and n on normal X with coefficients of size
one; all methods on other kinds of X and coefficients; LBI with different damping.
Writes `recovery.csv` (counts), `recovery_n50.csv` (sample sizes of one half),
`recovery.md` and `recovery.png`. The exit status is 1 when a complete ISS path does not
end at a solution of basis pursuit, or n_50 of ISS is worse.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from . import report, study

# Rounding of two programs; the linear program is solved to about 1e-7.
ALLOWED = 1e-6


class Plan(NamedTuple):
    """What is run."""

    n_features: int
    sizes: tuple  # numbers of nonzeros of the grid
    middle: int  # number of nonzeros of the other parts
    ensembles: tuple  # (design, signal)
    kappas: tuple
    repetitions: int


FULL = Plan(
    128,
    (2, 4, 8, 12, 16, 24, 32),
    16,
    (
        ("gaussian", "gaussian"),
        ("bernoulli", "signs"),
        ("orthogonal", "signs"),
        ("dct", "signs"),
        ("dct", "gaussian"),
    ),
    (1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    50,
)
QUICK = Plan(40, (2, 5), 5, (("dct", "gaussian"),), (3.0, 100.0), 5)


def run(plan):
    """Count successes.

    Returns
    -------
    counts : DataFrame, one row per part, method, s and n
    compared : dict, ISS beside basis pursuit: `study.count` over all instances
    """
    p, rows = plan.n_features, []
    comparisons = []
    cells = [("grid", "gaussian", "signs", s) for s in plan.sizes]
    cells += [("ensembles", *kind, plan.middle) for kind in plan.ensembles]
    for part, design, signal, s in cells:
        for n in study.sample_sizes(p, s):
            cell = study.Cell(p, s, n, design, signal)
            successes, comparison = study.count(cell, plan.repetitions)
            comparisons.append(comparison)
            rows += [(part, name, *cell, k) for name, k in successes.items()]
        print(f"{part}: {design} X, {signal}, s = {s} done", flush=True)
    names = [*(f"lbi_{kappa:g}" for kappa in plan.kappas), "iss"]
    for n in study.sample_sizes(p, plan.middle):
        cell = study.Cell(p, plan.middle, n)
        successes = study.count_kappa(cell, plan.repetitions, plan.kappas)
        rows += [
            ("kappa", name, *cell, k) for name, k in zip(names, successes, strict=True)
        ]
    counts = pd.DataFrame(
        rows, columns=["part", "method", *study.Cell._fields, "successes"]
    )
    counts["repetitions"] = plan.repetitions
    rules = {"gap": "max", "misfit": "max"}
    comparisons = pd.DataFrame(comparisons)
    compared = comparisons.agg({k: rules.get(k, "sum") for k in comparisons})
    return counts, compared.to_dict()


def halves(counts):
    """Sample sizes of one half, one row per part, kind of instance, s and method."""
    keys = ["part", "design", "signal", "n_features", "n_nonzero", "method"]
    rows = []
    for key, group in counts.groupby(keys, sort=False):
        n_50, error = study.half(
            group["n_samples"], group["successes"], group["repetitions"].iloc[0]
        )
        rows.append((*key, n_50, error))
    return pd.DataFrame(rows, columns=[*keys, "n_50", "standard_error"])


def main(arguments=None):
    """Run, print, write."""
    parser = argparse.ArgumentParser(description="Phase transition of exact recovery.")
    parser.add_argument("--quick", action="store_true", help="tiny problems, < 30 s")
    parser.add_argument("--output", type=Path, default=Path("output/recovery"))
    parser.add_argument("--repeats", type=int, help="instances per place of the grid")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    plan = plan._replace(repetitions=options.repeats or plan.repetitions)
    options.output.mkdir(parents=True, exist_ok=True)

    start = time.process_time()
    counts, compared = run(plan)
    seconds = time.process_time() - start
    table = halves(counts)
    counts.to_csv(options.output / "recovery.csv", index=False)
    table.to_csv(options.output / "recovery_n50.csv", index=False, float_format="%.4f")
    text = report.document(table, compared, plan, seconds, options.quick)
    (options.output / "recovery.md").write_text(text, encoding="utf-8")
    report.plot(counts, table, plan, options.output / "recovery.png")
    print(text)
    missed = [row for row in report.targets(table) if not row.met]
    return 1 if missed or max(compared["gap"], compared["misfit"]) > ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())
