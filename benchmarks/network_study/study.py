"""What is run, over seeds in parallel; every part gives one table."""

import copy
import time
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple

import pandas as pd
import torch
from joblib import Parallel, delayed

from sparselbi.torch import groups_for, prune
from sparselbi.torch.examples.data import load_images
from sparselbi.torch.examples.networks import lenet_5, lenet_300_100
from sparselbi.torch.examples.training import (
    accuracy,
    select_and_tune,
    train_dense,
    tune,
)

from . import methods
from .methods import Question

__all__ = ["FULL", "GRID", "LEVELS", "PARTS", "QUICK"]

LEVELS = {"weight": "weights", "unit": "neurons"}

CHOOSING = 100  # seed, and split into training and validation, of the choices


class Plan(NamedTuple):
    """What is run."""

    seeds: tuple
    n_train: int | None
    sources: tuple
    ratios: dict  # by level: weights of the groups by those that are kept
    chosen: dict  # by level: ratios at which settings are chosen
    epochs: int  # of the comparison
    epochs_300_100: int
    epochs_5: int
    n_settings: int | None  # of the grid
    clock: float = 1.0  # of the penalties: short runs have little path time


FULL = Plan(
    seeds=(0, 1, 2, 3, 4),
    n_train=None,
    sources=("mnist", "fashion"),
    ratios={"weight": (8, 32, 64), "unit": (4, 16)},
    chosen={"weight": (16, 64), "unit": (16,)},
    epochs=15,
    epochs_300_100=30,
    epochs_5=14,
    n_settings=None,
)
QUICK = Plan(
    seeds=(0,),
    n_train=2000,
    sources=("mnist",),
    ratios={"weight": (8,), "unit": (4,)},
    chosen={"weight": (8,), "unit": (4,)},
    epochs=2,
    epochs_300_100=2,
    epochs_5=2,
    n_settings=1,
    clock=0.001,
)

# Of the comparison: settings of the phase that decides (`epochs` as a share of all),
# and of tuning.
_FIRST = {"epochs": 0.4, "lr": 0.1}
_WEIGHTS = {
    "dessilbi": [
        {**_FIRST, "nu": 100, "lam": 0.2, "order": "dual"},
        {**_FIRST, "nu": 100, "lam": 0.2, "order": "entry"},
        {**_FIRST, "nu": 200, "lam": 0.1, "order": "dual", "anneal": True},
    ],
    "magnitude": [
        _FIRST,
        {**_FIRST, "weight_decay": 5e-4},
        {**_FIRST, "epochs": 0.6},
    ],
    "proximal": [
        {**_FIRST, "lam": 1e-5},
        {**_FIRST, "lam": 3e-5},
        {**_FIRST, "lam": 1e-4},
    ],
    "admm": [
        {**_FIRST, "rho": 3e-3},
        {**_FIRST, "rho": 1e-2},
        {**_FIRST, "rho": 3e-2},
    ],
}
_UNITS = {
    "dessilbi": [
        {**_FIRST, "nu": 100, "lam": 0.05, "order": "dual"},
        {**_FIRST, "nu": 100, "lam": 0.05, "order": "entry"},
    ],
    "magnitude": [
        _FIRST,
        {**_FIRST, "weight_decay": 5e-4},
    ],
    "proximal": [
        {**_FIRST, "lam": 3e-5},
        {**_FIRST, "lam": 1e-4},
    ],
    "admm": [
        {**_FIRST, "rho": 3e-3},
        {**_FIRST, "rho": 1e-2},
    ],
}
GRID = {"weight": _WEIGHTS, "unit": _UNITS}
TUNING = {"lr": 0.1, "warmup": 100}

# Of the two LeNets: settings of `select_and_tune`, best on validation in the search
# that part "search" repeats.
DENSE_300_100 = {"lr": 0.1, "weight_decay": 5e-4}
DENSE_5 = {"lr": 0.05}
COMMON_300_100 = {"lr": 0.1, "nu": 100, "lam": 0.3, "weight_decay": 5e-4}
SEARCH_300_100 = {
    version: [
        {**COMMON_300_100, "keep": keep},
        {**COMMON_300_100, "keep": keep, "lam": 0.5},
        {**COMMON_300_100, "keep": keep, "nu": 500, "lam": 0.1},
    ]
    for version, keep in (("12x", 0.077), ("25x", 0.038))
}
COMMON_5 = {"lr": 0.05, "nu": 50, "lam": {"": 1.0, "conv1": 1.1, "conv2": 1.1}}
SEARCH_5 = {
    "larger": [
        {**COMMON_5, "keep": 0.13},
        {**COMMON_5, "keep": 0.13, "lam": {"": 1.0, "conv1": 0.5}},
    ],
    "smaller": [
        {**COMMON_5, "keep": 0.1},
        {**COMMON_5, "keep": 0.1, "lam": {"": 1.0, "conv1": 0.5}},
    ],
    "faster": [
        {**COMMON_5, "keep": 0.1, "lam": {"": 1.0, "conv1": 1.0, "conv2": 1.4}},
    ],
}


