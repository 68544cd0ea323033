"""Filters of a layer of a network as images, in the order in which they entered."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._path_checks import check_choice
from ._layout import FONT_SIZE, given_axes, points_per_pixel, settle
from ._network_sets import CLOCKS, x_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INPUTS = ("auto", "rgb", "grid", "mean")
_SCALES = ("common", "each")
# Kernels of so many inputs are beside each other in one image.
_MOST_KERNELS = 64
# Of the width of an image: the space between two.
_GAP = 0.14
# Pixels are squares unless the image would be longer than this.
_LONGEST = 3.0
_FADED = 0.3


class FilterDisplay:
    """Filters as images in the order in which they entered: the path of one layer.

    Above each image are the number of the filter and its time of entry; filters that
    never entered are at the end, faded. Draw with `from_recorder`, or from arrays with
    ``FilterDisplay(...).plot()``.

    Parameters
    ----------
    weights : array-like of shape (n_filters, n_inputs, height, width)
        Without `n_inputs`, of shape (n_filters, height, width), there is one.
    times : array-like of shape (n_filters,)
        Path times of entry, inf for never.
    norms : array-like of shape (n_filters,), default=None
        Of the split weights now. They order filters with the same time of entry, the
        largest first; a filter that entered and has 0 now has left. None: those of
        `weights`.
    steps : array-like of shape (n_filters,), default=None
        Steps of entry.
    name : str, default=""
        Of the layer, for the title.
    unit : str, default="filters"
        What the title calls them.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    order_ : ndarray of int
        The drawn filters, in their order.
    images_ : list of AxesImage
    titles_ : list of Text
    colorbar_ : matplotlib Colorbar or None
        Of the common scale; None for colours and for scales of their own.

    Raises
    ------
    ValueError
        If shapes do not fit, or weights are not finite.

    See Also
    --------
    LayerPathDisplay : When the filters enter, and how they grow.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi.plotting import FilterDisplay
    >>> weights = np.random.default_rng(0).normal(size=(3, 5, 5))
    >>> display = FilterDisplay(weights, [2.5, np.inf, 0.5]).plot()
    >>> [title.get_text() for title in display.titles_]
    ['2: 0.5', '0: 2.5', '1: never']
    """

    ax_: Any
    figure_: Any
    order_: NDArray[np.intp]
    images_: list[Any]
    titles_: list[Any]
    colorbar_: Any

    def __init__(
        self,
        weights: ArrayLike,
        times: ArrayLike,
        norms: ArrayLike | None = None,
        *,
        steps: ArrayLike | None = None,
        name: str = "",
        unit: str = "filters",
    ) -> None:
        array = np.asarray(weights, dtype=np.float64)
        if array.ndim == 3:
            array = array[:, None]
        if array.ndim != 4 or array.size == 0:
            raise ValueError(
                f"weights has shape {np.shape(weights)}; it must be (n_filters, "
                "height, width) or (n_filters, n_inputs, height, width), and not empty."
            )
        if not np.isfinite(array).all():
            raise ValueError("weights holds NaN or inf; has the training diverged?")
        self.weights, self.name, self.unit = array, name, unit
        size = np.linalg.norm(array.reshape(len(array), -1), axis=1)
        self.times = self._vector("times", times)
        self.norms = size if norms is None else self._vector("norms", norms)
        self.steps = None if steps is None else self._vector("steps", steps)

    def _vector(self, name: str, values: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != self.weights.shape[:1] or np.isnan(array).any():
            raise ValueError(
                f"{name} has shape {array.shape}; it must be one number for each of "
                f"the {len(self.weights)} filters."
            )
        return array

    @classmethod
    def from_recorder(
        cls,
        recorder: Any,
        model: Any,
        name: str,
        *,
        shape: Sequence[int] | None = None,
        sparse: bool = False,
        ax: Any = None,
        **options: Any,
    ) -> FilterDisplay:
        """Draw the weights of one layer as they are now.

        Parameters
        ----------
        recorder : PathRecorder
        model : torch.nn.Module
            The model that is trained.
        name : str
            A registered weight tensor, ``"conv1.weight"``: of a convolution (its
            filters are drawn), or of a linear layer (its rows, with `shape`).
        shape : (height, width) or (n_inputs, height, width), default=None
            Of the image that enters a linear layer, and of its rows.
        sparse : bool, default=False
            False: the weights W, which are trained outside of the support too. True: W
            restricted to the support of the split weights, as in `sparse_weights`.
        ax, **options
            See `plot`.

        Returns
        -------
        FilterDisplay

        Raises
        ------
        ValueError
            If `name` is not registered, its tensor has no images in it (vectors, 3-D
            convolutions) or is sharded, or `shape` does not fit.

        Notes
        -----
        With groups other than filters (single weights, input channels, blocks), a
        filter enters with the first of its weights. Of a 1-D convolution an image is
        the kernel, one row for each input channel. Filters of transposed convolutions
        are those of their output channels.
        """
        parts = _read(recorder, model, name, shape, sparse)
        return cls(**parts, name=name + " (sparse)" * sparse).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        n_filters: int = 40,
        x: str = "time",
        inputs: str | int = "auto",
        scale: str = "common",
        cmap: Any = "RdBu_r",
    ) -> FilterDisplay:
        """Draw the images, row by row.

        Parameters
        ----------
        ax : matplotlib Axes or None
            None makes a figure.
        n_filters : int, default=40
            How many at most: the first that entered, then others.
        x : {"time", "step"}, default="time"
            Times of entry in path time or in steps.
        inputs : {"auto", "rgb", "grid", "mean"} or int, default="auto"
            What an image shows of filters with several inputs. "rgb": three inputs as
            red, green and blue. "grid": the kernels of all inputs, beside each other.
            "mean": their mean. A number: the kernel of this input. "auto": "rgb" for
            three inputs, "grid" for up to 64, else "mean".
        scale : {"common", "each"}, default="common"
            Whether the images have one colour scale, or each its own. Scales have zero
            in their middle.
        cmap : matplotlib colour map, default="RdBu_r"
            A diverging one; "gray" draws weights as gray levels, with 0 in the middle.

        Returns
        -------
        FilterDisplay
            This object, with the attributes that end in an underscore.

        Raises
        ------
        ValueError
            If an option is unknown or out of range.
        """
        check_choice("x", x, CLOCKS)
        check_choice("scale", scale, _SCALES)
        if operator.index(n_filters) < 1:
            raise ValueError(f"n_filters={n_filters!r} must be at least 1.")
        if x == "step" and self.steps is None:
            raise ValueError("x='step' needs steps; give them, or use x='time'.")
        inputs = self._checked_inputs(inputs)
        order = np.lexsort((-self.norms, self.times))
        self.order_ = order[:n_filters]
        tiles = [_tile(self.weights[k], inputs) for k in self.order_]
        # Of a 1-D convolution, or a row as it is, pixels need not be squares.
        aspect = float(
            np.clip(tiles[0].shape[1] / tiles[0].shape[0], 1 / _LONGEST, _LONGEST)
        )
        colored = tiles[0].ndim == 3
        has_bar = scale == "common" and not colored
        (ax,), _ = given_axes(ax, 1, "panel", _page(len(tiles), aspect, has_bar))
        ax.set_axis_off()
        ax.set_title(self._title(inputs, x), fontsize=FONT_SIZE, loc="left")
        limits = self._limits(tiles, scale)
        self.images_ = [
            ax.imshow(
                0.5 + 0.5 * tile / limit if colored else tile,
                **({} if colored else {"cmap": cmap, "vmin": -limit, "vmax": limit}),
                interpolation="nearest",
            )
            for tile, limit in zip(tiles, limits, strict=True)
        ]
        self.colorbar_ = None
        if has_bar:
            self.colorbar_ = ax.figure.colorbar(
                self.images_[0], ax=ax, pad=0.015, aspect=30, shrink=0.8, label="weight"
            )
        settle(ax)
        self._place(ax, aspect, x)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _checked_inputs(self, inputs: Any) -> str | int:
        n = self.weights.shape[1]
        if isinstance(inputs, (int, np.integer)) and not isinstance(inputs, bool):
            if not 0 <= inputs < n:
                raise ValueError(
                    f"inputs={inputs!r} must be below {n}, the number of inputs of the "
                    f"filters, or one of {list(_INPUTS)}."
                )
            return int(inputs)
        check_choice("inputs", inputs, _INPUTS)
        if inputs == "auto":
            if n == 1:
                return 0
            return "rgb" if n == 3 else "grid" if n <= _MOST_KERNELS else "mean"
        if inputs == "rgb" and n != 3:
            raise ValueError(
                f"inputs='rgb' needs filters with 3 inputs, these have {n}; use "
                "'grid', 'mean' or the number of an input."
            )
        return str(inputs)

    def _title(self, inputs: str | int, x: str) -> str:
        """What the images are, and how many are left out."""
        n, (total, n_inputs) = len(self.order_), self.weights.shape[:2]
        count = f"{total}" if n == total else f"{n} of {total:,}"
        never = int(np.isinf(self.times).sum())
        text = f"{self.name + ': ' if self.name else ''}{count} {self.unit} "
        text += f"(number: {x_label(x)} of entry)"
        text += f"; {never:,} never entered" if never else ""
        shown = {
            "rgb": "red, green and blue: the 3 inputs, gray: 0",
            "grid": f"each: the kernels of its {n_inputs} inputs",
            "mean": f"mean over {n_inputs} inputs",
        }
        if isinstance(inputs, str):
            text += f"\n{shown[inputs]}"
        elif n_inputs > 1:
            text += f"\ninput {inputs} of {n_inputs}"
        return text

    def _limits(self, tiles: list[NDArray[np.float64]], scale: str) -> list[float]:
        """Largest absolute weights, of all images together or one by one; not 0."""
        sizes = [float(np.nanmax(np.abs(tile))) for tile in tiles]
        if scale == "common":
            sizes = [max(sizes)] * len(sizes)
        return [size or 1.0 for size in sizes]

    def _place(self, ax: Axes, aspect: float, x: str) -> None:
        """Images and titles in rows; one unit of the axes is a point on the page."""
        width, height = points_per_pixel(ax) * ax.bbox.size
        n = len(self.order_)
        line = 1.5 * (FONT_SIZE - 1)
        # The number of columns with the largest images.
        side = np.array(
            [_side(n, k, aspect, width, height, line) for k in range(1, n + 1)]
        )
        n_columns = int(side.argmax()) + 1
        across = float(side[n_columns - 1])
        labels = [self._label(k, x) for k in self.order_]
        longest = max(map(len, labels))
        font = min(FONT_SIZE - 1, 1.05 * across / (0.55 * longest))
        self.titles_ = []
        for place, (filter_, label) in enumerate(zip(self.order_, labels, strict=True)):
            row, column = divmod(place, n_columns)
            left = column * (1 + _GAP) * across
            top = line + row * (across / aspect + line)
            box = (left, left + across, top + across / aspect, top)
            self.images_[place].set_extent(box)
            entered = np.isfinite(self.times[filter_])
            if not entered:
                self.images_[place].set_alpha(_FADED)
            self._frame(ax, box, entered)
            self.titles_.append(
                ax.text(
                    left + across / 2,
                    top - 0.25 * line,
                    label,
                    fontsize=font,
                    color="0.1" if entered else "0.5",
                    ha="center",
                    va="baseline",
                )
            )
        ax.set(xlim=(-1, width), ylim=(height, 0), aspect="equal", anchor="NW")

    def _frame(self, ax: Axes, box: tuple[float, ...], entered: bool) -> None:
        from matplotlib.patches import Rectangle

        left, right, bottom, top = box
        look: dict[str, Any] = {"ls": "-" if entered else (0, (3, 2))}
        look |= {"ec": "0.3" if entered else "0.6", "lw": 0.6, "fill": False}
        size = (right - left, bottom - top)
        ax.add_patch(Rectangle((left, top), *size, clip_on=False, **look))

    def _label(self, filter_: int, x: str) -> str:
        if np.isinf(self.times[filter_]):
            return f"{filter_}: never"
        clock = self.times if x == "time" else self.steps
        assert clock is not None
        left = ", left" if self.norms[filter_] == 0 else ""
        return f"{filter_}: {clock[filter_]:{'.3g' if x == 'time' else '.0f'}}{left}"


def _page(n: int, aspect: float, has_bar: bool) -> tuple[float, float]:
    """Size of a figure for n images, in inches."""
    n_rows = max(round(math.sqrt(n * aspect / 1.6)), 1)
    n_columns = math.ceil(n / n_rows)
    side = min(6.8 / (n_columns * (1 + _GAP)), 1.5 * max(aspect, 1.0))
    width = max(n_columns * side * (1 + _GAP) + (1.2 if has_bar else 0.2), 5.0)
    return width, 0.6 + n_rows * (side / aspect + 0.18)


def _side(
    n: int, n_columns: int, aspect: float, width: float, height: float, line: float
) -> float:
    """How wide the images can be in so many columns, each below a line of text."""
    n_rows = math.ceil(n / n_columns)
    high = height / n_rows - line
    return min(width / (n_columns + _GAP * (n_columns - 1)), max(high * aspect, 1.0))


def _tile(kernels: NDArray[np.float64], inputs: str | int) -> NDArray[np.float64]:
    """What is drawn of one filter, (height, width) or (height, width, 3)."""
    if isinstance(inputs, int):
        return kernels[inputs]
    if inputs == "mean":
        return kernels.mean(axis=0)
    if inputs == "rgb":
        return np.moveaxis(kernels, 0, -1)
    n, height, width = kernels.shape
    n_columns = math.ceil(math.sqrt(n * height / width))
    n_rows = math.ceil(n / n_columns)
    # One empty pixel between kernels would be as large as a weight: lines are drawn
    # by repeating pixels.
    fine = 6
    tile = np.full(
        (n_rows * (fine * height + 1) - 1, n_columns * (fine * width + 1) - 1), np.nan
    )
    for k, kernel in enumerate(kernels):
        row, column = divmod(k, n_columns)
        top, left = row * (fine * height + 1), column * (fine * width + 1)
        large = kernel.repeat(fine, axis=0).repeat(fine, axis=1)
        tile[top : top + fine * height, left : left + fine * width] = large
    return tile


# -- reading a model -----------------------------------------------------------------


def _read(
    recorder: Any, model: Any, name: str, shape: Sequence[int] | None, sparse: bool
) -> dict[str, Any]:
    """Weights, times, steps and norms of the filters of one tensor."""
    from ..torch._dynamics import current_duals
    from ..torch._shards import unwrapped
    from ..torch.masks import named_sets

    model = unwrapped(model)
    sets = named_sets(model, recorder.optimizer)
    known = [tensor for _, names in sets for tensor in names]
    if name not in known:
        raise ValueError(
            f"name={name!r} is no registered tensor of the model; use one of "
            f"{known[:12]}{' ...' if len(known) > 12 else ''}."
        )
    index = next(k for k, (_, names) in enumerate(sets) if name in names)
    groups, names = sets[index]
    if groups.processes:
        raise ValueError(
            f"{name!r} is sharded over several processes, and no process has its "
            "filters; load a checkpoint into the whole model and draw that."
        )
    part = names.index(name)
    module = model.get_submodule(name.rpartition(".")[0])
    duals = current_duals(recorder.optimizer, groups)
    entry = [
        list(found().values())[index]
        for found in (recorder.entry_times, recorder.entry_steps)
    ]
    times, steps = (_of_weights(groups, part, values) for values in entry)
    weight = groups.params[part].detach()
    if sparse:
        weight = weight * groups.masks(groups.selected(duals))[part]
    split = groups.split(duals)[part]

    def filters(tensor: Any) -> NDArray[np.float64]:
        array = tensor.detach().cpu().double().numpy()
        return _filters(array, module, name, shape)

    steps = steps.double().masked_fill(steps < 0, float("inf"))
    return {
        "weights": filters(weight),
        "times": filters(times).min(axis=(1, 2, 3)),
        "steps": filters(steps).min(axis=(1, 2, 3)),
        "norms": np.sqrt(np.square(filters(split)).sum(axis=(1, 2, 3))),
        "unit": "rows" if weight.ndim == 2 else "filters",
    }


def _of_weights(groups: Any, part: int, values: Any) -> Any:
    """One value per weight of a tensor from one per group."""
    shape = groups.params[part].shape
    if groups.by_element:
        return values.reshape(shape)
    return groups.layouts[part].spread(values, len(shape)).expand(shape)


def _filters(
    weight: NDArray[np.float64], module: Any, name: str, shape: Sequence[int] | None
) -> NDArray[np.float64]:
    """A weight tensor as (n_filters, n_inputs, height, width)."""
    found = f"{name!r} ({type(module).__name__}) has shape {weight.shape}"
    if weight.ndim == 2:
        return _rows(weight, found, shape)
    if shape is not None:
        raise ValueError(
            f"shape={tuple(shape)} is for linear layers, whose rows have no shape of "
            f"their own; {found}. Use shape=None."
        )
    if weight.ndim not in (3, 4):
        raise ValueError(
            f"{found}, which are no images: filters of 1-D and 2-D convolutions and "
            "rows of linear layers can be drawn. Of a 3-D convolution give slices, "
            "FilterDisplay(weight[:, :, k], times)."
        )
    if getattr(module, "transposed", False):  # (inputs, outputs of a group, ...)
        parts = weight.reshape(module.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
        weight = parts.reshape(-1, *parts.shape[2:])
    return weight[:, None] if weight.ndim == 3 else weight


def _rows(
    weight: NDArray[np.float64], found: str, shape: Sequence[int] | None
) -> NDArray[np.float64]:
    n = weight.shape[1]
    lengths = () if shape is None else tuple(int(length) for length in shape)
    if len(lengths) not in (2, 3) or math.prod(lengths) != n:
        side = math.isqrt(n)
        example = (side, side) if side**2 == n else (1, n)
        given = "" if shape is None else f"shape={lengths} does not fit: "
        raise ValueError(
            f"{given}{found}; give the shape of an input image with {n} values, such "
            f"as shape={example} or (n_inputs, height, width)."
        )
    return weight.reshape(len(weight), *(1,) * (3 - len(lengths)), *lengths)
