"""Rounds of training and widening, as long as validation improves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ._coupled import checked_inputs
from ._moving import move_optimizer
from ._report import aligned
from ._saved import save_network, structure_of
from ._shards import unwrapped
from ._widening import units_of
from .full_layers import check_count, propose_widths, selected_fractions
from .growing import check_model, grow
from .masks import group_masks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GrowthReport", "GrowthRound", "grow_while_better"]


@dataclass(frozen=True)
class GrowthRound:
    """One round of training.

    Attributes
    ----------
    parameters : int
        Of the network, shared ones once.
    score : float
        On validation data, after training.
    widths : dict of str to int
        Units of all layers whose groups tell units apart.
    fractions : dict of str to float
        Share of them that was selected after training.
    grown : dict of str to int
        Layers that were widened then, and to how many units; what is tied to them grew
        along.
    """

    parameters: int
    score: float
    widths: Mapping[str, int]
    fractions: Mapping[str, float]
    grown: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GrowthReport:
    """Networks that grew while validation improved; made by `grow_while_better`.

    Attributes
    ----------
    model : torch.nn.Module
        The best by validation, as it was after its round.
    masks : dict of str to bool Tensor
        What its optimizer had selected then; for `prune`.
    rounds : tuple of GrowthRound
    best : int
        The round of `model`.
    stopped : str
        Why there was no further round.
    widths : dict of str to dict of str to int
        Attributes of modules in which `model` differs from the network at the start.
    """

    model: nn.Module = field(repr=False)
    masks: Mapping[str, Tensor] = field(repr=False)
    rounds: tuple[GrowthRound, ...]
    best: int
    stopped: str
    widths: Mapping[str, Mapping[str, int]]

    def save(self, folder: str | Path) -> None:
        """Write `model` like `Grown.save`; `load_pruned` reads it.

        It needs a network of the architecture at the start.
        """
        structure = structure_of(self.model, self.widths, grown=True)
        save_network(folder, self.model, structure)

    def to_frame(self) -> pd.DataFrame:
        """One row per round: ``parameters``, ``score``, ``best`` and ``grown``.

        ``grown`` says which layers were widened after the round, as text.
        """
        import pandas as pd

        table = pd.DataFrame(
            {
                "parameters": [row.parameters for row in self.rounds],
                "score": [row.score for row in self.rounds],
                "best": [k == self.best for k in range(len(self.rounds))],
                "grown": [
                    ", ".join(
                        f"{n}: {row.widths[n]} -> {w}" for n, w in row.grown.items()
                    )
                    for row in self.rounds
                ],
            }
        )
        table.index.name = "round"
        return table

    def layer_frame(self) -> pd.DataFrame:
        """One row per round and layer: ``round``, ``name``, ``width``, ``fraction``."""
        import pandas as pd

        return pd.DataFrame(
            [
                (k, name, width, row.fractions[name])
                for k, row in enumerate(self.rounds)
                for name, width in row.widths.items()
            ],
            columns=["round", "name", "width", "fraction"],
        )

    def __repr__(self) -> str:
        first = self.rounds[0].widths
        moved = [
            name
            for name in first
            if any(r.widths[name] != first[name] for r in self.rounds)
        ]
        lines = [["round", "parameters", "score", *moved]]
        for k, row in enumerate(self.rounds):
            cells = [f"{row.widths[n]} ({row.fractions[n]:.0%})" for n in moved]
            lines.append([str(k), f"{row.parameters:,}", f"{row.score:.4g}", *cells])
        text = [
            f"Growth, {len(self.rounds)} round(s); the best by validation is round "
            f"{self.best}. Stopped: {self.stopped}.",
            *aligned(lines),
        ]
        if moved:
            text.append("Columns of layers: units (share that was selected).")
        return "\n".join(text)


def grow_while_better(
    model: nn.Module,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    train: Callable[[nn.Module, torch.optim.Optimizer], Any],
    evaluate: Callable[[nn.Module], float],
    example_inputs: Tensor | Sequence[Tensor],
    *,
    threshold: float | Mapping[str, float] = 0.8,
    factor: float = 1.1,
    at_least: int = 4,
    layers: Sequence[str] | None = None,
    max_width: int | None = None,
    max_rounds: int = 10,
    patience: int = 1,
    min_gain: float = 0.0,
    generator: torch.Generator | None = None,
) -> GrowthReport:
    """Train and widen in turns, as long as the score on validation data improves.

    Parameters
    ----------
    model : torch.nn.Module
        The network to begin with, a small one. Is left as it is.
    make_optimizer : callable
        Gets a network and returns `DessiLBI` or an optimizer that is coupled already.
        Is called once: the state moves along when the network grows.
    train : callable
        Gets the network and the optimizer, and trains for one round. It must not change
        the architecture.
    evaluate : callable
        Gets a network and returns a number, larger is better (minus a loss, say). It
        decides when to stop and which network is kept, so use validation data, never
        test data.
    example_inputs : Tensor or sequence of Tensor
        As for `grow`.
    threshold, factor, at_least, layers, max_width
        Which layers grow, and how far; see `widths_to_grow`.
    max_rounds : int, default=10
        Rounds of training at most.
    patience : int, default=1
        Stop after this many rounds in a row whose score does not exceed the best before
        by more than `min_gain`.
    min_gain : float, default=0
    generator : torch.Generator or None
        For the weights of new units.

    Returns
    -------
    GrowthReport
        With ``model``, the best network by validation, ``rounds``, and ``stopped``:
        "no layer is above the threshold", "no layer above the threshold can be
        widened", "the layers above the threshold have max_width", "validation did not
        improve for <patience> rounds" or "max_rounds".

    Raises
    ------
    TypeError
        For functions that cannot be called or return something else.
    ValueError
        For numbers out of range, or an optimizer that selects no groups of the network.
    RuntimeError
        If `evaluate` returns something not finite; or as `grow` does.

    Notes
    -----
    The optimizer is that of the last round, not of ``model``: to tune the best network
    further, make a new one (`hold_masks` keeps what was not selected at zero). A
    recorder has to be made anew in every round, in `train`.

    References
    ----------
    .. [1] Y. Fu, C. Liu, D. Li, X. Sun, J. Zeng, Y. Yao. DessiLBI: Exploring structural
       sparsity of deep networks via differential inclusion paths. ICML 2020.

    Examples
    --------
    >>> from sparselbi.torch import DessiLBI, grow_while_better, groups_for
    >>> report = grow_while_better(  # doctest: +SKIP
    ...     small_network,
    ...     lambda network: DessiLBI(groups_for(network), lr=0.1, momentum=0.9),
    ...     train_ten_epochs,
    ...     validation_accuracy,
    ...     images[:8],
    ... )
    >>> report.model, report.stopped  # doctest: +SKIP
    """
    for name, call in (
        ("make_optimizer", make_optimizer),
        ("train", train),
        ("evaluate", evaluate),
    ):
        if not callable(call):
            raise TypeError(f"{name}={call!r} must be a function.")
    check_count("max_rounds", max_rounds)
    check_count("patience", patience)
    if not isinstance(min_gain, (int, float)) or not 0 <= min_gain < math.inf:
        raise ValueError(f"min_gain={min_gain!r} must be a finite number >= 0.")
    check_model(model)
    inputs = checked_inputs(example_inputs)
    rule = (threshold, factor, at_least, layers, max_width)
    network = copy.deepcopy(unwrapped(model))
    optimizer = make_optimizer(network)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"make_optimizer returned a {type(optimizer).__name__}, expected a "
            f"torch.optim.Optimizer (not the Coupling: its optimizer)."
        )
    # Raises before the first round what would be raised after it.
    propose_widths(network, selected_fractions(network, optimizer), *rule, None)
    rounds: list[GrowthRound] = []
    best = -1
    kept: tuple[nn.Module, Mapping[str, Tensor], dict[str, dict[str, int]]]
    widths: dict[str, dict[str, int]] = {}
    waited, stopped = 0, ""
    while True:
        train(network, optimizer)
        score = _score(evaluate, network)
        fractions = selected_fractions(network, optimizer)
        row = GrowthRound(
            sum(param.numel() for param in network.parameters()),
            score,
            {name: units_of(network, name) for name in fractions},
            fractions,
        )
        rounds.append(row)
        if best < 0 or score > rounds[best].score + min_gain:
            best, waited = len(rounds) - 1, 0
            # Growing makes a copy: this network is not trained further.
            kept = network, group_masks(network, optimizer), copy.deepcopy(widths)
        else:
            waited += 1
        if waited == patience:
            many = "rounds" if patience > 1 else "round"
            stopped = f"validation did not improve for {patience} {many}"
            break
        if len(rounds) == max_rounds:
            stopped = "max_rounds"
            break
        wanted, stopped = propose_widths(network, fractions, *rule, inputs)
        if not wanted:
            break
        grown = grow(network, wanted, inputs, generator=generator)
        move_optimizer(optimizer, grown)
        rounds[-1] = replace(row, grown=wanted)
        for name, values in grown.widths.items():
            widths.setdefault(name, {}).update(values)
        network = grown.model
    return GrowthReport(kept[0], kept[1], tuple(rounds), best, stopped, kept[2])


def _score(evaluate: Callable[[nn.Module], float], network: nn.Module) -> float:
    score = evaluate(network)
    try:
        number = float(score)
    except (TypeError, ValueError):
        raise TypeError(
            f"evaluate returned a {type(score).__name__}, expected a number."
        ) from None
    if not math.isfinite(number):
        raise RuntimeError(
            f"evaluate returned {number}: the network cannot be compared. Lower the "
            f"learning rate, or let train stop earlier."
        )
    return number
