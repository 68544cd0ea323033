"""The irrepresentable condition of Split LBI, from its definitions; entry times."""

import numpy as np
import pytest

from sparselbi import Problem
from sparselbi.penalties.transforms import differences, graph_incidence, identity, stack
from sparselbi.selection import irrepresentable_condition
from sparselbi.selection.split_consistency import (
    nu_study,
    row_auc,
    split_irrepresentable_condition,
)
from sparselbi.solvers import iss_path
from sparselbi.solvers.split_lbi import split_iss_path, split_lbi_path
from tests.common import make_data

# A ring of eight with two chords.
CYCLES = np.diag(np.ones(7), 1) + np.diag([1.0, 2.0], 6) + np.diag([1.0], 7)
FUSED_COEF = np.array([0.0, 0.0, 2.0, 2.0, 2.0, 0.0, 0.0, 1.0])


def fused(p=8):
    return stack(differences(p), identity(p))


def make_problem(n=60, p=8, seed=0, **options):
    rng = np.random.default_rng(seed)
    options = {"standardize": False, **options}
    return Problem(rng.normal(size=(n, p)), rng.normal(size=n), **options)


def gram(problem):
    X = problem.columns(np.arange(problem.n_features))
    return X.T @ X


def sigma(problem, D, nu_raw):
    """The reduced Gram matrix by its formula."""
    D = D.to_dense()
    inverse = np.linalg.pinv(nu_raw * gram(problem) + D.T @ D)
    return np.eye(len(D)) - D @ inverse @ D.T


def ratio(S, Sigma, outside):
    return Sigma[np.ix_(outside, S)] @ np.linalg.inv(Sigma[np.ix_(S, S)])


def null_space(A):
    _, size, right = np.linalg.svd(A)
    return right[int((size > 1e-10).sum()) :].T


def generalized_lasso_condition(problem, D, S):
    """Omega of IC_0 by its formula."""
    D, H = D.to_dense(), gram(problem)
    outside = np.setdiff1d(np.arange(len(D)), S)
    U = null_space(D[outside])
    middle = H @ U @ np.linalg.pinv(U.T @ H @ U) @ U.T - np.eye(len(H))
    return np.linalg.pinv(D[outside].T) @ middle @ D[S].T


