"""Hides the velocities of a control task, so that they have to be inferred from what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import WrapperSpec
from numpy.typing import NDArray

from nodepert.envs.errors import ConfigError

__all__ = ["MaskVelocity", "register_without_velocities"]

VELOCITIES: dict[str, tuple[int, ...]] = {
    "Acrobot-v1": (4, 5),
    "CartPole-v1": (1, 3),
    "LunarLander-v3": (2, 3, 5),
    "LunarLanderContinuous-v3": (2, 3, 5),
    "MountainCar-v0": (1,),
    "MountainCarContinuous-v0": (1,),
    "Pendulum-v1": (2,),
}
"""Which components of the observation are velocities, by id."""


class MaskVelocity(
    gym.ObservationWrapper[NDArray[Any], Any, NDArray[Any]], gym.utils.RecordConstructorArgs
):
    """Sets components of the observation to 0; the rest, and the space, stay as they are.

    The convention is that of rl_zoo3's ``MaskVelocityWrapper``, whose ids are registered here too:
    ``gym.make("CartPoleNoVel-v1")``.

    Args:
        env: One whose observations are a flat Box of numbers.
        hidden: The components to hide. None for the velocities of a classic-control or lunar
            lander environment, known by its id.

    Raises:
        ConfigError: ``hidden`` is None and the id is not known, ``env`` has another kind of
            observation, or 0 is no valid value of a component to hide.
    """

    def __init__(self, env: gym.Env[NDArray[Any], Any], hidden: Sequence[int] | None = None):
        gym.utils.RecordConstructorArgs.__init__(self, hidden=hidden)
        gym.ObservationWrapper.__init__(self, env)
        self.hidden = list(velocities_of(env) if hidden is None else hidden)
        check_hidden(env.observation_space, self.hidden)

    def observation(self, observation: NDArray[Any]) -> NDArray[Any]:
        """A copy with zeros."""
        shown = np.array(observation)
        shown[self.hidden] = 0
        return shown


def velocities_of(env: gym.Env[Any, Any]) -> tuple[int, ...]:
    """The components that are velocities, where the environment's id is known."""
    env_id = None if env.unwrapped.spec is None else env.unwrapped.spec.id
    if env_id not in VELOCITIES:
        raise ConfigError(
            f"hidden=None: the velocities of {env_id} are not known, only those of "
            f"{', '.join(VELOCITIES)}; expected one of these, or the components to hide"
        )
    return VELOCITIES[env_id]


def check_hidden(space: gym.Space[Any], hidden: list[int]) -> None:
    """Raises ConfigError where components can't be set to 0."""
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise ConfigError(f"observation space {space}: expected a Box of one dimension")
    for component in hidden:
        if not 0 <= component < space.shape[0]:
            raise ConfigError(
                f"hidden={hidden}: expected components from 0 to {space.shape[0] - 1}"
            )
        low, high = space.low[component], space.high[component]
        if not low <= 0 <= high:
            raise ConfigError(
                f"hidden={hidden}: component {component} is from {low} to {high}, so 0 can't stand "
                "for it; expected components whose range holds 0"
            )


def register_without_velocities() -> None:
    """Registers ``CartPoleNoVel-v1`` and so on, but for ids that another package has taken."""
    for env_id, hidden in VELOCITIES.items():
        name, version = env_id.rsplit("-", 1)
        masked = f"{name}NoVel-{version}"
        if masked in gym.registry or env_id not in gym.registry:
            continue
        base = gym.spec(env_id)
        gym.register(
            id=masked,
            entry_point=base.entry_point,
            reward_threshold=base.reward_threshold,
            max_episode_steps=base.max_episode_steps,
            kwargs=base.kwargs,
            additional_wrappers=(WrapperSpec("MaskVelocity", f"{__name__}:MaskVelocity",
                                             {"hidden": hidden}),),
        )  # fmt: skip
