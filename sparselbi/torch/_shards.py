"""Tensors that are cut into shards over processes: DTensors, as `fully_shard` makes.

A process computes on its own piece, a plain tensor. What needs other processes is made
here: sums over them, and whole tensors for reports.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (Tensor, nn.Parameter)


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is a DTensor. Does not import torch.distributed."""
    if type(tensor) in PLAIN:
        return False
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Any) -> Tensor:
    """The piece of this process, which shares its memory with the tensor."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def local_gradient(param: Tensor) -> Tensor:
    """The gradient of the piece of this process."""
    grad: Any = param.grad
    if is_sharded(param) and grad.placements != param.placements:  # type: ignore[attr-defined]
        grad = grad.redistribute(placements=param.placements)  # type: ignore[attr-defined]
    return local(grad)


@dataclass(frozen=True)
class Place:
    """Where the piece of this process lies in a tensor.

    Attributes
    ----------
    spans : tuple of (start, length)
        For every dim.
    cuts : dict of int to tuple of int
        For every dim that is cut: the length of a full piece after each cut.
    processes : tuple of ProcessGroup
        The processes that hold the pieces, one group for every cut.
    """

    spans: tuple[tuple[int, int], ...]
    cuts: dict[int, tuple[int, ...]]
    processes: tuple[Any, ...] = field(repr=False)


def place_of(param: Any) -> Place:
    """Where the piece of this process lies in a sharded tensor.

    Raises
    ------
    ValueError
        If the pieces are no runs of consecutive slices.
    """
    from torch.distributed.tensor.placement_types import Shard

    mesh = param.device_mesh
    spans = [(0, length) for length in param.shape]
    cuts: dict[int, tuple[int, ...]] = {}
    processes = []
    for axis, placement in enumerate(param.placements):
        count = mesh.size(axis)
        if count == 1 or placement.is_replicate():
            continue
        if type(placement) is not Shard:
            raise ValueError(
                f"its placement {placement!r} is not supported: shard it with "
                f"fully_shard alone (a mesh without tensor parallelism), or give it "
                f"groups=None"
            )
        start, length = spans[placement.dim]
        piece = -(-length // count)
        first = min(piece * mesh.get_local_rank(axis), length)
        spans[placement.dim] = start + first, min(piece, length - first)
        cuts[placement.dim] = (*cuts.get(placement.dim, ()), piece)
        processes.append(mesh.get_group(axis))
    if tuple(length for _, length in spans) != tuple(local(param).shape):
        raise ValueError(
            f"this process holds {tuple(local(param).shape)} of its shape "
            f"{tuple(param.shape)}, which is not how torch cuts it with the placements "
            f"{param.placements}; give it groups=None"
        )
    return Place(tuple(spans), cuts, tuple(processes))


def sum_over_processes(
    values: Sequence[Tensor], processes: Sequence[tuple[Any, ...]]
) -> None:
    """Replace vectors by their sums over processes, in as few messages as possible.

    All processes must call it with the same lists.
    """
    buckets: dict[Any, list[Tensor]] = {}
    for value, groups in zip(values, processes, strict=True):
        key = groups, value.dtype, value.device
        buckets.setdefault(key, []).append(value)
    for (groups, *_), parts in buckets.items():
        message = torch.cat(parts)
        for group in groups:
            torch.distributed.all_reduce(message, group=group)
        for part, total in zip(
            parts, message.split([len(p) for p in parts]), strict=True
        ):
            part.copy_(total)


def gather(piece: Tensor, like: Any) -> Tensor:
    """The whole tensor, on every process, of pieces that lie as those of `like` do."""
    from torch.distributed.tensor import DTensor

    whole = DTensor.from_local(
        piece.contiguous(),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=torch.empty(like.shape, device="meta").stride(),
    )
    return whole.full_tensor()


def piece_of(whole: Tensor, like: Any) -> Tensor:
    """The part of a whole tensor that belongs to the piece of `like`."""
    if is_sharded(like) and not is_sharded(whole):
        for dim, span in enumerate(place_of(like).spans):
            whole = whole.narrow(dim, *span)
    return local(whole)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of DistributedDataParallel and torch.compile.

    Its names have no "module." and "_orig_mod.".
    """
    dynamo = sys.modules.get("torch._dynamo")
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif dynamo is not None and isinstance(model, dynamo.OptimizedModule):
            model = model._orig_mod
        else:
            return model


def reshard(model: nn.Module) -> None:
    """Let a model hold its shards, and gather its weights anew in the next forward.

    After a forward without a backward, `fully_shard` keeps the gathered weights: they
    would hide the shards, and changes of them.
    """
    module = sys.modules.get("torch.distributed.fsdp")
    if module is None:
        return
    for part in model.modules():
        if isinstance(part, module.FSDPModule):
            part.reshard()
