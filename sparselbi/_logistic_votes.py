"""The logistic loss of votes: value, residual and curvature, without cancellation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special


def logistic_loss(
    eta: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``log(1 + exp(-y eta))``; a tie is half a win and half a loss."""
    win, loss = -special.log_expit(eta), -special.log_expit(-eta)
    return (1 + y) / 2 * win + (1 - y) / 2 * loss


def logistic_residual(
    eta: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``y01 - sigmoid(eta)`` with ``y01 = (1 + y) / 2``, y in {-1, 0, 1}."""
    return np.where(y == 0, -0.5 * np.tanh(eta / 2), y * special.expit(-y * eta))


def logistic_curvature(eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """``p (1 - p)`` with ``p = sigmoid(eta)``."""
    odds = np.exp(-np.abs(eta))
    return odds / (1 + odds) ** 2
