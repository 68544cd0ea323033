"""Deletion diagnostics against one refit per row, and on large designs.

Run as ``python -m benchmarks.diagnostics [--quick] [--repeats 5] [--rows N]``.

- Small designs: `regression_diagnostics` and the same quantities from statsmodels
  (left out if it is not installed), time and largest difference;
- 100 000 x 100 in memory, float64 (C and Fortran order) and float32;
- a float32 file of ``--rows`` x 512, read as a memory map, and half of it, each in a
  process of its own: time, peak memory, and what follows for 10^6 rows. The file is
  written into ``--folder`` and deleted at the end.

One thread; figures are processor seconds, rounds are interleaved. Results go to
``--output`` as Markdown and CSV.
"""

import argparse
import csv
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from sparselbi.diagnostics import regression_diagnostics

QUANTITIES = {
    "leverage": lambda found: found.hat_matrix_diag,
    "deleted_residual": lambda found: found.resid_press,
    "studentized_internal": lambda found: found.resid_studentized_internal,
    "studentized_external": lambda found: found.resid_studentized_external,
    "cooks_distance": lambda found: found.cooks_distance[0],
    "dffits": lambda found: found.dffits[0],
    "dfbetas": lambda found: found.dfbetas[:, 1:],
}
DESIGNS = ((500, 10), (500, 50), (2000, 10))
LARGE, WIDE = (100_000, 100), 512
TARGET_RATIO, TARGET_GAP, TARGET_SECONDS = 100, 1e-10, 2.0
COLUMNS = ("what", "n", "p", "method", "round", "seconds", "number")


def make(n, p, seed=0):
    """Correlated columns with means, errors with heavy tails."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) + rng.standard_normal((n, 1)) + 3
    return X, X[:, 0] + rng.standard_t(3, size=n)


def seconds(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


# -- small designs --------------------------------------------------------------------


def other_package():
    """A function that returns the other package's influence, or None."""
    try:
        import statsmodels.api as sm
    except ImportError:
        return None
    return lambda X, y: sm.OLS(y, sm.add_constant(X)).fit().get_influence()


def ours(X, y, names):
    found = regression_diagnostics(X, y)
    return {name: getattr(found, name) for name in names}


def theirs(influence, X, y, names):
    found = influence(X, y)
    return {name: QUANTITIES[name](found) for name in names}


def small(designs, repeats):
    influence = other_package()
    rows = []
    for n, p in designs:
        X, y = make(n, p)
        for what in ("studentized_external", "everything"):
            names = list(QUANTITIES) if what == "everything" else [what]
            for k in range(-1, repeats):  # round -1 warms up
                mine, found = seconds(lambda: ours(X, y, names))  # noqa: B023
                result = [("sparselbi", mine, 0.0)]
                if influence is not None:
                    other, expected = seconds(
                        lambda: theirs(influence, X, y, names)  # noqa: B023
                    )
                    gap = max(np.abs(found[m] - expected[m]).max() for m in names)
                    result.append(("statsmodels", other, gap))
                if k >= 0:
                    rows += [(what, n, p, m, k, s, g) for m, s, g in result]
    return rows


