"""NuDisplay: entries over nu are those of the paths, and belong to their nu."""

from functools import cache

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from sparselbi import split_iss_path
from sparselbi.penalties import comparisons
from sparselbi.plotting import NuDisplay
from sparselbi.plotting._layout import text_box
from sparselbi.selection.split_consistency import split_irrepresentable_condition
from tests.plotting.common import assert_apart, make_path, many_coefs
from tests.plotting.split_common import (
    fixed,
    fused_path,
    fused_problem,
    hand_made,
    line_path,
)

NUS = (10.0, 0.1, 1.0)  # in no order


def paths():
    return [fused_path(nu) for nu in NUS]


def points(factor=3.0):
    return [fixed(path, factor * path.t0) for path in paths()]


def by_nu(values):
    return np.array(values)[np.argsort(NUS)]


@cache
def small_paths():
    """Three rows of which the last never enters at nu = 1, and row 1 is free."""
    D = comparisons([("a", "b"), ("b", "c"), ("a", "c")])
    found = []
    for nu, late in ((0.5, 1.0), (1.0, 0.0)):
        splits = np.zeros((5, 3))
        splits[:, 1] = 1.0
        splits[2:, 0], splits[3:, 2] = 1.0, late
        path = hand_made(D, np.ones((5, 3)), splits, [1, 2, 4, 8, 16.0], nu=nu)
        found.append(path)
    return tuple(found)


# ---------------------------------------------------------------------------- numbers


def test_entries_and_orders_are_those_of_the_paths():
    display = NuDisplay.from_paths(paths())
    np.testing.assert_allclose(display.nus_, np.sort(NUS))
    for k, nu in enumerate(sorted(NUS)):
        path = fused_path(nu)
        entries = path.split.entry_knots()
        np.testing.assert_array_equal(display.entries_[k], entries / path.t0)
        expected = rankdata(np.where(np.isnan(entries), np.inf, entries))
        np.testing.assert_array_equal(display.order_[k], expected)
    assert np.nanmin(display.entries_) == pytest.approx(1.0, abs=0.02)


def test_what_belongs_to_a_path_moves_with_it():
    irr = [1.0, 2.0, 3.0]
    display = NuDisplay.from_paths(paths(), points(), irr=irr)
    expected = [len(set(p.pieces(3 * p.t0)) - {-1}) for p in paths()]
    np.testing.assert_array_equal(display.counts_, by_nu(expected))
    np.testing.assert_array_equal(
        display.curves_["count"].get_xydata(), np.c_[np.sort(NUS), by_nu(expected)]
    )
    np.testing.assert_array_equal(display.curves_["irr"].get_ydata(), by_nu(irr))
    chosen = display.curves_["chosen"]
    np.testing.assert_allclose(chosen.get_ydata(), [3.0, 3.0, 3.0])
    assert [p.nu for p in display.paths] == sorted(NUS)


@pytest.mark.parametrize("given", ["coefficients", "rows"])
def test_auc_of_the_true_rows(given):
    _, D, coef = fused_problem()
    scale = paths()[0].coef_scale
    true = np.abs(D.dot(coef * scale)) > 1e-9
    display = NuDisplay.from_paths(
        paths(), truth=coef if given == "coefficients" else true
    )
    if given == "rows":
        for k, path in enumerate(display.paths):
            entries = path.split.entry_knots()
            early = -np.where(np.isnan(entries), 2 * path.knots[-1], entries)
            assert display.auc_[k] == pytest.approx(roc_auc_score(true, early))
    assert (display.auc_ > 0.8).all()
    np.testing.assert_array_equal(display.curves_["auc"].get_ydata(), display.auc_)
    labels = [ax.get_ylabel() for ax in display.axes_]
    assert labels == ["entry time, t / t0", "AUC"]


def test_active_rows_where_there_are_no_pieces():
    path = line_path(order=2)
    display = NuDisplay.from_paths([path], [fixed(path, 5 * path.t0)])
    assert display.counts_.tolist() == [path.active_rows(5 * path.t0).sum()]
    assert display.axes_[1].get_ylabel() == "active rows"


# ------------------------------------------------------------------------------ lines


