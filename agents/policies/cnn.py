"""The convolutional policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import FlattenExtractor

from nodepert.agents.errors import ConfigError
from nodepert.agents.networks import CNN, Network
from nodepert.agents.policies.base import FeedbackPolicy
from nodepert.agents.policies.features import channel_first
from nodepert.agents.policies.options import check_widths

__all__ = ["CnnPolicy"]


class CnnPolicy(FeedbackPolicy):
    """Convolutional: two blocks of 5 × 5 convolution, ReLU and max-pooling, then 128 ReLU units.

    Args:
        observation_space: Of one lane: a Box of shape (channels, height, width); a Box of bytes
            from 0 to 255, which are scaled to 0 … 1, also (height, width, channels), as in
            Stable-Baselines3; or a flat Box whose length is a square number, which is a square
            image of one channel.
        action_space: Of one lane.
        channels: Of each block.
        kernel_size: Pixels a side of every convolution.
        common: See :class:`FeedbackPolicy`; ``net_arch`` are the dense layers after the blocks.
            It learns its own features: it takes no extractor, and pixels are never normalised.
    """

    default_net_arch = (128,)
    default_activation = "relu"
    default_n_steps = 1

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        channels: Sequence[int] = (16, 32),
        kernel_size: int = 5,
        **common: Any,
    ) -> None:
        self.image_shape = image_shape(channel_first(observation_space))
        extractor = common.get("features_extractor_class") or FlattenExtractor
        if extractor not in (FlattenExtractor, FlattenExtractor.__name__):
            raise ConfigError(
                f"features_extractor_class={extractor!r}: CnnPolicy learns its own features; "
                "expected MlpPolicy or RnnPolicy for those of a frozen extractor"
            )
        self.channels = check_widths("channels", channels, "[16, 32]")
        if not self.channels:
            raise ConfigError("channels=(): expected at least one block, such as [16, 32]")
        (self.kernel_size,) = check_widths("kernel_size", (kernel_size,), "5")
        super().__init__(
            observation_space, action_space, **{**common, "normalize_observation": False}
        )

    def make_network(self, n_in: int, n_out: int, generator: torch.Generator) -> Network:
        """A CNN."""
        return CNN(
            self.image_shape,
            self.channels,
            self.net_arch,
            n_out,
            kernel_size=self.kernel_size,
            activation=self.activation,
            path=self.path,
            generator=generator,
            init_gain=self.init_gain,
        )


def image_shape(space: gym.Space[Any]) -> tuple[int, int, int]:
    """Channels, height and width of a space's images.

    Raises:
        ConfigError: It holds none.
    """
    shape = space.shape if isinstance(space, gym.spaces.Box) else ()
    if len(shape) == 3:
        return shape
    side = math.isqrt(math.prod(shape))
    if len(shape) == 1 and side**2 == shape[0]:
        return (1, side, side)
    raise ConfigError(
        f"policy='CnnPolicy': observation space {space}; expected a Box of shape (channels, "
        "height, width), or a flat Box whose length is a square number; MultiInputPolicy reads "
        "Dict spaces"
    )
