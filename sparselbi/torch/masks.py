"""Which weights are selected now, and the network that is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ._dynamics import current_duals
from ._shards import is_sharded, local, piece_of, reshard, unwrapped
from .layouts import GroupSet, all_sets, own_split_norms

__all__ = ["group_masks", "named_sets", "selected_share", "sparse_weights"]


def named_sets(
    model: nn.Module | None, optimizer: torch.optim.Optimizer
) -> list[tuple[GroupSet, tuple[str, ...]]]:
    """Registered sets of groups with the names that their tensors have in `model`.

    Raises
    ------
    TypeError
        If `optimizer` is none.
    ValueError
        If the optimizer selects no groups, or holds a tensor that is not in `model`.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        hint = ": give its .optimizer" if hasattr(optimizer, "optimizer") else ""
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__}, expected a "
            f"torch.optim.Optimizer that selects groups{hint}."
        )
    sets = list(all_sets(optimizer))
    if not sets or "path_time" not in sets[0].options:
        raise ValueError(
            f"The optimizer ({type(optimizer).__name__}) does not select groups: use "
            f"DessiLBI, or call couple(optimizer, ...) before."
        )
    late = [groups.name for groups in sets if "path_time" not in groups.options]
    if late:
        raise ValueError(
            f"{', '.join(late[:5])}: added to the coupled optimizer after its last "
            f"step, and coupled by the next one. Call this after that step."
        )
    if model is None:
        return [(groups, groups.names) for groups in sets]
    model = unwrapped(model)
    if any(is_sharded(param) for groups in sets for param in groups.params):
        reshard(model)
    known = {id(param): name for name, param in model.named_parameters()}
    missing = [
        name
        for groups in sets
        for name, param in zip(groups.names, groups.params, strict=True)
        if id(param) not in known
    ]
    if missing:
        raise ValueError(
            f"The optimizer holds tensors that are not parameters of the model: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. The model "
            f"was changed after the optimizer was made, or is another one; make a new "
            f"optimizer for it."
        )
    return [(groups, tuple(known[id(p)] for p in groups.params)) for groups in sets]


@torch.no_grad()
def group_masks(
    model: nn.Module | None, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Where the split weights are nonzero now.

    Parameters
    ----------
    model : torch.nn.Module or None
        For the names; None takes those that the optimizer was given.
    optimizer : torch.optim.Optimizer
        `DessiLBI`, or one that is coupled.

    Returns
    -------
    dict of str to bool Tensor
        One mask per registered tensor, of its shape. They are whole even if the tensors
        are sharded (`fully_shard`); then every process must call this.

    Raises
    ------
    ValueError
        If nothing is registered, or a registered tensor is not in `model`.
    """
    pairs = named_sets(model, optimizer)
    sets = [groups for groups, _ in pairs]
    duals = [current_duals(optimizer, groups) for groups in sets]
    masks: dict[str, Tensor] = {}
    for (groups, names), norms in zip(pairs, own_split_norms(sets, duals), strict=True):
        inside = groups.whole(norms > 0)
        masks.update(zip(names, groups.masks(inside), strict=True))
    return masks


@torch.no_grad()
def selected_share(optimizer: torch.optim.Optimizer) -> float:
    """Share of the registered weights that lie in groups which are selected now.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        `DessiLBI`, or one that is coupled.

    Raises
    ------
    ValueError
        If nothing is registered.
    """
    held = total = 0
    for groups, _ in named_sets(None, optimizer):
        inside = groups.selected(current_duals(optimizer, groups))
        held += int(inside.sum()) * groups.size
        total += groups.n_groups * groups.size
    return held / total


@contextmanager
def sparse_weights(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    masks: dict[str, Tensor] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Within the context, weights outside of the support of Gamma are zero.

    On leaving, also by an exception, every weight is restored bit by bit.

    Parameters
    ----------
    model : torch.nn.Module
    optimizer : torch.optim.Optimizer
        `DessiLBI`, or one that is coupled.
    masks : dict of str to bool Tensor or None
        Other masks, as from `PathRecorder.masks_at`; None: those of now.

    Yields
    ------
    dict of str to bool Tensor
        The masks.

    Raises
    ------
    ValueError
        If a registered tensor is not in `model`, or a mask does not fit.
    RuntimeError
        On leaving, if a masked weight was written to meanwhile, by a training step say:
        the change is lost.

    Notes
    -----
    Tensors that are not registered (biases, norms) stay as they are. Contexts can be
    nested. While it lasts, one copy of the masked tensors is held.

    With shards (`fully_shard`) every process must enter and leave. Masks are whole;
    the copy is one of the shards.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import DessiLBI, groups_for, sparse_weights
    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = DessiLBI(groups_for(model, "weight"), lr=0.1)
    >>> with sparse_weights(model, optimizer):  # nothing is selected yet
    ...     (model(torch.ones(1, 3)) - model.bias).tolist()
    [[0.0, 0.0]]
    """
    if masks is None:
        masks = group_masks(model, optimizer)
    model = unwrapped(model)
    reshard(model)
    params = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in params:
            raise ValueError(
                f"There is a mask for {name!r}, which is not in the model."
            )
        if mask.dtype != torch.bool or mask.shape != params[name].shape:
            raise ValueError(
                f"The mask for {name!r} has shape {tuple(mask.shape)} and dtype "
                f"{mask.dtype}, expected {tuple(params[name].shape)} and torch.bool."
            )
    kept: dict[str, Tensor] = {}
    outside: dict[str, Tensor] = {}
    written = []
    try:
        with torch.no_grad():
            for name, mask in masks.items():
                param = local(params[name])
                outside[name] = ~piece_of(mask, params[name]).to(param.device)
                kept[name] = param.detach().clone(memory_format=torch.preserve_format)
                param.masked_fill_(outside[name], 0)
        yield masks
    finally:
        reshard(model)
        with torch.no_grad():
            for name, weight in kept.items():
                param = local(params[name])
                # Exact; allclose because it can take NaN for equal to NaN.
                left = weight.masked_fill(outside[name], 0)
                if not torch.allclose(param, left, rtol=0, atol=0, equal_nan=True):
                    written.append(name)
                param.copy_(weight)
    if written:
        raise RuntimeError(
            f"Weights were changed within sparse_weights: {', '.join(written)}. They "
            f"are restored to what they were before; train outside of the context."
        )
