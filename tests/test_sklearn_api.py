"""scikit-learn's own checks, and the tools that users combine estimators with."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sparselbi import LBI
from sparselbi.losses import Huber
from sparselbi.selection import InformationCriterion
from tests.common import diabetes


@parametrize_with_checks([LBI(),LBI(kappa=np.inf),LBI(loss="huber"),LBI(selector="bic", refit=True)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
