"""Features that lie on a grid of two or three axes, and cuts through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """Where features lie: a shape, and a mask of the places that have one, or None.

    Features are the kept places in C order. A cut is a pair (axis, index), or None for
    a grid of two axes as it is.
    """

    shape: tuple[int, ...]
    mask: NDArray[np.bool_] | None = None

    def array(self, values: NDArray[np.float64]) -> Any:
        """The features in their places, masked elsewhere."""
        if self.mask is None:
            return np.ma.masked_array(values.reshape(self.shape))
        array = np.ma.masked_all(self.shape)
        array[self.mask] = values
        return array

    def location(self, features: NDArray[np.int64]) -> str:
        """How many features there are, and the place in their middle."""
        kept = np.ones(self.shape, dtype=bool) if self.mask is None else self.mask
        flat = np.flatnonzero(kept)[features]
        middle = [axis.mean().round() for axis in np.unravel_index(flat, self.shape)]
        place = f"({', '.join(f'{index:.0f}' for index in middle)})"
        return place if len(features) == 1 else f"{len(features):,} near {place}"

    def cut(self, values: NDArray[np.float64], cut: tuple[int, int] | None) -> Any:
        """An image (two axes) of the features."""
        array = self.array(values)
        return array if cut is None else array.take(cut[1], axis=cut[0])

    def cuts(self, slices: Any, sizes: NDArray[np.float64]) -> list[Any]:
        """Cuts as the user asks; None: through the feature with the largest size."""
        if len(self.shape) == 2:
            if slices is not None:
                raise ValueError(
                    f"slices={slices!r} is for grids of three axes; this one has the "
                    f"shape {self.shape}."
                )
            return [None]
        if slices is None:
            largest = int(self.array(sizes).filled(-1.0).argmax())
            place = np.unravel_index(largest, self.shape)
            return [(axis, int(index)) for axis, index in enumerate(place)]
        cuts = [
            (axis, int(index))
            for axis, places in dict(slices).items()
            for index in np.atleast_1d(places)
        ]
        if not cuts:
            raise ValueError("slices is empty; give a dict such as {0: 5}, or None.")
        for axis, index in cuts:
            if axis not in (0, 1, 2) or not 0 <= index < self.shape[axis]:
                raise ValueError(
                    f"slices={slices!r} cuts axis {axis} at {index}; use the axes 0, "
                    f"1, 2 with indices below {self.shape}."
                )
        return cuts


def checked_grid(path: Any, grid: Any) -> Grid | None:
    """The grid that a user gives (shape, mask or None: that of D); None for a line."""
    p = path.n_features
    if grid is False:
        return None
    mask, shape = None, grid
    if grid is None:
        found = path.D.grid or {"shape": (p,), "mask": None}
        mask, shape = found["mask"], found["shape"]
    elif isinstance(grid, np.ndarray) and grid.dtype == bool:
        mask, shape = grid, grid.shape
    shape = tuple(int(length) for length in np.atleast_1d(shape))
    size = math.prod(shape) if mask is None else int(np.sum(mask))
    if size != p or len(shape) > 3:
        held = f"holds {size} features" if size != p else f"has {len(shape)} axes"
        raise ValueError(
            f"a grid of shape {shape} {held}, but the path has {p} features; give the "
            "shape (at most three axes), or a bool array with as many True."
        )
    return None if len(shape) == 1 else Grid(shape, mask)
