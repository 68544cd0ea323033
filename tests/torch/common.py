"""The table of optimizers and groups that the tests run over."""

import torch

# Options of the step, as in the table that torch tests its own optimizers with.
STEPS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.9, "dampening": 0.5},
    "nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "decay": {"weight_decay": 0.1},
    "maximize": {"momentum": 0.5, "weight_decay": 0.05, "maximize": True},
    "damped": {"kappa": 2.5, "nu": 4.0, "momentum": 0.9},
    "scaled": {"size_scaling": True, "momentum": 0.9, "lam": 0.1},
}
# Kinds of groups and the shapes of the tensors that they cut.
GROUPS = {
    "element": [(4, 3)],
    "element-1d": [(5,)],
    "tensor": [(3, 2, 2)],
    "filter": [(6, 3, 2, 2)],
    "filter-3d": [(4, 3, 5)],
    "filter-5d": [(4, 2, 2, 1, 2)],
    "neuron": [(5, 4)],
    "row": [(7, 3)],
    "channel": [(3, 6, 2, 2)],
    "dim2": [(3, 2, 4)],
    "dim0/2": [(6, 4)],
    "dim1/2": [(3, 8)],
    "dim0/3x2": [(12, 4)],
    "2:4": [(3, 8)],
    "1:2": [(3, 4, 2, 2)],
    "neuron,channel": [(5, 4), (3, 5)],
    "dim0/3x2,dim1/2": [(12, 4), (4, 4)],
    "tensor,tensor,tensor": [(3, 2), (2, 2, 2), (4,)],
}
BASE = {"lr": 0.1, "nu": 3.0, "lam": 0.3}


def kind_of(name):
    """The text for ``groups`` of a row of `GROUPS`."""
    return name.split("-")[0]


def tensors(shapes, seed=0, dtype=torch.float64):
    """Parameters with gradients that `gradients` renews."""
    source = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(
            torch.randn(s, generator=source, dtype=torch.float64).to(dtype)
        )
        for s in shapes
    ]


def set_gradients(params, step, seed=100):
    """Noisy pull to +-1, the same for equal parameters, whatever their precision."""
    source = torch.Generator().manual_seed(seed + step)
    for param in params:
        noise = torch.randn(param.shape, generator=source, dtype=torch.float64)
        pull = param.detach().double() - torch.sign(noise + 1)
        param.grad = (0.3 * pull + 0.2 * noise).to(param.dtype)


def train(optimizer, params, n_steps, start=0):
    for step in range(start, start + n_steps):
        set_gradients(params, step)
        optimizer.step()


def arrays(params):
    return [p.detach().numpy().copy() for p in params]
