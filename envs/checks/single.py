"""Checks of a loss environment as a ``gymnasium.Env``."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import warnings
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env

from nodepert.envs.base import LossEnv
from nodepert.envs.checks.batch import Make, require, same
from nodepert.envs.errors import ContractError
from nodepert.envs.observations import arrays_of

__all__ = [
    "check_determinism",
    "check_gymnasium",
    "check_out_of_box",
    "check_pickle",
    "check_sb3",
    "check_shared_memory",
    "check_state",
    "check_types",
]

STEPS = 12


def check_gymnasium(make: Make) -> None:
    """``gymnasium.utils.env_checker.check_env``, with warnings as errors."""
    env = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            # Without a spec, the render check can only warn that it was not made.
            check_env(env, skip_render_check=env.spec is None)
        except Exception as error:
            raise ContractError(f"{type(env).__name__}: Gymnasium's check_env: {error}") from error


def check_sb3(make: Make) -> None:
    """Stable-Baselines3's ``check_env``, with warnings as errors; nothing if not installed."""
    if importlib.util.find_spec("stable_baselines3") is None:
        return
    checker = importlib.import_module("stable_baselines3.common.env_checker")
    env = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            checker.check_env(env)
        except Exception as error:
            raise ContractError(f"{type(env).__name__}: SB3's check_env: {error}") from error


def check_types(make: Make) -> None:
    """Rewards are Python floats, terminated and truncated Python bools."""
    env = make()
    for _, reward, terminated, truncated, _ in rollout(env, seed=0):
        for name, value, kind in (
            ("reward", reward, float),
            ("terminated", terminated, bool),
            ("truncated", truncated, bool),
        ):
            found = type(value).__name__
            require(type(value) is kind, env, f"{name} is a {found}, not a {kind.__name__}")


def check_determinism(make: Make) -> None:
    """Equal seeds give equal trajectories: in a new environment, and in one already used."""
    env = make()
    first = rollout(env, seed=3)
    require(same(first, rollout(env, seed=3)), env, "a second reset(seed=3) gave something else")
    require(same(first, rollout(make(), seed=3)), env, "a new environment, same seed, differs")


def check_shared_memory(make: Make) -> None:
    """No array that was returned is written to later, or is a part of another one."""
    env = make()
    arrays: list[Any] = []
    for observation, _, _, _, info in rollout(env, seed=0, copy=False):
        new = [*arrays_of(observation), *(v for v in info.values() if isinstance(v, np.ndarray))]
        for array in new:
            shared = any(np.shares_memory(array, old) for old in arrays)
            require(not shared, env, "two returned arrays share memory")
        arrays += new


def check_pickle(make: Make) -> None:
    """A pickled environment goes on as the original does."""
    env = make()
    rollout(env, seed=5)
    try:
        twin = pickle.loads(pickle.dumps(env))
    except Exception as error:
        raise ContractError(f"{type(env).__name__}: can't be pickled: {error}") from error
    require(same(rollout(env), rollout(twin)), env, "a pickled copy goes on differently")


def check_state(make: Make) -> None:
    """``set_state(get_state())`` in a new environment goes on as the original does."""
    env, twin = make(), make()
    rollout(env, seed=5)
    state = env.get_state()
    plain = all(isinstance(value, np.ndarray) for value in state.values())
    require(plain, env, "get_state: expected a dict of arrays")
    kept, future = deepcopy(state), rollout(env)
    require(same(state, kept), env, "get_state: the state changed while the environment went on")
    twin.set_state(state)
    require(same(rollout(twin), future), env, "set_state: the future differs from the original's")


def check_out_of_box(make: Make) -> None:
    """Finite actions outside a Box are accepted and give a finite reward."""
    env = make()
    if not isinstance(env.action_space, Box):
        return
    for factor in (-1e3, 1e3):
        env.reset(seed=0)
        try:
            reward = env.step(factor * np.ones(env.action_space.shape, np.float32))[1]
        except Exception as error:
            raise ContractError(
                f"{type(env).__name__}: refused the finite action {factor}: {error}"
            ) from error
        require(bool(np.isfinite(reward)), env, f"reward {reward} for the finite action {factor}")


def rollout(
    env: LossEnv, seed: int | None = None, steps: int = STEPS, copy: bool = True
) -> list[tuple[Any, ...]]:
    """A few steps as (observation, reward, terminated, truncated, info), with resets between.

    Without a seed it goes on from where the environment is, in a new episode.
    """
    space = deepcopy(env.action_space)
    space.seed(0)
    keep = deepcopy if copy else lambda step: step
    record = [keep((*env.reset(seed=seed)[:1], 0.0, False, False, {}))]
    for _ in range(steps):
        record.append(keep(env.step(space.sample())))
        if record[-1][2] or record[-1][3]:
            record.append(keep((*env.reset()[:1], 0.0, False, False, {})))
    return record
