"""What a penalty is, and how one is looked up.

A penalty is an immutable ``NamedTuple``. It acts on duals ``z`` of shape
(n_outputs, n_columns), cut into blocks of neighbouring columns by ``ptr`` (block b is
columns ptr[b] to ptr[b + 1]; ptr[0] is 0, columns from ptr[-1] on are left alone),
with one threshold ``weight`` per column. The coefficients of a block are zero as long
as its dual stays within the threshold.
"""

from typing import Any

from .._kernels import formula


@formula
def shrink(penalty, z, weight, ptr, kappa, out):
    """Write ``kappa * prox(z)`` into `out`; all arrays (n_outputs, n_features)."""


@formula
def horizon(penalty, z, g, slack, weight, ptr, out):
    """Write the time for which every block surely stays at zero into `out`.

    For all times s up to ``out[b]`` and all perturbations e of Euclidean norm at most
    ``out[b] * slack[b]``, block b of ``z + s * g + e`` is within its threshold.
    """


@formula
def crossing(penalty, before, after, weight, row, column, low, high):
    """Return the fraction of the way from `before` to `after` (both (n_outputs, n))

    at which entry (row, column), member of the block low:high, meets its threshold.
    """


def get_penalty(penalty: Any, positive: bool = False) -> Any:
    """Return the penalty for a name or a penalty instance.

    Parameters
    ----------
    penalty : {"l1", "group"} or penalty instance
    positive : bool, default=False
        Only coefficients >= 0. An instance carries its own flag and must not
        contradict.

    Raises
    ------
    ValueError
        If the name is unknown or an instance contradicts `positive`.
    """
    from . import PENALTIES

    if isinstance(penalty, str) and penalty in PENALTIES:
        return PENALTIES[penalty](positive=bool(positive))
    kinds: Any = tuple(PENALTIES.values())
    if isinstance(penalty, kinds):
        if positive and not penalty.positive:
            raise ValueError(
                f"positive=True contradicts penalty={penalty!r}; "
                f"use {type(penalty).__name__}(positive=True) or the name "
                f"{penalty.name!r}."
            )
        return penalty
    raise ValueError(
        f"penalty={penalty!r} is unknown; use one of {sorted(PENALTIES)} or an "
        "instance from sparselbi.penalties."
    )
