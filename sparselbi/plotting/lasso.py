"""Paths of other packages, to be drawn and compared with those of this one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..losses import get_loss
from ..path import RegularizationPath
from ..penalties import get_penalty


def path_from_alphas(
    alphas: ArrayLike,
    coefs: ArrayLike,
    *,
    intercepts: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    method: str = "lasso",
) -> RegularizationPath:
    """Make a path of what `sklearn.linear_model.lasso_path` returns.

    Its knots are the penalties, ``knot_name`` is "alpha", and figures and
    `RegularizationPath.compare` read it at t = 1 / alpha. There an LBI path of the same
    columns starts at the same place: trace that with ``standardize=False``, or give
    `lasso_path` standardized columns and divide its coefficients by the scale.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalty strengths, in either direction.
    coefs : array-like of shape (n_features, n_alphas)
        Or (n_outputs, n_features, n_alphas). The last axis belongs to `alphas`, as in
        scikit-learn.
    intercepts : array-like of shape (n_alphas,), default=None
        Or (n_outputs, n_alphas). None: zeros, as for centred data.
    feature_names : sequence of str, default=None
    method : str, default="lasso"
        The name of the path in figures.

    Returns
    -------
    RegularizationPath
        Linear between the alphas; of squared loss with an l1 penalty, and without what
        the arrays do not tell: events, number of samples (NaN), deviances.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or an alpha is negative or there twice.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import lasso_path
    >>> from sparselbi.plotting import path_from_alphas
    >>> X, y = load_diabetes(return_X_y=True)
    >>> alphas, coefs, _ = lasso_path(X, y - y.mean())
    >>> path_from_alphas(alphas, coefs).entry_order(3)
    array([2, 8, 3])
    """
    alphas = np.asarray(alphas, dtype=np.float64)
    coefs = np.asarray(coefs, dtype=np.float64)
    if coefs.ndim not in (2, 3) or alphas.shape != coefs.shape[-1:]:
        raise ValueError(
            f"coefs has shape {coefs.shape} and alphas {alphas.shape}; needed are "
            "(n_features, n_alphas) and (n_alphas,), as lasso_path returns them."
        )
    order = np.argsort(-alphas, kind="stable")
    rows = np.moveaxis(coefs, -1, 0)[order]
    if intercepts is None:
        constant = np.zeros(rows.shape[:-1])
    else:
        constant = np.moveaxis(np.asarray(intercepts, dtype=np.float64), -1, 0)[order]
    active = np.flatnonzero((rows != 0).any(axis=tuple(range(rows.ndim - 1))))
    return RegularizationPath(
        knots=alphas[order],
        knot_name="alpha",
        active_features=active,
        active_coefs=rows[..., active],
        intercepts=constant,
        n_features=rows.shape[-1],
        events=np.empty(0),
        interpolation="linear",
        method=method,
        loss=get_loss("squared"),
        penalty=get_penalty("l1"),
        n_samples=np.nan,
        feature_names=None if feature_names is None else tuple(feature_names),
    )
