"""Sparse classification by Linearized Bregman Iteration."""

from ._classifier import PathClassifierMixin
from ._lbi_base import BaseLBI

_MULTINOMIAL = ("grouped", "entrywise")


class LBIClassifier(PathClassifierMixin, BaseLBI):
    r"""Sparse logistic and softmax regression: one regularization path, one point.

    From the null model on, Linearized Bregman Iteration follows the gradient of the
    mean loss over weighted samples, with linear predictors
    :math:`\eta_k = b_k + x^T \beta_k`,

    .. math:: L = \frac{\sum_i w_i\, \ell(y_i, \eta(x_i))}{\sum_i w_i}, \qquad
       \ell(y, \eta) = \log \sum_k e^{\eta_k} - \eta_y ,

    in a dual variable z, with columns centred and standardized,

    .. math:: z \leftarrow z - s\, \nabla_\beta L, \qquad
       \beta_{kj} \leftarrow \kappa\, z_{kj} \max(1 - f_j / \|z_j\|, 0),

    with step size s, penalty factors :math:`f_j`, and the Euclidean norm of
    feature j over all classes, or :math:`|z_{kj}|` with ``multinomial="entrywise"``.
    Two classes have one coefficient per feature, that of the second class, and the
    logistic loss :math:`\log(1 + e^{\eta}) - y \eta`, y = 0 or 1. Path time t is the
    step size times the number of steps; the first feature enters at the inverse of the
    largest gradient of the null model. Sparsity is controlled by the time at which one
    stops: `selector` says how.

    Parameters
    ----------
    multinomial : {"grouped", "entrywise"}, default="grouped"
        With more than two classes, every class has its own coefficients. "grouped":
        one decision per feature, its coefficients for all classes enter and leave
        together; "entrywise": every coefficient on its own. Nothing with two classes.
    class_weight : "balanced", dict or None, default=None
        Factors of the sample weights, by class; classes that a dict leaves out have
        factor 1. "balanced" gives all classes the same total weight. The products are
        rescaled to the sum of the sample weights, because weights count repetitions:
        only the ratios of the factors matter.
    kappa : float, default=30.0
        Damping, dimensionless: the iteration uses ``kappa / s_X``, with the root mean
        variance of the columns as used. Larger values take more steps and shrink less.
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
        Group label of each feature. The coefficients of a group, for all classes, enter
        and leave together, by the Euclidean norm of their duals.
    group_weight : {"unit", "sqrt"}, default="unit"
        Threshold of a group (with more than two classes and "grouped" also of a single
        feature): 1, or the square root of its number of coefficients.
    positive : bool, default=False
        Only coefficients >= 0 (unpenalized ones are free): with two classes features
        can only speak for the second one. With more they can only speak for a class,
        which restricts the path but not the models: a common shift of a feature's
        coefficients changes no probability.
    selector : {"ebic", "bic", "aic", "cv", "cv_1se"}, float or selector, default="ebic"
        Which point of the path to report: the minimum of an information criterion, the
        minimum of the cross-validated error, or the earliest t within one standard
        error of that. A number is that time t. Objects with a method
        ``select(path, problem)`` can have options, such as
        ``sparselbi.selection.InformationCriterion("bic", cap=20)``.
    t_max : float, default=None
        Where the path ends. None is 100 times the first entry time; before that it ends
        where the classes are separated (mean loss below 0.1 % of the null model's).
    n_knots : int, default=100
        Knots on a logarithmic grid; more are added where coefficients move fast.
    max_features : "auto", int or None, default="auto"
        The path ends before more features than this are active. "auto" is half as many
        as samples: beyond that no criterion scores a model, supports are not unique,
        and most of the time of a path would go there; no limit if `t_max` is given or
        `selector` is a number. None: no limit.
    refit : bool, default=False
        Report the unpenalized fit on the chosen features, for all classes. Excludes
        `positive`. Finite but huge where these features separate the classes.
    random_state : int, RandomState or None, default=0
        Seed of the shuffled folds of the selectors "cv" and "cv_1se".
    n_jobs : int, default=None
        Joblib workers of cross-validation; None is 1 outside of a joblib context.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted. Classes whose samples all have weight 0 are not there.
    path_ : RegularizationPath
        The whole path; ``path_.plot()``, ``path_.at(t)``, ``path_.predict(X)``.
    selection_ : Selection
        The chosen knot, the scores of all knots, and every quantity that entered.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients at the chosen point.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    n_iter_ : int
        Steps of the iteration.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only for data frames whose column names are all strings.

    See Also
    --------
    sparselbi.LBI : The same for numbers.
    sparselbi.lbi_path : The path from a `Problem`.
    sparselbi.selection.InformationCriterion : What "ebic", "bic" and "aic" compute.

    Notes
    -----
    Information criteria score the unpenalized fit on the features of a knot, for all
    classes; with ``multinomial="entrywise"`` as well.

    There is no ``kappa=np.inf``: the exact inverse scale space path consists of
    sign-constrained fits, which are finite algebra for least squares only.

    References
    ----------
    .. [1] Shi, J. V., Yin, W. and Osher, S. J. (2012). A new regularization path for
       logistic regression via linearized Bregman. Technical report, Rice University.
       https://hdl.handle.net/1911/102213
    .. [2] Chen, J. and Chen, Z. (2012). Extended BIC for small-n-large-P sparse GLM.
       Statistica Sinica 22, 555-574.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sparselbi import LBIClassifier
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> model = LBIClassifier().fit(X, y)
    >>> len(model.feature_names_in_), (model.coef_ != 0).sum().item()
    (30, 8)
    >>> print(f"accuracy = {model.score(X, y):.3f}")
    accuracy = 0.975
    """

    _instead_of_refit = (
        "Use a large kappa such as 100 instead of refit; it leaves little shrinkage "
        "and keeps the signs."
    )

    def __init__(
        self,
        *,
        multinomial="grouped",
        class_weight=None,
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
        self.multinomial = multinomial
        self.class_weight = class_weight
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

    def _describe(self, X, y, sample_weight):
        if self.multinomial not in _MULTINOMIAL:
            raise ValueError(
                f"multinomial={self.multinomial!r} is unknown; use one of "
                f"{_MULTINOMIAL}."
            )
        if self._wants_exact_path:
            raise ValueError(
                f"kappa={self.kappa} is the exact path of least-squares fits (LBI); "
                "classification losses have no closed form. Use a large finite kappa "
                "such as 100, and refit=True for a fit without any shrinkage."
            )
        y, n_classes, sample_weight = self._weigh(y, sample_weight)
        one_by_one = n_classes == 2 or self.multinomial == "entrywise"
        if self.groups is None and one_by_one:
            penalty = "l1"
        elif self.groups is None or n_classes == 2 or not one_by_one:
            penalty = "group"
        else:
            raise ValueError(
                f"groups are given with multinomial={self.multinomial!r}, which takes "
                "every coefficient on its own; use multinomial='grouped'."
            )
        loss = "logistic" if n_classes == 2 else "multinomial"
        return self._make_problem(X, y, sample_weight, loss, penalty)
