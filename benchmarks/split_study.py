"""Which rows of D does a path find first? The published study, and its competitors.

Run as ``python -m benchmarks.split_study [--quick] [--seeds 100]``. Data of the study
of Huang, Sun, Xiong and Yao (2016): n = p = 50, independent normal columns, noise 1,
and coefficients that are zero but for three runs of five at -2, 2, -2. D is the
identity, or first differences stacked on the identity (fused lasso). Rows of D are
ranked by their first entry; the figure is the area under the ROC curve of that ranking
against the rows with a nonzero ``D @ coef``. Paths end at 20 times the first entry
time, with ``kappa_raw = 200``. The generalized lasso (100 penalties, rows ranked by the
largest penalty with a nonzero row) runs if cvxpy and Clarabel are installed. Results go
to ``--output`` as Markdown and CSV.
"""

import argparse
import csv
import platform
import statistics
import time
from pathlib import Path

import numpy as np

import sparselbi
from sparselbi import Problem, split_iss_path, split_lbi_path
from sparselbi.datasets import make_split_study
from sparselbi.penalties import differences, identity, stack
from sparselbi.selection import row_auc

try:
    import cvxpy
except ImportError:
    cvxpy = None

NUS = (1.0, 5.0, 10.0)
KAPPA = 200.0
RATIO = 20.0
TARGETS = {"fused": (0.9914, 0.9975, 0.9978), "identity": (0.980, 0.993, 0.995)}
COLUMNS = ("D", "method", "nu_raw", "seed", "auc", "steps", "seconds")


def transforms(p):
    return {"fused": stack(differences(p), identity(p)), "identity": identity(p)}


def split_lbi(problem, D, nu, form):
    if form == "exact":
        path = split_iss_path(problem, D, nu_raw=nu)
        return split_iss_path(problem, D, nu_raw=nu, t_max=RATIO * path.t0)
    options = {"method": "eliminated"} if form == "eliminated" else {"method": "joint"}
    if form == "joint, from zero":
        options["start"] = "zero"
    options |= {"nu_raw": nu, "kappa_raw": KAPPA, "n_knots": 100}
    first = split_lbi_path(problem, D, t_max=1e-300, **options)
    return split_lbi_path(problem, D, t_max=RATIO * first.t0, **options)


def generalized_lasso(X, y, D, n_points=100, ratio=1000.0):
    """Largest penalty with a nonzero row, for each row of D (0: none).

    Rows count as nonzero above 1e-4 of the largest one on the path.
    """
    dense, (n, p) = D.to_dense(), X.shape
    coef, penalty = cvxpy.Variable(p), cvxpy.Parameter(nonneg=True)
    loss = cvxpy.sum_squares(y - X @ coef) / (2 * n)
    question = cvxpy.Problem(cvxpy.Minimize(loss + penalty * cvxpy.norm1(dense @ coef)))
    top = np.abs(X.T @ y).max() / n  # all coefficients are zero from there on
    values, rows = np.geomspace(top, top / ratio, n_points), []
    for value in values:
        penalty.value = value
        question.solve(solver=cvxpy.CLARABEL)
        rows.append(np.abs(dense @ coef.value))
    active = np.array(rows) > 1e-4 * np.max(rows)
    return np.where(active.any(axis=0), values[active.argmax(axis=0)], 0.0)


def auc(score, truth):
    """Area under the ROC curve, ties counted half."""
    higher = score[truth][:, None] - score[~truth][None, :]
    return float(np.mean(np.where(higher == 0, 0.5, higher > 0)))


def run(n_seeds, n_lasso):
    rows = []
    forms = ("eliminated", "exact", "joint", "joint, from zero")
    for seed in range(n_seeds):
        data = make_split_study(random_state=seed)
        X, y, coef = data.X, data.y, data.coef
        problem = Problem(X, y, fit_intercept=False, standardize=False)
        for name, D in transforms(X.shape[1]).items():
            truth = np.abs(D.dot(coef)) > 1e-12
            for nu in NUS:
                for form in forms:
                    start = time.process_time()
                    path = split_lbi(problem, D, nu, form)
                    taken = time.process_time() - start
                    value = row_auc(path, truth)
                    rows.append((name, form, nu, seed, value, path.n_iter, taken))
            if cvxpy is not None and seed < n_lasso:
                start = time.process_time()
                entry = generalized_lasso(X, y, D)
                taken = time.process_time() - start
                value = auc(entry, truth)
                rows.append((name, "generalized lasso", 0.0, seed, value, 0, taken))
        print(f"seed {seed}", flush=True)
    return rows


def report(rows):
    n_seeds = len({row[3] for row in rows})
    lines = [
        "# Which rows of D a path finds first",
        "",
        f"Area under the ROC curve, mean (standard error) over {n_seeds} seeds. "
        "Targets are the published figures, of the joint form. Steps are means, "
        "processor seconds medians, one thread.",
        "",
        "| D | method | nu_raw | AUC | target | steps | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys(row[:3] for row in rows):
        some = [row for row in rows if row[:3] == key]
        values = np.array([row[4] for row in some])
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        name, form, nu = key
        lasso = form == "generalized lasso"
        target = "" if lasso else f"{TARGETS[name][NUS.index(nu)]:g}"
        steps = "" if lasso else f"{np.mean([row[5] for row in some]):.0f}"
        seconds = statistics.median(row[6] for row in some)
        label = f"{form} ({len(some)} seeds)" if lasso else form
        lines.append(
            f"| {name} | {label} | {'' if lasso else f'{nu:g}'} | "
            f"{values.mean():.4f} ({error:.4f}) | {target} | {steps} | {seconds:.3f} |"
        )
    versions = f"sparselbi {sparselbi.__version__}, NumPy {np.__version__}"
    if cvxpy is not None:
        versions += f", cvxpy {cvxpy.__version__} with Clarabel"
    lines += [
        "",
        f"Python {platform.python_version()}, {versions}, {platform.machine()}. Made "
        "by `python -m benchmarks.split_study`.",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--lasso-seeds", type=int, default=20)
    default = Path(__file__).parent / "split_study_results"
    parser.add_argument("--output", type=Path, default=default)
    options = parser.parse_args()
    rows = run(1, 1) if options.quick else run(options.seeds, options.lasso_seeds)
    text = report(rows)
    print(text)
    if options.quick:
        return
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "split_study.md").write_text(text, encoding="utf-8")
    with open(options.output / "split_study.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
