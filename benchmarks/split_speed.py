"""Time of a Split LBI path: eliminated and joint form, and the generalized lasso.

Run as ``python -m benchmarks.split_speed [--quick] [--repeats 3]``. One design of 500 x
2000 with a piecewise constant coefficient vector, D = first differences. All paths go
over the same range of t (as far as half as many rows as samples are active); the
generalized lasso (50 penalties over the range in which its rows become active) runs if
cvxpy and Clarabel are installed. One thread, compiled code warm, processor seconds;
rounds use new data, ratios are taken within a round. Quality is that of the support:
the area under the ROC curve of the order in which rows appear, and the best F1 score
along the path. Results go to ``--output`` as Markdown and CSV.
"""

import argparse
import csv
import platform
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import sparselbi
from sparselbi import Problem, split_iss_path, split_lbi_path
from sparselbi.penalties import differences
from sparselbi.selection import row_auc

try:
    import cvxpy
except ImportError:
    cvxpy = None

TARGETS = {"joint": 10.0, "generalized lasso": 20.0}
# The default, and one with which both forms trace the same path to about a per cent.
KAPPAS = (10.0, 100.0)
COLUMNS = (
    "method",
    "kappa",
    "round",
    "seconds",
    "steps",
    "auc",
    "best_f1",
    "apart",
)


