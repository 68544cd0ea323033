"""Least squares by someone who knows the true features."""

from .base import Solver, refit


def _oracle(task):
    return [refit(task.X, task.y, task.support)]


SOLVERS = (Solver(("oracle",), _oracle, "numpy"),)
