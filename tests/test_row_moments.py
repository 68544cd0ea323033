"""Moments of blocks of rows, and the paths computed from them."""

import mmap
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from sparselbi import LBI, Problem, iss_path, lbi_path
from sparselbi import row_moments as module
from sparselbi.penalties import L1
from sparselbi.row_moments import RowMoments, blocks_to_moments
from sparselbi.selection import InformationCriterion, with_statistics
from tests.common import make_data, relative_gap

SOLVERS = {"lbi": lbi_path, "iss": iss_path}


def blocks_of(data, size, weighted=False):
    """The rows as (X, y) or (X, y, sample_weight)."""
    for start in range(0, len(data.y), size):
        rows = slice(start, start + size)
        block = data.X[rows], data.y[rows], data.weights[rows]
        yield block if weighted else block[:2]


def exact_moments(X, y, weights=None):
    """Mean and covariance of the columns of [X, y] in extended precision."""
    columns = np.column_stack([X, y]).astype(np.longdouble)
    w = np.ones(len(y)) if weights is None else weights
    w = w.astype(np.longdouble) / w.astype(np.longdouble).sum()
    mean = w @ columns
    centred = columns - mean
    return mean, (centred * w[:, None]).T @ centred


def correlation_gap(found, exact):
    """Largest error of covariances, in products of standard deviations."""
    sd = np.sqrt(exact.diagonal())
    sd = np.where(sd > 0, sd, 1)
    return float(np.abs((found - exact) / sd / sd[:, None]).max())


# ------------------------------------------------------------- the same as all rows

