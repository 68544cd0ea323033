"""grow, widths_to_grow and grow_while_better: wider networks with the same outputs."""

import copy
import json
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparselbi.torch import (  # noqa: E402
    DessiLBI,
    PathRecorder,
    couple,
    group_masks,
    groups_for,
    grow,
    grow_while_better,
    growing,
    load_pruned,
    move_optimizer,
    prune,
    widths_to_grow,
)
from sparselbi.torch._dynamics import current_duals  # noqa: E402
from sparselbi.torch.layouts import all_sets  # noqa: E402

# ---------------------------------------------------------------------------- networks


class Net(nn.Module):
    """Parts, and a function that puts them together."""

    def __init__(self, call, **parts):
        super().__init__()
        self.call = call
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.call(self, x)


def residual():
    def call(net, x):
        x = F.relu(net.norm(net.stem(x)))
        y = F.relu(net.norm1(net.first(x)))
        x = F.relu(x + net.norm2(net.second(y)))
        return net.head(x.mean((2, 3)))

    return Net(
        call,
        stem=nn.Conv2d(2, 6, 3, padding=1, bias=False),
        norm=nn.BatchNorm2d(6),
        first=nn.Conv2d(6, 5, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(5),
        second=nn.Conv2d(5, 6, 1, bias=False),
        norm2=nn.BatchNorm2d(6),
        head=nn.Linear(6, 3),
    )


def lenet():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(20, 8),
        nn.PReLU(8),
        nn.Linear(8, 3),
    )


def joined():
    """A concatenation, a sum with it, and a depthwise convolution behind."""

    def call(net, x):
        x = torch.cat([net.a(x), net.b(x)], 1) + net.c(x)
        return net.head(net.deep(F.relu(x)).flatten(1))

    return Net(
        call,
        a=nn.Conv2d(2, 3, 1),
        b=nn.Conv2d(2, 2, 1),
        c=nn.Conv2d(2, 5, 1),
        deep=nn.Conv2d(5, 5, 2, groups=5),
        head=nn.Linear(5 * 81, 3),
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


def images(dtype=torch.float64):
    return torch.randn(4, 2, 10, 10, dtype=dtype, generator=source(1))


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def check_same(model, grown, inputs, tolerance):
    """On other data too, and with norms that see the batch."""
    with torch.no_grad():
        for data in (inputs, inputs.flip(0) * 2 + 1):
            for training in (False, True):
                one, two = copy.deepcopy(model), copy.deepcopy(grown.model)
                have, want = two.train(training)(data), one.train(training)(data)
                torch.testing.assert_close(have, want, rtol=tolerance, atol=tolerance)
    assert grown.difference <= tolerance * max(1, float(want.abs().max()))


# ------------------------------------------------------------------- the same outputs

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@st.composite
def networks(draw):
    """A random network of convolutions, its inputs, and widths to ask for."""
    dims = draw(st.integers(1, 3))
    conv, back, norm = (
        getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "ConvTranspose", "BatchNorm")
    )
    torch.manual_seed(draw(st.integers(0, 1000)))
    width = draw(st.integers(1, 4))
    parts, n_inputs = [nn.Conv1d(2, width, 1) if dims == 1 else conv(2, width, 1)], 2
    widths = {"0": width + draw(st.integers(1, 3))}

    class Block(nn.Module):
        def __init__(self, width, inner):
            super().__init__()
            self.a, self.norm = conv(width, inner, 3, padding=1), norm(inner)
            self.b = conv(inner, width, 1, bias=False)

        def forward(self, x):
            return x + self.b(F.relu(self.norm(self.a(x))))

    for kind in draw(
        st.lists(
            st.sampled_from(["conv", "back", "norm", "block", "deep", "act"]),
            max_size=5,
        )
    ):
        name = str(len(parts))
        new = draw(st.integers(1, 4))
        more = draw(st.integers(0, 3))
        if kind == "norm":
            part = norm(width)
        elif kind == "act":
            part = nn.Sigmoid()
        elif kind == "deep" and width > 1:
            part = conv(width, width, 3, padding=1, groups=width)
        elif kind == "block":
            part = Block(width, new)
            if more:
                widths[f"{name}.a"] = new + more
        else:
            part = (back if kind == "back" else conv)(width, new, 1)
            width = new
            if more:
                widths[name] = new + more
        parts.append(part)
    parts.append(nn.Flatten())
    if draw(st.booleans()):
        parts += [nn.Linear(width * 3**dims, 5), nn.BatchNorm1d(5), nn.ReLU()]
        widths[str(len(parts) - 3)] = 7
        parts.append(nn.Linear(5, 2))
    else:
        parts.append(nn.Linear(width * 3**dims, 2))
    return nn.Sequential(*parts), torch.randn(3, n_inputs, *[3] * dims), widths


