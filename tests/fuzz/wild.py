"""Random material for all targets: values that fit nowhere, and damage to bytes and to JSON.

All is drawn from a ``random.Random``, which the driver seeds and Hypothesis can shrink.
"""

from __future__ import annotations

import copy
import math
from random import Random
from typing import Any

import numpy as np

__all__ = ["damaged", "json_value", "replaced", "text", "value"]

NUMBERS = (0, 1, -1, 2, 3, 7, 2**31, 2**63, -(2**63), 2**64, 10**400, 0.0, -0.0, 0.5, 1.5, -0.1,
           1e-9, 1e300, math.inf, -math.inf, math.nan)  # fmt: skip
WORDS = ("", " ", "x", "adam", "score", "auto", "response", "relu", "1", "1e3", "nan", "None",
         "../x", "a" * 1000, "\x00", "\ud800", "é\n\t", "__import__('os').system('id')",
         "{0.__class__}", "%s", "os:system")  # fmt: skip
STRUCTURE = b'\x00\xff{}[]",:PK\x03\x04\x1f\x8b0123456789-eE'


class Strange:
    """An object that compares and iterates as nothing else does."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("can't be compared")

    def __hash__(self) -> int:
        raise TypeError("unhashable")


def text(random: Random) -> str:
    """A word, or random characters."""
    if random.random() < 0.7:
        return random.choice(WORDS)
    return "".join(chr(random.randrange(32, 0x2FF)) for _ in range(random.randrange(12)))


def json_value(random: Random, depth: int = 2) -> Any:
    """What JSON can hold."""
    kind = random.randrange(8 if depth else 5)
    if kind == 0:
        return random.choice((None, True, False))
    if kind in (1, 2):
        return random.choice(NUMBERS)
    if kind in (3, 4):
        return text(random)
    length = random.randrange(4)
    if kind in (5, 6):
        return [json_value(random, depth - 1) for _ in range(length)]
    return {text(random): json_value(random, depth - 1) for _ in range(length)}


def value(random: Random) -> Any:
    """What Python can hold: of JSON, or worse."""
    if random.random() < 0.6:
        return json_value(random)
    found = json_value(random, 1)
    return random.choice(
        (
            tuple(found) if isinstance(found, list) else (found,),
            np.array([0.5, 1.0]),
            np.float32(0.1),
            np.int64(3),
            np.nan,
            {1, 2},
            b"adam",
            1j,
            object(),
            Strange(),
            int,
            len,
            range(3),
        )
    )


def damaged(random: Random, content: bytes) -> bytes:
    """The content with a few bytes changed, left out, doubled or put in, or cut off."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        place = random.randrange(len(changed) + 1)
        kind = random.randrange(6)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[place : place + 1] = bytes([random.choice(STRUCTURE)])
        elif kind == 2:
            changed[place:place] = random.randbytes(random.randrange(9))
        elif kind == 3:
            del changed[place : place + random.choice((1, 4, 64))]
        elif kind == 4:
            end = place + random.randrange(64)
            changed[place:place] = changed[place:end]
        elif kind == 5 and random.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def replaced(random: Random, document: Any) -> Any:
    """A copy of a JSON document in which one value, at any depth, is another or is missing."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return json_value(random)
    holder, key = random.choice(places)
    if random.random() < 0.15:
        del holder[key]
    elif random.random() < 0.1 and isinstance(holder, dict):
        holder[text(random)] = json_value(random)
    else:
        holder[key] = json_value(random)
    return document


def _places(document: Any) -> Any:
    """All (container, key) in a document."""
    if isinstance(document, dict | list):
        keys = list(document) if isinstance(document, dict) else range(len(document))
        for key in keys:
            yield document, key
            yield from _places(document[key])
