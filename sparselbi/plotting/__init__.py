"""Figures of paths; matplotlib is imported by the functions that draw."""

from .breakdown_display import BreakdownDisplay
from .criterion_display import CriterionDisplay
from .item_graph_display import ItemGraphDisplay
from .lasso import path_from_alphas
from .masking_display import MaskingDisplay
from .nu_display import NuDisplay
from .path_display import PathDisplay
from .pieces_display import PiecesDisplay
from .profile_display import ProfileDisplay
from .shift_display import ShiftDisplay
from .stability_display import StabilityDisplay

__all__ = [
    "BreakdownDisplay",
    "CriterionDisplay",
    "ItemGraphDisplay",
    "MaskingDisplay",
    "NuDisplay",
    "PathDisplay",
    "PiecesDisplay",
    "ProfileDisplay",
    "ShiftDisplay",
    "StabilityDisplay",
    "path_from_alphas",
]
