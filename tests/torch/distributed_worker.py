"""What `test_distributed` runs: in one process, and in each of two that share tensors.

``python distributed_worker.py RANK FOLDER`` runs everything on one of the two and
writes ``FOLDER/RANK.pt``; `test_distributed` imports the same functions for one.
"""

import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from sparselbi.torch import (
    DessiLBI,
    PathRecorder,
    couple,
    group_masks,
    groups_for,
    hold_masks,
    prune,
    sparse_weights,
    ticket,
)
from tests.torch.common import BASE, GROUPS, kind_of, tensors

WORLD = 2
# The rows of GROUPS cut evenly and unevenly; these are the hard ones.
CASES = {
    **GROUPS,
    "element-one": [(1, 3)],
    "filter-uneven": [(5, 3, 2, 2)],
    "neuron-one": [(1, 4)],
    "row-three": [(3, 5)],
    "channel-one": [(3, 1, 2)],
    "tensor-one": [(1, 4)],
    "dim0/3-straddle": [(9, 2)],
    "dim0/3-whole": [(12, 2)],
    "dim0/2-straddle": [(6, 3)],
    "dim1/3-straddle": [(2, 9)],
    "2:4-uneven": [(5, 8)],
    "2:4-one": [(1, 16)],
    "neuron,neuron,neuron,channel": [(5, 3), (5, 2), (5, 3), (3, 5)],
    "dim0/3,dim0/3": [(12, 2), (6, 3)],
    "dim0/3,dim0/3-straddle": [(12, 2), (9, 3)],
}
OPTIONS = {
    "loop": {"momentum": 0.9, "foreach": False},
    "fast": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "scaled": {"size_scaling": True, "lam": 0.1, "kappa": 1.5},
}


# ------------------------------------------------------------------ placements by hand


class Whole:
    """One process: tensors stay as they are."""

    def piece(self, tensor):
        return tensor

    def __call__(self, tensor):
        return tensor.clone()

    def local(self, tensor):
        return tensor.detach()

    def wrap(self, piece, shape):
        return piece


class Cut:
    """Tensors in pieces, as `torch.chunk` cuts them; by hand."""

    def __init__(self, mesh, placements):
        self.mesh, self.placements = mesh, placements

    def piece(self, tensor):
        for axis, placement in enumerate(self.placements):
            if placement.is_shard():
                chunks = tensor.chunk(self.mesh.size(axis), placement.dim)
                rank = self.mesh.get_local_rank(axis)
                empty = tensor.narrow(placement.dim, 0, 0)
                tensor = chunks[rank] if rank < len(chunks) else empty
        return tensor

    def local(self, tensor):
        return tensor.detach().to_local()

    def wrap(self, piece, shape):
        from torch.distributed.tensor import DTensor

        return DTensor.from_local(
            piece,
            self.mesh,
            self.placements,
            run_check=False,
            shape=torch.Size(shape),
            stride=torch.empty(shape, device="meta").stride(),
        )

    def __call__(self, tensor):
        return self.wrap(self.piece(tensor).clone(), tensor.shape)


def fitting(cut):
    """The cases whose tensors all have the dim along which they are cut."""
    dim = cut if isinstance(cut, int) else 0
    return [n for n, shapes in CASES.items() if all(len(s) > dim for s in shapes)]


