"""Feedback rules, by name. A new rule is a new class and one line here."""

from nodepert.agents.feedback.activation import Activation
from nodepert.agents.feedback.base import FeedbackRule, LossRule, ResponseRule, UpdateRule
from nodepert.agents.feedback.direct import Direct, DirectLoss
from nodepert.agents.feedback.loss import Loss
from nodepert.agents.feedback.loss_residual import LossResidual
from nodepert.agents.feedback.loss_ridge import LossRidge
from nodepert.agents.feedback.matched import Matched
from nodepert.agents.feedback.response import Response
from nodepert.agents.feedback.static import Backprop, Fixed, SignSymmetric, Symmetric

__all__ = [
    "RULES",
    "Activation",
    "Backprop",
    "Direct",
    "DirectLoss",
    "FeedbackRule",
    "Fixed",
    "Loss",
    "LossResidual",
    "LossRidge",
    "LossRule",
    "Matched",
    "Response",
    "ResponseRule",
    "SignSymmetric",
    "Symmetric",
    "UpdateRule",
]

RULES: dict[str, type[FeedbackRule]] = {
    "response": Response,
    "loss": Loss,
    "loss_ridge": LossRidge,
    "loss_residual": LossResidual,
    "activation": Activation,
    "matched": Matched,
    "sign_symmetric": SignSymmetric,
    "fixed": Fixed,
    "direct": Direct,
    "direct_loss": DirectLoss,
    "symmetric": Symmetric,
    "backprop": Backprop,
}
