"""sparse_weights and group_masks."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from sparselbi.torch import (  # noqa: E402
    DessiLBI,
    couple,
    group_masks,
    groups_for,
    selected_share,
    sparse_weights,
)
from tests.torch.common import train  # noqa: E402


def trained(n_steps=20, level="unit", **options):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.Linear(8, 2)
    )
    table = groups_for(model, level)
    optimizer = DessiLBI(table, **{"lr": 0.1, "nu": 3.0, "lam": 0.8, **options})
    train(optimizer, list(model.parameters()), n_steps)
    return model, optimizer


def state(model):
    return copy.deepcopy(model.state_dict())


def equal(first, second):
    return all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("level", ["weight", "unit", "layer"])
def test_masks_are_the_support_of_the_split_weights(level):
    model, optimizer = trained(
        level=level, lam={"weight": 0.09, "unit": 0.45, "layer": 0.9}[level]
    )
    masks = group_masks(model, optimizer)
    registered = [g for g in optimizer.param_groups if g["groups"]]
    assert sorted(masks) == sorted(n for g in registered for n in g["param_names"])
    for name, mask in masks.items():
        param = model.get_parameter(name)
        dual, limit = optimizer.state[param]["dual"], registered[0]["lam"]
        if level == "weight":
            inside = dual.abs() > limit
        else:
            dims = tuple(range(1, dual.ndim)) if level == "unit" else None
            inside = (dual.square().sum(dims, keepdim=True).sqrt() > limit).expand_as(
                dual
            )
        assert torch.equal(mask, inside)
    flat = torch.cat([m.flatten() for m in masks.values()])
    assert flat.any()
    assert not flat.all()
    assert selected_share(optimizer) == pytest.approx(flat.double().mean().item())


def test_evaluates_with_the_masked_weights_and_restores_bit_by_bit():
    model, optimizer = trained()
    model[0].weight.data[0, 0, 0, 0] = float("nan")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with sparse_weights(model, optimizer) as masks:
        inside = model.state_dict()
        for name, value in inside.items():
            expected = before[name]
            if name in masks:
                expected = torch.where(masks[name], expected, 0.0)
            torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)
    after = model.state_dict()
    for name in before:
        torch.testing.assert_close(
            after[name], before[name], rtol=0, atol=0, equal_nan=True
        )


def test_a_second_use_after_more_training_restores_the_new_weights():
    model, optimizer = trained()
    with sparse_weights(model, optimizer):
        pass
    train(optimizer, list(model.parameters()), 5, start=20)
    before = state(model)
    with sparse_weights(model, optimizer), sparse_weights(model, optimizer):
        assert not equal(model.state_dict(), before)
    assert equal(model.state_dict(), before)


def test_an_exception_restores():
    model, optimizer = trained()
    before = state(model)
    with pytest.raises(KeyError), sparse_weights(model, optimizer):
        raise KeyError
    assert equal(model.state_dict(), before)


def test_training_inside_is_noticed():
    model, optimizer = trained()
    before = state(model)
    with (
        pytest.raises(RuntimeError, match="changed within.*0.weight"),
        sparse_weights(model, optimizer),
    ):
        optimizer.step()
    assert torch.equal(model[0].weight, before["0.weight"])


def test_given_masks():
    model, optimizer = trained()
    mask = torch.zeros(2, 8, dtype=torch.bool)
    with sparse_weights(model, optimizer, {"4.weight": mask}):
        assert not model[4].weight.any()
    with (
        pytest.raises(ValueError, match=r"shape \(8,\)"),
        sparse_weights(model, optimizer, {"4.weight": mask[0]}),
    ):
        pass
    with (
        pytest.raises(ValueError, match="'5.weight', which is not in the model"),
        sparse_weights(model, optimizer, {"5.weight": mask}),
    ):
        pass


def test_coupled_optimizers():
    torch.manual_seed(0)
    model = nn.Linear(5, 4)
    adam = torch.optim.AdamW(groups_for(model, "weight"), lr=0.1)
    with pytest.raises(ValueError, match="does not select groups"):
        group_masks(model, torch.optim.SGD(model.parameters(), lr=0.1))
    coupling = couple(adam, nu=2.0, lam=0.6)
    with pytest.raises(TypeError, match=r"is a Coupling, .*: give its .optimizer"):
        group_masks(model, coupling)
    train(adam, list(model.parameters()), 30)
    masks = group_masks(model, adam)
    assert torch.equal(masks["weight"], adam.state[model.weight]["dual"].abs() > 0.6)
    assert 0 < masks["weight"].sum() < 20


def test_names_are_those_without_the_wrapper_of_compile():
    model, _ = trained(n_steps=0)
    compiled = torch.compile(model, backend="eager")
    optimizer = DessiLBI(groups_for(compiled), lr=0.1, nu=3.0, lam=0.8)
    train(optimizer, list(model.parameters()), 20)
    masks = group_masks(compiled, optimizer)
    assert sorted(masks) == ["0.weight", "3.weight"]
    with sparse_weights(compiled, optimizer, masks):
        assert torch.equal(model[0].weight != 0, masks["0.weight"])


def test_a_changed_model_is_noticed():
    model, optimizer = trained()
    model[3] = nn.Linear(24, 8)
    with pytest.raises(ValueError, match="not parameters of the model: 3.weight"):
        group_masks(model, optimizer)
