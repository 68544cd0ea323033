"""BreakdownDisplay: means and intervals of a tidy table."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binomtest

from sparselbi.plotting import BreakdownDisplay
from tests.plotting.common import assert_apart


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    lines = [
        (method, value, seed, *rng.uniform(0, spread, 2), rng.uniform() < good)
        for method, spread, good in (("hard", 0.1, 0.9), ("l1", 0.8, 0.2))
        for value in (0.05, 0.2, 0.4)
        for seed in range(25)
    ]
    columns = ["method", "value", "seed", "masking", "swamping", "recovered"]
    table = pd.DataFrame(lines, columns=columns)
    table.attrs["vary"] = "share"
    return table


def test_shares_with_wilson_intervals(study):
    display = BreakdownDisplay.from_study(study)
    assert set(display.lines_) == {("recovered", "hard"), ("recovered", "l1")}
    for method in ("hard", "l1"):
        mine = study[study.method == method].groupby("value").recovered
        line = display.lines_["recovered", method]
        assert_allclose(line.get_ydata(), mine.mean())
        tests = [binomtest(int(k), 25) for k in mine.sum()]
        expected = [test.proportion_ci(method="wilson") for test in tests]
        assert_allclose(display.bars_["recovered", method].T, expected, rtol=1e-12)
    assert display.ax_.get_xlabel() == "share of outliers"
    assert_apart(display.ax_.texts)
    assert {text.get_text() for text in display.ax_.texts} == {"hard", "l1"}


@pytest.mark.parametrize("found", [True, False])
def test_intervals_of_all_and_nothing_hold_the_mean(found):
    table = pd.DataFrame({"method": "m", "value": 1.0, "recovered": [found] * 37})
    low, high = BreakdownDisplay.from_study(table).bars_["recovered", "m"][:, 0]
    ends = binomtest(37 * found, 37).proportion_ci(method="wilson")
    assert_allclose([low, high], ends, rtol=1e-12, atol=1e-15)
    assert low <= found <= high


def test_means_with_standard_errors(study):
    names = ["masking", "swamping"]
    display = BreakdownDisplay.from_study(study, quantity=names)
    assert len(display.axes_) == 2
    for name in names:
        for method in ("hard", "l1"):
            mine = study[study.method == method].groupby("value")[name]
            assert_allclose(display.lines_[name, method].get_ydata(), mine.mean())
            half = 1.959964 * mine.sem()
            ends = np.clip([mine.mean() - half, mine.mean() + half], 0, 1)
            assert_allclose(display.bars_[name, method], ends, rtol=1e-6)


def test_lines_are_near_their_values(study):
    for log in (False, True):
        display = BreakdownDisplay.from_study(study, log=log)
        x = [line.get_xdata() for line in display.lines_.values()]
        assert (x[0] < x[1]).all()
        place = np.log if log else np.asarray
        gap = np.diff(place([0.05, 0.2, 0.4])).min()
        for line in x:
            shift = place(line) - place([0.05, 0.2, 0.4])
            assert (abs(shift) <= 0.1 * gap).all()
            assert_allclose(shift, shift[0], atol=1e-12)
        assert display.ax_.get_xscale() == ("log" if log else "linear")


def test_repetitions_without_outliers_do_not_count(study):
    table = study.copy()
    table.loc[table.value == 0.05, "masking"] = np.nan
    display = BreakdownDisplay.from_study(table, quantity="masking")
    line = display.lines_["masking", "hard"]
    mine = table[table.method == "hard"].groupby("value").masking.mean().dropna()
    assert_allclose(line.get_ydata(), mine)


def test_labels(study):
    table = study.copy()
    table.attrs = {}
    assert BreakdownDisplay.from_study(table).ax_.get_xlabel() == "value"
    display = BreakdownDisplay.from_study(table, xlabel="share of giants")
    assert display.ax_.get_xlabel() == "share of giants"
    table.attrs["vary"] = "leverage"
    _, ax = plt.subplots()
    display = BreakdownDisplay.from_study(table, ax=ax)
    assert display.ax_ is ax
    assert ax.get_xlabel() == "leverage"


def test_one_method_one_value():
    table = pd.DataFrame({"method": "m", "value": [2.0], "masking": [0.25]})
    display = BreakdownDisplay.from_study(table, quantity="masking")
    assert display.lines_["masking", "m"].get_xydata().tolist() == [[2.0, 0.25]]
    assert display.bars_["masking", "m"].ravel().tolist() == [0.25, 0.25]


def test_wrong_input(study):
    with pytest.raises(ValueError, match=r"but not \['value'\]"):
        BreakdownDisplay.from_study(study.drop(columns="value"))
    with pytest.raises(ValueError, match="study has no lines"):
        BreakdownDisplay.from_study(study[:0])
    with pytest.raises(ValueError, match="quantity='power'"):
        BreakdownDisplay.from_study(study, quantity="power")
    with pytest.raises(ValueError, match="but not 'masking'"):
        BreakdownDisplay.from_study(study.drop(columns="masking"), quantity="masking")
    with pytest.raises(ValueError, match="quantity is empty"):
        BreakdownDisplay.from_study(study, quantity=[])
    table = study.assign(value=study.value - 0.05)
    with pytest.raises(ValueError, match="log=True needs positive values, got 0"):
        BreakdownDisplay.from_study(table, log=True)
