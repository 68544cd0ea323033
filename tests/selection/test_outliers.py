"""Rules about where outliers end, recomputed from the data."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sparselbi.scales import radial_cut, truncated_variance
from sparselbi.selection import outliers
from sparselbi.selection.outliers import (
    OUTLIER_SELECTORS,
    EntryGap,
    OutlierCriterion,
    ScaleCut,
    TrimmedCV,
    clean_gap,
    get_outlier_selector,
    trimmed_mean,
)
from sparselbi.shift_problem import ShiftProblem
from sparselbi.solvers._hard_knot import with_hard_knot
from sparselbi.solvers.fast_s import fast_s
from sparselbi.solvers.huber import huber_path
from sparselbi.solvers.shift_paths import (
    hard_path,
    retrace_shift,
    shift_iss_path,
    shift_lbi_path,
)

METHODS = ("hard", "l1", "iss", "lbi")
CUT = 2.5


def make_rows(n=60, p=3, c=None, outliers=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 1.0
    shape = (n,) if c is None else (n, c)
    y = X @ rng.normal(size=(p, *shape[1:])) + rng.normal(size=shape) + 2.0
    y[:outliers] += 7.0 * rng.choice([-1.0, 1.0], size=y[:outliers].shape)
    return X, y


def trace(method, problem, **options):
    half = problem.total_weight / 2
    if method == "hard":
        return hard_path(problem, **options)
    if method == "l1":
        return huber_path(problem, max_outliers=half, **options)
    if method == "iss":
        return shift_iss_path(problem, max_outliers=half)
    return shift_lbi_path(problem, max_outliers=half, t_max=None)


def with_one(X):
    return np.column_stack([np.ones(len(X)), X])


def least_squares(X, y, weight=None):
    root = np.ones(len(X)) if weight is None else np.sqrt(weight)
    design = with_one(X) * root[:, None]
    return np.linalg.lstsq(design, (y.T * root).T, rcond=None)[0]


def residual_lengths(X, y, coef):
    left = y - with_one(X) @ coef
    return np.linalg.norm(left.reshape(len(y), -1), axis=1)


def truncated(cut):
    """Variance of a standard normal number in [-cut, cut]."""
    inside = 2 * stats.norm.cdf(cut) - 1
    return (inside - 2 * cut * stats.norm.pdf(cut)) / inside


# -- formulas --------------------------------------------------------------------------


def test_cut_of_vectors_has_the_rate_of_numbers():
    for c in (1, 2, 7, 40):
        rate = stats.chi(c).sf(radial_cut(2.5, c))
        assert rate == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-10)
    assert radial_cut(2.5, 1) == 2.5
    assert radial_cut(12.0, 3) > 12.0


def test_variance_of_truncated_vectors():
    assert truncated_variance(2.5, 1) == pytest.approx(truncated(2.5), rel=1e-12)
    law = stats.chi(4)
    square = law.expect(lambda x: x**2, lb=0, ub=3.0) / law.cdf(3.0)
    assert truncated_variance(3.0, 4) == pytest.approx(square / 4, rel=1e-8)


def test_trimmed_mean_of_repeated_rows():
    rng = np.random.default_rng(0)
    squares, weight = rng.exponential(size=(4, 12)), rng.integers(0, 4, size=12)
    found = trimmed_mean(squares, weight.astype(float), 0.25)
    for row, mean in zip(squares, found, strict=True):
        values = np.sort(np.repeat(row, weight))
        whole = int(0.75 * len(values))
        part = 0.75 * len(values) - whole  # the next value counts in part
        total = values[:whole].sum() + part * values[whole]
        assert mean == pytest.approx(total / (0.75 * len(values)), rel=1e-12)


@pytest.mark.parametrize(("n", "c"), [(15, 1), (300, 1), (100, 3)])
def test_reference_gap_is_that_of_normal_data(n, c):
    rng = np.random.default_rng(1)
    lengths = np.linalg.norm(rng.normal(size=(4000, n, c)), axis=2)
    logs = -np.sort(-np.log(lengths), axis=1)[:, : n // 2 + 1]
    largest = (logs[:, :-1] - logs[:, 1:]).max(axis=1)
    # Two standard errors of the share below, from 2,000 and 4,000 draws.
    share = np.mean(largest <= clean_gap(n, c))
    assert share == pytest.approx(
        0.95, abs=2 * np.sqrt(0.05 * 0.95 * (1 / 2e3 + 1 / 4e3))
    )


# -- scale cuts ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["hard", "l1"])
def test_s_scale_cut_is_a_threshold(method):
    X, y = make_rows()
    problem = ShiftProblem(X, y)
    path = trace(method, problem)
    found = ScaleCut(3.0, "s").select(path, problem)
    scale = fast_s(problem.design).scale
    assert found.quantities["scale"] == pytest.approx(scale, rel=1e-12)
    assert found.knot == pytest.approx(3.0 * scale, rel=1e-9)
    assert found.quantities["n_shifted"] == path.outliers(found.knot).sum()
    if method == "hard":
        assert found.knot in path.knots
        assert path.outliers(found.knot)[:8].all()


@pytest.mark.parametrize("weighted", [False, True])
def test_proposal2_holds_at_the_chosen_threshold(weighted):
    X, y = make_rows()
    weight = None
    if weighted:
        weight = np.random.default_rng(2).integers(1, 4, size=60).astype(float)
    problem = ShiftProblem(X, y, sample_weight=weight)
    path = huber_path(problem)
    for cut in (0.8, 1.345, 2.5):
        found = ScaleCut(cut, "proposal2").select(path)
        scale = found.quantities["scale"]
        assert found.knot == pytest.approx(cut * scale, rel=1e-12)
        psi = np.minimum(np.abs(path.residuals(X, y, found.knot)), found.knot)
        constant = stats.norm.expect(lambda x, k=cut: np.minimum(x**2, k**2))
        total = np.sum(psi**2 if weight is None else weight * psi**2)
        df = path.n_samples - 4
        assert total / scale**2 == pytest.approx(df * constant, rel=1e-7)


def test_proposal2_of_several_responses():
    X, y = make_rows(n=150, c=3)
    path = huber_path(ShiftProblem(X, y), n_knots=100)
    found = ScaleCut(2.5, "proposal2").select(path)
    radius = found.quantities["cut_per_scale"]
    psi = np.minimum(
        np.linalg.norm(path.residuals(X, y, found.knot), axis=1), found.knot
    )
    law = stats.chi(3)
    constant = law.expect(lambda x: np.minimum(x**2, radius**2))
    # Between knots of a grid, the sum of squares is interpolated.
    scale = found.quantities["scale"]
    assert (psi**2).sum() / scale**2 == pytest.approx(146 * constant, rel=2e-3)


def test_proposal2_without_outliers_is_least_squares():
    X, y = make_rows(outliers=0)
    path = huber_path(ShiftProblem(X, y))
    found = ScaleCut(6.0, "proposal2").select(path)
    assert found.knot > path.knots[0]
    assert found.quantities["n_shifted"] == 0
    rss = (residual_lengths(X, y, least_squares(X, y)) ** 2).sum()
    constant = stats.norm.expect(lambda x: np.minimum(x**2, 36))
    assert found.quantities["scale"] == pytest.approx(np.sqrt(rss / 56 / constant))


def test_mad_of_an_l1_path_is_that_of_its_point():
    X, y = make_rows()
    problem = ShiftProblem(X, y)
    path = huber_path(problem)
    found = ScaleCut(1.5, "mad").select(path, problem)
    residual = np.abs(path.residuals(X, y, found.knot))
    scale = np.median(residual) / stats.norm.ppf(0.75)
    assert found.quantities["scale"] == pytest.approx(scale, rel=1e-9)
    assert found.knot == pytest.approx(1.5 * scale, rel=1e-8)


def test_clean_scale_of_an_l1_path_is_consistent():
    X, y = make_rows()
    problem = ShiftProblem(X, y)
    path = huber_path(problem)
    found = ScaleCut(CUT, "clean").select(path, problem)

    def scale_at(threshold):
        kept = ~path.outliers(threshold)
        length = residual_lengths(X[kept], y[kept], least_squares(X[kept], y[kept]))
        return np.sqrt((length**2).sum() / (kept.sum() - 4) / truncated(CUT))

    assert found.quantities["scale"] == pytest.approx(scale_at(found.knot), rel=1e-8)
    # It jumps where a row is shifted: there the threshold passes it.
    assert found.knot <= CUT * scale_at(found.knot) * (1 + 1e-9)
    above = found.knot * (1 + 1e-8)
    assert above >= CUT * scale_at(above) * (1 - 1e-9)


@pytest.mark.parametrize("scale", ["clean", "mad", "proposal2"])
def test_scales_of_a_hard_path_settle(scale):
    X, y = make_rows(n=100, outliers=20)
    problem = ShiftProblem(X, y)
    short = hard_path(problem)
    first = ScaleCut(CUT, scale).select(short, problem)
    path = with_hard_knot(short, problem, first.knot)
    found = ScaleCut(CUT, scale).select(path, problem)
    assert found.knot == first.knot == path.knots[found.index]
    assert "threshold_of_fit" in first.quantities
    assert "threshold_of_fit" not in found.quantities
    assert not found.message
    mask = path.outliers(found.knot)
    if scale != "proposal2":  # every outlier adds to it
        assert mask[:20].all()
    coef = least_squares(X[~mask], y[~mask])
    length = residual_lengths(X, y, coef)
    if scale == "clean":
        sigma = np.sqrt((length[~mask] ** 2).sum() / ((~mask).sum() - 4))
        sigma /= np.sqrt(truncated(CUT))
    elif scale == "mad":
        sigma = np.median(length) / stats.norm.ppf(0.75)
    else:
        sigma = found.quantities["scale"]
        constant = stats.norm.expect(lambda x: np.minimum(x**2, CUT**2))
        cut = np.minimum(length / sigma, CUT)
        assert (cut**2).sum() == pytest.approx(96 * constant, rel=1e-8)
    assert found.quantities["scale"] == pytest.approx(sigma, rel=1e-8)
    assert found.knot == pytest.approx(CUT * sigma, rel=1e-8)
    assert found.quantities["start_scale"] == path.info["scale"]


def deleted_residuals(X, y, mask, weight):
    """Of the kept rows, each with respect to the fit without it: one is deleted."""
    out = np.zeros(len(y))
    weight = np.where(mask, 0.0, weight)
    for i in np.flatnonzero(weight):
        rest = weight.copy()
        rest[i] -= 1.0
        coef = least_squares(X, y, rest)
        out[i] = residual_lengths(X[[i]], y[[i]], coef)[0]
    return out


@pytest.mark.parametrize("scale", ["clean", "s", "mad"])
@pytest.mark.parametrize(
    ("method", "c", "weighted"),
    [("iss", None, False), ("iss", None, True), ("lbi", None, False), ("lbi", 2, True)],
)
def test_times_stop_when_no_row_is_beyond(method, c, weighted, scale):
    X, y = make_rows(n=40, p=2, c=c, outliers=6)
    weight = np.ones(40)
    if weighted:
        weight = np.random.default_rng(3).integers(0, 4, size=40).astype(float)
    problem = ShiftProblem(X, y, sample_weight=weight if weighted else None)
    path = trace(method, problem)
    found = ScaleCut(CUT, scale).select(path, problem)
    assert found.knot == path.knots[found.index]
    assert not found.fallback
    radius = stats.chi(c or 1).isf(2 * stats.norm.sf(CUT))
    judged = weight > 0
    for k in range(found.index + 1):
        mask = path.outliers(float(path.knots[k]))
        length = residual_lengths(X, y, least_squares(X, y, np.where(mask, 0, weight)))
        if scale == "s":
            sigma = fast_s(problem.design).scale
        elif scale == "mad":
            law = np.sqrt(stats.chi2(c or 1).median())
            sigma = np.median(np.repeat(length, weight.astype(int))) / law
        else:
            left = weight * ~mask
            df = (left.sum() - 3) * (c or 1)
            sigma = np.sqrt(left @ length**2 / df / truncated_variance(radius, c or 1))
        largest = deleted_residuals(X, y, mask, weight)[judged].max()
        if k == found.index:
            assert largest <= radius * sigma
            assert found.quantities["scale"] == pytest.approx(sigma, rel=1e-8)
            assert found.quantities["largest_deleted"] == pytest.approx(largest)
        else:
            assert largest > radius * sigma


def test_factors_multiply_the_cut():
    X, y = make_rows(n=40, outliers=0)
    X[0] += 20.0  # leverage
    problem = ShiftProblem(X, y, row_factor="leverage")
    path = shift_iss_path(problem)
    found = ScaleCut(1.5, "clean").select(path, problem)
    mask = path.outliers(found.knot)
    deleted = deleted_residuals(X, y, mask, np.ones(40)) / problem.row_factor
    assert deleted.max() <= 1.5 * found.quantities["scale"]
    assert found.quantities["largest_deleted"] == pytest.approx(deleted.max())
    mask = path.outliers(float(path.knots[found.index - 1]))
    length = residual_lengths(X, y, least_squares(X[~mask], y[~mask]))[~mask]
    sigma = np.sqrt((length**2).sum() / (len(length) - 4) / truncated(1.5))
    deleted = deleted_residuals(X, y, mask, np.ones(40)) / problem.row_factor
    assert deleted.max() > 1.5 * sigma


def test_path_that_ends_too_early_says_so():
    X, y = make_rows(outliers=8)
    problem = ShiftProblem(X, y)
    for path in (
        huber_path(problem, max_outliers=3),
        shift_iss_path(problem, max_outliers=3),
        shift_lbi_path(problem, max_outliers=3),
    ):
        for scale in ("s", "clean", "mad", "proposal2"):
            found = ScaleCut(1.0, scale).select(path, problem)
            assert found.fallback
            assert found.index == len(path) - 1
            assert "max_outliers" in found.message


@pytest.mark.parametrize("method", METHODS)
def test_path_on_which_no_row_is_shifted(method):
    X, y = make_rows()
    problem = ShiftProblem(X, y)
    make = {"hard": hard_path, "l1": huber_path, "iss": shift_iss_path}
    path = make.get(method, shift_lbi_path)(problem, max_outliers=0)
    for rule in RULES:
        found = rule.select(path, problem)
        assert found.quantities["n_shifted"] == 0
        assert found.index == 0
        if isinstance(rule, ScaleCut | EntryGap | TrimmedCV):
            assert found.message


def test_codes_of_classes_have_no_null_rate():
    X, y = make_rows(n=80)
    labels = (y > np.median(y)).astype(int)
    problem = ShiftProblem(X, labels, classes="auto")
    found = ScaleCut(2.5, "proposal2").select(huber_path(problem), problem)
    assert "codes of classes" in found.message


# -- criteria --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bic", "aic"])
@pytest.mark.parametrize(
    ("method", "c"), [("hard", None), ("l1", None), ("iss", None), ("lbi", 2)]
)
def test_criterion_from_the_data(method, c, name):
    X, y = make_rows(c=c)
    problem = ShiftProblem(X, y)
    path = trace(method, problem)
    found = OutlierCriterion(name).select(path)
    hat = with_one(X) @ np.linalg.pinv(with_one(X))
    m = (60 - 4) * (c or 1)
    scores = np.full(len(path), np.nan)
    for k, knot in enumerate(path.knots):
        shift = path.shifts(X, y, float(knot))
        left = (y - shift) - hat @ (y - shift)
        shifted = np.count_nonzero(np.reshape(shift, (60, -1)).any(axis=1))
        df = shifted * (c or 1) + 1
        if shifted > 30:
            continue
        price = np.log(m) + 1 if name == "bic" else 2
        scores[k] = m * np.log((left**2).sum() / m) + df * price
    # An l1 row that has just met its threshold has a shift of 0.
    if method == "l1":
        scores[1:] += (path.df[1:] - 4 - _counts(path, X, y)[1:]) * price
    np.testing.assert_allclose(found.scores, scores, rtol=1e-8)
    assert found.index == np.nanargmin(found.scores)
    assert found.knot == path.knots[found.index]
    assert found.quantities["scale"] == pytest.approx(
        np.sqrt(path.deviance[found.index] / m)
    )


def _counts(path, X, y):
    return np.array([np.count_nonzero(path.shifts(X, y, k)) for k in path.knots])


def test_criterion_of_several_responses_takes_the_degrees_of_freedom():
    X, y = make_rows(c=3)
    path = huber_path(ShiftProblem(X, y), max_outliers=30, exact_df=True)
    found = OutlierCriterion("bic").select(path)
    m = 56 * 3
    k = path.df - 4 * 3 + 1
    expected = m * np.log(path.deviance / m) + k * (np.log(m) + 1)
    known = np.isfinite(found.scores)
    np.testing.assert_allclose(found.scores[known], expected[known], rtol=1e-12)
    assert found.quantities["df_kind"] == "exact"


def test_equal_scores_go_to_fewer_rows():
    scores = np.array([3.0, 1.0, 1.0, np.nan, 1.0])
    assert outliers.best(scores, np.array([0, 4, 2, 1, 2])) == 2
    rounded = scores * (1 + 1e-12 * np.array([0, -1, 1, 0, -1]))
    assert outliers.best(rounded, np.array([0, 4, 2, 1, 2])) == 2
    apart = scores * (1 + 1e-8 * np.array([0, -1, 1, 0, -1]))
    assert outliers.best(apart, np.array([0, 4, 2, 1, 2])) == 4
    perfect = np.array([1.0, -np.inf, -np.inf])
    assert outliers.best(perfect, np.array([0, 3, 2])) == 2


# -- cross-validation ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "c"), [("hard", None), ("l1", None), ("iss", None), ("lbi", 2)]
)
def test_trimmed_cv_by_hand(method, c):
    X, y = make_rows(c=c)
    problem = ShiftProblem(X, y)
    path = trace(method, problem)
    found = TrimmedCV(4, trim=0.25, random_state=7).select(path, problem)
    order = np.random.RandomState(7).permutation(60)
    allowed = path.size <= 30
    values = path.representative_knots()[allowed]
    losses = []
    for k in range(4):
        test = np.sort(order[k::4])
        train = np.setdiff1d(np.arange(60), test)
        fold = retrace_shift(path, ShiftProblem(X[train], y[train]), values)
        loss = np.full(len(values), np.nan)
        for j, value in enumerate(values):
            try:
                eta = fold.predict(X[test], float(value))
            except ValueError:
                continue
            square = np.sum((y[test] - eta).reshape(15, -1) ** 2, axis=1)
            square.sort()
            loss[j] = (square[:11].sum() + 0.25 * square[11]) / 11.25
        losses.append(loss)
    expected = np.mean(losses, axis=0)
    np.testing.assert_allclose(found.scores[allowed], expected, rtol=1e-8)
    assert np.isnan(found.scores[~allowed]).all()
    assert found.index == np.flatnonzero(allowed)[np.nanargmin(expected)]


def test_cv_needs_rows_and_data():
    X, y = make_rows()
    problem = ShiftProblem(X, y)
    path = hard_path(problem)
    with pytest.raises(ValueError, match="needs the data"):
        TrimmedCV().select(path)
    with pytest.raises(ValueError, match="fewer than 2 of the 60 rows"):
        TrimmedCV(40).select(path, problem)
    with pytest.raises(ValueError, match="n_splits=1 must be"):
        TrimmedCV(1)
    with pytest.raises(ValueError, match="trim=0.9 must be"):
        TrimmedCV(trim=0.9)


# -- gaps ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_largest_gap(method):
    X, y = make_rows(n=100, outliers=6)
    y[:6] += 20 * np.sign(y[:6] - y[6:].mean())
    problem = ShiftProblem(X, y)
    path = trace(method, problem)
    found = EntryGap().select(path)
    np.testing.assert_array_equal(np.flatnonzero(path.outliers(found.knot)), range(6))
    strength = np.sort(path.entry_strength())[::-1][:51]
    gaps = -np.diff(np.log(strength[strength > 0]))
    assert found.quantities["gap"] == pytest.approx(gaps[5], rel=1e-12)
    assert gaps[5] == gaps.max()
    assert found.quantities["second_gap"] == pytest.approx(np.sort(gaps)[-2])
    assert found.quantities["rows_before_gap"] == 6


def test_equal_gaps_go_to_the_first():
    # Rows that enter at knots of a geometric grid, the same number of them apart.
    X, y = make_rows(n=40, outliers=5, seed=11)
    knots = [
        EntryGap().select(hard_path(ShiftProblem(X, unit * y))).knot / unit
        for unit in (1.0, 0.03, 7.0, 1e5)
    ]
    np.testing.assert_allclose(knots, knots[0], rtol=1e-6)


def test_gap_of_clean_data_is_not_outstanding():
    flagged = 0
    for seed in range(40):
        X, y = make_rows(n=80, outliers=0, seed=seed)
        path = huber_path(ShiftProblem(X, y), max_outliers=40)
        found = EntryGap().select(path)
        flagged += found.quantities["n_shifted"] > 0
        clean = found.quantities["n_shifted"] == 0
        assert clean == ("not outstanding" in found.message)
    assert flagged <= 6  # of 40 at 5 %, with probability 0.99


# -- all rules -------------------------------------------------------------------------

RULES = [
    *(ScaleCut(CUT, scale) for scale in ("s", "clean", "proposal2", "mad")),
    OutlierCriterion("bic"),
    OutlierCriterion("aic"),
    TrimmedCV(3),
    EntryGap(),
]


@settings(max_examples=6, deadline=None)
@given(
    scale=st.sampled_from([1e-7, 0.03, 50.0, 1e6]),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 20),
)
def test_scale_of_y(scale, method, seed):
    X, y = make_rows(n=40, outliers=5, seed=seed)
    one, other = ShiftProblem(X, y), ShiftProblem(X, scale * y)
    path, scaled = trace(method, one), trace(method, other)
    unit = 1 / scale if path.knot_name == "t" else scale
    for rule in RULES:
        before, after = rule.select(path, one), rule.select(scaled, other)
        assert after.knot == pytest.approx(before.knot * unit, rel=1e-6)
        np.testing.assert_array_equal(
            path.outliers(before.knot), scaled.outliers(after.knot)
        )
        assert after.quantities["scale"] == pytest.approx(
            before.quantities["scale"] * scale, rel=1e-6, nan_ok=True
        )


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_repeated_rows(method):
    X, y = make_rows(n=50, outliers=5, seed=4)
    counts = np.random.default_rng(0).integers(1, 4, size=50)
    one = ShiftProblem(X, y, sample_weight=counts.astype(float))
    rows = np.repeat(np.arange(50), counts)
    other = ShiftProblem(X[rows], y[rows])
    thresholds = {}
    if method == "hard":  # the S fit of repeated rows starts at other subsamples
        thresholds = {"thresholds": np.geomspace(6.0, 1.5, 30)}
    path = trace(method, one, **thresholds)
    repeated = trace(method, other, **thresholds)
    rules = [rule for rule in RULES if not isinstance(rule, TrimmedCV)]
    if method == "hard":
        assert path.info["scale"] == pytest.approx(repeated.info["scale"], rel=1e-5)
    for rule in rules:
        first, second = rule.select(path, one), rule.select(repeated, other)
        mask = path.outliers(first.knot)
        np.testing.assert_array_equal(mask[rows], repeated.outliers(second.knot))
        assert first.knot == pytest.approx(second.knot, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_weight_zero_have_no_say(method):
    X, y = make_rows(n=50, outliers=5)
    weight = np.ones(50)
    weight[-4:] = 0.0
    y[-4:-2] += 4.0
    one, other = ShiftProblem(X, y, sample_weight=weight), ShiftProblem(X[:-4], y[:-4])
    options = {"thresholds": np.geomspace(6.0, 1.5, 30)} if method == "hard" else {}
    path, without = trace(method, one, **options), trace(method, other, **options)
    for rule in RULES:
        first, second = rule.select(path, one), rule.select(without, other)
        if method != "iss":  # there, events of other rows are knots, too
            assert first.knot == pytest.approx(second.knot, rel=1e-5)
        np.testing.assert_array_equal(
            path.outliers(first.knot)[:-4], without.outliers(second.knot)
        )


@pytest.mark.parametrize("method", METHODS)
def test_perfect_fit_and_rows_off_a_plane(method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = X @ [1.0, 2.0] + 3.0
    problem = ShiftProblem(X, y)
    path = trace(method, problem)
    for rule in RULES:
        found = rule.select(path, problem)
        assert found.quantities["n_shifted"] == 0
        assert "fits all rows" in found.message
        assert not found.quantities["scale"] > 0
    y[[3, 10, 11, 30]] += [4.0, -5.0, 6.0, 7.0]
    problem = ShiftProblem(X, y)
    path = trace(method, problem)
    for rule in RULES:
        if isinstance(rule, TrimmedCV):
            continue
        found = rule.select(path, problem)
        mask = path.outliers(found.knot)
        np.testing.assert_array_equal(np.flatnonzero(mask), [3, 10, 11, 30])
        if not isinstance(rule, EntryGap):
            assert found.quantities["scale"] == 0
            assert "exactly" in found.message


def test_streamed_and_dense_designs_choose_alike():
    X, y = make_rows(n=200, c=2, outliers=20)
    dense = ShiftProblem(X, y)
    streamed = ShiftProblem([X[:90], X[90:]], y)
    assert dense.design.dense
    assert not streamed.design.dense
    for method in ("l1", "lbi"):
        path, other = trace(method, dense), trace(method, streamed)
        for rule in RULES:
            first, second = rule.select(path, dense), rule.select(other, streamed)
            # S fits and tolerances of grids differ.
            np.testing.assert_array_equal(
                path.outliers(first.knot), other.outliers(second.knot)
            )


@pytest.mark.parametrize("method", METHODS)
def test_names(method):
    X, y = make_rows()
    problem = ShiftProblem(X, y)
    path = trace(method, problem)
    for name in OUTLIER_SELECTORS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = get_outlier_selector(name, method).select(path, problem)
        assert {"n_shifted", "scale", "scale_rule"} <= set(found.quantities)
        assert len(found.scores) == len(path)
        path.at(found.knot)
        assert found.rule in repr(found)
    for name in ("cut", "auto", "sigma", "cv"):
        assert get_outlier_selector(name, method, random_state=5).random_state == 5
    sigma = "proposal2" if method == "l1" else "clean"
    assert get_outlier_selector("sigma", method) == ScaleCut(2.5, sigma)
    auto = ScaleCut(3.0, "s") if method == "hard" else ScaleCut(2.5, sigma)
    assert get_outlier_selector("auto", method) == auto
    assert get_outlier_selector("cut", method) == ScaleCut(3.0, "s")
    knot = float(np.sqrt(path.knots[1] * path.knots[2]))
    given = get_outlier_selector(knot, method).select(path, problem)
    assert given.knot == knot
    if method == "hard":  # no fit there yet
        assert given.quantities["threshold_of_fit"] == path.knots[1]
    else:
        assert "threshold_of_fit" not in given.quantities
    own = EntryGap()
    assert get_outlier_selector(own, method) is own


@pytest.mark.parametrize("method", METHODS)
def test_other_data_are_refused(method):
    X, y = make_rows()
    path = trace(method, ShiftProblem(X, y))
    other = ShiftProblem(X, y[::-1])
    rules = [*RULES, get_outlier_selector(float(path.knots[2]), method)]
    for rule in rules:
        with pytest.raises(ValueError, match="these are not the data of the path"):
            rule.select(path, other)


def test_seed_reaches_the_s_fit():
    # Few rows, many features: local minima of the scale depend on the subsamples.
    X, y = make_rows(n=40, p=12, outliers=0, seed=3)
    problem = ShiftProblem(X, y)
    path = huber_path(problem)
    for seed in range(3):
        found = ScaleCut(3.0, "s", seed).select(path, problem)
        scale = fast_s(problem.design, random_state=seed).scale
        assert found.quantities["scale"] == scale


def test_default_cut_of_several_responses_is_a_knot():
    X, y = make_rows(n=80, c=3)
    path = hard_path(ShiftProblem(X, y))
    for cut in (3.5, 3.0, 2.5, 2.0):
        found = ScaleCut(cut).select(path)
        radius = stats.chi(3).isf(2 * stats.norm.sf(cut))
        assert found.knot == pytest.approx(radius * path.info["scale"], rel=1e-9)
        assert found.knot == path.knots[found.index]
        assert "threshold_of_fit" not in found.quantities


def test_arguments_are_checked():
    X, y = make_rows()
    problem = ShiftProblem(X, y)
    path = huber_path(problem)
    with pytest.raises(ValueError, match="selector='ebic' is unknown; use one of"):
        get_outlier_selector("ebic")
    with pytest.raises(ValueError, match=r"selector=-1\.0 must be a nonnegative"):
        get_outlier_selector(-1.0)
    with pytest.raises(ValueError, match="is unknown"):
        get_outlier_selector(ScaleCut)
    with pytest.raises(ValueError, match="cut=0 must be a positive"):
        ScaleCut(0)
    with pytest.raises(ValueError, match="scale="):
        ScaleCut(3.0, "sd")
    with pytest.raises(ValueError, match="name="):
        OutlierCriterion("ebic")
    with pytest.raises(ValueError, match="the S-scale is not on this path"):
        ScaleCut(3.0, "s").select(path)
    with pytest.raises(ValueError, match="needs the data"):
        ScaleCut(3.0, "mad").select(path)
    with pytest.raises(ValueError, match=r"traced on 60 rows .* these are 10"):
        ScaleCut(3.0, "mad").select(path, ShiftProblem(X[:10], y[:10]))
    with pytest.raises(ValueError, match="path is a dict; rules .* need a ShiftPath"):
        OutlierCriterion().select({})
