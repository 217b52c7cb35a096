"""The output's error, sent straight to every layer."""

from __future__ import annotations

from typing import ClassVar

from nodepert.agents.feedback.base import FeedbackRule
from nodepert.agents.feedback.loss import Loss
from nodepert.agents.networks import Path

__all__ = ["Direct", "DirectLoss"]


class Direct(FeedbackRule):
    """Direct feedback alignment: λ̃[i] = e D[i], D random and fixed (Nøkland 2016).

    Only feed-forward networks.
    """

    path: ClassVar[Path] = "direct"


class DirectLoss(Loss):
    """The same with D learned from the loss: a gradient step on ‖e D − λ̂‖²."""

    path: ClassVar[Path] = "direct"
