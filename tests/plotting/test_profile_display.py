"""ProfileDisplay: lines and images hold the coefficients, and share their scale."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from sparselbi import LBI, SplitLBI
from sparselbi.plotting import ProfileDisplay
from tests.plotting.common import assert_apart, make_path, many_coefs
from tests.plotting.split_common import (
    classes_path,
    fixed,
    fused_path,
    fused_problem,
    grid_path,
    hand_made,
    identity_path,
    line_path,
    signal,
    teams_path,
)


def some_knots(path, n=3):
    return np.geomspace(1.5 * path.t0, 0.9 * path.knots[-1], n).tolist()


# ----------------------------------------------------------------------------- lines


@pytest.mark.parametrize("make", [line_path, fused_path, identity_path])
def test_lines_are_the_dense_and_the_projected_coefficients(make):
    path = make()
    knots = some_knots(path)
    display = ProfileDisplay.from_path(path, knots)
    assert display.axes_.shape == (3, 1)
    assert list(display.knots_.values()) == knots
    assert display.images_ == {}
    for i, t in enumerate(knots):
        for kind, expected in (("dense", path.at(t)), ("sparse", path.projected(t))):
            line = display.lines_[kind][i, 0]
            assert line.axes is display.axes_[i, 0]
            np.testing.assert_array_equal(line.get_xdata(), np.arange(path.n_features))
            np.testing.assert_allclose(line.get_ydata(), expected.coef, atol=1e-13)
            assert line.get_label() == kind


def test_pieces_are_steps_and_trends_are_not():
    t = 3 * line_path().t0
    style = {}
    for order in (1, 2):
        path = line_path(order)
        display = ProfileDisplay.from_path(path, 3 * path.t0)
        style[order] = display.lines_["sparse"][0, 0].get_drawstyle()
        assert display.lines_["dense"][0, 0].get_drawstyle() == "default"
    assert style == {1: "steps-mid", 2: "default"}
    # Between two positions a step is half-way.
    display = ProfileDisplay.from_path(line_path(), t)
    assert "pieces" in display.ax_.get_title(loc="left")


def test_truth_and_observations():
    path, (truth, y) = line_path(), signal()
    display = ProfileDisplay.from_path(
        path, some_knots(path, 2), truth=truth, observed=y
    )
    assert list(display.lines_) == ["truth", "observed", "dense", "sparse"]
    for line in display.lines_["truth"][:, 0]:
        np.testing.assert_array_equal(line.get_ydata(), truth)
        assert line.get_linestyle() == "--"
    for line in display.lines_["observed"][:, 0]:
        np.testing.assert_array_equal(line.get_ydata(), y)
        assert line.get_linestyle() == "None"
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == list(display.lines_)
    colors = {to_rgba(lines[0, 0].get_color()) for lines in display.lines_.values()}
    assert len(colors) == 4


def test_panels_share_their_heights():
    path = line_path()
    display = ProfileDisplay.from_path(path, [path.t0, 50 * path.t0])
    limits = {ax.get_ylim() for ax in display.axes_.ravel()}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low < path.at(50 * path.t0).coef.min()
    assert high > path.at(50 * path.t0).coef.max()


def test_positions_in_any_order():
    path = line_path()
    rng = np.random.default_rng(0)
    positions = rng.permutation(40) * 0.5
    display = ProfileDisplay.from_path(path, 3 * path.t0, positions=positions)
    x, y = display.lines_["dense"][0, 0].get_data()
    assert (np.diff(x) > 0).all()
    coef = path.at(3 * path.t0).coef
    for place, value in zip(positions, coef, strict=True):
        assert y[np.flatnonzero(x == place)[0]] == value
    assert display.ax_.get_xlabel() == "position"
    with pytest.raises(ValueError, match=r"positions has shape \(3,\).* 40 features"):
        ProfileDisplay.from_path(path, positions=[1, 2, 3])


def test_scales():
    path = fused_path()
    t, factors = 3 * path.t0, np.linspace(1, 2, 24)
    display = ProfileDisplay.from_path(path, t, scale=factors)
    drawn = display.lines_["sparse"][0, 0].get_ydata()
    np.testing.assert_allclose(drawn, factors * path.projected(t).coef)
    used = display.plot(scale="used").lines_["sparse"][0, 0].get_ydata()
    labels = path.pieces(t)
    for piece in range(-1, labels.max() + 1):
        assert np.ptp(used[labels == piece], axis=0) < 1e-12
    assert display.ax_.get_ylabel() == "coefficient × scale"
    for bad in ("unit", [1, 2]):
        with pytest.raises(ValueError, match="must be 'used', or one number"):
            display.plot(scale=bad)


def test_default_knots_are_where_rows_are_active():
    path = line_path()
    display = ProfileDisplay.from_path(path)
    assert len(display.knots_) == 4
    for t in display.knots_.values():
        assert path.active_rows(t).any()
        assert t in path.knots
    null = hand_made(path.D, np.zeros((1, 40)), np.zeros((1, 39)))
    assert list(ProfileDisplay.from_path(null).knots_.values()) == [1.0]


def test_few_features_have_their_names():
    path = teams_path()
    display = ProfileDisplay.from_path(path, some_knots(path, 2))
    labels = [label.get_text() for label in display.axes_[-1, 0].get_xticklabels()]
    assert labels == list(path.feature_names)
    display.figure_.canvas.draw()
    assert_apart(display.axes_[-1, 0].get_xticklabels())


def test_names_stay_apart():
    path, (truth, y) = line_path(), signal()
    knots = {"a name that is longer than it should be " * 2: 2 * path.t0, "b": path.t0}
    display = ProfileDisplay.from_path(path, knots, truth=truth, observed=y)
    display.figure_.canvas.draw()
    title = display.ax_._left_title.get_window_extent()
    legend = display.ax_.get_legend().get_window_extent()
    assert not title.overlaps(legend)
    for box in (title, legend):
        assert display.figure_.bbox.x0 <= box.x0 < box.x1 <= display.figure_.bbox.x1
        assert box.y1 <= display.figure_.bbox.y1


def test_every_class_has_a_row_of_panels():
    path = classes_path()
    display = ProfileDisplay.from_path(path, {"early": 3.0, "late": 9.0})
    assert display.axes_.shape == (3, 2)
    for i, t in enumerate((3.0, 9.0)):
        for o in range(3):
            line = display.lines_["sparse"][i, o]
            assert line.axes is display.axes_[o, i]
            np.testing.assert_allclose(line.get_ydata(), path.projected(t).coef[o])
    assert display.axes_[1, 0].get_ylabel().endswith("class b")
    assert display.axes_[0, 1].get_title(loc="left").startswith("late, t = 9:")
    assert len(ProfileDisplay.from_path(path).knots_) == 1


# ----------------------------------------------------------------------------- images


def test_images_are_the_coefficients_in_their_places():
    path, mask, truth = grid_path()
    knots = some_knots(path, 2)
    display = ProfileDisplay.from_path(path, knots, truth=truth)
    assert display.lines_ == {}
    assert display.axes_.shape == (2, 3)
    for i, t in enumerate(knots):
        for row, expected in enumerate((path.at(t).coef, path.projected(t).coef)):
            kind = ("dense", "sparse")[row]
            image = display.images_[kind][i, 0, 0]
            assert image.axes is display.axes_[row, i]
            array = image.get_array()
            np.testing.assert_array_equal(array.mask, ~mask)
            np.testing.assert_allclose(array[mask], expected, atol=1e-13)
    assert display.images_["truth"].shape == (1, 1)
    shown = display.images_["truth"][0, 0].get_array()
    np.testing.assert_array_equal(shown[mask], truth)
    assert not display.axes_[1, 2].axison


def test_images_share_colours_around_the_center():
    path, mask, _ = grid_path()
    display = ProfileDisplay.from_path(path, some_knots(path, 2))
    images = [image for kind in display.images_.values() for image in kind.ravel()]
    largest = max(np.abs(image.get_array()).max() for image in images)
    for image in images:
        assert image.get_clim() == pytest.approx((-largest, largest))
        assert image.cmap.name == "RdBu_r"
        rgba = image.to_rgba(image.get_array())
        outside = np.unique(rgba[~mask], axis=0)
        assert outside.tolist() == [list(to_rgba("0.85"))]
    assert display.colorbar_.ax.get_ylabel() == "coefficient"
    one = display.plot(center=1.0).images_["dense"][0, 0, 0]
    assert np.mean(one.get_clim()) == pytest.approx(1.0)
    grey = display.plot(center=None).images_
    low = min(image.get_array().min() for kind in grey.values() for image in kind.flat)
    assert grey["dense"][0, 0, 0].cmap.name == "gray"
    assert grey["dense"][0, 0, 0].get_clim()[0] == pytest.approx(low)
    clipped = display.plot(limits=(-0.5, 2.0), cmap="viridis").images_["sparse"]
    assert clipped[0, 0, 0].get_clim() == (-0.5, 2.0)
    assert clipped[0, 0, 0].cmap.name == "viridis"
    with pytest.raises(ValueError, match="limits=.* must be two increasing numbers"):
        display.plot(limits=(1, 1))


def test_slices_of_a_volume():
    path, mask, truth = grid_path(3)
    t = some_knots(path, 1)[0]
    display = ProfileDisplay.from_path(path, t, truth=truth)
    assert display.axes_.shape == (2, 6)
    volume = np.full(mask.shape, np.nan)
    volume[mask] = path.projected(t).coef
    peak = np.unravel_index(np.nanargmax(np.abs(volume)), mask.shape)
    for axis in range(3):
        array = display.images_["sparse"][0, 0, axis].get_array()
        expected = volume.take(peak[axis], axis=axis)
        np.testing.assert_allclose(array.filled(np.nan), expected, atol=1e-13)
        title = display.axes_[0, 3 + axis].get_title()
        assert title == f"sparse\naxis {axis} = {peak[axis]}"
    display.plot(which="sparse", slices={0: range(4)})
    assert display.axes_.shape == (2, 4)
    for k in range(4):
        array = display.images_["sparse"][0, 0, k].get_array()
        np.testing.assert_allclose(array.filled(np.nan), volume[k], atol=1e-13)


def test_images_of_classes():
    path = classes_path()
    truth = np.arange(27.0).reshape(3, 9)
    display = ProfileDisplay.from_path(
        path, {"early": 3.0, "late": 9.0}, grid=(3, 3), truth=truth
    )
    assert display.axes_.shape == (5, 3)  # dense, sparse, dense, sparse, truth
    for i, t in enumerate((3.0, 9.0)):
        for o in range(3):
            image = display.images_["dense"][i, o, 0]
            assert image.axes is display.axes_[2 * i, o]
            expected = path.at(t).coef[o].reshape(3, 3)
            np.testing.assert_allclose(image.get_array(), expected)
    np.testing.assert_array_equal(
        display.images_["truth"][2, 0].get_array(), truth[2].reshape(3, 3)
    )
    assert [ax.get_title() for ax in display.axes_[0]] == [f"class {c}" for c in "abc"]
    assert display.axes_[2, 0].get_ylabel().startswith("dense\nlate\nt = 9\n")


def test_a_grid_can_be_drawn_as_lines():
    path, mask, _ = grid_path()
    display = ProfileDisplay.from_path(path, grid=False)
    assert display.images_ == {}
    assert len(display.lines_["dense"]) == 4
    line = line_path()
    assert ProfileDisplay.from_path(line, grid=(8, 5)).lines_ == {}
    with pytest.raises(ValueError, match="holds 32 features, but the path has 40"):
        ProfileDisplay.from_path(line, grid=mask)


# ------------------------------------------------------------------------------ entry


def test_from_estimator():
    problem, D, coef = fused_problem()
    X, y = problem.X, problem.y[0]
    model = SplitLBI(D).fit(X, y)
    display = ProfileDisplay.from_estimator(model, truth=coef)
    assert display.knots_ == {"EBIC": model.selection_.knot}
    line = display.lines_["dense"][0, 0]
    np.testing.assert_allclose(line.get_ydata(), model.coef_, atol=1e-12)
    line = display.lines_["sparse"][0, 0]
    np.testing.assert_allclose(line.get_ydata(), model.sparse_coef_, atol=1e-12)
    with pytest.raises(TypeError, match=r"needs a SplitPath.*PathDisplay\.from_path"):
        ProfileDisplay.from_estimator(LBI().fit(X, y))
    with pytest.raises(ValueError, match="has no path_; fit an estimator"):
        ProfileDisplay.from_estimator(SplitLBI(D))


def test_axes_of_the_user():
    path = line_path()
    figure = Figure(figsize=(6, 6), layout="constrained")
    display = ProfileDisplay.from_path(path, ax=figure.subplots())
    assert display.figure_ is figure
    axes = Figure(layout="constrained").subplots(4)
    assert list(ProfileDisplay.from_path(path, ax=axes).axes_[:, 0]) == list(axes)
    with pytest.raises(ValueError, match="one matplotlib Axes or 4 of them"):
        ProfileDisplay.from_path(path, ax=axes[:2])
    grid, _, _ = grid_path()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 5), layout="constrained")
    display = ProfileDisplay.from_path(grid, ax=right)
    right.plot([0, 1])
    figure.canvas.draw()
    assert display.figure_ is figure
    edge = left.get_window_extent().x1
    assert all(ax.get_window_extent().x0 > edge for ax in display.axes_.ravel())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"which": ("dense", "projected")}, "which=.* must hold one or both of"),
        ({"which": ()}, "which=.* must hold one or both of"),
        ({"truth": [1, 2]}, r"truth has shape \(2,\).* \(40,\)"),
        ({"observed": np.ones((2, 40))}, r"observed has shape \(2, 40\)"),
        ({"knots": [1e9]}, "beyond the traced range"),
        ({"knots": []}, "knots is empty"),
    ],
)
def test_arguments_that_cannot_be_used(options, message):
    with pytest.raises(ValueError, match=message):
        ProfileDisplay.from_path(line_path(), **options)


def test_other_paths_are_sent_elsewhere():
    with pytest.raises(TypeError, match=r"no linear map D.*PathDisplay\.from_path"):
        ProfileDisplay.from_path(make_path(many_coefs(4)))
    assert fixed(line_path(), 2.0).knot == 2.0
