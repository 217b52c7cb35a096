"""From observations to features: Stable-Baselines3's preprocessing and a frozen extractor."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
    preprocess_obs,
)
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.vec_env import VecTransposeImage
from torch import Tensor

from nodepert.agents.errors import ConfigError
from nodepert.agents.lanes.observations import check_readable, parts

__all__ = [
    "EXTRACTORS",
    "Preprocessing",
    "channel_first",
    "extractor_name",
    "find_extractor",
    "make_extractor",
    "widths_of_numbers",
]

EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    cls.__name__: cls for cls in (FlattenExtractor, NatureCNN, CombinedExtractor)
}
"""Stable-Baselines3's, by name."""


class Preprocessing:
    """What Stable-Baselines3 does to observations before an extractor reads them.

    Images of bytes become 0 … 1 and channel-first, discrete parts one-hot, and all is float32.

    Args:
        space: The observation space of one lane.

    Raises:
        ConfigError: A space that policies can't read.
    """

    def __init__(self, space: gym.Space[Any]) -> None:
        check_readable(space)
        self.space = channel_first(space)
        """As the extractor sees it."""
        self._original, self._parts = parts(space), parts(self.space)

    def __call__(self, observation: Any, device: torch.device) -> dict[str, Tensor]:
        """The parts of N observations by name, each (N, ...).

        Args:
            observation: Arrays or tensors: (N, ...), or by name in a dict or a packed array.
            device: Where to put them.
        """
        several = isinstance(self.space, spaces.Dict)
        return {
            name: self._part(observation[name] if several else observation, name, device)
            for name in self._parts
        }

    def _part(self, values: Any, name: str, device: torch.device) -> Tensor:
        array = values if isinstance(values, Tensor) else np.ascontiguousarray(values)
        tensor = torch.as_tensor(array, device=device)
        part = self._parts[name]
        if part.shape != self._original[name].shape:
            tensor = tensor.movedim(-1, 1)
        if isinstance(part, spaces.Discrete | spaces.MultiDiscrete):
            tensor = tensor - torch.as_tensor(part.start, device=device)
        return encoded(tensor, part)

    def blank(self) -> Any:
        """One observation of zeros, preprocessed."""
        return self.whole(
            {
                name: encoded(torch.zeros(1, *(part.shape or ())), part)
                for name, part in self._parts.items()
            }
        )

    def whole(self, found: dict[str, Tensor]) -> Any:
        """The parts as an extractor takes them: a dict, or the only one."""
        return found if isinstance(self.space, spaces.Dict) else next(iter(found.values()))


def encoded(values: Tensor, part: gym.Space[Any]) -> Tensor:
    """One part of N observations as float32, at least (N, 1)."""
    found = preprocess_obs(values, part)
    assert isinstance(found, Tensor)
    return found if found.ndim > 1 else found[:, None]


def channel_first(space: gym.Space[Any]) -> gym.Space[Any]:
    """A copy of the space whose images are (channels, height, width).

    Images are what Stable-Baselines3 takes for them: Boxes of three dimensions with bytes from 0 to
    255. Their channels are the smallest dimension.
    """
    space = copy.deepcopy(space)
    if isinstance(space, spaces.Dict):
        space.spaces = {name: channel_first(part) for name, part in space.spaces.items()}
    elif is_image_space(space):
        assert isinstance(space, spaces.Box)
        if not is_image_space_channels_first(space):
            return VecTransposeImage.transpose_space(space)
    return space


def widths_of_numbers(space: gym.Space[Any]) -> dict[str, int]:
    """Widths of the parts that are numbers: Boxes of less than three dimensions, not images."""
    return {
        name: int(np.prod(part.shape))
        for name, part in parts(space).items()
        if isinstance(part, spaces.Box) and len(part.shape) < 3
    }


def find_extractor(
    named: str | type[BaseFeaturesExtractor] | None, space: gym.Space[Any]
) -> type[BaseFeaturesExtractor]:
    """The class that a policy option means.

    Args:
        named: A class, the name of one of Stable-Baselines3's, or None for its default.
        space: Of the observations.

    Raises:
        ConfigError: Neither of these.
    """
    if named is None:
        return CombinedExtractor if isinstance(space, spaces.Dict) else FlattenExtractor
    found = EXTRACTORS.get(named, named) if isinstance(named, str) else named
    if isinstance(found, type) and issubclass(found, BaseFeaturesExtractor):
        return found
    raise ConfigError(
        f"features_extractor_class={named!r}: expected {', '.join(EXTRACTORS)} or a subclass of "
        "Stable-Baselines3's BaseFeaturesExtractor. A class of your own is not in a model file: "
        'load(..., custom_objects={"features_extractor_class": YourClass})'
    )


def extractor_name(cls: type[BaseFeaturesExtractor]) -> str:
    """What a model file calls an extractor; only Stable-Baselines3's are found again by name."""
    known = EXTRACTORS.get(cls.__name__) is cls
    return cls.__name__ if known else f"{cls.__module__}:{cls.__qualname__}"


def make_extractor(
    cls: type[BaseFeaturesExtractor],
    kwargs: Mapping[str, Any],
    preprocessing: Preprocessing,
    seed: int,
) -> BaseFeaturesExtractor:
    """Makes an extractor and freezes it: no gradients, no dropout, no batch statistics.

    Stable-Baselines3's own start orthogonal with gain √2, as in its PPO: torch's default would
    leave their features near zero, and frozen ones can't grow. Others stay as they are made.

    Args:
        cls: See :func:`find_extractor`.
        kwargs: Of its constructor.
        preprocessing: Gives what it reads.
        seed: Of its weights, if it draws them from torch's global random numbers, which go on
            afterwards as if nothing had been drawn.

    Raises:
        ConfigError: It can't be made, or does not give ``features_dim`` features.
    """
    space = preprocessing.space
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        try:
            extractor = cls(space, **kwargs)
            if cls in EXTRACTORS.values():  # one of a user's may come trained
                extractor.apply(partial(BasePolicy.init_weights, gain=math.sqrt(2)))
            extractor.requires_grad_(False).eval()
            found = extractor(preprocessing.blank())
            if found.shape != (1, extractor.features_dim):
                raise ValueError(
                    f"gives features of shape {tuple(found.shape)} for one observation, and says "
                    f"features_dim={extractor.features_dim}"
                )
        except Exception as error:
            raise ConfigError(
                f"features_extractor_class={cls.__name__}, features_extractor_kwargs="
                f"{dict(kwargs)}: does not fit observation space {space}: {error}"
            ) from error
    return extractor