def test_lines_are_the_entry_times():
    display = NuDisplay.from_paths(paths(), top=100)
    assert set(display.lines_) == set(range(display.entries_.shape[1]))
    for row, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), np.sort(NUS))
        entries = display.entries_[:, row]
        known = np.isfinite(entries)
        drawn = line.get_ydata()
        np.testing.assert_allclose(drawn[known], np.maximum(entries[known], 1.0))
        assert (drawn[~known] > np.nanmax(display.entries_)).all()
    medians = np.median(display.entries_[:, display.rows_], axis=0)
    assert (np.diff(medians[np.isfinite(medians)]) >= 0).all()
    assert display.ax_.get_yscale() == display.ax_.get_xscale() == "log"


def test_rows_that_never_enter_and_free_rows():
    display = NuDisplay.from_paths(small_paths())
    assert np.isnan(display.entries_[1, 2])
    assert display.lines_[1].get_ydata().tolist() == [1.0, 1.0]
    never = display.lines_[2].get_ydata()[1]
    (label,) = display.ax_.get_yticklabels(minor=True)
    assert (label.get_text(), display.ax_.get_yticks(minor=True)[0]) == ("never", never)
    low, high = display.ax_.get_ylim()
    assert low < 1.0 < np.nanmax(display.entries_) < never < high
    names = {text.get_text() for text in display.ax_.texts}
    assert names == {"a - b", "b - c", "a - c"}


def test_free_rows_are_there_from_the_start():
    problem, D, _ = fused_problem()
    weight = np.ones(D.n_rows)
    weight[30] = 0.0
    path = split_iss_path(problem, D, row_weight=weight, max_rows=10)
    display = NuDisplay.from_paths([path], top=47)
    assert display.entries_[0, 30] == 0.0
    assert display.lines_[30].get_ydata().tolist() == [1.0]
    heat = display.plot(kind="heatmap").mesh_.get_array()
    assert heat[np.flatnonzero(display.rows_ == 30)[0], 0] == 1.0


def test_orders_of_entry():
    display = NuDisplay.from_paths(paths(), points(), value="order")
    for row, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_ydata(), display.order_[:, row])
    sizes = [path.active_rows(3 * path.t0).sum() + 0.5 for path in display.paths]
    np.testing.assert_array_equal(display.curves_["chosen"].get_ydata(), sizes)
    assert display.ax_.get_ylabel() == "order of entry"


def test_true_rows_have_their_colour():
    _, D, coef = fused_problem()
    display = NuDisplay.from_paths(paths(), truth=coef, top=100)
    true = np.abs(D.dot(coef * paths()[0].coef_scale)) > 1e-9
    colors = {
        kind: {to_rgba(display.lines_[row].get_color()) for row in np.flatnonzero(rows)}
        for kind, rows in (("true", true), ("other", ~true))
    }
    assert len(colors["true"]) == len(colors["other"]) == 1
    assert colors["true"] != colors["other"]
    texts = [text.get_text() for text in display.axes_[-1].get_legend().get_texts()]
    assert texts == ["true rows", "other rows"]


def test_top_rows_with_the_true_ones():
    _, D, coef = fused_problem()
    true = np.flatnonzero(np.abs(D.dot(coef)) > 1e-9)
    display = NuDisplay.from_paths(paths(), truth=np.isin(np.arange(47), true), top=20)
    assert len(display.rows_) == len(display.lines_) == 20
    assert set(true[:13]) <= set(display.rows_)
    assert len(NuDisplay.from_paths(paths(), top=7).rows_) == 7
    assert len(true) <= 20


# --------------------------------------------------------------------------- heat map


def test_the_heat_map_is_the_entry_times():
    display = NuDisplay.from_paths(paths(), points(), kind="heatmap", top=100)
    assert display.lines_ == {}
    cells = display.mesh_.get_array()
    expected = display.entries_[:, display.rows_].T
    np.testing.assert_array_equal(cells.mask, np.isnan(expected))
    known = np.isfinite(expected)
    np.testing.assert_allclose(cells[known], np.maximum(expected[known], 1.0))
    dots = {tuple(xy) for xy in display.curves_["chosen"].get_xydata()}
    active = {
        (path.nu, row)
        for path in display.paths
        for row, r in enumerate(display.rows_)
        if path.active_rows(3 * path.t0)[r]
    }
    assert dots == active
    edges = display.mesh_.get_coordinates()[0, :, 0]
    inside = zip(edges, display.nus_, edges[1:], strict=False)
    assert all(low < nu < high for low, nu, high in inside)
    order = display.plot(kind="heatmap", value="order", top=100)
    np.testing.assert_array_equal(
        order.mesh_.get_array()[known], order.order_[:, order.rows_].T[known]
    )


