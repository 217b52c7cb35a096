"""Probes that were played, to be learned from again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ProbeBuffer", "Probes"]

Probes = dict[str, Tensor]
"""Windows of T steps of N contexts, by name:

- ``inputs``, [N, T, n_0]; ``centres``, the predictions around which probes were tried, [N, T, d];
- ``probes`` ξ, [N, T, K, d], and ``changes`` δ, [N, T, K];
- whether an episode ``started`` there and whether the step is ``valid``, [N, T];
- of recurrent networks the ``state`` before the first step, [N, n].
"""

REQUIRED = {"inputs", "probes", "changes", "centres", "started", "valid"}


def as_bytes(inputs: Tensor) -> Tensor | None:
    """Numbers k/255 as k, in bytes; None where some are none such."""
    whole = inputs.detach().mul(255).round_().clamp_(0, 255)
    return whole.to(torch.uint8) if torch.equal(whole / 255, inputs) else None


def from_bytes(packed: Tensor) -> Tensor:
    """The numbers that :func:`as_bytes` was given."""
    return packed.to(torch.get_default_dtype()) / 255


class ProbeBuffer(nn.Module):
    """A ring of windows with their probes; the newest take the place of the oldest.

    Inputs that are whole 255ths, such as pixels, are held in a byte each for as long as all are.
    Its state, which goes into the model file for the sake of exact resumption, is what is filled.

    Args:
        size: How many windows to hold.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.count = 0
        self.position = 0
        self.columns: Probes = {}

    def add(self, rows: Probes) -> None:
        """Takes in windows of N contexts."""
        packed = as_bytes(rows["inputs"])
        if not self.columns:
            self._allocate(rows if packed is None else {**rows, "inputs": packed})
        if self.columns["inputs"].dtype == torch.uint8:
            if packed is None:
                self.columns["inputs"] = from_bytes(self.columns["inputs"])
            else:
                rows = {**rows, "inputs": packed}
        count = len(rows["changes"])
        places = (self.position + torch.arange(count)) % self.size
        for name, values in rows.items():
            self.columns[name][places] = values.detach().to(self.columns[name].device)
        self.position = (self.position + count) % self.size
        self.count = min(self.count + count, self.size)

    def draw(self, rows: int, generator: torch.Generator) -> Probes:
        """Windows at random, with replacement."""
        drawn = torch.randint(self.count, (rows,), generator=generator, device=generator.device)
        found = {name: values[drawn.to(values.device)] for name, values in self.columns.items()}
        if found["inputs"].dtype == torch.uint8:
            found["inputs"] = from_bytes(found["inputs"])
        return found

    def _allocate(self, like: Probes) -> None:
        """Memory is taken up as rows are filled."""
        self.columns = {
            name: torch.empty((self.size, *values.shape[1:]), dtype=values.dtype)
            for name, values in like.items()
        }

    # Files -----------------------------------------------------------------------------------

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, values in self.columns.items():
            destination[prefix + name] = values[: self.count]
        if self.columns:
            destination[prefix + "place"] = torch.tensor([self.position, self.count, self.size])

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        self.columns, self.count, self.position = {}, 0, 0
        found = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        place = found.pop("place", None)
        if place is None:
            return
        position, count, size = place.tolist()
        whole = found.keys() - {"state"} == REQUIRED
        if not whole or any(len(values) != count for values in found.values()):
            names = ", ".join(sorted(REQUIRED))
            error_msgs.append(f"probe buffer: expected {count} rows of {names}")
        elif size == self.size:  # one of another size starts empty
            if not (0 <= position < size and 0 < count <= size):
                error_msgs.append(f"probe buffer: position {position}, {count} rows of {size}")
                return
            self._allocate(found)
            for name, values in found.items():
                self.columns[name][:count] = values
            self.count, self.position = count, position
