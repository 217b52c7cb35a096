"""Reads IDX files, the format of MNIST: a magic number, the sizes of each axis, then the bytes.

A file is trusted for nothing: its size must be what its header says, and no more memory is taken
than bytes are there.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nodepert.envs.errors import DatasetError

__all__ = ["read_idx"]

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTES = 8  # the third byte of the magic number: the type of the values
_CHUNK = 1 << 20


def read_idx(path: Path, num_axes: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, which may be compressed by gzip.

    Args:
        path: The file. Whether it is compressed is seen from its first bytes, not from its name.
        num_axes: How many axes it must have: 3 for images, 1 for labels.

    Returns:
        A read-only array of ``num_axes`` axes.

    Raises:
        DatasetError: The file is missing, can't be read, has another magic number, is shorter or
            longer than its header says, or is a damaged gzip file.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _parse(unpacked, path, num_axes)
            return _parse(file, path, num_axes)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file, expected an IDX file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(
            f"{path}: found damaged gzip data ({error}), expected a whole gzip file"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: can't be read, expected an IDX file: {error}") from error


def _parse(file: BinaryIO | gzip.GzipFile, path: Path, num_axes: int) -> NDArray[np.uint8]:
    magic, expected_magic = file.read(4), bytes([0, 0, _UNSIGNED_BYTES, num_axes])
    if magic != expected_magic:
        raise DatasetError(
            f"{path}: found magic number 0x{magic.hex() or '(empty file)'}, expected "
            f"0x{expected_magic.hex()} (IDX, unsigned bytes, {num_axes} axes)"
        )
    header = file.read(4 * num_axes)
    if len(header) < 4 * num_axes:
        raise DatasetError(
            f"{path}: found {len(header)} bytes of axis sizes, expected {4 * num_axes}: "
            "the file is truncated"
        )
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    content = _read_at_most(file, prod(shape) + 1)
    if len(content) != prod(shape):
        found, reason = f"{len(content)} bytes", "the file is truncated"
        if len(content) > prod(shape):
            found, reason = "more bytes", "there are trailing bytes"
        raise DatasetError(
            f"{path}: found {found} of content, expected {prod(shape)} for the shape {shape} in "
            f"the header: {reason}"
        )
    values = np.frombuffer(content, np.uint8).reshape(shape)
    values.flags.writeable = False
    return values


def _read_at_most(file: BinaryIO | gzip.GzipFile, limit: int) -> bytearray:
    """Up to ``limit`` bytes, in chunks: a header that lies must not make us allocate."""
    content = bytearray()
    while chunk := file.read(min(_CHUNK, limit - len(content))):
        content += chunk
    return content
