"""Tables and the figure."""

import platform
from importlib.metadata import version

import pandas as pd

from ..studies import Target
from .study import LEVELS

__all__ = ["document", "plot", "targets"]

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


# -- targets -------------------------------------------------------------------------


def targets(tables):
    """What was asked for, and what was found."""
    found = []
    if "lenets" in tables:
        table = tables["lenets"]
        found += _lenet_targets(table)
    compared = _together(tables, "{}")
    if compared is not None:
        found += _comparison_targets(compared)
    return found


def _together(tables, name):
    """The tables of both levels as one; None if there is none."""
    parts = [name.format(level) for level in LEVELS.values()]
    found = [tables[part] for part in parts if part in tables]
    return pd.concat(found, ignore_index=True) if found else None


def _lenet_targets(table):
    wanted = [  # net, version, column, least ratio, largest loss in points
        ("300-100", "12x", "ratio", 12, 0.2),
        ("300-100", "25x", "ratio", 25, 0.5),
        ("5", "smaller", "ratio", 12, 0.1),
        ("5", "faster", "ratio", 12, 0.1),
        ("5", "faster", "macs", 3, 0.1),
    ]
    found = []
    for net, name, column, ratio, loss in wanted:
        rows = table[table["net"] == net].set_index("seed")
        sparse, dense = (rows[rows["version"] == v] for v in (name, "dense"))
        if sparse.empty:
            continue
        unit = "MACs" if column == "macs" else "parameters"
        gain = sparse["test"] - dense["test"]
        least, mean = sparse[column].min(), sparse[column].mean()
        found.append(
            Target(
                f"LeNet-{net}, {name}: fewer {unit}",
                f">= {ratio}x within {loss} point",
                f"{mean:.1f}x (least {least:.1f}x), {_signed(gain)}",
                bool(mean >= ratio and -gain.mean() <= loss),
            )
        )
        if column == "macs":
            ratio = sparse["latency"]
            found.append(
                Target(
                    f"LeNet-{net}, {name}: latency, batch of 128",
                    ">= 1.5x less",
                    f"{ratio.median():.1f}x ({ratio.min():.1f}-{ratio.max():.1f})",
                    bool(ratio.median() >= 1.5),
                )
            )
    return found


