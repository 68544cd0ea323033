"""The recursion as one would write it first: two products with X per step.

It is given the step size and the first-entry skip for nothing. Every step costs the
same, so on large problems a limited number of steps is run and the time is divided
by their share of all steps.
"""

import numpy as np

from ..objective import KAPPA, Answer, Solver, gradient

MULTIPLICATIONS = 2e9  # about this much work per run, then extrapolate


def run(task):
    n, p = task.X.shape
    limit = max(20, int(MULTIPLICATIONS / (2 * n * p)))
    if not isinstance(task.X, np.ndarray):
        limit = max(20, int(MULTIPLICATIONS / (8 * task.X.nnz)))
    coef = np.zeros(p)
    grad = gradient(task.loss, task.X, task.y, coef)
    z = -grad / np.abs(grad).max()
    steps = min(limit, task.n_steps)
    for _ in range(steps):
        z -= task.step_size * gradient(task.loss, task.X, task.y, coef)
        coef = KAPPA * (z - np.clip(z, -1, 1))
        if np.count_nonzero(coef) > task.n_active:
            break
    return Answer(points=steps, path=None, part=steps / task.n_steps)


SOLVERS = (
    Solver(
        "NumPy LBI loop",
        "numpy",
        "loop",
        run,
        losses=("squared", "logistic"),
        sparse=True,
        note="step size given; extrapolated where the share of the steps is below 1",
    ),
)
