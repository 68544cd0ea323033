"""Penalties: which structure the coefficients have, or a linear map of them."""

from .base import get_penalty
from .group import Group
from .l1 import L1
from .transforms import (
    Transform,
    as_transform,
    comparisons,
    differences,
    graph_incidence,
    grid_gradient,
    identity,
    stack,
    wavelet,
    with_identity,
)

PENALTIES = {penalty.name: penalty for penalty in (L1, Group)}

__all__ = [
    "L1",
    "PENALTIES",
    "Group",
    "Transform",
    "as_transform",
    "comparisons",
    "differences",
    "get_penalty",
    "graph_incidence",
    "grid_gradient",
    "identity",
    "stack",
    "wavelet",
    "with_identity",
]
