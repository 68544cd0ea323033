"""Time and memory of a step of DessiLBI, beside SGD and AdamW.

Run as ``python -m benchmarks.dessilbi_speed [--quick] [--threads 1 2] [--output DIR]``,
or with ``--device cuda``. Two measurements:

- *step*: the step of an optimizer alone, with gradients that stay, for a VGG-16 and a
  GPT of 5 million parameters (``--device cuda``: a ResNet-50). Every measurement of an
  optimizer follows one of the reference, SGD with momentum (foreach; on a GPU fused),
  and ratios are taken within such a pair. Bytes of state are summed after the steps.
- *training*: forward, backward and step of LeNet-5 and a ResNet-20 on made images, and
  what a `PathRecorder` adds.

Everything is warm, and there is no weight decay unless it is named. Processor time with
one thread, wall time with several, events on a GPU. Keep the machine quiet for several.
Writes `dessilbi_speed.md`, `.csv` and `.png`. Exit status 1 if a target is missed
(full runs).
"""

import argparse
import copy
import csv
import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import SGD, AdamW

from benchmarks.large_n import processor
from benchmarks.studies import Target, spread
from sparselbi.torch import DessiLBI, PathRecorder, couple, groups_for
from sparselbi.torch.examples.networks import GPT, lenet_5, resnet, resnet_50, vgg_16

REFERENCE = "SGD"
SPLIT = {"nu": 100.0, "lam": 1e-5, "size_scaling": True}  # some groups are selected
# Bounds of the ratio to the reference, by device.
TARGETS = {
    "cpu": {"DessiLBI, weights": 2.5, "DessiLBI, units": 2.5}
    | {"DessiLBI, weights, compiled": 1.6, "DessiLBI, units, compiled": 1.6},
    "cuda": {"DessiLBI, weights, compiled": 1.8, "DessiLBI, units, compiled": 1.8},
}


# -- what is measured -----------------------------------------------------------------


class Case(NamedTuple):
    """A network and the optimizers that step it."""

    network: nn.Module
    joined: dict
    decay: float
    names: tuple[str, ...] | None  # None: all


def cases(device, quick):
    """The networks of the first measurement by name."""
    some = ("SGD, fused", "AdamW", "DessiLBI, weights", "DessiLBI, units")
    if device == "cuda":
        network = resnet_50()
        return {
            "ResNet-50": Case(network, {}, 0.0, None),
            "ResNet-50, weight decay": Case(network, {}, 1e-4, some),
        }
    vgg = vgg_16(width=8 if quick else 36)
    width, depth = (64, 2) if quick else (256, 6)
    gpt = GPT(128, width=width, n_blocks=depth, n_heads=8)
    return {
        "VGG-16": Case(vgg, {}, 0.0, None),
        "VGG-16, weight decay": Case(vgg, {}, 5e-4, some),
        "GPT, heads and neurons": Case(gpt, gpt.groups(), 0.0, some),
    }


def makers(case, device, compiled):
    """Functions that make the optimizers of a case for a copy of its network."""
    sgd = {"lr": 1e-3, "momentum": 0.9, "weight_decay": case.decay}
    adam = {"lr": 1e-3, "weight_decay": case.decay}
    fast = {"fused": True} if device == "cuda" else {"foreach": True}

    def units(network):
        return groups_for(network, choose=case.joined)

    weights = partial(groups_for, level="weight")
    found = {
        REFERENCE: lambda m: SGD(m.parameters(), **sgd, **fast),
        "SGD, fused": lambda m: SGD(m.parameters(), **sgd, fused=True),
        "AdamW": lambda m: AdamW(m.parameters(), **adam, **fast),
        "AdamW, fused": lambda m: AdamW(m.parameters(), **adam, fused=True),
    }
    for name, groups in (("weights", weights), ("units", units)):
        for ending, options in (
            ("", {}),
            (", loop", {"foreach": False}),
            (", compiled", {"compile": True}),
        ):
            if ending == ", compiled" and not compiled:
                continue
            found[f"DessiLBI, {name}{ending}"] = lambda m, g=groups, o=options: (
                DessiLBI(g(m), **sgd, **SPLIT, **o)
            )
    found["couple(SGD), units"] = lambda m: coupled(SGD(units(m), **sgd, **fast))
    found["couple(AdamW), units"] = lambda m: coupled(AdamW(units(m), **adam, **fast))
    if device == "cuda":
        del found["SGD, fused"], found["AdamW, fused"]  # what the plain names are
    if case.names is None:
        return found
    return {name: found[name] for name in (REFERENCE, *case.names) if name in found}


