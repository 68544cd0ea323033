"""Penalties: which structure the coefficients have. One file per penalty."""

from .base import get_penalty
from .group import Group
from .l1 import L1

PENALTIES = {penalty.name: penalty for penalty in (L1, Group)}

__all__ = ["L1", "PENALTIES", "Group", "get_penalty"]
