"""Squared loss."""

from typing import NamedTuple

import numpy as np

from .base import (
    as_continuous,
    different_fields,
    same_fields,
    typed_hash,
    weighted_variance,
)


class Squared(NamedTuple):
    """Squared loss ``(y - eta)^2 / 2``, averaged over samples: 1/(2n) in all."""

    name = "squared"
    curvature = 1.0
    saturates = False
    __eq__ = same_fields
    __ne__ = different_fields
    __hash__ = typed_hash

    def encode(self, y):
        return as_continuous(y), None

    def resolve(self, y, weight):
        return self

    def spread(self, y, weight):
        return weighted_variance(y[0], weight) ** 0.5

    def value(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            out[i] = 0.5 * (y[0, i] - eta[0, i]) ** 2

    def score(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            out[0, i] = y[0, i] - eta[0, i]

    def hessian(self, y, eta):
        return np.ones((1, 1, eta.shape[1]))

    def majorant(self, y, eta):
        return np.ones(eta.shape[1])

    def inverse_link(self, eta):
        return eta
