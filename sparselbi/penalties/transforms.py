"""Linear maps D whose rows, D @ coef, are meant to be sparse.

One function for each common structure, and `as_transform`, which accepts everything a
user may pass for D. All return a `Transform`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from .._utils.optional import import_optional
from ._transform import Transform
from ._transform_checks import (
    check_adjacency,
    check_count,
    check_factor,
    check_mask,
    check_matrix,
    check_operator,
    check_pairs,
    check_shape,
)
from ._transform_products import Stacked, equal_rows, eye
from ._wavelets import MATRIX as WAVELET_MATRIX
from ._wavelets import WaveletOperator

__all__ = [
    "Transform",
    "as_transform",
    "comparisons",
    "differences",
    "graph_incidence",
    "grid_gradient",
    "identity",
    "stack",
    "wavelet",
    "with_identity",
]


def as_transform(D: Any, n_features: int | None = None) -> Transform:
    """Read what a user passed for D.

    Parameters
    ----------
    D : None, str, Transform, array-like, sparse matrix or LinearOperator
        None and "identity" are the coefficients themselves, "differences" those of
        neighbouring coefficients. Arrays and sparse matrices have one column for each
        feature. An operator needs products with D and with its transpose.
    n_features : int, optional
        Number of columns that D must have; strings need it.

    Returns
    -------
    Transform

    Raises
    ------
    ValueError, TypeError
        If D has the wrong number of columns, rows without a nonzero, entries that are
        not finite, no transpose, or is none of the above.
    """
    if D is None:
        D = "identity"
    if isinstance(D, str):
        makers = {"identity": identity, "differences": differences}
        if D not in makers:
            raise ValueError(
                f"D={D!r} is unknown; use 'identity', 'differences', a matrix, or a "
                "function of sparselbi.penalties.transforms such as grid_gradient."
            )
        if n_features is None:
            raise ValueError(
                f"D={D!r} needs the number of coefficients here; use {D}(p) instead."
            )
        return makers[D](n_features)
    if isinstance(D, Transform):
        transform = D
    elif isinstance(D, LinearOperator):
        check_operator(D)
        transform = Transform(D, "operator")
    else:
        transform = Transform(check_matrix(D), "matrix")
    if n_features is not None and transform.n_features != n_features:
        raise ValueError(
            f"D has {transform.n_features} columns, but there are {n_features} "
            "coefficients; D needs one column for each feature of X."
        )
    return transform


def identity(p: int) -> Transform:
    """Return the identity of shape (p, p): the coefficients themselves are sparse."""
    return Transform(eye(check_count("p", p, 1)), "identity")


def differences(p: int, order: int = 1) -> Transform:
    """Differences of neighbouring coefficients, ``numpy.diff(coef, order)``.

    Order 1 makes coefficients piecewise constant (the fused lasso), order 2 piecewise
    linear (trend filtering), order k + 1 piecewise polynomial of degree k.

    Parameters
    ----------
    p : int
        Number of coefficients.
    order : int, default=1
        At least 1 and less than p.

    Returns
    -------
    Transform of shape (p - order, p)
        Row i belongs to coefficients i to i + order.

    References
    ----------
    .. [1] R. J. Tibshirani (2014). Adaptive piecewise polynomial estimation via trend
       filtering. Annals of Statistics 42, 285-323.

    Examples
    --------
    >>> from sparselbi.penalties.transforms import differences
    >>> differences(5, order=2).dot([0, 0, 0, 1, 2])
    array([0., 1., 0.])
    """
    p, order = check_count("p", p, 2), check_count("order", order, 1)
    if order >= p:
        raise ValueError(
            f"order must be less than the number of coefficients p={p}, got {order}"
        )
    m = p - order
    stencil = [(-1.0) ** (order - k) * math.comb(order, k) for k in range(order + 1)]
    columns = np.arange(m)[:, None] + np.arange(order + 1)
    matrix = equal_rows(np.tile(stencil, m), columns, p)
    return Transform(matrix, "differences", order=order)


def grid_gradient(shape: Any, mask: Any = None, isotropic: bool = False) -> Transform:
    """Differences of neighbouring pixels of a line, an image or a volume.

    Parameters
    ----------
    shape : int or tuple of int
        Of the grid.
    mask : bool array-like of this shape, optional
        Pixels that are features. Default: all. Features are kept pixels in C order,
        so that ``image[mask]`` is the vector of coefficients.
    isotropic : bool, default=False
        Give the rows groups: all differences that start in a pixel share a label, the
        index of its feature. With these groups the penalty is isotropic total
        variation.

    Returns
    -------
    Transform
        One row, later pixel minus earlier pixel, for each pair of neighbouring kept
        pixels: first all pairs along axis 0, then along axis 1, and so on; within an
        axis in C order of the earlier pixel.

    References
    ----------
    .. [1] L. I. Rudin, S. Osher, E. Fatemi (1992). Nonlinear total variation based
       noise removal algorithms. Physica D 60, 259-268.

    Examples
    --------
    >>> from sparselbi.penalties.transforms import grid_gradient
    >>> grid_gradient((3, 4))
    Transform(grid 3 x 4, 17 rows, 12 features, 1 component)
    """
    shape = check_shape(shape)
    mask = check_mask(mask, shape)
    p = math.prod(shape)
    feature = np.arange(p)
    if mask is not None:
        p = int(mask.sum())
        feature = np.where(mask.ravel(), np.cumsum(mask.ravel()) - 1, -1)
    feature = feature.astype(np.int32 if p < 2**30 else np.int64).reshape(shape)
    pairs = []
    for axis, size in enumerate(shape):
        early = feature.take(range(size - 1), axis).ravel()
        late = feature.take(range(1, size), axis).ravel()
        kept = (early >= 0) & (late >= 0)
        pairs.append(np.stack([early[kept], late[kept]], axis=1))
    columns = np.concatenate(pairs)
    if not len(columns):
        raise ValueError(
            f"A grid of shape {shape} {'' if mask is None else 'with this mask '}has "
            "no neighbouring pixels, so there is nothing to take differences of."
        )
    return Transform(
        equal_rows(np.tile([-1.0, 1.0], len(columns)), columns, p),
        "grid",
        groups=columns[:, 0].astype(np.int64) if isotropic else None,
        grid={"shape": shape, "mask": mask},
    )


def graph_incidence(adjacency: Any) -> Transform:
    """Differences along the edges of a graph.

    The l1 norm of the rows is the sum over edges i < j of
    ``w[i, j] * abs(coef[i] - coef[j])``, with the weights w as given.

    Parameters
    ----------
    adjacency : sparse matrix, array-like, data frame or networkx graph
        Symmetric, of shape (n_features, n_features), with weights >= 0 and an empty
        diagonal. Nodes of a networkx graph are features in the order of its ``nodes``,
        with edge attribute "weight" (or 1) as weight. Nodes of a networkx graph and
        labels of a data frame name the rows, ``"a - b"``.

    Returns
    -------
    Transform of shape (n_edges, n_features)
        Rows ``w[i, j] * (e_j - e_i)`` for i < j, ordered by i, then j. A graph that is
        not connected is no error: see `Transform.components`.

    Raises
    ------
    ValueError
        If the matrix is not square or not symmetric, or has self loops, negative
        weights, weights that are not finite, or no edge at all.

    References
    ----------
    .. [1] R. J. Tibshirani, J. Taylor (2011). The solution path of the generalized
       lasso. Annals of Statistics 39, 1335-1371.
    """
    names = None
    if hasattr(adjacency, "nodes") and hasattr(adjacency, "adj"):
        networkx = import_optional("networkx", "graphs")
        names = list(adjacency.nodes)
        if not adjacency.number_of_edges():
            adjacency = np.zeros((len(names), len(names)))
        else:
            adjacency = networkx.to_scipy_sparse_array(adjacency, dtype=np.float64)
    elif hasattr(adjacency, "index") and hasattr(adjacency, "columns"):
        names = list(adjacency.index)
        if names != list(adjacency.columns):
            raise ValueError(
                "adjacency must have the same labels, in the same order, for its rows "
                "and its columns"
            )
    W = check_adjacency(adjacency, names)
    upper = sparse.coo_array(sparse.triu(W, k=1))
    order = np.lexsort((upper.col, upper.row))
    columns = np.stack([upper.row, upper.col], axis=1)[order]
    data = np.outer(upper.data[order], [-1.0, 1.0]).ravel()
    return Transform(
        equal_rows(data, columns, W.shape[0]),
        "graph",
        row_names=None
        if names is None
        else tuple(f"{names[i]} - {names[j]}" for i, j in columns.tolist()),
    )


def comparisons(pairs: Any, n_items: int | None = None) -> Transform:
    """Differences between the two items of each pair, ``coef[i] - coef[j]``.

    Parameters
    ----------
    pairs : array-like of shape (n_pairs, 2)
        Items i and j of each comparison: indices from 0, or labels of any other kind,
        whose features are the distinct labels in sorted order. Labels name the rows,
        ``"a - b"``.
    n_items : int, optional
        Number of features. Default: the largest index + 1, or the number of labels.

    Returns
    -------
    Transform of shape (n_pairs, n_items)

    Raises
    ------
    ValueError
        If an item is compared with itself, is missing, or does not fit `n_items`.

    Examples
    --------
    >>> from sparselbi.penalties.transforms import comparisons
    >>> D = comparisons([("Italy", "Spain"), ("Spain", "France")])
    >>> D.row_names
    ('Italy - Spain', 'Spain - France')
    >>> D.to_dense()  # features: France, Italy, Spain
    array([[ 0.,  1., -1.],
           [-1.,  0.,  1.]])
    """
    codes, p, labels = check_pairs(pairs, n_items)
    matrix = equal_rows(np.tile([1.0, -1.0], len(codes)), codes, p)
    matrix.sort_indices()
    names = None if labels is None else tuple(f"{a} - {b}" for a, b in labels)
    return Transform(matrix, "comparisons", row_names=names)


def stack(*transforms: Any, factors: Any = None) -> Transform:
    """One map above another: ``[factors[0] * D_0; factors[1] * D_1; ...]``.

    Parameters
    ----------
    *transforms : Transform, str, array-like, sparse matrix or LinearOperator
        With the same number of columns, as in `as_transform`.
    factors : sequence of float, optional
        Positive. Default: all 1. A larger factor lets the rows enter earlier.

    Returns
    -------
    Transform
        Groups of different parts stay different; rows of a part without groups are
        groups of their own if another part has groups.
    """
    widths = [as_transform(D).n_features for D in transforms if not _is_name(D)]
    if not widths:
        raise ValueError(
            "stack needs at least one transform whose number of columns is known, got "
            f"{transforms!r}"
        )
    parts = [as_transform(D, widths[0]) for D in transforms]
    factors = [1.0] * len(parts) if factors is None else list(factors)
    if len(factors) != len(parts):
        raise ValueError(
            f"factors must hold one number for each of the {len(parts)} transforms, "
            f"got {len(factors)}"
        )
    factors = [check_factor("every one of factors", factor) for factor in factors]
    blocks = [
        part.matrix if factor == 1 else factor * part.matrix
        for part, factor in zip(parts, factors, strict=True)
    ]
    matrix: Any
    if any(part.is_operator for part in parts):
        matrix = Stacked(blocks)
    elif any(sparse.issparse(block) for block in blocks):
        matrix = csr_array(sparse.vstack([csr_array(block) for block in blocks]))
    else:
        matrix = np.vstack(blocks)
    transform = Transform(
        matrix,
        "stack",
        groups=_stack_groups(parts),
        row_names=_stack_names(parts),
        grid=_common_grid(parts),
    )
    if sum(not part.is_orthonormal for part in parts) <= 1:
        # Orthonormal parts add the same number to every eigenvalue of D'D.
        norms = [f * part.norm for f, part in zip(factors, parts, strict=True)]
        transform.__dict__["norm"] = math.hypot(*norms)
    return transform


def with_identity(D: Any, rho: float = 1.0) -> Transform:
    """``[I; rho * D]``: both the coefficients and the rows of D are sparse.

    Parameters
    ----------
    D : Transform, array-like, sparse matrix or LinearOperator
    rho : float, default=1.0
        Positive. The larger, the earlier rows of D enter, compared with coefficients.

    Returns
    -------
    Transform of shape (n_features + n_rows, n_features)
        Rows of the identity come first.

    References
    ----------
    .. [1] X. Sun, L. Hu, Y. Yao, Y. Wang (2017). GSplit LBI: Taming the procedural bias
       in neuroimaging for disease prediction. MICCAI 2017.
    """
    return stack("identity", D, factors=(1.0, check_factor("rho", rho)))


def wavelet(shape: Any, wavelet: str = "db2", level: int | None = None) -> Transform:
    """Orthonormal wavelet transform of a signal, an image or a volume.

    Parameters
    ----------
    shape : int or tuple of int
        Of the signal; features are its entries in C order. Every axis must be a
        multiple of ``2 ** level``.
    wavelet : str, default="db2"
        Name in PyWavelets of an orthogonal wavelet: "haar", "db2", "sym4", "coif1", ...
    level : int, optional
        Default: as many as the shape and the length of the filter allow, at least 1.

    Returns
    -------
    Transform of shape (n_features, n_features)
        Periodic at the boundary. The first ``n_features / 2 ** (level * ndim)`` rows
        are the approximation, which may be left free (row_weight 0); details follow
        from coarse to fine. A matrix up to 4096 features, an operator above.

    Raises
    ------
    ImportError
        If PyWavelets is not installed.
    ValueError
        If the wavelet is not orthogonal, or the shape does not fit.

    References
    ----------
    .. [1] I. Daubechies (1992). Ten Lectures on Wavelets. SIAM.
    """
    shape = check_shape(shape)
    operator = WaveletOperator(shape, wavelet, level)
    small = operator.shape[1] <= WAVELET_MATRIX
    return Transform(
        operator.to_matrix() if small else operator,
        "wavelet",
        grid={"shape": shape, "mask": None},
    )


def _is_name(D: Any) -> bool:
    return D is None or isinstance(D, str)


def _stack_groups(parts: list[Transform]) -> np.ndarray | None:
    if all(part.groups is None for part in parts):
        return None
    labels: list[np.ndarray] = []
    start = 0
    for part in parts:
        own = np.arange(part.n_rows) if part.groups is None else part.groups
        names, codes = np.unique(own, return_inverse=True)
        labels.append(codes + start)
        start += len(names)
    return np.concatenate(labels)


def _stack_names(parts: list[Transform]) -> tuple[str, ...] | None:
    if all(part.row_names is None for part in parts):
        return None
    names: list[str] = []
    for part in parts:
        names += part.row_names or [f"{part.kind} {k}" for k in range(part.n_rows)]
    return tuple(names)


def _common_grid(parts: list[Transform]) -> dict[str, Any] | None:
    grids = [part.grid for part in parts if part.grid is not None]
    for grid in grids[1:]:
        same = np.array_equal(grid["mask"], grids[0]["mask"])
        if grid["shape"] != grids[0]["shape"] or not same:
            return None
    return grids[0] if grids else None
