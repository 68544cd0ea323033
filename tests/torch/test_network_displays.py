"""Displays of networks: what is drawn is what the recorder has seen."""

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from sparselbi.plotting._network_sets import short_name  # noqa: E402
from sparselbi.plotting.filter_display import FilterDisplay  # noqa: E402
from sparselbi.plotting.layer_fraction_display import (  # noqa: E402
    LayerFractionDisplay,
)
from sparselbi.plotting.layer_path_display import LayerPathDisplay  # noqa: E402
from sparselbi.torch import (  # noqa: E402
    DessiLBI,
    PathRecorder,
    groups_for,
    masks,
    sparse_weights,
)
from tests.plotting.common import assert_apart, make_path, vertical  # noqa: E402

LR = 0.1


def make(model, n_steps=80, *, lam=0.5, choose=None, level="unit", **options):
    """Train on pulls of different strength: groups enter at different times."""
    table = groups_for(model, level, lam=lam, size_scaling=False, choose=choose)
    optimizer = DessiLBI(table, lr=LR, nu=2.0)
    recorder = PathRecorder(optimizer, model, **{"every": 2} | options)
    run(model, optimizer, n_steps)
    return recorder


def run(model, optimizer, n_steps):
    for _ in range(n_steps):
        for param in model.parameters():
            pull = torch.linspace(0, 1, len(param), dtype=param.dtype)
            pull = pull.reshape(-1, *(1,) * (param.ndim - 1))
            param.grad = 0.3 * (param.detach() - pull * torch.sign(param.detach()))
        optimizer.step()


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def recorder():
    model = network(
        nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(20, 12), nn.Linear(12, 3)
    )
    # The smallest pull is 0: some filters never enter.
    return make(model, choose={"2.weight": "element"}, max_groups=100)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def vertices(collection, k):
    """Of the line of the k-th group in order of entry; the first is drawn last."""
    return collection.get_paths()[::-1][k].vertices


# --------------------------------------------------------------------- LayerPathDisplay


def test_lines_are_the_norms_from_the_entries_on(recorder):
    display = LayerPathDisplay.from_recorder(recorder)
    path, entries = recorder.to_path(), recorder.entry_times()
    assert display.names == ["0.weight", "1.weight", "2.weight"]
    for name in ("0.weight", "1.weight"):
        first = entries[name].numpy()
        drawn = display.drawn_[name]
        assert set(drawn) == set(np.flatnonzero(np.isfinite(first)))
        assert (np.diff(first[drawn]) >= 0).all()
        assert len(set(first[drawn])) > 2
        for k, group in enumerate(drawn):
            x, y = vertices(display.lines_[name], k).T
            assert (x[0], y[0]) == (first[group], 0.0)
            feature = path.feature_names.index(f"{name}[{group}]")
            np.testing.assert_array_equal(x[1:], path.knots[path.knots >= first[group]])
            np.testing.assert_array_equal(y[1:], path.coefs[-len(y) + 1 :, feature])
    texts = [text.get_text() for text in display.axes_[0].texts]
    assert texts == [str(group) for group in display.drawn_["0.weight"][:3]]


def test_a_set_without_norms_of_groups_is_one_line(recorder):
    display = LayerPathDisplay.from_recorder(recorder, "2.*")
    path = recorder.to_path()
    entry = recorder.entry_times()["2.weight"].numpy()
    assert len(entry) == 240
    inside = np.isfinite(entry).sum()
    title = f"2.weight\nnorm of all; {inside} of 240 in"
    assert display.ax_.get_title() == title
    x, y = vertices(display.lines_["2.weight"], 0).T
    assert x[0] == entry.min()
    feature = path.feature_names.index("2.weight[all]")
    np.testing.assert_array_equal(y[1:], path.coefs[-len(y) + 1 :, feature])
    assert not display.ax_.texts
    assert len(display.drawn_["2.weight"]) == 0
    # A path by itself does not know how many groups have entered.
    alone = LayerPathDisplay.from_path(path, ["2.weight"])
    assert alone.ax_.get_title() == "2.weight\nnorm of all groups"


