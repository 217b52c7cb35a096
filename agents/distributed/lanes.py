"""Lanes of any environment on Ray workers, each of which plays a part of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from nodepert.agents.distributed.workers import Workers
from nodepert.agents.errors import ConfigError
from nodepert.envs import LossEnv
from nodepert.envs.remote import LaneWorker, MakeEnv

__all__ = ["RayVectorEnv"]

Call = tuple[str, tuple[Any, ...]]


class RayVectorEnv(VectorEnv[Any, Any, Any]):
    """Plays lanes on Ray workers, in the SAME_STEP mode of autoreset, as ``SyncVectorEnv`` does.

    A lost worker's lanes are made again from their seeds and all actions since, which are kept
    here: each lane of the new worker plays as many steps as it had played. That is exact for
    environments whose course follows from seed and actions; others raise. A lane's actions take
    some bytes a step until the next reset with seeds, and playing them again takes as long as
    playing them did: for simulators that run for days, loss environments and checkpoints are
    better.

    Args:
        make: Makes the environment of one lane.
        example: One that was made here, for its spaces.
        num_envs: How many lanes.
        workers: How many workers.
        timeout: See :class:`~nodepert.agents.distributed.workers.Workers`.
        max_restarts: Likewise.
    """

    def __init__(
        self,
        make: MakeEnv,
        example: gym.Env[Any, Any],
        num_envs: int,
        *,
        workers: int,
        timeout: float | None,
        max_restarts: int,
    ) -> None:
        self.num_envs = num_envs
        self.spec = example.spec
        self.metadata = {**example.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        task = example.unwrapped
        self.action_scale = task.action_scale if isinstance(task, LossEnv) else None
        self.single_observation_space = example.observation_space
        self.single_action_space = example.action_space
        self.observation_space = batch_space(example.observation_space, num_envs)
        self.action_space = batch_space(example.action_space, num_envs)
        self._parts = [list(lanes) for lanes in np.array_split(range(num_envs), workers)]
        self._calls: list[list[Call]] = [[] for _ in self._parts]  # since the last seeded reset
        self._shown: list[Any] = []  # what each worker showed last
        self.workers = Workers(
            LaneWorker,
            [([make] * len(lanes),) for lanes in self._parts],
            timeout=timeout,
            max_restarts=max_restarts,
            catch_up=self._catch_up,
        )

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode in each lane.

        Args:
            seed: None goes on with the lanes' random numbers; an int seeds lane i with seed + i; a
                list seeds each lane (None in it: that lane goes on with its own).
            options: Passed to each lane's reset.

        Raises:
            ConfigError: A list of another length than ``num_envs``.
            LaneError: More workers failed than ``max_restarts`` allows.
        """
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seed = [int(seed) + lane for lane in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ConfigError(f"seed has {len(seeds)} entries, expected {self.num_envs}")
        if None not in seeds:
            self._calls = [[] for _ in self._parts]
        each = [([seeds[lane] for lane in lanes], options) for lanes in self._parts]
        observations, infos = zip(*self._ask("reset", each), strict=True)
        return self._joined(observations), self._join_infos(infos)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Plays one action in each lane, all at once.

        Raises:
            LaneError: More workers failed than ``max_restarts`` allows.
        """
        actions = np.array(actions)  # kept: the caller may write into its own
        answers = self._ask("step", [(actions[lanes],) for lanes in self._parts])
        observations, rewards, terminated, truncated, infos = zip(*answers, strict=True)
        return (
            self._joined(observations),
            np.concatenate(rewards),
            np.concatenate(terminated),
            np.concatenate(truncated),
            self._join_infos(infos),
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers."""
        self.workers.close()

    def _ask(self, method: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
        """The workers' answers; the call is kept once all have answered."""
        answers = self.workers.ask(method, arguments)
        for calls, one in zip(self._calls, arguments, strict=True):
            calls.append((method, one))
        self._shown = [answer[0] for answer in answers]
        return answers

    def _catch_up(self, worker: int) -> tuple[str, tuple[Any, ...], int] | None:
        """What a new worker has to play first."""
        calls = self._calls[worker]
        return ("replay", (calls, self._shown[worker]), len(calls)) if calls else None

    def _joined(self, observations: Sequence[Any]) -> Any:
        """The observations of all lanes, in arrays of their own."""
        space = self.single_observation_space
        shown = [
            one
            for part, lanes in zip(observations, self._parts, strict=True)
            for one in iterate(batch_space(space, len(lanes)), part)
        ]
        empty: Any = create_empty_array(space, self.num_envs)
        return concatenate(space, shown, empty)

    def _join_infos(self, infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return join_infos(infos, [len(lanes) for lanes in self._parts])


def join_infos(infos: Sequence[dict[str, Any]], sizes: Sequence[int]) -> dict[str, Any]:
    """The infos of several vector environments as one's; zeros or None where one has no entry.

    Args:
        infos: Gymnasium's dicts of arrays with masks.
        sizes: How many lanes each has.
    """
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(name for info in infos for name in info):
        parts = [info.get(name) for info in infos]
        known = next(part for part in parts if part is not None)
        if isinstance(known, dict):
            joined[name] = join_infos([part or {} for part in parts], sizes)
        else:
            blank = None if known.dtype == object else 0
            full = [
                np.full((size, *known.shape[1:]), blank, known.dtype) if part is None else part
                for part, size in zip(parts, sizes, strict=True)
            ]
            joined[name] = np.concatenate(full)
    return joined
