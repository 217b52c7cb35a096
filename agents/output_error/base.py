"""What an output-error estimator is: which actions to try, and what their losses say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["OutputError", "ProbeError"]


class OutputError(ABC):
    """Estimates e = ∂L/∂prediction of each context from the losses of several lanes."""

    has_clean_lane: ClassVar[bool]
    """Whether a context's first lane shows the prediction itself."""

    @property
    @abstractmethod
    def lanes(self) -> int:
        """How many lanes M show each context."""

    @abstractmethod
    def offsets(self, contexts: int, dim: int, generator: torch.Generator) -> Tensor:
        """What to add to the prediction in each lane, in prediction units, shape (N, M, d)."""


class ProbeError(OutputError):
    """An estimator that is linear in changes δ_k of the loss along probes ξ_k.

    Linear ones take a control variate: subtract from each δ_k what a model of the error predicts,
    and add the model's error to the estimate.

    Attributes:
        std: Standard deviation c of each component of a probe, in prediction units.
    """

    std: float
    compares_contexts: ClassVar[bool] = False
    """Whether δ of a context depends on the losses of the others."""
    scout_signs: ClassVar[tuple[int, ...]] = (1,)
    """What multiplies ξ in each of the contexts that, shown the same, together tell δ by itself."""

    @abstractmethod
    def probes(self, offsets: Tensor) -> Tensor:
        """The probes ξ, shape (N, K, d), in offsets of shape (N, M, d)."""

    @abstractmethod
    def changes(self, losses: Tensor) -> Tensor:
        """The changes δ ≈ e·ξ, shape (N, K), in losses of shape (N, M)."""

    @abstractmethod
    def estimate(self, changes: Tensor, probes: Tensor) -> Tensor:
        """ê, shape (N, d)."""

    def scouted_changes(self, losses: Tensor) -> Tensor:
        """δ along ξ, shape (N, K), of contexts that were shown once for each of the scouts' signs.

        Args:
            losses: Shape (N, len(scout_signs), M).
        """
        return self.changes(losses[:, 0])
