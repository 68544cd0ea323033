"""Tables and the figure."""

import csv
import os
import statistics

from ..studies import Target, spread

MINE, OTHER = "bradley_terry", "choix ilsr_pairwise"


def ratios(row, mine):
    """How many times longer it takes, in every round."""
    pairs = zip(row["seconds"], mine["seconds"], strict=False)
    return [theirs / ours for theirs, ours in pairs]


def paths(results):
    """Results of paths."""
    return [results[task] for task in ("linear", "logistic") if task in results]


def methods(results):
    """Rows of the single fit, by name."""
    return {row["method"]: row for row in results.get("single", {}).get("rows", [])}


def targets(results):
    """What was asked for, and what was found."""
    found = []

    def add(what, wanted, value, met):
        found.append(Target(what, wanted, value, bool(met)))

    for r in paths(results):
        what = (
            f"{r['model']}: {r['n_items']:,} items, {r['n_votes']:,} votes, "
            f"{r['n_knots']} thresholds"
        )
        add(what, "< 60 s", f"{r['seconds']:.1f} s", r["seconds"] < 60)
        if r["peak_gb"] is not None:
            peak = f"{r['peak_gb']:.2f} GB"
            add("its peak memory, whole process", "< 2 GB", peak, r["peak_gb"] < 2)
    rows = methods(results)
    if OTHER in rows:
        mine, other = rows[MINE], rows[OTHER]
        ratio = ratios(other, mine)
        what = f"{other['n_items']:,} items, {other['n_votes']:,} votes, one fit: "
        middle = statistics.median(ratio)
        add(
            what + "times faster than " + OTHER, ">= 20", spread(ratio, 0), middle >= 20
        )
        worst, theirs = max(mine["error"]), max(other["error"])
        add(
            "its error, beside that fit's",
            "not larger",
            f"{worst:.0e} and {theirs:.0e}",
            worst <= theirs,
        )
    return found


def document(results, found, options):
    """The report in Markdown."""
    quick = " (quick run: too small to mean much)" if options.quick else ""
    lines = [
        f"# Speed of rankings{quick}",
        "",
        f"Made by `python -m benchmarks.ranking_speed --threads {options.threads}`; "
        "what is solved is described there. Seconds are wall time, medians (range).",
        "",
        *(paths(results)[0]["environment"] if paths(results) else []),
        f"- {os.cpu_count()} processors; {options.threads} thread(s) for the paths, "
        "one for single fits; load average after each: "
        + ", ".join(f"{r['load']:.1f}" for r in results.values() if r["load"]),
        "",
        "| what | target | found | met |",
        "|---|---|---|---|",
        *(
            f"| {t.what} | {t.wanted} | {t.found} | {'yes' if t.met else '**no**'} |"
            for t in found
        ),
        "",
    ]
    if paths(results):
        lines += path_text(paths(results))
    if "single" in results:
        lines += single_text(results)
    return "\n".join([*lines, "![figure](ranking_speed.png)", ""])


def path_text(rows):
    """Section about paths."""
    lines = [
        "## Paths of many votes",
        "",
        "From pairs to path. *Graph*: the part of the seconds until the problem is "
        "described. *Memory*: peak of the process (with the votes, before the path). "
        "*AUC*: of the order in which votes are shifted, for flips (Bradley-Terry "
        "votes about close items cannot be told from flips). *Correlation*: of the "
        "last scores with the true ones.",
        "",
        "| model | items | votes | thresholds | seconds | graph | processor seconds | "
        "memory, GB | AUC | correlation | ended by |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        gb = ["?" if r[k] is None else f"{r[k]:.2f}" for k in ("peak_gb", "start_gb")]
        cells = [
            r["model"],
            f"{r['n_items']:,}",
            f"{r['n_votes']:,}",
            str(r["n_knots"]),
            f"{r['seconds']:.1f}",
            f"{r['problem_seconds']:.1f}",
            f"{r['cpu_seconds']:.1f}",
            f"{gb[0]} ({gb[1]})",
            f"{r['auc']:.4f}",
            f"{r['correlation']:.4f}",
            r["status"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def single_text(results):
    """Section about one fit."""
    rows = methods(results)
    mine = rows[MINE]
    lines = [
        "## One Bradley-Terry fit",
        "",
        f"{mine['n_votes']:,} votes about {mine['n_items']:,} items. *Ratio*: to "
        f"`{MINE}`, within a round. *Error*: largest difference of a score from a fit "
        "with tolerance 1e-13; *gradient*: largest derivative of the log-likelihood "
        "with respect to a score; the worst round. Tolerances are the defaults unless "
        "named. `PairwiseRanker`: the same fit "
        "by its public name, with a path of 5 thresholds and all that belongs to it. "
        "crowd-kit's `BradleyTerry` compares an array with itself and so ends after "
        "two steps at any positive tolerance; with tolerance 0 it takes all its steps. "
        "`NoisyBradleyTerry` fits another model (skills of workers) with a prior: its "
        "error says nothing.",
        "",
        "| method | seconds | ratio | error | gradient |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [
            name,
            spread(row["seconds"], 3),
            spread(ratios(row, mine), 1),
            "" if "Noisy" in name else f"{max(row['error']):.0e}",
            "" if "Noisy" in name else f"{max(row['gradient']):.0e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    versions = results["single"]["versions"]
    lines.append("")
    lines += [
        f"- {name} {number}" if number else f"- {name} is not installed"
        for name, number in versions.items()
    ]
    return [*lines, ""]


def write_csv(path, results):
    """One row for each number."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "case", "n_items", "n_votes", "what", "value"])
        for task, result in results.items():
            for row in result.get("rows", [result]):
                case = row.get("method", row.get("model", ""))
                sizes = [row["n_items"], row["n_votes"]]
                for what, value in row.items():
                    if what in ("method", "model", "n_items", "n_votes", "environment"):
                        continue
                    values = value if isinstance(value, list) else [value]
                    for one in values:
                        writer.writerow([task, case, *sizes, what, one])


def plot(results, file):
    """Who is shifted along the paths, and seconds of single fits."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for r in paths(results):
        label = f"{r['model']}: {r['seconds']:.1f} s"
        if r["peak_gb"] is not None:
            label += f", {r['peak_gb']:.2f} GB"
        left.plot(r["thresholds"], r["shifted"], "o-", ms=3, label=label)
    if paths(results):
        r = paths(results)[0]
        left.invert_xaxis()
        left.set(
            title=f"{r['n_votes']:,} votes about {r['n_items']:,} items",
            xlabel="threshold",
            ylabel="share of the votes that is shifted",
        )
        left.legend()
    rows = list(methods(results).values())
    for k, row in enumerate(rows):
        values = row["seconds"]
        colour = "C0" if row["method"] in (MINE, "PairwiseRanker") else "C1"
        right.barh(k, statistics.median(values), 0.6, color=colour)
        right.plot([min(values), max(values)], [k, k], color="black", lw=1)
    right.set_yticks(range(len(rows)), [row["method"] for row in rows], fontsize=8)
    right.invert_yaxis()
    right.set(xscale="log", xlabel="seconds (median and range)")
    right.set_title("One Bradley-Terry fit (blue: sparselbi)", loc="left")
    figure.savefig(file, dpi=100)
    plt.close(figure)
