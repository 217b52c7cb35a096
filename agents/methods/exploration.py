"""Gaussian noise on the output nodes, and how large it is."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from nodepert.agents.config import Config

__all__ = ["Exploration"]


class Exploration(nn.Module):
    """σ of each output.

    Args:
        config: Hyperparameters.
        space: Of the actions.
        dim: Width of the prediction.
    """

    def __init__(self, config: Config, space: gym.Space[Any], dim: int) -> None:
        super().__init__()
        std = config.exploration_std
        if std is None:
            std = 0.6 if isinstance(space, gym.spaces.Box) else 1.0
        self.schedule = config.exploration_schedule
        start = torch.full((dim,), math.log(std))
        self.log_std = nn.Parameter(start, requires_grad=False)

    def current(self, remaining: float) -> Tensor:
        """The log of σ, shape (d,), given the progress remaining, from 1 to 0."""
        if self.schedule != "linear":
            return self.log_std.detach().clone()
        # Not quite to 0, where the ratio of probabilities has no bounds.
        return self.log_std + math.log(max(remaining, 0.05))
