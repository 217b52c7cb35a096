"""Observations of one part or, in ``Dict`` spaces, of several: which can be read, and how they lie.

A rollout indexes observations by lane. Those of a ``Dict`` space are therefore packed: one record
a lane, in a numpy array whose dtype names the parts. ``packed[key]`` is what ``observation[key]``
was, so that both can be read alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import maybe_transpose
from torch import Tensor

from nodepert.agents.errors import ConfigError

__all__ = [
    "as_array",
    "as_batch",
    "as_bytes",
    "check_readable",
    "from_bytes",
    "is_readable",
    "pack",
    "pack_one",
    "parts",
]

WHOLE = ""
"""Name of the only part of a space that is not a Dict."""


def parts(space: gym.Space[Any]) -> dict[str, gym.Space[Any]]:
    """The spaces of an observation's parts, by name."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {WHOLE: space}


def is_readable(space: gym.Space[Any]) -> bool:
    """Whether policies can read it: a Box or discrete space, or a Dict of such."""
    found = parts(space)
    return bool(found) and all(
        isinstance(name, str) and _is_readable_part(part) for name, part in found.items()
    )


def _is_readable_part(space: gym.Space[Any]) -> bool:
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ndim == 1  # as Stable-Baselines3's one-hot encoding has it
    return isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary)


def check_readable(space: gym.Space[Any]) -> None:
    """Raises ConfigError where policies can't read a space."""
    if not is_readable(space):
        raise ConfigError(
            f"observation space {space}: expected a Box, Discrete, MultiBinary or flat "
            "MultiDiscrete space, or a Dict of these, not nested"
        )


def pack(observation: Any, space: gym.Space[Any]) -> NDArray[Any]:
    """Observations of N lanes as one array of N rows; unchanged where the space is not a Dict."""
    if not isinstance(space, spaces.Dict):
        return observation
    columns = {name: np.asarray(observation[name]) for name in space.spaces}
    packed = np.empty(len(next(iter(columns.values()))), record_of(space))
    for name, values in columns.items():
        packed[name] = values
    return packed


def pack_one(observation: Any, space: gym.Space[Any]) -> Any:
    """One lane's observation as a row of what :func:`pack` gives."""
    if not isinstance(space, spaces.Dict):
        return observation
    return pack({name: np.asarray(observation[name])[None] for name in space.spaces}, space)[0]


def record_of(space: spaces.Dict) -> np.dtype[Any]:
    """The dtype of one packed observation."""
    return np.dtype([(name, one.dtype, one.shape or ()) for name, one in space.spaces.items()])


def as_array(shown: Any) -> Any:
    """What lanes show, as arrays also where it is a tensor."""
    return shown.cpu().numpy() if isinstance(shown, Tensor) else shown


def as_bytes(packed: Any) -> Any:
    """Records as their bytes, shape (N, record size); numbers stay as they are."""
    if isinstance(packed, Tensor):
        return packed
    return packed.view(np.uint8).reshape(len(packed), -1) if packed.dtype.names else packed


def from_bytes(values: NDArray[Any], space: gym.Space[Any]) -> NDArray[Any]:
    """What :func:`as_bytes` was given.

    Raises:
        ValueError: The records are of another size.
    """
    if not isinstance(space, spaces.Dict):
        return values
    return np.ascontiguousarray(values).view(record_of(space))[:, 0]


def as_batch(observation: Any, space: gym.Space[Any]) -> tuple[Any, bool]:
    """The observation with a batch dimension, and whether it had one.

    Args:
        observation: Of the space, or a batch of them; a Dict space's by name. Images may be
            channel-last where the space is channel-first, as in Stable-Baselines3.
        space: The observation space of one lane.

    Raises:
        ConfigError: Its shape is not the space's, or a part is missing.
    """
    if not isinstance(space, spaces.Dict):
        return _part_as_batch(observation, space, "observation")
    names = list(space.spaces)
    if not isinstance(observation, Mapping) or not set(names) <= set(observation):
        kind = type(observation).__name__
        has = list(observation) if isinstance(observation, Mapping) else f"a {kind}"
        raise ConfigError(f"observation has {has}, expected a dict of {names}")
    found = {
        name: _part_as_batch(observation[name], part, f"observation[{name!r}]")
        for name, part in space.spaces.items()
    }
    if len({(batched, len(rows)) for rows, batched in found.values()}) != 1:
        sizes = {name: len(rows) if batched else None for name, (rows, batched) in found.items()}
        raise ConfigError(f"observation has batches of sizes {sizes}, expected all to be the same")
    return {name: rows for name, (rows, _) in found.items()}, found[names[0]][1]


def _part_as_batch(observation: Any, space: gym.Space[Any], name: str) -> tuple[NDArray[Any], bool]:
    observation, shape = np.asarray(observation), space.shape or ()
    if observation.ndim in (3, 4):
        observation = maybe_transpose(observation, space)
    if observation.shape == shape:
        return observation[None], False
    if observation.shape[1:] == shape and observation.ndim == len(shape) + 1:
        return observation, True
    raise ConfigError(f"{name} has shape {observation.shape}, expected {shape} or (n, *{shape})")