@settings(max_examples=20, deadline=None, derandomize=True)
@given(networks(), st.sampled_from([torch.float64, torch.float32]))
def test_random_networks_keep_their_outputs(network, dtype):
    model, inputs, widths = network
    model, inputs = model.to(dtype), inputs.to(dtype)
    grown = grow(model, widths, inputs, generator=source())
    check_same(model, grown, inputs, TOLERANCE[dtype])
    for name, width in widths.items():
        part = grown.model.get_submodule(name)
        assert width == getattr(part, "out_channels", None) or part.out_features


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("make", "widths", "shapes"),
    [
        (
            lenet,
            {"0": 9, "4": 7, "7": 10},
            {
                "0.weight": (9, 2, 3, 3),
                "1.running_var": (9,),
                "4.weight": (7, 9, 3, 3),
                "7.weight": (10, 28),
                "8.weight": (10,),
                "9.weight": (3, 10),
            },
        ),
        # One layer of the stream is named, all that write or read it grow.
        (
            residual,
            {"second": 9, "first": 6},
            {
                "stem.weight": (9, 2, 3, 3),
                "norm.weight": (9,),
                "first.weight": (6, 9, 3, 3),
                "second.weight": (9, 6, 1, 1),
                "head.weight": (3, 9),
            },
        ),
        (
            joined,
            {"a": 5, "b": 3},
            {"c.weight": (8, 2, 1, 1), "deep.weight": (8, 1, 2, 2)},
        ),
    ],
)
def test_named_networks(make, widths, shapes, dtype):
    model, inputs = built(make, dtype), images(dtype)
    grown = grow(model, widths, inputs, generator=source())
    state = grown.model.state_dict()
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    check_same(model, grown, inputs, TOLERANCE[dtype])


def test_rounding_is_no_change(monkeypatch):
    """Beyond the limit, float64 decides."""
    monkeypatch.setitem(growing.LIMITS, torch.float32, -1.0)
    model, inputs = built(residual, torch.float32), images(torch.float32)
    grown = grow(model, {"stem": 9}, inputs)
    assert all(param.dtype == torch.float32 for param in grown.model.parameters())
    assert grown.difference < 1e-5
    low = grow(model.bfloat16(), {"stem": 9}, inputs.bfloat16())
    assert low.model.first.weight.dtype == torch.bfloat16


def test_where_old_channels_are():
    model = built(joined)
    grown = grow(model, {"a": 5, "b": 3}, images(), generator=source())
    placed = {change.name: change.placed for change in grown.changes}
    # Two new ones behind the 3 of a, one behind the 2 of b.
    assert placed["c.weight"][0].tolist() == [0, 1, 2, 5, 6]
    assert placed["a.weight"][0].tolist() == [0, 1, 2]
    columns = torch.arange(8 * 81).reshape(8, 81)[[0, 1, 2, 5, 6]].reshape(-1)
    assert placed["head.weight"][1].tolist() == columns.tolist()
    for change in grown.changes:
        rows = change.placed.get(0, torch.arange(change.new.shape[0]))
        kept = change.new[rows]
        if 1 in change.placed:
            new = torch.ones(change.new.shape[1], dtype=torch.bool)
            new[change.placed[1]] = False
            assert torch.count_nonzero(kept[:, new]) == 0
            kept = kept[:, ~new]
        assert torch.equal(kept, change.old)
    assert grown.widths["deep"] == {"in_channels": 8, "out_channels": 8, "groups": 8}


def test_new_units_begin_like_a_new_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    model[1].weight.data.fill_(3)
    model[1].running_mean.fill_(2)
    model[1].num_batches_tracked.fill_(7)
    grown = grow(model, {"0": 402}, torch.randn(4, 16), generator=source(3)).model
    new = grown[0].weight[2:]
    # Uniform in +- 1 / sqrt(fan in), which is 1 / 4: the standard deviation follows.
    assert new.abs().max() <= 0.25
    assert new.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.03)
    assert grown[0].bias[2:].abs().max() <= 0.25
    assert grown[0].bias[2:].std() > 0.1
    norm = grown[1]
    for tensor, old, fresh in (
        (norm.weight, 3, 1),
        (norm.bias, 0, 0),
        (norm.running_mean, 2, 0),
        (norm.running_var, 1, 1),
    ):
        assert tensor.tolist() == [old] * 2 + [fresh] * 400
    assert norm.num_batches_tracked == 7
    again = grow(model, {"0": 402}, torch.randn(4, 16), generator=source(3)).model
    assert torch.equal(again[0].weight, grown[0].weight)
    other = grow(model, {"0": 402}, torch.randn(4, 16), generator=source(4)).model
    assert not torch.equal(other[0].weight[2:], new)


def test_random_numbers_of_torch():
    model, inputs = built(lenet), images()
    state = torch.get_rng_state()
    grow(model, {"0": 9}, inputs, generator=source())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    one = grow(model, {"0": 9}, inputs).model[0].weight
    two = grow(model, {"0": 9}, inputs).model[0].weight
    torch.manual_seed(5)
    assert torch.equal(grow(model, {"0": 9}, inputs).model[0].weight, one)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("training", [True, False])
def test_the_given_model_stays_as_it_is(training):
    model = built(lenet).train(training)
    model[4].eval()
    model[0].weight.requires_grad_(False)
    model[7].weight.grad = torch.ones_like(model[7].weight)
    before = copy.deepcopy(model.state_dict())
    ids = [id(tensor) for tensor in model.state_dict(keep_vars=True).values()]
    grown = grow(model, {"0": 9, "7": 9}, images())
    assert ids == [id(t) for t in model.state_dict(keep_vars=True).values()]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(model[7].weight.grad, torch.ones(8, 20).double())
    for network in (model, grown.model):
        assert network.training is training
        assert not network[4].training
        flags = [param.requires_grad for param in network.parameters()]
        assert flags == [False] + [True] * (len(flags) - 1)
    assert model[0].out_channels == 6
    assert all(param.grad is None for param in grown.model.parameters())


