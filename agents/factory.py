"""Makes the parts that a config names."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from nodepert.agents.config import Config
from nodepert.agents.feedback import RULES, FeedbackRule, LossRule
from nodepert.agents.learner import Learner
from nodepert.agents.networks import Network
from nodepert.agents.output_error import PROBES, ErrorModel, GivenGradient, OutputError
from nodepert.agents.window import NodeProbe

__all__ = ["lanes_per_context", "make_estimator", "make_learner", "make_optimizer"]


def make_estimator(config: Config) -> OutputError:
    """The estimator of the output error."""
    if config.credit == "given":
        return GivenGradient()
    return PROBES[config.credit](config.probes, config.probe_std)


def lanes_per_context(config: Config) -> int:
    """M, how many lanes show each context."""
    node_lanes = NodeProbe.lanes if issubclass(RULES[config.rule], LossRule) else 0
    return make_estimator(config).lanes + node_lanes


def make_learner(
    config: Config,
    rule: FeedbackRule,
    network: Network,
    learning_rate: float,
    generator: torch.Generator,
) -> Learner:
    """The learner of a network.

    Args:
        config: Hyperparameters.
        rule: Where feedback weights come from.
        network: What learns.
        learning_rate: Step size of the forward weights at the start.
        generator: Random numbers for node noise.
    """
    forward = network.forward_weights
    feedback = [layer.feedback for layer in network.layers if layer.feedback is not None]
    features, dim = network.layers[0].weight.shape[1], network.layers[-1].weight.shape[0]
    device = forward[0].device
    if isinstance(rule, LossRule):
        warn_of_noisy_regressor(config, dim)
    feedback_rate = config.feedback_learning_rate
    return Learner(
        network,
        make_estimator(config),
        ErrorModel(features, dim).to(device) if config.error_model else None,
        config.residual,
        rule,
        NodeProbe(network, config.node_std, generator) if isinstance(rule, LossRule) else None,
        make_optimizer(config.optimizer, forward, learning_rate, config.momentum),
        make_optimizer(
            config.feedback_optimizer or rule.optimizer,
            feedback,
            rule.learning_rate if feedback_rate is None else feedback_rate,
        )
        if feedback
        else None,
        node_std=config.node_std,
        max_grad_norm=config.max_grad_norm,
        generator=generator,
    )


def make_optimizer(
    name: str, parameters: list[torch.nn.Parameter], learning_rate: float, momentum: float = 0.0
) -> torch.optim.Optimizer:
    """The torch optimiser of a config."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    return torch.optim.SGD(parameters, lr=learning_rate, momentum=momentum)


def warn_of_noisy_regressor(config: Config, dim: int) -> None:
    """Warns where a rule that learns from the loss would regress on a noisy output error."""
    if config.credit == "given" or config.error_model or config.probes >= dim:
        return
    lanes = lanes_per_context(replace(config, probes=dim))
    warnings.warn(
        f"rule={config.rule!r} regresses on the output error, which probes={config.probes} leaves "
        f"noisy: B will shrink and turn away from W (errors in variables). Use probes={dim} "
        f"({lanes} lanes a context) or error_model=True",
        stacklevel=2,
    )
