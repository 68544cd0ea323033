"""Selection: which point of a path to report."""

from .base import FixedKnot, Selection, Selector
from .consistency import (
    Discrepancy,
    Irrepresentability,
    TheoreticalTime,
    irrepresentable_condition,
    noise_scale,
)
from .cross_validation import CrossValidated, CrossValidation
from .degrees_of_freedom import degrees_of_freedom
from .information import InformationCriterion
from .stability import Stability, stability_selection
from .statistics import with_statistics
from .table import SELECTORS, get_selector

__all__ = [
    "SELECTORS",
    "CrossValidated",
    "CrossValidation",
    "Discrepancy",
    "FixedKnot",
    "InformationCriterion",
    "Irrepresentability",
    "Selection",
    "Selector",
    "Stability",
    "TheoreticalTime",
    "degrees_of_freedom",
    "get_selector",
    "irrepresentable_condition",
    "noise_scale",
    "stability_selection",
    "with_statistics",
]
