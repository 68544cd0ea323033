"""Structurally sparse networks while they train: DessiLBI for PyTorch.

An optional part: ``pip install "sparselbi[torch]"``. Importing it does not import
torch; the first use of a name does.
"""

from importlib import import_module

from .._utils.optional import import_optional

_HOME = {
    "Coupling": "coupling",
    "DessiLBI": "optim",
    "GroupTable": "group_table",
    "Grown": "growing",
    "GrowthReport": "growth",
    "GrowthRound": "growth",
    "ParameterChange": "_moving",
    "PathRecorder": "recorder",
    "PruneReport": "_report",
    "Pruned": "pruning",
    "TicketReport": "tickets",
    "couple": "coupling",
    "group_masks": "masks",
    "groups_for": "groups",
    "grow": "growing",
    "grow_while_better": "growth",
    "hold_masks": "tickets",
    "load_pruned": "_saved",
    "move_optimizer": "_moving",
    "prune": "pruning",
    "selected_share": "masks",
    "sparse_weights": "masks",
    "ticket": "tickets",
    "widths_to_grow": "full_layers",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'sparselbi.torch' has no attribute {name!r}")
    import_optional("torch", "torch")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