def test_halves_embeddings_and_transformer_neurons():
    torch.manual_seed(0)
    gated = Net(
        lambda net, x: net.head(torch.mul(*net.inner(x).chunk(2, 1))),
        inner=nn.Linear(4, 6),
        head=nn.Linear(3, 2),
    ).double()
    inputs = torch.randn(5, 4, dtype=torch.float64)
    grown = grow(gated, {"inner": 10}, inputs)
    assert grown.changes[0].placed[0].tolist() == [0, 1, 2, 5, 6, 7]
    check_same(gated, grown, inputs, 1e-12)
    with pytest.raises(ValueError, match=r"\['inner'\]=9.* multiples of 2"):
        grow(gated, {"inner": 9}, inputs)

    model = Net(
        lambda net, i: net.head(net.tokens(i).mean(1)),
        tokens=nn.Embedding(7, 3, padding_idx=0),
        head=nn.Linear(3, 2),
    ).double()
    index = torch.randint(0, 7, (4, 5))
    grown = grow(model, {"tokens": 6}, index)
    assert grown.model.tokens.weight.shape == (7, 6)
    assert grown.model.tokens.embedding_dim == 6
    assert torch.count_nonzero(grown.model.tokens.weight[0]) == 0
    assert torch.equal(grown.model(index), model(index))

    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True)
    model = nn.Sequential(layer, nn.Linear(4, 2)).double()
    inputs = torch.randn(3, 5, 4, dtype=torch.float64)
    grown = grow(model, {"0.linear1": 9}, inputs)
    assert grown.model[0].linear2.in_features == 9
    torch.testing.assert_close(
        grown.model.eval()(inputs), model.eval()(inputs), rtol=1e-12, atol=1e-12
    )


# --------------------------------------------------------------------------- refusals


def two(make_middle, width=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 1), *make_middle(), nn.Flatten(), nn.Linear(width * 100, 2)
    ).double()


def twice():
    part = nn.Conv2d(4, 4, 1)
    return part, part


def tied():
    one, other = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    other.weight = one.weight
    return one, other


@pytest.mark.parametrize(
    ("middle", "name", "message"),
    [
        (lambda: [nn.GroupNorm(2, 4)], "0", "GroupNorm 1 mixes channels"),
        (lambda: [nn.LayerNorm([4, 10, 10])], "0", "LayerNorm 1 mixes channels"),
        (lambda: [nn.Conv2d(4, 4, 1, groups=2)], "0", "groups of channels in 1"),
        (lambda: [nn.Conv2d(4, 4, 1, groups=2)], "1", "groups of channels in 1"),
        (
            lambda: [nn.Conv2d(4, 4, 1, groups=4)],
            "1",
            "is depthwise: name the layer that it reads, '0'",
        ),
        (twice, "0", "is used more than once"),
        (tied, "1", "shares its weights"),
        (
            lambda: [nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))],
            "0",
            "1 has a parametrized weight",
        ),
        (lambda: [nn.BatchNorm2d(4)], "1", "is a BatchNorm2d, and only linear"),
        (lambda: [nn.ReLU()], "3", "output of the network"),
    ],
)
def test_layers_that_cannot_be_widened(middle, name, message):
    with pytest.raises(ValueError, match=f"'{name}' cannot be widened: .*{message}"):
        grow(two(middle), {name: 9}, images())


def test_networks_that_cannot_be_widened():
    attention = Net(
        lambda net, x: net.head(net.mix(*[net.a(x)] * 3)[0]),
        a=nn.Linear(4, 4),
        mix=nn.MultiheadAttention(4, 2, batch_first=True),
        head=nn.Linear(4, 2),
    )
    data = torch.randn(3, 5, 4)
    with pytest.raises(ValueError, match="'a' cannot be widened: .*mixes channels"):
        grow(attention, {"a": 8}, data)
    with pytest.raises(ValueError, match="part of another module"):
        grow(attention, {"mix.out_proj": 8}, data)
    parts = {"a": nn.Linear(4, 4), "b": nn.Linear(2, 2), "c": nn.Linear(2, 2)}
    halves = Net(
        lambda net, x: (lambda y, z: net.b(y) + net.c(z))(*net.a(x).chunk(2, 1)),
        **parts,
    )
    with pytest.raises(ValueError, match="meet several other layers, each in part"):
        grow(halves, {"a": 8}, torch.randn(3, 4))
    with pytest.raises(ValueError, match="each in part: name 'a', 'b' instead"):
        grow(built(joined), {"c": 8}, images())
    recurrent = Net(
        lambda net, x: net.head(net.mix(net.a(x))[0]),
        a=nn.Linear(4, 4),
        mix=nn.LSTM(4, 3, batch_first=True),
        head=nn.Linear(3, 2),
    )
    refusal = "LSTM mix mixes channels|cannot trace the network"  # by its kernel
    with pytest.raises((ValueError, RuntimeError), match=refusal):
        grow(recurrent, {"a": 8}, data)
    # What the trace does not show is seen in the outputs.
    centred = Net(
        lambda net, x: net.head((lambda y: y - y.mean(1, keepdim=True))(net.a(x))),
        a=nn.Linear(4, 4),
        head=nn.Linear(4, 2),
    )
    with pytest.raises(RuntimeError, match=r"changes the outputs by 0\..*'a'"):
        grow(centred, {"a": 8}, torch.randn(3, 4))
    fixed = Net(
        lambda net, x: net.head(net.a(x).reshape(-1, 4)),
        a=nn.Linear(4, 4),
        head=nn.Linear(4, 2),
    )
    with pytest.raises(RuntimeError, match="changes the outputs|fails after widening"):
        grow(fixed, {"a": 6}, torch.randn(3, 4))


