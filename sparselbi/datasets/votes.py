"""Simulated votes on pairs of items with a known truth."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from .._path_checks import check_choice
from .outliers import _check_number
from .simulated import _check_count

__all__ = ["make_votes"]

GENERATORS = ("order", "bradley_terry", "graded")
GRAPHS = ("complete", "random", "grid")


def make_votes(
    n_items: int = 16,
    n_votes: int = 2000,
    *,
    flip_rate: float = 0.2,
    generator: str = "order",
    graph: str = "complete",
    spread: float = 2.0,
    noise: float = 1.0,
    ties: float = 0.0,
    position_bias: float = 0.0,
    n_workers: int | None = None,
    n_one_sided: int = 0,
    n_random: int = 0,
    n_adversarial: int = 0,
    random_state: Any = None,
) -> Bunch:
    """Draw votes on pairs of items with known scores, of which some are flipped.

    A vote of items i and j is decided by ``s_i - s_j + position_bias + e`` with the
    scores s and an error e that depends on `generator`: it is its sign, or its value.
    Then some signs are changed.

    Parameters
    ----------
    n_items, n_votes : int
    flip_rate : float in [0, 1]
        Probability that the sign of a vote is changed.
    generator : {"order", "bradley_terry", "graded"}, default="order"
        Votes are the sign with e = 0 (they follow the true order), the sign with
        logistic e (Bradley and Terry), or the number with normal e. In the first case
        only flips contradict the order; in the second, close calls do too, and no
        method can tell those from flips.
    graph : {"complete", "random", "grid"}, default="complete"
        Which pairs are compared. "complete": every vote draws one of all pairs.
        "random": n_items votes go round a random cycle through all items, the others
        draw one of all pairs, so that the graph is connected and has no bridges.
        "grid": items that are neighbours on a grid of ``ceil(sqrt(n_items))`` columns,
        filled row by row; every pair of neighbours at least once. In all cases either
        item is the first with probability 1/2, and the order of votes is random.
    spread : float
        Standard deviation of the normal scores, before they are centred.
    noise : float
        Standard deviation of e for "graded", in the units of scores.
    ties : float
        Votes are ties (0) where what decides them is not larger than this in absolute
        value (for "bradley_terry": the model of Rao and Kupper). Not for "graded".
    position_bias : float
        What the first position adds, in the units of scores.
    n_workers : int or None
        Voters, of whom each casts ``n_votes / n_workers`` votes, up to one.
    n_one_sided, n_random, n_adversarial : int
        How many of them always click one side (half of them the first), throw a coin,
        or always vote against what they see. `flip_rate` is not for them, and the
        first two cast no ties. Graded votes keep their absolute values.
    random_state : int, RandomState instance or None
        Draws scores, pairs, errors, flips and workers, in this order: votes with
        another `flip_rate` or other workers are the same except for the flips, and the
        flips at a lower rate are among those at a higher one.

    Returns
    -------
    Bunch
        pairs : int ndarray of shape (n_votes, 2), first and second item
        y : ndarray of shape (n_votes,), positive if the first is preferred
        worker : int ndarray of shape (n_votes,), or None
        scores : ndarray of shape (n_items,), the truth, with mean 0
        flipped : bool ndarray of shape (n_votes,), whether the sign is opposite to that
            before flips, for whatever reason
        one_sided, random, adversarial : int ndarrays, labels of these workers, sorted
        position_bias : float
        DESCR : str

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or there are fewer votes than the graph
        needs; the message says what is allowed.

    Notes
    -----
    The graph of "complete" has about ``n_items exp(-2 n_votes / n_items)`` items
    without a vote. If that is small, all others are very likely connected: it is the
    random graph of Erdos and Renyi, with repetitions.

    References
    ----------
    P. V. Rao, L. L. Kupper (1967). Ties in paired-comparison experiments: a
    generalization of the Bradley-Terry model. Journal of the American Statistical
    Association 62, 194-204.

    Examples
    --------
    >>> from sparselbi.datasets import make_votes
    >>> votes = make_votes(flip_rate=0.2, random_state=0)
    >>> first, second = votes.scores[votes.pairs.T]
    >>> bool(((votes.y * (first - second) < 0) == votes.flipped).all())
    True
    """
    check_choice("generator", generator, GENERATORS)
    check_choice("graph", graph, GRAPHS)
    _check_count("n_items", n_items, 2)
    _check_count("n_votes", n_votes, 1)
    for name, value in {"spread": spread, "noise": noise, "ties": ties}.items():
        _check_number(name, value, low=0.0)
    _check_number("position_bias", position_bias)
    _check_number("flip_rate", flip_rate, low=0.0)
    if flip_rate > 1:
        raise ValueError(f"flip_rate must be a probability, at most 1; got {flip_rate}")
    if ties and generator == "graded":
        raise ValueError(
            f"ties={ties} has no meaning for graded votes; leave it out, or use "
            "generator='order' or 'bradley_terry'."
        )
    kinds = {
        "n_one_sided": n_one_sided,
        "n_random": n_random,
        "n_adversarial": n_adversarial,
    }
    _check_workers(n_workers, kinds)

    rng = check_random_state(random_state)
    scores = spread * rng.standard_normal(n_items)
    scores -= scores.mean()
    pairs = _draw_pairs(rng, graph, n_items, n_votes)
    first, second = scores[pairs.T]
    seen = first - second + position_bias
    if generator == "bradley_terry":
        seen += rng.logistic(size=n_votes)
    elif generator == "graded":
        seen += noise * rng.standard_normal(n_votes)
    clean = seen
    if generator != "graded":
        clean = np.where(np.abs(seen) > ties, np.sign(seen), 0.0)
    y = np.where(rng.uniform(size=n_votes) < flip_rate, -clean, clean)

    worker, labels = None, [np.empty(0, dtype=np.intp)] * 3
    if n_workers is not None:
        worker = rng.permutation(np.arange(n_votes) % n_workers)
        ends = np.cumsum(list(kinds.values()))
        chosen = rng.permutation(n_workers)
        one_sided, random, adversarial, _ = np.split(chosen, ends)
        size = np.ones(n_votes) if generator != "graded" else np.abs(clean)
        side = np.zeros(n_workers)
        side[one_sided[0::2]], side[one_sided[1::2]] = 1.0, -1.0
        coin = rng.choice([-1.0, 1.0], n_votes)
        for group, votes in (
            (one_sided, side[worker] * size),
            (random, coin * size),
            (adversarial, -clean),
        ):
            y = np.where(np.isin(worker, group), votes, y)
        labels = [np.sort(group) for group in (one_sided, random, adversarial)]
    return Bunch(
        pairs=pairs,
        y=y + 0.0,  # no tie is -0
        worker=worker,
        scores=scores,
        flipped=y * clean < 0,
        one_sided=labels[0],
        random=labels[1],
        adversarial=labels[2],
        position_bias=float(position_bias),
        DESCR=inspect.getdoc(make_votes) or "",
    )


def _check_workers(n_workers: Any, kinds: dict[str, int]) -> None:
    for name, value in kinds.items():
        _check_count(name, value, 0)
    total = sum(kinds.values())
    if n_workers is None:
        if total:
            raise ValueError(f"{kinds} need workers: give n_workers.")
        return
    _check_count("n_workers", n_workers, 1)
    if total > n_workers:
        raise ValueError(
            f"n_workers={n_workers} is less than the {total} workers of {kinds}; give "
            "at least so many."
        )


def _draw_pairs(rng: Any, graph: str, n_items: int, n_votes: int) -> Any:
    """Compared items, (n_votes, 2)."""
    fixed = np.empty((0, 2), dtype=np.intp)
    if graph == "random":
        cycle = rng.permutation(n_items)
        fixed = np.column_stack([cycle, np.roll(cycle, -1)])
    elif graph == "grid":
        width = math.isqrt(n_items - 1) + 1
        item = np.arange(n_items)
        right = item[(item % width < width - 1) & (item < n_items - 1)]
        below = item[: max(n_items - width, 0)]
        fixed = np.concatenate(
            [
                np.column_stack([right, right + 1]),
                np.column_stack([below, below + width]),
            ]
        )
    if n_votes < len(fixed):
        raise ValueError(
            f"n_votes={n_votes} is too small for graph={graph!r} with {n_items} items; "
            f"it needs at least {len(fixed)}."
        )
    n_rest = n_votes - len(fixed)
    if graph == "grid":
        rest = fixed[rng.randint(len(fixed), size=n_rest)]
    else:
        first = rng.randint(n_items, size=n_rest)
        second = (first + rng.randint(1, n_items, size=n_rest)) % n_items
        rest = np.column_stack([first, second])
    pairs = np.concatenate([fixed, rest])
    if len(fixed):
        pairs = pairs[rng.permutation(n_votes)]
    swap = rng.uniform(size=n_votes) < 0.5
    pairs[swap] = pairs[swap, ::-1]
    return pairs
