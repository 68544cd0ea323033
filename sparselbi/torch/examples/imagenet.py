"""ResNet-50 on ImageNet, or on any folder of images, from selection to a small network.

One run in two stages. First DessiLBI trains the whole network with a constant learning
rate and selects channels within the blocks. Then those that were not among the first
are cut out, and what is left is trained with a falling learning rate, faster than
before::

    python -m sparselbi.torch.examples.imagenet path/to/imagenet --output results/keep50
    torchrun --nproc-per-node 8 -m sparselbi.torch.examples.imagenet ...

The folder has ``train/<class>/*.JPEG`` and ``val/<class>/*.JPEG``. Validation images
are drawn from ``train``; ``val`` is looked at once, at the end. With ``--select 0`` the
network is trained dense, to compare with.

After every epoch a checkpoint is written to the output folder, and the same command
goes on from there. On a CPU that changes no bit: the order of the images, and what is
cut out of each, depend on nothing but seed, epoch and image.
"""

from __future__ import annotations

import argparse
import math
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Sampler

from sparselbi._utils.optional import import_optional
from sparselbi.torch import DessiLBI, PathRecorder, load_pruned, prune
from sparselbi.torch.examples.networks import resnet_50
from sparselbi.torch.examples.relative import relative_groups
from sparselbi.torch.examples.results import save_figures
from sparselbi.torch.masks import selected_share

__all__ = ["Images", "Order", "find_images", "main", "middle_box", "random_box"]

# Of the colours of ImageNet, as fractions of full brightness.
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUICK = {"size": 32, "width": 4, "epochs": 4, "batch_size": 4, "lr": 0.02, "workers": 0}
Box = tuple[float, float, float, float]


# ------------------------------------------------------------------------------ images


def find_images(folder: Path) -> tuple[list[str], list[tuple[Path, int]]]:
    """Classes, and files with the number of their class, both in order of name."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing: expected {folder}/<class>/*.JPEG"
        )
    classes = sorted(part.name for part in folder.iterdir() if part.is_dir())
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in (".jpeg", ".jpg", ".png", ".webp")
    ]
    if not files:
        raise ValueError(f"There are no images in {folder}/<class>.")
    return classes, files


def random_box(width: int, height: int, draw: random.Random) -> Box:
    """Left, top, right and bottom of 8 to 100 % of an image, with sides near equal."""
    for _ in range(10):
        area = draw.uniform(0.08, 1) * width * height
        ratio = math.exp(draw.uniform(-1, 1) * math.log(4 / 3))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = draw.uniform(0, width - w), draw.uniform(0, height - h)
            return left, top, left + w, top + h
    return middle_box(width, height, 1.0)


def middle_box(width: int, height: int, share: float = 7 / 8) -> Box:
    """The square in the middle with this share of the shorter side."""
    side = share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


class Images(Dataset[tuple[Tensor, int]]):
    """Files as uint8 tensors of shape (3, size, size) and classes.

    Asked for by pairs of epoch and index. With `augment` an image is a random part of
    itself, mirrored or not; which one depends on seed, epoch and index, not on the
    process that reads it.
    """

    def __init__(
        self, files: Sequence[tuple[Path, int]], size: int, seed: int, augment: bool
    ) -> None:
        self.files, self.size, self.seed, self.augment = files, size, seed, augment
        self.reader = import_optional("PIL.Image", "torch")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = key
        file, label = self.files[index]
        draw = random.Random(f"{self.seed} {epoch} {index}")
        with self.reader.open(file) as image:
            image = image.convert("RGB")
            width, height = image.size
            if self.augment:
                box = random_box(width, height, draw)
            else:
                box = middle_box(width, height)
            image = image.resize(
                (self.size, self.size), box=box, resample=2, reducing_gap=2
            )
        pixels = np.array(image)
        if self.augment and draw.random() < 0.5:
            pixels = pixels[:, ::-1].copy()
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), label


class Order(Sampler[list[tuple[int, int]]]):
    """Batches of pairs of epoch and index; of several processes each has its share.

    In training (`shuffle`), the order is new in every epoch and a rest is left out.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.n, self.batch_size, self.seed, self.shuffle = n, batch_size, seed, shuffle
        self.rank, self.world, self.epoch = rank, world, 0

    def __len__(self) -> int:
        if self.shuffle:
            return self.n // (self.world * self.batch_size)
        return math.ceil(len(range(self.rank, self.n, self.world)) / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = list(range(self.n))
        if self.shuffle:
            random.Random(f"{self.seed} {self.epoch}").shuffle(order)
        mine = order[self.rank :: self.world]
        for k in range(len(self)):
            chunk = mine[k * self.batch_size : (k + 1) * self.batch_size]
            yield [(self.epoch, index) for index in chunk]


# ---------------------------------------------------------------------------- training


class Place(NamedTuple):
    """Which process this is, and its device."""

    rank: int
    world: int
    device: torch.device


def join_processes(device: str) -> Place:
    """Of torchrun, if it started this process."""
    if "RANK" not in os.environ:
        return Place(0, 1, torch.device(device))
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    return Place(
        distributed.get_rank(), distributed.get_world_size(), torch.device(device)
    )


def normalized(x: Tensor, place: Place) -> Tensor:
    """Bytes on the device, standardized by colour."""
    x = x.to(place.device, non_blocking=True).float() / 255
    mean, spread = (x.new_tensor(v)[:, None, None] for v in (MEAN, SPREAD))
    return (x - mean) / spread


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    loader: DataLoader[Any],
    place: Place,
    autocast: bool,
) -> float:
    """One pass over the data; returns the mean loss of this process."""
    model.train()
    total = torch.zeros((), device=place.device)
    for x, y in loader:
        with torch.autocast(place.device.type, torch.bfloat16, enabled=autocast):
            output = model(normalized(x, place))
        loss = cross_entropy(output.float(), y.to(place.device), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.detach()
    return float(total) / len(loader)


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any], place: Place) -> float:
    """Share of right classes in percent, over all processes."""
    model.eval()
    counts = torch.zeros(2, dtype=torch.int64, device=place.device)
    for x, y in loader:
        found = model(normalized(x, place)).argmax(1)
        counts += torch.stack(
            [(found == y.to(place.device)).sum(), counts.new_tensor(len(y))]
        )
    if place.world > 1:
        distributed.all_reduce(counts)
    return 100 * float(counts[0] / counts[1])


