"""What the solvers of the shift model return, before it becomes a path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class ShiftTrace:
    """A path in the coordinates of a design.

    Attributes
    ----------
    knots : ndarray of shape (n_knots,)
        Thresholds, decreasing, or times, increasing; the first one is the null model,
        in which no row is shifted.
    coords : ndarray of shape (n_knots, n_coords, n_outputs)
    event_at, event_row, event_sign, event_enters : ndarray of shape (n_events,)
        Where which row starts or ceases to be shifted, in path order. The sign is 0
        for several outputs.
    rss : ndarray of shape (n_knots,)
        ``sum_i w_i |Y_i - z_i coords - shift_i|^2``.
    n_shifted : ndarray of shape (n_knots,)
        Sum of the weights of the shifted rows.
    interpolation : {"linear", "constant"}
    shifts : CSR matrix of shape (n_knots, n_samples * n_outputs) or None
        Where they do not follow from the residuals (LBI).
    """

    knots: NDArray[Any]
    coords: NDArray[Any]
    event_at: NDArray[Any]
    event_row: NDArray[Any]
    event_sign: NDArray[Any]
    event_enters: NDArray[Any]
    rss: NDArray[Any]
    n_shifted: NDArray[Any]
    status: str
    message: str
    n_iter: int
    interpolation: str
    info: dict[str, Any] = field(default_factory=dict)
    shifts: Any = None
