"""sparselbi's exact ISS path; building the problem is timed too."""

from sparselbi import Problem, iss_path

from ..objective import Answer, Solver


def run(task):
    problem = Problem(task.X, task.y, fit_intercept=False, standardize=False)
    path = iss_path(problem, max_features=task.n_active)
    return Answer(points=len(path.knots), path=path)


SOLVERS = (Solver("sparselbi iss_path", "sparselbi", "iss", run, sparse=True),)
