"""PathRecorder against a log of every step."""

import copy
import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from sparselbi import RegularizationPath  # noqa: E402
from sparselbi.torch import (  # noqa: E402
    DessiLBI,
    PathRecorder,
    couple,
    group_masks,
    groups_for,
)
from tests.torch.common import set_gradients, train  # noqa: E402

LR = 0.1


def setup(level="unit", lam=0.8, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 5, 3), nn.Linear(6, 8), nn.Linear(8, 3))
    optimizer = DessiLBI(groups_for(model, level, lam=lam), lr=LR, nu=3.0)
    return model, optimizer, PathRecorder(optimizer, model, **options)


def run(model, optimizer, n_steps, start=0, gradient=set_gradients):
    """Train; return the masks after every step."""
    log = []
    for step in range(start, start + n_steps):
        gradient(list(model.parameters()), step)
        optimizer.step()
        log.append({k: m.clone() for k, m in group_masks(model, optimizer).items()})
    return log


def first_seen(log, name, every):
    """Step of the first look at which each weight is inside, -1 for never."""
    first = np.full(log[0][name].shape, -1)
    for step in range(every, len(log) + 1, every):
        first[(first < 0) & log[step - 1][name].numpy()] = step
    return first


def wave(params, step):
    """A gradient that pushes weights up and then down: groups enter and leave."""
    for k, param in enumerate(params):
        sign = 1.0 if np.sin(step / 15 + k) > 0 else -1.0
        param.grad = 0.5 * (param.detach() - sign * torch.ones_like(param))


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("level", ["weight", "unit", "layer"])
def test_entries_are_those_of_a_full_log(level, every):
    lam = {"weight": 0.4, "unit": 0.9, "layer": 3.0}[level]
    model, optimizer, recorder = setup(level, lam, every=every)
    log = run(model, optimizer, 60)
    times = recorder.entry_times()
    some = []
    for name, steps in recorder.entry_steps().items():
        first = first_seen(log, name, every)
        flat = first.reshape(len(steps), -1)  # groups are leading slices here
        assert (flat == steps.numpy()[:, None]).all()
        expected = np.where(steps >= 0, steps * LR, np.inf)
        np.testing.assert_allclose(times[name], expected)
        some += steps.tolist()
    assert len(set(some)) > 1
    for t in (0.0, 7 * LR, 30.3 * LR, 55 * LR):
        for name, mask in recorder.masks_at(t).items():
            first = first_seen(log, name, every)
            inside = (first >= 0) & (first * LR <= t * (1 + 1e-9))
            assert np.array_equal(mask.numpy(), inside)


def test_order_of_entry():
    model, optimizer, recorder = setup(every=5)
    run(model, optimizer, 60)
    table = recorder.entries()
    assert list(table.columns) == ["name", "group", "step", "time", "norm"]
    keys = list(zip(table["step"], -table["norm"], strict=True))
    assert keys == sorted(keys)
    one = recorder.entries("0.weight")
    assert set(one["name"]) == {"0.weight"}
    assert len(one) == (recorder.entry_steps()["0.weight"] >= 0).sum()
    with pytest.raises(ValueError, match="'7.weight' is not recorded"):
        recorder.entries("7.weight")


@pytest.mark.parametrize("n_steps", [37, 80])
def test_path_has_the_norms_of_the_recorded_steps(n_steps):
    model, optimizer, recorder = setup(every=4, n_knots=5)
    norms = {0: np.zeros(13)}
    for step in range(n_steps):
        wave(list(model.parameters()), step)
        optimizer.step()
        now = []
        for layer in (model[0], model[1]):
            dual = optimizer.state[layer.weight]["dual"].flatten(1).double()
            now.append((dual.norm(dim=1) - 0.8).clamp(min=0).numpy())
        norms[step + 1] = np.concatenate(now)
    path = recorder.to_path()
    steps = path.info["step"]
    assert (steps[0], steps[-1]) == (0, n_steps)
    assert 5 <= len(steps) <= 12
    assert len(set(np.diff(steps[:-1]))) == 1  # evenly spaced, but for the last
    np.testing.assert_allclose(path.knots, steps * LR)
    np.testing.assert_allclose(path.coefs, [norms[s] for s in steps], atol=1e-6)
    assert path.feature_names[4:6] == ("0.weight[4]", "1.weight[0]")
    assert path.info["first"].tolist() == [0, 5, 13]

    # Entries of the path are the entries that were seen.
    seen = np.concatenate([t.numpy() for t in recorder.entry_times().values()])
    np.testing.assert_allclose(
        np.nan_to_num(path.entry_knots(), nan=np.inf), seen, rtol=1e-12
    )
    # Groups come and, later, go; between knots the path is zero before an entry.
    assert path.events["enters"].all() == (n_steps < 40)
    for j in np.flatnonzero(np.isfinite(seen) & (seen > 0)):
        assert path.at(seen[j] * (1 - 1e-9)).coef[j] == 0
    with pytest.raises(TypeError, match="cannot predict"):
        path.predict(np.ones((2, path.n_features)))
    assert "dessilbi" in str(path.summary())


