"""What the estimators of robust regression share."""

import copy
import dataclasses
import warnings

from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..selection.outliers import OutlierCriterion
from ..shift_problem import ShiftProblem
from ..solvers._hard_knot import with_hard_knot
from ..solvers.shift_paths import with_exact_freedom
from .base import _X_RULES


class BaseShiftRegressor(RegressorMixin, BaseEstimator):
    """Checks, describes, traces and chooses; reports are left to the subclass.

    A subclass stores its parameters, among them ``fit_intercept``, and says

    - ``_row_factor()``: factors of the threshold, as `ShiftProblem` takes them;
    - ``_trace(problem)``: which solver answers, with which arguments;
    - ``_rule()``: the selector that chooses a point;
    - ``_report(path, selection, problem)``: what is set from it.
    """

    def fit(self, X, y, sample_weight=None):
        """Trace the path and choose a point of it.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            float32 and float64 are used as they are.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            With several outputs a row is shifted in all of them, or in none.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight w means the same as w repeated rows. Rows of weight 0 take no part in
            the fit and are judged as new rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If data or parameters cannot be used; the message says what to do.

        Warns
        -----
        UserWarning
            If the rule could not be applied as asked; ``selection_.message`` says what
            was done instead.
        """
        rule = self._rule()  # a bad name fails before the work
        problem = self._pose_question(X, y, sample_weight)
        path = self._named(self._trace(problem), X)
        self._choose(rule, path, problem)
        return self

    def path(self, X, y, sample_weight=None):
        """Trace the path, choose nothing and change nothing on the estimator.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        ShiftPath
        """
        other = copy.copy(self)
        problem = other._pose_question(X, y, sample_weight)
        return other._named(other._trace(problem), X)

    def predict(self, X):
        """Predict the response of new rows, without shift.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_X_RULES)
        # float32 rows are multiplied in float64, as the coefficients were made.
        return X @ self.coef_.T + self.intercept_

    def _row_factor(self):
        return None

    def _pose_question(self, X, y, sample_weight, reset=True):
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            multi_output=True,
            y_numeric=True,
            ensure_min_samples=2,
            **_X_RULES,
        )
        problem = ShiftProblem(
            X,
            y,
            sample_weight=sample_weight,
            fit_intercept=self.fit_intercept,
            row_factor=self._row_factor(),
        )
        names = getattr(self, "feature_names_in_", None)  # checks made X an array
        problem.feature_names = None if names is None else tuple(map(str, names))
        return problem

    def _choose(self, rule, path, problem):
        if isinstance(rule, OutlierCriterion):
            path = with_exact_freedom(path, problem)
        selection = rule.select(path, problem)
        if path.method == "hard":  # the chosen threshold becomes a knot of its own
            longer = with_hard_knot(path, problem, selection.knot)
            if longer is not path:
                path, selection = longer, rule.select(longer, problem)
        if selection.fallback:
            warnings.warn(selection.message, UserWarning, stacklevel=3)
        self._report(path, selection, problem)

    def _named(self, path, X):
        index = X.index if hasattr(X, "iloc") else None
        # The default index of a data frame only counts.
        if index is None or hasattr(index, "start"):
            return path
        return dataclasses.replace(path, row_names=tuple(map(str, index)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags
