"""The state of an optimizer, moved to a network whose layers have other widths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from .layouts import GroupSet, group_sets, names_of, parse_layout

__all__ = ["ParameterChange", "move_optimizer"]


@dataclass(frozen=True, eq=False)
class ParameterChange:
    """Where a parameter of a smaller or larger network came from.

    Attributes
    ----------
    name : str
    old : Parameter or None
        That of the network before; None for a bias that was added.
    new : Parameter
    kept : dict of int to Tensor
        For every dim that was cut, the indices that were kept.
    placed : dict of int to Tensor
        For every dim that has grown, where its old indices are now.
    """

    name: str
    old: Tensor | None = field(repr=False)
    new: Tensor = field(repr=False)
    kept: Mapping[int, Tensor] = field(repr=False)
    placed: Mapping[int, Tensor] = field(default_factory=dict, repr=False)

    def take(self, tensor: Tensor) -> Tensor:
        """A tensor of the old shape, cut like the parameter, with zeros where it grew.

        Always a new tensor.
        """
        for dim, index in self.kept.items():
            tensor = tensor.index_select(dim, index.to(tensor.device))
        for dim, index in self.placed.items():
            shape = list(tensor.shape)
            shape[dim] = self.new.shape[dim]
            empty = tensor.new_zeros(shape)
            tensor = empty.index_copy_(dim, index.to(tensor.device), tensor)
        return tensor if self.kept or self.placed else tensor.clone()


class _Changed(Protocol):
    """What `prune` and `grow` return."""

    @property
    def changes(self) -> tuple[ParameterChange, ...]: ...


def move_optimizer(
    optimizer: torch.optim.Optimizer, changes: Sequence[ParameterChange] | _Changed
) -> None:
    """Let an optimizer go on with the parameters of a pruned or grown network.

    Momentum, duals and other state of the shape of a parameter are cut like it, or get
    zeros where it has grown.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Of the network before. Is changed in place.
    changes : sequence of ParameterChange, Pruned or Grown

    Raises
    ------
    ValueError
        If a parameter of the optimizer is not among those that changed, a state does
        not have the shape of its parameter, or ``groups`` no longer fit. Nothing has
        changed then.

    Notes
    -----
    Biases that were added follow the param group of the weight beside them, without
    ``groups``: they are put into the first param group that has none, or into a new
    one. A number of blocks in ``groups`` ("dim0/8") follows the blocks there are. A
    recorder of the network before has to be removed (`PathRecorder.remove`), and a new
    one made.

    After growing, the duals of new units are zero: they are not selected. Where
    ``size_scaling`` makes the threshold of groups rise because they have new weights,
    the duals are scaled so that the split weights stay as they are. Adam divides by the
    root of its second moments, which begin at zero for new weights while the step count
    goes on: their first updates are up to ``(1 - beta1) / sqrt(1 - beta2)`` times the
    learning rate (3.2 by default).

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import move_optimizer, prune
    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> pruned = prune(model, {"weight": torch.eye(2, 3) > 0}, physical=False)
    >>> move_optimizer(optimizer, pruned)
    >>> optimizer.param_groups[0]["params"][0] is pruned.model.weight
    True
    """
    if not isinstance(changes, Sequence):
        changes = changes.changes
    by_old = {id(c.old): c for c in changes if c.old is not None}
    states: dict[Tensor, dict[str, Any]] = {}
    lists: list[list[Tensor]] = []
    texts: list[str | None] = []
    before: dict[Tensor, float] = {}
    for index, group in enumerate(optimizer.param_groups):
        names = names_of(group, index)
        found = [by_old.get(id(param)) for param in group["params"]]
        missing = [n for n, change in zip(names, found, strict=True) if change is None]
        if missing:
            raise ValueError(
                f"The optimizer holds parameters that the network did not come from: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. Give "
                f"the optimizer of the model that was pruned or grown, once."
            )
        moved = [change for change in found if change is not None]
        olds = group["params"]
        lists.append([change.new for change in moved])
        texts.append(_groups_after(group.get("groups"), moved))
        for name, old, change in zip(names, olds, moved, strict=True):
            state = optimizer.state.get(old)
            if state is not None:
                states[change.new] = _moved_state(name, change, state)
        if any(change.placed for change in moved):
            by_id = {id(change.old): change.new for change in moved}
            before |= {by_id[id(s.params[0])]: s.threshold for s in _scaled(group)}
    for group, params, text in zip(optimizer.param_groups, lists, texts, strict=True):
        for old, new in zip(group["params"], params, strict=True):
            optimizer.state.pop(old, None)
            if new in states:
                optimizer.state[new] = states[new]
        group["params"] = params
        if text is not None:
            group["groups"] = text
        for groups in _scaled(group):
            if groups.params[0] in before:
                _keep_split(optimizer, groups, before[groups.params[0]])
    added = [change for change in changes if change.old is None]
    if added:
        _add(optimizer, added)


def _moved_state(
    name: str, change: ParameterChange, state: Mapping[str, Any]
) -> dict[str, Any]:
    assert change.old is not None
    moved = {}
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == change.old.shape:
            value = change.take(value)
        elif (
            isinstance(value, Tensor)
            and value.numel() > 1
            and (change.kept or change.placed)
        ):
            raise ValueError(
                f"The state {key!r} of {name!r} has shape {tuple(value.shape)}, and "
                f"the parameter {tuple(change.old.shape)}: how to move it is not "
                f"known. Make a new optimizer."
            )
        moved[key] = value
    return moved


# ------------------------------------------------------------------------------ groups


def _groups_after(text: str | None, moved: Sequence[ParameterChange]) -> str | None:
    """The same groups on the new shapes."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    joined = len(words) > 1
    after, places = [], []
    for k, change in enumerate(moved):
        word, place = _word_after(words[k if joined else 0], change)
        try:
            layout = parse_layout(word, tuple(change.new.shape))
        except ValueError as error:
            raise ValueError(
                f"The groups no longer fit {change.name!r}: {error}. Make a new "
                f"optimizer with other groups."
            ) from None
        after.append(word)
        places.append((layout.n_groups, place))
    if joined:
        differ = [k for k, place in enumerate(places) if place != places[0]]
        if differ:
            raise ValueError(
                f"groups={text!r} joins the groups of {moved[0].name!r} and "
                f"{moved[differ[0]].name!r} one to one, and they have changed in "
                f"different ways. Make a new optimizer with other groups."
            )
        return ",".join(after)
    if len(set(after)) > 1:
        raise ValueError(
            f"groups={text!r} would have to be {sorted(set(after))} for the tensors of "
            f"one param group. Make a new optimizer with one param group for each."
        )
    return after[0] if after else text


