"""The groups of a model as a table that an optimizer can read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .layouts import GroupSet, group_sets

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GroupTable", "Row"]


@dataclass(frozen=True)
class Row:
    """One set of groups, or one tensor that is left dense.

    Attributes
    ----------
    names : tuple of str
        The tensors, as in ``model.named_parameters()``.
    params : tuple of Parameter
    layer : str
        Type of the module that holds them.
    kind : str
        What a group is, in words; empty if left dense.
    groups : str or None
        The same for the optimizer; see `DessiLBI`.
    options : dict
        ``lam``, ``size_scaling`` and what else was chosen for these tensors.
    reason : str
        Why the tensor is left dense, or what to know about its groups.
    """

    names: tuple[str, ...]
    params: tuple[Tensor, ...] = field(repr=False)
    layer: str
    kind: str = ""
    groups: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def name(self) -> str:
        return " + ".join(self.names)

    @property
    def n_weights(self) -> int:
        return sum(p.numel() for p in self.params)

    def sets(self) -> list[GroupSet]:
        """The groups, checked against the shapes of the tensors."""
        group = {"params": list(self.params), "param_names": list(self.names)}
        options = {"size_scaling": False, **self.options, "groups": self.groups}
        return group_sets({**group, **options})


class GroupTable:
    """Groups of a model, made by `groups_for`; shows itself as a table.

    Iterating over it gives param groups, so it can be given to any torch optimizer::

        optimizer = DessiLBI(groups_for(model), lr=0.1, nu=100, lam=0.5)

    Attributes
    ----------
    rows : tuple of Row
        First the registered tensors in the order of the model, then the dense ones.
    """

    def __init__(self, rows: list[Row]) -> None:
        dense = [row for row in rows if row.groups is None]
        self.rows = (*(row for row in rows if row.groups is not None), *dense)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.param_groups())

    def param_groups(self) -> list[dict[str, Any]]:
        """Param groups for an optimizer, with names; dense tensors in the last one.

        Tensors with equal options share a param group, joined ones have their own.
        """
        groups: list[dict[str, Any]] = []
        for row in self.rows:
            options = {"groups": row.groups, **row.options}
            same = (g for g in groups if {**g, "params": 0} == {**options, "params": 0})
            joined = row.groups is not None and "," in row.groups
            group = None if joined else next(same, None)
            if group is None:
                groups.append(group := {"params": [], **options})
            group["params"] += zip(row.names, row.params, strict=True)
        return groups

    def to_frame(self) -> pd.DataFrame:
        """The table as a data frame.

        Columns: ``name``, ``layer``, ``groups`` (in words; empty if dense),
        ``n_groups``, ``size`` (weights in a group), ``weights``, ``threshold`` (`lam`
        after size scaling; NaN if dense or left to the optimizer), ``note``.
        """
        import pandas as pd

        records = []
        for row in self.rows:
            sets = row.sets()
            size = {s.size for s in sets}
            known = bool(sets) and "lam" in row.options
            records.append(
                {
                    "name": row.name,
                    "layer": row.layer,
                    "groups": row.kind,
                    "n_groups": sum(s.n_groups for s in sets),
                    "size": size.pop() if size else 0,
                    "weights": row.n_weights,
                    "threshold": sets[0].threshold if known else math.nan,
                    "note": row.reason,
                }
            )
        return pd.DataFrame(records)

    def __repr__(self) -> str:
        table = self.to_frame()
        vectors = table["note"] == "vector"
        lines = [
            ["name", "layer", "groups", "number", "size", "weights", "lam", "note"]
        ]
        for row, r in zip(self.rows, table.itertuples(), strict=True):
            if r.note == "vector":
                continue
            cells = [str(r.n_groups), str(r.size)] if r.n_groups else ["", ""]
            limit = "" if math.isnan(r.threshold) else f"{r.threshold:.4g}"
            line = [_short(row.names), r.layer, r.groups or "dense", *cells]
            lines.append([*line, f"{r.weights:,}", limit, r.note])
        if vectors.any():
            line = [f"({vectors.sum()} vectors)", "", "dense", "", ""]
            lines.append([*line, f"{table['weights'][vectors].sum():,}", "", ""])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        pad = [str.ljust] * 3 + [str.rjust] * 4 + [str.ljust]
        text = [
            "  ".join(map(lambda f, cell, w: f(cell, w), pad, line, widths)).rstrip()
            for line in lines
        ]
        n, total = table["weights"][table["n_groups"] > 0].sum(), table["weights"].sum()
        text.append(
            f"{table['n_groups'].sum():,} groups hold {n:,} of {total:,} parameters "
            f"({n / max(total, 1):.1%})."
        )
        return "\n".join(text)


def _short(names: tuple[str, ...]) -> str:
    """Joined names with what they share in front said once."""
    if len(names) == 1:
        return names[0]
    shared = commonprefix(names).rpartition(".")[0]
    if not shared:
        return " + ".join(names)
    return f"{shared}.({' + '.join(name[len(shared) + 1 :] for name in names)})"
