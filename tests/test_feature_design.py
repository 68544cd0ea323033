"""Votes with item features against dense linear algebra on explicit differences."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sparselbi import _pair_columns, _vote_design
from sparselbi._feature_design import FeatureDesign
from sparselbi._graph_design import GraphDesign
from sparselbi._shift_design import DenseDesign, SingularFit, TooWide
from sparselbi.solvers._hard_start import HuberStart
from sparselbi.solvers._huber_grid import certify_coords, trace_huber_grid
from sparselbi.solvers._shift_hard import trace_hard
from sparselbi.solvers._shift_lbi import trace_shift_lbi
from sparselbi.solvers.logistic_shift import trace_logistic_shift

EXTRAS = (None, "bias", "workers", "sparse workers")
KINDS = ("plain", "dependent", "float32", "sparse", "large mean")


def make(seed=0, n_items=12, n=60, d=3, kind="plain", weights=False, extra=None):
    """Pairs, y, weights, features and further columns."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_items, n)
    pairs = np.stack([first, (first + rng.integers(1, n_items, n)) % n_items], axis=1)
    weight = rng.integers(0, 4, n).astype(float) if weights else None
    features = rng.normal(size=(n_items, d))
    if kind == "dependent":  # a sum, a constant (in rounded numbers), a zero
        one, other = features[:, :1], features[:, 1:2]
        constant = np.full((n_items, 1), 0.1)
        features = np.hstack([features, one + other, constant, 0 * one])
    elif kind == "float32":
        features = features.astype(np.float32)
    elif kind == "sparse":
        features = sp.csr_array(features * (rng.random(features.shape) < 0.6))
    elif kind == "large mean":
        features = np.round(features, 6) + 2.0**20
    columns = None
    if extra == "bias":
        columns = np.ones((n, 1))
    elif extra is not None:  # with their sum: one direction less than columns
        columns = np.column_stack([np.ones(n), np.eye(3)[rng.integers(0, 3, n)]])
        columns = sp.csr_array(columns) if extra == "sparse workers" else columns
    return pairs, rng.normal(size=n), weight, features, columns


def matrix(pairs, features, extra=None):
    """The rows, dense."""
    features = features.toarray() if sp.issparse(features) else features
    features = features.astype(np.float64)
    rows = features[pairs[:, 0]] - features[pairs[:, 1]]
    if extra is None:
        return rows
    return np.hstack([rows, extra.toarray() if sp.issparse(extra) else extra])


def both(*args, **kwargs):
    pairs, y, weight, features, columns = make(*args, **kwargs)
    A = matrix(pairs, features, columns)
    dense = DenseDesign(A, y[:, None], weight, False)
    return FeatureDesign(pairs, y, weight, features, columns), dense, A


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_that_of_the_differences(kind, weights, extra):
    design, dense, A = both(1, kind=kind, weights=weights, extra=extra)
    n, y = design.n_samples, dense.Y[:, 0]
    w = np.ones(n) if design.weight is None else design.weight
    rank = np.linalg.matrix_rank(A * np.sqrt(w)[:, None])
    assert design.n_coords == dense.n_coords == rank
    assert design.total_weight == dense.total_weight
    np.testing.assert_allclose(design.leverages(), dense.leverages(), atol=1e-12)
    np.testing.assert_array_equal(design.gram(), np.eye(rank))
    np.testing.assert_array_equal(design.inverse_gram(), np.eye(rank))

    Z, Y = design.take(np.arange(n))
    np.testing.assert_array_equal(Y[:, 0], y)
    np.testing.assert_allclose(Z.T @ (w[:, None] * Z), np.eye(rank), atol=1e-12)
    some = np.random.default_rng(0).random(n) < 0.3
    np.testing.assert_allclose(design.take(some)[0], Z[some], atol=1e-14)

    rng = np.random.default_rng(2)
    x, D, P = (rng.normal(size=(k, 1)) for k in (rank, rank, n))
    seen = np.empty((n, 2))

    def work(rows, R, D):
        seen[rows] = np.hstack([R, D])
        R[:] = np.nan  # may be overwritten
        return P[rows]

    np.testing.assert_allclose(
        design.sweep(work, x, D), Z.T @ (w[:, None] * P), atol=1e-11
    )
    np.testing.assert_allclose(seen, np.hstack([Y - Z @ x, Z @ D]), atol=1e-11)
    np.testing.assert_allclose(design.norms(x), np.abs(Y - Z @ x)[:, 0], atol=1e-11)
    assert not design.sweep(lambda rows, R, D: None, x).any()
    np.testing.assert_array_equal(design.solve(x), x)

    path = rng.normal(size=(2, rank, 1))
    coefs, intercepts = design.to_coefs(path)
    assert coefs.shape == (2, 1, A.shape[1])
    assert not intercepts.any()
    known = np.ones(n, bool)
    if design.undetermined is not None:
        known = ~design.undetermined
    fitted = np.einsum("ij,kcj->kic", A, coefs)
    np.testing.assert_allclose(fitted[:, known], (Z @ path)[:, known], atol=1e-9)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("kind", KINDS)