def test_bad_input():
    model, inputs = built(lenet), images()
    for widths, error, message in [
        ({}, ValueError, "nothing to widen"),
        ([("0", 9)], TypeError, "widths is a list"),
        ({"5_": 9}, ValueError, "'5_', which is no module.*close are '5'"),
        ({"0": 6}, ValueError, r"\['0'\]=6 must be an integer above 6"),
        ({"0": 9.0}, ValueError, r"\['0'\]=9.0 must be an integer above 6"),
        ({"0": True}, ValueError, r"\['0'\]=True must be"),
    ]:
        with pytest.raises(error, match=message):
            grow(model, widths, inputs)
    with pytest.raises(ValueError, match="at least 2"):
        grow(model, {"0": 9}, inputs[:1])
    with pytest.raises(TypeError, match="must be a Tensor"):
        grow(model, {"0": 9}, [2.0])
    with pytest.raises(TypeError, match="model is a str"):
        grow("model", {"0": 9}, inputs)
    with pytest.raises(ValueError, match="not finite"):
        grow(model, {"0": 9}, inputs * float("nan"))
    with pytest.raises(TypeError, match="'1.weight' has no shape yet"):
        grow(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), {"1": 9}, inputs)
    wrapped = built(lenet)
    wrapped[0].weight.full_tensor = None  # as a DTensor has it
    with pytest.raises(TypeError, match="grow the plain network on every process"):
        grow(wrapped, {"0": 9}, inputs)
    with pytest.raises(ValueError, match="'stem': 9.* are tied"):
        grow(built(residual), {"stem": 9, "second": 8}, inputs)


def test_torch_pruning_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ImportError, match=r'pip install "sparselbi\[pruning\]"'):
        grow(built(lenet), {"0": 9}, images())


# ----------------------------------------------------------------------- the optimizer


def dessilbi(model, **options):
    table = groups_for(model)
    return DessiLBI(table, **{"lr": 0.05, "nu": 2.0, "lam": 0.02, **options})


def coupled(model, make, **options):
    optimizer = make(groups_for(model), **options)
    couple(optimizer, nu=2.0, lam=0.02)
    return optimizer


OPTIMIZERS = {
    "dessilbi": lambda m: dessilbi(m, momentum=0.9, weight_decay=0.01),
    "loop": lambda m: dessilbi(m, momentum=0.9, nesterov=True, foreach=False),
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9),
    "coupled adamw": lambda m: coupled(m, torch.optim.AdamW, lr=0.01, amsgrad=True),
    "coupled rmsprop": lambda m: coupled(m, torch.optim.RMSprop, lr=0.01, momentum=0.5),
}


