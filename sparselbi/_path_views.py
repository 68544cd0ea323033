"""What people look at: comparisons, tables and texts of a finished path."""

from __future__ import annotations

import html
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from .path import RegularizationPath


@dataclass(frozen=True, eq=False)
class PathComparison:
    """How far two paths are apart, on a common grid of t.

    Attributes
    ----------
    t : ndarray of shape (n_points,)
    coef_difference : ndarray of shape (n_points,)
        Largest absolute difference of a coefficient.
    same_support : ndarray of bool of shape (n_points,)
    max_difference, worst_t : float
        Largest entry of `coef_difference`, and where it occurs.
    relative_difference : float
        `max_difference` over the largest coefficient of either path on the grid.
    support_agreement : float
        Share of the grid on which the supports are equal.
    """

    t: NDArray[np.float64]
    coef_difference: NDArray[np.float64]
    same_support: NDArray[np.bool_]
    max_difference: float
    worst_t: float
    relative_difference: float
    support_agreement: float

    def __repr__(self) -> str:
        return (
            f"PathComparison(max_difference={self.max_difference:.3g} at "
            f"t={self.worst_t:.4g}, relative={self.relative_difference:.3g}, "
            f"supports equal at {self.support_agreement:.1%} of {len(self.t)} points "
            f"with t in [{self.t[0]:.4g}, {self.t[-1]:.4g}])"
        )


def compare(
    path: RegularizationPath, other: RegularizationPath, n_points: int
) -> PathComparison:
    if path.coef_shape != other.coef_shape:
        raise ValueError(
            f"other has coefficients of shape {other.coef_shape}, this path "
            f"{path.coef_shape}; only paths for the same question can be compared."
        )
    if operator.index(n_points) < 1:
        raise ValueError(f"n_points={n_points!r} must be at least 1.")
    known = np.concatenate([path._t(path.knots), other._t(other.knots)])
    known = known[(known > 0) & np.isfinite(known)]
    ends = [np.inf if p.is_complete else p._t(p.knots)[-1] for p in (path, other)]
    end = min(ends)
    t = np.zeros(1)
    if len(known) and end > 0:
        end = min(end, known.max())
        t = np.unique(np.geomspace(min(known.min(), end), end, n_points))

    union = np.union1d(path.active_features, other.active_features)
    coefs = []
    for p in (path, other):
        active, _ = p._active_at(p._t(t))  # t <-> alpha is its own inverse
        wide = np.zeros((*active.shape[:-1], len(union)))
        wide[..., np.searchsorted(union, p.active_features)] = active
        coefs.append(wide)
    first, second = coefs
    axes = tuple(range(1, first.ndim))
    difference = np.abs(first - second).max(axis=axes, initial=0.0)
    same = (path._nonzero(first) == path._nonzero(second)).all(axis=1)
    scale = max(np.abs(first).max(initial=0.0), np.abs(second).max(initial=0.0))
    worst = int(difference.argmax())
    return PathComparison(
        t=t,
        coef_difference=difference,
        same_support=same,
        max_difference=float(difference[worst]),
        worst_t=float(t[worst]),
        relative_difference=float(difference[worst] / scale) if scale else 0.0,
        support_agreement=float(same.mean()),
    )


def coef_frame(path: RegularizationPath, dense: bool, tidy: bool) -> pd.DataFrame:
    import pandas as pd

    features = np.arange(path.n_features) if dense else path.active_features
    names = [path._name(feature) for feature in features]
    outputs, kind = path._outputs(), "output" if path.classes is None else "class"
    columns = pd.Index(names, name="feature")
    if outputs is not None:
        columns = pd.MultiIndex.from_product([outputs, names], names=[kind, "feature"])
    values = path.coefs if dense else path.active_coefs
    frame = pd.DataFrame(
        values.reshape(len(path), math.prod(values.shape[1:])),
        index=pd.Index(path.knots, name=path.knot_name),
        columns=columns,
    )
    if tidy:
        return frame.melt(ignore_index=False, value_name="coef").reset_index()
    return frame


