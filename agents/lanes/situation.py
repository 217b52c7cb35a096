"""Where a run stands between two steps of its lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nodepert.agents.lanes.rollout import Played

__all__ = ["Situation"]


@dataclass
class Situation:
    """Where the run stands between two steps."""

    observation: Any  # of each context, an array, packed, or a tensor, [N, ...]
    state: Tensor | None  # recurrent state, [N, n]
    started: Tensor  # whether the observation is the first of its episode, [N]
    critic_state: Tensor | None = None  # of a recurrent critic, [N, n]
    discounted: Tensor | None = None  # rewards of the episode so far, [N]; to scale them

    def advance(self, played: Played, state: Tensor | None) -> None:
        """Goes on from a step, which left the network in a state."""
        self.observation = played.observation
        self.started = torch.as_tensor(played.ended | ~played.valid, device=self.started.device)
        self.state = None if state is None else state.detach()
