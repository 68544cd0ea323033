"""ComparisonProblem: the same question in memory and on the graph, and its checks."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sparselbi import comparison_problem
from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.shift_problem import ShiftProblem
from sparselbi.solvers.shift_paths import coords_of

N_ITEMS = 9
CASES = ("plain", "bias", "workers", "sparse workers", "features", "features and bias")


def make(
    case="plain", seed=0, n=40, n_items=N_ITEMS, weights=False, groups=1, **options
):
    """A problem, and X, y, weights as dense arrays."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n_items, n)
    # Items meet whose codes are equal modulo `groups`.
    second = (first + groups * rng.integers(1, n_items // groups, n)) % n_items
    pairs = np.stack([first, second], axis=1)
    y = rng.normal(size=n)
    weight = rng.integers(0, 4, n).astype(float) if weights else None
    C = np.zeros((n, n_items))
    C[np.arange(n), pairs[:, 0]] = 1.0
    C[np.arange(n), pairs[:, 1]] = -1.0
    extra = features = None
    if "bias" in case:
        extra = np.ones((n, 1))
    if "workers" in case:  # with their sum: one direction less than columns
        extra = np.column_stack([np.ones(n), np.eye(3)[rng.integers(0, 3, n)]])
        extra = sp.csr_array(extra) if "sparse" in case else extra
    if "features" in case:  # the last column is the sum of the others
        features = rng.normal(size=(n_items, 3))
        features = np.column_stack([features, features.sum(axis=1)])
    X = C if features is None else C @ features
    if extra is not None:
        X = np.hstack([X, extra.toarray() if sp.issparse(extra) else extra])
    problem = ComparisonProblem(
        pairs,
        y,
        n_items,
        sample_weight=weight,
        features=features,
        extra=extra,
        **options,
    )
    return problem, X, y, np.ones(n) if weight is None else weight


def hat(X, w):
    root = np.sqrt(w)[:, None]
    return X @ np.linalg.pinv(X * root, rcond=1e-10) * root.T


# ------------------------------------------------------------- what the numbers mean


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("dense", [True, False])
def test_everything_is_that_of_the_matrix(case, weights, dense):
    for seed, n_items, groups in ((0, 9, 1), (1, 22, 2), (2, 12, 3)):
        problem, X, y, w = make(case, seed, 30, n_items, weights, groups, dense=dense)
        assert problem.graph.n_components >= groups
        assert problem.design.dense == dense
        assert problem.n_features == X.shape[1] == len(problem.feature_names)
        assert problem.rank == np.linalg.matrix_rank(X * np.sqrt(w)[:, None])
        assert problem.df == w.sum() - problem.rank
        np.testing.assert_array_equal(problem.arrays()[0], X)
        np.testing.assert_array_equal(problem.arrays()[1][:, 0], y)

        coef = problem.design.to_coefs(problem.design.least_squares())[0][0]
        fitted = X @ np.linalg.lstsq(X * np.sqrt(w)[:, None], y * np.sqrt(w))[0]
        used = w > 0
        eta = problem.eta(coef)
        np.testing.assert_allclose(eta[used], fitted[used], atol=1e-10)
        np.testing.assert_allclose(eta, X @ coef, atol=1e-12)
        np.testing.assert_allclose(problem.residuals(coef), y - X @ coef, atol=1e-12)
        np.testing.assert_allclose(
            problem.eta(np.stack([coef, 2 * coef])), [eta, 2 * eta], atol=1e-12
        )
        np.testing.assert_allclose(problem.correlate(y), X.T @ y, atol=1e-12)
        squares = w @ X**2
        np.testing.assert_allclose(problem.column_squares(), squares, atol=1e-12)

        H = hat(X, w)
        alone = used & (np.diagonal(H) >= 1 - 1e-8)
        np.testing.assert_array_equal(problem.alone, alone)
        assert np.isinf(problem.row_factor[alone]).all()
        assert np.isfinite(problem.row_factor[used & ~alone]).all()
        np.testing.assert_allclose(problem.leverage, np.diagonal(H), atol=1e-8)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weights", [False, True])
def test_gauge_is_the_same_in_memory_and_on_the_graph(case, weights):
    for seed, n_items, groups in ((3, 9, 1), (4, 22, 2)):
        found = []
        for dense in (True, False):
            problem = make(case, seed, 30, n_items, weights, groups, dense=dense)[0]
            coef = problem.design.to_coefs(problem.design.least_squares())[0][0]
            scores = problem.scores(coef)
            if problem.features is None:
                np.testing.assert_allclose(scores, coef[:n_items], atol=1e-12)
                sums = np.bincount(problem.components, scores)
                np.testing.assert_allclose(sums, 0, atol=1e-10)
            else:
                assert abs(scores.sum()) < 1e-10
            stack = np.stack([coef, -coef])
            np.testing.assert_allclose(problem.scores(stack), [scores, -scores])
            coords = coords_of(problem, coef, 0.0)
            np.testing.assert_allclose(
                coords, problem.design.least_squares(), atol=1e-9
            )
            found.append(coef)
        np.testing.assert_allclose(*found, atol=1e-9)


def test_votes_that_are_not_about_the_path_need_no_extra_columns():
    problem, X, _, _ = make("bias")
    coef = np.random.default_rng(0).normal(size=problem.n_features)
    pairs = problem.pairs[:5]
    without = X[:5, :-1] @ coef[:-1]
    np.testing.assert_allclose(problem.eta_of(coef, pairs), without)
    np.testing.assert_allclose(
        problem.eta_of(coef, pairs, np.full((5, 1), 2.0)), without + 2 * coef[-1]
    )


def test_features_that_tell_the_items_apart_are_no_features():
    plain = make(seed=5)[0]
    identity = ComparisonProblem(
        plain.pairs, plain.y, N_ITEMS, features=np.eye(N_ITEMS)
    )
    assert identity.rank == plain.rank == N_ITEMS - 1
    coefs = [
        p.design.to_coefs(p.design.least_squares())[0][0] for p in (plain, identity)
    ]
    np.testing.assert_allclose(
        identity.scores(coefs[1]), plain.scores(coefs[0]), atol=1e-12
    )


@pytest.mark.parametrize("dense", [True, False])
def test_coefficients_that_votes_leave_open(dense):
    assert not len(make("bias", dense=dense)[0].undetermined_columns)
    workers = make("workers", dense=dense)[0]  # of the ones and three indicators
    np.testing.assert_array_equal(workers.undetermined_columns, N_ITEMS + np.arange(4))
    # The sum of three features: all of them are open; nothing else is.
    found = make("features and bias", dense=dense)[0].undetermined_columns
    np.testing.assert_array_equal(found, np.arange(4))
    # A constant feature has no differences.
    plain = make(seed=1)[0]
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(size=N_ITEMS), np.full(N_ITEMS, 3.0)])
    constant = ComparisonProblem(
        plain.pairs, plain.y, N_ITEMS, features=features, dense=dense
    )
    np.testing.assert_array_equal(constant.undetermined_columns, [1])
    coef = constant.design.to_coefs(constant.design.least_squares())[0][0]
    assert coef[1] == 0
    # Item 0 is always the first one: its score and the bias cannot be told apart.
    rest = plain.pairs[(plain.pairs != 0).all(axis=1)]
    pairs = np.array([[0, 1], [0, 2], [0, 3], *rest])
    home = np.r_[np.ones((3, 1)), np.zeros((len(rest), 1))]
    found = ComparisonProblem(
        pairs, rng.normal(size=len(pairs)), N_ITEMS, extra=home, dense=dense
    )
    np.testing.assert_array_equal(found.undetermined_columns, np.arange(N_ITEMS + 1))


