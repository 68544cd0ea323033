"""Regression with a sparse shift for each row: who are the outliers?"""

import copy
import dataclasses
from numbers import Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._path_checks import check_choice
from .._shift_checks import check_same_rows
from .._shift_design import SingularFit
from ..selection.outliers import get_outlier_selector
from ..solvers import hard_path, huber_path, shift_iss_path, shift_lbi_path
from ._robust_inference import cut_of_threshold, rejection_inference
from ._shift_base import BaseShiftRegressor

METHODS = ("hard", "iss", "lbi", "l1")


class OutlierRegression(BaseShiftRegressor):
    """Linear regression in which outlying rows get a shift of their own.

    ``y = X coef + intercept + shift + noise`` with shifts that are 0 for most rows. A
    path orders the rows by how outlying they are, a rule says where outliers end, and
    the coefficients are fitted without them.

    Parameters
    ----------
    method : {"hard", "iss", "lbi", "l1"}, default="hard"
        - "hard": skipped mean from a high-breakdown start (fast-S), for each threshold.
          The only one that finds outliers of high leverage.
        - "iss": exact inverse scale space path; least squares without the rows shifted
          so far. One response.
        - "lbi": its damped, discrete version, for several responses and large data.
        - "l1": soft shifts, which is Huber regression along all thresholds. Convex;
          outliers of high leverage mask each other.
    selector : str, float or selector, default="auto"
        Which point of the path is reported.

        - "auto": "cut" for "hard", "sigma" otherwise;
        - "cut": residuals beyond 3 S-scales;
        - "sigma": beyond 2.5 standard deviations, of the rows that are kept ("l1":
          Huber's Proposal 2);
        - "bic", "aic": criteria of She and Owen;
        - "cv": trimmed loss of held-out rows;
        - "gap": the largest gap between entries, on a logarithmic scale;
        - a number: that threshold in units of y ("hard", "l1") or that t ("iss",
          "lbi"); an object with ``select(path, problem)``, for example
          ``sparselbi.selection.ScaleCut(3.5, scale="mad")``.
    fit_intercept : bool, default=True
    leverage_scaling : bool, default=False
        Thresholds proportional to ``sqrt(1 - leverage)``, the standard deviation of
        a residual of least squares.
    refit : bool, default=True
        Report least squares without the outliers. False: the point of the path itself,
        which "l1" and "lbi" shrink towards the outliers.
    max_outliers : int, float or None, default=None
        The path ends before more rows (in weights) are shifted. At most, and None, half
        of them: beyond that nobody can say which half is right.
    n_knots : int, default=100
        Knots of "lbi", and of "l1" on large data. Other paths have all their events.
    kappa : float, default=10
        Damping of "lbi".
    t_max : float or None, default=None
        Last t of "iss" and "lbi", in units of 1 / y; None: where `max_outliers` ends
        them (ISS), or 100 times the first entry (LBI).
    random_state : int, RandomState instance or None, default=0
        For the subsamples of the S fit.

    Attributes
    ----------
    path_ : ShiftPath
        Order, events and coefficients along all thresholds.
    selection_ : Selection
        The chosen point, and the scale estimate and whatever else led to it.
    outliers_ : ndarray of bool of shape (n_samples,)
    outlier_order_ : ndarray of int
        Rows in the order in which they are shifted, most outlying first; as far as the
        path goes.
    gamma_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Shifts: the residuals of outliers (shrunk ones without `refit`), 0 elsewhere.
    coef_ : ndarray of shape (n_features,) or (n_outputs, n_features)
    intercept_ : float or ndarray of shape (n_outputs,)
    scale_ : float
        Standard deviation of the noise (of several outputs the root of the mean
        variance), from the rows that are kept, corrected for the tails that the cut has
        removed; 0 for a perfect fit.
    coef_cov_ : ndarray of shape (n_features, n_features) or None
        Of `coef_`, after rejection (of each output if there are several); None without
        `refit`.
    n_iter_ : int
    n_features_in_, feature_names_in_

    See Also
    --------
    HuberRegression : bounded influence without a decision about rows.
    sparselbi.regression_diagnostics : what single rows do to least squares.

    References
    ----------
    Y. She, A. B. Owen (2011). Outlier detection using nonconvex penalized regression.
    JASA 106, 626-639. J. Fan, R. Tang, X. Shi (2018). Partial consistency with sparse
    incidental parameters. Statistica Sinica 28, 2633-2655.

    Examples
    --------
    >>> from sparselbi import OutlierRegression
    >>> from sparselbi.datasets import load_stars_cyg
    >>> X, y = load_stars_cyg(return_X_y=True)
    >>> model = OutlierRegression().fit(X, y)
    >>> model.outliers_.nonzero()[0] + 1
    array([11, 20, 30, 34])
    """

    def __init__(
        self,
        method="hard",
        *,
        selector="auto",
        fit_intercept=True,
        leverage_scaling=False,
        refit=True,
        max_outliers=None,
        n_knots=100,
        kappa=10.0,
        t_max=None,
        random_state=0,
    ):
        self.method = method
        self.selector = selector
        self.fit_intercept = fit_intercept
        self.leverage_scaling = leverage_scaling
        self.refit = refit
        self.max_outliers = max_outliers
        self.n_knots = n_knots
        self.kappa = kappa
        self.t_max = t_max
        self.random_state = random_state

    def _row_factor(self):
        return "leverage" if self.leverage_scaling else None

    def _rule(self):
        check_choice("method", self.method, METHODS)
        state = self.random_state
        return get_outlier_selector(self.selector, self.method, random_state=state)

    def _trace(self, problem):
        limit = self._limit(problem)
        if self.method == "hard":
            state = self.random_state
            return hard_path(problem, max_outliers=limit, random_state=state)
        if self.method == "iss":
            t_max = self.t_max
            return shift_iss_path(problem, t_max=t_max, max_outliers=limit)
        if self.method == "lbi":
            return shift_lbi_path(
                problem,
                kappa=self.kappa,
                t_max=self.t_max,
                n_knots=self.n_knots,
                max_outliers=limit,
            )
        return huber_path(problem, n_knots=self.n_knots, max_outliers=limit)

    def _limit(self, problem):
        half = problem.total_weight / 2
        if self.max_outliers is None:
            return half
        number = isinstance(self.max_outliers, Real)
        if not number or not 0 <= self.max_outliers <= half:
            raise ValueError(
                f"max_outliers={self.max_outliers!r} must be a number between 0 and "
                f"half of the rows, {half:g}: with more, the outliers are as good an "
                "explanation of the data as the others. None stands for half."
            )
        return self.max_outliers

    def _report(self, path, selection, problem):
        knot, design = selection.knot, problem.design
        mask = path.outliers(knot)
        self.path_, self.selection_, self.n_iter_ = path, selection, path.n_iter
        self.outliers_, self.outlier_order_ = mask, path.outlier_order()
        coords = self._without_outliers(design, mask)
        self._inference = None
        self.scale_, self.coef_cov_ = np.nan, None
        left = _weight(problem, ~mask) > problem.rank * (1 + 1e-12)
        if coords is not None and left:
            cut = _effective_cut(path, selection, problem, coords, mask)
            self._inference = found = rejection_inference(problem, ~mask, cut)
            self.scale_ = float(np.sqrt(np.mean(np.square(found.info["scale"]))))
        if self.refit:
            if self._inference is not None:
                self.coef_cov_ = self._inference.coef_cov
            coef, intercept = design.to_coefs(coords)
            shift = np.zeros((problem.n_samples, problem.n_outputs))
            for some in _slices(np.flatnonzero(mask)):
                Z, Y = design.take(some)
                shift[some] = Y - Z @ coords
            if problem.one_response:
                coef, intercept, shift = coef[0], intercept[0], shift[:, 0]
        else:
            point = path.at(knot)
            coef, intercept = point.coef, point.intercept
            shift = path.shifts_of(problem, knot)
        self.coef_, self.intercept_, self.gamma_ = coef, intercept, shift
        if problem.one_response:
            self.intercept_ = float(intercept)

    def _without_outliers(self, design, mask):
        """Least squares of the rows that are kept, None if it is not needed."""
        try:
            return design.least_squares(~mask)
        except SingularFit as error:
            if not self.refit:
                return None
            raise ValueError(
                f"{error}: {np.count_nonzero(mask)} rows are flagged, and some feature "
                "varies in those only (a rare level of a factor, for example). Use "
                "refit=False to report the point of the path, method='hard', a larger "
                "cut, or leave the feature out."
            ) from error

    def fit_predict(self, X, y, sample_weight=None):
        """Fit, and return -1 for outliers and 1 for other rows, (n_samples,).

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        """
        return np.where(self.fit(X, y, sample_weight).outliers_, -1, 1)

    def select(self, selector, X, y, sample_weight=None):
        """Return a copy of the fitted estimator with another point of its path.

        Parameters
        ----------
        selector : str, float or selector
            As the parameter `selector`; it becomes that parameter of the copy.
        X, y, sample_weight
            As given to `fit`: shifts and refits follow from the data, and are not kept.

        Returns
        -------
        OutlierRegression
            Shares ``path_`` with this one, which does not change; a "hard" path gets
            the chosen threshold as one more knot, and "bic" and "aic" replace bounds of
            the degrees of freedom by exact ones.

        Raises
        ------
        NotFittedError
            If there is no path yet.
        ValueError
            If the selector is unknown, or these are other data.
        """
        check_is_fitted(self)
        other = copy.copy(self)
        other.selector = selector
        problem = other._pose_question(X, y, sample_weight, reset=False)
        check_same_rows(self.path_, problem)
        other._choose(other._rule(), self.path_, problem)
        return other

    def conf_int(self, level=0.95):
        """Confidence intervals of the coefficients, after rejection of the outliers.

        Parameters
        ----------
        level : float, default=0.95

        Returns
        -------
        pandas.DataFrame
            One line per coefficient, the intercept last: ``coef``, ``standard_error``,
            ``low``, ``high``.

        Raises
        ------
        ValueError
            Without `refit`: shrunk coefficients are biased, and no interval around them
            is known. If the rows that are kept leave no residual.

        Notes
        -----
        A cut at k standard deviations removes tails of the noise too: the variance that
        is left is divided by ``(A - J) / A`` and the standard errors are multiplied by
        ``sqrt(A / (A - J))``, ``A = 2 Phi(k) - 1``, ``J = 2 k phi(k)``. k is the
        threshold over the standard deviation of the rows that are kept (so corrected),
        whatever scale the threshold came from: outliers enlarge those. Rules that look
        for the threshold ("gap", "bic", "cv") and flag nobody have cut nothing.
        Outliers too small to be found, and the choice of the rule, are not accounted
        for.
        """
        return self.inference(level).to_frame()

    def inference(self, level=0.95):
        """What stands behind `conf_int`: covariances, contrasts, the correction.

        Parameters
        ----------
        level : float, default=0.95

        Returns
        -------
        CoefficientInference

        Raises
        ------
        ValueError
            As `conf_int`.
        """
        check_is_fitted(self)
        if not self.refit:
            raise ValueError(
                "refit=False reports coefficients that are shrunk towards the "
                "outliers, and there are no intervals for those; use refit=True."
            )
        if self._inference is None:
            raise ValueError(
                f"{np.count_nonzero(~self.outliers_)} rows were kept, which leave no "
                "residuals and therefore no scale; select a point with fewer outliers."
            )
        return dataclasses.replace(self._inference, level=level)

    def standardized_residuals(self, X, y):
        """Residuals in standard deviations of the noise, also of new rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        ndarray like y
            ``(y - predict(X)) / scale_``; beyond 3 or so, a row is an outlier.
        """
        residual = np.asarray(y) - self.predict(X)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(residual == 0, 0.0, residual / self.scale_)


