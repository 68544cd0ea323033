"""Sum of Euclidean norms: coefficients that enter together."""

from typing import NamedTuple

import numpy as np

from ..losses.base import different_fields, same_fields, typed_hash


class Group(NamedTuple):
    """Group penalty: the coefficients of a group are thresholded by their l2 norm.

    A group is a set of features with all their outputs.

    Parameters
    ----------
    positive : bool, default=False
        Only coefficients >= 0.
    """

    positive: bool = False

    name = "group"
    grouped = True
    __eq__ = same_fields
    __ne__ = different_fields
    __hash__ = typed_hash

    def shrink(penalty, z, weight, ptr, kappa, out):  # noqa: N805
        for b in range(len(ptr) - 1):
            low, high = ptr[b], ptr[b + 1]
            w = weight[low]
            clip = penalty.positive and w > 0.0
            total = 0.0
            for k in range(z.shape[0]):
                for j in range(low, high):
                    v = max(z[k, j], 0.0) if clip else z[k, j]
                    out[k, j] = v
                    total += v * v
            norm = np.sqrt(total)
            factor = kappa * (1.0 - w / norm) if norm > w else 0.0
            for k in range(z.shape[0]):
                for j in range(low, high):
                    out[k, j] *= factor

    def horizon(penalty, z, g, slack, weight, ptr, out):  # noqa: N805
        # ||z + s g + e|| <= w for all s <= T is implied by the convex function
        # ||z + s g|| + T slack being <= w at s = 0 and at s = T.
        for b in range(len(ptr) - 1):
            low, high = ptr[b], ptr[b + 1]
            w = weight[low]
            if w == np.inf:
                out[b] = np.inf
                continue
            zz = 0.0
            zg = 0.0
            gg = 0.0
            for k in range(z.shape[0]):
                for j in range(low, high):
                    a = z[k, j]
                    d = g[k, j]
                    if penalty.positive:
                        # max(a + s d, 0) <= max(a, 0) + s max(d, 0) entry by entry
                        a = max(a, 0.0)
                        d = max(d, 0.0)
                    zz += a * a
                    zg += a * d
                    gg += d * d
            rest = w * w - zz
            if rest <= 0.0:
                out[b] = 0.0
                continue
            s = slack[b]
            # Largest T with ||z + T g|| = w - T s: a quadratic in T.
            quad = gg - s * s
            half = zg + w * s
            root = half * half + quad * rest
            if root <= 0.0:
                reach = w / s if s > 0.0 else np.inf
            else:
                bottom = half + np.sqrt(root)
                reach = rest / bottom if bottom > 0.0 else np.inf
            if s > 0.0:
                reach = min(reach, (w - np.sqrt(zz)) / s)
            out[b] = reach

    def crossing(penalty, before, after, weight, row, column, low, high):  # noqa: N805
        aa = 0.0
        ad = 0.0
        dd = 0.0
        w = weight[low]
        for k in range(before.shape[0]):
            for j in range(low, high):
                a = before[k, j]
                c = after[k, j]
                if penalty.positive and w > 0.0:
                    a = max(a, 0.0)
                    c = max(c, 0.0)
                d = c - a
                aa += a * a
                ad += a * d
                dd += d * d
        if dd == 0.0:
            return 0.0
        if penalty.positive and aa > w * w and aa + 2.0 * ad + dd > w * w:
            # The group stays active, the entry changes sign on its own.
            a = before[row, column]
            return min(max(-a / (after[row, column] - a), 0.0), 1.0)
        root = np.sqrt(max(ad * ad + dd * (w * w - aa), 0.0))
        # Entering: the larger root. Leaving: the smaller one.
        fraction = (root - ad) / dd if aa <= w * w else (-root - ad) / dd
        return min(max(fraction, 0.0), 1.0)
