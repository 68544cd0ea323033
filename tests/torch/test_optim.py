"""DessiLBI against the equations, against SGD, and as a torch optimizer."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sparselbi.torch import DessiLBI, optim  # noqa: E402
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
from tests.torch.twin import Twin  # noqa: E402


def make(name, dtype=torch.float64, **options):
    """Parameters of one row of GROUPS and their optimizer."""
    params = tensors(GROUPS[name], dtype=dtype)
    group = {"params": params, "groups": kind_of(name)}
    return params, DessiLBI([group], **{**BASE, **options})


def same(first, second, **tolerance):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-11, "atol": 1e-12, **tolerance})


def duals(optimizer, params):
    return [optimizer.state[p]["dual"].numpy().copy() for p in params]


# -------------------------------------------------------------------- the equations


def against_twin(name, options, n_steps=25):
    params, optimizer = make(name, foreach=False, **options)
    settings = {**BASE, "kappa": 1.0, **options}
    twin = Twin(arrays(params), kind_of(name).split(","), **settings)
    active = 0
    for step in range(n_steps):
        set_gradients(params, step)
        twin.step([p.grad.numpy() for p in params])
        optimizer.step()
        active += any(gamma.any() for gamma in twin.split())
    same(arrays(params), twin.W)
    same(duals(optimizer, params), twin.V)
    assert 0 < active < n_steps  # the run has seen both sides of a selection


@pytest.mark.parametrize("name", GROUPS)
def test_groups_follow_the_equations(name):
    against_twin(name, {"momentum": 0.9})


@pytest.mark.parametrize("options", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("name", ["element", "filter", "neuron,channel"])
def test_options_follow_the_equations(name, options):
    against_twin(name, options)


def test_a_step_uses_only_old_weights_and_old_split_weights():
    params, optimizer = make("element")
    before = arrays(params)
    set_gradients(params, 0)
    optimizer.step()
    same(duals(optimizer, params), [BASE["lr"] / BASE["nu"] * w for w in before])


# ---------------------------------------------------------------- implementations


@pytest.mark.parametrize("block", [1, 10, optim.BLOCK])
@pytest.mark.parametrize("options", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("name", GROUPS)
def test_fast_step_is_the_loop(name, options, block, monkeypatch):
    monkeypatch.setattr(optim, "BLOCK", block)
    params, loop = make(name, foreach=False, **options)
    others, fast = make(name, **options)
    train(loop, params, 12)
    train(fast, others, 12)
    same(arrays(others), arrays(params), rtol=1e-13, atol=1e-14)
    same(duals(fast, others), duals(loop, params), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("options", STEPS.values(), ids=STEPS)
def test_batched_step_is_the_loop(options, monkeypatch):
    # What a GPU runs, on the CPU: several tensors of both kinds in one param group.
    monkeypatch.setattr(optim, "_blocked", optim._multi_tensor)
    for text in ("dim0", "element"):
        runs = []
        for foreach in (False, True):
            params = tensors([(4, 3), (2, 3, 2), (5,)])
            group = {"params": params, "groups": text}
            optimizer = DessiLBI([group], **{**BASE, **options}, foreach=foreach)
            train(optimizer, params[:2], 3)  # the last joins in later
            train(optimizer, params, 40, start=3)
            runs.append(arrays(params) + duals(optimizer, params))
            inside = torch.cat([s.flatten() != 0 for s in splits(optimizer)])
            assert inside.any()
        same(runs[1], runs[0], rtol=1e-12, atol=1e-13)


# What torch itself warns of when it loads its compiler.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_step_is_the_loop_and_is_compiled_once():
    names = ["element", "filter", "dim1/2", "neuron,channel", "2:4"]
    runs = []
    for options in ({"foreach": False}, {"compile": True}):
        params, groups = [], []
        for k, name in enumerate(names):
            params += [part := tensors(GROUPS[name], seed=k)]
            groups.append({"params": part, "groups": kind_of(name), "lam": 0.2 + k / 9})
        flat = [p for part in params for p in part]
        extra = {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
        optimizer = DessiLBI(groups, **{**BASE, **extra, **options})
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        for step in range(20):
            set_gradients(flat, step)
            optimizer.step()
            scheduler.step()
        runs.append(arrays(flat) + duals(optimizer, flat))
    same(runs[1], runs[0])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_that_the_user_compiles_is_the_same_step(compiled):
    params, loop = make("filter", foreach=False, momentum=0.9)
    others, optimizer = make("filter", momentum=0.9, compile=compiled)
    torch._dynamo.reset()
    step = torch.compile(optimizer.step)
    for k in range(12):
        for which in (params, others):
            set_gradients(which, k)
        loop.step()
        step()
    same(arrays(others), arrays(params))
    assert optimizer.path_time == loop.path_time


def test_channels_last_weights():
    params, loop = make("filter", foreach=False, momentum=0.9)
    others, fast = make("filter", momentum=0.9)
    for p in others:
        p.data = p.data.to(memory_format=torch.channels_last)
    train(loop, params, 10)
    train(fast, others, 10)
    same(arrays(others), arrays(params))
    assert fast.state[others[0]]["dual"].is_contiguous(
        memory_format=torch.channels_last
    )


def test_gradients_that_lie_otherwise_in_memory():
    # Kernels that go through memory in order would mix up their entries.
    runs = []
    for foreach in (False, None):
        params = tensors([(4, 6), (3, 2, 2, 5)])
        group = {"params": params, "groups": "neuron"}
        optimizer = DessiLBI([group], **BASE, momentum=0.9, foreach=foreach)
        for step in range(8):
            set_gradients(params, step)
            params[0].grad = params[0].grad.T.contiguous().T
            params[1].grad = params[1].grad.to(memory_format=torch.channels_last)
            optimizer.step()
        runs.append(arrays(params) + duals(optimizer, params))
    same(runs[1], runs[0], rtol=1e-13, atol=1e-14)


# ---------------------------------------------------------------------- plain SGD


@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize(
    "options", [o for n, o in STEPS.items() if n not in ("damped", "scaled")]
)
def test_dense_tensors_are_bit_equal_to_sgd(options, foreach):
    kappa = 1.5
    shapes = [(4, 3), (5,), (2, 2, 2)]
    ours = tensors(shapes, dtype=torch.float32)
    theirs = tensors(shapes, dtype=torch.float32)
    registered = tensors([(3, 3)], dtype=torch.float32)
    groups = [{"params": registered, "groups": "element"}, {"params": ours}]
    optimizer = DessiLBI(groups, lr=0.1, kappa=kappa, foreach=foreach, **options)
    sgd = torch.optim.SGD(theirs, lr=0.1 * kappa, foreach=foreach, **options)
    for step in range(10):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        set_gradients(registered, step)
        optimizer.step()
        sgd.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_one_buffer_more_than_sgd():
    params, optimizer = make("filter", momentum=0.9)
    dense = tensors([(3,)])
    optimizer.add_param_group({"params": dense})
    train(optimizer, params + dense, 2)
    assert set(optimizer.state[params[0]]) == {"momentum_buffer", "dual"}
    assert set(optimizer.state[dense[0]]) == {"momentum_buffer"}


def test_nothing_selected_means_weight_decay_of_one_over_nu():
    params, optimizer = make("element", lam=1e9)
    others = tensors(GROUPS["element"])
    sgd = torch.optim.SGD(others, lr=BASE["lr"], weight_decay=1 / BASE["nu"])
    train(optimizer, params, 10)
    train(sgd, others, 10)
    same(arrays(params), arrays(others))


def test_tensors_without_gradient_stay():
    params, optimizer = make("neuron,channel")
    set_gradients(params[:1], 0)
    before = arrays(params)
    optimizer.step()
    assert np.array_equal(arrays(params)[1], before[1])
    assert not optimizer.state[params[1]]["dual"].any()
    assert not np.array_equal(arrays(params)[0], before[0])
    optimizer.zero_grad()
    optimizer.step()
    assert optimizer.path_time == BASE["lr"]


# -------------------------------------------------------------- a torch optimizer


def test_closure_runs_with_gradients_and_returns_the_loss():
    params, optimizer = make("element")
    others, plain = make("element")

    def closure():
        optimizer.zero_grad()
        loss = (params[0] ** 3).sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    (others[0] ** 3).sum().backward()
    assert plain.step() is None
    assert loss.item() == pytest.approx(
        (tensors(GROUPS["element"])[0] ** 3).sum().item()
    )
    assert torch.equal(params[0], others[0])


def test_param_groups_hold_numbers_and_strings_only():
    params, optimizer = make("filter", momentum=0.9)
    train(optimizer, params, 2)
    for group in optimizer.state_dict()["param_groups"]:
        for name, value in group.items():
            plain = value is None or isinstance(value, bool | int | float | str)
            assert plain or name == "params", name


@pytest.mark.parametrize("name", ["element", "filter", "neuron,channel", "2:4"])
def test_resume_is_bit_identical(name):
    def start():
        params, optimizer = make(name, dtype=torch.float32, momentum=0.9)
        return params, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)

    def run(params, optimizer, scheduler, steps):
        for step in steps:
            set_gradients(params, step)
            optimizer.step()
            scheduler.step()

    params, optimizer, scheduler = start()
    run(params, optimizer, scheduler, range(10))
    file = io.BytesIO()
    torch.save([params, optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    weights, state, clock = torch.load(file, weights_only=True)
    run(params, optimizer, scheduler, range(10, 20))

    others, resumed, scheduler = start()
    for p, w in zip(others, weights, strict=True):
        p.data.copy_(w)
    resumed.load_state_dict(state)
    scheduler.load_state_dict(clock)
    run(others, resumed, scheduler, range(10, 20))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    assert resumed.path_time == optimizer.path_time
    same(duals(resumed, others), duals(optimizer, params), rtol=0, atol=0)


@pytest.mark.parametrize("how", ["copy", "pickle"])
def test_copies_go_on_alike(how):
    params, optimizer = make("filter", momentum=0.9)
    train(optimizer, params, 5)
    pair = {"copy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}
    others, twin = pair[how]((params, optimizer))
    train(optimizer, params, 5, start=5)
    train(twin, others, 5, start=5)
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dual_of_a_low_precision_weight_stays_float32(dtype):
    def start():
        params = tensors([(4, 3), (6, 2)], dtype=dtype)
        groups = [
            {"params": [params[0]], "groups": "neuron"},
            {"params": [params[1]], "groups": "element"},
        ]
        return params, DessiLBI(groups, lr=0.01, nu=20.0, lam=0.002, momentum=0.9)

    params, optimizer = start()
    train(optimizer, params, 20)
    state = copy.deepcopy(optimizer.state_dict())
    weights = [p.detach().clone() for p in params]
    others, resumed = start()
    for p, w in zip(others, weights, strict=True):
        p.data.copy_(w)
    seen = []
    resumed.register_load_state_dict_post_hook(
        lambda o: seen.extend(o.state[p]["dual"].dtype for p in others)
    )
    resumed.load_state_dict(state)
    assert seen == [torch.float32] * 2
    for p, q in zip(params, others, strict=True):
        dual = resumed.state[q]["dual"]
        assert torch.equal(dual, optimizer.state[p]["dual"])
        assert not torch.equal(
            dual, dual.to(dtype).float()
        )  # there was something to lose
        assert dual.data_ptr() != optimizer.state[p]["dual"].data_ptr()
        assert resumed.state[q]["momentum_buffer"].dtype == dtype
    train(optimizer, params, 20, start=20)
    train(resumed, others, 20, start=20)
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    # The weights follow the float64 run within their own rounding.
    exact = tensors([(4, 3), (6, 2)], dtype=torch.float64)
    for p, w in zip(exact, tensors([(4, 3), (6, 2)], dtype=dtype), strict=True):
        p.data.copy_(w)
    groups = [
        {"params": [exact[0]], "groups": "neuron"},
        {"params": [exact[1]], "groups": "element"},
    ]
    train(DessiLBI(groups, lr=0.01, nu=20.0, lam=0.002, momentum=0.9), exact, 40)
    eps = torch.finfo(dtype).eps
    same(
        [p.detach().double().numpy() for p in params],
        arrays(exact),
        atol=20 * eps,
        rtol=0,
    )


def test_user_hooks_that_change_the_state_dict_are_honoured():
    params, optimizer = make("element")
    train(optimizer, params, 3)
    others, resumed = make("element")

    def double(_, state):
        state["state"] = {
            k: {n: 2 * v for n, v in entry.items()}
            for k, entry in state["state"].items()
        }

    resumed.register_load_state_dict_pre_hook(double)
    resumed.load_state_dict(optimizer.state_dict())
    same(duals(resumed, others), [2 * v for v in duals(optimizer, params)])


def test_overflow_changes_nothing():
    params, optimizer = make("filter", dtype=torch.float32, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))  # initializes the scaler
    train(optimizer, params, 2)
    before = copy.deepcopy((arrays(params), optimizer.state_dict()))
    set_gradients(params, 5)
    params[0].grad[0, 0] = torch.inf
    scaler.step(optimizer)
    scaler.update()
    after = arrays(params), optimizer.state_dict()
    same(after[0], before[0], rtol=0, atol=0)
    assert after[1]["param_groups"] == before[1]["param_groups"]
    for key, entry in before[1]["state"].items():
        for name, value in entry.items():
            assert torch.equal(after[1]["state"][key][name], value)
    set_gradients(params, 5)
    params[0].grad *= scaler.get_scale()
    scaler.step(optimizer)
    assert optimizer.path_time == pytest.approx(3 * BASE["lr"])


def test_clipped_gradients_and_schedules_of_the_learning_rate():
    params, optimizer = make("element")
    others, plain = make("element")
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 - k / 4)
    rates = []
    for step in range(4):
        rates.append(scheduler.get_last_lr()[0])
        for which in (params, others):
            set_gradients(which, step)
        torch.nn.utils.clip_grad_norm_(params, 0.1)
        scale = torch.clamp(0.1 / (others[0].grad.norm() + 1e-6), max=1.0)
        others[0].grad *= scale
        plain.param_groups[0]["lr"] = rates[-1]
        optimizer.step()
        plain.step()
        scheduler.step()
    assert optimizer.path_time == pytest.approx(sum(rates))
    same(arrays(params), arrays(others))


def test_path_time_is_the_largest_of_the_registered_groups():
    params = tensors([(2, 2), (2, 2), (2, 2)])
    optimizer = DessiLBI(
        [
            {"params": params[:1], "groups": "element", "lr": 0.2},
            {"params": params[1:2], "groups": "element"},
            {"params": params[2:], "lr": 5.0},
        ],
        lr=0.1,
    )
    train(optimizer, params, 3)
    assert optimizer.path_time == pytest.approx(0.6)
    assert [g["n_steps"] for g in optimizer.param_groups] == [3, 3, 0]


# ------------------------------------------------------------------------ reports


def test_prediction_at_a_learning_rate_of_zero():
    _, optimizer = make("filter")
    before = optimizer.predicted_selection().iloc[0]
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: k / 5)  # begins at 0
    table = optimizer.predicted_selection().iloc[0]
    assert table["first_time"] == before["first_time"]
    assert np.isposinf(table["first_step"])
    assert np.isposinf(table["median_step"])


def test_prediction_for_weights_that_their_block_keeps_out():
    params, optimizer = make("2:4", kappa=1e-12, lam=0.01)
    train(optimizer, params, 200)  # all beyond the limit, half of each block in
    dual = optimizer.state[params[0]]["dual"]
    assert (dual.abs() > 0.01).all()
    table = optimizer.predicted_selection().iloc[0]
    assert table["n_selected"] == dual.numel() / 2
    assert np.isposinf(table["first_time"])


@pytest.mark.parametrize("name", ["element", "filter", "dim0/3x2,dim1/2"])
@pytest.mark.parametrize("warm", [0, 7])
def test_prediction_is_exact_for_weights_that_stand_still(name, warm):
    params, optimizer = make(name, kappa=1e-12, lr=0.01, lam=0.4)
    train(optimizer, params, warm)
    for p in params:  # another direction than the dual so far
        p.data += 0.5
    before = optimizer.predicted_selection().iloc[0]
    step = warm
    while not any(s.any() for s in splits(optimizer)):
        train(optimizer, params, 1, start=step)
        step += 1
    assert before["first_time"] <= optimizer.path_time <= before["first_time"] + 0.011
    assert before["first_step"] <= step <= before["first_step"] + 1.001
    assert before["n_selected"] == 0
    now = optimizer.predicted_selection().iloc[0]
    assert now["n_selected"] >= 1
    assert not now["first_time"] < optimizer.path_time


def splits(optimizer):
    from sparselbi.torch.layouts import all_sets

    sets = list(all_sets(optimizer))
    return (
        [
            split
            for s in sets
            for split in s.split([optimizer.state[p]["dual"] for p in s.params])
        ]
        if optimizer.state
        else [torch.zeros(1)]
    )


def test_prediction_for_a_new_optimizer_is_nu_lam_over_the_norm():
    params, optimizer = make("filter")
    table = optimizer.predicted_selection()
    norms = params[0].detach().flatten(1).norm(dim=1)
    assert list(table["n_groups"]) == [6]
    largest = norms.max().item()
    assert table["first_time"][0] == pytest.approx(BASE["nu"] * BASE["lam"] / largest)
    assert table["first_step"][0] == pytest.approx(table["first_time"][0] / BASE["lr"])


def test_prediction_for_a_weight_of_zero_is_never():
    param = torch.nn.Parameter(torch.zeros(2, 2))
    table = DessiLBI([param], lr=0.1, groups="element").predicted_selection()
    assert table["first_time"][0] == np.inf


# ---------------------------------------------------------------------- stability


@pytest.mark.parametrize(("ratio", "grows"), [(0.9, False), (1.1, True)])
def test_gap_of_a_selected_weight_is_multiplied_by_one_minus_two_lr_kappa_over_nu(
    ratio, grows
):
    param = torch.nn.Parameter(torch.tensor([201.0], dtype=torch.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = DessiLBI([param], lr=ratio, nu=1.0, lam=0.5, groups="element")
    optimizer.state[param]["dual"] = torch.tensor([200.0], dtype=torch.float64)

    def gap():
        return (param - (optimizer.state[param]["dual"] - 0.5)).item()

    gaps = [gap()]
    for _ in range(4):
        param.grad = torch.zeros_like(param)
        optimizer.step()
        gaps.append(gap())
    np.testing.assert_allclose(np.divide(gaps[1:], gaps[:-1]), 1 - 2 * ratio)
    assert (abs(gaps[-1]) > abs(gaps[0])) == grows


def test_unstable_steps_warn_once():
    param = torch.nn.Parameter(torch.ones(2))
    with pytest.warns(UserWarning, match="lr < 0.5"):
        DessiLBI([param], lr=0.5, kappa=2.0, nu=1.0, groups="element")
    optimizer = DessiLBI([param], lr=0.5, nu=1.0, groups="element")
    optimizer.param_groups[0]["lr"] = 1.0
    param.grad = torch.ones_like(param)
    with pytest.warns(UserWarning, match="unstable"):
        optimizer.step()
    optimizer.step()


# ---------------------------------------------------------------------- bad input


def weight(*shape):
    return torch.nn.Parameter(torch.ones(shape))


ERRORS = {
    "lr": ({"lr": 0}, "lr=0 must be a finite number > 0"),
    "negative lr": ({"lr": -1.0}, "lr=-1.0"),
    "infinite lr": ({"lr": float("inf")}, "lr=inf"),
    "kappa": ({"kappa": 0.0}, "kappa=0.0"),
    "nu": ({"nu": -5.0}, "nu=-5.0 must be a finite number > 0"),
    "nan nu": ({"nu": float("nan")}, "nu=nan"),
    "lam": ({"lam": 0.0}, "lam=0.0"),
    "momentum": ({"momentum": -0.1}, "momentum=-0.1 must be a finite number >= 0"),
    "weight_decay": ({"weight_decay": -1e-4}, "weight_decay=-0.0001"),
    "nesterov": ({"nesterov": True}, "momentum > 0 and dampening = 0"),
    "no groups": ({"groups": None}, "nothing would be selected"),
    "unknown groups": ({"groups": "filters"}, "'filters' is unknown; use 'element'"),
    "list of groups": ({"groups": ["filter"]}, "must be a string"),
    "not divisible": ({"groups": "dim0/5"}, r"does not divide dim 0 of length 6"),
    "not divisible parts": ({"groups": "dim0/4x3"}, r"into 4 x 3 equal blocks"),
    "no such dim": ({"groups": "dim2"}, "needs at least 3 dims"),
    "n:m": ({"groups": "2:3"}, "divisible by 3"),
    "n:m order": ({"groups": "4:2"}, "smaller"),
    "joined": ({"groups": "neuron,channel"}, "joins 2 tensors"),
}


@pytest.mark.parametrize(("options", "message"), ERRORS.values(), ids=ERRORS)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        DessiLBI([weight(6, 4)], **{"lr": 0.1, "groups": "neuron", **options})


def test_bad_tensors():
    first, second = weight(6, 4), weight(3, 5)
    groups = [{"params": [first], "groups": "neuron"}, {"params": [second, first]}]
    with pytest.raises(
        ValueError, match=r"\[1\].params\[1\]' is registered already, as"
    ):
        DessiLBI(groups, lr=0.1)
    named = [{"params": [("a", first), ("b", first)], "groups": "neuron"}]
    with pytest.raises(ValueError, match="'b' is registered already, as 'a'"):
        DessiLBI(named, lr=0.1)
    joined = [{"params": [first, second], "groups": "neuron,channel"}]
    with pytest.raises(ValueError, match=r"6 \(neuron\).* 5 \(channel\)"):
        DessiLBI(joined, lr=0.1)
    joined = [{"params": [first, second], "groups": "element,element"}]
    with pytest.raises(ValueError, match="made of slices"):
        DessiLBI(joined, lr=0.1)
    waves = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(TypeError, match="complex64"):
        DessiLBI([waves], lr=0.1, groups="element")
    with pytest.raises(TypeError, match="must be a float"):
        DessiLBI([first], lr=torch.tensor(0.1), groups="element")
    with pytest.raises(ValueError, match="is empty"):
        DessiLBI([weight(0, 3)], lr=0.1, groups="element")
    with pytest.raises(ValueError, match=r"unknown options \['lambda'\]"):
        DessiLBI([{"params": [first], "groups": "neuron", "lambda": 2.0}], lr=0.1)
    with pytest.raises(TypeError, match="required|lr"):
        DessiLBI([first], groups="element")
    layer = torch.nn.Linear(4, 6)
    with pytest.raises(ValueError, match=r"'bias': groups='neuron' .*groups_for"):
        DessiLBI(layer.named_parameters(), lr=0.1, groups="neuron")
    together = {"params": [layer.weight, layer.bias], "groups": "neuron,neuron"}
    DessiLBI([together], lr=0.1)  # a neuron with its bias


def test_numbers_of_numpy_are_saved_as_numbers():
    rates = {"lr": np.float32(0.5), "nu": np.float64(2.0), "lam": np.int64(1)}
    params, optimizer = make("element", **rates, nesterov=np.False_)
    train(optimizer, params, 2)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    optimizer.load_state_dict(torch.load(file, weights_only=True))
    assert optimizer.path_time == 1.0
    with pytest.raises(ValueError, match="nu=-1.0 must be"):
        make("element", nu=np.float64(-1))


def test_a_refused_param_group_is_not_added():
    params, optimizer = make("filter")
    with pytest.raises(ValueError, match="does not divide"):
        optimizer.add_param_group({"params": [weight(5, 2)], "groups": "dim0/2"})
    assert len(optimizer.param_groups) == 1


def test_bad_steps_change_nothing():
    params, optimizer = make("filter", momentum=0.9)
    rows = torch.nn.Embedding(4, 2, sparse=True)
    optimizer.add_param_group({"params": [rows.weight]})
    set_gradients(params, 0)
    rows(torch.tensor([1])).sum().backward()
    before = arrays(params)
    with pytest.raises(RuntimeError, match=r"param_groups\[1\].*sparse=False"):
        optimizer.step()
    assert all(
        np.array_equal(a, b) for a, b in zip(arrays(params), before, strict=True)
    )
    rows.weight.grad = None
    train(optimizer, params, 3)
    others, plain = make("filter", momentum=0.9)
    train(plain, others, 3)
    same(arrays(params), arrays(others))


def test_a_model_that_was_changed_is_noticed():
    params, optimizer = make("filter")
    train(optimizer, params, 1)
    params[0].data = params[0].data[:4]
    params[0].grad = torch.ones_like(params[0])
    with pytest.raises(RuntimeError, match="model was changed"):
        optimizer.step()


def test_states_of_others_are_refused():
    params, optimizer = make("element")
    sgd = torch.optim.SGD(tensors(GROUPS["element"]), lr=0.1)
    with pytest.raises(ValueError, match="state of another optimizer"):
        optimizer.load_state_dict(sgd.state_dict())
    other = tensors([(5, 7)])
    grown = DessiLBI(other, lr=0.1, groups="element")
    train(grown, other, 1)
    with pytest.raises(ValueError, match="another model"):
        optimizer.load_state_dict(grown.state_dict())
