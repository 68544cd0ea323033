"""Methods that flag rows, each with the rule that comes with it.

A method has ``fit(X, y)`` and, after it, ``outliers_``. Fits that come without a rule
flag residuals beyond 2.5 times their normalized median absolute deviation. Nothing is
tuned with the truth, except for *known model*, which is told everything but the rows.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import HuberRegressor, RANSACRegressor, TheilSenRegressor

from sparselbi import OutlierRegression
from sparselbi.diagnostics import regression_diagnostics
from sparselbi.scales import mad_scale
from sparselbi.selection.outliers import ScaleCut

__all__ = ["CUT", "KnownModel", "external", "own", "quick_external"]

CUT = 2.5


class Rule:
    """Something with residuals, and a mask made from them."""

    def fit(self, X, y):
        """Flag rows of X and y."""
        self.outliers_ = self.flag(X, y)
        return self

    def flag(self, X, y):
        """Mask of the outliers."""
        residual = np.abs(self.residuals(X, y))
        return residual > CUT * mad_scale(residual)

    def residuals(self, X, y):
        """What the fit leaves."""
        raise NotImplementedError


class Statsmodels(Rule):
    """RLM with its defaults and a norm."""

    def __init__(self, norm):
        self.norm = norm

    def residuals(self, X, y):
        import statsmodels.api as sm

        norm = getattr(sm.robust.norms, self.norm)()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scales of 0, iterations
            return sm.RLM(y, sm.add_constant(X), M=norm).fit().resid


class ScikitLearn(Rule):
    """An estimator of scikit-learn, with a rule of its own if it has one."""

    def __init__(self, estimator, rule=None):
        self.estimator, self.rule = estimator, rule

    def flag(self, X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                self.estimator.fit(X, y)
            except ValueError:  # RANSAC: no subset had enough inliers
                return np.zeros(len(y), dtype=bool)
        if self.rule is not None:
            return self.rule(self.estimator)
        residual = np.abs(y - self.estimator.predict(X))
        return residual > CUT * mad_scale(residual)


class DeletionT(Rule):
    """Externally studentized residuals at 5 %, Bonferroni."""

    def flag(self, X, y):
        return regression_diagnostics(X, y).p_value_bonferroni < 0.05


class KnownModel(Rule):
    """Residuals from the true coefficients and noise: nobody can do better."""

    def __init__(self, cut, coef=None, noise=1.0):
        self.cut, self.coef, self.noise = cut, coef, noise

    def flag(self, X, y):
        coef = np.ones(X.shape[1]) if self.coef is None else self.coef
        return np.abs(y - X @ coef) > self.cut * self.noise


def own():
    """The methods of this package."""
    return {
        "hard, 3 S-scales": OutlierRegression("hard"),
        "hard, 2.5 S-scales": OutlierRegression("hard", selector=ScaleCut(2.5)),
        "hard, 2.5 sigma": OutlierRegression("hard", selector="sigma"),
        "hard, BIC*": OutlierRegression("hard", selector="bic"),
        "l1, 2.5 sigma": OutlierRegression("l1"),
        "ISS, 2.5 sigma": OutlierRegression("iss"),
    }


def quick_external(random_state=0):
    """Other methods, those that take milliseconds."""
    methods = {}
    try:
        import statsmodels  # noqa: F401
    except ImportError:
        pass  # the report says so
    else:
        methods["RLM, Huber"] = Statsmodels("HuberT")
        methods["RLM, bisquare"] = Statsmodels("TukeyBiweight")
    huber = HuberRegressor(max_iter=1000)
    methods["HuberRegressor"] = ScikitLearn(huber)
    methods["HuberRegressor.outliers_"] = ScikitLearn(huber, lambda m: m.outliers_)
    methods["RANSAC"] = ScikitLearn(
        RANSACRegressor(random_state=random_state), lambda m: ~m.inlier_mask_
    )
    methods["deletion t, Bonferroni"] = DeletionT()
    return methods


def external(random_state=0):
    """Other methods."""
    slow = {"Theil-Sen": ScikitLearn(TheilSenRegressor(random_state=random_state))}
    return quick_external(random_state) | slow
