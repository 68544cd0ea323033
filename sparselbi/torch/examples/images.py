"""VGG-16 or a ResNet on small images: which filters it needs.

Two runs of the same length: a dense one, and one that selects filters until they hold
the wanted share of the weights, cuts out the others, and goes on with what is left::

    python -m sparselbi.torch.examples.images resnet --data fashion --keep 0.3
    python -m sparselbi.torch.examples.images vgg_16 --data path/to/cifar10

The second reads a folder with ``train/<class>/*.png`` and ``test/<class>/*.png``. Takes
minutes on a GPU; on two cores take a part of it::

    python -m sparselbi.torch.examples.images resnet --n-train 10000 --epochs 6
    python -m sparselbi.torch.examples.images vgg_16 --n-train 10000 --width 8
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sparselbi.torch import DessiLBI, prune
from sparselbi.torch.examples.data import load_images
from sparselbi.torch.examples.networks import ResNet, resnet, vgg_16
from sparselbi.torch.examples.relative import relative_groups
from sparselbi.torch.examples.results import results_table, save_results
from sparselbi.torch.examples.training import accuracy, select, train_dense, tune
from sparselbi.torch.masks import selected_share

__all__ = ["flip_and_shift", "main"]

WIDTHS = {"vgg_16": 64, "resnet": 16}
QUICK = {"n_train": 512, "n_validation": 128, "epochs": 3, "batch_size": 32, "width": 4}


def flip_and_shift(x: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Every image mirrored or not, and moved by up to `reach` pixels each way."""
    n, channels, height, width = x.shape
    top, left = torch.randint(2 * reach + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(x.device), columns.to(x.device)
    image = torch.arange(n, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[:, None, None]
    padded = F.pad(x, [reach] * 4)
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the comparison; returns the table and what it was made from."""
    args = _arguments(argv)
    torch.manual_seed(args.seed)
    data = load_images(
        args.data, n_validation=args.n_validation, n_train=args.n_train, seed=args.seed
    )
    data = replace(
        data,
        train=data.train.to(args.device),
        validation=data.validation.to(args.device),
        test=data.test.to(args.device),
    )

    def network() -> Any:
        make = resnet if args.network == "resnet" else vgg_16
        size = {"depth": args.depth} if args.network == "resnet" else {}
        model = make(
            in_channels=data.shape[0],
            n_classes=len(data.classes),
            width=args.width,
            **size,
        )
        return model.to(args.device)

    dense = network()
    model = copy.deepcopy(dense)
    common: dict[str, Any] = {
        "batch_size": args.batch_size,
        "autocast": args.autocast,
        "augment": None if data.name == "mnist" else flip_and_shift,
        "generator": torch.Generator().manual_seed(args.seed),
    }
    later = {**common, "lr": args.lr, "weight_decay": args.weight_decay}

    # The network as it is.
    train_dense(dense, data, epochs=args.epochs, **later)

    # Select filters. With nu at a share of the path time of the whole run, weights that
    # nothing holds have decayed when it is over, and only others reach the penalty.
    residual = isinstance(model, ResNet)
    choose = model.groups() if residual else {"conv1_1.weight": None}
    table = relative_groups(model, choose, args.lam)
    steps = args.epochs * (len(data.train.y) // args.batch_size)
    nu = args.nu * args.lr * steps
    optimizer = DessiLBI(table, lr=args.lr, nu=nu, momentum=0.9)
    print(table)
    print(f"Steps to the first and the median entry, of {steps}:")
    print(optimizer.predicted_selection()[["n_groups", "first_step", "median_step"]])
    limit = 0.6 * args.epochs
    recorder = select(
        model, optimizer, data, keep=args.keep, epochs=limit, every=2, **common
    )
    used = optimizer.param_groups[0]["n_steps"] / steps * args.epochs
    print(f"\n{recorder!r}: {used:.2f} of {args.epochs} epochs.\n")

    # Cut out the rest, and train what is left. A block may lose all its channels: the
    # shortcut is left of it. If too few were selected, all of these are kept.
    example = data.train.x[: args.batch_size]
    pruned = prune(
        model,
        recorder,
        example,
        keep=args.keep if selected_share(optimizer) >= args.keep else None,
        constants="zero",
        allow_empty=residual,
    )
    tune(pruned.model, None, data, epochs=args.epochs - used, **later)

    scores = {
        name: (accuracy(dense, split), accuracy(pruned.model, split))
        for name, split in (("validation", data.validation), ("test", data.test))
    }
    result = results_table(pruned, scores)
    print(f"{data.name}: accuracy in percent; milliseconds for {len(example)} images:")
    print(result)
    if args.output is not None:
        save_results(args.output, result, pruned, recorder, network(), example)
    return {"table": result, "pruned": pruned, "recorder": recorder}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sparselbi.torch.examples.images",
        description="Filters of VGG-16 or a ResNet on small images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("network", choices=sorted(WIDTHS), nargs="?", default="resnet")
    add("--data", default="fashion", help="mnist, fashion, or a folder of images")
    add("--output", type=Path, help="folder for the table, figures and the network")
    add("--epochs", type=int, default=20)
    add("--seed", type=int, default=0)
    add("--quick", action="store_true", help="some seconds, to see that it runs")
    add("--keep", type=float, default=0.3, help="share of the weights of the filters")
    add("--lr", type=float, default=0.05)
    add("--nu", type=float, default=0.15, help="by lr * steps of the run")
    add("--lam", type=float, default=0.85, help="penalty, by the norms at the start")
    add("--weight-decay", type=float, default=5e-4, help="dense run, and tuning")
    add("--width", type=int, help="of the first stage; default 16, VGG 64")
    add("--depth", type=int, default=20, help="of the ResNet, 6 n + 2")
    add("--batch-size", type=int, default=128)
    add("--n-train", type=int, help="training images to use; default all")
    add("--n-validation", type=int, default=5000)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--autocast", action="store_true", help="forward passes in bfloat16")
    args = parser.parse_args(argv)
    if args.quick:
        vars(args).update(QUICK, depth=8)
    if args.width is None:
        args.width = WIDTHS[args.network]
    return args


if __name__ == "__main__":
    main()
