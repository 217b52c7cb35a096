"""The mathematics of episodes played in pairs, as pure functions; see methods/episode.py."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["both_signs", "minimum_norm_errors", "output_gradient"]

SMALLEST = 1e-2
"""Directions of φ with less than this share of the strongest one's power carry noise alone."""


def both_signs(held: Tensor) -> Tensor:
    """Noise of P pairs, shape (P, d, n), as +Δ and −Δ of each in turn, shape (2P, d, n)."""
    return torch.stack([held, -held], dim=1).flatten(0, 1)


def output_gradient(returns: Tensor, held: Tensor, std: Tensor) -> Tensor:
    """The gradient of minus the return over its deviation, times c: half of ARS's step.

    G = 1/(P s) Σ_p δ_p Δ_p / c,   δ_p = (L₊ − L₋)/2 = (R₋ − R₊)/2,   s the returns' deviation

    Args:
        returns: R of lanes +, −, +, − …, shape (2P,).
        held: Δ of each pair, shape (P, d, n).
        std: c of each output, shape (d,).

    Returns:
        G, shape (d, n); 0 where all returns are the same.
    """
    plus, minus = returns[0::2], returns[1::2]
    spread = returns.std().clamp(min=1e-8)
    delta = ((minus - plus) / 2 / spread).to(held.dtype)  # [P]
    return torch.einsum("p,pdn->dn", delta, held / std[:, None]) / len(held)


def minimum_norm_errors(gradient: Tensor, nodes: Tensor, valid: Tensor) -> Tensor:
    """The smallest errors that explain a gradient: min Σ‖ê_t‖² such that mean ê_tᵀ φ_t = G.

    ê_t = G C⁺ φ_t with C the mean of φ_t φ_tᵀ; what C hardly has is left unexplained.

    Args:
        gradient: G, shape (d, n).
        nodes: φ, shape (T, N, n).
        valid: Which steps count, shape (T, N).

    Returns:
        ê, shape (T, N, d); 0 where a step does not count.
    """
    used = nodes[valid].double()  # [R, n]
    power = used.T @ used / len(used)
    inverse = torch.linalg.pinv(power, rtol=SMALLEST, hermitian=True)
    weights = (gradient.double() @ inverse).to(nodes.dtype)
    return (nodes @ weights.T) * valid[..., None]
