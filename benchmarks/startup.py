"""Start-up costs: imports, the first fit of a process, the first fit ever.

Run as ``python -m benchmarks.startup [--repeats 5]``. Every figure is processor time of
one thread, in a fresh process. "First ever" starts with an empty folder for compiled
code.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

__all__ = ["measure", "quartiles"]

FIT = """
import time
from sparselbi import LBI
from sklearn.datasets import load_diabetes
X, y = load_diabetes(return_X_y=True)
start = time.process_time()
LBI().fit(X, y)
print(time.process_time() - start)
"""

IMPORT = """
import time
start = time.process_time()
{}
print(time.process_time() - start)
"""


def quartiles(values):
    """Median, lower and upper quartile."""
    values = sorted(values)
    if len(values) == 1:
        return (values[0],) * 3
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high


def measure(repeats=5):
    """Measure everything.

    Returns
    -------
    dict of str to list of float, seconds per repeat:
    ``sklearn`` (import sklearn.linear_model), ``package`` (import sparselbi beyond
    it), ``names`` (from sparselbi import LBI, lbi_path beyond it), ``first_ever``
    (one value: a fit with an empty folder for compiled code), ``first`` (the first
    fit of later processes), ``warm`` (a later fit of one process).
    """
    figures = {
        name: [] for name in ("sklearn", "package", "names", "first_ever", "first")
    }
    for _ in range(repeats):  # interleaved, because machines drift
        base = _child(IMPORT.format("import sklearn.linear_model"))
        figures["sklearn"].append(base)
        figures["package"].append(
            _child(IMPORT.format("import sklearn.linear_model, sparselbi")) - base
        )
        figures["names"].append(
            _child(
                IMPORT.format(
                    "import sklearn.linear_model\nfrom sparselbi import LBI, lbi_path"
                )
            )
            - base
        )
    with tempfile.TemporaryDirectory() as folder:
        figures["first_ever"].append(_child(FIT, NUMBA_CACHE_DIR=folder))
        figures["first"] = [_child(FIT, NUMBA_CACHE_DIR=folder) for _ in range(repeats)]
    figures["warm"] = _warm(repeats)
    return figures


def _child(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _warm(repeats):
    from sklearn.datasets import load_diabetes

    from sparselbi import LBI

    X, y = load_diabetes(return_X_y=True)
    LBI().fit(X, y)
    times = []
    for _ in range(max(repeats, 7)):
        start = time.process_time()
        LBI().fit(X, y)
        times.append(time.process_time() - start)
    return times


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(arguments).repeats
    for name, values in measure(repeats).items():
        median, low, high = quartiles(values)
        print(f"{name:12s} {median:8.4f} s  [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    main()
