"""Discrete LBI against the plain loop, closed forms, symmetries and limits."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselbi.losses import Huber
from sparselbi.penalties import get_penalty
from sparselbi.problem import Problem
from sparselbi.solvers import iss_path, lbi, lbi_path
from tests import twins
from tests.common import (
    HUBER_THRESHOLD,
    LAYOUTS,
    LOSSES,
    PENALTIES,
    diabetes,
    make_data,
    make_loss,
    path_rows,
    point_rows,
    relative_gap,
)

GROUPS = np.array([3, 0, 0, 1, 1, 1, 2, 2, 0, 4, 4, 5])  # of 12 features, out of order
FREE = np.array([1, 2, 0, 1, 1, 1, 0.5, 0.5, 1, 2, 2, np.inf])
FREE_GROUPS = np.array([2, 1, 1, 0, 0, 0, 0.5, 0.5, 1, 2, 2, np.inf])


def first_entry(problem):
    return lbi_path(problem, n_knots=2, max_features=1).t0


def trace(problem, **settings):
    settings = {"kappa": 10, "t_max": None, "n_knots": 40} | settings
    if settings["t_max"] is None:
        settings["t_max"] = 15 * first_entry(problem)
    return lbi_path(problem, **settings)


def plain(X, y, path, loss="squared", penalty="l1", **settings):
    """The plain loop with the step and damping of `path`, to the end of `path`."""
    n_steps = int(np.ceil((path.knots[-1] - path.t0) / path.step_size)) + 1
    return twins.plain_lbi(
        X,
        y,
        loss,
        penalty,
        kappa_raw=path.kappa_raw,
        step_size=path.step_size,
        n_steps=n_steps,
        threshold=HUBER_THRESHOLD,
        **settings,
    )


def gaps(path, twin, times=None):
    """Largest differences of coefficients and intercepts, in standardized units.

    Relative to the largest coefficient; the intercept is that of centred columns.
    """
    if times is None:
        coefs, intercepts = path_rows(path)
        pairs = zip(path.knots, coefs, intercepts, strict=True)
    else:
        pairs = ((t, *point_rows(path, t)) for t in times)
    top = np.max(np.abs(path_rows(path)[0] * twin.frame.scale))
    coef_gap = intercept_gap = 0.0
    for t, coef, intercept in pairs:
        expected, expected_intercept = twin.at(t)
        difference = coef - expected
        coef_gap = max(coef_gap, np.max(np.abs(difference * twin.frame.scale)))
        centred = intercept - expected_intercept + difference @ twin.frame.center
        intercept_gap = max(intercept_gap, np.max(np.abs(centred)))
    return coef_gap / top, intercept_gap / top


def between(path, n=3, seed=0):
    """Times strictly between neighbouring knots, n in each gap."""
    shares = np.random.default_rng(seed).random((len(path.knots) - 1, n))
    low, high = path.knots[:-1, None], path.knots[1:, None]
    return np.sort((low + shares * (high - low)).ravel())


def common_knots(a, b, factor=1.0):
    """Indices of the knots that two paths share; at least the logarithmic grid.

    Which further knots are stored may depend on the scale of the columns.
    """
    pairs = np.abs(a.knots[:, None] - factor * b.knots) <= 1e-9 * a.knots[:, None]
    i, j = np.nonzero(pairs)
    assert len(i) >= 40
    return i, j


def assert_same_path(a, b, rtol=1e-8):
    """Equal knots and coefficients up to `rtol` of the largest coefficient."""
    np.testing.assert_allclose(a.knots, b.knots, rtol=rtol)
    coefs, intercepts = path_rows(b)
    assert relative_gap(path_rows(a)[0], coefs) <= rtol
    assert relative_gap(path_rows(a)[1], intercepts, floor=1.0) <= rtol
    assert len(a.events) == len(b.events)


# ------------------------------------------------------- the plain loop, every variant


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("variant", ["plain", "weighted", "factors", "positive"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equals_the_plain_loop(loss, penalty, variant, fit_intercept):
    data = make_data(loss, density=0.7)
    positive = variant == "positive"
    options = {"fit_intercept": fit_intercept}
    if variant == "weighted":
        options["sample_weight"] = data.weights
    if variant == "weighted":
        options["standardize"] = False
    if penalty == "group":
        options["groups"] = GROUPS
        options["group_weight"] = "sqrt" if variant == "plain" else "unit"
    if variant in ("factors", "positive"):
        options["penalty_factor"] = FREE if penalty == "l1" else FREE_GROUPS
    first = twin = None
    for name, layout in LAYOUTS.items():
        problem = Problem(
            layout(data.X),
            data.y,
            make_loss(loss),
            get_penalty(penalty, positive=positive),
            **options,
        )
        path = trace(problem, step_size="auto" if first is None else first.step_size)
        if first is None:
            first = path
            options_twin = {
                "weights" if key == "sample_weight" else key: value
                for key, value in options.items()
            }
            twin = plain(
                data.X, data.y, path, loss, penalty, positive=positive, **options_twin
            )
            assert len(path.active_features) >= 3
            assert path.t0 == pytest.approx(twin.t[0], rel=1e-10)
        assert path.knots[0] == path.t0
        coef_gap, intercept_gap = gaps(path, twin)
        assert coef_gap < 1e-9, name
        assert intercept_gap < 1e-9, name
        coef_gap, intercept_gap = gaps(path, twin, between(path))
        assert coef_gap < 5e-3, name
        assert intercept_gap < 5e-3, name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("positive", [False, True])
def test_events_are_the_changes_of_the_support(loss, penalty, positive):
    data = make_data(loss, n=30, p=12, correlation=0.8, seed=3)
    options = {"groups": GROUPS if penalty == "group" else None}
    structure = get_penalty(penalty, positive)
    path = trace(Problem(data.X, data.y, make_loss(loss), structure, **options))
    twin = plain(data.X, data.y, path, loss, penalty, positive=positive, **options)
    changes = [c for c in twin.changes() if c[0] <= path.knots[-1]]
    assert len(changes) >= 3
    assert path.events["t"][0] == pytest.approx(path.t0, rel=1e-14)
    assert len(path.events) == len(changes)
    # neighbours may be closer than a step: compare coefficient by coefficient
    several = loss == "multinomial" and (penalty == "l1" or positive)
    for feature, output in {(c[1], c[2]) for c in changes}:
        mine = path.events[path.events["feature"] == feature]
        if several:
            mine = mine[mine["output"] == output]
        else:
            assert (mine["output"] == -1).all()
        theirs = [c for c in changes if c[1:3] == (feature, output)]
        assert len(mine) == len(theirs)
        for event, (t, _, _, sign, enters) in zip(mine, theirs, strict=True):
            assert event["t"] == pytest.approx(t, abs=path.step_size * (1 + 1e-6))
            assert event["enters"] == enters
            if sign:
                assert event["sign"] == sign


@pytest.mark.parametrize("kappa", [3, 10, 100])
def test_between_knots_on_diabetes(kappa):
    X, y = diabetes()
    path = lbi_path(Problem(X, y), kappa=kappa)
    assert path.t0 == pytest.approx(0.02214347509394657, rel=1e-12)
    assert path.knots[-1] == pytest.approx(100 * path.t0)
    end = path.knots[-1] if kappa < 100 else 30 * path.t0  # the plain loop is slow
    twin = twins.plain_lbi(
        X,
        y,
        kappa_raw=path.kappa_raw,
        step_size=path.step_size,
        n_steps=int((end - path.t0) / path.step_size) + 1,
    )
    times = between(path, n=4)
    assert max(gaps(path, twin, times[times <= end])) < 5e-3
    top = np.max(np.abs(path.active_coefs))
    for k, t in enumerate(path.knots[path.knots <= end]):
        gap = np.max(np.abs(path.coefs[k] - twin.at(t)[0]))
        assert gap <= 1e-9 * top


def crowded(n, p, factors, seed=7):
    """Columns that share `factors` factors, so that many duals move together."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, factors)) @ rng.normal(size=(factors, p))
    X = X / np.sqrt(factors) + 0.5 * rng.normal(size=(n, p))
    return X, rng.normal(size=n) + 0.3 * X[:, :3].sum(axis=1)


