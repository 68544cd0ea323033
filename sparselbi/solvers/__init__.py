"""Solvers: how a path is traced. One algorithm per file."""

from .iss import iss_path
from .lbi import lbi_path
from .refit import refit_coefs, refit_path
from .retrace import retrace
from .verify import verify_path
from .warmup import warmup

__all__ = [
    "iss_path",
    "lbi_path",
    "refit_coefs",
    "refit_path",
    "retrace",
    "verify_path",
    "warmup",
]
