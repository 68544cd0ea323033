"""Solvers: how a path is traced. One algorithm per file."""

from .iss import iss_path
from .lbi import lbi_path
from .refit import refit_coefs, refit_path
from .retrace import retrace
from .split_lbi import split_iss_path, split_lbi_path
from .split_models import Decomposition, SupportFits, decompose
from .split_verify import verify_split_path
from .verify import verify_path
from .warmup import warmup

__all__ = [
    "Decomposition",
    "SupportFits",
    "decompose",
    "iss_path",
    "lbi_path",
    "refit_coefs",
    "refit_path",
    "retrace",
    "split_iss_path",
    "split_lbi_path",
    "verify_path",
    "verify_split_path",
    "warmup",
]
