"""The state of an environment's lanes as arrays, so that a run can go on where it stood."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers
from gymnasium.envs.classic_control import (
    AcrobotEnv,
    CartPoleEnv,
    Continuous_MountainCarEnv,
    MountainCarEnv,
    PendulumEnv,
)
from gymnasium.vector import SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor

from nodepert.agents.lanes.resting import RestingLane
from nodepert.envs import MaskVelocity

__all__ = ["get_state", "set_state"]

State = dict[str, NDArray[Any]]

CLASSIC = (AcrobotEnv, CartPoleEnv, Continuous_MountainCarEnv, MountainCarEnv, PendulumEnv)
"""Environments whose future is ``state`` and random numbers."""
# Wrappers that remember nothing on which observations, rewards or the ends of episodes depend.
STATELESS = (
    MaskVelocity,
    Monitor,
    RestingLane,
    wrappers.ClipAction,
    wrappers.ClipReward,
    wrappers.DtypeObservation,
    wrappers.FilterObservation,
    wrappers.FlattenObservation,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.RescaleAction,
    wrappers.RescaleObservation,
)


def get_state(env: VectorEnv[Any, Any, Any]) -> State | None:
    """All that the lanes' future depends on; None where that can't be read.

    Vector environments with ``get_state`` tell it, all of nodepert's do. Lanes of a
    ``SyncVectorEnv`` are asked one by one: those with ``get_state`` and ``set_state`` of their own,
    and Gymnasium's classic control, wrapped in a time limit or in wrappers without a memory.

    Args:
        env: Reset already.
    """
    if hasattr(env, "get_state") and hasattr(env, "set_state"):
        return told_state(env)
    if type(env) is not SyncVectorEnv:
        return None
    state: State = {"autoreset": env._autoreset_envs.copy()}
    for i, lane in enumerate(env.envs):
        of_lane = lane_state(lane)
        if of_lane is None:
            return None
        state.update({f"{i}.{name}": values for name, values in of_lane.items()})
    return state


def set_state(env: VectorEnv[Any, Any, Any], state: State) -> None:
    """Goes back to a state from :func:`get_state`, of an environment made in the same way.

    Raises:
        KeyError: A part is missing.
        ValueError: A part does not fit.
    """
    if type(env) is not SyncVectorEnv:
        env.set_state(state)  # type: ignore[attr-defined]
        return
    env.reset()  # lanes refuse to be stepped before
    env._autoreset_envs[:] = state["autoreset"]
    for i, lane in enumerate(env.envs):
        start = f"{i}."
        own = {k[len(start) :]: v for k, v in state.items() if k.startswith(start)}
        set_lane_state(lane, own)


def lane_state(env: gym.Env[Any, Any]) -> State | None:
    """The same of a single environment."""
    base, limits = unwrapped(env)
    if base is None:
        return None
    steps = {f"elapsed_steps_{i}": np.array(one._elapsed_steps) for i, one in enumerate(limits)}
    own = classic_state(base) if type(base) in CLASSIC else told_state(base)
    return None if own is None else {**own, **steps}


def set_lane_state(env: gym.Env[Any, Any], state: State) -> None:
    """Goes back to a state from :func:`lane_state`."""
    base, limits = unwrapped(env)
    for i, one in enumerate(limits):
        one._elapsed_steps = int(state[f"elapsed_steps_{i}"])
    if type(base) in CLASSIC:
        set_classic_state(base, state)
    else:
        own = {k: v for k, v in state.items() if not k.startswith("elapsed_steps_")}
        base.set_state(own)


def unwrapped(env: Any) -> tuple[Any, list[Any]]:
    """What tells its state below wrappers that have none, and the time limits; None if nothing."""
    limits = []
    while not (hasattr(env, "get_state") and hasattr(env, "set_state")):
        if isinstance(env, wrappers.TimeLimit):
            limits.append(env)
        elif type(env) not in STATELESS:
            return (env if type(env) in CLASSIC else None), limits
        env = env.env
    return env, limits


def classic_state(env: Any) -> State:
    """Of classic control. Their random numbers are those of ``np_random``."""
    random = json.dumps(env.np_random.bit_generator.state).encode()
    state = {"state": np.array(env.state), "random": np.frombuffer(random, np.uint8).copy()}
    if isinstance(env, CartPoleEnv):
        beyond = env.steps_beyond_terminated
        state["steps_beyond"] = np.array(-1 if beyond is None else beyond)
    return state


def set_classic_state(env: Any, state: State) -> None:
    """Goes back to a state from :func:`classic_state`."""
    env.state = state["state"].copy()
    env.np_random.bit_generator.state = json.loads(state["random"].tobytes())
    if "steps_beyond" in state:
        beyond = int(state["steps_beyond"])
        env.steps_beyond_terminated = None if beyond < 0 else beyond


def told_state(env: Any) -> State | None:
    """What ``get_state`` tells, as arrays of numbers; None where it tells another thing.

    Of environments that are not ours, it may: a copy of a simulator, say, or lists of all lengths;
    it may ask for arguments, or be there only to be overridden.
    """
    try:
        state = env.get_state()
        if not isinstance(state, dict):
            return None
        arrays = {name: np.array(values, order="C") for name, values in state.items()}
    except (NotImplementedError, TypeError, ValueError):
        return None
    return None if any(one.dtype.kind not in "biuf" for one in arrays.values()) else arrays
