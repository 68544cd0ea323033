"""Physical removal of units that no signal passes, without a change of the outputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ._coupled import (
    CONV,
    NORM,
    Coupled,
    Member,
    alive,
    coupled_channels,
    tensors_in,
    tensors_of,
    widths_of,
)
from ._report import LayerChange, evaluating

__all__ = ["Removal", "outputs_of", "remove_units"]


@dataclass
class Removal:
    """What was removed from a network.

    Attributes
    ----------
    kept : dict of str to dict of int to Tensor
        For parameters and buffers that were cut: dim -> kept indices.
    added : list of str
        Biases that were added for constant outputs of removed units.
    widths : dict of str to dict of str to int
        For modules that were cut: their attributes that changed.
    layers : list of LayerChange
    """

    kept: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    widths: dict[str, dict[str, int]] = field(default_factory=dict)
    layers: list[LayerChange] = field(default_factory=list)


def remove_units(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    zero: bool = False,
    heads: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
    allow_empty: bool = False,
) -> Removal:
    """Remove units from a network in place; see `prune`.

    Raises
    ------
    ValueError
        If a layer would have no units, or `heads` does not fit.
    RuntimeError
        If the network cannot be traced, or its outputs change.
    """
    _check_heads(model, heads or {})
    frozen = [param for param in model.parameters() if not param.requires_grad]
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    removal = Removal()
    before = {
        name: _units(part)
        for name, part in model.named_modules()
        if isinstance(part, (CONV, nn.Linear))
    }
    with evaluating(model):
        for param in frozen:
            # Tracing follows gradients.
            param.requires_grad_(param.is_floating_point() or param.is_complex())
        while True:
            plan = _Plan(model, inputs, zero, heads or {}, skip, allow_empty)
            if not plan.drop:
                break
            plan.carry_out(removal)
    for name, param in model.named_parameters():
        # A bias that was added is trained with the weight beside it.
        param.requires_grad_(flags.get(name, flags.get(name[:-4] + "weight", True)))
        param.grad = None
    for name, units in before.items():
        part = model.get_submodule(name)
        after = _units(part)
        dead = plan.dead.get(name, 0)
        if after != units or dead:
            note = plan.notes.get(name, "") if dead else ""
            row = LayerChange(name, type(part).__name__, units, after, dead, note)
            removal.layers.append(row)
    return removal


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Output tensors in evaluation mode."""
    with evaluating(model):
        return list(tensors_in(model(*inputs)))


def differ(first: Tensor, second: Tensor) -> list[bool]:
    """Which rows differ by more than rounding."""
    same = torch.isclose(first, second.expand_as(first), rtol=1e-4, atol=1e-6)
    return (~same.all(1)).tolist()


def largest_difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    pairs = zip(first, second, strict=True)
    return max((float((a - b).abs().max()) for a, b in pairs), default=0.0)


def _units(part: Any) -> int:
    return part.out_channels if isinstance(part, CONV) else part.out_features


def _check_heads(model: nn.Module, heads: Mapping[str, str]) -> None:
    modules = dict(model.named_modules())
    for path, attribute in heads.items():
        if path not in modules:
            raise ValueError(f"heads names {path!r}, which is no module of the model.")
        number = getattr(modules[path], attribute, None)
        if not isinstance(number, int) or number < 1:
            raise ValueError(
                f"heads[{path!r}]={attribute!r} must be the name of the attribute that "
                f"holds the number of heads; {path}.{attribute} is {number!r}."
            )