def test_least_squares_and_least_norm(kind, extra):
    design, dense, A = both(3, kind=kind, weights=True, extra=extra)
    kept = np.random.default_rng(0).random(design.n_samples) < 0.6
    for rows in (None, kept):
        ours, theirs = design.least_squares(rows), dense.least_squares(rows)
        one, other = design.to_coefs(ours)[0], dense.to_coefs(theirs)[0]
        np.testing.assert_allclose(one, other, atol=1e-9)
        w = design.weight if rows is None else design.weight * rows
        root = np.sqrt(w)
        best = np.linalg.pinv(A * root[:, None], rcond=1e-9) @ (root * dense.Y[:, 0])
        np.testing.assert_allclose(one[0], best, atol=1e-9)
    # Only rounding for targets that the features explain.
    exact = A @ np.arange(1.0, A.shape[1] + 1)
    pairs, _, weight, features, columns = make(3, kind=kind, weights=True, extra=extra)
    perfect = FeatureDesign(pairs, exact, weight, features, columns)
    left = perfect.norms(perfect.least_squares())
    assert np.sqrt(weight @ left**2) <= perfect.rounding[0]
    assert perfect.rounding[0] < 1e-9 * np.sqrt(weight @ exact**2)


@pytest.mark.parametrize("extra", EXTRAS)
def test_rows_of_weight_0_that_nothing_is_known_about(extra):
    pairs, y, _, features, columns = make(5, n_items=9, n=40, d=2, extra=extra)
    features = np.hstack([features, np.eye(9)[:, :3]])  # indicators of items
    weight = 1.0 - (pairs == 1).any(axis=1)
    design = FeatureDesign(pairs, y, weight, features, columns)
    A = matrix(pairs, features, columns)
    rank = design.n_coords
    new = [np.linalg.matrix_rank(np.vstack([A[weight > 0], row])) for row in A]
    np.testing.assert_array_equal(design.undetermined, np.array(new) > rank)
    assert design.undetermined.any()


@pytest.mark.parametrize("extra", [None, "workers"])
def test_the_same_paths(extra):
    design, dense, _ = both(7, n_items=20, n=300, weights=True, extra=extra)
    v = np.random.default_rng(0).uniform(0.5, 2.0, 300)
    found = trace_huber_grid(design, v, n_knots=15, tol=1e-12)
    other = trace_huber_grid(dense, v, thresholds=found.knots, tol=1e-12)
    assert found.status == "max_outliers"
    np.testing.assert_allclose(found.knots, other.knots, rtol=1e-12)
    np.testing.assert_allclose(found.rss, other.rss, rtol=1e-6)
    np.testing.assert_allclose(
        design.to_coefs(found.coords)[0], dense.to_coefs(other.coords)[0], atol=1e-5
    )
    threshold = float(found.knots[7])
    masks = [
        certify_coords(d, v, trace.coords[7], threshold)[:2]
        for d, trace in ((design, found), (dense, other))
    ]
    assert (masks[0][0] | masks[0][1]).mean() > 0.9
    np.testing.assert_array_equal(masks[0], masks[1])

    lbi = [trace_shift_lbi(d, v, kappa=5.0, max_shifted=100) for d in (design, dense)]
    np.testing.assert_allclose(lbi[0].knots, lbi[1].knots, rtol=1e-9)
    np.testing.assert_allclose(
        lbi[0].shifts.toarray(), lbi[1].shifts.toarray(), atol=1e-9
    )

    at = design.to_coefs(found.coords[-1])[0]
    hard = []
    for d, trace in ((design, found), (dense, other)):
        start = HuberStart(trace.coords[-1], 0.7, 0.5, 1, None, "converged")
        hard.append(trace_hard(d, v, start, thresholds=[4.0, 2.0, 1.0, 0.7]))
    np.testing.assert_array_equal(hard[0].event_row, hard[1].event_row)
    np.testing.assert_array_equal(hard[0].event_sign, hard[1].event_sign)
    np.testing.assert_allclose(hard[0].rss, hard[1].rss, rtol=1e-9)
    assert at.shape == (1, 3 + design.n_extra)


