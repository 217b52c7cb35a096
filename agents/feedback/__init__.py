"""Feedback rules, by name. A new rule is a new class and one line here."""

from nodepert.agents.feedback.base import FeedbackRule, LossRule, ResponseRule
from nodepert.agents.feedback.loss import Loss
from nodepert.agents.feedback.response import Response
from nodepert.agents.feedback.static import Backprop, Fixed, Symmetric

__all__ = [
    "RULES",
    "Backprop",
    "FeedbackRule",
    "Fixed",
    "Loss",
    "LossRule",
    "Response",
    "ResponseRule",
    "Symmetric",
]

RULES: dict[str, type[FeedbackRule]] = {
    "response": Response,
    "loss": Loss,
    "fixed": Fixed,
    "symmetric": Symmetric,
    "backprop": Backprop,
}
