"""Hyperparameters of learning what actions are worth, from a replay buffer."""

from __future__ import annotations

from dataclasses import dataclass

from nodepert.agents.config.checks import check_number, check_positive

__all__ = ["ValueFields"]


@dataclass(frozen=True)
class ValueFields:
    """Of credit="value" and "critic", under the names that Stable-Baselines3 has for them."""

    buffer_size: int = 50_000
    """Env steps that can be learned from again; with replays of probes, windows of a context."""
    gradient_steps: int | None = None
    """Minibatches an update. Default: in critic mode one for each env step, in value mode one for
    each step of all lanes together. In value mode the first has what was just played."""
    target_update_interval: int = 10_000
    """In value mode, env steps from one copy of the network into the target network to the next."""
    temperature: float = 0.1
    """Actions are tried with probability ∝ exp(Q / temperature)."""

    def check_value(self) -> None:
        """Raises ConfigError where a field is not valid."""
        for name in ("buffer_size", "gradient_steps", "target_update_interval"):
            check_number(self, name, int, 1)
        check_positive(self, "temperature", 0.1)