def loss_steps(model, optimizer, n_steps, start=0):
    for step in range(start, start + n_steps):
        data = torch.randn(8, 2, 10, 10, dtype=torch.float64, generator=source(step))
        optimizer.zero_grad()
        (model(data) - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("make", [lenet, residual, joined])
@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_old_weights_take_the_step_of_the_network_before(make, kind):
    """The gradients of old weights do not see the new units yet."""
    widths = {
        lenet: {"0": 8, "4": 7, "7": 11},
        residual: {"stem": 8, "first": 6},
        joined: {"a": 5, "b": 3},
    }[make]
    model = built(make)
    optimizer = OPTIMIZERS[kind](model)
    loss_steps(model, optimizer, 4)
    twin = copy.deepcopy(model)
    other = OPTIMIZERS[kind](twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    saved = {n: copy.deepcopy(optimizer.state[p]) for n, p in model.named_parameters()}

    grown = grow(model, widths, images(), generator=source())
    move_optimizer(optimizer, grown)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in grown.model.parameters()}
    assert set(map(id, optimizer.state)) == held
    moved = 0
    for change in grown.changes:
        state = optimizer.state[change.new]
        assert state.keys() == saved[change.name].keys()
        for key, value in saved[change.name].items():
            if not torch.is_tensor(value) or value.ndim == 0:
                assert state[key] == value
                continue
            expected = torch.zeros_like(change.new)
            index = torch.meshgrid(
                *[
                    change.placed.get(d, torch.arange(n))
                    for d, n in enumerate(value.shape)
                ],
                indexing="ij",
            )
            expected[index] = value
            assert torch.equal(state[key], expected)
            moved += bool(change.placed)
    assert moved

    loss_steps(grown.model, optimizer, 1, start=10)
    loss_steps(twin, other, 1, start=10)
    state, before = grown.model.state_dict(), twin.state_dict()
    for change in grown.changes:
        new = state[change.name]
        for dim, index in change.placed.items():
            new = new.index_select(dim, index)
        torch.testing.assert_close(new, before[change.name], rtol=1e-11, atol=1e-11)
    for name in before:  # what the batch norms saw
        if "running" in name:
            old = state[name][: len(before[name])]
            torch.testing.assert_close(old, before[name], rtol=1e-12, atol=1e-12)
    # New units are heard from now on.
    reader = {lenet: "9.weight", residual: "head.weight", joined: "head.weight"}[make]
    assert (state[reader] != 0).all()
    loss_steps(grown.model, optimizer, 2, start=11)


def test_selected_groups_stay_and_new_ones_are_not():
    model = built(lenet)
    optimizer = dessilbi(model, momentum=0.9)
    loss_steps(model, optimizer, 6)
    before = group_masks(model, optimizer)
    assert before["0.weight"].any()
    recorder = PathRecorder(optimizer, model)
    recorder.remove()
    grown = grow(model, {"0": 9, "4": 7}, images())
    move_optimizer(optimizer, grown)
    after = group_masks(grown.model, optimizer)
    for name in ("0.weight", "4.weight"):
        old = len(before[name])
        assert torch.equal(
            after[name].flatten(1).any(1)[:old], before[name].flatten(1).any(1)
        )
        assert not after[name][old:].any()
    recorder = PathRecorder(optimizer, grown.model, every=1)
    loss_steps(grown.model, optimizer, 6, start=6)
    entered = recorder.entries("0.weight")
    # Old groups count as entering when the recorder was made, new ones later.
    assert set(entered["step"][entered["group"] >= 6]) <= {7, 8, 9, 10, 11, 12}
    pruned = prune(grown.model, optimizer, images(), repeats=0, allow_empty=True)
    assert pruned.report.difference < 1e-12


@pytest.mark.parametrize("lam", [0.0005, 0.01, 0.05])
def test_thresholds_that_rise_with_the_size_leave_the_split_weights(lam):
    model = built(lenet)
    optimizer = dessilbi(model, lam=lam, size_scaling=True, kappa=1.5)
    loss_steps(model, optimizer, 5)
    one = {s.name: s.split(current_duals(optimizer, s))[0] for s in all_sets(optimizer)}
    gaps = {s.name: s.norms(current_duals(optimizer, s)) for s in all_sets(optimizer)}
    limits = {s.name: s.threshold for s in all_sets(optimizer)}
    grown = grow(model, {"0": 9, "4": 7}, images())
    move_optimizer(optimizer, grown)
    changes = {change.name: change for change in grown.changes}
    for s in all_sets(optimizer):
        duals = current_duals(optimizer, s)
        split = s.split(duals)[0]
        expected = changes[s.name].take(one[s.name])
        torch.testing.assert_close(split, expected, rtol=1e-10, atol=1e-12)
        # Groups that are not selected are as far from it as before.
        out = gaps[s.name] <= limits[s.name]
        torch.testing.assert_close(
            (s.norms(duals) / s.threshold)[: len(out)][out],
            (gaps[s.name] / limits[s.name])[out],
            rtol=1e-12,
            atol=0,
        )
    assert limits["4.weight"] < [s.threshold for s in all_sets(optimizer)][1]


def test_muon_moves():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    optimizer = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.1)
    model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    old = optimizer.state[model[1].weight]["momentum_buffer"].clone()
    grown = grow(model, {"0": 5}, torch.randn(5, 4))
    move_optimizer(optimizer, grown)
    new = optimizer.state[grown.model[1].weight]["momentum_buffer"]
    assert torch.equal(new, F.pad(old, (0, 2)))
    grown.model(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()


def test_groups_follow_or_are_refused():
    def network():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)
        )

    def moved(choose, widths):
        model = network()
        optimizer = DessiLBI(groups_for(model, choose=choose), lr=0.1)
        optimizer.param_groups[0]["params"][0].grad = torch.ones(6, 4)
        optimizer.step()
        grown = grow(model, widths, torch.randn(3, 4))
        try:
            move_optimizer(optimizer, grown)
        except ValueError:
            # Nothing has changed.
            held = {id(p) for g in optimizer.param_groups for p in g["params"]}
            assert held == {id(p) for p in model.parameters()}
            raise
        for groups in all_sets(optimizer):
            groups.norms(current_duals(optimizer, groups))
        return [group["groups"] for group in optimizer.param_groups]

    both = ("0.weight", "2.weight")
    assert "dim0/3" in moved({"0.weight": "dim0/2"}, {"0": 9})
    assert "neuron,channel" in moved({both: "neuron,channel"}, {"0": 9})
    assert "dim0/6,dim1/6" in moved({both: "dim0/3,dim1/3"}, {"0": 12})
    assert "1:2" in moved({"2.weight": "1:2"}, {"0": 8})
    with pytest.raises(ValueError, match="'dim0/2' of '0.weight': parts of blocks"):
        moved({"0.weight": "dim0/2"}, {"0": 8})
    # Two stacked parts, and the new rows would all be behind the second.
    with pytest.raises(ValueError, match="'dim0/2x3' of '0.weight': parts of blocks"):
        moved({"0.weight": "dim0/2x3"}, {"0": 12})
    with pytest.raises(ValueError, match="no longer fit '2.weight'"):
        moved({"2.weight": "1:2"}, {"0": 9})
    with pytest.raises(ValueError, match="joins the groups of '0.weight' and '2.wei"):
        moved({both: "dim0/2,dim0/2"}, {"0": 9})