def test_a_saved_path_draws_the_same(recorder, tmp_path):
    path = recorder.to_path()
    path.save(tmp_path / "path.npz")
    loaded = type(path).load(tmp_path / "path.npz")
    here = LayerPathDisplay.from_recorder(recorder, ["1.weight"])
    there = LayerPathDisplay.from_path(loaded, ["1.weight"])
    assert here.ax_.get_title() == there.ax_.get_title()
    pairs = zip(
        here.lines_["1.weight"].get_segments(),
        there.lines_["1.weight"].get_segments(),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("x", ["time", "step"])
def test_the_chosen_time_counts_as_masks_do(recorder, x):
    at = 31 * LR
    display = LayerPathDisplay.from_recorder(recorder, x=x, at=at)
    masks = recorder.masks_at(at)
    scale = {"time": 1.0, "step": 1 / LR}[x]
    for name, ax in zip(display.names, display.axes_, strict=True):
        mask = masks[name].reshape(len(recorder.entry_times()[name]), -1)
        count = f"{int(mask.any(1).sum())} of {len(mask)} in by 3.1"
        assert count in ax.get_title()
        (place,) = vertical(ax)
        np.testing.assert_allclose(place, at * scale)
        np.testing.assert_allclose(ax.get_xlim(), [0, 80 * LR * scale])
    starts = [vertices(display.lines_["0.weight"], k)[0, 0] for k in range(3)]
    first = np.sort(recorder.entry_times()["0.weight"].numpy())[:3]
    np.testing.assert_allclose(starts, first * scale)


def test_lines_break_where_a_group_is_out():
    norms = np.array([0, 0, 2.0, 3, 0, 0, 0, 1, 0, 0])
    coefs = np.stack([norms, np.zeros(10), np.arange(10.0)], axis=1)
    info = {"names": ["a"], "first": np.array([0, 3]), "step": np.arange(10) * 5}
    names = ("a[0]", "a[1]", "a[2]")
    path = make_path(
        coefs, np.arange(10.0), method="dessilbi", info=info, feature_names=names
    )
    display = LayerPathDisplay.from_path(path, x="step")
    assert display.drawn_["a"].tolist() == [2, 0]
    x, y = vertices(display.lines_["a"], 1).T
    np.testing.assert_array_equal(x[1:], np.arange(2, 10) * 5)
    np.testing.assert_array_equal(y, [0, 2, 3, 0, np.nan, 0, 1, 0, np.nan])
    assert [text.get_text() for text in display.ax_.texts] == ["2", "0"]
    assert_apart(display.ax_.texts)


def test_many_groups_are_thinned_in_order_of_entry():
    coefs = np.maximum(np.arange(50.0)[:, None] - np.arange(1000) / 25, 0)
    path = make_path(
        coefs,
        np.arange(50.0),
        info={"names": ["a"], "first": np.array([0, 1000]), "step": np.arange(50)},
        feature_names=tuple(f"a[{k}]" for k in range(1000)),
    )
    display = LayerPathDisplay.from_path(path, max_lines=40)
    drawn = display.drawn_["a"]
    assert len(drawn) == len(display.lines_["a"].get_segments()) == 40
    assert (drawn[0], drawn[-1]) == (0, 999)
    assert np.ptp(np.diff(drawn)) <= 50
    assert display.ax_.get_title() == "a\n1,000 of 1,000 in; 40 drawn"
    shades = display.lines_["a"].get_colors()[::-1, :3].mean(axis=1)
    assert (np.diff(shades) > 0).all()  # from dark to light


def test_nothing_has_entered_yet():
    model = network(nn.Conv2d(1, 3, 3), nn.Linear(4, 2))
    recorder = make(model, 2)
    display = LayerPathDisplay.from_recorder(recorder)
    assert display.ax_.get_title() == "0.weight\n0 of 3 in"
    assert [t.get_text() for t in display.ax_.texts] == ["nothing entered"]
    fractions = LayerFractionDisplay.from_recorder(recorder)
    assert not fractions.lines_["0.weight"].get_ydata().any()
    # Not even a step.
    recorder = make(model, 0)
    LayerPathDisplay.from_recorder(recorder, x="step")
    LayerFractionDisplay.from_recorder(recorder)
    image = FilterDisplay.from_recorder(recorder, model, "0.weight")
    assert [t.get_text() for t in image.titles_] == [
        f"{k}: never" for k in image.order_
    ]


def deep_recorder(n):
    return make(network(*(nn.Linear(4, 4) for _ in range(n + 1))), 6, lam=0.1)


def test_panels_of_a_deep_network():
    recorder = deep_recorder(14)
    display = LayerPathDisplay.from_recorder(recorder)
    boxes = [ax.get_position() for ax in display.axes_]
    assert len({round(box.y0, 6) for box in boxes}) == 5
    assert len({round(box.x0, 6) for box in boxes}) == 3
    assert len({round(box.height, 6) for box in boxes}) == 1
    with pytest.raises(ValueError, match=r"25 sets.*24 panels.*LayerFractionDisplay"):
        LayerPathDisplay.from_recorder(deep_recorder(25))


def test_layers_are_in_the_order_of_the_model():
    model = network(*(nn.Linear(4, 4) for _ in range(3)))
    params = dict(model.named_parameters())
    names = [f"{k}.weight" for k in range(3)]
    groups = [
        {"params": [(names[k], params[names[k]])], "groups": "neuron"}
        for k in (2, 0, 1)
    ]
    recorder = PathRecorder(DessiLBI(groups, lr=LR, nu=2.0), model)
    assert recorder.names != tuple(names)
    assert LayerPathDisplay.from_recorder(recorder).names == names
    assert list(LayerFractionDisplay.from_recorder(recorder).lines_) == names
    recorder.model = None
    assert LayerPathDisplay.from_recorder(recorder).names == list(recorder.names)


def test_axes_of_the_user(recorder):
    _, axes = plt.subplots(1, 2)
    display = LayerPathDisplay.from_recorder(recorder, ["0.*", "1.*"], ax=axes)
    assert list(display.axes_) == list(axes)
    assert [ax.get_xlabel() for ax in axes] == ["path time"] * 2
    _, ax = plt.subplots()
    assert len(LayerPathDisplay.from_recorder(recorder, ax=ax).axes_) == 3
    figure, axes = plt.subplots(1, 2, layout="constrained")
    fractions = LayerFractionDisplay.from_recorder(recorder, ax=axes[0])
    filters = FilterDisplay.from_recorder(
        recorder, recorder.model, "0.weight", ax=axes[1]
    )
    assert (fractions.ax_, filters.ax_) == tuple(axes)
    assert filters.figure_ is figure


def test_path_display_refuses(recorder):
    path = recorder.to_path()
    with pytest.raises(ValueError, match=r"names has 'conv1'.*'0\.weight'"):
        LayerPathDisplay.from_recorder(recorder, ["conv1"])
    with pytest.raises(ValueError, match="names is empty"):
        LayerPathDisplay.from_recorder(recorder, [])
    with pytest.raises(
        ValueError, match=r"at=9\.0 must be a path time between 0 and 8"
    ):
        LayerPathDisplay.from_recorder(recorder, at=9.0)
    with pytest.raises(ValueError, match="x='log_t'"):
        LayerPathDisplay.from_path(path, x="log_t")
    with pytest.raises(ValueError, match="max_lines=0 must be at least 1"):
        LayerPathDisplay.from_path(path, max_lines=0)
    with pytest.raises(ValueError, match="method 'lbi'.*PathRecorder"):
        LayerPathDisplay.from_path(make_path(np.ones((3, 2))))
    with pytest.raises(ValueError, match="has 2 times.* 6 groups"):
        LayerPathDisplay(path, ["0.weight"], entries={"0.weight": [1, 2]})


# ----------------------------------------------------------------- LayerFractionDisplay


@pytest.mark.parametrize("x", ["time", "step"])
def test_fractions_are_those_of_the_recorder(recorder, x):
    display = LayerFractionDisplay.from_recorder(recorder, x=x, at=2.0)
    table = recorder.fractions()
    across = table.index if x == "time" else table["step"]
    for name, line in display.lines_.items():
        np.testing.assert_allclose(line.get_xdata(), across)
        np.testing.assert_allclose(line.get_ydata(), 100 * table[name])
    assert display.ax_.get_xlabel() == {"time": "path time", "step": "step"}[x]
    texts = [text.get_text() for text in display.ax_.texts]
    assert sorted(texts) == list(recorder.names)
    assert_apart(display.ax_.texts)
    assert 2.0 in vertical(display.ax_) or x == "step"
    assert len(display.ax_.child_axes) == (x == "time")  # steps on top


def test_steps_on_top_are_at_their_path_times():
    times, steps = [0.0, 4.0, 5.0, 5.1], [0, 100, 200, 300]
    share = [0, 0.2, 0.4, 1]
    display = LayerFractionDisplay(times, {"a": share}, steps=steps).plot()
    (top,) = display.ax_.child_axes
    ticks = [
        (t.get_text(), x)
        for t, x in zip(top.get_xticklabels(), top.get_xticks(), strict=True)
    ]
    assert ("100", 4.0) in ticks
    for label, place in ticks:
        assert place == pytest.approx(np.interp(int(label), steps, times))
    assert np.diff([place for _, place in ticks]).min() >= 0.06 * 5.1
    again = LayerFractionDisplay(times, {"b": share}, steps=steps).plot(display.ax_)
    assert len(again.ax_.child_axes) == 1


def test_colours_tell_depth_where_there_are_many_sets():
    shares = {f"h.{k}.weight": [0, 1 - k / 60] for k in range(50)}
    display = LayerFractionDisplay([0, 1], shares).plot()
    shades = [np.mean(line.get_color()[:3]) for line in display.lines_.values()]
    assert shades == sorted(shades)
    assert not display.ax_.texts
    labels = [t.get_text() for t in display.colorbar_.ax.get_yticklabels()]
    assert (labels[0], labels[-1]) == ("h.0.weight", "h.49.weight")
    bar = display.colorbar_.cmap.colors
    for label in labels:
        color = display.lines_[label].get_color()
        np.testing.assert_allclose(bar[int(label.split(".")[1])], color)
    few = LayerFractionDisplay([0, 1], dict(list(shares.items())[:20])).plot()
    assert few.colorbar_ is None
    assert len(few.ax_.texts) == 20
    assert_apart(few.ax_.texts)


def test_joined_tensors_have_short_names():
    heads = " + ".join(f"h.0.attn.{part}.weight" for part in ("q", "k", "v"))
    assert short_name(heads) == "h.0.attn.{q, k, v}.weight"
    assert short_name("up.weight + down.weight") == "{up, down}.weight"
    assert short_name("a.in_w + a.out_w") == "a.{in_w, out_w}"
    assert short_name("a.x.w + b") == "{a.x.w, b}"
    assert short_name("conv1.weight") == "conv1.weight"


def test_fraction_display_refuses(recorder):
    with pytest.raises(ValueError, match="increase"):
        LayerFractionDisplay([1, 0], {"a": [0, 1]})
    with pytest.raises(ValueError, match=r"fractions\['a'\].*between 0 and 1"):
        LayerFractionDisplay([0, 1], {"a": [0, 50]})
    with pytest.raises(ValueError, match="empty"):
        LayerFractionDisplay([0, 1], {})
    with pytest.raises(ValueError, match="steps has shape"):
        LayerFractionDisplay([0, 1], {"a": [0, 1]}, steps=[0])
    with pytest.raises(ValueError, match="needs steps"):
        LayerFractionDisplay([0, 1], {"a": [0, 1]}).plot(x="step")
    with pytest.raises(ValueError, match="no recorded set"):
        LayerFractionDisplay.from_recorder(recorder, "x*")


# ------------------------------------------------------------------------ FilterDisplay


def labels(display):
    return [int(t.get_text().split(":")[0]) for t in display.titles_]


def test_filters_are_the_weights_in_order_of_entry(recorder):
    model = recorder.model
    display = FilterDisplay.from_recorder(recorder, model, "0.weight")
    entered = recorder.entries("0.weight")["group"].tolist()
    assert 0 < len(entered) < 6
    assert display.order_.tolist()[: len(entered)] == entered
    assert labels(display) == display.order_.tolist()
    weight = model[0].weight.detach().numpy()
    limit = np.abs(weight).max()
    times = recorder.entry_times()["0.weight"].numpy()
    for k, image in zip(display.order_, display.images_, strict=True):
        np.testing.assert_allclose(image.get_array(), weight[k, 0], rtol=1e-6)
        assert image.get_clim() == pytest.approx((-limit, limit))
        assert (image.get_alpha() is None) == np.isfinite(times[k])
    for k, title in zip(display.order_, display.titles_, strict=True):
        when = f"{times[k]:.3g}" if np.isfinite(times[k]) else "never"
        assert title.get_text() == f"{k}: {when}"
    never = 6 - len(entered)
    assert f"6 filters (number: path time of entry); {never} never entered" in (
        display.ax_.get_title(loc="left")
    )
    assert_apart(display.titles_)


def test_sparse_filters_are_those_of_the_sparse_network(recorder):
    model = recorder.model
    with sparse_weights(model, recorder.optimizer):
        expected = model[0].weight.detach().numpy().copy()
    display = FilterDisplay.from_recorder(recorder, model, "0.weight", sparse=True)
    np.testing.assert_allclose(display.weights, expected, rtol=1e-6)
    assert not expected.any(axis=(1, 2, 3)).all()
    assert display.name == "0.weight (sparse)"


def test_steps_and_number_of_filters(recorder):
    display = FilterDisplay.from_recorder(
        recorder, recorder.model, "0.weight", x="step", n_filters=2
    )
    table = recorder.entries("0.weight").head(2)
    texts = [t.get_text() for t in display.titles_]
    assert texts == [
        f"{g}: {s}" for g, s in zip(table["group"], table["step"], strict=True)
    ]
    assert "2 of 6 filters" in display.ax_.get_title(loc="left")


def test_a_row_enters_with_the_first_of_its_weights(recorder):
    display = FilterDisplay.from_recorder(
        recorder, recorder.model, "2.weight", shape=(4, 5)
    )
    entry = recorder.entry_times()["2.weight"].numpy().reshape(12, 20)
    np.testing.assert_array_equal(display.times, entry.min(axis=1))
    weight = recorder.model[2].weight.detach().numpy()
    first = display.order_[0]
    np.testing.assert_allclose(
        display.images_[0].get_array(), weight[first].reshape(4, 5), rtol=1e-6
    )
    assert "12 rows" in display.ax_.get_title(loc="left")
    colored = FilterDisplay.from_recorder(
        recorder, recorder.model, "2.weight", shape=(5, 2, 2), inputs=3
    )
    np.testing.assert_allclose(
        colored.images_[0].get_array(), weight[first].reshape(5, 2, 2)[3], rtol=1e-6
    )


def test_several_inputs():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2, 3, 4, 5))
    times = [1.0, 2.0]
    display = FilterDisplay(weights, times).plot()
    image = display.images_[1].get_array()
    limit = np.abs(weights).max()
    np.testing.assert_allclose(
        2 * np.asarray(image) - 1, np.moveaxis(weights[1], 0, -1) / limit, atol=1e-12
    )
    assert display.colorbar_ is None
    mean = FilterDisplay(weights, times).plot(inputs="mean")
    np.testing.assert_allclose(mean.images_[0].get_array(), weights[0].mean(axis=0))
    one = FilterDisplay(weights, times).plot(inputs=2)
    np.testing.assert_allclose(one.images_[0].get_array(), weights[0, 2])
    many = rng.normal(size=(2, 65, 2, 2))
    auto = FilterDisplay(many, times).plot()
    np.testing.assert_allclose(auto.images_[0].get_array(), many[0].mean(axis=0))
    assert "mean over 65 inputs" in auto.ax_.get_title(loc="left")