@pytest.mark.parametrize(
    ("n", "p", "factors", "kappa", "ratio", "n_changes", "loss"),
    [
        (60, 300, 60, 3, 60, 80, "squared"),
        (200, 300, 200, 3, 100, 350, "squared"),
        (80, 150, 40, 10, 30, 50, "logistic"),
        (80, 150, 40, 10, 30, 70, "huber"),
    ],
)
def test_every_inactive_dual_is_followed(n, p, factors, kappa, ratio, n_changes, loss):
    """Dozens of inactive variables near their threshold at any time.

    A stale dual of a single one of them shifts its entry and everything after.
    """
    X, y = crowded(n, p, factors)
    y = (
        2 * y + np.random.default_rng(0).logistic(size=n) > 0
        if loss == "logistic"
        else y
    )
    problem = Problem(X, y, make_loss(loss))
    path = lbi_path(problem, kappa=kappa, t_max=ratio * first_entry(problem))
    twin = plain(X, y, path, loss)
    changes = [c for c in twin.changes() if c[0] <= path.knots[-1]]
    assert len(changes) > n_changes
    assert max(gaps(path, twin)) < 1e-9
    assert len(path.events) == len(changes)
    # two events within one step may come in either order
    order = np.lexsort([path.events["t"], path.events["feature"]])
    mine = path.events[order]
    theirs = sorted(changes, key=lambda c: (c[1], c[0]))
    assert mine["feature"].tolist() == [c[1] for c in theirs]
    assert mine["enters"].tolist() == [c[4] for c in theirs]
    times = np.array([c[0] for c in theirs])
    assert np.max(np.abs(mine["t"] - times)) <= path.step_size * (1 + 1e-6)
    assert max(gaps(path, twin, between(path, n=1))) < 5e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_duals_that_jump_over_both_thresholds(loss):
    """With little damping a step is longer than the distance between the thresholds."""
    data = make_data(loss, n=25, p=9, correlation=0.9, seed=2)
    problem = Problem(data.X, data.y, make_loss(loss))
    path = lbi_path(problem, kappa=0.005, t_max=3000 * first_entry(problem))
    twin = plain(data.X, data.y, path, loss)
    assert (np.abs(np.diff(twin.z, axis=0)) > 2).any()
    assert max(gaps(path, twin)) < 1e-9
    changes = [c for c in twin.changes() if c[0] <= path.knots[-1]]
    assert len(path.events) == len(changes)
    times = np.sort([c[0] for c in changes])
    np.testing.assert_allclose(path.events["t"], times, atol=path.step_size)


