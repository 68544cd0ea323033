"""How much of each layer of a network is selected, over path time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ._layout import COLORS, FONT_SIZE, label_ends, panels, settle, shortened
from ._network_sets import Clock, chosen_names, names_by_depth, short_name, x_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From so many sets on, colours are a scale of depth.
_MANY = 11
# Names beside line ends; of more sets, names are on the scale.
_MOST_LABELS = 24
_LIGHTEST = 0.92


class LayerFractionDisplay:
    """Share of selected groups of each layer over path time, in percent.

    Draw with `from_recorder`, or from arrays: ``LayerFractionDisplay(...).plot()``.

    Parameters
    ----------
    times : array-like of shape (n_times,)
        Path times, increasing.
    fractions : dict of str to array-like of shape (n_times,)
        Share of selected groups (0 to 1) by set of groups, from the first layer of the
        network to the last.
    steps : array-like of shape (n_times,), default=None
        Training steps at these times.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
    colorbar_ : matplotlib Colorbar or None
        The scale of depth, for more than 24 sets.

    Raises
    ------
    ValueError
        If lengths differ, times do not increase, or shares are not between 0 and 1.

    See Also
    --------
    LayerPathDisplay : Norms of single groups.

    Examples
    --------
    >>> from sparselbi.plotting import LayerFractionDisplay
    >>> shares = {"conv1": [0, 0.5, 1], "conv2": [0, 0, 0.2]}
    >>> display = LayerFractionDisplay([0, 1, 2], shares).plot()
    >>> display.lines_["conv2"].get_ydata().tolist()
    [0.0, 0.0, 20.0]
    """

    ax_: Any
    figure_: Any
    lines_: dict[str, Any]
    colorbar_: Any

    def __init__(
        self,
        times: ArrayLike,
        fractions: Any,
        *,
        steps: ArrayLike | None = None,
    ) -> None:
        self.times = np.asarray(times, dtype=np.float64)
        n = len(self.times)
        if self.times.ndim != 1 or n == 0 or (np.diff(self.times) <= 0).any():
            raise ValueError(
                f"times of shape {self.times.shape} must be path times that increase."
            )
        self.steps = None if steps is None else np.asarray(steps, dtype=np.float64)
        if self.steps is not None and self.steps.shape != (n,):
            raise ValueError(
                f"steps has shape {self.steps.shape}, expected ({n},), one for each of "
                "the times."
            )
        self.fractions = {
            str(name): np.asarray(share, dtype=np.float64)
            for name, share in dict(fractions).items()
        }
        if not self.fractions:
            raise ValueError("fractions is empty; give the shares of at least one set.")
        for name, share in self.fractions.items():
            if share.shape != (n,) or not ((share >= 0) & (share <= 1)).all():
                raise ValueError(
                    f"fractions[{name!r}] of shape {share.shape} must be {n} numbers "
                    "between 0 and 1, one for each of the times."
                )

    @classmethod
    def from_recorder(
        cls,
        recorder: Any,
        names: str | Iterable[str] | None = None,
        *,
        ax: Any = None,
        **options: Any,
    ) -> LayerFractionDisplay:
        """Draw what a recorder has seen up to its last look.

        Parameters
        ----------
        recorder : PathRecorder
        names : str or sequence of str, default=None
            Sets of groups, or patterns of their names (``"layer1.*"``). None: all.
            They are drawn in the order of the layers of the model (if the recorder has
            one).
        ax, **options
            See `plot`.

        Returns
        -------
        LayerFractionDisplay

        Raises
        ------
        ValueError
            If a name is not recorded.
        """
        known = names_by_depth(recorder)
        chosen = set(chosen_names(names, known))
        table = recorder.fractions()
        shares = {name: table[name].to_numpy() for name in known if name in chosen}
        display = cls(table.index.to_numpy(), shares, steps=table["step"].to_numpy())
        return display.plot(ax, **options)

    def plot(
        self, ax: Any = None, *, x: str = "time", at: float | None = None
    ) -> LayerFractionDisplay:
        """Draw one line per set.

        Parameters
        ----------
        ax : matplotlib Axes or None
            None makes a figure.
        x : {"time", "step"}, default="time"
            Horizontal axis: path time, with training steps on the upper axis; or steps.
        at : float, default=None
            A path time to mark by a vertical line, that of a pruned network say.

        Returns
        -------
        LayerFractionDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If `x` is unknown, or "step" without steps, or `at` is out of range.

        Notes
        -----
        Up to ten sets have distinct colours; more are coloured by their depth, from
        dark (first layer) to light. The upper axis is left out on axes that already
        show something.
        """
        steps = np.full(len(self.times), np.nan) if self.steps is None else self.steps
        clock = Clock(self.times, steps)
        clock.check(x, at)
        if x == "step" and self.steps is None:
            raise ValueError("x='step' needs steps; give them, or use x='time'.")
        n = len(self.fractions)
        (ax,) = panels(ax, [1.0], (8.0, 4.5 if n <= _MANY else 5.5))
        is_fresh = not ax.has_data()
        across = clock.places(self.times, x)
        colors = self._colors()
        self.lines_ = {}
        for (name, share), color in zip(self.fractions.items(), colors, strict=True):
            (self.lines_[name],) = ax.plot(
                across, 100 * share, color=color, lw=1.5 if n < _MANY else 1.1
            )
            self.lines_[name].set_label(short_name(name))
        clock.draw(ax, x, at)
        ax.set(ylim=(-2, 102), xlabel=x_label(x), ylabel="selected groups (%)")
        if is_fresh and x == "time" and self.steps is not None and len(self.times) > 1:
            clock.draw_steps(ax)
        many = n > _MOST_LABELS
        self.colorbar_ = _depth_scale(ax, list(self.fractions)) if many else None
        settle(ax)
        if self.colorbar_ is None:
            ends = [tuple(line.get_xydata()[-1]) for line in self.lines_.values()]
            names = map(short_name, self.fractions)
            labels = list(zip(names, ends, colors, strict=True))
            label_ends(ax, labels[::-1])  # of equal ends the first layer on top
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _colors(self) -> Sequence[Any]:
        import matplotlib as mpl

        n = len(self.fractions)
        if n < _MANY:
            return COLORS[:n]
        depth = np.linspace(0, _LIGHTEST, n)
        return [tuple(color) for color in mpl.colormaps["viridis"](depth)]


def _depth_scale(ax: Axes, names: list[str]) -> Any:
    """Names of some sets on a scale of their colours."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap, Normalize

    n = len(names)
    colors = mpl.colormaps["viridis"](np.linspace(0, _LIGHTEST, n))
    look = mpl.cm.ScalarMappable(Normalize(-0.5, n - 0.5), ListedColormap(colors))
    scale = ax.figure.colorbar(look, ax=ax, pad=0.02, aspect=35)
    ticks = np.unique(np.linspace(0, n - 1, 9).round().astype(int))
    labels = [shortened(short_name(names[k])) for k in ticks]
    scale.set_ticks(ticks, labels=labels, fontsize=FONT_SIZE - 1)
    scale.ax.invert_yaxis()  # the first layer on top, as in the table
    scale.set_label("depth")
    return scale
