"""Hyperparameters in rl_zoo3's format: read as data, never evaluated."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from functools import cache
from reprlib import repr as shortened
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
)
from torch import nn

from nodepert.agents.compare.rivals import preset_of
from nodepert.agents.errors import ConfigError
from nodepert.agents.files.plain_yaml import read_yaml

__all__ = ["NOT_THE_ALGORITHMS", "Linear", "Table", "arguments", "entry", "packaged", "read_table"]

Entry = dict[str, Any]
Table = dict[str, dict[str, Entry]]
"""Agent → environment id → settings."""

NOT_THE_ALGORITHMS = ("n_envs", "normalize", "n_timesteps", "source")
"""Settings that its constructor does not take."""
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf", "delta_std")
NAMED: dict[str, tuple[type, ...]] = {
    "activation_fn": (nn.ReLU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.SiLU),
    "optimizer_class": (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD),
}
"""Policy settings that are classes, and the classes that a file can name."""
NOISES: dict[str, type[NormalActionNoise] | type[OrnsteinUhlenbeckActionNoise]] = {
    "normal": NormalActionNoise,
    "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise,
}


@dataclass(frozen=True)
class Linear:
    """A schedule from ``start`` to 0, which rl_zoo3 writes as ``lin_START``."""

    start: float

    def __call__(self, remaining: float) -> float:
        """The value where ``remaining`` (1 to 0) of the run is left."""
        return self.start * remaining


def read_table(path: pathlib.Path) -> Table:
    """A file like ``hyperparameters.yml`` of this folder.

    Raises:
        ConfigError: It can't be read, or is not agent → environment → settings.
    """
    table = read_yaml(path)
    for where, level in ((str(path), table), *_levels(table, str(path))):
        if not isinstance(level, dict):
            raise ConfigError(
                f"{where}: expected agent: environment: settings, got {shortened(level)}"
            )
    return table


def _levels(table: Any, path: str) -> list[tuple[str, Any]]:
    """All that must be a mapping, with where it is."""
    agents = list(table.items()) if isinstance(table, dict) else []
    of_agents = [(f"{path}, {agent}", envs) for agent, envs in agents]
    of_envs = [
        (f"{path}, {agent}, {env}", settings)
        for agent, envs in agents
        if isinstance(envs, dict)
        for env, settings in envs.items()
    ]
    return of_agents + of_envs


@cache
def packaged() -> Table:
    """The table that comes with nodepert."""
    return read_table(pathlib.Path(__file__).with_name("hyperparameters.yml"))


def entry(table: Table, agent: str, env_id: str) -> Entry | None:
    """The settings of an agent on an environment, or None.

    Args:
        table: See :func:`read_table`.
        agent: Such as ``"ppo"``; ``"np:fixed"`` takes the entry of ``"np"`` where it has none, and
            ``"np:replay:fixed"`` that of ``"np:replay"``, which stands beside the preset alone.
        env_id: With or without a module before it.
    """
    preset = preset_of(agent)
    for name in (agent, f"np:{preset}" if preset else agent.partition(":")[0]):
        for key in (env_id, env_id.rpartition(":")[2]):
            if key in table.get(name, {}):
                return dict(table[name][key])
    return None


def arguments(settings: Entry, action_space: gym.Space[Any]) -> dict[str, Any]:
    """What an algorithm's constructor takes, from settings in rl_zoo3's format.

    Args:
        settings: Of one agent on one environment.
        action_space: For the action noise.

    Raises:
        ConfigError: A value that is not of the format.
    """
    made = {name: value for name, value in settings.items() if name not in NOT_THE_ALGORITHMS}
    for name in SCHEDULES:
        if isinstance(made.get(name), str):
            made[name] = _schedule(name, made[name])
    if "policy_kwargs" in made:
        made["policy_kwargs"] = _policy_kwargs(made["policy_kwargs"])
    if isinstance(made.get("train_freq"), list):
        made["train_freq"] = tuple(made["train_freq"])
    kind, std = made.pop("noise_type", None), made.pop("noise_std", None)
    if kind is not None:
        made["action_noise"] = _noise(kind, std, action_space)
    return made


def _schedule(name: str, text: str) -> Linear | float:
    """``"lin_0.001"``, or a number that YAML takes for text, such as 1e-3."""
    try:
        return Linear(float(text[4:])) if text.startswith("lin_") else float(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text!r}: expected a number or lin_NUMBER") from error


def _policy_kwargs(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(
            f"policy_kwargs: {given!r}: expected a mapping such as {{net_arch: [64, 64]}}, since "
            "text is not evaluated"
        )
    made = dict(given)
    for key in NAMED.keys() & made.keys():
        classes = {cls.__name__: cls for cls in NAMED[key]}
        name = str(made[key]).rpartition(".")[2]
        if name not in classes:
            raise ConfigError(f"{key}: {made[key]!r}: expected one of {', '.join(classes)}")
        made[key] = classes[name]
    return made


def _noise(kind: Any, std: Any, space: gym.Space[Any]) -> ActionNoise:
    known = isinstance(kind, str) and kind in NOISES
    if not known or not isinstance(std, int | float) or not isinstance(space, spaces.Box):
        raise ConfigError(
            f"noise_type: {kind!r}, noise_std: {std!r}: expected one of {', '.join(NOISES)}, a "
            f"number, and an action space that is a Box, got {space}"
        )
    zeros = np.zeros(space.shape)
    return NOISES[kind](zeros, zeros + std)
