"""VotePath: what it tells about votes, from hand-made events and from real paths."""

import dataclasses
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import special

from sparselbi import _path_io
from sparselbi.comparison_problem import ComparisonProblem
from sparselbi.losses import Squared
from sparselbi.path import EVENT_DTYPE, RegularizationPath
from sparselbi.penalties import L1
from sparselbi.shift_path import ROW_EVENT_DTYPE, ShiftPath
from sparselbi.solvers.vote_paths import vote_path
from sparselbi.vote_path import VotePath

LABELS = ("oslo", "lima", "bern", "riga", "kyiv")


def make(**changes):
    """Thresholds 8, 4, 2; vote 1 enters at 8, vote 3 at 3, vote 1 leaves at 2.5."""
    events = np.array(
        [(8.0, 1, 1, True), (3.0, 3, -1, True), (2.5, 1, 1, False)],
        dtype=ROW_EVENT_DTYPE,
    )
    fields = {
        "knots": [8.0, 4.0, 2.0],
        "knot_name": "threshold",
        "active_features": [0, 1, 2],
        "active_coefs": [[0.0, 0, 0], [1.0, -1, 0], [3.0, -2, -1]],
        "intercepts": [0.0, 0.0, 0.0],
        "n_features": 3,
        "events": np.empty(0, EVENT_DTYPE),
        "interpolation": "linear",
        "method": "l1",
        "loss": Squared(),
        "penalty": L1(),
        "n_samples": 6.0,
        "settings": {"fit_intercept": False},
        "deviance": [9.0, 5.0, 1.0],
        "size": [0, 1, 1],
        "row_events": events,
        "row_entry": [np.nan, 8.0, np.nan, 3.0, np.nan, np.nan],
        "row_factor": [1.0, 1.0, 1.0, 1.0, np.inf, 1.0],
        "row_rest": [0.5, 1.5, 1.25, 2.5, 0.0, 1.25],
        "threshold_max": 8.0,
        "rank": 2,
        "df": [2.0, 3.0, 3.0],
        "df_kind": "exact",
        "status": "max_outliers",
        "model": "linear",
        "items": ("a", "b", "c"),
    }
    return VotePath(**(fields | changes))


def votes(seed=0, n=80, **options):
    """A problem with labels, made of binary votes."""
    rng = np.random.default_rng(seed)
    first = rng.integers(5, size=n)
    pairs = np.column_stack([first, (first + rng.integers(1, 5, n)) % 5])
    score = np.linspace(2, -2, 5)
    chance = special.expit(score[pairs[:, 0]] - score[pairs[:, 1]])
    y = np.where(rng.random(n) < chance, 1.0, -1.0)
    y[rng.random(n) < 0.15] *= -1
    return ComparisonProblem(pairs, y, 5, **options)


def named(problem):
    """Pairs of labels."""
    return np.array(LABELS)[problem.pairs]


# -------------------------------------------------------------------- order of votes


def test_order_of_all_votes():
    path = make()
    assert path.vote_order().tolist() == [1, 3, 2, 5, 0, 4]
    assert path.vote_order(3).tolist() == [1, 3, 2]
    assert path.strength().tolist() == [0.5, 8.0, 1.25, 3.0, 0.0, 1.25]
    assert path.outlier_order().tolist() == [1, 3]


def test_votes_that_never_enter_are_below_those_that_do():
    # Nothing on a path over t bounds residuals by 1 / t.
    events = make().row_events.copy()
    events["at"] = 1 / events["at"]
    path = make(
        knots=[0.1, 0.25, 0.5],
        knot_name="t",
        method="iss",
        interpolation="constant",
        row_events=events,
        row_entry=1 / make().row_entry,
        row_rest=[2.0, 0.0, 40.0, 0.0, 0.0, 20.0],
    )
    assert path.vote_order().tolist() == [1, 3, 2, 5, 0, 4]
    strength = path.strength()
    np.testing.assert_allclose(strength[[1, 3]], [8, 3])
    assert 0 < strength[2] < 2  # 1 / t at the end
    np.testing.assert_allclose(strength[[2, 5, 0]] / strength[2], [1, 0.5, 0.05])


def test_ties_up_to_rounding_are_broken_by_the_row():
    entry = np.array([3.0, 3.0 + 1e-13, np.nan, 3.0 - 1e-13, np.nan, np.nan])
    rest = [0.0, 0.0, 0.5, 0.0, 0.5 + 1e-14, 0.0]
    path = make(row_entry=entry, row_rest=rest, row_factor=None)
    assert path.vote_order().tolist() == [0, 1, 3, 2, 4, 5]
    strength = path.strength()
    assert strength[0] == strength[1] == strength[3]
    assert strength[2] == strength[4] > strength[5] > 0


