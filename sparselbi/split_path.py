"""The path of a structured problem: dense coefficients, and sparse ones behind them."""

from __future__ import annotations

import dataclasses
import html
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from . import _path_views
from .path import PathPoint, RegularizationPath, read_only
from .penalties.kernel_spaces import Decomposition, decompose, project
from .penalties.transforms import Transform

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SplitPath", "SplitPoint"]

WHICH = ("dense", "sparse")


@dataclass(frozen=True, eq=False)
class SplitPoint(PathPoint):
    """One point of a path of Split LBI.

    Attributes
    ----------
    split_coef : ndarray of shape (n_rows,) or (n_outputs, n_rows)
        The sparse coefficients, one for each row of D.
    """

    split_coef: NDArray[np.float64]

    def __repr__(self) -> str:
        n_active = np.count_nonzero(np.atleast_2d(self.split_coef).any(axis=0))
        return (
            f"SplitPoint(knot={self.knot:.6g}, intercept={self.intercept}, "
            f"n_active_rows={n_active} of {self.split_coef.shape[-1]})"
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SplitPath(RegularizationPath):
    """A path of Split LBI.

    All that `RegularizationPath` has concerns the dense coefficients. They minimize (or
    follow) the loss plus the coupling to the split coefficients,
    ``||D coef - split_coef||^2 / (2 nu_raw)``, which are sparse and lie on `split`.

    Attributes
    ----------
    D : Transform of shape (n_rows, n_features)
        Acts on ``coef * coef_scale``.
    split : RegularizationPath
        The split coefficients: a path over the rows of D with the same knots. Its
        events, supports, entry order and plots are about rows.
    nu, nu_raw : float
        Coupling: relative to ``n ||D||^2 / ||X||^2``, and as iterated.
    coef_scale : ndarray of shape (n_features,)
        Ones, or the scales of standardized columns.
    """

    D: Transform
    split: RegularizationPath
    nu: float
    nu_raw: float
    coef_scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "coef_scale", read_only(self.coef_scale, np.float64))
        if self.D.shape != (self.split.n_features, self.n_features):
            raise ValueError(
                f"D has shape {self.D.shape}, but the path has {self.n_features} "
                f"features and {self.split.n_features} rows."
            )
        if not np.array_equal(self.split.knots, self.knots):
            raise ValueError("split must have the same knots as the path.")

    # -------------------------------------------------------------- sparse coefficients

    @property
    def split_coefs(self) -> Any:
        """Split coefficients at the knots, sparse, of shape (n_knots, n_rows).

        A tuple of one such array for each output if there are several.
        """
        outputs = self.split.active_coefs
        outputs = outputs[:, None] if outputs.ndim == 2 else outputs
        shape = (len(self), self.D.n_rows)
        parts = []
        for k in range(outputs.shape[1]):
            knot, place = np.nonzero(outputs[:, k])
            where = (knot, self.split.active_features[place])
            values = outputs[knot, k, place]
            parts.append(sparse.csr_array((values, where), shape=shape))
        return parts[0] if len(parts) == 1 else tuple(parts)

    def active_rows(self, knot: float) -> NDArray[np.bool_]:
        """Rows of D that are active at a value of t, of shape (n_rows,).

        Those with a nonzero split coefficient, and free ones (threshold 0) always.
        """
        mask = self._free.copy()
        mask[self.split.support(knot)] = True
        return mask

    @cached_property
    def _free(self) -> NDArray[np.bool_]:
        """Rows with threshold 0, which are not coupled."""
        weight = self.split.settings.get("penalty_factor")
        if weight is None:
            return np.zeros(self.D.n_rows, dtype=bool)
        return np.asarray(weight) == 0

    def _active_masks(self, splits: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Active rows (n_points, n_rows) of active split coefficients."""
        masks = np.tile(self._free, (len(splits), 1))
        masks[:, self.split.active_features] |= self.split._nonzero(splits)
        return masks

    def at(self, knot: float) -> SplitPoint:
        """The path at any value of t; see `RegularizationPath.at`.

        Returns
        -------
        SplitPoint
            Dense coefficients, and ``split_coef``.
        """
        point = super().at(knot)
        split = self.split.at(knot).coef
        return SplitPoint(point.knot, point.coef, point.intercept, point.support, split)

    def pieces(self, knot: float) -> NDArray[np.int64]:
        """Label of the piece that each feature belongs to at a value of t.

        Pieces are the connected components of the graph of inactive rows: on each the
        projected estimate is constant.

        Returns
        -------
        ndarray of int of shape (n_features,)
            Numbered in order of appearance; -1 where the coefficient is tied to zero.

        Raises
        ------
        ValueError
            If the rows of D are not differences of two coefficients.
        """
        if not self.D.is_graph:
            raise ValueError(
                f"pieces exist for graphs, but D is of kind {self.D.kind!r}: its rows "
                "are not differences of two coefficients. Use projected(knot)."
            )
        return self.D.components(~self.active_rows(knot))[1]

    # ------------------------------------------------------------------ sparse estimate

    def projected(self, knot: float) -> PathPoint:
        """The sparse estimate: the closest coefficients that have the structure.

        The projection of ``coef * coef_scale`` on the kernel of the inactive rows of D:
        averages over the pieces of a graph, zeros outside the support for D = identity.

        Parameters
        ----------
        knot : float
            A value of t, as in `at`.

        Returns
        -------
        PathPoint
            `coef` has ``D @ (coef * coef_scale) == 0`` in all inactive rows.
        """
        coefs, intercepts = self._projected_at([knot])
        support = np.flatnonzero(np.atleast_2d(coefs[0]).any(axis=0))
        return PathPoint(float(knot), coefs[0], intercepts[0], support)

    @cached_property
    def projected_coefs(self) -> NDArray[np.float64]:
        """The sparse estimate at all knots, ``(n_knots, *coef_shape)``."""
        return self._projected[0]

    @cached_property
    def _projected(self) -> tuple[NDArray[Any], NDArray[Any]]:
        coefs, intercepts = self._projected_at(self.knots)
        return read_only(coefs), read_only(intercepts)

    def _projected_at(self, knots: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        dense, intercepts = self._active_at(knots)
        splits, _ = self.split._active_at(knots)
        used = dense * self.coef_scale
        coefs = np.empty_like(used)
        for k in range(len(used)):
            active = self._active_masks(splits[k : k + 1])[0]
            coefs[k] = project(self.D, active, used[k])
        coefs /= self.coef_scale
        # The weighted mean of the predictions stays what it is.
        means = 0.0 if self.active_means is None else self.active_means
        return coefs, intercepts + ((dense - coefs) * means).sum(axis=-1)

    def decompose(self, knot: float, **options: Any) -> Decomposition:
        """Strong, weak and null parts of the dense coefficients (MSplit LBI).

        Parameters
        ----------
        knot : float
            A value of t, as in `at`.
        **options
            See `sparselbi.solvers.decompose`.

        Returns
        -------
        Decomposition
            ``strong`` is the projected estimate; ``strong + weak + null`` the dense
            one. On the scale of ``coef * coef_scale``.
        """
        used = self.at(knot).coef * self.coef_scale
        return decompose(self.D, self.active_rows(knot), used, **options)

    # ------------------------------------------------------------------------ with data

    def linear_predictor(
        self, X: Any, knot: ArrayLike | None = None, which: str = "dense"
    ) -> NDArray[np.float64]:
        """``X @ coef + intercept`` along the path; see `RegularizationPath`.

        Parameters
        ----------
        X, knot
            As in `RegularizationPath.linear_predictor`.
        which : {"dense", "sparse"}, default="dense"
            The dense coefficients, or the projected ones.
        """
        if which not in WHICH:
            raise ValueError(
                f"which={which!r} is unknown; use one of {WHICH}, or "
                "path.refit(X, y).predict(X) for the refit."
            )
        if which == "dense":
            return super().linear_predictor(X, knot)
        if knot is None:
            return self._eta(X, *self._projected)
        eta = self._eta(X, *self._projected_at(np.atleast_1d(knot)))
        return eta[0] if np.ndim(knot) == 0 else eta

    def predict(
        self, X: Any, knot: ArrayLike | None = None, which: str = "dense"
    ) -> NDArray[Any]:
        """Predict along the path; see `RegularizationPath.predict`.

        Parameters
        ----------
        X, knot
            As in `RegularizationPath.predict`.
        which : {"dense", "sparse"}, default="dense"
            From the dense coefficients, or from the projected ones. For the
            unpenalized fit with the same structure use ``refit(X, y).predict(X)``.
        """
        return self._respond(self.linear_predictor(X, knot, which))

    def refit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> RegularizationPath:
        """Fit without penalty, among the coefficients with the structure of each knot.

        The loss is minimized over ``D_rest @ (coef * coef_scale) == 0``, with the rows
        that are inactive at the knot.

        Parameters
        ----------
        X, y, sample_weight
            Data as given to the solver.

        Returns
        -------
        RegularizationPath
            Method ``"<method>+refit"``, with the same knots, constant in between.
        """
        from .solvers._split_question import restore_split
        from .solvers.split_models import SupportFits

        split = restore_split(self, self._problem(X, y, sample_weight))
        masks = self._active_masks(self.split.active_coefs)[:, ~self._free]
        coefs, intercepts, deviance, df = SupportFits(split).refits(masks)
        coefs, intercepts = split.to_original(coefs, intercepts)
        if len(self.coef_shape) == 1:
            coefs, intercepts = coefs[:, 0], intercepts[:, 0]
        return self._plain(
            coefs,
            intercepts,
            method=f"{self.method}+refit",
            deviance=deviance,
            refit_deviance=None,
            size=df,
        )

    def partial_ridge(
        self,
        knot: float,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> PathPoint:
        """Fit again with the active rows free: no shrinkage of the strong part.

        Minimizes ``L(coef) + ||D_rest (coef * coef_scale)||^2 / (2 nu_raw)`` over the
        coefficients and the intercept, with the rows that are inactive at `knot`.

        Parameters
        ----------
        knot : float
            A value of t, as in `at`.
        X, y, sample_weight
            Data as given to the solver.
        """
        from .solvers._split_question import restore_split
        from .solvers.split_models import SupportFits

        split = restore_split(self, self._problem(X, y, sample_weight))
        active = self.active_rows(knot)[~self._free]
        coef, intercept = SupportFits(split).partial_ridge(active)
        coef, intercept = split.to_original(coef, intercept)
        return self._point(knot, coef, intercept)

    def _point(self, knot: float, coef: Any, intercept: Any) -> PathPoint:
        if len(self.coef_shape) == 1:
            coef, intercept = coef[0], float(intercept[0])
        support = np.flatnonzero(np.atleast_2d(coef).any(axis=0))
        return PathPoint(float(knot), coef, intercept, support)

    def verify(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> pd.DataFrame:
        """Check every knot from the data alone.

        Parameters
        ----------
        X, y, sample_weight
            Data as given to the solver.

        Returns
        -------
        pandas.DataFrame
            One row per knot, see `sparselbi.solvers.verify_split_path`.
        """
        from .solvers.split_verify import verify_split_path

        return verify_split_path(self, self._problem(X, y, sample_weight))

    def _plain(self, coefs: Any, intercepts: Any, **changes: Any) -> RegularizationPath:
        """These coefficients as a path without split ones, constant between knots."""
        names = [part.name for part in dataclasses.fields(RegularizationPath)]
        fields = {name: getattr(self, name) for name in names}
        fields |= {"active_coefs": coefs, "intercepts": intercepts}
        fields |= {"interpolation": "constant"}
        return RegularizationPath(**(fields | changes))

    def __repr__(self) -> str:
        return (
            f"SplitPath(method={self.method!r}, loss={self.loss.name!r}, "
            f"D={self.D.kind!r} of shape {self.D.shape}, {len(self)} knots with "
            f"{self._range()}, {len(self.split.active_features)} of {self.D.n_rows} "
            f"rows active, status={self.status!r})"
        )

    def summary(self, max_rows: int = 20, mark: Any = None) -> str:
        """A table of the knots at which the set of active rows changes.

        See `RegularizationPath.summary`; ``size`` counts active rows of D.
        """
        table = self.split
        if self.deviance is not None:
            table = dataclasses.replace(table, deviance=self.deviance)
        return _path_views.summary(table, max_rows, mark, unit="rows of D")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary(8))}</pre>"
