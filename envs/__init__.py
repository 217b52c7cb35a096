"""Gymnasium environments whose only feedback is minus a loss. Importing this registers them."""

from nodepert.envs.base import LossEnv
from nodepert.envs.delayed_xor import DelayedXOR
from nodepert.envs.draws import Draws
from nodepert.envs.errors import (
    ActionError,
    ConfigError,
    ContractError,
    DatasetError,
    NodepertError,
)
from nodepert.envs.registration import register
from nodepert.envs.vector import LossVectorEnv

__all__ = [
    "ActionError",
    "ConfigError",
    "ContractError",
    "DatasetError",
    "DelayedXOR",
    "Draws",
    "LossEnv",
    "LossVectorEnv",
    "NodepertError",
    "register",
]

register("DelayedXOR-v0", DelayedXOR)
