"""Winning tickets: the weights that enter early, trained again from the start."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from ._choice import check_masks, check_not_sharded, choose_masks, mask_weights
from ._report import aligned
from ._shards import local, piece_of, reshard, unwrapped

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TicketReport", "hold_masks", "ticket"]

WORDS = ("reinitialize", "keep")


@contextmanager
def hold_masks(
    model: nn.Module, masks: Mapping[str, Tensor], *, allow_empty: bool = False
) -> Iterator[Mapping[str, Tensor]]:
    """Within the context, weights outside of the masks are zero and stay zero.

    Parameters
    ----------
    model : torch.nn.Module
    masks : dict of str to bool Tensor
        True where a weight is trained.
    allow_empty : bool, default=False
        Whether nothing may be left of a tensor.

    Yields
    ------
    dict of str to bool Tensor
        The masks.

    Raises
    ------
    ValueError
        If a mask does not fit, or leaves nothing of a tensor without `allow_empty`.

    Notes
    -----
    Their gradients become zero as they arrive, so norms for clipping count only what is
    trained; and after every step of a torch optimizer that holds one of the tensors
    they are set to zero again, whatever its momentum or weight decay did. What is
    written to the weights otherwise is not undone.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import hold_masks
    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    >>> with hold_masks(model, {"weight": torch.tensor([[True, False, True]])}):
    ...     model(torch.ones(2, 3)).sum().backward()
    ...     optimizer.step()
    >>> model.weight[0, 1].item()
    0.0
    """
    check_masks(model, masks, allow_empty)
    with _held(model, masks):
        yield masks


@contextmanager
def _held(model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    model = unwrapped(model)
    reshard(model)
    params = {name: model.get_parameter(name) for name in masks}
    outside = {id(params[n]): ~piece_of(mask, params[n]) for n, mask in masks.items()}

    def at(param: Tensor) -> Tensor:
        # The model may have moved to another device.
        mask = outside[id(param)]
        if mask.device != param.device:
            mask = outside[id(param)] = mask.to(param.device)
        return mask

    def clean_gradient(param: Tensor) -> None:
        if param.grad is not None and param.grad.layout == torch.strided:
            local(param.grad).masked_fill_(at(param), 0)

    @torch.no_grad()
    def clean_weights(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for param in group["params"]:
                if id(param) in outside:
                    local(param).masked_fill_(at(param), 0)

    mask_weights(model, masks)
    for param in params.values():
        clean_gradient(param)
    handles: list[Any] = [
        param.register_post_accumulate_grad_hook(clean_gradient)
        for param in params.values()
        if param.requires_grad
    ]
    handles.append(register_optimizer_step_post_hook(clean_weights))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class TicketReport:
    """A network that was trained with a mask; made by `ticket`.

    Attributes
    ----------
    model : torch.nn.Module
        Trained; weights outside of the masks are exactly zero.
    masks : dict of str to bool Tensor
    start : str
        "rewind", "reinitialize" or "keep".
    result : object
        What ``train`` returned.
    scores : dict of str to float
        What ``evaluate`` returned for the network that was given ("given"), before
        training ("start") and after it ("end"); empty without ``evaluate``.
    """

    model: nn.Module = field(repr=False)
    masks: Mapping[str, Tensor] = field(repr=False)
    start: str
    result: Any = field(default=None, repr=False)
    scores: Mapping[str, float] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """One row per masked tensor: ``name``, ``weights``, ``kept``, ``share``."""
        import pandas as pd

        kept = [int(mask.sum()) for mask in self.masks.values()]
        table = pd.DataFrame(
            {
                "name": list(self.masks),
                "weights": [mask.numel() for mask in self.masks.values()],
                "kept": kept,
            }
        )
        table["share"] = table["kept"] / table["weights"]
        return table

    @property
    def ratio(self) -> float:
        """Parameters of the network (biases counted) by those that are not masked."""
        total = sum(param.numel() for param in self.model.parameters())
        masked = sum(int((~mask).sum()) for mask in self.masks.values())
        return total / (total - masked) if total > masked else math.inf

    def __repr__(self) -> str:
        lines = [["tensor", "weights", "kept", "share"]]
        for _, name, weights, kept, share in self.to_frame().itertuples():
            lines.append([name, f"{weights:,}", f"{kept:,}", f"{share:.1%}"])
        text = [
            f"Ticket ({self.start}), {self.ratio:.2f} times fewer parameters.",
            *aligned(lines),
        ]
        if self.scores:
            scores = (f"{name} {value:.4g}" for name, value in self.scores.items())
            text.append(f"Scores: {', '.join(scores)}.")
        return "\n".join(text)


def ticket(
    model: nn.Module | Callable[[], nn.Module],
    masks: Any,
    train: Callable[[nn.Module], Any],
    *,
    start: Mapping[str, Any] | str,
    at: float | None = None,
    keep: float | int | Mapping[str, float | int] | None = None,
    order: str = "entry",
    evaluate: Callable[[nn.Module], float] | None = None,
    allow_empty: bool = False,
) -> TicketReport:
    """Train what an early point of the path selects, from the start and with its mask.

    Parameters
    ----------
    model : torch.nn.Module or callable
        The network, which is left as it is (a copy is trained, without the wrapper of
        DistributedDataParallel or `torch.compile`); or a function without arguments
        that returns a new one.
    masks : dict of str to bool Tensor, PathRecorder, or optimizer
        As for `prune`, with `at` and `keep`.
    train : callable
        Gets the network and trains it, with an optimizer of its own making. Masked
        weights stay zero meanwhile; see `hold_masks`.
    start : dict, "reinitialize" or "keep"
        The weights to begin with: a ``state_dict`` to rewind to (of the whole network,
        norms included; take a copy of it when training begins), new random ones, or
        those of `model` as it is. With a function, "reinitialize" and "keep" are what
        it returns.
    at, keep, order
        See `prune`.
    evaluate : callable or None
        Gets a network and returns a number for the report; use validation data.
    allow_empty : bool, default=False
        Whether nothing may be left of a tensor.

    Returns
    -------
    TicketReport
        With the trained ``model`` and the ``masks``; `prune` makes it smaller.

    Raises
    ------
    TypeError
        If `model` or `train` cannot be called, or the function returns no module.
    ValueError
        For masks or a `start` that do not fit the model, or a module without
        ``reset_parameters`` that has to be reinitialized.
    RuntimeError
        If `train` replaced masked weights, or changed them without an optimizer.

    Notes
    -----
    Random numbers are those of torch: call `torch.manual_seed` before.

    References
    ----------
    .. [1] J. Frankle, M. Carbin. The lottery ticket hypothesis: finding sparse,
       trainable neural networks. ICLR 2019.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import ticket
    >>> model = torch.nn.Linear(3, 1)
    >>> first = {name: value.clone() for name, value in model.state_dict().items()}
    >>> def train(network):
    ...     optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    ...     for _ in range(5):
    ...         optimizer.zero_grad()
    ...         network(torch.ones(2, 3)).square().mean().backward()
    ...         optimizer.step()
    >>> mask = torch.tensor([[True, False, False]])
    >>> ticket(model, {"weight": mask}, train, start=first)
    Ticket (rewind), 2.00 times fewer parameters.
    tensor  weights  kept  share
    weight        3     1  33.3%
    """
    if not callable(train):
        raise TypeError(f"train={train!r} must be a function of the network.")
    if isinstance(start, str) and start not in WORDS:
        raise ValueError(
            f"start={start!r} must be 'reinitialize', 'keep', or a state_dict to "
            f"rewind to."
        )
    given = unwrapped(model) if isinstance(model, nn.Module) else None
    check_not_sharded(given)
    network = model() if given is None else copy.deepcopy(given)
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"model() returned a {type(network).__name__}, expected a torch.nn.Module."
        )
    network = unwrapped(network)
    masks = choose_masks(network, masks, at, keep, allow_empty, order)
    scores = {}
    if evaluate is not None and given is not None:
        scores["given"] = float(evaluate(given))
    if isinstance(start, str):
        if start == "reinitialize" and given is not None:
            _reinitialize(network)
    else:
        _rewind(network, start)
    with _held(network, masks):
        if evaluate is not None:
            scores["start"] = float(evaluate(network))
        result = train(network)
    params = dict(network.named_parameters())
    for name, mask in masks.items():
        param = params.get(name)
        shape = None if param is None else tuple(param.shape)
        if param is None or shape != tuple(mask.shape):
            raise RuntimeError(
                f"train replaced the masked parameter {name!r} (shape {shape} now, the "
                f"mask has {tuple(mask.shape)}): change weights in place only."
            )
        if torch.count_nonzero(param.detach()[~mask.to(param.device)]):
            raise RuntimeError(
                f"Masked weights of {name!r} are not zero after train: they were "
                f"written to outside of the step of a torch optimizer, or replaced."
            )
    if evaluate is not None:
        scores["end"] = float(evaluate(network))
    word = start if isinstance(start, str) else "rewind"
    return TicketReport(network, masks, word, result, scores)


def _rewind(network: nn.Module, start: Mapping[str, Any]) -> None:
    own = network.state_dict()
    for name in [*own, *start]:
        if name not in start or name not in own:
            where = "start" if name not in start else "the model"
            raise ValueError(
                f"start does not fit the model: {name!r} is missing in {where}. Give a "
                f"copy of model.state_dict() from when training began."
            )
        if start[name].shape != own[name].shape:
            raise ValueError(
                f"start does not fit the model: {name!r} has shape "
                f"{tuple(start[name].shape)} there and {tuple(own[name].shape)} here."
            )
    network.load_state_dict(start)


def _reinitialize(network: nn.Module) -> None:
    for path, part in network.named_modules():
        own = [*part._parameters.values(), *part._buffers.values()]
        reset = getattr(part, "reset_parameters", None) or getattr(
            part, "_reset_parameters", None
        )
        if reset is not None:
            reset()
        elif any(isinstance(tensor, nn.Parameter) for tensor in own):
            raise ValueError(
                f"The module {path or 'model'!r} ({type(part).__name__}) has "
                f"parameters and no reset_parameters(): give a function that makes a "
                f"new network instead of the model, or a state_dict as start."
            )
