"""The paper's rule: feedback learned from what node noise does to the loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nodepert.agents.feedback.base import LossRule
from nodepert.agents.maths import loss_feedback_gradient

__all__ = ["Loss"]


class Loss(LossRule):
    """Gradient step on ‖ẽ B − λ̂‖² (arXiv 1906.00889, eq. 7–8).

    The regressor ẽ should be low in noise: a noisy one shrinks B and turns it (errors in
    variables). Use as many probes as the action has dimensions, or the error model.
    """

    optimizer = "adam"
    learning_rate = 1e-3

    def gradients(
        self, feedbacks: Sequence[Tensor], sources: Sequence[Tensor], mismatches: Sequence[Tensor]
    ) -> list[Tensor]:
        """ẽᵀ(Σ ẽ B − λ̂) / R for each layer that reads the nodes."""
        return [loss_feedback_gradient(*pair) for pair in zip(sources, mismatches, strict=True)]