def coupled(optimizer):
    couple(optimizer, **SPLIT)
    return optimizer


def with_gradients(network, device):
    """A copy of a network with gradients that do not depend on the optimizer."""
    network = copy.deepcopy(network).to(device)
    torch.manual_seed(1)
    for param in network.parameters():
        param.grad = 1e-3 * torch.randn_like(param)
    return network


def milliseconds(step, n_steps, device):
    """Mean time of a step."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(n_steps):
            step()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / n_steps
    # With one thread, other processes shall not count.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begin = clock()
    for _ in range(n_steps):
        step()
    return 1e3 * (clock() - begin) / n_steps


def n_bytes(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def state_bytes(optimizer):
    """Bytes that an optimizer keeps; its counters of steps are not looked at."""
    states = optimizer.state.values()
    return n_bytes(
        value
        for state in states
        for name, value in state.items()
        if name != "step" and torch.is_tensor(value)
    )


def time_steps(name, case, threads, device, rounds, compiled):
    """One row for each round and optimizer, and one on memory for each optimizer."""
    n_steps = 5
    optimizers = {}
    for method, make in makers(case, device, compiled).items():
        optimizers[method] = make(with_gradients(case.network, device))
        for _ in range(4):  # compiles, and fills the caches of allocators
            optimizers[method].step()
    times, memory = [], []
    base = {"case": name, "threads": threads}
    first = optimizers[REFERENCE]
    for k in range(rounds):
        for method, optimizer in optimizers.items():
            below = milliseconds(first.step, n_steps, device)
            taken = milliseconds(optimizer.step, n_steps, device)
            row = {"method": method, "round": k, "ms": taken, "ratio": taken / below}
            times.append({**base, **row})
    size = n_bytes(case.network.parameters())
    for method, optimizer in optimizers.items():
        registered = n_bytes(
            param
            for group in optimizer.param_groups
            if group.get("groups") is not None
            for param in group["params"]
        )
        memory.append(
            {**base, "method": method, "registered": registered / size}
            | {"state": state_bytes(optimizer) / size}
        )
    return times, memory


def time_training(threads, device, rounds, quick):
    """One row for each round, network and optimizer: parts of a training step in ms."""
    tasks = {"LeNet-5": (lenet_5(), (128, 1, 28, 28), rounds)}
    if not quick:
        tasks["ResNet-20"] = (resnet(20), (32, 3, 32, 32), min(rounds, 4))
    rows = []
    for name, (network, shape, n_rounds) in tasks.items():
        torch.manual_seed(0)
        x = torch.randn(shape, device=device)
        y = torch.randint(10, shape[:1], device=device)
        runs = {}
        for method in ("SGD", "DessiLBI", "DessiLBI and recorder"):
            model = copy.deepcopy(network).to(device)
            options = {"lr": 1e-3, "momentum": 0.9}
            if method == "SGD":
                optimizer = SGD(model.parameters(), foreach=True, **options)
            else:
                optimizer = DessiLBI(groups_for(model), **options, **SPLIT)
            recorder = None
            if method.endswith("recorder"):
                recorder = PathRecorder(optimizer, model, every=10)

            def gradients(model=model, optimizer=optimizer):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()  # noqa: B023

            runs[method] = gradients, optimizer, recorder
        for k in range(-1, n_rounds):
            for method, (gradients, optimizer, _) in runs.items():
                parts = [
                    [
                        milliseconds(part, 1, device)
                        for part in (gradients, optimizer.step)
                    ]
                    for _ in range(10)  # one look of the recorder
                ]
                passes, step = (
                    statistics.fmean(part) for part in zip(*parts, strict=True)
                )
                if k >= 0:  # the first round warms up
                    row = {"method": method, "round": k, "passes": passes, "ms": step}
                    rows.append({"case": name, "threads": threads, **row})
    return rows


# -- the report -----------------------------------------------------------------------


def column(rows, value, **chosen):
    return [
        row[value] for row in rows if all(row[key] == chosen[key] for key in chosen)
    ]


def kinds(rows, *keys):
    """The different values of some columns, in order."""
    return list(dict.fromkeys(tuple(row[key] for key in keys) for row in rows))


def targets(times, memory, device):
    """What was asked for, and what was found."""
    found = []
    case = times[0]["case"]
    for method, threads in kinds(times, "method", "threads"):
        bound = TARGETS[device].get(method)
        ratios = column(times, "ratio", case=case, method=method, threads=threads)
        if bound is None or not ratios:
            continue
        what = f"{case}, {threads} thread(s): {method}, x {REFERENCE}"
        met = statistics.median(ratios) <= bound
        found.append(Target(what, f"<= {bound:g}", spread(ratios), met))
    plain = {row["case"]: row["state"] for row in memory if row["method"] == REFERENCE}
    extra = [
        (row["state"] - plain[row["case"]]) / row["registered"]
        for row in memory
        if row["method"].startswith("DessiLBI")
    ]
    what = "state of DessiLBI beyond SGD, x registered tensors"
    met = max(extra) < 1 + 1e-9
    found.append(Target(what, "<= 1", f"{max(extra):.3f}", met))
    return found


def environment(device):
    where = torch.cuda.get_device_name() if device == "cuda" else processor()
    load = (
        f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    )
    return (
        f"Python {sys.version.split()[0]}, torch {torch.__version__}, {where}, "
        f"{os.cpu_count()} processors{load} at the end."
    )


def document(times, memory, training, found, options):
    """The report in Markdown."""
    quick = " (quick run: too small to mean much)" if options.quick else ""
    sizes = ", ".join(
        f"{name} {sum(p.numel() for p in case.network.parameters()) / 1e6:.2f} million"
        for name, case in cases(options.device, options.quick).items()
        if "decay" not in name
    )
    which = "fused" if options.device == "cuda" else "foreach"
    lines = [
        f"# Step time of DessiLBI{quick}",
        "",
        "Made by `python -m benchmarks.dessilbi_speed"
        f"{' --device cuda' * (options.device == 'cuda')}`; what is timed is described "
        f"there. The reference is torch's SGD with momentum, {which}. Parameters: "
        f"{sizes}. Times in ms and ratios to the reference of the same moment: median "
        "(range) over the rounds.",
        "",
        environment(options.device),
        "",
        "| what | target | found | met |",
        "|---|---|---|---|",
        *(
            f"| {t.what} | {t.wanted} | {t.found} | {'yes' if t.met else '**no**'} |"
            for t in found
        ),
        "",
        "## The step alone",
        "",
        "*State*: bytes that the optimizer keeps, in multiples of the parameters.",
    ]
    for case, threads in kinds(times, "case", "threads"):
        lines += [
            "",
            f"{case}, {threads} thread(s):",
            "",
            "| optimizer | ms | x reference | state |",
            "|---|---|---|---|",
        ]
        here = {"case": case, "threads": threads}
        for row in (r for r in memory if r["case"] == case and r["threads"] == threads):
            ms = column(times, "ms", method=row["method"], **here)
            ratios = column(times, "ratio", method=row["method"], **here)
            lines.append(
                f"| {row['method']} | {spread(ms)} | {spread(ratios)} | "
                f"{row['state']:.2f} |"
            )
    lines += [
        "",
        "## Whole training steps",
        "",
        "Groups are units; the recorder looks every 10 steps. *Whole*: ratio of the "
        "medians of both parts together to that of SGD.",
        "",
        "| network, threads | optimizer | forward and backward, ms | step, ms | "
        "share of the step | whole, x SGD |",
        "|---|---|---|---|---|---|",
    ]
    for case, threads, method in kinds(training, "case", "threads", "method"):
        passes, step, share, ratio = parts(training, case, threads, method)
        lines.append(
            f"| {case}, {threads} | {method} | {spread(passes)} | {spread(step)} | "
            f"{100 * share:.1f} % | {ratio:.3f} |"
        )
    return "\n".join([*lines, "", "![figure](dessilbi_speed.png)", ""])


def parts(training, case, threads, method):
    """Times of passes and steps, share of the step, and the whole relative to SGD.

    Passes are the same work for all optimizers: their median is that of all.
    """
    here = {"case": case, "threads": threads}
    passes = column(training, "passes", **here)
    step = column(training, "ms", method=method, **here)
    common, own = statistics.median(passes), statistics.median(step)
    plain = statistics.median(column(training, "ms", method="SGD", **here))
    whole = common + own
    return passes, step, own / whole, whole / (common + plain)


def write_csv(path, tables):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["table", "case", "threads", "method", "round", "what", "value"]
        )
        for table, rows in tables.items():
            for row in rows:
                keys = [row.get(k, "") for k in ("case", "threads", "method", "round")]
                for what in ("ms", "ratio", "passes", "state"):
                    if what in row:
                        writer.writerow([table, *keys, what, f"{row[what]:.5g}"])


def plot(times, training, device, file):
    """Ratios of the first case, and the share of the step in training."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    case = times[0]["case"]
    methods = [method for (method,) in kinds(times, "method")]
    threads = [n for (n,) in kinds(times, "threads")]
    height = 0.8 / len(threads)
    for k, method in enumerate(methods):
        for i, n in enumerate(threads):
            ratios = column(times, "ratio", case=case, method=method, threads=n)
            if not ratios:
                continue
            at = k + (i - (len(threads) - 1) / 2) * height
            low, middle, high = statistics.quantiles(ratios, n=4)
            label = f"{n} thread(s)" if k == 0 else None
            left.barh(at, middle, 0.9 * height, color=f"C{i}", label=label)
            left.plot([low, high], [at, at], color="black", lw=1)
        if method in TARGETS[device]:
            bound = TARGETS[device][method]
            left.plot([bound, bound], [k - 0.45, k + 0.45], color="C3", lw=2)
    left.plot([], [], color="C3", lw=2, label="target")
    left.axvline(1, color="grey", lw=0.8, zorder=0)
    left.set_yticks(range(len(methods)), methods)
    left.invert_yaxis()
    left.set(
        title=f"{case}: the step alone",
        xlabel=f"x {REFERENCE} with momentum (median, quartiles)",
    )
    left.legend(loc="upper right")

    labels = []
    for k, key in enumerate(kinds(training, "case", "threads", "method")):
        passes, step, share, _ = parts(training, *key)
        right.barh(k, 100 * share, color="C1")
        total = statistics.median(passes) + statistics.median(step)
        right.text(100 * share, k, f" of {total:.3g} ms", va="center", fontsize=8)
        labels.append(f"{key[0]}, {key[1]} thread(s)\n{key[2]}")
    right.set_yticks(range(len(labels)), labels, fontsize=8)
    right.invert_yaxis()
    right.margins(x=0.25)
    right.set(title="Whole training steps", xlabel="share of the optimizer's step, %")
    figure.savefig(file, dpi=100)
    plt.close(figure)


