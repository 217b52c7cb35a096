"""What a feedback rule is: where its feedback weights come from, and what they learn from.

A rule is one class. It says what carries the error (``path``), and derives from the base that names
the experiment it learns from: none, the next layer's response to node noise, or the loss's change.
A rule is handed feedback weights and what was measured, never the forward weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from nodepert.agents.networks import Path

__all__ = ["FeedbackRule", "LossRule", "ResponseRule"]


class FeedbackRule(ABC):
    """Carries the errors down by ``path``; on its own it learns nothing."""

    path: ClassVar[Path]
    optimizer: ClassVar[str] = "sgd"
    learning_rate: ClassVar[float] = 0.0
    """Recommended optimiser and step size of the feedback weights."""


class ResponseRule(FeedbackRule):
    """Learns B from how the next layer answers to noise on this one. Costs no env step."""

    path: ClassVar[Path] = "feedback"

    @abstractmethod
    def gradient(self, feedback: Tensor, noise: Tensor, response: Tensor) -> Tensor:
        """The gradient for B.

        Args:
            feedback: B, shape (n_out, n_in).
            noise: ξ, change of the layer's input, shape (R, n_in).
            response: Δz, change of the layer's output, shape (R, n_out).
        """


class LossRule(FeedbackRule):
    """Learns B from what node noise does to the loss. Costs two env steps a context."""

    path: ClassVar[Path] = "feedback"

    @abstractmethod
    def gradients(
        self, feedbacks: Sequence[Tensor], errors: Sequence[Tensor], estimate: Tensor
    ) -> list[Tensor]:
        """The gradients for the B of every layer that reads one set of nodes.

        Args:
            feedbacks: B of each layer that reads the nodes, shapes (n_out, n_in).
            errors: ẽ of each of those layers, shapes (R, n_out).
            estimate: λ̂, the node-perturbation estimate of ∂L/∂h at the nodes, shape (R, n_in).
        """
