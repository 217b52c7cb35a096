"""Hyperparameters of learning from a critic of actions."""

from __future__ import annotations

from dataclasses import dataclass

from nodepert.agents.config.checks import check_number, check_positive

__all__ = ["CriticFields"]


@dataclass(frozen=True)
class CriticFields:
    """Of credit="critic", under the names that Stable-Baselines3's TD3 has for them."""

    learning_starts: int = 100
    """Env steps of uniform actions before anything is learned, where credit is critic."""
    tau: float = 0.005
    """By how much the target networks follow at each step of the policy, where credit is critic."""
    policy_delay: int = 2
    """Steps of the critics from one of the policy to the next."""
    target_policy_noise: float = 0.2
    """σ of the noise on actions that the target critics are asked about."""
    target_noise_clip: float = 0.5
    """That noise is clipped there."""

    def check_critic(self) -> None:
        """Raises ConfigError where a field is not valid."""
        check_number(self, "learning_starts", int, 0)
        check_positive(self, "tau", 0.005, 1.0)
        check_number(self, "policy_delay", int, 1)
        check_number(self, "target_policy_noise", float, 0.0)
        check_number(self, "target_noise_clip", float, 0.0)
