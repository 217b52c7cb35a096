"""Hyperparameters that were found to work, by environment and name: see ``presets.yml``."""

from __future__ import annotations

import json
import pathlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from nodepert.agents.config import Config
from nodepert.agents.errors import ConfigError

__all__ = ["PRESET_FILE", "Preset", "preset_for", "preset_with", "presets"]

PRESET_FILE = pathlib.Path(__file__).with_name("presets.yml")
"""In the format of rl_zoo3's hyperparameter files."""


@dataclass(frozen=True)
class Preset:
    """A policy, its hyperparameters and a budget."""

    policy: str
    config: Config
    steps: int
    """Env steps, every probe counted."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment that it is for."""

    @property
    def env_pairs(self) -> tuple[str, ...]:
        """These arguments as ``--env-kwarg`` takes them, such as ``"discrete=true"``."""
        return tuple(f"{key}={json.dumps(value)}" for key, value in self.env_kwargs.items())


def read_preset(settings: dict[str, Any]) -> Preset:
    """One entry of the file."""
    fields: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()
    }
    policy, steps = fields.pop("policy"), fields.pop("n_timesteps")
    env_kwargs = fields.pop("env_kwargs", {})
    return Preset(policy, Config(**fields), steps, env_kwargs)


@cache
def presets() -> dict[str, dict[str, Preset]]:
    """All presets: environment id, then name."""
    table: dict[str, dict[str, Preset]] = {}
    for key, settings in yaml.safe_load(PRESET_FILE.read_text("utf-8")).items():
        env_id, _, name = key.partition("/")
        table.setdefault(env_id, {})[name or "default"] = read_preset(settings)
    return table


def preset_for(env_id: str, name: str = "default") -> Preset:
    """The preset of an environment; a general one where it has none of that name.

    Args:
        env_id: Such as ``"MNIST-v0"``, with or without a module before it.
        name: Which of its presets.

    Raises:
        ConfigError: There is none of that name, either.
    """
    table = presets()
    own = table.get(env_id.split(":")[-1], {})
    of_env = own | table["default"] | own  # its own come first, and win
    if name not in of_env:
        raise ConfigError(f"preset={name!r}: {env_id} has {', '.join(of_env)}")
    return of_env[name]


def preset_with(env_id: str, env_kwargs: dict[str, Any]) -> Preset:
    """The preset made for these arguments of an environment; its default where there is none.

    Args:
        env_id: See :func:`preset_for`.
        env_kwargs: Such as ``{"discrete": True}``; others may stand beside them.
    """
    of_env = presets().get(env_id.split(":")[-1], {})
    for preset in of_env.values():
        if preset.env_kwargs and preset.env_kwargs.items() <= env_kwargs.items():
            return preset
    return preset_for(env_id)