# Full row rank, more rows than columns, a graph with cycles, few samples.
CASES = {
    "line": (lambda: differences(8), 60),
    "fused": (fused, 60),
    "cycles": (lambda: graph_incidence(CYCLES + CYCLES.T), 60),
    "n < p": (fused, 6),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_values_are_those_of_the_definition(case, fit_intercept):
    make, n = CASES[case]
    problem, D = make_problem(n, fit_intercept=fit_intercept), make()
    grid = [1e-3, 0.1, 1.0, 50.0, 1e4]
    found = split_irrepresentable_condition(problem, D, coef=FUSED_COEF, nu_raw=grid)
    np.testing.assert_array_equal(
        found.support, np.flatnonzero(np.abs(D.dot(FUSED_COEF)) > 1e-9)
    )
    np.testing.assert_array_equal(
        found.signs, np.sign(D.dot(FUSED_COEF)[found.support])
    )
    np.testing.assert_allclose(found.nu_raw, grid)
    S = found.support
    for i, nu in enumerate(grid):
        Sigma = sigma(problem, D, nu)
        block = ratio(S, Sigma, found.outside)
        np.testing.assert_allclose(
            found.values[i], np.abs(block).sum(axis=1), rtol=1e-8, atol=1e-11
        )
        np.testing.assert_allclose(
            found.signed_values[i], np.abs(block @ found.signs), rtol=1e-8, atol=1e-11
        )
        assert found.value[i] == found.values[i].max()
        smallest = np.linalg.eigvalsh(Sigma[np.ix_(S, S)])[0] / nu
        np.testing.assert_allclose(found.min_eigenvalue[i], smallest, rtol=1e-8)
    np.testing.assert_array_equal(found.holds, found.value < 1)
    assert "these signs" in repr(found)


@pytest.mark.parametrize("case", CASES)
def test_small_nu_is_the_generalized_lasso(case):
    make, n = CASES[case]
    problem, D = make_problem(n), make()
    found = split_irrepresentable_condition(
        problem, D, coef=FUSED_COEF, nu=[0, 1e-7, 1e-3]
    )
    Omega = generalized_lasso_condition(problem, D, found.support)
    np.testing.assert_allclose(found.value[0], np.abs(Omega).sum(axis=1).max())
    np.testing.assert_allclose(
        found.signed_value[0], np.abs(Omega @ found.signs).max(), rtol=1e-9
    )
    np.testing.assert_allclose(found.values[1], found.values[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        found.min_eigenvalue[1], found.min_eigenvalue[0], rtol=1e-4
    )


def test_large_nu_depends_on_the_kernel_of_X():
    nu = [*np.geomspace(1e-4, 1e4, 30), np.inf]
    for case in ("line", "fused"):
        D = CASES[case][0]()
        found = split_irrepresentable_condition(
            make_problem(), D, coef=FUSED_COEF, nu=nu
        )
        assert (np.diff(found.value) < 0).all()
        assert found.value[-1] < 1e-12
        assert found.holds[-1]
    # X ignores directions that D sees: the limit is that of D on the kernel of X.
    problem, D = make_problem(6), fused()
    found = split_irrepresentable_condition(
        problem, D, coef=FUSED_COEF, nu=[1e8, np.inf]
    )
    image = np.linalg.qr(D.to_dense() @ null_space(gram(problem)))[0]
    block = ratio(found.support, np.eye(15) - image @ image.T, found.outside)
    np.testing.assert_allclose(found.values[1], np.abs(block).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(found.values[0], found.values[1], rtol=1e-5)
    assert found.value[1] > 0.1


@pytest.mark.parametrize("standardize", [True, False])
def test_identity_at_nu_zero_is_the_condition_of_the_lasso(standardize):
    X, y, w = make_data(n=50)
    options = {"standardize": standardize, "sample_weight": w}
    problem = Problem(X, y, **options)
    factor = np.linspace(0.5, 2, 12)
    factor[[8, 10]] = 0, np.inf
    weighted = Problem(X, y, penalty_factor=factor, **options)
    for reference, row_weight in ((problem, None), (weighted, factor)):
        found = split_irrepresentable_condition(
            problem, None, [0, 5, 3], nu=0, signs=[1, -2, 1], row_weight=row_weight
        )
        plain = irrepresentable_condition(reference, [0, 5, 3])
        signed = irrepresentable_condition(reference, [0, 5, 3], [1, -1, 1])
        np.testing.assert_array_equal(found.outside, plain.outside)
        np.testing.assert_allclose(found.values[0], plain.values, rtol=1e-9)
        np.testing.assert_allclose(found.signed_values[0], signed.values, rtol=1e-9)
        np.testing.assert_allclose(found.min_eigenvalue[0], plain.min_eigenvalue)


def test_free_rows_are_rows_that_are_not_there():
    problem, D = make_problem(), fused()
    weight = np.ones(15)
    weight[[0, 9]] = 0
    S = np.array([1, 4, 10, 11])
    kept = np.flatnonzero(weight)
    nu_raw = [0.0, 0.3, 5.0]
    whole = split_irrepresentable_condition(
        problem, D, S, nu_raw=nu_raw, row_weight=weight
    )
    part = split_irrepresentable_condition(
        problem,
        D.row_subset(weight > 0),
        np.searchsorted(kept, S),
        nu_raw=nu_raw,
    )
    np.testing.assert_array_equal(kept[part.outside], whole.outside)
    np.testing.assert_allclose(whole.values, part.values, rtol=1e-8)
    np.testing.assert_allclose(whole.min_eigenvalue, part.min_eigenvalue, rtol=1e-8)


def test_units_do_not_matter():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40, 8))
    D = fused()
    one, other = (
        split_irrepresentable_condition(
            Problem(a * X, X[:, 0], standardize=False),
            b * D.to_dense(),
            coef=FUSED_COEF,
        )
        for a, b in ((1.0, 1.0), (1e3, 1e-2))
    )
    np.testing.assert_array_equal(one.nu, other.nu)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-7, atol=1e-12)
    finite = np.isfinite(one.nu)
    np.testing.assert_allclose(other.nu_raw[finite], 1e-10 * one.nu_raw[finite])


def test_the_condition_predicts_the_first_entries():
    """Noiseless: with eta > 0 no false row enters before all true ones are in."""
    held = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(30, 8))
        problem = Problem(X, X @ FUSED_COEF, standardize=False)
        for nu_raw in (0.1, 10.0):
            found = split_irrepresentable_condition(
                problem, fused(), coef=FUSED_COEF, nu_raw=nu_raw
            )
            path = split_iss_path(problem, fused(), nu_raw=nu_raw)
            if found.holds[0]:
                assert row_auc(path, found.support) == 1.0
            held.append(bool(found.holds[0]))
    assert 0 < sum(held) < len(held)


