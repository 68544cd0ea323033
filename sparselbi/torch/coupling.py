"""The dynamics of DessiLBI around any torch optimizer, by hooks on its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ._dynamics import (
    SPLIT_NUMBERS,
    check_groups,
    check_number,
    current_duals,
    is_unstable,
    make_plain,
    new_dual,
    path_time,
    predicted_selection,
    put_back_duals,
    refuse_sparse,
    warn_unstable,
)
from ._shards import local
from .layouts import ALLOWED, GroupSet, all_factors, group_sets

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Coupling", "couple"]


def couple(
    optimizer: torch.optim.Optimizer,
    *,
    nu: float = 100.0,
    kappa: float = 1.0,
    lam: float = 1.0,
    groups: str | None = None,
    size_scaling: bool = False,
) -> Coupling:
    """Attach the selection of groups to a torch optimizer.

    The optimizer keeps its own step; around it, with W and Gamma from before the step
    and lr the learning rate of the param group::

        V     <- V + lr / (kappa * nu) * (W - Gamma)
        W     <- (step of the optimizer) - lr / nu * (W - Gamma)
        Gamma  = kappa * max(0, 1 - lam / ||V_g||) V_g

    Attached to ``SGD(lr=lr * kappa, ...)`` this is `DessiLBI` with ``lr``. Path time is
    the same: here it is the sum of ``lr / kappa``.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any optimizer with ``lr`` in its param groups: SGD, AdamW, Muon, ... Param
        groups may carry their own ``groups``, ``lam``, ``nu``, ``kappa`` and
        ``size_scaling``, as the ones that `groups_for` proposes do.
    nu, kappa, lam, groups, size_scaling
        For the param groups that do not carry them; see `DessiLBI`.

    Returns
    -------
    Coupling
        Keep it to ask for the path time, or to detach it.

    Raises
    ------
    ValueError
        For options out of range, ``groups`` that do not fit, no registered tensor, or
        an optimizer that is coupled already.
    TypeError
        If `optimizer` is not a torch optimizer, or is a `DessiLBI`.

    Warns
    -----
    UserWarning
        If the learning rate is not below nu: see the notes of `DessiLBI`.

    Notes
    -----
    The duals are in ``optimizer.state[param]["dual"]`` and the options in
    ``optimizer.param_groups``, so ``optimizer.state_dict()`` holds everything: to
    resume, build and couple as before, then ``load_state_dict``. The hooks belong to
    this one optimizer: couple a copy of it (`copy.deepcopy`, pickle) too, and it goes
    on from there.

    A closure is refused: an optimizer may call it more than once, and the coupling
    could not tell which weights its gradients belong to. Steps that a `GradScaler`
    skips, or lets the optimizer skip (``found_inf``), change nothing.

    While a step runs one copy of the registered tensors is held.

    Sharded parameters (`fully_shard`) are handled as in `DessiLBI`.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import couple
    >>> model = torch.nn.Linear(4, 3)
    >>> optimizer = torch.optim.AdamW(
    ...     [
    ...         {"params": [model.weight], "groups": "neuron"},
    ...         {"params": [model.bias]},
    ...     ],
    ...     lr=1e-3,
    ... )
    >>> coupling = couple(optimizer, nu=10.0)
    >>> model(torch.ones(2, 4)).sum().backward()
    >>> optimizer.step()
    >>> coupling.path_time
    0.001
    """
    options = {
        "nu": nu,
        "kappa": kappa,
        "lam": lam,
        "groups": groups,
        "size_scaling": size_scaling,
    }
    return Coupling(optimizer, options)


class _Part(NamedTuple):
    param: Tensor
    gap: Tensor  # W - Gamma before the step, of the piece of this process


class Coupling:
    """An optimizer that selects groups; made by `couple`.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, options: dict[str, Any]
    ) -> None:
        from .optim import DessiLBI

        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer is a {type(optimizer).__name__}, expected a "
                f"torch.optim.Optimizer (for a wrapper, the optimizer that it wraps)."
            )
        if isinstance(optimizer, DessiLBI):
            raise TypeError("DessiLBI selects groups by itself and needs no couple().")
        # A copy (deepcopy, pickle) has duals and options but no hooks: it goes on.
        if any(
            isinstance(getattr(hook, "__self__", None), Coupling)
            for hook in optimizer._optimizer_step_pre_hooks.values()
        ):
            raise ValueError(
                "The optimizer is coupled already: call remove() on its coupling first."
            )
        filled = [
            {**options, "path_time": 0.0, "n_steps": 0, **group}
            for group in optimizer.param_groups
        ]
        for index, group in enumerate(filled):
            make_plain(group)
            _check(group, index)
        if all(group["groups"] is None for group in filled):
            raise ValueError(
                f"No param group has groups, so nothing would be selected: give "
                f"groups={ALLOWED}, to couple() or in the param groups."
            )
        for group, full in zip(optimizer.param_groups, filled, strict=True):
            for name in (*options, "path_time", "n_steps"):
                group[name] = full[name]
            if group["groups"] is not None:
                as_dessilbi = {**group, "lr": _clock_rate(group)}
                if is_unstable(as_dessilbi):
                    warn_unstable(as_dessilbi)

        self.optimizer = optimizer
        self._options = options
        self._parts: list[tuple[dict[str, Any], list[_Part]]] = []
        self._loading: dict[str, Any] = {}
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
            optimizer.register_load_state_dict_pre_hook(self._before_load),
            optimizer.register_load_state_dict_post_hook(
                self._after_load, prepend=True
            ),
        ]

    def remove(self) -> None:
        """Detach: the optimizer takes its own steps again, without duals and options.

        The weights stay as they are.
        """
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for group in self.optimizer.param_groups:
            for name in (*self._options, "path_time", "n_steps"):
                group.pop(name, None)
            for param in group["params"]:
                self.optimizer.state.get(param, {}).pop("dual", None)

    @property
    def path_time(self) -> float:
        """Path time, the sum of ``lr / kappa``; the largest if param groups differ."""
        return path_time(self.optimizer)

    def predicted_selection(self) -> pd.DataFrame:
        """When groups will be selected; see `DessiLBI.predicted_selection`."""
        for index, group in enumerate(self.optimizer.param_groups):
            if self._handles:
                _fill(group, self._options, index)
        return predicted_selection(self.optimizer, _clock_rate)

    # --------------------------------------------------------------------------- hooks

    @torch.no_grad()
    def _before(self, optimizer: Any, args: Sequence[Any], kwargs: Any) -> None:
        """Remember the gaps. Nothing changes: a step that fails leaves no trace."""
        # args[0] is the optimizer itself.
        if kwargs.get("closure") is not None or any(a is not None for a in args[1:]):
            raise RuntimeError(
                "A coupled optimizer takes no closure: compute the loss, call "
                "backward(), then step(). (DessiLBI itself takes a closure.)"
            )
        self._parts = []
        owners: list[dict[str, Any]] = []
        sets: list[GroupSet] = []
        for index, group in enumerate(optimizer.param_groups):
            _fill(group, self._options, index)
            if group["groups"] is not None:
                refuse_sparse(group, index)
            for groups in group_sets(group, index):
                if any(param.grad is not None for param in groups.params):
                    owners.append(group)
                    sets.append(groups)
        duals = [current_duals(optimizer, groups) for groups in sets]
        factors = all_factors(sets, duals)
        work: dict[int, tuple[dict[str, Any], list[_Part]]] = {}
        for k, (group, groups) in enumerate(zip(owners, sets, strict=True)):
            splits = groups.split(duals[k], factors[k])
            parts = [
                _Part(param, torch.sub(local(param), split, out=split))
                for param, split in zip(groups.params, splits, strict=True)
                if param.grad is not None
            ]
            work.setdefault(id(group), (group, []))[1].extend(parts)
        self._parts = list(work.values())

    @torch.no_grad()
    def _after(self, optimizer: Any, args: Sequence[Any], kwargs: Any) -> None:
        work, self._parts = self._parts, []
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None and found_inf.item() > 0:
            return
        for group, parts in work:
            rate, nu = float(group["lr"]), group["nu"]
            for part in parts:
                state = optimizer.state[part.param]
                # Not before the first step: optimizers test for an empty state.
                if "dual" not in state:
                    state["dual"] = new_dual(part.param)
                local(state["dual"]).add_(part.gap, alpha=_clock_rate(group) / nu)
                local(part.param).add_(part.gap, alpha=-rate / nu)
            group["path_time"] += _clock_rate(group)
            group["n_steps"] += 1

    def _before_load(self, optimizer: Any, state_dict: dict[str, Any]) -> None:
        missing = [
            index
            for index, group in enumerate(state_dict["param_groups"])
            if "path_time" not in group
        ]
        if missing:
            raise ValueError(
                f"The state_dict is not that of a coupled optimizer: its param_groups "
                f"{missing} have no path_time. Load it first, then call couple()."
            )
        self._loading = dict(state_dict)

    def _after_load(self, optimizer: Any) -> None:
        saved, self._loading = self._loading, {}
        put_back_duals(optimizer, saved)
        for index, group in enumerate(optimizer.param_groups):
            check_groups(group, index)


def _clock_rate(group: Mapping[str, Any]) -> float:
    """Path time of one step, the learning rate of DessiLBI."""
    return float(group["lr"]) / group["kappa"]


def _check(group: dict[str, Any], index: int) -> None:
    if "lr" not in group:
        raise ValueError(
            f"param_groups[{index}] has no lr: the coupling needs a learning rate."
        )
    if group["groups"] is None:
        return
    for name in SPLIT_NUMBERS:
        value = float(group[name]) if isinstance(group[name], Tensor) else group[name]
        check_number({name: value}, name, least=0.0, strict=True)
    check_groups(group, index)


def _fill(group: dict[str, Any], options: dict[str, Any], index: int) -> None:
    """A param group that was added after coupling gets the options now."""
    if "path_time" in group:
        return
    full = {**options, "path_time": 0.0, "n_steps": 0, **group}
    make_plain(full)
    _check(full, index)
    group.update(full)
