"""Noiseless measurements y = X coef of a sparse truth, and of an image patch.

Entries of every operator have mean square one, so that path times and penalty
strengths are on the scale of the other simulated designs.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Bunch, check_random_state

from .simulated import _check_count

Operator = Literal["gaussian", "bernoulli", "orthogonal", "dct"]
Signal = Literal["signs", "gaussian"]
OPERATORS = ("gaussian", "bernoulli", "orthogonal", "dct")
PATCH_OPERATORS = ("gaussian", "bernoulli", "orthogonal")
SIGNALS = ("signs", "gaussian")


def make_noiseless(
    n_samples: int = 60,
    n_features: int = 128,
    n_nonzero: int = 8,
    *,
    design: Operator = "gaussian",
    signal: Signal = "signs",
    random_state: Any = None,
) -> Bunch:
    """Draw underdetermined equations with a sparse solution, y = X coef.

    Whether the truth can be found depends on `n_samples` and `n_nonzero` more than on
    the `design`; fit without intercept and without standardization.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of X.
    n_nonzero : int
        Number of nonzero coefficients, at random places.
    design : {"gaussian", "bernoulli", "orthogonal", "dct"}
        Independent standard normal entries; independent signs; random orthogonal rows
        of length ``sqrt(n_features)``; random rows of the orthonormal discrete cosine
        transform (DCT-II), scaled likewise. The last two need
        ``n_samples <= n_features`` and have ``X @ X.T = n_features * identity``.
    signal : {"signs", "gaussian"}
        Nonzero coefficients: -1 or 1, or standard normal.
    random_state : int, RandomState instance or None
        Draws the support, then the coefficients, then X.

    Returns
    -------
    Bunch
        X : ndarray of shape (n_samples, n_features), entries of mean square one
        y : ndarray of shape (n_samples,)
        coef : ndarray of shape (n_features,), the truth
        support : ndarray, ascending indices of its nonzero entries

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi import Problem, iss_path
    >>> from sparselbi.datasets import make_noiseless
    >>> data = make_noiseless(40, 128, 5, random_state=0)
    >>> problem = Problem(data.X, data.y, fit_intercept=False, standardize=False)
    >>> bool(np.allclose(iss_path(problem).coef(-1), data.coef))
    True
    """
    _check_count("n_samples", n_samples, 1)
    _check_count("n_features", n_features, 1)
    _check_count("n_nonzero", n_nonzero, 0)
    if n_nonzero > n_features:
        raise ValueError(
            f"n_nonzero must be at most n_features={n_features}, got {n_nonzero}"
        )
    _check_option("design", design, OPERATORS)
    _check_option("signal", signal, SIGNALS)
    rng = check_random_state(random_state)
    coef = np.zeros(n_features)
    support = np.sort(rng.choice(n_features, n_nonzero, replace=False))
    coef[support] = (
        rng.choice([-1.0, 1.0], n_nonzero)
        if signal == "signs"
        else rng.standard_normal(n_nonzero)
    )
    X = _draw_rows(rng, design, n_samples, n_features, "n_samples")
    return Bunch(X=X, y=X @ coef, coef=coef, support=support)


def make_compressed_patch(
    image: ArrayLike,
    n_measurements: int = 400,
    *,
    top: int = 0,
    left: int = 0,
    size: int = 32,
    design: Literal["gaussian", "bernoulli", "orthogonal"] = "orthogonal",
    random_state: Any = None,
) -> Bunch:
    """Measure a square patch of an image by random sums of its pixels.

    The unknowns are the coefficients of the patch in the orthonormal two-dimensional
    DCT, most of which are small in natural images: y = X coef holds exactly, but the
    truth is compressible rather than sparse.

    Parameters
    ----------
    image : array-like of shape (height, width)
        Grey values.
    n_measurements : int
        Number of measurements; ``size ** 2`` orthogonal ones determine the patch.
    top, left, size : int
        The patch is ``image[top : top + size, left : left + size]``.
    design : {"gaussian", "bernoulli", "orthogonal"}
        The weights of the pixels in each measurement, see `make_noiseless`.
    random_state : int, RandomState instance or None
        Draws the weights.

    Returns
    -------
    Bunch
        X : ndarray of shape (n_measurements, size ** 2), from coefficients to
            measurements: the weights times the inverse DCT
        y : ndarray of shape (n_measurements,), in the units of the image
        coef : ndarray of shape (size ** 2,), the true coefficients; the first one is
            ``size`` times the mean of the patch
        patch : ndarray of shape (size, size), the truth
        to_patch : function from coefficients of shape (..., size ** 2), for example
            all knots of a path, to patches of shape (..., size, size)

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range; the message says what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from sparselbi.datasets import make_compressed_patch
    >>> image = np.add.outer(np.arange(20.0), np.arange(30.0))
    >>> data = make_compressed_patch(image, 25, top=4, left=9, size=8, random_state=0)
    >>> data.X.shape, bool(np.allclose(data.to_patch(data.coef), data.patch))
    ((25, 64), True)
    """
    pixels = np.asarray(image, dtype=np.float64)
    if pixels.ndim != 2:
        raise ValueError(
            f"image must have two dimensions, got shape {pixels.shape}. Average the "
            "colours of a colour image: image.mean(axis=2)."
        )
    if not np.isfinite(pixels).all():
        raise ValueError("image must be finite, got NaN or infinity in it")
    _check_count("n_measurements", n_measurements, 1)
    _check_count("size", size, 1)
    for name, start, length in zip(
        ("top", "left"), (top, left), pixels.shape, strict=True
    ):
        _check_count(name, start, 0)
        if start + size > length:
            raise ValueError(
                f"{name} + size must be at most {length} for an image of shape "
                f"{pixels.shape}, got {start} + {size}"
            )
    _check_option("design", design, PATCH_OPERATORS)

    rng = check_random_state(random_state)
    patch = pixels[top : top + size, left : left + size].copy()
    weights = _draw_rows(rng, design, n_measurements, size**2, "n_measurements")
    # The DCT is orthonormal: weights @ inverse(c) = (DCT of each row of weights) @ c.
    X = scipy.fft.dctn(
        weights.reshape(-1, size, size), axes=(1, 2), norm="ortho"
    ).reshape(n_measurements, -1)
    return Bunch(
        X=X,
        y=weights @ patch.ravel(),
        coef=scipy.fft.dctn(patch, norm="ortho").ravel(),
        patch=patch,
        to_patch=functools.partial(_from_dct, size=size),
    )


def _from_dct(coef: ArrayLike, size: int) -> NDArray[np.float64]:
    values = np.asarray(coef, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != size**2:
        raise ValueError(
            f"coef must have shape (..., {size**2}) for a patch of size {size}, got "
            f"{values.shape}"
        )
    square = values.reshape(*values.shape[:-1], size, size)
    patches: NDArray[np.float64] = scipy.fft.idctn(square, axes=(-2, -1), norm="ortho")
    return patches


def _draw_rows(rng: Any, design: str, n: int, p: int, name: str) -> NDArray[np.float64]:
    """Operator of shape (n, p); `name` is what the caller calls n."""
    if design in ("orthogonal", "dct") and n > p:
        raise ValueError(
            f"{name} must be at most {p} for design={design!r}, because there are no "
            f'more orthogonal rows; got {n}. Use design="gaussian".'
        )
    rows: NDArray[np.float64]
    if design == "bernoulli":
        rows = rng.choice([-1.0, 1.0], (n, p))
    elif design == "dct":
        picked = np.sort(rng.choice(p, n, replace=False))
        rows = np.cos(np.pi / p * np.outer(picked, np.arange(p) + 0.5))
        rows[picked > 0] *= np.sqrt(2.0)
    else:
        rows = rng.standard_normal((n, p))
        if design == "orthogonal":
            # Signs of the triangle make the rows uniformly distributed.
            basis, triangle = np.linalg.qr(rows.T)
            rows = np.sqrt(p) * (basis * np.sign(np.diag(triangle))).T
    return np.ascontiguousarray(rows)


def _check_option(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}"
        )
