"""What is measured: each task is a process of its own and prints one line of JSON.

Started by ``python -m benchmarks.robust_speed``, as a script: importing the package of
benchmarks would pin BLAS to one thread.
"""

import argparse
import json
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

# Rows that are drawn at a time.
BLOCK = 1 << 14


# -- data -----------------------------------------------------------------------------


def labelled(n, p, c, distance, flipped, dtype=np.float64, seed=0):
    """Normal classes, a share of the labels replaced by another one.

    Returns X (n, p), the given labels (n,) and which of them are wrong. Nothing of the
    size of X is made but X itself.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((c, p)) * distance
    truth = rng.integers(0, c, n).astype(np.uint8)
    X = np.empty((n, p), dtype)
    for start in range(0, n, BLOCK):
        rows = slice(start, min(start + BLOCK, n))
        rng.standard_normal(out=X[rows], dtype=dtype)
        X[rows] += centres.astype(dtype)[truth[rows]]
    wrong = rng.random(n) < flipped
    other = (truth + rng.integers(1, c, n).astype(np.uint8)) % c
    return X, np.where(wrong, other, truth), wrong


def contaminated(n, p, share=0.2, seed=0):
    """A regression in which a share of the responses is shifted."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    y = X @ rng.standard_normal(p) + rng.standard_normal(n)
    y[: int(share * n)] += 8
    return X, y


# -- measuring ------------------------------------------------------------------------


