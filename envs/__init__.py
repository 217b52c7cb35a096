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
from nodepert.envs.mask_velocity import MaskVelocity, register_without_velocities
from nodepert.envs.mnist import MNIST
from nodepert.envs.mnist_autoencoder import MNISTAutoencoder
from nodepert.envs.registration import register
from nodepert.envs.vector import LossVectorEnv

__all__ = [
    "MNIST",
    "ActionError",
    "ConfigError",
    "ContractError",
    "DatasetError",
    "DelayedXOR",
    "Draws",
    "LossEnv",
    "LossVectorEnv",
    "MNISTAutoencoder",
    "MaskVelocity",
    "NodepertError",
    "register",
]

register("DelayedXOR-v0", DelayedXOR)
register("MNIST-v0", MNIST)
register("MNISTAutoencoder-v0", MNISTAutoencoder)
register_without_velocities()
