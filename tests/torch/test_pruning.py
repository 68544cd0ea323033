"""prune, load_pruned and move_optimizer: a smaller network with the same outputs."""

import copy
import json
import sys

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparselbi.torch import (  # noqa: E402
    DessiLBI,
    PathRecorder,
    couple,
    group_masks,
    groups_for,
    load_pruned,
    move_optimizer,
    prune,
)
from tests.torch.common import train  # noqa: E402

removal = pytest.mark.usefixtures("torch_pruning")


@pytest.fixture
def torch_pruning():
    pytest.importorskip("torch_pruning")


# ---------------------------------------------------------------------------- networks


class Residual(nn.Module):
    """Two blocks on one stream, with batch norm and zero padding."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(6, 5, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        y = F.relu(self.norm1(self.first(x)))
        x = F.relu(x + self.norm2(self.second(y)))
        return self.head(x.mean((2, 3)))


class Gated(nn.Module):
    """A gated linear unit: two halves of one layer are multiplied."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 12)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        a, b = self.inner(x).chunk(2, 1)
        return self.head(a * b.sigmoid())


class Dense(nn.Module):
    """Layers that are joined."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3)
        self.b = nn.Conv2d(4, 5, 1)
        self.norm = nn.BatchNorm2d(9)
        self.c = nn.Conv2d(9, 6, 3, bias=False)
        self.head = nn.Linear(24, 3)

    def forward(self, x):
        x = F.relu(self.a(x))
        x = self.norm(torch.cat([x, F.relu(self.b(x))], 1))
        return self.head(self.c(x).flatten(1))


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 6, 1)
        self.deep = nn.Conv2d(6, 6, 3, groups=6, bias=False)
        self.b = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(F.relu(self.b(self.deep(F.relu(self.a(x))))).mean((2, 3)))


class Attention(nn.Module):
    """Heads by hand, with one layer for q, k and v."""

    def __init__(self, dim=8, n_heads=4):
        super().__init__()
        self.n_heads = n_heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(11, 8)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = Attention()
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.head = nn.Linear(8, 11)

    def forward(self, index):
        x = self.tokens(index)
        x = x + self.attention(self.norm1(x))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(x)


def lenet(norm=True):
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.BatchNorm2d(6) if norm else nn.Identity(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, bias=not norm),
        nn.BatchNorm2d(5) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 8),
        nn.Sigmoid(),
        nn.Linear(8, 3),
    )


def built(make, dtype=torch.float64):
    """A network whose biases and norms are anything but the defaults."""
    torch.manual_seed(0)
    model = make().to(dtype)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for tensor in (part.weight, part.bias, part.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return model


def without(model, **dropped):
    """Masks that drop rows; double underscores stand for dots."""
    masks = {}
    for key, rows in dropped.items():
        name = key.removeprefix("_").replace("__", ".") + ".weight"
        masks[name] = torch.ones(model.get_parameter(name).shape, dtype=torch.bool)
        masks[name][rows] = False
    return masks


def images(dtype=torch.float64, size=10):
    torch.manual_seed(1)
    return torch.randn(4, 2, size, size, dtype=dtype)


def masked_copy(model, masks):
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    return model


def check(model, masks, inputs, expected, tolerance=1e-12, **options):
    """Prune; the outputs on new data are those of the masked network."""
    pruned = prune(model, masks, inputs, repeats=0, **options)
    shapes = {name: tuple(pruned.model.get_parameter(name).shape) for name in expected}
    assert shapes == expected
    other = inputs.flip(0) + 1 if inputs.is_floating_point() else inputs.flip(1)
    with torch.no_grad():
        for data in (inputs, other):
            want = masked_copy(model, masks).eval()(data)
            have = pruned.model.eval()(data)
            torch.testing.assert_close(have, want, rtol=tolerance, atol=tolerance)
    return pruned


# ------------------------------------------------------------------- the same outputs


@removal
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)]
)
def test_convolutions_with_batch_norm(dtype, tolerance):
    model = built(lenet, dtype)
    masks = without(model, _0=[1, 3], _4=[0], _8=[2, 5])
    pruned = check(
        model,
        masks,
        images(dtype),
        {"0.weight": (4, 2, 3, 3), "4.weight": (4, 4, 3, 3), "8.weight": (6, 16)},
        tolerance,
    )
    # The batch norm behind took the constant up: no bias is added.
    assert pruned.model[4].bias is None
    assert pruned.model[1].num_features == pruned.model[4].in_channels == 4
    assert pruned.model[10].in_features == 6
    assert pruned.report.difference < tolerance


@removal
def test_a_constant_becomes_a_bias():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2, bias=False)
    ).double()
    inputs = torch.randn(5, 3, dtype=torch.float64)
    pruned = check(model, without(model, _0=[0, 2]), inputs, {"2.weight": (2, 2)})
    bias = torch.sigmoid(model[0].bias[[0, 2]])
    torch.testing.assert_close(
        pruned.model[2].bias, model[2].weight[:, [0, 2]] @ bias, rtol=1e-13, atol=0
    )
    assert pruned.report.after.parameters == 2 * 3 + 2 + 4 + 2


@removal
def test_zero_padding_and_residual_streams():
    model = built(Residual)
    # Channel 1 has no writer left; channel 2 of the stream has one.
    masks = without(model, stem=[1, 2], second=[1, 4], first=[0])
    shapes = {"stem.weight": (6, 2, 3, 3), "first.weight": (4, 6, 3, 3)}
    pruned = prune(model, masks, images(), constants="zero", repeats=0)
    silent = masked_copy(model, masks)
    with torch.no_grad():
        for part, row in (("norm", 1), ("norm2", 1), ("norm1", 0)):
            getattr(silent, part).weight[row] = getattr(silent, part).bias[row] = 0
    data = images().flip(0) + 1
    torch.testing.assert_close(
        pruned.model.eval()(data), silent.eval()(data), rtol=1e-12, atol=1e-12
    )
    # With zeros it holds in training mode too.
    torch.testing.assert_close(
        pruned.model.train()(data), silent.train()(data), rtol=1e-12, atol=1e-12
    )
    widths = [pruned.model.stem.out_channels, pruned.model.first.out_channels]
    assert widths == [5, 4]
    note = pruned.report.layer_frame().set_index("name")
    assert note["zero"].to_dict() == {"stem": 1, "first": 0, "second": 1}
    assert note["note"]["stem"] == "coupled to units that are kept"

    # A ReLU of something negative is zero, which padding does not disturb.
    with torch.no_grad():
        for norm in (model.norm, model.norm2):
            norm.running_mean[1] = 0
            norm.bias[1] = 0.7
    folded = check(model, masks, images(), shapes)
    notes = {row.name: (row.zero, row.note) for row in folded.report.layers}
    note = "its constant output meets zero padding; constants='zero' removes it"
    assert notes["stem"] == (2, note)
    with torch.no_grad():
        for norm in (model.norm, model.norm2):
            norm.bias[1] = -0.7
    check(
        model,
        masks,
        images(),
        {"stem.weight": (5, 2, 3, 3), "first.weight": (4, 5, 3, 3)},
    )


@removal
def test_units_that_nobody_reads_go_over_several_layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.Linear(4, 2))
    masks = {
        "2.weight": torch.ones(4, 5, dtype=torch.bool),
        "3.weight": torch.ones(2, 4, dtype=torch.bool),
    }
    masks["3.weight"][:, 1] = False  # so unit 1 of layer 2 is not read,
    masks["2.weight"][[0, 2, 3], 4] = False  # and unit 4 of layer 0 by that one only
    inputs = torch.randn(3, 3, dtype=torch.float64)
    check(
        model.double(),
        masks,
        inputs,
        {"0.weight": (4, 3), "2.weight": (3, 4), "3.weight": (2, 3)},
    )


@removal
def test_halves_that_are_multiplied_go_together():
    model = built(Gated)
    masks = without(model, inner=[0, 6, 1, 8])
    inputs = torch.randn(3, 4, dtype=torch.float64)
    pruned = check(model, masks, inputs, {"inner.weight": (10, 4)})
    assert pruned.changes[0].kept[0].tolist() == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]


@removal
def test_joined_layers():
    model = built(Dense)
    masks = without(model, a=[3], b=[0, 4], c=[2])
    pruned = check(
        model,
        masks,
        images(size=6),
        {
            "a.weight": (3, 2, 3, 3),
            "b.weight": (3, 3, 1, 1),
            "c.weight": (5, 6, 3, 3),
            "head.weight": (3, 20),
        },
    )
    kept = {change.name: change.kept for change in pruned.changes}
    assert kept["norm.weight"][0].tolist() == [0, 1, 2, 5, 6, 7]


@removal
def test_depthwise_convolutions():
    model = built(Separable)
    # Channel 0 is cut before the depthwise filter, channel 5 by it.
    masks = without(model, a=[0], deep=[5], b=[1])
    pruned = check(
        model,
        masks,
        images(),
        {"a.weight": (4, 2, 1, 1), "deep.weight": (4, 1, 3, 3)},
    )
    assert pruned.model.deep.groups == pruned.model.deep.in_channels == 4


@removal
@pytest.mark.parametrize("dims", [1, 3])
def test_other_dimensions_and_transposed_convolutions(dims):
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    back = {1: nn.ConvTranspose1d, 3: nn.ConvTranspose3d}[dims]
    norm = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}[dims]
    torch.manual_seed(0)
    model = nn.Sequential(
        conv(2, 4, 2), nn.ReLU(), back(4, 5, 2), norm(5), nn.Flatten(), nn.LazyLinear(3)
    )
    inputs = torch.randn(3, 2, *[4] * dims, dtype=torch.float64)
    model.double()(inputs)
    with torch.no_grad():
        model[0].bias[1] = -1  # a constant of zero behind the ReLU
    masks = without(model, _0=[1])
    masks["2.weight"] = torch.ones(model[2].weight.shape, dtype=torch.bool)
    masks["2.weight"][:, [0, 2]] = False
    check(
        model,
        masks,
        inputs,
        {"0.weight": (3, 2, *[2] * dims), "2.weight": (3, 3, *[2] * dims)},
    )
    with torch.no_grad():
        model[0].bias[1] = 1
    # Outputs at the border see fewer inputs: another constant cannot become a bias.
    shapes = {"0.weight": (4, 2, *[2] * dims), "2.weight": (4, 3, *[2] * dims)}
    pruned = check(model, masks, inputs, shapes)
    (note,) = {row.note for row in pruned.report.layers if row.zero}
    assert note.startswith("its constant output meets zero padding")


@removal
def test_transformer_neurons_and_heads():
    model = built(Language)
    inputs = torch.randint(0, 11, (3, 5))
    masks = without(model, up=[1, 2, 9])
    masks["down.weight"] = torch.ones(8, 12, dtype=torch.bool)
    masks["down.weight"][:, [1, 2, 9]] = False
    for name, dim in (("attention.qkv.weight", 0), ("attention.out.weight", 1)):
        masks[name] = torch.ones(model.get_parameter(name).shape, dtype=torch.bool)
        rows = masks[name].movedim(dim, 0).unflatten(0, (-1, 4, 2))
        rows[:, [0, 2]] = False
    inner = {"up.weight": (9, 8), "down.weight": (8, 9)}
    pruned = check(model, masks, inputs, {**inner, "attention.qkv.weight": (24, 8)})
    notes = {row.name: row.note for row in pruned.report.layers}
    assert notes["attention.qkv"].startswith("mixes channels: ScaledDotProduct")
    pruned = check(
        model,
        masks,
        inputs,
        {**inner, "attention.qkv.weight": (12, 8), "attention.out.weight": (8, 4)},
        heads={"attention": "n_heads"},
    )
    assert pruned.model.attention.n_heads == 2
    assert model.attention.n_heads == 4
    # A part of a head is not enough.
    masks["attention.qkv.weight"][:] = True
    masks["attention.out.weight"][:, 0] = True
    pruned = check(
        model,
        masks,
        inputs,
        {**inner, "attention.out.weight": (8, 6)},
        heads={"attention": "n_heads"},
    )


@removal
def test_torch_transformer_layers():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 2)
    ).double()
    masks = without(model, _0__linear1=[0, 3, 4])
    inputs = torch.randn(3, 5, 8, dtype=torch.float64)
    check(model, masks, inputs, {"0.linear1.weight": (13, 8)})


@removal
@pytest.mark.parametrize("what", ["shared", "twice", "grouped", "parametrized"])
def test_what_is_not_understood_stays(what):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.c = nn.Conv1d(4, 4, 1, groups=2)
            self.head = nn.Linear(4, 2)
            if what == "shared":
                self.b.weight = self.a.weight

        def forward(self, x):
            x = F.relu(self.a(x))
            if what == "twice":
                x = self.a(x)
            x = F.relu(self.b(x))
            if what == "grouped":
                x = self.c(x[:, :, None]).squeeze(2)
            return self.head(x)

    torch.manual_seed(0)
    model = Net().double()
    name = {"grouped": "b", "parametrized": "b"}.get(what, "a")
    masks = without(model, **{name: [1]})
    if what == "parametrized":
        nn.utils.parametrizations.weight_norm(model.a)
        masks = without(model, b=[1])
        shapes = {"b.weight": (3, 4)}
    else:
        shapes = {f"{name}.weight": (4, 4)}
    pruned = check(model, masks, torch.randn(3, 4, dtype=torch.float64), shapes)
    notes = " ".join(row.note for row in pruned.report.layers)
    found = {"shared": "shares its weights", "twice": "more than once"}
    found |= {"grouped": "groups of channels in c", "parametrized": ""}
    assert found[what] in notes


@removal
def test_an_input_that_is_added_keeps_its_channels():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(x + self.a(x))

    model = built(Net)
    inputs = torch.randn(3, 4, dtype=torch.float64)
    pruned = check(model, without(model, a=[1]), inputs, {"a.weight": (4, 4)})
    assert pruned.report.layers[0].note == "depends on the input"


@removal
def test_skip_and_output_layers():
    model = built(lenet)
    masks = without(model, _0=[1], _10=[2])
    pruned = check(model, masks, images(), {"0.weight": (6, 2, 3, 3)}, skip=["0"])
    notes = {row.name: row.note for row in pruned.report.layers}
    assert notes == {"0": "skip names 0", "10": "output of the network"}


@removal
def test_failures_leave_the_model_alone():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(F.relu(self.a(x)).reshape(-1, 4))

    model = built(Net)
    before = copy.deepcopy(model.state_dict())
    inputs = torch.randn(4, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"fails after removal.*skip=\[...\]: a\."):
        prune(model, without(model, a=[1]), inputs)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@removal
def test_modes_flags_and_the_given_model_stay():
    model = built(lenet).train()
    model[1].eval()
    model[8].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    pruned = prune(model, without(model, _0=[1], _8=[3]), images(), repeats=1)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    for network in (model, pruned.model):
        assert [m.training for m in network] == [k != 1 for k in range(11)]
        flags = [n for n, p in network.named_parameters() if not p.requires_grad]
        assert flags == ["8.weight"]
    assert pruned.model[8].weight.shape == (7, 20)


@removal
def test_a_block_may_be_emptied():
    model = built(Residual)
    masks = without(model, first=list(range(5)))
    with pytest.raises(ValueError, match="Nothing is left of 'first.weight'"):
        prune(model, masks, images())
    pruned = check(
        model, masks, images(), {"first.weight": (1, 6, 3, 3)}, allow_empty=True
    )
    notes = {row.name: row.note for row in pruned.report.layers}
    assert notes["first"] == "a layer keeps one unit"


@removal
def test_a_layer_that_nobody_reads_is_named():
    model = built(lenet)
    masks = {"8.weight": torch.ones(8, 20, dtype=torch.bool)}
    masks["8.weight"][:, 4:] = False
    masks["4.weight"] = torch.ones(5, 6, 3, 3, dtype=torch.bool)
    masks["4.weight"][0] = False
    with pytest.raises(ValueError, match="All units of '4' would be removed"):
        prune(model, masks, images())


# ---------------------------------------------------------------------------- the path


def trained(n_steps=11, **options):
    model = built(lambda: lenet(norm=False))
    options = {"lr": 0.1, "nu": 3.0, "lam": 0.5, "momentum": 0.9, **options}
    optimizer = DessiLBI(groups_for(model), **options)
    recorder = PathRecorder(optimizer, model, every=1)
    train(optimizer, list(model.parameters()), n_steps)
    return model, optimizer, recorder


def test_masks_of_recorders_and_optimizers():
    model, optimizer, recorder = trained(8, lam=0.2)
    now = group_masks(model, optimizer)
    assert not all(mask.all() for mask in now.values())
    for source in (recorder, optimizer, now):
        found = prune(model, source, physical=False).masks
        assert all(torch.equal(found[name], now[name]) for name in now)
    entries = recorder.entries()
    t = float(entries["time"].iloc[len(entries) // 2])
    found = prune(model, recorder, at=t, physical=False, allow_empty=True).masks
    expected = recorder.masks_at(t)
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    number = len(entries) - 1
    found = prune(model, recorder, keep=number, physical=False).masks
    kept = {
        (name, row)
        for name, mask in found.items()
        for row in range(len(mask))
        if mask[row].any()
    }
    first = entries.iloc[:number]
    assert kept == set(zip(first["name"], first["group"], strict=True))


def test_the_strongest_instead_of_the_first():
    model, _, recorder = trained(60)
    entries = recorder.entries()
    by_norm = entries.sort_values("norm", ascending=False)
    options = {"physical": False, "allow_empty": True}
    differ = 0
    for number in range(1, len(entries)):
        kept = {}
        for order in ("entry", "norm"):
            masks = prune(model, recorder, keep=number, order=order, **options).masks
            kept[order] = {
                (name, row)
                for name, mask in masks.items()
                for row in range(len(mask))
                if mask[row].any()
            }
        for order, table in (("entry", entries), ("norm", by_norm)):
            first = table.iloc[:number]
            assert kept[order] == set(zip(first["name"], first["group"], strict=True))
        differ += kept["entry"] != kept["norm"]
    assert differ  # or the test says nothing


def test_a_share_of_the_weights():
    model, _, recorder = trained(15)
    weights = {name: model.get_parameter(name) for name in recorder.names}
    total = sum(p.numel() for p in weights.values())
    largest = max(p[0].numel() for p in weights.values())
    masks = prune(model, recorder, keep=0.6, physical=False, allow_empty=True).masks
    held = sum(int(mask.sum()) for mask in masks.values())
    assert total * 0.6 - largest < held <= total * 0.6
    masks = prune(model, recorder, keep={"0.weight": 2}, physical=False).masks
    assert masks["0.weight"].any((1, 2, 3)).sum() == 2
    assert masks["4.weight"].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0.9999}, "have entered hold 0.5"),
        ({"keep": 0.0}, "must be a share"),
        ({"keep": 1.5}, "must be a share"),
        ({"keep": 0}, "must be a share"),
        ({"keep": True}, "must be a share"),
        ({"keep": 500}, "only 6 of 19 groups have entered"),
        ({"keep": {"0.wait": 1}}, r"keep names \['0.wait'\]"),
        ({"at": 100.0}, "t=100.0 must lie between"),
        ({"at": 0.1, "keep": 3}, "give one of them"),
        ({"at": 0.0}, "Nothing is left of '0.weight', '4.weight', '8.weight'"),
        ({"keep": 3, "order": "size"}, "order='size' must be one of"),
        ({"constants": "keep"}, "must be 'fold' or 'zero'"),
        ({"repeats": -1}, "repeats=-1"),
    ],
)
def test_bad_choices(options, message):
    model, _, recorder = trained()
    with pytest.raises(ValueError, match=message):
        prune(model, recorder, **{"physical": False, **options})


def test_bad_masks_and_inputs():
    model = built(lenet)
    masks = without(model, _0=[1])
    with pytest.raises(TypeError, match="masks is a list"):
        prune(model, [], physical=False)
    with pytest.raises(ValueError, match="masks is empty"):
        prune(model, {}, physical=False)
    with pytest.raises(ValueError, match="'0.wheight', which is no parameter.*'0.wei"):
        prune(model, {"0.wheight": masks["0.weight"]}, physical=False)
    with pytest.raises(ValueError, match=r"has shape \(6,\), and the parameter \(6, 2"):
        prune(model, {"0.weight": masks["0.weight"][:, 0, 0, 0]}, physical=False)
    with pytest.raises(ValueError, match="of torch.float32, expected"):
        prune(model, {"0.weight": masks["0.weight"].float()}, physical=False)
    with pytest.raises(ValueError, match="at= needs a PathRecorder"):
        prune(model, masks, at=0.1, physical=False)
    with pytest.raises(ValueError, match="example_inputs is missing"):
        prune(model, masks)
    with pytest.raises(ValueError, match="at least 2"):
        prune(model, masks, images()[:1])
    with pytest.raises(TypeError, match="must be a Tensor"):
        prune(model, masks, [3.0])


@removal
def test_bad_heads():
    model = built(Language)
    inputs = torch.randint(0, 11, (3, 5))
    masks = without(model, up=[1])
    with pytest.raises(ValueError, match="heads names 'attn'"):
        prune(model, masks, inputs, heads={"attn": "n_heads"})
    with pytest.raises(ValueError, match="attention.heads is None"):
        prune(model, masks, inputs, heads={"attention": "heads"})


def test_torch_pruning_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    model = built(lenet)
    with pytest.raises(ImportError, match=r'pip install "sparselbi\[pruning\]"'):
        prune(model, without(model, _0=[1]), images())


# ---------------------------------------------------------------------------- reports


@removal
def test_the_report_counts():
    model = built(lenet)
    pruned = prune(
        model, without(model, _0=[1, 3], _4=[0], _8=[2, 5]), images(), repeats=2
    )
    after = pruned.report.after
    #        conv           norm    conv        norm    linear        linear
    count = 4 * 18 + 4 + 2 * 4 + 4 * 4 * 9 + 2 * 4 + 6 * 16 + 6 + 3 * 6 + 3
    assert after.parameters == count
    assert after.macs == 64 * 4 * 18 + 4 * 4 * 36 + 6 * 16 + 3 * 6
    frame = pruned.report.to_frame()
    before = sum(p.numel() for p in model.parameters())
    assert frame.loc["parameters"].tolist() == [before, count, before / count]
    assert (frame.loc["latency"] > 0).all()
    text = repr(pruned.report)
    assert "batch size 4" in text
    assert "median of 2 forward passes" in text
    masked = prune(model, without(model, _0=[1, 3]), physical=False).report
    assert masked.after.nonzero == before - 2 * 18
    assert masked.after.parameters == before


def test_bytes_are_those_of_the_file(tmp_path):
    model = built(lenet)
    pruned = prune(model, without(model, _0=[1]), physical=False)
    torch.save(pruned.model.state_dict(), tmp_path / "weights.pt")
    size = (tmp_path / "weights.pt").stat().st_size
    assert abs(pruned.report.after.bytes - size) <= 0.01 * size  # names of folders


# -------------------------------------------------------------------------- round trip


@removal
@pytest.mark.parametrize("make", [lenet, Residual, Dense, Separable, Language])
def test_saved_networks_are_read_without_pickle(tmp_path, make):
    model = built(make)
    inputs = torch.randint(0, 11, (3, 5)) if make is Language else images()
    inputs = images(size=6) if make is Dense else inputs
    names = {lenet: "_4", Residual: "first", Dense: "a", Language: "up"}
    masks = without(model, **{names.get(make, "b"): [0, 1]})
    options = {}
    if make is Language:
        masks["attention.qkv.weight"] = mask = torch.ones(24, 8, dtype=torch.bool)
        mask.unflatten(0, (3, 4, 2))[:, 1] = False
        options = {"heads": {"attention": "n_heads"}, "constants": "zero"}
    pruned = prune(model, masks, inputs, repeats=0, **options)
    pruned.save(tmp_path)
    fresh = load_pruned(make().double(), tmp_path)
    torch.testing.assert_close(
        fresh.eval()(inputs), pruned.model.eval()(inputs), rtol=0, atol=0
    )
    assert repr(fresh) == repr(pruned.model)
    structure = json.loads((tmp_path / "structure.json").read_text())
    assert structure == pruned.structure()
    # It can be trained.
    fresh.train()(inputs).square().sum().backward()


@removal
def test_added_biases_are_read(tmp_path):
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))  # noqa: E731
    model = make()
    inputs = torch.randn(5, 3)
    pruned = prune(model, without(model, _0=[0]), inputs, repeats=0)
    pruned.save(tmp_path)
    assert torch.equal(load_pruned(make(), tmp_path)[1].bias, pruned.model[1].bias)


@removal
def test_files_that_do_not_fit(tmp_path):
    model = built(lenet)
    prune(model, without(model, _0=[1]), images(), repeats=0).save(tmp_path)
    with pytest.raises(ValueError, match="another architecture.*differ in"):
        load_pruned(built(Residual), tmp_path)
    narrow = lenet().double()
    narrow[8] = nn.Linear(20, 4)
    before = copy.deepcopy(narrow.state_dict())
    with pytest.raises(ValueError, match="another architecture.*8.weight"):
        load_pruned(narrow, tmp_path)
    assert all(torch.equal(before[k], v) for k, v in narrow.state_dict().items())
    with pytest.raises(FileNotFoundError):
        load_pruned(lenet(), tmp_path / "nothing")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="do not belong together.*0.bias"):
        load_pruned(lenet().double(), tmp_path)
    (tmp_path / "structure.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="has format 99"):
        load_pruned(lenet(), tmp_path)


# ----------------------------------------------------------------------- the optimizer


@removal
@pytest.mark.parametrize("kind", ["dessilbi", "coupled adam"])
def test_the_state_of_the_optimizer_moves_along(kind):
    model, optimizer, recorder = trained()
    recorder.remove()
    if kind == "coupled adam":
        optimizer = torch.optim.AdamW(groups_for(model), lr=0.1)
        couple(optimizer, nu=3.0, lam=0.8)
        train(optimizer, list(model.parameters()), 5)
    saved = {
        name: copy.deepcopy(optimizer.state[param])
        for name, param in model.named_parameters()
    }
    pruned = prune(
        model, without(model, _0=[1, 4], _4=[2]), images(), repeats=0, constants="zero"
    )
    move_optimizer(optimizer, pruned)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in pruned.model.parameters()}
    assert set(map(id, optimizer.state)) == held
    rows, columns = [0, 2, 3, 5], [0, 1, 3, 4]
    for key, value in saved["4.weight"].items():
        new = optimizer.state[pruned.model[4].weight][key]
        if torch.is_tensor(value) and value.ndim:
            value = value[columns][:, rows]
        assert torch.equal(torch.as_tensor(new), torch.as_tensor(value))
    before = pruned.model[4].weight.clone()
    for param in pruned.model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert not torch.equal(pruned.model[4].weight, before)
    recorder = PathRecorder(optimizer, pruned.model)
    assert recorder.names == ("0.weight", "4.weight", "8.weight")


@removal
def test_moved_steps_are_those_of_the_large_network():
    """Elementwise groups, and gradients that do not depend on what was cut."""
    model = built(lambda: lenet(norm=False))
    table = groups_for(model, "weight")
    optimizer = DessiLBI(table, lr=0.1, nu=3.0, lam=0.1, momentum=0.9)
    params = dict(model.named_parameters())

    def step(optimizer, values):
        for k, param in enumerate(values.values()):
            param.grad = torch.full_like(param, 0.1 * (k + 1)) + 0.1 * param
        optimizer.step()

    step(optimizer, params)
    pruned = prune(model, without(model, _0=[1]), images(), repeats=0)
    other = DessiLBI(groups_for(model, "weight"), lr=0.1, nu=3.0, lam=0.1, momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    # Folding changed this bias, and masking what is cut: nothing else.
    with torch.no_grad():
        params["4.bias"].copy_(pruned.model[4].bias)
    move_optimizer(optimizer, pruned)
    for _ in range(4):
        step(other, params)
        step(optimizer, dict(pruned.model.named_parameters()))
    for change in pruned.changes:
        torch.testing.assert_close(change.new, change.take(change.old), rtol=0, atol=0)


@removal
def test_numbers_of_heads_in_groups_follow():
    model = built(Language)
    names = ("attention.qkv.weight", "attention.out.weight")
    table = groups_for(model, choose={names: "dim0/3x4,dim1/4"})
    optimizer = DessiLBI(table, lr=0.1)
    masks = {name: torch.ones(model.get_parameter(name).shape).bool() for name in names}
    masks[names[0]].unflatten(0, (3, 4, 2))[:, 1] = False
    inputs = torch.randint(0, 11, (3, 5))
    heads = {"attention": "n_heads"}
    pruned = prune(model, masks, inputs, heads=heads, repeats=0)
    move_optimizer(optimizer, pruned)
    texts = [group["groups"] for group in optimizer.param_groups]
    assert "dim0/3x3,dim1/3" in texts
    train(optimizer, list(pruned.model.parameters()), 1)


@removal
def test_added_biases_join_the_optimizer():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)
    )
    table = [("0.weight", model[0].weight), ("1.weight", model[1].weight)]
    dense = [("0.bias", model[0].bias), ("2.weight", model[2].weight)]
    optimizer = DessiLBI(
        [{"params": table, "groups": "neuron"}, {"params": dense}], lr=0.1
    )
    pruned = prune(model, without(model, _0=[0]), torch.randn(5, 3), repeats=0)
    move_optimizer(optimizer, pruned.changes)
    assert optimizer.param_groups[1]["param_names"] == ["0.bias", "2.weight", "1.bias"]
    assert optimizer.param_groups[1]["params"][2] is pruned.model[1].bias
    adam = torch.optim.Adam(model.parameters())
    move_optimizer(adam, pruned)
    assert any(p is pruned.model[1].bias for p in adam.param_groups[0]["params"])


@removal
def test_optimizers_that_cannot_move():
    model, optimizer, _ = trained()
    pruned = prune(model, without(model, _0=[1, 4]), images(), repeats=0)
    other = torch.optim.SGD([nn.Parameter(torch.ones(3))], lr=0.1)
    with pytest.raises(ValueError, match=r"did not come from: param_groups\[0\]"):
        move_optimizer(other, pruned)
    state = optimizer.state[model[0].weight]
    state["row_means"] = torch.ones(6)
    with pytest.raises(ValueError, match=r"'row_means' of '0.weight' has shape \(6,\)"):
        move_optimizer(optimizer, pruned)
    assert optimizer.param_groups[0]["params"][0] is model[0].weight
    del state["row_means"]
    move_optimizer(optimizer, pruned)
    with pytest.raises(ValueError, match="once"):
        move_optimizer(optimizer, pruned)
    block = DessiLBI(groups_for(model, choose={"4.weight": "2:3"}), lr=0.1)
    with pytest.raises(ValueError, match="no longer fit '4.weight'"):
        move_optimizer(block, pruned)


def test_channels_last_stay_last(tmp_path):
    last = torch.channels_last

    def network():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten()
        return nn.Sequential(*layers).to(memory_format=last)

    mask = (torch.arange(6) < 4)[:, None, None, None].expand(6, 3, 3, 3)
    x = torch.randn(4, 3, 8, 8).contiguous(memory_format=last)
    pruned = prune(network(), {"0.weight": mask}, x, constants="zero")
    pruned.save(tmp_path)
    for small in (pruned.model, load_pruned(network(), tmp_path)):
        assert small[2].weight.shape == (4, 4, 3, 3)
        for layer in (small[0], small[2]):
            assert layer.weight.is_contiguous(memory_format=last)
            assert not layer.weight.is_contiguous()
        assert torch.equal(small(x), pruned.model(x))