def small_table(rows):
    lines = [
        "| quantity | n x p | sparselbi, ms | statsmodels, ms | ratio | difference |",
        "|---|---|---|---|---|---|",
    ]
    for what, n, p in dict.fromkeys(row[:3] for row in rows):
        some = [row for row in rows if row[:3] == (what, n, p)]
        times = {}
        for row in some:
            times.setdefault(row[3], []).append(1e3 * row[5])
        mine = times["sparselbi"]
        cells = [what.replace("_", " "), f"{n} x {p}", spread(mine)]
        other = times.get("statsmodels")
        if other is None:
            cells += ["not installed", "", ""]
        else:
            ratio = [b / a for a, b in zip(mine, other, strict=True)]
            cells += [spread(other), spread(ratio, 0)]
            cells.append(f"{max(row[6] for row in some):.1e}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


# -- large designs --------------------------------------------------------------------


def large(n, p, repeats):
    X, y = make(n, p)
    layouts = {
        "float64, C order": X,
        "float64, Fortran order": np.asfortranarray(X),
        "float32": X.astype(np.float32),
    }
    regression_diagnostics(X[:1000], y[:1000]).to_frame()  # imports
    rows = []
    for k in range(repeats):
        for name, matrix in layouts.items():
            time_, found = seconds(
                lambda: regression_diagnostics(matrix, y).to_frame()  # noqa: B023
            )
            gap = abs(found["leverage"].sum() - p - 1)
            rows.append(("table of all rows", n, p, name, k, time_, gap))
    return rows


def large_table(rows):
    lines = [
        "| X | n x p | seconds | sum of leverages - rank |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(row[3] for row in rows):
        some = [row for row in rows if row[3] == name]
        _, n, p = some[0][:3]
        times = spread([row[5] for row in some])
        lines.append(
            f"| {name} | {n:,} x {p} | {times} | {max(row[6] for row in some):.0e} |"
        )
    return lines


# -- a file ---------------------------------------------------------------------------


def write(file, n, p):
    rng = np.random.default_rng(0)
    with open(file, "wb") as stream:
        for start in range(0, n, 10_000):
            size = min(10_000, n - start)
            rng.standard_normal((size, p), dtype=np.float32).tofile(stream)


def resident(name):
    """Memory of this process in MB, NaN where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1e3


def measure_file(file, n, p):
    """In a process of its own: print time and memory as JSON."""
    y = np.random.default_rng(1).standard_normal(n)
    regression_diagnostics(*make(100, 3)).to_frame()
    X = np.memmap(file, np.float32, "r", shape=(n, p))
    before = resident("VmRSS")
    with threadpool_limits(1):
        time_, found = seconds(lambda: regression_diagnostics(X, y).to_frame())
    gap = abs(found["leverage"].sum() - p - 1)
    peak = resident("VmHWM")
    print(json.dumps({"seconds": time_, "before": before, "peak": peak, "gap": gap}))


def streamed(folder, n, p):
    file = Path(folder) / "X.f32"
    write(file, n, p)
    rows = []
    command = [sys.executable, "-m", "benchmarks.diagnostics", "--measure", str(file)]
    for size in (n // 2, n):
        done = subprocess.run(
            [*command, str(size), str(p)], capture_output=True, text=True, check=True
        )
        rows.append((size, p, json.loads(done.stdout)))
    return rows


def streamed_table(rows):
    lines = [
        "| n x p | file, MB | seconds | memory before, MB | peak, MB |",
        "|---|---|---|---|---|",
    ]
    for n, p, found in rows:
        lines.append(
            f"| {n:,} x {p} | {4e-6 * n * p:.0f} | {found['seconds']:.1f} | "
            f"{found['before']:.0f} | {found['peak']:.0f} |"
        )
    (m, p, half), (n, _, full) = rows
    if n < 50_000:
        return lines
    slope = (full["seconds"] - half["seconds"]) / (n - m)
    per_row = max(full["peak"] - half["peak"], 0) / (n - m)
    time_ = full["seconds"] + slope * (1e6 - n)
    lines += [
        "",
        f"A straight line through both gives {time_:.0f} s and "
        f"{full['peak'] + per_row * (1e6 - n):.0f} MB for 1,000,000 x {p} "
        f"(a file of {4e-3 * p:.1f} GB). What grows with n is one number per row and "
        "column of the table of results.",
    ]
    return lines


# -- report ---------------------------------------------------------------------------


def spread(values, digits=2):
    middle = statistics.median(values)
    low, high = min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def package_version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def report(small_rows, large_rows, file_rows):
    versions = ", ".join(
        f"{name} {package_version(name)}"
        for name in ("numpy", "scipy", "statsmodels", "sparselbi")
    )
    return "\n".join(
        [
            "# Deletion diagnostics",
            "",
            "Processor seconds of one thread, median (range) of the rounds; ratios "
            "within a round.",
            "",
            "## Against another package",
            "",
            "*Everything*: leverages, deleted and both studentized residuals, Cook's "
            "distances, DFFITS and DFBETAS. *Difference*: the largest absolute one. "
            f"Target for 500 rows: at least {TARGET_RATIO} times faster, equal to "
            f"{TARGET_GAP:g}.",
            "",
            *small_table(small_rows),
            "",
            "## In memory",
            "",
            "`regression_diagnostics(X, y).to_frame()`. Target for 100,000 x 100: less "
            f"than {TARGET_SECONDS:g} s.",
            "",
            *large_table(large_rows),
            "",
            "## From a file",
            "",
            "The same from a memory map of float32 numbers, each in its own process; "
            "memory is that of the whole process.",
            "",
            *streamed_table(file_rows),
            "",
            f"Python {platform.python_version()}, {versions}, {platform.machine()}. "
            "Made by `python -m benchmarks.diagnostics`.",
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000, help="of the file")
    parser.add_argument("--folder", type=Path, help="for the file; default: temporary")
    default = Path(__file__).parent / "diagnostics_results"
    parser.add_argument("--output", type=Path, default=default)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        file, n, p = options.measure
        measure_file(file, int(n), int(p))
        return
    quick = options.quick
    repeats = 1 if quick else options.repeats
    rows, wide = (2000, 16) if quick else (options.rows, WIDE)
    with threadpool_limits(1):
        small_rows = small(((50, 3),) if quick else DESIGNS, repeats)
        large_rows = large(*((2000, 5) if quick else LARGE), repeats)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file_rows = streamed(folder, rows, wide)
    text = report(small_rows, large_rows, file_rows)
    print(text)
    if quick:
        return
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "diagnostics.md").write_text(text, encoding="utf-8")
    with open(options.output / "diagnostics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(small_rows + large_rows)
        for n, p, found in file_rows:
            writer.writerow(
                ("file", n, p, "memory map", 0, found["seconds"], found["peak"])
            )


if __name__ == "__main__":
    main()
