"""Bottom-up: the error as a function of a layer's own activations."""

from __future__ import annotations

from typing import ClassVar

from nodepert.agents.feedback.loss import Loss
from nodepert.agents.networks import Path

__all__ = ["Activation"]


class Activation(Loss):
    """Synthetic gradients: λ̃[i] = (h[i], 1) A[i], with A by a gradient step on ‖(h, 1) A − λ̂‖².

    Nothing comes down from the layers above (arXiv 1906.00889, §2.4; Jaderberg et al. 2016). Only
    feed-forward networks.
    """

    path: ClassVar[Path] = "activation"
