"""Bundled tables: shapes, printed values, and the copy they were taken from."""

import csv

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sparselbi import datasets

TABLES = [
    # loader, shape, first row, first target, outliers, file under SPARSELBI_DATA
    ("stackloss", (21, 3), [80, 27, 89], 42, [0, 2, 3, 20], "stackloss.csv"),
    ("hbk", (75, 3), [10.1, 19.6, 28.3], 9.7, list(range(10)), "hbk.csv"),
    ("stars_cyg", (47, 1), [4.37], 5.23, [10, 19, 29, 33], "starsCYG.csv"),
    (
        "wood",
        (20, 5),
        [0.573, 0.1059, 0.465, 0.538, 0.841],
        0.534,
        [3, 5, 7, 18],
        "wood.csv",
    ),
    (
        "prostate",
        (97, 8),
        [-0.579818495, 2.769459, 50, -1.38629436, 0, -1.38629436, 6, 0],
        -0.4307829,
        None,
        "prostate/prostate.csv",
    ),
    (
        "diabetes",
        (442, 10),
        [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87],
        151,
        None,
        None,
    ),
]


@pytest.mark.parametrize(
    ("name", "shape", "row", "target", "outliers", "file"),
    TABLES,
    ids=[table[0] for table in TABLES],
)
class TestLoader:
    def test_printed_values(self, name, shape, row, target, outliers, file):
        bunch = getattr(datasets, f"load_{name}")()
        assert bunch.data.shape == shape
        assert bunch.target.shape == shape[:1]
        assert_array_equal(bunch.data[0], row)
        assert bunch.target[0] == target
        assert len(bunch.feature_names) == shape[1]
        assert bunch.target_name not in bunch.feature_names
        assert bunch.frame is None
        assert ".. [1]" in bunch.DESCR
        if outliers is None:
            assert "outliers" not in bunch
        else:
            assert_array_equal(bunch.outliers, outliers)

    def test_arrays_and_frames_agree(self, name, shape, row, target, outliers, file):
        load = getattr(datasets, f"load_{name}")
        X, y = load(return_X_y=True)
        bunch = load(as_frame=True)
        assert isinstance(bunch.data, pd.DataFrame)
        assert isinstance(bunch.target, pd.Series)
        assert list(bunch.data.columns) == bunch.feature_names
        assert list(bunch.frame.columns) == [*bunch.feature_names, bunch.target_name]
        assert_array_equal(bunch.data.to_numpy(), X)
        assert_array_equal(bunch.target.to_numpy(), y)
        frame, series = load(return_X_y=True, as_frame=True)
        pd.testing.assert_frame_equal(frame, bunch.data)
        pd.testing.assert_series_equal(series, bunch.target)

    def test_same_doubles_as_the_original(
        self, name, shape, row, target, outliers, file, data_dir
    ):
        bunch = getattr(datasets, f"load_{name}")()
        with (data_dir / (file or "diabetes.csv")).open() as stream:
            header, *rows = csv.reader(stream)
        words = {"TRUE": 1.0, "FALSE": 0.0}
        original = np.array(
            [[words[x] if x in words else float(x) for x in row] for row in rows]
        )
        if file is None:  # centred, length 1, from measurements with more decimals
            centred = bunch.data - bunch.data.mean(axis=0)
            unit = centred / np.linalg.norm(centred, axis=0)
            np.testing.assert_allclose(unit, original[:, :-1], rtol=0, atol=2e-5)
            assert_array_equal(bunch.target, original[:, -1])
            return
        if header[-1] == "train":
            assert_array_equal(bunch.train, original[:, -1])
            header, original = header[:-1], original[:, :-1]
        assert header == [*bunch.feature_names, bunch.target_name]
        assert_array_equal(bunch.data, original[:, :-1])
        assert_array_equal(bunch.target, original[:, -1])


def test_prostate_split():
    train = datasets.load_prostate().train
    assert train.dtype == bool
    assert (train.sum(), (~train).sum()) == (67, 30)


def test_known_outliers_have_the_largest_robust_residuals():
    # Least squares without the outliers: they are the rows that then fit worst.
    for load in (datasets.load_hbk, datasets.load_wood, datasets.load_stars_cyg):
        bunch = load()
        X = np.column_stack([np.ones(len(bunch.target)), bunch.data])
        clean = np.setdiff1d(np.arange(len(X)), bunch.outliers)
        coef = np.linalg.lstsq(X[clean], bunch.target[clean], rcond=None)[0]
        worst = np.argsort(-np.abs(bunch.target - X @ coef))
        assert set(worst[: bunch.outliers.size]) == set(bunch.outliers)
