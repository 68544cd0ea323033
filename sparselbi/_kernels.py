"""Compiled loops: how they find a formula, and where their machine code is cached.

A formula is written once, as a method of a ``NamedTuple`` (a loss, a penalty, a
model of how the score reacts). `formula` turns such a method into a generic function
that works in plain Python and, chosen by the type of its first argument, inside
compiled code.

Compiled code is cached in a folder whose name holds a hash of the package's sources,
because Numba does not notice that a function in *another* file was edited. Without
any writable folder the functions are compiled anew in each process.
"""

import hashlib
import os
from pathlib import Path

import numba
from numba.extending import overload

_PACKAGE = Path(__file__).parent
# `nnan` and `ninf` are left out: they would let the compiler drop finiteness checks.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def _source_hash():
    """Hash of the files in which compiled functions and their formulas live."""
    digest = hashlib.sha256()
    files = [_PACKAGE / "_kernels.py", _PACKAGE / "problem.py"]
    for folder in ("losses", "penalties", "solvers"):
        files += sorted((_PACKAGE / folder).glob("*.py"))
    for file in files:
        content = file.read_bytes()
        # Compiled functions need `_kernels`, formulas and their arrays a NamedTuple:
        # an edit of any other file leaves the compiled code as it is.
        if b"_kernels" in content or b"NamedTuple" in content:
            digest.update(str(file.relative_to(_PACKAGE)).encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def _candidate_folders():
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR)
    yield _PACKAGE / "__pycache__"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    if base:
        yield Path(base) / "sparselbi"
    elif Path.home().is_absolute():
        yield Path.home() / ".cache" / "sparselbi"


def cache_folder():
    """Return the folder for compiled code, or None when no folder is writable."""
    name = f"numba-{_source_hash()}"
    for parent in _candidate_folders():
        folder = parent / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


_FOLDER = cache_folder()


def jit(function):
    """Compile `function` on first use, cached on disk, without holding the GIL."""
    saved = numba.config.CACHE_DIR
    # Numba reads the setting at decoration time; other packages keep their own folder.
    numba.config.CACHE_DIR = str(_FOLDER or "")
    try:
        return numba.njit(cache=_FOLDER is not None, nogil=True, fastmath=FASTMATH)(
            function
        )
    finally:
        numba.config.CACHE_DIR = saved


def inner(function):
    """Compile `function` for calls from compiled code only.

    Without an entry point from Python, and cached as part of its callers: unpacking the
    arguments in Python would take longer to compile than the function itself.
    """
    return numba.njit(
        nogil=True, fastmath=FASTMATH, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)


def formula(function):
    """Make `function` generic: it calls the method of its first argument's type.

    The method must have the same name and the same argument names as `function`; the
    body of `function` is only documentation. The decorated function works in plain
    Python and in compiled code.
    """
    name = function.__name__

    def call(*args):
        return getattr(type(args[0]), name)(*args)

    call.__name__ = name
    call.__doc__ = function.__doc__

    options = {
        "fastmath": FASTMATH,
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
    }
    overload(call, strict=False, jit_options=options)(
        lambda *args: getattr(args[0].instance_class, name)
    )
    return call
