"""Wider layers with the same outputs: function-preserving growth of a network."""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._coupled import checked_inputs
from ._moving import ParameterChange
from ._removal import largest_difference
from ._saved import save_network, structure_of
from ._shards import unwrapped
from ._widening import (
    LAYERS,
    Plan,
    Tied,
    outputs_in_both_modes,
    tied_layers,
    units_of,
    why_not,
)

__all__ = ["Grown", "check_model", "grow"]

# Largest change of the outputs, relative to the largest of them.
LIMITS = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass(frozen=True, eq=False)
class Grown:
    """A larger network with the same outputs; made by `grow`.

    Attributes
    ----------
    model : torch.nn.Module
    changes : tuple of ParameterChange
        One for every parameter of `model`, in its order; for `move_optimizer`.
    widths : dict of str to dict of str to int
        Attributes of modules (``out_channels``, ...) that changed.
    difference : float
        Largest absolute change of the outputs on the example inputs, in evaluation
        mode and with the batch statistics of norms.
    """

    model: nn.Module = field(repr=False)
    changes: tuple[ParameterChange, ...] = field(repr=False)
    widths: Mapping[str, Mapping[str, int]]
    difference: float

    def structure(self) -> dict[str, Any]:
        """What differs from the network before, in numbers and strings.

        Keys: ``format``; ``grown``; ``widths``; ``types`` (of the modules with other
        widths); ``shapes`` (of every tensor of the ``state_dict``); ``placed`` (for
        every parameter that has grown: dim -> where the old indices are).
        """
        placed = {
            change.name: {str(d): i.tolist() for d, i in change.placed.items()}
            for change in self.changes
            if change.placed
        }
        return structure_of(self.model, self.widths, grown=True, placed=placed)

    def save(self, folder: str | Path) -> None:
        """Write ``weights.pt`` (a ``state_dict``) and ``structure.json`` to a folder.

        `load_pruned` reads them; nothing but tensors is pickled.
        """
        save_network(folder, self.model, self.structure())


def grow(
    model: nn.Module,
    widths: Mapping[str, int],
    example_inputs: Tensor | Sequence[Tensor],
    *,
    generator: torch.Generator | None = None,
) -> Grown:
    """Widen layers of a network without a change of its outputs.

    New units get incoming weights from the initialization of their layer, and outgoing
    weights of zero, which training then changes.

    Parameters
    ----------
    model : torch.nn.Module
        Is left as it is; the result holds a copy, without the wrapper of
        `torch.compile`.
    widths : dict of str to int
        Names of linear layers, convolutions or embeddings, and how many outputs each
        shall have. What is tied to them grows along: norms, the layers that read them,
        depthwise convolutions, and all layers that write the same residual stream.
    example_inputs : Tensor or sequence of Tensor
        Arguments of the model, with a batch of more than one sample.
    generator : torch.Generator or None
        For the new weights; None takes torch's own.

    Returns
    -------
    Grown
        With ``model``, ``changes`` for `move_optimizer`, and ``save``.

    Raises
    ------
    ImportError
        If Torch-Pruning is missing.
    TypeError
        For arguments of another type, or a network that is wrapped (DDP, FSDP).
    ValueError
        For names that are not in the model, widths that are not larger or that do not
        agree, and layers that cannot be widened: their number of channels matters
        (layer and group norms, grouped convolutions, attention, outputs), they are used
        more than once, or share their weights.
    RuntimeError
        If the network cannot be traced, or the outputs would change: something mixes
        channels that was not recognized. They may change by 1e-5, relative to the
        largest if that is above one; if rounding makes more of it, by 1e-9 in float64.

    Notes
    -----
    New weights come from ``reset_parameters()`` of the layer at its new widths: torch
    draws them with a variance that fits the new number of inputs. Biases too. Batch
    norms get weight 1, bias 0, mean 0 and variance 1. Other initializations that were
    applied to the network once are not known; apply them to the new slots, whose
    incoming weights may be anything.

    Old weights keep their order, but not always their place: behind a concatenation or
    a flattening, channels are inserted. ``changes`` says where the old ones are.

    Since outgoing weights are zero, the gradients of the old weights are unchanged, and
    the new incoming weights have none until the outgoing ones have moved.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import grow
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    ...     torch.nn.Linear(16, 2)
    ... )
    >>> grown = grow(model, {"0": 6}, torch.ones(2, 1, 4, 4))  # doctest: +SKIP
    >>> grown.model[3].in_features  # doctest: +SKIP
    24
    """
    check_model(model)
    model = unwrapped(model)
    inputs = checked_inputs(example_inputs)
    _check_widths(model, widths)
    wide = copy.deepcopy(model)
    before = outputs_in_both_modes(wide, inputs)
    if not all(bool(out.isfinite().all()) for outs in before for out in outs):
        raise ValueError(
            "The outputs for example_inputs are not finite, so whether they stay the "
            "same cannot be checked. Give other example_inputs."
        )
    tied = tied_layers(wide, inputs)
    for name in widths:
        reason = why_not(wide, tied, name)
        if reason:
            raise ValueError(f"{name!r} cannot be widened: {reason}. Leave it out.")
    plan = Plan(wide)
    for group in tied:
        n_units = _new_units(wide, group, widths)
        if n_units:
            plan.insert(group, n_units)
    plan.carry_out(generator)
    difference = _check_outputs(model, wide, inputs, before, widths)
    old = dict(model.named_parameters())
    changes = tuple(
        ParameterChange(name, old[name], new, {}, plan.placed.get(name, {}))
        for name, new in wide.named_parameters()
    )
    return Grown(wide, changes, plan.widths, difference)