def test_names_of_rows_in_the_heat_map():
    display = NuDisplay.from_paths(
        small_paths(), truth=np.array([True, False, False]), kind="heatmap"
    )
    labels = display.ax_.get_yticklabels()
    names = ["a - b", "b - c", "a - c"]
    assert [label.get_text() for label in labels] == [names[r] for r in display.rows_]
    bold = {label.get_text() for label in labels if label.get_fontweight() == "bold"}
    assert bold == {"a - b"}
    legend = display.axes_[-1].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["never enters", "names of true rows"]


@pytest.mark.parametrize("kind", ["lines", "heatmap"])
def test_names_do_not_overlap(kind):
    _, _, coef = fused_problem()
    for options in ({}, {"truth": coef, "irr": [0.5, 2.0, 1.0]}):
        display = NuDisplay.from_paths(paths(), points(), kind=kind, **options)
        display.figure_.canvas.draw()
        page = display.figure_.bbox
        for ax in display.axes_:
            assert_apart([*ax.texts, *ax.get_yticklabels()])
            for text in ax.texts:
                box = text_box(text)
                assert page.x0 <= box.x0 < box.x1 <= page.x1


# ------------------------------------------------------------------------------ entry


def test_from_data():
    problem, D, coef = fused_problem()
    display = NuDisplay.from_data(
        problem,
        D,
        NUS,
        truth=coef,
        irr=True,
        selector="bic",
        path_options={"n_knots": 40},
        kind="heatmap",
    )
    other = NuDisplay.from_paths(paths())
    np.testing.assert_allclose(display.entries_, other.entries_, rtol=1e-9)
    condition = split_irrepresentable_condition(problem, D, nu=sorted(NUS), coef=coef)
    np.testing.assert_allclose(display.irr, condition.value, rtol=1e-9)
    assert [point.rule for point in display.selections] == ["bic"] * 3
    for path, point in zip(display.paths, display.selections, strict=True):
        assert path.at(point.knot).knot == point.knot
    assert len(display.axes_) == 4
    bare = NuDisplay.from_data(problem, D, 1.0, selector=None, irr=False)
    assert bare.selections is bare.irr is None
    assert len(bare.axes_) == 1
    with pytest.raises(ValueError, match="irr=True needs truth"):
        NuDisplay.from_data(problem, D, NUS, irr=True, selector=None)


def test_axes_of_the_user():
    figure = Figure(figsize=(8, 8), layout="constrained")
    display = NuDisplay.from_paths(paths(), points(), ax=figure.subplots())
    assert display.figure_ is figure
    axes = Figure(layout="constrained").subplots(2)
    assert list(NuDisplay.from_paths(paths(), points(), ax=axes).axes_) == list(axes)


def test_paths_and_options_that_cannot_be_used():
    with pytest.raises(ValueError, match="paths is empty"):
        NuDisplay.from_paths([])
    with pytest.raises(TypeError, match="needs a SplitPath"):
        NuDisplay.from_paths([make_path(many_coefs(4))])
    with pytest.raises(ValueError, match="one path for each value"):
        NuDisplay.from_paths([fused_path(1.0)] * 2)
    with pytest.raises(ValueError, match=r"D of the shapes .*\(39, 40\), \(47, 24\)"):
        NuDisplay.from_paths([fused_path(10.0), line_path()])
    with pytest.raises(ValueError, match="selections has 1 entries for 3 paths"):
        NuDisplay.from_paths(paths(), points()[:1])
    with pytest.raises(ValueError, match="irr has 2 entries for 3 paths"):
        NuDisplay.from_paths(paths(), irr=[1, 2])
    with pytest.raises(ValueError, match="another path"):
        NuDisplay.from_paths(paths(), points()[::-1])
    for truth in (np.ones(7), np.ones(24, dtype=bool)):
        with pytest.raises(ValueError, match=r"truth has dtype .*\(24,\).* 47 rows"):
            NuDisplay.from_paths(paths(), truth=truth)
    for options, message in (
        ({"kind": "bars"}, "kind='bars' is unknown"),
        ({"value": "rank"}, "value='rank' is unknown"),
        ({"top": 0}, "top=0 must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            NuDisplay.from_paths(paths(), **options)
