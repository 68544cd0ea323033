"""Tables, the figures to reach, and the plots."""

import csv
from typing import NamedTuple

import numpy as np

from ..regression_path.report import environment
from . import datasets
from .solvers import SOLVERS

__all__ = ["Table", "document", "plot_counts", "plot_errors", "read", "targets"]

DEFAULT, REFERENCE = "LBI()", "LassoCV"
ORACLE = "oracle"
# The rows of the figures.
SHOWN = (
    DEFAULT,
    "LBI 30, EBIC, refit",
    "LBI 30, BIC",
    "LBI 30, CV",
    "LBI 30, CV 1se",
    "LBI 3, EBIC",
    "LBI 3, CV",
    "ISS, EBIC",
    "ISS, CV",
    REFERENCE,
    "LassoCV 1se",
    "LassoLarsIC, BIC",
    "lasso, EBIC",
    "lasso, EBIC, refit",
    "relaxed lasso, CV",
    "adaptive lasso, EBIC",
    "MCP, EBIC",
    "MCP, EBIC, refit",
    "MCP, CV",
    "SCAD, EBIC",
    "SCAD, EBIC, refit",
    "SCAD, CV",
    ORACLE,
)
NUMBERS = ("true", "false", "model_error", "estimation_error")
NUMBERS += ("prediction_error", "seconds")


def read(path):
    """Rows of the csv file as dictionaries, numbers as numbers; none without a file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {"design": row["design"], "seed": int(row["seed"]), "method": row["method"]}
            | {name: float(row[name]) for name in NUMBERS}
            for row in csv.DictReader(file)
        ]


class Mean(NamedTuple):
    """Mean over the seeds and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values):
        values = np.asarray(values, dtype=float)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return cls(float(values.mean()), float(error))

    def show(self, digits):
        spread = "" if np.isnan(self.error) else f" ± {self.error:.{digits}f}"
        return f"{self.value:.{digits}f}{spread}"


class Table:
    """All rows, by design and method; methods and designs in the order of the code."""

    def __init__(self, rows):
        self.cells = {}
        for row in rows:
            cell = self.cells.setdefault((row["design"], row["method"]), {})
            cell[row["seed"]] = row
        known = [*datasets.DESIGNS, datasets.QUICK_DESIGN]
        self.designs = [d for d in known if any(d.name == k[0] for k in self.cells)]
        labels = [label for solver in SOLVERS for label in solver.labels]
        self.methods = [m for m in labels if any(m == key[1] for key in self.cells)]

    def has(self, design, method):
        return (design.name, method) in self.cells

    def values(self, design, method, name):
        """{seed: number}; "wrong" counts variables missed and variables false."""
        cell = self.cells[design.name, method]
        if name == "wrong":
            return {k: design.s - row["true"] + row["false"] for k, row in cell.items()}
        return {k: row[name] for k, row in cell.items()}

    def mean(self, design, method, name):
        return Mean.of(list(self.values(design, method, name).values()))

    def ratio(self, design, method, name="model_error"):
        """Ratio of the means to LassoCV's over common seeds, error by linearization."""
        top = self.values(design, method, name)
        bottom = self.values(design, REFERENCE, name)
        seeds = sorted(top.keys() & bottom.keys())
        a, b = (np.array([part[k] for k in seeds]) for part in (top, bottom))
        ratio = a.mean() / b.mean()
        return Mean(float(ratio), Mean.of(a - ratio * b).error / float(b.mean()))


def targets(table):
    """Markdown lines on what was aimed at, and whether all of it was reached."""
    design = datasets.DESIGNS[0]
    if not (table.has(design, DEFAULT) and table.has(design, REFERENCE)):
        return [], True
    true = table.mean(design, DEFAULT, "true")
    false = table.mean(design, DEFAULT, "false")
    ratio = table.ratio(design, DEFAULT)
    rows = [
        ("true variables at least 9.8", true, true.value >= 9.8),
        ("false variables at most 2", false, false.value <= 2),
        (f"model error at most 0.5 of {REFERENCE}'s", ratio, ratio.value <= 0.5),
    ]
    lines = [
        f"`LBI()` on `{design.name}` (n = {design.n}, p = {design.p}, s = {design.s}):",
        "",
        "| aimed at | measured | reached |",
        "|---|---|---|",
    ]
    lines += [f"| {a} | {b.show(2)} | {'yes' if c else '**no**'} |" for a, b, c in rows]
    return [*lines, ""], all(row[2] for row in rows)


