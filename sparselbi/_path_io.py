"""One file per path: a compressed ``.npz`` without pickle, written atomically.

The member ``sparselbi_path`` holds a JSON document (format, version, and every field
of the path); the arrays that the document names are members of their own.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

FORMAT = "sparselbi.RegularizationPath"
VERSION = 1
DOCUMENT = "sparselbi_path"


def save_fields(fields: dict[str, Any], file: str | os.PathLike[str]) -> None:
    """Write the fields of a path to `file`; see `RegularizationPath.save`."""
    arrays: dict[str, np.ndarray] = {}
    encoded = {name: _encode(value, name, arrays) for name, value in fields.items()}
    text = json.dumps({"format": FORMAT, "version": VERSION, "fields": encoded})
    arrays[DOCUMENT] = np.frombuffer(text.encode(), dtype=np.uint8)

    target = Path(file)
    # A reader sees the old file or the new one, never half of one.
    part = target.with_name(f"{target.name}.{uuid4().hex}.part")
    try:
        with open(part, "xb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def load_fields(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the fields of a path from `file`; see `RegularizationPath.load`."""
    with open(file, "rb") as stream:
        try:
            document, arrays = _read(stream)
        except _DAMAGE as error:
            raise ValueError(
                f"{str(file)!r} is damaged or is no .npz file of plain arrays "
                f"({type(error).__name__}: {error}); expected a file written by "
                f"RegularizationPath.save."
            ) from error
    if document is None:
        found = ", ".join(sorted(arrays)[:8]) or "nothing"
        raise ValueError(
            f"{str(file)!r} holds {found}, but no path: expected a file written by "
            f"RegularizationPath.save, with the member {DOCUMENT!r}."
        )
    try:
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}, not {FORMAT!r}")
        if document["version"] > VERSION:
            raise ValueError(
                f"its format version is {document['version']}, and this sparselbi "
                f"reads versions up to {VERSION}: upgrade sparselbi"
            )
        encoded = document["fields"]
        return {name: _decode(value, arrays) for name, value in encoded.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{str(file)!r} cannot be read as a path: {error}.") from error


# What numpy, zipfile and json raise on truncated, edited or pickled content.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    OSError,
    EOFError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def _read(stream: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """The parsed document (None if there is none) and all other members."""
    content = np.load(stream, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return None, {"one bare array": content}
    with content:
        if DOCUMENT not in content.files:
            return None, dict.fromkeys(content.files, np.empty(0))
        arrays = {name: content[name] for name in content.files}
    return json.loads(arrays.pop(DOCUMENT).tobytes()), arrays


def _encode(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON; arrays are put into `arrays` and referred to by name."""
    if key in ("loss", "penalty"):
        parts = value._asdict().items()
        parts = {name: _encode(v, f"{key}.{name}", arrays) for name, v in parts}
        return {key: value.name, "fields": parts}
    if hasattr(value, "to_fields"):  # the linear map of a structured penalty
        return {"transform": _encode(value.to_fields(), key, arrays)}
    if hasattr(value, "_fields") and hasattr(value, "knots"):
        return {"path": _encode(value._fields(), key, arrays)}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype != object:
        while key in arrays:
            key += "_"
        arrays[key] = value
        return {"array": key}
    if isinstance(value, np.ndarray) and all(isinstance(v, str) for v in value.flat):
        return {"strings": value.tolist()}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encode(v, f"{key}.{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {
            "dict": {n: _encode(v, _under(key, n), arrays) for n, v in value.items()}
        }
    kind = getattr(value, "dtype", type(value).__name__)
    raise ValueError(
        f"path.{key} cannot be saved: it is {kind}, and a file holds numbers, strings, "
        f"arrays of them, and lists, tuples and dicts (with string keys) of those."
    )


def _under(key: str, name: str) -> str:
    # The loss and the penalty of a path are told by their names.
    return name if name in ("loss", "penalty") else f"{key}.{name}"


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind in ("loss", "penalty"):
        fields = value["fields"].items()
        return _formula(kind, content, {f: _decode(v, arrays) for f, v in fields})
    if kind == "array":
        return arrays[content]
    if kind == "strings":
        return np.array(content, dtype=object)
    if kind == "dict":
        return {name: _decode(v, arrays) for name, v in content.items()}
    if kind == "transform":
        from .penalties.transforms import Transform

        return Transform.from_fields(_decode(content, arrays))
    if kind == "path":
        return path_class(decoded := _decode(content, arrays))(**decoded)
    sequence = [_decode(v, arrays) for v in content]
    return tuple(sequence) if kind == "tuple" else sequence


def path_class(fields: dict[str, Any]) -> Any:
    """The class of path that has these fields."""
    from .path import RegularizationPath
    from .shift_path import ShiftPath
    from .split_path import SplitPath
    from .vote_path import VotePath

    if "row_rest" in fields:
        return VotePath
    if "row_events" in fields:
        return ShiftPath
    return SplitPath if "split" in fields else RegularizationPath


def _formula(kind: str, name: str, fields: dict[str, Any]) -> Any:
    """The loss or penalty called `name`, from the package's own table."""
    from .losses import LOSSES
    from .penalties import PENALTIES

    tables: dict[str, Any] = {"loss": LOSSES, "penalty": PENALTIES}
    if (kind, name) == ("loss", "network"):
        from .torch._network_loss import NetworkLoss

        return NetworkLoss(**fields)
    table = tables[kind]
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {sorted(table)}")
    return table[name](**fields)
