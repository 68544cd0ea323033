"""Tables and the figure."""

import platform
from importlib.metadata import version
from typing import NamedTuple

__all__ = ["Target", "document", "plot", "targets"]

PACKAGES = ("torch", "torch-pruning", "numpy")
STYLES = {
    "dense": ("#444444", ""),
    "dessilbi": ("#0072b2", "o"),
    "magnitude": ("#e69f00", "s"),
    "proximal": ("#009e73", "^"),
    "admm": ("#cc79a7", "D"),
}
LABELS = {
    "dense": "dense",
    "dessilbi": "DessiLBI",
    "magnitude": "magnitude pruning",
    "proximal": "proximal gradient",
    "admm": "ADMM",
}
SOURCES = {"mnist": "MNIST", "fashion": "Fashion-MNIST"}


class Target(NamedTuple):
    """Something to be reached."""

    what: str
    wanted: str
    found: str
    met: bool


# -- targets -------------------------------------------------------------------------


def targets(tables):
    """What was asked for, and what was found."""
    found = []
    if "lenets" in tables:
        table = tables["lenets"]
        found += _lenet_targets(table)
    if "comparison" in tables:
        found += _comparison_targets(tables["comparison"])
    return found


def _lenet_targets(table):
    wanted = {
        ("300-100", "12x"): (12, 0.2),
        ("300-100", "25x"): (25, 0.5),
        ("5", "parameters"): (12, 0.1),
        ("5", "MACs"): (3, 0.1),
    }
    found = []
    for (net, name), (ratio, loss) in wanted.items():
        rows = table[table["net"] == net].set_index("seed")
        sparse, dense = (rows[rows["version"] == v] for v in (name, "dense"))
        if sparse.empty:
            continue
        column, unit = ("macs", "MACs") if name == "MACs" else ("ratio", "parameters")
        lost = dense["test"] - sparse["test"]
        least = sparse[column].min()
        found.append(
            Target(
                f"LeNet-{net}: fewer {unit}",
                f">= {ratio}x within {loss} point",
                f"{sparse[column].mean():.1f}x (least {least:.1f}x), {_signed(-lost)}",
                bool(least >= ratio and lost.mean() <= loss),
            )
        )
        if net == "5":
            gain = sparse["latency"]
            found.append(
                Target(
                    f"LeNet-5, version for {unit}: latency, batch of 128",
                    ">= 1.5x",
                    f"{gain.median():.1f}x ({gain.min():.1f}-{gain.max():.1f})",
                    bool(gain.median() >= 1.5),
                )
            )
    return found


def _comparison_targets(table):
    found = []
    index = ["source", "ratio", "seed"]
    tests = table.pivot_table(index=index, columns="method", values="test")
    if not {"dessilbi", "magnitude"} <= set(tests):
        return found
    gain = (tests["dessilbi"] - tests["magnitude"]).dropna()
    for (source, ratio), values in gain.groupby(["source", "ratio"]):
        found.append(
            Target(
                f"{SOURCES[source]}, {ratio}x: DessiLBI less magnitude pruning",
                ">= 0",
                _signed(values),
                bool(values.mean() >= 0),
            )
        )
    return found


def _signed(values):
    """Mean difference in points with its standard error."""
    error = f" ± {values.sem():.2f}" if len(values) > 1 else ""
    return f"{values.mean():+.2f}{error} points"


# -- tables --------------------------------------------------------------------------


