"""Which groups of weights a model has: a proposal by module type, and choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from ._shards import unwrapped
from .group_table import GroupTable, Row

__all__ = ["GroupTable", "groups_for"]

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
EMBEDDING = (nn.Embedding, nn.EmbeddingBag)
RECURRENT = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}  # gates that are stacked in dim 0
TRANSFORMER = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
LEVELS = ("weight", "unit", "layer")
# Words that depend on the module; others go to the optimizer as they are.
MODULE_WORDS = ("filter", "channel", "neuron", "row", "head", "block")


def groups_for(
    model: nn.Module,
    level: str = "unit",
    *,
    lam: float | None = None,
    size_scaling: bool | None = None,
    choose: Mapping[str | tuple[str, ...], Any] | None = None,
) -> GroupTable:
    """Propose groups for the tensors of a model by the types of its modules.

    Parameters
    ----------
    model : torch.nn.Module
    level : {"weight", "unit", "layer"}, default="unit"
        What is selected. "weight": single weights. "unit": filters of convolutions,
        neurons (rows) of linear layers, heads of `torch.nn.MultiheadAttention` (rows of
        q, k, v joined with columns of the output projection), hidden neurons of
        transformer layers (rows of ``linear1`` joined with columns of ``linear2``).
        "layer": whole weight tensors.
    lam : float or None, default=None
        Penalty weight of the groups; None leaves it to the optimizer.
    size_scaling : bool or None, default=None
        Whether it is multiplied by the square root of the size of a group; None leaves
        that to the optimizer too.
    choose : dict or None
        Other groups for some tensors. A key is the name of a parameter, a pattern of
        such names (``"layer1.*"``), the name of a module (for its weight, or its heads)
        or a tuple of parameter names whose groups are joined one to one. A value is

        - a text for the optimizer (see `DessiLBI`): "element", "dim1/8", "2:4", ...;
        - "filter", "channel" (input channel), "neuron", "row" (embedding), "head": put
          into dims according to the type of the module;
        - "block", for a module: all weights of layers within it form one group;
        - None: leave dense;
        - a dict with "groups" and options of the param group: ``lam``,
          ``size_scaling``, ``lr``, ...; without "groups", those that were proposed or
          chosen before.

        Of several keys that match, the last wins.

    Returns
    -------
    GroupTable

    Raises
    ------
    ValueError
        For a name that is not in the model, a tensor that is named twice, groups that
        do not fit a tensor, or units that are no slices of one dim: input channels of
        grouped convolutions, filters of grouped transposed ones.
    TypeError
        If `model` is not a module, or has parameters without a shape yet.

    Notes
    -----
    Left dense, with the reason in the table: biases and other vectors; the last layer
    of the model at level "unit" (its units are the outputs; "last" is the order in
    which modules were registered); embeddings (rows are tokens); recurrent layers; and
    parameters of modules of unknown type. `choose` can register all of these.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import groups_for
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 6, 5), torch.nn.Flatten(), torch.nn.Linear(96, 10)
    ... )
    >>> groups_for(model)
    name         layer   groups  number  size  weights  lam  note
    0.weight     Conv2d  filter       6    25      150
    2.weight     Linear  dense                     960       last layer: its rows ...
    (2 vectors)          dense                      16
    6 groups hold 150 of 1,126 parameters (13.3%).
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}, expected a torch.nn.Module."
        )
    if level not in LEVELS:
        raise ValueError(f"level={level!r} is unknown; use one of {list(LEVELS)}.")
    model = unwrapped(model)
    names = _names(model)
    given = {"lam": lam, "size_scaling": size_scaling}
    options = {name: value for name, value in given.items() if value is not None}
    rows: dict[tuple[str, ...], Row] = {}

    def put(row: Row) -> None:
        """Add a row; a row that shared one of its tensors gives all of them back."""
        taken = set(row.names)
        for old in [key for key in rows if taken & set(key)]:
            for name in set(old) - taken:
                rows[name,] = _dense(model, name, names[name], "its partner is chosen")
            del rows[old]
        rows[row.names] = row

    for row in _proposal(model, names, level, options):
        put(row)
    for key, value in (choose or {}).items():
        if isinstance(value, Mapping) and "groups" not in value:
            named = set(_named_by(model, names, key))
            chosen = _with_options(rows.values(), named, key, value)
        else:
            chosen = _chosen(model, names, key, value, options)
        seen = [name for row in chosen for name in row.names]
        if len(seen) != len(set(seen)):
            raise ValueError(f"choose[{key!r}] names a tensor twice: {seen}.")
        for row in chosen:
            row.sets()  # raises where the groups do not fit
            put(row)
    order = {name: k for k, name in enumerate(names)}
    return GroupTable(sorted(rows.values(), key=lambda row: order[row.names[0]]))


