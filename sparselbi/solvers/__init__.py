"""Solvers: how a path is traced. One algorithm per file."""

from .iss import iss_path
from .lbi import lbi_path
from .refit import refit_coefs
from .verify import verify_path
from .warmup import warmup

__all__ = ["iss_path", "lbi_path", "refit_coefs", "verify_path", "warmup"]
