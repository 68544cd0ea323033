"""LeNet-300-100 or LeNet-5 on MNIST: one run to a network a dozen times smaller.

A dense run, and one of the same length that selects with DessiLBI, cuts off what was
not selected, and trains what is left::

    python -m sparselbi.torch.examples.lenet 300-100
    python -m sparselbi.torch.examples.lenet 5 --data fashion --output lenet

LeNet-300-100 selects single weights (the small network holds zeros), LeNet-5 filters
and neurons, which are removed. One and five minutes on two cores.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sparselbi.torch import groups_for
from sparselbi.torch.examples.data import load_images
from sparselbi.torch.examples.networks import lenet_5, lenet_300_100
from sparselbi.torch.examples.results import results_table, save_results
from sparselbi.torch.examples.training import accuracy, select_and_tune, train_dense

__all__ = ["main"]

DEFAULTS = {
    "300-100": {
        "epochs": 30,
        "lr": 0.1,
        "nu": 100.0,
        "lam": 0.3,
        "keep": 0.077,
        "weight_decay": 5e-4,
    },
    "5": {
        "epochs": 14,
        "lr": 0.05,
        "nu": 50.0,
        "lam": 1.0,
        "keep": 0.1,
        "weight_decay": 0.0,
    },
}
CONV2 = 1.4  # its penalty by that of the others: most multiplications are in it
QUICK = {"epochs": 2, "n_train": 2000, "n_validation": 500, "nu": 5.0}
QUICK_LAM = {"300-100": 0.01, "5": 0.04}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the comparison; returns the table and what it was made from."""
    args = _arguments(argv)
    data = load_images(
        args.data, n_validation=args.n_validation, n_train=args.n_train, seed=args.seed
    )
    torch.manual_seed(args.seed)
    if args.net == "5":
        model = lenet_5(data.shape[0], len(data.classes), data.shape[1])
        choose = {"conv2": {"lam": args.lam * CONV2}}
        table = groups_for(model, "unit", lam=args.lam, choose=choose)
    else:
        n_inputs = data.train.x[0].numel()
        model = lenet_300_100(n_inputs, len(data.classes))
        table = groups_for(model, "weight")
    print(table)
    dense, twin = copy.deepcopy(model), copy.deepcopy(model)
    train_dense(
        dense,
        data,
        epochs=args.epochs,
        lr=args.lr,
        weight_decay=args.weight_decay,
        generator=torch.Generator().manual_seed(args.seed),
    )
    run = select_and_tune(
        model,
        data,
        table,
        epochs=args.epochs,
        keep=args.keep,
        lr=args.lr,
        nu=args.nu,
        lam=args.lam,
        weight_decay=args.weight_decay,
        seed=args.seed,
        physical=args.net == "5",
    )
    print(f"\n{run.recorder!r}: {run.selection_epochs:.2f} of {args.epochs} epochs.\n")
    scores = {
        name: (accuracy(dense, split), accuracy(run.model, split))
        for name, split in (("validation", data.validation), ("test", data.test))
    }
    result = results_table(run.pruned, scores)
    if args.net == "300-100":  # zeros stay in place
        sizes = (run.pruned.report.before, run.pruned.report.after)
        result["parameters"] = [size.nonzero for size in sizes]
    print(f"{data.name}: accuracy in percent; milliseconds for 128 images:")
    print(result)
    if args.output is not None:
        save_results(
            args.output, result, run.pruned, run.recorder, twin, data.test.x[:128]
        )
    return {"table": result, "run": run}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sparselbi.torch.examples.lenet",
        description="A small LeNet from one run.",
    )
    add = parser.add_argument
    add("net", choices=sorted(DEFAULTS), nargs="?", default="300-100")
    add("--data", default="mnist", help="mnist (default), fashion, or a folder")
    add("--output", type=Path, help="folder for the table, figures and the network")
    add("--epochs", type=int, help="of each of the two runs")
    add("--seed", type=int, default=0)
    add("--quick", action="store_true", help="some seconds, to see that it runs")
    add("--keep", type=float, help="share of the weights at which selection ends")
    for name in ("lr", "nu", "lam"):
        add(f"--{name}", type=float, help="of DessiLBI")
    add("--weight-decay", type=float, help="dense run, and tuning")
    add("--n-train", type=int, help="training images to use; default all")
    add("--n-validation", type=int, default=5000)
    args = parser.parse_args(argv)
    for name, value in DEFAULTS[args.net].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.quick:
        vars(args).update(QUICK, lam=QUICK_LAM[args.net])
    return args


if __name__ == "__main__":
    main()
