"""One small file per competitor; each has a tuple `SOLVERS`."""

from . import (
    adelie_lasso,
    celer_lasso,
    numpy_lbi,
    skglm_lasso,
    sklearn_lars,
    sklearn_lasso,
    sparselbi_iss,
    sparselbi_lbi,
)

__all__ = ["SOLVERS"]

SOLVERS = (
    *sparselbi_lbi.SOLVERS,
    *sparselbi_iss.SOLVERS,
    *numpy_lbi.SOLVERS,
    *sklearn_lars.SOLVERS,
    *sklearn_lasso.SOLVERS,
    *celer_lasso.SOLVERS,
    *skglm_lasso.SOLVERS,
    *adelie_lasso.SOLVERS,
)