def main(arguments=None):
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny networks, < 40 s")
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 2; quick: 1")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=20, help="rounds; quick: 3")
    parser.add_argument("--no-compile", action="store_true", help="no compiled steps")
    parser.add_argument("--output", type=Path, default=Path("output/dessilbi_speed"))
    options = parser.parse_args(arguments)
    device, quick = options.device, options.quick
    if device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "--device cuda: torch sees no GPU; install a CUDA build of torch on a "
            "machine with one, or leave --device out"
        )
    rounds = 3 if quick else options.repeats
    times, memory, training = [], [], []
    for threads in options.threads or ([1] if quick or device == "cuda" else [1, 2]):
        torch.set_num_threads(threads)
        for name, case in cases(device, quick).items():
            compiled = not options.no_compile
            more = time_steps(name, case, threads, device, rounds, compiled)
            times += more[0]
            memory += more[1]
            print(f"{name}, {threads} thread(s) done", flush=True)
        training += time_training(threads, device, rounds, quick)
    found = targets(times, memory, device)
    text = document(times, memory, training, found, options)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "dessilbi_speed.md").write_text(text, encoding="utf-8")
    tables = {"step": times, "memory": memory, "training": training}
    write_csv(options.output / "dessilbi_speed.csv", tables)
    plot(times, training, device, options.output / "dessilbi_speed.png")
    print(text)
    return 0 if quick or all(target.met for target in found) else 1


if __name__ == "__main__":
    sys.exit(main())
