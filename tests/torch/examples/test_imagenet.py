"""ImageNet on images that are made here: reading, resuming, two processes."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from sparselbi.torch.examples import imagenet
from sparselbi.torch.examples.imagenet import (
    Images,
    Order,
    find_images,
    main,
    middle_box,
    random_box,
)

pytest.importorskip("torch_pruning")
image_module = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, bright on the left and on the right, of different shapes."""
    root = tmp_path_factory.mktemp("data")
    source = np.random.default_rng(0)
    for part, n in (("train", 9), ("val", 3)):
        for label, name in enumerate(("left", "right")):
            (root / part / name).mkdir(parents=True)
            for k in range(n):
                height, width = source.integers(40, 60, size=2)
                pixels = source.integers(0, 90, size=(height, width, 3))
                half = slice(None, width // 2) if not label else slice(width // 2, None)
                pixels[:, half] += 150
                image = image_module.fromarray(pixels.astype(np.uint8))
                image.save(root / part / name / f"{k}.JPEG")
    return root


def test_files_are_found(folder):
    classes, files = find_images(folder / "train")
    assert classes == ["left", "right"]
    assert [label for _, label in files] == 9 * [0] + 9 * [1]
    with pytest.raises(FileNotFoundError, match="test is missing"):
        find_images(folder / "test")
    with pytest.raises(ValueError, match="no images"):
        find_images(folder / "train" / "left")


def test_other_classes_in_val_are_noticed_before_training(folder, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / "train").symlink_to(folder / "train")
    (root / "val").mkdir()
    (root / "val" / "right").symlink_to(folder / "val" / "right")
    command = [str(root), "--quick", "--device", "cpu", "--output", str(tmp_path)]
    with pytest.raises(ValueError, match="only one of them has left"):
        main(command)


def test_boxes():
    assert middle_box(80, 160) == (5, 45, 75, 115)
    draw = random.Random(0)
    areas, ratios = [], []
    for _ in range(500):
        left, top, right, bottom = random_box(100, 60, draw)
        assert 0 <= left < right <= 100
        assert 0 <= top < bottom <= 60
        areas.append((right - left) * (bottom - top) / 6000)
        ratios.append((right - left) / (bottom - top))
    assert 0.08 <= min(areas) < 0.12
    assert 3 / 4 <= min(ratios) < max(ratios) <= 4 / 3
    # Too long for any: the square in the middle.
    assert random_box(1000, 10, draw) == middle_box(1000, 10, 1.0)


def test_an_image_depends_on_seed_epoch_and_index(folder):
    _, files = find_images(folder / "train")
    images = Images(files, 16, 0, augment=True)
    x, y = images[3, 5]
    assert x.shape == (3, 16, 16)
    assert x.dtype == torch.uint8
    assert y == 0
    assert torch.equal(x, images[3, 5][0])
    for other in (images[4, 5], images[3, 6], Images(files, 16, 1, True)[3, 5]):
        assert not torch.equal(x, other[0])
    plain = Images(files, 16, 0, augment=False)
    assert torch.equal(plain[0, 5][0], plain[1, 5][0])
    # Bright on the left, as it was made.
    columns = plain[0, 5][0].float().mean((0, 1))
    assert columns[:7].mean() > columns[9:].mean() + 100


def test_workers_read_the_same(folder):
    _, files = find_images(folder / "train")
    images, order = Images(files, 16, 0, True), Order(18, 4, 0, shuffle=True)
    alone, two = (
        list(torch.utils.data.DataLoader(images, batch_sampler=order, num_workers=n))
        for n in (0, 2)
    )
    assert len(alone) == len(two) == 4
    for a, b in zip(alone, two, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_images(world, shuffle):
    orders = [
        Order(23, 4, 0, shuffle=shuffle, rank=rank, world=world)
        for rank in range(world)
    ]
    batches = [list(order) for order in orders]
    assert [len(b) for b in batches] == [len(order) for order in orders]
    seen = [index for part in batches for batch in part for _, index in batch]
    assert len(seen) == len(set(seen))
    if shuffle:
        # Equally many full batches each, as processes wait for each other.
        assert {len(batch) for part in batches for batch in part} == {4}
        assert len({len(part) for part in batches}) == 1
        orders[0].epoch = 1
        assert list(orders[0]) != batches[0]
    else:
        assert sorted(seen) == list(range(23))


@pytest.mark.parametrize("stop", [1, 3])  # of 2 + 2 epochs
def test_resumed_runs_are_the_same(folder, tmp_path, stop, request, capsys):
    def run(name, *options):
        command = [str(folder), "--quick", "--select", "0.5", "--output", name]
        return main([*command, "--device", "cpu", *options])

    if not hasattr(request.module, "whole"):
        request.module.whole = run(str(tmp_path / "whole"))
    whole = request.module.whole
    assert run(str(tmp_path / "part"), "--stop", str(stop)) == {}
    again = run(str(tmp_path / "part"))
    assert again["scores"] == whole["scores"]
    first, second = (result["model"].state_dict() for result in (whole, again))
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    # The network is smaller, and the folder holds what belongs to it.
    full = imagenet.resnet_50(2, width=4)
    assert len(first["stages.3.2.conv2.weight"]) < 32
    assert sum(p.numel() for p in whole["model"].parameters()) < 0.9 * sum(
        p.numel() for p in full.parameters()
    )
    assert (tmp_path / "part" / "network" / "structure.json").exists()
    assert (tmp_path / "part" / "fractions.png").stat().st_size > 10_000
    assert "epoch 4: loss" in capsys.readouterr().out


def test_dense_training_and_small_data(folder, tmp_path):
    command = [str(folder), "--quick", "--device", "cpu", "--output", str(tmp_path)]
    result = main([*command, "--select", "0"])
    assert result["model"].dense.out_features == 2
    assert not (tmp_path / "network").exists()
    with pytest.raises(ValueError, match="17 training images do not fill a batch"):
        main([str(folder), "--device", "cpu", "--output", str(tmp_path), "--workers=0"])


def test_two_processes(folder, tmp_path):
    """The same script under torchrun ends with the same network in both processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    command += ["-m", "sparselbi.torch.examples.imagenet", str(folder), "--quick"]
    command += ["--select=0.5", "--device=cpu", "--output", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=300)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["epoch"] == 4
    assert state["model"]["stages.3.2.conv2.weight"].isfinite().all()
