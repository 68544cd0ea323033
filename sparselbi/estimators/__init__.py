"""Estimators with scikit-learn's interface: one statistical problem per file."""

from .lbi import LBI
from .lbi_classifier import LBIClassifier

__all__ = ["LBI", "LBIClassifier"]