def _new_units(wide: nn.Module, group: Tied, widths: Mapping[str, int]) -> int:
    """By how many units tied layers grow, 0 if none of them is named."""
    numbers = {}
    for name, per in group.per_unit(wide).items():
        if name not in widths:
            continue
        more = widths[name] - units_of(wide, name)
        if more % per:
            raise ValueError(
                f"widths[{name!r}]={widths[name]}: a unit of this layer is {per} "
                f"outputs, which are split and used together; {units_of(wide, name)} "
                f"can grow by multiples of {per}."
            )
        numbers[name] = more // per
    if len(set(numbers.values())) > 1:
        named = ", ".join(f"{name!r}: {widths[name]}" for name in numbers)
        raise ValueError(
            f"widths has {{{named}}}, but these layers are tied (they write one sum, "
            f"say) and grow by the same number of units. Name one of them."
        )
    return next(iter(numbers.values()), 0)


def _check_outputs(
    model: nn.Module,
    wide: nn.Module,
    inputs: tuple[Tensor, ...],
    before: list[list[Tensor]],
    widths: Mapping[str, int],
) -> float:
    """The largest change of an output; raise unless it is rounding."""
    more = ", ..." if len(widths) > 5 else ""
    advice = (
        f"Something mixes or orders channels in a way that was not recognized (a mean "
        f"over channels, sizes written as numbers, flattening with channels last). "
        f"Widen fewer layers to find it; now these were "
        f"{', '.join(map(repr, list(widths)[:5]))}{more}."
    )
    try:
        after = outputs_in_both_modes(wide, inputs)
    except Exception as error:
        raise RuntimeError(
            f"The network fails after widening ({type(error).__name__}: {error}). "
            f"{advice}"
        ) from error
    change, good = _change(before, after)
    if not good:
        # Deep networks with batch statistics amplify rounding, and GPUs round to TF32.
        try:
            exact = tuple(x.double() if x.is_floating_point() else x for x in inputs)
            outputs = [
                outputs_in_both_modes(copy.deepcopy(network).double(), exact)
                for network in (model, wide)
            ]
            good = _change(*outputs)[1]
        except Exception:  # no float64 on this device or in this network
            good = False
    if not good:
        raise RuntimeError(f"Widening changes the outputs by {change:.3g}. {advice}")
    return change


def _change(
    before: list[list[Tensor]], after: list[list[Tensor]]
) -> tuple[float, bool]:
    """The largest change of an output, and whether it is within the limits."""
    largest, good = 0.0, True
    for one, two in zip(before, after, strict=True):
        if [a.shape for a in one] != [b.shape for b in two]:
            return math.inf, False
        apart = largest_difference(one, two)
        scale = max([1.0, *(float(out.abs().max()) for out in one if out.numel())])
        limit = LIMITS.get(one[0].dtype, LIMITS[torch.float32])
        good = good and apart <= limit * scale
        largest = max(largest, apart)
    return largest, good


def check_model(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}, expected a torch.nn.Module."
        )
    wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
    if wrapped or any(hasattr(param, "full_tensor") for param in model.parameters()):
        raise TypeError(
            f"model is distributed ({type(model).__name__}): grow the plain network on "
            f"every process with the same generator, then wrap it again."
        )
    for name, param in model.named_parameters():
        if isinstance(param, nn.parameter.UninitializedParameter):
            raise TypeError(
                f"The parameter {name!r} has no shape yet: run the model once on a "
                f"batch, so that its lazy modules are initialized."
            )


def _check_widths(model: nn.Module, widths: Any) -> None:
    if not isinstance(widths, Mapping):
        raise TypeError(
            f"widths is a {type(widths).__name__}, expected a dict of layer name -> "
            f"number of outputs, as widths_to_grow returns it."
        )
    if not widths:
        raise ValueError("widths is empty: there is nothing to widen.")
    modules = dict(model.named_modules())
    for name, width in widths.items():
        if name not in modules:
            near = difflib.get_close_matches(str(name), list(modules), n=3, cutoff=0.4)
            close = ", ".join(map(repr, near or [n for n in modules if n][:5]))
            raise ValueError(
                f"widths names {name!r}, which is no module of the model; "
                f"{'close are' if near else 'for instance'} {close}."
            )
        if not isinstance(modules[name], LAYERS):
            continue  # the tied layers tell why not
        now = units_of(model, name)
        number = isinstance(width, int) and not isinstance(width, bool)
        if not number or width <= now:
            raise ValueError(
                f"widths[{name!r}]={width!r} must be an integer above {now}, what the "
                f"layer has now. prune makes layers narrower."
            )