def document(tables, found, plan, quick):
    """Everything as Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = ["# Sparse networks by DessiLBI beside other methods", ""]
    if quick:
        lines += ["**A quick run: numbers mean nothing.**", ""]
    lines += [
        f"{versions}, Python {platform.python_version()}, {platform.machine()}; "
        f"processes of one thread. {len(plan.seeds)} seeds, each with its own split "
        f"into training and validation (5,000 images); settings were chosen on the "
        f"validation data of another seed. Test accuracy in percent, mean and standard "
        f"deviation over seeds. Parameters count biases.",
        "",
    ]
    if found:
        lines += ["## Targets", "", "| what | wanted | found | |", "|---|---|---|---|"]
        for t in found:
            lines.append(f"| {t.what} | {t.wanted} | {t.found} | {_met(t.met)} |")
        lines.append("")
    if "lenets" in tables:
        lines += _lenets(tables["lenets"], plan)
    if "comparison" in tables:
        lines += _comparison(tables["comparison"], plan)
    if "choose" in tables:
        lines += _choices(tables["choose"])
    if "search" in tables:
        lines += _search(tables["search"])
    return "\n".join(lines) + "\n"


def _met(met):
    return "met" if met else "**missed**"


def _mean(values):
    spread = f" ± {values.std():.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread}"


def _lenets(table, plan):
    lines = [
        "## LeNets on MNIST",
        "",
        "One run each: selection with a constant learning rate until the selected "
        "groups hold the wanted share, then the rest is cut off and the small network "
        f"tuned; as many epochs as the dense run ({plan.epochs_300_100} for "
        f"LeNet-300-100, {plan.epochs_5} for LeNet-5). LeNet-300-100 selects single "
        "weights, LeNet-5 filters and neurons, which are removed.",
        "",
        "| net | version | fewer parameters | fewer MACs | latency | test % | "
        "validation % | epochs of selection | seconds | widths |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for (net, name), rows in table.groupby(["net", "version"], sort=False):
        cells = [f"LeNet-{net}", name, f"{rows['ratio'].mean():.1f}x"]
        for column, form in (("macs", "{:.1f}x"), ("latency", "{:.1f}x")):
            value = rows[column].mean() if column in rows else float("nan")
            cells.append("" if value != value else form.format(value))
        cells += [_mean(rows["test"]), _mean(rows["validation"])]
        epochs = rows["selection epochs"].mean()
        cells.append("" if epochs != epochs else f"{epochs:.1f}")
        cells.append(f"{rows['seconds'].mean():.0f}")
        widths = rows["widths"].dropna() if "widths" in rows else []
        cells.append(", ".join(sorted(set(widths))))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _comparison(table, plan):
    lines = [
        "## Comparison",
        "",
        f"LeNet-300-100, single weights, {plan.epochs} epochs for every method: a "
        "first phase that decides what is kept, then tuning with the mask, the same "
        "for all. "
        "Magnitude pruning is `torch.nn.utils.prune.global_unstructured`; for single "
        "weights the group lasso is the lasso. All ratios of a method come from one "
        "first phase, except for ADMM, which has to know the ratio.",
        "",
    ]
    for source, rows in table.groupby("source", sort=False):
        ratios = sorted(set(rows["ratio"]) - {1})
        dense = rows[rows["method"] == "dense"]["test"]
        lines += [
            f"### {SOURCES[source]}",
            "",
            f"Dense: {_mean(dense)}.",
            "",
            f"| method | {' | '.join(f'{r}x' for r in ratios)} | seconds |",
            f"|---|{'---:|' * (len(ratios) + 1)}",
        ]
        for method in LABELS:
            mine = rows[rows["method"] == method]
            if method == "dense" or mine.empty:
                continue
            cells = [_mean(mine[mine["ratio"] == r]["test"]) for r in ratios]
            seconds = mine.groupby("seed")["seconds"].sum().mean()
            lines.append(f"| {LABELS[method]} | {' | '.join(cells)} | {seconds:.0f} |")
        lines.append("")
    return lines


def _choices(table):
    columns = [c for c in table if c.startswith("validation ")]
    lines = [
        "## Settings of the comparison",
        "",
        "Validation accuracy at some ratios; the best mean was taken.",
        "",
        f"| data | method | settings | "
        f"{' | '.join(c.split()[1] + 'x' for c in columns)} | |",
        f"|---|---|---|{'---:|' * len(columns)}---|",
    ]
    best = set(table.groupby(["source", "method"])["validation"].idxmax())
    for k, row in table.iterrows():
        cells = [f"{row[c]:.2f}" for c in columns]
        taken = "taken" if k in best else ""
        lines.append(
            f"| {SOURCES[row['source']]} | {LABELS[row['method']]} | "
            f"`{row['settings']}` | {' | '.join(cells)} | {taken} |"
        )
    return [*lines, ""]


def _search(table):
    lines = [
        "## Settings of the LeNets",
        "",
        "The first of each version was taken.",
        "",
        "| net | version | settings | fewer parameters | fewer MACs | validation % |",
        "|---|---|---|---:|---:|---:|",
    ]
    for _, row in table.iterrows():
        macs = row["macs"] if "macs" in row else float("nan")
        lines.append(
            f"| LeNet-{row['net']} | {row['version']} | `{row['settings']}` | "
            f"{row['ratio']:.1f}x | {'' if macs != macs else f'{macs:.1f}x'} | "
            f"{row['validation']:.2f} |"
        )
    return [*lines, ""]


# -- figure --------------------------------------------------------------------------


def plot(tables, path):
    """Test accuracy against the ratio, one panel per data set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    if "comparison" not in tables:
        return
    table = tables["comparison"]
    sources = list(dict.fromkeys(table["source"]))
    figure, axes = plt.subplots(
        1, len(sources), figsize=(4.6 * len(sources), 3.6), squeeze=False
    )
    for ax, source in zip(axes[0], sources, strict=True):
        rows = table[table["source"] == source]
        for k, (method, (color, marker)) in enumerate(STYLES.items()):
            mine = rows[rows["method"] == method].groupby("ratio")["test"]
            if not len(mine):
                continue
            if method == "dense":
                ax.axhline(mine.mean().iloc[0], color=color, ls=":", label="dense")
                continue
            mean, spread = mine.mean(), mine.std().fillna(0)
            at = mean.index * 1.02 ** (k - 2.5)  # beside each other
            ax.errorbar(
                at, mean, spread, color=color, marker=marker, ms=4, capsize=2, lw=1.2,
                label=LABELS[method],
            )  # fmt: skip
        ax.set_xscale("log", base=2)
        ratios = sorted(set(rows["ratio"]) - {1})
        ax.set_xticks(ratios, [f"{r}x" for r in ratios])
        ax.minorticks_off()
        ax.set_title(SOURCES[source])
        ax.set_xlabel("fewer parameters")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("test accuracy (%)")
    axes[0, -1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
