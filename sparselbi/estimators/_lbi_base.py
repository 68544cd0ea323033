"""What the estimators of Linearized Bregman Iteration share."""

from numbers import Real

import numpy as np

from ..penalties import get_penalty
from ..problem import Problem
from ..selection.statistics import half_of
from ..solvers import lbi_path
from .base import BaseRegularizationPathEstimator


class BaseLBI(BaseRegularizationPathEstimator):
    """Turns the parameters that these estimators have in common into arguments.

    A subclass stores all parameters of `Problem` and `lbi_path`, and says in
    `_describe` with which loss and which penalty it calls `_make_problem`.
    """

    _instead_of_refit = "Use a large kappa such as 100 instead of refit."

    def _make_problem(self, X, y, sample_weight, loss, penalty):
        """Return the `Problem` with this loss and the penalty of this name."""
        if self.refit and self.positive:
            raise ValueError(
                "refit=True and positive=True contradict each other: a fit without "
                f"penalty has no sign constraint. {self._instead_of_refit}"
            )
        return Problem(
            X,
            y,
            loss=loss,
            penalty=get_penalty(penalty, positive=self.positive),
            sample_weight=sample_weight,
            fit_intercept=self.fit_intercept,
            standardize=self.standardize,
            penalty_factor=self.penalty_factor,
            groups=self.groups,
            group_weight=self.group_weight,
        )

    def _trace(self, problem):
        return lbi_path(
            problem,
            kappa=self.kappa,
            kappa_raw=self.kappa_raw,
            step_size=self.step_size,
            t_max=self.t_max,
            n_knots=self.n_knots,
            max_features=self._limit(problem),
        )

    def _limit(self, problem):
        """`max_features` as a number; "auto" is where criteria stop to score."""
        if not isinstance(self.max_features, str):
            return self.max_features
        if self.max_features != "auto":
            raise ValueError(
                f"max_features={self.max_features!r} is unknown; use 'auto' (half as "
                "many as samples), an integer, or None for no limit."
            )
        if self.t_max is not None or isinstance(self.selector, Real):
            return None  # the end of the path, or the point, was asked for
        return max(1, int(half_of(problem.total_weight)))

    @property
    def _wants_exact_path(self):
        return (
            self.kappa_raw is None
            and isinstance(self.kappa, Real)
            and self.kappa == np.inf
        )
