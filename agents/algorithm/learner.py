"""The algorithm with probes: from a window of losses to new forward and feedback weights.

ê[last] from the losses of probes       (nodepert.agents.output_error)
ẽ, W and B from ê                       (nodepert.agents.algorithm.descent)
B[i] from what node noise did to the loss, for rules that learn from it
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nodepert.agents.algorithm.descent import Descent
from nodepert.agents.algorithm.feedback_learning import learn_from_loss
from nodepert.agents.algorithm.node_probe import NodeProbe
from nodepert.agents.algorithm.window import Window
from nodepert.agents.config import Residual
from nodepert.agents.errors import ConfigError
from nodepert.agents.networks import predictions
from nodepert.agents.output_error import ErrorModel, OutputError, ProbeError
from nodepert.agents.replay import Replay

__all__ = ["Learner"]


class Learner:
    """Learns from windows.

    Args:
        descent: The network, and how its weights take a step.
        estimator: Reads the output error from the losses.
        error_model: Its control variate, or None.
        residual: What of the probes' residual is added to it.
        node_probe: Tries the node noise on the loss, for rules that learn from it; or None.
        replay: Stored probes and scouts, or None.
    """

    def __init__(
        self,
        descent: Descent,
        estimator: OutputError,
        error_model: ErrorModel | None,
        residual: Residual,
        node_probe: NodeProbe | None,
        replay: Replay | None,
    ) -> None:
        self.descent = descent
        self.estimator = estimator
        self.error_model = error_model
        self.residual = residual
        self.node_probe = node_probe
        self.replay = replay
        self.memory = nn.ModuleDict({"rules": nn.ModuleList(descent.rules)})
        """All that is learned besides the network's weights."""
        if error_model is not None:
            self.memory["error_model"] = error_model
        if node_probe is not None:
            self.memory["baseline"] = node_probe.baseline
        if replay is not None:
            self.memory["replay"] = replay

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
        descent, network = self.descent, self.descent.network
        if not window.count:
            network.forget_calls()
            return
        changes = self._changes(window)
        error, model = self.output_error(window, changes)
        if before_update is not None:
            before_update(error)
        # What is less noisy than the estimate that it helped to make.
        regressor = error if model is None else model
        if descent.cadence.feedback_due(update) and descent.loss_rules:
            gradients = network.carry_down(window.steps, regressor, regressor is not error)
            node_changes = self._node_changes(window)
            learn_from_loss(network, descent.loss_rules, descent.noise, window, node_changes)
            if regressor is not error:
                gradients = network.carry_down(window.steps, error)
            torch._foreach_mul_(gradients, 1 / window.count)
            descent.take(window.steps, gradients, update)
        else:
            descent.step(window.steps, error, window.count, update)
        if self.replay is not None and update > descent.cadence.warmup:
            self.replay.take_in(window, changes)
            for steps, stored_error, count in self.replay.minibatches(network):
                descent.step(steps, stored_error, count, update)

    def _node_changes(self, window: Window) -> Tensor:
        """What node noise did to the loss, shape (T, N); a baseline learns from it."""
        assert self.node_probe is not None
        changes = map(self.node_probe.change, window.node_losses, window.inputs)
        return torch.stack(list(changes)).to(window.inputs[0].dtype)

    def _changes(self, window: Window) -> list[Tensor]:
        """δ of each step, (N, K); none where the error is given."""
        if not isinstance(self.estimator, ProbeError):
            return []
        if self.replay is None:
            changes = map(self.estimator.changes, window.losses)
        else:
            changes = map(self.replay.changes, window.offsets, window.losses)
        return [one.to(window.centres[0].dtype) for one in changes]

    def output_error(
        self, window: Window, changes_by_step: list[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
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
        changes = torch.cat(changes_by_step)  # [TN, K]
        if self.replay is not None:
            said = predictions(window.steps).flatten(0, 1)
            centres = torch.cat(window.centres)
            changes, _ = self.replay.changes_at(said, centres, changes, probes)
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
