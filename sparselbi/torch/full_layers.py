"""Which layers have nearly all their units selected, and how wide they should be."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ._coupled import checked_inputs
from ._dynamics import current_duals
from ._shards import unwrapped
from ._widening import LAYERS, tied_layers, unit_dim, units_of
from .coupling import Coupling
from .groups import _last_layer
from .masks import named_sets
from .recorder import PathRecorder

__all__ = ["check_count", "propose_widths", "selected_fractions", "widths_to_grow"]


def widths_to_grow(
    model: nn.Module,
    source: Any,
    *,
    threshold: float | Mapping[str, float] = 0.8,
    factor: float = 1.1,
    at_least: int = 4,
    layers: Sequence[str] | None = None,
    max_width: int | None = None,
    example_inputs: Tensor | Sequence[Tensor] | None = None,
) -> dict[str, int]:
    """Layers whose units are nearly all selected, and a larger width for each.

    Parameters
    ----------
    model : torch.nn.Module
    source : torch.optim.Optimizer, Coupling or PathRecorder
        Who selects groups of this model: those that are selected now.
    threshold : float or dict of str to float, default=0.8
        Share of selected units from which on a layer grows, above 0, at most 1. A dict
        gives it for patterns of layer names; the last that matches holds, and layers
        without a match do not grow.
    factor : float, default=1.1
    at_least : int, default=4
        A layer of n units gets ``max(n + at_least, floor(factor * n))``.
    layers : sequence of str or None
        Patterns of names of layers that may grow.
    max_width : int or None
        No layer gets wider than this.
    example_inputs : Tensor, sequence of Tensor or None
        As for `grow`. With them, only layers that `grow` can widen are named, and
        layers that are tied (all that write one residual stream) agree: they grow if
        one of them is above the threshold. Without, only the last layer, grouped
        convolutions and parts of attention are left out.

    Returns
    -------
    dict of str to int
        Names of modules and their new numbers of units, for `grow`; empty if no layer
        has to grow.

    Raises
    ------
    ValueError
        For numbers out of range, patterns that match no layer, or if `source` selects
        no groups of this model.
    TypeError
        If `source` is something else.
    ImportError
        With `example_inputs`, if Torch-Pruning is missing.

    Notes
    -----
    A unit (filter, neuron; embedding dim) counts as selected if one of its weights is.
    Layers whose groups do not tell units apart (input channels) are not considered; a
    group that is a whole layer stands for all its units.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import DessiLBI, groups_for, widths_to_grow
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    >>> optimizer = DessiLBI(groups_for(model), lr=0.1, nu=1.0, lam=0.01)
    >>> model(torch.ones(5, 4)).sum().backward()
    >>> optimizer.step()
    >>> widths_to_grow(model, optimizer)
    {'0': 7}
    """
    return propose_widths(
        unwrapped(model),
        selected_fractions(model, source),
        threshold,
        factor,
        at_least,
        layers,
        max_width,
        None if example_inputs is None else checked_inputs(example_inputs),
    )[0]


def selected_fractions(model: nn.Module, source: Any) -> dict[str, float]:
    """Share of selected units of every layer whose groups tell units apart."""
    if isinstance(source, (PathRecorder, Coupling)):
        source = source.optimizer
    if not isinstance(source, torch.optim.Optimizer):
        raise TypeError(
            f"Expected an optimizer that selects groups, a Coupling or a PathRecorder, "
            f"got a {type(source).__name__}."
        )
    fractions, model = {}, unwrapped(model)
    for groups, names in named_sets(model, source):
        inside = groups.selected(current_duals(source, groups))
        masks = groups.masks(inside)
        for name, layout, mask in zip(names, groups.layouts, masks, strict=True):
            path, _, last = name.rpartition(".")
            part = model.get_submodule(path)
            if last != "weight" or not isinstance(part, LAYERS):
                continue
            dim = unit_dim(part)
            slices = layout.kind == "slices" and layout.n_groups > 1
            if slices and layout.dim != dim:
                continue
            units = mask.movedim(dim, 0).flatten(1).any(1)
            fractions[path] = float(units.double().mean())
    return fractions


def propose_widths(
    model: nn.Module,
    fractions: Mapping[str, float],
    threshold: float | Mapping[str, float],
    factor: float,
    at_least: int,
    layers: Sequence[str] | None,
    max_width: int | None,
    inputs: tuple[Tensor, ...] | None,
) -> tuple[dict[str, int], str]:
    """The widths, and if there are none why."""
    _check_numbers(threshold, factor, at_least, max_width)
    levels = _levels(list(fractions), threshold, layers)
    full = [name for name, level in levels.items() if fractions[name] >= level]
    if not full:
        return {}, "no layer is above the threshold"
    limit = math.inf if max_width is None else max_width
    now = {name: units_of(model, name) for name in full}
    wanted = {
        # The small addend: 1.1 * 30 is to be 33 however it is rounded.
        name: max(n + at_least, math.floor(factor * n + 1e-9))
        for name, n in now.items()
    }
    if inputs is None:
        able = [name for name in full if not _refused_by_type(model, name)]
        widths = {name: int(min(wanted[name], limit)) for name in able}
        widths = {name: width for name, width in widths.items() if width > now[name]}
    else:
        # Tracing switches flags of parameters: not on the given model.
        able, widths = _traced(copy.deepcopy(model), inputs, wanted, limit)
    if not able:
        return {}, "no layer above the threshold can be widened"
    if not widths:
        return {}, "the layers above the threshold have max_width"
    return widths, ""


def _traced(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    wanted: Mapping[str, int],
    limit: float,
) -> tuple[list[str], dict[str, int]]:
    able: list[str] = []
    widths: dict[str, int] = {}
    for group in tied_layers(model, inputs):
        per = {} if group.reason else group.per_unit(model)
        full = [name for name in per if name in wanted]
        if not full:
            continue
        able += full
        now = {name: units_of(model, name) for name in per}
        n_units = max(math.ceil((wanted[n] - now[n]) / per[n]) for n in full)
        room = min((limit - now[name]) // per[name] for name in per)
        n_units = int(min(n_units, room))
        if n_units > 0:
            widths |= {name: now[name] + n_units * per[name] for name in full}
    return able, {name: widths[name] for name in wanted if name in widths}


def _refused_by_type(model: nn.Module, name: str) -> bool:
    part: Any = model.get_submodule(name)
    attention = [
        inner
        for whole in model.modules()
        if isinstance(whole, nn.MultiheadAttention)
        for inner in whole.modules()
    ]
    grouped = getattr(part, "groups", 1) > 1
    return grouped or part is _last_layer(model) or any(part is i for i in attention)


def _levels(
    names: list[str],
    threshold: float | Mapping[str, float],
    layers: Sequence[str] | None,
) -> dict[str, float]:
    """The threshold of every layer that may grow."""
    if isinstance(layers, str):
        raise TypeError(
            f"layers={layers!r} must be a sequence of patterns: [{layers!r}]."
        )
    table = threshold if isinstance(threshold, Mapping) else {"*": threshold}
    patterns = {"layers": list(layers or [])}
    if isinstance(threshold, Mapping):
        patterns["threshold"] = list(threshold)
    for argument, given in patterns.items():
        for pattern in given:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"{argument} has {pattern!r}, which matches no layer whose groups "
                    f"tell units apart; these are {names}."
                )
    levels = {}
    for name in names:
        if layers is not None and not any(fnmatchcase(name, p) for p in layers):
            continue
        found = [
            level for pattern, level in table.items() if fnmatchcase(name, pattern)
        ]
        if found:
            levels[name] = found[-1]
    return levels


def _check_numbers(
    threshold: float | Mapping[str, float],
    factor: float,
    at_least: int,
    max_width: int | None,
) -> None:
    levels = threshold.values() if isinstance(threshold, Mapping) else [threshold]
    for level in levels:
        if not isinstance(level, (int, float)) or not 0 < level <= 1:
            raise ValueError(f"threshold={level!r} must be above 0 and at most 1.")
    if not isinstance(factor, (int, float)) or not 1 <= factor < math.inf:
        raise ValueError(f"factor={factor!r} must be a finite number >= 1.")
    check_count("at_least", at_least)
    if max_width is not None:
        check_count("max_width", max_width)


def check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be an integer >= 1.")
