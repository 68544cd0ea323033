"""Logistic loss for two classes."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from .base import class_codes, different_fields, same_fields, typed_hash


class Logistic(NamedTuple):
    """Logistic loss ``log(1 + exp(eta)) - y * eta`` with y = 1 for the second class."""

    name = "logistic"
    curvature = 0.25
    saturates = True
    __eq__ = same_fields
    __ne__ = different_fields
    __hash__ = typed_hash

    def encode(self, y):
        classes, codes = class_codes(y, "logistic")
        if len(classes) > 2:
            raise ValueError(
                f"y has {len(classes)} classes ({classes[:5].tolist()}...); "
                "loss='logistic' takes two, use loss='multinomial' for more."
            )
        return codes.astype(float)[None, :], classes

    def resolve(self, y, weight):
        return self

    def spread(self, y, weight):
        return 1.0

    def value(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            e = eta[0, i]
            out[i] = max(e, 0.0) + np.log1p(np.exp(-abs(e))) - y[0, i] * e

    def score(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            e = np.exp(-abs(eta[0, i]))
            p = 1.0 / (1.0 + e)
            out[0, i] = y[0, i] - (p if eta[0, i] >= 0 else e * p)

    def hessian(self, y, eta):
        p = expit(eta)
        return (p * (1 - p))[None]

    def majorant(self, y, eta):
        return np.full(eta.shape[1], self.curvature)

    def inverse_link(self, eta):
        return expit(eta)
