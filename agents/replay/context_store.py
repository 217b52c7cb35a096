"""What many probes were tried on, each held once."""

from __future__ import annotations

import hashlib
import heapq

import torch
from torch import Tensor

from nodepert.agents.lanes.pixels import from_bytes, to_bytes

__all__ = ["ContextStore"]


class ContextStore:
    """Windows of inputs, each held once, for as long as something refers to it.

    An image that is shown a second time is recognised by its bytes. Inputs that are whole 255ths,
    such as pixels, are held in a byte each for as long as all are.

    Args:
        size: How many to hold at most.

    Attributes:
        windows: By slot, shape (S, T, n_0); None while nothing was held yet.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.windows: Tensor | None = None
        self._references: list[int] = []  # to each slot
        self._slots: dict[bytes, int] = {}  # by what identifies a window
        self._freed: list[int] = []  # a heap

    def take(self, inputs: Tensor) -> Tensor:
        """Refers to the windows of N contexts once more; returns their slots, shape (N,)."""
        return torch.tensor([self._take(row) for row in self._packed(inputs)])

    def release(self, slots: Tensor) -> None:
        """Refers to them once less, each as often as it is named."""
        for slot in slots.tolist():
            self._references[slot] -= 1
            if self._references[slot] == 0:
                assert self.windows is not None
                del self._slots[key_of(self.windows[slot])]
                heapq.heappush(self._freed, slot)

    def __getitem__(self, slots: Tensor) -> Tensor:
        """The windows in these slots, as numbers."""
        assert self.windows is not None
        found = self.windows[slots]
        return from_bytes(found) if found.dtype == torch.uint8 else found

    @property
    def held(self) -> Tensor:
        """All slots that were ever used, for a file."""
        assert self.windows is not None
        return self.windows[: len(self._references)]

    def restore(self, windows: Tensor, slots: Tensor) -> None:
        """Goes on with what :attr:`held` gave, each referred to as often as it is named in slots.

        Raises:
            ValueError: There are none such.
        """
        if len(windows) > self.size or not 0 <= int(slots.min()) <= int(slots.max()) < len(windows):
            raise ValueError(f"{len(windows)} contexts do not fit what refers to them")
        self._allocate(windows)
        assert self.windows is not None
        self.windows[: len(windows)] = windows
        self._references = torch.bincount(slots, minlength=len(windows)).tolist()
        self._freed = [slot for slot, count in enumerate(self._references) if count == 0]
        self._identify()

    def _take(self, row: Tensor) -> int:
        key = key_of(row)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._free_slot()
            self._slots[key] = slot
            assert self.windows is not None
            self.windows[slot] = row
        self._references[slot] += 1
        return slot

    def _free_slot(self) -> int:
        """The lowest, so that it does not depend on the order in which others were freed."""
        if self._freed:
            return heapq.heappop(self._freed)
        self._references.append(0)
        return len(self._references) - 1

    def _packed(self, inputs: Tensor) -> Tensor:
        """The inputs in the type that is held, which changes where it can't hold these."""
        inputs = inputs.detach().cpu()
        packed = to_bytes(inputs)
        if self.windows is None:
            self._allocate(inputs if packed is None else packed)
        assert self.windows is not None
        if self.windows.dtype == torch.uint8:
            if packed is not None:
                return packed
            self.windows = from_bytes(self.windows)
            self._identify()
        return inputs.to(self.windows.dtype)

    def _allocate(self, like: Tensor) -> None:
        """Memory is taken up as slots are filled."""
        self.windows = torch.empty((self.size, *like.shape[1:]), dtype=like.dtype)

    def _identify(self) -> None:
        """Finds out anew what identifies each window.

        Raises:
            ValueError: Two are the same.
        """
        assert self.windows is not None
        used = [slot for slot, count in enumerate(self._references) if count]
        self._slots = {key_of(self.windows[slot]): slot for slot in used}
        if len(self._slots) < len(used):
            raise ValueError("the same context twice")


def key_of(row: Tensor) -> bytes:
    """A digest of a window, the same for the same numbers alone."""
    return hashlib.blake2b(row.contiguous().numpy().tobytes(), digest_size=16).digest()