def document(table, quick=False):
    """The whole Markdown report."""
    counts = sorted({len(cell) for cell in table.cells.values()})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    title = "# Selection study" + (" (quick run, means nothing)" if quick else "")
    lines = [
        title,
        "",
        "Made by `python -m benchmarks.selection_study"
        + (" --quick`." if quick else f" --seeds {counts[-1]}`.")
        + f" Draws per design: {seeds} (seeds from 0). Every row of the tables"
        " is a mean over them, ± one standard error.",
        "",
        *environment(),
        "",
        *_explanation(),
    ]
    lines += ["## The figure to reach", "", *targets(table)[0]] if not quick else []
    if any(table.has(design, REFERENCE) for design in table.designs):
        lines += [
            "## Model error relative to LassoCV",
            "",
            "The last column is the geometric mean over the designs.",
            "",
            *_overview(table, lambda d, m: table.ratio(d, m).value, 2, geometric=True),
        ]
    lines += [
        "## Wrong variables: missed plus false",
        "",
        *_overview(table, lambda d, m: table.mean(d, m, "wrong").value, 1),
    ]
    if not quick:
        lines += ["![variables](true_false.png)", "", "![errors](model_error.png)", ""]
    for design in table.designs:
        lines += _design_table(table, design)
    return "\n".join(lines)


def _explanation():
    return [
        "Truth: ten coefficients of the size given and of random sign at random places "
        "(*adjacent*: two runs of five neighbours), noise of standard deviation 1. "
        "*Model error* is (b − b\\*)′ Σ (b − b\\*), *estimation error* ‖b − b\\*‖², "
        "*prediction error* the expected squared error for a new row (noise: 1).",
        "",
        "- All cross-validation uses the same five folds, all paths standardized "
        "columns. *1se* is the most regularized point within one standard error.",
        "- `LBI()` is the default estimator as it comes: kappa 30, EBIC, no refit. "
        "*LBI 30* and all other rows of this package end the path when n/2 variables "
        "are in. *CV, refit* scores refits in the folds and reports the refit.",
        "- EBIC, wherever it appears, is this package's "
        "`InformationCriterion('ebic')` on the refits of the path in question. *lasso, "
        "EBIC* reports the coefficients of the path at that point, *refit* least "
        "squares.",
        "- LassoLarsIC needs a noise variance when n < p. It is given the residual sum "
        "of squares of LassoCV over n minus its number of variables (the seconds "
        "include that); for n > p it uses its own estimate.",
        "- The relaxed lasso mixes lasso and refit with shares 0, 0.25, ..., 1; share "
        "and penalty are chosen together by cross-validation on LassoCV's penalties. "
        "The adaptive lasso has weights 1/|coefficient of LassoCV|.",
        "- MCP (gamma 3) and SCAD (gamma 3.7) run from the first penalty without any "
        "variable down to 0.05 (n < p) or 0.01 of it, 100 values. EBIC looks at no "
        "more than n/4 variables there: with n/2 it takes fits to noise in some draws.",
        "- *oracle* is least squares on the true variables, *best of the ISS path* "
        "least squares on the support of the ISS path that has the fewest wrong "
        "variables (both know the truth), *null model* the mean of y.",
        "- *Seconds* are processor seconds of the fit from which a row is read, on a "
        "shared machine. Rules that read the same fit have the same seconds.",
        "",
    ]


