"""DessiLBI written out in NumPy, one weight at a time: slow, and independent.

Groups are given by a function from the position of a weight to its group.
"""

from itertools import product

import numpy as np

# Position -> group, for the kinds of groups as the documentation describes them.
GROUP_OF = {
    "element": lambda shape: lambda i: i,
    "tensor": lambda shape: lambda i: 0,
    "filter": lambda shape: lambda i: i[0],
    "neuron": lambda shape: lambda i: i[0],
    "row": lambda shape: lambda i: i[0],
    "channel": lambda shape: lambda i: i[1],
    "dim2": lambda shape: lambda i: i[2],
    "dim0/2": lambda shape: lambda i: i[0] // (shape[0] // 2),
    "dim1/2": lambda shape: lambda i: i[1] // (shape[1] // 2),
    # three stacked parts, each with two heads
    "dim0/3x2": lambda shape: lambda i: (i[0] % (shape[0] // 3)) // (shape[0] // 6),
}


def labels(kind, shape):
    """Group of every weight as a dict from position to label."""
    of = GROUP_OF[kind](shape)
    return {i: of(i) for i in product(*map(range, shape))}


def group_norms(kinds, tensors):
    """Norm of every group, over all `tensors` together."""
    squares = {}
    for kind, tensor in zip(kinds, tensors, strict=True):
        for i, g in labels(kind, tensor.shape).items():
            squares[g] = squares.get(g, 0.0) + float(tensor[i]) ** 2
    return {g: np.sqrt(s) for g, s in squares.items()}


def group_sizes(kinds, tensors):
    sizes = {}
    for kind, tensor in zip(kinds, tensors, strict=True):
        for g in labels(kind, tensor.shape).values():
            sizes[g] = sizes.get(g, 0) + 1
    return sizes


class Twin:
    """Tensors with joined groups (`kinds`, one per tensor), or left dense (None)."""

    def __init__(
        self, weights, kinds, *, lr, kappa, nu, lam, size_scaling=False, **sgd
    ):
        self.W = [np.array(w, dtype=np.float64) for w in weights]
        self.V = [np.zeros_like(w) for w in self.W]
        self.buffers = [None for _ in self.W]
        self.kinds, self.lr, self.kappa, self.nu = kinds, lr, kappa, nu
        self.lam, self.size_scaling, self.sgd = lam, size_scaling, sgd

    def split(self):
        if self.kinds is None:
            return self.W
        if ":" in self.kinds[0]:
            return [self._n_of_m(self.V[0])]
        norms = group_norms(self.kinds, self.V)
        sizes = group_sizes(self.kinds, self.V)
        out = []
        for kind, V in zip(self.kinds, self.V, strict=True):
            gamma = np.zeros_like(V)
            for i, g in labels(kind, V.shape).items():
                limit = self.lam * (np.sqrt(sizes[g]) if self.size_scaling else 1.0)
                if norms[g] > limit:
                    gamma[i] = self.kappa * (1 - limit / norms[g]) * V[i]
            out.append(gamma)
        return out

    def _n_of_m(self, V):
        keep, block = map(int, self.kinds[0].split(":"))
        gamma = np.zeros_like(V)
        others = [range(n) for d, n in enumerate(V.shape) if d != 1]
        for first, *rest in product(*others):
            for start in range(0, V.shape[1], block):
                places = [(first, start + k, *rest) for k in range(block)]
                places.sort(key=lambda i: -abs(V[i]))
                for i in places[:keep]:
                    gamma[i] = self.kappa * np.sign(V[i]) * max(abs(V[i]) - self.lam, 0)
        return gamma

    def step(self, grads):
        momentum = self.sgd.get("momentum", 0)
        gaps = [w - gamma for w, gamma in zip(self.W, self.split(), strict=True)]
        for k, grad in enumerate(grads):
            d = np.array(grad, dtype=np.float64)
            if self.sgd.get("maximize", False):
                d = -d
            d = d + self.sgd.get("weight_decay", 0) * self.W[k]
            if momentum:
                if self.buffers[k] is None:
                    self.buffers[k] = d
                else:
                    share = 1 - self.sgd.get("dampening", 0)
                    self.buffers[k] = momentum * self.buffers[k] + share * d
                if self.sgd.get("nesterov", False):
                    d = d + momentum * self.buffers[k]
                else:
                    d = self.buffers[k]
            self.V[k] = self.V[k] + self.lr / self.nu * gaps[k]
            self.W[k] = self.W[k] - self.lr * self.kappa * (d + gaps[k] / self.nu)
