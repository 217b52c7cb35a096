"""The native vector environment of any loss environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from nodepert.envs.base import LossEnv, draw_key, key_of_seed
from nodepert.envs.errors import ConfigError
from nodepert.envs.lanes import Lanes
from nodepert.envs.observations import blank, by_lane, repeated, where
from nodepert.envs.rendering.drawing import Frame

__all__ = ["LossVectorEnv"]

Step = tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]


class LossVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """N lanes of one loss environment, stepped together in numpy.

    A lane with seed s gives the same trajectory as the single environment with seed s, whatever
    the other lanes do, and two lanes with one seed stay in step for ever: give the seeds to
    ``reset(seed=[s, s, ...])`` to pair them.

    Args:
        env: The task. It is only asked for contexts and losses; its own episode is left alone.
        num_envs: How many lanes.
        max_episode_steps: Truncate an episode after so many steps.
        autoreset_mode: What happens after an episode's end, see
            https://farama.org/Vector-Autoreset-Mode. In the ``DISABLED`` mode, call
            ``reset(options={"reset_mask": mask})``.

    Raises:
        ConfigError: ``num_envs`` or ``max_episode_steps`` is not a positive integer, or
            ``autoreset_mode`` is unknown, or ``env`` has the render mode ``"human"``.
    """

    def __init__(
        self,
        env: LossEnv,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ) -> None:
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            if value is not None and (not isinstance(value, int | np.integer) or value < 1):
                raise ConfigError(f"{name}={value!r}: expected a positive integer")
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            valid = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise ConfigError(
                f"autoreset_mode={autoreset_mode!r}: expected one of {valid}"
            ) from error
        self.env = env
        self.num_envs = int(num_envs)
        self.max_episode_steps = np.inf if max_episode_steps is None else max_episode_steps
        if env.render_mode == "human":
            raise ConfigError(
                "render_mode='human': lanes have 'rgb_array'; to watch them in a window, put "
                "gymnasium.wrappers.vector.HumanRendering around such lanes"
            )
        self.render_mode = env.render_mode
        self.metadata = {**env.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = env.observation_space
        self.single_action_space = env.action_space
        self.observation_space = batch_space(env.observation_space, self.num_envs)
        self.action_space = batch_space(env.action_space, self.num_envs)
        self.action_scale = env.action_scale
        self._blank = blank(env.observation_space, 1)
        self._lanes = Lanes(env, self.num_envs)
        self._seeded = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode in each lane.

        Args:
            seed: None keeps each lane's key and counter; an int seeds lane i with seed + i; a list
                seeds each lane (None in it: that lane keeps its own).
            options: ``{"reset_mask": mask}`` restricts the reset to some lanes, bool (N,).

        Raises:
            ConfigError: A list of another length than ``num_envs``, or a bad mask.
        """
        mask = self._reset_mask(options)
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seed = [int(seed) + lane for lane in range(self.num_envs)]
        self._seed(seed, mask)
        self._lanes.start(mask)
        return self._lanes.observe(), {}

    def _seed(self, seed: Sequence[int | None] | None, mask: NDArray[np.bool_]) -> None:
        if not self._seeded:  # lanes without a seed of their own need some key
            everyone = np.ones(self.num_envs, np.bool_)
            keys = [draw_key(self.np_random) for _ in range(self.num_envs)]
            self._lanes.seed(everyone, np.array(keys, np.uint64))
            self._seeded = True
        if seed is None:
            return
        if len(seed) != self.num_envs:
            raise ConfigError(f"seed has {len(seed)} entries, expected num_envs={self.num_envs}")
        chosen = mask & np.array([one is not None for one in seed])
        seeds = [int(one) for one, m in zip(seed, mask, strict=True) if m and one is not None]
        key_of = {one: key_of_seed(one) for one in set(seeds)}
        self._lanes.seed(chosen, np.array([key_of[one] for one in seeds], np.uint64))

    def _reset_mask(self, options: dict[str, Any] | None) -> NDArray[np.bool_]:
        if options is None or "reset_mask" not in options:
            return np.ones(self.num_envs, np.bool_)
        if not self._lanes.episodes.all():
            raise gym.error.ResetNeeded("reset all lanes before the first reset with a mask")
        mask = np.asarray(options["reset_mask"])
        if mask.dtype != np.bool_ or mask.shape != (self.num_envs,) or not mask.any():
            raise ConfigError(
                f"options['reset_mask'] has dtype {mask.dtype} and shape {mask.shape}, expected "
                f"booleans of shape ({self.num_envs},) with at least one True"
            )
        return mask

    def step(self, actions: Any) -> Step:
        """Plays one action in each lane.

        In the SAME_STEP mode (the default) the lanes whose episode ends show the first observation
        of the next one, and ``info["final_obs"]`` and ``info["final_info"]`` hold what the episode
        ended with, as in ``gymnasium.vector.SyncVectorEnv``.

        Raises:
            ActionError: An action has the wrong shape, or is not finite or not a class index.
            gymnasium.error.ResetNeeded: A lane was not reset.
        """
        lanes = self._lanes
        resetting = lanes.ended.copy()
        if resetting.any() and not (
            self.autoreset_mode is AutoresetMode.NEXT_STEP and lanes.episodes.all()
        ):
            raise gym.error.ResetNeeded(f"lane {int(resetting.argmax())} was not reset")
        if resetting.any():  # first, so that a task is never asked for a loss after the end
            lanes.start(resetting)
        losses, terminated, info = lanes.step(actions, playing=~resetting)
        truncated = (lanes.steps >= self.max_episode_steps) & ~resetting
        lanes.ended |= terminated | truncated
        rewards = -losses
        rewards[resetting] = 0.0
        return self._present(rewards, terminated, truncated, resetting, info)

    def _present(
        self,
        rewards: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        resetting: NDArray[np.bool_],
        info: dict[str, NDArray[Any]],
    ) -> Step:
        """Observations and infos of a step, by the rules of the autoreset mode."""
        done = terminated | truncated
        if not done.any():
            return self._lanes.observe(), rewards, terminated, truncated, masked(info, ~resetting)
        shown = repeated(self._blank, self.num_envs)  # terminated lanes show this
        if not terminated.all():
            shown = where(~terminated, self._lanes.observe(), shown)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return shown, rewards, terminated, truncated, masked(info, ~resetting)
        final = {"final_obs": by_lane(shown), "final_info": masked(info, done)}
        self._lanes.start(done)
        infos = {**final, "_final_obs": done, "_final_info": done.copy()}
        if not done.all():
            infos.update(masked(info, ~done))
        return self._lanes.observe(), rewards, terminated, truncated, infos

    def render(self) -> tuple[Frame, ...] | None:
        """A frame of each lane, in the mode ``"rgb_array"``.

        In the SAME_STEP mode of autoreset, an ended lane shows its next episode, as in
        ``gymnasium.vector.SyncVectorEnv``. To see the actions of tasks of one step, take another:
        ``gym.make_vec("MNIST-v0", 4, render_mode="rgb_array", autoreset_mode="NextStep")``.

        Raises:
            gymnasium.error.ResetNeeded: ``reset()`` was not called yet.
        """
        if self.render_mode is None:
            gym.logger.warn('render() without a render mode: make it with render_mode="rgb_array"')
            return None
        if not self._seeded:
            raise gym.error.ResetNeeded("call reset() before render()")
        return tuple(map(self._lanes.frame, range(self.num_envs)))

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that the future depends on, as arrays.

        Raises:
            gymnasium.error.ResetNeeded: ``reset()`` was not called yet.
        """
        if not self._seeded:
            raise gym.error.ResetNeeded("call reset() before get_state()")
        return self._lanes.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes back to a state from :meth:`get_state`."""
        self._lanes.set_state(state)
        self._seeded = True


def masked(info: dict[str, NDArray[Any]], lanes: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Info arrays with Gymnasium's ``"_key"`` masks, restricted to some lanes."""
    result = {}
    for name, values in info.items():
        if not name.startswith("_"):
            mask = info.get("_" + name, lanes) & lanes
            if mask.any():
                result.update({name: values, "_" + name: mask})
    return result
