"""Softmax loss for several classes."""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from .base import class_codes, different_fields, same_fields, typed_hash


class Multinomial(NamedTuple):
    """Softmax loss ``log sum_k exp(eta_k) - eta_y``, with a coefficient row per class.

    All classes are kept, none is the reference: the linear predictors are determined
    up to a constant per sample, which the path never moves.
    """

    name = "multinomial"
    curvature = 0.5
    saturates = True
    __eq__ = same_fields
    __ne__ = different_fields
    __hash__ = typed_hash

    def encode(self, y):
        classes, codes = class_codes(y, "multinomial")
        encoded = np.zeros((len(classes), len(codes)))
        encoded[codes, np.arange(len(codes))] = 1.0
        return encoded, classes

    def resolve(self, y, weight):
        return self

    def spread(self, y, weight):
        return 1.0

    def value(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            top = eta[0, i]
            for k in range(1, y.shape[0]):
                top = max(top, eta[k, i])
            total = 0.0
            chosen = 0.0
            for k in range(y.shape[0]):
                total += np.exp(eta[k, i] - top)
                chosen += y[k, i] * (eta[k, i] - top)
            out[i] = np.log(total) - chosen

    def score(loss, y, eta, out):  # noqa: N805
        for i in range(y.shape[1]):
            top = eta[0, i]
            for k in range(1, y.shape[0]):
                top = max(top, eta[k, i])
            total = 0.0
            for k in range(y.shape[0]):
                out[k, i] = np.exp(eta[k, i] - top)
                total += out[k, i]
            for k in range(y.shape[0]):
                out[k, i] = y[k, i] - out[k, i] / total

    def hessian(self, y, eta):
        p = softmax(eta, axis=0)
        return p[:, None] * np.eye(len(p))[:, :, None] - p[:, None] * p[None, :]

    def majorant(self, y, eta):
        return np.full(eta.shape[1], self.curvature)

    def inverse_link(self, eta):
        return softmax(eta, axis=0)
