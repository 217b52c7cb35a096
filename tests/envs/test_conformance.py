"""Every documented keyword of every environment passes every conformance test."""

import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from nodepert.envs import MNIST, DelayedXOR, MNISTAutoencoder
from nodepert.envs.testing import check_loss_env

IDS = ("DelayedXOR-v0", "MNIST-v0", "MNISTAutoencoder-v0")
SCHEDULES = (
    {},
    {"delay": 0},
    {"delay": (0, 6)},
    {"stream": True},
    {"stream": True, "overwrite": True},
    {"stream": True, "delay": 3},
    {"stream": True, "delay": (1, 20)},
)
RESPONSES = ({}, {"expose_gradient": True}, {"loss": "zero_one"}, {"discrete": True})
MNIST_LOSSES = (
    {},
    {"expose_gradient": True},
    {"loss": "cross_entropy", "expose_gradient": True},
    {"loss": "zero_one"},
    {"discrete": True},
)
IMAGES = (
    {},
    {"split": "test"},
    {"split": "validation"},
    {"holdout": True},
    {"order": "sequential", "split": "test"},
)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("response", RESPONSES, ids=str)
def test_delayed_xor(schedule, response):
    check_loss_env(lambda: DelayedXOR(**schedule, **response))


@pytest.mark.parametrize("images", IMAGES, ids=str)
@pytest.mark.parametrize("loss", MNIST_LOSSES, ids=str)
def test_mnist(images, loss):
    check_loss_env(lambda: MNIST(**images, **loss), seeded="order" not in images)


@pytest.mark.parametrize("images", IMAGES, ids=str)
def test_mnist_autoencoder(images):
    check_loss_env(lambda: MNISTAutoencoder(**images), seeded="order" not in images)


def test_mnist_autoencoder_with_gradient():
    check_loss_env(lambda: MNISTAutoencoder(expose_gradient=True))


@pytest.mark.parametrize("env_id", IDS)
def test_both_checkers_on_registered_ids(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id).unwrapped)
        sb3_check_env(gym.make(env_id))
        sb3_check_env(gym.make(env_id).unwrapped)
