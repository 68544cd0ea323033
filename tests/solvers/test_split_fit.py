"""The coefficients that minimize the coupled loss: optimality, limits, least norm."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag
from scipy.sparse.linalg import aslinearoperator

from sparselbi.penalties.transforms import (
    as_transform,
    differences,
    identity,
    with_identity,
)
from sparselbi.problem import Problem
from sparselbi.solvers import _split_fit
from sparselbi.solvers._split_fit import Design, fit_coupled
from sparselbi.solvers._split_problem import SplitProblem
from tests import twins
from tests.common import HUBER_THRESHOLD, LOSSES, make_data, make_loss, relative_gap

MAPS = {
    "identity": identity,
    "fused": differences,
    "both": lambda p: with_identity(differences(p), 0.7),
    "dense": lambda p: np.random.default_rng(1).normal(size=(p + 3, p)),
}


def make_split(
    X, y, D, loss="squared", *, nu=1.0, nu_raw=None, standardize=False, **options
):
    rows = {k: options.pop(k) for k in tuple(options) if k in ROW_OPTIONS}
    problem = Problem(X, y, loss=make_loss(loss), standardize=standardize, **options)
    split = SplitProblem(problem, as_transform(D, problem.n_features), **rows)
    columns = problem.columns(np.arange(problem.n_features))
    split.set_nu(nu, nu_raw, np.linalg.norm(columns, 2) ** 2)
    return split


ROW_OPTIONS = ("penalty", "row_weight", "groups", "group_weight", "positive")


def plain_fit(loss, Y, X, weights, D, nu_raw, target=0.0, intercept=True):
    """Dense Newton's method with halving; coefficients (m, p) and intercepts (m,)."""
    n, p = X.shape
    m = Y.shape[1]
    A = np.hstack([X, np.ones((n, int(intercept)))])
    E = np.hstack([D, np.zeros((len(D), int(intercept)))])
    T = np.broadcast_to(target, (m, len(D)))
    B = np.zeros((m, A.shape[1]))

    def value(B):
        fit = weights @ twins.loss_value(loss, Y, A @ B.T, HUBER_THRESHOLD)
        return fit + np.sum((B @ E.T - T) ** 2) / (2 * nu_raw)

    for _ in range(100):
        eta = A @ B.T
        s = weights[:, None] * twins.score(loss, Y, eta, HUBER_THRESHOLD)
        g = s.T @ A - (B @ E.T - T) @ E / nu_raw
        H = twins.hessian(loss, Y, eta, HUBER_THRESHOLD) * weights[:, None, None]
        H = np.einsum("iab,ij,ik->ajbk", H, A, A).reshape(2 * [m * A.shape[1]])
        H = H + block_diag(*m * [E.T @ E / nu_raw])
        step = (np.linalg.pinv(H, rcond=1e-13) @ g.ravel()).reshape(B.shape)
        size = 1.0
        while value(B + size * step) > value(B) + 1e-15 and size > 1e-10:
            size /= 2
        B = B + size * step
        if np.abs(step).max() < 1e-15 * (1 + np.abs(B).max()):
            break
    return B[:, :p], B[:, p] if intercept else np.zeros(m)


def gradients(split, coef, intercept, target=0.0, rows=1.0):
    """Largest gradient in coef and in the intercept, from the formulas alone."""
    problem = split.problem
    frame = twins.scaled(
        problem.X, problem.sample_weight, problem.fit_intercept, problem.standardize
    )
    Y = twins.encode(problem.loss.name, problem.target)
    eta = frame.X @ coef.T + intercept
    s = twins.score(problem.loss.name, Y, eta, HUBER_THRESHOLD)
    s = frame.weights[:, None] * s
    D = split.D.to_dense()
    rest = (coef @ D.T - target) * rows
    return np.abs(rest @ D / split.nu_raw - s.T @ frame.X).max(), np.abs(s.sum(0)).max()