def event_frame(path: RegularizationPath) -> pd.DataFrame:
    import pandas as pd

    events, outputs = path.events, path._outputs()
    data: dict[str, Any] = {
        path.knot_name: events["t"],
        "feature": np.array([path._name(j) for j in events["feature"]], dtype=object),
        "index": events["feature"],
    }
    if outputs is not None:
        labels = [None if o < 0 else outputs[o] for o in events["output"]]
        kind = "output" if path.classes is None else "class"
        data[kind] = pd.Series(labels, dtype=object)
    data["sign"] = events["sign"]
    data["event"] = np.where(events["enters"], "enters", "leaves")
    return pd.DataFrame(data)


class _Table(str):
    """Text that shows itself, so that ``path.summary()`` prints in a session."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def text(path: RegularizationPath) -> str:
    return (
        f"RegularizationPath(method={path.method!r}, loss={path.loss.name!r}, "
        f"penalty={path.penalty.name!r}, {len(path)} knots with {path._range()}, "
        f"{len(path.active_features)} of {path.n_features} features active, "
        f"status={path.status!r})"
    )


def html_text(path: RegularizationPath) -> str:
    return f"<pre>{html.escape(summary(path, max_rows=8))}</pre>"


def summary(
    path: RegularizationPath,
    max_rows: int,
    mark: Mapping[str, float] | None = None,
    unit: str = "features",
) -> str:
    nonzero = path._nonzero(path.active_coefs)
    rank = np.empty(path.n_features, dtype=np.int64)
    order = path.entry_order()
    rank[order] = np.arange(len(order))
    marks: dict[int, list[str]] = {}
    for name, knot in (mark or {}).items():
        reached = path._clock <= path._checked([knot])[0]
        marks.setdefault(int(reached.sum()) - 1, []).append(name)

    rows: dict[int, list[str]] = {}
    for k in range(len(path)):
        before = nonzero[k - 1] if k else np.zeros_like(nonzero[0])
        enters = path.active_features[nonzero[k] & ~before]
        leaves = path.active_features[before & ~nonzero[k]]
        if len(enters) + len(leaves) == 0 and k not in (0, len(path) - 1, *marks):
            continue
        moves = [f"+{path._name(j)}" for j in enters[np.argsort(rank[enters])]]
        moves += [f"-{path._name(j)}" for j in leaves]
        cells = [f"{path.knots[k]:.4g}", str(nonzero[k].sum())]
        if path.deviance is not None:
            null = path.deviance[0]
            share = 1 - path.deviance[k] / null if null > 0 else 0.0
            cells.append(f"{share:.1%}")
        if marks:
            cells.append(", ".join(marks.get(k, [])))
        rows[k] = [*cells, _shortened(moves, width=52)]
    head = [path.knot_name, "size"]
    head += ["explained"] if path.deviance is not None else []
    head += ["chosen by"] if marks else []
    head.append("entering (+), leaving (-)")

    title = (
        f"{path.method} path: {path.loss.name} loss, {path.penalty.name} penalty, "
        f"{path.n_samples:g} samples\n{len(path.active_features)} of "
        f"{path.n_features} {unit} active, {len(path)} knots with {path._range()}"
        + (f", ended by {path.status!r}" if path.status else "")
    )
    always = {*marks, len(path) - 1}
    free = [k for k in rows if k not in always]
    always.update(free[: max(max_rows - len(always), 1)])
    return _Table(f"{title}\n\n{_aligned(head, rows, always)}")


def _shortened(marks: list[str], width: int) -> str:
    """`marks` on one line, the last ones replaced by their number if need be."""
    text = "  ".join(marks)
    kept = len(marks)
    while len(text) > width and kept > 1:
        kept -= 1
        text = "  ".join([*marks[:kept], f"(and {len(marks) - kept} more)"])
    return text


def _aligned(head: list[str], rows: dict[int, list[str]], shown: set[int]) -> str:
    """The `shown` rows as text: columns to the right, the last one to the left."""
    table = [head, *(row for k, row in rows.items() if k in shown)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    gap = "  ".join("...".rjust(width) for width in widths)

    def line(row: list[str]) -> str:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
        return "  ".join([*cells, row[-1]]).rstrip()

    lines, skipped = [line(head)], 0
    for k, row in rows.items():
        if k not in shown:
            skipped += 1
            continue
        if skipped:
            lines.append(f"{gap}  ({skipped} more changes)")
        lines.append(line(row))
        skipped = 0
    return "\n".join(lines)
