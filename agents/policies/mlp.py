"""The feed-forward policy."""

from __future__ import annotations

import torch

from nodepert.agents.networks import MLP, Network
from nodepert.agents.policies.base import FeedbackPolicy

__all__ = ["MlpPolicy"]


class MlpPolicy(FeedbackPolicy):
    """Feed-forward; 256 and 128 ReLU units unless told otherwise."""

    default_net_arch = (256, 128)
    default_activation = "relu"
    default_n_steps = 1

    def make_network(self, n_in: int, n_out: int, generator: torch.Generator) -> Network:
        """An MLP."""
        return MLP(
            n_in,
            self.net_arch,
            n_out,
            activation=self.activation,
            path=self.path,
            generator=generator,
            init_gain=self.init_gain,
        )
