"""What a worker holds that plays lanes for a vector environment elsewhere.

Both kinds are plain objects, whatever engine carries the calls. They import numpy and gymnasium
only, so that a worker starts fast and stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from nodepert.envs.base import LossEnv
from nodepert.envs.draws import Draws
from nodepert.envs.errors import ContractError

__all__ = ["LaneWorker", "LossWorker", "MakeEnv"]

MakeEnv = Callable[[], gym.Env[Any, Any]]


class LossWorker:
    """Computes losses of a loss environment, and keeps nothing that could be lost.

    It is told each lane's key and counter, from which the context is drawn again, and the action.

    Args:
        make: Makes the environment.
        num_lanes: How many lanes the whole vector environment has.
    """

    def __init__(self, make: MakeEnv, num_lanes: int) -> None:
        task = make().unwrapped
        assert isinstance(task, LossEnv)
        self._task, self._num_lanes = task, num_lanes
        self._drawn: Sequence[NDArray[Any]] = ()
        self._context: dict[str, NDArray[Any]] = {}

    def loss(
        self,
        keys: NDArray[np.uint64],
        counters: NDArray[np.uint64],
        lanes: NDArray[np.int64],
        steps: NDArray[np.int64],
        actions: NDArray[Any],
    ) -> NDArray[np.float64]:
        """The loss of each lane's action, shape (n,).

        Args:
            keys: Of the lanes asked for, see :class:`~nodepert.envs.Draws`, shape (n,).
            counters: Likewise.
            lanes: Likewise.
            steps: Played so far in each lane's episode, shape (n,).
            actions: Shape (n, *action_shape).
        """
        wanted = (keys, counters, lanes)
        if not self._drawn or not all(map(np.array_equal, self._drawn, wanted)):
            draws = Draws(keys, counters, lanes, self._num_lanes)
            self._context, self._drawn = dict(self._task.sample_contexts(draws)), wanted
        losses = self._task.loss({**self._context, "step": steps}, actions)
        return np.asarray(losses, np.float64)


class LaneWorker:
    """Plays lanes of any environment, in the SAME_STEP mode of autoreset.

    Args:
        makers: One function a lane that makes its environment.
    """

    def __init__(self, makers: Sequence[MakeEnv]) -> None:
        self._env = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None) -> Any:
        """As ``VectorEnv.reset``."""
        return self._env.reset(seed=list(seeds), options=options)

    def step(self, actions: NDArray[Any]) -> Any:
        """As ``VectorEnv.step``."""
        return self._env.step(np.array(actions))  # a copy, since an engine's arrays may be locked

    def replay(self, calls: Sequence[tuple[str, tuple[Any, ...]]], shown: Any) -> None:
        """Plays what a lost worker played, to stand where it stood.

        Args:
            calls: Name and arguments of its resets and steps, a seeded reset first.
            shown: The observation that the last of them gave.

        Raises:
            ContractError: It gives another one now.
        """
        observation = None
        for name, arguments in calls:
            observation = getattr(self, name)(*arguments)[0]
        if not data_equivalence(observation, shown):
            raise ContractError(
                f"{self._env.envs[0]}: its lanes can't be made again, since the same seeds and "
                "actions give other observations; expected an environment that takes its random "
                "numbers from np_random and was reset with seeds"
            )
