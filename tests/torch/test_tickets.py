"""ticket and hold_masks: masked weights stay exactly zero."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from sparselbi.torch import (  # noqa: E402
    DessiLBI,
    PathRecorder,
    groups_for,
    hold_masks,
    prune,
    ticket,
)
from tests.torch.common import set_gradients  # noqa: E402
from tests.torch.common import train as train_steps  # noqa: E402

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, amsgrad=True),
    # Mixes the entries of a matrix: the gradient alone would not hold the mask.
    "muon": lambda p: torch.optim.Muon(
        [q for q in p if q.ndim == 2], lr=0.1, weight_decay=0.1
    ),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
}


def network():
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def built():
    torch.manual_seed(0)
    return network()


def random_masks(model, names=("0.weight", "3.weight")):
    source = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(model.get_parameter(name).shape, generator=source) < 0.5
        for name in names
    }


def training(make, n_steps=5, clip=None):
    def train(model):
        params = list(model.parameters())
        optimizer = make(params)
        for step in range(n_steps):
            data = torch.randn(6, 5, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            (model(data) - 1).square().mean().backward()
            if clip:
                nn.utils.clip_grad_norm_(params, clip)
            optimizer.step()
        return optimizer

    return train


# ------------------------------------------------------------------------- hold_masks


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masked_weights_stay_zero(name):
    model = built()
    masks = random_masks(model)
    before = copy.deepcopy(model.state_dict())
    with hold_masks(model, masks) as held:
        assert held is masks
        for key, mask in masks.items():
            assert torch.equal(model.get_parameter(key), before[key] * mask)
        training(OPTIMIZERS[name], clip=0.5)(model)
    for key, mask in masks.items():
        weight = model.get_parameter(key)
        assert not weight[~mask].any()
        assert (weight[mask] != before[key][mask]).any()


def test_stale_momentum_does_not_move_them():
    model = built()
    optimizer = training(OPTIMIZERS["sgd"])(model)
    masks = random_masks(model)
    with hold_masks(model, masks):
        train = training(lambda _: optimizer)
        train(model)
        assert not any(model.get_parameter(n)[~m].any() for n, m in masks.items())
    # Afterwards everything moves again.
    train(model)
    assert all(model.get_parameter(n)[~m].any() for n, m in masks.items())


def test_equals_training_with_the_product_of_mask_and_weight():
    model, twin = built().double(), built().double()
    masks = random_masks(model, ["0.weight"])
    mask = masks["0.weight"]

    class Product(nn.Module):
        def forward(self, weight):
            return weight * mask

    nn.utils.parametrize.register_parametrization(twin[0], "weight", Product())

    def train(network):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for step in range(20):
            source = torch.Generator().manual_seed(step)
            data = torch.randn(6, 5, generator=source, dtype=torch.float64)
            optimizer.zero_grad()
            (network(data) - 1).square().mean().backward()
            optimizer.step()

    with hold_masks(model, masks):
        train(model)
    train(twin)
    torch.testing.assert_close(model[0].weight, twin[0].weight, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(model[3].weight, twin[3].weight, rtol=1e-13, atol=1e-14)


def test_gradients_that_are_there_and_not_finite_ones():
    model = nn.Linear(3, 2)
    set_gradients([model.weight], 0)
    model.weight.grad[0, 0] = float("nan")
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[0, 0] = False
    with hold_masks(model, {"weight": mask}):
        assert model.weight.grad[0, 0] == 0
        data = torch.tensor([[float("inf"), 1.0, 1.0]])
        model(data).sum().backward()
        assert model.weight.grad[0, 0] == 0
    model.weight.requires_grad_(False)
    with hold_masks(model, {"weight": mask}):
        assert not model.weight[0, 0]


def test_an_exception_lets_go():
    model = nn.Linear(3, 2)
    mask = {"weight": torch.eye(2, 3) > 0}
    with pytest.raises(KeyError), hold_masks(model, mask):
        raise KeyError
    model(torch.ones(1, 3)).sum().backward()
    assert model.weight.grad.all()


def test_dessilbi_with_masks():
    """The split weights of masked groups stay zero too, so a path goes on."""
    model = built()
    masks = {"0.weight": torch.ones(4, 5, dtype=torch.bool)}
    masks["0.weight"][1] = False
    optimizer = DessiLBI(groups_for(model), lr=0.1, nu=2.0, lam=0.3, momentum=0.9)
    with hold_masks(model, masks):
        train_steps(optimizer, list(model.parameters()), 30)
    assert not model[0].weight[1].any()
    assert not optimizer.state[model[0].weight]["dual"][1].any()


# ----------------------------------------------------------------------------- ticket


def test_rewinding():
    model = built()
    first = copy.deepcopy(model.state_dict())
    training(OPTIMIZERS["sgd"], 30)(model)
    given = copy.deepcopy(model.state_dict())
    masks = random_masks(model)
    seen = {}

    def train(network):
        seen.update(copy.deepcopy(network.state_dict()))
        return training(OPTIMIZERS["sgd"])(network).param_groups[0]["lr"]

    report = ticket(
        model, masks, train, start=first, evaluate=lambda m: m[1].running_mean.sum()
    )
    for name, value in first.items():
        assert torch.equal(seen[name], value * masks.get(name, 1))
    assert all(torch.equal(given[k], v) for k, v in model.state_dict().items())
    assert report.result == 0.1
    assert report.start == "rewind"
    assert not report.model[0].weight[~masks["0.weight"]].any()
    assert report.scores == {
        "given": float(model[1].running_mean.sum()),
        "start": 0.0,
        "end": float(report.model[1].running_mean.sum()),
    }
    # The same by hand.
    network = built()
    with hold_masks(network, masks):
        training(OPTIMIZERS["sgd"])(network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, report.model.state_dict()[name])


def test_reinitializing_and_keeping():
    model = built()
    training(OPTIMIZERS["sgd"])(model)
    masks = random_masks(model)
    starts = {}
    for start in ("reinitialize", "keep"):
        torch.manual_seed(5)
        report = ticket(model, masks, lambda network: None, start=start)
        starts[start] = report.model
        assert report.start == start
    torch.manual_seed(5)
    fresh = network()
    assert torch.equal(
        starts["reinitialize"][3].weight, fresh[3].weight * masks["3.weight"]
    )
    assert not starts["reinitialize"][1].running_mean.any()
    assert torch.equal(starts["keep"][3].weight, model[3].weight * masks["3.weight"])
    assert torch.equal(starts["keep"][1].running_mean, model[1].running_mean)

    made = ticket(built, masks, lambda network: None, start="reinitialize").model
    assert torch.equal(made[3].weight, built()[3].weight * masks["3.weight"])


def test_an_early_point_of_the_path_and_a_smaller_network():
    pytest.importorskip("torch_pruning")
    model = built()
    first = copy.deepcopy(model.state_dict())
    optimizer = DessiLBI(groups_for(model), lr=0.1, nu=3.0, lam=0.5, momentum=0.9)
    recorder = PathRecorder(optimizer, model, every=1)
    train_steps(optimizer, list(model.parameters()), 40)
    report = ticket(model, recorder, training(OPTIMIZERS["sgd"]), start=first, keep=2)
    assert report.masks["0.weight"].any(1).sum() == 2
    early = recorder.entries()["group"][:2]
    assert report.masks["0.weight"].any(1).nonzero().flatten().tolist() == sorted(early)
    frame = report.to_frame()
    assert frame.loc[0].tolist() == ["0.weight", 20, 10, 0.5]
    total = sum(p.numel() for p in model.parameters())
    assert report.ratio == total / (total - 10)
    assert "0.weight       20    10  50.0%" in repr(report)
    data = torch.randn(7, 5)
    small = prune(report.model, report.masks, data, repeats=0)
    assert small.model[0].out_features == 2
    torch.testing.assert_close(
        small.model.eval()(data), report.model.eval()(data), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "rewind"}, "start='rewind' must be"),
        ({"start": {}}, "'0.weight' is missing in start"),
        ({"start": {**network().state_dict(), "x": 1}}, "'x' is missing in the model"),
        (
            {"start": {**network().state_dict(), "0.bias": torch.ones(2)}},
            r"'0.bias' has shape \(2,\) there and \(4,\) here",
        ),
        ({"masks": {"1.scale": torch.ones(4) > 0}}, "'1.scale', which is no parameter"),
        ({"masks": {"0.weight": torch.ones(4) > 0}}, r"has shape \(4,\)"),
        ({"masks": {"0.weight": torch.ones(4, 5) < 0}}, "Nothing is left of '0.wei"),
        ({"at": 0.3}, "at= needs a PathRecorder"),
    ],
)
def test_bad_input(change, message):
    model = built()
    options = {"masks": random_masks(model), "start": "keep", **change}
    with pytest.raises(ValueError, match=message):
        ticket(model, train=lambda network: None, **options)


def test_bad_types_and_modules_without_a_start():
    model = built()
    masks = random_masks(model)
    with pytest.raises(TypeError, match="train=None"):
        ticket(model, masks, None, start="keep")
    with pytest.raises(TypeError, match=r"model\(\) returned a int"):
        ticket(lambda: 3, masks, lambda network: None, start="keep")

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x * self.factor

    model.append(Scale())
    with pytest.raises(ValueError, match=r"'4' \(Scale\) has parameters and no reset"):
        ticket(model, masks, lambda network: None, start="reinitialize")


def test_training_that_breaks_the_mask():
    model = built()
    masks = random_masks(model)

    def write(network):
        with torch.no_grad():
            network[0].weight.add_(1)

    with pytest.raises(RuntimeError, match="of '0.weight' are not zero after train"):
        ticket(model, masks, write, start="keep")

    def replace(network):
        network[0] = nn.Linear(5, 3)

    with pytest.raises(RuntimeError, match="replaced the masked parameter '0.weight'"):
        ticket(model, masks, replace, start="keep")


def test_an_emptied_tensor_by_choice():
    model = built()
    mask = {"0.weight": torch.zeros(4, 5, dtype=torch.bool)}
    report = ticket(
        model, mask, training(OPTIMIZERS["adamw"]), start="keep", allow_empty=True
    )
    assert not report.model[0].weight.any()
    with (
        pytest.raises(ValueError, match="set allow_empty=True"),
        hold_masks(model, mask),
    ):
        pass
    with hold_masks(model, mask, allow_empty=True):
        assert not model[0].weight.any()