def _word_after(word: str, change: ParameterChange) -> tuple[str, list[int] | None]:
    """The text for one tensor, and which groups are left or where they are now."""
    if change.old is None or not (change.kept or change.placed):
        return word, None
    old = parse_layout(word, tuple(change.old.shape))
    if old.kind != "slices" or word == "tensor":
        return word, None
    kept, placed = change.kept.get(old.dim), change.placed.get(old.dim)
    index = kept if kept is not None else placed
    if index is None:
        return word, None
    if len(old.parts) == 1:
        return word, index.tolist()
    stacked, number, block = old.parts
    length = change.new.shape[old.dim]
    now = length // (stacked * block)
    groups = torch.unique(index // block)
    if kept is not None:
        whole = len(groups) == stacked * now
        place = groups[:now].tolist()
    else:
        # Whole blocks stay together and in their part.
        part, inner = torch.meshgrid(
            torch.arange(stacked), torch.arange(number * block), indexing="ij"
        )
        whole = torch.equal(index.cpu(), (part * now * block + inner).reshape(-1))
        place = list(range(number))
    if length % (stacked * block) or not whole:
        what = "cut" if kept is not None else "inserted"
        raise ValueError(
            f"groups={word!r} of {change.name!r}: parts of blocks were {what}, so the "
            f"blocks are gone. Make a new optimizer with other groups."
        )
    return re.sub(r"\d+$", str(now), word), place


def _scaled(group: Mapping[str, Any]) -> Iterator[GroupSet]:
    """Sets of groups whose thresholds depend on their size."""
    if group.get("groups") is not None and group.get("size_scaling"):
        yield from (groups for groups in group_sets(group) if not groups.by_element)


@torch.no_grad()
def _keep_split(
    optimizer: torch.optim.Optimizer, groups: GroupSet, before: float
) -> None:
    """Scale duals to a threshold that was `before`: Gamma stays, and what is missing
    to the threshold stays the same share of it."""
    duals = [optimizer.state.get(p, {}).get("dual") for p in groups.params]
    now = groups.threshold
    if now == before or any(dual is None for dual in duals):
        return
    norms = groups.norms(duals)
    factors = torch.where(norms > before, 1 + (now - before) / norms, now / before)
    for layout, dual in zip(groups.layouts, duals, strict=True):
        dual.mul_(layout.spread(factors.to(dual.device, dual.dtype), dual.ndim))


def _add(optimizer: torch.optim.Optimizer, added: Sequence[ParameterChange]) -> None:
    groups = optimizer.param_groups
    group = next((g for g in groups if g.get("groups") is None), None)
    if group is None:
        named = "param_names" in groups[0]
        new = [(c.name, c.new) if named else c.new for c in added]
        optimizer.add_param_group({"params": new, "groups": None})
        return
    group["params"] += [change.new for change in added]
    if "param_names" in group:
        group["param_names"] += [change.name for change in added]