def test_oscillating_support_with_a_large_step():
    """Close to the stability limit coefficients jump across zero and back."""
    data = make_data(n=30, correlation=0.9, seed=11)
    problem = Problem(data.X, data.y)
    auto = trace(problem, kappa=2)
    path = lbi_path(
        problem,
        kappa=2,
        step_size=1.8 * auto.step_size,
        t_max=auto.knots[-1],
        n_knots=30,
    )
    twin = plain(data.X, data.y, path)
    assert max(gaps(path, twin)) < 1e-9
    changes = [c for c in twin.changes() if c[0] <= path.knots[-1]]
    assert len(path.events) == len(changes)


# ------------------------------------------------------------------- closed forms


def orthogonal(n=16, p=8, seed=0):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(n, p)))
    zeta = rng.permutation(np.linspace(0.3, 2.0, p)) * rng.choice([-1, 1], p)
    X = np.sqrt(n) * Q
    noise = rng.normal(size=n)
    return X, X @ zeta + noise - Q @ (Q.T @ noise), zeta


@pytest.mark.parametrize("kappa_raw", [0.5, 20.0])
def test_orthogonal_design_relaxes_geometrically(kappa_raw):
    """Every coefficient is (1 - (1 - kappa step)^m) of its way after m steps."""
    X, y, zeta = orthogonal()
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    step = 0.04 / kappa_raw
    path = lbi_path(problem, kappa_raw=kappa_raw, step_size=step, n_knots=50)
    assert path.t0 == pytest.approx(1 / np.max(np.abs(zeta)), rel=1e-12)
    top = np.max(np.abs(zeta))
    for t, coef in zip(path.knots, path.coefs, strict=True):
        k, share = divmod((t - path.t0) / step, 1.0)
        expected = np.zeros_like(zeta)
        for j, size in enumerate(np.abs(zeta)):
            # the first step after which the dual t * |zeta| has passed 1
            wait = (1 / size - path.t0) / step
            enters = int(np.floor(wait + 1e-9)) + 1
            now = []
            for m in (k - enters, k + 1 - enters):
                dual = (path.t0 + (k if m < 0 else enters) * step) * size
                if m < 0:
                    now.append((path.t0 + (m + enters) * step) * size)
                else:
                    start = kappa_raw * (dual - 1)
                    moved = size - (size - start) * (1 - kappa_raw * step) ** m
                    now.append(1 + moved / kappa_raw)
            z = now[0] + share * (now[1] - now[0])
            expected[j] = kappa_raw * max(z - 1, 0) * np.sign(zeta[j])
        np.testing.assert_allclose(coef, expected, atol=1e-9 * top)


def test_orthogonal_design_approaches_the_exponential():
    X, y, zeta = orthogonal()
    problem = Problem(X, y, fit_intercept=False, standardize=False)
    kappa = 20.0
    errors = []
    for step in (1e-2 / kappa, 1e-3 / kappa):
        path = lbi_path(problem, kappa_raw=kappa, step_size=step, n_knots=60)
        late = np.maximum(path.knots[:, None] - 1 / np.abs(zeta), 0)
        errors.append(np.max(np.abs(path.coefs - zeta * (1 - np.exp(-kappa * late)))))
    assert errors[1] < 1e-3
    assert errors[1] < 0.2 * errors[0]


