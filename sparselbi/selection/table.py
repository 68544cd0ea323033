"""The selectors that can be asked for by name."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

from .base import FixedKnot, Selector
from .information import InformationCriterion

SELECTORS: dict[str, Callable[[], Selector]] = {
    "ebic": lambda: InformationCriterion("ebic"),
    "bic": lambda: InformationCriterion("bic"),
    "aic": lambda: InformationCriterion("aic"),
}


def get_selector(spec: Any) -> Selector:
    """Return the selector for a name, a number or a selector.

    Parameters
    ----------
    spec : {"ebic", "bic", "aic"}, float or selector
        A number is a fixed value of the path parameter (`FixedKnot`); a selector is
        any object with a method ``select(path, problem=None)``.

    Raises
    ------
    ValueError
        If `spec` is none of these.
    """
    if isinstance(spec, str) and spec in SELECTORS:
        return SELECTORS[spec]()
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
