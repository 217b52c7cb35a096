"""Small folders of IDX files."""

import gzip
import struct

import numpy as np
import pytest


def idx_bytes(values):
    """A file in the IDX format, from its specification."""
    values = np.asarray(values, np.uint8)
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


@pytest.fixture
def write_mnist(tmp_path):
    """Writes a data set of the same shape as MNIST's, smaller, and returns its folder."""

    def write(sizes=(36, 12), side=(4, 5), pack=False, labels=None):
        rng = np.random.default_rng(0)
        for prefix, size in zip(("train", "t10k"), sizes, strict=True):
            images = rng.integers(256, size=(size, *side))
            given = np.arange(size) % 10 if labels is None else labels
            for name, values in (("images-idx3", images), ("labels-idx1", given)):
                content = idx_bytes(values)
                path = tmp_path / f"{prefix}-{name}-ubyte{'.gz' if pack else ''}"
                path.write_bytes(gzip.compress(content, 1) if pack else content)
        return tmp_path

    return write
