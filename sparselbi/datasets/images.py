"""Images of digits and of clothes, as they were published."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from .._utils.optional import import_optional
from .remote import data_folders

# Of the unpacked files: the images of MNIST are in use in several compressed forms.
_SHA256 = {
    "mnist/train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "mnist/train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "mnist/t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "mnist/t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
    "fashion_mnist/train-images-idx3-ubyte": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "fashion_mnist/train-labels-idx1-ubyte": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "fashion_mnist/t10k-images-idx3-ubyte": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "fashion_mnist/t10k-labels-idx1-ubyte": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
_ADDRESS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion_mnist": (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
        "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
    ),
}


def fetch_mnist(*, data_home: Any = None) -> Bunch:
    """MNIST: 70,000 images of handwritten digits, 28 x 28.

    Parameters
    ----------
    data_home : path-like, optional
        Folder searched after the one that the environment variable `SPARSELBI_DATA`
        names, for ``mnist/train-images-idx3-ubyte.gz`` and its three neighbours. They
        are downloaded there if they are in neither. Default: ``~/.cache/sparselbi``.

    Returns
    -------
    Bunch
        data : uint8 ndarray of shape (70000, 28, 28), 0 = background
        target : int64 ndarray of shape (70000,)
        train : bool ndarray of shape (70000,), the first 60,000 images
        target_names : list of str
        DESCR : str

    Raises
    ------
    ImportError
        If the files have to be downloaded and pooch is missing.
    FileNotFoundError
        If they cannot be downloaded.
    ValueError
        If what a file holds does not have the expected checksum.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998). Gradient-based learning
       applied to document recognition. Proceedings of the IEEE 86, 2278-2324.
    """
    names = [str(digit) for digit in range(10)]
    return _fetch("mnist", names, data_home, inspect.getdoc(fetch_mnist))


def fetch_fashion_mnist(*, data_home: Any = None) -> Bunch:
    """Fashion-MNIST: 70,000 images of clothes in ten classes, 28 x 28.

    Parameters
    ----------
    data_home : path-like, optional
        As for `fetch_mnist`; the files are in the folder ``fashion_mnist``.

    Returns
    -------
    Bunch
        As from `fetch_mnist`.

    Raises
    ------
    ImportError
        If the files have to be downloaded and pooch is missing.
    FileNotFoundError
        If they cannot be downloaded.
    ValueError
        If what a file holds does not have the expected checksum.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf (2017). Fashion-MNIST: a novel image dataset
       for benchmarking machine learning algorithms. arXiv:1708.07747.
    """
    names = [
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ]
    text = inspect.getdoc(fetch_fashion_mnist)
    return _fetch("fashion_mnist", names, data_home, text)


def _fetch(folder: str, names: list[str], data_home: Any, text: str | None) -> Bunch:
    parts = {}
    for part in ("train", "t10k"):
        # The idx format: a magic number, the lengths of the dims, the bytes.
        raw = _unpacked(f"{folder}/{part}-images-idx3-ubyte", data_home)
        shape = np.frombuffer(raw, ">i4", count=3, offset=4)
        images = np.frombuffer(raw, np.uint8, offset=16).reshape(shape)
        raw = _unpacked(f"{folder}/{part}-labels-idx1-ubyte", data_home)
        parts[part] = images, np.frombuffer(raw, np.uint8, offset=8)
    data, target = (np.concatenate(both) for both in zip(*parts.values(), strict=True))
    return Bunch(
        data=data,
        target=target.astype(np.int64),
        train=np.arange(len(data)) < len(parts["train"][0]),
        target_names=names,
        DESCR=text or "",
    )


def _unpacked(name: str, data_home: Any) -> bytes:
    """What an idx file holds, verified."""
    folders = data_folders(data_home)
    for folder in folders:
        for file in (folder / f"{name}.gz", folder / name):
            if file.is_file():
                return _verified(file, _SHA256[name])
    pooch = import_optional("pooch", "data")
    file = folders[-1] / f"{name}.gz"
    address = _ADDRESS[name.split("/")[0]] + file.name
    try:
        # Only the checksum of the content is known; it is verified below.
        pooch.retrieve(address, known_hash=None, fname=file.name, path=file.parent)
    except OSError as error:
        looked = " and ".join(str(folder / f"{name}.gz") for folder in folders)
        raise FileNotFoundError(
            f"{file.name} is not here (looked for {looked}), and {address} could not "
            f"be read ({error}). Put the file at one of these places, or name the "
            f"folder that holds {name}.gz in the environment variable SPARSELBI_DATA."
        ) from error
    try:
        return _verified(file, _SHA256[name])
    except ValueError:
        file.unlink()
        raise


def _verified(file: Path, sha256: str) -> bytes:
    try:
        raw = file.read_bytes()
        content = gzip.decompress(raw) if file.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{file} cannot be unpacked ({error}): it is damaged. Delete it and get it "
            "again."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"The content of {file} has the SHA-256 {found}, expected {sha256}: it is "
            "damaged or another version. Delete it and get it again."
        )
    return content
