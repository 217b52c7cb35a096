"""Observations of a batch of lanes: an array, or in ``Dict`` spaces an array for each part."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

__all__ = ["Observation", "arrays_of", "blank", "by_lane", "lane_of", "repeated", "where"]

Observation = NDArray[Any] | dict[str, NDArray[Any]]
"""One row a lane, (N, ...)."""


def arrays_of(observation: Any) -> list[Any]:
    """Its arrays: one, or those of its parts."""
    return list(observation.values()) if isinstance(observation, dict) else [observation]


def lane_of(observation: Observation, lane: int) -> Any:
    """What one lane shows."""
    if isinstance(observation, dict):
        return {name: rows[lane] for name, rows in observation.items()}
    return observation[lane]


def by_lane(observation: Observation) -> NDArray[Any]:
    """The same, to be indexed by lane: an array of dicts where there are several parts."""
    if not isinstance(observation, dict):
        return observation
    lanes = np.empty(len(arrays_of(observation)[0]), object)
    for lane in range(len(lanes)):
        lanes[lane] = lane_of(observation, lane)
    return lanes


def where(mask: NDArray[np.bool_], one: Observation, other: Observation) -> Observation:
    """Rows of ``one`` where the mask holds, else of ``other``."""
    if isinstance(one, dict):
        return {name: where(mask, one[name], other[name]) for name in one}  # type: ignore
    chosen = other.copy()
    chosen[mask] = one[mask]  # type: ignore[index]
    return chosen


def repeated(observation: Observation, num_lanes: int) -> Observation:
    """The only lane's observation for many lanes, in new arrays."""
    if isinstance(observation, dict):
        return {name: repeated(rows, num_lanes) for name, rows in observation.items()}  # type: ignore
    if observation.any():
        return observation.repeat(num_lanes, axis=0)
    # Zeros come from the operating system when they are read, which nobody may ever do.
    return np.zeros((num_lanes, *observation.shape[1:]), observation.dtype)


def blank(space: gym.Space[Any], num_lanes: int) -> Observation:
    """What is shown when an episode is over: nothing (zeros, or the nearest valid value)."""
    if isinstance(space, gym.spaces.Dict):
        return {name: blank(part, num_lanes) for name, part in space.spaces.items()}  # type: ignore
    shown = np.zeros((num_lanes, *(space.shape or ())), space.dtype)
    if isinstance(space, gym.spaces.Box) and not space.contains(shown[0]):
        shown += np.clip(shown[0], space.low, space.high)
    if isinstance(space, gym.spaces.Discrete | gym.spaces.MultiDiscrete):
        shown += space.start
    return shown
