"""The algorithm: from a window of losses to new forward and feedback weights.

ê[last] from the losses of probes       (nodepert.agents.output_error)
ẽ[i] = (ẽ[i+1] B[i+1]) ∘ σ'(z[i])       (nodepert.agents.networks)
W[i] ← W[i] − η ẽ[i]ᵀ h[i−1]            (a torch optimiser)
B[i] from node noise                    (nodepert.agents.feedback)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from nodepert.agents.config import Residual
from nodepert.agents.errors import ConfigError
from nodepert.agents.feedback import FeedbackRule, LossRule, ResponseRule
from nodepert.agents.maths import gaussian_probes, node_perturbation
from nodepert.agents.networks import FeedbackLinear, Network
from nodepert.agents.output_error import ErrorModel, OutputError, ProbeError
from nodepert.agents.window import NodeProbe, Window

__all__ = ["Learner"]


class Learner:
    """Learns from windows.

    Args:
        network: What learns.
        estimator: Reads the output error from the losses.
        error_model: Its control variate, or None.
        residual: What of the probes' residual is added to it.
        rule: Where feedback weights come from.
        node_probe: The node noise of a rule that learns from the loss, or None.
        optimizer: Of the forward weights.
        feedback_optimizer: Of the feedback weights; None where there are none to learn.
        node_std: Standard deviation c of the node noise.
        max_grad_norm: Clip the forward gradient at this norm, or None.
        generator: Random numbers for the node noise.
    """

    def __init__(
        self,
        network: Network,
        estimator: OutputError,
        error_model: ErrorModel | None,
        residual: Residual,
        rule: FeedbackRule,
        node_probe: NodeProbe | None,
        optimizer: torch.optim.Optimizer,
        feedback_optimizer: torch.optim.Optimizer | None,
        *,
        node_std: float,
        max_grad_norm: float | None,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.estimator = estimator
        self.error_model = error_model
        self.residual = residual
        self.rule = rule
        self.node_probe = node_probe
        self.optimizer = optimizer
        self.feedback_optimizer = feedback_optimizer
        self.node_std = node_std
        self.max_grad_norm = max_grad_norm
        self.generator = generator

    def learn_from(
        self, window: Window, before_update: Callable[[Tensor], None] | None = None
    ) -> None:
        """One update of W and B; none from a window in which lanes were only reset.

        Args:
            window: What to learn from.
            before_update: Told ê, shape (T, N, d), before W and B change, for measurements.
        """
        if not torch.stack(window.valid).any():
            self.network.forget_calls()
            return
        error, model = self.output_error(window)
        if before_update is not None:
            before_update(error)
        if isinstance(self.rule, LossRule):
            # The model is less noisy than the estimate that it helped to make.
            regressor = error if model is None else model
            self._learn_feedback_from_loss(self.rule, window, regressor)
        self._carry_down(window, error)
        if isinstance(self.rule, ResponseRule):
            self._learn_feedback_from_response(self.rule)
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.forward_weights, self.max_grad_norm)
        self.optimizer.step()
        if self.feedback_optimizer is not None:
            self.feedback_optimizer.step()
        self.network.forget_calls()

    def output_error(self, window: Window) -> tuple[Tensor, Tensor | None]:
        """ê, and the error model's part of it, each (T, N, d), 0 in invalid steps.

        The error model is always the fit from before the window; it learns from it afterwards.
        """
        shape = (len(window.steps), *window.centres[0].shape)
        valid = torch.stack(window.valid)[:, :, None]
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

    def _carry_down(self, window: Window, error: Tensor, keep_graph: bool = False) -> None:
        """Backward pass from ê, averaged over the valid steps of all contexts."""
        predictions = torch.stack([step.prediction for step in window.steps])
        count = torch.stack(window.valid).sum().clamp(min=1)
        self.optimizer.zero_grad(set_to_none=True)
        predictions.backward(error / count, retain_graph=keep_graph)

    def _learn_feedback_from_response(self, rule: ResponseRule) -> None:
        """B[i+1] from Δz[i+1] ≈ ξ[i] B[i+1]ᵀ, at every layer on its own."""
        for layer in self.network.layers:
            if layer.feedback is None:
                continue
            activity = torch.cat([call.input.detach() for call in layer.calls])  # h, [R, n_in]
            answer = torch.cat([call.output for call in layer.calls])  # z, [R, n_out]
            noise = gaussian_probes(activity.shape, self.node_std, self.generator)
            with torch.no_grad():
                response = layer(activity + noise) - answer
            layer.feedback.grad = rule.gradient(layer.feedback, noise, response)

    def _learn_feedback_from_loss(self, rule: LossRule, window: Window, regressor: Tensor) -> None:
        """B of the layers above each set of nodes, from λ̂ = Δ(future loss) ξ / c²."""
        self._carry_down(window, regressor, keep_graph=True)
        count = int(torch.stack(window.valid).sum().clamp(min=1))
        future = loss_to_come(window)  # [T, N]
        for i in range(len(self.network.hidden_sizes)):
            noise = torch.stack([step_noise[i] for step_noise in window.node_noise])  # [T, N, n]
            estimate = node_perturbation(future, noise, self.node_std**2).flatten(0, 1)
            readers = self.network.readers(i)
            errors = [count * errors_above(layer, lag, window) for layer, lag in readers]
            feedbacks = [cast(Tensor, layer.feedback) for layer, _ in readers]
            gradients = rule.gradients(feedbacks, errors, estimate)
            for feedback, gradient in zip(feedbacks, gradients, strict=True):
                feedback.grad = gradient


def loss_to_come(window: Window) -> Tensor:
    """Σ of node noise's change of the loss from each step to the end of episode or window."""
    changes = torch.stack(window.node_changes) * torch.stack(window.valid)  # [T, N]
    future = torch.zeros_like(changes)
    running = torch.zeros_like(changes[0])
    for t in reversed(range(len(changes))):
        running = running + changes[t]
        future[t] = running
        running = running.masked_fill(window.started[t], 0.0)
    return future


def errors_above(layer: FeedbackLinear, lag: int, window: Window) -> Tensor:
    """ẽ of a layer that reads the nodes ``lag`` steps later, (T·N, n_out); 0 past the end."""
    rows = []
    for t in range(len(window.steps)):
        if t + lag < len(layer.calls):
            error = layer.calls[t + lag].error
            if lag:
                error = error.masked_fill(window.started[t + lag][:, None], 0.0)
        else:
            error = torch.zeros_like(layer.calls[0].error)
        rows.append(error)
    return torch.cat(rows)
