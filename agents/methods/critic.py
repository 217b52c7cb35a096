"""Credit by a critic: networks that say what an action is worth, and how it would be worth more.

Two networks Q_j(x, a) are regressed on the reward plus the discounted value of what follows, and
the error at the policy's output is −∂Q₁/∂a: deterministic policy gradients (Silver et al. 2014),
with what makes them work (TD3; Fujimoto et al., arXiv 1802.09477). Each of the three networks
carries its errors through feedback weights of its own, and no gradient of the environment is asked
for. Steps are learned from again, out of a replay buffer.
"""

from __future__ import annotations

import copy

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError
from nodepert.agents.factory import make_descent
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.methods.action_gradients import (
    gradient_at_input,
    policy_error,
    smoothed,
    twin_returns,
)
from nodepert.agents.methods.base import INITIAL_OUTPUT_GAIN, Method, OnStep, check_finite
from nodepert.agents.methods.replay_buffer import (
    ReplayBuffer,
    Transitions,
    VectorStep,
)
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.networks import MLP
from nodepert.agents.policies import FeedbackPolicy

__all__ = ["Critic"]

DEFAULT_STD = 0.1


class Critic(Method[list[VectorStep]]):
    """Noisy actions, and minibatches of the regression of two critics whom the policy follows.

    Until ``learning_starts`` env steps are in the buffer, actions are uniform and nothing is
    learned. A model file holds what the buffer holds, so that a run can be resumed exactly.

    Args:
        config: Hyperparameters.
        policy: What learns.
        learning_rate: Step size at the start, of the policy and of both critics.
        generator: Random numbers for actions, minibatches and node noise.

    Raises:
        ConfigError: Actions are no Box, or the policy's network is no MLP.
    """

    shows_contexts = False
    has_critic = False  # of states; those of actions are made here
    init_gain = 3**-0.5  # as torch.nn.Linear's: what large critics say at first is slow to go
    default_log_interval = 1000

    def __init__(
        self,
        config: Config,
        policy: FeedbackPolicy,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        if not isinstance(policy.action_space, Box):
            raise ConfigError(
                f"credit='critic': action space {policy.action_space}; expected a Box, or another "
                "credit, such as 'value' or 'score'"
            )
        if not isinstance(policy.network, MLP):
            raise ConfigError(
                f"credit='critic': {type(policy).__name__} has no MLP, which critics read features "
                "and actions by; expected MlpPolicy, which reads images by features_extractor_class"
            )
        self.config, self.policy, self.generator = config, policy, generator
        self.n_steps = config.n_steps or policy.default_n_steps
        self.starts_after = config.learning_starts
        self.std = DEFAULT_STD if config.exploration_std is None else config.exploration_std
        # Actions start in the middle of their range.
        policy.network.layers[-1].weight.data.mul_(INITIAL_OUTPUT_GAIN)
        n_in, device = policy.network.n_in + policy.actions.dim, generator.device
        drawn = torch.Generator("cpu").manual_seed(generator.initial_seed() % 2**63 + 1)
        critics = [policy.make_network(n_in, 1, drawn).to(device) for _ in range(2)]
        self.actor_descent = make_descent(config, policy.network, learning_rate, generator)
        self.critic_descents = [
            make_descent(config, critic, learning_rate, generator) for critic in critics
        ]
        self.optimizers = {
            **self.actor_descent.optimizers,
            **{
                f"critic{j}_{name}": optimizer
                for j, descent in enumerate(self.critic_descents)
                for name, optimizer in descent.optimizers.items()
            },
        }
        self.buffer = ReplayBuffer(config.buffer_size)
        self.target = copy.deepcopy(policy.network).requires_grad_(False)
        self.target_critics = [copy.deepcopy(one).requires_grad_(False) for one in critics]
        self.memory = nn.ModuleDict(
            {
                "rules": nn.ModuleList(self.actor_descent.rules),
                "critics": nn.ModuleList(critics),
                "critic_rules": nn.ModuleList(
                    nn.ModuleList(descent.rules) for descent in self.critic_descents
                ),
                "target": self.target,
                "target_critics": nn.ModuleList(self.target_critics),
                "buffer": self.buffer,
            }
        )

    def begin(self, situation: Situation) -> None:
        """Nothing to add."""

    # Playing ---------------------------------------------------------------------------------

    @torch.no_grad()
    def collect(
        self, lanes: PairedLanes, situation: Situation, remaining: float, on_step: OnStep
    ) -> list[VectorStep] | None:
        """T steps in all lanes."""
        steps = []
        for _ in range(self.n_steps):
            observations = situation.observation
            said = self.policy.network.step(self.policy.observe(observations), None).prediction
            check_finite(said, lanes)
            tried = self._tried(said, remaining).cpu()
            played = lanes.step(self.policy.actions.action(tried))
            steps.append(VectorStep.of(observations, tried, played, lanes))
            situation.advance(played, None)
            if not on_step(played):
                return None
        return steps

    def _tried(self, said: Tensor, remaining: float) -> Tensor:
        """What is tried in place of the predictions; both (N, d)."""
        shape, device = said.shape, said.device
        if self.buffer.held < self.config.learning_starts:
            return 2 * torch.rand(shape, generator=self.generator, device=device) - 1
        std = self.std * (remaining if self.config.exploration_schedule == "linear" else 1)
        tried = said + std * torch.randn(shape, generator=self.generator, device=device)
        return tried.clamp(-1, 1) if self.policy.actions.clips else tried

    # Learning --------------------------------------------------------------------------------

    def learn_from(self, batch: list[VectorStep], update: int, measure: bool) -> dict[str, float]:
        """Takes the steps into the buffer, and learns from minibatches of it."""
        for step in batch:
            self.buffer.add(step)
        rewards = torch.cat([step.rewards[step.valid] for step in batch])
        logged = {"train/loss": -float(rewards.mean())} if len(rewards) else {}
        if measure:
            found = weight_alignment(self.policy.network)
            logged.update({f"alignment/{name}": value for name, value in found.items()})
        if self.buffer.held < self.config.learning_starts:
            return logged
        missed = 0.0
        minibatches = self.config.gradient_steps or sum(len(step.valid) for step in batch)
        for i in range(minibatches):
            drawn = self.buffer.draw(self.config.batch_size, self.generator)
            part = self.buffer.rows(drawn)
            x, valid = self.policy.to_input(part.observations), part.valid.to(self.generator.device)
            count = int(valid.sum())
            if not count:
                continue
            missed += self._step_critics(x, part, valid, count, update)
            if (update * minibatches + i) % self.config.policy_delay == 0:
                self._step_actor(x, valid, count, update)
                self._follow()
        logged["train/value_loss"] = missed / minibatches
        return logged

    def _step_critics(
        self, x: Tensor, part: Transitions, valid: Tensor, count: int, update: int
    ) -> float:
        """One step of both critics on ½ (Q − y)²; returns their mean squared error."""
        targets = self._targets(part)
        joint = torch.cat([x, part.actions.to(x)], dim=1)
        missed = 0.0
        for descent in self.critic_descents:
            step = descent.network.record(joint, None, started(joint))
            error = (step.prediction.detach() - targets[:, None]) * valid[:, None]
            descent.step([step], error[None], count, update)
            missed += float(error.square().sum() / count) / 2
        return missed

    @torch.no_grad()
    def _targets(self, part: Transitions) -> Tensor:
        """The target y of each transition, shape (R,)."""
        config, device = self.config, self.generator.device
        rewards, terminated = part.rewards.to(device), part.terminated.to(device)
        if part.terminated.all() or config.gamma == 0:
            return rewards
        shown = self.policy.to_input(self.buffer.following(part.rows))
        actions = smoothed(
            self.target.step(shown, None).prediction,
            config.target_policy_noise,
            config.target_noise_clip,
            self.policy.actions.clips,
            self.generator,
        )
        joint = torch.cat([shown, actions], dim=1)
        following = torch.cat([q.step(joint, None).prediction for q in self.target_critics], dim=1)
        return twin_returns(rewards, terminated, following, config.gamma)

    def _step_actor(self, x: Tensor, valid: Tensor, count: int, update: int) -> None:
        """One step of the policy towards what the first critic thinks more of."""
        step = self.policy.network.record(x, None, started(x))
        said = step.prediction.detach()
        critic = self.critic_descents[0].network
        gradient = gradient_at_input(critic, torch.cat([x, said], dim=1))[:, -said.shape[1] :]
        error = policy_error(gradient, said, self.policy.actions.clips) * valid[:, None]
        self.actor_descent.step([step], error[None], count, update)

    @torch.no_grad()
    def _follow(self) -> None:
        """The target networks come a little closer to the others."""
        networks = [self.policy.network, *(one.network for one in self.critic_descents)]
        for target, network in zip([self.target, *self.target_critics], networks, strict=True):
            for slow, weight in zip(target.forward_weights, network.forward_weights, strict=True):
                slow.lerp_(weight, self.config.tau)


def started(x: Tensor) -> Tensor:
    """No episode that starts within a minibatch matters to a network without a state."""
    return torch.zeros(len(x), dtype=torch.bool, device=x.device)
