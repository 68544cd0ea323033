"""Sparse regression by Linearized Bregman Iteration."""

from sklearn.base import RegressorMixin

from ..losses import get_loss
from ..solvers import iss_path
from ._lbi_base import BaseLBI

_LOSSES = ("squared", "huber")


class LBI(RegressorMixin, BaseLBI):
    r"""Sparse linear regression: one regularization path, one reported point.

    From the null model on, Linearized Bregman Iteration follows the gradient of the
    mean loss over weighted samples,

    .. math:: L(b, \beta) = \frac{\sum_i w_i\, \ell(y_i, b + x_i^T \beta)}{\sum_i w_i},
       \qquad \ell(y, \eta) = \tfrac12 (y - \eta)^2 \text{ for the squared loss},

    in a dual variable z, with columns centred and standardized,

    .. math:: z \leftarrow z - \eta\, \nabla_\beta L, \qquad
       \beta_j \leftarrow \kappa\, \operatorname{sign}(z_j) \max(|z_j| - f_j, 0),

    with step size :math:`\eta` and penalty factors :math:`f_j`. Path time t is the
    step size times the number of steps; it has the units of 1/alpha of the lasso with
    ``(1 / (2 n_samples)) * ||y - X w||^2``, and the first variable enters at the same
    place. Sparsity is controlled by the time at which one stops: `selector` says how.

    Parameters
    ----------
    loss : {"squared", "huber"} or loss instance, default="squared"
        ``Huber(threshold)`` from `sparselbi.losses` sets the threshold in units of y;
        "huber" takes 1.345 robust standard deviations of y.
    kappa : float, default=30.0
        Damping, dimensionless: the iteration uses ``kappa * s_y / s_X``, with the
        standard deviation of y (for Huber's loss a robust one) and the root mean
        variance of the columns as used. Larger values take more steps and shrink less.
        ``np.inf`` is the exact inverse scale space path: piecewise constant, least
        squares on every support; for the squared loss without groups.
    kappa_raw : float, default=None
        The damping as the iteration uses it; replaces `kappa`.
    step_size : "auto" or float, default="auto"
        "auto" is half of the stability limit.
    fit_intercept : bool, default=True
    standardize : bool, default=True
        Divide columns by their weighted root mean square (after centring) while the
        path is traced. Coefficients are always on the original scale of X.
    penalty_factor : array-like of shape (n_features,), default=None
        Threshold of each feature, 1 for all by default. 0: never penalized, always in;
        inf: never in.
    groups : array-like of shape (n_features,), default=None
        Group label of each feature. The coefficients of a group enter and leave
        together: :math:`|z_j|` above becomes the Euclidean norm of the group.
    group_weight : {"unit", "sqrt"}, default="unit"
        Threshold of a group: 1, or the square root of its size.
    positive : bool, default=False
        Only coefficients >= 0 (unpenalized ones are free).
    selector : {"ebic", "bic", "aic", "cv", "cv_1se"}, float or selector, default="ebic"
        Which point of the path to report: the minimum of an information criterion, the
        minimum of the cross-validated error, or the earliest t within one standard
        error of that. A number is that time t. Objects with a method
        ``select(path, problem)`` can have options, such as
        ``sparselbi.selection.InformationCriterion("bic", cap=20)``.
    t_max : float, default=None
        Where the path ends. None is 100 times the first entry time, for
        ``kappa=np.inf`` the least-squares fit.
    n_knots : int, default=100
        Knots on a logarithmic grid; more are added where coefficients move fast.
        Without effect for ``kappa=np.inf``, where every change is a knot.
    max_features : "auto", int or None, default="auto"
        The path ends before more features than this are active. "auto" is half as many
        as samples: beyond that no criterion scores a model, supports are not unique,
        and most of the time of a path would go there; no limit if `t_max` is given or
        `selector` is a number. None: no limit.
    refit : bool, default=False
        Report the unpenalized fit on the chosen support. Excludes `positive`.
    random_state : int, RandomState or None, default=0
        Seed of the shuffled folds of the selectors "cv" and "cv_1se".
    n_jobs : int, default=None
        Joblib workers of cross-validation; None is 1 outside of a joblib context.

    Attributes
    ----------
    path_ : RegularizationPath
        The whole path; ``path_.plot()``, ``path_.at(t)``, ``path_.predict(X)``.
    selection_ : Selection
        The chosen knot, the scores of all knots, and every quantity that entered.
    coef_ : ndarray of shape (n_features,)
        Coefficients at the chosen point.
    intercept_ : float
    n_iter_ : int
        Steps of the iteration (knots, for ``kappa=np.inf``).
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only for data frames whose column names are all strings.

    See Also
    --------
    sparselbi.LBIClassifier : The same for class labels.
    sparselbi.lbi_path : The path from a `Problem`.
    sparselbi.iss_path : The path of ``kappa=np.inf``.
    sparselbi.selection.InformationCriterion : What "ebic", "bic" and "aic" compute.

    Notes
    -----
    Rescaling y, or with `standardize` a column of X, rescales path and coefficients and
    changes nothing else. Constant columns get coefficient 0.

    References
    ----------
    .. [1] Osher, S., Ruan, F., Xiong, J., Yao, Y. and Yin, W. (2016). Sparse recovery
       via differential inclusions. Applied and Computational Harmonic Analysis 41,
       436-469. https://arxiv.org/abs/1406.7728
    .. [2] Chen, J. and Chen, Z. (2008). Extended Bayesian information criteria for
       model selection with large model spaces. Biometrika 95, 759-771.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparselbi import LBI
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = LBI().fit(X, y)
    >>> list(model.feature_names_in_[model.coef_ != 0])
    ['sex', 'bmi', 'bp', 's3', 's5']
    >>> print(f"R^2 = {model.score(X, y):.2f}")
    R^2 = 0.51

    Another rule reads the same path and needs no data:

    >>> larger = model.select("aic")
    >>> list(larger.feature_names_in_[larger.coef_ != 0])
    ['sex', 'bmi', 'bp', 's1', 's3', 's5', 's6']
    """

    def __init__(
        self,
        loss="squared",
        *,
        kappa=30.0,
        kappa_raw=None,
        step_size="auto",
        fit_intercept=True,
        standardize=True,
        penalty_factor=None,
        groups=None,
        group_weight="unit",
        positive=False,
        selector="ebic",
        t_max=None,
        n_knots=100,
        max_features="auto",
        refit=False,
        random_state=0,
        n_jobs=None,
    ):
        self.loss = loss
        self.kappa = kappa
        self.kappa_raw = kappa_raw
        self.step_size = step_size
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.penalty_factor = penalty_factor
        self.groups = groups
        self.group_weight = group_weight
        self.positive = positive
        self.selector = selector
        self.t_max = t_max
        self.n_knots = n_knots
        self.max_features = max_features
        self.refit = refit
        self.random_state = random_state
        self.n_jobs = n_jobs

    _instead_of_refit = (
        "Use kappa=np.inf instead of refit; its path consists of least-squares fits "
        "that keep the signs."
    )

    def predict(self, X):
        """Predict at the chosen point; ``path_.predict(X)`` predicts at all knots.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._linear_predictor(X)

    def _describe(self, X, y, sample_weight):
        loss = get_loss(self.loss)
        if loss.name not in _LOSSES:
            raise ValueError(
                f"loss={self.loss!r} is for class labels, LBI is for numbers: use one "
                f"of {_LOSSES}, or LBIClassifier for class labels."
            )
        penalty = "l1" if self.groups is None else "group"
        return self._make_problem(X, y, sample_weight, loss, penalty)

    def _trace(self, problem):
        if not self._wants_exact_path:
            return super()._trace(problem)
        if problem.loss.name != "squared" or problem.penalty.name != "l1":
            raise ValueError(
                f"kappa={self.kappa} needs loss='squared' and groups=None, got "
                f"loss={self.loss!r} with groups "
                f"{'given' if self.groups is not None else 'None'}; use a large finite "
                "kappa such as 100."
            )
        if self.step_size != "auto":
            raise ValueError(
                f"step_size={self.step_size!r} has no meaning with kappa={self.kappa}, "
                "whose path is exact; leave it at 'auto'."
            )
        return iss_path(problem, t_max=self.t_max, max_features=self._limit(problem))
