"""Networks inside of DistributedDataParallel and torch.compile: as without them."""

import matplotlib.pyplot as plt
import pytest

torch = pytest.importorskip("torch")

from torch import distributed, nn  # noqa: E402

from sparselbi.plotting import (  # noqa: E402
    FilterDisplay,
    LayerFractionDisplay,
    LayerPathDisplay,
)
from sparselbi.torch import (  # noqa: E402
    DessiLBI,
    PathRecorder,
    group_masks,
    groups_for,
    hold_masks,
    prune,
    sparse_weights,
    ticket,
    widths_to_grow,
)

NAMES = ("0.weight", "2.weight")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)
    )


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.fixture(params=["plain", "compile", "ddp", "compiled ddp"])
def wrap(request):
    """What puts a network into a wrapper."""
    kinds = request.param.split()
    if "ddp" in kinds or "compiled" in kinds:
        store = distributed.HashStore()
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    parallel = nn.parallel.DistributedDataParallel
    yield {
        "plain": lambda model: model,
        "compile": compiled,
        "ddp": parallel,
        "compiled ddp": lambda model: compiled(parallel(model)),
    }[request.param]
    plt.close("all")
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_all_tools_take_the_network_in_its_wrapper(wrap):
    model = network()
    wrapped = wrap(model)
    optimizer = DessiLBI(groups_for(wrapped), lr=0.1, nu=2.0, lam=0.4)
    recorder = PathRecorder(optimizer, wrapped, every=1)
    data = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(25):
        optimizer.zero_grad()
        (wrapped(data) - data[:, :2]).square().mean().backward()
        optimizer.step()
    masks = group_masks(wrapped, optimizer)
    shares = [mask.double().mean().item() for mask in masks.values()]
    assert tuple(masks) == recorder.names == NAMES
    assert 0 < sum(shares) < 2

    with sparse_weights(wrapped, optimizer), torch.no_grad():
        expected = wrapped(data)
    pruned = prune(wrapped, recorder, physical=False)
    assert list(pruned.model.state_dict()) == list(model.state_dict())
    torch.testing.assert_close(pruned.model(data), expected)
    report = ticket(wrapped, recorder, lambda net: type(net), start="keep")
    assert report.result is nn.Sequential
    with hold_masks(wrapped, masks):
        assert torch.equal(model[0].weight != 0, masks["0.weight"])

    wider = widths_to_grow(wrapped, optimizer, threshold=min(max(shares), 1.0))
    assert set(wider) <= {"0", "2"}
    assert wider

    assert list(LayerFractionDisplay.from_recorder(recorder).fractions) == list(NAMES)
    assert LayerPathDisplay.from_recorder(recorder).names == list(NAMES)
    display = FilterDisplay.from_recorder(recorder, wrapped, "0.weight", shape=(2, 2))
    assert display.weights.shape == (6, 1, 2, 2)


def test_units_are_cut_out_of_and_put_into_a_compiled_network():
    pytest.importorskip("torch_pruning")
    from sparselbi.torch import grow

    model, data = network().eval(), torch.ones(3, 4)
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[2] = False
    with torch.no_grad():
        model[0].weight[2] = 0
    expected = model(data)
    small = prune(compiled(model), {"0.weight": mask}, data, repeats=0).model
    wide = grow(compiled(model), {"0": 9}, data).model
    for changed, width in ((small, 5), (wide, 9)):
        assert type(changed) is nn.Sequential
        assert changed[0].out_features == width
        torch.testing.assert_close(changed(data), expected)
