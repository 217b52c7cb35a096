"""What a critic says of actions: how they would be worth more, and what it is regressed on."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.networks import Network

__all__ = ["gradient_at_input", "policy_error", "smoothed", "twin_returns"]


def gradient_at_input(network: Network, x: Tensor) -> Tensor:
    """∂Q/∂x, as the network's own feedback weights carry it down.

    The last step down is by W[1]: below the first layer are no nodes from whose noise feedback
    weights could be learned.

    Args:
        network: Predicts Q, one number.
        x: Its input, shape (N, n_0).

    Returns:
        Shape (N, n_0).
    """
    first = network.layers[0]
    if first.path == "autograd":
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(network.step(x, None).prediction.sum(), x)[0]
    step = network.record(x, None, torch.zeros(len(x), dtype=torch.bool, device=x.device))
    network.carry_down([step], torch.ones_like(step.prediction)[None])
    network.forget_calls()
    return step.calls[first].error @ first.weight.detach()  # ẽ[1] W[1]


def policy_error(gradient: Tensor, predictions: Tensor, has_edges: bool) -> Tensor:
    """ê at the policy's predictions: −∂Q/∂a, less the closer the edge that it points to is.

    Beyond an edge it points back (Hausknecht & Stone, arXiv 1511.04143, eq. 11).

    Args:
        gradient: ∂Q/∂a, shape (N, d).
        predictions: a, shape (N, d).
        has_edges: Whether actions are clipped at −1 and 1.

    Returns:
        Shape (N, d).
    """
    if not has_edges:
        return -gradient
    return -gradient * torch.where(gradient > 0, 1 - predictions, 1 + predictions) / 2


def smoothed(
    predictions: Tensor, std: float, most: float, has_edges: bool, generator: torch.Generator
) -> Tensor:
    """Predictions with a little noise, so that the critic can't be exploited at a point.

    Target policy smoothing (Fujimoto et al., arXiv 1802.09477, eq. 14).

    Args:
        predictions: Shape (N, d).
        std: Of the noise.
        most: The noise is clipped there.
        has_edges: Whether actions are clipped at −1 and 1.
        generator: Random numbers.
    """
    noise = torch.randn(predictions.shape, generator=generator, device=predictions.device)
    tried = predictions + (std * noise).clamp(-most, most)
    return tried.clamp(-1, 1) if has_edges else tried


def twin_returns(rewards: Tensor, terminated: Tensor, following: Tensor, gamma: float) -> Tensor:
    """What both critics are regressed on: y = r + γ min_j Q_j(x', a'), or r at the task's end.

    See Fujimoto et al., arXiv 1802.09477, eq. 10. A time limit does not end the task.

    Args:
        rewards: r, shape (N,).
        terminated: Whether the task has ended the episode, shape (N,).
        following: Q_j(x', a') by the target networks, shape (N, 2).
        gamma: γ.

    Returns:
        Shape (N,).
    """
    return rewards + gamma * following.amin(dim=1).masked_fill(terminated, 0.0)
