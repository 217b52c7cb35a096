"""The rival that all should beat: actions drawn from the action space."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

__all__ = ["RandomAgent"]

Self = TypeVar("Self", bound="RandomAgent")


class RandomAgent(BaseAlgorithm):
    """Acts at random and learns nothing, so its env steps are counted but not played.

    Args:
        policy: Ignored; an algorithm has one.
        env: Its action space is what counts.
        seed: Of the actions.
        device: Ignored.
    """

    def __init__(
        self,
        policy: str,
        env: GymEnv,
        *,
        seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            BasePolicy, env, learning_rate=0.0, seed=seed, device=device, support_multi_env=True
        )
        self.action_space.seed(seed)

    def _setup_model(self) -> None:
        """Nothing to set up."""

    def learn(
        self: Self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "random",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Counts the env steps."""
        total, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        self.num_timesteps = total
        callback.on_training_end()
        return self

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Random actions for a batch of observations, deterministic or not."""
        one = next(iter(observation.values())) if isinstance(observation, dict) else observation
        return np.array([self.action_space.sample() for _ in range(len(one))]), state
