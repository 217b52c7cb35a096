"""Credit by action values: the network says what each action is worth, and is told of one.

The outputs are Q(x, ·), regressed on the reward, plus the discounted value of what follows by a
target network (Watkins 1989; Mnih et al. 2015). The error at the output is known exactly: it is
Q_a − y at the action taken and 0 at all others. Below, it travels through learned feedback weights:
no gradient of the environment, and no transposed forward weights. Steps are learned from again, out
of a replay buffer.
"""

from __future__ import annotations

import copy

import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError
from nodepert.agents.factory import make_descent
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.methods.action_values import one_step_returns, softmax_choice, value_error
from nodepert.agents.methods.base import Method, OnStep, check_finite
from nodepert.agents.methods.replay_buffer import ReplayBuffer, Transitions, VectorStep
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.policies import FeedbackPolicy

__all__ = ["Value"]


class Value(Method[list[VectorStep]]):
    """Steps of softmax exploration, and minibatches of the regression of action values.

    The first minibatch of an update has the steps just played, filled up from the buffer to
    ``batch_size`` (Zhang & Sutton 2017); the others are drawn from the buffer. A model file holds
    what the buffer holds, so that a run can be resumed exactly: 3 kB a step on MNIST-v0, 164 MB for
    the default ``buffer_size``.

    Args:
        config: Hyperparameters.
        policy: What learns.
        learning_rate: Step size at the start.
        generator: Random numbers for actions, minibatches and node noise.

    Raises:
        ConfigError: Actions are not Discrete, or the policy is recurrent.
    """

    shows_contexts = False
    has_critic = False
    default_log_interval = 100

    def __init__(
        self,
        config: Config,
        policy: FeedbackPolicy,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        if not isinstance(policy.action_space, Discrete):
            raise ConfigError(
                f"credit='value': action space {policy.action_space}; expected a Discrete one, or "
                "another credit, such as 'score'"
            )
        if policy.network.initial_state(1) is not None:
            raise ConfigError(
                f"credit='value': {type(policy).__name__} is recurrent, and single steps are "
                "learned from; expected MlpPolicy or CnnPolicy, or another credit"
            )
        self.config, self.policy, self.generator = config, policy, generator
        self.start = int(policy.action_space.start)
        self.n_steps = config.n_steps or policy.default_n_steps
        self.descent = make_descent(config, policy.network, learning_rate, generator)
        self.optimizers = self.descent.optimizers
        self.buffer = ReplayBuffer(config.buffer_size)
        self.target = copy.deepcopy(policy.network).requires_grad_(False)
        self.memory = nn.ModuleDict(
            {
                "rules": nn.ModuleList(self.descent.rules),
                "target": self.target,
                "buffer": self.buffer,
            }
        )

    def begin(self, situation: Situation) -> None:
        """Nothing to add."""

    @torch.no_grad()
    def collect(
        self, lanes: PairedLanes, situation: Situation, remaining: float, on_step: OnStep
    ) -> list[VectorStep] | None:
        """T steps in all lanes."""
        steps = []
        for _ in range(self.n_steps):
            observations = situation.observation
            values = self.policy.network.step(self.policy.observe(observations), None).prediction
            check_finite(values, lanes)
            actions = softmax_choice(values, self.config.temperature, self.generator).cpu()
            played = lanes.step(actions.numpy() + self.start)
            steps.append(VectorStep.of(observations, actions, played, lanes))
            situation.advance(played, None)
            if not on_step(played):
                return None
        return steps

    def learn_from(self, batch: list[VectorStep], update: int, measure: bool) -> dict[str, float]:
        """Takes the steps into the buffer, and learns from minibatches of it."""
        logged: dict[str, float] = {}
        if measure:
            found = weight_alignment(self.policy.network)
            logged.update({f"alignment/{name}": value for name, value in found.items()})
        played = torch.cat([self.buffer.add(step) for step in batch])
        size = self.config.batch_size
        missed = []
        for i in range(self.config.gradient_steps or len(batch)):
            drawn = self.buffer.draw(size if i else max(size - len(played), 0), self.generator)
            rows = drawn if i else torch.cat([played, drawn])
            missed.append(self._step(self.buffer.rows(rows), update))
        if update % self._updates_per_target(len(played)) == 0:
            self.target.load_state_dict(self.policy.network.state_dict())
        logged["train/value_loss"] = sum(missed) / len(missed)
        rewards = torch.cat([step.rewards[step.valid] for step in batch])
        if len(rewards):
            logged["train/loss"] = -float(rewards.mean())
        return logged

    def _step(self, part: Transitions, update: int) -> float:
        """One step on ½ (Q_a − y)²; returns the mean squared error."""
        count = int(part.valid.sum())
        if not count:
            return 0.0
        x, targets = self.policy.to_input(part.observations), self._targets(part)
        started = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        step = self.policy.network.record(x, None, started)
        error = value_error(step.prediction.detach(), part.actions.to(x.device), targets)
        error *= part.valid.to(x.device)[:, None]
        self.descent.step([step], error[None], count, update)
        return float(error.square().sum() / count)

    @torch.no_grad()
    def _targets(self, part: Transitions) -> Tensor:
        """The target y of each transition, shape (R,)."""
        device = self.generator.device
        rewards, terminated = part.rewards.to(device), part.terminated.to(device)
        if part.terminated.all() or self.config.gamma == 0:
            return rewards
        shown = self.policy.to_input(self.buffer.following(part.rows))
        following = self.target.step(shown, None).prediction
        return one_step_returns(rewards, terminated, following, self.config.gamma)

    def _updates_per_target(self, env_steps: int) -> int:
        """Updates from one target network to the next, given the env steps of one."""
        return max(self.config.target_update_interval // env_steps, 1)
