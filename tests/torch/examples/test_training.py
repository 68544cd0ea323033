"""Training loops: what a schedule does, when selection ends, what tuning holds."""

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from sparselbi.torch import DessiLBI, groups_for, selected_share  # noqa: E402
from sparselbi.torch.examples.data import ImageData, Split, batches  # noqa: E402
from sparselbi.torch.examples.training import (  # noqa: E402
    accuracy,
    select,
    select_and_tune,
    train_dense,
    tune,
)


@pytest.fixture(scope="module")
def data():
    """Images of 4 x 4 whose class is the brighter half; most pixels say nothing."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 1, 4, 4, generator=generator)
    y = (x[:, 0, 0].sum(1) > x[:, 0, 3].sum(1)).long()
    parts = (Split(x[a:b], y[a:b]) for a, b in ((0, 400), (400, 500), (500, 600)))
    return ImageData("halves", *parts, ("down", "up"))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2))


def seeded():
    return torch.Generator().manual_seed(3)


def test_accuracy_in_batches(data):
    model = network().train()
    right = (model(data.test.x).argmax(1) == data.test.y).float().mean().item()
    assert accuracy(model, data.test, batch_size=30) == pytest.approx(100 * right)
    assert model.training


def test_dense_training_is_sgd_with_warmup_and_cosine(data):
    ours, twin = network(), network()
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}
    train_dense(
        ours,
        data,
        epochs=1.5,
        batch_size=40,
        warmup=4,
        generator=seeded(),
        **options,
    )
    sgd, generator = torch.optim.SGD(twin.parameters(), **options), seeded()
    step = 0
    for epoch_steps in (10, 5):
        made = list(batches(data.train, 40, generator))[:epoch_steps]
        for x, y in made:
            rise = (step + 1) / 5 if step < 4 else 1
            rate = 0.1 * rise * (1 + math.cos(math.pi * step / 15)) / 2
            sgd.param_groups[0]["lr"] = rate
            sgd.zero_grad()
            cross_entropy(twin(x), y).backward()
            sgd.step()
            step += 1
    for a, b in zip(ours.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    untouched = network()
    train_dense(untouched, data, epochs=0.01, generator=seeded(), **options)
    for a, b in zip(untouched.parameters(), network().parameters(), strict=True):
        assert torch.equal(a, b)


def test_selection_ends_at_the_share_or_the_limit(data):
    options = {"generator": seeded(), "batch_size": 40, "every": 1}
    model = network()
    optimizer = DessiLBI(groups_for(model, "weight"), lr=0.1, nu=2.0, lam=0.1)
    recorder = select(model, optimizer, data, keep=0.25, epochs=20, **options)
    share = selected_share(optimizer)
    assert share >= 0.25
    fractions = recorder.fractions()
    sizes = torch.tensor([p.numel() for p in model.parameters() if p.ndim == 2])
    before = fractions.iloc[-2].iloc[1:].to_numpy() @ (sizes / sizes.sum()).numpy()
    assert before < 0.25
    last = fractions["step"].iloc[-1]
    assert last == optimizer.param_groups[0]["n_steps"] < 200

    model = network()
    optimizer = DessiLBI(groups_for(model, "weight"), lr=0.1, nu=2.0, lam=100.0)
    select(model, optimizer, data, keep=0.25, epochs=1.7, **options)
    assert optimizer.param_groups[0]["n_steps"] == 17
    assert selected_share(optimizer) == 0


def test_tuning_holds_the_masks(data):
    model = network()
    masks = {"1.weight": torch.rand(12, 16, generator=seeded()) < 0.3}
    before = copy.deepcopy(model.state_dict())
    tune(model, masks, data, epochs=1, lr=0.1, generator=seeded())
    weight = model.get_parameter("1.weight")
    assert torch.equal(weight != 0, masks["1.weight"])
    assert not torch.equal(
        weight[masks["1.weight"]], before["1.weight"][masks["1.weight"]]
    )


@pytest.mark.parametrize("physical", [True, False])
def test_select_and_tune(data, physical):
    model = network()
    table = groups_for(model, "unit" if physical else "weight")
    run = select_and_tune(
        model,
        data,
        table,
        epochs=30,
        keep=0.5,
        lr=0.1,
        nu=20.0,
        lam=0.2 if physical else 0.05,
        seed=0,
        batch_size=40,
        warmup=5,
        physical=physical,
    )
    assert 0 < run.selection_epochs < 15
    (mask, *_) = run.pruned.masks.values()
    held = sum(int(m.sum()) for m in run.pruned.masks.values())
    total = sum(m.numel() for m in run.pruned.masks.values())
    if physical:  # at least the share that was asked for
        units = int(mask.any(1).sum())
        assert 0.5 * total <= held < total
        assert run.model[1].out_features == units
    else:  # and exactly that
        assert held == 0.5 * total
        assert torch.equal(run.model[1].weight != 0, mask)
    assert accuracy(run.model, data.test) > 90
