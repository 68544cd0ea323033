"""ShiftPath: what it tells about rows, from hand-made events and from real paths."""

import dataclasses
import pickle

import numpy as np
import pytest

from sparselbi.losses import Squared
from sparselbi.path import EVENT_DTYPE, RegularizationPath
from sparselbi.penalties import L1
from sparselbi.shift_path import ROW_EVENT_DTYPE, ShiftPath

X = np.array([[0.0], [1.0], [2.0], [3.0]])
Y = np.array([0.5, 9.0, 2.0, -4.0])


def make(**changes):
    """Thresholds 8, 4, 2; row 1 enters at 8, row 3 at 3, row 1 leaves at 2.5."""
    events = np.array(
        [(8.0, 1, 1, True), (3.0, 3, -1, True), (2.5, 1, 1, False)],
        dtype=ROW_EVENT_DTYPE,
    )
    fields = {
        "knots": [8.0, 4.0, 2.0],
        "knot_name": "threshold",
        "active_features": [0],
        "active_coefs": [[0.0], [1.0], [2.0]],
        "intercepts": [0.0, 0.5, 1.0],
        "n_features": 1,
        "events": np.empty(0, EVENT_DTYPE),
        "interpolation": "linear",
        "method": "l1",
        "loss": Squared(),
        "penalty": L1(),
        "n_samples": 4.0,
        "settings": {"fit_intercept": True},
        "deviance": [9.0, 5.0, 1.0],
        "size": [0, 1, 1],
        "row_events": events,
        "row_entry": [np.nan, 8.0, np.nan, 3.0],
        "threshold_max": 8.0,
        "rank": 2,
        "df": [2.0, 3.0, 3.0],
        "df_kind": "exact",
        "status": "max_outliers",
    }
    return ShiftPath(**(fields | changes))


def test_rows_at_thresholds_between_events():
    path = make()
    expected = {9: [], 8: [], 7.9: [1], 3.01: [1], 2.9: [1, 3], 2.51: [1, 3], 2: [3]}
    expected |= {3: [1], 2.5: [3]}  # at their events both have the shift 0
    for knot, rows in expected.items():
        assert np.flatnonzero(path.outliers(knot)).tolist() == rows
    with pytest.raises(ValueError, match=r"smaller thresholds, down to 1 .*max_outl"):
        path.outliers(1.0)


def test_order_and_strength():
    path = make()
    assert path.outlier_order().tolist() == [1, 3]
    assert path.outlier_order(1).tolist() == [1]
    assert path.entry_strength().tolist() == [0.0, 8.0, 0.0, 3.0]


def test_a_path_over_time_runs_the_other_way():
    events = make().row_events.copy()
    events["at"] = 1 / events["at"]
    path = make(
        knots=[0.1, 0.25, 0.5],
        knot_name="t",
        method="iss",
        row_events=events,
        row_entry=1 / make().row_entry,
        interpolation="constant",
    )
    assert path.outlier_order().tolist() == [1, 3]
    np.testing.assert_allclose(path.entry_strength(), make().entry_strength())
    assert np.flatnonzero(path.outliers(0.45)).tolist() == [3]
    assert np.flatnonzero(path.outliers(0.39)).tolist() == [1, 3]
    residual = path.residuals(X, Y, 0.39)
    np.testing.assert_array_equal(path.shifts(X, Y, 0.39), residual * [0, 1, 0, 1])


def test_shifts_follow_from_residuals():
    path = make()
    residual = Y - X[:, 0] - 0.5
    np.testing.assert_allclose(path.residuals(X, Y, 4.0), residual)
    shift = path.shifts(X, Y, 4.0)
    np.testing.assert_allclose(shift, [0, residual[1] - 4, 0, 0])
    scaled = make(row_factor=[1.0, 0.5, 1.0, 1.0]).shifts(X, Y, 4.0)
    np.testing.assert_allclose(scaled, [0, residual[1] - 2, 0, 0])


def test_stored_shifts_are_interpolated():
    parts = {"data": [2.0, 4.0], "indices": [1, 1], "indptr": [0, 0, 1, 2]}
    parts = {name: np.array(value) for name, value in parts.items()}
    path = make(method="lbi", shift_parts=parts)
    for knot, value in ((8.0, 0.0), (6.0, 1.0), (4.0, 2.0), (3.0, 3.0), (2.0, 4.0)):
        assert path._shift_at(knot).tolist() == [0, value, 0, 0]


@pytest.mark.parametrize("weighted", [False, True])
def test_sizes_of_real_paths_count_their_outliers(weighted):
    from sparselbi import ShiftProblem
    from sparselbi.solvers import (
        hard_path,
        huber_path,
        shift_iss_path,
        shift_lbi_path,
    )

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.standard_t(2, size=60)
    weight = rng.integers(0, 3, 60).astype(float) if weighted else np.ones(60)
    y[weight == 0] *= 30  # beyond the first threshold
    problem = ShiftProblem(X, y, sample_weight=weight)
    for solver in (huber_path, shift_iss_path, shift_lbi_path, hard_path):
        path = solver(problem, max_outliers=problem.total_weight / 2)
        found = [weight[path.outliers(knot)].sum() for knot in path.knots]
        np.testing.assert_array_equal(found, path.size)
        for k in (0, len(path) // 2, len(path) - 1):
            shifted = path.shifts(X, y, path.knots[k]) != 0
            mask = path.outliers(path.knots[k])
            used = weight > 0
            np.testing.assert_array_equal(shifted[used], mask[used])


def test_save_and_load(tmp_path):
    parts = {"data": np.ones(1), "indices": np.ones(1, int), "indptr": np.arange(4) > 1}
    parts["indptr"] = parts["indptr"].astype(int)
    path = make(shift_parts=parts, row_names=tuple("abcd"), row_factor=np.ones(4))
    path.save(tmp_path / "path.npz")
    for loaded in (
        RegularizationPath.load(tmp_path / "path.npz"),
        pickle.loads(pickle.dumps(path)),
    ):
        assert type(loaded) is ShiftPath
        for field in dataclasses.fields(path):
            a, b = getattr(path, field.name), getattr(loaded, field.name)
            if isinstance(a, np.ndarray):
                np.testing.assert_array_equal(a, b)
            elif field.name != "shift_parts":
                assert a == b
        np.testing.assert_array_equal(
            loaded.shift_coefs.toarray(), path.shift_coefs.toarray()
        )


def test_tables():
    path = make(row_names=("a", "b", "c", "d"))
    frame = path.rows_frame()
    assert frame.loc["b"].tolist() == [8.0, 8.0, 0]
    assert frame["place"].isna().tolist() == [True, False, True, False]
    text = str(path.summary(mark={"bic": 4.0}))
    lines = [line.split() for line in text.splitlines()]
    assert ["8", "0", "9"] in lines
    assert ["4", "1", "5", "bic", "+b"] in lines
    assert ["2", "1", "1", "+d", "-b"] in lines
    assert "first rows: b, d" in repr(path)
    assert "+b" in path._repr_html_()


def test_pieces_must_fit():
    events = make().row_events
    with pytest.raises(ValueError, match="in path order"):
        make(row_events=events[::-1])
    far = events.copy()
    far["row"] = 9
    with pytest.raises(ValueError, match=r"rows outside \[0, 4\)"):
        make(row_events=far)
    with pytest.raises(ValueError, match="y has 3 rows, but the path was traced on 4"):
        make().shifts(X[:3], Y[:3], 4.0)
    with pytest.raises(NotImplementedError, match="rows are what is selected"):
        make().stability(X, Y)