def test_optimizers_that_cannot_move():
    model = built(lenet)
    optimizer = dessilbi(model)
    grown = grow(model, {"0": 9}, images())
    optimizer.state[model[0].weight]["row_means"] = torch.ones(6)
    with pytest.raises(ValueError, match=r"'row_means' of '0.weight' has shape \(6,\)"):
        move_optimizer(optimizer, grown)
    assert optimizer.param_groups[0]["params"][0] is model[0].weight
    del optimizer.state[model[0].weight]["row_means"]
    move_optimizer(optimizer, grown)
    with pytest.raises(ValueError, match="pruned or grown, once"):
        move_optimizer(optimizer, grown)


# -------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("make", [lenet, residual, joined])
def test_saved_networks_are_read_without_pickle(tmp_path, make):
    widths = {lenet: {"0": 8, "7": 9}, residual: {"stem": 8}, joined: {"a": 5}}[make]
    grown = grow(built(make), widths, images())
    grown.save(tmp_path)
    fresh = load_pruned(make().double(), tmp_path)
    data = images()
    assert torch.equal(fresh.eval()(data), grown.model.eval()(data))
    assert repr(fresh) == repr(grown.model)
    assert json.loads((tmp_path / "structure.json").read_text()) == grown.structure()
    fresh.train()(data).square().sum().backward()
    # Not into a network that is wider already.
    wide = grow(grown.model, {next(iter(widths)): 20}, data).model
    with pytest.raises(ValueError, match="another architecture"):
        load_pruned(wide, tmp_path)


# ----------------------------------------------------------------- which layers to grow


def select(optimizer, model, **shares):
    """Let this share of the groups of layers be selected; "0" is written _0."""
    for groups in all_sets(optimizer):
        name = groups.name.removesuffix(".weight")
        share = shares.get(f"_{name}", shares.get(name))
        if share is not None:
            param = groups.params[0]
            dual = torch.zeros_like(param)
            dim = groups.layouts[0].dim
            dual.movedim(dim, 0)[: round(share * param.shape[dim])] = 1e3
            optimizer.state[param]["dual"] = dual


def test_layers_that_are_full():
    model = built(lenet)
    optimizer = dessilbi(model)
    assert widths_to_grow(model, optimizer) == {}
    select(optimizer, model, _0=5 / 6, _4=3 / 5, _7=1)
    assert widths_to_grow(model, optimizer) == {"0": 10, "7": 12}
    assert widths_to_grow(model, PathRecorder(optimizer, model)) == {"0": 10, "7": 12}
    table = {"0": 10, "4": 9, "7": 12}
    assert widths_to_grow(model, optimizer, threshold=0.6) == table
    assert widths_to_grow(model, optimizer, threshold=1) == {"7": 12}
    assert widths_to_grow(model, optimizer, factor=2.0) == {"0": 12, "7": 16}
    assert widths_to_grow(model, optimizer, max_width=8) == {"0": 8}
    assert widths_to_grow(model, optimizer, layers=["4", "7"]) == {"7": 12}
    mixed = {"*": 0.9, "4": 0.5}
    assert widths_to_grow(model, optimizer, threshold=mixed) == {"4": 9, "7": 12}
    # 1.1 * 30 is 33, although not in binary.
    wide = nn.Sequential(nn.Linear(2, 30), nn.Linear(30, 2))
    full = dessilbi(wide)
    select(full, wide, _0=1)
    assert widths_to_grow(wide, full, at_least=1) == {"0": 33}
    adam = coupled(model, torch.optim.AdamW)
    select(adam, model, _4=1)
    assert widths_to_grow(model, adam) == {"4": 9}


def test_layers_that_are_tied_agree():
    model = built(residual)
    optimizer = dessilbi(model)
    select(optimizer, model, second=1, first=1)
    inputs = images()
    found = widths_to_grow(model, optimizer, example_inputs=inputs)
    assert found == {"first": 9, "second": 10}
    assert widths_to_grow(model, optimizer, example_inputs=inputs, max_width=8) == {
        "first": 8,
        "second": 8,
    }
    grown = grow(model, found, inputs)
    assert grown.model.stem.out_channels == 10

    # The grouped layer and what it reads cannot grow, which types alone half show.
    middle = lambda: [nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1)]  # noqa: E731
    grouped = two(middle)
    optimizer = dessilbi(grouped)
    select(optimizer, grouped, _0=1, _1=1, _2=1)
    assert widths_to_grow(grouped, optimizer) == {"0": 8, "2": 8}
    found = widths_to_grow(grouped, optimizer, example_inputs=inputs)
    assert found == {"2": 8}
    # A layer that meets others in part is left to them.
    model = built(joined)
    optimizer = dessilbi(model)
    select(optimizer, model, a=1, c=1)
    assert widths_to_grow(model, optimizer, example_inputs=inputs) == {"a": 7}


def test_kinds_of_groups():
    torch.manual_seed(0)
    make = lambda: nn.Sequential(  # noqa: E731
        nn.ConvTranspose2d(2, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1)
    )
    model = make()
    optimizer = dessilbi(model)  # filters are slices of dim 1 of the first
    select(optimizer, model, _0=0.5, _1=0.5)
    assert widths_to_grow(model, optimizer, threshold=0.5) == {"0": 8, "1": 10}
    assert widths_to_grow(model, optimizer, threshold=0.51) == {}
    # Input channels do not tell filters apart; a whole layer stands for all.
    choose = {"0.weight": "channel", "1.weight": "tensor"}
    optimizer = DessiLBI(groups_for(model, choose=choose), lr=0.1)
    select(optimizer, model, _0=1, _1=1)
    assert widths_to_grow(model, optimizer) == {"1": 10}
    # Single weights: a filter counts from its first one on. The last layer stays.
    optimizer = DessiLBI(groups_for(model, "weight"), lr=0.1)
    for name in ("0.weight", "1.weight", "2.weight"):
        param = model.get_parameter(name)
        optimizer.state[param]["dual"] = torch.zeros_like(param)
    optimizer.state[model[1].weight]["dual"][:5, 0] = 9
    optimizer.state[model[2].weight]["dual"][:] = 9
    assert widths_to_grow(model, optimizer) == {"1": 10}


