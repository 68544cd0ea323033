"""What theory asks of a linear map D, and how well a path finds rows that are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg
from scipy.stats import rankdata

from ..penalties.transforms import as_transform
from ..solvers._split_problem import SplitProblem
from ..solvers.split_lbi import split_iss_path, split_lbi_path
from .split_statistics import split_statistics
from .statistics import sparse_part

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..path import RegularizationPath
    from ..problem import Problem
    from ..split_path import SplitPath

# Entries of the largest dense matrix (512 MiB).
_MAX_ENTRIES = 2**26
# Singular values below this fraction of the largest are zero.
_DEPENDENT = 1e-10
# Rows of D @ coef below this fraction of the largest are zero.
_ZERO = 1e-9
DEFAULT_NU = (0.0, *np.geomspace(1e-3, 1e3, 13).tolist(), np.inf)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SplitIrrepresentability:
    r"""Whether rows of D outside of a support can pass for those inside, for each nu.

    Attributes
    ----------
    nu, nu_raw : ndarray of shape (n_nu,)
        Relative to ``n ||D||^2 / ||X||^2``, and as iterated. 0 and inf are limits.
    support : ndarray of int
        Rows of D.
    outside : ndarray of int
        The other rows that can enter.
    values : ndarray of shape (n_nu, n_outside)
        Sums of absolute values of the rows of
        :math:`\Sigma_{S^c,S} \Sigma_{S,S}^{-1}`, for all signs.
    signed_values : ndarray of shape (n_nu, n_outside) or None
        :math:`|\Sigma_{S^c,S} \Sigma_{S,S}^{-1} s|` for the signs s of the support.
    min_eigenvalue : ndarray of shape (n_nu,)
        Smallest eigenvalue of :math:`\Sigma_{S,S} / \nu` (restricted strong convexity).
    signs : ndarray or None
    """

    nu: NDArray[np.float64]
    nu_raw: NDArray[np.float64]
    support: NDArray[np.int64]
    outside: NDArray[np.int64]
    values: NDArray[np.float64]
    min_eigenvalue: NDArray[np.float64]
    signed_values: NDArray[np.float64] | None = None
    signs: NDArray[np.float64] | None = None

    @property
    def value(self) -> NDArray[np.float64]:
        """Largest value for each nu, all signs: IRR(nu), and IC_0 at nu = 0."""
        return self.values.max(axis=1, initial=0.0)

    @property
    def signed_value(self) -> NDArray[np.float64] | None:
        """Largest value for each nu, for the signs of the support."""
        if self.signed_values is None:
            return None
        return self.signed_values.max(axis=1, initial=0.0)

    @property
    def eta(self) -> NDArray[np.float64]:
        """Margin ``1 - value`` for each nu."""
        return 1.0 - self.value

    @property
    def holds(self) -> NDArray[np.bool_]:
        """For which nu the condition holds for all signs."""
        return self.eta > 0

    def __repr__(self) -> str:
        names = ["nu", "nu_raw", "all signs", "min_eigenvalue"]
        columns = [self.nu, self.nu_raw, self.value, self.min_eigenvalue]
        if (signed := self.signed_value) is not None:
            names.insert(3, "these signs")
            columns.insert(3, signed)
        rows = [
            [f"{number:.4g}" for number in row] for row in zip(*columns, strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        lines = [
            f"Irrepresentable condition for {len(self.support)} rows of D against "
            f"{len(self.outside)} others (values must be below 1)"
        ]
        lines += [
            "  "
            + "  ".join(
                cell.rjust(width) for cell, width in zip(row, widths, strict=True)
            )
            for row in [names, *rows]
        ]
        return "\n".join(lines)


def split_irrepresentable_condition(
    problem: Problem,
    D: Any,
    support: ArrayLike | None = None,
    nu: ArrayLike | None = None,
    *,
    coef: ArrayLike | None = None,
    signs: ArrayLike | None = None,
    nu_raw: ArrayLike | None = None,
    row_weight: ArrayLike | None = None,
) -> SplitIrrepresentability:
    r"""Check the irrepresentable condition of Split LBI for a known truth.

    With the Gram matrix H of the columns as they are used (mean loss), eliminating the
    dense coefficients leaves a least-squares problem in the split coefficients with
    Gram matrix :math:`\Sigma(\nu) / \nu`,

    .. math:: \Sigma(\nu) = I - D (\nu H + D^T D)^+ D^T ,

    and the condition for the rows S is
    :math:`\|\Sigma_{S^c,S} \Sigma_{S,S}^{-1}\|_\infty < 1` for all signs, or
    :math:`\|\Sigma_{S^c,S} \Sigma_{S,S}^{-1} s\|_\infty < 1` for the signs s of
    :math:`D_S\, coef`. As nu goes to 0 the left-hand side becomes that of the
    generalized lasso (IC_0). As nu goes to infinity it goes to 0 if D_S vanishes on the
    kernel of X, so that a larger nu weakens the condition; what it costs is signal.

    Parameters
    ----------
    problem : Problem
        Squared loss; only X, weights, intercept and standardization are read.
    D : Transform, array, sparse matrix, "identity", "differences" or None
        What `sparselbi.penalties.as_transform` takes.
    support : array-like of int or bool of shape (n_rows,), default=None
        The true rows, or those that are to be tried.
    nu : array-like, default=None
        Dimensionless values, 0 and inf allowed. None: 0, 13 values from 1e-3 to 1e3,
        and inf.
    coef : array-like of shape (n_features,), default=None
        True coefficients on the original scale of X, instead of `support`: the rows
        with ``D @ coef != 0``, and their signs.
    signs : array-like of shape (len(support),), default=None
        Their signs, or values (only signs are used).
    nu_raw : array-like, default=None
        Raw values instead of `nu`.
    row_weight : array-like of shape (n_rows,), default=None
        Thresholds f of the rows: s becomes :math:`f_S s`, values outside are divided by
        their f. Rows with 0 are free, those with inf never enter.

    Returns
    -------
    SplitIrrepresentability
        Evaluated at a *selected* support it proves nothing.

    Raises
    ------
    ValueError
        If not exactly one of `support` and `coef` is given, if the support is empty or
        not identified, or if D is too large for dense algebra.

    References
    ----------
    Huang, C., Sun, X., Xiong, J. and Yao, Y. (2016). Split LBI: an iterative
    regularization path with structural sparsity. Advances in Neural Information
    Processing Systems 29.

    Vaiter, S., Peyré, G., Dossal, C. and Fadili, J. (2013). Robust sparse analysis
    regularization. IEEE Transactions on Information Theory 59, 2001-2016. (IC_0)

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import Problem
    >>> from sparselbi.selection import split_irrepresentable_condition
    >>> rng = np.random.default_rng(0)
    >>> X, coef = rng.normal(size=(60, 8)), np.repeat([0.0, 1.0, 3.0], [3, 3, 2])
    >>> condition = split_irrepresentable_condition(
    ...     Problem(X, X @ coef, standardize=False), "differences", coef=coef
    ... )
    >>> bool((np.diff(condition.value) < 0).all())
    True
    """
    if problem.loss.name != "squared":
        raise ValueError(
            f"loss={problem.loss.name!r}: the condition is about loss='squared'."
        )
    problem.check_samples("the irrepresentable condition")
    split = SplitProblem(
        problem, as_transform(D, problem.n_features), row_weight=row_weight
    )
    S, s = _support_and_signs(split, support, coef, signs)
    forms = _Forms(split)
    grid = _nu_grid(forms.unit, nu, nu_raw)

    weight = split.row_weight
    free = np.setdiff1d(np.flatnonzero((weight == 0) & ~split.never), S)
    rest = np.setdiff1d(np.flatnonzero(~split.never & (weight > 0)), S)
    inside, k = np.append(S, free), len(S)
    forms.check_support(S, free)
    values = np.zeros((len(grid), len(rest)))
    signed = np.zeros_like(values)
    eigenvalue = np.zeros(len(grid))
    for i, one in enumerate(grid):
        ratio, inverse = forms.ratio(one, inside, rest)
        ratio = ratio[:, :k] * weight[S] / weight[rest, None]
        values[i] = np.abs(ratio).sum(axis=1)
        if s is not None:
            signed[i] = np.abs(ratio @ s)
        if np.isfinite(one):
            # With free rows: of the Schur complement, whose inverse is this block.
            eigenvalue[i] = 1.0 / linalg.eigvalsh(inverse[:k, :k])[-1]
    raw = grid * forms.unit
    kept = None if s is None else signed
    return SplitIrrepresentability(grid, raw, S, rest, values, eigenvalue, kept, s)


class _Forms:
    """Sigma(nu) for every nu, from one simultaneous diagonalization of H and D'D.

    X and D are divided by their norms, so that nu is dimensionless. With
    ``W diag(sqrt(d)) V'`` the singular value decomposition of D in coordinates in which
    H + D'D = I, and h = 1 - d, Sigma(nu) is ``F F'`` with
    ``F = W diag(sqrt(nu h / (nu h + d)))``, and 1 in place of the root beyond the rank.
    Ratios of blocks of Sigma are least-squares coefficients of rows of F: no digits are
    lost to the squares.
    """

    def __init__(self, split):
        problem, D = split.problem, split.D
        n, p, m = problem.n_samples, problem.n_features, D.n_rows
        if max(n * p, m * m, m * p, p * p) > _MAX_ENTRIES:
            raise ValueError(
                f"X has shape {(n, p)} and D {(m, p)}: the condition needs dense "
                "matrices of these shapes and of m x m; check a part of the problem."
            )
        X = problem.columns(np.arange(p))
        if n > p:
            X = np.linalg.qr(X, mode="r")
        size = np.linalg.norm(X, 2)
        split.set_nu(1.0, None, size**2)
        self.unit = split.nu_raw
        self._X = X / size if size > 0 else X
        self._D = D.to_dense() / D.norm
        left, singular, _ = linalg.svd(
            np.vstack([self._X, self._D]), full_matrices=False
        )
        left = left[:, singular > _DEPENDENT * singular[0]]
        upper, lower = left[: len(X)], left[len(X) :]
        self._vectors, root, right = linalg.svd(lower)
        root = root[root > _DEPENDENT]
        self._d = root**2
        part = np.linalg.norm(upper @ right[: len(root)].T, axis=0)
        self._h = np.where(part > _DEPENDENT, part, 0.0) ** 2

    def ratio(self, nu, inside, rest):
        """Sigma[rest, inside] Sigma[inside, inside]^-1; nu_raw times the inverse."""
        if nu == 0:
            return self._limit(inside, rest)
        weight = (self._h > 0).astype(float)
        if nu < np.inf:
            weight = self._h / (self._h + self._d / nu)
        root = np.ones(len(self._vectors))
        root[: len(weight)] = np.sqrt(weight)
        factor = (self._vectors * root).T
        q, r = np.linalg.qr(factor[:, inside])
        ratio = linalg.solve_triangular(r, q.T @ factor[:, rest]).T
        half = linalg.solve_triangular(r, np.eye(len(r)))
        return ratio, self.unit * (1.0 if nu == np.inf else nu) * (half @ half.T)

    def _limit(self, inside, rest):
        """The limit nu -> 0: coefficients free on the kernel of the rows outside."""
        left, size, right, kernel, outside = self._split_rows(inside)
        jumps = self._D[inside]
        _, length, vectors = linalg.svd(self._X @ kernel, full_matrices=False)
        some = length > _DEPENDENT * length.max(initial=0.0)
        vectors, length = vectors[some], length[some]
        # Responses of the coefficients to unit forces on the rows inside.
        response = kernel @ (vectors.T / length**2 @ (vectors @ (jumps @ kernel).T))
        forces = self._X.T @ (self._X @ response) - jumps.T
        ratio = np.zeros((len(self._D), len(inside)))
        ratio[outside] = left @ (right @ forces / size[:, None])
        return ratio[rest], self.unit * (jumps @ response)

    def _split_rows(self, inside):
        """Singular value decomposition of the rows outside, and their kernel."""
        outside = np.setdiff1d(np.arange(len(self._D)), inside)
        left, size, right = linalg.svd(self._D[outside])
        rank = int((size > _DEPENDENT * size.max(initial=0.0)).sum())
        return left[:, :rank], size[:rank], right[:rank], right[rank:].T, outside

    def check_support(self, S, free):
        """Raise if the rows S cannot be the active ones, or are not identified."""
        inside = np.append(S, free)
        kernel = self._split_rows(inside)[3]
        reach = np.linalg.norm(self._D[S] @ kernel, axis=1)
        if (reach <= _ZERO).any():
            raise ValueError(
                f"rows {S[reach <= _ZERO][:5].tolist()} of the support are zero for "
                "all coefficients for which the rows outside are zero: no D @ coef has "
                "this support."
            )
        root = np.ones(len(self._vectors))
        root[: len(self._d)] = np.sqrt(self._h / (self._h + self._d))
        size = linalg.svdvals((self._vectors * root)[inside])
        if size[-1] <= _DEPENDENT * size[0]:
            raise ValueError(
                "the rows of the support are not identified: coefficients that X "
                "ignores move some of them and no row outside; no path can be said to "
                "find them."
            )


def _nu_grid(unit, nu, nu_raw):
    """The dimensionless grid."""
    if nu is not None and nu_raw is not None:
        raise ValueError("give either nu or nu_raw, not both.")
    name = "nu" if nu_raw is None else "nu_raw"
    given = DEFAULT_NU if nu is None and nu_raw is None else nu
    grid = np.atleast_1d(np.asarray(given if nu_raw is None else nu_raw, dtype=float))
    if grid.ndim != 1 or not grid.size or not (grid >= 0).all():
        raise ValueError(
            f"{name}={grid.tolist()!r} must be numbers >= 0; 0 and inf are limits."
        )
    return grid if nu_raw is None else grid / unit


def _support_and_signs(split, support, coef, signs):
    """Rows, and their signs or None."""
    if (support is None) == (coef is None):
        raise ValueError(
            "give either support (rows of D) or coef (the true coefficients)."
        )
    if coef is not None:
        if signs is not None:
            raise ValueError("signs are those of D @ coef; give them with support.")
        coef = np.asarray(coef, dtype=np.float64)
        if coef.shape != (split.n_features,):
            raise ValueError(
                f"coef has shape {coef.shape}; it needs shape ({split.n_features},)."
            )
        rows = split.D.dot(coef * split.coef_scale)
        S = np.flatnonzero(np.abs(rows) > _ZERO * np.abs(rows).max(initial=0.0))
        if not S.size:
            raise ValueError("D @ coef is zero: there is no row to find.")
        s = np.sign(rows[S])
    else:
        S, s = check_rows("support", support, split.n_rows), None
        if signs is not None:
            s = np.sign(np.asarray(signs, dtype=np.float64))
            if s.shape != S.shape or (s == 0).any():
                raise ValueError(
                    f"signs has shape {np.shape(signs)}; it needs one nonzero number "
                    f"for each of the {len(S)} rows of the support, in its order."
                )
    never = S[split.never[S] | (split.row_weight[S] == 0)]
    if never.size:
        raise ValueError(
            f"rows {never[:5].tolist()} of the support are free (row_weight=0) or "
            "barred (inf): they do not enter a path."
        )
    return S, s


def check_rows(name: str, rows: ArrayLike, n_rows: int) -> NDArray[np.int64]:
    """Return indices of rows of D from indices or a mask."""
    given = np.asarray(rows)
    if given.dtype == bool:
        if given.shape != (n_rows,):
            raise ValueError(
                f"{name} has shape {given.shape}; a mask needs shape ({n_rows},)."
            )
        given = np.flatnonzero(given)
    S = given.astype(np.int64)
    if S.ndim != 1 or not S.size or len(np.unique(S)) < len(S):
        raise ValueError(
            f"{name}={rows!r} must be a nonempty list of distinct rows, or a mask."
        )
    if S.min() < 0 or S.max() >= n_rows:
        raise ValueError(
            f"{name}={rows!r} contains a row outside of 0 to {n_rows - 1}."
        )
    return S


# ------------------------------------------------------------------------ entry times


def row_auc(path: RegularizationPath, true_rows: ArrayLike) -> float:
    """Probability that a true row of D enters before a false one.

    The area under the ROC curve of the earliness of entry: 1 if all true rows come
    first, 1/2 for a random order. Equal times count one half; rows that never enter are
    last, all at once.

    Parameters
    ----------
    path : SplitPath
        Of other paths the features take the place of the rows.
    true_rows : array-like of int or bool of shape (n_rows,)

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If no row or every row is true.

    References
    ----------
    Huang, C., Sun, X., Xiong, J. and Yao, Y. (2016). Split LBI: an iterative
    regularization path with structural sparsity. Advances in Neural Information
    Processing Systems 29.
    """
    path = sparse_part(path)
    S = check_rows("true_rows", true_rows, path.n_features)
    if len(S) == path.n_features:
        raise ValueError(f"all {len(S)} rows are true: none is there to be told apart.")
    entry = path._direction * path.entry_knots()
    rank = rankdata(np.where(np.isnan(entry), np.inf, entry))
    false = np.delete(rank, S)
    n_false = len(false)
    above = false.sum() - n_false * (n_false + 1) / 2
    return float(above / (len(S) * n_false))


def nu_study(
    problem: Problem, D: Any, nu: Iterable[float], **options: Any
) -> list[SplitPath]:
    """Trace one path for each nu, with all other settings in common.

    Parameters
    ----------
    problem : Problem
    D : Transform, array, sparse matrix, "identity", "differences" or None
    nu : iterable of float
        Dimensionless values.
    **options
        Of `sparselbi.solvers.split_lbi_path`, or of `split_iss_path` with
        ``kappa=numpy.inf``.

    Returns
    -------
    list of SplitPath
        In the order of `nu`, with statistics: criteria can be applied to each.

    Notes
    -----
    The clock depends on nu (for large nu the first entry is proportional to it), and so
    each path has its own range of t. Compare at the same criterion, the same number of
    rows, or t / t0.
    """
    exact = options.get("kappa") == np.inf
    if exact:
        options = {name: value for name, value in options.items() if name != "kappa"}
    trace = split_iss_path if exact else split_lbi_path
    return [
        split_statistics(trace(problem, D, nu=one, **options), problem) for one in nu
    ]
