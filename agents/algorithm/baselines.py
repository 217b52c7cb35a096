"""Baselines of the loss under node noise: the same expected λ̂, of different variance.

λ̂ = (L̃ − baseline) ξ / E[ξ²] is unbiased for any baseline that does not depend on ξ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BASELINES", "Antithetic", "Baseline", "Clean", "Critic", "Ema", "NoBaseline"]


class Baseline(nn.Module, ABC):
    """Says on which lanes node noise is tried, and what their losses say.

    Args:
        features: Width of a context.
    """

    signs: ClassVar[tuple[int, ...]] = (1,)
    """What multiplies ξ in each lane."""

    def __init__(self, features: int) -> None:
        super().__init__()

    @abstractmethod
    def change(self, losses: Tensor, context: Tensor) -> Tensor:
        """What ξ did to the loss, shape (N,).

        Args:
            losses: Of the lanes of :attr:`signs`, shape (N, len(signs)).
            context: Observations, flat, shape (N, features).
        """


class Antithetic(Baseline):
    """(L(ξ) − L(−ξ)) / 2: errors of even order cancel."""

    signs = (1, -1)

    def change(self, losses: Tensor, context: Tensor) -> Tensor:
        """Half the difference."""
        return (losses[:, 0] - losses[:, 1]) / 2


class Clean(Baseline):
    """L̃ − L with a pass free of noise, as in the paper (arXiv 1906.00889, eq. 5)."""

    signs = (1, 0)

    def change(self, losses: Tensor, context: Tensor) -> Tensor:
        """The difference to the clean lane."""
        return losses[:, 0] - losses[:, 1]


class Ema(Baseline):
    """L̃ less an exponential moving average of past losses (Williams 1992)."""

    rate: ClassVar[float] = 0.05
    mean: Tensor
    seen: Tensor

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def change(self, losses: Tensor, context: Tensor) -> Tensor:
        """The difference to the average from before these losses."""
        present = losses.mean()
        if not self.seen:
            self.seen.fill_(True)
            self.mean.copy_(present)
            return torch.zeros_like(losses[:, 0])  # these losses are all that is known
        change = losses[:, 0] - self.mean
        self.mean += self.rate * (present - self.mean)
        return change


class Critic(Baseline):
    """L̃ less what a linear critic expects of the context, by normalised least mean squares."""

    rate: ClassVar[float] = 0.5
    weight: Tensor

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.register_buffer("weight", torch.zeros(features + 1, dtype=torch.float64))

    def change(self, losses: Tensor, context: Tensor) -> Tensor:
        """The difference to the critic from before these losses."""
        phi = F.pad(context, (0, 1), value=1.0).to(losses.dtype)  # [N, n_φ+1]
        surprise = losses[:, 0] - phi @ self.weight
        gram = phi @ phi.t() if len(phi) < phi.shape[1] else phi.t() @ phi  # the smaller one
        largest = torch.linalg.eigvalsh(gram)[-1].clamp(min=1e-12)
        self.weight += self.rate * (surprise @ phi) / largest
        return surprise


class NoBaseline(Baseline):
    """L̃ itself."""

    def change(self, losses: Tensor, context: Tensor) -> Tensor:
        """The loss."""
        return losses[:, 0]


BASELINES: dict[str, type[Baseline]] = {
    "antithetic": Antithetic,
    "clean": Clean,
    "ema": Ema,
    "critic": Critic,
    "none": NoBaseline,
}
