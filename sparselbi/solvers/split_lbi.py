"""Split LBI: sparsity of D @ coef, with dense and sparse coefficients on one path."""

import numpy as np

from ..problem import check_positive
from ._split_forms import Exact, Joint, choose_form
from ._split_question import SplitQuestion, check_choice
from ._split_reduced import MAX_ENTRIES, reduced_size
from .base import check_count

METHODS = ("auto", "eliminated", "joint")
ROUTES = ("auto", "reduced", "dense", "splu", "dct", "cg")
STARTS = ("fit", "zero")


def split_lbi_path(
    problem,
    D=None,
    *,
    nu=1.0,
    nu_raw=None,
    kappa=10.0,
    kappa_raw=None,
    method="auto",
    step_size="auto",
    start="fit",
    penalty="auto",
    row_weight=None,
    row_groups=None,
    row_group_weight="unit",
    row_positive=False,
    t_max=None,
    n_knots=100,
    max_rows=None,
    route="auto",
):
    r"""Trace the path of Split LBI.

    With the mean loss L and standardized columns, the coupled loss is

    .. math:: L(\beta) + \frac{1}{2 \nu} \|D \beta - \gamma\|^2 ,

    and the split coefficients :math:`\gamma`, one for each row of D, follow its
    gradient in a dual variable z,

    .. math:: z \leftarrow z + \frac{s}{\nu} (D \beta - \gamma), \qquad
       \gamma \leftarrow \kappa\, \mathrm{shrink}(z) .

    In the *eliminated* form (squared loss) :math:`\beta` is the minimizer of the
    coupled loss in each step; it is stable iff ``kappa_raw * step_size < 2 nu_raw``,
    whatever X and D are. In the *joint* form (every loss) :math:`\beta` follows the
    gradient as well, with step ``kappa_raw * step_size``. Both start at the minimizer
    for :math:`\gamma = 0`, and nothing moves before ``t0 = nu_raw / max |D coef|``.

    Parameters
    ----------
    problem : Problem
        Its penalty and penalty factors play no role.
    D : Transform, array, sparse matrix, LinearOperator, str or None, default=None
        Of shape (n_rows, n_features); see `sparselbi.penalties.transforms`. It acts
        on the coefficients of the columns as used (original ones unless the problem
        standardizes). None is the identity.
    nu : float, default=1.0
        Coupling, dimensionless: ``nu_raw = nu * n ||D||^2 / ||X||^2`` with spectral
        norms (that of X estimated by a dozen Lanczos steps). Small values tie
        D @ coef to the split coefficients; large ones leave it free, which makes
        selection easier and slower.
    nu_raw : float, default=None
        The coupling itself; replaces `nu`.
    kappa : float, default=10.0
        Damping, dimensionless: ``kappa_raw = kappa * (nu_raw / t0) * (1 + 1 / nu)``, so
        that `kappa` is about t0 over the time in which a row relaxes, for every scale
        of X, y and D. For ``kappa`` to infinity see `split_iss_path`.
    kappa_raw : float, default=None
        The damping itself; replaces `kappa`.
    method : {"auto", "eliminated", "joint"}, default="auto"
        "auto" is eliminated for squared loss and joint for others.
    step_size : "auto" or float, default="auto"
        "auto" is half of the stability limit.
    start : {"fit", "zero"}, default="fit"
        Only for the joint form. "zero" starts coefficients and duals at zero at t = 0.
    penalty : {"auto", "l1", "group"}, default="auto"
        Of the rows. "auto" is "group" with groups of rows, or with several outputs (the
        outputs of a row enter together), and "l1" otherwise.
    row_weight : array-like of shape (n_rows,), default=None
        Threshold of each row; 0 = free (the row is left out of the coupling), inf =
        never in.
    row_groups : array-like of shape (n_rows,), default=None
        Label of each row; rows of a group enter together. None: those of D, if any.
    row_group_weight : {"unit", "sqrt"}, default="unit"
    row_positive : bool or array-like of bool of shape (n_rows,), default=False
        Rows whose split coefficients must be >= 0.
    t_max : float, default=None
        Where the path ends; None is 100 times t0.
    n_knots : int, default=100
        Knots on a logarithmic grid from t0 to t_max. More are added so that `at` is
        within 0.5 % of the iterates; not by the routes other than "reduced", whose
        ``info["interpolation_error"]`` says how far lines between knots are off.
    max_rows : int, default=None
        The path ends before more rows than this are active.
    route : {"auto", "reduced", "dense", "splu", "dct", "cg"}, default="auto"
        How the eliminated form solves for the coefficients. "reduced" makes the
        least-squares problem in the split coefficients explicit, and iterates on its
        active rows only; "auto" takes it up to 30 million entries. The others solve
        with ``X'X/n + D'D/nu`` once per step: by a dense factor, a sparse one,
        cosine transforms (identity X on a grid), or conjugate gradients.

    Returns
    -------
    SplitPath
        ``info["route"]`` and ``info["route_reason"]`` say how it was traced.

    Raises
    ------
    ValueError
        If an argument is out of range, the step is unstable, D does not fit, or X and
        D leave some direction of the coefficients undetermined.

    References
    ----------
    C. Huang, X. Sun, J. Xiong, Y. Yao. Split LBI: an iterative regularization path with
    structural sparsity. Advances in Neural Information Processing Systems 29 (2016);
    Applied and Computational Harmonic Analysis 48 (2020), arXiv:1704.04833.
    """
    check_choice("method", method, METHODS)
    check_choice("route", route, ROUTES)
    check_choice("start", start, STARTS)
    joint = method == "joint" or (method == "auto" and problem.loss.name != "squared")
    if not joint and problem.loss.name != "squared":
        raise ValueError(
            f"method={method!r} needs the squared loss, but the loss is "
            f"{problem.loss.name!r}; use method='joint'."
        )
    if start == "zero" and not joint:
        raise ValueError("start='zero' is for method='joint'; use start='fit'.")
    if isinstance(step_size, str):
        check_choice("step_size", step_size, ("auto",))
    else:
        step_size = check_positive("step_size", step_size)
    t_max = None if t_max is None else check_positive("t_max", t_max)
    if not isinstance(n_knots, (int, np.integer)) or n_knots < 2:
        raise ValueError(f"n_knots={n_knots!r} must be an integer of at least 2.")
    limit = check_count("max_rows", max_rows)
    asked = SplitQuestion(
        problem,
        D,
        penalty,
        row_weight,
        row_groups,
        row_group_weight,
        row_positive,
        nu,
        nu_raw,
    )
    solver = Joint if joint else choose_form(asked.split, route)
    return asked.trace(
        solver,
        kappa=kappa,
        kappa_raw=kappa_raw,
        step_size=step_size,
        t_max=t_max,
        n_knots=int(n_knots),
        max_rows=max_rows,
        limit=limit,
        start=start,
        route=route,
    )


