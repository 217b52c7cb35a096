"""Probes that were played, to be learned from again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nodepert.agents.replay.context_store import ContextStore

__all__ = ["ProbeBuffer", "Probes"]

Probes = dict[str, Tensor]
"""Windows of T steps of N contexts, by name:

- ``inputs``, [N, T, n_0]; ``centres``, the predictions around which probes were tried, [N, T, d];
- ``probes`` ξ, [N, T, K, d], and ``changes`` δ, [N, T, K];
- whether an episode ``started`` there and whether the step is ``valid``, [N, T];
- of recurrent networks the ``state`` before the first step, [N, n].
"""

REQUIRED = {"context", "probes", "changes", "centres", "started", "valid"}


class ProbeBuffer(nn.Module):
    """A ring of probed windows; the newest take the place of the oldest.

    What a context shows is held once, however often it was probed (:class:`ContextStore`). The
    state, which goes into the model file for the sake of exact resumption, is what is filled.

    Args:
        size: How many windows to hold.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.count = 0
        self.position = 0
        self.contexts = ContextStore(size)
        self.columns: Probes = {}
        """As :data:`Probes`, with the slot of each ``context`` in place of its inputs."""

    def add(self, rows: Probes) -> None:
        """Takes in windows of N contexts; others than it has, such as longer ones, start anew."""
        rows = {name: values[-self.size :].detach() for name, values in rows.items()}
        if self.columns and not self._are_alike(rows):
            self._clear()
        count = len(rows["changes"])
        places = (self.position + torch.arange(count)) % self.size
        if self.columns:
            self.contexts.release(self.columns["context"][places[places < self.count]])
        rows["context"] = self.contexts.take(rows.pop("inputs"))
        if not self.columns:
            self._allocate(rows)
        for name, values in rows.items():
            self.columns[name][places] = values.to(self.columns[name].device)
        self.position = (self.position + count) % self.size
        self.count = min(self.count + count, self.size)

    def draw(self, rows: int, generator: torch.Generator) -> Probes:
        """Windows at random, with replacement."""
        drawn = torch.randint(self.count, (rows,), generator=generator, device=generator.device)
        return self[drawn.cpu()]

    def __getitem__(self, rows: Tensor | slice) -> Probes:
        """The windows in these rows."""
        found = {name: values[rows] for name, values in self.columns.items()}
        found["inputs"] = self.contexts[found.pop("context")]
        return found

    def _are_alike(self, rows: Probes) -> bool:
        """Whether windows can be held beside those that are there, maybe out of a file."""
        held = {**self.columns, "inputs": self.contexts.held}
        same = held.pop("context").dtype == torch.int64 and held.keys() == rows.keys()
        return same and all(
            values.shape[1:] == held[name].shape[1:]
            and (values.dtype == held[name].dtype or name == "inputs")
            for name, values in rows.items()
        )

    def _clear(self) -> None:
        self.columns, self.count, self.position = {}, 0, 0
        self.contexts = ContextStore(self.size)

    def _allocate(self, like: Probes) -> None:
        """Memory is taken up as rows are filled."""
        self.columns = {
            name: torch.empty((self.size, *values.shape[1:]), dtype=values.dtype)
            for name, values in like.items()
        }

    # Files -----------------------------------------------------------------------------------

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self.columns:
            for name, values in self.columns.items():
                destination[prefix + name] = values[: self.count]
            destination[prefix + "contexts"] = self.contexts.held
            destination[prefix + "place"] = torch.tensor([self.position, self.count, self.size])

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        self._clear()
        found = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        place, contexts = found.pop("place", None), found.pop("contexts", None)
        if place is None:
            return
        position, count, size = place.tolist()
        whole = found.keys() - {"state"} == REQUIRED and contexts is not None
        if not whole or any(len(values) != count for values in found.values()):
            names = ", ".join(sorted({*REQUIRED, "contexts"}))
            error_msgs.append(f"probe buffer: expected {count} rows of {names}")
        elif size == self.size:  # one of another size starts empty
            if not (0 <= position < size and 0 < count <= size):
                error_msgs.append(f"probe buffer: position {position}, {count} rows of {size}")
                return
            try:
                self.contexts.restore(contexts, found["context"])
            except (IndexError, RuntimeError, TypeError, ValueError) as error:
                error_msgs.append(f"probe buffer: {error}")
                return
            self._allocate(found)
            for name, values in found.items():
                self.columns[name][:count] = values
            self.count, self.position = count, position
