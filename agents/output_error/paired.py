"""Paired probes: the same context at a + ξ and a − ξ."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.maths import least_squares_error, orthogonal_probes
from nodepert.agents.output_error.base import ProbeError

__all__ = ["PairedProbes"]


class PairedProbes(ProbeError):
    """δ_k = (L(a+ξ_k) − L(a−ξ_k)) / 2 is e·ξ_k to second order; least squares over the K probes.

    Both signs see the same context and the same environment noise (common random numbers).

    Args:
        probes: K, directions a context; 2K lanes.
        std: Standard deviation c of each component of ξ, in prediction units.
    """

    has_clean_lane = False

    def __init__(self, probes: int, std: float) -> None:
        self.count, self.std = probes, std

    @property
    def lanes(self) -> int:
        """2K."""
        return 2 * self.count

    def offsets(self, contexts: int, dim: int, generator: torch.Generator) -> Tensor:
        """(+ξ_1 … +ξ_K, −ξ_1 … −ξ_K), shape (N, 2K, d)."""
        probes = orthogonal_probes(contexts, self.count, dim, self.std, generator)
        return torch.cat([probes, -probes], dim=1)

    def probes(self, offsets: Tensor) -> Tensor:
        """The first half of the offsets."""
        return offsets[:, : self.count]

    def changes(self, losses: Tensor) -> Tensor:
        """(L(a+ξ_k) − L(a−ξ_k)) / 2, shape (N, K)."""
        return (losses[:, : self.count] - losses[:, self.count :]) / 2

    def estimate(self, changes: Tensor, probes: Tensor) -> Tensor:
        """See :func:`nodepert.agents.maths.least_squares_error`."""
        return least_squares_error(changes, probes)
