"""T steps of N lanes with noise on the output: what was done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodepert.agents.lanes.rollout import Played

__all__ = ["Rollout", "Sequences", "Trace"]

ROWS = ("inputs", "predictions", "noise", "started", "valid", "advantages", "returns")


@dataclass
class Trace:
    """What was played, one entry a step, before a critic has judged it."""

    inputs: list[Tensor] = field(default_factory=list)  # x, [N, n_0]
    predictions: list[Tensor] = field(default_factory=list)  # a, [N, d]
    states: list[Tensor] = field(default_factory=list)  # of a recurrent policy, before, [N, n]
    started: list[Tensor] = field(default_factory=list)  # [N]
    rewards: list[NDArray[np.float64]] = field(default_factory=list)  # [N]
    ended: list[NDArray[np.bool_]] = field(default_factory=list)  # [N]
    cut_off: list[NDArray[np.bool_]] = field(default_factory=list)  # by a time limit, [N]
    valid: list[NDArray[np.bool_]] = field(default_factory=list)  # [N]
    last: dict[int, Tensor] = field(default_factory=dict)  # by step: x where lanes were cut off

    def add(
        self,
        x: Tensor,
        prediction: Tensor,
        state: Tensor | None,
        started: Tensor,
        played: Played,
        last: Tensor | None,
    ) -> None:
        """One more step; ``last`` is what lanes showed that a time limit has cut off."""
        if last is not None:
            self.last[len(self.inputs)] = last
        if state is not None:
            self.states.append(state)
        self.inputs.append(x)
        self.predictions.append(prediction)
        self.started.append(started)
        self.rewards.append(-played.losses[:, 0])
        self.ended.append(played.ended)
        self.cut_off.append(played.ended & ~played.terminated)
        self.valid.append(played.valid)

    def flags(self, name: str) -> Tensor:
        """One of the lists of flags, (T, N)."""
        rows: list[NDArray[Any]] = getattr(self, name)
        return torch.from_numpy(np.stack(rows)).to(self.inputs[0].device)


@dataclass
class Rollout:
    """What score mode learns from, one row a step and lane."""

    inputs: Tensor  # x, [T, N, n_0]
    predictions: Tensor  # a, [T, N, d]
    noise: Tensor  # ξ, [T, N, d]; played was a + σ ξ
    started: Tensor  # whether the episode starts with the step, [T, N]
    valid: Tensor  # False where the step only reset the lane, [T, N]
    advantages: Tensor  # [T, N]
    returns: Tensor  # what the critic should have said, [T, N]
    states: Tensor | None  # of a recurrent policy before each step, [T, N, n]
    critic_states: Tensor | None  # of its critic
    log_std: Tensor  # log σ, [d]
    mean_reward: float  # as the environment gave it

    def sequences(self, length: int) -> Sequences:
        """Cuts it into T/length · N sequences."""

        def cut(rows: Tensor) -> Tensor:  # [T, N, …] → [length, T/length · N, …]
            steps, lanes, *rest = rows.shape
            parts = rows.view(steps // length, length, lanes, *rest).transpose(0, 1)
            return parts.reshape(length, -1, *rest)

        def first(states: Tensor | None) -> Tensor | None:
            return None if states is None else states[::length].flatten(0, 1)

        return Sequences(
            states=first(self.states),
            critic_states=first(self.critic_states),
            **{name: cut(getattr(self, name)) for name in ROWS},
        )


@dataclass
class Sequences:
    """S sequences of L steps; see :class:`Rollout`."""

    inputs: Tensor  # [L, S, n_0]
    predictions: Tensor  # [L, S, d]
    noise: Tensor  # [L, S, d]
    started: Tensor  # [L, S]
    valid: Tensor  # [L, S]
    advantages: Tensor  # [L, S]
    returns: Tensor  # [L, S]
    states: Tensor | None  # before the first step, [S, n]
    critic_states: Tensor | None

    def __len__(self) -> int:
        return self.inputs.shape[1]

    def part(self, which: Tensor) -> Sequences:
        """The sequences of these indices."""
        return Sequences(
            states=None if self.states is None else self.states[which],
            critic_states=None if self.critic_states is None else self.critic_states[which],
            **{name: getattr(self, name).index_select(1, which) for name in ROWS},
        )
