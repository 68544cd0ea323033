"""couple() against DessiLBI, and around other optimizers."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sparselbi.torch import DessiLBI, couple, group_masks  # noqa: E402
from tests.torch.common import (  # noqa: E402
    BASE,
    GROUPS,
    STEPS,
    arrays,
    kind_of,
    set_gradients,
    tensors,
    train,
)

SPLIT = ("nu", "lam", "kappa", "size_scaling")


def coupled(name, optimizer=torch.optim.SGD, dtype=torch.float64, **options):
    """Parameters of a row of GROUPS, a wrapped optimizer, and its coupling."""
    options = {**BASE, "kappa": 1.0, **options}
    split = {key: options.pop(key) for key in SPLIT if key in options}
    options["lr"] *= split["kappa"]
    params = tensors(GROUPS[name], dtype=dtype)
    wrapped = optimizer(params, **options)
    return params, wrapped, couple(wrapped, groups=kind_of(name), **split)


@pytest.mark.parametrize("options", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("name", ["element", "filter", "dim0/3x2,dim1/2", "2:4"])
def test_around_sgd_it_is_dessilbi(name, options):
    params, wrapped, coupling = coupled(name, **options)
    others = tensors(GROUPS[name])
    group = {"params": others, "groups": kind_of(name)}
    optimizer = DessiLBI([group], **{**BASE, **options})
    train(wrapped, params, 200)
    train(optimizer, others, 200)
    for p, q in zip(params, others, strict=True):
        np.testing.assert_allclose(p.detach(), q.detach(), rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(
            wrapped.state[p]["dual"], optimizer.state[q]["dual"], rtol=1e-10, atol=1e-11
        )
    assert coupling.path_time == pytest.approx(optimizer.path_time)
    assert coupling.predicted_selection()["n_selected"][0] > 0
    ours = coupling.predicted_selection().drop(columns="name")
    theirs = optimizer.predicted_selection().drop(columns="name")
    np.testing.assert_allclose(
        ours.drop(columns="groups").to_numpy(dtype=float),
        theirs.drop(columns="groups").to_numpy(dtype=float),
        rtol=1e-9,
    )


OPTIMIZERS = {
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "Adam amsgrad": (torch.optim.Adam, {"amsgrad": True, "foreach": True}),
    "RMSprop": (torch.optim.RMSprop, {"momentum": 0.5}),
    "Adagrad": (torch.optim.Adagrad, {}),
    "NAdam": (torch.optim.NAdam, {}),
}
if hasattr(torch.optim, "Muon"):
    OPTIMIZERS["Muon"] = (torch.optim.Muon, {})


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_any_optimizer_takes_its_own_step_plus_the_coupling(kind, options):
    # Its own step: that of an uncoupled copy, from the same state and gradient.
    params, wrapped, coupling = coupled("neuron", optimizer=kind, lr=0.02, **options)
    alone = tensors(GROUPS["neuron"])
    plain = kind(alone, lr=0.02, **options)
    dual, nu = np.zeros(params[0].shape), BASE["nu"]
    for step in range(30):
        before = arrays(params)[0]
        set_gradients(params, step)
        alone[0].data.copy_(params[0].data)
        alone[0].grad = params[0].grad.clone()
        plain.step()
        wrapped.step()
        norms = np.linalg.norm(dual, axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            gap = before - np.maximum(1 - BASE["lam"] / norms, 0) * dual
        dual = dual + 0.02 / nu * gap
        expected = arrays(alone)[0] - 0.02 / nu * gap
        np.testing.assert_allclose(arrays(params)[0], expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(wrapped.state[params[0]]["dual"], dual, rtol=1e-12)
    assert coupling.path_time == pytest.approx(0.6)


def test_param_groups_carry_their_own_options():
    params = tensors([(4, 3), (2, 5), (3,)])
    adam = torch.optim.AdamW(
        [
            {"params": params[:1], "groups": "neuron", "lam": 0.5},
            {"params": params[1:2], "groups": "element", "nu": 7.0},
            {"params": params[2:], "groups": None},
        ],
        lr=0.01,
    )
    coupling = couple(adam, lam=2.0, nu=5.0)
    assert [g["lam"] for g in adam.param_groups] == [0.5, 2.0, 2.0]
    assert [g["nu"] for g in adam.param_groups] == [5.0, 7.0, 5.0]
    train(adam, params, 3)
    assert ["dual" in adam.state[p] for p in params] == [True, True, False]
    late = tensors([(2, 2)])
    adam.add_param_group({"params": late, "groups": "tensor"})
    with pytest.raises(ValueError, match=r"\[3\].*added to the coupled optimizer"):
        group_masks(None, adam)
    train(adam, params + late, 1)
    assert "dual" in adam.state[late[0]]
    assert adam.param_groups[3]["nu"] == 5.0
    adam.add_param_group({"params": tensors([(2, 3)]), "groups": "element"})
    assert list(coupling.predicted_selection()["n_groups"]) == [4, 10, 1, 6]


def test_resume_is_bit_identical_and_keeps_float32_duals():
    def start():
        return coupled("filter", torch.optim.AdamW, torch.bfloat16, lr=0.01, lam=0.002)

    params, wrapped, coupling = start()
    train(wrapped, params, 15)
    state = copy.deepcopy(wrapped.state_dict())
    weights = [p.detach().clone() for p in params]
    others, resumed, again = start()
    for p, w in zip(others, weights, strict=True):
        p.data.copy_(w)
    resumed.load_state_dict(state)
    assert resumed.state[others[0]]["dual"].dtype == torch.float32
    assert again.path_time == coupling.path_time
    train(wrapped, params, 10, start=15)
    train(resumed, others, 10, start=15)
    assert torch.equal(params[0], others[0])
    assert torch.equal(
        wrapped.state[params[0]]["dual"], resumed.state[others[0]]["dual"]
    )


@pytest.mark.parametrize("fused", [False, True])
def test_overflow_changes_nothing(fused):
    # A fused optimizer is stepped even then, and skips the update by itself.
    params, wrapped, coupling = coupled("filter", dtype=torch.float32, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))
    train(wrapped, params, 2)
    before = arrays(params)[0], wrapped.state[params[0]]["dual"].clone()
    set_gradients(params, 5)
    params[0].grad[0, 0] = torch.inf
    scaler.step(wrapped)
    scaler.update()
    assert np.array_equal(arrays(params)[0], before[0])
    assert torch.equal(wrapped.state[params[0]]["dual"], before[1])
    assert coupling.path_time == pytest.approx(2 * BASE["lr"])
    set_gradients(params, 5)
    scaler.step(wrapped)
    assert coupling.path_time == pytest.approx(3 * BASE["lr"])


def test_a_step_that_fails_leaves_no_trace():
    params, wrapped, coupling = coupled("element")
    others, reference, _ = coupled("element")
    handle = wrapped.register_step_pre_hook(stop)
    set_gradients(params, 9)
    with pytest.raises(KeyboardInterrupt):
        wrapped.step()
    handle.remove()
    train(wrapped, params, 3)
    train(reference, others, 3)
    assert torch.equal(params[0], others[0])


def stop(*_):
    raise KeyboardInterrupt


def test_remove_leaves_the_plain_optimizer():
    params, wrapped, coupling = coupled("element", torch.optim.AdamW)
    train(wrapped, params, 2)
    coupling.remove()
    plain = torch.optim.AdamW(tensors(GROUPS["element"]))
    assert set(wrapped.param_groups[0]) == set(plain.param_groups[0])
    assert "dual" not in wrapped.state[params[0]]
    with pytest.raises(RuntimeError, match="its coupling was removed"):
        _ = coupling.path_time
    others = tensors(GROUPS["element"])
    others[0].data.copy_(params[0].data)
    twin = torch.optim.AdamW(others, **{"lr": BASE["lr"]})
    twin.load_state_dict(copy.deepcopy(wrapped.state_dict()))
    train(wrapped, params, 2)
    train(twin, others, 2)
    assert torch.equal(params[0], others[0])


def test_a_copy_is_coupled_again_and_goes_on():
    params, wrapped, coupling = coupled("filter", torch.optim.AdamW)
    train(wrapped, params, 3)
    others, twin = copy.deepcopy((params, wrapped))  # has no hooks
    again = couple(twin)
    assert again.path_time == coupling.path_time
    train(wrapped, params, 3, start=3)
    train(twin, others, 3, start=3)
    assert again.path_time == coupling.path_time == pytest.approx(6 * BASE["lr"])
    assert torch.equal(params[0], others[0])
    with pytest.raises(ValueError, match="coupled already"):
        couple(twin)


def test_closures_are_refused():
    params, wrapped, _ = coupled("element")
    set_gradients(params, 0)
    for call in (lambda: wrapped.step(float), lambda: wrapped.step(closure=float)):
        with pytest.raises(RuntimeError, match="takes no closure"):
            call()
    wrapped.step(None)


def test_bad_input():
    params, wrapped, coupling = coupled("element")
    with pytest.raises(ValueError, match="coupled already"):
        couple(wrapped, groups="element")
    with pytest.raises(TypeError, match="expected a torch.optim.Optimizer"):
        couple(params, groups="element")
    with pytest.raises(TypeError, match="selects groups by itself"):
        couple(DessiLBI(params, lr=0.1, groups="element"))
    sgd = torch.optim.SGD(params, lr=0.1)
    for options, message in (
        ({}, "nothing would be selected"),
        ({"groups": "heads"}, "is unknown"),
        ({"groups": "dim0/3"}, "does not divide"),
        ({"groups": "element", "nu": -1.0}, "nu=-1.0"),
        ({"groups": "element", "kappa": 0}, "kappa=0"),
        ({"groups": "element", "lam": 0.0}, "lam=0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            couple(sgd, **options)
    assert set(sgd.param_groups[0]) == set(
        torch.optim.SGD(tensors([(2,)]), lr=0.1).param_groups[0]
    )
    with pytest.raises(ValueError, match="lr=0 must be"):
        couple(torch.optim.SGD(params, lr=0), groups="element")
    with pytest.warns(UserWarning, match="unstable"):
        couple(sgd, groups="element", nu=0.1)
    plain = torch.optim.SGD(tensors(GROUPS["element"]), lr=0.1)
    with pytest.raises(ValueError, match="not that of a coupled optimizer"):
        wrapped.load_state_dict(plain.state_dict())
    params[0].grad = torch.ones_like(params[0]).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        wrapped.step()
