"""Simulated designs with a known truth.

No p x p covariance is ever formed: rows are drawn from the structure of the design
(a recursion, shared factors), and so is the population variance of the signal. Every
column has population mean 0 and variance 1.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from scipy.special import expit
from sklearn.utils import Bunch, check_random_state

Design = Literal["identity", "ar1", "equicorrelated", "groups"]
DESIGNS = ("identity", "ar1", "equicorrelated", "groups")


def make_sparse_regression(
    n_samples: int = 200,
    n_features: int = 500,
    n_informative: int = 10,
    *,
    design: Design = "identity",
    correlation: float = 0.5,
    group_size: int = 5,
    snr: float = 5.0,
    signal_size: float | tuple[float, float] = 1.0,
    coef: Any = None,
    random_state: Any = None,
) -> Bunch:
    """Draw a linear model with a sparse truth, y = X coef + noise.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of X.
    n_informative : int
        Number of nonzero coefficients, at random places. 0 gives pure noise. With
        ``design="groups"`` it must be a multiple of `group_size`: whole groups are
        active. Ignored if `coef` is given.
    design : {"identity", "ar1", "equicorrelated", "groups"}
        Correlation of features j and k: none; ``correlation ** abs(j - k)``;
        ``correlation`` for every pair; ``correlation`` inside consecutive groups of
        `group_size` features and none between groups.
    correlation : float
        In (-1, 1) for "ar1", in [0, 1) for "equicorrelated" and "groups". Ignored for
        "identity".
    group_size : int
        Features per group for "groups" (`n_features` must be a multiple). Ignored
        otherwise.
    snr : float
        Signal-to-noise ratio: coef' Sigma coef / noise variance, with Sigma the
        population covariance of a row of X, so that the noise does not depend on the
        drawn X. ``inf`` means no noise. Without any signal the noise has standard
        deviation 1.
    signal_size : float or (float, float)
        Absolute value of the nonzero coefficients, or the range from which it is
        drawn uniformly. Signs are random.
    coef : array-like of shape (n_features,), optional
        The truth itself.
    random_state : int, RandomState instance or None
        Draws the coefficients, then X, then the noise: changing `snr` alone changes
        only the size of the noise.

    Returns
    -------
    Bunch
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        coef : ndarray of shape (n_features,), the truth
        support : ndarray, ascending indices of its nonzero entries
        groups : ndarray of shape (n_features,) with group labels, or None
        noise_std : float, standard deviation of the noise, in the units of y
        snr : float, as asked; 0.0 without any signal

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.

    Examples
    --------
    >>> from sparselbi.datasets import make_sparse_regression
    >>> data = make_sparse_regression(50, 200, 4, design="ar1", random_state=0)
    >>> data.X.shape, data.support.size
    ((50, 200), 4)
    """
    if not isinstance(snr, Real) or math.isnan(snr) or snr <= 0:
        raise ValueError(
            f"snr must be a positive number (inf for no noise), got {snr!r}. For pure "
            "noise use n_informative=0."
        )
    rng = check_random_state(random_state)
    layout = _Layout(n_samples, n_features, design, correlation, group_size)
    truth = layout.draw_coef(rng, 1, n_informative, signal_size, coef)[0]
    X = layout.draw_rows(rng)
    noise = rng.standard_normal(layout.n_samples)

    variance = layout.signal_variance(truth)
    noise_std = math.sqrt(variance / snr) if variance > 0 else 1.0
    return Bunch(
        X=X,
        y=X @ truth + noise_std * noise,
        coef=truth,
        support=np.flatnonzero(truth),
        groups=layout.groups,
        noise_std=noise_std,
        snr=float(snr) if variance > 0 else 0.0,
    )


def make_sparse_classification(
    n_samples: int = 200,
    n_features: int = 500,
    n_informative: int = 10,
    *,
    n_classes: int = 2,
    design: Design = "identity",
    correlation: float = 0.5,
    group_size: int = 5,
    signal_size: float | tuple[float, float] = 1.0,
    coef: Any = None,
    random_state: Any = None,
) -> Bunch:
    """Draw class labels from a logistic model with a sparse truth.

    Two classes: P(y = 1 | x) = 1 / (1 + exp(-x' coef)). More classes: P(y = c | x) is
    proportional to exp(x' coef[c]), and all classes use the same features. There is
    no intercept, so classes have equal probability on average.

    Parameters
    ----------
    n_samples, n_features, n_informative, design, correlation, group_size
        See `make_sparse_regression`.
    n_classes : int
        Number of classes, at least 2.
    signal_size : float or (float, float)
        Absolute value, or range of it, of the nonzero coefficients: how well the
        classes separate. The resulting `eta_std` is returned.
    coef : array-like, optional
        The truth itself, of shape (n_features,) for two classes and
        (n_classes, n_features) for more.
    random_state : int, RandomState instance or None
        Draws the coefficients, then X, then the labels.

    Returns
    -------
    Bunch
        X : ndarray of shape (n_samples, n_features)
        y : int ndarray of shape (n_samples,), labels 0, ..., n_classes - 1
        coef : ndarray of shape (n_features,) or (n_classes, n_features), the truth
        support : ndarray, ascending indices of the features that matter
        groups : ndarray of shape (n_features,) with group labels, or None
        eta_std : float or ndarray of shape (n_classes,), population standard deviation
            of the linear predictors x' coef

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.
    """
    _check_count("n_classes", n_classes, 2)
    rng = check_random_state(random_state)
    layout = _Layout(n_samples, n_features, design, correlation, group_size)
    n_outputs = 1 if n_classes == 2 else n_classes
    truth = layout.draw_coef(rng, n_outputs, n_informative, signal_size, coef)
    X = layout.draw_rows(rng)

    eta = X @ truth.T
    if n_classes == 2:
        y = (rng.uniform(size=layout.n_samples) < expit(eta[:, 0])).astype(np.int64)
    else:  # the largest of eta + Gumbel noise has the softmax probabilities
        y = np.argmax(eta + rng.gumbel(size=eta.shape), axis=1)
    eta_std = np.array([math.sqrt(layout.signal_variance(row)) for row in truth])
    return Bunch(
        X=X,
        y=y,
        coef=truth[0] if n_classes == 2 else truth,
        support=np.flatnonzero(truth.any(axis=0)),
        groups=layout.groups,
        eta_std=float(eta_std[0]) if n_classes == 2 else eta_std,
    )


class _Layout:
    """The design's structure: checked once, then asked for rows and variances."""

    def __init__(
        self,
        n_samples: int,
        n_features: int,
        design: str,
        correlation: float,
        group_size: int,
    ) -> None:
        _check_count("n_samples", n_samples, 1)
        _check_count("n_features", n_features, 1)
        if design not in DESIGNS:
            raise ValueError(
                f"design must be one of {', '.join(map(repr, DESIGNS))}, got {design!r}"
            )
        low = -1.0 if design == "ar1" else 0.0
        if design != "identity" and not (
            isinstance(correlation, Real)
            and low <= correlation < 1
            and correlation != -1
        ):
            allowed = "(-1, 1)" if design == "ar1" else "[0, 1)"
            raise ValueError(
                f"correlation must be a number in {allowed} for design={design!r}, "
                f"got {correlation!r}"
            )
        self.n_samples, self.n_features = int(n_samples), int(n_features)
        self.design, self.rho, self.group_size = design, correlation, group_size
        self.groups: np.ndarray | None = None
        if design == "groups":
            _check_count("group_size", group_size, 1)
            _check_multiple("n_features", n_features, group_size)
            self.groups = np.arange(n_features) // group_size

    def draw_coef(
        self, rng: Any, n_outputs: int, n_informative: int, signal_size: Any, coef: Any
    ) -> np.ndarray:
        """Truth of shape (n_outputs, n_features)."""
        p = self.n_features
        if coef is not None:
            given = np.array(coef, dtype=np.float64)
            shape = (p,) if n_outputs == 1 else (n_outputs, p)
            if given.shape != shape:
                raise ValueError(
                    f"coef must have shape {shape}, got {given.shape}. Set n_features "
                    "to the number of coefficients."
                )
            if not np.isfinite(given).all():
                raise ValueError("coef must be finite, got NaN or infinity in it")
            return given.reshape(n_outputs, p)

        _check_count("n_informative", n_informative, 0)
        if n_informative > p:
            raise ValueError(
                f"n_informative must be at most n_features={p}, got {n_informative}"
            )
        low, high = _check_signal_size(signal_size)
        size = 1
        if self.design == "groups":
            size = self.group_size
            _check_multiple("n_informative", n_informative, size)
        blocks = np.sort(rng.choice(p // size, n_informative // size, replace=False))
        support = (blocks[:, None] * size + np.arange(size)).ravel()
        shape = (n_outputs, support.size)
        truth = np.zeros((n_outputs, p))
        truth[:, support] = rng.choice([-1.0, 1.0], shape) * rng.uniform(
            low, high, shape
        )
        return truth

    def draw_rows(self, rng: Any) -> np.ndarray:
        """X of shape (n_samples, n_features)."""
        n, p, rho = self.n_samples, self.n_features, self.rho
        X: np.ndarray = rng.standard_normal((n, p))
        if self.design == "ar1":
            scale = math.sqrt(1 - rho**2)
            for j in range(1, p):
                X[:, j] *= scale
                X[:, j] += rho * X[:, j - 1]
        elif self.design != "identity":
            n_factors, repeats = self._factors()
            X *= math.sqrt(1 - rho)
            factors = math.sqrt(rho) * rng.standard_normal((n, n_factors))
            X.reshape(n, n_factors, repeats)[...] += factors[:, :, None]
        return X

    def signal_variance(self, coef: np.ndarray) -> float:
        """Population variance coef' Sigma coef of x' coef, coef of shape (p,)."""
        own = float(coef @ coef)
        if self.design == "identity":
            return own
        if self.design == "ar1":
            # carried = sum over earlier active k of coef_k rho^(j - k)
            carried, last, cross = 0.0, 0, 0.0
            for j in np.flatnonzero(coef).tolist():
                carried *= self.rho ** (j - last)
                cross += float(coef[j]) * carried
                carried, last = carried + float(coef[j]), j
            return own + 2 * cross
        sums = coef.reshape(self._factors()).sum(axis=1)
        return float((1 - self.rho) * own + self.rho * (sums @ sums))

    def _factors(self) -> tuple[int, int]:
        """Number of shared factors, and of consecutive features that share one."""
        size = self.group_size if self.design == "groups" else self.n_features
        return self.n_features // size, size


def _check_count(name: str, value: Any, low: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")


def _check_multiple(name: str, value: int, group_size: int) -> None:
    if value % group_size:
        raise ValueError(
            f"{name} must be a multiple of group_size={group_size} for "
            f'design="groups", because groups are whole; got {value}'
        )


def _check_signal_size(value: Any) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple) and len(value) == 2 else (value,) * 2
    numbers = isinstance(low, Real) and isinstance(high, Real)
    if not (numbers and 0 < low <= high < math.inf):
        raise ValueError(
            "signal_size must be a positive number or a pair (low, high) with "
            f"0 < low <= high < inf, got {value!r}"
        )
    return float(low), float(high)
