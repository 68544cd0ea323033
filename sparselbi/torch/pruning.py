"""Smaller networks: mask the weights that were not selected, then cut them out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._choice import choose_masks, mask_weights
from ._coupled import checked_inputs
from ._moving import ParameterChange, move_optimizer
from ._removal import Removal, largest_difference, outputs_of, remove_units
from ._report import LayerChange, PruneReport, latency, measure
from ._saved import load_pruned, save_network, structure_of
from ._shards import unwrapped

__all__ = ["ParameterChange", "Pruned", "load_pruned", "move_optimizer", "prune"]


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller network and what is known about it; made by `prune`.

    Attributes
    ----------
    model : torch.nn.Module
    masks : dict of str to bool Tensor
        That were applied, of the shapes before.
    report : PruneReport
    changes : tuple of ParameterChange
        One for every parameter of `model`, in its order; for `move_optimizer`.
    widths : dict of str to dict of str to int
        Attributes of modules (``out_channels``, ...) that changed.
    """

    model: nn.Module = field(repr=False)
    masks: Mapping[str, Tensor] = field(repr=False)
    report: PruneReport
    changes: tuple[ParameterChange, ...] = field(repr=False)
    widths: Mapping[str, Mapping[str, int]] = field(repr=False)

    def structure(self) -> dict[str, Any]:
        """What differs from the network before, in numbers and strings.

        Keys: ``format``; ``widths``; ``types`` (of the modules with other widths);
        ``shapes`` (of every tensor of the ``state_dict``); ``kept`` (for every
        parameter that was cut: dim -> kept indices).
        """
        kept = {
            change.name: {str(d): i.tolist() for d, i in change.kept.items()}
            for change in self.changes
            if change.kept
        }
        return structure_of(self.model, self.widths, kept=kept)

    def save(self, folder: str | Path) -> None:
        """Write ``weights.pt`` (a ``state_dict``) and ``structure.json`` to a folder.

        `load_pruned` reads them; nothing but tensors is pickled.
        """
        save_network(folder, self.model, self.structure())


