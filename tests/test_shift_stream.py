"""Designs that are read in blocks, against dense ones and least squares."""

import re
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from sparselbi import HuberRegression, OutlierRegression, ShiftProblem, shift_problem
from sparselbi import _shift_stream as module
from sparselbi._shift_design import DenseDesign, SingularFit, TooWide
from sparselbi._shift_stream import StreamedDesign
from sparselbi.selection import ScaleCut
from sparselbi.solvers import huber_path, shift_lbi_path

N, P, C = 260, 6, 3


def make(seed=0, n=N, p=P, c=C):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * rng.uniform(0.1, 10, p) + rng.uniform(-3, 3, p)
    X[rng.random((n, p)) < 0.3] = 0.0
    Y = X[:, :c] + rng.standard_normal((n, c)) + 4
    return X, Y, rng


def memory_map(X, folder, order="C"):
    file = np.memmap(folder / "X.bin", X.dtype, "w+", shape=X.shape, order=order)
    file[:] = X
    file.flush()
    return np.memmap(folder / "X.bin", X.dtype, "r", shape=X.shape, order=order)


def layouts(X, folder):
    yield "C", X
    yield "Fortran", np.asfortranarray(X)
    yield "strided", np.repeat(X, 2, axis=1)[:, ::2]
    yield "sparse", sp.csr_array(X)
    yield "blocks", (X[:7], np.asfortranarray(X[7:100]), sp.csr_array(X[100:]))
    yield "file", memory_map(X, folder)
    (folder / "F").mkdir(exist_ok=True)
    yield "Fortran file", memory_map(X, folder / "F", "F")
    yield "blocks of files", (memory_map(X, folder)[:50], X[50:])


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 rows, so that small data have several."""
    monkeypatch.setattr(module, "_BLOCK", 64)
    monkeypatch.setattr(module, "_LONG_BLOCK", 64)
    monkeypatch.setattr(module, "_GRAM_ROWS", 50)


def summary(design, coords=None):
    """Fit, residuals, leverages: what does not depend on the choice of coordinates."""
    coords = design.least_squares() if coords is None else coords
    coefs, intercepts = design.to_coefs(coords)
    return coefs, intercepts, design.residuals(coords), design.leverages()


def assert_same(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_layouts_are_the_dense_design(tmp_path, small_blocks, intercept, weighted):
    X, Y, rng = make()
    weight = rng.integers(0, 4, N).astype(float) if weighted else None
    expected = summary(DenseDesign(X, Y, weight, intercept))
    for name, layout in layouts(X, tmp_path):
        design = StreamedDesign(layout, Y, weight, intercept)
        assert design.n_coords == P + intercept, name
        assert_same(summary(design), expected, 1e-9)


def test_float32_is_close(tmp_path, small_blocks):
    X, Y, _ = make()
    single = X.astype(np.float32)
    expected = summary(DenseDesign(single, Y, None, True))
    for name, layout in layouts(single, tmp_path):
        design = StreamedDesign(layout, Y, None, True)
        assert_same(summary(design), expected, 1e-4)
        products = np.float64 if "sparse" in name or name == "blocks" else np.float32
        assert design.precision == np.finfo(products).eps


def test_integers(small_blocks):
    X = np.random.default_rng(0).integers(-5, 6, (N, P)).astype(np.int8)
    Y = X[:, :1] ** 2
    expected = summary(DenseDesign(X, Y, None, True))
    assert_same(summary(StreamedDesign(X, Y, None, True)), expected, 1e-9)


@pytest.mark.parametrize("way", ["gram", "cg"])
def test_coordinates_are_what_they_say(small_blocks, monkeypatch, way):
    X, Y, rng = make()
    if way == "cg":
        monkeypatch.setattr(module, "_DENSE_GRAM", 3)
    weight = rng.uniform(0, 2, N)
    design = StreamedDesign(sp.csr_array(X), Y, weight, True)
    assert design.way == way
    Z, targets = design.take(np.arange(N))
    gram = Z.T @ (weight[:, None] * Z)
    if way == "gram":
        np.testing.assert_allclose(gram, np.eye(P + 1), atol=1e-12)
    coords, directions = rng.standard_normal((2, P + 1, C))
    seen = np.zeros(N, dtype=int)

    def work(rows, R, D):
        seen[rows] += 1
        np.testing.assert_allclose(R, targets[rows] - Z[rows] @ coords, atol=1e-10)
        np.testing.assert_allclose(D, Z[rows] @ directions, atol=1e-10)
        return R**2

    found = design.sweep(work, coords, directions)
    expected = Z.T @ (weight[:, None] * (targets - Z @ coords) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert (seen == 1).all()
    np.testing.assert_allclose(gram @ design.solve(found), found, rtol=1e-9, atol=1e-9)
    assert not design.sweep(lambda rows, R, D: None, coords).any()
    # Coefficients of the coordinates give the same fitted values.
    coefs, intercepts = design.to_coefs(np.stack([coords, directions]))
    Y_mean = Y - targets
    np.testing.assert_allclose(
        X @ coefs[0].T + intercepts[0], Z @ coords + Y_mean, atol=1e-9
    )
    assert coefs.shape == (2, C, P)
    assert intercepts.shape == (2, C)


def test_conjugate_gradients_are_the_dense_design(small_blocks, monkeypatch):
    X, Y, rng = make()
    monkeypatch.setattr(module, "_DENSE_GRAM", 3)
    X[:, 2] = 0.0
    X[:, 4] = 7.0
    weight = rng.integers(0, 3, N).astype(float)
    design = StreamedDesign(sp.csr_array(X), Y, weight, True)
    dense = DenseDesign(X, Y, weight, True)
    assert design.n_coords == dense.n_coords == P - 1
    kept = rng.random(N) < 0.6
    for mask in (None, kept):
        found = design.to_coefs(design.least_squares(mask))
        assert_same(found, dense.to_coefs(dense.least_squares(mask)), 1e-9)
    with pytest.raises(ValueError, match="leverages of a sparse X"):
        design.leverages()


@pytest.mark.parametrize("way", ["gram", "cg"])
@pytest.mark.parametrize("weighted", [True, False])
def test_systems_of_any_number_of_columns(small_blocks, monkeypatch, way, weighted):
    X, Y, rng = make()
    if way == "cg":
        monkeypatch.setattr(module, "_DENSE_GRAM", 3)
    monkeypatch.setattr(module, "_SYSTEMS", 5)
    weight = rng.uniform(0, 2, N) if weighted else None
    design = StreamedDesign(sp.csr_array(X), Y, weight, True)
    assert design.way == way
    Z, _ = design.take(np.arange(N))
    gram = Z.T @ (Z if weight is None else weight[:, None] * Z)
    np.testing.assert_allclose(design.gram(), gram, atol=1e-12)
    np.testing.assert_allclose(design.inverse_gram() @ gram, np.eye(P + 1), atol=1e-9)
    for width in (1, 2, C, 5, 6, 13):
        scores = rng.standard_normal((P + 1, width))
        found = design.solve(scores)
        np.testing.assert_allclose(gram @ found, scores, atol=1e-9)
    np.testing.assert_allclose(
        design.solve(np.eye(P + 1)), design.inverse_gram(), atol=1e-9
    )


def test_variances_of_dependent_columns(small_blocks, monkeypatch):
    X, Y, rng = make()
    X = np.column_stack([X, X[:, 0] - 2 * X[:, 1]])
    weight = rng.uniform(0.5, 2, N)
    expected = DenseDesign(X, Y, weight, True).leverages()
    monkeypatch.setattr(module, "_DENSE_GRAM", 3)
    design = StreamedDesign(sp.csr_array(X), Y, weight, True)
    assert design.n_coords == P + 2
    Z, _ = design.take(np.arange(N))
    found = weight * np.einsum("ij,jk,ik->i", Z, design.inverse_gram(), Z)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def wide_problem(monkeypatch, X, y, **options):
    monkeypatch.setattr(module, "_DENSE_GRAM", 3)
    monkeypatch.setattr(shift_problem, "IN_MEMORY_EXACT", 0)
    problem = ShiftProblem(sp.csr_array(X), y, **options)
    assert problem.design.way == "cg"
    return problem


def test_wide_designs_from_end_to_end(small_blocks, monkeypatch):
    X, Y, rng = make()
    y = Y[:, 0]
    y[:20] += 15
    weight = rng.integers(1, 3, N).astype(float)
    models = (
        HuberRegression(),
        HuberRegression(scale="s"),
        OutlierRegression(),
        OutlierRegression("l1", selector=ScaleCut(3, "clean")),
    )
    dense = [clone(model).fit(X, y, weight) for model in models]
    wide_problem(monkeypatch, X, y)
    for model, expected in zip(models, dense, strict=True):
        model.fit(sp.csr_array(X), y, weight)
        np.testing.assert_array_equal(model.outliers_, expected.outliers_)
        np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-4)
        np.testing.assert_allclose(
            model.conf_int(), expected.conf_int(), rtol=1e-3, atol=1e-3
        )


def test_what_wide_designs_cannot_do(small_blocks, monkeypatch):
    X, Y, _ = make()
    problem = wide_problem(monkeypatch, X, Y)
    monkeypatch.setattr(module, "_MOST_COORDS", P)
    for call in (problem.design.gram, problem.design.inverse_gram):
        with pytest.raises(TooWide, match=f"{P + 1} coefficients .* standard errors"):
            call()
    assert huber_path(problem).info["gap"].max() <= 1e-6
    with pytest.raises(ValueError, match="row_factor=None"):
        ShiftProblem(sp.csr_array(X), Y, row_factor="leverage")
    swept = []
    monkeypatch.setattr(StreamedDesign, "_sweep", lambda *args: swept.append(args))
    with pytest.raises(ValueError, match=r"LBI solves .* use huber_path"):
        shift_lbi_path(problem)
    assert not swept  # no work before that


@pytest.mark.parametrize("order", ["C", "F"])
def test_threads_change_rounding_only(small_blocks, monkeypatch, order):
    X, Y, _ = make()
    X = np.array(X, order=order)
    expected = summary(StreamedDesign(X, Y, None, True))
    monkeypatch.setattr(module, "_THREADED_WORK", 0)
    monkeypatch.setattr(module, "n_blas_threads", lambda: 3)
    assert_same(summary(StreamedDesign(X, Y, None, True)), expected, 1e-12)


def test_an_error_in_a_thread_is_raised(small_blocks, monkeypatch):
    X, Y, _ = make()
    design = StreamedDesign(X, Y, None, True)
    monkeypatch.setattr(module, "_THREADED_WORK", 0)
    monkeypatch.setattr(module, "n_blas_threads", lambda: 2)

    def work(rows, R, D):
        raise RuntimeError("from work")

    with pytest.raises(RuntimeError, match="from work"):
        design.sweep(work, design.least_squares())


# ------------------------------------------------------------------ weights, responses


def test_weights_are_repeated_rows(small_blocks):
    X, Y, rng = make()
    count = rng.integers(0, 4, N)
    weighted = StreamedDesign(X, Y, count.astype(float), True)
    repeated = StreamedDesign(
        np.repeat(X, count, axis=0), np.repeat(Y, count, axis=0), None, True
    )
    assert weighted.total_weight == repeated.total_weight
    found, expected = summary(weighted), summary(repeated)
    assert_same(found[:2], expected[:2], 1e-10)
    used = count > 0
    once = np.concatenate([[0], np.cumsum(count[used])[:-1]])
    np.testing.assert_allclose(found[2][used], expected[2][once], atol=1e-10)
    per_row = found[3][used] / count[used]
    np.testing.assert_allclose(per_row, expected[3][once], atol=1e-10)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize("weighted", [True, False])
def test_codes_are_one_hot_responses(small_blocks, dtype, weighted):
    X, _, rng = make()
    codes = rng.integers(0, 5, N).astype(dtype)
    weight = rng.uniform(0, 2, N) if weighted else None
    found = StreamedDesign(X, codes, weight, True, 5)
    expected = StreamedDesign(X, np.eye(5)[codes], weight, True)
    assert_same(summary(found), summary(expected), 1e-10)
    rows = np.array([5, 200])
    one_hot = found.take(rows)[1]
    np.testing.assert_array_equal(one_hot, np.eye(5)[codes[rows]])


def test_one_hot_responses_are_never_stored():
    n, p, c = 20_000, 2, 100
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)).astype(np.float32)
    codes = rng.integers(0, c, n).astype(np.uint8)
    tracemalloc.start()
    try:
        design = StreamedDesign(X, codes, None, True, c)
        design.norms(design.least_squares())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * n * c


# ------------------------------------------------------------------------ rank, means


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array, np.asfortranarray])
def test_dependent_columns(small_blocks, layout):
    X, Y, _ = make()
    X = np.column_stack([X, X[:, 0] - 2 * X[:, 1], np.full(N, 3.0), X[:, 5] * 1e6])
    design = StreamedDesign(layout(X), Y, None, True)
    assert design.n_coords == P + 1
    coefs, intercepts = design.to_coefs(design.least_squares())
    # Of all coefficients with this fit, those of least norm.
    centred, targets = X - X.mean(axis=0), Y - Y.mean(axis=0)
    expected = np.linalg.pinv(centred, rcond=1e-10) @ targets
    np.testing.assert_allclose(X @ coefs.T + intercepts, centred @ expected + Y.mean(0))
    np.testing.assert_allclose(coefs, expected.T, atol=1e-8)
    assert (coefs[:, -2] == 0).all()


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_only_constant_columns(layout):
    X = np.tile([2.0, 0.0], (30, 1))
    y = np.arange(30.0)[:, None]
    design = StreamedDesign(layout(X), y, None, True)
    coefs, intercepts = design.to_coefs(design.least_squares())
    assert design.n_coords == 1
    assert (coefs == 0).all()
    np.testing.assert_allclose(intercepts, 14.5)


@pytest.mark.parametrize("layout", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("sign", [1, -1])
def test_timestamps(small_blocks, layout, sign):
    rng = np.random.default_rng(0)
    hour = rng.integers(0, 1000, N)
    X = np.column_stack([sign * (1.7e12 + 3.6e6 * hour), rng.standard_normal(N)])
    y = 1e9 + 0.25 * hour + rng.standard_normal(N)
    found = StreamedDesign(layout(X), y[:, None], None, True)
    small = np.column_stack([hour, X[:, 1]])
    expected = DenseDesign(small, y[:, None] - 1e9, None, True)
    coefs, _ = found.to_coefs(found.least_squares())
    slopes, _ = expected.to_coefs(expected.least_squares())
    scale = np.array([sign * 3.6e6, 1.0])
    np.testing.assert_allclose(coefs * scale, slopes, rtol=1e-9)
    a, b = (d.norms(d.least_squares()) for d in (found, expected))
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)  # y has 16 digits


def test_float32_with_a_large_mean(small_blocks):
    rng = np.random.default_rng(0)
    X = (rng.integers(0, 256, (N, 4)) + 2.0**20).astype(np.float32)  # exact
    y = (X - 2.0**20) @ [1.0, -1, 2, 0.5] + rng.standard_normal(N)
    design = StreamedDesign(X, y[:, None], None, True)
    centred = X.astype(float) - 2.0**20
    expected = DenseDesign(centred, y[:, None], None, True)
    a, b = (d.norms(d.least_squares()) for d in (design, expected))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_rows_that_the_fit_says_nothing_about(small_blocks):
    X, Y, _ = make()
    X = np.column_stack([X, X[:, 0] + X[:, 1], np.ones(N)])
    weight = np.ones(N)
    weight[[3, 90, 130]] = 0
    X[3, -2] += 1  # no longer the sum
    X[130, -1] = 2  # no longer constant
    for layout in (X, sp.csr_array(X)):
        design = StreamedDesign(layout, Y, weight, True)
        np.testing.assert_array_equal(np.flatnonzero(design.undetermined), [3, 130])


# -------------------------------------------------------------------- least squares


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("weighted", [True, False])
def test_least_squares_of_some_rows(small_blocks, share, weighted):
    X, Y, rng = make()
    weight = rng.integers(0, 3, N).astype(float) if weighted else None
    kept = rng.random(N) < share
    design = StreamedDesign((X[:50], X[50:]), Y, weight, True)
    coefs, intercepts = design.to_coefs(design.least_squares(kept))
    root = np.sqrt(np.ones(N) if weight is None else weight)[kept, None]
    full = np.column_stack([np.ones(N), X])[kept]
    expected = np.linalg.lstsq(root * full, root * Y[kept], rcond=None)[0]
    np.testing.assert_allclose(coefs.T, expected[1:], atol=1e-10)
    np.testing.assert_allclose(intercepts, expected[0], atol=1e-10)


@pytest.mark.parametrize("n_extra", [0, 100])
def test_rows_that_do_not_determine_a_fit(small_blocks, n_extra):
    X, Y, _ = make()
    X[:, 3] = 0.0
    X[:5, 3] = 1.0
    design = StreamedDesign(X, Y, None, True)
    kept = np.ones(N, dtype=bool)
    kept[:5] = False
    kept[5 + n_extra :] = n_extra == 0
    with pytest.raises(SingularFit, match=f"the {kept.sum()} rows"):
        design.least_squares(kept)
    kept[:] = False
    kept[:4] = True
    with pytest.raises(SingularFit, match="the 4 rows"):
        design.least_squares(kept)


def test_rounding_of_a_perfect_fit(small_blocks):
    X, _, rng = make()
    for dtype in (np.float64, np.float32):
        data = X.astype(dtype)
        Y = data.astype(float) @ rng.standard_normal((P, 2)) + 1e4
        design = StreamedDesign(data, Y, None, True)
        left = np.sqrt((design.residuals(design.least_squares()) ** 2).sum(axis=0))
        assert (left <= design.rounding).all()
        size = np.linalg.norm(Y - Y.mean(axis=0), axis=0)
        lost = 1e4 * np.sqrt(N) * np.finfo(float).eps  # of the mean
        assert (design.rounding < 100 * (np.finfo(dtype).eps * size + lost)).all()


# ----------------------------------------------------------------------------- errors


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("way", ["gram", "cg"])
def test_values_that_are_not_finite(small_blocks, monkeypatch, bad, way):
    X, Y, _ = make()
    X[170, 4] = bad
    wide = way == "cg"
    monkeypatch.setattr(module, "_DENSE_GRAM", 3 if wide else 5000)
    layout = sp.csr_array(X) if wide else X
    text = re.escape(f"X contains {bad} in row 170, column 4")
    with pytest.raises(ValueError, match=text):
        StreamedDesign(layout, Y, None, True)
    text = f"X contains {bad} in row 70 of the block that begins at row 100, column 4"
    with pytest.raises(ValueError, match=re.escape(text)):
        StreamedDesign((layout[:100], layout[100:]), Y, None, True)


def test_responses_that_are_not_finite():
    X, Y, _ = make()
    Y[33, 1] = np.nan
    with pytest.raises(ValueError, match="y contains nan in row 33"):
        StreamedDesign(X, Y, None, True)
    Y[33, 1] = 1e200
    with pytest.raises(ValueError, match="overflow"):
        StreamedDesign(X, Y, None, True)


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_out_of_range(code):
    X, _, _ = make()
    codes = np.zeros(N, dtype=int)
    codes[9] = code
    with pytest.raises(ValueError, match=rf"code {code}; with n_classes=4 .* \[0, 3\]"):
        StreamedDesign(X, codes, None, True, 4)