# -------------------------------------------------------------- which votes are judged


def test_bridges_and_votes_with_a_column_of_their_own_are_never_judged():
    cycle = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    pairs = np.array([*cycle, (0, 3), (6, 5), (0, 1)])
    y = np.arange(9.0)
    for dense in (True, False):
        problem = ComparisonProblem(pairs, y, 7, dense=dense)
        np.testing.assert_array_equal(np.flatnonzero(problem.alone), [6, 7])
        extra = sp.csr_array(np.eye(9)[:, [8]])  # a worker with one vote
        problem = ComparisonProblem(pairs, y, 7, extra=extra, dense=dense)
        np.testing.assert_array_equal(np.flatnonzero(problem.alone), [6, 7, 8])
        np.testing.assert_array_equal(np.isinf(problem.row_factor), problem.alone)
        assert np.isinf(problem.limits(0.0)[problem.alone]).all()


@pytest.mark.parametrize("dense", [True, False])
def test_row_factors_by_leverage_and_by_hand(dense):
    problem, X, _, w = make("bias", 2, dense=dense, row_factor="leverage")
    expected = np.sqrt(1 - np.diagonal(hat(X, w)))
    np.testing.assert_allclose(problem.row_factor, expected, atol=1e-8)
    factor = np.linspace(1, 2, len(w))
    factor[3] = np.inf
    problem = make("bias", 2, dense=dense, row_factor=factor)[0]
    np.testing.assert_array_equal(problem.row_factor, factor)


