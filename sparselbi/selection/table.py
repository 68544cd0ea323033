"""The selectors that can be asked for by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

from .base import FixedKnot, Selector
from .cross_validation import CrossValidation
from .information import InformationCriterion

# Called with the options of `get_selector` as keywords, of which a rule uses its own.
SELECTORS: dict[str, Callable[..., Selector]] = {
    "ebic": lambda **_: InformationCriterion("ebic"),
    "bic": lambda **_: InformationCriterion("bic"),
    "aic": lambda **_: InformationCriterion("aic"),
    "cv": partial(CrossValidation, "min"),
    "cv_1se": partial(CrossValidation, "1se"),
}


def get_selector(
    spec: Any, *, refit: bool = False, n_jobs: int | None = None, random_state: Any = 0
) -> Selector:
    """Return the selector for a name, a number or a selector.

    Parameters
    ----------
    spec : {"ebic", "bic", "aic", "cv", "cv_1se"}, float or selector
        A number is a fixed value of the path parameter (`FixedKnot`); a selector is
        any object with a method ``select(path, problem=None)``.
    refit, n_jobs, random_state
        What `CrossValidation` is made with if `spec` is the name of its rules.

    Raises
    ------
    ValueError
        If `spec` is none of these.
    """
    if isinstance(spec, str) and spec in SELECTORS:
        options = {"refit": refit, "n_jobs": n_jobs, "random_state": random_state}
        return SELECTORS[spec](**options)
    if isinstance(spec, Real) and not isinstance(spec, bool):
        value = float(spec)
        if not value >= 0:
            raise ValueError(
                f"selector={spec!r} must be a nonnegative number to be a value of t."
            )
        return FixedKnot(value)
    if not isinstance(spec, type) and callable(getattr(spec, "select", None)):
        return spec
    raise ValueError(
        f"selector={spec!r} is unknown; use one of {sorted(SELECTORS)}, a number (that "
        "value of t), or an object with a method select(path, problem=None), such as "
        "InformationCriterion('bic', cap=20)."
    )
