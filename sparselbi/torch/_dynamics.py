"""What DessiLBI and coupled optimizers share: checks, the dual's storage, the clock."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ._shards import is_sharded
from .layouts import GroupSet, all_sets, group_sets, names_of

if TYPE_CHECKING:
    import pandas as pd

LOW_PRECISION = (torch.bfloat16, torch.float16)


# ------------------------------------------------------------------------------ checks


def check_known(group: Any, defaults: Mapping[str, Any]) -> None:
    """Refuse options that would be ignored, which torch does not."""
    if not isinstance(group, dict):
        return  # torch says what is wrong
    own = {"params", "param_names", "initial_lr", "max_lr", "min_lr", "max_momentum"}
    own |= {"base_momentum", "swa_lr"}
    unknown = [name for name in group if name not in defaults and name not in own]
    if unknown:
        raise ValueError(
            f"A param group has the unknown options {unknown}; use "
            f"{[name for name in defaults if name not in ('path_time', 'n_steps')]}."
        )


def check_distinct(groups: Sequence[Mapping[str, Any]], new: Any) -> None:
    """Refuse a tensor that is in two param groups, or twice in one, by name."""
    if not isinstance(new, dict) or isinstance(new.get("params"), set):
        return
    params = new["params"]
    new["params"] = [params] if isinstance(params, Tensor) else list(params)
    seen = {
        id(param): name
        for index, group in enumerate(groups)
        for name, param in zip(names_of(group, index), group["params"], strict=True)
    }
    for i, entry in enumerate(new["params"]):
        name, param = entry if isinstance(entry, tuple) else (None, entry)
        name = name or f"param_groups[{len(groups)}].params[{i}]"
        if id(param) in seen:
            raise ValueError(
                f"The tensor {name!r} is registered already, as {seen[id(param)]!r}: a "
                f"tensor belongs to one param group. Shared (tied) weights are one "
                f"tensor; list them once."
            )
        seen[id(param)] = name


def make_plain(group: dict[str, Any]) -> None:
    """Turn numpy's numbers into Python's: `torch.load` refuses those in checkpoints."""
    for name, value in group.items():
        if isinstance(value, np.generic):
            group[name] = value.item()


def check_options(group: Mapping[str, Any], index: int) -> None:
    """Raise unless the options of a param group make sense together."""
    if isinstance(group["lr"], Tensor):
        raise TypeError(
            f"lr={group['lr']!r} must be a float: path time is the sum of the learning "
            f"rates, and param groups hold only numbers and strings. Use float(lr)."
        )
    positive = ("lr", "kappa") if group["groups"] is None else SPLIT_NUMBERS
    for name in positive:
        check_number(group, name, least=0.0, strict=True)
    for name in ("momentum", "weight_decay"):
        check_number(group, name, least=0.0)
    check_number(group, "dampening", least=-math.inf)
    if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
        raise ValueError(
            f"nesterov=True needs momentum > 0 and dampening = 0, got "
            f"momentum={group['momentum']} and dampening={group['dampening']}."
        )
    check_groups(group, index)


SPLIT_NUMBERS = ("lr", "kappa", "nu", "lam")


def check_number(
    group: Mapping[str, Any], name: str, least: float, strict: bool = False
) -> None:
    value = group[name]
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not (good and math.isfinite(value) and value >= least) or (
        strict and value == least
    ):
        bound = f" {'>' if strict else '>='} {least:g}" if least > -math.inf else ""
        raise ValueError(f"{name}={value!r} must be a finite number{bound}.")


def check_groups(group: Mapping[str, Any], index: int) -> None:
    """Raise unless ``groups`` of a param group fits its tensors."""
    text = group["groups"]
    if text is not None and not isinstance(text, str):
        raise ValueError(
            f"groups={text!r} must be a string such as 'filter', or None for tensors "
            f"that are left dense."
        )
    if text is None:
        return
    for name, param in zip(names_of(group, index), group["params"], strict=True):
        if not param.is_floating_point():
            raise TypeError(
                f"The tensor {name!r} has dtype {param.dtype}; only real floating "
                f"point tensors can be registered. Give it groups=None."
            )
        if getattr(param, "_fsdp_flattened", False):
            raise ValueError(
                f"The tensor {name!r} is a flat piece of FullyShardedDataParallel, "
                f"which has lost its groups: use torch.distributed.fsdp.fully_shard "
                f"instead."
            )
        if param.numel() == 0:
            raise ValueError(f"The tensor {name!r} is empty: shape {param.shape}.")
    group_sets(group, index)  # raises


def refuse_sparse(group: Mapping[str, Any], index: int) -> None:
    for name, param in zip(names_of(group, index), group["params"], strict=True):
        if param.grad is not None and param.grad.layout != torch.strided:
            raise RuntimeError(
                f"The gradient of {name!r} is sparse ({param.grad.layout}), which is "
                f"not supported: use torch.nn.Embedding(..., sparse=False), or another "
                f"optimizer for this tensor."
            )


def is_unstable(group: Mapping[str, Any]) -> bool:
    return group["lr"] * group["kappa"] >= group["nu"]


def warn_unstable(group: Mapping[str, Any]) -> None:
    lr, kappa, nu = group["lr"], group["kappa"], group["nu"]
    warnings.warn(
        f"lr * kappa = {lr * kappa:g} is not below nu = {nu:g}: the gap between the "
        f"weights and the split weights of a selected group cannot shrink, and the "
        f"iteration is unstable. Use lr < {nu / kappa:g}, or a larger nu.",
        stacklevel=4,
    )


# ---------------------------------------------------------------------------- the dual


def new_dual(param: Tensor) -> Tensor:
    """Zeros that follow the tensor's device and layout, in float32 at least."""
    dtype = torch.float32 if param.dtype in LOW_PRECISION else param.dtype
    return torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)


