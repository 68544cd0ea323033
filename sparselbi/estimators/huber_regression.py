"""Huber regression with a threshold in units of the noise, and its whole path."""

import copy
import dataclasses
from numbers import Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._path_checks import check_choice
from .._shift_checks import check_same_rows
from ..scales import huber_constant, huber_tuning
from ..solvers._shift_trace import ShiftTrace
from ..solvers.huber import huber_path
from ..solvers.shift_paths import as_shift_path
from ._huber_threshold import HuberFits, HuberThreshold
from ._robust_inference import huber_inference
from ._shift_base import BaseShiftRegressor

SCALES = ("proposal2", "mad", "s")
# A residual so little beyond the threshold is on it.
_ON_IT = 1e-9


class HuberRegression(BaseShiftRegressor):
    """Huber regression: bounded influence, at a stated efficiency.

    Residuals count with their square up to a threshold, and linearly beyond: it
    minimizes ``sum_i w_i rho(|y_i - X_i coef - intercept|)``, where ``rho(r)`` is ``r^2
    / 2`` for ``r <= threshold`` and ``threshold r - threshold^2 / 2`` above. The
    threshold is ``k * scale_``, and k follows from the efficiency; the fits at all
    other thresholds are in ``path_``.

    Parameters
    ----------
    efficiency : float, default=0.95
        Variance of least squares over that of this estimator, asymptotically, if the
        noise is normal. 0.95 is k = 1.345 for one response.
    threshold : float, default=None
        In units of y; replaces `efficiency` and `scale`.
    scale : {"proposal2", "mad", "s"}, default="proposal2"
        Where the standard deviation of the noise is taken from.

        - "proposal2": solved for together with the coefficients, such that the
          residuals, cut at the threshold, have the sum of squares that they have for
          normal noise, per degree of freedom. Unique.
        - "mad": 1.4826 times the median absolute residual of the fit itself. If several
          thresholds agree with their fits, the one met first from least squares.
        - "s": of a fast-S fit, the only one that outliers of high leverage cannot
          inflate without bound. The coefficients can still be bent by them.
    fit_intercept : bool, default=True
    n_knots : int, default=50
        Of the path of large data or several outputs. Other paths have all events.
    random_state : int, RandomState instance or None, default=0
        For the subsamples of the S fit.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_outputs, n_features)
    intercept_ : float or ndarray of shape (n_outputs,)
    threshold_ : float
        In units of y; 0 after a perfect fit.
    scale_ : float
        In units of y. With `threshold` given: the standard deviation of normal noise
        for which the residuals, cut there, have their sum of squares; NaN if nearly all
        are beyond it.
    path_ : ShiftPath
        The fits at all thresholds, and where each row passes it.
    selection_ : Selection
        The threshold, and all that led to it.
    weights_ : ndarray of shape (n_samples,)
        ``min(1, threshold_ / |residual|)``: the fit is the weighted least-squares fit.
    outliers_ : ndarray of bool of shape (n_samples,)
        Rows with a weight below 1. With an efficiency of 0.95 these are 18 % of clean
        normal data (of several outputs, more); for a decision about rows see
        `OutlierRegression`.
    outlier_order_ : ndarray of int
        Rows in the order in which they pass the threshold, the largest first.
    coef_cov_ : ndarray of shape (n_features, n_features) or None
        Covariance of the coefficients, of each output if there are several; `conf_int`
        with ``kind="huber"``. None where that says why it has none.
    n_iter_ : int
    n_features_in_, feature_names_in_

    See Also
    --------
    OutlierRegression : which rows are outliers, and the fit without them.
    sparselbi.solvers.huber_path : the path alone.

    Notes
    -----
    *Several outputs.* ``|r|`` is the Euclidean length of the residuals of a row, so
    that outputs should have comparable noise; k is that of c-variate normal noise.

    *What it does not resist.* The influence of a row is bounded in y, not in x: a
    single row of high leverage can bend the fit as much as it likes, with any scale.
    Use ``OutlierRegression(method="hard")``.

    *Perfect fits.* If so many rows lie on one hyperplane that the scale is 0 (more than
    61 % at an efficiency of 0.95 with "proposal2", half with the others), threshold and
    scale are 0, coefficients are those of least absolute deviations, and the rows off
    the plane are flagged.

    *Units.* Shifting and rescaling X and y shifts and rescales the results, up to
    rounding. scikit-learn's ``HuberRegressor(epsilon)`` takes a scale that is 0.68 of
    the standard deviation for normal noise and ``epsilon=1.35``, and has the efficiency
    0.89 there.

    References
    ----------
    P. J. Huber (1964). Robust estimation of a location parameter. Ann. Math. Statist.
    35, 73-101. P. J. Huber, E. M. Ronchetti (2009). Robust Statistics, 2nd edition.
    Wiley. Chapter 7.

    Examples
    --------
    >>> from sparselbi import HuberRegression
    >>> from sparselbi.datasets import load_stackloss
    >>> X, y = load_stackloss(return_X_y=True)
    >>> model = HuberRegression().fit(X, y)
    >>> model.coef_.round(3)
    array([ 0.817,  0.984, -0.131])
    >>> model.conf_int().round(2)
                coef  standard_error    low   high
    feature
    0           0.82            0.12   0.56   1.07
    1           0.98            0.33   0.29   1.68
    2          -0.13            0.14  -0.43   0.16
    intercept -41.14           10.62 -63.55 -18.73
    """

    def __init__(
        self,
        efficiency=0.95,
        *,
        threshold=None,
        scale="proposal2",
        fit_intercept=True,
        n_knots=50,
        random_state=0,
    ):
        self.efficiency = efficiency
        self.threshold = threshold
        self.scale = scale
        self.fit_intercept = fit_intercept
        self.n_knots = n_knots
        self.random_state = random_state

    def select(self, selector, X, y, sample_weight=None):
        """Return a copy of the fitted estimator with another threshold on its path.

        Parameters
        ----------
        selector : float or {"proposal2", "mad", "s"}
            A threshold in units of y, or the rule of the parameter `scale`. It becomes
            that parameter of the copy.
        X, y, sample_weight
            As given to `fit`.

        Returns
        -------
        HuberRegression
            Shares ``path_`` with this one, which does not change.

        Raises
        ------
        NotFittedError
            If there is no path yet.
        ValueError
            If the selector is unknown, or these are other data.
        """
        check_is_fitted(self)
        other = copy.copy(self)
        if isinstance(selector, str):
            other.scale, other.threshold = selector, None
        else:
            other.threshold = selector
        rule = other._rule()
        problem = other._pose_question(X, y, sample_weight, reset=False)
        check_same_rows(self.path_, problem)
        other._choose(rule, self.path_, problem)
        return other

    def conf_int(
        self,
        level=0.95,
        kind="huber",
        X=None,
        y=None,
        sample_weight=None,
        clusters=None,
    ):
        """Confidence intervals of the coefficients.

        Parameters
        ----------
        level : float, default=0.95
        kind : {"huber", "robust", "clustered"}, default="huber"
            - "huber": noise that is alike in all rows, with Huber's finite-sample
              correction. Needs no data.
            - "robust": noise whose spread may depend on x.
            - "clustered": noise that depends within clusters, such as the answers of
              one person.
        X, y, sample_weight : as given to `fit`, default=None
            For "robust" and "clustered".
        clusters : array-like of shape (n_samples,), default=None
            Labels of the clusters.

        Returns
        -------
        pandas.DataFrame
            One line per coefficient, the intercept last: ``coef``, ``standard_error``,
            ``low``, ``high``. NaN for coefficients that dependent columns leave open.

        Raises
        ------
        ValueError
            If an argument is unknown or missing, or the rows within the threshold do
            not determine the fit.

        Notes
        -----
        Formulas and sources stand in the theory page about outliers. That the scale was
        estimated is not accounted for; for symmetric noise it does not matter
        asymptotically.
        """
        return self.inference(
            level, kind, X, y, sample_weight=sample_weight, clusters=clusters
        ).to_frame()

    def inference(
        self,
        level=0.95,
        kind="huber",
        X=None,
        y=None,
        sample_weight=None,
        clusters=None,
    ):
        """Return all that `conf_int` is made of, with covariances and contrasts.

        Parameters
        ----------
        level, kind, X, y, sample_weight, clusters
            As in `conf_int`.

        Returns
        -------
        CoefficientInference
            With ``cov``, ``contrast(weights)`` for differences of coefficients, and
            ``info``.
        """
        check_is_fitted(self)
        check_choice("kind", kind, ("huber", "robust", "clustered"))
        if kind == "huber" and X is None and clusters is None:
            if self._inference is None:
                raise ValueError(self._no_inference)
            return dataclasses.replace(self._inference, level=level)
        if X is None or y is None:
            raise ValueError(
                f"kind={kind!r} reads the residuals of all rows, which are not kept: "
                "give X and y (and sample_weight) as given to fit."
            )
        problem = self._pose_question(X, y, sample_weight, reset=False)
        check_same_rows(self.path_, problem)
        # In the coordinates of this design, which may have another layout.
        point = self._fits(self.path_, problem).at(self.threshold_)
        found = huber_inference(
            problem,
            point.coords,
            self.threshold_,
            kind=kind,
            clusters=clusters,
            level=level,
        )
        return dataclasses.replace(found, feature_names=self.path_.feature_names)

    def _rule(self):
        check_choice("scale", self.scale, SCALES)
        given = self.threshold
        if given is not None and not _is_between(given, 0, np.inf):
            raise ValueError(
                f"threshold={given!r} must be a positive number in units of y, or None "
                "for k times the scale of the residuals."
            )
        if not _is_between(self.efficiency, 0, 1):
            raise ValueError(
                f"efficiency={self.efficiency!r} must be between that of least "
                "absolute deviations (0.64 for one response) and 1; 0.95 is usual."
            )
        return HuberThreshold(self.efficiency, given, self.scale, self.random_state)

    def _trace(self, problem):
        limit = problem.total_weight / 2
        if self.threshold is None:  # Proposal 2 is not beyond so many rows
            k = huber_tuning(self.efficiency, problem.n_outputs)
            share = huber_constant(k, problem.n_outputs) / k**2
            limit = max(limit, share * problem.total_weight)
        return huber_path(problem, n_knots=self.n_knots, max_outliers=limit)

    def _choose(self, rule, path, problem):
        fits = self._fits(path, problem)
        selection, point = rule.choose(fits)
        path = _with_knot(fits.path, problem, selection.knot, point)
        selection = dataclasses.replace(
            selection,
            index=max(int((path.knots >= selection.knot).sum()) - 1, 0),
            scores=np.full(len(path), np.nan),
        )
        self._report(path, selection, problem, point)

    def _fits(self, path, problem):
        def extend(threshold):
            grid = None  # all events
            if path.info["route"] != "exact":
                grid = np.geomspace(path.threshold_max, threshold, self.n_knots)
            names = {n: getattr(path, n) for n in ("feature_names", "row_names")}
            return dataclasses.replace(huber_path(problem, thresholds=grid), **names)

        return HuberFits(problem, path, extend)

    def _report(self, path, selection, problem, point):
        threshold = selection.knot
        self.path_, self.selection_, self.n_iter_ = path, selection, path.n_iter
        self.threshold_ = threshold
        self.scale_ = selection.quantities["scale"]
        coef, intercept = problem.design.to_coefs(point.coords)
        one = problem.one_response
        self.coef_ = coef[0] if one else coef
        self.intercept_ = float(intercept[0]) if one else intercept
        length, limit = np.abs(point.residual), problem.limits(threshold)
        rounding = np.sqrt(np.sum(problem.design.rounding**2))
        self.outliers_ = length > np.maximum(limit * (1 + _ON_IT), rounding)
        self.weights_ = np.ones(problem.n_samples)
        far = self.outliers_
        self.weights_[far] = limit[far] / length[far]
        self.outlier_order_ = path.outlier_order()
        self._inference = self.coef_cov_ = None
        try:
            found = huber_inference(problem, point.coords, threshold)
        except ValueError as error:  # no spread, or too many coefficients
            self._no_inference = str(error)
            return
        self._inference = dataclasses.replace(found, feature_names=path.feature_names)
        self.coef_cov_ = self._inference.coef_cov


