"""Split LBI with the dense coefficients eliminated: one solve per step, at any size.

The duals of all rows take a step ``z += step / nu * (D coef - split)``, and the
coefficients follow exactly: ``coef = M^-1 (c + D'split / nu)``, see `_split_systems`.
"""

import numpy as np
from scipy import sparse

from ..path import EVENT_DTYPE
from ._split_problem import SplitTrace
from ._split_steps import move_blocks, move_rows, pair_differences, pair_sums

__all__ = ["trace_eliminated"]

# A dual may be beyond its threshold by this much at t0, the first entry.
_ROUNDING = 1e-9


def trace_eliminated(
    split, system, *, kappa_raw, step, t0, t_max, n_knots, max_rows=None
):
    """Trace the path of the eliminated form.

    Parameters
    ----------
    split : SplitProblem
        With squared loss, one output, and `nu_raw` set. Rows with threshold 0 must have
        been taken out of D: their split coefficients are ``D @ coef``.
    system : System
        From `make_system` for the same `split`.
    kappa_raw : float
    step : float
        Stable iff ``kappa_raw * step < 2 * nu_raw``.
    t0 : float
        First entry; nothing moves before.
    t_max : float
        More than t0.
    n_knots : int
        At least 2; knots are on a logarithmic grid from t0 to t_max.
    max_rows : int or None
        The path ends before more rows than this are active.

    Returns
    -------
    SplitTrace
        Split coefficients of the knots are those of duals that are linear between
        iterates; coefficients belong to them. ``info["interpolation_error"]`` is the
        largest error of linear interpolation of coefficients at the geometric middle
        of two knots, as a fraction of the range (largest minus smallest) of the
        coefficients of a knot so far.

    Raises
    ------
    ValueError
        If the step is unstable, t0 is beyond the first entry, or the iterates are not
        finite.
    """
    _check(split, kappa_raw, step)
    nu = split.nu_raw
    rows = _Rows(split)
    c = split.problem.correlate(split.problem.null_score)[0]
    coef = system.solve(c)
    follow = system.follow()
    duals = _Duals(split, rows, kappa_raw, t0 / nu * rows.dot(coef))
    split_coef, fresh = np.zeros(split.n_rows), np.empty(split.n_rows)

    knots = np.geomspace(t0, t_max, n_knots)
    knots[[0, -1]] = t0, t_max
    # Between two knots one look, for the error of interpolation.
    looks = np.empty(2 * n_knots - 1)
    looks[::2], looks[1::2] = knots, np.sqrt(knots[:-1] * knots[1:])
    notes = _Notes(n_knots, len(coef))
    notes.add_knot(t0, coef, split_coef)
    position, n_steps = 1, 0
    status, message = "t_max", f"The path reached t_max={t_max:.6g}."
    while position < len(looks):
        t = t0 + n_steps * step
        end = min(t0 + (n_steps + 1) * step, t_max)
        fitted = rows.dot(coef)
        n_knots_before = len(notes.knots)
        while position < len(looks) and looks[position] <= end:
            duals.move(fitted, t, looks[position], nu, fresh, keep=False)
            at_look = follow(c + rows.rdot(fresh) / nu, remember=False)
            if position % 2:
                notes.add_middle(looks[position], at_look)
            else:
                notes.add_knot(looks[position], at_look, fresh)
            position += 1
        n_active, events = duals.move(fitted, t, end, nu, fresh, keep=True)
        if max_rows is not None and n_active > max_rows:
            notes.drop_knots(n_knots_before)
            if t > notes.knots[-1]:
                notes.add_knot(t, coef, split_coef)
            status = "max_rows"
            message = (
                f"The path ended before more than max_rows={max_rows} rows were active."
            )
            break
        notes.add_events(events)
        split_coef, fresh = fresh, split_coef
        n_steps += 1
        if position < len(looks):
            coef = follow(c + rows.rdot(split_coef) / nu)
            if not np.isfinite(coef.sum()):
                raise ValueError(
                    f"the iterates are not finite at t={end:.6g}: X, y or D contain "
                    "numbers that are too large; rescale them."
                )
    return SplitTrace(
        knots=np.array(notes.knots),
        coefs=notes.coefs[: len(notes.knots), None],
        intercepts=None,
        **notes.tables(rows.order, split.n_rows),
        status=status,
        message=message,
        n_iter=n_steps,
        info={"interpolation_error": notes.error, **system.info},
    )


def _check(split, kappa_raw, step):
    if split.n_outputs != 1 or split.problem.loss.name != "squared":
        raise ValueError(
            "the eliminated form needs the squared loss, but the loss is "
            f"{split.problem.loss.name!r}; use the joint form."
        )
    if (split.row_weight == 0).any():
        raise ValueError(
            "row_weight is 0 for some rows of D; take them out of D (row_subset): "
            "their split coefficients are D @ coef."
        )
    limit = 2.0 * split.nu_raw / kappa_raw
    if not 0 < step < limit:
        raise ValueError(
            f"step={step!r} is unstable: with kappa_raw={kappa_raw:.6g} and nu_raw="
            f"{split.nu_raw:.6g} it must be positive and below 2 nu_raw / kappa_raw = "
            f"{limit:.6g}."
        )


