"""Regressions with shifted rows, and how well methods find them."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils import Bunch, check_random_state

from .._path_checks import check_choice
from .simulated import _check_count, _Layout

if TYPE_CHECKING:
    import pandas as pd

# Standard deviation of a cluster.
_CLUSTER = 0.5
# Uniform features lie in (-15, 15) before they are mixed.
_HALF_WIDTH = 15.0
DESIGNS = ("uniform", "normal")


def make_outliers(
    n_samples: int = 1000,
    n_features: int = 15,
    n_outliers: int = 200,
    *,
    shift: float | ArrayLike = 8.0,
    leverage: float | None = None,
    clustered: bool = False,
    design: str = "uniform",
    correlation: float = 0.5,
    noise: float = 1.0,
    coef: ArrayLike | None = None,
    random_state: Any = None,
) -> Bunch:
    """Draw a regression whose first rows are shifted, y = X coef + shifts + noise.

    With ``leverage=20``, the default arguments are a setting in the style of [1]_. A
    tight cluster of bad leverage points is harder: ``clustered=True, design="normal",
    correlation=0``.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of X.
    n_outliers : int
        How many rows are shifted; at most half of them.
    shift : float or array-like of shape (n_outliers,)
        What is added to y, in the units of y. Shifts of one sign are the harder case:
        an intercept can follow them.
    leverage : float, default=None
        Rows of X that are shifted are all moved to ``leverage * (1, ..., 1)``. None
        leaves them where they are.
    clustered : bool, default=False
        Move them to a normal cluster instead, of standard deviation 0.5, about the
        point at the distance `leverage` (None: 0) from the centre in the direction of
        ``(1, ..., 1)``. Rows that coincide are kinder to methods that fit random
        subsets: two of them in a subset, and it has no solution.
    design : {"uniform", "normal"}, default="uniform"
        Rows of X are ``R u``, R the symmetric root of the correlation matrix, with
        independent entries of u: uniform on (-15, 15), or standard normal.
    correlation : float in [0, 1)
        Of any two features.
    noise : float
        Standard deviation of the noise, in the units of y.
    coef : array-like of shape (n_features,), default=None
        The truth; None stands for ones. There is no intercept.
    random_state : int, RandomState instance or None
        Draws X, then the noise, then the cluster: changing another argument than the
        shape leaves the clean rows as they are (up to the size of the noise).

    Returns
    -------
    Bunch
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        coef : ndarray of shape (n_features,), the truth
        outliers : bool ndarray of shape (n_samples,), True in the first `n_outliers`
        shifts : ndarray of shape (n_samples,), 0 elsewhere
        noise_std : float

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.

    See Also
    --------
    detection_rates : Compare flagged rows with the truth.
    breakdown_study : Do so for several methods, along one argument.

    Notes
    -----
    A fit can be tilted through outliers that share a place. If d is their Mahalanobis
    distance from the clean rows, the cheapest change of the coefficients that explains
    all shifts costs the clean rows an error of variance ``(shift / d)^2``. Unless that
    is several times the variance of the noise, a tilted fit has the smaller scale if
    there are many outliers, and no method that looks for a small scale finds them. For
    clusters in a normal design without correlation d is `leverage`.

    References
    ----------
    .. [1] Y. She, A. B. Owen (2011). Outlier detection using nonconvex penalized
       regression. Journal of the American Statistical Association 106, 626-639.

    Examples
    --------
    >>> from sparselbi.datasets import make_outliers
    >>> data = make_outliers(100, 3, 10, leverage=20, random_state=0)
    >>> data.X[9], data.X[10].round(2)
    (array([20., 20., 20.]), array([-5.03,  5.78, -0.97]))
    >>> int(data.outliers.sum())
    10
    """
    check_choice("design", design, DESIGNS)
    layout = _Layout(n_samples, n_features, "equicorrelated", correlation, 1)
    n = layout.n_samples
    _check_count("n_outliers", n_outliers, 0)
    if n_outliers > n // 2:
        raise ValueError(
            f"n_outliers must be at most {n // 2}, half of n_samples={n}, got "
            f"{n_outliers}: a majority of shifted rows is the model."
        )
    shifts = np.zeros(n)
    shifts[:n_outliers] = _checked_shift(shift, int(n_outliers))
    _check_number("noise", noise, low=0.0)
    if leverage is not None:
        _check_number("leverage", leverage)
    if coef is None:
        coef = np.ones(layout.n_features)
    rng = check_random_state(random_state)
    truth = layout.draw_coef(rng, 1, 0, 1.0, coef)[0]
    X = _draw_rows(rng, layout, design)
    error = noise * rng.standard_normal(n)
    if leverage is not None:
        X[:n_outliers] = leverage
    if clustered:
        place = (leverage or 0.0) / math.sqrt(layout.n_features)
        X[:n_outliers] = rng.normal(place, _CLUSTER, (n_outliers, layout.n_features))
    return Bunch(
        X=X,
        y=X @ truth + shifts + error,
        coef=truth,
        outliers=np.arange(n) < n_outliers,
        shifts=shifts,
        noise_std=float(noise),
    )


def detection_rates(flagged: ArrayLike, outliers: ArrayLike) -> tuple[float, float]:
    """Return which share of outliers is missed, and of clean rows flagged.

    Parameters
    ----------
    flagged : array-like of shape (n_samples,), bool
        What a method says, such as ``model.outliers_``.
    outliers : array-like of shape (n_samples,), bool
        The truth.

    Returns
    -------
    masking, swamping : float
        Share of `outliers` that are not flagged, and of the others that are. NaN for a
        share of no rows.

    Raises
    ------
    ValueError
        If the masks are not boolean and of one length.

    Examples
    --------
    >>> from sparselbi.datasets import detection_rates
    >>> detection_rates([True, False, True, False], [True, True, False, False])
    (0.5, 0.5)
    """
    masks = {"flagged": np.asarray(flagged), "outliers": np.asarray(outliers)}
    for name, mask in masks.items():
        if mask.dtype != bool or mask.ndim != 1:
            raise ValueError(
                f"{name} must be a bool array of shape (n_samples,), got dtype "
                f"{mask.dtype} and shape {mask.shape}. From row numbers make one with "
                "numpy.isin(numpy.arange(n_samples), rows); from fit_predict, with "
                "labels == -1."
            )
    said, true = masks.values()
    if said.shape != true.shape:
        raise ValueError(
            f"flagged and outliers must have one length, got {len(said)} and "
            f"{len(true)}."
        )
    return _share(~said[true]), _share(said[~true])


def breakdown_study(
    estimators: Mapping[str, Any],
    *,
    vary: str = "share",
    values: Sequence[float],
    n_seeds: int = 20,
    max_swamping: float = 0.02,
    **options: Any,
) -> pd.DataFrame:
    """Find the outliers of `make_outliers` with several methods, along one argument.

    Parameters
    ----------
    estimators : dict of str to estimator
        With ``fit(X, y)`` and, after it, the bool mask ``outliers_``. Every fit has its
        own copy.
    vary : str, default="share"
        What the `values` are: an argument of `make_outliers` that is a number, or
        "share" (of outliers among the rows), or "ratio" (shift / leverage, for which
        ``leverage`` must be given).
    values : sequence of float
    n_seeds : int, default=20
        Data are drawn with ``random_state`` 0, ..., n_seeds - 1 for every value.
    max_swamping : float, default=0.02
        The outliers are *recovered* if masking is 0 and swamping not above this.
    **options
        Other arguments of `make_outliers`.

    Returns
    -------
    DataFrame
        One line for each method, value and seed: ``method``, ``value``, ``seed``,
        ``masking`` and ``swamping`` (see `detection_rates`), ``recovered`` (bool) and
        ``seconds`` (of `fit`). ``attrs["vary"]`` is `vary`.

    Raises
    ------
    ValueError
        If `vary` is unknown or given twice, there is no estimator or value, or an
        argument of `make_outliers` is out of its range. What `fit` raises is raised,
        with a note that says for which data.

    See Also
    --------
    sparselbi.plotting.BreakdownDisplay : Draws the result.

    Examples
    --------
    >>> from sparselbi import OutlierRegression
    >>> from sparselbi.datasets import breakdown_study
    >>> study = breakdown_study(
    ...     {name: OutlierRegression(name) for name in ("hard", "l1")},
    ...     vary="share",
    ...     values=[0.1, 0.3],
    ...     n_seeds=3,
    ...     n_samples=100,
    ...     n_features=3,
    ...     leverage=10,
    ...     shift=100,
    ... )
    >>> study.groupby(["method", "value"]).recovered.mean().to_dict()
    {('hard', 0.1): 1.0, ('hard', 0.3): 1.0, ('l1', 0.1): 1.0, ('l1', 0.3): 0.0}
    """
    import pandas as pd

    places = _checked_study(estimators, vary, values, options)
    _check_count("n_seeds", n_seeds, 1)
    _check_number("max_swamping", max_swamping, low=0.0)
    lines = []
    for value in places:
        arguments = options | _argument(vary, value, options)
        for seed in range(n_seeds):
            data = make_outliers(**arguments, random_state=seed)
            for name, estimator in estimators.items():
                model = clone(estimator, safe=False)
                start = time.perf_counter()
                try:
                    model.fit(data.X, data.y)
                except Exception as error:
                    error.add_note(f"{name!r} with {vary}={value}, random_state={seed}")
                    raise
                seconds = time.perf_counter() - start
                rates = detection_rates(model.outliers_, data.outliers)
                masking, swamping = rates
                recovered = not masking > 0 and not swamping > max_swamping
                lines.append((name, value, seed, *rates, recovered, seconds))
    columns = ["method", "value", "seed", "masking", "swamping", "recovered", "seconds"]
    study = pd.DataFrame(lines, columns=columns)
    study.attrs["vary"] = vary
    return study


def _checked_study(
    estimators: Any, vary: str, values: Any, options: dict[str, Any]
) -> list[Any]:
    """The values, if there is something to study."""
    arguments = list(inspect.signature(make_outliers).parameters)
    allowed = [
        *("share", "ratio"),
        *(
            a
            for a in arguments
            if a not in ("clustered", "design", "coef", "random_state")
        ),
    ]
    if vary not in allowed:
        raise ValueError(f"vary must be one of {allowed}, got {vary!r}.")
    sets = {"share": "n_outliers", "ratio": "shift"}.get(vary, vary)
    if sets in options:
        raise ValueError(f"{sets} is given, but vary={vary!r} sets it; leave it out.")
    if vary == "ratio" and options.get("leverage") is None:
        raise ValueError('vary="ratio" is shift / leverage: give leverage=...')
    if not estimators:
        raise ValueError("estimators is empty; give a dict of names to estimators.")
    places = list(values)
    if not places:
        raise ValueError(f"values is empty; give the values of {vary}.")
    return places


def _argument(vary: str, value: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What a value means for `make_outliers`."""
    if vary == "share":
        default = inspect.signature(make_outliers).parameters["n_samples"].default
        n_samples = options.get("n_samples", default)
        return {"n_outliers": round(value * n_samples)}
    if vary == "ratio":
        return {"shift": value * options["leverage"]}
    return {vary: value}


