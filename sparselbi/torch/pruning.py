"""Smaller networks: mask the weights that were not selected, then cut them out."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._choice import choose_masks, mask_weights
from ._removal import Removal, largest_difference, outputs_of, remove_units
from ._report import LayerChange, PruneReport, latency, measure
from .layouts import names_of, parse_layout

__all__ = ["ParameterChange", "Pruned", "load_pruned", "move_optimizer", "prune"]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class ParameterChange:
    """Where a parameter of the smaller network came from.

    Attributes
    ----------
    name : str
    old : Parameter or None
        That of the network before; None for a bias that was added.
    new : Parameter
    kept : dict of int to Tensor
        For every dim that was cut, the indices that were kept.
    """

    name: str
    old: Tensor | None = field(repr=False)
    new: Tensor = field(repr=False)
    kept: Mapping[int, Tensor] = field(repr=False)

    def take(self, tensor: Tensor) -> Tensor:
        """The kept part of a tensor of the old shape."""
        for dim, index in self.kept.items():
            tensor = tensor.index_select(dim, index.to(tensor.device))
        return tensor.clone() if not self.kept else tensor


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
        modules = dict(self.model.named_modules())
        state = self.model.state_dict()
        return {
            "format": FORMAT,
            "types": {name: type(modules[name]).__name__ for name in self.widths},
            "widths": {name: dict(values) for name, values in self.widths.items()},
            "shapes": {name: list(tensor.shape) for name, tensor in state.items()},
            "kept": {
                change.name: {str(d): i.tolist() for d, i in change.kept.items()}
                for change in self.changes
                if change.kept
            },
        }

    def save(self, folder: str | Path) -> None:
        """Write ``weights.pt`` (a ``state_dict``) and ``structure.json`` to a folder.

        `load_pruned` reads them; nothing but tensors is pickled.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "weights.pt")
        text = json.dumps(self.structure(), indent=1)
        (folder / "structure.json").write_text(text, encoding="utf-8")


