"""Tables and the figure."""

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from ..studies import Target
from .coverage import FLIPS, N_WORKERS
from .study import BINARY, N_CAREFUL, N_ITEMS, N_VOTES

__all__ = ["document", "plot", "targets"]

PACKAGES = ("numpy", "scipy", "scikit-learn", "choix", "crowd-kit", "sparselbi")
AUC = {0.05: 0.998, 0.2: 0.995, 0.4: 0.92}
# Workers with fewer votes cannot be told from careful ones.
ENOUGH = 30
OTHERS = ("least squares", "Bradley-Terry")
COLORS = {
    "logistic, l1": ("#0072b2", "o"),
    "linear, l1": ("#e69f00", "s"),
    "linear, iss": ("#009e73", "^"),
    "linear, lbi": ("#56b4e9", "v"),
    "linear, hard": ("#cc79a7", "D"),
    "least squares": ("#999999", "x"),
    "Bradley-Terry": ("#444444", "+"),
    "true scores": ("#000000", ""),
}
NAMES = {"order": "true order", "bradley_terry": "Bradley-Terry"}


# -- targets -------------------------------------------------------------------------


def targets(tables):
    """What was asked for, and what was found."""
    found = []
    if "order" in tables:
        table = tables["order"]
        table = table[table["generator"] == "order"]
        mean = table.groupby(["method", "flips"])["auc"].mean()
        for method in BINARY:
            for rate, wanted in AUC.items():
                value = mean[method, rate]
                what = f"AUC, true order, {rate:.0%} flips, {method}"
                met = value >= wanted
                found.append(Target(what, f">= {wanted}", f"{value:.4f}", bool(met)))
    if "workers" in tables:
        table = tables["workers"]
        table = table[table["votes_each"] >= ENOUGH]
        caught, false = table["found"].mean(), table["false"].mean()
        found.append(
            Target(
                f"one-sided workers of {ENOUGH} votes or more",
                "all found, no careful one flagged",
                f"{caught:.2%} found, {false:.2%} flagged",
                bool(table["all_right"].all()),
            )
        )
    if "coverage" in tables:
        for _, row in tables["coverage"].iterrows():
            of = "truth" if row["fit"].startswith("mixture") else "population"
            value, error = row[of], row[f"{of}_error"]
            what = f"coverage, {row['votes']}, {row['fit']}, {_by(row['workers'])}: "
            what += of
            text = f"{value:.1%} ± {error:.1%}"
            found.append(Target(what, "93-97 %", text, bool(0.93 <= value <= 0.97)))
    if "fgnet" in tables:
        found += _fgnet_targets(tables["fgnet"])
    return found


def _fgnet_targets(table):
    others = table[table["method"].isin(OTHERS)]
    found = []
    for column, what in (("tau", "Kendall's tau"), ("auc", "AUC of the flips")):
        best = float(others[column].max())
        for row in table[table["rule"] == "auto"].itertuples():
            if row.method in BINARY:
                value = getattr(row, column)
                found.append(
                    Target(
                        f"FG-NET, {what}, {row.method}",
                        f"> {best:.4f}",
                        f"{value:.4f} ({value - best:+.4f})",
                        bool(value > best),
                    )
                )
    return found


def _by(workers):
    return f"{N_WORKERS} unlike workers" if workers else "independent votes"


# -- document ------------------------------------------------------------------------


def document(tables, targets, plan, quick):
    """All of it in Markdown."""
    command = "python -m benchmarks.ranking_study" + (" --quick" if quick else "")
    lines = ["# Robust ranking: who finds the wrong votes", "", f"`{command}`; "]
    lines[-1] += _environment()
    if targets:
        lines += ["", "## Targets", ""]
        rows = [
            [t.what, t.wanted, t.found, "yes" if t.met else "**no**"] for t in targets
        ]
        lines += _grid(["what", "wanted", "found", "met"], rows)
    sections = {
        "order": _order,
        "share": _share,
        "scores": _scores,
        "gap": _gap,
        "graded": _graded,
        "workers": _workers,
        "coverage": _coverage,
        "fgnet": _fgnet,
    }
    for name, section in sections.items():
        if name in tables:
            lines += ["", *section(tables[name], plan)]
    figure = f"![figure](ranking_study{'_quick' if quick else ''}.png)"
    return "\n".join([*lines, "", figure, ""])