def over(tasks, jobs):
    """Rows of all tasks, ``(function, *arguments)`` each, as a data frame."""
    rows = Parallel(jobs)(delayed(function)(*rest) for function, *rest in tasks)
    return pd.DataFrame([row for some in rows for row in some])


# -------------------------------------------------------------------------- comparison


def one_method(name, settings, source, level, seed, plan, ratios, test=True):
    """Rows of one method and seed, one for every ratio; all from one first phase."""
    torch.set_num_threads(1)
    data = load_images(source, n_train=plan.n_train, seed=seed)
    settings = dict(settings)
    first = max(1, round(settings.pop("epochs") * plan.epochs))
    rows, masks_for = [], None
    for ratio in ratios:
        start = time.perf_counter()
        if masks_for is None or name == "admm":  # which has to know the ratio
            torch.manual_seed(seed)
            question = Question(lenet_300_100(), data, level, seed)
            extra = {}
            if name == "admm":
                extra["share"] = 1 / ratio
            if name == "dessilbi":
                extra["lam"] = settings["lam"] * plan.clock
            train = getattr(methods, name)
            masks_for = train(question, first, **{**settings, **extra})
        model = copy.deepcopy(question.model)
        masks = masks_for(1 / ratio)
        tune(
            model,
            masks,
            data,
            epochs=plan.epochs - first,
            momentum=methods.MOMENTUM,
            **{**question.options, **TUNING},
        )
        rows.append(
            {
                "source": source,
                "level": level,
                "method": name,
                "ratio": ratio,
                "seed": seed,
                "parameters": _parameters(model, masks, level),
                "validation": accuracy(model, data.validation),
                "seconds": time.perf_counter() - start,
            }
        )
        if test:
            rows[-1]["test"] = accuracy(model, data.test)
    return rows


def _parameters(model, masks=None, level="weight"):
    """Parameters with biases that are not masked, or left when units are removed."""
    if masks and level == "unit":
        example = torch.zeros(2, 1, 28, 28)
        report = prune(model, masks, example, repeats=0, allow_empty=True).report
        return report.after.parameters
    masks = masks or {}
    return sum(
        int(masks[name].sum()) if name in masks else p.numel()
        for name, p in model.named_parameters()
    )


def one_choice(name, settings, source, level, plan):
    """Mean accuracy on validation data over some ratios, of one setting."""
    ratios = plan.chosen[level]
    rows = one_method(name, settings, source, level, CHOOSING, plan, ratios, test=False)
    row = {"source": source, "level": level, "method": name, "settings": repr(settings)}
    row |= {f"validation {r['ratio']}": r["validation"] for r in rows}
    row["validation"] = sum(r["validation"] for r in rows) / len(rows)
    return [row]


def choose(level, plan, jobs, tables):
    """Every setting of every method of the comparison, on validation data."""
    tasks = [
        (one_choice, name, settings, source, level, plan)
        for source in plan.sources
        for name, grid in GRID[level].items()
        for settings in grid[: plan.n_settings]
    ]
    return over(tasks, jobs)


def comparison(level, plan, jobs, tables):
    """All methods with the settings that were best on validation data."""
    found = tables[f"choose_{LEVELS[level]}"].set_index(["source", "method"])
    tasks = []
    for source in plan.sources:
        for name, grid in GRID[level].items():
            rows = found.loc[[(source, name)]]
            best = rows["settings"].iloc[rows["validation"].argmax()]
            settings = next(s for s in grid if repr(s) == best)
            tasks += [
                (one_method, name, settings, source, level, seed, plan, ratios)
                for seed in plan.seeds
                for ratios in [plan.ratios[level]]
            ]
    if level == "weight":  # once for both levels
        for source, seed in product(plan.sources, plan.seeds):
            tasks.append((one_dense, source, seed, plan))
    return over(tasks, jobs)


