"""The equations of score mode, as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["clipped_surrogate", "generalised_advantages", "log_ratio"]


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    ended: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """A_t = Σ_k (γλ)^k δ_{t+k} to the end of the episode (Schulman et al. 2016, eq. 16).

    δ_t = r_t + γ V'_t − V_t, with V'_t the value of what the action led to: 0 where the episode
    terminated; where it was cut off, the value of its last observation.

    Args:
        rewards: r, shape (T, N).
        values: V, likewise.
        next_values: V', likewise.
        ended: Whether the episode ended with the step, likewise.
        gamma: γ.
        gae_lambda: λ.

    Returns:
        A, shape (T, N).
    """
    deltas = rewards + gamma * next_values - values
    kept = gamma * gae_lambda * (~ended).to(deltas.dtype)
    advantages = torch.empty_like(deltas)
    later = torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        later = deltas[t] + kept[t] * later
        advantages[t] = later
    return advantages


def log_ratio(noise: Tensor, moved: Tensor, log_std: Tensor, old_log_std: Tensor) -> Tensor:
    """The log of π(u)/π_old(u) of a Gaussian around the output, u = a_old + σ_old ξ.

    Args:
        noise: ξ, shape (R, d).
        moved: a − a_old, shape (R, d).
        log_std: log σ, shape (d,).
        old_log_std: log σ_old, shape (d,).

    Returns:
        Shape (R,).
    """
    now = (noise * old_log_std.exp() - moved) / log_std.exp()  # (u − a) / σ
    return (0.5 * (noise.square() - now.square()) + old_log_std - log_std).sum(-1)


def clipped_surrogate(
    noise: Tensor,
    moved: Tensor,
    log_std: Tensor,
    old_log_std: Tensor,
    advantages: Tensor,
    clip_range: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of −min(ρ A, clip(ρ, 1 ± ε) A) at the output (Schulman et al. 2017, eq. 7).

    Where the minimum takes the clipped branch, the gradient is 0; elsewhere
    ∂/∂a = −ρ A (u − a)/σ² and ∂/∂log σ = −ρ A ((u − a)²/σ² − 1). For Gaussian noise this is
    node perturbation with a baseline (Williams 1992), reused.

    Args:
        noise: ξ, shape (R, d).
        moved: a − a_old, shape (R, d).
        log_std: log σ, shape (d,).
        old_log_std: log σ_old, shape (d,).
        advantages: A, shape (R,).
        clip_range: ε.

    Returns:
        The gradients for the output and for log σ, each (R, d), and whether they were cut, (R,).
    """
    std = log_std.exp()
    now = (noise * old_log_std.exp() - moved) / std  # (u − a) / σ
    ratio = log_ratio(noise, moved, log_std, old_log_std).exp()
    cut = torch.where(advantages > 0, ratio > 1 + clip_range, ratio < 1 - clip_range)
    weight = (ratio * advantages).masked_fill(cut, 0.0)[:, None]
    return -weight * now / std, -weight * (now.square() - 1), cut