class Run:
    """What a checkpoint holds: a network and what trains it, in one of two stages."""

    def __init__(
        self, args: argparse.Namespace, place: Place, n_classes: int, steps: int
    ) -> None:
        """Begin with the first stage; `steps` are those of an epoch."""
        self.args, self.place, self.n_classes = args, place, n_classes
        self.steps, self.epoch = steps, 0
        self.recorder: PathRecorder | None = None
        torch.manual_seed(args.seed)
        self.model = self.network()
        self.n_select = round(args.select * args.epochs)
        if not self.n_select:
            self._tune()
            return
        self._share()
        table = relative_groups(self.model, self.model.groups(), args.lam)
        self.optimizer: torch.optim.Optimizer = DessiLBI(
            table,
            lr=args.lr,
            nu=args.nu * args.lr * steps * args.epochs,
            momentum=0.9,
        )
        self.scheduler: Any = torch.optim.lr_scheduler.ConstantLR(self.optimizer, 1.0)
        self.recorder = PathRecorder(self.optimizer, self.model)

    def network(self) -> Any:
        return resnet_50(self.n_classes, width=self.args.width).to(self.args.device)

    def _share(self) -> None:
        """What is trained: the network, with gradients averaged over processes."""
        self.trained: nn.Module = self.model
        if self.place.world > 1:
            self.trained = DistributedDataParallel(self.model)

    def _tune(self) -> None:
        """Plain training of the present network for the epochs that are left."""
        args = self.args
        self._share()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            args.lr,
            momentum=0.9,
            weight_decay=args.weight_decay,
        )
        left = max(1, self.steps * (args.epochs - self.n_select))
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, left
        )

    def cut(self) -> None:
        """Go to the second stage: the first process prunes, all read what is left."""
        args = self.args
        if self.place.rank == 0 and self.recorder is not None:
            # If too few were selected, all of these are kept.
            enough = selected_share(self.optimizer) >= args.keep
            save_figures(args.output, self.recorder)  # looks at the present state too
            pruned = prune(
                self.model,
                self.recorder,
                torch.randn(8, 3, args.size, args.size, device=args.device),
                keep=args.keep if enough else None,
                constants="zero",
                allow_empty=True,
            )
            print(pruned.report)
            pruned.save(args.output / "network")
        if self.place.world > 1:
            distributed.barrier()
        self.read_cut()

    def read_cut(self) -> None:
        self.recorder = None
        self.model = load_pruned(
            self.network(), self.args.output / "network", map_location=self.args.device
        )
        self._tune()

    def save(self) -> None:
        file = self.args.output / "checkpoint.pt"
        state = {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "recorder": self.recorder and self.recorder.state_dict(),
        }
        # Whatever happens meanwhile, one of the two is whole.
        torch.save(state, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)

    def load(self) -> None:
        file = self.args.output / "checkpoint.pt"
        state = torch.load(file, map_location=self.args.device, weights_only=True)
        if self.recorder is not None and state["recorder"] is None:
            self.read_cut()
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.recorder is not None:
            self.recorder.load_state_dict(state["recorder"])


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, or go on; returns the network and its accuracies (empty if stopped)."""
    args = _arguments(argv)
    place = join_processes(args.device)
    args.output.mkdir(parents=True, exist_ok=True)
    classes, files = find_images(args.data / "train")
    others, test_files = find_images(args.data / "val")
    if others != classes:
        apart = sorted({*classes} ^ {*others})
        raise ValueError(
            f"train and val in {args.data} must have the same classes; only one of "
            f"them has {', '.join(apart[:5])}{', ...' if apart[5:] else ''}."
        )
    random.Random(args.seed).shuffle(files)
    held = max(1, round(args.validation * len(files)))

    def loader(part: Sequence[tuple[Path, int]], augment: bool) -> DataLoader[Any]:
        order = Order(
            len(part),
            args.batch_size,
            args.seed,
            shuffle=augment,
            rank=place.rank,
            world=place.world,
        )
        return DataLoader(
            Images(part, args.size, args.seed, augment),
            batch_sampler=order,
            num_workers=args.workers,
            persistent_workers=args.workers > 0,
            pin_memory=args.device == "cuda",
        )

    training, validation = loader(files[held:], True), loader(files[:held], False)
    if not len(training):
        raise ValueError(
            f"{len(files) - held} training images do not fill a batch of "
            f"{args.batch_size} in each of {place.world} processes: lower --batch-size."
        )
    run = Run(args, place, len(classes), len(training))
    if (args.output / "checkpoint.pt").exists():
        run.load()
    while run.epoch < args.epochs:
        if run.epoch == run.n_select and run.recorder is not None:
            run.cut()
        training.batch_sampler.epoch = run.epoch  # type: ignore[union-attr]
        loss = train_epoch(
            run.trained, run.optimizer, run.scheduler, training, place, args.autocast
        )
        run.epoch += 1
        score = accuracy(run.model, validation, place)
        if place.rank == 0:
            line = f"epoch {run.epoch}: loss {loss:.4f}, validation {score:.2f} %"
            if run.recorder is not None:
                line += f", {selected_share(run.optimizer):.1%} selected"
            print(line)
            run.save()
        if run.epoch == args.stop:
            return {}
    test = loader(test_files, False)
    scores = {
        "validation": accuracy(run.model, validation, place),
        "test": accuracy(run.model, test, place),
    }
    if place.rank == 0:
        print("Accuracy in percent:", scores)
    return {"model": run.model, "scores": scores}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sparselbi.torch.examples.imagenet",
        description="ResNet-50 with fewer channels, on a folder of images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("data", type=Path, help="folder with train/<class>/ and val/<class>/")
    add("--output", type=Path, default=Path("imagenet"), help="folder for all results")
    add("--epochs", type=int, default=90)
    add("--select", type=float, default=0.3, help="share of them for selection")
    add("--stop", type=int, help="stop after this epoch, to go on later")
    add("--seed", type=int, default=0)
    add("--quick", action="store_true", help="tiny images and network")
    add("--keep", type=float, default=0.5, help="share of the weights of the blocks")
    add("--lr", type=float, default=0.1, help="for 256 images in all per step")
    add("--nu", type=float, default=0.2, help="by lr * steps of the run")
    add("--lam", type=float, default=0.85, help="penalty, by the norms at the start")
    add("--weight-decay", type=float, default=1e-4, help="in tuning")
    add("--batch-size", type=int, default=256, help="per process")
    add("--size", type=int, default=224, help="of the images, in pixels")
    add("--width", type=int, default=64, help="of the first stage")
    add("--validation", type=float, default=0.02, help="share of the training images")
    add("--workers", type=int, default=8, help="processes that read images")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--autocast", action="store_true", help="forward passes in bfloat16")
    args = parser.parse_args(argv)
    if args.quick:
        vars(args).update(QUICK)
    return args


if __name__ == "__main__":
    main()
    if distributed.is_initialized():
        # Together: a process that just ends aborts while its connections are open.
        distributed.barrier()
        distributed.destroy_process_group()