def test_a_grid_has_the_kernels_of_all_inputs():
    weights = np.random.default_rng(1).normal(size=(1, 5, 3, 2))
    display = FilterDisplay(weights, [1.0]).plot()
    grid = np.ma.filled(display.images_[0].get_array(), np.nan)
    # Columns and rows that are blank part the kernels; their pixels are repeated.
    values = grid[np.isfinite(grid)]
    numbers, counts = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(numbers, np.sort(weights.ravel()))
    assert len(set(counts)) == 1
    upper = grid[: 3 * 6, : 2 * 6]
    np.testing.assert_array_equal(upper[3::6, 3::6], weights[0, 0])
    assert np.isnan(grid[:, 12]).all()


def test_each_filter_by_its_own_scale():
    weights = np.stack([np.full((2, 2), 3.0), np.full((2, 2), -0.1), np.zeros((2, 2))])
    display = FilterDisplay(weights, [1, 2, 3]).plot(scale="each", cmap="gray")
    limits = [image.get_clim() for image in display.images_]
    assert limits == [(-3.0, 3.0), (-0.1, 0.1), (-1.0, 1.0)]
    assert display.colorbar_ is None
    assert display.images_[0].get_cmap().name == "gray"


def test_ties_and_filters_that_left():
    weights = np.ones((4, 2, 2))
    times, norms = [1.0, math.inf, 1.0, 0.5], [1.0, 0.0, 2.0, 0.0]
    display = FilterDisplay(weights, times, norms).plot()
    texts = [title.get_text() for title in display.titles_]
    assert texts == ["3: 0.5, left", "2: 1", "0: 1", "1: never"]