def test_new_votes_across_components_say_nothing():
    pairs = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (0, 2)]
    weight = np.array([1.0] * 6 + [0.0, 0.0])
    for dense in (True, False):
        problem = ComparisonProblem(
            pairs, np.arange(8.0), 6, sample_weight=weight, dense=dense
        )
        np.testing.assert_array_equal(problem.components, [0, 0, 0, 1, 1, 1])
        assert np.isinf(problem.row_factor).tolist() == [False] * 6 + [True, False]


# ------------------------------------------------------------------------- in memory


def test_what_is_kept_in_memory(monkeypatch):
    problem = make()[0]
    assert problem.design.dense
    assert not problem.vote_design.dense
    assert problem.in_memory() is problem
    monkeypatch.setattr(comparison_problem, "IN_MEMORY", 40 * 8 - 1)
    large = make()[0]
    assert not large.design.dense
    inside = large.in_memory()
    assert inside.design.dense
    assert not large.design.dense
    np.testing.assert_array_equal(inside.row_factor, large.row_factor)
    monkeypatch.setattr(comparison_problem, "IN_MEMORY_EXACT", 40 * 8 - 1)
    with pytest.raises(ValueError, match="of 40 votes, 8 of each, .* dense=True"):
        large.in_memory()
    monkeypatch.setattr(comparison_problem, "IN_MEMORY", 40 * 8)
    assert make()[0].design.dense
    monkeypatch.setattr(comparison_problem, "_EXACT_WORK", 40 * 64 - 1)
    assert not make()[0].design.dense
    with pytest.raises(ValueError, match="not kept in memory"):
        make(dense=False)[0].in_memory()


def test_weights_that_rounding_cannot_hold_together_stay_on_the_graph():
    cycles = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4)]
    weight = np.array([1.0] * 6 + [1e-26] * 2)
    problem = ComparisonProblem(cycles, np.arange(8.0), 6, sample_weight=weight)
    assert not problem.design.dense
    assert problem.rank == 5
    with pytest.raises(ValueError, match="dense=True: rounding hides"):
        ComparisonProblem(cycles, np.arange(8.0), 6, sample_weight=weight, dense=True)


# -------------------------------------------------------------------- other problems


@pytest.mark.parametrize("case", ["plain", "sparse workers", "features and bias"])
def test_subsets_and_other_weights(case):
    factor = np.linspace(1, 2, 40)
    problem, X, y, w = make(case, 3, weights=True, row_factor=factor)
    rows = np.arange(40) % 4 > 0
    for some in (rows, np.flatnonzero(rows)):
        part = problem.subset(some)
        np.testing.assert_array_equal(part.arrays()[0], X[rows])
        np.testing.assert_array_equal(part.y, y[rows])
        np.testing.assert_array_equal(part.sample_weight, w[rows])
        assert part.feature_names == problem.feature_names
        finite = np.isfinite(part.row_factor)
        np.testing.assert_array_equal(part.row_factor[finite], factor[rows][finite])
    weight = np.roll(w, 1)
    other = problem.with_weight(weight)
    np.testing.assert_array_equal(other.sample_weight, weight)
    np.testing.assert_array_equal(other.arrays()[0], X)
    assert other.total_weight == weight.sum()
    assert problem.with_weight(None).total_weight == 40
    np.testing.assert_array_equal(problem.sample_weight, w)


