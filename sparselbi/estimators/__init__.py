"""Estimators with scikit-learn's interface: one statistical problem per file."""

from .lbi import LBI

__all__ = ["LBI"]
