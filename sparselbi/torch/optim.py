"""DessiLBI as a `torch.optim.Optimizer`.

The readable loop is `_single_tensor`; `_blocked`, `_multi_tensor` and `_compiled` are
the same step for speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softshrink
from torch.optim.sgd import sgd

from ._dynamics import (
    check_distinct,
    check_known,
    check_options,
    check_shape,
    is_unstable,
    load_with_duals,
    make_plain,
    new_dual,
    path_time,
    predicted_selection,
    refuse_sparse,
    warn_unstable,
)
from ._shards import is_sharded, local, local_gradient
from .layouts import ALLOWED, GroupSet, all_factors, group_sets

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DessiLBI"]

BLOCK = 256 * 1024  # elements per thread; what a step touches of them stays in a cache


class DessiLBI(torch.optim.Optimizer):
    r"""SGD with momentum that selects groups of weights while it trains.

    With the loss L, weights W, split weights Gamma and group norms, DessiLBI follows
    the linearized Bregman (inverse scale space) dynamics of

    .. math::
        L(W) + \frac{1}{2\nu} \|W - \Gamma\|^2,
        \qquad \Omega(\Gamma) = \sum_g \lambda_g \|\Gamma_g\|.

    One step, with everything on the right-hand sides old and d the gradient after
    weight decay and momentum, exactly as in `torch.optim.SGD`::

        V     <- V + lr / nu * (W - Gamma)
        W     <- W - lr * kappa * (d + (W - Gamma) / nu)
        Gamma  = kappa * max(0, 1 - lam / ||V_g||) V_g

    Gamma starts at zero, and groups become nonzero one after the other as path time
    t = sum of lr goes on: important ones early. Gamma is a function of the dual V and
    not stored: one tensor per registered tensor is kept beyond SGD with momentum.
    Tensors without groups follow plain SGD with learning rate ``lr * kappa``.

    Parameters
    ----------
    params : iterable
        Parameters, named parameters, or param groups as for every torch optimizer; all
        options below can differ between param groups. Param groups that register
        tensors have ``groups``; `groups_for` proposes them for a model.
    lr : float
        Step size, positive. Not a tensor: path time is the sum of the learning rates.
    kappa : float, default=1
        Damping; the learning rate of the weights is ``lr * kappa``.
    nu : float, default=100
        Splitting. ``1 / nu`` acts as weight decay on what is not selected, and the time
        of the first selection is proportional to ``nu * lam``.
    lam : float, default=1
        Penalty weight of the groups: a group is selected when the norm of its dual
        exceeds it. Scales the clock and nothing else before the first selection.
    groups : str or None, default=None
        What a group is: ``"element"``, ``"tensor"``, ``"filter"``, ``"neuron"`` or
        ``"row"`` (slices of dim 0), ``"channel"`` (slices of dim 1), ``"dim1"`` (slices
        of any dim), ``"dim0/8"`` (8 equal blocks of slices: heads), ``"dim0/3x8"`` (the
        same in 3 stacked parts: a fused q, k, v) or ``"2:4"`` (at most 2 of 4
        consecutive inputs). The words for units are not for vectors, unless joined with
        a matrix. Texts with commas, one per tensor of the param group, join the groups
        of these tensors one to one. None leaves the tensors to plain SGD.
    size_scaling : bool, default=False
        Multiply `lam` by the square root of the number of weights in a group, which
        makes the selection depend on their root mean square.
    momentum, dampening, weight_decay, nesterov, maximize
        As in `torch.optim.SGD`. Momentum and weight decay see the gradient of the loss,
        not the coupling.
    foreach : bool or None, default=None
        False: the plain loop over tensors. True or None: the fast step (blocks that fit
        the cache on a CPU, batched kernels elsewhere); tensors that it cannot take
        (low precision, tensor subclasses, "n:m" groups) are left to the loop.
    compile : bool, default=False
        Compile the update with `torch.compile` (the group norms stay eager). The first
        step then takes some seconds. Do not wrap ``step`` into `torch.compile`.

    Raises
    ------
    ValueError
        For options out of range, ``groups`` that do not fit their tensors, a tensor in
        two param groups, or if no tensor is registered; for shards, see the notes.
    TypeError
        If `lr` is a tensor, or a registered tensor is not of floating point.

    Warns
    -----
    UserWarning
        If ``lr * kappa >= nu``: see the notes.

    Notes
    -----
    *Stability.* With Lip the largest curvature of the loss, plain steps (no momentum)
    are stable if ``lr * kappa * (Lip + 2 / nu) < 2``. Once a group is selected the
    step multiplies its gap W - Gamma by ``1 - 2 * lr * kappa / nu`` (flat loss), so
    ``lr * kappa >= nu`` certainly fails; groups that are not selected only need
    ``lr * kappa < 2 * nu``.

    *Clock.* While Gamma_g = 0 a group with norm ||W_g|| is selected at about t = nu *
    lam / ||W_g||: see `predicted_selection`. A decay of `lr` slows the clock by the
    same factor. Late on the path everything is selected and Gamma tends to W: stopping
    early, or masking, is the regularization.

    *Precision.* The dual of a bfloat16 or float16 weight is kept in float32, also over
    `state_dict` and `load_state_dict`: increments of 1e-5 vanish in bfloat16.

    *Several processes.* With `DistributedDataParallel` every process takes the same
    step. With `torch.distributed.fsdp.fully_shard`, give the parameters after sharding;
    duals are sharded as they are. Groups that lie whole on a process (weights, rows
    sharded along dim 0) cost no communication, all the others one sum of their norms
    per step. Then `step` and `predicted_selection` must be called by all processes, and
    checkpoints go through `get_optimizer_state_dict` and `set_optimizer_state_dict` of
    ``torch.distributed.checkpoint.state_dict``. Not supported, and refused when the
    tensors are registered: pieces that are not runs of consecutive slices (tensor
    parallelism together with `fully_shard`), "n:m" blocks that are cut apart, groups
    joined from sharded and whole tensors, and `FullyShardedDataParallel`.

    References
    ----------
    .. [1] Y. Fu, C. Liu, D. Li, X. Sun, J. Zeng, Y. Yao. DessiLBI: Exploring structural
       sparsity of deep networks via differential inclusion paths. ICML 2020.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import DessiLBI
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 1))
    >>> optimizer = DessiLBI(
    ...     [
    ...         {"params": [("0.weight", model[0].weight)], "groups": "neuron"},
    ...         {"params": [("0.bias", model[0].bias), *model[1].named_parameters()]},
    ...     ],
    ...     lr=0.1,
    ...     nu=20,
    ... )
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (model(torch.ones(2, 4)) - 1).square().mean()
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> optimizer.path_time
    0.1
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        kappa: float = 1.0,
        nu: float = 100.0,
        *,
        lam: float = 1.0,
        groups: str | None = None,
        size_scaling: bool = False,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        compile: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "kappa": kappa,
            "nu": nu,
            "lam": lam,
            "groups": groups,
            "size_scaling": size_scaling,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "compile": compile,
            "path_time": 0.0,
            "n_steps": 0,
        }
        self._warned = False
        super().__init__(params, defaults)
        if not any(group["groups"] is not None for group in self.param_groups):
            raise ValueError(
                "No param group has groups, so nothing would be selected: give "
                f"groups={ALLOWED}, or let sparselbi.torch.groups_for(model) propose "
                "param groups. For plain training use torch.optim.SGD."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_warned", False)

    # -------------------------------------------------------------------- registration

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a param group, with ``groups`` to register its tensors."""
        check_known(param_group, self.defaults)
        check_distinct(self.param_groups, param_group)
        super().add_param_group(param_group)
        make_plain(self.param_groups[-1])
        try:
            check_options(self.param_groups[-1], len(self.param_groups) - 1)
        except (TypeError, ValueError):
            del self.param_groups[-1]
            raise
        self._check_stability(self.param_groups[-1])

    def _check_stability(self, group: dict[str, Any]) -> None:
        if self._warned or group["groups"] is None:
            return
        if is_unstable(group):
            self._warned = True
            warn_unstable(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned; duals keep their own precision.

        Raises
        ------
        ValueError
            If it is the state of another optimizer or does not fit the parameters.
        """
        for group in state_dict["param_groups"]:
            if "groups" not in group or "nu" not in group:
                raise ValueError(
                    "The state_dict has no groups and nu in its param_groups: it is "
                    "the state of another optimizer, not of DessiLBI."
                )
        load_with_duals(self, super().load_state_dict, state_dict)

    # ----------------------------------------------------------------------- one step

    # Traced as a whole, norms and update would be one graph, which breaks torch's CPU
    # compiler (2.13), and every new path time would be another one.
    @torch._disable_dynamo
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step.

        Parameters
        ----------
        closure : callable or None
            Clears the gradients, computes the loss, calls ``backward`` and returns the
            loss.

        Returns
        -------
        The loss that `closure` returned, or None.

        Raises
        ------
        RuntimeError
            If a gradient is sparse, or a registered tensor has changed its shape. No
            tensor has moved then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work = self._prepare()
        compiled: list[_Job] = []
        for group, jobs in zip(self.param_groups, work, strict=True):
            if group["groups"] is None:
                self._plain_step(group)
            elif jobs:
                compiled += self._split_step(group, jobs)
                group["path_time"] += group["lr"]
                group["n_steps"] += 1
        if compiled:
            self._compiled_step(compiled)
        return loss

    def _prepare(self) -> list[list[_Job]]:
        """What there is to do for the registered tensors, per param group."""
        found: list[tuple[int, GroupSet, list[Tensor]]] = []
        for index, group in enumerate(self.param_groups):
            self._check_stability(group)
            refuse_sparse(group, index)
            for groups in group_sets(group, index):
                if any(param.grad is not None for param in groups.params):
                    duals = list(map(self._dual, groups.names, groups.params))
                    found.append((index, groups, duals))
        # Before any dual moves, and for all of them with one sum over processes.
        factors = all_factors([f[1] for f in found], [f[2] for f in found])
        jobs: list[list[_Job]] = [[] for _ in self.param_groups]
        for (index, groups, duals), spread in zip(found, factors, strict=True):
            jobs[index] += self._jobs_of(groups, duals, spread)
        return jobs

    def _jobs_of(
        self, groups: GroupSet, duals: list[Tensor], factors: list[Tensor] | None
    ) -> list[_Job]:
        jobs = []
        for i, param in enumerate(groups.params):
            if param.grad is None:
                continue
            buffer, new = None, False
            if groups.options["momentum"] != 0:
                buffer = self.state[param].get("momentum_buffer")
                new = buffer is None
            job = _Job(
                groups,
                local(param),
                local_gradient(param),
                local(buffer),
                new,
                local(duals[i]),
                factors[i] if factors else None,
                param,
            )
            jobs.append(job)
        return jobs

    def _dual(self, name: str, param: Tensor) -> Tensor:
        state = self.state[param]
        if "dual" not in state:
            state["dual"] = new_dual(param)
        check_shape(name, param, state["dual"])
        return state["dual"]

    def _plain_step(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        momentum = group["momentum"]
        buffers = [
            self.state[p].get("momentum_buffer") if momentum else None for p in params
        ]
        grads: list[Any] = [p.grad for p in params]
        settled = not momentum or all(buffer is not None for buffer in buffers)
        pieces = settled and any(is_sharded(p) for p in params)
        sgd(
            # New buffers must be sharded as the gradients are; later, pieces are fast.
            list(map(local, params)) if pieces else params,
            list(map(local_gradient, params)) if pieces else grads,
            list(map(local, buffers)) if pieces else buffers,
            lr=group["lr"] * group["kappa"],
            foreach=group["foreach"],
            **{name: group[name] for name in SGD_OPTIONS},
        )
        if momentum and not settled:
            for param, buffer in zip(params, buffers, strict=True):
                self.state[param]["momentum_buffer"] = buffer

    def _split_step(self, group: dict[str, Any], jobs: list[_Job]) -> list[_Job]:
        """Step the registered tensors of a group; return those to step compiled."""
        for i, job in enumerate(jobs):
            if job.new:
                buffer = torch.empty_like(job.whole)
                self.state[job.whole]["momentum_buffer"] = buffer
                jobs[i] = job._replace(buffer=local(buffer))
        if group["foreach"] is False and not group["compile"]:
            _single_tensor(jobs)
            return []
        _single_tensor([job for job in jobs if _needs_loop(job)])
        fast = [job for job in jobs if not _needs_loop(job)]
        # Buffers without content would make another graph, for one step only.
        if group["compile"] and not any(job.new for job in fast):
            return fast
        if all(job.param.device.type == "cpu" for job in fast):
            _blocked(fast)
        else:
            _multi_tensor(fast)
        return []

    def _compiled_step(self, jobs: list[_Job]) -> None:
        if not hasattr(self, "_compiled"):
            # torch counts graphs per code object: one of its own per optimizer.
            copy = FunctionType(_update.__code__.replace(), _update.__globals__)
            self._compiled = torch.compile(copy, dynamic=False)
        options = [job.groups.options for job in jobs]
        rates = [[o["lr"] / o["nu"], o["lr"] * o["kappa"]] for o in options]
        self._compiled(
            [job.param for job in jobs],
            [job.grad for job in jobs],
            [job.buffer for job in jobs],
            [job.dual for job in jobs],
            [job.factor for job in jobs],
            # As a tensor, so that a scheduler does not cause compilation anew.
            torch.tensor(rates, dtype=torch.float64).unbind(),
            [job.groups.threshold for job in jobs],
            [{name: o[name] for name in UPDATE_OPTIONS} for o in options],
        )

    # ------------------------------------------------------------------------ reports

    @property
    def path_time(self) -> float:
        """Path time: the sum of the learning rates of the steps so far.

        If they differ between the registered param groups, the largest.
        """
        return path_time(self)

    def predicted_selection(self) -> pd.DataFrame:
        """When the first groups will be selected if the weights stay as they are.

        Returns
        -------
        pandas.DataFrame
            One row per set of groups: ``name``, ``groups`` (their kind), ``n_groups``,
            ``n_selected`` (now), ``first_time``, ``median_time`` (path times at which
            the next group, and the median of those not yet selected, is selected;
            NaN if none is left, inf if it never is), ``first_step``, ``median_step``
            (steps from the start at the present learning rate).

        Notes
        -----
        For a new optimizer ``first_time`` is nu * lam / max ||W_g||. It is an estimate,
        too early where weights shrink (not yet selected, they decay at the rate
        kappa / nu) and too late where they grow.
        """
        return predicted_selection(self, lambda group: group["lr"])


SGD_OPTIONS = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
UPDATE_OPTIONS = ("kappa", "nu", *SGD_OPTIONS)


# --------------------------------------------------------------------- implementations


class _Job(NamedTuple):
    """One registered tensor in one step; of a sharded one, the piece held here."""

    groups: GroupSet
    param: Tensor
    grad: Tensor
    buffer: Tensor | None
    new: bool  # the buffer has no content yet
    dual: Tensor
    factor: Tensor | None  # split = factor * dual; None: element by element
    whole: Tensor  # as registered


def _single_tensor(jobs: Sequence[_Job]) -> None:
    """The reference: one tensor after the other, in the words of the class."""
    for job in jobs:
        group = job.groups.options
        lr, kappa, nu = group["lr"], group["kappa"], group["nu"]
        if job.factor is None:
            (split,) = job.groups.split([job.dual])
        else:
            split = job.factor * job.dual
        gap = job.param - split
        direction = _direction(job.param, job.grad, job.buffer, job.new, group)
        job.dual.add_(gap, alpha=lr / nu)
        if gap.dtype == job.param.dtype:
            job.param.add_(direction, alpha=-lr * kappa)
            job.param.add_(gap, alpha=-lr * kappa / nu)
        else:  # low precision: add up first, round once
            job.param.add_(gap.div_(nu).add_(direction), alpha=-lr * kappa)


def _direction(
    param: Tensor,
    grad: Tensor,
    buffer: Tensor | None,
    new: bool,
    group: Mapping[str, Any],
) -> Tensor:
    """The gradient after weight decay and momentum, as in `torch.optim.SGD`."""
    if group["maximize"]:
        grad = -grad
    if group["weight_decay"] != 0:
        grad = grad.add(param, alpha=group["weight_decay"])
    if buffer is None:
        return grad
    if new:
        buffer.copy_(grad)
    else:
        buffer.mul_(group["momentum"]).add_(grad, alpha=1 - group["dampening"])
    return grad.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer


def _blocked(jobs: Sequence[_Job]) -> None:
    """The loop over blocks of slices of dim 0 that fit the cache, with one scratch."""
    scratch: dict[torch.dtype, Tensor] = {}
    for job in jobs:
        group, param = job.groups.options, job.param
        lr, kappa, nu = group["lr"], group["kappa"], group["nu"]
        rows = len(param) if param.ndim else 0
        block_size = BLOCK * torch.get_num_threads()
        step = max(1, block_size * rows // max(param.numel(), 1))
        blocks = [job] if step >= rows else _cut(job, step)
        size = blocks[0].param.numel()
        if param.dtype not in scratch or len(scratch[param.dtype]) < size:
            scratch[param.dtype] = torch.empty(size, dtype=param.dtype)
        for block in blocks:
            gap = scratch[param.dtype][: block.param.numel()].view(block.param.shape)
            if block.factor is None:
                limit = job.groups.threshold
                softshrink(block.dual, limit, out=gap)  # type: ignore[call-arg]
                torch.sub(block.param, gap, alpha=kappa, out=gap)
            else:
                torch.addcmul(block.param, block.dual, block.factor, value=-1, out=gap)
            block.dual.add_(gap, alpha=lr / nu)
            _sgd_step(block)
            block.param.add_(gap, alpha=-lr * kappa / nu)


def _cut(job: _Job, length: int) -> list[_Job]:
    """A job in parts of so many slices of dim 0."""
    names = ("param", "grad", "buffer", "dual", "factor")
    columns = [
        # A factor that is the same for all slices is not cut.
        repeat(t) if t is None or len(t) == 1 else t.split(length)
        for t in (getattr(job, name) for name in names)
    ]
    return [
        job._replace(**dict(zip(names, parts, strict=True)))
        for parts in zip(*columns, strict=False)
    ]


def _sgd_step(job: _Job) -> None:
    """What `torch.optim.SGD` does to the weights, in one pass where it can be."""
    group, buffer = job.groups.options, job.buffer
    rate = group["lr"] * group["kappa"]
    tensors = [job.param, job.grad] + ([] if buffer is None else [buffer])
    # The kernel goes through memory and does not look at strides.
    if all(tensor.is_contiguous() for tensor in tensors):
        torch._fused_sgd_(
            [job.param],
            [job.grad],
            tensors[2:],
            lr=rate,
            is_first_step=job.new,
            **{name: group[name] for name in SGD_OPTIONS},
        )
    else:
        direction = _direction(job.param, job.grad, buffer, job.new, group)
        job.param.add_(direction, alpha=-rate)


def _multi_tensor(jobs: Sequence[_Job]) -> None:
    """The step on lists of tensors, for few kernel launches; all of one param group."""
    kinds = {_kind(job) for job in jobs}
    if len(kinds) > 1:
        for kind in kinds:
            _multi_tensor([job for job in jobs if _kind(job) == kind])
        return
    group = jobs[0].groups.options
    lr, kappa, nu = group["lr"], group["kappa"], group["nu"]
    params, duals = [job.param for job in jobs], [job.dual for job in jobs]
    if jobs[0].factor is None:
        limits = [job.groups.threshold for job in jobs]
        # Gamma is kappa times what the dual has beyond [-limit, limit].
        gaps = torch._foreach_clamp_min(duals, [-limit for limit in limits])
        torch._foreach_clamp_max_(gaps, limits)
        torch._foreach_sub_(gaps, duals)
        if kappa != 1:
            torch._foreach_mul_(gaps, kappa)
        torch._foreach_add_(gaps, params)
    else:
        factors: Any = [job.factor for job in jobs]
        gaps = torch._foreach_addcmul(params, duals, factors, value=-1)

    grads: Any = [job.grad for job in jobs]
    if group["maximize"]:
        grads = torch._foreach_neg(grads)
    if group["weight_decay"] != 0:
        grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
    if group["momentum"] != 0:
        buffers: Any = [job.buffer for job in jobs]
        if jobs[0].new:
            torch._foreach_copy_(buffers, grads)
        else:
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, grads, alpha=1 - group["dampening"])
        if group["nesterov"]:
            grads = torch._foreach_add(grads, buffers, alpha=group["momentum"])
        else:
            grads = buffers

    torch._foreach_add_(duals, gaps, alpha=lr / nu)
    torch._foreach_add_(params, grads, alpha=-lr * kappa)
    torch._foreach_add_(params, gaps, alpha=-lr * kappa / nu)


def _kind(job: _Job) -> tuple[Any, ...]:
    return job.param.device, job.param.dtype, job.factor is None, job.new


def _update(params, grads, buffers, duals, factors, rates, limits, options):
    """What is compiled: all registered tensors; the norms are in the factors."""
    for i, (param, dual) in enumerate(zip(params, duals, strict=True)):
        kappa, nu = options[i]["kappa"], options[i]["nu"]
        if factors[i] is None:
            split = kappa * (dual - dual.clamp(-limits[i], limits[i]))
        else:
            split = factors[i] * dual
        gap = param - split
        direction = _direction(param, grads[i], buffers[i], False, options[i])
        dual_rate, rate = rates[i]
        dual.add_(gap * dual_rate)
        param.sub_((direction + gap / nu) * rate)


def _needs_loop(job: _Job) -> bool:
    """Whether only the plain loop can take this tensor."""
    return (
        job.dual.dtype != job.param.dtype
        or job.groups.layouts[0].kind == "n:m"
        or type(job.param) not in (Tensor, torch.nn.Parameter)
        or job.grad.dtype != job.param.dtype
    )