def test_large_kappa_approaches_inverse_scale_space():
    data = make_data(n=60, p=8, correlation=0.5, seed=2)
    problem = Problem(data.X, data.y)
    exact = iss_path(problem)
    knots = exact.knots[1:]
    middle = np.append(np.sqrt(knots[:-1] * knots[1:]), 1.5 * knots[-1])
    top = np.max(np.abs(exact.active_coefs))
    errors = []
    for kappa in (10, 100, 1000):
        path = lbi_path(problem, kappa=kappa, t_max=2 * knots[-1])
        errors.append(
            max(np.max(np.abs(path.at(t).coef - exact.at(t).coef)) for t in middle)
        )
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5 * top


def test_visit_between_two_knots():
    """A variable that enters and leaves between two knots has events all the same."""
    data = make_data("squared", n=20, p=15, correlation=0.9, seed=1086)
    problem = Problem(data.X, data.y)
    path = lbi_path(problem, kappa=1, n_knots=2, t_max=20 * first_entry(problem))
    twin = plain(data.X, data.y, path)
    changes = [c for c in twin.changes() if c[0] <= path.knots[-1]]
    assert len(path.events) == len(changes)
    assert set(path.events["feature"]) <= set(path.active_features)
    assert max(gaps(path, twin)) < 1e-9
    assert max(gaps(path, twin, between(path))) < 5e-3


def test_first_entry_and_resolved_values():
    data = make_data()
    problem = Problem(data.X, data.y, sample_weight=data.weights, standardize=False)
    path = lbi_path(problem, kappa=7.0)
    frame = twins.scaled(data.X, data.weights, True, False)
    centred = data.y - frame.weights @ data.y
    gradient = (frame.weights * centred) @ frame.X
    assert path.t0 == pytest.approx(1 / np.max(np.abs(gradient)), rel=1e-13)
    assert path.knots[0] == path.t0
    assert not path.coefs[0].any()
    s_y = np.sqrt(frame.weights @ centred**2)
    s_X = np.sqrt(np.mean(frame.weights @ frame.X**2))
    assert path.kappa == 7.0
    assert path.kappa_raw == pytest.approx(7 * s_y / s_X, rel=1e-12)
    assert path.n_samples == pytest.approx(data.weights.sum())
    top = np.linalg.norm(np.sqrt(frame.weights)[:, None] * frame.X, 2) ** 2
    share = path.step_size * path.kappa_raw * top
    assert 0.9 < share < 1.15  # half of the stability limit, from an estimate
    raw = lbi_path(problem, kappa_raw=path.kappa_raw, step_size=path.step_size)
    np.testing.assert_array_equal(raw.coefs, path.coefs)


def test_null_model_is_reported_before_the_first_entry():
    data = make_data("logistic")
    path = lbi_path(Problem(data.X, data.y, "logistic"))
    share = np.mean(data.y == "yes")
    for t in (0.0, 0.5 * path.t0, path.t0):
        coef, intercept = point_rows(path, t)
        assert not coef.any()
        np.testing.assert_allclose(intercept, np.log(share / (1 - share)), rtol=1e-12)
        assert len(path.at(t).support) == 0


# --------------------------------------------------------- agreements of special cases


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("positive", [False, True])
def test_groups_of_one_are_l1(loss, positive):
    data = make_data(loss)
    one = trace(
        Problem(data.X, data.y, loss, get_penalty("group", positive), groups=range(12))
    )
    two = trace(Problem(data.X, data.y, loss, get_penalty("l1", positive)))
    assert_same_path(one, two)
    np.testing.assert_allclose(one.events["t"], two.events["t"], rtol=1e-8)


def test_group_without_labels_is_one_block_per_feature():
    data = make_data("multinomial")
    one = trace(Problem(data.X, data.y, "multinomial", "group"))
    two = trace(Problem(data.X, data.y, "multinomial", "group", groups=np.arange(12)))
    assert_same_path(one, two, 1e-12)
    assert (one.events["output"] == -1).all()
    on = (one.active_coefs != 0).sum(axis=1)
    assert set(np.unique(on)) <= {0, 3}


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_is_repetition(loss):
    data = make_data(loss)
    counts = np.random.default_rng(1).integers(0, 4, size=40)
    one = trace(Problem(data.X, data.y, make_loss(loss), sample_weight=counts))
    repeated = Problem(
        np.repeat(data.X, counts, axis=0), np.repeat(data.y, counts), make_loss(loss)
    )
    assert_same_path(one, trace(repeated))
    scaled = trace(Problem(data.X, data.y, make_loss(loss), sample_weight=7.5 * counts))
    assert_same_path(one, scaled)