def test_path_at_a_knot_and_as_a_figure():
    model, optimizer, recorder = setup(every=2)
    run(model, optimizer, 40)
    path = recorder.to_path()
    for k in range(len(path)):
        np.testing.assert_array_equal(path.at(path.knots[k]).coef, path.coefs[k])
    assert len(path.plot(x="t").lines) > 0
    assert path.to_frame().shape[0] == len(path)


def test_many_groups_are_recorded_by_their_norm():
    model, optimizer, recorder = setup("weight", 0.2, every=3, max_groups=40)
    run(model, optimizer, 30)
    path = recorder.to_path()
    # 48 weights as one feature, the other 30 and 24 one by one
    assert path.n_features == 30 + 1 + 24
    assert path.feature_names[30:32] == ("1.weight[all]", "2.weight[0]")
    dual = optimizer.state[model[1].weight]["dual"]
    split = dual.sign() * (dual.abs() - 0.2).clamp(min=0)
    assert path.coefs[-1, 30] == pytest.approx(split.norm().item(), rel=1e-6)
    entry = recorder.entry_steps()["1.weight"]
    assert len(entry) == 48
    assert path.entry_knots()[30] == pytest.approx(entry[entry >= 0].min().item() * LR)


def test_fractions():
    model, optimizer, recorder = setup(every=5)
    log = run(model, optimizer, 42)
    table = recorder.fractions()
    assert table["step"].tolist() == [0, *range(5, 41, 5)]
    for row in table.iloc[1:].to_dict("records"):
        masks = log[int(row["step"]) - 1]
        for name in recorder.names:
            assert row[name] == pytest.approx(masks[name].float().mean().item())
    np.testing.assert_allclose(table.index, table["step"] * LR)


def test_nothing_selected():
    model, optimizer, recorder = setup(lam=1e6)
    run(model, optimizer, 20)
    path = recorder.to_path()
    assert path.active_features.size == 0
    assert path.t0 is None
    assert len(recorder.entries()) == 0
    assert not any(m.any() for m in recorder.masks_at(1.0).values())


def test_checkpoints():
    model, optimizer, recorder = setup(every=3, n_knots=4)
    run(model, optimizer, 25)
    file = io.BytesIO()
    torch.save(
        [model.state_dict(), optimizer.state_dict(), recorder.state_dict()], file
    )
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    parts = setup(every=10, n_knots=7)
    for part, state in zip(parts, saved, strict=True):
        part.load_state_dict(state)
    run(model, optimizer, 40, start=25)
    run(*parts[:2], 40, start=25)
    ours, theirs = recorder.to_path(), parts[2].to_path()
    np.testing.assert_array_equal(ours.knots, theirs.knots)
    np.testing.assert_array_equal(ours.coefs, theirs.coefs)
    np.testing.assert_array_equal(ours.events, theirs.events)
    other = nn.Linear(4, 2)
    single = PathRecorder(DessiLBI(groups_for(other, "weight"), lr=0.1))
    with pytest.raises(ValueError, match="another model"):
        single.load_state_dict(saved[2])


def test_an_optimizer_that_was_set_back_is_noticed():
    model, optimizer, recorder = setup(every=2)
    states = copy.deepcopy((optimizer.state_dict(), recorder.state_dict()))
    run(model, optimizer, 10)
    optimizer.load_state_dict(states[0])
    with pytest.raises(RuntimeError, match="at step 2, and the recorder has seen st"):
        run(model, optimizer, 10)
    recorder.load_state_dict(states[1])
    run(model, optimizer, 2)
    assert recorder.fractions()["step"].tolist() == [0, 4]


