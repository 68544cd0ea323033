"""The path of a robust fit: which rows are shifted, and the fit without them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from . import _path_views
from .path import RegularizationPath, read_only

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ShiftPath"]

ROW_EVENT_DTYPE = np.dtype(
    [("at", "f8"), ("row", "i8"), ("sign", "i1"), ("enters", "?")]
)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ShiftPath(RegularizationPath):
    """A path of ``y = X coef + intercept + shift + noise`` with sparse shifts.

    All that `RegularizationPath` has concerns the coefficients, none of which is
    penalized; ``size`` and ``deviance`` count the shifted rows (sums of weights,
    rounded; ``info["n_shifted"]`` is not) and sum the squares that are left with their
    shifts. Knots are thresholds in units of y, decreasing from the
    least-squares fit (``knot_name`` "threshold": methods "l1" and "hard"), or times
    in units of 1 / y ("t": "iss" and "lbi"). Early means outlying.

    The shifts are not stored: they follow from the residuals (see `shifts`).

    Attributes
    ----------
    row_events : structured ndarray with fields at, row, sign, enters
        Where which row starts or ceases to be shifted, in path order; the sign is 0
        for several responses.
    row_entry : ndarray of shape (n_rows,)
        Where each row is shifted first; NaN if it never is.
    row_factor : ndarray of shape (n_rows,) or None
        Factors of the threshold, None for ones.
    row_names : tuple of str or None
    threshold_max : float
        Largest (scaled) residual of least squares: above it no row is shifted.
    rank : int
        Of the least-squares fit, intercept included.
    df : ndarray of shape (n_knots,)
        Degrees of freedom of coefficients and shifts.
    df_kind : {"exact", "upper bound", "approximate"}
    shift_parts : dict of arrays or None
        Shifts at the knots in compressed rows, for "lbi", where they do not follow from
        residuals; see `shift_coefs`.
    """

    row_events: NDArray[Any]
    row_entry: NDArray[np.float64]
    threshold_max: float
    rank: int
    df: NDArray[np.float64]
    df_kind: str
    row_factor: NDArray[np.float64] | None = None
    row_names: tuple[str, ...] | None = None
    shift_parts: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        types = {
            "row_events": ROW_EVENT_DTYPE,
            "row_entry": np.float64,
            "row_factor": np.float64,
            "df": np.float64,
        }
        for name, dtype in types.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, read_only(value, dtype))
        clock = self._direction * self.row_events["at"]
        if not (np.diff(clock) >= 0).all():
            raise ValueError("row_events must be in path order.")
        if len(self.row_events) and not (
            self.row_events["row"].min() >= 0
            and self.row_events["row"].max() < self.n_rows
        ):
            raise ValueError(f"row_events name rows outside [0, {self.n_rows}).")

    # ------------------------------------------------------------------------- rows

    @property
    def n_rows(self) -> int:
        """Number of rows of the data, those of weight 0 included."""
        return len(self.row_entry)

    def outliers(self, knot: float) -> NDArray[np.bool_]:
        """Rows that are shifted at a value of the threshold (or t), (n_rows,).

        Parameters
        ----------
        knot : float
            As in `at`, not an index.
        """
        point = self._checked([knot])
        stop = self.event_stops(point)[0]
        if (
            self.interpolation == "linear"
        ):  # a row that leaves here has the shift 0, too
            later = self._direction * self.row_events["at"][stop:]
            now = later <= point[0] + 1e-12 * abs(point[0])
            leaves = now & ~self.row_events["enters"][stop:]
            happened = np.append(np.arange(stop), stop + np.flatnonzero(leaves))
            events = self.row_events[happened]
        else:
            events = self.row_events[:stop]
        mask = np.zeros(self.n_rows, dtype=bool)
        mask[events["row"]] = events["enters"]  # the last one of each row stays
        return mask

    def event_stops(self, clock: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many `row_events` have happened at points of the increasing clock.

        On a constant path an event belongs to its knot. On a linear one a row at its
        event has the shift 0, so that it is shifted after it only.
        """
        constant = self.interpolation == "constant"
        ends = clock + (1e-12 if constant else -1e-12) * np.abs(clock)  # rounding
        events = self._direction * self.row_events["at"]
        return np.searchsorted(events, ends, side="right" if constant else "left")

    def outlier_order(self, k: int | None = None) -> NDArray[np.int64]:
        """Rows in the order in which they are shifted first, the first `k` of them.

        Ties are broken by the row index; rows that never are shifted are left out.
        """
        order = np.argsort(self._direction * self.row_entry, kind="stable")
        return order[: np.count_nonzero(~np.isnan(self.row_entry))][:k]

    def entry_strength(self) -> NDArray[np.float64]:
        """How outlying each row is: its entry as a threshold, (n_rows,).

        The largest threshold at which it is shifted, or 1 over its first time, both in
        units of y; 0 for rows that never are. For least squares with one response this
        would be the absolute residual.
        """
        entry = self.row_entry
        strength = 1 / entry if self.knot_name == "t" else entry
        return np.where(np.isnan(strength), 0.0, strength)

    def rows_frame(self) -> pd.DataFrame:
        """One line for each row: entry, strength and place in the order of entries."""
        import pandas as pd

        place = np.full(self.n_rows, -1)
        order = self.outlier_order()
        place[order] = np.arange(len(order))
        columns: dict[str, Any] = {
            f"entry_{self.knot_name}": self.row_entry,
            "strength": self.entry_strength(),
            "place": pd.array(np.where(place < 0, 0, place), dtype="Int64"),
        }
        columns["place"][place < 0] = pd.NA
        if self.row_factor is not None:
            columns["factor"] = self.row_factor
        return pd.DataFrame(columns, index=self.row_names)

    def row_name(self, row: int) -> str:
        """Name of a row in tables and figures: from the data frame, or its number."""
        return str(row) if self.row_names is None else self.row_names[row]

    def events_frame(self) -> pd.DataFrame:
        """`row_events` as a data frame, in path order.

        Columns: ``threshold`` (or ``t``), ``row`` (its name), ``index``, ``sign`` and
        ``event`` ("enters" or "leaves").
        """
        import pandas as pd

        events = self.row_events
        return pd.DataFrame(
            {
                self.knot_name: events["at"],
                "row": [self.row_name(row) for row in events["row"]],
                "index": events["row"],
                "sign": events["sign"],
                "event": np.where(events["enters"], "enters", "leaves"),
            }
        )

    # -------------------------------------------------------------------- with data

    @property
    def shift_coefs(self) -> Any:
        """Shifts at the knots, CSR of shape (n_knots, n_rows * n_outputs), or None."""
        if self.shift_parts is None:
            return None
        parts = self.shift_parts
        triple = (parts["data"], parts["indices"], parts["indptr"])
        width = self.n_rows * int(np.prod(self.coef_shape[:-1], dtype=int))
        return sparse.csr_array(triple, shape=(len(self), width))

    def residuals(self, X: Any, y: ArrayLike, knot: float) -> NDArray[np.float64]:
        """Return ``y - X coef - intercept`` at a value of the threshold (or t).

        Parameters
        ----------
        X, y
            Data as given to the solver (labels, if the path has classes).
        knot : float
            As in `at`.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_outputs)
        """
        eta = self.linear_predictor(X, float(knot))
        target = np.asarray(y)
        if self.classes is not None:
            target = (target[:, None] == self.classes).astype(np.float64)
        elif target.ndim == 2 and eta.ndim == 1:
            target = target[:, 0]
        if len(target) != self.n_rows:
            raise ValueError(
                f"y has {len(target)} rows, but the path was traced on {self.n_rows}."
            )
        return target - np.moveaxis(eta, 0, -1)

    def shifts(self, X: Any, y: ArrayLike, knot: float) -> NDArray[np.float64]:
        """Shifts of all rows at a value of the threshold (or t).

        Parameters
        ----------
        X, y, knot
            As in `residuals`.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_outputs)
            The residual of a shifted row, less the threshold for "l1"; 0 elsewhere.
        """
        return self._shifts(self.residuals(X, y, knot), knot)

    def shifts_of(self, problem: Any, knot: float) -> NDArray[np.float64]:
        """As `shifts`, of a `ShiftProblem`, whose X is read in blocks of rows."""
        point = self.at(knot)
        residual = problem.residuals(point.coef, point.intercept)
        return self._shifts(residual, knot)

    def _shifts(self, residual, knot):
        columns = residual.reshape(self.n_rows, -1)
        mask = self.outliers(knot)
        shift = np.zeros_like(columns)
        if self.shift_parts is not None:
            shift[:] = self._shift_at(knot).reshape(shift.shape)
        elif self.method == "l1":
            length = np.linalg.norm(columns[mask], axis=1)
            factor = np.ones(len(length))
            if self.row_factor is not None:
                factor = self.row_factor[mask]  # finite: these rows are shifted
            kept = np.maximum(1 - knot * factor / np.maximum(length, 1e-300), 0.0)
            shift[mask] = kept[:, None] * columns[mask]
        else:
            shift[mask] = columns[mask]
        return shift.reshape(residual.shape)

    def _shift_at(self, knot):
        clock = self._clock
        point = self._checked([knot])[0]
        k = int(np.clip(np.searchsorted(clock, point, side="right"), 1, len(self)))
        stored = self.shift_coefs
        before = stored[[k - 1]].toarray()[0]
        if k == len(self) or point <= clock[k - 1]:
            return before
        share = (point - clock[k - 1]) / (clock[k] - clock[k - 1])
        return before + share * (stored[[k]].toarray()[0] - before)

    def refit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RegularizationPath:
        """Fit by least squares without the rows that are shifted at each knot.

        Parameters
        ----------
        X, y, sample_weight
            Data as given to the solver.

        Returns
        -------
        ShiftPath
            Method ``"<method>+refit"``, with the same knots, constant in between; the
            shift of a shifted row is its residual.
        """
        from .solvers.shift_paths import refit_shift_path

        return refit_shift_path(self, self._problem(X, y, sample_weight))

    def verify(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> pd.DataFrame:
        """Check the optimality of every knot from the data alone.

        Parameters
        ----------
        X, y, sample_weight
            Data as given to the solver.

        Returns
        -------
        pandas.DataFrame
            One row per knot, see `sparselbi.solvers.verify_shift_path`.
        """
        from .solvers.shift_verify import verify_shift_path

        return verify_shift_path(self, self._problem(X, y, sample_weight))

    def stability(self, *args: Any, **options: Any) -> Any:
        """Not defined here: halves of the data have other rows."""
        raise NotImplementedError(
            "stability selection draws halves of the rows, and here the rows are what "
            "is selected; for the uncertainty of the coefficients use the intervals of "
            "OutlierRegression.conf_int."
        )

    def _problem(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> Any:
        from .shift_problem import ShiftProblem

        return ShiftProblem(
            X,
            y,
            classes=self.classes,
            sample_weight=sample_weight,
            fit_intercept=self.settings["fit_intercept"],
            row_factor=self.row_factor,
        )

    # ------------------------------------------------------------------------ views

    @cached_property
    def _order_text(self) -> str:
        names = [self.row_name(row) for row in self.outlier_order(12)]
        return ", ".join(names) + (", ..." if len(names) == 12 else "")

    def __repr__(self) -> str:
        return (
            f"ShiftPath(method={self.method!r}, {self.n_rows} rows, {self.n_features} "
            f"features, {len(self)} knots with {self._range()}, first rows: "
            f"{self._order_text or 'none'}, status={self.status!r})"
        )

    def summary(
        self, max_rows: int = 20, mark: Mapping[str, float] | None = None
    ) -> str:
        """A table of the knots at which the set of shifted rows changes.

        Parameters
        ----------
        max_rows : int, default=20
            Kept are the marked rows, the last one, and as many first rows as fit.
        mark : dict of str to float or None
            Names of points and their threshold (or t).
        """
        marks: dict[int, list[str]] = {}
        for name, knot in (mark or {}).items():
            reached = self._clock <= self._checked([knot])[0]
            marks.setdefault(int(reached.sum()) - 1, []).append(name)
        stops = self.event_stops(self._clock)
        always = {*marks, len(self) - 1}
        size: Any = self.info.get("n_shifted", self.size)
        rows: dict[int, list[str]] = {}
        for k in range(len(self)):
            events = self.row_events[stops[k - 1] if k else 0 : stops[k]]
            if len(events) == 0 and k not in (0, *always):
                continue
            if len(rows) > max_rows and k not in always:
                continue
            moves = [
                ("+" if event["enters"] else "-") + self.row_name(event["row"])
                for event in events
            ]
            cells = [f"{self.knots[k]:.4g}", f"{size[k]:g}"]
            if self.deviance is not None:
                cells.append(f"{self.deviance[k]:.4g}")
            if marks:
                cells.append(", ".join(marks.get(k, [])))
            rows[k] = [*cells, _path_views._shortened(moves, width=52)]
        head = [self.knot_name, "shifted"]
        squared = self.loss.name == "squared"
        if self.deviance is not None:
            head += ["rss" if squared else "deviance"]
        head += ["chosen by"] if marks else []
        head.append("rows shifted (+), no longer (-)")
        shown = {*list(rows)[: max(max_rows - len(always), 1)], *always}
        title = (
            f"{self.method} path of {self.n_rows} rows, {self.n_features} features: "
            f"{len(self)} knots with {self._range()}"
            + (f", ended by {self.status!r}" if self.status else "")
        )
        table = _path_views._aligned(head, rows, shown)
        return _path_views._Table(f"{title}\n\n{table}")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary(8))}</pre>"
