"""Structured sparse regression by Split Linearized Bregman Iteration."""

from sklearn.base import RegressorMixin

from ._split_base import BaseSplitLBI


class SplitLBI(RegressorMixin, BaseSplitLBI):
    r"""Regression in which ``D @ coef`` is sparse: dense and sparse estimates.

    With squared loss :math:`L = \frac{1}{2 \sum w_i} \sum_i w_i (y_i - b - x_i^T
    \beta)^2`, the coefficients minimize in every step

    .. math:: L(\beta) + \frac{1}{2 \nu} \|D \beta - \gamma\|^2

    (or follow its gradient, with ``method="joint"``), while the split coefficients
    :math:`\gamma` are those of Linearized Bregman Iteration,

    .. math:: z \leftarrow z + \frac{s}{\nu} (D \beta - \gamma), \qquad
       \gamma \leftarrow \kappa\, \mathrm{shrink}(z).

    :math:`\gamma` is sparse and says where :math:`D \beta` is nonzero; :math:`\beta`
    is not shrunk to that structure and predicts better where signals are weak. Jumps of
    a signal, edges of a graph, differences between items: D says what is sparse.

    Parameters
    ----------
    D : Transform, array, sparse matrix, LinearOperator, str or None, default=None
        Of shape (n_rows, n_features): what should be sparse is ``D @ coef_``. See
        `sparselbi.penalties`: `differences`, `grid_gradient`, `graph_incidence`,
        `with_identity`, `wavelet`, `comparisons`. None is the identity, "differences"
        the first differences. With ``standardize=True`` D acts on the coefficients of
        the standardized columns.
    nu : float, default=1.0
        Coupling, dimensionless: ``nu_raw = nu * n ||D||^2 / ||X||^2`` with spectral
        norms. The larger, the freer are the dense coefficients, and the weaker the
        condition under which the right rows are found; the smaller, the closer both.
        For denoising (X = identity) 1 is too large: try 0.1 to 1e-5, such that the
        first dense fit has few degrees of freedom (``path_.info["df_dense"][0]``).
    nu_raw : float, default=None
        The coupling itself; replaces `nu`.
    kappa : float, default=10.0
        Damping, dimensionless: first entry time over the time in which a split
        coefficient relaxes. ``np.inf`` gives the exact path, piecewise constant
        (`split_iss_path`).
    kappa_raw : float, default=None
        The damping as the iteration uses it; replaces `kappa`.
    method : {"auto", "eliminated", "joint"}, default="auto"
        "auto" is "eliminated": coefficients minimize the coupled loss in each step.
        "joint" is the iteration of [1]_, which takes many more steps.
    step_size : "auto" or float, default="auto"
        "auto" is half of the stability limit, ``nu_raw / kappa_raw`` if eliminated.
    fit_intercept : bool, default=True
        For denoising, X = identity, it must be False.
    standardize : bool, default=False
        Divide columns by their weighted root mean square. Then D acts on the
        coefficients of standardized columns; by default on `coef_` itself.
    row_weight : array-like of shape (n_rows,), default=None
        Threshold of each row of D, 1 for all by default. 0: free, the row is not
        coupled at all; inf: never in, ``D @ coef_`` is shrunk there but not selected.
    row_groups : array-like of shape (n_rows,), default=None
        Label of each row; the rows of a group enter and leave together, by the
        Euclidean norm of their duals. None: the groups of D, such as those of
        ``grid_gradient(shape, isotropic=True)``, if it has any.
    row_group_weight : {"unit", "sqrt"}, default="unit"
        Threshold of a group: 1, or the square root of its number of coefficients.
    positive : bool or array-like of bool of shape (n_rows,), default=False
        Rows whose split coefficients must be >= 0. For <= 0 turn the sign of the row.
    selector : {"ebic", "bic", "aic", "cv", "cv_1se"}, float or selector, default="ebic"
        Which point of the path to report. Information criteria score the unpenalized
        fits with the structure of each knot, by their free dimensions;
        cross-validation scores the dense coefficients (with ``refit=True`` those fits).
        A number is that time t.
    t_max : float, default=None
        Where the path ends; None is 100 times the first entry time.
    n_knots : int, default=100
        Knots on a logarithmic grid; more are added where coefficients move fast.
    max_rows : "auto", int or None, default="auto"
        The path ends before more rows than this are active. "auto" is n/2 times the
        number of rows per free dimension (1 for lines and trees, 2 for large images),
        for graphs with cycles at least a tenth of the rows: beyond that no criterion
        scores a model, or none is sparse. No limit if `t_max` is given or `selector` is
        a number. None: no limit.
    refit : bool, default=False
        Report the unpenalized fit with the structure of the chosen point as `coef_`.
    random_state : int, RandomState or None, default=0
        Seed of the shuffled folds of the selectors "cv" and "cv_1se".
    n_jobs : int, default=None
        Joblib workers of cross-validation; None is 1 outside of a joblib context.

    Attributes
    ----------
    path_ : SplitPath
        The whole path; ``path_.split`` is the path of the split coefficients.
    selection_ : Selection
        The chosen knot, the scores of all knots, and every quantity that entered.
    coef_ : ndarray of shape (n_features,)
        Coefficients at the chosen point: `dense_coef_`, or `refit_coef_` with
        ``refit=True``.
    intercept_ : float
    dense_coef_, sparse_coef_, refit_coef_ : ndarray of the same shape
        The coefficients that predict (with weak signals), their projection on the
        selected structure, and the unpenalized fit with that structure; each with its
        ``..._intercept_``. The refit is None after `select` without data, and
        where the structure has as many dimensions as there are samples.
    split_coef_ : ndarray of shape (n_rows,)
        One sparse coefficient for each row of D.
    n_iter_ : int
        Steps of the iteration.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only for data frames whose column names are all strings.

    See Also
    --------
    sparselbi.split_lbi_path : The path from a `Problem`.
    sparselbi.SplitLBIClassifier : The same for classes.

    References
    ----------
    .. [1] Huang, C., Sun, X., Xiong, J. and Yao, Y. (2016). Split LBI: an iterative
       regularization path with structural sparsity. Advances in Neural Information
       Processing Systems 29.
    .. [2] Huang, C., Sun, X., Xiong, J. and Yao, Y. (2020). Boosting with structural
       sparsity: a differential inclusion approach. Applied and Computational Harmonic
       Analysis 48, 1-45. arXiv:1704.04833.
    .. [3] Zhao, B., Sun, X., Fu, Y., Yao, Y. and Wang, Y. (2018). MSplit LBI: realizing
       feature selection and dense estimation simultaneously in few-shot and zero-shot
       learning. International Conference on Machine Learning. arXiv:1806.04360.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import SplitLBI
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 60))
    >>> coef = np.repeat([0.0, 2.0, -1.0], 20)
    >>> y = X @ coef + rng.normal(size=80)
    >>> model = SplitLBI("differences").fit(X, y)
    >>> np.flatnonzero(model.split_coef_)  # jumps after coefficients 19 and 39
    array([19, 39])
    >>> model.refit_coef_[[20, 40]].round(1)
    array([ 2., -1.])
    """

    def __init__(
        self,
        D=None,
        *,
        nu=1.0,
        nu_raw=None,
        kappa=10.0,
        kappa_raw=None,
        method="auto",
        step_size="auto",
        fit_intercept=True,
        standardize=False,
        row_weight=None,
        row_groups=None,
        row_group_weight="unit",
        positive=False,
        selector="ebic",
        t_max=None,
        n_knots=100,
        max_rows="auto",
        refit=False,
        random_state=0,
        n_jobs=None,
    ):
        self.D = D
        self.nu = nu
        self.nu_raw = nu_raw
        self.kappa = kappa
        self.kappa_raw = kappa_raw
        self.method = method
        self.step_size = step_size
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.row_weight = row_weight
        self.row_groups = row_groups
        self.row_group_weight = row_group_weight
        self.positive = positive
        self.selector = selector
        self.t_max = t_max
        self.n_knots = n_knots
        self.max_rows = max_rows
        self.refit = refit
        self.random_state = random_state
        self.n_jobs = n_jobs

    def predict(self, X, which=None):
        """Predict at the chosen point; ``path_.predict(X)`` does at all knots.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        which : {"dense", "sparse", "refit"} or None, default=None
            Which coefficients; None is `coef_`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._linear_predictor(X, which)

    def _describe(self, X, y, sample_weight):
        return self._make_problem(X, y, sample_weight, "squared")
