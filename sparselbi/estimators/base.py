"""What all estimators do in the same way: check, describe, trace, choose, report."""

import copy
import dataclasses
import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from ..row_moments import blocks_to_moments
from ..selection import get_selector, with_statistics
from ..solvers.refit import refit_coefs

_X_RULES = {"accept_sparse": ["csc", "csr"], "dtype": [np.float64, np.float32]}


class BaseRegularizationPathEstimator(BaseEstimator):
    """Estimator that traces a whole path and reports one point of it.

    A subclass stores its parameters, among them ``selector``, ``refit``, ``n_jobs`` and
    ``random_state``, and says

    - ``_describe(X, y, sample_weight)``: which `Problem` its parameters ask about;
    - ``_trace(problem)``: which solver answers it, with which arguments.
    """

    def fit(self, X, y=None, sample_weight=None, sample_groups=None):
        """Trace the path and choose a point of it.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            float32 and float64 are used as they are, CSC and CSR stay sparse.
            `RowMoments`, or an iterable of blocks ``(X, y)`` or ``(X, y,
            sample_weight)`` of rows that is read once, for data larger than memory.
        y : array-like of shape (n_samples,)
            Left out for moments and blocks, as are the weights.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight w means the same as w repeated rows, also in selection criteria; so
            the weights should sum to the number of independent samples.
        sample_groups : array-like of shape (n_samples,), default=None
            Labels of samples that belong together (the visits of a patient): folds of
            a cross-validation never separate them. Without effect on other rules.

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
            If a selection rule could not be applied as asked; ``selection_.message``
            says which one was used instead.
        """
        selector = self._selector(self.selector)  # a bad name fails before the work
        problem = self._pose_question(X, y, sample_weight, sample_groups)
        path = with_statistics(self._named(self._trace(problem)), problem)
        selection = _choose(selector, path, problem)
        _check_weight_sum(problem, self._fit_size(path, selection))
        self._report(path, selection, problem)
        return self

    def path(self, X, y=None, sample_weight=None):
        """Trace the path, choose nothing and change nothing on the estimator.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        RegularizationPath
            Without the stored deviances that `fit` adds for selection criteria.
        """
        other = copy.copy(self)
        problem = other._pose_question(X, y, sample_weight, None)
        return other._named(other._trace(problem))

    def select(self, selector, X=None, y=None, sample_weight=None, sample_groups=None):
        """Return a copy of the fitted estimator with another point of its path.

        Parameters
        ----------
        selector : str, float or selector
            As the parameter `selector`; it becomes that parameter of the copy.
        X, y, sample_weight, sample_groups : as given to `fit`, default=None
            Only needed with ``refit=True`` and by selectors that need data, such as
            "cv"; other names and numbers read what `fit` has stored on the path.

        Returns
        -------
        estimator of the same class
            Shares ``path_`` with this one, which does not change.

        Raises
        ------
        NotFittedError
            If there is no path yet.
        ValueError
            If the selector is unknown, or lacks the data that it needs.
        """
        check_is_fitted(self)
        rule = self._selector(selector)
        moments = blocks_to_moments(X) if y is None and X is not None else None
        if moments is None and (X is None) != (y is None):
            raise ValueError(
                f"select got {'X' if y is None else 'y'} without "
                f"{'y' if y is None else 'X'}; give both, as given to fit, or neither."
            )
        problem = None
        if X is not None:
            data = (X if moments is None else moments, y, sample_weight, sample_groups)
            problem = self._pose_question(*data, reset=False)
            _check_same_data(self.path_, problem)
        elif self.refit:
            raise ValueError(
                "refit=True fits the chosen support to the data again; call "
                "select(selector, X, y) with the X, y and sample_weight given to fit."
            )
        other = copy.copy(self)
        other.selector = selector
        other._report(self.path_, _choose(rule, self.path_, problem), problem)
        return other

    def _pose_question(self, X, y, sample_weight, sample_groups, reset=True):
        """The checked data as a `Problem`; also from moments or blocks of rows."""
        moments = blocks_to_moments(X) if y is None else None
        if moments is None:
            X, y = self._check(X, y, reset)
            problem = self._describe(X, y, sample_weight)
            return problem.with_sample_groups(sample_groups)
        if sample_weight is not None or sample_groups is not None:
            raise ValueError(
                "weights and groups belong into the blocks: (X, y, sample_weight), and "
                "RowMoments.from_folds for groups; leave sample_weight and "
                "sample_groups out."
            )
        if moments.n_folds is None:
            X, y, sample_weight = moments.compressed()
        else:
            X, y, sample_weight, sample_groups = moments.compressed_folds()
        X, y = self._check(X, y, reset)
        problem = self._describe(X, y, sample_weight).as_summary()
        return problem.with_sample_groups(sample_groups)

    def _fit_size(self, path, selection):
        """Number of coefficients of the chosen fit, without the intercept."""
        return len(path.support(selection.knot))

    def _selector(self, spec):
        options = {"n_jobs": self.n_jobs, "random_state": self.random_state}
        return get_selector(spec, refit=self.refit, **options)

    def _check(self, X, y, reset=True):
        # Targets are only made one-dimensional here: the loss knows what it accepts.
        return validate_data(self, X, y, reset=reset, ensure_min_samples=2, **_X_RULES)

    def _named(self, path):
        names = getattr(self, "feature_names_in_", None)
        return path if names is None else dataclasses.replace(path, feature_names=names)

    def _report(self, path, selection, problem):
        if self.refit:
            support = path.support(selection.knot)
            fitted, intercept, _ = refit_coefs(problem, support)
            coef = np.zeros(path.coef_shape)
            coef[..., support] = fitted
        else:
            point = path.at(selection.knot)
            coef, intercept = point.coef, point.intercept
        self.path_ = path
        self.selection_ = selection
        self.coef_ = coef
        self.intercept_ = (
            np.array(intercept) if np.ndim(intercept) else float(intercept)
        )
        self.n_iter_ = path.n_iter

    def _linear_predictor(self, X):
        """``X @ coef_.T + intercept_`` for checked X."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_X_RULES)
        return X @ self.coef_.T + self.intercept_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _choose(selector, path, problem):
    selection = selector.select(path, problem)
    if selection.fallback:
        warnings.warn(selection.message, UserWarning, stacklevel=3)
    return selection


def _check_weight_sum(problem, size):
    """Weights are repetition counts: their sum must be able to carry the fit."""
    if problem.sample_weight is None:
        return
    rows = np.count_nonzero(problem.sample_weight)
    free = len(problem.unpenalized) + problem.fit_intercept
    # A criterion scores no model with more than half as many coefficients as samples.
    needed = max(size + problem.fit_intercept, 2 * (free + 1))
    if problem.total_weight * (1 + 1e-12) < needed <= rows:
        raise ValueError(
            f"sample_weight sums to {problem.total_weight:.6g}, but this fit needs at "
            f"least {needed} samples. Weights count repetitions (weight 2 is the row "
            "twice), so their sum is the number of samples; rescale them, for example "
            "sample_weight * len(sample_weight) / sample_weight.sum()."
        )


def _check_same_data(path, problem):
    null = 2 * problem.total_weight * problem.null_loss
    # The deviance of the null model, or without any feature where that is another one.
    of_path = path.info.get("null_deviance", path.deviance[0])
    traced, given = (path.n_samples, of_path), (problem.total_weight, null)
    same = np.allclose(traced, given, rtol=1e-6, atol=0.0)
    if path.coef_shape != problem.coef_shape or not same:
        raise ValueError(
            "select needs the X, y and sample_weight that were given to fit: the path "
            f"was traced on {path.n_samples:g} samples with a null deviance of "
            f"{of_path:.6g}, these are {problem.total_weight:g} samples with "
            f"{null:.6g}."
        )