def start_clock():
    """A function that returns wall and processor seconds since now."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


def repeated(work, repeats, warm=True):
    """Seconds of each repetition, after one that does not count; the last result."""
    times, found = [], None
    for _ in range(repeats + warm):
        start = time.perf_counter()
        found = work()
        times.append(time.perf_counter() - start)
    return times[warm:], found


def spearman(a, b):
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])


# -- the tasks ------------------------------------------------------------------------


def large(quick, repeats):
    """Labels of a million rows, 40 % wrong: time, memory, and who is found."""
    from sparselbi.shift_problem import ShiftProblem
    from sparselbi.solvers.huber import huber_path

    # After BLAS is loaded: the package of benchmarks pins it to one thread.
    from benchmarks.large_n import environment, resident  # isort: skip

    n, p = (80_000, 64) if quick else (1_000_000, 512)
    small = labelled(500, 5, 10, 1.0, 0.4, np.float32)
    huber_path(ShiftProblem(*small[:2], classes="auto"), route="grid", n_knots=3)
    interpreter = resident("VmRSS")
    X, labels, wrong = labelled(n, p, 10, 2.5 / np.sqrt(p), 0.4, np.float32)
    before = resident("VmRSS")
    clock = start_clock()
    problem = ShiftProblem(X, labels, classes="auto")
    described = clock()["seconds"]
    path = huber_path(problem, n_knots=30)
    result = clock()
    peak = resident("VmHWM")
    order = path.entry_strength()
    rest = order == 0  # not shifted: in the order of their last residuals
    last = residual_lengths(X, labels, path.coefs[-1], path.intercepts[-1])
    order[rest] = last[rest]
    return result | {
        "n": n,
        "p": p,
        "X_gb": X.nbytes / 1e9,
        "interpreter_gb": interpreter,
        "start_gb": before,
        "peak_gb": peak,
        "problem_seconds": described,
        "n_sweeps": path.n_iter,
        "largest_gap": float(np.max(path.info["gap"])),
        "streamed": not problem.design.dense,
        "status": path.status,
        "auc": auc(order, wrong),
        "auc_residual": auc(
            problem.design.norms(problem.design.least_squares()), wrong
        ),
        "thresholds": path.knots.tolist(),
        "shifted": (path.size / n).tolist(),
        "wrong_among_shifted": [
            float(wrong[path.outliers(knot)].mean()) for knot in path.knots[1:]
        ],
        "sweeps_of_knots": np.asarray(path.info["n_sweeps"]).tolist(),
        "environment": environment(),
    }


def residual_lengths(X, labels, coefs, intercepts):
    """Lengths of one-hot labels minus fits, block by block."""
    lengths = np.empty(len(X))
    for start in range(0, len(X), BLOCK):
        rows = slice(start, start + BLOCK)
        residual = np.eye(len(coefs))[labels[rows]]
        residual -= X[rows] @ coefs.T.astype(X.dtype) + intercepts
        lengths[rows] = np.linalg.norm(residual, axis=1)
    return lengths


def auc(score, positive):
    """Chance that a positive row has the larger score."""
    from scipy.stats import rankdata

    rank = rankdata(score)
    n, m = len(score), np.count_nonzero(positive)
    return float((rank[positive].sum() - m * (m + 1) / 2) / (m * (n - m)))


def group_lasso(quick, repeats):
    """Multi-task lasso on I - H, as papers on label noise code it."""
    from sklearn.linear_model import enet_path

    from sparselbi.shift_problem import ShiftProblem
    from sparselbi.solvers._huber_grid import trace_huber_grid
    from sparselbi.solvers.huber import huber_path

    n, p, c = (300, 20, 10) if quick else (2000, 30, 10)
    X, labels, _ = labelled(n, p, c, 0.7, 0.4)
    Y = np.eye(c)[labels]
    Q = np.linalg.qr(np.column_stack([np.ones(n), X]))[0]
    largest = np.linalg.norm(Y - Q @ (Q.T @ Y), axis=1).max()
    half = float(huber_path(ShiftProblem(X, labels, classes="auto")).knots[-1])
    rows = []
    # The range and the tolerance that enet_path has by default, and tighter ones.
    cases = [
        ("to 1e-3 of the largest", 1e-3 * largest, 1e-4),
        ("to 1e-3 of the largest", 1e-3 * largest, 1e-6),
        ("to half of the rows", half, 1e-4),
        ("to half of the rows", half, 1e-6),
    ]
    enet_path(np.eye(20), np.eye(20)[:, :2], l1_ratio=1.0)  # imports
    for name, end, tol in cases:
        grid = np.geomspace(largest, end, 100)

        def trace(grid=grid):
            problem = ShiftProblem(X, labels, classes="auto")
            trace_huber_grid(problem.design, problem.row_factor, thresholds=grid)

        def whole(grid=grid):
            problem = ShiftProblem(X, labels, classes="auto")
            return huber_path(problem, thresholds=grid)

        def other(grid=grid, tol=tol):
            A = np.eye(n) - Q @ Q.T
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                options = {"l1_ratio": 1.0, "tol": tol, "max_iter": 100_000}
                return enet_path(A, A @ Y, alphas=grid / n, **options)

        mine, _ = repeated(trace, repeats)
        path_seconds, path = repeated(whole, 1)
        theirs, (alphas, coefs, _) = repeated(other, min(repeats, 2), warm=False)
        on = (coefs != 0).any(axis=0)
        entry = np.where(on.any(axis=1), alphas[on.argmax(axis=1)] * n, 0.0)
        strength = path.entry_strength()
        # Both read at the alphas; between them, only one of the two has an order.
        place = np.searchsorted(-grid, -strength)
        read = np.where(place < 100, grid[np.minimum(place, 99)], 0.0)
        rows.append(
            {
                "case": name,
                "n": n,
                "p": p,
                "tol": tol,
                "seconds": mine,
                "path_seconds": path_seconds,
                "other_seconds": theirs,
                "spearman": spearman(read, entry),
                "spearman_continuous": spearman(strength, entry),
                "levels": len(np.unique(entry)),
                "largest_gap": float(np.max(path.info["gap"])),
            }
        )
    return {"rows": rows}


def exact(quick, repeats):
    """All events of the path of one response, and the lasso on I - H."""
    from sklearn.linear_model import lars_path

    from sparselbi.shift_problem import ShiftProblem
    from sparselbi.solvers.huber import huber_path

    rows = []
    for n, compared in ((200, True),) if quick else ((500, True), (5000, False)):
        X, y = contaminated(n, 20)

        def trace(X=X, y=y):
            return huber_path(ShiftProblem(X, y), route="exact")

        times, path = repeated(trace, repeats)
        row = {"n": n, "p": 20, "seconds": times, "events": len(path.row_events)}
        row["optimality"] = violation(path, X, y)
        if compared:
            Q = np.linalg.qr(np.column_stack([np.ones(n), X]))[0]
            end = float(path.knots[np.flatnonzero(path.size <= n // 2)[-1]])

            def other(Q=Q, y=y, n=n, end=end):
                A = np.eye(n) - Q @ Q.T
                return lars_path(A, A @ y, method="lasso", alpha_min=end / n)

            row["other_seconds"], (alphas, _, coefs) = repeated(other, min(repeats, 2))
            on = coefs != 0
            first = on.argmax(axis=1) - 1  # the alpha at which it begins
            entry = np.where(on.any(axis=1), alphas[first] * n, 0.0)
            strength = path.entry_strength()
            found = entry > end * (1 + 1e-6)
            row["entry_gap"] = float(
                np.abs(entry - strength)[found].max() / entry.max()
            )
            row["other_events"] = len(alphas)
            half = repeated(
                lambda X=X, y=y, n=n: huber_path(
                    ShiftProblem(X, y), route="exact", max_outliers=n // 2
                ),
                repeats,
            )
            row["half_seconds"] = half[0]
        rows.append(row)
    return {"rows": rows}


def violation(path, X, y, n_knots=200):
    """Largest score of Huber's loss over knots, as a share of what it could be."""
    Z = np.column_stack([np.ones(len(y)), X])
    size = np.abs(Z).sum(axis=0)
    worst = 0.0
    positive = np.flatnonzero(path.knots > 0)
    chosen = positive[np.unique(np.linspace(0, len(positive) - 1, n_knots).astype(int))]
    for k in chosen:
        knot = float(path.knots[k])
        residual = y - X @ path.coefs[k] - path.intercepts[k]
        score = Z.T @ np.clip(residual, -knot, knot)
        worst = max(worst, float(np.abs(score / size / knot).max()))
    return worst


def single(quick, repeats):
    """One threshold of other packages, beside one of a path of fifty."""
    from sklearn.linear_model import HuberRegressor

    from sparselbi.shift_problem import ShiftProblem
    from sparselbi.solvers.huber import huber_path

    has_rlm = find_spec("statsmodels") is not None
    rows = []
    for n, p in ((300, 5),) if quick else ((1000, 10), (100_000, 20)):
        X, y = contaminated(n, p)
        centre = np.median(np.abs(y - np.median(y))) / 0.6745
        grid = np.geomspace(3 * centre, 0.1 * centre, 50)

        def path_of_50(X=X, y=y, grid=grid):
            return huber_path(ShiftProblem(X, y), thresholds=grid, route="grid")

        times, path = repeated(path_of_50, repeats)
        base = {"n": n, "p": p, "seconds": [t / len(path) for t in times]}

        def scikit(X=X, y=y):
            model = HuberRegressor(alpha=0.0, epsilon=1.35, max_iter=10_000, tol=1e-6)
            return model.fit(X, y)

        def rlm(X=X, y=y):
            import statsmodels.api as sm

            norm = sm.robust.norms.HuberT(1.345)
            return sm.RLM(y, sm.add_constant(X), M=norm).fit(maxiter=500)

        others = {"sklearn HuberRegressor": scikit}
        if has_rlm:
            others["statsmodels RLM"] = rlm
        for name, fit in others.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds, model = repeated(fit, min(repeats, 3))
            if name.startswith("sklearn"):
                threshold, coef = model.epsilon * model.scale_, model.coef_
            else:
                threshold, coef = 1.345 * model.scale, model.params[1:]
            same = huber_path(ShiftProblem(X, y), thresholds=[threshold], route="grid")
            gap = float(np.abs(same.coef(len(same) - 1) - coef).max())
            rows.append(base | {"name": name, "other_seconds": seconds, "gap": gap})
    return {"rows": rows, "statsmodels": has_rlm}


TASKS = {"large": large, "group_lasso": group_lasso, "exact": exact, "single": single}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(TASKS[options.task](options.quick, options.repeats)))


if __name__ == "__main__":
    main()
