"""T steps of N contexts: what the network did, what was tried around it, and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nodepert.agents.algorithm.node_probe import NodeProbe
from nodepert.agents.errors import NonFiniteError
from nodepert.agents.lanes.actions import ActionMap
from nodepert.agents.lanes.rollout import PairedLanes, Played
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.networks import Network, Step
from nodepert.agents.output_error import OutputError, ProbeError

__all__ = ["Window", "collect"]


@dataclass
class Window:
    """What :func:`collect` gathers, one entry a step."""

    start: Tensor | None  # the recurrent state before the first step
    inputs: list[Tensor] = field(default_factory=list)  # [N, n_0]
    steps: list[Step] = field(default_factory=list)
    centres: list[Tensor] = field(default_factory=list)  # predictions probed around, [N, d]
    offsets: list[Tensor] = field(default_factory=list)  # [N, M, d]
    losses: list[Tensor] = field(default_factory=list)  # of the probes, [N, M]
    node_losses: list[Tensor] = field(default_factory=list)  # of all lanes, [N, M + …]
    node_noise: list[list[Tensor]] = field(default_factory=list)  # ξ[i], [N, *shape_i]
    gradients: list[Tensor] = field(default_factory=list)  # ∂L/∂prediction, where given, [N, d]
    valid: list[Tensor] = field(default_factory=list)  # [N]
    started: list[Tensor] = field(default_factory=list)  # before each step, [N]
    # Summed where the environment's numbers come from, so that a GPU is not waited for:
    count: int = 0  # of steps of all contexts that count
    loss: float = 0.0  # of their probes, all together

    @cached_property
    def mask(self) -> Tensor:
        """Which steps count, once all are played, shape (T, N)."""
        return torch.stack(self.valid)

    def mean_loss(self) -> float:
        """Over all probes of the steps that count."""
        return self.loss / (self.count * self.losses[0].shape[1])


def collect(
    network: Network,
    lanes: PairedLanes,
    situation: Situation,
    *,
    n_steps: int,
    to_input: Callable[[np.ndarray[Any, Any]], Tensor],
    actions: ActionMap,
    estimator: OutputError,
    node_probe: NodeProbe | None,
    generator: torch.Generator,
    on_step: Callable[[Played], bool],
    send_scouts: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
) -> Window | None:
    """Plays T steps and leaves ``situation`` where they ended.

    Args:
        network: Predicts; its layers remember their calls.
        lanes: Where each context stands on M lanes.
        situation: Where to go on.
        n_steps: T.
        to_input: From observations to the network's input.
        actions: From predictions to actions.
        estimator: Says which actions to try.
        node_probe: Also try what noise on the hidden nodes does to the loss.
        generator: Random numbers for the probes.
        on_step: Told of each step; False stops the run.
        send_scouts: From offsets to those that are tried, and by how much to move the predictions
            that they are added to, (N, d).

    Returns:
        The window, or None if ``on_step`` stopped the run.

    Raises:
        NonFiniteError: A prediction is NaN, infinite, or too large to be probed.
    """
    state = None if situation.state is None else situation.state.detach()
    window = Window(start=state)
    if node_probe is not None:
        node_probe.restart(state)
    for _ in range(n_steps):
        started, x = situation.started, to_input(situation.observation)
        step = network.record(x, state, started)
        centre = step.prediction.detach()
        offsets = estimator.offsets(len(x), actions.dim, generator)
        if send_scouts is not None:
            offsets, shift = send_scouts(offsets)
            centre = centre + shift
        if node_probe is not None:
            perturbed, noise = node_probe.step(x, started, centre)
            offsets = torch.cat([offsets, perturbed - centre[:, None]], dim=1)
            window.node_noise.append(noise)
        centre, offsets = actions.contain(centre, offsets)
        tried = centre[:, None] + offsets  # [N, M, d]
        shown = tried.cpu()  # once, for the check and for the actions
        check_usable(shown, estimator, lanes)
        played = lanes.step(actions.action(shown.flatten(0, 1)))
        window.count += int(played.valid.sum())
        window.loss += float(played.losses[played.valid, : estimator.lanes].sum())

        losses = torch.as_tensor(played.losses, device=x.device)  # float64: differences are small
        window.losses.append(losses[:, : estimator.lanes])
        if node_probe is not None:
            window.node_losses.append(losses)
        info = played.info.get("final_info", played.info)
        if not isinstance(estimator, ProbeError) and "action_gradient" in info:
            gradient = step_gradient(info, played.info, lanes)
            given = torch.as_tensor(gradient, dtype=centre.dtype, device=x.device)
            window.gradients.append(actions.gradient(given))
        window.inputs.append(x)
        window.steps.append(step)
        window.centres.append(centre)
        window.offsets.append(offsets[:, : estimator.lanes])
        window.valid.append(torch.as_tensor(played.valid, device=x.device))
        window.started.append(started)
        state = step.state
        situation.advance(played, state)
        if not on_step(played):
            return None
    return window


def step_gradient(
    final: dict[str, Any], info: dict[str, Any], lanes: PairedLanes
) -> np.ndarray[Any, Any]:
    """``action_gradient`` of each context's first lane, shape (N, d).

    Lanes whose episode ended have it in ``final_info``, the others at the top level.
    """
    gradient = np.array(final["action_gradient"])
    if "action_gradient" in info:
        going_on = info["_action_gradient"]
        gradient[going_on] = info["action_gradient"][going_on]
    return gradient.reshape(lanes.contexts, lanes.lanes_per_context, -1)[:, 0]


def check_usable(tried: Tensor, estimator: OutputError, lanes: PairedLanes) -> None:
    """Raises NonFiniteError where a prediction is not finite, or too large to be probed.

    Args:
        tried: What each lane tries around the predictions, on the CPU, shape (N, M, d).
        estimator: Its probes must not be lost in rounding.
        lanes: For the message.
    """
    values = tried.numpy()  # on so few numbers numpy is faster
    lost = ~np.isfinite(values).all(axis=(1, 2))
    if isinstance(estimator, ProbeError):
        # Not whether these ones are: a Gaussian probe of 1e-8 is drawn now and then. Where any
        # would be, what is tried is as large as the prediction.
        rounding = np.abs(values[:, 0]) * np.finfo(values.dtype).eps
        lost |= (rounding > estimator.std).all(axis=1)
    if lost.any():
        lane = int(lost.argmax()) * lanes.lanes_per_context
        raise NonFiniteError(
            f"the prediction for lane {lane} is not finite after env step {lanes.env_steps}, or so "
            "large that probes are lost in rounding: the weights have diverged or the observation "
            "is not finite; try a smaller learning_rate or max_grad_norm=1.0"
        )
