"""The rival that learned feedback should beat: node perturbation of all units at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from nodepert.agents.config import Config
from nodepert.agents.factory import make_optimizer
from nodepert.agents.lanes.handover import EnvLike
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.maths import gaussian_probes, node_perturbation, to_come
from nodepert.agents.methods import Method
from nodepert.agents.methods.base import OnStep, check_finite
from nodepert.agents.networks import Network, Step, restarted
from nodepert.agents.node_perturbation import NodePerturbation
from nodepert.agents.policies import FeedbackPolicy

__all__ = ["AllUnits"]


class AllUnits(NodePerturbation):
    """Node perturbation without feedback weights; see :class:`Perturbation`.

    Takes the hyperparameters of :class:`~nodepert.agents.NodePerturbation` with
    ``credit="paired"``, of which those about feedback and stored probes mean nothing here. Each
    context has a pair of lanes; what is said of one-point probes is taken to be of pairs.
    """

    def _vectorise(self, env: EnvLike) -> VectorEnv[Any, Any, Any]:
        if self.config.credit == "one_point":
            # Their length is that of one number's noise; here hidden units are perturbed, too.
            pairs = min(self.config.probe_std, Config().probe_std)
            self.config = replace(self.config, credit="paired", probe_std=pairs)
        return super()._vectorise(env)

    def _setup_model(self) -> None:
        self.config = replace(self.config, rule="backprop")  # B is not needed: see local_gradients
        super()._setup_model()
        self.method = Perturbation(self.config, self.policy, self.lr_schedule(1.0), self.generator)
        self.memory, self.optimizer = self.method.memory, self.method.optimizers["optimizer"]


@dataclass
class Trial:
    """What a window of T steps leaves, one entry a step."""

    steps: list[Step] = field(default_factory=list)
    noise: list[list[Tensor]] = field(default_factory=list)  # of each layer, the output last
    losses: list[Tensor] = field(default_factory=list)  # of the lanes + and −, [N, 2]
    started: list[Tensor] = field(default_factory=list)  # before each step, [N]


class Perturbation(Method[Trial]):
    """Noise on all units at once, each of which is credited with what it did to the loss.

    λ̂[i] = (L⁺ − L⁻)/2 · ξ[i]/c² after σ in each hidden layer and at the output, and from there to
    the layer's own weights only (arXiv 1906.00889, eq. 5; Werfel, Xie & Seung 2005). In an episode
    of several steps a hidden unit's noise is credited with all the losses from its step on (Fiete &
    Seung 2006), as far as the window goes. Two lanes show each context, with ξ and with −ξ.
    ``node_std`` is c in the hidden layers, ``probe_std`` at the output.
    """

    shows_contexts = True
    has_critic = False
    default_log_interval = 100

    def __init__(
        self,
        config: Config,
        policy: FeedbackPolicy,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        self.policy, self.generator = policy, generator
        self.n_steps = config.n_steps or policy.default_n_steps
        hidden = len(policy.network.hidden_shapes)
        stds = config.node_std if isinstance(config.node_std, tuple) else (config.node_std,)
        self.stds = (*(stds * hidden)[:hidden], config.probe_std)
        self.optimizers = {
            "optimizer": make_optimizer(
                config.optimizer,
                policy.network.forward_weights,
                learning_rate,
                config.momentum,
                config.weight_decay,
            )
        }
        self.memory = nn.ModuleDict()

    def begin(self, situation: Situation) -> None:
        """Nothing to add."""

    def collect(
        self, lanes: PairedLanes, situation: Situation, remaining: float, on_step: OnStep
    ) -> Trial | None:
        """Plays T steps with noise of both signs; the network's own state has none."""
        network, actions, trial = self.policy.network, self.policy.actions, Trial()
        noisy = [situation.state, situation.state]
        for _ in range(self.n_steps):
            started, x = situation.started, self.policy.to_input(situation.observation)
            step = network.record(x, situation.state, started)
            noise = [
                gaussian_probes(tuple(nodes.shape), std, self.generator)
                for nodes, std in zip([*step.hidden, step.prediction], self.stds, strict=True)
            ]
            tried = []
            for lane, sign in enumerate((1, -1)):
                shifted = [sign * xi for xi in noise]
                with torch.no_grad():
                    moved = network.step(x, restarted(noisy[lane], started), shifted[:-1])
                noisy[lane] = moved.state
                tried.append(moved.prediction + shifted[-1])
            check_finite(step.prediction.detach(), lanes)
            played = lanes.step(actions.action(torch.stack(tried, dim=1).flatten(0, 1)))
            trial.steps.append(step)
            trial.noise.append(noise)
            losses = played.losses * played.valid[:, None]
            trial.losses.append(torch.as_tensor(losses, device=x.device))
            trial.started.append(started)
            # What a unit does later is in later losses already: no gradient through time.
            situation.advance(played, step.state)
            if not on_step(played):
                return None
        return trial

    def learn_from(self, batch: Trial, update: int, measure: bool) -> dict[str, float]:
        """One step of W."""
        losses = torch.stack(batch.losses)  # [T, N, 2]
        now = ((losses[..., 0] - losses[..., 1]) / 2).float()  # [T, N]
        ahead = to_come(now, torch.stack(batch.started))
        errors = [
            [
                *(
                    node_perturbation(ahead[t], xi, c**2)
                    for xi, c in zip(hidden, self.stds[:-1], strict=True)
                ),
                node_perturbation(now[t], end, self.stds[-1] ** 2),
            ]
            for t, (*hidden, end) in enumerate(batch.noise)
        ]
        for weight, gradient in local_gradients(self.policy.network, batch.steps, errors):
            weight.grad = gradient / now.numel()
        self.optimizers["optimizer"].step()
        self.policy.network.forget_calls()
        return {"train/loss": float(losses.mean())}


def local_gradients(
    network: Network, steps: Sequence[Step], errors: Sequence[Sequence[Tensor]]
) -> list[tuple[nn.Parameter, Tensor]]:
    """Each layer's gradient from the errors at its own nodes, and from no others.

    Args:
        network: An MLP, or recurrent with one hidden layer.
        steps: What it recorded, T in a row, with no graph from one to the next.
        errors: For each step λ̂[i], of the shape of each hidden layer and of the prediction.
    """
    layers = network.layers
    recurrent = network.initial_state(1) is not None
    below = [layers[:-1]] if recurrent else [[layer] for layer in layers[:-1]]
    found = []
    for i, group in enumerate([*below, layers[-1:]]):
        weights = [weight for layer in group for weight in (layer.weight, layer.bias)]
        gradients = torch.autograd.grad(
            [[*step.hidden, step.prediction][i] for step in steps],
            weights,
            [error[i] for error in errors],
            retain_graph=True,
        )
        found += list(zip(weights, gradients, strict=True))
    return found
