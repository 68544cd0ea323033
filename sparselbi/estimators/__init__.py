"""Estimators with scikit-learn's interface: one statistical problem per file."""

from .lbi import LBI
from .lbi_classifier import LBIClassifier
from .split_lbi import SplitLBI
from .split_lbi_classifier import SplitLBIClassifier

__all__ = ["LBI", "LBIClassifier", "SplitLBI", "SplitLBIClassifier"]
