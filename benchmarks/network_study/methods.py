"""Four ways to choose what is kept of a network, and one way to go on from there.

Each method trains the network for a number of epochs and returns a function that gives
masks for the share of weights to keep. What is left of the budget goes into tuning,
which is the same for all.
"""

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.utils import prune as torch_prune
from torch.optim.lr_scheduler import CosineAnnealingLR

from sparselbi.torch import DessiLBI, PathRecorder, groups_for
from sparselbi.torch.examples.training import train_dense, train_epoch

MOMENTUM = 0.9


@dataclass
class Question:
    """A network, the data to train it on, and the groups to choose from."""

    model: torch.nn.Module
    data: object
    level: str  # of `groups_for`
    seed: int
    options: dict = field(default_factory=dict)  # of `train_epoch`

    def __post_init__(self):
        self.options = {
            "generator": torch.Generator().manual_seed(self.seed),
            "batch_size": 128,
            **self.options,
        }
        table = groups_for(self.model, self.level)
        self.sets = [groups for row in table.rows for groups in row.sets()]
        self.sizes = [groups.n_groups for groups in self.sets]

    def epoch(self, optimizer, **options):
        """Train for one epoch."""
        train_epoch(
            self.model, optimizer, self.data.train, **{**self.options, **options}
        )

    def dense(self, epochs, lr, weight_decay=0.0, warmup=0):
        """SGD with momentum and a cosine."""
        train_dense(
            self.model,
            self.data,
            epochs=epochs,
            lr=lr,
            momentum=MOMENTUM,
            weight_decay=weight_decay,
            warmup=warmup,
            **self.options,
        )

    def sgd(self, lr):
        """The optimizer that the other methods add something to."""
        return torch.optim.SGD(self.model.parameters(), lr=lr, momentum=MOMENTUM)

    def keep(self, scores, share):
        """Masks of the groups with the largest scores.

        `scores` are one array per set of groups; what is kept holds at most `share` of
        the weights: of all of them together at level "weight", of each set otherwise.
        """
        if self.level == "weight":
            values, sizes = np.concatenate(scores), self.sizes
            inside = _split(_largest(values, round(share * len(values))), sizes)
        else:
            inside = [_largest(part, round(share * len(part))) for part in scores]
        masks = {}
        for groups, part in zip(self.sets, inside, strict=True):
            flags = groups.masks(torch.from_numpy(part))
            masks.update(zip(groups.names, flags, strict=True))
        return masks

    @torch.no_grad()
    def strengths(self):
        """Root mean square of the weights of every group."""
        return [
            (s.norms([p.detach() for p in s.params]) / math.sqrt(s.size)).numpy()
            for s in self.sets
        ]


def _named(groups):
    return zip(groups.names, groups.params, strict=True)


def _largest(values, number):
    inside = np.zeros(len(values), dtype=bool)
    inside[np.argsort(-values, kind="stable")[:number]] = True
    return inside


def _split(values, sizes):
    return np.split(values, np.cumsum(sizes)[:-1])


def dessilbi(question, epochs, *, lr, nu, lam, order="entry", anneal=False):
    """One path, with a learning rate that is constant or falls to zero as a cosine.

    In the order "entry", of groups that were first seen at the same look, and of those
    that have not entered, the one with the larger dual comes first. The order "dual" is
    that of the duals at the end alone: what entered and is strong now.
    """
    table = groups_for(question.model, question.level, size_scaling=True)
    optimizer = DessiLBI(table, lr=lr, nu=nu, lam=lam, momentum=MOMENTUM)
    recorder = PathRecorder(optimizer, question.model, every=5)
    schedule = None
    if anneal:
        steps = epochs * (len(question.data.train.y) // question.options["batch_size"])
        # Not to zero: a step of learning rate 0 is not one.
        schedule = CosineAnnealingLR(optimizer, steps, eta_min=1e-3 * lr)
    for _ in range(epochs):
        question.epoch(optimizer, scheduler=schedule)
    steps = torch.cat(list(recorder.entry_steps().values())).double()
    steps[steps < 0] = torch.inf
    duals = np.concatenate(
        [
            (s.norms([optimizer.state[p]["dual"] for p in s.params]) / s.size**0.5)
            for s in question.sets
        ]
    )
    ranked = duals.argsort()
    if order == "entry":
        ranked = np.lexsort((duals, -steps.numpy()))
    rank = np.empty(len(ranked))
    rank[ranked] = np.arange(len(ranked))
    scores = _split(rank, question.sizes)
    return lambda share: question.keep(scores, share)


def magnitude(question, epochs, *, lr, weight_decay=0.0):
    """A dense network, then `torch.nn.utils.prune`.

    Single weights by their size over all layers; neurons by their norm, the same share
    of every layer.
    """
    question.dense(epochs, lr, weight_decay)

    def masks_for(share):
        model = copy.deepcopy(question.model)
        names = [s.name for s in question.sets]
        places = [(model.get_submodule(n.rpartition(".")[0]), "weight") for n in names]
        if question.level == "weight":
            torch_prune.global_unstructured(
                places, torch_prune.L1Unstructured, amount=1 - share
            )
        else:
            for module, weight in places:
                torch_prune.ln_structured(module, weight, 1 - share, n=2, dim=0)
        return {
            name: module.weight_mask.bool()
            for name, (module, _) in zip(names, places, strict=True)
        }

    return masks_for


def proximal(question, epochs, *, lr, lam):
    """SGD with momentum and a proximal step of the (group) lasso after each step.

    The penalty of a group is ``lam * sqrt(size)`` times its norm.
    """
    optimizer = question.sgd(lr)

    @torch.no_grad()
    def shrink(*_):
        for groups in question.sets:
            (param,) = groups.params
            norm = groups.norms([param])
            factor = (1 - lr * lam * groups.size**0.5 / norm).clamp_(min=0)
            shape = (-1, *[1] * (param.ndim - 1))
            param.mul_(factor.reshape(param.shape if groups.by_element else shape))

    optimizer.register_step_post_hook(shrink)
    for _ in range(epochs):
        question.epoch(optimizer)
    scores = question.strengths()
    return lambda share: question.keep(scores, share)


def admm(question, epochs, *, lr, rho, share):
    """Weights near a copy with a given number of groups, by ADMM.

    The copy Z and the multipliers U move once per epoch; in between SGD follows the
    loss plus ``rho / 2 * ||W - Z + U||^2``.
    """
    optimizer = question.sgd(lr)
    params = {name: p for s in question.sets for name, p in _named(s)}
    dual = {name: torch.zeros_like(p) for name, p in params.items()}

    @torch.no_grad()
    def project():
        """Masks of the groups of W + U that are kept."""
        scores = [
            (s.norms([params[n] + dual[n] for n in s.names]) / s.size**0.5).numpy()
            for s in question.sets
        ]
        return question.keep(scores, share)

    def split():
        masks = project()
        return masks, {n: (p.detach() + dual[n]) * masks[n] for n, p in params.items()}

    masks, target = split()

    @torch.no_grad()
    def pull(*_):
        for name, param in params.items():
            param.grad.add_(param - target[name] + dual[name], alpha=rho)

    optimizer.register_step_pre_hook(pull)
    for _ in range(epochs):
        question.epoch(optimizer)
        masks, target = split()
        for name, param in params.items():
            dual[name] += param.detach() - target[name]
    return lambda _: masks
