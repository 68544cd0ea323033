"""Images in memory, split into training, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["ImageData", "Split", "batches", "load_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class Split(NamedTuple):
    """Images of shape (n, channels, height, width), float32, and their classes."""

    x: Tensor
    y: Tensor

    def to(self, *args: Any, **kwargs: Any) -> Split:
        """Images moved as by `torch.Tensor.to`; the classes go to the same device."""
        x = self.x.to(*args, **kwargs)
        return Split(x, self.y.to(x.device))


@dataclass(frozen=True)
class ImageData:
    """Three splits. Choose on `validation`, look at `test` once."""

    name: str
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width


def load_images(
    source: str | Path = "mnist",
    *,
    n_validation: int = 5000,
    n_train: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> ImageData:
    """MNIST, Fashion-MNIST, or a folder of images.

    Parameters
    ----------
    source : str or path-like
        "mnist", "fashion", or a folder with ``train/<class>/*.png`` and
        ``test/<class>/*.png`` (or ``val``), as torchvision lays out CIFAR.
    n_validation : int, default=5000
        Training images that are held out, drawn at random.
    n_train : int or None
        Training images that are kept of the others; None for all.
    size : int or None
        Height and width to which images of a folder are brought. None takes them as
        they are; then all must have one shape.
    seed : int, default=0
        Of the draw.

    Returns
    -------
    ImageData
        Grey images are divided by their standard deviation and not centred, so that
        the background stays zero; colours are standardized by channel. Both numbers
        are those of the training images.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its parts is missing.
    ValueError
        If there are too few images, they differ in shape, or the parts in classes.
    """
    if source in ("mnist", "fashion"):
        from ...datasets import fetch_fashion_mnist, fetch_mnist

        bunch = fetch_mnist() if source == "mnist" else fetch_fashion_mnist()
        pixels, y = (
            torch.from_numpy(bunch.data)[:, None],
            torch.from_numpy(bunch.target),
        )
        inside = torch.from_numpy(bunch.train)
        train, test = (
            Split(pixels[inside], y[inside]),
            Split(pixels[~inside], y[~inside]),
        )
        name, classes = str(source), tuple(bunch.target_names)
    else:
        train, test, classes = _read_folder(Path(source), size)
        name = Path(source).name
    wanted = n_validation + (1 if n_train is None else n_train)
    if n_validation < 1 or wanted > len(train.y):
        raise ValueError(
            f"n_validation={n_validation!r} and n_train={n_train!r} do not fit the "
            f"{len(train.y)} training images of {name!r}: validation needs at least "
            f"one, and both have to come from these."
        )
    order = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(seed))
    end = None if n_train is None else wanted
    kept, held = order[n_validation:end], order[:n_validation]
    x = train.x[kept].float() / 255
    spread, mean = x.std(dim=(0, 2, 3), keepdim=True), x.mean((0, 2, 3), keepdim=True)
    if x.shape[1] == 1:
        mean = torch.zeros_like(mean)

    def ready(pixels: Tensor, y: Tensor) -> Split:
        return Split((pixels.float() / 255 - mean) / spread, y)

    return ImageData(
        name,
        ready(train.x[kept], train.y[kept]),
        ready(train.x[held], train.y[held]),
        ready(*test),
        classes,
    )


def _read_folder(
    folder: Path, size: int | None
) -> tuple[Split, Split, tuple[str, ...]]:
    parts = {}
    for part, names in (("train", ["train"]), ("test", ["test", "val"])):
        found = [folder / name for name in names if (folder / name).is_dir()]
        if not found:
            raise FileNotFoundError(
                f"{folder} has no folder {' or '.join(map(repr, names))}: expected "
                f"{names[0]}/<class>/<image>. For data that are known by name use "
                f"'mnist' or 'fashion'."
            )
        parts[part] = found[0]
    classes = tuple(sorted(p.name for p in parts["train"].iterdir() if p.is_dir()))
    others = tuple(sorted(p.name for p in parts["test"].iterdir() if p.is_dir()))
    if classes != others or not classes:
        raise ValueError(
            f"The classes in {parts['train']} are {classes}, those in {parts['test']} "
            f"{others}; they must be the same, one folder each."
        )
    splits = []
    for place in parts.values():
        images, labels = [], []
        for label, name in enumerate(classes):
            for file in sorted((place / name).iterdir()):
                if file.suffix.lower() in SUFFIXES:
                    images.append(_read_image(file, size))
                    labels.append(label)
        if not images:
            raise ValueError(f"There are no images ({', '.join(SUFFIXES)}) in {place}.")
        if len({image.shape for image in images}) > 1:
            shapes = sorted({image.shape for image in images})
            raise ValueError(
                f"The images in {place} differ in shape: {shapes[:3]}. Give size=."
            )
        splits.append(Split(torch.from_numpy(np.stack(images)), torch.tensor(labels)))
    return splits[0], splits[1], classes


def _read_image(file: Path, size: int | None) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        pixels = image.convert("L" if image.mode in ("1", "L") else "RGB")
        if size is not None and pixels.size != (size, size):
            pixels = pixels.resize((size, size))
        array = np.array(pixels)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def batches(
    split: Split,
    batch_size: int,
    generator: torch.Generator,
    *,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order; a rest that does not fill a batch is left out."""
    order = torch.randperm(len(split.y), generator=generator).to(split.y.device)
    for chunk in order[: len(order) // batch_size * batch_size].split(batch_size):
        x = split.x[chunk]
        yield x if augment is None else augment(x, generator), split.y[chunk]
