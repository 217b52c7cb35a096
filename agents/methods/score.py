"""Credit by the score of noisy actions: any environment, no lanes of one seed.

Each lane plays a + σξ, noise on the output nodes. A critic says which actions turned out better
than expected, and the clipped surrogate of PPO (Schulman et al. 2017) lets each rollout be learned
from more than once. Its gradient at the output is closed form; below, errors travel through learned
feedback weights, in the policy and in the critic.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from nodepert.agents.advantages import clipped_surrogate, generalised_advantages
from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError, NonFiniteError
from nodepert.agents.exploration import Exploration
from nodepert.agents.factory import make_descent
from nodepert.agents.methods.base import Method, OnStep
from nodepert.agents.metrics import weight_alignment
from nodepert.agents.networks import Network, Step, restarted
from nodepert.agents.policies import FeedbackPolicy
from nodepert.agents.rollout import PairedLanes, Played
from nodepert.agents.rollout_buffer import Rollout, Sequences
from nodepert.agents.statistics import RunningStatistics
from nodepert.agents.window import Situation

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
        std = log_std.exp()
        rows: dict[str, list[Tensor]] = {name: [] for name in (
            "inputs", "predictions", "noise", "started", "valid", "states", "critic_states",
            "values", "next_values", "rewards", "ended")}  # fmt: skip
        earned = 0.0
        for _ in range(self.n_steps):
            x = policy.observe(situation.observation)
            started = situation.started
            state = restarted(situation.state, started)
            critic_state = restarted(situation.critic_state, started)
            step, judged = policy.network.step(x, state), self.critic.step(x, critic_state)
            noise = torch.randn(
                step.prediction.shape, generator=self.generator, device=self.generator.device
            )
            tried = step.prediction + std * noise
            check_finite(tried, lanes)
            played = lanes.step(policy.actions.action(tried))
            ended = torch.as_tensor(played.ended, device=x.device)
            valid = torch.as_tensor(played.valid, device=x.device)
            for name, row in (
                ("inputs", x),
                ("predictions", step.prediction),
                ("noise", noise),
                ("started", started),
                ("valid", valid),
                ("values", judged.prediction[:, 0]),
                ("rewards", self._scaled_reward(played, situation)),
                ("next_values", self._value_of_end(lanes, played, judged.state)),
                ("ended", ended),
            ):
                rows[name].append(row)
            if state is not None and critic_state is not None:
                rows["states"].append(state)
                rows["critic_states"].append(critic_state)
            earned -= float(played.losses.mean())
            situation.observation = played.observation
            situation.started = ended | ~valid
            situation.state, situation.critic_state = step.state, judged.state
            if not on_step(played):
                return None
        last = self.critic.step(
            policy.to_input(situation.observation),
            restarted(situation.critic_state, situation.started),
        ).prediction[:, 0]
        return self._rollout({k: torch.stack(v) for k, v in rows.items() if v}, last, log_std,
                             earned / self.n_steps)  # fmt: skip

    def _scaled_reward(self, played: Played, situation: Situation) -> Tensor:
        """The reward over the running deviation of its discounted sum, shape (N,)."""
        assert situation.discounted is not None
        rewards = torch.as_tensor(-played.losses[:, 0], device=situation.discounted.device)
        if self.reward_statistics is None:
            return rewards.to(torch.get_default_dtype())
        valid = torch.as_tensor(played.valid, device=rewards.device)
        situation.discounted = situation.discounted * self.config.gamma + rewards
        self.reward_statistics.update(situation.discounted[valid][:, None])
        scaled = self.reward_statistics.scaled(rewards[:, None])[:, 0]
        ended = torch.as_tensor(played.ended, device=rewards.device)
        situation.discounted = situation.discounted.masked_fill(ended, 0.0)
        return scaled.to(torch.get_default_dtype())

    def _value_of_end(self, lanes: PairedLanes, played: Played, state: Tensor | None) -> Tensor:
        """V of the last observation where a time limit has cut the episode off, else 0, (N,)."""
        values = torch.zeros(len(played.ended), device=self.generator.device)
        cut = torch.as_tensor(played.ended & ~played.terminated, device=values.device)
        if not cut.any():
            return values
        x = self.policy.to_input(lanes.last(played))
        return torch.where(cut, self.critic.step(x, state).prediction[:, 0], values)

    def _rollout(
        self, rows: dict[str, Tensor], last: Tensor, log_std: Tensor, mean_reward: float
    ) -> Rollout:
        """Advantages and returns of what was played; ``last`` is V after the last step, (N,)."""
        values, ended = rows.pop("values"), rows.pop("ended")
        following = torch.cat([values[1:], last[None]])
        next_values = torch.where(ended, rows.pop("next_values"), following)
        advantages = generalised_advantages(
            rows.pop("rewards"),
            values,
            next_values,
            ended,
            self.config.gamma,
            self.config.gae_lambda,
        )
        return Rollout(
            **{"states": None, "critic_states": None, **rows},  # type: ignore[arg-type]
            log_std=log_std,
            advantages=advantages,
            returns=advantages + values,
            mean_reward=mean_reward,
        )

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
        steps = record(self.policy.network, part.inputs, part.states, part.started)
        moved = torch.stack([step.prediction for step in steps]) - part.predictions
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
        steps = record(self.critic, part.inputs, part.critic_states, part.started)
        values = torch.stack([step.prediction for step in steps])  # [L, S, 1]
        error = (values - part.returns[:, :, None]) * part.valid[:, :, None]
        self.critic_descent.step(steps, error, count, update)
        return float(error.square().sum() / count)


def record(network: Network, inputs: Tensor, state: Tensor | None, started: Tensor) -> list[Step]:
    """Plays sequences again, so that errors can be carried down."""
    steps = []
    for x, start in zip(inputs, started, strict=True):
        steps.append(network.record(x, state, start))
        state = steps[-1].state
    return steps


def check_finite(prediction: Tensor, lanes: PairedLanes) -> None:
    """Raises NonFiniteError where a prediction is not finite."""
    lost = ~torch.isfinite(prediction).all(dim=1)
    if lost.any():
        raise NonFiniteError(
            f"the prediction for lane {int(lost.int().argmax())} is not finite after env step "
            f"{lanes.env_steps}: the weights have diverged or the observation is not finite; try a "
            "smaller learning_rate"
        )