def test_bad_choices():
    model = built(lenet)
    optimizer = dessilbi(model)
    for options, error, message in [
        ({"threshold": 0}, ValueError, "threshold=0 must be"),
        ({"threshold": {"0": 1.2}}, ValueError, "threshold=1.2 must be"),
        ({"threshold": {"9*": 0.5}}, ValueError, r"threshold has '9\*', which matches"),
        ({"layers": ["1"]}, ValueError, r"layers has '1'.*\['0', '4', '7'\]"),
        ({"layers": "0"}, TypeError, r"sequence of patterns: \['0'\]"),
        ({"factor": 0.9}, ValueError, "factor=0.9"),
        ({"at_least": 0}, ValueError, "at_least=0"),
        ({"max_width": 2.5}, ValueError, "max_width=2.5"),
    ]:
        with pytest.raises(error, match=message):
            widths_to_grow(model, optimizer, **options)
    with pytest.raises(TypeError, match="got a dict"):
        widths_to_grow(model, {})
    with pytest.raises(ValueError, match="does not select groups"):
        widths_to_grow(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="not parameters of the model"):
        widths_to_grow(built(lenet), optimizer)


# ------------------------------------------------------------- growing while it helps


class Script:
    """Training that selects given shares, and validation with given scores."""

    def __init__(self, shares, scores):
        self.shares, self.scores = iter(shares), iter(scores)
        self.networks, self.optimizers = [], []

    def train(self, model, optimizer):
        self.networks.append(model)
        self.optimizers.append(optimizer)
        with torch.no_grad():
            model[0].bias.add_(1)  # every round is another network
        select(optimizer, model, **next(self.shares))

    def evaluate(self, model):
        assert model is self.networks[-1]
        return next(self.scores)

    def grow(self, model=None, **options):
        torch.manual_seed(0)
        model = model or nn.Sequential(
            nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)
        )
        options = {"at_least": 2, "factor": 1.5, "generator": source(), **options}
        inputs = torch.randn(4, 3)
        return grow_while_better(
            model, dessilbi, self.train, self.evaluate, inputs, **options
        )


def test_growth_follows_fractions_and_validation():
    full, half = {"_0": 1, "_2": 1}, {"_0": 1, "_2": 0.5}
    script = Script([full, half, full, {"_0": 0.5, "_2": 0.5}], [0.5, 0.7, 0.9, 0.8])
    report = script.grow(patience=2)
    assert report.stopped == "no layer is above the threshold"
    widths = [list(row.widths.values()) for row in report.rounds]
    assert widths == [[4, 5], [6, 7], [9, 7], [13, 10]]
    assert [dict(row.grown) for row in report.rounds] == [
        {"0": 6, "2": 7},
        {"0": 9},
        {"0": 13, "2": 10},
        {},
    ]
    # 4 of 7 units are selected, rounded from a half.
    assert report.rounds[1].fractions == {"0": 1.0, "2": pytest.approx(4 / 7)}
    count = [sum(p.numel() for p in net.parameters()) for net in script.networks]
    assert [row.parameters for row in report.rounds] == count
    assert count[0] == 3 * 4 + 4 + 4 * 5 + 5 + 5 * 2 + 2
    # The best is that of round 2, as it was then.
    assert report.best == 2
    assert report.model is script.networks[2]
    assert report.model[0].out_features == 9
    kept = report.masks
    assert {
        name: mask.any(1).double().mean().item() for name, mask in kept.items()
    } == {
        "0.weight": 1,
        "2.weight": 1,
    }
    assert report.widths == {
        "0": {"out_features": 9},
        "2": {"in_features": 9, "out_features": 7},
        "4": {"in_features": 7},
    }
    # One optimizer all the way, now with the last network.
    assert len(set(map(id, script.optimizers))) == 1
    held = {id(p) for g in script.optimizers[0].param_groups for p in g["params"]}
    assert held == {id(p) for p in script.networks[-1].parameters()}


def test_the_best_network_is_not_trained_further():
    full = {"_0": 1}
    script = Script([full] * 4, [0.9, 0.8, 0.7, 0.6])
    report = script.grow(patience=3)
    assert report.stopped == "validation did not improve for 3 rounds"
    assert report.best == 0
    assert len(report.rounds) == 4
    torch.manual_seed(0)
    first = nn.Linear(3, 4)
    assert torch.equal(report.model[0].weight, first.weight)
    assert torch.equal(report.model[0].bias, first.bias + 1)
    assert report.widths == {}


