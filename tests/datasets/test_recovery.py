"""Noiseless measurements: the operators, the truth, and who finds it."""

import pickle

import numpy as np
import pytest
import scipy.fft
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, minimize

from sparselbi import Problem, iss_path, lbi_path
from sparselbi.datasets import make_compressed_patch, make_noiseless

DESIGNS = ["gaussian", "bernoulli", "orthogonal", "dct"]


def problem_of(data):
    return Problem(data.X, data.y, fit_intercept=False, standardize=False)


def basis_pursuit(X, y):
    p = X.shape[1]
    result = linprog(np.ones(2 * p), A_eq=np.hstack([X, -X]), b_eq=y, bounds=(0, None))
    assert result.status == 0
    return result.x[:p] - result.x[p:]


# --- operators and truth ---


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("signal", ["signs", "gaussian"])
def test_equations_hold_and_the_truth_is_sparse(design, signal):
    data = make_noiseless(20, 50, 6, design=design, signal=signal, random_state=0)
    assert data.X.shape == (20, 50)
    assert_array_equal(data.y, data.X @ data.coef)
    assert_array_equal(data.support, np.flatnonzero(data.coef))
    assert data.support.size == 6
    if signal == "signs":
        assert_array_equal(np.abs(data.coef[data.support]), 1.0)


@pytest.mark.parametrize("design", DESIGNS)
def test_entries_have_mean_square_one(design):
    X = make_noiseless(150, 200, 0, design=design, random_state=1).X
    # 30000 entries, standard deviation of a squared normal: sqrt(2)
    assert_allclose(np.mean(X**2), 1.0, atol=0.03)


@pytest.mark.parametrize("design", ["orthogonal", "dct"])
def test_orthogonal_rows(design):
    X = make_noiseless(30, 40, 3, design=design, random_state=2).X
    assert_allclose(X @ X.T, 40 * np.eye(30), atol=1e-12 * 40)


def test_dct_rows_are_those_of_the_transform():
    full = np.sqrt(24) * scipy.fft.dct(np.eye(24), axis=0, norm="ortho")
    X = make_noiseless(24, 24, 1, design="dct", random_state=0).X
    assert_allclose(X, full, atol=1e-12)
    X = make_noiseless(7, 24, 1, design="dct", random_state=0).X
    picked = [np.flatnonzero(np.isclose(full, row).all(axis=1)) for row in X]
    assert all(len(match) == 1 for match in picked)
    assert (np.diff(np.concatenate(picked)) > 0).all()


@pytest.mark.parametrize("design", DESIGNS)
def test_seeds(design):
    def draw(seed):
        return make_noiseless(10, 30, 4, design=design, random_state=seed)

    data, again, other = draw(5), draw(5), draw(6)
    assert_array_equal(data.X, again.X)
    assert_array_equal(data.coef, again.coef)
    assert not np.array_equal(data.X, other.X)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        ({"n_samples": 10.0}, TypeError, "n_samples must be an integer"),
        ({"n_nonzero": -1}, ValueError, "n_nonzero must be at least 0"),
        ({"n_nonzero": 129}, ValueError, "at most n_features=128, got 129"),
        ({"design": "fourier"}, ValueError, "'orthogonal', 'dct', got 'fourier'"),
        ({"signal": "flat"}, ValueError, "signal must be one of 'signs'"),
        ({"n_samples": 129, "design": "dct"}, ValueError, "n_samples must be at most"),
        ({"n_samples": 129, "design": "orthogonal"}, ValueError, 'design="gaussian"'),
    ],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        make_noiseless(**arguments)


# --- who finds it ---


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("n_nonzero", [3, 12])  # recovered; far too many
def test_iss_ends_at_the_least_l1_norm(design, n_nonzero):
    for seed in range(5):
        data = make_noiseless(
            *(20, 40, n_nonzero),
            design=design,
            # Signs on a design of signs or cosines can have several solutions.
            signal="gaussian",
            random_state=seed,
        )
        path = iss_path(problem_of(data))
        assert path.status == "least_squares"
        pursuit = basis_pursuit(data.X, data.y)
        assert_allclose(path.coef(-1), pursuit, atol=1e-8 * np.abs(pursuit).max())


@pytest.mark.parametrize("design", DESIGNS)
def test_sparse_truth_is_recovered(design):
    for seed in range(5):
        data = make_noiseless(40, 80, 5, design=design, random_state=seed)
        path = iss_path(problem_of(data))
        assert_allclose(path.coef(-1), data.coef, atol=1e-10)


@pytest.mark.parametrize("n_samples", [14, 30])
def test_right_signs_anywhere_are_the_end(n_samples):
    """With the true signs ISS is the least-squares fit on them, which is exact."""
    for seed in range(10):
        data = make_noiseless(n_samples, 60, 4, random_state=seed)
        path = iss_path(problem_of(data))
        right = (np.sign(path.coefs) == np.sign(data.coef)).all(axis=1)
        assert not right[:-1].any()
        assert right[-1] == np.allclose(path.coef(-1), data.coef, atol=1e-8)


