"""skglm: Anderson-accelerated coordinate descent with working sets."""

from functools import cache

from ..objective import Answer, Solver


@cache
def _pieces():
    # Compiled classes: made once, otherwise every run would compile them again.
    from skglm.datafits import Quadratic
    from skglm.penalties import L1
    from skglm.solvers import AndersonCD
    from skglm.utils.jit_compilation import compiled_clone

    solver = AndersonCD(fit_intercept=False, warm_start=True)
    return solver, compiled_clone(Quadratic()), compiled_clone(L1(1.0))


def run(task):
    solver, datafit, penalty = _pieces()
    alphas, coefs, _ = solver.path(task.X, task.y, datafit, penalty, alphas=task.alphas)
    return Answer(points=len(alphas), path=coefs[:, -1])


SOLVERS = (Solver("skglm", "skglm", "lasso", run, sparse=True, order="F"),)