@pytest.mark.parametrize(
    ("layer", "groups"),
    [
        (nn.ConvTranspose2d(4, 6, (3, 2)), "filter"),
        (nn.ConvTranspose2d(4, 6, (3, 2), groups=2), "element"),
        (nn.Conv2d(4, 6, (3, 2), groups=2), "filter"),
        (nn.Conv2d(4, 6, (3, 2)), "channel"),
    ],
    ids=["transposed", "transposed-grouped", "grouped", "by-channel"],
)
def test_filters_make_the_outputs(layer, groups):
    """The convolution of one input with the drawn filters is that of the layer."""
    model = network(layer)
    recorder = make(model, 20, choose={"0.weight": groups}, lam=0.01)
    display = FilterDisplay.from_recorder(recorder, model, "0.weight")
    drawn = torch.from_numpy(display.weights).float()
    per_output = layer.in_channels // layer.groups
    assert drawn.shape == (6, per_output, 3, 2)
    impulse = torch.zeros(1, 4, 1, 1)
    for channel in range(4):
        impulse.zero_()[0, channel] = 1
        if not isinstance(layer, nn.ConvTranspose2d):
            padded = nn.functional.pad(impulse, (1, 1, 2, 2))
            out = nn.functional.conv2d(padded, layer.weight, groups=layer.groups)
            out = out.flip(-1, -2)
        else:
            out = nn.functional.conv_transpose2d(
                impulse, layer.weight, groups=layer.groups
            )
        half, inner = divmod(channel, per_output)
        outputs = range(6) if layer.groups == 1 else range(3 * half, 3 * half + 3)
        for output in range(6):
            expected = drawn[output, inner] if output in outputs else torch.zeros(3, 2)
            torch.testing.assert_close(out[0, output], expected)
    assert np.isfinite(display.times).any()
    if groups == "channel":
        first = recorder.entry_times()["0.weight"].min().item()
        assert set(display.times) == {first}


