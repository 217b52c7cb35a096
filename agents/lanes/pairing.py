"""Whether lanes can be paired: whether those of one seed stay in step whatever is done in them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from nodepert.agents.errors import NonFiniteError, PairingError
from nodepert.agents.lanes.handover import EnvLike, action_map, vectorise
from nodepert.agents.lanes.observations import is_readable
from nodepert.agents.lanes.rollout import PairedLanes

__all__ = ["can_be_paired", "stays_in_step"]


def can_be_paired(env: EnvLike) -> bool:
    """Whether probes can be played in it: it is a loss environment, or its lanes stay in step.

    A single environment is made anew for this; in one that has lanes already, up to 8 steps are
    played.
    """
    lanes = vectorise(env, 2)
    try:
        if action_map(lanes).action_scale is not None:
            return True
        return is_readable(lanes.single_observation_space) and stays_in_step(lanes)
    finally:
        if isinstance(env, gym.Env | str):
            lanes.close()  # made for this alone


def stays_in_step(env: VectorEnv[Any, Any, Any], steps: int = 8) -> bool:
    """Plays different actions in lanes of one seed, and compares what they show.

    Args:
        env: Two lanes or more. It is left in the middle of an episode.
        steps: Most steps to play; fewer where lanes differ before.

    Returns:
        Whether they showed the same all the while. One that does not take seeds, does not.
    """
    if env.num_envs < 2:
        return False
    lanes = PairedLanes(env, env.num_envs)
    env.single_action_space.seed(0)
    try:
        lanes.reset([0])
        for _ in range(steps):
            actions = [env.single_action_space.sample() for _ in range(env.num_envs)]
            lanes.step(np.stack(actions))
    except (NonFiniteError, PairingError):
        return False
    return True
