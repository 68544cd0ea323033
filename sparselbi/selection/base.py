"""What a selector is and what it returns."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..path import RegularizationPath
    from ..problem import Problem


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """A point of a path and everything that led to it.

    Parameters
    ----------
    rule : str
        Name of the rule that chose, for example ``"ebic"``.
    knot : float
        The chosen value of the path parameter; ``path.at(knot)`` is the fit.
    index : int
        The last knot of the path that is not beyond `knot`; ``path.coef(index)`` is
        the fit whenever a rule chooses among the knots.
    scores : ndarray of shape (K,)
        Score of every knot, smaller is better, NaN where the rule does not score.
    quantities : dict
        Every number and every rule that entered the choice.
    message : str
        What the reader has to know, above all when a rule could not be applied as
        asked. Empty if there is nothing to say.
    fallback : bool
        Whether another rule than the one asked for was used; estimators then show
        `message` as a warning.
    """

    rule: str
    knot: float
    index: int
    scores: NDArray[np.float64]
    quantities: dict[str, Any]
    message: str = ""
    fallback: bool = False

    def __repr__(self) -> str:
        where = f"{self.knot:.6g} (index {self.index} of {len(self.scores)} knots)"
        rows = [("knot", where), *self.quantities.items()]
        width = max(len(name) for name, _ in rows)
        lines = [f"Selection by {self.rule}"]
        lines += [f"  {name:<{width}}  {_show(value)}" for name, value in rows]
        if self.message:
            lines.append(f"  {self.message}")
        return "\n".join(lines)


def _show(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    return str(value)


class Selector(Protocol):
    """Anything that can choose a point of a path."""

    def select(
        self, path: RegularizationPath, problem: Problem | None = None
    ) -> Selection:
        """Choose a point of `path`; `problem` is what the path was traced on."""


@dataclasses.dataclass(frozen=True)
class FixedKnot:
    """Choose a given value of the path parameter.

    Parameters
    ----------
    knot : float
        ``t``, or ``alpha`` for paths that are indexed by penalty strength. Need not be
        one of the knots. Before the first knot the null model is chosen; beyond the
        last one there is nothing to choose from.

    Raises
    ------
    ValueError
        If `knot` is negative or NaN, or beyond the traced range (at `select`).
    """

    knot: float

    def __post_init__(self) -> None:
        if not self.knot >= 0:
            raise ValueError(f"knot={self.knot!r} must be a nonnegative number.")

    def select(
        self, path: RegularizationPath, problem: Problem | None = None
    ) -> Selection:
        point = path.at(self.knot)
        # Where D @ coef is sparse, the rows of D are counted; shifted rows elsewhere.
        counted = getattr(path, "split", path)
        outliers = getattr(path, "outliers", None)
        if outliers is not None:
            size = int(outliers(self.knot).sum())
        else:
            size = len(counted.support(point.knot))
        passed = (
            (path.knots <= point.knot)
            if path.knot_name == "t"
            else (path.knots >= point.knot)
        )
        return Selection(
            rule="fixed",
            knot=point.knot,
            index=max(int(passed.sum()) - 1, 0),
            scores=np.full(len(path.knots), np.nan),
            quantities={"size": size},
        )
