"""Convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodepert.agents.errors import ConfigError
from nodepert.agents.networks.activations import gains_for, make_activation, names_for
from nodepert.agents.networks.base import Network, Step
from nodepert.agents.networks.conv import FeedbackConv2d
from nodepert.agents.networks.layer import (
    FeedbackLayer,
    FeedbackLinear,
    Path,
    check_layerwise,
)

__all__ = ["CNN", "POOL"]

POOL = 2
"""Pixels a side of which the largest stays."""


class CNN(Network):
    """Blocks of convolution, σ and 2 × 2 max-pooling, then dense layers.

    The nodes of a block are what its pooling leaves: noise is added there, and the next layer reads
    them. Errors pass through σ and pooling exactly, by autograd.

    Args:
        image_shape: Channels, height and width of the observation.
        channels: Of each block.
        hidden_sizes: Widths of the dense hidden layers.
        n_out: Width of the prediction, d.
        kernel_size: k, pixels a side of every convolution.
        activation: σ, one for all hidden layers or one name each, blocks first.
        path: What carries the error.
        generator: Random numbers for the initial weights.
        init_gain: See :class:`~nodepert.agents.networks.mlp.MLP`; n_in is a patch's.

    Raises:
        ConfigError: An image too small for the blocks, or a path that takes other layers.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        hidden_sizes: Sequence[int],
        n_out: int,
        *,
        kernel_size: int,
        activation: str | Sequence[str],
        path: Path,
        generator: torch.Generator,
        init_gain: float | None = None,
    ) -> None:
        super().__init__()
        check_layerwise(path, "CnnPolicy")
        self.image_shape, self.n_in = image_shape, math.prod(image_shape)
        shapes = block_shapes(image_shape, channels, kernel_size)
        names = names_for(activation, len(channels) + len(hidden_sizes))
        gains = gains_for(names, init_gain)
        self.activations = nn.ModuleList(make_activation(name) for name in names)
        depths = [image_shape[0], *channels]
        self.blocks = nn.ModuleList(
            FeedbackConv2d(
                depths[i], depths[i + 1], kernel_size,
                path=path, carries=i > 0, gain=gains[i], generator=generator,
            )
            for i in range(len(channels))
        )  # fmt: skip
        flat = math.prod(shapes[-1])
        sizes = [flat, *hidden_sizes, n_out]
        self.linears = nn.ModuleList(
            FeedbackLinear(
                sizes[i], sizes[i + 1],
                path=path, carries=True, gain=gains[len(channels) + i], generator=generator,
            )
            for i in range(len(sizes) - 1)
        )  # fmt: skip
        # The last block's nodes are flat: that is how the dense layers see them.
        self.hidden_shapes = (*shapes[:-1], (flat,), *((n,) for n in hidden_sizes))

    def initial_state(self, contexts: int) -> None:
        """None: no state."""
        return None

    def step(
        self, x: Tensor, state: Tensor | None = None, noise: Sequence[Tensor] | None = None
    ) -> Step:
        """One forward pass; see :meth:`Network.step`."""
        x = x.view(-1, *self.image_shape)
        hidden: list[Tensor] = []
        for i, activation in enumerate(self.activations):
            if i < len(self.blocks):
                x = F.max_pool2d(activation(self.blocks[i](x)), POOL)
                x = x.reshape(-1, *self.hidden_shapes[i])
            else:
                x = activation(self.linears[i - len(self.blocks)](x))
            if noise is not None:
                x = x + noise[i]
            hidden.append(x)
        return Step(self.linears[-1](x), None, hidden)

    def readers(self, hidden: int) -> list[tuple[FeedbackLayer, int]]:
        """The next layer, at once."""
        return [(cast(FeedbackLayer, [*self.blocks, *self.linears][hidden + 1]), 0)]


def block_shapes(
    image_shape: tuple[int, int, int], channels: Sequence[int], kernel_size: int
) -> list[tuple[int, int, int]]:
    """Channels, height and width after each block.

    Raises:
        ConfigError: Nothing is left of the image.
    """
    _, height, width = image_shape
    shapes: list[tuple[int, int, int]] = []
    for count in channels:
        height, width = ((side - kernel_size + 1) // POOL for side in (height, width))
        if height < 1 or width < 1:
            raise ConfigError(
                f"channels={tuple(channels)}, kernel_size={kernel_size}: an image of shape "
                f"{image_shape}, (channels, height, width), is too small for block "
                f"{len(shapes) + 1}, which needs {kernel_size + POOL - 1} pixels a side; expected "
                "fewer blocks or a smaller kernel"
            )
        shapes.append((count, height, width))
    return shapes
