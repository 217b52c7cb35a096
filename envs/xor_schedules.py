"""When the delayed XOR shows what: three schedules, each a pure function of (context, step).

Each schedule answers two questions for a batch of lanes: what is shown now (go cue, bit), and
which response is asked for now (target ±1 or 0, and whether this is a response step).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nodepert.envs.base import Context
from nodepert.envs.draws import Draws

__all__ = ["Schedule", "SlotStream", "Stream", "Trials"]

CUE_PROBABILITY = 0.05  # go cues a step in the paper's stream (arXiv 1906.00889, §4.3)

Signs = NDArray[np.int8]
Mask = NDArray[np.bool_]


class Schedule(Protocol):
    """What a schedule of the delayed XOR must answer."""

    def sample(self, draws: Draws) -> Context:
        """The context of a new episode in each lane."""

    def show(self, context: Context) -> tuple[Mask, Signs]:
        """Whether the go cue is on, and the bit shown (±1, or 0 for none), each (N,)."""

    def answer(self, context: Context) -> tuple[Signs, Mask]:
        """The target (XOR as ±1, or 0) and whether this is a response step, each (N,)."""

    def length(self, context: Context) -> NDArray[np.int64] | float:
        """Steps in an episode."""


def xor(bit_1: Signs, bit_2: Signs) -> Signs:
    """XOR of bits written as ±1: 1 where they differ, −1 where they agree."""
    return -bit_1 * bit_2


class Trials:
    """One trial an episode: bit 1, bit 2, ``delay`` blank steps, then the cue.

    The response is the action of the cue step, the last of 3 + delay steps.

    Args:
        delay: Fewest and most blank steps; each trial draws its own.
    """

    def __init__(self, delay: tuple[int, int]) -> None:
        self.shortest, self.longest = delay

    def sample(self, draws: Draws) -> Context:
        """Two bits and a delay a lane."""
        span = self.longest - self.shortest
        delay = draws.integers(span + 1) if span else np.zeros(len(draws), np.int64)
        return {"bits": draws.signs(2), "cue_step": 2 + self.shortest + delay}

    def show(self, context: Context) -> tuple[Mask, Signs]:
        """Bits at steps 0 and 1, the cue at the last step."""
        step, bits = context["step"], context["bits"]
        bit = bits[:, 0] * (step == 0) + bits[:, 1] * (step == 1)
        return step == context["cue_step"], bit

    def answer(self, context: Context) -> tuple[Signs, Mask]:
        """The XOR at the cue step."""
        respond = context["step"] == context["cue_step"]
        return xor(context["bits"][:, 0], context["bits"][:, 1]) * respond, respond

    def length(self, context: Context) -> NDArray[np.int64]:
        """3 + delay."""
        return context["cue_step"] + 1


class Stream:
    """The paper's continuing stream: a cue with probability 0.05 a step.

    The bits stand one and two steps before the cue, and the target one step after it. Cues next to
    each other share a bit; each target is the XOR of the bits as shown, unless ``overwrite``.

    Args:
        overwrite: Reproduce the authors' generator: each cue draws two bits of its own and its
            target from them, and later cues overwrite bits that were to be shown, so that about
            2.4 % of the targets are wrong.
    """

    def __init__(self, overwrite: bool = False) -> None:
        self.overwrite = overwrite

    def sample(self, draws: Draws) -> Context:
        """One key a lane, from which the whole stream follows."""
        return {"stream": draws.bits()}

    def _cues(self, context: Context, *offsets: int) -> tuple[Mask, Signs]:
        """Cues at step + offset, shape (K, N), and the two bits drawn there, (K, N, 2)."""
        step = context["step"] + np.array(offsets)[:, None]
        keys = np.broadcast_to(context["stream"], step.shape)
        words = Draws(keys.ravel(), np.maximum(step, 0).astype(np.uint64).ravel()).bits()
        words = words.reshape(step.shape)
        # One word gives both: the cue from its high 53 bits, the two bits from its lowest.
        cue = ((words >> np.uint64(11)) < np.uint64(CUE_PROBABILITY * 2**53)) & (step >= 2)
        pair = (words[..., None] >> np.arange(2, dtype=np.uint64)) & np.uint64(1)
        return cue, np.where(pair, np.int8(1), np.int8(-1))

    def show(self, context: Context) -> tuple[Mask, Signs]:
        """Cue and bit of this step; a bit is shown one and two steps before a cue."""
        (cue, next_cue, second_cue), (bits, next_bits, second_bits) = self._cues(context, 0, 1, 2)
        if self.overwrite:
            return cue, np.where(second_cue, second_bits[:, 1], next_bits[:, 0] * next_cue)
        return cue, bits[:, 0] * (next_cue | second_cue)

    def answer(self, context: Context) -> tuple[Signs, Mask]:
        """The XOR one step after the cue."""
        (respond, *_), (bits, one, other) = self._cues(context, -1, -2, -3)
        if self.overwrite:
            return xor(bits[:, 0], bits[:, 1]) * respond, respond
        # Where there was a cue, the bits of the two steps before it were shown.
        return xor(one[:, 0], other[:, 0]) * respond, respond

    def length(self, context: Context) -> float:
        """Never ends."""
        return np.inf


class SlotStream:
    """A continuing stream with delays in which trials never overlap.

    Time is cut into slots of 20 steps (more for delays over 16), so that cues keep the paper's rate
    of 0.05 a step. Each slot holds one whole trial at a random place: bit 1, bit 2, blanks, cue,
    and the target one step after the cue.

    Args:
        delay: Fewest and most blank steps; each trial draws its own.
    """

    def __init__(self, delay: tuple[int, int]) -> None:
        self.shortest, self.longest = delay
        self.slot = max(round(1 / CUE_PROBABILITY), self.longest + 4)

    def sample(self, draws: Draws) -> Context:
        """One key a lane, from which the whole stream follows."""
        return {"stream": draws.bits()}

    def _trial(self, context: Context) -> tuple[NDArray[np.int64], NDArray[np.int64], Signs]:
        """Steps since this slot's bit 1 (negative before it), its delay, its bits (N, 2)."""
        slot, place = np.divmod(context["step"], self.slot)
        draws = Draws(context["stream"], slot.astype(np.uint64))
        delay = self.shortest + draws.integers(self.longest - self.shortest + 1)
        start = draws.integers(self.slot - delay - 3)
        return place - start, delay, draws.signs(2)

    def show(self, context: Context) -> tuple[Mask, Signs]:
        """Cue and bit of this step."""
        step, delay, bits = self._trial(context)
        return step == 2 + delay, bits[:, 0] * (step == 0) + bits[:, 1] * (step == 1)

    def answer(self, context: Context) -> tuple[Signs, Mask]:
        """The XOR one step after the cue."""
        step, delay, bits = self._trial(context)
        respond = step == 3 + delay
        return xor(bits[:, 0], bits[:, 1]) * respond, respond

    def length(self, context: Context) -> float:
        """Never ends."""
        return np.inf
