"""The recurrent policy."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch

from nodepert.agents.networks import RNN, Network
from nodepert.agents.policies.base import FeedbackPolicy

__all__ = ["RnnPolicy"]


class RnnPolicy(FeedbackPolicy):
    """Recurrent; 50 tanh units unless told otherwise.

    Args:
        observation_space: Of one lane.
        action_space: Of one lane.
        cell: ``"tanh"``, ``"lstm"`` or ``"gru"``.
        transposed_readout: Errors leave the output layer by its own transposed weights, as in the
            authors' code; only the recurrent layer has feedback weights.
        common: See :class:`FeedbackPolicy`.
    """

    default_net_arch = (50,)
    default_activation = "tanh"
    default_n_steps = 8

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        cell: str = "tanh",
        transposed_readout: bool = False,
        **common: Any,
    ) -> None:
        self.cell, self.transposed_readout = cell, transposed_readout
        super().__init__(observation_space, action_space, **common)

    def make_network(self, n_in: int, n_out: int, generator: torch.Generator) -> Network:
        """An RNN."""
        return RNN(
            n_in,
            self.net_arch,
            n_out,
            activation=self.activation,  # type: ignore[arg-type]
            path=self.path,
            generator=generator,
            cell=self.cell,
            transposed_readout=self.transposed_readout,
            init_gain=self.init_gain,
        )
