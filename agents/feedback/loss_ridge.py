"""The loss rule solved exactly: ridge regression over all that was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nodepert.agents.errors import ConfigError
from nodepert.agents.feedback.base import LossRule
from nodepert.agents.maths import ridge_feedback

__all__ = ["LossRidge"]


class LossRidge(LossRule):
    """V ← V + ẽᵀẽ, S ← S + ẽᵀλ̂, B = (V + γI)⁻¹ S (arXiv 1906.00889, supplement, theorems 1–2).

    Layers that read the same nodes are solved for together. V and S have a forgetting factor, 1 in
    the paper.

    Args:
        ridge: γ.
        forgetting: What V and S are multiplied by before each update, above 0, at most 1.
    """

    optimizer = "sgd"
    learning_rate = 1.0  # the gradient is the whole way to the solution
    hyperparameters: ClassVar[tuple[str, ...]] = ("ridge", "forgetting")
    second_moment: Tensor
    cross_moment: Tensor

    def __init__(self, ridge: float, forgetting: float) -> None:
        super().__init__()
        self.ridge, self.forgetting = ridge, forgetting

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Empty sums, in float64: they run over millions of samples.

        Raises:
            ConfigError: A reader is a convolution.
        """
        if any(len(shape) > 2 for shape in shapes):
            raise ConfigError(
                "rule='loss_ridge': a convolution's patches overlap, so that each node's error is "
                "the sum of several rows and no regression on rows is exact; expected 'response' "
                "or 'loss', or a policy without convolutions"
            )
        above, nodes = sum(shape[0] for shape in shapes), shapes[0][1]
        self.register_buffer("second_moment", torch.zeros(above, above, dtype=torch.float64))  # V
        self.register_buffer("cross_moment", torch.zeros(above, nodes, dtype=torch.float64))  # S

    def gradients(
        self, feedbacks: Sequence[Tensor], sources: Sequence[Tensor], mismatches: Sequence[Tensor]
    ) -> list[Tensor]:
        """B − (V + γI)⁻¹ S, one part for each layer that reads the nodes."""
        feedback = torch.cat(list(feedbacks)).double()
        source = torch.cat(list(sources), dim=1).double()
        estimate = source @ feedback - mismatches[0]  # λ̂, the same for all readers
        self.second_moment.addmm_(source.t(), source, beta=self.forgetting)
        self.cross_moment.addmm_(source.t(), estimate, beta=self.forgetting)
        solution = ridge_feedback(self.second_moment, self.cross_moment, self.ridge)
        gradient = (feedback - solution).to(feedbacks[0].dtype)
        return list(gradient.split([len(b) for b in feedbacks]))
