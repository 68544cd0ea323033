"""Tables and the figure."""

import csv
import os
import statistics

from ..studies import Target, spread


def ratios(theirs, mine):
    """Smallest, middle and largest ratio of two samples of seconds."""
    return [
        min(theirs) / max(mine),
        statistics.median(theirs) / statistics.median(mine),
        max(theirs) / min(mine),
    ]


def targets(results):
    """What was asked for, and what was found."""
    found = []

    def add(what, wanted, value, met):
        found.append(Target(what, wanted, value, bool(met)))

    if "large" in results:
        r = results["large"]
        what = f"{r['n']:,} x {r['p']} float32, 30 thresholds"
        add(what, "< 120 s", f"{r['seconds']:.1f} s", r["seconds"] < 120)
        if r["peak_gb"] is not None:
            share = r["peak_gb"] / r["X_gb"]
            add(
                "its peak memory, whole process",
                "< 1.3 X",
                f"{share:.2f} X",
                share < 1.3,
            )
    if "group_lasso" in results:
        rows = results["group_lasso"]["rows"]
        for r in rows[:2]:
            ratio = ratios(r["other_seconds"], r["seconds"])
            what = f"n = {r['n']}, {r['case']}, tol {r['tol']:g}: times faster"
            add(what, ">= 100", spread(ratio, 0), ratio[1] >= 100)
        for r in (rows[0], rows[-1]):
            value = r["spearman"]
            what = f"the same order, {r['case']}, tol {r['tol']:g}: Spearman"
            add(what, "> .999", f"{value:.6f}", value > 0.999)
    if "exact" in results:
        r = results["exact"]["rows"][-1]
        seconds = statistics.median(r["seconds"])
        add(
            f"exact path, n = {r['n']}, p = {r['p']}",
            "< 2 s",
            f"{spread(r['seconds'])} s",
            seconds < 2,
        )
        worst = r["optimality"]
        add("its optimality", "< 1e-9", f"{worst:.0e}", worst < 1e-9)
    return found


