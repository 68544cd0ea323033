"""Which weights form a group: one short string per tensor, and what follows from it.

Everything here works on a pair (tensor, layout) and is written so that the only work
that grows with the tensor is one norm per slice; the rest acts on one number per
group.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softshrink

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
    """

    kind: str
    n_groups: int
    size: int
    dim: int = 0
    parts: tuple[int, ...] = ()
    axis: int = 0
    keep: int = 0
    block: int = 0

    def squares(self, tensor: Tensor) -> Tensor:
        """Sums of squares over the groups, shape (n_groups,)."""
        others = tuple(d for d in range(tensor.ndim) if d != self.dim)
        if others:
            slices = torch.linalg.vector_norm(tensor, dim=others)
        else:
            slices = tensor.abs()
        squares = slices.square()
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
    """

    params: tuple[Tensor, ...]
    layouts: tuple[Layout, ...]
    names: tuple[str, ...]
    options: Mapping[str, Any] = field(repr=False)

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
    def by_element(self) -> bool:
        """Whether every weight is thresholded by itself."""
        return self.layouts[0].kind != "slices"

    @property
    def threshold(self) -> float:
        """Norm of the dual above which a group is selected."""
        lam = self.options["lam"]
        return lam * math.sqrt(self.size) if self.options["size_scaling"] else lam

    def norms(self, tensors: Sequence[Tensor]) -> Tensor:
        """Euclidean norms of the groups of `tensors`, shape (n_groups,)."""
        if self.by_element:
            return tensors[0].abs().reshape(-1)
        parts = zip(self.layouts, tensors, strict=True)
        squares = [layout.squares(tensor) for layout, tensor in parts]
        # Parts may differ in precision or lie on several devices.
        first = squares[0]
        return sum((s.to(first) for s in squares[1:]), first).sqrt()

    def factors(self, duals: Sequence[Tensor]) -> list[Tensor]:
        """What the duals are multiplied with to get the split weights.

        Only for groups of slices; ``kappa * max(0, 1 - threshold / norm)``, shaped to
        broadcast.
        """
        values = self._shares(self.norms(duals)).mul_(self.options["kappa"])
        return self._spread(values, duals)

    def _shares(self, norms: Tensor) -> Tensor:
        """The share of its norm that each group keeps, positive where selected."""
        return (1 - self.threshold / norms).clamp_(min=0)

    def split(self, duals: Sequence[Tensor]) -> list[Tensor]:
        """The split weights, Gamma = kappa prox(V)."""
        if not self.by_element:
            return [f * v for f, v in zip(self.factors(duals), duals, strict=True)]
        (layout,), (dual,) = self.layouts, duals
        split = softshrink(dual, self.threshold).mul_(self.options["kappa"])
        return [split.mul_(layout.largest(dual)) if layout.kind == "n:m" else split]

    def selected(self, duals: Sequence[Tensor]) -> Tensor:
        """Which groups have a nonzero split weight, shape (n_groups,)."""
        return self.split_norms(duals) > 0

    def split_norms(self, duals: Sequence[Tensor]) -> Tensor:
        """Norms of the groups of the split weights, shape (n_groups,)."""
        norms = self.norms(duals)
        if self.by_element:
            norms = (norms - self.threshold).clamp_(min=0)
            if self.layouts[0].kind == "n:m":
                norms.mul_(self.layouts[0].largest(duals[0]).reshape(-1))
        else:
            norms = norms * self._shares(norms)
        return norms.mul_(self.options["kappa"])

    def masks(self, inside: Tensor) -> list[Tensor]:
        """Boolean masks of the tensors from one flag per group."""
        if self.by_element:
            return [inside.reshape(self.params[0].shape)]
        spread = self._spread(inside, self.params)
        return [
            mask.expand(p.shape).clone()
            for mask, p in zip(spread, self.params, strict=True)
        ]

    def _spread(self, values: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [
            layout.spread(values.to(tensor.device), tensor.ndim)
            for layout, tensor in zip(self.layouts, tensors, strict=True)
        ]


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
    if not joined:
        return [
            GroupSet((param,), (layout,), (name,), options)
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
    return [GroupSet(tuple(params), tuple(layouts), tuple(names), options)]


def all_sets(optimizer: torch.optim.Optimizer) -> Iterator[GroupSet]:
    """All registered sets of groups of an optimizer, in the order of its groups."""
    for index, options in enumerate(optimizer.param_groups):
        yield from group_sets(options, index)