def _names(model: nn.Module) -> dict[str, Tensor]:
    names: dict[str, Tensor] = dict(model.named_parameters())
    for name, param in names.items():
        if isinstance(param, nn.parameter.UninitializedParameter):
            raise TypeError(
                f"The parameter {name!r} has no shape yet: run the model once on a "
                f"batch, so that its lazy modules are initialized."
            )
    return names


# -------------------------------------------------------------------------- proposals


def _proposal(
    model: nn.Module, names: Mapping[str, Tensor], level: str, options: dict[str, Any]
) -> Iterator[Row]:
    """A row for every parameter, registered or dense."""
    done: set[str] = set()
    known = {id(param): name for name, param in names.items()}
    last = _last_layer(model)
    for path, module in model.named_modules():
        for row in _of_module(path, module, level, options, module is last):
            # Tied weights have one name, that of the module that comes first.
            first = tuple(known.get(id(param), "") for param in row.params)
            if first != row.names or done & set(first):
                continue
            if row.groups and not all(param.requires_grad for param in row.params):
                row = Row(row.names, row.params, row.layer, reason="frozen")
            done |= set(first)
            yield row
    for name, param in names.items():
        if name not in done:
            yield _dense(model, name, param)


def _dense(model: nn.Module, name: str, param: Tensor, reason: str = "") -> Row:
    module = model.get_submodule(_parent(name))
    reason = reason or (
        "vector" if param.ndim < 2 else "parameter of a module that is not known"
    )
    return Row((name,), (param,), type(module).__name__, reason=reason)


def _last_layer(model: nn.Module) -> nn.Module | None:
    inner = {
        id(part)
        for module in model.modules()
        if isinstance(module, (nn.MultiheadAttention, *TRANSFORMER))
        for part in module.modules()
    }
    layers = (nn.Linear, nn.Bilinear, *CONV, *TRANSPOSED)
    found = [m for m in model.modules() if isinstance(m, (*layers, *TRANSFORMER))]
    last = found[-1] if found else None
    return None if last is None or id(last) in inner else last


def _of_module(
    path: str, module: nn.Module, level: str, options: dict[str, Any], last: bool
) -> Iterator[Row]:
    """Rows for the weights of one module (not of the modules inside it)."""
    layer = type(module).__name__

    def row(kind: str, groups: str | None, *tensors: str, reason: str = "") -> Row:
        names = tuple(f"{path}.{t}" if path else t for t in tensors)
        params = tuple(module.get_parameter(t) for t in tensors)
        return Row(
            names, params, layer, kind, groups, options if groups else {}, reason
        )

    whole = {"weight": ("weight", "element"), "layer": ("layer", "tensor")}.get(level)
    if isinstance(module, nn.MultiheadAttention):
        tensors = _attention(module)
        if whole:
            yield from (row(*whole, name) for name in tensors)
        else:
            yield row("head", _heads(module), *tensors)
    elif isinstance(module, TRANSFORMER) and not whole:
        yield row("MLP neuron", "neuron,channel", "linear1.weight", "linear2.weight")
    elif isinstance(module, tuple(RECURRENT)):
        for name, param in module.named_parameters(recurse=False):
            if param.ndim > 1 and whole:
                yield row(*whole, name)
            elif param.ndim > 1:
                gates = RECURRENT.get(type(module), 1)
                text = f"dim0/{gates}x{module.hidden_size}"
                yield row("", None, name, reason=f"recurrent: units are {text!r}")
    elif isinstance(module._parameters.get("weight"), Tensor):
        if isinstance(module, EMBEDDING):
            if whole and not module.sparse:
                yield row(*whole, "weight")
            else:
                yield row("", None, "weight", reason="embedding: rows are tokens")
        elif isinstance(module, (nn.Linear, nn.Bilinear, *CONV, *TRANSPOSED)):
            if whole:
                yield row(*whole, "weight")
            elif last:
                reason = "last layer: its rows are the outputs"
                yield row("", None, "weight", reason=reason)
            else:
                try:
                    kind = "filter" if isinstance(module, CONV + TRANSPOSED) else ""
                    text = _slices(module, kind or "neuron")
                    yield row(kind or "neuron", text, "weight", reason=_note(module))
                except ValueError as error:
                    yield row("", None, "weight", reason=str(error))


