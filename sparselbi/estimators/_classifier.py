"""What the classifiers share: labels, class weights, probabilities."""

from numbers import Real

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from ..problem import check_weight


class PathClassifierMixin(ClassifierMixin):
    """Turns linear predictors into labels, and labels into codes with weights.

    The estimator has the parameter ``class_weight`` and inherits from
    `BaseRegularizationPathEstimator`, whose methods are extended here.
    """

    def decision_function(self, X):
        """Linear predictors at the chosen point.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log odds of ``classes_[1]``. For more, probabilities
            are their softmax and predictions their maximum.
        """
        eta = self._linear_predictor(X)
        return eta[:, 0] if len(self.classes_) == 2 else eta

    def predict(self, X):
        """Predict classes at the chosen point; ``path_.predict(X)`` does at all knots.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        return self._labels(self.decision_function(X))

    def _labels(self, eta):
        return self.classes_[eta.argmax(axis=1) if eta.ndim == 2 else 1 * (eta > 0)]

    def predict_proba(self, X):
        """Predict class probabilities at the chosen point.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return probabilities(self.decision_function(X))

    def predict_log_proba(self, X):
        """Predict logarithms of class probabilities, finite also where they are tiny.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return log_probabilities(self.decision_function(X))

    def _pose_question(self, X, y, *args, **kwargs):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None. Row moments and blocks of rows are for the squared loss, that "
                "is for LBI."
            )
        return super()._pose_question(X, y, *args, **kwargs)

    def _check(self, X, y, reset=True):
        shape = tuple(getattr(y, "shape", ()))
        if len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"y has shape {shape}, but y should be a 1d array with one label per "
                "sample; labels of one-hot rows are y.argmax(axis=1)."
            )
        X, y = super()._check(X, y, reset=reset)
        try:
            check_classification_targets(y)
        except TypeError as error:
            kinds = sorted({type(label).__name__ for label in y})
            raise ValueError(
                f"y mixes labels of the types {kinds}, which cannot be sorted; use "
                "strings or numbers, and drop samples without a label."
            ) from error
        return X, y

    def _weigh(self, y, sample_weight):
        """Labels and number of the classes that count, weights with class weights."""
        classes, codes = np.unique(y, return_inverse=True)
        factor = _class_factors(self.class_weight, classes)
        weight = check_weight(sample_weight, len(y))
        total = np.bincount(codes, weight)
        if isinstance(factor, str):
            factor = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        if factor is not None:
            weight = weight * factor[codes]
            if not weight.any():
                raise ValueError(
                    f"class_weight={self.class_weight!r} gives weight 0 to all samples."
                )
            weight *= total.sum() / weight.sum()
            total = np.bincount(codes, weight)
            sample_weight = weight
        present = total > 0
        if present.sum() < 2:
            only = classes.tolist()[np.argmax(total)]
            where = "" if present.all() else " among the samples with positive weight"
            raise ValueError(
                f"y has a single class ({only!r}){where}; {type(self).__name__} needs "
                "at least two classes."
            )
        if not present.all():
            # Samples of weight 0 are as good as absent, whatever they are called.
            codes = np.where(present[codes], codes, np.argmax(total))
            y = classes[codes]
        return y, present.sum(), sample_weight

    def _report(self, path, selection, problem):
        super()._report(path, selection, problem)
        self.classes_ = path.classes


def probabilities(eta):
    """Class probabilities from `decision_function`."""
    if eta.ndim == 2:
        return softmax(eta, axis=1)
    return np.column_stack([expit(-eta), expit(eta)])


def log_probabilities(eta):
    """Their logarithms."""
    if eta.ndim == 2:
        return log_softmax(eta, axis=1)
    return np.column_stack([log_expit(-eta), log_expit(eta)])


def _class_factors(class_weight, classes):
    """None, "balanced", or an array with the factor of each class."""
    if class_weight is None or (
        isinstance(class_weight, str) and class_weight == "balanced"
    ):
        return class_weight
    if not isinstance(class_weight, dict):
        raise ValueError(
            f"class_weight={class_weight!r} is unknown; use 'balanced', a dict such as "
            f"{{{classes.tolist()[0]!r}: 2.0}}, or None."
        )
    labels = classes.tolist()
    if unknown := [label for label in class_weight if label not in labels]:
        raise ValueError(
            f"class_weight has the key {unknown[0]!r}, but y has the classes "
            f"{labels[:10]}{' ...' if len(labels) > 10 else ''}; leave it out."
        )
    for label, value in class_weight.items():
        if not isinstance(value, Real) or not 0 <= float(value) < np.inf:
            raise ValueError(
                f"class_weight has the value {value!r} for class {label!r}; it must "
                "be a finite number of at least 0."
            )
    return np.array([float(class_weight.get(label, 1.0)) for label in labels])
