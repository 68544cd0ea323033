"""Votes without a maximum-likelihood fit: who never loses to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._vote_loss import Votes

# Rows or items that a message names.
_N_NAMED = 8


class SeparatedVotes(ValueError):
    """No maximum-likelihood fit exists: some differences of scores grow for ever.

    Attributes
    ----------
    rows : ndarray of int
        Votes that growing coefficients explain ever better.
    groups : list of ndarray of int or None
        The groups of items from `separated_groups`; None if the design does not say
        which items are compared.
    """

    def __init__(self, message: str, rows: Any, groups: Any = None):
        super().__init__(message)
        self.rows, self.groups = rows, groups


def separated_groups(
    pairs: NDArray[Any],
    y: NDArray[Any],
    n_items: int,
    weight: NDArray[np.float64] | None = None,
) -> list[NDArray[np.intp]]:
    """Items in groups between which all votes go one way.

    The Bradley-Terry likelihood has a maximum if and only if every component of the
    comparison graph is strongly connected by its wins (a tie is a win of both).

    Parameters
    ----------
    pairs : ndarray of int of shape (n, 2)
    y : ndarray of shape (n,)
        Positive: the first item is preferred; 0: a tie.
    n_items : int
    weight : ndarray of shape (n,) or None
        Votes of weight 0 do not count.

    Returns
    -------
    list of ndarray of int
        The strongly connected groups of the components that have more than one;
        empty if there is a maximum.

    References
    ----------
    L. R. Ford (1957). Amer. Math. Monthly 64, 28-33.
    """
    used = np.full(len(y), True) if weight is None else weight > 0
    (first, second), y = np.asarray(pairs)[used].T, np.asarray(y)[used]
    loser = np.concatenate([second[y >= 0], first[y <= 0]])
    winner = np.concatenate([first[y >= 0], second[y <= 0]])
    ones = np.ones(len(loser), dtype=bool)
    graph = sparse.csr_array((ones, (loser, winner)), shape=(n_items, n_items))
    n_strong, strong = csgraph.connected_components(graph, connection="strong")
    n_weak, weak = csgraph.connected_components(graph, connection="weak")
    if n_strong == n_weak:
        return []
    component = np.empty(n_strong, dtype=np.intp)
    component[strong] = weak
    torn = np.bincount(component)[weak] > 1
    items = np.flatnonzero(torn)
    items = items[np.lexsort((strong[items], weak[items]))]
    return np.split(items, np.flatnonzero(np.diff(strong[items])) + 1)


def check_strongly_connected(votes: Votes) -> None:
    """Raise SeparatedVotes if the design is one of items only and they are separated.

    Otherwise that shows when coefficients grow.
    """
    design: Any = votes.design
    ridge = np.broadcast_to(votes.ridge, votes.y.shape)
    if not hasattr(design, "incidence") or design.n_extra or ridge.all():
        return
    incidence = design.incidence()
    pairs = np.stack(
        [incidence.indices[incidence.data > 0], incidence.indices[incidence.data < 0]],
        axis=1,
    )
    y = np.where(ridge > 0, 0.0, votes.y)
    groups = separated_groups(pairs, y, design.n_items, design.weight)
    if groups:
        group = np.full(design.n_items, -1)
        for k, items in enumerate(groups):
            group[items] = k
        between = group[pairs[:, 0]] != group[pairs[:, 1]]
        if design.weight is not None:
            between &= design.weight > 0
        raise separation_error(np.flatnonzero(between), groups=groups)


def separation_error(rows, coefficients=None, groups=None):
    """SeparatedVotes with a message that names some items, or coefficients."""

    def some(values):
        shown = ", ".join(str(value) for value in values[:_N_NAMED])
        return shown + (", ..." if len(values) > _N_NAMED else "")

    if groups is None:
        what = (
            f"growing coefficients ({some(coefficients)}) explain {len(rows)} votes "
            f"ever better and none worse (rows {some(rows)})"
        )
    else:
        small = min(groups, key=len)
        what = (
            f"items fall into {len(groups)} groups between which all votes go one "
            f"way (one group has the items {some(small)}; an item that always wins or "
            "loses is a group)"
        )
    return SeparatedVotes(
        f"the votes are separated: {what}, so the likelihood has no maximum. Use a "
        "small ridge=0.01 (so many ties added to every vote), drop these items, or use "
        "the linear model.",
        rows,
        groups,
    )