def _note(module: nn.Module) -> str:
    groups = getattr(module, "groups", 1)
    if groups > 1 and groups == module.in_channels:
        return "depthwise: filters are channels"
    return f"{groups} groups of channels" if groups > 1 else ""


def _slices(module: nn.Module, word: str) -> str:
    """The dim along which the units of a module lie.

    Raises
    ------
    ValueError
        If they are not slices of one dim.
    """
    groups = getattr(module, "groups", 1)
    output = word in ("filter", "neuron", "row")
    if isinstance(module, TRANSPOSED):
        # weight: (in, out / groups, ...)
        if output and groups > 1:
            raise ValueError(
                f"transposed convolution with groups={groups}: a filter is no slice of "
                f"one dim (dim 1 counts within a group); use 'element' or 'tensor'"
            )
        return "dim1" if output else "dim0"
    # weight: (out, in / groups, ...)
    if not output and groups > 1:
        if groups == module.in_channels:
            return "dim0"  # depthwise: the filters that read channel c are dim 0
        raise ValueError(
            f"convolution with groups={groups}: an input channel is no slice of one "
            f"dim (dim 1 counts within a group); use 'filter' or 'element'"
        )
    return word


def _attention(module: nn.MultiheadAttention) -> tuple[str, ...]:
    if module.in_proj_weight is not None:
        return "in_proj_weight", "out_proj.weight"
    return "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"


def _heads(module: nn.MultiheadAttention) -> str:
    n = module.num_heads
    fused = module.in_proj_weight is not None
    return ",".join([f"dim0/3x{n}"] if fused else [f"dim0/{n}"] * 3) + f",dim1/{n}"


# ---------------------------------------------------------------------- chosen groups


def _chosen(
    model: nn.Module,
    names: Mapping[str, Tensor],
    key: str | tuple[str, ...],
    value: Any,
    options: dict[str, Any],
) -> list[Row]:
    """The rows that one entry of `choose` asks for."""
    extra: dict[str, Any] = {}
    if isinstance(value, Mapping):
        extra = {k: v for k, v in value.items() if k != "groups"}
        value = value["groups"]
    if value is not None and not isinstance(value, str):
        raise ValueError(
            f"choose[{key!r}]={value!r} must be a text such as 'filter', None, or a "
            f"dict with 'groups' and options."
        )
    options = {**options, **extra}
    if value is None:
        named = _named_by(model, names, key)
        rows = [_dense(model, name, names[name], "by choice") for name in named]
        return [replace(row, options=extra) for row in rows]
    if isinstance(key, tuple):
        _named_by(model, names, key)  # raises
        params = tuple(names[name] for name in key)
        return [Row(key, params, _layer(model, key[0]), value, value, options)]

    if key not in names and key in dict(model.named_modules()):
        return _chosen_module(model, names, key, value, options)
    matching = _named_by(model, names, key)
    rows = [
        _one(name, names[name], model.get_submodule(_parent(name)), value, options)
        for name in matching
        # A pattern means weights; a vector can be named.
        if names[name].ndim > 1 or name == key
    ]
    if not rows:
        raise ValueError(
            f"choose[{key!r}] matches only vectors ({', '.join(matching)}); name one "
            f"of them in full to register it."
        )
    return rows


