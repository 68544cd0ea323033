"""Losses: how badly a linear predictor fits. One file per loss."""

from .base import get_loss
from .huber import Huber
from .logistic import Logistic
from .multinomial import Multinomial
from .squared import Squared

LOSSES = {loss.name: loss for loss in (Squared, Logistic, Multinomial, Huber)}

__all__ = ["LOSSES", "Huber", "Logistic", "Multinomial", "Squared", "get_loss"]
