"""What displays read from fitted estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..path import RegularizationPath
    from ..selection import Selection


def path_and_selection(estimator: Any) -> tuple[RegularizationPath, Selection]:
    """`path_` and `selection_` of an estimator, or of the one that a pipeline or a
    search ends in.
    """
    advice = "fit an estimator of sparselbi first, such as LBI().fit(X, y)"
    inner = innermost(estimator, "path_", advice)
    return inner.path_, inner.selection_


def innermost(estimator: Any, attribute: str, advice: str) -> Any:
    """The estimator that has an attribute: itself, or what a search ends in."""
    inner = estimator
    while not hasattr(inner, attribute):
        if hasattr(inner, "best_estimator_"):
            inner = inner.best_estimator_
        elif hasattr(inner, "steps"):
            inner = inner.steps[-1][1]
        else:
            raise ValueError(f"estimator={estimator!r} has no {attribute}; {advice}.")
    return inner
