"""Credit by the score of noisy actions: any environment, no lanes of one seed.

Each lane plays a + σξ, noise on the output nodes. A critic says which actions turned out better
than expected, and the clipped surrogate of PPO (Schulman et al. 2017) lets each rollout be learned
from more than once. Its gradient at the output is closed form; below, errors travel through learned
feedback weights, in the policy and in the critic.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError
from nodepert.agents.factory import make_descent
from nodepert.agents.lanes.rollout import PairedLanes
from nodepert.agents.lanes.situation import Situation
from nodepert.agents.methods.advantages import clipped_surrogate, generalised_advantages
from nodepert.agents.methods.base import INITIAL_OUTPUT_GAIN, Method, OnStep, check_finite
from nodepert.agents.methods.exploration import Exploration
from nodepert.agents.methods.rollout_buffer import Rollout, Sequences, Trace
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.networks import Network, predictions, restarted
from nodepert.agents.policies import FeedbackPolicy
from nodepert.agents.statistics import RunningStatistics

__all__ = ["Score"]

DEFAULT_STEPS = 128
DEFAULT_MAX_GRAD_NORM = 0.5


class Score(Method[Rollout]):
    """Rollouts of noisy actions, and minibatches of the clipped surrogate.

    Args:
        config: Hyperparameters.
        policy: What learns, with a critic.
        learning_rate: Step size at the start.
        generator: Random numbers for the noise.

    Raises:
        ConfigError: ``n_steps`` can't be cut into sequences.
    """

    shows_contexts = False
    has_critic = True
    normalizes_observation = True
    default_log_interval = 1

    def __init__(
        self,
        config: Config,
        policy: FeedbackPolicy,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        if config.max_grad_norm is None:
            config = replace(config, max_grad_norm=DEFAULT_MAX_GRAD_NORM)
        self.config, self.policy, self.generator = config, policy, generator
        assert policy.critic is not None
        self.critic: Network = policy.critic
        # Actions start as noise around the middle, as in Stable-Baselines3's PPO.
        policy.network.layers[-1].weight.data.mul_(INITIAL_OUTPUT_GAIN)
        self.n_steps = config.n_steps or DEFAULT_STEPS
        recurrent = policy.network.initial_state(1) is not None
        self.sequence_length = config.sequence_length if recurrent else 1
        if self.n_steps % self.sequence_length:
            raise ConfigError(
                f"n_steps={self.n_steps}: expected a multiple of sequence_length="
                f"{self.sequence_length}"
            )
        self.actor_descent = make_descent(config, policy.network, learning_rate, generator)
        self.critic_descent = make_descent(config, self.critic, learning_rate, generator)
        self.exploration = Exploration(config, policy.action_space, policy.actions.dim).to(
            generator.device
        )
        if config.exploration_schedule == "learned":
            self.actor_descent.optimizer.add_param_group(
                {"params": [self.exploration.log_std], "weight_decay": 0.0}
            )
        self.optimizers = {
            **self.actor_descent.optimizers,
            **{f"critic_{k}": v for k, v in self.critic_descent.optimizers.items()},
        }
        self.memory = nn.ModuleDict(
            {
                "rules": nn.ModuleList(self.actor_descent.rules),
                "critic_rules": nn.ModuleList(self.critic_descent.rules),
                "exploration": self.exploration,
            }
        )
        self.reward_statistics: RunningStatistics | None = None
        if config.normalize_reward:
            self.reward_statistics = RunningStatistics(1).to(generator.device)
            self.memory["reward_statistics"] = self.reward_statistics

    # Playing ---------------------------------------------------------------------------------

    def begin(self, situation: Situation) -> None:
        """A blank critic, and nothing earned yet."""
        lanes = len(situation.started)
        situation.critic_state = self.critic.initial_state(lanes)
        situation.discounted = torch.zeros(
            lanes, dtype=torch.float64, device=situation.started.device
        )

    @torch.no_grad()
    def collect(
        self, lanes: PairedLanes, situation: Situation, remaining: float, on_step: OnStep
    ) -> Rollout | None:
        """T steps in all lanes."""
        policy, log_std = self.policy, self.exploration.current(remaining)
        shape = (self.n_steps, len(situation.started), policy.actions.dim)
        noise = torch.randn(shape, generator=self.generator, device=self.generator.device)
        offsets = log_std.exp() * noise
        trace = Trace()
        for offset in offsets:
            x = policy.observe(situation.observation)
            started, state = situation.started, restarted(situation.state, situation.started)
            step = policy.network.step(x, state)
            tried = (step.prediction + offset).cpu()
            check_finite(tried, lanes)
            played = lanes.step(policy.actions.action(tried))
            cut_off = played.ended & ~played.terminated
            last = policy.to_input(lanes.last(played)) if cut_off.any() else None
            trace.add(x, step.prediction, state, started, played, last)
            situation.advance(played, step.state)
            if not on_step(played):
                return None
        end = policy.to_input(situation.observation)
        return self._rollout(trace, noise, log_std, end, situation)

    def _rollout(
        self, trace: Trace, noise: Tensor, log_std: Tensor, end: Tensor, situation: Situation
    ) -> Rollout:
        """Advantages and returns of what was played; ``end`` is what the next step begins with."""
        inputs, started = torch.stack(trace.inputs), torch.stack(trace.started)
        values, before, after = self._judge(inputs, started, situation.critic_state)
        situation.critic_state = None if after is None else after[-1]
        final = self._value(end, restarted(situation.critic_state, situation.started))
        next_values = torch.cat([values[1:], final[None]])
        ended, cut_off = trace.flags("ended"), trace.flags("cut_off")
        next_values.masked_fill_(ended, 0.0)
        for t, last in trace.last.items():
            value = self._value(last, None if after is None else after[t])
            next_values[t] = torch.where(cut_off[t], value, next_values[t])
        rewards = self._scaled(trace, situation)
        advantages = generalised_advantages(
            rewards, values, next_values, ended, self.config.gamma, self.config.gae_lambda
        )
        return Rollout(
            inputs=inputs,
            predictions=torch.stack(trace.predictions),
            noise=noise,
            started=started,
            valid=trace.flags("valid"),
            advantages=advantages,
            returns=advantages + values,
            states=torch.stack(trace.states) if trace.states else None,
            critic_states=before,
            log_std=log_std,
            mean_reward=float(np.mean(trace.rewards)),
        )

    def _judge(
        self, inputs: Tensor, started: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """V of every step, (T, N), and a recurrent critic's state before and after it."""
        if state is None:
            return self._value(inputs.flatten(0, 1), None).view(started.shape), None, None
        values, before, after = [], [], []
        for x, start in zip(inputs, started, strict=True):
            before.append(restarted(state, start))
            step = self.critic.step(x, before[-1])
            values.append(step.prediction[:, 0])
            after.append(state := step.state)
        return torch.stack(values), torch.stack(before), torch.stack(after)  # type: ignore[arg-type]

    def _value(self, x: Tensor, state: Tensor | None) -> Tensor:
        """V of inputs (R, n_0), shape (R,)."""
        return self.critic.step(x, state).prediction[:, 0]

    def _scaled(self, trace: Trace, situation: Situation) -> Tensor:
        """The rewards over the running deviation of their discounted sum, shape (T, N)."""
        assert situation.discounted is not None
        rewards = torch.from_numpy(np.stack(trace.rewards)).to(situation.discounted.device)
        if self.reward_statistics is not None:
            sums = []
            for reward, ended in zip(rewards, trace.flags("ended"), strict=True):
                sums.append(situation.discounted * self.config.gamma + reward)
                situation.discounted = sums[-1].masked_fill(ended, 0.0)
            valid = trace.flags("valid")
            self.reward_statistics.update(torch.stack(sums)[valid][:, None])
            rewards = self.reward_statistics.scaled(rewards)
        return rewards.to(torch.get_default_dtype())

    # Learning --------------------------------------------------------------------------------

    def learn_from(self, batch: Rollout, update: int, measure: bool) -> dict[str, float]:
        """All epochs of one rollout."""
        sequences = batch.sequences(self.sequence_length)
        size = max(self.config.batch_size // self.sequence_length, 1)
        cut: list[float] = []
        missed: list[float] = []
        for _ in range(self.config.n_epochs):
            order = torch.randperm(
                len(sequences), generator=self.generator, device=self.generator.device
            )
            for which in order.split(size):
                part = sequences.part(which)
                count = int(part.valid.sum())
                if count:
                    cut.append(self._step_actor(part, batch.log_std, count, update))
                    missed.append(self._step_critic(part, count, update))
        logged = {
            "train/loss": -batch.mean_reward,
            "train/clip_fraction": sum(cut) / max(len(cut), 1),
            "train/value_loss": sum(missed) / max(len(missed), 1),
            "train/std": float(self.exploration.log_std.exp().mean()),
        }
        if measure:
            found = weight_alignment(self.policy.network)
            logged.update({f"alignment/{name}": value for name, value in found.items()})
        return logged

    def _step_actor(self, part: Sequences, log_std: Tensor, count: int, update: int) -> float:
        """One step of the policy; returns the share of steps whose gradient was cut."""
        steps = self.policy.network.record_all(part.inputs, part.states, part.started)
        moved = predictions(steps) - part.predictions
        advantages = part.advantages
        if self.config.normalize_advantage and count > 1:
            used = advantages[part.valid]
            advantages = (advantages - used.mean()) / (used.std() + 1e-8)
        learned = self.config.exploration_schedule == "learned"
        now = self.exploration.log_std.detach() if learned else log_std
        error, of_std, cut = clipped_surrogate(
            part.noise.flatten(0, 1),
            moved.flatten(0, 1),
            now,
            log_std,
            advantages.flatten(),
            self.config.clip_range,
        )
        valid = part.valid.flatten()[:, None]
        if learned:
            self.exploration.log_std.grad = (of_std * valid).sum(0) / count
        self.actor_descent.step(steps, (error * valid).view_as(moved), count, update)
        return float(cut[valid[:, 0]].float().mean())

    def _step_critic(self, part: Sequences, count: int, update: int) -> float:
        """One step of the critic on ½ (V − return)²; returns its mean squared error."""
        steps = self.critic.record_all(part.inputs, part.critic_states, part.started)
        error = (predictions(steps) - part.returns[:, :, None]) * part.valid[:, :, None]
        self.critic_descent.step(steps, error, count, update)
        return float(error.square().sum() / count)
