"""Which layers are widened together, and wider copies of their tensors.

The sets of coupled channels are those of removal. Where removal cuts channels, widening
inserts new ones behind the last channel of the same kind: at the end of the rows of a
layer, in the middle of what a concatenation or a split brings together.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ._coupled import (
    CONV,
    NORM,
    Member,
    coupled_channels,
    is_depthwise,
    tensors_in,
    tensors_of,
    widths_of,
)
from ._report import evaluating

__all__ = [
    "LAYERS",
    "Plan",
    "Tied",
    "outputs_in_both_modes",
    "tied_layers",
    "unit_dim",
    "units_of",
    "why_not",
]

LAYERS = (CONV, nn.Linear, nn.Embedding)


@dataclass(frozen=True)
class Tied:
    """Units of layers that can only be widened together.

    Attributes
    ----------
    members : dict of Member to list of list of int
        For every member the channels of each unit.
    reason : str
        Why they cannot be widened; empty if they can.
    """

    members: Mapping[Member, Sequence[Sequence[int]]]
    reason: str = ""

    def per_unit(self, model: nn.Module) -> dict[str, int]:
        """Channels per unit of the layers that write these units and no others."""
        per = {}
        for member, channels in self.members.items():
            total = sum(map(len, channels))
            if member.side == "out" and total == units_of(model, member.name):
                per[member.name] = len(channels[0])
        return per


def units_of(model: nn.Module, name: str) -> int:
    """Outputs (filters, neurons) of a layer."""
    part: Any = model.get_submodule(name)
    return part.weight.shape[unit_dim(part)]


def unit_dim(part: nn.Module) -> int:
    """The dim of the weight along which the units of a layer lie."""
    return tensors_of(part, "out")[0][1]


def tied_layers(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tied]:
    """All layers that the inputs reach, with those that they are tied to.

    Raises
    ------
    ImportError
        If Torch-Pruning is missing.
    RuntimeError
        If it cannot follow the network.
    """
    flags = [(param, param.requires_grad) for param in model.parameters()]
    tied = []
    try:
        for param, _ in flags:  # tracing follows gradients
            param.requires_grad_(param.is_floating_point() or param.is_complex())
        with evaluating(model):
            try:
                traced = list(coupled_channels(model, inputs))
            except ImportError:
                raise
            except Exception as error:
                raise RuntimeError(
                    f"Torch-Pruning cannot trace the network ({type(error).__name__}: "
                    f"{error}), so how its layers depend on each other is not known "
                    f"(recurrent layers, say). Such networks cannot be widened."
                ) from error
            for coupled in traced:
                kinds: dict[tuple[Any, ...], list[int]] = {}
                for k in range(coupled.n):
                    sizes = [(m, len(sets[k])) for m, sets in coupled.members.items()]
                    kind = tuple(pair for pair in sizes if pair[1])
                    kinds.setdefault(kind, []).append(k)
                for kind, index in kinds.items():
                    members = {
                        member: [coupled.members[member][k] for k in index]
                        for member, _ in kind
                    }
                    tied.append(Tied(members, coupled.reason))
    finally:
        for param, flag in flags:
            param.requires_grad_(flag)
    return tied


@torch.no_grad()
def outputs_in_both_modes(
    model: nn.Module, inputs: tuple[Tensor, ...]
) -> list[list[Tensor]]:
    """Outputs in evaluation mode, and with norms by the statistics of the batch.

    Dropout and the like stay off. Running statistics are left as they are.
    """
    norms = [part for part in model.modules() if isinstance(part, NORM)]
    saved = [(b, b.clone()) for part in norms for b in part.buffers(recurse=False)]
    with evaluating(model):
        found = [list(tensors_in(model(*inputs)))]
        try:
            for part in norms:
                part.training = True
            found.append(list(tensors_in(model(*inputs))))
        finally:
            for buffer, value in saved:
                buffer.copy_(value)
    return found


# ---------------------------------------------------------------------------- the plan


@dataclass
class Plan:
    """Where channels are inserted.

    Attributes
    ----------
    model : torch.nn.Module
        Is changed by `carry_out`.
    added : dict of Member to Tensor
        How many channels come behind each of the old ones.
    placed : dict of str to dict of int to Tensor
        For parameters and buffers that have grown: dim -> where the old indices are.
    widths : dict of str to dict of str to int
        Attributes of modules that have changed.
    """

    model: nn.Module
    added: dict[Member, Tensor] = field(default_factory=dict)
    placed: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    widths: dict[str, dict[str, int]] = field(default_factory=dict)

    def insert(self, tied: Tied, n_units: int) -> None:
        """Let tied layers have more units."""
        for member, channels in tied.members.items():
            part = self.model.get_submodule(member.name)
            name, dim = tensors_of(part, member.side)[0]
            if member not in self.added:
                length = getattr(part, name).shape[dim]
                self.added[member] = torch.zeros(length, dtype=torch.int64)
            for start, stop in _runs(channels[-1]):
                self.added[member][stop - 1] += n_units * (stop - start)

    @torch.no_grad()
    def carry_out(self, generator: torch.Generator | None) -> None:
        """Put wider tensors into the modules."""
        sides: dict[str, dict[str, Tensor]] = {}
        for member, added in self.added.items():
            sides.setdefault(member.name, {})[member.side] = added
        device = "cpu" if generator is None else generator.device
        seed = torch.randint(2**62, (), generator=generator, device=device)
        state = torch.get_rng_state()
        try:
            # Of the CPU alone; torch.manual_seed would touch all devices.
            torch.default_generator.manual_seed(int(seed))
            for name, part in self.model.named_modules():
                if name in sides:
                    self._widen(name, part, sides[name])
        finally:
            torch.set_rng_state(state)

    def _widen(self, path: str, part: Any, sides: Mapping[str, Tensor]) -> None:
        rows: dict[str, tuple[int, Tensor]] = {}  # dims that are written
        columns: dict[str, tuple[int, Tensor]] = {}  # dims that are read
        shapes: dict[str, list[int]] = {}
        widths = self.widths.setdefault(path, {})
        for side, added in sides.items():
            before = torch.cumsum(added, 0) - added
            placed = torch.arange(len(added)) + before
            for name, dim in tensors_of(part, side):
                (columns if side == "in" else rows)[name] = dim, placed
                shape = shapes.setdefault(name, list(getattr(part, name).shape))
                shape[dim] += int(added.sum())
                full = f"{path}.{name}" if path else name
                self.placed.setdefault(full, {})[dim] = placed
            for attribute in widths_of(part, side):
                widths[attribute] = getattr(part, attribute) + int(added.sum())
        for attribute, width in widths.items():
            setattr(part, attribute, width)
        drawn = _drawn(part, shapes) if rows else {}
        for name, shape in shapes.items():
            old = getattr(part, name).detach()
            new = old
            if name in columns:  # zeros, so that new units are not heard
                dim, placed = columns[name]
                size = [*old.shape]
                size[dim] = shape[dim]
                empty = old.new_zeros(size)
                new = empty.index_copy_(dim, placed.to(old.device), old)
            if name in rows:
                dim, placed = rows[name]
                fresh = drawn[name].to(old.device, old.dtype)
                new = fresh.index_copy_(dim, placed.to(old.device), new)
            if name in part._parameters:
                flag = part._parameters[name].requires_grad
                setattr(part, name, nn.Parameter(new, flag))
            else:
                part._buffers[name] = new


def _runs(channels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers, as (start, stop)."""
    rising = sorted(channels)
    ends = [k for k, c in enumerate(rising) if c + 1 not in rising[k + 1 : k + 2]]
    for first, last in zip([0, *(k + 1 for k in ends)], ends, strict=False):
        yield rising[first], rising[last] + 1


