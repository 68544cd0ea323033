"""Solvers: how a path is traced. One algorithm per file."""

from .lbi import lbi_path

__all__ = ["lbi_path"]