def _environment():
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name}: not installed")
    return f"Python {platform.python_version()}, " + ", ".join(found) + "."


def _grid(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _mean(values, form="{:.4f}"):
    """Mean and its standard error."""
    values = values.dropna()
    if not len(values):
        return ""
    text = form.format(values.mean())
    if len(values) > 1 and values.std() > 0:
        text += " ± " + form.format(values.sem())
    return text


def _order(table, plan):
    lines = [
        "## Which votes are flipped",
        "",
        f"{N_ITEMS} items, complete graph, {N_VOTES} votes, {plan.n_seeds} seeds: AUC "
        "of the order of the votes for the flips, and Kendall's tau of the scores at "
        "the true share of flips (transforms: at their default). *True scores*: votes "
        "ordered by how far they contradict the scores that they were drawn from.",
    ]
    for generator, part in table.groupby("generator", sort=False):
        rates = sorted(part["flips"].unique())
        rows = []
        for method, of_method in part.groupby("method", sort=False):
            by_rate = of_method.groupby("flips")
            row = [method]
            row += [_mean(by_rate.get_group(rate)["auc"]) for rate in rates]
            row += [_mean(by_rate.get_group(rate)["tau"], "{:.3f}") for rate in rates]
            rows.append(row)
        header = ["method", *(f"AUC, {rate:.0%} flips" for rate in rates)]
        header += [f"tau, {rate:.0%}" for rate in rates]
        lines += ["", f"### Votes by {NAMES[generator]}", "", *_grid(header, rows)]
    return lines


def _share(table, plan):
    rows = []
    keys = ["generator", "flips", "method"]
    for (generator, rate, method), part in table.groupby(keys, sort=False):
        flips, share = (part[part["rule"] == rule] for rule in ("flips", "share"))
        covered = (flips["low"] <= rate) & (rate <= flips["high"])
        row = [NAMES[generator], f"{rate:.0%}", method]
        row += [_mean(flips["estimate"], "{:.3f}"), f"{covered.mean():.0%}"]
        row += [f"{flips['unknown'].mean():.0%}", _mean(flips["distrusted"], "{:.3f}")]
        for each in (flips, share):
            for column in ("precision", "recall", "tau"):
                known = each[column].dropna()
                row.append(f"{known.mean():.3f}" if len(known) and rate else "")
        rows.append(row)
    header = ["votes by", "flips", "method", "estimate", "in interval"]
    header += ["not identified", "distrusted", "precision", "recall", "tau"]
    header += ["precision, true share", "recall", "tau"]
    return [
        "## How many votes are distrusted",
        "",
        "`selector='flips'` beside `VoteShare` of the flips that there are (*true "
        f"share*), {plan.n_seeds} seeds. *In interval*: how often the interval of the "
        "estimate, which takes the scores as known, has the true rate. Precision is "
        "that of the runs in which a vote is distrusted.",
        "",
        *_grid(header, rows),
    ]


def _scores(table, plan):
    rows = []
    for method, part in table.groupby("method", sort=False):
        row = [method]
        for rate, sure in (("rate", "sure"), ("rule_rate", "rule_sure")):
            row += [f"{part[rate].mean():.3f}", f"{part[rate].max():.2f}"]
            row.append(f"{part[sure].mean():.1%}")
        rows.append(row)
    header = ["scores of", "mean rate", "largest", "0 excluded"]
    header += ["`FlipShare`", "largest", "0 excluded"]
    return [
        "## Flip rates where nothing is flipped",
        "",
        f"300 Bradley-Terry votes about {N_ITEMS} items with scores of standard "
        f"deviation 1, {2 * plan.n_seeds} seeds. "
        "Left: the rate from the scores of each path where 20 % of the votes are "
        "shifted. *0 excluded*: identified, and the interval does not contain 0. "
        "Right: what the rule finds, which takes scores from convex fits.",
        "",
        *_grid(header, rows),
    ]


def _gap(table, plan):
    rows = []
    table = table.assign(outstanding=table["gap"] > table["reference"])
    keys = ["generator", "flips", "method"]
    for (generator, rate, method), part in table.groupby(keys, sort=False):
        rows.append(
            [
                NAMES[generator],
                f"{rate:.0%}",
                method,
                f"{part['gap'].mean():.3f}",
                f"{part['reference'].mean():.3f}",
                f"{part['outstanding'].sum()} of {len(part)}",
                " ".join(f"{place:.3f}" for place in part["share_before"]),
            ]
        )
    header = ["votes by", "flips", "method", "largest gap", "of clean votes"]
    return [
        "## The largest gap between entries of votes for one side",
        "",
        "Logarithm of the ratio of entries, among the first half of the votes; beside "
        f"its 95 % quantile in {plan.n_draws} sets of votes without flips, drawn from "
        "the Bradley-Terry fit. The last column has the share of the votes before the "
        "gap, by seed: it has nothing to do with the share of flips, which is why "
        "`selector='gap'` refuses such votes.",
        "",
        *_grid([*header, "outstanding", "share before it"], rows),
    ]


def _graded(table, plan):
    rules = list(dict.fromkeys(table["rule"]))
    rows = []
    keys = ["grades", "flips", "method"]
    for (grades, rate, method), part in table.groupby(keys, sort=False):
        row = ["real" if np.isinf(grades) else f"{grades:.0f} grades"]
        row += [f"{rate:.0%}", method]
        for rule in rules:
            of_rule = part[part["rule"] == rule].mean(numeric_only=True)
            found = "" if rate == 0 else f"{of_rule['recall_far']:.0%}, "
            row.append(f"{found}{of_rule['wrong']:.1%}, {of_rule['tau']:.3f}")
            if refused := of_rule["refused"]:
                row[-1] += f" ({refused:.0%} refused)"
        rows.append(row)
    return [
        "## Graded votes",
        "",
        f"1,000 votes about {N_ITEMS} items with noise of standard deviation 1, "
        f"{plan.n_seeds} seeds; *5 grades*: rounded to -2, ..., 2. In every cell: the "
        "share that is found of the votes with a wrong sign that is an error of more "
        "than 3, the share of the other votes that are distrusted, Kendall's tau. "
        "`sigma` is the default; *bic as it is* does not refuse a scale that is no "
        "wonder for a few grades.",
        "",
        *_grid(["votes", "wrong signs", "method", *rules], rows),
    ]


def _workers(table, plan):
    rows = []
    keys = ["votes_each", "generator", "flips", "n_one_sided", "position_bias"]
    for key, part in table.groupby(keys, sort=False):
        each, generator, rate, n_one_sided, bias = key
        rows.append(
            [
                f"{each}",
                NAMES[generator],
                f"{rate:.0%}",
                f"{n_one_sided}",
                f"{bias:g}",
                f"{part['found'].mean():.1%}",
                f"{part['false'].mean():.2%}",
                f"{part['all_right'].mean():.0%}",
                f"{part['reliability_planted'].mean():.2f}",
                f"{part['reliability_careful'].mean():.2f}",
            ]
        )
    header = ["votes each", "votes by", "flips", "one-sided", "position bias", "found"]
    header += ["careful flagged", "all right", "reliability, one-sided", "careful"]
    return [
        "## Workers who always click one side",
        "",
        f"{N_CAREFUL} careful workers, whose votes are flipped at the stated rate, and "
        f"one-sided ones; {N_ITEMS} items, {plan.n_workers} seeds, logistic model "
        "(with a position bias that all share, where there is one). *All right*: every "
        "one-sided worker is found and no other is flagged.",
        "",
        *_grid(header, rows),
    ]


def _coverage(table, plan):
    rows = []
    for _, row in table.iterrows():
        rows.append(
            [
                row["votes"],
                row["fit"],
                _by(row["workers"]),
                f"{row['population']:.1%} ± {row['population_error']:.1%}",
                f"{row['truth']:.1%} ± {row['truth_error']:.1%}",
                f"{row['width']:.2f}",
                f"{row['limit_ratio']:.3f}",
                f"{row['distrusted']:.1%}",
                f"{row['no_intervals']:.1%}",
            ]
        )
    header = ["votes", "fit", "votes of", "covers population value", "covers truth"]
    return [
        "## Coverage of 95 % intervals of score differences",
        "",
        f"10 items with scores from -2.5 to 2.5, {N_VOTES} votes, {FLIPS:.0%} of them "
        f"flipped, {plan.n_coverage} runs, all 45 pairs. *Unlike workers* flip none or "
        f"{2 * FLIPS:.0%} of their votes; intervals are clustered by worker. The "
        "population value is what the same fit finds in all possible votes; *size* is "
        "that over the true difference, on average: flips shrink all fits but the "
        "mixture, which models them (its ridge shrinks it, too). *No intervals*: runs "
        "in which the mixture was in doubt, said so, and gave none; they are left out.",
        "",
        *_grid([*header, "width", "size", "distrusted", "no intervals"], rows),
    ]


def _fgnet(table, plan):
    def text(value, form="{:.4f}"):
        missing = value == "" or np.isnan(float(value))
        return "" if missing else form.format(float(value))

    rows = [
        [
            row.method,
            row.rule,
            text(row.tau),
            text(row.auc),
            text(row.flip_rate, "{:.3f}"),
            text(row.distrusted, "{:.3f}"),
            text(row.precision, "{:.3f}"),
            text(row.recall, "{:.3f}"),
        ]
        for row in table.itertuples()
    ]
    header = ["method", "rule", "tau", "AUC", "flip rate", "distrusted", "precision"]
    return [
        "## FG-NET ages",
        "",
        "15,000 votes on 524 photos, 20 % of them flipped: Kendall's tau of the scores "
        "against age; AUC of the order of the votes for the flips; which votes are "
        "distrusted (for transforms, shares of pairs). *Auto*: the default rule; "
        "*refit*: scores without the distrusted votes; *mixture*: scores of the model "
        "with flips.",
        "",
        *_grid([*header, "recall"], rows),
    ]


# -- figure --------------------------------------------------------------------------


def plot(tables, path):
    """AUC by share of flips, distrusted against flipped, coverage."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 8), layout="constrained")
    axes = [half.subplots(1, 2) for half in figure.subfigures(2, 1)]
    if "order" in tables:
        for ax, (generator, part) in zip(
            axes[0], tables["order"].groupby("generator", sort=False), strict=True
        ):
            mean = part.groupby(["method", "flips"])["auc"].mean()
            for method, (color, marker) in COLORS.items():
                if method in mean:
                    curve = mean[method]
                    style = {"color": color, "marker": marker, "label": method}
                    ax.plot(curve.index, curve, lw=1.4, **style)
            ax.set(xlabel="share of flips", ylabel="AUC of the order of the votes")
            ax.set_title(f"votes by {NAMES[generator]}")
        axes[0][0].legend(fontsize=8, frameon=False)
    if "share" in tables:
        _plot_shares(axes[1][0], tables["share"])
    if "coverage" in tables:
        _plot_coverage(axes[1][1], tables["coverage"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_shares(ax, table):
    table = table[(table["rule"] == "flips") & (table["method"] == "logistic, l1")]
    ax.axline((0, 0), slope=1, color="0.7", lw=1)
    for generator, part in table.groupby("generator", sort=False):
        known = part[~part["unknown"].astype(bool)]
        label = f"votes by {NAMES[generator]}"
        ax.plot(known["flipped"], known["distrusted"], "o", ms=4, label=label)
    ax.set(xlabel="flipped", ylabel="distrusted", title="logistic, l1: share of votes")
    ax.legend(fontsize=8, frameon=False)


def _plot_coverage(ax, table):
    names = [
        f"{row.votes}, {row.fit}, {_by(row.workers)}" for row in table.itertuples()
    ]
    place = np.arange(len(names))[::-1]
    for column, marker in (("population", "o"), ("truth", "x")):
        ax.plot(table[column], place, marker, ls="", label=column)
    ax.axvspan(0.93, 0.97, color="0.9", zorder=0)
    ax.set_yticks(place, names, fontsize=7)
    ax.set(xlabel="coverage", title="95 % intervals of score differences")
    ax.legend(fontsize=8, frameon=False)