@pytest.mark.parametrize(
    ("scores", "options", "rounds", "best", "stopped"),
    [
        ([1, 2, 3], {"max_rounds": 3}, 3, 2, "max_rounds"),
        ([1, 1], {}, 2, 0, "validation did not improve for 1 round"),
        ([1, 1, 2, 2, 2], {"patience": 2}, 5, 2, "validation did not improve for 2"),
        ([1, 1.1, 1.3, 1.4], {"min_gain": 0.15}, 2, 0, "validation did not improve"),
        ([1, 2], {"max_width": 6}, 2, 1, "the layers above the threshold have max"),
        ([1], {"threshold": {"0": 0.9}}, 1, 0, "no layer is above the threshold"),
        ([1, 2, 3], {"max_rounds": 3, "layers": ["2"]}, 3, 2, "max_rounds"),
        ([1], {"max_rounds": 1}, 1, 0, "max_rounds"),
        ([-3.0, -2.0, -5.0], {}, 3, 1, "validation did not improve"),
    ],
)
def test_when_growth_stops(scores, options, rounds, best, stopped):
    share = 0.5 if "threshold" in options else 1
    script = Script([{"_0": share, "_2": 1}] * 9, scores)
    report = script.grow(**options)
    assert len(report.rounds) == rounds
    assert report.best == best
    assert report.stopped.startswith(stopped)
    assert not report.rounds[-1].grown
    if "layers" in options:
        assert [row.widths["0"] for row in report.rounds] == [4, 4, 4]
        assert [row.widths["2"] for row in report.rounds] == [5, 7, 10]


def test_layers_that_cannot_grow_end_it():
    model = nn.Sequential(
        nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)
    )
    report = Script([{"_0": 1, "_2": 0}], [1]).grow(model)
    assert report.stopped == "no layer above the threshold can be widened"


def test_the_report():
    script = Script([{"_0": 1, "_2": 0.2}, {"_0": 0.5, "_2": 0.6}], [0.25, 0.5])
    report = script.grow()
    lines = repr(report).splitlines()
    assert lines[0] == (
        "Growth, 2 round(s); the best by validation is round 1. Stopped: no layer is "
        "above the threshold."
    )
    assert lines[1].split() == ["round", "parameters", "score", "0"]
    assert lines[2].split() == ["0", "53", "0.25", "4", "(100%)"]
    assert lines[3].split() == ["1", "71", "0.5", "6", "(50%)"]
    frame = report.to_frame()
    assert frame["parameters"].tolist() == [53, 71]
    assert frame["score"].tolist() == [0.25, 0.5]
    assert frame["best"].tolist() == [False, True]
    assert frame["grown"].tolist() == ["0: 4 -> 6", ""]
    layers = report.layer_frame()
    assert layers["width"].tolist() == [4, 5, 6, 5]
    assert layers["round"].tolist() == [0, 0, 1, 1]
    assert layers["fraction"].tolist() == [1.0, 0.2, 0.5, 0.6]


def test_the_best_network_is_saved(tmp_path):
    script = Script([{"_0": 1, "_2": 1}, {"_0": 1, "_2": 0}, {"_0": 0}], [1, 2, 3])
    report = script.grow()
    report.save(tmp_path)
    fresh = load_pruned(
        nn.Sequential(
            nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)
        ),
        tmp_path,
    )
    data = torch.randn(4, 3)
    assert torch.equal(fresh(data), report.model(data))
    assert fresh[0].out_features == 9


def test_bad_functions():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    inputs = torch.randn(4, 3)
    quiet = lambda *_: None  # noqa: E731

    def run(make=dessilbi, train=quiet, evaluate=lambda _: 1.0, **options):
        return grow_while_better(model, make, train, evaluate, inputs, **options)

    for name in ("train", "evaluate"):
        with pytest.raises(TypeError, match=f"{name}=3 must be a function"):
            run(**{name: 3})
    with pytest.raises(TypeError, match="make_optimizer returned a NoneType"):
        run(make=quiet)
    with pytest.raises(ValueError, match="does not select groups"):
        run(make=lambda m: torch.optim.SGD(m.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="not parameters of the model"):
        run(make=lambda m: dessilbi(copy.deepcopy(m)))
    with pytest.raises(TypeError, match="evaluate returned a NoneType"):
        run(evaluate=quiet)
    with pytest.raises(RuntimeError, match="evaluate returned nan"):
        run(evaluate=lambda _: float("nan"))
    for name in ("max_rounds", "patience"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            run(**{name: 0})
    with pytest.raises(ValueError, match="min_gain=-1"):
        run(min_gain=-1)
    with pytest.raises(ValueError, match="threshold=2 must be"):
        run(threshold=2)


def test_growth_with_real_training():
    """A narrow network on a problem that needs more units gets wider and better."""
    data = torch.randn(200, 2, generator=source(7))
    target = (data[:, 0] * data[:, 1] > 0).long()
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    before = copy.deepcopy(model.state_dict())

    def train(network, optimizer):
        for _ in range(150):
            optimizer.zero_grad()
            F.cross_entropy(network(data[:100]), target[:100]).backward()
            optimizer.step()

    def accuracy(network):
        with torch.no_grad():
            return (network(data[100:]).argmax(1) == target[100:]).double().mean()

    report = grow_while_better(
        model,
        lambda m: dessilbi(m, lr=0.1, momentum=0.9, nu=10, lam=0.1),
        train,
        accuracy,
        data[:4],
        max_rounds=3,
        generator=source(),
    )
    assert report.rounds[report.best].score > report.rounds[0].score
    assert report.model[0].out_features > 2
    assert accuracy(report.model) == report.rounds[report.best].score
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
