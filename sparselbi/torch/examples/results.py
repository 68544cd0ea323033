"""What the examples report: a table of two networks, figures, the small network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..pruning import Pruned, load_pruned
from ..recorder import PathRecorder

__all__ = ["results_table", "save_figures", "save_results"]

PANELS = 12


def results_table(
    pruned: Pruned, scores: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """Size, speed and scores of a dense network and the small one.

    Parameters
    ----------
    pruned : Pruned
        Has the sizes of both.
    scores : dict of str to pair of float
        Name of a score -> its values for the dense and the small network.

    Returns
    -------
    pandas.DataFrame
        Rows "dense" and "sparse"; columns ``parameters``, ``macs`` (of one sample),
        ``ms`` (latency of the example inputs), then the scores.
    """
    sizes = (pruned.report.before, pruned.report.after)
    columns: dict[str, list[float]] = {
        "parameters": [size.parameters for size in sizes],
        "macs": [size.macs for size in sizes],
        "ms": [1e3 * size.latency for size in sizes],
    }
    columns |= {name: list(values) for name, values in scores.items()}
    return pd.DataFrame(columns, index=["dense", "sparse"])


def save_results(
    folder: str | Path,
    table: pd.DataFrame,
    pruned: Pruned,
    recorder: PathRecorder,
    twin: nn.Module,
    example: Tensor,
) -> None:
    """Write the table, the small network and two figures of the path to a folder.

    Parameters
    ----------
    folder : str or Path
        Is made if it is missing. Gets ``table.csv``, ``network/``, ``fractions.png``
        and ``paths.png``.
    table : pandas.DataFrame
    pruned : Pruned
    recorder : PathRecorder
    twin : torch.nn.Module
        A new network of the architecture before pruning; becomes the small one.
    example : Tensor
        Input on which the network that was read again must agree.

    Raises
    ------
    RuntimeError
        If it does not.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "table.csv")
    pruned.save(folder / "network")
    again = load_pruned(twin, folder / "network").to(example.device)
    with torch.no_grad():
        same = torch.equal(again.eval()(example), pruned.model.eval()(example))
    if not same:
        raise RuntimeError(f"The network in {folder / 'network'} is another one.")
    save_figures(folder, recorder)


def save_figures(folder: str | Path, recorder: PathRecorder) -> None:
    """Write ``fractions.png`` and ``paths.png`` to a folder that exists.

    The first shows the share of selected groups of each set, the second their norms,
    for as many sets as a figure has room for, evenly spaced.
    """
    import matplotlib.pyplot as plt

    from ...plotting import LayerFractionDisplay, LayerPathDisplay

    n = len(recorder.names)
    some = [recorder.names[k * n // min(n, PANELS)] for k in range(min(n, PANELS))]
    displays: dict[str, Any] = {
        "fractions": LayerFractionDisplay.from_recorder(recorder),
        "paths": LayerPathDisplay.from_recorder(recorder, some),
    }
    for name, display in displays.items():
        display.figure_.savefig(Path(folder) / f"{name}.png", bbox_inches="tight")
        plt.close(display.figure_)
