"""Hyperparameters that were found to work, by environment and name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError

__all__ = ["PRESETS", "Preset", "preset_for"]


@dataclass(frozen=True)
class Preset:
    """A policy, its hyperparameters and a budget."""

    policy: str
    config: Config
    steps: int
    """Env steps, every probe counted."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment that it is for."""


# Chosen on the validation split, trained without it (see examples/benchmarks/reach.py).
PRESETS: dict[str, dict[str, Preset]] = {
    "MNIST-v0": {
        "default": Preset("MlpPolicy", Config(learning_rate=1.5e-3), 1_200_000),
        # 784-50-20-10 sigmoid, MSE, batch 32: the network of arXiv 1906.00889, figure 2.
        "paper": Preset(
            "MlpPolicy",
            Config(net_arch=(50, 20), activation="sigmoid", batch_size=32, learning_rate=4e-3),
            1_200_000,
        ),
        "cnn": Preset("CnnPolicy", Config(learning_rate=2e-3), 2_400_000),
        # Name the digit, and learn whether it was right (see examples/benchmarks/value_mode.py).
        "discrete": Preset(
            "MlpPolicy",
            Config(credit="value", n_envs=64, gradient_steps=10),
            200_000,
            {"discrete": True},
        ),
    },
    "MNISTAutoencoder-v0": {
        "default": Preset(
            "MlpPolicy",
            Config(
                net_arch=(200, 2, 200),
                activation=("tanh", "identity", "tanh"),
                batch_size=32,
                learning_rate=3e-3,
                lr_schedule="linear",
                error_model=True,
                residual="minimum_norm",
            ),
            720_000,
        ),
    },
    "DelayedXOR-v0": {
        "default": Preset("RnnPolicy", Config(batch_size=20, learning_rate=2e-3), 320_000),
    },
}

FALLBACK = Preset("MlpPolicy", Config(), 200_000)


def preset_for(env_id: str, name: str = "default") -> Preset:
    """The preset of an environment; a general one where it has none.

    Args:
        env_id: Such as ``"MNIST-v0"``, with or without a module before it.
        name: Which of its presets.

    Raises:
        ConfigError: It has no preset of that name.
    """
    presets = PRESETS.get(env_id.split(":")[-1], {"default": FALLBACK})
    if name not in presets:
        raise ConfigError(f"preset={name!r}: {env_id} has {', '.join(presets)}")
    return presets[name]
