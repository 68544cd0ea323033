"""One small file per family of methods; each has a tuple `SOLVERS`."""

from . import (
    references,
    refitted_lasso,
    skglm_nonconvex,
    sklearn_lasso,
    sparselbi_paths,
)

__all__ = ["SOLVERS"]

SOLVERS = (
    *sparselbi_paths.SOLVERS,
    *sklearn_lasso.SOLVERS,
    *refitted_lasso.SOLVERS,
    *skglm_nonconvex.SOLVERS,
    *references.SOLVERS,
)
