"""The MNIST data set: packaged, or any folder of IDX files under the standard names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodepert.envs.errors import ConfigError, DatasetError
from nodepert.envs.idx import read_idx

__all__ = ["SPLITS", "Examples", "load_examples"]

SPLITS = ("train", "test", "validation")
PACKAGED = Path(__file__).parent / "data" / "mnist"
SHA256 = {
    "t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
    "train-images-idx3-ubyte.gz": (
        "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971"
    ),
    "train-labels-idx1-ubyte.gz": (
        "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203"
    ),
}
NUM_CLASSES = 10


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of one split. Pickles as the arguments that load it, never as the images.

    Attributes:
        images: uint8 (n, pixels), read-only. Bytes, because that takes a quarter of the memory
            of float32 and gathers as fast.
        labels: int64 (n,), 0 to 9, read-only.
        shape: Rows and columns of an image, rows × columns = pixels.
        source: The arguments of :func:`load_examples` that gave this.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    shape: tuple[int, int]
    source: tuple[str | None, str, bool]

    def __len__(self) -> int:
        """The number of examples, n."""
        return len(self.images)

    def __reduce__(self) -> tuple[Callable[..., Examples], tuple[Any, ...]]:
        """Pickle and deepcopy by loading again, which is free within one process."""
        return load_examples, self.source

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The images of these rows as numbers from 0 to 1, shape (len(rows), pixels), fresh."""
        return np.divide(self.images[rows], np.float32(255))


def load_examples(
    root: str | PathLike[str] | None = None, split: str = "train", holdout: bool = False
) -> Examples:
    """The examples of a split; environments of one process share the arrays.

    Args:
        root: A folder of IDX files; None for the packaged MNIST, whose checksums are verified.
        split: ``"train"``, ``"test"``, or ``"validation"``: the last twelfth of the training
            set but at most 5,000 examples (of MNIST: the last 5,000).
        holdout: Leave the validation examples out of ``split="train"``.

    Raises:
        ConfigError: ``split`` is unknown.
        DatasetError: A file is missing or damaged, or there are too few examples.
    """
    if split not in SPLITS:
        raise ConfigError(f"split={split!r}: expected one of {', '.join(map(repr, SPLITS))}")
    folder = PACKAGED if root is None else Path(root).expanduser().resolve()
    images, labels = load_files(folder, "t10k" if split == "test" else "train")
    validation = max(1, min(5000, len(images) // 12))
    rows = slice(None)
    if split == "validation":
        rows = slice(len(images) - validation, None)
    elif split == "train" and holdout:
        rows = slice(len(images) - validation)
    if len(images[rows]) == 0:
        raise DatasetError(f"{folder}: no examples left for split={split!r}, holdout={holdout}")
    source = (None if root is None else str(folder), split, holdout)
    shape = images.shape[1:]
    return Examples(images.reshape(len(images), -1)[rows], labels[rows], shape, source)


def load_files(folder: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images (n, rows, columns) and labels (n,) of the files with this prefix, cached."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder, expected a folder of IDX files")
    images = find_file(folder, f"{prefix}-images-idx3-ubyte")
    labels = find_file(folder, f"{prefix}-labels-idx1-ubyte")
    return _load_files(images, labels, (images.stat().st_mtime_ns, labels.stat().st_mtime_ns))


def find_file(folder: Path, name: str) -> Path:
    """The file of this name, or of this name with ``.gz``."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise DatasetError(f"{folder / name}: no such file, expected it or {name}.gz")


@lru_cache(maxsize=4)
def _load_files(
    images_path: Path, labels_path: Path, modified: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Reads two files; ``modified`` is part of the cache's key, so that changed files are read."""
    for path in (images_path, labels_path):
        if path.parent == PACKAGED:
            check_sum(path)
    images, bytes_ = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(bytes_):
        raise DatasetError(
            f"{labels_path}: found {len(bytes_)} labels, expected {len(images)}, the number of "
            f"images in {images_path.name}"
        )
    if images.size == 0:
        raise DatasetError(f"{images_path}: found shape {images.shape}, expected some pixels")
    if bytes_.max() >= NUM_CLASSES:
        row = int(bytes_.argmax())
        raise DatasetError(
            f"{labels_path}: found label {bytes_[row]} at row {row}, expected labels from 0 to 9"
        )
    labels = bytes_.astype(np.int64)
    labels.flags.writeable = False
    return images, labels


def check_sum(path: Path) -> None:
    """Compares a packaged file with its checksum.

    Raises:
        DatasetError: They differ.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256.get(path.name):
        raise DatasetError(
            f"{path}: found SHA-256 {found}, expected {SHA256.get(path.name)}: reinstall nodepert"
        )