def current_duals(optimizer: torch.optim.Optimizer, groups: GroupSet) -> list[Tensor]:
    """The duals of a set of groups, zeros before the first step."""
    duals = []
    for name, param in zip(groups.names, groups.params, strict=True):
        dual = optimizer.state.get(param, {}).get("dual")
        duals.append(new_dual(param) if dual is None else dual)
        check_shape(name, param, duals[-1])
    return duals


def check_shape(name: str, param: Tensor, dual: Tensor) -> None:
    if param.shape != dual.shape or param.device != dual.device:
        raise RuntimeError(
            f"The tensor {name!r} has shape {tuple(param.shape)} on {param.device}, "
            f"and its dual {tuple(dual.shape)} on {dual.device}: the model was changed "
            f"after the optimizer was made. Make a new optimizer for it."
        )


def load_with_duals(
    optimizer: torch.optim.Optimizer,
    load: Callable[[dict[str, Any]], None],
    state_dict: dict[str, Any],
) -> None:
    """Load a state; put back the duals, which torch rounds to the dtype of the weights.

    torch converts all floating state but "step" to the dtype of its parameter.
    """
    seen: dict[str, Any] = {}
    # Hooks of the user may change the state dict: keep what they leave.
    keep = optimizer.register_load_state_dict_pre_hook(
        lambda _, state: seen.update(state)
    )
    restore = optimizer.register_load_state_dict_post_hook(
        lambda _: put_back_duals(optimizer, seen), prepend=True
    )
    try:
        load(state_dict)
    finally:
        keep.remove()
        restore.remove()
    for index, group in enumerate(optimizer.param_groups):
        if group.get("groups") is not None:
            check_groups(group, index)


def put_back_duals(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    for group, old in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        for param, key in zip(group["params"], old["params"], strict=True):
            dual = saved["state"].get(key, {}).get("dual")
            if dual is None:
                continue
            if is_sharded(dual) != is_sharded(param):
                raise ValueError(
                    "The saved state is of a sharded model and the model is not, or "
                    "the other way round. Save and load with get_optimizer_state_dict "
                    "and set_optimizer_state_dict of "
                    "torch.distributed.checkpoint.state_dict, with "
                    "StateDictOptions(full_state_dict=True)."
                )
            if dual.shape != param.shape:
                raise ValueError(
                    f"The saved dual has shape {tuple(dual.shape)}, its tensor "
                    f"{tuple(param.shape)}: the state is that of another model."
                )
            fresh = new_dual(param)
            fresh.copy_(dual)
            optimizer.state[param]["dual"] = fresh


# --------------------------------------------------------------------------- the clock


def path_time(optimizer: torch.optim.Optimizer) -> float:
    """The largest path time of the registered param groups."""
    times = [
        group["path_time"]
        for group in optimizer.param_groups
        if group.get("groups") is not None and "path_time" in group
    ]
    if not times:
        raise RuntimeError(
            f"The optimizer ({type(optimizer).__name__}) selects no groups now, so it "
            f"has no path time: its coupling was removed."
        )
    return max(times)


@torch.no_grad()
def predicted_selection(
    optimizer: torch.optim.Optimizer,
    clock_rate: Callable[[Mapping[str, Any]], float],
) -> pd.DataFrame:
    """See `DessiLBI.predicted_selection`; `clock_rate` is the path time of a step."""
    import pandas as pd

    rows = []
    for groups in all_sets(optimizer):
        options, limit = groups.options, groups.threshold
        duals = current_duals(optimizer, groups)
        inside = groups.selected(duals)
        # Where ||V + s W|| = limit for fixed W; then s = t / nu.
        weights = groups.norms(groups.params).double()
        dual = groups.norms(duals).double()
        sums = [v + w for v, w in zip(duals, groups.params, strict=True)]
        inner = (groups.norms(sums).double().square() - dual**2 - weights**2) / 2
        rest = limit**2 - dual**2
        root = (inner**2 + weights**2 * rest).clamp(min=0).sqrt()
        wait = rest / (inner + root)
        if groups.layouts[0].kind == "n:m":  # others of their block keep some out
            wait[rest < 0] = math.inf
        wait = wait[~inside] * options["nu"]
        soon = wait.min().item() if len(wait) else math.nan
        middle = wait.median().item() if len(wait) else math.nan
        rate = clock_rate(options)
        per_step = 1 / rate if rate else math.inf  # a schedule that begins or ends at 0
        rows.append(
            {
                "name": groups.name,
                "groups": groups.kind,
                "n_groups": groups.n_groups,
                "n_selected": int(inside.sum()),
                "first_time": options["path_time"] + soon,
                "median_time": options["path_time"] + middle,
                "first_step": options["n_steps"] + soon * per_step,
                "median_step": options["n_steps"] + middle * per_step,
            }
        )
    return pd.DataFrame(rows)
