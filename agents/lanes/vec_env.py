"""Adapters between Gymnasium's ``VectorEnv`` and Stable-Baselines3's ``VecEnv``, both ways."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from nodepert.agents.lanes.guard import lane_errors
from nodepert.agents.lanes.observations import as_array

__all__ = ["GymVectorEnv", "SB3VecEnv"]


class SB3VecEnv(VecEnv):
    """A Gymnasium vector environment as Stable-Baselines3's, without a per-lane Python loop.

    ``PPO("MlpPolicy", SB3VecEnv(gym.make_vec("MNIST-v0", 64)))`` trains on the native lanes.
    Infos hold the terminal observation, ``TimeLimit.truncated``, SB3's ``episode`` statistics, and
    what the environment reported.

    Args:
        env: A vector environment, in any mode of autoreset.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        self.venv = env
        self._mode = autoreset_mode(env)
        self.render_mode = env.render_mode
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._actions: Any = None
        self._steps = 0

    def reset(self) -> NDArray[Any]:
        """Resets all lanes; with the seeds of :meth:`seed` the first time after it.

        Raises:
            LaneError: The environment failed.
        """
        seeds = list(self._seeds)
        seeded = any(seed is not None for seed in seeds)
        with lane_errors(self.venv, self._steps):
            observations, _ = self.venv.reset(seed=cast(Any, seeds if seeded else None))
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return cast(NDArray[Any], as_array(observations))

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
        """Steps all lanes.

        Raises:
            LaneError: The environment failed.
        """
        self._steps += 1
        with lane_errors(self.venv, self._steps):
            shown, rewards, terminated, truncated, info = self.venv.step(self._actions)
        dones = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        infos = self._infos(shown, info, terminated, truncated)
        if self._mode is not AutoresetMode.SAME_STEP and dones.any():
            shown = self._reset_ended(shown, dones)
        self._returns[dones], self._lengths[dones] = 0, 0
        return as_array(shown), rewards.astype(np.float32), dones, infos

    def _reset_ended(self, shown: Any, dones: NDArray[np.bool_]) -> Any:
        """SB3 wants the next episode's first observation at once: reset the ended lanes."""
        first, _ = self.venv.reset(options={"reset_mask": dones})
        shown = copy.deepcopy(shown)
        for name in shown if isinstance(shown, dict) else [...]:  # or the whole array
            shown[name][dones] = first[name][dones]
        return shown

    def _infos(
        self,
        shown: NDArray[Any],
        info: dict[str, Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> list[dict[str, Any]]:
        """One dict a lane, as SB3 expects them."""
        infos = split_infos(info, self.num_envs)
        # In the SAME_STEP mode the ended lanes' top-level info is already the next episode's.
        final = split_infos(info["final_info"], self.num_envs) if "final_info" in info else infos
        observations = info.get("final_obs", shown)
        for lane in np.flatnonzero(terminated | truncated):
            infos[lane] = {
                **final[lane],
                "terminal_observation": observation_of(observations, lane),
                "TimeLimit.truncated": bool(truncated[lane] and not terminated[lane]),
                "episode": {"r": float(self._returns[lane]), "l": int(self._lengths[lane])},
            }
        return infos

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A frame of each lane, for ``render()`` and SB3's ``VecVideoRecorder``."""
        return cast(Sequence[NDArray[np.uint8]], self.venv.render())

    def close(self) -> None:
        """Closes the vector environment."""
        self.venv.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the vector environment, once for each lane asked for."""
        task = getattr(self.venv.unwrapped, "env", None)  # of a loss environment
        holders = (self.venv, self.venv.unwrapped, task)
        holder = next((one for one in holders if hasattr(one, attr_name)), self.venv)
        return [getattr(holder, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not possible: lanes share one object.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("the lanes of a native vector environment share one object")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not possible, as for :meth:`set_attr`.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"{method_name}: the lanes of a native vector environment can't be called one by one"
        )

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        """False: no single environments. Monitor's statistics come from this class itself."""
        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))


class GymVectorEnv(VectorEnv[Any, Any, Any]):
    """A Stable-Baselines3 ``VecEnv`` as Gymnasium's, in the SAME_STEP mode of autoreset.

    Args:
        venv: The environment to wrap.
    """

    def __init__(self, venv: VecEnv) -> None:
        self.venv = venv
        self.num_envs = venv.num_envs
        self.single_observation_space = venv.observation_space
        self.single_action_space = venv.action_space
        self.observation_space = batch_space(venv.observation_space, self.num_envs)
        self.action_space = batch_space(venv.action_space, self.num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = venv.render_mode

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Resets all lanes; a lane with a seed is first reset with it on its own."""
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + lane for lane in range(self.num_envs)]
        base = self.venv.unwrapped
        if isinstance(base, SB3VecEnv):  # its lanes can't be called one by one
            base._seeds = [None] * self.num_envs if seed is None else list(seed)
            return self.venv.reset(), {}
        for lane, one in enumerate(seed or ()):
            if one is not None:
                self.venv.env_method("reset", seed=one, indices=lane)
        return self.venv.reset(), {}

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Steps all lanes."""
        self.venv.step_async(actions)
        wait_for_lanes(self.venv.unwrapped)
        shown, rewards, dones, infos = self.venv.step_wait()
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos], np.bool_)
        truncated &= dones
        info: dict[str, Any] = {}
        for lane, one in enumerate(infos):
            one = dict(one)
            final = one.pop("terminal_observation", None)
            if dones[lane]:
                one = {"final_info": one, "final_obs": final}
            info = self._add_info(info, one, lane)
        return shown, np.asarray(rewards, np.float64), dones & ~truncated, truncated, info

    def render(self) -> tuple[Any, ...]:
        """A frame of each lane, in the mode ``"rgb_array"``."""
        return tuple(self.venv.get_images())

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the wrapped environment."""
        self.venv.close()

    def __del__(self) -> None:
        """Leaves the wrapped environment open, where Gymnasium 1.1 would close it."""


def observation_of(observations: Any, lane: Any) -> Any:
    """A copy of one lane's observation, an array or a dict of arrays."""
    if isinstance(observations, dict):
        return {name: np.array(values[lane]) for name, values in observations.items()}
    one = observations[lane]  # of final_obs, which may be an array of dicts
    return copy.deepcopy(one) if isinstance(one, dict) else np.array(one)


def wait_for_lanes(venv: VecEnv) -> None:
    """Returns once all processes of a ``SubprocVecEnv`` have answered; other kinds have none.

    Under the start method "fork" the other lanes hold the pipe of a lane that has died open, and
    ``step_wait`` would wait for it for ever.

    Raises:
        EOFError: A process has ended.
    """
    if not isinstance(venv, SubprocVecEnv):
        return
    sentinels = {process.sentinel for process in venv.processes}
    pending = set(venv.remotes)
    while pending:
        ready = set(wait([*pending, *sentinels]))
        if sentinels & ready:
            raise EOFError("a process has ended")
        pending -= ready


def autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """The autoreset mode that a vector environment declares; NEXT_STEP where it declares none."""
    return AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))


def split_infos(info: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Gymnasium's dict of arrays with masks as one dict a lane."""
    infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for name, values in info.items():
        if name.startswith("_") or name in ("final_obs", "final_info") or isinstance(values, dict):
            continue
        for lane in np.flatnonzero(info.get("_" + name, np.ones(num_envs, np.bool_))):
            value = values[lane]
            infos[lane][name] = value.item() if isinstance(value, np.generic) else value
    return infos