@pytest.mark.parametrize("extra", [None, "workers"])
def test_the_same_logistic_path(extra):
    pairs, y, weight, features, columns = make(
        8, n_items=20, n=300, weights=True, extra=extra
    )
    y = np.sign(y)
    design = FeatureDesign(pairs, y, weight, features, columns)
    dense = DenseDesign(matrix(pairs, features, columns), y[:, None], weight, False)
    grid = [0.7, 0.6, 0.55, 0.5]
    one, other = (
        trace_logistic_shift(d, np.ones(300), thresholds=grid, tol=1e-10)
        for d in (design, dense)
    )
    np.testing.assert_allclose(one.knots, other.knots, rtol=1e-7)
    np.testing.assert_allclose(one.rss, other.rss, rtol=1e-9)
    np.testing.assert_allclose(
        design.to_coefs(one.coords)[0], dense.to_coefs(other.coords)[0], atol=1e-6
    )


def test_indicators_of_items_are_scores():
    pairs, y, weight, _, columns = make(9, n_items=8, weights=True, extra="bias")
    design = FeatureDesign(pairs, y, weight, np.eye(8), columns)
    graph = GraphDesign(pairs, y, weight, 8, columns)
    assert design.n_coords == graph.n_coords
    one, other = (d.to_coefs(d.least_squares())[0] for d in (design, graph))
    # Scores of least norm sum to 0.
    np.testing.assert_allclose(one, other, atol=1e-12)
    np.testing.assert_allclose(design.leverages(), graph.leverages(), atol=1e-12)


def test_votes_that_are_kept_may_not_suffice():
    pairs, y, weight, features, columns = make(2, d=4, extra="bias")
    features[:, 3] = np.arange(12) == 5
    design = FeatureDesign(pairs, y, weight, features, columns)
    kept = ~(pairs == 5).any(axis=1)
    with pytest.raises(SingularFit, match=f"the {kept.sum()} votes .* all 5 coef"):
        design.least_squares(kept)


@pytest.mark.parametrize("gap", [1e-3, 1e-5])
def test_columns_that_almost_depend_on_each_other(gap):
    pairs, y, _, features, _ = make(4, n_items=40, n=400)
    features = np.column_stack(
        [features, features[:, 0] + gap * features[:, 1:2][:, 0]]
    )
    features[:, 3] += gap * np.random.default_rng(1).normal(size=40)
    design = FeatureDesign(pairs, y, None, features)
    Z = design.take(np.arange(400))[0]
    # One pass alone loses the square of the gap.
    np.testing.assert_allclose(Z.T @ Z, np.eye(4), atol=1e-14 / gap)
    best = np.linalg.lstsq(matrix(pairs, features), y)[0]
    found = design.to_coefs(design.least_squares())[0][0]
    np.testing.assert_allclose(found, best, rtol=1e-7)


def test_a_smooth_feature_on_a_long_chain():
    # Differences are 1e-4 of the scores: a Laplacian would lose 8 digits.
    n = 20_000
    pairs = np.stack([np.arange(n), np.arange(1, n + 1)], axis=1)
    place = np.arange(n + 1) / n
    features = np.column_stack([place, place**2, np.sin(9 * place)])
    design = FeatureDesign(pairs, np.zeros(n), None, features)
    Z = design.take(np.arange(n))[0]
    np.testing.assert_allclose(Z.T @ Z, np.eye(3), atol=1e-11)


def test_float32_features_are_not_copied():
    pairs, y, _, features, _ = make(kind="float32")
    design = FeatureDesign(pairs, y, None, features)
    assert np.shares_memory(design._columns._features, features)
    shifted = features + np.float32(1000)  # products would lose digits
    centred = FeatureDesign(pairs, y, None, shifted)
    dense = DenseDesign(matrix(pairs, shifted), y[:, None], None, False)
    np.testing.assert_allclose(
        centred.to_coefs(centred.least_squares())[0],
        dense.to_coefs(dense.least_squares())[0],
        rtol=1e-10,
    )