class _Rows:
    """Products with D, its rows in an order in which blocks are neighbours.

    Attributes
    ----------
    order : ndarray of int of shape (m,) or None
        None is the order of D.
    """

    def __init__(self, split):
        D, p = split.D, split.n_features
        self._D, self.order = D, split.order if split.is_blocked else None
        self._pairs = None
        if D.is_graph:
            matrix = sparse.csr_array(D.matrix)
            first, last = matrix.indptr[:-1], matrix.indptr[1:] - 1
            # A row with one entry is tied to the ground, a feature behind the others.
            tail = np.where(first == last, p, matrix.indices[last])
            self._pairs = (
                self._arranged(matrix.indices[first]).astype(np.uint32),
                self._arranged(tail).astype(np.uint32),
                self._arranged(matrix.data[first]).astype(np.float64),
            )
            self._coef, self._sums = np.zeros(p + 1), np.empty(p + 1)
            self._fitted = np.empty(split.n_rows)

    def _arranged(self, values):
        return values if self.order is None else values[self.order]

    def dot(self, coef):
        """``D @ coef``; the array is overwritten by the next call."""
        if self._pairs is None:
            return np.ascontiguousarray(self._arranged(self._D.dot(coef)))
        self._coef[:-1] = coef
        pair_differences(*self._pairs, self._coef, self._fitted)
        return self._fitted

    def rdot(self, split):
        """``D.T @ split``."""
        if self._pairs is not None:
            pair_sums(*self._pairs, split, self._sums)
            return self._sums[:-1]
        if self.order is not None:
            back = np.empty_like(split)
            back[self.order] = split
            split = back
        return self._D.rdot(split)


class _Duals:
    """Dual variables of all rows, and their thresholds.

    Parameters
    ----------
    z : ndarray of shape (m,)
        Duals at t0, where no row is active yet.
    """

    def __init__(self, split, rows, kappa, z):
        self._kappa = kappa
        penalty, weight = split.penalty, split.row_weight
        positive = split.positive | penalty.positive
        self._blocked = rows.order is not None
        self._limits: tuple
        if self._blocked:
            order, start = rows.order, split.ptr[:-1]
            edge = np.where(split.never, np.inf, weight)[order][start]
            floor = np.where(positive[order], 0.0, -np.inf)
            self._limits = floor, edge, split.ptr
            norm = np.sqrt(np.add.reduceat(np.maximum(z, floor) ** 2, start))
            share = np.maximum(norm / edge, 1.0)
            excess, scale = share.max(), np.repeat(share, np.diff(split.ptr))
            self._z = z / scale
        else:
            low = np.where(positive | split.never, -np.inf, -weight)
            high = np.where(split.never, np.inf, weight)
            self._z = np.clip(z, low, high)
            excess = 1.0 + np.max(np.abs(z - self._z) / weight, initial=0.0)
            if (low == low[0]).all() and (high == high[0]).all():
                low, high = low[:1], high[:1]
            self._limits = low, high
        if excess > 1.0 + _ROUNDING:
            raise ValueError(
                f"t0 is beyond the first entry: a dual is at {excess:.6g} times its "
                "threshold."
            )
        size = 2 * len(z)  # a step makes at most two events per row
        self._events = np.empty(size), np.empty(size, np.int64), np.empty(size, np.int8)

    def move(self, fitted, t, end, nu, out, keep):
        """Take the duals from time t to `end`, or only look there.

        Returns
        -------
        n_active : int
        events : tuple of ndarray
            Times, rows and codes; see `_split_steps`.
        """
        span = end - t
        move = move_blocks if self._blocked else move_rows
        n_active, n_events = move(
            fitted,
            self._z,
            *self._limits,
            self._kappa,
            span / nu,
            t,
            span,
            keep,
            out,
            *self._events,
        )
        return n_active, tuple(values[:n_events] for values in self._events)


class _Notes:
    """What is written down: knots, events, and how well lines join the knots."""

    def __init__(self, n_knots, n_features):
        self.knots, self.error = [], 0.0
        self.coefs = np.empty((n_knots, n_features))
        self._splits, self._events = [], []
        self._range, self._middle = 0.0, None

    def add_knot(self, t, coef, split):
        active = np.flatnonzero(split)
        self._splits.append((active, split[active]))
        self._range = max(self._range, float(np.ptp(coef)))
        if self._middle is not None and self._range > 0:
            when, exact = self._middle
            share = (when - self.knots[-1]) / (t - self.knots[-1])
            last = self.coefs[len(self.knots) - 1]
            gap = np.abs(exact - share * coef - (1.0 - share) * last).max()
            self.error = max(self.error, float(gap) / self._range)
        self.coefs[len(self.knots)] = coef
        self.knots.append(t)

    def add_middle(self, t, coef):
        self._middle = t, coef.copy()

    def drop_knots(self, count):
        """Keep only the first `count` knots."""
        del self.knots[count:], self._splits[count:]
        self._middle = None

    def add_events(self, events):
        if len(events[0]):
            self._events.append(tuple(values.copy() for values in events))

    def tables(self, order, n_rows):
        """Rows that are ever active, their split coefficients, and the events."""
        t, row, code = self._joined_events()
        events = np.zeros(len(t), EVENT_DTYPE)
        events["t"] = t
        events["feature"] = row if order is None else order[row]
        events["output"] = -1
        events["sign"] = np.sign(code)
        events["enters"] = np.abs(code) == 1
        ranks = events["enters"], events["feature"], events["t"]
        events = events[np.lexsort(ranks)]
        ever = np.zeros(n_rows, dtype=bool)
        ever[events["feature"]] = True
        for active, _ in self._splits:
            ever[active if order is None else order[active]] = True
        rows = np.flatnonzero(ever)
        place = np.empty(n_rows, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        splits = np.zeros((len(self.knots), 1, len(rows)))
        for k in range(len(self.knots)):
            active, values = self._splits[k]
            splits[k, 0, place[active if order is None else order[active]]] = values
            self._splits[k] = None  # halves the memory at this point
        return {"rows": rows, "splits": splits, "events": events}

    def _joined_events(self):
        if not self._events:
            return np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int8)
        return tuple(np.concatenate(part) for part in zip(*self._events, strict=True))
