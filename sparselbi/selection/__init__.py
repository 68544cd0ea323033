"""Selection: which point of a path to report."""

from .base import FixedKnot, Selection, Selector
from .cross_validation import CrossValidated, CrossValidation
from .degrees_of_freedom import degrees_of_freedom
from .information import InformationCriterion
from .statistics import with_statistics
from .table import SELECTORS, get_selector

__all__ = [
    "SELECTORS",
    "CrossValidated",
    "CrossValidation",
    "FixedKnot",
    "InformationCriterion",
    "Selection",
    "Selector",
    "degrees_of_freedom",
    "get_selector",
    "with_statistics",
]
