"""Rules that learn nothing: random feedback, the signs of the weights, and the two oracles."""

from __future__ import annotations

from typing import ClassVar

from nodepert.agents.feedback.base import FeedbackRule
from nodepert.agents.networks import Path

__all__ = ["Backprop", "Fixed", "SignSymmetric", "Symmetric"]


class Fixed(FeedbackRule):
    """Feedback alignment: B is random and never changes (Lillicrap et al. 2016)."""

    path: ClassVar[Path] = "feedback"


class SignSymmetric(FeedbackRule):
    """B = sign(W) · the weights' initial standard deviation (Liao et al. 2016, uSF)."""

    path: ClassVar[Path] = "sign"


class Symmetric(FeedbackRule):
    """Oracle: the transposed forward weights, through the same code as the learned ones."""

    path: ClassVar[Path] = "transpose"


class Backprop(FeedbackRule):
    """Oracle: torch's own autograd."""

    path: ClassVar[Path] = "autograd"
