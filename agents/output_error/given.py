"""The true gradient, given by an environment made with ``expose_gradient=True``."""

from __future__ import annotations

import torch
from torch import Tensor

from nodepert.agents.output_error.base import OutputError

__all__ = ["GivenGradient"]


class GivenGradient(OutputError):
    """One clean lane; the error is in ``info["action_gradient"]``. For the paper's figures only."""

    has_clean_lane = True

    @property
    def lanes(self) -> int:
        """1."""
        return 1

    def offsets(self, contexts: int, dim: int, generator: torch.Generator) -> Tensor:
        """0, shape (N, 1, d)."""
        return torch.zeros(contexts, 1, dim, device=generator.device)