def kinds(put, names, options, n_steps=15):
    """Train the tensors of some cases together; everything that can be asked."""
    groups = []
    for name in names:
        wholes = [p.detach() for p in tensors(CASES[name])]
        params = [(f"{name} {k}", nn.Parameter(put(p))) for k, p in enumerate(wholes)]
        groups.append({"params": params, "groups": kind_of(name)})
    dense = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    groups.append({"params": [("dense", nn.Parameter(put(dense)))]})
    params = dict(pair for group in groups for pair in group["params"])
    if options == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=0.03)
        coupling = couple(optimizer, nu=3.0, lam=0.03)
    else:
        coupling = optimizer = DessiLBI(groups, **{**BASE, **OPTIONS[options]})
    recorder = PathRecorder(optimizer, every=3, n_knots=2, max_groups=10)
    source = torch.Generator().manual_seed(1)
    for _ in range(n_steps):
        for param in params.values():
            noise = torch.randn(param.shape, generator=source, dtype=torch.float64)
            pull = put.local(param) - put.piece(torch.sign(noise + 1))
            grad = 0.3 * pull + 0.2 * put.piece(noise)
            param.grad = put.wrap(grad, param.shape)
        optimizer.step()
    path = recorder.to_path()
    states = {name: optimizer.state[p] for name, p in params.items()}
    pieces = {
        "params": {name: put.local(p) for name, p in params.items()},
        "duals": {n: put.local(s["dual"]) for n, s in states.items() if "dual" in s},
    }
    return pieces, {
        "path_time": coupling.path_time,
        **reports(recorder, optimizer),
        "knots": path.knots,
        "coefs": path.active_coefs,
        "predicted": coupling.predicted_selection() if options == "scaled" else None,
        "state": recorder.state_dict(),
        "repr": repr(recorder),
    }


def reports(recorder, optimizer, model=None):
    return {
        "entries": recorder.entries(),
        "fractions": recorder.fractions(),
        "entry_steps": recorder.entry_steps(),
        "masks_at": recorder.masks_at(recorder._times[-1] * 0.7),
        "masks": group_masks(model, optimizer),
    }


# ----------------------------------------------------------------------------- networks


