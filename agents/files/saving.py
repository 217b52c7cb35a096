"""Model files: one zip of JSON and safetensors, written atomically; reading one runs no code."""

from __future__ import annotations

import io
import json
import math
import os
import pathlib
import struct
import tempfile
import zipfile
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from nodepert.agents.errors import FileFormatError, MissingFileError

__all__ = [
    "FilePath",
    "read_archive",
    "remove_leftovers",
    "space_from_json",
    "space_to_json",
    "write_archive",
    "write_atomically",
]

FilePath = str | pathlib.Path | io.BufferedIOBase

FORMAT = 1
MOST_VALUES = 2**24
"""Of a Box: a few bytes of JSON could ask for any size."""
# What zipfile and json raise, by their documentation or in fact, on bytes that make no sense.
UNREADABLE = (KeyError, ValueError, EOFError, RuntimeError, OverflowError, struct.error)


def write_archive(path: FilePath, document: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Writes a model file: the whole of it or nothing.

    Args:
        path: Where to; ".zip" is added to a name without a suffix. Or an open binary file.
        document: What JSON can hold.
        tensors: All else.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        # Under a ZipInfo of its own an entry has no time, so that equal models are equal files.
        text = json.dumps({"format": FORMAT, **document}, indent=1)
        archive.writestr(zipfile.ZipInfo("nodepert.json"), text)
        flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        archive.writestr(zipfile.ZipInfo("tensors.safetensors"), save_tensors(flat))
    if isinstance(path, io.BufferedIOBase | io.RawIOBase):
        path.write(buffer.getvalue())
        return
    write_atomically(with_suffix(path), buffer.getvalue())


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a temporary file beside ``path``, then renames it: no reader sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files private
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def sync_folder(path: pathlib.Path) -> None:
    """Makes a rename last through a loss of power, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: pathlib.Path, name: str) -> None:
    """Removes what a process that was killed in :func:`write_atomically` left of ``name``.

    Args:
        folder: Where.
        name: Of the file, with ``*`` for any text.
    """
    for path in folder.glob(f".{name}.????????"):
        path.unlink(missing_ok=True)


def read_archive(
    path: FilePath, device: torch.device | str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads what :func:`write_archive` wrote.

    Raises:
        MissingFileError: No such file.
        FileFormatError: Not a model file of nodepert, or a damaged one.
    """
    if not isinstance(path, io.BufferedIOBase | io.RawIOBase):
        path = pathlib.Path(path)
        if not path.is_file():
            path = with_suffix(path)
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file; expected a model that was saved")
        content = path.read_bytes()
    else:
        content = path.read()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise FileFormatError(f"{path}: not a model file of nodepert (compressed entries)")
            document = json.loads(archive.read("nodepert.json"))
            tensors = load_tensors(archive.read("tensors.safetensors"))
    except (zipfile.BadZipFile, *UNREADABLE, SafetensorError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(
            f"{path}: not a model file of nodepert, or damaged: {error}"
        ) from error
    found = document.get("format") if isinstance(document, dict) else document
    if not isinstance(document, dict) or found != FORMAT:
        raise FileFormatError(f"{path}: format {found!r}, expected {FORMAT}")
    return document, {name: tensor.to(device) for name, tensor in tensors.items()}


def with_suffix(path: str | pathlib.Path | Any) -> pathlib.Path:
    """The path, with ".zip" where it has no suffix, as Stable-Baselines3 names files."""
    path = pathlib.Path(path)
    return path if path.suffix else path.with_suffix(".zip")


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A Box, Discrete, MultiDiscrete or MultiBinary space as JSON, or a Dict of such.

    Raises:
        FileFormatError: Any other space.
    """
    if isinstance(space, spaces.Box):

        def bound(values: np.ndarray[Any, Any]) -> Any:
            values = values.astype(np.float64)
            return (
                values.flat[0]
                if values.size and np.all(values == values.flat[0])
                else values.tolist()
            )

        return {
            "type": "Box",
            "low": bound(space.low),
            "high": bound(space.high),
            "shape": list(space.shape),
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        start = space.start.tolist()
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": start}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": np.asarray(space.n).tolist()}
    if isinstance(space, spaces.Dict):
        parts = [[name, space_to_json(part)] for name, part in space.spaces.items()]
        return {"type": "Dict", "spaces": parts}
    raise FileFormatError(f"{space}: only Box and discrete spaces and Dicts of them can be saved")


def space_from_json(document: dict[str, Any]) -> spaces.Space[Any]:
    """The space that :func:`space_to_json` described.

    Raises:
        FileFormatError: It describes none.
    """
    try:
        if document["type"] == "Discrete":
            return spaces.Discrete(document["n"], start=document["start"])
        if document["type"] == "MultiDiscrete":
            start = np.asarray(document["start"])
            return spaces.MultiDiscrete(np.asarray(document["nvec"]), start=start)
        if document["type"] == "MultiBinary":
            return spaces.MultiBinary(document["n"])
        if document["type"] == "Box":
            dtype, shape = np.dtype(document["dtype"]), tuple(document["shape"])
            if math.prod(shape) > MOST_VALUES:
                raise ValueError(f"more than {MOST_VALUES:,} values")
            low, high = (
                np.broadcast_to(np.asarray(document[key], np.float64), shape).astype(dtype)
                for key in ("low", "high")
            )
            return spaces.Box(low, high, shape, cast(Any, dtype.type))
        if document["type"] == "Dict":  # a list of pairs keeps its order
            return spaces.Dict([(name, space_from_json(one)) for name, one in document["spaces"]])
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise FileFormatError(f"space {document!r} can't be read: {error}") from error
    raise FileFormatError(
        f"space {document!r}: expected a Box, Dict, Discrete, MultiDiscrete or MultiBinary space"
    )