def test_more_equations_than_unknowns():
    data = make_noiseless(60, 20, 5, random_state=0)
    assert_allclose(iss_path(problem_of(data)).coef(-1), data.coef, atol=1e-12)


def test_nothing_to_recover():
    data = make_noiseless(10, 20, 0, random_state=0)
    path = iss_path(problem_of(data))
    assert path.status == "null"
    assert_array_equal(path.coef(-1), np.zeros(20))


@pytest.mark.parametrize("kappa_raw", [0.3, 1.0, 200.0])
def test_lbi_ends_at_the_regularized_least_norm(kappa_raw):
    """At its end LBI minimizes ||x||_1 + ||x||^2 / (2 kappa_raw), subject to A x = y.

    Its dual, min kappa/2 ||shrink(A'v)||^2 - y'v with x = kappa shrink(A'v), is smooth.
    """
    data = make_noiseless(20, 40, 4, random_state=2)
    X, y = data.X, data.y

    def coef_of(v):
        z = X.T @ v
        return kappa_raw * np.sign(z) * np.maximum(np.abs(z) - 1, 0)

    def dual(v):
        x = coef_of(v)
        return x @ x / (2 * kappa_raw) - y @ v, X @ x - y

    options = {"gtol": 1e-9, "ftol": 0.0, "maxiter": 10_000}
    best = minimize(dual, np.zeros(20), jac=True, method="L-BFGS-B", options=options)
    path = lbi_path(problem_of(data), kappa_raw=kappa_raw, t_max=60 + 3000 / kappa_raw)
    assert_allclose(path.coef(-1), coef_of(best.x), atol=1e-6)
    # and only a large kappa makes that the truth
    exact = np.allclose(path.coef(-1), data.coef, atol=1e-6)
    assert exact == (kappa_raw == 200.0)


# --- image patches ---


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(0, 255, (24, 30))


@pytest.mark.parametrize("design", ["gaussian", "bernoulli", "orthogonal"])
def test_measurements_are_those_of_the_patch(image, design):
    data = make_compressed_patch(
        image, 20, top=3, left=10, size=8, design=design, random_state=0
    )
    assert data.X.shape == (20, 64)
    assert_array_equal(data.patch, image[3:11, 10:18])
    assert_allclose(data.to_patch(data.coef), data.patch, rtol=1e-12)
    assert_allclose(data.X @ data.coef, data.y, rtol=1e-10)
    assert_allclose(data.coef[0], 8 * data.patch.mean(), rtol=1e-12)
    # An image of one coefficient is measured by one column.
    pixels = data.to_patch(np.eye(64)).reshape(64, 64)
    weights = data.X @ pixels  # pixels @ pixels.T is the identity
    assert_allclose(weights @ data.patch.ravel(), data.y, rtol=1e-10)


def test_all_measurements_determine_the_patch(image):
    data = make_compressed_patch(image, 64, size=8, random_state=1)
    assert_allclose(data.X @ data.X.T, 64 * np.eye(64), atol=1e-10)
    path = iss_path(problem_of(data))
    assert_allclose(data.to_patch(path.coef(-1)), data.patch, atol=1e-8)
    assert data.to_patch(path.coefs).shape == (len(path), 8, 8)


def test_patch_is_a_copy_and_pickles(image):
    data = pickle.loads(pickle.dumps(make_compressed_patch(image, 5, size=8)))
    assert_allclose(data.to_patch(data.coef), data.patch)
    data.patch[:] = 0.0
    assert image[0, 0] > 0.0


def test_sparse_patch_is_recovered():
    coef = np.zeros((16, 16))
    coef[:3, :3] = np.random.default_rng(1).uniform(50, 100, (3, 3))
    image = scipy.fft.idctn(coef, norm="ortho")
    data = make_compressed_patch(image, 60, size=16, random_state=0)
    path = iss_path(problem_of(data))
    assert_allclose(data.to_patch(path.coef(-1)), image, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"image": np.zeros((4, 4, 3))}, ValueError, r"image\.mean\(axis=2\)"),
        ({"image": np.full((8, 8), np.nan)}, ValueError, "image must be finite"),
        ({"top": 20}, ValueError, r"top \+ size must be at most 24"),
        ({"left": 23}, ValueError, r"left \+ size must be at most 30"),
        ({"left": -1}, ValueError, "left must be at least 0"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"design": "dct"}, ValueError, "design must be one of"),
        ({"n_measurements": 65}, ValueError, "n_measurements must be at most 64"),
    ],
)
def test_bad_patches(image, arguments, error, words):
    arguments = {"image": image, "n_measurements": 10, "size": 8} | arguments
    with pytest.raises(error, match=words):
        make_compressed_patch(**arguments)


def test_wrong_number_of_coefficients(image):
    data = make_compressed_patch(image, 10, size=8, random_state=0)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 64\)"):
        data.to_patch(np.zeros(63))