def document(results, found, options):
    """The report in Markdown."""
    quick = " (quick run: too small to mean much)" if options.quick else ""
    lines = [
        f"# Speed of Huber paths{quick}",
        "",
        f"Made by `python -m benchmarks.robust_speed --threads {options.threads}`; "
        "what is solved is described there. Seconds are wall time, medians (range).",
        "",
        *results.get("large", {}).get("environment", []),
        f"- {os.cpu_count()} processors; {options.threads} thread(s) for the large "
        "problem, one for the others; load average after each: "
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
    parts = {
        "large": large_text,
        "group_lasso": group_lasso_text,
        "exact": exact_text,
        "single": single_text,
    }
    for task, result in results.items():
        lines += parts[task](result)
    return "\n".join([*lines, "![figure](robust_speed.png)", ""])


def large_text(r):
    """Section about the large problem."""
    gb = {k: "?" if r[k] is None else f"{r[k]:.2f}" for k in r if k.endswith("_gb")}
    over = ""
    if r["peak_gb"] is not None:
        share = (r["peak_gb"] - r["interpreter_gb"]) / r["X_gb"]
        over = f", {share:.2f} times X without them"
    return [
        "## A million labels",
        "",
        f"X has {gb['X_gb']} GB. Interpreter and imports take {gb['interpreter_gb']} "
        f"GB; with X {gb['start_gb']} GB; the peak is {gb['peak_gb']} GB{over}.",
        "",
        f"{r['seconds']:.1f} s ({r['cpu_seconds']:.1f} processor seconds), of which "
        f"{r['problem_seconds']:.1f} s for the inner products and least squares; "
        f"{r['n_sweeps']} sweeps over the rows ({max(r['sweeps_of_knots'])} at most "
        f"for one threshold); duality gaps up to {r['largest_gap']:.0e} of the "
        f"objective; ended by {r['status']!r}. The order of entries (rows that are not "
        "shifted: of their last residuals) tells wrong labels from right ones with AUC "
        f"{r['auc']:.4f}, residuals of least squares with "
        f"{r['auc_residual']:.4f}.",
        "",
    ]


def group_lasso_text(result):
    """Section about the multi-task lasso."""
    lines = [
        "## Beside the multi-task lasso on I - H",
        "",
        "Seconds for the fits at 100 thresholds down to a share of the largest or to "
        "where half of the rows are shifted, from data; *path* adds degrees of freedom "
        "and the path object. *Spearman*: of the entry thresholds, both read "
        "at the alphas (in brackets: ours in between them).",
        "",
        "| case | tol of enet_path | fits | path | enet_path | ratio | Spearman |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in result["rows"]:
        lines.append(
            f"| {r['case']} | {r['tol']:g} | {spread(r['seconds'], 3)} | "
            f"{spread(r['path_seconds'])} | {spread(r['other_seconds'])} | "
            f"{spread(ratios(r['other_seconds'], r['seconds']), 0)} | "
            f"{r['spearman']:.6f} ({r['spearman_continuous']:.4f}) |"
        )
    gap = max(r["largest_gap"] for r in result["rows"])
    return [
        *lines,
        "",
        f"Duality gaps up to {gap:.0e} of the objective; `enet_path` stops at `tol` "
        "times the sum of squares of its targets.",
        "",
    ]


def exact_text(result):
    """Section about the exact path."""
    lines = [
        "## Every event, one response",
        "",
        "*Optimality*: largest score at 200 knots, as a share of what its terms could "
        "add up to. *Half*: until half of the rows are shifted, as far as `lars_path` "
        "goes.",
        "",
        "| n x p | events | seconds | optimality | half | lars_path on I - H | ratio | "
        "entries differ by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in result["rows"]:
        cells = [
            f"{r['n']} x {r['p']}",
            f"{r['events']}",
            spread(r["seconds"], 3),
            f"{r['optimality']:.0e}",
        ]
        if "other_seconds" in r:
            ratio = ratios(r["other_seconds"], r["half_seconds"])
            cells += [
                spread(r["half_seconds"], 3),
                spread(r["other_seconds"]),
                spread(ratio, 0),
                f"{r['entry_gap']:.0e}",
            ]
        else:
            cells += [""] * 4
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def single_text(result):
    """Section about single thresholds."""
    lines = [
        "## One threshold",
        "",
        "A path of 50 thresholds, per threshold, beside one fit (which finds a scale, "
        "too). *Difference*: largest difference of coefficients at the threshold that "
        "this fit ended with.",
        "",
        "| n x p | path, ms per threshold | other | ms | ratio | difference |",
        "|---|---|---|---|---|---|",
    ]
    for r in result["rows"]:
        lines.append(
            f"| {r['n']:,} x {r['p']} | {spread([1e3 * s for s in r['seconds']])} | "
            f"{r['name']} | {spread([1e3 * s for s in r['other_seconds']], 1)} | "
            f"{spread(ratios(r['other_seconds'], r['seconds']), 0)} | {r['gap']:.0e} |"
        )
    if not result["statsmodels"]:
        lines += ["", "statsmodels is not installed."]
    return [*lines, ""]


def write_csv(path, results):
    """One row for each measurement."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "case", "n", "p", "what", "value"])
        for task, result in results.items():
            for row in result.get("rows", [result]):
                case = row.get("case", row.get("name", ""))
                for what, value in row.items():
                    if what in ("case", "name", "n", "p", "environment", "load"):
                        continue
                    values = value if isinstance(value, list) else [value]
                    for one in values:
                        writer.writerow([task, case, row["n"], row["p"], what, one])


def plot(results, file):
    """Who is shifted along the path, and seconds beside other packages."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    if "large" in results:
        r = results["large"]
        left.plot(r["thresholds"], r["shifted"], "o-", ms=3, label="rows shifted")
        left.plot(
            r["thresholds"][1:],
            r["wrong_among_shifted"],
            "s-",
            ms=3,
            label="wrong labels among them",
        )
        left.invert_xaxis()
        left.set(
            title=f"{r['n']:,} labels, 40 % wrong (AUC of the order {r['auc']:.3f})",
            xlabel="threshold",
            ylabel="share",
            ylim=(0, 1.02),
        )
        left.legend()
    bars = []
    for r in results.get("group_lasso", {}).get("rows", []):
        name = f"multi-task lasso, n = {r['n']}\n{r['case']}, tol {r['tol']:g}"
        bars.append((name, r["seconds"], r["other_seconds"]))
    for r in results.get("exact", {}).get("rows", []):
        if "other_seconds" in r:
            name = f"lars_path, n = {r['n']}\nto half of the rows"
            bars.append((name, r["half_seconds"], r["other_seconds"]))
    for r in results.get("single", {}).get("rows", []):
        name = f"{r['name']}\n{r['n']:,} x {r['p']}, one threshold"
        bars.append((name, r["seconds"], r["other_seconds"]))
    for k, (_, mine, theirs) in enumerate(bars):
        for values, shift, colour in ((mine, -0.18, "C0"), (theirs, 0.18, "C1")):
            middle = statistics.median(values)
            right.barh(k + shift, middle, 0.34, color=colour)
            right.plot([min(values), max(values)], [k + shift] * 2, color="black", lw=1)
    right.set_yticks(range(len(bars)), [name for name, *_ in bars], fontsize=7)
    right.invert_yaxis()
    right.set(xscale="log", xlabel="seconds (median and range)")
    right.set_title("sparselbi (blue) and other packages (orange)")
    figure.savefig(file, dpi=100)
    plt.close(figure)
