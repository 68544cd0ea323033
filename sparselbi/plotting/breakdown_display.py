"""How often methods find the outliers, along one property of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._path_checks import check_choice
from ._layout import COLORS, LINE_STYLES, label_ends, panels, settle

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

QUANTITIES = {
    "recovered": "outliers recovered\n(share of data sets)",
    "masking": "masking\n(share of outliers missed)",
    "swamping": "swamping\n(share of clean rows flagged)",
}
_LABELS = {"share": "share of outliers", "ratio": "shift / leverage"}
# Normal quantile of the error bars: 95 %.
_WIDTH = 1.959963984540054


class BreakdownDisplay:
    """Recovery, masking or swamping of several methods, with error bars.

    Draw with `from_study`; the object that it returns can `plot` again with other
    options.

    Parameters
    ----------
    study : DataFrame
        One line for each method, value and repetition: columns ``method``, ``value``
        and those that are drawn, such as the result of
        `sparselbi.datasets.breakdown_study`.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for each quantity, from the top down.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    lines_ : dict of (str, str) to Line2D
        Means of a quantity, by quantity and method.
    bars_ : dict of (str, str) to ndarray of shape (2, n_values)
        Lower and upper ends of the error bars.

    Raises
    ------
    ValueError
        If a column is missing, or there are no lines.

    Examples
    --------
    >>> import pandas as pd
    >>> from sparselbi.plotting import BreakdownDisplay
    >>> found = [True] * 20 + [True] * 12 + [False] * 8
    >>> values = [0.1] * 20 + [0.4] * 20
    >>> study = pd.DataFrame({"method": "hard", "value": values, "recovered": found})
    >>> display = BreakdownDisplay.from_study(study)
    >>> display.lines_["recovered", "hard"].get_ydata()
    array([1. , 0.6])
    """

    ax_: Any
    axes_: NDArray[Any]
    figure_: Any
    lines_: dict[tuple[str, str], Any]
    bars_: dict[tuple[str, str], NDArray[np.float64]]

    def __init__(self, study: pd.DataFrame) -> None:
        missing = [c for c in ("method", "value") if c not in study.columns]
        if missing:
            raise ValueError(
                f"study has the columns {list(study.columns)}, but not {missing}; give "
                "a table such as that of sparselbi.datasets.breakdown_study."
            )
        if not len(study):
            raise ValueError("study has no lines; there is nothing to draw.")
        self.study = study

    @classmethod
    def from_study(
        cls, study: pd.DataFrame, *, ax: Any = None, **options: Any
    ) -> BreakdownDisplay:
        """Draw a table of results.

        Parameters
        ----------
        study : DataFrame
            See `BreakdownDisplay`.
        ax, **options
            See `plot`.

        Returns
        -------
        BreakdownDisplay
        """
        return cls(study).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        quantity: str | Sequence[str] = "recovered",
        xlabel: str | None = None,
        log: bool = False,
    ) -> BreakdownDisplay:
        """Draw one panel for each quantity.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None
            None makes a figure. For several quantities a single Axes is divided.
        quantity : {"recovered", "masking", "swamping"} or a list of these
        xlabel : str, default=None
            What the values are; None takes it from ``study.attrs["vary"]``.
        log : bool, default=False
            Logarithmic horizontal axis.

        Returns
        -------
        BreakdownDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If a quantity is unknown or not in the study, or `log` is asked for values
            that are not positive.

        Notes
        -----
        Error bars are 95 % intervals: Wilson's for the share of data sets, the mean
        plus and minus 1.96 standard errors for masking and swamping (within [0, 1]).
        Repetitions without outliers (or clean rows) do not count. Methods are shifted
        sideways a little, so that their bars can be told apart.
        """
        quantities = [quantity] if isinstance(quantity, str) else list(quantity)
        for name in quantities:
            check_choice("quantity", name, tuple(QUANTITIES))
            if name not in self.study.columns:
                raise ValueError(
                    f"study has the columns {list(self.study.columns)}, but not "
                    f"{name!r}."
                )
        if not quantities:
            raise ValueError(f"quantity is empty; give one of {list(QUANTITIES)}.")
        values = np.unique(self.study["value"].to_numpy(dtype=np.float64))
        if log and values[0] <= 0:
            raise ValueError(f"log=True needs positive values, got {values[0]:g}.")
        n = len(quantities)
        axes = panels(ax, [1.0] * n, (8.0, 4.2 if n == 1 else 1.0 + 2.6 * n))
        self.lines_, self.bars_ = {}, {}
        for panel, name in zip(axes, quantities, strict=True):
            self._draw(panel, name, values, log)
        vary = self.study.attrs.get("vary", "value")
        axes[-1].set_xlabel(_LABELS.get(vary, vary) if xlabel is None else xlabel)
        settle(axes[0])
        for panel, name in zip(axes, quantities, strict=True):
            label_ends(panel, self._ends(name))
        self.ax_, self.axes_ = axes[0], np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        return self

    def _methods(self) -> list[str]:
        return list(dict.fromkeys(self.study["method"]))

    def _draw(
        self, ax: Axes, quantity: str, values: NDArray[np.float64], log: bool
    ) -> None:
        place = np.log(values) if log else values
        step = np.diff(place).min() if len(place) > 1 else 1.0
        methods = self._methods()
        # All together take a fifth of the distance between two values.
        shifts = 0.2 * step * (np.arange(len(methods)) - (len(methods) - 1) / 2)
        for rank, (method, shift) in enumerate(
            zip(methods, shifts / max(len(methods), 1), strict=True)
        ):
            mine = self.study[self.study["method"] == method]
            at = mine["value"].to_numpy(dtype=np.float64)
            result = mine[quantity].to_numpy(dtype=np.float64)
            own = np.unique(at[~np.isnan(result)])
            groups = [result[(at == v) & ~np.isnan(result)] for v in own]
            means = np.array([group.mean() for group in groups])
            ends = np.array([_interval(g, quantity) for g in groups]).reshape(-1, 2).T
            across = np.exp(np.log(own) + shift) if log else own + shift
            look: dict[str, Any] = {"color": COLORS[rank % 10]}
            ax.vlines(across, *ends, lw=1.0, **look)
            look |= {"ls": LINE_STYLES[rank // 10 % 4], "marker": "o", "ms": 4}
            (line,) = ax.plot(across, means, lw=1.5, label=method, **look)
            self.lines_[quantity, method], self.bars_[quantity, method] = line, ends
        if log:
            ax.set_xscale("log")
            ax.set_xticks(values, [f"{v:g}" for v in values])
            ax.minorticks_off()
        top = 1.0
        if quantity != "recovered":
            top = max(ends.max(initial=0.01) for ends in self._bars(quantity))
        ax.set_ylim(-0.03 * top, 1.03 * top)
        ax.set_ylabel(QUANTITIES[quantity])

    def _bars(self, quantity: str) -> list[NDArray[np.float64]]:
        return [ends for (name, _), ends in self.bars_.items() if name == quantity]

    def _ends(self, quantity: str) -> list[Any]:
        return [
            (method, tuple(line.get_xydata()[-1]), line.get_color())
            for (name, method), line in self.lines_.items()
            if name == quantity and len(line.get_xdata())
        ]


def _interval(result: NDArray[np.float64], quantity: str) -> tuple[float, float]:
    """95 % interval of the mean of some repetitions."""
    n, mean = len(result), float(result.mean())
    if quantity != "recovered":
        half = _WIDTH * float(result.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
        return max(mean - half, 0.0), min(mean + half, 1.0)
    z = _WIDTH**2 / n
    center = (mean + z / 2) / (1 + z)
    half = math.sqrt(z * mean * (1 - mean) + z**2 / 4) / (1 + z)
    # Rounding must not part them from a mean of 0 or 1.
    return min(max(center - half, 0.0), mean), max(min(center + half, 1.0), mean)
