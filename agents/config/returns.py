"""Hyperparameters of the credits that learn from an episode's future rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nodepert.agents.config.checks import check_choice, check_flag, check_number
from nodepert.agents.errors import ConfigError

__all__ = ["ReturnFields", "ScoreFields"]

ExplorationSchedule = Literal["constant", "linear", "learned"]


@dataclass(frozen=True)
class ReturnFields:
    """What score, value, critic and episode mode share."""

    n_envs: int = 8
    """Lanes that a single environment becomes, where credit is score, value, critic or
    episode."""
    gamma: float = 0.99
    """Discount of future rewards, where credit is score, value or critic."""
    normalize_observation: bool | None = None
    """Shift and scale observations by their running mean and deviation. Default: True in score and
    episode mode on Box spaces, unless the environment is wrapped in VecNormalize."""

    def check_returns(self) -> None:
        """Raises ConfigError where a field is not valid."""
        check_number(self, "n_envs", int, 1)
        check_number(self, "gamma", float, 0.0, 1.0)
        if self.normalize_observation is not None:
            check_flag(self, "normalize_observation")


@dataclass(frozen=True)
class ScoreFields:
    """Of credit="score", under the names that Stable-Baselines3's PPO has for them."""

    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    n_epochs: int = 10
    """How often each rollout is learned from, in minibatches of batch_size steps."""
    clip_range: float = 0.2
    """The surrogate's gradient is cut where the ratio of probabilities is further from 1."""
    normalize_advantage: bool = True
    """Shift and scale the advantages of each minibatch."""
    normalize_reward: bool = True
    """Scale rewards by the running deviation of their discounted sum, unless the environment is
    wrapped in VecNormalize."""
    exploration_std: float | None = None
    """σ of the noise on the output nodes, in prediction units (half the range of a Box). Default:
    1 for discrete actions, 0.6 for a Box, 0.1 in critic mode."""
    exploration_schedule: ExplorationSchedule = "constant"
    """How σ goes: constant, linear to 0 over the run, or learned as one number for each output."""
    sequence_length: int = 16
    """Span of truncated backpropagation through time of recurrent policies in score mode; n_steps
    is a multiple of it."""

    def check_score(self) -> None:
        """Raises ConfigError where a field is not valid."""
        check_number(self, "gae_lambda", float, 0.0, 1.0)
        check_number(self, "clip_range", float, 0.0)
        check_number(self, "n_epochs", int, 1)
        check_number(self, "sequence_length", int, 1)
        check_number(self, "exploration_std", float, 0.0)
        for name in ("normalize_advantage", "normalize_reward"):
            check_flag(self, name)
        check_choice(self, "exploration_schedule", get_args(ExplorationSchedule))
        if self.exploration_std == 0:
            raise ConfigError("exploration_std=0: expected a positive number")
