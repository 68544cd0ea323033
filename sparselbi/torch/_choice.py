"""Masks of a network: where they come from, and whether they fit it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._dynamics import current_duals
from ._shards import is_sharded, local, piece_of, unwrapped
from .masks import group_masks, named_sets
from .recorder import NEVER, PathRecorder

__all__ = ["check_masks", "check_not_sharded", "choose_masks", "mask_weights"]

ORDERS = ("entry", "norm")


def choose_masks(
    model: nn.Module,
    source: Any,
    at: float | None = None,
    keep: float | int | Mapping[str, float | int] | None = None,
    allow_empty: bool = False,
    order: str = "entry",
) -> dict[str, Tensor]:
    """Masks that fit `model`, from masks, an optimizer or a recorder; see `prune`.

    Raises
    ------
    TypeError, ValueError
        As documented for `prune`.
    """
    if at is not None and keep is not None:
        raise ValueError(
            f"at={at!r} and keep={keep!r}: give one of them; at is a path time, keep "
            f"how many groups to keep in the order in which they entered."
        )
    check_not_sharded(model)
    if order not in ORDERS:
        raise ValueError(f"order={order!r} must be one of {ORDERS}.")
    wanted = "at" if at is not None else "keep" if keep is not None else None
    if isinstance(source, PathRecorder):
        if keep is not None:
            masks = _first(source, keep, order)
        elif at is not None:
            masks = source.masks_at(at)
        else:
            masks = group_masks(source.model, source.optimizer)
    elif wanted:
        raise ValueError(
            f"{wanted}= needs a PathRecorder, which knows when groups entered; got a "
            f"{type(source).__name__}."
        )
    elif isinstance(source, torch.optim.Optimizer):
        masks = group_masks(model, source)
    elif isinstance(source, Mapping):
        masks = dict(source)
    else:
        raise TypeError(
            f"masks is a {type(source).__name__}, expected a dict of parameter name -> "
            f"boolean mask, a PathRecorder, or an optimizer that selects groups."
        )
    check_masks(model, masks, allow_empty)
    return masks


def check_not_sharded(model: Any) -> None:
    """Raise ValueError for a model whose tensors lie on several processes."""
    if not isinstance(model, nn.Module):
        return
    sharded = [name for name, p in model.named_parameters() if is_sharded(p)]
    if sharded:
        raise ValueError(
            f"The parameter {sharded[0]!r} is sharded over processes: gather the "
            f"network first. On every process, call group_masks (or "
            f"PathRecorder.masks_at) and get_model_state_dict(model, "
            f"options=StateDictOptions(full_state_dict=True)) of "
            f"torch.distributed.checkpoint.state_dict; on one, load that into a "
            f"network that is not sharded, and give it with the masks."
        )


def check_masks(
    model: nn.Module, masks: Mapping[str, Tensor], allow_empty: bool = False
) -> None:
    """Raise ValueError unless every mask fits a parameter and leaves some weight."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}, expected a torch.nn.Module."
        )
    params = dict(unwrapped(model).named_parameters())
    if not masks:
        raise ValueError("masks is empty: there is nothing to mask.")
    for name, mask in masks.items():
        if name not in params:
            near = difflib.get_close_matches(name, list(params), n=3, cutoff=0.4)
            close = ", ".join(map(repr, near or list(params)[:5]))
            raise ValueError(
                f"There is a mask for {name!r}, which is no parameter of the model; "
                f"{'close are' if near else 'for instance'} {close}. Names are those "
                f"of model.named_parameters(): give them to the optimizer, or the "
                f"model to the PathRecorder."
            )
        shape = tuple(params[name].shape)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(
                f"The mask for {name!r} is of {kind}, expected a Tensor of torch.bool "
                f"that is True where a weight is kept."
            )
        if tuple(mask.shape) != shape:
            raise ValueError(
                f"The mask for {name!r} has shape {tuple(mask.shape)}, and the "
                f"parameter {shape}."
            )
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty and not allow_empty:
        raise ValueError(
            f"Nothing is left of {', '.join(map(repr, empty))}: all units are dropped, "
            f"and no signal passes. Take a later point of the path, keep more, or, if "
            f"there is a way around (a residual connection), set allow_empty=True."
        )


@torch.no_grad()
def mask_weights(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the weights outside of the masks to zero, in place."""
    for name, mask in masks.items():
        param = model.get_parameter(name)
        local(param).masked_fill_(~piece_of(mask, param).to(param.device), 0)


def _first(
    recorder: PathRecorder,
    keep: float | int | Mapping[str, float | int],
    order: str,
) -> dict[str, Tensor]:
    """Masks of groups that have entered: the first, or the strongest, of them."""
    pairs = named_sets(recorder.model, recorder.optimizer)
    steps = [entry.numpy() for entry in recorder.entry_steps().values()]
    norms = [
        groups.split_norms(current_duals(recorder.optimizer, groups)).double().cpu()
        for groups, _ in pairs
    ]
    if isinstance(keep, Mapping):
        unknown = [name for name in keep if name not in recorder.names]
        if unknown:
            raise ValueError(
                f"keep names {unknown}, which are not recorded; the sets of groups are "
                f"{list(recorder.names)}."
            )
        jobs = [
            # What is not named keeps all that has entered.
            ([k], keep.get(name))
            for k, name in enumerate(recorder.names)
        ]
    else:
        jobs = [(list(range(len(pairs))), keep)]
    masks: dict[str, Tensor] = {}
    for sets, number in jobs:
        step = np.concatenate([steps[k] for k in sets])
        norm = np.concatenate([norms[k].numpy() for k in sets])
        size = np.concatenate([np.full(len(steps[k]), pairs[k][0].size) for k in sets])
        entered = np.flatnonzero(step != NEVER)
        first = step if order == "entry" else np.zeros(len(step))
        ranked = entered[np.lexsort((entered, -norm[entered], first[entered]))]
        chosen = np.zeros(len(step), dtype=bool)
        chosen[ranked[: _how_many(number, size, ranked)]] = True
        parts = np.split(chosen, np.cumsum([len(steps[k]) for k in sets])[:-1])
        for k, part in zip(sets, parts, strict=True):
            groups, names = pairs[k]
            inside = torch.from_numpy(part).to(groups.params[0].device)
            masks.update(zip(names, groups.masks(inside), strict=True))
    return masks


def _how_many(number: float | int | None, size: np.ndarray, order: np.ndarray) -> int:
    if number is None:
        return len(order)
    if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
        if number > len(order):
            raise ValueError(
                f"keep={number!r}: only {len(order)} of {len(size)} groups have "
                f"entered. Train longer, or keep fewer."
            )
        return number
    if not isinstance(number, float) or not 0 < number <= 1:
        raise ValueError(
            f"keep={number!r} must be a share of the registered weights (a float above "
            f"0, at most 1) or a number of groups (an int >= 1), or a dict of them."
        )
    held, total = np.cumsum(size[order]), size.sum()
    if not len(order) or held[-1] < number * total * (1 - 1e-9):
        share = held[-1] / total if len(order) else 0.0
        raise ValueError(
            f"keep={number!r}: the groups that have entered hold {share:.4g} of the "
            f"registered weights. Train longer, or keep fewer."
        )
    return int(np.searchsorted(held, number * total * (1 + 1e-9), side="right"))
