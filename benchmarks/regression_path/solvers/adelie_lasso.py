"""adelie: block coordinate descent with strong-rule screening."""

import scipy.sparse

from ..objective import Answer, Solver


def run(task):
    import adelie

    if task.loss == "squared":
        glm = adelie.glm.gaussian(y=task.y)
    else:
        glm = adelie.glm.binomial(y=(task.y > 0).astype(float))
    X = task.X
    if scipy.sparse.issparse(X):
        X = scipy.sparse.csc_matrix(X)  # it refuses sparse arrays
        X = adelie.matrix.sparse(X, method="naive", n_threads=1)
    state = adelie.grpnet(
        X=X,
        glm=glm,
        lmda_path=task.alphas,
        intercept=False,
        early_exit=False,
        progress_bar=False,
        n_threads=1,
    )
    return Answer(points=len(state.lmdas), path=state.betas[-1].toarray().ravel())


SOLVERS = (
    Solver(
        "adelie",
        "adelie",
        "lasso",
        run,
        losses=("squared", "logistic"),
        sparse=True,
        order="F",
    ),
)
