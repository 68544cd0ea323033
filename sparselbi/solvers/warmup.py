"""Compile ahead of the first fit."""

import numpy as np

from ..losses import LOSSES
from ..penalties import PENALTIES
from ..problem import Problem
from ..shift_problem import ShiftProblem
from .huber import huber_path
from .iss import iss_path
from .lbi import lbi_path
from .shift_paths import shift_iss_path


def warmup(losses=("squared",), penalties=("l1",), shifts=False):
    """Compile the solvers for some losses and penalties, for this and later processes.

    Compiled code is kept on disk; the first call takes some seconds for each
    combination, later calls next to nothing.

    Parameters
    ----------
    losses : "all" or sequence of {"squared", "logistic", "multinomial", "huber"}
    penalties : "all" or sequence of {"l1", "group"}
    shifts : bool, default=False
        Also the exact paths of `OutlierRegression` and `HuberRegression`.

    Examples
    --------
    >>> import sparselbi
    >>> sparselbi.warmup()
    """
    losses = tuple(LOSSES) if losses == "all" else losses
    penalties = tuple(PENALTIES) if penalties == "all" else penalties
    X = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, -1.0], [2.0, 1.0, 0.5], [0.5, -1.0, 1.0]])
    y = np.array([0.0, 1.0, 1.0, 0.0])
    for penalty in penalties:
        for loss in losses:
            target = y + X[:, 0] if loss in ("squared", "huber") else y
            lbi_path(Problem(X, target, loss, penalty), kappa=1.0, n_knots=2)
    if "squared" in losses and "l1" in penalties:
        iss_path(Problem(X, y))
    if shifts:
        rows = ShiftProblem(X[:, :1], y)
        huber_path(rows)
        shift_iss_path(rows)
