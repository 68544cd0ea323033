"""What a smaller network saves: parameters, MACs, bytes and time, as measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LayerChange", "Measures", "PruneReport", "latency", "measure"]


@dataclass(frozen=True)
class Measures:
    """Size and speed of one network.

    Attributes
    ----------
    parameters : int
        All of them, biases and norms included; shared ones once.
    nonzero : int
        Those that are not zero.
    bytes : int
        Of the file that ``torch.save(model.state_dict(), file)`` writes.
    macs : float
        Multiplications with addition in matrix products, convolutions and attention,
        for one sample; NaN without example inputs.
    latency : float
        Median seconds of one forward pass, of all samples at once; NaN if not measured.
    """

    parameters: int
    nonzero: int
    bytes: int
    macs: float = float("nan")
    latency: float = float("nan")


@dataclass(frozen=True)
class LayerChange:
    """Units (filters, neurons) of one layer.

    Attributes
    ----------
    name, layer : str
        Name of the module, and its type.
    before, after : int
        Units it had and has.
    zero : int
        Units that are left although all their weights are zero.
    note : str
        Why they are left.
    """

    name: str
    layer: str
    before: int
    after: int
    zero: int = 0
    note: str = ""


@dataclass(frozen=True)
class PruneReport:
    """A network before and after pruning.

    Attributes
    ----------
    before, after : Measures
    layers : tuple of LayerChange
        Layers that lost units, or could have.
    batch_size : int or None
        Samples in one timed forward pass.
    repeats, threads : int
    device : str
    difference : float
        Largest absolute difference between the outputs, on the example inputs, of the
        masked network and the result; NaN without example inputs.
    """

    before: Measures
    after: Measures
    layers: tuple[LayerChange, ...] = ()
    batch_size: int | None = None
    repeats: int = 0
    threads: int = 1
    device: str = "cpu"
    difference: float = float("nan")

    def to_frame(self) -> pd.DataFrame:
        """Rows ``parameters``, ``nonzero``, ``bytes``, ``macs`` and ``latency``.

        Columns ``before``, ``after`` and ``ratio``, before / after.
        """
        import pandas as pd

        names = list(Measures.__dataclass_fields__)
        table = pd.DataFrame(
            {
                side: [float(getattr(values, name)) for name in names]
                for side, values in (("before", self.before), ("after", self.after))
            },
            index=pd.Index(names, name="quantity"),
        )
        table["ratio"] = table["before"] / table["after"]
        return table

    def layer_frame(self) -> pd.DataFrame:
        """One row per layer, with the attributes of `LayerChange` as columns."""
        import pandas as pd

        columns = list(LayerChange.__dataclass_fields__)
        rows = [[getattr(row, name) for name in columns] for row in self.layers]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        table = self.to_frame()
        formats: dict[str, Callable[[float], str]] = {
            "latency": lambda value: f"{value * 1e3:.3g} ms"
        }
        lines = [["", "before", "after", "ratio"]]
        for name, before, after, ratio in table.itertuples():
            if np.isnan(after):
                continue
            write = formats.get(name, lambda value: f"{value:,.0f}")
            lines.append([name, write(before), write(after), f"{ratio:.2f}"])
        text = aligned(lines)
        if not np.isnan(self.after.latency):
            text.append(
                f"Latency: median of {self.repeats} forward passes at batch size "
                f"{self.batch_size}, {self.threads} thread(s), {self.device}."
            )
        if not np.isnan(self.difference):
            text.append(f"Outputs differ by {self.difference:.2g} from the masked net.")
        if self.layers:
            lines = [["layer", "type", "before", "after", "zero", "note"]]
            lines += [
                [r.name, r.layer, f"{r.before:,}", f"{r.after:,}", str(r.zero), r.note]
                for r in self.layers
            ]
            text += aligned(lines, left=(0, 1, 5))
        return "\n".join(text)


def aligned(lines: list[list[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of a table; the columns `left` begin at the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


# ---------------------------------------------------------------------------- measures


def measure(model: nn.Module, inputs: tuple[Tensor, ...] | None) -> Measures:
    """All measures but the latency, for which see `latency`."""
    params = list(model.parameters())
    return Measures(
        parameters=sum(p.numel() for p in params),
        nonzero=sum(int(torch.count_nonzero(p.detach())) for p in params),
        bytes=file_size(model),
        macs=float("nan") if inputs is None else count_macs(model, inputs),
    )


class _Counter:
    """A file that only counts."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        return size

    def flush(self) -> None:
        pass


def file_size(model: nn.Module) -> int:
    """Bytes of the saved ``state_dict``."""
    file: Any = _Counter()
    torch.save(model.state_dict(), file)
    return file.size


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """In evaluation mode, and as it was before for every module afterwards.

    The fused path of transformer layers is off: it hides products from counters and
    modules from hooks.
    """
    modes = [(part, part.training) for model in models for part in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for model in models:
            model.eval()
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, mode in modes:
            part.training = mode


def count_macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Multiplications with addition for one sample."""
    from torch.utils.flop_counter import FlopCounterMode

    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() / 2 / inputs[0].shape[0]


def latency(
    models: Sequence[nn.Module], inputs: tuple[Tensor, ...], repeats: int
) -> list[float]:
    """Median seconds of a forward pass of each model, in turns."""
    times = np.zeros((repeats + 2, len(models)))
    wait = _waiting(inputs[0].device)
    modes = [(part, part.training) for model in models for part in model.modules()]
    try:
        for model in models:
            model.eval()
        with torch.inference_mode():
            for row in times:
                for k, model in enumerate(models):
                    wait()
                    start = time.perf_counter()
                    model(*inputs)
                    wait()
                    row[k] = time.perf_counter() - start
    finally:
        for part, mode in modes:
            part.training = mode
    return np.median(times[2:], axis=0).tolist()  # the first two warm up


def _waiting(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None