@pytest.mark.parametrize("loss", LOSSES)
def test_infinite_factor_is_a_removed_column(loss):
    data = make_data(loss)
    factor = np.ones(12)
    factor[[2, 7]] = np.inf
    keep = np.isfinite(factor)
    one = trace(Problem(data.X, data.y, make_loss(loss), penalty_factor=factor))
    two = trace(Problem(data.X[:, keep], data.y, make_loss(loss)))
    assert one.kappa_raw == pytest.approx(two.kappa_raw)
    np.testing.assert_allclose(one.knots, two.knots, rtol=1e-9)
    np.testing.assert_allclose(
        path_rows(one)[0][:, :, keep], path_rows(two)[0], atol=1e-9
    )
    assert not np.isin([2, 7], one.active_features).any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_constant_columns_never_enter(layout):
    data = make_data()
    X = data.X.copy()
    X[:, [3, 8]] = [0.1, -5.0]
    X = X.astype(np.float32)
    one = trace(Problem(LAYOUTS[layout](X), data.y, sample_weight=data.weights))
    keep = np.delete(np.arange(12), [3, 8])
    other = Problem(X[:, keep].astype(float), data.y, sample_weight=data.weights)
    two = trace(other)
    assert not one.coefs[:, [3, 8]].any()
    np.testing.assert_allclose(one.coefs[:, keep], two.coefs, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_factor_is_an_unpenalized_column(loss):
    """In from the start, at the null fit, and at the joint optimum in the end."""
    data = make_data(loss, n=80)
    factor = np.ones(12)
    factor[5] = 0
    problem = Problem(data.X, data.y, make_loss(loss), penalty_factor=factor)
    path = trace(problem)
    frame = twins.scaled(data.X)
    A = np.c_[np.ones(80), frame.X[:, 5]]
    Y = twins.encode(loss, data.y)
    fit = twins.fit_unpenalized(loss, Y, A, frame.weights, HUBER_THRESHOLD)
    coef, intercept = path_rows(path)
    np.testing.assert_allclose(coef[0][:, 5], fit[:, 1] / frame.scale[5], rtol=1e-8)
    assert not np.delete(coef[0], 5, axis=1).any()
    expected = fit[:, 0] - coef[0] @ frame.center
    np.testing.assert_allclose(intercept[0], expected, rtol=1e-8, atol=1e-10)
    assert 5 in path.active_features


def test_huge_huber_threshold_is_squared_loss():
    data = make_data()
    squared = trace(Problem(data.X, data.y))
    huber = trace(
        Problem(data.X, data.y, Huber(threshold=1e6)),
        kappa=None,
        kappa_raw=squared.kappa_raw,
        step_size=squared.step_size,
        t_max=squared.knots[-1],
    )
    assert huber.t0 == pytest.approx(squared.t0, rel=1e-12)
    assert len(huber.events) == len(squared.events)
    twin = plain(data.X, data.y, squared)
    assert max(gaps(huber, twin)) < 1e-9


def test_two_class_softmax_has_opposite_rows():
    data = make_data("logistic")
    one = trace(Problem(data.X, data.y, "logistic"))
    two = trace(Problem(data.X, data.y, "multinomial"))
    np.testing.assert_allclose(
        two.active_coefs[:, 0], -two.active_coefs[:, 1], atol=1e-10
    )
    assert two.t0 == pytest.approx(one.t0, rel=1e-12)


# ------------------------------------------------------------------------- symmetries

SEEDS = st.integers(0, 10**6)
SMALL = settings(max_examples=6, deadline=None)


def small(seed, loss="squared"):
    return make_data(loss, n=15 + seed % 20, p=4 + seed % 7, seed=seed)


@pytest.mark.parametrize("loss", LOSSES)
@SMALL
@given(seed=SEEDS)
def test_permuted_columns_and_rows(loss, seed):
    data = small(seed, loss)
    rng = np.random.default_rng(seed)
    columns = rng.permutation(data.X.shape[1])
    rows = rng.permutation(len(data.y))
    one = trace(Problem(data.X, data.y, make_loss(loss)))
    two = trace(
        Problem(data.X[rows][:, columns], data.y[rows], make_loss(loss)),
        t_max=one.knots[-1],
    )
    assert one.step_size == pytest.approx(two.step_size, rel=1e-9)
    back = np.argsort(columns)
    np.testing.assert_allclose(
        path_rows(two)[0][..., back], path_rows(one)[0], rtol=1e-7, atol=1e-7
    )


@SMALL
@given(seed=SEEDS)
def test_permuted_groups(seed):
    data = make_data(n=30, p=9, seed=seed)
    groups = np.array(list("abbcccadd"))
    columns = np.random.default_rng(seed).permutation(9)
    one = trace(Problem(data.X, data.y, penalty="group", groups=groups))
    two = trace(
        Problem(data.X[:, columns], data.y, penalty="group", groups=groups[columns]),
        t_max=one.knots[-1],
    )
    np.testing.assert_allclose(
        two.coefs[:, np.argsort(columns)], one.coefs, rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("loss", LOSSES)
@SMALL
@given(seed=SEEDS)
def test_flipped_columns(loss, seed):
    data = small(seed, loss)
    signs = np.random.default_rng(seed).choice([-1, 1], data.X.shape[1])
    one = trace(Problem(data.X, data.y, make_loss(loss)))
    two = trace(Problem(data.X * signs, data.y, make_loss(loss)))
    np.testing.assert_allclose(
        path_rows(two)[0] * signs, path_rows(one)[0], rtol=1e-9, atol=1e-9
    )


@SMALL
@given(seed=SEEDS, factor=st.sampled_from([-3.0, 1e-4, 0.5, 10.0, 1e5]))
def test_scaled_response(seed, factor):
    """y -> c y gives t -> t / |c| and coef -> c coef."""
    data = small(seed)
    one = trace(Problem(data.X, data.y))
    two = trace(Problem(data.X, factor * data.y), t_max=one.knots[-1] / abs(factor))
    assert two.kappa_raw == pytest.approx(abs(factor) * one.kappa_raw)
    np.testing.assert_allclose(two.knots * abs(factor), one.knots, rtol=1e-9)
    np.testing.assert_allclose(
        two.coefs / factor, one.coefs, rtol=1e-7, atol=1e-8 * np.abs(one.coefs).max()
    )
    np.testing.assert_allclose(two.intercepts / factor, one.intercepts, rtol=1e-8)


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("shift", [1e3, 1e6])
def test_shifted_response(loss, shift):
    """y + c moves the intercept by c and nothing else, at and between the knots."""
    data = make_data(loss)
    one = trace(Problem(data.X, data.y, make_loss(loss)))
    problem = Problem(data.X, data.y + shift, make_loss(loss))
    two = trace(problem, t_max=one.knots[-1])
    i, j = common_knots(one, two)
    np.testing.assert_allclose(two.coefs[j], one.coefs[i], atol=1e-12 * shift)
    np.testing.assert_allclose(two.intercepts[j] - shift, one.intercepts[i], rtol=1e-6)
    twin = plain(data.X, data.y, one, loss)
    times = between(two)
    twin_shifted = twin._replace(
        z_intercept=twin.z_intercept
        + (shift / twin.kappa_raw if loss == "huber" else shift)
    )
    assert max(gaps(two, twin_shifted, times)) < 5e-3


@pytest.mark.parametrize("loss", LOSSES)
@SMALL
@given(seed=SEEDS)
def test_scaled_and_shifted_columns(loss, seed):
    data = small(seed, loss)
    rng = np.random.default_rng(seed)
    p = data.X.shape[1]
    factor, shift = rng.uniform(0.1, 10, p), rng.normal(size=p)
    one = trace(Problem(data.X, data.y, make_loss(loss)))
    two = trace(
        Problem(data.X * factor + shift, data.y, make_loss(loss)), t_max=one.knots[-1]
    )
    i, j = common_knots(one, two)
    coefs, intercepts = path_rows(one)
    other, other_intercepts = path_rows(two)
    np.testing.assert_allclose((other * factor)[j], coefs[i], rtol=1e-7, atol=1e-8)
    other_intercepts = other_intercepts + other @ shift
    np.testing.assert_allclose(other_intercepts[j], intercepts[i], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@SMALL
@given(seed=SEEDS)
def test_mean_loss_never_increases(loss, penalty, seed):
    data = make_data(loss, n=25, p=9, seed=seed, correlation=0.7)
    path = trace(Problem(data.X, data.y, make_loss(loss), penalty))
    coefs, intercepts = path_rows(path)
    Y = twins.encode(loss, data.y)
    values = np.array(
        [
            np.mean(twins.loss_value(loss, Y, data.X @ c.T + b, HUBER_THRESHOLD))
            for c, b in zip(coefs, intercepts, strict=True)
        ]
    )
    assert np.all(np.diff(values) <= 1e-12 * values[0])
    assert values[-1] < values[0]


def test_mean_loss_of_the_twin_never_increases():
    """The same for every iterate of the plain loop, up to the stability limit."""
    data = make_data("logistic", n=30, correlation=0.8)
    path = trace(Problem(data.X, data.y, "logistic"))
    frame = twins.scaled(data.X)
    A = np.c_[frame.X, np.ones(30)] / np.sqrt(30)
    limit = 2 / (path.kappa_raw * 0.25 * np.linalg.norm(A, 2) ** 2)
    twin = twins.plain_lbi(
        data.X,
        data.y,
        "logistic",
        kappa_raw=path.kappa_raw,
        step_size=0.999 * limit,
        n_steps=2000,
    )
    assert np.all(np.diff(twin.losses) <= 1e-14)


# ----------------------------------------------------------------- layouts and dtypes


def wide(seed=0, n=60, p=400, density=0.1):
    data = make_data(n=n, p=p, seed=seed, density=density)
    return data.X, data.y


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_equals_float64_of_the_same_numbers(loss):
    data = make_data(loss)
    one = trace(Problem(data.X.astype(np.float32), data.y, make_loss(loss)))
    two = trace(Problem(data.X, data.y, make_loss(loss)))
    assert_same_path(one, two, 1e-10)


@pytest.mark.parametrize(
    "make", [sp.csc_array, sp.csr_array, sp.csc_matrix, sp.coo_array]
)
@pytest.mark.parametrize("weighted", [True, False])
def test_sparse_equals_dense_and_stays_sparse(make, weighted, monkeypatch):
    X, y = wide()
    weights = np.linspace(1, 2, len(y)) if weighted else None
    dense = trace(Problem(X, y, sample_weight=weights))
    given = make(X)

    def refuse(self, *args, **kwargs):
        # small pieces may be dense, the matrix may not
        if np.prod(self.shape) > X.size / 4:
            raise AssertionError("a sparse matrix was made dense")
        return original[type(self)](self, *args, **kwargs)

    original = {}
    for kind in (
        sp.csc_array,
        sp.csr_array,
        sp.csc_matrix,
        sp.csr_matrix,
        sp.coo_array,
    ):
        original[kind] = kind.toarray
    for kind in original:
        monkeypatch.setattr(kind, "toarray", refuse)
        monkeypatch.setattr(kind, "todense", refuse)
    path = trace(Problem(given, y, sample_weight=weights))
    monkeypatch.undo()
    assert_same_path(path, dense, 1e-10)


def test_sparse_with_unsorted_and_repeated_entries():
    data = make_data(density=0.5)
    rows, columns = np.nonzero(data.X)
    order = np.random.default_rng(0).permutation(len(rows))
    values = data.X[rows, columns]
    twice = sp.coo_array(
        (
            np.r_[0.25 * values, 0.75 * values[order]],
            (np.r_[rows, rows[order]], np.r_[columns, columns[order]]),
        ),
        shape=data.X.shape,
    )
    unsorted = sp.csc_array(data.X)
    for j in range(12):
        piece = slice(unsorted.indptr[j], unsorted.indptr[j + 1])
        unsorted.indices[piece] = unsorted.indices[piece][::-1].copy()
        unsorted.data[piece] = unsorted.data[piece][::-1].copy()
    unsorted.has_sorted_indices = False
    path = trace(Problem(data.X, data.y))
    assert_same_path(trace(Problem(twice, data.y)), path, 1e-10)
    assert_same_path(trace(Problem(unsorted, data.y)), path, 1e-10)


def test_memory_maps_views_integers_and_lists(tmp_path):
    X, y = wide(p=50, density=1.0)
    X = np.round(4 * X)
    y = np.round(4 * y)
    path = trace(Problem(X, y))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    frozen = X.copy()
    frozen.flags.writeable = False
    big = np.zeros((2 * len(X), 3 * X.shape[1]))
    big[::2, ::3] = X
    reverse = X[::-1, ::-1].copy()[::-1, ::-1]
    for other in (mapped, frozen, big[::2, ::3], reverse, X.astype(int), X.tolist()):
        assert_same_path(trace(Problem(other, y)), path, 1e-12)
    fortran = np.asfortranarray(X)
    np.save(tmp_path / "F.npy", fortran)
    mapped = np.load(tmp_path / "F.npy", mmap_mode="r")
    assert_same_path(trace(Problem(mapped, y)), path, 1e-10)
    strided = np.repeat(y, 2)[::2]
    weights = np.ones((len(y), 2))[:, 0]
    frozen_y = y.copy()
    frozen_y.flags.writeable = False
    for other in (strided, frozen_y, y.astype(int), y.astype(np.float32), y.tolist()):
        assert_same_path(trace(Problem(X, other, sample_weight=weights)), path, 1e-12)


def test_same_input_gives_the_same_bits():
    data = make_data()
    one, two = (trace(Problem(data.X, data.y)) for _ in range(2))
    np.testing.assert_array_equal(one.active_coefs, two.active_coefs)
    np.testing.assert_array_equal(one.knots, two.knots)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("chunk", [1, 7])
def test_not_one_bit_depends_on_interruptions(loss, chunk, monkeypatch):
    """The compiled loop returns every few steps, so that it can be interrupted."""
    data = make_data(loss, p=40)
    problem = Problem(data.X, data.y, make_loss(loss))
    whole = trace(problem)
    loop = lbi._lbi_loop
    calls = []

    def interrupted(*args):
        args[-1]["chunk"] = chunk
        calls.append(None)
        return loop(*args)

    monkeypatch.setattr(lbi, "_lbi_loop", interrupted)
    pieces = trace(problem, t_max=whole.knots[-1])
    assert len(calls) > 50
    np.testing.assert_array_equal(pieces.knots, whole.knots)
    np.testing.assert_array_equal(pieces.active_coefs, whole.active_coefs)
    np.testing.assert_array_equal(pieces.events, whole.events)


def test_more_knots_and_a_later_end_change_nothing():
    """The iteration does not know what is recorded, nor where it will end."""
    data = make_data()
    problem = Problem(data.X, data.y)
    few = trace(problem, n_knots=5)
    many = trace(problem, n_knots=200)
    assert len(many.knots) > len(few.knots)
    twin = plain(data.X, data.y, many)
    assert max(gaps(few, twin)) < 1e-9
    assert max(gaps(many, twin)) < 1e-9
    long = trace(problem, t_max=3 * few.knots[-1])
    common = long.knots[long.knots <= few.knots[-1]]
    for t in common:
        np.testing.assert_allclose(long.at(t).coef, twin.at(t)[0][0], atol=1e-8)


# -------------------------------------------------------------------------- endings


def test_max_features():
    data = make_data(n=60, p=30)
    path = lbi_path(Problem(data.X, data.y), max_features=5)
    assert path.status == "max_features"
    sizes = (path.active_coefs != 0).sum(axis=1)
    assert sizes.max() <= 6
    full = lbi_path(Problem(data.X, data.y))
    for t in path.knots:
        np.testing.assert_allclose(path.at(t).coef, full.at(t).coef, atol=1e-2)


def test_t_max_is_reached():
    data = make_data()
    path = lbi_path(Problem(data.X, data.y), t_max=3.0)
    assert path.knots[-1] == pytest.approx(3.0, rel=1e-12)
    assert np.all(np.diff(path.knots) > 0)
    assert path.knot_name == "t"


def test_constant_response_has_a_null_path_or_an_explanation():
    """Nothing ever enters: either an error that says so, or the null model."""
    data = make_data()
    try:
        path = lbi_path(Problem(data.X, np.full(40, 3.0)))
    except ValueError as error:
        assert "y" in str(error)  # noqa: PT017
    else:
        assert not path.coefs.any()
        np.testing.assert_allclose(path.intercepts, 3.0)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"kappa": 0}, "kappa"),
        ({"kappa": -1.0}, "kappa"),
        ({"kappa": np.nan}, "kappa"),
        ({"kappa": np.inf}, "kappa"),
        ({"kappa_raw": 0}, "kappa_raw"),
        ({"step_size": 0}, "step_size"),
        ({"step_size": "automatic"}, "step_size"),
        ({"step_size": 1e6}, "step_size"),
        ({"t_max": 0}, "t_max"),
        ({"t_max": np.nan}, "t_max"),
        ({"n_knots": 0}, "n_knots"),
        ({"n_knots": 2.5}, "n_knots"),
        ({"max_features": 0}, "max_features"),
        ({"max_features": -3}, "max_features"),
    ],
)
def test_bad_arguments(settings, name):
    data = make_data()
    with pytest.raises(ValueError, match=name):
        lbi_path(Problem(data.X, data.y), **settings)


def test_unstable_step_is_refused_not_iterated():
    """Slightly above the limit is as wrong as far above."""
    data = make_data(n=60, p=5)
    problem = Problem(data.X, data.y)
    auto = lbi_path(problem)
    with pytest.raises(ValueError, match=r"step_size.*(stab|limit)"):
        lbi_path(problem, step_size=2.5 * auto.step_size)


def test_a_large_group_that_stays_out_hides_no_feature():
    data = make_data(n=24, p=6)
    groups = np.array([0, 1, 0, 0, 0, 2])
    factor = np.where(groups == 1, 1.0, np.inf)
    options = {"penalty": "group", "groups": groups, "penalty_factor": factor}
    path = trace(Problem(data.X, data.y, **options))
    twin = plain(data.X, data.y, path, **options)
    assert path.active_features.tolist() == [1]
    assert max(gaps(path, twin)) < 1e-9
