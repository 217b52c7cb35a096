"""Feedback learned from the next layer's response to node noise."""

from __future__ import annotations

from torch import Tensor

from nodepert.agents.feedback.base import ResponseRule
from nodepert.agents.maths import response_feedback_gradient

__all__ = ["Response"]


class Response(ResponseRule):
    """Normalised least mean squares on Δz ≈ ξ Bᵀ (Akrout et al. 2019, as least squares)."""

    learning_rate = 1.0

    def gradient(
        self, feedback: Tensor, noise: Tensor, response: Tensor, largest: Tensor | float
    ) -> Tensor:
        """See :func:`nodepert.agents.maths.response_feedback_gradient`."""
        return response_feedback_gradient(feedback, noise, response, largest)