class Network(nn.Module):
    """Rows that two processes cannot share evenly, a single row, joined heads."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.norm = nn.LayerNorm(20)
        self.query = nn.Linear(20, 6, bias=False)
        self.key = nn.Linear(20, 6, bias=False)
        self.value = nn.Linear(20, 6, bias=False)
        self.out = nn.Linear(6, 20)
        self.narrow = nn.Linear(20, 1)
        self.last = nn.Linear(21, 3)

    def forward(self, x):
        x = self.norm(torch.relu(self.conv(x)).flatten(1))
        q, k, v = (
            f(x).unflatten(1, (3, 2)) for f in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(
            q[:, :, None], k[:, :, None], v[:, :, None]
        )
        x = x + self.out(mixed.flatten(1))
        return self.last(torch.cat([x, torch.tanh(self.narrow(x))], 1))


CHOOSE = {
    ("query.weight", "key.weight", "value.weight", "out.weight"): (
        "dim0/3,dim0/3,dim0/3,dim1/3"
    ),
    "last.weight": "channel",
    "norm.weight": "element",
}
LEVELS = ("unit", "weight", "layer")


def network(dtype=torch.float64):
    torch.manual_seed(3)
    return Network().to(dtype)


def batches(n_steps, rank=0, world=1, size=8, dtype=torch.float64, start=0):
    """The share of a process of the same batches."""
    for step in range(start, start + n_steps):
        source = torch.Generator().manual_seed(50 + step)
        x = torch.randn(size, 1, 4, 4, generator=source, dtype=dtype)
        y = (x.flatten(1)[:, :3] + x.flatten(1)[:, 5:8]).argmax(1)
        own = slice(rank * size // world, (rank + 1) * size // world)
        yield x[own], y[own]


def optimizer_of(model, level="unit", kind="dessilbi", **options):
    table = groups_for(model, level, choose=CHOOSE if level == "unit" else None)
    settings = {"nu": 2.0, "lam": {"unit": 0.2, "weight": 0.05, "layer": 0.4}[level]}
    if kind == "dessilbi":
        more = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}
        return DessiLBI(table, **{**settings, **more, **options})
    optimizer = torch.optim.AdamW(table, lr=0.03)
    couple(optimizer, **{**settings, "lam": settings["lam"] / 4})
    return optimizer


def fit(model, optimizer, data, clip=None):
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()


def full_state(model):
    """The whole state of a model, on every process."""
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
    )

    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    return {name: tensor.clone() for name, tensor in state.items()}


class One:
    """One process."""

    rank, world = 0, 1

    def __call__(self, model):
        return model

    def spoil(self, model):
        model.conv.weight.grad[3:] = float("inf")

    def state(self, model):
        return {name: t.clone() for name, t in model.state_dict().items()}


class Fsdp:
    """A layer and the rest sharded by `fully_shard`, along dim 0 or where asked."""

    world = WORLD

    def __init__(self, rank, columns=(), **options):
        self.rank, self.columns, self.options = rank, columns, options

    def __call__(self, model):
        from torch.distributed.fsdp import fully_shard
        from torch.distributed.tensor import Shard

        columns = {id(model.get_parameter(name)) for name in self.columns}
        fully_shard(
            model.out,
            shard_placement_fn=lambda p: Shard(int(id(p) in columns)),
            **self.options,
        )
        return fully_shard(model, **self.options)

    def spoil(self, model):
        if self.rank == 1:
            model.conv.weight.grad.to_local()[:] = float("inf")

    def state(self, model):
        return full_state(model)


class Ddp:
    world = WORLD

    def __init__(self, rank):
        self.rank = rank

    def __call__(self, model):
        return nn.parallel.DistributedDataParallel(model)

    def spoil(self, model):
        model.module.conv.weight.grad[3:] = float("inf")

    def state(self, model):
        return {name: t.clone() for name, t in model.module.state_dict().items()}


def training(way, level="unit", kind="dessilbi", n_steps=9, clip=None, **options):
    """Train a network; look, evaluate the sparse one meanwhile, and go on."""
    model = way(network())
    optimizer = optimizer_of(model, level, kind, **options)
    recorder = PathRecorder(optimizer, model, every=2, n_knots=4)
    fit(model, optimizer, batches(n_steps, way.rank, way.world), clip)
    (x, _), *_ = batches(1)
    with torch.no_grad():
        full = model(x)
        with sparse_weights(model, optimizer) as masks:
            sparse = model(x)
        again = model(x)
    found = {"full": full, "sparse": sparse, "again": again, "yielded": masks}
    found |= reports(recorder, optimizer, model)
    fit(model, optimizer, batches(2, way.rank, way.world, start=n_steps), clip)
    return {**found, "state": way.state(model), "names": recorder.names}


def accumulation(way):
    """Two halves of every batch before a step; with DDP the first does not talk."""
    from contextlib import nullcontext

    model = way(network())
    optimizer = optimizer_of(model)
    recorder = PathRecorder(optimizer, model, every=1)
    for x, y in batches(6, way.rank, way.world):
        optimizer.zero_grad()
        for k in range(2):
            quiet = k == 0 and hasattr(model, "no_sync")
            with model.no_sync() if quiet else nullcontext():
                half = slice(k * len(x) // 2, (k + 1) * len(x) // 2)
                (F.cross_entropy(model(x[half]), y[half]) / 2).backward()
        optimizer.step()
    return {"state": way.state(model), **reports(recorder, optimizer, model)}


def tuning(way):
    """Train, fix the support, and train with the masks held."""
    model = way(network())
    optimizer = optimizer_of(model, "weight")
    recorder = PathRecorder(optimizer, model, every=1)
    fit(model, optimizer, batches(8, way.rank, way.world))
    masks = recorder.masks_at(recorder._times[-1])
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    later = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with hold_masks(model, masks):
        fit(model, later, batches(4, way.rank, way.world, start=8), clip=0.5)
    return {"state": way.state(model), "masks": masks}


def overflow(way):
    """The last rows of a gradient overflow; with pieces, those of one process."""
    model = way(network(torch.float32))
    optimizer = optimizer_of(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    data = batches(6, way.rank, way.world, dtype=torch.float32)
    for step, (x, y) in enumerate(data):
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(x), y)).backward()
        if step == 3:
            way.spoil(model)
        scaler.step(optimizer)
        scaler.update()
    return {
        "state": way.state(model),
        "n_steps": [g["n_steps"] for g in optimizer.param_groups if g["groups"]],
        "scale": scaler.get_scale(),
    }


# -------------------------------------------------------------------- only with pieces


def checkpoints(way, single):
    """Stop after 6 of 12 steps and go on, in several ways; the states at the end."""
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        get_optimizer_state_dict,
        set_model_state_dict,
        set_optimizer_state_dict,
    )

    def run(model, optimizer, start, recorder=None):
        fit(model, optimizer, batches(6, way.rank, way.world, start=start))

    found = {}
    for kind in ("dessilbi", "adamw"):
        model = way(network())
        optimizer = optimizer_of(model, kind=kind)
        recorder = PathRecorder(optimizer, model, every=1)
        run(model, optimizer, 0)
        saved, record = {}, recorder.state_dict()
        for full in (True, False):
            options = StateDictOptions(full_state_dict=full)
            saved[full] = (
                get_model_state_dict(model, options=options),
                get_optimizer_state_dict(model, optimizer, options=options),
            )
            saved[full] = copy_of(saved[full])
        run(model, optimizer, 6)
        found[kind] = way.state(model)
        found[kind, "entries"] = recorder.entries()
        sources = {"full": saved[True], "sharded": saved[False]}
        if kind == "dessilbi":
            sources["single"] = single
        for source, (weights, state) in sources.items():
            full = source != "sharded"
            options = StateDictOptions(full_state_dict=full)
            model = way(Network().double())
            optimizer = optimizer_of(model, kind=kind)
            set_model_state_dict(model, weights, options=options)
            set_optimizer_state_dict(model, optimizer, state, options=options)
            recorder = PathRecorder(optimizer, model, every=1)
            recorder.load_state_dict(record)
            run(model, optimizer, 6)
            found[kind, source] = way.state(model)
            found[kind, source, "entries"] = recorder.entries()
            found[kind, source, "path_time"] = [
                group["path_time"] for group in optimizer.param_groups
            ]
    return found


def copy_of(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(copy_of(item) for item in value)
    return value


def single_checkpoint():
    """The state of one process after 6 steps, under the names of the parameters."""
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        get_optimizer_state_dict,
    )

    model = network()
    optimizer = optimizer_of(model)
    fit(model, optimizer, batches(6))
    options = StateDictOptions(full_state_dict=True)
    return copy_of(
        (
            get_model_state_dict(model, options=options),
            get_optimizer_state_dict(model, optimizer, options=options),
        )
    )


def mixed_precision(rank):
    """bfloat16 compute: the optimizer holds float32 pieces and float32 duals."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32
    )
    way = Fsdp(rank, mp_policy=policy)
    model = way(network(torch.float32))
    before = way.state(model)
    optimizer = optimizer_of(model, lr=0.125)
    data = list(batches(10, rank, WORLD, dtype=torch.float32))
    fit(model, optimizer, data[:1])
    weights = {name: p for name, p in model.named_parameters()}
    first = {
        name: optimizer.state[p]["dual"].full_tensor().clone()
        for name, p in weights.items()
        if "dual" in optimizer.state[p]
    }
    fit(model, optimizer, data[1:])
    dtypes = {optimizer.state[weights[name]]["dual"].dtype for name in first}
    masks = group_masks(model, optimizer)
    return {"before": before, "first": first, "dtypes": dtypes, "masks": masks}