def test_rows_are_made_when_they_are_taken():
    problem, X, _, _ = make("workers")
    assert problem._X.shape == X.shape
    np.testing.assert_array_equal(problem._X[3:7].toarray(), X[3:7])
    np.testing.assert_array_equal(problem._X[[5, 2]].toarray(), X[[5, 2]])


def test_names_come_from_the_frame_of_features():
    problem = make()[0]
    frame = pd.DataFrame({"age": np.arange(9.0), "size": np.arange(9.0) ** 2})
    named = ComparisonProblem(
        problem.pairs,
        problem.y,
        N_ITEMS,
        features=frame,
        extra=np.ones((40, 1)),
        extra_names=["first side"],
    )
    assert named.feature_names == ("age", "size", "first side")
    assert named.subset(np.arange(30)).feature_names == named.feature_names

    values = np.column_stack([frame, frame["age"] ** 3])
    given_names = ComparisonProblem(
        problem.pairs,
        problem.y,
        N_ITEMS,
        features=values,
        feature_names=("age", "size", "volume"),
    )
    assert given_names.feature_names == ("age", "size", "volume")
    for other in (
        given_names.subset(np.arange(30)),
        given_names.with_weight(np.ones(40)),
    ):
        assert other.feature_names == given_names.feature_names


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", ["float32", "sparse"])
def test_features_stay_what_they_are(kind, dense):
    problem, X, y, w = make("features and bias", 4, weights=True)
    values = problem.features.astype(np.float32)
    if kind == "sparse":
        values = np.where(values > -0.5, values, 0.0)
    given_as = sp.coo_array(values) if kind == "sparse" else values
    options = {"sample_weight": w, "extra": problem.extra, "dense": dense}
    one = ComparisonProblem(problem.pairs, y, N_ITEMS, features=given_as, **options)
    if kind == "sparse":
        assert one.features.format == "csr"
    else:
        assert one.features.dtype == np.float32
    twin = ComparisonProblem(
        problem.pairs, y, N_ITEMS, features=values.astype(np.float64), **options
    )
    coef = np.random.default_rng(0).normal(size=(3, one.n_features))
    for found, expected in (
        (one.eta(coef), twin.eta(coef)),
        (one.scores(coef), twin.scores(coef)),
        (one.scores(coef[0]), twin.scores(coef[0])),
        (one.residuals(coef[0]), twin.residuals(coef[0])),
        (one.correlate(y), twin.correlate(y)),
        (one.column_squares(), twin.column_squares()),
        (one.arrays()[0], twin.arrays()[0]),
        (one.subset(w > 0).arrays()[0], twin.subset(w > 0).arrays()[0]),
    ):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, atol=1e-12)
    fits = [each.residuals(fit_of(each)) for each in (one, twin)]
    np.testing.assert_allclose(*fits, atol=1e-5)


def fit_of(problem):
    return problem.design.to_coefs(problem.design.least_squares())[0][0]


@given(st.integers(0, 50))
def test_least_squares_knows_neither_labels_nor_sides(seed):
    problem, _, y, w = make("bias", seed, weights=True)
    rng = np.random.default_rng(seed)
    label, order = rng.permutation(N_ITEMS), rng.permutation(len(y))
    side = rng.choice([-1.0, 1.0], len(y))
    pairs = label[problem.pairs]
    pairs[side < 0] = pairs[side < 0, ::-1]
    other = ComparisonProblem(
        pairs[order],
        (side * y)[order],
        N_ITEMS,
        sample_weight=w[order],
        extra=side[order, None],  # who is swapped has the bias of the other side
    )
    one, two = (
        p.design.to_coefs(p.design.least_squares())[0][0] for p in (problem, other)
    )
    np.testing.assert_allclose(two[label], one[:N_ITEMS], atol=1e-9)
    np.testing.assert_allclose(two[-1], one[-1], atol=1e-9)