def _effective_cut(path, selection, problem, coords, mask):
    """Where the residuals were cut, in standard deviations of the noise."""
    design, found = problem.design, selection.quantities
    norms = design.norms(coords)
    threshold = selection.knot
    given = selection.rule == "fixed" or "cut_per_scale" in found
    if path.knot_name == "t":  # no threshold there
        given = "cut_per_scale" in found
        if given:
            threshold = found["cut_per_scale"] * found["scale"]
        else:  # the flagged rows are new to the fit: these are deleted residuals
            beyond = mask & np.isfinite(problem.row_factor)
            threshold = (norms / problem.row_factor)[beyond].min(initial=np.inf)
    if not given and not mask.any():
        return np.inf  # the data have moved the threshold beyond all residuals
    weight = 1.0 if design.weight is None else design.weight[~mask]
    left = np.sum(weight * norms[~mask] ** 2)
    df = (_weight(problem, ~mask) - problem.rank) * problem.n_outputs
    return cut_of_threshold(left / df, threshold, problem.n_outputs)


def _weight(problem, rows):
    weight = problem.sample_weight
    return float(np.count_nonzero(rows) if weight is None else weight[rows].sum())


def _slices(rows, step=1 << 15):
    return [rows[k : k + step] for k in range(0, len(rows), step)]