def collectives(rank, mesh):
    """Messages of one step of the optimizer, for several choices of groups."""
    from torch.distributed.tensor import Shard

    put, counts = Cut(mesh, [Shard(0)]), {}
    real = torch.distributed.all_reduce
    shapes = [(5, 4), (6, 4), (12, 4)]
    for name, texts in {
        "rows": ["neuron"] * 3,
        "elements": ["element"] * 3,
        "heads": ["neuron", "dim0/2", "dim0/6"],
        "heads cut apart": ["neuron", "dim0/3", "dim0/4"],
        "columns": ["channel", "tensor", "dim0/4"],
    }.items():
        groups = []
        for shape, text in zip(shapes, texts, strict=True):
            param = nn.Parameter(put(torch.ones(shape)))
            param.grad = put(torch.ones(shape))
            groups.append({"params": [param], "groups": text})
        optimizer = DessiLBI(groups, lr=0.1)
        calls = []

        def counted(*args, calls=calls, **kwargs):
            calls.append(1)
            return real(*args, **kwargs)

        torch.distributed.all_reduce = counted
        try:
            optimizer.step()
        finally:
            torch.distributed.all_reduce = real
        counts[name] = len(calls)
    return counts


def refusals(rank, mesh):
    """The messages of what is not supported."""
    from torch.distributed.tensor import Partial, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    def param(placement, shape=(4, 12)):
        return nn.Parameter(Cut(mesh, [placement])(torch.ones(shape)))

    def attempt(function, *args, **kwargs):
        try:
            function(*args, **kwargs)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing was raised"

    def register(params, text):
        return attempt(DessiLBI, [{"params": params, "groups": text}], lr=0.1)

    found = {
        "n:m": register([("a", param(Shard(1)))], "2:4"),
        "mixed": register(
            [("a", param(Shard(0))), ("b", nn.Parameter(torch.ones(4, 2)))],
            "neuron,neuron",
        ),
    }
    strided = torch.distributed.tensor.DTensor.from_local(
        torch.ones(2, 3), mesh, [_StridedShard(0, split_factor=2)], run_check=False
    )
    found["strided"] = register([("a", nn.Parameter(strided))], "neuron")
    partial = torch.distributed.tensor.DTensor.from_local(
        torch.ones(2, 3), mesh, [Partial()], run_check=False
    )
    found["partial"] = register([("a", nn.Parameter(partial))], "element")
    flat = nn.Parameter(torch.ones(6))
    flat._fsdp_flattened = True
    found["flat"] = register([("a", flat)], "element")

    sharded = DessiLBI([{"params": [param(Shard(0))], "groups": "neuron"}], lr=0.1)
    whole = nn.Parameter(torch.ones(4, 12))
    plain = DessiLBI([{"params": [whole], "groups": "neuron"}], lr=0.1)
    whole.grad = torch.ones(4, 12)
    plain.step()
    found["plain state"] = attempt(sharded.load_state_dict, plain.state_dict())

    model = Fsdp(rank)(network())
    optimizer = optimizer_of(model)
    masks = {"conv.weight": torch.ones(5, 1, 3, 3, dtype=torch.bool)}
    x = torch.ones(2, 1, 4, 4, dtype=torch.float64)
    found["prune"] = attempt(prune, model, masks, x)
    found["prune recorder"] = attempt(prune, model, PathRecorder(optimizer, model), x)
    found["ticket"] = attempt(ticket, model, masks, print, start="keep")
    return found