def make(n, p, seed):
    """Three runs of coefficients with unequal heights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    coef = np.zeros(p)
    for low, high, value in ((0.15, 0.18, 1.0), (0.45, 0.5, -1.0), (0.75, 0.8, 0.5)):
        coef[int(low * p) : int(high * p)] = value
    return X, X @ coef + rng.normal(size=n), coef


def generalized_lasso(X, y, n_points):
    """Coefficients at penalties from the largest useful one on, (n_points, p)."""
    n, p = X.shape
    coef, penalty = cvxpy.Variable(p), cvxpy.Parameter(nonneg=True)
    loss = cvxpy.sum_squares(y - X @ coef) / (2 * n)
    question = cvxpy.Problem(cvxpy.Minimize(loss + penalty * cvxpy.tv(coef)))
    # Largest penalty: the dual of the residual of the best constant coefficient.
    total = X.sum(axis=1)
    residual = y - total * (total @ y) / (total @ total)
    top = np.abs(np.cumsum(X.T @ residual / n)[:-1]).max()
    coefs = []
    for value in np.geomspace(top, top / 100, n_points):
        penalty.value = value
        question.solve(solver=cvxpy.CLARABEL)
        coefs.append(coef.value)
    return np.array(coefs)


def lasso_quality(coefs, truth):
    jumps = np.abs(np.diff(coefs, axis=1))
    active = jumps > 1e-4 * np.abs(coefs).max()
    first = np.where(active.any(axis=0), active.argmax(axis=0), len(coefs))
    score = -first.astype(float)
    higher = score[truth][:, None] - score[~truth][None, :]
    area = float(np.mean(np.where(higher == 0, 0.5, higher > 0)))
    return area, max(f1(mask, truth) for mask in active)


def f1(mask, truth):
    hits = np.count_nonzero(mask & truth)
    return 2 * hits / max(mask.sum() + truth.sum(), 1)


def path_quality(path, truth):
    masks = np.zeros((len(path), len(truth)), dtype=bool)
    masks[:, path.split.active_features] = path.split.active_coefs != 0
    return row_auc(path, truth), max(f1(mask, truth) for mask in masks)


def gap(path, reference):
    """Largest difference of dense coefficients, mean of a log grid of t, relative."""
    end = min(path.knots[-1], reference.knots[-1])
    grid = np.geomspace(reference.t0, end, 50)
    ours, theirs = path.coefs_at(grid)[0], reference.coefs_at(grid)[0]
    return float(np.abs(ours - theirs).max(axis=1).mean() / np.abs(theirs).max())


def run(n, p, repeats, n_points):
    rows = []
    for k in range(repeats):
        X, y, coef = make(n, p, seed=k)
        D = differences(p)
        truth = np.abs(D.dot(coef)) > 1e-12
        problem = Problem(X, y, fit_intercept=False, standardize=False)
        # Compiles, and finds the range of t.
        found = split_lbi_path(problem, D, max_rows=n // 2)
        t_max = found.knots[-1]
        if k == 0:
            short = 1.001 * found.t0
            split_lbi_path(problem, D, t_max=short, method="joint")
            split_iss_path(problem, D, t_max=short)
        runs = [("exact", np.inf, lambda: split_iss_path(problem, D, t_max=t_max))]  # noqa: B023
        for kappa in KAPPAS:
            for name in ("eliminated", "joint"):
                options = {"t_max": t_max, "kappa": kappa, "method": name}
                trace = partial(split_lbi_path, problem, D, **options)
                runs.append((name, kappa, trace))
        reference = None
        for name, kappa, trace in runs:
            start = time.process_time()
            path = trace()
            taken = time.process_time() - start
            reference = path if name == "eliminated" else reference
            apart = gap(path, reference) if name == "joint" else float("nan")
            quality = path_quality(path, truth)
            rows.append((name, kappa, k, taken, path.n_iter, *quality, apart))
            print(*rows[-1], flush=True)
        if cvxpy is not None and k == 0:  # takes minutes
            start = time.process_time()
            coefs = generalized_lasso(X, y, n_points)
            taken = time.process_time() - start
            quality = lasso_quality(coefs, truth)
            name, nan = "generalized lasso", float("nan")
            rows.append((name, nan, k, taken, n_points, *quality, nan))
            print(*rows[-1], flush=True)
    return rows


def spread(values, digits=2):
    low, high = min(values), max(values)
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def report(rows, n, p):
    lines = [
        "# Time of a Split LBI path",
        "",
        f"{n} x {p}, D = first differences, one thread, warm, processor seconds; "
        "median (range) of the rounds. Both forms go over the same t with the same "
        "kappa and nu; *apart* is the largest difference of their coefficients at a "
        "time, relative to the largest, on average over log t: they are the same path "
        "as kappa grows. Ratios are to the eliminated form with the same kappa (exact "
        "path, generalized lasso: the default one).",
        "",
        "| method | kappa | seconds | x eliminated | target | steps (points) | "
        "AUC of rows | best F1 | apart |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    base = {row[1:3]: row[3] for row in rows if row[0] == "eliminated"}
    for name, kappa in dict.fromkeys((row[0], str(row[1])) for row in rows):
        some = [row for row in rows if (row[0], str(row[1])) == (name, kappa)]
        own = some[0][1] if some[0][1] in KAPPAS else KAPPAS[0]
        ratios = [row[3] / base[own, row[2]] for row in some]
        target = f">= {TARGETS[name]:g}" if name in TARGETS else ""
        apart = max(row[7] for row in some)
        lines.append(
            f"| {name} | {'' if kappa == 'nan' else kappa} | "
            f"{spread([row[3] for row in some])} | {spread(ratios, 1)} | {target} | "
            f"{statistics.median(row[4] for row in some):.0f} | "
            f"{spread([row[5] for row in some], 4)} | "
            f"{spread([row[6] for row in some])} | "
            f"{'' if np.isnan(apart) else f'{apart:.2g}'} |"
        )
    versions = f"sparselbi {sparselbi.__version__}, NumPy {np.__version__}"
    if cvxpy is not None:
        versions += f", cvxpy {cvxpy.__version__} with Clarabel"
    lines += [
        "",
        "The generalized lasso is solved at 50 penalties down to a hundredth of the "
        "first one; a row counts as active above 1e-4 of the largest coefficient.",
        "",
        f"Python {platform.python_version()}, {versions}, {platform.machine()}. Made "
        "by `python -m benchmarks.split_speed`.",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="60 x 100, one round")
    parser.add_argument("--repeats", type=int, default=3)
    default = Path(__file__).parent / "split_speed_results"
    parser.add_argument("--output", type=Path, default=default)
    options = parser.parse_args()
    n, p, points = (60, 100, 5) if options.quick else (500, 2000, 50)
    with threadpool_limits(1):
        rows = run(n, p, 1 if options.quick else options.repeats, points)
    text = report(rows, n, p)
    print(text)
    if options.quick:
        return
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "split_speed.md").write_text(text, encoding="utf-8")
    with open(options.output / "split_speed.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