def test_rounding_of_float32_is_no_direction():
    pairs, y, _, features, _ = make(kind="float32", n_items=30, n=200)
    parts = np.abs(features)
    shares = parts / parts.sum(axis=1, keepdims=True)  # sum to 1 up to 1e-7
    assert FeatureDesign(pairs, y, None, shares).n_coords == 2


def test_blocks_are_summed(monkeypatch):
    pairs, y, weight, features, columns = make(
        kind="float32", weights=True, extra="workers"
    )
    whole = FeatureDesign(pairs, y, weight, features, columns)
    monkeypatch.setattr(_vote_design, "_BLOCK", 7)
    monkeypatch.setattr(_pair_columns, "_NUMBERS", 10)
    monkeypatch.setattr(_pair_columns, "_FEW", 2)
    parts = FeatureDesign(pairs, y, weight, features, columns)
    found = [
        (
            design.to_coefs(design.least_squares())[0],  # coordinates may be turned
            design.residuals(design.least_squares()),
            design.leverages(),
            np.sum(design.take(np.arange(60))[0] ** 2, axis=1),
        )
        for design in (whole, parts)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_no_feature_that_differs():
    pairs, y, weight, features, _ = make()
    design = FeatureDesign(pairs, y, weight, np.ones((12, 2)))
    assert design.n_coords == 0
    assert not design.to_coefs(design.least_squares())[0].any()
    np.testing.assert_array_equal(design.residuals(np.zeros((0, 1)))[:, 0], y)


@given(st.integers(0, 200), st.randoms(use_true_random=False))
def test_names_order_sides_and_repetitions_do_not_matter(seed, random):
    pairs, y, _, features, _ = make(seed)
    rng = np.random.default_rng(random.randrange(2**31))
    weight = rng.integers(1, 3, len(y)).astype(float)
    design = FeatureDesign(pairs, y, weight, features)
    names, order = rng.permutation(12), rng.permutation(len(y))
    moved = np.empty_like(features)
    moved[names] = features
    swap = rng.random(len(y)) < 0.5
    again, votes = names[pairs], y.copy()
    again[swap], votes[swap] = again[swap][:, ::-1], -y[swap]
    rows = order.repeat(weight[order].astype(int))
    other = FeatureDesign(again[rows], votes[rows], None, moved)
    assert other.total_weight == design.total_weight
    v = np.ones(len(y))
    one = trace_huber_grid(design, v, n_knots=6, tol=1e-10)
    two = trace_huber_grid(other, v[rows], thresholds=one.knots[1:], tol=1e-10)
    np.testing.assert_allclose(
        design.to_coefs(one.coords)[0], other.to_coefs(two.coords)[0], atol=1e-4
    )
    first = np.flatnonzero(np.r_[True, np.diff(rows) != 0])
    np.testing.assert_allclose(
        design.leverages()[rows[first]],
        other.leverages()[first] * weight[rows[first]],
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones((12, 0))}, r"shape \(12, 0\)"),
        ({"features": np.ones(12)}, r"shape \(12,\)"),
        ({"features": np.array([["a"]] * 12)}, "must be numbers"),
        ({"features": np.full((3, 2), 1.0)}, "n_items - 1 = 2"),
        ({"features": 1e200 * np.arange(12.0)[:, None]}, "overflow"),
        ({"extra": np.ones((3, 1))}, "extra has shape"),
        ({"y": np.full(60, np.nan)}, "y contains nan in row 0"),
    ],
)
def test_bad_input(change, message):
    pairs, y, _, features, _ = make()
    given = {"pairs": pairs, "y": y, "weight": None, "features": features} | change
    with pytest.raises(ValueError, match=message):
        FeatureDesign(**given)


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_array])
def test_a_feature_that_is_missing(as_matrix):
    pairs, y, _, features, _ = make()
    features[7, 2] = np.nan
    with pytest.raises(ValueError, match="nan for item 7, column 2"):
        FeatureDesign(pairs, y, None, as_matrix(features))


def test_too_many_columns():
    pairs, y, _, _, _ = make()
    with pytest.raises(TooWide, match="5001 features and 0 further columns"):
        FeatureDesign(pairs, y, None, sp.csr_array((12, 5001)))