def _is_between(value, low, high):
    return isinstance(value, Real) and bool(low < float(value) < high)


def _with_knot(path, problem, threshold, point):
    """The path with the chosen fit as a knot, if it would be read between knots."""
    if path.info["route"] == "exact" or not path.knots[-1] <= threshold < path.knots[0]:
        return path
    k = int(np.count_nonzero(path.knots > threshold))
    alone = as_shift_path(
        problem,
        ShiftTrace(
            knots=np.array([threshold]),
            coords=point.coords[None],
            event_at=np.empty(0),
            event_row=np.empty(0, np.intp),
            event_sign=np.empty(0, np.int8),
            event_enters=np.empty(0, bool),
            rss=np.array([point.rss]),
            n_shifted=np.array([point.n_shifted]),
            status=path.status,
            message=path.message,
            n_iter=path.n_iter,
            interpolation="linear",
        ),
        "l1",
        {},
    )

    def with_it(values, value):
        kept = np.delete(values, k, axis=0) if path.knots[k] == threshold else values
        return np.insert(kept, k, value, axis=0)

    names = ("knots", "active_coefs", "intercepts", "deviance", "size", "df")
    added = {n: with_it(getattr(path, n), getattr(alone, n)[0]) for n in names}
    gap = point.gap / point.value if point.value > 0 else 0.0
    info = {"gap": gap, "n_sweeps": 0}
    info = {n: with_it(path.info[n], value) for n, value in info.items()}
    return dataclasses.replace(path, **added, info=dict(path.info) | info)
