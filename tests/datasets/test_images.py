"""Images: what is read, where it is looked for, and what is verified."""

import gzip
import hashlib

import numpy as np
import pytest

from sparselbi.datasets import fetch_fashion_mnist, fetch_mnist, images


def test_mnist(data_dir):
    bunch = fetch_mnist()
    assert bunch.data.shape == (70000, 28, 28)
    assert bunch.data.dtype == np.uint8
    assert bunch.target.dtype == np.int64
    assert bunch.train.sum() == 60000
    # Numbers that are quoted everywhere: mean and deviation of the training pixels,
    # and how often each digit occurs among them.
    pixels = bunch.data[bunch.train] / 255
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (0.1307, 0.3081)
    counts = np.bincount(bunch.target[bunch.train])
    assert counts.tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert bunch.target[:5].tolist() == [5, 0, 4, 1, 9]


def test_fashion_mnist(data_dir):
    bunch = fetch_fashion_mnist()
    assert bunch.data.shape == (70000, 28, 28)
    for part in (bunch.train, ~bunch.train):
        counts = np.bincount(bunch.target[part])
        assert len(set(counts)) == 1  # balanced
    assert bunch.target_names[bunch.target[0]] == "Ankle boot"
    pixels = bunch.data[bunch.train] / 255
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (0.2860, 0.3530)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Three training and two test images, with checksums and without an address."""
    monkeypatch.delenv("SPARSELBI_DATA", raising=False)
    sums = {}
    for part, n in (("train", 3), ("t10k", 2)):
        pixels = np.arange(n * 6, dtype=np.uint8)
        for kind, header, content in (
            ("images-idx3", (2051, n, 3, 2), pixels),
            ("labels-idx1", (2049, n), np.arange(n, dtype=np.uint8)),
        ):
            raw = np.array(header, ">i4").tobytes() + content.tobytes()
            name = f"mnist/{part}-{kind}-ubyte"
            sums[name] = hashlib.sha256(raw).hexdigest()
            file = tmp_path / f"{name}.gz"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(gzip.compress(raw))
    monkeypatch.setattr(images, "_SHA256", sums)
    monkeypatch.setattr(images, "_ADDRESS", {"mnist": "http://127.0.0.1:9/"})
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_parts_in_order(small):
    bunch = fetch_mnist(data_home=small)
    one = np.arange(18).reshape(3, 3, 2)
    np.testing.assert_array_equal(bunch.data, np.concatenate([one, one[:2]]))
    assert bunch.target.tolist() == [0, 1, 2, 0, 1]
    assert bunch.train.tolist() == [True, True, True, False, False]


def test_unpacked_files_and_other_compression(small):
    file = small / "mnist" / "train-images-idx3-ubyte.gz"
    raw = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(raw, compresslevel=0))
    labels = small / "mnist" / "t10k-labels-idx1-ubyte.gz"
    labels.with_suffix("").write_bytes(gzip.decompress(labels.read_bytes()))
    labels.unlink()
    assert fetch_mnist(data_home=small).data.shape == (5, 3, 2)


def test_damaged_files_are_refused(small):
    file = small / "mnist" / "train-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(b"others"))
    found = hashlib.sha256(b"others").hexdigest()
    with pytest.raises(ValueError, match=rf"{found}.*another version"):
        fetch_mnist(data_home=small)
    file.write_bytes(b"not compressed")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        fetch_mnist(data_home=small)


def test_missing_files_say_what_to_do(small):
    (small / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="SPARSELBI_DATA") as error:
        fetch_mnist(data_home=small)
    assert "mnist/t10k-images-idx3-ubyte.gz" in str(error.value)
    assert "http://127.0.0.1:9/t10k-images" in str(error.value)