def test_it_is_a_shift_problem_of_a_reduced_incidence():
    problem, X, y, w = make("bias", 7, weights=True)
    rows = ShiftProblem(X[:, 1:], y, sample_weight=w, fit_intercept=False)
    assert (rows.rank, rows.total_weight, rows.df) == (
        problem.rank,
        problem.total_weight,
        problem.df,
    )
    np.testing.assert_allclose(rows.leverage, problem.leverage, atol=1e-12)
    np.testing.assert_array_equal(rows.row_factor, problem.row_factor)


# ------------------------------------------------------------------------------ errors

CYCLE = [(0, 1), (1, 2), (2, 0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": [(0, 1)], "y": [1]}, r"none of the 1 vote\(s\) .* checked"),
        ({"pairs": [(0, 1), (1, 2)], "y": [1, 1]}, r"none of the 2 vote.* more votes"),
        ({"pairs": [(0, 0), (1, 2)], "y": [1, 1]}, "item 0 with itself in row 0"),
        ({"pairs": [(0, 3), (1, 2)], "y": [1, 1]}, r"\[0, 3\] in row 0"),
        ({"pairs": [(0.0, 1.0)], "y": [1]}, "float64.* codes"),
        ({"y": [1, np.nan, 1]}, "y contains nan in row 1"),
        ({"y": [1, 1]}, r"y has shape \(2,\).* 3 votes"),
        ({"y": ["a", "b", "c"]}, "y has shape .*positive if the first"),
        ({"sample_weight": [1, -1, 1]}, "sample_weight contains -1"),
        ({"sample_weight": [1, 1, 0]}, r"none of the 2 vote\(s\)"),
        ({"sample_weight": [0.1, 0.1, 0.1]}, "sums to 0.3, .* 2 coefficients"),
        ({"features": np.ones((2, 1))}, r"features has shape \(2, 1\).* 3 items"),
        ({"features": [[1.0], [np.nan], [2.0]]}, "nan for item 1, column 0"),
        ({"features": 1j * np.eye(3)}, "features have type complex128.*not complex"),
        ({"features": [["a"], ["b"], ["c"]]}, "features have type <U1.*categories"),
        ({"features": np.ones(3)}, r"features have shape \(3,\)"),
        ({"feature_names": ["a"]}, "feature_names has 1 entries for 0"),
        ({"features": np.eye(3), "extra": np.ones((3, 1))}, "fewer features"),
        ({"extra": np.ones((2, 1))}, r"extra has shape \(2, 1\)"),
        ({"extra": np.ones((3, 1))}, "none of the 3 vote"),
        ({"extra": [[1.0], [np.inf], [0.0]]}, "extra contains inf in row 1"),
        ({"extra_names": ["a"]}, "extra_names has 1 entries for 0"),
        ({"row_factor": "other"}, "row_factor='other' is unknown"),
        ({"row_factor": [1.0, 0.0, 1.0]}, "row_factor contains 0"),
        ({"row_factor": [np.inf] * 3}, "row_factor leaves no row"),
        ({"dense": "yes"}, "dense='yes' is unknown; use 'auto', True or False"),
    ],
)
def test_errors_say_what_is_wrong(options, message):
    arguments = {"pairs": CYCLE, "y": [1.0, 0.0, 1.0], "n_items": 3} | options
    with pytest.raises(ValueError, match=message):
        ComparisonProblem(**arguments)


def test_factors_that_leave_only_votes_nobody_can_check():
    pairs = [*CYCLE, (2, 3)]
    with pytest.raises(ValueError, match="row_factor is infinite for all votes that"):
        ComparisonProblem(
            pairs, np.arange(4.0), 4, row_factor=[np.inf, np.inf, np.inf, 1.0]
        )