def test_a_saved_state_does_not_move_on():
    model, optimizer, recorder = setup(every=1)
    run(model, optimizer, 5)
    state = recorder.state_dict()
    before = copy.deepcopy(state)
    run(model, optimizer, 20, start=5)
    assert all(
        torch.equal(a, b) for a, b in zip(state["entry"], before["entry"], strict=True)
    )
    assert state["steps"] == before["steps"]


def test_coupled_optimizer_and_late_start():
    torch.manual_seed(0)
    model = nn.Linear(5, 4)
    adam = torch.optim.AdamW(groups_for(model, "weight"), lr=LR)
    with pytest.raises(ValueError, match="call couple"):
        PathRecorder(adam)
    coupling = couple(adam, nu=2.0, lam=0.6)
    train(adam, list(model.parameters()), 30)
    recorder = PathRecorder(adam, model, every=1)
    before = group_masks(model, adam)["weight"].flatten()
    assert before.any()
    entry = recorder.entry_steps()["weight"]
    assert torch.equal(entry == 30, before)
    train(adam, list(model.parameters()), 10, start=30)
    path = recorder.to_path()
    assert path.knots[-1] == pytest.approx(coupling.path_time)
    assert path.knots[0] == pytest.approx(30 * LR)
    recorder.remove()
    train(adam, list(model.parameters()), 10, start=40)
    times = recorder.entry_times()["weight"]
    assert times[torch.isfinite(times)].max() <= 40 * LR * (1 + 1e-9)


def test_steps_without_progress_are_not_recorded():
    model, optimizer, recorder = setup(every=1)
    optimizer.zero_grad()
    optimizer.step()  # no gradients
    optimizer.param_groups[0]["lr"] = 0.0
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    run(model, optimizer, 3)
    path = recorder.to_path()
    assert path.knots.tolist() == [0.0]


def test_inputs_that_matter_enter_first():
    # A teacher that reads 3 of 12 inputs; groups are the inputs of the first layer.
    torch.manual_seed(1)
    X = torch.randn(400, 12)
    y = torch.tanh(X[:, [2, 5, 7]] @ torch.tensor([2.0, -1.5, 1.0]))
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 1))
    table = groups_for(model, choose={"0": "channel"})
    optimizer = DessiLBI(table, lr=0.1, nu=20.0, lam=0.2, momentum=0.9)
    recorder = PathRecorder(optimizer, model, every=1)
    for _ in range(150):
        optimizer.zero_grad()
        (model(X)[:, 0] - y).square().mean().backward()
        optimizer.step()
    first = recorder.to_path().entry_order(3)
    assert sorted(first) == [2, 5, 7]
    masks = recorder.masks_at(recorder.entries()["time"][2])
    assert masks["0.weight"].any(dim=0).nonzero()[:, 0].tolist() == [2, 5, 7]


def test_bad_input():
    model, optimizer, recorder = setup()
    run(model, optimizer, 20)
    for t in (-0.1, 2.5, float("nan")):
        with pytest.raises(ValueError, match="must lie between 0 and"):
            recorder.masks_at(t)
    for options in ({"every": 0}, {"n_knots": 2.5}, {"max_groups": True}):
        with pytest.raises(ValueError, match="must be an integer >= 1"):
            PathRecorder(optimizer, **options)
    with pytest.raises(ValueError, match="not parameters of the model"):
        PathRecorder(optimizer, nn.Linear(2, 2))
    assert repr(recorder).startswith("PathRecorder(")
    more = nn.Linear(2, 2, dtype=torch.float64)
    model.add_module("more", more)
    optimizer.add_param_group({"params": [("more", more.weight)], "groups": "row"})
    with pytest.raises(
        RuntimeError, match="had 2 sets .* and has 3: .* a new recorder"
    ):
        run(model, optimizer, 20)


def test_a_recorded_path_is_saved_without_the_network(tmp_path):
    model, optimizer, recorder = setup()
    run(model, optimizer, 40)
    path = recorder.to_path()
    path.save(tmp_path / "path.npz")
    again = RegularizationPath.load(tmp_path / "path.npz")
    np.testing.assert_array_equal(again.knots, path.knots)
    np.testing.assert_array_equal(again.coefs, path.coefs)
    assert again.feature_names == path.feature_names
    assert again.loss.name == "network"
    with pytest.raises(TypeError, match="cannot predict"):
        again.loss.inverse_link(np.zeros(2))
