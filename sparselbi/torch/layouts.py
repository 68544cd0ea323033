"""Which weights form a group: one short string per tensor, and what follows from it.

Everything here works on a pair (tensor, layout) and is written so that the only work
that grows with the tensor is one norm per slice; the rest acts on one number per
group.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from ._shards import (
    Place,
    gather,
    is_sharded,
    local,
    piece_of,
    place_of,
    sum_over_processes,
)

WORDS = {"filter": "dim0", "neuron": "dim0", "row": "dim0", "channel": "dim1"}
ALLOWED = (
    "'element', 'tensor', 'filter', 'neuron' or 'row' (slices of dim 0), 'channel' "
    "(slices of dim 1), 'dim<d>' (slices of any dim), 'dim<d>/<n>' (n equal blocks of "
    "slices, as attention heads), 'dim<d>/<k>x<n>' (the same in k stacked parts) or "
    "'<n>:<m>' (at most n of m consecutive inputs)"
)


@dataclass(frozen=True)
class Layout:
    """How one tensor is cut into groups.

    Attributes
    ----------
    kind : {"element", "slices", "n:m"}
    n_groups : int
        Groups; weights for the kinds "element" and "n:m".
    size : int
        Weights in each group.
    dim : int
        Groups are unions of slices along this dim.
    parts : tuple of int
        That dim seen as an array of this shape, with the groups along its `axis`.
    axis : int
    keep, block : int
        For "n:m": at most `keep` of every `block` consecutive weights along `dim`.
    window : tuple of int or None
        Tensors are pieces that hold this (start, length) of the slices; sums of squares
        are then the contributions of a piece to all groups.
    """

    kind: str
    n_groups: int
    size: int
    dim: int = 0
    parts: tuple[int, ...] = ()
    axis: int = 0
    keep: int = 0
    block: int = 0
    window: tuple[int, int] | None = None

    def squares(self, tensor: Tensor) -> Tensor:
        """Sums of squares over the groups, shape (n_groups,)."""
        others = tuple(d for d in range(tensor.ndim) if d != self.dim)
        if others:
            slices = torch.linalg.vector_norm(tensor, dim=others)
        else:
            slices = tensor.abs()
        squares = slices.square()
        if self.window is not None:
            own = squares
            squares = own.new_zeros(math.prod(self.parts))
            squares.narrow(0, *self.window).copy_(own)
        if len(self.parts) == 1:
            return squares
        rest = tuple(a for a in range(len(self.parts)) if a != self.axis)
        return squares.reshape(self.parts).sum(dim=rest)

    def spread(self, values: Tensor, ndim: int) -> Tensor:
        """One value per group, shaped to broadcast against a tensor with `ndim`."""
        if len(self.parts) > 1:
            shape = [1] * len(self.parts)
            shape[self.axis] = self.n_groups
            values = values.reshape(shape).expand(self.parts).reshape(-1)
        if self.window is not None:
            values = values.narrow(0, *self.window)
        shape = [1] * ndim
        shape[self.dim] = -1
        return values.reshape(shape)

    def largest(self, dual: Tensor) -> Tensor:
        """For "n:m": which weights are among the `keep` largest of their block."""
        blocks = dual.movedim(self.dim, -1).unflatten(-1, (-1, self.block))
        top = blocks.abs().topk(self.keep, dim=-1).indices
        inside = torch.zeros_like(blocks, dtype=torch.bool).scatter_(-1, top, True)
        return inside.flatten(-2).movedim(-1, self.dim)


@lru_cache(maxsize=4096)
def parse_layout(text: str, shape: tuple[int, ...]) -> Layout:
    """The layout that `text` describes for a tensor of this shape.

    Raises
    ------
    ValueError
        If `text` is not in the language of `ALLOWED`, or does not fit the shape.
    """
    word = WORDS.get(text, text)
    n_weights = math.prod(shape)
    if word == "element" or (word == "tensor" and not shape):
        return Layout("element", n_weights, 1)
    if word == "tensor":
        return Layout("slices", 1, n_weights, 0, (1, shape[0]), 0)
    if match := re.fullmatch(r"(\d+):(\d+)", word):
        keep, block = map(int, match.groups())
        if not 0 < keep < block:
            raise ValueError(
                f"groups={text!r}: the first number must be at least 1 and smaller "
                f"than the second, as in '2:4'"
            )
        if len(shape) < 2 or shape[1] % block:
            raise ValueError(
                f"groups={text!r} needs a dim 1 that is divisible by {block}, and the "
                f"shape is {shape}"
            )
        return Layout("n:m", n_weights, 1, dim=1, keep=keep, block=block)
    match = re.fullmatch(r"dim(\d+)(?:/(?:(\d+)x)?(\d+))?", word)
    if match is None:
        raise ValueError(f"groups={text!r} is unknown; use {ALLOWED}")
    dim = int(match[1])
    if dim >= len(shape):
        raise ValueError(
            f"groups={text!r} needs at least {dim + 1} dims, and the shape is {shape}"
        )
    length = shape[dim]
    if match[3] is None:
        return Layout("slices", length, n_weights // max(length, 1), dim, (length,), 0)
    stacked, n_groups = int(match[2] or 1), int(match[3])
    if stacked * n_groups == 0 or length % (stacked * n_groups):
        raise ValueError(
            f"groups={text!r} does not divide dim {dim} of length {length} "
            f"(shape {shape}) into {stacked} x {n_groups} equal blocks"
        )
    parts = (stacked, n_groups, length // (stacked * n_groups))
    return Layout("slices", n_groups, n_weights // n_groups, dim, parts, 1)


@dataclass(frozen=True, eq=False)
class GroupSet:
    """Tensors that are cut into the same groups, and their weight ``lam``.

    One tensor, or several whose groups are joined one to one (``groups`` with commas):
    then the norm of a group is taken over all of them.

    Attributes
    ----------
    params : tuple of Parameter
    layouts : tuple of Layout
    names : tuple of str
    options : dict
        The param group that they belong to.
    processes : tuple of ProcessGroup
        That hold the tensors in pieces; empty where every process has them whole. The
        methods take DTensors or pieces then, and all processes must call those that
        return something for every group.
    own_layouts : tuple of Layout or None
        For slices: the layouts of the pieces of this process, if every group lies whole
        on one process.
    """

    params: tuple[Tensor, ...]
    layouts: tuple[Layout, ...]
    names: tuple[str, ...]
    options: Mapping[str, Any] = field(repr=False)
    processes: tuple[Any, ...] = field(default=(), repr=False)
    own_layouts: tuple[Layout, ...] | None = None

    @property
    def name(self) -> str:
        return " + ".join(self.names)

    @property
    def kind(self) -> str:
        """The text that describes the groups."""
        return self.options["groups"]

    @property
    def n_groups(self) -> int:
        return self.layouts[0].n_groups

    @cached_property
    def size(self) -> int:
        """Weights in each group."""
        return sum(layout.size for layout in self.layouts)

    @property
    def n_own(self) -> int:
        """Groups that this process knows."""
        return local(self.params[0]).numel() if self.scattered else self.n_groups

    @property
    def by_element(self) -> bool:
        """Whether every weight is thresholded by itself."""
        return self.layouts[0].kind != "slices"

    @property
    def threshold(self) -> float:
        """Norm of the dual above which a group is selected."""
        lam = self.options["lam"]
        return lam * math.sqrt(self.size) if self.options["size_scaling"] else lam

    @property
    def scattered(self) -> bool:
        """Whether a process knows only some groups: the single weights of its piece."""
        return self.by_element and bool(self.processes)

    def whole(self, own: Tensor) -> Tensor:
        """One value per group from those that this process knows."""
        if not self.scattered:
            return own
        like = self.params[0]
        return gather(own.reshape(local(like).shape), like).reshape(-1)

    def own(self, values: Tensor) -> Tensor:
        """The values of the groups that this process knows, from those of all."""
        if not self.scattered:
            return values
        like = self.params[0]
        return piece_of(values.reshape(like.shape), like).reshape(-1)

    def squares(self, tensors: Sequence[Tensor], layouts: Sequence[Layout]) -> Tensor:
        """Sums of squares over groups of slices, as far as this process holds them."""
        parts = zip(layouts, tensors, strict=True)
        squares = [layout.squares(local(tensor)) for layout, tensor in parts]
        # Parts may differ in precision or lie on several devices.
        first = squares[0]
        return sum((s.to(first) for s in squares[1:]), first)

    def norms(self, tensors: Sequence[Tensor]) -> Tensor:
        """Euclidean norms of the groups of `tensors`, shape (n_groups,)."""
        return self.whole(next(_own_norms([self], [tensors])))

    def factors(self, duals: Sequence[Tensor]) -> list[Tensor]:
        """What the duals are multiplied with to get the split weights.

        Only for groups of slices; ``kappa * max(0, 1 - threshold / norm)``, shaped to
        broadcast.
        """
        (factors,) = all_factors([self], [duals])
        assert factors is not None
        return factors

    def _shares(self, norms: Tensor) -> Tensor:
        """The share of its norm that each group keeps, positive where selected."""
        return (1 - self.threshold / norms).clamp_(min=0)

    def split(
        self, duals: Sequence[Tensor], factors: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """The split weights, Gamma = kappa prox(V), of the pieces of this process."""
        duals = [local(dual) for dual in duals]
        if not self.by_element:
            factors = self.factors(duals) if factors is None else factors
            return [f * v for f, v in zip(factors, duals, strict=True)]
        (layout,), (dual,) = self.layouts, duals
        split = softshrink(dual, self.threshold).mul_(self.options["kappa"])
        return [split.mul_(layout.largest(dual)) if layout.kind == "n:m" else split]

    def selected(self, duals: Sequence[Tensor]) -> Tensor:
        """Which groups have a nonzero split weight, shape (n_groups,)."""
        return self.whole(next(own_split_norms([self], [duals])) > 0)

    def split_norms(self, duals: Sequence[Tensor]) -> Tensor:
        """Norms of the groups of the split weights, shape (n_groups,)."""
        return self.whole(next(own_split_norms([self], [duals])))

    def masks(self, inside: Tensor) -> list[Tensor]:
        """Boolean masks of the tensors from one flag per group."""
        if self.by_element:
            return [inside.reshape(self.params[0].shape)]
        layouts = [replace(layout, window=None) for layout in self.layouts]
        spread = _spread(inside, self.params, layouts)
        return [
            mask.expand(p.shape).clone()
            for mask, p in zip(spread, self.params, strict=True)
        ]


def _spread(
    values: Tensor, tensors: Sequence[Tensor], layouts: Sequence[Layout]
) -> list[Tensor]:
    return [
        layout.spread(values.to(tensor.device), tensor.ndim)
        for layout, tensor in zip(layouts, tensors, strict=True)
    ]


# ------------------------------------------------- several sets, one sum over processes


def all_factors(
    sets: Sequence[GroupSet], duals: Sequence[Sequence[Tensor]]
) -> list[list[Tensor] | None]:
    """`GroupSet.factors` of several sets; None for those by element."""
    layouts = [groups.own_layouts or groups.layouts for groups in sets]
    squares = [
        None if groups.by_element else groups.squares(tensors, cuts)
        for groups, tensors, cuts in zip(sets, duals, layouts, strict=True)
    ]
    _complete(
        (value, groups.processes)
        for groups, value in zip(sets, squares, strict=True)
        if value is not None and groups.own_layouts is None
    )
    factors: list[list[Tensor] | None] = []
    for k, groups in enumerate(sets):
        value = squares[k]
        if value is None:
            factors.append(None)
            continue
        values = groups._shares(value.sqrt()).mul_(groups.options["kappa"])
        factors.append(_spread(values, duals[k], layouts[k]))
    return factors


def own_split_norms(
    sets: Sequence[GroupSet], duals: Sequence[Sequence[Tensor]]
) -> Iterator[Tensor]:
    """`GroupSet.split_norms` of several sets, one after the other.

    Of a set that is scattered, only what this process knows.
    """
    all_norms = _own_norms(sets, duals)
    for groups, norms, tensors in zip(sets, all_norms, duals, strict=True):
        layout = groups.layouts[0]
        if groups.by_element:
            norms = (norms - groups.threshold).clamp_(min=0)
            if layout.kind == "n:m":
                norms.mul_(layout.largest(local(tensors[0])).reshape(-1))
        else:
            norms = norms * groups._shares(norms)
        yield norms.mul_(groups.options["kappa"])


def _own_norms(
    sets: Sequence[GroupSet], tensors: Sequence[Sequence[Tensor]]
) -> Iterator[Tensor]:
    squares = [
        None if groups.by_element else groups.squares(parts, groups.layouts)
        for groups, parts in zip(sets, tensors, strict=True)
    ]
    _complete(
        (value, groups.processes)
        for groups, value in zip(sets, squares, strict=True)
        if value is not None
    )
    for value, parts in zip(squares, tensors, strict=True):
        yield local(parts[0]).abs().reshape(-1) if value is None else value.sqrt()


def _complete(sums: Iterable[tuple[Tensor, tuple[Any, ...]]]) -> None:
    """Add what other processes hold."""
    parts = [(value, processes) for value, processes in sums if processes]
    if parts:
        sum_over_processes(*zip(*parts, strict=True))


def names_of(group: Mapping[str, Any], index: int) -> list[str]:
    """Names of the tensors of a param group; their positions if it has no names."""
    return group.get("param_names") or [
        f"param_groups[{index}].params[{i}]" for i in range(len(group["params"]))
    ]


def group_sets(options: Mapping[str, Any], index: int = 0) -> list[GroupSet]:
    """The sets of groups of one param group, empty if it is left dense.

    Parameters
    ----------
    options : dict
        A param group of an optimizer.
    index : int
        Its position, for the names of tensors that have none.

    Raises
    ------
    ValueError
        If ``groups`` does not fit the tensors.
    """
    text, params = options.get("groups"), options["params"]
    if text is None:
        return []
    names = names_of(options, index)
    kinds = [part.strip() for part in text.split(",")]
    joined = len(kinds) > 1
    if joined and len(kinds) != len(params):
        raise ValueError(
            f"groups={text!r} joins {len(kinds)} tensors, one per comma-separated "
            f"part, but its param group has {len(params)}: {', '.join(names)}."
        )
    layouts = []
    for i, (name, param) in enumerate(zip(names, params, strict=True)):
        try:
            layouts.append(parse_layout(kinds[i if joined else 0], tuple(param.shape)))
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}.") from None
        if not joined and kinds[0] in WORDS and param.ndim == 1:
            raise ValueError(
                f"tensor {name!r}: groups={kinds[0]!r} would select the numbers of a "
                f"vector of shape {tuple(param.shape)} one by one, and let them decay "
                f"before. Leave biases and norms dense, in a param group without "
                f"groups, as groups_for(model) does; or write 'element'."
            )
    if not joined:
        return [
            _set((param,), (layout,), (name,), options)
            for param, layout, name in zip(params, layouts, names, strict=True)
        ]
    counts = {layout.n_groups for layout in layouts}
    if len(counts) > 1 or any(layout.kind != "slices" for layout in layouts):
        found = ", ".join(
            f"{name}: {layout.n_groups} ({kind})"
            for name, layout, kind in zip(names, layouts, kinds, strict=True)
        )
        raise ValueError(
            f"groups={text!r} joins the groups of several tensors one to one; each "
            f"must have the same number of groups, made of slices or blocks of "
            f"slices. Found {found}."
        )
    return [_set(tuple(params), tuple(layouts), tuple(names), options)]


def _set(
    params: tuple[Tensor, ...],
    layouts: tuple[Layout, ...],
    names: tuple[str, ...],
    options: Mapping[str, Any],
) -> GroupSet:
    if not any(is_sharded(param) for param in params):
        return GroupSet(params, layouts, names, options)
    try:
        return _sharded_set(params, layouts, names, options)
    except ValueError as error:
        raise ValueError(
            f"groups={options['groups']!r} of the sharded tensor "
            f"{' + '.join(map(repr, names))}: {error}."
        ) from None


def _sharded_set(
    params: tuple[Tensor, ...],
    layouts: tuple[Layout, ...],
    names: tuple[str, ...],
    options: Mapping[str, Any],
) -> GroupSet:
    """The set of groups of tensors that processes hold in pieces."""
    if not all(is_sharded(param) for param in params):
        raise ValueError(
            "joined groups need tensors that are all sharded, or all whole; apply "
            "fully_shard to the module that holds them all"
        )
    places = [place_of(param) for param in params]
    processes = places[0].processes
    if any(place.processes != processes for place in places):
        raise ValueError(
            "joined groups need tensors that the same processes hold in pieces; shard "
            "them over one mesh"
        )
    if layouts[0].kind == "n:m":
        layout, place = layouts[0], places[0]
        if any(piece % layout.block for piece in place.cuts.get(layout.dim, ())):
            raise ValueError(
                f"its blocks of {layout.block} are cut apart, since it is sharded "
                f"along dim {layout.dim}; shard it along dim 0"
            )
    if layouts[0].kind != "slices":
        return GroupSet(params, layouts, names, options, processes)
    pairs = list(zip(layouts, places, strict=True))
    # The same on all processes, and for joined groups the same groups in all pieces.
    per_piece = {_groups_per_piece(layout, place) for layout, place in pairs}
    own = None
    if len(per_piece) == 1 and None not in per_piece:
        own = tuple(_own_layout(layout, place) for layout, place in pairs)
    windowed = tuple(
        replace(layout, window=place.spans[layout.dim]) for layout, place in pairs
    )
    return GroupSet(params, windowed, names, options, processes, own)


def _groups_per_piece(layout: Layout, place: Place) -> int | None:
    """How many groups a full piece holds; None where groups are cut."""
    length = _length_of(layout)
    if [*place.cuts] != [layout.dim] or len(place.cuts[layout.dim]) > 1 or not length:
        return None
    n_groups, rest = divmod(place.cuts[layout.dim][0], length)
    return None if rest else n_groups


def _length_of(layout: Layout) -> int:
    """How many consecutive slices a group is; 0 if it is scattered over the dim."""
    stacked = layout.parts[0] if layout.axis else 1
    return math.prod(layout.parts) // layout.n_groups if stacked == 1 else 0


def _own_layout(layout: Layout, place: Place) -> Layout:
    """The layout of the piece of this process, which holds whole groups."""
    length = _length_of(layout)
    n_groups = place.spans[layout.dim][1] // length
    return replace(layout, n_groups=n_groups, parts=(1, n_groups, length), axis=1)


def all_sets(optimizer: torch.optim.Optimizer) -> Iterator[GroupSet]:
    """All registered sets of groups of an optimizer, in the order of its groups."""
    for index, options in enumerate(optimizer.param_groups):
        yield from group_sets(options, index)
