"""One environment in a process of its own, and the pipe to it."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import gymnasium as gym
from gymnasium.vector.utils import CloudpickleWrapper

from nodepert.agents.errors import explain
from nodepert.agents.lanes.guard import fault
from nodepert.envs import LossEnv

__all__ = ["Failure", "Worker"]

SECONDS_TO_END = 1.0
Make = Callable[[], gym.Env[Any, Any]]


@dataclass(frozen=True)
class Failure:
    """Why a lane gave no answer."""

    message: str
    trace: str
    """The traceback in the process; empty where there is none."""


class Worker:
    """The near end of a process that plays one environment.

    Args:
        context: Starts processes.
        make: Makes the environment, there.
    """

    def __init__(self, context: BaseContext, make: Make) -> None:
        self._context, self._make = context, make
        self._start()

    def _start(self) -> None:
        self.connection, far = self._context.Pipe()
        self._process = self._context.Process(  # type: ignore[attr-defined]
            target=work, args=(far, self.connection, CloudpickleWrapper(self._make)), daemon=True
        )
        self._process.start()
        far.close()

    def send(self, message: tuple[str, tuple[Any, ...]]) -> None:
        """Sends ``(method, arguments)``; a process that is gone shows in :meth:`receive`."""
        with contextlib.suppress(ConnectionError):
            self.connection.send(message)

    def receive(self) -> Any:
        """The answer, or a :class:`Failure`; waits for it."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(SECONDS_TO_END)
            return Failure(f"its process has ended (exit code {self._process.exitcode})", "")

    def restart(self) -> None:
        """Ends the process at once, and makes the environment in a new one.

        A failure to make it is the answer to what is asked next.
        """
        self.kill()
        self._start()

    def ask_to_end(self) -> None:
        """Lets the environment close itself."""
        with contextlib.suppress(OSError):
            self.connection.send(("close", ()))

    def end(self) -> None:
        """Waits a little for the process to end, then makes it."""
        self._process.join(SECONDS_TO_END)
        self.kill()

    def kill(self) -> None:
        """Ends the process at once, and the programs that the environment has started."""
        if self._process.exitcode is None and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.connection.close()


def work(far: Connection, near: Connection, make: Make) -> None:
    """What the process does: answers messages until the pipe closes."""
    near.close()
    if hasattr(os, "setsid"):  # a group of its own, to be killed with all that it starts
        os.setsid()
    env = None
    try:
        env = make()
        while True:
            method, arguments = far.recv()
            if method == "close":
                return
            far.send(CALLS[method](env, *arguments))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            far.send(Failure(explain(error), traceback.format_exc()))
    finally:
        if env is not None:
            env.close()


def describe(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """What a vector environment has to know of its lanes."""
    task = env.unwrapped
    return {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "metadata": env.metadata,
        "action_scale": task.action_scale if isinstance(task, LossEnv) else None,
    }


def reset(
    env: gym.Env[Any, Any], seed: int | None, options: dict[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """Starts an episode."""
    observation, info = env.reset(seed=seed, options=options)
    demand(fault(env.observation_space, observation))
    return observation, info


def step(env: gym.Env[Any, Any], action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """Plays an action, and starts the next episode where that ended one."""
    observation, reward, terminated, truncated, info = env.step(action)
    demand(fault(env.observation_space, observation, reward))
    if terminated or truncated:
        final = {"final_obs": observation, "final_info": info}
        observation, info = reset(env, None, None)
        info = {**final, **info}
    return observation, float(reward), bool(terminated), bool(truncated), info


def demand(wrong: str | None) -> None:
    """Raises ValueError where something is wrong."""
    if wrong is not None:
        raise ValueError(wrong)


CALLS: dict[str, Callable[..., Any]] = {"describe": describe, "reset": reset, "step": step}
