"""sparselbi's LBI path; building the problem and the step size are timed too."""

from sparselbi import Problem, lbi_path

from ..objective import KAPPA, Answer, Solver


def run(task, **options):
    options = {"fit_intercept": False, "standardize": False} | options
    problem = Problem(task.X, task.y, loss=task.loss, **options)
    path = lbi_path(
        problem, kappa_raw=KAPPA, t_max=task.t_max, max_features=task.n_active
    )
    return Answer(points=len(path.knots), path=path)


SOLVERS = (
    Solver(
        "sparselbi lbi_path",
        "sparselbi",
        "lbi",
        run,
        losses=("squared", "logistic"),
        sparse=True,
    ),
    Solver(
        "sparselbi lbi_path, defaults",
        "sparselbi",
        "",
        lambda task: run(task, fit_intercept=True, standardize=True),
        losses=("squared", "logistic"),
        sparse=True,
        note="with intercept and standardized columns, as the estimators do",
    ),
)