def _with_options(
    rows: Iterable[Row],
    named: set[str],
    key: str | tuple[str, ...],
    options: Mapping[str, Any],
) -> list[Row]:
    """The registered rows that hold one of the tensors, with other options."""
    found = [
        replace(row, options={**row.options, **options})
        for row in rows
        if row.groups is not None and named & set(row.names)
    ]
    if not found:
        raise ValueError(
            f"choose[{key!r}] has no 'groups', and {', '.join(sorted(named))} "
            f"{'is' if len(named) == 1 else 'are'} left dense so far: give a text such "
            f"as 'filter' as 'groups', with the options {sorted(options)} beside it."
        )
    return found


def _named_by(
    model: nn.Module, names: Mapping[str, Tensor], key: str | tuple[str, ...]
) -> list[str]:
    """Names of the parameters that a key of `choose` means."""
    if isinstance(key, tuple):
        for name in key:
            if name not in names:
                _unknown(name, names)
        return list(key)
    modules = [name for name, _ in model.named_modules() if name]
    if key in modules and key not in names:
        key += ".*"
    matching = [name for name in names if fnmatchcase(name, key)]
    if not matching:
        _unknown(key, [*names, *modules])
    return matching


def _chosen_module(
    model: nn.Module,
    names: Mapping[str, Tensor],
    path: str,
    value: str,
    options: dict[str, Any],
) -> list[Row]:
    """The rows for a key that names a module."""
    module = model.get_submodule(path)
    inside = [
        name
        for name, param in names.items()
        if (name.startswith(path + ".") or not path) and param.ndim > 1
    ]
    if value == "block":
        if len(inside) < 2:
            raise ValueError(
                f"choose[{path!r}]='block' joins all weights within a module, and "
                f"{path!r} has {len(inside)}; for one weight use 'tensor'."
            )
        params = tuple(names[name] for name in inside)
        groups = ",".join(["tensor"] * len(inside))
        return [
            Row(tuple(inside), params, type(module).__name__, "block", groups, options)
        ]
    if value == "head":
        if not isinstance(module, nn.MultiheadAttention):
            raise ValueError(
                f"choose[{path!r}]='head' needs a torch.nn.MultiheadAttention, and it "
                f"is a {type(module).__name__}. Join the tensors of your attention by "
                f"name: choose={{('q.weight', 'k.weight', 'v.weight', 'o.weight'): "
                f"'dim0/8,dim0/8,dim0/8,dim1/8'}} for 8 heads."
            )
        tensors = tuple(f"{path}.{name}" for name in _attention(module))
        params = tuple(names[name] for name in tensors)
        return [
            Row(tensors, params, type(module).__name__, value, _heads(module), options)
        ]
    own = f"{path}.weight"
    if own in names:
        return [_one(own, names[own], module, value, options)]
    raise ValueError(
        f"choose[{path!r}]: the module is a {type(module).__name__} without a weight "
        f"of its own; name its parameters, as in {path + '.*'!r}, or use 'block'."
    )


def _one(
    name: str, param: Tensor, module: nn.Module, value: str, options: dict[str, Any]
) -> Row:
    if value in ("head", "block"):
        raise ValueError(f"choose[{name!r}]={value!r}: name a module, not a parameter.")
    if isinstance(module, EMBEDDING) and module.sparse:
        raise ValueError(
            f"choose[{name!r}]: the embedding makes sparse gradients, which are not "
            f"supported; build it with sparse=False."
        )
    text = value
    if value in MODULE_WORDS:
        try:
            text = _slices(module, value)
        except ValueError as error:
            raise ValueError(f"choose[{name!r}]={value!r}: {error}.") from None
    return Row((name,), (param,), type(module).__name__, value, text, options)


def _layer(model: nn.Module, name: str) -> str:
    return type(model.get_submodule(_parent(name))).__name__


def _parent(name: str) -> str:
    """The module that holds a parameter."""
    return name.rpartition(".")[0]


def _unknown(name: str, known: Any) -> None:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    some = near or list(known)[:5]
    raise ValueError(
        f"choose names {name!r}, which is no parameter or module of the model"
        f"{'; close are' if near else ', for instance'} {', '.join(map(repr, some))}."
    )
