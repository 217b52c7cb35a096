"""Counter-based random numbers: each number is a pure function of (key, counter, position).

A lane that holds the same key and counter as another one draws the same numbers, whatever the
other lanes of the batch do. That is what keeps paired lanes in step, and what makes the state of
an environment two integers a lane. The hash is SplitMix64's finaliser (Steele, Lea & Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, a bijection of 64-bit words in which each input bit moves all."""
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    return words ^ (words >> np.uint64(31))


class Draws:
    """The random numbers of a batch of lanes at one moment.

    Calls on one object give fresh numbers each time, in the order of the calls; a new object with
    the same keys and counters gives the same numbers again.

    Args:
        keys: One 64-bit key a lane, shape (N,).
        counters: One counter a lane, shape (N,): which episode (or step) of that lane this is.
        lanes: The position of each lane in its vector environment, shape (N,).
        num_lanes: How many lanes that vector environment has.
    """

    def __init__(
        self,
        keys: NDArray[np.uint64],
        counters: NDArray[np.uint64],
        lanes: NDArray[np.int64] | None = None,
        num_lanes: int | None = None,
    ) -> None:
        self.keys = keys
        self.counters = counters
        self.lanes = np.arange(len(keys)) if lanes is None else lanes
        self.num_lanes = len(keys) if num_lanes is None else num_lanes
        self._words: NDArray[np.uint64] | None = None
        self._calls = 0

    def __len__(self) -> int:
        """The number of lanes, N."""
        return len(self.keys)

    def _base_words(self) -> NDArray[np.uint64]:
        """One word a lane; made when first needed, since some tasks draw nothing."""
        if self._words is None:
            self._words = mix(self.keys + mix(self.counters * _GOLDEN + _GOLDEN))
        return self._words

    def bits(self, *shape: int) -> NDArray[np.uint64]:
        """Uniform 64-bit words, shape (N, *shape)."""
        self._calls += 1
        per_lane = math.prod(shape)
        # An odd multiple of the golden ratio for each call; calls are far apart (2**32 words).
        start = (self._calls << 32) % 2**64
        positions = (np.arange(per_lane, dtype=np.uint64) + np.uint64(start)) * _GOLDEN
        words = mix(self._base_words()[:, None] + positions)  # [N, per_lane]
        return words.reshape(len(self), *shape)

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1), shape (N, *shape)."""
        return (self.bits(*shape) >> np.uint64(11)) * np.float64(2.0**-53)

    def integers(self, high: int | NDArray[np.int64], *shape: int) -> NDArray[np.int64]:
        """Uniform integers from 0 to high − 1, shape (N, *shape)."""
        return (self.uniform(*shape) * high).astype(np.int64)

    def signs(self, *shape: int) -> NDArray[np.int8]:
        """−1 or 1 with equal probability, shape (N, *shape)."""
        return np.where(self.bits(*shape) >> np.uint64(63), np.int8(1), np.int8(-1))

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Standard normal numbers (Box–Muller), shape (N, *shape)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(*shape)))
        return radius * np.cos(2.0 * np.pi * self.uniform(*shape))
