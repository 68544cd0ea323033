"""Tables, targets and the plot."""

import platform
from pathlib import Path

import numpy as np
import scipy.sparse

from ..startup import quartiles

__all__ = [
    "case_table",
    "describe",
    "document",
    "environment",
    "plot",
    "target_table",
]

PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "sparselbi")
PACKAGES += ("celer", "skglm", "adelie")

LBI, ISS, LOOP, LARS, LARS_ISS, LARS_LASSO, ADELIE = (
    "sparselbi lbi_path",
    "sparselbi iss_path",
    "NumPy LBI loop",
    "scikit-learn lars_path",
    "scikit-learn lars_path, ISS length",
    "scikit-learn lars_path lasso, ISS length",
    "adelie",
)

# Least speed-up over the plain NumPy loop.
SPEED_UP = {
    "gauss_200_1000": 60,
    "gauss_1000_2000": 150,
    "gauss_5000_500": 200,
    "binom_1000_500": 12,
}


def environment():
    """Versions, threads and processor, one line each."""
    from importlib.metadata import PackageNotFoundError, version

    from threadpoolctl import threadpool_info

    lines = [f"- Python {platform.python_version()}, {_processor()}"]
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name}: no installed version")
    lines.append("- " + ", ".join(found))
    pools = {
        f"{pool['internal_api']} {pool.get('version')}: {pool['num_threads']} thread(s)"
        for pool in threadpool_info()
    }
    lines.append("- " + ", ".join(sorted(pools)))
    return lines


def _processor():
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def describe(case, task):
    """The numbers about a task that the report needs (not X itself)."""
    sparse = scipy.sparse.issparse(task.X)
    size = task.X.data.nbytes + task.X.indices.nbytes if sparse else task.X.nbytes
    return {
        "loss": case.loss,
        "sparse": sparse,
        "shape": task.X.shape,
        "n_active": task.n_active,
        "n_steps": task.n_steps,
        "n_knots_iss": task.n_knots_iss,
        "megabytes": size / 2**20,
    }


def _find(rows, case, solver):
    for row in rows:
        if (row.case, row.solver) == (case, solver) and row.seconds:
            return row
    return None


def _ratio(rows, case, top, bottom):
    """Median and quartiles of time(top)/time(bottom), round by round."""
    top, bottom = _find(rows, case, top), _find(rows, case, bottom)
    if top is None or bottom is None:
        return None
    return quartiles(np.divide(top.seconds, bottom.seconds).tolist())


def _cell(ratio, digits=2):
    if ratio is None:
        return "-"
    median, low, high = (f"{value:.{digits}f}" for value in ratio)
    return f"{median} [{low}, {high}]"


