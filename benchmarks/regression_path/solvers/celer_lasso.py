"""celer: working sets and dual extrapolation, warm starts along the grid."""

from ..objective import Answer, Solver


def run(task):
    from celer import celer_path

    if task.loss == "squared":
        alphas, coefs, _ = celer_path(task.X, task.y, "lasso", alphas=task.alphas)
    else:  # celer's logistic loss is a sum over samples
        scaled = task.alphas * len(task.y)
        alphas, coefs, _ = celer_path(task.X, task.y, "logreg", alphas=scaled)
    return Answer(points=len(alphas), path=coefs[:, -1])


SOLVERS = (
    Solver(
        "celer",
        "celer",
        "lasso",
        run,
        losses=("squared", "logistic"),
        sparse=True,
        order="F",
    ),
)