# --------------------------------------------------------------------------- the worker

# How the tensors are cut, and options
KINDS = [
    *((0, options) for options in (*OPTIONS, "adamw")),
    *((1, options) for options in ("fast", "scaled")),
    (None, "fast"),
    ("square", "fast"),
]
# name -> function of a way, for networks; run on one process, too
NETWORKS = {
    **{f"training {level}": (training, {"level": level}) for level in LEVELS},
    "training loop": (training, {"foreach": False, "clip": 0.7}),
    "training adamw": (training, {"kind": "adamw", "clip": 0.7}),
    "accumulation": (accumulation, {}),
    "tuning": (tuning, {}),
    "overflow": (overflow, {}),
}


def all_results(rank, folder):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard

    found = {}
    line = init_device_mesh("cpu", (WORLD,))
    square = init_device_mesh("cpu", (1, WORLD), mesh_dim_names=("copies", "pieces"))
    ways = {
        0: Cut(line, [Shard(0)]),
        1: Cut(line, [Shard(1)]),
        None: Cut(line, [Replicate()]),
        "square": Cut(square, [Replicate(), Shard(0)]),
    }
    for cut, options in KINDS:
        found["kinds", cut, options] = kinds(ways[cut], fitting(cut), options)

    for name, (function, options) in NETWORKS.items():
        found["fsdp", name] = function(Fsdp(rank), **options)
        found["ddp", name] = function(Ddp(rank), **options)
    found["columns", "training unit"] = training(Fsdp(rank, columns=["out.weight"]))
    found["kept", "training unit"] = training(Fsdp(rank, reshard_after_forward=False))
    single = torch.load(folder / "single.pt", weights_only=True)
    found["checkpoints"] = checkpoints(Fsdp(rank), single)
    found["mixed precision"] = mixed_precision(rank)
    found["collectives"] = collectives(rank, line)
    found["refusals"] = refusals(rank, line)
    return found


def main():
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=60),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = all_results(rank, folder)
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
