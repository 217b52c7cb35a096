"""What a feedback rule is: where its feedback weights come from, and what they learn from.

A rule is one class. It says what carries the error (``path``), and derives from the base that names
what it learns from: nothing, the next layer's response to node noise, the loss's change, or the
update of the forward weights. A rule is handed matrices of what was measured, one row a sample
(a patch of a convolution is one), never the forward weights. Each set of nodes has a rule object of
its own: what a rule remembers is local to the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from nodepert.agents.maths import node_perturbation
from nodepert.agents.networks import Path

__all__ = ["FeedbackRule", "LossRule", "ResponseRule", "UpdateRule"]


class FeedbackRule(nn.Module, ABC):
    """Carries the errors down by ``path``; on its own it learns nothing."""

    path: ClassVar[Path]
    optimizer: ClassVar[str] = "sgd"
    learning_rate: ClassVar[float] = 0.0
    """Recommended optimiser and step size of the feedback weights."""
    noise: ClassVar[str] = "gaussian"
    """Recommended node noise."""
    hyperparameters: ClassVar[tuple[str, ...]] = ()
    """Fields of the config that the constructor takes."""

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Told the shape of each B that reads the nodes, before anything is learned."""


class ResponseRule(FeedbackRule):
    """Learns B from how the next layer answers to noise on this one. Costs no env step."""

    path: ClassVar[Path] = "feedback"
    noise: ClassVar[str] = "orthogonal"

    @abstractmethod
    def gradient(
        self, feedback: Tensor, noise: Tensor, response: Tensor, largest: Tensor | float
    ) -> Tensor:
        """The gradient for B.

        Args:
            feedback: B, shape (n_out, n_in).
            noise: ξ, change of the layer's input, shape (R, n_in).
            response: Δz, change of the layer's output, shape (R, n_out).
            largest: Eigenvalue of ξᵀξ, or a bound of it.
        """


class LossRule(FeedbackRule):
    """Learns B from what node noise does to the loss. Costs env steps: see ``node_baseline``."""

    path: ClassVar[Path] = "feedback"
    subtracts_prediction: ClassVar[bool] = False
    """Whether the change of the loss that B predicts is taken off before the regression."""

    def mismatch(self, carried: Tensor, change: Tensor, noise: Tensor, variance: float) -> Tensor:
        """λ̃ − λ̂ at the nodes: what B should not have carried.

        Args:
            carried: λ̃, the error that the present B carries to the nodes, shape (R, …).
            change: What ξ did to the loss, shape (R,).
            noise: ξ, shape (R, …).
            variance: E[ξ²].
        """
        return carried - node_perturbation(change, noise, variance)

    @abstractmethod
    def gradients(
        self, feedbacks: Sequence[Tensor], sources: Sequence[Tensor], mismatches: Sequence[Tensor]
    ) -> list[Tensor]:
        """The gradients for the B of every layer that reads one set of nodes.

        Args:
            feedbacks: B of each layer that reads the nodes, shapes (n_out, n_in).
            sources: What each B multiplies (ẽ of its layer), shapes (R, n_out).
            mismatches: λ̃ − λ̂ as each layer sees the nodes, shapes (R, n_in).
        """


class UpdateRule(FeedbackRule):
    """Learns B as W learns: by the same gradient and the same optimiser."""

    path: ClassVar[Path] = "feedback"

    @abstractmethod
    def gradient(self, weight_gradient: Tensor) -> Tensor:
        """The gradient for B from that of W, both of W's shape."""
