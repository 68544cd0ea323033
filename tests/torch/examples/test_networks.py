"""The networks of the examples: sizes, causality, and that they can be cut."""

import pytest
import torch
from torch import nn

from sparselbi.torch import groups_for, prune
from sparselbi.torch.examples.networks import (
    GPT,
    lenet_5,
    lenet_300_100,
    resnet,
    resnet_50,
    vgg_16,
)

pytest.importorskip("torch_pruning")


def weights(model):
    return sum(p.numel() for p in model.parameters() if p.ndim > 1)


# Layers that write to a residual stream: their units go when no block writes them.
RESIDUAL = {"resnet": "conv2", "resnet_50": "conv3"}


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def small_gpt():
    return GPT(vocabulary=11, context=8, width=16, n_blocks=2, n_heads=4)


NETWORKS = {
    "lenet_300_100": (lenet_300_100, (1, 28, 28)),
    "lenet_5": (lenet_5, (1, 28, 28)),
    "lenet_5 in colour": (lambda: lenet_5(3, 10, 32), (3, 32, 32)),
    "vgg_16": (lambda: vgg_16(1, 10, width=4), (1, 28, 28)),
    "vgg_16 without norms": (lambda: vgg_16(3, 10, 4, batch_norm=False), (3, 32, 32)),
    "resnet": (lambda: resnet(14, width=4, in_channels=1), (1, 28, 28)),
    "resnet_50": (lambda: resnet_50(10, width=4), (3, 32, 32)),
}


def built(make, dtype=torch.float64):
    """A network whose biases and norms are anything but the defaults."""
    torch.manual_seed(0)
    model = make().to(dtype)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
    return model


def drawn(table, share=0.5):
    """Masks that keep a share of the groups of every set: some, not all."""
    source, masks = torch.Generator().manual_seed(3), {}
    for row in table.rows:
        for groups in row.sets():
            inside = torch.rand(groups.n_groups, generator=source) < share
            inside[0], inside[-1] = True, False
            masks.update(zip(groups.names, groups.masks(inside), strict=True))
    return masks


@pytest.mark.parametrize("name", NETWORKS)
def test_images_go_through(name):
    make, shape = NETWORKS[name]
    out = built(make)(torch.randn(2, *shape, dtype=torch.float64))
    assert out.shape == (2, 10)


def test_sizes():
    # The counts of the pruning papers (weights), and of the ResNet papers.
    assert weights(lenet_300_100()) == 266_200
    assert weights(lenet_5()) == 430_500
    assert parameters(resnet_50()) == 25_557_032
    # 0.27 M in the paper, whose shortcuts have no weights: here two projections.
    projections = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert parameters(resnet()) == 269_722 + projections
    pairs = [(64, 128), (128, 128), (128, 256), *2 * [(256, 256)], (256, 512)]
    pairs = [(3, 64), (64, 64), *pairs, *5 * [(512, 512)]]
    vgg = vgg_16()
    assert weights(vgg) == 9 * sum(i * o for i, o in pairs) + 2 * 512**2 + 5120
    layers = [part for part in vgg if isinstance(part, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 16
    layers = [
        name
        for name, part in resnet(32).named_modules()
        if isinstance(part, (nn.Conv2d, nn.Linear)) and "shortcut" not in name
    ]
    assert len(layers) == 32


def test_bad_sizes():
    with pytest.raises(ValueError, match="depth=18 must be 6 n"):
        resnet(18)
    with pytest.raises(ValueError, match="n_heads=3 must divide the width 16"):
        GPT(11, width=16, n_heads=3)
    with pytest.raises(ValueError, match="size=12: LeNet-5 needs"):
        lenet_5(size=12)
    with pytest.raises(ValueError, match="has 9 tokens, and the context is 8"):
        small_gpt()(torch.zeros(1, 9, dtype=torch.int64))


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_cut(name):
    make, shape = NETWORKS[name]
    model = built(make)
    x = torch.randn(3, *shape, dtype=torch.float64)
    masks = drawn(groups_for(model))
    same = prune(model, masks, x, allow_empty=True, repeats=0).report
    assert same.difference < 1e-9
    # Zeroing constants changes the outputs, and every unit without weights goes.
    pruned = prune(model, masks, x, constants="zero", allow_empty=True, repeats=0)
    report = pruned.report
    assert report.after.parameters <= same.after.parameters
    assert report.after.parameters < 0.7 * report.before.parameters
    assert report.after.macs < 0.7 * report.before.macs
    modules = dict(pruned.model.named_modules())
    for key, mask in masks.items():
        kept = int(mask.flatten(1).any(1).sum())
        path = key.removesuffix(".weight")
        inner = not path.endswith(("shortcut.conv", RESIDUAL.get(name, "none")))
        if inner and path != "conv":
            assert len(modules[path].weight) == kept


def test_gpt_reads_the_past_only():
    torch.manual_seed(0)
    model = small_gpt().double()
    index = torch.randint(11, (2, 8))
    other = index.clone()
    other[:, 5] = (other[:, 5] + 1) % 11
    first, second = model(index), model(other)
    torch.testing.assert_close(first[:, :5], second[:, :5], rtol=0, atol=0)
    assert (first[:, 5:] != second[:, 5:]).any(-1).all()


def test_attention_is_softmax_over_the_past():
    torch.manual_seed(0)
    attention = small_gpt().double().blocks[0].attention
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    mixed = torch.zeros_like(x)
    q, k, v = attention.query(x), attention.key(x), attention.value(x)
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        for t in range(5):
            score = (q[:, t, None, part] * k[:, : t + 1, part]).sum(-1) / 4**0.5
            share = score.softmax(-1)[..., None]
            mixed[:, t, part] = (share * v[:, : t + 1, part]).sum(1)
    torch.testing.assert_close(attention(x), attention.out(mixed))


def test_groups_of_the_gpt_are_cut():
    torch.manual_seed(0)
    model = small_gpt().double()
    table = groups_for(model, choose=model.groups())
    assert table.to_frame()["n_groups"].tolist()[:4] == [4, 64, 4, 64]
    masks = drawn(table)
    index = torch.randint(11, (3, 6))
    pruned = prune(model, masks, index, heads=model.heads(), repeats=0)
    assert pruned.report.difference < 1e-12
    for k, block in enumerate(pruned.model.blocks):
        heads = masks[f"blocks.{k}.attention.query.weight"][::4, 0]
        neurons = masks[f"blocks.{k}.up.weight"][:, 0]
        assert block.attention.n_heads == heads.sum() < 4
        assert block.attention.out.weight.shape == (16, 4 * heads.sum())
        assert block.up.weight.shape == (neurons.sum(), 16)
    # The masks were what was asked for.
    masked = small_gpt().double()
    masked.load_state_dict(model.state_dict())
    for name, mask in masks.items():
        masked.get_parameter(name).data *= mask
    torch.testing.assert_close(pruned.model(index), masked(index))
