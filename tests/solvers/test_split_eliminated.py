"""The eliminated iteration of Split LBI against a plain loop with dense matrices."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from sparselbi.penalties import transforms
from sparselbi.problem import Problem
from sparselbi.solvers._split_eliminated import trace_eliminated
from sparselbi.solvers._split_problem import SplitProblem
from sparselbi.solvers._split_systems import make_system

N_KNOTS = 9


# -- the slow twin -----------------------------------------------------------------------


def slow_parts(X, y, weights, fit_intercept, standardize):
    """Gram matrix and right-hand side of the used columns, by their definition."""
    X = np.asarray(X.toarray() if sp.issparse(X) else X, dtype=float)
    w = np.ones(len(y)) if weights is None else weights
    w = w / w.sum()
    y = y - w @ y if fit_intercept else y
    X = X - w @ X if fit_intercept else X
    if standardize:
        X = X / np.sqrt(w @ X**2)
    return X.T @ (w[:, None] * X), X.T @ (w * y)


class SlowLBI:
    """One row after the other, blocks as lists of rows, nothing clever."""

    def __init__(self, H, c, D, nu, weight, positive, blocks):
        self.inverse = np.linalg.inv(H + D.T @ D / nu)
        self.c, self.D, self.nu = c, D, nu
        self.weight, self.positive, self.blocks = weight, positive, blocks
        # A row of an active group may change its sign without being in an event.
        self.entrywise = len(blocks) == len(D)

    def coef(self, split):
        return self.inverse @ (self.c + self.D.T @ split / self.nu)

    def shrink(self, z):
        out = np.zeros(len(z))
        for block in self.blocks:
            v = [max(z[r], 0.0) if self.positive[r] else z[r] for r in block]
            norm = np.sqrt(sum(value**2 for value in v))
            if norm > self.weight[block[0]]:
                for r, value in zip(block, v, strict=True):
                    out[r] = value * (1 - self.weight[block[0]] / norm)
        return out

    def first_entry(self):
        g = self.D @ self.coef(np.zeros(len(self.D))) / self.nu
        times = []
        for block in self.blocks:
            v = [max(g[r], 0.0) if self.positive[r] else g[r] for r in block]
            norm = np.sqrt(sum(value**2 for value in v))
            times.append(self.weight[block[0]] / norm if norm > 0 else np.inf)
        return min(times)

    def trace(self, kappa, step, t0, knots):
        """Split coefficients and coefficients at knots; (row, sign, enters) and times."""
        z = t0 * self.D @ self.coef(np.zeros(len(self.D))) / self.nu
        split = np.zeros(len(self.D))
        found, events, t = [(self.coef(split), split)], [], t0
        for k in range(10**6):
            t = t0 + k * step
            g = (self.D @ self.coef(split) - split) / self.nu
            for knot in knots[1:]:
                if t < knot <= t + step:
                    there = kappa * self.shrink(z + (knot - t) * g)
                    found.append((self.coef(there), there))
            span = min(step, knots[-1] - t)
            after = kappa * self.shrink(z + span * g)
            events += self.events(z, g, t, span, split, after)
            if t + step >= knots[-1]:
                break
            z, split = z + step * g, after
        coefs, splits = (np.array(part) for part in zip(*found, strict=True))
        return coefs, splits, sorted(events)

    def events(self, z, g, t, span, before, after):
        """Where rows become or cease to be zero, by bisection on the straight line."""
        found = []
        for r in np.flatnonzero((before != 0) | (after != 0)):
            both = before[r] != 0 and after[r] != 0
            if both and (before[r] * after[r] > 0 or not self.entrywise):
                continue
            changes = [(before[r], False)] if before[r] != 0 else []
            changes += [(after[r], True)] if after[r] != 0 else []
            for value, enters in changes:
                low, high = 0.0, span
                for _ in range(100):
                    middle = 0.5 * (low + high)
                    here = self.shrink(z + middle * g)[r] * value > 0
                    low, high = (low, middle) if here == enters else (middle, high)
                found.append((t + high, int(r), int(np.sign(value)), enters))
        return found


# -- problems ----------------------------------------------------------------------------


def random_graph(p, n_edges, seed, n_components=1):
    """A random graph with weights; components are ranges of features."""
    rng = np.random.default_rng(seed)
    part = rng.integers(n_components, size=n_edges)
    size = p // n_components
    i, j = rng.integers(size, size=(2, n_edges))
    keep = i != j
    W = sp.coo_array(
        (
            rng.uniform(0.5, 2.0, n_edges)[keep],
            ((part * size + np.minimum(i, j))[keep], (part * size + i.clip(j))[keep]),
        ),
        shape=(p, p),
    ).tocsr()
    W.sum_duplicates()
    return transforms.graph_incidence(W + W.T)


def dense_map(m, p, seed):
    return transforms.as_transform(np.random.default_rng(seed).normal(size=(m, p)))


def make(D, n=40, seed=0, kind=np.asarray, **options):
    """A SplitProblem with jumps in D @ coef, and the twin of it."""
    rng = np.random.default_rng(seed)
    p = D.n_features
    settings = {
        "fit_intercept": True,
        "standardize": False,
        "sample_weight": None,
        **{key: options.pop(key) for key in list(options) if key in SETTINGS},
    }
    X = rng.normal(size=(n, p)) * rng.uniform(0.5, 2, p) + rng.normal(size=p)
    if kind is sp.csc_array:
        X *= rng.random((n, p)) < 0.4
    X = X.astype(np.float32).astype(float)
    y = X @ np.repeat(rng.normal(size=p), 4)[:p] + rng.normal(size=n) + 2.0
    problem = Problem(kind(X), y, **settings)
    penalty = "l1" if options.get("groups") is None else "group"
    split = SplitProblem(problem, D, penalty=penalty, **options)
    H, c = slow_parts(
        X,
        y,
        settings["sample_weight"],
        settings["fit_intercept"],
        settings["standardize"],
    )
    split.set_nu(0.7, None, np.linalg.norm(H, 2))
    labels = np.arange(D.n_rows) if split.groups is None else split.groups
    blocks = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    weight = np.where(split.never, np.inf, split.row_weight)
    slow = SlowLBI(H, c, D.to_dense(), split.nu_raw, weight, split.positive, blocks)
    return split, slow


SETTINGS = ("fit_intercept", "standardize", "sample_weight")
WEIGHTS = np.random.default_rng(5).uniform(0.3, 2.0, 40)
SOME = np.arange(15) % 3 == 0


def operator(D):
    return transforms.as_transform(aslinearoperator(D.to_dense()))


CASES = {
    "line": lambda: make(transforms.differences(16)),
    "trend": lambda: make(transforms.differences(16, 2), standardize=True),
    "few samples": lambda: make(transforms.differences(16), n=6),
    "raw columns": lambda: make(transforms.differences(16), fit_intercept=False),
    "weights": lambda: make(transforms.differences(16), sample_weight=WEIGHTS),
    "graph": lambda: make(random_graph(16, 40, 0, n_components=2), n=7),
    "identity": lambda: make(transforms.identity(16)),
    "tied": lambda: make(transforms.with_identity(transforms.differences(12), 2.0)),
    "float32": lambda: make(transforms.differences(16), kind=np.float32),
    "sparse": lambda: make(transforms.differences(16), kind=sp.csc_array),
    "rows": lambda: make(dense_map(15, 10, 1)),
    "operator": lambda: make(operator(transforms.differences(16))),
    "row weights": lambda: make(
        dense_map(15, 10, 1), row_weight=np.linspace(0.5, 2.0, 15)
    ),
    "barred": lambda: make(
        transforms.differences(16), row_weight=np.where(SOME, np.inf, 1.0)
    ),
    "positive": lambda: make(transforms.differences(16), positive=True),
    "some positive": lambda: make(dense_map(15, 10, 1), positive=SOME),
    "isotropic": lambda: make(
        grid := transforms.grid_gradient((4, 4), isotropic=True), groups=grid.groups
    ),
    "groups": lambda: make(
        dense_map(15, 10, 1),
        groups=np.array(list("abcdefghabcdefg")),
        group_weight="sqrt",
    ),
    "positive groups": lambda: make(
        dense_map(15, 10, 1), groups=np.arange(15) % 6, positive=SOME
    ),
    "barred groups": lambda: make(
        dense_map(15, 10, 1),
        groups=np.arange(15) // 3,
        row_weight=np.repeat([1.0, np.inf, 0.7, 1.0, 2.0], 3),
    ),
}


def traced(split, kappa, *, route="auto", reach=12.3, share=0.5, **options):
    """Trace from the first entry t0 to ``reach * t0``."""
    system = make_system(split, route)
    c = split.problem.correlate(split.problem.null_score)[0]
    slope = split.D.dot(system.solve(c)) / split.nu_raw
    t0 = split.first_entry_time(slope[None])
    kappa_raw = kappa * split.nu_raw / t0
    return trace_eliminated(
        split,
        system,
        kappa_raw=kappa_raw,
        step=2 * share * split.nu_raw / kappa_raw,
        t0=t0,
        t_max=reach * t0,
        n_knots=N_KNOTS,
        **options,
    ), kappa_raw


def whole_splits(trace, n_rows):
    out = np.zeros((len(trace.knots), n_rows))
    out[:, trace.rows] = trace.splits[:, 0]
    return out


def gap(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


# -- the twin agrees -----------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_slow_loop(name, share):
    split, slow = CASES[name]()
    trace, kappa_raw = traced(split, 8.0, share=share)
    t0 = slow.first_entry()
    assert trace.knots[0] == pytest.approx(t0, rel=1e-10)
    assert trace.knots[-1] == 12.3 * trace.knots[0]
    step = 2 * share * split.nu_raw / kappa_raw
    coefs, splits, events = slow.trace(kappa_raw, step, trace.knots[0], trace.knots)
    assert gap(trace.coefs[:, 0], coefs) <= 1e-10
    assert np.abs(splits).max() > 0
    assert gap(whole_splits(trace, split.n_rows), splits) <= 1e-10
    ours = sorted((e["t"], e["feature"], e["sign"], e["enters"]) for e in trace.events)
    assert [event[1:] for event in ours] == [event[1:] for event in events]
    np.testing.assert_allclose(
        [event[0] for event in ours], [event[0] for event in events], rtol=1e-9
    )
    assert len(events) >= 3
    assert (trace.events["output"] == -1).all()
    assert trace.status == "t_max"
    assert trace.n_iter == int(np.ceil(11.3 * trace.knots[0] / step))


def test_twin_sees_rows_leave():
    """Otherwise the comparison above would say nothing about leaving rows."""
    kinds = set()
    for name in CASES:
        events = traced(CASES[name]()[0], 8.0)[0].events
        kinds |= {(int(e["sign"]), bool(e["enters"])) for e in events}
    assert kinds == {(1, True), (-1, True), (1, False), (-1, False)}
