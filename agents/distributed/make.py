"""Vector environments on Ray workers, by id or by a function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from nodepert.agents.distributed.lanes import RayVectorEnv
from nodepert.agents.distributed.losses import RayLossVectorEnv
from nodepert.agents.errors import ConfigError
from nodepert.agents.lanes.handover import vectorise
from nodepert.envs import LossVectorEnv

__all__ = ["make_ray_vec"]


def make_ray_vec(
    env: str | Callable[[], gym.Env[Any, Any]],
    num_envs: int,
    *,
    workers: int = 2,
    timeout: float | None = 60.0,
    max_restarts: int = 10,
) -> VectorEnv[Any, Any, Any]:
    """A vector environment whose lanes are played by Ray workers, each a process.

    It shows what one process would show with the same seeds, whatever the number of workers. Of a
    loss environment, only actions go to the workers and only losses come back: contexts are drawn
    again on either side from the lanes' keys and counters. Other environments send their
    observations; the actions since the last seeded reset are kept, so that the lanes of a lost
    worker can be played again, which is exact where seed and actions are all that they follow from.

    Ray starts on this machine by itself; call ``ray.init(address=...)`` before to use a cluster.

    Args:
        env: An id, or a function that makes one environment.
        num_envs: How many lanes; each worker plays about ``num_envs / workers`` one after another.
        workers: How many processes.
        timeout: Seconds that a worker has for its part of a step; None for ever. One that takes
            longer is replaced, as is one that dies, and its step is played again: a slow worker
            holds the others up for ``timeout`` at most, and for the start of the new one.
        max_restarts: How many workers may be replaced, all together.

    Raises:
        ConfigError: An argument that is not valid, or Ray is not installed.
        LaneError: A worker can't be started.
    """
    if not 1 <= workers <= num_envs:
        raise ConfigError(f"workers={workers!r}: expected from 1 to num_envs={num_envs}")
    make = partial(gym.make, env) if isinstance(env, str) else env
    example = make()
    native = vectorise(example, 1)
    if not isinstance(native, LossVectorEnv):
        native.close()
        example.close()  # its spaces are all that is needed
        return RayVectorEnv(
            make, example, num_envs, workers=workers, timeout=timeout, max_restarts=max_restarts
        )
    limit = native.max_episode_steps
    lanes = RayLossVectorEnv(
        native.env,
        make,
        num_envs,
        workers=workers,
        timeout=timeout,
        max_restarts=max_restarts,
        max_episode_steps=None if limit == float("inf") else int(limit),
    )
    lanes.spec = native.spec
    return lanes