def test_a_residual_at_the_last_threshold_is_not_that_of_a_shifted_vote():
    entry = np.array([2.0, np.nan, np.nan, np.nan, np.nan, np.nan])
    path = make(row_entry=entry, row_rest=[2.0, 2.0, 2.0 + 1e-15, 0, 0, 1.0])
    assert path.vote_order().tolist() == [0, 1, 2, 5, 3, 4]
    assert path.strength()[1] < path.strength()[0] == 2.0


def test_after_a_complete_path_nothing_is_left():
    path = make(knots=[8.0, 4.0, 0.0], row_rest=np.zeros(6))
    assert path.vote_order().tolist() == [1, 3, 0, 2, 5, 4]
    assert path.strength()[4] == 0 < path.strength()[0] < 3.0
    null = make(
        knots=[0.0],
        active_coefs=np.zeros((1, 3)),
        intercepts=[0.0],
        deviance=[0.0],
        size=[0],
        df=[2.0],
        row_events=np.empty(0, ROW_EVENT_DTYPE),
        row_entry=np.full(6, np.nan),
        row_rest=np.zeros(6),
        threshold_max=0.0,
        status="null",
    )
    assert null.vote_order().tolist() == [0, 1, 2, 3, 5, 4]


@pytest.mark.parametrize(
    ("model", "method"),
    [("linear", "l1"), ("linear", "iss"), ("linear", "lbi"), ("linear", "hard")]
    + [("logistic", "l1")],
)
def test_strength_orders_the_votes_of_real_paths(model, method):
    problem = votes(3)
    path = vote_path(
        problem, model=model, method=method, ridge=0.1 * (model != "linear")
    )
    strength, order = path.strength(), path.vote_order()
    assert sorted(order) == list(range(80))
    assert (np.diff(strength[order]) <= 0).all()
    ties = np.diff(strength[order]) == 0
    assert (np.diff(order)[ties] > 0).all()
    entered = ~np.isnan(path.row_entry)
    assert strength[entered].min() > strength[~entered].max()
    np.testing.assert_allclose(strength[entered], path.entry_strength()[entered])
    # The same pair and the same answer are equally suspicious.
    code = problem.pairs @ [10, 1] + 100 * (problem.y > 0)
    for one in np.unique(code):
        assert np.ptp(strength[code == one]) <= 1e-9


# ----------------------------------------------------------------------------- scores


def test_scores_between_knots():
    path = make()
    np.testing.assert_array_equal(path.scores_at(4.0), [1, -1, 0])
    np.testing.assert_allclose(path.scores_at([9.0, 3.0]), [[0, 0, 0], [2, -1.5, -0.5]])


def test_scores_of_features_have_mean_0():
    features = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 1.0], [4.0, 4.0]])
    path = make(
        items=range(4),
        features=features,
        n_extra=1,
    )
    scores = features @ [1.0, -1.0]
    np.testing.assert_allclose(path.scores_at(4.0), scores - scores.mean())
    pairs = np.array([(0, 1), (3, 2)])
    np.testing.assert_allclose(
        path.linear_predictor(pairs, 4.0),
        [scores[0] - scores[1], scores[3] - scores[2]],
    )


# ----------------------------------------------------------------------- with the votes


@pytest.mark.parametrize("model", ["linear", "logistic"])
@pytest.mark.parametrize("bias", [None, "array", "sparse"])
def test_votes_by_label_and_as_a_problem(model, bias):
    extra = None if bias is None else np.ones((80, 1))
    extra = sp.csr_array(extra) if bias == "sparse" else extra
    problem = votes(extra=extra)
    ridge = 0.1 if model == "logistic" else 0.0
    path = vote_path(problem, model=model, ridge=ridge, items=LABELS)
    pairs, y = named(problem), problem.y
    knot = float(path.knots[-1])
    eta = problem.eta(path.coef(-1))
    expected = y - eta if model == "linear" else (1 + y) / 2 - special.expit(eta)
    for arguments, options in (
        ((problem,), {"knot": knot}),
        ((pairs, y), {"knot": knot, "extra": extra}),
    ):
        np.testing.assert_allclose(
            path.residuals(*arguments, **options), expected, atol=1e-12
        )
        shift = path.shifts(*arguments, **options)
        np.testing.assert_array_equal(shift != 0, path.outliers(knot))
        np.testing.assert_allclose(shift, path.shifts_of(problem, knot), atol=1e-9)
    table = path.verify(problem)
    again = path.verify(pairs, y, extra=extra)
    np.testing.assert_allclose(again, table, atol=1e-9)
    few = vote_path(problem, model=model, ridge=ridge, items=LABELS, max_outliers=10)
    np.testing.assert_allclose(
        few.refit(pairs, y, extra=extra).coefs, few.refit(problem).coefs, atol=1e-8
    )
    np.testing.assert_allclose(path.row_rest, np.abs(expected))