def split_iss_path(
    problem,
    D=None,
    *,
    nu=1.0,
    nu_raw=None,
    row_weight=None,
    row_positive=False,
    t_max=None,
    max_rows=None,
):
    """Trace the exact limit of Split LBI for infinite kappa: piecewise constant.

    Squared loss, and rows one by one. With the coefficients eliminated, the split
    coefficients are an inverse scale space path of a least-squares problem with Gram
    matrix ``(I - D M^-1 D' / nu) / nu``, ``M = X'X/n + D'D/nu``. It is traced event by
    event by `iss_path`.

    Parameters
    ----------
    problem, D, nu, nu_raw, row_weight, row_positive, max_rows
        As for `split_lbi_path`.
    t_max : float, default=None
        Where the path ends; None is its own end, a least-squares fit.

    Returns
    -------
    SplitPath
        ``method="split_iss"``; ``knots[0]`` is 0, the null model.

    Raises
    ------
    ValueError
        As for `split_lbi_path`, and if the reduced problem has more than 30 million
        entries.
    """
    if problem.loss.name != "squared":
        raise ValueError(
            f"the exact path needs the squared loss, but the loss is "
            f"{problem.loss.name!r}; use split_lbi_path with a large kappa."
        )
    t_max = None if t_max is None else check_positive("t_max", t_max)
    check_count("max_rows", max_rows)
    asked = SplitQuestion(
        problem, D, "l1", row_weight, None, "unit", row_positive, nu, nu_raw
    )
    size = reduced_size(asked.split)
    if size > MAX_ENTRIES:
        raise ValueError(
            f"the exact path needs an explicit design with {size:.3g} entries, more "
            f"than {MAX_ENTRIES:.3g}; use split_lbi_path with a large kappa."
        )
    return asked.trace(Exact, t_max=t_max, max_rows=max_rows)
