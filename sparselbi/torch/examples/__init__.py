"""Scripts that train sparse networks: read them, run them, copy from them.

``python -m sparselbi.torch.examples.lenet --help``, and the same for ``images``,
``text`` and ``imagenet``. What they share is in ``data``, ``networks``,
``relative``, ``results`` and ``training``. They need the extra ``pruning``.
"""

from importlib.util import find_spec

from ..._utils.optional import import_optional

for _name in ("torch", "torch_pruning"):
    if find_spec(_name) is None:  # said now, not after hours of training
        import_optional(_name, "pruning")
