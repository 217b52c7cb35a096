"""Credit by whole episodes, played twice from one seed: noise held for the episode, in both signs.

The natural rival is Augmented Random Search (Mania et al. 2018), which perturbs all weights at
once. Here noise enters at the output nodes only, and learned feedback tells the layers below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError, PairingError
from nodepert.agents.factory import make_descent
from nodepert.agents.lanes.resting import one_episode_each
from nodepert.agents.lanes.rollout import PairedLanes, Played
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.methods.base import Method, OnStep, check_finite
from nodepert.agents.methods.exploration import Exploration
from nodepert.agents.methods.held_noise import both_signs, minimum_norm_errors, output_gradient
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.networks import Step
from nodepert.agents.policies import FeedbackPolicy

__all__ = ["Episode", "Pairs"]

DEFAULT_LENGTH = 1000


@dataclass
class Pairs:
    """One episode of each of N = 2P lanes, T steps of the longest; φ has n entries."""

    inputs: Tensor  # [T, N, n_0]
    valid: Tensor  # whether the lane's episode was still going, [T, N]
    held: Tensor  # Δ of each pair, [P, d, n]
    std: Tensor  # its deviation c at each output, [d]
    returns: Tensor  # [N], float64
    shown: NDArray[Any]  # all observations that count, [R, ...]


class Episode(Method[Pairs]):
    r"""Pairs of episodes of one seed, +Δ held through one and −Δ through the other.

    The noise on the output nodes is ξ_t = Δ φ_t, φ_t the n activities of the last hidden layer and
    a 1 for the bias (state-dependent exploration, Raffin et al. 2021). Δ ~ N(0, c²), c = σ/√n, σ
    being ``exploration_std``: nodes in −1…1 give noise of at most σ, however many they are. To
    first order the episode's loss L = −R changes by

        δ = (L₊ − L₋)/2 = Σ_t e_t·ξ_t = Σ_t e_tᵀ Δ φ_t,   so that   E[δ Δ / c²] = Σ_t e_tᵀ φ_t :

    δ Δ / c² is the output layer's gradient, without bias. The mean over the P pairs of an update,
    over the deviation of all their returns (step sizes then carry over from task to task) and times
    c, is half of what ARS takes for these weights:

        G = 1/(P s) Σ_p δ_p Δ_p / c.

    The layers below need an error for each step. Of all errors that explain G, those of minimum
    norm are used, ê_t = G C⁺ φ_t with C = mean φ_t φ_tᵀ: the true errors' projection on what is
    linear in φ. They travel down through the learned feedback. An error that is not linear in φ
    is invisible here.

    ``n_envs`` is N, twice the pairs of an update (even; more lanes, less noise). ``n_steps`` is the
    most steps of an episode, 1,000 by default. There are few updates, so a ``learning_rate`` of
    0.01 is more like it than the default. ``net_arch=()`` is a linear policy, as ARS's are.
    ``gamma``, ``batch_size``, ``n_epochs`` and ``probes`` have no meaning here. Statistics of
    observations are fixed while a batch is played, then take it in (as in ARS-V2). Recurrent
    policies are trained through the whole episode.

    Every step that is played counts. Lanes that the agent makes itself rest once their episode is
    over; those of a vector environment of your own play on until the longest episode ends, and
    their steps count too.

    Args:
        config: Hyperparameters.
        policy: What learns.
        learning_rate: Step size at the start.
        generator: Random numbers for seeds and noise.
    """

    shows_contexts = False
    has_critic = False
    normalizes_observation = True
    whole_episodes = True
    default_log_interval = 1

    def __init__(
        self,
        config: Config,
        policy: FeedbackPolicy,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        self.policy, self.generator = policy, generator
        self.n_steps = config.n_steps or DEFAULT_LENGTH
        self.descent = make_descent(config, policy.network, learning_rate, generator)
        self.exploration = Exploration(config, policy.action_space, policy.actions.dim).to(
            generator.device
        )
        self.nodes = policy.network.layers[-1].weight.shape[1] + 1
        self.optimizers = self.descent.optimizers
        self.memory = nn.ModuleDict({"rules": nn.ModuleList(self.descent.rules)})

    def begin(self, situation: Situation) -> None:
        """Nothing to add.

        Raises:
            ConfigError: The lanes can't stand in pairs.
        """
        lanes = len(situation.started)
        if lanes % 2:
            raise ConfigError(
                f"env has {lanes} lanes: expected an even number, since credit='episode' plays "
                "each seed on two"
            )

    # Playing ---------------------------------------------------------------------------------

    @torch.no_grad()
    def collect(
        self, lanes: PairedLanes, situation: Situation, remaining: float, on_step: OnStep
    ) -> Pairs | None:
        """One episode in each lane.

        Raises:
            PairingError: Lanes of one seed start differently.
        """
        policy, network = self.policy, self.policy.network
        std = self.exploration.current(remaining).exp() / math.sqrt(self.nodes)  # [d]
        held = std[:, None] * self._normal(lanes.contexts // 2, len(std), self.nodes)
        noise = both_signs(held)
        with one_episode_each(lanes.env) as rests:
            observation = lanes.reset(self._seeds(lanes.contexts // 2))
            check_same_start(observation)
            state = network.initial_state(lanes.contexts)
            going = np.ones(lanes.contexts, np.bool_)
            returns = np.zeros(lanes.contexts)
            inputs, valid, shown = [], [], []
            for t in range(self.n_steps):
                x = policy.to_input(observation)
                step = network.step(x, state)
                tried = step.prediction + torch.einsum("ldn,ln->ld", noise, last_nodes(step, x))
                check_finite(tried, lanes)
                inputs.append(x)
                valid.append(torch.as_tensor(going, device=x.device))
                shown.append(observation[going])
                played = lanes.step(policy.actions.action(tried))
                played = of_first_episodes(played, going, rests, last=t + 1 == self.n_steps)
                returns -= played.losses[:, 0]
                observation, state = played.observation, step.state
                if not on_step(played):
                    return None
                going = going & ~played.ended
                if not going.any():
                    break
        return Pairs(
            inputs=torch.stack(inputs),
            valid=torch.stack(valid),
            held=held,
            std=std,
            returns=torch.as_tensor(returns, device=held.device),
            shown=np.concatenate(shown),
        )

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def _seeds(self, pairs: int) -> list[int]:
        """A new seed for each pair, twice."""
        drawn = torch.randint(
            2**31, (pairs,), generator=self.generator, device=self.generator.device
        )
        return [int(seed) for seed in drawn.repeat_interleave(2)]

    # Learning --------------------------------------------------------------------------------

    def learn_from(self, batch: Pairs, update: int, measure: bool) -> dict[str, float]:
        """One step of W and B."""
        network, count = self.policy.network, int(batch.valid.sum())
        steps, nodes, valid = self._again(batch)
        gradient = output_gradient(batch.returns, batch.held, batch.std)
        errors = minimum_norm_errors(gradient, nodes, valid)
        gradients = network.carry_down(steps, errors / count)
        # The output layer has the whole of G, also what no error explains.
        gradients[-2:] = [gradient[:, :-1], gradient[:, -1]]
        self.descent.take(steps, gradients, update)
        self.policy.observe(batch.shown)
        logged = {
            "train/loss": -float(batch.returns.sum()) / count,
            "train/return_std": float(batch.returns.std()),
        }
        if measure:
            found = weight_alignment(network)
            logged.update({f"alignment/{name}": value for name, value in found.items()})
        return logged

    def _again(self, batch: Pairs) -> tuple[list[Step], Tensor, Tensor]:
        """Plays the inputs again, so that errors can be carried down.

        Without a state all steps are alike, and those that count are played as one.

        Returns:
            Steps, φ (T, N, n) and which of them count (T, N).
        """
        network = self.policy.network
        state = network.initial_state(batch.inputs.shape[1])
        inputs, valid = batch.inputs, batch.valid
        if state is None:
            inputs = inputs[valid][None]
            valid = valid[valid][None]
        started = torch.zeros_like(valid)
        started[0] = True
        steps = network.record_all(inputs, state, started)
        nodes = [last_nodes(step, x) for step, x in zip(steps, inputs, strict=True)]
        return steps, torch.stack(nodes).detach(), valid


def last_nodes(step: Step, x: Tensor) -> Tensor:
    """φ: what the output layer reads, and a 1 for its bias, shape (N, n)."""
    read: Sequence[Tensor] = step.hidden or [x]
    return F.pad(read[-1].flatten(1), (0, 1), value=1.0)


def check_same_start(observation: NDArray[Any]) -> None:
    """Raises PairingError where the two lanes of a pair start differently."""
    same = observation[0::2] == observation[1::2]
    if not same.all():
        pair = int((~same.reshape(len(same), -1).all(axis=1)).argmax())
        raise PairingError(
            f"lanes {2 * pair} and {2 * pair + 1} were reset with the same seed and start with "
            "different observations: the environment ignores its seed. credit='episode' needs one "
            "whose reset(seed=...) fixes the episode; credit='score' does not"
        )


def of_first_episodes(played: Played, going: NDArray[Any], rests: bool, last: bool) -> Played:
    """What a step was of the episodes still going; ``last`` cuts them off here.

    Args:
        played: The step of all lanes.
        going: Lanes still in their first episode, shape (N,).
        rests: Whether the others did not step.
        last: Whether this is the last step allowed.
    """
    return replace(
        played,
        losses=np.where(going[:, None], played.losses, 0.0),
        valid=played.valid & going,
        ended=going if last else played.ended & going,
        terminated=played.terminated & going,
        env_steps=int(going.sum()) if rests else played.env_steps,
    )
