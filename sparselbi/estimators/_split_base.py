"""What the estimators of Split LBI share."""

import math
from numbers import Real

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from ..penalties.transforms import as_transform
from ..problem import Problem
from ..selection.statistics import half_of
from ..solvers import SupportFits, split_iss_path, split_lbi_path
from ..solvers._split_question import restore_split
from .base import _X_RULES, BaseRegularizationPathEstimator

_WHICH = ("dense", "sparse", "refit")


class BaseSplitLBI(BaseRegularizationPathEstimator):
    """Turns the parameters that these estimators have in common into arguments.

    A subclass stores the parameters, says in `_describe` with which loss it calls
    `_make_problem`, and which ``penalty`` the rows have in `_row_penalty`.
    """

    def _make_problem(self, X, y, sample_weight, loss):
        return Problem(
            X,
            y,
            loss=loss,
            sample_weight=sample_weight,
            fit_intercept=self.fit_intercept,
            standardize=self.standardize,
        )

    def _row_penalty(self, problem):
        return "auto"

    def _trace(self, problem):
        D = as_transform(self.D, problem.n_features)
        options = {
            "nu": self.nu,
            "nu_raw": self.nu_raw,
            "row_weight": self.row_weight,
            "row_positive": self.positive,
            "t_max": self.t_max,
            "max_rows": self._limit(problem, D),
        }
        if self._wants_exact_path:
            self._check_exact(D)
            return split_iss_path(problem, D, **options)
        return split_lbi_path(
            problem,
            D,
            kappa=self.kappa,
            kappa_raw=self.kappa_raw,
            method=getattr(self, "method", "auto"),
            step_size=self.step_size,
            penalty=self._row_penalty(problem),
            row_groups=self.row_groups,
            row_group_weight=self.row_group_weight,
            n_knots=self.n_knots,
            **options,
        )

    @property
    def _wants_exact_path(self):
        return (
            self.kappa_raw is None
            and isinstance(self.kappa, Real)
            and self.kappa == np.inf
        )

    def _check_exact(self, D):
        if getattr(self, "method", "auto") == "joint":
            raise ValueError(
                "kappa=inf is the exact limit of the eliminated form; use "
                "method='auto' with it, or a finite kappa with method='joint'."
            )
        if self.row_groups is not None or D.groups is not None:
            raise ValueError(
                "kappa=inf takes rows of D one by one, but there are groups of rows; "
                "use a finite kappa such as 100."
            )

    def _limit(self, problem, D):
        """`max_rows` as a number; "auto" is where criteria stop to score."""
        if not isinstance(self.max_rows, str):
            return self.max_rows
        if self.max_rows != "auto":
            raise ValueError(
                f"max_rows={self.max_rows!r} is unknown; use 'auto', an integer, or "
                "None for no limit."
            )
        if self.t_max is not None or isinstance(self.selector, Real):
            return None  # the end of the path, or the point, was asked for
        # A fit with n/2 free dimensions has about that many active rows, times the
        # number of rows per dimension. One cut through a graph can take many more.
        rank, least = min(D.shape), 1
        if D.is_graph and not D.full_row_rank:
            rank = max(1, min(rank, D.n_features - D.components()[0]))
            least = D.n_rows // 10
        rows = math.ceil(half_of(problem.total_weight) * D.n_rows / rank)
        return max(1, least, rows)

    def _fit_size(self, path, selection):
        return int(np.nan_to_num(path.info["df_refit"][selection.index]))

    def _report(self, path, selection, problem):
        knot = selection.knot
        point, sparse = path.at(knot), path.projected(knot)
        self.path_, self.selection_ = path, selection
        self.sparse_coef_, self.sparse_intercept_ = sparse.coef, sparse.intercept
        self.split_coef_ = point.split_coef
        self._set_refit(path, knot, problem)
        coef, intercept = point.coef, point.intercept
        if self.refit:
            coef, intercept = self.refit_coef_, self.refit_intercept_
        self.coef_ = coef
        self.intercept_ = (
            np.array(intercept) if np.ndim(intercept) else float(intercept)
        )
        self.dense_coef_, self.dense_intercept_ = point.coef, point.intercept
        self.n_iter_ = path.n_iter

    def _set_refit(self, path, knot, problem):
        self.refit_coef_ = self.refit_intercept_ = None
        if problem is None:
            return
        fits = SupportFits(restore_split(path, problem))
        mask = path.active_rows(knot)[~path._free]
        # Beyond that the fit is saturated; it is made if it was asked for.
        limit = np.inf if self.refit else problem.total_weight - 1
        coefs, intercepts, _, df = fits.refits(mask[None], limit)
        if np.isnan(df[0]):
            return
        coef, intercept = fits.split.to_original(coefs[0], intercepts[0])
        if len(path.coef_shape) == 1:
            coef, intercept = coef[0], float(intercept[0])
        self.refit_coef_, self.refit_intercept_ = coef, intercept

    def _linear_predictor(self, X, which=None):
        """Linear predictors (n_samples,) or (n_samples, n_outputs) for checked X."""
        if which is None:
            return super()._linear_predictor(X)
        check_is_fitted(self)
        if not isinstance(which, str) or which not in _WHICH:
            raise ValueError(
                f"which={which!r} is unknown; use one of {_WHICH}, or None for the "
                "coefficients reported as coef_."
            )
        coef = getattr(self, f"{which}_coef_")
        if coef is None:
            raise ValueError(
                "there is no refit: select() was called without data (then call "
                "select(selector, X, y) with the data given to fit), or the chosen "
                "structure has as many dimensions as there are samples (then select an "
                "earlier point)."
            )
        X = validate_data(self, X, reset=False, **_X_RULES)
        return X @ coef.T + getattr(self, f"{which}_intercept_")

    def decompose(self, **options):
        """Strong, weak and null parts of the dense coefficients at the chosen point.

        Parameters
        ----------
        **options
            See `sparselbi.solvers.decompose`.

        Returns
        -------
        Decomposition
        """
        check_is_fitted(self)
        return self.path_.decompose(self.selection_.knot, **options)
