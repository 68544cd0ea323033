"""Tables and the figure."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
import pandas as pd

from .methods import LABELS, TOLERANCE
from .study import statistical_dimension, wainwright

__all__ = ["Target", "document", "plot", "targets"]

PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "sparselbi")

# How the figure draws methods: colour, marker, line. The others lie on basis pursuit's
# curve and are in the tables.
STYLES = {
    "bp": ("#bbbbbb", None, "-"),
    "iss": ("#0072b2", "o", "-"),
    "omp": ("#009e73", "s", "-"),
    "lasso_signs": ("#cc79a7", "D", "-"),
}


def document(table, compared, plan, seconds, quick):
    """The Markdown report."""
    p = plan.n_features
    grid = table[table["part"] == "grid"]
    lines = ["# Exact recovery from y = A x"]
    if quick:
        lines[0] += " (quick run: too few instances to mean much)"
    lines += [
        "",
        "Made by `python -m benchmarks.recovery" + (" --quick" if quick else "") + "`.",
        "",
        *_environment(),
        f"- {plan.repetitions} instances per s and n, seeds "
        "`SeedSequence((s, n, repetition))`; all methods see the same instances; "
        f"{seconds:.0f} s of one thread",
        "",
        f"p = {p} columns, s nonzero coefficients, n equations, no noise, no "
        "intercept, columns as they are. Recovered: no coefficient is off by more than "
        f"{TOLERANCE:g} of the largest. n_50 is the sample size at which one half of "
        "the instances is recovered, by logistic interpolation, ± its standard error; "
        "`-`: not reached on the grid. Methods stop without knowledge of the truth, "
        "except for *signs right at some alpha*. *First exact refit*: along the path, "
        "least squares on the nonzero columns, until fewer columns than equations fit "
        "exactly.",
        "",
        "## Normal A, coefficients -1 and 1",
        "",
        *_table(grid, "n_nonzero", lambda s: f"s = {s}"),
        *_theory(p, plan.sizes),
        "",
        "The target, n_50 of ISS within Monte-Carlo error of basis pursuit's or below "
        "it:",
        "",
        *_target_table(table),
        "",
        f"Of {compared['instances']:.0f} instances (all kinds of A), ISS and basis "
        f"pursuit disagree about {compared['differ']:.0f}; "
        f"{compared['incomplete']:.0f} "
        "ISS paths say themselves that they are not complete (`status`). The end of "
        "the others has the l1 norm of the linear program's solution to "
        f"{compared['gap']:.1e} (relative, largest) and solves the equations to "
        f"{compared['misfit']:.1e}.",
        "",
        f"## Other kinds of A and of coefficients, s = {plan.middle}",
        "",
        *_table(_with_kind(table[table["part"] != "kappa"], plan.middle), "kind", str),
        "",
        "scikit-learn's LARS stops before the end on some A of signs, whose columns "
        "tie.",
        "",
        f"## Damping of LBI, normal A, coefficients -1 and 1, s = {plan.middle}",
        "",
        "| method | n_50 |",
        "|---|---|",
    ]
    for row in table[table["part"] == "kappa"].itertuples():
        name = _kappa_label(row.method)
        lines.append(f"| {name} | {_cell(row.n_50, row.standard_error)} |")
    return "\n".join([*lines, "", "![recovery](recovery.png)", ""])


def _environment():
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name}: no installed version")
    return [f"- Python {platform.python_version()}, " + ", ".join(found)]


def _cell(n_50, error):
    return "-" if np.isnan(n_50) else f"{n_50:.1f} ± {error:.1f}"


def _table(table, columns, heading):
    """Methods in rows, `columns` in columns."""
    keys = list(dict.fromkeys(table[columns]))
    lines = ["| method | " + " | ".join(map(heading, keys)) + " |"]
    lines += ["|---|" + "---|" * len(keys)]
    for name, label in LABELS.items():
        rows = table[table["method"] == name].set_index(columns)
        cells = [_cell(*rows.loc[key, ["n_50", "standard_error"]]) for key in keys]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _theory(p, sizes):
    """The last rows of the first table."""
    lines = []
    for label, formula in (
        ("*theory, basis pursuit: statistical dimension*", statistical_dimension),
        ("*theory, lasso signs: 2 s log(p - s) + s + 1*", wainwright),
    ):
        cells = [f"{formula(p, s):.1f}" for s in sizes]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


class Target(NamedTuple):
    """n_50 of ISS beside that of basis pursuit."""

    n_nonzero: int
    difference: float
    standard_error: float
    met: bool


def targets(table):
    """One row per number of nonzeros of the grid at which both are known."""
    wide = table[table["part"] == "grid"].pivot(index="n_nonzero", columns="method")
    found = []
    for s, row in wide.iterrows():
        difference = row["n_50", "iss"] - row["n_50", "bp"]
        error = row["standard_error", "bp"]
        if np.isfinite(difference):
            found.append(Target(s, difference, error, bool(difference <= error)))
    return found


def _target_table(table):
    lines = ["| s | n_50 ISS - n_50 basis pursuit | standard error of one | met |"]
    lines += ["|---|---|---|---|"]
    for s, difference, error, met in targets(table):
        verdict = "yes" if met else "**no**"
        lines.append(f"| {s} | {difference:+.2f} | {error:.2f} | {verdict} |")
    return lines


def _with_kind(table, s):
    table = table[table["n_nonzero"] == s]
    names = {"signs": "±1", "gaussian": "normal"}
    kind = [
        f"{design} A, {names[signal]}"
        for design, signal in zip(table["design"], table["signal"], strict=True)
    ]
    return table.assign(kind=pd.Series(kind, index=table.index, dtype=object))


def _kappa_label(method):
    return "ISS" if method == "iss" else "kappa_raw = " + method.removeprefix("lbi_")


def plot(counts, table, plan, path):
    """Three panels: n_50 against s, success against n, and the damping."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
    _plot_halves(axes[0], table[table["part"] == "grid"], plan)
    s = plan.sizes[len(plan.sizes) // 3]
    grid = counts[(counts["part"] == "grid") & (counts["n_nonzero"] == s)]
    _plot_shares(axes[1], grid, s)
    _plot_kappa(axes[2], counts[counts["part"] == "kappa"], plan)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_halves(ax, grid, plan):
    p = plan.n_features
    s = np.arange(1, max(plan.sizes) + 3)
    ax.plot(
        *(s, [statistical_dimension(p, k) for k in s]),
        *("--",),
        color="0.25",
        lw=1,
        label="theory: basis pursuit",
    )
    needed = np.array([wainwright(p, k) for k in s])
    ax.plot(
        *(s[needed < p], needed[needed < p]),
        *(":",),
        color="0.25",
        lw=1.2,
        label="theory: 2 s log(p − s) + s + 1",
    )
    for name, (color, marker, line) in STYLES.items():
        rows = grid[grid["method"] == name].dropna()
        wide = name == "bp"
        ax.errorbar(
            rows["n_nonzero"],
            rows["n_50"],
            2 * rows["standard_error"],
            color=color,
            marker=marker,
            ms=5,
            mfc="none",
            ls=line,
            lw=6 if wide else 1.3,
            elinewidth=1,
            zorder=1 if wide else 2,
            label=LABELS[name],
        )
    ax.set(
        xlabel="nonzero coefficients s",
        ylabel="equations n",
        title=f"One half recovered, p = {p}",
        ylim=(0, p),
        xlim=(0, max(plan.sizes) + 2),
    )
    ax.legend(fontsize=7.5, loc="lower right", frameon=False)


def _plot_shares(ax, grid, s):
    for name, (color, marker, line) in STYLES.items():
        rows = grid[grid["method"] == name]
        share = rows["successes"] / rows["repetitions"]
        wide = name == "bp"
        ax.errorbar(
            rows["n_samples"],
            share,
            np.sqrt(share * (1 - share) / rows["repetitions"]),
            color=color,
            marker=marker,
            ms=4,
            mfc="none",
            ls=line,
            lw=6 if wide else 1.3,
            elinewidth=0.8,
            zorder=1 if wide else 2,
        )
    ax.set(
        xlabel="equations n",
        ylabel="share recovered",
        title=f"s = {s}",
        ylim=(-0.03, 1.03),
    )


def _plot_kappa(ax, rows, plan):
    from matplotlib import colormaps

    names = list(dict.fromkeys(rows["method"]))
    for k, name in enumerate(names):
        group = rows[rows["method"] == name]
        last = name == "iss"
        ax.plot(
            group["n_samples"],
            group["successes"] / group["repetitions"],
            color=STYLES["iss"][0] if last else colormaps["YlOrBr"](0.3 + 0.1 * k),
            marker="o" if last else None,
            ms=4,
            mfc="none",
            lw=1.5,
            label=_kappa_label(name),
        )
    ax.set(
        xlabel="equations n",
        ylabel="share recovered",
        title=f"LBI at its end, s = {plan.middle}",
        ylim=(-0.03, 1.03),
    )
    ax.legend(fontsize=8, frameon=False)