def case_table(case, tasks, rows):
    """Markdown table of one case."""
    task = tasks[case]
    n, p = task["shape"]
    lines = [
        f"### {case}",
        "",
        f"{n} x {p}, {task['loss']} loss, until {task['n_active']} variables are in: "
        f"{task['n_steps']} LBI steps"
        + (f", {task['n_knots_iss']} ISS knots" if task["n_knots_iss"] else "")
        + f"; X takes {task['megabytes']:.1f} MB.",
        "",
        "| solver | seconds, median [quartiles] | x NumPy loop | / lars_path "
        "| / adelie | points | check | MB beyond X |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.case != case:
            continue
        if not row.seconds:
            lines.append(f"| {row.solver} | {row.message} | | | | | | |")
            continue
        seconds = _cell(quartiles(row.seconds), 4)
        if row.part < 1:
            seconds += f" (extrapolated from {100 * row.part:.2g} % of the steps)"
        if row.message:
            seconds += f" **{row.message}**"
        cells = (
            row.solver,
            seconds,
            _cell(_ratio(rows, case, LOOP, row.solver), 1),
            _cell(_ratio(rows, case, row.solver, LARS)),
            _cell(_ratio(rows, case, row.solver, ADELIE)),
            str(row.points),
            "-" if np.isnan(row.check) else f"{row.check:.1e}",
            "-" if row.memory is None else f"{row.memory:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def target_table(rows, tasks, equality, start):
    """Markdown table: what was aimed at, what was measured."""
    targets = []
    for case in tasks:
        least = SPEED_UP.get(case.removesuffix("_unit"))
        ratio = _ratio(rows, case, LOOP, LBI)
        if least and ratio:
            text = f"{case}: NumPy loop / lbi_path at least {least}"
            targets.append((text, _cell(ratio, 0), ratio[0] >= least))
    for case, task in tasks.items():
        if task["n_active"] < 60:  # a quick run: fixed costs are all there is
            continue
        ratio = _ratio(rows, case, LBI, LARS)
        if ratio:
            text = f"{case}: lbi_path / lars_path ({task['n_active']} steps) at most 1"
            targets.append((text, _cell(ratio), ratio[0] <= 1))
        for other in (LARS_ISS, LARS_LASSO):
            ratio = _ratio(rows, case, ISS, other)
            if ratio:
                name = other.removeprefix("scikit-learn ")
                text = f"{case}: iss_path / {name} at most 1"
                targets.append((text, _cell(ratio), ratio[0] <= 1))
    for case, task in tasks.items():
        row = _find(rows, case, LBI)
        if task["sparse"]:
            median = quartiles(row.seconds)[0]
            targets.append(
                (f"{case}: lbi_path below 0.5 s", f"{median:.3f} s", median < 0.5)
            )
            error = equality[case]
            targets.append(
                (f"{case}: equal to dense to 1e-10", f"{error:.1e}", error < 1e-10)
            )
        elif row.memory is not None:
            share = row.memory / task["megabytes"]
            text = f"{case}: peak memory of lbi_path beyond X, below 0.5 X"
            targets.append((text, f"{share:.2f} X", share < 0.5))
    if start:
        for name, text, most in (
            ("package", "import sparselbi beyond import sklearn.linear_model", 0.3),
            ("names", "import of LBI and lbi_path, likewise", 0.3),
            ("first", "first fit of a later process", 0.5),
            ("first_ever", "first fit ever (nothing compiled)", 20),
            ("warm", "LBI().fit on the diabetes data, warm", 0.01),
        ):
            values = quartiles(start[name])
            targets.append(
                (f"{text}: at most {most} s", _cell(values, 3) + " s", values[0] < most)
            )
    lines = ["| target | measured, median [quartiles] | met |", "|---|---|---|"]
    lines += [f"| {a} | {b} | {'yes' if met else '**no**'} |" for a, b, met in targets]
    return [*lines, ""]


def document(environment_lines, tasks, rows, equality, start, repeats, quick):
    """The whole Markdown report."""
    title = "# Time of a whole regularization path"
    lines = [title + (" (quick run: sizes too small to mean much)" if quick else "")]
    lines += [
        "",
        "Made by `python -m benchmarks.regression_path"
        + (" --quick" if quick else "")
        + f" --repeats {repeats}`.",
        "",
        *environment_lines,
        "",
        "Processor time of one thread. Every round runs each solver once, after an "
        "untimed first run that compiles; ratios are taken round by round. "
        "kappa_raw = 100, no intercept, columns as they are (the row *defaults* "
        "centres and standardizes). In the cases `*_unit` y is scaled to variance one, "
        "which makes kappa relative to y about nine times as large and LBI as many "
        "times as long, and changes nothing else. "
        "The time of `lbi_path` and `iss_path` includes building the problem and the "
        "step size; X is row-major for them and for the NumPy loop, column-major for "
        "the others, converted before the clock starts. Penalized solvers get 100 "
        "values of alpha down to the first at which the lasso has the same number of "
        "variables, with their default tolerances. *check*: for LBI the largest "
        "difference to the plain recursion over the largest coefficient, for ISS the "
        "largest violation of the dual conditions, for the lasso the relative "
        "violation of the optimality conditions at the last alpha. *MB beyond X*: "
        "resident memory at its peak, less that before the run, in a process of its "
        "own.",
        "",
        "## Targets",
        "",
        *target_table(rows, tasks, equality, start),
        "## Cases",
        "",
    ]
    for case in tasks:
        lines += case_table(case, tasks, rows)
    lines += ["![times](regression_path.png)", ""]
    return "\n".join(lines)


def plot(tasks, rows, path):
    """Dots at the medians, lines over the quartiles; one panel per case."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    timed = [row for row in rows if row.seconds]
    solvers = list(dict.fromkeys(row.solver for row in rows))
    solvers = [name for name in solvers if any(row.solver == name for row in timed)]
    n_columns = min(4, len(tasks))
    n_rows = -(-len(tasks) // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(2.2 + 2.6 * n_columns, 0.8 + 0.3 * len(solvers) * n_rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(tasks) :]:
        ax.set_visible(False)
    for ax, case in zip(axes.flat, tasks, strict=False):
        for height, name in enumerate(solvers):
            row = _find(rows, case, name)
            if row is None:
                continue
            median, low, high = quartiles(row.seconds)
            colour = "tab:red" if name.startswith("sparselbi") else "tab:gray"
            ax.errorbar(
                median,
                height,
                xerr=[[median - low], [high - median]],
                fmt="o",
                color=colour,
                capsize=3,
                markersize=5,
                markerfacecolor="white" if row.part < 1 else colour,
            )
        ax.set_title(case, fontsize=9)
        ax.set_xscale("log")
        ax.grid(True, axis="x", alpha=0.4)
        ax.xaxis.set_major_locator(LogLocator(numticks=12))
        ax.tick_params(labelsize=8)
    axes[0, 0].set_yticks(range(len(solvers)), solvers)
    axes[0, 0].invert_yaxis()
    figure.supxlabel(
        "seconds for the path: median and quartiles (open: extrapolated)", fontsize=9
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)