def _draw_rows(rng: Any, layout: _Layout, design: str) -> NDArray[np.float64]:
    """Independent entries times the symmetric root of the correlation matrix."""
    shape = layout.n_samples, layout.n_features
    X: NDArray[np.float64] = (
        rng.standard_normal(shape)
        if design == "normal"
        else (rng.uniform(-_HALF_WIDTH, _HALF_WIDTH, shape))
    )
    p, rho = layout.n_features, layout.rho
    own, along = math.sqrt(1 - rho), math.sqrt(1 + (p - 1) * rho)
    mean = X.mean(axis=1, keepdims=True)
    X *= own  # its two eigenvalues
    X += (along - own) * mean
    return X


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if len(mask) else math.nan


def _checked_shift(shift: Any, n_outliers: int) -> NDArray[np.float64]:
    values = np.asarray(shift, dtype=np.float64)
    if values.shape not in ((), (n_outliers,)):
        raise ValueError(
            f"shift must be a number, or one for each of n_outliers={n_outliers} rows, "
            f"got shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"shift must be finite, got {shift!r}.")
    return values


def _check_number(name: str, value: Any, low: float = -math.inf) -> None:
    good = isinstance(value, Real) and not isinstance(value, bool)
    if not good or not low <= float(value) < math.inf or math.isinf(value):
        bound = "" if math.isinf(low) else f" >= {low:g}"
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}.")
