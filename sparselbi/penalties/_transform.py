"""The linear map D of a structured penalty: `Transform`.

It hides how D is stored (sparse, dense, or only as a pair of products) and answers
what solvers and displays ask: products in both directions, the spectral norm, connected
components, whether the rows are independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph, csr_array
from scipy.sparse.linalg import LinearOperator

from ._transform_checks import check_rows
from ._transform_norm import line_norm, spectral_norm
from ._transform_products import RowsOf, eye, multiply
from ._wavelets import WaveletOperator

# Largest number of rows, and of entries, for which an SVD decides on the rank.
RANK_ROWS, RANK_ENTRIES = 2000, 20_000_000


@dataclass(frozen=True, eq=False, repr=False)
class Transform:
    """A linear map from coefficients to the rows that a penalty acts on.

    Make it with a function of this module or with `as_transform`: they check what they
    are given, the class itself does not. Never changed after it is made.

    Parameters
    ----------
    matrix : csr_array, ndarray or LinearOperator of shape (n_rows, n_features)
    kind : str
        "identity", "differences", "grid", "graph", "wavelet", "comparisons", "stack",
        "matrix" or "operator".
    groups : int ndarray of shape (n_rows,), optional
        Rows with the same label are zero or nonzero together.
    row_names : tuple of str, optional
    grid : dict, optional
        How features are laid out, for displays: ``shape`` of the grid and ``mask``, the
        kept pixels as a bool ndarray, or None if all are kept. Features are kept pixels
        in C order. It says nothing about the rows, except for kind "grid".
    order : int, optional
        For kind "differences".
    """

    matrix: Any
    kind: str = "matrix"
    groups: np.ndarray | None = None
    row_names: tuple[str, ...] | None = None
    grid: dict[str, Any] | None = None
    order: int | None = None

    def __deepcopy__(self, memo: Any) -> Transform:
        return self  # estimators are cloned for every fold; D is never changed

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_rows, n_features)``."""
        m, p = self.matrix.shape
        return int(m), int(p)

    @property
    def n_rows(self) -> int:
        """Number of rows of D."""
        return self.shape[0]

    @property
    def n_features(self) -> int:
        """Number of columns of D: of coefficients."""
        return self.shape[1]

    @property
    def is_operator(self) -> bool:
        """Whether D is known only through its products."""
        return isinstance(self.matrix, LinearOperator)

    @property
    def is_orthonormal(self) -> bool:
        """Whether D is known to have ``D.T @ D = D @ D.T = identity``."""
        return self.kind in ("identity", "wavelet")

    def dot(self, v: Any) -> np.ndarray:
        """``D @ v`` of vectors v of shape (..., n_features); shape (..., n_rows)."""
        return multiply(self.matrix, v)

    def rdot(self, u: Any) -> np.ndarray:
        """``D.T @ u`` of vectors u of shape (..., n_rows); shape (..., n_features)."""
        return multiply(self._transpose, u)

    @cached_property
    def _transpose(self) -> Any:
        return self.matrix.T

    def to_dense(self) -> np.ndarray:
        """D as a new dense array."""
        if self.is_operator:
            return np.array(self.matrix @ np.eye(self.n_features), dtype=np.float64)
        if sparse.issparse(self.matrix):
            return np.asarray(self.matrix.toarray())
        return np.array(self.matrix)

    def gram(self) -> Any:
        """``D.T @ D``, sparse (csc_array) or dense as D is.

        Raises
        ------
        ValueError
            If D is an operator, unless it is orthonormal.
        """
        if self.is_orthonormal:
            return sparse.csc_array(eye(self.n_features))
        if self.is_operator:
            raise ValueError(
                "D is a LinearOperator: D.T @ D cannot be formed. Pass D as a sparse "
                "matrix, or use a method that only multiplies with D."
            )
        product = self._transpose @ self.matrix
        return sparse.csc_array(product) if sparse.issparse(product) else product

    @cached_property
    def norm(self) -> float:
        """Spectral norm of D, or a tight upper bound of it.

        Exact for lines, full grids, orthonormal maps, these stacked on an identity, and
        whatever has at most 1000 rows or columns. Otherwise the bound of Collatz and
        Wielandt for ``abs(D)``: in the limit of its iteration it is attained by lines,
        grids and other bipartite graphs, and it does not depend on the order of rows
        and columns. For large dense arrays a Lanczos value, for operators a Lanczos
        value times 1.02.

        References
        ----------
        .. [1] R. A. Horn and C. R. Johnson (2013). Matrix Analysis, 2nd edition,
           section 8.1.
        """
        if self.n_rows == 0:
            return 0.0
        if self.is_orthonormal:
            return 1.0
        if self.kind == "differences" and self.order == 1:
            return line_norm(self.n_features)
        if self.kind == "grid" and self.grid is not None and self.grid["mask"] is None:
            return math.hypot(*map(line_norm, self.grid["shape"]))
        return spectral_norm(self.matrix)

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The two features of each row if D is a graph; the ground is feature p."""
        if self.is_operator:
            return None
        D = csr_array(self.matrix)
        count = np.diff(D.indptr)
        if ((count < 1) | (count > 2)).any():
            return None
        first, last = D.indptr[:-1], D.indptr[1:] - 1
        tied = count == 1
        if (D.data[first] != -D.data[last])[~tied].any():
            return None
        i, j = D.indices[first], D.indices[last]
        j[tied] = self.n_features
        return i, j

    @property
    def is_graph(self) -> bool:
        """Whether each row is ``a * (e_i - e_j)``, or ``a * e_i`` (tied to ground)."""
        return self._edges is not None

    def components(self, rows: Any = None) -> tuple[int, np.ndarray]:
        """Connected components of the features, joined by the rows of D.

        Where the rows of ``D @ coef`` that join are zero, coefficients are equal within
        a component, and zero if it is tied to the ground.

        Parameters
        ----------
        rows : bool array-like of shape (n_rows,), optional
            The rows that join. Default: all.

        Returns
        -------
        n_components : int
            Not counting the component of the ground.
        labels : int ndarray of shape (n_features,)
            0, 1, ... in order of the first feature; -1 for features tied to the ground.

        Raises
        ------
        ValueError
            If D is not a graph.
        """
        if self._edges is None:
            raise ValueError(
                "components are defined if every row of D is a multiple of the "
                "difference of two coefficients, or of a single one; this D, of kind "
                f"{self.kind!r}, has other rows."
            )
        (i, j), p = self._edges, self.n_features
        if rows is not None:
            keep = check_rows(rows, self.n_rows)
            i, j = i[keep], j[keep]
        graph = csr_array((np.ones(len(i)), (i, j)), shape=(p + 1, p + 1))
        _, found = csgraph.connected_components(graph, directed=False)
        ground, found = found[p], found[:p]
        _, first, code = np.unique(found, return_index=True, return_inverse=True)
        first[found[first] == ground] = p  # behind all others
        rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
        labels = np.where(found == ground, -1, rank[code])
        return int(labels.max(initial=-1)) + 1, labels

    @cached_property
    def full_row_rank(self) -> bool | None:
        """Whether the rows are linearly independent; None if that is not known."""
        m, p = self.shape
        if m > p:
            return False
        if self.is_orthonormal or self.kind == "differences":
            return True
        if self.is_graph:  # so it has no cycle, also not through the ground
            return m == p - self.components()[0]
        if self.is_operator or m > RANK_ROWS or m * p > RANK_ENTRIES:
            return None
        return bool(np.linalg.matrix_rank(self.to_dense()) == m)

    def row_subset(self, mask: Any) -> Transform:
        """D with only the rows in the bool array `mask` of shape (n_rows,)."""
        keep = np.flatnonzero(check_rows(mask, self.n_rows))
        kind = "operator" if self.is_operator else "matrix"
        names = self.row_names
        return Transform(
            RowsOf(self.matrix, keep) if self.is_operator else self.matrix[keep],
            "graph" if self.is_graph else kind,
            groups=None if self.groups is None else self.groups[keep],
            row_names=None if names is None else tuple(names[k] for k in keep),
            grid=self.grid,
        )

    def __repr__(self) -> str:
        what = self.kind
        if self.grid is not None and self.kind in ("grid", "wavelet"):
            what += " " + " x ".join(map(str, self.grid["shape"]))
            what += "" if self.grid["mask"] is None else " with mask"
        if self.order is not None:
            what += f" of order {self.order}"
        parts = [what, f"{self.n_rows} rows", f"{self.n_features} features"]
        if self.groups is not None:
            parts.append(f"{len(np.unique(self.groups))} groups")
        if self.is_graph and self.kind != "identity":
            count, labels = self.components()
            tied = int((labels < 0).sum())
            parts.append(f"{count} component{'' if count == 1 else 's'}")
            parts += [f"{tied} features tied to the ground"] if tied else []
        return f"Transform({', '.join(parts)})"

    def to_fields(self) -> dict[str, Any]:
        """Numbers, strings and arrays from which `from_fields` makes D again.

        Raises
        ------
        ValueError
            If D is an operator, unless made by `wavelet`.
        """
        fields: dict[str, Any] = {"kind": self.kind, "norm": self.norm}
        if isinstance(self.matrix, WaveletOperator):
            for name in ("image_shape", "wavelet", "level"):
                fields[name] = getattr(self.matrix, name)
            fields["image_shape"] = np.array(self.matrix.image_shape)
        elif self.is_operator:
            raise ValueError(
                "D is a LinearOperator, whose code cannot be stored. Pass D as a "
                "sparse matrix to be able to save."
            )
        elif sparse.issparse(self.matrix):
            fields["shape"] = np.array(self.shape)
            for name in ("data", "indices", "indptr"):
                fields[name] = getattr(self.matrix, name)
        else:
            fields["matrix"] = self.matrix
        if self.groups is not None:
            fields["groups"] = self.groups
        if self.row_names is not None:
            fields["row_names"] = np.array(self.row_names, dtype=np.str_)
        if self.grid is not None:
            fields["grid_shape"] = np.array(self.grid["shape"])
            if self.grid["mask"] is not None:
                fields["grid_mask"] = self.grid["mask"]
        if self.order is not None:
            fields["order"] = self.order
        return fields

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Transform:
        """Make D of what `to_fields` returned; numbers may be arrays of 0-d."""
        matrix: Any
        if "wavelet" in fields:
            shape = tuple(np.asarray(fields["image_shape"]).tolist())
            name, level = str(fields["wavelet"]), int(fields["level"])
            matrix = WaveletOperator(shape, name, level)
        elif "matrix" in fields:
            matrix = np.asarray(fields["matrix"], dtype=np.float64)
        else:
            parts = tuple(fields[name] for name in ("data", "indices", "indptr"))
            shape = tuple(np.asarray(fields["shape"]).tolist())
            matrix = csr_array(parts, shape=shape)
        names, grid = fields.get("row_names"), None
        if "grid_shape" in fields:
            shape = tuple(np.asarray(fields["grid_shape"]).tolist())
            grid = {"shape": shape, "mask": fields.get("grid_mask")}
        transform = cls(
            matrix,
            kind=str(fields["kind"]),
            groups=fields.get("groups"),
            row_names=None if names is None else tuple(map(str, names)),
            grid=grid,
            order=int(fields["order"]) if "order" in fields else None,
        )
        transform.__dict__["norm"] = float(fields["norm"])
        return transform