def test_one_dimensional_convolutions_and_joined_sets():
    model = network(nn.Conv1d(5, 4, 3), nn.Linear(9, 8), nn.Linear(8, 9))
    choose = {("1.weight", "2.weight"): "neuron,channel"}
    recorder = make(model, choose=choose, lam=0.2)
    display = FilterDisplay.from_recorder(recorder, model, "0.weight")
    weight = model[0].weight.detach().numpy()
    np.testing.assert_allclose(
        display.images_[0].get_array(), weight[display.order_[0]], rtol=1e-6
    )
    joined = FilterDisplay.from_recorder(recorder, model, "1.weight", shape=(3, 3))
    entry = recorder.entry_times()["1.weight + 2.weight"].numpy()
    np.testing.assert_array_equal(joined.times, entry)
    assert np.isfinite(entry).any()


def test_low_precision_weights_are_drawn():
    model = network(nn.Conv2d(1, 3, 2)).bfloat16()
    recorder = make(model, 10, lam=0.01, choose={"0.weight": "filter"})
    display = FilterDisplay.from_recorder(recorder, model, "0.weight")
    np.testing.assert_array_equal(
        display.weights, model[0].weight.detach().double().numpy()
    )


def test_filter_display_refuses(recorder):
    model = recorder.model

    def draw(name, **options):
        FilterDisplay.from_recorder(recorder, model, name, **options)

    with pytest.raises(ValueError, match=r"name='3\.weight' is no registered.*'0\.w"):
        draw("3.weight")
    with pytest.raises(ValueError, match=r"\(Linear\).*20 values.*shape=\(1, 20\)"):
        draw("2.weight")
    with pytest.raises(ValueError, match=r"shape=\(4, 4\) does not fit"):
        draw("2.weight", shape=(4, 4))
    with pytest.raises(ValueError, match="for linear layers"):
        draw("0.weight", shape=(3, 3))
    with pytest.raises(ValueError, match="inputs=1 must be below 1"):
        draw("0.weight", inputs=1)
    with pytest.raises(ValueError, match="needs filters with 3 inputs, these have 6"):
        draw("1.weight", inputs="rgb")
    with pytest.raises(ValueError, match="n_filters=0"):
        draw("0.weight", n_filters=0)
    with pytest.raises(ValueError, match="scale='log'"):
        draw("0.weight", scale="log")
    other = network(nn.Conv2d(1, 6, 3))
    with pytest.raises(ValueError, match="not parameters of the model"):
        FilterDisplay.from_recorder(recorder, other, "0.weight")
    solid = network(nn.Conv3d(1, 3, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"\(Conv3d\).*no images.*slices"):
        FilterDisplay.from_recorder(make(solid, 1), solid, "0.weight")


def test_filters_of_sharded_tensors_are_refused(recorder, monkeypatch):
    def sharded(*args, whole=masks.named_sets):
        return [(replace(g, processes=("some",)), names) for g, names in whole(*args)]

    monkeypatch.setattr(masks, "named_sets", sharded)
    with pytest.raises(ValueError, match=r"'0\.weight' is sharded.*whole model"):
        FilterDisplay.from_recorder(recorder, recorder.model, "0.weight")


def test_arrays_that_are_no_filters():
    with pytest.raises(ValueError, match=r"weights has shape \(3, 4\)"):
        FilterDisplay(np.ones((3, 4)), [1, 2, 3])
    with pytest.raises(ValueError, match="NaN or inf"):
        FilterDisplay(np.full((1, 2, 2), np.nan), [1])
    with pytest.raises(ValueError, match="times has shape"):
        FilterDisplay(np.ones((3, 2, 2)), [1, 2])
    with pytest.raises(ValueError, match="needs steps"):
        FilterDisplay(np.ones((1, 2, 2)), [1]).plot(x="step")
