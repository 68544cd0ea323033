"""Robust scales against their equations, quadrature and other libraries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from sparselbi.scales import (
    bisquare_tuning,
    huber_constant,
    huber_efficiency,
    huber_tuning,
    mad_scale,
    proposal2_scale,
    s_scale,
)

RESIDUALS = np.array([0.3, -1.2, 0.05, 2.4, -0.7, 8.0, -0.4, 1.1, 0.9, -15.0])
SCALES = {
    "mad": lambda r, w, df, c: mad_scale(r, w, c),
    "proposal2": lambda r, w, df, c: proposal2_scale(r, 1.5, df, w, c),
    "s": lambda r, w, df, c: s_scale(r, df, w, c),
}


def bisquare(u):
    return 1 - np.maximum(1 - np.square(u), 0.0) ** 3


def mean_of(function, c, kinks=()):
    """E function(chi_c), by quadrature."""
    ends = [0.0, *kinks, 40.0]
    parts = [
        integrate.quad(
            lambda x: function(x) * stats.chi.pdf(x, c), low, high, epsabs=1e-13
        )[0]
        for low, high in zip(ends, ends[1:], strict=False)
    ]
    return sum(parts)


# ------------------------------------------------------------------------- constants


@pytest.mark.parametrize(
    ("k", "constant", "efficiency"),
    # 2[Phi(k) - 1/2 - k phi(k)] + 2 k^2 (1 - Phi(k)); Huber and Ronchetti (2009).
    [
        (1.345, 0.71016, 0.950),
        (1.5, 0.77847, 0.964),
        (2.0, 0.92054, 0.990),
        (2.5, 0.97756, 0.998),
    ],
)
def test_published_constants_of_one_response(k, constant, efficiency):
    phi, Phi = stats.norm.pdf(k), stats.norm.cdf(k)
    closed = 2 * (Phi - 0.5 - k * phi) + 2 * k**2 * (1 - Phi)
    assert huber_constant(k) == pytest.approx(closed, rel=1e-13)
    assert round(huber_constant(k), 5) == constant
    assert round(huber_efficiency(k), 3) == efficiency


def test_usual_tuning_constants():
    # 1.345 and 1.547 (Rousseeuw and Yohai 1984), 2.937 for 25 %: the usual tables.
    assert round(huber_tuning(0.95), 3) == 1.345
    assert round(bisquare_tuning(), 4) == 1.5476
    assert round(bisquare_tuning(0.25), 3) == 2.937


@pytest.mark.parametrize("c", [1, 2, 3, 10, 200])
@pytest.mark.parametrize("k", [0.3, 1.345, 4.0, 15.0])
def test_constants_by_quadrature(c, k):
    squared = mean_of(lambda x: min(x, k) ** 2, c, [k])
    assert huber_constant(k, c) == pytest.approx(squared, rel=1e-9)
    # Divergence of psi: c inside, k (c - 1) / |r| outside.
    slope = mean_of(lambda x: c if x <= k else k * (c - 1) / x, c, [k]) / c
    efficiency = c * slope**2 / squared
    assert huber_efficiency(k, c) == pytest.approx(efficiency, rel=1e-8)


@pytest.mark.parametrize("c", [1, 2, 5, 50])
@pytest.mark.parametrize("breakdown", [0.1, 0.25, 0.5])
def test_bisquare_is_consistent(c, breakdown):
    b = bisquare_tuning(breakdown, c)
    mean = mean_of(lambda x: bisquare(x / b), c, [b])
    assert mean == pytest.approx(breakdown, rel=1e-9)


@pytest.mark.parametrize("c", [1, 2, 5, 40])
def test_efficiency_grows_from_that_of_the_median_to_one(c):
    k = np.linspace(1e-6, 4 + np.sqrt(c), 60)
    values = np.array([huber_efficiency(x, c) for x in k])
    assert (np.diff(values) > -1e-14).all()
    # Of the spatial median: (c - 1)^2 E(1/chi_c)^2 / c; of the median, 2 / pi.
    inverse = mean_of(lambda x: 1 / x if x else 0.0, c) if c > 1 else 0.0
    lowest = 2 / np.pi if c == 1 else (c - 1) ** 2 * inverse**2 / c
    assert values[0] == pytest.approx(lowest, rel=1e-5)
    assert values[-1] == pytest.approx(1.0, abs=1e-3)
    for wanted in (lowest + 0.1 * (1 - lowest), 0.999):
        assert huber_efficiency(huber_tuning(wanted, c), c) == pytest.approx(wanted)


# ----------------------------------------------------------------------------- scales


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("name", SCALES)
def test_consistent_at_the_normal(name, c):
    n = 20_000
    r = 3.0 * stats.chi.ppf((np.arange(n) + 0.5) / n, c)
    assert SCALES[name](r, None, n, c) == pytest.approx(3.0, rel=1e-3)


def test_other_libraries():
    # statsmodels 0.15.0: mad(r, center=0), HuberScale(d, tol=1e-14)(df=8, nobs=10, r).
    assert mad_scale(RESIDUALS) == pytest.approx(1.482602218505602, rel=1e-12)
    expected = stats.median_abs_deviation(RESIDUALS, center=lambda r, axis: 0.0)
    assert mad_scale(RESIDUALS) == pytest.approx(expected * 1.482602218505602)
    for d, scale in ((2.5, 6.18289195144709), (1.5, 2.401304692369573)):
        assert proposal2_scale(RESIDUALS, d, 8) == pytest.approx(scale, rel=1e-10)


@pytest.mark.parametrize("c", [1, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_scales_solve_their_equations(c, weighted):
    rng = np.random.default_rng(c)
    for _ in range(20):
        n = rng.integers(5, 60)
        r = np.abs(rng.standard_t(1.5, n)) * 10.0 ** rng.integers(-9, 9)
        w = rng.uniform(0, 3, n) if weighted else np.ones(n)
        df = w.sum() - 2
        s = proposal2_scale(r, 1.2, df, w if weighted else None, c)
        left = w @ np.minimum(r / s, 1.2) ** 2
        assert left == pytest.approx(df * huber_constant(1.2, c), rel=1e-10)
        for breakdown in (0.5, 0.2):
            s = s_scale(r, df, w if weighted else None, c, breakdown)
            left = w @ bisquare(r / (s * bisquare_tuning(breakdown, c)))
            assert left == pytest.approx(df * breakdown, rel=1e-10)


@given(
    st.lists(st.integers(0, 3), min_size=6, max_size=12).filter(lambda w: sum(w) > 3),
    st.sampled_from(sorted(SCALES)),
    st.integers(0, 10**6),
)
def test_weight_is_a_number_of_repetitions(weights, name, seed):
    r = np.random.default_rng(seed).standard_cauchy(len(weights))
    w = np.array(weights, dtype=float)
    df = w.sum() - 1
    repeated = SCALES[name](np.repeat(r, weights), None, df, 1)
    assert SCALES[name](r, w, df, 1) == pytest.approx(repeated, rel=1e-10)


@given(st.sampled_from(sorted(SCALES)), st.floats(1e-150, 1e150), st.integers(1, 4))
def test_units(name, factor, c):
    plain = SCALES[name](RESIDUALS, None, 8, c)
    assert SCALES[name](factor * RESIDUALS, None, 8, c) == pytest.approx(
        factor * plain, rel=1e-9
    )


@pytest.mark.parametrize("name", SCALES)
def test_arbitrary_rows_do_not_move_it_far(name):
    r = np.concatenate([np.linspace(0.5, 1.5, 60), np.full(40, 1e300)])
    scale = SCALES[name](r, None, 100, 1)
    assert 0.5 < scale < (4 if name != "proposal2" else np.inf)
    assert np.isfinite(scale)


@pytest.mark.parametrize("name", SCALES)
def test_most_rows_fitted_exactly(name):
    for r in ([0.0] * 7 + [1.0, 5.0, 1e9], [0.0] * 10):
        assert SCALES[name](r, None, 10, 1) == 0.0
    tiny = SCALES[name]([1e-280] * 7 + [1.0, 5.0, 1e9], None, 10, 1)
    assert 0 < tiny < 1e-200


def test_where_exact_fits_begin():
    # rho is 1 at once for rows that are not fitted: 0 up to df / 2 of them.
    assert s_scale([0, 0, 0, 1.0, 1.0], 4) == 0.0
    assert s_scale([0, 0, 1.0, 1.0, 1.0], 4) > 0.0
    assert s_scale([0, 0, 0, 1.0, 1.0], 4, [1, 1, 0.9, 1, 1]) == 0.0
    assert s_scale([0, 0, 0, 1.0, 1.0], 3.9) > 0.0
    assert mad_scale([0.0, 0.0, 1.0, 1.0]) == pytest.approx(0.5 * 1.482602218505602)
    # Weight 1 > 10 kappa / k^2 is needed beyond 0; with k = 5, kappa is about 1.
    assert proposal2_scale([0.0] * 9 + [1.0], 5.0, 10) > 0.0
    assert proposal2_scale([0.0] * 9 + [1.0], 2.0, 10) == 0.0


def test_ties_and_single_rows():
    for r in ([2.0], [2.0] * 7):
        n = len(r)
        assert mad_scale(r) == pytest.approx(2 * 1.482602218505602)
        assert proposal2_scale(r, 1.5, n) == pytest.approx(
            2 / np.sqrt(huber_constant(1.5))
        )
        u = 2 / (s_scale(r, n) * bisquare_tuning())
        assert bisquare(u) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mad_scale([[1.0, 2.0]]), "norms.*shape"),
        (lambda: mad_scale([]), "norms"),
        (lambda: mad_scale([1.0, np.nan]), "1 numbers that are not finite"),
        (lambda: mad_scale([1.0, 2.0], [1.0]), "weight has shape"),
        (lambda: mad_scale([1.0, 2.0], [0.0, 0.0]), "weight must be"),
        (lambda: mad_scale([1.0, 2.0], [1.0, -1.0]), "weight must be"),
        (lambda: mad_scale([1.0, 2.0], n_outputs=0), "n_outputs=0"),
        (lambda: s_scale([1.0, 2.0], 0), "df=0"),
        (lambda: s_scale([1.0, 2.0], 2, breakdown=0.7), "breakdown=0.7"),
        (lambda: proposal2_scale([1.0, 2.0], -1.0, 2), "k=-1.0"),
        (lambda: proposal2_scale([1.0, 2.0], 1.345, np.inf), "df=inf"),
        (lambda: huber_tuning(0.6), "above 0.6366"),
        (lambda: huber_tuning(1.0), "efficiency=1.0"),
        (lambda: huber_tuning(0.95, 10), "above 0.9513"),
        (lambda: bisquare_tuning(0.0), "breakdown=0.0"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
