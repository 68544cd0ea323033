"""scikit-learn's least-angle regression, a fixed number of steps."""

from sklearn.linear_model import lars_path

from ..objective import Answer, Solver


def run(task):
    """As many steps as there shall be active variables."""
    alphas, _, coefs = lars_path(task.X, task.y, method="lar", max_iter=task.n_active)
    return Answer(points=len(alphas), path=coefs[:, -1])


def _run_as_iss(task, method):
    alphas, _, coefs = lars_path(
        task.X, task.y, method=method, max_iter=task.n_knots_iss
    )
    return Answer(points=len(alphas), path=coefs[:, -1])


SOLVERS = (
    Solver("scikit-learn lars_path", "sklearn", "lars", run, order="F"),
    Solver(
        "scikit-learn lars_path, ISS length",
        "sklearn",
        "lars",
        lambda task: _run_as_iss(task, "lar"),
        order="F",
        note="as many steps as the ISS path has knots",
    ),
    Solver(
        "scikit-learn lars_path lasso, ISS length",
        "sklearn",
        "lars",
        lambda task: _run_as_iss(task, "lasso"),
        order="F",
        note="method='lasso', as many steps as the ISS path has knots",
    ),
)