CASES = {
    "default": {},
    "no intercept": {"fit_intercept": False},
    "not standardized": {"standardize": False},
    "neither": {"fit_intercept": False, "standardize": False},
    "factors": {"penalty_factor": [0, 1, 2, np.inf, 0.5, *[1] * 7]},
    "positive": {"penalty": L1(positive=True)},
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_paths_criteria_and_refits_are_those_of_all_rows(solver, weighted, case):
    data = make_data(n=150, p=12)
    weights = 2 * data.weights if weighted else None
    data = data._replace(weights=2 * data.weights)
    moments = RowMoments.from_blocks(blocks_of(data, 40, weighted))
    X, y, w = moments.compressed()
    full = Problem(data.X, data.y, sample_weight=weights, **CASES[case])
    small = Problem(X, y, sample_weight=w, **CASES[case])
    assert len(y) == 14
    expected = with_statistics(SOLVERS[solver](full), full)
    path = with_statistics(SOLVERS[solver](small), small)

    assert path.n_samples == pytest.approx(full.total_weight, rel=1e-14)
    np.testing.assert_array_equal(path.active_features, expected.active_features)
    np.testing.assert_allclose(path.knots, expected.knots, rtol=1e-9)
    assert relative_gap(path.coefs, expected.coefs) < 1e-9
    assert relative_gap(path.intercepts, expected.intercepts) < 1e-9
    np.testing.assert_allclose(path.deviance, expected.deviance, rtol=1e-9)
    np.testing.assert_allclose(path.refit_deviance, expected.refit_deviance, rtol=1e-9)
    for name in ("aic", "bic", "ebic"):
        rule = InformationCriterion(name)
        chosen, reference = rule.select(path, small), rule.select(expected, full)
        assert chosen.index == reference.index
        np.testing.assert_allclose(chosen.scores, reference.scores, rtol=1e-9)
    refit = path.refit(X, y, sample_weight=w)
    reference = expected.refit(data.X, data.y, sample_weight=weights)
    assert relative_gap(refit.coefs, reference.coefs) < 1e-8


def test_estimator_and_verification():
    data = make_data(n=150, p=12)
    X, y, w = RowMoments.from_arrays(data.X, data.y).compressed()
    for settings in ({}, {"refit": True}):
        small, full = LBI(**settings), LBI(**settings)
        small.fit(X, y, sample_weight=w)
        full.fit(data.X, data.y)
        assert relative_gap(small.coef_, full.coef_) < 1e-9
        assert small.intercept_ == pytest.approx(full.intercept_, rel=1e-9)
        assert small.selection_.knot == pytest.approx(full.selection_.knot, rel=1e-9)
    table = small.path_.verify(X, y, sample_weight=w)
    assert len(table) == len(small.path_.knots)


def test_more_features_than_rows():
    """Moments have the rank of the rows: least squares is reached, and fits exactly."""
    data = make_data(n=30, p=80, seed=2)
    moments = RowMoments.from_blocks(blocks_of(data, 7))
    X, y, w = moments.compressed()
    assert X.shape == (30, 80)
    assert w.sum() == pytest.approx(30, rel=1e-14)
    full, small = Problem(data.X, data.y), Problem(X, y, sample_weight=w)
    expected = with_statistics(iss_path(full), full)
    path = with_statistics(iss_path(small), small)
    assert path.status == expected.status
    np.testing.assert_allclose(path.knots, expected.knots, rtol=1e-8)
    assert relative_gap(path.coefs, expected.coefs) < 1e-8
    np.testing.assert_allclose(path.deviance[-1], expected.deviance[-1], atol=1e-12)
    rule = InformationCriterion("ebic")
    assert rule.select(path, small).index == rule.select(expected, full).index


def test_exact_dependencies_stay_exact():
    """Rounding of the sums must not become a direction of its own."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 6))
    X[:, 3] = X[:, 0] + X[:, 1]
    y = X[:, 2] - 2 * X[:, 4]
    rows, target, _ = RowMoments.from_arrays(X, y, block_rows=512).compressed()
    assert len(rows) == 6
    np.testing.assert_allclose(rows[:, 3], rows[:, 0] + rows[:, 1], atol=1e-11)
    np.testing.assert_allclose(target, rows[:, 2] - 2 * rows[:, 4], atol=1e-11)


# ------------------------------------------------------------------ blocks and merging


def test_boundaries_and_order_of_blocks_do_not_matter():
    data = make_data(n=200, p=6)
    reference = RowMoments.from_blocks([data[:2]])
    mean, covariance = exact_moments(*data[:2])
    for size in (1, 7, 64, 199, 1000):
        blocks = list(blocks_of(data, size))
        for order in (blocks, blocks[::-1]):
            moments = RowMoments.from_blocks(order)
            np.testing.assert_allclose(moments.mean, mean.astype(float), rtol=1e-14)
            assert correlation_gap(moments.covariance, covariance) < 1e-14
            assert moments.n_rows == moments.total_weight == 200
    assert moments.n_blocks == 1
    assert correlation_gap(reference.covariance, covariance) < 1e-14
    # Merged from other processes; pickled on the way.
    parts = [RowMoments().add(*block) for block in blocks_of(data, 30)]
    parts = [pickle.loads(pickle.dumps(part)) for part in parts]
    for total in (sum(parts), parts[2] + sum(parts[:2] + parts[3:], RowMoments())):
        assert correlation_gap(total.covariance, covariance) < 1e-14
        assert (total.n_rows, total.n_blocks, total.n_features) == (200, 7, 6)
    assert parts[0].n_rows == 30
    assert "n_rows=30, n_features=6" in repr(parts[0])


@given(
    sizes=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    offsets=st.lists(st.sampled_from([0.0, 1.0, -30.0, 1e4]), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_merging_is_associative_and_commutative(sizes, offsets, seed):
    rng = np.random.default_rng(seed)
    a, b, c = (
        RowMoments().add(
            rng.normal(size=(size, 2)) + offset,
            rng.normal(size=size),
            rng.uniform(0.5, 2, size=size),
        )
        for size, offset in zip(sizes, offsets, strict=True)
    )
    reference = (a + b) + c
    for other in (a + (b + c), (c + a) + b, sum([b, c, a])):
        np.testing.assert_allclose(other.mean, reference.mean, rtol=1e-12)
        assert correlation_gap(other.covariance, reference.covariance) < 1e-12
        assert other.total_weight == pytest.approx(reference.total_weight, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_means_cost_no_digits(dtype):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(4000, 5)) + 1e6).astype(dtype)
    y = rng.normal(size=4000) + 1e6
    mean, covariance = exact_moments(X, y)
    parts = [RowMoments.from_arrays(X[k::2], y[k::2], block_rows=300) for k in (0, 1)]
    for moments in (RowMoments.from_arrays(X, y, block_rows=300), sum(parts)):
        np.testing.assert_allclose(moments.mean, mean.astype(float), rtol=1e-15)
        assert correlation_gap(moments.covariance, covariance) < 1e-13
        # The equivalent rows are of size 1e6 again: six digits less.
        rows = np.column_stack(moments.compressed()[:2])
        gap = correlation_gap(exact_moments(rows[:, :-1], rows[:, -1])[1], covariance)
        assert gap < 1e-9


def test_a_first_block_far_from_all_others():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2)) + 1e6
    X[:2] = 0.0
    y = rng.normal(size=3000)
    moments = RowMoments().add(X[:2], y[:2]).add(X[2:], y[2:])
    assert correlation_gap(moments.covariance, exact_moments(X, y)[1]) < 1e-11


# --------------------------------------------------------------------- kinds of blocks


def test_float32_equals_the_same_numbers_in_float64():
    data = make_data(n=3000, p=5)  # representable in float32
    single = RowMoments.from_arrays(data.X.astype(np.float32), data.y)
    double = RowMoments.from_arrays(data.X, data.y)
    np.testing.assert_array_equal(single.covariance, double.covariance)
    np.testing.assert_array_equal(single.mean, double.mean)


@pytest.mark.parametrize("density", [0.05, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_sparse(density, weighted, kind):
    data = make_data(n=400, p=30, density=density)
    data.X[:, 3] = 0.1  # a column without a gap, constant
    data.X[:, 4] = np.random.default_rng(0).normal(size=400) + 1e6
    data.weights[:40] = 0.0
    weights = data.weights if weighted else None
    moments = RowMoments()
    for start in (0, 150, 300):  # dense and sparse blocks may alternate
        rows = slice(start, start + 150)
        block = kind(data.X[rows]) if start != 150 else data.X[rows]
        moments.add(block, data.y[rows], None if weights is None else weights[rows])
    mean, covariance = exact_moments(data.X, data.y, weights)
    np.testing.assert_allclose(moments.mean, mean.astype(float), rtol=1e-13)
    covariance[3] = covariance[:, 3] = 0
    assert correlation_gap(moments.covariance, covariance) < 1e-12
    assert not moments.covariance[3].any()
    whole = RowMoments.from_arrays(kind(data.X), data.y, weights, block_rows=90)
    assert correlation_gap(whole.covariance, covariance) < 1e-12


def test_memory_maps_of_every_mode_and_order(tmp_path):
    data = make_data(n=3000, p=10)
    y_file = tmp_path / "y"
    data.y.tofile(y_file)
    expected = RowMoments.from_arrays(data.X, data.y, block_rows=700).covariance
    for order in "CF":
        file = tmp_path / f"X{order}"
        data.X.astype(np.float32).ravel(order).tofile(file)
        for mode in ("r", "r+", "c"):
            X = np.memmap(file, np.float32, mode, shape=(3000, 10), order=order)
            y = np.memmap(y_file, np.float64, mode)
            if mode != "r":
                X[5, 5] += 1  # in "c" only in memory: must survive
            for source in (X, np.asarray(X)):
                moments = RowMoments.from_arrays(source, y, block_rows=700)
                gap = np.abs(moments.covariance - expected).max()
                assert (gap < 1e-14) == (mode == "r")
            reverse = RowMoments.from_arrays(X[::-1], y[::-1], block_rows=700)
            np.testing.assert_allclose(
                reverse.covariance, moments.covariance, atol=1e-13
            )
            assert X[5, 5] == data.X[5, 5].astype(np.float32) + (mode != "r")
            if mode == "r+":
                X[5, 5] -= 1


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="no madvise")
def test_memory_does_not_grow_with_the_file(tmp_path):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE

    file = tmp_path / "X"
    np.ones((1 << 17, 100), dtype=np.float32).tofile(file)  # 52 MB
    X = np.memmap(file, np.float32, "r", shape=(1 << 17, 100))
    before = resident()
    blocks = ((X[k : k + 8192], np.ones(8192)) for k in range(0, 1 << 17, 8192))
    RowMoments.from_blocks(blocks)
    assert resident() - before < 2.5e7


def test_frames_keep_their_names():
    data = make_data(n=60, p=3)
    names = ["a", "b", "c"]
    frame = pd.DataFrame(data.X, columns=names)
    moments = RowMoments.from_arrays(frame, pd.Series(data.y), block_rows=25)
    X, y, w = moments.compressed()
    assert moments.feature_names == list(X.columns) == names
    model = LBI().fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(model.feature_names_in_, names)
    polars = pl.DataFrame(data.X, schema=names)
    again = RowMoments.from_arrays(polars, data.y, block_rows=25)
    assert again.feature_names == names
    np.testing.assert_array_equal(again.covariance, moments.covariance)
    unnamed = RowMoments.from_arrays(pd.DataFrame(data.X), data.y, block_rows=25)
    assert unnamed.feature_names is None
    assert isinstance(unnamed.compressed()[0], np.ndarray)
    integers = RowMoments.from_arrays([[1, 2], [3, 5], [4, 0]], [1, 2, 4])
    np.testing.assert_allclose(integers.mean, [8 / 3, 7 / 3, 7 / 3])


# ----------------------------------------------------- weights, constants, empty blocks


def test_weights_are_repetitions_and_zero_rows_count_nothing():
    data = make_data(n=50, p=4)
    counts = np.arange(50) % 4
    repeated = RowMoments.from_arrays(*(np.repeat(a, counts, 0) for a in data[:2]))
    weighted = RowMoments.from_arrays(data.X, data.y, counts, block_rows=3)
    assert weighted.total_weight == repeated.total_weight == counts.sum()
    assert correlation_gap(weighted.covariance, repeated.covariance) < 1e-14
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-13)
    assert weighted.n_rows == 50
    more = weighted + RowMoments().add(data.X, data.y, np.zeros(50))
    np.testing.assert_array_equal(more.covariance, weighted.covariance)


@pytest.mark.parametrize("value", [0.1, 1e6 / 3, 0.0, -7.7e-9])
@pytest.mark.parametrize("weighted", [False, True])
def test_constant_columns_stay_constant(value, weighted):
    data = make_data(n=5000, p=4)
    data.X[:, 2] = value
    weights = data.weights[:5000] if weighted else None
    whole = RowMoments.from_arrays(data.X, data.y, weights, block_rows=700)
    halves = [
        RowMoments.from_arrays(
            data.X[k::2], data.y[k::2], weights if weights is None else weights[k::2]
        )
        for k in (0, 1)
    ]
    for moments in (whole, sum(halves)):
        X, y, w = moments.compressed()
        assert np.ptp(X[:, 2]) == 0
        assert X[0, 2] == value
        assert not moments.covariance[2].any()
        assert LBI().fit(X, y, sample_weight=w).coef_[2] == 0
    rounding = data.X.copy()
    rounding[:, 2] *= 1 + 1e-15 * np.random.default_rng(0).normal(size=5000)
    X, *_ = RowMoments.from_arrays(rounding, data.y).compressed()
    assert np.ptp(X[:, 2]) == 0


def test_everything_constant_and_empty_blocks():
    X, y, w = RowMoments.from_arrays(np.ones((5, 2)), np.full(5, 3.0)).compressed()
    np.testing.assert_array_equal(X, np.ones((2, 2)))
    np.testing.assert_array_equal(y, [3, 3])
    assert w.sum() == 5
    data = make_data(n=20, p=3)
    empty = np.empty((0, 3)), np.empty(0)
    moments = RowMoments.from_blocks([empty, data[:2], empty])
    assert (moments.n_rows, moments.n_blocks) == (20, 3)


def test_threads_give_the_same_and_leave_blas_as_it_was():
    from threadpoolctl import ThreadpoolController

    data = make_data(n=5000, p=8)
    control = ThreadpoolController()
    results = []
    for n_threads in (1, 2, 3):
        with control.limit(limits=n_threads, user_api="blas"):
            before = control.info()
            results.append(RowMoments.from_arrays(data.X, data.y, data.weights))
            assert control.info() == before
    for other in results[1:]:
        assert correlation_gap(other.covariance, results[0].covariance) < 1e-14


# --------------------------------------------------------------------- cross-validation


def test_folds_and_their_errors():
    data = make_data(n=300, p=6)
    moments = RowMoments.from_blocks(blocks_of(data, 70, True), n_folds=4)
    assert [fold.n_rows for fold in moments.folds] == [75, 75, 75, 75]
    assert sum(fold.total_weight for fold in moments.folds) == pytest.approx(
        moments.total_weight
    )
    rest = moments.training(1)
    expected = moments.folds[0] + moments.folds[2] + moments.folds[3]
    assert rest.n_rows == expected.n_rows == 225
    assert correlation_gap(rest.covariance, expected.covariance) < 1e-14
    both = rest + moments.folds[1]
    assert correlation_gap(both.covariance, moments.covariance) < 1e-14
    added = moments + moments
    assert [fold.n_rows for fold in added.folds] == [150, 150, 150, 150]
    assert RowMoments.from_arrays(data.X, data.y).folds == ()

    own = [RowMoments().add(data.X[k::3], data.y[k::3]) for k in range(3)]
    joined = RowMoments.from_folds(own)
    assert joined.n_folds == 3
    np.testing.assert_array_equal(joined.folds[2].covariance, own[2].covariance)
    assert correlation_gap(joined.covariance, exact_moments(*data[:2])[1]) < 1e-14


def test_mean_squared_error_is_that_of_the_rows():
    data = make_data(n=80, p=5)
    moments = RowMoments.from_arrays(data.X, data.y, data.weights)
    coefs = np.random.default_rng(1).normal(size=(7, 5))
    intercepts = np.arange(7.0)
    residuals = data.y - coefs @ data.X.T - intercepts[:, None]
    expected = (residuals**2 * data.weights).sum(axis=1) / data.weights.sum()
    errors = moments.mean_squared_error(coefs, intercepts)
    np.testing.assert_allclose(errors, expected, rtol=1e-13)
    one = moments.mean_squared_error(coefs[3], intercepts[3])
    assert one == pytest.approx(expected[3], rel=1e-13)
    exact = RowMoments.from_arrays(data.X, data.X @ coefs[0])
    assert 0 <= exact.mean_squared_error(coefs[0]) < 1e-13


def test_cross_validation_over_the_compressed_folds_equals_that_over_all_rows():
    data = make_data(n=300, p=8)
    fold = np.zeros(300, dtype=int)
    moments = RowMoments.from_arrays(data.X, data.y, n_folds=5)
    for k in range(5):
        fold[k * 60 : (k + 1) * 60] = k
    X, y, w, groups = moments.compressed_folds()
    assert len(y) == 5 * 10
    small = LBI(selector="cv").fit(X, y, sample_weight=w, sample_groups=groups)
    full = LBI(selector="cv").fit(data.X, data.y, sample_groups=fold)
    np.testing.assert_allclose(
        small.selection_.scores, full.selection_.scores, rtol=1e-9
    )
    np.testing.assert_allclose(
        np.sort(small.selection_.fold_scores, axis=0),
        np.sort(full.selection_.fold_scores, axis=0),
        rtol=1e-9,
    )
    assert small.selection_.index == full.selection_.index
    assert relative_gap(small.coef_, full.coef_) < 1e-9
    test = moments.folds[0]
    train = moments.training(0).compressed()
    path = lbi_path(Problem(train[0], train[1], sample_weight=train[2]))
    rows = data.y[:60] - path.coefs @ data.X[:60].T - path.intercepts[:, None]
    np.testing.assert_allclose(
        test.mean_squared_error(path.coefs, path.intercepts),
        (rows**2).mean(axis=1),
        rtol=1e-12,
    )


# ------------------------------------------------------------------------------- errors


def raises(message):
    return pytest.raises(ValueError, match=re.escape(message))


X, Y, W = (lambda d: (d.X, d.y, d.weights))(make_data(n=12, p=3))


def spoiled(array, index, value):
    array = array.copy()
    array[index] = value
    return array


BAD_BLOCKS = {
    "width": ([(X, Y), (X[:, :2], Y)], "block 1 has 2 features, but those before it"),
    "list": ([(X, Y), [X, Y]], "block 1 is a list; every block must be a tuple"),
    "array": (X, "block 0 is a ndarray; every block must be a tuple"),
    "long tuple": ([(X, Y, W, W)], "block 0 is a tuple of 4; every block"),
    "length": ([(X, Y[:5])], "block 0: X has 12 rows but y has shape (5,)"),
    "two targets": ([(X, X)], "block 0: X has 12 rows but y has shape (12, 3)"),
    "one dimension": ([(Y, Y)], "block 0: X has shape (12,); it needs two"),
    "no columns": ([(X[:, :0], Y)], "block 0: X has shape (12, 0)"),
    "nan": (
        [(X, Y), (spoiled(X, (4, 2), np.nan), Y)],
        "block 1: X contains nan in column 2, row 4 of the block (row 16 in all)",
    ),
    "nan, no weight": (
        [(spoiled(X, (4, 2), np.nan), Y, np.arange(12) % 2)],
        "block 0: X contains nan in column 2, row 4",
    ),
    "nan, no weights": (
        [(spoiled(X, (4, 2), np.nan), Y, np.zeros(12))],
        "block 0: X contains nan in column 2, row 4",
    ),
    "inf, sparse": (
        [(sp.csr_array(spoiled(np.eye(12), (3, 7), -np.inf)), Y)],
        "block 0: X contains -inf in column 7, row 3",
    ),
    "inf in y": ([(X, spoiled(Y, 7, np.inf))], "block 0: y contains inf in row 7"),
    "overflow": ([(X * 1e200, Y)], "block 0: squares of its values overflow; rescale"),
    "labels": ([(X, np.full(12, "a"))], "block 0: y has dtype <U1, which is not"),
    "complex": ([(X + 1j, Y)], "block 0: X has dtype complex128"),
    "weight length": ([(X, Y, W[:3])], "but sample_weight has shape (3,)"),
    "weight sign": ([(X, Y, -W)], "block 0: sample_weight contains -"),
    "weight nan": ([(X, Y, W * np.nan)], "block 0: sample_weight contains nan"),
    "no weight": ([(X, Y, 0 * W)], "sample_weight is zero everywhere"),
    "no rows": ([(X[:0], Y[:0])], "there are no rows; add at least one block"),
    "nothing": ([], "blocks is empty; it needs at least one block"),
    "exhausted": (iter([]), "An iterator or generator can be read only once"),
    "number": (3, "blocks is a int; it needs an iterable"),
    "function": (lambda: [(X, Y)], "call the function"),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
def test_bad_blocks(case):
    blocks, message = BAD_BLOCKS[case]
    with raises(message):
        RowMoments.from_blocks(blocks)


def test_a_generator_is_read_once():
    blocks = ((X, Y) for _ in range(3))
    assert RowMoments.from_blocks(blocks).n_rows == 36
    with raises("An iterator or generator can be read only once; make a new one"):
        RowMoments.from_blocks(blocks)


def test_an_error_in_the_threads_is_told_in_full():
    from threadpoolctl import threadpool_limits

    big = np.ones((5000, 2))
    big[4000, 1] = np.nan
    with threadpool_limits(2), raises("contains nan in column 1, row 4000 of the"):
        RowMoments().add(big, np.ones(5000))


def test_moments_survive_a_bad_block():
    moments = RowMoments().add(X, Y)
    before = moments.covariance
    with raises("contains nan"):
        moments.add(spoiled(X, (11, 1), np.nan), Y)
    np.testing.assert_array_equal(moments.covariance, before)
    assert (moments.n_rows, moments.n_blocks) == (12, 1)
    first = RowMoments()
    with raises("contains nan"):
        first.add(spoiled(X, (11, 1), np.nan), Y)
    assert first.add(X[:, :2], Y).n_features == 2


def test_mixed_names():
    frame = pd.DataFrame(X, columns=list("abc"))
    with raises("block 1 has the name 'c' in column 1, where those before it have 'b'"):
        RowMoments.from_blocks([(frame, Y), (frame[["a", "c", "b"]], Y)])
    with raises("block 1 has no feature names, but those before it have names"):
        RowMoments.from_blocks([(frame, Y), (X, Y)])
    with raises("the right operand has feature names, but those before it have none"):
        RowMoments().add(X, Y) + RowMoments().add(frame, Y)


def test_too_many_features(monkeypatch):
    with raises("X has 100000 features: their second moments are a matrix of 74.5 GiB"):
        RowMoments().add(sp.csr_array((4, 100_000)), Y[:4])


def test_bad_arrays_and_merges():
    with raises("X has shape (12,); it needs two dimensions"):
        RowMoments.from_arrays(Y, Y)
    with raises("X has 12 rows but y has shape (5,)"):
        RowMoments.from_arrays(X, Y[:5])
    with raises("X has 12 rows but sample_weight has shape (5,)"):
        RowMoments.from_arrays(X, Y, W[:5])
    for value in (0, 2.5, True, "many"):
        with raises(f"block_rows={value!r} must be an integer >= 1"):
            RowMoments.from_arrays(X, Y, block_rows=value)
    for value in (0, 1, 2.5, True):
        with raises(f"n_folds={value!r} must be None or an integer >= 2"):
            RowMoments(n_folds=value)
    moments = RowMoments().add(X, Y)
    with raises("moments with n_folds=None and n_folds=2 cannot be added"):
        moments + RowMoments(n_folds=2).add(X, Y)
    with raises("the right operand has 2 features, but those before it have 3"):
        moments + RowMoments().add(X[:, :2], Y)
    with pytest.raises(TypeError, match="unsupported operand"):
        moments + 1
    with pytest.raises(TypeError, match="unsupported operand"):
        1 + moments
    with raises("coefs has shape (2,); it needs (3,) or (K, 3)"):
        moments.mean_squared_error([1, 2])
    for what in ("mean", "covariance"):
        with raises("there are no rows"):
            getattr(RowMoments(), what)
    with raises("there are no rows"):
        RowMoments(n_folds=2).compressed()


def test_bad_folds():
    moments = RowMoments().add(X, Y)
    with raises("these moments have no folds. Folds must be kept from the start"):
        moments.compressed_folds()
    with raises("fold=0 does not exist; these moments have n_folds=None"):
        moments.training(0)
    folded = RowMoments(n_folds=3).add(X, Y)
    for fold in (3, -1, 0.5):
        with raises(f"fold={fold!r} does not exist; these moments have n_folds=3"):
            folded.training(fold)
    few = RowMoments(n_folds=5).add(X[:2], Y[:2])
    with raises("has no samples: 2 rows are too few for n_folds=5"):
        few.compressed_folds()
    with raises("n_folds=1 must be None or an integer >= 2"):
        RowMoments.from_folds([moments])
    with pytest.raises(TypeError, match="fold 1 is a int, not RowMoments"):
        RowMoments.from_folds([moments, 3])
    with raises("fold 1 has 2 features"):
        RowMoments.from_folds([moments, RowMoments().add(X[:, :2], Y)])
    with raises("there are no rows"):
        RowMoments.from_folds([moments, RowMoments()])


def test_what_an_estimator_takes_for_blocks():
    moments = RowMoments().add(X, Y)
    assert blocks_to_moments(moments) is moments
    assert blocks_to_moments((X, Y) for _ in range(2)).n_rows == 24
    assert blocks_to_moments([(X, Y, W)]).total_weight == pytest.approx(W.sum())

    class Loader:
        def __iter__(self):
            return iter([(X, Y), (X, Y)])

    assert blocks_to_moments(Loader()).n_rows == 24
    rows = [tuple(row) for row in X]
    for other in (X, X.tolist(), rows, pd.DataFrame(X), sp.csr_array(X), [], 3, None):
        assert blocks_to_moments(other) is None


def test_a_small_limit_keeps_blocks_small(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 3)
    moments = RowMoments.from_arrays(np.ones((2500, 2)), np.ones(2500))
    assert moments.n_blocks == 3  # never less than a piece
