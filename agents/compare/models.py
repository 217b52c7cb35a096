"""From the settings of a run to an agent with its environment."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from nodepert.agents.compare.hyperparameters import NOT_THE_ALGORITHMS, Table, arguments, entry
from nodepert.agents.compare.rivals import RIVALS, check_agent, own_preset, rule_of
from nodepert.agents.config import with_changes
from nodepert.agents.errors import ConfigError
from nodepert.agents.files.model_file import config_from_json, config_to_json
from nodepert.agents.lanes.handover import vectorise
from nodepert.agents.lanes.vec_env import SB3VecEnv
from nodepert.envs import LossEnv

__all__ = ["Predictor", "check_settings", "make_model", "settings_for"]

Settings = dict[str, Any]
SEEDS_APART = 1_000_000
"""From the lanes of one seed to those of the next, and to the seeds of evaluations."""


def settings_for(
    agent: str, env_id: str, tables: list[Table], env_kwargs: dict[str, Any] | None = None
) -> Settings:
    """An agent's hyperparameters on an environment, as JSON can hold them.

    Those of our own agent are all fields of its config and its policy; those of a rival are the
    entry of the first of the tables that has one, or ``{}``, its own defaults.

    Raises:
        ConfigError: A hyperparameter that our agent does not have, or not with this value, or a
            preset that the environment does not have.
    """
    found = next((one for table in tables if (one := entry(table, agent, env_id))), None) or {}
    if agent in RIVALS:
        return found
    preset = own_preset(agent, env_id, env_kwargs or {})
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    source = changes.pop("source", "preset of the environment")
    policy = changes.pop("policy", preset.policy)
    policy_kwargs = changes.pop("policy_kwargs", {})
    changes.update({"rule": rule} if (rule := rule_of(agent)) else {})
    config = with_changes(preset.config, changes)
    document = config_to_json(config)
    return {"source": source, "policy": policy, "policy_kwargs": policy_kwargs, **document}


def check_settings(agent: str, settings: Settings, space: gym.Space[Any]) -> None:
    """Raises ConfigError where an algorithm's constructor would not take the settings."""
    if agent not in RIVALS:
        return
    taken = inspect.signature(check_agent(agent).algorithm().__init__).parameters
    names = [name for name in taken if name not in ("self", "env", "seed", "device")]
    for name in arguments(settings, space):
        if name not in names:
            valid = ", ".join((*names, *NOT_THE_ALGORITHMS, "noise_type", "noise_std"))
            raise ConfigError(f"{name}: no hyperparameter of {agent}; expected one of {valid}")


def make_model(
    agent: str, env_id: str, env_kwargs: dict[str, Any], settings: Settings, seed: int
) -> BaseAlgorithm:
    """The agent on its environment, ready to learn.

    Loss environments are native lanes behind :class:`~nodepert.agents.SB3VecEnv`; others are what
    ``make_vec_env`` makes. Our own agent makes lanes of a single environment itself.
    """
    if agent not in RIVALS:
        document = {name: value for name, value in settings.items() if name != "source"}
        policy, policy_kwargs = document.pop("policy"), document.pop("policy_kwargs")
        env = gym.make(env_id, **env_kwargs)
        config = config_from_json(document, {})
        own: Any = check_agent(agent).algorithm()
        return own(policy, env, config, policy_kwargs=policy_kwargs, seed=seed, device="cpu")
    rival = check_agent(agent)
    lanes = make_lanes(env_id, env_kwargs, settings)
    options = {"policy": rival.policy, **arguments(settings, lanes.action_space)}
    model = rival.algorithm()(env=lanes, seed=seed, device="cpu", **options)
    # SB3 seeds lane i with seed + i: the lanes of seeds 0 and 1 would see nearly the same.
    lanes.seed(SEEDS_APART * (seed + 1))
    return model


def make_lanes(env_id: str, env_kwargs: dict[str, Any], settings: Settings) -> VecEnv:
    """The rivals' environment."""
    n_envs = settings.get("n_envs", 1)
    env = gym.make(env_id, **env_kwargs)
    if isinstance(env.unwrapped, LossEnv):
        lanes: VecEnv = SB3VecEnv(vectorise(env, n_envs))
    else:
        env.close()
        lanes = make_vec_env(env_id, n_envs, env_kwargs=env_kwargs)
    normalize = settings.get("normalize")
    if normalize:
        options = dict(normalize) if isinstance(normalize, dict) else {}
        gamma = {"gamma": settings["gamma"]} if "gamma" in settings else {}
        lanes = VecNormalize(lanes, **{**gamma, **options})
    return lanes


@dataclass(frozen=True)
class Predictor:
    """A model that is shown observations as they are, also where it was trained on others.

    Args:
        model: Any SB3 model; where it was trained under ``VecNormalize``, observations are
            normalised by the statistics so far, which stay as they are.
    """

    model: BaseAlgorithm

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """As SB3's."""
        normaliser = self.model.get_vec_normalize_env()
        if normaliser is not None:
            observation = normaliser.normalize_obs(observation)
        return self.model.predict(observation, state, episode_start, deterministic)
