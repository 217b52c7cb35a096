"""The agents that can be compared, by name: what each is, and where it can act."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from nodepert.agents.errors import ConfigError
from nodepert.agents.feedback import RULES
from nodepert.agents.presets import Preset, preset_for, preset_with, presets

__all__ = [
    "DESCRIBED",
    "RIVALS",
    "Rival",
    "check_actions",
    "check_agent",
    "own_preset",
    "preset_of",
    "rule_of",
    "variant_of",
]

ANY = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


@dataclass(frozen=True)
class Rival:
    """A Stable-Baselines3 algorithm."""

    module: str
    name: str
    actions: tuple[type[gym.Space[Any]], ...]
    """Action spaces in which it acts."""
    policy: str = "MlpPolicy"
    """Where no hyperparameters say otherwise."""

    def algorithm(self) -> type[BaseAlgorithm]:
        """Its class.

        Raises:
            ConfigError: Its package is not installed.
        """
        try:
            return getattr(importlib.import_module(self.module), self.name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{self.name}: {error}; it comes with pip install 'nodepert[contrib]'"
            ) from error


RIVALS: dict[str, Rival] = {
    "ppo": Rival("stable_baselines3", "PPO", ANY),
    "a2c": Rival("stable_baselines3", "A2C", ANY),
    "sac": Rival("stable_baselines3", "SAC", (spaces.Box,)),
    "td3": Rival("stable_baselines3", "TD3", (spaces.Box,)),
    "dqn": Rival("stable_baselines3", "DQN", (spaces.Discrete,)),
    "recurrent_ppo": Rival("sb3_contrib", "RecurrentPPO", ANY, "MlpLstmPolicy"),
    "ars": Rival("nodepert.agents.compare.search", "ARS", (spaces.Box, spaces.Discrete)),
    "es": Rival("nodepert.agents.compare.search", "ES", (spaces.Box, spaces.Discrete)),
    "random": Rival("nodepert.agents.compare.random_agent", "RandomAgent", ANY),
}
OWN: dict[str, Rival] = {
    "np": Rival("nodepert.agents.node_perturbation", "NodePerturbation", ANY),
    "all_units": Rival("nodepert.agents.compare.all_units", "AllUnits", (spaces.Box,)),
}
"""What takes the hyperparameters of nodepert.agents.Config."""
DESCRIBED = (
    "np (ours), np:RULE (ours with another feedback rule), np:PRESET (ours with another preset of "
    "ENV), np:PRESET:RULE, all_units (noise on all units, without feedback weights), "
    f"{', '.join(RIVALS)}."
)
"""All names, for the help of commands."""


def variant_of(agent: str) -> tuple[str | None, str | None] | None:
    """Preset and feedback rule of ``"np"``, ``"np:PRESET"``, ``"np:RULE"`` or ``"np:PRESET:RULE"``.

    None where the name is none of these; some environment has a preset of that name.
    """
    name, *parts = agent.split(":")
    preset = parts.pop(0) if parts and parts[0] in preset_names() else None
    rule = parts.pop(0) if parts and parts[0] in RULES else None
    return (preset, rule) if name == "np" and not parts else None


def rule_of(agent: str) -> str | None:
    """The feedback rule in an agent's name, or None."""
    return (variant_of(agent) or (None, None))[1]


def preset_of(agent: str) -> str | None:
    """The preset in an agent's name, or None."""
    return (variant_of(agent) or (None, None))[0]


def own_preset(agent: str, env_id: str, env_kwargs: dict[str, Any]) -> Preset:
    """Where the hyperparameters of our agent begin, under any of its names.

    Raises:
        ConfigError: The environment has no preset of that name, or was made otherwise than that
            preset asks for.
    """
    name = preset_of(agent)
    if name is None:
        return preset_with(env_id, env_kwargs)
    preset = preset_for(env_id, name)
    if not preset.env_kwargs.items() <= env_kwargs.items():
        asked = " ".join(f"--env-kwarg {pair}" for pair in preset.env_pairs)
        raise ConfigError(f"preset={name!r}: is for {env_id} made otherwise; expected {asked}")
    return preset


def preset_names() -> list[str]:
    """Of all environments together."""
    return sorted({name for of_env in presets().values() for name in of_env})


def check_agent(agent: str) -> Rival:
    """The algorithm behind a name.

    Raises:
        ConfigError: There is none of that name, or its package is missing.
    """
    if agent in RIVALS:
        rival = RIVALS[agent]
    elif agent in OWN:
        rival = OWN[agent]
    elif variant_of(agent):
        rival = OWN["np"]
    elif agent.startswith("np:"):
        raise ConfigError(
            f"agent {agent}: expected np:RULE with one of {', '.join(RULES)}, np:PRESET with "
            f"one of {', '.join(preset_names())}, or np:PRESET:RULE"
        )
    else:
        valid = ", ".join((*OWN, "np:RULE", "np:PRESET", "np:PRESET:RULE", *RIVALS))
        raise ConfigError(f"agent {agent}: expected {valid}")
    rival.algorithm()
    return rival


def check_actions(agent: str, env_id: str, space: gym.Space[Any]) -> None:
    """Raises ConfigError where an agent can't act in an environment, and says which can."""
    if not isinstance(space, check_agent(agent).actions):
        known = {**OWN, **RIVALS}.items()
        able = [name for name, rival in known if isinstance(space, rival.actions)]
        raise ConfigError(
            f"agent {agent}: can't act in {env_id}, whose action space is {space}; "
            f"expected {', '.join(able)}"
        )
