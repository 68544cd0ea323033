"""Packages that only some features need."""

from __future__ import annotations

import importlib
from types import ModuleType


def import_optional(name: str, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Parameters
    ----------
    name : str
        Module to import, for example ``"pooch"``.
    extra : str
        The extra of sparselbi that installs it, for example ``"data"``.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If the module cannot be imported; the message holds the install command.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"This feature needs the package {name!r}, which cannot be imported "
            f'({error}). Install it with: pip install "sparselbi[{extra}]"'
        ) from error
