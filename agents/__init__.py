"""Agents that learn from scalar rewards by learned feedback. Registers the environments too."""

import nodepert.envs  # noqa: F401
from nodepert.agents.config import Config
from nodepert.agents.errors import (
    ConfigError,
    FileFormatError,
    LaneError,
    NodepertError,
    NonFiniteError,
    PairingError,
    PartnerError,
)
from nodepert.agents.lanes.processes import ProcessVectorEnv
from nodepert.agents.lanes.vec_env import SB3VecEnv
from nodepert.agents.node_perturbation import NodePerturbation
from nodepert.agents.policies import CnnPolicy, FeedbackPolicy, MlpPolicy, RnnPolicy

__all__ = [
    "CnnPolicy",
    "Config",
    "ConfigError",
    "FeedbackPolicy",
    "FileFormatError",
    "LaneError",
    "MlpPolicy",
    "NodePerturbation",
    "NodepertError",
    "NonFiniteError",
    "PairingError",
    "PartnerError",
    "ProcessVectorEnv",
    "RnnPolicy",
    "SB3VecEnv",
]
