"""Whatever a user calls an environment, as one vector environment with enough lanes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from nodepert.agents.errors import ConfigError
from nodepert.agents.lanes.actions import ActionMap
from nodepert.agents.lanes.device_images import on_device
from nodepert.agents.lanes.vec_env import GymVectorEnv, SB3VecEnv
from nodepert.envs import LossEnv, LossVectorEnv
from nodepert.envs.image_task import ImageTask

__all__ = ["EnvLike", "action_map", "check_spaces", "identity", "vectorise"]

EnvLike = (
    str | Callable[[], gym.Env[Any, Any]] | gym.Env[Any, Any] | VectorEnv[Any, Any, Any] | VecEnv
)
"""An id, a function that makes an environment, an environment, or many in one."""
MOST_LANES = 2**20
"""More would be a mistake, and take minutes or all memory to make."""

# Wrappers that change nothing a learner sees; what they wrap can be vectorised without them.
_TRANSPARENT = (
    gym.wrappers.PassiveEnvChecker,
    gym.wrappers.OrderEnforcing,
    Monitor,
)


Wrapper = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]


def vectorise(
    env: EnvLike,
    num_lanes: int,
    wrapper: Wrapper | None = None,
    device: torch.device | None = None,
) -> VectorEnv[Any, Any, Any]:
    """Makes a vector environment of ``num_lanes`` lanes; one that is vectorised stays as it is.

    Loss environments become native lanes. Other single environments are made again from their
    spec, or copied, and run one after the other.

    Args:
        env: See :data:`EnvLike`.
        num_lanes: How many lanes a single environment becomes.
        wrapper: Put around each lane that is made here, but for native ones.
        device: Where native lanes of images are to show them, as tensors. None: arrays, as others.

    Raises:
        ConfigError: A single environment that can be neither made again nor copied, or more lanes
            of it than a million.
    """
    if isinstance(env, SB3VecEnv):
        return env.venv
    if isinstance(env, VecEnv):
        return GymVectorEnv(env)
    if isinstance(env, VectorEnv):
        return env
    if num_lanes > MOST_LANES:
        raise ConfigError(
            f"{num_lanes} lanes of one environment: expected at most {MOST_LANES}; batch_size, "
            "n_envs and probes say how many"
        )
    if isinstance(env, str):
        return _from_single(gym.make(env), num_lanes, wrapper, device)
    if isinstance(env, gym.Env):
        return _from_single(env, num_lanes, wrapper, device)
    if callable(env):
        made = env()
        if isinstance(made, VecEnv | VectorEnv):
            return vectorise(made, num_lanes)
        native = _native(made, num_lanes, device)
        return native or _sync([lambda: made, *[env] * (num_lanes - 1)], wrapper)
    raise ConfigError(
        f"env={env!r}: expected an id, a gymnasium.Env, a gymnasium.vector.VectorEnv, "
        "a Stable-Baselines3 VecEnv, or a function that makes one"
    )


def _from_single(
    env: gym.Env[Any, Any], num_lanes: int, wrapper: Wrapper | None, device: torch.device | None
) -> VectorEnv[Any, Any, Any]:
    native = _native(env, num_lanes, device)
    if native is not None:
        return native
    if env.spec is not None and env.spec.entry_point is not None:
        spec = env.spec
        try:
            return _sync([lambda: gym.make(spec)] * num_lanes, wrapper)
        except Exception:  # e.g. a wrapper that its spec can't make again: try to copy instead
            pass
    try:
        return _sync([lambda: copy.deepcopy(env)] * num_lanes, wrapper)
    except Exception as error:
        raise ConfigError(
            f"env={env!r}: can't be made again from a spec nor copied ({error}); pass a function "
            "that makes one, such as `lambda: MyEnv()`"
        ) from error


def _native(
    env: gym.Env[Any, Any], num_lanes: int, device: torch.device | None
) -> LossVectorEnv | None:
    """Native lanes of a loss environment that is not wrapped in anything a learner would see."""
    limit = None
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            steps = env._max_episode_steps
            limit = steps if limit is None else min(limit, steps)
        elif not isinstance(env, _TRANSPARENT):
            return None
        env = env.env
    if not isinstance(env, LossEnv):
        return None
    spec = env.spec
    if device is not None and isinstance(env, ImageTask):
        env = on_device(env, device)
    lanes = LossVectorEnv(env, num_lanes, max_episode_steps=limit)
    lanes.spec = spec
    return lanes


def _sync(makers: list[Callable[[], gym.Env[Any, Any]]], wrapper: Wrapper | None) -> SyncVectorEnv:
    if wrapper is not None:
        makers = [lambda make=make: wrapper(make()) for make in makers]  # type: ignore[misc]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def identity(env: VectorEnv[Any, Any, Any]) -> tuple[str, dict[str, Any]] | None:
    """The id and the arguments of a task, as ``gymnasium.make`` takes them, where it has them."""
    if env.spec is None:
        return None
    not_the_task = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers",
                    "max_episode_steps", "autoreset_mode", "render_mode")  # fmt: skip
    return env.spec.id, {k: v for k, v in env.spec.kwargs.items() if k not in not_the_task}


def action_map(env: VectorEnv[Any, Any, Any]) -> ActionMap:
    """How predictions become actions of this environment."""
    return ActionMap(env.single_action_space, _action_scale(env))


def _action_scale(env: VectorEnv[Any, Any, Any]) -> float | None:
    """The scale of a loss environment, native or in one of the containers; None for others."""
    base = env.unwrapped
    if isinstance(base, LossVectorEnv):
        return base.action_scale
    if isinstance(base, GymVectorEnv):
        known = base.venv.has_attr("action_scale")  # to ask a process for it would end the process
        return float(base.venv.get_attr("action_scale")[0]) if known else None
    if isinstance(base, SyncVectorEnv):
        single = base.envs[0].unwrapped
        return single.action_scale if isinstance(single, LossEnv) else None
    return getattr(base, "action_scale", None)


def check_spaces(
    env: VectorEnv[Any, Any, Any], observation: gym.Space[Any], action: gym.Space[Any]
) -> None:
    """Raises ConfigError where an environment has other spaces than these."""
    if (env.single_observation_space, env.single_action_space) != (observation, action):
        raise ConfigError(
            f"env has spaces {env.single_observation_space} and {env.single_action_space}, "
            f"expected {observation} and {action}"
        )
