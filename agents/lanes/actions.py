"""From predictions to actions: the units of the two, and the edges of third-party action spaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from nodepert.envs.errors import ConfigError

__all__ = ["ActionMap"]


@dataclass(frozen=True)
class ActionMap:
    """How a prediction becomes an action of ``space``.

    On loss environments action = prediction / action_scale, never clipped. On other Boxes the
    prediction −1…1 spans the range from low to high, and is clipped to it. On Discrete spaces the
    action is the index of the largest component of the prediction, on MultiDiscrete ones likewise
    in each block of components; MultiBinary ones are 1 where a component is positive.

    Args:
        space: The action space of one lane.
        action_scale: The loss environment's, or None for an environment of any other kind.

    Raises:
        ConfigError: Any other space, or an unbounded Box.
    """

    space: gym.Space[Any]
    action_scale: float | None

    def __post_init__(self) -> None:
        space = self.space
        if isinstance(space, spaces.Box):
            if self.action_scale is None and not space.is_bounded():
                raise ConfigError(f"action space {space}: expected a Box with finite bounds")
        elif not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise ConfigError(
                f"action space {space}: expected a Box, Discrete, MultiDiscrete or MultiBinary one"
            )

    @cached_property
    def dim(self) -> int:
        """Width of the prediction, d."""
        if isinstance(self.space, spaces.Discrete):
            return int(self.space.n)
        if isinstance(self.space, spaces.MultiDiscrete):
            return int(self.space.nvec.sum())
        return int(np.prod(self.space.shape or (1,)))

    @property
    def clips(self) -> bool:
        """Whether actions have edges that they must not cross."""
        return self.action_scale is None and isinstance(self.space, spaces.Box)

    def contain(self, prediction: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Moves the centre, or shrinks the probes, so that no probe is clipped on one side.

        Args:
            prediction: Centres, shape (N, d).
            offsets: Probes around them, shape (N, M, d).

        Returns:
            Centres and offsets, unchanged where the action has no edges.
        """
        if not self.clips:
            return prediction, offsets
        largest = offsets.abs().amax(dim=(1, 2), keepdim=True)  # [N, 1, 1]
        offsets = offsets / largest.clamp(min=1)
        reach = offsets.abs().amax(dim=1)  # [N, d]
        return torch.minimum(torch.maximum(prediction, reach - 1), 1 - reach), offsets

    def action(self, prediction: Tensor) -> NDArray[Any]:
        """The actions of predictions of shape (L, d), shape (L, *action_shape)."""
        values = prediction.detach().cpu().numpy()
        space = self.space
        if isinstance(space, spaces.Discrete):
            return values.argmax(axis=1) + int(space.start)
        if isinstance(space, spaces.MultiDiscrete):
            blocks = np.split(values, np.cumsum(space.nvec.ravel())[:-1], axis=1)
            best = np.stack([block.argmax(axis=1) for block in blocks], axis=1)
            return best.reshape(-1, *space.shape).astype(space.dtype) + space.start
        if isinstance(space, spaces.MultiBinary):
            return (values > 0).astype(space.dtype).reshape(-1, *space.shape)
        assert isinstance(space, spaces.Box)
        values = values.reshape(-1, *space.shape)
        if self.action_scale is not None:
            return (values / self.action_scale).astype(space.dtype)
        middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
        return np.clip(middle + half * values, space.low, space.high).astype(space.dtype)

    def gradient(self, action_gradient: Tensor) -> Tensor:
        """∂L/∂prediction from ∂L/∂action."""
        return action_gradient / (self.action_scale or 1.0)
