"""The loss rule on what the present feedback does not predict yet."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nodepert.agents.feedback.loss import Loss
from nodepert.agents.maths import node_perturbation

__all__ = ["LossResidual"]


class LossResidual(Loss):
    """Gradient step on ‖ẽ B − λ̂‖² with δ − Σ ξ·λ̃ in place of δ: a control variate.

    Node noise moves the loss by δ = Σ ξ·λ. The present B predicts Σ ξ·λ̃ of it; regressing only the
    rest has the same mean, since E[(ξ·λ̃) ξ] / E[ξ²] = λ̃, and a variance that falls with the error
    of B rather than staying at that of node perturbation.
    """

    subtracts_prediction: ClassVar[bool] = True

    def mismatch(self, carried: Tensor, change: Tensor, noise: Tensor, variance: float) -> Tensor:
        """−λ̂ of the rest: λ̃ − λ with the prediction's own noise gone."""
        return -node_perturbation(change, noise, variance)
