"""Makes the parts that a config names."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import torch

from nodepert.agents.algorithm.baselines import BASELINES
from nodepert.agents.algorithm.descent import Cadence, Descent
from nodepert.agents.algorithm.learner import Learner
from nodepert.agents.algorithm.node_noise import NOISES, NodeNoise, Sparse
from nodepert.agents.algorithm.node_probe import NodeProbe, node_lanes
from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError
from nodepert.agents.feedback import RULES, FeedbackRule, LossRule, UpdateRule
from nodepert.agents.networks import Network
from nodepert.agents.output_error import (
    PROBES,
    ErrorModel,
    GivenGradient,
    OutputError,
    ProbeError,
)
from nodepert.agents.replay import Replay

__all__ = [
    "lanes_per_context",
    "make_descent",
    "make_estimator",
    "make_learner",
    "make_optimizer",
]


def make_estimator(config: Config) -> OutputError:
    """The estimator of the output error."""
    if config.credit == "given":
        return GivenGradient()
    return PROBES[config.credit](config.probes, config.probe_std)


def lanes_per_context(config: Config) -> int:
    """M, how many lanes show each context."""
    if config.credit not in (*PROBES, "given"):
        return 1
    estimator = make_estimator(config)
    if not issubclass(RULES[config.rule], LossRule):
        return estimator.lanes
    return estimator.lanes + node_lanes(BASELINES[config.node_baseline], estimator)


def make_learner(
    config: Config, network: Network, learning_rate: float, generator: torch.Generator
) -> Learner:
    """The learner of a network from probes.

    Args:
        config: Hyperparameters.
        network: What learns.
        learning_rate: Step size of the forward weights at the start.
        generator: Random numbers for node noise.
    """
    features, dim = network.n_in, network.layers[-1].weight.shape[0]
    device = network.forward_weights[0].device
    descent = make_descent(config, network, learning_rate, generator)
    estimator, node_probe = make_estimator(config), None
    if descent.loss_rules:
        warn_of_noisy_regressor(config, dim)
        baseline = BASELINES[config.node_baseline](features).to(device)
        node_probe = NodeProbe(network, descent.noise, baseline, estimator, generator)
    error_model = ErrorModel(features, dim).to(device) if config.error_model else None
    replay = make_replay(config, network, estimator, generator)
    return Learner(descent, estimator, error_model, config.residual, node_probe, replay)


def make_replay(
    config: Config, network: Network, estimator: OutputError, generator: torch.Generator
) -> Replay | None:
    """Stored probes, if any.

    Raises:
        ConfigError: There are too few contexts to send scouts.
    """
    if config.replays == 0:
        return None
    assert isinstance(estimator, ProbeError)
    scouts = 2 * len(estimator.scout_signs)
    if config.batch_size < scouts:
        raise ConfigError(
            f"replays={config.replays}: expected 0, or batch_size of at least {scouts}, since so "
            "many contexts are shown alike to measure the curvature of the loss"
        )
    dim = network.layers[-1].weight.shape[0]
    length = config.probe_std * math.sqrt(dim)
    return Replay(
        config.replays, config.buffer_size, config.batch_size, estimator, dim, length, generator
    ).to(generator.device)


def make_descent(
    config: Config, network: Network, learning_rate: float, generator: torch.Generator
) -> Descent:
    """How a network's weights take their steps; see :func:`make_learner`."""
    forward = network.forward_weights
    feedback = [layer.feedback for layer in network.layers if layer.feedback is not None]
    rule_class = RULES[config.rule]
    as_weights = issubclass(rule_class, UpdateRule)
    rate = config.feedback_learning_rate
    return Descent(
        network,
        [rule.to(forward[0].device) for rule in make_rules(config, network)],
        make_noise(config, len(network.hidden_shapes)),
        make_optimizer(
            config.optimizer,
            forward + feedback if as_weights else forward,
            learning_rate,
            config.momentum,
            config.weight_decay,
        ),
        make_optimizer(
            config.feedback_optimizer or rule_class.optimizer,
            feedback,
            rule_class.learning_rate if rate is None else rate,
        )
        if feedback and not as_weights
        else None,
        cadence=Cadence(config.warmup, config.forward_interval, config.feedback_interval),
        max_grad_norm=config.max_grad_norm,
        max_feedback_grad_norm=config.max_feedback_grad_norm,
        generator=generator,
    )


def make_rules(config: Config, network: Network) -> list[FeedbackRule]:
    """One rule for each set of hidden nodes."""
    rule_class = RULES[config.rule]
    rules = []
    for hidden in range(len(network.hidden_shapes)):
        rule = rule_class(**{name: getattr(config, name) for name in rule_class.hyperparameters})
        feedbacks = [layer.feedback for layer, _ in network.readers(hidden)]
        rule.prepare([tuple(one.shape) for one in feedbacks if one is not None])
        rules.append(rule)
    return rules


def make_noise(config: Config, hidden_layers: int) -> NodeNoise:
    """The node noise.

    Raises:
        ConfigError: ``node_std`` has another number of entries than the network hidden layers.
    """
    stds = config.node_std
    if not isinstance(stds, tuple):
        stds = (stds,) * hidden_layers
    if len(stds) != hidden_layers:
        raise ConfigError(
            f"node_std={config.node_std!r}: expected one number, or one for each of the "
            f"{hidden_layers} hidden layers"
        )
    kind = config.node_noise or RULES[config.rule].noise
    if kind == "sparse":
        return Sparse(stds, config.node_probability, config.authors_scaling)
    return NOISES[kind](stds)


def make_optimizer(
    name: str,
    parameters: list[torch.nn.Parameter],
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """The torch optimiser of a config."""
    if name == "adam":
        return torch.optim.Adam(
            parameters,
            lr=learning_rate,
            weight_decay=weight_decay,
            decoupled_weight_decay=True,
            fused=True,
        )
    return torch.optim.SGD(
        parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )


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
