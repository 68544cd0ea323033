"""Scripts that train sparse networks: read them, run them, copy from them.

``python -m sparselbi.torch.examples.lenet --help``, and the same for ``images``,
``text`` and ``imagenet``. What they share is in ``data``, ``networks``,
``relative``, ``results`` and ``training``.
"""
