"""Which units of which layers stand and fall together.

Torch-Pruning traces the network and maps the channels of a layer to those of the layers
around it. From that, this module makes sets of coupled channels and tells which of them
no signal passes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._utils.optional import import_optional

__all__ = [
    "Coupled",
    "Member",
    "checked_inputs",
    "coupled_channels",
    "tensors_of",
    "widths_of",
]

CONV = nn.modules.conv._ConvNd
NORM = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


class Member(NamedTuple):
    """The channels of one module on one side."""

    name: str
    side: str  # "out" (written), "in" (read), "through" (one to one)


@dataclass
class Coupled:
    """Channels of several modules that can only be removed together.

    Attributes
    ----------
    n : int
        Sets of coupled channels.
    members : dict of Member to list of list of int
        For every member the channels that belong to each of the `n` sets.
    folds : bool
        Whether layers are cut or joined on the way (split, concatenation).
    passable : list of bool
        Whether a signal that depends on the input can get from a unit with nonzero
        weights to a nonzero weight that reads it.
    reason : str
        Why none of them may be removed; empty if they may.
    heads : tuple or None
        For attention: module, attribute with the number of heads, and that number.
    norms : dict of str to str
        Writers that only a batch norm reads, and that.
    """

    n: int
    members: dict[Member, list[list[int]]]
    folds: bool = False
    passable: list[bool] = field(default_factory=list)
    reason: str = ""
    heads: tuple[str, str, int] | None = None
    norms: dict[str, str] = field(default_factory=dict)

    def writers(self) -> list[Member]:
        return [member for member in self.members if member.side == "out"]


# -------------------------------------------------------------------- module by module


def is_depthwise(module: nn.Module) -> bool:
    return (
        isinstance(module, CONV)
        and module.groups > 1
        and module.groups == module.in_channels == module.out_channels
    )


def tensors_of(module: nn.Module, side: str) -> list[tuple[str, int]]:
    """Tensors of a module, and the dim of each along which its channels lie."""
    own = [*module._parameters.items(), *module._buffers.items()]
    names = [name for name, tensor in own if tensor is not None and tensor.ndim]
    if isinstance(module, (*NORM, nn.PReLU)):
        single = isinstance(module, nn.PReLU) and module.num_parameters == 1
        return [] if single else [(name, 0) for name in names]
    if isinstance(module, nn.Embedding):
        return [("weight", 1)]
    transposed = isinstance(module, CONV) and module.transposed
    vectors = [(name, 0) for name in names if name == "bias"]
    if side == "through":
        return [("weight", 0), *vectors]
    if side == "out":
        return [("weight", int(transposed)), *vectors]
    return [("weight", int(not transposed))]


def widths_of(module: nn.Module, side: str) -> tuple[str, ...]:
    """Attributes of a module that count its channels."""
    if isinstance(module, NORM):
        return ("num_features",)
    if isinstance(module, nn.PReLU):
        return () if module.num_parameters == 1 else ("num_parameters",)
    if isinstance(module, nn.Embedding):
        return ("embedding_dim",)
    unit = "channels" if isinstance(module, CONV) else "features"
    if side == "through":
        return ("in_channels", "out_channels", "groups")
    return (f"{side}_{unit}",)


def alive(module: nn.Module, side: str) -> Tensor:
    """Which channels have a nonzero weight, shape (channels,)."""
    dim = tensors_of(module, side)[0][1]
    weight: Any = module.weight
    others = [d for d in range(weight.ndim) if d != dim]
    return (weight != 0).any(others) if others else weight != 0


# ------------------------------------------------------------------------ the network


def checked_inputs(example: Any) -> tuple[Tensor, ...]:
    """Arguments of a model, as a tuple; raise where a network cannot be traced."""
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    if not inputs or not all(isinstance(tensor, Tensor) for tensor in inputs):
        raise TypeError(
            "example_inputs must be a Tensor, or a sequence of Tensors: the arguments "
            "of the model."
        )
    if inputs[0].ndim == 0 or len(inputs[0]) < 2:
        raise ValueError(
            f"example_inputs has shape {tuple(inputs[0].shape)}; a batch of at least 2 "
            f"samples is needed, along dim 0."
        )
    return inputs


def coupled_channels(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    skip: Sequence[str] = (),
    heads: Mapping[str, str] | None = None,
) -> Iterator[Coupled]:
    """Sets of coupled channels of all layers that the inputs reach.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode, all parameters with gradients.
    inputs : tuple of Tensor
    skip : sequence of str
        Patterns of modules whose channels must stay.
    heads : dict of str to str
        Attention modules, and their attribute with the number of heads.

    Raises
    ------
    ImportError
        If Torch-Pruning is missing.
    """
    tp = import_optional("torch_pruning", "pruning")
    ends: set[Any] = set()
    calls: Counter[nn.Module] = Counter()
    hooks = [
        part.register_forward_hook(lambda part, *_: calls.update([part]))
        for part in model.modules()
        if any(True for _ in part.parameters(recurse=False))
    ]

    def forward(network: nn.Module, data: tuple[Tensor, ...]) -> Any:
        out = network(*data)
        found = [tensor for tensor in tensors_in(out) if tensor.grad_fn is not None]
        ends.update(tensor.grad_fn for tensor in found)
        return found

    with torch.enable_grad():
        try:
            graph = tp.DependencyGraph().build_dependency(
                model, inputs, forward_fn=forward, verbose=False
            )
        finally:
            for hook in hooks:
                hook.remove()
    names = {part: name for name, part in model.named_modules()}
    owners = Counter(
        id(param)
        for part in set(model.modules())
        for param in part._parameters.values()
        if param is not None
    )

    def refuse(node: Any, side: str) -> str:
        """Why the channels of a node must stay."""
        part = node.module
        name = names.get(part) if isinstance(part, nn.Module) else None
        types = tp.ops.OPTYPE
        if side != "in" and (node.grad_fn in ends or node.type == types.OUTPUT):
            return "output of the network"
        if node.type == types.ELEMENTWISE:
            text = str(getattr(part, "_grad_fn", ""))
            mixing = [word for word in MIXING if word in text]
            return f"mixes channels: {text}" if mixing else ""
        if node.type == types.EXPAND:
            return "expanded"
        if node.type == types.PARAMETER:
            return "meets a parameter that belongs to no known module"
        if name is None:
            return ""
        if any(fnmatchcase(name, pattern) for pattern in skip):
            return f"skip names {name}"
        if side == "through" and isinstance(part, CONV) and not is_depthwise(part):
            return f"groups of channels in {name}"
        if side != "through" and getattr(part, "groups", 1) > 1:
            return f"groups of channels in {name}"
        if not isinstance(part, (*NORM, CONV, nn.Linear, nn.PReLU, nn.Embedding)):
            return f"{type(part).__name__} {name} mixes channels"
        if part._parameters.keys() and calls[part] > 1:
            return f"{name} is used more than once"
        if any(owners[id(p)] > 1 for p in part._parameters.values() if p is not None):
            return f"{name} shares its weights"
        if hasattr(part, "weight") and "weight" not in part._parameters:
            return f"{name} has a parametrized weight"
        return ""

    done: set[tuple[str, int]] = set()
    for part in list(graph.module2node):
        if not isinstance(part, (CONV, nn.Linear, nn.Embedding)) or part not in names:
            continue
        if is_depthwise(part) or (names[part], 0) in done:
            continue
        coupled, nodes = _query(tp, graph, part, names)
        done |= {
            (member.name, index)
            for member in coupled.writers()
            for channels in coupled.members[member]
            for index in channels
        }
        reasons = [refuse(node, side) for node, side in nodes]
        coupled.reason = next(filter(None, reasons), "")
        mixing = [reason for reason in reasons if reason]
        if heads and all(reason.startswith("mixes channels") for reason in mixing):
            coupled.heads = _heads_of(model, coupled, heads) if mixing else None
            if coupled.heads:
                coupled.reason = ""
        coupled.reason = coupled.reason or _unmapped(model, coupled)
        if not coupled.reason:
            coupled.passable = _passable(model, coupled, nodes, names)
        yield coupled


# Parts of names of functions whose result depends on the number of channels, or on
# their order; all others act channel by channel, or are refused by the final check.
MIXING = ("Softmax", "Bmm", "DotProduct", "Norm", "PixelShuffle", "Baddbmm", "Cumsum")


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Floating point tensors in nested outputs."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)


def _side(tp: Any, node: Any, handler: Any) -> str:
    types = tp.ops.OPTYPE
    if node.type in (types.CONV, types.LINEAR):
        return "in" if handler.__name__ == "prune_in_channels" else "out"
    return "out" if node.type == types.EMBED else "through"


def _query(
    tp: Any, graph: Any, part: nn.Module, names: Mapping[nn.Module, str]
) -> tuple[Coupled, list[tuple[Any, str]]]:
    """Channels coupled to the outputs of `part`, and the nodes on the way."""
    write = graph.get_pruner_of_module(part).prune_out_channels
    n = graph.get_out_channels(part)
    group = graph.get_pruning_group(part, write, list(range(n)))
    nodes = [
        (item.dep.target, _side(tp, item.dep.target, item.dep.handler))
        for item in group.items
    ]
    types = tp.ops.OPTYPE
    folding = (types.SPLIT, types.SLICE, types.UNBIND, types.CONCAT, types.EXPAND)
    members: dict[Member, list[list[int]]] = defaultdict(list)

    def add(items: Iterable[Any], k: int, root: int | None) -> None:
        for item in items:
            target = item.dep.target
            if target.module not in names or not hasattr(target.module, "weight"):
                continue
            member = Member(names[target.module], _side(tp, target, item.dep.handler))
            sets = members[member]
            for index, origin in zip(item.idxs, item.root_idxs, strict=True):
                where = k if root is not None else origin
                sets += [[] for _ in range(where + 1 - len(sets))]
                sets[where].append(index)

    folds = any(node.type in folding for node, _ in nodes)
    if folds:
        # Channels of one layer may be coupled to each other: ask for each.
        left, count = dict.fromkeys(range(n)), 0
        while left:
            root = next(iter(left))
            items = graph.get_pruning_group(part, write, [root]).items
            add(items, count, root)
            for index in members[Member(names[part], "out")][count]:
                left.pop(index, None)
            count += 1
        n = count
    else:
        add(group.items, 0, None)
    for sets in members.values():
        sets += [[] for _ in range(n - len(sets))]
    norms = {}
    for node, side in nodes:
        out = node.outputs[0].module if len(node.outputs) == 1 else None
        if side == "out" and isinstance(out, NORM[0]) and out in names:
            norms[names[node.module]] = names[out]
    return Coupled(n, dict(members), folds, norms=norms), nodes


def _unmapped(model: nn.Module, coupled: Coupled) -> str:
    """Whether a reader has inputs that no channel was found for."""
    for member, sets in coupled.members.items():
        part = model.get_submodule(member.name)
        if member.side != "in" or not isinstance(part, nn.Linear):
            continue
        found = {index for channels in sets for index in channels}
        per = {len(channels) for channels in sets if channels}
        wrong = max(found, default=0) >= part.in_features or len(per) > 1
        if wrong or (not coupled.folds and len(found) != part.in_features):
            return f"the reshape before {member.name} is not understood"
    return ""


def _heads_of(
    model: nn.Module, coupled: Coupled, heads: Mapping[str, str]
) -> tuple[str, str, int] | None:
    for path, attribute in heads.items():
        if all(member.name.startswith(path + ".") for member in coupled.members):
            return path, attribute, getattr(model.get_submodule(path), attribute)
    return None


def _passable(
    model: nn.Module,
    coupled: Coupled,
    nodes: list[tuple[Any, str]],
    names: Mapping[nn.Module, str],
) -> list[bool]:
    """For each set of channels: from a live writer to a live reader, is there a way?"""
    inside = {node for node, _ in nodes}
    parts = {member: model.get_submodule(member.name) for member in coupled.members}
    nonzero = {
        member: alive(part, member.side).tolist()
        for member, part in parts.items()
        if member.side != "through" or is_depthwise(part)
    }
    node_of = {names[node.module]: node for node in inside if node.module in names}
    memo: dict[Any, set[str]] = {}

    def reached(sources: tuple[str, ...], closed: frozenset[str]) -> set[str]:
        if (sources, closed) not in memo:
            stack = [out for name in sources for out in node_of[name].outputs]
            seen, readers = set(), set()
            while stack:
                node = stack.pop()
                if node in seen or node not in inside:
                    continue
                seen.add(node)
                name = names.get(node.module, "")
                if Member(name, "in") in coupled.members:
                    readers.add(name)
                elif name not in closed:
                    stack += node.outputs
            memo[sources, closed] = readers
        return memo[sources, closed]

    passable = []
    for k in range(coupled.n):
        live = {
            member: any(nonzero[member][index] for index in coupled.members[member][k])
            for member in nonzero
        }
        sources = tuple(m.name for m, on in live.items() if on and m.side == "out")
        closed = frozenset(
            m.name for m, on in live.items() if not on and m.side == "through"
        )
        ends = reached(sources, closed) if sources else set()
        passable.append(any(live[Member(name, "in")] for name in ends))
    return passable
