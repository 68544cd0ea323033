"""Networks of other widths in files: weights, and numbers that say what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["load_pruned", "save_network", "structure_of"]

FORMAT = 1


def structure_of(
    model: nn.Module, widths: Mapping[str, Mapping[str, int]], **more: Any
) -> dict[str, Any]:
    """What differs from the network before, in numbers and strings.

    Parameters
    ----------
    model : torch.nn.Module
    widths : dict of str to dict of str to int
        Attributes of modules that changed.
    **more
        Further entries.
    """
    modules = dict(model.named_modules())
    state = model.state_dict()
    return {
        "format": FORMAT,
        "types": {name: type(modules[name]).__name__ for name in widths},
        "widths": {name: dict(values) for name, values in widths.items()},
        "shapes": {name: list(tensor.shape) for name, tensor in state.items()},
        **more,
    }


def save_network(
    folder: str | Path, model: nn.Module, structure: Mapping[str, Any]
) -> None:
    """Write ``weights.pt`` and ``structure.json``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "weights.pt")
    text = json.dumps(structure, indent=1)
    (folder / "structure.json").write_text(text, encoding="utf-8")


def load_pruned(
    model: nn.Module, folder: str | Path, *, map_location: Any = None
) -> nn.Module:
    """Read a network that `prune` or `grow` made and that was saved, without pickle.

    Parameters
    ----------
    model : torch.nn.Module
        A new network of the architecture before pruning or growing. Is changed in
        place.
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
    turn = -1 if structure.get("grown") else 1  # to which side sizes may differ
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
        wrong += [name] if any(turn * old < turn * new for old, new in sides) else []
    if wrong:
        more = ", ..." if len(wrong) > 5 else ""
        raise ValueError(
            f"The model has another architecture than the one that was pruned or "
            f"grown; they differ in {', '.join(wrong[:5])}{more}."
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
            # Laid out in memory as it was saved.
            place = {"dtype": own[name].dtype, "device": own[name].device}
            empty = torch.empty_like(state[name], **place)
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
