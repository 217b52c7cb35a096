"""Which modes of the agent an environment supports, found by playing it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from nodepert.agents.checking.deadline import TimeIsUp
from nodepert.agents.checking.differences import (
    Make,
    difference_in_step,
    difference_replayed,
    play,
    samples,
)
from nodepert.agents.errors import ConfigError, explain
from nodepert.agents.lanes.actions import ActionMap
from nodepert.agents.lanes.observations import is_readable
from nodepert.envs import LossEnv

__all__ = ["Mode", "modes_of"]

LONGEST_EPISODE = 1_000  # steps to wait for an end
ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


@dataclass(frozen=True)
class Mode:
    """A value of the agent's ``credit``, and whether an environment supports it."""

    name: str
    supported: bool
    why: str


class Unsupported(Exception):
    """Why a mode is not supported."""


def modes_of(make: Make) -> list[Mode]:
    """The modes paired, score, value, critic and episode.

    Args:
        make: Makes a new single environment each time it is called.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the rest of the check has told them
        return [
            _mode("paired", paired, make),
            _mode("score", score, make),
            _mode("value", value, make),
            _mode("critic", critic, make),
            _mode("episode", episode, make),
        ]


def _mode(name: str, ask: Callable[[Make], str], make: Make) -> Mode:
    try:
        return Mode(name, True, ask(make))
    except Unsupported as reason:
        return Mode(name, False, str(reason))
    except (KeyboardInterrupt, TimeIsUp):
        raise
    except BaseException as error:  # an environment may raise anything
        return Mode(name, False, f"could not be tried: {explain(error)}")


def paired(make: Make) -> str:
    """Why paired probes work: lanes with one seed stay in step."""
    with closing(make()) as env:
        actions_of(env)
        task = env.unwrapped
        scale = task.action_scale if isinstance(task, LossEnv) else None
        try:
            ActionMap(env.action_space, scale)
        except ConfigError as error:
            raise Unsupported(str(error)) from error
    difference = difference_in_step(make)
    if difference is not None:
        raise Unsupported(f"lanes with one seed come apart: {difference}")
    return "what it shows follows from the seed, whatever the actions are"


def score(make: Make) -> str:
    """Why score mode works: actions that the agent can draw, observations that it can read."""
    with closing(make()) as env:
        return f"takes {actions_of(env)}"


def value(make: Make) -> str:
    """Why value mode works: a few actions to choose from."""
    with closing(make()) as env:
        actions_of(env)
        if not isinstance(env.action_space, spaces.Discrete):
            raise Unsupported(f"actions are a {kind(env.action_space)}, expected Discrete")
        return f"takes one of {env.action_space.n} actions"


def critic(make: Make) -> str:
    """Why critic mode works: actions that can be a little more or less."""
    with closing(make()) as env:
        actions_of(env)
        if not isinstance(env.action_space, spaces.Box):
            raise Unsupported(f"actions are a {kind(env.action_space)}, expected a Box")
        return "takes Box actions, which a critic can ask for more or less of"


def episode(make: Make) -> str:
    """Why whole episodes can be paired: they end, and seed and actions fix them."""
    with closing(make()) as env:
        actions_of(env)
        limit = env.spec.max_episode_steps if env.spec is not None else None
        ended = limit is not None or ends(env)
    if not ended:
        raise Unsupported(
            f"no episode ended within {LONGEST_EPISODE:,} random steps, and there is no time limit"
        )
    difference = difference_replayed(make)
    if difference is not None:
        raise Unsupported(f"a seed and actions do not fix what happens: {difference}")
    return "episodes end, and seed and actions fix them"


def ends(env: gym.Env[Any, Any]) -> bool:
    """Whether an episode ends by itself, if not too late."""
    played = play(env, samples(env.action_space, 0), LONGEST_EPISODE, seed=0)
    return any(terminated or truncated for _, _, terminated, truncated, _ in played)


def actions_of(env: gym.Env[Any, Any]) -> str:
    """What the actions are, in words, once spaces are seen to be such as the agent can handle."""
    space, shown = env.action_space, env.observation_space
    if not is_readable(shown):
        raise Unsupported(f"observations are {shown}, expected a Box, or a Dict of such spaces")
    if not isinstance(space, ARRAYS):
        raise Unsupported(f"actions are a {kind(space)}, expected a Box or Discrete space")
    if isinstance(space, spaces.Box) and not space.is_bounded():
        raise Unsupported(f"action space {space}: expected a Box with finite bounds")
    return f"{kind(space)} actions"


def kind(space: gym.Space[Any]) -> str:
    """The name of a space's class."""
    return type(space).__name__
