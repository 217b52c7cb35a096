"""T steps of N lanes with noise on the output: what was done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Rollout", "Sequences"]

ROWS = ("inputs", "predictions", "noise", "started", "valid", "advantages", "returns")


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
