"""Solvers: how a path is traced. One algorithm per file."""

from .iss import iss_path
from .lbi import lbi_path

__all__ = ["iss_path", "lbi_path"]
