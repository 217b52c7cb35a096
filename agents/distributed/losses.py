"""The native lanes of a loss environment, whose losses Ray workers compute."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodepert.agents.distributed.remote_task import RemoteTask
from nodepert.agents.distributed.workers import Workers
from nodepert.envs import LossEnv, LossVectorEnv
from nodepert.envs.remote import LossWorker, MakeEnv

__all__ = ["RayLossVectorEnv"]


class RayLossVectorEnv(LossVectorEnv):
    """The native lanes of a loss environment, with losses computed by Ray workers.

    Args:
        task: The environment; here only its contexts are drawn.
        make: Makes it for a worker.
        num_envs: How many lanes.
        workers: How many workers.
        timeout: See :class:`~nodepert.agents.distributed.workers.Workers`.
        max_restarts: Likewise.
        max_episode_steps: Truncate an episode after so many steps.
    """

    def __init__(
        self,
        task: LossEnv,
        make: MakeEnv,
        num_envs: int,
        *,
        workers: int,
        timeout: float | None,
        max_restarts: int,
        max_episode_steps: int | None,
    ) -> None:
        remote = RemoteTask(task, self._ask)
        super().__init__(remote, num_envs, max_episode_steps=max_episode_steps)
        self.workers = Workers(
            LossWorker, [(make, num_envs)] * workers, timeout=timeout, max_restarts=max_restarts
        )

    def _ask(self, *rows: NDArray[Any]) -> NDArray[np.float64]:
        """The losses of all lanes; each worker is sent its part of the rows."""
        parts = zip(*(np.array_split(one, len(self.workers)) for one in rows), strict=True)
        return np.concatenate(self.workers.ask("loss", list(parts)))

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers."""
        self.workers.close()
