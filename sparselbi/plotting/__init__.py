"""Figures of paths; matplotlib is imported by the functions that draw."""

from .criterion_display import CriterionDisplay
from .lasso import path_from_alphas
from .path_display import PathDisplay
from .stability_display import StabilityDisplay

__all__ = ["CriterionDisplay", "PathDisplay", "StabilityDisplay", "path_from_alphas"]
