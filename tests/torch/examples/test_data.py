"""Images in memory: splits, scales, folders, batches."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from sparselbi.torch.examples.data import Split, batches, load_images  # noqa: E402


def test_mnist(data_dir):
    data = load_images("mnist", n_validation=5000)
    sizes = [len(part.y) for part in (data.train, data.validation, data.test)]
    assert sizes == [55000, 5000, 10000]
    assert data.shape == (1, 28, 28)
    x = data.train.x
    assert x.dtype == torch.float32
    assert x.min() == 0  # the background
    assert x.std().item() == pytest.approx(1, abs=1e-3)
    # Training and validation together are the training images, each once.
    both = torch.cat([data.train.y, data.validation.y])
    assert torch.bincount(both)[:3].tolist() == [5923, 6742, 5958]
    other = load_images("mnist", n_validation=5000, seed=1)
    assert not torch.equal(other.validation.y, data.validation.y)
    few = load_images("mnist", n_validation=100, n_train=50)
    assert (len(few.train.y), len(few.validation.y)) == (50, 100)


@pytest.fixture
def folder(tmp_path):
    """Four and two images of each of two classes, in colour."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 4), ("val", 2)):
        for k, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 100, (6, 6, 3), dtype=np.uint8) + 100 * k
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def test_folder(folder):
    data = load_images(folder, n_validation=2)
    assert data.classes == ("cat", "dog")
    assert data.shape == (3, 6, 6)
    assert [len(s.y) for s in (data.train, data.validation, data.test)] == [6, 2, 4]
    assert data.train.x.mean((0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(data.train.x.std((0, 2, 3)), torch.ones(3))
    # Dogs are brighter, and the scale of the training images is that of all.
    bright = torch.cat([data.train.x, data.test.x]).mean((1, 2, 3)) > 0
    assert torch.equal(bright.long(), torch.cat([data.train.y, data.test.y]))
    pixels = np.asarray(Image.open(folder / "val" / "cat" / "1.png")).transpose(2, 0, 1)
    levels = torch.from_numpy(pixels.copy()).double().flatten(1)
    ours = data.test.x[1].double().flatten(1)
    for level, our in zip(levels, ours, strict=True):  # an affine map of the pixels
        assert torch.corrcoef(torch.stack([level, our]))[0, 1] == pytest.approx(1)
    assert load_images(folder, n_validation=2, size=4).shape == (3, 4, 4)


def test_bad_folders(folder, tmp_path):
    with pytest.raises(ValueError, match=r"n_validation=8 .* the 8 training images"):
        load_images(folder, n_validation=8)
    with pytest.raises(ValueError, match="n_validation=0"):
        load_images(folder, n_validation=0)
    with pytest.raises(FileNotFoundError, match="has no folder 'train'.*'fashion'"):
        load_images(tmp_path / "mnisst")
    Image.new("RGB", (7, 7)).save(folder / "train" / "dog" / "7.png")
    with pytest.raises(ValueError, match=r"differ in shape.*size="):
        load_images(folder, n_validation=2)
    assert load_images(folder, n_validation=2, size=6).shape == (3, 6, 6)
    (folder / "train" / "bird").mkdir()
    with pytest.raises(ValueError, match=r"'bird', 'cat', 'dog'.*'cat', 'dog'"):
        load_images(folder)


def test_batches():
    split = Split(torch.arange(10.0)[:, None, None, None], torch.arange(10))
    made = list(batches(split, 3, torch.Generator().manual_seed(0)))
    assert [len(y) for _, y in made] == [3, 3, 3]
    seen = torch.cat([y for _, y in made])
    assert len(set(seen.tolist())) == 9
    for x, y in made:
        assert torch.equal(x[:, 0, 0, 0].long(), y)
    doubled = batches(
        split, 3, torch.Generator().manual_seed(0), augment=lambda x, _: 2 * x
    )
    for (x, y), (first, same) in zip(doubled, made, strict=True):
        assert torch.equal(x, 2 * first)
        assert torch.equal(y, same)
