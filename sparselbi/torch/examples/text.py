"""A small GPT on the help texts of Python: which heads and hidden neurons it needs.

Two runs of the same length. The dense one uses AdamW. The other one attaches the
selection of heads and neurons to AdamW; as soon as those that were selected hold the
wanted share of their weights, the rest is cut out of the network, and what is left is
trained for the remaining steps::

    python -m sparselbi.torch.examples.text --keep 0.4 --output results/text

Some minutes on two cores. Text: the help topics that come with Python, or a file of
your own (``--text``); tokens are bytes.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparselbi.torch import PathRecorder, couple, prune
from sparselbi.torch.examples.networks import GPT
from sparselbi.torch.examples.relative import relative_groups
from sparselbi.torch.examples.results import results_table, save_results
from sparselbi.torch.masks import selected_share

__all__ = ["Text", "bits_per_byte", "load_text", "main", "train", "windows"]

QUICK = {
    "epochs": 8,
    "context": 32,
    "width": 32,
    "blocks": 2,
    "batch_size": 4,
    "lam": 0.75,
}


class Text(NamedTuple):
    """Bytes as integers, shape (n,), in three pieces that follow each other."""

    train: Tensor
    validation: Tensor
    test: Tensor


def load_text(file: str | Path | None = None, share: float = 0.1) -> Text:
    """A text file, or the help topics of Python; validation and test are its end.

    Topics quote each other. A paragraph is kept where it stands first, so that what is
    held out was not seen in training.
    """
    if file is None:
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[name] for name in sorted(topics))
    else:
        text = Path(file).read_text(encoding="utf-8")
    text = "\n\n".join(dict.fromkeys(text.split("\n\n")))
    data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
    held = int(share * len(data))
    return Text(*data.split([len(data) - 2 * held, held, held]))


def windows(
    data: Tensor, context: int, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: windows at random places, as many as the text is long.

    Yields bytes and the bytes that follow them, both of shape (batch_size, context).
    """
    inside = torch.arange(context + 1)
    for _ in range(len(data) // (batch_size * context)):
        start = torch.randint(len(data) - context, (batch_size, 1), generator=generator)
        chunk = data[(start + inside).to(data.device)]
        yield chunk[:, :-1], chunk[:, 1:]


@torch.no_grad()
def bits_per_byte(model: nn.Module, data: Tensor, context: int) -> float:
    """Mean of -log2 of the probability of the next byte, in windows side by side."""
    model.eval()
    n = (len(data) - 1) // context
    x, y = (data[k : k + n * context].view(n, context) for k in (0, 1))
    total = sum(
        float(F.cross_entropy(model(a).flatten(0, 1), b.flatten(), reduction="sum"))
        for a, b in zip(x.split(64), y.split(64), strict=True)
    )
    return total / y.numel() / math.log(2)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Tensor,
    steps: int,
    *,
    context: int,
    batch_size: int,
    generator: torch.Generator,
    decay: bool = True,
    until: Callable[[], bool] | None = None,
) -> int:
    """Train for some steps, or until a condition holds.

    The learning rate rises over the first steps; with `decay` it falls to zero.
    Returns the number of steps that were made.
    """
    rise = max(1, min(50, steps // 10))

    def rate(step: int) -> float:
        fall = (1 + math.cos(math.pi * step / steps)) / 2 if decay else 1.0
        return min(1.0, (step + 1) / rise) * fall

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    done = 0
    while True:
        for x, y in windows(data, context, batch_size, generator):
            if done == steps or (until and until()):
                return done
            optimizer.zero_grad()
            F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the comparison; returns the table and what it was made from."""
    args = _arguments(argv)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    text = Text(*(part.to(args.device) for part in load_text(args.text)))
    if args.quick:
        text = Text(*(part[: 40 * args.context] for part in text))

    def network() -> GPT:
        model = GPT(256, args.context, args.width, args.blocks, args.heads)
        return model.to(args.device)

    dense = network()
    model = copy.deepcopy(dense)
    steps = args.epochs * (len(text.train) // (args.batch_size * args.context))
    if not steps or len(text.test) <= args.context:
        raise ValueError(
            f"The text is too short: {len(text.train)} bytes to train on and "
            f"{len(text.test)} to test. Take a longer one, or lower --batch-size "
            f"({args.batch_size}) and --context ({args.context})."
        )
    common: dict[str, Any] = {
        "context": args.context,
        "batch_size": args.batch_size,
        "generator": generator,
    }

    # The network as it is.
    optimizer = torch.optim.AdamW(dense.parameters(), args.lr, weight_decay=0.1)
    train(dense, optimizer, text.train, steps, **common)

    # Select heads and neurons. Before it is selected a group decays by 1 / nu; those
    # that the loss holds up reach their penalty first.
    choose = {
        names: {"groups": groups, "lam": 1.1 if "attention" in names[0] else 1.0}
        for names, groups in model.groups().items()
    }
    table = relative_groups(model, choose, args.lam)
    optimizer = torch.optim.AdamW(table, args.lr, weight_decay=0.0)
    coupling = couple(optimizer, nu=args.nu * args.lr * steps)
    print(table)
    print("Steps to the first and the median entry:")
    print(coupling.predicted_selection()[["n_groups", "first_step", "median_step"]])
    recorder = PathRecorder(optimizer, model, every=1)
    used = train(
        model,
        optimizer,
        text.train,
        steps // 2,
        decay=False,
        until=lambda: selected_share(optimizer) >= args.keep,
        **common,
    )
    print(f"\n{recorder!r}: {used} of {steps} steps.\n")

    # Cut out the rest, and train what is left. If too few were selected, all of these
    # are kept.
    example = text.train[: 8 * args.context].view(8, args.context)
    pruned = prune(
        model,
        recorder,
        example,
        keep=args.keep if selected_share(optimizer) >= args.keep else None,
        heads=model.heads(),
        allow_empty=True,
    )
    small = pruned.model
    optimizer = torch.optim.AdamW(small.parameters(), args.lr, weight_decay=0.1)
    train(small, optimizer, text.train, steps - used, **common)

    scores = {}
    for name, part in (("validation", text.validation), ("test", text.test)):
        first, second = (
            bits_per_byte(net, part, args.context) for net in (dense, small)
        )
        scores[name] = first, second
    result = results_table(pruned, scores)
    print(
        f"Bits per byte; milliseconds for {len(example)} sequences:", result, sep="\n"
    )
    for k, block in enumerate(small.blocks):
        heads, neurons = block.attention.n_heads, block.up.out_features
        print(f"block {k}: {heads} of {args.heads} heads, ", end="")
        print(f"{neurons} of {4 * args.width} neurons")
    if args.output is not None:
        save_results(args.output, result, pruned, recorder, network(), example)
    return {"table": result, "pruned": pruned, "recorder": recorder}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sparselbi.torch.examples.text",
        description="Heads and neurons of a small GPT on text that ships with Python.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--text", type=Path, help="a text file instead of Python's help topics")
    add("--output", type=Path, help="folder for the table, figures and the network")
    add("--epochs", type=int, default=4)
    add("--seed", type=int, default=0)
    add("--quick", action="store_true", help="some seconds, to see that it runs")
    add("--keep", type=float, default=0.4, help="share of head and neuron weights")
    add("--lr", type=float, default=2e-3)
    add("--nu", type=float, default=0.25, help="by lr * steps of the run")
    add("--lam", type=float, default=0.83, help="penalty, by the norms at the start")
    add("--context", type=int, default=128)
    add("--width", type=int, default=128)
    add("--blocks", type=int, default=4)
    add("--heads", type=int, default=4)
    add("--batch-size", type=int, default=16)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    if args.quick:
        vars(args).update(QUICK)
    return args


if __name__ == "__main__":
    main()
