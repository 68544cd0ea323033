"""Figures of paths; matplotlib is imported by the functions that draw."""

from .criterion_display import CriterionDisplay
from .item_graph_display import ItemGraphDisplay
from .lasso import path_from_alphas
from .nu_display import NuDisplay
from .path_display import PathDisplay
from .pieces_display import PiecesDisplay
from .profile_display import ProfileDisplay
from .stability_display import StabilityDisplay

__all__ = [
    "CriterionDisplay",
    "ItemGraphDisplay",
    "NuDisplay",
    "PathDisplay",
    "PiecesDisplay",
    "ProfileDisplay",
    "StabilityDisplay",
    "path_from_alphas",
]
