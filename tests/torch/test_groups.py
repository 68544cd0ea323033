"""groups_for: what is proposed, chosen, refused and shown."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from sparselbi.torch import DessiLBI, couple, groups_for  # noqa: E402
from tests.torch.twin import group_norms  # noqa: E402


class Net(nn.Module):
    """One module of every kind."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 3))
        self.embedding = nn.Embedding(10, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.cross = nn.MultiheadAttention(8, 4, kdim=6, vdim=6)
        self.lstm = nn.LSTM(8, 5)
        self.conv1 = nn.Conv1d(2, 4, 3)
        self.conv3 = nn.Conv3d(4, 6, 3, groups=2)
        self.depthwise = nn.Conv2d(4, 8, 3, groups=4)
        self.up = nn.ConvTranspose2d(4, 6, 3)
        self.grouped_up = nn.ConvTranspose2d(4, 6, 3, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Linear(6, 7)
        self.last = nn.Linear(7, 3)


UNIT = {
    "conv1.weight": ("filter", 4, 6),
    "conv3.weight": ("filter", 6, 54),
    "depthwise.weight": ("filter", 8, 9),
    "up.weight": ("filter", 6, 36),
    "first.weight": ("neuron", 7, 6),
    "encoder.layers.0.self_attn.in_proj_weight + "
    "encoder.layers.0.self_attn.out_proj.weight": ("head", 2, 3 * 4 * 8 + 8 * 4),
    "encoder.layers.0.linear1.weight + encoder.layers.0.linear2.weight": (
        "MLP neuron",
        12,
        16,
    ),
    "cross.q_proj_weight + cross.k_proj_weight + cross.v_proj_weight + "
    "cross.out_proj.weight": ("head", 4, 2 * 8 + 2 * 6 + 2 * 6 + 8 * 2),
}
DENSE = {
    "scale": "not known",
    "embedding.weight": "tokens",
    "lstm.weight_ih_l0": "'dim0/4x5'",
    "lstm.weight_hh_l0": "'dim0/4x5'",
    "grouped_up.weight": "groups=2",
    "last.weight": "last layer",
}


def registered(table):
    return {row.name: row for row in table.rows if row.groups is not None}


def test_units_by_module_type():
    model = Net()
    frame = groups_for(model).to_frame().set_index("name")
    inside = frame[frame["n_groups"] > 0]
    found = {
        name: (row["groups"], row["n_groups"], row["size"])
        for name, row in inside.iterrows()
    }
    assert found == UNIT
    for name, reason in DENSE.items():
        assert reason in frame.loc[name, "note"]
    rest = frame[(frame["n_groups"] == 0) & ~frame.index.isin(DENSE)]
    assert set(rest["note"]) == {"vector"}
    assert frame["weights"].sum() == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("level", ["weight", "unit", "layer"])
def test_every_parameter_is_in_one_group(level):
    model = Net()
    groups = groups_for(model, level).param_groups()
    names = [name for group in groups for name, _ in group["params"]]
    assert sorted(names) == sorted(dict(model.named_parameters()))
    assert groups[-1]["groups"] is None
    DessiLBI(groups_for(model, level), lr=0.1)


@pytest.mark.parametrize(
    ("level", "word"), [("weight", "element"), ("layer", "tensor")]
)
def test_weights_and_layers(level, word):
    rows = registered(groups_for(Net(), level))
    assert {row.groups for row in rows.values()} == {word}
    assert "last.weight" in rows
    assert "embedding.weight" in rows
    assert not any(row.params[0].ndim < 2 for row in rows.values())
    assert "norm.weight" not in rows


def test_heads_are_the_heads_of_the_module():
    # Zero the group of one head: the output is that of attention without it.
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    x = torch.randn(1, 5, 8)
    (row,) = registered(groups_for(attention)).values()
    (groups,) = row.sets()
    keep = torch.tensor([True, False])
    q, k, v = (attention.in_proj_weight @ x[0].T).T.split(8, dim=1)
    weights = torch.softmax(q[:, :4] @ k[:, :4].T / 2, dim=1)
    expected = (weights @ v[:, :4]) @ attention.out_proj.weight[:, :4].T
    with torch.no_grad():
        for param, mask in zip(row.params, groups.masks(keep), strict=True):
            param.mul_(mask)
    output, _ = attention(x, x, x)
    torch.testing.assert_close(output[0], expected)


def test_joined_norms():
    model = nn.TransformerEncoderLayer(4, 2, 6)
    row = registered(groups_for(model))["linear1.weight + linear2.weight"]
    (groups,) = row.sets()
    tensors = [p.detach() for p in row.params]
    expected = group_norms(("neuron", "channel"), [t.numpy() for t in tensors])
    torch.testing.assert_close(
        groups.norms(tensors), torch.tensor([expected[g] for g in range(6)]).float()
    )


def test_frozen_and_tied_tensors():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    table = groups_for(model)
    assert list(registered(table)) == ["0.weight"]
    model[0].weight.requires_grad_(False)
    assert (
        groups_for(model).to_frame().set_index("name")["note"]["0.weight"] == "frozen"
    )


def test_choices():
    model = Net()
    table = groups_for(
        model,
        lam=2.0,
        choose={
            "conv*": None,
            "conv3.weight": {"groups": "filter", "lam": 0.5, "nu": 9.0},
            "depthwise": "channel",
            "up": "channel",
            "embedding": "row",
            "lstm.weight_*": "dim0/4x5",
            "first": "2:3",
            "last": "channel",
            "encoder.layers.0.self_attn": None,
            "norm.weight": "element",
            "cross": "head",
            ("scale",): "tensor",
        },
    )
    rows = registered(table)
    found = {name: (row.groups, row.sets()[0].n_groups) for name, row in rows.items()}
    heads = "cross.q_proj_weight + cross.k_proj_weight + cross.v_proj_weight + "
    assert found == {
        "scale": ("tensor", 1),
        "embedding.weight": ("row", 10),
        "encoder.layers.0.linear1.weight + encoder.layers.0.linear2.weight": (
            "neuron,channel",
            12,
        ),
        heads + "cross.out_proj.weight": ("dim0/4,dim0/4,dim0/4,dim1/4", 4),
        "lstm.weight_ih_l0": ("dim0/4x5", 5),
        "lstm.weight_hh_l0": ("dim0/4x5", 5),
        "conv3.weight": ("filter", 6),
        "depthwise.weight": ("dim0", 8),
        "up.weight": ("dim0", 4),
        "norm.weight": ("element", 6),
        "first.weight": ("2:3", 42),
        "last.weight": ("channel", 7),
    }
    optimizer = DessiLBI(table, lr=0.1)
    special = [g for g in optimizer.param_groups if "conv3.weight" in g["param_names"]]
    assert (special[0]["lam"], special[0]["nu"]) == (0.5, 9.0)
    assert {g["lam"] for g in optimizer.param_groups[:-1]} == {0.5, 2.0}
    table = groups_for(model, choose={"last": {"groups": None, "lr": 0.01}})
    optimizer = DessiLBI(table, lr=0.1)
    slow = [g for g in optimizer.param_groups if g["lr"] == 0.01]
    assert [g["param_names"] for g in slow] == [["last.weight", "last.bias"]]


def test_blocks_and_joined_tensors():
    model = Net()
    table = groups_for(
        model,
        choose={
            "encoder.layers.0": "block",
            ("first.weight", "last.weight"): "neuron,channel",
        },
    )
    rows = registered(table)
    block = [row for row in rows.values() if row.kind == "block"]
    assert block[0].sets()[0].n_groups == 1
    assert block[0].sets()[0].size == 24 * 8 + 8 * 8 + 2 * 12 * 8
    assert rows["first.weight + last.weight"].sets()[0].size == 6 + 3
    # What was joined before and is not chosen now is dense, not lost.
    table = groups_for(model, choose={"encoder.layers.0.linear1": "element"})
    notes = table.to_frame().set_index("name")["note"]
    assert notes["encoder.layers.0.linear2.weight"] == "its partner is chosen"


def test_size_scaling_is_in_the_thresholds():
    frame = groups_for(nn.Conv2d(2, 3, 3), choose={"weight": "filter"}).to_frame()
    assert np.isnan(frame["threshold"][0])  # left to the optimizer
    table = groups_for(
        nn.Conv2d(2, 3, 3), lam=0.5, size_scaling=True, choose={"weight": "filter"}
    )
    assert table.to_frame()["threshold"][0] == pytest.approx(0.5 * 18**0.5)


def test_table_as_text():
    text = repr(groups_for(Net(), lam=1.0)).splitlines()
    assert text[0].split() == [
        *("name", "layer", "groups", "number", "size", "weights", "lam", "note")
    ]
    line = next(t for t in text if t.startswith("up.weight"))
    assert line.split() == [
        "up.weight",
        "ConvTranspose2d",
        "filter",
        "6",
        "36",
        "216",
        "1",
    ]
    assert any(
        t.startswith("encoder.layers.0.self_attn.(in_proj_weight + out_proj.weight)")
        for t in text
    )
    total = sum(p.numel() for p in Net().parameters())
    inside = sum(n * size for _, n, size in UNIT.values())
    groups = sum(n for _, n, _ in UNIT.values())
    assert text[-1] == (
        f"{groups} groups hold {inside:,} of {total:,} parameters "
        f"({inside / total:.1%})."
    )


def test_for_other_optimizers():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    adam = torch.optim.AdamW(groups_for(model, "weight", lam=0.3), lr=0.01)
    couple(adam, nu=1.0, lam=2.0)
    assert [g["lam"] for g in adam.param_groups] == [0.3, 2.0]


def test_options_without_groups_keep_the_groups():
    choose = {"first": "channel", "first.weight": {"lam": 3.0}, "encoder": {"nu": 7.0}}
    rows = {row.names[0]: row for row in groups_for(Net(), lam=1.0, choose=choose).rows}
    first, conv = rows["first.weight"], rows["conv1.weight"]
    assert (first.kind, first.options) == ("channel", {"lam": 3.0})
    assert conv.options == {"lam": 1.0}
    encoder = [row for name, row in rows.items() if name.startswith("encoder")]
    assert {row.kind: row.options for row in encoder if row.groups} == {
        "head": {"lam": 1.0, "nu": 7.0},
        "MLP neuron": {"lam": 1.0, "nu": 7.0},
    }
    assert not any(row.options for row in encoder if not row.groups)


ERRORS = {
    "unknown parameter": (
        {"fist.weight": "neuron"},
        "'fist.weight', .* 'first.weight'",
    ),
    "unknown in a tuple": ({("first.weight", "lst.weight"): "neuron,channel"}, "'lst"),
    "pattern without match": ({"resnet.*": None}, "no parameter or module"),
    "vectors only": ({"*.bias": "element"}, "only vectors"),
    "does not divide": ({"first": "dim0/4"}, "'first.weight'.*does not divide dim 0"),
    "word": ({"first": "filters"}, "'filters' is unknown"),
    "not a text": ({"first": 8}, "must be a text"),
    "no groups": ({"last": {"lam": 3.0}}, "has no 'groups', and last.bias, last.w"),
    "channels of a grouped convolution": ({"conv3": "channel"}, "groups=2.*no slice"),
    "filters of a grouped transposed one": ({"grouped_up": "filter"}, "groups=2"),
    "heads of another module": ({"encoder": "head"}, "needs a torch.nn.Multihead"),
    "heads of a parameter": ({"first.weight": "head"}, "name a module"),
    "module without weight": ({"encoder": "neuron"}, "without a weight of its own"),
    "block of one": ({"first": "block"}, "has 1"),
    "twice": ({("first.weight", "first.weight"): "neuron,neuron"}, "twice"),
    "joined numbers differ": (
        {("first.weight", "last.weight"): "neuron,neuron"},
        r"7 \(neuron\).* 3 \(neuron\)",
    ),
}


@pytest.mark.parametrize(("choose", "message"), ERRORS.values(), ids=ERRORS)
def test_bad_choices(choose, message):
    with pytest.raises(ValueError, match=message):
        groups_for(Net(), choose=choose)


def test_bad_models():
    with pytest.raises(TypeError, match="expected a torch.nn.Module"):
        groups_for([nn.Linear(2, 2)])
    with pytest.raises(ValueError, match="level='filter' is unknown"):
        groups_for(Net(), "filter")
    sparse = nn.Embedding(4, 2, sparse=True)
    with pytest.raises(ValueError, match="sparse=False"):
        groups_for(nn.Sequential(sparse), choose={"0": "row"})


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_modules():
    with pytest.raises(TypeError, match="'weight' has no shape yet"):
        groups_for(nn.LazyLinear(3))
