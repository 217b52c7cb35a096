"""Which part of the work is this process's, and random numbers as if there were one process.

All processes hold one seed and draw what a single process would draw for all contexts; each keeps
the rows of its own contexts. So nothing random is sent, and the result does not depend on how many
processes there are.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# Functions in there have the group as a default that is there when they are imported, for ever; so
# before there is one. What loads an optimiser would import them later.
import torch.distributed.nn
from numpy.typing import NDArray
from torch import Tensor

from nodepert.agents.algorithm.node_noise import NodeNoise
from nodepert.agents.errors import ConfigError
from nodepert.agents.lanes.rollout import PairedLanes, Played
from nodepert.agents.output_error import ProbeError

__all__ = [
    "SECONDS_TO_WAIT",
    "OwnLanes",
    "OwnNoise",
    "OwnProbes",
    "Share",
    "WholeNoise",
    "join",
    "own_device",
]

SECONDS_TO_WAIT = 600.0
"""How long a process waits for another before it gives up."""
Rows = TypeVar("Rows", Tensor, list[int])


@dataclass(frozen=True)
class Share:
    """One process's part.

    Args:
        rank: Which process this is, from 0.
        processes: How many there are.
    """

    rank: int
    processes: int

    def own(self, rows: Rows) -> Rows:
        """Of the rows of all processes, those of this one."""
        count = len(rows) // self.processes
        return rows[self.rank * count : (self.rank + 1) * count]

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, of which each has as many."""
        parts = [torch.empty_like(rows) for _ in range(self.processes)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether something is so in any process."""
        told = torch.tensor([int(flag)])
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Puts the mean over all processes in their place; one message for all tensors."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.processes
        for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def join() -> Share:
    """Joins the processes that ``torchrun`` has started, unless that is done, until this one ends.

    Raises:
        ConfigError: This process is not one of several.
    """
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched():
            raise ConfigError(
                "no other processes: expected a start by `torchrun --nproc-per-node N script.py`, "
                "or torch.distributed.init_process_group() before"
            )
        # Seeds travel between CPUs, also where weights are on GPUs.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=SECONDS_TO_WAIT))
        atexit.register(leave)
    return Share(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Leaves the other processes: if Python ended before gloo's threads, it would often abort."""
    if dist.is_initialized():
        dist.destroy_process_group()


def own_device(device: torch.device | str) -> torch.device | str:
    """This process's own GPU, for "cuda", and for "auto" where there is one for each.

    Args:
        device: As :class:`~nodepert.agents.NodePerturbation` takes it.

    Raises:
        ConfigError: "cuda", with fewer GPUs on this machine than processes.
    """
    if device not in ("auto", "cuda"):
        return device
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
    gpus = torch.cuda.device_count()
    if gpus >= processes:
        own = torch.device("cuda", dist.get_node_local_rank(fallback_rank=0))
        torch.cuda.set_device(own)
        return own
    if device == "cuda":
        raise ConfigError(
            f"device='cuda': {gpus} GPUs for {processes} processes on this machine; expected one "
            "for each process, or device='cpu'"
        )
    return "cpu"


class OwnLanes(PairedLanes):
    """This process's lanes; its env steps are counted for all processes.

    Args:
        lanes: Them.
        share: This process's part.
    """

    def __init__(self, lanes: PairedLanes, share: Share) -> None:
        super().__init__(lanes.env, lanes.lanes_per_context)
        self._share = share

    def step(self, actions: NDArray[Any]) -> Played:
        """See :class:`~nodepert.agents.lanes.rollout.PairedLanes`."""
        played = super().step(actions)
        return replace(played, env_steps=played.env_steps * self._share.processes)


class OwnProbes(ProbeError):
    """Probes of this process's contexts.

    Args:
        whole: Draws those of all contexts.
        share: This process's part.
    """

    def __init__(self, whole: ProbeError, share: Share) -> None:
        self._whole, self._share, self.std = whole, share, whole.std

    @property
    def lanes(self) -> int:
        """Of each context."""
        return self._whole.lanes

    def offsets(self, contexts: int, dim: int, generator: torch.Generator) -> Tensor:
        """Own rows of what all processes try, shape (N, M, d)."""
        whole = self._whole.offsets(contexts * self._share.processes, dim, generator)
        return self._share.own(whole)

    def probes(self, offsets: Tensor) -> Tensor:
        """As in one process."""
        return self._whole.probes(offsets)

    def changes(self, losses: Tensor) -> Tensor:
        """As in one process; losses are sent where those of other contexts say what to expect."""
        if not self._whole.compares_contexts:
            return self._whole.changes(losses)
        return self._share.own(self._whole.changes(self._share.gather(losses)))

    def estimate(self, changes: Tensor, probes: Tensor) -> Tensor:
        """As in one process."""
        return self._whole.estimate(changes, probes)


class WholeNoise(NodeNoise):
    """Node noise in as many trials as one process with all contexts would make.

    Args:
        noise: Draws it.
        share: This process's part.
    """

    def __init__(self, noise: NodeNoise, share: Share) -> None:
        super().__init__(noise.stds)
        self._noise, self._share = noise, share

    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """As in one process."""
        return self._noise.sample(shape, layer, generator)

    def variance(self, layer: int) -> float:
        """As in one process."""
        return self._noise.variance(layer)

    def trials(self, samples: int, shape: tuple[int, ...]) -> int:
        """For the samples of all processes."""
        return self._noise.trials(samples * self._share.processes, shape)

    def largest(self, noise: Tensor, layer: int) -> Tensor | float:
        """As in one process."""
        return self._noise.largest(noise, layer)


class OwnNoise(WholeNoise):
    """Node noise for the contexts of this process."""

    def sample(self, shape: tuple[int, ...], layer: int, generator: torch.Generator) -> Tensor:
        """Own rows of what all processes draw."""
        whole = (shape[0] * self._share.processes, *shape[1:])
        return self._share.own(self._noise.sample(whole, layer, generator))