def one_dense(source, seed, plan):
    """The dense network with the whole budget."""
    torch.set_num_threads(1)
    data = load_images(source, n_train=plan.n_train, seed=seed)
    torch.manual_seed(seed)
    model, start = lenet_300_100(), time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    train_dense(model, data, epochs=plan.epochs, generator=generator, **DENSE_300_100)
    row = {"source": source, "level": "", "method": "dense", "ratio": 1, "seed": seed}
    row["parameters"] = _parameters(model)
    row["validation"] = accuracy(model, data.validation)
    row["seconds"] = time.perf_counter() - start
    return [{**row, "test": accuracy(model, data.test)}]


# -------------------------------------------------------------------------- two LeNets


def one_lenet(net, name, settings, seed, plan, test=True):
    """One row: a dense network, or one by `select_and_tune`."""
    torch.set_num_threads(1)
    data = load_images("mnist", n_train=plan.n_train, seed=seed)
    torch.manual_seed(seed)
    start, row = time.perf_counter(), {"net": net, "version": name, "seed": seed}
    if net == "300-100":
        model, epochs, run = lenet_300_100(), plan.epochs_300_100, {"physical": False}
    else:  # convolutions: twice as fast in this layout, and again in bfloat16
        layout = torch.channels_last
        model, epochs = lenet_5().to(memory_format=layout), plan.epochs_5
        run = {"autocast": True}
        parts = ("train", "validation", "test")
        x = {part: getattr(data, part).x.to(memory_format=layout) for part in parts}
        data = replace(
            data, **{part: getattr(data, part)._replace(x=x[part]) for part in parts}
        )
    settings = dict(settings)
    total = _parameters(model)
    if "keep" not in settings:
        run.pop("physical", None)
        generator = torch.Generator().manual_seed(seed)
        train_dense(model, data, epochs=epochs, generator=generator, **run, **settings)
        row["parameters"] = total
    else:
        level = "weight" if net == "300-100" else "unit"
        lam = settings.pop("lam")  # of all layers, or by layer
        lam = lam if isinstance(lam, dict) else {"": lam}
        layers = {k: {"lam": v * plan.clock} for k, v in lam.items() if k}
        table = groups_for(model, level, lam=lam[""] * plan.clock, choose=layers)
        done = select_and_tune(
            model, data, table, epochs=epochs, seed=seed, **run, **settings
        )
        model, report = done.model, done.pruned.report
        left = done.pruned.masks if net == "300-100" else {}
        row["parameters"] = _parameters(model, left)
        row["selection epochs"] = done.selection_epochs
        if net == "5":
            row["macs"] = report.before.macs / report.after.macs
            row["latency"] = report.before.latency / report.after.latency
            row["ms"] = 1e3 * report.after.latency
            widths = [
                m.weight.shape[0] for m in model.children() if hasattr(m, "weight")
            ]
            row["widths"] = "-".join(map(str, widths))
    row["ratio"] = total / row["parameters"]
    row["validation"] = accuracy(model, data.validation)
    row["seconds"] = time.perf_counter() - start
    if test:
        row["test"] = accuracy(model, data.test)
    return [row]


def search(plan, jobs, tables):
    """Settings of the two LeNets, on validation data."""
    tasks = []
    for net, dense, grid in (
        ("300-100", DENSE_300_100, SEARCH_300_100),
        ("5", DENSE_5, SEARCH_5),
    ):
        versions = {"dense": [dense], **grid}
        for name, settings in versions.items():
            for k, setting in enumerate(settings[: plan.n_settings]):
                tasks.append((one_search, net, name, k, setting, plan))
    return over(tasks, jobs)


def one_search(net, name, k, settings, plan):
    (row,) = one_lenet(net, name, settings, CHOOSING, plan, test=False)
    return [{**row, "setting": k, "settings": repr(settings)}]


def lenets(plan, jobs, tables):
    """The two LeNets with the first setting of each version, over seeds."""
    tasks = []
    for net, dense, grid in (
        ("300-100", DENSE_300_100, SEARCH_300_100),
        ("5", DENSE_5, SEARCH_5),
    ):
        versions = {"dense": dense, **{name: all_[0] for name, all_ in grid.items()}}
        for name, settings in versions.items():
            for seed in plan.seeds:
                tasks.append((one_lenet, net, name, settings, seed, plan))
    return over(tasks, jobs)


PARTS = {
    "choose_weights": partial(choose, "weight"),
    "weights": partial(comparison, "weight"),
    "choose_neurons": partial(choose, "unit"),
    "neurons": partial(comparison, "unit"),
    "search": search,
    "lenets": lenets,
}
