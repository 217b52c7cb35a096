"""Agents that learn from scalar rewards by learned feedback. Registers the environments too."""

import nodepert.envs  # noqa: F401
from nodepert.agents.bookkeeping.divergence import DivergenceGuard, roll_back
from nodepert.agents.config import Config
from nodepert.agents.errors import (
    CheckpointError,
    ConfigError,
    DivergenceError,
    FileFormatError,
    LaneError,
    MissingFileError,
    NodepertError,
    NonFiniteError,
    PairingError,
    PartnerError,
)
from nodepert.agents.files.checkpoints import Checkpoints, newest_checkpoint
from nodepert.agents.lanes.processes import ProcessVectorEnv
from nodepert.agents.lanes.vec_env import SB3VecEnv
from nodepert.agents.node_perturbation import NodePerturbation
from nodepert.agents.policies import CnnPolicy, FeedbackPolicy, MlpPolicy, RnnPolicy

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "CnnPolicy",
    "Config",
    "ConfigError",
    "DivergenceError",
    "DivergenceGuard",
    "FeedbackPolicy",
    "FileFormatError",
    "LaneError",
    "MissingFileError",
    "MlpPolicy",
    "NodePerturbation",
    "NodepertError",
    "NonFiniteError",
    "PairingError",
    "PartnerError",
    "ProcessVectorEnv",
    "RnnPolicy",
    "SB3VecEnv",
    "newest_checkpoint",
    "roll_back",
]