class _Plan:
    """What to remove next.

    Attributes
    ----------
    drop : dict of Member to set of int
        Channels to remove.
    dead : dict of str to int
        Units with zero weights that stay.
    notes : dict of str to str
        Why.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[Tensor, ...],
        zero: bool,
        heads: Mapping[str, str],
        skip: Sequence[str],
        allow_empty: bool,
    ) -> None:
        self.model, self.inputs, self.zero = model, inputs, zero
        self.notes: dict[str, str] = {}
        self.dead: dict[str, int] = {}
        self.heads: dict[tuple[str, str], int] = {}
        self.norms: dict[str, str] = {}
        chosen: list[tuple[Coupled, set[int]]] = []
        for coupled in coupled_channels(model, inputs, skip, heads):
            self.norms.update(coupled.norms)
            sets = self._idle(coupled, allow_empty)
            if sets:
                chosen.append((coupled, sets))
        chosen = self._constant(chosen)
        self.drop: dict[Member, set[int]] = defaultdict(set)
        for coupled, sets in chosen:
            if coupled.heads:
                path, attribute, number = coupled.heads
                gone = {self._head(coupled, k) for k in sets}
                self.heads[path, attribute] = number - len(gone)
            for member, channels in coupled.members.items():
                self.drop[member].update(i for k in sets for i in channels[k])
        self.drop = {m: gone for m, gone in self.drop.items() if gone}
        for coupled, sets in chosen:
            for member in coupled.writers():
                gone = {i for k in sets for i in coupled.members[member][k]}
                self.dead[member.name] -= len(gone & self._zeros[member])

    _zeros: dict[Member, set[int]]

    def _idle(self, coupled: Coupled, allow_empty: bool) -> set[int]:
        """Sets of channels that no signal passes."""
        if not hasattr(self, "_zeros"):
            self._zeros = {}
        for member in coupled.writers():
            part = self.model.get_submodule(member.name)
            live = alive(part, member.side).tolist()
            self._zeros[member] = {i for i, on in enumerate(live) if not on}
            self.dead[member.name] = len(self._zeros[member])
            self.notes[member.name] = coupled.reason or "coupled to units that are kept"
        if coupled.reason:
            return set()
        sets = {k for k, on in enumerate(coupled.passable) if not on}
        if coupled.heads:
            # Whole heads only.
            by_head = defaultdict(set)
            for k in range(coupled.n):
                by_head[self._head(coupled, k)].add(k)
            whole = [part for part in by_head.values() if part <= sets]
            sets = set().union(*whole)
            for member in coupled.writers():
                self.notes[member.name] = "only whole heads are removed"
        if len(sets) == coupled.n:
            if not allow_empty:
                names = ", ".join(repr(m.name) for m in coupled.writers())
                raise ValueError(
                    f"All units of {names} would be removed: no signal passes them. "
                    f"Take a later point of the path, keep more, or, if there is a way "
                    f"around (a residual connection), set allow_empty=True."
                )
            first = self._head(coupled, 0) if coupled.heads else 0
            sets -= {
                k
                for k in sets
                if (self._head(coupled, k) if coupled.heads else k) == first
            }
            for member in coupled.writers():
                self.notes[member.name] = "a layer keeps one unit"
        return sets

    def _head(self, coupled: Coupled, k: int) -> int:
        """The head of a set of channels, by the order in which they are read."""
        assert coupled.heads is not None
        path, attribute, number = coupled.heads
        for member, channels in coupled.members.items():
            if member.side == "in" and channels[k]:
                reader: Any = self.model.get_submodule(member.name)
                width = reader.in_features
                if width % number:
                    raise ValueError(
                        f"{member.name} reads {width} inputs, which {number} heads "
                        f"({path}.{attribute}) do not divide."
                    )
                return channels[k][0] * number // width
        raise ValueError(f"No output projection was found in {path}.")

    # ---------------------------------------------------------------------- constants

    def _constant(
        self, chosen: list[tuple[Coupled, set[int]]]
    ) -> list[tuple[Coupled, set[int]]]:
        """Drop those sets that are read as anything but a constant, fold the others.

        What is read of a unit without input is a constant, but for two cases: the input
        of the network itself is added on the way, or zero padding meets the constant.
        """
        wanted = self._read(chosen)
        if not chosen:
            return chosen
        first = self._captured(wanted, self.inputs)
        second = self._captured(wanted, other_inputs(self.inputs))
        moving = {name: differ(first[name], second[name]) for name in wanted}
        chosen = self._without(chosen, wanted, moving, "depends on the input")
        if self.zero:
            self._silence(chosen)
        wanted = self._read(chosen)
        values = self._captured(wanted, self.inputs)
        meets = {}
        for name, read in values.items():
            pads = _pads(self.model.get_submodule(name))
            meets[name] = differ(read, torch.zeros_like(read) if pads else read[:, :1])
        hint = "" if self.zero else "; constants='zero' removes it"
        note = f"its constant output meets zero padding{hint}"
        chosen = self._without(chosen, wanted, meets, note)
        self._fold = {}
        for name, indices in self._read(chosen).items():
            constants = dict(
                zip(wanted[name], values[name].double().mean(1).tolist(), strict=True)
            )
            self._fold[name] = [(i, constants[i]) for i in indices if constants[i]]
        return chosen

    def _read(self, chosen: list[tuple[Coupled, set[int]]]) -> dict[str, list[int]]:
        """Channels to remove that are read with a nonzero weight, by module."""
        wanted: dict[str, list[int]] = defaultdict(list)
        for coupled, sets in chosen:
            for member, channels in coupled.members.items():
                if member.side == "in":
                    part = self.model.get_submodule(member.name)
                    live = alive(part, "in").tolist()
                    wanted[member.name] += [
                        i for k in sorted(sets) for i in channels[k] if live[i]
                    ]
        return {name: indices for name, indices in wanted.items() if indices}

    @torch.no_grad()
    def _captured(
        self, wanted: Mapping[str, Sequence[int]], inputs: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """What modules read at these channels, shape (channels, everything else)."""
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(part: nn.Module, args: tuple[Tensor, ...]) -> None:
                dim = 1 if isinstance(part, CONV) else -1
                if isinstance(part, CONV) and args[0].ndim < part.weight.ndim:
                    dim = 0  # without a batch
                index = torch.tensor(wanted[name], device=args[0].device)
                read = args[0].index_select(dim, index)
                seen[name] = read.movedim(dim, 0).flatten(1)

            return hook

        hooks = [
            self.model.get_submodule(name).register_forward_pre_hook(keep(name))
            for name in wanted
        ]
        try:
            self.model(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def _without(
        self,
        chosen: list[tuple[Coupled, set[int]]],
        wanted: Mapping[str, Sequence[int]],
        bad: Mapping[str, Sequence[bool]],
        note: str,
    ) -> list[tuple[Coupled, set[int]]]:
        """Without the sets that have a bad channel."""
        left = []
        for coupled, sets in chosen:
            out = set()
            for name in wanted:
                channels = coupled.members.get(Member(name, "in"))
                marked = {
                    i for i, on in zip(wanted[name], bad[name], strict=True) if on
                }
                if channels and marked:
                    out |= {k for k in sets if marked & set(channels[k])}
            if coupled.heads:
                heads = {self._head(coupled, k) for k in out}
                out = {k for k in sets if self._head(coupled, k) in heads}
            for member in coupled.writers() if out else ():
                self.notes[member.name] = note
            if sets - out:
                left.append((coupled, sets - out))
        return left

    @torch.no_grad()
    def _silence(self, chosen: list[tuple[Coupled, set[int]]]) -> None:
        """Set biases and affine parts of norms of removed units to zero."""
        for coupled, sets in chosen:
            for member, channels in coupled.members.items():
                if member.side == "in":
                    continue
                part = self.model.get_submodule(member.name)
                names = ("weight", "bias") if isinstance(part, NORM) else ("bias",)
                index = [i for k in sets for i in channels[k]]
                for name in names:
                    tensor = part._parameters.get(name)
                    if tensor is not None:
                        tensor[torch.tensor(index, device=tensor.device)] = 0

    # ------------------------------------------------------------------------- removal

    @torch.no_grad()
    def carry_out(self, removal: Removal) -> None:
        """Fold constants and cut the tensors; raise if that changes the outputs."""
        before = outputs_of(self.model, self.inputs)
        for name, constants in self._fold.items():
            self._fold_into(name, constants, removal)
        for member, gone in self.drop.items():
            self._cut(member, gone, removal)
        for (path, attribute), number in self.heads.items():
            setattr(self.model.get_submodule(path), attribute, number)
            removal.widths.setdefault(path, {})[attribute] = number
        cut = sorted({member.name for member in self.drop if member.side == "out"})
        advice = (
            f"The dependencies between layers were not understood. Keep some of the "
            f"layers that were cut as they are with skip=[...]: {', '.join(cut)}."
        )
        try:
            after = outputs_of(self.model, self.inputs)
        except Exception as error:
            raise RuntimeError(
                f"The network fails after removal ({type(error).__name__}: {error}). "
                f"{advice}"
            ) from error
        scale = max(1e-3, *(float(out.abs().max()) for out in before if out.numel()))
        same = [a.shape for a in before] == [b.shape for b in after]
        limit = {torch.float64: 1e-9, torch.float32: 1e-3}.get(before[0].dtype, 5e-2)
        apart = largest_difference(before, after) if same else float("inf")
        if not apart <= limit * scale:
            raise RuntimeError(f"Removal changes the outputs by {apart:.3g}. {advice}")

    def _fold_into(
        self, name: str, constants: Sequence[tuple[int, float]], removal: Removal
    ) -> None:
        """Add what constant inputs contribute to a module to its bias."""
        if not constants:
            return
        part: Any = self.model.get_submodule(name)
        # Only for a constant of zero, a convolution may be transposed.
        weight = part.weight.double().reshape(*part.weight.shape[:2], -1).sum(2)
        index = torch.tensor([i for i, _ in constants], device=weight.device)
        shift = weight[:, index] @ weight.new_tensor([v for _, v in constants])
        norm = self.norms.get(name)
        if part.bias is None and norm is not None:
            mean: Any = self.model.get_submodule(norm).running_mean
            if mean is not None:  # else it subtracts the mean of the batch
                mean.copy_((mean.double() - shift).to(mean.dtype))
            return
        if part.bias is None:
            bias = torch.zeros(len(shift), dtype=part.weight.dtype, device=shift.device)
            part.bias = nn.Parameter(bias)
            removal.added.append(f"{name}.bias")
        part.bias.copy_((part.bias.double() + shift).to(part.bias.dtype))

    def _cut(self, member: Member, gone: set[int], removal: Removal) -> None:
        part = self.model.get_submodule(member.name)
        for name, dim in tensors_of(part, member.side):
            old = getattr(part, name)
            left = [i for i in range(old.shape[dim]) if i not in gone]
            keep = torch.tensor(left, device=old.device)
            full = f"{member.name}.{name}" if member.name else name
            cut = old.detach().index_select(dim, keep)
            if name in part._parameters:
                setattr(part, name, nn.Parameter(cut, old.requires_grad))
            else:
                part._buffers[name] = cut
            dims = removal.kept.setdefault(full, {})
            dims[dim] = dims[dim][keep.cpu()] if dim in dims else keep.cpu()
        for attribute in widths_of(part, member.side):
            width = getattr(part, attribute) - len(gone)
            setattr(part, attribute, width)
            removal.widths.setdefault(member.name, {})[attribute] = width


def _pads(part: nn.Module) -> bool:
    """Whether a convolution meets zeros beside its input."""
    if not isinstance(part, CONV):
        return False
    if part.transposed:
        return True
    if part.padding == "same":
        padded = any(size > 1 for size in part.kernel_size)
    else:
        padded = part.padding != "valid" and any(part.padding)
    return padded and part.padding_mode == "zeros"


def other_inputs(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs of the same kind with other values."""
    source = torch.Generator().manual_seed(0)
    changed = []
    for tensor in inputs:
        order = torch.randperm(tensor.numel(), generator=source).to(tensor.device)
        other = tensor.reshape(-1)[order].reshape(tensor.shape)
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=source).to(tensor)
            other = other + noise * (tensor.detach().abs().mean() + 1)
        changed.append(other)
    return tuple(changed)