def prune(
    model: nn.Module,
    masks: Any,
    example_inputs: Tensor | Sequence[Tensor] | None = None,
    *,
    at: float | None = None,
    keep: float | int | Mapping[str, float | int] | None = None,
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
        Is left as it is; the result holds a copy.
    masks : dict of str to bool Tensor, PathRecorder, or optimizer
        Masks by parameter name; or who knows them. Without `at` and `keep`, a recorder
        or an optimizer stands for the groups that are selected now.
    example_inputs : Tensor, sequence of Tensor or None
        Arguments of the model, with a batch of more than one sample. Needed to remove
        units; without, MACs and latency are not measured.
    at : float or None
        With a recorder: keep the groups that had entered by this path time.
    keep : float, int, dict or None
        With a recorder: keep the groups that entered first (of those that entered
        together, the ones with the larger split weights); as many as hold this share of
        the registered weights (float), or this number of groups (int). A dict gives
        that for single sets of groups, by their names in the recorder.
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
    masks = choose_masks(model, masks, at, keep, allow_empty)
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


def _inputs(example: Any, physical: bool) -> tuple[Tensor, ...] | None:
    if example is None:
        if physical:
            raise ValueError(
                "example_inputs is missing: removing units follows a batch through the "
                "network. Give one, or physical=False to mask only."
            )
        return None
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


# ----------------------------------------------------------------------------- reading


def load_pruned(
    model: nn.Module, folder: str | Path, *, map_location: Any = None
) -> nn.Module:
    """Read a network that `Pruned.save` wrote, without pickle.

    Parameters
    ----------
    model : torch.nn.Module
        A new network of the architecture before pruning. Is changed in place.
    folder : str or Path
    map_location
        For `torch.load`.

    Returns
    -------
    torch.nn.Module
        `model`, with the widths and weights that were saved.

    Raises
    ------
    FileNotFoundError
        If one of the two files is missing.
    ValueError
        If the files do not fit each other or the model. The model is not changed then.
    """
    folder = Path(folder)
    structure = json.loads((folder / "structure.json").read_text(encoding="utf-8"))
    if structure.get("format") != FORMAT:
        raise ValueError(
            f"{folder / 'structure.json'} has format {structure.get('format')!r}; this "
            f"version of sparselbi reads format {FORMAT}."
        )
    state = torch.load(
        folder / "weights.pt", map_location=map_location, weights_only=True
    )
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    if shapes != structure["shapes"]:
        names = _differing(shapes, structure["shapes"])
        raise ValueError(
            f"weights.pt and structure.json in {folder} do not belong together: they "
            f"differ in {', '.join(names)}."
        )
    modules = dict(model.named_modules())
    own = model.state_dict()
    added = sorted(set(shapes) - set(own))
    wrong = [name for name in own if name not in shapes]
    wrong += [
        name
        for name in added
        if name.rpartition(".")[2] != "bias" or name[:-4] + "weight" not in own
    ]
    wrong += [
        name
        for name, kind in structure["types"].items()
        if type(modules.get(name)).__name__ != kind
    ]
    fits = [n for n in own if n in shapes and own[n].ndim == len(shapes[n])]
    wrong += [n for n in own if n in shapes and n not in fits]
    for name in fits:
        sides = zip(own[name].shape, shapes[name], strict=True)
        wrong += [name] if any(old < new for old, new in sides) else []
    if wrong:
        raise ValueError(
            f"The model has another architecture than the one that was pruned; they "
            f"differ in {', '.join(wrong[:5])}{', ...' if len(wrong) > 5 else ''}."
        )
    for name, values in structure["widths"].items():
        for attribute in values:
            if not isinstance(getattr(modules[name], attribute, None), int):
                raise ValueError(f"{name or 'The model'} has no width {attribute!r}.")
    for name, values in structure["widths"].items():
        for attribute, value in values.items():
            setattr(modules[name], attribute, int(value))
    for name, shape in shapes.items():
        path, _, last = name.rpartition(".")
        part = modules[path]
        if name in added:
            like = part.weight
            empty = torch.empty(shape, dtype=like.dtype, device=like.device)
            setattr(part, last, nn.Parameter(empty, like.requires_grad))
        elif list(own[name].shape) != shape:
            empty = torch.empty(shape, dtype=own[name].dtype, device=own[name].device)
            if last in part._parameters:
                flag = part._parameters[last].requires_grad
                setattr(part, last, nn.Parameter(empty, flag))
            else:
                part._buffers[last] = empty
    model.load_state_dict(state)
    return model


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    names = sorted({*first, *second})
    return [name for name in names if first.get(name) != second.get(name)][:5]


# ---------------------------------------------------------------------- the optimizer


def move_optimizer(
    optimizer: torch.optim.Optimizer, changes: Sequence[ParameterChange] | Pruned
) -> None:
    """Let an optimizer go on with the parameters of a pruned network.

    Momentum, duals and other state of the shape of a parameter are cut like it.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Of the network before. Is changed in place.
    changes : sequence of ParameterChange, or Pruned

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
    one. A number of blocks in ``groups`` ("dim0/8") is lowered to the blocks that are
    left. A recorder of the network before has to be removed (`PathRecorder.remove`).

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
    if isinstance(changes, Pruned):
        changes = changes.changes
    by_old = {id(c.old): c for c in changes if c.old is not None}
    states: dict[Tensor, dict[str, Any]] = {}
    lists: list[list[Tensor]] = []
    texts: list[str | None] = []
    for index, group in enumerate(optimizer.param_groups):
        names = names_of(group, index)
        found = [by_old.get(id(param)) for param in group["params"]]
        missing = [n for n, change in zip(names, found, strict=True) if change is None]
        if missing:
            raise ValueError(
                f"The optimizer holds parameters that the pruned network did not come "
                f"from: {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. "
                f"Give the optimizer of the model that was pruned, once."
            )
        moved = [change for change in found if change is not None]
        olds = group["params"]
        lists.append([change.new for change in moved])
        texts.append(_groups_after(group.get("groups"), moved))
        for name, old, change in zip(names, olds, moved, strict=True):
            state = optimizer.state.get(old)
            if state is not None:
                states[change.new] = _cut_state(name, change, state)
    for group, params, text in zip(optimizer.param_groups, lists, texts, strict=True):
        for old, new in zip(group["params"], params, strict=True):
            optimizer.state.pop(old, None)
            if new in states:
                optimizer.state[new] = states[new]
        group["params"] = params
        if text is not None:
            group["groups"] = text
    added = [change for change in changes if change.old is None]
    if added:
        _add(optimizer, added)


def _cut_state(
    name: str, change: ParameterChange, state: Mapping[str, Any]
) -> dict[str, Any]:
    assert change.old is not None
    cut = {}
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == change.old.shape:
            value = change.take(value)
        elif isinstance(value, Tensor) and value.numel() > 1 and change.kept:
            raise ValueError(
                f"The state {key!r} of {name!r} has shape {tuple(value.shape)}, and "
                f"the parameter {tuple(change.old.shape)}: how to cut it is not known. "
                f"Make a new optimizer."
            )
        cut[key] = value
    return cut


def _groups_after(text: str | None, moved: Sequence[ParameterChange]) -> str | None:
    """The same groups on the new shapes."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    joined = len(words) > 1
    after = []
    for k, change in enumerate(moved):
        word = words[k if joined else 0]
        match = re.fullmatch(r"(dim(\d+)/(?:\d+x)?)(\d+)", word)
        if match is not None and int(match[2]) in change.kept:
            assert change.old is not None
            layout = parse_layout(word, tuple(change.old.shape))
            stacked, _, block = layout.parts
            kept = change.kept[int(match[2])]
            number = len(kept) // (stacked * block)
            blocks = torch.unique(kept // block)
            if len(kept) % (stacked * block) or len(blocks) != stacked * number:
                raise ValueError(
                    f"groups={word!r} of {change.name!r}: parts of blocks were cut, "
                    f"so the blocks are gone. Make a new optimizer with other groups."
                )
            word = f"{match[1]}{number}"
        try:
            parse_layout(word, tuple(change.new.shape))
        except ValueError as error:
            raise ValueError(
                f"The groups no longer fit {change.name!r}: {error}. Make a new "
                f"optimizer with other groups."
            ) from None
        after.append(word)
    if joined:
        return ",".join(after)
    if len(set(after)) > 1:
        raise ValueError(
            f"groups={text!r} would have to be {sorted(set(after))} for the tensors of "
            f"one param group. Make a new optimizer with one param group for each."
        )
    return after[0] if after else text


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