def test_bad_arguments():
    problem, D = make_problem(), fused()
    check = split_irrepresentable_condition
    with pytest.raises(ValueError, match="either support .* or coef"):
        check(problem, D)
    with pytest.raises(ValueError, match="either support .* or coef"):
        check(problem, D, [1], coef=FUSED_COEF)
    with pytest.raises(ValueError, match="either nu or nu_raw"):
        check(problem, D, [1], nu=1.0, nu_raw=1.0)
    for nu in (-1.0, [1.0, np.nan], []):
        with pytest.raises(ValueError, match="must be numbers >= 0"):
            check(problem, D, [1], nu=nu)
    with pytest.raises(ValueError, match="D @ coef is zero"):
        check(problem, "differences", coef=np.ones(8))
    with pytest.raises(ValueError, match=r"coef has shape \(7,\)"):
        check(problem, D, coef=np.ones(7))
    with pytest.raises(ValueError, match="signs are those of D @ coef"):
        check(problem, D, coef=FUSED_COEF, signs=[1.0])
    with pytest.raises(ValueError, match="one nonzero number for each of the 2"):
        check(problem, D, [1, 4], signs=[1.0, 0.0])
    with pytest.raises(ValueError, match="outside of 0 to 14"):
        check(problem, D, [15])
    with pytest.raises(ValueError, match="no D @ coef has this support"):
        check(problem, D, [1])
    with pytest.raises(ValueError, match="are free .* or barred"):
        check(problem, "differences", [1], row_weight=[1, 0, 1, 1, 1, 1, 1])
    with pytest.raises(ValueError, match="not identified"):
        check(make_problem(3), None, [0, 1, 2, 3])
    X, y, _ = make_data("logistic")
    with pytest.raises(ValueError, match="loss='squared'"):
        check(Problem(X, y, "logistic"), None, [0])
    big = Problem(np.eye(10_000), np.arange(10_000.0), fit_intercept=False)
    with pytest.raises(ValueError, match="dense matrices"):
        check(big, "differences", [1])


# ------------------------------------------------------------------------ entry times


def brute_auc(entry, true):
    entry = np.where(np.isnan(entry), np.inf, entry)
    first, second = entry[true][:, None], entry[~true]
    return np.mean((first < second) + 0.5 * (first == second))


def test_auc_counts_pairs():
    X, y, _ = make_data(n=40)
    problem = Problem(X, y, standardize=False)
    true = np.zeros(23, dtype=bool)
    true[[0, 1, 5, 11, 14]] = True
    for path in (
        split_lbi_path(problem, fused(12), nu=1.0, t_max=3.0),
        split_iss_path(problem, fused(12), max_rows=6),
    ):
        entry = path.split.entry_knots()
        assert np.isnan(entry).sum() > 2
        expected = brute_auc(entry, true)
        assert row_auc(path, true) == pytest.approx(expected, abs=1e-14)
        assert row_auc(path, np.flatnonzero(true)) == row_auc(path, true)
        assert row_auc(path, ~true) == pytest.approx(1 - expected, abs=1e-14)
    plain = iss_path(problem)
    assert row_auc(plain, [0, 1]) == pytest.approx(
        brute_auc(plain.entry_knots(), np.arange(12) < 2)
    )


def test_auc_of_nothing_is_refused():
    X, y, _ = make_data(n=40)
    path = iss_path(Problem(X, y))
    with pytest.raises(ValueError, match="nonempty list of distinct rows"):
        row_auc(path, np.zeros(12, dtype=bool))
    with pytest.raises(ValueError, match="all 12 rows are true"):
        row_auc(path, np.ones(12, dtype=bool))


def test_nu_study_traces_with_common_settings():
    X, y, _ = make_data(n=40)
    problem = Problem(X, y, standardize=False)
    paths = nu_study(problem, fused(12), [0.5, 5.0], kappa=5.0, n_knots=12)
    for path, nu in zip(paths, (0.5, 5.0), strict=True):
        expected = split_lbi_path(problem, fused(12), nu=nu, kappa=5.0, n_knots=12)
        np.testing.assert_array_equal(path.coefs, expected.coefs)
        assert path.nu == nu
        assert path.refit_deviance is not None
    exact = nu_study(problem, fused(12), [2.0], kappa=np.inf)
    assert [path.method for path in exact] == ["split_iss"]
