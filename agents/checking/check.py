"""Says in words what is wrong with an environment, and how the agent can learn in it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import env_checker
from stable_baselines3.common import env_checker as sb3_env_checker

from nodepert.agents.checking.deadline import TimeIsUp, time_limit
from nodepert.agents.checking.differences import Make, play, samples
from nodepert.agents.checking.modes import Mode, modes_of
from nodepert.agents.errors import explain
from nodepert.agents.lanes.guard import fault
from nodepert.envs import ContractError, LossEnv, NodepertError
from nodepert.envs.testing import check_loss_env

__all__ = ["Part", "Report", "check_env"]

STEPS = 300  # of a trial
LONGEST = 300  # characters of a line
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Part:
    """One part of a check, and what it found, one line each."""

    name: str
    broken: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What a check found."""

    parts: list[Part] = field(default_factory=list)
    modes: list[Mode] = field(default_factory=list)
    loss_env: bool = False

    @property
    def broken(self) -> bool:
        """Whether something must be mended."""
        return any(part.broken for part in self.parts)

    @property
    def usable(self) -> bool:
        """Whether nothing is broken and the agent can learn in at least one mode."""
        return not self.broken and any(mode.supported for mode in self.modes)


def check_env(make: Make, *, timeout: float | None = None) -> Report:
    """Checks an environment that somebody wants to train on. It never raises for a broken one.

    Gymnasium's and Stable-Baselines3's own checkers, the conformance tests of loss environments
    where it is one, a few hundred random steps, and what each mode of the agent asks for.

    Args:
        make: Makes a new single environment each time it is called.
        timeout: Seconds for the whole check; None for as long as it takes. Needs a system with
            SIGALRM and the main thread.

    Returns:
        The findings, as far as they got.
    """
    report = Report()
    try:
        with time_limit(timeout):
            _check(make, report)
    except TimeIsUp:
        report.parts[-1].broken.append(f"no end within {timeout:g} s")
        report.modes = []
    return report


def _check(make: Make, report: Report) -> None:
    """Fills the report in, part by part, and stops where going on makes no sense."""
    if not _run(report, "it can be made, and has spaces", partial(look, make, report)):
        return
    _run(report, "Gymnasium's check_env", partial(gymnasium_checker, make))
    _run(report, "Stable-Baselines3's check_env", partial(sb3_checker, make))
    if report.loss_env:
        _run(report, "the contract of loss environments", partial(contract, make))
    if _run(report, f"{STEPS} steps of random actions", partial(trial, make)):
        report.modes = modes_of(make)


def _run(report: Report, name: str, check: Callable[[], None]) -> bool:
    """Runs one part of the check; whether it came through."""
    part = Part(name)
    report.parts.append(part)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check()
        except (KeyboardInterrupt, TimeIsUp):
            raise
        except BaseException as error:  # an environment may raise anything
            part.broken.append(line(error))
    told = [one.message for one in caught if not issubclass(one.category, DeprecationWarning)]
    seen = dict.fromkeys(line(message) for message in told)  # each once, in order
    part.warned.extend(text for text in seen if text not in part.broken)
    return not part.broken


def line(problem: BaseException | str) -> str:
    """An error or a warning in one line, without colours and without what everyone knows."""
    text = explain(problem) if isinstance(problem, BaseException) else problem
    if isinstance(problem, Warning | AssertionError | NodepertError):
        text = str(problem) or text
    text = " ".join(COLOUR.sub("", text).split()).removeprefix("WARN: ")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def look(make: Make, report: Report) -> None:
    """Raises ContractError unless this makes a gymnasium.Env with spaces."""
    made: Any = make()
    if not isinstance(made, gym.Env):
        raise ContractError(f"{type(made).__name__} is no gymnasium.Env")
    with closing(made) as env:
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)
            if not isinstance(space, gym.Space):
                raise ContractError(f"{name} is {space!r}, expected a gymnasium.spaces.Space")
        report.loss_env = isinstance(env.unwrapped, LossEnv)


def gymnasium_checker(make: Make) -> None:
    """Gymnasium's own; rendering is left out, since it may need a screen."""
    with closing(make()) as env:
        env_checker.check_env(env.unwrapped, skip_render_check=True)


def sb3_checker(make: Make) -> None:
    """Stable-Baselines3's own."""
    with closing(make()) as env:
        sb3_env_checker.check_env(env)


def contract(make: Make) -> None:
    """The conformance tests of loss environments."""
    check_loss_env(lambda: make().unwrapped)  # type: ignore[arg-type,return-value]


def fault_of_ends(terminated: Any, truncated: Any, info: Any) -> str | None:
    """What is wrong with the rest of what a step returned, in words."""
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, bool | np.bool_):
            return f"{name} is {value!r}, expected True or False"
    return None if isinstance(info, dict) else f"info is {info!r}, expected a dict"


def trial(make: Make) -> None:
    """Raises ContractError where an environment, while played, can't be learned from."""
    with closing(make()) as env:
        step, wrong = 0, None
        try:
            wrong = fault(env.observation_space, env.reset(seed=0)[0])
            played = play(env, samples(env.action_space, 0), STEPS, seed=0)
            while wrong is None and step < STEPS:
                shown, reward, *ends = next(played)
                step += 1
                wrong = fault(env.observation_space, shown, reward) or fault_of_ends(*ends)
                if wrong is None and shown not in env.observation_space:
                    warnings.warn(
                        "an observation has another dtype than its space, or is out of its bounds",
                        stacklevel=1,
                    )
        except (KeyboardInterrupt, TimeIsUp):
            raise
        except BaseException as error:
            raise ContractError(f"after step {step}: {explain(error)}") from error
        if wrong is not None:
            raise ContractError(f"at step {step}: {wrong}")
