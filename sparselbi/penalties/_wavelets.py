"""Orthonormal wavelet transforms of a grid, as a matrix or as a pair of products."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse import hstack as sparse_hstack
from scipy.sparse.linalg import LinearOperator

from .._utils.optional import import_optional
from ._transform_checks import SPARSE_DENSITY, check_count

MATRIX = 4096  # features up to which the transform is written out
BATCH = 256
MODE = "periodization"  # the one boundary that keeps the transform orthonormal
EXAMPLES = "'haar', 'db2', 'sym4' or 'coif1'"


class WaveletOperator(LinearOperator):
    """Products with an orthonormal wavelet transform and with its transpose.

    Rows: the approximation, then details from coarse to fine; within a level one band
    after the other, each in C order.

    Parameters
    ----------
    image_shape : tuple of int
    wavelet : str
        Name in PyWavelets.
    level : int, optional
        Default: as many as the shape and the length of the filter allow, at least 1.
    """

    def __init__(
        self, image_shape: tuple[int, ...], wavelet: str, level: int | None = None
    ) -> None:
        p = math.prod(image_shape)
        super().__init__(np.dtype(np.float64), (p, p))
        pywt = import_optional("pywt", "wavelets")
        _check_wavelet(pywt, wavelet)
        self.image_shape, self.wavelet = image_shape, wavelet
        self.level = _choose_level(pywt, image_shape, wavelet, level)
        names = itertools.product("ad", repeat=len(image_shape))
        self._approximation, *self._details = ("".join(name) for name in names)

    def _matmat(self, columns: np.ndarray) -> np.ndarray:
        pywt = import_optional("pywt", "wavelets")
        rest = np.asarray(columns, dtype=np.float64).T
        n_images, rest = len(rest), rest.reshape(-1, *self.image_shape)
        parts = []
        for _ in range(self.level):
            bands = pywt.dwtn(rest, self.wavelet, MODE, self._axes)
            rest = bands[self._approximation]
            parts += [bands[name] for name in reversed(self._details)]
        flat = [part.reshape(n_images, -1) for part in (rest, *reversed(parts))]
        return np.concatenate(flat, axis=1).T

    def _rmatmat(self, columns: np.ndarray) -> np.ndarray:
        pywt = import_optional("pywt", "wavelets")
        flat = np.asarray(columns, dtype=np.float64).T
        sizes = [tuple(k >> d for k in self.image_shape) for d in range(self.level + 1)]
        start = math.prod(sizes[-1])
        image = flat[:, :start].reshape(-1, *sizes[-1])
        for size in reversed(sizes[1:]):
            bands = {self._approximation: image}
            for name in self._details:
                stop = start + math.prod(size)
                bands[name] = flat[:, start:stop].reshape(-1, *size)
                start = stop
            image = pywt.idwtn(bands, self.wavelet, MODE, self._axes)
        return np.asarray(image).reshape(len(flat), -1).T

    def _matvec(self, v: np.ndarray) -> np.ndarray:
        return self._matmat(v.reshape(-1, 1))

    def _rmatvec(self, u: np.ndarray) -> np.ndarray:
        return self._rmatmat(u.reshape(-1, 1))

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.image_shape) + 1))

    def to_matrix(self) -> Any:
        """Write the transform out, as CSR or dense, whichever is smaller."""
        p = self.shape[1]
        starts = range(0, p, BATCH)
        blocks = [
            csr_array(self.matmat(np.eye(p, min(BATCH, p - k), -k))) for k in starts
        ]
        matrix = csr_array(sparse_hstack(blocks))
        return matrix if matrix.nnz <= SPARSE_DENSITY * p**2 else matrix.toarray()


def _check_wavelet(pywt: Any, wavelet: Any) -> None:
    if not isinstance(wavelet, str) or wavelet not in pywt.wavelist(kind="discrete"):
        raise ValueError(
            f"wavelet={wavelet!r} is unknown; use the name of an orthogonal wavelet of "
            f"PyWavelets, such as {EXAMPLES}."
        )
    # PyWavelets also calls some wavelets orthogonal that are so only approximately.
    filters = pywt.Wavelet(wavelet)
    taps = np.asarray(filters.dec_lo)
    overlap = [taps[: len(taps) - k] @ taps[k:] for k in range(2, len(taps), 2)]
    exact = np.allclose([taps @ taps - 1, *overlap], 0, rtol=0, atol=1e-10)
    if not (filters.orthogonal and exact):
        raise ValueError(
            f"wavelet={wavelet!r} is not orthogonal; use one such as {EXAMPLES}."
        )


def _choose_level(pywt: Any, shape: tuple[int, ...], wavelet: str, level: Any) -> int:
    halvings = min((size & -size).bit_length() - 1 for size in shape)
    if level is None:
        level = max(1, min(halvings, pywt.dwtn_max_level(shape, wavelet)))
    level = check_count("level", level, 1)
    if level > halvings:
        advice = f"level={halvings} fits." if halvings else "Pad the signal."
        raise ValueError(
            f"shape {shape} does not fit level={level}: every axis must be a multiple "
            f"of 2 ** level = {2**level}. {advice}"
        )
    return level
