"""Sum of absolute values: sparsity entry by entry."""

from typing import NamedTuple

import numpy as np

from ..losses.base import different_fields, same_fields, typed_hash


class L1(NamedTuple):
    """l1 penalty: every coefficient is thresholded on its own.

    Parameters
    ----------
    positive : bool, default=False
        Only coefficients >= 0.
    """

    positive: bool = False

    name = "l1"
    grouped = False
    __eq__ = same_fields
    __ne__ = different_fields
    __hash__ = typed_hash

    def shrink(penalty, z, weight, ptr, kappa, out):  # noqa: N805
        # z minus its projection on the interval of zeros, in a form that vectorizes.
        n = ptr[len(ptr) - 1]
        for k in range(z.shape[0]):
            for j in range(n):
                v = z[k, j]
                rest = v if v < weight[j] else weight[j]
                if not penalty.positive:
                    rest = rest if rest > -weight[j] else -weight[j]
                elif weight[j] == 0.0:
                    rest = 0.0
                out[k, j] = kappa * (v - rest)

    def horizon(penalty, z, g, slack, weight, ptr, out):  # noqa: N805
        for j in range(ptr[len(ptr) - 1]):
            least = np.inf
            extra = slack[j]
            if weight[j] < np.inf:
                for k in range(z.shape[0]):
                    speed = max(g[k, j], 0.0) + extra
                    room = weight[j] - z[k, j]
                    if room <= 0.0:
                        least = 0.0
                    elif speed > 0.0:
                        least = min(least, room / speed)
                    if not penalty.positive:
                        speed = max(-g[k, j], 0.0) + extra
                        room = weight[j] + z[k, j]
                        if room <= 0.0:
                            least = 0.0
                        elif speed > 0.0:
                            least = min(least, room / speed)
            out[j] = least

    def crossing(penalty, before, after, weight, row, column, low, high):  # noqa: N805
        a = before[row, column]
        b = after[row, column]
        w = weight[column]
        # A jump over both thresholds meets the one on the side of `after`.
        both = not (penalty.positive and w > 0.0)
        if both and (b < -w or (a < -w and b <= w)):
            a = -a
            b = -b
        if a == b:
            return 0.0
        return min(max((w - a) / (b - a), 0.0), 1.0)
