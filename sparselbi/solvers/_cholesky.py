"""Cholesky factor of a Gram matrix whose columns come and go."""

import numpy as np

from .._kernels import inner

# A column whose squared distance from the others is below this share of its own
# squared norm is treated as depending on them.
_DEPENDENT = 1e-12


@inner
def append(factor, a, gram, members, new):
    """Extend the lower factor of the first `a` members by column `new`.

    Returns False, and changes nothing that counts, if the column depends on them.
    """
    rest = gram[new, new]
    for i in range(a):
        value = gram[members[i], new]
        for j in range(i):
            value -= factor[i, j] * factor[a, j]
        value /= factor[i, i]
        factor[a, i] = value
        rest -= value * value
    if not rest > _DEPENDENT * gram[new, new]:
        return False
    factor[a, a] = np.sqrt(rest)
    return True


@inner
def remove(factor, a, position):
    """Delete one row of the factor of size `a`; Givens rotations restore its shape."""
    for i in range(position, a - 1):
        for j in range(i + 2):
            factor[i, j] = factor[i + 1, j]
    for j in range(position, a - 1):
        x = factor[j, j]
        y = factor[j, j + 1]
        norm = np.sqrt(x * x + y * y)
        c = x / norm
        s = y / norm
        for i in range(j, a - 1):
            x = factor[i, j]
            y = factor[i, j + 1]
            factor[i, j] = c * x + s * y
            factor[i, j + 1] = c * y - s * x


@inner
def solve(factor, a, right):
    """Overwrite the first `a` entries of `right` with the solution."""
    for i in range(a):
        value = right[i]
        for j in range(i):
            value -= factor[i, j] * right[j]
        right[i] = value / factor[i, i]
    for i in range(a - 1, -1, -1):
        right[i] /= factor[i, i]
        value = right[i]
        for j in range(i):
            right[j] -= factor[i, j] * value
