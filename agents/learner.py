"""The algorithm: from a window of losses to new forward and feedback weights.

ê[last] from the losses of probes       (nodepert.agents.output_error)
ẽ[i] = (ẽ[i+1] B[i+1]) ∘ σ'(z[i])       (nodepert.agents.networks)
W[i] ← W[i] − η ẽ[i]ᵀ h[i−1]            (a torch optimiser)
B[i] from node noise                    (nodepert.agents.feedback)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nodepert.agents.config import Residual
from nodepert.agents.errors import ConfigError
from nodepert.agents.feedback import FeedbackRule, LossRule, ResponseRule, UpdateRule
from nodepert.agents.feedback_learning import (
    learn_from_loss,
    learn_from_response,
    learn_from_update,
)
from nodepert.agents.networks import Network
from nodepert.agents.node_noise import NodeNoise
from nodepert.agents.node_probe import NodeProbe
from nodepert.agents.output_error import ErrorModel, OutputError, ProbeError
from nodepert.agents.window import Window

__all__ = ["Cadence", "Learner"]


@dataclass(frozen=True)
class Cadence:
    """When which weights take a step, counted in updates from 1."""

    warmup: int
    """So many updates at the start are of B alone."""
    forward_interval: int
    """Updates from one step of W to the next; 0 is never."""
    feedback_interval: int
    """The same of B."""

    def forward_due(self, update: int) -> bool:
        """Whether W takes a step."""
        return update > self.warmup and due(update, self.forward_interval)

    def feedback_due(self, update: int) -> bool:
        """Whether B takes a step."""
        return due(update, self.feedback_interval)


def due(update: int, interval: int) -> bool:
    """Whether something that happens every ``interval`` updates happens in this one."""
    return interval > 0 and update % interval == 0


class Learner:
    """Learns from windows.

    Args:
        network: What learns.
        estimator: Reads the output error from the losses.
        error_model: Its control variate, or None.
        residual: What of the probes' residual is added to it.
        rules: Where feedback weights come from, one for each set of hidden nodes.
        noise: The node noise.
        node_probe: Tries the node noise on the loss, for rules that learn from it; or None.
        optimizer: Of the forward weights, and of B where it learns as W does.
        feedback_optimizer: Of the feedback weights; None where none learns on its own.
        cadence: When which of the two take a step.
        max_grad_norm: Clip the forward gradient at this norm, or None.
        max_feedback_grad_norm: Clip the gradient of B at this norm, or None.
        generator: Random numbers for the node noise.
    """

    def __init__(
        self,
        network: Network,
        estimator: OutputError,
        error_model: ErrorModel | None,
        residual: Residual,
        rules: Sequence[FeedbackRule],
        noise: NodeNoise,
        node_probe: NodeProbe | None,
        optimizer: torch.optim.Optimizer,
        feedback_optimizer: torch.optim.Optimizer | None,
        *,
        cadence: Cadence,
        max_grad_norm: float | None,
        max_feedback_grad_norm: float | None,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.estimator = estimator
        self.error_model = error_model
        self.residual = residual
        # All rules learn in one way, or learn nothing.
        self.loss_rules = [rule for rule in rules if isinstance(rule, LossRule)]
        self.response_rules = [rule for rule in rules if isinstance(rule, ResponseRule)]
        self.update_rules = [rule for rule in rules if isinstance(rule, UpdateRule)]
        self.noise = noise
        self.node_probe = node_probe
        self.optimizer = optimizer
        self.feedback_optimizer = feedback_optimizer
        self.cadence = cadence
        self.max_grad_norm = max_grad_norm
        self.max_feedback_grad_norm = max_feedback_grad_norm
        self.generator = generator
        self.memory = nn.ModuleDict({"rules": nn.ModuleList(rules)})
        """All that is learned besides the network's weights."""
        if error_model is not None:
            self.memory["error_model"] = error_model
        if node_probe is not None:
            self.memory["baseline"] = node_probe.baseline

    def learn_from(
        self,
        window: Window,
        update: int,
        before_update: Callable[[Tensor], None] | None = None,
    ) -> None:
        """One update of W and B; none from a window in which lanes were only reset.

        Args:
            window: What to learn from.
            update: Which update this is, from 1.
            before_update: Told ê, shape (T, N, d), before W and B change, for measurements.
        """
        if not window.count:
            self.network.forget_calls()
            return
        error, model = self.output_error(window)
        if before_update is not None:
            before_update(error)
        # What is less noisy than the estimate that it helped to make.
        regressor = error if model is None else model
        feedback_due = self.cadence.feedback_due(update)
        if feedback_due and self.loss_rules:
            gradients = self.network.carry_down(window.steps, regressor, regressor is not error)
            changes = self._node_changes(window)
            learn_from_loss(self.network, self.loss_rules, self.noise, window, changes)
            if regressor is not error:
                gradients = self.network.carry_down(window.steps, error)
        else:
            gradients = self.network.carry_down(window.steps, error)
        self._set_gradients(gradients, window)
        learn_from_update(self.network, self.update_rules)
        if self.cadence.forward_due(update):
            self.optimizer.step()
        if feedback_due:
            # After W's step: B that lags behind an oscillating W would feed the oscillation.
            answering, generator = self.response_rules, self.generator
            learn_from_response(self.network, answering, self.noise, generator, window.steps)
            self._step_feedback()
        self.network.forget_calls()

    def _step_feedback(self) -> None:
        """B's own step, where it has one."""
        if self.feedback_optimizer is None:
            return
        if self.max_feedback_grad_norm is not None:
            feedbacks = self.feedback_optimizer.param_groups[0]["params"]
            torch.nn.utils.clip_grad_norm_(feedbacks, self.max_feedback_grad_norm)
        self.feedback_optimizer.step()

    def _node_changes(self, window: Window) -> Tensor:
        """What node noise did to the loss, shape (T, N); a baseline learns from it."""
        assert self.node_probe is not None
        changes = map(self.node_probe.change, window.node_losses, window.inputs)
        return torch.stack(list(changes)).to(window.inputs[0].dtype)

    def output_error(self, window: Window) -> tuple[Tensor, Tensor | None]:
        """ê, and the error model's part of it, each (T, N, d), 0 in invalid steps.

        The error model is always the fit from before the window; it learns from it afterwards.
        """
        shape = (len(window.steps), *window.centres[0].shape)
        valid = window.mask[:, :, None]
        estimator = self.estimator
        if not isinstance(estimator, ProbeError):
            if not window.gradients:
                raise ConfigError(
                    "credit='given': the environment puts no action_gradient into info; expected "
                    "one made with expose_gradient=True"
                )
            return torch.stack(window.gradients) * valid, None
        probes = estimator.probes(torch.cat(window.offsets))  # [TN, K, d]
        changes = estimator.changes(torch.cat(window.losses)).to(probes.dtype)  # [TN, K]
        if self.error_model is None:
            return estimator.estimate(changes, probes).view(shape) * valid, None
        context, centre = torch.cat(window.inputs), torch.cat(window.centres)
        model = self.error_model(context, centre)  # g, [TN, d]
        residual = changes - torch.einsum("nkd,nd->nk", probes, model)  # δ − g·ξ
        error = model + self._residual_share(probes) * estimator.estimate(residual, probes)
        rows = valid.flatten()
        self.error_model.fit(context[rows], centre[rows], residual[rows], probes[rows])
        return error.view(shape) * valid, model.view(shape) * valid

    def _residual_share(self, probes: Tensor) -> float:
        """1 for the unbiased residual, min(K, d)/d for that of minimum norm."""
        count, dim = probes.shape[1:]
        return 1.0 if self.residual == "unbiased" else min(count, dim) / dim

    def _set_gradients(self, gradients: list[Tensor], window: Window) -> None:
        """From sums to means over the valid steps of all contexts, at most so long."""
        torch._foreach_mul_(gradients, 1 / window.count)
        for weight, gradient in zip(self.network.forward_weights, gradients, strict=True):
            weight.grad = gradient
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.forward_weights, self.max_grad_norm)
