"""scikit-learn's coordinate descent along the grid of alphas."""

from sklearn.linear_model import lasso_path

from ..objective import Answer, Solver


def run(task):
    alphas, coefs, _ = lasso_path(task.X, task.y, alphas=task.alphas)
    return Answer(points=len(alphas), path=coefs[:, -1])


SOLVERS = (
    Solver("scikit-learn lasso_path", "sklearn", "lasso", run, sparse=True, order="F"),
)
