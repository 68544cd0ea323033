"""Figures; matplotlib is imported by the functions that draw."""

from .path_figure import path_figure

__all__ = ["path_figure"]
