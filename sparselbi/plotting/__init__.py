"""Figures of paths; matplotlib is imported by the functions that draw."""

from .breakdown_display import BreakdownDisplay
from .comparison_graph_display import ComparisonGraphDisplay
from .criterion_display import CriterionDisplay
from .filter_display import FilterDisplay
from .item_graph_display import ItemGraphDisplay
from .lasso import path_from_alphas
from .layer_fraction_display import LayerFractionDisplay
from .layer_path_display import LayerPathDisplay
from .masking_display import MaskingDisplay
from .nu_display import NuDisplay
from .path_display import PathDisplay
from .pieces_display import PiecesDisplay
from .profile_display import ProfileDisplay
from .ranking_display import RankingDisplay
from .shift_display import ShiftDisplay
from .stability_display import StabilityDisplay
from .vote_path_display import VotePathDisplay
from .worker_display import WorkerDisplay

__all__ = [
    "BreakdownDisplay",
    "ComparisonGraphDisplay",
    "CriterionDisplay",
    "FilterDisplay",
    "ItemGraphDisplay",
    "LayerFractionDisplay",
    "LayerPathDisplay",
    "MaskingDisplay",
    "NuDisplay",
    "PathDisplay",
    "PiecesDisplay",
    "ProfileDisplay",
    "RankingDisplay",
    "ShiftDisplay",
    "StabilityDisplay",
    "VotePathDisplay",
    "WorkerDisplay",
    "path_from_alphas",
]