def prune(
    model: nn.Module,
    masks: Any,
    example_inputs: Tensor | Sequence[Tensor] | None = None,
    *,
    at: float | None = None,
    keep: float | int | Mapping[str, float | int] | None = None,
    order: str = "entry",
    physical: bool = True,
    constants: str = "fold",
    heads: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
    allow_empty: bool = False,
    repeats: int = 20,
) -> Pruned:
    """Mask a network, and remove the units that have no weights left.

    Parameters
    ----------
    model : torch.nn.Module
        Is left as it is; the result holds a copy, without the wrapper of
        DistributedDataParallel or `torch.compile`.
    masks : dict of str to bool Tensor, PathRecorder, or optimizer
        Masks by parameter name; or who knows them. Without `at` and `keep`, a recorder
        or an optimizer stands for the groups that are selected now.
    example_inputs : Tensor, sequence of Tensor or None
        Arguments of the model, with a batch of more than one sample. Needed to remove
        units; without, MACs and latency are not measured.
    at : float or None
        With a recorder: keep the groups that had entered by this path time.
    keep : float, int, dict or None
        With a recorder: keep the first groups that entered, as many as hold this share
        of the registered weights (float), or this number of groups (int). A dict gives
        that for single sets of groups, by their names in the recorder.
    order : {"entry", "norm"}, default="entry"
        Which are the first for `keep`: those that entered first (of those that entered
        together, the ones with the larger split weights), or those whose split weights
        have the largest norm now. Norms of groups of different sizes differ; "norm" is
        for groups of one size.
    physical : bool, default=True
        Remove units, with Torch-Pruning; False only masks.
    constants : {"fold", "zero"}, default="fold"
        A unit without weights still puts out a constant, from its bias and the norm
        behind it. "fold": the layers that read it take the constant up, in their bias
        or the running mean of the batch norm behind them, and in evaluation mode the
        outputs are those of the masked network; a unit whose constant meets zero
        padding stays. "zero": biases and affine parts of norms of such units become
        zero first, which changes the outputs of the masked network (train on), and
        more units can go.
    heads : dict of str to str or None
        For attention that is written by hand: name of the module, and its attribute
        with the number of heads, e.g. ``{"blocks.0.attention": "n_heads"}``. Whole
        heads are then removed, and the attribute lowered. Otherwise heads stay.
    skip : sequence of str
        Patterns of names of modules whose units stay.
    allow_empty : bool, default=False
        Whether a layer may lose all its units. It then keeps one, with zero weights.
    repeats : int, default=20
        Forward passes for the latency, in turns with the network before; 0 for none.

    Returns
    -------
    Pruned
        With ``model``, ``report``, ``changes``, and ``save``.

    Raises
    ------
    ImportError
        If Torch-Pruning is missing and `physical`.
    TypeError
        For arguments of another type.
    ValueError
        For masks that do not fit the model, a layer of which nothing is left, `at` or
        `keep` out of range, `example_inputs` missing or with a batch of one.
    RuntimeError
        If the outputs would change: the dependencies were not understood.

    Notes
    -----
    Units go by what a signal can pass: if no way leads from a nonzero weight that
    writes a channel, or a sum of channels, to one that reads it. So units that nobody
    reads go too, and the same over several layers. Channels of a residual stream go
    if no branch writes them. Units stay where the number of channels matters (layer and
    group norms, grouped convolutions, shared weights, outputs), and in modules other
    than linear layers, convolutions, embeddings, batch and instance norms and PReLU;
    ``report.layers`` says why.

    The result is compared with the masked network on `example_inputs`.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import prune
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)
    ... )
    >>> mask = torch.tensor([True, False, True])[:, None].expand(3, 4)
    >>> pruned = prune(model, {"0.weight": mask}, physical=False)
    >>> pruned.report.after.nonzero
    19
    """
    if constants not in ("fold", "zero"):
        raise ValueError(f"constants={constants!r} must be 'fold' or 'zero'.")
    if not isinstance(repeats, int) or repeats < 0:
        raise ValueError(f"repeats={repeats!r} must be an integer >= 0.")
    inputs = _inputs(example_inputs, physical)
    model = unwrapped(model)
    masks = choose_masks(model, masks, at, keep, allow_empty, order)
    small = copy.deepcopy(model)
    mask_weights(small, masks)
    removal = Removal()
    difference = float("nan")
    if inputs is not None:
        masked = outputs_of(small, inputs)
    if physical and inputs is not None:
        removal = remove_units(
            small,
            inputs,
            zero=constants == "zero",
            heads=heads,
            skip=tuple(skip),
            allow_empty=allow_empty,
        )
        _keep_formats(model, small)
    if inputs is not None:
        difference = largest_difference(masked, outputs_of(small, inputs))
    report = _report(model, small, inputs, repeats, removal.layers, difference)
    old = dict(model.named_parameters())
    changes = tuple(
        ParameterChange(
            name,
            old.get(name),
            new,
            dict(sorted(removal.kept.get(name, {}).items())),
        )
        for name, new in small.named_parameters()
    )
    return Pruned(small, masks, report, changes, removal.widths)


FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _keep_formats(model: nn.Module, small: nn.Module) -> None:
    """Weights of a model with channels last in memory have them last again.

    Cutting makes them contiguous, and convolutions slower than they were.
    """
    old = dict(model.named_parameters())
    for ndim, form in FORMATS.items():
        last = {
            name
            for name, param in old.items()
            if param.ndim == ndim and param.is_contiguous(memory_format=form)
        }
        # Those with one channel, or 1 x 1 kernels, are both and tell nothing.
        if all(old[name].is_contiguous() for name in last):
            continue
        for name, param in small.named_parameters():
            if name in last:
                laid_out = torch.empty_like(param, memory_format=form)
                param.data = laid_out.copy_(param.data)


def _inputs(example: Any, physical: bool) -> tuple[Tensor, ...] | None:
    if example is None:
        if physical:
            raise ValueError(
                "example_inputs is missing: removing units follows a batch through the "
                "network. Give one, or physical=False to mask only."
            )
        return None
    return checked_inputs(example)


def _report(
    model: nn.Module,
    small: nn.Module,
    inputs: tuple[Tensor, ...] | None,
    repeats: int,
    layers: Sequence[LayerChange],
    difference: float,
) -> PruneReport:
    before, after = measure(model, inputs), measure(small, inputs)
    if inputs is None or not repeats:
        return PruneReport(before, after, tuple(layers), difference=difference)
    slow, fast = latency([model, small], inputs, repeats)
    return PruneReport(
        replace(before, latency=slow),
        replace(after, latency=fast),
        tuple(layers),
        batch_size=len(inputs[0]),
        repeats=repeats,
        threads=torch.get_num_threads(),
        device=str(inputs[0].device),
        difference=difference,
    )