def _overview(table, number, digits, geometric=False):
    """One line per method, one column per design."""
    head = " | ".join(design.name for design in table.designs)
    last = " | all |" if geometric else " |"
    lines = [f"| method | {head}{last}"]
    lines.append("|---|" + "---|" * (len(table.designs) + geometric))
    for method in table.methods:
        values = [
            number(design, method) if table.has(design, method) else np.nan
            for design in table.designs
        ]
        if geometric:
            values.append(np.exp(np.mean(np.log(values))))
        cells = ("-" if np.isnan(value) else f"{value:.{digits}f}" for value in values)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _design_table(table, design):
    size = design.size
    sizes = (
        f"sizes {size[0]} to {size[1]}" if isinstance(size, tuple) else f"size {size}"
    )
    kind = {"identity": "independent", "ar1": f"AR(1) {design.correlation}"}.get(
        design.kind, f"{design.kind} {design.correlation}"
    )
    runs = f", in runs of {design.run} neighbours" if design.run > 1 else ""
    lines = [
        f"## {design.name}",
        "",
        f"{design.n} x {design.p}, {kind}, {design.s} true coefficients of "
        f"{sizes}{runs}.",
        "",
        "| method | true | false | model error | / LassoCV | estimation error "
        "| prediction error | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in table.methods:
        if not table.has(design, method):
            continue
        ratio = "-"
        if table.has(design, REFERENCE):
            ratio = table.ratio(design, method).show(2)
        cells = [table.mean(design, method, name).show(1) for name in NUMBERS[:2]]
        cells += [table.mean(design, method, NUMBERS[2]).show(3), ratio]
        cells += [table.mean(design, method, name).show(3) for name in NUMBERS[3:]]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*lines, ""]


# ---------------------------------------------------------------------------- figures


def _panels(table):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    methods = [method for method in SHOWN if method in table.methods]
    n_columns = min(4, len(table.designs))
    n_rows = -(-len(table.designs) // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(2 + 2.5 * n_columns, 0.8 + (0.7 + 0.18 * len(methods)) * n_rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(table.designs) :]:
        ax.set_visible(False)
    for ax, design in zip(axes.flat, table.designs, strict=False):
        ax.set_title(f"{design.name}: {design.title}", fontsize=8.5)
        ax.grid(True, axis="both", alpha=0.3)
        ax.tick_params(labelsize=8)
    axes[0, 0].set_yticks(range(len(methods)), methods)
    axes[0, 0].invert_yaxis()
    return figure, axes, methods


def _colour(method):
    if method == ORACLE:
        return "black"
    ours = method.startswith(("LBI", "ISS"))
    return "tab:red" if ours else "tab:gray"


def plot_counts(table, path):
    """True variables (full) and false ones (open) per design and method."""
    import matplotlib.pyplot as plt

    figure, axes, methods = _panels(table)
    for ax, design in zip(axes.flat, table.designs, strict=False):
        for height, method in enumerate(methods):
            if not table.has(design, method):
                continue
            for name, face in (("true", _colour(method)), ("false", "white")):
                mean = table.mean(design, method, name)
                ax.errorbar(
                    mean.value,
                    height,
                    xerr=mean.error,
                    fmt="o" if name == "true" else "D",
                    color=_colour(method),
                    markerfacecolor=face,
                    markersize=5,
                    capsize=2,
                )
        ax.axvline(design.s, color="black", linewidth=0.8, linestyle=":")
        ax.set_xscale("symlog", linthresh=2, linscale=1)
        ax.set_xlim(-0.2, 120)
        ax.set_xticks([0, 1, 2, 5, 10, 20, 50, 100], [0, 1, 2, 5, 10, 20, 50, 100])
        ax.minorticks_off()
    figure.supxlabel(
        "variables: true (full circles, dotted line: all of them) and false "
        "(open diamonds); mean ± standard error",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_errors(table, path):
    """Model error relative to LassoCV per design and method."""
    import matplotlib.pyplot as plt

    figure, axes, methods = _panels(table)
    for ax, design in zip(axes.flat, table.designs, strict=False):
        for height, method in enumerate(methods):
            if not table.has(design, method):
                continue
            ratio = table.ratio(design, method)
            ax.errorbar(
                ratio.value,
                height,
                xerr=ratio.error,
                fmt="o",
                color=_colour(method),
                markersize=5,
                capsize=2,
            )
        ax.axvline(1, color="black", linewidth=0.8, linestyle=":")
        ax.set_xscale("log")
        ticks = [0.1, 0.2, 0.5, 1, 2, 5]
        ax.set_xticks(ticks, ticks)
        ax.minorticks_off()
    figure.supxlabel(
        "model error / that of LassoCV (left of the dotted line is better); "
        "ratio of means ± standard error",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
