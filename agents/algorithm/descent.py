"""What a network does with an error: carry it down, and take one step of W and of B.

ẽ[i] = (ẽ[i+1] B[i+1]) ∘ σ'(z[i])       (nodepert.agents.networks)
W[i] ← W[i] − η ẽ[i]ᵀ h[i−1]            (a torch optimiser)
B[i] from node noise, or from W's step  (nodepert.agents.feedback)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nodepert.agents.algorithm.feedback_learning import learn_from_response, learn_from_update
from nodepert.agents.algorithm.node_noise import NodeNoise
from nodepert.agents.feedback import FeedbackRule, LossRule, ResponseRule, UpdateRule
from nodepert.agents.networks import Network, Step

__all__ = ["Cadence", "Descent"]


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


class Descent:
    """The steps of one network.

    Args:
        network: What learns.
        rules: Where feedback weights come from, one for each set of hidden nodes.
        noise: The node noise.
        optimizer: Of the forward weights, and of B where it learns as W does.
        feedback_optimizer: Of the feedback weights; None where none learns on its own.
        cadence: When which of the two take a step.
        max_grad_norm: Clip the forward gradient at this norm, or None.
        max_feedback_grad_norm: Clip the gradient of B at this norm, or None.
        generator: Random numbers for the node noise.

    Attributes:
        average: Told of gradients before they are used, to put in their place what they are on
            average over the processes that share the work.
    """

    average: Callable[[Sequence[Tensor]], None] | None = None

    def __init__(
        self,
        network: Network,
        rules: Sequence[FeedbackRule],
        noise: NodeNoise,
        optimizer: torch.optim.Optimizer,
        feedback_optimizer: torch.optim.Optimizer | None,
        *,
        cadence: Cadence,
        max_grad_norm: float | None,
        max_feedback_grad_norm: float | None,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.rules = rules
        # All rules learn in one way, or learn nothing.
        self.loss_rules = [rule for rule in rules if isinstance(rule, LossRule)]
        self.response_rules = [rule for rule in rules if isinstance(rule, ResponseRule)]
        self.update_rules = [rule for rule in rules if isinstance(rule, UpdateRule)]
        self.noise = noise
        self.optimizer = optimizer
        self.feedback_optimizer = feedback_optimizer
        self.cadence = cadence
        self.max_grad_norm = max_grad_norm
        self.max_feedback_grad_norm = max_feedback_grad_norm
        self.generator = generator

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Those of the forward and of the feedback weights, by name."""
        optimizers = {"optimizer": self.optimizer}
        if self.feedback_optimizer is not None:
            optimizers["feedback_optimizer"] = self.feedback_optimizer
        return optimizers

    def step(self, steps: Sequence[Step], error: Tensor, count: int, update: int) -> None:
        """Carries an error down, and takes a step; see :meth:`take`.

        Args:
            steps: What the network recorded, T in a row.
            error: ê at the prediction, shape (T, N, d).
            count: How many of the T · N rows count.
            update: Which update this is, from 1.
        """
        self.take(steps, self.network.carry_down(steps, error / count), update)

    def take(self, steps: Sequence[Step], gradients: list[Tensor], update: int) -> None:
        """One step of W and B, and the end of what the layers remember.

        Args:
            steps: What the network recorded.
            gradients: Of the forward weights, means over what counts.
            update: Which update this is, from 1.
        """
        self._set_gradients(gradients)
        learn_from_update(self.network, self.update_rules)
        if self.cadence.forward_due(update):
            self.optimizer.step()
        if self.cadence.feedback_due(update):
            # After W's step: B that lags behind an oscillating W would feed the oscillation.
            learn_from_response(
                self.network, self.response_rules, self.noise, self.generator, steps
            )
            self._step_feedback()
        self.network.forget_calls()

    def _set_gradients(self, gradients: list[Tensor]) -> None:
        """Averages over processes, at most so long."""
        if self.average is not None:
            self.average(gradients)
        for weight, gradient in zip(self.network.forward_weights, gradients, strict=True):
            weight.grad = gradient
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.forward_weights, self.max_grad_norm)

    def _step_feedback(self) -> None:
        """B's own step, where it has one."""
        if self.feedback_optimizer is None:
            return
        feedbacks = self.feedback_optimizer.param_groups[0]["params"]
        if self.average is not None and self.loss_rules:
            self.average([feedback.grad for feedback in feedbacks])
        if self.max_feedback_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(feedbacks, self.max_feedback_grad_norm)
        self.feedback_optimizer.step()
