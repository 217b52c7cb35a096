"""Action values: how they are acted on, and what they are regressed on."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["one_step_returns", "softmax_choice", "value_error"]


def softmax_choice(values: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Actions drawn with probability ∝ exp(Q / temperature).

    Args:
        values: Q(x, ·), shape (N, n).
        temperature: In units of reward.
        generator: Random numbers.

    Returns:
        Their indices, shape (N,).
    """
    probabilities = torch.softmax(values / temperature, dim=1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def one_step_returns(
    rewards: Tensor, terminated: Tensor, following: Tensor, gamma: float
) -> Tensor:
    """What Q is regressed on: y = r + γ max_a' Q(x', a'), or r where the task has ended it.

    See Watkins (1989).

    A time limit does not end the task: there y goes on with the value of the last observation.

    Args:
        rewards: r, shape (N,).
        terminated: Whether the task has ended the episode, shape (N,).
        following: Q(x', ·) by the target network, shape (N, n).
        gamma: γ.

    Returns:
        Shape (N,).
    """
    return rewards + gamma * following.amax(dim=1).masked_fill(terminated, 0.0)


def value_error(values: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
    """∂/∂Q of ½ (Q_a − y)²: Q_a − y at the action taken, 0 at all others.

    Args:
        values: Q(x, ·), shape (N, n).
        actions: Their indices, shape (N,).
        targets: y, shape (N,).

    Returns:
        Shape (N, n).
    """
    taken = actions[:, None]
    missed = values.gather(1, taken) - targets[:, None]
    return torch.zeros_like(values).scatter(1, taken, missed)