def test_predictions_are_about_pairs():
    problem = votes(extra=np.ones((80, 1)))
    for model in ("linear", "logistic"):
        path = vote_path(
            problem, model=model, ridge=0.1 * (model == "logistic"), items=LABELS
        )
        scores = path.scores_at(path.knots)
        eta = scores[:, [1]] - scores[:, [3]]
        pair = [("lima", "riga")]
        np.testing.assert_allclose(path.linear_predictor(pair), eta, atol=1e-12)
        mean = eta if model == "linear" else special.expit(eta)
        np.testing.assert_allclose(path.predict(pair), mean, atol=1e-12)
        one = path.predict(pair, float(path.knots[2]))
        np.testing.assert_allclose(one, mean[2], atol=1e-12)
        full = problem.eta(path.coefs)
        np.testing.assert_allclose(path.linear_predictor(problem), full, atol=1e-12)


def test_what_is_missing_or_too_much_is_said():
    problem = votes(extra=np.ones((80, 1)))
    path = vote_path(problem, items=LABELS)
    pairs, y = named(problem), problem.y
    knot = float(path.knots[1])
    with pytest.raises(ValueError, match="'rome', which is none of the 5 items"):
        path.predict([("rome", "oslo")])
    with pytest.raises(ValueError, match=r"pairs has shape \(3,\)"):
        path.predict(["rome", "oslo", "lima"])
    with pytest.raises(ValueError, match="knot is missing"):
        path.residuals(pairs, y)
    with pytest.raises(ValueError, match="y is missing"):
        path.residuals(pairs, knot=knot)
    with pytest.raises(ValueError, match="extra has 0 columns, .* traced with 1"):
        path.residuals(pairs, y, knot)
    with pytest.raises(ValueError, match=r"y has shape \(3,\) for 80 pairs"):
        path.residuals(pairs, y[:3], knot, extra=np.ones((80, 1)))
    with pytest.raises(ValueError, match="y has 3 votes, .* traced on 80"):
        path.residuals(pairs[:3], y[:3], knot, extra=np.ones((3, 1)))
    with pytest.raises(ValueError, match="comes with its votes"):
        path.verify(problem, y)
    with pytest.raises(NotImplementedError, match="PairwiseRanker"):
        path.stability()


# ----------------------------------------------------------------------- as an object


def test_pieces_must_fit():
    for changes, message in (
        ({"row_rest": np.zeros(3)}, r"row_rest has shape \(3,\) for 6 votes"),
        ({"items": ("a", "b")}, "3 coefficients do not fit to 2 items"),
        ({"n_extra": 1}, "n_extra=1"),
        ({"features": np.ones((3, 2))}, r"features \(3, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**changes)


def equal(one, two):
    for field in dataclasses.fields(VotePath):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert not b.flags.writeable
        elif field.name not in ("info", "shift_parts"):
            assert a == b


@pytest.mark.parametrize("items", [LABELS, (3, 4, 7, 8, 10), np.arange(5) * 2])
@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_save_and_load(items, model, tmp_path):
    options = {"features": np.arange(5.0)[:, None] ** 2} if model == "linear" else {}
    problem = votes(extra=np.ones((80, 1)), **options)
    path = vote_path(
        problem, model=model, ridge=0.1 * (model == "logistic"), items=items
    )
    path.save(tmp_path / "votes.npz")
    for again in (
        RegularizationPath.load(tmp_path / "votes.npz"),
        pickle.loads(pickle.dumps(path)),
    ):
        assert type(again) is VotePath
        equal(path, again)
        assert again.vote_order().tolist() == path.vote_order().tolist()
        np.testing.assert_allclose(again.verify(problem), path.verify(problem))


def test_a_path_of_rows_stays_one():
    fields = make()._fields()
    for name in ("model", "items", "row_rest", "n_extra", "ridge", "features"):
        del fields[name]
    assert _path_io.path_class(fields) is ShiftPath
    assert _path_io.path_class(make()._fields()) is VotePath


def test_words():
    path = make(row_names=[f"v{i}" for i in range(6)])
    assert repr(path) == (
        "VotePath(model='linear', method='l1', 6 votes on 3 items, 3 knots with "
        "threshold in [2, 8], first votes: v1, v3, status='max_outliers')"
    )
    assert path.rows_frame().index[1] == "v1"
    assert "v3" in path.summary()
