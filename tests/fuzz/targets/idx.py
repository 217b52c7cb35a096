"""IDX files: raw or packed bytes that are nearly right."""

from __future__ import annotations

import gzip
import pathlib
import struct
from random import Random

from driver import Target
from wild import damaged

from nodepert.envs.idx import read_idx

__all__ = ["TARGET"]

SIZES = (0, 1, 2, 3, 255, 2**16, 2**31, 2**32 - 1)


def make(random: Random) -> bytes:
    """A file with a header that may lie, packed by gzip or not, damaged or not."""
    axes = random.randrange(5)
    sizes = [random.choice(SIZES[:4] if random.random() < 0.8 else SIZES) for _ in range(axes)]
    values = random.randbytes(min(random.choice((0, 1, 2, 4, 8, 18, 27)), 64))
    kind = 8 if random.random() < 0.9 else random.randrange(16)
    content = bytes([0, 0, kind, axes]) + struct.pack(f">{axes}I", *sizes) + values
    if random.random() < 0.5:
        content = damaged(random, content)
    if random.random() < 0.5:
        content = gzip.compress(content, 1, mtime=0)
        if random.random() < 0.7:
            content = damaged(random, content)
    return content


def feed(content: bytes) -> None:
    """Reads images, and labels."""
    path = pathlib.Path("input")
    path.write_bytes(content)
    read_idx(path, content[3] % 4 if len(content) > 3 else 1)


TARGET = Target("idx files", make, feed, share=0.45)