def _drawn(part: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Tensors of these shapes as the module itself initializes them."""
    fresh = copy.copy(part)
    for kind in ("_parameters", "_buffers"):
        own = {}
        for name, tensor in getattr(part, kind).items():
            if tensor is not None:
                shape = shapes.get(name, tensor.shape)
                # Random numbers on the CPU do not depend on the device.
                tensor = torch.zeros(tuple(shape), dtype=tensor.dtype)
                tensor = nn.Parameter(tensor) if kind == "_parameters" else tensor
            own[name] = tensor
        fresh.__dict__[kind] = own
    fresh.reset_parameters()
    return {name: getattr(fresh, name).detach() for name in shapes}


def why_not(model: nn.Module, tied: Sequence[Tied], name: str) -> str:
    """Why a module cannot be widened; empty if it can."""
    part = model.get_submodule(name)
    if isinstance(part, CONV) and is_depthwise(part):
        for group in tied:
            through = Member(name, "through") in group.members
            writers = [m.name for m in group.members if m.side == "out"]
            if through and writers:
                return f"it is depthwise: name the layer that it reads, {writers[0]!r}"
    if not isinstance(part, LAYERS):
        kinds = "linear layers, convolutions and embeddings"
        return f"it is a {type(part).__name__}, and only {kinds} have units"
    found = [group for group in tied if Member(name, "out") in group.members]
    if not found:
        return "the example inputs do not reach it, or it is part of another module"
    reasons = [group.reason for group in found if group.reason]
    if reasons:
        return reasons[0]
    if not any(name in group.per_unit(model) for group in found):
        others = [
            m.name
            for group in found
            for m in group.members
            if m.side == "out" and m.name in group.per_unit(model)
        ]
        advice = f": name {', '.join(map(repr, others))} instead" if others else ""
        return f"its units meet several other layers, each in part{advice}"
    return ""
