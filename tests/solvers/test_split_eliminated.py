"""The eliminated iteration of Split LBI against a plain loop with dense matrices."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from sparselbi.penalties import transforms
from sparselbi.problem import Problem
from sparselbi.solvers import iss_path
from sparselbi.solvers._split_eliminated import trace_eliminated
from sparselbi.solvers._split_problem import SplitProblem
from sparselbi.solvers._split_reduced import ReducedProblem
from sparselbi.solvers._split_systems import make_system

N_KNOTS = 9


# -- the slow twin ---------------------------------------------------------------------


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
        """Coefficients and split coefficients at knots, and all events."""
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


# -- problems --------------------------------------------------------------------------


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


# -- the twin agrees -------------------------------------------------------------------


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


# -- routes, limits, and what must not matter ------------------------------------------


ROUTE_CASES = {
    "image": lambda **o: image_problem((5, 6), **o),
    "isotropic image": lambda **o: image_problem((5, 6), isotropic=True, **o),
    "few samples of a graph": lambda **o: make(random_graph(40, 90, 0), n=15, **o)[0],
    "two components": lambda **o: make(
        random_graph(40, 90, 1, n_components=2), n=15, **o
    )[0],
    "sparse": lambda **o: make(random_graph(20, 40, 2), kind=sp.csc_array, **o)[0],
    "trend": lambda **o: make(transforms.differences(40, 2), n=15, **o)[0],
}


def image_problem(shape, isotropic=False):
    """A noisy image of two levels."""
    rng = np.random.default_rng(3)
    picture = np.zeros(shape)
    picture[1:4, 2:5] = 2.0
    y = (picture + 0.3 * rng.normal(size=shape)).ravel()
    D = transforms.grid_gradient(shape, isotropic=isotropic)
    X = sp.eye_array(picture.size, format="csc")
    split = SplitProblem(
        Problem(X, y, fit_intercept=False, standardize=False),
        D,
        penalty="group" if isotropic else "l1",
        groups=D.groups,
    )
    split.set_nu(1.0, None, 1.0 / picture.size)
    return split


@pytest.mark.parametrize("name", ROUTE_CASES)
def test_routes_agree(name):
    split = ROUTE_CASES[name]()
    reference, _ = traced(split, 8.0, route="dense")
    routes = ["cg", "splu"] + ["dct"] * ("image" in name)
    for route in routes:
        trace, _ = traced(split, 8.0, route=route)
        assert gap(trace.coefs, reference.coefs) <= 1e-8
        np.testing.assert_array_equal(trace.rows, reference.rows)
        assert gap(trace.splits, reference.splits) <= 1e-8
        np.testing.assert_allclose(trace.events["t"], reference.events["t"], rtol=1e-6)
        ours, theirs = (
            np.sort(events[["feature", "sign", "enters"]], order=["feature", "enters"])
            for events in (trace.events, reference.events)
        )
        np.testing.assert_array_equal(ours, theirs)


def test_events_are_in_path_order():
    events = traced(CASES["rows"]()[0], 8.0)[0].events
    assert (np.diff(events["t"]) >= 0).all()


@pytest.mark.parametrize("max_rows", [1, 3, 5])
def test_path_ends_before_too_many_rows(max_rows):
    split, _ = CASES["rows"]()
    whole, _ = traced(split, 8.0)
    part, _ = traced(split, 8.0, max_rows=max_rows)
    assert part.status == "max_rows"
    assert f"max_rows={max_rows}" in part.message
    assert ((part.splits != 0).sum(axis=-1) <= max_rows).all()
    n = len(part.knots) - 1  # the last knot is an iterate, not on the grid
    np.testing.assert_array_equal(part.knots[:n], whole.knots[:n])
    assert whole.knots[n - 1] <= part.knots[n] < whole.knots[n]
    np.testing.assert_array_equal(part.coefs[:n], whole.coefs[:n])
    before = whole.events["t"] <= part.knots[-1]
    np.testing.assert_array_equal(part.events, whole.events[before])
    entries = np.cumsum(np.where(whole.events["enters"], 1, -1))
    assert entries[before][-1] <= max_rows < entries[~before][:3].max()


def test_interpolation_error_is_that_of_the_middles():
    """The middles of 9 knots are knots of a path with 17."""
    split, _ = CASES["line"]()
    trace, kappa_raw = traced(split, 8.0)
    fine = trace_eliminated(
        split,
        make_system(split),
        kappa_raw=kappa_raw,
        step=split.nu_raw / kappa_raw,
        t0=trace.knots[0],
        t_max=trace.knots[-1],
        n_knots=2 * N_KNOTS - 1,
    )
    np.testing.assert_allclose(fine.knots[::2], trace.knots, rtol=1e-12)
    coefs, t = fine.coefs[:, 0], fine.knots
    np.testing.assert_allclose(coefs[::2], trace.coefs[:, 0], rtol=1e-9)
    error = 0.0
    for k in range(1, len(t), 2):
        share = (t[k] - t[k - 1]) / (t[k + 1] - t[k - 1])
        line = (1 - share) * coefs[k - 1] + share * coefs[k + 1]
        size = np.ptp(coefs[: k + 2 : 2], axis=1).max()
        error = max(error, np.abs(line - coefs[k]).max() / size)
    assert trace.info["interpolation_error"] == pytest.approx(error, rel=1e-6)
    assert 0 < fine.info["interpolation_error"] < error


def test_large_kappa_is_the_exact_path():
    """Away from its knots, at a distance that falls like exp(-kappa)."""
    split, _ = make(transforms.differences(12), n=60)
    exact = iss_path(ReducedProblem(split).problem)
    far = exact.knots[2:] > 1.1 * exact.knots[1:-1]
    t = np.sqrt(exact.knots[1:-1] * exact.knots[2:])[far]
    reference, _ = exact.coefs_at(t)
    distances = []
    for kappa in (10.0, 40.0, 160.0):
        system = make_system(split)
        kappa_raw = kappa * split.nu_raw / exact.knots[1] * (1 + 1 / split.nu)
        found = [
            trace_eliminated(
                split,
                system,
                kappa_raw=kappa_raw,
                step=split.nu_raw / kappa_raw,
                t0=exact.knots[1],
                t_max=end,
                n_knots=2,
            )
            for end in t
        ]
        splits = np.array([whole_splits(trace, split.n_rows)[-1] for trace in found])
        distances.append(gap(splits, reference))
    assert len(t) >= 5
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.01 < 0.1 < distances[0]


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    y_scale=st.sampled_from([1e-6, 1.0, 1e4]),
    D_scale=st.sampled_from([1e-3, 1.0, 50.0]),
    X_scale=st.sampled_from([1e-4, 1.0, 1e5]),
)
def test_scales_orders_and_signs_do_not_matter(seed, y_scale, D_scale, X_scale):
    """The same path, but for the units and the names of rows and features."""
    rng = np.random.default_rng(seed)
    n, p, m = 30, 6, 9
    X, D = rng.normal(size=(n, p)), rng.normal(size=(m, p))
    y = X @ rng.normal(size=p) + rng.normal(size=n)
    columns, rows = rng.permutation(p), rng.permutation(m)
    flips = rng.choice([-1.0, 1.0], m)
    other = D_scale * (flips[:, None] * D)[rows][:, columns]
    samples = rng.permutation(n)
    traces = []
    for data in (
        (X, y, D),
        (X_scale * X[samples][:, columns], y_scale * y[samples], other),
    ):
        problem = Problem(data[0], data[1], standardize=False)
        split = SplitProblem(problem, transforms.as_transform(data[2]))
        split.set_nu(1.0, None, np.linalg.norm(problem.columns(np.arange(p)), 2) ** 2)
        traces.append((traced(split, 5.0)[0], split))
    (a, split_a), (b, split_b) = traces
    unit = y_scale / X_scale
    np.testing.assert_allclose(
        b.knots * split_a.nu_raw * unit, a.knots * split_b.nu_raw / D_scale, rtol=1e-8
    )
    assert gap(b.coefs[:, 0] / unit, a.coefs[:, 0][:, columns]) <= 1e-7
    splits_a = (flips * whole_splits(a, m))[:, rows]
    assert gap(whole_splits(b, m) / (unit * D_scale), splits_a) <= 1e-7
    assert len(a.events) == len(b.events)


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 1.5, 0.0])
def test_unstable_steps_are_refused(share):
    split, _ = CASES["line"]()
    with pytest.raises(ValueError, match="is unstable.*below 2 nu_raw / kappa_raw"):
        traced(split, 8.0, share=share)


def test_a_step_below_the_limit_is_stable():
    """The split coefficients oscillate towards D @ coef, they do not grow."""
    split, _ = CASES["line"]()
    trace, _ = traced(split, 8.0, share=0.999, reach=300.0)
    end = split.D.dot(trace.coefs[-1, 0])
    assert np.abs(trace.splits[-1, 0] - end[trace.rows]).max() <= 0.05 * np.ptp(end)


def test_start_beyond_the_first_entry_is_refused():
    split, slow = CASES["line"]()
    with pytest.raises(ValueError, match="t0 is beyond the first entry"):
        trace_eliminated(
            split,
            make_system(split),
            kappa_raw=split.nu_raw,
            step=0.5,
            t0=1.1 * slow.first_entry(),
            t_max=100.0,
            n_knots=3,
        )


def test_free_rows_are_refused():
    D = transforms.differences(16)
    split, _ = make(D, row_weight=np.where(np.arange(15) == 4, 0.0, 1.0))
    with pytest.raises(ValueError, match="row_weight is 0.*row_subset"):
        traced(split, 8.0)


def test_other_losses_are_refused():
    rng = np.random.default_rng(0)
    problem = Problem(rng.normal(size=(20, 5)), np.arange(20) % 2, loss="logistic")
    split = SplitProblem(problem, transforms.differences(5))
    with pytest.raises(ValueError, match="needs the squared loss.*'logistic'"):
        trace_eliminated(
            split, None, kappa_raw=1.0, step=1.0, t0=1.0, t_max=2.0, n_knots=2
        )


def test_overflow_is_reported():
    split, _ = CASES["line"]()
    system = make_system(split)

    class Overflowing:
        info = {}
        solve = system.solve

        @staticmethod
        def follow():
            return lambda right, remember=True: np.full_like(right, np.nan)

    c = split.problem.correlate(split.problem.null_score)[0]
    t0 = split.first_entry_time((split.D.dot(system.solve(c)) / split.nu_raw)[None])
    with pytest.raises(ValueError, match="not finite at t=.*rescale"):
        trace_eliminated(
            split,
            Overflowing,
            kappa_raw=split.nu_raw / t0,
            step=0.1 * t0,
            t0=t0,
            t_max=100.0 * t0,
            n_knots=3,
        )


def test_twin_sees_rows_leave():
    """Otherwise the comparison above would say nothing about leaving rows."""
    kinds = set()
    for name in CASES:
        events = traced(CASES[name]()[0], 8.0)[0].events
        kinds |= {(int(e["sign"]), bool(e["enters"])) for e in events}
    assert kinds == {(1, True), (-1, True), (1, False), (-1, False)}
