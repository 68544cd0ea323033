"""Simulated signals, images and graphs whose structure is known.

The truth is constant or linear between a few breakpoints, inside of shapes, or on the
clusters of a graph: D @ truth is sparse for the matching linear map D.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from sklearn.utils import Bunch, check_random_state

from .simulated import _check_count, _check_signal_size

# The runs of five of the Split LBI study: position after the last, and coefficient.
STUDY_RUNS = ((12, -2.0), (25, 2.0), (37, -2.0))
STUDY_LENGTH = 5
# Number of pairs up to which edges are drawn from the list of all pairs.
ALL_PAIRS = 1_000_000


def make_split_study(
    n_samples: int = 50,
    n_features: int = 50,
    *,
    noise: float = 1.0,
    random_state: Any = 0,
) -> Bunch:
    """Draw the regression of the Split LBI study: sparse and piecewise constant.

    Coefficients are zero except for three runs of five, at -2, 2 and -2, that end at
    positions 12, 25 and 37 (counted from 1). X has independent standard normal entries.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of X; the study has 50 and 50. At least 37 features.
    noise : float
        Standard deviation of the noise, in the units of y.
    random_state : int, RandomState instance or None
        Draws X, then the noise.

    Returns
    -------
    Bunch
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        coef : ndarray of shape (n_features,), the truth
        support : ndarray, ascending indices of its nonzero entries
        noise_std : float

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.

    References
    ----------
    .. [1] C. Huang, X. Sun, J. Xiong, Y. Yao (2016). Split LBI: an iterative
       regularization path with structural sparsity. Advances in Neural Information
       Processing Systems 29.

    Examples
    --------
    >>> from sparselbi.datasets.structured import make_split_study
    >>> make_split_study().support
    array([ 7,  8,  9, 10, 11, 20, 21, 22, 23, 24, 32, 33, 34, 35, 36])
    """
    _check_count("n_samples", n_samples, 1)
    _check_count("n_features", n_features, STUDY_RUNS[-1][0])
    noise = _check_noise(noise)
    rng = check_random_state(random_state)
    coef = np.zeros(n_features)
    for end, value in STUDY_RUNS:
        coef[end - STUDY_LENGTH : end] = value
    X = rng.standard_normal((n_samples, n_features))
    return Bunch(
        X=X,
        y=X @ coef + noise * rng.standard_normal(n_samples),
        coef=coef,
        support=np.flatnonzero(coef),
        noise_std=noise,
    )


def make_piecewise_constant_signal(
    n_points: int = 200,
    n_breaks: int = 4,
    *,
    jump: float | tuple[float, float] = (1.0, 2.0),
    min_length: int = 5,
    noise: float = 0.3,
    random_state: Any = None,
) -> Bunch:
    """Draw a noisy signal with a few jumps.

    The identity matrix is the design: fit ``X=numpy.eye(n_points)`` without intercept,
    with first differences as linear map.

    Parameters
    ----------
    n_points : int
        Length of the signal.
    n_breaks : int
        Number of jumps, at random places.
    jump : float or (float, float)
        Size of a jump, or the range from which it is drawn uniformly. Signs are random.
    min_length : int
        Smallest number of points between jumps, and between a jump and an end.
    noise : float
        Standard deviation of the noise, in the units of the signal.
    random_state : int, RandomState instance or None
        Draws the breakpoints, then the jumps, then the noise.

    Returns
    -------
    Bunch
        y : ndarray of shape (n_points,), the noisy signal
        truth : ndarray of shape (n_points,), with mean zero
        breakpoints : int ndarray of shape (n_breaks,), ascending: the first point of
            each new piece. The difference of first order with index ``breakpoints - 1``
            is not zero.
        noise_std : float

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi.datasets.structured import make_piecewise_constant_signal
    >>> data = make_piecewise_constant_signal(100, 2, random_state=0)
    >>> bool((np.flatnonzero(np.diff(data.truth)) + 1 == data.breakpoints).all())
    True
    """
    low, high = _check_size("jump", jump)
    noise = _check_noise(noise)
    rng = check_random_state(random_state)
    breaks = _draw_breaks(rng, n_points, n_breaks, min_length)
    signs = rng.choice([-1.0, 1.0], n_breaks)
    levels = np.append(0.0, np.cumsum(signs * rng.uniform(low, high, n_breaks)))
    truth = np.repeat(levels, np.diff([0, *breaks, n_points]))
    return _noisy_signal(rng, truth, breaks, noise)


def make_piecewise_linear_signal(
    n_points: int = 200,
    n_breaks: int = 4,
    *,
    rise: float | tuple[float, float] = (1.0, 2.0),
    min_length: int = 10,
    noise: float = 0.2,
    random_state: Any = None,
) -> Bunch:
    """Draw a noisy signal that is continuous, with a few kinks.

    It goes up and down in turns. The identity matrix is the design: fit
    ``X=numpy.eye(n_points)`` without intercept, with second differences as linear map.

    Parameters
    ----------
    n_points : int
        Length of the signal.
    n_breaks : int
        Number of kinks, at random places.
    rise : float or (float, float)
        How much the signal rises or falls in a piece, or the range from which this is
        drawn uniformly.
    min_length : int
        Smallest number of points between kinks, and between a kink and an end; at least
        2.
    noise : float
        Standard deviation of the noise, in the units of the signal.
    random_state : int, RandomState instance or None
        Draws the breakpoints, then the rises, then the noise.

    Returns
    -------
    Bunch
        y : ndarray of shape (n_points,), the noisy signal
        truth : ndarray of shape (n_points,), with mean zero
        breakpoints : int ndarray of shape (n_breaks,), ascending: the points at which
            the slope changes. The difference of second order with index
            ``breakpoints - 1`` is not zero.
        noise_std : float

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.
    """
    low, high = _check_size("rise", rise)
    noise = _check_noise(noise)
    _check_count("min_length", min_length, 2)
    rng = check_random_state(random_state)
    breaks = _draw_breaks(rng, n_points, n_breaks, min_length)
    signs = rng.choice([-1.0, 1.0]) * (-1.0) ** np.arange(n_breaks + 1)
    rises = signs * rng.uniform(low, high, n_breaks + 1)
    nodes = np.array([0, *breaks, n_points - 1])
    truth = np.interp(np.arange(n_points), nodes, np.append(0.0, np.cumsum(rises)))
    return _noisy_signal(rng, truth, breaks, noise)


def make_piecewise_constant_image(
    shape: tuple[int, int] = (64, 64), *, noise: float = 0.2, random_state: Any = None
) -> Bunch:
    """Make a noisy image of a disk, a rectangle, a triangle and a ring.

    The shapes scale with the image and are constant: only the noise is random. The
    identity matrix is the design, and the gradient of the grid the linear map.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns, at least 8 each.
    noise : float
        Standard deviation of the noise, in the units of the image.
    random_state : int, RandomState instance or None
        Draws the noise.

    Returns
    -------
    Bunch
        y : ndarray of this shape, the noisy image
        truth : ndarray of this shape, with values 0 (background), 1 (disk and ring),
            0.5 (rectangle) and -0.5 (triangle)
        labels : int ndarray of this shape: 0 background, 1 disk, 2 rectangle,
            3 triangle, 4 ring
        noise_std : float

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.
    """
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise TypeError(f"shape must be a tuple of two integers, got {shape!r}")
    for size in shape:
        _check_count("every axis of shape", size, 8)
    noise = _check_noise(noise)
    rng = check_random_state(random_state)
    u, v = (np.indices(shape) + 0.5) / np.reshape(shape, (2, 1, 1))  # in (0, 1)
    ring = np.hypot(u - 0.72, v - 0.7)
    labels = np.select(
        [
            np.hypot(u - 0.28, v - 0.28) < 0.19,
            (abs(u - 0.26) < 0.15) & (abs(v - 0.72) < 0.19),
            (u > 0.55) & (u < 0.92) & (abs(v - 0.27) < 0.55 * (u - 0.55)),
            (ring > 0.08) & (ring < 0.21),
        ],
        [1, 2, 3, 4],
    )
    truth = np.array([0.0, 1.0, 0.5, -0.5, 1.0])[labels]
    y = truth + noise * rng.standard_normal(shape)
    return Bunch(y=y, truth=truth, labels=labels, noise_std=noise)


def make_clustered_graph(
    n_samples: int = 100,
    n_nodes: int = 60,
    n_clusters: int = 4,
    *,
    n_within: int | None = None,
    n_between: int | None = None,
    values: Any = None,
    snr: float = 5.0,
    random_state: Any = None,
) -> Bunch:
    """Draw a regression whose coefficients are constant on clusters of a graph.

    X has independent standard normal entries, one column for each node. Every cluster
    is connected: its edges hold a random tree.

    Parameters
    ----------
    n_samples, n_nodes : int
        Shape of X.
    n_clusters : int
        Number of clusters, of equal size up to one node, with random members.
    n_within, n_between : int, optional
        Number of edges within clusters, and between different clusters, all clusters
        together. Default: ``3 * n_nodes`` and ``n_nodes // 4``, or all pairs if there
        are fewer.
    values : array-like of shape (n_clusters,), optional
        Coefficient of each cluster. Default: equally spaced from -1 to 1.
    snr : float
        Variance of ``X @ coef`` (of its population) over variance of the noise; ``inf``
        means no noise. If all coefficients are zero, the noise has standard deviation
        1.
    random_state : int, RandomState instance or None
        Draws the members, then the edges, then X, then the noise.

    Returns
    -------
    Bunch
        X : ndarray of shape (n_samples, n_nodes)
        y : ndarray of shape (n_samples,)
        coef : ndarray of shape (n_nodes,), the truth
        adjacency : csr_array of shape (n_nodes, n_nodes), symmetric, entries 0 and 1
        labels : int ndarray of shape (n_nodes,), cluster of each node
        noise_std : float

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.

    Examples
    --------
    >>> from sparselbi.datasets.structured import make_clustered_graph
    >>> data = make_clustered_graph(30, 20, 2, n_within=25, n_between=3, random_state=0)
    >>> data.adjacency.nnz // 2
    28
    """
    _check_count("n_samples", n_samples, 1)
    _check_count("n_nodes", n_nodes, 2)
    _check_count("n_clusters", n_clusters, 1)
    if n_clusters > n_nodes:
        raise ValueError(
            f"n_clusters must be at most n_nodes={n_nodes}, got {n_clusters}"
        )
    if not isinstance(snr, Real) or math.isnan(snr) or snr <= 0:
        raise ValueError(f"snr must be a positive number (inf: no noise), got {snr!r}")
    if values is None:
        values = np.linspace(-1, 1, n_clusters)
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n_clusters,) or not np.isfinite(values).all():
        raise ValueError(
            f"values must hold a finite number for each of the {n_clusters} clusters, "
            f"got {values}"
        )
    rng = check_random_state(random_state)
    labels = rng.permutation(np.arange(n_nodes) % n_clusters)
    clusters = _Clusters(labels, n_clusters)
    n_within = clusters.check("n_within", n_within, 3 * n_nodes)
    n_between = clusters.check("n_between", n_between, n_nodes // 4)
    tree = clusters.draw_trees(rng)
    pairs = np.concatenate(
        [
            clusters.draw_pairs(rng, n_within, within=True, have=tree),
            clusters.draw_pairs(rng, n_between, within=False, have=tree[:0]),
        ]
    )
    i, j = pairs // n_nodes, pairs % n_nodes
    edges = (np.append(i, j), np.append(j, i))
    adjacency = coo_array((np.ones(2 * len(i)), edges), shape=(n_nodes, n_nodes))
    coef = values[labels]
    variance = float(coef @ coef)
    noise_std = math.sqrt(variance / snr) if variance > 0 else 1.0
    X = rng.standard_normal((n_samples, n_nodes))
    return Bunch(
        X=X,
        y=X @ coef + noise_std * rng.standard_normal(n_samples),
        coef=coef,
        adjacency=adjacency.tocsr(),
        labels=labels,
        noise_std=noise_std,
    )


class _Clusters:
    """Pairs i < j of nodes within clusters and between them, as codes i * n + j."""

    def __init__(self, labels: np.ndarray, n_clusters: int) -> None:
        self.labels, self.n = labels, len(labels)
        self.members = np.argsort(labels, kind="stable")  # one cluster after the other
        self.sizes = np.bincount(labels, minlength=n_clusters)
        self.starts = np.cumsum(self.sizes) - self.sizes
        within = int((self.sizes * (self.sizes - 1) // 2).sum())
        between = self.n * (self.n - 1) // 2 - within
        self.possible = {"n_within": within, "n_between": between}
        self.needed = {"n_within": self.n - n_clusters, "n_between": 0}

    def check(self, name: str, value: Any, default: int) -> int:
        """Number of edges, if there can be so many."""
        low, high = self.needed[name], self.possible[name]
        if value is None:
            return min(default, high)
        _check_count(name, value, 0)
        if not low <= value <= high:
            raise ValueError(
                f"{name} must be from {low}, which connect the clusters, to {high}, "
                f"the number of pairs; got {value}"
                if low
                else f"{name} must be at most {high}, the number of pairs, got {value}"
            )
        return int(value)

    def draw_trees(self, rng: Any) -> np.ndarray:
        """A random tree in each cluster: a node and a random one before it."""
        nodes = rng.permutation(self.n)
        nodes = nodes[np.argsort(self.labels[nodes], kind="stable")]
        own = self.labels[nodes]
        rank = np.arange(self.n) - self.starts[own]
        later = rank > 0
        before = self.starts[own] + np.floor(rng.uniform(size=self.n) * rank).astype(
            int
        )
        return self._codes(nodes[later], nodes[before[later]])

    def draw_pairs(
        self, rng: Any, count: int, *, within: bool, have: np.ndarray
    ) -> np.ndarray:
        """`count` different pairs: those that we `have`, then random ones."""
        possible = self.possible["n_within" if within else "n_between"]
        if self.n * (self.n - 1) // 2 <= ALL_PAIRS:
            i, j = np.triu_indices(self.n, k=1)
            same = self.labels[i] == self.labels[j]
            free = np.setdiff1d(self._codes(i, j)[same == within], have)
            return np.append(have, rng.choice(free, count - len(have), replace=False))
        while len(have) < count:
            # Some draws are pairs that we have, or no pairs at all.
            missing = (count - len(have)) / (1 - len(have) / possible)
            have = np.append(have, self._draw(rng, int(1.2 * missing) + 10, within))
            first = np.unique(have, return_index=True)[1]
            have = have[np.sort(first)][:count]
        return have

    def _draw(self, rng: Any, count: int, within: bool) -> np.ndarray:
        i = rng.randint(self.n, size=count)
        own = self.labels[i]
        if within:
            place = np.floor(rng.uniform(size=count) * self.sizes[own]).astype(int)
        else:  # a place behind the own cluster, in a circle
            place = self.sizes[own] + np.floor(
                rng.uniform(size=count) * (self.n - self.sizes[own])
            ).astype(int)
        j = self.members[(self.starts[own] + place) % self.n]
        return self._codes(i[i != j], j[i != j])

    def _codes(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        codes: np.ndarray = np.minimum(i, j).astype(np.int64) * self.n
        return codes + np.maximum(i, j)


def _draw_breaks(rng: Any, n_points: int, n_breaks: int, min_length: int) -> np.ndarray:
    """Breakpoints with at least `min_length` points in each piece, uniformly."""
    _check_count("n_points", n_points, 2)
    _check_count("n_breaks", n_breaks, 0)
    _check_count("min_length", min_length, 1)
    spare = n_points - (n_breaks + 1) * min_length
    if spare < 0:
        raise ValueError(
            f"{n_breaks + 1} pieces of at least min_length={min_length} points do not "
            f"fit into n_points={n_points}; use fewer n_breaks or a smaller min_length"
        )
    places = np.sort(rng.choice(spare + n_breaks, n_breaks, replace=False))
    return places - np.arange(n_breaks) + min_length * np.arange(1, n_breaks + 1)


def _noisy_signal(
    rng: Any, truth: np.ndarray, breaks: np.ndarray, noise: float
) -> Bunch:
    truth = truth - truth.mean()
    y = truth + noise * rng.standard_normal(len(truth))
    return Bunch(y=y, truth=truth, breakpoints=breaks, noise_std=noise)


def _check_noise(noise: Any) -> float:
    if not isinstance(noise, Real) or not 0 <= float(noise) < math.inf:
        raise ValueError(f"noise must be a finite number >= 0, got {noise!r}")
    return float(noise)


def _check_size(name: str, value: Any) -> tuple[float, float]:
    try:
        return _check_signal_size(value)
    except ValueError as error:
        raise ValueError(str(error).replace("signal_size", name)) from None
