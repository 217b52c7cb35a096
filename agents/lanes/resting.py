"""Lanes that rest once their episode is over, so that no env step is played for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from gymnasium.vector import SyncVectorEnv, VectorEnv

__all__ = ["RestingLane", "one_episode_each"]


class RestingLane(gym.Wrapper[Any, Any, Any, Any]):
    """Within :func:`one_episode_each`, plays no step between an episode's end and a seeded reset.

    Vector environments step all their lanes, and start a new episode at once where one ends. A lane
    that rests answers them with its last observation and no reward, and does not step. Otherwise
    it is as the environment that it wraps.

    Args:
        env: The environment.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.may_rest = False
        self.resting = False
        self._last: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, or goes on resting where no seed is given."""
        if self.resting and seed is None:
            return self._last, {}
        self.resting = False
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """A step, or nothing."""
        if self.resting:
            return self._last, 0.0, False, False, {}
        self._last, reward, terminated, truncated, info = self.env.step(action)
        self.resting = self.may_rest and (terminated or truncated)
        return self._last, reward, terminated, truncated, info


@contextmanager
def one_episode_each(env: VectorEnv[Any, Any, Any]) -> Iterator[bool]:
    """Within it, lanes that can rest do so after each episode; says whether all of them can."""
    made = env.envs if isinstance(env, SyncVectorEnv) else []
    lanes = [lane for lane in made if isinstance(lane, RestingLane)]
    for lane in lanes:
        lane.may_rest = True
    try:
        yield len(lanes) == env.num_envs
    finally:
        for lane in lanes:
            lane.may_rest = lane.resting = False
