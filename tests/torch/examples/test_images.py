"""VGG-16 and a ResNet on small images that are made here."""

import math

import numpy as np
import pytest
import torch

from sparselbi.torch import load_pruned
from sparselbi.torch.examples.images import flip_and_shift, main
from sparselbi.torch.examples.networks import resnet, resnet_50, vgg_16
from sparselbi.torch.examples.relative import relative_groups

pytest.importorskip("torch_pruning")
image_module = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey images of two classes: stripes that lie or stand."""
    root = tmp_path_factory.mktemp("data")
    source = np.random.default_rng(0)
    stripes = np.where(np.arange(16) // 2 % 2, 200, 50)
    for part, n in (("train", 56), ("test", 12)):
        for label, name in enumerate(("lie", "stand")):
            (root / part / name).mkdir(parents=True)
            for k in range(n):
                pixels = source.integers(0, 50, size=(16, 16))
                pixels += stripes if label else stripes[:, None]
                image = image_module.fromarray(pixels.astype(np.uint8))
                image.save(root / part / name / f"{k}.png")
    return root


def test_flip_and_shift():
    source = torch.Generator().manual_seed(0)
    x = torch.rand(40, 2, 6, 5, generator=source)
    moved = flip_and_shift(x, torch.Generator().manual_seed(1), reach=1)
    # The slow twin: every result is one of the 18 possible ones.
    seen = set()
    for before, after in zip(x, moved, strict=True):
        padded = torch.nn.functional.pad(before, [1] * 4)
        options = {
            (top, left, mirrored): padded[:, top : top + 6, left : left + 5]
            for top in range(3)
            for left in range(3)
            for mirrored in (False, True)
        }
        equal = [
            key
            for key, image in options.items()
            if torch.equal(image.flip(2) if key[2] else image, after)
        ]
        assert len(equal) == 1
        seen.add(equal[0])
    assert len(seen) > 12
    again = flip_and_shift(x, torch.Generator().manual_seed(1), reach=1)
    assert torch.equal(moved, again)


@pytest.mark.parametrize(
    ("make", "choose"),
    [
        (
            lambda: vgg_16(1, 10, 4),
            {"conv1_1.weight": {"groups": "filter", "lam": 2.0}},
        ),
        (lambda: resnet_50(10, width=4), None),
    ],
)
def test_relative_penalties(make, choose):
    torch.manual_seed(0)
    model = make()
    table = relative_groups(model, choose or model.groups(), 0.5)
    n = 0
    for row in table.rows:
        for groups in row.sets():
            n += 1
            # From the masks of single groups, one by one.
            squares = 0.0
            for k in range(groups.n_groups):
                inside = torch.arange(groups.n_groups) == k
                masks = groups.masks(inside)
                squares += sum(
                    float(p.detach()[mask].square().sum())
                    for p, mask in zip(groups.params, masks, strict=True)
                )
            factor = 2.0 if "conv1_1.weight" in row.names else 1.0
            expected = 0.5 * factor * math.sqrt(squares / groups.n_groups)
            assert groups.threshold == pytest.approx(expected, rel=1e-5)
    assert n == (15 if choose else 32)


@pytest.mark.parametrize("network", ["resnet", "vgg_16"])
def test_the_script(folder, tmp_path, network, capsys):
    options = "--epochs 6 --n-train 96 --n-validation 16 --batch-size 16 --width 4"
    command = [network, "--data", str(folder), "--output", str(tmp_path)]
    result = main([*command, "--depth", "8", "--device", "cpu", *options.split()])
    table, pruned = result["table"], result["pruned"]
    sparse, dense = table.loc["sparse"], table.loc["dense"]
    assert sparse["parameters"] == sum(p.numel() for p in pruned.model.parameters())
    assert sparse["parameters"] < 0.8 * dense["parameters"]
    assert sparse["macs"] < 0.9 * dense["macs"]
    make = {"resnet": lambda: resnet(8, 4, 1, 2), "vgg_16": lambda: vgg_16(1, 2, 4)}
    again = load_pruned(make[network](), tmp_path / "network")
    for name, tensor in pruned.model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert (tmp_path / "paths.png").stat().st_size > 5000
    assert "accuracy in percent" in capsys.readouterr().out
