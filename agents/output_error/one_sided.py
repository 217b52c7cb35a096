"""One-sided probes: a clean lane and K perturbed ones, as in the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.maths import gaussian_probes, node_perturbation
from nodepert.agents.output_error.base import ProbeError

__all__ = ["OneSidedProbes"]


class OneSidedProbes(ProbeError):
    """ê = mean over k of (L(a+ξ_k) − L(a)) ξ_k / c² (arXiv 1906.00889, eq. 5).

    Args:
        probes: K, directions a context; K + 1 lanes.
        std: Standard deviation c of each component of ξ, in prediction units.
    """

    has_clean_lane = True

    def __init__(self, probes: int, std: float) -> None:
        self.count, self.std = probes, std

    @property
    def lanes(self) -> int:
        """K + 1."""
        return self.count + 1

    def offsets(self, contexts: int, dim: int, generator: torch.Generator) -> Tensor:
        """(0, ξ_1 … ξ_K), shape (N, K + 1, d)."""
        probes = gaussian_probes((contexts, self.count, dim), self.std, generator)
        return torch.cat([torch.zeros_like(probes[:, :1]), probes], dim=1)

    def probes(self, offsets: Tensor) -> Tensor:
        """All offsets but the clean lane's."""
        return offsets[:, 1:]

    def changes(self, losses: Tensor) -> Tensor:
        """L(a+ξ_k) − L(a), shape (N, K)."""
        return losses[:, 1:] - losses[:, :1]

    def estimate(self, changes: Tensor, probes: Tensor) -> Tensor:
        """The mean of the K node-perturbation estimates."""
        return node_perturbation(changes, probes, self.std**2).mean(1)
