"""Training loops: one epoch, and selection followed by tuning."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..group_table import GroupTable
from ..masks import selected_share
from ..optim import DessiLBI
from ..pruning import Pruned, prune
from ..recorder import PathRecorder
from ..tickets import hold_masks
from .data import ImageData, Split, batches

__all__ = [
    "SparseRun",
    "accuracy",
    "select",
    "select_and_tune",
    "train_dense",
    "train_epoch",
    "tune",
]


@torch.no_grad()
def accuracy(model: nn.Module, split: Split, batch_size: int = 1000) -> float:
    """Share of right classes, in percent."""
    was = model.training
    model.eval()
    right = 0
    for x, y in zip(split.x.split(batch_size), split.y.split(batch_size), strict=True):
        right += int((model(x).argmax(1) == y).sum())
    model.train(was)
    return 100 * right / len(split.y)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    split: Split,
    *,
    batch_size: int,
    generator: torch.Generator,
    scheduler: Any = None,
    autocast: bool = False,
    after_step: Callable[[], bool | None] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> float:
    """One pass over the data; returns the mean loss.

    `scheduler` steps with every batch. With `autocast` the forward pass is in bfloat16.
    If `after_step` returns True, the epoch ends early.
    """
    model.train()
    total, n = torch.zeros((), device=split.x.device), 0
    for x, y in batches(split, batch_size, generator, augment=augment):
        optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
            output = model(x)
        loss = cross_entropy(output.float(), y)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        total, n = total + loss.detach(), n + 1
        if after_step is not None and after_step():
            break
    return float(total) / max(n, 1)


def train_dense(
    model: nn.Module,
    data: ImageData,
    *,
    epochs: float,
    lr: float,
    generator: torch.Generator,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    warmup: int = 0,
    autocast: bool = False,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> nn.Module:
    """SGD with momentum and a learning rate that falls to zero as a cosine.

    Trains in place. `epochs` can be a fraction. Over the first `warmup` steps the
    learning rate rises linearly.
    """
    optimizer = torch.optim.SGD(
        model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay
    )
    left = round(epochs * (len(data.train.y) // batch_size))
    if not left:
        return model

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup + 1))
        return rise * (1 + math.cos(math.pi * step / left)) / 2

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def after_step() -> bool:
        return scheduler.last_epoch >= left

    while scheduler.last_epoch < left:
        train_epoch(
            model,
            optimizer,
            data.train,
            batch_size=batch_size,
            generator=generator,
            scheduler=scheduler,
            autocast=autocast,
            after_step=after_step,
            augment=augment,
        )
    return model


def tune(
    model: nn.Module,
    masks: dict[str, Tensor] | None,
    data: ImageData,
    **options: Any,
) -> nn.Module:
    """`train_dense` with weights outside of the masks held at zero; None: no masks."""
    with ExitStack() as stack:
        if masks:
            stack.enter_context(hold_masks(model, masks))
        return train_dense(model, data, **options)


def select(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: ImageData,
    *,
    keep: float,
    epochs: float,
    generator: torch.Generator,
    batch_size: int = 128,
    every: int = 10,
    autocast: bool = False,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> PathRecorder:
    """Train with constant learning rates until enough is selected.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place.
    optimizer : torch.optim.Optimizer
        `DessiLBI`, or one that is coupled.
    keep : float
        Share of the registered weights at which to stop.
    epochs : float
        At most so many; can be a fraction.
    every : int, default=10
        Steps between two looks at the support.

    Returns
    -------
    PathRecorder
    """
    recorder = PathRecorder(optimizer, model, every=every)
    limit = round(epochs * (len(data.train.y) // batch_size))
    done, enough = 0, False

    def after_step() -> bool:
        nonlocal done, enough
        done += 1
        enough = done % every == 0 and selected_share(optimizer) >= keep
        return enough or done >= limit

    while done < limit and not enough:
        train_epoch(
            model,
            optimizer,
            data.train,
            batch_size=batch_size,
            generator=generator,
            autocast=autocast,
            after_step=after_step,
            augment=augment,
        )
    recorder.look()
    recorder.remove()
    return recorder


@dataclass(frozen=True, eq=False)
class SparseRun:
    """What `select_and_tune` made.

    Attributes
    ----------
    model : torch.nn.Module
        The small network.
    pruned : Pruned
        It before tuning, with masks and report.
    recorder : PathRecorder
        Of the selection.
    selection_epochs : float
        How long that took.
    """

    model: nn.Module = field(repr=False)
    pruned: Pruned = field(repr=False)
    recorder: PathRecorder = field(repr=False)
    selection_epochs: float


def select_and_tune(
    model: nn.Module,
    data: ImageData,
    groups: GroupTable,
    *,
    epochs: float,
    keep: float,
    lr: float,
    nu: float,
    lam: float = 1.0,
    seed: int,
    tune_lr: float | None = None,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    batch_size: int = 128,
    longest: float = 0.5,
    warmup: int = 100,
    physical: bool = True,
    autocast: bool = False,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> SparseRun:
    """Select with a constant learning rate, cut out the rest, tune what is left.

    One run with the budget of a dense one: selection ends when the selected groups
    hold the share `keep` of the registered weights, or after the share `longest` of the
    `epochs`; the small network is trained for those that remain, with a cosine from
    `tune_lr` (`lr` if None) to zero.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place during selection.
    groups : GroupTable
        From `groups_for`; `lr`, `nu`, `lam` and `momentum` are for the param groups
        that do not have their own.
    warmup : int, default=100
        Steps over which the learning rate rises after the cut: what is cut off had
        still put something out, and a large first step can leave dead units.
    physical : bool, default=True
        Remove units before tuning (as it is faster); otherwise weights are masked.

    Returns
    -------
    SparseRun
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = DessiLBI(groups, lr=lr, nu=nu, lam=lam, momentum=momentum)
    common: dict[str, Any] = {"generator": generator, "batch_size": batch_size}
    common |= {"autocast": autocast, "augment": augment}
    recorder = select(
        model, optimizer, data, keep=keep, epochs=longest * epochs, **common
    )
    steps = max(group["n_steps"] for group in optimizer.param_groups)
    used = steps / (len(data.train.y) // batch_size)
    # Between two looks more may have entered. Single weights can be left out again;
    # units that enter at the same time may be all that a layer has.
    exact = not physical and selected_share(optimizer) >= keep
    pruned = prune(
        model,
        recorder,
        data.train.x[:batch_size],
        keep=keep if exact else None,
        physical=physical,
    )
    small = tune(
        pruned.model,
        None if physical else dict(pruned.masks),
        data,
        epochs=epochs - used,
        lr=lr if tune_lr is None else tune_lr,
        momentum=momentum,
        weight_decay=weight_decay,
        warmup=warmup,
        **common,
    )
    return SparseRun(small, pruned, recorder, used)
