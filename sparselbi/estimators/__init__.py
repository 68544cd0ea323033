"""Estimators with scikit-learn's interface: one statistical problem per file."""

from ._coefficient_inference import CoefficientInference
from ._ranking_inference import RankingBootstrap, RankingInference
from .huber_regression import HuberRegression
from .lbi import LBI
from .lbi_classifier import LBIClassifier
from .outlier_regression import OutlierRegression
from .pairwise_ranker import PairwiseRanker
from .split_lbi import SplitLBI
from .split_lbi_classifier import SplitLBIClassifier

__all__ = [
    "CoefficientInference",
    "HuberRegression",
    "LBIClassifier",
    "LBI",
    "OutlierRegression",
    "PairwiseRanker",
    "RankingBootstrap",
    "RankingInference",
    "SplitLBI",
    "SplitLBIClassifier",
]
