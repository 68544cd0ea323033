"""Time of a cross-validated path against one path and against `LassoCV`.

Run as ``python -m benchmarks.cross_validation [--quick] [--repeats 3]``. Designs of
1000 x 2000 with independent columns, 5 folds, the same for all, one process, one
thread, compiled code warm. Figures are processor seconds; rounds are interleaved, and
ratios are taken within a round. Results go to ``--output`` as Markdown and CSV.
"""

import argparse
import csv
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold

import sparselbi
from sparselbi import LBI
from sparselbi.selection import CrossValidation

FOLDS = KFold(5, shuffle=True, random_state=0)
# Name of the case: number of true coefficients of size 1, noise.
CASES = {"strong signal": (20, 1.0), "medium signal": (20, 3.0), "weak": (50, 10.0)}
TARGET = 7.0
COLUMNS = ("case", "method", "round", "path_s", "cv_s", "lasso_cv_s", "features")


def make(n, p, size, noise, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X[:, :size].sum(axis=1) + noise * rng.normal(size=n)


def seconds(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def run(n, p, repeats, cases):
    rule = CrossValidation(cv=FOLDS)
    methods = {
        "LBI()": LBI(selector=rule),
        "LBI(kappa=inf)": LBI(kappa=np.inf, selector=rule),
    }
    rows = []
    for case, (size, noise) in cases.items():
        X, y = make(n, p, size, noise, seed=0)
        for method in methods.values():
            method.path(X[:, :50], y)  # compiles
        for k in range(repeats):
            X, y = make(n, p, size, noise, seed=k)
            lasso, _ = seconds(lambda: LassoCV(cv=FOLDS).fit(X, y))  # noqa: B023
            for name, method in methods.items():
                path, _ = seconds(lambda: method.path(X, y))  # noqa: B023
                cv, fitted = seconds(lambda: method.fit(X, y))  # noqa: B023
                size_ = np.count_nonzero(fitted.coef_)
                rows.append((case, name, k, path, cv, lasso, size_))
                print(*rows[-1], flush=True)
    return rows


def spread(values, digits=2):
    low, high = min(values), max(values)
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def report(rows, n, p):
    lines = [
        "# Cross-validation of a whole path",
        "",
        f"{n} x {p}, independent columns, 5 folds (the same `KFold` for all), "
        "processor seconds of one thread, warm; median (range) of the rounds, ratios "
        f"within a round. Target: at most {TARGET:g} paths, and less than `LassoCV`.",
        "",
        "| case | method | one path, s | with 5 folds, s | paths | of LassoCV's time |",
        "|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((row[0], row[1]) for row in rows)
    for case, method in keys:
        some = [row for row in rows if row[:2] == (case, method)]
        path, cv, lasso = (np.array([row[i] for row in some]) for i in (3, 4, 5))
        cells = [spread(path), spread(cv), spread(cv / path), spread(cv / lasso)]
        lines.append(f"| {case} | `{method}` | {' | '.join(cells)} |")
    lines += [
        "",
        "`LassoCV` with its defaults (100 penalties down to 0.001 of the largest); "
        "`LBI` with its defaults, every knot scored on every fold. Stored deviances "
        "and refits of the full path (`fit` against `path`) count as part of folds.",
        "",
        f"Python {platform.python_version()}, NumPy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}, sparselbi {sparselbi.__version__}, "
        f"{platform.machine()}. Made by `python -m benchmarks.cross_validation`.",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 x 200, one round")
    parser.add_argument("--repeats", type=int, default=3)
    default = Path(__file__).parent / "cross_validation_results"
    parser.add_argument("--output", type=Path, default=default)
    options = parser.parse_args()
    n, p = (100, 200) if options.quick else (1000, 2000)
    cases = dict(list(CASES.items())[:1]) if options.quick else CASES
    rows = run(n, p, 1 if options.quick else options.repeats, cases)
    text = report(rows, n, p)
    print(text)
    if options.quick:
        return
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "cross_validation.md").write_text(text, encoding="utf-8")
    with open(options.output / "cross_validation.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
