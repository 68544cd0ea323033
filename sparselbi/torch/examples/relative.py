"""Penalty weights that fit the layers of a network as it is initialized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..group_table import GroupTable
from ..groups import groups_for

__all__ = ["relative_groups"]


def relative_groups(
    model: nn.Module, choose: Mapping[Any, Any], lam: float
) -> GroupTable:
    """Groups as by `groups_for`, each with `lam` times a typical norm of its kind.

    That is the root of the mean square over the groups of the set, for the weights as
    they are now. With coupling ``nu`` and no gradient, a group of this norm decays and
    is selected at path time ``-nu * log(1 - lam)``; one that keeps its norm at
    ``nu * lam``; and one of less than `lam` times the norm never.

    Parameters
    ----------
    model : torch.nn.Module
    choose : dict
        As for `groups_for`; a ``lam`` of its own multiplies `lam`.
    lam : float
        Between 0 and 1.
    """
    scaled: dict[Any, Any] = {}
    for row in groups_for(model, choose=choose).rows:
        if row.groups is None:
            if row.reason != "vector":
                scaled[row.names] = None
            continue
        total = sum(float(param.detach().square().sum()) for param in row.params)
        typical = (total / sum(groups.n_groups for groups in row.sets())) ** 0.5
        penalty = lam * row.options.get("lam", 1.0) * typical
        scaled[row.names] = {**row.options, "groups": row.groups, "lam": penalty}
    return groups_for(model, choose=scaled)