def _comparison_targets(table):
    found = []
    index = ["level", "source", "ratio", "seed"]
    tests = table.pivot_table(index=index, columns="method", values="test")
    if not {"dessilbi", "magnitude"} <= set(tests):
        return found
    gain = (tests["dessilbi"] - tests["magnitude"]).dropna()
    by = gain.groupby(["level", "source", "ratio"], sort=False)
    for (level, source, ratio), values in by:
        found.append(
            Target(
                f"{SOURCES[source]}, {LEVELS[level]}, {ratio}x: DessiLBI less "
                "magnitude pruning",
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
    compared = _together(tables, "{}")
    if compared is not None:
        lines += _comparison(compared, plan)
    choices = _together(tables, "choose_{}")
    if choices is not None:
        lines += _choices(choices)
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
        "validation % | epochs of selection | widths |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for (net, name), rows in table.groupby(["net", "version"], sort=False):
        cells = [f"LeNet-{net}", name, f"{rows['ratio'].mean():.1f}x"]
        for column, form in (("macs", "{:.1f}x"), ("latency", "{:.1f}x")):
            value = rows[column].mean() if column in rows else float("nan")
            cells.append("" if value != value else form.format(value))
        cells += [_mean(rows["test"]), _mean(rows["validation"])]
        epochs = rows["selection epochs"].mean()
        cells.append("" if epochs != epochs else f"{epochs:.1f}")
        widths = rows["widths"].dropna() if "widths" in rows else []
        cells.append(", ".join(sorted(set(widths))))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _comparison(table, plan):
    lines = [
        "## Comparison",
        "",
        f"LeNet-300-100, {plan.epochs} epochs for every method: a first phase that "
        "decides what is kept, then tuning with the mask, the same for all. A ratio is "
        "that of the weights in groups. Single weights are ranked over all layers "
        "(magnitude pruning is `torch.nn.utils.prune.global_unstructured`, the group "
        "lasso is the lasso), neurons within their layer, the same share of each "
        "(`ln_structured`). All ratios of a method come from one first phase, except "
        "for ADMM, which has to know the ratio.",
        "",
    ]
    missing = [
        name for level, name in LEVELS.items() if level not in set(table["level"])
    ]
    if missing:
        lines += [f"**Not run: {', '.join(missing)}.**", ""]
    dense = table[table["method"] == "dense"].groupby("source")["test"]
    for source, values in dense:
        lines.append(f"Dense, {SOURCES[source]}: {_mean(values)}.")
    lines.append("")
    sparse = table[table["method"] != "dense"]
    for (level, source), rows in sparse.groupby(["level", "source"], sort=False):
        ratios = sorted(set(rows["ratio"]))
        left = rows[rows["method"] == "dessilbi"].groupby("ratio")["parameters"].mean()
        heads = [f"{r}x ({left[r]:,.0f} parameters)" for r in ratios]
        lines += [
            f"### {SOURCES[source]}, {LEVELS[level]}",
            "",
            f"| method | {' | '.join(heads)} | seeds |",
            f"|---|{'---:|' * (len(ratios) + 1)}",
        ]
        for method, name in LABELS.items():
            mine = rows[rows["method"] == method]
            if mine.empty:
                continue
            cells = [_mean(mine[mine["ratio"] == r]["test"]) for r in ratios]
            cells.append(str(mine["seed"].nunique()))
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _choices(table):
    columns = [c for c in table if c.startswith("validation ")]
    lines = [
        "## Settings of the comparison",
        "",
        "Validation accuracy at some ratios; the best mean was taken.",
        "",
        f"| data | groups | method | settings | "
        f"{' | '.join(c.split()[1] + 'x' for c in columns)} | |",
        f"|---|---|---|---|{'---:|' * len(columns)}---|",
    ]
    best = set(table.groupby(["source", "level", "method"])["validation"].idxmax())
    for k, row in table.iterrows():
        cells = ["" if row[c] != row[c] else f"{row[c]:.2f}" for c in columns]
        taken = "taken" if k in best else ""
        lines.append(
            f"| {SOURCES[row['source']]} | {LEVELS[row['level']]} | "
            f"{LABELS[row['method']]} | `{row['settings']}` | {' | '.join(cells)} | "
            f"{taken} |"
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

    table = _together(tables, "{}")
    if table is None:
        return
    dense = table[table["method"] == "dense"].groupby("source")["test"].mean()
    panels = list(
        table[table["method"] != "dense"].groupby(["level", "source"], sort=False)
    )
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.5), squeeze=False
    )
    for ax, ((level, source), rows) in zip(axes[0], panels, strict=True):
        if source in dense:
            ax.axhline(dense[source], color=STYLES["dense"][0], ls=":", label="dense")
        for k, (method, (color, marker)) in enumerate(STYLES.items()):
            mine = rows[rows["method"] == method].groupby("ratio")["test"]
            if not len(mine):
                continue
            mean, spread = mine.mean(), mine.std().fillna(0)
            at = mean.index * 1.03 ** (k - 2.5)  # beside each other
            ax.errorbar(
                at, mean, spread, color=color, marker=marker, ms=4, capsize=2, lw=1.2,
                label=LABELS[method],
            )  # fmt: skip
        ax.set_xscale("log", base=2)
        ratios = sorted(set(rows["ratio"]))
        ax.set_xticks(ratios, [f"{r}x" for r in ratios])
        ax.minorticks_off()
        ax.set_title(f"{SOURCES[source]}, {LEVELS[level]}", fontsize=10)
        ax.set_xlabel("fewer weights")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("test accuracy (%)")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
