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
from .graded_votes import VoteCriterion, VoteCut, VoteGap
from .information import InformationCriterion
from .outliers import (
    EntryGap,
    OutlierCriterion,
    ScaleCut,
    TrimmedCV,
    get_outlier_selector,
)
from .split_consistency import (
    SplitIrrepresentability,
    nu_study,
    row_auc,
    split_irrepresentable_condition,
)
from .split_stability import SupportAgreement, dice_coefficient, support_agreement
from .stability import Stability, stability_selection
from .statistics import with_statistics
from .table import SELECTORS, get_selector
from .votes import FlipShare, VoteShare, get_vote_selector

__all__ = [
    "SELECTORS",
    "CrossValidated",
    "CrossValidation",
    "Discrepancy",
    "EntryGap",
    "FixedKnot",
    "FlipShare",
    "InformationCriterion",
    "Irrepresentability",
    "OutlierCriterion",
    "ScaleCut",
    "Selection",
    "Selector",
    "SplitIrrepresentability",
    "Stability",
    "SupportAgreement",
    "TheoreticalTime",
    "TrimmedCV",
    "VoteCriterion",
    "VoteCut",
    "VoteGap",
    "VoteShare",
    "degrees_of_freedom",
    "dice_coefficient",
    "get_outlier_selector",
    "get_selector",
    "get_vote_selector",
    "irrepresentable_condition",
    "noise_scale",
    "nu_study",
    "row_auc",
    "split_irrepresentable_condition",
    "stability_selection",
    "support_agreement",
    "with_statistics",
]