@pytest.mark.parametrize("nu", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_zero(loss, kind, nu):
    for n, p in ((60, 8), (30, 50)):
        data = make_data(loss, n=n, p=p)
        split = make_split(
            data.X, data.y, MAPS[kind](p), loss, nu=nu, sample_weight=data.weights
        )
        coef, intercept = fit_coupled(split)
        assert max(gradients(split, coef, intercept)) < 1e-11
        target = np.random.default_rng(2).normal(size=(split.n_outputs, split.n_rows))
        rows = np.arange(split.n_rows) % 3 > 0
        if n > p or loss in ("squared", "huber"):  # or classes may be separated
            coef, intercept = fit_coupled(split, target, rows)
            assert max(gradients(split, coef, intercept, target, rows)) < 1e-10


@pytest.mark.parametrize("options", ["plain", "all"])
@pytest.mark.parametrize("loss", LOSSES)
def test_equals_a_dense_newton_fit(loss, options):
    data = make_data(loss, n=50, p=7)
    full = options == "all"
    split = make_split(
        data.X,
        data.y,
        MAPS["both"](7),
        loss,
        sample_weight=data.weights if full else None,
        fit_intercept=full,
        standardize=full,
    )
    frame = twins.scaled(data.X, data.weights if full else None, full, full)
    Y = twins.encode(loss, data.y)
    D = split.D.to_dense()
    ours = fit_coupled(split)
    plain = plain_fit(loss, Y, frame.X, frame.weights, D, split.nu_raw, intercept=full)
    assert relative_gap(ours[0], plain[0]) < 1e-9
    assert np.abs(ours[1] - plain[1]).max() < 1e-9


@pytest.mark.parametrize("kind", MAPS)
def test_squared_loss_solves_the_normal_equations(kind):
    for n, p in ((40, 12), (20, 30)):
        data = make_data(n=n, p=p)
        split = make_split(data.X, data.y, MAPS[kind](p), sample_weight=data.weights)
        frame = twins.scaled(data.X, data.weights, True, False)
        D = split.D.to_dense()
        H = (frame.X.T * frame.weights) @ frame.X
        target = np.random.default_rng(0).normal(size=split.n_rows)
        c = (frame.weights * data.y) @ frame.X + target @ D / split.nu_raw
        right = np.linalg.solve(H + D.T @ D / split.nu_raw, c)
        coef, intercept = fit_coupled(split, target)
        assert relative_gap(coef[0], right) < 1e-9
        assert intercept[0] == pytest.approx(frame.weights @ data.y, rel=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_coupling_it_is_the_unpenalized_fit(loss):
    data = make_data(loss, n=80, p=4)
    frame = twins.scaled(data.X, None, True, False)
    A = np.hstack([frame.X, np.ones((80, 1))])
    free = twins.fit_unpenalized(
        loss, twins.encode(loss, data.y), A, frame.weights, HUBER_THRESHOLD
    )
    split = make_split(data.X, data.y, identity(4), loss, nu=1e12)
    coef, intercept = fit_coupled(split)
    assert relative_gap(coef, free[:, :-1]) < 1e-8
    assert relative_gap(intercept, free[:, -1], 1.0) < 1e-8
    split = make_split(data.X, data.y, identity(4), loss)
    coef, intercept = fit_coupled(split, rows=np.zeros(4, dtype=bool))
    assert relative_gap(coef, free[:, :-1]) < 1e-9
    assert relative_gap(intercept, free[:, -1], 1.0) < 1e-9


@pytest.mark.parametrize("loss", LOSSES)
def test_small_nu_ties_coefficients_together(loss):
    data = make_data(loss, n=60, p=6)
    D = differences(6).row_subset(np.array([True, True, False, True, True]))
    frame = twins.scaled(data.X, None, True, False)
    merged = np.stack([frame.X[:, :3].sum(1), frame.X[:, 3:].sum(1), np.ones(60)], 1)
    tied = twins.fit_unpenalized(
        loss, twins.encode(loss, data.y), merged, frame.weights, HUBER_THRESHOLD
    )
    errors = []
    for nu in (1e-2, 1e-4, 1e-6):
        coef, _ = fit_coupled(make_split(data.X, data.y, D, loss, nu=nu))
        errors.append(relative_gap(coef, np.repeat(tied[:, :2], 3, axis=1)))
    assert errors[2] < 1e-4
    assert errors[0] > 30 * errors[1] > 900 * errors[2]


def test_partial_ridge_of_a_support():
    data = make_data(n=50, p=10)
    split = make_split(data.X, data.y, identity(10))
    rows = np.arange(10) >= 3
    X = data.X - data.X.mean(axis=0)
    H = X.T @ X / 50 + np.diag(rows) / split.nu_raw
    coef, _ = fit_coupled(split, rows=rows)
    assert relative_gap(coef[0], np.linalg.solve(H, X.T @ data.y / 50)) < 1e-10


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_least_norm_where_nothing_determines_the_coefficients(loss):
    rng = np.random.default_rng(0)
    data = make_data(loss, n=20, p=40)
    X = data.X.copy()
    X[:, 7] = 3.0  # constant, and its rows are not coupled
    rows = rng.random(39) < 0.3
    rows[6:8] = False
    split = make_split(X, data.y, differences(40), loss)
    coef, intercept = fit_coupled(split, rows=rows)
    assert max(gradients(split, coef, intercept, rows=rows)) < 1e-11
    assert np.abs(coef[0, 7]) == 0.0
    stacked = np.vstack([X - X.mean(axis=0), split.D.to_dense()[rows]])
    inside = np.linalg.pinv(stacked, rcond=1e-10) @ stacked
    assert np.abs(coef[0] - inside @ coef[0]).max() < 1e-9 * np.abs(coef).max()


def test_nothing_to_fit():
    X = np.array([[1.0, 0.1], [-1.0, 0.3], [1.0, 0.7], [-1.0, 0.2]])
    y = np.array([1.0, 1.0, 0.3, 0.3]) / 3.0  # uncorrelated with the first column
    coef, intercept = fit_coupled(make_split(X[:, :1], y, identity(1)))
    assert np.abs(coef).max() < 1e-15
    assert intercept[0] == pytest.approx(y.mean())
    coef, intercept = fit_coupled(make_split(X, np.full(4, 0.1), identity(2)))
    assert np.abs(coef).max() < 1e-15


def test_classes_share_what_the_loss_does_not_see():
    data = make_data("multinomial", n=60, p=9)
    split = make_split(data.X, data.y, differences(9), "multinomial")
    coef, intercept = fit_coupled(split)
    assert np.abs(coef.sum(axis=0)).max() < 1e-12
    assert abs(intercept.sum()) < 1e-12
    target = np.random.default_rng(0).normal(size=(3, 8))
    coef, intercept = fit_coupled(split, target)
    assert max(gradients(split, coef, intercept, target)) < 1e-11
    D = split.D.to_dense()
    common = np.linalg.lstsq(D, target.mean(axis=0), rcond=None)[0]
    assert relative_gap(coef.mean(axis=0), common) < 1e-9
    two = make_data("logistic", n=60, p=9)
    both = {
        loss: fit_coupled(make_split(two.X, two.y, identity(9), loss, nu_raw=nu))
        for loss, nu in (("logistic", 4.0), ("multinomial", 2.0))
    }
    # Each class has half of the difference: two ridges of half the size.
    coef, intercept = both["multinomial"]
    assert relative_gap(coef[1] - coef[0], both["logistic"][0][0]) < 1e-8
    gap = intercept[1] - intercept[0] - both["logistic"][1][0]
    assert abs(gap) < 1e-9


@pytest.mark.parametrize("loss", LOSSES)
def test_all_ways_to_multiply_give_the_same(loss, monkeypatch):
    data = make_data(loss, n=60, p=10, density=0.4)
    D = with_identity(differences(10))
    options = {"loss": loss, "sample_weight": data.weights, "standardize": True}
    coef, intercept = fit_coupled(make_split(data.X, data.y, D, **options))
    operator = as_transform(aslinearoperator(D.matrix), 10)
    monkeypatch.setattr(_split_fit, "MAX_BLOCK", 0)
    for X in (data.X, np.float32(data.X), sp.csc_array(data.X)):
        for dense in (3000, 0):  # with the preconditioner, and without
            monkeypatch.setattr(_split_fit, "_DENSE", dense)
            for transform in (D, operator, D.to_dense()):
                split = make_split(X, data.y, transform, **options)
                assert (Design(split.problem).block is None) or sp.issparse(X)
                other = fit_coupled(split)
                assert relative_gap(other[0], coef) < 1e-9
                assert np.abs(other[1] - intercept).max() < 1e-9


@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_separated_classes_have_no_minimizer(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6))
    y = np.digitize(X[:, 2], [0.0] if loss == "logistic" else [-0.5, 0.5])
    split = make_split(X, y, identity(6), loss)
    fit_coupled(split)
    with pytest.raises(ValueError, match="separated in a direction that no coupled"):
        fit_coupled(split, rows=np.arange(6) != 2)


def test_coupling_of_every_row_bounds_a_separated_class():
    X = np.linspace(-1, 1, 20)[:, None] + np.zeros((20, 3))
    split = make_split(X, np.arange(20) >= 10, identity(3), "logistic", nu=1e6)
    coef, intercept = fit_coupled(split)
    assert max(gradients(split, coef, intercept)) < 1e-11
    assert np.ptp(coef) < 1e-8 * coef.max()


@given(
    scale=st.floats(1e-3, 1e3),
    stretch=st.floats(1e-3, 1e3),
    shift=st.floats(-10, 10),
    loss=st.sampled_from(LOSSES),
)
def test_units_of_the_data_do_not_matter(scale, stretch, shift, loss):
    data = make_data(loss, n=40, p=5)
    D = with_identity(differences(5))
    coef, intercept = fit_coupled(make_split(data.X, data.y, D, loss))
    scaled = make_split(scale * data.X + shift, data.y, stretch * D.to_dense(), loss)
    other = fit_coupled(scaled)
    assert relative_gap(scale * other[0], coef) < 1e-8
    assert np.abs(other[1] - intercept).max() < 1e-8
    if loss == "squared":
        other = fit_coupled(make_split(data.X, scale * data.y, D))
        assert relative_gap(other[0], scale * coef) < 1e-8
