"""Says which lane of a vector environment failed, at which step, and how."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from multiprocessing.connection import wait
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from nodepert.agents.errors import LaneError, NodepertError, explain

__all__ = ["failed_lane", "fault", "lane_errors"]

# Vector environments that play their lanes in a loop: the code of the loop, and its lane's name.
LOOPS = {
    SyncVectorEnv.reset.__code__: "i",
    SyncVectorEnv.step.__code__: "i",
    DummyVecEnv.reset.__code__: "env_idx",
    DummyVecEnv.step_wait.__code__: "env_idx",
}
SECONDS_TO_DIE = 1.0  # until the system tells that a process, whose pipe has closed, is dead


@contextmanager
def lane_errors(env: VectorEnv[Any, Any, Any], step: int) -> Iterator[None]:
    """Turns what ``env`` raises inside the ``with`` into a :class:`LaneError`.

    A vector environment of processes can't be used after a failure, and its ``close`` would wait
    for the process that failed: its processes are ended, and it counts as closed.

    Args:
        env: What is reset or stepped.
        step: For the message: the number of the vector step.

    Raises:
        LaneError: Names lane and step; the environment's own error is its ``__cause__``.
        NodepertError: As raised, since it says what it means.
    """
    try:
        yield
    except NodepertError:
        raise
    except Exception as error:
        base = container(env)
        lane, how = failed_lane(base, error), explain(error)
        if lane is not None and isinstance(error, EOFError | ConnectionError):
            how = f"its process has ended (exit code {base.processes[lane].exitcode})"
        abandon(base)
        where = "the environment" if lane is None else f"lane {lane} of the environment"
        raise LaneError(f"{where} failed at vector step {step}: {how}", lane, step) from error


def container(env: VectorEnv[Any, Any, Any]) -> Any:
    """The object that holds the lanes, Gymnasium's or Stable-Baselines3's, without wrappers."""
    base = env.unwrapped
    return getattr(base, "venv", base).unwrapped


def failed_lane(base: Any, error: BaseException) -> int | None:
    """Which lane raised ``error``; None where that can't be told.

    Args:
        base: A vector environment of Gymnasium or Stable-Baselines3, unwrapped.
        error: What its reset or step raised.
    """
    pipes = getattr(base, "parent_pipes", ())  # AsyncVectorEnv takes away those of lanes that raise
    if None in pipes:
        return pipes.index(None)
    processes = getattr(base, "processes", ())
    if processes:
        ended = wait([process.sentinel for process in processes], SECONDS_TO_DIE)
        dead = [lane for lane, process in enumerate(processes) if process.sentinel in ended]
        for lane in dead:  # its exit code is known a little later
            processes[lane].join(SECONDS_TO_DIE)
        return dead[0] if dead else None
    wrong = misshapen(base)
    return looped(error) if wrong is None else wrong


def looped(error: BaseException) -> int | None:
    """The lane that one of :data:`LOOPS` was at when ``error`` was raised."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame, inner in zip_longest(frames, frames[1:]):
        name = LOOPS.get(frame.f_code)
        # After its loop, Gymnasium stacks the observations, by a functools.singledispatch.
        stacking = inner is not None and inner.f_globals["__name__"] == "functools"
        if name is not None and not stacking:
            return frame.f_locals.get(name)
    return None


def misshapen(base: Any) -> int | None:
    """The lane of a ``SyncVectorEnv`` whose observation has another shape than its space."""
    shape = getattr(getattr(base, "single_observation_space", None), "shape", None)
    if shape is None:  # of a Dict
        return None
    shown = enumerate(getattr(base, "_env_obs", ()))
    return next((k for k, one in shown if one is not None and np.shape(one) != shape), None)


def abandon(base: Any) -> None:
    """Ends all processes of a vector environment, so that nothing waits for them."""
    processes = getattr(base, "processes", ())
    for process in processes:
        process.kill()
    if processes:
        base.closed = True


def fault(space: gym.Space[Any], observation: Any, reward: Any = 0.0) -> str | None:
    """What is wrong with what an environment returned, in words; None if it can be learned from.

    Values outside the bounds of a Box pass: many environments are careless with those.

    Args:
        space: The observation space.
        observation: Of one lane.
        reward: Likewise.
    """
    if not np.isscalar(reward) and np.shape(reward) != ():
        return f"reward of shape {np.shape(reward)}, expected a number"
    if not isinstance(reward, int | float | np.number | np.bool_ | np.ndarray):
        return f"reward {reward!r} is a {type(reward).__name__}, expected a number"
    if not np.isfinite(reward):
        return f"reward {reward}, expected a finite number"
    if isinstance(space, spaces.Dict) and isinstance(observation, dict):
        faults = (fault(space[key], observation[key]) for key in space.keys() & observation.keys())
        if space.keys() != observation.keys():
            return f"observation with keys {list(observation)}, expected {list(space)}"
        return next((one for one in faults if one is not None), None)
    if isinstance(space, spaces.Box):
        return _fault_of_box(space, observation)
    return None if space.contains(observation) else f"observation {observation!r} is not in {space}"


def _fault_of_box(space: spaces.Box, observation: Any) -> str | None:
    try:
        values = np.asarray(observation, space.dtype)
    except (TypeError, ValueError) as error:
        return f"observation {observation!r} is no array of {space.dtype}: {error}"
    if values.shape != space.shape:
        return f"observation of shape {values.shape}, expected {space.shape}"
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return "observation with NaN or infinite values"
    return None
